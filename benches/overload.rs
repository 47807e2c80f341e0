//! What becomes of checks when twice as much is asked as can be answered?
//!
//! One process: a daemon with one serving thread, and one client thread that writes and
//! reads HTTP/2 by hand, so that it can ask more than the daemon can answer. First as
//! much as is answered is asked (the peak rate). Then questions come at twice that rate,
//! each with a deadline from the moment when it should have been sent, whether or not
//! the daemon keeps up; the client keeps to the number of streams that the daemon
//! allows, and what waits beyond that waits at the client, for half of its time. Then
//! batches, which cost more than their refusal: beside checks at the peak rate, and alone
//! at twice the rate at which they are answered. Half of the peak rate shows how soon all
//! is well again. At the end a crowd of connections comes at once, each of which asks as
//! much as it may, gives up at a short deadline, and asks anew at once, whatever the answer
//! was; it counts from its first moment, against the peak rate of as many connections.
//!
//! Run with `cargo bench --bench overload`; ratios are the result.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark measures time and stops where it fails"
)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use roster::app;
use roster::application::{Application, Links};
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::transport::caller::Authenticator;
use roster::transport::listeners::Listeners;
use roster::transport::server::{self, Manner};
use roster::world::SystemWorld;

const KEY: &str =
    "roster_operator_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// How many connections the client has.
const CONNECTIONS: usize = 8;
/// How many requests the daemon allows at a time on each.
const STREAMS: usize = 95;
/// How many are under way on each when the peak rate is measured.
const AT_PEAK: usize = 64;
/// How long a call has. The client holds a check back for half of it before it gives it
/// up: what it sends then still has the other half.
const DEADLINE: Duration = Duration::from_millis(500);
/// Short and many, since machines that others use as well change their speed from one
/// second to the next.
const TURN: Duration = Duration::from_millis(800);
/// The largest frame that the client sends; the daemon takes no larger one.
const FRAME: usize = 64 * 1_024;
/// Questions in a batch.
const BATCH: usize = 1_000;
/// How many batches are under way on each connection when their peak rate is measured.
const BATCHES_AT_PEAK: usize = 2;
const ROUNDS: usize = 11;
/// How many connections the crowd has.
const CROWD: usize = 1_000;
/// How many are under way on each of them when its peak rate is measured: as many as are
/// answered soonest.
const CROWD_AT_PEAK: usize = 8;
/// How long it waits for an answer.
const CROWD_DEADLINE: Duration = Duration::from_millis(200);
/// How long gRPC's clients wait at first before they connect again.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longer than the others, and fewer.
const CROWD_TURN: Duration = Duration::from_secs(2);
const CROWD_ROUNDS: usize = 5;
/// What is not counted at the beginning of a turn.
const LEAD_IN: Duration = Duration::from_millis(300);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let address = start();
    found(address);
    // Warms up, so that memory is there and the first round like the others.
    let peak = peak_of(address);
    let mut client = Client::connect(address, CONNECTIONS, STREAMS, DEADLINE);
    client.open(peak * 2.0, TURN, Mix::Checks);
    let [mut twice, mut beside, mut batches, mut after] = [(); 4].map(|()| Rounds::default());
    let rounds = std::env::var("ROSTER_BENCH_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    for _ in 0..rounds {
        let peak = client.closed(TURN, Kind::Check);
        let peak = peak.answered as f64 / TURN.as_secs_f64();
        let of_peak = |counted: &Counted| counted.answered as f64 / TURN.as_secs_f64() / peak;
        twice.take(|| client.open(peak * 2.0, TURN, Mix::Checks), of_peak);
        beside.take(|| client.open(peak, TURN, Mix::Both(0.02)), of_peak);
        let most = client.closed(TURN, Kind::Batch);
        let most = most.batches_answered as f64 / TURN.as_secs_f64();
        batches.take(
            || client.open(most * 2.0, TURN, Mix::Batches),
            |counted| counted.batches_answered as f64 / TURN.as_secs_f64() / most,
        );
        after.take(
            || client.open(peak / 2.0, TURN, Mix::Checks),
            |counted| of_peak(counted) * 2.0,
        );
    }
    drop(client);
    let mut crowd = Rounds::default();
    for _ in 0..rounds.min(CROWD_ROUNDS) {
        let come = || Client::connect(address, CROWD, STREAMS, CROWD_DEADLINE);
        let mut client = come();
        client.at_peak = CROWD_AT_PEAK;
        let peak = client.closed(TURN, Kind::Check).answered as f64 / TURN.as_secs_f64();
        drop(client);
        let mut client = come();
        crowd.take(
            || client.crowd(CROWD_TURN),
            |counted| counted.answered as f64 / CROWD_TURN.as_secs_f64() / peak,
        );
    }
    println!(
        "| {rounds} rounds of {TURN:?} | asked | answered in time | refused | held back by the client | late | memory, at most |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, rounds) in [
        ("checks, twice the peak", &twice),
        ("checks, the peak, and batches beside them", &beside),
        ("half the peak at once after that", &after),
        ("1000 connections, 200 ms", &crowd),
    ] {
        let counted = &rounds.counted;
        println!(
            "| {name} | {} and {} batches | {} and {} | {} and {} | {} | {} | {:+.0} MiB |",
            counted.asked,
            counted.batches,
            counted.answered,
            counted.batches_answered,
            counted.refused,
            counted.batches_refused,
            counted.unsent,
            counted.late,
            rounds.grown,
        );
    }
    let counted = &batches.counted;
    println!(
        "| connections of the crowd that were ended: {} | | | | | | |",
        crowd.counted.gone
    );
    println!(
        "| batches of {BATCH}, twice the peak | {} | {} | {} | {} | {} | {:+.0} MiB |",
        counted.asked,
        counted.batches_answered,
        counted.batches_refused,
        counted.unsent,
        counted.late,
        batches.grown,
    );
    println!();
    println!("| of the peak answered in time, median of the rounds | measured | bar |");
    println!("|---|---|---|");
    for (name, rounds, bar) in [
        ("checks at twice the capacity", twice, "≥ 0.9"),
        ("checks beside twenty times as many in batches", beside, ""),
        ("batches at twice the capacity", batches, "≥ 0.9"),
        ("half of it at once after that", after, ""),
        ("checks of a crowd of 1000 connections", crowd, ""),
    ] {
        println!("| {name} | {:.2} | {bar} |", rounds.median());
    }
}

