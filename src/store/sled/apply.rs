//! Brings commits that are durable in the journal into sled.
//!
//! A batch has at most [`MAX_BATCH`] operations. A group of ordinary commits is
//! one batch; a commit that is larger is applied in several, of which the first
//! marks its organization as half applied (if it changes) and only the last carries
//! the applied head, beyond which no event is shown. A process that dies in between replays the whole commit, which comes to
//! the same: every operation says what shall be there, not what to do to it.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use ::sled::Batch;

use super::keys::{self, AnswerDigest, Place};
use super::marks::{AppliedHead, KeptAnswer, OrganizationMark};
use super::state::{State, unavailable};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Version};
use crate::store::record::{EncodeError, Stored};
use crate::store::{
    CommitError, EventEntry, Head, HistoryEvent, Idempotency, ReadError, Remembered, admission,
};

/// The most operations in one batch: sled's memory grows with the size of a batch.
pub(super) const MAX_BATCH: usize = 256;

/// Operations of a commit beside those on its records: mark, head, answer and its expiry.
const OVERHEAD: usize = 4;

/// How many expired answers are forgotten with each group: as many as a group can add.
const FORGOTTEN_AT_ONCE: usize = 64;

/// A commit with its place in the history.
#[derive(Debug)]
pub(super) struct Settled {
    /// The history up to and including it.
    pub head: Head,
    /// Whose records change.
    pub organization: OrganizationId,
    /// The version afterwards.
    pub version: Version,
    /// When it was decided.
    pub at: Moment,
    /// When something of the organization first ends by itself afterwards.
    pub wake_at: Option<Moment>,
    /// What changes.
    pub writes: Writes,
    /// What to remember.
    pub answer: Option<(AnswerDigest, Remembered)>,
}

/// Record changes as operations on keys, and the events that tell of them.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Empty if the organization does not change.
    steps: Vec<Step>,
    exists_after: bool,
    events: Vec<HistoryEvent>,
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The wakes of organizations after commits that are not in sled yet.
type Wakes<'a> = HashMap<&'a OrganizationId, Option<Moment>>;

/// One operation.
#[derive(Debug)]
pub(super) enum Step {
    /// A key holds a value.
    Put(Vec<u8>, Vec<u8>),
    /// A key holds nothing.
    Delete(Vec<u8>),
    /// No key of a record of the organization holds anything.
    DeleteAll(OrganizationId),
}

/// Why a group was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a record can't be written: {0}")]
    Encode(#[from] EncodeError),
    #[error("sled panicked while it was written")]
    Panic,
}

impl Writes {
    /// The operations of `records`, if every record fits, with the events that go with them.
    pub fn of(
        organization: &OrganizationId,
        records: &[RecordChange],
        events: Vec<HistoryEvent>,
    ) -> Result<Self, CommitError> {
        let mut steps = Vec::new();
        for change in records {
            match (
                keys::place(organization, change),
                admission::seal_put(change)?,
            ) {
                (Place::Record(key), Some(value)) => steps.push(Step::Put(key, value)),
                (Place::Record(key), None) => steps.push(Step::Delete(key)),
                (Place::Everything, _) => steps.push(Step::DeleteAll(organization.clone())),
            }
            steps.extend(index(organization, change));
        }
        Ok(Self {
            steps,
            exists_after: admission::exists_after(records),
            events,
        })
    }

