//! OnCloudWine: an importer's team. One organization, an OWNER, ADMINs and MEMBERs.

use roster::domain::organization::Moment;
use roster::proto::v1;
use tonic::Code;
use v1::{EventOutcome, InvitationStatus, MemberStatus};

use super::{
    ACME, DAY, DENIED, HOUR, NOW, PLATFORM, Shown, Team, address, after,
    assert_no_rule_is_forgotten, by, is, until,
};

const RULES: &[(&str, Shown)] = &[
    ("owners", Shown::By(&["rule_owners"])),
    ("transfer", Shown::By(&["rule_transfer"])),
    (
        "invitation_statuses",
        Shown::By(&["rule_invitation_statuses"]),
    ),
    ("expired", Shown::By(&["rule_expired"])),
    ("resend", Shown::By(&["rule_resend"])),
    ("revoke", Shown::By(&["rule_revoke"])),
    ("members_list", Shown::By(&["rule_members_list"])),
    ("invitable_roles", Shown::By(&["rule_invitable_roles"])),
    ("removal", Shown::By(&["rule_removal"])),
    (
        "removal_confirm",
        Shown::NotRosters(
            "What an admin types before the console sends the removal is the console's.",
        ),
    ),
    ("seats", Shown::By(&["rule_seats"])),
    ("audit", Shown::By(&["rule_audit"])),
    (
        "time_bounded_access",
        Shown::By(&["rule_time_bounded_access"]),
    ),
    ("fixture_members", Shown::By(&["rule_members_list"])),
];

const CONTACT: (&str, &str) = ("Contact", "cellar-42");
const TASK: (&str, &str) = ("Task", "call-the-harbour");

async fn team() -> Team {
    let team = Team::found("oncloudwine", "", "liam").await;
    team.hire("liam", "riley", &["admin"]).await;
    team.hire("riley", "morgan", &["member"]).await;
    team
}

#[test]
fn every_rule_is_shown_or_is_not_rosters() {
    assert_no_rule_is_forgotten("oncloudwine", include_str!("oncloudwine.rs"), RULES);
}

