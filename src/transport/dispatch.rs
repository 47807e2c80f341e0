//! Where a request is answered: a check on the thread that read it, all else
//! elsewhere. What can't be answered in time is refused here ([`admission`](super::admission)).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::Service as _;

use super::access::Access;
use super::admission::{Admission, OnConnection};
use super::authorization_service::AuthorizationRpc;
use super::body::Answer;
use super::caller::{Authenticator, Gate, Hold, Known, Line};
use super::calls::{Calls, Counting, Deciding, Place, ThreadCounts};
use super::elsewhere::Elsewhere;
use super::followed::{Call, Speaker, Told, request_id};
use super::guarded::Watched;
use super::health::Readiness;
use super::hot::answer::Decided;
use super::hot::unary::{Receiving, Replayed, content, respond};
use super::hot::{batch, decide, stream};
use super::identities::Peer;
use super::patience::Patient;
use super::server::Manner;
use super::serving::{Handler, Session};
use super::{from_proto, status, traced};
use crate::application::Application;
use crate::proto::v1::authorization_service_server::AuthorizationServiceServer;

const IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const IS_AUTHORIZED_WITH_TOKEN: &str = "/roster.v1.AuthorizationService/IsAuthorizedWithToken";
const BATCH_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
const STREAM_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";

/// How the names begin of all that Roster itself serves; health and reflection are not
/// among it.
const OWN: &str = "/roster.v1.";

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
    calls: Arc<Calls>,
    admission: Admission,
    /// Whether anybody collects traces.
    is_traced: bool,
}

impl Dispatch {
    /// Answers checks by `checks`, sooner where that is possible, and all else elsewhere.
    /// Calls are counted in `calls`, and let in as `manner` says.
    pub fn new(
        application: Arc<Application>,
        authenticator: Authenticator,
        checks: Checks,
        elsewhere: Elsewhere,
        readiness: watch::Receiver<Readiness>,
        calls: Arc<Calls>,
        manner: &Manner,
    ) -> Self {
        let gate = Gate::new(authenticator, Arc::clone(&application));
        let admission = Admission::new(manner.limits, Arc::clone(&calls));
        Self(Arc::new(Parts {
            application,
            gate: Arc::new(gate),
            checks,
            elsewhere,
            readiness,
            calls,
            admission,
            is_traced: manner.is_traced,
        }))
    }
}

impl Handler for Dispatch {
    type Session = Connection;

    fn connected(&self, peer: Peer) -> Connection {
        let counts = self.0.calls.here();
        counts.opened.bump();
        Connection {
            parts: Arc::clone(&self.0),
            line: Arc::new(Line::from(peer)),
            counts,
            watched: Arc::default(),
            managed: OnConnection::default(),
        }
    }
}

/// One connection, and who is known to speak on it.
pub struct Connection {
    parts: Arc<Parts>,
    line: Arc<Line>,
    /// The counts of the thread that serves it.
    counts: Arc<ThreadCounts>,
    watched: Arc<Watched>,
    /// How much that is no check is under way on it.
    managed: OnConnection,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.closed.bump();
    }
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
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Answer>> + Send + 'static {
        Answering::Asked(self, request)
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
}

/// A request and its answer, which is made when it is polled first if the request is an
/// ordinary check that is there as a whole. What else there is to do lies on the heap, so
/// that this is no larger than the request, however it is moved.
enum Answering {
    Asked(Arc<Connection>, Request<Incoming>),
    Later(Pin<Box<dyn Future<Output = Response<Answer>> + Send>>),
    /// It was answered.
    Over,
}

impl Future for Answering {
    type Output = Response<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Answer>> {
        let later = match &mut *self {
            Self::Asked(connection, request) => match connection.at_once(request, context) {
                Ok(response) => return Poll::Ready(response),
                Err(later) => later,
            },
            Self::Later(answer) => return answer.as_mut().poll(context),
            Self::Over => return Poll::Pending,
        };
        let Self::Asked(connection, request) = std::mem::replace(&mut *self, Self::Over) else {
            return Poll::Pending;
        };
        let mut answer = connection.later(request, later);
        let polled = answer.as_mut().poll(context);
        *self = Self::Later(answer);
        polled
    }
}

