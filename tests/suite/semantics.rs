//! What roles, project roles, overrides, defaults and ownership mean, told as sentences.

mod default_roles;
mod membership;
mod overrides;
mod ownership;
mod plans;
mod projects;
mod roles;
mod sixth_product;
mod staleness;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use roster::proto::v1;
use tonic::{Code, Status};

use crate::harness::{Daemon, in_project, owned, owned_by, question, reason};

/// The organization of these tests.
const ACME: &str = "acme";

/// A daemon with one organization, `acme`, and short words for what is done to it.
struct Team {
    daemon: Daemon,
}

impl Team {
    /// A team on the first plan of a catalog that has room for one; `owner` owns it.
    async fn on(catalog: &str) -> Self {
        let daemon = Daemon::start().await;
        daemon.found(ACME, catalog).await;
        let team = Self { daemon };
        // Its first plan has a seat for the owner only.
        if catalog == "qoc-cloud" {
            team.plan("enterprise").await;
        }
        team
    }

    async fn stop(self) {
        self.daemon.stop().await;
    }

    async fn add(&self, user: &str, roles: &[&str]) {
        self.daemon.add(ACME, user, roles).await;
    }

    async fn project(&self, project: &str) {
        self.daemon.project(ACME, project).await;
    }

    async fn project_roles(&self, project: &str, user: &str, roles: &[&str]) {
        self.daemon.project_roles(ACME, project, user, roles).await;
    }

    /// Whether a user may do it to a resource outside of every project.
    async fn may(&self, user: &str, action: &str, of: (&str, &str)) -> bool {
        self.daemon
            .allows(question(ACME, user, action, of.0, of.1))
            .await
    }

    /// Whether a user may do it to a resource in a project.
    async fn may_in(&self, project: &str, user: &str, action: &str, of: (&str, &str)) -> bool {
        let question = question(ACME, user, action, of.0, of.1);
        self.daemon.allows(in_project(question, project)).await
    }

    /// Whether a user may do it to a resource that somebody owns.
    async fn may_to_one_of(&self, owner: &str, user: &str, action: &str, of: (&str, &str)) -> bool {
        let question = question(ACME, user, action, of.0, of.1);
        self.daemon.allows(owned_by(question, owner)).await
    }

    /// Whether a user may do it to the organization.
    async fn may_here(&self, user: &str, action: &str) -> bool {
        self.may(user, action, ("Organization", ACME)).await
    }

