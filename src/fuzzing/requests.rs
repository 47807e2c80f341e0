//! Requests to a daemon: any bytes as the message of any RPC, and messages grown out of
//! them. It serves over TCP with a store in memory, as it would otherwise.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::Interceptor as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::growing::{Choices, descriptors, grow};
use super::texts::compiled;
use crate::application::{Application, Links};
use crate::client::connection::Bearer;
use crate::domain::organization::Moment;
use crate::store::memory::MemoryStore;
use crate::transport::caller::Authenticator;
use crate::transport::listeners::Listeners;
use crate::transport::server::{self, Manner};
use crate::world::StillWorld;

/// After how many requests a daemon is replaced, so that its state stays small.
const REQUESTS: usize = 2_000;
const KEY: &str = "roster_operator_fuzzing_0123456789abcdef0123456789abcdef";

/// An RPC.
struct Method {
    path: PathAndQuery,
    input: String,
}

/// A daemon, and the way to it.
struct Served {
    channel: Channel,
    requests: usize,
    _stop: oneshot::Sender<()>,
}

/// The first byte chooses the RPC, the second how the rest becomes its message and for
/// whom the call is made. Whatever is asked, the daemon answers, and never that something
/// went wrong in it.
pub fn requests(bytes: &[u8]) {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    static SERVED: Mutex<Option<Served>> = Mutex::new(None);
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().ok()
    });
    let Some(runtime) = runtime else {
        return;
    };
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else {
        return;
    };
    let rest = bytes.get(2..).unwrap_or_default();
    let Some(method) = methods().get(usize::from(first) % methods().len()) else {
        return;
    };
    let message = match second & 1 {
        0 => rest.to_vec(),
        _ => grow(&method.input, &mut Choices::by(rest)),
    };
    let mut served = SERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = runtime.block_on(async {
        if served
            .as_ref()
            .is_none_or(|served| served.requests >= REQUESTS)
        {
            *served = serve().await;
        }
        let served = served.as_mut()?;
        served.requests += 1;
        let actor = match second >> 5 {
            1 => Some("ada"),
            2 => Some("dev"),
            3 => Some("nobody"),
            _ => None,
        };
        let message = Bytes::from(message);
        Some(call(served.channel.clone(), method, message, actor).await)
    });
    let Some(outcome) = outcome else {
        return;
    };
    if let Err(status) = outcome {
        let sound = !matches!(
            status.code(),
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented
        );
        // What is no message at all is told by tonic as INTERNAL.
        let unread = status
            .message()
            .contains("failed to decode Protobuf message");
        assert!(sound || unread, "{}: {status:?}", method.path);
    }
}

fn methods() -> &'static [Method] {
    static METHODS: OnceLock<Vec<Method>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let mut all = Vec::new();
        for file in descriptors().file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let input = method.input_type().to_owned();
                    if let Ok(path) = path.parse() {
                        all.push(Method { path, input });
                    }
                }
            }
        }
        all
    })
}

async fn call(
    channel: Channel,
    method: &Method,
    message: Bytes,
    actor: Option<&'static str>,
) -> Result<(), Status> {
    let mut request = Request::new(message);
    // Waiting for a revision that never comes would take seconds.
    request.set_timeout(Duration::from_millis(200));
    if let Some(actor) = actor.and_then(|actor| actor.parse().ok()) {
        request.metadata_mut().insert("roster-actor", actor);
    }
    let Ok(mut bearer) = Bearer::new(KEY) else {
        return Ok(());
    };
    let (metadata, extensions, message) = request.into_parts();
    let signed = bearer.call(Request::from_parts(metadata, extensions, ()))?;
    let (metadata, extensions, ()) = signed.into_parts();
    let request = Request::from_parts(metadata, extensions, message);
    let mut client = Grpc::new(channel);
    if client.ready().await.is_err() {
        return Ok(());
    }
    let answer = client.server_streaming(request, method.path.clone(), Raw);
    let mut answers = answer.await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

async fn serve() -> Option<Served> {
    let store = Arc::new(MemoryStore::new());
    let world = Arc::new(StillWorld::at(Moment(1_790_000_000_000)));
    let links = Links::new(&[7; 32]);
    let application = Application::start(compiled().to_vec(), store, world, links, usize::MAX);
    let application = Arc::new(application);
    application.load_examples().await.ok()?;
    let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
    let address = listener.local_addr().ok()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let manner = Manner {
        drain: Duration::ZERO,
        ..Manner::default()
    };
    tokio::spawn(server::serve(
        Listeners::new(listener, None),
        application,
        Authenticator::new(KEY),
        manner,
        async move { drop(stopped.await) },
    ));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let channel = endpoint.connect().await.ok()?;
    Some(Served {
        channel,
        requests: 0,
        _stop: stop,
    })
}

/// Messages as the bytes they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
