//! Which events a request finds, in which order, page by page, and whose they are.

use prost_types::Timestamp;
use roster::domain::organization::Moment;
use roster::proto::v1;
use tonic::Code;
use v1::{EventEffect, EventOutcome};

use super::{all, detail, events, found_team, list};
use crate::control_plane::nursery;
use crate::harness::{Daemon, NOW, as_actor, owned, reason, violations};

fn at(moment: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: moment / 1_000,
        nanos: 0,
    })
}

async fn actions(daemon: &Daemon, request: v1::ListEventsRequest) -> Vec<String> {
    let found = list(daemon, request).await;
    found.into_iter().map(|event| event.action).collect()
}

/// A team with a story that takes some days.
async fn story(daemon: &Daemon) {
    const DAY: i64 = 86_400_000;
    found_team(daemon, "acme").await;
    daemon.add("acme", "ann", &["admin"]).await;
    daemon.add("acme", "bea", &["member"]).await;
    daemon.world.set(Moment(NOW.0 + DAY));
    let roles = v1::SetMemberRolesRequest {
        organization: "acme".to_owned(),
        user: "bea".to_owned(),
        roles: owned(&["viewer"]),
        ..Default::default()
    };
    let set = daemon
        .members()
        .set_member_roles(as_actor("ann", roles))
        .await;
    set.expect("ann may");
    daemon.world.set(Moment(NOW.0 + 2 * DAY));
    let remove = || v1::RemoveMemberRequest {
        organization: "acme".to_owned(),
        user: "bea".to_owned(),
        ..Default::default()
    };
    let denied = daemon
        .members()
        .remove_member(as_actor("bea", remove()))
        .await;
    denied.expect_err("bea may not");
    let removed = daemon
        .members()
        .remove_member(as_actor("ann", remove()))
        .await;
    removed.expect("ann may");
}

