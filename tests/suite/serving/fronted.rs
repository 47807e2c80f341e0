//! A daemon with a handler in front that answers one method itself and leaves the rest.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use roster::application::{Application, Links};
use roster::store::memory::MemoryStore;
use roster::transport::body::Answer;
use roster::transport::caller::Authenticator;
use roster::transport::dispatch::{Connection, Dispatch};
use roster::transport::guarded::Watched;
use roster::transport::identities::Peer;
use roster::transport::listeners::Listeners;
use roster::transport::server::{Manner, ServeError, serve_through};
use roster::transport::serving::{Handler, Session};
use roster::world::StillWorld;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::codegen::http::{Request, Response};

use crate::harness::{KEY, LINK_KEY, NOW, catalogs};

/// What the handler answers its own method with.
type Own = fn() -> Pin<Box<dyn Future<Output = Response<Answer>> + Send>>;

#[derive(Clone)]
struct Front {
    inner: Dispatch,
    method: &'static str,
    own: Own,
}

struct FrontSession {
    inner: Arc<Connection>,
    method: &'static str,
    own: Own,
}

impl Handler for Front {
    type Session = FrontSession;

    fn connected(&self, peer: Peer) -> FrontSession {
        FrontSession {
            inner: Arc::new(self.inner.connected(peer)),
            method: self.method,
            own: self.own,
        }
    }
}

impl Session for FrontSession {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        if request.uri().path().ends_with(self.method) {
            return (self.own)().await;
        }
        Arc::clone(&self.inner).answer(request).await
    }

    fn watched(&self) -> Arc<Watched> {
        self.inner.watched()
    }
}

/// The daemon, without an organization.
pub struct Fronted {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Fronted {
    pub async fn start(manner: Manner, method: &'static str, own: Own) -> Self {
        Self::through(manner, move |inner| Front { inner, method, own }).await
    }

    /// With any handler in front.
    pub async fn through<H: Handler>(
        manner: Manner,
        front: impl FnOnce(Dispatch) -> H + Send + 'static,
    ) -> Self {
        let application = Application::start(
            catalogs(),
            Arc::new(MemoryStore::new()),
            Arc::new(StillWorld::at(NOW)),
            Links::new(&LINK_KEY),
            usize::MAX,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve_through(
            Listeners::new(listener, None),
            Arc::new(application),
            Authenticator::new(KEY),
            manner,
            async move { drop(stopped.await) },
            front,
        ));
        Self {
            address,
            stop,
            serving,
        }
    }

    pub async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
    }
}
