//! What sled holds: the state after a prefix of the journal, for reading.
//!
//! The state is one ordered key space ([`keys`]), packed into leaves
//! ([`leaf`](super::leaf)), each a value of sled.
//!
//! sled is never the truth here. It may lose its tail, refuse to open or show
//! damage; the journal makes good for all of that, as long as sled stays a
//! *prefix* of it. So every batch that completes a commit also carries the
//! applied head, and batches are applied in the order of the history.
//!
//! Faults of sled 0.34.7 that this file lives with: `flush_async` deadlocks (never
//! called), `open` panics on damage (caught), an interrupted snapshot poisons the
//! next open (removed before), `flush` is no fsync (own descriptor), and memory
//! grows with the size of a batch (bounded, see [`apply`](super::apply)).

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::database::Database;
use super::journal::is_in_place;
use super::keys::{self, AnswerDigest, RecordKind, Subject};
use super::leaf::Leaf;
use super::leaves::{self, Next, leaf_key};
use super::marks::{AppliedHead, CommitPlace, KeptAnswer, OrganizationMark, Wake};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::{
    Group, Guardrail, Invitation, Member, Moment, Notification, Organization, Profile, Project,
    RegisteredResource, Role, Token, Version,
};
use crate::store::record::{DecodeError, Stored};
use crate::store::{Head, ReadError, Sequence};

/// How often a read is repeated that a commit got in the way of, before commits have to wait.
const OPTIMISTIC_READS: usize = 3;

/// Why sled did not open.
#[derive(Debug)]
pub(super) enum StateFault {
    /// The file system failed; nothing may be thrown away because of it.
    Io(io::Error),
    /// Someone has it open.
    InUse,
    /// The files are damaged; the journal can make new ones.
    Damaged(String),
    /// sled refuses for another reason.
    Refused(String),
}

/// sled, open.
pub(super) struct State {
    pub(super) database: Database,
    file: File,
    path: PathBuf,
    /// Held for writing while a group is applied, for reading when a reader keeps being overtaken.
    pub(super) gate: RwLock<()>,
    #[cfg(test)]
    pub faults: std::sync::Arc<super::faults::Faults>,
}

