//! What a team is and what its rules are, as plain values.
//!
//! Nothing here performs IO, knows the time, draws a random number, speaks a
//! wire format or has heard of Cedar. A use case hands in an [`Organization`],
//! the [`Catalog`] it lives on and what is asked; it gets back a [`Change`] or
//! a [`Refusal`]. That is what makes every rule of a team testable without a
//! daemon, and what lets [`meaning`] be the yardstick the Cedar engine is
//! property-tested against.

pub mod identifiers;
pub mod text;
pub mod value;
pub mod catalog;
pub mod permissions;
pub mod organization;
pub mod change;
pub mod refusal;
pub mod checks;
pub mod members;
pub mod roles;
pub mod projects;
pub mod resources;
pub mod lifecycle;
pub mod meaning;

pub use catalog::Catalog;
pub use change::{Change, Event, RecordChange};
pub use organization::Organization;
pub use refusal::{Refusal, Violation};
