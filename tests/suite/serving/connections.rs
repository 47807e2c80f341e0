//! Connections that are many, slow, greedy or in the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost::bytes::Bytes;
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::store::memory::MemoryStore;
use roster::transport::body::Answer;
use roster::transport::dispatch::{Connection, Dispatch};
use roster::transport::identities::Peer;
use roster::transport::server::Manner;
use roster::transport::serving::Handler;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::codegen::http::Request;
use tonic::transport::Endpoint;

use super::{Fronted, Pieces, framed, send, told};
use crate::harness::{Daemon, Setup, question, reason, with_key};

fn ask() -> v1::IsAuthorizedRequest {
    question("acme", "owner", "InstancesView", "Instance", "vm-1")
}

/// Notes on which thread each connection is served.
#[derive(Clone)]
struct Watching {
    inner: Dispatch,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Handler for Watching {
    type Session = Connection;

    fn connected(&self, peer: Peer) -> Connection {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().push(thread);
        self.inner.connected(peer)
    }
}

#[tokio::test]
async fn connections_are_spread_evenly_over_the_threads() {
    let manner = Manner {
        threads: 3,
        drain: Duration::from_secs(5),
        ..Manner::default()
    };
    let seen = Arc::default();
    let watching = Arc::clone(&seen);
    let fronted = Fronted::through(manner, |inner| Watching {
        inner,
        seen: watching,
    })
    .await;
    let mut channels = Vec::new();
    for _ in 0..9 {
        let endpoint = Endpoint::from_shared(format!("http://{}", fronted.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = AuthorizationServiceClient::new(with_key(channel.clone()));
        let status = client
            .is_authorized(ask())
            .await
            .expect_err("no organization");
        assert_eq!(status.code(), Code::NotFound);
        channels.push(channel);
    }
    let mut counts = BTreeMap::new();
    for thread in seen.lock().unwrap().iter() {
        *counts.entry(thread.clone()).or_insert(0) += 1;
    }
    let threads = ["serving-0", "serving-1", "serving-2"];
    assert_eq!(counts, threads.map(|thread| (thread.to_owned(), 3)).into());
    drop(channels);
    fronted.stop().await;
}

#[tokio::test]
async fn a_handler_in_front_answers_what_it_wants_and_leaves_the_rest() {
    let fronted = Fronted::start(Setup::default().manner, "Own", || {
        Box::pin(async { Answer::message(Bytes::from(framed(b"own"))).into_response() })
    })
    .await;
    let address = fronted.address;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let own = send(&channel, "Own", Pieces::Given([].into()), &[])
        .await
        .unwrap();
    assert_eq!(told(own).await.bytes, framed(b"own"));
    let unknown = send(&channel, "NoSuch", Pieces::Given([].into()), &[])
        .await
        .unwrap();
    assert_eq!(told(unknown).await.status[0].as_deref(), Some("12"));
    drop(channel);
    fronted.stop().await;
}

#[test]
fn checks_are_answered_while_the_runtime_for_everything_else_is_stuck() {
    let stuck = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let daemon = stuck.block_on(async {
        // What is not in memory has to be read on that runtime.
        let setup = Setup {
            budget: usize::MAX,
            ..Setup::default()
        };
        let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
        daemon.found("acme", "hypervisor-io").await;
        daemon
    });
    own.block_on(async {
        let channel = daemon.connect().await;
        let mut client = AuthorizationServiceClient::new(with_key(channel));
        client.is_authorized(ask()).await.expect("an answer");
        let (release, released) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        stuck.spawn(async move {
            began.send(()).unwrap();
            let _ = released.recv();
        });
        begun.await.unwrap();

        let answer = client.is_authorized(ask()).await.expect("an answer");
        assert_eq!(answer.into_inner().decision(), v1::Decision::Allow);
        let refused = question("nowhere", "owner", "InstancesView", "Instance", "vm-1");
        client.is_authorized(refused).await.expect_err("a refusal");
        let batch = v1::BatchIsAuthorizedRequest {
            requests: vec![ask(); 600],
            ..Default::default()
        };
        let answer = client.batch_is_authorized(batch).await.expect("answers");
        assert_eq!(answer.into_inner().items.len(), 600);
        let stream = tokio_stream::iter(vec![ask(); 600]);
        let mut answers = client
            .stream_is_authorized(stream)
            .await
            .unwrap()
            .into_inner();
        for _ in 0..600 {
            answers.message().await.unwrap().expect("an answer");
        }
        drop(release);
    });
    stuck.block_on(daemon.stop());
}

#[tokio::test]
async fn a_check_is_answered_while_a_long_list_waits_for_a_client_that_does_not_read() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    for number in 0..200 {
        let user = format!("{number}-{}", "u".repeat(100));
        daemon.add("acme", &user, &["viewer"]).await;
    }
    let channel = Endpoint::from_shared(format!("http://{}", daemon.address))
        .unwrap()
        .initial_stream_window_size(1_024)
        .connect()
        .await
        .unwrap();
    let list = v1::ListMembersRequest {
        organization: "acme".to_owned(),
        page_size: 200,
        ..Default::default()
    };
    let mut request = Request::post("/roster.v1.MemberService/ListMembers")
        .header("content-type", "application/grpc");
    request = request.header("authorization", crate::coverage::bearer());
    let body = Pieces::Given([Bytes::from(framed(&list.encode_to_vec()))].into());
    let request = request.body(tonic::body::Body::new(body)).unwrap();
    let mut calling = channel.clone();
    let calling = tower::ServiceExt::ready(&mut calling).await.unwrap();
    let unread = tower::Service::call(calling, request).await.unwrap();

    let mut client = AuthorizationServiceClient::new(with_key(channel.clone()));
    for _ in 0..50 {
        client.is_authorized(ask()).await.expect("an answer");
    }

    let read = told(unread).await;
    assert_eq!(read.status[0].as_deref(), Some("0"));
    assert!(read.bytes.len() > 20_000, "{}", read.bytes.len());
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_slowly_holds_up_nobody_and_is_answered_in_the_end() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    let message = framed(&ask().encode_to_vec());
    let channel = daemon.connect().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let (sender, coming) = tokio::sync::mpsc::unbounded_channel();
        sender.send(Bytes::copy_from_slice(&message[..7])).unwrap();
        let channel = channel.clone();
        let answer = tokio::spawn(async move {
            let body = Pieces::Coming(coming);
            told(send(&channel, "IsAuthorized", body, &[]).await.unwrap()).await
        });
        slow.push((sender, answer));
    }
    let mut client = AuthorizationServiceClient::new(with_key(channel));
    let quick = client
        .is_authorized(ask())
        .await
        .expect("an answer")
        .into_inner();
    for (sender, answer) in slow {
        sender.send(Bytes::copy_from_slice(&message[7..])).unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().bytes, framed(&quick.encode_to_vec()));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    let mut client = AuthorizationServiceClient::new(with_key(daemon.connect().await));
    let mut large = ask();
    large.correlation_id = "x".repeat(5 * 1024 * 1024);
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![large.clone()],
        ..Default::default()
    };
    let unary = client
        .is_authorized(large.clone())
        .await
        .expect_err("a refusal");
    assert_eq!(unary.code(), Code::OutOfRange, "{unary:?}");
    let batch = client
        .batch_is_authorized(batch)
        .await
        .expect_err("a refusal");
    assert_eq!(batch.code(), Code::OutOfRange, "{batch:?}");
    let stream = tokio_stream::iter([ask(), large]);
    let mut answers = client
        .stream_is_authorized(stream)
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().expect("an answer");
    let status = answers.message().await.expect_err("a refusal");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    client.is_authorized(ask()).await.expect("an answer");
    daemon.stop().await;
}

