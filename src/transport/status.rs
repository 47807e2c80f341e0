//! From what a use case refuses to a gRPC status: the only place where one is made.
//!
//! Clients get the code, one sentence, `google.rpc.ErrorInfo` with a reason of
//! `ErrorReason` and, where fields are at fault, `google.rpc.BadRequest` with
//! every one of them. What went wrong inside is logged here, once, and never sent.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::application::Error;
use crate::domain::Refusal;
use crate::domain::change::RowRefusal;
use crate::domain::refusal::{Fault, Violation};
use crate::proto::v1::ErrorReason;
use crate::store::CommitError;

const DOMAIN: &str = "roster";
const PREFIX: &str = "ERROR_REASON_";
/// What a client waits before it sends again what was refused for load.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The longest message, in bytes. Message and details travel as headers, of which
/// common clients take 8 to 16 KiB and drop the connection over more.
const MAX_MESSAGE_BYTES: usize = 500;
/// The most bytes of all violations of a status together.
const MAX_VIOLATIONS_BYTES: usize = 2_500;
/// The longest field or description of one violation, in bytes.
const MAX_VIOLATION_BYTES: usize = 250;

/// The status of an error.
pub fn of(error: Error) -> Status {
    let (code, reason) = classify(&error);
    if code == Code::Internal {
        tracing::error!(error = %chain(&error), "a request failed inside");
        return with_details(
            code,
            "an internal error; see the daemon's log",
            details(reason),
        );
    }
    if reason != ErrorReason::RevisionNotReached
        && (code == Code::Unavailable || code == Code::Unknown)
    {
        tracing::warn!(error = %chain(&error), "a request could not be served");
    }
    if let Error::HistoryDamaged { after, what } = &error {
        tracing::error!(after, what, "the history is damaged");
    }
    let mut details = details(reason);
    let message = match &error {
        Error::Commit(problem) => commit_message(problem),
        Error::Refused(Refusal::Invalid(violations)) => {
            details.set_bad_request(field_violations(violations));
            error.to_string()
        }
        _ => error.to_string(),
    };
    if matches!(
        reason,
        ErrorReason::StoreBusy | ErrorReason::DiskFull | ErrorReason::Overloaded
    ) {
        details.set_retry_info(Some(RETRY_DELAY));
    }
    with_details(code, &message, details)
}

/// What a client reads of a change that was not stored. What the store says of
/// itself, such as a path, is for the log.
fn commit_message(problem: &CommitError) -> String {
    match problem {
        CommitError::Unavailable(_) => "the store takes no writes".to_owned(),
        CommitError::Unknown(_) => {
            "it is unknown whether the change was made; repeat it with the same `request_id`"
                .to_owned()
        }
        CommitError::Conflict
        | CommitError::AlreadyDone(_)
        | CommitError::Busy
        | CommitError::Full
        | CommitError::TooLarge { .. } => problem.to_string(),
    }
}

/// A status as a message, for an item of a batch.
pub fn as_message(status: &Status) -> tonic_types::pb::Status {
    let plain = || tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    };
    tonic_types::pb::Status::decode(status.details())
        .ok()
        .filter(|decoded| decoded.code != 0)
        .unwrap_or_else(plain)
}

/// The status of a refused row of a bulk request, as the single request would have it.
/// The answer is remembered by the reason's name; a test holds the codes to those of
/// [`of`].
pub fn of_row(refusal: &RowRefusal) -> tonic_types::pb::Status {
    let reason = reason_of(&refusal.reason);
    let code = match reason {
        ErrorReason::Invalid => Code::InvalidArgument,
        ErrorReason::NotFound => Code::NotFound,
        ErrorReason::AlreadyExists => Code::AlreadyExists,
        ErrorReason::ExceedsGrantor | ErrorReason::OwnershipNotGiven => Code::PermissionDenied,
        ErrorReason::LimitReached | ErrorReason::SeatsTaken | ErrorReason::TooFast => {
            Code::ResourceExhausted
        }
        _ => Code::FailedPrecondition,
    };
    as_message(&with_details(code, &refusal.message, details(reason)))
}

/// The one answer to every caller who is not recognised.
pub fn unauthenticated() -> Status {
    with_details(
        Code::Unauthenticated,
        "the caller is not recognised; send `authorization: Bearer <key>`",
        details(ErrorReason::Unauthenticated),
    )
}

/// The answer to metadata that names no actor, or more than one, or both a user
/// and a token.
pub fn malformed_actor() -> Status {
    with_details(
        Code::InvalidArgument,
        "`roster-actor` must name one user, or `roster-actor-token` hold one API token",
        details(ErrorReason::Invalid),
    )
}

/// The answer to a call of what there is not.
pub fn no_such_method() -> Status {
    Status::unimplemented("there is no such method")
}

/// The answer to a message that is none of the type it should be.
pub fn undecodable(error: &prost::DecodeError) -> Status {
    Status::internal(error.to_string())
}

