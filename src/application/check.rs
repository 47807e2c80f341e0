//! The check: from a question to an answer, without waiting when the revision is there.

use std::sync::Arc;
use std::time::Duration;

use super::{Application, Error};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::{Explanation, RawQuestion, Snapshot, Verdict};

/// The most requests of one batch.
pub const MAX_BATCH: usize = 10_000;

/// A question to an organization.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The organization.
    pub organization: &'a str,
    /// What is asked.
    pub question: RawQuestion<'a>,
    /// Whether the answer should say why.
    pub include_reasons: bool,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was decided.
    pub verdict: Verdict,
    /// The position in the history it was decided on.
    pub revision: u64,
    /// Why, if that was asked.
    pub explanation: Option<Explanation>,
}

impl Application {
    /// Decides on what is published.
    pub fn check(&self, check: &Check<'_>) -> Result<Checked, Error> {
        let snapshot = self.find(check.organization)?;
        judge(&snapshot, check)
    }

    /// Waits until the revision is published that `at_least` names.
    pub async fn reach(&self, at_least: &str, patience: Duration) -> Result<(), Error> {
        if at_least.is_empty() {
            Ok(())
        } else {
            self.progress.reach(at_least, patience).await
        }
    }

    /// Everything published up to now, as a position in the history.
    pub fn published(&self) -> u64 {
        self.progress.published().0
    }

    /// The organization as it is at a revision or later.
    pub async fn read(
        &self,
        organization: &str,
        at_least: &str,
        patience: Duration,
    ) -> Result<Arc<Snapshot>, Error> {
        self.reach(at_least, patience).await?;
        self.find(organization)
    }

    /// The organization as it is.
    pub fn find(&self, organization: &str) -> Result<Arc<Snapshot>, Error> {
        if organization.is_empty() {
            return Err(Error::invalid(vec![Violation::new(
                "organization",
                Fault::Missing,
                "must be given",
            )]));
        }
        self.registry
            .snapshot(organization)
            .ok_or_else(|| Error::unknown_organization(organization))
    }
}

/// Decides on a snapshot.
pub fn judge(snapshot: &Snapshot, check: &Check<'_>) -> Result<Checked, Error> {
    let question = snapshot.question(&check.question).map_err(Error::invalid)?;
    if check.include_reasons {
        let explanation = snapshot.explain(&question)?;
        return Ok(Checked {
            verdict: explanation.verdict,
            revision: snapshot.revision(),
            explanation: Some(explanation),
        });
    }
    Ok(Checked {
        verdict: snapshot.decide(&question)?,
        revision: snapshot.revision(),
        explanation: None,
    })
}
