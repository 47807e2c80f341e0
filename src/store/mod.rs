//! The port behind which organizations and their history are kept.
//!
//! The contract, which one conformance suite (`conformance`) holds
//! every adapter to:
//!
//! - **One ordered history.** Each commit gets the next [`Sequence`], without
//!   gaps, and a link in a hash chain over all commits before it.
//! - **All or nothing.** A commit's records, its event, its remembered answer
//!   and the organization's version become visible together or not at all.
//! - **Guarded.** A commit names the [`Version`] of the organization that it was
//!   decided on; if the organization has moved on, the answer is
//!   [`CommitError::Conflict`] and nothing happened.
//! - **Events alone change nothing.** A commit without records leaves the
//!   organization's version as it is and the position of its last change too; it
//!   needs no organization to exist, and makes none. Its `version` equals its
//!   `expected`, or is 0 if that is `None`, but neither is compared with the
//!   organization: a refusal is recorded whatever happened meanwhile. Everything
//!   else is as for any commit: position, chain, remembered answer, `on_commit`.
//! - **No change without an event.** A commit without events is refused.
//! - **Events stay.** They can be read after their organization is gone.
//! - **Durable before it is answered.** `Ok` means that the commit survives the
//!   loss of power. [`CommitError::Unknown`] means that nobody can tell: the
//!   caller looks its idempotency key up before it tries again. Every other
//!   error means that nothing happened.
//! - **Published in order.** [`Commit::on_commit`] runs after the commit is
//!   durable, before it is answered, in the order of the history, on no thread
//!   that may block; when [`Store::head`] shows a sequence, every `on_commit` up
//!   to it has run.
//! - **Reads see whole commits**, and are not meant for the path of a check. What
//!   they find holds every commit whose `on_commit` has run.
//!
//! The port knows nothing of Cedar, of the wire or of catalogs.

pub mod backup;
pub mod export;
pub mod failpoint;
pub mod figures;
mod import;
pub mod memory;
pub mod record;
pub mod sled;

mod admission;
#[cfg(test)]
mod conformance;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod samples;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::domain::change::{Outcome, RecordChange};
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::{Moment, Organization, Version};
pub use figures::Condition;
use figures::Figures;

/// A position in the one ordered history; the first commit has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// The link of the hash chain: SHA-256 over the previous link and a commit's canonical bytes.
pub type Chain = [u8; 32];

/// Where the history ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The last commit, or 0 in an empty store.
    pub sequence: Sequence,
    /// Its link, or zeros in an empty store.
    pub chain: Chain,
}

/// What runs when a commit is durable; gets the commit's position.
pub type OnCommit = Box<dyn FnOnce(Sequence) + Send>;

/// One change of one organization, decided and ready to be made durable.
pub struct Commit {
    /// The organization that changes.
    pub organization: OrganizationId,
    /// The version it was decided on; `None` for an organization that must not exist yet.
    pub expected: Option<Version>,
    /// The version it has afterwards.
    pub version: Version,
    /// When it was decided.
    pub at: Moment,
    /// What changes.
    pub records: Vec<RecordChange>,
    /// What the history says about it; at least one event.
    pub events: Vec<HistoryEvent>,
    /// When something of the organization first ends by itself once the commit is made;
    /// `None` for never. Ignored if no record changes, or if the organization goes.
    pub wake_at: Option<Moment>,
    /// The answer to remember for a repeated request.
    pub idempotency: Option<Idempotency>,
    /// Publishes the new state.
    pub on_commit: OnCommit,
}

/// What the history says happened. Holds ids, never personal text or secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Whose event it is.
    pub source: EventSource,
    /// What was done, such as `ChangeMemberRole`.
    pub action: String,
    /// The kind of thing it was done to.
    pub target_kind: String,
    /// The id of the thing.
    pub target_id: String,
    /// Who called, such as `operator`; `roster` for what ended by itself.
    pub caller: String,
    /// The member on whose behalf, or empty.
    pub actor: String,
    /// The id of the token by which the actor acted, or empty.
    pub token: String,
    /// The published name of the reason it was refused for; empty if it was done.
    pub refusal: String,
    /// When it happened, if the host says so; else it is the moment of the commit.
    pub occurred_at: Option<Moment>,
    /// The caller's request id, or empty.
    pub request_id: String,
    /// Further facts in a fixed order.
    pub details: Vec<(String, String)>,
}

/// Whose event it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventSource {
    /// Roster's own.
    #[default]
    Roster,
    /// Appended by the host.
    Host,
}

/// An event with its place in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// The commit that it came with.
    pub sequence: Sequence,
    /// Its place among the events of that commit, from 0.
    pub index: u32,
    /// When the commit was decided.
    pub at: Moment,
    /// What happened.
    pub event: HistoryEvent,
}

/// Names a request, so that its repetition is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The organization the request was about.
    pub organization: OrganizationId,
    /// Who called.
    pub caller: String,
    /// The id the caller gave the request.
    pub request_id: String,
}

/// The answer to remember with a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Names the request.
    pub key: IdempotencyKey,
    /// SHA-256 of the request's canonical body.
    pub fingerprint: [u8; 32],
    /// What was answered.
    pub outcome: Outcome,
    /// From when on it may be forgotten.
    pub expires_at: Moment,
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// SHA-256 of the body of the request that was answered.
    pub fingerprint: [u8; 32],
    /// The commit it caused.
    pub sequence: Sequence,
    /// What was answered.
    pub outcome: Outcome,
    /// From when on it no longer counts.
    pub expires_at: Moment,
}

