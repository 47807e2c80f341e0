//! What inviting promises: who sees what, how long a link serves, what the member
//! then has.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use roster::domain::organization::Moment;
use roster::proto::v1;
use tonic::Code;
use v1::InvitationStatus::{Accepted, Declined, Expired, Pending, Revoked};

use crate::attacks::{
    ACME, SEVEN_DAYS, THREE_DAYS, accept, copy, create, decline, events, invited, join, new,
    refused, resend, revoke, status_of, team_on, team_on_plan, users,
};
use crate::harness::{Daemon, NOW, as_actor, in_project, owned, question, violations};

fn timestamp(moment: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: moment.div_euclid(1_000),
        nanos: i32::try_from(moment.rem_euclid(1_000)).expect("small") * 1_000_000,
    })
}

fn get(invitation: &str) -> v1::GetInvitationRequest {
    v1::GetInvitationRequest {
        organization: ACME.to_owned(),
        invitation: invitation.to_owned(),
        ..Default::default()
    }
}

async fn read(daemon: &Daemon, invitation: &str) -> v1::Invitation {
    let read = daemon.invitations().get_invitation(get(invitation)).await;
    let read = read.expect("an invitation").into_inner();
    read.invitation.expect("an invitation")
}

async fn listed(daemon: &Daemon, request: v1::ListInvitationsRequest) -> Vec<v1::Invitation> {
    let request = v1::ListInvitationsRequest {
        organization: ACME.to_owned(),
        ..request
    };
    let page = daemon.invitations().list_invitations(request).await;
    page.expect("a page").into_inner().invitations
}

