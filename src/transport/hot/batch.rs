//! `BatchIsAuthorized`: many questions, read, decided and written one after the
//! other, with a break now and then so that others on the thread get their turn.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use prost::Message as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tonic::{Code, Status};

use super::answer::{Decided, write_text};
use super::decide::{decide_on, is_reached};
use super::request::AskedMany;
use crate::application::check::MAX_BATCH;
use crate::application::revision::TokenText;
use crate::application::{Application, Bounds};
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::transport::admission::OVERLOADED;
use crate::transport::authorization_service::{answer_batch, note_batch, refused};
use crate::transport::caller::Known;
use crate::transport::calls::{Counting, Deciding, Shed};
use crate::transport::elsewhere::Elsewhere;
use crate::transport::guarded::Watched;
use crate::transport::lane::{Expected, Turn};
use crate::transport::limits::MAX_REQUEST_BYTES;
use crate::transport::{from_proto, status};

/// After how many questions a batch looks whether others should have their turn.
const LOOK_UP_AFTER: usize = 32;

/// The most organizations that a batch holds in memory at a time.
const MAX_HELD: usize = 64;

/// What the answer to one question takes, about.
const ITEM_BYTES: usize = 24;

/// Answers a batch; what is out of the ordinary is answered on the other runtime.
pub async fn answer<B>(
    application: Arc<Application>,
    elsewhere: Elsewhere,
    known: Known,
    counts: Counting,
    expected: Expected,
    watched: Arc<Watched>,
    request: Request<B>,
) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let mut expected = Some(expected);
    let service = tower::service_fn(|request: tonic::Request<Bytes>| {
        let (application, elsewhere) = (Arc::clone(&application), elsewhere.clone());
        let bounds = known.permit().bounds.clone();
        let (counts, expected) = (counts.clone(), expected.take());
        watched.batch(request.get_ref().len());
        async move {
            let patience = from_proto::patience(request.metadata());
            let message = request.into_inner();
            let decided = match expected {
                Some(expected) => {
                    decide_in_turn(&application, bounds.as_ref(), &message, expected).await
                }
                // There is only one message.
                None => Ok(None),
            };
            let decided = decided.map_err(|TooLate| {
                counts.calls.shed(Shed::Batches);
                status::overloaded(OVERLOADED)
            });
            match decided? {
                Some((written, tally)) => {
                    let decided = counts.here.decisions.of(Deciding::Batch);
                    decided.allowed.bump_by(tally.allowed);
                    decided.denied.bump_by(tally.denied);
                    Ok(Answered::Written(written))
                }
                None => whole(application, &elsewhere, counts, &message, bounds, patience).await,
            }
            .map(tonic::Response::new)
        }
    });
    Grpc::new(BatchCodec::default())
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .unary(service, request)
        .await
}

/// Answers the batch as the generated service does.
async fn whole(
    application: Arc<Application>,
    elsewhere: &Elsewhere,
    counts: Counting,
    message: &Bytes,
    bounds: Option<Bounds>,
    patience: Duration,
) -> Result<Answered, Status> {
    let batch = v1::BatchIsAuthorizedRequest::decode(message.clone())
        .map_err(|error| status::undecodable(&error))?;
    let answered = elsewhere
        .run(async move { answer_batch(&application, batch, bounds.as_ref(), patience).await });
    let answered = answered.await?.map_err(status::of)?;
    note_batch(&counts.calls, &answered);
    Ok(Answered::Made(answered))
}

/// Decides every question once it is the batch's turn.
async fn decide_in_turn(
    application: &Application,
    bounds: Option<&Bounds>,
    message: &[u8],
    mut expected: Expected,
) -> Result<Option<(Bytes, Tally)>, TooLate> {
    let mut turn = expected.turn(message.len()).await.ok_or(TooLate)?;
    let decided = decide_all(application, bounds, message, &mut turn).await;
    // What was given up says nothing of how long others take.
    if decided.is_some() {
        turn.end();
    }
    Ok(decided)
}

