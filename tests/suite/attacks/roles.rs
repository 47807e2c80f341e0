//! Roles while they are held, edited and deleted.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, invited, refused, team_on};
use crate::harness::{Daemon, in_project, owned, question};

fn delete(role: &str) -> v1::DeleteRoleRequest {
    v1::DeleteRoleRequest {
        organization: ACME.to_owned(),
        role: role.to_owned(),
        ..Default::default()
    }
}

fn permissions(actions: &[&str]) -> Option<v1::Permissions> {
    Some(v1::Permissions {
        actions: owned(actions),
        ..Default::default()
    })
}

async fn create_role(daemon: &Daemon, organization: &str, id: &str, actions: &[&str]) {
    let created = daemon
        .roles()
        .create_role(v1::CreateRoleRequest {
            organization: organization.to_owned(),
            role_id: id.to_owned(),
            display_name: format!("The {id}"),
            permissions: permissions(actions),
            ..Default::default()
        })
        .await;
    created.expect("the role is created");
}

fn update(role: &str, actions: &[&str]) -> v1::UpdateRoleRequest {
    v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: role.to_owned(),
        permissions: permissions(actions),
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&["permissions"]),
        }),
        ..Default::default()
    }
}

/// A greenhouse on a plan with custom roles, a project in it.
async fn nursery() -> Daemon {
    let daemon = super::team_on_plan("greenhouse", "commercial").await;
    daemon.project(ACME, "north").await;
    daemon
}

