//! Which organizations a request names, so that callers who are bound to some are held to
//! them. Checks look at theirs in `authorization_service` and `hot`.

use tonic::{Request, Status};

use super::caller::Known;
use super::status;
use crate::application::{Bounds, permits};
use crate::domain::Refusal;
use crate::proto::v1;

/// A request that may name organizations.
pub trait About {
    /// Those that it names; none if it is about no single one.
    fn organizations(&self) -> Vec<&str>;
}

macro_rules! about_one {
    ($($message:ident),* $(,)?) => {
        $(
            impl About for v1::$message {
                fn organizations(&self) -> Vec<&str> {
                    vec![&self.organization]
                }
            }
        )*
    };
}

macro_rules! about_none {
    ($($message:ident),* $(,)?) => {
        $(
            impl About for v1::$message {
                fn organizations(&self) -> Vec<&str> {
                    Vec::new()
                }
            }
        )*
    };
}

about_one!(
    AcceptInvitationRequest,
    AcceptTransferRequest,
    AddGroupMemberRequest,
    AddMemberRequest,
    AppendEventsRequest,
    ArchiveProjectRequest,
    BulkCreateInvitationsRequest,
    CancelTransferRequest,
    ClearProjectRolesRequest,
    CopyDefaultRolesRequest,
    CopyInvitationLinkRequest,
    CreateGroupRequest,
    CreateGuardrailRequest,
    CreateInvitationRequest,
    CreateProjectRequest,
    CreateRoleRequest,
    CreateServiceAccountRequest,
    CreateTokenRequest,
    DeclineInvitationRequest,
    DeclineTransferRequest,
    DeleteGroupRequest,
    DeleteGuardrailRequest,
    DeleteOrganizationRequest,
    DeleteProjectRequest,
    DeleteRoleRequest,
    DeleteServiceAccountRequest,
    DeleteTokenRequest,
    ExportPoliciesRequest,
    GetEventRequest,
    GetGroupRequest,
    GetGuardrailRequest,
    GetInvitationRequest,
    GetMemberRequest,
    GetOrganizationRequest,
    GetProjectRequest,
    GetResourceRequest,
    GetRoleRequest,
    GetServiceAccountRequest,
    GetTokenRequest,
    GetTransferRequest,
    InitiateTransferRequest,
    LeaveOrganizationRequest,
    ListEventsRequest,
    ListGroupMembersRequest,
    ListGroupsRequest,
    ListGuardrailsRequest,
    ListInvitationsRequest,
    ListMembersRequest,
    ListNotificationsRequest,
    ListPoliciesRequest,
    ListProjectMembersRequest,
    ListProjectsRequest,
    ListResourcesRequest,
    ListRolesRequest,
    ListServiceAccountsRequest,
    ListTokensRequest,
    MoveResourceRequest,
    ReassignResourcesRequest,
    RecordMemberActivityRequest,
    RegisterResourceRequest,
    ReinstateMemberRequest,
    RemoveGroupMemberRequest,
    RemoveMemberRequest,
    RemoveProjectOverrideRequest,
    ResendInvitationRequest,
    ResetRoleRequest,
    RevokeInvitationRequest,
    RevokeTokenRequest,
    RotateTokenRequest,
    SetDefaultRolesRequest,
    SetGroupProjectRolesRequest,
    SetMemberPeriodRequest,
    SetMemberRolesRequest,
    SetPlanRequest,
    SetProjectOverrideRequest,
    SetProjectRolesRequest,
    SetServiceAccountRolesRequest,
    SuspendMemberRequest,
    TransferOwnershipRequest,
    TransferResourceRequest,
    UnarchiveProjectRequest,
    UnregisterResourceRequest,
    UpdateGroupRequest,
    UpdateGuardrailRequest,
    UpdateMemberRequest,
    UpdateOrganizationRequest,
    UpdateProjectRequest,
    UpdateRoleRequest,
    UpdateServiceAccountRequest,
    UpdateTokenRequest,
);

about_none!(
    BackupRequest,
    CreateCallerKeyRequest,
    GetStatusRequest,
    LeaseNotificationsRequest,
    ListCallerKeysRequest,
    ListOrganizationsForUserRequest,
    ListOrganizationsRequest,
    RemoveUserRequest,
    RevokeCallerKeyRequest,
    RotateCallerKeyRequest,
    VerifyHistoryRequest,
);

impl About for v1::CreateOrganizationRequest {
    fn organizations(&self) -> Vec<&str> {
        vec![&self.organization_id]
    }
}

impl About for v1::AcknowledgeNotificationsRequest {
    fn organizations(&self) -> Vec<&str> {
        let leases = self.notifications.iter();
        leases.map(|lease| lease.organization.as_str()).collect()
    }
}

impl About for v1::ReleaseNotificationsRequest {
    fn organizations(&self) -> Vec<&str> {
        let leases = self.notifications.iter();
        leases.map(|lease| lease.organization.as_str()).collect()
    }
}

/// What the caller of a request is bound to.
pub fn bounds_of<M>(request: &Request<M>) -> Option<Bounds> {
    let known = request.extensions().get::<Known>();
    known.and_then(|known| known.permit().bounds.clone())
}

/// Refuses a request about organizations that its caller is not bound to.
pub fn within_bounds<M: About>(request: &Request<M>) -> Result<(), Status> {
    let Some(bounds) = bounds_of(request) else {
        return Ok(());
    };
    let organizations = request.get_ref().organizations();
    // Whatever names none is about all of them, or about nobody knows what.
    let named = organizations.first().ok_or(Refusal::ForeignOrganization);
    let within = named.and_then(|_| {
        let mut named = organizations.iter();
        named.try_for_each(|organization| permits::within(Some(&bounds), organization))
    });
    within.map_err(|refusal| status::of(refusal.into()))
}
