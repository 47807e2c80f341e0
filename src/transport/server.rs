//! The daemon on its listeners, until told to stop, and then not for ever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::authorization_service::AuthorizationRpc;
use super::caller::Authenticator;
use super::dispatch::{Checks, Dispatch};
use super::elsewhere::Elsewhere;
use super::health::Readiness;
use super::listeners::Listeners;
use super::router;
use super::serving::{Handler, Threads};
use crate::application::Application;
use crate::proto::v1::authorization_service_server::AuthorizationServiceServer;

/// The largest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
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
    let checks = checks(&application, &observed);
    let routes = router::routes(Arc::clone(&application), checks.clone(), observed.clone())?;
    let (elsewhere, mut left) = Elsewhere::here(routes);
    let handler = through(Dispatch::new(
        application,
        authenticator,
        checks,
        elsewhere,
        observed,
    ));
    let threads = Threads::start(manner.threads, &handler).map_err(ServeError::Threads)?;
    drop(handler);

    tokio::select! {
        () = stop => {}
        () = accept(&listeners, &threads) => {}
    }
    readiness.send_replace(Readiness::NotServing);
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
async fn accept(listeners: &Listeners, threads: &Threads) {
    loop {
        match listeners.accept().await {
            Ok(connection) => threads.give(connection),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn checks(application: &Arc<Application>, readiness: &watch::Receiver<Readiness>) -> Checks {
    let rpc = AuthorizationRpc::new(Arc::clone(application), readiness.clone());
    AuthorizationServiceServer::new(rpc).max_decoding_message_size(MAX_REQUEST_BYTES)
}
