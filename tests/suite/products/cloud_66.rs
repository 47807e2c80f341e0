//! Cloud 66: an account whose applications each have their own people, with check
//! boxes for the account beside them.

use roster::proto::v1;
use tonic::Code;
use v1::{Level, NotificationKind};

use super::{
    ACME, DAY, DENIED, HOUR, PLATFORM, Shown, Team, address, assert_no_rule_is_forgotten, by,
    invitation, is,
};
use crate::attacks::accept;

const RULES: &[(&str, Shown)] = &[
    ("user_types", Shown::By(&["rule_user_types"])),
    ("no_role", Shown::By(&["rule_no_role"])),
    (
        "account_and_application_permissions",
        Shown::By(&["rule_account_and_application_permissions"]),
    ),
    ("default_roles", Shown::By(&["rule_default_roles"])),
    (
        "default_role_definitions",
        Shown::By(&["rule_default_role_definitions"]),
    ),
    ("role_edit", Shown::By(&["rule_role_edit"])),
    ("implied", Shown::By(&["rule_implied"])),
    ("administrator", Shown::By(&["rule_administrator"])),
    ("owner", Shown::By(&["rule_owner"])),
    ("groups.fields", Shown::By(&["rule_groups_fields"])),
    ("groups.several", Shown::By(&["rule_groups_several"])),
    ("groups.delete", Shown::By(&["rule_groups_delete"])),
    ("invitation", Shown::By(&["rule_invitation"])),
    ("team_name_first", Shown::By(&["rule_team_name_first"])),
    (
        "invoice_copies",
        Shown::NotRosters(
            "Who gets copies of invoices is billing's list of addresses; none of them is a user.",
        ),
    ),
    ("leave", Shown::By(&["rule_leave"])),
    (
        "many_organizations_per_user",
        Shown::By(&["rule_many_organizations_per_user"]),
    ),
];

const CHECK_BOXES: [&str; 4] = [
    "ManageUsers",
    "ManageCloudProviders",
    "ManageNotifications",
    "ChangeBillingInformation",
];

/// Olivia's account with two applications, and Mary, who manages users and is
/// Administrator of every application.
async fn team() -> Team {
    let team = Team::found("cloud-66", "", "olivia").await;
    team.hire("olivia", "mary", &["manage-users"]).await;
    for application in ["shop", "blog"] {
        team.project("olivia", application).await.expect("created");
    }
    team.default_roles("olivia", "mary", &["administrator"])
        .await
        .expect("set");
    team.copy_default_roles("olivia", "mary")
        .await
        .expect("copied");
    team
}

/// An invitation onto one application.
fn onto(application: &str, user: &str, role: &str) -> v1::NewInvitation {
    v1::NewInvitation {
        project_roles: vec![v1::ProjectRoles {
            project: application.to_owned(),
            roles: vec![role.to_owned()],
            ..Default::default()
        }],
        ..invitation(user, &[])
    }
}

async fn hire_onto(team: &Team, application: &str, user: &str, role: &str) {
    let sent = team.try_invite("mary", onto(application, user, role)).await;
    team.join(&sent.expect("sent").token, user).await;
}

