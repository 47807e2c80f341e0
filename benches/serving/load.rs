//! The load: client threads, each with a runtime and connections of its own, that
//! send messages written beforehand and count the answers.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use prost::Message as _;
use roster::client::Checker;
use roster::proto::v1;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use crate::cerbos::{self, Cerbos};
use crate::noop::{Daemon, KEY, NOOP, NOOP_ANSWER};
use crate::organizations::{CHECKED, organization};
use crate::processor::used_by_serving_threads;
use crate::wire::{Questions, Raw, WINDOW, Window};

const UNARY: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const BATCH: &str = "/roster.v1.AuthorizationService/BatchIsAuthorized";
const STREAM: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";
const BATCH_SIZE: usize = 1_000;
/// How many different questions there are.
const QUESTIONS: usize = 1_024;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Noop,
    Unary,
    Batch,
    Stream,
    Checker,
    Cerbos,
}

/// What was counted in a turn.
pub struct Sample {
    checks: usize,
    elapsed: Duration,
    server: Duration,
    /// In nanoseconds, ascending; of calls, so that a batch is one.
    latencies: Vec<u64>,
}

impl Sample {
    /// Checks a second.
    pub fn rate(&self) -> f64 {
        self.checks as f64 / self.elapsed.as_secs_f64()
    }

    /// A percentile of the time a call took, in microseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let place =
            (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies
            .get(place)
            .map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1e3)
    }

    /// What a check took of the serving threads.
    pub fn server_microseconds(&self) -> f64 {
        self.server.as_secs_f64() * 1e6 / self.checks as f64
    }
}

struct Client {
    runtime: Runtime,
    /// Over TCP, and over the Unix socket.
    channels: [Channel; 2],
    checker: Checker,
    cerbos: Option<Channel>,
}

/// The client threads.
pub struct Load {
    clients: Vec<Client>,
    questions: Arc<Vec<v1::IsAuthorizedRequest>>,
    messages: Arc<Vec<Bytes>>,
    batch: Bytes,
    cerbos: Option<(Cerbos, Arc<Vec<Bytes>>)>,
}

