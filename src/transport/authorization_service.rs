//! `AuthorizationService`: checks.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{from_proto, status, to_proto};
use crate::application::check::{MAX_BATCH, judge};
use crate::application::revision::token;
use crate::application::{Application, Check, Error};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::authorization_service_server::AuthorizationService;

/// The longest correlation id, in bytes; a longer one is refused.
const MAX_CORRELATION_BYTES: usize = 128;

/// How many items of a batch are answered before other requests get a turn.
const ITEMS_AT_A_TIME: usize = 256;

/// Serves checks.
pub struct AuthorizationRpc {
    application: Arc<Application>,
}

impl AuthorizationRpc {
    /// Serves checks of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

#[tonic::async_trait]
impl AuthorizationService for AuthorizationRpc {
    async fn is_authorized(
        &self,
        request: Request<v1::IsAuthorizedRequest>,
    ) -> Result<Response<v1::IsAuthorizedResponse>, Status> {
        let patience = from_proto::patience(request.metadata());
        answer(&self.application, request.into_inner(), patience)
            .await
            .map(Response::new)
            .map_err(status::of)
    }

    async fn batch_is_authorized(
        &self,
        request: Request<v1::BatchIsAuthorizedRequest>,
    ) -> Result<Response<v1::BatchIsAuthorizedResponse>, Status> {
        let patience = from_proto::patience(request.metadata());
        answer_batch(&self.application, request.into_inner(), patience)
            .await
            .map(Response::new)
            .map_err(status::of)
    }

    type StreamIsAuthorizedStream =
        Pin<Box<dyn Stream<Item = Result<v1::IsAuthorizedResponse, Status>> + Send>>;

    async fn stream_is_authorized(
        &self,
        request: Request<Streaming<v1::IsAuthorizedRequest>>,
    ) -> Result<Response<Self::StreamIsAuthorizedStream>, Status> {
        let patience = from_proto::patience(request.metadata());
        let application = Arc::clone(&self.application);
        let mut requests = request.into_inner();
        let answers = async_stream::try_stream! {
            while let Some(request) = requests.message().await? {
                yield answer(&application, request, patience).await.map_err(status::of)?;
            }
        };
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn answer(
    application: &Application,
    request: v1::IsAuthorizedRequest,
    patience: Duration,
) -> Result<v1::IsAuthorizedResponse, Error> {
    application.reach(&request.at_least, patience).await?;
    let snapshot = application.find(&request.organization)?;
    judged(&snapshot, request)
}

fn judged(
    snapshot: &Snapshot,
    request: v1::IsAuthorizedRequest,
) -> Result<v1::IsAuthorizedResponse, Error> {
    let said = from_proto::said(&request);
    let check = Check {
        organization: &request.organization,
        question: from_proto::question(&request, &said),
        include_reasons: request.include_reasons,
    };
    if let Some(violation) = correlation_fault(&request.correlation_id) {
        let mut violations = snapshot.question(&check.question).err().unwrap_or_default();
        violations.push(violation);
        return Err(Error::invalid(violations));
    }
    let checked = judge(snapshot, &check)?;
    Ok(to_proto::checked(checked, request.correlation_id))
}

fn correlation_fault(id: &str) -> Option<Violation> {
    (id.len() > MAX_CORRELATION_BYTES).then(|| {
        Violation::new(
            "correlation_id",
            Fault::TooMany,
            format!("must be at most {MAX_CORRELATION_BYTES} bytes"),
        )
    })
}

/// Answers every item on one snapshot of its organization, taken when the first
/// item of that organization is met and after every revision asked for is reached.
async fn answer_batch(
    application: &Application,
    batch: v1::BatchIsAuthorizedRequest,
    patience: Duration,
) -> Result<v1::BatchIsAuthorizedResponse, Error> {
    let given = batch.requests.len();
    if given > MAX_BATCH {
        return Err(Error::BatchTooLarge {
            most: MAX_BATCH,
            given,
        });
    }
    application.reach(&batch.at_least, patience).await?;
    let mut reached: BTreeMap<String, Result<(), Status>> = BTreeMap::new();
    for request in batch
        .requests
        .iter()
        .filter(|request| !request.at_least.is_empty())
    {
        if !reached.contains_key(&request.at_least) {
            let outcome = application
                .reach(&request.at_least, patience)
                .await
                .map_err(status::of);
            reached.insert(request.at_least.clone(), outcome);
        }
    }
    let revision = application.published();
    let mut snapshots: BTreeMap<String, Arc<Snapshot>> = BTreeMap::new();
    let mut items = Vec::with_capacity(given);
    for (index, request) in batch.requests.into_iter().enumerate() {
        if index % ITEMS_AT_A_TIME == ITEMS_AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
        items.push(match reached.get(&request.at_least) {
            Some(Err(status)) => refused(status),
            _ => match item(application, &mut snapshots, request) {
                Ok(response) => v1::BatchItem {
                    result: Some(v1::batch_item::Result::Response(response)),
                },
                Err(error) => refused(&status::of(error)),
            },
        });
    }
    Ok(v1::BatchIsAuthorizedResponse {
        items,
        revision: token(revision),
    })
}

fn item(
    application: &Application,
    snapshots: &mut BTreeMap<String, Arc<Snapshot>>,
    request: v1::IsAuthorizedRequest,
) -> Result<v1::IsAuthorizedResponse, Error> {
    if let Some(snapshot) = snapshots.get(&request.organization) {
        return judged(snapshot, request);
    }
    let snapshot = application.find(&request.organization)?;
    snapshots.insert(request.organization.clone(), Arc::clone(&snapshot));
    judged(&snapshot, request)
}

fn refused(status: &Status) -> v1::BatchItem {
    v1::BatchItem {
        result: Some(v1::batch_item::Result::Status(status::as_message(status))),
    }
}
