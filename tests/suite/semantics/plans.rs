//! Plans and what a product offers at all.

use tonic::Code;

use super::{ACME, Team, assert_refused, permissions};
use crate::harness::question;

#[tokio::test]
async fn a_custom_role_needs_a_plan_that_carries_it() {
    let team = Team::on("qoc-cloud").await;
    for plan in ["free", "pro"] {
        team.plan(plan).await;
        let refused = team
            .try_create_role("crew", permissions(&["ViewDashboard"]))
            .await;
        assert_refused(refused, Code::FailedPrecondition, "PLAN_LACKS_FEATURE");
        assert!(!team.may_here("owner", "CreateRole").await, "{plan}");
    }

    team.plan("enterprise").await;
    team.create_role("crew", &["ViewDashboard"]).await;
    assert!(team.may_here("owner", "CreateRole").await);
    team.stop().await;
}

#[tokio::test]
async fn after_a_downgrade_custom_roles_stay_readable_and_in_force_but_not_editable() {
    let team = Team::on("qoc-cloud").await;
    team.plan("enterprise").await;
    team.create_role("crew", &["EditApplication"]).await;
    team.add("carl", &["crew"]).await;
    let shop = ("Application", "shop");
    assert!(team.may("carl", "EditApplication", shop).await);

    team.plan("free").await;

    assert_eq!(
        team.role("crew").await.permissions,
        Some(permissions(&["EditApplication"]))
    );
    assert_refused(
        team.try_update_role("crew", &["ViewDashboard"]).await,
        Code::FailedPrecondition,
        "PLAN_LACKS_FEATURE",
    );
    assert_refused(
        team.try_create_role("other", permissions(&[])).await,
        Code::FailedPrecondition,
        "PLAN_LACKS_FEATURE",
    );
    assert!(team.may("carl", "EditApplication", shop).await, "enforced");
    assert!(team.may("carl", "ViewApplicationDetails", shop).await);
    assert!(!team.may("carl", "DeleteApplication", shop).await);

    team.set_roles("carl", &[]).await;
    team.try_delete_role("crew")
        .await
        .expect("what is not wanted any more can be cleared away");
    team.stop().await;
}

#[tokio::test]
async fn a_change_of_plan_counts_at_the_next_check() {
    let team = Team::on("qoc-cloud").await;
    team.add("ada", &["admin"]).await;
    for (plan, allowed) in [
        ("free", false),
        ("pro", true),
        ("free", false),
        ("enterprise", true),
    ] {
        team.plan(plan).await;
        assert_eq!(
            team.may_here("ada", "InviteMember").await,
            allowed,
            "on {plan}"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn a_plan_the_catalog_lacks_is_refused() {
    let team = Team::on("qoc-cloud").await;
    let refused = team
        .daemon
        .organizations()
        .set_plan(roster::proto::v1::SetPlanRequest {
            organization: ACME.to_owned(),
            plan: "platinum".to_owned(),
            ..Default::default()
        })
        .await;
    assert_refused(refused, Code::InvalidArgument, "INVALID");
    team.stop().await;
}

#[tokio::test]
async fn what_a_product_does_not_offer_is_refused_on_every_plan() {
    let oncloudwine = Team::on("oncloudwine").await;
    let role = oncloudwine
        .try_create_role("crew", permissions(&["ManageContacts"]))
        .await;
    assert_refused(role, Code::FailedPrecondition, "NOT_OFFERED");
    let edit = oncloudwine.try_update_role("member", &[]).await;
    assert_refused(edit, Code::FailedPrecondition, "BUILT_IN_ROLE");
    oncloudwine.stop().await;

    let cloud66 = Team::on("cloud-66").await;
    cloud66.project("shop").await;
    cloud66.add("dana", &["finance"]).await;
    let replaced = cloud66
        .try_override("shop", "dana", &["administrator"], permissions(&[]))
        .await;
    assert_refused(replaced, Code::FailedPrecondition, "NOT_OFFERED");
    assert!(!cloud66.may("dana", "ViewApp", ("Project", "shop")).await);
    cloud66.stop().await;

    let hypervisor = Team::on("hypervisor-io").await;
    hypervisor.project("dev").await;
    hypervisor.add("vera", &["viewer"]).await;
    let on_project = hypervisor
        .try_project_roles("dev", "vera", &["admin"])
        .await;
    assert_refused(on_project, Code::FailedPrecondition, "NOT_OFFERED");
    let default = hypervisor.try_default_roles("vera", &["admin"]).await;
    assert_refused(default, Code::FailedPrecondition, "NOT_OFFERED");
    let edit = hypervisor.try_update_role("viewer", &[]).await;
    assert_refused(edit, Code::FailedPrecondition, "BUILT_IN_ROLE");
    assert!(
        !hypervisor
            .daemon
            .allows(question(ACME, "vera", "InstancesDelete", "Project", "dev"))
            .await
    );
    hypervisor.stop().await;
}
