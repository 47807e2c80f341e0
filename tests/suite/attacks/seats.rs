//! Seats: who joins when a plan has few.

use roster::proto::v1;
use tokio::task::JoinSet;
use tonic::Code;

use super::{
    ACME, accept, bulk, create, invited, join, new, refused, resend, revoke, set_plan, suspend,
    team_on, team_on_plan, users,
};
use crate::harness::{Daemon, as_actor, reason};

const SEATS: (Code, &str) = (Code::ResourceExhausted, "SEATS_TAKEN");

async fn reinstate(daemon: &Daemon, user: &str) -> Result<(), tonic::Status> {
    let request = v1::ReinstateMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    let reinstated = daemon.members().reinstate_member(request).await;
    reinstated.map(drop)
}

fn added(user: &str) -> v1::AddMemberRequest {
    v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn s_01_of_ten_who_accept_the_last_seat_one_gets_it() {
    let daemon = team_on_plan("qoc-cloud", "pro").await;
    for user in ["a", "b", "c"] {
        daemon.add(ACME, user, &["member"]).await;
    }
    let mut racing = JoinSet::new();
    for number in 0..10 {
        let email = format!("u{number}@x.example");
        let (_, token) = invited(&daemon, &email, &["member"]).await;
        let mut client = daemon.invitations();
        let request = accept(&token, &format!("u{number}"), &email);
        racing.spawn(async move { client.accept_invitation(request).await });
    }
    let mut lost = Vec::new();
    while let Some(raced) = racing.join_next().await {
        lost.extend(raced.expect("no panic").err());
    }
    assert_eq!(lost.len(), 9);
    for status in lost {
        assert_eq!((status.code(), reason(&status).as_str()), SEATS);
        assert!(status.message().contains("5 of 5"), "{status:?}");
    }
    assert_eq!(users(&daemon).await.len(), 5);
    daemon.stop().await;
}

#[tokio::test]
async fn s_03_any_number_may_wait_and_the_sixth_does_not_join() {
    let daemon = team_on_plan("qoc-cloud", "pro").await;
    let mut tokens = Vec::new();
    for number in 0..50 {
        let email = format!("u{number}@x.example");
        tokens.push((invited(&daemon, &email, &[]).await.1, email));
    }
    let mut tokens = tokens.into_iter().enumerate();
    for (number, (token, email)) in tokens.by_ref().take(4) {
        join(&daemon, &token, &format!("u{number}"), &email).await;
    }
    let (_, (token, email)) = tokens.next().expect("another");
    let mut client = daemon.invitations();
    let attempt = client.accept_invitation(accept(&token, "late", &email));
    let status = refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    assert!(status.message().contains("5 of 5"), "{status:?}");
    let mut members = daemon.members();
    let attempt = members.add_member(added("late"));
    refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    // A seat that becomes free is there for whoever waits.
    let removal = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "u0".to_owned(),
        ..Default::default()
    };
    members.remove_member(removal).await.expect("removed");
    join(&daemon, &token, "late", &email).await;
    daemon.stop().await;
}

#[tokio::test]
async fn s_04_a_smaller_plan_removes_nobody_and_takes_nobody() {
    let daemon = team_on_plan("qoc-cloud", "enterprise").await;
    for user in ["a", "b", "c", "d", "e", "f"] {
        daemon.add(ACME, user, &["member"]).await;
    }
    suspend(&daemon, "f").await;
    let (_, token) = invited(&daemon, "g@x.example", &[]).await;
    set_plan(&daemon, "pro").await;
    assert_eq!(users(&daemon).await.len(), 7);
    let mut client = daemon.invitations();
    let attempt = client.accept_invitation(accept(&token, "g", "g@x.example"));
    let status = refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    assert!(status.message().contains("7 of 5"), "{status:?}");
    let mut members = daemon.members();
    let reinstating = v1::ReinstateMemberRequest {
        organization: ACME.to_owned(),
        user: "f".to_owned(),
        ..Default::default()
    };
    let attempt = members.reinstate_member(reinstating);
    refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    for user in ["a", "b"] {
        let removal = v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        members.remove_member(removal).await.expect("removed");
    }
    // Five are left, the suspended one among them, who had a seat all along.
    reinstate(&daemon, "f").await.expect("reinstated");
    daemon.stop().await;
}

