//! The keys by which callers are recognised: made, given new secrets, revoked, and kept.
//!
//! Keys belong to no organization, and there are few of them. What is stored of them are
//! the events of their history alone, under an id that is none (so that no request can
//! name it); from those events the daemon makes its [`KeyBook`] anew at each start. So
//! there is no key without its event, nothing that could differ from the history, and
//! whatever proves, replays or copies the history does so for keys as well.
//!
//! The book is changed where a commit is published, before it is answered, and moves the
//! [`Generation`] on: a revoked key is refused at the next request, wherever it was
//! remembered.

mod book;
mod facts;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::expiry::SYSTEM;
use super::mutate::{Identity, Signature, check_request_id, idempotency, replay, signed};
use super::permits::{Generation, OPERATOR, Permit, Scopes};
use super::{Actor, Application, Error, Page, PageRequest, Reader, Request, Secret};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::checks::Checks;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Version};
use crate::domain::refusal::Fault;
use crate::store::CALLER_KEYS as PLACE;
use crate::store::{Commit, CommitError, EventEntry, HistoryEvent, ReadError, Sequence, Store};
use crate::world::draw_id;

pub use self::book::{CallerKey, KeyBook, KeySecret};
use self::book::{KIND, draw_secret};

/// What the history calls a key.
const TARGET: &str = "CallerKey";
/// How many events are read at once.
const EVENTS_AT_ONCE: usize = 1_000;
/// The most keys, those that ended included.
const MAX_KEYS: usize = 10_000;
/// The most organizations that a key is bound to.
const MAX_BOUNDS: usize = 100;
/// The longest time, in milliseconds, that a secret works besides its successor.
const MAX_OVERLAP: i64 = 30 * 24 * 60 * 60 * 1_000;

/// The keys in use.
#[derive(Debug, Default)]
pub struct CallerKeys {
    book: ArcSwap<KeyBook>,
    generation: Generation,
    /// Held by whoever changes a key, so that what was decided on is still so; tells whether
    /// the history was read.
    writing: Mutex<bool>,
}

impl CallerKeys {
    /// Every key, as it is.
    pub fn book(&self) -> Arc<KeyBook> {
        self.book.load_full()
    }

    /// What whoever presents that text may do.
    pub fn recognise(&self, presented: &str, now: Moment) -> Option<Permit> {
        self.book.load().recognise(presented, now)
    }

    /// What tells that callers may do something else than before; of whatever kind they
    /// are.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    fn put(&self, book: KeyBook) {
        self.book.store(Arc::new(book));
        self.generation.advance();
    }

    /// Called in the order of the history, by one at a time.
    fn follow(&self, entry: &EventEntry) {
        let mut book = KeyBook::clone(&self.book.load());
        book.follow(entry);
        self.put(book);
    }
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The caller's name.
    pub name: String,
    /// What the caller may call.
    pub scopes: Scopes,
    /// What it is to be bound to; empty for nothing.
    pub organizations: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Moment>,
}

impl NewKey {
    fn check(&self, now: Moment) -> Result<(), Refusal> {
        let mut checks = Checks::new();
        checks.identifier("name", &self.name);
        if is_reserved(&self.name) {
            let message = format!("`{}` is the daemon's own name; take another", self.name);
            checks.fault("name", Fault::ReservedName, message);
        }
        if self.scopes.is_empty() {
            let message = "must name at least one of check, manage and operate";
            checks.fault("scopes", Fault::Missing, message);
        }
        if self.organizations.len() > MAX_BOUNDS {
            let given = self.organizations.len();
            let message = format!("must be at most {MAX_BOUNDS}, not {given}");
            checks.fault("organizations", Fault::TooMany, message);
        } else {
            for (index, organization) in self.organizations.iter().enumerate() {
                checks.identifier(&format!("organizations[{index}]"), organization);
            }
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            checks.fault("expire_time", Fault::Malformed, "must be in the future");
        }
        checks.finish()
    }
}

/// Whether a name is one that the daemon itself has in the history.
pub fn is_reserved(name: &str) -> bool {
    [OPERATOR, SYSTEM].contains(&name)
}

/// A key after a change.
#[derive(Clone, Debug)]
pub struct WrittenKey {
    /// The key.
    pub key: Arc<CallerKey>,
    /// The position of the commit; of a validation, the present one.
    pub revision: u64,
    /// Its new secret, if it got one.
    pub secret: Option<Secret>,
}

impl Application {
    /// The keys in use.
    pub fn caller_keys(&self) -> &Arc<CallerKeys> {
        &self.caller_keys
    }

