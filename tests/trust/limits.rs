//! Clients that are slow, greedy or endless: each is ended or refused in the end, what it
//! holds until then is bounded, and others are served meanwhile.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::store::memory::MemoryStore;
use roster::transport::limits::Limits;
use roster::transport::probes::Probes;
use roster::transport::server::Manner;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::harness::{Daemon, Setup, question, reason};
use crate::probed::{Program, get, listen};
use crate::wire::{Wire, frame, message};

const CHECK: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const STREAM: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";
const BATCH: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
const EXPORT: &str = "/roster.v1.PolicyService/ExportPolicies";
const LIST: &str = "/roster.v1.MemberService/ListMembers";

/// Short enough for a test, and long enough for whoever means well.
fn short() -> Limits {
    Limits {
        handshake: Duration::from_millis(200),
        stall: Duration::from_millis(400),
        idle: Duration::from_millis(800),
        ..Limits::default()
    }
}

struct Limited {
    daemon: Daemon,
    metrics: std::net::SocketAddr,
}

impl Limited {
    async fn start(limits: Limits) -> Self {
        Self::start_on(limits, Setup::default().manner.threads).await
    }

    async fn start_on(limits: Limits, threads: usize) -> Self {
        let probes = Probes::default();
        let (_, metrics) = listen(&probes);
        let setup = Setup {
            probes,
            manner: Manner {
                limits,
                threads,
                ..Setup::default().manner
            },
            budget: usize::MAX,
            ..Setup::default()
        };
        let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
        daemon.found("acme", "hypervisor-io").await;
        Self { daemon, metrics }
    }

    /// Others are served.
    async fn serves(&self) {
        let mut client =
            AuthorizationServiceClient::new(crate::harness::with_key(self.daemon.connect().await));
        let answer = client
            .is_authorized(ask())
            .await
            .expect("others are served");
        assert_eq!(answer.into_inner().decision(), v1::Decision::Allow);
    }

