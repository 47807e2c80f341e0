//! `AuthorizationService`: checks.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::about::bounds_of;
use super::calls::{Calls, Deciding};
use super::health::Readiness;
use super::{from_proto, status, to_proto};
use crate::application::check::{MAX_BATCH, judge};
use crate::application::permits::within;
use crate::application::revision::{self, token};
use crate::application::{Application, Bounds, Check, Error, TokenCheck};
use crate::domain::organization::Moment;
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::authorization_service_server::AuthorizationService;

/// The longest correlation id, in bytes; a longer one is refused.
pub(super) const MAX_CORRELATION_BYTES: usize = 128;

/// How many items of a batch are answered before other requests get a turn.
const ITEMS_AT_A_TIME: usize = 256;

/// Serves checks.
pub struct AuthorizationRpc {
    application: Arc<Application>,
    calls: Arc<Calls>,
    readiness: watch::Receiver<Readiness>,
}

impl AuthorizationRpc {
    /// Serves checks of that application, and counts what is decided; streams end when
    /// it serves no longer.
    pub fn new(
        application: Arc<Application>,
        calls: Arc<Calls>,
        readiness: watch::Receiver<Readiness>,
    ) -> Self {
        Self {
            application,
            calls,
            readiness,
        }
    }
}

#[tonic::async_trait]
impl AuthorizationService for AuthorizationRpc {
    async fn is_authorized(
        &self,
        request: Request<v1::IsAuthorizedRequest>,
    ) -> Result<Response<v1::IsAuthorizedResponse>, Status> {
        let patience = from_proto::patience(request.metadata());
        let bounds = bounds_of(&request);
        answer(
            &self.application,
            request.into_inner(),
            bounds.as_ref(),
            patience,
        )
        .await
        .inspect(|answered| note(&self.calls, Deciding::One, answered))
        .map(Response::new)
        .map_err(status::of)
    }

    async fn batch_is_authorized(
        &self,
        request: Request<v1::BatchIsAuthorizedRequest>,
    ) -> Result<Response<v1::BatchIsAuthorizedResponse>, Status> {
        let patience = from_proto::patience(request.metadata());
        let bounds = bounds_of(&request);
        answer_batch(
            &self.application,
            request.into_inner(),
            bounds.as_ref(),
            patience,
        )
        .await
        .inspect(|answered| note_batch(&self.calls, answered))
        .map(Response::new)
        .map_err(status::of)
    }

