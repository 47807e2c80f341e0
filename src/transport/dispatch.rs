//! Where a request is answered: a check on the thread that read it, all else
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::Service as _;

use super::authorization_service::AuthorizationRpc;
use super::body::Answer;
use super::caller::{Authenticator, Gate, Hold, Known, Line};
use super::elsewhere::Elsewhere;
use super::health::Readiness;
use super::hot::unary::{Received, Replayed, content, receive, respond};
use super::hot::{batch, decide, stream};
use super::identities::Peer;
use super::serving::{Handler, Session};
use super::{from_proto, status};
use crate::application::Application;
use crate::proto::v1::authorization_service_server::AuthorizationServiceServer;

const IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const IS_AUTHORIZED_WITH_TOKEN: &str = "/roster.v1.AuthorizationService/IsAuthorizedWithToken";
const BATCH_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
const STREAM_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";

/// The generated service for checks, which answers whatever is asked.
pub type Checks = AuthorizationServiceServer<AuthorizationRpc>;

/// Everything that requests are answered with.
#[derive(Clone)]
pub struct Dispatch(Arc<Parts>);

struct Parts {
    application: Arc<Application>,
    gate: Arc<Gate>,
    checks: Checks,
    elsewhere: Elsewhere,
    readiness: watch::Receiver<Readiness>,
}

impl Dispatch {
    /// Answers checks by `checks`, sooner where that is possible, and all else elsewhere.
    pub fn new(
        application: Arc<Application>,
        authenticator: Authenticator,
        checks: Checks,
        elsewhere: Elsewhere,
        readiness: watch::Receiver<Readiness>,
    ) -> Self {
        let gate = Gate::new(authenticator, Arc::clone(&application));
        Self(Arc::new(Parts {
            application,
            gate: Arc::new(gate),
            checks,
            elsewhere,
            readiness,
        }))
    }
}

impl Handler for Dispatch {
    type Session = Connection;

    fn connected(&self, peer: Peer) -> Connection {
        Connection {
            parts: Arc::clone(&self.0),
            line: Arc::new(Line::from(peer)),
        }
    }
}

/// One connection, and who is known to speak on it.
pub struct Connection {
    parts: Arc<Parts>,
    line: Arc<Line>,
}

/// What a request is for.
#[derive(Clone, Copy)]
enum Asked {
    Check,
    Batch,
    Stream,
    /// A check that is no ordinary one.
    AnyCheck,
    Other,
}

impl Asked {
    fn of(path: &str) -> Self {
        match path {
            IS_AUTHORIZED => Self::Check,
            BATCH_IS_AUTHORIZED => Self::Batch,
            STREAM_IS_AUTHORIZED => Self::Stream,
            IS_AUTHORIZED_WITH_TOKEN => Self::AnyCheck,
            _ => Self::Other,
        }
    }
}

impl Session for Connection {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let asked = Asked::of(request.uri().path());
        let ordinary = match asked {
            Asked::Check | Asked::Batch | Asked::Stream => {
                self.parts.gate.admits(request.headers(), &self.line)
            }
            Asked::AnyCheck | Asked::Other => None,
        };
        match (asked, ordinary) {
            (Asked::Check, Some(known)) => self.check(request, known).await,
            (Asked::Batch, Some(known)) => {
                let application = Arc::clone(&self.parts.application);
                let elsewhere = self.parts.elsewhere.clone();
                in_time(request, |request| {
                    batch::answer(application, elsewhere, known, request)
                })
                .await
            }
            (Asked::Stream, Some(known)) => {
                let application = Arc::clone(&self.parts.application);
                let readiness = self.parts.readiness.clone();
                let hold = self.hold(&known);
                in_time(request, |request| {
                    stream::answer(application, readiness, known, request)
                })
                .await
                .map(|answer| answer.held(hold))
            }
            _ => self.answer_anything(request, asked).await,
        }
    }
}

impl Connection {
    async fn check(&self, request: Request<Incoming>, known: Known) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let body = match receive(body).await {
            Received::Message(message) => {
                let bounds = known.permit().bounds.as_ref();
                let decided = decide::decide(&self.parts.application, bounds, content(&message));
                if let Some(decided) = decided {
                    return respond(decided.framed());
                }
                Replayed::whole(message)
            }
            Received::Other(body) => body,
        };
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(known);
        self.check_anything(request).await
    }

    /// Answers whatever it is, if the caller may call it.
    async fn answer_anything(
        &self,
        mut request: Request<Incoming>,
        asked: Asked,
    ) -> Response<Answer> {
        let known = match self.parts.gate.let_in(&mut request, &self.line) {
            Ok(known) => known,
            Err(refused) => {
                return refused.into_http::<tonic::body::Body>().map(Answer::from);
            }
        };
        let response = if matches!(asked, Asked::Other) {
            let deadline = deadline(request.headers());
            let answer = Box::pin(self.parts.elsewhere.answer(request));
            by(deadline, answer).await
        } else {
            self.check_anything(request).await
        };
        match known {
            // Any other answer is complete, and may hold what is never told again.
            Some((known, access)) if access.streams => {
                response.map(|answer| answer.held(self.hold(&known)))
            }
            _ => response,
        }
    }

    fn hold(&self, known: &Known) -> Hold {
        let (gate, line) = (Arc::clone(&self.parts.gate), Arc::clone(&self.line));
        Hold::of(gate, line, known.clone())
    }

    /// Answers a check by the generated service.
    fn check_anything<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Response<Answer>> + Send + 'static
    where
        B: http_body::Body<Data = bytes::Bytes, Error = hyper::Error> + Send + 'static,
    {
        let mut checks = self.parts.checks.clone();
        in_time(request, move |request| async move {
            let Ok(response) = checks.call(request).await;
            response
        })
    }
}

/// Answers within the time that the client gave.
fn in_time<B, F>(
    request: Request<B>,
    answer: impl FnOnce(Request<B>) -> F,
) -> impl Future<Output = Response<Answer>> + Send + 'static
where
    F: Future<Output = Response<tonic::body::Body>> + Send + 'static,
{
    let deadline = deadline(request.headers());
    // On the heap, so that the future of every check has the size of an ordinary one's.
    let answer = Box::pin(answer(request));
    by(deadline, async move { answer.await.map(Answer::from) })
}

async fn by(
    deadline: Option<Duration>,
    answer: impl Future<Output = Response<Answer>>,
) -> Response<Answer> {
    match deadline {
        None => answer.await,
        Some(deadline) => tokio::time::timeout(deadline, answer)
            .await
            .unwrap_or_else(|_| {
                status::too_late()
                    .into_http::<tonic::body::Body>()
                    .map(Answer::from)
            }),
    }
}

fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get("grpc-timeout")?.to_str().ok()?;
    from_proto::timeout(given)
}
