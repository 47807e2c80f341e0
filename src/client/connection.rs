//! A connection on which any RPC can be called, with the caller's key on each.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::MalformedKey;

/// How the address of a Unix socket begins.
const UNIX: &str = "unix:";
/// How an address with TLS begins.
const HTTPS: &str = "https:";

/// A channel that presents a key, if there is one.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Puts the key on every request.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Presents this key.
    pub fn new(key: &str) -> Result<Self, MalformedKey> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {key}").parse().map_err(|_| MalformedKey)?;
        // Not for those who print what they send.
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// Presents nothing: for those who are known by the connection.
    pub fn none() -> Self {
        Self(None)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// Whom to trust, and who to be, on a connection with TLS. All texts are PEM.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// The authorities that the daemon's certificate has to be of; `None` for those that
    /// the machine trusts.
    pub authorities: Option<String>,
    /// What the daemon knows the caller by.
    pub identity: Option<ClientIdentity>,
}

/// A certificate to call with.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate, and those between it and its authority.
    pub certificate: String,
    /// The private key to it.
    pub key: String,
}

/// The daemon can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("`{0}` is no address; write `http://host:port`, `https://host:port` or `unix:PATH`")]
    Address(String),
    /// The key is none.
    #[error(transparent)]
    Key(#[from] MalformedKey),
    /// There are files for TLS, and the address is without.
    #[error("`{0}` is an address without TLS; write `https://host:port` to use certificates")]
    WithoutTls(String),
    /// The files of TLS are of no use.
    #[error("the certificates can't be used")]
    Tls(#[source] tonic::transport::Error),
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

/// Connects to `http://host:port`, `https://host:port` or `unix:PATH` and presents the key.
pub async fn connect(address: &str, key: &str) -> Result<Connection, ConnectError> {
    connect_with(address, Some(key), TlsOptions::default()).await
}

/// The same, presenting a key only if there is one, and with TLS as the options say where
/// the address is `https://host:port`.
pub async fn connect_with(
    address: &str,
    key: Option<&str>,
    tls: TlsOptions,
) -> Result<Connection, ConnectError> {
    let bearer = key.map_or_else(|| Ok(Bearer::none()), Bearer::new)?;
    let uri = match address.strip_prefix(UNIX) {
        Some(path) => format!("unix://{}", path.trim_start_matches("//")),
        None => address.to_owned(),
    };
    let endpoint =
        Endpoint::from_shared(uri).map_err(|_| ConnectError::Address(address.to_owned()))?;
    let endpoint = if address.starts_with(HTTPS) {
        endpoint
            .tls_config(tls.into_config())
            .map_err(ConnectError::Tls)?
    } else if tls.authorities.is_some() || tls.identity.is_some() {
        return Err(ConnectError::WithoutTls(address.to_owned()));
    } else {
        endpoint
    };
    let channel = endpoint
        .connect()
        .await
        .map_err(|source| ConnectError::Unreachable {
            address: address.to_owned(),
            source,
        })?;
    Ok(InterceptedService::new(channel, bearer))
}

impl TlsOptions {
    fn into_config(self) -> ClientTlsConfig {
        let config = match self.authorities {
            Some(authorities) => {
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match self.identity {
            Some(identity) => {
                config.identity(Identity::from_pem(identity.certificate, identity.key))
            }
            None => config,
        }
    }
}
