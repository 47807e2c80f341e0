//! Mail, round trip: what arrives, once the server is there, and twice if need be.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roster::delivery::{Courier, Mailer};
use roster::domain::organization::Moment;
use roster::proto::v1;
use v1::invitation_service_client::InvitationServiceClient;
use v1::organization_service_client::OrganizationServiceClient;

use super::{PATIENCE, Worker, all_delivered};
use crate::attacks::{ACME, accept, create, invited, new, team_on};
use crate::harness::NOW;
use crate::notifications::waiting;
use crate::process;
use crate::tools::tool;

const FROM: &str = "Example Team <team@example.com>";
const TEMPLATE: &str = "https://app.example.com/join?organization={organization}&token={token}";

/// A mail server that runs.
struct MailServer {
    child: Child,
    port: u16,
    mails: Receiver<Mail>,
}

/// A mail that came.
struct Mail {
    to: Vec<String>,
    /// Header lines, unfolded.
    headers: Vec<String>,
    /// The text, decoded.
    text: String,
    /// All of it, as it came.
    content: String,
}

impl MailServer {
    /// On a port, or any free one; never answers the first mails.
    fn start(port: u16, unanswered: u32) -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/delivery/mail_server.py");
        let mut child = Command::new(tool("ROSTER_PYTHON", "python/bin/python3"))
            .arg(script)
            .args([port.to_string(), unanswered.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line").expect("text");
        let port = first.strip_prefix("listening ").expect("a port");
        let port = port.parse().expect("a port");
        let (sender, mails) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(Mail::read(&line)).is_err() {
                    return;
                }
            }
        });
        Self { child, port, mails }
    }

    fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The next mail.
    fn mail(&self) -> Mail {
        self.mails.recv_timeout(PATIENCE).expect("a mail comes")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mail {
    fn read(line: &str) -> Self {
        let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let to = json["to"].as_array().expect("recipients").iter();
        let content = json["content"].as_str().expect("a content");
        let content = STANDARD.decode(content).expect("base64");
        let content = String::from_utf8(content).expect("ASCII");
        let (head, body) = content.split_once("\r\n\r\n").expect("a head and a body");
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let headers: Vec<String> = unfolded.split("\r\n").map(str::to_owned).collect();
        let quoted = headers
            .iter()
            .any(|header| header == "Content-Transfer-Encoding: quoted-printable");
        Self {
            to: to
                .map(|to| to.as_str().expect("an address").to_owned())
                .collect(),
            text: if quoted {
                unquoted(body)
            } else {
                body.to_owned()
            },
            headers,
            content,
        }
    }

    /// The one header of that name.
    fn header(&self, name: &str) -> &str {
        let named = |header: &&String| {
            header
                .split_once(':')
                .is_some_and(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        let all: Vec<&String> = self.headers.iter().filter(named).collect();
        assert_eq!(all.len(), 1, "{name} in {:?}", self.headers);
        all[0][name.len() + 1..].trim()
    }

    /// The link in the text.
    fn link(&self) -> &str {
        let words = self.text.split_whitespace();
        let links: Vec<&str> = words.filter(|word| word.contains("://")).collect();
        assert_eq!(links.len(), 1, "{}", self.text);
        links[0]
    }
}

/// Quoted-printable, as it was before.
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut parts = joined.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn mailer(url: &str) -> Courier {
    let server = url.parse().expect("a server");
    Courier::Mailer(Mailer::new(&server, FROM, None).expect("a mailer"))
}

/// The real program, sending mail.
fn daemon(directory: &Path, url: &str) -> process::Daemon {
    let flags = [
        "--notify-smtp",
        url,
        "--notify-smtp-from",
        FROM,
        "--link-template",
        TEMPLATE,
    ];
    process::Daemon::start_with(directory, &flags)
}

async fn found_and_invite(daemon: &process::Daemon) {
    let organization = v1::CreateOrganizationRequest {
        organization_id: ACME.to_owned(),
        display_name: "Acme".to_owned(),
        catalog: "oec-sh".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    OrganizationServiceClient::new(daemon.connect().await)
        .create_organization(daemon.signed(organization))
        .await
        .expect("the organization is founded");
    let invitation = create(new("ann@x.example", &["developer"]));
    InvitationServiceClient::new(daemon.connect().await)
        .create_invitation(daemon.signed(invitation))
        .await
        .expect("the invitation is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_of_an_invitation_arrives_and_its_link_makes_a_member() {
    let directory = tempfile::tempdir().unwrap();
    let server = MailServer::start(0, 0);
    let daemon = daemon(directory.path(), &server.url());
    found_and_invite(&daemon).await;

    let mail = server.mail();

    assert_eq!(mail.to, ["ann@x.example"]);
    assert_eq!(mail.header("To"), "ann@x.example");
    assert_eq!(mail.header("From").replace('"', ""), FROM);
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Content-Type").starts_with("text/plain"));
    assert!(mail.header("Message-ID").ends_with("@example.com>"));
    assert!(mail.header("Roster-Notification-Id").starts_with("acme/"));
    assert!(!mail.header("Subject").is_empty());
    let before = "https://app.example.com/join?organization=acme&token=";
    let token = mail
        .link()
        .strip_prefix(before)
        .expect("the template")
        .to_owned();
    let accepted = accept(&token, "ann", "ann@x.example");
    let joined = InvitationServiceClient::new(daemon.connect().await)
        .accept_invitation(daemon.signed(accepted))
        .await
        .expect("the invitation is accepted");
    assert_eq!(joined.into_inner().member.expect("a member").user, "ann");
    let logged = daemon.stop_and_tell();
    assert!(
        !logged.contains("ann@x.example") && !logged.contains(&token),
        "{logged}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_down_nothing_is_lost_and_once_it_is_up_the_mail_comes() {
    let daemon = team_on("oec-sh").await;
    // Whoever is asked first hangs up; then there is nobody; then a server.
    let broken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = broken.local_addr().unwrap().port();
    let hung_up = tokio::task::spawn_blocking(move || drop(broken.accept()));
    let worker = Worker::start(&daemon, mailer(&format!("smtp://127.0.0.1:{port}")));
    invited(&daemon, "ann@x.example", &["developer"]).await;
    hung_up.await.expect("somebody tried");
    assert_eq!(waiting(&daemon, ACME).await.len(), 1);

    let server = MailServer::start(port, 0);
    // It may have to pause before and after this; an hour is the longest.
    let mut now = NOW.0;
    let mail = loop {
        now += 60 * 60 * 1_000;
        daemon.world.set(Moment(now));
        let soon = std::time::Duration::from_secs(1);
        if let Ok(mail) = tokio::task::block_in_place(|| server.mails.recv_timeout(soon)) {
            break mail;
        }
        assert!(now < NOW.0 + 60 * 60 * 60 * 1_000, "no mail comes");
    };

    assert_eq!(mail.to, ["ann@x.example"]);
    all_delivered(&daemon).await;
    assert!(server.mails.try_recv().is_err(), "it came twice");
    worker.stop().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_before_the_acknowledgement_sends_the_same_mail_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = MailServer::start(0, 1);
    let first_life = daemon(directory.path(), &server.url());
    found_and_invite(&first_life).await;
    let first = server.mail();
    first_life.kill();

    let second_life = daemon(directory.path(), &server.url());
    let second = server.mail();

    assert_eq!(second.header("Message-ID"), first.header("Message-ID"));
    let name = "Roster-Notification-Id";
    assert_eq!(second.header(name), first.header(name));
    assert_eq!(second.content, first.content);
    second_life.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_messages_stay_text_in_a_mail() {
    let daemon = team_on("oec-sh").await;
    let renamed = v1::UpdateOrganizationRequest {
        organization: ACME.to_owned(),
        display_name: "Äcme <a href='https://evil.example'>click</a>".to_owned(),
        ..Default::default()
    };
    let renamed = daemon.organizations().update_organization(renamed).await;
    renamed.expect("the organization is renamed");
    let invitation = v1::NewInvitation {
        message: "Hi\r\n.\r\nRCPT TO:<evil@evil.example>\r\nBcc: evil@evil.example\r\n\r\n\
                  see https://evil.example/login {link}"
            .to_owned(),
        ..new("ann@x.example", &["developer"])
    };
    let created = daemon
        .invitations()
        .create_invitation(create(invitation.clone()))
        .await;
    if created.is_err() {
        // Lines may have to be broken as the API wants them.
        let message = invitation.message.replace("\r\n", "\n");
        let invitation = v1::NewInvitation {
            message,
            ..invitation
        };
        let created = daemon
            .invitations()
            .create_invitation(create(invitation))
            .await;
        created.expect("the invitation is sent");
    }
    let server = MailServer::start(0, 0);
    let worker = Worker::start(&daemon, mailer(&server.url()));

    let mail = tokio::task::block_in_place(|| server.mail());

    assert_eq!(mail.to, ["ann@x.example"]);
    assert_eq!(mail.header("To"), "ann@x.example");
    let named = |name: &str| mail.headers.iter().any(|header| header.starts_with(name));
    assert!(!named("Bcc") && !named("RCPT"), "{:?}", mail.headers);
    assert!(!mail.text.contains("://evil") && !mail.text.contains("evil.example"));
    assert!(
        !mail.text.contains("<a") && mail.text.contains("Äcme"),
        "{}",
        mail.text
    );
    all_delivered(&daemon).await;
    assert!(server.mails.try_recv().is_err(), "a second mail came");
    worker.stop().await;
    daemon.stop().await;
}
