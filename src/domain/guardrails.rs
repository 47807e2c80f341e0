//! Guardrails: what an organization forbids itself, in Cedar, on top of its roles.
//!
//! Whether a text is a policy that the catalog's schema allows is for those to
//! say who know Cedar; here it is only decided what a guardrail is besides.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::Checks;
use super::identifiers::GuardrailId;
use super::lifecycle::fresh;
use super::members::shown;
use super::organization::{Guardrail, Moment, Organization, Version};
use super::refusal::{Fault, Refusal, Violation};
use super::text::policy_fault;

/// The most guardrails of one organization.
pub const MAX_GUARDRAILS: usize = 200;

/// What a guardrail is to be.
#[derive(Clone, Debug, Default)]
pub struct NewGuardrail {
    /// Its id.
    pub id: String,
    /// What it is for; may be empty.
    pub description: String,
    /// The policy.
    pub text: String,
}

/// What is to be edited; `None` leaves as is.
#[derive(Clone, Debug, Default)]
pub struct GuardrailEdit {
    /// Another description.
    pub description: Option<String>,
    /// Another policy.
    pub text: Option<String>,
}

/// Says everything that is wrong with a policy's text; given only texts of bounded length.
pub type Review<'a> = &'a dyn Fn(&str) -> Vec<Violation>;

impl Organization {
    /// Creates a guardrail; in force from the same revision on.
    pub fn create_guardrail(
        &self,
        catalog: &Catalog,
        new: &NewGuardrail,
        review: Review<'_>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.guardrails_offered(catalog)?;
        let mut checks = Checks::new();
        checks.identifier("guardrail_id", &new.id);
        checks.description("description", &new.description);
        check_text(&mut checks, &new.text, review);
        checks.finish()?;
        if self.guardrails.contains_key(new.id.as_str()) {
            return Err(Refusal::AlreadyExists {
                kind: "guardrail",
                id: new.id.clone(),
            });
        }
        if self.guardrails.len() >= MAX_GUARDRAILS {
            return Err(Refusal::LimitReached {
                what: "guardrails of an organization",
                limit: MAX_GUARDRAILS,
            });
        }
        let guardrail = Guardrail {
            id: GuardrailId::new(new.id.as_str()),
            description: new.description.clone(),
            text: new.text.clone(),
            created_at: now,
            version: Version::default(),
        };
        Ok(self.put_guardrail(guardrail, "CreateGuardrail"))
    }

    /// Edits a guardrail. A text that stays is not reviewed again.
    pub fn update_guardrail(
        &self,
        catalog: &Catalog,
        id: &str,
        edit: &GuardrailEdit,
        given_etag: &str,
        review: Review<'_>,
    ) -> Result<Change, Refusal> {
        self.guardrails_offered(catalog)?;
        let mut guardrail = self.guardrail(id)?.clone();
        let mut checks = Checks::new();
        if let Some(description) = &edit.description {
            checks.description("description", description);
            guardrail.description.clone_from(description);
        }
        if let Some(text) = &edit.text {
            check_text(&mut checks, text, review);
            guardrail.text.clone_from(text);
        }
        checks.finish()?;
        fresh("guardrail", &guardrail.id, guardrail.version, given_etag)?;
        Ok(self.put_guardrail(guardrail, "UpdateGuardrail"))
    }

    /// Deletes a guardrail, on whatever plan: what is no longer offered can still be undone.
    pub fn delete_guardrail(&self, id: &str, given_etag: &str) -> Result<Change, Refusal> {
        let guardrail = self.guardrail(id)?;
        fresh("guardrail", &guardrail.id, guardrail.version, given_etag)?;
        Ok(Change {
            records: vec![RecordChange::DeleteGuardrail(guardrail.id.clone())],
            events: vec![event("DeleteGuardrail", guardrail)],
            outcome: Outcome::Nothing,
        })
    }

    /// A guardrail by its id.
    pub fn guardrail(&self, id: &str) -> Result<&Guardrail, Refusal> {
        match self.guardrails.get(id) {
            Some(guardrail) => Ok(guardrail),
            None => Err(Refusal::NotFound {
                kind: "guardrail",
                id: shown(id),
            }),
        }
    }

    fn guardrails_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        self.offered(catalog, &catalog.team.guardrails, "guardrails")
    }

    fn put_guardrail(&self, mut guardrail: Guardrail, action: &'static str) -> Change {
        guardrail.version = self.version.next();
        let guardrail = Arc::new(guardrail);
        Change {
            records: vec![RecordChange::PutGuardrail(Arc::clone(&guardrail))],
            events: vec![event(action, &guardrail)],
            outcome: Outcome::Guardrail(guardrail),
        }
    }
}

fn check_text(checks: &mut Checks, text: &str, review: Review<'_>) {
    match policy_fault(text) {
        Some(message) if text.is_empty() => checks.fault("text", Fault::Missing, message),
        Some(message) => checks.fault("text", Fault::Malformed, message),
        None => {
            for violation in review(text) {
                checks.fault(violation.field, violation.kind, violation.message);
            }
        }
    }
}

/// The history tells texts apart without holding them.
fn event(action: &'static str, guardrail: &Guardrail) -> Event {
    let digest: String = Sha256::digest(guardrail.text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Event::done(
        action,
        Target::new("Guardrail", &guardrail.id),
        vec![("text_sha256", digest)],
    )
}
