//! Attacks on invitations and their links.

use std::collections::BTreeSet;

use roster::application::links::{LinkSubject, Links, Purpose};
use roster::domain::organization::{Moment, NotificationKind};
use roster::proto::v1;
use tokio::task::JoinSet;
use tonic::Code;
use v1::InvitationStatus::{Accepted, Expired, Pending, Revoked};

use super::{
    ACME, SEVEN_DAYS, THREE_DAYS, accept, bulk, copy, create, decline, events, everything, invited,
    join, new, refused, resend, revoke, sent_as, status_of, suspend, team_on, team_on_plan, users,
};
use crate::harness::{Daemon, LINK_KEY, NOW, as_actor, owned, reason, violations};

const HYPERVISOR: &str = "hypervisor-io";

#[tokio::test]
async fn i_01_a_link_does_not_serve_another_address() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, token) = invited(&daemon, "a@x.example", &["viewer"]).await;
    let mut client = daemon.invitations();
    for other in [
        "b@x.example",
        "a@x.example.org",
        "a+1@x.example",
        " a@x.example",
    ] {
        let attempt = client.accept_invitation(accept(&token, "bob", other));
        refused(&daemon, attempt, Code::PermissionDenied, "WRONG_ADDRESS").await;
    }
    assert_eq!(status_of(&daemon, &id).await, Pending);
    join(&daemon, &token, "ann", "a@x.example").await;
    daemon.stop().await;
}

#[tokio::test]
async fn i_03_case_makes_no_other_address() {
    let daemon = team_on(HYPERVISOR).await;
    let (_, token) = invited(&daemon, "Bob@X.com", &[]).await;
    let mut client = daemon.invitations();
    for again in ["BOB@x.com", "bob@x.com"] {
        let attempt = client.create_invitation(create(new(again, &[])));
        refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    }
    join(&daemon, &token, "bob", "bob@x.com").await;
    let attempt = client.create_invitation(create(new("BOB@x.com", &[])));
    refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    daemon.stop().await;
}

