//! The only clock, and the only source of ids and randomness.
//!
//! Everything else is handed a [`Moment`] and ids as arguments, drawn once for
//! each request; a test hands in a world of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::organization::{Moment, Version};

/// Where time and randomness come from.
pub trait World: Send + Sync {
    /// The moment it is.
    fn now(&self) -> Moment;

    /// 16 bytes that nobody can guess.
    fn random(&self) -> [u8; 16];
}

/// The world outside the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemWorld;

impl World for SystemWorld {
    fn now(&self) -> Moment {
        #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one source of randomness"
        )]
        #[expect(
            clippy::expect_used,
            reason = "without randomness no secret is safe: stop"
        )]
        getrandom::fill(&mut bytes).expect("the operating system has no randomness");
        bytes
    }
}

/// Nanoseconds since this was asked for the first time, never fewer than before. For
/// measuring how long something takes, and for nothing that is decided or stored.
pub fn ticks() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    let now = Instant::now();
    let since = now.saturating_duration_since(*FIRST.get_or_init(|| now));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A world that a test moves by hand: time stands still, randomness counts.
#[derive(Debug, Default)]
pub struct StillWorld {
    now: AtomicI64,
    drawn: AtomicU64,
}

impl StillWorld {
    /// A world at that moment.
    pub fn at(now: Moment) -> Self {
        Self {
            now: AtomicI64::new(now.0),
            drawn: AtomicU64::new(0),
        }
    }

    /// Moves time.
    pub fn set(&self, now: Moment) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl World for StillWorld {
    fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::SeqCst))
    }

    fn random(&self) -> [u8; 16] {
        let drawn = u128::from(self.drawn.fetch_add(1, Ordering::SeqCst));
        drawn.to_be_bytes()
    }
}

/// Draws the version that an organization begins with; it leaves room to count.
pub fn draw_version(world: &dyn World) -> Version {
    let drawn = u128::from_be_bytes(world.random());
    Version(u64::try_from(drawn & u128::from(u64::MAX >> 12)).unwrap_or_default() + 1)
}

/// Draws an opaque id that tells its kind, such as `role-3f9…`.
pub fn draw_id(world: &dyn World, kind: &str) -> String {
    let hex: String = world
        .random()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{kind}-{hex}")
}