/// How many checks are answered a second when no more are asked.
fn peak_of(address: SocketAddr) -> f64 {
    let mut client = Client::connect(address, CONNECTIONS, STREAMS, DEADLINE);
    client.closed(TURN, Kind::Check).answered as f64 / TURN.as_secs_f64()
}

/// What became of one load in all rounds.
#[derive(Default)]
struct Rounds {
    counted: Counted,
    ratios: Vec<f64>,
    /// By how much memory grew in one round at most, in MiB.
    grown: f64,
}

impl Rounds {
    fn take(&mut self, load: impl FnOnce() -> Counted, ratio: impl FnOnce(&Counted) -> f64) {
        let before = resident();
        let counted = load();
        let grown = resident().saturating_sub(before) as f64 / (1024.0 * 1024.0);
        self.grown = self.grown.max(grown);
        self.ratios.push(ratio(&counted));
        self.counted.add(&counted);
    }

    fn median(mut self) -> f64 {
        self.ratios.sort_by(f64::total_cmp);
        self.ratios
            .get(self.ratios.len() / 2)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// A daemon with one serving thread.
fn start() -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(app::stand_back)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let application = Application::start(
        app::compiled_catalogs(&[]).expect("the catalogs compile"),
        Arc::new(MemoryStore::new()),
        Arc::new(SystemWorld),
        Links::new(&[0; 32]),
        usize::MAX,
    );
    let serving = server::serve(
        Listeners::new(listener, None),
        Arc::new(application),
        Authenticator::new(KEY),
        Manner::default(),
        std::future::pending(),
    );
    thread::spawn(move || runtime.block_on(serving));
    address
}

fn found(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("an address").connect().await;
        let channel = channel.expect("it listens");
        let mut client = v1::organization_service_client::OrganizationServiceClient::new(channel);
        let mut request = tonic::Request::new(v1::CreateOrganizationRequest {
            organization_id: "acme".to_owned(),
            display_name: "Acme".to_owned(),
            catalog: "hypervisor-io".to_owned(),
            owner: "owner".to_owned(),
            ..Default::default()
        });
        let key = format!("Bearer {KEY}").parse().expect("a value");
        request.metadata_mut().insert("authorization", key);
        client.create_organization(request).await.expect("founded");
    });
}

fn resident() -> u64 {
    let told = std::fs::read_to_string("/proc/self/statm").expect("it is told");
    let pages = told.split(' ').nth(1).expect("a number");
    pages.parse::<u64>().expect("a number") * 4_096
}

/// What became of what was asked.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    asked: usize,
    answered: usize,
    refused: usize,
    unsent: usize,
    late: usize,
    batches: usize,
    batches_answered: usize,
    batches_refused: usize,
    gone: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Check,
    Batch,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
