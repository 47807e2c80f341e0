//! A call from its first byte to its last: counted, measured, and, where it manages
//! something, told of in the log under its request id.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};
use tonic::{Code, Status};
use tracing::Span;

use super::body::Answer;
use super::calls::{Calls, Place, ThreadCounts};
use super::guarded::{Taken, Watched};
use super::methods::{Method, code_name};
use super::traced::Traced;
use crate::world;

/// The metadata that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The longest request id that is taken over, in bytes; instead of a longer one, one is
/// made.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What names a request in answers and in the log: what the client sent, if it is short
/// and visible ASCII, or else what is drawn here.
pub fn request_id(headers: &HeaderMap, draw: impl FnOnce() -> [u8; 16]) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|given| {
        let bytes = given.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= MAX_REQUEST_ID_BYTES
            && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let hex: String = draw().iter().map(|byte| format!("{byte:02x}")).collect();
        HeaderValue::from_str(&hex).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// Where the name of the caller is left by whoever recognises them.
#[derive(Clone, Debug, Default)]
pub struct Speaker(Arc<OnceLock<String>>);

impl Speaker {
    /// The caller is known by that name.
    pub fn is(&self, name: &str) {
        // Whoever recognised them first is right.
        drop(self.0.set(name.to_owned()));
    }

    fn name(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

/// What the log says of a call.
#[derive(Debug)]
pub struct Told {
    /// What names the request.
    pub request_id: HeaderValue,
    /// Who calls, once that is known.
    pub speaker: Speaker,
}

/// What log lines of a call have in common; found on the request by whoever answers it.
#[derive(Clone, Debug)]
pub struct CallSpan(pub Span);

impl Told {
    /// What log lines of the call have in common.
    pub fn span(&self, calls: &Calls, method: Place) -> CallSpan {
        let name = calls.method(method).map_or("", |method| &method.name);
        let request_id = self.request_id.to_str().unwrap_or_default();
        CallSpan(tracing::info_span!("call", method = name, request_id))
    }
}

impl Told {
    fn tell(&self, method: &Method, code: Code, took: u64) {
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    target: "roster::calls",
                    service = method.service,
                    method = method.name,
                    code = code_name(code as usize),
                    milliseconds = took / 1_000_000,
                    caller = self.speaker.name(),
                    request_id = self.request_id.to_str().unwrap_or_default(),
                    "a call ended"
                )
            };
        }
        // Nobody who may not call is to fill the disk with lines.
        if code == Code::Unauthenticated {
            tell!(debug);
        } else {
            tell!(info);
        }
    }
}

/// A call under way; dropped before its end, its caller has gone away.
pub struct Call {
    counts: Arc<ThreadCounts>,
    calls: Arc<Calls>,
    method: Place,
    began: u64,
    told: Option<Told>,
    span: Option<Traced>,
    is_over: bool,
}

impl Call {
    /// A call that comes in on this thread.
    pub fn begin(calls: &Arc<Calls>, counts: &Arc<ThreadCounts>, method: Place) -> Self {
        counts.start(method);
        Self {
            counts: Arc::clone(counts),
            calls: Arc::clone(calls),
            method,
            began: world::ticks(),
            told: None,
            span: None,
            is_over: false,
        }
    }

    /// Has the log tell of it.
    #[must_use]
    pub fn told(mut self, told: Told) -> Self {
        self.told = Some(told);
        self
    }

    /// Has it appear in the trace that its headers name, or in one of its own.
    #[must_use]
    pub fn traced(mut self, headers: &HeaderMap) -> Self {
        let method = self.calls.method(self.method);
        let request_id = self.told.as_ref().map(|told| &told.request_id);
        self.span = method.map(|method| Traced::begin(headers, method, request_id));
        self
    }

    fn end(&mut self, code: Code) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let took = world::ticks().saturating_sub(self.began);
        self.counts.end(self.method, code, took);
        if let Some(span) = self.span.take() {
            span.end(code);
        }
        if let (Some(told), Some(method)) = (&self.told, self.calls.method(self.method)) {
            told.tell(method, code, took);
        }
    }

    /// The call is over with this response, or will be with its last piece.
    pub fn follow(
        mut self,
        mut response: Response<Answer>,
        watched: &Arc<Watched>,
    ) -> Response<Answer> {
        if let Some(told) = &self.told {
            let id = told.request_id.clone();
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if let Some(code) = code_in(response.headers()) {
            self.end(code);
            return response;
        }
        let method = self.calls.method(self.method);
        let is_stream = method.is_some_and(Method::is_stream);
        if is_stream {
            watched.stream();
        }
        response.map(|answer| {
            Answer::Followed(Box::new(Followed {
                answer,
                call: self,
                taken: watched.answer(),
                watched: Arc::clone(watched),
                is_stream,
            }))
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get(GRPC_STATUS)?;
    Some(Code::from_bytes(status.as_bytes()))
}

/// The answer to a call that is not over before it is.
pub struct Followed {
    answer: Answer,
    call: Call,
    taken: Arc<Taken>,
    watched: Arc<Watched>,
    is_stream: bool,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.taken.asked();
        let piece = Pin::new(&mut self.answer).poll_frame(context);
        match &piece {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    self.call.end(code);
                }
                self.watched
                    .hand_over(frame.data_ref().map_or(0, Bytes::len));
                self.taken.ready();
            }
            Poll::Ready(Some(Err(status))) => self.call.end(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if self.is_stream {
            self.watched.streamed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_id_if_that_can_be_printed_and_else_gets_one() {
        let id = |given: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).expect("a value"));
            }
            let id = request_id(&headers, || [0xab; 16]);
            id.to_str().expect("text").to_owned()
        };
        let drawn = "ab".repeat(16);
        assert_eq!(id(Some(b"order-17")), "order-17");
        assert_eq!(id(None), drawn);
        assert_eq!(id(Some(b"")), drawn);
        assert_eq!(id(Some(b"a b")), drawn);
        assert_eq!(id(Some("\u{e4}".as_bytes())), drawn);
        assert_eq!(id(Some(&[b'x'; 128])), "x".repeat(128));
        assert_eq!(id(Some(&[b'x'; 129])), drawn);
    }
}