/// The turn of the batch came too late.
struct TooLate;

/// Decides every question, each organization on one snapshot; nothing if one is out
/// of the ordinary. What is wrong with a question is said in its place.
async fn decide_all(
    application: &Application,
    bounds: Option<&Bounds>,
    message: &[u8],
    turn: &mut Turn<'_>,
) -> Option<(Bytes, Tally)> {
    // Taken before any snapshot, so that none is older than what the answer says.
    let revision = application.published();
    let now = application.world().now();
    let mut many = AskedMany::of(message);
    let mut snapshots: BTreeMap<&str, Arc<Snapshot>> = BTreeMap::new();
    let mut last: Option<(&str, Arc<Snapshot>)> = None;
    let mut out = BytesMut::with_capacity(message.len() / 4 + ITEM_BYTES);
    let mut count = 0;
    let mut tally = Tally::default();
    while let Some(asked) = many.next_question()? {
        count += 1;
        if bounds.is_some_and(|bounds| !bounds.admit(asked.organization)) {
            return None;
        }
        if count > MAX_BATCH || !asked.is_ordinary(|| revision) {
            return None;
        }
        if count % LOOK_UP_AFTER == 0 {
            turn.go_on().await;
        }
        let snapshot = match last
            .take()
            .filter(|(known, _)| *known == asked.organization)
        {
            Some((_, snapshot)) => snapshot,
            None => match snapshots.get(asked.organization) {
                Some(snapshot) => Arc::clone(snapshot),
                None => {
                    // What is not in memory has to be waited for, and not all of what
                    // many organizations take is to be held at a time.
                    if snapshots.len() >= MAX_HELD {
                        return None;
                    }
                    let snapshot = application.resident(asked.organization)?;
                    snapshots.insert(asked.organization, Arc::clone(&snapshot));
                    snapshot
                }
            },
        };
        match decide_on(&snapshot, &asked, now) {
            Ok(checked) => {
                let decided = Decided::of(&checked, asked.correlation_id);
                tally.take(decided.is_allowed());
                decided.write_item(&mut out);
            }
            Err(error) => {
                let item = refused(&status::of(error)).encode_length_delimited_to_vec();
                out.put_u8(0x0a);
                out.put_slice(&item);
            }
        }
        last = Some((asked.organization, snapshot));
    }
    if !is_reached(many.at_least, || revision) {
        return None;
    }
    write_text(0x12, TokenText::of(revision).as_str(), &mut out);
    Some((out.freeze(), tally))
}

/// How a batch was decided.
#[derive(Clone, Copy, Default)]
struct Tally {
    allowed: u64,
    denied: u64,
}

impl Tally {
    fn take(&mut self, is_allowed: bool) {
        self.allowed += u64::from(is_allowed);
        self.denied += u64::from(!is_allowed);
    }
}

/// An answer, as bytes or as a message.
enum Answered {
    Written(Bytes),
    Made(v1::BatchIsAuthorizedResponse),
}

/// Takes a message as the bytes that it is. Only one is expected: what comes after it
/// is read as the generated service would, to be found malformed.
#[derive(Clone, Copy, Default)]
struct BatchCodec {
    is_read: bool,
}

impl Codec for BatchCodec {
    type Encode = Answered;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Decoder for BatchCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        if self.is_read {
            let further = v1::BatchIsAuthorizedRequest::decode(from);
            return match further {
                Ok(_) => Ok(Some(Bytes::new())),
                Err(error) => Err(status::undecodable(&error)),
            };
        }
        self.is_read = true;
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

impl Encoder for BatchCodec {
    type Item = Answered;
    type Error = Status;

    fn encode(&mut self, answered: Answered, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match answered {
            Answered::Written(bytes) => {
                to.reserve(bytes.len());
                to.put_slice(&bytes);
                Ok(())
            }
            Answered::Made(message) => message
                .encode(to)
                .map_err(|error| Status::new(Code::Internal, error.to_string())),
        }
    }
}