enum Mix {
    Checks,
    Batches,
    /// Checks, and so many batches for each.
    Both(f64),
}

/// A request under way.
struct Asked {
    due: Instant,
    is_batch: bool,
    has_message: bool,
}

struct Connection {
    stream: TcpStream,
    deadline: Duration,
    next: u32,
    /// What was asked, the oldest first, from `oldest` on; nothing where it is over.
    asked: VecDeque<Option<Asked>>,
    oldest: u32,
    under_way: usize,
    /// How many may be, as the daemon says; none until it says so, as for gRPC's clients.
    most: usize,
    /// The headers of a check, as they are once they were in the table.
    again: Vec<u8>,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
    /// How many bytes of messages the daemon takes.
    window: usize,
    /// Whether the daemon ended it.
    told_to_go: bool,
    /// From when on something is asked on it.
    from: Instant,
}

struct Client {
    address: SocketAddr,
    connections: Vec<Connection>,
    /// How many requests are under way on each at most.
    streams: usize,
    /// How many checks are under way on each when the peak rate is measured.
    at_peak: usize,
    deadline: Duration,
    /// How long a check is held back before it is given up.
    patience: Duration,
    check: Vec<u8>,
    batch: Vec<u8>,
    turn: usize,
    /// Where what comes is read.
    buffer: Vec<u8>,
}