#[tokio::test]
async fn an_invitation_tells_what_it_gives_and_where_it_stands() {
    let daemon = team_on("hypervisor-io").await;
    daemon.add(ACME, "alice", &["admin"]).await;
    daemon.project(ACME, "shop").await;
    daemon.project(ACME, "lab").await;
    let mut client = daemon.invitations();
    let asked = v1::NewInvitation {
        display_name: "Ann Example".to_owned(),
        overrides: vec![v1::ProjectOverride {
            project: "shop".to_owned(),
            permissions: Some(v1::Permissions {
                actions: owned(&["InstancesView"]),
                ..Default::default()
            }),
            ..Default::default()
        }],
        period: Some(v1::Period {
            not_before: None,
            expires_at: timestamp(NOW.0 + 10 * SEVEN_DAYS),
        }),
        message: "Welcome,\nAnn".to_owned(),
        ..new("Ann@X.example", &["operator"])
    };
    let sent = client
        .create_invitation(as_actor("alice", create(asked.clone())))
        .await
        .expect("sent")
        .into_inner();
    let invitation = sent.invitation.expect("an invitation");
    assert_eq!(invitation.email, "ann@x.example");
    assert_eq!(invitation.display_name, asked.display_name);
    assert_eq!(invitation.roles, asked.roles);
    assert_eq!(invitation.message, asked.message);
    assert_eq!(invitation.period, asked.period);
    assert_eq!(invitation.invited_by, "alice");
    assert_eq!(invitation.status(), Pending);
    assert_eq!(invitation.create_time, timestamp(NOW.0));
    assert_eq!(invitation.sent_time, timestamp(NOW.0));
    assert_eq!(invitation.times_sent, 1);
    assert_eq!(invitation.expire_time, timestamp(NOW.0 + THREE_DAYS));
    assert_eq!(invitation.close_time, None);
    assert_eq!(read(&daemon, &invitation.id).await, invitation);

    let later = Moment(NOW.0 + 1_000);
    daemon.world.set(later);
    let ann = join(&daemon, &sent.token, "ann", "ANN@x.example").await;
    assert_eq!(ann.email, "ANN@x.example");
    assert_eq!(ann.display_name, "Ann Example");
    assert_eq!(ann.roles, ["operator"]);
    assert_eq!(ann.period, asked.period);
    assert_eq!(ann.added_by, "alice");
    assert_eq!(ann.join_time, timestamp(later.0));
    assert_eq!(ann.overrides[0].project, "shop");
    let closed = read(&daemon, &invitation.id).await;
    assert_eq!(closed.status(), Accepted);
    assert_eq!(closed.accepted_by, "ann");
    assert_eq!(closed.close_time, timestamp(later.0));
    let manage = |project| {
        let asked = question(ACME, "ann", "InstancesManage", "Instance", "i");
        in_project(asked, project)
    };
    assert!(daemon.allows(manage("lab")).await);
    assert!(!daemon.allows(manage("shop")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn a_link_serves_for_72_hours_or_7_days_as_the_product_says() {
    for (catalog, plan, lifetime) in [
        ("hypervisor-io", "standard", THREE_DAYS),
        ("qoc-cloud", "pro", SEVEN_DAYS),
    ] {
        let daemon = team_on_plan(catalog, plan).await;
        let (id, _) = invited(&daemon, "a@x.example", &[]).await;
        let invitation = read(&daemon, &id).await;
        assert_eq!(
            invitation.expire_time,
            timestamp(NOW.0 + lifetime),
            "{catalog}"
        );
        daemon.stop().await;
    }
}

#[tokio::test]
async fn sending_again_begins_the_time_anew_and_kills_the_older_link() {
    let daemon = team_on("hypervisor-io").await;
    daemon.add(ACME, "alice", &["admin"]).await;
    let (id, first) = invited(&daemon, "a@x.example", &["viewer"]).await;
    let later = NOW.0 + 2 * THREE_DAYS;
    daemon.world.set(Moment(later));
    assert_eq!(status_of(&daemon, &id).await, Expired);
    let mut client = daemon.invitations();
    let stale = v1::ResendInvitationRequest {
        etag: "v0".to_owned(),
        ..resend(&id)
    };
    let attempt = client.resend_invitation(stale);
    refused(&daemon, attempt, Code::Aborted, "STALE_ETAG").await;
    let again = client
        .resend_invitation(as_actor("alice", resend(&id)))
        .await
        .expect("sent again")
        .into_inner();
    let invitation = again.invitation.expect("an invitation");
    assert_eq!(invitation.status(), Pending);
    assert_eq!(invitation.sent_time, timestamp(later));
    assert_eq!(invitation.create_time, timestamp(NOW.0));
    assert_eq!(invitation.expire_time, timestamp(later + THREE_DAYS));
    assert_eq!(invitation.times_sent, 2);
    assert_eq!(invitation.invited_by, "alice");
    assert_ne!(again.token, first);
    let attempt = client.accept_invitation(accept(&first, "ann", "a@x.example"));
    refused(
        &daemon,
        attempt,
        Code::FailedPrecondition,
        "LINK_SUPERSEDED",
    )
    .await;
    // One mail waits, not two.
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    assert_eq!(snapshot.organization().notifications.len(), 1);
    drop(snapshot);
    join(&daemon, &again.token, "ann", "a@x.example").await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_expired_invitation_neither_blocks_a_new_one_nor_returns_beside_it() {
    let daemon = team_on("hypervisor-io").await;
    let (old, _) = invited(&daemon, "a@x.example", &[]).await;
    daemon.world.set(Moment(NOW.0 + THREE_DAYS));
    let (_, token) = invited(&daemon, "a@x.example", &[]).await;
    let mut client = daemon.invitations();
    let attempt = client.resend_invitation(resend(&old));
    refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    join(&daemon, &token, "ann", "a@x.example").await;
    let attempt = client.resend_invitation(resend(&old));
    refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    client
        .revoke_invitation(revoke(&old))
        .await
        .expect("revoked");
    daemon.stop().await;
}

#[tokio::test]
async fn whoever_holds_the_link_may_decline() {
    let daemon = team_on("oncloudwine").await;
    let (id, token) = invited(&daemon, "a@x.example", &[]).await;
    let mut client = daemon.invitations();
    let declined = client.decline_invitation(decline(&token)).await;
    let declined = declined.expect("declined").into_inner();
    assert_eq!(
        declined.invitation.expect("an invitation").status(),
        Declined
    );
    let attempt = client.accept_invitation(accept(&token, "ann", "a@x.example"));
    refused(&daemon, attempt, Code::FailedPrecondition, "LINK_DECLINED").await;
    let attempt = client.resend_invitation(resend(&id));
    refused(
        &daemon,
        attempt,
        Code::FailedPrecondition,
        "INVITATION_STATUS",
    )
    .await;
    // It holds the address no longer.
    invited(&daemon, "a@x.example", &[]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn invitations_are_listed_by_status_and_address_in_pages() {
    let daemon = team_on("hypervisor-io").await;
    let (expired, _) = invited(&daemon, "old@x.example", &[]).await;
    daemon.world.set(Moment(NOW.0 + THREE_DAYS));
    let (pending, _) = invited(&daemon, "new@x.example", &[]).await;
    let (revoked, _) = invited(&daemon, "gone@x.example", &[]).await;
    let (_, token) = invited(&daemon, "in@x.example", &[]).await;
    join(&daemon, &token, "ina", "in@x.example").await;
    let (_, token) = invited(&daemon, "no@x.example", &[]).await;
    let mut client = daemon.invitations();
    client
        .decline_invitation(decline(&token))
        .await
        .expect("declined");
    client
        .revoke_invitation(revoke(&revoked))
        .await
        .expect("revoked");

    let of = |status: v1::InvitationStatus| v1::ListInvitationsRequest {
        status: status.into(),
        ..Default::default()
    };
    let mut found = BTreeMap::new();
    for status in [Pending, Expired, Accepted, Revoked, Declined] {
        let those = listed(&daemon, of(status)).await;
        assert!(those.iter().all(|invitation| invitation.status() == status));
        found.insert(
            status as i32,
            those.into_iter().map(|one| one.id).collect::<Vec<_>>(),
        );
    }
    assert_eq!(found[&(Pending as i32)], std::slice::from_ref(&pending));
    assert_eq!(found[&(Expired as i32)], [expired]);
    assert_eq!(found[&(Revoked as i32)], [revoked]);
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 5);

    let by_address = listed(
        &daemon,
        v1::ListInvitationsRequest {
            email: "NEW@x.example".to_owned(),
            ..Default::default()
        },
    )
    .await;
    assert_eq!(by_address.len(), 1);
    assert_eq!(by_address[0].id, pending);

    let mut paged = Vec::new();
    let mut request = v1::ListInvitationsRequest {
        organization: ACME.to_owned(),
        page_size: 2,
        ..Default::default()
    };
    loop {
        let page = client.list_invitations(request.clone()).await;
        let page = page.expect("a page").into_inner();
        paged.extend(page.invitations.into_iter().map(|one| one.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let whole: Vec<String> = listed(&daemon, v1::ListInvitationsRequest::default())
        .await
        .into_iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(paged, whole);
    assert_eq!(paged.len(), 5);
    let wrong = v1::ListInvitationsRequest {
        organization: ACME.to_owned(),
        status: 99,
        ..Default::default()
    };
    let status = client.list_invitations(wrong).await.expect_err("refused");
    assert_eq!(
        violations(&status),
        [("status".to_owned(), "MALFORMED".to_owned())]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_invited_are_listed_behind_the_members_where_that_is_asked_for() {
    let daemon = team_on("hypervisor-io").await;
    daemon.add(ACME, "zoe", &["viewer"]).await;
    daemon.add(ACME, "vera", &["viewer"]).await;
    daemon.add(ACME, "oskar", &["operator"]).await;
    invited(&daemon, "old@x.example", &["viewer"]).await;
    daemon.world.set(Moment(NOW.0 + THREE_DAYS));
    invited(&daemon, "new@x.example", &["operator"]).await;
    let (revoked, _) = invited(&daemon, "gone@x.example", &[]).await;
    let mut client = daemon.invitations();
    client
        .revoke_invitation(revoke(&revoked))
        .await
        .expect("revoked");
    let request = v1::ListMembersRequest {
        organization: ACME.to_owned(),
        include_invited: true,
        page_size: 1,
        ..Default::default()
    };
    let mut members = daemon.members();
    let mut all = Vec::new();
    let mut paged = request.clone();
    loop {
        let page = members.list_members(paged.clone()).await;
        let page = page.expect("a page").into_inner();
        all.extend(page.members);
        if page.next_page_token.is_empty() {
            break;
        }
        paged.page_token = page.next_page_token;
    }
    let names: Vec<&str> = all.iter().map(|member| member.user.as_str()).collect();
    assert_eq!(names, ["oskar", "owner", "vera", "zoe", "", ""]);
    let mut invited: Vec<(v1::MemberStatus, &str)> = all[4..]
        .iter()
        .map(|member| (member.status(), member.email.as_str()))
        .collect();
    invited.sort();
    assert_eq!(
        invited,
        [
            (v1::MemberStatus::Pending, "new@x.example"),
            (v1::MemberStatus::InvitationExpired, "old@x.example"),
        ]
    );
    assert!(all[4..].iter().all(|member| !member.invitation.is_empty()));

    let count = |request: v1::ListMembersRequest| {
        let mut members = daemon.members();
        async move {
            let page = members.list_members(v1::ListMembersRequest {
                page_size: 50,
                ..request
            });
            page.await.expect("a page").into_inner().members.len()
        }
    };
    let of_status = |status: v1::MemberStatus| v1::ListMembersRequest {
        status: status.into(),
        ..request.clone()
    };
    assert_eq!(count(of_status(v1::MemberStatus::Pending)).await, 1);
    assert_eq!(
        count(of_status(v1::MemberStatus::InvitationExpired)).await,
        1
    );
    assert_eq!(count(of_status(v1::MemberStatus::Active)).await, 4);
    let of_role = v1::ListMembersRequest {
        role: "viewer".to_owned(),
        ..request.clone()
    };
    assert_eq!(count(of_role).await, 3);
    let without = v1::ListMembersRequest {
        include_invited: false,
        ..request.clone()
    };
    assert_eq!(count(without.clone()).await, 4);
    let contradictory = v1::ListMembersRequest {
        status: v1::MemberStatus::Pending.into(),
        ..without
    };
    let status = members
        .list_members(contradictory)
        .await
        .expect_err("refused");
    assert_eq!(
        violations(&status),
        [("status".to_owned(), "MALFORMED".to_owned())]
    );
    members
        .list_members(as_actor("oskar", request.clone()))
        .await
        .expect("an operator sees invitations");
    let attempt = members.list_members(as_actor("vera", request));
    refused(
        &daemon,
        attempt,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    )
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_concerned_a_deleted_project_is_left_out() {
    let daemon = team_on("greenhouse").await;
    for project in ["north", "south"] {
        daemon.project(ACME, project).await;
    }
    let on = |project: &str| v1::ProjectRoles {
        project: project.to_owned(),
        roles: owned(&["gardener"]),
        ..Default::default()
    };
    let mut client = daemon.invitations();
    let sent = client
        .create_invitation(create(v1::NewInvitation {
            project_roles: vec![on("north"), on("south")],
            ..new("a@x.example", &[])
        }))
        .await
        .expect("sent")
        .into_inner();
    let deletion = v1::DeleteProjectRequest {
        organization: ACME.to_owned(),
        project: "south".to_owned(),
        ..Default::default()
    };
    daemon
        .projects()
        .delete_project(deletion)
        .await
        .expect("deleted");
    let ann = join(&daemon, &sent.token, "ann", "a@x.example").await;
    let projects: Vec<&str> = ann
        .project_roles
        .iter()
        .map(|held| held.project.as_str())
        .collect();
    assert_eq!(projects, ["north"]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_an_invitation_can_not_hold_is_refused() {
    let daemon = team_on("greenhouse").await;
    daemon.project(ACME, "north").await;
    daemon.project(ACME, "shed").await;
    let archive = v1::ArchiveProjectRequest {
        organization: ACME.to_owned(),
        project: "shed".to_owned(),
        ..Default::default()
    };
    daemon
        .projects()
        .archive_project(archive)
        .await
        .expect("archived");
    let on = |project: &str, role: &str| v1::NewInvitation {
        project_roles: vec![v1::ProjectRoles {
            project: project.to_owned(),
            roles: owned(&[role]),
            ..Default::default()
        }],
        ..new("a@x.example", &[])
    };
    let overriding = |project: &str, actions: &[&str], roles: &[&str]| v1::NewInvitation {
        overrides: vec![v1::ProjectOverride {
            project: project.to_owned(),
            permissions: Some(v1::Permissions {
                actions: owned(actions),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..new("a@x.example", roles)
    };
    let mut client = daemon.invitations();
    for (asked, code, reason) in [
        (
            on("shed", "gardener"),
            Code::FailedPrecondition,
            "PROJECT_ARCHIVED",
        ),
        (on("nowhere", "gardener"), Code::NotFound, "NOT_FOUND"),
        (on("north", "shopkeeper"), Code::InvalidArgument, "INVALID"),
        (
            overriding("north", &["BuySeeds"], &["gardener"]),
            Code::InvalidArgument,
            "INVALID",
        ),
        (
            overriding("north", &["ViewBed"], &[]),
            Code::FailedPrecondition,
            "NOTHING_TO_OVERRIDE",
        ),
    ] {
        let attempt = client.create_invitation(create(asked));
        refused(&daemon, attempt, code, reason).await;
    }
    let faulty = v1::NewInvitation {
        display_name: "a\u{202e}b".to_owned(),
        message: "m".repeat(1_025),
        period: Some(v1::Period {
            not_before: timestamp(NOW.0 + 2_000),
            expires_at: timestamp(NOW.0 + 1_000),
        }),
        project_roles: vec![on("north", "gardener").project_roles[0].clone(); 2],
        ..new("", &["visitor"])
    };
    let attempt = client.create_invitation(create(faulty));
    let status = refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    let fields: Vec<String> = violations(&status)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(
        fields,
        [
            "invitation.email",
            "invitation.display_name",
            "invitation.message",
            "invitation.period.expires_at",
            "invitation.roles[0]",
            "invitation.project_roles[1].project",
        ]
    );
    let nothing = v1::CreateInvitationRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let attempt = client.create_invitation(nothing);
    refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;

    let daemon_without = team_on("oncloudwine").await;
    let mut client = daemon_without.invitations();
    let attempt = client.create_invitation(create(on("north", "member")));
    let code = attempt.await.expect_err("refused").code();
    assert!(matches!(
        code,
        Code::FailedPrecondition | Code::InvalidArgument
    ));
    daemon_without.stop().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_membership_that_would_be_over_is_neither_joined_nor_sent_again() {
    let daemon = team_on("hypervisor-io").await;
    let mut client = daemon.invitations();
    let sent = client
        .create_invitation(create(v1::NewInvitation {
            period: Some(v1::Period {
                not_before: None,
                expires_at: timestamp(NOW.0 + 1_000),
            }),
            ..new("a@x.example", &[])
        }))
        .await
        .expect("sent")
        .into_inner();
    daemon.world.set(Moment(NOW.0 + 1_000));
    let attempt = client.accept_invitation(accept(&sent.token, "ann", "a@x.example"));
    refused(&daemon, attempt, Code::FailedPrecondition, "LINK_EXPIRED").await;
    let id = sent.invitation.expect("an invitation").id;
    let attempt = client.resend_invitation(resend(&id));
    refused(
        &daemon,
        attempt,
        Code::FailedPrecondition,
        "INVITATION_STATUS",
    )
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn who_is_a_member_does_not_join_again() {
    let daemon = team_on("hypervisor-io").await;
    daemon.add(ACME, "ann", &["viewer"]).await;
    let (id, token) = invited(&daemon, "a@x.example", &["admin"]).await;
    let mut client = daemon.invitations();
    let attempt = client.accept_invitation(accept(&token, "ann", "a@x.example"));
    refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    for (user, email) in [("", "a@x.example"), ("a b", "a@x.example"), ("bob", "")] {
        let attempt = client.accept_invitation(accept(&token, user, email));
        refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    }
    assert_eq!(status_of(&daemon, &id).await, Pending);
    daemon.stop().await;
}

#[tokio::test]
async fn a_validation_sends_nothing_and_shows_no_link() {
    let daemon = team_on("hypervisor-io").await;
    let mut client = daemon.invitations();
    let before = events(&daemon).len();
    let tried = client
        .create_invitation(v1::CreateInvitationRequest {
            validate_only: true,
            ..create(new("a@x.example", &["viewer"]))
        })
        .await
        .expect("valid")
        .into_inner();
    assert!(tried.token.is_empty());
    let id = tried.invitation.expect("as it would be").id;
    let missing = client
        .get_invitation(get(&id))
        .await
        .expect_err("not there");
    assert_eq!(missing.code(), Code::NotFound);
    let (id, token) = invited(&daemon, "a@x.example", &["viewer"]).await;
    let trial = v1::CopyInvitationLinkRequest {
        validate_only: true,
        ..copy(&id)
    };
    let copied = client.copy_invitation_link(trial).await.expect("valid");
    assert!(copied.into_inner().token.is_empty());
    let trial = v1::AcceptInvitationRequest {
        validate_only: true,
        ..accept(&token, "ann", "a@x.example")
    };
    client.accept_invitation(trial).await.expect("valid");
    assert_eq!(users(&daemon).await, ["owner"]);
    assert_eq!(events(&daemon).len(), before + 1);
    daemon.stop().await;
}
