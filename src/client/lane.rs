//! One stream of questions, made again whenever it ends, and who waits for which
//! answer.
//!
//! Answers come in the order of their questions, so those who wait stand in a queue.
//! When a stream ends with an error, the question at the front is the one that the
//! error is about, if it is about any: it is asked by itself, which gives its own
//! status. Those behind it were not answered, and go over the next stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::uri::PathAndQuery;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::codec::QuestionCodec;
use crate::proto::v1;

const IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/IsAuthorized";
const STREAM_IS_AUTHORIZED: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";

/// The most questions that wait to be sent.
const MAX_QUEUED: usize = 65_536;
/// How often a question is sent on a stream before it is asked by itself.
const MAX_SENT: u8 = 3;

type Answer = Result<v1::IsAuthorizedResponse, Status>;

/// A question, and who waits for its answer.
pub struct Asking {
    message: Bytes,
    patience: Duration,
    answer: oneshot::Sender<Answer>,
    sent: u8,
}

impl Asking {
    /// A question, and where its answer comes.
    pub fn new(message: Bytes, patience: Duration) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, comes) = oneshot::channel();
        let asking = Self {
            message,
            patience,
            answer,
            sent: 0,
        };
        (asking, comes)
    }

    fn answer(self, answer: Answer) {
        // Whoever asked may have gone.
        let _ = self.answer.send(answer);
    }
}

/// The questions of one stream.
#[derive(Default)]
pub struct Lane {
    state: Mutex<State>,
    /// Told of a question when no stream is there to be told.
    asked: Notify,
}

#[derive(Default)]
struct State {
    /// To be sent.
    queued: VecDeque<Asking>,
    /// Sent, and not answered yet.
    sent: VecDeque<Asking>,
    /// To be asked by themselves.
    alone: Vec<Asking>,
    /// Which stream is current; an earlier one sends nothing more.
    stream: u64,
    sender: Option<Waker>,
}

impl Lane {
    /// Takes a question.
    pub fn ask(&self, asking: Asking, alone: bool) -> Result<(), Status> {
        let mut state = self.state();
        if alone {
            state.alone.push(asking);
            drop(state);
            self.asked.notify_one();
            return Ok(());
        }
        if state.queued.len() >= MAX_QUEUED {
            return Err(Status::resource_exhausted(
                "too many checks wait to be sent",
            ));
        }
        state.queued.push_back(asking);
        match state.sender.take() {
            Some(sender) => sender.wake(),
            None => {
                drop(state);
                self.asked.notify_one();
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_next(&self, answer: v1::IsAuthorizedResponse) {
        let next = self.state().sent.pop_front();
        if let Some(asking) = next {
            asking.answer(Ok(answer));
        }
    }

    /// Begins another stream, and says which.
    fn next_stream(&self) -> u64 {
        let mut state = self.state();
        state.stream += 1;
        state.sender = None;
        state.stream
    }

    /// Puts what was sent and not answered back: the first is asked by itself if the
    /// stream failed, the others before all that came later.
    fn put_back(&self, failed: bool) {
        let mut state = self.state();
        state.stream += 1;
        state.sender = None;
        let mut unanswered = std::mem::take(&mut state.sent);
        if failed && let Some(first) = unanswered.pop_front() {
            state.alone.push(first);
        }
        unanswered.retain(|asking| !asking.answer.is_closed());
        for asking in unanswered.into_iter().rev() {
            if asking.sent < MAX_SENT {
                state.queued.push_front(asking);
            } else {
                state.alone.push(asking);
            }
        }
    }

    /// Gives everybody who waits to be sent the same answer.
    fn refuse(&self, status: &Status) {
        let mut state = self.state();
        let refused = std::mem::take(&mut state.queued);
        let alone = std::mem::take(&mut state.alone);
        drop(state);
        for asking in refused.into_iter().chain(alone) {
            asking.answer(Err(status.clone()));
        }
    }

    fn has_queued(&self) -> bool {
        !self.state().queued.is_empty()
    }
}

/// Sends and receives for a lane, for ever.
pub async fn run(lane: Arc<Lane>, channel: Channel, bearer: MetadataValue<Ascii>) {
    let mut grpc = Grpc::new(channel);
    let mut alone = JoinSet::new();
    loop {
        for asking in std::mem::take(&mut lane.state().alone) {
            alone.spawn(ask_alone(grpc.clone(), bearer.clone(), asking));
        }
        if !lane.has_queued() {
            tokio::select! {
                () = lane.asked.notified() => {}
                Some(_) = alone.join_next() => {}
            }
            continue;
        }
        if let Err(status) = run_stream(&lane, &mut grpc, &bearer, &mut alone).await {
            lane.refuse(&status);
        }
    }
}

/// Runs one stream to its end. It is an error if there was none.
async fn run_stream(
    lane: &Arc<Lane>,
    grpc: &mut Grpc<Channel>,
    bearer: &MetadataValue<Ascii>,
    alone: &mut JoinSet<()>,
) -> Result<(), Status> {
    grpc.ready().await.map_err(unreachable)?;
    let questions = Questions {
        lane: Arc::clone(lane),
        stream: lane.next_stream(),
    };
    let mut request = Request::new(questions);
    request
        .metadata_mut()
        .insert("authorization", bearer.clone());
    let path = PathAndQuery::from_static(STREAM_IS_AUTHORIZED);
    let started = grpc.streaming(request, path, QuestionCodec).await;
    let mut answers = match started {
        Ok(response) => response.into_inner(),
        Err(status) => {
            // Nothing was answered, and what was sent meanwhile shares the fate of all.
            lane.put_back(false);
            return Err(status);
        }
    };
    loop {
        let answer = tokio::select! {
            biased;
            answer = answers.message() => answer,
            () = lane.asked.notified() => {
                for asking in std::mem::take(&mut lane.state().alone) {
                    alone.spawn(ask_alone(grpc.clone(), bearer.clone(), asking));
                }
                continue;
            }
            Some(_) = alone.join_next() => continue,
        };
        match answer {
            Ok(Some(answer)) => lane.answer_next(answer),
            Ok(None) => {
                lane.put_back(false);
                return Ok(());
            }
            Err(_) => {
                lane.put_back(true);
                return Ok(());
            }
        }
    }
}

/// Asks one question with a call of its own.
async fn ask_alone(mut grpc: Grpc<Channel>, bearer: MetadataValue<Ascii>, asking: Asking) {
    let mut request = Request::new(asking.message.clone());
    request.metadata_mut().insert("authorization", bearer);
    request.set_timeout(asking.patience);
    let path = PathAndQuery::from_static(IS_AUTHORIZED);
    let answer = match grpc.ready().await {
        Ok(()) => grpc.unary(request, path, QuestionCodec).await,
        Err(error) => Err(unreachable(error)),
    };
    asking.answer(answer.map(tonic::Response::into_inner));
}

fn unreachable(error: tonic::transport::Error) -> Status {
    Status::unavailable(format!("the daemon can't be reached: {error}"))
}

/// What a stream sends: whatever is queued, for as long as it is the current one.
struct Questions {
    lane: Arc<Lane>,
    stream: u64,
}

impl Stream for Questions {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lane.state();
        if state.stream != self.stream {
            return Poll::Ready(None);
        }
        while let Some(mut asking) = state.queued.pop_front() {
            if asking.answer.is_closed() {
                continue;
            }
            asking.sent += 1;
            let message = asking.message.clone();
            state.sent.push_back(asking);
            return Poll::Ready(Some(message));
        }
        state.sender = Some(context.waker().clone());
        Poll::Pending
    }
}