#[tokio::test]
async fn events_are_found_by_member_action_type_date_range_and_resource_type() {
    // What QOC asks of its audit log: created, updated or deleted, which resource,
    // which member, when, and details; to be filtered by each.
    const DAY: i64 = 86_400_000;
    let daemon = Daemon::start().await;
    story(&daemon).await;
    let whole = [
        "RemoveMember",
        "RemoveMember",
        "SetMemberRoles",
        "AddMember",
        "AddMember",
        "CreateOrganization",
    ];
    assert_eq!(actions(&daemon, all("acme")).await, whole);

    type Narrow = fn(&mut v1::ListEventsRequest);
    let cases: [(Narrow, &[usize]); 13] = [
        (|request| request.member = "bea".to_owned(), &[0, 1, 2, 3]),
        (|request| request.member = "ann".to_owned(), &[0, 2, 4]),
        (|request| request.actor = "ann".to_owned(), &[0, 2]),
        (|request| request.actor = "bea".to_owned(), &[1]),
        (
            |request| request.actions = owned(&["AddMember", "SetMemberRoles"]),
            &[2, 3, 4],
        ),
        (
            |request| request.set_effect(EventEffect::Created),
            &[3, 4, 5],
        ),
        (|request| request.set_effect(EventEffect::Updated), &[2]),
        (|request| request.set_effect(EventEffect::Deleted), &[0, 1]),
        (
            |request| request.target_type = "Organization".to_owned(),
            &[5],
        ),
        (|request| request.set_outcome(EventOutcome::Refused), &[1]),
        (|request| request.from = at(NOW.0 + DAY), &[0, 1, 2]),
        (|request| request.until = at(NOW.0 + DAY), &[3, 4, 5]),
        (
            |request| {
                request.target_id = "bea".to_owned();
                request.set_outcome(EventOutcome::Done);
                request.from = at(NOW.0 + DAY);
                request.until = at(NOW.0 + DAY + 1_000);
            },
            &[2],
        ),
    ];
    let every = events(&daemon, "acme").await;
    for (number, (narrow, expected)) in cases.into_iter().enumerate() {
        let mut request = all("acme");
        narrow(&mut request);
        let expected: Vec<_> = expected.iter().map(|index| every[*index].clone()).collect();
        assert_eq!(list(&daemon, request).await, expected, "case {number}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn every_role_change_and_removal_is_a_user_action_on_a_member() {
    // OnCloudWine logs every invitation, role change and removal as USER_ACTION on
    // the entity invitation or member. Here a USER_ACTION is an event that was done,
    // and the entity is its target type, `Invitation` or `Member`.
    let daemon = Daemon::start().await;
    story(&daemon).await;
    let request = v1::ListEventsRequest {
        target_type: "Member".to_owned(),
        outcome: EventOutcome::Done.into(),
        ..all("acme")
    };
    let found = list(&daemon, request).await;
    let told: Vec<_> = found
        .iter()
        .map(|event| {
            (
                event.action.as_str(),
                event.actor.as_str(),
                event.target_id.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("RemoveMember", "ann", "bea"),
            ("SetMemberRoles", "ann", "bea"),
            ("AddMember", "", "bea"),
            ("AddMember", "", "ann"),
        ]
    );
    let roles = ["before", "after"].map(|name| detail(&found[1], name));
    assert_eq!(roles, [Some("member"), Some("viewer")]);
    daemon.stop().await;
}

#[tokio::test]
async fn pages_hold_every_event_once_while_others_come_in() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let there = events(&daemon, "acme").await;
    for size in [1, 3, u32::try_from(there.len()).unwrap()] {
        let mut request = v1::ListEventsRequest {
            page_size: size,
            ..all("acme")
        };
        let mut seen = Vec::new();
        loop {
            let page = daemon.audit().list_events(request.clone()).await;
            let page = page.expect("a page").into_inner();
            assert!(page.events.len() <= size as usize);
            seen.extend(page.events);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            daemon
                .add("acme", &format!("m{size}-{}", seen.len()), &[])
                .await;
        }
        let newest = seen.first().cloned().expect("an event");
        let known = events(&daemon, "acme").await;
        let start = known.iter().position(|event| *event == newest).expect("it");
        assert_eq!(seen, known[start..], "page size {size}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_token_goes_with_its_filter_and_a_filter_is_checked() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon.found("other", "greenhouse").await;
    let first = v1::ListEventsRequest {
        page_size: 1,
        ..all("acme")
    };
    let page = daemon.audit().list_events(first.clone()).await;
    let token = page.expect("a page").into_inner().next_page_token;
    let refused = async |request: v1::ListEventsRequest| {
        let refused = daemon.audit().list_events(request).await;
        violations(&refused.expect_err("refused"))
    };
    for (organization, member) in [("acme", "ann"), ("other", "")] {
        let request = v1::ListEventsRequest {
            member: member.to_owned(),
            page_token: token.clone(),
            ..all(organization)
        };
        let expected = ("page_token".to_owned(), "MALFORMED_PAGE_TOKEN".to_owned());
        assert_eq!(refused(request).await, [expected]);
    }
    let bad = v1::ListEventsRequest {
        member: "a b".to_owned(),
        target_type: "\0".to_owned(),
        actions: vec!["x".repeat(129)],
        from: at(NOW.0),
        until: at(NOW.0),
        ..first.clone()
    };
    let fields: Vec<String> = refused(bad)
        .await
        .into_iter()
        .map(|fault| fault.0)
        .collect();
    assert_eq!(fields, ["member", "target_type", "actions[0]", "until"]);
    let bad = v1::ListEventsRequest {
        effect: 17,
        outcome: -1,
        source: 3,
        ..first.clone()
    };
    let fields: Vec<String> = refused(bad)
        .await
        .into_iter()
        .map(|fault| fault.0)
        .collect();
    assert_eq!(fields, ["effect", "outcome", "source"]);
    let bad = v1::ListEventsRequest {
        actions: vec!["AddMember".to_owned(); 101],
        ..first
    };
    assert_eq!(refused(bad).await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn one_event_is_read_by_its_id_and_by_no_other() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon.found("other", "greenhouse").await;
    let every = events(&daemon, "acme").await;
    let get = async |organization: &str, event: &str| {
        let request = v1::GetEventRequest {
            organization: organization.to_owned(),
            event: event.to_owned(),
            ..Default::default()
        };
        daemon.audit().get_event(request).await
    };
    for event in &every {
        let found = get("acme", &event.id).await.expect("it is there");
        assert_eq!(found.into_inner().event.as_ref(), Some(event));
    }
    let id = every[0].id.as_str();
    let strange = [
        format!("0{id}"),
        format!("+{id}"),
        format!("{id}0"),
        "999999-0".to_owned(),
        format!("1-{}", u32::MAX),
        "18446744073709551616-0".to_owned(),
        "x".to_owned(),
    ];
    for strange in strange {
        let absent = get("acme", &strange).await.expect_err(&strange);
        assert_eq!(absent.code(), Code::NotFound, "{strange}");
    }
    assert_eq!(
        get("other", id).await.expect_err("another's").code(),
        Code::NotFound
    );
    assert_eq!(reason(&get("acme", "").await.expect_err("none")), "INVALID");
    daemon.stop().await;
}

#[tokio::test]
async fn a_deleted_organization_is_an_operators_to_look_back_on_and_nobody_elses() {
    let daemon = Daemon::start().await;
    found_team(&daemon, "acme").await;
    daemon.add("acme", "ann", &["admin"]).await;
    let old = events(&daemon, "acme").await.remove(0);
    let delete = v1::DeleteOrganizationRequest {
        organization: "acme".to_owned(),
        ..Default::default()
    };
    let deleted = daemon.organizations().delete_organization(delete).await;
    deleted.expect("it is deleted");

    let left = actions(&daemon, all("acme")).await;
    assert_eq!(
        left,
        ["DeleteOrganization", "AddMember", "CreateOrganization"]
    );
    for member in ["owner", "ann"] {
        let refused = daemon
            .audit()
            .list_events(as_actor(member, all("acme")))
            .await;
        assert_eq!(refused.expect_err("gone").code(), Code::NotFound);
    }
    for nowhere in ["nowhere", "no where", "\0"] {
        let refused = daemon.audit().list_events(all(nowhere)).await;
        assert_eq!(refused.expect_err("never there").code(), Code::NotFound);
    }
    let unnamed = daemon.audit().list_events(all("")).await;
    assert_eq!(reason(&unnamed.expect_err("none named")), "INVALID");

    // Another customer under the same id sees their own story only.
    daemon.world.set(Moment(NOW.0 + 1_000));
    found_team(&daemon, "acme").await;
    let own = daemon
        .audit()
        .list_events(as_actor("owner", all("acme")))
        .await;
    let own = own.expect("the owner may").into_inner();
    assert_eq!(own.events.len(), 1, "{own:?}");
    assert_eq!(own.next_page_token, "");
    let request = v1::GetEventRequest {
        organization: "acme".to_owned(),
        event: old.id,
        ..Default::default()
    };
    let hidden = daemon
        .audit()
        .get_event(as_actor("owner", request.clone()))
        .await;
    assert_eq!(hidden.expect_err("another's").code(), Code::NotFound);
    daemon
        .audit()
        .get_event(request)
        .await
        .expect("an operator may");
    assert_eq!(events(&daemon, "acme").await.len(), 4);
    daemon.stop().await;
}
