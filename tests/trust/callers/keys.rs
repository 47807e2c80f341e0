//! The life of a caller's key: made, given a new secret, revoked, and never forgotten.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::store::sled::{OpenOptions, SledStore};
use roster::store::{Sequence, Store};
use roster::transport::identities::Identities;
use roster::world::World as _;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::stage::{Stage, bearer, call, later};
use crate::harness::{KEY, NOW, reason};
use crate::raw::Raw;

const CHECK: &str = "/roster.v1.AuthorizationService/IsAuthorized";
/// How long what must end may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn new(name: &str, scope: v1::CallerScope) -> v1::CreateCallerKeyRequest {
    v1::CreateCallerKeyRequest {
        name: name.to_owned(),
        scopes: vec![scope.into()],
        ..Default::default()
    }
}

/// Calls OperatorService with the operator's key.
async fn operate<Answer: prost::Message + Default>(
    stage: &Stage,
    method: &str,
    request: &impl prost::Message,
) -> Result<Answer, Status> {
    let path = format!("/roster.v1.OperatorService/{method}");
    let (channel, operator) = (stage.plain().await, bearer(KEY));
    let answer = call(channel, &path, request.encode_to_vec(), &[&operator], None).await?;
    Ok(Answer::decode(answer).expect("an answer"))
}

async fn create(
    stage: &Stage,
    request: &v1::CreateCallerKeyRequest,
) -> Result<v1::CreateCallerKeyResponse, Status> {
    operate(stage, "CreateCallerKey", request).await
}

async fn rotate(
    stage: &Stage,
    request: &v1::RotateCallerKeyRequest,
) -> Result<v1::RotateCallerKeyResponse, Status> {
    operate(stage, "RotateCallerKey", request).await
}

async fn revoke(stage: &Stage, key: &str) -> Result<v1::RevokeCallerKeyResponse, Status> {
    let request = v1::RevokeCallerKeyRequest {
        key: key.to_owned(),
        ..Default::default()
    };
    operate(stage, "RevokeCallerKey", &request).await
}

async fn list(stage: &Stage) -> Vec<v1::CallerKey> {
    let mut request = v1::ListCallerKeysRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut keys = Vec::new();
    loop {
        let page: v1::ListCallerKeysResponse = operate(stage, "ListCallerKeys", &request)
            .await
            .expect("a page");
        keys.extend(page.keys);
        if page.next_page_token.is_empty() {
            return keys;
        }
        request.page_token = page.next_page_token;
    }
}

/// Whether whoever sends that is recognised; the organization is not there.
async fn counts(channel: &Channel, authorization: &str) -> bool {
    let message = v1::IsAuthorizedRequest {
        organization: "nowhere".to_owned(),
        ..Default::default()
    };
    let message = message.encode_to_vec();
    let refused = call(channel.clone(), CHECK, message, &[authorization], None).await;
    match refused.expect_err("there is no such organization").code() {
        Code::NotFound => true,
        Code::Unauthenticated => false,
        other => panic!("{other:?}"),
    }
}

fn is(refused: Status, code: Code, name: &str) {
    assert_eq!((refused.code(), reason(&refused).as_str()), (code, name));
}

