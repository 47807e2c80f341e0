//! What a use case answers when it does not agree, in words from the team's world.
//!
//! A refusal never changes anything. Its text follows one grammar: lower case,
//! no final period, what the caller sent in back quotes, what to do next where
//! that is not obvious.

use super::identifiers::{RoleId, UserId};

/// One thing wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the request spells it, such as `actions[2]`.
    pub field: String,
    /// Which kind of fault.
    pub kind: Fault,
    /// What is wrong with it.
    pub message: String,
}

/// Kinds of fault a field can have; published in the API as error reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A required field is missing.
    Missing,
    /// A value has not the form it must have.
    Malformed,
    /// The catalog has no such action.
    UnknownAction,
    /// The catalog has no such resource type.
    UnknownResourceType,
    /// The action is not asked of resources of this type.
    ActionDoesNotApply,
    /// An attribute or context value the catalog does not declare, or of another type.
    Attribute,
    /// Something named in the field does not exist.
    UnknownReference,
    /// An account-level action where only project-level ones can be.
    AccountLevelAction,
    /// A role that can't be held there.
    RoleNotHeldThere,
    /// The name is kept for a built-in thing.
    ReservedName,
    /// The same thing twice.
    Repeated,
    /// Not a revision that this installation has given out.
    MalformedRevision,
    /// Not a page token of this request.
    MalformedPageToken,
    /// More of something than the limit allows.
    TooMany,
    /// Cedar does not accept the policy.
    Policy,
}

/// The most violations that are kept of one request; a caller who made more has
/// enough to mend, and a hostile one can't make the daemon write a book.
pub const MAX_VIOLATIONS: usize = 100;

/// Keeps one more violation, if there is room.
pub fn keep_violation(violations: &mut Vec<Violation>, violation: Violation) {
    if violations.len() < MAX_VIOLATIONS {
        violations.push(violation);
    }
}

impl Violation {
    /// A fault of a kind in a field.
    pub fn new(field: impl Into<String>, kind: Fault, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind,
            message: message.into(),
        }
    }
}

