//! Checks on a thread whose rounds take longer than they have: what costs more than a
//! refusal is refused, and all is well when the thread is.

use std::time::Duration;

use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost::bytes::Bytes;
use roster::transport::server::Manner;
use tokio::net::TcpStream;
use tonic::codegen::http::Request;

use super::{Fronted, Pieces, SERVICE, Told, framed, told};
use crate::coverage::bearer;
use crate::harness::{Setup, question};

/// How long a round takes at least while somebody keeps the thread busy.
const ROUND: Duration = Duration::from_millis(20);

/// A client that keeps no time itself.
async fn connect(address: std::net::SocketAddr) -> SendRequest<Pieces> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sending, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sending
}

async fn ask(sending: &mut SendRequest<Pieces>, method: &str, deadline: Option<&str>) -> Told {
    let message = question("acme", "owner", "InstancesView", "Instance", "vm-1");
    let message = Bytes::from(framed(&message.encode_to_vec()));
    let mut request = Request::post(format!("http://localhost{SERVICE}/{method}"))
        .header("authorization", bearer())
        .header("content-type", "application/grpc");
    if let Some(deadline) = deadline {
        request = request.header("grpc-timeout", deadline);
    }
    let request = request.body(Pieces::Given([message].into())).unwrap();
    let response = sending.send_request(request).await.unwrap();
    told(response.map(tonic::body::Body::new)).await
}

#[tokio::test]
async fn what_costs_more_than_a_refusal_is_refused_where_it_would_be_late_and_nothing_else() {
    let manner = Manner {
        threads: 1,
        ..Setup::default().manner
    };
    // Keeps its thread busy for whoever asks for that, until they reset it.
    let fronted = Fronted::start(manner, "Busy", || {
        Box::pin(async {
            loop {
                std::thread::sleep(ROUND);
                tokio::task::yield_now().await;
            }
        })
    })
    .await;
    let address = fronted.address;
    // There is no organization; that is an answer as well.
    let (answered, refused) = (Some("5"), Some("8"));
    let mut hasty = connect(address).await;
    let first = ask(&mut hasty, "IsAuthorized", None).await;
    assert_eq!(first.status[0].as_deref(), answered);

    let mut busy = connect(address).await;
    let busy = tokio::spawn(async move { ask(&mut busy, "Busy", None).await });
    // As soon as it shows that a round takes longer than a millisecond.
    let told = loop {
        let told = ask(&mut hasty, "BatchIsAuthorized", Some("1m")).await;
        if told.status[0].as_deref() == refused {
            break told;
        }
    };
    assert!(told.bytes.is_empty());
    let mut others = connect(address).await;
    for deadline in [None, Some("1H"), None, Some("1M")] {
        let told = ask(&mut others, "IsAuthorized", deadline).await;
        assert_eq!(told.status[0].as_deref(), answered, "{deadline:?}");
    }
    // Whoever was refused is heard again.
    let again = ask(&mut hasty, "IsAuthorized", None).await;
    assert_eq!(again.status[0].as_deref(), answered);
    busy.abort();
    drop(busy.await);
    // All is well again, as far as the machine is.
    let mut well = connect(address).await;
    let told = loop {
        let told = ask(&mut well, "IsAuthorized", Some("1S")).await;
        if told.status[0].as_deref() == answered {
            break told;
        }
    };
    assert!(told.bytes.is_empty());
    drop((hasty, others, well));
    fronted.stop().await;
}
