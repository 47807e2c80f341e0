//! Brings commits that are durable in the journal into sled.
//!
//! A group of commits is one batch, or as many as keep each below [`MOST_CHANGED`]
//! leaves: sled's memory grows with the size of a batch. Batches end between commits
//! and carry the applied head, which is what makes sled a prefix of the journal. A
//! commit that is too large for one is applied in several, of which the first marks its
//! organization as half applied and only the last carries the head. A process that dies
//! in between replays the whole commit, which comes to the same: every step says what
//! shall be there, not what to do to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use super::edit::Edit;
use super::keys::{self, AnswerDigest, Place, Subject};
use super::marks::{AppliedHead, CommitPlace, KeptAnswer, OrganizationMark, Wake};
use super::state::{State, damaged, unavailable};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Version};
use crate::store::record::EncodeError;
use crate::store::{CommitError, Head, ReadError, admission, failpoint};

/// From how many changed leaves on a batch is written. What the end of a commit adds and
/// what merging doubles keeps each batch at 256 operations.
const MOST_CHANGED: usize = 100;

/// Operations of a commit beside those on its records: mark, answer, expiry, place.
const OVERHEAD: usize = 4;

/// At least how many expired answers are forgotten with each group.
const FORGOTTEN_AT_ONCE: usize = 64;

/// A commit with its place in the history.
#[derive(Debug)]
pub(super) struct Settled {
    /// The history up to and including it.
    pub head: Head,
    /// Where its frame lies in its segment of the journal.
    pub place: CommitPlace,
    /// Whose records change.
    pub organization: OrganizationId,
    /// The version afterwards.
    pub version: Version,
    /// When it was decided.
    pub at: Moment,
    /// When something of the organization first ends by itself afterwards.
    pub wake: Wake,
    /// What changes.
    pub writes: Writes,
    /// Which answer to remember, and until when.
    pub answer: Option<(AnswerDigest, Moment)>,
}

/// Record changes as steps.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Empty if the organization does not change.
    steps: Vec<Step>,
    exists_after: bool,
    /// How many events tell of them.
    events: usize,
}

/// One step.
#[derive(Debug)]
pub(super) enum Step {
    /// A record is there.
    Put {
        /// Its key.
        key: Vec<u8>,
        /// Sealed.
        value: Vec<u8>,
        /// The key of the membership that it stands for.
        membership: Option<Vec<u8>>,
    },
    /// A record is not there.
    Delete {
        /// Its key.
        key: Vec<u8>,
        /// The key of the membership that it stood for.
        membership: Option<Vec<u8>>,
    },
    /// The organization has no records.
    DeleteAll,
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
    /// The steps that `records` come to, if every record fits, told by so many events.
    pub fn of(
        organization: &OrganizationId,
        records: &[RecordChange],
        events: usize,
    ) -> Result<Self, CommitError> {
        let step = |change| {
            let sealed = admission::seal_put(change)?;
            let key = match keys::place(organization, change) {
                Place::Record(key) => key,
                Place::Everything => return Ok(Step::DeleteAll),
            };
            let membership = match change {
                RecordChange::PutMember(member) => Some(&member.user),
                RecordChange::DeleteMember(user) => Some(user),
                _ => None,
            };
            let membership = membership.map(|user| keys::membership(user, organization));
            Ok(match sealed {
                Some(value) => Step::Put {
                    key,
                    value,
                    membership,
                },
                None => Step::Delete { key, membership },
            })
        };
        let steps = records
            .iter()
            .map(step)
            .collect::<Result<_, CommitError>>()?;
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

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many events there are.
    pub fn count_events(&self) -> u64 {
        self.events as u64
    }

    /// How much of a group the commit takes up.
    pub fn weight(&self) -> usize {
        self.steps.len().saturating_add(OVERHEAD)
    }
}

impl Settled {
    /// The organization's mark afterwards, whole or not yet; `None` if it has none.
    pub fn mark(&self) -> Option<OrganizationMark> {
        let exists = self.writes.exists_after && self.writes.change_anything();
        exists.then_some(OrganizationMark {
            version: self.version,
            sequence: self.head.sequence,
            wake: self.wake,
            whole: true,
        })
    }

