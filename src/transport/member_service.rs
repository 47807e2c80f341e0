//! `MemberService`: members and what they hold on the organization.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, member_list, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, Written};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::identifiers::OrganizationId;
use crate::domain::members::{MemberEdit, NewMember};
use crate::proto::v1;
use crate::proto::v1::member_service_server::MemberService;

/// Serves members.
pub struct MemberRpc {
    application: Arc<Application>,
}

impl MemberRpc {
    /// Serves members of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    async fn written(
        &self,
        organization: &str,
        written: &Written,
    ) -> Result<Option<v1::Member>, Status> {
        let snapshot = self.application.find(organization).await.ok();
        let found = snapshot.as_ref().map(|snapshot| snapshot.organization());
        to_proto::written_member(found, written)
            .map(Some)
            .map_err(status::of)
    }
}

#[tonic::async_trait]
impl MemberService for MemberRpc {
    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let new = new_member(&message);
        let written = self
            .application
            .mutate(&message.organization, Need::Operator, &common, |turn| {
                turn.organization()
                    .add_member(turn.catalog(), &new.clone()?, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::AddMemberResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn get_member(
        &self,
        request: Request<v1::GetMemberRequest>,
    ) -> Result<Response<v1::GetMemberResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Member("ViewMembers", &message.user),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let organization = snapshot.organization();
        let member = organization
            .member(&message.user)
            .map_err(|refusal| status::of(refusal.into()))?;
        Ok(Response::new(v1::GetMemberResponse {
            member: Some(to_proto::member(
                member,
                organization.is_owner(&message.user),
            )),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let view = |need| {
            let (organization, at_least) = (&message.organization, &message.at_least);
            self.application.view(organization, need, &reader, at_least)
        };
        let mut snapshot = view(Need::Organization("ViewMembers"))
            .await
            .map_err(status::of)?;
        if message.include_invited {
            snapshot = view(Need::Organization("ViewInvitations"))
                .await
                .map_err(status::of)?;
        }
        member_list::list(&snapshot, &message, self.application.world().now())
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_member(
        &self,
        request: Request<v1::UpdateMemberRequest>,
    ) -> Result<Response<v1::UpdateMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let editable = ["display_name", "email"];
        let edit =
            from_proto::mask(message.update_mask.as_ref(), &editable).map(|mask| MemberEdit {
                display_name: mask.has("display_name").then_some(message.display_name),
                email: mask.has("email").then_some(message.email),
            });
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Member("UpdateMember", &message.user),
                &common,
                |turn| {
                    turn.organization()
                        .update_member(&message.user, &edit.clone()?, &message.etag)
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UpdateMemberResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn set_member_roles(
        &self,
        request: Request<v1::SetMemberRolesRequest>,
    ) -> Result<Response<v1::SetMemberRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let roles = from_proto::roles(&message.roles, &message.role_periods);
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Member("ChangeMemberRole", &message.user),
                &common,
                |turn| {
                    turn.organization().set_member_roles(
                        turn.catalog(),
                        &message.user,
                        &roles.clone()?,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::SetMemberRolesResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn suspend_member(
        &self,
        request: Request<v1::SuspendMemberRequest>,
    ) -> Result<Response<v1::SuspendMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Member("SuspendMember", &message.user),
                &common,
                |turn| {
                    turn.organization().suspend_member(
                        turn.catalog(),
                        &message.user,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::SuspendMemberResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn reinstate_member(
        &self,
        request: Request<v1::ReinstateMemberRequest>,
    ) -> Result<Response<v1::ReinstateMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Member("ReinstateMember", &message.user),
                &common,
                |turn| {
                    turn.organization().reinstate_member(
                        turn.catalog(),
                        &message.user,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::ReinstateMemberResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Member("RemoveMember", &message.user),
                &common,
                |turn| {
                    let heir = &message.reassign_resources_to;
                    turn.organization().remove_member(
                        turn.catalog(),
                        &message.user,
                        heir,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await
            .map_err(status::of)?;
        let removed = removed(&written).map_err(status::of)?;
        Ok(Response::new(removed))
    }

    async fn leave_organization(
        &self,
        request: Request<v1::LeaveOrganizationRequest>,
    ) -> Result<Response<v1::LeaveOrganizationResponse>, Status> {
        let (message, common) = accept(request)?;
        let need = Need::Member("LeaveOrganization", &message.user);
        let written = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                let heir = &message.reassign_resources_to;
                turn.organization()
                    .leave_organization(&message.user, heir, &message.etag)
            })
            .await
            .map_err(status::of)?;
        let removed = removed(&written).map_err(status::of)?;
        Ok(Response::new(v1::LeaveOrganizationResponse {
            revision: removed.revision,
            orphaned_resources: removed.orphaned_resources,
            orphaned_count: removed.orphaned_count,
            reassigned_count: removed.reassigned_count,
        }))
    }

    async fn set_member_period(
        &self,
        request: Request<v1::SetMemberPeriodRequest>,
    ) -> Result<Response<v1::SetMemberPeriodResponse>, Status> {
        let (message, common) = accept(request)?;
        let period = from_proto::period("period", message.period.as_ref());
        let need = Need::Member("ChangeMemberRole", &message.user);
        let written = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.organization().set_member_period(
                    &message.user,
                    period.clone()?,
                    &message.etag,
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::SetMemberPeriodResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn record_member_activity(
        &self,
        request: Request<v1::RecordMemberActivityRequest>,
    ) -> Result<Response<v1::RecordMemberActivityResponse>, Status> {
        let (message, common) = accept(request)?;
        let time = from_proto::moment("time", message.time.as_ref());
        let written = self
            .application
            .mutate(&message.organization, Need::Operator, &common, |turn| {
                turn.organization()
                    .record_activity(&message.user, time.clone()?, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RecordMemberActivityResponse {
            member: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn remove_user(
        &self,
        request: Request<v1::RemoveUserRequest>,
    ) -> Result<Response<v1::RemoveUserResponse>, Status> {
        let (message, common) = accept(request)?;
        let removals = self
            .application
            .remove_user(&message.user, &common)
            .await
            .map_err(status::of)?;
        let removal = |(organization, removal): (OrganizationId, Result<Outcome, Refusal>)| {
            let (refusal, orphaned_count) = match removal {
                Ok(Outcome::Removed { orphaned_count, .. }) => (String::new(), orphaned_count),
                Ok(_) => (String::new(), 0),
                Err(refusal) => (refusal.reason().to_owned(), 0),
            };
            v1::UserRemoval {
                organization: organization.to_string(),
                refusal,
                orphaned_count,
            }
        };
        Ok(Response::new(v1::RemoveUserResponse {
            removals: removals.each.into_iter().map(removal).collect(),
            revision: token(removals.revision),
        }))
    }
}

fn new_member(message: &v1::AddMemberRequest) -> Result<NewMember, Refusal> {
    Ok(NewMember {
        user: message.user.clone(),
        display_name: message.display_name.clone(),
        email: message.email.clone(),
        roles: from_proto::roles(&message.roles, &message.role_periods)?,
        period: from_proto::period("period", message.period.as_ref())?,
    })
}

/// What became of the resources of a member who is gone.
fn removed(written: &Written) -> Result<v1::RemoveMemberResponse, Error> {
    match &written.outcome {
        Outcome::Removed {
            orphaned,
            orphaned_count,
            reassigned_count,
        } => Ok(v1::RemoveMemberResponse {
            revision: token(written.revision),
            orphaned_resources: orphaned
                .iter()
                .map(|key| v1::ResourceRef {
                    r#type: key.type_id.to_string(),
                    id: key.id.to_string(),
                })
                .collect(),
            orphaned_count: *orphaned_count,
            reassigned_count: *reassigned_count,
        }),
        other => Err(to_proto::unexpected(other)),
    }
}
