//! `AuditService`: the history of an organization read, added to and proved.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::Application;
use crate::application::audit::{Ending, EventFilter, effect_on, event_id, facts_of, time_of};
use crate::application::revision::token;
use crate::domain::Refusal;
use crate::domain::audit::{Effect, HostEvent, MAX_APPENDED};
use crate::domain::change::Outcome;
use crate::domain::refusal::{Fault, Violation, keep_violation};
use crate::proto::v1;
use crate::proto::v1::audit_service_server::AuditService;
use crate::store::{EventEntry, EventSource, Head, Sequence};

/// Serves the audit trail.
pub struct AuditRpc {
    application: Arc<Application>,
}

impl AuditRpc {
    /// Serves the audit trail of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

#[tonic::async_trait]
impl AuditService for AuditRpc {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let paging = (message.page_size, message.page_token.as_str());
        let (page, revision) = self
            .application
            .list_events(
                &message.organization,
                filter(&message),
                paging,
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::ListEventsResponse {
            events: page.items.iter().map(event).collect(),
            revision: token(revision),
            next_page_token: page.next_page_token,
        }))
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::GetEventResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let (found, revision) = self
            .application
            .get_event(
                &message.organization,
                &message.event,
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::GetEventResponse {
            event: Some(event(&found)),
            revision: token(revision),
        }))
    }

    async fn append_events(
        &self,
        request: Request<v1::AppendEventsRequest>,
    ) -> Result<Response<v1::AppendEventsResponse>, Status> {
        let (message, common) = accept(request)?;
        let events = host_events(message.events);
        let written = self
            .application
            .append_events(&message.organization, &events, &common)
            .await
            .map_err(status::of)?;
        match written.outcome {
            Outcome::Count(count) => Ok(Response::new(v1::AppendEventsResponse {
                count,
                revision: token(written.revision),
            })),
            other => Err(status::of(to_proto::unexpected(&other))),
        }
    }

    async fn verify_history(
        &self,
        request: Request<v1::VerifyHistoryRequest>,
    ) -> Result<Response<v1::VerifyHistoryResponse>, Status> {
        let reader = reader(&request)?;
        let bound = from_proto::time_to_verify(request.metadata());
        let message = request.into_inner();
        let verified = self
            .application
            .verify_history(known(&message), bound, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        let Head { sequence, chain } = verified.head;
        Ok(Response::new(v1::VerifyHistoryResponse {
            commits: sequence.0,
            revision: token(sequence.0),
            chain: hexadecimal(&chain),
            complete: verified.complete,
        }))
    }
}

fn event(entry: &EventEntry) -> v1::Event {
    let event = &entry.event;
    let source = match event.source {
        EventSource::Roster => v1::EventSource::Roster,
        EventSource::Host => v1::EventSource::Host,
    };
    let effect = match effect_on(event) {
        Effect::Created => v1::EventEffect::Created,
        Effect::Updated => v1::EventEffect::Updated,
        Effect::Deleted => v1::EventEffect::Deleted,
        Effect::Other => v1::EventEffect::Other,
    };
    let outcome = if event.refusal.is_empty() {
        v1::EventOutcome::Done
    } else {
        v1::EventOutcome::Refused
    };
    let detail = |(name, value): &(String, String)| v1::EventDetail {
        name: name.clone(),
        value: value.clone(),
    };
    v1::Event {
        id: event_id(entry),
        revision: token(entry.sequence.0),
        time: Some(to_proto::timestamp(time_of(entry))),
        record_time: Some(to_proto::timestamp(entry.at)),
        source: source.into(),
        action: event.action.clone(),
        effect: effect.into(),
        target_type: event.target_kind.clone(),
        target_id: event.target_id.clone(),
        actor: event.actor.clone(),
        token: event.token.clone(),
        caller: event.caller.clone(),
        request_id: event.request_id.clone(),
        outcome: outcome.into(),
        reason: event.refusal.clone(),
        details: facts_of(event).iter().map(detail).collect(),
    }
}

/// Reads values one after the other and gathers what is wrong with them.
#[derive(Default)]
struct Reading {
    violations: Vec<Violation>,
}

impl Reading {
    /// The value; the default if it is none, which is gathered.
    fn take<T: Default>(&mut self, read: Result<T, Refusal>) -> Result<T, Refusal> {
        match read {
            Ok(value) => Ok(value),
            Err(Refusal::Invalid(violations)) => {
                for violation in violations {
                    keep_violation(&mut self.violations, violation);
                }
                Ok(T::default())
            }
            Err(other) => Err(other),
        }
    }

