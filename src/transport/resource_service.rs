//! `ResourceService`: registered resources and who owns them.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{status, to_proto};
use crate::application::actor::sees_project;
use crate::application::revision::token;
use crate::application::{
    Actor, Application, Error, Need, PageRequest, Reader, Request as Common, Turn,
};
use crate::domain::Refusal;
use crate::domain::change::{Change, Outcome};
use crate::domain::identifiers::ProjectId;
use crate::domain::organization::{Moment, RegisteredResource, ResourceKey};
use crate::domain::refusal::{Fault, Violation};
use crate::domain::resources::NewResource;
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::resource_service_server::ResourceService;

/// Serves registered resources.
pub struct ResourceRpc {
    application: Arc<Application>,
}

impl ResourceRpc {
    /// Serves resources of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    /// Changes a resource and answers with it.
    async fn change_resource(
        &self,
        organization: &str,
        need: Need<'_>,
        common: &Common,
        decide: impl Fn(&Turn<'_>) -> Result<Change, Refusal>,
    ) -> Result<(Option<v1::RegisteredResource>, String), Status> {
        let written = self
            .application
            .mutate(organization, need, common, decide)
            .await
            .map_err(status::of)?;
        match &written.outcome {
            Outcome::Resource(resource) => {
                Ok((Some(to_proto::resource(resource)), token(written.revision)))
            }
            other => Err(status::of(to_proto::unexpected(other))),
        }
    }
}

#[tonic::async_trait]
impl ResourceService for ResourceRpc {
    async fn register_resource(
        &self,
        request: Request<v1::RegisterResourceRequest>,
    ) -> Result<Response<v1::RegisterResourceResponse>, Status> {
        let (message, common) = accept(request)?;
        let new = NewResource {
            type_id: message.r#type,
            id: message.id,
            project: message.project,
            owner: message.owner,
        };
        let (resource, revision) = self
            .change_resource(
                &message.organization,
                Need::Organization("ManageResources"),
                &common,
                |turn| {
                    turn.organization()
                        .register_resource(turn.catalog(), &new, turn.now)
                },
            )
            .await?;
        Ok(Response::new(v1::RegisterResourceResponse {
            resource,
            revision,
        }))
    }

    async fn get_resource(
        &self,
        request: Request<v1::GetResourceRequest>,
    ) -> Result<Response<v1::GetResourceResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Organization("ViewOrganization"),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let resource = snapshot
            .organization()
            .resource(&message.r#type, &message.id)
            .map_err(|refusal| status::of(refusal.into()))?;
        let mut sight = Sight::of(&self.application, &snapshot, &reader);
        if !sight.shows(resource).map_err(status::of)? {
            return Err(status::of(not_there(&message).into()));
        }
        Ok(Response::new(v1::GetResourceResponse {
            resource: Some(to_proto::resource(resource)),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_resources(
        &self,
        request: Request<v1::ListResourcesRequest>,
    ) -> Result<Response<v1::ListResourcesResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Organization("ViewOrganization"),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let sight = Sight::of(&self.application, &snapshot, &reader);
        list(&snapshot, &message, sight)
            .map(Response::new)
            .map_err(status::of)
    }

    async fn transfer_resource(
        &self,
        request: Request<v1::TransferResourceRequest>,
    ) -> Result<Response<v1::TransferResourceResponse>, Status> {
        let (message, common) = accept(request)?;
        let (resource, revision) = self
            .change_resource(
                &message.organization,
                Need::Organization("ManageResources"),
                &common,
                |turn| {
                    let organization = turn.organization();
                    organization.transfer_resource(
                        &message.r#type,
                        &message.id,
                        &message.owner,
                        &message.etag,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::TransferResourceResponse {
            resource,
            revision,
        }))
    }

    async fn move_resource(
        &self,
        request: Request<v1::MoveResourceRequest>,
    ) -> Result<Response<v1::MoveResourceResponse>, Status> {
        let (message, common) = accept(request)?;
        let (resource, revision) = self
            .change_resource(
                &message.organization,
                Need::Organization("ManageResources"),
                &common,
                |turn| {
                    let organization = turn.organization();
                    organization.move_resource(
                        &message.r#type,
                        &message.id,
                        &message.project,
                        &message.etag,
                    )
                },
            )
            .await?;
        Ok(Response::new(v1::MoveResourceResponse {
            resource,
            revision,
        }))
    }

    async fn reassign_resources(
        &self,
        request: Request<v1::ReassignResourcesRequest>,
    ) -> Result<Response<v1::ReassignResourcesResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("ManageResources"),
                &common,
                |turn| {
                    turn.organization()
                        .reassign_resources(&message.from_owner, &message.to_owner)
                },
            )
            .await
            .map_err(status::of)?;
        match written.outcome {
            Outcome::Count(count) => Ok(Response::new(v1::ReassignResourcesResponse {
                count,
                revision: token(written.revision),
            })),
            other => Err(status::of(to_proto::unexpected(&other))),
        }
    }

    async fn unregister_resource(
        &self,
        request: Request<v1::UnregisterResourceRequest>,
    ) -> Result<Response<v1::UnregisterResourceResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("ManageResources"),
                &common,
                |turn| {
                    turn.organization().unregister_resource(
                        &message.r#type,
                        &message.id,
                        &message.etag,
                    )
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UnregisterResourceResponse {
            revision: token(written.revision),
        }))
    }
}

fn not_there(message: &v1::GetResourceRequest) -> Refusal {
    Refusal::NotFound {
        kind: "resource",
        id: message.id.chars().take(128).collect(),
    }
}

/// Which resources the reader may see: those outside of projects, and in projects that
/// they may see.
struct Sight<'a> {
    snapshot: &'a Snapshot,
    actor: &'a Actor,
    now: Moment,
    known: HashMap<ProjectId, bool>,
}

