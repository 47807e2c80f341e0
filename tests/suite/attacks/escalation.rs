//! Nobody gets more than they were given: not by a second door, not by a role of
//! their own making, not by acting through something of theirs.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, events, refused, team_on, team_on_plan};
use crate::harness::{Daemon, as_actor, owned, question, violations};

fn roles_of(user: &str, roles: &[&str]) -> v1::SetMemberRolesRequest {
    v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

fn role_of(id: &str, name: &str, actions: &[&str]) -> v1::CreateRoleRequest {
    v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: id.to_owned(),
        display_name: name.to_owned(),
        permissions: granting(actions),
        ..Default::default()
    }
}

fn granting(actions: &[&str]) -> Option<v1::Permissions> {
    Some(v1::Permissions {
        actions: owned(actions),
        ..Default::default()
    })
}

fn edited(id: &str, actions: &[&str]) -> v1::UpdateRoleRequest {
    v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: id.to_owned(),
        permissions: granting(actions),
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&["permissions"]),
        }),
        ..Default::default()
    }
}

fn override_of(user: &str, project: &str, roles: &[&str]) -> v1::SetProjectOverrideRequest {
    v1::SetProjectOverrideRequest {
        organization: ACME.to_owned(),
        project: project.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

async fn create_role(daemon: &Daemon, id: &str, actions: &[&str]) {
    let created = daemon
        .roles()
        .create_role(role_of(id, &format!("The {id}"), actions))
        .await;
    created.expect("the role is created");
}

/// A Hypervisor.io account: an Admin, a manager by a custom role, and a plain viewer.
async fn account() -> Daemon {
    let daemon = team_on("hypervisor-io").await;
    daemon.project(ACME, "production").await;
    create_role(
        &daemon,
        "people",
        &["TeamManagementView", "TeamManagementManage"],
    )
    .await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "max", &["people"]).await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    daemon
}

#[tokio::test]
async fn p_01_nobody_is_made_owner_by_a_role() {
    let daemon = account().await;
    let code = Code::PermissionDenied;
    let mut members = daemon.members();
    let attempt = members.set_member_roles(as_actor("ada", roles_of("vic", &["owner"])));
    refused(&daemon, attempt, code, "OWNERSHIP_NOT_GIVEN").await;
    let mut members = daemon.members();
    let attempt = members.set_member_roles(roles_of("vic", &["viewer", "owner"]));
    refused(&daemon, attempt, code, "OWNERSHIP_NOT_GIVEN").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(as_actor(
        "ada",
        override_of("vic", "production", &["owner"]),
    ));
    refused(&daemon, attempt, code, "OWNERSHIP_NOT_GIVEN").await;
    daemon.stop().await;
}

#[tokio::test]
async fn p_02_a_plain_member_manages_nobody_through_any_call() {
    let daemon = account().await;
    let code = Code::PermissionDenied;
    let mut members = daemon.members();
    let attempt = members.add_member(as_actor(
        "vic",
        v1::AddMemberRequest {
            organization: ACME.to_owned(),
            user: "eve".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, code, "OPERATOR_ONLY").await;
    let mut members = daemon.members();
    let attempt = members.set_member_roles(as_actor("vic", roles_of("max", &["viewer"])));
    refused(&daemon, attempt, code, "PERMISSION_DENIED").await;
    let mut members = daemon.members();
    let attempt = members.remove_member(as_actor(
        "vic",
        v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: "max".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, code, "PERMISSION_DENIED").await;
    let mut roles = daemon.roles();
    let attempt = roles.create_role(as_actor("vic", role_of("own", "Own", &["InstancesView"])));
    refused(&daemon, attempt, code, "PERMISSION_DENIED").await;
    daemon.stop().await;
}

#[tokio::test]
async fn p_05_a_role_is_not_made_of_rights_that_its_maker_lacks() {
    let daemon = account().await;
    let mut roles = daemon.roles();
    let attempt = roles.create_role(as_actor(
        "max",
        role_of(
            "deleter",
            "Deleter",
            &["InstancesDelete", "TeamManagementView"],
        ),
    ));
    let code = Code::PermissionDenied;
    let status = refused(&daemon, attempt, code, "EXCEEDS_GRANTOR").await;
    assert!(status.message().contains("`InstancesDelete`"), "{status:?}");
    assert!(
        !status.message().contains("TeamManagementView"),
        "{status:?}"
    );

    let within = daemon
        .roles()
        .create_role(as_actor(
            "max",
            role_of("watcher", "Watcher", &["TeamManagementView"]),
        ))
        .await;
    within.expect("a role within what the maker holds");
    daemon.stop().await;
}

#[tokio::test]
async fn p_07_a_stronger_role_that_is_there_is_not_given_by_a_weaker_member() {
    let daemon = account().await;
    create_role(&daemon, "deleter", &["InstancesDelete"]).await;
    daemon.add(ACME, "pat", &[]).await;
    for stronger in ["deleter", "admin", "operator"] {
        let mut members = daemon.members();
        let attempt = members.set_member_roles(as_actor("max", roles_of("pat", &[stronger])));
        refused(&daemon, attempt, Code::PermissionDenied, "EXCEEDS_GRANTOR").await;
    }
    let given = daemon
        .members()
        .set_member_roles(as_actor("max", roles_of("pat", &["people"])))
        .await;
    given.expect("what the giver holds");
    daemon.stop().await;
}

#[tokio::test]
async fn p_08_nobody_gives_themself_anything_by_override_or_role() {
    let daemon = account().await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(as_actor(
        "max",
        override_of("max", "production", &["admin"]),
    ));
    refused(&daemon, attempt, Code::PermissionDenied, "SELF_CHANGE").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(as_actor(
        "max",
        override_of("vic", "production", &["admin"]),
    ));
    refused(&daemon, attempt, Code::PermissionDenied, "EXCEEDS_GRANTOR").await;
    let asked = question(ACME, "max", "InstancesDelete", "Project", "production");
    assert!(!daemon.allows(asked).await);
    daemon.stop().await;
}

#[tokio::test]
async fn p_09_nobody_changes_their_own_role_directly_or_by_editing_the_one_they_hold() {
    let daemon = account().await;
    let code = Code::PermissionDenied;
    for roles in [&["admin"][..], &["viewer"], &[]] {
        let mut members = daemon.members();
        let attempt = members.set_member_roles(as_actor("max", roles_of("max", roles)));
        refused(&daemon, attempt, code, "SELF_CHANGE").await;
    }
    daemon.add(ACME, "ann", &["people", "viewer"]).await;
    let mut calls = daemon.roles();
    let attempt = calls.update_role(as_actor(
        "ann",
        edited(
            "people",
            &[
                "TeamManagementView",
                "TeamManagementManage",
                "InstancesView",
            ],
        ),
    ));
    refused(&daemon, attempt, code, "SELF_CHANGE").await;
    let mut members = daemon.members();
    let attempt = members.suspend_member(as_actor(
        "max",
        v1::SuspendMemberRequest {
            organization: ACME.to_owned(),
            user: "max".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, code, "SELF_CHANGE").await;
    daemon.stop().await;
}

#[tokio::test]
async fn p_10_a_manager_does_nothing_to_those_above() {
    let daemon = account().await;
    for above in ["ada", "owner"] {
        let why = if above == "owner" {
            "PERMISSION_DENIED"
        } else {
            "EXCEEDS_GRANTOR"
        };
        let code = Code::PermissionDenied;
        let mut members = daemon.members();
        let attempt = members.set_member_roles(as_actor("max", roles_of(above, &["people"])));
        refused(&daemon, attempt, code, why).await;
        let mut members = daemon.members();
        let attempt = members.suspend_member(as_actor(
            "max",
            v1::SuspendMemberRequest {
                organization: ACME.to_owned(),
                user: above.to_owned(),
                ..Default::default()
            },
        ));
        refused(&daemon, attempt, code, why).await;
        let mut members = daemon.members();
        let attempt = members.remove_member(as_actor(
            "max",
            v1::RemoveMemberRequest {
                organization: ACME.to_owned(),
                user: above.to_owned(),
                ..Default::default()
            },
        ));
        refused(&daemon, attempt, code, why).await;
        let mut members = daemon.members();
        let attempt = members.update_member(as_actor(
            "max",
            v1::UpdateMemberRequest {
                organization: ACME.to_owned(),
                user: above.to_owned(),
                email: "max@x.example".to_owned(),
                ..Default::default()
            },
        ));
        refused(&daemon, attempt, code, "EXCEEDS_GRANTOR").await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn p_12_no_custom_role_passes_for_a_built_in_one() {
    let daemon = account().await;
    for name in [
        "Owner",
        "Administrator",
        "0wner",
        "\u{41e}wner",
        "Admin",
        "A d m i n",
    ] {
        let mut roles = daemon.roles();
        let attempt = roles.create_role(role_of("twin", name, &["InstancesView"]));
        let status = refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
        let expected = [("display_name".to_owned(), "RESERVED_NAME".to_owned())];
        assert_eq!(violations(&status), expected, "{name}");
    }
    let mut roles = daemon.roles();
    let attempt = roles.create_role(role_of("owner", "Boss", &[]));
    refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    let mut roles = daemon.roles();
    let attempt = roles.create_role(role_of("admin", "Boss", &[]));
    refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    daemon.stop().await;
}

#[tokio::test]
async fn p_17_the_actor_comes_from_the_channel_and_from_nowhere_else() {
    let daemon = account().await;
    // A body may name anybody; whose rights count is what the metadata says.
    let mut members = daemon.members();
    let attempt = members.leave_organization(as_actor(
        "vic",
        v1::LeaveOrganizationRequest {
            organization: ACME.to_owned(),
            user: "max".to_owned(),
            ..Default::default()
        },
    ));
    refused(
        &daemon,
        attempt,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    )
    .await;
    assert_eq!(events(&daemon)[0].event.actor, "vic");

    // Two actors, or one that is no user id, are refused before anything is looked at.
    let mut two = as_actor("vic", roles_of("max", &[]));
    two.metadata_mut()
        .append("roster-actor", "ada".parse().expect("a value"));
    let refused = daemon.members().set_member_roles(two).await;
    assert_eq!(refused.expect_err("two").code(), Code::InvalidArgument);
    let spaced = as_actor("vic ada", roles_of("max", &[]));
    let refused = daemon.members().set_member_roles(spaced).await;
    assert_eq!(refused.expect_err("spaced").code(), Code::InvalidArgument);
    daemon.stop().await;
}

#[tokio::test]
async fn p_19_custom_roles_come_with_the_plan_and_stay_as_they_are_after_a_downgrade() {
    let daemon = team_on_plan("qoc-cloud", "pro").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    for actor in [None, Some("ada"), Some("owner")] {
        let request = role_of("auditor", "Auditor", &["ReadAuditLog"]);
        let request = match actor {
            Some(actor) => as_actor(actor, request),
            None => tonic::Request::new(request),
        };
        let mut roles = daemon.roles();
        let attempt = roles.create_role(request);
        let code = Code::FailedPrecondition;
        refused(&daemon, attempt, code, "PLAN_LACKS_FEATURE").await;
    }

    super::set_plan(&daemon, "enterprise").await;
    create_role(&daemon, "auditor", &["ReadAuditLog"]).await;
    daemon.add(ACME, "abe", &["auditor"]).await;
    super::set_plan(&daemon, "pro").await;
    let asked = question(ACME, "abe", "ReadAuditLog", "Organization", ACME);
    assert!(daemon.allows(asked).await, "still enforced as stored");
    let read = v1::GetRoleRequest {
        organization: ACME.to_owned(),
        role: "auditor".to_owned(),
        ..Default::default()
    };
    daemon.roles().get_role(read).await.expect("still readable");
    let mut roles = daemon.roles();
    let attempt = roles.update_role(as_actor("owner", edited("auditor", &[])));
    let code = Code::FailedPrecondition;
    refused(&daemon, attempt, code, "PLAN_LACKS_FEATURE").await;
    daemon.stop().await;
}

#[tokio::test]
async fn p_20_who_is_no_member_has_no_right_whatever_their_name_or_address() {
    let daemon = account().await;
    let stranger = "ada@acme.example";
    for action in ["ViewOrganization", "InviteMember", "DeleteOrganization"] {
        let asked = question(ACME, stranger, action, "Organization", ACME);
        assert!(!daemon.allows(asked).await, "{action}");
    }
    let mut members = daemon.members();
    let attempt = members.list_members(as_actor(
        stranger,
        v1::ListMembersRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        },
    ));
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
async fn p_21_a_right_closes_the_same_way_in_checks_lists_and_exports() {
    let daemon = team_on("cloud-66").await;
    daemon.project(ACME, "shop").await;
    create_role(&daemon, "eraser", &["DeleteApp"]).await;
    daemon.add(ACME, "eve", &[]).await;
    daemon.project_roles(ACME, "shop", "eve", &["eraser"]).await;
    let asked = |action: &str| question(ACME, "eve", action, "Project", "shop");
    for implied in ["DeleteApp", "ViewApp", "ViewProject", "ArchiveProject"] {
        assert!(daemon.allows(asked(implied)).await, "{implied}");
    }
    assert!(!daemon.allows(asked("DeployApp")).await);
    let read = v1::GetRoleRequest {
        organization: ACME.to_owned(),
        role: "eraser".to_owned(),
        ..Default::default()
    };
    let role = daemon.roles().get_role(read).await.expect("the role");
    let effective = role.into_inner().role.expect("the role").effective_actions;
    for implied in ["DeleteApp", "ViewApp", "ViewProject", "ArchiveProject"] {
        assert!(effective.contains(&implied.to_owned()), "{effective:?}");
    }
    let listed = v1::ListPoliciesRequest {
        organization: ACME.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let policies = daemon.policies().list_policies(listed).await;
    let policies = policies.expect("policies").into_inner().policies;
    let text = policies
        .iter()
        .find(|policy| policy.id.starts_with("role:eraser/project"))
        .map(|policy| policy.cedar.clone())
        .expect("the role's policy");
    for implied in ["DeleteApp", "ViewApp", "ViewProject", "ArchiveProject"] {
        assert!(text.contains(&format!("\"{implied}\"")), "{text}");
    }
    daemon.stop().await;
}
