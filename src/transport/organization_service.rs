//! `OrganizationService`: organizations founded, listed, changed, deleted.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Reader, Written};
use crate::domain::change::Outcome;
use crate::domain::lifecycle::Founding;
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::organization_service_server::OrganizationService;

/// Serves organizations.
pub struct OrganizationRpc {
    application: Arc<Application>,
}

impl OrganizationRpc {
    /// Serves organizations of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    fn written(&self, written: &Written) -> Result<Option<v1::Organization>, Status> {
        match &written.outcome {
            Outcome::Profile(profile) => {
                let members = self
                    .application
                    .find(profile.id.as_str())
                    .map_or(1, |snapshot| snapshot.organization().members.len());
                Ok(Some(to_proto::organization(profile, members)))
            }
            other => Err(status::of(to_proto::unexpected(other))),
        }
    }
}

#[tonic::async_trait]
impl OrganizationService for OrganizationRpc {
    async fn create_organization(
        &self,
        request: Request<v1::CreateOrganizationRequest>,
    ) -> Result<Response<v1::CreateOrganizationResponse>, Status> {
        let (message, common) = accept(request)?;
        let founding = Founding {
            id: message.organization_id,
            display_name: message.display_name,
            plan: message.plan,
            owner: message.owner,
            owner_display_name: message.owner_display_name,
            owner_email: message.owner_email,
        };
        let written = self
            .application
            .create_organization(&message.catalog, &founding, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateOrganizationResponse {
            organization: self.written(&written)?,
            revision: token(written.revision),
        }))
    }

    async fn get_organization(
        &self,
        request: Request<v1::GetOrganizationRequest>,
    ) -> Result<Response<v1::GetOrganizationResponse>, Status> {
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
        let organization = snapshot.organization();
        Ok(Response::new(v1::GetOrganizationResponse {
            organization: Some(to_proto::organization(
                &organization.profile,
                organization.members.len(),
            )),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_organizations(
        &self,
        request: Request<v1::ListOrganizationsRequest>,
    ) -> Result<Response<v1::ListOrganizationsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        list(&self.application, &message, &reader)
            .await
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_organization(
        &self,
        request: Request<v1::UpdateOrganizationRequest>,
    ) -> Result<Response<v1::UpdateOrganizationResponse>, Status> {
        let (message, common) = accept(request)?;
        let mask = from_proto::mask(message.update_mask.as_ref(), &["display_name"]);
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("UpdateOrganization"),
                &common,
                |turn| {
                    mask.clone()?;
                    turn.organization()
                        .update_organization(&message.display_name, &message.etag)
                },
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UpdateOrganizationResponse {
            organization: self.written(&written)?,
            revision: token(written.revision),
        }))
    }

    async fn set_plan(
        &self,
        request: Request<v1::SetPlanRequest>,
    ) -> Result<Response<v1::SetPlanResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(&message.organization, Need::Operator, &common, |turn| {
                turn.organization()
                    .set_plan(turn.catalog(), &message.plan, &message.etag)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::SetPlanResponse {
            organization: self.written(&written)?,
            revision: token(written.revision),
        }))
    }

    async fn delete_organization(
        &self,
        request: Request<v1::DeleteOrganizationRequest>,
    ) -> Result<Response<v1::DeleteOrganizationResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .mutate(
                &message.organization,
                Need::Organization("DeleteOrganization"),
                &common,
                |turn| turn.organization().delete_organization(&message.etag),
            )
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeleteOrganizationResponse {
            revision: token(written.revision),
        }))
    }

    async fn list_organizations_for_user(
        &self,
        request: Request<v1::ListOrganizationsForUserRequest>,
    ) -> Result<Response<v1::ListOrganizationsForUserResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        list_for_user(&self.application, &message, &reader)
            .await
            .map(Response::new)
            .map_err(status::of)
    }
}

async fn list_for_user(
    application: &Application,
    message: &v1::ListOrganizationsForUserRequest,
    reader: &Reader,
) -> Result<v1::ListOrganizationsForUserResponse, Error> {
    reader.must_be(&message.user)?;
    application
        .reach(&message.at_least, reader.patience)
        .await?;
    let revision = application.published();
    let filters = ["memberships", &message.user];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let snapshots = application.organizations_of(&message.user, &request.after, request.size + 1);
    let page = request.take(snapshots, |snapshot| {
        snapshot.organization().id().to_string()
    });
    let membership = |snapshot: &Arc<Snapshot>| {
        let organization = snapshot.organization();
        v1::OrganizationMembership {
            organization: Some(to_proto::organization(
                &organization.profile,
                organization.members.len(),
            )),
            member: organization
                .members
                .get(message.user.as_str())
                .map(|member| to_proto::member(member, organization.is_owner(&message.user))),
        }
    };
    Ok(v1::ListOrganizationsForUserResponse {
        memberships: page.items.iter().map(membership).collect(),
        revision: token(revision),
        next_page_token: page.next_page_token,
    })
}

async fn list(
    application: &Application,
    message: &v1::ListOrganizationsRequest,
    reader: &Reader,
) -> Result<v1::ListOrganizationsResponse, Error> {
    reader.must_be_operator()?;
    application
        .reach(&message.at_least, reader.patience)
        .await?;
    let revision = application.published();
    let request = PageRequest::parse(message.page_size, &message.page_token, &["organizations"])?;
    let snapshots = application.organizations_after(&request.after, request.size + 1);
    let page = request.take(snapshots, |snapshot| {
        snapshot.organization().id().to_string()
    });
    Ok(v1::ListOrganizationsResponse {
        organizations: page
            .items
            .iter()
            .map(|snapshot| {
                let organization = snapshot.organization();
                to_proto::organization(&organization.profile, organization.members.len())
            })
            .collect(),
        revision: token(revision),
        next_page_token: page.next_page_token,
    })
}
