//! `InvitationService`: people invited, and what became of it.

use std::ops::Bound;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::invitations::{Changed, Linked, LinkedRow};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Reader};
use crate::domain::Refusal;
use crate::domain::identifiers::InvitationId;
use crate::domain::invitations::{Acceptance, NewInvitation, NewOverride};
use crate::domain::organization::{Invitation, Moment};
use crate::domain::refusal::{Fault, Violation};
use crate::domain::text::folded_address;
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::invitation_service_server::InvitationService;

/// Serves invitations.
pub struct InvitationRpc {
    application: Arc<Application>,
}

impl InvitationRpc {
    /// Serves invitations of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    fn now(&self) -> Moment {
        self.application.world().now()
    }

    fn told(&self, invitation: &Invitation) -> Option<v1::Invitation> {
        Some(to_proto::invitation(invitation, self.now()))
    }

    async fn view(
        &self,
        organization: &str,
        reader: &Reader,
        at_least: &str,
    ) -> Result<Arc<Snapshot>, Status> {
        let need = Need::Organization("ViewInvitations");
        let application = &self.application;
        let viewed = application.view(organization, need, reader, at_least).await;
        viewed.map_err(status::of)
    }

    fn result(&self, row: LinkedRow) -> v1::BulkInvitationResult {
        match row {
            LinkedRow::Sent(invitation, token) => v1::BulkInvitationResult {
                invitation: self.told(&invitation),
                token,
                status: None,
            },
            LinkedRow::Refused(refusal) => v1::BulkInvitationResult {
                status: Some(status::of_row(&refusal)),
                ..Default::default()
            },
        }
    }
}

#[tonic::async_trait]
impl InvitationService for InvitationRpc {
    async fn create_invitation(
        &self,
        request: Request<v1::CreateInvitationRequest>,
    ) -> Result<Response<v1::CreateInvitationResponse>, Status> {
        let (message, common) = accept(request)?;
        let new = asked("invitation", message.invitation);
        let Linked {
            invitation,
            token: link,
            revision,
        } = self
            .application
            .create_invitation(&message.organization, new, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateInvitationResponse {
            invitation: self.told(&invitation),
            revision: token(revision),
            token: link,
        }))
    }

    async fn bulk_create_invitations(
        &self,
        request: Request<v1::BulkCreateInvitationsRequest>,
    ) -> Result<Response<v1::BulkCreateInvitationsResponse>, Status> {
        let (message, common) = accept(request)?;
        let rows = message
            .invitations
            .into_iter()
            .enumerate()
            .map(|(row, new)| asked(&format!("invitations[{row}]"), Some(new)))
            .collect();
        let (rows, revision) = self
            .application
            .create_invitations(&message.organization, rows, message.all_or_nothing, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::BulkCreateInvitationsResponse {
            results: rows.into_iter().map(|row| self.result(row)).collect(),
            revision: token(revision),
        }))
    }

    async fn get_invitation(
        &self,
        request: Request<v1::GetInvitationRequest>,
    ) -> Result<Response<v1::GetInvitationResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .view(&message.organization, &reader, &message.at_least)
            .await?;
        let invitation = snapshot
            .organization()
            .invitation(&message.invitation)
            .map_err(|refusal| status::of(refusal.into()))?;
        Ok(Response::new(v1::GetInvitationResponse {
            invitation: self.told(invitation),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_invitations(
        &self,
        request: Request<v1::ListInvitationsRequest>,
    ) -> Result<Response<v1::ListInvitationsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .view(&message.organization, &reader, &message.at_least)
            .await?;
        list(&snapshot, &message, self.now())
            .map(Response::new)
            .map_err(status::of)
    }

    async fn resend_invitation(
        &self,
        request: Request<v1::ResendInvitationRequest>,
    ) -> Result<Response<v1::ResendInvitationResponse>, Status> {
        let (message, common) = accept(request)?;
        let Linked {
            invitation,
            token: link,
            revision,
        } = self
            .application
            .resend_invitation(
                &message.organization,
                &message.invitation,
                &message.etag,
                &common,
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::ResendInvitationResponse {
            invitation: self.told(&invitation),
            revision: token(revision),
            token: link,
        }))
    }

    async fn copy_invitation_link(
        &self,
        request: Request<v1::CopyInvitationLinkRequest>,
    ) -> Result<Response<v1::CopyInvitationLinkResponse>, Status> {
        let (message, common) = accept(request)?;
        let Linked {
            invitation,
            token: link,
            revision,
        } = self
            .application
            .copy_invitation_link(&message.organization, &message.invitation, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CopyInvitationLinkResponse {
            invitation: self.told(&invitation),
            revision: token(revision),
            token: link,
        }))
    }

    async fn revoke_invitation(
        &self,
        request: Request<v1::RevokeInvitationRequest>,
    ) -> Result<Response<v1::RevokeInvitationResponse>, Status> {
        let (message, common) = accept(request)?;
        let Changed {
            invitation,
            revision,
        } = self
            .application
            .revoke_invitation(
                &message.organization,
                &message.invitation,
                &message.etag,
                &common,
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RevokeInvitationResponse {
            invitation: self.told(&invitation),
            revision: token(revision),
        }))
    }

    async fn accept_invitation(
        &self,
        request: Request<v1::AcceptInvitationRequest>,
    ) -> Result<Response<v1::AcceptInvitationResponse>, Status> {
        let (message, common) = accept(request)?;
        let by = Acceptance {
            user: message.user,
            email: message.email,
            display_name: message.display_name,
        };
        let written = self
            .application
            .accept_invitation(&message.organization, &message.token, &by, &common)
            .await
            .map_err(status::of)?;
        let snapshot = self.application.find(&message.organization).await.ok();
        let found = snapshot.as_ref().map(|snapshot| snapshot.organization());
        Ok(Response::new(v1::AcceptInvitationResponse {
            member: Some(to_proto::written_member(found, &written).map_err(status::of)?),
            revision: token(written.revision),
        }))
    }

    async fn decline_invitation(
        &self,
        request: Request<v1::DeclineInvitationRequest>,
    ) -> Result<Response<v1::DeclineInvitationResponse>, Status> {
        let (message, common) = accept(request)?;
        let Changed {
            invitation,
            revision,
        } = self
            .application
            .decline_invitation(&message.organization, &message.token, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeclineInvitationResponse {
            invitation: self.told(&invitation),
            revision: token(revision),
        }))
    }
}

