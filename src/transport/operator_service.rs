//! `OperatorService`: the daemon itself, its copies and the keys of its callers.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::backups::{self, BackupStream};
use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::caller_keys::{CallerKey, NewKey, WrittenKey};
use crate::application::revision::token;
use crate::application::{Application, Scope};
use crate::domain::Refusal;
use crate::domain::organization::Moment;
use crate::domain::refusal::{Fault, Violation};
use crate::proto::v1;
use crate::proto::v1::operator_service_server::OperatorService;

/// Serves operators.
pub struct OperatorRpc {
    application: Arc<Application>,
}

impl OperatorRpc {
    /// Serves operators of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    fn now(&self) -> Moment {
        self.application.world().now()
    }
}

#[tonic::async_trait]
impl OperatorService for OperatorRpc {
    type BackupStream = BackupStream;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let parts = backups::backup(&self.application, request).await?;
        Ok(Response::new(parts))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let answer = backups::daemon_status(&self.application, request).await?;
        Ok(Response::new(answer))
    }

    async fn create_caller_key(
        &self,
        request: Request<v1::CreateCallerKeyRequest>,
    ) -> Result<Response<v1::CreateCallerKeyResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .create_caller_key(new_key(message), &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateCallerKeyResponse {
            key: Some(shown(&written.key, self.now())),
            revision: token(written.revision),
            secret: revealed(&written),
        }))
    }

    async fn list_caller_keys(
        &self,
        request: Request<v1::ListCallerKeysRequest>,
    ) -> Result<Response<v1::ListCallerKeysResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let paging = (message.page_size, message.page_token.as_str());
        let (page, revision) = self
            .application
            .list_caller_keys(paging, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        let now = self.now();
        Ok(Response::new(v1::ListCallerKeysResponse {
            keys: page.items.iter().map(|key| shown(key, now)).collect(),
            revision: token(revision),
            next_page_token: page.next_page_token,
        }))
    }

    async fn rotate_caller_key(
        &self,
        request: Request<v1::RotateCallerKeyRequest>,
    ) -> Result<Response<v1::RotateCallerKeyResponse>, Status> {
        let (message, common) = accept(request)?;
        let overlap = message.overlap.as_ref().map_or(0, from_proto::milliseconds);
        let written = self
            .application
            .rotate_caller_key(&message.key, overlap, &message.etag, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RotateCallerKeyResponse {
            key: Some(shown(&written.key, self.now())),
            revision: token(written.revision),
            secret: revealed(&written),
        }))
    }

    async fn revoke_caller_key(
        &self,
        request: Request<v1::RevokeCallerKeyRequest>,
    ) -> Result<Response<v1::RevokeCallerKeyResponse>, Status> {
        let (message, common) = accept(request)?;
        let written = self
            .application
            .revoke_caller_key(&message.key, &message.etag, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RevokeCallerKeyResponse {
            key: Some(shown(&written.key, self.now())),
            revision: token(written.revision),
        }))
    }
}

fn new_key(message: v1::CreateCallerKeyRequest) -> Result<NewKey, Refusal> {
    let mut violations = Vec::new();
    let mut scopes = Vec::new();
    for (index, given) in message.scopes.iter().enumerate() {
        match v1::CallerScope::try_from(*given) {
            Ok(v1::CallerScope::Check) => scopes.push(Scope::Check),
            Ok(v1::CallerScope::Manage) => scopes.push(Scope::Manage),
            Ok(v1::CallerScope::Operate) => scopes.push(Scope::Operate),
            Ok(v1::CallerScope::Unspecified) | Err(_) => violations.push(Violation::new(
                format!("scopes[{index}]"),
                Fault::Malformed,
                "is no scope",
            )),
        }
    }
    let expires_at = match from_proto::moment("expire_time", message.expire_time.as_ref()) {
        Ok(expires_at) => expires_at,
        Err(Refusal::Invalid(wrong)) => {
            violations.extend(wrong);
            None
        }
        Err(refusal) => return Err(refusal),
    };
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    Ok(NewKey {
        name: message.name,
        scopes: scopes.into_iter().collect(),
        organizations: message.organizations,
        expires_at,
    })
}

fn revealed(written: &WrittenKey) -> String {
    let secret = written.secret.as_ref();
    secret.map_or_else(String::new, |secret| secret.reveal().to_owned())
}

fn shown(key: &CallerKey, now: Moment) -> v1::CallerKey {
    let status = if key.revoked.is_some() {
        v1::CallerKeyStatus::Revoked
    } else if key.has_expired(now) {
        v1::CallerKeyStatus::Expired
    } else {
        v1::CallerKeyStatus::Active
    };
    let scopes = key.scopes.iter().map(|scope| match scope {
        Scope::Check => v1::CallerScope::Check,
        Scope::Manage => v1::CallerScope::Manage,
        Scope::Operate => v1::CallerScope::Operate,
    });
    let bounds = key.bounds.iter().flat_map(|bounds| bounds.iter());
    let newest = key.secrets.last();
    // Of a key that ended no secret works.
    let overlap = match key.revoked {
        None => key.secrets.iter().find_map(|secret| secret.ends_at),
        Some(_) => None,
    };
    let (revoked_at, revoked_by) = key.revoked.clone().unzip();
    v1::CallerKey {
        id: key.id.clone(),
        name: key.name.clone(),
        scopes: scopes.map(Into::into).collect(),
        organizations: bounds.map(str::to_owned).collect(),
        status: status.into(),
        expire_time: key.expires_at.map(to_proto::timestamp),
        create_time: Some(to_proto::timestamp(key.created_at)),
        created_by: key.created_by.clone(),
        secret_create_time: newest.map(|secret| to_proto::timestamp(secret.created_at)),
        overlap_end_time: overlap.filter(|end| now < *end).map(to_proto::timestamp),
        revoke_time: revoked_at.map(to_proto::timestamp),
        revoked_by: revoked_by.unwrap_or_default(),
        etag: key.etag(),
    }
}
