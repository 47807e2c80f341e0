//! `StreamIsAuthorized`: questions decided as they are read off the wire, answers
//! written together as far as their questions came together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use http::{Request, Response};
use http_body::Body;
use prost::Message as _;
use tokio::sync::watch;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstDecoder;

use super::answer::Decided;
use super::decide::decide;
use crate::application::{Application, Bounds, Error};
use crate::proto::v1;
use crate::transport::authorization_service::{answer as answer_one, note};
use crate::transport::caller::Known;
use crate::transport::calls::{Calls, Counting, Deciding, ThreadCounts};
use crate::transport::health::Readiness;
use crate::transport::limits::MAX_REQUEST_BYTES;
use crate::transport::{from_proto, status};

/// How many questions are answered before others on the thread get their turn.
const ANSWERS_AT_A_TIME: u32 = 256;

/// Answers a stream until it ends or the daemon serves no longer.
pub async fn answer<B>(
    application: Arc<Application>,
    readiness: watch::Receiver<Readiness>,
    known: Known,
    counts: Counting,
    request: Request<B>,
) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let codec = CheckCodec {
        application: Arc::clone(&application),
        bounds: known.permit().bounds.clone(),
        counts: Arc::clone(&counts.here),
    };
    let service = tower::service_fn(|request: tonic::Request<Streaming<Question>>| {
        let patience = from_proto::patience(request.metadata());
        let answers = Answers {
            application: Arc::clone(&application),
            bounds: known.permit().bounds.clone(),
            calls: Arc::clone(&counts.calls),
            stopping: Box::pin(stopping(readiness.clone())),
            questions: request.into_inner(),
            patience,
            waiting: None,
            in_a_row: 0,
            ended: false,
        };
        std::future::ready(Ok::<_, Status>(tonic::Response::new(answers)))
    });
    Grpc::new(codec)
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .streaming(service, request)
        .await
}

/// Completes when the daemon serves no longer.
async fn stopping(mut readiness: watch::Receiver<Readiness>) {
    // An error means that whoever says so is gone, which says the same.
    let _ = readiness
        .wait_for(|readiness| *readiness == Readiness::NotServing)
        .await;
}

/// A question, decided already if it is an ordinary one.
enum Question {
    Decided(Decided<'static>),
    Asked(Box<v1::IsAuthorizedRequest>),
}

/// An answer, as little as will do or as a message.
enum Answered {
    Decided(Decided<'static>),
    Made(Box<v1::IsAuthorizedResponse>),
}

type Waiting = Pin<Box<dyn Future<Output = Result<v1::IsAuthorizedResponse, Error>> + Send>>;

/// The answers to the questions of a stream, in their order.
struct Answers {
    application: Arc<Application>,
    /// The organizations that the caller is bound to.
    bounds: Option<Bounds>,
    calls: Arc<Calls>,
    questions: Streaming<Question>,
    patience: Duration,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The answer to a question that could not be decided at once.
    waiting: Option<Waiting>,
    in_a_row: u32,
    ended: bool,
}

impl Answers {
    fn end(&mut self, with: Option<Status>) -> Poll<Option<Result<Answered, Status>>> {
        self.ended = true;
        Poll::Ready(with.map(Err))
    }
}

impl Stream for Answers {
    type Item = Result<Answered, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Answered, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.in_a_row >= ANSWERS_AT_A_TIME {
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Asked once for each run of questions, not for each of them.
        if self.in_a_row == 0 && self.stopping.as_mut().poll(context).is_ready() {
            return self.end(None);
        }
        loop {
            if let Some(waiting) = &mut self.waiting {
                let answered = ready!(waiting.as_mut().poll(context));
                self.waiting = None;
                return match answered {
                    Ok(response) => {
                        note(&self.calls, Deciding::Stream, &response);
                        Poll::Ready(Some(Ok(Answered::Made(Box::new(response)))))
                    }
                    Err(error) => self.end(Some(status::of(error))),
                };
            }
            self.in_a_row += 1;
            match Pin::new(&mut self.questions).poll_next(context) {
                Poll::Ready(Some(Ok(Question::Decided(decided)))) => {
                    return Poll::Ready(Some(Ok(Answered::Decided(decided))));
                }
                Poll::Ready(Some(Ok(Question::Asked(request)))) => {
                    let (application, patience) = (Arc::clone(&self.application), self.patience);
                    let bounds = self.bounds.clone();
                    self.waiting = Some(Box::pin(async move {
                        answer_one(&application, *request, bounds.as_ref(), patience).await
                    }));
                }
                Poll::Ready(Some(Err(status))) => return self.end(Some(status)),
                Poll::Ready(None) => return self.end(None),
                Poll::Pending => {
                    self.in_a_row = 0;
                    return match self.stopping.as_mut().poll(context) {
                        Poll::Ready(()) => self.end(None),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

/// Decides while reading, as the bytes of a question are gone afterwards.
#[derive(Clone)]
struct CheckCodec {
    application: Arc<Application>,
    bounds: Option<Bounds>,
    counts: Arc<ThreadCounts>,
}

impl Codec for CheckCodec {
    type Encode = Answered;
    type Decode = Question;
    type Encoder = AnswerEncoder;
    type Decoder = Self;

    fn encoder(&mut self) -> AnswerEncoder {
        AnswerEncoder
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Decoder for CheckCodec {
    type Item = Question;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Question>, Status> {
        // The message lies in one piece; were it otherwise, prost would read it.
        let message = from.chunk();
        if message.len() == from.remaining()
            && let Some(decided) = decide(&self.application, self.bounds.as_ref(), message)
        {
            let decided = decided.into_owned();
            from.advance(from.remaining());
            let counts = self.counts.decisions.of(Deciding::Stream);
            match decided.is_allowed() {
                true => counts.allowed.bump(),
                false => counts.denied.bump(),
            };
            return Ok(Some(Question::Decided(decided)));
        }
        let request = ProstDecoder::default().decode(from)?;
        Ok(request.map(|request| Question::Asked(Box::new(request))))
    }
}

struct AnswerEncoder;

impl Encoder for AnswerEncoder {
    type Item = Answered;
    type Error = Status;

    fn encode(&mut self, answered: Answered, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match answered {
            Answered::Decided(decided) => {
                to.reserve(decided.length());
                decided.write(to);
                Ok(())
            }
            Answered::Made(message) => message
                .encode(to)
                .map_err(|error| Status::new(Code::Internal, error.to_string())),
        }
    }
}
