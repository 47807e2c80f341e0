//! OEC.SH: a consultancy's organization, with roles in single projects, where only
//! the platform passes the ownership on.

use roster::proto::v1;
use tonic::Code;
use v1::{EventEffect, EventOutcome};

use super::{
    ACME, DENIED, HOUR, PLATFORM, Shown, Team, after, assert_no_rule_is_forgotten, by, detail, is,
};

const RULES: &[(&str, Shown)] = &[
    ("owners", Shown::By(&["rule_owners"])),
    ("transfer", Shown::By(&["rule_transfer"])),
    ("self_role_change", Shown::By(&["rule_self_role_change"])),
    ("custom_roles", Shown::By(&["rule_custom_roles"])),
    ("audit", Shown::By(&["rule_audit"])),
    (
        "many_organizations_per_user",
        Shown::By(&["rule_many_organizations_per_user"]),
    ),
    // That deployments keep running is the host's: Roster neither starts nor stops any.
    ("removal", Shown::By(&["rule_removal"])),
    ("project_roles", Shown::By(&["rule_project_roles"])),
];

/// Olga's organization with Anton as Admin, Daria as Developer, and two projects.
async fn team() -> Team {
    let team = Team::found("oec-sh", "", "olga").await;
    team.hire("olga", "anton", &["admin"]).await;
    team.hire("anton", "daria", &["developer"]).await;
    for project in ["erp", "website"] {
        team.project("anton", project).await.expect("created");
    }
    team
}

#[test]
fn every_rule_is_shown_or_is_not_rosters() {
    assert_no_rule_is_forgotten("oec-sh", include_str!("oec_sh.rs"), RULES);
}