#[tokio::test]
async fn i_04_white_space_around_an_address_is_never_stored() {
    let daemon = team_on(HYPERVISOR).await;
    let mut client = daemon.invitations();
    for address in [
        " a@b.com",
        "a@b.com ",
        "a@b.com\u{a0}",
        "\u{a0}a@b.com",
        "\ta@b.com\n",
    ] {
        let attempt = client.create_invitation(create(new(address, &[])));
        let status = refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
        assert_eq!(
            violations(&status),
            [("invitation.email".to_owned(), "MALFORMED".to_owned())]
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn i_06_an_invitation_has_exactly_one_recipient() {
    let daemon = team_on(HYPERVISOR).await;
    let mut client = daemon.invitations();
    for address in [
        "a@x,b@y",
        "a@x.com, b@y.com",
        "a@x.com;b@y.com",
        "a@x.com b@y.com",
        "a@x.com\r\nBcc: b@y.com",
        "a@x.com\0",
        "<a@x.com>",
        "Ann <a@x.com>",
        "a@x.com>",
        "a@x@y",
        "a\u{202e}@x.com",
    ] {
        let attempt = client.create_invitation(create(new(address, &[])));
        refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn i_07_a_tag_makes_another_person() {
    let daemon = team_on(HYPERVISOR).await;
    let (_, token) = invited(&daemon, "a+1@gmail.com", &[]).await;
    invited(&daemon, "a@gmail.com", &[]).await;
    let mut client = daemon.invitations();
    let attempt = client.accept_invitation(accept(&token, "ann", "a@gmail.com"));
    refused(&daemon, attempt, Code::PermissionDenied, "WRONG_ADDRESS").await;
    join(&daemon, &token, "ann", "a+1@gmail.com").await;
    daemon.stop().await;
}

#[tokio::test]
async fn i_08_an_accepted_invitation_serves_nobody_again() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, token) = invited(&daemon, "ann@x.example", &["viewer"]).await;
    join(&daemon, &token, "ann", "ann@x.example").await;
    let mut client = daemon.invitations();
    for user in ["ann", "eve"] {
        let attempt = client.accept_invitation(accept(&token, user, "ann@x.example"));
        refused(&daemon, attempt, Code::FailedPrecondition, "LINK_USED").await;
    }
    let attempt = client.decline_invitation(decline(&token));
    refused(&daemon, attempt, Code::FailedPrecondition, "LINK_USED").await;
    for attempt in [resend(&id)] {
        let attempt = client.resend_invitation(attempt);
        refused(
            &daemon,
            attempt,
            Code::FailedPrecondition,
            "INVITATION_STATUS",
        )
        .await;
    }
    let attempt = client.copy_invitation_link(copy(&id));
    refused(
        &daemon,
        attempt,
        Code::FailedPrecondition,
        "INVITATION_STATUS",
    )
    .await;
    let attempt = client.revoke_invitation(revoke(&id));
    refused(
        &daemon,
        attempt,
        Code::FailedPrecondition,
        "INVITATION_STATUS",
    )
    .await;
    assert_eq!(users(&daemon).await, ["ann", "owner"]);
    daemon.stop().await;
}

#[tokio::test]
async fn i_09_of_64_who_accept_at_once_one_joins() {
    let daemon = team_on(HYPERVISOR).await;
    let (_, token) = invited(&daemon, "ann@x.example", &["viewer"]).await;
    let mut racing = JoinSet::new();
    for number in 0..64 {
        let mut client = daemon.invitations();
        let request = accept(&token, &format!("user-{number}"), "ann@x.example");
        racing.spawn(async move { client.accept_invitation(request).await });
    }
    let mut lost = Vec::new();
    while let Some(raced) = racing.join_next().await {
        lost.extend(raced.expect("no panic").err());
    }
    assert_eq!(lost.len(), 63);
    for status in &lost {
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(status), "LINK_USED");
    }
    assert_eq!(users(&daemon).await.len(), 2);
    let told = events(&daemon);
    let of_accepts = told
        .iter()
        .filter(|told| told.event.action == "AcceptInvitation");
    assert_eq!(of_accepts.count(), 64);
    daemon.stop().await;
}

#[tokio::test]
async fn i_10_accepting_and_revoking_have_one_order() {
    let daemon = team_on(HYPERVISOR).await;
    for round in 0..32 {
        let (email, user) = (format!("u{round}@x.example"), format!("u{round}"));
        let (id, token) = invited(&daemon, &email, &[]).await;
        let (mut one, mut other) = (daemon.invitations(), daemon.invitations());
        let (accepted, revoked) = tokio::join!(
            one.accept_invitation(accept(&token, &user, &email)),
            other.revoke_invitation(revoke(&id)),
        );
        let is_member = users(&daemon).await.contains(&user);
        assert_ne!(accepted.is_ok(), revoked.is_ok());
        assert_eq!(is_member, accepted.is_ok());
        let status = status_of(&daemon, &id).await;
        assert_eq!(status, if is_member { Accepted } else { Revoked });
        if let Err(status) = accepted {
            assert_eq!(reason(&status), "LINK_REVOKED");
        }
        if let Err(status) = revoked {
            assert_eq!(reason(&status), "INVITATION_STATUS");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn i_11_an_invitation_ends_at_its_very_millisecond() {
    for (catalog, plan, lifetime) in [
        (HYPERVISOR, "standard", THREE_DAYS),
        ("qoc-cloud", "pro", SEVEN_DAYS),
    ] {
        let daemon = team_on_plan(catalog, plan).await;
        for (number, (late, serves)) in [(-1, true), (0, false), (1, false)].into_iter().enumerate()
        {
            daemon.world.set(NOW);
            let (email, user) = (format!("u{number}@x.example"), format!("u{number}"));
            let (id, token) = invited(&daemon, &email, &[]).await;
            daemon.world.set(Moment(NOW.0 + lifetime + late));
            if serves {
                join(&daemon, &token, &user, &email).await;
                continue;
            }
            assert_eq!(status_of(&daemon, &id).await, Expired);
            let mut client = daemon.invitations();
            let attempt = client.accept_invitation(accept(&token, &user, &email));
            refused(&daemon, attempt, Code::FailedPrecondition, "LINK_EXPIRED").await;
            let attempt = client.decline_invitation(decline(&token));
            refused(&daemon, attempt, Code::FailedPrecondition, "LINK_EXPIRED").await;
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn i_13_no_copied_link_outlives_its_invitation() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, token) = invited(&daemon, "ann@x.example", &[]).await;
    let mut client = daemon.invitations();
    let before = everything(&daemon).await;
    let told = events(&daemon).len();
    let copied = client.copy_invitation_link(copy(&id)).await;
    assert_eq!(copied.expect("copied").into_inner().token, token);
    assert_eq!(
        everything(&daemon).await,
        before,
        "copying changed something"
    );
    let after = events(&daemon);
    assert_eq!(after.len(), told + 1);
    assert_eq!(after[0].event.action, "CopyInvitationLink");

    daemon.world.set(Moment(NOW.0 + THREE_DAYS));
    let attempt = client.copy_invitation_link(copy(&id));
    refused(&daemon, attempt, Code::FailedPrecondition, "LINK_EXPIRED").await;
    let again = client.resend_invitation(resend(&id)).await;
    let again = again.expect("sent again").into_inner().token;
    let attempt = client.accept_invitation(accept(&token, "ann", "ann@x.example"));
    refused(
        &daemon,
        attempt,
        Code::FailedPrecondition,
        "LINK_SUPERSEDED",
    )
    .await;
    join(&daemon, &again, "ann", "ann@x.example").await;
    daemon.stop().await;
}

#[tokio::test]
async fn i_14_revoking_kills_every_link_there_ever_was() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, first) = invited(&daemon, "ann@x.example", &[]).await;
    let mut client = daemon.invitations();
    let second = client.resend_invitation(resend(&id)).await;
    let second = second.expect("sent again").into_inner().token;
    let copied = client.copy_invitation_link(copy(&id)).await;
    let copied = copied.expect("copied").into_inner().token;
    let revoked = client.revoke_invitation(revoke(&id)).await;
    revoked.expect("revoked");
    for dead in [&first, &second, &copied] {
        let attempt = client.accept_invitation(accept(dead, "ann", "ann@x.example"));
        refused(&daemon, attempt, Code::FailedPrecondition, "LINK_REVOKED").await;
        let attempt = client.decline_invitation(decline(dead));
        refused(&daemon, attempt, Code::FailedPrecondition, "LINK_REVOKED").await;
    }
    // What waited to be mailed is not mailed any more.
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    assert!(snapshot.organization().notifications.is_empty());
    drop(snapshot);
    // A new invitation revives none of them.
    let (_, fresh) = invited(&daemon, "ann@x.example", &[]).await;
    assert!(![&first, &second].contains(&&fresh));
    let attempt = client.accept_invitation(accept(&second, "ann", "ann@x.example"));
    refused(&daemon, attempt, Code::FailedPrecondition, "LINK_REVOKED").await;
    daemon.stop().await;
}

/// The subject of a genuine link.
fn subject(purpose: Purpose, organization: &str, id: &str, email: &str) -> LinkSubject {
    LinkSubject {
        purpose,
        organization: organization.to_owned(),
        subject: id.to_owned(),
        address: email.to_owned(),
        nonce: [0; 16],
    }
}

/// Texts that are no token of ours for an invitation to `acme`.
fn strange(token: &str, id: &str) -> Vec<String> {
    let (ours, foreign) = (Links::new(&LINK_KEY), Links::new(&[8; 32]));
    let (payload, signature) = token.split_once('.').expect("two parts");
    let email = "ann@x.example";
    let invitation = |organization| subject(Purpose::Invitation, organization, id, email);
    let edited = ours.token(&subject(Purpose::Invitation, ACME, id, "eve@x.example"));
    let (edited, _) = edited.split_once('.').expect("two parts");
    vec![
        String::new(),
        "x".to_owned(),
        payload.to_owned(),
        format!("{payload}."),
        format!("{edited}.{signature}"),
        format!("{token}A"),
        token[..token.len() - 1].to_owned(),
        token.replace("roster_link_", ""),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.".to_owned(),
        "\0".to_owned(),
        "A".repeat(100_000),
        foreign.token(&invitation(ACME)),
        ours.token(&invitation("beta")),
        ours.token(&subject(Purpose::Transfer, ACME, id, email)),
        ours.token(&subject(Purpose::Transfer, ACME, ACME, email)),
        ours.token(&subject(Purpose::Invitation, ACME, "inv-unknown", email)),
        ours.token(&subject(Purpose::Invitation, ACME, id, "eve@x.example")),
    ]
}

#[tokio::test]
async fn i_15_an_edited_token_is_none() {
    let daemon = team_on(HYPERVISOR).await;
    let (_, token) = invited(&daemon, "ann@x.example", &["viewer"]).await;
    let mut client = daemon.invitations();
    let mut answers = BTreeSet::new();
    for position in (0..token.len()).step_by(7) {
        let mut edited = token.clone().into_bytes();
        edited[position] = if edited[position] == b'A' { b'B' } else { b'A' };
        let edited = String::from_utf8(edited).expect("text");
        let attempt = client.accept_invitation(accept(&edited, "ann", "ann@x.example"));
        let status = refused(&daemon, attempt, Code::InvalidArgument, "LINK_INVALID").await;
        answers.insert((status.message().to_owned(), status.details().to_vec()));
    }
    assert_eq!(answers.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn i_18_whatever_is_no_token_of_ours_has_one_answer() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.found("beta", HYPERVISOR).await;
    let (id, token) = invited(&daemon, "ann@x.example", &["viewer"]).await;
    let mut client = daemon.invitations();
    let mut answers = BTreeSet::new();
    for strange in strange(&token, &id) {
        let attempt = client.accept_invitation(accept(&strange, "ann", "ann@x.example"));
        let accepted = refused(&daemon, attempt, Code::InvalidArgument, "LINK_INVALID").await;
        let attempt = client.decline_invitation(decline(&strange));
        let declined = refused(&daemon, attempt, Code::InvalidArgument, "LINK_INVALID").await;
        for status in [accepted, declined] {
            answers.insert((status.message().to_owned(), status.details().to_vec()));
        }
    }
    assert_eq!(answers.len(), 1);
    let (message, _) = answers.first().expect("an answer");
    assert_eq!(message, "the token is not valid");
    let elsewhere = client
        .accept_invitation(v1::AcceptInvitationRequest {
            organization: "beta".to_owned(),
            ..accept(&token, "ann", "ann@x.example")
        })
        .await
        .expect_err("refused");
    assert_eq!(elsewhere.message(), message);
    join(&daemon, &token, "ann", "ann@x.example").await;
    daemon.stop().await;
}

#[tokio::test]
async fn i_17_a_token_is_shown_to_those_who_invite_and_stored_nowhere() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.add(ACME, "vera", &["viewer"]).await;
    daemon.add(ACME, "oskar", &["operator"]).await;
    let (id, token) = invited(&daemon, "ann@x.example", &["viewer"]).await;
    let mut client = daemon.invitations();
    let list = || v1::ListInvitationsRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let get = || v1::GetInvitationRequest {
        organization: ACME.to_owned(),
        invitation: id.clone(),
        ..Default::default()
    };
    for user in ["vera", "nobody"] {
        let denied = (Code::PermissionDenied, "PERMISSION_DENIED");
        let attempt = client.list_invitations(as_actor(user, list()));
        refused(&daemon, attempt, denied.0, denied.1).await;
        let attempt = client.get_invitation(as_actor(user, get()));
        refused(&daemon, attempt, denied.0, denied.1).await;
    }
    for user in ["vera", "oskar"] {
        let denied = (Code::PermissionDenied, "PERMISSION_DENIED");
        let sending = create(new("eve@x.example", &[]));
        let attempt = client.create_invitation(as_actor(user, sending));
        refused(&daemon, attempt, denied.0, denied.1).await;
        let attempt = client.copy_invitation_link(as_actor(user, copy(&id)));
        refused(&daemon, attempt, denied.0, denied.1).await;
        let attempt = client.resend_invitation(as_actor(user, resend(&id)));
        refused(&daemon, attempt, denied.0, denied.1).await;
    }
    // Oskar sees invitations, and no link of any.
    let listed = client.list_invitations(as_actor("oskar", list())).await;
    let read = client.get_invitation(as_actor("oskar", get())).await;
    let told = format!("{listed:?} {read:?}");
    assert!(told.contains(&id), "{told}");
    let history = daemon.store.history(roster::store::Sequence(0), 1_000);
    let kept = format!(
        "{history:?} {:?} {}",
        events(&daemon),
        everything(&daemon).await
    );
    let (_, secret) = token.split_once('.').expect("two parts");
    for text in [told, kept] {
        assert!(!text.contains("roster_link_") && !text.contains(secret));
    }
    daemon.stop().await;
}

/// An invitation for `ann@x.example` as operator of hypervisor-io, sent by `alice`.
async fn sent_by_alice(daemon: &Daemon) -> (String, String) {
    daemon.add(ACME, "alice", &["admin"]).await;
    let sending = create(new("ann@x.example", &["operator"]));
    let sent = daemon
        .invitations()
        .create_invitation(as_actor("alice", sending))
        .await;
    sent_as(sent.expect("sent").into_inner())
}

async fn set_roles(daemon: &Daemon, user: &str, roles: &[&str]) {
    let request = v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    };
    let set = daemon.members().set_member_roles(request).await;
    set.expect("the roles are set");
}

#[tokio::test]
async fn i_20_nobody_joins_by_what_the_inviter_may_no_longer_give() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, token) = sent_by_alice(&daemon).await;
    let mut client = daemon.invitations();
    let request = || accept(&token, "ann", "ann@x.example");
    let lost = (Code::FailedPrecondition, "GRANTOR_LOST");

    set_roles(&daemon, "alice", &["viewer"]).await;
    refused(&daemon, client.accept_invitation(request()), lost.0, lost.1).await;

    // Still inviting, but with less than the invitation holds.
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "recruiter".to_owned(),
        display_name: "Recruiter".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["TeamManagementManage", "TeamManagementView"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("a role");
    set_roles(&daemon, "alice", &["recruiter"]).await;
    refused(&daemon, client.accept_invitation(request()), lost.0, lost.1).await;

    set_roles(&daemon, "alice", &["admin"]).await;
    suspend(&daemon, "alice").await;
    refused(&daemon, client.accept_invitation(request()), lost.0, lost.1).await;

    let removal = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "alice".to_owned(),
        ..Default::default()
    };
    let removed = daemon.members().remove_member(removal).await;
    removed.expect("removed");
    refused(&daemon, client.accept_invitation(request()), lost.0, lost.1).await;
    assert_eq!(status_of(&daemon, &id).await, Pending);

    // Whoever sends it again stands for it.
    daemon.add(ACME, "berta", &["admin"]).await;
    let again = client
        .resend_invitation(as_actor("berta", resend(&id)))
        .await;
    let again = again.expect("sent again").into_inner();
    assert_eq!(again.invitation.expect("an invitation").invited_by, "berta");
    let ann = join(&daemon, &again.token, "ann", "ann@x.example").await;
    assert_eq!(ann.added_by, "berta");
    let told = &events(&daemon)[0].event;
    let details: Vec<(&str, &str)> = told
        .details
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        details,
        [
            ("invitation", id.as_str()),
            ("inviter", "berta"),
            ("roles", "operator")
        ]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn i_22_nobody_accepts_for_somebody_else() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, token) = sent_by_alice(&daemon).await;
    let mut client = daemon.invitations();
    for other in ["alice", "owner", "eve"] {
        let request = as_actor(other, accept(&token, "ann", "ann@x.example"));
        let attempt = client.accept_invitation(request);
        refused(
            &daemon,
            attempt,
            Code::PermissionDenied,
            "PERMISSION_DENIED",
        )
        .await;
    }
    assert_eq!(status_of(&daemon, &id).await, Pending);
    let own = as_actor("ann", accept(&token, "ann", "ann@x.example"));
    client.accept_invitation(own).await.expect("accepted");
    daemon.stop().await;
}

