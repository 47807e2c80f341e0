//! Overrides, project roles, default roles and ownership of resources.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, refused, suspend, team_on, team_on_plan};
use crate::harness::{Daemon, as_actor, in_project, owned, owned_by, question};

fn override_of(
    user: &str,
    project: &str,
    roles: &[&str],
    actions: &[&str],
) -> v1::SetProjectOverrideRequest {
    v1::SetProjectOverrideRequest {
        organization: ACME.to_owned(),
        project: project.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        permissions: Some(v1::Permissions {
            actions: owned(actions),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn replace(daemon: &Daemon, user: &str, project: &str, roles: &[&str]) {
    let set = daemon
        .projects()
        .set_project_override(override_of(user, project, roles, &[]))
        .await;
    set.expect("the override is set");
}

/// A Hypervisor.io account with projects for development and production.
async fn account() -> Daemon {
    let daemon = team_on("hypervisor-io").await;
    daemon.project(ACME, "development").await;
    daemon.project(ACME, "production").await;
    daemon
}

fn on(user: &str, action: &str, project: &str) -> v1::IsAuthorizedRequest {
    in_project(question(ACME, user, action, "Instance", "vm-1"), project)
}

#[tokio::test]
async fn v_01_an_override_is_no_way_in() {
    let daemon = account().await;
    daemon.add(ACME, "sue", &["viewer"]).await;
    suspend(&daemon, "sue").await;
    daemon.add(ACME, "ned", &[]).await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(override_of("eve", "production", &["admin"], &[]));
    refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(override_of("sue", "production", &["admin"], &[]));
    refused(&daemon, attempt, Code::FailedPrecondition, "MEMBER_STATUS").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(override_of("ned", "production", &["admin"], &[]));
    let code = Code::FailedPrecondition;
    refused(&daemon, attempt, code, "NOTHING_TO_OVERRIDE").await;
    for user in ["eve", "sue", "ned"] {
        assert!(!daemon.allows(on(user, "InstancesView", "production")).await);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn v_02_all_that_was_held_goes_in_the_revision_of_the_removal() {
    let daemon = account().await;
    daemon.add(ACME, "dev", &["operator"]).await;
    replace(&daemon, "dev", "production", &["viewer"]).await;
    let before = daemon.application.find(ACME).await.expect("it").revision();
    let removed = daemon
        .members()
        .remove_member(v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: "dev".to_owned(),
            ..Default::default()
        })
        .await;
    let revision = removed.expect("removed").into_inner().revision;
    assert_eq!(revision, format!("0.{:x}", before + 1));
    for project in ["development", "production"] {
        let answer = daemon.ask(on("dev", "InstancesView", project)).await;
        assert_eq!(answer.reasons[0].code(), v1::ReasonCode::NotAMember);
    }
    daemon.add(ACME, "dev", &[]).await;
    for project in ["development", "production"] {
        assert!(!daemon.allows(on("dev", "InstancesView", project)).await);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn v_03_an_override_takes_away_in_its_project_only() {
    let daemon = account().await;
    daemon.add(ACME, "ada", &["admin"]).await;
    replace(&daemon, "ada", "production", &["viewer"]).await;
    assert!(
        !daemon
            .allows(on("ada", "InstancesDelete", "production"))
            .await
    );
    assert!(
        daemon
            .allows(on("ada", "InstancesDelete", "development"))
            .await
    );
    daemon.stop().await;
}

#[tokio::test]
async fn v_04_an_override_gives_in_its_project_only() {
    let daemon = account().await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    replace(&daemon, "vic", "development", &["operator"]).await;
    assert!(
        daemon
            .allows(on("vic", "InstancesManage", "development"))
            .await
    );
    assert!(
        !daemon
            .allows(on("vic", "InstancesManage", "production"))
            .await
    );
    daemon.stop().await;
}

#[tokio::test]
async fn v_06_an_override_holds_nothing_of_the_account() {
    let daemon = account().await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    for action in [
        "BillingManage",
        "TeamManagementManage",
        "ApiTokensManage",
        "SshKeysView",
    ] {
        let mut projects = daemon.projects();
        let attempt =
            projects.set_project_override(override_of("vic", "production", &[], &[action]));
        refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    }
    // A role with such rights gives its project-level ones only.
    replace(&daemon, "vic", "production", &["admin"]).await;
    let billing = question(ACME, "vic", "BillingManage", "Organization", ACME);
    assert!(!daemon.allows(billing).await);
    daemon.stop().await;
}

#[tokio::test]
async fn v_09_a_resource_outside_of_projects_falls_under_the_role() {
    let daemon = account().await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    replace(&daemon, "vic", "production", &["admin"]).await;
    let outside = |action| question(ACME, "vic", action, "Instance", "vm-0");
    assert!(daemon.allows(outside("InstancesView")).await);
    assert!(!daemon.allows(outside("InstancesDelete")).await);
    daemon.stop().await;
}

fn defaults(user: &str, roles: &[&str]) -> v1::SetDefaultRolesRequest {
    v1::SetDefaultRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

#[tokio::test]
async fn v_10_copying_defaults_while_an_application_is_created_gives_it_them_once() {
    let daemon = team_on("cloud-66").await;
    daemon.add(ACME, "dev", &[]).await;
    let set = daemon
        .projects()
        .set_default_roles(defaults("dev", &["deployer"]))
        .await;
    set.expect("set");
    for round in 0..20 {
        let app = format!("app-{round}");
        let (mut copying, mut creating) = (daemon.projects(), daemon.projects());
        let copied = copying.copy_default_roles(v1::CopyDefaultRolesRequest {
            organization: ACME.to_owned(),
            user: "dev".to_owned(),
            ..Default::default()
        });
        let created = creating.create_project(v1::CreateProjectRequest {
            organization: ACME.to_owned(),
            project_id: app.clone(),
            display_name: app.clone(),
            ..Default::default()
        });
        let (copied, created) = tokio::join!(copied, created);
        copied.expect("copied");
        created.expect("created");
        assert!(
            daemon
                .allows(question(ACME, "dev", "DeployApp", "Project", &app))
                .await,
            "{app}"
        );
        let members = daemon
            .projects()
            .list_project_members(v1::ListProjectMembersRequest {
                organization: ACME.to_owned(),
                project: app.clone(),
                ..Default::default()
            })
            .await
            .expect("members")
            .into_inner()
            .members;
        let of_dev: Vec<_> = members
            .iter()
            .filter(|member| member.user == "dev")
            .collect();
        assert_eq!(of_dev.len(), 1, "{members:?}");
        assert_eq!(of_dev[0].roles, ["deployer"]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn v_11_a_later_choice_for_one_application_stays_and_new_ones_get_the_default() {
    let daemon = team_on("cloud-66").await;
    daemon.add(ACME, "dev", &[]).await;
    daemon.project(ACME, "old").await;
    daemon
        .projects()
        .set_default_roles(defaults("dev", &["deployer"]))
        .await
        .expect("set");
    daemon
        .projects()
        .copy_default_roles(v1::CopyDefaultRolesRequest {
            organization: ACME.to_owned(),
            user: "dev".to_owned(),
            ..Default::default()
        })
        .await
        .expect("copied");
    daemon.project_roles(ACME, "old", "dev", &["viewer"]).await;
    daemon.project(ACME, "new").await;
    let deploys = |app: &str| question(ACME, "dev", "DeployApp", "Project", app);
    assert!(!daemon.allows(deploys("old")).await);
    assert!(daemon.allows(deploys("new")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn v_13_an_application_passes_on_with_its_rights() {
    let daemon = blog().await;
    assert!(daemon.allows(edits("cal")).await);
    pass_on(&daemon, "dan").await;
    assert!(!daemon.allows(edits("cal")).await, "at once");
    assert!(daemon.allows(edits("dan")).await);
    // What the request says of the owner does not change what is registered.
    assert!(!daemon.allows(owned_by(edits("cal"), "cal")).await);
    daemon.stop().await;
}

/// A team on QOC with an Admin, `ada`, members `cal` and `dan`, and `blog`, which is
/// cal's.
async fn blog() -> Daemon {
    let daemon = team_on_plan("qoc-cloud", "pro").await;
    for (user, role) in [("ada", "admin"), ("cal", "member"), ("dan", "member")] {
        daemon.add(ACME, user, &[role]).await;
    }
    daemon
        .resources()
        .register_resource(v1::RegisterResourceRequest {
            organization: ACME.to_owned(),
            r#type: "Application".to_owned(),
            id: "blog".to_owned(),
            owner: "cal".to_owned(),
            ..Default::default()
        })
        .await
        .expect("registered");
    daemon
}

fn edits(user: &str) -> v1::IsAuthorizedRequest {
    question(ACME, user, "EditApplication", "Application", "blog")
}

async fn pass_on(daemon: &Daemon, owner: &str) {
    daemon
        .resources()
        .transfer_resource(v1::TransferResourceRequest {
            organization: ACME.to_owned(),
            r#type: "Application".to_owned(),
            id: "blog".to_owned(),
            owner: owner.to_owned(),
            ..Default::default()
        })
        .await
        .expect("transferred");
}

#[tokio::test]
async fn v_15_an_application_whose_creator_is_removed_is_the_admins_only() {
    let daemon = blog().await;
    pass_on(&daemon, "dan").await;
    let removed = daemon
        .members()
        .remove_member(v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: "dan".to_owned(),
            ..Default::default()
        })
        .await
        .expect("removed")
        .into_inner();
    assert_eq!(removed.orphaned_count, 1);
    assert!(daemon.allows(edits("ada")).await, "an Admin still may");
    assert!(!daemon.allows(edits("cal")).await);
    // Saying that it is his does not make it so: what is registered wins.
    assert!(!daemon.allows(owned_by(edits("cal"), "cal")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn v_16_a_project_admin_stays_within_the_team_and_the_project() {
    let daemon = team_on("oec-sh").await;
    daemon.project(ACME, "site").await;
    daemon.project(ACME, "shop").await;
    daemon.add(ACME, "pam", &[]).await;
    daemon.add(ACME, "dev", &[]).await;
    daemon
        .project_roles(ACME, "site", "pam", &["project-admin"])
        .await;
    let give = |project: &str, user: &str, role: &str| {
        as_actor(
            "pam",
            v1::SetProjectRolesRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                roles: owned(&[role]),
                ..Default::default()
            },
        )
    };
    let inside = daemon
        .projects()
        .set_project_roles(give("site", "dev", "project-developer"))
        .await;
    inside.expect("within the project and the team");

    let denied = Code::PermissionDenied;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_roles(give("site", "outsider", "project-developer"));
    refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_roles(give("shop", "dev", "project-developer"));
    refused(&daemon, attempt, denied, "PERMISSION_DENIED").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_roles(give("shop", "pam", "project-admin"));
    refused(&daemon, attempt, denied, "PERMISSION_DENIED").await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_roles(give("site", "pam", "project-developer"));
    refused(&daemon, attempt, denied, "SELF_CHANGE").await;
    daemon.stop().await;
}
