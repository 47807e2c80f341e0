//! Whether a commit may be made: the rules that every adapter shares.
//!
//! They look at values only. Where the current version and the remembered
//! answer come from, and how it is ensured that they still hold when the commit
//! is made, is each adapter's own affair.

use super::record::{
    EncodeError, Entry, MAX_ANSWER_BYTES, MAX_COMMIT_BYTES, MAX_RECORD_BYTES, Stored,
};
use super::{Commit, CommitError, HistoryEvent, Remembered, Sequence};
use crate::domain::change::RecordChange;
use crate::domain::organization::{Moment, Version};

/// Refuses the repetition at `at` of a request that was answered before.
///
/// This comes before [`guard`]: a repetition was decided on an outdated version
/// more often than not, and is no conflict.
pub(super) fn recognise(at: Moment, remembered: Option<Remembered>) -> Result<(), CommitError> {
    match remembered.filter(|remembered| remembered.expires_at > at) {
        Some(remembered) => Err(CommitError::AlreadyDone(Box::new(remembered))),
        None => Ok(()),
    }
}

/// Refuses a change of an organization that was decided on another version than the current.
pub(super) fn guard(
    expected: Option<Version>,
    current: Option<Version>,
) -> Result<(), CommitError> {
    if current != expected {
        return Err(CommitError::Conflict);
    }
    Ok(())
}

/// Whether the organization is there after `records`.
pub(super) fn exists_after(records: &[RecordChange]) -> bool {
    let rest = after_deletion(records);
    rest.len() == records.len() || rest.iter().any(is_profile)
}

/// Refuses a commit that says nothing, or whose records would leave an organization
/// without a profile, or with another's.
pub(super) fn check_shape(commit: &Commit) -> Result<(), CommitError> {
    if commit.events.is_empty() {
        return Err(refused("the commit holds no event"));
    }
    if commit.records.is_empty() {
        return check_unchanged(commit);
    }
    let rest = after_deletion(&commit.records);
    let deletes = rest.len() < commit.records.len();
    let starts_empty = deletes || commit.expected.is_none();
    let lacks_profile = starts_empty && !rest.iter().any(is_profile);
    if lacks_profile && !(deletes && rest.is_empty()) {
        return Err(refused(
            "the commit would leave the organization without a profile",
        ));
    }
    let foreign = commit.records.iter().any(|change| match change {
        RecordChange::PutProfile(profile) => profile.id != commit.organization,
        _ => false,
    });
    if foreign {
        return Err(refused(
            "the commit holds the profile of another organization",
        ));
    }
    Ok(())
}

/// Refuses a commit that changes no record and yet names another version than it was decided on.
fn check_unchanged(commit: &Commit) -> Result<(), CommitError> {
    if commit.version != commit.expected.unwrap_or_default() {
        return Err(refused("a commit without records can't change the version"));
    }
    Ok(())
}

/// Refuses events of which one is too large.
pub(super) fn check_events(events: &[HistoryEvent]) -> Result<(), CommitError> {
    for event in events {
        check_size(event.seal().map_err(unwritable)?.len(), MAX_RECORD_BYTES)?;
    }
    Ok(())
}

/// The sealed history entry of a commit, if all of it fits.
pub(super) fn seal_entry(commit: &Commit) -> Result<Vec<u8>, CommitError> {
    let entry = Entry {
        organization: commit.organization.clone(),
        version: commit.version,
        at: commit.at,
        records: commit.records.clone(),
        events: commit.events.clone(),
        wake_at: commit.wake_at,
    };
    let entry = entry.seal().map_err(unwritable)?;
    check_size(entry.len(), MAX_COMMIT_BYTES)?;
    Ok(entry)
}

/// The bytes of a record that is put, if they fit, or nothing for a deletion.
pub(super) fn seal_put(change: &RecordChange) -> Result<Option<Vec<u8>>, CommitError> {
    let sealed = match change {
        RecordChange::PutProfile(profile) => profile.seal(),
        RecordChange::PutMember(member) => member.seal(),
        RecordChange::PutRole(role) => role.seal(),
        RecordChange::PutProject(project) => project.seal(),
        RecordChange::PutResource(resource) => resource.seal(),
        RecordChange::PutGroup(group) => group.seal(),
        RecordChange::PutInvitation(invitation) => invitation.seal(),
        RecordChange::PutToken(token) => token.seal(),
        RecordChange::PutGuardrail(guardrail) => guardrail.seal(),
        RecordChange::PutNotification(notification) => notification.seal(),
        RecordChange::DeleteMember(_)
        | RecordChange::DeleteRole(_)
        | RecordChange::DeleteProject(_)
        | RecordChange::DeleteResource(_)
        | RecordChange::DeleteGroup(_)
        | RecordChange::DeleteInvitation(_)
        | RecordChange::DeleteToken(_)
        | RecordChange::DeleteGuardrail(_)
        | RecordChange::DeleteNotification(_)
        | RecordChange::DeleteOrganization => return Ok(None),
    };
    let sealed = sealed.map_err(unwritable)?;
    check_size(sealed.len(), MAX_RECORD_BYTES)?;
    Ok(Some(sealed))
}

/// Refuses an answer that is too large to be remembered, whatever its position will be.
pub(super) fn check_answer(commit: &Commit) -> Result<(), CommitError> {
    let Some(idempotency) = &commit.idempotency else {
        return Ok(());
    };
    let remembered = Remembered {
        fingerprint: [u8::MAX; 32],
        sequence: Sequence(u64::MAX),
        outcome: idempotency.outcome.clone(),
        expires_at: idempotency.expires_at,
    };
    check_size(
        remembered.seal().map_err(unwritable)?.len(),
        MAX_ANSWER_BYTES,
    )
}

pub(super) fn unwritable(fault: EncodeError) -> CommitError {
    refused(&fault.to_string())
}

fn refused(why: &str) -> CommitError {
    CommitError::Unavailable(why.to_owned())
}

fn check_size(bytes: usize, limit: usize) -> Result<(), CommitError> {
    if bytes > limit {
        return Err(CommitError::TooLarge { bytes, limit });
    }
    Ok(())
}

fn is_profile(change: &RecordChange) -> bool {
    matches!(change, RecordChange::PutProfile(_))
}

/// What follows the last deletion of the whole organization; everything if there is none.
fn after_deletion(records: &[RecordChange]) -> &[RecordChange] {
    let start = records
        .iter()
        .rposition(|change| matches!(change, RecordChange::DeleteOrganization))
        .map_or(0, |position| position + 1);
    records.get(start..).unwrap_or_default()
}
