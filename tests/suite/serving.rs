//! How the daemon serves: the same answers however a check is sent, connections
//! that are many, slow or in the way, both listeners, the end, and the client for
//! services that ask on every request.

mod answers;
mod checker;
mod connections;
mod drain;
mod fronted;
mod late;
mod unix;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame};
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::transport::Channel;
use tower::{Service as _, ServiceExt as _};

use self::fronted::Fronted;
use crate::coverage::bearer;

const SERVICE: &str = "/roster.v1.AuthorizationService";

/// A body of exactly these pieces, each a DATA frame of its own.
enum Pieces {
    Given(VecDeque<Bytes>),
    /// As they come.
    Coming(mpsc::UnboundedReceiver<Bytes>),
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = match self.get_mut() {
            Self::Given(pieces) => Poll::Ready(pieces.pop_front()),
            Self::Coming(pieces) => pieces.poll_recv(context),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Calls a method of the authorization service with that body and further headers.
async fn send(
    channel: &Channel,
    method: &str,
    pieces: Pieces,
    headers: &[(&'static str, &str)],
) -> Result<Response<tonic::body::Body>, tonic::transport::Error> {
    let mut request = Request::post(format!("{SERVICE}/{method}"))
        .header("authorization", bearer())
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(tonic::body::Body::new(pieces))
        .expect("a request");
    let mut channel = channel.clone();
    channel.ready().await?.call(request).await
}

/// The bytes of an answer, and its status, message and details.
#[derive(Debug, PartialEq)]
struct Told {
    bytes: Vec<u8>,
    status: [Option<String>; 3],
}

async fn told(response: Response<tonic::body::Body>) -> Told {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut last = head.headers;
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match frame {
            None => break,
            Some(Err(status)) => {
                last = HeaderMap::new();
                last.insert("grpc-status", i32::from(status.code()).into());
                break;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => bytes.extend(data),
                Err(frame) => last = frame.into_trailers().expect("trailers"),
            },
        }
    }
    let text = |name: &str| {
        last.get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let status = ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(text);
    Told { bytes, status }
}

/// A message with what goes before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], message].concat()
}
