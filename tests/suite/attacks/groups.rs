//! Rights won by way of a group, and ids of one team in another's requests.

use roster::proto::v1;
use tonic::{Code, Status};

use crate::harness::{Daemon, as_actor, owned, question, reason};

const ACME: &str = "acme";

/// A team whose manager, `mia`, manages the team and sees instances, and no more.
async fn managed() -> Daemon {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "hypervisor-io").await;
    daemon
        .roles()
        .create_role(v1::CreateRoleRequest {
            organization: ACME.to_owned(),
            role_id: "manager".to_owned(),
            display_name: "Team lead".to_owned(),
            permissions: Some(v1::Permissions {
                actions: owned(&["TeamManagementManage", "InstancesView"]),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .expect("the role is created");
    daemon
        .roles()
        .create_role(v1::CreateRoleRequest {
            organization: ACME.to_owned(),
            role_id: "watcher".to_owned(),
            display_name: "Watcher".to_owned(),
            permissions: Some(v1::Permissions {
                actions: owned(&["InstancesView"]),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .expect("the role is created");
    daemon.add(ACME, "mia", &["manager"]).await;
    daemon.add(ACME, "bob", &["watcher"]).await;
    daemon.group("strong", &["operator"]).await;
    daemon.group("weak", &["watcher"]).await;
    daemon
}

async fn add(daemon: &Daemon, actor: &str, group: &str, user: &str) -> Result<(), Status> {
    let request = v1::AddGroupMemberRequest {
        organization: ACME.to_owned(),
        group: group.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    let added = daemon
        .groups()
        .add_group_member(as_actor(actor, request))
        .await;
    added.map(drop)
}

async fn remove(daemon: &Daemon, actor: &str, group: &str, user: &str) -> Result<(), Status> {
    let request = v1::RemoveGroupMemberRequest {
        organization: ACME.to_owned(),
        group: group.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    let removed = daemon
        .groups()
        .remove_group_member(as_actor(actor, request))
        .await;
    removed.map(drop)
}

async fn edit(daemon: &Daemon, actor: &str, group: &str, roles: &[&str]) -> Result<(), Status> {
    let request = v1::UpdateGroupRequest {
        organization: ACME.to_owned(),
        group: group.to_owned(),
        display_name: "Edited".to_owned(),
        roles: owned(roles),
        ..Default::default()
    };
    let edited = daemon.groups().update_group(as_actor(actor, request)).await;
    edited.map(drop)
}

async fn create(daemon: &Daemon, actor: &str, group: &str, roles: &[&str]) -> Result<(), Status> {
    let request = v1::CreateGroupRequest {
        organization: ACME.to_owned(),
        group_id: group.to_owned(),
        display_name: "Created".to_owned(),
        roles: owned(roles),
        ..Default::default()
    };
    let created = daemon.groups().create_group(as_actor(actor, request)).await;
    created.map(drop)
}

async fn delete(daemon: &Daemon, actor: &str, group: &str) -> Result<(), Status> {
    let request = v1::DeleteGroupRequest {
        organization: ACME.to_owned(),
        group: group.to_owned(),
        ..Default::default()
    };
    let deleted = daemon.groups().delete_group(as_actor(actor, request)).await;
    deleted.map(drop)
}

fn refused(result: Result<(), Status>, wanted: &str) {
    let status = result.expect_err(wanted);
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(reason(&status), wanted, "{status:?}");
}

#[tokio::test]
async fn p_08_nobody_puts_themself_into_a_group() {
    let daemon = managed().await;
    refused(add(&daemon, "mia", "weak", "mia").await, "SELF_CHANGE");
    refused(add(&daemon, "mia", "strong", "mia").await, "SELF_CHANGE");
    daemon.put_into("weak", &["mia"]).await;
    refused(remove(&daemon, "mia", "weak", "mia").await, "SELF_CHANGE");
    daemon.stop().await;
}

#[tokio::test]
async fn p_08_nobody_edits_a_group_that_they_are_in() {
    let daemon = managed().await;
    daemon.put_into("weak", &["mia"]).await;
    refused(
        edit(&daemon, "mia", "weak", &["operator"]).await,
        "SELF_CHANGE",
    );
    refused(edit(&daemon, "mia", "weak", &[]).await, "SELF_CHANGE");
    refused(delete(&daemon, "mia", "weak").await, "SELF_CHANGE");
    let same = edit(&daemon, "mia", "weak", &["watcher"]).await;
    same.expect("a new name changes nobody's rights");
    daemon.stop().await;
}

#[tokio::test]
async fn p_08_a_manager_gives_by_a_group_only_what_they_hold() {
    let daemon = managed().await;
    refused(
        add(&daemon, "mia", "strong", "bob").await,
        "EXCEEDS_GRANTOR",
    );
    refused(
        create(&daemon, "mia", "new", &["operator"]).await,
        "EXCEEDS_GRANTOR",
    );
    refused(
        edit(&daemon, "mia", "weak", &["operator"]).await,
        "EXCEEDS_GRANTOR",
    );
    refused(edit(&daemon, "mia", "strong", &[]).await, "EXCEEDS_GRANTOR");
    refused(delete(&daemon, "mia", "strong").await, "EXCEEDS_GRANTOR");

    add(&daemon, "mia", "weak", "bob").await.expect("within");
    create(&daemon, "mia", "new", &["watcher"])
        .await
        .expect("within");
    delete(&daemon, "mia", "weak").await.expect("within");
    daemon.stop().await;
}

#[tokio::test]
async fn p_08_who_is_above_the_manager_by_a_group_is_not_theirs_to_touch() {
    let daemon = managed().await;
    daemon.put_into("strong", &["bob"]).await;
    refused(add(&daemon, "mia", "weak", "bob").await, "EXCEEDS_GRANTOR");
    refused(
        remove(&daemon, "mia", "strong", "bob").await,
        "EXCEEDS_GRANTOR",
    );
    let request = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "bob".to_owned(),
        ..Default::default()
    };
    let removed = daemon
        .members()
        .remove_member(as_actor("mia", request))
        .await;
    refused(removed.map(drop), "EXCEEDS_GRANTOR");
    daemon.stop().await;
}

#[tokio::test]
async fn p_09_a_role_that_one_has_by_a_group_is_not_one_s_own_to_grow() {
    let daemon = managed().await;
    daemon.put_into("weak", &["mia"]).await;
    let request = v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: "watcher".to_owned(),
        display_name: "Watcher".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["InstancesView", "TeamManagementView"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let edited = daemon.roles().update_role(as_actor("mia", request)).await;
    refused(edited.map(drop), "SELF_CHANGE");
    daemon.stop().await;
}

#[tokio::test]
async fn v_02_who_comes_back_is_in_no_group() {
    let daemon = managed().await;
    daemon.put_into("strong", &["bob"]).await;
    let asked = || question(ACME, "bob", "InstancesManage", "Instance", "i");
    assert!(daemon.allows(asked()).await);
    let request = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "bob".to_owned(),
        ..Default::default()
    };
    let removed = daemon.members().remove_member(request).await;
    removed.expect("removed");
    assert!(!daemon.allows(asked()).await);
    daemon.add(ACME, "bob", &["watcher"]).await;
    assert!(!daemon.allows(asked()).await);
    daemon.stop().await;
}

#[tokio::test]
async fn t_05_a_warm_answer_does_not_outlive_a_change_of_the_group() {
    let daemon = managed().await;
    let asked = || question(ACME, "bob", "InstancesManage", "Instance", "i");
    assert!(!daemon.allows(asked()).await);
    daemon.put_into("strong", &["bob"]).await;
    assert!(daemon.allows(asked()).await);
    let request = v1::UpdateGroupRequest {
        organization: ACME.to_owned(),
        group: "strong".to_owned(),
        display_name: "Strong".to_owned(),
        ..Default::default()
    };
    let emptied = daemon.groups().update_group(request).await;
    emptied.expect("its roles are taken");
    assert!(!daemon.allows(asked()).await);
    daemon.stop().await;
}

#[tokio::test]
async fn x_03_a_group_or_member_of_another_team_is_not_found() {
    let daemon = managed().await;
    daemon.found("rival", "hypervisor-io").await;
    daemon.add("rival", "rex", &["viewer"]).await;
    let request = |organization: &str, group: &str, user: &str| v1::AddGroupMemberRequest {
        organization: organization.to_owned(),
        group: group.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    for (organization, group, user) in [("rival", "strong", "rex"), (ACME, "strong", "rex")] {
        let status = daemon
            .groups()
            .add_group_member(request(organization, group, user))
            .await
            .expect_err("not found");
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
    daemon.stop().await;
}