impl State {
    /// Opens or creates the database in `directory`.
    pub fn open(directory: &Path, cache_bytes: u64) -> Result<Self, StateFault> {
        remove_interrupted_snapshots(directory).map_err(StateFault::Io)?;
        let config = ::sled::Config::new()
            .path(directory)
            .mode(::sled::Mode::HighThroughput)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(500));
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        let database = match opened {
            Ok(database) => database.map_err(classify)?,
            Err(_) => {
                return Err(StateFault::Damaged(
                    "sled panicked while it was opened".to_owned(),
                ));
            }
        };
        let begun = catch_unwind(AssertUnwindSafe(|| begin(&database)));
        begun
            .unwrap_or_else(|_| Err(::sled::Error::ReportableBug("a panic".to_owned())))
            .map_err(classify)?;
        let path = directory.join("db");
        let file = File::open(&path).map_err(StateFault::Io)?;
        Ok(Self {
            database: Database::new(database, cache_bytes),
            file,
            path,
            gate: RwLock::new(()),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        })
    }

    /// The last commit that was applied, and in what layout.
    pub fn head(&self) -> Result<AppliedHead, ReadError> {
        match guarded(|| self.database.get(keys::HEAD).map_err(unavailable))? {
            Some(bytes) => AppliedHead::unseal(&bytes)
                .map_err(|fault| ReadError::Damaged(format!("the applied head: {fault}"))),
            None => Err(ReadError::Damaged("the applied head is missing".to_owned())),
        }
    }

    /// Where an organization stands.
    pub fn organization(&self, id: &OrganizationId) -> Result<Option<OrganizationMark>, ReadError> {
        let key = keys::mark(id);
        let mark = self.get(&key)?;
        mark.map(|bytes| OrganizationMark::decode(&bytes).map_err(damaged(&key)))
            .transpose()
    }

    /// The version and last commit of an organization, of whole commits only.
    pub fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        let half = |mark: &OrganizationMark| !mark.whole;
        let mut mark = self.organization(id)?;
        if mark.as_ref().is_some_and(half) {
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            mark = self.organization(id)?;
        }
        if mark.as_ref().is_some_and(half) {
            return Err(half_applied(id));
        }
        Ok(mark.map(|mark| (mark.version, mark.sequence)))
    }

    /// The ids after `after`, ascending.
    pub fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let past = |id: &OrganizationId| keys::end_of(keys::organization(id));
        let start = after.map_or_else(|| vec![keys::ORGANIZATIONS], past);
        let end = vec![keys::ORGANIZATIONS + 1];
        let mut ids = Vec::new();
        self.scan(start, &end, limit, |subject| match subject {
            Subject::Mark(id) => {
                let next = past(&id);
                ids.push(id);
                Some((ids.len(), Next::From(next)))
            }
            // Of one that is gone there are only answers and places of commits.
            Subject::Answer(id, _) | Subject::Commit(id, _) => {
                Some((ids.len(), Next::From(past(&id))))
            }
            _ => None,
        })?;
        Ok(ids)
    }

    /// Organizations with a wake at `by` or earlier, in order.
    pub fn due(
        &self,
        by: Moment,
        limit: usize,
    ) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        let (start, end) = keys::wakes(by);
        let mut due = Vec::new();
        self.scan(start, &end, limit, |subject| match subject {
            Subject::Wake(moment, id) => {
                due.push((moment, id));
                Some((due.len(), Next::Entry))
            }
            _ => None,
        })?;
        Ok(due)
    }

    /// Organizations whose last commit did not say when they wake.
    pub fn unknown_wakes(&self) -> Result<Vec<OrganizationId>, ReadError> {
        let first = self.due(Moment(i64::MIN), usize::MAX)?;
        let mut unknown = Vec::new();
        for (_, id) in first {
            let mark = self.organization(&id)?;
            if mark.is_some_and(|mark| mark.wake == Wake::Unknown) {
                unknown.push(id);
            }
        }
        Ok(unknown)
    }

    /// When something of an organization first ends by itself, from its records.
    pub fn learn_wake(&self, id: &OrganizationId) -> Result<Wake, ReadError> {
        let loaded = self.load(id)?;
        let first = loaded.and_then(|(loaded, _)| loaded.deadlines.first().map(|(end, _)| *end));
        Ok(Wake::At(first))
    }

    /// The organizations of a user after `after`, ascending.
    pub fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let prefix = keys::memberships(user);
        let past = |after| keys::end_of(keys::membership(user, after));
        let start = after.map_or_else(|| prefix.clone(), past);
        let mut ids = Vec::new();
        self.scan(
            start,
            &keys::end_of(prefix),
            limit,
            |subject| match subject {
                Subject::Membership(_, id) => {
                    ids.push(id);
                    Some((ids.len(), Next::Entry))
                }
                _ => None,
            },
        )?;
        Ok(ids)
    }

    /// The organizations after `after` in which a notification waits, ascending.
    pub fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let past = |id: &OrganizationId| keys::end_of(keys::notifications(id));
        let (start, end) = keys::all_notifications();
        let mut ids = Vec::new();
        let start = after.map_or(start, past);
        self.scan(start, &end, limit, |subject| match subject {
            Subject::Record(id, RecordKind::Notification) => {
                let next = past(&id);
                ids.push(id);
                Some((ids.len(), Next::From(next)))
            }
            _ => None,
        })?;
        Ok(ids)
    }

    /// One organization as it is after some whole commit.
    pub fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError> {
        for _ in 0..OPTIMISTIC_READS {
            if let Overtaken::No(loaded) = self.load_unless_overtaken(id)? {
                return Ok(loaded.map(|loaded| *loaded));
            }
        }
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        match self.load_unless_overtaken(id)? {
            Overtaken::No(loaded) => Ok(loaded.map(|loaded| *loaded)),
            Overtaken::Yes => Err(half_applied(id)),
        }
    }

    /// Where the last commits of an organization before a place in the history lie, the
    /// newest first.
    pub fn commits(
        &self,
        id: &OrganizationId,
        before: Sequence,
        limit: usize,
    ) -> Result<Vec<(Sequence, CommitPlace)>, ReadError> {
        let (start, end) = (keys::commits(id), keys::commit(id, before));
        let found = guarded(|| leaves::last(&self.database, &start, end, limit))?;
        found
            .iter()
            .map(|(key, value)| match keys::subject(key) {
                Some(Subject::Commit(_, sequence)) => {
                    let place = CommitPlace::decode(value).map_err(damaged(key))?;
                    Ok((sequence, place))
                }
                _ => Err(keys::damaged(key)),
            })
            .collect()
    }

    /// Where a commit of an organization lies.
    pub fn commit(
        &self,
        id: &OrganizationId,
        sequence: Sequence,
    ) -> Result<Option<CommitPlace>, ReadError> {
        let key = keys::commit(id, sequence);
        let place = self.get(&key)?;
        place
            .map(|bytes| CommitPlace::decode(&bytes).map_err(damaged(&key)))
            .transpose()
    }

    /// The answer that is remembered in an organization under a digest.
    pub fn answer(
        &self,
        id: &OrganizationId,
        digest: &AnswerDigest,
    ) -> Result<Option<KeptAnswer>, ReadError> {
        let key = keys::answer(id, digest);
        let kept = self.get(&key)?;
        kept.map(|bytes| KeptAnswer::decode(&bytes).map_err(damaged(&key)))
            .transpose()
    }

    /// Reads everything and says what the first damaged thing is.
    pub fn verify(&self) -> Result<(), ReadError> {
        self.head()?;
        guarded(|| {
            let leaves = leaves::count(&self.database, verify)?;
            self.check_keys(leaves)
        })
    }

    /// Whether sled holds the head and so many leaves, and nothing else.
    pub fn check_keys(&self, leaves: usize) -> Result<(), ReadError> {
        match self.database.len() == leaves.saturating_add(1) {
            true => Ok(()),
            false => Err(ReadError::Damaged("a key that nobody wrote".to_owned())),
        }
    }

    /// Makes what was applied durable. Never called by two threads at once.
    pub fn flush(&self) -> io::Result<()> {
        let flushed = catch_unwind(AssertUnwindSafe(|| self.database.flush()));
        match flushed {
            Ok(flushed) => flushed.map_err(io::Error::other)?,
            Err(_) => return Err(io::Error::other("sled panicked while it was flushed")),
        };
        self.file.sync_data()
    }

    /// Whether sled's file is still where it was; sled itself does not notice.
    pub fn is_in_place(&self) -> io::Result<bool> {
        is_in_place(&self.file, &self.path)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        guarded(|| leaves::get(&self.database, key))
    }

    /// Shows what there is from `start` on and before `end` until `limit` is found;
    /// `visit` answers how much it has found, or nothing if that can't be there.
    fn scan(
        &self,
        start: Vec<u8>,
        end: &[u8],
        limit: usize,
        mut visit: impl FnMut(Subject) -> Option<(usize, Next)>,
    ) -> Result<(), ReadError> {
        if limit == 0 {
            return Ok(());
        }
        guarded(|| {
            leaves::scan(&self.database, start, end, |key, _| {
                let visited = keys::subject(key).and_then(&mut visit);
                match visited.ok_or_else(|| keys::damaged(key))? {
                    (found, _) if found >= limit => Ok(Next::Nothing),
                    (_, next) => Ok(next),
                }
            })
        })
    }

    fn load_unless_overtaken(&self, id: &OrganizationId) -> Result<Overtaken, ReadError> {
        let Some(before) = self.organization(id)? else {
            return Ok(Overtaken::No(None));
        };
        let records = guarded(|| self.records(id));
        if !before.whole || self.organization(id)? != Some(before) {
            return Ok(Overtaken::Yes);
        }
        let records = records?;
        let profile = records.iter().find_map(|record| match record {
            RecordChange::PutProfile(profile) => Some(profile.clone()),
            _ => None,
        });
        let Some(profile) = profile else {
            return Err(ReadError::Damaged(format!(
                "organization `{id}` has no profile"
            )));
        };
        let mut organization = Organization::empty(profile, before.version);
        records.iter().for_each(|record| organization.put(record));
        let loaded = (organization, before.sequence);
        Ok(Overtaken::No(Some(Box::new(loaded))))
    }

    fn records(&self, id: &OrganizationId) -> Result<Vec<RecordChange>, ReadError> {
        let mut records = Vec::new();
        let apart = keys::notifications(id);
        for (start, end) in [keys::records(id), (apart.clone(), keys::end_of(apart))] {
            leaves::scan(&self.database, start, &end, |key, value| {
                let record = match keys::subject(key) {
                    Some(Subject::Record(_, kind)) => read_record(key, kind, value)?,
                    _ => return Err(keys::damaged(key)),
                };
                if keys::place(id, &record) != keys::Place::Record(key.to_vec()) {
                    return Err(ReadError::Damaged(format!(
                        "a record of `{id}` is in another's place"
                    )));
                }
                records.push(record);
                Ok(Next::Entry)
            })?;
        }
        Ok(records)
    }
}