/// The history of the whole daemon after a commit.
fn history(store: &dyn Store, after: u64) -> Vec<roster::store::HistoryEntry> {
    store.history(Sequence(after), 1_000).expect("the history")
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let stage = Stage::on(Arc::clone(&store)).await;
    let request = v1::CreateCallerKeyRequest {
        request_id: "once".to_owned(),
        ..new("checkout", v1::CallerScope::Check)
    };
    let validated = v1::CreateCallerKeyRequest {
        validate_only: true,
        ..request.clone()
    };
    let only_validated = create(&stage, &validated).await.expect("it is sound");
    assert_eq!(only_validated.secret, "");
    assert!(history(&*store, 0).is_empty());

    let created = create(&stage, &request).await.expect("a key");
    let key = created.key.expect("a key");
    assert!(created.secret.starts_with("roster_caller_"));
    assert!(created.secret.len() > 90 && created.secret.is_ascii());
    assert_eq!(
        (key.name.as_str(), key.created_by.as_str()),
        ("checkout", "operator")
    );
    assert_eq!(key.status(), v1::CallerKeyStatus::Active);
    assert!(counts(&stage.plain().await, &bearer(&created.secret)).await);

    let again = create(&stage, &request).await.expect("the same answer");
    assert_eq!(
        (again.secret.as_str(), again.revision),
        ("", created.revision)
    );
    assert_eq!(again.key, Some(key.clone()));
    let other = v1::CreateCallerKeyRequest {
        name: "other".to_owned(),
        ..request
    };
    is(
        create(&stage, &other).await.expect_err("another"),
        Code::Aborted,
        "REQUEST_ID_REUSED",
    );

    // One commit with one event, in which there is no secret.
    let history = history(&*store, 0);
    assert_eq!(history.len(), 2, "the key, and the refusal: {history:?}");
    let events: Vec<_> = history.iter().flat_map(|entry| &entry.events).collect();
    assert_eq!(events[0].action, "CreateCallerKey");
    assert_eq!(events[0].target_id, key.id);
    assert_eq!(
        (events[0].caller.as_str(), events[0].refusal.as_str()),
        ("operator", "")
    );
    assert_eq!(events[1].refusal, "REQUEST_ID_REUSED");
    let random = &created.secret[created.secret.len() - 47..];
    assert!(!format!("{history:?}").contains(random));
    stage.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_new_key_is_told_at_once() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    let wrong = v1::CreateCallerKeyRequest {
        name: "two words".to_owned(),
        organizations: vec!["a".to_owned(), String::new()],
        expire_time: Some(prost_types::Timestamp {
            seconds: NOW.0 / 1_000,
            nanos: 0,
        }),
        ..Default::default()
    };
    let refused = create(&stage, &wrong).await.expect_err("refused");
    let fields: Vec<String> = crate::harness::violations(&refused)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(
        fields,
        ["name", "scopes", "organizations[1]", "expire_time"]
    );
    for name in ["operator", "roster"] {
        let refused = create(&stage, &new(name, v1::CallerScope::Check)).await;
        let violations = crate::harness::violations(&refused.expect_err(name));
        assert_eq!(violations[0].1, "RESERVED_NAME");
    }
    let many = v1::CreateCallerKeyRequest {
        organizations: (0..101).map(|index| format!("o{index}")).collect(),
        ..new("many", v1::CallerScope::Check)
    };
    is(
        create(&stage, &many).await.expect_err("many"),
        Code::InvalidArgument,
        "INVALID",
    );
    let unspecified = new("x", v1::CallerScope::Unspecified);
    is(
        create(&stage, &unspecified).await.expect_err("x"),
        Code::InvalidArgument,
        "INVALID",
    );
    assert!(list(&stage).await.is_empty());
    stage.stop().await;
}

