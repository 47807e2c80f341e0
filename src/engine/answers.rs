//! Answers of Cedar, remembered where they follow from a position alone.
//!
//! Together with the action, the resource's type and whether the principal owns
//! the resource, a [position](super::positions) settles every decision that no
//! applicable policy reads an attribute or the context for. Such answers are kept
//! here, in tables that belong to one set of compiled policies, so that none can
//! go stale: other policies, other tables. What has to be asked each time finds
//! the set of policies here that it was asked with before.
//!
//! Nothing here decides; what is not remembered is asked of Cedar.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cedar_policy::PolicySet;
use papaya::HashMap;

use super::entities::Prototype;
use super::positions::{KeptPosition, Position, PositionNumber};
use crate::domain::Catalog;

/// Positions without a number that are remembered for one set of policies; when they
/// are full, all are forgotten, so that nobody can keep others from being remembered.
const MAX_OTHERS: usize = 4_096;
/// Sets of policies that are kept for one set of compiled policies; then as above.
const MAX_PREPARED: usize = 2_048;
/// Answers in one word: two bits each.
const ANSWERS_IN_WORD: u32 = 32;
/// Rows in the first chunk of a table; each further chunk has twice as many.
const FIRST_CHUNK: u32 = 4;
/// Chunks of a table: room for more rows than there are numbers.
const CHUNKS: usize = 15;

const ALLOW: u64 = 1;
const DENY: u64 = 2;
const ANSWER: u64 = 3;

/// Which cell of a position's row: an action on a type it applies to, by somebody who
/// owns the resource or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cell(u32);

impl Cell {
    /// The cell of the `pair`th combination of an action and a type.
    pub(super) fn new(pair: u32, owns: bool) -> Self {
        Self(pair * 2 + u32::from(owns))
    }

    /// The same, were the resource the principal's own.
    pub(super) fn owned(self) -> Self {
        Self(self.0 | 1)
    }
}

/// The first combination of each action with a type that it applies to, and how many
/// there are in all.
pub(super) fn pairs(catalog: &Catalog) -> (Vec<u32>, u32) {
    let mut next = 0_u32;
    let first = catalog
        .actions
        .iter()
        .map(|action| {
            let first = next;
            let types = u32::try_from(action.resource_types.len()).unwrap_or(u32::MAX);
            next = next.saturating_add(types);
            first
        })
        .collect();
    (first, next)
}

/// A set of policies, ready to be asked.
pub(super) struct Prepared {
    /// The policies.
    pub(super) policies: PolicySet,
    /// The principal as they see it, if they look no further than the position.
    pub(super) user: Option<Prototype>,
    /// Whether one of them may ask what groups the action is in.
    pub(super) with_action: bool,
    /// Whether the answer is the same for everybody in the position.
    pub(super) follows_from_position: bool,
}

/// Remembered answers for one set of compiled policies.
pub(super) struct Answers {
    words: usize,
    shared: Table,
    own: Table,
    others: HashMap<KeptPosition, Arc<[AtomicU64]>>,
    prepared: HashMap<(PositionNumber, Cell), Arc<Prepared>>,
}

/// Rows by number, made when they are first written. Reading takes no lock.
#[derive(Default)]
struct Table {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
}

impl Answers {
    /// No answers yet, for positions towards this catalog's actions and types.
    pub(super) fn new(catalog: &Catalog) -> Self {
        let (_, pairs) = pairs(catalog);
        Self {
            words: (pairs.saturating_mul(2).div_ceil(ANSWERS_IN_WORD) as usize).max(1),
            shared: Table::default(),
            own: Table::default(),
            others: HashMap::new(),
            prepared: HashMap::new(),
        }
    }

    /// What Cedar said before at the numbered position, if it was asked.
    pub(super) fn recall(&self, number: PositionNumber, cell: Cell) -> Option<bool> {
        let (table, row) = self.table(number);
        let (chunk, place) = locate(row);
        let words = table.chunks.get(chunk)?.get()?;
        read(words, place as usize * self.words, cell)
    }

    /// The same for a position without a number.
    pub(super) fn recall_other(&self, position: &Position<'_>, cell: Cell) -> Option<bool> {
        let others = self.others.pin();
        read(others.get(position)?, 0, cell)
    }

