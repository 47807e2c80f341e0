//! Hypervisor.io: an agency's account, with 43 permissions in 16 service groups,
//! custom roles and overrides in single projects.

use std::collections::BTreeSet;

use roster::proto::v1;
use serde_json::Value as Json;
use tonic::{Code, Status};
use v1::{EventEffect, EventSource, InvitationStatus};

use super::{
    ACME, DENIED, HOUR, PLATFORM, Shown, Team, address, after, assert_no_rule_is_forgotten,
    bearing, detail, invitation, is, permissions,
};
use crate::harness::{in_project, owned_by, question, violations};

const RULES: &[(&str, Shown)] = &[
    ("owners", Shown::By(&["rule_owners"])),
    (
        "invitation_ttl_hours",
        Shown::By(&["rule_invitation_ttl_hours"]),
    ),
    ("invitation_link", Shown::By(&["rule_invitation_link"])),
    ("resend", Shown::By(&["rule_resend"])),
    ("remove", Shown::By(&["rule_remove"])),
    ("edit_role", Shown::By(&["rule_edit_role"])),
    ("custom_roles.name", Shown::By(&["rule_custom_roles"])),
    (
        "custom_roles.description",
        Shown::By(&["rule_custom_roles"]),
    ),
    (
        "custom_roles.permissions",
        Shown::By(&["rule_custom_roles_permissions"]),
    ),
    (
        "project_override.semantics",
        Shown::By(&["rule_project_override"]),
    ),
    (
        "project_override.removable",
        Shown::By(&["rule_project_override_removable"]),
    ),
    (
        "project_override.account_level_groups",
        Shown::By(&["rule_project_override_account_level"]),
    ),
    (
        "project_override.account_level_in_override",
        Shown::By(&["rule_project_override_account_level"]),
    ),
    (
        "project_override.owner",
        Shown::By(&["rule_project_override_owner"]),
    ),
    (
        "project_override.example",
        Shown::By(&["rule_project_override_example"]),
    ),
    ("api_tokens", Shown::By(&["rule_api_tokens"])),
    ("audit", Shown::By(&["rule_audit"])),
    ("resource_scoping", Shown::By(&["rule_resource_scoping"])),
];

const ORGANIZATION: (&str, &str) = ("Organization", ACME);
const INSTANCE: (&str, &str) = ("Instance", "vm-1");

/// Otto's account with Ada as Admin, Vic as Viewer, and two projects.
async fn team() -> Team {
    let team = Team::found("hypervisor-io", "", "otto").await;
    team.hire("otto", "ada", &["admin"]).await;
    team.hire("ada", "vic", &["viewer"]).await;
    for project in ["development", "production"] {
        team.project("ada", project).await.expect("created");
    }
    team
}

/// Whether a user may do something to an instance in a project.
async fn may_vm(team: &Team, user: &str, action: &str, project: &str) -> bool {
    let asked = question(ACME, user, action, INSTANCE.0, INSTANCE.1);
    team.daemon.allows(in_project(asked, project)).await
}

/// The 43 permissions, as the cells of the product's table name them.
fn forty_three() -> Vec<String> {
    let text = include_str!("../../fixtures/cells/hypervisor-io.json");
    let cells: Json = serde_json::from_str(text).expect("JSON");
    let tables = cells["tables"].as_array().expect("tables");
    let rows = tables.iter().flat_map(|table| table["rows"].as_array());
    let requests = rows.flatten().flat_map(|row| row["requests"].as_array());
    let actions = requests.flatten().map(|request| {
        let action = request["action"].as_str();
        action.expect("an action").to_owned()
    });
    let catalog = include_str!("../../../policies/hypervisor-io/catalog.toml");
    let named: BTreeSet<String> = actions
        .filter(|action| catalog.contains(&format!("\n{action} = {{ title = ")))
        .collect();
    named.into_iter().collect()
}

