//! What belongs to one organization is nothing in another.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, invited, refused, team_on};
use crate::harness::{Daemon, as_actor, owned, question};

const OTHER: &str = "other";

/// Two teams on one product, each with an Admin of its own.
async fn two_teams() -> Daemon {
    let daemon = team_on("hypervisor-io").await;
    daemon.found(OTHER, "hypervisor-io").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(OTHER, "bob", &["viewer"]).await;
    daemon.project(ACME, "ours").await;
    daemon.project(OTHER, "theirs").await;
    daemon
}

async fn state_of(daemon: &Daemon, organization: &str) -> String {
    let snapshot = daemon
        .application
        .find(organization)
        .await
        .expect("it is there");
    format!("{} {:?}", snapshot.revision(), snapshot.organization())
}

#[tokio::test]
async fn x_01_members_of_another_organization_are_not_there() {
    let daemon = two_teams().await;
    let theirs = state_of(&daemon, OTHER).await;
    let mut members = daemon.members();
    let attempt = members.remove_member(as_actor(
        "ada",
        v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: "bob".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    let mut members = daemon.members();
    let attempt = members.remove_member(as_actor(
        "ada",
        v1::RemoveMemberRequest {
            organization: OTHER.to_owned(),
            user: "bob".to_owned(),
            ..Default::default()
        },
    ));
    let status = attempt.await.expect_err("no member there");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(state_of(&daemon, OTHER).await, theirs);
    daemon.stop().await;
}

#[tokio::test]
async fn x_02_invitations_of_another_organization_are_not_there() {
    let daemon = two_teams().await;
    let (invitation, _) = invited(&daemon, "eve@x.example", &["viewer"]).await;
    let theirs = v1::RevokeInvitationRequest {
        organization: OTHER.to_owned(),
        invitation: invitation.clone(),
        ..Default::default()
    };
    let refused = daemon.invitations().revoke_invitation(theirs).await;
    assert_eq!(refused.expect_err("not there").code(), Code::NotFound);
    let status = super::status_of(&daemon, &invitation).await;
    assert_eq!(status, v1::InvitationStatus::Pending);
    daemon.stop().await;
}

#[tokio::test]
async fn x_03_nested_ids_of_another_organization_are_not_there() {
    let daemon = two_teams().await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(as_actor(
        "ada",
        v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "theirs".to_owned(),
            user: "vic".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    let mut resources = daemon.resources();
    let attempt = resources.register_resource(as_actor(
        "ada",
        v1::RegisterResourceRequest {
            organization: ACME.to_owned(),
            r#type: "Instance".to_owned(),
            id: "vm".to_owned(),
            project: "theirs".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    let created = daemon
        .roles()
        .create_role(v1::CreateRoleRequest {
            organization: OTHER.to_owned(),
            role_id: "theirs".to_owned(),
            display_name: "Theirs".to_owned(),
            ..Default::default()
        })
        .await;
    created.expect("the role is created there");
    let mut members = daemon.members();
    let attempt = members.set_member_roles(as_actor(
        "ada",
        v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: "vic".to_owned(),
            roles: owned(&["theirs"]),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    daemon.stop().await;
}

#[tokio::test]
async fn x_06_an_owner_here_is_a_viewer_there() {
    let daemon = two_teams().await;
    daemon.add(OTHER, "ada", &["viewer"]).await;
    let delete = |organization: &str| {
        question(
            organization,
            "owner",
            "DeleteOrganization",
            "Organization",
            organization,
        )
    };
    assert!(daemon.allows(delete(ACME)).await);
    let mut asked = delete(OTHER);
    asked.principal = Some(v1::EntityRef {
        r#type: "User".to_owned(),
        id: "ada".to_owned(),
    });
    assert!(!daemon.allows(asked).await);
    let refused = daemon
        .organizations()
        .delete_organization(as_actor(
            "ada",
            v1::DeleteOrganizationRequest {
                organization: OTHER.to_owned(),
                ..Default::default()
            },
        ))
        .await;
    assert_eq!(
        refused.expect_err("a viewer").code(),
        Code::PermissionDenied
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_user_sees_their_organizations_and_nobody_elses() {
    let daemon = two_teams().await;
    daemon.add(OTHER, "ada", &["viewer"]).await;
    let list = |user: &str| v1::ListOrganizationsForUserRequest {
        user: user.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let mut seen = Vec::new();
    let mut request = list("ada");
    loop {
        let page = daemon
            .organizations()
            .list_organizations_for_user(as_actor("ada", request.clone()))
            .await
            .expect("a page")
            .into_inner();
        for membership in page.memberships {
            let organization = membership.organization.expect("the organization").id;
            let member = membership.member.expect("the member");
            assert_eq!(member.user, "ada");
            seen.push((organization, member.roles));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected = [
        (ACME.to_owned(), owned(&["admin"])),
        (OTHER.to_owned(), owned(&["viewer"])),
    ];
    assert_eq!(seen, expected);
    let refused = daemon
        .organizations()
        .list_organizations_for_user(as_actor("bob", list("ada")))
        .await;
    let refused = refused.expect_err("somebody else's");
    assert_eq!(refused.code(), Code::PermissionDenied);
    daemon.stop().await;
}

#[tokio::test]
async fn a_user_is_removed_everywhere_but_where_they_are_owner() {
    let daemon = two_teams().await;
    daemon.add(OTHER, "ada", &["viewer"]).await;
    let found = daemon
        .organizations()
        .create_organization(v1::CreateOrganizationRequest {
            organization_id: "hers".to_owned(),
            display_name: "Hers".to_owned(),
            catalog: "hypervisor-io".to_owned(),
            owner: "ada".to_owned(),
            ..Default::default()
        })
        .await;
    found.expect("it is founded");
    let request = v1::RemoveUserRequest {
        user: "ada".to_owned(),
        ..Default::default()
    };
    let refused = daemon
        .members()
        .remove_user(as_actor("ada", request.clone()))
        .await;
    let refused = refused.expect_err("an operator's call");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let removed = daemon.members().remove_user(request).await;
    let removals = removed.expect("removed").into_inner().removals;
    let told: Vec<(String, String)> = removals
        .into_iter()
        .map(|removal| (removal.organization, removal.refusal))
        .collect();
    let expected = [
        (ACME.to_owned(), String::new()),
        ("hers".to_owned(), "OWNER_PROTECTED".to_owned()),
        (OTHER.to_owned(), String::new()),
    ];
    assert_eq!(told, expected);
    for organization in [ACME, OTHER] {
        let snapshot = daemon
            .application
            .find(organization)
            .await
            .expect("it is there");
        assert!(!snapshot.organization().members.contains_key("ada"));
    }
    let listed = daemon
        .organizations()
        .list_organizations_for_user(v1::ListOrganizationsForUserRequest {
            user: "ada".to_owned(),
            ..Default::default()
        })
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(listed.memberships.len(), 1);
    daemon.stop().await;
}
