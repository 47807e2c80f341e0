//! The key space as the writer sees it: changed in memory, written leaf by leaf.
//!
//! A leaf is read from sled when it is first needed, changed here as often as a group
//! of commits wants, and written once. Splits happen at once and merges at the end, so
//! that [`Edit::changed`] always says how large the batch will be at most. What a batch
//! leaves behind is whole: every key lies in exactly one leaf.
//!
//! No leaf is kept from one group to the next. Where many organizations are written in
//! turn, a cache that is small against the state was measured to save nothing.

use std::collections::BTreeMap;
use std::ops::Bound;

use ::sled::Batch;

use super::database::Database;
use super::leaf::{Entry, Leaf};
use super::leaves::{leaf_at, leaf_before, leaf_key};
use crate::store::ReadError;

/// What is to be written.
pub(super) struct Changed {
    pub batch: Batch,
    /// How many operations it has.
    pub operations: usize,
}

/// Changes to the key space that are still to be written.
pub(super) struct Edit<'a> {
    database: &'a Database,
    /// By fence. Whatever leaf is here counts, and what sled has in its range doesn't.
    leaves: BTreeMap<Vec<u8>, Held>,
    /// How many of them are changed.
    changed: usize,
    /// Fences that sled still has, of leaves that others took over.
    gone: Vec<Vec<u8>>,
}

struct Held {
    leaf: Leaf,
    changed: bool,
    /// Whether entries went, so that it may be worth merging.
    shrunk: bool,
    /// Whether sled has a leaf with this fence.
    stored: bool,
}

impl<'a> Edit<'a> {
    pub fn new(database: &'a Database) -> Self {
        Self {
            database,
            leaves: BTreeMap::new(),
            changed: 0,
            gone: Vec::new(),
        }
    }

    /// How many leaves would be written. Merges at most double that.
    pub fn changed(&self) -> usize {
        self.changed.saturating_add(self.gone.len())
    }

