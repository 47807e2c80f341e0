//! Mail: plain text to exactly one recipient, through one SMTP server.
//!
//! Outside this machine nothing is said before TLS is up, and the server has shown a
//! certificate that the machine's roots vouch for.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use http::Uri;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, SinglePart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use sha2::{Digest, Sha256};

use super::{Failure, NOTIFICATION_ID_HEADER, name_of};
use crate::application::link_template::is_loopback;
use crate::application::notifications::Letter;
use crate::domain::organization::Moment;

/// How long one step of a conversation may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a delivery may take in all; well within a lease.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The most connections at a time.
const CONNECTIONS: u32 = 8;
/// The longest line that leaves as it is, in bytes; SMTP ends at 998.
const LONGEST_PLAIN_LINE: usize = 900;

/// An SMTP server, as `smtp://host:port` or `smtps://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpServer {
    host: String,
    port: u16,
    /// TLS from the first byte, instead of STARTTLS.
    wrapped: bool,
}

/// Why a text names no SMTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be `smtp://host:port` or `smtps://host:port`; user and password have settings of their own"
)]
pub struct SmtpServerError;

impl FromStr for SmtpServer {
    type Err = SmtpServerError;

    fn from_str(text: &str) -> Result<Self, SmtpServerError> {
        let uri: Uri = text.parse().map_err(|_| SmtpServerError)?;
        let authority = uri.authority().ok_or(SmtpServerError)?;
        let wrapped = match uri.scheme_str() {
            Some("smtp") => false,
            Some("smtps") => true,
            _ => return Err(SmtpServerError),
        };
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let host = authority.host();
        if !bare || host.is_empty() || authority.as_str().contains('@') {
            return Err(SmtpServerError);
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if wrapped { 465 } else { 587 }),
            wrapped,
        })
    }
}

impl fmt::Display for SmtpServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.wrapped { "smtps" } else { "smtp" };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        write!(formatter, "{scheme}://{host}:{}", self.port)
    }
}

/// The mailer can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The sender is no address.
    #[error("the sender of notifications is no mail address")]
    Sender,
    /// TLS can't be had.
    #[error("TLS can't be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// Sends mail.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Sends through a server as `from`, which may have a name:
    /// `Roster <team@example.com>`. Connects when there is something to send.
    pub fn new(
        server: &SmtpServer,
        from: &str,
        login: Option<(String, String)>,
    ) -> Result<Self, MailerError> {
        let from: Mailbox = from.parse().map_err(|_| MailerError::Sender)?;
        let tls = || TlsParameters::new_rustls(server.host.clone()).map_err(MailerError::Tls);
        let tls = match (server.wrapped, is_loopback(&server.host)) {
            (true, _) => Tls::Wrapper(tls()?),
            (false, true) => Tls::None,
            (false, false) => Tls::Required(tls()?),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.as_str())
                .port(server.port)
                .tls(tls)
                .timeout(Some(STEP_TIMEOUT))
                .pool_config(PoolConfig::new().max_size(CONNECTIONS));
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password));
        }
        Ok(Self {
            transport: builder.build(),
            from,
        })
    }

    /// Sends a letter.
    pub async fn deliver(&self, letter: &Letter) -> Result<(), Failure> {
        let message = message(letter, &self.from)?;
        match tokio::time::timeout(TIMEOUT, self.transport.send(message)).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Err(error)) => Err(failure(&error)),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    match error.status().map(u16::from) {
        Some(code) if error.is_permanent() => Failure::Refused(code),
        Some(code) => Failure::Answered(code),
        None if error.is_timeout() => Failure::Timeout,
        None => Failure::Unreachable,
    }
}

/// The mail of a letter: the same one, byte for byte, at every delivery.
fn message(letter: &Letter, from: &Mailbox) -> Result<Message, Failure> {
    let recipient: Address = letter
        .notification
        .email
        .parse()
        .map_err(|_| Failure::NoAddress)?;
    let name = name_of(letter);
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, recipient))
        .date(UNIX_EPOCH + since_1970(letter.notification.created_at))
        .message_id(Some(message_id(&name, from.email.domain())))
        .raw_header(header(NOTIFICATION_ID_HEADER, name))
        .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
        .subject(letter.subject.as_str())
        .singlepart(text(&letter.body))
        .map_err(|_| Failure::NoAddress)
}

/// An organization's id is any visible ASCII, of which not all can stand in a message
/// id; its digest can.
fn message_id(name: &str, domain: &str) -> String {
    let digest: String = Sha256::digest(name.as_bytes())
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("<{digest}@{domain}>")
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Plain text; quoted where a line is too long or a character not ASCII.
fn text(body: &str) -> SinglePart {
    let plain = body.is_ascii() && body.lines().all(|line| line.len() <= LONGEST_PLAIN_LINE);
    let encoding = if plain {
        ContentTransferEncoding::SevenBit
    } else {
        ContentTransferEncoding::QuotedPrintable
    };
    let encoded = Body::new_with_encoding(body.to_owned(), encoding);
    SinglePart::builder()
        .header(ContentType::TEXT_PLAIN)
        // Any text can be quoted; this is for the compiler.
        .body(encoded.unwrap_or_else(Body::new))
}

fn since_1970(moment: Moment) -> Duration {
    Duration::from_millis(u64::try_from(moment.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_or_without_its_port_and_never_with_a_password() {
        let shown = |text: &str| text.parse::<SmtpServer>().map(|server| server.to_string());
        for (text, full) in [
            ("smtp://mail.example.com", "smtp://mail.example.com:587"),
            ("smtp://mail.example.com:25/", "smtp://mail.example.com:25"),
            ("smtps://mail.example.com", "smtps://mail.example.com:465"),
            ("smtp://[::1]:2525", "smtp://[::1]:2525"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(full));
        }
        for text in [
            "mail.example.com:25",
            "http://mail.example.com",
            "smtp://user:secret@mail.example.com",
            "smtp://mail.example.com/path",
            "smtp://mail.example.com?tls=no",
            "smtp://",
            "",
        ] {
            assert_eq!(shown(text), Err(SmtpServerError), "{text}");
        }
    }

    #[tokio::test]
    async fn only_this_machine_is_spoken_to_in_the_clear() {
        let mailer = |server: &str| {
            Mailer::new(
                &server.parse().expect("a server"),
                "Team <t@x.example>",
                None,
            )
        };
        assert!(mailer("smtp://127.0.0.1:25").is_ok());
        assert!(mailer("smtps://mail.example.com").is_ok());
        let refused = Mailer::new(
            &"smtp://127.0.0.1:25".parse().expect("a server"),
            "t@x.example\r\nBcc: b@y",
            None,
        );
        assert!(matches!(refused, Err(MailerError::Sender)));
    }
}
