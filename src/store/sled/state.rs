//! What sled holds: the state after a prefix of the journal, for reading.
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

use super::journal::is_in_place;
use super::keys::{self, AnswerDigest, RecordKind};
use super::marks::{AppliedHead, KeptAnswer, OrganizationMark};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::{
    Group, Guardrail, Invitation, Member, Moment, Notification, Organization, Profile, Project,
    RegisteredResource, Role, Token, Version,
};
use crate::store::record::{DecodeError, Stored};
use crate::store::{EventEntry, Head, ReadError, Sequence};

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
    pub(super) database: ::sled::Db,
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
        let path = directory.join("db");
        let file = File::open(&path).map_err(StateFault::Io)?;
        Ok(Self {
            database,
            file,
            path,
            gate: RwLock::new(()),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        })
    }

    /// The last commit that was applied.
    pub fn head(&self) -> Result<Head, ReadError> {
        let bytes = self.get(keys::HEAD)?;
        let head = bytes.map(|bytes| AppliedHead::unseal(&bytes).map_err(damaged(&"head")));
        Ok(head
            .transpose()?
            .map(|AppliedHead(head)| head)
            .unwrap_or_default())
    }

    /// The version and last commit of an organization.
    pub fn organization(&self, id: &OrganizationId) -> Result<Option<OrganizationMark>, ReadError> {
        let bytes = self.get(&keys::organization(id))?;
        bytes
            .map(|bytes| OrganizationMark::unseal(&bytes).map_err(damaged(id)))
            .transpose()
    }

    /// The ids after `after`, ascending.
    pub fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let start = after.map_or_else(|| vec![keys::ORGANIZATIONS], keys::organization);
        let end = vec![keys::ORGANIZATIONS + 1];
        guarded(|| {
            let mut ids = Vec::new();
            for key in self.database.range(start..end).keys() {
                if ids.len() >= limit {
                    break;
                }
                let key = key.map_err(unavailable)?;
                let id = keys::organization_of(&key)
                    .ok_or_else(|| ReadError::Damaged("the key of an organization".to_owned()))?;
                if Some(&id) != after {
                    ids.push(id);
                }
            }
            Ok(ids)
        })
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
            Overtaken::Yes => Err(ReadError::Unavailable(format!("`{id}` is half applied"))),
        }
    }

    /// The version and last commit of an organization, of whole commits only.
    pub fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        let whole = |mark: &OrganizationMark| mark.whole;
        let mut mark = self.organization(id)?;
        if !mark.as_ref().is_none_or(whole) {
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            mark = self.organization(id)?;
        }
        if !mark.as_ref().is_none_or(whole) {
            return Err(ReadError::Unavailable(format!("`{id}` is half applied")));
        }
        Ok(mark.map(|mark| (mark.version, mark.sequence)))
    }

    /// Organizations with a wake at `by` or earlier, in order.
    pub fn due(
        &self,
        by: Moment,
        limit: usize,
    ) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        let end = match by.0.checked_add(1) {
            Some(next) => keys::wakes_from(Moment(next)),
            None => vec![keys::WAKES + 1],
        };
        guarded(|| {
            let wakes = self.database.range(vec![keys::WAKES]..end).keys();
            wakes
                .take(limit)
                .map(|key| keys::wake_of(&key.map_err(unavailable)?).ok_or_else(bad_key))
                .collect()
        })
    }

    /// The organizations of a user after `after`, ascending.
    pub fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let prefix = keys::memberships(user);
        let start = after.map_or_else(|| prefix.clone(), |after| keys::membership(user, after));
        guarded(|| {
            let found = self.database.range(start..keys::end_of(prefix)).keys();
            let ids = found
                .map(|key| keys::membership_of(&key.map_err(unavailable)?).ok_or_else(bad_key));
            ids.filter(|id| id.as_ref().ok() != after)
                .take(limit)
                .collect()
        })
    }

    /// The organizations after `after` in which a notification waits, ascending.
    pub fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let past = |id: &OrganizationId| keys::end_of(keys::all_waiting(id));
        guarded(|| {
            let mut ids: Vec<OrganizationId> = Vec::new();
            let mut start = after.map_or_else(|| vec![keys::WAITING], past);
            while ids.len() < limit {
                let mut found = self.database.range(start..vec![keys::WAITING + 1]).keys();
                let Some(key) = found.next() else {
                    break;
                };
                let id = keys::waiting_of(&key.map_err(unavailable)?).ok_or_else(bad_key)?;
                start = past(&id);
                ids.push(id);
            }
            Ok(ids)
        })
    }

    /// Events of an organization before a place in the history, the newest first.
    pub fn events(
        &self,
        id: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError> {
        // A commit with many events is applied in several steps; the head comes with the last.
        let next = (Sequence(self.head()?.sequence.0.saturating_add(1)), 0);
        let (sequence, index) = before.map_or(next, |before| before.min(next));
        let end = keys::event(id, sequence, index);
        guarded(|| {
            let pairs = self.database.range(keys::events(id)..end).rev();
            let read = |pair: ::sled::Result<_>| {
                let (key, value): (::sled::IVec, ::sled::IVec) = pair.map_err(unavailable)?;
                read_event(&key, &value)
            };
            pairs.take(limit).map(read).collect()
        })
    }

    /// The answer remembered under a digest.
    pub fn answer(&self, digest: &AnswerDigest) -> Result<Option<KeptAnswer>, ReadError> {
        let bytes = self.get(&keys::answer(digest))?;
        bytes
            .map(|bytes| KeptAnswer::unseal(&bytes).map_err(damaged(&"remembered answer")))
            .transpose()
    }

    /// Reads every value and says what the first damaged one is.
    pub fn verify(&self) -> Result<(), ReadError> {
        guarded(|| {
            for pair in self.database.iter() {
                let (key, value) = pair.map_err(unavailable)?;
                verify(&key, &value)?;
            }
            Ok(())
        })
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

    fn get(&self, key: &[u8]) -> Result<Option<::sled::IVec>, ReadError> {
        guarded(|| self.database.get(key).map_err(unavailable))
    }

    fn load_unless_overtaken(&self, id: &OrganizationId) -> Result<Overtaken, ReadError> {
        let Some(before) = self.organization(id)? else {
            return Ok(Overtaken::No(None));
        };
        let records = guarded(|| self.records(id))?;
        if !before.whole || self.organization(id)? != Some(before) {
            return Ok(Overtaken::Yes);
        }
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
        for pair in self.database.scan_prefix(keys::records(id)) {
            let (key, value) = pair.map_err(unavailable)?;
            let record = read_record(&key, &value)?;
            if keys::place(id, &record) != keys::Place::Record(key.to_vec()) {
                return Err(ReadError::Damaged(format!(
                    "a record of `{id}` is in another's place"
                )));
            }
            records.push(record);
        }
        Ok(records)
    }
}

/// Whether a commit was applied while an organization was read.
enum Overtaken {
    No(Option<Box<(Organization, Sequence)>>),
    Yes,
}

fn read_record(key: &[u8], value: &[u8]) -> Result<RecordChange, ReadError> {
    let record = match keys::record_kind(key) {
        Some(RecordKind::Profile) => {
            Profile::unseal(value).map(|profile| RecordChange::PutProfile(profile.into()))
        }
        Some(RecordKind::Member) => {
            Member::unseal(value).map(|member| RecordChange::PutMember(member.into()))
        }
        Some(RecordKind::Role) => {
            Role::unseal(value).map(|role| RecordChange::PutRole(role.into()))
        }
        Some(RecordKind::Project) => {
            Project::unseal(value).map(|project| RecordChange::PutProject(project.into()))
        }
        Some(RecordKind::Resource) => RegisteredResource::unseal(value)
            .map(|resource| RecordChange::PutResource(resource.into())),
        Some(RecordKind::Group) => {
            Group::unseal(value).map(|group| RecordChange::PutGroup(group.into()))
        }
        Some(RecordKind::Invitation) => Invitation::unseal(value)
            .map(|invitation| RecordChange::PutInvitation(invitation.into())),
        Some(RecordKind::Token) => {
            Token::unseal(value).map(|token| RecordChange::PutToken(token.into()))
        }
        Some(RecordKind::Guardrail) => {
            Guardrail::unseal(value).map(|guardrail| RecordChange::PutGuardrail(guardrail.into()))
        }
        Some(RecordKind::Notification) => Notification::unseal(value)
            .map(|notification| RecordChange::PutNotification(notification.into())),
        None => return Err(ReadError::Damaged("the key of a record".to_owned())),
    };
    record.map_err(damaged(&"record"))
}

/// The event at a key.
pub(super) fn read_event(key: &[u8], value: &[u8]) -> Result<EventEntry, ReadError> {
    let entry = EventEntry::unseal(value).map_err(damaged(&"event"))?;
    if keys::event_of(key) != Some((entry.sequence, entry.index)) {
        return Err(ReadError::Damaged(
            "an event is in another's place".to_owned(),
        ));
    }
    Ok(entry)
}

/// Whether the value at a key is what can be there.
pub(super) fn verify(key: &[u8], value: &[u8]) -> Result<(), ReadError> {
    let checked = match key.first() {
        Some(&keys::RECORDS) => return read_record(key, value).map(drop),
        Some(&keys::EVENTS) => return read_event(key, value).map(drop),
        Some(&keys::ANSWERS) => KeptAnswer::unseal(value).map(drop),
        Some(&keys::ORGANIZATIONS) => OrganizationMark::unseal(value).map(drop),
        Some(&keys::EXPIRIES) if keys::expiry_of(key).is_some() => Ok(()),
        Some(&keys::MEMBERSHIPS) if keys::membership_of(key).is_some() => Ok(()),
        Some(&keys::WAKES) if keys::wake_of(key).is_some() => Ok(()),
        Some(&keys::WAITING) if keys::waiting_of(key).is_some() => Ok(()),
        _ if key == keys::HEAD => AppliedHead::unseal(value).map(drop),
        _ => return Err(ReadError::Damaged("a key that nobody wrote".to_owned())),
    };
    checked.map_err(damaged(&"value"))
}

fn bad_key() -> ReadError {
    ReadError::Damaged("the key of an index".to_owned())
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

fn damaged(what: &dyn std::fmt::Display) -> impl Fn(DecodeError) -> ReadError {
    let what = what.to_string();
    move |fault| ReadError::Damaged(format!("{what}: {fault}"))
}
