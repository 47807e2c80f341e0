//! Roles: what they imply, under which conditions they hold, and how they change.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, Team, assert_refused, permissions, texts, truth, with_attributes};
use crate::harness::{owned, question};

#[tokio::test]
async fn a_role_grants_its_actions_and_no_others() {
    let team = Team::on("oncloudwine").await;
    team.add("morgan", &["member"]).await;

    assert!(team.may_here("morgan", "ManageContacts").await);
    assert!(!team.may_here("morgan", "ManageBilling").await);
    team.stop().await;
}

#[tokio::test]
async fn an_action_brings_all_that_it_implies_and_the_role_lists_it() {
    let team = Team::on("cloud-66").await;
    team.project("shop").await;
    let role = team.create_role("editors", &["EditServiceYml"]).await;
    team.add("eve", &["editors"]).await;

    let implied = ["EditServiceYml", "ViewApp", "ViewProject", "ViewServiceYml"];
    assert_eq!(role.effective_actions, implied);
    for action in implied {
        assert!(
            team.may("eve", action, ("Project", "shop")).await,
            "{action}"
        );
    }
    assert!(
        !team
            .may("eve", "ViewManifestYml", ("Project", "shop"))
            .await
    );
    team.stop().await;
}

#[tokio::test]
async fn a_role_on_the_organization_holds_in_every_project_and_one_on_a_project_there_only() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.project("south").await;
    team.add("olga", &["gardener"]).await;
    team.add("paul", &[]).await;
    team.project_roles("north", "paul", &["gardener"]).await;
    let bed = ("Bed", "roses");

    for project in ["north", "south"] {
        assert!(team.may_in(project, "olga", "WaterBed", bed).await);
    }
    assert!(team.may("olga", "WaterBed", bed).await);
    assert!(team.may_in("north", "paul", "WaterBed", bed).await);
    assert!(!team.may_in("south", "paul", "WaterBed", bed).await);
    assert!(!team.may("paul", "WaterBed", bed).await);
    team.stop().await;
}

#[tokio::test]
async fn a_role_is_held_only_where_the_catalog_says() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("paul", &[]).await;

    let shopkeeper = team
        .try_project_roles("north", "paul", &["shopkeeper"])
        .await;
    assert!(shopkeeper.is_err());
    let visitor = team
        .daemon
        .members()
        .set_member_roles(v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: "paul".to_owned(),
            roles: owned(&["visitor"]),
            ..Default::default()
        })
        .await;
    assert!(visitor.is_err());
    team.stop().await;
}

#[tokio::test]
async fn an_edit_of_a_role_changes_every_holder_at_once() {
    let team = Team::on("hypervisor-io").await;
    team.project("dev").await;
    team.create_role("crew", &["InstancesView"]).await;
    let holders = ["carl", "cora", "cleo"];
    for holder in holders {
        team.add(holder, &["crew"]).await;
    }
    let vm = ("Instance", "vm-1");
    for holder in holders {
        assert!(team.may_in("dev", holder, "InstancesView", vm).await);
    }

    team.update_role("crew", &["InstancesDelete"]).await;

    for holder in holders {
        assert!(!team.may_in("dev", holder, "InstancesView", vm).await);
        assert!(team.may_in("dev", holder, "InstancesDelete", vm).await);
    }
    team.stop().await;
}

#[tokio::test]
async fn a_custom_role_can_hold_on_own_resources_and_under_conditions() {
    let team = Team::on("qoc-cloud").await;
    team.plan("enterprise").await;
    let asked = v1::Permissions {
        own_actions: owned(&["DeleteApplication"]),
        conditional: vec![v1::ConditionalActions {
            condition: "approved-for-viewers".to_owned(),
            actions: owned(&["SelectTable"]),
        }],
        ..Default::default()
    };
    team.try_create_role("crew", asked)
        .await
        .expect("the role is created");
    team.add("carl", &["crew"]).await;
    let shop = ("Application", "shop");

    assert!(
        team.may_to_one_of("carl", "carl", "DeleteApplication", shop)
            .await
    );
    assert!(
        team.may_to_one_of("carl", "carl", "ViewApplications", shop)
            .await,
        "implied, for own ones too"
    );
    assert!(
        !team
            .may_to_one_of("owner", "carl", "ViewApplications", shop)
            .await
    );
    let table = || question(ACME, "carl", "SelectTable", "Table", "t");
    let approved = [("approved_for_viewers", truth(true))];
    assert!(
        team.daemon
            .allows(with_attributes(table(), &approved))
            .await
    );
    assert!(!team.daemon.allows(table()).await);
    team.stop().await;
}