impl Load {
    /// As many as the daemon has serving threads.
    pub fn new(daemon: &Daemon, cerbos: Option<Cerbos>) -> Self {
        let cerbos_address = cerbos
            .as_ref()
            .map(|cerbos| format!("http://{}", cerbos.address));
        let endpoints = [
            format!("http://{}", daemon.address),
            format!("unix:{}", daemon.socket.display()),
        ]
        .map(|address| Endpoint::from_shared(address).expect("an address"));
        let clients = (0..daemon.threads).map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let (channels, checker, cerbos) = runtime.block_on(async {
                let mut channels = Vec::new();
                for endpoint in &endpoints {
                    channels.push(endpoint.connect().await.expect("a connection"));
                }
                let checker = Checker::new(&endpoints[0], KEY, 1).expect("a key");
                // Made at once, so that each has a serving thread of its own.
                checker.check(&asked(1)).await.expect("an answer");
                let mut cerbos = None;
                if let Some(address) = &cerbos_address {
                    let endpoint = Endpoint::from_shared(address.clone()).expect("an address");
                    cerbos = Some(endpoint.connect().await.expect("a connection"));
                }
                (channels.try_into().expect("two channels"), checker, cerbos)
            });
            Client {
                runtime,
                channels,
                checker,
                cerbos,
            }
        });
        let clients: Vec<Client> = clients.collect();
        let questions: Vec<_> = (1..=QUESTIONS).map(asked).collect();
        let messages: Vec<Bytes> = questions
            .iter()
            .map(|question| question.encode_to_vec().into())
            .collect();
        let batch = v1::BatchIsAuthorizedRequest {
            requests: questions.iter().take(BATCH_SIZE).cloned().collect(),
            ..Default::default()
        };
        let first = &clients[0];
        let answer = first.runtime.block_on(async {
            let mut grpc = Grpc::new(first.channels[0].clone());
            call(&mut grpc, UNARY, messages[0].clone()).await
        });
        let cerbos = cerbos.map(|cerbos| {
            let asked: Vec<Bytes> = questions.iter().map(cerbos::question).collect();
            first
                .runtime
                .block_on(agree(&cerbos, first, &messages, &questions, &asked));
            (cerbos, Arc::new(asked))
        });
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(answer.len() as u32);
        framed.put(answer);
        NOOP_ANSWER.set(framed.freeze()).expect("set once");
        Self {
            clients,
            questions: Arc::new(questions),
            messages: Arc::new(messages),
            batch: batch.encode_to_vec().into(),
            cerbos,
        }
    }

    /// What Cerbos takes in memory, in MiB, if it is there.
    pub fn cerbos_mib(&self) -> Option<u64> {
        self.cerbos
            .as_ref()
            .map(|(cerbos, _)| cerbos.resident_mib())
    }

    fn used(&self, kind: Kind) -> Duration {
        match (kind, &self.cerbos) {
            (Kind::Cerbos, Some((cerbos, _))) => cerbos.used(),
            _ => used_by_serving_threads(),
        }
    }

    /// Runs a load for a while, with that many calls under way on each client thread.
    pub fn run(&self, kind: Kind, unix: bool, at_once: usize, turn: Duration) -> Sample {
        let server = self.used(kind);
        let begun = Instant::now();
        let until = begun + turn;
        let counted: Vec<(usize, Vec<u64>)> = thread::scope(|scope| {
            let running = self.clients.iter().map(|client| {
                scope.spawn(move || match kind {
                    Kind::Stream => client.runtime.block_on(self.stream(client, unix, until)),
                    Kind::Checker => client.runtime.block_on(self.check(client, until)),
                    _ => client
                        .runtime
                        .block_on(self.call(client, kind, unix, at_once, until)),
                })
            });
            let running: Vec<_> = running.collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("a client"))
                .collect()
        });
        let elapsed = begun.elapsed();
        let checks = counted.iter().map(|(checks, _)| checks).sum();
        let mut latencies: Vec<u64> = counted
            .into_iter()
            .flat_map(|(_, latencies)| latencies)
            .collect();
        latencies.sort_unstable();
        Sample {
            checks,
            elapsed,
            server: self.used(kind).saturating_sub(server),
            latencies,
        }
    }

    async fn call(
        &self,
        client: &Client,
        kind: Kind,
        unix: bool,
        at_once: usize,
        until: Instant,
    ) -> (usize, Vec<u64>) {
        let mut calling = JoinSet::new();
        let (path, each, at_once) = match kind {
            Kind::Noop => (NOOP, 1, at_once),
            Kind::Batch => (BATCH, BATCH_SIZE, 4),
            Kind::Cerbos => (cerbos::CHECK, 1, at_once),
            _ => (UNARY, 1, at_once),
        };
        let (channel, messages) = match (kind, &client.cerbos, &self.cerbos) {
            (Kind::Cerbos, Some(channel), Some((_, asked))) => (channel, asked),
            _ => (&client.channels[usize::from(unix)], &self.messages),
        };
        for caller in 0..at_once {
            let mut grpc = Grpc::new(channel.clone());
            let (messages, batch) = (Arc::clone(messages), self.batch.clone());
            calling.spawn(async move {
                let mut latencies = Vec::with_capacity(4_096);
                for turn in 0.. {
                    let begun = Instant::now();
                    if begun >= until {
                        break;
                    }
                    let message = match kind {
                        Kind::Batch => batch.clone(),
                        _ => messages[(caller * 97 + turn) % QUESTIONS].clone(),
                    };
                    call(&mut grpc, path, message).await;
                    latencies.push(begun.elapsed().as_nanos() as u64);
                }
                latencies
            });
        }
        gather(calling, each).await
    }

    async fn check(&self, client: &Client, until: Instant) -> (usize, Vec<u64>) {
        // Scoped tasks there are none of; the futures of one thread do as well.
        let checking = (0..WINDOW).map(|caller| async move {
            let mut latencies = Vec::with_capacity(4_096);
            for turn in 0.. {
                let begun = Instant::now();
                if begun >= until {
                    break;
                }
                let question = &self.questions[(caller * 97 + turn) % QUESTIONS];
                client.checker.check(question).await.expect("an answer");
                latencies.push(begun.elapsed().as_nanos() as u64);
            }
            latencies
        });
        let checking = futures_util::stream::FuturesUnordered::from_iter(checking);
        let all: Vec<Vec<u64>> = futures_util::StreamExt::collect(checking).await;
        let latencies = all.concat();
        (latencies.len(), latencies)
    }

    async fn stream(&self, client: &Client, unix: bool, until: Instant) -> (usize, Vec<u64>) {
        let mut grpc = Grpc::new(client.channels[usize::from(unix)].clone());
        grpc.ready().await.expect("a connection");
        let window = Arc::new(Mutex::new(Window::default()));
        let questions = Questions {
            messages: Arc::clone(&self.messages),
            window: Arc::clone(&window),
            next: 0,
            until,
        };
        let path = PathAndQuery::from_static(STREAM);
        let started = grpc.streaming(signed(questions), path, Raw).await;
        let mut answers = started.expect("a stream").into_inner();
        let mut latencies = Vec::with_capacity(1 << 20);
        while let Some(answer) = answers.message().await.expect("an answer") {
            assert!(!answer.is_empty());
            let mut window = window.lock().expect("no panic");
            let sent = window.sent.pop_front().expect("it was asked");
            latencies.push(sent.elapsed().as_nanos() as u64);
            // Half a window at a time, as an answer seldom comes alone.
            if window.sent.len() <= WINDOW / 2
                && let Some(waker) = window.waker.take()
            {
                waker.wake();
            }
        }
        (latencies.len(), latencies)
    }
}

