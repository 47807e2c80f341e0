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

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use super::expiry::SYSTEM;
use super::mutate::{Identity, Signature, check_request_id, idempotency, replay, signed};
use super::permits::{Bounds, Generation, OPERATOR, Permit, Scope, Scopes};
use super::tokens::{checksum, random_text};
use super::{Actor, Application, Error, Page, PageRequest, Reader, Request, Secret};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::checks::Checks;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Version};
use crate::domain::period::earlier;
use crate::domain::refusal::Fault;
use crate::store::{
    Commit, CommitError, EventEntry, EventSource, HistoryEvent, ReadError, Sequence, Store,
};
use crate::world::{World, draw_id};

/// Under which organization the history of keys is kept. A space is in no identifier.
const PLACE: &str = "roster caller keys";
/// What a secret begins with: what scanners look for.
const PREFIX: &str = "roster_caller_";
/// How the id of a key begins.
const KIND: &str = "key";
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

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey {
    /// Its id.
    pub id: String,
    /// The caller's name.
    pub name: String,
    /// What the caller may call.
    pub scopes: Scopes,
    /// What it is bound to.
    pub bounds: Option<Bounds>,
    /// When it was created.
    pub created_at: Moment,
    /// By which caller.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Option<Moment>,
    /// When it was revoked, and by which caller.
    pub revoked: Option<(Moment, String)>,
    /// Its secrets, the newest last; at most two.
    pub secrets: Vec<KeySecret>,
    /// The position of its last change; 0 for what was only validated.
    pub changed: u64,
}

/// What is kept of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    digest: [u8; 32],
    /// When it was made.
    pub created_at: Moment,
    /// When it ends because another followed it.
    pub ends_at: Option<Moment>,
}

impl CallerKey {
    /// Changes with each change of the key.
    pub fn etag(&self) -> String {
        match self.changed {
            0 => String::new(),
            changed => format!("{changed:x}"),
        }
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Moment) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    fn must_be(&self, given_etag: &str) -> Result<(), Refusal> {
        if given_etag.is_empty() || given_etag == self.etag() {
            return Ok(());
        }
        Err(Refusal::StaleEtag {
            kind: "caller key",
            id: self.id.clone(),
            given: given_etag.chars().take(64).collect(),
        })
    }

    fn permit(&self, digest: &[u8; 32], now: Moment) -> Option<Permit> {
        // Every one is compared, so that nothing shows which came close.
        let mut found = None;
        for secret in &self.secrets {
            if bool::from(secret.digest.ct_eq(digest)) {
                found = Some(secret);
            }
        }
        let until = earlier(self.expires_at, found?.ends_at);
        let permit = Permit {
            name: self.name.clone(),
            scopes: self.scopes,
            bounds: self.bounds.clone(),
            until,
        };
        (self.revoked.is_none() && permit.counts(|| now)).then_some(permit)
    }
}

/// Every key there is, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBook(BTreeMap<String, Arc<CallerKey>>);

impl KeyBook {
    /// The key of that id.
    fn find(&self, id: &str) -> Result<&Arc<CallerKey>, Refusal> {
        self.0.get(id).ok_or_else(|| Refusal::NotFound {
            kind: "caller key",
            id: id
                .chars()
                .take(128)
                .flat_map(char::escape_default)
                .collect(),
        })
    }

    /// What whoever presents that text may do.
    pub fn recognise(&self, presented: &str, now: Moment) -> Option<Permit> {
        let id = id_in(presented)?;
        let digest = Secret::presented(presented).digest();
        self.0.get(&id)?.permit(&digest, now)
    }

    /// Follows what the history says of a key; what was refused says nothing.
    fn follow(&mut self, entry: &EventEntry) {
        let event = &entry.event;
        if !event.refusal.is_empty() || event.source != EventSource::Roster {
            return;
        }
        let id = event.target_id.clone();
        if event.action == "CreateCallerKey" {
            let key = facts::key(entry);
            self.0.insert(id, Arc::new(key));
            return;
        }
        let Some(key) = self.0.get_mut(&id).map(Arc::make_mut) else {
            return;
        };
        key.changed = entry.sequence.0;
        match event.action.as_str() {
            "RotateCallerKey" => {
                let end = facts::overlap(event).map(|overlap| Moment(entry.at.0 + overlap));
                let before = key.secrets.pop().map(|before| KeySecret {
                    ends_at: earlier(before.ends_at, end),
                    ..before
                });
                let next = facts::secret(entry);
                key.secrets = before.into_iter().chain(next).collect();
            }
            "RevokeCallerKey" => key.revoked = Some((entry.at, event.caller.clone())),
            _ => {}
        }
    }
}

/// The id of the key that a text says to be a secret of.
fn id_in(presented: &str) -> Option<String> {
    let rest = presented.strip_prefix(PREFIX)?;
    let (body, sum) = presented.split_at_checked(presented.len().checked_sub(4)?)?;
    if presented.len() > 256 || checksum(body) != sum {
        return None;
    }
    let (id, _) = rest.split_once('_')?;
    Some(format!("{KIND}-{id}"))
}

/// A new secret for a key.
fn draw_secret(world: &dyn World, id: &str) -> Secret {
    let id = id.strip_prefix("key-").unwrap_or(id);
    let body = format!("{PREFIX}{id}_{}", random_text(world));
    Secret::presented(&format!("{body}{}", checksum(&body)))
}

