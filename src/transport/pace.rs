//! Whether a serving thread keeps up: how long what is ready there waits for its turn.
//!
//! A thread that serves connections has no queue that could be measured: what waits are
//! tasks of its runtime, and bytes in sockets that the next round reads. So a task goes
//! round with them, and the time of a round is how late everything gets its turn. As in
//! CoDel, one late round says little, since a burst that is worked off hurts nobody: what
//! counts is how late every round was for a while ([`Pace::sustained`]), which ends with
//! the first one that is not.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::limits::MAX_STREAMS;
use crate::measure::Count;
use crate::world;

/// For how long every round must have been late at least.
const PERSISTS: Duration = Duration::from_millis(100);
/// How often at most the log tells of overload.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long to wait between rounds that are measured.
const BETWEEN: Duration = Duration::from_millis(5);
/// The same where nothing has been asked since the last.
const BETWEEN_IDLE: Duration = Duration::from_millis(250);

/// How late a timer may be where there is nothing else to do.
const TIMERS: Duration = Duration::from_millis(2);
/// After how many turns of connections a clock is looked at.
const TURNS: u64 = 16;

/// How many checks may be open on a thread at a time, where it is as fast as was
/// measured: they take some 50 ms.
const MOST_OPEN: u64 = 12_500;
/// How many may always be open on a connection.
const LEAST_OPEN: u64 = 3;
/// How many may be open on a connection at first, unless there are so few connections that
/// each might have so many.
const AT_FIRST: u32 = 16;
const FOR_FEW: u64 = 400;
/// What part of the time that a round should take at most is for what may be open.
const IN_TIME: f64 = 0.5;
/// What is left at least where rounds take longer: one that the machine was busy with
/// something else in says little.
const FEWER: f64 = 0.5;
/// Where rounds take less than that time by such a factor, more may be open, by such a
/// factor.
const AT_LEISURE: f64 = 1.5;
const MORE: f64 = 1.4;
/// How often that changes at most.
const ADJUSTED_EVERY: Duration = Duration::from_millis(200);

/// Rounds that are shorter are in time for everybody.
const NOTICED: Duration = Duration::from_millis(2);

/// How well a thread keeps up; written there, read anywhere.
#[derive(Debug, Default)]
pub struct Pace {
    /// The latest round, in nanoseconds.
    lag: Count,
    /// When the round began that is under way, or should have begun, in ticks; 0 if none is.
    since: Count,
    /// How often a connection had its turn.
    turns: Count,
    /// 1 while it is hardly looked at, until there is more to do.
    is_idle: Count,
    begin: Notify,
    /// The shortest round of a while, and all since then, in nanoseconds.
    sustained: Count,
    /// When the while began that lasts, in ticks, or 0, and its shortest round so far.
    began: Count,
    shortest: Count,
    /// The connections on which something is asked.
    connections: Count,
    /// How many checks may be open on each; on all together, how many fewer than at most,
    /// and when that changed last, in ticks.
    share: Count,
    held_back: Count,
    adjusted: Count,
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

    /// It is that of the thread that this is called on.
    pub fn be_here(self: &Arc<Self>) {
        HERE.set(Some(Arc::clone(self)));
    }

    /// Something was asked.
    #[inline]
    pub fn ask(&self) {
        self.asked.bump();
    }

    /// How late what is ready gets its turn.
    pub fn lag(&self) -> Duration {
        Duration::from_nanos(self.lag.get())
    }

    /// How late everything got its turn for a while.
    #[inline]
    pub fn sustained(&self) -> Duration {
        Duration::from_nanos(self.sustained.get())
    }

    /// Whether it was too late for a while.
    #[inline]
    pub fn is_overloaded(&self) -> bool {
        self.overloaded.get() != 0
    }

    /// A connection asks on the thread.
    pub fn joined(&self) {
        self.connections.bump();
        self.share_out();
    }

    /// One does no longer.
    pub fn left(&self) {
        let connections = self.connections.get().saturating_sub(1);
        self.connections.set(connections);
        self.share_out();
    }

    /// How many requests may be open on each connection, so that all that is asked on the
    /// thread at a time is answered in time; where each of them costs as much as so many
    /// checks.
    #[inline]
    pub fn open(&self, weight: u64) -> u32 {
        const MOST: u64 = MAX_STREAMS as u64;
        let open = self.share() / weight.max(1);
        open.clamp(LEAST_OPEN, MOST) as u32
    }

