//! `GroupService`: groups kept, and members put into them.

use std::ops::Bound;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Written};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::groups::{GroupEdit, NewGroup};
use crate::domain::identifiers::GroupId;
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::group_service_server::GroupService;
use crate::world::draw_id;

const VIEW: Need<'static> = Need::Organization("ViewGroups");
const MANAGE: Need<'static> = Need::Organization("ManageGroups");

/// Serves groups.
pub struct GroupRpc {
    application: Arc<Application>,
}

impl GroupRpc {
    /// Serves groups of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

#[tonic::async_trait]
impl GroupService for GroupRpc {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Result<Response<v1::CreateGroupResponse>, Status> {
        let (message, common) = accept(request)?;
        let drawn = message
            .group_id
            .is_empty()
            .then(|| draw_id(self.application.world(), "group"));
        let new = from_proto::period("period", message.period.as_ref()).map(|period| NewGroup {
            id: drawn.unwrap_or(message.group_id),
            display_name: message.display_name,
            description: message.description,
            roles: message.roles,
            max_token_age: message.max_token_age.as_ref().map(from_proto::milliseconds),
            period,
        });
        let written = self
            .application
            .mutate(&message.organization, MANAGE, &common, |turn| {
                let new = new.as_ref().map_err(Clone::clone)?;
                turn.organization()
                    .create_group(turn.catalog(), new, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateGroupResponse {
            group: Some(written_group(&written)?),
            revision: token(written.revision),
        }))
    }

    async fn get_group(
        &self,
        request: Request<v1::GetGroupRequest>,
    ) -> Result<Response<v1::GetGroupResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(&message.organization, VIEW, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        let group = snapshot.organization().group(&message.group);
        let group = group.map_err(|refusal| status::of(refusal.into()))?;
        Ok(Response::new(v1::GetGroupResponse {
            group: Some(to_proto::group(group)),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(&message.organization, VIEW, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        list(&snapshot, &message)
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_group(
        &self,
        request: Request<v1::UpdateGroupRequest>,
    ) -> Result<Response<v1::UpdateGroupResponse>, Status> {
        let (message, common) = accept(request)?;
        let edit = edit(&message);
        let written = self
            .application
            .mutate(&message.organization, MANAGE, &common, |turn| {
                let edit = edit.as_ref().map_err(Clone::clone)?;
                turn.organization().update_group(
                    turn.catalog(),
                    &message.group,
                    edit,
                    &message.etag,
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UpdateGroupResponse {
            group: Some(written_group(&written)?),
            revision: token(written.revision),
        }))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(&message.organization, MANAGE, &common, |turn| {
                turn.organization()
                    .delete_group(&message.group, &message.etag)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeleteGroupResponse {
            revision: token(written.revision),
        }))
    }

    async fn add_group_member(
        &self,
        request: Request<v1::AddGroupMemberRequest>,
    ) -> Result<Response<v1::AddGroupMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let period = from_proto::period("period", message.period.as_ref());
        let written = self
            .application
            .mutate(&message.organization, MANAGE, &common, |turn| {
                turn.organization().add_group_member(
                    turn.catalog(),
                    &message.group,
                    &message.user,
                    period.clone()?,
                    &message.etag,
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        let Outcome::Member(member) = &written.outcome else {
            return Err(status::of(to_proto::unexpected(&written.outcome)));
        };
        Ok(Response::new(v1::AddGroupMemberResponse {
            member: to_proto::group_member(member, &message.group),
            revision: token(written.revision),
        }))
    }

    async fn remove_group_member(
        &self,
        request: Request<v1::RemoveGroupMemberRequest>,
    ) -> Result<Response<v1::RemoveGroupMemberResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(&message.organization, MANAGE, &common, |turn| {
                turn.organization().remove_group_member(
                    &message.group,
                    &message.user,
                    &message.etag,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RemoveGroupMemberResponse {
            revision: token(written.revision),
        }))
    }

    async fn list_group_members(
        &self,
        request: Request<v1::ListGroupMembersRequest>,
    ) -> Result<Response<v1::ListGroupMembersResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(&message.organization, VIEW, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        list_members(&snapshot, &message)
            .map(Response::new)
            .map_err(status::of)
    }

    async fn set_group_project_roles(
        &self,
        request: Request<v1::SetGroupProjectRolesRequest>,
    ) -> Result<Response<v1::SetGroupProjectRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(&message.organization, MANAGE, &common, |turn| {
                turn.organization().set_group_project_roles(
                    turn.catalog(),
                    &message.group,
                    &message.project,
                    &message.roles,
                    &message.etag,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::SetGroupProjectRolesResponse {
            group: Some(written_group(&written)?),
            revision: token(written.revision),
        }))
    }
}

fn written_group(written: &Written) -> Result<v1::Group, Status> {
    match &written.outcome {
        Outcome::Group(group) => Ok(to_proto::group(group)),
        other => Err(status::of(to_proto::unexpected(other))),
    }
}

fn edit(message: &v1::UpdateGroupRequest) -> Result<GroupEdit, Refusal> {
    let editable = [
        "display_name",
        "description",
        "roles",
        "max_token_age",
        "period",
    ];
    let mask = from_proto::mask(message.update_mask.as_ref(), &editable)?;
    let name = || message.display_name.clone();
    let description = || message.description.clone();
    let roles = || message.roles.clone();
    let age = || message.max_token_age.as_ref().map(from_proto::milliseconds);
    let period = || from_proto::period("period", message.period.as_ref());
    Ok(GroupEdit {
        display_name: mask.has("display_name").then(name),
        description: mask.has("description").then(description),
        roles: mask.has("roles").then(roles),
        max_token_age: mask.has("max_token_age").then(age),
        period: mask.has("period").then(period).transpose()?,
    })
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Error> {
    let filters = ["groups", &message.organization];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let after = (
        Bound::Excluded(GroupId::new(request.after.as_str())),
        Bound::Unbounded,
    );
    let groups = snapshot.organization().groups.range(after);
    let page = request.take(groups.map(|(_, group)| group), |group| group.id.to_string());
    Ok(v1::ListGroupsResponse {
        groups: page
            .items
            .iter()
            .map(|group| to_proto::group(group))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}

fn list_members(
    snapshot: &Snapshot,
    message: &v1::ListGroupMembersRequest,
) -> Result<v1::ListGroupMembersResponse, Error> {
    let organization = snapshot.organization();
    organization.group(&message.group)?;
    let filters = ["group members", &message.organization, &message.group];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let members = organization
        .members
        .after(&request.after)
        .filter_map(|member| to_proto::group_member(member, &message.group));
    let page = request.take(members, |member| member.user.clone());
    Ok(v1::ListGroupMembersResponse {
        members: page.items,
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}