    async fn is_authorized_with_token(
        &self,
        request: Request<v1::IsAuthorizedWithTokenRequest>,
    ) -> Result<Response<v1::IsAuthorizedWithTokenResponse>, Status> {
        let patience = from_proto::patience(request.metadata());
        let bounds = bounds_of(&request);
        answer_with_token(
            &self.application,
            request.into_inner(),
            bounds.as_ref(),
            patience,
        )
        .await
        .inspect(|answered| {
            let reason = answered.reasons.first().map(|reason| reason.code);
            let decision = answered.decision();
            self.calls.decide(Deciding::WithToken, decision, reason);
        })
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
        let bounds = bounds_of(&request);
        let (application, calls) = (Arc::clone(&self.application), Arc::clone(&self.calls));
        let mut requests = request.into_inner();
        let mut readiness = self.readiness.clone();
        let answers = async_stream::try_stream! {
            loop {
                let request = tokio::select! {
                    request = requests.message() => request,
                    _ = readiness.wait_for(|readiness| *readiness == Readiness::NotServing) => Ok(None),
                };
                let Some(request) = request? else { break };
                let answered = answer(&application, request, bounds.as_ref(), patience).await;
                let answered = answered.map_err(status::of)?;
                note(&calls, Deciding::Stream, &answered);
                yield answered;
            }
        };
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Counts a decision.
pub(super) fn note(calls: &Calls, rpc: Deciding, answered: &v1::IsAuthorizedResponse) {
    let reason = answered.reasons.first().map(|reason| reason.code);
    calls.decide(rpc, answered.decision(), reason);
}

/// Counts the decisions of a batch.
pub(super) fn note_batch(calls: &Calls, answered: &v1::BatchIsAuthorizedResponse) {
    for item in &answered.items {
        if let Some(v1::batch_item::Result::Response(response)) = &item.result {
            note(calls, Deciding::Batch, response);
        }
    }
}

async fn answer_with_token(
    application: &Application,
    request: v1::IsAuthorizedWithTokenRequest,
    bounds: Option<&Bounds>,
    patience: Duration,
) -> Result<v1::IsAuthorizedWithTokenResponse, Error> {
    if bounds.is_some() && !request.organization.is_empty() {
        within(bounds, &request.organization)?;
    }
    application.reach(&request.at_least, patience).await?;
    let (request, secret) = from_proto::without_token(request);
    // The organization need not be named: the token tells it. What tells none is of none.
    if let Some(organization) = secret.organization() {
        within(bounds, &organization)?;
    }
    let said = from_proto::said(&request);
    let check = TokenCheck {
        organization: &request.organization,
        secret: &secret,
        question: from_proto::question(&request, &said, application.world().now()),
        include_reasons: request.include_reasons,
    };
    let checked = application.check_with_token_on_demand(&check).await?;
    if let Some(violation) = correlation_fault(&request.correlation_id) {
        return Err(Error::invalid(vec![violation]));
    }
    Ok(to_proto::checked_with_token(
        checked,
        request.correlation_id,
    ))
}

/// Answers one request, at the revision that it asks for or later.
pub(super) async fn answer(
    application: &Application,
    request: v1::IsAuthorizedRequest,
    bounds: Option<&Bounds>,
    patience: Duration,
) -> Result<v1::IsAuthorizedResponse, Error> {
    within(bounds, &request.organization)?;
    application.reach(&request.at_least, patience).await?;
    let snapshot = application.find(&request.organization).await?;
    judged(&snapshot, request, application.world().now())
}

fn judged(
    snapshot: &Snapshot,
    request: v1::IsAuthorizedRequest,
    now: Moment,
) -> Result<v1::IsAuthorizedResponse, Error> {
    let said = from_proto::said(&request);
    let check = Check {
        organization: &request.organization,
        question: from_proto::question(&request, &said, now),
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

/// Answers every item on one snapshot of its organization, taken after every revision
/// asked for is reached. One organization is answered after the other, so that no more
/// than one is kept in memory by a batch.
pub(super) async fn answer_batch(
    application: &Application,
    batch: v1::BatchIsAuthorizedRequest,
    bounds: Option<&Bounds>,
    patience: Duration,
) -> Result<v1::BatchIsAuthorizedResponse, Error> {
    let given = batch.requests.len();
    if given > MAX_BATCH {
        return Err(Error::BatchTooLarge {
            most: MAX_BATCH,
            given,
        });
    }
    let wanted = wanted_revisions(&batch)?;
    let latest = wanted.values().flatten().max().copied();
    if let Some(latest) = latest {
        // Whoever asked for more than was reached is told below, one by one.
        let _ = application.reach(&token(latest), patience).await;
    }
    let published = application.published();
    reached(&wanted, &batch.at_least, published)?;
    let revision = application.published();
    let now = application.world().now();
    let mut items = vec![v1::BatchItem::default(); given];
    let mut answered = 0_usize;
    for (organization, asked) in by_organization(batch.requests) {
        let mut found: Option<Result<Arc<Snapshot>, Status>> = within(bounds, &organization)
            .err()
            .map(|refusal| Err(status::of(refusal.into())));
        for (place, request) in asked {
            answered += 1;
            if answered.is_multiple_of(ITEMS_AT_A_TIME) {
                tokio::task::yield_now().await;
            }
            let judging = match reached(&wanted, &request.at_least, published) {
                Ok(()) => {
                    let once = match found.take() {
                        Some(found) => found,
                        None => application.find(&organization).await.map_err(status::of),
                    };
                    let judging = match &once {
                        Ok(snapshot) => judged(snapshot, request, now).map_err(status::of),
                        Err(status) => Err(status.clone()),
                    };
                    found = Some(once);
                    judging
                }
                Err(error) => Err(status::of(error)),
            };
            if let Some(item) = items.get_mut(place) {
                *item = match judging {
                    Ok(response) => v1::BatchItem {
                        result: Some(v1::batch_item::Result::Response(response)),
                    },
                    Err(status) => refused(&status),
                };
            }
        }
    }
    Ok(v1::BatchIsAuthorizedResponse {
        items,
        revision: token(revision),
    })
}

/// The revisions that a batch and its items ask for; `None` for a malformed one.
fn wanted_revisions(
    batch: &v1::BatchIsAuthorizedRequest,
) -> Result<BTreeMap<String, Option<u64>>, Error> {
    revision::parse(&batch.at_least)?;
    let items = batch.requests.iter().map(|request| &request.at_least);
    Ok(items
        .chain([&batch.at_least])
        .filter(|token| !token.is_empty())
        .map(|token| {
            let sequence = revision::parse(token).ok().flatten();
            (token.clone(), sequence.map(|sequence| sequence.0))
        })
        .collect())
}

/// Whether a revision asked for was reached.
fn reached(
    wanted: &BTreeMap<String, Option<u64>>,
    at_least: &str,
    published: u64,
) -> Result<(), Error> {
    match wanted.get(at_least) {
        Some(Some(sequence)) if *sequence > published => {
            Err(Error::RevisionNotReached(at_least.to_owned()))
        }
        Some(None) => revision::parse(at_least).map(drop),
        _ => Ok(()),
    }
}

/// The requests of each organization with their places, in the order in which the
/// organizations are met: so that one after the other can be let go again.
fn by_organization(
    requests: Vec<v1::IsAuthorizedRequest>,
) -> Vec<(String, Vec<(usize, v1::IsAuthorizedRequest)>)> {
    let mut groups: Vec<(String, Vec<(usize, v1::IsAuthorizedRequest)>)> = Vec::new();
    let mut group_of: HashMap<String, usize> = HashMap::new();
    for (place, request) in requests.into_iter().enumerate() {
        let known = group_of.get(&request.organization).copied();
        match known.and_then(|group| groups.get_mut(group)) {
            Some((_, asked)) => asked.push((place, request)),
            None => {
                group_of.insert(request.organization.clone(), groups.len());
                groups.push((request.organization.clone(), vec![(place, request)]));
            }
        }
    }
    groups
}

/// A request of a batch that was refused.
pub(super) fn refused(status: &Status) -> v1::BatchItem {
    v1::BatchItem {
        result: Some(v1::batch_item::Result::Status(status::as_message(status))),
    }
}
