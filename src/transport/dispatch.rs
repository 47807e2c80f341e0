//! Where a request is answered: a check on the thread that read it, all else
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tower::Service as _;

use super::authorization_service::AuthorizationRpc;
use super::body::Answer;
use super::caller::{Authenticator, Remembered};
use super::elsewhere::Elsewhere;
use super::health::Readiness;
use super::hot::unary::{Received, Replayed, content, receive, respond};
use super::hot::{batch, decide, stream};
use super::serving::{Handler, Session};
use super::{from_proto, status};
use crate::application::Application;
use crate::proto::v1::authorization_service_server::AuthorizationServiceServer;

const IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const IS_AUTHORIZED_WITH_TOKEN: &str = "/roster.v1.AuthorizationService/IsAuthorizedWithToken";
const BATCH_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
const STREAM_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";

/// The generated service for checks, which answers whatever is asked.
pub type Checks = InterceptedService<AuthorizationServiceServer<AuthorizationRpc>, Authenticator>;

/// Everything that requests are answered with.
#[derive(Clone)]
pub struct Dispatch(Arc<Parts>);

struct Parts {
    application: Arc<Application>,
    authenticator: Authenticator,
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
        Self(Arc::new(Parts {
            application,
            authenticator,
            checks,
            elsewhere,
            readiness,
        }))
    }
}

impl Handler for Dispatch {
    type Session = Connection;

    fn connected(&self) -> Connection {
        Connection {
            parts: Arc::clone(&self.0),
            remembered: Remembered::default(),
        }
    }
}

/// One connection, and who is known to speak on it.
pub struct Connection {
    parts: Arc<Parts>,
    remembered: Remembered,
}

impl Session for Connection {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        match request.uri().path() {
            IS_AUTHORIZED if self.is_ordinary(&request) => self.check(request).await,
            BATCH_IS_AUTHORIZED if self.is_ordinary(&request) => {
                let application = Arc::clone(&self.parts.application);
                let elsewhere = self.parts.elsewhere.clone();
                in_time(request, |request| {
                    batch::answer(application, elsewhere, request)
                })
                .await
            }
            STREAM_IS_AUTHORIZED if self.is_ordinary(&request) => {
                let application = Arc::clone(&self.parts.application);
                let readiness = self.parts.readiness.clone();
                in_time(request, |request| {
                    stream::answer(application, readiness, request)
                })
                .await
            }
            IS_AUTHORIZED
            | IS_AUTHORIZED_WITH_TOKEN
            | BATCH_IS_AUTHORIZED
            | STREAM_IS_AUTHORIZED => self.check_anything(request).await,
            _ => {
                let deadline = deadline(request.headers());
                let answer = Box::pin(self.parts.elsewhere.answer(request));
                by(deadline, answer).await
            }
        }
    }
}

impl Connection {
    /// Whether the headers say no more than who calls, who may.
    fn is_ordinary(&self, request: &Request<Incoming>) -> bool {
        let authenticator = &self.parts.authenticator;
        authenticator.admits(request.headers(), &self.remembered)
    }

    async fn check(&self, request: Request<Incoming>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let body = match receive(body).await {
            Received::Message(message) => {
                let decided = decide::decide(&self.parts.application, content(&message));
                if let Some(decided) = decided {
                    return respond(decided.framed());
                }
                Replayed::whole(message)
            }
            Received::Other(body) => body,
        };
        self.check_anything(Request::from_parts(head, body)).await
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
            response.map(tonic::body::Body::new)
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
