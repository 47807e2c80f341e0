//! API tokens and service accounts through gRPC: secrets shown once, what a token
//! may at each moment, and that Cedar says the same of the export.

use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request as CedarRequest, Schema,
};
use prost_types::{Duration, FieldMask, Timestamp};
use roster::application::{Actor, Caller, Need, Request as Common, Turn};
use roster::domain::change::{Change, Event, Outcome, RecordChange, Target};
use roster::domain::identifiers::{GroupId, OrganizationId};
use roster::domain::organization::{Group, Member, Moment, TokenKind};
use roster::domain::period::Period;
use roster::domain::tokens::NewToken;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::store::{HistoryEvent, Store};
use tonic::{Code, Status};
use v1::ReasonCode;

use crate::export_law::export_with_token;
use crate::harness::{Daemon, NOW, as_actor, by_token, owned, question, reason, violations};

pub(crate) const ACME: &str = "acme";

/// An organization of `hypervisor-io` with an admin, an operator and a viewer, and
/// the store that it is in.
pub(crate) async fn studio() -> (Daemon, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found(ACME, "hypervisor-io").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "oscar", &["operator"]).await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    for project in ["north", "south"] {
        daemon.project(ACME, project).await;
    }
    (daemon, store)
}

pub(crate) fn member_token(subject: &str) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest {
        organization: ACME.to_owned(),
        kind: v1::TokenKind::Member.into(),
        subject: subject.to_owned(),
        display_name: "Laptop".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn of_service_account(subject: &str) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest {
        kind: v1::TokenKind::ServiceAccount.into(),
        ..member_token(subject)
    }
}

pub(crate) fn organization_token(roles: &[&str]) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest {
        kind: v1::TokenKind::Organization.into(),
        roles: owned(roles),
        ..member_token("")
    }
}

pub(crate) async fn create(
    daemon: &Daemon,
    request: v1::CreateTokenRequest,
) -> v1::CreateTokenResponse {
    let created = daemon.tokens().create_token(request).await;
    let created = created.expect("the token is created").into_inner();
    assert!(!created.secret.is_empty());
    created
}

pub(crate) async fn service_account(daemon: &Daemon, id: &str, roles: &[&str]) {
    daemon
        .service_accounts()
        .create_service_account(v1::CreateServiceAccountRequest {
            organization: ACME.to_owned(),
            service_account_id: id.to_owned(),
            roles: owned(roles),
            ..Default::default()
        })
        .await
        .expect("the service account is created");
}

