//! What only this adapter promises: to survive what processes and disks do.
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::store::conformance::{Fixture, conformance};

struct OnDisk(TempDir);

impl Fixture for OnDisk {
    type Store = SledStore;

    fn fresh() -> (Self, Arc<SledStore>) {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        (Self(directory), Arc::new(store))
    }

    fn reopen(&self, store: Arc<SledStore>) -> Arc<SledStore> {
        drop(
            Arc::try_unwrap(store)
                .ok()
                .expect("the store is still in use"),
        );
        Arc::new(open(self.0.path()))
    }
}

conformance!(OnDisk);

/// Small segments, so that there are several; no minimum, whatever disk the tests run on.
fn options() -> OpenOptions {
    OpenOptions {
        segment_bytes: 4096,
        minimum_free_bytes: Some(0),
        ..OpenOptions::default()
    }
}

fn open(directory: &Path) -> SledStore {
    SledStore::open(directory, options()).unwrap()
}