#[tokio::test]
async fn r_01_a_role_that_is_held_anywhere_is_not_deleted_and_every_holder_is_named() {
    let daemon = nursery().await;
    create_role(&daemon, ACME, "helper", &["WaterBed"]).await;
    for user in ["ann", "bea", "cid", "dot"] {
        daemon.add(ACME, user, &["gardener"]).await;
    }
    daemon.add(ACME, "eva", &["helper"]).await;
    daemon
        .project_roles(ACME, "north", "bea", &["helper"])
        .await;
    daemon
        .projects()
        .set_project_override(v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "north".to_owned(),
            user: "cid".to_owned(),
            roles: owned(&["helper"]),
            ..Default::default()
        })
        .await
        .expect("the override is set");
    daemon
        .projects()
        .set_default_roles(v1::SetDefaultRolesRequest {
            organization: ACME.to_owned(),
            user: "dot".to_owned(),
            roles: owned(&["helper"]),
            ..Default::default()
        })
        .await
        .expect("the default roles are set");
    let (invitation, _) = invited(&daemon, "fay@x.example", &["helper"]).await;

    let mut roles = daemon.roles();
    let attempt = roles.delete_role(delete("helper"));
    let status = refused(&daemon, attempt, Code::FailedPrecondition, "ROLE_IN_USE").await;
    for holder in ["eva", "bea", "cid", "dot", &invitation] {
        assert!(status.message().contains(holder), "{holder}: {status:?}");
    }
    assert!(!status.message().contains("`ann`"), "{status:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn r_02_of_giving_and_deleting_a_role_at_once_one_wins_and_nothing_dangles() {
    let daemon = nursery().await;
    daemon.add(ACME, "ann", &["gardener"]).await;
    for round in 0..20 {
        let role = format!("role-{round}");
        create_role(&daemon, ACME, &role, &["WaterBed"]).await;
        let (mut members, mut roles) = (daemon.members(), daemon.roles());
        let given = members.set_member_roles(v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: "ann".to_owned(),
            roles: vec![role.clone()],
            ..Default::default()
        });
        let deleted = roles.delete_role(delete(&role));
        let (given, deleted) = tokio::join!(given, deleted);
        assert_ne!(given.is_ok(), deleted.is_ok(), "{given:?} {deleted:?}");
        let snapshot = daemon
            .application
            .find(ACME)
            .await
            .expect("the organization");
        let organization = snapshot.organization();
        let held = &organization.members.get("ann").expect("a member").roles;
        let known = |id: &str| organization.roles.contains_key(id) || id == "gardener";
        assert!(held.iter().all(|role| known(role.as_str())), "{held:?}");
        daemon
            .members()
            .set_member_roles(v1::SetMemberRolesRequest {
                organization: ACME.to_owned(),
                user: "ann".to_owned(),
                roles: owned(&["gardener"]),
                ..Default::default()
            })
            .await
            .expect("the role is set back");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn r_03_an_edit_reaches_every_holder_in_one_revision() {
    let daemon = nursery().await;
    create_role(&daemon, ACME, "helper", &["WaterBed"]).await;
    for number in 0..300 {
        daemon
            .add(ACME, &format!("holder-{number}"), &["helper"])
            .await;
    }
    let before = daemon.application.find(ACME).await.expect("it").revision();
    let edited = daemon
        .roles()
        .update_role(update("helper", &["ReadSensor"]))
        .await;
    let revision = edited.expect("edited").into_inner().revision;
    assert_eq!(revision, format!("0.{:x}", before + 1));
    for number in [0, 150, 299] {
        let user = format!("holder-{number}");
        let asked = in_project(question(ACME, &user, "WaterBed", "Bed", "roses"), "north");
        assert!(!daemon.allows(asked).await, "{user}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn r_05_built_in_roles_are_edited_and_reset_where_the_product_says_so_only() {
    let daemon = team_on("cloud-66").await;
    daemon.project(ACME, "shop").await;
    daemon.add(ACME, "vic", &[]).await;
    daemon.project_roles(ACME, "shop", "vic", &["viewer"]).await;
    let deploy = || question(ACME, "vic", "DeployApp", "Project", "shop");
    let edited = daemon
        .roles()
        .update_role(update("viewer", &["DeployApp"]))
        .await;
    edited.expect("edited");
    assert!(daemon.allows(deploy()).await);
    let reset = daemon
        .roles()
        .reset_role(v1::ResetRoleRequest {
            organization: ACME.to_owned(),
            role: "viewer".to_owned(),
            ..Default::default()
        })
        .await;
    reset.expect("reset");
    assert!(!daemon.allows(deploy()).await);
    daemon.stop().await;

    let daemon = team_on("hypervisor-io").await;
    let code = Code::FailedPrecondition;
    let mut roles = daemon.roles();
    let attempt = roles.update_role(update("viewer", &[]));
    refused(&daemon, attempt, code, "BUILT_IN_ROLE").await;
    let mut roles = daemon.roles();
    refused(
        &daemon,
        roles.delete_role(delete("viewer")),
        code,
        "BUILT_IN_ROLE",
    )
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn r_07_a_role_of_another_organization_is_not_there() {
    let daemon = nursery().await;
    daemon.found("other", "hypervisor-io").await;
    create_role(&daemon, "other", "theirs", &["InstancesView"]).await;
    let mut roles = daemon.roles();
    let attempt = roles.get_role(v1::GetRoleRequest {
        organization: ACME.to_owned(),
        role: "theirs".to_owned(),
        ..Default::default()
    });
    assert_eq!(attempt.await.expect_err("not there").code(), Code::NotFound);
    let mut roles = daemon.roles();
    refused(
        &daemon,
        roles.delete_role(delete("theirs")),
        Code::NotFound,
        "NOT_FOUND",
    )
    .await;
    let mut roles = daemon.roles();
    let attempt = roles.update_role(update("theirs", &[]));
    refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    daemon.stop().await;
}

#[tokio::test]
async fn r_10_an_empty_role_makes_a_member_without_rights() {
    let daemon = nursery().await;
    create_role(&daemon, ACME, "nothing", &[]).await;
    daemon.add(ACME, "ned", &["nothing"]).await;
    let asked = question(ACME, "ned", "ViewOrganization", "Organization", ACME);
    let answer = daemon.ask(asked).await;
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::NoGrant);
    let leave = question(ACME, "ned", "LeaveOrganization", "Member", "ned");
    assert!(daemon.allows(leave).await, "a member still");
    daemon.stop().await;
}
