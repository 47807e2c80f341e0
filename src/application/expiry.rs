//! Drives expiry: looks for what has ended, and takes it away by the one write path.

use super::actor::{Actor, Caller, Need};
use super::mutate::Request;
use super::{Application, Error};
use crate::domain::identifiers::OrganizationId;

/// How the history calls what ends by itself.
pub const SYSTEM: &str = "roster";

impl Application {
    /// Takes away everything that has ended by now, in every organization. Answers
    /// with how many organizations had something to take away.
    pub async fn expire_due(&self) -> usize {
        let mut count = 0;
        for organization in self.registry.due(self.world.now()) {
            count += 1;
            if let Err(error) = self.expire(&organization).await {
                tracing::warn!(%organization, %error, "what has expired could not be taken away");
            }
        }
        count
    }

    async fn expire(&self, organization: &OrganizationId) -> Result<(), Error> {
        let mut last = None;
        loop {
            let now = self.world.now();
            let Some(snapshot) = self.registry.snapshot(organization.as_str()) else {
                return Ok(());
            };
            let next = snapshot.organization().deadlines.due(now).next().cloned();
            // What is still there after a change can't be taken away now.
            if next.is_none() || next == last {
                return Ok(());
            }
            last = next;
            self.mutate(organization.as_str(), Need::Operator, &request(), |turn| {
                Ok(turn.organization().expire(turn.catalog(), turn.now))
            })
            .await?;
        }
    }
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
