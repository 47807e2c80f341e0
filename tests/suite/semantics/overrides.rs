//! Overrides: they replace a member's roles inside one project, up or down.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, Team, assert_refused, permissions};
use crate::harness::{owned, violations};

const VM: (&str, &str) = ("Instance", "vm-1");
const DB: (&str, &str) = ("Database", "db-1");

async fn team_with_projects() -> Team {
    let team = Team::on("hypervisor-io").await;
    team.project("production").await;
    team.project("dev").await;
    team
}

#[tokio::test]
async fn an_override_takes_rights_away_in_its_project_and_nowhere_else() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;

    team.replace("production", "ada", &["InstancesView"]).await;

    assert!(
        team.may_in("production", "ada", "InstancesView", VM).await,
        "the override says so"
    );
    assert!(
        !team
            .may_in("production", "ada", "InstancesDelete", VM)
            .await
    );
    assert!(
        !team
            .may_in("production", "ada", "InstancesManage", VM)
            .await
    );
    assert!(
        !team.may_in("production", "ada", "DatabasesView", DB).await,
        "what the override leaves out is gone"
    );
    assert!(
        !team
            .may("ada", "InstancesDelete", ("Project", "production"))
            .await,
        "the project itself lies in the project"
    );
    assert!(team.may_in("dev", "ada", "InstancesDelete", VM).await);
    assert!(
        team.may("ada", "InstancesDelete", VM).await,
        "outside of every project the role holds"
    );
    team.stop().await;
}

#[tokio::test]
async fn an_override_gives_rights_in_its_project_and_nowhere_else() {
    let team = team_with_projects().await;
    team.add("vera", &["viewer"]).await;

    team.replace("dev", "vera", &["InstancesManage"]).await;

    assert!(team.may_in("dev", "vera", "InstancesManage", VM).await);
    assert!(
        !team
            .may_in("production", "vera", "InstancesManage", VM)
            .await
    );
    assert!(!team.may("vera", "InstancesManage", VM).await);
    assert!(
        !team.may_in("dev", "vera", "InstancesView", VM).await,
        "it replaces the role, and managing does not imply viewing here"
    );
    assert!(!team.may_in("dev", "vera", "InstancesDelete", VM).await);
    assert!(team.may_in("production", "vera", "InstancesView", VM).await);
    team.stop().await;
}

#[tokio::test]
async fn an_override_of_nothing_leaves_nothing_at_project_level() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;

    team.replace("production", "ada", &[]).await;

    assert!(!team.may_in("production", "ada", "InstancesView", VM).await);
    assert!(
        !team
            .may("ada", "ViewProject", ("Project", "production"))
            .await
    );
    assert!(team.may_in("dev", "ada", "InstancesView", VM).await);
    team.stop().await;
}

#[tokio::test]
async fn an_override_can_grant_every_project_level_action() {
    let team = team_with_projects().await;
    team.add("vera", &["viewer"]).await;
    let all = v1::Permissions {
        every: vec![v1::Level::Project.into()],
        ..Default::default()
    };

    team.try_override("dev", "vera", &[], all)
        .await
        .expect("the override is set");

    assert!(team.may_in("dev", "vera", "DatabasesDelete", DB).await);
    assert!(team.may("vera", "DeleteProject", ("Project", "dev")).await);
    assert!(!team.may_here("vera", "BillingManage").await);
    assert!(
        !team
            .may_in("production", "vera", "DatabasesDelete", DB)
            .await
    );
    team.stop().await;
}

#[tokio::test]
async fn an_account_level_action_in_an_override_is_refused_by_the_name_of_its_field() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("gina", &["gardener"]).await;
    let asked = v1::Permissions {
        every: vec![v1::Level::Account.into()],
        actions: owned(&["WaterBed", "BuySeeds"]),
        own_actions: owned(&["RunTheShop"]),
        conditional: vec![v1::ConditionalActions {
            condition: "tended".to_owned(),
            actions: owned(&["HarvestBed", "ViewMembers"]),
        }],
    };

    let refusal = team
        .try_override("north", "gina", &[], asked)
        .await
        .expect_err("account-level actions are no matter of overrides");

    assert_eq!(refusal.code(), Code::InvalidArgument);
    let mut found = violations(&refusal);
    found.sort();
    let expected: Vec<(String, String)> = [
        "permissions.actions[1]",
        "permissions.conditional[0].actions[1]",
        "permissions.every",
        "permissions.own_actions[0]",
    ]
    .map(|field| (field.to_owned(), "ACCOUNT_LEVEL_ACTION".to_owned()))
    .to_vec();
    assert_eq!(found, expected);
    assert!(team.member("gina").await.overrides.is_empty());
    team.stop().await;
}

#[tokio::test]
async fn account_level_rights_are_untouched_by_an_override() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;

    team.replace("production", "ada", &[]).await;

    assert!(team.may_here("ada", "BillingManage").await);
    assert!(
        team.may("ada", "SetProjectOverride", ("Project", "production"))
            .await,
        "account-level, though asked of the project"
    );
    team.stop().await;
}

