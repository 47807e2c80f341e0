//! The daemon on its listeners, until told to stop, and then not for ever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::authorization_service::AuthorizationRpc;
use super::caller::Authenticator;
use super::calls::Calls;
use super::dispatch::{Checks, Dispatch};
use super::elsewhere::Elsewhere;
use super::exposition::Exposition;
use super::health::Readiness;
use super::limits::Limits;
pub use super::limits::MAX_REQUEST_BYTES;
use super::listeners::Listeners;
use super::router;
use super::serving::{Handler, Threads};
use crate::application::Application;
use crate::proto::v1::authorization_service_server::AuthorizationServiceServer;

/// How long nothing is accepted when accepting failed, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server could not be started or failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Reflection could not be built from the descriptors.
    #[error("reflection can't be built")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The keys of callers could not be read.
    #[error("the keys of callers can't be read")]
    CallerKeys(#[source] crate::application::Error),
    /// The threads that serve connections could not be started.
    #[error("the threads that serve connections can't be started")]
    Threads(#[source] io::Error),
}

/// How connections are served.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// On how many threads, beside the runtime that this is called on.
    pub threads: usize,
    /// How long requests may take to finish once serving is to stop.
    pub drain: Duration,
    /// How long to go on serving before that, while health says that it won't be for long.
    pub lame_duck: Duration,
    /// How much may be asked.
    pub limits: Limits,
    /// Whether calls appear in traces, for which somebody has to collect them.
    pub is_traced: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            threads: 1,
            drain: Duration::from_secs(10),
            lame_duck: Duration::ZERO,
            limits: Limits::default(),
            is_traced: false,
        }
    }
}

/// Serves until `stop` completes, then lets requests finish for a while.
pub async fn serve(
    listeners: Listeners,
    application: Arc<Application>,
    authenticator: Authenticator,
    manner: Manner,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let through = |dispatch| dispatch;
    serve_through(listeners, application, authenticator, manner, stop, through).await
}

/// The same with something in front of the daemon's own answers, as a benchmark has.
pub async fn serve_through<H: Handler>(
    listeners: Listeners,
    application: Arc<Application>,
    authenticator: Authenticator,
    manner: Manner,
    stop: impl Future<Output = ()> + Send + 'static,
    through: impl FnOnce(Dispatch) -> H,
) -> Result<(), ServeError> {
    let (readiness, observed) = watch::channel(Readiness::Serving);
    let loaded = application.load_caller_keys().await;
    loaded.map_err(ServeError::CallerKeys)?;
    let calls = Arc::new(Calls::default());
    let checks = checks(&application, &calls, &observed);
    let (routes, health) =
        router::routes(Arc::clone(&application), checks.clone(), observed.clone())?;
    let (elsewhere, mut left) = Elsewhere::here(routes);
    let probes = listeners.probes().clone();
    probes.tell_health(health);
    probes.tell_metrics(Exposition::new(Arc::clone(&calls), &application));
    let handler = through(Dispatch::new(
        application,
        authenticator,
        checks,
        elsewhere,
        observed,
        Arc::clone(&calls),
        &manner,
    ));
    let threads = Threads::start(manner.threads, &handler, manner.limits, &calls);
    let threads = threads.map_err(ServeError::Threads)?;
    drop(handler);
    probes.set(Readiness::Serving);

    let stopped = async {
        stop.await;
        // First whoever sends requests here is told to send them elsewhere, then they may
        // take their time to heed it.
        readiness.send_replace(Readiness::Leaving);
        probes.set(Readiness::Leaving);
        tokio::time::sleep(manner.lame_duck).await;
    };
    tokio::select! {
        () = stopped => {}
        () = accept(&listeners, &threads, &calls) => {}
    }
    readiness.send_replace(Readiness::NotServing);
    probes.set(Readiness::NotServing);
    // Those who watch have heard the last of it, and nothing new comes in.
    drop(readiness);
    drop(listeners);
    if !threads.stop(manner.drain).await {
        tracing::warn!(after = ?manner.drain, "requests still under way were cut off");
    }
    // What was cut off may still hold the application.
    left.recv().await;
    Ok(())
}

/// Gives connections to the threads, for ever.
async fn accept(listeners: &Listeners, threads: &Threads, calls: &Calls) {
    loop {
        match listeners.accept().await {
            Ok(connection) => threads.give(connection),
            Err(error) => {
                calls.failed.add(1);
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn checks(
    application: &Arc<Application>,
    calls: &Arc<Calls>,
    readiness: &watch::Receiver<Readiness>,
) -> Checks {
    let rpc = AuthorizationRpc::new(
        Arc::clone(application),
        Arc::clone(calls),
        readiness.clone(),
    );
    AuthorizationServiceServer::new(rpc).max_decoding_message_size(MAX_REQUEST_BYTES)
}
