//! Tokens that outlive, widen or stand in for what they may not.

use roster::proto::v1;
use tonic::Code;
use v1::ReasonCode;

use crate::harness::{Daemon, as_actor, by_token, owned, reason};
use crate::tokens::{
    ACME, allows, ask, create, instance, member_token, of_service_account, organization_token,
    service_account, studio,
};

async fn set_roles(daemon: &Daemon, user: &str, roles: &[&str]) {
    daemon
        .members()
        .set_member_roles(v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            roles: owned(roles),
            ..Default::default()
        })
        .await
        .expect("the roles are set");
}

fn removal(user: &str) -> v1::RemoveMemberRequest {
    v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

fn roles_of(user: &str, roles: &[&str]) -> v1::SetMemberRolesRequest {
    v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

#[tokio::test]
async fn t_01_the_token_of_a_removed_member_is_dead_on_every_path_and_stays_so() {
    let (daemon, _) = studio().await;
    let secret = create(&daemon, member_token("ada")).await.secret;
    assert!(allows(&daemon, &instance(&secret, "InstancesManage")).await);

    daemon
        .members()
        .remove_member(removal("ada"))
        .await
        .expect("the member is removed");

    let refused = daemon
        .authorization()
        .is_authorized_with_token(instance(&secret, "InstancesManage"))
        .await
        .expect_err("the token is unknown");
    assert_eq!(reason(&refused), "TOKEN_INVALID");
    let acting = by_token(&secret, roles_of("vic", &[]));
    let refused = daemon.members().set_member_roles(acting).await;
    let refused = refused.expect_err("nobody acts by it");
    assert_eq!(refused.code(), Code::Unauthenticated);

    daemon.add(ACME, "ada", &["admin"]).await;
    let refused = daemon
        .authorization()
        .is_authorized_with_token(instance(&secret, "InstancesView"))
        .await
        .expect_err("adding the user again revives nothing");
    assert_eq!(reason(&refused), "TOKEN_INVALID");
    daemon.stop().await;
}

#[tokio::test]
async fn t_02_who_is_suspended_is_denied_by_every_token_of_theirs() {
    let (daemon, _) = studio().await;
    service_account(&daemon, "robot", &["admin"]).await;
    let secrets = [
        create(&daemon, member_token("ada")).await.secret,
        create(&daemon, of_service_account("robot")).await.secret,
    ];
    for (user, secret) in ["ada", "robot"].into_iter().zip(&secrets) {
        assert!(allows(&daemon, &instance(secret, "InstancesManage")).await);
        daemon
            .members()
            .suspend_member(v1::SuspendMemberRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the member is suspended");
        let answer = ask(&daemon, instance(secret, "InstancesView")).await;
        assert_eq!(answer.decision(), v1::Decision::Deny);
        assert_eq!(answer.reasons[0].code(), ReasonCode::Suspended);
        let acting = by_token(secret, roles_of("vic", &[]));
        let refused = daemon.members().set_member_roles(acting).await;
        let refused = refused.expect_err("nobody acts by it");
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn t_06_a_service_account_that_is_suspended_or_deleted_takes_its_tokens_along() {
    let (daemon, _) = studio().await;
    service_account(&daemon, "robot", &["operator"]).await;
    let created = create(&daemon, of_service_account("robot")).await;
    assert!(allows(&daemon, &instance(&created.secret, "InstancesManage")).await);
    daemon
        .service_accounts()
        .delete_service_account(v1::DeleteServiceAccountRequest {
            organization: ACME.to_owned(),
            service_account: "robot".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the account is deleted");
    let refused = daemon
        .authorization()
        .is_authorized_with_token(instance(&created.secret, "InstancesView"))
        .await
        .expect_err("the token is gone");
    assert_eq!(reason(&refused), "TOKEN_INVALID");
    let gone = daemon
        .tokens()
        .get_token(v1::GetTokenRequest {
            organization: ACME.to_owned(),
            token: created.token.expect("a token").id,
            ..Default::default()
        })
        .await
        .expect_err("its record too");
    assert_eq!(gone.code(), Code::NotFound);
    daemon.stop().await;
}

#[tokio::test]
async fn t_08_a_scope_gives_nothing_that_the_subject_lacks() {
    let (daemon, _) = studio().await;
    let mut request = member_token("vic");
    request.scope = Some(v1::TokenScope {
        actions: owned(&["InstancesManage"]),
        projects: Vec::new(),
    });
    let secret = create(&daemon, request).await.secret;
    let answer = ask(&daemon, instance(&secret, "InstancesManage")).await;
    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.reasons[0].code(), ReasonCode::NoGrant);
    let answer = ask(&daemon, instance(&secret, "InstancesView")).await;
    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.reasons[0].code(), ReasonCode::TokenScope);
    daemon.stop().await;
}

#[tokio::test]
async fn t_09_the_token_of_a_demoted_admin_only_reads() {
    let (daemon, _) = studio().await;
    let secret = create(&daemon, member_token("ada")).await.secret;
    assert!(allows(&daemon, &instance(&secret, "InstancesManage")).await);
    set_roles(&daemon, "ada", &["viewer"]).await;
    assert!(!allows(&daemon, &instance(&secret, "InstancesManage")).await);
    assert!(allows(&daemon, &instance(&secret, "InstancesView")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn t_11_an_organization_token_outlives_its_creator_and_that_is_told() {
    let (daemon, store) = studio().await;
    let request = as_actor("ada", organization_token(&["operator"]));
    let created = daemon.tokens().create_token(request).await;
    let created = created.expect("the token is created").into_inner();
    let id = created.token.expect("a token").id;
    let of_ada = create(&daemon, member_token("ada")).await.secret;

    daemon
        .members()
        .remove_member(removal("ada"))
        .await
        .expect("the member is removed");

    assert!(allows(&daemon, &instance(&created.secret, "InstancesManage")).await);
    let died = daemon
        .authorization()
        .is_authorized_with_token(instance(&of_ada, "InstancesView"))
        .await;
    assert_eq!(died.expect_err("it died").code(), Code::Unauthenticated);
    let told = crate::tokens::events(&store)
        .into_iter()
        .find(|event| event.action == "OrphanedToken")
        .expect("an event");
    assert_eq!(told.target_id, id);
    assert_eq!(told.details, [("created_by".to_owned(), "ada".to_owned())]);

    let request = v1::RevokeTokenRequest {
        organization: ACME.to_owned(),
        token: id.clone(),
        ..Default::default()
    };
    let revoked = daemon
        .tokens()
        .revoke_token(as_actor("owner", request))
        .await;
    revoked.expect("the owner revokes it");
    let answer = ask(&daemon, instance(&created.secret, "InstancesView")).await;
    assert_eq!(answer.reasons[0].code(), ReasonCode::TokenRevoked);
    // Nor does it help to know what the token was called.
    let direct = crate::harness::question(ACME, &id, "InstancesView", "Instance", "i1");
    assert!(!daemon.allows(direct).await);
    daemon.stop().await;
}

#[tokio::test]
async fn t_13_a_revoked_or_rotated_secret_is_dead_from_the_commit_on() {
    let (daemon, _) = studio().await;
    let created = create(&daemon, member_token("ada")).await;
    let id = created.token.expect("a token").id;
    assert!(allows(&daemon, &instance(&created.secret, "InstancesView")).await);
    let rotated = daemon
        .tokens()
        .rotate_token(v1::RotateTokenRequest {
            organization: ACME.to_owned(),
            token: id.clone(),
            ..Default::default()
        })
        .await
        .expect("it is rotated")
        .into_inner();
    assert!(!allows(&daemon, &instance(&created.secret, "InstancesView")).await);
    assert!(allows(&daemon, &instance(&rotated.secret, "InstancesView")).await);
    let revocation = v1::RevokeTokenRequest {
        organization: ACME.to_owned(),
        token: id,
        ..Default::default()
    };
    daemon
        .tokens()
        .revoke_token(revocation.clone())
        .await
        .expect("it is revoked");
    for secret in [&created.secret, &rotated.secret] {
        let answer = ask(&daemon, instance(secret, "InstancesView")).await;
        assert_eq!(answer.decision(), v1::Decision::Deny);
        assert_eq!(answer.reasons[0].code(), ReasonCode::TokenRevoked);
        assert!(answer.determining_policies.is_empty());
    }
    let again = daemon.tokens().revoke_token(revocation).await;
    assert_eq!(reason(&again.expect_err("it is already")), "TOKEN_STATUS");
    daemon.stop().await;
}

#[tokio::test]
async fn p_09_nobody_changes_their_own_role_by_a_token_or_service_account_of_theirs() {
    let (daemon, _) = studio().await;
    // Made by the operator for her, and by herself.
    let own = create(&daemon, member_token("ada")).await.secret;
    let request = v1::CreateServiceAccountRequest {
        organization: ACME.to_owned(),
        service_account_id: "robot".to_owned(),
        roles: owned(&["admin"]),
        ..Default::default()
    };
    daemon
        .service_accounts()
        .create_service_account(as_actor("ada", request))
        .await
        .expect("her account is created");
    let of_robot = daemon
        .tokens()
        .create_token(as_actor("ada", of_service_account("robot")))
        .await
        .expect("its token is created")
        .into_inner()
        .secret;
    let of_organization = daemon
        .tokens()
        .create_token(as_actor("ada", organization_token(&["admin"])))
        .await
        .expect("the organization's token is created")
        .into_inner()
        .secret;
    for secret in [&own, &of_robot, &of_organization] {
        for roles in [&["operator"][..], &["viewer"], &[]] {
            let acting = by_token(secret, roles_of("ada", roles));
            let refused = daemon.members().set_member_roles(acting).await;
            let refused = refused.expect_err("her own role");
            assert_eq!(refused.code(), Code::PermissionDenied);
        }
        let acting = by_token(secret, roles_of("ada", &["viewer"]));
        let refused = daemon.members().set_member_roles(acting).await;
        assert_eq!(reason(&refused.expect_err("refused")), "SELF_CHANGE");
    }
    let request = v1::SetServiceAccountRolesRequest {
        organization: ACME.to_owned(),
        service_account: "robot".to_owned(),
        roles: owned(&["viewer"]),
        ..Default::default()
    };
    let refused = daemon
        .service_accounts()
        .set_service_account_roles(by_token(&of_robot, request))
        .await;
    assert_eq!(reason(&refused.expect_err("its own")), "SELF_CHANGE");
    // Other people's roles are what they are for.
    let acting = by_token(&own, roles_of("vic", &["operator"]));
    let changed = daemon.members().set_member_roles(acting).await;
    changed.expect("another's role");
    daemon.stop().await;
}

#[tokio::test]
async fn nobody_gives_by_a_token_more_than_it_may_be_used_for() {
    let (daemon, _) = studio().await;
    let mut request = member_token("ada");
    request.scope = Some(v1::TokenScope {
        actions: owned(&["TeamManagementManage", "ApiTokensManage", "InstancesView"]),
        projects: Vec::new(),
    });
    request.period = Some(v1::Period {
        not_before: None,
        expires_at: Some(crate::tokens::timestamp(3_600_000)),
    });
    let made = create(&daemon, request.clone()).await;
    let secret = made.secret;

    let acting = by_token(&secret, roles_of("vic", &["operator"]));
    let refused = daemon.members().set_member_roles(acting).await;
    assert_eq!(reason(&refused.expect_err("wider")), "EXCEEDS_GRANTOR");

    // A token makes no tokens, and does not widen itself.
    for message in [member_token("ada"), request] {
        let another = daemon
            .tokens()
            .create_token(by_token(&secret, message))
            .await;
        let another = another.expect_err("made in person only");
        assert_eq!(reason(&another), "PERMISSION_DENIED");
    }
    let widening = v1::UpdateTokenRequest {
        organization: ACME.to_owned(),
        token: made.token.expect("a token").id,
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&["scope"]),
        }),
        ..Default::default()
    };
    let wider = daemon
        .tokens()
        .update_token(by_token(&secret, widening))
        .await;
    let wider = wider.expect_err("wider");
    assert_eq!(reason(&wider), "EXCEEDS_GRANTOR");
    assert!(wider.message().contains("a wider scope"));
    let accounts = v1::CreateServiceAccountRequest {
        organization: ACME.to_owned(),
        roles: owned(&["admin"]),
        ..Default::default()
    };
    let refused = daemon
        .service_accounts()
        .create_service_account(by_token(&secret, accounts))
        .await;
    assert_eq!(reason(&refused.expect_err("wider")), "EXCEEDS_GRANTOR");
    daemon.stop().await;
}

#[tokio::test]
async fn nobody_gets_hold_of_a_token_that_may_more_than_they() {
    let (daemon, _) = studio().await;
    let roles = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "token-keeper".to_owned(),
        display_name: "Token keeper".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["ApiTokensManage"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    daemon.roles().create_role(roles).await.expect("a role");
    daemon.add(ACME, "kay", &["token-keeper"]).await;
    service_account(&daemon, "robot", &["admin"]).await;
    let strong = create(&daemon, of_service_account("robot")).await;
    let strong = strong.token.expect("a token").id;
    for (request, why) in [
        (member_token("ada"), "PERMISSION_DENIED"),
        (of_service_account("robot"), "EXCEEDS_GRANTOR"),
        (organization_token(&["viewer"]), "EXCEEDS_GRANTOR"),
    ] {
        let refused = daemon.tokens().create_token(as_actor("kay", request)).await;
        assert_eq!(reason(&refused.expect_err("refused")), why);
    }
    let rotation = v1::RotateTokenRequest {
        organization: ACME.to_owned(),
        token: strong,
        ..Default::default()
    };
    let refused = daemon
        .tokens()
        .rotate_token(as_actor("kay", rotation))
        .await;
    assert_eq!(reason(&refused.expect_err("refused")), "EXCEEDS_GRANTOR");
    let own = daemon
        .tokens()
        .create_token(as_actor("kay", member_token("")))
        .await;
    let own = own.expect("a token of their own").into_inner();
    assert_eq!(own.token.expect("a token").subject, "kay");
    daemon.stop().await;
}