#[test]
fn every_rule_is_shown_or_is_not_rosters() {
    assert_no_rule_is_forgotten("hypervisor-io", include_str!("hypervisor_io.rs"), RULES);
}

#[tokio::test]
async fn the_daily_life_of_an_agency() {
    // Otto opens the account; Ada runs it and makes two projects.
    let team = Team::found("hypervisor-io", "", "otto").await;
    team.hire("otto", "ada", &["admin"]).await;
    for project in ["development", "production"] {
        team.project("ada", project).await.expect("created");
    }

    // A client looks on as Viewer. Dev's first link is lost and sent again.
    team.hire("ada", "vic", &["viewer"]).await;
    let (dev, lost) = team.invite("ada", "dev", &["viewer"]).await;
    let link = team.resend("ada", &dev).await.expect("sent again");
    assert_ne!(link, lost);
    team.join(&link, "dev").await;
    assert!(may_vm(&team, "dev", "InstancesView", "production").await);
    assert!(!may_vm(&team, "dev", "InstancesManage", "development").await);
    is(team.project("dev", "playground").await, DENIED.0, DENIED.1);

    // Dev becomes a Developer, a role of Ada's own making.
    let actions = [
        "InstancesView",
        "InstancesManage",
        "DatabasesView",
        "ProjectsView",
    ];
    team.role("ada", "developer", &actions)
        .await
        .expect("created");
    team.set_roles("ada", "dev", &["developer"])
        .await
        .expect("promoted");
    assert!(may_vm(&team, "dev", "InstancesManage", "production").await);

    // Operator on Development, Viewer on Production.
    team.replace("ada", "development", "dev", &["operator"], &[])
        .await
        .expect("up");
    team.replace("ada", "production", "dev", &["viewer"], &[])
        .await
        .expect("down");
    assert!(
        team.may_in("dev", "LoadBalancersManage", "development")
            .await
    );
    assert!(!may_vm(&team, "dev", "InstancesManage", "production").await);
    assert!(may_vm(&team, "dev", "InstancesView", "production").await);
    team.revert("ada", "production", "dev")
        .await
        .expect("reverted");
    assert!(may_vm(&team, "dev", "InstancesManage", "production").await);

    // Who is on call is a group that Ada keeps.
    let group = v1::CreateGroupRequest {
        organization: ACME.to_owned(),
        group_id: "on-call".to_owned(),
        display_name: "On call".to_owned(),
        roles: vec!["operator".to_owned()],
        ..Default::default()
    };
    let created = team
        .daemon
        .groups()
        .create_group(super::by("ada", group))
        .await;
    created.expect("created");
    let add = v1::AddGroupMemberRequest {
        organization: ACME.to_owned(),
        group: "on-call".to_owned(),
        user: "vic".to_owned(),
        ..Default::default()
    };
    let added = team
        .daemon
        .groups()
        .add_group_member(super::by("ada", add))
        .await;
    added.expect("added");
    assert!(may_vm(&team, "vic", "InstancesManage", "production").await);

    // Ada automates with a token of her own.
    let secret = team.token("ada").await.expect("a token").secret;
    assert!(team.token_may(&secret, "InstancesDelete", INSTANCE).await);

    // The account goes to Ada in two steps; Otto stays as Admin.
    team.offer("otto", "ada").await.expect("offered");
    assert_eq!(team.daemon.owner_of(ACME).await, "otto");
    team.daemon.accept(ACME, "ada").await.expect("accepted");
    assert_eq!(team.daemon.owner_of(ACME).await, "ada");
    assert!(team.may("otto", "TeamManagementManage").await);
    assert!(!team.may("otto", "DeleteOrganization").await);

    // Dev is suspended, reinstated, removed.
    team.suspend("otto", "dev").await.expect("suspended");
    assert!(!may_vm(&team, "dev", "InstancesView", "production").await);
    team.reinstate("otto", "dev").await.expect("reinstated");
    assert!(may_vm(&team, "dev", "InstancesView", "production").await);
    team.remove("otto", "dev").await.expect("removed");
    assert!(!may_vm(&team, "dev", "InstancesView", "production").await);

    let story = [
        "platform CreateOrganization Organization",
        "otto CreateInvitation Invitation",
        "ada AcceptInvitation ada",
        "ada CreateProject development",
        "ada CreateProject production",
        "ada CreateInvitation Invitation",
        "vic AcceptInvitation vic",
        "ada CreateInvitation Invitation",
        "ada ResendInvitation Invitation",
        "dev AcceptInvitation dev",
        "dev CreateProject Organization: PERMISSION_DENIED",
        "ada CreateRole developer",
        "ada SetMemberRoles dev",
        "ada SetProjectOverride dev",
        "ada SetProjectOverride dev",
        "ada RemoveProjectOverride dev",
        "ada CreateGroup on-call",
        "ada AddGroupMember vic",
        "ada CreateToken Token",
        "otto InitiateTransfer Organization",
        "ada AcceptTransfer Organization",
        "otto SuspendMember dev",
        "otto ReinstateMember dev",
        "otto RemoveMember dev",
    ];
    assert_eq!(team.story("otto").await, story);
    is(
        team.try_events("vic", v1::ListEventsRequest::default())
            .await,
        DENIED.0,
        DENIED.1,
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_owners() {
    let team = team().await;
    team.assert_one_owner("otto", "ada", "viewer").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_invitation_ttl_hours() {
    let team = team().await;
    let (_, in_time) = team.invite("ada", "early", &["viewer"]).await;
    let (_, too_late) = team.invite("ada", "late", &["viewer"]).await;
    let waiting = team.invitations("ada", InvitationStatus::Pending).await;
    assert!(
        waiting
            .iter()
            .all(|one| one.expire_time == after(72 * HOUR))
    );
    team.at(72 * HOUR - 1);
    team.join(&in_time, "early").await;
    team.at(72 * HOUR);
    let late = team.try_join(&too_late, "late").await;
    is(late, Code::FailedPrecondition, "LINK_EXPIRED");
    team.stop().await;
}

#[tokio::test]
async fn rule_invitation_link() {
    // Signed: not one character of it can be another.
    let team = team().await;
    let (_, link) = team.invite("ada", "dev", &["viewer"]).await;
    for index in [0, link.len() / 2, link.len() - 1] {
        let mut forged = link.clone().into_bytes();
        forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("a text");
        let refused = team.try_join(&forged, "dev").await;
        assert_eq!(
            crate::harness::reason(&refused.expect_err("forged")),
            "LINK_INVALID"
        );
    }
    team.join(&link, "dev").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_resend() {
    let team = team().await;
    let (id, old) = team.invite("ada", "dev", &["viewer"]).await;
    team.at(80 * HOUR);
    let link = team.resend("ada", &id).await.expect("sent again");
    let dead = team.try_join(&old, "dev").await;
    is(dead, Code::FailedPrecondition, "LINK_SUPERSEDED");
    is(team.resend("vic", &id).await, DENIED.0, DENIED.1);
    team.join(&link, "dev").await;
    team.stop().await;
}

#[tokio::test]
async fn rule_remove() {
    let team = team().await;
    is(team.remove("vic", "ada").await, DENIED.0, DENIED.1);
    team.remove("ada", "vic").await.expect("removed");
    assert!(!team.may_on("vic", "InstancesView", INSTANCE).await);
    // An invitation can be taken back as well.
    let (id, link) = team.invite("ada", "dev", &["viewer"]).await;
    team.revoke("ada", &id).await.expect("revoked");
    team.try_join(&link, "dev").await.expect_err("revoked");
    team.stop().await;
}

#[tokio::test]
async fn rule_edit_role() {
    let team = team().await;
    assert!(!team.may_on("vic", "InstancesManage", INSTANCE).await);
    team.set_roles("ada", "vic", &["operator"])
        .await
        .expect("set");
    assert!(team.may_on("vic", "InstancesManage", INSTANCE).await);
    is(
        team.set_roles("vic", "vic", &["admin"]).await,
        DENIED.0,
        DENIED.1,
    );
    is(
        team.set_roles("ada", "ada", &["viewer"]).await,
        Code::PermissionDenied,
        "SELF_CHANGE",
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_custom_roles() {
    // A name, and if one likes a description; the built-in ones stay as they are.
    let team = team().await;
    let request = |name: &str, description: &str| v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        display_name: name.to_owned(),
        description: description.to_owned(),
        permissions: permissions(&["InstancesView"]),
        ..Default::default()
    };
    let create = async |request| -> Result<v1::Role, Status> {
        let created = team
            .daemon
            .roles()
            .create_role(super::by("ada", request))
            .await;
        Ok(created?.into_inner().role.expect("the role"))
    };
    let told = create(request("Watcher", "Looks on"))
        .await
        .expect("created");
    assert_eq!(
        (told.display_name.as_str(), told.description.as_str()),
        ("Watcher", "Looks on")
    );
    let silent = create(request("Silent", "")).await.expect("created");
    assert_eq!(silent.description, "");
    let nameless = create(request("", "")).await.expect_err("a name is needed");
    assert_eq!(violations(&nameless)[0].0, "display_name");
    let edited = team.edit_role("ada", &told.id, &["DatabasesView"]).await;
    assert_eq!(edited.expect("edited").effective_actions, ["DatabasesView"]);
    team.edit_role("ada", "viewer", &["DatabasesView"])
        .await
        .expect_err("built in");
    let delete = v1::DeleteRoleRequest {
        organization: ACME.to_owned(),
        role: silent.id,
        ..Default::default()
    };
    let deleted = team
        .daemon
        .roles()
        .delete_role(super::by("ada", delete))
        .await;
    deleted.expect("nobody holds it");
    team.stop().await;
}

#[tokio::test]
async fn rule_custom_roles_permissions() {
    // Any combination of the 43: each alone, every other one, all of them.
    let team = team().await;
    let all = forty_three();
    assert_eq!(all.len(), 43, "{all:?}");
    let mut combinations: Vec<Vec<&str>> = all.iter().map(|one| vec![one.as_str()]).collect();
    combinations.push(all.iter().map(String::as_str).step_by(2).collect());
    combinations.push(all.iter().map(String::as_str).skip(1).step_by(2).collect());
    combinations.push(all.iter().map(String::as_str).collect());
    for (number, combination) in combinations.iter().enumerate() {
        let role = team.role("ada", &format!("r{number}"), combination).await;
        let effective = role.expect("created").effective_actions;
        let granted: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|action| effective.iter().any(|one| one == action))
            .collect();
        let mut expected = combination.clone();
        expected.sort_unstable();
        assert_eq!(
            granted, expected,
            "each means itself and no other of the 43"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn rule_project_override() {
    // Replaces the role's permissions inside that project, up or down.
    let team = team().await;
    team.hire("ada", "oscar", &["operator"]).await;
    team.replace("ada", "development", "vic", &[], &["InstancesManage"])
        .await
        .expect("up");
    assert!(may_vm(&team, "vic", "InstancesManage", "development").await);
    assert!(
        !may_vm(&team, "vic", "InstancesView", "development").await,
        "replaced, not added"
    );
    assert!(may_vm(&team, "vic", "InstancesView", "production").await);
    team.replace("ada", "production", "oscar", &["viewer"], &[])
        .await
        .expect("down");
    assert!(!may_vm(&team, "oscar", "InstancesManage", "production").await);
    assert!(may_vm(&team, "oscar", "InstancesView", "production").await);
    assert!(may_vm(&team, "oscar", "InstancesManage", "development").await);
    assert!(
        team.may("oscar", "BillingView").await,
        "the account is untouched"
    );
    is(
        team.replace("oscar", "production", "vic", &["operator"], &[])
            .await,
        DENIED.0,
        DENIED.1,
    );
    team.stop().await;
}

#[tokio::test]
async fn rule_project_override_removable() {
    // Reverts to the role as it is then.
    let team = team().await;
    team.replace("ada", "production", "vic", &["operator"], &[])
        .await
        .expect("up");
    team.role("ada", "storage", &["ObjectStorageView"])
        .await
        .expect("created");
    team.set_roles("ada", "vic", &["storage"])
        .await
        .expect("meanwhile");
    assert!(may_vm(&team, "vic", "InstancesManage", "production").await);
    team.revert("ada", "production", "vic")
        .await
        .expect("removed");
    assert!(!may_vm(&team, "vic", "InstancesView", "production").await);
    assert!(team.may_in("vic", "ObjectStorageView", "production").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_project_override_account_level() {
    let team = team().await;
    for action in [
        "BillingView",
        "BillingManage",
        "TeamManagementView",
        "TeamManagementManage",
        "ApiTokensManage",
        "SshKeysView",
        "SshKeysManage",
        "SshKeysDelete",
    ] {
        let refused = team
            .replace("ada", "production", "vic", &[], &[action])
            .await;
        let refused = refused.expect_err(action);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(
            violations(&refused)[0].0.starts_with("permissions"),
            "{refused:?}"
        );
    }
    // A role that has some brings what it has for projects only.
    team.replace("ada", "production", "vic", &["admin"], &[])
        .await
        .expect("set");
    assert!(may_vm(&team, "vic", "InstancesDelete", "production").await);
    assert!(!team.may("vic", "BillingManage").await);
    assert!(!team.may("vic", "TeamManagementView").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_project_override_owner() {
    let team = team().await;
    let refused = team
        .replace(PLATFORM, "production", "otto", &["viewer"], &[])
        .await;
    is(refused, Code::FailedPrecondition, "OWNER_PROTECTED");
    team.replace("ada", "production", "otto", &["viewer"], &[])
        .await
        .expect_err("the owner");
    assert!(may_vm(&team, "otto", "InstancesDelete", "production").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_project_override_example() {
    // Custom role Developer: Operator permissions on Development, Viewer-only on Production.
    let team = team().await;
    team.role("ada", "developer", &["InstancesView"])
        .await
        .expect("created");
    team.hire("ada", "dev", &["developer"]).await;
    team.replace("ada", "development", "dev", &["operator"], &[])
        .await
        .expect("set");
    team.replace("ada", "production", "dev", &["viewer"], &[])
        .await
        .expect("set");
    team.hire("ada", "oscar", &["operator"]).await;
    let mut asked_of_projects = 0;
    for action in forty_three() {
        for (project, like) in [("development", "oscar"), ("production", "vic")] {
            let asked = question(ACME, "dev", &action, "Project", project);
            let model = question(ACME, like, &action, "Project", project);
            let mut client = team.daemon.authorization();
            let Ok(dev) = client.is_authorized(asked).await else {
                continue;
            };
            let model = client.is_authorized(model).await.expect("an answer");
            let (dev, model) = (dev.into_inner(), model.into_inner());
            assert_eq!(dev.decision(), model.decision(), "{action} in {project}");
            asked_of_projects += 1;
        }
    }
    // All but the eight of the groups that are about the account.
    assert_eq!(asked_of_projects, 2 * (43 - 8));
    assert!(may_vm(&team, "dev", "InstancesManage", "development").await);
    assert!(!may_vm(&team, "dev", "InstancesManage", "production").await);
    team.stop().await;
}

#[tokio::test]
async fn rule_api_tokens() {
    // They inherit the role's permissions live; a Viewer's token can only read.
    let team = team().await;
    is(team.token("vic").await, DENIED.0, DENIED.1);
    team.hire("ada", "max", &["admin"]).await;
    let secret = team.token("max").await.expect("made while Admin").secret;
    for (action, thing) in [
        ("InstancesDelete", INSTANCE),
        ("BillingManage", ORGANIZATION),
    ] {
        assert!(team.token_may(&secret, action, thing).await, "{action}");
    }
    team.set_roles("ada", "max", &["viewer"])
        .await
        .expect("demoted");
    for action in ["InstancesManage", "InstancesDelete"] {
        assert!(!team.token_may(&secret, action, INSTANCE).await, "{action}");
    }
    assert!(team.token_may(&secret, "InstancesView", INSTANCE).await);
    let invite = v1::CreateInvitationRequest {
        organization: ACME.to_owned(),
        invitation: Some(invitation("eve", &["viewer"])),
        ..Default::default()
    };
    let attempt = team
        .daemon
        .invitations()
        .create_invitation(bearing(&secret, invite))
        .await;
    is(attempt, DENIED.0, DENIED.1);

    // The other way: a custom role that reads and makes tokens.
    team.role("ada", "robot", &["InstancesView", "ApiTokensManage"])
        .await
        .expect("created");
    team.hire("ada", "rob", &["robot"]).await;
    let secret = team.token("rob").await.expect("a token").secret;
    assert!(team.token_may(&secret, "InstancesView", INSTANCE).await);
    assert!(!team.token_may(&secret, "InstancesManage", INSTANCE).await);
    team.edit_role("ada", "robot", &["InstancesManage"])
        .await
        .expect("edited");
    assert!(
        team.token_may(&secret, "InstancesManage", INSTANCE).await,
        "live"
    );
    team.remove("ada", "rob").await.expect("removed");
    assert!(!team.token_may(&secret, "InstancesManage", INSTANCE).await);
    team.stop().await;
}

#[tokio::test]
async fn rule_audit() {
    // Task logs record which user initiated each action, also for team members.
    let team = team().await;
    let started = v1::NewEvent {
        action: "RebootInstance".to_owned(),
        effect: EventEffect::Updated.into(),
        target_type: "Instance".to_owned(),
        target_id: "vm-1".to_owned(),
        actor: "vic".to_owned(),
        ..Default::default()
    };
    let request = v1::AppendEventsRequest {
        organization: ACME.to_owned(),
        events: vec![started],
        ..Default::default()
    };
    team.daemon
        .audit()
        .append_events(request)
        .await
        .expect("taken in");
    team.set_roles("ada", "vic", &["operator"])
        .await
        .expect("set");
    let by = async |user: &str| {
        let request = v1::ListEventsRequest {
            actor: user.to_owned(),
            ..Default::default()
        };
        team.events("ada", request).await
    };
    let tasks = by("vic").await;
    assert_eq!(tasks[0].action, "RebootInstance");
    assert_eq!(tasks[0].source(), EventSource::Host);
    assert_eq!(tasks[0].target_id, "vm-1");
    let own = by("ada").await;
    assert_eq!(own[0].action, "SetMemberRoles");
    assert_eq!(detail(&own[0], "after"), Some("operator"));
    team.stop().await;
}

#[tokio::test]
async fn rule_resource_scoping() {
    // All resources belong to the account, never to a member.
    let team = team().await;
    team.register("ada", INSTANCE, "")
        .await
        .expect("registered");
    // Who is said to own one has no right by it.
    for action in ["InstancesManage", "InstancesDelete"] {
        let asked = question(ACME, "vic", action, "Instance", "another");
        assert!(
            !team.daemon.allows(owned_by(asked, "vic")).await,
            "{action}"
        );
    }
    team.hire("ada", "oscar", &["operator"]).await;
    team.remove("ada", "oscar").await.expect("removed");
    let request = v1::GetResourceRequest {
        organization: ACME.to_owned(),
        r#type: INSTANCE.0.to_owned(),
        id: INSTANCE.1.to_owned(),
        ..Default::default()
    };
    team.daemon
        .resources()
        .get_resource(request)
        .await
        .expect("still there");
    assert!(team.may_on("ada", "InstancesDelete", INSTANCE).await);
    assert_eq!(team.member("vic").await.email, address("vic"));
    team.stop().await;
}
