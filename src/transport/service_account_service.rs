//! `ServiceAccountService`: members that are machines.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest, Written};
use crate::domain::change::Outcome;
use crate::domain::organization::MemberKind;
use crate::domain::service_accounts::NewServiceAccount;
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::service_account_service_server::ServiceAccountService;
use crate::world::draw_id;

/// What looking after service accounts needs.
const NEED: Need<'static> = Need::Organization("ManageServiceAccounts");

/// Serves service accounts.
pub struct ServiceAccountRpc {
    application: Arc<Application>,
}

impl ServiceAccountRpc {
    /// Serves service accounts of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

fn written(written: &Written) -> Result<Option<v1::ServiceAccount>, Status> {
    match &written.outcome {
        Outcome::Member(account) => Ok(Some(to_proto::service_account(account))),
        other => Err(status::of(to_proto::unexpected(other))),
    }
}

#[tonic::async_trait]
impl ServiceAccountService for ServiceAccountRpc {
    async fn create_service_account(
        &self,
        request: Request<v1::CreateServiceAccountRequest>,
    ) -> Result<Response<v1::CreateServiceAccountResponse>, Status> {
        let (message, common) = accept(request)?;
        let drawn = message
            .service_account_id
            .is_empty()
            .then(|| draw_id(self.application.world(), "sa"));
        let new = NewServiceAccount {
            id: drawn.unwrap_or(message.service_account_id),
            display_name: message.display_name,
            roles: message.roles,
        };
        let changed = self
            .application
            .mutate(&message.organization, NEED, &common, |turn| {
                let (catalog, creator) = (turn.catalog(), turn.actor());
                turn.organization()
                    .create_service_account(catalog, &new, creator, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateServiceAccountResponse {
            service_account: written(&changed)?,
            revision: token(changed.revision),
        }))
    }

    async fn get_service_account(
        &self,
        request: Request<v1::GetServiceAccountRequest>,
    ) -> Result<Response<v1::GetServiceAccountResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(&message.organization, NEED, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        let account = snapshot
            .organization()
            .service_account(&message.service_account)
            .map_err(|refusal| status::of(refusal.into()))?;
        Ok(Response::new(v1::GetServiceAccountResponse {
            service_account: Some(to_proto::service_account(account)),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_service_accounts(
        &self,
        request: Request<v1::ListServiceAccountsRequest>,
    ) -> Result<Response<v1::ListServiceAccountsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(&message.organization, NEED, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        list(&snapshot, &message)
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_service_account(
        &self,
        request: Request<v1::UpdateServiceAccountRequest>,
    ) -> Result<Response<v1::UpdateServiceAccountResponse>, Status> {
        let (message, common) = accept(request)?;
        let mask = from_proto::mask(message.update_mask.as_ref(), &["display_name"]);
        let changed = self
            .application
            .mutate(&message.organization, NEED, &common, |turn| {
                let name = mask.clone()?.has("display_name");
                turn.organization().update_service_account(
                    &message.service_account,
                    name.then_some(&message.display_name),
                    &message.etag,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UpdateServiceAccountResponse {
            service_account: written(&changed)?,
            revision: token(changed.revision),
        }))
    }

    async fn set_service_account_roles(
        &self,
        request: Request<v1::SetServiceAccountRolesRequest>,
    ) -> Result<Response<v1::SetServiceAccountRolesResponse>, Status> {
        let (message, common) = accept(request)?;
        let changed = self
            .application
            .mutate(&message.organization, NEED, &common, |turn| {
                turn.organization().set_service_account_roles(
                    turn.catalog(),
                    &message.service_account,
                    &message.roles,
                    &message.etag,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::SetServiceAccountRolesResponse {
            service_account: written(&changed)?,
            revision: token(changed.revision),
        }))
    }

    async fn delete_service_account(
        &self,
        request: Request<v1::DeleteServiceAccountRequest>,
    ) -> Result<Response<v1::DeleteServiceAccountResponse>, Status> {
        let (message, common) = accept(request)?;
        let changed = self
            .application
            .mutate(&message.organization, NEED, &common, |turn| {
                turn.organization().delete_service_account(
                    &message.service_account,
                    &message.reassign_resources_to,
                    &message.etag,
                )
            })
            .await
            .map_err(status::of)?;
        match changed.outcome {
            Outcome::Removed {
                orphaned_count,
                reassigned_count,
                ..
            } => Ok(Response::new(v1::DeleteServiceAccountResponse {
                revision: token(changed.revision),
                orphaned_count,
                reassigned_count,
            })),
            other => Err(status::of(to_proto::unexpected(&other))),
        }
    }
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListServiceAccountsRequest,
) -> Result<v1::ListServiceAccountsResponse, Error> {
    let filters = ["service-accounts", &message.organization];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let accounts = snapshot
        .organization()
        .members
        .after(&request.after)
        .filter(|member| member.kind == MemberKind::ServiceAccount);
    let page = request.take(accounts, |account| account.user.to_string());
    Ok(v1::ListServiceAccountsResponse {
        service_accounts: page
            .items
            .iter()
            .map(|account| to_proto::service_account(account))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}
