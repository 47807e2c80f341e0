//! The Unix socket: the key is needed there too, and its file comes and goes with
//! the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::store::memory::MemoryStore;
use roster::transport::listeners::UnixSocket;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Daemon, Setup, question, with_key};

async fn daemon_on(path: &Path) -> Daemon {
    let setup = Setup {
        unix: Some(UnixSocket::bind(path).expect("a socket")),
        ..Setup::default()
    };
    let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    daemon.found("acme", "hypervisor-io").await;
    daemon
}

async fn connect(path: &Path) -> Channel {
    Endpoint::from_shared(format!("unix:{}", path.display()))
        .expect("an address")
        .connect()
        .await
        .expect("the daemon answers")
}

#[tokio::test]
async fn the_key_opens_the_socket_and_without_it_there_is_health_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roster.sock");
    let daemon = daemon_on(&path).await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let channel = connect(&path).await;
    let ask = || question("acme", "owner", "InstancesView", "Instance", "vm-1");

    let mut client = AuthorizationServiceClient::new(with_key(channel.clone()));
    let over_unix = client.is_authorized(ask()).await.unwrap().into_inner();
    let over_tcp = daemon.authorization().is_authorized(ask()).await.unwrap();
    assert_eq!(over_unix, over_tcp.into_inner());

    let mut bare = AuthorizationServiceClient::new(channel.clone());
    let status = bare.is_authorized(ask()).await.expect_err("a refusal");
    assert_eq!(status.code(), Code::Unauthenticated);
    HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .expect("health needs no key");
    daemon.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_a_dead_process_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roster.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());

    let daemon = daemon_on(&path).await;
    connect(&path).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_there_and_in_use_or_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live.sock");
    let daemon = daemon_on(&live).await;
    let refused = UnixSocket::bind(&live)
        .expect_err("it is in use")
        .to_string();
    assert_eq!(
        refused,
        format!(
            "another process listens on `{}`; stop that one first",
            live.display()
        )
    );
    connect(&live).await;
    daemon.stop().await;

    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let refused = UnixSocket::bind(&file)
        .expect_err("it is a file")
        .to_string();
    assert_eq!(
        refused,
        format!(
            "`{}` is there already and is no socket; name another path",
            file.display()
        )
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let nowhere = directory.path().join("nowhere/roster.sock");
    let refused = UnixSocket::bind(&nowhere)
        .expect_err("no such folder")
        .to_string();
    assert_eq!(refused, format!("can't listen on `{}`", nowhere.display()));
}

#[tokio::test]
async fn a_socket_that_somebody_else_put_there_meanwhile_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roster.sock");
    let daemon = daemon_on(&path).await;
    fs::rename(&path, directory.path().join("moved")).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    daemon.stop().await;
    assert!(path.exists());
    drop(other);
}