async fn group(team: &Team, id: &str, seconds: Option<i64>) -> v1::Group {
    let request = v1::CreateGroupRequest {
        organization: ACME.to_owned(),
        group_id: id.to_owned(),
        display_name: format!("The {id}"),
        description: "Whose tokens end".to_owned(),
        max_token_age: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let created = team.daemon.groups().create_group(by("mary", request)).await;
    created
        .expect("created")
        .into_inner()
        .group
        .expect("the group")
}

async fn put_into(team: &Team, group: &str, user: &str) {
    let request = v1::AddGroupMemberRequest {
        organization: ACME.to_owned(),
        group: group.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    let added = team
        .daemon
        .groups()
        .add_group_member(by("mary", request))
        .await;
    added.expect("added");
}

/// A developer of the shop who may make tokens, and one of their tokens.
async fn with_token(team: &Team) -> String {
    hire_onto(team, "shop", "dora", "developer").await;
    team.set_roles("olivia", "dora", &["api-tokens"])
        .await
        .expect("checked");
    team.token("dora").await.expect("a token").secret
}

async fn deploys(team: &Team, secret: &str) -> bool {
    team.token_may(secret, "DeployApp", ("Project", "shop"))
        .await
}

#[test]
fn every_rule_is_shown_or_is_not_rosters() {
    assert_no_rule_is_forgotten("cloud-66", include_str!("cloud_66.rs"), RULES);
}

#[tokio::test]
async fn the_daily_life_of_a_web_agency() {
    // Olivia names her account, makes applications, and lets Mary look after people.
    let team = Team::found("cloud-66", "", "olivia").await;
    team.project("olivia", "shop").await.expect("created");
    team.hire("olivia", "mary", &["manage-users"]).await;
    assert!(!team.may_in("mary", "ViewApp", "shop").await);
    let beyond = team
        .try_invite("mary", onto("shop", "dan", "deployer"))
        .await;
    is(beyond, Code::PermissionDenied, "EXCEEDS_GRANTOR");

    // Nobody gives what they don't have: so Olivia makes Mary an Administrator of all
    // applications, those to come as well.
    team.default_roles("olivia", "mary", &["administrator"])
        .await
        .expect("set");
    team.copy_default_roles("olivia", "mary")
        .await
        .expect("copied");
    assert!(team.may_in("mary", "ViewApp", "shop").await);

    // Mary takes Dan on as the shop's Deployer, Olivia takes Fiona for the bills.
    hire_onto(&team, "shop", "dan", "deployer").await;
    team.hire("olivia", "fiona", &["finance"]).await;
    assert!(team.may_in("dan", "DeployApp", "shop").await);
    assert!(!team.may_in("dan", "EditApp", "shop").await);
    assert!(team.may("fiona", "ViewPaymentPage").await);
    assert!(!team.may_in("fiona", "ViewApp", "shop").await);

    // Dan is promoted on the shop, and sees whatever comes.
    team.project_roles("mary", "shop", "dan", &["developer"])
        .await
        .expect("promoted");
    assert!(team.may_in("dan", "EditApp", "shop").await);
    team.default_roles("mary", "dan", &["viewer"])
        .await
        .expect("set");
    team.project("olivia", "docs").await.expect("created");
    assert!(team.may_in("dan", "ViewApp", "docs").await);
    assert!(!team.may_in("dan", "DeployApp", "docs").await);

    // With the check box he makes a token, which his group lets live for a day.
    team.set_roles("olivia", "dan", &["api-tokens"])
        .await
        .expect("checked");
    group(&team, "contractors", Some(DAY / 1_000)).await;
    put_into(&team, "contractors", "dan").await;
    let secret = team.token("dan").await.expect("a token").secret;
    assert!(deploys(&team, &secret).await);
    team.at(DAY);
    assert!(!deploys(&team, &secret).await);

    // The account passes to Mary in two steps.
    team.offer("olivia", "mary").await.expect("offered");
    team.daemon.accept(ACME, "mary").await.expect("accepted");
    assert_eq!(team.daemon.owner_of(ACME).await, "mary");
    assert!(team.may("olivia", "ManageUsers").await);
    assert!(!team.may_in("olivia", "ViewApp", "shop").await);

    // Dan is suspended, reinstated and removed; Fiona leaves.
    team.suspend("mary", "dan").await.expect("suspended");
    assert!(!team.may_in("dan", "ViewApp", "shop").await);
    team.reinstate("mary", "dan").await.expect("reinstated");
    assert!(team.may_in("dan", "EditApp", "shop").await);
    team.remove("mary", "dan").await.expect("removed");
    assert!(!team.may_in("dan", "ViewApp", "shop").await);
    team.leave("fiona").await.expect("left");
    assert!(!team.may("fiona", "ViewPaymentPage").await);

    let story = [
        "platform CreateOrganization Organization",
        "olivia CreateProject shop",
        "olivia CreateInvitation Invitation",
        "mary AcceptInvitation mary",
        "mary CreateInvitation Organization: EXCEEDS_GRANTOR",
        "olivia SetDefaultRoles mary",
        "olivia CopyDefaultRoles mary",
        "mary CreateInvitation Invitation",
        "dan AcceptInvitation dan",
        "olivia CreateInvitation Invitation",
        "fiona AcceptInvitation fiona",
        "mary SetProjectRoles dan",
        "mary SetDefaultRoles dan",
        "olivia CreateProject docs",
        "olivia SetMemberRoles dan",
        "mary CreateGroup contractors",
        "mary AddGroupMember dan",
        "dan CreateToken Token",
        "olivia InitiateTransfer Organization",
        "mary AcceptTransfer Organization",
        "mary SuspendMember dan",
        "mary ReinstateMember dan",
        "mary RemoveMember dan",
        "fiona LeaveOrganization fiona",
    ];
    assert_eq!(team.story("olivia").await, story);
    let stranger = team
        .try_events("stranger", v1::ListEventsRequest::default())
        .await;
    is(stranger, DENIED.0, DENIED.1);
    team.stop().await;
}

#[tokio::test]
async fn rule_user_types() {
    // Finance, application, service account.
    let team = team().await;
    team.hire("olivia", "fiona", &["finance"]).await;
    hire_onto(&team, "shop", "dan", "deployer").await;
    let robot = v1::CreateServiceAccountRequest {
        organization: ACME.to_owned(),
        service_account_id: "robot".to_owned(),
        display_name: "Robot".to_owned(),
        ..Default::default()
    };
    let created = team
        .daemon
        .service_accounts()
        .create_service_account(by("olivia", robot))
        .await;
    created.expect("created");
    team.project_roles("olivia", "blog", "robot", &["deployer"])
        .await
        .expect("set");
    let cases = [
        ("fiona", [true, false, false]),
        ("dan", [false, true, false]),
        ("robot", [false, false, true]),
    ];
    for (user, expected) in cases {
        let found = [
            team.may(user, "ViewPaymentPage").await,
            team.may_in(user, "DeployApp", "shop").await,
            team.may_in(user, "DeployApp", "blog").await,
        ];
        assert_eq!(found, expected, "{user}");
    }
    let people = team.people("mary").await;
    assert!(people.iter().all(|one| one.user != "robot"), "no person");
    team.stop().await;
}

#[tokio::test]
async fn rule_no_role() {
    // No access to that application.
    let team = team().await;
    hire_onto(&team, "shop", "dan", "viewer").await;
    let power = team.read_role("power-user").await.effective_actions;
    assert!(power.len() > 30);
    for action in &power {
        assert!(!team.may_in("dan", action, "blog").await, "{action}");
    }
    team.project_roles("mary", "shop", "dan", &[])
        .await
        .expect("none");
    assert!(!team.may_in("dan", "ViewApp", "shop").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_account_and_application_permissions() {
    // Independent of each other.
    let team = team().await;
    hire_onto(&team, "shop", "adam", "administrator").await;
    for action in CHECK_BOXES {
        assert!(!team.may("adam", action).await, "{action}");
    }
    for (box_, own) in [
        ("manage-users", CHECK_BOXES[0]),
        ("manage-cloud-providers", CHECK_BOXES[1]),
        ("manage-notifications", CHECK_BOXES[2]),
        ("finance", CHECK_BOXES[3]),
    ] {
        let user = format!("user-{box_}");
        team.hire("olivia", &user, &[box_]).await;
        for action in CHECK_BOXES {
            assert_eq!(
                team.may(&user, action).await,
                action == own,
                "{user} {action}"
            );
        }
        assert!(!team.may_in(&user, "ViewApp", "shop").await, "{user}");
    }
    team.set_roles("olivia", "adam", &["manage-cloud-providers", "finance"])
        .await
        .expect("both");
    assert!(team.may("adam", "ManageCloudProviders").await);
    assert!(team.may("adam", "ViewPaymentPage").await);
    assert!(team.may_in("adam", "AppAdmin", "shop").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_default_roles() {
    // Copied to all applications in one step, then also for every new one; a later
    // role on one application wins until they are copied again.
    let team = team().await;
    hire_onto(&team, "shop", "dan", "viewer").await;
    team.default_roles("mary", "dan", &["deployer"])
        .await
        .expect("set");
    assert!(!team.may_in("dan", "DeployApp", "blog").await, "not yet");
    team.copy_default_roles("mary", "dan")
        .await
        .expect("copied");
    team.project("olivia", "docs").await.expect("created");
    for application in ["shop", "blog", "docs"] {
        assert!(
            team.may_in("dan", "DeployApp", application).await,
            "{application}"
        );
    }
    team.project_roles("mary", "shop", "dan", &["viewer"])
        .await
        .expect("set");
    assert!(!team.may_in("dan", "DeployApp", "shop").await);
    assert!(team.may_in("dan", "DeployApp", "blog").await);
    team.copy_default_roles("mary", "dan")
        .await
        .expect("copied again");
    assert!(team.may_in("dan", "DeployApp", "shop").await);
    is(
        team.copy_default_roles("dan", "dan").await,
        DENIED.0,
        DENIED.1,
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_default_role_definitions() {
    // Editable and resettable; custom roles can be created.
    let team = team().await;
    hire_onto(&team, "shop", "dan", "deployer").await;
    let edited = team
        .edit_role("olivia", "deployer", &["ViewApp"])
        .await
        .expect("edited");
    assert!(edited.built_in && edited.edited);
    assert!(!team.may_in("dan", "DeployApp", "shop").await);
    let reset = v1::ResetRoleRequest {
        organization: ACME.to_owned(),
        role: "deployer".to_owned(),
        ..Default::default()
    };
    let reset = team.daemon.roles().reset_role(by("olivia", reset)).await;
    let reset = reset.expect("reset").into_inner().role.expect("the role");
    assert!(reset.built_in && !reset.edited);
    assert!(team.may_in("dan", "DeployApp", "shop").await);
    team.role("olivia", "scaler", &["ScaleStack"])
        .await
        .expect("created");
    team.project_roles("mary", "shop", "dan", &["scaler"])
        .await
        .expect("set");
    assert!(team.may_in("dan", "ScaleStack", "shop").await);
    assert!(!team.may_in("dan", "DeployApp", "shop").await);
    // A role may come to be held on any application, also on those that one has no
    // part in: who manages users defines such as are within their own rights.
    let beyond = team.edit_role("mary", "scaler", &["ViewApp"]).await;
    is(beyond, Code::PermissionDenied, "EXCEEDS_GRANTOR");
    team.role("mary", "helper", &["InviteMember"])
        .await
        .expect("within");
    team.stop().await;
}

#[tokio::test]
async fn rule_role_edit() {
    // Changes every holder at once, wherever and however they hold it.
    let team = team().await;
    hire_onto(&team, "shop", "dan", "viewer").await;
    hire_onto(&team, "blog", "vera", "viewer").await;
    team.default_roles("mary", "vera", &["viewer"])
        .await
        .expect("set");
    team.project("olivia", "docs").await.expect("created");
    let holders = [("dan", "shop"), ("vera", "blog"), ("vera", "docs")];
    for (user, application) in holders {
        assert!(!team.may_in(user, "ScaleStack", application).await);
    }
    team.edit_role("olivia", "viewer", &["ScaleStack"])
        .await
        .expect("edited");
    for (user, application) in holders {
        assert!(team.may_in(user, "ScaleStack", application).await, "{user}");
        assert!(
            !team.may_in(user, "ViewLiveLogs", application).await,
            "{user}"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_implied() {
    // Deploy implies view, Edit X implies View X, App Admin implies every row.
    let team = team().await;
    let effective = async |id: &str, action: &str| {
        let role = team.role("olivia", id, &[action]).await;
        role.expect("created").effective_actions
    };
    let deploy = effective("deploy-only", "DeployApp").await;
    assert!(deploy.contains(&"ViewApp".to_owned()), "{deploy:?}");
    let power = team.read_role("power-user").await.effective_actions;
    let mut pairs = 0;
    for (number, view) in power.iter().enumerate() {
        let edit = view.replacen("View", "Edit", 1);
        if edit == *view || !power.contains(&edit) {
            continue;
        }
        pairs += 1;
        let implied = effective(&format!("edit-{number}"), &edit).await;
        assert!(implied.contains(view), "{edit} implies {view}: {implied:?}");
    }
    assert!(pairs >= 7, "{pairs}");
    let all = effective("all", "AppAdmin").await;
    for action in &power {
        assert!(all.contains(action), "App Admin implies {action}");
    }
    // It also holds of the answers, not of the lists only.
    hire_onto(&team, "shop", "dan", "viewer").await;
    team.project_roles("olivia", "shop", "dan", &["all"])
        .await
        .expect("set");
    for action in &power {
        assert!(team.may_in("dan", action, "shop").await, "{action}");
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_administrator() {
    // A wildcard: whatever a later version of the catalog adds for applications too.
    let team = team().await;
    let permissions = team.read_role("administrator").await.permissions;
    let permissions = permissions.expect("permissions");
    assert_eq!(permissions.every, [i32::from(Level::Project)]);
    assert!(permissions.actions.is_empty());
    let fixed = team.read_role("power-user").await.permissions;
    assert!(fixed.expect("permissions").every.is_empty());
    hire_onto(&team, "shop", "adam", "administrator").await;
    let request = v1::GetCatalogRequest {
        catalog: "cloud-66".to_owned(),
    };
    let catalog = team.daemon.policies().get_catalog(request).await;
    let catalog = catalog.expect("it").into_inner().catalog.expect("it");
    let on_project = |action: &&v1::Action| {
        action.level() == Level::Project && action.resource_types.iter().any(|one| one == "Project")
    };
    let mut asked = 0;
    for action in catalog.actions.iter().filter(on_project) {
        assert!(
            team.may_in("adam", &action.id, "shop").await,
            "{}",
            action.id
        );
        assert!(
            !team.may_in("adam", &action.id, "blog").await,
            "{}",
            action.id
        );
        asked += 1;
    }
    assert!(asked > 31, "{asked}");
    team.stop().await;
}

#[tokio::test]
async fn rule_owner() {
    // Always the maximum on all applications, without any role.
    let team = team().await;
    team.project("olivia", "docs").await.expect("created");
    let power = team.read_role("power-user").await.effective_actions;
    for application in ["shop", "blog", "docs"] {
        for action in &power {
            assert!(team.may_in("olivia", action, application).await, "{action}");
        }
    }
    let olivia = team.member("olivia").await;
    assert!(olivia.roles.is_empty() && olivia.project_roles.is_empty());
    let given = team
        .project_roles(PLATFORM, "shop", "olivia", &["viewer"])
        .await;
    is(given, Code::FailedPrecondition, "OWNER_PROTECTED");
    team.stop().await;
}

#[tokio::test]
async fn rule_groups_fields() {
    // Name, description, members, token expiry; empty means never.
    let team = team().await;
    let secret = with_token(&team).await;
    let limited = group(&team, "contractors", Some(HOUR / 1_000)).await;
    assert_eq!(limited.display_name, "The contractors");
    assert_eq!(limited.description, "Whose tokens end");
    let seconds = limited.max_token_age.map(|age| age.seconds);
    assert_eq!(seconds, Some(HOUR / 1_000));
    assert_eq!(group(&team, "staff", None).await.max_token_age, None);
    put_into(&team, "staff", "dora").await;
    let request = v1::ListGroupMembersRequest {
        organization: ACME.to_owned(),
        group: "staff".to_owned(),
        ..Default::default()
    };
    let listed = team
        .daemon
        .groups()
        .list_group_members(by("mary", request))
        .await;
    let members = listed.expect("a page").into_inner().members;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].user, "dora");
    team.at(1_000 * DAY);
    assert!(deploys(&team, &secret).await, "never");
    team.stop().await;
}

#[tokio::test]
async fn rule_groups_several() {
    // The shortest expiry counts.
    let team = team().await;
    let secret = with_token(&team).await;
    for (id, seconds) in [
        ("long", Some(2 * DAY / 1_000)),
        ("short", Some(HOUR / 1_000)),
        ("never", None),
    ] {
        group(&team, id, seconds).await;
        put_into(&team, id, "dora").await;
    }
    team.at(HOUR - 1);
    assert!(deploys(&team, &secret).await);
    team.at(HOUR);
    assert!(!deploys(&team, &secret).await);
    team.stop().await;
}

#[tokio::test]
async fn rule_groups_delete() {
    // Removes only its limit.
    let team = team().await;
    let secret = with_token(&team).await;
    group(&team, "short", Some(HOUR / 1_000)).await;
    put_into(&team, "short", "dora").await;
    let request = v1::DeleteGroupRequest {
        organization: ACME.to_owned(),
        group: "short".to_owned(),
        ..Default::default()
    };
    team.daemon
        .groups()
        .delete_group(by("mary", request))
        .await
        .expect("deleted");
    team.at(DAY);
    assert!(deploys(&team, &secret).await, "the token is still there");
    assert!(
        team.may_in("dora", "DeployApp", "shop").await,
        "and the member"
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_invitation() {
    // Whoever is invited is told of it, with or without an account elsewhere; to
    // accept one needs an account, for finance as well.
    let team = team().await;
    team.found_another("other", "cloud-66", "", "fiona").await;
    let (_, link) = team.invite("olivia", "fiona", &["finance"]).await;
    let told = team.notices().await.pop().expect("a notice");
    assert_eq!(told, (NotificationKind::Invitation, address("fiona")));
    let nobody = accept(&link, "", &address("fiona"));
    let nobody = team.daemon.invitations().accept_invitation(nobody).await;
    is(nobody, Code::InvalidArgument, "INVALID");
    assert!(!team.may("fiona", "ViewPaymentPage").await);
    team.join(&link, "fiona").await;
    assert!(team.may("fiona", "ViewPaymentPage").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_team_name_first() {
    // No account without a name, so there is one before the first invitation.
    let team = team().await;
    let nameless = v1::CreateOrganizationRequest {
        organization_id: "nameless".to_owned(),
        catalog: "cloud-66".to_owned(),
        owner: "olivia".to_owned(),
        ..Default::default()
    };
    let refused = team
        .daemon
        .organizations()
        .create_organization(nameless)
        .await;
    let refused = refused.expect_err("a name is needed");
    assert_eq!(crate::harness::violations(&refused)[0].0, "display_name");
    team.stop().await;
}

#[tokio::test]
async fn rule_leave() {
    let team = team().await;
    hire_onto(&team, "shop", "dan", "deployer").await;
    is(
        team.leave("olivia").await,
        Code::FailedPrecondition,
        "OWNER_PROTECTED",
    );
    team.leave("dan").await.expect("left");
    assert!(!team.may_in("dan", "ViewApp", "shop").await);
    assert!(team.organizations_of("dan").await.is_empty());
    assert_eq!(team.daemon.owner_of(ACME).await, "olivia");
    team.stop().await;
}

#[tokio::test]
async fn rule_many_organizations_per_user() {
    let team = team().await;
    hire_onto(&team, "shop", "dan", "deployer").await;
    team.assert_many_organizations("cloud-66", "dan", "ManageUsers")
        .await;
    team.stop().await;
}