#[tokio::test]
async fn the_daily_life_of_a_consultancy() {
    // Olga's Anton builds the team; Daria makes the projects she works on.
    let team = Team::found("oec-sh", "", "olga").await;
    team.hire("olga", "anton", &["admin"]).await;
    team.hire("anton", "daria", &["developer"]).await;
    team.hire("anton", "viktor", &["viewer"]).await;
    team.project("daria", "erp").await.expect("a developer may");
    team.project("anton", "website").await.expect("created");
    is(team.project("viktor", "x").await, DENIED.0, DENIED.1);
    assert!(team.may_in("daria", "DeployEnvironments", "erp").await);
    assert!(!team.may_in("daria", "DeleteEnvironments", "erp").await);
    assert!(team.may_in("viktor", "ViewLogsAndMonitoring", "erp").await);
    assert!(!team.may_in("viktor", "DeployEnvironments", "erp").await);

    // A client's people: Petra runs the ERP project and puts Pavel on it.
    team.hire("anton", "petra", &[]).await;
    team.hire("anton", "pavel", &[]).await;
    assert!(!team.may_in("petra", "ViewEnvironments", "erp").await);
    let set = team
        .project_roles("anton", "erp", "petra", &["project-admin"])
        .await;
    set.expect("chosen from the members");
    assert!(team.may_in("petra", "ManageProjectMembers", "erp").await);
    assert!(!team.may_in("petra", "ViewEnvironments", "website").await);
    let set = team
        .project_roles("petra", "erp", "pavel", &["project-developer"])
        .await;
    set.expect("a project admin may");
    is(
        team.project_roles("petra", "website", "pavel", &["project-developer"])
            .await,
        DENIED.0,
        DENIED.1,
    );
    assert!(team.may_in("pavel", "DeployEnvironments", "erp").await);
    assert!(!team.may_in("pavel", "DeployEnvironments", "website").await);
    assert!(!team.may_in("pavel", "DeleteEnvironments", "erp").await);

    // Viktor learns to deploy, by promotion; Daria gets a token for the pipeline.
    team.set_roles("anton", "viktor", &["developer"])
        .await
        .expect("promoted");
    assert!(team.may_in("viktor", "DeployEnvironments", "website").await);
    let secret = team.token("daria").await.expect("a token").secret;
    assert!(
        team.token_may(&secret, "DeployEnvironments", ("Project", "erp"))
            .await
    );

    // Those on standby are a group with the ERP project.
    let group = v1::CreateGroupRequest {
        organization: ACME.to_owned(),
        group_id: "standby".to_owned(),
        display_name: "Standby".to_owned(),
        ..Default::default()
    };
    team.daemon
        .groups()
        .create_group(by("anton", group))
        .await
        .expect("created");
    let gives = v1::SetGroupProjectRolesRequest {
        organization: ACME.to_owned(),
        group: "standby".to_owned(),
        project: "website".to_owned(),
        roles: vec!["project-developer".to_owned()],
        ..Default::default()
    };
    let set = team
        .daemon
        .groups()
        .set_group_project_roles(by("anton", gives))
        .await;
    set.expect("set");
    let add = v1::AddGroupMemberRequest {
        organization: ACME.to_owned(),
        group: "standby".to_owned(),
        user: "pavel".to_owned(),
        ..Default::default()
    };
    team.daemon
        .groups()
        .add_group_member(by("anton", add))
        .await
        .expect("added");
    assert!(team.may_in("pavel", "DeployEnvironments", "website").await);

    // Olga can't hand over; the platform does, on her word.
    is(
        team.daemon.hand_over(ACME, Some("olga"), "anton").await,
        DENIED.0,
        DENIED.1,
    );
    team.daemon
        .hand_over(ACME, None, "anton")
        .await
        .expect("by the platform");
    assert!(team.may("anton", "ManageBilling").await);
    assert!(!team.may("olga", "ManageBilling").await);
    assert!(team.may("olga", "ManageServers").await);

    // Daria is suspended, reinstated, removed; Pavel leaves by himself.
    team.suspend("olga", "daria").await.expect("suspended");
    assert!(!team.may_in("daria", "ViewEnvironments", "erp").await);
    assert!(
        !team
            .token_may(&secret, "DeployEnvironments", ("Project", "erp"))
            .await
    );
    team.reinstate("olga", "daria").await.expect("reinstated");
    assert!(team.may_in("daria", "ViewEnvironments", "erp").await);
    team.remove("olga", "daria").await.expect("removed");
    assert!(!team.may_in("daria", "ViewEnvironments", "erp").await);
    team.leave("pavel").await.expect("left");
    assert!(!team.may_in("pavel", "DeployEnvironments", "website").await);

    let story = [
        "platform CreateOrganization Organization",
        "olga CreateInvitation Invitation",
        "anton AcceptInvitation anton",
        "anton CreateInvitation Invitation",
        "daria AcceptInvitation daria",
        "anton CreateInvitation Invitation",
        "viktor AcceptInvitation viktor",
        "daria CreateProject erp",
        "anton CreateProject website",
        "viktor CreateProject Organization: PERMISSION_DENIED",
        "anton CreateInvitation Invitation",
        "petra AcceptInvitation petra",
        "anton CreateInvitation Invitation",
        "pavel AcceptInvitation pavel",
        "anton SetProjectRoles petra",
        "petra SetProjectRoles pavel",
        "petra SetProjectRoles website: PERMISSION_DENIED",
        "anton SetMemberRoles viktor",
        "daria CreateToken Token",
        "anton CreateGroup standby",
        "anton SetGroupProjectRoles standby",
        "anton AddGroupMember pavel",
        "olga TransferOwnership anton: PERMISSION_DENIED",
        "platform TransferOwnership Organization",
        "olga SuspendMember daria",
        "olga ReinstateMember daria",
        "olga RemoveMember daria",
        "pavel LeaveOrganization pavel",
    ];
    assert_eq!(team.story("olga").await, story);
    for stranger in ["petra", "viktor"] {
        let read = team
            .try_events(stranger, v1::ListEventsRequest::default())
            .await;
        is(read, DENIED.0, DENIED.1);
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_owners() {
    let team = team().await;
    team.assert_one_owner("olga", "anton", "developer").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_transfer() {
    // By the platform only.
    let team = team().await;
    for user in ["olga", "anton"] {
        is(
            team.daemon.hand_over(ACME, Some(user), "anton").await,
            DENIED.0,
            DENIED.1,
        );
        is(team.offer(user, "anton").await, DENIED.0, DENIED.1);
    }
    team.daemon
        .hand_over(ACME, None, "daria")
        .await
        .expect("by the platform");
    assert_eq!(team.daemon.owner_of(ACME).await, "daria");
    assert_eq!(team.member("olga").await.roles, ["admin"]);
    team.stop().await;
}

#[tokio::test]
async fn rule_self_role_change() {
    let team = team().await;
    for role in ["viewer", "admin"] {
        let code = Code::PermissionDenied;
        let attempt = team.set_roles("anton", "anton", &[role]).await;
        assert_eq!(attempt.expect_err("one's own").code(), code);
        let attempt = team.set_roles("daria", "daria", &[role]).await;
        is(attempt, DENIED.0, DENIED.1);
    }
    assert_eq!(team.member("anton").await.roles, ["admin"]);
    team.hire("olga", "alma", &["admin"]).await;
    team.set_roles("alma", "anton", &["developer"])
        .await
        .expect("another's");
    team.stop().await;
}

#[tokio::test]
async fn rule_custom_roles() {
    // There are none, for anybody.
    let team = team().await;
    for actor in ["olga", "anton", PLATFORM] {
        let attempt = team.role(actor, "deployer", &["DeployEnvironments"]).await;
        let refused = attempt.expect_err("no custom roles");
        assert!(
            matches!(
                refused.code(),
                Code::PermissionDenied | Code::FailedPrecondition
            ),
            "{refused:?}"
        );
        team.edit_role(actor, "viewer", &["DeployEnvironments"])
            .await
            .expect_err("built in");
    }
    assert!(!team.may("olga", "CreateRole").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_audit() {
    // Who, what, when.
    let team = team().await;
    team.at(HOUR);
    team.set_roles("anton", "daria", &["viewer"])
        .await
        .expect("set");
    let request = v1::ListEventsRequest {
        outcome: EventOutcome::Done.into(),
        ..Default::default()
    };
    let event = team.events("olga", request).await.remove(0);
    assert_eq!(event.actor, "anton");
    assert_eq!(
        (event.action.as_str(), event.target_id.as_str()),
        ("SetMemberRoles", "daria")
    );
    assert_eq!(event.effect(), EventEffect::Updated);
    assert_eq!(event.time, after(HOUR));
    assert_eq!(detail(&event, "before"), Some("developer"));
    assert_eq!(detail(&event, "after"), Some("viewer"));
    team.stop().await;
}

#[tokio::test]
async fn rule_many_organizations_per_user() {
    let team = team().await;
    team.assert_many_organizations("oec-sh", "daria", "ManageBilling")
        .await;
    team.remove("anton", "daria").await.expect("removed");
    assert_eq!(team.organizations_of("daria").await, ["other"]);
    team.stop().await;
}

#[tokio::test]
async fn rule_removal() {
    // Access ends at once; what the member left behind stays.
    let team = team().await;
    let environment = ("Environment", "erp-staging");
    team.register("anton", environment, "daria")
        .await
        .expect("registered");
    let token = team.token("daria").await.expect("a token").secret;
    assert!(
        team.may_on("daria", "DeployEnvironments", environment)
            .await
    );
    team.remove("anton", "daria").await.expect("removed");
    assert!(
        !team
            .may_on("daria", "DeployEnvironments", environment)
            .await
    );
    assert!(
        !team
            .token_may(&token, "DeployEnvironments", environment)
            .await
    );
    let request = v1::GetResourceRequest {
        organization: ACME.to_owned(),
        r#type: environment.0.to_owned(),
        id: environment.1.to_owned(),
        ..Default::default()
    };
    let kept = team.daemon.resources().get_resource(request).await;
    kept.expect("the environment is still there");
    // Coming back brings nothing back.
    team.hire("anton", "daria", &[]).await;
    assert!(
        !team
            .may_on("daria", "DeployEnvironments", environment)
            .await
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_project_roles() {
    // Chosen from organization members; a developer reaches only specific projects.
    let team = team().await;
    let set = team
        .project_roles("anton", "erp", "stranger", &["project-developer"])
        .await;
    is(set, Code::NotFound, "NOT_FOUND");
    team.hire("anton", "pavel", &[]).await;
    let set = team
        .project_roles("anton", "erp", "pavel", &["project-developer"])
        .await;
    set.expect("a member");
    for action in ["ViewEnvironments", "DeployEnvironments", "CreateBackups"] {
        assert!(team.may_in("pavel", action, "erp").await, "{action}");
        assert!(!team.may_in("pavel", action, "website").await, "{action}");
    }
    assert!(!team.may("pavel", "ManageServers").await);
    // A member can also be invited right onto a project.
    let onto = v1::NewInvitation {
        project_roles: vec![v1::ProjectRoles {
            project: "website".to_owned(),
            roles: vec!["project-developer".to_owned()],
            ..Default::default()
        }],
        ..super::invitation("paula", &[])
    };
    let sent = team.try_invite("anton", onto).await.expect("sent");
    team.join(&sent.token, "paula").await;
    assert!(team.may_in("paula", "DeployEnvironments", "website").await);
    assert!(!team.may_in("paula", "DeployEnvironments", "erp").await);
    team.stop().await;
}
