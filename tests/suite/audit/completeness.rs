//! Each change, each refusal and each denied reading is exactly one event.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use roster::domain::audit::effect_of;
use roster::proto::v1;
use v1::EventOutcome::{Done, Refused};

use super::{all, detail, events, list, send};
use crate::control_plane::{changes, nursery};
use crate::coverage::{methods, mutates, path};
use crate::harness::{Daemon, as_actor, owned, reason};
use crate::hostile::plausible;

/// Changes without a row in [`changes`], for the tests named beside them.
const ELSEWHERE: [(&str, &str); 6] = [
    ("CreateCallerKey", "tests/trust: callers::keys"),
    ("RotateCallerKey", "tests/trust: callers::keys"),
    ("RevokeCallerKey", "tests/trust: callers::keys"),
    (
        "AcknowledgeNotifications",
        "an_invitation_is_leased_with_its_words_and_its_link_and_is_gone_once_acknowledged",
    ),
    (
        "RemoveUser",
        "who_is_removed_everywhere_has_an_event_everywhere",
    ),
    (
        "AppendEvents",
        "what_the_host_appends_is_one_event_each_and_never_rosters_own",
    ),
];

/// Changes about links and ids that are drawn, or of two steps; see the two tests at the end.
const BY_THEMSELVES: [&str; 11] = [
    "AcceptInvitation",
    "AcceptTransfer",
    "BulkCreateInvitations",
    "CancelTransfer",
    "CopyInvitationLink",
    "CreateInvitation",
    "DeclineInvitation",
    "DeclineTransfer",
    "InitiateTransfer",
    "ResendInvitation",
    "RevokeInvitation",
];

/// Fields of which a value that is none is refused, the most telling first.
const TELLING: [&str; 9] = [
    "user",
    "role_id",
    "role",
    "project_id",
    "project",
    "id",
    "display_name",
    "plan",
    "to_owner",
];

fn named(method: &str) -> &str {
    method.rsplit('/').next().expect("a name")
}

fn with(message: &DynamicMessage, field: &str, value: Value) -> DynamicMessage {
    let mut changed = message.clone();
    changed.set_field_by_name(field, value);
    changed
}

fn text(message: &DynamicMessage, field: &str, text: &str) -> DynamicMessage {
    with(message, field, Value::String(text.to_owned()))
}

fn has(message: &DynamicMessage, field: &str) -> bool {
    message.descriptor().get_field_by_name(field).is_some()
}

#[test]
fn every_changing_rpc_has_a_row_and_an_effect() {
    let rows = changes("acme");
    let tried: BTreeSet<&str> = rows.iter().map(|case| named(case.method)).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    let mut missing = BTreeSet::new();
    let mut without_effect = BTreeSet::new();
    for method in methods().iter().filter(|method| mutates(method)) {
        let name = method.name();
        if !tried.contains(name) && !elsewhere.contains(name) {
            missing.insert(name.to_owned());
        }
        // What the host appends has the effect that the host says.
        if effect_of(name).is_none() && name != "AppendEvents" {
            without_effect.insert(name.to_owned());
        }
    }
    let waiting: BTreeSet<String> = owned(&BY_THEMSELVES).into_iter().collect();
    assert_eq!(missing, waiting, "rows are missing in `changes` for these");
    assert!(without_effect.is_empty(), "no effect: {without_effect:?}");
}

/// What has happened since `before` events were there: exactly one event.
async fn the_new_one(daemon: &Daemon, organization: &str, before: usize, why: &str) -> v1::Event {
    let mut events = events(daemon, organization).await;
    assert_eq!(events.len(), before + 1, "{why}: {:?}", events.first());
    events.remove(0)
}

