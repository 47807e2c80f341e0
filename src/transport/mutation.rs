//! What every changing request has in common on the wire.

use prost::{Message, Name};
use sha2::{Digest, Sha256};
use tonic::{Request, Status};

use super::about::{About, within_bounds};
use super::{from_proto, status};
use crate::application::{self, Actor, Caller, Reader};
use crate::proto::v1;

/// A message that asks for a change.
pub trait Mutation: Message + Name + About {
    /// The caller's id for the request.
    fn request_id(&self) -> &str;

    /// Whether to decide and answer only.
    fn validate_only(&self) -> bool;
}

macro_rules! mutations {
    ($($message:ident),* $(,)?) => {
        $(
            impl Mutation for v1::$message {
                fn request_id(&self) -> &str {
                    &self.request_id
                }

                fn validate_only(&self) -> bool {
                    self.validate_only
                }
            }
        )*
    };
}

mutations!(
    AcknowledgeNotificationsRequest,
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
    CreateInvitationRequest,
    CreateCallerKeyRequest,
    CreateOrganizationRequest,
    CreateProjectRequest,
    CreateRoleRequest,
    CreateGuardrailRequest,
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
    InitiateTransferRequest,
    LeaveOrganizationRequest,
    MoveResourceRequest,
    ReassignResourcesRequest,
    RecordMemberActivityRequest,
    RegisterResourceRequest,
    ReinstateMemberRequest,
    RemoveGroupMemberRequest,
    RemoveMemberRequest,
    RemoveProjectOverrideRequest,
    RemoveUserRequest,
    ResendInvitationRequest,
    ResetRoleRequest,
    RevokeCallerKeyRequest,
    RevokeInvitationRequest,
    RevokeTokenRequest,
    RotateCallerKeyRequest,
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

/// Takes a changing request apart: its message, and who sent it under which id.
pub fn accept<M: Mutation>(request: Request<M>) -> Result<(M, application::Request), Status> {
    let caller = caller(&request)?;
    within_bounds(&request)?;
    let message = request.into_inner();
    let mut digest = Sha256::new();
    digest.update(M::NAME.as_bytes());
    digest.update([0]);
    digest.update(message.encode_to_vec());
    // The same request of another actor is another request.
    digest.update(format!("{:?}", caller.actor).as_bytes());
    if let Actor::Token(secret) = &caller.actor {
        // What is printed of a secret tells nothing.
        digest.update(secret.digest());
    }
    let common = application::Request {
        caller,
        method: method::<M>(),
        request_id: message.request_id().to_owned(),
        fingerprint: digest.finalize().into(),
        validate_only: message.validate_only(),
    };
    Ok((message, common))
}

/// Who sent a reading request, and how long they wait.
pub fn reader<M: Name + About>(request: &Request<M>) -> Result<Reader, Status> {
    within_bounds(request)?;
    Ok(Reader {
        caller: caller(request)?,
        method: method::<M>(),
        patience: from_proto::patience(request.metadata()),
    })
}

fn caller<M>(request: &Request<M>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(status::unauthenticated)
}

/// The name of the RPC that a message is the request of.
fn method<M: Name>() -> &'static str {
    M::NAME.strip_suffix("Request").unwrap_or(M::NAME)
}
