//! Invitations: the use cases around the rules of [`crate::domain::invitations`].
//!
//! Ids and nonces are drawn before a change is decided, tokens are derived after it
//! is committed. A repeated request therefore gets the very token of the first
//! answer, and nothing that opens an invitation is ever stored.

use std::sync::Arc;

use super::actor;
use super::links::{LinkSubject, Purpose};
use super::{Application, Error, Need, Request, Turn, Written};
use crate::domain::Refusal;
use crate::domain::change::{InvitedRow, Outcome, RowRefusal};
use crate::domain::identifiers::InvitationId;
use crate::domain::invitations::{Acceptance, Draw, NewInvitation, Sender, ShownLink};
use crate::domain::organization::Invitation;
use crate::world::draw_id;

/// An invitation that was changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it is after the change.
    pub invitation: Arc<Invitation>,
    /// The position of the change.
    pub revision: u64,
}

/// An invitation with its link.
#[derive(Clone)]
pub struct Linked {
    /// The invitation.
    pub invitation: Arc<Invitation>,
    /// The token of its link; empty where nothing was sent because the request was
    /// only to be validated.
    pub token: String,
    /// The position of the change.
    pub revision: u64,
}

/// What became of a row.
pub enum LinkedRow {
    /// It was sent: the invitation, and the token as in [`Linked`].
    Sent(Arc<Invitation>, String),
    /// It was refused.
    Refused(RowRefusal),
}

impl Application {
    /// Invites one person.
    pub async fn create_invitation(
        &self,
        organization: &str,
        new: Result<NewInvitation, Refusal>,
        request: &Request,
    ) -> Result<Linked, Error> {
        let draw = self.draw_invitation();
        let need = Need::Organization("InviteMember");
        let written = self
            .mutate(organization, need, request, |turn| {
                let new = new.as_ref().map_err(Clone::clone)?;
                turn.organization()
                    .create_invitation(sender(turn), new, &draw)
            })
            .await?;
        self.linked(organization, written, request)
    }

    /// Invites many: all or nobody if `whole`, else each row for itself.
    pub async fn create_invitations(
        &self,
        organization: &str,
        rows: Vec<Result<NewInvitation, Refusal>>,
        whole: bool,
        request: &Request,
    ) -> Result<(Vec<LinkedRow>, u64), Error> {
        let drawn = rows.into_iter().map(|row| (row, self.draw_invitation()));
        let rows: Vec<(Result<NewInvitation, Refusal>, Draw)> = drawn.collect();
        let need = Need::Organization("InviteMember");
        let written = self
            .mutate(organization, need, request, |turn| {
                turn.organization()
                    .create_invitations(sender(turn), &rows, whole)
            })
            .await?;
        let Outcome::Invitations(rows) = written.outcome else {
            return Err(Error::unexpected(&written.outcome));
        };
        let linked = |row| match row {
            InvitedRow::Sent(invitation) => {
                let token = self.shown_token(organization, &invitation, request);
                LinkedRow::Sent(invitation, token)
            }
            InvitedRow::Refused(refusal) => LinkedRow::Refused(refusal),
        };
        let rows = rows.into_iter().map(linked).collect();
        Ok((rows, written.revision))
    }

    /// Sends an invitation again.
    pub async fn resend_invitation(
        &self,
        organization: &str,
        invitation: &str,
        etag: &str,
        request: &Request,
    ) -> Result<Linked, Error> {
        let nonce = self.world.random();
        let need = Need::Organization("ResendInvitation");
        let written = self
            .mutate(organization, need, request, |turn| {
                turn.organization()
                    .resend_invitation(sender(turn), invitation, etag, nonce)
            })
            .await?;
        self.linked(organization, written, request)
    }

    /// Shows the link of a pending invitation once more.
    pub async fn copy_invitation_link(
        &self,
        organization: &str,
        invitation: &str,
        request: &Request,
    ) -> Result<Linked, Error> {
        let need = Need::Organization("CopyInvitationLink");
        let written = self
            .mutate(organization, need, request, |turn| {
                turn.organization()
                    .copy_invitation_link(turn.catalog(), invitation, turn.now)
            })
            .await?;
        self.linked(organization, written, request)
    }

