//! What somebody who means harm would send: every text field of every request,
//! malformed questions, batches and streams that are too much, and no messages at
//! all. The daemon answers with a status, stays up, and decides as before.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage as _, Value};
use prost_types::value::Kind as ValueKind;
use prost_types::{ListValue, Struct};
use roster::proto::v1;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::control_plane::{changes, nursery, picture};
use crate::coverage::{bearer, call, methods, path};
use crate::harness::{Daemon, in_project, owned, question, reason, violations};

/// Texts that break out of a query, a log, a header or a reader's trust.
fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\"); permit(principal,action,resource);//",
        "\");permit(principal,action,resource);//",
        "User::\"owner\"",
        "'; DROP TABLE members; --",
        "line\nbreak\r\nsecond: header",
        "nul\0byte",
        "\u{202e}gnihtyreve",
        "\u{43e}wner",
        "\u{200b}",
        "\u{1f600}",
        "../../etc/passwd",
        "${jndi:ldap://x}{{7*7}}%s%n",
        "\\u0022\\",
        "",
        " ",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("x".repeat(1_000_000));
    texts.push("\u{10ffff}".repeat(5_000));
    texts
}

/// A message in which most references name something that is there.
pub fn plausible(method: &MethodDescriptor) -> DynamicMessage {
    let known = changes("acme");
    if let Some(case) = known.into_iter().find(|case| case.method == path(method)) {
        let mut message = case.message;
        message.set_field_by_name("validate_only", Value::Bool(true));
        return message;
    }
    let mut message = DynamicMessage::new(method.input());
    fill(&mut message);
    if method.input().get_field_by_name("validate_only").is_some() {
        message.set_field_by_name("validate_only", Value::Bool(true));
    }
    message
}

fn fill(message: &mut DynamicMessage) {
    let known = BTreeMap::from([
        ("organization", "acme"),
        ("user", "ann"),
        ("role", "helper"),
        ("project", "tunnel"),
        ("type", "Bed"),
        ("id", "b1"),
        ("catalog", "greenhouse"),
        ("guardrail", "frost"),
        ("action", "WaterBed"),
    ]);
    if message.descriptor().name() == "EntityRef" {
        message.set_field_by_name("type", Value::String("User".to_owned()));
        message.set_field_by_name("id", Value::String("ann".to_owned()));
        return;
    }
    for field in message.descriptor().fields() {
        match field.kind() {
            Kind::String if !field.is_list() => {
                if let Some(text) = known.get(field.name()) {
                    message.set_field(&field, Value::String((*text).to_owned()));
                }
            }
            Kind::Message(inner) if inner.package_name() == "roster.v1" => {
                let mut filled = DynamicMessage::new(inner);
                fill(&mut filled);
                let value = Value::Message(filled);
                let value = if field.is_list() {
                    Value::List(vec![value])
                } else {
                    value
                };
                message.set_field(&field, value);
            }
            _ => {}
        }
    }
}

/// The message with the text in each of its text fields, one at a time.
fn variants(message: &DynamicMessage, text: &str) -> Vec<(String, DynamicMessage)> {
    let mut all = Vec::new();
    for field in message.descriptor().fields() {
        let name = field.name().to_owned();
        let with = |value: Value| {
            let mut changed = message.clone();
            changed.set_field(&field, value);
            changed
        };
        let text_value = || Value::String(text.to_owned());
        match field.kind() {
            Kind::String if field.is_list() => {
                all.push((format!("{name}[0]"), with(Value::List(vec![text_value()]))));
            }
            Kind::String => all.push((name, with(text_value()))),
            Kind::Message(inner) if inner.full_name() == "google.protobuf.Struct" => {
                let said = Struct {
                    fields: [(
                        text.to_owned(),
                        said(ValueKind::StringValue(text.to_owned())),
                    )]
                    .into(),
                };
                let bytes = said.encode_to_vec();
                let said = DynamicMessage::decode(inner, bytes.as_slice()).expect("a struct");
                all.push((name, with(Value::Message(said))));
            }
            Kind::Message(inner) if !field.is_map() => {
                let held = message.get_field(&field).into_owned();
                let inside = match &held {
                    Value::Message(inside) => inside.clone(),
                    Value::List(list) => list
                        .first()
                        .and_then(Value::as_message)
                        .cloned()
                        .unwrap_or_else(|| DynamicMessage::new(inner)),
                    _ => continue,
                };
                for (path, changed) in variants(&inside, text) {
                    let value = Value::Message(changed);
                    let value = if field.is_list() {
                        Value::List(vec![value])
                    } else {
                        value
                    };
                    all.push((format!("{name}.{path}"), with(value)));
                }
            }
            _ => {}
        }
    }
    all
}