#[tokio::test]
async fn a_rotation_lets_the_secret_before_go_when_it_says() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    let created = create(&stage, &new("a", v1::CallerScope::Check))
        .await
        .expect("a key");
    let (key, first) = (created.key.unwrap(), bearer(&created.secret));
    let rotation = v1::RotateCallerKeyRequest {
        key: key.id.clone(),
        overlap: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        etag: key.etag.clone(),
        ..Default::default()
    };
    let rotated = rotate(&stage, &rotation).await.expect("a new secret");
    let (second, channel) = (bearer(&rotated.secret), stage.plain().await);
    assert!(counts(&channel, &first).await && counts(&channel, &second).await);
    is(
        rotate(&stage, &rotation).await.expect_err("stale"),
        Code::Aborted,
        "STALE_ETAG",
    );

    stage.world.set(later(59_999));
    assert!(counts(&channel, &first).await);
    stage.world.set(later(60_000));
    assert!(!counts(&channel, &first).await, "the overlap is over");
    assert!(counts(&channel, &second).await);

    // Without an overlap at once, and of three secrets the oldest never.
    let at_once = v1::RotateCallerKeyRequest {
        key: key.id.clone(),
        ..Default::default()
    };
    let third = rotate(&stage, &at_once).await.expect("a new secret").secret;
    assert!(!counts(&channel, &second).await && counts(&channel, &bearer(&third)).await);
    for (seconds, code) in [
        (-1, Code::InvalidArgument),
        (31 * 86_400, Code::InvalidArgument),
    ] {
        let wrong = v1::RotateCallerKeyRequest {
            overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..at_once.clone()
        };
        is(
            rotate(&stage, &wrong).await.expect_err("overlap"),
            code,
            "INVALID",
        );
    }
    let unknown = v1::RotateCallerKeyRequest {
        key: "key-none".to_owned(),
        ..at_once
    };
    is(
        rotate(&stage, &unknown).await.expect_err("unknown"),
        Code::NotFound,
        "NOT_FOUND",
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_or_has_ended_is_refused_at_the_next_request() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    let ending = v1::CreateCallerKeyRequest {
        expire_time: Some(prost_types::Timestamp {
            seconds: NOW.0 / 1_000 + 60,
            nanos: 0,
        }),
        ..new("ending", v1::CallerScope::Check)
    };
    let (_, ending) = stage.key(ending).await;
    let (key, revoked) = stage.key(new("revoked", v1::CallerScope::Check)).await;
    let (_, other) = stage.key(new("other", v1::CallerScope::Check)).await;
    // Each on a connection on which it is remembered.
    let channels = [
        stage.plain().await,
        stage.plain().await,
        stage.plain().await,
    ];
    for (channel, key) in channels.iter().zip([&ending, &revoked, &other]) {
        assert!(counts(channel, key).await && counts(channel, key).await);
    }

    revoke(&stage, &key.id).await.expect("it is revoked");
    assert!(!counts(&channels[1], &revoked).await);
    assert!(!counts(&stage.plain().await, &revoked).await);
    assert!(counts(&channels[0], &ending).await && counts(&channels[2], &other).await);
    is(
        revoke(&stage, &key.id).await.expect_err("again"),
        Code::FailedPrecondition,
        "TOKEN_STATUS",
    );

    stage.world.set(later(60_000));
    assert!(!counts(&channels[0], &ending).await);
    assert!(counts(&channels[2], &other).await);
    let statuses: Vec<_> = list(&stage)
        .await
        .iter()
        .map(v1::CallerKey::status)
        .collect();
    assert_eq!(statuses.len(), 3);
    for status in [
        v1::CallerKeyStatus::Expired,
        v1::CallerKeyStatus::Revoked,
        v1::CallerKeyStatus::Active,
    ] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    // What comes close is as unknown as anything.
    let cut = &other[..other.len() - 1];
    let changed = other.replace("roster_caller_", "roster_caller_0");
    for wrong in [cut, &changed, &format!("{other}x"), "Bearer roster_caller_"] {
        assert!(!counts(&channels[2], wrong).await, "{wrong}");
    }
    stage.stop().await;
}

/// A stream of checks by somebody, and what asks on it.
async fn stream(
    channel: Channel,
    path: &'static str,
    authorization: &str,
) -> (mpsc::Sender<Bytes>, tonic::Streaming<Bytes>) {
    let (asking, asked) = mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(asked));
    let key = authorization.parse().expect("a header value");
    request.metadata_mut().insert("authorization", key);
    let mut client = Grpc::new(channel);
    client.ready().await.expect("a connection");
    let path = path.parse().expect("a path");
    let answers = client
        .streaming(request, path, Raw)
        .await
        .expect("a stream");
    (asking, answers.into_inner())
}

