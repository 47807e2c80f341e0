//! Whether the daemon lives and whether it is ready, as a kubelet asks it: over HTTP/1.1
//! and gRPC on one address, without a key; and how it leaves.

use std::sync::Arc;
use std::time::Duration;

use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use roster::store::memory::MemoryStore;
use roster::transport::probes::Probes;
use roster::transport::server::Manner;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Daemon, Setup, question, with_key};
use crate::probed::{Program, ask, get, listen};

async fn connect(address: std::net::SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("it listens")
}

async fn health_of(address: std::net::SocketAddr, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(connect(address).await);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = client
        .check(request)
        .await
        .map_err(|status| status.code())?;
    Ok(answer.into_inner().status())
}

fn check() -> v1::IsAuthorizedRequest {
    question("acme", "owner", "InstancesView", "Instance", "vm-1")
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_serves_a_process_lives_and_is_not_ready() {
    let probes = Probes::default();
    let (health, metrics) = listen(&probes);
    assert_eq!(get(health, "/livez").status, 200);
    let ready = get(health, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready\n"));
    assert_eq!(health_of(health, "").await, Ok(ServingStatus::NotServing));
    let told = get(metrics, "/metrics");
    assert_eq!(told.status, 200);
    assert!(told.body.contains("\nroster_ready 0\n"), "{}", told.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_serves_is_ready_and_nothing_but_health_is_served_there() {
    let probes = Probes::default();
    let (health, metrics) = listen(&probes);
    let setup = Setup {
        probes,
        ..Setup::default()
    };
    let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    while get(health, "/readyz").status != 200 {
        tokio::task::yield_now().await;
    }
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/", 404),
        ("/metrics", 404),
        ("/readyz/", 404),
    ] {
        assert_eq!(get(health, path).status, status, "{path}");
    }
    assert_eq!(get(metrics, "/livez").status, 404);
    let posted = ask(health, "POST", "/readyz");
    assert_eq!(posted.status, 405);
    assert!(posted.head.contains("allow: get, head"), "{}", posted.head);
    assert_eq!(ask(health, "HEAD", "/readyz").body, "");

    let service = "roster.v1.AuthorizationService";
    for name in ["", service, "integrity"] {
        assert_eq!(
            health_of(health, name).await,
            Ok(ServingStatus::Serving),
            "{name}"
        );
    }
    assert_eq!(health_of(health, "no.Such").await, Err(Code::NotFound));
    // Even with the key there is nothing else.
    let channel = with_key(connect(health).await);
    let mut client = OrganizationServiceClient::new(channel);
    let listed = client
        .list_organizations(v1::ListOrganizationsRequest::default())
        .await;
    assert_eq!(listed.expect_err("only health").code(), Code::NotFound);
    daemon.stop().await;
    assert_eq!(get(health, "/readyz").status, 503);
    assert_eq!(get(health, "/livez").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_leaves_says_so_first_and_serves_on_meanwhile() {
    let probes = Probes::default();
    let (health, _) = listen(&probes);
    let manner = Manner {
        // Longer than any test takes: the daemon is let go before.
        lame_duck: Duration::from_secs(3_600),
        ..Setup::default().manner
    };
    let setup = Setup {
        probes,
        manner,
        ..Setup::default()
    };
    let mut daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    daemon.found("acme", "hypervisor-io").await;
    let (questions, asked) = tokio::sync::mpsc::channel(4);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut stream = daemon.authorization();
    questions.send(check()).await.expect("the stream is open");
    let answers = stream.stream_is_authorized(asked).await;
    let mut answers = answers.expect("a stream").into_inner();
    assert!(answers.message().await.expect("an answer").is_some());

    daemon.tell_to_stop();
    while get(health, "/readyz").status != 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(health_of(health, "").await, Ok(ServingStatus::NotServing));
    assert_eq!(
        health_of(daemon.address, "").await,
        Ok(ServingStatus::NotServing)
    );
    assert_eq!(get(health, "/livez").status, 200);
    // Whoever has not heard of it yet loses nothing: not on an old connection, not on a
    // new one, not on a stream.
    assert!(daemon.allows(check()).await);
    let mut late = AuthorizationServiceClient::new(with_key(daemon.connect().await));
    let answer = late.is_authorized(check()).await.expect("it serves on");
    assert_eq!(answer.into_inner().decision(), v1::Decision::Allow);
    questions.send(check()).await.expect("the stream is open");
    let answer = answers.message().await.expect("an answer");
    assert_eq!(
        answer.expect("the stream goes on").decision(),
        v1::Decision::Allow
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_tells_its_health_and_ends_well_after_its_lame_duck() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(directory.path(), &["--lame-duck-seconds", "1"]);
    let health = program.health;
    assert_eq!(health_of(health, "").await, Ok(ServingStatus::Serving));
    let mut request = Request::new(v1::ListOrganizationsRequest::default());
    let key = format!("Bearer {}", program.key).parse().expect("a value");
    request.metadata_mut().insert("authorization", key);
    let channel = connect(program.address).await;
    let listed = OrganizationServiceClient::new(channel)
        .list_organizations(request)
        .await;
    listed.expect("it serves");
    program.terminate();
    let (status, log) = tokio::task::spawn_blocking(|| program.ended())
        .await
        .expect("it ended");
    assert_eq!(status.code(), Some(0), "{log}");
}
