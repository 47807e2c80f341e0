//! Where a request is answered: a check on the thread that read it, all else
//! elsewhere. What can't be answered in time is refused here ([`admission`](super::admission)).

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
use super::calls::{Calls, Counting, Place, ThreadCounts};
use super::elsewhere::Elsewhere;
use super::followed::{Call, Speaker, Told, request_id};
use super::guarded::Watched;
use super::health::Readiness;
use super::hot::answer::Decided;
use super::hot::unary::{Receiving, Replayed, content, respond};
use super::hot::{batch, decide, stream};
use super::identities::Peer;
use super::lane::Lane;
use super::patience::Patient;
use super::server::Manner;
use super::serving::{Handler, Session};
use super::waiting::Ticket;
use super::{from_proto, status, traced};
use crate::application::Application;
use crate::proto::v1::authorization_service_server::AuthorizationServiceServer;
use crate::world;

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
        Answering {
            connection: self,
            request: Some(request),
            ordinary: None,
            later: None,
        }
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
}

/// A request being answered. An ordinary check is answered right here, as soon as its
/// message is there. What else there is to do lies on the heap, so that this is hardly
/// larger than the request.
struct Answering {
    connection: Arc<Connection>,
    /// The request, until it is answered.
    request: Option<Request<Incoming>>,
    /// What is known of it once it may be an ordinary check.
    ordinary: Option<Ordinary>,
    /// How it is answered if it is none.
    later: Option<Later>,
}

/// An answer that takes longer than an ordinary one.
type Later = Pin<Box<dyn Future<Output = Response<Answer>> + Send>>;

/// What may be an ordinary check: the message will tell.
struct Ordinary {
    known: Known,
    receiving: Receiving,
    /// When it began, or 0 if that is not measured.
    began: u64,
    /// Its place among those that wait for their message, if it does or did.
    ticket: Option<Ticket>,
    /// When its deadline is over, in ticks, if it waits and has one.
    due: Option<u64>,
    /// Whether it was answered, or is answered otherwise.
    is_over: bool,
}

impl Ordinary {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= world::ticks())
    }
}

impl Future for Answering {
    type Output = Response<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Answer>> {
        let this = &mut *self;
        if let Some(later) = &mut this.later {
            return later.as_mut().poll(context);
        }
        let Some(request) = &mut this.request else {
            return Poll::Pending;
        };
        let ordinary = match &mut this.ordinary {
            Some(ordinary) => ordinary,
            none => match this.connection.begin(request) {
                Begun::Ordinary(ordinary) => none.insert(ordinary),
                Begun::Other(asked) => return this.go_on(context, asked),
                Begun::Refused(refused) => return Poll::Ready(*refused),
            },
        };
        match ordinary.receiving.poll(request.body_mut(), context) {
            Poll::Ready(Some(message)) => {
                let connection = &this.connection;
                if ordinary.ticket.is_some() {
                    if ordinary.is_due() {
                        return this.refuse(status::too_late());
                    }
                    // Who calls may have changed meanwhile.
                    if !connection.parts.gate.still_knows(&ordinary.known) {
                        match connection.admitted(request) {
                            Some(known) => ordinary.known = known,
                            None => return this.refuse(status::unauthenticated()),
                        }
                    }
                }
                match connection.decide(&ordinary.known, &message) {
                    Some(decided) => {
                        let counts = &connection.counts;
                        counts.end_check(ordinary.began, decided.is_allowed());
                        ordinary.is_over = true;
                        Poll::Ready(respond(decided.framed()))
                    }
                    None => this.replay(context, Some(message)),
                }
            }
            Poll::Ready(None) => this.replay(context, None),
            Poll::Pending => {
                let waiting = &this.connection.watched.waiting;
                match &ordinary.ticket {
                    None => {
                        let deadline = deadline(request.headers());
                        ordinary.due = deadline.map(|deadline| {
                            let deadline = u64::try_from(deadline.as_nanos());
                            world::ticks().saturating_add(deadline.unwrap_or(u64::MAX))
                        });
                        ordinary.ticket = Some(waiting.enter(context.waker(), ordinary.due));
                    }
                    Some(ticket) if waiting.is_in_time(ticket) => {}
                    Some(_) if ordinary.is_due() => return this.refuse(status::too_late()),
                    Some(_) => return this.refuse(status::too_slow()),
                }
                Poll::Pending
            }
        }
    }
}