    /// Reads the keys from the history, once. Before that there are none.
    pub async fn load_caller_keys(&self) -> Result<(), Error> {
        let mut is_read = self.caller_keys.writing.lock().await;
        if !*is_read {
            let book = self.ask_store(|store| book_at(store, None)).await?;
            self.caller_keys.put(book);
            *is_read = true;
        }
        Ok(())
    }

    /// Creates a key.
    pub async fn create_caller_key(
        &self,
        new: Result<NewKey, Refusal>,
        request: &Request,
    ) -> Result<WrittenKey, Error> {
        let id = draw_id(&*self.world, KIND);
        let secret = draw_secret(&*self.world, &id);
        let decide = |book: &KeyBook, now| {
            let new = new?;
            new.check(now)?;
            if book.0.len() >= MAX_KEYS {
                return Err(Refusal::LimitReached {
                    what: "caller keys",
                    limit: MAX_KEYS,
                });
            }
            Ok(facts::of_a_new(&new, &secret))
        };
        let written = self.change_key(&id, request, decide).await?;
        Ok(written.with(secret))
    }

    /// Gives a key a new secret; the one before works for that many milliseconds more.
    pub async fn rotate_caller_key(
        &self,
        id: &str,
        overlap: i64,
        etag: &str,
        request: &Request,
    ) -> Result<WrittenKey, Error> {
        let secret = draw_secret(&*self.world, id);
        let decide = |book: &KeyBook, now| {
            if !(0..=MAX_OVERLAP).contains(&overlap) {
                let mut checks = Checks::new();
                let message = "must be at least nothing and at most 30 days";
                checks.fault("overlap", Fault::Malformed, message);
                checks.finish()?;
            }
            let key = book.find(id)?;
            key.must_be(etag)?;
            must_count(key, now)?;
            Ok(facts::of_a_rotation(overlap, &secret))
        };
        let written = self.change_key(id, request, decide).await?;
        Ok(written.with(secret))
    }

    /// Ends a key.
    pub async fn revoke_caller_key(
        &self,
        id: &str,
        etag: &str,
        request: &Request,
    ) -> Result<WrittenKey, Error> {
        let decide = |book: &KeyBook, _| {
            let key = book.find(id)?;
            key.must_be(etag)?;
            if key.revoked.is_some() {
                return Err(dead(key, "revoked", "there is nothing to do"));
            }
            Ok(Vec::new())
        };
        self.change_key(id, request, decide).await
    }

    /// A page of the keys, and the position it was read at.
    pub async fn list_caller_keys(
        &self,
        (size, token): (u32, &str),
        reader: &Reader,
        at_least: &str,
    ) -> Result<(Page<Arc<CallerKey>>, u64), Error> {
        reader.must_be_operator()?;
        self.reach(at_least, reader.patience).await?;
        let request = PageRequest::parse(size, token, &["caller keys"])?;
        let revision = self.published();
        let book = self.caller_keys.book();
        let keys = book.0.values().filter(|key| key.id > request.after);
        let page = request.take(keys.cloned(), |key| key.id.clone());
        Ok((page, revision))
    }

    async fn change_key(
        &self,
        id: &str,
        request: &Request,
        decide: impl FnOnce(&KeyBook, Moment) -> Result<Vec<(String, String)>, Refusal>,
    ) -> Result<WrittenKey, Error> {
        let now = self.world.now();
        let tried = self.try_change_key(id, request, now, decide).await;
        if let Err(error) = &tried
            && let Some(reason) = error.refusal()
            && !request.validate_only
        {
            self.record_refused_key(id, reason, request, now).await;
        }
        tried
    }