#[tokio::test]
async fn a_role_in_an_override_brings_only_its_project_level_actions() {
    let team = team_with_projects().await;
    team.add("vera", &["viewer"]).await;

    team.replace_by_roles("dev", "vera", &["admin"]).await;

    assert!(team.may_in("dev", "vera", "InstancesDelete", VM).await);
    assert!(!team.may_here("vera", "BillingManage").await);
    assert!(!team.may_here("vera", "CreateProject").await);
    assert!(
        !team
            .may("vera", "SetProjectOverride", ("Project", "dev"))
            .await
    );
    team.stop().await;
}

#[tokio::test]
async fn what_an_override_implies_at_the_account_level_does_not_come_with_it() {
    let team = team_with_projects().await;
    team.add("vera", &["viewer"]).await;

    team.replace("dev", "vera", &["ProjectsManage"]).await;

    assert!(
        team.may("vera", "UpdateProject", ("Project", "dev")).await,
        "implied, and project-level"
    );
    assert!(
        !team.may_here("vera", "CreateProject").await,
        "implied, but account-level"
    );
    team.stop().await;
}

#[tokio::test]
async fn removing_an_override_brings_back_the_role_that_is_held_by_then() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;
    team.replace("production", "ada", &["InstancesManage"])
        .await;
    team.set_roles("ada", &["viewer"]).await;
    assert!(
        team.may_in("production", "ada", "InstancesManage", VM)
            .await,
        "another role below does not move the override"
    );

    team.remove_override("production", "ada").await;

    assert!(team.may_in("production", "ada", "InstancesView", VM).await);
    assert!(
        !team
            .may_in("production", "ada", "InstancesManage", VM)
            .await
    );
    assert!(
        !team
            .may_in("production", "ada", "InstancesDelete", VM)
            .await
    );
    team.stop().await;
}

#[tokio::test]
async fn removing_an_override_brings_back_the_role_as_it_is_defined_by_then() {
    let team = team_with_projects().await;
    team.create_role("crew", &["InstancesDelete"]).await;
    team.add("carl", &["crew"]).await;
    team.replace("production", "carl", &["InstancesView"]).await;
    team.update_role("crew", &["InstancesManage"]).await;
    assert!(
        !team
            .may_in("production", "carl", "InstancesManage", VM)
            .await
    );

    team.remove_override("production", "carl").await;

    assert!(
        team.may_in("production", "carl", "InstancesManage", VM)
            .await
    );
    assert!(
        !team
            .may_in("production", "carl", "InstancesDelete", VM)
            .await
    );
    assert!(!team.may_in("production", "carl", "InstancesView", VM).await);
    team.stop().await;
}

#[tokio::test]
async fn a_removed_override_can_not_be_removed_again() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;
    team.replace("production", "ada", &[]).await;
    team.remove_override("production", "ada").await;

    let again = team
        .daemon
        .projects()
        .remove_project_override(v1::RemoveProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "production".to_owned(),
            user: "ada".to_owned(),
            ..Default::default()
        })
        .await;

    assert_refused(again, Code::NotFound, "NOT_FOUND");
    team.stop().await;
}

#[tokio::test]
async fn another_override_takes_the_place_of_the_former() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;
    team.replace("dev", "ada", &["InstancesView"]).await;
    assert!(team.may_in("dev", "ada", "InstancesView", VM).await);

    team.replace("dev", "ada", &["DatabasesView"]).await;

    assert!(!team.may_in("dev", "ada", "InstancesView", VM).await);
    assert!(team.may_in("dev", "ada", "DatabasesView", DB).await);
    team.stop().await;
}

#[tokio::test]
async fn equal_overrides_are_removed_one_by_one() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;
    team.add("bob", &["admin"]).await;
    for (project, user) in [("dev", "ada"), ("production", "ada"), ("dev", "bob")] {
        team.replace(project, user, &["InstancesView"]).await;
    }
    team.replace("dev", "ada", &["InstancesView"]).await;

    team.remove_override("dev", "ada").await;
    assert!(team.may_in("dev", "ada", "InstancesDelete", VM).await);
    for (project, user) in [("production", "ada"), ("dev", "bob")] {
        assert!(team.may_in(project, user, "InstancesView", VM).await);
        assert!(!team.may_in(project, user, "InstancesDelete", VM).await);
    }

    team.remove("ada", "").await;
    assert!(
        team.may_in("dev", "bob", "InstancesView", VM).await,
        "another's removal takes nothing from bob"
    );
    assert!(team.may_in("dev", "bob", "InstancesView", DB_AS_VM).await);
    team.stop().await;
}

const DB_AS_VM: (&str, &str) = ("Instance", "vm-2");

#[tokio::test]
async fn the_owner_can_not_be_overridden() {
    let team = team_with_projects().await;

    let refusal = team
        .try_override("dev", "owner", &[], permissions(&["InstancesView"]))
        .await;

    assert_refused(refusal, Code::FailedPrecondition, "OWNER_PROTECTED");
    assert!(team.may_in("dev", "owner", "InstancesDelete", VM).await);
    team.stop().await;
}

