//! The daemon under test, with a call in front of it that reads a message of the
//! same size as a check and answers with one of the same size as its answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use roster::app;
use roster::application::{Application, Links};
use roster::store::Store;
use roster::store::sled::{OpenOptions, SledStore};
use roster::transport::body::Answer;
use roster::transport::caller::Authenticator;
use roster::transport::dispatch::{Connection, Dispatch};
use roster::transport::guarded::Watched;
use roster::transport::hot::unary::{Receiving, respond};
use roster::transport::identities::Peer;
use roster::transport::listeners::{Listeners, UnixSocket};
use roster::transport::server::{Manner, serve_through};
use roster::transport::serving::{Handler, Session};
use roster::world::SystemWorld;
use tokio::net::TcpListener;

use crate::organizations;

/// The key of this daemon.
pub const KEY: &str =
    "roster_operator_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Where the call is that does nothing: a path as long as that of a check, since clients
/// spell it out in every call.
pub const NOOP: &str = "/bench.v1.AuthorizationNothing/IsNoOperation";

/// What it answers: the bytes of a real answer.
pub static NOOP_ANSWER: OnceLock<Bytes> = OnceLock::new();

/// A daemon on a store of its own.
pub struct Daemon {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub threads: usize,
    _directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts it with its organizations.
    pub fn start() -> Self {
        let directory = tempfile::tempdir_in(".").expect("a temporary directory");
        let threads = std::thread::available_parallelism().expect("cores").get();
        // As `roster serve` makes it.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if std::env::var_os("ROSTER_BENCH_EVEN").is_none() {
            builder.on_thread_start(app::stand_back);
        }
        let runtime = builder.enable_all().build().expect("a runtime");
        let catalogs = app::compiled_catalogs(&[]).expect("catalogs");
        let options = OpenOptions {
            minimum_free_bytes: Some(0),
            ..OpenOptions::default()
        };
        let path = directory.path().to_owned();
        let opening = runtime.spawn(async move { SledStore::open(&path, options) });
        let store = runtime
            .block_on(opening)
            .expect("no panic")
            .expect("a store");
        let store: Arc<dyn Store> = Arc::new(store);
        let catalog = catalogs
            .iter()
            .find(|catalog| catalog.catalog().id.as_str() == organizations::CATALOG)
            .expect("a catalog");
        for size in [
            organizations::CHECKED,
            organizations::SMALL,
            organizations::LARGE,
        ] {
            runtime.block_on(organizations::populate(&*store, catalog.catalog(), size));
        }
        let application = Application::start(
            catalogs,
            store,
            Arc::new(SystemWorld),
            Links::new(&[0; 32]),
            usize::MAX,
        );
        let socket = directory.path().join("bench.sock");
        let (listener, unix) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            (listener, UnixSocket::bind(&socket).expect("a socket"))
        });
        let address = listener.local_addr().expect("an address");
        let serving = serve_through(
            Listeners::new(listener, Some(unix)),
            Arc::new(application),
            Authenticator::new(KEY),
            Manner {
                threads,
                drain: Duration::ZERO,
                ..Manner::default()
            },
            std::future::pending(),
            Front,
        );
        // From a thread that doesn't stand back, like that of `roster serve`.
        thread::spawn(move || runtime.block_on(serving));
        Self {
            address,
            socket,
            threads,
            _directory: directory,
        }
    }
}

/// The daemon's own answers, and the call that does nothing.
#[derive(Clone)]
struct Front(Dispatch);

struct FrontSession(Arc<Connection>);

impl Handler for Front {
    type Session = FrontSession;

    fn connected(&self, peer: Peer) -> FrontSession {
        FrontSession(Arc::new(self.0.connected(peer)))
    }
}

impl Session for FrontSession {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Answer>> + Send + 'static {
        if request.uri().path() == NOOP {
            Either::Left(Nothing(request, Receiving::default()))
        } else {
            Either::Right(Arc::clone(&self.0).answer(request))
        }
    }

    fn watched(&self) -> Arc<Watched> {
        self.0.watched()
    }
}

/// The call that does nothing but read its message, the leanest way there is.
struct Nothing(Request<Incoming>, Receiving);

impl Future for Nothing {
    type Output = Response<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Answer>> {
        let Self(request, receiving) = &mut *self;
        let received = ready!(receiving.poll(request.body_mut(), context));
        Poll::Ready(respond(match received {
            Some(_) => NOOP_ANSWER.get().cloned().unwrap_or_default(),
            None => Bytes::new(),
        }))
    }
}
