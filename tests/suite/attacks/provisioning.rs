//! People who come and go, by whatever path: they all take the same along, and
//! nothing of it is there when they, or something of the same name, come again.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, accept, invited, join, refused, team_on_plan};
use crate::harness::{Daemon, as_actor, in_project, owned, question, reason};
use crate::tokens::{create as create_token, member_token};

/// The ways in which a membership ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Removed,
    Leaves,
    RemovedEverywhere,
}
use Way::{Leaves, Removed, RemovedEverywhere};

const WAYS: [Way; 3] = [Removed, Leaves, RemovedEverywhere];

impl Way {
    async fn go(self, daemon: &Daemon, user: &str) {
        let (organization, user) = (ACME.to_owned(), user.to_owned());
        let mut members = daemon.members();
        match self {
            Removed => {
                let request = v1::RemoveMemberRequest {
                    organization,
                    user,
                    ..Default::default()
                };
                members.remove_member(request).await.expect("removed");
            }
            Leaves => {
                let request = v1::LeaveOrganizationRequest {
                    organization,
                    user: user.clone(),
                    ..Default::default()
                };
                let left = members.leave_organization(as_actor(&user, request)).await;
                left.expect("left");
            }
            RemovedEverywhere => {
                let request = v1::RemoveUserRequest {
                    user,
                    ..Default::default()
                };
                let removed = members.remove_user(request).await.expect("removed");
                let removals = removed.into_inner().removals;
                assert!(
                    removals.iter().all(|one| one.refusal.is_empty()),
                    "{removals:?}"
                );
            }
        }
    }
}

/// A greenhouse with projects `north` and `south`, an empty `crew` and a `helper` role.
async fn nursery() -> Daemon {
    let daemon = team_on_plan("greenhouse", "commercial").await;
    daemon.project(ACME, "north").await;
    daemon.project(ACME, "south").await;
    daemon.group("crew", &["gardener"]).await;
    daemon
}

/// Gives a member everything that a member can have; answers with the secret of their
/// token.
async fn endow(daemon: &Daemon, user: &str) -> String {
    let (organization, user_id) = (ACME.to_owned(), user.to_owned());
    daemon
        .project_roles(ACME, "north", user, &["gardener"])
        .await;
    let mut projects = daemon.projects();
    let defaults = v1::SetDefaultRolesRequest {
        organization: organization.clone(),
        user: user_id.clone(),
        roles: owned(&["gardener"]),
        ..Default::default()
    };
    let defaults = projects.set_default_roles(defaults).await;
    defaults.expect("default roles");
    daemon.project(ACME, "later").await;
    let replaced = v1::SetProjectOverrideRequest {
        organization: organization.clone(),
        project: "south".to_owned(),
        user: user_id.clone(),
        roles: owned(&["gardener"]),
        ..Default::default()
    };
    let replaced = projects.set_project_override(replaced).await;
    replaced.expect("an override");
    daemon.put_into("crew", &[user]).await;
    let bed = v1::RegisterResourceRequest {
        organization,
        r#type: "Bed".to_owned(),
        id: "roses".to_owned(),
        project: "north".to_owned(),
        owner: user_id,
        ..Default::default()
    };
    let bed = daemon.resources().register_resource(bed).await;
    bed.expect("a bed of their own");
    create_token(daemon, member_token(user)).await.secret
}

/// Whether somebody may do anything to beds anywhere, their own included.
async fn does_anything(daemon: &Daemon, user: &str) -> bool {
    let mut any = false;
    for action in ["ViewBed", "WaterBed", "HarvestBed", "ClearBed"] {
        for (bed, project) in [
            ("roses", ""),
            ("it", "north"),
            ("it", "south"),
            ("it", "later"),
        ] {
            let mut asked = question(ACME, user, action, "Bed", bed);
            if !project.is_empty() {
                asked = in_project(asked, project);
            }
            any |= daemon.allows(asked).await;
        }
    }
    let shop = question(ACME, user, "RunTheShop", "Organization", ACME);
    any | daemon.allows(shop).await
}

