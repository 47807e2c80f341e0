//! Checks a data directory that no process has open: the whole journal, and that the
//! database holds what the journal says and nothing else.
//!
//! [`open`](super::open) reads no more of a journal than it needs, and heals on the
//! way. This reads all of it and changes nothing, so it works on a copy that was
//! carried elsewhere and on a directory that can't be written. sled can't be opened
//! without writing: what is opened is a copy of it, which is brought up to the
//! journal's end first, as the next start would. What a crash may leave behind (a
//! database that lags, a torn write at the end of the journal) is therefore no
//! fault, and is counted.
//!
//! The journal is checked to its end before the database is complained of, because
//! a database can be made anew and a journal can't.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::apply::{ApplyError, Settled, Step};
use super::frame::Frame;
use super::journal::{Segment, segments};
use super::keys::{self, Subject};
use super::leaves;
use super::marks::{AppliedHead, KeptAnswer, OrganizationMark, Wake};
use super::open::{OpenError, REPLAYED_AT_ONCE, io_error, join, lost, read, settle};
use super::place::acquire;
use super::scan::{Damage, Place, frames, is_torn_beginning, start_of};
use super::state::{self, State, StateFault, guarded};
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Organization};
use crate::store::{Head, ReadError};

/// How long to wait for a process that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// How much of the copied database is kept in memory, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// From how many remembered answers on those that have expired are forgotten.
const ANSWERS_BEFORE_PRUNING: usize = 4096;

/// What a data directory holds, every byte of it checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Where the history ends; its chain stands for all that came before.
    pub head: Head,
    /// Files of the journal.
    pub segments: u64,
    /// Organizations.
    pub organizations: u64,
    /// Records of organizations.
    pub records: u64,
    /// Events, those of deleted organizations included.
    pub events: u64,
    /// Commits that only the journal has yet; the next start brings them into the database.
    pub unapplied: u64,
    /// Bytes of a write that was never acknowledged, at the end of the journal; the next
    /// start cuts them off.
    pub torn_bytes: u64,
}

impl VerifyReport {
    /// How many commits the history has.
    pub fn commits(&self) -> u64 {
        self.head.sequence.0
    }

    /// The link of the chain at the end of the history, in hexadecimal.
    pub fn chain(&self) -> impl Display {
        Hexadecimal(self.head.chain)
    }
}

/// Why a data directory does not check out.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It can't be read, is in use, or its history is damaged.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal is whole, but the database differs from it.
    #[error("the database `{}` is not what the journal says: {what}; move it aside and the next start makes it anew", path.display())]
    Database {
        /// Where it is.
        path: PathBuf,
        /// The first difference.
        what: String,
    },
}

/// Checks the data directory `path`, using the directory `scratch` for a copy of its database.
///
/// Nothing in `path` is changed. The copy takes as much room as the database and is
/// removed afterwards.
pub fn verify_directory(path: &Path, scratch: &Path) -> Result<VerifyReport, VerifyError> {
    verify_and_show(path, scratch, |_| ())
}

/// The same, and shows every organization if all checks out.
pub fn verify_and_show(
    path: &Path,
    scratch: &Path,
    mut show: impl FnMut(&Organization),
) -> Result<VerifyReport, VerifyError> {
    let _lock = lock_if_ever_used(path)?;
    let journal = path.join("journal");
    let segments = whole_segments(&journal)?;
    let database = path.join("sled");
    let copy = Scratch::new(scratch)?;
    let state = match open_copy(&database, &copy, !segments.is_empty()) {
        Ok(state) => state,
        Err(fault @ VerifyError::Database { .. }) => {
            walk(&segments, |_, _, _| Ok::<(), OpenError>(()))?;
            return Err(fault);
        }
        Err(fault) => return Err(fault),
    };
    let mut check = Check::new(&state, &database)?;
    let (head, torn_bytes) = walk(&segments, |segment, frame, offset| {
        check.take(segment, frame, offset)
    })?;
    let counted = check.finish(&head)?;
    let unreadable = |fault: ReadError| io_error("read", &database)(io::Error::other(fault));
    let mut after = None;
    while let Some(id) = state
        .organizations(after.as_ref(), 1)
        .map_err(unreadable)?
        .pop()
    {
        if let Some((organization, _)) = state.load(&id).map_err(unreadable)? {
            show(&organization);
        }
        after = Some(id);
    }
    Ok(VerifyReport {
        head,
        segments: segments.len() as u64,
        torn_bytes,
        ..counted
    })
}

