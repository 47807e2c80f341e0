//! A webhook: each notification as JSON, signed with a shared secret.
//!
//! The signature covers the moment and the body, so that a receiver can tell who sent
//! it and refuse what is old. Redirects are answers like any other that is not a
//! success: a letter goes where the operator said, and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use sha2::Sha256;

use super::{Failure, NOTIFICATION_ID_HEADER, name_of};
use crate::application::link_template::is_safe;
use crate::application::notifications::Letter;
use crate::domain::organization::Moment;

/// The header that the signature is in.
pub const SIGNATURE_HEADER: &str = "Roster-Signature";
/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a delivery may take in all.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The fewest bytes of a secret that nobody guesses.
const MIN_SECRET_BYTES: usize = 16;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAddress(Uri);

/// Why a text is no address of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an `https://` address without user and password, or an `http://` one on this machine"
)]
pub struct WebhookAddressError;

impl FromStr for WebhookAddress {
    type Err = WebhookAddressError;

    fn from_str(text: &str) -> Result<Self, WebhookAddressError> {
        let uri: Uri = text.parse().map_err(|_| WebhookAddressError)?;
        if is_safe(&uri) {
            Ok(Self(uri))
        } else {
            Err(WebhookAddressError)
        }
    }
}

/// Shows scheme, host and port: what comes behind may be a secret.
impl fmt::Display for WebhookAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(formatter, "{scheme}://{authority}/...")
    }
}

/// The webhook can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The secret is too short.
    #[error("the webhook's secret must be at least {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
    /// TLS can't be had.
    #[error("TLS can't be set up")]
    Tls(#[source] std::io::Error),
}

/// Sends to a webhook.
pub struct Webhook {
    address: Uri,
    client: HttpClient,
    keyed: Hmac<Sha256>,
}

/// A client for what is asked of it; certificates are looked for only where they are
/// needed.
enum HttpClient {
    Plain(Client<HttpConnector, String>),
    Secure(Client<HttpsConnector<HttpConnector>, String>),
}

impl Webhook {
    /// Sends to an address, signed with a secret.
    pub fn new(address: &WebhookAddress, secret: &str) -> Result<Self, WebhookError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(WebhookError::ShortSecret);
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new());
        let client = if address.0.scheme_str() == Some("https") {
            connector.enforce_http(false);
            let secure = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(WebhookError::Tls)?
                .https_only()
                .enable_http1()
                .wrap_connector(connector);
            HttpClient::Secure(client.build(secure))
        } else {
            HttpClient::Plain(client.build(connector))
        };
        // A key of any length is taken; this is for the compiler.
        let keyed =
            Hmac::new_from_slice(secret.as_bytes()).map_err(|_| WebhookError::ShortSecret)?;
        Ok(Self {
            address: address.0.clone(),
            client,
            keyed,
        })
    }

    /// Sends a letter.
    pub async fn deliver(&self, letter: &Letter, now: Moment) -> Result<(), Failure> {
        let name = name_of(letter);
        let body = body(letter, &name).ok_or(Failure::Unreachable)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.address.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("roster/", env!("CARGO_PKG_VERSION")),
            )
            .header(NOTIFICATION_ID_HEADER, name)
            .header(SIGNATURE_HEADER, self.signature(&body, now))
            .body(body)
            .map_err(|_| Failure::Unreachable)?;
        let answered = tokio::time::timeout(TIMEOUT, self.client.send(request));
        match answered.await {
            Err(_) => Err(Failure::Timeout),
            Ok(Err(_)) => Err(Failure::Unreachable),
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(Failure::Answered(status.as_u16())),
        }
    }

    /// `t=<seconds since 1970>,v1=<hex of HMAC-SHA256 over "seconds.body">`.
    fn signature(&self, body: &str, now: Moment) -> String {
        let seconds = now.0.div_euclid(1_000);
        let mut signing = self.keyed.clone();
        signing.update(format!("{seconds}.").as_bytes());
        signing.update(body.as_bytes());
        let code = signing.finalize().into_bytes();
        let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={seconds},v1={hex}")
    }
}

impl HttpClient {
    /// The status of the answer; its body is not read.
    async fn send(&self, request: Request<String>) -> Result<StatusCode, ClientError> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Secure(client) => client.request(request).await,
        }
        .map(|answer| answer.status())
    }
}

/// A notification as receivers read it.
#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    kind: &'a str,
    organization: &'a str,
    user: &'a str,
    email: &'a str,
    subject: &'a str,
    body: &'a str,
    link: &'a str,
    facts: &'a BTreeMap<String, String>,
    /// Milliseconds since 1970.
    created_at: i64,
    attempt: u32,
}

fn body(letter: &Letter, name: &str) -> Option<String> {
    let notification = &letter.notification;
    let user = notification.user.as_ref();
    serde_json::to_string(&Message {
        id: name,
        kind: notification.kind.word(),
        organization: letter.organization.as_str(),
        user: user.map_or("", |user| user.as_str()),
        email: &notification.email,
        subject: &letter.subject,
        body: &letter.body,
        link: &letter.link,
        facts: &notification.facts,
        created_at: notification.created_at.0,
        attempt: letter.attempt,
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_reached_by_tls_or_on_this_machine_and_its_path_is_not_shown() {
        let shown = |text: &str| {
            text.parse::<WebhookAddress>()
                .map(|address| address.to_string())
        };
        for (text, kept) in [
            ("https://a.example/hook/secret?k=v", "https://a.example/..."),
            ("http://127.0.0.1:8080/hook", "http://127.0.0.1:8080/..."),
            ("http://localhost/hook", "http://localhost/..."),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(kept));
        }
        for text in [
            "http://a.example/hook",
            "http://localhost.a.example/",
            "https://user:secret@a.example/",
            "ftp://a.example/",
            "/hook",
            "",
        ] {
            assert_eq!(shown(text), Err(WebhookAddressError), "{text}");
        }
    }

    #[test]
    fn a_signature_is_that_of_the_moment_and_the_body() {
        let address = "http://localhost/".parse().expect("an address");
        assert!(matches!(
            Webhook::new(&address, "short"),
            Err(WebhookError::ShortSecret)
        ));
        let webhook = Webhook::new(&address, "0123456789abcdef").expect("a webhook");
        // printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            webhook.signature("{\"a\":1}", Moment(1_790_000_000_999)),
            "t=1790000000,v1=d569e4518fe6f4620fd6639233427e7df5e5394d8f14c85c1063b8d90a724dcb"
        );
    }
}
