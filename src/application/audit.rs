//! The audit trail: read, added to by the host, and proved.
//!
//! Nothing here runs on the path of a check, and none of it may get in the way of
//! one. The store's port is synchronous, so reading happens on threads that may
//! block, only so much of it at a time, and a call looks at so many events and no
//! more. What was denied is recorded by [`view`](Application::view), like any
//! other denied reading.

use std::sync::Arc;
use std::time::Duration;

use super::actor::{Actor, Need};
use super::mutate::{Identity, Signature, check_request_id, idempotency, replay, signed};
use super::{Application, Error, Page, PageRequest, Reader, Request, Written};
use crate::domain::Refusal;
use crate::domain::audit::{Effect, HostEvent, check_host_events, effect_of};
use crate::domain::catalog::MEMBER_TYPE;
use crate::domain::change::Outcome;
use crate::domain::checks::Checks;
use crate::domain::identifiers::{OrganizationId, identifier_fault};
use crate::domain::organization::Moment;
use crate::domain::refusal::Fault;
use crate::store::{
    Commit, CommitError, EventEntry, EventSource, Head, HistoryEvent, ReadError, Sequence, Store,
};

/// The most events that one call looks at.
pub const MAX_SCANNED: usize = 100_000;
/// The most actions that a filter names.
pub const MAX_FILTERED_ACTIONS: usize = 100;
/// How many calls read at the same time; others wait for their turn.
pub(super) const MAX_READERS: usize = 4;
/// How many events are read at once.
const EVENTS_AT_ONCE: usize = 1_000;
/// How many commits are checked at once, between two looks at the time.
const COMMITS_AT_ONCE: usize = 256;
/// What Roster calls the effect among the facts of an event of the host.
const EFFECT: &str = "effect";

/// An event's place: its commit, and its number in there.
type Place = (Sequence, u32);

/// Whether something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was.
    Done,
    /// It was refused.
    Refused,
}

/// Which events are wanted; what is empty or absent does not narrow them down.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Who acts or is the target.
    pub member: String,
    /// Who acts.
    pub actor: String,
    /// What was done, one of these.
    pub actions: Vec<String>,
    /// What that does.
    pub effect: Option<Effect>,
    /// The kind of the target.
    pub target_kind: String,
    /// The target.
    pub target_id: String,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Whose event it is.
    pub source: Option<EventSource>,
    /// From when on.
    pub from: Option<Moment>,
    /// Until before when.
    pub until: Option<Moment>,
}

impl EventFilter {
    fn check(&self) -> Result<(), Refusal> {
        let mut checks = Checks::new();
        let texts = [
            ("member", &self.member),
            ("actor", &self.actor),
            ("target_type", &self.target_kind),
            ("target_id", &self.target_id),
        ];
        for (field, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            checks.identifier(field, text);
        }
        if self.actions.len() > MAX_FILTERED_ACTIONS {
            let given = self.actions.len();
            let message = format!("must be at most {MAX_FILTERED_ACTIONS}, not {given}");
            checks.fault("actions", Fault::TooMany, message);
        } else {
            for (index, action) in self.actions.iter().enumerate() {
                checks.identifier(&format!("actions[{index}]"), action);
            }
        }
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            checks.fault("until", Fault::Malformed, "must be later than `from`");
        }
        checks.finish()
    }

    /// The same text for the same filter, and another for another.
    fn shown(&self) -> String {
        format!("{self:?}")
    }

    fn admits(&self, entry: &EventEntry) -> bool {
        let event = &entry.event;
        let time = time_of(entry);
        let ending = if event.refusal.is_empty() {
            Ending::Done
        } else {
            Ending::Refused
        };
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        is(&self.actor, &event.actor)
            && is(&self.target_kind, &event.target_kind)
            && is(&self.target_id, &event.target_id)
            && (self.member.is_empty() || concerns(event, &self.member))
            && (self.actions.is_empty() || self.actions.contains(&event.action))
            && self.effect.is_none_or(|effect| effect == effect_on(event))
            && self.ending.is_none_or(|wanted| wanted == ending)
            && self.source.is_none_or(|source| source == event.source)
            && self.from.is_none_or(|from| time >= from)
            && self.until.is_none_or(|until| time < until)
    }
}

