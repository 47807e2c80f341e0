//! The outbox, pulled: what is leased to whom, for how long, and when it is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use roster::domain::organization::Moment;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use tonic::Code;

use crate::attacks::{ACME, events, invited, join, revoke, team_on};
use crate::harness::{Daemon, NOW, as_actor, owned, reason, violations};

const SECOND: i64 = 1_000;
const DAY: i64 = 24 * 60 * 60 * SECOND;

fn duration(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Leases at most so many, for a minute.
pub async fn lease(daemon: &Daemon, most: u32) -> Vec<v1::LeasedNotification> {
    let request = v1::LeaseNotificationsRequest {
        max_notifications: most,
        ..Default::default()
    };
    let leased = daemon.notifications().lease_notifications(request).await;
    leased.expect("leases").into_inner().notifications
}

fn item(leased: &v1::LeasedNotification) -> v1::NotificationLease {
    let notification = leased.notification.clone().expect("a notification");
    v1::NotificationLease {
        organization: notification.organization,
        notification: notification.id,
        lease: leased.lease.clone(),
    }
}

fn id(leased: &v1::LeasedNotification) -> String {
    let item = item(leased);
    format!("{}/{}", item.organization, item.notification)
}

fn acknowledgement(leased: &[v1::LeasedNotification]) -> v1::AcknowledgeNotificationsRequest {
    v1::AcknowledgeNotificationsRequest {
        notifications: leased.iter().map(item).collect(),
        ..Default::default()
    }
}

async fn acknowledge(daemon: &Daemon, request: v1::AcknowledgeNotificationsRequest) -> u64 {
    let mut client = daemon.notifications();
    let acknowledged = client.acknowledge_notifications(request).await;
    let acknowledged = acknowledged.expect("an acknowledgement").into_inner();
    acknowledged.acknowledged_count
}

async fn release(daemon: &Daemon, leased: &[v1::LeasedNotification]) -> u64 {
    let request = v1::ReleaseNotificationsRequest {
        notifications: leased.iter().map(item).collect(),
    };
    let released = daemon.notifications().release_notifications(request).await;
    released.expect("released").into_inner().released_count
}

/// What waits in an organization.
pub async fn waiting(daemon: &Daemon, organization: &str) -> Vec<v1::Notification> {
    let request = v1::ListNotificationsRequest {
        organization: organization.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = daemon.notifications().list_notifications(request).await;
    listed.expect("a page").into_inner().notifications
}

/// Why notifications were given up, in order.
async fn given_up(daemon: &Daemon) -> Vec<String> {
    let events = events(daemon);
    let events = events.iter().rev().map(|entry| &entry.event);
    events
        .filter(|event| event.action == "GiveUpNotification")
        .flat_map(|event| &event.details)
        .filter(|(name, _)| name == "reason")
        .map(|(_, why)| why.clone())
        .collect()
}

#[tokio::test]
async fn an_invitation_is_leased_with_its_words_and_its_link_and_is_gone_once_acknowledged() {
    let daemon = team_on("oec-sh").await;
    let (_, token) = invited(&daemon, "ann@x.example", &["developer"]).await;

    let listed = waiting(&daemon, ACME).await;
    let leased = lease(&daemon, 0).await;

    assert_eq!(leased.len(), 1);
    let letter = &leased[0];
    let notification = letter.notification.clone().expect("a notification");
    assert_eq!(listed, std::slice::from_ref(&notification));
    assert_eq!(notification.kind(), v1::NotificationKind::Invitation);
    assert_eq!(notification.email, "ann@x.example");
    assert_eq!((letter.link.as_str(), letter.attempt), (token.as_str(), 1));
    assert!(letter.body.contains(&token), "{}", letter.body);
    assert!(!letter.subject.contains(&token) && !letter.subject.is_empty());
    assert_eq!(letter.facts["organization"], ACME);
    assert!(!letter.facts.contains_key("link"));
    let end = letter.lease_expire_time.expect("an end").seconds;
    assert_eq!(end, NOW.0 / SECOND + 60);

    assert_eq!(acknowledge(&daemon, acknowledgement(&leased)).await, 1);
    assert!(waiting(&daemon, ACME).await.is_empty());
    assert!(lease(&daemon, 0).await.is_empty());
    let last = events(&daemon).remove(0).event;
    assert_eq!(last.action, "AcknowledgeNotifications");
    let ids = ("notifications".to_owned(), notification.id);
    assert_eq!(last.details, [ids]);
    join(&daemon, &letter.link, "ann", "ann@x.example").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_lease_that_ends_or_is_forgotten_leads_to_another_delivery() {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found(ACME, "oec-sh").await;
    invited(&daemon, "ann@x.example", &["developer"]).await;
    let first = lease(&daemon, 0).await;
    assert!(lease(&daemon, 0).await.is_empty());

    daemon.world.set(Moment(NOW.0 + 60 * SECOND - 1));
    assert!(lease(&daemon, 0).await.is_empty());
    daemon.world.set(Moment(NOW.0 + 60 * SECOND));
    let second = lease(&daemon, 0).await;

    assert_eq!((id(&second[0]), second[0].attempt), (id(&first[0]), 2));
    assert_ne!(second[0].lease, first[0].lease);
    assert_eq!(
        (&second[0].subject, &second[0].body),
        (&first[0].subject, &first[0].body)
    );
    daemon.stop().await;
    let daemon = Daemon::start_on(store).await;
    let third = lease(&daemon, 0).await;
    assert_eq!((id(&third[0]), third[0].attempt), (id(&first[0]), 1));
    // What was delivered before the restart needs no second delivery.
    daemon.world.set(Moment(NOW.0 + 60 * SECOND));
    assert_eq!(acknowledge(&daemon, acknowledgement(&second)).await, 1);
    daemon.stop().await;
}

#[tokio::test]
async fn two_who_lease_never_get_the_same_and_organizations_take_turns() {
    let daemon = team_on("oec-sh").await;
    for number in 0..30 {
        invited(&daemon, &format!("p{number}@x.example"), &["developer"]).await;
    }
    daemon.found("other", "oec-sh").await;
    let request = v1::CreateInvitationRequest {
        organization: "other".to_owned(),
        invitation: Some(crate::attacks::new("o@x.example", &["developer"])),
        ..Default::default()
    };
    let invited = daemon.invitations().create_invitation(request).await;
    invited.expect("the invitation is sent");

    let first = lease(&daemon, 3).await;
    assert!(first.iter().any(|leased| id(leased).starts_with("other/")));
    let rest = (0..12).map(|_| lease(&daemon, 3));
    let rest = futures_util::future::join_all(rest).await;

    let all: Vec<String> = first.iter().chain(rest.iter().flatten()).map(id).collect();
    let unique: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), unique.len()), (31, 31));
    daemon.stop().await;
}

