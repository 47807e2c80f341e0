//! What each RPC takes: one scope, and what it is about. The only place that says so.
//!
//! An RPC without a row is not there: nothing that is not listed here is routed.
//! `tests/trust/callers` holds the table to the descriptors, and every caller to it.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::application::{Actor, Permit, Scope};
use crate::domain::Refusal;
use crate::proto::FILE_DESCRIPTOR_SET;

/// What a caller must be to call something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Anybody.
    Nothing,
    /// Anybody who is recognised.
    Recognition,
    /// A caller with scope `check`.
    Check,
    /// A caller with scope `manage` on behalf of an actor, or with scope `operate`
    /// without one.
    Manage,
    /// A caller with scope `operate`.
    Operate,
}

/// Which organizations a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// Those that its messages name.
    Named,
    /// All of them, which callers that are bound to some are refused.
    Everything,
    /// None.
    Nothing,
}

use Concerns::{Everything, Named, Nothing};
use Takes::{Check, Manage, Operate};

/// What an RPC takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What a caller must be.
    pub takes: Takes,
    /// What it is about.
    pub concerns: Concerns,
    /// Whether its answer goes on, so that it has to end when its caller is none any more.
    pub streams: bool,
}

/// Every RPC of `roster.v1`.
pub const RPCS: &[(&str, Takes, Concerns)] = &[
    ("AuditService/ListEvents", Manage, Named),
    ("AuditService/GetEvent", Manage, Named),
    ("AuditService/AppendEvents", Operate, Named),
    ("AuditService/VerifyHistory", Operate, Everything),
    ("AuthorizationService/IsAuthorized", Check, Named),
    ("AuthorizationService/BatchIsAuthorized", Check, Named),
    ("AuthorizationService/StreamIsAuthorized", Check, Named),
    ("AuthorizationService/IsAuthorizedWithToken", Check, Named),
    ("GroupService/CreateGroup", Manage, Named),
    ("GroupService/GetGroup", Manage, Named),
    ("GroupService/ListGroups", Manage, Named),
    ("GroupService/UpdateGroup", Manage, Named),
    ("GroupService/DeleteGroup", Manage, Named),
    ("GroupService/AddGroupMember", Manage, Named),
    ("GroupService/RemoveGroupMember", Manage, Named),
    ("GroupService/ListGroupMembers", Manage, Named),
    ("GroupService/SetGroupProjectRoles", Manage, Named),
    ("InvitationService/CreateInvitation", Manage, Named),
    ("InvitationService/BulkCreateInvitations", Manage, Named),
    ("InvitationService/GetInvitation", Manage, Named),
    ("InvitationService/ListInvitations", Manage, Named),
    ("InvitationService/ResendInvitation", Manage, Named),
    ("InvitationService/CopyInvitationLink", Manage, Named),
    ("InvitationService/RevokeInvitation", Manage, Named),
    ("InvitationService/AcceptInvitation", Manage, Named),
    ("InvitationService/DeclineInvitation", Manage, Named),
    ("MemberService/AddMember", Manage, Named),
    ("MemberService/GetMember", Manage, Named),
    ("MemberService/ListMembers", Manage, Named),
    ("MemberService/UpdateMember", Manage, Named),
    ("MemberService/SetMemberRoles", Manage, Named),
    ("MemberService/SuspendMember", Manage, Named),
    ("MemberService/ReinstateMember", Manage, Named),
    ("MemberService/RemoveMember", Manage, Named),
    ("MemberService/LeaveOrganization", Manage, Named),
    ("MemberService/SetMemberPeriod", Manage, Named),
    ("MemberService/RecordMemberActivity", Manage, Named),
    ("MemberService/RemoveUser", Operate, Everything),
    (
        "NotificationService/LeaseNotifications",
        Operate,
        Everything,
    ),
    (
        "NotificationService/AcknowledgeNotifications",
        Operate,
        Named,
    ),
    ("NotificationService/ReleaseNotifications", Operate, Named),
    ("NotificationService/ListNotifications", Operate, Named),
    ("OperatorService/Backup", Operate, Everything),
    ("OperatorService/GetStatus", Operate, Everything),
    ("OperatorService/CreateCallerKey", Operate, Everything),
    ("OperatorService/ListCallerKeys", Operate, Everything),
    ("OperatorService/RotateCallerKey", Operate, Everything),
    ("OperatorService/RevokeCallerKey", Operate, Everything),
    ("OrganizationService/CreateOrganization", Operate, Named),
    ("OrganizationService/GetOrganization", Manage, Named),
    ("OrganizationService/ListOrganizations", Operate, Everything),
    ("OrganizationService/UpdateOrganization", Manage, Named),
    ("OrganizationService/SetPlan", Operate, Named),
    ("OrganizationService/DeleteOrganization", Manage, Named),
    (
        "OrganizationService/ListOrganizationsForUser",
        Manage,
        Everything,
    ),
    ("OrganizationService/TransferOwnership", Manage, Named),
    ("OrganizationService/InitiateTransfer", Manage, Named),
    ("OrganizationService/AcceptTransfer", Manage, Named),
    ("OrganizationService/DeclineTransfer", Manage, Named),
    ("OrganizationService/CancelTransfer", Manage, Named),
    ("OrganizationService/GetTransfer", Manage, Named),
    ("PolicyService/ListCatalogs", Operate, Nothing),
    ("PolicyService/GetCatalog", Operate, Nothing),
    ("PolicyService/ListPolicies", Manage, Named),
    ("PolicyService/ExportPolicies", Manage, Named),
    ("PolicyService/CreateGuardrail", Manage, Named),
    ("PolicyService/GetGuardrail", Manage, Named),
    ("PolicyService/ListGuardrails", Manage, Named),
    ("PolicyService/UpdateGuardrail", Manage, Named),
    ("PolicyService/DeleteGuardrail", Manage, Named),
    ("ProjectService/CreateProject", Manage, Named),
    ("ProjectService/GetProject", Manage, Named),
    ("ProjectService/ListProjects", Manage, Named),
    ("ProjectService/UpdateProject", Manage, Named),
    ("ProjectService/ArchiveProject", Manage, Named),
    ("ProjectService/UnarchiveProject", Manage, Named),
    ("ProjectService/DeleteProject", Manage, Named),
    ("ProjectService/SetProjectRoles", Manage, Named),
    ("ProjectService/ClearProjectRoles", Manage, Named),
    ("ProjectService/SetProjectOverride", Manage, Named),
    ("ProjectService/RemoveProjectOverride", Manage, Named),
    ("ProjectService/SetDefaultRoles", Manage, Named),
    ("ProjectService/CopyDefaultRoles", Manage, Named),
    ("ProjectService/ListProjectMembers", Manage, Named),
    ("ResourceService/RegisterResource", Manage, Named),
    ("ResourceService/GetResource", Manage, Named),
    ("ResourceService/ListResources", Manage, Named),
    ("ResourceService/TransferResource", Manage, Named),
    ("ResourceService/MoveResource", Manage, Named),
    ("ResourceService/ReassignResources", Manage, Named),
    ("ResourceService/UnregisterResource", Manage, Named),
    ("RoleService/CreateRole", Manage, Named),
    ("RoleService/GetRole", Manage, Named),
    ("RoleService/ListRoles", Manage, Named),
    ("RoleService/UpdateRole", Manage, Named),
    ("RoleService/DeleteRole", Manage, Named),
    ("RoleService/ResetRole", Manage, Named),
    ("ServiceAccountService/CreateServiceAccount", Manage, Named),
    ("ServiceAccountService/GetServiceAccount", Manage, Named),
    ("ServiceAccountService/ListServiceAccounts", Manage, Named),
    ("ServiceAccountService/UpdateServiceAccount", Manage, Named),
    (
        "ServiceAccountService/SetServiceAccountRoles",
        Manage,
        Named,
    ),
    ("ServiceAccountService/DeleteServiceAccount", Manage, Named),
    ("TokenService/CreateToken", Manage, Named),
    ("TokenService/GetToken", Manage, Named),
    ("TokenService/ListTokens", Manage, Named),
    ("TokenService/UpdateToken", Manage, Named),
    ("TokenService/RotateToken", Manage, Named),
    ("TokenService/RevokeToken", Manage, Named),
    ("TokenService/DeleteToken", Manage, Named),
];

