//! Opens a store: from whatever a process, a crash or a bad disk left behind to a
//! state that equals the journal, or to a refusal that says what is missing.
//!
//! Three rules decide every case. The journal is the truth: a sled that does not
//! open, does not check out or lags behind is made anew or brought up from it.
//! sled is a prefix of the journal: if it knows commits that the journal does
//! not, acknowledged history is lost, and that is refused, never papered over.
//! And nothing is thrown away because of an error of the file system: a full disk
//! heals, a deleted file doesn't. What is moved aside is kept.
//!
//! Of a long journal only the end is read: the last segment, and whatever sled
//! has not applied. Damage in older segments does not harm the state and shows
//! when the history is read.

use std::fs::{File, create_dir_all, rename};
use std::io;
use std::path::{Path, PathBuf};

use super::OpenOptions;
use super::apply::{ApplyError, Settled, Writes, answer};
use super::frame::Frame;
use super::journal::{SEGMENT_HEADER_BYTES, Segment, rewrite, segments, sync_directory};
use super::place::{attempts, distrusted_file_system, lock, pause_after, usual_minimum_free};
use super::scan::{Damage, End, Place, frames, is_torn_beginning, start_of};
use super::state::{State, StateFault};
use crate::store::record::{Entry, Stored};
use crate::store::{Head, Idempotency, ReadError, Sequence};

/// How many commits are replayed at once.
pub(super) const REPLAYED_AT_ONCE: usize = 64;

/// Why a store did not open. Each case calls for something else of the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory `{}` is in use by another process; stop that one first", .0.display())]
    InUse(PathBuf),
    /// The file system failed; nothing was thrown away.
    #[error("can't {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// Acknowledged history is damaged; restore the file from a backup.
    #[error("the journal `{}` is damaged after commit {}: {what} does not check out; restore it from a backup", path.display(), after.0)]
    Damaged {
        /// The damaged segment.
        path: PathBuf,
        /// The last commit before the damage.
        after: Sequence,
        /// What is wrong.
        what: String,
    },
    /// Acknowledged commits are gone from the journal; restore it from a backup.
    #[error("lost {}..{}: the journal lacks commits that were acknowledged; restore it from a backup", from.0, to.0)]
    Lost {
        /// The first lost commit.
        from: Sequence,
        /// The last one known to have been made.
        to: Sequence,
    },
    /// The state was not made by this journal.
    #[error("the state and the journal tell different stories of commit {}; restore both from one backup", .0.0)]
    Diverged(Sequence),
    /// The database refuses.
    #[error("the database `{}` does not open: {why}", path.display())]
    Refused {
        /// Where it is.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// How much is checked when a store is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// The heads and the end of the journal. Damage to a record shows when it is loaded.
    #[default]
    Heads,
    /// Every record too; damaged ones are made anew from the journal.
    EveryRecord,
}

/// Everything a running store is made of.
pub(super) struct Opened {
    pub lock: File,
    pub directory: File,
    pub minimum_free: u64,
    pub state: State,
    pub segments: Vec<Segment>,
    pub journal_directory: PathBuf,
    pub head: Head,
}

impl From<Damage> for OpenError {
    fn from(Damage { path, after, what }: Damage) -> Self {
        Self::Damaged {
            path,
            after,
            what: what.to_owned(),
        }
    }
}

/// Opens the store in `path`.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let journal_directory = path.join("journal");
    create_dir_all(&journal_directory).map_err(io_error("create", &journal_directory))?;
    sync_directory(path).map_err(io_error("sync", path))?;
    let locked = lock(path, options.lock_wait).map_err(io_error("lock", path))?;
    let lock = locked.ok_or_else(|| OpenError::InUse(path.to_owned()))?;
    let directory = File::open(path).map_err(io_error("open", path))?;
    warn_of_file_system(path, &directory);
    let minimum_free = match options.minimum_free_bytes {
        Some(bytes) => bytes,
        None => usual_minimum_free(&directory).map_err(io_error("measure", path))?,
    };

    let segments = whole_segments(&journal_directory)?;
    sync_directory(&journal_directory).map_err(io_error("sync", &journal_directory))?;
    if let Some(first) = segments.first()
        && first.first.0 > 1
    {
        return Err(lost(Sequence(0), Sequence(first.first.0 - 1)));
    }
    let (state, head) = open_state(path, options, &segments)?;
    Ok(Opened {
        lock,
        directory,
        minimum_free,
        state,
        segments,
        journal_directory,
        head,
    })
}

fn warn_of_file_system(path: &Path, directory: &File) {
    match distrusted_file_system(directory) {
        Ok(None) => {}
        Ok(Some(name)) => tracing::warn!(
            directory = %path.display(),
            "the data directory is on {name}, where writes may be lost or refused; use ext4 or xfs"
        ),
        Err(fault) => tracing::warn!(%fault, "the kind of file system can't be told"),
    }
}

