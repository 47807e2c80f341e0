//! More is asked than can be answered: checks go on, changes are refused before reads,
//! everything refused is told so at once and with when to come back, and when the load is
//! over, so is all of that.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use prost::Message as _;
use roster::domain::identifiers::{OrganizationId, UserId};
use roster::domain::organization::{Moment, Organization, Version};
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::store::memory::MemoryStore;
use roster::store::{
    Commit, CommitFuture, EventEntry, Head, HistoryEntry, IdempotencyKey, ReadError, Remembered,
    SealedCommit, Sequence, Store,
};
use roster::transport::limits::Limits;
use roster::transport::probes::Probes;
use roster::transport::server::Manner;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::harness::{Daemon, Setup, question, reason, with_key};
use crate::probed::{get, listen};
use crate::wire::{Wire, message};

/// A store whose disk is stuck while a test says so.
struct Stuck {
    inner: Arc<MemoryStore>,
    stuck: watch::Sender<bool>,
    /// Whether nothing can be read.
    unread: Arc<(Mutex<bool>, Condvar)>,
}

impl Stuck {
    fn on(inner: Arc<MemoryStore>) -> Self {
        Self {
            inner,
            stuck: watch::Sender::new(false),
            unread: Arc::default(),
        }
    }
}

impl Store for Stuck {
    fn commit(&self, commit: Commit) -> CommitFuture {
        let (inner, mut stuck) = (Arc::clone(&self.inner), self.stuck.subscribe());
        Box::pin(async move {
            stuck
                .wait_for(|stuck| !stuck)
                .await
                .expect("the test goes on");
            inner.commit(commit).await
        })
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.inner.organizations(after, limit)
    }

    fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError> {
        let (unread, changed) = &*self.unread;
        let unread = unread.lock().expect("no panic");
        drop(changed.wait_while(unread, |unread| *unread));
        self.inner.load(id)
    }

    fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        self.inner.mark(id)
    }

    fn due(&self, by: Moment, limit: usize) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        self.inner.due(by, limit)
    }

    fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.inner.memberships(user, after, limit)
    }

    fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.inner.notifying(after, limit)
    }

    fn remembered(&self, key: &IdempotencyKey) -> Result<Option<Remembered>, ReadError> {
        self.inner.remembered(key)
    }

    fn events(
        &self,
        organization: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError> {
        self.inner.events(organization, before, limit)
    }

    fn history(&self, after: Sequence, limit: usize) -> Result<Vec<HistoryEntry>, ReadError> {
        self.inner.history(after, limit)
    }

    fn sealed(&self, after: Sequence, bytes: usize) -> Result<Vec<SealedCommit>, ReadError> {
        self.inner.sealed(after, bytes)
    }

    fn verify(&self, after: Head, limit: usize) -> Result<Head, ReadError> {
        self.inner.verify(after, limit)
    }
}

fn setup(limits: Limits) -> Setup {
    Setup {
        manner: Manner {
            limits,
            ..Setup::default().manner
        },
        budget: usize::MAX,
        ..Setup::default()
    }
}

fn ask() -> v1::IsAuthorizedRequest {
    question("acme", "owner", "InstancesView", "Instance", "vm-1")
}

