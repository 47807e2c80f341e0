//! How the memory that the process may take is shared out.
//!
//! What the operator gives is what the process should stay within, as the system
//! counts it (resident set). A fixed part is for the program itself, a sixteenth is
//! the store's cache, and what is left is for organizations. Those are weighed by
//! estimate, and allocators don't give back every byte at once, so that their share
//! is set lower than what is left.

/// What the program takes with no organization in memory: code, compiled catalogs,
/// threads, connections, and what the store keeps of its own, in MiB.
const PROGRAM_MIB: u64 = 72;
/// The part of all that the store's cache gets.
const STORE_PART: u64 = 16;
/// Of what is left, so much in a hundred is for organizations as they are weighed; the
/// rest is for what is just being read or let go.
const WEIGHED_IN_A_HUNDRED: u64 = 70;
const MIB: u64 = 1024 * 1024;

/// The memory that the process may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    bytes: u64,
}

impl MemoryBudget {
    /// So many MiB.
    pub fn of_mib(mib: u64) -> Self {
        Self {
            bytes: mib.saturating_mul(MIB),
        }
    }

    /// What the store may keep in memory of what is on disk, in bytes.
    pub fn store_cache(self) -> u64 {
        (self.bytes / STORE_PART).max(MIB)
    }

    /// What organizations in memory may weigh, in bytes.
    pub fn organizations(self) -> usize {
        let left = self
            .bytes
            .saturating_sub(PROGRAM_MIB * MIB)
            .saturating_sub(self.store_cache());
        let share = left / 100 * WEIGHED_IN_A_HUNDRED;
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_stay_within_the_whole() {
        for mib in [0, 1, 72, 96, 128, 1_024, 1_048_576] {
            let budget = MemoryBudget::of_mib(mib);
            let organizations = u64::try_from(budget.organizations()).expect("it fits");
            let parts = budget.store_cache() + organizations;
            let whole = (mib * MIB).max(MIB);
            assert!(parts <= whole, "{mib} MiB: {parts} bytes");
        }
        assert_eq!(MemoryBudget::of_mib(72).organizations(), 0);
        assert!(MemoryBudget::of_mib(128).organizations() > 24 << 20);
    }
}
