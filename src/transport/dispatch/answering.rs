//! One request and its answer: an ordinary check is answered in place, as soon as its
//! message is there; all else as [`Connection`] says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use super::{Asked, Connection, deadline};
use crate::transport::body::Answer;
use crate::transport::caller::Known;
use crate::transport::hot::answer::Decided;
use crate::transport::hot::decide;
use crate::transport::hot::unary::{Receiving, Replayed, content, respond};
use crate::transport::status;
use crate::transport::waiting::Ticket;
use crate::world;

/// A request being answered. An ordinary check is answered right here, as soon as its
/// message is there. What else there is to do lies on the heap, so that this is hardly
/// larger than the request.
pub(super) struct Answering {
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
    /// The request is looked at when this is polled.
    pub(super) fn of(connection: Arc<Connection>, request: Request<Incoming>) -> Self {
        Self {
            connection,
            request: Some(request),
            ordinary: None,
            later: None,
        }
    }

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
}

impl Connection {
    /// Looks at the headers of a request.
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
}
