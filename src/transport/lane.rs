//! The turns that batches get on a serving thread.
//!
//! A batch takes as long as a hundred single checks, and must not make them wait. So on
//! each thread one batch works at a time, in the order in which they came, and never for
//! long: after a piece of work it rests until everything else had its turn, and then works
//! for no more than a ninth of the time that it rested. A thread that has more to do than
//! it can gives batches a tenth of its time; one that has nothing else to do gives all.
//!
//! How long what waits already will take is known from what went before, so that a batch
//! that would be answered too late is refused before it is read. Where that was wrong, it
//! is refused when its turn comes too late.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::measure::Count;
use crate::world;

/// How much longer than it works a batch rests on a thread that others want to use.
const RESTS: u64 = 9;
/// For how long a batch works at least before it rests, in nanoseconds.
const LEAST_WORK: u64 = 20_000;
/// How large a batch is before any was seen, in bytes.
const USUAL_BYTES: u64 = 64 * 1_024;
/// How long a kibibyte takes before any was timed, in nanoseconds.
const USUAL_PACE: u64 = 4_096;
/// Of how many batches an average tells: one new one changes it by such a part.
const AVERAGE_OF: u64 = 8;

/// The batches of one thread, which alone writes what is counted here.
#[derive(Debug)]
pub struct Lane {
    turn: Arc<Semaphore>,
    /// Batches that were let in and are still to be read.
    expected: Count,
    /// Bytes of those that were read and are not answered.
    waiting: Count,
    /// What a batch has on average, in bytes.
    usual: Count,
    /// How long a kibibyte takes on average, in nanoseconds, rests included.
    pace: Count,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
}

impl Default for Lane {
    fn default() -> Self {
        let (usual, pace) = (Count::default(), Count::default());
        usual.set(USUAL_BYTES);
        pace.set(USUAL_PACE);
        Self {
            turn: Arc::new(Semaphore::new(1)),
            expected: Count::default(),
            waiting: Count::default(),
            usual,
            pace,
        }
    }
}

impl Lane {
    /// That of the thread that this is called on.
    pub fn here() -> Arc<Self> {
        HERE.with_borrow_mut(|here| Arc::clone(here.get_or_insert_default()))
    }

    /// How long all that was let in will take.
    pub fn ahead(&self) -> Duration {
        let expected = self.expected.get().saturating_mul(self.usual.get());
        let bytes = self.waiting.get().saturating_add(expected);
        Duration::from_nanos(bytes.saturating_mul(self.pace.get()) / 1_024)
    }

    /// Lets in a batch that is still to be read, and waits no longer than that for its
    /// turn.
    pub fn expect(self: &Arc<Self>, patience: Duration) -> Expected {
        self.expected.set(self.expected.get() + 1);
        Expected {
            lane: Arc::clone(self),
            patience,
            bytes: 0,
        }
    }

    fn learn(average: &Count, value: u64) {
        let before = average.get();
        average.set(before - before / AVERAGE_OF + value / AVERAGE_OF);
    }
}

/// A batch that was let in; dropped, it is counted no more.
#[derive(Debug)]
pub struct Expected {
    lane: Arc<Lane>,
    /// How long it waits for its turn.
    patience: Duration,
    /// How large it is, once it was read.
    bytes: u64,
}

