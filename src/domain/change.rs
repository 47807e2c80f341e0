//! What a use case answers when it agrees: the records that change and the one
//! event that tells the story of it.

use std::sync::Arc;

use super::identifiers::{
    GroupId, GuardrailId, InvitationId, NotificationId, ProjectId, RoleId, TokenId, UserId,
};
use super::organization::{
    Group, Guardrail, Invitation, Member, Notification, Profile, Project, RegisteredResource,
    ResourceKey, Role, Token,
};

/// One record put or deleted. The store writes exactly these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// The organization's own record.
    PutProfile(Arc<Profile>),
    /// A member with roles, project roles, overrides.
    PutMember(Arc<Member>),
    /// A member leaves, with all that they held.
    DeleteMember(UserId),
    /// A custom role, or an edited built-in one.
    PutRole(Arc<Role>),
    /// A custom role goes, or an edited built-in one returns to the catalog's.
    DeleteRole(RoleId),
    /// A project.
    PutProject(Arc<Project>),
    /// A project goes.
    DeleteProject(ProjectId),
    /// A registered resource.
    PutResource(Arc<RegisteredResource>),
    /// A resource is no longer registered.
    DeleteResource(ResourceKey),
    /// A group.
    PutGroup(Arc<Group>),
    /// A group goes.
    DeleteGroup(GroupId),
    /// An invitation.
    PutInvitation(Arc<Invitation>),
    /// An invitation goes, closed long ago.
    DeleteInvitation(InvitationId),
    /// An API token.
    PutToken(Arc<Token>),
    /// An API token goes.
    DeleteToken(TokenId),
    /// A guardrail.
    PutGuardrail(Arc<Guardrail>),
    /// A guardrail goes.
    DeleteGuardrail(GuardrailId),
    /// A notification to be delivered.
    PutNotification(Arc<Notification>),
    /// A notification was delivered or given up.
    DeleteNotification(NotificationId),
    /// Everything of the organization goes.
    DeleteOrganization,
}

/// A change that passed every rule of the team and waits to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Records, in the order in which they apply. Empty when nothing had to change.
    pub records: Vec<RecordChange>,
    /// What happened: one event, or one for each row of a bulk request.
    pub events: Vec<Event>,
    /// What the caller gets back, and gets back again when it repeats the request.
    pub outcome: Outcome,
}

/// What a caller gets back for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The organization's own record.
    Profile(Arc<Profile>),
    /// A member.
    Member(Arc<Member>),
    /// A role.
    Role(Arc<Role>),
    /// A project.
    Project(Arc<Project>),
    /// A registered resource.
    Resource(Arc<RegisteredResource>),
    /// A group.
    Group(Arc<Group>),
    /// An invitation.
    Invitation(Arc<Invitation>),
    /// What became of each row of a bulk invitation, in order.
    Invitations(Vec<InvitedRow>),
    /// An API token; its secret is not part of it.
    Token(Arc<Token>),
    /// A guardrail.
    Guardrail(Arc<Guardrail>),
    /// How many records changed.
    Count(u64),
    /// A member is gone; what became of the resources they owned.
    Removed {
        /// Resources left without owner, at most as many as an answer lists.
        orphaned: Vec<ResourceKey>,
        /// How many were left without owner in all.
        orphaned_count: u64,
        /// How many passed to somebody else.
        reassigned_count: u64,
    },
    /// Nothing but the revision.
    Nothing,
}

/// What became of one row of a bulk invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvitedRow {
    /// It was sent.
    Sent(Arc<Invitation>),
    /// It was refused.
    Refused(RowRefusal),
}

/// Why a row of a bulk request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRefusal {
    /// The reason's published name.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
}

/// What happened, for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The action performed, such as `ChangeMemberRole`.
    pub action: &'static str,
    /// What it was done to.
    pub target: Target,
    /// Further facts in a fixed order; ids only, never personal text or secrets.
    pub details: Vec<(&'static str, String)>,
    /// The published name of the reason it was refused for; `None` if it was done.
    pub refusal: Option<&'static str>,
}

impl Event {
    /// Something was done.
    pub fn done(
        action: &'static str,
        target: Target,
        details: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            action,
            target,
            details,
            refusal: None,
        }
    }
}

/// What something was done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind: `Organization`, `Member`, `Role`, `Project` or a resource type.
    pub kind: String,
    /// Its id.
    pub id: String,
}

impl Target {
    /// A target of a kind and id.
    pub fn new(kind: impl Into<String>, id: impl ToString) -> Self {
        Self {
            kind: kind.into(),
            id: id.to_string(),
        }
    }
}

/// The etag of a record: its version, in a form that invites no arithmetic.
pub fn etag(version: super::organization::Version) -> String {
    format!("v{:x}", version.0)
}
