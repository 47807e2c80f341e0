//! `grpc.health.v1`, served to everyone: live and ready, by service.
//!
//! One name is no service: [`INTEGRITY`] tells whether every organization known
//! here is sound. What is wrong with one is no reason to send no requests, so no
//! other name heeds it.
//!
//! The generated service is used directly rather than through a reporter, so that
//! nothing is SERVING before it is, and so that watching an unknown name follows
//! the protocol: SERVICE_UNKNOWN, and the stream stays open.

use std::collections::BTreeSet;
use std::future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::domain::identifiers::OrganizationId;

/// The name under which it is told whether every organization is sound: NOT_SERVING
/// while one is without its owner or names what is not there.
pub const INTEGRITY: &str = "integrity";

/// Whether the daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet, or not any more.
    NotServing,
    /// It does, and will not for much longer: whoever heeds health sends no more.
    Leaving,
    /// It does.
    Serving,
}

/// Tells the health of the daemon; every service of it is as healthy as the whole.
#[derive(Clone)]
pub struct HealthRpc {
    readiness: watch::Receiver<Readiness>,
    services: Arc<[&'static str]>,
    unsound: watch::Receiver<BTreeSet<OrganizationId>>,
}

impl HealthRpc {
    /// Health of these services, following `readiness`, and of the organizations,
    /// following which are unsound.
    pub fn new(
        readiness: watch::Receiver<Readiness>,
        services: Arc<[&'static str]>,
        unsound: watch::Receiver<BTreeSet<OrganizationId>>,
    ) -> Self {
        Self {
            readiness,
            services,
            unsound,
        }
    }

    /// Health before there are services: of the whole only.
    pub fn early(readiness: watch::Receiver<Readiness>) -> Self {
        let (_, unsound) = watch::channel(BTreeSet::new());
        Self::new(readiness, Arc::from([]), unsound)
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
        let readiness = *self.readiness.borrow();
        if service == INTEGRITY {
            let sound = self.unsound.borrow().is_empty();
            return Ok(Response::new(answer(match readiness {
                Readiness::Serving if !sound => Readiness::NotServing,
                other => other,
            })));
        }
        if !self.knows(&service) {
            return Err(super::status::unknown_service());
        }
        Ok(Response::new(answer(readiness)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        if service == INTEGRITY {
            return Ok(Response::new(self.watch_integrity()));
        }
        let known = self.knows(&service);
        let mut told = None;
        let answers = WatchStream::new(self.readiness.clone()).filter_map(move |readiness| {
            let answer = if known {
                answer(readiness)
            } else {
                HealthCheckResponse {
                    status: ServingStatus::ServiceUnknown.into(),
                }
            };
            // Only changes are told: leaving looks like not serving from outside.
            let is_news = told.replace(answer.status) != Some(answer.status);
            future::ready(is_news.then_some(Ok(answer)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

impl HealthRpc {
    /// Whether every organization is sound, for as long as the daemon serves.
    fn watch_integrity(&self) -> <Self as Health>::WatchStream {
        let mut readiness = self.readiness.clone();
        let stopped = async move {
            // An error means that serving has ended, which is the same.
            drop(readiness.wait_for(|now| *now != Readiness::Serving).await);
        };
        let told = WatchStream::new(self.unsound.clone())
            .map(|unsound| {
                if unsound.is_empty() {
                    Readiness::Serving
                } else {
                    Readiness::NotServing
                }
            })
            .take_until(Box::pin(stopped))
            .chain(stream::iter([Readiness::NotServing]));
        Box::pin(told.map(|readiness| Ok(answer(readiness))))
    }
}

fn answer(readiness: Readiness) -> HealthCheckResponse {
    let status = match readiness {
        Readiness::NotServing | Readiness::Leaving => ServingStatus::NotServing,
        Readiness::Serving => ServingStatus::Serving,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}