impl<'a> Sight<'a> {
    fn of(application: &Application, snapshot: &'a Snapshot, reader: &'a Reader) -> Self {
        Self {
            snapshot,
            actor: &reader.caller.actor,
            now: application.world().now(),
            known: HashMap::new(),
        }
    }

    fn shows(&mut self, resource: &RegisteredResource) -> Result<bool, Error> {
        let Some(project) = &resource.project else {
            return Ok(true);
        };
        if let Some(known) = self.known.get(project) {
            return Ok(*known);
        }
        let sees = sees_project(self.snapshot, self.actor, project.as_str(), self.now)?;
        self.known.insert(project.clone(), sees);
        Ok(sees)
    }
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListResourcesRequest,
    mut sight: Sight<'_>,
) -> Result<v1::ListResourcesResponse, Error> {
    if message.without_owner && !message.owner.is_empty() {
        return Err(Error::invalid(vec![Violation::new(
            "without_owner",
            Fault::Malformed,
            "can't be given together with `owner`",
        )]));
    }
    let without_owner = message.without_owner.to_string();
    let filters = [
        "resources",
        &message.organization,
        &message.r#type,
        &message.project,
        &message.owner,
        &without_owner,
    ];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    // The key of a page is type, a space, id: neither part can contain a space.
    let (type_id, id) = request.after.split_once(' ').unwrap_or_default();
    let after = (
        Bound::Excluded(ResourceKey::new(type_id, id)),
        Bound::Unbounded,
    );
    let resources = snapshot
        .organization()
        .resources
        .range(after)
        .map(|(_, resource)| resource)
        .filter(|resource| admits(message, resource));
    let mut shown = Vec::new();
    for resource in resources {
        if shown.len() > request.size {
            break;
        }
        if sight.shows(resource)? {
            shown.push(resource);
        }
    }
    let page = request.take(shown, |resource| {
        format!("{} {}", resource.key.type_id, resource.key.id)
    });
    Ok(v1::ListResourcesResponse {
        resources: page
            .items
            .iter()
            .map(|resource| to_proto::resource(resource))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}

fn admits(message: &v1::ListResourcesRequest, resource: &RegisteredResource) -> bool {
    let same = |wanted: &str, found: Option<&str>| wanted.is_empty() || found == Some(wanted);
    same(&message.r#type, Some(resource.key.type_id.as_str()))
        && same(
            &message.project,
            resource.project.as_ref().map(|project| project.as_str()),
        )
        && same(
            &message.owner,
            resource.owner.as_ref().map(|owner| owner.as_str()),
        )
        && (!message.without_owner || resource.owner.is_none())
}
