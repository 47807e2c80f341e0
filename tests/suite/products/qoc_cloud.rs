//! QOC Cloud Console: a startup's project with applications and tables, on plans.

use roster::proto::v1;
use tonic::{Code, Status};
use v1::{EventEffect, InvitationStatus, MemberStatus, NotificationKind};

use super::{
    ACME, DAY, DENIED, HOUR, NOW, PLATFORM, Shown, Team, address, after,
    assert_no_rule_is_forgotten, detail, invitation, is,
};
use crate::attacks::set_plan;
use crate::harness::{owned, owned_by, question};
use crate::transfer::{later, proof, timestamp};

const RULES: &[(&str, Shown)] = &[
    ("owners", Shown::By(&["rule_owners"])),
    ("invitable_roles", Shown::By(&["rule_invitable_roles"])),
    (
        "invitation_ttl_days",
        Shown::By(&["rule_invitation_ttl_days"]),
    ),
    ("invitation_fields", Shown::By(&["rule_invitation_fields"])),
    ("pending_columns", Shown::By(&["rule_pending_columns"])),
    ("actions", Shown::By(&["rule_actions"])),
    ("members_columns", Shown::By(&["rule_members_columns"])),
    ("transfer.mode", Shown::By(&["rule_transfer"])),
    (
        "transfer.target",
        Shown::By(&["rule_transfer", "rule_transfer_to_an_address"]),
    ),
    (
        "transfer.initiator_reauthenticates",
        Shown::By(&["rule_transfer_initiator_reauthenticates"]),
    ),
    (
        "transfer.accept_within_days",
        Shown::By(&["rule_transfer_accept_within_days"]),
    ),
    (
        "transfer.old_owner_becomes",
        Shown::By(&["rule_transfer", "rule_transfer_to_an_address"]),
    ),
    ("transfer.undo", Shown::By(&["rule_transfer"])),
    ("plans.Free.members", Shown::By(&["rule_plans_free"])),
    ("plans.Free.invitations", Shown::By(&["rule_plans_free"])),
    ("plans.Pro.members", Shown::By(&["rule_plans_pro"])),
    (
        "plans.Pro.pending_invitations",
        Shown::By(&["rule_plans_pro"]),
    ),
    (
        "plans.Enterprise.members",
        Shown::By(&["rule_plans_enterprise"]),
    ),
    (
        "plans.Enterprise.custom_roles",
        Shown::By(&["rule_plans_enterprise"]),
    ),
    (
        "plans.Enterprise.sso",
        Shown::NotRosters("Signing in is the host's; Roster only names the feature of the plan."),
    ),
    (
        "plans.Enterprise.advanced_audit",
        Shown::NotRosters(
            "What of the log the console shows on which plan is the console's; Roster keeps and filters \
             all of it on every plan, and names the feature.",
        ),
    ),
    ("seat_check", Shown::By(&["rule_seat_check"])),
    ("role_change", Shown::By(&["rule_role_change"])),
    ("removal", Shown::By(&["rule_removal"])),
    (
        "resource_ownership",
        Shown::By(&["rule_resource_ownership"]),
    ),
    ("audit.fields", Shown::By(&["rule_audit_fields"])),
    ("audit.filters", Shown::By(&["rule_audit_filters"])),
];

const FULL_CONTROL: [&str; 4] = [
    "EditApplication",
    "RegenerateCredentials",
    "TransferApplication",
    "DeleteApplication",
];

/// Quinn's project on a plan, with Alex as Admin and Mika as Member.
async fn team(plan: &str) -> Team {
    let team = Team::found("qoc-cloud", plan, "quinn").await;
    team.hire("quinn", "alex", &["admin"]).await;
    team.hire("alex", "mika", &["member"]).await;
    team
}

/// Whether a user may do something to the registered application `crm`.
async fn may_app(team: &Team, user: &str, action: &str) -> bool {
    team.may_on(user, action, ("Application", "crm")).await
}