#[tokio::test]
async fn the_daily_life_of_a_wine_importer() {
    // Liam founds the organization and brings in Riley, who runs the team.
    let team = Team::found("oncloudwine", "", "liam").await;
    team.hire("liam", "riley", &["admin"]).await;
    assert!(team.may("riley", "ManageBilling").await);
    assert!(!team.may("riley", "DeleteOrganization").await);

    // Riley invites Morgan and Cameron; Cameron's first mail gets lost.
    team.hire("riley", "morgan", &["member"]).await;
    let (cameron, lost) = team.invite("riley", "cameron", &["member"]).await;
    assert!(!team.may_on("cameron", "ManageContacts", CONTACT).await);
    let link = team.resend("riley", &cameron).await.expect("sent again");
    is(
        team.try_join(&lost, "cameron").await,
        Code::FailedPrecondition,
        "LINK_SUPERSEDED",
    );
    team.join(&link, "cameron").await;

    // The daily work: contacts, releases, payments; not bills, keys or the team.
    for user in ["morgan", "cameron"] {
        assert!(team.may_on(user, "ManageContacts", CONTACT).await);
        assert!(team.may_on(user, "ProcessPayments", ("Payment", "p")).await);
        assert!(!team.may(user, "ManageBilling").await);
        assert!(!team.may(user, "ManageTeam").await);
        is(team.token(user).await, DENIED.0, DENIED.1);
    }
    is(team.remove("morgan", "cameron").await, DENIED.0, DENIED.1);

    // Morgan is promoted, makes an API key for the shop and demoted again: the key
    // is worth what Morgan is.
    team.set_roles("riley", "morgan", &["admin"])
        .await
        .expect("promoted");
    assert!(team.may("morgan", "ConnectIntegrations").await);
    let key = team.token("morgan").await.expect("a key").secret;
    let organization = ("Organization", ACME);
    assert!(team.token_may(&key, "ManageBilling", organization).await);
    team.set_roles("riley", "morgan", &["member"])
        .await
        .expect("demoted");
    assert!(!team.token_may(&key, "ManageBilling", organization).await);
    assert!(team.token_may(&key, "ManageContacts", CONTACT).await);

    // Liam retires: Riley is OWNER at once, and Liam an ADMIN.
    let handed = team.daemon.hand_over(ACME, Some("liam"), "riley").await;
    assert_eq!(handed.expect("handed over").owner, "riley");
    assert!(team.may("riley", "DeleteOrganization").await);
    assert!(!team.may("liam", "DeleteOrganization").await);
    assert!(team.may("liam", "ManageTeam").await);

    // Cameron is away for a season, and Morgan leaves for good.
    team.suspend("liam", "cameron").await.expect("suspended");
    assert!(!team.may_on("cameron", "ManageContacts", CONTACT).await);
    team.reinstate("liam", "cameron").await.expect("reinstated");
    assert!(team.may_on("cameron", "ManageContacts", CONTACT).await);
    team.remove("liam", "morgan").await.expect("removed");
    assert!(!team.may_on("morgan", "ManageContacts", CONTACT).await);
    assert!(!team.token_may(&key, "ManageContacts", CONTACT).await);

    // Who may read the log finds all of it, in order.
    is(
        team.try_events("cameron", v1::ListEventsRequest::default())
            .await,
        DENIED.0,
        DENIED.1,
    );
    let story = [
        "platform CreateOrganization Organization",
        "liam CreateInvitation Invitation",
        "riley AcceptInvitation riley",
        "riley CreateInvitation Invitation",
        "morgan AcceptInvitation morgan",
        "riley CreateInvitation Invitation",
        "riley ResendInvitation Invitation",
        "cameron AcceptInvitation Organization: LINK_SUPERSEDED",
        "cameron AcceptInvitation cameron",
        "morgan CreateToken Organization: PERMISSION_DENIED",
        "cameron CreateToken Organization: PERMISSION_DENIED",
        "morgan RemoveMember cameron: PERMISSION_DENIED",
        "riley SetMemberRoles morgan",
        "morgan CreateToken Token",
        "riley SetMemberRoles morgan",
        "liam TransferOwnership Organization",
        "liam SuspendMember cameron",
        "liam ReinstateMember cameron",
        "liam RemoveMember morgan",
        "cameron ListEvents Organization: PERMISSION_DENIED",
    ];
    assert_eq!(team.story("liam").await, story);
    team.stop().await;
}

