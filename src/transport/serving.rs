//! The threads that serve connections, and how they stop.
//!
//! Each thread has a runtime of its own, on which nothing moves to another thread:
//! measured, that serves half again as many calls as one runtime over all threads.
//! A connection is given to the thread that has the fewest, which spreads few long
//! connections better than a listener for each thread would.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::body::Answer;
use super::identities::Peer;
use super::listeners::Accepted;

/// How often a silent connection is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The most requests at a time on one connection.
const MAX_STREAMS: u32 = 1_024;

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
    phase: watch::Sender<Phase>,
    /// Completes when no thread runs.
    ended: mpsc::Receiver<Infallible>,
}

struct Thread {
    connections: Arc<AtomicUsize>,
    given: mpsc::UnboundedSender<Accepted>,
    handle: JoinHandle<()>,
}

impl Threads {
    /// Starts that many.
    pub fn start<H: Handler>(count: usize, handler: &H) -> io::Result<Self> {
        let (phase, observed) = watch::channel(Phase::Serve);
        let (running, ended) = mpsc::channel(1);
        let threads = (0..count.max(1)).map(|index| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (given, taken) = mpsc::unbounded_channel();
            let worker = Worker {
                handler: handler.clone(),
                connections: Arc::default(),
                phase: observed.clone(),
                running: running.clone(),
            };
            let connections = Arc::clone(&worker.connections);
            let handle = thread::Builder::new()
                .name(format!("serving-{index}"))
                .spawn(move || worker.run(&runtime, taken))?;
            Ok(Thread {
                connections,
                given,
                handle,
            })
        });
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            phase,
            ended,
        })
    }

    /// Gives a connection to the thread that has the fewest.
    pub fn give(&self, connection: Accepted) {
        let fewest = |thread: &&Thread| thread.connections.load(Ordering::Relaxed);
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
    handler: H,
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
        loop {
            tokio::select! {
                () = reached(&mut phase, Phase::Finish) => break,
                given = taken.recv() => {
                    let Some(given) = given else { return };
                    let handler = self.handler.clone();
                    let counted = Counted(Arc::clone(&self.connections));
                    let phase = self.phase.clone();
                    serving.spawn(async move {
                        let _counted = counted;
                        serve_connection(given, handler, phase).await;
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

async fn serve_connection<H: Handler>(
    accepted: Accepted,
    handler: H,
    mut phase: watch::Receiver<Phase>,
) {
    let taken = tokio::select! {
        taken = accepted.into_stream() => taken,
        () = reached(&mut phase, Phase::Finish) => return,
    };
    let (stream, peer) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::debug!(%error, "a connection could not be taken");
            return;
        }
    };
    let session = Arc::new(handler.connected(peer));
    drop(handler);
    let service = service_fn(move |request| {
        // On the heap at once: hyper and tokio move it several times before it is polled.
        let answer = Box::pin(Arc::clone(&session).answer(request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .auto_date_header(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = reached(&mut phase, Phase::Finish) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
