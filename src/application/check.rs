//! The check: from a question to an answer, without waiting when the revision is there.

use std::sync::Arc;
use std::time::Duration;

use super::actor::{self, Actor, Caller, Need};
use super::mutate::{Identity, Signature, refused_event};
use super::{Application, Error};
use crate::domain::Refusal;
use crate::domain::organization::Moment;
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

/// Who reads.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Who calls.
    pub caller: Caller,
    /// The name of the RPC.
    pub method: &'static str,
    /// How long the reader waits for a revision.
    pub patience: Duration,
}

impl Reader {
    /// Refuses those who act on behalf of a member.
    pub fn must_be_operator(&self) -> Result<(), Error> {
        match self.caller.actor {
            Actor::Operator => Ok(()),
            Actor::Member(_) | Actor::Token(_) => Err(Refusal::OperatorOnly(self.method).into()),
        }
    }

    /// Refuses those who ask for somebody else.
    pub fn must_be(&self, user: &str) -> Result<(), Error> {
        match &self.caller.actor {
            Actor::Member(actor) if actor.as_str() == user => Ok(()),
            _ => self.must_be_operator(),
        }
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was decided.
    pub verdict: Verdict,
    /// The position in the history it was decided on.
    pub revision: u64,
    /// The moment at which it may change by itself.
    pub valid_until: Option<Moment>,
    /// Why, if that was asked.
    pub explanation: Option<Explanation>,
}

impl Application {
    /// Decides at once on what is published, without waiting for anything; nothing if the
    /// organization is not in memory.
    pub fn check(&self, check: &Check<'_>) -> Option<Result<Checked, Error>> {
        let judged = |snapshot: &Snapshot| judge(snapshot, check);
        self.registry.read(check.organization, judged)
    }

    /// Decides on what is published, once the organization is in memory.
    pub async fn check_on_demand(&self, check: &Check<'_>) -> Result<Checked, Error> {
        judge(&*self.find(check.organization).await?, check)
    }

    /// Waits until the revision is published that `at_least` names.
    pub async fn reach(&self, at_least: &str, patience: Duration) -> Result<(), Error> {
        if at_least.is_empty() {
            Ok(())
        } else {
            self.progress.reach(at_least, patience).await
        }
    }

    /// The organization as the reader may read it: at the revision asked for or later,
    /// if the actor may. What is denied is recorded.
    pub async fn view(
        &self,
        organization: &str,
        need: Need<'_>,
        reader: &Reader,
        at_least: &str,
    ) -> Result<Arc<Snapshot>, Error> {
        self.reach(at_least, reader.patience).await?;
        let snapshot = self.find(organization).await?;
        if reader.caller.actor == Actor::Operator {
            return Ok(snapshot);
        }
        let now = self.world.now();
        let authorized = self.authorize(&snapshot, need, reader, now);
        if let Err(Error::Refused(refusal)) = &authorized {
            let identity = Identity::of(Some(&snapshot), &reader.caller.actor);
            let signature = Signature::of_reader(&reader.caller, identity, reader.method);
            let event = refused_event(organization, need, signature, refusal.reason());
            self.record(organization, vec![event], now).await;
        }
        authorized.map(|()| snapshot)
    }

    fn authorize(
        &self,
        snapshot: &Snapshot,
        need: Need<'_>,
        reader: &Reader,
        now: Moment,
    ) -> Result<(), Error> {
        let (caller, method) = (&reader.caller, reader.method);
        match actor::resolve(snapshot, &caller.actor, method, now)? {
            Some(acting) => {
                self.note_token_use(snapshot, &acting, now);
                actor::authorize(snapshot, &acting, need, method, now)
            }
            None => Ok(()),
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
        self.find(organization).await
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
            valid_until: explanation.valid_until,
            explanation: Some(explanation),
        });
    }
    let decision = snapshot.decide(&question)?;
    Ok(Checked {
        verdict: decision.verdict,
        revision: snapshot.revision(),
        valid_until: decision.valid_until,
        explanation: None,
    })
}