    /// Whether any record changes.
    pub fn change_anything(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether the organization is there afterwards, if any record changes.
    pub fn exists_after(&self) -> bool {
        self.exists_after
    }

    /// The operations on records, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many events there are.
    pub fn count_events(&self) -> u64 {
        self.events.len() as u64
    }

    /// How many operations in sled the commit is, nearly.
    pub fn weight(&self) -> usize {
        let operations = self.steps.len().saturating_add(self.events.len());
        operations.saturating_add(OVERHEAD)
    }

    fn fits_a_batch(&self) -> bool {
        let deletes_all = self
            .steps
            .iter()
            .any(|step| matches!(step, Step::DeleteAll(_)));
        !deletes_all && self.weight() <= MAX_BATCH - 2 * FORGOTTEN_AT_ONCE
    }
}

/// What a change makes of the indexes of members and of waiting notifications.
fn index(organization: &OrganizationId, change: &RecordChange) -> Option<Step> {
    let there = |key| Some(Step::Put(key, Vec::new()));
    match change {
        RecordChange::PutMember(member) => there(keys::membership(&member.user, organization)),
        RecordChange::DeleteMember(user) => {
            Some(Step::Delete(keys::membership(user, organization)))
        }
        RecordChange::PutNotification(waits) => there(keys::waiting(organization, &waits.id)),
        RecordChange::DeleteNotification(id) => Some(Step::Delete(keys::waiting(organization, id))),
        _ => None,
    }
}

fn gone(key: Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
    (key, None)
}

/// A remembered answer with its key.
pub(super) fn answer(idempotency: &Idempotency, head: &Head) -> (AnswerDigest, Remembered) {
    let remembered = Remembered {
        fingerprint: idempotency.fingerprint,
        sequence: head.sequence,
        outcome: idempotency.outcome.clone(),
        expires_at: idempotency.expires_at,
    };
    (keys::digest(&idempotency.key), remembered)
}

impl State {
    /// Applies commits that follow the applied head, in order.
    pub fn apply(&self, group: &[Settled]) -> Result<(), ApplyError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        catch_unwind(AssertUnwindSafe(|| self.apply_group(group))).unwrap_or(Err(ApplyError::Panic))
    }

    fn apply_group(&self, group: &[Settled]) -> Result<(), ApplyError> {
        let mut batch = Batch::default();
        let mut wakes = HashMap::new();
        let mut weight = 2 * FORGOTTEN_AT_ONCE;
        // First, so that an answer that replaces a forgotten one stays.
        if let Some(last) = group.last() {
            self.forget_expired(last.at, &mut batch)?;
        }
        for settled in group {
            let fits = settled.writes.fits_a_batch();
            weight = weight.saturating_add(settled.writes.weight());
            if !fits || weight > MAX_BATCH {
                self.write(std::mem::take(&mut batch))?;
                weight = settled.writes.weight();
            }
            if fits {
                settled
                    .writes
                    .steps
                    .iter()
                    .for_each(|step| step.add_to(&mut batch));
                for (key, value) in settled.events()? {
                    batch.insert(key, value);
                }
                self.complete(settled, &mut wakes, &mut batch)?;
            } else {
                self.apply_large(settled, &mut wakes)?;
                weight = 0;
            }
        }
        self.write(batch)
    }