    /// Keeps what Cedar said at the numbered position.
    pub(super) fn remember(&self, number: PositionNumber, cell: Cell, allow: bool) {
        let (table, row) = self.table(number);
        let (chunk, place) = locate(row);
        let Some(chunk_words) = table.chunks.get(chunk) else {
            return;
        };
        let words = chunk_words.get_or_init(|| empty((FIRST_CHUNK as usize) << chunk, self.words));
        write(words, place as usize * self.words, cell, allow);
    }

    /// The same for a position without a number.
    pub(super) fn remember_other(&self, position: &Position<'_>, cell: Cell, allow: bool) {
        let others = self.others.pin();
        if !others.contains_key(position) && others.len() >= MAX_OTHERS {
            others.clear();
        }
        let row = others.get_or_insert_with(position.keep(), || empty(1, self.words).into());
        write(row, 0, cell, allow);
    }

    /// The set of policies to ask at the numbered position, if it was made before.
    pub(super) fn prepared(&self, number: PositionNumber, cell: Cell) -> Option<Arc<Prepared>> {
        self.prepared.pin().get(&(number, cell)).cloned()
    }

    /// Keeps a set of policies.
    pub(super) fn prepare(&self, number: PositionNumber, cell: Cell, prepared: &Arc<Prepared>) {
        let kept = self.prepared.pin();
        if kept.len() >= MAX_PREPARED {
            kept.clear();
        }
        kept.insert((number, cell), Arc::clone(prepared));
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        /// Calibrated on the shipped catalogs: two or three policies of a few conditions.
        const PREPARED_BYTES: usize = 4_096;
        let row = self.words * size_of::<AtomicU64>();
        let rows: usize = [&self.shared, &self.own]
            .into_iter()
            .flat_map(|table| &table.chunks)
            .filter_map(OnceLock::get)
            .map(|words| size_of_val::<[AtomicU64]>(words))
            .sum();
        let others = self.others.pin().len() * (size_of::<KeptPosition>() + 64 + row);
        size_of::<Self>() + rows + others + self.prepared.pin().len() * PREPARED_BYTES
    }

    fn table(&self, number: PositionNumber) -> (&Table, u32) {
        match number {
            PositionNumber::Shared(row) => (&self.shared, row),
            PositionNumber::Own(row) => (&self.own, row),
        }
    }
}

/// The chunk that a row lies in, and its place there.
fn locate(row: u32) -> (usize, u32) {
    let chunk = (row / FIRST_CHUNK + 1).ilog2();
    (chunk as usize, row - FIRST_CHUNK * ((1 << chunk) - 1))
}

fn empty(rows: usize, words: usize) -> Box<[AtomicU64]> {
    (0..rows * words).map(|_| AtomicU64::new(0)).collect()
}

fn read(words: &[AtomicU64], start: usize, cell: Cell) -> Option<bool> {
    let word = words.get(start + (cell.0 / ANSWERS_IN_WORD) as usize)?;
    match (word.load(Ordering::Relaxed) >> shift(cell)) & ANSWER {
        ALLOW => Some(true),
        DENY => Some(false),
        _ => None,
    }
}

/// The same answer however often it is written: one set of policies gives only one.
fn write(words: &[AtomicU64], start: usize, cell: Cell, allow: bool) {
    let answer = if allow { ALLOW } else { DENY };
    if let Some(word) = words.get(start + (cell.0 / ANSWERS_IN_WORD) as usize) {
        word.fetch_or(answer << shift(cell), Ordering::Relaxed);
    }
}

fn shift(cell: Cell) -> u32 {
    2 * (cell.0 % ANSWERS_IN_WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_place_of_its_own() {
        let mut next = (0, 0);
        for row in 0..70_000 {
            let place = locate(row);
            assert_eq!(place, next, "row {row}");
            next = match place {
                (chunk, last) if last + 1 == FIRST_CHUNK << chunk => (chunk + 1, 0),
                (chunk, place) => (chunk, place + 1),
            };
        }
        assert!(next.0 < CHUNKS);
    }

    #[test]
    fn an_answer_is_recalled_in_its_own_cell_only() {
        let words = empty(2, 3);
        write(&words, 3, Cell::new(17, true), true);
        write(&words, 3, Cell::new(17, false), false);
        assert_eq!(read(&words, 3, Cell::new(17, true)), Some(true));
        assert_eq!(read(&words, 3, Cell::new(17, false)), Some(false));
        for silent in [
            Cell::new(16, true),
            Cell::new(18, false),
            Cell::new(1, true),
        ] {
            assert_eq!(read(&words, 3, silent), None);
        }
        assert_eq!(read(&words, 0, Cell::new(17, true)), None);
    }
}
