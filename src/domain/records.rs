//! What a team keeps beside members, roles, projects and resources: groups,
//! invitations, tokens, guardrails, notifications, and an offered transfer.

use std::collections::{BTreeMap, BTreeSet};

use super::identifiers::{
    ActionId, GroupId, GuardrailId, InvitationId, NotificationId, ProjectId, RoleId, TokenId,
    UserId,
};
use super::organization::{Moment, Override, Version};
use super::period::Period;

/// A transfer of ownership, offered and not yet accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who is to own the organization.
    pub target: TransferTarget,
    /// Who offered it: the owner at that time.
    pub initiated_by: UserId,
    /// When it was offered.
    pub initiated_at: Moment,
    /// From when on it can't be accepted any more.
    pub expires_at: Moment,
    /// Makes the token of this offer differ from that of any other.
    pub nonce: [u8; 16],
}

/// Who is offered the ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferTarget {
    /// A member, in the membership that they had when it was offered.
    Member {
        /// Who.
        user: UserId,
        /// That membership.
        membership: Version,
    },
    /// Whoever can show that this address is theirs.
    Address(String),
}

/// Members who share roles, or a limit on how old their tokens may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// As people read it.
    pub display_name: String,
    /// For people; may be empty.
    pub description: String,
    /// Roles that its members have on the organization.
    pub roles: Vec<RoleId>,
    /// Roles that its members have on projects.
    pub project_roles: BTreeMap<ProjectId, Vec<RoleId>>,
    /// How old, in milliseconds, tokens of its members may get; `None` for no limit.
    pub max_token_age: Option<i64>,
    /// When it counts.
    pub period: Period,
    /// When it was created.
    pub created_at: Moment,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// What became of an invitation. That it has expired follows from its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InvitationStatus {
    /// It waits.
    Pending,
    /// Somebody joined by it.
    Accepted,
    /// The team took it back.
    Revoked,
    /// The invited person does not want it.
    Declined,
}

/// An offer of membership to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// To whom; ASCII letters in lower case.
    pub email: String,
    /// Their name, as far as the inviter knows it; may be empty.
    pub display_name: String,
    /// Roles on the organization that the member will have.
    pub roles: Vec<RoleId>,
    /// Roles on projects that the member will have.
    pub project_roles: BTreeMap<ProjectId, Vec<RoleId>>,
    /// Overrides that the member will have.
    pub overrides: BTreeMap<ProjectId, Override>,
    /// When the membership will count.
    pub period: Period,
    /// A few words from the inviter; may be empty.
    pub message: String,
    /// What became of it.
    pub status: InvitationStatus,
    /// Who stands for it: whoever sent it last; `None` for the operator.
    pub invited_by: Option<UserId>,
    /// When it was created.
    pub created_at: Moment,
    /// When it was sent last.
    pub sent_at: Moment,
    /// How often it was sent.
    pub times_sent: u32,
    /// From when on it can't be accepted any more, unless it is sent again.
    pub expires_at: Moment,
    /// Whether the history says already that it has expired.
    pub expiry_recorded: bool,
    /// Makes the token of the latest sending differ from that of any other.
    pub nonce: [u8; 16],
    /// Who joined by it.
    pub accepted_by: Option<UserId>,
    /// When it stopped being pending.
    pub closed_at: Option<Moment>,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// A person who is a member.
    Member,
    /// A service account.
    ServiceAccount,
    /// The organization itself.
    Organization,
}

/// A secret that stands for a member. The secret itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// As people read it.
    pub display_name: String,
    /// What it stands for.
    pub kind: TokenKind,
    /// The member it acts as.
    pub subject: UserId,
    /// The membership that it is bound to; in another one it is dead.
    pub membership: Version,
    /// Digests of the secret, the newest last; more than one while an old one overlaps.
    pub secrets: Vec<TokenSecret>,
    /// What it may be used for at most; `None` for all that the subject may do.
    pub scope: Option<TokenScope>,
    /// When it counts.
    pub period: Period,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
    /// Whether the history says already that it has expired.
    pub expiry_recorded: bool,
    /// When it was last used, as far as it is recorded.
    pub last_used_at: Option<Moment>,
    /// Who created it; `None` for the operator.
    pub created_by: Option<UserId>,
    /// When it was created.
    pub created_at: Moment,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// One secret of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSecret {
    /// SHA-256 of the whole token text.
    pub digest: [u8; 32],
    /// When it was made: what a limit on the age of tokens counts from.
    pub created_at: Moment,
    /// From when on it does not count any more: the end of the overlap after a rotation.
    pub expires_at: Option<Moment>,
}

/// What a token may be used for at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// Actions, with what they imply; empty for every one.
    pub actions: BTreeSet<ActionId>,
    /// Projects; empty for every one and what lies in none.
    pub projects: BTreeSet<ProjectId>,
}

/// A Cedar policy that an organization adds to its roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrail {
    /// Its id.
    pub id: GuardrailId,
    /// What it is for, as people read it; part of every denial that it causes.
    pub description: String,
    /// The policy in Cedar's syntax, one `forbid` (or `permit`, from an operator).
    pub text: String,
    /// When it was created.
    pub created_at: Moment,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// What a notification tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotificationKind {
    /// You are invited.
    Invitation,
    /// Your role has changed.
    RoleChanged,
    /// You are no longer a member.
    MemberRemoved,
    /// You are suspended.
    MemberSuspended,
    /// You are reinstated.
    MemberReinstated,
    /// You are offered the ownership.
    TransferOffered,
    /// The ownership has passed on.
    OwnershipTransferred,
}

/// A message that waits to be delivered. The link that it may carry is made at delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its id; later ones sort after earlier ones.
    pub id: NotificationId,
    /// What it tells.
    pub kind: NotificationKind,
    /// The address it goes to; may be empty when the host is to know.
    pub email: String,
    /// The user it goes to, if they are one.
    pub user: Option<UserId>,
    /// The invitation whose link it carries.
    pub invitation: Option<InvitationId>,
    /// What the text is filled with, such as `organization` or `roles`.
    pub facts: BTreeMap<String, String>,
    /// When it was written.
    pub created_at: Moment,
}
