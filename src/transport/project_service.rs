//! `ProjectService`: projects, roles on them, overrides in them, defaults for them.

use std::ops::Bound;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::actor::sees_project;
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Request as Common, Turn, Written};
use crate::domain::Refusal;
use crate::domain::change::{Change, Outcome};
use crate::domain::identifiers::ProjectId;
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::project_service_server::ProjectService;
use crate::world::draw_id;

/// Serves projects.
pub struct ProjectRpc {
    application: Arc<Application>,
}

impl ProjectRpc {
    /// Serves projects of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    /// Changes a project and answers with it.
    async fn change_project(
        &self,
        organization: &str,
        need: Need<'_>,
        common: &Common,
        decide: impl Fn(&Turn<'_>) -> Result<Change, Refusal>,
    ) -> Result<(Option<v1::Project>, String), Status> {
        let written = self
            .application
            .mutate(organization, need, common, decide)
            .await
            .map_err(status::of)?;
        match &written.outcome {
            Outcome::Project(project) => {
                Ok((Some(to_proto::project(project)), token(written.revision)))
            }
            other => Err(status::of(to_proto::unexpected(other))),
        }
    }

    /// Changes what a member holds on projects and answers with the member.
    async fn change_member(
        &self,
        organization: &str,
        need: Need<'_>,
        common: &Common,
        decide: impl Fn(&Turn<'_>) -> Result<Change, Refusal>,
    ) -> Result<(Option<v1::Member>, String), Status> {
        let written: Written = self
            .application
            .mutate(organization, need, common, decide)
            .await
            .map_err(status::of)?;
        let snapshot = self.application.find(organization).await.ok();
        let found = snapshot.as_ref().map(|snapshot| snapshot.organization());
        let member = to_proto::written_member(found, &written).map_err(status::of)?;
        Ok((Some(member), token(written.revision)))
    }
}

#[tonic::async_trait]
impl ProjectService for ProjectRpc {
    async fn create_project(
        &self,
        request: Request<v1::CreateProjectRequest>,
    ) -> Result<Response<v1::CreateProjectResponse>, Status> {
        let (message, common) = accept(request)?;
        let drawn = message
            .project_id
            .is_empty()
            .then(|| draw_id(self.application.world(), "project"));
        let id = drawn.unwrap_or(message.project_id);
        let (project, revision) = self
            .change_project(
                &message.organization,
                Need::Organization("CreateProject"),
                &common,
                |turn| {
                    let catalog = turn.catalog();
                    turn.organization().create_project(
                        catalog,
                        &id,
                        &message.display_name,
                        turn.now,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::CreateProjectResponse {
            project,
            revision,
        }))
    }

    async fn get_project(
        &self,
        request: Request<v1::GetProjectRequest>,
    ) -> Result<Response<v1::GetProjectResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Project("ViewProject", &message.project),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let project = snapshot
            .organization()
            .project(&message.project)
            .map_err(|refusal| status::of(refusal.into()))?;
        Ok(Response::new(v1::GetProjectResponse {
            project: Some(to_proto::project(project)),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_projects(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Result<Response<v1::ListProjectsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Membership,
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let now = self.application.world().now();
        let sees = |project: &str| sees_project(&snapshot, &reader.caller.actor, project, now);
        list(&snapshot, &message, sees)
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_project(
        &self,
        request: Request<v1::UpdateProjectRequest>,
    ) -> Result<Response<v1::UpdateProjectResponse>, Status> {
        let (message, common) = accept(request)?;
        let mask = from_proto::mask(message.update_mask.as_ref(), &["display_name"]);
        let (project, revision) = self
            .change_project(
                &message.organization,
                Need::Project("UpdateProject", &message.project),
                &common,
                |turn| {
                    mask.clone()?;
                    turn.organization().update_project(
                        &message.project,
                        &message.display_name,
                        &message.etag,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::UpdateProjectResponse {
            project,
            revision,
        }))
    }

    async fn archive_project(
        &self,
        request: Request<v1::ArchiveProjectRequest>,
    ) -> Result<Response<v1::ArchiveProjectResponse>, Status> {
        let (message, common) = accept(request)?;
        let (project, revision) = self
            .change_project(
                &message.organization,
                Need::Project("ArchiveProject", &message.project),
                &common,
                |turn| {
                    turn.organization()
                        .archive_project(&message.project, &message.etag)
                },
            )
            .await?;
        Ok(Response::new(v1::ArchiveProjectResponse {
            project,
            revision,
        }))
    }

    async fn unarchive_project(
        &self,
        request: Request<v1::UnarchiveProjectRequest>,
    ) -> Result<Response<v1::UnarchiveProjectResponse>, Status> {
        let (message, common) = accept(request)?;
        let (project, revision) = self
            .change_project(
                &message.organization,
                Need::Project("ArchiveProject", &message.project),
                &common,
                |turn| {
                    turn.organization()
                        .unarchive_project(&message.project, &message.etag)
                },
            )
            .await?;
        Ok(Response::new(v1::UnarchiveProjectResponse {
            project,
            revision,
        }))
    }

    async fn delete_project(
        &self,
        request: Request<v1::DeleteProjectRequest>,
    ) -> Result<Response<v1::DeleteProjectResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Project("DeleteProject", &message.project),
                &common,
                |turn| {
                    turn.organization()
                        .delete_project(&message.project, &message.etag, turn.now)
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeleteProjectResponse {
            revision: token(written.revision),
        }))
    }

    async fn set_project_roles(
        &self,
        request: Request<v1::SetProjectRolesRequest>,
    ) -> Result<Response<v1::SetProjectRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let roles = from_proto::roles(&message.roles, &message.role_periods);
        let (member, revision) = self
            .change_member(
                &message.organization,
                Need::Project("ManageProjectMembers", &message.project),
                &common,
                |turn| {
                    turn.organization().set_project_roles(
                        turn.catalog(),
                        &message.project,
                        &message.user,
                        &roles.clone()?,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::SetProjectRolesResponse {
            member,
            revision,
        }))
    }

    async fn clear_project_roles(
        &self,
        request: Request<v1::ClearProjectRolesRequest>,
    ) -> Result<Response<v1::ClearProjectRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let (member, revision) = self
            .change_member(
                &message.organization,
                Need::Project("ManageProjectMembers", &message.project),
                &common,
                |turn| {
                    turn.organization().clear_project_roles(
                        turn.catalog(),
                        &message.project,
                        &message.user,
                        &message.etag,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::ClearProjectRolesResponse {
            member,
            revision,
        }))
    }

    async fn set_project_override(
        &self,
        request: Request<v1::SetProjectOverrideRequest>,
    ) -> Result<Response<v1::SetProjectOverrideResponse>, Status> {
        let (message, common) = accept(request)?;
        let permissions = from_proto::permissions(message.permissions.as_ref());
        let period = from_proto::period("period", message.period.as_ref());
        let (member, revision) = self
            .change_member(
                &message.organization,
                Need::Project("SetProjectOverride", &message.project),
                &common,
                |turn| {
                    turn.organization().set_project_override(
                        turn.catalog(),
                        &message.project,
                        &message.user,
                        &message.roles,
                        &permissions.clone()?,
                        period.clone()?,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::SetProjectOverrideResponse {
            member,
            revision,
        }))
    }

    async fn remove_project_override(
        &self,
        request: Request<v1::RemoveProjectOverrideRequest>,
    ) -> Result<Response<v1::RemoveProjectOverrideResponse>, Status> {
        let (message, common) = accept(request)?;
        let (member, revision) = self
            .change_member(
                &message.organization,
                Need::Project("SetProjectOverride", &message.project),
                &common,
                |turn| {
                    turn.organization().remove_project_override(
                        turn.catalog(),
                        &message.project,
                        &message.user,
                        &message.etag,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::RemoveProjectOverrideResponse {
            member,
            revision,
        }))
    }

    async fn set_default_roles(
        &self,
        request: Request<v1::SetDefaultRolesRequest>,
    ) -> Result<Response<v1::SetDefaultRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let (member, revision) = self
            .change_member(
                &message.organization,
                Need::Organization("ManageDefaultRoles"),
                &common,
                |turn| {
                    let catalog = turn.catalog();
                    turn.organization().set_default_roles(
                        catalog,
                        &message.user,
                        &message.roles,
                        &message.etag,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::SetDefaultRolesResponse {
            member,
            revision,
        }))
    }

    async fn copy_default_roles(
        &self,
        request: Request<v1::CopyDefaultRolesRequest>,
    ) -> Result<Response<v1::CopyDefaultRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let (member, revision) = self
            .change_member(
                &message.organization,
                Need::Organization("ManageDefaultRoles"),
                &common,
                |turn| {
                    let catalog = turn.catalog();
                    turn.organization()
                        .copy_default_roles(catalog, &message.user, &message.etag)
                },
            )
            .await?;
        Ok(Response::new(v1::CopyDefaultRolesResponse {
            member,
            revision,
        }))
    }

    async fn list_project_members(
        &self,
        request: Request<v1::ListProjectMembersRequest>,
    ) -> Result<Response<v1::ListProjectMembersResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Project("ViewProject", &message.project),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        list_members(&snapshot, &message)
            .map(Response::new)
            .map_err(status::of)
    }
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListProjectsRequest,
    sees: impl Fn(&str) -> Result<bool, Error>,
) -> Result<v1::ListProjectsResponse, Error> {
    let archived = message.show_archived.to_string();
    let filters = ["projects", &message.organization, &archived];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let after = (
        Bound::Excluded(ProjectId::new(request.after.as_str())),
        Bound::Unbounded,
    );
    let projects = snapshot
        .organization()
        .projects
        .range(after)
        .map(|(_, project)| project)
        .filter(|project| message.show_archived || !project.archived);
    let mut seen = Vec::new();
    for project in projects {
        if seen.len() > request.size {
            break;
        }
        if sees(project.id.as_str())? {
            seen.push(project);
        }
    }
    let page = request.take(seen, |project| project.id.to_string());
    Ok(v1::ListProjectsResponse {
        projects: page
            .items
            .iter()
            .map(|project| to_proto::project(project))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}

fn list_members(
    snapshot: &Snapshot,
    message: &v1::ListProjectMembersRequest,
) -> Result<v1::ListProjectMembersResponse, Error> {
    let organization = snapshot.organization();
    let project = organization.project(&message.project)?;
    let filters = ["project-members", &message.organization, &message.project];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let members = organization.members.after(&request.after).filter(|member| {
        !member.roles_on_project(project).is_empty()
            || member.overrides.contains_key(project.id.as_str())
    });
    let page = request.take(members, |member| member.user.to_string());
    Ok(v1::ListProjectMembersResponse {
        members: page
            .items
            .iter()
            .map(|member| to_proto::project_member(member, project))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}
