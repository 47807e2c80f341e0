//! A daemon with every way of being known: keys, certificates, users of the machine, and
//! tokens of issuers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::bytes::Bytes;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use roster::application::{Application, Bounds, Links, Permit, Scope};
use roster::domain::organization::Moment;
use roster::proto::{FILE_DESCRIPTOR_SET, v1};
use roster::store::Store;
use roster::transport::caller::Authenticator;
use roster::transport::identities::Identities;
use roster::transport::issuers::{Issuer, IssuerKey, SubjectPattern};
use roster::transport::listeners::{Listeners, UnixSocket};
use roster::transport::server::{self, Manner};
use roster::transport::tls::{Tls, TlsFiles};
use roster::world::StillWorld;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::harness::{KEY, LINK_KEY, NOW, catalogs};
use crate::raw::Raw;

/// The `iss` of the tokens in these tests.
pub const ISSUER: &str = "https://id.example";
/// What they have to be meant for.
pub const AUDIENCE: &str = "roster";

/// An authority with certificates to give.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The certificate and the key of the daemon.
    pub fn server(&self) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        self.sign(params)
    }

    /// Those of a client with these names, `spiffe://…` or of the DNS.
    pub fn client(&self, names: &[&str]) -> (String, String) {
        self.sign(client_params(names))
    }

    /// Those of a client whose time is over.
    pub fn expired_client(&self, name: &str) -> (String, String) {
        let mut params = client_params(&[name]);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &*self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn client_params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let names = names.iter().map(|name| {
        let text = (*name).try_into().unwrap();
        if name.contains("://") {
            SanType::URI(text)
        } else {
            SanType::DnsName(text)
        }
    });
    params.subject_alt_names = names.collect();
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    params
}

/// The keys that tokens are signed with.
pub struct Signers {
    pub edwards: KeyPair,
    pub elliptic: KeyPair,
    rsa: Vec<u8>,
}

impl Signers {
    pub fn new() -> Self {
        Self {
            edwards: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            elliptic: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            rsa: rsa_line(0),
        }
    }

    /// The public halves, as an issuer publishes them.
    pub fn key_set(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.elliptic.public_key_raw();
        json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "edwards", "use": "sig",
              "x": text(self.edwards.public_key_raw()) },
            { "kty": "EC", "crv": "P-256", "kid": "elliptic", "alg": "ES256",
              "x": text(&point[1..33]), "y": text(&point[33..65]) },
            { "kty": "RSA", "kid": "rsa", "n": text(&rsa_line(1)), "e": text(&rsa_line(2)) },
            { "kty": "RSA", "kid": "hidden", "use": "enc",
              "n": text(&rsa_line(1)), "e": text(&rsa_line(2)) },
            { "kty": "a kind that is not known" },
        ]})
        .to_string()
    }

    /// A token with these claims, signed with an algorithm by the key that goes with it.
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let (id, key) = match algorithm {
            Algorithm::EdDSA => {
                let key = EncodingKey::from_ed_der(self.edwards.serialized_der());
                ("edwards", key)
            }
            Algorithm::ES256 => {
                let key = EncodingKey::from_ec_der(self.elliptic.serialized_der());
                ("elliptic", key)
            }
            _ => ("rsa", EncodingKey::from_rsa_der(&self.rsa)),
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(id.to_owned());
        signed(&header, claims, &key)
    }
}

/// A token with that header.
pub fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).expect("a token")
}

fn rsa_line(line: usize) -> Vec<u8> {
    let line = include_str!("rsa.txt").lines().nth(line).unwrap();
    URL_SAFE_NO_PAD.decode(line).unwrap()
}

/// Sound claims of a subject, for an hour.
pub fn claims(subject: &str) -> Value {
    let now = NOW.0 / 1_000;
    json!({ "iss": ISSUER, "aud": [AUDIENCE, "other"], "sub": subject,
            "iat": now, "nbf": now, "exp": now + 3_600 })
}

/// What a caller may do, for ever.
pub fn permit(name: &str, scopes: &[Scope], organizations: &[&str]) -> Permit {
    Permit {
        name: name.to_owned(),
        scopes: scopes.iter().copied().collect(),
        bounds: Bounds::to(organizations.iter().map(|id| (*id).to_owned())),
        until: None,
    }
}

/// The issuer of these tests, with its subjects.
pub fn issuer(signers: &Signers, subjects: Vec<(SubjectPattern, Permit)>) -> Issuer {
    Issuer {
        name: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: vec![Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256],
        keys: IssuerKey::in_set(&signers.key_set()).expect("a key set"),
        subjects,
    }
}

/// A daemon that serves over TCP and a Unix socket, and over TCP with TLS to those who
/// have a certificate.
pub struct Stage {
    pub application: Arc<Application>,
    pub world: Arc<StillWorld>,
    pub signers: Signers,
    pub authority: Authority,
    pub tls: Tls,
    identities: Arc<ArcSwap<Identities>>,
    plain: SocketAddr,
    secure: SocketAddr,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
    _directory: TempDir,
}