    /// The value at a key.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>, ReadError> {
        let (_, held) = self.hold(key)?;
        held.leaf.get(key).map(Entry::checked).transpose()
    }

    /// Puts a value at a key. Answers whether there was one before.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<bool, ReadError> {
        let (fence, held) = self.hold(&key)?;
        let last = held.leaf.entries().last();
        let at_the_end = last.is_some_and(|last| last.key < key);
        let before = held.leaf.put(Entry::new(key, value));
        let newly = !std::mem::replace(&mut held.changed, true);
        let split = held.leaf.is_overfull().then(|| fence.clone());
        self.changed = self.changed.saturating_add(usize::from(newly));
        if let Some(fence) = split {
            self.split(&fence, at_the_end);
        }
        Ok(before.is_some())
    }

    /// Puts a key without a value, unless it is there.
    pub fn note(&mut self, key: Vec<u8>) -> Result<(), ReadError> {
        if self.get(&key)?.is_none() {
            self.put(key, Vec::new())?;
        }
        Ok(())
    }

    /// Removes a key. Answers whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, ReadError> {
        let (_, held) = self.hold(key)?;
        if held.leaf.remove(key).is_none() {
            return Ok(false);
        }
        held.shrunk = true;
        let newly = !std::mem::replace(&mut held.changed, true);
        self.changed = self.changed.saturating_add(usize::from(newly));
        Ok(true)
    }

    /// The first key from `start` on and before `end`.
    pub fn first(&mut self, start: &[u8], end: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let mut position = start.to_vec();
        loop {
            let (_, held) = self.hold(&position)?;
            let mut entries = held.leaf.entries().iter();
            if let Some(found) = entries.find(|entry| entry.key >= position) {
                return Ok((found.key.as_slice() < end).then(|| found.key.clone()));
            }
            match &held.leaf.upper {
                Some(upper) if upper.as_slice() < end => position.clone_from(upper),
                _ => return Ok(None),
            }
        }
    }

    /// All that is to be written, and nothing is left to write.
    pub fn finish(&mut self) -> Result<Changed, ReadError> {
        self.merge()?;
        let operations = self.changed();
        let mut batch = Batch::default();
        for (fence, held) in &mut self.leaves {
            if std::mem::take(&mut held.changed) {
                batch.insert(leaf_key(fence), held.leaf.encode());
                held.stored = true;
            }
        }
        for fence in self.gone.drain(..) {
            batch.remove(leaf_key(&fence));
        }
        self.changed = 0;
        Ok(Changed { batch, operations })
    }

    /// Lets all leaves go if there are more than `most` and everything is written, so
    /// that a change of very many entries does not hold all of them.
    pub fn forget(&mut self, most: usize) {
        if self.leaves.len() > most && self.changed() == 0 {
            self.leaves.clear();
        }
    }

    #[cfg(test)]
    pub fn flip(&mut self, key: &[u8], position: usize) {
        let (_, held) = self.hold(key).unwrap();
        held.leaf.get_mut(key).unwrap().flip(position);
        held.changed = true;
    }

    /// The leaf that is responsible for a key.
    fn hold(&mut self, key: &[u8]) -> Result<(&Vec<u8>, &mut Held), ReadError> {
        let reaches = |held: &Held| held.leaf.upper.as_deref().is_none_or(|upper| key < upper);
        if !self
            .at_or_before(key)
            .is_some_and(|(_, held)| reaches(held))
        {
            let found = leaf_at(self.database, key)?;
            self.keep(found.fence(), found.bytes())?;
        }
        match self.at_or_before_mut(key).filter(|(_, held)| reaches(held)) {
            Some(held) => Ok(held),
            None => Err(ReadError::Damaged(format!(
                "the leaf of {} is missing",
                super::keys::named(key)
            ))),
        }
    }

    fn keep(&mut self, fence: &[u8], bytes: &[u8]) -> Result<(), ReadError> {
        let held = Held {
            leaf: Leaf::decode(fence, bytes)?,
            changed: false,
            shrunk: false,
            stored: true,
        };
        // One that is here already counts; it only doesn't reach as far as it should.
        self.leaves.entry(fence.to_vec()).or_insert(held);
        Ok(())
    }

    fn at_or_before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Held)> {
        let all = (Bound::Unbounded, Bound::Included(key));
        self.leaves.range::<[u8], _>(all).next_back()
    }

    fn at_or_before_mut(&mut self, key: &[u8]) -> Option<(&Vec<u8>, &mut Held)> {
        let all = (Bound::Unbounded, Bound::Included(key));
        self.leaves.range_mut::<[u8], _>(all).next_back()
    }

    fn split(&mut self, fence: &[u8], at_the_end: bool) {
        let Some(held) = self.leaves.get_mut(fence) else {
            return;
        };
        let upper = held.leaf.split(at_the_end);
        let Some(next) = held.leaf.upper.clone() else {
            return;
        };
        let (low, high) = (held.leaf.is_overfull(), upper.is_overfull());
        let held = Held {
            leaf: upper,
            changed: true,
            shrunk: false,
            stored: false,
        };
        self.changed = self.changed.saturating_add(1);
        let (low, high) = (low.then_some(fence), high.then(|| next.clone()));
        self.leaves.insert(next, held);
        // A large entry may leave too much on either side.
        if let Some(low) = low {
            self.split(low, false);
        }
        if let Some(high) = high {
            self.split(&high, false);
        }
    }

    /// Lets neighbours take over what has become nearly empty.
    fn merge(&mut self) -> Result<(), ReadError> {
        let sparse = |held: &mut Held| {
            let shrunk = std::mem::take(&mut held.shrunk);
            shrunk && held.leaf.is_nearly_empty()
        };
        let sparse: Vec<_> = self
            .leaves
            .iter_mut()
            .filter_map(|(fence, held)| sparse(held).then(|| fence.clone()))
            .filter(|fence| !fence.is_empty())
            .collect();
        for fence in sparse {
            self.merge_into_neighbour(&fence)?;
        }
        Ok(())
    }

    fn merge_into_neighbour(&mut self, fence: &[u8]) -> Result<(), ReadError> {
        let ends_here = |held: &Held| held.leaf.upper.as_deref() == Some(fence);
        let before = (Bound::Unbounded, Bound::Excluded(fence));
        let held = self.leaves.range::<[u8], _>(before).next_back();
        if !held.is_some_and(|(_, held)| ends_here(held)) {
            let found = leaf_before(self.database, fence)?;
            self.keep(found.fence(), found.bytes())?;
        }
        let Some(sparse) = self.leaves.remove(fence) else {
            return Ok(());
        };
        let neighbour = self.leaves.range_mut::<[u8], _>(before).next_back();
        match neighbour {
            Some((_, neighbour)) if ends_here(neighbour) => {
                if neighbour.leaf.fits_with(&sparse.leaf) {
                    neighbour.leaf.append(sparse.leaf);
                    let newly = !std::mem::replace(&mut neighbour.changed, true);
                    self.changed = self.changed.saturating_add(usize::from(newly));
                    self.changed = self.changed.saturating_sub(usize::from(sparse.changed));
                    if sparse.stored {
                        self.gone.push(fence.to_vec());
                    }
                } else {
                    self.leaves.insert(fence.to_vec(), sparse);
                }
                Ok(())
            }
            _ => Err(ReadError::Damaged(format!(
                "the leaf before {} is missing",
                super::keys::named(fence)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::leaves::{LEAVES, Next, count, get, last, scan};
    use super::*;

    fn database() -> Database {
        let database = ::sled::Config::new().temporary(true).open().unwrap();
        // So small that the pages that keep it so are touched now and then.
        let database = Database::new(database, 1 << 18);
        let root = Leaf::default().encode();
        database.insert(leaf_key(&[]), root).unwrap();
        database
    }

    /// Every entry, after the leaves were found to follow each other without a gap.
    fn all(database: &Database) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut entries = BTreeMap::new();
        let leaves = count(database, |key, value| {
            assert_eq!(entries.insert(key.to_vec(), value.to_vec()), None);
            Ok(())
        });
        let stored = database.scan_prefix([LEAVES]).count();
        assert_eq!(leaves.unwrap(), stored, "leaves that nobody finds");
        entries
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u16, usize),
        Remove(u16),
        Clear(u16, u16),
        Write,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            30 => (0..400_u16, 0..300_usize).prop_map(|(key, length)| Step::Put(key, length)),
            1 => (0..400_u16, 4_000..9_000_usize).prop_map(|(key, length)| Step::Put(key, length)),
            15 => (0..400_u16).prop_map(Step::Remove),
            2 => (0..400_u16, 0..200_u16).prop_map(|(from, count)| Step::Clear(from, count)),
            3 => Just(Step::Write),
        ];
        prop::collection::vec(step, 1..300)
    }

    fn key(number: u16) -> Vec<u8> {
        [&b"key-"[..], &number.to_be_bytes()].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        #[test]
        fn leaves_hold_what_a_map_would(steps in steps()) {
            let database = database();
            let mut edit = Edit::new(&database);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(number, length) => {
                        let value = vec![number as u8; length];
                        let before = edit.put(key(number), value.clone()).unwrap();
                        prop_assert_eq!(before, model.insert(key(number), value).is_some());
                    }
                    Step::Remove(number) => {
                        let there = edit.remove(&key(number)).unwrap();
                        prop_assert_eq!(there, model.remove(&key(number)).is_some());
                    }
                    Step::Clear(from, count) => {
                        let (start, end) = (key(from), key(from + count));
                        while let Some(next) = edit.first(&start, &end).unwrap() {
                            prop_assert!(edit.remove(&next).unwrap());
                        }
                        model.retain(|key, _| *key < start || *key >= end);
                        prop_assert_eq!(edit.first(&start, &end).unwrap(), None);
                    }
                    Step::Write => {
                        let most = 2 * edit.changed();
                        let changed = edit.finish().unwrap();
                        prop_assert!(changed.operations <= most);
                        database.apply_batch(changed.batch).unwrap();
                        prop_assert_eq!(edit.changed(), 0);
                        edit.forget(3);
                        prop_assert_eq!(&all(&database), &model);
                    }
                }
                for number in [0, 7, 399] {
                    let value = edit.get(&key(number)).unwrap().map(<[u8]>::to_vec);
                    prop_assert_eq!(value.as_ref(), model.get(&key(number)));
                }
            }
            database.apply_batch(edit.finish().unwrap().batch).unwrap();
            prop_assert_eq!(&all(&database), &model);
            let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len() + 7).sum();
            let leaves = database.scan_prefix([LEAVES]).count();
            prop_assert!(leaves <= 2 + 40 + bytes / 200, "{} leaves for {} bytes", leaves, bytes);

            for number in (0..400).step_by(13) {
                prop_assert_eq!(get(&database, &key(number)).unwrap(), model.get(&key(number)).cloned());
                let (start, end) = (key(number), key(number + 50));
                let mut found = Vec::new();
                scan(&database, start.clone(), &end, |key, value| {
                    found.push((key.to_vec(), value.to_vec()));
                    Ok(Next::Entry)
                }).unwrap();
                let expected: Vec<_> = model
                    .range(start.clone()..end.clone())
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(&found, &expected);
                for limit in [0, 1, 20, 400] {
                    let found = last(&database, &start, end.clone(), limit).unwrap();
                    let expected: Vec<_> = expected.iter().rev().take(limit).cloned().collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn entries_that_come_in_order_fill_their_leaves() {
        let database = database();
        let mut edit = Edit::new(&database);
        for number in 0..10_000_u16 {
            edit.put(key(number), vec![1; 20]).unwrap();
        }
        database.apply_batch(edit.finish().unwrap().batch).unwrap();
        assert!(database.len() <= 10_000 / 60, "{} leaves", database.len());
    }

    #[test]
    fn a_missing_leaf_is_noticed_by_readers_and_by_the_writer() {
        let database = database();
        let mut edit = Edit::new(&database);
        for number in 0..400_u16 {
            edit.put(key(number), vec![1; 20]).unwrap();
        }
        database.apply_batch(edit.finish().unwrap().batch).unwrap();
        drop(edit);
        let fences: Vec<_> = database.iter().keys().map(|key| key.unwrap()).collect();
        let fence = fences[fences.len() / 2][1..].to_vec();
        database.remove(leaf_key(&fence)).unwrap();
        assert!(get(&database, &fence).is_err());
        assert!(scan(&database, key(0), &key(400), |_, _| Ok(Next::Entry)).is_err());
        assert!(last(&database, &key(0), key(400), 400).is_err());
        assert!(count(&database, |_, _| Ok(())).is_err());
        let mut edit = Edit::new(&database);
        assert!(edit.put(fence.clone(), vec![]).is_err());
        assert!(get(&database, &key(0)).unwrap().is_some());
    }
}
