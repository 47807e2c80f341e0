//! No answer outlives a change (attack T-05): ask until it is remembered, change
//! one thing, ask again.

use super::{ACME, Team};
use crate::harness::question;

const BED: (&str, &str) = ("Bed", "roses");

/// A gardener with a role of each kind, asked until every answer is remembered.
async fn warm_team() -> Team {
    let team = Team::on("greenhouse").await;
    team.plan("commercial").await;
    team.project("north").await;
    team.create_role("crew", &["ClearBed", "BuySeeds"]).await;
    team.add("carl", &["crew"]).await;
    team.add("gina", &[]).await;
    team.add("hugo", &["head-gardener"]).await;
    team.project_roles("north", "gina", &["gardener"]).await;
    team.register(("Bed", "own"), "north", "gina").await;
    for _ in 0..2 {
        assert!(team.may_in("north", "carl", "ClearBed", BED).await);
        assert!(team.may_here("carl", "BuySeeds").await);
        assert!(team.may_in("north", "gina", "WaterBed", BED).await);
        assert!(team.may("gina", "ClearBed", ("Bed", "own")).await);
        assert!(team.may_in("north", "hugo", "ClearBed", BED).await);
        assert!(team.may_here("hugo", "CreateRole").await);
    }
    team
}

#[tokio::test]
async fn no_allow_outlives_the_removal_of_a_member() {
    let team = warm_team().await;
    team.remove("carl", "").await;
    team.remove("gina", "").await;
    assert!(!team.may_in("north", "carl", "ClearBed", BED).await);
    assert!(!team.may_here("carl", "BuySeeds").await);
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(!team.may("gina", "ClearBed", ("Bed", "own")).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_a_suspension() {
    let team = warm_team().await;
    for user in ["carl", "gina", "hugo"] {
        team.suspend(user).await;
    }
    assert!(!team.may_in("north", "carl", "ClearBed", BED).await);
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(!team.may("gina", "ClearBed", ("Bed", "own")).await);
    assert!(!team.may_in("north", "hugo", "ClearBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_an_override_nor_its_removal() {
    let team = warm_team().await;
    team.replace("north", "hugo", &["ViewBed"]).await;
    assert!(!team.may_in("north", "hugo", "ClearBed", BED).await);
    assert!(team.may_in("north", "hugo", "ViewBed", BED).await);

    team.replace("north", "gina", &["ClearBed"]).await;
    assert!(team.may_in("north", "gina", "ClearBed", BED).await);
    team.remove_override("north", "gina").await;
    assert!(!team.may_in("north", "gina", "ClearBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_a_change_of_roles() {
    let team = warm_team().await;
    team.set_roles("carl", &["gardener"]).await;
    team.set_roles("hugo", &[]).await;
    assert!(!team.may_in("north", "carl", "ClearBed", BED).await);
    assert!(!team.may_here("carl", "BuySeeds").await);
    assert!(!team.may_in("north", "hugo", "ClearBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_an_edit_of_a_role() {
    let team = warm_team().await;
    team.update_role("crew", &["ViewBed"]).await;
    assert!(!team.may_in("north", "carl", "ClearBed", BED).await);
    assert!(!team.may_here("carl", "BuySeeds").await);
    assert!(team.may_in("north", "carl", "ViewBed", BED).await);

    team.update_role("gardener", &["ReadSensor"]).await;
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(!team.may("gina", "ClearBed", ("Bed", "own")).await);
    team.reset_role("gardener").await;
    assert!(team.may_in("north", "gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_the_first_edit_of_a_role_of_the_product() {
    let team = Team::on("greenhouse").await;
    team.add("gina", &["gardener"]).await;
    for _ in 0..2 {
        assert!(team.may("gina", "WaterBed", BED).await);
    }

    team.update_role("gardener", &["ReadSensor"]).await;

    assert!(!team.may("gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_a_change_of_roles_on_the_project() {
    let team = warm_team().await;
    team.project_roles("north", "gina", &[]).await;
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(!team.may("gina", "ClearBed", ("Bed", "own")).await);
    team.project_roles("north", "gina", &["gardener"]).await;
    assert!(team.may_in("north", "gina", "WaterBed", BED).await);
    team.clear_project_roles("north", "gina").await;
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_copied_default_roles() {
    let team = warm_team().await;
    team.default_roles("gina", &["visitor"]).await;
    assert!(team.may_in("north", "gina", "WaterBed", BED).await);
    team.copy_default_roles("gina").await;
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_a_change_of_plan() {
    let team = warm_team().await;
    team.plan("hobby").await;
    assert!(!team.may_here("hugo", "CreateRole").await);
    team.plan("commercial").await;
    assert!(team.may_here("hugo", "CreateRole").await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_the_transfer_or_the_move_of_a_resource() {
    let team = warm_team().await;
    team.transfer(("Bed", "own"), "hugo").await;
    assert!(!team.may("gina", "ClearBed", ("Bed", "own")).await);

    team.transfer(("Bed", "own"), "gina").await;
    assert!(team.may("gina", "ClearBed", ("Bed", "own")).await);
    team.move_to(("Bed", "own"), "").await;
    assert!(!team.may("gina", "ClearBed", ("Bed", "own")).await);
    team.stop().await;
}

#[tokio::test]
async fn no_allow_outlives_the_deletion_of_a_project() {
    let team = warm_team().await;
    team.unregister(("Bed", "own")).await;
    team.try_delete_project("north")
        .await
        .expect("the project is deleted");
    team.project("north").await;
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn no_answer_outlives_the_organization() {
    let team = warm_team().await;
    team.daemon
        .organizations()
        .delete_organization(roster::proto::v1::DeleteOrganizationRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        })
        .await
        .expect("the organization is deleted");
    let refused = team
        .daemon
        .authorization()
        .is_authorized(question(ACME, "carl", "BuySeeds", "Organization", ACME))
        .await
        .expect_err("the organization is gone");
    assert_eq!(refused.code(), tonic::Code::NotFound);
    team.stop().await;
}