    /// Waits until that line is among the metrics.
    async fn counted(&self, line: &str) {
        let counting = async {
            loop {
                let page = get(self.metrics, "/metrics").body;
                if page
                    .lines()
                    .any(|told| told == line || line.ends_with(' ') && at_least_one(told, line))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(60), counting).await;
        assert!(
            counted.is_ok(),
            "no {line} in\n{}",
            get(self.metrics, "/metrics").body
        );
    }
}

/// Whether a line begins so and goes on with a number above nothing.
fn at_least_one(told: &str, beginning: &str) -> bool {
    let count = told.strip_prefix(beginning).map(str::parse::<u64>);
    count.is_some_and(|count| count.is_ok_and(|count| count > 0))
}

fn ask() -> v1::IsAuthorizedRequest {
    question("acme", "owner", "InstancesView", "Instance", "vm-1")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_begin_are_ended() {
    let limited = Limited::start(short()).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Wire::silent(limited.daemon.address).await);
    }
    // Of these one has said half of what it should.
    silent[0].send(b"PRI * HTTP/2.0\r\n").await;
    limited.serves().await;
    for wire in &mut silent {
        wire.only_read().await;
    }
    limited
        .counted("roster_connections_closed_total{cause=\"handshake\"} 50")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_holds_a_connection_only_so_long() {
    let limited = Limited::start(short()).await;
    let mut wire = Wire::begin(limited.daemon.address, 65_535).await;
    let whole = frame(1, 4, 1, &crate::wire::head(CHECK, &[]));
    wire.send(&whole[..whole.len() / 2]).await;
    limited.serves().await;
    assert!(wire.closed().await, "it is told to go");
    limited
        .counted("roster_connections_closed_total{cause=\"idle\"} ")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_something_is_under_way_is_not_idle() {
    let limited = Limited::start(short()).await;
    let (questions, asked) = tokio::sync::mpsc::channel(1);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut client = limited.daemon.authorization();
    questions.send(ask()).await.expect("it is open");
    let answers = client.stream_is_authorized(asked).await;
    let mut answers = answers.expect("a stream").into_inner();
    answers.message().await.expect("an answer");
    // Longer than anything may be silent that has nothing under way: another connection
    // shows when that time is over.
    let mut idle = Wire::begin(limited.daemon.address, 65_535).await;
    idle.closed().await;
    questions.send(ask()).await.expect("it is open");
    let answer = answers.message().await.expect("it goes on");
    assert_eq!(answer.expect("an answer").decision(), v1::Decision::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_begun_and_never_ended_is_refused() {
    let limited = Limited::start(short()).await;
    let mut wire = Wire::begin(limited.daemon.address, 65_535).await;
    let whole = message(&ask().encode_to_vec());
    wire.open(1, CHECK, &[]).await;
    wire.open(3, CHECK, &[]).await;
    wire.body(3, &whole[..whole.len() - 1], false).await;
    wire.open(5, LIST, &[]).await;
    wire.body(5, &[0, 0], false).await;
    wire.open(7, BATCH, &[]).await;
    // Of a stream, a message that is begun is owed as well.
    wire.open(9, STREAM, &[]).await;
    wire.body(9, &whole[..whole.len() - 1], false).await;
    limited.serves().await;
    let mut left = vec![1, 3, 5, 7, 9];
    while !left.is_empty() {
        let frame = wire.next().await.expect("each is answered");
        if frame.is_last() {
            let text = String::from_utf8_lossy(&frame.payload).into_owned();
            assert!(!text.is_empty(), "{frame:?}");
            left.retain(|stream| *stream != frame.stream);
        }
    }
    let late = "grpc_method=\"IsAuthorized\",grpc_code=\"DeadlineExceeded\"} 2";
    let page = get(limited.metrics, "/metrics").body;
    assert!(page.contains(late), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_never_taken_ends_its_connection() {
    let limited = Limited::start(short()).await;
    // Nothing may be sent of any answer.
    let mut wire = Wire::begin(limited.daemon.address, 0).await;
    let list = v1::ListMembersRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    wire.open(1, LIST, &[]).await;
    wire.body(1, &message(&list.encode_to_vec()), true).await;
    limited.serves().await;
    wire.closed().await;
    limited
        .counted("roster_connections_closed_total{cause=\"stalled\"} 1")
        .await;
    limited.serves().await;
}

/// Founds an organization of so many that its export is long.
async fn large(program: &Program) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", program.address));
    let channel = endpoint.expect("an address").connect().await;
    let channel = channel.expect("it listens");
    let key: tonic::metadata::AsciiMetadataValue =
        format!("Bearer {}", program.key).parse().expect("a value");
    let with_key = move |mut request: tonic::Request<()>| {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", key.clone());
        Ok::<_, tonic::Status>(request)
    };
    let channel = tonic::service::interceptor::InterceptedService::new(channel, with_key);
    let found = v1::CreateOrganizationRequest {
        organization_id: "large".to_owned(),
        display_name: "Large".to_owned(),
        catalog: "hypervisor-io".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    v1::organization_service_client::OrganizationServiceClient::new(channel.clone())
        .create_organization(found)
        .await
        .expect("founded");
    let mut members = v1::member_service_client::MemberServiceClient::new(channel);
    for number in 0..800 {
        let member = v1::AddMemberRequest {
            organization: "large".to_owned(),
            user: format!("member-{number}"),
            roles: vec!["viewer".to_owned()],
            ..Default::default()
        };
        members.add_member(member).await.expect("a member");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_streams_and_never_reads_holds_little_and_not_for_long() {
    let directory = tempfile::tempdir().expect("a directory");
    let flags = [
        "--example",
        "--stall-seconds",
        "2",
        "--serving-threads",
        "2",
    ];
    let program = Program::start(directory.path(), &flags);
    let resident = || {
        let page = get(program.metrics, "/metrics").body;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        line.expect("it is told").parse::<u64>().expect("a number")
    };
    large(&program).await;
    let before = resident();
    // Each question is short and each answer long: fewer bytes are sent than the daemon
    // takes unasked, and thousands of times as many would come back.
    let export = v1::ExportPoliciesRequest {
        organization: "large".to_owned(),
        ..Default::default()
    };
    let export = message(&export.encode_to_vec());
    let key = format!("Bearer {}", program.key);
    let mut greedy = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::begin(program.address, 0x3fff_ffff).await;
        let (export, key) = (export.clone(), key.clone());
        greedy.push(tokio::spawn(async move {
            for number in 0..100 {
                let stream = number * 2 + 1;
                wire.open(stream, EXPORT, &[("authorization", &key)]).await;
                wire.body(stream, &export, true).await;
            }
            wire
        }));
    }
    let mut most = before;
    let closed = "roster_connections_closed_total{cause=\"stalled\"} 2";
    for round in 0.. {
        let page = get(program.metrics, "/metrics").body;
        most = most.max(resident());
        if page.lines().any(|line| line == closed) {
            break;
        }
        assert!(round < 6_000, "they are not ended:\n{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for task in greedy {
        task.await.expect("it was only greedy");
    }
    let grown = (most - before) / (1024 * 1024);
    assert!(grown < 500, "{grown} MiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_closed_and_the_next_is_taken_when_one_goes() {
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    // The harness holds one.
    let limited = Limited::start(limits).await;
    let mut first = Wire::begin(limited.daemon.address, 65_535).await;
    assert!(first.next().await.is_some());
    let mut second = Wire::begin(limited.daemon.address, 65_535).await;
    assert!(second.next().await.is_some());
    let mut third = Wire::begin(limited.daemon.address, 65_535).await;
    assert!(third.next().await.is_none(), "it is closed");
    limited
        .counted("roster_connections_refused_total{cause=\"too_many\"} 1")
        .await;
    drop((first, second));
    let mut next = Wire::begin(limited.daemon.address, 65_535).await;
    while next.next().await.is_none() {
        next = Wire::begin(limited.daemon.address, 65_535).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_refused_and_the_connection_goes_on() {
    let limited = Limited::start(Limits::default()).await;
    let mut wire = Wire::begin(limited.daemon.address, 65_535).await;
    let long = "x".repeat(15_900);
    wire.open(1, CHECK, &[("x-long", &long), ("x-longer", "y")])
        .await;
    wire.open(3, CHECK, &[]).await;
    wire.body(3, &message(&ask().encode_to_vec()), true).await;
    let refused = wire.last_of(1).await.expect("it is answered");
    assert!(refused.is_last());
    // Anything but `:status: 200`, which is one byte of the static table.
    assert_ne!(refused.payload.first(), Some(&0x88), "{refused:?}");
    assert!(wire.last_of(3).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_would_wait_for_too_long_are_refused_and_others_answered() {
    let limits = Limits {
        lag: Duration::from_millis(1),
        ..Limits::default()
    };
    let limited = Limited::start_on(limits, 1).await;
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![ask(); 4_000],
        ..Default::default()
    };
    let page = || get(limited.metrics, "/metrics").body;
    let is_counted = || {
        let page = page();
        let refused = "roster_calls_refused_total{cause=\"batch_queue\"} ";
        page.lines().any(|line| at_least_one(line, refused))
    };
    while !is_counted() {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let channel = crate::harness::with_key(limited.daemon.connect().await);
            for _ in 0..8 {
                let client = AuthorizationServiceClient::new(channel.clone());
                let (mut client, batch) = (client, batch.clone());
                asking.spawn(async move { client.batch_is_authorized(batch).await });
            }
        }
        while let Some(answered) = asking.join_next().await {
            match answered.expect("no panic") {
                Ok(answer) => assert_eq!(answer.into_inner().items.len(), 4_000),
                Err(refused) => {
                    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
                    assert_eq!(reason(&refused), "OVERLOADED");
                    assert!(refused.get_details_retry_info().is_some());
                }
            }
        }
    }
    // When nobody asks for more than there is time for, all are answered.
    let mut client = limited.daemon.authorization();
    while client.batch_is_authorized(batch.clone()).await.is_err() {}
    client
        .is_authorized(ask())
        .await
        .expect("checks are answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_after_its_deadline_is_answered_no_more() {
    let limited = Limited::start(Limits::default()).await;
    let mut wire = Wire::begin(limited.daemon.address, 65_535).await;
    let whole = message(&ask().encode_to_vec());
    wire.open(1, CHECK, &[("grpc-timeout", "1m")]).await;
    wire.open(3, CHECK, &[]).await;
    wire.body(3, &whole, true).await;
    wire.last_of(3)
        .await
        .expect("it is begun after the other, and answered");
    // Whatever the machine does meanwhile, the deadline is over then.
    tokio::time::sleep(Duration::from_millis(20)).await;
    wire.body(1, &whole, true).await;
    wire.last_of(1).await.expect("it is answered");
    let late = "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"roster.v1.AuthorizationService\",\
         grpc_method=\"IsAuthorized\",grpc_code=\"DeadlineExceeded\"} 1";
    limited.counted(late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_is_revoked_before_their_message_comes_is_not_answered() {
    let limited = Limited::start(Limits::default()).await;
    let mut operators = limited.daemon.operators();
    let created = v1::CreateCallerKeyRequest {
        name: "checkout".to_owned(),
        scopes: vec![v1::CallerScope::Check.into()],
        ..Default::default()
    };
    let created = operators.create_caller_key(created).await;
    let created = created.expect("a key").into_inner();
    let bearer = format!("Bearer {}", created.secret);
    let with_key = [("authorization", bearer.as_str())];
    let mut wire = Wire::begin(limited.daemon.address, 65_535).await;
    let whole = message(&ask().encode_to_vec());
    wire.open(1, CHECK, &with_key).await;
    wire.open(3, CHECK, &with_key).await;
    wire.body(3, &whole, true).await;
    wire.last_of(3)
        .await
        .expect("it is begun after the other, and answered");
    let revoke = v1::RevokeCallerKeyRequest {
        key: created.key.expect("the key").id,
        ..Default::default()
    };
    operators.revoke_caller_key(revoke).await.expect("revoked");
    wire.body(1, &whole, true).await;
    wire.last_of(1).await.expect("it is answered");
    let refused = "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"roster.v1.AuthorizationService\",\
         grpc_method=\"IsAuthorized\",grpc_code=\"Unauthenticated\"} 1";
    limited.counted(refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_never_read_keep_nobody_out() {
    let limited = Limited::start_on(Limits::default(), 1).await;
    let mut begun = Vec::new();
    for _ in 0..10 {
        let mut wire = Wire::begin(limited.daemon.address, 65_535).await;
        for number in 0..60 {
            wire.open(2 * number + 1, BATCH, &[]).await;
        }
        // Answered after the batches were let in.
        wire.open(1_001, CHECK, &[]).await;
        wire.body(1_001, &message(&ask().encode_to_vec()), true)
            .await;
        wire.last_of(1_001).await.expect("checks are answered");
        begun.push(wire);
    }
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![ask(); 3],
        ..Default::default()
    };
    let mut client = limited.daemon.authorization();
    while client.batch_is_authorized(batch.clone()).await.is_err() {
        // Refused only where the machine is too slow for this test's own load.
        assert!(
            !get(limited.metrics, "/metrics")
                .body
                .contains("cause=\"batch_queue\"} 1"),
            "nothing waits"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_reset_hold_a_connection_only_for_a_while() {
    let limits = Limits {
        stall: Duration::from_secs(8),
        ..Limits::default()
    };
    let limited = Limited::start(limits).await;
    // So many that their export is long.
    for number in 0..800 {
        let member = v1::AddMemberRequest {
            organization: "acme".to_owned(),
            user: format!("member-{number}"),
            roles: vec!["viewer".to_owned()],
            ..Default::default()
        };
        let added = limited.daemon.members().add_member(member).await;
        added.expect("a member");
    }
    // Room for any answer; but none is read.
    let mut wire = Wire::begin(limited.daemon.address, 0x3fff_ffff).await;
    let export = v1::ExportPoliciesRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    let export = message(&export.encode_to_vec());
    let list = v1::ListMembersRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    let list = message(&list.encode_to_vec());
    let mut stream = 1;
    let refused = "roster_calls_refused_total{cause=\"connection_limit\"} ";
    for _ in 0..60 {
        wire.open(stream, EXPORT, &[]).await;
        wire.body(stream, &export, true).await;
        stream += 2;
    }
    // Until so much is made that no more is let in.
    while !get(limited.metrics, "/metrics")
        .body
        .lines()
        .any(|line| at_least_one(line, refused))
    {
        assert!(
            stream < 199,
            "as many as may be, and still no more than fits"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
        wire.open(stream, LIST, &[]).await;
        wire.body(stream, &list, true).await;
        stream += 2;
    }
    for reset in (1..stream).step_by(2) {
        // CANCEL.
        wire.send(&frame(3, 0, reset, &8_u32.to_be_bytes())).await;
    }
    let let_in = async {
        loop {
            wire.open(stream, LIST, &[]).await;
            wire.body(stream, &list, true).await;
            if has_message(&mut wire, stream).await {
                return;
            }
            stream += 2;
        }
    };
    let let_in = tokio::time::timeout(Duration::from_secs(120), let_in).await;
    let_in.expect("what nobody waits for is forgotten");
}

/// Whether a call is answered with a message.
async fn has_message(wire: &mut Wire, stream: u32) -> bool {
    let mut has_message = false;
    loop {
        let frame = wire.next().await.expect("the connection goes on");
        if frame.stream == stream {
            has_message |= frame.kind == 0 && !frame.payload.is_empty();
            if frame.is_last() {
                return has_message;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_only_so_many_calls_under_way() {
    let limits = Limits {
        managed_on_one: 3,
        ..Limits::default()
    };
    let limited = Limited::start(limits).await;
    let mut health = HealthClient::new(limited.daemon.bare());
    let mut watching = Vec::new();
    for _ in 0..3 {
        let watched = health.watch(HealthCheckRequest::default()).await;
        watching.push(watched.expect("it may"));
    }
    let refused = health.check(HealthCheckRequest::default()).await;
    let refused = refused.expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "OVERLOADED");
    let retry = refused.get_details_retry_info().expect("when to try again");
    assert!(retry.retry_delay.is_some());
    limited
        .counted("roster_calls_refused_total{cause=\"connection_limit\"} 1")
        .await;
    // Checks are no such calls, and other connections have their own.
    assert!(limited.daemon.allows(ask()).await);
    let mut other = HealthClient::new(limited.daemon.connect().await);
    other
        .check(HealthCheckRequest::default())
        .await
        .expect("it may");
    drop(watching);
    while health.check(HealthCheckRequest::default()).await.is_err() {}
}
