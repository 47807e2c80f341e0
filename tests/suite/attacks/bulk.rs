//! Many at once, again, and from elsewhere.

use std::sync::Arc;

use roster::proto::v1;
use roster::store::memory::MemoryStore;
use tonic::Code;

use super::{ACME, refused, team_on, team_on_plan, users};
use crate::harness::{Daemon, owned, question};

fn remove(user: &str) -> v1::RemoveMemberRequest {
    v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn b_02_exactly_those_leave_who_are_removed_however_many_at_once() {
    let daemon = team_on("hypervisor-io").await;
    let names: Vec<String> = (0..20).map(|number| format!("user-{number:02}")).collect();
    for name in &names {
        daemon.add(ACME, name, &["viewer"]).await;
    }
    let leaving = names.iter().step_by(2);
    let removals = leaving.map(|name| {
        let (mut members, request) = (daemon.members(), remove(name));
        async move { members.remove_member(request).await.map(drop) }
    });
    for removed in futures_util::future::join_all(removals).await {
        removed.expect("removed");
    }
    let mut left: Vec<String> = names.iter().skip(1).step_by(2).cloned().collect();
    left.insert(0, "owner".to_owned());
    assert_eq!(users(&daemon).await, left);
    daemon.stop().await;
}

#[tokio::test]
async fn b_03_adding_somebody_again_wipes_nothing() {
    let daemon = team_on("hypervisor-io").await;
    let added = daemon
        .members()
        .add_member(v1::AddMemberRequest {
            organization: ACME.to_owned(),
            user: "ann".to_owned(),
            display_name: "Ann".to_owned(),
            email: "ann@x.example".to_owned(),
            roles: owned(&["operator"]),
            ..Default::default()
        })
        .await;
    added.expect("added");
    let mut members = daemon.members();
    let attempt = members.add_member(v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: "ann".to_owned(),
        ..Default::default()
    });
    refused(&daemon, attempt, Code::AlreadyExists, "ALREADY_EXISTS").await;
    daemon.stop().await;
}

#[tokio::test]
async fn b_09_an_edit_of_what_has_changed_since_is_aborted() {
    let daemon = team_on_plan("greenhouse", "commercial").await;
    daemon.project(ACME, "north").await;
    daemon.add(ACME, "ann", &["gardener"]).await;
    let created = daemon
        .roles()
        .create_role(v1::CreateRoleRequest {
            organization: ACME.to_owned(),
            role_id: "helper".to_owned(),
            display_name: "Helper".to_owned(),
            ..Default::default()
        })
        .await
        .expect("created")
        .into_inner();
    let etag = created.role.expect("a role").etag;
    let edit = |name: &str| v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: "helper".to_owned(),
        display_name: name.to_owned(),
        etag: etag.clone(),
        ..Default::default()
    };
    daemon
        .roles()
        .update_role(edit("First"))
        .await
        .expect("fresh");
    let mut roles = daemon.roles();
    refused(
        &daemon,
        roles.update_role(edit("Second")),
        Code::Aborted,
        "STALE_ETAG",
    )
    .await;
    let replaced = |etag: &str| v1::SetProjectOverrideRequest {
        organization: ACME.to_owned(),
        project: "north".to_owned(),
        user: "ann".to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let set = daemon.projects().set_project_override(replaced("")).await;
    let etag = set
        .expect("set")
        .into_inner()
        .member
        .expect("a member")
        .etag;
    let again = daemon
        .projects()
        .set_project_override(replaced(&etag))
        .await;
    again.expect("fresh");
    let mut projects = daemon.projects();
    let attempt = projects.set_project_override(replaced(&etag));
    refused(&daemon, attempt, Code::Aborted, "STALE_ETAG").await;
    daemon.stop().await;
}

#[tokio::test]
async fn p_14_what_is_written_in_names_is_never_policy() {
    const POLICY: &str = "\"); permit(principal, action, resource); //";
    let daemon = team_on("hypervisor-io").await;
    daemon.add(ACME, "vic", &["viewer"]).await;
    let policies = async || {
        let request = v1::ListPoliciesRequest {
            organization: ACME.to_owned(),
            page_size: 1_000,
            ..Default::default()
        };
        let listed = daemon.policies().list_policies(request).await;
        listed.expect("policies").into_inner().policies
    };
    let before = policies().await;
    let created = daemon
        .roles()
        .create_role(v1::CreateRoleRequest {
            organization: ACME.to_owned(),
            role_id: "\");permit(principal,action,resource);//".to_owned(),
            display_name: POLICY.to_owned(),
            description: POLICY.to_owned(),
            ..Default::default()
        })
        .await;
    created.expect("odd names are names");
    assert_eq!(policies().await, before, "an empty role makes no policy");
    let mut roles = daemon.roles();
    let attempt = roles.create_role(v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "odd".to_owned(),
        display_name: "Odd".to_owned(),
        permissions: Some(v1::Permissions {
            actions: vec![POLICY.to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    });
    refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;
    let asked = question(ACME, "vic", "DeleteOrganization", "Organization", ACME);
    assert!(!daemon.allows(asked).await);
    daemon.stop().await;
}

#[tokio::test]
async fn r_06_a_role_that_is_gone_grants_nothing() {
    use roster::domain::change::RecordChange;
    use roster::domain::identifiers::{OrganizationId, RoleId};
    use roster::domain::organization::{Member, Moment};
    use roster::store::{Commit, HistoryEvent, Store};

    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found(ACME, "hypervisor-io").await;
    daemon.add(ACME, "ann", &["viewer"]).await;
    let id = OrganizationId::new(ACME);
    let (organization, _) = store.load(&id).expect("read").expect("there");
    daemon.stop().await;
    let dangling = Member {
        roles: vec![RoleId::new("gone")],
        ..organization
            .members
            .get("ann")
            .expect("a member")
            .as_ref()
            .clone()
    };
    let commit = Commit {
        organization: id,
        expected: Some(organization.version),
        version: organization.version.next(),
        at: Moment(0),
        records: vec![RecordChange::PutMember(Arc::new(dangling))],
        events: vec![HistoryEvent {
            action: "Import".to_owned(),
            ..HistoryEvent::default()
        }],
        wake_at: None,
        idempotency: None,
        on_commit: Box::new(|_| {}),
    };
    store.commit(commit).await.expect("a commit");

    let daemon = Daemon::start_on(store).await;
    let answer = daemon
        .ask(question(ACME, "ann", "ViewMembers", "Organization", ACME))
        .await;
    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::NoGrant);
    daemon.stop().await;
}