/// Whether a user acts in an event or is its target.
fn concerns(event: &HistoryEvent, user: &str) -> bool {
    let kind = event.target_kind.as_str();
    event.actor == user || ([MEMBER_TYPE, "User"].contains(&kind) && event.target_id == user)
}

/// When something happened.
pub fn time_of(entry: &EventEntry) -> Moment {
    entry.event.occurred_at.unwrap_or(entry.at)
}

/// What an event's action does.
pub fn effect_on(event: &HistoryEvent) -> Effect {
    match event.source {
        EventSource::Roster => effect_of(&event.action).unwrap_or(Effect::Other),
        EventSource::Host => {
            let said = event.details.first().map(|(_, value)| value.as_str());
            said.and_then(effect_named).unwrap_or(Effect::Other)
        }
    }
}

/// The further facts of an event.
pub fn facts_of(event: &HistoryEvent) -> &[(String, String)] {
    let facts = event.details.as_slice();
    match (event.source, facts.split_first()) {
        (EventSource::Host, Some(((name, _), rest))) if name == EFFECT => rest,
        _ => facts,
    }
}

fn name_of(effect: Effect) -> &'static str {
    match effect {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Deleted => "deleted",
        Effect::Other => "other",
    }
}

fn effect_named(name: &str) -> Option<Effect> {
    let all = [
        Effect::Created,
        Effect::Updated,
        Effect::Deleted,
        Effect::Other,
    ];
    all.into_iter().find(|effect| name_of(*effect) == name)
}

/// The id of an event.
pub fn event_id(entry: &EventEntry) -> String {
    id_of((entry.sequence, entry.index))
}

fn id_of((sequence, index): Place) -> String {
    format!("{}-{index}", sequence.0)
}

fn place_named(id: &str) -> Option<Place> {
    let (sequence, index) = id.split_once('-')?;
    let place = (Sequence(sequence.parse().ok()?), index.parse().ok()?);
    // One event has one id, and not another with a zero before it.
    (id_of(place) == id).then_some(place)
}

/// What a reader may see.
struct Sight {
    organization: OrganizationId,
    /// When the organization was founded, for a reader who may not see what an
    /// earlier one of the same id left behind.
    since: Option<Moment>,
    /// The position that is read from at least.
    revision: u64,
}

impl Sight {
    fn shows(&self, entry: &EventEntry) -> bool {
        self.since.is_none_or(|since| entry.at >= since)
    }
}

/// Where a check of the history ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last commit that was checked.
    pub head: Head,
    /// Whether it is the last there was when the check began.
    pub complete: bool,
}

impl Application {
    /// A page of events, the newest first, and the position it was read from.
    pub async fn list_events(
        &self,
        organization: &str,
        filter: Result<EventFilter, Refusal>,
        (size, token): (u32, &str),
        reader: &Reader,
        at_least: &str,
    ) -> Result<(Page<EventEntry>, u64), Error> {
        let sight = self.sight(organization, reader, at_least).await?;
        let filter = filter?;
        filter.check()?;
        let paging = PageRequest::parse(size, token, &["events", organization, &filter.shown()])?;
        let before = place_named(&paging.after);
        let revision = sight.revision;
        let size = paging.size;
        let (items, more) = self
            .read_events(move |store| scan(store, &sight, &filter, before, size))
            .await?;
        let next_page_token = more.map(|last| paging.token(&id_of(last)));
        let page = Page {
            items,
            next_page_token: next_page_token.unwrap_or_default(),
        };
        Ok((page, revision))
    }

    /// One event, and the position it was read from.
    pub async fn get_event(
        &self,
        organization: &str,
        event: &str,
        reader: &Reader,
        at_least: &str,
    ) -> Result<(EventEntry, u64), Error> {
        let sight = self.sight(organization, reader, at_least).await?;
        let revision = sight.revision;
        let mut checks = Checks::new();
        checks.identifier("event", event);
        checks.finish()?;
        let found = match place_named(event) {
            None => None,
            Some(place) => {
                self.read_events(move |store| {
                    let found = store.events(&sight.organization, Some(after(place)), 1)?;
                    Ok(found
                        .into_iter()
                        .find(|entry| (entry.sequence, entry.index) == place && sight.shows(entry)))
                })
                .await?
            }
        };
        let absent = || Refusal::NotFound {
            kind: "event",
            id: event.to_owned(),
        };
        Ok((found.ok_or_else(absent)?, revision))
    }

