//! What was changed counts at the next check, whatever was remembered before.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, suspend, team_on_plan};
use crate::harness::{Daemon, in_project, owned, question, reason};

async fn nursery() -> Daemon {
    let daemon = team_on_plan("greenhouse", "commercial").await;
    daemon.project(ACME, "north").await;
    daemon.add(ACME, "gina", &["gardener"]).await;
    daemon
}

fn waters() -> v1::IsAuthorizedRequest {
    in_project(question(ACME, "gina", "WaterBed", "Bed", "roses"), "north")
}

async fn set_roles(daemon: &Daemon, roles: &[&str]) -> String {
    let set = daemon
        .members()
        .set_member_roles(v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: "gina".to_owned(),
            roles: owned(roles),
            ..Default::default()
        })
        .await;
    set.expect("the roles are set").into_inner().revision
}

#[tokio::test]
async fn t_04_whoever_asks_for_a_revision_gets_it_or_nothing() {
    let daemon = nursery().await;
    assert!(daemon.allows(waters()).await);
    let revision = set_roles(&daemon, &[]).await;
    let mut asked = waters();
    asked.at_least = revision;
    assert!(!daemon.allows(asked).await);
    let mut beyond = tonic::Request::new(v1::IsAuthorizedRequest {
        at_least: "0.ffffff".to_owned(),
        ..waters()
    });
    beyond.set_timeout(std::time::Duration::from_secs(4));
    let refused = daemon.authorization().is_authorized(beyond).await;
    let refused = refused.expect_err("not reached");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "REVISION_NOT_REACHED");
    daemon.stop().await;
}

#[tokio::test]
async fn t_05_no_remembered_answer_outlives_what_it_came_from() {
    let daemon = nursery().await;
    // `allows` asks several times, so that the answer is remembered.
    assert!(daemon.allows(waters()).await);

    set_roles(&daemon, &[]).await;
    assert!(!daemon.allows(waters()).await, "the role is gone");
    set_roles(&daemon, &["gardener"]).await;
    assert!(daemon.allows(waters()).await);

    suspend(&daemon, "gina").await;
    assert!(!daemon.allows(waters()).await, "suspended");
    let reinstated = daemon
        .members()
        .reinstate_member(v1::ReinstateMemberRequest {
            organization: ACME.to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await;
    reinstated.expect("reinstated");
    assert!(daemon.allows(waters()).await);

    let overridden = daemon
        .projects()
        .set_project_override(v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "north".to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await;
    overridden.expect("overridden");
    assert!(!daemon.allows(waters()).await, "overridden");
    let freed = daemon
        .projects()
        .remove_project_override(v1::RemoveProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "north".to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await;
    freed.expect("freed");
    assert!(daemon.allows(waters()).await);

    let edited = daemon
        .roles()
        .update_role(v1::UpdateRoleRequest {
            organization: ACME.to_owned(),
            role: "gardener".to_owned(),
            permissions: Some(v1::Permissions::default()),
            update_mask: Some(prost_types::FieldMask {
                paths: owned(&["permissions"]),
            }),
            ..Default::default()
        })
        .await;
    edited.expect("edited");
    assert!(!daemon.allows(waters()).await, "the role lost it");
    let reset = daemon
        .roles()
        .reset_role(v1::ResetRoleRequest {
            organization: ACME.to_owned(),
            role: "gardener".to_owned(),
            ..Default::default()
        })
        .await;
    reset.expect("reset");
    assert!(daemon.allows(waters()).await);

    let group = daemon
        .groups()
        .create_group(v1::CreateGroupRequest {
            organization: ACME.to_owned(),
            group_id: "crew".to_owned(),
            display_name: "Crew".to_owned(),
            roles: owned(&["gardener"]),
            ..Default::default()
        })
        .await;
    group.expect("a group");
    set_roles(&daemon, &[]).await;
    assert!(!daemon.allows(waters()).await);
    let joined = daemon
        .groups()
        .add_group_member(v1::AddGroupMemberRequest {
            organization: ACME.to_owned(),
            group: "crew".to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await;
    joined.expect("joined");
    assert!(daemon.allows(waters()).await, "by the group");
    let left = daemon
        .groups()
        .remove_group_member(v1::RemoveGroupMemberRequest {
            organization: ACME.to_owned(),
            group: "crew".to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await;
    left.expect("left");
    assert!(!daemon.allows(waters()).await, "not by the group any more");

    set_roles(&daemon, &["gardener"]).await;
    assert!(daemon.allows(waters()).await);
    let removed = daemon
        .members()
        .remove_member(v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await;
    removed.expect("removed");
    assert!(!daemon.allows(waters()).await, "removed");

    // A change of plan reaches the rules that read its features.
    let creates = || question(ACME, "owner", "CreateRole", "Organization", ACME);
    assert!(daemon.allows(creates()).await);
    super::set_plan(&daemon, "hobby").await;
    assert!(!daemon.allows(creates()).await, "not on this plan");
    daemon.stop().await;
}
