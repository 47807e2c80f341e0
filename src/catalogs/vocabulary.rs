//! How things in a catalog may be called.
//!
//! Types, actions and attributes become words of a Cedar schema, so they are
//! identifiers there and keep clear of the words that Cedar and Roster use.
//! Ids of roles, plans, features and conditions are only ever values.

use crate::domain::identifiers::{MAX_IDENTIFIER_BYTES, identifier_fault};

/// Entity types of Roster's own and the type names of Cedar.
const RESERVED_TYPES: &[&str] = &[
    "Action",
    "Bool",
    "Boolean",
    "Entity",
    "Extension",
    "Group",
    "Long",
    "Member",
    "Organization",
    "Project",
    "Record",
    "Role",
    "ServiceAccount",
    "Set",
    "Status",
    "String",
    "Token",
    "User",
];

/// What Roster itself says about a resource, and words of the policy language.
const RESERVED_ATTRIBUTES: &[&str] = &[
    "else",
    "false",
    "features",
    "has",
    "id",
    "if",
    "in",
    "is",
    "like",
    "organization",
    "owner",
    "plan",
    "project",
    "roster_token_scope",
    "then",
    "true",
    "type",
    "user",
];

/// Says why no action can be called so.
pub(super) fn action_fault(name: &str) -> Option<String> {
    word_fault(name, char::is_ascii_uppercase)
        .then(|| format!("`{name}` can't be an action; use a word like `DeployApp`"))
}

/// Says why no product's resource type can be called so.
pub(super) fn type_fault(name: &str) -> Option<String> {
    if RESERVED_TYPES.contains(&name) {
        return Some(format!(
            "`{name}` is a word of Roster or Cedar; choose another name for the type"
        ));
    }
    word_fault(name, char::is_ascii_uppercase)
        .then(|| format!("`{name}` can't be a type; use a word like `LoadBalancer`"))
}

/// Says why no attribute can be called so.
pub(super) fn attribute_fault(name: &str) -> Option<String> {
    if RESERVED_ATTRIBUTES.contains(&name) {
        return Some(format!(
            "`{name}` is a word of Roster or Cedar; choose another name for the attribute"
        ));
    }
    word_fault(name, char::is_ascii_lowercase)
        .then(|| format!("`{name}` can't be an attribute; use a word like `granted_to`"))
}

/// Says why no role, plan, feature or condition can have this id.
pub(super) fn id_fault(id: &str) -> Option<String> {
    identifier_fault(id).map(|fault| format!("the id `{id}` {fault}"))
}

fn word_fault(name: &str, is_first: impl Fn(&char) -> bool) -> bool {
    let fits = name.chars().next().is_some_and(|first| is_first(&first))
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && name.len() <= MAX_IDENTIFIER_BYTES;
    !fits
}