    /// The answer that is remembered, by its key.
    pub fn kept_answer(&self) -> Option<(Vec<u8>, KeptAnswer)> {
        let (digest, expires_at) = self.answer?;
        let kept = KeptAnswer {
            sequence: self.head.sequence,
            expires_at,
        };
        Some((keys::answer(&self.organization, &digest), kept))
    }

    /// The key of its place.
    pub fn place_key(&self) -> Vec<u8> {
        keys::commit(&self.organization, self.head.sequence)
    }
}

impl State {
    /// Applies commits that follow the applied head, in order.
    pub fn apply(&self, group: &[Settled]) -> Result<(), ApplyError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let apply = || {
            failpoint::reach("apply").map_err(|fault| ReadError::Unavailable(fault.to_string()))?;
            Application {
                state: self,
                edit: Edit::new(&self.database),
                reached: None,
            }
            .apply(group)
        };
        catch_unwind(AssertUnwindSafe(apply)).unwrap_or(Err(ApplyError::Panic))
    }

    /// Finds out when organizations wake whose last commit did not say.
    pub fn learn_wakes(&self) -> Result<(), ApplyError> {
        let unknown = self.unknown_wakes()?;
        for some in unknown.chunks(MOST_CHANGED / 4) {
            let mut edit = Edit::new(&self.database);
            for id in some {
                let Some(mark) = self.organization(id)? else {
                    continue;
                };
                let learnt = OrganizationMark {
                    wake: self.learn_wake(id)?,
                    ..mark
                };
                replace_wake(&mut edit, id, mark.wake, learnt.wake)?;
                edit.put(keys::mark(id), learnt.encode()?)?;
            }
            self.write(&mut edit, None)?;
        }
        Ok(())
    }

    fn write(&self, edit: &mut Edit<'_>, reached: Option<Head>) -> Result<(), ApplyError> {
        let changed = edit.finish()?;
        let mut batch = changed.batch;
        if let Some(head) = reached {
            batch.insert(keys::HEAD, AppliedHead::seal(&head));
        }
        tracing::trace!(operations = changed.operations, "a batch");
        #[cfg(test)]
        self.faults
            .before_batch(changed.operations)
            .map_err(unavailable)?;
        let failed = |fault: std::io::Error| ReadError::Unavailable(fault.to_string());
        failpoint::reach("batch").map_err(failed)?;
        self.database.apply_batch(batch).map_err(unavailable)?;
        failpoint::reach("batched").map_err(failed)?;
        Ok(())
    }
}

/// A group on its way into sled.
struct Application<'a> {
    state: &'a State,
    edit: Edit<'a>,
    /// The last commit that is whole and not written yet.
    reached: Option<Head>,
}

