//! The key space as readers see it: entries in order, whatever leaves they lie in.
//!
//! Every step reads one leaf with one call of sled, which a batch can't come between,
//! and goes on from a key, not from a leaf. So leaves may be split and merged while
//! somebody reads: no entry that stays is skipped or shown twice. Whether *other*
//! entries changed meanwhile is for the reader to find out
//! (`load_unless_overtaken` in [`state`](super::state)).

use std::ops::Bound;

use ::sled::IVec;

use super::database::Database;
use super::leaf::Reader;
use crate::store::ReadError;

/// What the keys of all leaves begin with in sled.
pub(super) const LEAVES: u8 = 0x01;

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// What a visitor wants to see next.
pub(super) enum Next {
    /// The next entry.
    Entry,
    /// The first entry at this key or later, which is after the one visited.
    From(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// A leaf as sled has it.
pub(super) struct Found {
    key: IVec,
    bytes: IVec,
}

impl Found {
    pub fn fence(&self) -> &[u8] {
        self.key.get(1..).unwrap_or_default()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The key of a leaf in sled.
pub(super) fn leaf_key(fence: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(fence.len().saturating_add(1));
    key.push(LEAVES);
    key.extend_from_slice(fence);
    key
}

/// The leaf that is responsible for a key.
pub(super) fn leaf_at(database: &Database, key: &[u8]) -> Result<Found, ReadError> {
    find(database, Bound::Included(leaf_key(key)))
}

/// The leaf that is responsible for what comes just before a key.
pub(super) fn leaf_before(database: &Database, key: &[u8]) -> Result<Found, ReadError> {
    find(database, Bound::Excluded(leaf_key(key)))
}

fn find(database: &Database, end: Bound<Vec<u8>>) -> Result<Found, ReadError> {
    let start = Bound::Included(vec![LEAVES]);
    match database.last_in(start, end)? {
        Some((key, bytes)) => Ok(Found { key, bytes }),
        None => Err(missing()),
    }
}

/// The value at a key.
pub(super) fn get(database: &Database, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
    let found = leaf_at(database, key)?;
    let mut reader = responsible(&found, key)?;
    while reader.advance()? {
        match reader.key().cmp(key) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Ok(Some(reader.value()?.to_vec())),
            std::cmp::Ordering::Greater => break,
        }
    }
    Ok(None)
}

/// Shows the entries from `start` on and before `end`, in order.
pub(super) fn scan(
    database: &Database,
    start: Vec<u8>,
    end: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<Next, ReadError>,
) -> Result<(), ReadError> {
    let mut position = start;
    while position.as_slice() < end {
        let found = leaf_at(database, &position)?;
        let mut reader = responsible(&found, &position)?;
        while reader.advance()? {
            if reader.key() < position.as_slice() {
                continue;
            }
            if reader.key() >= end {
                return Ok(());
            }
            match visit(reader.key(), reader.value()?)? {
                Next::Entry => {}
                Next::From(next) => position = next,
                Next::Nothing => return Ok(()),
            }
        }
        match reader.upper() {
            Some(upper) if upper > position.as_slice() => position = upper.to_vec(),
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The entries from `start` on and before `end`, the last ones first, at most `limit`.
pub(super) fn last(
    database: &Database,
    start: &[u8],
    end: Vec<u8>,
    limit: usize,
) -> Result<Vec<Pair>, ReadError> {
    let mut entries = Vec::new();
    let mut position = end;
    while position.as_slice() > start && entries.len() < limit {
        let found = leaf_before(database, &position)?;
        let mut reader = Reader::open(found.fence(), found.bytes())?;
        check_reach(&reader, &position, |upper| upper < position.as_slice())?;
        let mut here = Vec::new();
        while reader.advance()? && reader.key() < position.as_slice() {
            if reader.key() >= start {
                // Those that are not asked for need not be sound.
                let value = reader.value().map(<[u8]>::to_vec);
                here.push((reader.key().to_vec(), value));
            }
        }
        for (key, value) in here.into_iter().rev().take(limit - entries.len()) {
            entries.push((key, value?));
        }
        position = found.fence().to_vec();
    }
    Ok(entries)
}

/// How many leaves there are, after every entry was shown.
pub(super) fn count(
    database: &Database,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ReadError>,
) -> Result<usize, ReadError> {
    let mut position = Vec::new();
    let mut leaves = 0_usize;
    loop {
        let found = leaf_at(database, &position)?;
        if found.fence() != position {
            return Err(missing());
        }
        leaves = leaves.saturating_add(1);
        let mut reader = Reader::open(found.fence(), found.bytes())?;
        while reader.advance()? {
            visit(reader.key(), reader.value()?)?;
        }
        match reader.upper() {
            Some(upper) => position = upper.to_vec(),
            None => return Ok(leaves),
        }
    }
}

/// The reader of a leaf that should be responsible for a key.
fn responsible<'a>(found: &'a Found, key: &[u8]) -> Result<Reader<'a>, ReadError> {
    let reader = Reader::open(found.fence(), found.bytes())?;
    check_reach(&reader, key, |upper| upper <= key)?;
    Ok(reader)
}

fn check_reach(
    reader: &Reader<'_>,
    key: &[u8],
    is_short: impl Fn(&[u8]) -> bool,
) -> Result<(), ReadError> {
    match reader.upper().is_some_and(is_short) {
        true => Err(ReadError::Damaged(format!(
            "the leaf of {} is missing",
            super::keys::named(key)
        ))),
        false => Ok(()),
    }
}

fn missing() -> ReadError {
    ReadError::Damaged("a leaf is missing".to_owned())
}
