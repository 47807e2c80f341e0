//! The words Roster and Cedar share: entity types and how ids become uids.
//!
//! Type names are parsed once per process; an id is never parsed, it is wrapped.

use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use crate::domain::catalog::Level;
use crate::domain::holdings::Validity;
use crate::domain::identifiers::RoleId;

/// Names of entity types that Roster brings and a catalog can't use for its own.
pub(super) const RESERVED_TYPES: [&str; 7] = [
    "Action",
    "Member",
    "Organization",
    "Project",
    "Role",
    "Status",
    "User",
];

/// The principal's type.
pub(super) const USER: &str = "User";

/// The type of actions.
pub(super) const ACTION: &str = "Action";

/// The attribute of a user that holds the projects in which their roles are replaced.
pub(super) const OVERRIDDEN: &str = "overridden";

/// The status that a user is `in` while what they hold does not count.
pub(super) fn status_name(validity: Validity) -> Option<&'static str> {
    match validity {
        Validity::Active => None,
        Validity::Suspended => Some("suspended"),
        Validity::NotYetValid => Some("not-yet-valid"),
        Validity::Expired => Some("expired"),
    }
}

macro_rules! type_names {
    ($($function:ident = $name:literal;)*) => {
        $(
            /// The uid of that type.
            pub(super) fn $function(id: &str) -> EntityUid {
                static NAME: LazyLock<Option<EntityTypeName>> =
                    LazyLock::new(|| EntityTypeName::from_str($name).ok());
                uid_of(&NAME, id)
            }
        )*
    };
}

type_names! {
    user = "User";
    role = "Role";
    status = "Status";
    organization = "Organization";
    project = "Project";
    action = "Action";
    member = "Member";
}

fn uid_of(name: &LazyLock<Option<EntityTypeName>>, id: &str) -> EntityUid {
    #[expect(
        clippy::unreachable,
        reason = "the names are literals, parsed in a test"
    )]
    match &**name {
        Some(name) => uid(name, id),
        None => unreachable!("a literal entity type name does not parse"),
    }
}

/// The uid of a type and an id.
pub(super) fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

/// The action group that holds every action of a level.
pub(super) fn level_group(level: Level) -> &'static str {
    match level {
        Level::Account => "account-level",
        Level::Project => "project-level",
    }
}

/// The tag under which a user keeps the projects they hold a role on.
pub(super) fn role_tag(role: &RoleId) -> String {
    format!("role:{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_type_of_roster_parses() {
        for make in [user, role, status, organization, project, action, member] {
            assert_eq!(make("x\"y").id().unescaped(), "x\"y");
        }
    }
}
