//! A connection that is watched: how much came and went, and since when what is sent is
//! not taken. Whoever sends nothing, takes nothing, or asks nothing is ended after a
//! while ([`Watched::watch`]); what a client holds meanwhile is bounded by sizes
//! ([`limits`](super::limits)).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::calls::Ended;
use super::limits::{Limits, MAX_WAITING_BYTES, PREFACE_BYTES};
use super::waiting::Waiting;
use crate::measure::Count;
use crate::world;

/// What is known of a connection. Written by the thread that serves it.
#[derive(Debug, Default)]
pub struct Watched {
    /// Bytes that came.
    read: Count,
    /// Bytes that went.
    written: Count,
    /// Bytes of answers that were made, less what went before them.
    handed: Count,
    /// The least that waited at any moment since this was looked at last.
    least: Count,
    /// Since when nothing could be sent, in ticks; 0 if it can.
    blocked_since: Count,
    /// Requests that came.
    requests: Count,
    /// Answers that are made piece by piece.
    answers: Mutex<Vec<Weak<Taken>>>,
    /// Requests whose message is still to come.
    pub waiting: Waiting,
}

/// Since when a piece of an answer waits to be taken, in ticks; 0 while none does.
#[derive(Debug, Default)]
pub struct Taken(Count);

impl Taken {
    /// A piece was handed out: it counts from now.
    pub fn ready(&self) {
        self.0.set(world::ticks().max(1));
    }

    /// It was taken: more is asked for.
    pub fn asked(&self) {
        self.0.set(0);
    }
}

impl Watched {
    /// A request came.
    #[inline]
    pub fn request(&self) {
        self.requests.bump();
    }

    /// Bytes of an answer were made, and are to go.
    pub fn hand_over(&self, bytes: usize) {
        // What went before is no credit for what comes.
        let handed = self.handed.get().max(self.written.get());
        self.handed.set(handed.saturating_add(bytes as u64));
    }

    /// Whether so much waits to be taken that no more should be made.
    pub fn is_full(&self) -> bool {
        self.waiting() > MAX_WAITING_BYTES
    }

    fn waiting(&self) -> u64 {
        self.handed.get().saturating_sub(self.written.get())
    }

    fn went(&self, bytes: usize) {
        self.written.bump_by(bytes as u64);
        self.least.set(self.least.get().min(self.waiting()));
    }

    /// Writes off what did not go in all the time since the last turn. A client that
    /// resets a stream has its answer thrown away by HTTP/2, which says nothing of it:
    /// it must not count as waiting for ever.
    fn write_off(&self) {
        let lost = self.least.get().min(self.waiting());
        self.handed.set(self.handed.get().saturating_sub(lost));
        self.least.set(self.waiting());
    }

    /// Has an answer watched.
    pub fn answer(&self) -> Arc<Taken> {
        let taken = Arc::new(Taken::default());
        taken.ready();
        let mut answers = self.answers();
        // Forgotten now and then, so that it takes no more room than answers do.
        if answers.len() == answers.capacity() {
            answers.retain(|answer| answer.strong_count() > 0);
        }
        answers.push(Arc::downgrade(&taken));
        taken
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Taken>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a piece of an answer has waited for that long, and whether there is any
    /// answer under way.
    fn look_at_answers(&self, now: u64, limit: Duration) -> (bool, bool) {
        let mut answers = self.answers();
        answers.retain(|answer| answer.strong_count() > 0);
        let is_stuck = answers
            .iter()
            .filter_map(Weak::upgrade)
            .any(|taken| has_passed(taken.0.get(), now, limit));
        (is_stuck, !answers.is_empty())
    }

    /// Completes when the connection should end, with why.
    pub async fn watch(&self, limits: Limits) -> Ended {
        let turn = (limits.stall.min(limits.idle) / 4).max(Duration::from_millis(10));
        let patience = limits.stall.div_duration_f64(turn).ceil() as u64;
        let mut requests = self.requests.get();
        let mut asked_at = world::ticks();
        // How much is left of the time to begin.
        let mut beginning = Some(limits.handshake);
        loop {
            let rest = beginning.map_or(turn, |left| left.min(turn));
            tokio::time::sleep(rest).await;
            self.write_off();
            let now = world::ticks();
            self.waiting.turn(patience, now);
            if let Some(left) = beginning {
                beginning = Some(left.saturating_sub(rest)).filter(|left| !left.is_zero());
                if beginning.is_none() && self.read.get() < PREFACE_BYTES {
                    return Ended::Handshake;
                }
                continue;
            }
            let (is_stuck, is_answering) = self.look_at_answers(now, limits.stall);
            if is_stuck || has_passed(self.blocked_since.get(), now, limits.stall) {
                return Ended::Stalled;
            }
            let came = self.requests.get();
            if came != requests || is_answering {
                (requests, asked_at) = (came, now);
            } else if has_passed(asked_at.max(1), now, limits.idle) {
                return Ended::Idle;
            }
        }
    }
}

/// Whether that moment is longer ago; never if there is none.
fn has_passed(since: u64, now: u64, limit: Duration) -> bool {
    since != 0 && Duration::from_nanos(now.saturating_sub(since)) > limit
}

/// The bytes of a connection that is watched.
pub struct Guarded<S> {
    inner: S,
    watched: Arc<Watched>,
}

impl<S> Guarded<S> {
    /// Watches a connection.
    pub fn new(inner: S, watched: Arc<Watched>) -> Self {
        Self { inner, watched }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.watched.went(*bytes);
                if self.watched.blocked_since.get() != 0 {
                    self.watched.blocked_since.set(0);
                }
            }
            Poll::Pending if self.watched.blocked_since.get() == 0 => {
                self.watched.blocked_since.set(world::ticks().max(1));
            }
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let came = buffer.filled().len().saturating_sub(before);
        self.watched.read.bump_by(came as u64);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_before_is_no_credit_for_what_is_not_taken() {
        let watched = Watched::default();
        watched.written.set(100 * MAX_WAITING_BYTES);
        assert!(!watched.is_full());
        let most = usize::try_from(MAX_WAITING_BYTES).expect("it is little");
        watched.hand_over(most);
        assert!(!watched.is_full());
        watched.hand_over(1);
        assert!(watched.is_full());
        watched.went(1);
        assert!(!watched.is_full());
    }

    #[test]
    fn what_is_thrown_away_unsent_does_not_count_for_ever() {
        let watched = Watched::default();
        let most = usize::try_from(MAX_WAITING_BYTES).expect("it is little");
        let turn = || {
            watched.write_off();
            watched.is_full()
        };
        watched.hand_over(most + 1);
        assert!(turn(), "it came in this turn, and may go in the next");
        // Others come and go meanwhile.
        watched.hand_over(1_000);
        watched.went(1_000);
        assert!(!turn());
        // What is on its way is not written off while less than all of it has gone.
        watched.hand_over(most);
        assert!(!turn());
        watched.hand_over(1);
        watched.went(1);
        watched.hand_over(1);
        assert!(watched.is_full());
        watched.went(most);
        assert!(!turn());
    }
}
