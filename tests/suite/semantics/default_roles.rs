//! Default roles, as Cloud 66 has them: set for new applications, copied to all.

use tonic::Code;

use super::{Team, assert_refused};

fn app(id: &str) -> (&str, &str) {
    ("Project", id)
}

#[tokio::test]
async fn default_roles_apply_to_new_projects_only() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    team.project("old").await;

    team.default_roles("dana", &["viewer"]).await;
    team.project("new").await;

    assert!(team.may("dana", "ViewApp", app("new")).await);
    assert!(!team.may("dana", "DeployApp", app("new")).await);
    assert!(!team.may("dana", "ViewApp", app("old")).await);
    assert!(!team.may_here("dana", "ViewPaymentPage").await);
    team.stop().await;
}

#[tokio::test]
async fn copied_default_roles_apply_to_every_project_there_is_and_to_each_new_one() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    for project in ["first", "second", "third"] {
        team.project(project).await;
    }
    team.archive("third").await;
    team.default_roles("dana", &["deployer"]).await;
    for project in ["first", "second", "third"] {
        assert!(!team.may("dana", "DeployApp", app(project)).await);
    }

    team.copy_default_roles("dana").await;
    team.project("fourth").await;

    for project in ["first", "second", "third", "fourth"] {
        assert!(
            team.may("dana", "DeployApp", app(project)).await,
            "{project}"
        );
        assert!(!team.may("dana", "EditApp", app(project)).await);
    }
    team.stop().await;
}

#[tokio::test]
async fn an_explicit_role_on_one_project_wins_until_the_defaults_are_copied_again() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    team.default_roles("dana", &["viewer"]).await;
    team.project("shop").await;

    team.project_roles("shop", "dana", &["deployer"]).await;
    assert!(team.may("dana", "DeployApp", app("shop")).await);

    team.copy_default_roles("dana").await;
    assert!(!team.may("dana", "DeployApp", app("shop")).await);
    assert!(team.may("dana", "ViewApp", app("shop")).await);

    team.project_roles("shop", "dana", &["deployer"]).await;
    assert!(
        team.may("dana", "DeployApp", app("shop")).await,
        "a later explicit role wins again"
    );
    team.stop().await;
}

#[tokio::test]
async fn an_explicit_none_wins_over_the_defaults_until_it_is_cleared() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    team.default_roles("dana", &["viewer"]).await;
    team.project("shop").await;
    assert!(team.may("dana", "ViewApp", app("shop")).await);

    team.project_roles("shop", "dana", &[]).await;
    assert!(!team.may("dana", "ViewApp", app("shop")).await);
    let member = team.member("dana").await;
    assert_eq!(member.project_roles.len(), 1, "the none is on record");

    team.clear_project_roles("shop", "dana").await;
    assert!(team.may("dana", "ViewApp", app("shop")).await);

    team.project_roles("shop", "dana", &[]).await;
    team.copy_default_roles("dana").await;
    assert!(
        team.may("dana", "ViewApp", app("shop")).await,
        "copying replaces an explicit none as well"
    );
    team.stop().await;
}

#[tokio::test]
async fn other_default_roles_leave_the_projects_created_before_as_they_are() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    team.default_roles("dana", &["viewer"]).await;
    team.project("first").await;

    team.default_roles("dana", &["developer"]).await;
    team.default_roles("dana", &["deployer"]).await;
    team.project("second").await;
    team.default_roles("dana", &[]).await;
    team.project("third").await;

    assert!(team.may("dana", "ViewApp", app("first")).await);
    assert!(!team.may("dana", "DeployApp", app("first")).await);
    assert!(team.may("dana", "DeployApp", app("second")).await);
    assert!(
        !team.may("dana", "EditApp", app("second")).await,
        "of two settings in a row the last counts"
    );
    assert!(!team.may("dana", "ViewApp", app("third")).await);

    team.copy_default_roles("dana").await;
    for project in ["first", "second", "third"] {
        assert!(
            !team.may("dana", "ViewApp", app(project)).await,
            "copying none takes everything: {project}"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn an_edit_of_a_role_reaches_those_who_hold_it_by_default_and_a_reset_too() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    team.add("evan", &[]).await;
    team.default_roles("dana", &["viewer"]).await;
    team.project("shop").await;
    team.project_roles("shop", "evan", &["viewer"]).await;
    for user in ["dana", "evan"] {
        assert!(!team.may(user, "DeployApp", app("shop")).await);
    }

    let edited = team.update_role("viewer", &["DeployApp"]).await;
    assert!(edited.edited && edited.built_in);
    for user in ["dana", "evan"] {
        assert!(team.may(user, "DeployApp", app("shop")).await, "{user}");
        assert!(
            !team.may(user, "ViewServiceYml", app("shop")).await,
            "{user}: the edit left it out"
        );
    }

    team.reset_role("viewer").await;
    for user in ["dana", "evan"] {
        assert!(!team.may(user, "DeployApp", app("shop")).await, "{user}");
        assert!(team.may(user, "ViewServiceYml", app("shop")).await);
    }
    assert!(!team.role("viewer").await.edited);
    team.stop().await;
}

#[tokio::test]
async fn a_project_made_again_under_an_old_id_gets_the_defaults_of_its_own_day() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;
    team.default_roles("dana", &["deployer"]).await;
    team.project("shop").await;
    team.project_roles("shop", "dana", &["administrator"]).await;
    team.default_roles("dana", &["viewer"]).await;

    team.try_delete_project("shop")
        .await
        .expect("the project is deleted");
    team.project("shop").await;

    assert!(team.may("dana", "ViewApp", app("shop")).await);
    assert!(!team.may("dana", "DeployApp", app("shop")).await);
    assert!(!team.may("dana", "DeleteApp", app("shop")).await);
    team.stop().await;
}

#[tokio::test]
async fn default_roles_are_not_for_the_owner_nor_for_roles_on_the_account() {
    let team = Team::on("cloud-66").await;
    team.add("dana", &[]).await;

    let owner = team.try_default_roles("owner", &["viewer"]).await;
    assert_refused(owner, Code::FailedPrecondition, "OWNER_PROTECTED");
    let account = team.try_default_roles("dana", &["finance"]).await;
    assert!(account.is_err(), "finance is held on the account");
    let stranger = team.try_default_roles("stranger", &["viewer"]).await;
    assert_refused(stranger, Code::NotFound, "NOT_FOUND");
    team.stop().await;
}