const STREAM: &str = "/roster.v1.AuthorizationService/StreamIsAuthorized";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Something to ask on a stream: of checks, or of reflection.
fn asked_on(path: &str) -> Bytes {
    if path == REFLECTION {
        // ServerReflectionRequest { list_services: "*" }
        return vec![0x3a, 1, b'*'].into();
    }
    let check = crate::harness::question("acme", "owner", "BuySeeds", "Organization", "acme");
    check.encode_to_vec().into()
}

async fn found(stage: &Stage) {
    let founding = v1::CreateOrganizationRequest {
        organization_id: "acme".to_owned(),
        display_name: "Acme".to_owned(),
        catalog: "greenhouse".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    let path = "/roster.v1.OrganizationService/CreateOrganization";
    let (channel, operator) = (stage.plain().await, bearer(KEY));
    let founded = call(channel, path, founding.encode_to_vec(), &[&operator], None).await;
    founded.expect("the organization is founded");
}

#[tokio::test]
async fn a_stream_ends_when_its_caller_is_revoked_and_others_go_on() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    found(&stage).await;
    for path in [STREAM, REFLECTION] {
        let (key, revoked) = stage.key(new("revoked", v1::CallerScope::Check)).await;
        let (_, other) = stage.key(new("other", v1::CallerScope::Check)).await;
        let (asking, mut answers) = stream(stage.plain().await, path, &revoked).await;
        let (asking_too, mut answers_too) = stream(stage.plain().await, path, &other).await;
        for (asking, answers) in [(&asking, &mut answers), (&asking_too, &mut answers_too)] {
            asking.send(asked_on(path)).await.expect("it is open");
            answers.next().await.expect("a message").expect("an answer");
        }

        revoke(&stage, &key.id).await.expect("it is revoked");

        // It ends by itself, though nothing is asked.
        let last = tokio::time::timeout(PATIENCE, answers.next()).await;
        let last = last.expect("it ends").expect("a message");
        let last = last.expect_err("the end");
        is(last, Code::Unauthenticated, "UNAUTHENTICATED");
        asking_too.send(asked_on(path)).await.expect("it is open");
        let more = answers_too.next().await.expect("a message");
        more.expect("the other goes on");
        drop((asking, asking_too));
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_the_time_of_its_caller_is_over() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    found(&stage).await;
    let ending = v1::CreateCallerKeyRequest {
        expire_time: Some(prost_types::Timestamp {
            seconds: NOW.0 / 1_000 + 1,
            nanos: 0,
        }),
        ..new("ending", v1::CallerScope::Check)
    };
    let (_, ending) = stage.key(ending).await;
    let (asking, mut answers) = stream(stage.plain().await, STREAM, &ending).await;
    asking.send(asked_on(STREAM)).await.expect("it is open");
    answers.next().await.expect("a message").expect("an answer");
    stage.world.set(later(1_000));
    let last = tokio::time::timeout(PATIENCE, answers.next())
        .await
        .expect("it ends");
    let last = last.expect("a message").expect_err("the end");
    is(last, Code::Unauthenticated, "UNAUTHENTICATED");
    stage.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_while_callers_who_are_somebody_else_change() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    found(&stage).await;
    let (asking, mut answers) = stream(stage.plain().await, STREAM, &bearer(KEY)).await;
    for _ in 0..20 {
        stage.know(Identities::default());
        asking.send(asked_on(STREAM)).await.expect("it is open");
        answers.next().await.expect("a message").expect("an answer");
    }
    drop(asking);
    assert!(answers.next().await.is_none());
    stage.stop().await;
}

#[tokio::test]
async fn a_key_that_ends_itself_is_told_that_it_did() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    let (key, own) = stage.key(new("staff", v1::CallerScope::Operate)).await;
    let channel = stage.plain().await;
    let rotation = v1::RotateCallerKeyRequest {
        key: key.id.clone(),
        ..Default::default()
    };
    let path = "/roster.v1.OperatorService/RotateCallerKey";
    let message = rotation.encode_to_vec();
    let rotated = call(channel.clone(), path, message.clone(), &[&own], None).await;
    let rotated = v1::RotateCallerKeyResponse::decode(rotated.expect("an answer")).unwrap();
    let next = bearer(&rotated.secret);
    let refused = call(channel.clone(), path, message, &[&own], None).await;
    is(
        refused.expect_err("it has ended"),
        Code::Unauthenticated,
        "UNAUTHENTICATED",
    );
    let revocation = v1::RevokeCallerKeyRequest {
        key: key.id,
        ..Default::default()
    };
    let path = "/roster.v1.OperatorService/RevokeCallerKey";
    let message = revocation.encode_to_vec();
    let revoked = call(channel.clone(), path, message.clone(), &[&next], None).await;
    revoked.expect("an answer");
    let refused = call(channel, path, message, &[&next], None).await;
    is(
        refused.expect_err("it has ended"),
        Code::Unauthenticated,
        "UNAUTHENTICATED",
    );
    stage.stop().await;
}

