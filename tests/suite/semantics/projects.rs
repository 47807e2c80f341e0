//! Projects: archived, opened again, deleted, made anew.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, Team, assert_refused, permissions};
use crate::harness::{in_project, question, violations};

const BED: (&str, &str) = ("Bed", "roses");

#[tokio::test]
async fn an_archived_project_takes_no_grants_and_decides_as_before() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("gina", &[]).await;
    team.add("hugo", &["head-gardener"]).await;
    team.project_roles("north", "gina", &["gardener"]).await;
    team.replace("north", "hugo", &["ViewBed"]).await;

    team.archive("north").await;

    assert!(team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(!team.may_in("north", "hugo", "WaterBed", BED).await);
    let role = team.try_project_roles("north", "gina", &["visitor"]).await;
    assert_refused(role, Code::FailedPrecondition, "PROJECT_ARCHIVED");
    let replaced = team
        .try_override("north", "hugo", &[], permissions(&["WaterBed"]))
        .await;
    assert_refused(replaced, Code::FailedPrecondition, "PROJECT_ARCHIVED");
    let resource = team
        .daemon
        .resources()
        .register_resource(v1::RegisterResourceRequest {
            organization: ACME.to_owned(),
            r#type: "Bed".to_owned(),
            id: "tulips".to_owned(),
            project: "north".to_owned(),
            ..Default::default()
        })
        .await;
    assert_refused(resource, Code::FailedPrecondition, "PROJECT_ARCHIVED");

    team.remove_override("north", "hugo").await;
    team.clear_project_roles("north", "gina").await;
    assert!(
        team.may_in("north", "hugo", "WaterBed", BED).await,
        "what was given can be taken back"
    );
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);

    team.unarchive("north").await;
    team.project_roles("north", "gina", &["gardener"]).await;
    assert!(team.may_in("north", "gina", "WaterBed", BED).await);
    team.stop().await;
}

#[tokio::test]
async fn a_project_made_again_under_an_old_id_revives_nothing() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.add("gina", &[]).await;
    team.add("hugo", &["head-gardener"]).await;
    team.project_roles("north", "gina", &["gardener"]).await;
    team.replace("north", "hugo", &["ViewBed"]).await;
    assert!(team.may_in("north", "gina", "WaterBed", BED).await);

    team.try_delete_project("north")
        .await
        .expect("the project is deleted");
    let asked = question(ACME, "gina", "WaterBed", "Bed", "roses");
    let refused = team
        .daemon
        .authorization()
        .is_authorized(in_project(asked, "north"))
        .await
        .expect_err("the project is gone");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        violations(&refused),
        [(
            "resource.project".to_owned(),
            "UNKNOWN_REFERENCE".to_owned()
        )]
    );

    team.project("north").await;
    assert!(!team.may_in("north", "gina", "WaterBed", BED).await);
    assert!(team.may_in("north", "hugo", "WaterBed", BED).await);
    assert!(team.member("gina").await.project_roles.is_empty());
    assert!(team.member("hugo").await.overrides.is_empty());
    team.stop().await;
}

#[tokio::test]
async fn a_project_with_registered_resources_is_not_deleted() {
    let team = Team::on("greenhouse").await;
    team.project("north").await;
    team.register(BED, "north", "").await;

    let refused = team.try_delete_project("north").await;
    assert_refused(refused, Code::FailedPrecondition, "PROJECT_NOT_EMPTY");

    team.move_to(BED, "").await;
    team.try_delete_project("north")
        .await
        .expect("the project is empty");
    team.stop().await;
}
