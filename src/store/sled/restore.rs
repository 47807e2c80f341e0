//! Makes a data directory of a history: whole, or not at all.
//!
//! Everything is made in a folder of its own inside the directory, opened and checked
//! there, and moved into place at the end. The journal is moved first, by one rename:
//! a directory with a journal and no database is whole, since the next start makes the
//! database anew; one without a journal is empty. So there is no moment at which a
//! crash leaves half a store behind, and what it leaves of the folder the next attempt
//! removes.
//!
//! It also reads the history of a directory that no process has open, for a copy.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frame::Frame;
use super::journal::{AppendError, Journal, sync_directory};
use super::open::{OpenError, Verification, io_error};
use super::place::lock;
use super::verification::{lock_if_ever_used, walk, whole_segments};
use super::{OpenOptions, SledStore, failpoint};
use crate::store::frame::follow;
use crate::store::{Head, SealedCommit, Store};

/// The folder in which everything is made.
const WORKSHOP: &str = "restoring";
/// What may be in a directory that counts as empty: a lock, an attempt that was
/// interrupted, and what file systems put into their root.
const NOTHING: [&str; 3] = ["lock", WORKSHOP, "lost+found"];
/// How much is made durable at once, in bytes.
const WRITTEN_AT_ONCE: usize = 8 * 1024 * 1024;
/// How long to wait for a process that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Why no data directory was made. The directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in it.
    #[error("`{}` is not empty: it has `{found}`; name a directory that is", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// What is there.
        found: String,
    },
    /// A commit does not follow from the one before it.
    #[error("commit {0} does not follow from the one before it; take another backup")]
    Unchained(u64),
    /// What was made ends elsewhere than it should.
    #[error("the history that was written ends at commit {found}, not {expected}")]
    Incomplete {
        /// The last commit that should be there.
        expected: u64,
        /// The last one that is.
        found: u64,
    },
    /// The file system failed, the directory is in use, or what was made does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A data directory in the making. Dropped before it is finished, it leaves nothing.
pub struct Restoration {
    directory: PathBuf,
    workshop: PathBuf,
    journal: Journal,
    /// Where what is durable ends.
    written: Head,
    /// Where everything ends that was handed in.
    head: Head,
    waiting: Vec<u8>,
    /// Held until it is in place, so that no daemon starts on it before.
    _lock: File,
}

impl Restoration {
    /// Begins in a directory that is empty or not there.
    pub fn begin(directory: &Path) -> Result<Self, RestoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io_error("create", directory))?;
        must_be_empty(directory)?;
        let locked = lock(directory, LOCK_WAIT).map_err(io_error("lock", directory))?;
        let lock = locked.ok_or_else(|| OpenError::InUse(directory.to_owned()))?;
        // Another may have finished meanwhile.
        must_be_empty(directory)?;
        let workshop = directory.join(WORKSHOP);
        remove_all(&workshop)?;
        let journal = workshop.join("journal");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&journal)
            .map_err(io_error("create", &journal))?;
        let segment_bytes = OpenOptions::default().segment_bytes;
        let resumed = Journal::resume(&journal, segment_bytes, None);
        Ok(Self {
            directory: directory.to_owned(),
            workshop,
            journal: resumed.map_err(io_error("open", &journal))?,
            written: Head::default(),
            head: Head::default(),
            waiting: Vec::new(),
            _lock: lock,
        })
    }

    /// Adds the next commit.
    pub fn add(&mut self, commit: &SealedCommit) -> Result<(), RestoreError> {
        let frame = Frame::of(commit);
        let head = follow(&self.head, &frame);
        self.head = head.ok_or(RestoreError::Unchained(commit.sequence.0))?;
        frame.write(&mut self.waiting);
        if self.waiting.len() >= WRITTEN_AT_ONCE {
            self.write()?;
        }
        Ok(())
    }

    /// Opens what was made, checks it, and moves it into place. It must end at `head`.
    pub fn finish(mut self, head: &Head) -> Result<(), RestoreError> {
        self.write()?;
        self.check(head)?;
        self.put_in_place("journal", "restore-journal")?;
        if let Err(fault) = self.put_in_place("sled", "restore-sled") {
            // The directory is whole without it.
            tracing::warn!(%fault, "the next start makes the database anew");
        }
        Ok(())
    }

    fn put_in_place(&self, part: &str, step: &str) -> Result<(), OpenError> {
        let made = self.workshop.join(part);
        sync_all(&made).map_err(io_error("sync", &made))?;
        failpoint::reach(step)
            .and_then(|()| fs::rename(&made, self.directory.join(part)))
            .map_err(io_error("move", &made))?;
        sync_directory(&self.directory).map_err(io_error("sync", &self.directory))
    }

    fn write(&mut self) -> Result<(), RestoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let appended = self.journal.append(&self.written, &self.waiting);
        appended.map_err(|failed| match failed {
            AppendError::Nothing(fault) | AppendError::Unknown(fault) => {
                io_error("write", &self.workshop)(fault)
            }
        })?;
        self.waiting.clear();
        self.written = self.head;
        Ok(())
    }

    /// Makes the state and has every record of it checked.
    fn check(&self, head: &Head) -> Result<(), RestoreError> {
        let options = OpenOptions {
            minimum_free_bytes: Some(0),
            verification: Verification::EveryRecord,
            ..OpenOptions::default()
        };
        let store = SledStore::open(&self.workshop, options)?;
        let found = store.head();
        drop(store);
        if found != *head {
            return Err(RestoreError::Incomplete {
                expected: head.sequence.0,
                found: found.sequence.0,
            });
        }
        Ok(())
    }
}

impl Drop for Restoration {
    fn drop(&mut self) {
        if let Err(fault) = fs::remove_dir_all(&self.workshop) {
            tracing::warn!(directory = %self.workshop.display(), %fault, "is left behind");
        }
    }
}

fn must_be_empty(directory: &Path) -> Result<(), RestoreError> {
    let fault = io_error("list", directory);
    for file in fs::read_dir(directory).map_err(&fault)? {
        let name = file.map_err(&fault)?.file_name();
        let name = name.to_string_lossy();
        if !NOTHING.contains(&&*name) {
            return Err(RestoreError::NotEmpty {
                directory: directory.to_owned(),
                found: name.into_owned(),
            });
        }
    }
    Ok(())
}

fn remove_all(directory: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(directory) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", directory)(fault))
        }
        _ => Ok(()),
    }
}

/// Makes every file below a directory durable.
fn sync_all(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        match file.file_type()?.is_dir() {
            true => sync_all(&file.path())?,
            false => File::open(file.path())?.sync_all()?,
        }
    }
    sync_directory(directory)
}

/// Where the history of a directory ends that no process has open; all of it is checked.
pub fn head_of(directory: &Path) -> Result<Head, OpenError> {
    let mut end = Head::default();
    commits_of(directory, |commit| {
        end = Head {
            sequence: commit.sequence,
            chain: commit.chain,
        };
        Ok::<(), OpenError>(())
    })?;
    Ok(end)
}

/// Shows every commit in a directory that no process has open; nothing in it is changed.
/// What was never acknowledged, such as a torn end, is left out.
pub fn commits_of<E: From<OpenError>>(
    directory: &Path,
    mut visit: impl FnMut(&SealedCommit) -> Result<(), E>,
) -> Result<(), E> {
    let _lock = lock_if_ever_used(directory)?;
    let segments = whole_segments(&directory.join("journal"))?;
    walk(&segments, |_, frame, _| visit(&frame.to_commit()))?;
    Ok(())
}