fn crowd(from: usize, count: usize) -> Vec<v1::NewInvitation> {
    (from..from + count)
        .map(|number| new(&format!("u{number}@x.example"), &[]))
        .collect()
}

#[tokio::test]
async fn i_23_a_flood_is_stopped() {
    let daemon = team_on("cloud-66").await;
    let mut client = daemon.invitations();
    for from in [0, 500] {
        let sent = client.bulk_create_invitations(bulk(crowd(from, 500))).await;
        let results = sent.expect("sent").into_inner().results;
        assert!(results.iter().all(|row| row.status.is_none()));
    }
    let attempt = client.create_invitation(create(new("one@x.example", &[])));
    refused(&daemon, attempt, Code::ResourceExhausted, "TOO_FAST").await;
    let listed = client
        .list_invitations(v1::ListInvitationsRequest {
            organization: ACME.to_owned(),
            page_size: 1,
            ..Default::default()
        })
        .await;
    let some = listed
        .expect("a list")
        .into_inner()
        .invitations
        .remove(0)
        .id;
    let attempt = client.resend_invitation(resend(&some));
    refused(&daemon, attempt, Code::ResourceExhausted, "TOO_FAST").await;
    // Taking one back makes no room: it was sent.
    client
        .revoke_invitation(revoke(&some))
        .await
        .expect("revoked");
    let attempt = client.create_invitation(create(new("one@x.example", &[])));
    refused(&daemon, attempt, Code::ResourceExhausted, "TOO_FAST").await;
    daemon.world.set(Moment(NOW.0 + 60 * 60 * 1_000));
    invited(&daemon, "one@x.example", &[]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn i_23_pending_invitations_are_bounded() {
    let daemon = team_on("cloud-66").await;
    let mut client = daemon.invitations();
    for hour in 0..10 {
        daemon.world.set(Moment(NOW.0 + hour * 60 * 60 * 1_000));
        for half in 0..2 {
            let from = usize::try_from(hour * 1_000 + half * 500).expect("small");
            let sent = client.bulk_create_invitations(bulk(crowd(from, 500))).await;
            sent.expect("sent");
        }
    }
    daemon.world.set(Moment(NOW.0 + 20 * 60 * 60 * 1_000));
    let attempt = client.create_invitation(create(new("one@x.example", &[])));
    let status = attempt.await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "LIMIT_REACHED");
    daemon.stop().await;
}

#[tokio::test]
async fn i_23_one_person_is_not_flooded_either() {
    let daemon = team_on(HYPERVISOR).await;
    let (id, _) = invited(&daemon, "ann@x.example", &[]).await;
    let mut client = daemon.invitations();
    for _ in 0..4 {
        client.resend_invitation(resend(&id)).await.expect("sent");
    }
    let attempt = client.resend_invitation(resend(&id));
    refused(&daemon, attempt, Code::ResourceExhausted, "TOO_FAST").await;
    daemon.world.set(Moment(NOW.0 + 60_000));
    client.resend_invitation(resend(&id)).await.expect("sent");
    daemon.stop().await;
}

#[tokio::test]
async fn i_23_a_name_becomes_neither_link_nor_markup() {
    let daemon = team_on(HYPERVISOR).await;
    let name = "<a href=\"https://evil.example\">You won</a>";
    let sent = daemon
        .invitations()
        .create_invitation(create(v1::NewInvitation {
            display_name: name.to_owned(),
            message: "see https://evil.example".to_owned(),
            ..new("ann@x.example", &[])
        }))
        .await;
    sent.expect("sent");
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    let organization = snapshot.organization();
    let notification = organization.notifications.values().next().expect("a mail");
    assert_eq!(notification.facts["invitee"], name);
    let catalog = snapshot.catalog().catalog();
    let template = catalog.templates.of(NotificationKind::Invitation);
    let (subject, body) = template.render(&notification.facts);
    for text in [subject, body] {
        assert!(
            !text.contains('<') && !text.contains("https://evil"),
            "{text}"
        );
        assert!(!text.contains("evil.example"), "{text}");
    }
    drop(snapshot);
    daemon.stop().await;
}

#[tokio::test]
async fn i_24_a_row_passes_the_same_desk_as_a_single_invitation() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.add(ACME, "alice", &["admin"]).await;
    let long = "n".repeat(200);
    let rows = vec![
        new("one@x.example", &["viewer"]),
        new("two@x.example", &["owner"]),
        new("three@x.example ", &["viewer"]),
        new("four@x.example", &["nobody"]),
        new("ONE@x.example", &["viewer"]),
        v1::NewInvitation {
            display_name: long,
            ..new("five@x.example", &[])
        },
        new("six@x.example", &["admin"]),
    ];
    let mut client = daemon.invitations();
    let mut singles = Vec::new();
    for row in &rows {
        let trial = v1::CreateInvitationRequest {
            validate_only: true,
            ..create(row.clone())
        };
        let single = client.create_invitation(as_actor("alice", trial)).await;
        singles.push(single.err().map(|status| (status.code(), reason(&status))));
    }
    // Alone, the fifth row would be fine; it is the first one's address.
    singles[4] = Some((Code::AlreadyExists, "ALREADY_EXISTS".to_owned()));
    let before = events(&daemon).len();
    let sent = client
        .bulk_create_invitations(as_actor("alice", bulk(rows)))
        .await;
    let results = sent.expect("answered").into_inner().results;
    let codes: Vec<Option<(Code, String)>> = results
        .iter()
        .map(|row| row.status.as_ref().map(status_parts))
        .collect();
    assert_eq!(codes, singles);
    let told: Vec<String> = events(&daemon)
        .iter()
        .take(events(&daemon).len() - before)
        .map(|told| told.event.refusal.clone())
        .rev()
        .collect();
    let reasons: Vec<String> = singles
        .iter()
        .map(|row| {
            row.as_ref()
                .map(|(_, reason)| reason.clone())
                .unwrap_or_default()
        })
        .collect();
    assert_eq!(told, reasons);
    assert!(!results[0].token.is_empty() && results[1].token.is_empty());
    daemon.stop().await;
}