/// The keys in use.
#[derive(Debug, Default)]
pub struct CallerKeys {
    book: ArcSwap<KeyBook>,
    generation: Generation,
    /// Held by whoever changes a key, so that what was decided on is still so.
    writing: Mutex<()>,
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

    /// Reads the keys from the history. Before that there are none.
    pub async fn load_caller_keys(&self) -> Result<(), Error> {
        let book = self.ask_store(|store| book_at(store, None)).await?;
        self.caller_keys.put(book);
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
        if request.caller.actor != Actor::Operator {
            return Err(Refusal::OperatorOnly(request.method).into());
        }
        check_request_id(&request.request_id)?;
        let now = self.world.now();
        let place = OrganizationId::new(PLACE);
        let _turn = self.caller_keys.writing.lock().await;
        if let Some(before) = self.recall(&place, request, now)? {
            return self.key_as_of(before.revision).await;
        }
        let book = self.caller_keys.book();
        let signature = Signature::of_request(request, Identity::default());
        let event = HistoryEvent {
            action: request.method.to_owned(),
            target_kind: TARGET.to_owned(),
            target_id: id.to_owned(),
            ..signed(&signature)
        };
        let details = match decide(&book, now) {
            Ok(details) => details,
            Err(refusal) => {
                self.record_refused_key(event, &refusal, request, now).await;
                return Err(refusal.into());
            }
        };
        let entry = EventEntry {
            sequence: Sequence(0),
            index: 0,
            at: now,
            event: HistoryEvent { details, ..event },
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
    async fn record_refused_key(
        &self,
        event: HistoryEvent,
        refusal: &Refusal,
        request: &Request,
        now: Moment,
    ) {
        if request.validate_only {
            return;
        }
        let known = self.caller_keys.book().0.contains_key(&event.target_id);
        let event = HistoryEvent {
            target_id: if known {
                event.target_id
            } else {
                String::new()
            },
            refusal: refusal.reason().to_owned(),
            ..event
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

impl WrittenKey {
    /// With its new secret, if it is what this key got: not that of an earlier request,
    /// which is told again without it, nor that of a validation.
    fn with(mut self, secret: Secret) -> Self {
        let newest = self.key.secrets.last().map(|newest| newest.digest);
        if newest == Some(secret.digest()) && self.key.changed == self.revision {
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

/// How the facts of a key are written into events and read from them.
mod facts {
    use super::{
        Bounds, CallerKey, EventEntry, HistoryEvent, KeySecret, Moment, NewKey, Scope, Scopes,
        Secret,
    };

    const NAME: &str = "name";
    const SCOPE: &str = "scope";
    const ORGANIZATION: &str = "organization";
    const EXPIRES: &str = "expires_at_milliseconds";
    const DIGEST: &str = "secret_sha256";
    const OVERLAP: &str = "overlap_milliseconds";

    pub(super) fn of_a_new(new: &NewKey, secret: &Secret) -> Vec<(String, String)> {
        let mut facts = vec![(NAME.to_owned(), new.name.clone())];
        let scopes = new.scopes.iter().map(Scope::name);
        facts.extend(scopes.map(|scope| (SCOPE.to_owned(), scope.to_owned())));
        let organizations = new.organizations.iter();
        facts.extend(organizations.map(|id| (ORGANIZATION.to_owned(), id.clone())));
        let end = new.expires_at.map(|end| end.0.to_string());
        facts.extend(end.map(|end| (EXPIRES.to_owned(), end)));
        facts.push((DIGEST.to_owned(), hex(&secret.digest())));
        facts
    }

    pub(super) fn of_a_rotation(overlap: i64, secret: &Secret) -> Vec<(String, String)> {
        vec![
            (OVERLAP.to_owned(), overlap.to_string()),
            (DIGEST.to_owned(), hex(&secret.digest())),
        ]
    }

    pub(super) fn key(entry: &EventEntry) -> CallerKey {
        let event = &entry.event;
        let first = |name| all(event, name).next();
        CallerKey {
            id: event.target_id.clone(),
            name: first(NAME).unwrap_or_default().to_owned(),
            scopes: all(event, SCOPE)
                .filter_map(Scope::named)
                .collect::<Scopes>(),
            bounds: Bounds::to(all(event, ORGANIZATION).map(str::to_owned)),
            created_at: entry.at,
            created_by: event.caller.clone(),
            expires_at: first(EXPIRES).and_then(|end| end.parse().ok()).map(Moment),
            revoked: None,
            secrets: secret(entry).into_iter().collect(),
            changed: entry.sequence.0,
        }
    }

    pub(super) fn secret(entry: &EventEntry) -> Option<KeySecret> {
        Some(KeySecret {
            digest: digest(all(&entry.event, DIGEST).next()?)?,
            created_at: entry.at,
            ends_at: None,
        })
    }

    pub(super) fn overlap(event: &HistoryEvent) -> Option<i64> {
        all(event, OVERLAP).next()?.parse().ok()
    }

    fn all<'a>(event: &'a HistoryEvent, name: &'a str) -> impl Iterator<Item = &'a str> {
        let facts = event.details.iter();
        facts
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn digest(hex: &str) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(bytes)
    }
}