/// Why a request is not answered at once.
enum Later {
    /// Not all of the message is there yet.
    Waits(Known, Receiving),
    /// The message is there, and is no ordinary check.
    Other(Known, Replaying),
    /// It is no check at all, or of a kind that takes longer.
    Asked(Asked),
}

/// What was read of a body that is answered by the generated service.
enum Replaying {
    Whole(Bytes),
    Part(Receiving),
}

impl Connection {
    /// Who calls, if the headers say no more than that, and they may check.
    fn admitted(&self, request: &Request<Incoming>) -> Option<Known> {
        self.parts.gate.admits(request.headers(), &self.line)
    }

    /// Whether a check belongs to a trace that is kept.
    fn is_traced(&self, request: &Request<Incoming>) -> bool {
        self.parts.is_traced && traced::is_sampled(request.headers())
    }

    /// Why a check is refused that costs more than refusing it.
    fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Answer>> {
        let deadline = deadline(request.headers());
        let admission = &self.parts.admission;
        admission.check(&self.counts.pace, deadline, &self.watched)
    }

    /// Answers an ordinary check that is there as a whole. Of any other request, nothing
    /// but its body was touched.
    #[inline]
    fn at_once(
        &self,
        request: &mut Request<Incoming>,
        context: &mut Context<'_>,
    ) -> Result<Response<Answer>, Later> {
        self.watched.request();
        self.counts.pace.ask();
        let asked = Asked::of(request.uri().path());
        if !matches!(asked, Asked::Check) || self.is_traced(request) {
            return Err(Later::Asked(asked));
        }
        let Some(known) = self.admitted(request) else {
            return Err(Later::Asked(asked));
        };
        let began = self.counts.begin_check();
        let admission = &self.parts.admission;
        let refused = admission.ordinary(&self.counts.pace, || deadline(request.headers()));
        if let Some(refused) = refused {
            self.counts.refuse_check();
            return Ok(refused);
        }
        let mut receiving = Receiving::default();
        match receiving.poll(request.body_mut(), context) {
            Poll::Pending => Err(Later::Waits(known, receiving)),
            Poll::Ready(None) => Err(Later::Other(known, Replaying::Part(receiving))),
            Poll::Ready(Some(message)) => match self.decide(&known, &message) {
                None => Err(Later::Other(known, Replaying::Whole(message))),
                Some(decided) => {
                    self.counts.end_check(began, decided.is_allowed());
                    Ok(respond(decided.framed()))
                }
            },
        }
    }