/// Sees to it that both answer every question alike.
async fn agree(
    cerbos: &Cerbos,
    client: &Client,
    messages: &[Bytes],
    questions: &[v1::IsAuthorizedRequest],
    asked: &[Bytes],
) {
    let mut grpc = Grpc::new(client.channels[0].clone());
    let mut compared = Vec::new();
    for (message, asked) in messages.iter().zip(asked) {
        let answer = call(&mut grpc, UNARY, message.clone()).await;
        let answer = v1::IsAuthorizedResponse::decode(answer).expect("an answer");
        compared.push((asked.clone(), answer.decision()));
    }
    let action = |index: usize| questions[index].action.clone();
    cerbos.agrees(&compared, action).await;
}

async fn gather(mut calling: JoinSet<Vec<u64>>, each: usize) -> (usize, Vec<u64>) {
    let mut all = Vec::new();
    while let Some(latencies) = calling.join_next().await {
        all.extend(latencies.expect("a caller"));
    }
    (all.len() * each, all)
}

fn asked(number: usize) -> v1::IsAuthorizedRequest {
    let action = ["InstancesView", "InstancesManage"][number % 2];
    v1::IsAuthorizedRequest {
        organization: organization(CHECKED),
        principal: Some(v1::EntityRef {
            r#type: "User".to_owned(),
            id: format!("user-{}", 1 + number % (CHECKED - 1)),
        }),
        action: action.to_owned(),
        resource: Some(v1::Resource {
            r#type: "Instance".to_owned(),
            id: format!("vm-{number}"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn signed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {KEY}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn call(grpc: &mut Grpc<Channel>, path: &'static str, message: Bytes) -> Bytes {
    grpc.ready().await.expect("a connection");
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(signed(message), path, Raw).await;
    answer.expect("an answer").into_inner()
}
