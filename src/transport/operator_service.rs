//! `OperatorService`: what those who run the daemon ask of it.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::backups::{self, BackupStream};
use crate::application::Application;
use crate::proto::v1;
use crate::proto::v1::operator_service_server::OperatorService;

/// Serves operators.
pub struct OperatorRpc {
    application: Arc<Application>,
}

impl OperatorRpc {
    /// Serves the operators of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
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
}