/// Code and reason of a row's status.
fn status_parts(status: &tonic_types::pb::Status) -> (Code, String) {
    use prost::Message as _;

    let whole = tonic::Status::with_details(
        Code::from_i32(status.code),
        status.message.clone(),
        status.encode_to_vec().into(),
    );
    (whole.code(), reason(&whole))
}

#[tokio::test]
async fn i_25_an_invitation_tells_nothing_of_accounts() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.found("beta", HYPERVISOR).await;
    let add = |organization: &str, user: &str| v1::AddMemberRequest {
        organization: organization.to_owned(),
        user: user.to_owned(),
        email: format!("{user}@x.example"),
        ..Default::default()
    };
    for user in ["active", "suspended"] {
        daemon
            .members()
            .add_member(add(ACME, user))
            .await
            .expect("added");
    }
    daemon
        .members()
        .add_member(add("beta", "foreign"))
        .await
        .expect("added");
    suspend(&daemon, "suspended").await;
    let owner = v1::UpdateMemberRequest {
        organization: ACME.to_owned(),
        user: "owner".to_owned(),
        email: "Owner@x.example".to_owned(),
        ..Default::default()
    };
    daemon
        .members()
        .update_member(owner)
        .await
        .expect("updated");
    invited(&daemon, "pending@x.example", &[]).await;
    let mut client = daemon.invitations();
    let mut answers = BTreeSet::new();
    for name in ["active", "suspended", "owner", "pending"] {
        let attempt = client.create_invitation(create(new(&format!("{name}@x.example"), &[])));
        let status = refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
        answers.insert((status.message().to_owned(), status.details().to_vec()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let mut shapes = BTreeSet::new();
    for name in ["foreign", "unknown"] {
        let sent = client
            .create_invitation(create(new(&format!("{name}@x.example"), &[])))
            .await
            .expect("sent")
            .into_inner();
        let invitation = sent.invitation.expect("an invitation");
        shapes.insert(format!(
            "{:?}",
            v1::Invitation {
                id: String::new(),
                email: String::new(),
                etag: String::new(),
                ..invitation
            }
        ));
    }
    assert_eq!(shapes.len(), 1, "{shapes:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn p_01_and_o_13_no_path_of_invitations_gives_ownership() {
    let daemon = team_on("greenhouse").await;
    daemon.add(ACME, "hugo", &["head-gardener"]).await;
    daemon.project(ACME, "north").await;
    let on_project = v1::NewInvitation {
        project_roles: vec![v1::ProjectRoles {
            project: "north".to_owned(),
            roles: owned(&["owner"]),
            ..Default::default()
        }],
        ..new("b@x.example", &["gardener"])
    };
    let overriding = v1::NewInvitation {
        overrides: vec![v1::ProjectOverride {
            project: "north".to_owned(),
            roles: owned(&["owner"]),
            ..Default::default()
        }],
        ..new("c@x.example", &["gardener"])
    };
    let mut client = daemon.invitations();
    let denied = (Code::PermissionDenied, "OWNERSHIP_NOT_GIVEN");
    for row in [new("a@x.example", &["owner"]), on_project, overriding] {
        for user in [None, Some("hugo"), Some("owner")] {
            let by = |message| match user {
                Some(user) => as_actor(user, message),
                None => tonic::Request::new(message),
            };
            let attempt = client.create_invitation(by(create(row.clone())));
            refused(&daemon, attempt, denied.0, denied.1).await;
        }
        let whole = v1::BulkCreateInvitationsRequest {
            all_or_nothing: true,
            ..bulk(vec![new("d@x.example", &[]), row.clone()])
        };
        let attempt = client.bulk_create_invitations(as_actor("hugo", whole));
        refused(&daemon, attempt, denied.0, denied.1).await;
        let each = client
            .bulk_create_invitations(as_actor("hugo", bulk(vec![row])))
            .await
            .expect("answered")
            .into_inner();
        let status = each.results[0].status.as_ref().expect("refused");
        assert_eq!(status_parts(status), (denied.0, denied.1.to_owned()));
    }
    assert_eq!(users(&daemon).await, ["hugo", "owner"]);
    daemon.stop().await;
}

#[tokio::test]
async fn p_02_a_plain_member_invites_on_no_path() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.add(ACME, "vera", &["viewer"]).await;
    let mut client = daemon.invitations();
    let attempt = client.create_invitation(as_actor("vera", create(new("a@x.example", &[]))));
    refused(
        &daemon,
        attempt,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    )
    .await;
    let rows = bulk(vec![new("a@x.example", &[])]);
    let attempt = client.bulk_create_invitations(as_actor("vera", rows));
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
async fn p_03_an_inviter_gives_no_more_than_they_hold() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.project(ACME, "shop").await;
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "recruiter".to_owned(),
        display_name: "Recruiter".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["TeamManagementManage", "TeamManagementView"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("a role");
    daemon.add(ACME, "rita", &["recruiter"]).await;
    let mut client = daemon.invitations();
    let beyond = (Code::PermissionDenied, "EXCEEDS_GRANTOR");
    let overriding = v1::NewInvitation {
        overrides: vec![v1::ProjectOverride {
            project: "shop".to_owned(),
            permissions: Some(v1::Permissions {
                actions: owned(&["InstancesManage"]),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..new("o@x.example", &["recruiter"])
    };
    for row in [
        new("a@x.example", &["admin"]),
        new("b@x.example", &["viewer"]),
        new("c@x.example", &["recruiter", "operator"]),
        overriding,
    ] {
        let attempt = client.create_invitation(as_actor("rita", create(row)));
        let status = refused(&daemon, attempt, beyond.0, beyond.1).await;
        assert!(status.message().contains("goes beyond"), "{status:?}");
    }
    let own = create(new("d@x.example", &["recruiter"]));
    client
        .create_invitation(as_actor("rita", own))
        .await
        .expect("sent");
    // In bulk a row beyond her is refused, and the others go on.
    let rows = bulk(vec![
        new("e@x.example", &["admin"]),
        new("f@x.example", &[]),
    ]);
    let sent = client.bulk_create_invitations(as_actor("rita", rows)).await;
    let results = sent.expect("answered").into_inner().results;
    let status = results[0].status.as_ref().expect("refused");
    assert_eq!(status_parts(status), (beyond.0, beyond.1.to_owned()));
    assert!(results[1].status.is_none());
    // Nor does she send again what somebody stronger sent.
    let (id, _) = invited(&daemon, "g@x.example", &["admin"]).await;
    let attempt = client.resend_invitation(as_actor("rita", resend(&id)));
    refused(&daemon, attempt, beyond.0, beyond.1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn b_07_a_bulk_is_all_or_nothing_or_row_by_row_as_asked() {
    let daemon = team_on(HYPERVISOR).await;
    let rows = || {
        vec![
            new("a@x.example", &["viewer"]),
            new("b@x.example", &["viewer"]),
            new("A@x.example", &["viewer"]),
            new("not an address", &[]),
        ]
    };
    let whole = |rows| v1::BulkCreateInvitationsRequest {
        all_or_nothing: true,
        ..bulk(rows)
    };
    let mut client = daemon.invitations();
    let attempt = client.bulk_create_invitations(whole(rows()));
    let status = refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    assert!(status.message().contains("invitations[2]"), "{status:?}");
    let mut malformed = rows();
    malformed.remove(2);
    malformed.push(new("", &["nobody"]));
    let attempt = client.bulk_create_invitations(whole(malformed));
    let status = refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    let fields: Vec<String> = violations(&status)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(
        fields,
        [
            "invitations[2].email",
            "invitations[3].email",
            "invitations[3].roles[0]"
        ]
    );
    for count in [0, 501] {
        let attempt = client.bulk_create_invitations(bulk(crowd(0, count)));
        refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    }

    let before = (events(&daemon).len(), daemon.store.head().sequence.0);
    let sent = client.bulk_create_invitations(bulk(rows())).await;
    let results = sent.expect("answered").into_inner().results;
    let refusals: Vec<bool> = results.iter().map(|row| row.status.is_some()).collect();
    assert_eq!(refusals, [false, false, true, true]);
    assert_eq!(
        events(&daemon).len(),
        before.0 + 4,
        "one event for each row"
    );
    assert_eq!(daemon.store.head().sequence.0, before.1 + 1, "one commit");
    let token = &results[1].token;
    join(&daemon, token, "ben", "b@x.example").await;

    // Rows that are all refused change nothing, and are told.
    let before = (everything(&daemon).await, events(&daemon).len());
    let sent = client
        .bulk_create_invitations(bulk(vec![new("x", &[]), new("", &[])]))
        .await;
    sent.expect("answered");
    assert_eq!(everything(&daemon).await, before.0);
    assert_eq!(events(&daemon).len(), before.1 + 2);
    let all_well = client
        .bulk_create_invitations(whole(vec![
            new("y@x.example", &[]),
            new("z@x.example", &[]),
        ]))
        .await;
    assert_eq!(all_well.expect("sent").into_inner().results.len(), 2);
    daemon.stop().await;
}

async fn mails(daemon: &Daemon) -> usize {
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    snapshot.organization().notifications.len()
}

#[tokio::test]
async fn b_08_a_repeated_request_sends_no_second_mail() {
    let daemon = team_on(HYPERVISOR).await;
    let mut client = daemon.invitations();
    let request = || v1::CreateInvitationRequest {
        request_id: "one".to_owned(),
        ..create(new("ann@x.example", &["viewer"]))
    };
    let first = client
        .create_invitation(request())
        .await
        .expect("sent")
        .into_inner();
    let before = (everything(&daemon).await, events(&daemon).len());
    let second = client
        .create_invitation(request())
        .await
        .expect("sent")
        .into_inner();
    assert_eq!(first, second);
    assert_eq!((everything(&daemon).await, events(&daemon).len()), before);
    assert_eq!(mails(&daemon).await, 1);
    let other = v1::CreateInvitationRequest {
        request_id: "one".to_owned(),
        ..create(new("bea@x.example", &["viewer"]))
    };
    let reused = client.create_invitation(other).await.expect_err("refused");
    assert_eq!(reused.code(), Code::Aborted);
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");

    // A bulk as large as can be is remembered whole.
    let crowded = || v1::BulkCreateInvitationsRequest {
        request_id: "many".to_owned(),
        ..bulk(crowd(0, 500))
    };
    let first = client
        .bulk_create_invitations(crowded())
        .await
        .expect("sent")
        .into_inner();
    let second = client
        .bulk_create_invitations(crowded())
        .await
        .expect("sent")
        .into_inner();
    assert_eq!(first, second);
    assert_eq!(mails(&daemon).await, 501);
    let refused_rows = || v1::BulkCreateInvitationsRequest {
        request_id: "none".to_owned(),
        ..bulk(vec![new("\"\\\"\\", &["nobody", "nobody", "owne"]); 500])
    };
    let answer = client.bulk_create_invitations(refused_rows()).await;
    let answer = answer.expect("answered").into_inner();
    let again = client.bulk_create_invitations(refused_rows()).await;
    let again = again.expect("answered").into_inner();
    for (one, other) in answer.results.iter().zip(&again.results) {
        assert_eq!(one, other);
    }
    assert_eq!(answer.revision, again.revision);
    assert!(answer.results.iter().all(|row| row.status.is_some()));
    assert_eq!(mails(&daemon).await, 501);
    // Copying is remembered too.
    let id = first.results[0]
        .invitation
        .clone()
        .expect("an invitation")
        .id;
    let copying = || v1::CopyInvitationLinkRequest {
        request_id: "copy".to_owned(),
        ..copy(&id)
    };
    let one = client
        .copy_invitation_link(copying())
        .await
        .expect("copied")
        .into_inner();
    let told = events(&daemon).len();
    let other = client
        .copy_invitation_link(copying())
        .await
        .expect("copied")
        .into_inner();
    assert_eq!(one, other);
    assert_eq!(events(&daemon).len(), told);
    daemon.stop().await;
}

#[tokio::test]
async fn x_02_an_invitation_of_another_organization_is_not_there() {
    let daemon = team_on(HYPERVISOR).await;
    daemon.found("beta", HYPERVISOR).await;
    let (id, _) = invited(&daemon, "ann@x.example", &[]).await;
    let mut client = daemon.invitations();
    let elsewhere = v1::RevokeInvitationRequest {
        organization: "beta".to_owned(),
        ..revoke(&id)
    };
    let status = client
        .revoke_invitation(elsewhere)
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status_of(&daemon, &id).await, Pending);
    for attempt in ["inv-unknown", "", "\u{202e}"] {
        let attempt = client.resend_invitation(resend(attempt));
        refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn r_01_a_role_that_an_invitation_promises_is_not_deleted() {
    let daemon = team_on(HYPERVISOR).await;
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "helper".to_owned(),
        display_name: "Helper".to_owned(),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("a role");
    let (id, _) = invited(&daemon, "ann@x.example", &["helper"]).await;
    let delete = || v1::DeleteRoleRequest {
        organization: ACME.to_owned(),
        role: "helper".to_owned(),
        ..Default::default()
    };
    let mut roles = daemon.roles();
    let attempt = roles.delete_role(delete());
    let status = refused(&daemon, attempt, Code::FailedPrecondition, "ROLE_IN_USE").await;
    assert!(status.message().contains(&id), "{status:?}");
    let revoked = daemon.invitations().revoke_invitation(revoke(&id)).await;
    revoked.expect("revoked");
    daemon.roles().delete_role(delete()).await.expect("deleted");
    daemon.stop().await;
}