    fn finish<T>(self, value: T) -> Result<T, Refusal> {
        if self.violations.is_empty() {
            Ok(value)
        } else {
            Err(Refusal::Invalid(self.violations))
        }
    }
}

fn malformed(field: impl Into<String>, message: &str) -> Refusal {
    Refusal::Invalid(vec![Violation::new(field, Fault::Malformed, message)])
}

fn effect(field: &str, given: i32) -> Result<Option<Effect>, Refusal> {
    Ok(match v1::EventEffect::try_from(given) {
        Ok(v1::EventEffect::Unspecified) => None,
        Ok(v1::EventEffect::Created) => Some(Effect::Created),
        Ok(v1::EventEffect::Updated) => Some(Effect::Updated),
        Ok(v1::EventEffect::Deleted) => Some(Effect::Deleted),
        Ok(v1::EventEffect::Other) => Some(Effect::Other),
        Err(_) => return Err(malformed(field, "must be an `EventEffect`")),
    })
}

fn ending(given: i32) -> Result<Option<Ending>, Refusal> {
    Ok(match v1::EventOutcome::try_from(given) {
        Ok(v1::EventOutcome::Unspecified) => None,
        Ok(v1::EventOutcome::Done) => Some(Ending::Done),
        Ok(v1::EventOutcome::Refused) => Some(Ending::Refused),
        Err(_) => return Err(malformed("outcome", "must be an `EventOutcome`")),
    })
}

fn source(given: i32) -> Result<Option<EventSource>, Refusal> {
    Ok(match v1::EventSource::try_from(given) {
        Ok(v1::EventSource::Unspecified) => None,
        Ok(v1::EventSource::Roster) => Some(EventSource::Roster),
        Ok(v1::EventSource::Host) => Some(EventSource::Host),
        Err(_) => return Err(malformed("source", "must be an `EventSource`")),
    })
}

fn filter(message: &v1::ListEventsRequest) -> Result<EventFilter, Refusal> {
    let mut reading = Reading::default();
    let filter = EventFilter {
        member: message.member.clone(),
        actor: message.actor.clone(),
        actions: message.actions.clone(),
        effect: reading.take(effect("effect", message.effect))?,
        target_kind: message.target_type.clone(),
        target_id: message.target_id.clone(),
        ending: reading.take(ending(message.outcome))?,
        source: reading.take(source(message.source))?,
        from: reading.take(from_proto::moment("from", message.from.as_ref()))?,
        until: reading.take(from_proto::moment("until", message.until.as_ref()))?,
    };
    reading.finish(filter)
}

fn host_events(given: Vec<v1::NewEvent>) -> Result<Vec<HostEvent>, Refusal> {
    let mut reading = Reading::default();
    // One more than may be there is enough to see that there are too many.
    let given = given.into_iter().take(MAX_APPENDED + 1).enumerate();
    let mut events = Vec::with_capacity(given.len());
    for (index, event) in given {
        let at = format!("events[{index}]");
        let said = effect(&format!("{at}.effect"), event.effect);
        let time = from_proto::moment(&format!("{at}.time"), event.time.as_ref());
        let facts = event.details.into_iter();
        events.push(HostEvent {
            effect: reading.take(said)?.unwrap_or(Effect::Other),
            time: reading.take(time)?,
            action: event.action,
            target_kind: event.target_type,
            target_id: event.target_id,
            actor: event.actor,
            facts: facts.map(|fact| (fact.name, fact.value)).collect(),
        });
    }
    reading.finish(events)
}

/// Up to where the history is known.
fn known(message: &v1::VerifyHistoryRequest) -> Result<Head, Refusal> {
    let sequence = Sequence(message.commits);
    match (message.commits, message.chain.as_str()) {
        (0, "") => Ok(Head::default()),
        (0, _) => Err(malformed("commits", "must be given together with `chain`")),
        (_, chain) => match link(chain) {
            Some(chain) => Ok(Head { sequence, chain }),
            None => Err(malformed(
                "chain",
                "must be 64 hexadecimal digits of an earlier answer",
            )),
        },
    }
}

fn link(text: &str) -> Option<[u8; 32]> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() != 64 || !digits {
        return None;
    }
    let mut chain = [0; 32];
    for (index, byte) in chain.iter_mut().enumerate() {
        let digits = text.get(index * 2..index * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(chain)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
