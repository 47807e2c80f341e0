//! What a team is and what its rules are, as plain values.
//!
//! Nothing here performs IO, knows the time, draws a random number, speaks a
//! wire format or has heard of Cedar. A use case hands in an [`Organization`],
//! the [`Catalog`] it lives on and what is asked; it gets back a [`Change`] or
//! a [`Refusal`]. That is what makes every rule of a team testable without a
//! daemon, and what lets [`meaning`] be the yardstick the Cedar engine is
//! property-tested against.

pub mod audit;
pub mod catalog;
pub mod change;
pub mod checks;
pub mod deadlines;
pub mod expiry;
pub mod facts;
pub mod grant_rule;
pub mod groups;
pub mod guardrails;
pub mod holdings;
pub mod identifiers;
pub mod invitations;
pub mod lifecycle;
pub mod meaning;
pub mod members;
pub mod notifications;
pub mod organization;
pub mod outbox;
pub mod period;
pub mod permissions;
pub mod projects;
pub mod records;
pub mod references;
pub mod refusal;
pub mod resources;
pub mod rights;
pub mod roles;
pub mod seats;
pub mod seldom;
pub mod service_accounts;
pub mod soundness;
pub mod team;
pub mod templates;
pub mod text;
pub mod token_standing;
pub mod tokens;
pub mod transfer;
pub mod value;
pub mod weight;

pub use catalog::Catalog;
pub use change::{Change, Event, RecordChange};
pub use organization::Organization;
pub use refusal::{Refusal, Violation};