#[tokio::test]
async fn a_01_every_change_and_every_refusal_of_one_is_exactly_one_event() {
    let daemon = Daemon::start().await;
    for index in 0..changes("").len() {
        let organization = format!("audited-{index}");
        let case = &changes(&organization)[index];
        let name = named(case.method);
        if name == "CreateOrganization" {
            continue;
        }
        nursery(&daemon, &organization).await;
        let mut count = events(&daemon, &organization).await.len();

        let validated = with(&case.message, "validate_only", Value::Bool(true));
        send(&daemon, case.method, &validated, None)
            .await
            .expect(name);
        let as_owner = send(&daemon, case.method, &validated, Some("owner")).await;
        let denied = send(&daemon, case.method, &validated, Some("bea")).await;
        assert!(denied.is_err(), "{name}");
        let unchanged = events(&daemon, &organization).await.len();
        assert_eq!(unchanged, count, "{name}: validating is no event");

        let telling = TELLING.into_iter().find(|field| has(&case.message, field));
        let mut malformed = vec![text(&case.message, "request_id", "a b")];
        if let Some(field) = telling {
            malformed.push(text(&case.message, field, "\u{202e}a"));
        }
        for message in malformed {
            let refused = send(&daemon, case.method, &message, None).await;
            let refused = refused.expect_err(name);
            let event = the_new_one(&daemon, &organization, count, name).await;
            count += 1;
            assert_eq!(event.action, name);
            assert_eq!(
                (event.outcome(), &event.reason),
                (Refused, &reason(&refused))
            );
            assert_eq!(
                (event.actor.as_str(), event.caller.as_str()),
                ("", "operator")
            );
        }

        let denied = send(&daemon, case.method, &case.message, Some("bea")).await;
        let denied = denied.expect_err(name);
        let event = the_new_one(&daemon, &organization, count, name).await;
        count += 1;
        assert_eq!(event.action, name);
        assert_eq!(
            (event.outcome(), &event.reason),
            (Refused, &reason(&denied))
        );
        assert_eq!(event.actor, "bea", "{name}");
        assert_eq!(event.source(), v1::EventSource::Roster);

        // On behalf of the owner, unless it is for operators or changes what is the owner's own.
        let actor = as_owner.is_ok().then_some("owner");
        let once = text(&case.message, "request_id", "once");
        let first = send(&daemon, case.method, &once, actor).await.expect(name);
        let event = the_new_one(&daemon, &organization, count, name).await;
        count += 1;
        assert_eq!(event.action, name);
        assert_eq!(
            (event.outcome(), event.reason.as_str()),
            (Done, ""),
            "{name}"
        );
        assert_eq!(event.actor, actor.unwrap_or_default(), "{name}");
        assert_eq!(event.request_id, "once");
        assert_eq!(event.source(), v1::EventSource::Roster);
        assert!(
            !event.target_type.is_empty() && !event.target_id.is_empty(),
            "{event:?}"
        );
        for (field, kind) in [("user", "Member"), ("role", "Role")] {
            if let Some(Value::String(id)) = case
                .message
                .get_field_by_name(field)
                .as_deref()
                .filter(|_| has(&case.message, field))
            {
                // A transfer is of the organization, to a member.
                let told = if name == "TransferOwnership" {
                    ("Organization", &organization)
                } else {
                    (kind, id)
                };
                assert_eq!(
                    (event.target_type.as_str(), &event.target_id),
                    told,
                    "{name}"
                );
            }
        }

        let again = send(&daemon, case.method, &once, actor).await.expect(name);
        // A secret is told once and never again.
        if !matches!(name, "CreateToken" | "RotateToken") {
            assert_eq!(again, first, "{name}");
        }
        let unchanged = events(&daemon, &organization).await.len();
        assert_eq!(unchanged, count, "{name}: a replay is no event");
        // Nothing is left of a deleted organization that a refusal could be about.
        if has(&once, "etag") && name != "DeleteOrganization" {
            let other = text(&once, "etag", "other");
            let reused = send(&daemon, case.method, &other, actor).await;
            assert_eq!(reason(&reused.expect_err(name)), "REQUEST_ID_REUSED");
            let event = the_new_one(&daemon, &organization, count, name).await;
            assert_eq!(event.reason, "REQUEST_ID_REUSED", "{name}");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_founding_is_an_event_of_the_new_organization_and_a_refused_one_of_the_old() {
    let daemon = Daemon::start().await;
    let found = || v1::CreateOrganizationRequest {
        organization_id: "acme".to_owned(),
        display_name: "Acme".to_owned(),
        catalog: "greenhouse".to_owned(),
        owner: "ann".to_owned(),
        ..Default::default()
    };
    let bad = v1::CreateOrganizationRequest {
        catalog: "nothing".to_owned(),
        ..found()
    };
    let refused = daemon
        .organizations()
        .create_organization(bad.clone())
        .await;
    assert_eq!(reason(&refused.expect_err("no such catalog")), "INVALID");
    assert_eq!(
        events(&daemon, "acme").await,
        [],
        "there is no history for it"
    );

    let founded = daemon.organizations().create_organization(found()).await;
    founded.expect("it is founded");
    let event = the_new_one(&daemon, "acme", 0, "founded").await;
    assert_eq!(event.action, "CreateOrganization");
    assert_eq!(event.effect(), v1::EventEffect::Created);
    let facts = ["catalog", "plan", "owner"].map(|name| detail(&event, name));
    assert_eq!(facts, [Some("greenhouse"), Some("hobby"), Some("ann")]);

    let twice = daemon.organizations().create_organization(found()).await;
    assert_eq!(reason(&twice.expect_err("there already")), "ALREADY_EXISTS");
    let malformed = daemon.organizations().create_organization(bad).await;
    assert!(malformed.is_err());
    let denied = daemon
        .organizations()
        .create_organization(as_actor("ann", found()))
        .await;
    assert_eq!(reason(&denied.expect_err("no operator")), "OPERATOR_ONLY");
    let validated = v1::CreateOrganizationRequest {
        validate_only: true,
        ..found()
    };
    let validated = daemon.organizations().create_organization(validated).await;
    assert!(validated.is_err());
    let reasons: Vec<String> = events(&daemon, "acme")
        .await
        .into_iter()
        .map(|event| event.reason)
        .collect();
    assert_eq!(reasons, ["OPERATOR_ONLY", "INVALID", "ALREADY_EXISTS", ""]);
    daemon.stop().await;
}

#[tokio::test]
async fn who_is_removed_everywhere_has_an_event_everywhere() {
    let daemon = Daemon::start().await;
    for organization in ["one", "two"] {
        daemon.found(organization, "greenhouse").await;
        daemon.add(organization, "ann", &[]).await;
    }
    daemon.found("three", "greenhouse").await;
    let remove = || v1::RemoveUserRequest {
        user: "ann".to_owned(),
        request_id: "once".to_owned(),
        ..Default::default()
    };
    for _ in 0..2 {
        let removed = daemon.members().remove_user(remove()).await;
        removed.expect("she is removed");
    }
    for organization in ["one", "two"] {
        let event = the_new_one(&daemon, organization, 2, organization).await;
        assert_eq!(
            (event.effect(), event.outcome()),
            (v1::EventEffect::Deleted, Done)
        );
        assert_eq!(
            (event.target_type.as_str(), event.target_id.as_str()),
            ("Member", "ann")
        );
    }
    assert_eq!(events(&daemon, "three").await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_reading_is_an_event_only_if_it_is_denied() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let mut denied = 0;
    for method in methods() {
        let name = method.name().to_owned();
        let about_one = method.input().get_field_by_name("organization").is_some();
        let of_services = method.parent_service().name() == "AuthorizationService";
        if mutates(&method) || !about_one || of_services {
            continue;
        }
        let mut message = plausible(&method);
        if has(&message, "event") {
            let newest = events(&daemon, "acme").await.remove(0);
            message = text(&message, "event", &newest.id);
        }
        for field in [
            "user",
            "type",
            "target_type",
            "target_id",
            "member",
            "actor",
        ] {
            // What narrows a list down is left out.
            if name.starts_with("List") && has(&message, field) {
                message.clear_field_by_name(field);
            }
        }
        let count = events(&daemon, "acme").await.len();
        let answer = send(&daemon, &path(&method), &message, None).await;
        if let Err(status) = &answer {
            let nothing = matches!(reason(status).as_str(), "NOT_FOUND" | "NO_TRANSFER");
            assert!(nothing, "{name}: {status:?}");
        }
        let unchanged = events(&daemon, "acme").await.len();
        assert_eq!(unchanged, count, "{name}: reading is no event");
        let refused = send(&daemon, &path(&method), &message, Some("stranger")).await;
        let refused = refused.expect_err(&name);
        let for_operators = ["ListNotifications"].contains(&name.as_str());
        let why = if for_operators {
            "OPERATOR_ONLY"
        } else {
            "PERMISSION_DENIED"
        };
        assert_eq!(reason(&refused), why, "{name}");
        let event = the_new_one(&daemon, "acme", count, &name).await;
        assert_eq!(
            (event.action.as_str(), event.outcome()),
            (name.as_str(), Refused)
        );
        assert_eq!(
            (event.actor.as_str(), event.effect()),
            ("stranger", v1::EventEffect::Other)
        );
        denied += 1;
    }
    assert!(denied > 12, "{denied}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_ends_by_itself_is_one_event_each() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let end = roster::domain::organization::Moment(crate::harness::NOW.0 + 60_000);
    let period = || {
        Some(v1::Period {
            not_before: None,
            expires_at: Some(prost_types::Timestamp {
                seconds: end.0 / 1_000,
                nanos: 0,
            }),
        })
    };
    let roles = v1::SetMemberRolesRequest {
        organization: "acme".to_owned(),
        user: "bea".to_owned(),
        roles: owned(&["gardener", "shopkeeper"]),
        role_periods: ["gardener", "shopkeeper"]
            .map(|role| v1::RolePeriod {
                role: role.to_owned(),
                period: period(),
            })
            .to_vec(),
        ..Default::default()
    };
    daemon.members().set_member_roles(roles).await.expect("set");
    let count = events(&daemon, "acme").await.len();
    daemon.world.set(end);
    assert_eq!(daemon.application.expire_due().await, 1);
    assert_eq!(daemon.application.expire_due().await, 0);
    let ended = list(
        &daemon,
        v1::ListEventsRequest {
            actions: owned(&["ExpireRole"]),
            ..all("acme")
        },
    )
    .await;
    let roles: Vec<_> = ended.iter().map(|event| detail(event, "role")).collect();
    assert_eq!(roles, [Some("shopkeeper"), Some("gardener")]);
    for event in &ended {
        assert_eq!(
            (event.caller.as_str(), event.actor.as_str()),
            ("roster", "")
        );
        assert_eq!(event.target_id, "bea");
    }
    assert_eq!(events(&daemon, "acme").await.len(), count + 2);
    daemon.stop().await;
}

/// What has happened since `before` events were there, as action, outcome and actor,
/// the oldest first.
async fn news(
    daemon: &Daemon,
    organization: &str,
    before: usize,
) -> Vec<(String, v1::EventOutcome, String)> {
    let mut events = events(daemon, organization).await;
    events.truncate(events.len() - before);
    events.reverse();
    events
        .into_iter()
        .map(|event| (event.action.clone(), event.outcome(), event.actor))
        .collect()
}

fn told(
    action: &str,
    outcome: v1::EventOutcome,
    actor: &str,
) -> (String, v1::EventOutcome, String) {
    (action.to_owned(), outcome, actor.to_owned())
}

#[tokio::test]
async fn every_request_about_an_invitation_is_exactly_one_event_and_each_row_of_many() {
    let daemon = crate::attacks::team_on("hypervisor-io").await;
    let acme = crate::attacks::ACME;
    daemon.add(acme, "ada", &["admin"]).await;
    daemon.add(acme, "vic", &["viewer"]).await;
    let before = events(&daemon, acme).await.len();
    let mut invitations = daemon.invitations();
    let new = |email: &str| crate::attacks::new(email, &["viewer"]);
    let create = |email: &str| crate::attacks::create(new(email));

    let sent = invitations
        .create_invitation(as_actor("ada", create("a@x.example")))
        .await
        .expect("sent");
    let (id, _) = crate::attacks::sent_as(sent.into_inner());
    let denied = invitations.create_invitation(as_actor("vic", create("b@x.example")));
    denied.await.expect_err("a viewer");
    let rows = vec![
        new("c@x.example"),
        new("c@x.example"),
        new("no address"),
        new("d@x.example"),
    ];
    let many = invitations.bulk_create_invitations(as_actor("ada", crate::attacks::bulk(rows)));
    many.await.expect("rows answer for themselves");
    let again = invitations.resend_invitation(as_actor("ada", crate::attacks::resend(&id)));
    let again = again.await.expect("sent again").into_inner();
    let copied = invitations.copy_invitation_link(as_actor("ada", crate::attacks::copy(&id)));
    copied.await.expect("copied");
    let forged = invitations.accept_invitation(crate::attacks::accept("x", "amy", "a@x.example"));
    forged.await.expect_err("forged");
    let accept = crate::attacks::accept(&again.token, "amy", "a@x.example");
    invitations
        .accept_invitation(accept)
        .await
        .expect("accepted");
    let revoked = invitations.revoke_invitation(as_actor("ada", crate::attacks::revoke(&id)));
    revoked.await.expect_err("it is accepted");
    let (other, token) = crate::attacks::invited(&daemon, "e@x.example", &[]).await;
    let declined = invitations.decline_invitation(crate::attacks::decline(&token));
    declined.await.expect("declined");
    let revoked = invitations.revoke_invitation(crate::attacks::revoke(&other));
    revoked.await.expect_err("it is declined");

    let rows = |outcome| told("BulkCreateInvitations", outcome, "ada");
    let expected = [
        told("CreateInvitation", Done, "ada"),
        told("CreateInvitation", Refused, "vic"),
        rows(Done),
        rows(Refused),
        rows(Refused),
        rows(Done),
        told("ResendInvitation", Done, "ada"),
        told("CopyInvitationLink", Done, "ada"),
        told("AcceptInvitation", Refused, ""),
        told("AcceptInvitation", Done, ""),
        told("RevokeInvitation", Refused, "ada"),
        told("CreateInvitation", Done, ""),
        told("DeclineInvitation", Done, ""),
        told("RevokeInvitation", Refused, ""),
    ];
    assert_eq!(news(&daemon, acme, before).await, expected);
    daemon.stop().await;
}

#[tokio::test]
async fn every_step_of_a_transfer_is_exactly_one_event() {
    let daemon = crate::attacks::team_on("hypervisor-io").await;
    let acme = crate::attacks::ACME;
    daemon.add(acme, "ada", &["admin"]).await;
    let before = events(&daemon, acme).await.len();
    let mut organizations = daemon.organizations();
    let offer = |proven: bool| {
        let mut offer = crate::transfer::offer(acme, "ada");
        offer.reauthentication =
            crate::transfer::proof("owner", crate::harness::NOW).filter(|_| proven);
        as_actor("owner", offer)
    };
    let decline = || v1::DeclineTransferRequest {
        organization: acme.to_owned(),
        ..Default::default()
    };
    let accept = || v1::AcceptTransferRequest {
        organization: acme.to_owned(),
        ..Default::default()
    };
    let cancel = || v1::CancelTransferRequest {
        organization: acme.to_owned(),
        ..Default::default()
    };
    organizations
        .initiate_transfer(offer(false))
        .await
        .expect_err("without proof");
    organizations
        .initiate_transfer(offer(true))
        .await
        .expect("offered");
    organizations
        .decline_transfer(as_actor("ada", decline()))
        .await
        .expect("declined");
    organizations
        .accept_transfer(as_actor("ada", accept()))
        .await
        .expect_err("nothing is offered");
    organizations
        .initiate_transfer(offer(true))
        .await
        .expect("offered");
    organizations
        .cancel_transfer(as_actor("ada", cancel()))
        .await
        .expect_err("not hers to take back");
    organizations
        .cancel_transfer(as_actor("owner", cancel()))
        .await
        .expect("taken back");
    organizations
        .initiate_transfer(offer(true))
        .await
        .expect("offered");
    organizations
        .accept_transfer(as_actor("ada", accept()))
        .await
        .expect("accepted");

    let expected = [
        told("InitiateTransfer", Refused, "owner"),
        told("InitiateTransfer", Done, "owner"),
        told("DeclineTransfer", Done, "ada"),
        told("AcceptTransfer", Refused, "ada"),
        told("InitiateTransfer", Done, "owner"),
        told("CancelTransfer", Refused, "ada"),
        told("CancelTransfer", Done, "owner"),
        told("InitiateTransfer", Done, "owner"),
        told("AcceptTransfer", Done, "ada"),
    ];
    assert_eq!(news(&daemon, acme, before).await, expected);
    daemon.stop().await;
}
