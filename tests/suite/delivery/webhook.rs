//! A webhook, round trip: signed, delivered until it is taken, and nowhere else.

use hmac::{Hmac, KeyInit, Mac};
use roster::delivery::{Courier, Webhook};
use roster::domain::organization::Moment;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, Worker, all_delivered};
use crate::attacks::{ACME, invited, team_on};
use crate::harness::NOW;
use crate::notifications::waiting;

const SECRET: &str = "a secret of the webhook's tests";

/// A request that came, its header names in lower case.
struct Post {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        let named = self.headers.iter().filter(|(other, _)| other == name);
        let all: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        assert_eq!(all.len(), 1, "{name} in {:?}", self.headers);
        all[0]
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Checks the signature as a receiver would; answers with its moment.
    fn verified(&self) -> String {
        let (seconds, code) = self
            .header("roster-signature")
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(",v1="))
            .expect("a signature");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
        mac.update(format!("{seconds}.{}", self.body).as_bytes());
        let expected = mac.finalize().into_bytes();
        let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(code, expected);
        seconds.to_owned()
    }
}

/// Takes one request and answers with a status line and further headers.
async fn answer(listener: &TcpListener, with: &str) -> Post {
    let (mut stream, _) = tokio::time::timeout(PATIENCE, listener.accept())
        .await
        .expect("a request comes")
        .expect("a connection");
    let post = read(&mut stream).await;
    let answer = format!("HTTP/1.1 {with}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream
        .write_all(answer.as_bytes())
        .await
        .expect("an answer");
    post
}

async fn read(stream: &mut TcpStream) -> Post {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.split("\r\n").map(str::to_owned);
            let line = lines.next().expect("a request line");
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
                })
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.expect("a length").1.parse().expect("a number");
            if body.len() >= length {
                let body = body.to_owned();
                return Post {
                    line,
                    headers,
                    body,
                };
            }
        }
        let mut some = [0; 4_096];
        let count = stream.read(&mut some).await.expect("bytes");
        assert!(count > 0, "the request ended early: {text}");
        bytes.extend_from_slice(&some[..count]);
    }
}

async fn listener() -> (TcpListener, Courier) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let address = format!("http://{address}/hooks/team?key=1");
    let webhook = Webhook::new(&address.parse().expect("an address"), SECRET);
    (
        listener,
        Courier::Webhook(Box::new(webhook.expect("a webhook"))),
    )
}

#[tokio::test]
async fn a_webhook_gets_each_notification_signed_and_again_until_it_takes_it() {
    let daemon = team_on("oec-sh").await;
    let (listener, courier) = listener().await;
    let (_, token) = invited(&daemon, "ann@x.example", &["developer"]).await;
    let worker = Worker::start(&daemon, courier);

    let first = answer(&listener, "500 Internal Server Error").await;
    assert_eq!(waiting(&daemon, ACME).await.len(), 1);
    // The failure is noted at a time of its own; an hour later it is due in any case.
    let mut now = NOW.0;
    let second = loop {
        now += 60 * 60 * 1_000;
        daemon.world.set(Moment(now));
        let soon = std::time::Duration::from_secs(2);
        let tried = tokio::time::timeout(soon, listener.accept()).await;
        if let Ok(accepted) = tried {
            let (mut stream, _) = accepted.expect("a connection");
            let post = read(&mut stream).await;
            let taken = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(taken.as_bytes()).await.expect("an answer");
            break post;
        }
        assert!(now < NOW.0 + 60 * 60 * 60 * 1_000, "no second request");
    };
    all_delivered(&daemon).await;

    assert_eq!(first.line, "POST /hooks/team?key=1 HTTP/1.1");
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.verified(), (NOW.0 / 1_000).to_string());
    assert_ne!(second.verified(), first.verified());
    let name = "roster-notification-id";
    assert_eq!(second.header(name), first.header(name));
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["id"], second["id"]);
    assert_eq!(
        (&first["attempt"], &second["attempt"]),
        (&1.into(), &2.into())
    );
    assert_eq!(second["kind"], "invitation");
    assert_eq!(second["organization"], ACME);
    assert_eq!(second["email"], "ann@x.example");
    assert_eq!(second["link"], token.as_str());
    assert_eq!(second["created_at"], NOW.0);
    assert!(
        second["body"]
            .as_str()
            .is_some_and(|body| body.contains(&token))
    );
    assert_eq!(second["facts"]["organization"], ACME);
    worker.stop().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_webhook_that_sends_elsewhere_is_not_followed() {
    let daemon = team_on("oec-sh").await;
    let (listener, courier) = listener().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = elsewhere.local_addr().expect("an address");
    invited(&daemon, "ann@x.example", &["developer"]).await;
    let worker = Worker::start(&daemon, courier);

    let redirect = format!("307 Temporary Redirect\r\nlocation: http://{address}/");
    answer(&listener, &redirect).await;
    // All that is under way ends before the worker does.
    worker.stop().await;

    tokio::select! {
        biased;
        followed = elsewhere.accept() => panic!("it was followed: {followed:?}"),
        left = waiting(&daemon, ACME) => assert_eq!(left.len(), 1),
    }
    daemon.stop().await;
}