/// The headers of every request, in the order in which they come into the table.
fn headers(path: &str, deadline: Duration) -> [(&'static str, String); 6] {
    [
        (":path", path.to_owned()),
        (":authority", "roster".to_owned()),
        ("te", "trailers".to_owned()),
        ("content-type", "application/grpc".to_owned()),
        ("authorization", format!("Bearer {KEY}")),
        ("grpc-timeout", format!("{}m", deadline.as_millis())),
    ]
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + payload.len());
    bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn message(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend((bytes.len() as u32).to_be_bytes());
    framed.extend(bytes);
    framed
}

/// Whether the daemon ended the connection.
fn is_ended(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

impl Connection {
    fn connect(address: SocketAddr, deadline: Duration) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("no delay");
        stream.set_nonblocking(true).expect("no waiting");
        let mut outgoing = VecDeque::from(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
        // Answers may take as much room as they like.
        outgoing.extend(frame(4, 0, 0, &[0, 4, 0x3f, 0xff, 0xff, 0xff]));
        outgoing.extend(frame(8, 0, 0, &0x3fff_ffff_u32.to_be_bytes()));
        Self {
            stream,
            deadline,
            next: 1,
            asked: VecDeque::new(),
            oldest: 1,
            under_way: 0,
            most: 0,
            again: Vec::new(),
            incoming: Vec::new(),
            outgoing,
            window: 65_535,
            told_to_go: false,
            from: Instant::now(),
        }
    }

    /// Whether the daemon takes so much now.
    fn takes(&self, body: &[u8]) -> bool {
        self.under_way < self.most && self.window >= body.len() && self.outgoing.len() < 65_536
    }

    fn ask(&mut self, body: &[u8], due: Instant, is_batch: bool) {
        if self.again.is_empty() || is_batch {
            let block = self.spell(is_batch);
            self.outgoing.extend(frame(1, 4, self.next, &block));
        } else {
            self.outgoing.extend(frame(1, 4, self.next, &self.again));
        }
        self.window -= body.len();
        let mut pieces = body.chunks(FRAME).peekable();
        while let Some(piece) = pieces.next() {
            let flags = u8::from(pieces.peek().is_none());
            self.outgoing.extend(frame(0, flags, self.next, piece));
        }
        let asked = Asked {
            due,
            is_batch,
            has_message: false,
        };
        self.asked.push_back(Some(asked));
        self.under_way += 1;
        self.next += 2;
    }

    /// The headers in full. The first request brings the table about; a batch leaves it as
    /// it is.
    fn spell(&mut self, is_batch: bool) -> Vec<u8> {
        let path = match is_batch {
            true => "/roster.v1.AuthorizationService/BatchIsAuthorized",
            false => "/roster.v1.AuthorizationService/IsAuthorized",
        };
        // `:method: POST` and `:scheme: http` are in the table from the beginning.
        const KNOWN: [u8; 2] = [0x83, 0x86];
        let all = headers(path, self.deadline);
        if !is_batch {
            let places = (62..62 + all.len()).rev().map(|place| 0x80 | place as u8);
            self.again = KNOWN.into_iter().chain(places).collect();
        }
        let mut block = KNOWN.to_vec();
        for (name, value) in &all {
            block.push(if is_batch { 0 } else { 0x40 });
            for text in [*name, value.as_str()] {
                assert!(text.len() < 127, "one byte of length");
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        block
    }

    fn asked(&mut self, stream: u32) -> Option<&mut Option<Asked>> {
        let place = stream.checked_sub(self.oldest)? / 2;
        self.asked.get_mut(place as usize)
    }

    /// A request is over, if it wasn't before.
    fn end(&mut self, stream: u32) -> Option<Asked> {
        let asked = self.asked(stream)?.take()?;
        self.under_way -= 1;
        while let Some(None) = self.asked.front() {
            self.asked.pop_front();
            self.oldest += 2;
        }
        Some(asked)
    }

    /// Gives up what is late.
    fn give_up(&mut self, counted: &mut Counted) {
        const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
        let now = Instant::now();
        while let Some(Some(asked)) = self.asked.front()
            && now > asked.due
        {
            let stream = self.oldest;
            self.end(stream);
            counted.late += 1;
            self.outgoing.extend(frame(3, 0, stream, &CANCEL));
        }
    }

    /// Writes and reads what can be, and counts.
    fn turn(&mut self, buffer: &mut [u8], counted: &mut Counted) {
        while !self.outgoing.is_empty() {
            let (first, _) = self.outgoing.as_slices();
            match self.stream.write(first) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_ended(&error) => {
                    self.told_to_go = true;
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
        match self.stream.read(buffer) {
            Ok(0) => self.told_to_go = true,
            Ok(read) => self.incoming.extend(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if is_ended(&error) => {
                self.told_to_go = true;
                return;
            }
            Err(error) => panic!("{error}"),
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some(head) = self.incoming.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if self.incoming.len() < at + 9 + length {
                break;
            }
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            at += 9 + length;
            match (kind, flags) {
                (4, 0) => {
                    for setting in self.incoming[at - length..at].chunks_exact(6) {
                        if setting[..2] == [0, 3] {
                            let most = setting[2..].try_into().expect("four bytes");
                            self.most = u32::from_be_bytes(most) as usize;
                        }
                    }
                    self.outgoing.extend(frame(4, 1, 0, &[]));
                }
                (6, 0) => {
                    let opaque = self.incoming[at - length..at].to_vec();
                    self.outgoing.extend(frame(6, 1, 0, &opaque));
                }
                (0, _) => {
                    if let Some(Some(asked)) = self.asked(stream) {
                        asked.has_message = true;
                    }
                }
                // A refusal may be followed by a reset, as its request is not read.
                (1, 1 | 5) | (3, _) => {
                    if let Some(asked) = self.end(stream) {
                        counted.take(&asked, now);
                    }
                }
                (8, _) if stream == 0 => {
                    let more = &self.incoming[at - length..at];
                    let more = u32::from_be_bytes(more.try_into().expect("four bytes"));
                    self.window += more as usize;
                }
                (7, _) => {
                    self.told_to_go = true;
                }
                _ => {}
            }
        }
        self.incoming.drain(..at);
    }
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.refused += other.refused;
        self.unsent += other.unsent;
        self.late += other.late;
        self.gone += other.gone;
        self.batches += other.batches;
        self.batches_answered += other.batches_answered;
        self.batches_refused += other.batches_refused;
    }

    fn take(&mut self, asked: &Asked, now: Instant) {
        if now > asked.due {
            self.late += 1;
        } else if asked.is_batch {
            self.batches_answered += usize::from(asked.has_message);
            self.batches_refused += usize::from(!asked.has_message);
        } else if asked.has_message {
            self.answered += 1;
        } else {
            self.refused += 1;
        }
    }
}

impl Client {
    fn connect(
        address: SocketAddr,
        connections: usize,
        streams: usize,
        deadline: Duration,
    ) -> Self {
        let question = v1::IsAuthorizedRequest {
            organization: "acme".to_owned(),
            principal: Some(v1::EntityRef {
                r#type: "User".to_owned(),
                id: "owner".to_owned(),
            }),
            action: "InstancesView".to_owned(),
            resource: Some(v1::Resource {
                r#type: "Instance".to_owned(),
                id: "vm-1".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let batch = v1::BatchIsAuthorizedRequest {
            requests: vec![question.clone(); BATCH],
            ..Default::default()
        };
        Self {
            address,
            connections: (0..connections)
                .map(|_| Connection::connect(address, deadline))
                .collect(),
            streams,
            at_peak: AT_PEAK,
            deadline,
            patience: deadline / 2,
            check: message(&question),
            batch: message(&batch),
            turn: 0,
            buffer: vec![0; 65_536],
        }
    }

    /// As much as is answered is asked.
    fn closed(&mut self, turn: Duration, kind: Kind) -> Counted {
        let mut counted = Counted::default();
        let from = Instant::now() + LEAD_IN;
        let until = from + turn;
        let (body, at_once) = match kind {
            Kind::Check => (&self.check, self.at_peak),
            Kind::Batch => (&self.batch, BATCHES_AT_PEAK),
        };
        let mut has_begun = false;
        while Instant::now() < until {
            if !has_begun && Instant::now() >= from {
                (has_begun, counted) = (true, Counted::default());
            }
            for connection in &mut self.connections {
                while connection.under_way < at_once && connection.takes(body) {
                    counted.asked += 1;
                    let due = Instant::now() + self.deadline * 10;
                    connection.ask(body, due, kind == Kind::Batch);
                }
                connection.turn(&mut self.buffer, &mut counted);
            }
        }
        self.settle();
        counted
    }

    /// Every connection asks as many checks at a time as it may, gives each up when its
    /// time is over, and asks the next one.
    fn crowd(&mut self, turn: Duration) -> Counted {
        let mut counted = Counted::default();
        let until = Instant::now() + turn;
        while Instant::now() < until {
            for connection in &mut self.connections {
                if !connection.told_to_go {
                    connection.turn(&mut self.buffer, &mut counted);
                    connection.give_up(&mut counted);
                }
                let now = Instant::now();
                if now < connection.from {
                    continue;
                }
                if connection.told_to_go && connection.under_way == 0 {
                    *connection = Connection::connect(self.address, self.deadline);
                } else if connection.told_to_go {
                    counted.gone += 1;
                    counted.late += std::mem::take(&mut connection.under_way);
                    connection.from = now + BACKOFF;
                    continue;
                }
                while connection.under_way < self.streams && connection.takes(&self.check) {
                    counted.asked += 1;
                    connection.ask(&self.check, now + self.deadline, false);
                }
            }
        }
        counted
    }

    /// So many are asked a second, whatever becomes of them.
    fn open(&mut self, rate: f64, turn: Duration, mix: Mix) -> Counted {
        let (mut counted, mut due) = (Counted::default(), 0);
        let begun = Instant::now();
        let mut is_counting = false;
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        let mut batches_due = 0.0;
        let largest = match mix {
            Mix::Checks => &self.check,
            Mix::Batches | Mix::Both(_) => &self.batch,
        };
        loop {
            let now = Instant::now();
            let passed = now - begun;
            if passed >= LEAD_IN + turn {
                break;
            }
            if !is_counting && passed >= LEAD_IN {
                (is_counting, counted) = (true, Counted::default());
            }
            let by_now = (passed.as_secs_f64() * rate) as usize;
            while due < by_now {
                waiting.push_back(begun + Duration::from_secs_f64(due as f64 / rate));
                (due, counted.asked) = (due + 1, counted.asked + 1);
            }
            while waiting
                .front()
                .is_some_and(|begun| now - *begun > self.patience)
            {
                waiting.pop_front();
                counted.unsent += 1;
            }
            for _ in 0..self.connections.len() {
                self.turn = (self.turn + 1) % self.connections.len();
                let connection = &mut self.connections[self.turn];
                while connection.under_way < self.streams
                    && connection.takes(largest)
                    && let Some(begun) = waiting.pop_front()
                {
                    batches_due += match mix {
                        Mix::Checks => 0.0,
                        Mix::Batches => 1.0,
                        Mix::Both(batches) => batches,
                    };
                    if batches_due >= 1.0 {
                        batches_due -= 1.0;
                        counted.batches += 1;
                        connection.ask(&self.batch, begun + self.deadline, true);
                    }
                    if !matches!(mix, Mix::Batches) {
                        connection.ask(&self.check, begun + self.deadline, false);
                    }
                }
                connection.turn(&mut self.buffer, &mut counted);
            }
        }
        let of_the_turn = counted;
        self.settle();
        of_the_turn
    }

    /// Waits until nothing is under way.
    fn settle(&mut self) {
        let mut rest = Counted::default();
        while self.connections.iter().any(|one| one.under_way > 0) {
            for connection in &mut self.connections {
                assert!(!connection.told_to_go, "the daemon ended a connection");
                connection.turn(&mut self.buffer, &mut rest);
            }
        }
    }
}