/// The lock of a directory; nothing if no process ever had it open, as with a copy.
pub(super) fn lock_if_ever_used(path: &Path) -> Result<Option<File>, OpenError> {
    let name = path.join("lock");
    let file = match File::open(&name) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(io_error("open", &name)(fault)),
    };
    match acquire(&file, LOCK_WAIT).map_err(io_error("lock", &name))? {
        true => Ok(Some(file)),
        false => Err(OpenError::InUse(path.to_owned())),
    }
}

/// The segments without one that a process died over while it began it.
pub(super) fn whole_segments(journal: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut found = segments(journal).map_err(io_error("list", journal))?;
    if let Some(last) = found.last()
        && is_torn_beginning(last, &read(&last.path)?)
    {
        found.pop();
    }
    Ok(found)
}

/// Shows every commit of the journal to `visit`. Answers with the end of the history
/// and how many bytes of a torn write follow it.
pub(super) fn walk<E: From<OpenError>>(
    segments: &[Segment],
    mut visit: impl FnMut(&Segment, &Frame<'_>, u64) -> Result<(), E>,
) -> Result<(Head, u64), E> {
    let mut head = Head::default();
    let mut torn_bytes = 0;
    for (position, segment) in segments.iter().enumerate() {
        let place = if position + 1 == segments.len() {
            Place::End
        } else {
            Place::Middle
        };
        let bytes = read(&segment.path)?;
        let start = start_of(segment, &bytes).map_err(OpenError::from)?;
        join(&head, segment, &start)?;
        let end = frames(segment, &bytes, place, |frame, offset| {
            visit(segment, frame, offset).map_err(Stopped::Visit)
        })
        .map_err(|stopped| match stopped {
            Stopped::Damage(damage) => OpenError::from(damage).into(),
            Stopped::Visit(fault) => fault,
        })?;
        head = end.head;
        torn_bytes = bytes.len().saturating_sub(end.length) as u64;
    }
    Ok((head, torn_bytes))
}

/// Why not every commit was shown.
enum Stopped<E> {
    Damage(Damage),
    Visit(E),
}

impl<E> From<Damage> for Stopped<E> {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

fn open_copy(database: &Path, copy: &Scratch, needed: bool) -> Result<State, VerifyError> {
    let differs = |what: String| VerifyError::Database {
        path: database.to_owned(),
        what,
    };
    match database.try_exists() {
        Ok(true) => copy_all(database, &copy.0).map_err(io_error("copy", database))?,
        Ok(false) if needed => return Err(differs("it is missing".to_owned())),
        Ok(false) => {}
        Err(fault) => return Err(io_error("read", database)(fault).into()),
    }
    State::open(&copy.0, CACHE_BYTES).map_err(|fault| match fault {
        StateFault::Damaged(why) => differs(why),
        StateFault::Io(source) => io_error("open", &copy.0)(source).into(),
        StateFault::InUse => OpenError::InUse(copy.0.clone()).into(),
        StateFault::Refused(why) => OpenError::Refused {
            path: copy.0.clone(),
            why,
        }
        .into(),
    })
}

/// The database on its way to the end of the journal.
struct Check<'a> {
    state: &'a State,
    /// Where the database that is checked lies.
    path: &'a Path,
    /// What the database held before anything was brought into the copy.
    applied: Head,
    waiting: Vec<Settled>,
    expected: Expected,
    /// The first difference; from then on only the journal is checked.
    difference: Option<VerifyError>,
}

impl<'a> Check<'a> {
    fn new(state: &'a State, path: &'a Path) -> Result<Self, VerifyError> {
        let mut check = Self {
            state,
            path,
            applied: Head::default(),
            waiting: Vec::new(),
            expected: Expected::default(),
            difference: None,
        };
        match state.head() {
            Ok(AppliedHead::Current(head)) => check.applied = head,
            Ok(AppliedHead::Outdated(_)) => {
                let what = "an earlier release wrote it".to_owned();
                check.difference = Some(check.differs(ReadError::Damaged(what).into()));
            }
            Err(fault) => check.difference = Some(check.differs(fault.into())),
        }
        Ok(check)
    }

    fn take(&mut self, segment: &Segment, frame: &Frame<'_>, offset: u64) -> Result<(), OpenError> {
        let settled = settle(segment, frame, offset)?;
        if frame.sequence == self.applied.sequence && frame.chain != self.applied.chain {
            return Err(OpenError::Diverged(frame.sequence));
        }
        if self.difference.is_none() {
            self.expected.take(&settled);
            if let Err(fault) = self.follow(settled) {
                self.difference = Some(self.differs(fault));
            }
        }
        Ok(())
    }

    /// Looks the commit up in the database, or brings it there.
    fn follow(&mut self, settled: Settled) -> Result<(), ApplyError> {
        if settled.head.sequence <= self.applied.sequence {
            return self.find_place(&settled);
        }
        self.waiting.push(settled);
        if self.waiting.len() >= REPLAYED_AT_ONCE {
            self.state.apply(&std::mem::take(&mut self.waiting))?;
        }
        Ok(())
    }

    fn find_place(&self, settled: &Settled) -> Result<(), ApplyError> {
        let sequence = settled.head.sequence;
        let found = self.state.commit(&settled.organization, sequence)?;
        if found != Some(settled.place) {
            let what = format!("the place of commit {} is missing or differs", sequence.0);
            return Err(ReadError::Damaged(what).into());
        }
        Ok(())
    }

    fn finish(mut self, head: &Head) -> Result<VerifyReport, VerifyError> {
        if head.sequence < self.applied.sequence {
            return Err(lost(head.sequence, self.applied.sequence).into());
        }
        if let Some(difference) = self.difference.take() {
            return Err(difference);
        }
        let waiting = std::mem::take(&mut self.waiting);
        let applied = self.state.apply(&waiting);
        if let Err(fault) = applied.and_then(|()| self.state.learn_wakes()) {
            return Err(self.differs(fault));
        }
        let expected = std::mem::take(&mut self.expected);
        let counted = guarded(|| expected.compare(self.state));
        let counted = counted.map_err(|fault| self.differs(fault.into()))?;
        Ok(VerifyReport {
            unapplied: head.sequence.0.saturating_sub(self.applied.sequence.0),
            ..counted
        })
    }

    fn differs(&self, fault: ApplyError) -> VerifyError {
        let what = match fault {
            ApplyError::Read(ReadError::Damaged(what)) => what,
            ApplyError::Panic => ApplyError::Panic.to_string(),
            fault => return io_error("check", self.path)(io::Error::other(fault)).into(),
        };
        VerifyError::Database {
            path: self.path.to_owned(),
            what,
        }
    }
}

type Hash = [u8; 32];

/// What the database must hold.
struct Expected {
    /// What lies at each key, but for answers and what belongs to them, and for the
    /// places of commits.
    values: BTreeMap<Vec<u8>, Hash>,
    /// The marks of organizations, which are written down once it is known when each wakes.
    marks: BTreeMap<OrganizationId, OrganizationMark>,
    /// Remembered answers, and when each may be forgotten.
    answers: BTreeMap<Vec<u8>, KeptAnswer>,
    /// How many answers there may be before expired ones are forgotten.
    answers_before_pruning: usize,
    /// The latest moment that any commit was decided at.
    latest: Moment,
    /// How many commits there are.
    commits: u64,
    /// How many events there are.
    events: u64,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            marks: BTreeMap::new(),
            answers: BTreeMap::new(),
            answers_before_pruning: ANSWERS_BEFORE_PRUNING,
            latest: Moment(i64::MIN),
            commits: 0,
            events: 0,
        }
    }
}

