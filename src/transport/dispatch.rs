//! Where a request is answered: a check on the thread that read it, all else
//! elsewhere. What can't be answered in time is refused here ([`admission`](super::admission)).

mod answering;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::Status;
use tower::Service as _;

use self::answering::Answering;
use super::access::Access;
use super::admission::{Admission, OnConnection};
use super::authorization_service::AuthorizationRpc;
use super::body::Answer;
use super::caller::{Authenticator, Gate, Hold, Known, Line};
use super::calls::{Calls, Counting, Place, ThreadCounts};
use super::elsewhere::Elsewhere;
use super::followed::{Call, Speaker, Told, request_id};
use super::guarded::Watched;
use super::health::Readiness;
use super::hot::unary::Replayed;
use super::hot::{batch, stream};
use super::identities::Peer;
use super::lane::Lane;
use super::limits::MAX_REQUEST_BYTES;
use super::methods::Method;
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

/// How long it is waited for the rest of a request that is refused.
const READ_OFF: Duration = Duration::from_secs(1);
/// How much is read of a request whose caller is not let in, in bytes.
const OF_STRANGERS: usize = 16 * 1024;

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
            watched: Arc::new(Watched::new(Arc::clone(&counts.pace))),
            counts,
            managed: OnConnection::default(),
            lane: Lane::here(),
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
    /// How much that is more than a check is under way on it.
    managed: OnConnection,
    /// Where the batches of the thread wait that serves it.
    lane: Arc<Lane>,
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
        Answering::of(self, request)
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
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

    /// Answers a single check that turned out to be no ordinary one.
    async fn check_after_all(
        &self,
        mut request: Request<Replayed>,
        known: Known,
    ) -> Response<Answer> {
        let call = self.begin_check();
        request.extensions_mut().insert(known);
        let response = match self.refusal(&request) {
            Some(refused) => refused,
            None => self.check_anything(request).await,
        };
        call.follow(response, &self.watched)
    }

    fn begin_check(&self) -> Call {
        let place = self.parts.calls.place(IS_AUTHORIZED);
        Call::begin(&self.parts.calls, &self.counts, place)
    }

    /// Answers checks that are no ordinary ones, or more than one.
    async fn check_otherwise(&self, request: Request<Incoming>, asked: Asked) -> Response<Answer> {
        let place = self.parts.calls.place(request.uri().path());
        let mut call = Call::begin(&self.parts.calls, &self.counts, place);
        if self.is_traced(&request) {
            call = call.traced(request.headers());
        }
        let response = match self.refusal(&request) {
            Some(refused) if matches!(asked, Asked::Stream) => refused,
            Some(refused) => self.read_off(request, refused, MAX_REQUEST_BYTES).await,
            None => self.check_somehow(request, asked).await,
        };
        call.follow(response, &self.watched)
    }

    /// The refusal, once the request was read as far as it is worth it. What is on its way
    /// can't be stopped; and each frame of it that comes when the request is over would be
    /// answered with an error of its own, of which HTTP/2 bears only so many on a connection.
    async fn read_off(
        &self,
        request: Request<Incoming>,
        refused: Response<Answer>,
        most: usize,
    ) -> Response<Answer> {
        let deadline = deadline(request.headers());
        let patience = deadline.map_or(READ_OFF, |deadline| READ_OFF.min(deadline / 2));
        let mut body = request.into_body();
        let read = async {
            let mut left = most;
            while let Some(Ok(frame)) =
                poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.watched.batch(bytes);
                match left.checked_sub(bytes) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        // Whatever has not come by then is refused unread.
        let _ = tokio::time::timeout(patience, read).await;
        refused
    }

    /// The answer to somebody who is not let in, which is no reason to end the connection:
    /// others may speak on it. Little is read of what they say.
    async fn turn_away(
        &self,
        request: Request<Incoming>,
        refused: Status,
        says_more: bool,
    ) -> Response<Answer> {
        let refused = refused.into_http::<tonic::body::Body>().map(Answer::from);
        if says_more {
            return refused;
        }
        self.read_off(request, refused, OF_STRANGERS).await
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
                let (counts, watched) = (self.counting(), Arc::clone(&self.watched));
                let deadline = deadline(request.headers());
                let admission = &self.parts.admission;
                let admitted = admission.batch(&self.managed, &self.lane, deadline);
                let (_admitted, expected) = match admitted {
                    Ok(admitted) => admitted,
                    Err(refused) => {
                        return self.read_off(request, *refused, MAX_REQUEST_BYTES).await;
                    }
                };
                let request = request.map(|body| Patient::new(body, stall, false));
                in_time(request, |request| {
                    batch::answer(
                        application,
                        elsewhere,
                        known,
                        counts,
                        expected,
                        watched,
                        request,
                    )
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
                Err(refused) => {
                    let says_more = matches!(asked, Asked::Stream);
                    self.turn_away(request, refused, says_more).await
                }
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
        let says_more = calls.method(place).is_some_and(Method::says_more);
        let response = match self.parts.gate.let_in(&mut request, &self.line) {
            Err(refused) => self.turn_away(request, refused, says_more).await,
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
        let says_more = method.is_some_and(Method::says_more);
        let deadline = deadline(request.headers());
        let (admission, watched) = (&parts.admission, &self.watched);
        let admitted = admission.manage(pace, deadline, changes, watched, &self.managed);
        let admitted = match admitted {
            Ok(admitted) => admitted,
            // The client of a stream may have more to say for ever.
            Err(refused) if says_more => return *refused,
            Err(refused) => return self.read_off(request, *refused, MAX_REQUEST_BYTES).await,
        };
        let stall = parts.admission.limits().stall;
        let is_stream = method.is_some_and(Method::is_stream);
        let request = request.map(|body| Patient::new(body, stall, is_stream));
        let answer = Box::pin(parts.elsewhere.answer(request, admitted));
        by(deadline, answer).await
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