impl Expected {
    /// It was read, and waits for its turn; nothing if that came too late.
    pub async fn turn(&mut self, bytes: usize) -> Option<Turn<'_>> {
        self.take_back();
        let lane = &self.lane;
        self.bytes = (bytes as u64).max(1);
        lane.waiting.set(lane.waiting.get() + self.bytes);
        Lane::learn(&lane.usual, self.bytes);
        let came = world::ticks();
        // It is never closed; if it were, everybody would have their turn at once.
        let permit = Arc::clone(&lane.turn).acquire_owned().await.ok();
        let now = world::ticks();
        let waited = Duration::from_nanos(now.saturating_sub(came));
        (waited <= self.patience).then(|| Turn {
            lane,
            bytes: self.bytes,
            began: now,
            until: now + LEAST_WORK,
            _permit: permit,
        })
    }

    fn take_back(&mut self) {
        let lane = &self.lane;
        match std::mem::take(&mut self.bytes) {
            0 => lane.expected.set(lane.expected.get().saturating_sub(1)),
            bytes => lane.waiting.set(lane.waiting.get().saturating_sub(bytes)),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// The turn of a batch.
#[derive(Debug)]
pub struct Turn<'a> {
    lane: &'a Lane,
    bytes: u64,
    began: u64,
    /// For how long it may work.
    until: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn<'_> {
    /// Gives others their turn, if it has worked for long enough.
    pub async fn go_on(&mut self) {
        let now = world::ticks();
        if now < self.until {
            return;
        }
        tokio::task::yield_now().await;
        let then = world::ticks();
        self.until = then + LEAST_WORK.max(then.saturating_sub(now) / RESTS);
    }

    /// It is done.
    pub fn end(self) {
        let took = world::ticks().saturating_sub(self.began);
        let pace = took.saturating_mul(1_024) / self.bytes;
        Lane::learn(&self.lane.pace, pace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_ahead_is_all_that_was_let_in_and_is_not_answered() {
        let lane = Arc::new(Lane::default());
        assert_eq!(lane.ahead(), Duration::ZERO);
        let mut first = lane.expect(Duration::MAX);
        let usual = Duration::from_nanos(USUAL_BYTES * USUAL_PACE / 1_024);
        assert_eq!(lane.ahead(), usual);
        let second = lane.expect(Duration::MAX);
        assert_eq!(lane.ahead(), usual * 2);
        drop(second);
        let turn = first.turn(2_048).await.expect("in time");
        assert_eq!(lane.ahead(), Duration::from_nanos(2 * USUAL_PACE));
        turn.end();
        drop(first);
        assert_eq!(lane.ahead(), Duration::ZERO);
    }

    #[tokio::test]
    async fn one_works_at_a_time_in_the_order_in_which_they_came() {
        let lane = Arc::new(Lane::default());
        let (mut first, mut second, mut third) = (
            lane.expect(Duration::MAX),
            lane.expect(Duration::MAX),
            lane.expect(Duration::MAX),
        );
        let turn = first.turn(1).await.expect("in time");
        let mut waits = Box::pin(second.turn(1));
        let mut gone = Box::pin(third.turn(1));
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert!(futures_util::poll!(&mut gone).is_pending());
        // Whoever goes away lets the next one have the turn.
        drop(gone);
        drop(turn);
        waits.await.expect("in time").end();
        drop((first, second, third));
        assert_eq!(lane.ahead(), Duration::ZERO);
    }

    #[tokio::test]
    async fn whoever_waited_for_longer_than_they_would_has_no_turn() {
        let lane = Arc::new(Lane::default());
        let mut first = lane.expect(Duration::MAX);
        let mut hasty = lane.expect(Duration::ZERO);
        let turn = first.turn(1).await.expect("in time");
        let mut waits = Box::pin(hasty.turn(1));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(turn);
        assert!(waits.await.is_none());
        let mut next = lane.expect(Duration::MAX);
        assert!(next.turn(1).await.is_some(), "it keeps nobody back");
    }

    #[tokio::test]
    async fn others_get_their_turn_while_a_batch_works_for_long() {
        let lane = Arc::new(Lane::default());
        let mut expected = lane.expect(Duration::MAX);
        let mut turn = expected.turn(1).await.expect("in time");
        let others = tokio::spawn(async {});
        while !others.is_finished() {
            turn.go_on().await;
        }
    }

    #[tokio::test]
    async fn the_pace_follows_what_batches_take() {
        let lane = Arc::new(Lane::default());
        for _ in 0..200 {
            let mut expected = lane.expect(Duration::MAX);
            let turn = expected.turn(1 << 40).await.expect("in time");
            turn.end();
        }
        // So many bytes in no time: about nothing.
        assert!(lane.pace.get() < 8, "{}", lane.pace.get());
        assert!(lane.usual.get() > USUAL_BYTES);
    }
}