    /// Takes an invitation back.
    pub async fn revoke_invitation(
        &self,
        organization: &str,
        invitation: &str,
        etag: &str,
        request: &Request,
    ) -> Result<Changed, Error> {
        let need = Need::Organization("RevokeInvitation");
        let written = self
            .mutate(organization, need, request, |turn| {
                turn.organization()
                    .revoke_invitation(invitation, etag, turn.now)
            })
            .await?;
        changed(written)
    }

    /// Closes an invitation on behalf of whoever holds its link.
    pub async fn decline_invitation(
        &self,
        organization: &str,
        token: &str,
        request: &Request,
    ) -> Result<Changed, Error> {
        let written = self
            .mutate(organization, Need::Proof, request, |turn| {
                let subject = self.invitation_link(organization, token)?;
                turn.organization()
                    .decline_invitation(&shown(&subject), turn.now)
            })
            .await?;
        changed(written)
    }

    /// Makes whoever holds the link, and has the address, a member.
    pub async fn accept_invitation(
        &self,
        organization: &str,
        token: &str,
        by: &Acceptance,
        request: &Request,
    ) -> Result<Written, Error> {
        self.mutate(organization, Need::Proof, request, |turn| {
            by.check()?;
            refuse_others(turn, by)?;
            let subject = self.invitation_link(organization, token)?;
            let current = turn.organization();
            let invitation = current.linked_invitation(&shown(&subject), turn.now)?;
            // Where Cedar can't be asked, nobody stands for the invitation.
            let may = |user: &_, action| {
                actor::may(turn.snapshot, user, action, turn.now).unwrap_or_default()
            };
            current.accept_invitation(turn.catalog(), invitation, by, may, turn.now)
        })
        .await
    }

    /// The token of an invitation's link, as it was sent last.
    pub fn invitation_token(&self, organization: &str, invitation: &Invitation) -> String {
        self.links.token(&LinkSubject {
            purpose: Purpose::Invitation,
            organization: organization.to_owned(),
            subject: invitation.id.to_string(),
            address: invitation.email.clone(),
            nonce: invitation.nonce,
        })
    }

    fn invitation_link(&self, organization: &str, token: &str) -> Result<LinkSubject, Refusal> {
        self.links
            .verify(Purpose::Invitation, organization, token)
            .ok_or(Refusal::BadLink)
    }

    pub(super) fn draw_invitation(&self) -> Draw {
        Draw {
            id: InvitationId::new(draw_id(self.world(), "inv")),
            nonce: self.world.random(),
        }
    }

    fn linked(
        &self,
        organization: &str,
        written: Written,
        request: &Request,
    ) -> Result<Linked, Error> {
        let Changed {
            invitation,
            revision,
        } = changed(written)?;
        let token = self.shown_token(organization, &invitation, request);
        Ok(Linked {
            invitation,
            token,
            revision,
        })
    }

    /// The token of what was sent; none of what was only validated, for which there is
    /// no invitation.
    fn shown_token(
        &self,
        organization: &str,
        invitation: &Invitation,
        request: &Request,
    ) -> String {
        if request.validate_only {
            return String::new();
        }
        self.invitation_token(organization, invitation)
    }
}

fn sender<'a>(turn: &Turn<'a>) -> Sender<'a> {
    Sender {
        catalog: turn.catalog(),
        grantor: turn.acting.map(|acting| &acting.grantor),
        now: turn.now,
    }
}

fn shown(subject: &LinkSubject) -> ShownLink<'_> {
    ShownLink {
        invitation: &subject.subject,
        email: &subject.address,
        nonce: subject.nonce,
    }
}

/// Nobody accepts for somebody else, whatever they may do in the organization.
fn refuse_others(turn: &Turn<'_>, by: &Acceptance) -> Result<(), Refusal> {
    match turn.actor() {
        Some(actor) if actor.as_str() != by.user => Err(Refusal::PermissionDenied {
            actor: actor.to_string(),
            action: "AcceptInvitation",
            why: "only the invited person does".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn changed(written: Written) -> Result<Changed, Error> {
    match written.outcome {
        Outcome::Invitation(invitation) => Ok(Changed {
            invitation,
            revision: written.revision,
        }),
        other => Err(Error::unexpected(&other)),
    }
}
