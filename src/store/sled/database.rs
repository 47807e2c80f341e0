//! sled, with a cache that stays as small as it was told to be.
//!
//! sled 0.34.7 keeps 256 queues of accesses to pages, by the number of the page, and lets
//! pages go only when a queue is full, which takes 64 accesses. Where organizations are
//! read in no order, that many pages of each queue are in memory before the first one
//! leaves: 256 × 64 pages of 10 to 50 KiB, whatever the capacity of the cache. So the
//! queues are kept moving: a tree of small pages with numbers of every remainder, which
//! is of no other use, is touched once over for every 64th part of the cache that is
//! read. What sled keeps is then at most about its capacity and as much again.

use std::ops::{Bound, Deref};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ::sled::IVec;

use super::state::unavailable;
use crate::store::ReadError;

/// The tree that is touched.
const TREE: &[u8] = b"pages-to-touch";
/// sled splits a page with more keys than 16, and keys that come in order leave 8 behind.
const KEYS_OF_A_PAGE: u16 = 8;
/// So many pages that each of 256 remainders is there, though a page of the index or of
/// another tree may come between.
const PAGES: u16 = 512;
/// How many accesses fill a queue.
const QUEUE: u64 = 64;
/// A page is about so many times as large as what is read of it at a time.
const PAGE_OF_LEAVES: u64 = 3;

/// sled, open.
pub(super) struct Database {
    sled: ::sled::Db,
    /// Made when more is read than the cache holds; nothing if that failed.
    touched: OnceLock<Option<::sled::Tree>>,
    /// How much was read, in bytes of pages.
    read: AtomicU64,
    /// After how much of it the pages are touched.
    step: u64,
}

impl Database {
    /// Keeps the cache of this database, which was opened with the same capacity, small.
    pub fn new(sled: ::sled::Db, cache_bytes: u64) -> Self {
        Self {
            sled,
            touched: OnceLock::new(),
            read: AtomicU64::new(0),
            step: (cache_bytes / QUEUE).max(1),
        }
    }

    /// The last pair of a range. Pages that it takes into memory are made up for.
    pub fn last_in(
        &self,
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> Result<Option<(IVec, IVec)>, ReadError> {
        let pair = self.sled.range((start, end)).next_back();
        let pair = pair.transpose().map_err(unavailable)?;
        if let Some((_, value)) = &pair {
            self.make_up_for(value.len());
        }
        Ok(pair)
    }

    fn make_up_for(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let bytes = bytes.saturating_mul(PAGE_OF_LEAVES);
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        let steps = |bytes: u64| bytes / self.step;
        let due = steps(before.wrapping_add(bytes)).wrapping_sub(steps(before));
        let is_warm = before > self.step.saturating_mul(QUEUE);
        if due > 0 && is_warm {
            self.touch(due.min(QUEUE));
        }
    }

    fn touch(&self, times: u64) {
        let tree = self.touched.get_or_init(|| match self.plant() {
            Ok(tree) => Some(tree),
            Err(error) => {
                tracing::warn!(%error, "the store's cache may take more memory than it should");
                None
            }
        });
        let Some(tree) = tree else {
            return;
        };
        for _ in 0..times {
            for page in 0..PAGES {
                // What matters is that sled looked; what is there does not.
                let _ = tree.get(key(page.saturating_mul(KEYS_OF_A_PAGE)));
            }
        }
    }

    /// Makes the tree, unless an earlier run did.
    fn plant(&self) -> ::sled::Result<::sled::Tree> {
        let tree = self.sled.open_tree(TREE)?;
        let keys = PAGES.saturating_mul(KEYS_OF_A_PAGE);
        if tree.contains_key(key(keys))? {
            return Ok(tree);
        }
        for number in 0..=keys {
            tree.insert(key(number), &[])?;
        }
        Ok(tree)
    }
}

impl Deref for Database {
    type Target = ::sled::Db;

    fn deref(&self) -> &::sled::Db {
        &self.sled
    }
}

fn key(number: u16) -> [u8; 2] {
    number.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_touched_once_more_was_read_than_the_cache_holds() {
        let sled = ::sled::Config::new().temporary(true).open().unwrap();
        sled.insert(b"key", vec![7; 1000]).unwrap();
        // The second finds what the first has made.
        for _ in 0..2 {
            let database = Database::new(sled.clone(), 64 * 1000);
            let read = || {
                let end = Bound::Included(b"key".to_vec());
                database.last_in(Bound::Unbounded, end).unwrap().unwrap()
            };
            for _ in 0..22 {
                assert_eq!(read().1, vec![7; 1000]);
                assert!(database.touched.get().is_none());
            }
            read();
            let touched = database.touched.get();
            let tree = touched.expect("more was read than the cache holds");
            let keys = usize::from(PAGES * KEYS_OF_A_PAGE) + 1;
            assert_eq!(tree.as_ref().map(|tree| tree.len()), Some(keys));
        }
    }
}
