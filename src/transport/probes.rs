//! What is served besides the daemon's own calls, on addresses of its own and to anybody:
//! health, for whoever starts and stops the daemon, and metrics.
//!
//! ```text
//! health   GET /livez    200 while the process runs
//!          GET /readyz   200 while it serves, 503 before and while it is told to stop
//!          grpc.health.v1.Health over HTTP/2
//! metrics  GET /metrics  what the daemon counts, as text
//! ```
//!
//! Both are served on a thread of their own, begun before the store is opened, so that a
//! long start or much load is no reason to take the process for dead. Nothing here needs
//! a key, so nothing here tells who is who: numbers and yes or no.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tower::Service as _;

use super::exposition::{self, Exposition};
use super::health::{HealthRpc, Readiness};

/// The most connections to each of the two at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last; whoever asks again connects again.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long nothing is accepted when accepting failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is told there, as soon as it is known.
#[derive(Clone)]
pub struct Probes(Arc<Shared>);

struct Shared {
    readiness: watch::Sender<Readiness>,
    health: OnceLock<HealthRpc>,
    metrics: OnceLock<Exposition>,
}

impl Default for Probes {
    fn default() -> Self {
        Self(Arc::new(Shared {
            readiness: watch::Sender::new(Readiness::NotServing),
            health: OnceLock::new(),
            metrics: OnceLock::new(),
        }))
    }
}

/// What is served on an address.
#[derive(Clone, Copy)]
enum Served {
    Health,
    Metrics,
}

impl Probes {
    /// Serves what is known on these addresses, for as long as the process runs.
    pub fn serve(
        &self,
        health: Option<std::net::TcpListener>,
        metrics: Option<std::net::TcpListener>,
    ) -> io::Result<()> {
        let listeners = [(health, Served::Health), (metrics, Served::Metrics)];
        let listeners: Vec<_> = listeners
            .into_iter()
            .filter_map(|(listener, served)| Some((listener?, served)))
            .collect();
        if listeners.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listening = listeners.into_iter().map(|(listener, served)| {
            listener.set_nonblocking(true)?;
            let _entered = runtime.enter();
            Ok((TcpListener::from_std(listener)?, served))
        });
        let listening = listening.collect::<io::Result<Vec<_>>>()?;
        let probes = self.clone();
        thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    for (listener, served) in listening {
                        tokio::spawn(accept(listener, probes.clone(), served));
                    }
                    std::future::pending::<()>().await;
                });
            })?;
        Ok(())
    }

    /// Tells whether the daemon serves.
    pub fn set(&self, readiness: Readiness) {
        self.0.readiness.send_replace(readiness);
    }

    /// Whether it does, for whoever follows it.
    pub fn follow(&self) -> watch::Receiver<Readiness> {
        self.0.readiness.subscribe()
    }

    /// Tells the health of these services, once they are there.
    pub fn tell_health(&self, health: HealthRpc) {
        // A process serves once.
        drop(self.0.health.set(health));
    }

    /// Tells what is counted, once there is something to count.
    pub fn tell_metrics(&self, metrics: Exposition) {
        drop(self.0.metrics.set(metrics));
    }

    fn is_ready(&self) -> bool {
        *self.0.readiness.borrow() == Readiness::Serving
    }

    /// Health over gRPC: of nothing in particular before the daemon serves.
    fn health(&self) -> HealthServer<HealthRpc> {
        let early = || HealthRpc::early(self.follow());
        HealthServer::new(self.0.health.get().cloned().unwrap_or_else(early))
    }

    async fn answer(&self, request: Request<Incoming>, served: Served) -> Response<Body> {
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if matches!(served, Served::Health) && is_grpc {
            if !request.uri().path().starts_with("/grpc.health.v1.Health/") {
                return super::status::unknown_service().into_http();
            }
            let Ok(response) = self.health().call(request).await;
            return response;
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match (served, request.uri().path()) {
            (Served::Health, "/livez" | "/readyz") | (Served::Metrics, "/metrics") if !is_read => {
                let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n");
                let allowed = HeaderValue::from_static("GET, HEAD");
                refused.headers_mut().insert(ALLOW, allowed);
                refused
            }
            (Served::Health, "/livez") => plain(StatusCode::OK, "ok\n"),
            (Served::Health, "/readyz") if self.is_ready() => plain(StatusCode::OK, "ok\n"),
            (Served::Health, "/readyz") => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            (Served::Metrics, "/metrics") => self.metrics().await,
            _ => plain(StatusCode::NOT_FOUND, "nothing is here\n"),
        }
    }

    async fn metrics(&self) -> Response<Body> {
        let probes = self.clone();
        // It asks the operating system, which may take its time.
        let written = tokio::task::spawn_blocking(move || {
            let is_ready = probes.is_ready();
            exposition::write(probes.0.metrics.get(), is_ready)
        });
        match written.await {
            Ok(Ok(text)) => {
                let mut response = plain(StatusCode::OK, text);
                let kind = HeaderValue::from_static(exposition::CONTENT_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            failed => {
                tracing::error!(?failed, "the metrics could not be written");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "see the daemon's log\n")
            }
        }
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let fresh = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, fresh);
    response
}

async fn accept(listener: TcpListener, probes: Probes, served: Served) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, _): (TcpStream, SocketAddr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of a probe could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // One too many is closed.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let probes = probes.clone();
        tokio::spawn(async move {
            let _place = place;
            serve_connection(stream, probes, served).await;
        });
    }
}

async fn serve_connection(stream: TcpStream, probes: Probes, served: Served) {
    let service = service_fn(move |request| {
        let probes = probes.clone();
        async move { Ok::<_, Infallible>(probes.answer(request, served).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(16)
        .max_header_list_size(8 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    if tokio::time::timeout(LIFETIME, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        // What is not over by then never will be.
        drop(tokio::time::timeout(HEAD, connection).await);
    }
}
