//! A check is answered the same whether it takes the short way or not. What a check
//! is sent with decides the way: `roster-actor`, of which a check takes no notice,
//! leads it to the service that answers everything.

use std::collections::VecDeque;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use roster::proto::v1;
use roster::transport::limits::MAX_REQUEST_BYTES;
use tonic::{Request, Status};

use super::{Pieces, framed, send, told};
use crate::control_plane::nursery;
use crate::harness::{Daemon, as_actor, in_project, owned_by, question};

fn said(name: &str, kind: Kind) -> Option<Struct> {
    let value = Value { kind: Some(kind) };
    Some(Struct {
        fields: [(name.to_owned(), value)].into(),
    })
}

/// Questions of every kind; some are allowed, some denied, some wrong.
async fn questions(daemon: &Daemon) -> Vec<v1::IsAuthorizedRequest> {
    let revision = daemon.ask(watering("ann")).await.revision;
    let mut questions = vec![v1::IsAuthorizedRequest::default()];
    for user in ["owner", "ann", "bea", "sue", "nobody", ""] {
        for action in ["WaterBed", "ClearBed", "BuySeeds", "NoSuch", ""] {
            let about = question("acme", user, action, "Bed", "b1");
            questions.push(in_project(about.clone(), "tunnel"));
            questions.push(owned_by(about.clone(), user));
            questions.push(about);
            questions.push(question("acme", user, action, "Organization", "acme"));
        }
    }
    let change = |change: fn(&mut v1::IsAuthorizedRequest)| {
        let mut question = watering("ann");
        change(&mut question);
        question
    };
    questions.extend([
        question("nowhere", "ann", "WaterBed", "Bed", "b1"),
        question("acme", "ann", "WaterBed", "NoSuch", "b1"),
        question("acme", "ann", "WaterBed", "", ""),
        question("", "ann", "WaterBed", "Bed", "b1"),
        change(|question| question.principal = None),
        change(|question| question.resource = None),
        change(|question| question.principal.as_mut().unwrap().r#type = "Robot".to_owned()),
        change(|question| question.include_reasons = true),
        change(|question| question.correlation_id = "é".repeat(64)),
        change(|question| question.correlation_id = "x".repeat(129)),
        change(|question| question.at_least = "0.1".to_owned()),
        change(|question| question.at_least = "0.ffffff".to_owned()),
        change(|question| question.at_least = "yesterday".to_owned()),
        change(|question| question.context = said("liters", Kind::NumberValue(3.0))),
        change(|question| question.context = said("liters", Kind::BoolValue(true))),
        change(|question| question.context = Some(Struct::default())),
        change(|question| {
            let resource = question.resource.as_mut().unwrap();
            resource.attributes = said("moisture", Kind::NumberValue(3.0));
        }),
        change(|question| {
            let resource = question.resource.as_mut().unwrap();
            resource.attributes = said("color", Kind::NumberValue(3.0));
        }),
    ]);
    let mut last = watering("ann");
    last.at_least = revision;
    questions.push(last);
    questions
}

fn watering(user: &str) -> v1::IsAuthorizedRequest {
    question("acme", user, "WaterBed", "Bed", "b7")
}

fn plain<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, (i32, String, Bytes)> {
    answer.map(tonic::Response::into_inner).map_err(|status| {
        let details = Bytes::copy_from_slice(status.details());
        (status.code().into(), status.message().to_owned(), details)
    })
}

fn in_time<T>(mut request: Request<T>) -> Request<T> {
    request.set_timeout(Duration::from_secs(1));
    request
}

async fn greenhouse() -> Daemon {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon
}

#[tokio::test]
async fn a_check_has_one_answer_whichever_way_it_takes() {
    let daemon = greenhouse().await;
    let mut client = daemon.authorization();
    let (mut answers, mut refusals) = (0, 0);
    for question in questions(&daemon).await {
        let short = client
            .is_authorized(in_time(Request::new(question.clone())))
            .await;
        let long = client
            .is_authorized(in_time(as_actor("ann", question.clone())))
            .await;
        let (short, long) = (plain(short), plain(long));
        assert_eq!(short, long, "{question:?}");
        *(if short.is_ok() {
            &mut answers
        } else {
            &mut refusals
        }) += 1;
    }
    assert!(answers > 30 && refusals > 50, "{answers} {refusals}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_batch_has_the_answers_of_its_questions_whichever_way_it_takes() {
    let daemon = greenhouse().await;
    let mut client = daemon.authorization();
    let all = questions(&daemon).await;
    let ordinary: Vec<_> = all
        .iter()
        .filter(|question| !is_special(question))
        .cloned()
        .collect();
    assert!(ordinary.len() > 100, "{}", ordinary.len());
    let long_batch = vec![watering("ann"); 10_001];
    let batches = [
        (Vec::new(), ""),
        (ordinary.clone(), ""),
        (ordinary.clone(), "0.1"),
        (ordinary.clone(), "0.ffffff"),
        (ordinary, "yesterday"),
        (all, ""),
        (long_batch[..10_000].to_vec(), ""),
        (long_batch, ""),
    ];
    for (requests, at_least) in batches {
        let batch = v1::BatchIsAuthorizedRequest {
            requests: requests.clone(),
            at_least: at_least.to_owned(),
        };
        let short = client
            .batch_is_authorized(in_time(Request::new(batch.clone())))
            .await;
        let long = client
            .batch_is_authorized(in_time(as_actor("ann", batch)))
            .await;
        let (short, long) = (plain(short), plain(long));
        assert_eq!(short, long, "{} questions at {at_least:?}", requests.len());
        let Ok(answered) = short else { continue };
        assert_eq!(answered.items.len(), requests.len());
        for (request, item) in requests.into_iter().zip(answered.items).take(200) {
            let alone = client.is_authorized(in_time(Request::new(request))).await;
            let expected = match plain(alone) {
                Ok(response) => v1::batch_item::Result::Response(response),
                Err((.., details)) => v1::batch_item::Result::Status(
                    tonic_types::pb::Status::decode(details).expect("a status"),
                ),
            };
            assert_eq!(item.result, Some(expected));
        }
    }
    daemon.stop().await;
}

/// Whether a batch with it leaves the short way for all of its questions.
fn is_special(question: &v1::IsAuthorizedRequest) -> bool {
    let resource = question.resource.as_ref();
    question.include_reasons
        || !question.at_least.is_empty()
        || question.context.is_some()
        || question.correlation_id.len() > 128
        || matches!(&*question.organization, "" | "nowhere")
        || resource.is_some_and(|resource| resource.attributes.is_some())
}

#[tokio::test]
async fn a_stream_has_the_answers_of_its_questions_whichever_way_it_takes() {
    let daemon = greenhouse().await;
    let mut client = daemon.authorization();
    for question in questions(&daemon).await {
        // One that is fine before it, one after it.
        let asked = vec![watering("bea"), question.clone(), watering("ann")];
        let mut ends = Vec::new();
        for actor in [None, Some("ann")] {
            let stream = tokio_stream::iter(asked.clone());
            let request = match actor {
                None => Request::new(stream),
                Some(actor) => as_actor(actor, stream),
            };
            let mut answers = client
                .stream_is_authorized(in_time(request))
                .await
                .expect("a stream")
                .into_inner();
            let mut given = Vec::new();
            let end = loop {
                match answers.message().await {
                    Ok(Some(answer)) => given.push(answer),
                    Ok(None) => break Ok(()),
                    Err(status) => break plain::<()>(Err(status)),
                }
            };
            ends.push((given, end));
        }
        let long = ends.pop().unwrap();
        let short = ends.pop().unwrap();
        assert_eq!(short, long, "{question:?}");
        assert_eq!(
            short.0.len(),
            if short.1.is_ok() { 3 } else { 1 },
            "{question:?}"
        );
    }
    daemon.stop().await;
}

/// Bodies that are and that are not one whole message, made of that message.
fn bodies(message: &[u8]) -> Vec<VecDeque<Bytes>> {
    let whole = framed(message);
    let half = whole.len() / 2;
    let compressed = [&[1], &whole[1..]].concat();
    let strange = [&[7], &whole[1..]].concat();
    let too_long = [&[0], &(MAX_REQUEST_BYTES as u32 + 1).to_be_bytes()[..]].concat();
    let other = framed(&[0xff; 9]);
    let empty = Vec::new();
    let nothing = framed(&[]);
    let bodies: Vec<Vec<&[u8]>> = vec![
        vec![],
        vec![&empty],
        vec![&nothing],
        vec![&whole],
        vec![&whole, &empty],
        vec![&empty, &whole],
        vec![&whole[..3], &whole[3..]],
        vec![&whole[..5], &whole[5..]],
        vec![&whole[..half], &whole[half..]],
        vec![&whole[..half]],
        vec![&whole[..4]],
        vec![&whole, &whole],
        vec![&whole, &whole[..half]],
        vec![&whole, &other],
        vec![&other],
        vec![&compressed],
        vec![&strange],
        vec![&too_long],
    ];
    let bytes = |pieces: Vec<&[u8]>| pieces.into_iter().map(Bytes::copy_from_slice).collect();
    bodies.into_iter().map(bytes).collect()
}

#[tokio::test]
async fn bytes_that_are_no_ordinary_call_have_one_answer_whichever_way_they_take() {
    let daemon = greenhouse().await;
    let channel = daemon.bare();
    let single = watering("ann").encode_to_vec();
    let long = question("acme", &"u".repeat(40_000), "WaterBed", "Bed", "b1").encode_to_vec();
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![watering("ann"), watering("bea")],
        ..Default::default()
    };
    for (method, messages) in [
        ("IsAuthorized", [&single, &long]),
        ("BatchIsAuthorized", [&batch.encode_to_vec(), &single]),
        ("StreamIsAuthorized", [&single, &long]),
    ] {
        let mut all = bodies(messages[0]);
        all.push([Bytes::from(framed(messages[1]))].into());
        for pieces in all {
            for further in [
                &[][..],
                &[("grpc-encoding", "gzip")],
                &[("grpc-encoding", "identity")],
            ] {
                let given = || Pieces::Given(pieces.clone());
                let short = send(&channel, method, given(), further)
                    .await
                    .expect("an answer");
                let headers = [further, &[("roster-actor", "ann")]].concat();
                let long = send(&channel, method, given(), &headers)
                    .await
                    .expect("an answer");
                let (short, long) = (told(short).await, told(long).await);
                assert_eq!(short, long, "{method} {pieces:?} {further:?}");
                assert!(short.status[0].is_some(), "{method} {pieces:?} {further:?}");
            }
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn nobody_is_answered_without_the_key_on_a_connection_where_it_was_sent() {
    let daemon = greenhouse().await;
    let channel = daemon.bare();
    let body = || Pieces::Given([Bytes::from(framed(&watering("ann").encode_to_vec()))].into());
    for _ in 0..3 {
        let right = send(&channel, "IsAuthorized", body(), &[])
            .await
            .expect("an answer");
        assert_eq!(told(right).await.status[0].as_deref(), Some("0"));
        // A second header of that name makes two.
        let two = [("authorization", "Bearer other")];
        for method in ["IsAuthorized", "BatchIsAuthorized", "StreamIsAuthorized"] {
            let wrong = send(&channel, method, body(), &two)
                .await
                .expect("an answer");
            assert_eq!(
                told(wrong).await.status[0].as_deref(),
                Some("16"),
                "{method}"
            );
        }
        let mut bare =
            v1::authorization_service_client::AuthorizationServiceClient::new(daemon.bare());
        let status = bare
            .is_authorized(watering("ann"))
            .await
            .expect_err("a refusal");
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
    daemon.stop().await;
}
