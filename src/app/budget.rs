//! How the memory that the process may take is shared out.
//!
//! What the operator gives is what the process should stay within, as the system
//! counts it (resident set). A fixed part is for the program itself, a part is the
//! store's cache, and what is left is for organizations. Those are weighed by
//! estimate, and allocators don't give back every byte at once, so that their share
//! begins lower than what is left; from then on it follows what the process is seen to
//! take: it shrinks as soon as that is too much, and grows slowly where there is room.

use std::fs;

/// What the program takes with no organization in memory: code, compiled catalogs,
/// threads, connections, and what the store keeps of its own, in MiB.
const PROGRAM_MIB: u64 = 72;
/// The part of all that the store's cache gets.
const STORE_PART: u64 = 32;
/// Of what is left, so much in a hundred is for organizations at first, as they are
/// weighed; the rest is for what is just being read or let go.
const WEIGHED_IN_A_HUNDRED: u64 = 50;
/// The part of all that organizations have in any case: a daemon that lets each one go
/// as soon as it was asked for is of little use, and its budget is too small.
const LEAST_PART: u64 = 32;
/// What the process should take, in a hundred of what it may.
const AIM_IN_A_HUNDRED: u64 = 90;
/// Below how much of that, in a hundred, organizations get more room.
const ROOMY_IN_A_HUNDRED: u64 = 95;
/// The part of the room that is left which they get at a time.
const GROWTH_PART: u64 = 8;
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

    /// What organizations in memory may weigh at first, in bytes.
    pub fn organizations(self) -> usize {
        let left = self
            .bytes
            .saturating_sub(PROGRAM_MIB * MIB)
            .saturating_sub(self.store_cache());
        size(left / 100 * WEIGHED_IN_A_HUNDRED)
    }
}

/// Gives organizations as much room as the process turns out to have for them.
#[derive(Debug)]
pub struct Regulator {
    budget: MemoryBudget,
    room: u64,
}

impl Regulator {
    /// Begins with what is estimated.
    pub fn new(budget: MemoryBudget) -> Self {
        let room = u64::try_from(budget.organizations()).unwrap_or(u64::MAX);
        Self { budget, room }
    }

    /// What organizations may weigh from here on, in bytes, while the process takes
    /// `resident` bytes, if that is known, and they weigh `weight`.
    pub fn next(&mut self, resident: Option<u64>, weight: usize) -> usize {
        let Some(resident) = resident else {
            return size(self.room);
        };
        let weight = u64::try_from(weight).unwrap_or(u64::MAX);
        let whole = self.budget.bytes;
        let aim = whole / 100 * AIM_IN_A_HUNDRED;
        if resident > aim {
            // What they don't use helps nobody when it is taken away.
            let used = self.room.min(weight);
            self.room = used.saturating_sub(resident - aim);
        } else if resident < aim / 100 * ROOMY_IN_A_HUNDRED && weight > self.room / 8 * 7 {
            self.room += (aim - resident) / GROWTH_PART;
        }
        self.room = self.room.max(whole / LEAST_PART);
        size(self.room)
    }
}

/// What the process takes in memory, in bytes, if the system says so.
pub fn resident_bytes() -> Option<u64> {
    let said = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = said.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
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

    /// A process that takes `fixed` MiB and `each` hundredths of what organizations weigh.
    fn settle(mib: u64, fixed: u64, each: u64) -> (u64, u64) {
        let mut regulator = Regulator::new(MemoryBudget::of_mib(mib));
        let (mut room, mut resident) = (regulator.room, 0);
        for _ in 0..200 {
            resident = fixed * MIB + room / 100 * each;
            room = u64::try_from(regulator.next(Some(resident), size(room))).expect("it fits");
        }
        (room / MIB, resident / MIB)
    }

    #[test]
    fn the_process_settles_below_its_budget_whatever_organizations_really_take() {
        for mib in [128, 512, 4_096] {
            for each in [60, 100, 180] {
                let (room, resident) = settle(mib, 64, each);
                let aim = mib * AIM_IN_A_HUNDRED / 100;
                assert!(resident <= aim, "{mib} MiB, {each}: {resident}");
                assert!(resident >= aim * 8 / 10, "{mib} MiB, {each}: {resident}");
                assert!(room > 0);
            }
        }
    }

    #[test]
    fn a_budget_that_is_too_small_leaves_organizations_a_little() {
        assert_eq!(settle(64, 100, 100).0, 2);
    }

    #[test]
    fn room_that_nobody_uses_does_not_grow_and_what_is_unknown_changes_nothing() {
        let mut regulator = Regulator::new(MemoryBudget::of_mib(1_024));
        let room = regulator.room;
        for _ in 0..100 {
            regulator.next(Some(64 * MIB), 0);
            regulator.next(None, usize::MAX);
        }
        assert_eq!(regulator.room, room);
        let resident = resident_bytes().expect("the system says it");
        assert!(resident > MIB);
    }
}
