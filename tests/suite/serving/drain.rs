//! The end: health says so, what is under way is finished, and what does not finish
//! is cut off.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use roster::store::memory::MemoryStore;
use roster::transport::listeners::UnixSocket;
use roster::transport::server::Manner;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{Pieces, framed, send, told};
use crate::harness::{Daemon, Setup, question};

/// The states of health that a watcher sees, as they come.
async fn watch(channel: Channel) -> tonic::Streaming<tonic_health::pb::HealthCheckResponse> {
    HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner()
}

#[tokio::test]
async fn both_listeners_say_that_it_ends_and_finish_what_is_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roster.sock");
    let setup = Setup {
        unix: Some(UnixSocket::bind(&path).unwrap()),
        ..Setup::default()
    };
    let mut daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    daemon.found("acme", "hypervisor-io").await;
    let over_unix = Endpoint::from_shared(format!("unix:{}", path.display())).unwrap();
    let message =
        framed(&question("acme", "owner", "InstancesView", "Instance", "vm-1").encode_to_vec());
    let mut under_way = Vec::new();
    for channel in [daemon.connect().await, over_unix.connect().await.unwrap()] {
        let mut health = watch(channel.clone()).await;
        let now = health.message().await.unwrap().expect("a state");
        assert_eq!(now.status(), ServingStatus::Serving);
        let (sender, coming) = mpsc::unbounded_channel();
        sender.send(Bytes::copy_from_slice(&message[..9])).unwrap();
        let sending = channel.clone();
        let answer = tokio::spawn(async move {
            send(&sending, "IsAuthorized", Pieces::Coming(coming), &[]).await
        });
        under_way.push((channel, health, sender, answer));
    }
    // What was sent before has arrived when an answer to what was sent after it has.
    for (channel, ..) in &under_way {
        HealthClient::new(channel.clone())
            .check(HealthCheckRequest::default())
            .await
            .expect("an answer");
    }

    daemon.tell_to_stop();

    for (channel, mut health, sender, answer) in under_way {
        let then = health.message().await.unwrap().expect("a state");
        assert_eq!(then.status(), ServingStatus::NotServing);
        let end = health.message().await;
        assert!(matches!(end, Ok(None)), "{end:?}");
        sender.send(Bytes::copy_from_slice(&message[9..])).unwrap();
        drop(sender);
        let told = told(answer.await.unwrap().expect("an answer")).await;
        assert_eq!(told.status[0].as_deref(), Some("0"), "{told:?}");
        drop(channel);
    }
    assert!(
        tokio::net::TcpStream::connect(daemon.address)
            .await
            .is_err()
    );
    assert!(!path.exists());
    daemon.stop().await;
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off() {
    let setup = Setup {
        manner: Manner {
            threads: 1,
            drain: Duration::from_millis(50),
            ..Manner::default()
        },
        ..Setup::default()
    };
    let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    let channel = daemon.connect().await;
    let mut health = watch(channel.clone()).await;
    health.message().await.unwrap().expect("a state");
    let (sender, coming) = mpsc::unbounded_channel();
    sender.send(Bytes::from_static(&[0, 0, 0])).unwrap();
    let sending = channel.clone();
    let unfinished =
        tokio::spawn(
            async move { send(&sending, "IsAuthorized", Pieces::Coming(coming), &[]).await },
        );
    HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .expect("an answer");

    daemon.stop().await;

    unfinished.await.unwrap().expect_err("nothing to answer");
    // NOT_SERVING may have come through before the end.
    while let Ok(Some(state)) = health.message().await {
        assert_eq!(state.status(), ServingStatus::NotServing);
    }
    drop(sender);
}