    /// The same for a connection that begins: fewer if there are many, since where they come
    /// at once it shows only afterwards how many they are.
    pub fn open_at_first(&self) -> u32 {
        match self.share() < FOR_FEW {
            true => self.open(1).min(AT_FIRST),
            false => MAX_STREAMS,
        }
    }

    /// How many checks may be open on the thread.
    fn in_all(&self) -> u64 {
        MOST_OPEN.saturating_sub(self.held_back.get())
    }

    /// How many of them may be open on each connection.
    #[inline]
    fn share(&self) -> u64 {
        match self.connections.get() {
            0 => self.in_all(),
            _ => self.share.get(),
        }
    }

    /// Shares out anew.
    fn share_out(&self) {
        self.share
            .set(self.in_all() / self.connections.get().max(1));
    }

    /// Makes that fewer, or more, as late as rounds are.
    fn adjust(&self, now: u64, target: Duration) {
        let sustained = self.sustained();
        // What was asked before is still to be answered, in the rounds of now.
        let pause = nanos(ADJUSTED_EVERY.max(sustained * 2));
        if now.saturating_sub(self.adjusted.get()) < pause {
            return;
        }
        let in_time = target.mul_f64(IN_TIME).div_duration_f64(sustained);
        let before = self.in_all();
        let in_all = if in_time < 1.0 {
            (before as f64 * in_time.max(FEWER)) as u64
        } else if in_time > AT_LEISURE {
            (before as f64 * MORE).ceil() as u64
        } else {
            before
        };
        // No fewer than each may have anyway.
        let least = (self.connections.get() * LEAST_OPEN).clamp(1, MOST_OPEN);
        let in_all = in_all.clamp(least, MOST_OPEN);
        if in_all != before {
            self.held_back.set(MOST_OPEN - in_all);
            self.adjusted.set(now);
            self.share_out();
            tracing::debug!(
                in_all,
                each = self.share(),
                ?sustained,
                "how many checks may be open at a time"
            );
        }
    }

    /// Takes in how long a round took that ended at `now`, in ticks.
    pub fn round(&self, took: Duration, now: u64, target: Duration) {
        let took = nanos(took);
        self.lag.set(took);
        let began = self.began.get();
        if took >= nanos(PERSISTS) {
            // It was a while by itself.
            self.sustained.set(took);
            self.begin_while(now, took);
        } else if began == 0 {
            self.begin_while(now, took);
        } else if now.saturating_sub(began) < nanos(PERSISTS) {
            self.shortest.set(self.shortest.get().min(took));
        } else {
            self.sustained.set(self.shortest.get());
            self.begin_while(now, took);
        }
        self.sustained.set(self.sustained.get().min(took));
        self.judge(now, target);
    }

    fn begin_while(&self, now: u64, took: u64) {
        self.began.set(now.max(1));
        self.shortest.set(took);
    }

    /// A connection has its turn. Now and then that shows a round which takes long while it
    /// does; what came while it lasted can't wait until it is over.
    #[inline]
    pub fn turn(&self, target: Duration) {
        self.turns.bump();
        if self.turns.get().is_multiple_of(TURNS) {
            if self.is_idle.get() != 0 {
                self.is_idle.set(0);
                self.begin.notify_one();
            }
            self.look(world::ticks(), target);
        }
    }

    fn look(&self, now: u64, target: Duration) {
        let since = self.since.get();
        let so_far = now.saturating_sub(since);
        if since == 0 || so_far <= self.lag.get() {
            return;
        }
        self.lag.set(so_far);
        if so_far >= nanos(PERSISTS) && so_far > self.sustained.get() {
            self.sustained.set(so_far);
            self.judge(now, target);
        }
    }

    /// Whether it is overloaded.
    fn judge(&self, now: u64, target: Duration) {
        self.adjust(now, target);
        let was_overloaded = self.is_overloaded();
        if self.sustained.get() <= nanos(target) {
            if was_overloaded {
                self.overloaded.set(0);
                tracing::debug!("a serving thread keeps up again");
            }
        } else if !was_overloaded {
            self.overloaded.set(1);
            let told = self.told.get();
            if told == 0 || now.saturating_sub(told) >= nanos(TELL_EVERY) {
                self.told.set(now.max(1));
                let lag = self.sustained();
                tracing::warn!(?lag, "a serving thread does not keep up; calls are refused");
            }
        }
    }