#[tokio::test]
async fn a_deadline_that_passes_ends_what_waits() {
    let daemon = Daemon::start().await;
    // Below tonic's client, which would keep the time itself.
    let stream = tokio::net::TcpStream::connect(daemon.address)
        .await
        .unwrap();
    let (mut sending, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for method in ["IsAuthorized", "BatchIsAuthorized", "IsAuthorizedWithToken"] {
        let (sender, coming) = tokio::sync::mpsc::unbounded_channel();
        sender.send(Bytes::from_static(&[0, 0])).unwrap();
        let request = Request::post(format!("http://localhost{}/{method}", super::SERVICE))
            .header("authorization", crate::coverage::bearer())
            .header("grpc-timeout", "50m")
            .header("content-type", "application/grpc")
            .body(Pieces::Coming(coming))
            .unwrap();
        let response = sending.send_request(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "4", "{method}");
        drop(sender);
    }
    drop(sending);
    connection.await.unwrap().unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn changes_lists_and_what_is_unknown_go_through_the_same_connection() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    daemon.add("acme", "ann", &["viewer"]).await;
    let status = daemon
        .members()
        .get_member(v1::GetMemberRequest {
            organization: "acme".to_owned(),
            user: "bob".to_owned(),
            ..Default::default()
        })
        .await
        .expect_err("no such member");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "NOT_FOUND")
    );
    let unknown = send(&daemon.bare(), "NoSuch", Pieces::Given([].into()), &[]).await;
    assert_eq!(
        told(unknown.unwrap()).await.status[0].as_deref(),
        Some("12")
    );
    daemon.stop().await;
}
