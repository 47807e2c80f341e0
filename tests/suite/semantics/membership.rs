//! Members and organizations: suspended, removed, strangers, members of two teams.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, Team, assert_refused, permissions};
use crate::harness::{Daemon, in_project, question};

const BED: (&str, &str) = ("Bed", "roses");

#[tokio::test]
async fn a_suspended_member_may_nothing_and_a_reinstated_one_what_they_held() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.project("south").await;
    team.add("gina", &["gardener", "shopkeeper"]).await;
    team.project_roles("south", "gina", &["visitor"]).await;
    team.replace("north", "gina", &["ReadSensor", "HarvestBed"])
        .await;
    team.register(("Bed", "own"), "south", "gina").await;
    let held = [
        ("BuySeeds", ("Organization", ACME)),
        ("ClearBed", ("Bed", "own")),
        ("ViewBed", ("Project", "south")),
        ("LeaveOrganization", ("Member", "gina")),
    ];
    for (action, of) in held {
        assert!(team.may("gina", action, of).await, "{action} before");
    }
    assert!(team.may_in("north", "gina", "HarvestBed", BED).await);

    team.suspend("gina").await;
    for (action, of) in held {
        assert!(!team.may("gina", action, of).await, "{action} suspended");
    }
    assert!(!team.may_in("north", "gina", "HarvestBed", BED).await);

    team.reinstate("gina").await;
    for (action, of) in held {
        assert!(team.may("gina", action, of).await, "{action} after");
    }
    assert!(team.may_in("north", "gina", "HarvestBed", BED).await);
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn a_user_who_is_removed_and_added_again_gets_nothing_back() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.project("south").await;
    team.add("gina", &["gardener"]).await;
    team.project_roles("south", "gina", &["gardener"]).await;
    team.replace("north", "gina", &["HarvestBed"]).await;
    team.default_roles("gina", &["gardener"]).await;
    team.copy_default_roles("gina").await;
    team.register(("Bed", "own"), "south", "gina").await;

    let removed = team.remove("gina", "").await;
    assert_eq!(removed.orphaned_count, 1);
    for project in ["north", "south"] {
        assert!(!team.may_in(project, "gina", "WaterBed", BED).await);
        assert!(!team.may_in(project, "gina", "HarvestBed", BED).await);
    }

    team.add("gina", &[]).await;
    team.project("east").await;
    for project in ["north", "south", "east"] {
        for action in ["ViewBed", "WaterBed", "HarvestBed", "ClearBed"] {
            assert!(
                !team.may_in(project, "gina", action, BED).await,
                "{action} in {project}"
            );
        }
    }
    team.set_roles("gina", &["gardener"]).await;
    assert!(
        !team.may("gina", "ClearBed", ("Bed", "own")).await,
        "the bed is nobody's now"
    );
    assert!(
        team.may_in("north", "gina", "WaterBed", BED).await,
        "no override is left"
    );
    let member = team.member("gina").await;
    assert!(member.overrides.is_empty());
    assert!(member.project_roles.is_empty());
    assert!(member.default_roles.is_empty());
    team.stop().await;
}

#[tokio::test]
async fn rights_are_the_union_of_all_roles_on_the_project_and_on_the_organization() {
    let team = Team::on("cloud-66").await;
    team.project("shop").await;
    team.create_role("shells", &["ShellToServers"]).await;
    team.create_role("scalers", &["ScaleStack"]).await;
    team.add("uma", &["finance", "shells"]).await;
    team.project_roles("shop", "uma", &["viewer", "scalers"])
        .await;

    let shop = ("Project", "shop");
    for action in ["ViewServiceYml", "ScaleStack", "ShellToServers"] {
        assert!(team.may("uma", action, shop).await, "{action}");
    }
    assert!(team.may_here("uma", "ViewPaymentPage").await);
    assert!(!team.may("uma", "DeployApp", shop).await);
    team.stop().await;
}

