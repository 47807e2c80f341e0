//! A leaf: many consecutive entries of the key space in one value of sled.
//!
//! sled pays for each of its keys, in time and in memory; a leaf lets some dozens of
//! entries share one. A leaf holds all entries from its *fence*, which is its key in
//! sled, up to its *upper* end, which is the fence of the next one. So each leaf alone
//! says what it is responsible for: a reader goes from one to the next without ever
//! needing two to be read at the same moment, and a missing leaf shows.
//!
//! ```text
//! 01 · upper (length + 1, bytes; 0 if nothing follows) · entries
//! entry: bytes shared with the key before · length of the rest of the key ·
//!        length of the value · rest of the key · value · check (4 bytes)
//! ```
//!
//! Lengths are LEB128. The check is the entry's own, over its key and its value, so
//! that damage harms one entry and can be named. It is made once, when the entry is
//! put, and carried along unread when the leaf is written again: rewriting a leaf must
//! not make damage look sound.

use crate::store::ReadError;

/// From how many bytes on a leaf is split.
pub(super) const MOST_BYTES: usize = 3 * 1024;
/// From how many entries on a leaf is split.
pub(super) const MOST_ENTRIES: usize = 64;

const FORMAT: u8 = 1;
const CHECK_BYTES: usize = 4;

/// An entry of a leaf that is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    check: u32,
}

impl Entry {
    pub fn new(key: Vec<u8>, value: Vec<u8>) -> Self {
        let check = check(&key, &value);
        Self { key, value, check }
    }

    /// The value, if it is what was put.
    pub fn checked(&self) -> Result<&[u8], ReadError> {
        match self.check == check(&self.key, &self.value) {
            true => Ok(&self.value),
            false => Err(super::keys::damaged(&self.key)),
        }
    }

    /// About how many bytes it takes.
    fn size(&self) -> usize {
        3 + self.key.len() + self.value.len() + CHECK_BYTES
    }

    /// Changes the value without the check that goes with it, as a bad disk would.
    #[cfg(test)]
    pub fn flip(&mut self, position: usize) {
        self.value[position] ^= 1;
    }
}

/// A leaf that is being changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The fence of the next leaf; `None` if there is none.
    pub upper: Option<Vec<u8>>,
    /// In the order of keys.
    entries: Vec<Entry>,
    /// About how many bytes they take.
    size: usize,
}