/// A question about an instance.
pub(crate) fn instance(secret: &str, action: &str) -> v1::IsAuthorizedWithTokenRequest {
    v1::IsAuthorizedWithTokenRequest {
        token: secret.to_owned(),
        action: action.to_owned(),
        resource: Some(v1::Resource {
            r#type: "Instance".to_owned(),
            id: "i1".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn located(
    mut request: v1::IsAuthorizedWithTokenRequest,
    project: &str,
) -> v1::IsAuthorizedWithTokenRequest {
    request.resource.get_or_insert_default().project = project.to_owned();
    request
}

/// The whole answer, with reasons.
pub(crate) async fn ask(
    daemon: &Daemon,
    request: v1::IsAuthorizedWithTokenRequest,
) -> v1::IsAuthorizedWithTokenResponse {
    let request = v1::IsAuthorizedWithTokenRequest {
        include_reasons: true,
        ..request
    };
    let answer = daemon
        .authorization()
        .is_authorized_with_token(request)
        .await;
    answer.expect("an answer").into_inner()
}

/// Whether it is allowed; asked twice, and once with reasons.
pub(crate) async fn allows(daemon: &Daemon, request: &v1::IsAuthorizedWithTokenRequest) -> bool {
    let explained = ask(daemon, request.clone()).await;
    for _ in 0..2 {
        let plain = daemon
            .authorization()
            .is_authorized_with_token(request.clone())
            .await
            .expect("an answer")
            .into_inner();
        assert_eq!(plain.decision(), explained.decision(), "{request:?}");
        assert_eq!(plain.valid_until, explained.valid_until, "{request:?}");
    }
    explained.decision() == v1::Decision::Allow
}

async fn refused_answer(daemon: &Daemon, text: &str) -> Status {
    let request = instance(text, "InstancesView");
    let answer = daemon
        .authorization()
        .is_authorized_with_token(request)
        .await;
    answer.expect_err("no token")
}

/// So many milliseconds after the tests take place.
pub(crate) fn timestamp(after: i64) -> Timestamp {
    let moment = NOW.0 + after;
    Timestamp {
        seconds: moment.div_euclid(1_000),
        nanos: i32::try_from(moment.rem_euclid(1_000)).expect("a fraction") * 1_000_000,
    }
}

fn at(daemon: &Daemon, after: i64) {
    daemon.world.set(Moment(NOW.0 + after));
}

/// Every event of the organization, the newest first.
pub(crate) fn events(store: &MemoryStore) -> Vec<HistoryEvent> {
    let organization = OrganizationId::new(ACME);
    let entries = store.events(&organization, None, 1_000);
    let entries = entries.expect("the events are read").into_iter();
    entries.map(|entry| entry.event).collect()
}

/// Puts records as no RPC would.
async fn put(daemon: &Daemon, records: impl Fn(&Turn<'_>) -> Vec<RecordChange>) {
    let decide = |turn: &Turn<'_>| {
        Ok(Change {
            records: records(turn),
            events: vec![Event::done("Put", Target::new("Test", "test"), Vec::new())],
            outcome: Outcome::Nothing,
        })
    };
    let written = daemon
        .application
        .mutate(ACME, Need::Operator, &asking(), decide)
        .await;
    written.expect("the records are put");
}

/// Gives a member two tokens whose ids are known, `tok-live` and `tok-dead`, the
/// latter revoked.
pub(crate) async fn tokens_of_known_ids(daemon: &Daemon, organization: &str, subject: &str) {
    for id in ["tok-live", "tok-dead"] {
        let new = NewToken {
            id: id.to_owned(),
            kind: TokenKind::Member,
            subject: subject.to_owned(),
            display_name: id.to_owned(),
            scope: None,
            period: Period::ALWAYS,
            roles: Vec::new(),
            digest: [0; 32],
        };
        let written = daemon
            .application
            .mutate(organization, Need::Operator, &asking(), |turn| {
                let catalog = turn.catalog();
                let organization = turn.organization();
                organization.create_token(catalog, &new, None, turn.now)
            })
            .await;
        written.expect("the token is created");
    }
    daemon
        .tokens()
        .revoke_token(v1::RevokeTokenRequest {
            organization: organization.to_owned(),
            token: "tok-dead".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the token is revoked");
}

fn asking() -> Common {
    Common {
        caller: Caller {
            name: "test".to_owned(),
            actor: Actor::Operator,
        },
        method: "Put",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    }
}

fn token_id(created: &v1::CreateTokenResponse) -> String {
    created.token.as_ref().expect("a token").id.clone()
}

async fn get(daemon: &Daemon, token: &str) -> v1::Token {
    daemon
        .tokens()
        .get_token(v1::GetTokenRequest {
            organization: ACME.to_owned(),
            token: token.to_owned(),
            ..Default::default()
        })
        .await
        .expect("the token is read")
        .into_inner()
        .token
        .expect("a token")
}

#[tokio::test]
async fn a_token_does_what_its_subject_may_and_says_whom_it_stands_for() {
    let (daemon, _) = studio().await;
    service_account(&daemon, "robot", &["operator"]).await;
    let of_organization = create(&daemon, organization_token(&["operator"])).await;
    let itself = token_id(&of_organization);
    for (created, subject, prefix) in [
        (
            create(&daemon, member_token("oscar")).await,
            "oscar",
            "roster_member_",
        ),
        (
            create(&daemon, of_service_account("robot")).await,
            "robot",
            "roster_service_",
        ),
        (of_organization, itself.as_str(), "roster_organization_"),
    ] {
        assert!(created.secret.starts_with(prefix));
        let answer = ask(&daemon, instance(&created.secret, "InstancesManage")).await;
        assert_eq!(answer.decision(), v1::Decision::Allow);
        assert_eq!(answer.principal.as_ref().expect("a principal").id, subject);
        assert_eq!(answer.token_id, token_id(&created));
        assert_eq!(answer.organization, ACME);
        assert!(!allows(&daemon, &instance(&created.secret, "InstancesDelete")).await);
        // The very same as asked for the subject.
        let direct = question(ACME, subject, "InstancesManage", "Instance", "i1");
        assert!(daemon.allows(direct).await);
    }
    let members = daemon
        .members()
        .list_members(v1::ListMembersRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        })
        .await
        .expect("a list")
        .into_inner()
        .members;
    let users: Vec<&str> = members.iter().map(|member| member.user.as_str()).collect();
    assert_eq!(users, ["ada", "oscar", "owner", "vic"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_secret_is_shown_once_and_is_nowhere_else() {
    let (daemon, store) = studio().await;
    let request = v1::CreateTokenRequest {
        request_id: "once".to_owned(),
        ..member_token("ada")
    };
    let validated = daemon
        .tokens()
        .create_token(v1::CreateTokenRequest {
            validate_only: true,
            ..request.clone()
        })
        .await
        .expect("it would be created")
        .into_inner();
    assert_eq!(validated.secret, "");
    assert_eq!(
        validated.token.expect("a token").status(),
        v1::TokenStatus::Active
    );
    let first = create(&daemon, request.clone()).await;
    let again = daemon.tokens().create_token(request).await;
    let again = again.expect("the same answer").into_inner();
    assert_eq!(again.secret, "");
    assert_eq!(again.token, first.token);
    assert_eq!(again.revision, first.revision);

    let id = token_id(&first);
    let rotation = v1::RotateTokenRequest {
        organization: ACME.to_owned(),
        token: id.clone(),
        request_id: "turn".to_owned(),
        ..Default::default()
    };
    let rotated = daemon.tokens().rotate_token(rotation.clone()).await;
    let rotated = rotated.expect("it is rotated").into_inner();
    let repeated = daemon.tokens().rotate_token(rotation).await;
    assert_eq!(repeated.expect("the same answer").into_inner().secret, "");

    let listed = daemon
        .tokens()
        .list_tokens(v1::ListTokensRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        })
        .await
        .expect("a list")
        .into_inner();
    let answer = ask(&daemon, instance(&rotated.secret, "InstancesView")).await;
    let wherever = format!(
        "{:?} {listed:?} {:?} {answer:?} {:?}",
        get(&daemon, &id).await,
        events(&store),
        daemon
            .application
            .find(ACME)
            .await
            .expect("it is there")
            .organization(),
    );
    for secret in [&first.secret, &rotated.secret] {
        let random = &secret[secret.len() - 47..];
        assert!(!wherever.contains(random), "{secret}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn every_text_that_is_no_token_gets_the_same_answer() {
    let (daemon, _) = studio().await;
    daemon.found("other", "hypervisor-io").await;
    let genuine = create(&daemon, member_token("ada")).await;
    let secret = &genuine.secret;
    let mut flipped: Vec<String> = vec![
        String::new(),
        "roster_member_".to_owned(),
        "x".repeat(1_000_000),
        "é".repeat(100),
        secret.to_uppercase(),
        format!("{secret}A"),
        format!(" {secret}"),
        secret.replace("roster_member_", "roster_service_"),
    ];
    for place in [
        "roster_member_".len() + 3,
        secret.len() / 2,
        secret.len() - 6,
        secret.len() - 1,
    ] {
        let mut bytes = secret.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        flipped.push(String::from_utf8(bytes).expect("ASCII"));
    }
    let mut answers = std::collections::BTreeSet::new();
    for text in &flipped {
        let refused = refused_answer(&daemon, text).await;
        assert_eq!(refused.code(), Code::Unauthenticated, "{text}");
        answers.insert((refused.message().to_owned(), reason(&refused)));
    }
    // Genuine, but asked of another organization.
    let elsewhere = v1::IsAuthorizedWithTokenRequest {
        organization: "other".to_owned(),
        ..instance(secret, "InstancesView")
    };
    let refused = daemon
        .authorization()
        .is_authorized_with_token(elsewhere)
        .await;
    let refused = refused.expect_err("of another organization");
    answers.insert((refused.message().to_owned(), reason(&refused)));
    // As an actor.
    for (organization, text) in [(ACME, "nonsense"), ("other", secret)] {
        let request = v1::GetOrganizationRequest {
            organization: organization.to_owned(),
            ..Default::default()
        };
        let refused = daemon
            .organizations()
            .get_organization(by_token(text, request))
            .await
            .expect_err("nobody");
        answers.insert((refused.message().to_owned(), reason(&refused)));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(allows(&daemon, &instance(secret, "InstancesView")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_counts_from_its_first_moment_to_the_one_before_its_last() {
    let (daemon, _) = studio().await;
    let request = v1::CreateTokenRequest {
        period: Some(v1::Period {
            not_before: Some(timestamp(1_000)),
            expires_at: Some(timestamp(5_000)),
        }),
        ..member_token("ada")
    };
    let secret = create(&daemon, request).await.secret;
    let view = || instance(&secret, "InstancesView");
    for (moment, code, until) in [
        (999, Some(ReasonCode::NotYetValid), Some(1_000)),
        (1_000, None, Some(5_000)),
        (4_999, None, Some(5_000)),
        (5_000, Some(ReasonCode::Expired), None),
    ] {
        at(&daemon, moment);
        let answer = ask(&daemon, view()).await;
        let denied = answer.decision() == v1::Decision::Deny;
        assert_eq!(denied, code.is_some(), "at {moment}");
        if let Some(code) = code {
            assert_eq!(answer.reasons[0].code(), code, "at {moment}");
        }
        assert_eq!(answer.valid_until, until.map(timestamp), "at {moment}");
    }
    let refused = daemon
        .tokens()
        .create_token(v1::CreateTokenRequest {
            period: Some(v1::Period {
                not_before: None,
                expires_at: Some(timestamp(5_000)),
            }),
            display_name: String::new(),
            scope: Some(v1::TokenScope {
                actions: owned(&["FlyToTheMoon"]),
                projects: owned(&["nowhere"]),
            }),
            ..member_token("ada")
        })
        .await
        .expect_err("everything is wrong");
    let fields: Vec<String> = violations(&refused)
        .into_iter()
        .map(|found| found.0)
        .collect();
    assert_eq!(
        fields,
        [
            "display_name",
            "period.expires_at",
            "scope.actions[0]",
            "scope.projects[0]"
        ]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_rotation_lets_the_secret_before_work_until_the_overlap_ends() {
    let (daemon, _) = studio().await;
    let created = create(&daemon, member_token("ada")).await;
    let rotate = |seconds| v1::RotateTokenRequest {
        organization: ACME.to_owned(),
        token: token_id(&created),
        overlap: Some(Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let second = daemon.tokens().rotate_token(rotate(60)).await;
    let second = second.expect("it is rotated").into_inner();
    assert_eq!(
        second.token.as_ref().expect("a token").overlap_end_time,
        Some(timestamp(60_000))
    );
    at(&daemon, 59_999);
    let answer = ask(&daemon, instance(&created.secret, "InstancesView")).await;
    assert_eq!(answer.decision(), v1::Decision::Allow);
    assert_eq!(answer.valid_until, Some(timestamp(60_000)));
    let answer = ask(&daemon, instance(&second.secret, "InstancesView")).await;
    assert_eq!(answer.valid_until, None);
    at(&daemon, 60_000);
    assert!(!allows(&daemon, &instance(&created.secret, "InstancesView")).await);
    assert!(allows(&daemon, &instance(&second.secret, "InstancesView")).await);

    // Never more than two: the oldest goes, whatever overlap it had left.
    let third = daemon.tokens().rotate_token(rotate(3_600)).await;
    let third = third.expect("it is rotated").into_inner();
    let fourth = daemon.tokens().rotate_token(rotate(3_600)).await;
    let fourth = fourth.expect("it is rotated").into_inner();
    let gone = refused_answer(&daemon, &second.secret).await;
    assert_eq!(gone.code(), Code::Unauthenticated);
    for secret in [&third.secret, &fourth.secret] {
        assert!(allows(&daemon, &instance(secret, "InstancesView")).await);
    }
    for seconds in [-1, 30 * 24 * 60 * 60 + 1] {
        let refused = daemon.tokens().rotate_token(rotate(seconds)).await;
        let refused = refused.expect_err("no such overlap");
        assert_eq!(violations(&refused)[0].0, "overlap");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_scope_narrows_to_actions_with_what_they_imply_and_to_projects() {
    let (daemon, _) = studio().await;
    let request = v1::CreateTokenRequest {
        scope: Some(v1::TokenScope {
            actions: owned(&["InstancesManage"]),
            projects: owned(&["north"]),
        }),
        ..member_token("ada")
    };
    let created = create(&daemon, request).await;
    let secret = &created.secret;
    let manage = || instance(secret, "InstancesManage");
    assert!(allows(&daemon, &located(manage(), "north")).await);
    for outside in [
        located(manage(), "south"),
        manage(),
        located(instance(secret, "InstancesDelete"), "north"),
    ] {
        let answer = ask(&daemon, outside).await;
        assert_eq!(answer.decision(), v1::Decision::Deny);
        assert_eq!(answer.reasons[0].code(), ReasonCode::TokenScope);
        assert_eq!(answer.determining_policies.len(), 1);
    }
    // Her own rights are what they were.
    assert!(
        daemon
            .allows(question(ACME, "ada", "InstancesDelete", "Instance", "i1"))
            .await
    );
    // It widens, and what it may be used for is gone from the policies with it.
    daemon
        .tokens()
        .update_token(v1::UpdateTokenRequest {
            organization: ACME.to_owned(),
            token: token_id(&created),
            update_mask: Some(FieldMask {
                paths: owned(&["scope"]),
            }),
            ..Default::default()
        })
        .await
        .expect("the scope is lifted");
    assert!(allows(&daemon, &instance(secret, "InstancesDelete")).await);
    let exported = crate::export_law::files(&daemon, ACME, None).await;
    assert!(!exported["policies.cedar"].contains("token-scope:"));
    daemon.stop().await;
}

#[tokio::test]
async fn cedar_answers_a_token_question_on_the_export_as_the_daemon_does() {
    let (daemon, _) = studio().await;
    let mut seen = std::collections::BTreeSet::new();
    for (user, actions, projects) in [
        (
            "ada",
            &["InstancesManage", "TeamManagementManage"][..],
            &[][..],
        ),
        ("ada", &[], &["north"]),
        (
            "oscar",
            &["InstancesView", "InstancesDelete"],
            &["north", "south"],
        ),
        ("vic", &["ViewOrganization"], &[]),
    ] {
        let request = v1::CreateTokenRequest {
            scope: Some(v1::TokenScope {
                actions: owned(actions),
                projects: owned(projects),
            }),
            ..member_token(user)
        };
        let created = create(&daemon, request).await;
        for action in ["InstancesView", "InstancesManage", "InstancesDelete"] {
            for project in ["", "north", "south"] {
                let asked = located(instance(&created.secret, action), project);
                let answer = ask(&daemon, asked.clone()).await;
                let files = export_with_token(
                    &daemon,
                    ACME,
                    v1::IsAuthorizedRequest {
                        action: asked.action,
                        resource: asked.resource,
                        ..Default::default()
                    },
                    &token_id(&created),
                )
                .await;
                let (allow, policies) = cedar_answers(&files);
                assert_eq!(
                    allow,
                    answer.decision() == v1::Decision::Allow,
                    "{user} {action} in `{project}` with {actions:?}, {projects:?}"
                );
                assert_eq!(policies, answer.determining_policies);
                seen.insert(allow);
            }
        }
    }
    assert_eq!(seen.len(), 2, "some are allowed and some are not");
    daemon.stop().await;
}

/// What Cedar says of an export's own request.
fn cedar_answers(files: &std::collections::BTreeMap<String, String>) -> (bool, Vec<String>) {
    let (schema, _) = Schema::from_cedarschema_str(&files["schema.cedarschema"]).expect("a schema");
    let parsed = PolicySet::from_str(&files["policies.cedar"]).expect("policies");
    let policies = PolicySet::from_policies(parsed.policies().map(|policy| {
        let id = policy.annotation("id").expect("an @id");
        policy.new_id(cedar_policy::PolicyId::new(id))
    }))
    .expect("ids that are unique");
    let entities =
        Entities::from_json_str(&files["entities.json"], Some(&schema)).expect("entities");
    let request: serde_json::Value = serde_json::from_str(&files["request.json"]).expect("JSON");
    let uid =
        |field: &str| EntityUid::from_str(request[field].as_str().expect("a uid")).expect("a uid");
    let context =
        Context::from_json_value(request["context"].clone(), Some((&schema, &uid("action"))));
    let request = CedarRequest::new(
        uid("principal"),
        uid("action"),
        uid("resource"),
        context.expect("a context that fits"),
        Some(&schema),
    )
    .expect("a request that fits");
    let response = Authorizer::new().is_authorized(&request, &policies, &entities);
    assert_eq!(response.diagnostics().errors().count(), 0);
    let mut reasons: Vec<String> = response
        .diagnostics()
        .reason()
        .map(ToString::to_string)
        .collect();
    reasons.sort();
    (response.decision() == Decision::Allow, reasons)
}

/// Cloud 66: groups limit how old tokens get; several, the shortest; deletion of a
/// group lifts its limit only.
#[tokio::test]
async fn the_shortest_age_limit_of_the_groups_in_force_counts() {
    let (daemon, _) = studio().await;
    let secret = create(&daemon, member_token("ada")).await.secret;
    let created = token_id_of(&daemon).await;
    let group = |id: &str, age: Option<i64>, period: Period| {
        RecordChange::PutGroup(Arc::new(Group {
            id: GroupId::new(id),
            display_name: id.to_owned(),
            description: String::new(),
            roles: Vec::new(),
            project_roles: Default::default(),
            max_token_age: age,
            period,
            created_at: NOW,
            version: Default::default(),
        }))
    };
    let later = Period {
        not_before: Some(Moment(NOW.0 + 20_000)),
        expires_at: None,
    };
    put(&daemon, |turn| {
        let mut ada: Member = (**turn.organization().member("ada").expect("a member")).clone();
        for id in ["short", "long", "never", "later"] {
            ada.groups.insert(GroupId::new(id), Period::ALWAYS);
        }
        vec![
            group("short", Some(30_000), Period::ALWAYS),
            group("long", Some(50_000), Period::ALWAYS),
            group("never", None, Period::ALWAYS),
            group("later", Some(25_000), later),
            RecordChange::PutMember(Arc::new(ada)),
        ]
    })
    .await;
    let view = || instance(&secret, "InstancesView");
    // At 20 s another limit comes into force; until then the answer holds.
    assert_eq!(
        ask(&daemon, view()).await.valid_until,
        Some(timestamp(20_000))
    );
    at(&daemon, 24_999);
    let answer = ask(&daemon, view()).await;
    assert_eq!(answer.decision(), v1::Decision::Allow);
    assert_eq!(answer.valid_until, Some(timestamp(25_000)));
    at(&daemon, 25_000);
    let answer = ask(&daemon, view()).await;
    assert_eq!(answer.reasons[0].code(), ReasonCode::Expired);
    assert_eq!(
        get(&daemon, &created).await.status(),
        v1::TokenStatus::Expired
    );
    put(&daemon, |_| {
        vec![RecordChange::DeleteGroup(GroupId::new("later"))]
    })
    .await;
    assert!(allows(&daemon, &view()).await);
    at(&daemon, 30_000);
    assert!(!allows(&daemon, &view()).await);
    put(&daemon, |_| {
        vec![RecordChange::DeleteGroup(GroupId::new("short"))]
    })
    .await;
    assert!(allows(&daemon, &view()).await);
    at(&daemon, 50_000);
    assert!(!allows(&daemon, &view()).await);
    // A rotation is what it needs.
    let rotated = daemon
        .tokens()
        .rotate_token(v1::RotateTokenRequest {
            organization: ACME.to_owned(),
            token: created,
            ..Default::default()
        })
        .await
        .expect("it is rotated")
        .into_inner();
    assert!(allows(&daemon, &instance(&rotated.secret, "InstancesView")).await);
    daemon.stop().await;
}

async fn token_id_of(daemon: &Daemon) -> String {
    let listed = daemon
        .tokens()
        .list_tokens(v1::ListTokensRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        })
        .await
        .expect("a list")
        .into_inner();
    listed.tokens[0].id.clone()
}

#[tokio::test]
async fn a_token_of_another_membership_is_dead_though_its_record_is_there() {
    let (daemon, _) = studio().await;
    let secret = create(&daemon, member_token("ada")).await.secret;
    put(&daemon, |turn| {
        let organization = turn.organization();
        let ada = organization.member("ada").expect("a member");
        vec![RecordChange::PutMember(Arc::new(Member {
            membership: organization.version.next(),
            ..(**ada).clone()
        }))]
    })
    .await;
    let answer = ask(&daemon, instance(&secret, "InstancesView")).await;
    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.reasons[0].code(), ReasonCode::TokenRevoked);
    daemon.stop().await;
}

#[tokio::test]
async fn each_kind_of_token_needs_its_own_right() {
    let (daemon, _) = studio().await;
    service_account(&daemon, "robot", &[]).await;
    for (kind, title, action) in [
        ("own", "Own tokens", "ManageOwnTokens"),
        ("accounts", "Accounts", "ManageServiceAccounts"),
    ] {
        daemon
            .roles()
            .create_role(v1::CreateRoleRequest {
                organization: ACME.to_owned(),
                role_id: kind.to_owned(),
                display_name: title.to_owned(),
                permissions: Some(v1::Permissions {
                    actions: owned(&[action]),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await
            .expect("a role");
        daemon.add(ACME, kind, &[kind]).await;
    }
    for (actor, request, done) in [
        ("own", member_token("own"), true),
        ("own", member_token("vic"), false),
        ("own", of_service_account("robot"), false),
        ("own", organization_token(&[]), false),
        ("accounts", of_service_account("robot"), true),
        ("accounts", member_token("accounts"), false),
        ("vic", member_token("vic"), false),
        // Not even an Admin makes the secret of somebody else.
        ("ada", member_token("vic"), false),
        ("ada", organization_token(&["viewer"]), true),
    ] {
        let about = format!("{actor}: {request:?}");
        let answer = daemon.tokens().create_token(as_actor(actor, request)).await;
        match answer {
            Ok(_) => assert!(done, "{about}"),
            Err(status) => {
                assert!(!done, "{about}: {status:?}");
                assert_eq!(reason(&status), "PERMISSION_DENIED", "{about}");
            }
        }
    }
    let list = |subject: &str, kind: v1::TokenKind| v1::ListTokensRequest {
        organization: ACME.to_owned(),
        subject: subject.to_owned(),
        kind: kind.into(),
        ..Default::default()
    };
    for (actor, request, count) in [
        ("own", list("own", v1::TokenKind::Unspecified), Some(1)),
        ("own", list("", v1::TokenKind::Unspecified), None),
        ("accounts", list("", v1::TokenKind::ServiceAccount), Some(1)),
        ("accounts", list("", v1::TokenKind::Member), None),
        ("ada", list("", v1::TokenKind::Unspecified), Some(3)),
    ] {
        let answer = daemon.tokens().list_tokens(as_actor(actor, request)).await;
        let found = answer.ok().map(|answer| answer.into_inner().tokens.len());
        assert_eq!(found, count, "{actor}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn who_acts_by_a_token_is_its_subject_and_the_history_says_so() {
    let (daemon, store) = studio().await;
    let request = v1::CreateTokenRequest {
        scope: Some(v1::TokenScope {
            actions: owned(&["TeamManagementView"]),
            projects: Vec::new(),
        }),
        ..member_token("ada")
    };
    let narrow = create(&daemon, request).await;
    let wide = create(&daemon, member_token("ada")).await;
    let project = |id: &str| v1::CreateProjectRequest {
        organization: ACME.to_owned(),
        project_id: id.to_owned(),
        display_name: id.to_owned(),
        ..Default::default()
    };
    daemon
        .projects()
        .create_project(by_token(&wide.secret, project("east")))
        .await
        .expect("she may");
    let refused = daemon
        .projects()
        .create_project(by_token(&narrow.secret, project("west")))
        .await
        .expect_err("the token may not");
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let listed = v1::ListMembersRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let listed = daemon
        .members()
        .list_members(by_token(&narrow.secret, listed))
        .await;
    listed.expect("it is for that");
    let told = events(&store);
    for (event, created, refusal) in [
        (&told[0], &narrow, "PERMISSION_DENIED"),
        (&told[1], &wide, ""),
    ] {
        assert_eq!(event.action, "CreateProject");
        assert_eq!(event.actor, "ada");
        assert_eq!(event.token, token_id(created));
        assert_eq!(event.refusal, refusal);
    }
    let revocation = v1::RevokeTokenRequest {
        organization: ACME.to_owned(),
        token: token_id(&wide),
        ..Default::default()
    };
    let revoked = daemon
        .tokens()
        .revoke_token(by_token(&wide.secret, revocation))
        .await;
    revoked.expect("by itself");
    let refused = daemon
        .projects()
        .create_project(by_token(&wide.secret, project("west")))
        .await
        .expect_err("it is dead");
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    assert!(refused.message().contains("is revoked"), "{refused:?}");
    // Never two actors at once, and no organization is founded by one.
    let mut both = by_token(&narrow.secret, project("west"));
    both.metadata_mut()
        .insert("roster-actor", "ada".parse().expect("a value"));
    let refused = daemon.projects().create_project(both).await;
    assert_eq!(
        refused.expect_err("two actors").code(),
        Code::InvalidArgument
    );
    let founding = v1::CreateOrganizationRequest {
        organization_id: "theirs".to_owned(),
        display_name: "Theirs".to_owned(),
        catalog: "hypervisor-io".to_owned(),
        owner: "ada".to_owned(),
        ..Default::default()
    };
    let refused = daemon
        .organizations()
        .create_organization(by_token(&narrow.secret, founding))
        .await;
    assert_eq!(reason(&refused.expect_err("refused")), "OPERATOR_ONLY");
    daemon.stop().await;
}

#[tokio::test]
async fn when_a_token_was_used_is_known_at_once_and_written_now_and_then() {
    let (daemon, store) = studio().await;
    let created = create(&daemon, member_token("ada")).await;
    let id = token_id(&created);
    assert_eq!(get(&daemon, &id).await.last_use_time, None);
    let etag = get(&daemon, &id).await.etag;
    let before = events(&store).len();
    for (moment, known) in [(1_000, 1_000), (60_999, 1_000), (61_000, 61_000)] {
        at(&daemon, moment);
        assert!(allows(&daemon, &instance(&created.secret, "InstancesView")).await);
        assert_eq!(
            get(&daemon, &id).await.last_use_time,
            Some(timestamp(known))
        );
    }
    assert_eq!(events(&store).len(), before, "a check writes nothing");
    assert_eq!(daemon.application.flush_token_use().await, 1);
    let told = events(&store);
    assert_eq!(told[0].action, "RecordTokenUse");
    assert_eq!(told[0].caller, "roster");
    let stored = get(&daemon, &id).await;
    assert_eq!(stored.last_use_time, Some(timestamp(61_000)));
    assert_eq!(stored.etag, etag, "its use is no change of it");
    at(&daemon, 200_000);
    assert!(allows(&daemon, &instance(&created.secret, "InstancesView")).await);
    assert_eq!(daemon.application.flush_token_use().await, 0, "too soon");
    at(&daemon, 61_000 + 15 * 60_000);
    assert_eq!(daemon.application.flush_token_use().await, 1);
    at(&daemon, 61_000 + 30 * 60_000);
    assert_eq!(daemon.application.flush_token_use().await, 0, "no news");
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_is_deleted_once_it_is_dead_and_takes_what_it_held_along() {
    let (daemon, _) = studio().await;
    let created = create(&daemon, organization_token(&["operator"])).await;
    let id = token_id(&created);
    let deletion = v1::DeleteTokenRequest {
        organization: ACME.to_owned(),
        token: id.clone(),
        ..Default::default()
    };
    let early = daemon.tokens().delete_token(deletion.clone()).await;
    assert_eq!(reason(&early.expect_err("it is active")), "TOKEN_STATUS");
    let revocation = v1::RevokeTokenRequest {
        organization: ACME.to_owned(),
        token: id.clone(),
        ..Default::default()
    };
    daemon
        .tokens()
        .revoke_token(revocation)
        .await
        .expect("revoked");
    let reinstatement = v1::ReinstateMemberRequest {
        organization: ACME.to_owned(),
        user: id.clone(),
        ..Default::default()
    };
    let refused = daemon.members().reinstate_member(reinstatement).await;
    assert_eq!(reason(&refused.expect_err("for good")), "TOKEN_STATUS");
    daemon
        .tokens()
        .delete_token(deletion)
        .await
        .expect("deleted");
    let gone = refused_answer(&daemon, &created.secret).await;
    assert_eq!(gone.code(), Code::Unauthenticated);
    let organization = daemon.application.find(ACME).await.expect("it is there");
    assert!(
        !organization
            .organization()
            .members
            .contains_key(id.as_str())
    );
    daemon.stop().await;
}

#[tokio::test]
async fn service_accounts_are_looked_after_by_their_own_service() {
    let (daemon, _) = studio().await;
    service_account(&daemon, "robot", &["viewer"]).await;
    let taken = daemon
        .service_accounts()
        .create_service_account(v1::CreateServiceAccountRequest {
            organization: ACME.to_owned(),
            service_account_id: "ada".to_owned(),
            ..Default::default()
        })
        .await;
    assert_eq!(reason(&taken.expect_err("a member")), "ALREADY_EXISTS");
    let updated = daemon
        .service_accounts()
        .update_service_account(v1::UpdateServiceAccountRequest {
            organization: ACME.to_owned(),
            service_account: "robot".to_owned(),
            display_name: "Deployer".to_owned(),
            ..Default::default()
        })
        .await
        .expect("it is renamed")
        .into_inner();
    let account = updated.service_account.expect("an account");
    assert_eq!(account.display_name, "Deployer");
    assert_eq!(account.created_by, "");
    let set = daemon
        .service_accounts()
        .set_service_account_roles(v1::SetServiceAccountRolesRequest {
            organization: ACME.to_owned(),
            service_account: "robot".to_owned(),
            roles: owned(&["operator"]),
            etag: account.etag,
            ..Default::default()
        })
        .await
        .expect("its roles are set")
        .into_inner();
    assert_eq!(set.service_account.expect("an account").roles, ["operator"]);
    let listed = daemon
        .service_accounts()
        .list_service_accounts(v1::ListServiceAccountsRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        })
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(listed.service_accounts.len(), 1);
    let person = daemon
        .service_accounts()
        .get_service_account(v1::GetServiceAccountRequest {
            organization: ACME.to_owned(),
            service_account: "ada".to_owned(),
            ..Default::default()
        })
        .await;
    assert_eq!(person.expect_err("a person").code(), Code::NotFound);
    for refused in [
        daemon
            .members()
            .set_member_roles(v1::SetMemberRolesRequest {
                organization: ACME.to_owned(),
                user: "robot".to_owned(),
                ..Default::default()
            })
            .await
            .map(drop),
        daemon
            .members()
            .remove_member(v1::RemoveMemberRequest {
                organization: ACME.to_owned(),
                user: "robot".to_owned(),
                ..Default::default()
            })
            .await
            .map(drop),
        daemon
            .tokens()
            .create_token(member_token("robot"))
            .await
            .map(drop),
    ] {
        assert_eq!(reason(&refused.expect_err("for people")), "MEMBER_KIND");
    }
    // A role that only a machine holds is held.
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "deploys".to_owned(),
        display_name: "Deploys".to_owned(),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("a role");
    create(&daemon, organization_token(&["deploys"])).await;
    let deletion = v1::DeleteRoleRequest {
        organization: ACME.to_owned(),
        role: "deploys".to_owned(),
        ..Default::default()
    };
    let refused = daemon.roles().delete_role(deletion).await;
    let refused = refused.expect_err("it is held");
    assert_eq!(reason(&refused), "ROLE_IN_USE");
    assert!(
        refused.message().contains("organization token `tok-"),
        "{refused:?}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn so_many_tokens_of_one_subject_and_no_more() {
    let (daemon, _) = studio().await;
    for _ in 0..roster::domain::tokens::MAX_TOKENS_OF_SUBJECT {
        create(&daemon, member_token("ada")).await;
    }
    let refused = daemon.tokens().create_token(member_token("ada")).await;
    assert_eq!(reason(&refused.expect_err("too many")), "LIMIT_REACHED");
    create(&daemon, member_token("vic")).await;
    daemon.stop().await;
}
