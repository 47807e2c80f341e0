//! What a response carries: one message, what a service makes, or what another
//! runtime makes and hands over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tonic::Status;

use super::caller::Hold;
use super::followed::Followed;
use super::status;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const OK: HeaderValue = HeaderValue::from_static("0");

/// A frame, or why there is none.
pub type Piece = Result<Frame<Bytes>, Status>;

/// The body of a response.
pub enum Answer {
    /// One message, and then that all is well.
    Message(Option<Bytes>),
    /// All is well, and that was said.
    Ended,
    /// What a service answers.
    Service(tonic::body::Body),
    /// What a service answers on another runtime.
    Relayed(mpsc::Receiver<Piece>),
    /// One of these, for as long as the caller is one.
    Held(Box<(Self, Hold)>),
    /// One of the others, whose end is waited for.
    Followed(Box<Followed>),
}

impl Answer {
    /// One message, with its header.
    pub fn message(message: Bytes) -> Self {
        Self::Message(Some(message))
    }

    /// The same for as long as the caller is one.
    #[must_use]
    pub fn held(self, hold: Hold) -> Self {
        match self {
            Self::Message(_) | Self::Ended => self,
            Self::Service(body) if body.is_end_stream() => Self::Service(body),
            longer => Self::Held(Box::new((longer, hold))),
        }
    }

    /// A response with this as its body.
    pub fn into_response(self) -> Response<Self> {
        let mut response = Response::new(self);
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }
}

impl From<tonic::body::Body> for Answer {
    fn from(body: tonic::body::Body) -> Self {
        Self::Service(body)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Self::Message(message) => Poll::Ready(Some(Ok(match message.take() {
                Some(message) => Frame::data(message),
                None => {
                    *self = Self::Ended;
                    let mut trailers = HeaderMap::with_capacity(1);
                    trailers.insert(GRPC_STATUS, OK);
                    Frame::trailers(trailers)
                }
            }))),
            Self::Ended => Poll::Ready(None),
            Self::Held(held) => {
                let (inner, hold) = &mut **held;
                if inner.is_end_stream() {
                    return Poll::Ready(None);
                }
                if hold.is_lost(context) {
                    *self = Self::Ended;
                    let trailers = status::trailers(status::unauthenticated());
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Pin::new(inner).poll_frame(context)
            }
            Self::Service(body) => Pin::new(body).poll_frame(context),
            Self::Followed(answer) => Pin::new(&mut **answer).poll_frame(context),
            Self::Relayed(pieces) => match pieces.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(piece)) => {
                    if piece.as_ref().map_or(true, Frame::is_trailers) {
                        *self = Self::Ended;
                    }
                    Poll::Ready(Some(piece))
                }
                // Whoever made them was cut off before the end.
                Poll::Ready(None) => {
                    *self = Self::Ended;
                    Poll::Ready(Some(Err(status::cut_off())))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Service(body) => body.is_end_stream(),
            Self::Held(held) => held.0.is_end_stream(),
            Self::Followed(answer) => answer.is_end_stream(),
            Self::Message(_) | Self::Relayed(_) => false,
        }
    }
}