#[tokio::test]
async fn an_override_by_role_follows_the_role_as_it_is_edited() {
    let team = team_with_projects().await;
    team.create_role("crew", &["InstancesManage"]).await;
    team.add("vera", &["viewer"]).await;
    team.replace_by_roles("dev", "vera", &["crew"]).await;
    assert!(team.may_in("dev", "vera", "InstancesManage", VM).await);
    assert!(!team.may_in("dev", "vera", "DatabasesManage", DB).await);

    team.update_role("crew", &["DatabasesManage"]).await;

    assert!(!team.may_in("dev", "vera", "InstancesManage", VM).await);
    assert!(team.may_in("dev", "vera", "DatabasesManage", DB).await);
    assert!(
        !team
            .may_in("production", "vera", "DatabasesManage", DB)
            .await
    );
    team.stop().await;
}

#[tokio::test]
async fn an_override_unites_its_roles_and_its_permissions() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;

    team.try_override("dev", "ada", &["viewer"], permissions(&["InstancesDelete"]))
        .await
        .expect("the override is set");

    assert!(team.may_in("dev", "ada", "DatabasesView", DB).await);
    assert!(team.may_in("dev", "ada", "InstancesDelete", VM).await);
    assert!(!team.may_in("dev", "ada", "DatabasesDelete", DB).await);
    team.stop().await;
}

#[tokio::test]
async fn an_override_replaces_roles_on_the_project_too() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("gina", &[]).await;
    team.project_roles("north", "gina", &["gardener"]).await;
    let bed = ("Bed", "roses");
    assert!(team.may_in("north", "gina", "WaterBed", bed).await);

    team.replace("north", "gina", &["ViewBed"]).await;
    assert!(!team.may_in("north", "gina", "WaterBed", bed).await);
    assert!(team.may_in("north", "gina", "ViewBed", bed).await);

    team.remove_override("north", "gina").await;
    assert!(team.may_in("north", "gina", "WaterBed", bed).await);
    team.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_by_an_override_alone() {
    let team = team_with_projects().await;
    team.add("norman", &[]).await;
    team.add("sue", &["viewer"]).await;
    team.suspend("sue").await;
    let manage = || permissions(&["InstancesManage"]);

    let stranger = team.try_override("dev", "stranger", &[], manage()).await;
    assert_refused(stranger, Code::NotFound, "NOT_FOUND");
    let suspended = team.try_override("dev", "sue", &[], manage()).await;
    assert_refused(suspended, Code::FailedPrecondition, "MEMBER_STATUS");
    let without_role = team.try_override("dev", "norman", &[], manage()).await;
    assert_refused(
        without_role,
        Code::FailedPrecondition,
        "NOTHING_TO_OVERRIDE",
    );
    let elsewhere = team.try_override("nowhere", "sue", &[], manage()).await;
    assert_refused(elsewhere, Code::NotFound, "NOT_FOUND");

    team.reinstate("sue").await;
    team.add("stranger", &[]).await;
    for user in ["stranger", "sue", "norman"] {
        assert!(
            !team.may_in("dev", user, "InstancesManage", VM).await,
            "{user}"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn an_override_gives_nothing_once_the_member_has_no_role_below_it() {
    let team = team_with_projects().await;
    team.add("vera", &["viewer"]).await;
    team.replace("dev", "vera", &["InstancesManage"]).await;

    team.set_roles("vera", &[]).await;

    assert!(!team.may_in("dev", "vera", "InstancesManage", VM).await);
    team.stop().await;
}

#[tokio::test]
async fn an_override_names_roles_that_exist() {
    let team = team_with_projects().await;
    team.add("ada", &["admin"]).await;

    let refusal = team
        .try_override("dev", "ada", &["viewer", "phantom"], permissions(&["Fly"]))
        .await
        .expect_err("there is no such role");

    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(
        violations(&refusal),
        [
            ("roles[1]".to_owned(), "UNKNOWN_REFERENCE".to_owned()),
            (
                "permissions.actions[0]".to_owned(),
                "UNKNOWN_ACTION".to_owned()
            ),
        ]
    );
    assert!(team.may_in("dev", "ada", "InstancesDelete", VM).await);
    team.stop().await;
}

#[tokio::test]
async fn an_override_can_hold_for_own_resources_only() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("gina", &["head-gardener"]).await;
    let own = v1::Permissions {
        own_actions: owned(&["ClearBed"]),
        ..Default::default()
    };
    team.register(("Bed", "roses"), "north", "gina").await;
    team.register(("Bed", "tulips"), "north", "owner").await;

    team.try_override("north", "gina", &[], own)
        .await
        .expect("the override is set");

    assert!(team.may("gina", "ClearBed", ("Bed", "roses")).await);
    assert!(
        team.may("gina", "WaterBed", ("Bed", "roses")).await,
        "implied"
    );
    assert!(!team.may("gina", "ClearBed", ("Bed", "tulips")).await);
    team.stop().await;
}