/// Makes an empty database one that holds no commit.
fn begin(database: &::sled::Db) -> ::sled::Result<()> {
    if !database.is_empty() {
        return Ok(());
    }
    let mut batch = ::sled::Batch::default();
    batch.insert(keys::HEAD, AppliedHead::seal(&Head::default()));
    batch.insert(leaf_key(&[]), Leaf::default().encode());
    database.apply_batch(batch)
}

/// Whether a commit was applied while an organization was read.
enum Overtaken {
    No(Option<Box<(Organization, Sequence)>>),
    Yes,
}

fn read_record(key: &[u8], kind: RecordKind, value: &[u8]) -> Result<RecordChange, ReadError> {
    let record = match kind {
        RecordKind::Profile => {
            Profile::unseal(value).map(|profile| RecordChange::PutProfile(profile.into()))
        }
        RecordKind::Member => {
            Member::unseal(value).map(|member| RecordChange::PutMember(member.into()))
        }
        RecordKind::Role => Role::unseal(value).map(|role| RecordChange::PutRole(role.into())),
        RecordKind::Project => {
            Project::unseal(value).map(|project| RecordChange::PutProject(project.into()))
        }
        RecordKind::Resource => RegisteredResource::unseal(value)
            .map(|resource| RecordChange::PutResource(resource.into())),
        RecordKind::Group => Group::unseal(value).map(|group| RecordChange::PutGroup(group.into())),
        RecordKind::Invitation => Invitation::unseal(value)
            .map(|invitation| RecordChange::PutInvitation(invitation.into())),
        RecordKind::Token => Token::unseal(value).map(|token| RecordChange::PutToken(token.into())),
        RecordKind::Guardrail => {
            Guardrail::unseal(value).map(|guardrail| RecordChange::PutGuardrail(guardrail.into()))
        }
        RecordKind::Notification => Notification::unseal(value)
            .map(|notification| RecordChange::PutNotification(notification.into())),
    };
    record.map_err(damaged(key))
}