impl Stage {
    pub async fn on(store: Arc<dyn Store>) -> Self {
        let world = Arc::new(StillWorld::at(NOW));
        let links = Links::new(&LINK_KEY);
        let application = Application::start(
            catalogs(),
            store,
            Arc::clone(&world) as _,
            links,
            usize::MAX,
        );
        let application = Arc::new(application);
        let identities: Arc<ArcSwap<Identities>> = Arc::default();
        let authority = Authority::new();
        let tls = Tls::new(&tls_files(&authority, &authority)).expect("TLS");
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let local = || TcpListener::bind("127.0.0.1:0");
        let (plain, secure) = (local().await.unwrap(), local().await.unwrap());
        let addresses = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        let unix = UnixSocket::bind(&socket).expect("a socket");
        let (stop, stopped) = watch::channel(false);
        let listeners = [
            Listeners::new(plain, Some(unix)),
            Listeners::new(secure, None).with_tls(Some(tls.clone())),
        ];
        let serving = listeners.into_iter().map(|listeners| {
            let authenticator = Authenticator::new(KEY).with_identities(Arc::clone(&identities));
            let (application, mut stopped) = (Arc::clone(&application), stopped.clone());
            let manner = Manner {
                drain: Duration::from_secs(5),
                ..Manner::default()
            };
            tokio::spawn(async move {
                let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
                let served = server::serve(listeners, application, authenticator, manner, stop);
                served.await.expect("serving ends well");
            })
        });
        Self {
            serving: serving.collect(),
            application,
            world,
            signers: Signers::new(),
            authority,
            tls,
            identities,
            plain: addresses.0,
            secure: addresses.1,
            socket,
            stop,
            _directory: directory,
        }
    }

    /// Lets these be known from now on, as when the callers file changes.
    pub fn know(&self, identities: Identities) {
        self.identities.store(Arc::new(identities));
        self.application.caller_keys().generation().advance();
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
        for serving in self.serving {
            serving.await.expect("the daemon did not panic");
        }
    }

    pub async fn plain(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.plain)).unwrap();
        endpoint.connect().await.expect("the daemon answers")
    }

    pub async fn unix(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display()));
        endpoint.unwrap().connect().await.expect("it answers")
    }

    /// A connection with TLS, or why there is none.
    pub async fn secure(
        &self,
        identity: Option<&(String, String)>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut config = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(self.authority.pem()));
        if let Some((certificate, key)) = identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.secure)).unwrap();
        endpoint.tls_config(config)?.connect().await
    }

    /// A new key; what whoever holds it sends.
    pub async fn key(&self, request: v1::CreateCallerKeyRequest) -> (v1::CallerKey, String) {
        let path = "/roster.v1.OperatorService/CreateCallerKey";
        let message = prost::Message::encode_to_vec(&request);
        let operator = bearer(KEY);
        let created = call(self.plain().await, path, message, &[&operator], None).await;
        let created: v1::CreateCallerKeyResponse =
            prost::Message::decode(created.expect("a key")).unwrap();
        (created.key.expect("a key"), bearer(&created.secret))
    }
}

/// The daemon's certificate from one authority; clients need theirs from another.
pub fn tls_files(of: &Authority, clients: &Authority) -> TlsFiles {
    let (certificate, key) = of.server();
    TlsFiles {
        certificates: certificate.into_bytes(),
        key: key.into_bytes(),
        client_authorities: Some(clients.pem().into_bytes()),
    }
}

/// What whoever holds a key sends.
pub fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// A moment that many milliseconds from when these tests take place.
pub fn later(milliseconds: i64) -> Moment {
    Moment(NOW.0 + milliseconds)
}

/// Calls a method by its path with these authorization headers, perhaps on behalf of an
/// actor; answers with the first message of the answer, once it has ended.
pub async fn call(
    channel: Channel,
    path: &str,
    message: impl Into<Bytes>,
    authorization: &[&str],
    actor: Option<&str>,
) -> Result<Bytes, Status> {
    let mut request = Request::new(message.into());
    let metadata = request.metadata_mut();
    for value in authorization {
        metadata.append("authorization", value.parse().expect("a header value"));
    }
    if let Some(actor) = actor {
        metadata.insert("roster-actor", actor.parse().expect("a header value"));
    }
    let mut client = Grpc::new(channel);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unknown(error.to_string()))?;
    let path: PathAndQuery = path.parse().expect("a path");
    let answers = client.server_streaming(request, path, Raw).await?;
    let mut answers = answers.into_inner();
    let mut first = None;
    while let Some(answer) = answers.next().await {
        first.get_or_insert(answer?);
    }
    Ok(first.unwrap_or_default())
}

/// Every method of Roster's own services.
pub fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    pool.services()
        .filter(|service| service.package_name() == "roster.v1")
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}