fn member(user: &str) -> v1::AddMemberRequest {
    v1::AddMemberRequest {
        organization: "acme".to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

/// It is refused for load, with when to try again.
fn assert_is_shed(refused: &Status) {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(refused), "OVERLOADED");
    let retry = refused.get_details_retry_info().expect("when to try again");
    assert!(
        retry
            .retry_delay
            .is_some_and(|delay| delay > Duration::ZERO)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_changes_wait_further_ones_are_refused_and_reads_and_checks_go_on() {
    let store = Arc::new(Stuck::on(Arc::default()));
    let stuck = store.stuck.clone();
    let limits = Limits {
        managed: 8,
        ..Limits::default()
    };
    let probes = Probes::default();
    let (_, metrics) = listen(&probes);
    let setup = Setup {
        probes,
        ..setup(limits)
    };
    let daemon = Daemon::start_as(setup, store).await;
    daemon.found("acme", "hypervisor-io").await;

    stuck.send_replace(true);
    let mut waiting = Vec::new();
    for number in 0..6 {
        let mut client = daemon.members();
        waiting.push(tokio::spawn(async move {
            client.add_member(member(&format!("user-{number}"))).await
        }));
    }
    while !get(metrics, "/metrics")
        .body
        .contains("\nroster_calls_in_flight 6\n")
    {
        tokio::task::yield_now().await;
    }
    // They are under way when the next one is one too many.
    let refused = daemon.members().add_member(member("late")).await;
    assert_is_shed(&refused.expect_err("one too many"));
    let list = v1::ListMembersRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    for _ in 0..20 {
        daemon
            .members()
            .list_members(list.clone())
            .await
            .expect("reads go on");
        assert!(daemon.allows(ask()).await, "checks go on");
    }
    let page = get(metrics, "/metrics").body;
    assert!(
        page.contains("roster_calls_refused_total{cause=\"write_limit\"} "),
        "{page}"
    );

    stuck.send_replace(false);
    for change in waiting {
        let added = change.await.expect("no panic");
        added.expect("whoever was let in is answered");
    }
    let added = daemon.members().add_member(member("late")).await;
    added.expect("it recovers at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_daemon_answers_ordinary_checks_and_refuses_the_rest() {
    // No round is in time, so every thread that is asked something is overloaded.
    let limits = Limits {
        lag: Duration::ZERO,
        ..Limits::default()
    };
    let store = Arc::new(MemoryStore::new());
    let founded = Daemon::start_on(Arc::clone(&store) as _).await;
    founded.found("acme", "hypervisor-io").await;
    founded.stop().await;
    let daemon = Daemon::start_as(setup(limits), store).await;
    // The first check reads the organization, for which there is time before it shows.
    daemon
        .authorization()
        .is_authorized(ask())
        .await
        .expect("an answer");
    let refused = loop {
        let answered = daemon.authorization().is_authorized(ask()).await;
        assert!(answered.is_ok(), "checks are answered: {answered:?}");
        let added = daemon.members().add_member(member("dan")).await;
        match added {
            Err(refused) if refused.code() == Code::ResourceExhausted => break refused,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_is_shed(&refused);
    for _ in 0..100 {
        let answer = daemon.authorization().is_authorized(ask()).await;
        let answer = answer.expect("ordinary checks are answered");
        assert_eq!(answer.into_inner().decision(), v1::Decision::Allow);
    }
    // What costs more than a refusal is refused.
    let explained = v1::IsAuthorizedRequest {
        include_reasons: true,
        ..ask()
    };
    let refused = daemon.authorization().is_authorized(explained).await;
    assert_is_shed(&refused.expect_err("it costs more"));
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![ask(); 10],
        ..Default::default()
    };
    let refused = daemon.authorization().batch_is_authorized(batch).await;
    assert_is_shed(&refused.expect_err("it costs more"));
    let refused = daemon
        .authorization()
        .stream_is_authorized(tokio_stream::iter([ask()]))
        .await;
    assert_is_shed(&refused.expect_err("it costs more"));
    // Whoever asks after its health is no load.
    let mut health = HealthClient::new(daemon.bare());
    let healthy = health.check(HealthCheckRequest::default()).await;
    healthy.expect("health is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_let_in_is_refused_when_its_turn_comes_too_late() {
    const BATCH: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
    let probes = Probes::default();
    let (_, metrics) = listen(&probes);
    let mut setup = Setup {
        probes,
        ..setup(Limits {
            lag: Duration::from_millis(5),
            ..Limits::default()
        })
    };
    setup.manner.threads = 1;
    let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    daemon.found("acme", "hypervisor-io").await;
    assert!(daemon.allows(ask()).await);
    let batch = |length| {
        let batch = v1::BatchIsAuthorizedRequest {
            requests: vec![ask(); length],
            ..Default::default()
        };
        message(&batch.encode_to_vec())
    };
    let (short, long) = (batch(10), batch(10_000));
    let refused = "\nroster_calls_refused_total{cause=\"batch_queue\"} 1\n";
    let mut wire = Wire::begin(daemon.address, 1 << 20).await;
    let asking = async {
        // Again, where this machine was busy with something else.
        for stream in (1..).step_by(4) {
            // The first is let in while nothing is ahead of it, and read after one that
            // takes long.
            wire.open(stream, BATCH, &[]).await;
            wire.open(stream + 2, BATCH, &[]).await;
            wire.body(stream + 2, &long, true).await;
            wire.body(stream, &short, true).await;
            let (mut is_answered, mut ended) = (false, 0);
            while ended < 2 {
                let frame = wire.next().await.expect("it goes on");
                is_answered |= frame.stream == stream && frame.kind == 0;
                ended += usize::from(frame.stream > 0 && frame.is_last());
            }
            if get(metrics, "/metrics").body.contains(refused) {
                return is_answered;
            }
        }
        true
    };
    let asking = tokio::time::timeout(Duration::from_secs(60), asking).await;
    assert!(!asking.expect("it comes too late in the end"));
    // And the next one is answered, as soon as this machine has time for it.
    let next = v1::BatchIsAuthorizedRequest {
        requests: vec![ask(); 10],
        ..Default::default()
    };
    let mut client = daemon.authorization();
    while client.batch_is_authorized(next.clone()).await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_what_is_not_in_memory_are_refused_when_too_many_wait_for_that() {
    /// As many as the daemon lets wait.
    const WAITING: usize = 512;
    const REFUSED: usize = 40;
    let inner = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_as(setup(Limits::default()), Arc::clone(&inner) as _).await;
    daemon.found("acme", "hypervisor-io").await;
    daemon.stop().await;
    let limits = Limits {
        lag: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let store = Arc::new(Stuck::on(inner));
    let unread = Arc::clone(&store.unread);
    let daemon = Daemon::start_as(setup(limits), store).await;
    daemon.found("globex", "hypervisor-io").await;
    let resident = question("globex", "owner", "InstancesView", "Instance", "vm-1");
    *unread.0.lock().expect("no panic") = true;

    let mut channels = Vec::new();
    for _ in 0..8 {
        channels.push(with_key(daemon.connect().await));
    }
    let mut asking = JoinSet::new();
    for number in 0..WAITING + REFUSED {
        let channel = channels[number % channels.len()].clone();
        let mut client = AuthorizationServiceClient::new(channel);
        asking.spawn(async move {
            let mut request = tonic::Request::new(ask());
            request.set_timeout(Duration::from_secs(600));
            client.is_authorized(request).await
        });
    }
    for _ in 0..REFUSED {
        let answered = asking.join_next().await.expect("some are asked");
        let answered = answered.expect("no panic");
        assert_is_shed(&answered.expect_err("nothing can be read"));
    }
    // What is in memory is answered.
    assert!(daemon.allows(resident).await);
    *unread.0.lock().expect("no panic") = false;
    unread.1.notify_all();
    let mut waited = 0;
    while let Some(answered) = asking.join_next().await {
        let answer = answered.expect("no panic").expect("it waited").into_inner();
        assert_eq!(answer.decision(), v1::Decision::Allow);
        waited += 1;
    }
    assert_eq!(waited, WAITING);
}
