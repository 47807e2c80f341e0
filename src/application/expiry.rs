//! Drives expiry: looks for what has ended, and takes it away by the one write path.
//!
//! The store knows which organization something ends in first, so that nothing is
//! read of the others. One in which that failed rests for a while: it must keep
//! neither the others waiting nor the log busy.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::actor::{Actor, Caller, Need};
use super::mutate::Request;
use super::{Application, Error};
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::Moment;

/// How the history calls what ends by itself.
pub const SYSTEM: &str = "roster";
/// How many organizations are looked up at once.
const DUE_AT_ONCE: usize = 256;
/// How long, in milliseconds, an organization rests in which nothing could be taken away.
const REST_MILLISECONDS: i64 = 60 * 1_000;

/// Organizations in which what has ended could not be taken away, until when they rest.
#[derive(Default)]
pub(super) struct Resting(Mutex<BTreeMap<OrganizationId, Moment>>);

impl Resting {
    fn wake(&self, now: Moment) {
        self.resting().retain(|_, until| *until > now);
    }

    fn rest(&self, organization: &OrganizationId, now: Moment) {
        let until = Moment(now.0.saturating_add(REST_MILLISECONDS));
        self.resting().insert(organization.clone(), until);
    }

    fn holds(&self, organization: &OrganizationId) -> bool {
        self.resting().contains_key(organization)
    }

    fn count(&self) -> usize {
        self.resting().len()
    }

    fn resting(&self) -> MutexGuard<'_, BTreeMap<OrganizationId, Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Application {
    /// Takes away everything that has ended by now, in every organization. Answers
    /// with how many organizations had something to take away.
    pub async fn expire_due(&self) -> usize {
        let now = self.world.now();
        self.resting.wake(now);
        let mut count = 0;
        loop {
            // Those that rest are still among those that are due, and may come first.
            let limit = DUE_AT_ONCE.saturating_add(self.resting.count());
            let due = match self.ask_store(move |store| store.due(now, limit)).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "what has expired could not be looked up");
                    return count;
                }
            };
            let is_last = due.len() < limit;
            let mut tried = 0;
            for (_, organization) in due {
                if self.resting.holds(&organization) {
                    continue;
                }
                tried += 1;
                match self.expire(&organization).await {
                    Ok(Ended::All | Ended::InTurns) => {}
                    // It would be due again at once.
                    Ok(Ended::Stuck) => self.resting.rest(&organization, now),
                    Err(error) => {
                        tracing::warn!(%organization, %error, "what has expired could not be taken away");
                        self.resting.rest(&organization, now);
                    }
                }
            }
            count += tried;
            if is_last || tried == 0 {
                return count;
            }
        }
    }

    async fn expire(&self, organization: &OrganizationId) -> Result<Ended, Error> {
        let mut last = None;
        let mut has_changed = false;
        loop {
            let now = self.world.now();
            let snapshot = match self.find(organization.as_str()).await {
                Ok(snapshot) => snapshot,
                Err(error) if error.is_unknown_organization() => return Ok(Ended::All),
                Err(error) => return Err(error),
            };
            let next = snapshot.organization().deadlines.due(now).next().cloned();
            // What is still there after a change is too much for one, or can't be taken away.
            if next == last {
                return Ok(if has_changed {
                    Ended::InTurns
                } else {
                    Ended::Stuck
                });
            }
            if next.is_none() {
                return Ok(Ended::All);
            }
            last = next;
            let written = self
                .mutate(organization.as_str(), Need::Operator, &request(), |turn| {
                    Ok(turn.organization().expire(turn.catalog(), turn.now))
                })
                .await?;
            has_changed = written.revision > snapshot.revision();
        }
    }
}

/// What became of all that had ended in an organization.
enum Ended {
    All,
    /// Some was taken away, more is left for the next time.
    InTurns,
    /// Nothing could be taken away.
    Stuck,
}

fn request() -> Request {
    Request {
        caller: Caller {
            name: SYSTEM.to_owned(),
            actor: Actor::Operator,
        },
        method: "Expire",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    }
}