    fn decide<'a>(&self, known: &Known, message: &'a Bytes) -> Option<Decided<'a>> {
        let bounds = known.permit().bounds.as_ref();
        decide::decide(&self.parts.application, bounds, content(message))
    }

    /// Answers what was not answered at once.
    fn later(
        self: Arc<Self>,
        request: Request<Incoming>,
        later: Later,
    ) -> Pin<Box<dyn Future<Output = Response<Answer>> + Send>> {
        match later {
            Later::Asked(Asked::Other) => Box::pin(async move { self.manage(request).await }),
            Later::Asked(asked) => {
                Box::pin(async move { self.check_otherwise(request, asked).await })
            }
            Later::Waits(known, receiving) => {
                Box::pin(async move { self.check_later(request, known, receiving).await })
            }
            Later::Other(known, replaying) => {
                let request = replay(request, replaying);
                Box::pin(async move { self.check_after_all(request, known).await })
            }
        }
    }

    /// Answers a single check whose message is still to come.
    async fn check_later(
        &self,
        request: Request<Incoming>,
        known: Known,
        mut receiving: Receiving,
    ) -> Response<Answer> {
        let call = self.begin_check();
        let (head, mut body) = request.into_parts();
        let stall = self.parts.admission.limits().stall;
        let receive = poll_fn(|context| receiving.poll(&mut body, context));
        let replayed = match within(stall, &head.headers, receive).await {
            Err(late) => return call.follow(late, &self.watched),
            Ok(None) => receiving.replayed(body),
            Ok(Some(message)) => match self.decide(&known, &message) {
                None => Replayed::whole(message),
                Some(decided) => {
                    let calls = &self.parts.calls;
                    calls.decide(Deciding::One, decided.decision(), None);
                    return call.follow(respond(decided.framed()), &self.watched);
                }
            },
        };
        let request = Request::from_parts(head, replayed);
        let response = self.check_by_service(request, known).await;
        call.follow(response, &self.watched)
    }

    /// Answers a single check that turned out to be no ordinary one.
    async fn check_after_all(&self, request: Request<Replayed>, known: Known) -> Response<Answer> {
        let call = self.begin_check();
        let response = self.check_by_service(request, known).await;
        call.follow(response, &self.watched)
    }

    fn begin_check(&self) -> Call {
        let place = self.parts.calls.place(IS_AUTHORIZED);
        Call::begin(&self.parts.calls, &self.counts, place)
    }

    async fn check_by_service(
        &self,
        mut request: Request<Replayed>,
        known: Known,
    ) -> Response<Answer> {
        request.extensions_mut().insert(known);
        match self.refusal(&request) {
            Some(refused) => refused,
            None => self.check_anything(request).await,
        }
    }

    /// Answers checks that are no ordinary ones, or more than one.
    async fn check_otherwise(&self, request: Request<Incoming>, asked: Asked) -> Response<Answer> {
        let place = self.parts.calls.place(request.uri().path());
        let mut call = Call::begin(&self.parts.calls, &self.counts, place);
        if self.is_traced(&request) {
            call = call.traced(request.headers());
        }
        let response = match self.refusal(&request) {
            Some(refused) => refused,
            None => self.check_somehow(request, asked).await,
        };
        call.follow(response, &self.watched)
    }

    /// Answers checks of any kind.
    async fn check_somehow(
        &self,
        mut request: Request<Incoming>,
        asked: Asked,
    ) -> Response<Answer> {
        let stall = self.parts.admission.limits().stall;
        let ordinary = match asked {
            Asked::Batch | Asked::Stream => self.admitted(&request),
            _ => None,
        };
        match (asked, ordinary) {
            (Asked::Batch, Some(known)) => {
                let application = Arc::clone(&self.parts.application);
                let elsewhere = self.parts.elsewhere.clone();
                let counts = self.counting();
                let _admitted = match self.parts.admission.batch(&self.managed) {
                    Ok(admitted) => admitted,
                    Err(refused) => return *refused,
                };
                let request = request.map(|body| Patient::new(body, stall, false));
                in_time(request, |request| {
                    batch::answer(application, elsewhere, known, counts, request)
                })
                .await
            }
            (Asked::Stream, Some(known)) => {
                let application = Arc::clone(&self.parts.application);
                let readiness = self.parts.readiness.clone();
                let counts = self.counting();
                let hold = self.hold(&known);
                let request = request.map(|body| Patient::new(body, stall, true));
                in_time(request, |request| {
                    stream::answer(application, readiness, known, counts, request)
                })
                .await
                .map(|answer| answer.held(hold))
            }
            _ => match self.parts.gate.let_in(&mut request, &self.line) {
                Err(refused) => refused.into_http::<tonic::body::Body>().map(Answer::from),
                Ok(known) => {
                    let response = self.check_anything(request).await;
                    self.hold_on(known, response)
                }
            },
        }
    }

    fn hold(&self, known: &Known) -> Hold {
        let (gate, line) = (Arc::clone(&self.parts.gate), Arc::clone(&self.line));
        Hold::of(gate, line, known.clone())
    }

    /// The response, for as long as its caller is one, if it is a stream: any other is
    /// complete, and may hold what is never told again.
    fn hold_on(
        &self,
        known: Option<(Known, Access)>,
        response: Response<Answer>,
    ) -> Response<Answer> {
        match known {
            Some((known, access)) if access.streams => {
                response.map(|answer| answer.held(self.hold(&known)))
            }
            _ => response,
        }
    }

    fn counting(&self) -> Counting {
        Counting {
            here: Arc::clone(&self.counts),
            calls: Arc::clone(&self.parts.calls),
        }
    }

    /// Answers a check by the generated service.
    fn check_anything<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Response<Answer>> + Send + 'static
    where
        B: http_body::Body<Data = bytes::Bytes, Error = hyper::Error> + Send + Unpin + 'static,
    {
        let mut checks = self.parts.checks.clone();
        let stall = self.parts.admission.limits().stall;
        let is_stream = request.uri().path() == STREAM_IS_AUTHORIZED;
        let request = request.map(|body| Patient::new(body, stall, is_stream));
        in_time(request, move |request| async move {
            let Ok(response) = checks.call(request).await;
            response
        })
    }

    /// Answers what is no check.
    async fn manage(&self, mut request: Request<Incoming>) -> Response<Answer> {
        let calls = &self.parts.calls;
        let path = request.uri().path();
        let (place, is_own) = (calls.place(path), path.starts_with(OWN));
        let mut call = Call::begin(calls, &self.counts, place);
        let speaker = Speaker::default();
        if is_own {
            let world = self.parts.application.world();
            let told = Told {
                request_id: request_id(request.headers(), || world.random()),
                speaker: speaker.clone(),
            };
            request.extensions_mut().insert(told.span(calls, place));
            call = call.told(told);
            if self.parts.is_traced {
                call = call.traced(request.headers());
            }
        }
        let response = match self.parts.gate.let_in(&mut request, &self.line) {
            Err(refused) => refused.into_http::<tonic::body::Body>().map(Answer::from),
            Ok(known) => {
                if let Some((known, _)) = &known {
                    speaker.is(&known.permit().name);
                }
                let response = self.managed(request, place, is_own).await;
                self.hold_on(known, response)
            }
        };
        call.follow(response, &self.watched)
    }

    async fn managed(
        &self,
        request: Request<Incoming>,
        place: Place,
        is_own: bool,
    ) -> Response<Answer> {
        let (parts, pace) = (&self.parts, &self.counts.pace);
        let method = parts.calls.method(place);
        let changes = is_own.then(|| method.is_some_and(|method| method.changes));
        let deadline = deadline(request.headers());
        let (admission, watched) = (&parts.admission, &self.watched);
        let admitted = admission.manage(pace, deadline, changes, watched, &self.managed);
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        let stall = parts.admission.limits().stall;
        let is_stream = method.is_some_and(|method| method.kind != "unary");
        let request = request.map(|body| Patient::new(body, stall, is_stream));
        let answer = Box::pin(parts.elsewhere.answer(request, admitted));
        by(deadline, answer).await
    }
}

/// The request as it came.
fn replay(request: Request<Incoming>, replaying: Replaying) -> Request<Replayed> {
    request.map(|rest| match replaying {
        Replaying::Whole(message) => Replayed::whole(message),
        Replaying::Part(receiving) => receiving.replayed(rest),
    })
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

/// What something comes to, or the answer to a client that has not sent it in time.
async fn within<T>(
    limit: Duration,
    headers: &HeaderMap,
    coming: impl Future<Output = T>,
) -> Result<T, Response<Answer>> {
    let deadline = deadline(headers);
    let is_due_first = deadline.is_some_and(|deadline| deadline < limit);
    let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
    let late = tokio::time::timeout(limit, coming).await;
    late.map_err(|_| {
        let status = if is_due_first {
            status::too_late()
        } else {
            status::too_slow()
        };
        status.into_http::<tonic::body::Body>().map(Answer::from)
    })
}

fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get("grpc-timeout")?.to_str().ok()?;
    from_proto::timeout(given)
}
