//! What a store tells of itself while it runs: counts and times since it was opened, and
//! the condition that it is in.

use crate::measure::{Count, Histogram, SIZES, TIMES};
use crate::store::CommitError;

/// Tells the time in nanoseconds since some moment; what writing takes is measured by it.
pub type Ticks = fn() -> u64;

/// Why commits were refused, in the order of [`Figures::refused`].
pub const REFUSALS: [&str; 6] = [
    "busy",
    "full",
    "conflict",
    "unavailable",
    "unknown",
    "other",
];

/// What has happened since the store was opened.
#[derive(Debug)]
pub struct Figures {
    /// Commits that were made.
    pub commits: Count,
    /// Commits that were refused, by why.
    pub refused: [Count; REFUSALS.len()],
    /// How many commits were made durable together.
    pub groups: Histogram,
    /// What it took to make them so.
    pub writes: Histogram,
    /// Bytes that were appended to the journal.
    pub bytes: Count,
    /// What it took from handing in a commit until it was published.
    pub visible: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            commits: Count::default(),
            refused: Default::default(),
            groups: Histogram::of(&SIZES),
            writes: Histogram::of(&TIMES),
            bytes: Count::default(),
            visible: Histogram::of(&TIMES),
        }
    }
}

impl Figures {
    /// Counts a commit that was refused.
    pub fn refuse(&self, why: &CommitError) {
        let place = match why {
            CommitError::Busy => 0,
            CommitError::Full => 1,
            CommitError::Conflict => 2,
            CommitError::Unavailable(_) => 3,
            CommitError::Unknown(_) => 4,
            CommitError::AlreadyDone(_) | CommitError::TooLarge { .. } => 5,
        };
        if let Some(count) = self.refused.get(place) {
            count.add(1);
        }
    }
}

/// How a store is, for those who look after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Why it takes no commits, if it takes none.
    pub refusal: Option<String>,
    /// Whether it can be read.
    pub can_be_read: bool,
    /// How many commits were handed in and not answered.
    pub under_way: usize,
    /// What it takes on the disk, in bytes.
    pub size_bytes: u64,
    /// How many bytes its file system has left, where it has one.
    pub free_bytes: Option<u64>,
    /// Below how many it refuses commits.
    pub minimum_free_bytes: u64,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            refusal: None,
            can_be_read: true,
            under_way: 0,
            size_bytes: 0,
            free_bytes: None,
            minimum_free_bytes: 0,
        }
    }
}
