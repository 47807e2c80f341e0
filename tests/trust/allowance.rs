//! How many requests a client may have open on its connection, as HTTP/2 tells it: few at
//! first, then the connection's share of what its thread answers in time.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::transport::limits::Limits;
use roster::transport::server::Manner;

use crate::harness::{Daemon, Setup, question};
use crate::wire::{Frame, Wire, frame, message};

const CHECK: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const LIST: &str = "/roster.v1.MemberService/ListMembers";
const BATCH: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
const STREAM: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";
const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACKNOWLEDGED: u8 = 1;
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];

/// For how long something may not happen until it is taken that it never does.
const LONG: Duration = Duration::from_secs(60);

/// A daemon with one thread.
async fn start(limits: Limits) -> Daemon {
    let setup = Setup {
        manner: Manner {
            limits,
            threads: 1,
            ..Setup::default().manner
        },
        budget: usize::MAX,
        ..Setup::default()
    };
    let daemon = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    daemon.found("acme", "hypervisor-io").await;
    daemon
}

/// Where it is never late.
async fn in_time() -> Daemon {
    // And nobody is idle.
    start(Limits {
        lag: LONG * 60,
        stall: LONG * 60,
        idle: LONG * 60,
        ..Limits::default()
    })
    .await
}

/// Where it always is.
async fn late() -> Daemon {
    start(Limits {
        lag: Duration::ZERO,
        ..Limits::default()
    })
    .await
}

fn ask() -> v1::IsAuthorizedRequest {
    question("acme", "owner", "InstancesView", "Instance", "vm-1")
}

fn check() -> Vec<u8> {
    message(&ask().encode_to_vec())
}

/// How many may be open, if a frame tells that.
fn open_in(frame: &Frame) -> Option<u32> {
    let told = frame.kind == SETTINGS && frame.flags == 0;
    let mut settings = frame.payload.chunks(6).filter(|_| told);
    let setting = settings.find(|setting| setting.starts_with(&MAX_CONCURRENT_STREAMS))?;
    let value = setting[2..].try_into().expect("four bytes");
    Some(u32::from_be_bytes(value))
}

/// A client that remembers what it was told last.
struct Client {
    wire: Wire,
    /// Its next request.
    stream: u32,
    open: u32,
}

impl Client {
    async fn begin(daemon: &Daemon) -> Self {
        Self {
            wire: Wire::begin(daemon.address, 65_535).await,
            stream: 1,
            open: 0,
        }
    }

    async fn next(&mut self) -> Frame {
        let frame = self.wire.next().await.expect("it goes on");
        assert_ne!(frame.kind, GOAWAY);
        self.open = open_in(&frame).unwrap_or(self.open);
        frame
    }

    /// What it is told next.
    async fn told(&mut self) -> u32 {
        loop {
            if let Some(open) = open_in(&self.next().await) {
                return open;
            }
        }
    }

    /// What it was told last, once the daemon has heard of it again.
    async fn open(&mut self) -> u32 {
        // What was told before may be read with the answer to the first. Once it was, it is
        // told anew after the answer to the second, and so before that to the third.
        for _ in 0..3 {
            self.wire.send(&frame(PING, 0, 0, &[7; 8])).await;
            loop {
                let frame = self.next().await;
                if frame.kind == PING && frame.flags == ACKNOWLEDGED {
                    break;
                }
            }
        }
        self.open
    }

    /// Begins a request, and sends that of it.
    async fn ask(&mut self, path: &str, bytes: &[u8], is_last: bool) -> u32 {
        let stream = self.stream;
        self.stream += 2;
        self.wire.open(stream, path, &[]).await;
        self.wire.body(stream, bytes, is_last).await;
        stream
    }

    /// Whether there is a message in what the daemon says to a request to the end.
    async fn answer(&mut self, stream: u32) -> bool {
        let mut has_message = false;
        loop {
            let frame = self.next().await;
            has_message |= frame.stream == stream && frame.kind == DATA;
            if frame.stream == stream && frame.is_last() {
                return has_message;
            }
        }
    }

    /// Asks until it may have as many open as that says.
    async fn until_open(&mut self, may: impl Fn(u32) -> bool) {
        let asking = async {
            while !may(self.open().await) {
                self.is_answered().await;
            }
        };
        tokio::time::timeout(LONG, asking)
            .await
            .expect("it is told in the end");
    }

