//! Everything a use case can answer other than what was asked for.

use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::refusal::Violation;
use crate::engine::{CompileError, EvaluateError};
use crate::store::{CommitError, ReadError};

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules of the team, or the form of the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This node has not seen the revision asked for before the deadline.
    #[error("revision `{0}` is not reached yet; retry")]
    RevisionNotReached(String),
    /// What the store holds of the organization has no owner.
    #[error("organization `{0}` was found without its owner; restore it from a backup")]
    OwnerMissing(String),
    /// The organization lives on a catalog that is not loaded.
    #[error(
        "organization `{organization}` lives on catalog `{catalog}`, which is not loaded; start \
         the daemon with that catalog"
    )]
    CatalogMissing {
        /// The organization.
        organization: String,
        /// Its catalog.
        catalog: String,
    },
    /// What the store holds of the organization does not compile on its catalog.
    #[error("organization `{organization}` does not compile on its catalog: {problem}")]
    DoesNotCompile {
        /// The organization.
        organization: String,
        /// What the engine says, for the log.
        problem: String,
    },
    /// The request id was used for another request.
    #[error("request id `{0}` was used for another request; take a new one")]
    RequestIdReused(String),
    /// The organization kept changing.
    #[error("the organization kept changing; nothing was done, retry")]
    ConcurrentChange,
    /// A batch is too large.
    #[error("a batch holds at most {most} requests, not {given}; send more batches")]
    BatchTooLarge {
        /// The limit.
        most: usize,
        /// What came.
        given: usize,
    },
    /// As many wait for organizations to be read as may.
    #[error("more is asked of what is not in memory than can be read; retry later")]
    Overloaded,
    /// The store did not take the change.
    #[error("the change could not be stored")]
    Commit(#[source] CommitError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// The history is not what it was.
    #[error("the history is damaged after commit {after}; restore it from a backup")]
    HistoryDamaged {
        /// The last commit before the damage.
        after: u64,
        /// What is wrong, for the log.
        what: String,
    },
    /// The next state does not compile, which no request should be able to cause.
    #[error("the change does not compile")]
    Compile(#[from] CompileError),
    /// A use case answered with something other than what it is for.
    #[error("unexpected outcome {0}")]
    UnexpectedOutcome(String),
    /// Cedar could not be asked, which no request should be able to cause.
    #[error("the question could not be judged")]
    Evaluate(#[from] EvaluateError),
}

impl Error {
    /// The published name of the reason, of refusals that the history keeps: those of
    /// requests that were understood and not agreed to.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason()),
            Self::RequestIdReused(_) => Some("REQUEST_ID_REUSED"),
            _ => None,
        }
    }

    /// No such organization.
    pub fn unknown_organization(id: &str) -> Self {
        let id = id
            .chars()
            .take(128)
            .flat_map(char::escape_default)
            .collect();
        Self::Refused(Refusal::NotFound {
            kind: "organization",
            id,
        })
    }

    /// Whether it says that there is no such organization.
    pub fn is_unknown_organization(&self) -> bool {
        let of_kind = |refusal: &Refusal| {
            matches!(
                refusal,
                Refusal::NotFound {
                    kind: "organization",
                    ..
                }
            )
        };
        matches!(self, Self::Refused(refusal) if of_kind(refusal))
    }

    /// Whether it is this one organization that can't be served, while others can.
    pub fn is_about_the_organization(&self) -> bool {
        match self {
            Self::OwnerMissing(_)
            | Self::CatalogMissing { .. }
            | Self::Read(ReadError::Damaged(_))
            | Self::DoesNotCompile { .. } => true,
            other => other.is_unknown_organization(),
        }
    }

    /// An outcome of another kind than its use case has, which is a fault inside.
    pub fn unexpected(outcome: &Outcome) -> Self {
        Self::UnexpectedOutcome(format!("{outcome:?}").chars().take(64).collect())
    }

    /// The request has faults.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        Self::Refused(Refusal::Invalid(violations))
    }
}