/// What is asked for in the field of that path.
fn asked(path: &str, given: Option<v1::NewInvitation>) -> Result<NewInvitation, Refusal> {
    let Some(given) = given else {
        return Err(fault(path, Fault::Missing, "must be given"));
    };
    let timed = given
        .project_roles
        .iter()
        .position(|held| !held.role_periods.is_empty());
    if let Some(index) = timed {
        let field = format!("{path}.project_roles[{index}].role_periods");
        let message = "is not for invitations, whose roles count as long as the membership";
        return Err(fault(field, Fault::Malformed, message));
    }
    let overrides = given.overrides.into_iter().enumerate();
    let overrides = overrides.map(|(index, asked)| {
        replacement(asked)
            .map_err(|refusal| beneath(&format!("{path}.overrides[{index}]."), refusal))
    });
    Ok(NewInvitation {
        email: given.email,
        display_name: given.display_name,
        roles: given.roles,
        project_roles: given
            .project_roles
            .into_iter()
            .map(|held| (held.project, held.roles))
            .collect(),
        overrides: overrides.collect::<Result<_, Refusal>>()?,
        period: from_proto::period(&format!("{path}.period"), given.period.as_ref())?,
        message: given.message,
    })
}

fn replacement(asked: v1::ProjectOverride) -> Result<NewOverride, Refusal> {
    Ok(NewOverride {
        permissions: from_proto::permissions(asked.permissions.as_ref())?,
        period: from_proto::period("period", asked.period.as_ref())?,
        project: asked.project,
        roles: asked.roles,
    })
}

fn fault(field: impl Into<String>, kind: Fault, message: &str) -> Refusal {
    Refusal::Invalid(vec![Violation::new(field, kind, message)])
}

/// The refusal of a part, with the fields as the whole request spells them.
fn beneath(path: &str, refusal: Refusal) -> Refusal {
    let Refusal::Invalid(violations) = refusal else {
        return refusal;
    };
    let moved = violations.into_iter().map(|violation| Violation {
        field: format!("{path}{}", violation.field),
        ..violation
    });
    Refusal::Invalid(moved.collect())
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListInvitationsRequest,
    now: Moment,
) -> Result<v1::ListInvitationsResponse, Error> {
    let Ok(status) = v1::InvitationStatus::try_from(message.status) else {
        return Err(fault("status", Fault::Malformed, "is no invitation status").into());
    };
    let email = folded_address(&message.email);
    let filters = [
        "invitations",
        &message.organization,
        &message.status.to_string(),
        &email,
    ];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let after = (
        Bound::Excluded(InvitationId::new(request.after.as_str())),
        Bound::Unbounded,
    );
    let admits = |invitation: &Invitation| {
        let of_status = status == v1::InvitationStatus::Unspecified
            || status == to_proto::invitation_status(invitation, now);
        of_status && (email.is_empty() || email == invitation.email)
    };
    let invitations = snapshot
        .organization()
        .invitations
        .range(after)
        .map(|(_, invitation)| invitation)
        .filter(|invitation| admits(invitation));
    let page = request.take(invitations, |invitation| invitation.id.to_string());
    Ok(v1::ListInvitationsResponse {
        invitations: page
            .items
            .iter()
            .map(|invitation| to_proto::invitation(invitation, now))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}
