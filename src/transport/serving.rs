//! The threads that serve connections, and how they stop.
//!
//! Each thread has a runtime of its own, on which nothing moves to another thread:
//! measured, that serves half again as many calls as one runtime over all threads.
//! A connection is given to the thread that has the fewest, which spreads few long
//! connections better than a listener for each thread would.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::body::Answer;
use super::calls::{Calls, Ended};
use super::guarded::{Guarded, Watched};
use super::identities::Peer;
use super::limits::{self, Limits};
use super::listeners::Accepted;
use super::one_task::{Begun, OneTask};
use super::pace::Pace;

/// After how many turns of tasks a thread looks what came. A turn may be that of a
/// connection with many requests, so these are fewer than is usual.
const LOOK_AFTER: u32 = 8;

/// Answers the requests of all connections.
pub trait Handler: Clone + Send + 'static {
    /// What answers those of one.
    type Session: Session;

    /// A connection was made from there.
    fn connected(&self, peer: Peer) -> Self::Session;
}

/// Answers the requests of one connection.
pub trait Session: Send + Sync + 'static {
    /// Answers one.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Answer>> + Send + 'static;

    /// What is known of the connection.
    fn watched(&self) -> Arc<Watched>;
}

/// What connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serve,
    /// Take no more requests, and end when those under way are answered.
    Finish,
    /// End.
    End,
}

/// Completes when the phase is that or a later one.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that whoever sets it is gone: then everything ends.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// Threads that serve connections until told to stop. Dropped, they end at once.
pub struct Threads {
    threads: Vec<Thread>,
    /// The most connections of all.
    most: usize,
    calls: Arc<Calls>,
    phase: watch::Sender<Phase>,
    /// Completes when no thread runs.
    ended: mpsc::Receiver<Infallible>,
}

struct Thread {
    pace: Arc<Pace>,
    connections: Arc<AtomicUsize>,
    given: mpsc::UnboundedSender<Accepted>,
    handle: JoinHandle<()>,
}

impl Threads {
    /// Starts that many.
    pub fn start<H: Handler>(
        count: usize,
        handler: &H,
        limits: Limits,
        calls: &Arc<Calls>,
    ) -> io::Result<Self> {
        let (phase, observed) = watch::channel(Phase::Serve);
        let (running, ended) = mpsc::channel(1);
        let threads = (0..count.max(1)).map(|index| {
            let runtime = Builder::new_current_thread()
                .event_interval(LOOK_AFTER)
                .global_queue_interval(LOOK_AFTER)
                .enable_all()
                .build()?;
            let (given, taken) = mpsc::unbounded_channel();
            let pace = Arc::new(Pace::default());
            let worker = Worker {
                pace: Arc::clone(&pace),
                handler: handler.clone(),
                limits,
                calls: Arc::clone(calls),
                connections: Arc::default(),
                phase: observed.clone(),
                running: running.clone(),
            };
            let connections = Arc::clone(&worker.connections);
            let handle = thread::Builder::new()
                .name(format!("serving-{index}"))
                .spawn(move || worker.run(&runtime, taken))?;
            Ok(Thread {
                pace,
                connections,
                given,
                handle,
            })
        });
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            most: limits.connections,
            calls: Arc::clone(calls),
            phase,
            ended,
        })
    }

    /// Gives a connection to the thread that has the fewest.
    /// One too many is closed.
    pub fn give(&self, connection: Accepted) {
        let counts = self.threads.iter().map(|thread| &thread.connections);
        let open: usize = counts.map(|count| count.load(Ordering::Relaxed)).sum();
        if open >= self.most {
            self.calls.too_many.add(1);
            tracing::debug!(
                open,
                "a connection was refused: there are as many as may be"
            );
            return;
        }
        let fewest = |thread: &&Thread| {
            let open = thread.connections.load(Ordering::Relaxed);
            (thread.pace.is_overloaded(), open)
        };
        if let Some(thread) = self.threads.iter().min_by_key(fewest) {
            thread.connections.fetch_add(1, Ordering::Relaxed);
            if thread.given.send(connection).is_err() {
                thread.connections.fetch_sub(1, Ordering::Relaxed);
                tracing::error!("a thread that serves connections is gone");
            }
        }
    }

    /// Lets requests finish, at most for that long; whether all did.
    pub async fn stop(mut self, bound: Duration) -> bool {
        self.phase.send_replace(Phase::Finish);
        let finished = tokio::time::timeout(bound, self.ended.recv()).await.is_ok();
        self.phase.send_replace(Phase::End);
        self.ended.recv().await;
        for thread in self.threads {
            if thread.handle.join().is_err() {
                tracing::error!("a thread that served connections panicked");
            }
        }
        finished
    }
}

