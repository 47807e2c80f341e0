//! The one write path: load, decide, apply, compile, commit, publish.
//!
//! Time is drawn once, before the first attempt, and a use case is a pure
//! function of snapshot and time, so that a retry after a conflict decides the
//! same question again on the newer state. What is not committed is never
//! published; what is committed is published by the store's callback even when
//! the caller has gone away meanwhile.

use std::sync::Arc;

use super::registry::{Cell, Registry};
use super::revision::Progress;
use super::{Application, Error};
use crate::domain::Refusal;
use crate::domain::change::{Change, Outcome, RecordChange};
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Organization};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;
use crate::store::{
    Commit, CommitError, HistoryEvent, Idempotency, IdempotencyKey, OnCommit, Remembered,
};

/// How often a change is decided again on a newer state before giving up.
const MAX_ATTEMPTS: usize = 16;
/// How long a repeated request gets the same answer.
const REMEMBERED_FOR_MILLISECONDS: i64 = 24 * 60 * 60 * 1_000;
/// The longest request id, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's name in the history, such as `operator`.
    pub name: String,
}

/// What every changing request carries besides its own fields.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who calls.
    pub caller: Caller,
    /// The caller's id for it, or empty.
    pub request_id: String,
    /// SHA-256 over method and body.
    pub fingerprint: [u8; 32],
    /// Decide and answer, but change nothing.
    pub validate_only: bool,
}

/// What became of a change.
#[derive(Clone, Debug)]
pub struct Written {
    /// The position of the commit; with `validate_only`, what it was decided on.
    pub revision: u64,
    /// What the caller gets back.
    pub outcome: Outcome,
}

/// What one attempt came to.
enum Attempt {
    Done(Written),
    Again,
}

impl Application {
    /// Changes an organization by what `decide` answers for it.
    pub async fn mutate(
        &self,
        organization: &str,
        request: &Request,
        decide: impl Fn(&Snapshot, Moment) -> Result<Change, Refusal>,
    ) -> Result<Written, Error> {
        check_request_id(&request.request_id)?;
        let now = self.world.now();
        for _ in 0..MAX_ATTEMPTS {
            let Some(cell) = self.registry.get(organization) else {
                return self.answer_for_the_absent(organization, request, now);
            };
            let _turn = cell.turn().await;
            if !self.registry.holds(organization, &cell) {
                continue;
            }
            match self.attempt(&cell, request, now, &decide).await? {
                Attempt::Done(written) => return Ok(written),
                Attempt::Again => {}
            }
        }
        Err(Error::ConcurrentChange)
    }

    /// An organization that is not there may have been deleted by this very request.
    fn answer_for_the_absent(
        &self,
        organization: &str,
        request: &Request,
        now: Moment,
    ) -> Result<Written, Error> {
        self.recall(&OrganizationId::new(organization), request, now)?
            .ok_or_else(|| Error::unknown_organization(organization))
    }

    async fn attempt(
        &self,
        cell: &Arc<Cell>,
        request: &Request,
        now: Moment,
        decide: &impl Fn(&Snapshot, Moment) -> Result<Change, Refusal>,
    ) -> Result<Attempt, Error> {
        let current = cell.snapshot();
        let organization = current.organization();
        if let Some(written) = self.recall(organization.id(), request, now)? {
            return Ok(Attempt::Done(written));
        }
        let change = decide(&current, now)?;
        let next = current.advance(organization.apply(&change.records), &change.records)?;
        if request.validate_only {
            return Ok(Attempt::Done(Written {
                revision: current.revision(),
                outcome: change.outcome,
            }));
        }
        let expected = Some(organization.version);
        self.commit(next, expected, change, request, now).await
    }

    /// Commits a decided change and publishes the state that it leads to.
    pub(super) async fn commit_first(
        &self,
        first: Snapshot,
        change: Change,
        request: &Request,
        now: Moment,
    ) -> Result<Option<Written>, Error> {
        match self.commit(first, None, change, request, now).await? {
            Attempt::Done(written) => Ok(Some(written)),
            Attempt::Again => Ok(None),
        }
    }

