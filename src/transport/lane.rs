//! The turns that batches get on a serving thread.
//!
//! A batch takes as long as a hundred single checks, and must not make them wait. So on
//! each thread one batch works at a time, in the order in which they came, and never for
//! long: after a piece of work it rests until everything else had its turn, and then works
//! for no more than a ninth of the time that it rested. A thread that has more to do than
//! it can gives batches a tenth of its time; one that has nothing else to do gives all.
//!
//! How long what waits already will take is known from what went before, so that a batch
//! that would be answered too late is refused undecided at once. Where that was wrong, it
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
/// How long each of them takes before any was timed, in nanoseconds.
const USUAL_PACE: u64 = 4;
/// Of how many batches what was learned tells: each new one makes what came before it
/// weigh less by such a part.
const LEARNED_OF: u64 = 8;

/// The batches of one thread, which alone writes what is counted here.
#[derive(Debug)]
pub struct Lane {
    turn: Arc<Semaphore>,
    /// Bytes of those that were read and are not answered.
    waiting: Count,
    /// The bytes of some recent batches, and how long their turns took, rests included, in
    /// nanoseconds.
    answered: Count,
    took: Count,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
}

impl Default for Lane {
    fn default() -> Self {
        let lane = Self {
            turn: Arc::new(Semaphore::new(1)),
            waiting: Count::default(),
            answered: Count::default(),
            took: Count::default(),
        };
        let usual = LEARNED_OF * USUAL_BYTES;
        lane.answered.set(usual);
        lane.took.set(usual * USUAL_PACE);
        lane
    }
}

impl Lane {
    /// That of the thread that this is called on.
    pub fn here() -> Arc<Self> {
        HERE.with_borrow_mut(|here| Arc::clone(here.get_or_insert_default()))
    }

    /// How long all that was read and waits will take. What was let in and is still to be
    /// read does not count: whoever sends nothing keeps nobody out.
    pub fn ahead(&self) -> Duration {
        let pace = self.took.get() as f64 / self.answered.get().max(1) as f64;
        // So much that it is none is as good as for ever.
        let waiting = self.waiting.get() as f64;
        Duration::try_from_secs_f64(waiting * pace / 1e9).unwrap_or(Duration::MAX)
    }

    /// Lets in a batch that is still to be read, and waits no longer than that for its
    /// turn.
    pub fn expect(self: &Arc<Self>, patience: Duration) -> Expected {
        Expected {
            lane: Arc::clone(self),
            patience,
            bytes: 0,
        }
    }

    fn learn(sum: &Count, value: u64) {
        let before = sum.get();
        sum.set((before - before / LEARNED_OF).saturating_add(value));
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
        let waiting = &self.lane.waiting;
        let bytes = std::mem::take(&mut self.bytes);
        waiting.set(waiting.get().saturating_sub(bytes));
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
        Lane::learn(&self.lane.answered, self.bytes);
        Lane::learn(&self.lane.took, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_ahead_is_all_that_was_read_and_is_not_answered() {
        let lane = Arc::new(Lane::default());
        let mut first = lane.expect(Duration::MAX);
        let mut second = lane.expect(Duration::MAX);
        assert_eq!(lane.ahead(), Duration::ZERO, "nothing was read");
        let turn = first.turn(2_048).await.expect("in time");
        let one = Duration::from_nanos(2_048 * USUAL_PACE);
        assert_eq!(lane.ahead(), one);
        let mut waits = Box::pin(second.turn(2_048));
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(lane.ahead(), one * 2);
        drop(waits);
        drop(second);
        assert_eq!(lane.ahead(), one);
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
            let turn = expected.turn(1 << 30).await.expect("in time");
            turn.end();
        }
        // So many bytes in no time: what is usual takes about none.
        let mut usual = lane.expect(Duration::MAX);
        let _turn = usual.turn(64 * 1_024).await.expect("in time");
        let ahead = lane.ahead();
        assert!(ahead < Duration::from_micros(1), "{ahead:?}");
    }
}
