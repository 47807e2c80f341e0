//! `RoleService`: built-in roles listed, custom ones kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Written};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::roles::{NewRole, RoleEdit};
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::role_service_server::RoleService;
use crate::world::draw_id;

/// Serves roles.
pub struct RoleRpc {
    application: Arc<Application>,
}

impl RoleRpc {
    /// Serves roles of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    async fn written(
        &self,
        organization: &str,
        written: &Written,
    ) -> Result<Option<v1::Role>, Status> {
        let found = self.application.find(organization).await;
        let snapshot = found.map_err(status::of)?;
        match &written.outcome {
            Outcome::Role(role) => Ok(Some(to_proto::own_role(role, snapshot.catalog().catalog()))),
            other => Err(status::of(to_proto::unexpected(other))),
        }
    }
}

#[tonic::async_trait]
impl RoleService for RoleRpc {
    async fn create_role(
        &self,
        request: Request<v1::CreateRoleRequest>,
    ) -> Result<Response<v1::CreateRoleResponse>, Status> {
        let (message, common) = accept(request)?;
        let drawn = message
            .role_id
            .is_empty()
            .then(|| draw_id(self.application.world(), "role"));
        let permissions = from_proto::permissions(message.permissions.as_ref());
        let id = drawn.unwrap_or(message.role_id);
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("CreateRole"),
                &common,
                |turn| {
                    let new = NewRole {
                        id: id.clone(),
                        display_name: message.display_name.clone(),
                        description: message.description.clone(),
                        permissions: permissions.clone()?,
                    };
                    turn.organization()
                        .create_role(turn.catalog(), &new, turn.now)
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateRoleResponse {
            role: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn get_role(
        &self,
        request: Request<v1::GetRoleRequest>,
    ) -> Result<Response<v1::GetRoleResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Organization("ViewRoles"),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let role = find(&snapshot, &message.role).map_err(status::of)?;
        Ok(Response::new(v1::GetRoleResponse {
            role: Some(role),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_roles(
        &self,
        request: Request<v1::ListRolesRequest>,
    ) -> Result<Response<v1::ListRolesResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Organization("ViewRoles"),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        list(&snapshot, &message)
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_role(
        &self,
        request: Request<v1::UpdateRoleRequest>,
    ) -> Result<Response<v1::UpdateRoleResponse>, Status> {
        let (message, common) = accept(request)?;
        let editable = ["display_name", "description", "permissions"];
        let edit = from_proto::mask(message.update_mask.as_ref(), &editable).and_then(|mask| {
            let permissions = from_proto::permissions(message.permissions.as_ref())?;
            Ok(RoleEdit {
                display_name: mask.has("display_name").then_some(message.display_name),
                description: mask.has("description").then_some(message.description),
                permissions: mask.has("permissions").then_some(permissions),
            })
        });
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("UpdateRole"),
                &common,
                |turn| {
                    let catalog = turn.catalog();
                    turn.organization().update_role(
                        catalog,
                        &message.role,
                        &edit.clone()?,
                        &message.etag,
                        turn.now,
                    )
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UpdateRoleResponse {
            role: self.written(&message.organization, &written).await?,
            revision: token(written.revision),
        }))
    }

    async fn delete_role(
        &self,
        request: Request<v1::DeleteRoleRequest>,
    ) -> Result<Response<v1::DeleteRoleResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("DeleteRole"),
                &common,
                |turn| {
                    turn.organization()
                        .delete_role(turn.catalog(), &message.role, &message.etag)
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeleteRoleResponse {
            revision: token(written.revision),
        }))
    }

    async fn reset_role(
        &self,
        request: Request<v1::ResetRoleRequest>,
    ) -> Result<Response<v1::ResetRoleResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("UpdateRole"),
                &common,
                |turn| {
                    turn.organization()
                        .reset_role(turn.catalog(), &message.role, &message.etag)
                },
            )
            .await
            .map_err(status::of)?;
        let snapshot = self
            .application
            .find(&message.organization)
            .await
            .map_err(status::of)?;
        // Not what is there now: a validation changes nothing, and after a repeated
        // request the role may have been edited again.
        let role = to_proto::built_in_role(snapshot.catalog().catalog(), &message.role);
        Ok(Response::new(v1::ResetRoleResponse {
            role,
            revision: token(written.revision),
        }))
    }
}

fn find(snapshot: &Snapshot, id: &str) -> Result<v1::Role, Error> {
    let id_shown = || {
        id.chars()
            .take(128)
            .flat_map(char::escape_default)
            .collect()
    };
    to_proto::role(snapshot.organization(), snapshot.catalog().catalog(), id).ok_or_else(|| {
        Refusal::NotFound {
            kind: "role",
            id: id_shown(),
        }
        .into()
    })
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListRolesRequest,
) -> Result<v1::ListRolesResponse, Error> {
    let request = PageRequest::parse(
        message.page_size,
        &message.page_token,
        &["roles", &message.organization],
    )?;
    let organization = snapshot.organization();
    let catalog = snapshot.catalog().catalog();
    let ids: BTreeSet<&str> = catalog
        .roles
        .iter()
        .map(|role| role.id.as_str())
        .chain(organization.roles.keys().map(|id| id.as_str()))
        .filter(|id| *id > request.after.as_str())
        .collect();
    let page = request.take(ids, |id| (*id).to_owned());
    Ok(v1::ListRolesResponse {
        roles: page
            .items
            .iter()
            .filter_map(|id| to_proto::role(organization, catalog, id))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}