impl Expected {
    fn take(&mut self, settled: &Settled) {
        let id = &settled.organization;
        for step in settled.writes.steps() {
            self.apply(id, step);
        }
        if settled.writes.change_anything() {
            match settled.mark() {
                Some(mark) => self.marks.insert(id.clone(), mark),
                None => self.marks.remove(id),
            };
        }
        self.commits = self.commits.saturating_add(1);
        self.events = self.events.saturating_add(settled.writes.count_events());
        self.latest = self.latest.max(settled.at);
        self.answers.extend(settled.kept_answer());
        if self.answers.len() > self.answers_before_pruning {
            let latest = self.latest;
            self.answers.retain(|_, kept| kept.expires_at > latest);
            self.answers_before_pruning = ANSWERS_BEFORE_PRUNING.max(2 * self.answers.len());
        }
    }

    fn apply(&mut self, id: &OrganizationId, step: &Step) {
        match step {
            Step::Put {
                key,
                value,
                membership,
            } => {
                self.values.insert(key.clone(), hash(value));
                if let Some(membership) = membership {
                    self.values.insert(membership.clone(), hash(&[]));
                }
            }
            Step::Delete { key, membership } => {
                self.values.remove(key);
                if let Some(membership) = membership {
                    self.values.remove(membership);
                }
            }
            Step::DeleteAll => {
                let apart = keys::notifications(id);
                for (start, end) in [keys::records(id), (apart.clone(), keys::end_of(apart))] {
                    let there = self.values.range(start..end);
                    let gone: Vec<_> = there.map(|(key, _)| key.clone()).collect();
                    for key in gone {
                        self.values.remove(&key);
                        if let Some(membership) = keys::membership_of_record(id, &key) {
                            self.values.remove(&membership);
                        }
                    }
                }
            }
        }
    }