fn said(kind: ValueKind) -> prost_types::Value {
    prost_types::Value { kind: Some(kind) }
}

/// What a daemon may answer to a bad request.
fn is_an_answer(code: Code) -> bool {
    matches!(
        code,
        Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

/// Questions whose answers nothing hostile may change.
async fn decisions(daemon: &Daemon) -> Vec<bool> {
    let mut all = Vec::new();
    for user in ["ann", "bea", "sue", "owner", "nobody"] {
        for action in ["ViewBed", "WaterBed", "HarvestBed", "ClearBed"] {
            for project in ["tunnel", "empty"] {
                let check = in_project(question("acme", user, action, "Bed", "x"), project);
                all.push(daemon.allows(check).await);
            }
        }
    }
    all
}

#[tokio::test]
async fn no_text_in_any_field_of_any_request_does_more_than_be_refused() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let (before, decided) = (picture(&daemon, "acme").await, decisions(&daemon).await);
    let revision = daemon
        .application
        .find("acme")
        .await
        .expect("it")
        .revision();
    let mut tried = 0;
    for method in methods()
        .iter()
        .filter(|method| !method.is_client_streaming())
    {
        for text in hostile_texts() {
            for (field, message) in variants(&plausible(method), &text) {
                tried += 1;
                let answer = call(
                    daemon.bare(),
                    &path(method),
                    message.encode_to_vec(),
                    &[&bearer()],
                )
                .await;
                let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
                let shown: String = text.chars().take(40).collect();
                let no_token = answer
                    .as_ref()
                    .is_err_and(|status| reason(status) == "TOKEN_INVALID");
                assert!(
                    is_an_answer(code) || no_token,
                    "{} {field} = {shown:?}: {answer:?}",
                    method.name()
                );
                if let Err(status) = answer {
                    assert!(
                        !reason(&status).is_empty(),
                        "{} {field}: {status:?}",
                        method.name()
                    );
                    assert!(status.message().len() <= 4_096, "{} {field}", method.name());
                    let control = status.message().chars().any(char::is_control);
                    assert!(!control, "{} {field}: {status:?}", method.name());
                }
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
    assert_eq!(
        daemon
            .application
            .find("acme")
            .await
            .expect("it")
            .revision(),
        revision
    );
    assert_eq!(picture(&daemon, "acme").await, before);
    assert_eq!(decisions(&daemon).await, decided);
    daemon.stop().await;
}

/// Ids that look like anything but an id, and are ones.
const ODD_IDS: [&str; 7] = [
    "\");permit(principal,action,resource);//",
    "User::\"owner\"",
    "__cedar::User",
    "\\\"\\u{0022}",
    "../..",
    "%00${x}{{y}}",
    "*",
];

async fn policies(daemon: &Daemon) -> BTreeMap<String, String> {
    let request = v1::ListPoliciesRequest {
        organization: "acme".to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = daemon.policies().list_policies(request).await;
    let listed = listed.expect("a list").into_inner().policies;
    listed
        .into_iter()
        .map(|policy| (policy.id, policy.cedar))
        .collect()
}

#[tokio::test]
async fn odd_ids_come_back_byte_for_byte_and_make_no_policy_but_their_roles() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let (decided, before) = (decisions(&daemon).await, policies(&daemon).await);
    for id in ODD_IDS {
        daemon.add("acme", id, &["gardener"]).await;
        daemon.project("acme", id).await;
        daemon.project_roles("acme", id, id, &["visitor"]).await;
        let resource = v1::RegisterResourceRequest {
            organization: "acme".to_owned(),
            r#type: "Bed".to_owned(),
            id: id.to_owned(),
            project: id.to_owned(),
            owner: id.to_owned(),
            request_id: id.to_owned(),
            ..Default::default()
        };
        let kept = daemon.resources().register_resource(resource).await;
        let kept = kept.expect(id).into_inner().resource.expect("it");
        assert_eq!(
            (kept.id.as_str(), kept.project.as_str(), kept.owner.as_str()),
            (id, id, id)
        );
        let member = v1::GetMemberRequest {
            organization: "acme".to_owned(),
            user: id.to_owned(),
            ..Default::default()
        };
        let member = daemon.members().get_member(member).await.expect(id);
        let member = member.into_inner().member.expect("it");
        assert_eq!(
            (
                member.user.as_str(),
                member.project_roles[0].project.as_str()
            ),
            (id, id)
        );
        // Its own bed it clears, another's it does not.
        assert!(
            daemon
                .allows(question("acme", id, "ClearBed", "Bed", id))
                .await
        );
        assert!(
            !daemon
                .allows(question("acme", id, "ClearBed", "Bed", "b1"))
                .await
        );
        assert!(
            !daemon
                .allows(question("acme", id, "BuySeeds", "Organization", "acme"))
                .await
        );
    }
    assert_eq!(policies(&daemon).await, before, "data makes no policies");
    assert_eq!(decisions(&daemon).await, decided);

    for (index, id) in ODD_IDS.iter().enumerate() {
        let count = policies(&daemon).await.len();
        let name = format!("\"); permit(principal, action, resource); // {index}");
        let role = v1::CreateRoleRequest {
            organization: "acme".to_owned(),
            role_id: (*id).to_owned(),
            display_name: name.clone(),
            description: format!("{name}\n{name}"),
            permissions: Some(v1::Permissions {
                actions: owned(&["BuySeeds"]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let role = daemon
            .roles()
            .create_role(role)
            .await
            .expect(id)
            .into_inner()
            .role
            .expect("it");
        assert_eq!((role.id.as_str(), &role.display_name), (*id, &name));
        let now = policies(&daemon).await;
        assert!(now.len() <= count + 2, "a role makes its own policies only");
        assert!(before.iter().all(|(id, text)| now.get(id) == Some(text)));
        for text in now.values() {
            assert_eq!(
                text.matches("permit").count() + text.matches("forbid").count()
                    - text.matches("permit(principal,action,resource)").count(),
                1,
                "{text}"
            );
        }
    }
    assert_eq!(decisions(&daemon).await, decided);
    daemon.stop().await;
}

#[tokio::test]
async fn names_that_people_may_have_come_back_byte_for_byte() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    for name in [
        "O'Neil \"Ops\"; permit(principal,action,resource);//",
        "\u{738b}\u{5c0f}\u{660e}",
        "e\u{301}",
        "\u{e9}",
        "<script>alert(1)</script>",
        "%s%n{}",
        "\u{1f600}",
    ] {
        let request = v1::UpdateMemberRequest {
            organization: "acme".to_owned(),
            user: "ann".to_owned(),
            display_name: name.to_owned(),
            ..Default::default()
        };
        let member = daemon.members().update_member(request).await.expect(name);
        assert_eq!(member.into_inner().member.expect("it").display_name, name);
    }
    daemon.stop().await;
}

fn nested(depth: usize) -> prost_types::Value {
    (0..depth).fold(said(ValueKind::BoolValue(true)), |inner, _| {
        said(ValueKind::ListValue(ListValue {
            values: vec![inner],
        }))
    })
}

#[tokio::test]
async fn attributes_and_context_are_refused_unless_they_fit_the_schema() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let number = |number: f64| said(ValueKind::NumberValue(number));
    let text = |text: &str| said(ValueKind::StringValue(text.to_owned()));
    let list = |values: Vec<prost_types::Value>| said(ValueKind::ListValue(ListValue { values }));
    let bad = [
        ("moisture", number(f64::NAN)),
        ("moisture", number(f64::INFINITY)),
        ("moisture", number(1e300)),
        ("moisture", number(0.5)),
        ("moisture", number(9.3e18)),
        ("moisture", text("1")),
        ("moisture", list(vec![number(1.0)])),
        ("crops", text("rose")),
        ("crops", list(vec![text("rose"), number(1.0)])),
        ("tended_by", list(vec![text("a b")])),
        ("frozen", said(ValueKind::StructValue(Struct::default()))),
        ("frozen", nested(20)),
        ("colour", text("red")),
        ("\"); permit(principal,action,resource);//", text("x")),
        ("owner", text("ann")),
    ];
    for (name, value) in bad {
        let mut asked = question("acme", "ann", "WaterBed", "Bed", "b9");
        let given = Struct {
            fields: [(name.to_owned(), value)].into(),
        };
        asked.resource.get_or_insert_default().attributes = Some(given.clone());
        let refused = daemon.authorization().is_authorized(asked.clone()).await;
        let refused = refused.expect_err(name);
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused:?}");
        assert!(
            violations(&refused)
                .iter()
                .all(|(_, kind)| kind == "ATTRIBUTE"),
            "{refused:?}"
        );
        asked.resource.get_or_insert_default().attributes = None;
        asked.context = Some(given);
        let refused = daemon.authorization().is_authorized(asked).await;
        assert_eq!(refused.expect_err(name).code(), Code::InvalidArgument);
    }
    let many = (0..20_000)
        .map(|index| text(&format!("crop-{index}")))
        .collect();
    let mut asked = question("acme", "ann", "WaterBed", "Bed", "b9");
    asked.resource.get_or_insert_default().attributes = Some(Struct {
        fields: [("crops".to_owned(), list(many))].into(),
    });
    let answered = daemon.authorization().is_authorized(asked).await;
    let code = answered.as_ref().err().map_or(Code::Ok, Status::code);
    assert!(is_an_answer(code), "{answered:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_with_a_thousand_faults_is_still_answered_with_a_status() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let long = "\u{e9}".repeat(200);
    let permissions = Some(v1::Permissions {
        actions: vec![long.clone(); 4_096],
        own_actions: vec![long.clone(); 4_096],
        ..Default::default()
    });
    let role = v1::CreateRoleRequest {
        organization: "acme".to_owned(),
        display_name: "R".to_owned(),
        permissions,
        ..Default::default()
    };
    let refused = daemon.roles().create_role(role).await.expect_err("refused");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "INVALID"),
        "{refused:?}"
    );
    assert!(
        refused.message().contains("at least 100 fault(s)"),
        "{}",
        refused.message()
    );
    assert!(violations(&refused).len() > 10, "{refused:?}");

    let mask = prost_types::FieldMask {
        paths: vec![long.clone(); 5_000],
    };
    let edit = v1::UpdateMemberRequest {
        organization: "acme".to_owned(),
        user: "ann".to_owned(),
        update_mask: Some(mask),
        ..Default::default()
    };
    let refused = daemon
        .members()
        .update_member(edit)
        .await
        .expect_err("refused");
    assert_eq!(reason(&refused), "INVALID", "{refused:?}");

    let fields = (0..5_000).map(|index| (format!("{long}{index}"), said(ValueKind::NullValue(0))));
    let mut asked = question("acme", "ann", "WaterBed", "Bed", "b9");
    asked.context = Some(Struct {
        fields: fields.collect(),
    });
    let refused = daemon
        .authorization()
        .is_authorized(asked)
        .await
        .expect_err("refused");
    assert_eq!(reason(&refused), "INVALID", "{refused:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_refusal_that_lists_long_ids_is_still_answered_with_a_status() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let project = "%".repeat(128);
    daemon.project("acme", &project).await;
    for number in 0..25 {
        let user = format!("{number:%>128}");
        daemon.add("acme", &user, &[]).await;
        daemon
            .project_roles("acme", &project, &user, &["helper"])
            .await;
    }
    let delete = v1::DeleteRoleRequest {
        organization: "acme".to_owned(),
        role: "helper".to_owned(),
        ..Default::default()
    };
    let refused = daemon
        .roles()
        .delete_role(delete)
        .await
        .expect_err("refused");
    assert_eq!(reason(&refused), "ROLE_IN_USE", "{refused:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_question_is_told_everything_that_is_wrong_with_it_at_once() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let ask = async |request: v1::IsAuthorizedRequest| {
        let refused = daemon.authorization().is_authorized(request).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        violations(&refused)
            .into_iter()
            .map(|(field, kind)| format!("{field} {kind}"))
            .collect::<Vec<_>>()
    };
    let empty = v1::IsAuthorizedRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        ask(empty).await,
        [
            "principal.id MISSING",
            "principal.type MISSING",
            "action MISSING",
            "resource.id MISSING",
            "resource.type MISSING"
        ]
    );
    let mut wrong = question("acme", "a b", "Fly", "Rose", "a\nb");
    wrong.principal.get_or_insert_default().r#type = "Robot".to_owned();
    assert_eq!(
        ask(wrong).await,
        [
            "principal.id MALFORMED",
            "principal.type UNKNOWN_REFERENCE",
            "action UNKNOWN_ACTION",
            "resource.id MALFORMED",
            "resource.type UNKNOWN_RESOURCE_TYPE"
        ]
    );
    assert_eq!(
        ask(question("acme", "ann", "BuySeeds", "Bed", "b")).await,
        ["resource.type ACTION_DOES_NOT_APPLY"]
    );
    assert_eq!(
        ask(question("acme", "ann", "ReadSensor", "Sensor", "s")).await,
        ["resource.attributes.address ATTRIBUTE"]
    );
    assert_eq!(
        ask(in_project(
            question("acme", "ann", "ViewBed", "Bed", "b"),
            "nowhere"
        ))
        .await,
        ["resource.project UNKNOWN_REFERENCE"]
    );
    assert_eq!(
        ask(question("acme", "ann", "BuySeeds", "Organization", "other")).await,
        ["resource.id UNKNOWN_REFERENCE"]
    );
    let long = v1::IsAuthorizedRequest {
        correlation_id: "c".repeat(129),
        ..question("acme", "ann", "ViewBed", "Bed", "b")
    };
    assert_eq!(ask(long).await, ["correlation_id TOO_MANY"]);
    daemon.stop().await;
}

/// Requests of which each fails in another way, and some that do not.
fn mixed() -> Vec<v1::IsAuthorizedRequest> {
    let good = in_project(question("acme", "ann", "ViewBed", "Bed", "b"), "tunnel");
    let late = v1::IsAuthorizedRequest {
        at_least: "soon".to_owned(),
        ..good.clone()
    };
    let named = |id: &str| v1::IsAuthorizedRequest {
        correlation_id: id.to_owned(),
        ..good.clone()
    };
    vec![
        named("one"),
        question("nowhere", "ann", "ViewBed", "Bed", "b"),
        question("acme", "ann", "Fly", "Bed", "b"),
        question("", "ann", "ViewBed", "Bed", "b"),
        late,
        question("acme", "nobody", "ViewBed", "Bed", "b"),
        named("two"),
    ]
}

#[tokio::test]
async fn items_of_a_batch_fail_one_by_one_with_the_status_of_a_single_call() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let batch = v1::BatchIsAuthorizedRequest {
        requests: mixed(),
        at_least: String::new(),
    };
    let batch = daemon
        .authorization()
        .batch_is_authorized(batch)
        .await
        .expect("a batch")
        .into_inner();
    assert_eq!(batch.items.len(), mixed().len());
    for (request, item) in mixed().into_iter().zip(batch.items) {
        let single = daemon.authorization().is_authorized(request).await;
        match (single, item.result.expect("a result")) {
            (Ok(single), v1::batch_item::Result::Response(response)) => {
                assert_eq!(response, single.into_inner());
            }
            (Err(single), v1::batch_item::Result::Status(status)) => {
                let whole = tonic_types::pb::Status::decode(single.details()).expect("a status");
                assert_eq!(status, whole);
                assert_eq!(
                    (status.code, status.message.as_str()),
                    (single.code().into(), single.message())
                );
            }
            (single, item) => panic!("{single:?} but {item:?}"),
        }
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_holds_ten_thousand_requests_and_no_more() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let requests: Vec<_> = (0..10_001)
        .map(|number| v1::IsAuthorizedRequest {
            correlation_id: number.to_string(),
            ..question("acme", ["ann", "bea"][number % 2], "WaterBed", "Bed", "b9")
        })
        .collect();
    let send = async |requests: &[v1::IsAuthorizedRequest]| {
        let requests = requests.to_vec();
        let batch = v1::BatchIsAuthorizedRequest {
            requests,
            at_least: String::new(),
        };
        daemon.authorization().batch_is_authorized(batch).await
    };
    let refused = send(&requests).await.expect_err("too many");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "BATCH_TOO_LARGE")
    );

    let writer = async {
        for number in 0..40 {
            daemon.add("acme", &format!("m{number}"), &[]).await;
        }
    };
    let (answered, ()) = tokio::join!(send(&requests[1..]), writer);
    let answered = answered.expect("a batch").into_inner();
    assert_eq!(answered.items.len(), 10_000);
    let mut revisions = std::collections::BTreeSet::new();
    for (number, item) in (1..).zip(answered.items) {
        let Some(v1::batch_item::Result::Response(response)) = item.result else {
            panic!("an item failed: {item:?}");
        };
        assert_eq!(response.correlation_id, number.to_string());
        let expected = if number % 2 == 0 {
            v1::Decision::Allow
        } else {
            v1::Decision::Deny
        };
        assert_eq!(response.decision(), expected, "{number}");
        revisions.insert(response.revision);
    }
    assert_eq!(revisions.len(), 1, "one single state");
    let none = send(&[]).await.expect("an empty batch").into_inner();
    assert!(none.items.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn a_stream_answers_in_order_and_ends_on_the_first_bad_request() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let named = |number: usize| v1::IsAuthorizedRequest {
        correlation_id: number.to_string(),
        ..question("acme", "ann", "WaterBed", "Bed", "b9")
    };
    let mut requests: Vec<_> = (0..100).map(named).collect();
    let bad = question("acme", "ann", "Fly", "Bed", "b9");
    requests.push(bad.clone());
    requests.extend((101..110).map(named));
    let answers = daemon
        .authorization()
        .stream_is_authorized(tokio_stream::iter(requests))
        .await;
    let mut answers = answers.expect("a stream").into_inner();
    for number in 0..100 {
        let answer = answers
            .next()
            .await
            .expect("an answer")
            .expect("a decision");
        assert_eq!(answer.correlation_id, number.to_string());
        assert_eq!(answer.decision(), v1::Decision::Allow);
    }
    let last = answers
        .next()
        .await
        .expect("an end")
        .expect_err("the bad request");
    let single = daemon
        .authorization()
        .is_authorized(bad)
        .await
        .expect_err("refused");
    assert_eq!(
        (last.code(), last.message(), last.details()),
        (single.code(), single.message(), single.details())
    );
    assert!(answers.next().await.is_none());
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_lives_on() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let before = picture(&daemon, "acme").await;
    let mut deep = vec![0x0a, 0x00];
    for _ in 0..200 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.append(&mut deep);
        deep = outer;
    }
    let garbage: [Vec<u8>; 6] = [
        vec![0xff; 64],
        vec![0x0a, 0x7f, b'x'],
        vec![0x0a, 0x02, 0xc3, 0x28],
        (0..=255).collect(),
        vec![0x0b],
        deep,
    ];
    for method in methods() {
        for bytes in &garbage {
            let answer = call(daemon.bare(), &path(&method), bytes.clone(), &[&bearer()]).await;
            // INTERNAL is what gRPC prescribes for a message that can't be parsed; one
            // of unknown fields only is an empty one.
            let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
            let refused = code == Code::Internal || is_an_answer(code);
            assert!(refused, "{}: {answer:?}", method.full_name());
        }
    }
    let path = "/roster.v1.MemberService/AddMember";
    let large = call(daemon.bare(), path, vec![b'x'; 5_000_000], &[&bearer()]).await;
    let large = large.expect_err("too large");
    assert!(
        matches!(large.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{large:?}"
    );
    assert_eq!(picture(&daemon, "acme").await, before);
    daemon.stop().await;
}
