//! What a stream of questions sends, and messages as the bytes they are.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::Stream;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// How many questions a stream has under way.
pub const WINDOW: usize = 512;

/// What a stream has under way.
#[derive(Default)]
pub struct Window {
    pub sent: VecDeque<Instant>,
    pub waker: Option<Waker>,
}

/// The questions of a stream, as many at a time as its window has room for.
pub struct Questions {
    pub messages: Arc<Vec<Bytes>>,
    pub window: Arc<Mutex<Window>>,
    pub next: usize,
    pub until: Instant,
}

impl Stream for Questions {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let now = Instant::now();
        if now >= self.until {
            return Poll::Ready(None);
        }
        {
            let mut window = self.window.lock().expect("no panic");
            if window.sent.len() >= WINDOW {
                window.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            window.sent.push_back(now);
        }
        self.next += 1;
        Poll::Ready(Some(self.messages[self.next % self.messages.len()].clone()))
    }
}

/// Sends and receives messages as the bytes they are.
#[derive(Clone, Copy)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.len());
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