#[tokio::test]
async fn a_stranger_is_denied_and_an_unknown_organization_is_not_found() {
    let team = Team::on("oncloudwine").await;

    assert!(!team.may_here("stranger", "ManageContacts").await);
    let unknown = team
        .daemon
        .authorization()
        .is_authorized(question(
            "nowhere",
            "owner",
            "ManageContacts",
            "Organization",
            "nowhere",
        ))
        .await;
    assert_refused(unknown, Code::NotFound, "NOT_FOUND");
    team.stop().await;
}

#[tokio::test]
async fn what_one_holds_in_one_organization_counts_for_nothing_in_another() {
    let daemon = Daemon::start().await;
    for organization in ["alpha", "beta"] {
        daemon.found(organization, "hypervisor-io").await;
        daemon.project(organization, "production").await;
    }
    daemon.add("alpha", "pat", &["admin"]).await;
    daemon.add("beta", "pat", &["viewer"]).await;
    let role = |organization: &str, actions: &[&str]| v1::CreateRoleRequest {
        organization: organization.to_owned(),
        role_id: "crew".to_owned(),
        display_name: "The crew".to_owned(),
        permissions: Some(permissions(actions)),
        ..Default::default()
    };
    for request in [
        role("alpha", &["InstancesDelete"]),
        role("beta", &["InstancesView"]),
    ] {
        daemon
            .roles()
            .create_role(request)
            .await
            .expect("the role is created");
    }
    daemon.add("alpha", "carl", &["crew"]).await;
    daemon.add("beta", "carl", &["crew"]).await;
    let delete = |organization: &str, user: &str| {
        let asked = question(organization, user, "InstancesDelete", "Instance", "vm-1");
        in_project(asked, "production")
    };

    for user in ["pat", "carl"] {
        assert!(daemon.allows(delete("alpha", user)).await, "{user}");
        assert!(!daemon.allows(delete("beta", user)).await, "{user}");
        assert!(daemon.allows(delete("alpha", user)).await, "{user} again");
    }
    daemon
        .members()
        .remove_member(v1::RemoveMemberRequest {
            organization: "beta".to_owned(),
            user: "pat".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the member is removed");
    assert!(daemon.allows(delete("alpha", "pat")).await);
    assert!(!daemon.allows(delete("beta", "pat")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn the_owner_of_one_organization_is_a_viewer_in_another() {
    let daemon = Daemon::start().await;
    daemon.found("alpha", "qoc-cloud").await;
    daemon
        .organizations()
        .create_organization(v1::CreateOrganizationRequest {
            organization_id: "beta".to_owned(),
            display_name: "Beta".to_owned(),
            catalog: "qoc-cloud".to_owned(),
            plan: "enterprise".to_owned(),
            owner: "somebody".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the organization is founded");
    daemon.add("beta", "owner", &["viewer"]).await;
    let asked = |organization: &str, action: &str| {
        question(organization, "owner", action, "Organization", organization)
    };

    assert!(daemon.allows(asked("alpha", "ManageBilling")).await);
    assert!(!daemon.allows(asked("beta", "ManageBilling")).await);
    assert!(daemon.allows(asked("beta", "ViewDashboard")).await);
    assert!(
        daemon
            .authorization()
            .is_authorized(question(
                "alpha",
                "owner",
                "ManageBilling",
                "Organization",
                "beta"
            ))
            .await
            .is_err(),
        "another organization is no resource of this one"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_owner_may_everything_that_no_rule_forbids() {
    let team = Team::on("qoc-cloud").await;
    team.add("milo", &["member"]).await;

    assert!(team.may_here("owner", "ManageBilling").await);
    assert!(
        team.may_to_one_of("milo", "owner", "EditApplication", ("Application", "shop"))
            .await
    );
    assert!(team.may("owner", "RemoveMember", ("Member", "milo")).await);
    assert!(!team.may("owner", "RemoveMember", ("Member", "owner")).await);
    assert!(
        !team
            .may("owner", "LeaveOrganization", ("Member", "owner"))
            .await
    );
    assert!(!team.may("owner", "WriteTable", ("Table", "t")).await);
    team.stop().await;
}