#[tokio::test]
async fn a_condition_is_judged_anew_for_each_description_of_a_resource() {
    let team = Team::on("qoc-cloud").await;
    team.add("milo", &["member"]).await;
    team.add("vera", &["viewer"]).await;
    let select = |user: &str, attributes: &[(&str, prost_types::value::Kind)]| {
        with_attributes(
            question(ACME, user, "SelectTable", "Table", "t"),
            attributes,
        )
    };

    for _ in 0..2 {
        for (user, attributes, allowed) in [
            ("milo", vec![("granted_to", texts(&["vera", "milo"]))], true),
            ("milo", vec![("granted_to", texts(&["vera"]))], false),
            ("milo", vec![], false),
            ("milo", vec![("approved_for_viewers", truth(true))], true),
            ("milo", vec![("approved_for_viewers", truth(false))], false),
            ("vera", vec![("granted_to", texts(&["vera"]))], false),
            ("vera", vec![("approved_for_viewers", truth(true))], true),
            ("vera", vec![("approved_for_viewers", truth(false))], false),
            ("vera", vec![], false),
        ] {
            assert_eq!(
                team.daemon.allows(select(user, &attributes)).await,
                allowed,
                "{user} {attributes:?}"
            );
        }
    }
    team.stop().await;
}

#[tokio::test]
async fn a_role_in_use_is_not_deleted_wherever_it_is_held() {
    let team = Team::on("greenhouse").await;
    team.plan("commercial").await;
    team.project("north").await;
    team.create_role("crew", &["WaterBed"]).await;
    let held = |outcome| assert_refused(outcome, Code::FailedPrecondition, "ROLE_IN_USE");

    team.add("carl", &["crew"]).await;
    held(team.try_delete_role("crew").await);
    team.set_roles("carl", &["gardener"]).await;

    team.project_roles("north", "carl", &["crew"]).await;
    held(team.try_delete_role("crew").await);
    team.clear_project_roles("north", "carl").await;

    team.replace_by_roles("north", "carl", &["crew"]).await;
    held(team.try_delete_role("crew").await);
    team.remove_override("north", "carl").await;

    team.default_roles("carl", &["crew"]).await;
    held(team.try_delete_role("crew").await);
    team.default_roles("carl", &[]).await;

    team.try_delete_role("crew").await.expect("nobody holds it");
    team.stop().await;
}

#[tokio::test]
async fn a_deleted_role_made_again_under_its_id_is_a_new_role() {
    let team = Team::on("hypervisor-io").await;
    team.create_role("crew", &["BillingManage"]).await;
    team.add("carl", &["crew"]).await;
    assert!(team.may_here("carl", "BillingManage").await);
    team.set_roles("carl", &[]).await;
    team.try_delete_role("crew").await.expect("nobody holds it");

    team.create_role("crew", &["BillingView"]).await;

    assert!(!team.may_here("carl", "BillingView").await);
    team.set_roles("carl", &["crew"]).await;
    assert!(team.may_here("carl", "BillingView").await);
    assert!(!team.may_here("carl", "BillingManage").await);
    team.stop().await;
}

#[tokio::test]
async fn permissions_by_level_cover_every_action_of_it() {
    let team = Team::on("hypervisor-io").await;
    team.project("dev").await;
    let every = |level: v1::Level| v1::Permissions {
        every: vec![level.into()],
        ..Default::default()
    };
    team.try_create_role("accountants", every(v1::Level::Account))
        .await
        .expect("the role is created");
    team.try_create_role("engineers", every(v1::Level::Project))
        .await
        .expect("the role is created");
    team.add("anna", &["accountants"]).await;
    team.add("eric", &["engineers"]).await;

    assert!(team.may_here("anna", "BillingManage").await);
    assert!(!team.may("anna", "InstancesView", ("Project", "dev")).await);
    assert!(!team.may_here("eric", "BillingManage").await);
    assert!(
        team.may("eric", "InstancesDelete", ("Project", "dev"))
            .await
    );
    assert!(
        !team.may("anna", "RemoveMember", ("Member", "owner")).await,
        "what is forbidden stays so"
    );
    team.stop().await;
}

#[tokio::test]
async fn a_role_without_permissions_grants_nothing() {
    let team = Team::on("hypervisor-io").await;
    team.try_create_role("idle", permissions(&[]))
        .await
        .expect("the role is created");
    team.add("ida", &["idle"]).await;

    assert!(!team.may_here("ida", "ViewOrganization").await);
    assert!(!team.may("ida", "InstancesView", ("Instance", "vm")).await);
    team.stop().await;
}