#[tokio::test]
async fn keys_are_for_operators_who_are_bound_to_nothing() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    let path = "/roster.v1.OperatorService/ListCallerKeys";
    let operator = bearer(KEY);
    let refused = call(stage.plain().await, path, vec![], &[&operator], Some("ann")).await;
    is(
        refused.expect_err("an actor"),
        Code::PermissionDenied,
        "OPERATOR_ONLY",
    );
    let bound = v1::CreateCallerKeyRequest {
        organizations: vec!["acme".to_owned()],
        ..new("bound", v1::CallerScope::Operate)
    };
    let (_, bound) = stage.key(bound).await;
    let refused = call(stage.plain().await, path, vec![], &[&bound], None).await;
    is(
        refused.expect_err("bound"),
        Code::PermissionDenied,
        "FOREIGN_ORGANIZATION",
    );
    let (_, unbound) = stage.key(new("staff", v1::CallerScope::Operate)).await;
    let message = new("made-by-staff", v1::CallerScope::Check).encode_to_vec();
    let path = "/roster.v1.OperatorService/CreateCallerKey";
    let created = call(stage.plain().await, path, message, &[&unbound], None).await;
    let created = v1::CreateCallerKeyResponse::decode(created.expect("a key")).unwrap();
    assert_eq!(created.key.unwrap().created_by, "staff");
    stage.stop().await;
}

fn open(directory: &std::path::Path) -> Arc<dyn Store> {
    let options = OpenOptions {
        minimum_free_bytes: Some(0),
        ..OpenOptions::default()
    };
    Arc::new(SledStore::open(directory, options).expect("it opens"))
}

#[tokio::test]
async fn keys_survive_a_restart_and_the_loss_of_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage::on(open(directory.path())).await;
    let (kept, kept_secret) = stage.key(new("kept", v1::CallerScope::Check)).await;
    let (revoked, revoked_secret) = stage.key(new("revoked", v1::CallerScope::Check)).await;
    revoke(&stage, &revoked.id).await.expect("it is revoked");
    let before = list(&stage).await;
    stage.stop().await;

    let stage = Stage::on(open(directory.path())).await;
    // This world would draw again what the one before drew.
    for _ in 0..1_000 {
        let _ = stage.world.random();
    }
    assert_eq!(list(&stage).await, before);
    let channel = stage.plain().await;
    assert!(counts(&channel, &kept_secret).await);
    assert!(!counts(&channel, &revoked_secret).await);
    let rotation = v1::RotateCallerKeyRequest {
        key: kept.id.clone(),
        etag: kept.etag,
        ..Default::default()
    };
    let rotated = rotate(&stage, &rotation)
        .await
        .expect("a new secret")
        .secret;
    let before = list(&stage).await;
    stage.stop().await;

    // What the journal says is all there is to it.
    std::fs::remove_dir_all(directory.path().join("sled")).expect("the database goes");
    let stage = Stage::on(open(directory.path())).await;
    assert_eq!(list(&stage).await, before);
    let channel = stage.plain().await;
    assert!(counts(&channel, &bearer(&rotated)).await);
    assert!(!counts(&channel, &kept_secret).await);
    stage.stop().await;
}
