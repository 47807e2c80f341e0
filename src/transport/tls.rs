//! TLS on the TCP port: the daemon's certificate, and the authority that clients need a
//! certificate of, if they need one. Both can be replaced while the daemon serves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identities::{Certified, Peer};
use crate::domain::organization::Moment;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// HTTP/2, the one protocol that is spoken.
const PROTOCOL: &[u8] = b"h2";

/// The files of TLS, as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The daemon's certificates, its own first, as PEM.
    pub certificates: Vec<u8>,
    /// The key to it, as PEM.
    pub key: Vec<u8>,
    /// The authorities that clients need a certificate of, as PEM; `None` where they need
    /// none.
    pub client_authorities: Option<Vec<u8>>,
}

/// The files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate.
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    /// A certificate is none.
    #[error("the certificate file is malformed")]
    Certificate(#[source] pem::Error),
    /// The key is none.
    #[error("the key file holds no private key")]
    Key(#[source] pem::Error),
    /// They do not belong together, or are of a kind that is not served.
    #[error("the certificate and the key can't be used")]
    Unfit(#[source] rustls::Error),
    /// The authorities are none.
    #[error("the file of client authorities is malformed")]
    Authorities(#[source] pem::Error),
    /// An authority can't be trusted.
    #[error("a client authority can't be used")]
    Authority(#[source] rustls::Error),
    /// There is no authority.
    #[error("the file of client authorities can't be used")]
    Verifier(#[source] VerifierBuilderError),
}

/// What is served with at a time.
struct Served {
    acceptor: TlsAcceptor,
    client_authorities: Option<Vec<u8>>,
    /// Whether whoever was verified with it still counts.
    trusted: Arc<AtomicBool>,
}

/// TLS as it is served.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<Served>>);

impl Tls {
    /// With these files.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let served = Served {
            acceptor: acceptor(files)?,
            client_authorities: files.client_authorities.clone(),
            trusted: Arc::new(AtomicBool::new(true)),
        };
        Ok(Self(Arc::new(ArcSwap::from_pointee(served))))
    }

    /// With these files from now on. Whoever was verified by authorities that have changed
    /// has to be verified again; whoever remembers them has to be told.
    pub fn replace(&self, files: &TlsFiles) -> Result<(), TlsError> {
        let acceptor = acceptor(files)?;
        let before = self.0.load_full();
        let same = before.client_authorities == files.client_authorities;
        let trusted = if same {
            Arc::clone(&before.trusted)
        } else {
            Arc::new(AtomicBool::new(true))
        };
        self.0.store(Arc::new(Served {
            acceptor,
            client_authorities: files.client_authorities.clone(),
            trusted,
        }));
        if !same {
            before.trusted.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Shakes hands; tells who is at the other end.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Peer)> {
        let served = self.0.load_full();
        let shaking = served.acceptor.accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE, shaking)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let certified = certificate.and_then(|certificate| certified(certificate, &served.trusted));
        let peer = Peer {
            certified,
            ..Peer::default()
        };
        Ok((stream, peer))
    }
}

/// What a certificate that was verified says of its holder.
fn certified(certificate: &CertificateDer<'_>, trusted: &Arc<AtomicBool>) -> Option<Certified> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let end = certificate.validity().not_after.timestamp();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map(|extension| &extension.value.general_names);
    let names = alternatives.into_iter().flatten();
    Some(Certified {
        names: names
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        // The last second counts as a whole.
        until: Moment(end.saturating_add(1).saturating_mul(1_000)),
        trusted: Arc::clone(trusted),
    })
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&files.certificates)
            .collect::<Result<_, _>>()
            .map_err(TlsError::Certificate)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(TlsError::Key)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(pem) {
                let authority = authority.map_err(TlsError::Authorities)?;
                roots.add(authority).map_err(TlsError::Authority)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(TlsError::Verifier)?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A session that is resumed would bring back a certificate that may have ended.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