    async fn commit(
        &self,
        next: Snapshot,
        expected: Option<crate::domain::organization::Version>,
        change: Change,
        request: &Request,
        now: Moment,
    ) -> Result<Attempt, Error> {
        let organization = next.organization();
        let id = organization.id().clone();
        let commit = Commit {
            organization: id.clone(),
            expected,
            version: organization.version,
            at: now,
            event: history_event(&change, request),
            idempotency: idempotency(&id, &change.outcome, request, now),
            on_commit: publisher(&self.registry, &self.progress, next, &change.records),
            records: change.records,
        };
        match self.store.commit(commit).await {
            Ok(sequence) => Ok(Attempt::Done(Written {
                revision: sequence.0,
                outcome: change.outcome,
            })),
            Err(CommitError::Conflict) => Ok(Attempt::Again),
            Err(CommitError::AlreadyDone(remembered)) => {
                replay(*remembered, request).map(Attempt::Done)
            }
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// The answer to a request that was answered before.
    pub(super) fn recall(
        &self,
        organization: &OrganizationId,
        request: &Request,
        now: Moment,
    ) -> Result<Option<Written>, Error> {
        if request.request_id.is_empty() || request.validate_only {
            return Ok(None);
        }
        let key = key(organization, request);
        match self.store.remembered(&key)? {
            Some(remembered) if remembered.expires_at > now => {
                replay(remembered, request).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A request id is what a client can generate: short visible ASCII.
pub(super) fn check_request_id(id: &str) -> Result<(), Error> {
    let fits = id.len() <= MAX_REQUEST_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(());
    }
    Err(Error::invalid(vec![Violation::new(
        "request_id",
        Fault::Malformed,
        format!("must be visible ASCII without spaces, at most {MAX_REQUEST_ID_BYTES} bytes"),
    )]))
}

fn replay(remembered: Remembered, request: &Request) -> Result<Written, Error> {
    if remembered.fingerprint != request.fingerprint {
        return Err(Error::RequestIdReused(request.request_id.clone()));
    }
    Ok(Written {
        revision: remembered.sequence.0,
        outcome: remembered.outcome,
    })
}

pub(super) fn key(organization: &OrganizationId, request: &Request) -> IdempotencyKey {
    IdempotencyKey {
        organization: organization.clone(),
        caller: request.caller.name.clone(),
        request_id: request.request_id.clone(),
    }
}

fn idempotency(
    organization: &OrganizationId,
    outcome: &Outcome,
    request: &Request,
    now: Moment,
) -> Option<Idempotency> {
    (!request.request_id.is_empty()).then(|| Idempotency {
        key: key(organization, request),
        fingerprint: request.fingerprint,
        outcome: outcome.clone(),
        expires_at: Moment(now.0.saturating_add(REMEMBERED_FOR_MILLISECONDS)),
    })
}

fn history_event(change: &Change, request: &Request) -> HistoryEvent {
    let details = change
        .event
        .details
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    HistoryEvent {
        action: change.event.action.to_owned(),
        target_kind: change.event.target.kind.clone(),
        target_id: change.event.target.id.clone(),
        caller: request.caller.name.clone(),
        request_id: request.request_id.clone(),
        details: details.collect(),
    }
}

fn publisher(
    registry: &Arc<Registry>,
    progress: &Arc<Progress>,
    next: Snapshot,
    records: &[RecordChange],
) -> OnCommit {
    let registry = Arc::clone(registry);
    let progress = Arc::clone(progress);
    let deleted = records.contains(&RecordChange::DeleteOrganization);
    Box::new(move |sequence| {
        let id = Organization::id(next.organization()).clone();
        if deleted {
            registry.forget(&id);
        } else {
            registry.publish(&id, Arc::new(next.at_revision(sequence.0)));
        }
        progress.reached(sequence);
    })
}