    /// Takes in what the host says happened; the outcome counts the events.
    pub async fn append_events(
        &self,
        organization: &str,
        events: &Result<Vec<HostEvent>, Refusal>,
        request: &Request,
    ) -> Result<Written, Error> {
        let now = self.world.now();
        let tried = self.try_append(organization, events, request, now).await;
        self.record_refusal(organization, Need::Operator, request, &tried, now)
            .await;
        tried
    }

    async fn try_append(
        &self,
        organization: &str,
        events: &Result<Vec<HostEvent>, Refusal>,
        request: &Request,
        now: Moment,
    ) -> Result<Written, Error> {
        check_request_id(&request.request_id)?;
        let version = match self.find(organization).await {
            Ok(snapshot) => snapshot.organization().version,
            Err(error) if error.is_unknown_organization() || organization.is_empty() => {
                return self.answer_for_the_absent(organization, request, now);
            }
            Err(error) => return Err(error),
        };
        let id = OrganizationId::new(organization);
        if let Some(written) = self.recall(&id, request, now)? {
            return Ok(written);
        }
        if request.caller.actor != Actor::Operator {
            return Err(Refusal::OperatorOnly(request.method).into());
        }
        let events = events.as_ref().map_err(Clone::clone)?;
        check_host_events(events, now)?;
        let outcome = Outcome::Count(events.len() as u64);
        if request.validate_only {
            return Ok(Written {
                revision: self.published(),
                outcome,
            });
        }
        let progress = Arc::clone(&self.progress);
        let commit = Commit {
            organization: id.clone(),
            expected: Some(version),
            version,
            at: now,
            records: Vec::new(),
            events: events.iter().map(|event| kept(event, request)).collect(),
            wake_at: None,
            idempotency: idempotency(&id, &outcome, request, now),
            on_commit: Box::new(move |sequence| progress.reached(sequence)),
        };
        match self.store.commit(commit).await {
            Ok(sequence) => Ok(Written {
                revision: sequence.0,
                outcome,
            }),
            Err(CommitError::AlreadyDone(remembered)) => replay(*remembered, request),
            Err(error) => Err(Error::Commit(error)),
        }
    }

    /// Checks the history after `after` against what it is kept as, for as long as
    /// `bound`. What was checked before is to be handed in again.
    pub async fn verify_history(
        &self,
        after: Result<Head, Refusal>,
        bound: Duration,
        reader: &Reader,
        at_least: &str,
    ) -> Result<Verified, Error> {
        reader.must_be_operator()?;
        let mut head = after?;
        self.reach(at_least, reader.patience).await?;
        let end = self.store.head().sequence;
        let whole = async {
            loop {
                head = self.verify_some(head).await?;
                if head.sequence >= end {
                    return Ok::<(), Error>(());
                }
            }
        };
        let complete = match tokio::time::timeout(bound, whole).await {
            Ok(checked) => checked.map(|()| true)?,
            Err(_) => false,
        };
        Ok(Verified { head, complete })
    }

    async fn verify_some(&self, head: Head) -> Result<Head, Error> {
        self.read_blocking(move |store| {
            let damaged = match store.verify(head, COMMITS_AT_ONCE) {
                Err(ReadError::Damaged(what)) => what,
                other => return Ok(other?),
            };
            // Somewhere in there: step by step to the last commit that is whole.
            let mut last = head;
            while let Ok(next) = store.verify(last, 1)
                && next.sequence > last.sequence
            {
                last = next;
            }
            Err(Error::HistoryDamaged {
                after: last.sequence.0,
                what: damaged,
            })
        })
        .await
    }