    async fn set_roles(&self, user: &str, roles: &[&str]) {
        self.daemon
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

    async fn suspend(&self, user: &str) {
        self.daemon
            .members()
            .suspend_member(v1::SuspendMemberRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the member is suspended");
    }

    async fn reinstate(&self, user: &str) {
        self.daemon
            .members()
            .reinstate_member(v1::ReinstateMemberRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the member is reinstated");
    }

    async fn remove(&self, user: &str, heir: &str) -> v1::RemoveMemberResponse {
        self.daemon
            .members()
            .remove_member(v1::RemoveMemberRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                reassign_resources_to: heir.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the member is removed")
            .into_inner()
    }

    async fn member(&self, user: &str) -> v1::Member {
        self.daemon
            .members()
            .get_member(v1::GetMemberRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the member is read")
            .into_inner()
            .member
            .expect("a member")
    }

    async fn try_project_roles(
        &self,
        project: &str,
        user: &str,
        roles: &[&str],
    ) -> Result<(), Status> {
        self.daemon
            .projects()
            .set_project_roles(v1::SetProjectRolesRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                roles: owned(roles),
                ..Default::default()
            })
            .await
            .map(drop)
    }

    async fn clear_project_roles(&self, project: &str, user: &str) {
        self.daemon
            .projects()
            .clear_project_roles(v1::ClearProjectRolesRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the roles are cleared");
    }

    async fn try_override(
        &self,
        project: &str,
        user: &str,
        roles: &[&str],
        permissions: v1::Permissions,
    ) -> Result<(), Status> {
        self.daemon
            .projects()
            .set_project_override(v1::SetProjectOverrideRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                roles: owned(roles),
                permissions: Some(permissions),
                ..Default::default()
            })
            .await
            .map(drop)
    }

    /// Replaces a user's rights in a project by these actions.
    async fn replace(&self, project: &str, user: &str, actions: &[&str]) {
        self.try_override(project, user, &[], permissions(actions))
            .await
            .expect("the override is set");
    }

    /// Replaces a user's rights in a project by what these roles give.
    async fn replace_by_roles(&self, project: &str, user: &str, roles: &[&str]) {
        self.try_override(project, user, roles, v1::Permissions::default())
            .await
            .expect("the override is set");
    }

    async fn remove_override(&self, project: &str, user: &str) {
        self.daemon
            .projects()
            .remove_project_override(v1::RemoveProjectOverrideRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the override is removed");
    }

    async fn try_default_roles(&self, user: &str, roles: &[&str]) -> Result<(), Status> {
        self.daemon
            .projects()
            .set_default_roles(v1::SetDefaultRolesRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                roles: owned(roles),
                ..Default::default()
            })
            .await
            .map(drop)
    }

    async fn default_roles(&self, user: &str, roles: &[&str]) {
        self.try_default_roles(user, roles)
            .await
            .expect("the default roles are set");
    }

    async fn copy_default_roles(&self, user: &str) {
        self.daemon
            .projects()
            .copy_default_roles(v1::CopyDefaultRolesRequest {
                organization: ACME.to_owned(),
                user: user.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the default roles are copied");
    }

    async fn try_create_role(
        &self,
        role: &str,
        permissions: v1::Permissions,
    ) -> Result<v1::Role, Status> {
        self.daemon
            .roles()
            .create_role(v1::CreateRoleRequest {
                organization: ACME.to_owned(),
                role_id: role.to_owned(),
                display_name: format!("The {role} people"),
                permissions: Some(permissions),
                ..Default::default()
            })
            .await
            .map(|answer| answer.into_inner().role.expect("a role"))
    }

    async fn create_role(&self, role: &str, actions: &[&str]) -> v1::Role {
        self.try_create_role(role, permissions(actions))
            .await
            .expect("the role is created")
    }

    async fn try_update_role(&self, role: &str, actions: &[&str]) -> Result<v1::Role, Status> {
        self.daemon
            .roles()
            .update_role(v1::UpdateRoleRequest {
                organization: ACME.to_owned(),
                role: role.to_owned(),
                permissions: Some(permissions(actions)),
                update_mask: Some(prost_types::FieldMask {
                    paths: owned(&["permissions"]),
                }),
                ..Default::default()
            })
            .await
            .map(|answer| answer.into_inner().role.expect("a role"))
    }

    async fn update_role(&self, role: &str, actions: &[&str]) -> v1::Role {
        self.try_update_role(role, actions)
            .await
            .expect("the role is edited")
    }

    async fn reset_role(&self, role: &str) {
        self.daemon
            .roles()
            .reset_role(v1::ResetRoleRequest {
                organization: ACME.to_owned(),
                role: role.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the role is reset");
    }

    async fn try_delete_role(&self, role: &str) -> Result<(), Status> {
        self.daemon
            .roles()
            .delete_role(v1::DeleteRoleRequest {
                organization: ACME.to_owned(),
                role: role.to_owned(),
                ..Default::default()
            })
            .await
            .map(drop)
    }

    async fn role(&self, role: &str) -> v1::Role {
        self.daemon
            .roles()
            .get_role(v1::GetRoleRequest {
                organization: ACME.to_owned(),
                role: role.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the role is read")
            .into_inner()
            .role
            .expect("a role")
    }

    async fn plan(&self, plan: &str) {
        self.daemon
            .organizations()
            .set_plan(v1::SetPlanRequest {
                organization: ACME.to_owned(),
                plan: plan.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the plan is set");
    }

    async fn register(&self, of: (&str, &str), project: &str, owner: &str) {
        self.daemon
            .resources()
            .register_resource(v1::RegisterResourceRequest {
                organization: ACME.to_owned(),
                r#type: of.0.to_owned(),
                id: of.1.to_owned(),
                project: project.to_owned(),
                owner: owner.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the resource is registered");
    }

    async fn transfer(&self, of: (&str, &str), owner: &str) {
        self.daemon
            .resources()
            .transfer_resource(v1::TransferResourceRequest {
                organization: ACME.to_owned(),
                r#type: of.0.to_owned(),
                id: of.1.to_owned(),
                owner: owner.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the resource is transferred");
    }

    async fn move_to(&self, of: (&str, &str), project: &str) {
        self.daemon
            .resources()
            .move_resource(v1::MoveResourceRequest {
                organization: ACME.to_owned(),
                r#type: of.0.to_owned(),
                id: of.1.to_owned(),
                project: project.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the resource is moved");
    }

    async fn unregister(&self, of: (&str, &str)) {
        self.daemon
            .resources()
            .unregister_resource(v1::UnregisterResourceRequest {
                organization: ACME.to_owned(),
                r#type: of.0.to_owned(),
                id: of.1.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the resource is unregistered");
    }

    async fn archive(&self, project: &str) {
        self.daemon
            .projects()
            .archive_project(v1::ArchiveProjectRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the project is archived");
    }

    async fn unarchive(&self, project: &str) {
        self.daemon
            .projects()
            .unarchive_project(v1::UnarchiveProjectRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the project is opened again");
    }

    async fn try_delete_project(&self, project: &str) -> Result<(), Status> {
        self.daemon
            .projects()
            .delete_project(v1::DeleteProjectRequest {
                organization: ACME.to_owned(),
                project: project.to_owned(),
                ..Default::default()
            })
            .await
            .map(drop)
    }
}

/// Permissions of these actions, on every resource.
fn permissions(actions: &[&str]) -> v1::Permissions {
    v1::Permissions {
        actions: owned(actions),
        ..Default::default()
    }
}

/// The same question with attributes of its resource.
fn with_attributes(
    mut question: v1::IsAuthorizedRequest,
    attributes: &[(&str, Kind)],
) -> v1::IsAuthorizedRequest {
    question.resource.get_or_insert_default().attributes = Some(Struct {
        fields: attributes
            .iter()
            .map(|(name, kind)| {
                let kind = Some(kind.clone());
                ((*name).to_owned(), Value { kind })
            })
            .collect(),
    });
    question
}

fn truth(truth: bool) -> Kind {
    Kind::BoolValue(truth)
}

fn texts(texts: &[&str]) -> Kind {
    Kind::ListValue(ListValue {
        values: texts
            .iter()
            .map(|text| Value {
                kind: Some(Kind::StringValue((*text).to_owned())),
            })
            .collect(),
    })
}

/// Asserts that a change was refused with this code and reason.
#[track_caller]
fn assert_refused<T>(outcome: Result<T, Status>, code: Code, expected: &str) {
    let Err(status) = outcome else {
        panic!("the change was made");
    };
    assert_eq!(status.code(), code, "{status:?}");
    assert_eq!(reason(&status), expected, "{status:?}");
}
