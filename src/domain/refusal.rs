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
    /// A limit of this installation is reached.
    #[error("{what} are limited to {limit}")]
    LimitReached {
        /// What is limited, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
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
