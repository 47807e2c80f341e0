//! Ids that come from elsewhere: one that looks like an internal id, a number, an
//! address or another's name names nothing but itself.

use roster::proto::v1;
use tonic::Code;

use super::{ACME, accept, bulk, copy, create, invited, join, new, refused, revoke, users};
use crate::harness::{Daemon, as_actor, owned, question, reason};
use crate::tokens::{create as create_token, instance, member_token, organization_token, studio};
use crate::tokens::{of_service_account, service_account};

/// Names under which somebody might be found who is called otherwise.
const FOREIGN: [&str; 6] = ["0", "1", "-1", "ADA", "ada@x.example", "Ada"];

fn set_roles(user: &str, roles: &[&str]) -> v1::SetMemberRolesRequest {
    v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

fn addition(user: &str) -> v1::AddMemberRequest {
    v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

/// A studio whose `ada` has a name and an address.
async fn named() -> Daemon {
    let (daemon, _) = studio().await;
    let request = v1::UpdateMemberRequest {
        organization: ACME.to_owned(),
        user: "ada".to_owned(),
        display_name: "Ada".to_owned(),
        email: "ada@x.example".to_owned(),
        ..Default::default()
    };
    let named = daemon.members().update_member(request).await;
    named.expect("a name and an address");
    daemon
}

#[tokio::test]
async fn p_18_nobody_is_found_by_a_number_an_address_or_a_name() {
    let daemon = named().await;
    let found = Code::NotFound;
    for foreign in FOREIGN {
        let mut members = daemon.members();
        let attempt = members.set_member_roles(set_roles(foreign, &["viewer"]));
        refused(&daemon, attempt, found, "NOT_FOUND").await;
        let attempt = members.remove_member(v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: foreign.to_owned(),
            ..Default::default()
        });
        refused(&daemon, attempt, found, "NOT_FOUND").await;
        let mut projects = daemon.projects();
        let attempt = projects.set_project_override(v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "north".to_owned(),
            user: foreign.to_owned(),
            roles: owned(&["admin"]),
            ..Default::default()
        });
        refused(&daemon, attempt, found, "NOT_FOUND").await;
        let mut tokens = daemon.tokens();
        let attempt = tokens.create_token(member_token(foreign));
        let status = refused(&daemon, attempt, found, "NOT_FOUND").await;
        assert!(status.message().contains(foreign), "{status:?}");
        // Nor does anybody act so.
        let attempt = members.set_member_roles(as_actor(foreign, set_roles("vic", &[])));
        refused(
            &daemon,
            attempt,
            Code::PermissionDenied,
            "PERMISSION_DENIED",
        )
        .await;
        let asked = question(ACME, foreign, "ViewMembers", "Organization", ACME);
        assert!(!daemon.allows(asked).await, "{foreign}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn p_18_a_member_by_a_foreign_id_is_a_person_of_their_own() {
    let daemon = named().await;
    for foreign in FOREIGN {
        daemon
            .members()
            .add_member(addition(foreign))
            .await
            .expect(foreign);
        let asked = question(ACME, foreign, "ViewMembers", "Organization", ACME);
        assert!(
            !daemon.allows(asked).await,
            "{foreign} has nothing of ada's"
        );
        let removed = daemon
            .members()
            .remove_member(v1::RemoveMemberRequest {
                organization: ACME.to_owned(),
                user: foreign.to_owned(),
                ..Default::default()
            })
            .await;
        removed.expect("removed");
        assert!(users(&daemon).await.contains(&"ada".to_owned()));
    }
    let asked = question(ACME, "ada", "ViewMembers", "Organization", ACME);
    assert!(daemon.allows(asked).await);
    daemon.stop().await;
}

#[tokio::test]
async fn p_18_the_id_of_another_user_account_or_token_is_taken_over_by_nobody() {
    let daemon = named().await;
    service_account(&daemon, "robot", &["admin"]).await;
    let of_organization = create_token(&daemon, organization_token(&["admin"])).await;
    let of_organization = of_organization.token.expect("a token").id;
    let taken = Code::AlreadyExists;
    for internal in ["owner", "ada", "robot", &of_organization] {
        let mut members = daemon.members();
        let attempt = members.add_member(addition(internal));
        refused(&daemon, attempt, taken, "ALREADY_EXISTS").await;
        let address = format!("{}@x.example", internal.len());
        let (invitation, link) = invited(&daemon, &address, &["viewer"]).await;
        let mut invitations = daemon.invitations();
        let attempt = invitations.accept_invitation(accept(&link, internal, &address));
        refused(&daemon, attempt, taken, "ALREADY_EXISTS").await;
        let revoked = invitations.revoke_invitation(revoke(&invitation)).await;
        revoked.expect("revoked");
        let mut accounts = daemon.service_accounts();
        let attempt = accounts.create_service_account(v1::CreateServiceAccountRequest {
            organization: ACME.to_owned(),
            service_account_id: internal.to_owned(),
            ..Default::default()
        });
        refused(&daemon, attempt, taken, "ALREADY_EXISTS").await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn p_18_an_id_in_place_of_an_address_invites_nobody() {
    let daemon = named().await;
    let invalid = Code::InvalidArgument;
    for internal in ["1", "ada", "owner"] {
        let mut invitations = daemon.invitations();
        let attempt = invitations.create_invitation(create(new(internal, &[])));
        refused(&daemon, attempt, invalid, "INVALID").await;
        let sent = invitations
            .bulk_create_invitations(bulk(vec![new(internal, &[])]))
            .await;
        let results = sent.expect("answered").into_inner().results;
        assert!(results[0].status.is_some(), "{internal}");
        assert!(results[0].invitation.is_none(), "{internal}");
    }
    let address = "new@x.example";
    let (invitation, link) = invited(&daemon, address, &["viewer"]).await;
    for foreign in ["0", "1", address, "ada"] {
        let mut invitations = daemon.invitations();
        let attempt = invitations.revoke_invitation(revoke(foreign));
        refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
        let attempt = invitations.copy_invitation_link(copy(foreign));
        refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
        // An id is no link either.
        let attempt = invitations.accept_invitation(accept(&invitation, foreign, address));
        let status = attempt.await.expect_err("no link");
        assert_eq!(status.code(), invalid, "{status:?}");
    }
    join(&daemon, &link, "1", address).await;
    let asked = |user| question(ACME, user, "TeamManagementManage", "Organization", ACME);
    assert!(daemon.allows(asked("ada")).await);
    assert!(!daemon.allows(asked("1")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn p_18_roles_are_found_by_their_own_id_only() {
    let daemon = named().await;
    service_account(&daemon, "robot", &["viewer"]).await;
    for foreign in ["0", "1", "Admin", "ADMIN", "ada", "robot", "role:admin"] {
        let mut members = daemon.members();
        let attempt = members.set_member_roles(set_roles("vic", &[foreign]));
        refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
        let mut roles = daemon.roles();
        let attempt = roles.delete_role(v1::DeleteRoleRequest {
            organization: ACME.to_owned(),
            role: foreign.to_owned(),
            ..Default::default()
        });
        refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn p_18_tokens_are_found_by_their_own_id_and_used_by_their_secret_only() {
    let daemon = named().await;
    service_account(&daemon, "robot", &["admin"]).await;
    let of_robot = create_token(&daemon, of_service_account("robot")).await;
    let id = of_robot.token.expect("a token").id;
    let asked = instance(&of_robot.secret, "InstancesView");
    assert!(crate::tokens::allows(&daemon, &asked).await);
    for foreign in ["0", "1", "ada", "robot", &of_robot.secret] {
        let mut tokens = daemon.tokens();
        let attempt = tokens.revoke_token(v1::RevokeTokenRequest {
            organization: ACME.to_owned(),
            token: foreign.to_owned(),
            ..Default::default()
        });
        refused(&daemon, attempt, Code::NotFound, "NOT_FOUND").await;
    }
    for foreign in ["0", "1", "ada", "robot", &id] {
        let checked = daemon
            .authorization()
            .is_authorized_with_token(instance(foreign, "InstancesView"))
            .await;
        assert_eq!(reason(&checked.expect_err("no secret")), "TOKEN_INVALID");
    }
    assert!(crate::tokens::allows(&daemon, &asked).await);
    daemon.stop().await;
}
