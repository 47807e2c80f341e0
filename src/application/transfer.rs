//! Offers of the ownership: answered by whoever they were made to, and read.

use super::actor;
use super::check::Reader;
use super::links::{LinkSubject, Purpose};
use super::mutate::{Request, Written};
use super::{Application, Error, Need, Turn};
use crate::domain::change::Change;
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::{Moment, Transfer, TransferTarget};
use crate::domain::refusal::{Fault, Refusal, Violation};
use crate::domain::transfer::Claim;
use crate::engine::Snapshot;

impl Application {
    /// Changes an organization by what `decide` answers for an offer, which the
    /// actor or the holder of `token` claims to be theirs.
    pub async fn answer_transfer(
        &self,
        organization: &str,
        token: &str,
        request: &Request,
        decide: impl Fn(&Turn<'_>, Claim<'_>) -> Result<Change, Refusal>,
    ) -> Result<Written, Error> {
        let link = (!token.is_empty()).then(|| self.transfer_link(organization, token));
        let link = link.transpose();
        self.mutate(organization, Need::Proof, request, |turn| {
            let actor = turn.actor();
            let nonce = link.clone()?.map(|link| link.nonce);
            decide(turn, claim(nonce, actor.as_ref())?)
        })
        .await
    }

    /// The token by which an offer is accepted or declined: always the same.
    pub fn transfer_token(&self, organization: &OrganizationId, transfer: &Transfer) -> String {
        let address = match &transfer.target {
            TransferTarget::Member { user, .. } => user.to_string(),
            TransferTarget::Address(address) => address.clone(),
        };
        self.links.token(&LinkSubject {
            purpose: Purpose::Transfer,
            organization: organization.to_string(),
            subject: organization.to_string(),
            address,
            nonce: transfer.nonce,
        })
    }

    fn transfer_link(&self, organization: &str, token: &str) -> Result<LinkSubject, Refusal> {
        self.links
            .verify(Purpose::Transfer, organization, token)
            .ok_or(Refusal::BadLink)
    }

    /// The offer that waits, and the revision it was read at. The owner and the
    /// member it went to may read it, others need `ViewMembers`.
    pub async fn pending_transfer(
        &self,
        organization: &str,
        reader: &Reader,
        at_least: &str,
    ) -> Result<(Transfer, u64), Error> {
        let now = self.world().now();
        let snapshot = self
            .view(organization, Need::Proof, reader, at_least)
            .await?;
        let snapshot = if concerns(&snapshot, reader, now) {
            snapshot
        } else {
            let need = Need::Organization("ViewMembers");
            self.view(organization, need, reader, at_least).await?
        };
        let transfer = pending(&snapshot, now).ok_or(Refusal::NoTransfer)?;
        Ok((transfer.clone(), snapshot.revision()))
    }
}

fn claim(nonce: Option<[u8; 16]>, actor: Option<&UserId>) -> Result<Claim<'_>, Refusal> {
    match (nonce, actor) {
        (Some(nonce), actor) => Ok(Claim::Link { nonce, actor }),
        (None, Some(actor)) => Ok(Claim::Actor(actor)),
        (None, None) => Err(Refusal::Invalid(vec![Violation::new(
            "token",
            Fault::Missing,
            "must be given where nobody acts whom the ownership was offered to",
        )])),
    }
}

fn pending(snapshot: &Snapshot, now: Moment) -> Option<&Transfer> {
    let catalog = snapshot.catalog().catalog();
    snapshot.organization().pending_transfer(catalog, now)
}

/// Whether the reader is an operator, the owner or the member whom the offer went to.
fn concerns(snapshot: &Snapshot, reader: &Reader, now: Moment) -> bool {
    let acting = match actor::resolve(snapshot, &reader.caller.actor, reader.method, now) {
        Ok(Some(acting)) => acting,
        Ok(None) => return true,
        // What is wrong with the actor is told where they are asked for more.
        Err(_) => return false,
    };
    let user = &acting.grantor.user;
    let offered = pending(snapshot, now).and_then(|transfer| transfer.target.user());
    snapshot.organization().is_owner(user.as_str()) || offered == Some(user)
}