/// The segments without one that a process died over while it began it.
fn whole_segments(directory: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut found = segments(directory).map_err(io_error("list", directory))?;
    let Some(last) = found.last() else {
        return Ok(found);
    };
    let length = std::fs::metadata(&last.path)
        .map_err(io_error("read", &last.path))?
        .len();
    if length <= SEGMENT_HEADER_BYTES as u64 && is_torn_beginning(last, &read(&last.path)?) {
        std::fs::remove_file(&last.path).map_err(io_error("remove", &last.path))?;
        sync_directory(directory).map_err(io_error("sync", directory))?;
        found.pop();
    }
    Ok(found)
}

/// sled at the end of the journal; made anew if it is damaged.
fn open_state(
    path: &Path,
    options: &OpenOptions,
    segments: &[Segment],
) -> Result<(State, Head), OpenError> {
    let directory = path.join("sled");
    let why = match try_state(&directory, options, segments)? {
        Ok(opened) => return Ok(opened),
        Err(why) => why,
    };
    let aside = set_aside(path, &directory).map_err(io_error("move aside", &directory))?;
    tracing::warn!(
        why,
        kept = %aside.display(),
        "the database is damaged; it is kept aside and made anew from the journal"
    );
    try_state(&directory, options, segments)?.map_err(|why| OpenError::Refused {
        path: directory,
        why,
    })
}

/// Opens, checks and catches up sled; the inner error is damage that the journal can heal.
fn try_state(
    directory: &Path,
    options: &OpenOptions,
    segments: &[Segment],
) -> Result<Result<(State, Head), String>, OpenError> {
    let state = match open_when_released(directory, options) {
        Ok(state) => state,
        Err(StateFault::Damaged(why)) => return Ok(Err(why)),
        Err(StateFault::Io(source)) => return Err(io_error("open", directory)(source)),
        Err(StateFault::InUse) => return Err(OpenError::InUse(directory.to_owned())),
        Err(StateFault::Refused(why)) => {
            return Err(OpenError::Refused {
                path: directory.to_owned(),
                why,
            });
        }
    };
    let caught_up = state
        .head()
        .map_err(CatchUpError::from)
        .and_then(|applied| {
            let head = catch_up(&state, applied, segments)?;
            // Afterwards, so that lost history is noticed while the state still knows of it.
            match options.verification {
                Verification::Heads => {}
                Verification::EveryRecord => state.verify()?,
            }
            Ok(head)
        });
    match caught_up {
        Ok(head) => Ok(Ok((state, head))),
        Err(CatchUpError::State(ApplyError::Panic)) => Ok(Err(ApplyError::Panic.to_string())),
        Err(CatchUpError::State(ApplyError::Read(ReadError::Damaged(why)))) => Ok(Err(why)),
        Err(CatchUpError::State(fault)) => Err(io_error("bring up to date", directory)(
            io::Error::other(fault),
        )),
        Err(CatchUpError::Journal(fault)) => Err(fault),
    }
}

/// A sled that was closed a moment ago may hold its own lock a little longer.
fn open_when_released(directory: &Path, options: &OpenOptions) -> Result<State, StateFault> {
    for attempt in attempts(options.lock_wait) {
        match State::open(directory, options.cache_bytes) {
            Err(StateFault::InUse) => pause_after(attempt, options.lock_wait),
            opened => return opened,
        }
    }
    Err(StateFault::InUse)
}

/// Renames the damaged database to the first free name.
fn set_aside(path: &Path, directory: &Path) -> io::Result<PathBuf> {
    let free = (1..u32::MAX)
        .map(|number| path.join(format!("sled.damaged-{number}")))
        .find(|candidate| !candidate.exists())
        .ok_or_else(|| io::Error::other("no name is free"))?;
    rename(directory, &free)?;
    sync_directory(path)?;
    Ok(free)
}

/// Brings sled up to the end of the journal, and cuts a torn end off.
fn catch_up(state: &State, applied: Head, segments: &[Segment]) -> Result<Head, CatchUpError> {
    let next = Sequence(applied.sequence.0.saturating_add(1));
    let unread = segments
        .partition_point(|segment| segment.first <= next)
        .saturating_sub(1);
    let unread = segments.get(unread..).unwrap_or_default();
    let mut replay = Replay {
        state,
        applied,
        waiting: Vec::new(),
        before: None,
    };
    let mut end = None;
    for (position, segment) in unread.iter().enumerate() {
        let place = if position + 1 == unread.len() {
            Place::End
        } else {
            Place::Middle
        };
        let bytes = read(&segment.path)?;
        replay.enter(segment, &bytes)?;
        let whole = frames(segment, &bytes, place, |_| Ok::<(), Damage>(()))?;
        if whole.head.sequence > applied.sequence {
            // A process may have died, or been told that the disk failed, before
            // these bytes were durable: what is read here may exist in memory only.
            rewrite(&segment.path, bytes.get(..whole.length).unwrap_or_default())
                .map_err(io_error("write", &segment.path))?;
        }
        let reached = frames(segment, &bytes, place, |frame| replay.take(segment, frame))?;
        replay.before = Some(reached.head);
        end = Some((segment, reached, bytes.len()));
    }
    let head = replay.finish()?;
    if let Some((segment, End { length, .. }, found)) = end
        && length < found
    {
        tracing::warn!(
            bytes = found - length,
            "the journal ended in a torn write, which was cut off"
        );
        cut(&segment.path, length as u64).map_err(io_error("cut", &segment.path))?;
    }
    Ok(head)
}