#[tokio::test]
async fn rule_owners() {
    let team = team().await;
    team.assert_one_owner("liam", "riley", "member").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_transfer() {
    // Setting a member to OWNER downgrades the current owner to ADMIN in the same step.
    let team = team().await;
    for user in ["riley", "morgan"] {
        is(
            team.daemon.hand_over(ACME, Some(user), user).await,
            DENIED.0,
            DENIED.1,
        );
    }
    let before = team.events("liam", v1::ListEventsRequest::default()).await;
    let handed = team.daemon.hand_over(ACME, Some("liam"), "morgan").await;
    assert_eq!(handed.expect("handed over").owner, "morgan");
    assert_eq!(team.daemon.owner_of(ACME).await, "morgan");
    assert_eq!(team.member("liam").await.roles, ["admin"]);
    let events = team
        .events("morgan", v1::ListEventsRequest::default())
        .await;
    assert_eq!(events.len(), before.len() + 1, "one step");
    team.stop().await;
}

#[tokio::test]
async fn rule_invitation_statuses() {
    let team = team().await;
    let (waiting, _) = team.invite("riley", "wanda", &["member"]).await;
    let (revoked, _) = team.invite("riley", "ravi", &["member"]).await;
    team.revoke("riley", &revoked).await.expect("revoked");
    let ids = async |status| -> Vec<String> {
        let found = team.invitations("riley", status).await;
        found.into_iter().map(|one| one.id).collect()
    };
    assert_eq!(ids(InvitationStatus::Pending).await, [waiting]);
    assert_eq!(ids(InvitationStatus::Revoked).await, [revoked]);
    let accepted = team.invitations("riley", InvitationStatus::Accepted).await;
    let mut by: Vec<_> = accepted.into_iter().map(|one| one.accepted_by).collect();
    by.sort();
    assert_eq!(by, ["morgan", "riley"]);
    team.stop().await;
}

#[tokio::test]
async fn rule_expired() {
    // Past its deadline an invitation is shown as EXPIRED, and can be resent.
    let team = team().await;
    let (id, old) = team.invite("riley", "cameron", &["member"]).await;
    team.at(7 * DAY);
    let expired = team.invitations("riley", InvitationStatus::Expired).await;
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].id, id);
    is(
        team.try_join(&old, "cameron").await,
        Code::FailedPrecondition,
        "LINK_EXPIRED",
    );
    let fresh = team.resend("riley", &id).await.expect("sent again");
    let waiting = team.invitations("riley", InvitationStatus::Pending).await;
    assert_eq!(waiting[0].expire_time, after(14 * DAY));
    team.join(&fresh, "cameron").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_resend() {
    // A fresh link; the old link dies.
    let team = team().await;
    let (id, old) = team.invite("riley", "cameron", &["member"]).await;
    team.at(HOUR);
    let fresh = team.resend("riley", &id).await.expect("sent again");
    assert_ne!(old, fresh);
    is(
        team.try_join(&old, "cameron").await,
        Code::FailedPrecondition,
        "LINK_SUPERSEDED",
    );
    team.join(&fresh, "cameron").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_revoke() {
    // The link is dead, and only a fresh invitation invites again.
    let team = team().await;
    let (id, dead) = team.invite("riley", "cameron", &["member"]).await;
    team.revoke("riley", &id).await.expect("revoked");
    team.try_join(&dead, "cameron").await.expect_err("dead");
    team.resend("riley", &id).await.expect_err("closed");
    let (again, link) = team.invite("riley", "cameron", &["member"]).await;
    assert_ne!(again, id);
    team.try_join(&dead, "cameron")
        .await
        .expect_err("still dead");
    team.join(&link, "cameron").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_members_list() {
    // Member, Email, Role, Status: as the product shows its own example team.
    let team = team().await;
    let (id, _) = team.invite("riley", "cameron", &["member"]).await;
    for reader in ["liam", "riley"] {
        let shown: Vec<_> = team
            .people(reader)
            .await
            .into_iter()
            .map(|one| {
                let role = if one.owner {
                    "owner".into()
                } else {
                    one.roles.join(",")
                };
                (
                    one.display_name.clone(),
                    one.email.clone(),
                    role,
                    one.status(),
                )
            })
            .collect();
        let row = |name: &str, user: &str, role: &str, status| {
            (name.to_owned(), address(user), role.to_owned(), status)
        };
        let expected = [
            row("Owner liam", "liam", "owner", MemberStatus::Active),
            row("The morgan", "morgan", "member", MemberStatus::Active),
            row("The riley", "riley", "admin", MemberStatus::Active),
            row("The cameron", "cameron", "member", MemberStatus::Pending),
        ];
        assert_eq!(shown, expected, "{reader}");
    }
    let last = team.people("riley").await.pop().expect("the invited");
    assert_eq!((last.user.as_str(), last.invitation), ("", id));
    team.stop().await;
}

#[tokio::test]
async fn rule_invitable_roles() {
    let team = team().await;
    for role in ["member", "admin"] {
        team.hire("riley", &format!("new-{role}"), &[role]).await;
    }
    let owner = team
        .try_invite("liam", super::invitation("heir", &["owner"]))
        .await;
    is(owner, DENIED.0, "OWNERSHIP_NOT_GIVEN");
    team.stop().await;
}

#[tokio::test]
async fn rule_removal() {
    // At once; the personal account stays; the member's tasks become unassigned.
    let team = team().await;
    team.found_another("other", "oncloudwine", "", "morgan")
        .await;
    team.register("riley", TASK, "morgan")
        .await
        .expect("assigned");
    assert!(team.may_on("morgan", "ManageTasks", TASK).await);
    let removed = team.remove("riley", "morgan").await.expect("removed");
    assert_eq!(removed.orphaned_count, 1);
    let task = removed.orphaned_resources.first().expect("the task");
    assert_eq!((task.r#type.as_str(), task.id.as_str()), TASK);
    assert!(!team.may_on("morgan", "ManageTasks", TASK).await);
    let request = v1::GetResourceRequest {
        organization: ACME.to_owned(),
        r#type: TASK.0.to_owned(),
        id: TASK.1.to_owned(),
        ..Default::default()
    };
    let read = team.daemon.resources().get_resource(request).await;
    let read = read.expect("it is kept").into_inner().resource;
    assert_eq!(read.expect("the task").owner, "", "unassigned");
    assert_eq!(team.organizations_of("morgan").await, ["other"]);
    team.stop().await;
}

#[tokio::test]
async fn rule_seats() {
    // Unlimited.
    let team = team().await;
    for number in 0..60 {
        team.hire("riley", &format!("u{number}"), &["member"]).await;
    }
    assert_eq!(team.people("riley").await.len(), 63);
    team.stop().await;
}

#[tokio::test]
async fn rule_audit() {
    // Every invitation, role change and removal is logged as a user's action on an
    // invitation or a member.
    let team = team().await;
    let (id, _) = team.invite("riley", "cameron", &["member"]).await;
    team.resend("riley", &id).await.expect("sent again");
    team.revoke("riley", &id).await.expect("revoked");
    team.set_roles("riley", "morgan", &["admin"])
        .await
        .expect("set");
    team.remove("riley", "morgan").await.expect("removed");
    for (entity, expected) in [
        (
            "Invitation",
            &[
                ("RevokeInvitation", "riley"),
                ("ResendInvitation", "riley"),
                ("CreateInvitation", "riley"),
                ("CreateInvitation", "riley"),
                ("CreateInvitation", "liam"),
            ][..],
        ),
        (
            "Member",
            &[
                ("RemoveMember", "riley"),
                ("SetMemberRoles", "riley"),
                ("AcceptInvitation", "morgan"),
                ("AcceptInvitation", "riley"),
            ][..],
        ),
    ] {
        let request = v1::ListEventsRequest {
            target_type: entity.to_owned(),
            outcome: EventOutcome::Done.into(),
            ..Default::default()
        };
        let found = team.events("liam", request).await;
        let found: Vec<_> = found
            .iter()
            .map(|event| (event.action.as_str(), event.actor.as_str()))
            .collect();
        assert_eq!(found, expected, "{entity}");
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_time_bounded_access() {
    // The product has none; whoever builds on Roster can.
    let team = team().await;
    let (actor, request) = (
        "riley",
        v1::SetMemberPeriodRequest {
            organization: ACME.to_owned(),
            user: "morgan".to_owned(),
            period: until(NOW.0 + DAY),
            ..Default::default()
        },
    );
    let set = team
        .daemon
        .members()
        .set_member_period(by(actor, request))
        .await;
    set.expect("until tomorrow");
    team.at(DAY - 1);
    assert!(team.may_on("morgan", "ManageContacts", CONTACT).await);
    team.at(DAY);
    assert!(!team.may_on("morgan", "ManageContacts", CONTACT).await);
    assert_eq!(team.now(), Moment(NOW.0 + DAY));
    let guest = v1::NewInvitation {
        period: until(NOW.0 + 2 * DAY),
        ..super::invitation("guest", &["member"])
    };
    let sent = team.try_invite(PLATFORM, guest).await.expect("sent");
    team.join(&sent.token, "guest").await;
    assert!(team.may_on("guest", "ManageContacts", CONTACT).await);
    team.at(2 * DAY);
    assert!(!team.may_on("guest", "ManageContacts", CONTACT).await);
    team.stop().await;
}
