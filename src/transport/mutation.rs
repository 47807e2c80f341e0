//! What every changing request has in common on the wire.

use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Request, Status};

use super::status;
use crate::application::{self, Caller};
use crate::proto::v1;

/// A message that asks for a change.
pub trait Mutation: Message {
    /// The method's name, so that equal bodies of different methods differ.
    const METHOD: &'static str;

    /// The caller's id for the request.
    fn request_id(&self) -> &str;

    /// Whether to decide and answer only.
    fn validate_only(&self) -> bool;
}

macro_rules! mutations {
    ($($message:ident),* $(,)?) => {
        $(
            impl Mutation for v1::$message {
                const METHOD: &'static str = stringify!($message);

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
    AddMemberRequest,
    ArchiveProjectRequest,
    ClearProjectRolesRequest,
    CopyDefaultRolesRequest,
    CreateOrganizationRequest,
    CreateProjectRequest,
    CreateRoleRequest,
    DeleteOrganizationRequest,
    DeleteProjectRequest,
    DeleteRoleRequest,
    MoveResourceRequest,
    ReassignResourcesRequest,
    RegisterResourceRequest,
    ReinstateMemberRequest,
    RemoveMemberRequest,
    RemoveProjectOverrideRequest,
    ResetRoleRequest,
    SetDefaultRolesRequest,
    SetMemberRolesRequest,
    SetPlanRequest,
    SetProjectOverrideRequest,
    SetProjectRolesRequest,
    SuspendMemberRequest,
    TransferResourceRequest,
    UnarchiveProjectRequest,
    UnregisterResourceRequest,
    UpdateMemberRequest,
    UpdateOrganizationRequest,
    UpdateProjectRequest,
    UpdateRoleRequest,
);

/// Takes a changing request apart: its message, and who sent it under which id.
pub fn accept<M: Mutation>(request: Request<M>) -> Result<(M, application::Request), Status> {
    let caller = request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(status::unauthenticated)?;
    let message = request.into_inner();
    let mut digest = Sha256::new();
    digest.update(M::METHOD.as_bytes());
    digest.update([0]);
    digest.update(message.encode_to_vec());
    let common = application::Request {
        caller,
        request_id: message.request_id().to_owned(),
        fingerprint: digest.finalize().into(),
        validate_only: message.validate_only(),
    };
    Ok((message, common))
}
