//! `grpc.health.v1`, served to everyone: live and ready, by service.
//!
//! The generated service is used directly rather than through a reporter, so that
//! nothing is SERVING before it is, and so that watching an unknown name follows
//! the protocol: SERVICE_UNKNOWN, and the stream stays open.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Whether the daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet, or not any more.
    NotServing,
    /// It does.
    Serving,
}

/// Tells the health of the daemon; every service of it is as healthy as the whole.
#[derive(Clone)]
pub struct HealthRpc {
    readiness: watch::Receiver<Readiness>,
    services: Arc<[&'static str]>,
}

impl HealthRpc {
    /// Health of these services, following `readiness`.
    pub fn new(readiness: watch::Receiver<Readiness>, services: Arc<[&'static str]>) -> Self {
        Self {
            readiness,
            services,
        }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

#[tonic::async_trait]
impl Health for HealthRpc {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !self.knows(&service) {
            return Err(super::status::unknown_service());
        }
        Ok(Response::new(answer(*self.readiness.borrow())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.knows(&request.into_inner().service);
        let answers = WatchStream::new(self.readiness.clone()).map(move |readiness| {
            Ok(if known {
                answer(readiness)
            } else {
                HealthCheckResponse {
                    status: ServingStatus::ServiceUnknown.into(),
                }
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn answer(readiness: Readiness) -> HealthCheckResponse {
    let status = match readiness {
        Readiness::NotServing => ServingStatus::NotServing,
        Readiness::Serving => ServingStatus::Serving,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}
