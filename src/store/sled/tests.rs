//! What only this adapter promises: to survive what processes and disks do.
//!
//! A crash is made by putting together what one leaves behind: a sled from
//! before, a journal from after. What can't be had that way is injected
//! ([`faults`](super::faults)).

mod damage;
mod killed;
mod outdated;
mod running;
mod verified;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::domain::change::RecordChange;
use crate::store::conformance::{Fixture, conformance, make};
use crate::store::samples::{create, idempotency};

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
        segment_bytes: 1024,
        minimum_free_bytes: Some(0),
        ..OpenOptions::default()
    }
}

/// One segment, whatever is written.
fn one_segment() -> OpenOptions {
    OpenOptions {
        segment_bytes: u64::MAX,
        ..options()
    }
}

fn open(directory: &Path) -> SledStore {
    SledStore::open(directory, options()).unwrap()
}

fn refusal(directory: &Path, options: OpenOptions) -> OpenError {
    match SledStore::open(directory, options) {
        Ok(_) => panic!("the store opened"),
        Err(refusal) => refusal,
    }
}

/// A store with commits 1 to `count`, closed.
fn written(count: u64, options: &OpenOptions) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1, count, options);
    directory
}

/// Opens, makes the commits `from` to `to`, one after another, and closes.
fn write(directory: &Path, from: u64, to: u64, options: &OpenOptions) {
    let store = SledStore::open(directory, options.clone()).unwrap();
    for number in from..=to {
        let mut next = create(&format!("o{number}"));
        next.idempotency = Some(idempotency(&format!("o{number}"), "r", 5_000));
        assert_eq!(make(&store, next).unwrap(), Sequence(number));
    }
}

/// Copies a closed store, or a part of one.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            copy(&file.path(), &to.join(file.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn replace(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

/// The last segment of a store's journal.
fn last_segment(directory: &Path) -> PathBuf {
    journal::segments(&directory.join("journal"))
        .unwrap()
        .pop()
        .unwrap()
        .path
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

/// The database of a closed store. sled may hold its own lock a little longer.
fn database_of(directory: &Path) -> state::State {
    loop {
        match state::State::open(&directory.join("sled"), 1 << 20) {
            Err(state::StateFault::InUse) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// Changes the database of a closed store behind its back.
fn meddle(directory: &Path, change: impl FnOnce(&mut edit::Edit<'_>)) {
    let state = database_of(directory);
    let mut edit = edit::Edit::new(&state.database);
    change(&mut edit);
    let changed = edit.finish().unwrap();
    state.database.apply_batch(changed.batch).unwrap();
    state.flush().unwrap();
}

/// The key of a record.
fn record_key(organization: &OrganizationId, change: &RecordChange) -> Vec<u8> {
    match keys::place(organization, change) {
        keys::Place::Record(key) => key,
        keys::Place::Everything => panic!("{change:?}"),
    }
}

/// Everything that the database holds.
fn entries(store: &SledStore) -> Vec<(keys::Subject, Vec<u8>)> {
    let mut entries = Vec::new();
    let counted = leaves::count(&store.shared.state.database, |key, value| {
        entries.push((keys::subject(key).unwrap(), value.to_vec()));
        Ok(())
    });
    store.shared.state.check_keys(counted.unwrap()).unwrap();
    entries
}

/// Makes the writer stand still before it appends a commit of `id` until what is returned
/// is dropped.
fn hold(store: &SledStore, id: &str) -> (mpsc::Sender<()>, CommitFuture) {
    let (release, arrived) = stop_at_next_append(store);
    let future = store.commit(create(id));
    arrived.recv().unwrap();
    (release, future)
}

/// Makes the writer say when it is about to append, and wait until the first of what is
/// returned is dropped.
fn stop_at_next_append(store: &SledStore) -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (release, released) = mpsc::channel();
    let (reached, arrived) = mpsc::channel();
    *store.shared.state.faults.hold.lock().unwrap() = Some((reached, released));
    (release, arrived)
}

fn wait(future: CommitFuture) -> Result<Sequence, CommitError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
