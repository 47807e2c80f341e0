//! A product that is nothing but a folder of data works with no Rust of its own.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, Team, assert_refused, permissions, texts, truth, with_attributes};
use crate::harness::{in_project, question};

const BED: (&str, &str) = ("Bed", "roses");

#[tokio::test]
async fn the_sixth_product_has_its_roles_and_project_roles() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.project("south").await;
    team.add("hugo", &["head-gardener"]).await;
    team.add("gina", &[]).await;
    team.add("sara", &["shopkeeper"]).await;
    team.project_roles("north", "gina", &["gardener"]).await;

    assert!(team.may_in("south", "hugo", "ClearBed", BED).await);
    assert!(team.may_here("hugo", "BuySeeds").await, "implied");
    assert!(team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(!team.may_in("south", "gina", "WaterBed", BED).await);
    assert!(team.may_here("sara", "RunTheShop").await);
    assert!(!team.may_in("north", "sara", "ViewBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn the_sixth_product_has_overrides() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.project("south").await;
    team.add("hugo", &["head-gardener"]).await;
    team.replace_by_roles("north", "hugo", &["gardener"]).await;

    assert!(team.may_in("north", "hugo", "WaterBed", BED).await);
    assert!(!team.may_in("north", "hugo", "ClearBed", BED).await);
    assert!(team.may_in("south", "hugo", "ClearBed", BED).await);
    assert!(team.may_here("hugo", "RunTheShop").await);
    team.stop().await;
}

#[tokio::test]
async fn the_sixth_product_has_conditions_on_attributes_and_on_owning() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("gina", &["gardener"]).await;
    team.add("vito", &[]).await;
    team.project_roles("north", "vito", &["visitor"]).await;
    team.register(("Bed", "own"), "north", "gina").await;
    let harvest = in_project(
        question(ACME, "gina", "HarvestBed", "Bed", "roses"),
        "north",
    );
    let look = in_project(question(ACME, "vito", "ViewBed", "Bed", "roses"), "north");
    let tended = |by: &str| with_attributes(harvest.clone(), &[("tended_by", texts(&[by]))]);

    assert!(team.daemon.allows(tended("gina")).await);
    assert!(!team.daemon.allows(tended("vito")).await);
    assert!(!team.daemon.allows(harvest.clone()).await);
    let open = with_attributes(look.clone(), &[("open_to_visitors", truth(true))]);
    assert!(team.daemon.allows(open).await);
    assert!(!team.daemon.allows(look).await);
    assert!(team.may("gina", "ClearBed", ("Bed", "own")).await);
    assert!(!team.may_in("north", "gina", "ClearBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn the_sixth_product_forbids_by_a_rule_and_says_why() {
    let team = Team::on("greenhouse").await;
    let harvest = || question(ACME, "owner", "HarvestBed", "Bed", "roses");
    assert!(team.daemon.allows(harvest()).await);

    let frozen = with_attributes(harvest(), &[("frozen", truth(true))]);
    let answer = team.daemon.ask(frozen).await;

    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.determining_policies, ["product/frozen-beds-rest"]);
    assert_eq!(answer.reasons.len(), 1);
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::TeamRule);
    assert_eq!(
        answer.reasons[0].message,
        "the bed is frozen; wait until it has thawed"
    );
    let thawed = with_attributes(harvest(), &[("frozen", truth(false))]);
    assert!(team.daemon.allows(thawed).await);
    team.stop().await;
}

#[tokio::test]
async fn the_sixth_product_gates_custom_roles_by_plan() {
    let team = Team::on("greenhouse").await;
    let refused = team
        .try_create_role("crew", permissions(&["ViewBed"]))
        .await;
    assert_refused(refused, Code::FailedPrecondition, "PLAN_LACKS_FEATURE");
    let answer = team
        .daemon
        .ask(question(ACME, "owner", "CreateRole", "Organization", ACME))
        .await;
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::Plan);
    assert_eq!(
        answer.reasons[0].message,
        "custom roles need the plan Commercial"
    );

    team.plan("commercial").await;
    team.create_role("crew", &["ViewBed"]).await;
    assert!(team.may_here("owner", "CreateRole").await);
    team.stop().await;
}

#[tokio::test]
async fn the_sixth_product_edits_its_built_in_roles_on_every_plan() {
    let team = Team::on("greenhouse").await;
    team.add("gina", &["gardener"]).await;
    assert!(team.may("gina", "WaterBed", BED).await);

    team.update_role("gardener", &["HarvestBed"]).await;
    assert!(!team.may("gina", "WaterBed", BED).await);
    assert!(team.may("gina", "HarvestBed", BED).await);

    team.reset_role("gardener").await;
    assert!(team.may("gina", "WaterBed", BED).await);
    assert!(!team.may("gina", "HarvestBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn the_sixth_product_speaks_its_own_words() {
    let team = Team::on("greenhouse").await;
    let catalog = team
        .daemon
        .policies()
        .get_catalog(v1::GetCatalogRequest {
            catalog: "greenhouse".to_owned(),
        })
        .await
        .expect("the catalog is read")
        .into_inner()
        .catalog
        .expect("a catalog");

    assert_eq!(catalog.organization_word, "nursery");
    assert_eq!(catalog.project_word, "greenhouse");
    let title = |id: &str| {
        let action = catalog.actions.iter().find(|action| action.id == id);
        action.expect("an action").title.clone()
    };
    assert_eq!(title("InviteMember"), "Hire a gardener");
    assert_eq!(title("WaterBed"), "Water a bed");
    team.stop().await;
}
