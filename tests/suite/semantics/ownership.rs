//! Own resources: the role is the ceiling, and what is registered wins.

use super::Team;

const SHOP: (&str, &str) = ("Application", "shop");

#[tokio::test]
async fn a_creator_who_is_demoted_to_viewer_edits_no_longer() {
    let team = Team::on("qoc-cloud").await;
    team.add("milo", &["member"]).await;
    team.register(SHOP, "", "milo").await;
    let described = ("Application", "described");
    assert!(team.may("milo", "EditApplication", SHOP).await);
    assert!(
        team.may_to_one_of("milo", "milo", "EditApplication", described)
            .await
    );

    team.set_roles("milo", &["viewer"]).await;
    assert!(!team.may("milo", "EditApplication", SHOP).await);
    assert!(
        !team
            .may_to_one_of("milo", "milo", "EditApplication", described)
            .await
    );
    assert!(team.may("milo", "ViewApplications", SHOP).await);

    team.set_roles("milo", &["member"]).await;
    assert!(
        team.may("milo", "EditApplication", SHOP).await,
        "ownership was kept under the lower ceiling"
    );
    team.stop().await;
}

#[tokio::test]
async fn a_transfer_moves_the_owner_s_rights_at_once() {
    let team = Team::on("qoc-cloud").await;
    team.add("milo", &["member"]).await;
    team.add("mina", &["member"]).await;
    team.register(SHOP, "", "milo").await;
    assert!(team.may("milo", "DeleteApplication", SHOP).await);
    assert!(!team.may("mina", "DeleteApplication", SHOP).await);

    team.transfer(SHOP, "mina").await;
    assert!(!team.may("milo", "DeleteApplication", SHOP).await);
    assert!(team.may("mina", "DeleteApplication", SHOP).await);

    team.transfer(SHOP, "").await;
    assert!(!team.may("mina", "DeleteApplication", SHOP).await);
    assert!(
        team.may("owner", "DeleteApplication", SHOP).await,
        "nobody's application is still the owner's to manage"
    );
    team.stop().await;
}

#[tokio::test]
async fn what_a_removed_creator_leaves_is_for_admins_only_or_for_the_heir() {
    let team = Team::on("qoc-cloud").await;
    team.add("ada", &["admin"]).await;
    team.add("milo", &["member"]).await;
    team.add("mina", &["member"]).await;
    team.register(SHOP, "", "milo").await;

    let removed = team.remove("milo", "").await;
    assert_eq!(removed.orphaned_count, 1);
    assert_eq!(removed.orphaned_resources[0].id, "shop");
    assert!(team.may("ada", "EditApplication", SHOP).await);
    assert!(!team.may("mina", "EditApplication", SHOP).await);
    assert!(!team.may("milo", "EditApplication", SHOP).await);

    team.transfer(SHOP, "mina").await;
    team.add("milo", &["member"]).await;
    assert!(!team.may("milo", "EditApplication", SHOP).await);
    let removed = team.remove("mina", "milo").await;
    assert_eq!((removed.orphaned_count, removed.reassigned_count), (0, 1));
    assert!(team.may("milo", "EditApplication", SHOP).await);
    team.stop().await;
}

#[tokio::test]
async fn the_registered_owner_wins_over_the_described_one() {
    let team = Team::on("qoc-cloud").await;
    team.add("milo", &["member"]).await;
    team.add("mina", &["member"]).await;
    team.register(SHOP, "", "milo").await;
    team.register(("Application", "nobody-s"), "", "").await;

    assert!(
        !team
            .may_to_one_of("mina", "mina", "EditApplication", SHOP)
            .await
    );
    assert!(
        team.may_to_one_of("mina", "milo", "EditApplication", SHOP)
            .await
    );
    assert!(
        !team
            .may_to_one_of(
                "mina",
                "mina",
                "EditApplication",
                ("Application", "nobody-s")
            )
            .await,
        "registered without owner is nobody's, whatever the request says"
    );

    team.unregister(SHOP).await;
    assert!(
        team.may_to_one_of("mina", "mina", "EditApplication", SHOP)
            .await,
        "what is not registered is as described"
    );
    team.stop().await;
}

#[tokio::test]
async fn the_registered_project_wins_over_the_described_one_until_it_is_moved() {
    let team = Team::on("hypervisor-io").await;
    team.project("production").await;
    team.project("dev").await;
    team.add("vera", &["viewer"]).await;
    team.replace("dev", "vera", &["InstancesManage"]).await;
    let vm = ("Instance", "vm-1");
    team.register(vm, "production", "").await;

    assert!(!team.may_in("dev", "vera", "InstancesManage", vm).await);
    assert!(!team.may("vera", "InstancesManage", vm).await);

    team.move_to(vm, "dev").await;
    assert!(team.may("vera", "InstancesManage", vm).await);
    assert!(
        team.may_in("production", "vera", "InstancesManage", vm)
            .await
    );

    team.move_to(vm, "").await;
    assert!(!team.may_in("dev", "vera", "InstancesManage", vm).await);
    team.stop().await;
}

#[tokio::test]
async fn a_resource_of_another_type_with_the_same_id_is_another_resource() {
    let team = Team::on("hypervisor-io").await;
    team.project("production").await;
    team.project("dev").await;
    team.add("vera", &["viewer"]).await;
    team.replace("dev", "vera", &["DatabasesManage"]).await;
    team.register(("Instance", "one"), "production", "").await;

    assert!(
        team.may_in("dev", "vera", "DatabasesManage", ("Database", "one"))
            .await
    );
    team.stop().await;
}
