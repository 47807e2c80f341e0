//! The judge: the only place that knows Cedar.
//!
//! A [`CompiledCatalog`] is a product's schema, rules and built-in roles,
//! compiled once. A [`Snapshot`] is one organization at one revision: its state
//! and the policies its own roles compile to. Both are immutable; the next
//! revision is the next value.
//!
//! How rights become Cedar, so that the number of policies depends on roles and
//! never on members or projects:
//!
//! - a role held on the organization is a parent: `User in Role`;
//! - a role held on projects is a tag of the user, named after the role, whose
//!   value is the set of those projects;
//! - an override puts its project into `User.overridden`, which the policies of
//!   roles on the organization exclude, and its grants into the same tags;
//! - a membership that does not count is a parent too: `User in Status::"suspended"`,
//!   `"not-yet-valid"` or `"expired"`;
//! - the scope of an API token is a policy that forbids what lies outside of it to
//!   questions whose context names that scope;
//! - what groups give and what has a period is put there as it counts at the moment
//!   of the question: the policies know neither groups nor time.
//!
//! What is deliberately absent: IO, clocks, randomness, the wire, and any
//! decision that Cedar did not make. Rust selects the policies and entities that
//! can matter and may remember what Cedar said.

mod answers;
mod catalog;
mod deciding;
mod entities;
mod export;
mod guardrails;
mod nesting;
mod offered;
mod policies;
mod positions;
mod principals;
mod question;
mod reasons;
mod rules;
mod schema;
mod snapshot;
mod spelled_out;
mod standing;
mod tokens;
mod values;
mod vocabulary;

pub use catalog::{CatalogError, CompiledCatalog};
pub use deciding::{Decision, EvaluateError, Verdict};
pub use export::{CedarRequest, Export, PolicyText};
pub use offered::OfferedCatalog;
pub use policies::PolicySource;
pub use question::{AskedResource, Question, RawQuestion};
pub use reasons::{Explanation, Reason, ReasonCode};
pub use rules::RuleFault;
pub use snapshot::{CompileError, Snapshot};
