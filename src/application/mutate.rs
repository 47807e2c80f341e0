//! The one write path: load, decide, apply, compile, commit, publish.
//!
//! Time is drawn once, before the first attempt, and a use case is a pure
//! function of snapshot and time, so that a retry after a conflict decides the
//! same question again on the newer state. What is not committed is never
//! published; what is committed is published by the store's callback even when
//! the caller has gone away meanwhile.

use std::sync::Arc;

use super::actor::{self, Acting, Actor, Caller, Need, Turn};
use super::expiry::SYSTEM;
use super::{Application, Error};
use crate::domain::change::{Change, Event, Outcome, RecordChange};
use crate::domain::identifiers::{OrganizationId, identifier_fault};
use crate::domain::organization::{Moment, Organization, Version};
use crate::domain::refusal::{Fault, Violation};
use crate::domain::{Refusal, grant_rule};
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

/// What every changing request carries besides its own fields.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who calls.
    pub caller: Caller,
    /// The name of the RPC; what the history calls it.
    pub method: &'static str,
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
    /// Changes an organization by what `decide` answers for it, if the actor may.
    pub async fn mutate(
        &self,
        organization: &str,
        need: Need<'_>,
        request: &Request,
        decide: impl Fn(&Turn<'_>) -> Result<Change, Refusal>,
    ) -> Result<Written, Error> {
        let now = self.world.now();
        let tried = self
            .try_mutate(organization, need, request, now, &decide)
            .await;
        self.record_refusal(organization, need, request, &tried, now)
            .await;
        tried
    }

    /// Records a change that the rules refused, unless it was only to be validated.
    /// What is about an organization that is not there is recorded nowhere.
    pub(super) async fn record_refusal(
        &self,
        organization: &str,
        need: Need<'_>,
        request: &Request,
        tried: &Result<Written, Error>,
        now: Moment,
    ) {
        if let Err(error) = tried
            && let Some(reason) = error.refusal()
            && !request.validate_only
            && request.caller.name != SYSTEM
        {
            let identity = self.identity_in(organization, &request.caller.actor).await;
            let signature = Signature::of_request(request, identity);
            let event = refused_event(organization, need, signature, reason);
            self.record(organization, vec![event], now).await;
        }
    }

    async fn try_mutate(
        &self,
        organization: &str,
        need: Need<'_>,
        request: &Request,
        now: Moment,
        decide: &impl Fn(&Turn<'_>) -> Result<Change, Refusal>,
    ) -> Result<Written, Error> {
        check_request_id(&request.request_id)?;
        for _ in 0..MAX_ATTEMPTS {
            let Some(writing) = self.take_turn(organization).await? else {
                return self.answer_for_the_absent(organization, request, now);
            };
            let current = &writing.current;
            let attempt = self.attempt(current, need, request, now, decide).await;
            drop(writing);
            self.settle();
            match attempt? {
                Attempt::Done(written) => return Ok(written),
                Attempt::Again => {}
            }
        }
        Err(Error::ConcurrentChange)
    }

    /// Puts events into the history that change nothing. That they could not be
    /// stored is no reason to answer differently; it is logged.
    pub(super) async fn record(&self, organization: &str, events: Vec<HistoryEvent>, now: Moment) {
        let version = match self.version_of(organization).await {
            Ok(Some(version)) => version,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, organization, "a refusal could not be recorded");
                return;
            }
        };
        let progress = Arc::clone(&self.progress);
        let commit = Commit {
            organization: OrganizationId::new(organization),
            expected: Some(version),
            version,
            at: now,
            records: Vec::new(),
            events,
            wake_at: None,
            idempotency: None,
            on_commit: Box::new(move |sequence| progress.reached(sequence)),
        };
        if let Err(error) = self.store.commit(commit).await {
            tracing::error!(%error, organization, "a refusal could not be recorded");
        }
    }

    /// An organization that is not there may have been deleted by this very request.
    pub(super) fn answer_for_the_absent(
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
        current: &Snapshot,
        need: Need<'_>,
        request: &Request,
        now: Moment,
        decide: &impl Fn(&Turn<'_>) -> Result<Change, Refusal>,
    ) -> Result<Attempt, Error> {
        let organization = current.organization();
        // Before anything is remembered: a token that is dead gets no answer at all.
        let acting = actor::resolve(current, &request.caller.actor, request.method, now)?;
        if let Some(written) = self.recall(organization.id(), request, now)? {
            return Ok(Attempt::Done(written));
        }
        if let Some(acting) = &acting {
            self.note_token_use(current, acting, now);
            actor::authorize(current, acting, need, request.method, now)?;
        }
        let turn = Turn {
            snapshot: current,
            now,
            acting: acting.as_ref(),
        };
        let change = decide(&turn)?;
        let next = organization.apply(&change.records);
        if let Some(acting) = &acting
            && need.action().is_some()
        {
            let catalog = current.catalog().catalog();
            let (records, grantor) = (&change.records, &acting.grantor);
            grant_rule::check(organization, &next, records, catalog, grantor, now)?;
        }
        let next = current.advance(next, &change.records)?;
        if request.validate_only {
            return Ok(Attempt::Done(Written {
                revision: current.revision(),
                outcome: change.outcome,
            }));
        }
        let expected = Some(organization.version);
        let identity = acting.as_ref().map(Identity::from).unwrap_or_default();
        let signature = Signature::of_request(request, identity);
        if change.records.is_empty() {
            return self.note(current, change, request, signature, now).await;
        }
        self.commit(next, expected, change, request, signature, now)
            .await
    }

    /// Answers a change that changes nothing: what it says happened is recorded, and
    /// the organization stays as it is.
    async fn note(
        &self,
        current: &Snapshot,
        change: Change,
        request: &Request,
        signature: Signature<'_>,
        now: Moment,
    ) -> Result<Attempt, Error> {
        let organization = current.organization();
        let written = Written {
            revision: current.revision(),
            outcome: change.outcome.clone(),
        };
        if change.events.is_empty() {
            return Ok(Attempt::Done(written));
        }
        let id = organization.id().clone();
        let progress = Arc::clone(&self.progress);
        let commit = Commit {
            organization: id.clone(),
            expected: Some(organization.version),
            version: organization.version,
            at: now,
            records: Vec::new(),
            events: history_events(&change, &signature),
            wake_at: None,
            idempotency: idempotency(&id, &change.outcome, request, now),
            on_commit: Box::new(move |sequence| progress.reached(sequence)),
        };
        match self.store.commit(commit).await {
            // As a repetition would be answered.
            Ok(sequence) => Ok(Attempt::Done(Written {
                revision: sequence.0,
                ..written
            })),
            Err(CommitError::Conflict) => Ok(Attempt::Again),
            Err(CommitError::AlreadyDone(remembered)) => {
                replay(*remembered, request).map(Attempt::Done)
            }
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// Commits a decided change and publishes the state that it leads to.
    pub(super) async fn commit_first(
        &self,
        first: Snapshot,
        change: Change,
        request: &Request,
        now: Moment,
    ) -> Result<Option<Written>, Error> {
        let signature = Signature::of_request(request, Identity::default());
        match self
            .commit(first, None, change, request, signature, now)
            .await?
        {
            Attempt::Done(written) => Ok(Some(written)),
            Attempt::Again => Ok(None),
        }
    }

    async fn commit(
        &self,
        next: Snapshot,
        expected: Option<Version>,
        change: Change,
        request: &Request,
        signature: Signature<'_>,
        now: Moment,
    ) -> Result<Attempt, Error> {
        let organization = next.organization();
        let id = organization.id().clone();
        let commit = Commit {
            organization: id.clone(),
            expected,
            version: organization.version,
            at: now,
            events: history_events(&change, &signature),
            wake_at: organization.deadlines.first().map(|(end, _)| *end),
            idempotency: idempotency(&id, &change.outcome, request, now),
            on_commit: self.publisher(next, expected, &change.records),
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

    /// Who an actor of an organization is, as far as that can be told.
    pub(super) async fn identity_in(&self, organization: &str, actor: &Actor) -> Identity {
        // Only what a token says is told by the organization.
        let snapshot = match actor {
            Actor::Token(_) => self.find(organization).await.ok(),
            Actor::Operator | Actor::Member(_) => None,
        };
        Identity::of(snapshot.as_deref(), actor)
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

pub(super) fn replay(remembered: Remembered, request: &Request) -> Result<Written, Error> {
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

pub(super) fn idempotency(
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

fn history_events(change: &Change, signature: &Signature<'_>) -> Vec<HistoryEvent> {
    let event = |event: &Event| {
        let details = event
            .details
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        HistoryEvent {
            action: event.action.to_owned(),
            target_kind: event.target.kind.clone(),
            target_id: event.target.id.clone(),
            refusal: event.refusal.unwrap_or_default().to_owned(),
            details: details.collect(),
            ..signed(signature)
        }
    };
    change.events.iter().map(event).collect()
}

/// Who made a request, as far as the history keeps it.
#[derive(Clone)]
pub(super) struct Signature<'a> {
    caller: &'a Caller,
    identity: Identity,
    method: &'static str,
    request_id: &'a str,
}

/// On whose behalf a request was made, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    actor: String,
    token: String,
}

impl From<&Acting> for Identity {
    fn from(acting: &Acting) -> Self {
        let token = acting.token.as_ref();
        Self {
            actor: acting.grantor.user.to_string(),
            token: token.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl Identity {
    /// Who an actor says to be, or who their token shows that they are, whether or
    /// not it counts.
    pub(super) fn of(snapshot: Option<&Snapshot>, actor: &Actor) -> Self {
        match actor {
            Actor::Operator => Self::default(),
            Actor::Member(user) => Self {
                actor: user.to_string(),
                token: String::new(),
            },
            Actor::Token(secret) => snapshot
                .and_then(|snapshot| secret.find_in(snapshot.organization()).ok())
                .map(|presented| Self {
                    actor: presented.token.subject.to_string(),
                    token: presented.token.id.to_string(),
                })
                .unwrap_or_default(),
        }
    }
}

impl<'a> Signature<'a> {
    /// Who asked for a change.
    pub(super) fn of_request(request: &'a Request, identity: Identity) -> Self {
        Self {
            caller: &request.caller,
            identity,
            method: request.method,
            request_id: &request.request_id,
        }
    }

    /// Who read something.
    pub(super) fn of_reader(caller: &'a Caller, identity: Identity, method: &'static str) -> Self {
        Self {
            caller,
            identity,
            method,
            request_id: "",
        }
    }
}

pub(super) fn signed(signature: &Signature<'_>) -> HistoryEvent {
    // An id that is none is not worth keeping.
    let request_id = if check_request_id(signature.request_id).is_ok() {
        signature.request_id
    } else {
        ""
    };
    HistoryEvent {
        caller: signature.caller.name.clone(),
        actor: signature.identity.actor.clone(),
        token: signature.identity.token.clone(),
        request_id: request_id.to_owned(),
        ..HistoryEvent::default()
    }
}

/// The event of a request that was refused for a reason.
pub(super) fn refused_event(
    organization: &str,
    need: Need<'_>,
    signature: Signature<'_>,
    reason: &str,
) -> HistoryEvent {
    let target = need.target(organization);
    let known = identifier_fault(&target.id).is_none();
    let permission = need.action().map(|action| ("permission", action));
    HistoryEvent {
        action: signature.method.to_owned(),
        target_kind: target.kind,
        target_id: if known { target.id } else { String::new() },
        refusal: reason.to_owned(),
        details: permission
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..signed(&signature)
    }
}

impl Application {
    /// What makes a commit visible once it is durable; `expected` is `None` where an
    /// organization is founded.
    fn publisher(
        &self,
        next: Snapshot,
        expected: Option<Version>,
        records: &[RecordChange],
    ) -> OnCommit {
        let registry = Arc::clone(&self.registry);
        let progress = Arc::clone(&self.progress);
        let outbox = Arc::clone(&self.outbox);
        let integrity = Arc::clone(&self.integrity);
        let fault = integrity.fault_after(&next, records);
        let deleted = records.contains(&RecordChange::DeleteOrganization);
        let is_news = |record: &&RecordChange| {
            matches!(
                record,
                RecordChange::PutNotification(_) | RecordChange::DeleteNotification(_)
            )
        };
        let notifications: Vec<RecordChange> = records.iter().filter(is_news).cloned().collect();
        Box::new(move |sequence| {
            let id = Organization::id(next.organization()).clone();
            if deleted {
                outbox.remove_all(&id);
                integrity.forget(&id);
                registry.forget(&id);
            } else {
                let next = Arc::new(next.at_revision(sequence.0));
                match expected {
                    Some(_) => registry.publish(&id, next),
                    None => registry.publish_first(&id, next),
                }
                integrity.note(&id, fault.as_deref());
                outbox.follow(&id, &notifications);
            }
            progress.reached(sequence);
        })
    }
}
