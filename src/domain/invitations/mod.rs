//! Invitations: an offer of membership to an address, until it is accepted, revoked,
//! declined or too old.
//!
//! An invitation holds what the member will have, and who stands for it: whoever
//! sent it last. `sending` and `bulk` make them and `sending` sends them again, by the rules
//! of the `desk`; `accepting` turns one into a membership. That one has expired is not a state:
//! it follows from its deadline, and sending it again is enough to have it back.
//!
//! Only a nonce is kept of a link. What it has to do with a token is no affair of
//! this layer; a use case that was shown a genuine link brings what the link says.

mod accepting;
mod bulk;
mod desk;
pub(super) mod sending;

use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::identifiers::InvitationId;
use super::lifecycle::fresh;
use super::members::shown;
use super::organization::{Invitation, InvitationStatus, Moment, Organization};
use super::refusal::{DeadLink, Refusal};

pub use accepting::Acceptance;
pub use bulk::MAX_ROWS;
pub use desk::{MAX_PENDING, MAX_SENT_AN_HOUR};
pub use sending::{Draw, NewInvitation, NewOverride, Sender};

/// The most closed invitations that are kept; beyond, the oldest go.
pub const MAX_CLOSED: usize = 10_000;

/// What a genuine link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLink<'a> {
    /// The id of the invitation.
    pub invitation: &'a str,
    /// The address it was made out to.
    pub email: &'a str,
    /// Which sending it is of.
    pub nonce: [u8; 16],
}

impl Invitation {
    /// Whether it waits but can't be accepted any more.
    pub fn has_expired(&self, now: Moment) -> bool {
        self.status == InvitationStatus::Pending && self.expires_at <= now
    }
}

impl Organization {
    /// The invitation of that id.
    pub fn invitation(&self, id: &str) -> Result<&Arc<Invitation>, Refusal> {
        self.invitations.get(id).ok_or_else(|| Refusal::NotFound {
            kind: "invitation",
            id: shown(id),
        })
    }

    /// The invitation that a genuine link opens, if it still does.
    pub fn linked_invitation(
        &self,
        link: &ShownLink<'_>,
        now: Moment,
    ) -> Result<&Arc<Invitation>, Refusal> {
        let invitation = self
            .invitations
            .get(link.invitation)
            .filter(|invitation| invitation.email == link.email)
            .ok_or(Refusal::BadLink)?;
        let dead = match invitation.status {
            InvitationStatus::Accepted => Some(DeadLink::Used),
            InvitationStatus::Revoked => Some(DeadLink::Revoked),
            InvitationStatus::Declined => Some(DeadLink::Declined),
            InvitationStatus::Pending if invitation.nonce != link.nonce => {
                Some(DeadLink::Superseded)
            }
            InvitationStatus::Pending => invitation.has_expired(now).then_some(DeadLink::Expired),
        };
        match dead {
            Some(dead) => Err(Refusal::DeadLink(dead)),
            None => Ok(invitation),
        }
    }

    /// Takes a pending invitation back, an expired one too.
    pub fn revoke_invitation(
        &self,
        id: &str,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let invitation = self.pending_invitation(id, "only a pending one is revoked")?;
        fresh("invitation", &invitation.id, invitation.version, given_etag)?;
        let closed = self.closed(invitation, InvitationStatus::Revoked, now);
        Ok(self.close_invitation(closed, "RevokeInvitation"))
    }

    /// Closes an invitation because the invited person does not want it.
    pub fn decline_invitation(&self, link: &ShownLink<'_>, now: Moment) -> Result<Change, Refusal> {
        let invitation = self.linked_invitation(link, now)?;
        let closed = self.closed(invitation, InvitationStatus::Declined, now);
        Ok(self.close_invitation(closed, "DeclineInvitation"))
    }

    /// Lets the link of a pending invitation be seen once more. Changes nothing; that
    /// it was asked for is an event.
    pub fn copy_invitation_link(
        &self,
        catalog: &Catalog,
        id: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.invitations_offered(catalog)?;
        let invitation = self.pending_invitation(id, "only a pending one has a link")?;
        if invitation.has_expired(now) {
            return Err(Refusal::DeadLink(DeadLink::Expired));
        }
        Ok(Change {
            records: Vec::new(),
            events: vec![Event::done(
                "CopyInvitationLink",
                Target::new("Invitation", id),
                Vec::new(),
            )],
            outcome: Outcome::Invitation(Arc::clone(invitation)),
        })
    }

    fn invitations_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        self.offered(catalog, &catalog.team.invitations, "invitations")
    }

    fn pending_invitation(
        &self,
        id: &str,
        advice: &'static str,
    ) -> Result<&Arc<Invitation>, Refusal> {
        let invitation = self.invitation(id)?;
        let status = match invitation.status {
            InvitationStatus::Pending => return Ok(invitation),
            InvitationStatus::Accepted => "accepted",
            InvitationStatus::Revoked => "revoked",
            InvitationStatus::Declined => "declined",
        };
        Err(Refusal::InvitationStatus {
            invitation: invitation.id.to_string(),
            status,
            advice,
        })
    }

    fn closed(&self, open: &Invitation, status: InvitationStatus, now: Moment) -> Arc<Invitation> {
        Arc::new(Invitation {
            status,
            closed_at: Some(now),
            version: self.version.next(),
            ..open.clone()
        })
    }

    fn close_invitation(&self, closed: Arc<Invitation>, action: &'static str) -> Change {
        Change {
            events: vec![Event::done(
                action,
                Target::new("Invitation", &closed.id),
                Vec::new(),
            )],
            records: self.records_of_closing(&closed),
            outcome: Outcome::Invitation(closed),
        }
    }

    /// The closed invitation, without what still waits to be delivered of it, and the
    /// oldest closed one away where there are too many.
    fn records_of_closing(&self, closed: &Arc<Invitation>) -> Vec<RecordChange> {
        let mut records = vec![RecordChange::PutInvitation(Arc::clone(closed))];
        records.extend(self.undelivered(&closed.id));
        let others = || {
            let all = self.invitations.values();
            all.filter(|other| other.closed_at.is_some())
        };
        if others().count() >= MAX_CLOSED {
            let oldest = others().min_by_key(|other| (other.closed_at, &other.id));
            records.extend(oldest.map(|oldest| RecordChange::DeleteInvitation(oldest.id.clone())));
        }
        records
    }

    /// Takes back what waits to be delivered of an invitation: its link would be dead.
    fn undelivered(&self, id: &InvitationId) -> impl Iterator<Item = RecordChange> {
        self.notifications
            .values()
            .filter(move |notification| notification.invitation.as_ref() == Some(id))
            .map(|notification| RecordChange::DeleteNotification(notification.id.clone()))
    }
}