#[test]
fn every_rule_is_shown_or_is_not_rosters() {
    assert_no_rule_is_forgotten("qoc-cloud", include_str!("qoc_cloud.rs"), RULES);
}

#[tokio::test]
async fn the_daily_life_of_a_startup() {
    // Quinn starts alone on Free, where nobody can be invited, and moves to Pro.
    let team = Team::found("qoc-cloud", "free", "quinn").await;
    let early = team
        .try_invite("quinn", invitation("alex", &["admin"]))
        .await;
    early.expect_err("not on Free");
    set_plan(&team.daemon, "pro").await;
    team.hire("quinn", "alex", &["admin"]).await;

    // Alex builds the team: a Member who writes applications, a Viewer who looks.
    let message = v1::NewInvitation {
        message: "Hi Mika, the CRM is yours.".to_owned(),
        ..invitation("mika", &["member"])
    };
    let sent = team.try_invite("alex", message).await.expect("sent");
    team.join(&sent.token, "mika").await;
    team.hire("alex", "vera", &["viewer"]).await;

    // Mika creates an application and has full control of it, and of no other.
    assert!(team.may("mika", "CreateApplication").await);
    team.register(PLATFORM, ("Application", "crm"), "mika")
        .await
        .expect("registered");
    for action in FULL_CONTROL {
        assert!(may_app(&team, "mika", action).await, "{action}");
        assert!(may_app(&team, "alex", action).await, "{action}");
        assert!(!may_app(&team, "vera", action).await, "{action}");
        let another = ("Application", "shop");
        assert!(!team.may_on("mika", action, another).await, "{action}");
    }
    assert!(may_app(&team, "vera", "ViewApplications").await);
    assert!(!may_app(&team, "vera", "ViewApplicationDetails").await);

    // Vera starts to code; she may not promote herself, Alex may.
    is(
        team.set_roles("vera", "vera", &["member"]).await,
        DENIED.0,
        DENIED.1,
    );
    team.set_roles("alex", "vera", &["member"])
        .await
        .expect("promoted");
    assert!(may_app(&team, "vera", "ViewApplicationDetails").await);
    assert!(team.may("vera", "CreateApplication").await);

    // The application changes hands.
    let transfer = v1::TransferResourceRequest {
        organization: ACME.to_owned(),
        r#type: "Application".to_owned(),
        id: "crm".to_owned(),
        owner: "vera".to_owned(),
        ..Default::default()
    };
    let moved = team
        .daemon
        .resources()
        .transfer_resource(super::by("alex", transfer))
        .await;
    moved.expect("an Admin may");
    assert!(may_app(&team, "vera", "DeleteApplication").await);
    assert!(!may_app(&team, "mika", "DeleteApplication").await);

    // Mika makes a token for the build; it is worth what Mika is.
    let secret = team.token("mika").await.expect("a token").secret;
    assert!(
        team.token_may(&secret, "ViewDashboard", ("Organization", ACME))
            .await
    );

    // Quinn sells: Alex is offered the project, and accepts.
    team.offer("quinn", "alex").await.expect("offered");
    assert_eq!(team.daemon.owner_of(ACME).await, "quinn");
    team.daemon.accept(ACME, "alex").await.expect("accepted");
    assert!(team.may("alex", "ManageBilling").await);
    assert!(!team.may("quinn", "ManageBilling").await);
    assert!(team.may("quinn", "ViewBilling").await);

    // Mika is suspended during an inquiry, reinstated, and at last removed.
    team.suspend("quinn", "mika").await.expect("suspended");
    assert!(!team.may("mika", "ViewDashboard").await);
    assert!(
        !team
            .token_may(&secret, "ViewDashboard", ("Organization", ACME))
            .await
    );
    team.reinstate("quinn", "mika").await.expect("reinstated");
    assert!(team.may("mika", "ViewDashboard").await);
    team.remove("quinn", "mika").await.expect("removed");
    assert!(!team.may("mika", "ViewDashboard").await);

    let denied = team
        .try_events("vera", v1::ListEventsRequest::default())
        .await;
    is(denied, DENIED.0, DENIED.1);
    let story = [
        "platform CreateOrganization Organization",
        "quinn CreateInvitation Organization: PLAN_LACKS_FEATURE",
        "platform SetPlan Organization",
        "quinn CreateInvitation Invitation",
        "alex AcceptInvitation alex",
        "alex CreateInvitation Invitation",
        "mika AcceptInvitation mika",
        "alex CreateInvitation Invitation",
        "vera AcceptInvitation vera",
        "platform RegisterResource crm",
        "vera SetMemberRoles vera: PERMISSION_DENIED",
        "alex SetMemberRoles vera",
        "alex TransferResource crm",
        "mika CreateToken Token",
        "quinn InitiateTransfer Organization",
        "alex AcceptTransfer Organization",
        "quinn SuspendMember mika",
        "quinn ReinstateMember mika",
        "quinn RemoveMember mika",
        "vera ListEvents Organization: PERMISSION_DENIED",
    ];
    assert_eq!(team.story("quinn").await, story);
    team.stop().await;
}

