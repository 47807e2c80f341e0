//! The reference adapter: the whole contract of the port, on maps.
//!
//! It is for tests and for trying Roster out. Nothing survives the process, so
//! "durable" means "in the maps". It is also the yardstick: the conformance
//! suite holds the durable adapters to what this one does, which is why it keeps
//! records as a plain map instead of sharing any code path with them beyond
//! `admission`.
//!
//! A commit is made inside the call of [`Store::commit`]; the future is ready at
//! once. `on_commit` must therefore not commit itself.

use std::collections::BTreeMap;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::record::{EncodeError, Entry, Stored, link};
use super::{
    Commit, CommitError, CommitFuture, EventEntry, Head, HistoryEntry, Idempotency, IdempotencyKey,
    ReadError, Remembered, SealedCommit, Sequence, Store, admission,
};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{
    GroupId, GuardrailId, InvitationId, NotificationId, OrganizationId, ProjectId, RoleId, TokenId,
    UserId,
};
use crate::domain::organization::{Moment, Organization, ResourceKey, Version};

/// Keeps organizations and their history in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Held while a commit is made and published, so that commits come one after another.
    writing: Mutex<()>,
    /// Held for moments; never while foreign code runs.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What callers may know of: moves on only after `on_commit` has run.
    head: Head,
    organizations: BTreeMap<OrganizationId, KeptOrganization>,
    remembered: BTreeMap<(OrganizationId, String, String), Remembered>,
    history: Vec<HistoryEntry>,
}

#[derive(Debug, Default)]
struct KeptOrganization {
    version: Version,
    sequence: Sequence,
    wake_at: Option<Moment>,
    records: BTreeMap<Slot, RecordChange>,
}

/// The place of a record inside its organization.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Profile,
    Member(UserId),
    Role(RoleId),
    Project(ProjectId),
    Resource(ResourceKey),
    Group(GroupId),
    Invitation(InvitationId),
    Token(TokenId),
    Guardrail(GuardrailId),
    Notification(NotificationId),
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_now(&self, commit: Commit) -> Result<Sequence, CommitError> {
        admission::check_shape(&commit)?;
        admission::check_events(&commit.events)?;
        admission::check_answer(&commit)?;
        for change in &commit.records {
            admission::seal_put(change)?;
        }
        let entry = admission::seal_entry(&commit)?;

        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, on_commit) = self.kept().make(commit, &entry)?;
        // What publishes is foreign code: its panic is its own, the commit is made.
        if catch_unwind(AssertUnwindSafe(|| on_commit(head.sequence))).is_err() {
            tracing::error!(sequence = head.sequence.0, "publishing a commit panicked");
        }
        self.kept().head = head;
        Ok(head.sequence)
    }
}

impl Store for MemoryStore {
    fn commit(&self, commit: Commit) -> CommitFuture {
        Box::pin(ready(self.commit_now(commit)))
    }

    fn head(&self) -> Head {
        self.kept().head
    }

    fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        Ok(self.kept().organizations_where(|_| true, after, limit))
    }

    fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError> {
        let kept = self.kept();
        let Some(organization) = kept.organizations.get(id) else {
            return Ok(None);
        };
        let Some(RecordChange::PutProfile(profile)) = organization.records.get(&Slot::Profile)
        else {
            return Err(ReadError::Damaged(format!(
                "organization `{id}` has no profile"
            )));
        };
        let mut loaded = Organization::empty(profile.clone(), organization.version);
        organization
            .records
            .values()
            .for_each(|record| loaded.put(record));
        Ok(Some((loaded, organization.sequence)))
    }

    fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        let kept = self.kept();
        let found = kept.organizations.get(id);
        Ok(found.map(|kept| (kept.version, kept.sequence)))
    }

    fn due(&self, by: Moment, limit: usize) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        let kept = self.kept();
        let wakes = kept.organizations.iter();
        let mut due: Vec<_> = wakes
            .filter_map(|(id, kept)| Some((kept.wake_at?, id.clone())))
            .filter(|(wake_at, _)| *wake_at <= by)
            .collect();
        due.sort();
        due.truncate(limit);
        Ok(due)
    }

    fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let member = Slot::Member(user.clone());
        let is_member = |kept: &KeptOrganization| kept.records.contains_key(&member);
        Ok(self.kept().organizations_where(is_member, after, limit))
    }

    fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        let waits = |slot: &Slot| matches!(slot, Slot::Notification(_));
        let notifies = |kept: &KeptOrganization| kept.records.keys().any(waits);
        Ok(self.kept().organizations_where(notifies, after, limit))
    }

    fn remembered(&self, key: &IdempotencyKey) -> Result<Option<Remembered>, ReadError> {
        Ok(self.kept().remembered.get(&name(key)).cloned())
    }

    fn events(
        &self,
        organization: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError> {
        let kept = self.kept();
        let commits = kept.history.iter().rev();
        Ok(commits
            .filter(|commit| commit.organization == *organization)
            .flat_map(events_of)
            .filter(|entry| before.is_none_or(|before| (entry.sequence, entry.index) < before))
            .take(limit)
            .collect())
    }

    fn history(&self, after: Sequence, limit: usize) -> Result<Vec<HistoryEntry>, ReadError> {
        let kept = self.kept();
        let known = |entry: &&HistoryEntry| entry.sequence <= kept.head.sequence;
        let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
        Ok(kept
            .history
            .iter()
            .skip(skipped)
            .take(limit)
            .take_while(known)
            .cloned()
            .collect())
    }

    fn sealed(&self, after: Sequence, bytes: usize) -> Result<Vec<SealedCommit>, ReadError> {
        let unwritable = |fault: EncodeError| ReadError::Unavailable(fault.to_string());
        let mut commits = Vec::new();
        let mut taken = 0_usize;
        for entry in self.history(after, usize::MAX)? {
            if !commits.is_empty() && taken >= bytes {
                break;
            }
            let (sequence, chain) = (entry.sequence, entry.chain);
            let answer = self.kept().answer_of(sequence);
            let answer = answer.map(|answer| answer.seal()).transpose();
            let commit = SealedCommit {
                sequence,
                chain,
                entry: Entry::from(entry).seal().map_err(unwritable)?,
                answer: answer.map_err(unwritable)?.unwrap_or_default(),
            };
            taken = taken.saturating_add(commit.entry.len() + commit.answer.len());
            commits.push(commit);
        }
        Ok(commits)
    }

    fn verify(&self, after: Head, limit: usize) -> Result<Head, ReadError> {
        let end = self.head();
        let mut head = after;
        for entry in self.history(after.sequence, limit)? {
            let sealed = Entry::from(entry.clone()).seal();
            let sealed = sealed.map_err(|fault| ReadError::Unavailable(fault.to_string()))?;
            let next = Sequence(head.sequence.0.saturating_add(1));
            if entry.sequence != next || entry.chain != link(&head.chain, &sealed) {
                return Err(damaged(head.sequence));
            }
            head = Head {
                sequence: entry.sequence,
                chain: entry.chain,
            };
        }
        if head.sequence > end.sequence || (head.sequence == end.sequence && head != end) {
            return Err(damaged(head.sequence));
        }
        Ok(head)
    }
}

impl Kept {
    /// Makes all of a commit visible but its position.
    fn make(
        &mut self,
        commit: Commit,
        entry: &[u8],
    ) -> Result<(Head, super::OnCommit), CommitError> {
        let remembered = commit
            .idempotency
            .as_ref()
            .and_then(|idempotency| self.remembered.get(&name(&idempotency.key)).cloned());
        admission::recognise(commit.at, remembered)?;
        if !commit.records.is_empty() {
            let current = self.organizations.get(&commit.organization);
            admission::guard(commit.expected, current.map(|kept| kept.version))?;
        }

        let head = Head {
            sequence: Sequence(self.head.sequence.0.saturating_add(1)),
            chain: link(&self.head.chain, entry),
        };
        if !commit.records.is_empty() {
            self.put_records(&commit, head.sequence);
        }
        if let Some(idempotency) = commit.idempotency {
            let remembered = Remembered {
                fingerprint: idempotency.fingerprint,
                sequence: head.sequence,
                outcome: idempotency.outcome,
                expires_at: idempotency.expires_at,
            };
            self.remembered.insert(name(&idempotency.key), remembered);
        }
        self.history.push(HistoryEntry {
            sequence: head.sequence,
            chain: head.chain,
            organization: commit.organization,
            version: commit.version,
            at: commit.at,
            records: commit.records,
            events: commit.events,
            wake_at: commit.wake_at,
        });
        Ok((head, commit.on_commit))
    }

