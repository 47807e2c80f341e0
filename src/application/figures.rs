//! What the application tells of itself while it runs: how far it is, what it holds in
//! memory, what it reads, and how its store is.

use std::sync::Arc;

use super::Application;
use super::registry::Registry;
use crate::measure::{Count, Histogram, Spread, TIMES};
use crate::store::figures::{Condition, Figures as StoreFigures};
use crate::world;

/// What reading organizations came to, in the order they are counted in.
pub const OUTCOMES: [&str; 4] = ["found", "absent", "failed", "refused"];

/// Counts of the organizations that were read.
#[derive(Debug)]
pub(super) struct Loads {
    outcomes: [Count; OUTCOMES.len()],
    seconds: Histogram,
}

impl Default for Loads {
    fn default() -> Self {
        Self {
            outcomes: Default::default(),
            seconds: Histogram::of(&TIMES),
        }
    }
}

impl Loads {
    /// Counts one that was refused, because too many wait.
    pub(super) fn refuse(&self) {
        let [.., refused] = &self.outcomes;
        refused.add(1);
    }

    /// Reads something, and counts what came of it.
    pub(super) fn measured<T, E>(
        &self,
        read: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let began = world::ticks();
        let read = read();
        let place = match &read {
            Ok(Some(_)) => 0,
            Ok(None) => 1,
            Err(_) => 2,
        };
        if let Some(outcome) = self.outcomes.get(place) {
            outcome.add(1);
        }
        self.seconds.observe(world::ticks().saturating_sub(began));
        read
    }
}

/// How the application is.
pub struct Figures {
    /// The last commit that checks see.
    pub published: u64,
    /// The last commit that is stored.
    pub stored: u64,
    /// How many organizations are in memory.
    pub resident: usize,
    /// What they weigh, in bytes, by estimate.
    pub weight: usize,
    /// What they may weigh.
    pub limit: usize,
    /// How many left for want of room.
    pub evicted: u64,
    /// How many are unsound.
    pub unsound: usize,
    /// How many were read, by what came of it.
    pub loads: [u64; OUTCOMES.len()],
    /// What reading them took.
    pub load_seconds: Spread,
    /// How the store is.
    pub condition: Condition,
    /// What the store counts of itself.
    pub store: Option<Arc<StoreFigures>>,
}

impl Application {
    /// How it is. Asks the operating system: not for a thread that may not block.
    pub fn figures(&self) -> Figures {
        let registry: &Registry = &self.registry;
        let loads = &self.loader.loads;
        Figures {
            // Read first, so that it is never ahead of what is stored.
            published: self.published(),
            stored: self.store.head().sequence.0,
            resident: registry.count(),
            weight: registry.weight(),
            limit: registry.limit(),
            evicted: registry.evicted(),
            unsound: self.integrity.follow().borrow().len(),
            loads: std::array::from_fn(|place| loads.outcomes.get(place).map_or(0, Count::get)),
            load_seconds: loads.seconds.read(),
            condition: self.store.condition(),
            store: self.store.figures(),
        }
    }
}