#[tokio::test]
async fn after_a_restart_all_that_waits_is_handed_out_once_with_organizations_in_turns() {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    for number in 0..12 {
        let organization = format!("team-{number}");
        daemon.found(&organization, "oec-sh").await;
        for guest in 0..3 {
            let email = format!("guest-{guest}@team-{number}.example");
            let request = v1::CreateInvitationRequest {
                organization: organization.clone(),
                invitation: Some(crate::attacks::new(&email, &["developer"])),
                ..Default::default()
            };
            let sent = daemon.invitations().create_invitation(request).await;
            sent.expect("the invitation is sent");
        }
    }
    daemon.stop().await;
    let daemon = Daemon::start_on(store).await;

    let mut all = lease(&daemon, 12).await;
    let first: BTreeSet<String> = all.iter().map(|leased| item(leased).organization).collect();
    assert_eq!(first.len(), 12, "one of each");
    loop {
        let next = lease(&daemon, 5).await;
        if next.is_empty() {
            break;
        }
        all.extend(next);
    }
    let unique: BTreeSet<String> = all.iter().map(id).collect();
    assert_eq!((all.len(), unique.len()), (36, 36));
    daemon.stop().await;
}

#[tokio::test]
async fn only_the_lease_that_runs_counts_and_a_repeat_is_answered_alike() {
    let daemon = team_on("oec-sh").await;
    invited(&daemon, "ann@x.example", &["developer"]).await;
    let first = lease(&daemon, 0).await;
    daemon.world.set(Moment(NOW.0 + 60 * SECOND));
    let second = lease(&daemon, 0).await;

    assert_eq!(acknowledge(&daemon, acknowledgement(&first)).await, 0);
    assert_eq!(release(&daemon, &first).await, 0);
    assert_eq!(waiting(&daemon, ACME).await.len(), 1);
    let validated = v1::AcknowledgeNotificationsRequest {
        validate_only: true,
        ..acknowledgement(&second)
    };
    assert_eq!(acknowledge(&daemon, validated).await, 1);
    assert_eq!(waiting(&daemon, ACME).await.len(), 1);
    let request = v1::AcknowledgeNotificationsRequest {
        request_id: "once".to_owned(),
        ..acknowledgement(&second)
    };
    for _ in 0..2 {
        assert_eq!(acknowledge(&daemon, request.clone()).await, 1);
    }
    assert_eq!(acknowledge(&daemon, acknowledgement(&second)).await, 0);
    daemon.stop().await;
}