    fn apply_large<'a>(
        &self,
        settled: &'a Settled,
        wakes: &mut Wakes<'a>,
    ) -> Result<(), ApplyError> {
        let mut changes: Vec<_> = self.net_changes(&settled.writes)?.into_iter().collect();
        let events = settled.events()?.into_iter();
        changes.extend(events.map(|(key, value)| (key, Some(value))));
        let mut chunks = changes.chunks(MAX_BATCH - OVERHEAD).peekable();
        let mut batch = Batch::default();
        if settled.writes.change_anything() {
            let wake_at = self.wake_at(&settled.organization, wakes)?;
            batch.insert(
                keys::organization(&settled.organization),
                settled.mark(false, wake_at),
            );
        }
        while let Some(chunk) = chunks.next() {
            for (key, value) in chunk {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            if chunks.peek().is_some() {
                self.write(std::mem::take(&mut batch))?;
            }
        }
        self.complete(settled, wakes, &mut batch)?;
        self.write(batch)
    }

    /// What each key shall hold after all steps; `None` for nothing.
    fn net_changes(
        &self,
        writes: &Writes,
    ) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, ApplyError> {
        let mut changes = BTreeMap::new();
        for step in &writes.steps {
            match step {
                Step::Put(key, value) => {
                    changes.insert(key.clone(), Some(value.clone()));
                }
                Step::Delete(key) => {
                    changes.insert(key.clone(), None);
                }
                Step::DeleteAll(id) => {
                    changes.values_mut().for_each(|value| *value = None);
                    for prefix in [keys::records(id), keys::all_waiting(id)] {
                        for key in self.database.scan_prefix(prefix).keys() {
                            let key = key.map_err(unavailable)?;
                            changes.extend(keys::membership_of_record(id, &key).map(gone));
                            changes.extend([gone(key.to_vec())]);
                        }
                    }
                }
            }
        }
        Ok(changes)
    }

    /// Adds what makes a commit whole.
    fn complete<'a>(
        &self,
        settled: &'a Settled,
        wakes: &mut Wakes<'a>,
        batch: &mut Batch,
    ) -> Result<(), ApplyError> {
        let mark = settled.mark_after();
        if mark.is_some() {
            let id = &settled.organization;
            let wake_at = settled.wake_at.filter(|_| settled.writes.exists_after);
            if let Some(before) = self.wake_at(id, wakes)? {
                batch.remove(keys::wake(before, id));
            }
            if let Some(wake_at) = wake_at {
                batch.insert(keys::wake(wake_at, id), &[]);
            }
            wakes.insert(id, wake_at);
        }
        match mark {
            Some(Step::Put(key, mark)) => batch.insert(key, mark),
            Some(Step::Delete(key)) => batch.remove(key),
            Some(Step::DeleteAll(_)) | None => {}
        }
        if let Some((digest, remembered)) = &settled.answer {
            batch.insert(keys::answer(digest), KeptAnswer::seal(remembered)?);
            batch.insert(keys::expiry(remembered.expires_at, digest), &[]);
        }
        batch.insert(keys::HEAD, AppliedHead(settled.head).seal());
        Ok(())
    }

    /// When something of an organization ended by itself before the next commit.
    fn wake_at(&self, id: &OrganizationId, wakes: &Wakes<'_>) -> Result<Option<Moment>, ReadError> {
        match wakes.get(id) {
            Some(wake_at) => Ok(*wake_at),
            None => Ok(self.organization(id)?.and_then(|mark| mark.wake_at)),
        }
    }

    fn forget_expired(&self, now: Moment, batch: &mut Batch) -> Result<(), ApplyError> {
        let end = keys::expiries_from(Moment(now.0.saturating_add(1)));
        let expired = self.database.range(vec![keys::EXPIRIES]..end).keys();
        for key in expired.take(FORGOTTEN_AT_ONCE) {
            let key = key.map_err(unavailable)?;
            if let Some((moment, digest)) = keys::expiry_of(&key) {
                // Another moment is that of an answer which replaced the expired one.
                let remembered = self.answer(&digest)?;
                if remembered.is_some_and(|remembered| remembered.expires_at() == moment) {
                    batch.remove(keys::answer(&digest));
                }
            }
            batch.remove(key);
        }
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), ApplyError> {
        #[cfg(test)]
        self.faults.before_batch().map_err(unavailable)?;
        Ok(self.database.apply_batch(batch).map_err(unavailable)?)
    }
}

impl Settled {
    /// The events with their keys.
    pub fn events(&self) -> Result<Vec<Pair>, EncodeError> {
        let sealed = |(index, event): (u32, &HistoryEvent)| {
            let entry = EventEntry {
                sequence: self.head.sequence,
                index,
                at: self.at,
                event: event.clone(),
            };
            let key = keys::event(&self.organization, entry.sequence, index);
            Ok((key, entry.seal()?))
        };
        (0..).zip(&self.writes.events).map(sealed).collect()
    }

    /// What becomes of the organization's mark, if any record changes.
    pub fn mark_after(&self) -> Option<Step> {
        let key = || keys::organization(&self.organization);
        match (self.writes.change_anything(), self.writes.exists_after) {
            (false, _) => None,
            (true, true) => Some(Step::Put(key(), self.mark(true, self.wake_at))),
            (true, false) => Some(Step::Delete(key())),
        }
    }

    fn mark(&self, whole: bool, wake_at: Option<Moment>) -> Vec<u8> {
        let (version, sequence) = (self.version, self.head.sequence);
        OrganizationMark {
            version,
            sequence,
            wake_at,
            whole,
        }
        .seal()
    }
}

impl Step {
    fn add_to(&self, batch: &mut Batch) {
        match self {
            Self::Put(key, value) => batch.insert(key.as_slice(), value.as_slice()),
            Self::Delete(key) => batch.remove(key.as_slice()),
            // Never in a commit that fits a batch: which keys it means depends on what is there.
            Self::DeleteAll(_) => {}
        }
    }
}