/// What runs on one thread.
struct Worker<H> {
    pace: Arc<Pace>,
    handler: H,
    limits: Limits,
    calls: Arc<Calls>,
    connections: Arc<AtomicUsize>,
    phase: watch::Receiver<Phase>,
    running: mpsc::Sender<Infallible>,
}

impl<H: Handler> Worker<H> {
    fn run(self, runtime: &Runtime, taken: mpsc::UnboundedReceiver<Accepted>) {
        runtime.block_on(self.serve(taken));
    }

    async fn serve(self, mut taken: mpsc::UnboundedReceiver<Accepted>) {
        // Dropped last, after every connection.
        let _running = self.running;
        let mut phase = self.phase.clone();
        let mut serving = JoinSet::new();
        let pace = Arc::clone(&self.pace);
        pace.be_here();
        let target = self.limits.lag;
        // As a task, so that it waits in the same queue as those of connections.
        let mut keeping = JoinSet::new();
        keeping.spawn(async move { pace.keep(target).await });
        loop {
            tokio::select! {
                () = reached(&mut phase, Phase::Finish) => break,
                given = taken.recv() => {
                    let Some(given) = given else { return };
                    let handler = self.handler.clone();
                    let counted = Counted(Arc::clone(&self.connections));
                    let phase = self.phase.clone();
                    let (limits, calls) = (self.limits, Arc::clone(&self.calls));
                    serving.spawn(async move {
                        let _counted = counted;
                        if let Some(why) = serve_connection(given, handler, phase, limits).await {
                            calls.end(why);
                            tracing::debug!(why = why.name(), "a connection was ended");
                        }
                    });
                }
                Some(_) = serving.join_next() => {}
            }
        }
        let finished = async { while serving.join_next().await.is_some() {} };
        tokio::select! {
            () = finished => {}
            () = reached(&mut phase, Phase::End) => {}
        }
    }
}

/// A connection among those of its thread.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that shares in what may be open on its thread.
struct Sharing(Arc<Watched>);

impl Sharing {
    fn of(watched: &Arc<Watched>) -> Self {
        watched.join();
        Self(Arc::clone(watched))
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Serves a connection to its end; answers with why it was ended, if its client didn't.
async fn serve_connection<H: Handler>(
    accepted: Accepted,
    handler: H,
    mut phase: watch::Receiver<Phase>,
    limits: Limits,
) -> Option<Ended> {
    let taken = tokio::select! {
        taken = accepted.into_stream() => taken,
        () = reached(&mut phase, Phase::Finish) => return None,
    };
    let (stream, peer) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::debug!(%error, "a connection could not be taken");
            return None;
        }
    };
    let session = Arc::new(handler.connected(peer));
    drop(handler);
    let watched = session.watched();
    let _sharing = Sharing::of(&watched);
    let stream = Guarded::new(stream, Arc::clone(&watched));
    let service = service_fn(move |request| {
        let answer = Arc::clone(&session).answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let begun = Begun::default();
    let connection = builder(begun.clone()).serve_connection(TokioIo::new(stream), service);
    let mut connection = OneTask::new(connection, begun, Arc::clone(&watched), limits.lag);
    // On a task of its own, so that no clock is looked at whenever bytes come.
    let (tell, mut told) = oneshot::channel();
    let mut watching = JoinSet::new();
    watching.spawn(async move {
        // Nobody waits for it where the connection ended first.
        let _ = tell.send(watched.watch(limits).await);
    });
    let mut is_finishing = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break ended,
            () = reached(&mut phase, Phase::Finish), if !is_finishing => {
                connection.connection().graceful_shutdown();
                is_finishing = true;
            }
            Ok(why) = &mut told => {
                if why == Ended::Idle {
                    // The client is told to ask elsewhere; it may have asked just now.
                    connection.connection().graceful_shutdown();
                    drop(tokio::time::timeout(limits.stall, &mut connection).await);
                }
                return Some(why);
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
    None
}

/// How HTTP/2 is spoken.
fn builder(begun: Begun) -> http2::Builder<Begun> {
    let mut builder = http2::Builder::new(begun);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::KEEPALIVE)
        .keep_alive_timeout(limits::KEEPALIVE_ANSWER)
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(limits::MAX_HEADER_BYTES)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME_BYTES)
        .max_send_buf_size(limits::SEND_BUFFER)
        .max_pending_accept_reset_streams(limits::MAX_RESETS)
        .auto_date_header(false);
    builder
}