    /// Goes round on this thread and measures, for ever. A thread on which nothing is
    /// asked is hardly looked at.
    pub async fn keep(&self, target: Duration) {
        let mut before = self.asked.get();
        loop {
            let now = self.asked.get();
            if now == before && self.sustained() < NOTICED {
                self.is_idle.set(1);
                // Whichever comes first.
                let _ = tokio::time::timeout(BETWEEN_IDLE, self.begin.notified()).await;
                self.is_idle.set(0);
            }
            before = now;
            // A timer is late by a little always, and by a round if there is much to do.
            let due = world::ticks().saturating_add(nanos(BETWEEN + TIMERS));
            self.since.set(due);
            tokio::time::sleep(BETWEEN).await;
            let began = world::ticks();
            self.since.set(began);
            tokio::task::yield_now().await;
            let ended = world::ticks();
            self.since.set(0);
            let took = ended.saturating_sub(began).max(began.saturating_sub(due));
            self.round(Duration::from_nanos(took), ended, target);
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

    #[test]
    fn a_round_that_takes_long_is_seen_before_it_is_over() {
        let (pace, target) = (Pace::default(), Duration::from_millis(20));
        let ms = |ms: u64| ms * 1_000_000;
        pace.look(ms(5_000), target);
        assert_eq!(pace.lag(), Duration::ZERO, "no round is under way");
        pace.since.set(ms(1_000));
        pace.look(ms(999), target);
        pace.look(ms(1_050), target);
        assert_eq!(pace.lag(), Duration::from_millis(50));
        assert!(!pace.is_overloaded(), "it may be a burst");
        pace.look(ms(1_150), target);
        assert_eq!(pace.sustained(), Duration::from_millis(150));
        assert!(pace.is_overloaded());
        // Over, and the next one is in time.
        pace.round(Duration::from_millis(160), ms(1_160), target);
        assert!(pace.is_overloaded());
        pace.round(Duration::from_millis(1), ms(1_161), target);
        assert!(!pace.is_overloaded());
    }

    #[test]
    fn what_may_be_open_is_shared_out_among_connections() {
        let pace = Pace::default();
        assert_eq!([pace.open(1), pace.open_at_first()], [100, 100]);
        for (connections, open) in [(1, 100), (125, 100), (126, 99), (1_000, 12), (8_000, 3)] {
            while pace.connections.get() < connections {
                pace.joined();
            }
            assert_eq!(pace.open(1), open, "{connections}");
        }
        assert_eq!(pace.open_at_first(), 3);
        while pace.connections.get() > 31 {
            pace.left();
        }
        assert_eq!(pace.open_at_first(), 100);
        pace.joined();
        assert_eq!(pace.open_at_first(), 16);
        (32..250).for_each(|_| pace.joined());
        assert_eq!(
            [1, 2, 10, 1_000].map(|weight| pace.open(weight)),
            [50, 25, 5, 3]
        );
    }

    #[test]
    fn fewer_may_be_open_while_rounds_are_late_and_soon_as_many_as_before() {
        let (pace, target) = (Pace::default(), Duration::from_millis(100));
        (0..125).for_each(|_| pace.joined());
        let mut now = 1_000_000_000;
        let mut rounds = |took: u64, for_long: u64| {
            let until = now + for_long * 1_000_000;
            while now < until {
                now += took * 1_000_000;
                pace.round(Duration::from_millis(took), now, target);
            }
            pace.open(1)
        };
        assert_eq!(rounds(5, 1_000), 100);
        assert_eq!(rounds(40, 10_000), 100, "it is late, and in time for most");
        // By as much as it is late, and not again before that may have helped.
        let mut changes = vec![(100, 0)];
        for round in 0..14 {
            let open = rounds(80, 80);
            if changes.last().is_some_and(|last| last.0 != open) {
                changes.push((open, round));
            }
        }
        let all = [(100, 0), (62, 3), (39, 6), (24, 9), (15, 12)];
        assert_eq!(changes, all);
        assert_eq!(rounds(40, 10_000), 15, "it is neither late nor at leisure");
        assert!(rounds(10, 400) < 50);
        assert_eq!(rounds(10, 2_000), 100);
        // And no more than half of them at a time.
        assert_eq!(rounds(400, 800), 50);
        assert_eq!(rounds(400, 800), 25);
        assert_eq!(rounds(10_000, 100_000), 3, "nobody is held back altogether");
    }

    #[tokio::test]
    async fn many_turns_of_connections_show_a_round_that_takes_long() {
        let pace = Pace::default();
        pace.since.set(1);
        let mut turns = 0;
        while pace.lag() == Duration::ZERO {
            pace.turn(Duration::MAX);
            turns += 1;
            assert!(turns <= TURNS, "a clock is looked at");
        }
    }
}
