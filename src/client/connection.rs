//! A connection on which any RPC can be called, with the caller's key on each.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::MalformedKey;

/// How the address of a Unix socket begins.
const UNIX: &str = "unix:";

/// A channel that presents a key.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Puts the key on every request.
#[derive(Clone, Debug)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// Presents this key.
    pub fn new(key: &str) -> Result<Self, MalformedKey> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {key}").parse().map_err(|_| MalformedKey)?;
        // Not for those who print what they send.
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The daemon can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("`{0}` is no address; write `http://host:port` or `unix:PATH`")]
    Address(String),
    /// The key is none.
    #[error(transparent)]
    Key(#[from] MalformedKey),
    /// Nobody answers there.
    #[error("no daemon can be reached at `{address}`")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Connects to `http://host:port` or `unix:PATH` and presents the key.
pub async fn connect(address: &str, key: &str) -> Result<Connection, ConnectError> {
    let bearer = Bearer::new(key)?;
    let uri = match address.strip_prefix(UNIX) {
        Some(path) => format!("unix://{}", path.trim_start_matches("//")),
        None => address.to_owned(),
    };
    let endpoint =
        Endpoint::from_shared(uri).map_err(|_| ConnectError::Address(address.to_owned()))?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|source| ConnectError::Unreachable {
            address: address.to_owned(),
            source,
        })?;
    Ok(InterceptedService::new(channel, bearer))
}