    /// Writes the marks down, and when their organizations wake.
    fn settle_marks(&mut self, state: &State) -> Result<(), ReadError> {
        for (id, mark) in std::mem::take(&mut self.marks) {
            let wake = match mark.wake {
                // What it is learnt from is compared as well.
                Wake::Unknown => state.learn_wake(&id)?,
                known => known,
            };
            let mark = OrganizationMark { wake, ..mark };
            let bytes = mark.encode().map_err(|fault| differs(&fault.to_string()))?;
            self.values.insert(keys::mark(&id), hash(&bytes));
            if let Some(moment) = wake.moment() {
                self.values.insert(keys::wake(moment, &id), hash(&[]));
            }
        }
        Ok(())
    }

    /// Counts what the database holds, which is all of this and nothing else.
    fn compare(mut self, state: &State) -> Result<VerifyReport, ReadError> {
        self.settle_marks(state)?;
        let mut counted = VerifyReport::default();
        let mut commits = 0_u64;
        let leaves = leaves::count(&state.database, |key, value| {
            match keys::subject(key) {
                Some(Subject::Record(..)) => {
                    self.expect(key, value)?;
                    counted.records += 1;
                }
                Some(Subject::Mark(_)) => {
                    self.expect(key, value)?;
                    counted.organizations += 1;
                }
                Some(Subject::Membership(..) | Subject::Wake(..)) => self.expect(key, value)?,
                Some(Subject::Answer(..)) => self.expect_answer(key, value)?,
                Some(Subject::Commit(..)) => commits += 1,
                Some(Subject::Expiry(..)) | None => state::verify(key, value)?,
            }
            Ok(())
        })?;
        state.check_keys(leaves)?;
        if let Some(key) = self.values.keys().next() {
            return Err(differs(&format!("{} is missing", keys::named(key))));
        }
        let mut kept = self.answers.values();
        if kept.any(|kept| kept.expires_at > self.latest) {
            return Err(differs("a remembered answer is missing"));
        }
        if commits != self.commits {
            let expected = self.commits;
            return Err(differs(&format!(
                "{commits} places of commits instead of {expected}"
            )));
        }
        counted.events = self.events;
        Ok(counted)
    }

    fn expect(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        match self.values.remove(key) {
            Some(expected) if expected == hash(value) => Ok(()),
            Some(_) => Err(differs(&format!("{} differs", keys::named(key)))),
            None => {
                let what = keys::named(key);
                Err(differs(&format!("{what} should not be there")))
            }
        }
    }

    /// An answer that may be forgotten may still be there.
    fn expect_answer(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let kept = KeptAnswer::decode(value).ok();
        let right = match self.answers.remove(key) {
            Some(expected) => kept == Some(expected),
            None => kept.is_some_and(|kept| kept.expires_at <= self.latest),
        };
        match right {
            true => Ok(()),
            false => Err(differs("a remembered answer differs")),
        }
    }
}

fn differs(what: &str) -> ReadError {
    ReadError::Damaged(what.to_owned())
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A directory of our own, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(within: &Path) -> Result<Self, OpenError> {
        let process = std::process::id();
        for number in 0..u32::MAX {
            let path = within.join(format!("roster-verify-{process}-{number}"));
            // What is copied is nobody else's business.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {}
                Err(fault) => return Err(io_error("create", &path)(fault)),
            }
        }
        Err(io_error("create a directory in", within)(
            io::ErrorKind::AlreadyExists.into(),
        ))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(fault) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %fault, "a copy is left behind");
        }
    }
}

/// Copies what is in one directory into another, which exists.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_all(&file.path(), &target)?;
        } else {
            std::fs::copy(file.path(), &target)?;
        }
    }
    Ok(())
}

struct Hexadecimal([u8; 32]);

impl Display for Hexadecimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