impl Leaf {
    /// Reads a whole leaf. Entries that are damaged are kept as they are.
    pub fn decode(fence: &[u8], bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::open(fence, bytes)?;
        let mut leaf = Self {
            upper: reader.upper().map(<[u8]>::to_vec),
            ..Self::default()
        };
        while reader.advance()? {
            let (key, value, check) = reader.entry();
            let (key, value) = (key.to_vec(), value.to_vec());
            let entry = Entry { key, value, check };
            leaf.size = leaf.size.saturating_add(entry.size());
            leaf.entries.push(entry);
        }
        Ok(leaf)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size.saturating_add(64));
        bytes.push(FORMAT);
        match &self.upper {
            None => bytes.push(0),
            Some(upper) => {
                write_length(&mut bytes, upper.len().saturating_add(1));
                bytes.extend_from_slice(upper);
            }
        }
        let mut before: &[u8] = &[];
        for entry in &self.entries {
            let shared = shared(before, &entry.key);
            let rest = entry.key.get(shared..).unwrap_or_default();
            write_length(&mut bytes, shared);
            write_length(&mut bytes, rest.len());
            write_length(&mut bytes, entry.value.len());
            bytes.extend_from_slice(rest);
            bytes.extend_from_slice(&entry.value);
            bytes.extend_from_slice(&entry.check.to_le_bytes());
            before = &entry.key;
        }
        bytes
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        let position = self.search(key).ok()?;
        self.entries.get(position)
    }

    #[cfg(test)]
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let position = self.search(key).ok()?;
        self.entries.get_mut(position)
    }

    /// Puts an entry in the place of its key. Answers with what was there.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        self.size = self.size.saturating_add(entry.size());
        match self.search(&entry.key) {
            Err(position) => {
                self.entries.insert(position, entry);
                None
            }
            Ok(position) => {
                let there = self.entries.get_mut(position)?;
                let before = std::mem::replace(there, entry);
                self.size = self.size.saturating_sub(before.size());
                Some(before)
            }
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let position = self.search(key).ok()?;
        let removed = self.entries.remove(position);
        self.size = self.size.saturating_sub(removed.size());
        Some(removed)
    }

    /// Whether it should be split.
    pub fn is_overfull(&self) -> bool {
        let full = self.size > MOST_BYTES || self.entries.len() > MOST_ENTRIES;
        full && self.entries.len() > 1
    }

    /// Whether its neighbour should take it over.
    pub fn is_nearly_empty(&self) -> bool {
        self.size < MOST_BYTES / 4 && self.entries.len() < MOST_ENTRIES / 4
    }

    /// Whether it and its neighbour are far enough from being overfull together.
    pub fn fits_with(&self, neighbour: &Self) -> bool {
        let entries = self.entries.len().saturating_add(neighbour.entries.len());
        let size = self.size.saturating_add(neighbour.size);
        size < MOST_BYTES / 4 * 3 && entries < MOST_ENTRIES / 4 * 3
    }

    /// Splits an overfull leaf. Answers with the upper part; its fence is the new upper
    /// end. A leaf that grew at its end stays nearly full: more will come at the end.
    pub fn split(&mut self, at_the_end: bool) -> Self {
        let position = match at_the_end {
            true => self.entries.len().saturating_sub(1),
            false => self.middle(),
        };
        let entries = self.entries.split_off(position);
        let size = entries.iter().map(Entry::size).sum();
        self.size = self.size.saturating_sub(size);
        let fence = entries.first().map(|entry| entry.key.clone());
        Self {
            upper: std::mem::replace(&mut self.upper, fence),
            entries,
            size,
        }
    }

    /// Takes over the leaf that follows.
    pub fn append(&mut self, mut next: Self) {
        self.upper = next.upper.take();
        self.entries.append(&mut next.entries);
        self.size = self.size.saturating_add(next.size);
    }

    /// The first entry of the upper half; never the first of all.
    fn middle(&self) -> usize {
        let mut below = 0_usize;
        for (position, entry) in self.entries.iter().enumerate() {
            below = below.saturating_add(entry.size());
            if below.saturating_mul(2) >= self.size {
                // The entry that straddles the middle goes where less is.
                let before = below.saturating_sub(entry.size());
                let up = below.saturating_add(before) > self.size;
                let middle = if up {
                    position
                } else {
                    position.saturating_add(1)
                };
                return middle.clamp(1, self.entries.len().saturating_sub(1).max(1));
            }
        }
        self.entries.len() / 2
    }

    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.key.as_slice().cmp(key))
    }
}

/// Reads a leaf entry by entry, without keeping any.
pub(super) struct Reader<'a> {
    fence: Vec<u8>,
    upper: Option<&'a [u8]>,
    rest: &'a [u8],
    key: Vec<u8>,
    value: &'a [u8],
    check: u32,
    begun: bool,
}

impl<'a> Reader<'a> {
    pub fn open(fence: &[u8], bytes: &'a [u8]) -> Result<Self, ReadError> {
        let parse = || {
            let rest = bytes.strip_prefix(&[FORMAT])?;
            let (length, rest) = read_length(rest)?;
            match length.checked_sub(1) {
                None => Some((None, rest)),
                Some(length) => {
                    let (upper, rest) = rest.split_at_checked(length)?;
                    (upper > fence).then_some((Some(upper), rest))
                }
            }
        };
        let (upper, rest) = parse().ok_or_else(|| damaged(fence))?;
        Ok(Self {
            fence: fence.to_vec(),
            upper,
            rest,
            key: Vec::new(),
            value: &[],
            check: 0,
            begun: false,
        })
    }