    async fn is_answered(&mut self) {
        let stream = self.ask(CHECK, &check(), true).await;
        assert!(self.answer(stream).await, "it is answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_have_many_open_where_there_are_few() {
    let daemon = in_time().await;
    let mut client = Client::begin(&daemon).await;
    assert_eq!(client.told().await, 100);
    client.is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_more_connections_there_are_the_fewer_each_may_have_open() {
    let daemon = in_time().await;
    let mut first = Client::begin(&daemon).await;
    assert_eq!(first.open().await, 100);
    let mut others = Vec::new();
    for _ in 0..400 {
        let mut client = Client::begin(&daemon).await;
        // It is there. Few may be open at first where there are many.
        let first = if others.len() < 25 { 100 } else { 16 };
        if others.len().abs_diff(31) > 6 {
            assert_eq!(client.told().await, first);
        }
        others.push(client);
    }
    // 12 500 in all, and clients of the test's own are among those that share them; what
    // changes by a little is not told.
    let shares = 29..=41;
    let share = first.open().await;
    assert!(shares.contains(&share), "{share}");
    for client in &mut others {
        let share = client.open().await;
        assert!(shares.contains(&share), "{share}");
    }
    // What takes longer is no hindrance to as many others.
    for _ in 0..20 {
        let stream = first.ask(STREAM, &check(), false).await;
        while {
            let frame = first.next().await;
            (frame.stream, frame.kind) != (stream, DATA)
        } {}
    }
    let with_streams = first.open().await;
    assert!(with_streams >= share + 10, "{with_streams} after {share}");
    drop(others);
    first.until_open(|open| open == 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_on_which_nothing_is_asked_have_no_share() {
    let daemon = start(Limits {
        lag: LONG * 60,
        stall: Duration::from_secs(4),
        ..Limits::default()
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(Client::begin(&daemon).await);
    }
    let mut client = Client::begin(&daemon).await;
    client.until_open(|open| open == 100).await;
    // Until something is; soon enough after each other that none is idle again.
    let asking = async {
        while client.open().await == 100 {
            for client in &mut idle {
                client.is_answered().await;
            }
        }
    };
    tokio::time::timeout(LONG, asking)
        .await
        .expect("they have a share again");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_thread_is_late_few_may_be_open_and_those_are_answered() {
    let daemon = late().await;
    let mut client = Client::begin(&daemon).await;
    // It shows only after a while.
    client.until_open(|open| open == 3).await;
    // Whoever comes now is told so at once.
    let mut client = Client::begin(&daemon).await;
    assert_eq!(client.told().await, 3);
    client.is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_batches_may_have_fewer_open_while_it_does() {
    let daemon = in_time().await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(Client::begin(&daemon).await);
    }
    let mut client = Client::begin(&daemon).await;
    assert_eq!(client.open().await, 100);
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![ask(); 500],
        ..Default::default()
    };
    let batch = message(&batch.encode_to_vec());
    // Some sixteen requests tell what one costs.
    let mut asked = 0;
    while client.open().await > 9 {
        let stream = client.ask(BATCH, &batch, true).await;
        assert!(client.answer(stream).await, "it is answered");
        asked += 1;
        assert!(asked < 100, "it is told");
    }
    let other = others.last_mut().expect("there are some");
    assert_eq!(other.open().await, 100);
    client.until_open(|open| open == 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_tell_settings_of_its_own_at_any_time() {
    const OFTEN: usize = 100;
    let daemon = in_time().await;
    let mut client = Client::begin(&daemon).await;
    // One is for what it told first.
    let mut acknowledged = 0;
    for round in 1..=3 {
        // Whether or not it has read what it was told last.
        let settings = frame(SETTINGS, 0, 0, &[]);
        client.wire.send(&settings.repeat(OFTEN)).await;
        while acknowledged < 1 + round * OFTEN {
            let frame = client.next().await;
            let is_word = frame.kind == SETTINGS && frame.flags == ACKNOWLEDGED;
            acknowledged += usize::from(is_word);
        }
    }
    assert_eq!(client.open().await, 100);
    client.is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_read_what_it_was_not_told_is_ended() {
    let daemon = in_time().await;
    let mut client = Client::begin(&daemon).await;
    assert_eq!(client.open().await, 100);
    let word = frame(SETTINGS, ACKNOWLEDGED, 0, &[]);
    client.wire.send(&word).await;
    assert!(client.wire.closed().await, "and is told so");
    Client::begin(&daemon).await.is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_refused_end_no_connection_however_often() {
    /// More than HTTP/2 bears whose message comes when they are over.
    const OFTEN: usize = 1_100;
    let daemon = late().await;
    let mut client = Client::begin(&daemon).await;
    client.until_open(|open| open == 3).await;
    let list = v1::ListMembersRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    let list = message(&list.encode_to_vec());
    let explain = v1::IsAuthorizedRequest {
        include_reasons: true,
        ..ask()
    };
    let explain = message(&explain.encode_to_vec());
    let nobody = ("authorization", "Bearer nobody");
    for _ in 0..OFTEN {
        for (path, further, message) in [
            (LIST, &[][..], &list),
            (CHECK, &[], &explain),
            (LIST, &[nobody], &list),
            (CHECK, &[nobody], &explain),
        ] {
            let stream = client.stream;
            client.stream += 2;
            client.wire.open(stream, path, further).await;
            // The daemon knows of it, and nothing of what it will say.
            client.open().await;
            client.wire.body(stream, message, true).await;
            assert!(!client.answer(stream).await, "it is refused");
        }
    }
    client.is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_is_told_so_though_its_message_never_ends() {
    let daemon = in_time().await;
    let mut client = Client::begin(&daemon).await;
    let nobody = [("authorization", "Bearer nobody")];
    // Nothing of it, some of it, and more than is read of a stranger's.
    for bytes in [0, 10, 20_000] {
        for path in [CHECK, LIST, STREAM] {
            let stream = client.stream;
            client.stream += 2;
            client.wire.open(stream, path, &nobody).await;
            client.wire.body(stream, &vec![0; bytes], false).await;
            let answered = tokio::time::timeout(LONG, client.answer(stream)).await;
            assert!(!answered.expect("it is told"), "{path}: it is refused");
        }
    }
    client.is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_ends_no_connection_in_however_many_frames_it_comes() {
    /// More than HTTP/2 bears that come for what is over.
    const FRAMES: usize = 3_000;
    let daemon = late().await;
    let mut client = Client::begin(&daemon).await;
    client.until_open(|open| open == 3).await;
    let stream = client.ask(BATCH, &[0, 0, 1, 0, 0], false).await;
    let frames = frame(DATA, 0, stream, &[0]).repeat(FRAMES);
    client.wire.send(&frames).await;
    client.wire.body(stream, &[0], true).await;
    assert!(!client.answer(stream).await, "it is refused");
    client.is_answered().await;
}
