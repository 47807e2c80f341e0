//! A connection that is watched: how much came and went, and since when what is sent is
//! not taken. Whoever sends nothing, takes nothing, or asks nothing is ended after a
//! while ([`Watched::watch`]); what a client holds meanwhile is bounded by sizes
//! ([`limits`](super::limits)).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::allowance::Allowance;
use super::calls::Ended;
use super::limits::{Limits, MAX_STREAMS, MAX_WAITING_BYTES, PREFACE_BYTES};
use super::pace::Pace;
use super::waiting::Waiting;
use crate::measure::Count;
use crate::world;

/// How many bytes are read at a time, or a little more: what they ask is held until it is
/// answered.
const AT_ONCE: u64 = 8 * 1_024;

/// How many requests tell what each of them costs.
const WEIGHED_OF: u64 = 16;
/// How many bytes of a batch cost as much as a check.
const BYTES_OF_CHECK: u64 = 800;

/// What is known of a connection. Written by the thread that serves it.
#[derive(Debug, Default)]
pub struct Watched {
    /// How well the thread keeps up that serves it.
    pace: Arc<Pace>,
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
    /// 1 while it shares in what may be open on its thread.
    shares: Count,
    /// Requests that came.
    requests: Count,
    /// The bytes of batches that came with the last of them, and how many checks more each
    /// request costs for that.
    batches: Count,
    weight: Count,
    /// Answers that are made piece by piece.
    answers: Mutex<Vec<Weak<Taken>>>,
    /// How many of them are streams, which may stay.
    streams: Count,
    /// Requests whose message is still to come.
    pub waiting: Waiting,
    /// How many bytes came since it was to read on.
    at_once: Count,
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
    /// A connection that is served on the thread whose pace that is.
    pub fn new(pace: Arc<Pace>) -> Self {
        Self {
            pace,
            ..Self::default()
        }
    }

    /// A request came.
    #[inline]
    pub fn request(&self) {
        self.requests.bump();
        if self.shares.get() == 0 {
            self.join();
        }
        if self.requests.get().is_multiple_of(WEIGHED_OF) {
            self.weight
                .set(self.batches.get() / (WEIGHED_OF * BYTES_OF_CHECK));
            self.batches.set(0);
        }
    }

    /// So many bytes of a batch came, or of what is refused: that costs its bytes as well.
    pub fn batch(&self, bytes: usize) {
        self.batches.bump_by(bytes as u64);
    }

    /// It has its turn to read, and to answer what that brings. Rounds should take no
    /// longer than that.
    pub fn turn(&self, lag: Duration) {
        self.pace.turn(lag);
        self.read_on();
    }

    /// As much as at first may be read once more.
    pub fn read_on(&self) {
        self.at_once.set(0);
    }

    /// Nothing more is read until it is to read on, or has its turn again.
    pub fn read_no_more(&self) {
        self.at_once.set(AT_ONCE);
    }

    /// Whether as much was read as may be.
    pub fn is_read_enough(&self) -> bool {
        self.at_once.get() >= AT_ONCE
    }

    /// How many requests may be open on it now, besides streams.
    fn share(&self) -> u32 {
        self.pace.open(1 + self.weight.get())
    }

    /// It shares in what may be open on its thread, from the beginning, so that many that
    /// come at once are seen to be many; not while nothing is asked on it.
    #[cold]
    pub fn join(&self) {
        self.shares.set(1);
        self.pace.joined();
    }