/// One commit as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its position.
    pub sequence: Sequence,
    /// The chain up to and including it.
    pub chain: Chain,
    /// The organization that changed.
    pub organization: OrganizationId,
    /// The version it had afterwards.
    pub version: Version,
    /// When it was decided.
    pub at: Moment,
    /// What changed.
    pub records: Vec<RecordChange>,
    /// What happened.
    pub events: Vec<HistoryEvent>,
    /// When something of the organization first ended by itself after it, as it said.
    pub wake_at: Option<Moment>,
}

/// One commit as it is kept, for a copy of the whole history: the chain is over
/// `entry`, so it can only be copied as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCommit {
    /// Its position.
    pub sequence: Sequence,
    /// The chain up to and including it.
    pub chain: Chain,
    /// The sealed [`Entry`](record::Entry).
    pub entry: Vec<u8>,
    /// The sealed [`Idempotency`]; empty if no answer is remembered.
    pub answer: Vec<u8>,
}

/// Under which organization the history of callers' keys is kept: events alone, and no
/// records. A space is in no identifier.
pub const CALLER_KEYS: &str = "roster caller keys";

/// Why a commit was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The organization is not at the expected version; nothing happened.
    #[error("the organization has changed since it was read")]
    Conflict,
    /// A request with this idempotency key was committed before; nothing happened now.
    #[error("the request was committed before")]
    AlreadyDone(Box<Remembered>),
    /// Too many commits wait; nothing happened.
    #[error("too many changes wait to be written")]
    Busy,
    /// The disk is full or nearly so; nothing happened.
    #[error("the data directory's file system is nearly full; free some space")]
    Full,
    /// A record is larger than the store can hold; nothing happened.
    #[error("a record of {bytes} bytes is larger than the {limit} that the store holds")]
    TooLarge {
        /// Its size, encoded.
        bytes: usize,
        /// The largest size.
        limit: usize,
    },
    /// The store does not take writes any more; nothing happened.
    #[error("the store takes no writes: {0}")]
    Unavailable(String),
    /// Whether it happened can't be told.
    #[error("it is unknown whether the change was made: {0}")]
    Unknown(String),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The history before a point is gone.
    #[error("the history up to {0:?} is gone")]
    Compacted(Sequence),
    /// A record does not check out.
    #[error("a record is damaged: {0}")]
    Damaged(String),
    /// The store failed.
    #[error("the store failed to read: {0}")]
    Unavailable(String),
}

/// The answer of [`Store::commit`], when it comes.
pub type CommitFuture = Pin<Box<dyn Future<Output = Result<Sequence, CommitError>> + Send>>;

/// Keeps organizations and their history; see the module for the contract.
pub trait Store: Send + Sync {
    /// Takes a commit in the order of calls. Dropping the future does not withdraw it.
    fn commit(&self, commit: Commit) -> CommitFuture;

    /// Where the history ends.
    fn head(&self) -> Head;

    /// What it counts and measures of itself, if anything.
    fn figures(&self) -> Option<Arc<Figures>> {
        None
    }

    /// How it is. May ask the operating system.
    fn condition(&self) -> Condition {
        Condition::default()
    }

    /// The ids of organizations after `after`, ascending, at most `limit`.
    fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError>;

    /// One organization with all its records and the position of its last commit.
    fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError>;

    /// The version of an organization and the position of its last commit, without its
    /// records.
    fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError>;

    /// Organizations in which something ends by itself at `by` or earlier, with the
    /// moment that their last commit named ([`Commit::wake_at`]), by moment and then by
    /// id, at most `limit`.
    fn due(&self, by: Moment, limit: usize) -> Result<Vec<(Moment, OrganizationId)>, ReadError>;

    /// The organizations after `after` that a user is a member of, ascending, at most
    /// `limit`.
    fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError>;

    /// The organizations after `after` in which at least one notification waits,
    /// ascending, at most `limit`.
    fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError>;

    /// The remembered answer of a request, expired ones included.
    fn remembered(&self, key: &IdempotencyKey) -> Result<Option<Remembered>, ReadError>;

    /// Events of an organization, the newest first: those before the event at `before`
    /// (a sequence and an index), at most `limit`. They stay when the organization goes.
    fn events(
        &self,
        organization: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError>;

    /// Whole commits after `after`, in order, at most `limit`.
    fn history(&self, after: Sequence, limit: usize) -> Result<Vec<HistoryEntry>, ReadError>;

    /// Whole commits after `after` as they are kept, in order: as many as it takes to
    /// have `bytes`, and at least one if there is one. What they are together with
    /// their answers is all that there is: a store made of it is this one.
    fn sealed(&self, after: Sequence, bytes: usize) -> Result<Vec<SealedCommit>, ReadError>;

    /// Reads at most `limit` commits after `after` again from where they are kept, and
    /// answers with the last one. Begin with [`Head::default`] and go on with each
    /// answer until it is the [`head`](Self::head). [`ReadError::Damaged`] says after
    /// which commit one is missing, is not as it was written, or does not follow.
    fn verify(&self, after: Head, limit: usize) -> Result<Head, ReadError>;
}
