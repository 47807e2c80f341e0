//! `OrganizationService`: organizations founded, listed, changed, deleted.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::organizations::Listed;
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Reader, Written};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::lifecycle::Founding;
use crate::domain::organization::Member;
use crate::domain::transfer::{NewOwner, Reauthentication, TransferOffer};
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

    async fn written(&self, written: &Written) -> Result<Option<v1::Organization>, Status> {
        match &written.outcome {
            Outcome::Profile(profile) => {
                let members = self
                    .application
                    .find(profile.id.as_str())
                    .await
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
            organization: self.written(&written).await?,
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
            organization: self.written(&written).await?,
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
            organization: self.written(&written).await?,
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

    async fn transfer_ownership(
        &self,
        request: Request<v1::TransferOwnershipRequest>,
    ) -> Result<Response<v1::TransferOwnershipResponse>, Status> {
        let (message, common) = accept(request)?;
        let need = Need::Member("TransferOwnership", &message.user);
        let written = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.organization().transfer_ownership(
                    turn.catalog(),
                    &message.user,
                    turn.actor().as_ref(),
                    &message.etag,
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::TransferOwnershipResponse {
            organization: self.written(&written).await?,
            revision: token(written.revision),
        }))
    }

    async fn initiate_transfer(
        &self,
        request: Request<v1::InitiateTransferRequest>,
    ) -> Result<Response<v1::InitiateTransferResponse>, Status> {
        let (message, common) = accept(request)?;
        let nonce = self.application.world().random();
        let offer = offer(&message, nonce);
        let need = if message.user.is_empty() {
            Need::Organization("TransferOwnership")
        } else {
            Need::Member("TransferOwnership", &message.user)
        };
        let written = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                let offer = offer.as_ref().map_err(Clone::clone)?;
                turn.organization().initiate_transfer(
                    turn.catalog(),
                    offer,
                    turn.actor().as_ref(),
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        let Outcome::Profile(profile) = &written.outcome else {
            return Err(status::of(to_proto::unexpected(&written.outcome)));
        };
        let transfer = profile.transfer.as_ref();
        // Of what was only tried there is nothing to accept.
        let link = transfer
            .filter(|_| !common.validate_only)
            .map(|transfer| self.application.transfer_token(&profile.id, transfer));
        Ok(Response::new(v1::InitiateTransferResponse {
            transfer: transfer.map(to_proto::transfer),
            revision: token(written.revision),
            token: link.unwrap_or_default(),
        }))
    }

    async fn accept_transfer(
        &self,
        request: Request<v1::AcceptTransferRequest>,
    ) -> Result<Response<v1::AcceptTransferResponse>, Status> {
        let (message, common) = accept(request)?;
        let new = NewOwner {
            user: message.user,
            email: message.email,
            display_name: message.display_name,
        };
        let (organization, link) = (&message.organization, &message.token);
        let written = self
            .application
            .answer_transfer(organization, link, &common, |turn, claim| {
                turn.organization()
                    .accept_transfer(turn.catalog(), claim, &new, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::AcceptTransferResponse {
            organization: self.written(&written).await?,
            revision: token(written.revision),
        }))
    }

    async fn decline_transfer(
        &self,
        request: Request<v1::DeclineTransferRequest>,
    ) -> Result<Response<v1::DeclineTransferResponse>, Status> {
        let (message, common) = accept(request)?;
        let (organization, link) = (&message.organization, &message.token);
        let written = self
            .application
            .answer_transfer(organization, link, &common, |turn, claim| {
                turn.organization()
                    .decline_transfer(turn.catalog(), claim, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeclineTransferResponse {
            revision: token(written.revision),
        }))
    }

    async fn cancel_transfer(
        &self,
        request: Request<v1::CancelTransferRequest>,
    ) -> Result<Response<v1::CancelTransferResponse>, Status> {
        let (message, common) = accept(request)?;
        let need = Need::Organization("TransferOwnership");
        let written = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                let actor = turn.actor();
                turn.organization()
                    .cancel_transfer(turn.catalog(), actor.as_ref(), turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CancelTransferResponse {
            revision: token(written.revision),
        }))
    }

    async fn get_transfer(
        &self,
        request: Request<v1::GetTransferRequest>,
    ) -> Result<Response<v1::GetTransferResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let (transfer, revision) = self
            .application
            .pending_transfer(&message.organization, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::GetTransferResponse {
            transfer: Some(to_proto::transfer(&transfer)),
            revision: token(revision),
        }))
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
    let found = application
        .organizations_of(&message.user, &request.after, request.size + 1)
        .await?;
    let page = request.take(found, |(listed, _)| listed.profile.id.to_string());
    let membership = |(listed, member): &(Listed, Arc<Member>)| {
        let is_owner = listed.profile.owner == member.user;
        v1::OrganizationMembership {
            organization: Some(to_proto::organization(&listed.profile, listed.members)),
            member: Some(to_proto::member(member, is_owner)),
        }
    };
    Ok(v1::ListOrganizationsForUserResponse {
        memberships: page.items.iter().map(membership).collect(),
        revision: token(revision),
        next_page_token: page.next_page_token,
    })
}

fn offer(message: &v1::InitiateTransferRequest, nonce: [u8; 16]) -> Result<TransferOffer, Refusal> {
    let given = message.reauthentication.as_ref();
    let time = given.and_then(|given| given.time.as_ref());
    let at = from_proto::moment("reauthentication.time", time)?;
    // Without a time it proves nothing.
    let reauthentication = given.zip(at).map(|(given, at)| Reauthentication {
        user: given.user.clone(),
        at,
    });
    Ok(TransferOffer {
        user: message.user.clone(),
        email: message.email.clone(),
        reauthentication,
        nonce,
        etag: message.etag.clone(),
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
    let found = application
        .organizations_after(&request.after, request.size + 1)
        .await?;
    let page = request.take(found, |listed| listed.profile.id.to_string());
    Ok(v1::ListOrganizationsResponse {
        organizations: page
            .items
            .iter()
            .map(|listed| to_proto::organization(&listed.profile, listed.members))
            .collect(),
        revision: token(revision),
        next_page_token: page.next_page_token,
    })
}
