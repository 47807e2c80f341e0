//! A request that is read for only so long: whoever has begun to send a message must go
//! on with it. Between the messages of a stream a client may be silent as it likes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use super::hot::answer::HEADER_BYTES;
use super::status;

/// A request's body.
pub struct Patient<B> {
    inner: B,
    limit: Duration,
    /// Runs while something is owed; on the heap, as it seldom does.
    waiting: Option<Pin<Box<Sleep>>>,
    message: Progress,
    /// Whether nothing but silence may lie between messages.
    is_stream: bool,
}

/// How far a message has come.
#[derive(Debug, Default)]
struct Progress {
    /// The bytes of its header that are there.
    header: [u8; HEADER_BYTES],
    got: usize,
    /// How many bytes of the message itself are missing.
    left: usize,
}

impl Progress {
    /// Whether something of a message is there and something is not.
    fn is_within(&self) -> bool {
        self.got > 0 || self.left > 0
    }

    fn take(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(data.len());
                self.left -= taken;
                data.advance(taken);
                continue;
            }
            let Some((&byte, rest)) = data.split_first() else {
                return;
            };
            data = rest;
            if let Some(place) = self.header.get_mut(self.got) {
                *place = byte;
            }
            self.got += 1;
            if self.got == HEADER_BYTES {
                let [_, length @ ..] = self.header;
                self.left = u32::from_be_bytes(length) as usize;
                self.got = 0;
            }
        }
    }
}

impl<B> Patient<B> {
    /// Waits for so long for each piece of a message; of a stream's, for so long as it
    /// likes for its beginning.
    pub fn new(inner: B, limit: Duration, is_stream: bool) -> Self {
        Self {
            inner,
            limit,
            waiting: None,
            message: Progress::default(),
            is_stream,
        }
    }
}

impl<B> Body for Patient<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.waiting = None;
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                self.message.take(data);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.is_stream && !self.message.is_within() {
            self.waiting = None;
            return Poll::Pending;
        }
        let limit = self.limit;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Box::<Status>::new(status::too_slow())))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_owed_from_its_first_byte_to_its_last() {
        let mut progress = Progress::default();
        for (data, is_within) in [
            (&[][..], false),
            (&[0], true),
            (&[0, 0, 0], true),
            (&[2, 7], true),
            (&[7], false),
            (&[0, 0, 0, 0, 0], false),
            (&[0, 0, 0, 0, 1, 7, 0], true),
            (&[0, 0, 0, 1], true),
            (&[7, 0, 0, 0, 0, 0], false),
        ] {
            progress.take(data);
            assert_eq!(progress.is_within(), is_within, "{data:?}");
        }
    }
}