    /// The answer that came with a commit, unless a later one took its place.
    fn answer_of(&self, sequence: Sequence) -> Option<Idempotency> {
        let mut all = self.remembered.iter();
        let found = all.find(|(_, remembered)| remembered.sequence == sequence);
        found.map(
            |((organization, caller, request_id), remembered)| Idempotency {
                key: IdempotencyKey {
                    organization: organization.clone(),
                    caller: caller.clone(),
                    request_id: request_id.clone(),
                },
                fingerprint: remembered.fingerprint,
                outcome: remembered.outcome.clone(),
                expires_at: remembered.expires_at,
            },
        )
    }

    fn organizations_where(
        &self,
        wanted: impl Fn(&KeptOrganization) -> bool,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Vec<OrganizationId> {
        self.organizations
            .iter()
            .filter(|(id, kept)| after.is_none_or(|after| *id > after) && wanted(kept))
            .map(|(id, _)| id.clone())
            .take(limit)
            .collect()
    }

    fn put_records(&mut self, commit: &Commit, sequence: Sequence) {
        let kept = self
            .organizations
            .entry(commit.organization.clone())
            .or_default();
        kept.version = commit.version;
        kept.sequence = sequence;
        kept.wake_at = commit.wake_at;
        for change in &commit.records {
            kept.put(change);
        }
        if kept.records.is_empty() {
            self.organizations.remove(&commit.organization);
        }
    }
}

impl KeptOrganization {
    fn put(&mut self, change: &RecordChange) {
        let slot = match change {
            RecordChange::PutProfile(_) => Slot::Profile,
            RecordChange::PutMember(member) => Slot::Member(member.user.clone()),
            RecordChange::PutRole(role) => Slot::Role(role.id.clone()),
            RecordChange::PutProject(project) => Slot::Project(project.id.clone()),
            RecordChange::PutResource(resource) => Slot::Resource(resource.key.clone()),
            RecordChange::PutGroup(group) => Slot::Group(group.id.clone()),
            RecordChange::DeleteGroup(id) => return self.delete(&Slot::Group(id.clone())),
            RecordChange::PutInvitation(invitation) => Slot::Invitation(invitation.id.clone()),
            RecordChange::DeleteInvitation(id) => {
                return self.delete(&Slot::Invitation(id.clone()));
            }
            RecordChange::PutToken(token) => Slot::Token(token.id.clone()),
            RecordChange::DeleteToken(id) => return self.delete(&Slot::Token(id.clone())),
            RecordChange::PutGuardrail(guardrail) => Slot::Guardrail(guardrail.id.clone()),
            RecordChange::DeleteGuardrail(id) => return self.delete(&Slot::Guardrail(id.clone())),
            RecordChange::PutNotification(notification) => {
                Slot::Notification(notification.id.clone())
            }
            RecordChange::DeleteNotification(id) => {
                return self.delete(&Slot::Notification(id.clone()));
            }
            RecordChange::DeleteMember(user) => return self.delete(&Slot::Member(user.clone())),
            RecordChange::DeleteRole(role) => return self.delete(&Slot::Role(role.clone())),
            RecordChange::DeleteProject(id) => return self.delete(&Slot::Project(id.clone())),
            RecordChange::DeleteResource(key) => return self.delete(&Slot::Resource(key.clone())),
            RecordChange::DeleteOrganization => return self.records.clear(),
        };
        self.records.insert(slot, change.clone());
    }

    fn delete(&mut self, slot: &Slot) {
        self.records.remove(slot);
    }
}

/// The events of a commit, the last one first.
fn events_of(commit: &HistoryEntry) -> impl Iterator<Item = EventEntry> {
    let numbered = (0..).zip(&commit.events).collect::<Vec<_>>();
    numbered.into_iter().rev().map(|(index, event)| EventEntry {
        sequence: commit.sequence,
        index,
        at: commit.at,
        event: event.clone(),
    })
}

fn damaged(after: Sequence) -> ReadError {
    ReadError::Damaged(format!("the history after commit {}", after.0))
}

fn name(key: &IdempotencyKey) -> (OrganizationId, String, String) {
    (
        key.organization.clone(),
        key.caller.clone(),
        key.request_id.clone(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::MemoryStore;
    use crate::store::conformance::{Fixture, conformance};

    struct Memory;

    impl Fixture for Memory {
        type Store = MemoryStore;

        fn fresh() -> (Self, Arc<MemoryStore>) {
            (Self, Arc::new(MemoryStore::new()))
        }

        fn reopen(&self, store: Arc<MemoryStore>) -> Arc<MemoryStore> {
            store
        }
    }

    conformance!(Memory);
}