/// Every RPC of others that is served.
pub const OTHERS: &[(&str, Takes)] = &[
    ("/grpc.health.v1.Health/Check", Takes::Nothing),
    ("/grpc.health.v1.Health/Watch", Takes::Nothing),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Takes::Recognition,
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Takes::Recognition,
    ),
];

/// What the RPC of that path takes; nothing if there is no such RPC.
pub fn of(path: &str) -> Option<Access> {
    static TABLE: OnceLock<HashMap<String, Access>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let streaming = streaming();
        let own = RPCS.iter().map(|(name, takes, concerns)| {
            let path = format!("/roster.v1.{name}");
            let access = Access {
                takes: *takes,
                concerns: *concerns,
                streams: streaming.contains(&path),
            };
            (path, access)
        });
        let others = OTHERS.iter().map(|(path, takes)| {
            let access = Access {
                takes: *takes,
                concerns: Nothing,
                streams: true,
            };
            ((*path).to_owned(), access)
        });
        own.chain(others).collect()
    });
    table.get(path).copied()
}

/// The paths of Roster's own RPCs that answer with a stream.
fn streaming() -> HashSet<String> {
    let descriptors = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut paths = HashSet::new();
    for file in &descriptors.file {
        for service in &file.service {
            let methods = service.method.iter();
            let methods = methods.filter(|method| method.server_streaming());
            let (package, service) = (file.package(), service.name());
            paths.extend(methods.map(|method| format!("/{package}.{service}/{}", method.name())));
        }
    }
    paths
}

impl Access {
    /// Refuses a caller who may not call it at all, on behalf of that actor.
    pub fn check(self, permit: &Permit, actor: &Actor) -> Result<(), Refusal> {
        let scope = match (self.takes, actor) {
            (Takes::Nothing | Takes::Recognition, _) => None,
            (Takes::Check, _) => Some(Scope::Check),
            (Takes::Manage, Actor::Member(_) | Actor::Token(_)) => Some(Scope::Manage),
            (Takes::Manage, Actor::Operator) | (Takes::Operate, _) => Some(Scope::Operate),
        };
        if let Some(scope) = scope
            && !permit.scopes.has(scope)
        {
            return Err(Refusal::ScopeMissing(scope.name()));
        }
        if self.concerns == Everything && permit.bounds.is_some() {
            return Err(Refusal::ForeignOrganization);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_with_a_stream_is_known_from_the_descriptors() {
        let streams = |path: &str| of(path).map(|access| access.streams);
        for streaming in [
            "/roster.v1.AuthorizationService/StreamIsAuthorized",
            "/roster.v1.PolicyService/ExportPolicies",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(streams(streaming), Some(true), "{streaming}");
        }
        // Whoever gives itself a new secret has to be told it.
        let rotation = "/roster.v1.OperatorService/RotateCallerKey";
        assert_eq!(streams(rotation), Some(false));
        assert_eq!(streams("/roster.v1.OperatorService/Nothing"), None);
    }
}
