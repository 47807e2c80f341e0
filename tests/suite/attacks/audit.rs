//! Attacks on the audit trail: reading it, hiding from it, filling it with lies.

use roster::proto::v1;
use tonic::Code;

use crate::audit::{all, detail, events, found_team, list};
use crate::harness::{Daemon, as_actor, owned, reason};

/// A team of QOC, where Admin reads the audit log and Viewer does not.
async fn team(daemon: &Daemon) {
    found_team(daemon, "acme").await;
    daemon.add("acme", "ann", &["admin"]).await;
    daemon.add("acme", "vic", &["viewer"]).await;
}

#[tokio::test]
async fn a_07_a_viewer_reads_no_log_and_trying_is_in_it_once() {
    let daemon = Daemon::start().await;
    team(&daemon).await;
    let count = events(&daemon, "acme").await.len();
    let refused = daemon
        .audit()
        .list_events(as_actor("vic", all("acme")))
        .await;
    let refused = refused.expect_err("a viewer may not");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "PERMISSION_DENIED")
    );

    let seen = daemon
        .audit()
        .list_events(as_actor("ann", all("acme")))
        .await;
    let seen = seen.expect("an admin may").into_inner().events;
    assert_eq!(seen.len(), count + 1);
    let first = &seen[0];
    assert_eq!(
        (first.action.as_str(), first.actor.as_str()),
        ("ListEvents", "vic")
    );
    assert_eq!(detail(first, "permission"), Some("ReadAuditLog"));

    let get = v1::GetEventRequest {
        organization: "acme".to_owned(),
        event: first.id.clone(),
        ..Default::default()
    };
    for user in ["vic", "stranger"] {
        let refused = daemon.audit().get_event(as_actor(user, get.clone())).await;
        assert_eq!(reason(&refused.expect_err(user)), "PERMISSION_DENIED");
    }
    assert_eq!(events(&daemon, "acme").await.len(), count + 3);
    daemon.stop().await;
}

#[tokio::test]
async fn a_03_whoever_gives_and_takes_roles_is_named_with_what_was_there() {
    let daemon = Daemon::start().await;
    team(&daemon).await;
    for roles in [&["member"][..], &[]] {
        let set = v1::SetMemberRolesRequest {
            organization: "acme".to_owned(),
            user: "vic".to_owned(),
            roles: owned(roles),
            ..Default::default()
        };
        let set = daemon
            .members()
            .set_member_roles(as_actor("ann", set))
            .await;
        set.expect("an admin may");
    }
    let request = v1::ListEventsRequest {
        actions: owned(&["SetMemberRoles"]),
        ..all("acme")
    };
    let found = list(&daemon, request).await;
    let told: Vec<_> = found
        .iter()
        .map(|event| {
            assert_eq!(
                (event.actor.as_str(), event.caller.as_str()),
                ("ann", "operator")
            );
            assert_eq!(event.target_id, "vic");
            (detail(event, "before"), detail(event, "after"))
        })
        .collect();
    assert_eq!(
        told,
        [(Some("member"), Some("")), (Some("viewer"), Some("member"))]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn nothing_that_people_write_is_in_an_event() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let secret = "Zaphod Beeblebrox";
    let address = "zaphod@example.test";
    let member = v1::AddMemberRequest {
        organization: "acme".to_owned(),
        user: "zed".to_owned(),
        display_name: secret.to_owned(),
        email: address.to_owned(),
        ..Default::default()
    };
    daemon.members().add_member(member).await.expect("added");
    let edit = v1::UpdateMemberRequest {
        organization: "acme".to_owned(),
        user: "zed".to_owned(),
        display_name: format!("{secret} II"),
        email: address.to_owned(),
        ..Default::default()
    };
    daemon.members().update_member(edit).await.expect("edited");
    let project = v1::CreateProjectRequest {
        organization: "acme".to_owned(),
        project_id: "p".to_owned(),
        display_name: secret.to_owned(),
        ..Default::default()
    };
    daemon
        .projects()
        .create_project(project)
        .await
        .expect("created");
    for organization in ["acme", address, secret] {
        // Also where it is put in place of an id.
        let remove = v1::RemoveMemberRequest {
            organization: organization.to_owned(),
            user: secret.to_owned(),
            ..Default::default()
        };
        daemon
            .members()
            .remove_member(remove)
            .await
            .expect_err("nobody");
    }
    let all = format!("{:?}", events(&daemon, "acme").await);
    for text in [secret, "Beeblebrox", address] {
        assert!(!all.contains(text), "{all}");
    }
    daemon.stop().await;
}