impl Application<'_> {
    fn apply(mut self, group: &[Settled]) -> Result<(), ApplyError> {
        // First, so that an answer that replaces a forgotten one stays.
        if let Some(last) = group.last() {
            self.forget_expired(last.at, group.len().max(FORGOTTEN_AT_ONCE))?;
        }
        for settled in group {
            if self.edit.changed() >= MOST_CHANGED {
                self.write()?;
            }
            self.take(settled)?;
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), ApplyError> {
        self.state.write(&mut self.edit, self.reached.take())?;
        self.edit.forget(4 * MOST_CHANGED);
        Ok(())
    }

    fn take(&mut self, settled: &Settled) -> Result<(), ApplyError> {
        let mut halfway = false;
        for step in settled.writes.steps() {
            match step {
                Step::Put {
                    key,
                    value,
                    membership,
                } => {
                    let known = self.edit.put(key.clone(), value.clone())?;
                    if let Some(membership) = membership.as_ref().filter(|_| !known) {
                        self.edit.note(membership.clone())?;
                    }
                    self.rest(settled, &mut halfway)?;
                }
                Step::Delete { key, membership } => {
                    let known = self.edit.remove(key)?;
                    if let Some(membership) = membership.as_ref().filter(|_| known) {
                        self.edit.remove(membership)?;
                    }
                    self.rest(settled, &mut halfway)?;
                }
                Step::DeleteAll => self.delete_all(settled, &mut halfway)?,
            }
        }
        self.complete(settled)
    }

    fn delete_all(&mut self, settled: &Settled, halfway: &mut bool) -> Result<(), ApplyError> {
        let id = &settled.organization;
        let apart = keys::notifications(id);
        for (start, end) in [keys::records(id), (apart.clone(), keys::end_of(apart))] {
            while let Some(key) = self.edit.first(&start, &end)? {
                self.edit.remove(&key)?;
                if let Some(membership) = keys::membership_of_record(id, &key) {
                    self.edit.remove(&membership)?;
                }
                self.rest(settled, halfway)?;
            }
        }
        Ok(())
    }

    /// Writes what there is if it is much, though the commit is not complete.
    fn rest(&mut self, settled: &Settled, halfway: &mut bool) -> Result<(), ApplyError> {
        if self.edit.changed() < MOST_CHANGED {
            return Ok(());
        }
        if !std::mem::replace(halfway, true) {
            let id = &settled.organization;
            let half = OrganizationMark {
                version: settled.version,
                sequence: settled.head.sequence,
                wake: self.wake(id)?,
                whole: false,
            };
            self.edit.put(keys::mark(id), half.encode()?)?;
        }
        self.write()
    }

    /// Adds what makes a commit whole.
    fn complete(&mut self, settled: &Settled) -> Result<(), ApplyError> {
        let id = &settled.organization;
        if settled.writes.change_anything() {
            let before = self.wake(id)?;
            let mark = settled.mark();
            let after = mark.map_or(Wake::At(None), |mark| mark.wake);
            replace_wake(&mut self.edit, id, before, after)?;
            match mark {
                Some(mark) => self.edit.put(keys::mark(id), mark.encode()?)?,
                None => self.edit.remove(&keys::mark(id))?,
            };
        }
        if let Some((key, kept)) = settled.kept_answer() {
            self.edit.put(key, kept.encode()?)?;
        }
        if let Some((digest, expires_at)) = &settled.answer {
            self.edit.note(keys::expiry(*expires_at, id, digest))?;
        }
        let place = settled.place.encode()?;
        self.edit.put(settled.place_key(), place)?;
        self.reached = Some(settled.head);
        Ok(())
    }

    /// When something of an organization ended by itself before.
    fn wake(&mut self, id: &OrganizationId) -> Result<Wake, ApplyError> {
        let key = keys::mark(id);
        let mark = self.edit.get(&key)?.map(OrganizationMark::decode);
        let mark = mark.transpose().map_err(damaged(&key))?;
        Ok(mark.map_or(Wake::At(None), |mark| mark.wake))
    }

    fn forget_expired(&mut self, now: Moment, most: usize) -> Result<(), ApplyError> {
        let (start, end) = keys::expiries(now);
        for _ in 0..most {
            let Some(key) = self.edit.first(&start, &end)? else {
                break;
            };
            let Some(Subject::Expiry(moment, id, digest)) = keys::subject(&key) else {
                return Err(keys::damaged(&key).into());
            };
            let answer = keys::answer(&id, &digest);
            let kept = self.edit.get(&answer)?.map(KeptAnswer::decode);
            let kept = kept.transpose().map_err(damaged(&answer))?;
            // Another moment is that of an answer which replaced the expired one.
            if kept.is_some_and(|kept| kept.expires_at == moment) {
                self.edit.remove(&answer)?;
            }
            self.edit.remove(&key)?;
            if self.edit.changed() >= MOST_CHANGED {
                self.write()?;
            }
        }
        Ok(())
    }
}

/// Keeps the index of wakes in step.
fn replace_wake(
    edit: &mut Edit<'_>,
    id: &OrganizationId,
    before: Wake,
    after: Wake,
) -> Result<(), ReadError> {
    let (before, after) = (before.moment(), after.moment());
    if let Some(before) = before.filter(|before| Some(*before) != after) {
        edit.remove(&keys::wake(before, id))?;
    }
    match after {
        Some(after) => edit.note(keys::wake(after, id)),
        None => Ok(()),
    }
}