#[tokio::test]
async fn rule_owners() {
    let team = team("pro").await;
    team.assert_one_owner("quinn", "alex", "viewer").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_invitable_roles() {
    let team = team("enterprise").await;
    for role in ["admin", "member", "viewer"] {
        let joined = team.hire("alex", &format!("new-{role}"), &[role]).await;
        assert_eq!(joined.roles, [role]);
    }
    let owner = team
        .try_invite("quinn", invitation("heir", &["owner"]))
        .await;
    is(owner, DENIED.0, "OWNERSHIP_NOT_GIVEN");
    team.stop().await;
}

#[tokio::test]
async fn rule_invitation_ttl_days() {
    let team = team("pro").await;
    let (_, in_time) = team.invite("alex", "early", &["member"]).await;
    let (_, too_late) = team.invite("alex", "late", &["member"]).await;
    team.at(7 * DAY - 1);
    team.join(&in_time, "early").await;
    team.at(7 * DAY);
    is(
        team.try_join(&too_late, "late").await,
        Code::FailedPrecondition,
        "LINK_EXPIRED",
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_invitation_fields() {
    // Email, role, and if one likes a message, which the mail carries.
    let team = team("pro").await;
    let asked = v1::NewInvitation {
        message: "Come and build with us.".to_owned(),
        ..invitation("mina", &["viewer"])
    };
    let sent = team.try_invite("alex", asked).await.expect("sent");
    let sent = sent.invitation.expect("an invitation");
    assert_eq!(sent.email, address("mina"));
    assert_eq!(sent.roles, ["viewer"]);
    assert_eq!(sent.message, "Come and build with us.");
    let letters = crate::notifications::lease(&team.daemon, 100).await;
    let letter = letters.iter().find(|letter| {
        let notification = letter.notification.as_ref();
        notification.is_some_and(|one| one.email == address("mina"))
    });
    let letter = letter.expect("her letter");
    assert!(letter.body.contains("Come and build with us."));
    let silent = team
        .try_invite("alex", invitation("milo", &["viewer"]))
        .await;
    let silent = silent.expect("sent").invitation.expect("an invitation");
    assert_eq!(silent.message, "");
    team.stop().await;
}

#[tokio::test]
async fn rule_pending_columns() {
    // Email, role, sent, expires.
    let team = team("pro").await;
    team.at(HOUR);
    team.invite("alex", "mina", &["viewer"]).await;
    let waiting = team.invitations("alex", InvitationStatus::Pending).await;
    let [waiting] = waiting.as_slice() else {
        panic!("{waiting:?}");
    };
    assert_eq!(waiting.email, address("mina"));
    assert_eq!(waiting.roles, ["viewer"]);
    assert_eq!(waiting.sent_time, after(HOUR));
    assert_eq!(waiting.expire_time, after(HOUR + 7 * DAY));
    for reader in ["mika", "stranger"] {
        let request = v1::ListInvitationsRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        };
        let listed = team
            .daemon
            .invitations()
            .list_invitations(super::by(reader, request))
            .await;
        is(listed, DENIED.0, DENIED.1);
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_actions() {
    // Resend, copy link, cancel.
    let team = team("pro").await;
    let (id, first) = team.invite("alex", "mina", &["viewer"]).await;
    assert_eq!(team.copy_link("alex", &id).await.expect("shown"), first);
    let second = team.resend("quinn", &id).await.expect("sent again");
    assert_ne!(first, second);
    assert_eq!(team.copy_link("alex", &id).await.expect("shown"), second);
    for attempt in [
        team.resend("mika", &id).await.map(drop),
        team.copy_link("mika", &id).await.map(drop),
        team.revoke("mika", &id).await.map(drop),
    ] {
        is(attempt, DENIED.0, DENIED.1);
    }
    let cancelled = team.revoke("alex", &id).await.expect("cancelled");
    assert_eq!(cancelled.status(), InvitationStatus::Revoked);
    team.try_join(&second, "mina").await.expect_err("cancelled");
    team.copy_link("alex", &id).await.expect_err("cancelled");
    team.stop().await;
}

#[tokio::test]
async fn rule_members_columns() {
    // Name, email, role, status Active, Pending or Suspended, joined, last active.
    let team = team("pro").await;
    team.at(HOUR);
    team.hire("alex", "vera", &["viewer"]).await;
    team.suspend("alex", "vera").await.expect("suspended");
    team.invite("alex", "mina", &["viewer"]).await;
    team.at(3 * HOUR);
    let seen = v1::RecordMemberActivityRequest {
        organization: ACME.to_owned(),
        user: "mika".to_owned(),
        time: after(2 * HOUR),
        ..Default::default()
    };
    let seen = team.daemon.members().record_member_activity(seen).await;
    seen.expect("recorded");

    type Row<'a> = (&'a str, &'a str, MemberStatus, i64, Option<i64>);
    let expected: [Row<'_>; 4] = [
        ("alex", "admin", MemberStatus::Active, 0, None),
        ("mika", "member", MemberStatus::Active, 0, Some(2 * HOUR)),
        ("quinn", "", MemberStatus::Active, 0, None),
        ("vera", "viewer", MemberStatus::Suspended, HOUR, None),
    ];
    let mut people = team.people("alex").await;
    let invited = people.pop().expect("the invited");
    assert_eq!(people.len(), expected.len());
    for (shown, (user, role, status, joined, active)) in people.iter().zip(expected) {
        let name = if shown.owner { "Owner" } else { "The" };
        assert_eq!(shown.display_name, format!("{name} {user}"));
        assert_eq!(shown.email, address(user));
        assert_eq!(shown.roles.join(","), role);
        assert_eq!(shown.status(), status);
        assert_eq!(shown.join_time, after(joined));
        assert_eq!(shown.last_active_time, active.and_then(after));
    }
    assert_eq!(invited.display_name, "The mina");
    assert_eq!(invited.email, address("mina"));
    assert_eq!(invited.roles, ["viewer"]);
    assert_eq!(invited.status(), MemberStatus::Pending);
    assert_eq!((invited.join_time, invited.last_active_time), (None, None));
    team.stop().await;
}

#[tokio::test]
async fn rule_transfer() {
    // In two steps, to an existing Admin; the old owner becomes Admin; no way back.
    let team = team("pro").await;
    is(
        team.daemon.hand_over(ACME, Some("quinn"), "alex").await,
        Code::FailedPrecondition,
        "TRANSFER_TARGET",
    );
    is(
        team.offer("quinn", "mika").await,
        Code::FailedPrecondition,
        "TRANSFER_TARGET",
    );
    is(team.offer("alex", "alex").await, DENIED.0, DENIED.1);
    team.offer("quinn", "alex").await.expect("offered");
    assert_eq!(team.daemon.owner_of(ACME).await, "quinn", "one step of two");
    is(team.daemon.accept(ACME, "mika").await, DENIED.0, DENIED.1);
    team.daemon.accept(ACME, "alex").await.expect("accepted");
    assert_eq!(team.daemon.owner_of(ACME).await, "alex");
    assert_eq!(team.member("quinn").await.roles, ["admin"]);
    is(team.offer("quinn", "quinn").await, DENIED.0, DENIED.1);
    let undo = v1::CancelTransferRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let undone = team.daemon.organizations().cancel_transfer(undo).await;
    is(undone, Code::FailedPrecondition, "NO_TRANSFER");
    team.stop().await;
}

async fn offer_to_address(team: &Team) -> String {
    let request = v1::InitiateTransferRequest {
        email: address("heir"),
        ..team.signed_in("quinn")
    };
    let offered = team.daemon.initiate("quinn", request).await;
    offered.expect("offered").token
}

async fn take_over(team: &Team, token: &str) -> Result<(), Status> {
    let request = v1::AcceptTransferRequest {
        organization: ACME.to_owned(),
        token: token.to_owned(),
        user: "heir".to_owned(),
        email: address("heir"),
        display_name: "Heir".to_owned(),
        ..Default::default()
    };
    let accepted = team.daemon.organizations().accept_transfer(request).await;
    accepted.map(drop)
}

#[tokio::test]
async fn rule_transfer_to_an_address() {
    // To an e-mail invited as owner.
    let team = team("pro").await;
    let token = offer_to_address(&team).await;
    take_over(&team, &token).await.expect("accepted");
    assert_eq!(team.daemon.owner_of(ACME).await, "heir");
    assert_eq!(team.member("quinn").await.roles, ["admin"]);
    assert!(team.may("heir", "DeleteOrganization").await);
    take_over(&team, &token).await.expect_err("used");
    team.stop().await;
}

#[tokio::test]
async fn rule_transfer_initiator_reauthenticates() {
    let team = team("pro").await;
    let offer = |reauthentication| v1::InitiateTransferRequest {
        organization: ACME.to_owned(),
        user: "alex".to_owned(),
        reauthentication,
        ..Default::default()
    };
    team.at(DAY);
    for stale in [None, proof("quinn", NOW), proof("alex", later(DAY))] {
        let refused = team.daemon.initiate("quinn", offer(stale)).await;
        let refused = refused.expect_err("not signed in again");
        assert_eq!(crate::harness::reason(&refused), "REAUTHENTICATION_NEEDED");
    }
    let fresh = offer(proof("quinn", later(DAY)));
    team.daemon.initiate("quinn", fresh).await.expect("offered");
    team.stop().await;
}

#[tokio::test]
async fn rule_transfer_accept_within_days() {
    let team = team("pro").await;
    for (moment, accepted) in [(7 * DAY, false), (14 * DAY - 1, true)] {
        let offered = team.offer("quinn", "alex").await.expect("offered");
        let ends = offered.transfer.expect("the offer").expire_time;
        assert_eq!(ends, Some(timestamp(super::Moment(team.now().0 + 7 * DAY))));
        team.at(moment);
        let attempt = team.daemon.accept(ACME, "alex").await;
        assert_eq!(attempt.is_ok(), accepted, "{attempt:?}");
    }
    assert_eq!(team.daemon.owner_of(ACME).await, "alex");
    team.stop().await;
}

#[tokio::test]
async fn rule_plans_free() {
    // One member, no invitations.
    let team = Team::found("qoc-cloud", "free", "quinn").await;
    let invited = team
        .try_invite("quinn", invitation("alex", &["admin"]))
        .await;
    is(invited, Code::FailedPrecondition, "PLAN_LACKS_FEATURE");
    let invited = team
        .try_invite(PLATFORM, invitation("alex", &["admin"]))
        .await;
    is(invited, Code::FailedPrecondition, "PLAN_LACKS_FEATURE");
    let added = v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: "alex".to_owned(),
        ..Default::default()
    };
    let added = team.daemon.members().add_member(added).await;
    is(added, Code::ResourceExhausted, "SEATS_TAKEN");
    team.stop().await;
}

#[tokio::test]
async fn rule_plans_pro() {
    // Five members, any number of pending invitations.
    let team = team("pro").await;
    let mut links = Vec::new();
    for number in 0..40 {
        let user = format!("u{number}");
        let (_, link) = team.invite("alex", &user, &["viewer"]).await;
        links.push((user, link));
    }
    let waiting = team.invitations("alex", InvitationStatus::Pending).await;
    assert_eq!(waiting.len(), 40);
    for (user, link) in &links[..2] {
        team.join(link, user).await;
    }
    let (user, link) = &links[2];
    is(
        team.try_join(link, user).await,
        Code::ResourceExhausted,
        "SEATS_TAKEN",
    );
    let role = team.role("alex", "auditor", &["ViewBilling"]).await;
    is(role, Code::FailedPrecondition, "PLAN_LACKS_FEATURE");
    team.stop().await;
}

#[tokio::test]
async fn rule_plans_enterprise() {
    // Any number of members, custom roles, and features that are the host's to sell.
    let team = team("enterprise").await;
    for number in 0..20 {
        team.hire("alex", &format!("u{number}"), &["viewer"]).await;
    }
    team.role("alex", "auditor", &["ViewBilling"])
        .await
        .expect("created");
    team.hire("alex", "audrey", &["auditor"]).await;
    assert!(team.may("audrey", "ViewBilling").await);
    assert!(!team.may("audrey", "ViewDashboard").await);
    let catalog = v1::GetCatalogRequest {
        catalog: "qoc-cloud".to_owned(),
    };
    let catalog = team.daemon.policies().get_catalog(catalog).await;
    let plans = catalog.expect("it").into_inner().catalog.expect("it").plans;
    let features = |id: &str| {
        let plan = plans.iter().find(|plan| plan.id == id);
        plan.expect("the plan").features.clone()
    };
    let all = ["advanced_audit", "custom_roles", "invitations", "sso"];
    assert_eq!(features("enterprise"), all);
    assert_eq!(features("pro"), ["invitations"]);
    assert!(features("free").is_empty());
    team.stop().await;
}

#[tokio::test]
async fn rule_seat_check() {
    // At acceptance: what waits takes no seat, who joins does.
    let team = team("pro").await;
    for user in ["a", "b"] {
        team.hire("alex", user, &["viewer"]).await;
    }
    let (_, link) = team.invite("alex", "c", &["viewer"]).await;
    is(
        team.try_join(&link, "c").await,
        Code::ResourceExhausted,
        "SEATS_TAKEN",
    );
    team.remove("alex", "a").await.expect("removed");
    team.join(&link, "c").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_role_change() {
    // Immediate, and the member is notified.
    let team = team("pro").await;
    assert!(!may_app(&team, "mika", "EditApplication").await);
    let before = team.notices().await;
    team.set_roles("alex", "mika", &["admin"])
        .await
        .expect("set");
    assert!(may_app(&team, "mika", "EditApplication").await);
    let told = team.notices().await.split_off(before.len());
    assert_eq!(told, [(NotificationKind::RoleChanged, "mika".to_owned())]);
    let letters = crate::notifications::lease(&team.daemon, 100).await;
    let letter = letters.last().expect("a letter");
    let notification = letter.notification.as_ref().expect("its notification");
    assert_eq!(notification.email, address("mika"));
    assert!(letter.body.contains("Admin"), "{}", letter.body);
    team.stop().await;
}

#[tokio::test]
async fn rule_removal() {
    // Immediate, and the member is notified.
    let team = team("pro").await;
    let before = team.notices().await;
    team.remove("alex", "mika").await.expect("removed");
    assert!(!team.may("mika", "ViewDashboard").await);
    let told = team.notices().await.split_off(before.len());
    assert_eq!(told, [(NotificationKind::MemberRemoved, "mika".to_owned())]);
    team.stop().await;
}

#[tokio::test]
async fn rule_resource_ownership() {
    // The creator owns an application: edits all settings, regenerates credentials,
    // transfers it, deletes it.
    let team = team("pro").await;
    team.hire("alex", "max", &["member"]).await;
    for action in FULL_CONTROL {
        let asked = |user| question(ACME, user, action, "Application", "new");
        let created = owned_by(asked("mika"), "mika");
        assert!(team.daemon.allows(created).await, "{action}");
        let another = owned_by(asked("max"), "mika");
        assert!(!team.daemon.allows(another).await, "{action}");
    }
    // A creator who becomes Viewer has a Viewer's rights.
    team.set_roles("alex", "mika", &["viewer"])
        .await
        .expect("set");
    for action in FULL_CONTROL {
        let asked = question(ACME, "mika", action, "Application", "new");
        assert!(
            !team.daemon.allows(owned_by(asked, "mika")).await,
            "{action}"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_audit_fields() {
    // Action created, updated or deleted; resource; member; timestamp; details.
    let team = team("pro").await;
    team.at(HOUR);
    team.invite("alex", "mina", &["viewer"]).await;
    team.set_roles("alex", "mika", &["viewer"])
        .await
        .expect("set");
    team.remove("alex", "mika").await.expect("removed");
    let events = team.events("alex", v1::ListEventsRequest::default()).await;
    let [removed, changed, invited] = &events[..3] else {
        panic!("{events:?}");
    };
    for (event, effect, resource) in [
        (removed, EventEffect::Deleted, ("Member", "mika")),
        (changed, EventEffect::Updated, ("Member", "mika")),
    ] {
        assert_eq!(event.effect(), effect);
        assert_eq!(
            (event.target_type.as_str(), event.target_id.as_str()),
            resource
        );
        assert_eq!(event.actor, "alex");
        assert_eq!(event.time, after(HOUR));
    }
    assert_eq!(invited.effect(), EventEffect::Created);
    assert_eq!(invited.target_type, "Invitation");
    assert_eq!(detail(invited, "roles"), Some("viewer"));
    assert_eq!(detail(changed, "before"), Some("member"));
    assert_eq!(detail(changed, "after"), Some("viewer"));
    assert_eq!(detail(removed, "roles"), Some("viewer"));
    team.stop().await;
}

#[tokio::test]
async fn rule_audit_filters() {
    // Member, action type, date range, resource type.
    let team = team("pro").await;
    team.at(DAY);
    team.set_roles("alex", "mika", &["viewer"])
        .await
        .expect("set");
    team.register("alex", ("Application", "crm"), "mika")
        .await
        .expect("registered");
    team.at(2 * DAY);
    team.remove("alex", "mika").await.expect("removed");
    let found = async |request| -> Vec<String> {
        let mut events = team.events("alex", request).await;
        events.reverse();
        events.into_iter().map(|event| event.action).collect()
    };
    let member = v1::ListEventsRequest {
        member: "mika".to_owned(),
        ..Default::default()
    };
    let of_mika = ["AcceptInvitation", "SetMemberRoles", "RemoveMember"];
    assert_eq!(found(member).await, of_mika);
    let action = v1::ListEventsRequest {
        actions: owned(&["SetMemberRoles"]),
        ..Default::default()
    };
    assert_eq!(found(action).await, ["SetMemberRoles"]);
    let effect = v1::ListEventsRequest {
        effect: EventEffect::Deleted.into(),
        ..Default::default()
    };
    assert_eq!(found(effect).await, ["RemoveMember"]);
    let range = v1::ListEventsRequest {
        from: after(DAY),
        until: after(2 * DAY),
        ..Default::default()
    };
    assert_eq!(found(range).await, ["SetMemberRoles", "RegisterResource"]);
    let resource = v1::ListEventsRequest {
        target_type: "Application".to_owned(),
        ..Default::default()
    };
    assert_eq!(found(resource).await, ["RegisterResource"]);
    team.stop().await;
}