/// Why the state did not get to the end of the journal.
enum CatchUpError {
    /// The journal is at fault; there is nothing to heal it from.
    Journal(OpenError),
    /// The state is at fault.
    State(ApplyError),
}

impl From<OpenError> for CatchUpError {
    fn from(fault: OpenError) -> Self {
        Self::Journal(fault)
    }
}

impl From<ReadError> for CatchUpError {
    fn from(fault: ReadError) -> Self {
        Self::State(fault.into())
    }
}

impl From<Damage> for CatchUpError {
    fn from(damage: Damage) -> Self {
        Self::Journal(damage.into())
    }
}

/// The state on its way to the end of the journal.
struct Replay<'a> {
    state: &'a State,
    applied: Head,
    waiting: Vec<Settled>,
    /// The end of the segment before, if one was read.
    before: Option<Head>,
}

impl Replay<'_> {
    /// Checks that a segment goes on where the one before ended, or where the state can follow.
    fn enter(&self, segment: &Segment, bytes: &[u8]) -> Result<(), OpenError> {
        let start = start_of(segment, bytes)?;
        if let Some(before) = &self.before {
            join(before, segment, &start)?;
        }
        if start.sequence > self.applied.sequence && self.before.is_none() {
            return Err(lost(self.applied.sequence, start.sequence));
        }
        self.check_story(&start)
    }

    fn take(&mut self, segment: &Segment, frame: &Frame<'_>) -> Result<(), CatchUpError> {
        if frame.sequence <= self.applied.sequence {
            return Ok(self.check_story(&Head {
                sequence: frame.sequence,
                chain: frame.chain,
            })?);
        }
        self.waiting.push(settle(segment, frame)?);
        if self.waiting.len() >= REPLAYED_AT_ONCE {
            self.apply()?;
        }
        Ok(())
    }

    /// The head of the journal, applied.
    fn finish(mut self) -> Result<Head, CatchUpError> {
        self.apply()?;
        let end = self.before.unwrap_or_default();
        if end.sequence < self.applied.sequence {
            return Err(lost(end.sequence, self.applied.sequence).into());
        }
        Ok(self.applied)
    }

    fn apply(&mut self) -> Result<(), CatchUpError> {
        let group = std::mem::take(&mut self.waiting);
        self.state.apply(&group).map_err(CatchUpError::State)?;
        if let Some(last) = group.last() {
            self.applied = last.head;
        }
        Ok(())
    }

    fn check_story(&self, seen: &Head) -> Result<(), OpenError> {
        if seen.sequence == self.applied.sequence && seen.chain != self.applied.chain {
            return Err(OpenError::Diverged(seen.sequence));
        }
        Ok(())
    }
}

/// Checks that a segment, which begins after `start`, goes on where the history ended.
pub(super) fn join(before: &Head, segment: &Segment, start: &Head) -> Result<(), OpenError> {
    if before.sequence < start.sequence {
        return Err(lost(before.sequence, start.sequence));
    }
    if before != start {
        return Err(OpenError::Damaged {
            path: segment.path.clone(),
            after: start.sequence,
            what: "the chain between segments".to_owned(),
        });
    }
    Ok(())
}

/// What a frame of the journal does to the state.
pub(super) fn settle(segment: &Segment, frame: &Frame<'_>) -> Result<Settled, OpenError> {
    read_settled(frame).map_err(|what| OpenError::Damaged {
        path: segment.path.clone(),
        after: Sequence(frame.sequence.0.saturating_sub(1)),
        what,
    })
}

fn read_settled(frame: &Frame<'_>) -> Result<Settled, String> {
    let entry = Entry::unseal(frame.entry).map_err(|fault| fault.to_string())?;
    let head = Head {
        sequence: frame.sequence,
        chain: frame.chain,
    };
    let idempotency = match frame.answer {
        [] => None,
        sealed => Some(Idempotency::unseal(sealed).map_err(|fault| fault.to_string())?),
    };
    let writes = Writes::of(&entry.organization, &entry.records, entry.events)
        .map_err(|fault| fault.to_string())?;
    Ok(Settled {
        head,
        organization: entry.organization,
        version: entry.version,
        at: entry.at,
        wake_at: entry.wake_at,
        writes,
        answer: idempotency.map(|idempotency| answer(&idempotency, &head)),
    })
}

pub(super) fn lost(last: Sequence, known: Sequence) -> OpenError {
    OpenError::Lost {
        from: Sequence(last.0.saturating_add(1)),
        to: known,
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(io_error("read", path))
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        action,
        path: path.clone(),
        source,
    }
}