#[tokio::test]
async fn s_05_a_plan_without_invitations_sends_none() {
    let daemon = team_on_plan("qoc-cloud", "pro").await;
    let (id, token) = invited(&daemon, "a@x.example", &[]).await;
    set_plan(&daemon, "free").await;
    let mut client = daemon.invitations();
    let lacking = (Code::FailedPrecondition, "PLAN_LACKS_FEATURE");
    let one = || create(new("b@x.example", &[]));
    refused(
        &daemon,
        client.create_invitation(one()),
        lacking.0,
        lacking.1,
    )
    .await;
    let attempt = client.create_invitation(as_actor("owner", one()));
    refused(&daemon, attempt, lacking.0, lacking.1).await;
    let attempt = client.bulk_create_invitations(bulk(vec![new("b@x.example", &[])]));
    refused(&daemon, attempt, lacking.0, lacking.1).await;
    refused(
        &daemon,
        client.resend_invitation(resend(&id)),
        lacking.0,
        lacking.1,
    )
    .await;
    let attempt = client.accept_invitation(accept(&token, "a", "a@x.example"));
    refused(&daemon, attempt, lacking.0, lacking.1).await;
    client
        .revoke_invitation(revoke(&id))
        .await
        .expect("revoked");
    daemon.stop().await;
}

#[tokio::test]
async fn s_07_suspending_frees_no_seat() {
    let daemon = team_on_plan("qoc-cloud", "pro").await;
    for user in ["a", "b", "c", "d"] {
        daemon.add(ACME, user, &["member"]).await;
    }
    suspend(&daemon, "d").await;
    let (_, token) = invited(&daemon, "e@x.example", &[]).await;
    let mut client = daemon.invitations();
    let attempt = client.accept_invitation(accept(&token, "e", "e@x.example"));
    refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    daemon.stop().await;

    let daemon = team_on("greenhouse").await;
    for user in ["a", "b"] {
        daemon.add(ACME, user, &[]).await;
    }
    set_plan(&daemon, "window-sill").await;
    suspend(&daemon, "b").await;
    let mut client = daemon.invitations();
    let attempt = client.create_invitation(create(new("c@x.example", &[])));
    refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn s_08_where_invitations_keep_seats_the_last_one_is_promised_once() {
    let daemon = team_on_plan("greenhouse", "window-sill").await;
    let (first, token) = invited(&daemon, "a@x.example", &[]).await;
    invited(&daemon, "b@x.example", &[]).await;
    let mut client = daemon.invitations();
    let attempt = client.create_invitation(create(new("c@x.example", &[])));
    let status = refused(&daemon, attempt, SEATS.0, SEATS.1).await;
    assert!(status.message().contains("3 of 3"), "{status:?}");
    let mut members = daemon.members();
    refused(&daemon, members.add_member(added("c")), SEATS.0, SEATS.1).await;
    // Its own seat is there for the one who accepts, and for sending again.
    client
        .resend_invitation(resend(&first))
        .await
        .expect("sent again");
    let attempt = client.accept_invitation(accept(&token, "a", "a@x.example"));
    let superseded = (Code::FailedPrecondition, "LINK_SUPERSEDED");
    refused(&daemon, attempt, superseded.0, superseded.1).await;
    client
        .revoke_invitation(revoke(&first))
        .await
        .expect("revoked");
    let (_, token) = invited(&daemon, "c@x.example", &[]).await;
    join(&daemon, &token, "c", "c@x.example").await;
    // In bulk each row takes one.
    let removal = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "c".to_owned(),
        ..Default::default()
    };
    members.remove_member(removal).await.expect("removed");
    let rows = bulk(vec![new("d@x.example", &[]), new("e@x.example", &[])]);
    let sent = client
        .bulk_create_invitations(rows)
        .await
        .expect("answered");
    let refusals: Vec<bool> = sent
        .into_inner()
        .results
        .iter()
        .map(|row| row.status.is_some())
        .collect();
    assert_eq!(refusals, [false, true]);
    daemon.stop().await;
}