#[tokio::test]
async fn what_fails_pauses_and_is_given_up_after_three_days() {
    let daemon = team_on("oec-sh").await;
    invited(&daemon, "ann@x.example", &["developer"]).await;
    let leased = lease(&daemon, 0).await;
    assert_eq!(release(&daemon, &leased).await, 1);
    assert!(lease(&daemon, 0).await.is_empty());
    assert_eq!(release(&daemon, &leased).await, 0);

    daemon.world.set(Moment(NOW.0 + 10 * SECOND));
    let leased = lease(&daemon, 0).await;
    assert_eq!(leased[0].attempt, 2);
    daemon.world.set(Moment(NOW.0 + 3 * DAY - 1));
    assert_eq!(release(&daemon, &leased).await, 1);
    assert_eq!(waiting(&daemon, ACME).await.len(), 1);
    daemon.world.set(Moment(NOW.0 + 3 * DAY + 3_600 * SECOND));
    let leased = lease(&daemon, 0).await;
    assert_eq!(release(&daemon, &leased).await, 1);

    assert!(waiting(&daemon, ACME).await.is_empty());
    assert_eq!(given_up(&daemon).await, ["undeliverable"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_link_that_leads_nowhere_any_more_is_not_sent() {
    let daemon = team_on("oec-sh").await;
    let (invitation, _) = invited(&daemon, "ann@x.example", &["developer"]).await;
    invited(&daemon, "bob@x.example", &["developer"]).await;
    let revoked = daemon
        .invitations()
        .revoke_invitation(revoke(&invitation))
        .await;
    revoked.expect("the invitation is revoked");

    let leased = lease(&daemon, 1).await;

    let to: Vec<String> = leased
        .into_iter()
        .map(|leased| leased.notification.expect("a notification").email)
        .collect();
    // What was taken back went with its invitation.
    assert_eq!(to, ["bob@x.example"]);
    assert_eq!(given_up(&daemon).await, Vec::<String>::new());

    // What has expired is given up when it would be sent again.
    daemon.world.set(Moment(NOW.0 + 8 * DAY));
    assert_eq!(lease(&daemon, 1).await, []);
    assert_eq!(given_up(&daemon).await, ["obsolete"]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_nobody_comes_for_is_kept_for_thirty_days() {
    let daemon = team_on("oec-sh").await;
    daemon.add(ACME, "ann", &["developer"]).await;
    let roles = v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: "ann".to_owned(),
        roles: owned(&["viewer"]),
        ..Default::default()
    };
    let changed = daemon.members().set_member_roles(roles).await;
    changed.expect("the roles are set");
    for (now, left) in [(30 * DAY - 1, 1), (30 * DAY, 0)] {
        daemon.world.set(Moment(NOW.0 + now));
        daemon.application.give_up_unclaimed().await;
        assert_eq!(waiting(&daemon, ACME).await.len(), left);
    }
    assert_eq!(given_up(&daemon).await, ["unclaimed"]);
    daemon.stop().await;
}

#[tokio::test]
async fn an_outbox_goes_with_its_organization_and_late_acknowledgements_do_no_harm() {
    let daemon = team_on("oec-sh").await;
    invited(&daemon, "ann@x.example", &["developer"]).await;
    let leased = lease(&daemon, 0).await;
    let request = v1::DeleteOrganizationRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let deleted = daemon.organizations().delete_organization(request).await;
    deleted.expect("the organization is deleted");
    assert_eq!(acknowledge(&daemon, acknowledgement(&leased)).await, 0);
    daemon.world.set(Moment(NOW.0 + DAY));
    assert!(lease(&daemon, 0).await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn notifications_are_for_operators_only() {
    let daemon = team_on("oec-sh").await;
    invited(&daemon, "ann@x.example", &["developer"]).await;
    let leased = lease(&daemon, 0).await;
    let list = v1::ListNotificationsRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let released = v1::ReleaseNotificationsRequest {
        notifications: leased.iter().map(item).collect(),
    };
    let mut elsewhere = acknowledgement(&leased);
    elsewhere.notifications[0].organization = "nowhere".to_owned();
    let mut client = daemon.notifications();
    let request = as_actor("owner", v1::LeaseNotificationsRequest::default());
    let mut refused = vec![client.lease_notifications(request).await.err()];
    let request = as_actor("owner", list);
    refused.push(client.list_notifications(request).await.err());
    let request = as_actor("owner", released);
    refused.push(client.release_notifications(request).await.err());
    for request in [acknowledgement(&leased), elsewhere] {
        let request = as_actor("owner", request);
        refused.push(client.acknowledge_notifications(request).await.err());
    }
    for refused in refused {
        let refused = refused.expect("a refusal");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(reason(&refused), "OPERATOR_ONLY");
    }
    assert_eq!(waiting(&daemon, ACME).await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn requests_out_of_bounds_name_every_field_at_fault() {
    let daemon = team_on("oec-sh").await;
    let mut client = daemon.notifications();
    for (most, lease, expected) in [
        (101, None, vec![("max_notifications", "TOO_MANY")]),
        (0, duration(0), vec![("lease_duration", "MALFORMED")]),
        (0, duration(-5), vec![("lease_duration", "MALFORMED")]),
        (
            u32::MAX,
            duration(601),
            vec![
                ("max_notifications", "TOO_MANY"),
                ("lease_duration", "MALFORMED"),
            ],
        ),
    ] {
        let request = v1::LeaseNotificationsRequest {
            max_notifications: most,
            lease_duration: lease,
            ..Default::default()
        };
        let refused = client.lease_notifications(request).await;
        assert_violations(&refused.expect_err("a refusal"), &expected);
    }
    for (count, fault) in [(0, "MISSING"), (1_001, "TOO_MANY")] {
        let notifications = vec![v1::NotificationLease::default(); count];
        let request = v1::AcknowledgeNotificationsRequest {
            notifications: notifications.clone(),
            ..Default::default()
        };
        let refused = client.acknowledge_notifications(request).await;
        assert_violations(
            &refused.expect_err("a refusal"),
            &[("notifications", fault)],
        );
        let request = v1::ReleaseNotificationsRequest { notifications };
        let refused = client.release_notifications(request).await;
        assert_violations(
            &refused.expect_err("a refusal"),
            &[("notifications", fault)],
        );
    }
    daemon.stop().await;
}

#[track_caller]
fn assert_violations(status: &tonic::Status, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(field, kind)| ((*field).to_owned(), (*kind).to_owned()))
        .collect();
    assert_eq!(violations(status), expected, "{status:?}");
}
