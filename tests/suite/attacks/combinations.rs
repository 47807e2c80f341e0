//! What gets round a rule by two steps that each look harmless.

use prost_types::Timestamp;
use roster::domain::organization::Moment;
use roster::proto::v1;
use tonic::Code;

use super::{ACME, events, refused, team_on};
use crate::harness::{Daemon, NOW, as_actor, in_project, owned, question};
use crate::transfer::offer;

/// A Hypervisor.io account in which the Admin, `ada`, is held down to viewing in
/// `production`.
async fn account() -> Daemon {
    let daemon = team_on("hypervisor-io").await;
    daemon.project(ACME, "production").await;
    daemon.project(ACME, "sandbox").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "bob", &["viewer"]).await;
    let held_down = daemon
        .projects()
        .set_project_override(override_of("ada", "production", None))
        .await;
    held_down.expect("the override is set");
    daemon
}

fn override_of(
    user: &str,
    project: &str,
    not_before: Option<Timestamp>,
) -> v1::SetProjectOverrideRequest {
    v1::SetProjectOverrideRequest {
        organization: ACME.to_owned(),
        project: project.to_owned(),
        user: user.to_owned(),
        roles: owned(&["viewer"]),
        period: not_before.map(|not_before| v1::Period {
            not_before: Some(not_before),
            expires_at: None,
        }),
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

fn timestamp(moment: Moment) -> Timestamp {
    Timestamp {
        seconds: moment.0 / 1_000,
        nanos: 0,
    }
}

#[tokio::test]
async fn an_override_of_another_time_hides_no_right_that_is_given_beneath_it() {
    let daemon = account().await;
    let far = Moment(NOW.0 + 1_000_000_000_000);
    let hidden = override_of("bob", "production", Some(timestamp(far)));
    let set = daemon
        .projects()
        .set_project_override(as_actor("ada", hidden))
        .await;
    set.expect("it gives nothing");
    let mut members = daemon.members();
    let attempt = members.set_member_roles(as_actor("ada", roles_of("bob", &["admin"])));
    refused(&daemon, attempt, Code::PermissionDenied, "EXCEEDS_GRANTOR").await;
    let deletes = in_project(
        question(ACME, "bob", "DatabasesDelete", "Database", "db"),
        "production",
    );
    assert!(!daemon.allows(deletes).await);
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_that_others_hold_grows_by_nobody_who_is_held_down_where_it_counts() {
    let daemon = account().await;
    let created = daemon
        .roles()
        .create_role(as_actor(
            "ada",
            v1::CreateRoleRequest {
                organization: ACME.to_owned(),
                role_id: "helper".to_owned(),
                display_name: "Helper".to_owned(),
                ..Default::default()
            },
        ))
        .await;
    created.expect("an empty role");
    let given = daemon
        .members()
        .set_member_roles(as_actor("ada", roles_of("bob", &["helper"])))
        .await;
    given.expect("it gives nothing");
    let mut roles = daemon.roles();
    let attempt = roles.update_role(as_actor(
        "ada",
        v1::UpdateRoleRequest {
            organization: ACME.to_owned(),
            role: "helper".to_owned(),
            permissions: Some(v1::Permissions {
                actions: owned(&["DatabasesDelete"]),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: owned(&["permissions"]),
            }),
            ..Default::default()
        },
    ));
    let status = refused(&daemon, attempt, Code::PermissionDenied, "EXCEEDS_GRANTOR").await;
    assert!(status.message().contains("production"), "{status:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_resource_is_not_moved_to_where_its_mover_may_do_more_to_it() {
    let daemon = account().await;
    let registered = daemon
        .resources()
        .register_resource(v1::RegisterResourceRequest {
            organization: ACME.to_owned(),
            r#type: "Database".to_owned(),
            id: "db".to_owned(),
            project: "production".to_owned(),
            ..Default::default()
        })
        .await;
    registered.expect("registered");
    let to = |project: &str| {
        as_actor(
            "ada",
            v1::MoveResourceRequest {
                organization: ACME.to_owned(),
                r#type: "Database".to_owned(),
                id: "db".to_owned(),
                project: project.to_owned(),
                ..Default::default()
            },
        )
    };
    for place in ["sandbox", ""] {
        let mut resources = daemon.resources();
        let attempt = resources.move_resource(to(place));
        refused(&daemon, attempt, Code::PermissionDenied, "EXCEEDS_GRANTOR").await;
    }
    daemon.stop().await;
}

async fn token_for(daemon: &Daemon, user: &str, scope: Option<v1::TokenScope>) -> (String, String) {
    let created = daemon
        .tokens()
        .create_token(v1::CreateTokenRequest {
            organization: ACME.to_owned(),
            kind: v1::TokenKind::Member.into(),
            subject: user.to_owned(),
            display_name: "Laptop".to_owned(),
            scope,
            ..Default::default()
        })
        .await
        .expect("the token is created")
        .into_inner();
    (created.token.expect("a token").id, created.secret)
}

#[tokio::test]
async fn nobody_makes_or_renews_the_secret_of_another_persons_token() {
    let daemon = account().await;
    let (token, _) = token_for(&daemon, "bob", None).await;
    let mut tokens = daemon.tokens();
    let attempt = tokens.rotate_token(as_actor(
        "ada",
        v1::RotateTokenRequest {
            organization: ACME.to_owned(),
            token: token.clone(),
            ..Default::default()
        },
    ));
    refused(
        &daemon,
        attempt,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    )
    .await;
    daemon.stop().await;
}

/// A request by an API token.
fn by_token<T>(secret: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let secret = secret.parse().expect("a header value");
    request.metadata_mut().insert("roster-actor-token", secret);
    request
}

#[tokio::test]
async fn a_token_takes_no_ownership_and_makes_no_tokens() {
    let daemon = account().await;
    let (id, secret) = token_for(&daemon, "ada", None).await;
    let offered = daemon
        .organizations()
        .initiate_transfer(as_actor("owner", offer(ACME, "ada")))
        .await;
    offered.expect("offered");
    let mut organizations = daemon.organizations();
    let attempt = organizations.accept_transfer(by_token(
        &secret,
        v1::AcceptTransferRequest {
            organization: ACME.to_owned(),
            ..Default::default()
        },
    ));
    refused(
        &daemon,
        attempt,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    )
    .await;
    assert_eq!(events(&daemon)[0].event.token, id);
    let mut tokens = daemon.tokens();
    let attempt = tokens.rotate_token(by_token(
        &secret,
        v1::RotateTokenRequest {
            organization: ACME.to_owned(),
            token: id.clone(),
            ..Default::default()
        },
    ));
    refused(
        &daemon,
        attempt,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    )
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_letter_of_an_offer_that_was_replaced_carries_no_link() {
    let daemon = account().await;
    daemon.add(ACME, "amy", &["admin"]).await;
    for target in ["ada", "amy"] {
        let offered = daemon
            .organizations()
            .initiate_transfer(as_actor("owner", offer(ACME, target)))
            .await;
        offered.expect("offered");
    }
    let leased = daemon
        .notifications()
        .lease_notifications(v1::LeaseNotificationsRequest {
            ..Default::default()
        })
        .await
        .expect("leased")
        .into_inner()
        .notifications;
    let with_link: Vec<(String, bool)> = leased
        .into_iter()
        .filter(|leased| !leased.link.is_empty())
        .map(|leased| {
            let notification = leased.notification.expect("a notification");
            (notification.user, leased.body.contains(&leased.link))
        })
        .collect();
    assert_eq!(with_link, [("amy".to_owned(), true)]);
    daemon.stop().await;
}

#[tokio::test]
async fn members_of_a_group_do_not_lift_the_limit_that_binds_them() {
    let daemon = account().await;
    let group = |limit: i64| v1::CreateGroupRequest {
        organization: ACME.to_owned(),
        group_id: "strict".to_owned(),
        display_name: "Strict".to_owned(),
        max_token_age: Some(prost_types::Duration {
            seconds: limit,
            nanos: 0,
        }),
        ..Default::default()
    };
    daemon
        .groups()
        .create_group(group(86_400))
        .await
        .expect("a group");
    let joined = daemon
        .groups()
        .add_group_member(v1::AddGroupMemberRequest {
            organization: ACME.to_owned(),
            group: "strict".to_owned(),
            user: "ada".to_owned(),
            ..Default::default()
        })
        .await;
    joined.expect("joined");
    let mut groups = daemon.groups();
    let attempt = groups.update_group(as_actor(
        "ada",
        v1::UpdateGroupRequest {
            organization: ACME.to_owned(),
            group: "strict".to_owned(),
            display_name: "Strict".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, Code::PermissionDenied, "SELF_CHANGE").await;
    let mut groups = daemon.groups();
    let attempt = groups.delete_group(as_actor(
        "ada",
        v1::DeleteGroupRequest {
            organization: ACME.to_owned(),
            group: "strict".to_owned(),
            ..Default::default()
        },
    ));
    refused(&daemon, attempt, Code::PermissionDenied, "SELF_CHANGE").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_for_a_project_that_was_deleted_is_not_for_the_next_of_that_id() {
    let daemon = account().await;
    daemon.add(ACME, "olga", &["operator"]).await;
    let scope = v1::TokenScope {
        actions: Vec::new(),
        projects: owned(&["sandbox"]),
    };
    let (_, secret) = token_for(&daemon, "olga", Some(scope)).await;
    let asks = || v1::IsAuthorizedWithTokenRequest {
        token: secret.clone(),
        action: "InstancesManage".to_owned(),
        resource: Some(v1::Resource {
            r#type: "Instance".to_owned(),
            id: "vm".to_owned(),
            project: "sandbox".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = daemon
        .authorization()
        .is_authorized_with_token(asks())
        .await;
    assert_eq!(
        answer.expect("an answer").into_inner().decision(),
        v1::Decision::Allow
    );
    let deleted = daemon
        .projects()
        .delete_project(v1::DeleteProjectRequest {
            organization: ACME.to_owned(),
            project: "sandbox".to_owned(),
            ..Default::default()
        })
        .await;
    deleted.expect("deleted");
    daemon.project(ACME, "sandbox").await;
    let answer = daemon
        .authorization()
        .is_authorized_with_token(asks())
        .await;
    assert_eq!(
        answer.expect("an answer").into_inner().decision(),
        v1::Decision::Deny
    );
    daemon.stop().await;
}

#[tokio::test]
async fn memberships_that_end_together_are_each_told_of_and_much_owned_goes_in_steps() {
    let daemon = account().await;
    let end = Moment(NOW.0 + 60_000);
    for user in ["gus", "ger"] {
        let added = daemon
            .members()
            .add_member(v1::AddMemberRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                email: format!("{user}@x.example"),
                period: Some(v1::Period {
                    not_before: None,
                    expires_at: Some(timestamp(end)),
                }),
                ..Default::default()
            })
            .await;
        added.expect("added");
    }
    daemon.world.set(end);
    daemon.application.expire_due().await;
    let snapshot = daemon.application.find(ACME).await.expect("it is there");
    let told: Vec<&str> = snapshot
        .organization()
        .notifications
        .values()
        .map(|notification| notification.email.as_str())
        .filter(|email| email.starts_with('g'))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    daemon.stop().await;
}