/// What ends an answer that has begun, instead of what it would have ended with.
pub fn trailers(status: Status) -> HeaderMap {
    let mut trailers = status.into_http::<()>().into_parts().0.headers;
    trailers.remove(CONTENT_TYPE);
    trailers
}

/// The answer when the time that the client gave is over.
pub fn too_late() -> Status {
    Status::deadline_exceeded("the deadline passed before there was an answer")
}

/// The answer to whoever began to send a request and did not go on.
pub fn too_slow() -> Status {
    Status::deadline_exceeded("the rest of the request did not come in time")
}

/// The answer to a call that is refused because more is asked than can be answered.
pub fn overloaded(what: &str) -> Status {
    let mut details = details(ErrorReason::Overloaded);
    details.set_retry_info(Some(RETRY_DELAY));
    with_details(Code::ResourceExhausted, what, details)
}

/// The end of an answer whose rest will not come.
pub fn cut_off() -> Status {
    Status::unavailable("the daemon stopped before the answer was complete")
}

/// The answer where a service failed without one.
pub fn failed(error: &dyn std::error::Error) -> Status {
    tracing::error!(error = %chain(error), "a service failed");
    with_details(
        Code::Internal,
        "an internal error; see the daemon's log",
        details(ErrorReason::Internal),
    )
}

/// The answer to a health check of a service that there is not.
pub fn unknown_service() -> Status {
    with_details(
        Code::NotFound,
        "no such service",
        details(ErrorReason::NotFound),
    )
}

/// The name of a reason as `ErrorInfo` and `FieldViolation` carry it.
fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn details(reason: ErrorReason) -> ErrorDetails {
    ErrorDetails::with_error_info(reason_name(reason), DOMAIN, HashMap::new())
}

fn with_details(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, cut(message, MAX_MESSAGE_BYTES), details)
}

/// The first violations, as many as a status can carry; the message counts them all.
fn field_violations(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut room = MAX_VIOLATIONS_BYTES;
    violations
        .iter()
        .map(field_violation)
        .take_while(|violation| {
            let size = violation.field.len() + violation.description.len() + violation.reason.len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        })
        .collect()
}

/// The text, or as much of it as `most` bytes hold.
fn cut(text: &str, most: usize) -> String {
    const MORE: &str = "...";
    if text.len() <= most {
        return text.to_owned();
    }
    let kept = (0..=most.saturating_sub(MORE.len()))
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default();
    format!("{kept}{MORE}")
}

fn field_violation(violation: &Violation) -> FieldViolation {
    FieldViolation {
        field: cut(&violation.field, MAX_VIOLATION_BYTES),
        description: cut(&violation.message, MAX_VIOLATION_BYTES),
        reason: reason_name(fault_reason(violation.kind)).to_owned(),
        localized_message: None,
    }
}

fn fault_reason(fault: Fault) -> ErrorReason {
    match fault {
        Fault::Missing => ErrorReason::Missing,
        Fault::Malformed => ErrorReason::Malformed,
        Fault::UnknownAction => ErrorReason::UnknownAction,
        Fault::UnknownResourceType => ErrorReason::UnknownResourceType,
        Fault::ActionDoesNotApply => ErrorReason::ActionDoesNotApply,
        Fault::Attribute => ErrorReason::Attribute,
        Fault::UnknownReference => ErrorReason::UnknownReference,
        Fault::AccountLevelAction => ErrorReason::AccountLevelAction,
        Fault::RoleNotHeldThere => ErrorReason::RoleNotHeldThere,
        Fault::ReservedName => ErrorReason::ReservedName,
        Fault::Repeated => ErrorReason::Repeated,
        Fault::MalformedRevision => ErrorReason::MalformedRevision,
        Fault::MalformedPageToken => ErrorReason::MalformedPageToken,
        Fault::TooMany => ErrorReason::TooMany,
        Fault::Policy => ErrorReason::Policy,
    }
}

fn classify(error: &Error) -> (Code, ErrorReason) {
    match error {
        Error::Refused(refusal) => classify_refusal(refusal),
        Error::RevisionNotReached(_) => (Code::Unavailable, ErrorReason::RevisionNotReached),
        Error::OwnerMissing(_) => (Code::DataLoss, ErrorReason::OwnerMissing),
        Error::CatalogMissing { .. } => (Code::Unavailable, ErrorReason::CatalogMissing),
        Error::RequestIdReused(_) => (Code::Aborted, ErrorReason::RequestIdReused),
        Error::ConcurrentChange => (Code::Aborted, ErrorReason::ConcurrentChange),
        Error::BatchTooLarge { .. } => (Code::InvalidArgument, ErrorReason::BatchTooLarge),
        Error::Commit(problem) => classify_commit(problem),
        Error::HistoryDamaged { .. } => (Code::DataLoss, ErrorReason::HistoryDamaged),
        Error::Overloaded => (Code::ResourceExhausted, ErrorReason::Overloaded),
        Error::Read(_) => (Code::Unavailable, ErrorReason::StoreUnavailable),
        Error::Compile(_)
        | Error::DoesNotCompile { .. }
        | Error::Evaluate(_)
        | Error::UnexpectedOutcome(_) => (Code::Internal, ErrorReason::Internal),
    }
}

