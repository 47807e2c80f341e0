//! The organization as standard Cedar text and JSON, complete: what the export
//! law is stated over.

use std::sync::Arc;

use cedar_policy::Context;
use serde_json::{Value as Json, json};

use super::deciding::EvaluateError;
use super::policies::PolicySource;
use super::question::Question;
use super::snapshot::Snapshot;
use super::vocabulary;
use crate::domain::organization::Moment;

/// A policy as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    /// Its id.
    pub id: String,
    /// In Cedar's syntax.
    pub text: String,
    /// Where it comes from.
    pub source: PolicySource,
}

/// A question as `cedar authorize --request-json` reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct CedarRequest(pub Json);

/// All of an organization that decides, in Cedar's formats.
pub struct Export {
    snapshot: Arc<Snapshot>,
    at: Moment,
}

impl Export {
    /// An export of that snapshot as it counts at a moment.
    pub fn new(snapshot: Arc<Snapshot>, at: Moment) -> Self {
        Self { snapshot, at }
    }

    /// The schema.
    pub fn schema(&self) -> &str {
        self.snapshot.catalog().schema_text()
    }

    /// Every policy, ascending by id.
    pub fn policies(&self) -> Result<Vec<PolicyText>, EvaluateError> {
        let mut policies = Vec::new();
        for compiled in self.snapshot.all_policies() {
            let id = compiled.policy.id().to_string();
            let text = compiled.policy.to_cedar().ok_or_else(|| {
                EvaluateError::Refused(format!("policy `{id}` has no form as text"))
            })?;
            policies.push(PolicyText {
                id,
                text,
                source: compiled.source.clone(),
            });
        }
        policies.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(policies)
    }

    /// Every entity as JSON. A question's resource is among them as the question
    /// describes it, in place of what is on record under the same name.
    pub fn entities(&self, question: Option<&Question<'_>>) -> Result<Vec<String>, EvaluateError> {
        let described = question
            .map(|question| self.snapshot.asked_resource(question))
            .transpose()?;
        let mut lines = Vec::new();
        for entity in self.snapshot.all_entities(self.at) {
            let entity = entity?;
            if described
                .as_ref()
                .is_none_or(|described| described.uid() != entity.uid())
            {
                lines.push(entity.to_json_string().map_err(refused)?);
            }
        }
        if let Some(described) = described {
            lines.push(described.to_json_string().map_err(refused)?);
        }
        Ok(lines)
    }

    /// The question in Cedar's words.
    pub fn request(&self, question: &Question<'_>) -> Result<CedarRequest, EvaluateError> {
        let context = Context::from_pairs(question.context.iter().cloned()).map_err(refused)?;
        let action = self.snapshot.catalog().action(question.action);
        Ok(CedarRequest(json!({
            "principal": vocabulary::user(question.principal).to_string(),
            "action": action.map(|action| action.uid.to_string()),
            "resource": self.snapshot.asked_resource(question)?.uid().to_string(),
            "context": context.to_json_value().map_err(refused)?,
        })))
    }
}

fn refused(error: impl std::error::Error) -> EvaluateError {
    EvaluateError::Refused(error.to_string())
}