#[tokio::test]
async fn b_01_every_way_out_takes_exactly_the_same_along() {
    let mut left = Vec::new();
    for way in WAYS {
        let daemon = nursery().await;
        daemon.add(ACME, "ann", &["shopkeeper"]).await;
        let secret = endow(&daemon, "ann").await;
        way.go(&daemon, "ann").await;
        let snapshot = daemon
            .application
            .find(ACME)
            .await
            .expect("the organization");
        // Whoever leaves needs not be told of it.
        let mut organization = snapshot.organization().clone();
        organization.notifications = Default::default();
        organization.weight = 0;
        let text = format!("{organization:?}");
        assert!(!text.contains("\"ann\""), "{way:?}: {text}");
        left.push(text);
        let used = daemon
            .authorization()
            .is_authorized_with_token(v1::IsAuthorizedWithTokenRequest {
                token: secret,
                action: "WaterBed".to_owned(),
                resource: Some(v1::Resource {
                    r#type: "Bed".to_owned(),
                    id: "roses".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await;
        assert_eq!(reason(&used.expect_err("a dead token")), "TOKEN_INVALID");
        daemon.stop().await;
    }
    assert_eq!(left[0], left[1]);
    assert_eq!(left[0], left[2]);
}

#[tokio::test]
async fn b_01_somebody_who_is_suspended_goes_the_same_way() {
    let mut left = Vec::new();
    for way in [Removed, RemovedEverywhere] {
        let daemon = nursery().await;
        daemon.add(ACME, "ann", &["shopkeeper"]).await;
        endow(&daemon, "ann").await;
        super::suspend(&daemon, "ann").await;
        way.go(&daemon, "ann").await;
        let snapshot = daemon
            .application
            .find(ACME)
            .await
            .expect("the organization");
        let text = format!("{:?}", snapshot.organization());
        assert!(!snapshot.organization().members.contains_key("ann"));
        left.push(text);
        daemon.add(ACME, "ann", &[]).await;
        assert!(!does_anything(&daemon, "ann").await, "{way:?}");
        daemon.stop().await;
    }
    assert_eq!(left[0], left[1]);
}

#[tokio::test]
async fn b_04_a_group_that_is_made_again_gives_nothing_of_the_old_one() {
    let daemon = nursery().await;
    daemon.project(ACME, "later").await;
    daemon.add(ACME, "gus", &[]).await;
    daemon.put_into("crew", &["gus"]).await;
    daemon.give_on_project("crew", "north", &["gardener"]).await;
    let waters = |project| in_project(question(ACME, "gus", "WaterBed", "Bed", "it"), project);
    for project in ["north", "south"] {
        assert!(daemon.allows(waters(project)).await);
    }
    let request = v1::DeleteGroupRequest {
        organization: ACME.to_owned(),
        group: "crew".to_owned(),
        ..Default::default()
    };
    let deleted = daemon.groups().delete_group(request).await;
    deleted.expect("deleted");
    assert!(
        !does_anything(&daemon, "gus").await,
        "old roles are withdrawn"
    );

    // Under the same id and name, and stronger than before.
    daemon.group("crew", &["head-gardener"]).await;
    for project in ["north", "south"] {
        assert!(!daemon.allows(waters(project)).await, "nobody is in it");
    }
    let listed = daemon
        .groups()
        .list_group_members(v1::ListGroupMembersRequest {
            organization: ACME.to_owned(),
            group: "crew".to_owned(),
            ..Default::default()
        })
        .await;
    assert!(listed.expect("a list").into_inner().members.is_empty());

    // Who joins the new one has what it gives, and nothing that the old one gave.
    let request = v1::UpdateGroupRequest {
        organization: ACME.to_owned(),
        group: "crew".to_owned(),
        display_name: "Crew".to_owned(),
        ..Default::default()
    };
    let emptied = daemon.groups().update_group(request).await;
    emptied.expect("it gives nothing");
    daemon.put_into("crew", &["gus"]).await;
    for project in ["north", "south"] {
        assert!(!daemon.allows(waters(project)).await);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn b_04_a_group_by_another_name_goes_on_and_gives_what_it_says_only() {
    let daemon = nursery().await;
    daemon.add(ACME, "gus", &[]).await;
    daemon.put_into("crew", &["gus"]).await;
    let rename = |roles: &[&str]| v1::UpdateGroupRequest {
        organization: ACME.to_owned(),
        group: "crew".to_owned(),
        display_name: "Harvesters".to_owned(),
        roles: owned(roles),
        ..Default::default()
    };
    let waters = || in_project(question(ACME, "gus", "WaterBed", "Bed", "it"), "north");
    let shops = || question(ACME, "gus", "RunTheShop", "Organization", ACME);
    let renamed = daemon.groups().update_group(rename(&["shopkeeper"])).await;
    renamed.expect("another name, another role");
    assert!(!daemon.allows(waters()).await, "the old role is withdrawn");
    assert!(daemon.allows(shops()).await);
    daemon.stop().await;
}

#[tokio::test]
async fn b_05_who_comes_again_has_what_they_are_given_then_and_nothing_revives() {
    for way in WAYS {
        let daemon = nursery().await;
        let address = "ann@x.example";
        let (_, first) = invited(&daemon, address, &["shopkeeper"]).await;
        join(&daemon, &first, "ann", address).await;
        let secret = endow(&daemon, "ann").await;
        assert!(does_anything(&daemon, "ann").await);
        way.go(&daemon, "ann").await;

        // By the link that served once.
        let mut invitations = daemon.invitations();
        let attempt = invitations.accept_invitation(accept(&first, "ann", address));
        refused(&daemon, attempt, Code::FailedPrecondition, "LINK_USED").await;

        daemon.add(ACME, "ann", &[]).await;
        assert!(!does_anything(&daemon, "ann").await, "{way:?}");
        let used = daemon
            .authorization()
            .is_authorized_with_token(v1::IsAuthorizedWithTokenRequest {
                token: secret,
                action: "WaterBed".to_owned(),
                resource: Some(v1::Resource {
                    r#type: "Bed".to_owned(),
                    id: "roses".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await;
        assert_eq!(reason(&used.expect_err("a dead token")), "TOKEN_INVALID");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn b_05_who_is_invited_again_has_the_roles_of_that_invitation_as_they_are_by_then() {
    let daemon = nursery().await;
    let address = "ann@x.example";
    let (_, first) = invited(&daemon, address, &["shopkeeper"]).await;
    join(&daemon, &first, "ann", address).await;
    endow(&daemon, "ann").await;
    Removed.go(&daemon, "ann").await;

    let (_, second) = invited(&daemon, address, &["gardener"]).await;
    let edited = v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: "gardener".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["HarvestBed"]),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&["permissions"]),
        }),
        ..Default::default()
    };
    daemon.roles().update_role(edited).await.expect("edited");
    let member = join(&daemon, &second, "ann", address).await;
    assert_eq!(member.roles, owned(&["gardener"]));
    let on = |action, bed| question(ACME, "ann", action, "Bed", bed);
    assert!(
        daemon
            .allows(in_project(on("HarvestBed", "it"), "south"))
            .await
    );
    assert!(
        !daemon
            .allows(in_project(on("WaterBed", "it"), "south"))
            .await
    );
    assert!(
        !daemon.allows(on("ClearBed", "roses")).await,
        "it is hers no more"
    );
    let shop = question(ACME, "ann", "RunTheShop", "Organization", ACME);
    assert!(!daemon.allows(shop).await);
    daemon.stop().await;
}