/// The reason has the refusal's own name; a test holds every one to it.
fn classify_refusal(refusal: &Refusal) -> (Code, ErrorReason) {
    (code_of(refusal), reason_of(refusal.reason()))
}

fn reason_of(name: &str) -> ErrorReason {
    ErrorReason::from_str_name(&format!("{PREFIX}{name}")).unwrap_or(ErrorReason::Internal)
}

fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Row { refusal, .. } => code_of(refusal),
        Refusal::Invalid(_) | Refusal::BadLink => Code::InvalidArgument,
        Refusal::NotFound { .. } => Code::NotFound,
        Refusal::AlreadyExists { .. } => Code::AlreadyExists,
        Refusal::StaleEtag { .. } => Code::Aborted,
        Refusal::PermissionDenied { .. }
        | Refusal::OperatorOnly(_)
        | Refusal::ExceedsGrantor { .. }
        | Refusal::SelfChange
        | Refusal::OwnershipNotGiven
        | Refusal::WrongAddress
        | Refusal::ScopeMissing(_)
        | Refusal::ForeignOrganization => Code::PermissionDenied,
        Refusal::ReauthenticationNeeded(_) | Refusal::BadToken => Code::Unauthenticated,
        Refusal::LimitReached { .. } | Refusal::SeatsTaken { .. } | Refusal::TooFast { .. } => {
            Code::ResourceExhausted
        }
        Refusal::OwnerProtected { .. }
        | Refusal::MemberStatus { .. }
        | Refusal::RoleInUse { .. }
        | Refusal::BuiltInRole(_)
        | Refusal::NotOffered(_)
        | Refusal::PlanLacksFeature { .. }
        | Refusal::PlanForbids(_)
        | Refusal::NothingToOverride { .. }
        | Refusal::ProjectArchived(_)
        | Refusal::ProjectNotEmpty { .. }
        | Refusal::DeadLink(_)
        | Refusal::GrantorLost
        | Refusal::InvitationStatus { .. }
        | Refusal::TransferTarget(_)
        | Refusal::NoTransfer
        | Refusal::TokenStatus { .. }
        | Refusal::MemberKind { .. } => Code::FailedPrecondition,
    }
}

fn classify_commit(problem: &CommitError) -> (Code, ErrorReason) {
    match problem {
        CommitError::Conflict => (Code::Aborted, ErrorReason::ConcurrentChange),
        CommitError::AlreadyDone(_) => (Code::Aborted, ErrorReason::RequestIdReused),
        CommitError::Busy => (Code::ResourceExhausted, ErrorReason::StoreBusy),
        CommitError::Full => (Code::ResourceExhausted, ErrorReason::DiskFull),
        CommitError::TooLarge { .. } => (Code::InvalidArgument, ErrorReason::RecordTooLarge),
        CommitError::Unavailable(_) => (Code::Unavailable, ErrorReason::StoreUnavailable),
        CommitError::Unknown(_) => (Code::Unknown, ErrorReason::OutcomeUnknown),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identifiers::UserId;

    #[test]
    fn a_row_has_the_code_and_the_reason_of_the_single_request() {
        let (feature, plan) = ("invitations".to_owned(), "free".to_owned());
        let (kind, id, what, limit) = ("project", "p".to_owned(), "w", 1);
        for refusal in [
            Refusal::Invalid(Vec::new()),
            Refusal::NotFound {
                kind,
                id: id.clone(),
            },
            Refusal::AlreadyExists {
                kind,
                id: id.clone(),
            },
            Refusal::OwnershipNotGiven,
            Refusal::ExceedsGrantor {
                actor: id.clone(),
                what: id.clone(),
                missing: Vec::new(),
            },
            Refusal::LimitReached { what, limit },
            Refusal::TooFast { what, limit },
            Refusal::SeatsTaken {
                used: 1,
                limit,
                plan: plan.clone(),
            },
            Refusal::NotOffered(what),
            Refusal::PlanLacksFeature { plan, feature },
            Refusal::ProjectArchived(id.clone()),
            Refusal::NothingToOverride {
                user: UserId::new("u"),
                project: id,
            },
        ] {
            let row = of_row(&RowRefusal {
                reason: refusal.reason().to_owned(),
                message: refusal.to_string(),
            });
            let single = as_message(&of(Error::Refused(refusal.clone())));
            assert_eq!((row.code, &row.message), (single.code, &single.message));
            assert_eq!(row.details.first(), single.details.first(), "{refusal:?}");
        }
    }

    #[test]
    fn what_went_wrong_inside_is_never_sent() {
        let problem = CommitError::Unavailable("open /secret/path failed".to_owned());
        let status = of(Error::Commit(problem));
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.message().contains("secret"), "{status:?}");
        let read = crate::store::ReadError::Damaged("bytes of a member".to_owned());
        let status = of(Error::Read(read));
        assert!(!status.message().contains("bytes"), "{status:?}");
    }
}