impl Answering {
    /// Answers what is no ordinary check.
    fn go_on(&mut self, context: &mut Context<'_>, asked: Asked) -> Poll<Response<Answer>> {
        let Some(request) = self.request.take() else {
            return Poll::Pending;
        };
        let connection = Arc::clone(&self.connection);
        let later: Later = match asked {
            Asked::Other => Box::pin(async move { connection.manage(request).await }),
            asked => Box::pin(async move { connection.check_otherwise(request, asked).await }),
        };
        self.later.insert(later).as_mut().poll(context)
    }

    /// Answers a check that turned out to be no ordinary one; its message, if it is one.
    fn replay(
        &mut self,
        context: &mut Context<'_>,
        message: Option<Bytes>,
    ) -> Poll<Response<Answer>> {
        self.hand_over();
        let (Some(request), Some(ordinary)) = (self.request.take(), self.ordinary.take()) else {
            return Poll::Pending;
        };
        let request = request.map(|rest| match message {
            Some(message) => Replayed::whole(message),
            None => ordinary.receiving.replayed(rest),
        });
        let (connection, known) = (Arc::clone(&self.connection), ordinary.known);
        let later = Box::pin(async move { connection.check_after_all(request, known).await });
        self.later.insert(later).as_mut().poll(context)
    }

    /// Refuses what was begun as an ordinary check.
    fn refuse(&mut self, status: tonic::Status) -> Poll<Response<Answer>> {
        self.hand_over();
        let connection = &self.connection;
        let refused = status.into_http::<tonic::body::Body>().map(Answer::from);
        Poll::Ready(
            connection
                .begin_check()
                .follow(refused, &connection.watched),
        )
    }

    /// Leaves what was begun as an ordinary check to be answered as any other.
    fn hand_over(&mut self) {
        self.leave();
        if let Some(ordinary) = &mut self.ordinary {
            ordinary.is_over = true;
            self.connection.counts.hand_over_check();
        }
    }

    /// Waits no longer for a message.
    fn leave(&self) {
        let ordinary = self.ordinary.as_ref();
        if let Some(ticket) = ordinary.and_then(|ordinary| ordinary.ticket.as_ref()) {
            self.connection.watched.waiting.leave(ticket);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.leave();
        if self
            .ordinary
            .as_ref()
            .is_some_and(|ordinary| !ordinary.is_over)
        {
            self.connection.counts.leave_check();
        }
    }
}

/// What a request turns out to be by its headers.
enum Begun {
    Ordinary(Ordinary),
    Other(Asked),
    Refused(Box<Response<Answer>>),
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

    /// Looks at the headers of a request, and answers it if it is refused.
    #[inline]
    fn begin(&self, request: &Request<Incoming>) -> Begun {
        self.watched.request();
        self.counts.pace.ask();
        let asked = Asked::of(request.uri().path());
        if !matches!(asked, Asked::Check) || self.is_traced(request) {
            return Begun::Other(asked);
        }
        let Some(known) = self.admitted(request) else {
            return Begun::Other(asked);
        };
        let began = self.counts.begin_check();
        let admission = &self.parts.admission;
        let refused = admission.ordinary(&self.counts.pace, || deadline(request.headers()));
        if let Some(refused) = refused {
            self.counts.refuse_check();
            return Begun::Refused(Box::new(refused));
        }
        Begun::Ordinary(Ordinary {
            known,
            receiving: Receiving::default(),
            began,
            ticket: None,
            due: None,
            is_over: false,
        })
    }

    #[inline]
    fn decide<'a>(&self, known: &Known, message: &'a Bytes) -> Option<Decided<'a>> {
        let bounds = known.permit().bounds.as_ref();
        decide::decide(&self.parts.application, bounds, content(message))
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
                let deadline = deadline(request.headers());
                let admission = &self.parts.admission;
                let admitted = admission.batch(&self.managed, &self.lane, deadline);
                let (_admitted, expected) = match admitted {
                    Ok(admitted) => admitted,
                    Err(refused) => return *refused,
                };
                let request = request.map(|body| Patient::new(body, stall, false));
                in_time(request, |request| {
                    batch::answer(application, elsewhere, known, counts, expected, request)
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
