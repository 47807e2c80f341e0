//! Whether a serving thread keeps up: how long what is ready there waits for its turn.
//!
//! A thread that serves connections has no queue that could be measured: what waits are
//! tasks of its runtime, and bytes in sockets that the next round reads. So a task goes
//! round with them, and the time of a round is how late everything gets its turn. As in
//! CoDel, one late round is no overload, since a burst that is worked off hurts nobody:
//! the thread is overloaded when no round was in time for a while, and is no more with
//! the first one that is.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::measure::Count;
use crate::world;

/// For how long every round must have been late.
const PERSISTS: Duration = Duration::from_millis(100);
/// How often at most the log tells of overload.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long to wait between rounds that are measured.
const BETWEEN: Duration = Duration::from_millis(5);
/// The same where nothing has been asked since the last.
const BETWEEN_IDLE: Duration = Duration::from_millis(250);

/// How well a thread keeps up; written there, read anywhere.
#[derive(Debug, Default)]
pub struct Pace {
    /// The latest round, in nanoseconds.
    lag: Count,
    /// Since when every round was late, in ticks; 0 if the last was not.
    late_since: Count,
    /// 1 while the thread is overloaded.
    overloaded: Count,
    /// When an overload was told of last, in ticks; 0 if never.
    told: Count,
    /// What was asked on the thread.
    asked: Count,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Pace>>> = const { RefCell::new(None) };
}

impl Pace {
    /// That of the thread that this is called on.
    pub fn here() -> Arc<Self> {
        HERE.with_borrow_mut(|here| Arc::clone(here.get_or_insert_default()))
    }

    /// Something was asked.
    #[inline]
    pub fn ask(&self) {
        self.asked.bump();
    }

    /// A number from 0 up to 1 that is another one for each thing asked, and as often in
    /// one half as in the other.
    pub fn drawn(&self) -> f64 {
        /// 2^64 divided by the golden ratio.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let drawn = self.asked.get().wrapping_mul(STEP);
        (drawn >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How late what is ready gets its turn.
    pub fn lag(&self) -> Duration {
        Duration::from_nanos(self.lag.get())
    }

    /// Whether it was too late for a while.
    #[inline]
    pub fn is_overloaded(&self) -> bool {
        self.overloaded.get() != 0
    }

    /// Takes in how long a round took that ended at `now`, in ticks.
    pub fn round(&self, took: Duration, now: u64, target: Duration) {
        self.lag.set(nanos(took));
        if took <= target {
            self.late_since.set(0);
            if self.overloaded.get() != 0 {
                self.overloaded.set(0);
                tracing::debug!("a serving thread keeps up again");
            }
            return;
        }
        match self.late_since.get() {
            0 => self.late_since.set(now.max(1)),
            since if now.saturating_sub(since) < nanos(PERSISTS) => {}
            _ if self.overloaded.get() != 0 => {}
            _ => {
                self.overloaded.set(1);
                let told = self.told.get();
                if told != 0 && now.saturating_sub(told) < nanos(TELL_EVERY) {
                    return;
                }
                self.told.set(now);
                tracing::warn!(lag = ?took, "a serving thread does not keep up; calls are refused");
            }
        }
    }

    /// Goes round on this thread and measures, for ever. A thread on which nothing is
    /// asked is hardly looked at.
    pub async fn keep(&self, target: Duration) {
        let mut before = self.asked.get();
        loop {
            let now = self.asked.get();
            let rest = if now == before && !self.is_overloaded() {
                BETWEEN_IDLE
            } else {
                BETWEEN
            };
            before = now;
            tokio::time::sleep(rest).await;
            let began = world::ticks();
            tokio::task::yield_now().await;
            let ended = world::ticks();
            let took = Duration::from_nanos(ended.saturating_sub(began));
            self.round(took, ended, target);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_behind_many_tasks_is_seen_to_wait_for_all_of_them() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let pace = Arc::new(Pace::default());
        let busy = Duration::from_millis(1);
        runtime.block_on(async {
            for _ in 0..300 {
                tokio::spawn(async move {
                    loop {
                        std::thread::sleep(busy);
                        tokio::task::yield_now().await;
                    }
                });
            }
            let kept = Arc::clone(&pace);
            pace.ask();
            tokio::spawn(async move { kept.keep(busy).await });
            while pace.lag() == Duration::ZERO {
                tokio::task::yield_now().await;
            }
        });
        // A sleep takes no less than it should.
        assert!(pace.lag() >= busy * 250, "{:?}", pace.lag());
    }

    #[test]
    fn only_lateness_that_lasts_is_overload_and_one_round_in_time_ends_it() {
        let (pace, target) = (Pace::default(), Duration::from_millis(20));
        let ms = |ms: u64| ms * 1_000_000;
        let late = Duration::from_millis(30);
        pace.round(late, ms(1_000), target);
        pace.round(late, ms(1_099), target);
        assert!(!pace.is_overloaded(), "a burst is no overload");
        pace.round(target, ms(1_100), target);
        pace.round(late, ms(1_200), target);
        pace.round(late, ms(1_250), target);
        assert!(!pace.is_overloaded(), "it was in time in between");
        pace.round(late, ms(1_300), target);
        assert!(pace.is_overloaded());
        assert_eq!(pace.lag(), late);
        pace.round(late, ms(9_300), target);
        assert!(pace.is_overloaded());
        pace.round(Duration::from_millis(1), ms(9_301), target);
        assert!(!pace.is_overloaded(), "it recovers at once");
    }
}
