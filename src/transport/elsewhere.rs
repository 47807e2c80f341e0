//! Everything that is not a check: answered on the runtime the daemon was started
//! on, so that a slow change or a long list never holds up a check.
//!
//! What is answered there is encoded there as well. The threads that serve
//! connections only carry the bytes.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::service::Routes;
use tower::Service as _;
use tracing::{Instrument as _, Span};

use super::admission::Admitted;
use super::body::{Answer, Piece};
use super::followed::CallSpan;
use super::status;

/// How many pieces of an answer are made before they are fetched.
const PIECES: usize = 4;

/// The other runtime, with every service of the daemon on it.
#[derive(Clone)]
pub struct Elsewhere {
    runtime: Handle,
    routes: Routes,
    /// Held by whatever runs there, so that its end can be waited for.
    running: mpsc::Sender<Infallible>,
}

impl Elsewhere {
    /// Services on the runtime this is called on, and what completes when nothing runs
    /// there any more and nothing can be started.
    pub fn here(routes: Routes) -> (Self, mpsc::Receiver<Infallible>) {
        let (running, ended) = mpsc::channel(1);
        let elsewhere = Self {
            runtime: Handle::current(),
            routes,
            running,
        };
        (elsewhere, ended)
    }

    /// Runs something there; it is stopped when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let running = self.running.clone();
        let task = self.runtime.spawn(async move {
            let done = work.await;
            drop(running);
            done
        });
        let _stopped = StoppedWhenDropped::of(task.abort_handle());
        task.await.map_err(|error| status::failed(&error))
    }

    /// Answers a request by the service that it is for.
    /// `admitted` is let go when that is over.
    pub async fn answer<B>(&self, mut request: Request<B>, admitted: Admitted) -> Response<Answer>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let span = request.extensions_mut().remove::<CallSpan>();
        let span = span.map_or_else(Span::none, |span| span.0);
        let (started, start) = oneshot::channel();
        let mut routes = self.routes.clone();
        let running = self.running.clone();
        let answering = async move {
            let Ok(response) = routes.call(request).await;
            let (head, body) = response.into_parts();
            if body.is_end_stream() {
                let _ = started.send((head, Answer::Ended));
            } else {
                let (pieces, relayed) = mpsc::channel(PIECES);
                if started.send((head, Answer::Relayed(relayed))).is_ok() {
                    relay(body, pieces).await;
                }
            }
            drop((running, admitted));
        };
        let task = self.runtime.spawn(answering.instrument(span));
        let mut stopped = StoppedWhenDropped::of(task.abort_handle());
        let started = start.await;
        // From here on, dropping the body is what stops it.
        stopped.goes_on();
        match started {
            Ok((head, answer)) => Response::from_parts(head, answer),
            Err(error) => status::failed(&error)
                .into_http::<tonic::body::Body>()
                .map(Answer::from),
        }
    }
}

/// Hands over a body piece by piece, for as long as somebody takes them.
async fn relay(mut body: tonic::body::Body, pieces: mpsc::Sender<Piece>) {
    loop {
        let piece =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context));
        let piece = tokio::select! {
            piece = piece => piece,
            () = pieces.closed() => return,
        };
        let Some(piece) = piece else { return };
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

/// Stops a task that nobody waits for any more.
struct StoppedWhenDropped(Option<AbortHandle>);

impl StoppedWhenDropped {
    fn of(task: AbortHandle) -> Self {
        Self(Some(task))
    }

    fn goes_on(&mut self) {
        self.0 = None;
    }
}

impl Drop for StoppedWhenDropped {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