    /// What the reader may see of the organization's events.
    async fn sight(
        &self,
        organization: &str,
        reader: &Reader,
        at_least: &str,
    ) -> Result<Sight, Error> {
        self.reach(at_least, reader.patience).await?;
        let revision = self.published();
        let is_operator = reader.caller.actor == Actor::Operator;
        // An operator reads what was of an organization that is not served any more.
        if is_operator && self.find(organization).await.is_err() {
            return self.sight_of_the_deleted(organization, revision).await;
        }
        let need = Need::Organization("ReadAuditLog");
        let snapshot = self.view(organization, need, reader, "").await?;
        let founded_at = snapshot.organization().profile.created_at;
        Ok(Sight {
            organization: OrganizationId::new(organization),
            since: (!is_operator).then_some(founded_at),
            revision,
        })
    }

    async fn sight_of_the_deleted(
        &self,
        organization: &str,
        revision: u64,
    ) -> Result<Sight, Error> {
        if organization.is_empty() || identifier_fault(organization).is_some() {
            self.find(organization).await?;
            return Err(Error::unknown_organization(organization));
        }
        let id = OrganizationId::new(organization);
        let asked = id.clone();
        let left = self
            .read_events(move |store| store.events(&asked, None, 1))
            .await?;
        if left.is_empty() {
            return Err(Error::unknown_organization(organization));
        }
        Ok(Sight {
            organization: id,
            since: None,
            revision,
        })
    }

    async fn read_events<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        self.read_blocking(move |store| Ok(read(store)?)).await
    }

    /// Reads from the store on a thread that may block, when it is this reader's turn.
    async fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let failed = |why: &str| Error::Read(ReadError::Unavailable(why.to_owned()));
        let turn = Arc::clone(&self.auditing).acquire_owned().await;
        let turn = turn.map_err(|_| failed("nobody reads the history any more"))?;
        let store = Arc::clone(&self.store);
        let reading = tokio::task::spawn_blocking(move || {
            // Kept until the reading ends, even if nobody waits for it any more.
            let _turn = turn;
            read(&*store)
        });
        reading
            .await
            .unwrap_or_else(|_| Err(failed("reading the history failed")))
    }
}

/// The place directly after that one.
fn after((sequence, index): Place) -> Place {
    match index.checked_add(1) {
        Some(next) => (sequence, next),
        None => (Sequence(sequence.0.saturating_add(1)), 0),
    }
}

/// At most `size` events before `before`, the newest first, and where the next page
/// begins unless there is nothing left to look at.
fn scan(
    store: &dyn Store,
    sight: &Sight,
    filter: &EventFilter,
    mut before: Option<Place>,
    size: usize,
) -> Result<(Vec<EventEntry>, Option<Place>), ReadError> {
    let mut found = Vec::new();
    let mut scanned = 0;
    let mut limit = size.saturating_add(1).min(EVENTS_AT_ONCE);
    while scanned < MAX_SCANNED {
        limit = limit.min(MAX_SCANNED - scanned);
        let entries = store.events(&sight.organization, before, limit)?;
        let is_last = entries.len() < limit;
        for entry in entries {
            if found.len() == size {
                return Ok((found, before));
            }
            scanned += 1;
            before = Some((entry.sequence, entry.index));
            let is_founding = sight.since.is_some() && founds(&entry.event);
            if sight.shows(&entry) && filter.admits(&entry) {
                found.push(entry);
            }
            if is_founding {
                return Ok((found, None));
            }
        }
        if is_last {
            return Ok((found, None));
        }
        limit = EVENTS_AT_ONCE;
    }
    Ok((found, before))
}

/// Whether an organization begins with that event.
fn founds(event: &HistoryEvent) -> bool {
    event.source == EventSource::Roster
        && event.action == "CreateOrganization"
        && event.refusal.is_empty()
}

/// An event of the host as the history keeps it.
fn kept(event: &HostEvent, request: &Request) -> HistoryEvent {
    let effect = (EFFECT.to_owned(), name_of(event.effect).to_owned());
    // An operator appends; who acted is what the host says.
    let nobody = Identity::default();
    HistoryEvent {
        source: EventSource::Host,
        action: event.action.clone(),
        target_kind: event.target_kind.clone(),
        target_id: event.target_id.clone(),
        actor: event.actor.clone(),
        occurred_at: event.time,
        details: std::iter::once(effect)
            .chain(event.facts.iter().cloned())
            .collect(),
        ..signed(&Signature::of_request(request, nobody))
    }
}