    /// The fence of the next leaf; `None` if there is none.
    pub fn upper(&self) -> Option<&'a [u8]> {
        self.upper
    }

    /// Goes to the next entry, if there is one.
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        self.step().ok_or_else(|| damaged(&self.fence))?;
        Ok(true)
    }

    /// The key, the value and the check of the entry, unread.
    pub fn entry(&self) -> (&[u8], &'a [u8], u32) {
        (&self.key, self.value, self.check)
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the entry, if it is what was put.
    pub fn value(&self) -> Result<&'a [u8], ReadError> {
        match self.check == check(&self.key, self.value) {
            true => Ok(self.value),
            false => Err(super::keys::damaged(&self.key)),
        }
    }

    fn step(&mut self) -> Option<()> {
        let (shared, rest) = read_length(self.rest)?;
        let (key, rest) = read_length(rest)?;
        let (value, rest) = read_length(rest)?;
        let (key, rest) = rest.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        let (check, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
        // Keys ascend, so after the shared part a key goes on with more than the one before.
        let after = self.key.get(shared..)?;
        if self.begun && key <= after {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(key);
        let inside = self.upper.is_none_or(|upper| self.key.as_slice() < upper);
        if !inside || (!self.begun && self.key < self.fence) {
            return None;
        }
        self.value = value;
        self.check = u32::from_le_bytes(*check);
        self.rest = rest;
        self.begun = true;
        Some(())
    }
}

fn damaged(fence: &[u8]) -> ReadError {
    let after = super::keys::named(fence);
    ReadError::Damaged(format!("the leaf that begins at {after}"))
}

fn check(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

fn shared(left: &[u8], right: &[u8]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

fn write_length(bytes: &mut Vec<u8>, length: usize) {
    let mut left = length;
    while left >= 0x80 {
        bytes.push((left & 0x7F) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_usize;
    let mut rest = bytes;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some((length, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn sample() -> Leaf {
        let mut leaf = Leaf {
            upper: Some(b"k2".to_vec()),
            ..Leaf::default()
        };
        for number in 0..20_u8 {
            let key = [&b"k1"[..], &[number / 7, number]].concat();
            leaf.put(Entry::new(key, vec![number; usize::from(number)]));
        }
        leaf
    }

    #[test]
    fn a_leaf_is_read_as_it_was_written() {
        let leaf = sample();
        let bytes = leaf.encode();
        assert_eq!(Leaf::decode(b"k1", &bytes).unwrap(), leaf);
        assert!(leaf.size >= bytes.len() - 8);
        let empty = Leaf::default();
        assert_eq!(Leaf::decode(b"", &empty.encode()).unwrap(), empty);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_leaves_entries_that_look_sound() {
        let leaf = sample();
        let bytes = leaf.encode();
        let sound = |bytes: &[u8]| {
            Leaf::decode(b"k1", bytes).is_ok_and(|read| {
                read.entries.len() == leaf.entries.len()
                    && read.upper == leaf.upper
                    && read.entries.iter().all(|entry| entry.checked().is_ok())
            })
        };
        assert!(sound(&bytes));
        for position in 0..bytes.len() {
            assert!(!sound(&bytes[..position]), "cut at {position}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                // The upper end is checked against the next leaf's fence.
                let upper = (2..4).contains(&position);
                assert!(upper || !sound(&damaged), "bit {bit} of byte {position}");
            }
        }
    }

    #[test]
    fn damage_to_a_value_harms_no_other_entry_and_is_not_written_over() {
        let mut leaf = sample();
        leaf.entries[5].flip(2);
        let read = Leaf::decode(b"k1", &leaf.encode()).unwrap();
        for (position, entry) in read.entries.iter().enumerate() {
            assert_eq!(entry.checked().is_ok(), position != 5);
        }
    }

    proptest! {
        #[test]
        fn a_leaf_and_its_splits_hold_what_a_map_would(
            puts in prop::collection::vec((prop::collection::vec(0..3_u8, 1..5), 0..400_usize), 1..60),
            removed in prop::collection::vec(prop::collection::vec(0..3_u8, 1..5), 0..20),
        ) {
            let mut leaf = Leaf::default();
            let mut model = BTreeMap::new();
            for (key, length) in puts {
                let before = leaf.put(Entry::new(key.clone(), vec![7; length]));
                let expected = model.insert(key, vec![7; length]);
                prop_assert_eq!(before.map(|entry| entry.value), expected);
            }
            for key in removed {
                let gone = leaf.remove(&key).map(|entry| entry.value);
                prop_assert_eq!(gone, model.remove(&key));
            }
            let size: usize = leaf.entries.iter().map(Entry::size).sum();
            prop_assert_eq!(leaf.size, size);
            if leaf.entries.len() > 1 {
                let upper = leaf.split(false);
                prop_assert!(!leaf.entries.is_empty() && !upper.entries.is_empty());
                prop_assert_eq!(leaf.upper.as_ref(), upper.entries.first().map(|entry| &entry.key));
                prop_assert!(leaf.size.abs_diff(upper.size) <= 410 * 2);
                leaf.append(upper);
            }
            let read = Leaf::decode(b"", &leaf.encode()).unwrap();
            let held = read.entries.into_iter().map(|entry| (entry.key, entry.value));
            prop_assert_eq!(held.collect::<BTreeMap<_, _>>(), model);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = Leaf::decode(b"", &[&[FORMAT], &bytes[..]].concat());
        }
    }
}