/// Whether what lies at a key is what can be there.
pub(super) fn verify(key: &[u8], value: &[u8]) -> Result<(), ReadError> {
    let checked = match keys::subject(key) {
        Some(Subject::Record(id, kind)) => {
            let record = read_record(key, kind, value)?;
            return match keys::place(&id, &record) == keys::Place::Record(key.to_vec()) {
                true => Ok(()),
                false => Err(ReadError::Damaged(format!(
                    "a record of `{id}` is in another's place"
                ))),
            };
        }
        Some(Subject::Mark(_)) => OrganizationMark::decode(value).map(drop),
        Some(Subject::Answer(..)) => KeptAnswer::decode(value).map(drop),
        Some(Subject::Commit(..)) => CommitPlace::decode(value).map(drop),
        Some(Subject::Membership(..) | Subject::Wake(..) | Subject::Expiry(..)) => Ok(()),
        None => return Err(ReadError::Damaged("a key that nobody wrote".to_owned())),
    };
    checked.map_err(damaged(key))
}

fn half_applied(id: &OrganizationId) -> ReadError {
    ReadError::Unavailable(format!("`{id}` is half applied"))
}

/// An interrupted snapshot would be taken for a whole one.
fn remove_interrupted_snapshots(directory: &Path) -> io::Result<()> {
    let files = match std::fs::read_dir(directory) {
        Ok(files) => files,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(fault) => return Err(fault),
    };
    for file in files {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn classify(fault: ::sled::Error) -> StateFault {
    match fault {
        ::sled::Error::Io(fault) if fault.to_string().contains("could not acquire lock") => {
            StateFault::InUse
        }
        ::sled::Error::Io(fault)
            if matches!(
                fault.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StateFault::Damaged(fault.to_string())
        }
        ::sled::Error::Io(fault) => StateFault::Io(fault),
        ::sled::Error::Unsupported(why) => StateFault::Refused(why),
        ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::ReportableBug(_)
        | ::sled::Error::Corruption { .. } => StateFault::Damaged(fault.to_string()),
    }
}

/// sled may panic on damage that it meets while reading.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(ReadError::Damaged(
            "sled panicked while it was read".to_owned(),
        ))
    })
}

pub(super) fn unavailable(fault: ::sled::Error) -> ReadError {
    match classify(fault) {
        StateFault::Damaged(why) => ReadError::Damaged(why),
        StateFault::Io(fault) => ReadError::Unavailable(fault.to_string()),
        StateFault::InUse => ReadError::Unavailable("the database is locked".to_owned()),
        StateFault::Refused(why) => ReadError::Unavailable(why),
    }
}

/// That the value at a key has not the shape that it should have.
pub(super) fn damaged(key: &[u8]) -> impl Fn(DecodeError) -> ReadError {
    let what = keys::named(key);
    move |fault| ReadError::Damaged(format!("{what}: {fault}"))
}