    /// It does no longer.
    pub fn leave(&self) {
        if self.shares.get() != 0 {
            self.shares.set(0);
            self.pace.left();
        }
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

    /// A stream is being answered.
    pub fn stream(&self) {
        self.streams.bump();
    }

    /// It was.
    pub fn streamed(&self) {
        let streams = self.streams.get().saturating_sub(1);
        self.streams.set(streams);
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
        let mut seen = requests;
        let mut asked_at = world::ticks();
        // How much is left of the time to begin.
        let mut beginning = Some(limits.handshake);
        loop {
            let rest = beginning.map_or(turn, |left| left.min(turn));
            tokio::time::sleep(rest).await;
            self.write_off();
            let now = world::ticks();
            let came = self.requests.get();
            if came == seen {
                self.leave();
            }
            seen = came;
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
    allowance: Allowance,
}

impl<S> Guarded<S> {
    /// Watches a connection.
    pub fn new(inner: S, watched: Arc<Watched>) -> Self {
        Self {
            inner,
            watched,
            allowance: Allowance::new(MAX_STREAMS),
        }
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
        let this = &mut *self;
        if this.watched.is_read_enough() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        let came = buffer.filled().len().saturating_sub(before);
        let bytes = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        this.allowance.sift(bytes);
        this.watched.read.bump_by(came as u64);
        this.watched.at_once.bump_by(came as u64);
        read
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// Says the first thing that hyper says; how many bytes of it that was.
    #[inline]
    fn poll_begin(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> io::Result<Option<usize>> {
        let taken = self
            .allowance
            .begin(self.watched.pace.open_at_first(), bytes);
        if taken.is_some()
            && let Poll::Ready(said) = self.poll_say(context)
        {
            said?;
        }
        Ok(taken)
    }

    /// Writes what is said beside hyper.
    #[cold]
    fn poll_say(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.allowance.unwritten().is_empty() {
            let unwritten = self.allowance.unwritten();
            let written = Pin::new(&mut self.inner).poll_write(context, unwritten);
            self.note(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.allowance.wrote(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(taken) = self.poll_begin(context, bytes)? {
            return Poll::Ready(Ok(taken));
        }
        if !self.allowance.unwritten().is_empty() {
            ready!(self.poll_say(context))?;
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = parts.iter().find(|part| !part.is_empty());
        if let Some(taken) = first.map_or(Ok(None), |part| self.poll_begin(context, part))? {
            return Poll::Ready(Ok(taken));
        }
        if !self.allowance.unwritten().is_empty() {
            ready!(self.poll_say(context))?;
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever flushes has written whole frames.
        let (share, long) = (self.watched.share(), self.watched.streams.get());
        self.allowance.say(share, long);
        while !self.allowance.unwritten().is_empty() {
            ready!(self.poll_say(context))?;
            self.allowance.say(share, long);
        }
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection on a thread that is as late as that, and the other end of it.
    fn connected(lag: Duration) -> (Guarded<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let pace = Arc::new(Pace::default());
        pace.round(lag, 1, Duration::MAX);
        pace.round(lag, 1_000_000_000, Duration::MAX);
        assert_eq!(pace.sustained(), lag);
        let (here, there) = tokio::io::duplex(1 << 20);
        let watched = Arc::new(Watched::new(pace));
        watched.turn(Duration::MAX);
        (Guarded::new(here, watched), there)
    }

    /// Reads until there is no more, or no more is read.
    fn read(connection: &mut Guarded<tokio::io::DuplexStream>) -> io::Result<usize> {
        let (mut all, mut buffer) = (0, [0; 1_000]);
        while let Some(read) = connection.read(&mut buffer).now_or_never() {
            all += read?;
        }
        Ok(all)
    }

    #[tokio::test]
    async fn so_much_is_read_at_a_time_and_the_rest_when_it_is_to_be_read_on() {
        let (mut connection, mut client) = connected(Duration::ZERO);
        let most = usize::try_from(AT_ONCE).expect("it is little");
        client.write_all(&vec![0; 2 * most]).await.expect("room");
        let first = read(&mut connection).expect("bytes");
        assert!((most..most + 1_000).contains(&first), "{first}");
        assert_eq!(read(&mut connection).expect("nothing"), 0);
        connection.watched.read_on();
        let second = read(&mut connection).expect("bytes");
        assert_eq!(first + second, 2 * most);
        connection.watched.turn(Duration::MAX);
        connection.watched.read_no_more();
        client.write_all(&[0; 10]).await.expect("room");
        assert_eq!(read(&mut connection).expect("nothing"), 0);
    }

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
