//! Identifiers: opaque, compared byte for byte, never given meaning.
//!
//! Hosts choose the ids of users and may choose the ids of organizations,
//! projects, roles and resources, so an id can be anything a foreign system
//! prints: `auth0|42`, `https://issuer/alice`, even a string full of quotes.
//! An id is therefore visible ASCII of bounded length and nothing else is
//! assumed about it; wherever an id meets a policy it is a value, never text.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest identifier, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 128;

/// Says why `candidate` is no identifier, or nothing if it is one.
pub fn identifier_fault(candidate: &str) -> Option<String> {
    if candidate.is_empty() {
        return Some("must not be empty".to_owned());
    }
    if candidate.len() > MAX_IDENTIFIER_BYTES {
        return Some(format!(
            "must be at most {MAX_IDENTIFIER_BYTES} bytes, not {}",
            candidate.len()
        ));
    }
    if !candidate.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("must be visible ASCII without spaces".to_owned());
    }
    None
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a string that is already known to be an identifier:
            /// checked at the edge, or read back from the store.
            pub fn new(value: impl Into<Arc<str>>) -> Self {
                Self(value.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, formatter)
            }
        }
    };
}

identifier!(
    /// A tenant.
    OrganizationId
);
identifier!(
    /// A person, as the host's identity provider names them.
    UserId
);
identifier!(
    /// A role, built-in or custom.
    RoleId
);
identifier!(
    /// A project inside one organization.
    ProjectId
);
identifier!(
    /// A resource; unique together with its type inside one organization.
    ResourceId
);
identifier!(
    /// The folder name of a catalog.
    CatalogId
);
identifier!(
    /// A plan of a catalog.
    PlanId
);
identifier!(
    /// An action of a catalog.
    ActionId
);
identifier!(
    /// A resource type of a catalog.
    TypeId
);

identifier!(
    /// A group of members.
    GroupId
);
identifier!(
    /// An invitation.
    InvitationId
);
identifier!(
    /// An API token; not its secret.
    TokenId
);
identifier!(
    /// A guardrail.
    GuardrailId
);
identifier!(
    /// A notification that waits to be delivered.
    NotificationId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_visible_ascii_of_bounded_length() {
        assert_eq!(identifier_fault("auth0|42"), None);
        assert_eq!(
            identifier_fault("\");permit(principal,action,resource);//"),
            None
        );
        for refused in [
            "",
            "a b",
            "a\nb",
            "a\0b",
            "\u{202e}abc",
            "é",
            &"a".repeat(129),
        ] {
            assert!(identifier_fault(refused).is_some(), "accepted {refused:?}");
        }
    }
}