/// Why a use case does not agree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request itself is wrong; every fault is listed.
    #[error("the request has {} fault(s): {}", count_violations(.0), list_violations(.0))]
    Invalid(Vec<Violation>),
    /// No such thing here.
    #[error("{kind} `{id}` does not exist")]
    NotFound {
        /// Which kind of thing.
        kind: &'static str,
        /// The id that was given.
        id: String,
    },
    /// There is one already.
    #[error("{kind} `{id}` exists already")]
    AlreadyExists {
        /// Which kind of thing.
        kind: &'static str,
        /// The id that was given.
        id: String,
    },
    /// The record changed since it was read.
    #[error("{kind} `{id}` has changed since etag `{given}`; read it again and repeat the edit")]
    StaleEtag {
        /// Which kind of thing.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The etag that was given.
        given: String,
    },
    /// The owner can't be overridden, removed, suspended or demoted.
    #[error("`{user}` owns the organization; {what} needs a transfer of ownership first")]
    OwnerProtected {
        /// The owner.
        user: UserId,
        /// What was tried.
        what: &'static str,
    },
    /// The member's status forbids it.
    #[error("member `{user}` is {status}; {advice}")]
    MemberStatus {
        /// The member.
        user: UserId,
        /// The status, in words.
        status: &'static str,
        /// What to do next.
        advice: &'static str,
    },
    /// Somebody or something still holds the role.
    #[error("role `{role}` is still held by {}; take it away first", list_holders(.holders, *.holder_count))]
    RoleInUse {
        /// The role.
        role: RoleId,
        /// The first holders, in words such as `member alice`.
        holders: Vec<String>,
        /// How many holders there are in all.
        holder_count: usize,
    },
    /// The product's roles are not for editing.
    #[error("role `{0}` comes with the product and can't be changed or deleted")]
    BuiltInRole(RoleId),
    /// The product does not offer this at all.
    #[error("this product has no {0}")]
    NotOffered(&'static str),
    /// The plan lacks a feature.
    #[error("plan `{plan}` has no `{feature}`; change the plan first")]
    PlanLacksFeature {
        /// The plan the organization is on.
        plan: String,
        /// The feature that is needed.
        feature: String,
    },
    /// The member holds nothing in the project that could be replaced.
    #[error(
        "member `{user}` has no role that counts in project `{project}`, so there is nothing to override; give a role first"
    )]
    NothingToOverride {
        /// The member.
        user: UserId,
        /// The project.
        project: String,
    },
    /// The project takes no new grants or resources.
    #[error("project `{0}` is archived; unarchive it first")]
    ProjectArchived(String),
    /// The project still holds resources.
    #[error(
        "project `{project}` still holds {count} registered resource(s); move or unregister them first"
    )]
    ProjectNotEmpty {
        /// The project.
        project: String,
        /// How many.
        count: usize,
    },
    /// The actor may not do this.
    #[error("`{actor}` may not `{action}` here: {why}")]
    PermissionDenied {
        /// Who tried.
        actor: String,
        /// The action.
        action: &'static str,
        /// Why not, in words.
        why: String,
    },
    /// Only an operator may do this; an actor was named.
    #[error("only an operator may `{0}`; send no actor")]
    OperatorOnly(&'static str),
    /// The actor does not hold what they would give, take or change.
    #[error("{what} goes beyond what `{actor}` holds: {}", list_missing(.missing))]
    ExceedsGrantor {
        /// Who tried.
        actor: String,
        /// What goes beyond, in words.
        what: String,
        /// The rights that the actor lacks.
        missing: Vec<String>,
    },
    /// Nobody changes their own rights here.
    #[error("nobody changes their own rights; ask another administrator")]
    SelfChange,
    /// Ownership is not given as a role.
    #[error("ownership is not given as a role; it is transferred")]
    OwnershipNotGiven,
    /// The plan forbids it, in the words of a rule.
    #[error("{0}")]
    PlanForbids(String),
    /// A link's token is not one of ours. Always the same text.
    #[error("the token is not valid")]
    BadLink,
    /// A link's token is ours, but its time is over.
    #[error("the link is dead: {0}")]
    DeadLink(DeadLink),
    /// The link was made out to another address.
    #[error("the link was made out to another address")]
    WrongAddress,
    /// The one who invited may no longer give what the invitation holds.
    #[error("whoever sent the invitation may no longer give what it holds; ask for a new one")]
    GrantorLost,
    /// The invitation is not pending.
    #[error("invitation `{invitation}` is {status}; {advice}")]
    InvitationStatus {
        /// The invitation.
        invitation: String,
        /// What it is, in words.
        status: &'static str,
        /// What to do next.
        advice: &'static str,
    },
    /// Every seat of the plan is taken.
    #[error("{used} of {limit} seats of plan `{plan}` are taken; change the plan or free one")]
    SeatsTaken {
        /// How many are taken.
        used: usize,
        /// How many there are.
        limit: usize,
        /// The plan.
        plan: String,
    },
    /// Too much of something in too short a time.
    #[error("{what} are limited to {limit} an hour; try again later")]
    TooFast {
        /// What is limited, in the plural.
        what: &'static str,
        /// How many an hour.
        limit: usize,
    },
    /// A fresh proof of identity is needed.
    #[error("the ownership is handed over only after a fresh sign-in of the owner: {0}")]
    ReauthenticationNeeded(&'static str),
    /// The ownership can't go to that target.
    #[error("the ownership can't be transferred: {0}")]
    TransferTarget(&'static str),
    /// There is no transfer to accept, decline or cancel.
    #[error("no transfer of ownership is pending")]
    NoTransfer,
    /// An API token is not one of ours. Always the same text.
    #[error("the API token is not valid")]
    BadToken,
    /// The token's status forbids it.
    #[error("token `{token}` is {status}; {advice}")]
    TokenStatus {
        /// The token.
        token: String,
        /// What it is, in words.
        status: &'static str,
        /// What to do next.
        advice: &'static str,
    },
    /// The kind of member does not go with what is asked.
    #[error("`{user}` is {kind}; {advice}")]
    MemberKind {
        /// The member.
        user: UserId,
        /// What they are, in words.
        kind: &'static str,
        /// What to do next.
        advice: &'static str,
    },
    /// One row of a request that is done whole or not at all.
    #[error("row `{row}` of the request is refused: {refusal}")]
    Row {
        /// The row, as the request spells it, such as `invitations[2]`.
        row: String,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// The caller lacks a scope.
    #[error("the caller lacks the scope `{0}`")]
    ScopeMissing(&'static str),
    /// The caller is bound to organizations, and this is about another one or about all.
    #[error("the caller is bound to other organizations")]
    ForeignOrganization,
    /// A limit of this installation is reached.
    #[error("{what} are limited to {limit}")]
    LimitReached {
        /// What is limited, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// Why a genuine link does not work any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadLink {
    /// Its time is over.
    #[error("it has expired; ask for it to be sent again")]
    Expired,
    /// The team took the offer back.
    #[error("the offer was taken back")]
    Revoked,
    /// It was sent again; only the latest link counts.
    #[error("it was replaced by a newer one")]
    Superseded,
    /// Somebody accepted already.
    #[error("it was used already")]
    Used,
    /// The invited person declined.
    #[error("the offer was declined")]
    Declined,
}

impl Refusal {
    /// The name under which the reason is published in the API and kept in the audit trail.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::AlreadyExists { .. } => "ALREADY_EXISTS",
            Self::StaleEtag { .. } => "STALE_ETAG",
            Self::OwnerProtected { .. } => "OWNER_PROTECTED",
            Self::MemberStatus { .. } => "MEMBER_STATUS",
            Self::RoleInUse { .. } => "ROLE_IN_USE",
            Self::BuiltInRole(_) => "BUILT_IN_ROLE",
            Self::NotOffered(_) => "NOT_OFFERED",
            Self::PlanLacksFeature { .. } | Self::PlanForbids(_) => "PLAN_LACKS_FEATURE",
            Self::NothingToOverride { .. } => "NOTHING_TO_OVERRIDE",
            Self::ProjectArchived(_) => "PROJECT_ARCHIVED",
            Self::ProjectNotEmpty { .. } => "PROJECT_NOT_EMPTY",
            Self::PermissionDenied { .. } => "PERMISSION_DENIED",
            Self::OperatorOnly(_) => "OPERATOR_ONLY",
            Self::ExceedsGrantor { .. } => "EXCEEDS_GRANTOR",
            Self::SelfChange => "SELF_CHANGE",
            Self::OwnershipNotGiven => "OWNERSHIP_NOT_GIVEN",
            Self::BadLink => "LINK_INVALID",
            Self::DeadLink(DeadLink::Expired) => "LINK_EXPIRED",
            Self::DeadLink(DeadLink::Revoked) => "LINK_REVOKED",
            Self::DeadLink(DeadLink::Superseded) => "LINK_SUPERSEDED",
            Self::DeadLink(DeadLink::Used) => "LINK_USED",
            Self::DeadLink(DeadLink::Declined) => "LINK_DECLINED",
            Self::WrongAddress => "WRONG_ADDRESS",
            Self::GrantorLost => "GRANTOR_LOST",
            Self::InvitationStatus { .. } => "INVITATION_STATUS",
            Self::SeatsTaken { .. } => "SEATS_TAKEN",
            Self::TooFast { .. } => "TOO_FAST",
            Self::ReauthenticationNeeded(_) => "REAUTHENTICATION_NEEDED",
            Self::TransferTarget(_) => "TRANSFER_TARGET",
            Self::NoTransfer => "NO_TRANSFER",
            Self::BadToken => "TOKEN_INVALID",
            Self::TokenStatus { .. } => "TOKEN_STATUS",
            Self::MemberKind { .. } => "MEMBER_KIND",
            Self::ScopeMissing(_) => "SCOPE_MISSING",
            Self::ForeignOrganization => "FOREIGN_ORGANIZATION",
            Self::LimitReached { .. } => "LIMIT_REACHED",
            Self::Row { refusal, .. } => refusal.reason(),
        }
    }
}

fn list_missing(missing: &[String]) -> String {
    const MOST: usize = 20;
    let mut listed = missing
        .iter()
        .take(MOST)
        .map(|right| format!("`{right}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if missing.len() > MOST {
        listed.push_str(&format!(" and {} more", missing.len().saturating_sub(MOST)));
    }
    listed
}

fn count_violations(violations: &[Violation]) -> String {
    if violations.len() < MAX_VIOLATIONS {
        violations.len().to_string()
    } else {
        format!("at least {MAX_VIOLATIONS}")
    }
}

fn list_violations(violations: &[Violation]) -> String {
    let parts: Vec<String> = violations
        .iter()
        .map(|violation| format!("`{}` {}", violation.field, violation.message))
        .collect();
    parts.join("; ")
}

fn list_holders(holders: &[String], count: usize) -> String {
    let mut listed = holders.join(", ");
    if count > holders.len() {
        listed.push_str(&format!(
            " and {} more",
            count.saturating_sub(holders.len())
        ));
    }
    listed
}
