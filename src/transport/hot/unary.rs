//! One message in, one message out, over HTTP/2 as gRPC has it.
//!
//! A message that came as a whole in one piece is used where it lies. Of anything
//! else, what was read is put back in front of the rest, and the body is as it was.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::answer::HEADER_BYTES;
use crate::transport::body::Answer;

/// What was read of the body of a call with one message.
#[derive(Default)]
pub struct Receiving {
    message: Option<Bytes>,
    /// What came that is no such message.
    other: Option<Result<Frame<Bytes>, hyper::Error>>,
}

impl Receiving {
    /// Reads on to the end. Ready with the message, header included, if the body is one
    /// uncompressed message in one piece; with nothing as soon as it is anything else.
    #[inline]
    pub fn poll(&mut self, body: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                None => return Poll::Ready(self.message.take()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {
                        // Mostly that was the end, and need not be asked for.
                        if self.message.is_some() && body.is_end_stream() {
                            return Poll::Ready(self.message.take());
                        }
                    }
                    Ok(data) if self.message.is_none() && is_whole(&data) => {
                        self.message = Some(data);
                    }
                    Ok(data) => {
                        self.other = Some(Ok(Frame::data(data)));
                        return Poll::Ready(None);
                    }
                    // Trailers of a request say nothing that a check would heed.
                    Err(_) => {}
                },
                Some(Err(error)) => {
                    self.other = Some(Err(error));
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// The body as it was before anything was read.
    pub fn replayed(self, rest: Incoming) -> Replayed {
        let message = self.message.map(|message| Ok(Frame::data(message)));
        Replayed {
            read: message.into_iter().chain(self.other).collect(),
            rest: Some(rest),
        }
    }
}

/// Whether that is one message that isn't compressed, and nothing else.
fn is_whole(data: &Bytes) -> bool {
    let Some((header, message)) = data.split_first_chunk::<HEADER_BYTES>() else {
        return false;
    };
    let [compressed, length @ ..] = *header;
    compressed == 0 && u32::from_be_bytes(length) as usize == message.len()
}

/// The message without what goes before it.
pub fn content(message: &Bytes) -> &[u8] {
    message.get(HEADER_BYTES..).unwrap_or_default()
}

/// The response with that message, header included, and status OK.
pub fn respond(message: Bytes) -> Response<Answer> {
    Answer::message(message).into_response()
}

/// A body of which something was read already.
pub struct Replayed {
    read: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    rest: Option<Incoming>,
}

impl Replayed {
    /// A body of which everything was read.
    pub fn whole(message: Bytes) -> Self {
        Self {
            read: VecDeque::from([Ok(Frame::data(message))]),
            rest: None,
        }
    }
}

impl Body for Replayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_uncompressed_message_is_whole() {
        let whole = |bytes: &[u8]| is_whole(&Bytes::copy_from_slice(bytes));
        assert!(whole(&[0, 0, 0, 0, 0]));
        assert!(whole(&[0, 0, 0, 0, 2, 7, 7]));
        for other in [
            &[][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 1],
            &[1, 0, 0, 0, 1, 7],
            &[2, 0, 0, 0, 1, 7],
            &[0, 0, 0, 0, 1, 7, 0],
            &[0, 1, 0, 0, 1, 7],
        ] {
            assert!(!whole(other), "{other:?}");
        }
    }
}
