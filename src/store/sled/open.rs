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
use super::apply::{ApplyError, Settled, Writes};
use super::frame::Frame;
use super::journal::{SEGMENT_HEADER_BYTES, Segment, rewrite, segments, sync_directory};
use super::keys;
use super::marks::{AppliedHead, CommitPlace, Wake};
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
    let useless = match try_state(&directory, options, segments)? {
        Ok(opened) => return Ok(opened),
        Err(useless) => useless,
    };
    if let Useless::Outdated(known) = &useless {
        // Before it is out of sight, as nothing else may know of what was lost.
        check_reach(known, segments)?;
    }
    let aside = set_aside(path, &directory, useless.suffix());
    let aside = aside.map_err(io_error("move aside", &directory))?;
    match &useless {
        Useless::Damaged(why) => tracing::warn!(
            why,
            kept = %aside.display(),
            "the database is damaged; it is kept aside and made anew from the journal"
        ),
        Useless::Outdated(_) => tracing::info!(
            kept = %aside.display(),
            "an earlier release wrote the database; it is kept aside and made anew from the journal"
        ),
    }
    let made = try_state(&directory, options, segments)?;
    made.map_err(|useless| OpenError::Refused {
        path: directory,
        why: match useless {
            Useless::Damaged(why) => why,
            Useless::Outdated(_) => "its layout is an earlier release's".to_owned(),
        },
    })
}

/// Why a database is of no use, so that the journal must make a new one.
enum Useless {
    /// It is damaged.
    Damaged(String),
    /// It has the layout of an earlier release; that far it had come.
    Outdated(Head),
}

impl Useless {
    /// What its directory is called from then on.
    fn suffix(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "damaged",
            Self::Outdated(_) => "outdated",
        }
    }
}

/// Opens, checks and catches up sled; the inner error is what the journal can heal.
fn try_state(
    directory: &Path,
    options: &OpenOptions,
    segments: &[Segment],
) -> Result<Result<(State, Head), Useless>, OpenError> {
    let damaged = |why| Ok(Err(Useless::Damaged(why)));
    let state = match open_when_released(directory, options) {
        Ok(state) => state,
        Err(StateFault::Damaged(why)) => return damaged(why),
        Err(StateFault::Io(source)) => return Err(io_error("open", directory)(source)),
        Err(StateFault::InUse) => return Err(OpenError::InUse(directory.to_owned())),
        Err(StateFault::Refused(why)) => {
            return Err(OpenError::Refused {
                path: directory.to_owned(),
                why,
            });
        }
    };
    let caught_up = match state.head() {
        Ok(AppliedHead::Outdated(head)) => return Ok(Err(Useless::Outdated(head))),
        Ok(AppliedHead::Current(applied)) => catch_up(&state, applied, segments),
        Err(fault) => Err(fault.into()),
    };
    let checked = caught_up.and_then(|head| {
        state.learn_wakes().map_err(CatchUpError::State)?;
        // Afterwards, so that lost history is noticed while the state still knows of it.
        match options.verification {
            Verification::Heads => {}
            Verification::EveryRecord => state.verify()?,
        }
        Ok(head)
    });
    match checked {
        Ok(head) => Ok(Ok((state, head))),
        Err(CatchUpError::State(ApplyError::Panic)) => damaged(ApplyError::Panic.to_string()),
        Err(CatchUpError::State(ApplyError::Read(ReadError::Damaged(why)))) => damaged(why),
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

/// Renames a database that is of no use to the first free name.
fn set_aside(path: &Path, directory: &Path, suffix: &str) -> io::Result<PathBuf> {
    let free = (1..u32::MAX)
        .map(|number| path.join(format!("sled.{suffix}-{number}")))
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
        let whole = frames(segment, &bytes, place, |_, _| Ok::<(), Damage>(()))?;
        if whole.head.sequence > applied.sequence {
            // A process may have died, or been told that the disk failed, before
            // these bytes were durable: what is read here may exist in memory only.
            rewrite(&segment.path, bytes.get(..whole.length).unwrap_or_default())
                .map_err(io_error("write", &segment.path))?;
        }
        let reached = frames(segment, &bytes, place, |frame, offset| {
            replay.take(segment, frame, offset)
        })?;
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
        check_story(&self.applied, &start)
    }

    fn take(
        &mut self,
        segment: &Segment,
        frame: &Frame<'_>,
        offset: u64,
    ) -> Result<(), CatchUpError> {
        if frame.sequence <= self.applied.sequence {
            return Ok(check_story(&self.applied, &head_of(frame))?);
        }
        self.waiting.push(settle(segment, frame, offset)?);
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
}

/// Checks that the journal agrees with what the state knows, if that is what is seen.
fn check_story(known: &Head, seen: &Head) -> Result<(), OpenError> {
    if seen.sequence == known.sequence && seen.chain != known.chain {
        return Err(OpenError::Diverged(seen.sequence));
    }
    Ok(())
}

/// Checks that the journal reaches as far as what the state knows, and agrees with it.
fn check_reach(known: &Head, segments: &[Segment]) -> Result<(), OpenError> {
    let before = segments.partition_point(|segment| segment.first <= known.sequence);
    let Some(segment) = before.checked_sub(1).and_then(|last| segments.get(last)) else {
        return match known.sequence {
            Sequence(0) => Ok(()),
            known => Err(lost(Sequence(0), known)),
        };
    };
    let place = if before == segments.len() {
        Place::End
    } else {
        Place::Middle
    };
    let bytes = read(&segment.path)?;
    let end = frames(segment, &bytes, place, |frame, _| {
        check_story(known, &head_of(frame))
    })?;
    if end.head.sequence < known.sequence {
        return Err(lost(end.head.sequence, known.sequence));
    }
    Ok(())
}

/// The history up to and including a frame.
fn head_of(frame: &Frame<'_>) -> Head {
    Head {
        sequence: frame.sequence,
        chain: frame.chain,
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
pub(super) fn settle(
    segment: &Segment,
    frame: &Frame<'_>,
    offset: u64,
) -> Result<Settled, OpenError> {
    read_settled(frame, offset).map_err(|what| OpenError::Damaged {
        path: segment.path.clone(),
        after: Sequence(frame.sequence.0.saturating_sub(1)),
        what,
    })
}

fn read_settled(frame: &Frame<'_>, offset: u64) -> Result<Settled, String> {
    let entry = Entry::unseal(frame.entry).map_err(|fault| fault.to_string())?;
    let head = Head {
        sequence: frame.sequence,
        chain: frame.chain,
    };
    let idempotency = match frame.answer {
        [] => None,
        sealed => Some(Idempotency::unseal(sealed).map_err(|fault| fault.to_string())?),
    };
    let writes = Writes::of(&entry.organization, &entry.records, entry.events.len())
        .map_err(|fault| fault.to_string())?;
    let wake = match Entry::knows_wake(frame.entry) {
        true => Wake::At(entry.wake_at),
        false => Wake::Unknown,
    };
    Ok(Settled {
        head,
        place: CommitPlace::new(offset, &frame.own_hash()),
        organization: entry.organization,
        version: entry.version,
        at: entry.at,
        wake,
        writes,
        answer: idempotency.map(|kept| (keys::digest(&kept.key), kept.expires_at)),
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
