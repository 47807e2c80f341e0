//! Why: every reason an answer can give, produced by a question.

use std::collections::BTreeSet;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use roster::proto::v1;
use v1::ReasonCode;

use crate::harness::{Daemon, NOW, in_project, owned, owned_by, question};

const ACME: &str = "acme";

/// What an answer must say.
struct Expected {
    code: ReasonCode,
    role: &'static str,
    project: &'static str,
    /// Whether a policy decided, rather than the want of one.
    by_policy: bool,
}

/// A nursery in which somebody stands for each reason.
async fn nursery() -> Daemon {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "greenhouse").await;
    for project in ["north", "south"] {
        daemon.project(ACME, project).await;
    }
    daemon.add(ACME, "gina", &["gardener"]).await;
    daemon.add(ACME, "hugo", &["head-gardener"]).await;
    daemon.add(ACME, "norman", &[]).await;
    daemon.add(ACME, "sue", &["gardener"]).await;
    daemon.add(ACME, "paul", &[]).await;
    daemon
        .project_roles(ACME, "north", "paul", &["gardener"])
        .await;
    let later = v1::Period {
        not_before: Some(prost_types::Timestamp {
            seconds: NOW.0 / 1_000 + 1,
            nanos: 0,
        }),
        expires_at: None,
    };
    daemon
        .members()
        .add_member(v1::AddMemberRequest {
            organization: ACME.to_owned(),
            user: "later".to_owned(),
            roles: owned(&["gardener"]),
            period: Some(later),
            ..Default::default()
        })
        .await
        .expect("the member is added");
    replace(&daemon, "north", "gina", &[], &["ViewBed"]).await;
    replace(&daemon, "south", "hugo", &["gardener"], &[]).await;
    daemon
        .members()
        .suspend_member(v1::SuspendMemberRequest {
            organization: ACME.to_owned(),
            user: "sue".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the member is suspended");
    for (id, text) in [
        (
            "calm",
            r#"forbid (principal == User::"norman", action == Action::"ReadSensor", resource);"#,
        ),
        (
            "shop",
            r#"permit (principal == User::"norman", action == Action::"BuySeeds", resource);"#,
        ),
    ] {
        daemon
            .policies()
            .create_guardrail(v1::CreateGuardrailRequest {
                organization: ACME.to_owned(),
                guardrail_id: id.to_owned(),
                text: text.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the guardrail is created");
    }
    daemon
}

async fn replace(daemon: &Daemon, project: &str, user: &str, roles: &[&str], actions: &[&str]) {
    daemon
        .projects()
        .set_project_override(v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: project.to_owned(),
            user: user.to_owned(),
            roles: owned(roles),
            permissions: Some(v1::Permissions {
                actions: owned(actions),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .expect("the override is set");
}

fn bed(user: &str, action: &str) -> v1::IsAuthorizedRequest {
    question(ACME, user, action, "Bed", "roses")
}

fn here(user: &str, action: &str) -> v1::IsAuthorizedRequest {
    question(ACME, user, action, "Organization", ACME)
}

fn with(mut question: v1::IsAuthorizedRequest, name: &str, kind: Kind) -> v1::IsAuthorizedRequest {
    let attributes = question
        .resource
        .get_or_insert_default()
        .attributes
        .get_or_insert_with(Struct::default);
    let value = Value { kind: Some(kind) };
    attributes.fields.insert(name.to_owned(), value);
    question
}

fn tended_by(question: v1::IsAuthorizedRequest, user: &str) -> v1::IsAuthorizedRequest {
    let user = Value {
        kind: Some(Kind::StringValue(user.to_owned())),
    };
    let users = ListValue { values: vec![user] };
    with(question, "tended_by", Kind::ListValue(users))
}

fn codes(answer: &v1::IsAuthorizedResponse) -> Vec<ReasonCode> {
    answer.reasons.iter().map(v1::Reason::code).collect()
}

/// A question for each reason, with what has to be answered first.
fn questions() -> Vec<(v1::IsAuthorizedRequest, Expected)> {
    let lacking = |code, project| Expected {
        code,
        role: "",
        project,
        by_policy: false,
    };
    let decided = |code, role, project| Expected {
        code,
        role,
        project,
        by_policy: true,
    };
    let leave = question(ACME, "norman", "LeaveOrganization", "Member", "norman");
    let too_wet_to_compute = with(
        bed("owner", "HarvestBed"),
        "moisture",
        Kind::NumberValue(9_007_199_254_740_991.0),
    );
    let sensor = with(
        question(ACME, "norman", "ReadSensor", "Sensor", "gate"),
        "address",
        Kind::StringValue("::1".to_owned()),
    );
    vec![
        (
            bed("stranger", "ViewBed"),
            lacking(ReasonCode::NotAMember, ""),
        ),
        (
            bed("sue", "WaterBed"),
            decided(ReasonCode::Suspended, "", ""),
        ),
        (bed("norman", "ViewBed"), lacking(ReasonCode::NoGrant, "")),
        (
            in_project(bed("gina", "WaterBed"), "north"),
            lacking(ReasonCode::OverrideDenies, "north"),
        ),
        (
            owned_by(bed("gina", "ClearBed"), "hugo"),
            lacking(ReasonCode::NotOwnerOfResource, ""),
        ),
        (
            in_project(
                tended_by(owned_by(bed("paul", "HarvestBed"), "paul"), "gina"),
                "south",
            ),
            lacking(ReasonCode::NoGrant, ""),
        ),
        (
            with(bed("gina", "ClearBed"), "frozen", Kind::BoolValue(true)),
            decided(ReasonCode::TeamRule, "", ""),
        ),
        (
            here("owner", "CreateRole"),
            decided(ReasonCode::Plan, "", ""),
        ),
        (too_wet_to_compute, decided(ReasonCode::PolicyError, "", "")),
        (
            bed("owner", "ClearBed"),
            decided(ReasonCode::Owner, "owner", ""),
        ),
        (
            bed("gina", "WaterBed"),
            decided(ReasonCode::Role, "gardener", ""),
        ),
        (
            here("hugo", "BuySeeds"),
            decided(ReasonCode::Role, "head-gardener", ""),
        ),
        (
            in_project(bed("paul", "WaterBed"), "north"),
            decided(ReasonCode::ProjectRole, "gardener", "north"),
        ),
        (
            in_project(bed("gina", "ViewBed"), "north"),
            decided(ReasonCode::Override, "", "north"),
        ),
        (
            in_project(bed("hugo", "WaterBed"), "south"),
            decided(ReasonCode::Override, "gardener", "south"),
        ),
        (leave, decided(ReasonCode::Rule, "", "")),
        (sensor, decided(ReasonCode::Guardrail, "", "")),
        (
            here("norman", "BuySeeds"),
            decided(ReasonCode::GuardrailPermits, "", ""),
        ),
        (
            question(ACME, "owner", "LeaveOrganization", "Member", "owner"),
            decided(ReasonCode::OwnerStays, "", ""),
        ),
        (
            bed("later", "ViewBed"),
            decided(ReasonCode::NotYetValid, "", ""),
        ),
    ]
}

#[tokio::test]
async fn every_reason_is_given_with_its_role_project_and_policy() {
    let daemon = nursery().await;
    let listed = policy_ids(&daemon).await;
    let mut seen = BTreeSet::new();
    for (question, expected) in questions() {
        let answer = daemon.ask(question.clone()).await;

        let first = answer.reasons.first().expect("at least one reason");
        assert_eq!(first.code(), expected.code, "{question:?}\n{answer:?}");
        assert_eq!(first.role, expected.role, "{answer:?}");
        assert_eq!(first.project, expected.project, "{answer:?}");
        assert!(!first.message.is_empty());
        let allowed = i32::from(expected.code) >= i32::from(ReasonCode::Owner);
        assert_eq!(
            answer.decision() == v1::Decision::Allow,
            allowed,
            "{answer:?}"
        );
        assert_eq!(
            !answer.determining_policies.is_empty(),
            expected.by_policy,
            "{answer:?}"
        );
        if expected.by_policy {
            assert!(answer.determining_policies.contains(&first.policy));
        } else {
            assert_eq!(first.policy, "");
        }
        for policy in &answer.determining_policies {
            assert!(listed.contains(policy), "ListPolicies lacks {policy}");
        }
        seen.extend(codes(&answer).into_iter().map(i32::from));
    }

    let answer = daemon.ask(bed("gina", "HarvestBed")).await;
    seen.extend(codes(&answer).into_iter().map(i32::from));
    // Those of what has ended and of tokens are given in their own tests.
    let elsewhere = [
        ReasonCode::Expired,
        ReasonCode::TokenScope,
        ReasonCode::TokenRevoked,
    ];
    seen.extend(elsewhere.map(i32::from));
    let all: BTreeSet<i32> = (1..100)
        .filter(|code| ReasonCode::try_from(*code).is_ok())
        .collect();
    assert_eq!(seen, all, "every reason of the API was given");
    daemon.stop().await;
}

async fn policy_ids(daemon: &Daemon) -> BTreeSet<String> {
    daemon
        .policies()
        .list_policies(v1::ListPoliciesRequest {
            organization: ACME.to_owned(),
            page_size: 1000,
            ..Default::default()
        })
        .await
        .expect("the policies are listed")
        .into_inner()
        .policies
        .into_iter()
        .map(|policy| policy.id)
        .collect()
}

#[tokio::test]
async fn no_reasons_are_given_unless_asked_for() {
    let daemon = nursery().await;
    for (question, _) in questions() {
        let answer = daemon
            .authorization()
            .is_authorized(question.clone())
            .await
            .expect("an answer")
            .into_inner();
        assert!(answer.reasons.is_empty(), "{question:?}");
        assert!(answer.determining_policies.is_empty(), "{question:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn in_a_batch_each_request_asks_for_reasons_by_itself() {
    let daemon = nursery().await;
    let plain = bed("gina", "WaterBed");
    let explained = v1::IsAuthorizedRequest {
        include_reasons: true,
        ..plain.clone()
    };

    let answer = daemon
        .authorization()
        .batch_is_authorized(v1::BatchIsAuthorizedRequest {
            requests: vec![plain.clone(), explained, plain],
            ..Default::default()
        })
        .await
        .expect("the batch is answered")
        .into_inner();

    let reasons: Vec<usize> = answer
        .items
        .iter()
        .map(|item| match &item.result {
            Some(v1::batch_item::Result::Response(response)) => response.reasons.len(),
            other => panic!("no answer but {other:?}"),
        })
        .collect();
    assert_eq!(reasons, [0, 1, 0]);
    daemon.stop().await;
}

#[tokio::test]
async fn each_role_that_grants_it_is_a_reason() {
    let daemon = nursery().await;
    daemon
        .project_roles(ACME, "south", "gina", &["gardener"])
        .await;

    let answer = daemon
        .ask(in_project(bed("gina", "WaterBed"), "south"))
        .await;

    let mut found: Vec<(ReasonCode, &str)> = answer
        .reasons
        .iter()
        .map(|reason| (reason.code(), reason.project.as_str()))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [(ReasonCode::Role, ""), (ReasonCode::ProjectRole, "south")]
    );
    assert_eq!(answer.determining_policies.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn everything_that_would_have_helped_is_named() {
    let daemon = nursery().await;

    let answer = daemon
        .ask(owned_by(bed("gina", "HarvestBed"), "hugo"))
        .await;

    assert_eq!(
        codes(&answer),
        [ReasonCode::NotOwnerOfResource, ReasonCode::ConditionFailed]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_condition_that_an_override_sets_aside_is_no_reason() {
    let daemon = nursery().await;

    let tended = tended_by(bed("gina", "HarvestBed"), "gina");
    let answer = daemon.ask(in_project(tended, "north")).await;
    assert_eq!(codes(&answer), [ReasonCode::OverrideDenies]);

    let untended = bed("gina", "HarvestBed");
    let answer = daemon.ask(in_project(untended, "north")).await;
    assert_eq!(codes(&answer), [ReasonCode::NoGrant]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_rule_that_forbids_is_the_reason_even_where_nothing_was_granted() {
    let daemon = nursery().await;
    let frozen = with(bed("norman", "HarvestBed"), "frozen", Kind::BoolValue(true));

    let answer = daemon.ask(frozen).await;

    assert_eq!(codes(&answer), [ReasonCode::TeamRule]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_rule_that_can_not_be_evaluated_denies_with_and_without_reasons() {
    let daemon = nursery().await;
    let moist = |moisture: f64| {
        with(
            bed("owner", "HarvestBed"),
            "moisture",
            Kind::NumberValue(moisture),
        )
    };

    assert!(daemon.allows(moist(50.0)).await);
    assert!(!daemon.allows(moist(99.0)).await);
    assert!(!daemon.allows(moist(9_007_199_254_740_991.0)).await);
    daemon.stop().await;
}