    async fn try_change_key(
        &self,
        id: &str,
        request: &Request,
        now: Moment,
        decide: impl FnOnce(&KeyBook, Moment) -> Result<Vec<(String, String)>, Refusal>,
    ) -> Result<WrittenKey, Error> {
        if request.caller.actor != Actor::Operator {
            return Err(Refusal::OperatorOnly(request.method).into());
        }
        check_request_id(&request.request_id)?;
        let place = OrganizationId::new(PLACE);
        let _turn = self.caller_keys.writing.lock().await;
        if let Some(before) = self.recall(&place, request, now)? {
            return self.key_as_of(before.revision).await;
        }
        let book = self.caller_keys.book();
        let entry = EventEntry {
            sequence: Sequence(0),
            index: 0,
            at: now,
            event: HistoryEvent {
                details: decide(&book, now)?,
                ..event_of(id, request)
            },
        };
        if request.validate_only {
            let mut book = KeyBook::clone(&book);
            book.follow(&entry);
            return Ok(WrittenKey {
                key: Arc::clone(book.find(id)?),
                revision: self.published(),
                secret: None,
            });
        }
        let keys = Arc::clone(&self.caller_keys);
        let progress = Arc::clone(&self.progress);
        let event = entry.event.clone();
        let commit = Commit {
            idempotency: idempotency(&place, &Outcome::Nothing, request, now),
            on_commit: Box::new(move |sequence| {
                keys.follow(&EventEntry { sequence, ..entry });
                progress.reached(sequence);
            }),
            ..events_alone(place, vec![event], now)
        };
        match self.store.commit(commit).await {
            Ok(sequence) => Ok(WrittenKey {
                key: Arc::clone(self.caller_keys.book().find(id)?),
                revision: sequence.0,
                secret: None,
            }),
            Err(CommitError::AlreadyDone(before)) => {
                self.key_as_of(replay(*before, request)?.revision).await
            }
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// The key that a commit was about, as it was then.
    async fn key_as_of(&self, revision: u64) -> Result<WrittenKey, Error> {
        let place = OrganizationId::new(PLACE);
        let (book, id) = self
            .ask_store(move |store| {
                let book = book_at(store, Some(Sequence(revision)))?;
                let next = Some((Sequence(revision.saturating_add(1)), 0));
                let events = store.events(&place, next, 1)?;
                let id = events.into_iter().next().map(|entry| entry.event.target_id);
                Ok((book, id.unwrap_or_default()))
            })
            .await?;
        Ok(WrittenKey {
            key: Arc::clone(book.find(&id)?),
            revision,
            secret: None,
        })
    }

    /// That it could not be stored is no reason to answer differently; it is logged.
    async fn record_refused_key(&self, id: &str, reason: &str, request: &Request, now: Moment) {
        // An id that is none is not worth keeping, nor is that of a key that was not made.
        let known = self.caller_keys.book().find(id).is_ok();
        let event = HistoryEvent {
            refusal: reason.to_owned(),
            ..event_of(if known { id } else { "" }, request)
        };
        let progress = Arc::clone(&self.progress);
        let commit = Commit {
            on_commit: Box::new(move |sequence| progress.reached(sequence)),
            ..events_alone(OrganizationId::new(PLACE), vec![event], now)
        };
        if let Err(error) = self.store.commit(commit).await {
            tracing::error!(%error, "the refusal of a caller key could not be recorded");
        }
    }
}

/// What the history says of a request about a key.
fn event_of(id: &str, request: &Request) -> HistoryEvent {
    let identity = Identity::of(None, &request.caller.actor);
    HistoryEvent {
        action: request.method.to_owned(),
        target_kind: TARGET.to_owned(),
        target_id: id.to_owned(),
        ..signed(&Signature::of_request(request, identity))
    }
}

impl WrittenKey {
    /// With its new secret, if it is what this key got: not that of an earlier request,
    /// which is told again without it, nor that of a validation.
    fn with(mut self, secret: Secret) -> Self {
        let newest = self.key.secrets.last().map(|newest| newest.digest);
        let is_stored = self.key.changed != 0 && self.key.changed == self.revision;
        if newest == Some(secret.digest()) && is_stored {
            self.secret = Some(secret);
        }
        self
    }
}

fn events_alone(place: OrganizationId, events: Vec<HistoryEvent>, at: Moment) -> Commit {
    Commit {
        organization: place,
        expected: None,
        version: Version(0),
        at,
        records: Vec::new(),
        events,
        wake_at: None,
        idempotency: None,
        on_commit: Box::new(|_| {}),
    }
}

/// The book as the history makes it, up to a position or to its end.
fn book_at(store: &dyn Store, until: Option<Sequence>) -> Result<KeyBook, ReadError> {
    let place = OrganizationId::new(PLACE);
    let mut entries: Vec<EventEntry> = Vec::new();
    let mut before = until.map(|until| (Sequence(until.0.saturating_add(1)), 0));
    loop {
        let read = store.events(&place, before, EVENTS_AT_ONCE)?;
        let Some(last) = read.last() else { break };
        before = Some((last.sequence, last.index));
        entries.extend(read);
    }
    let mut book = KeyBook::default();
    for entry in entries.iter().rev() {
        book.follow(entry);
    }
    Ok(book)
}

fn must_count(key: &CallerKey, now: Moment) -> Result<(), Refusal> {
    if key.revoked.is_some() {
        return Err(dead(key, "revoked", "create another one"));
    }
    if key.has_expired(now) {
        return Err(dead(key, "expired", "create another one"));
    }
    Ok(())
}

fn dead(key: &CallerKey, status: &'static str, advice: &'static str) -> Refusal {
    Refusal::TokenStatus {
        token: key.id.clone(),
        status,
        advice,
    }
}
