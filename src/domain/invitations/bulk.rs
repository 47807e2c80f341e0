//! Many invitations in one request: all or nobody, or each row for itself.

use std::sync::Arc;

use super::desk::Desk;
use super::sending::{Draw, NewInvitation, Sender, sent_event};
use crate::domain::change::{Change, Event, InvitedRow, Outcome, RecordChange, RowRefusal, Target};
use crate::domain::checks::Checks;
use crate::domain::organization::{Invitation, Organization};
use crate::domain::refusal::{Fault, Refusal, Violation, keep_violation};

/// The most rows of one request.
pub const MAX_ROWS: usize = 500;
/// The longest message of a refused row, in bytes: answers are remembered.
const MAX_ROW_MESSAGE_BYTES: usize = 500;

impl Organization {
    /// Invites many. All or nobody if `whole`; else each row for itself, with an event
    /// for each. Rows that could not even be read come as refusals.
    pub fn create_invitations(
        &self,
        sender: Sender<'_>,
        rows: &[(Result<NewInvitation, Refusal>, Draw)],
        whole: bool,
    ) -> Result<Change, Refusal> {
        const ACTION: &str = "BulkCreateInvitations";
        check_row_count(rows.len())?;
        let read = rows.iter().filter_map(|(row, _)| row.as_ref().ok());
        let mut desk = Desk::open(self, sender, read.map(|new| new.email.as_str()))?;
        let admitted: Vec<Result<Arc<Invitation>, Refusal>> = rows
            .iter()
            .enumerate()
            .map(|(row, (new, draw))| {
                let new = new.as_ref().map_err(Clone::clone)?;
                desk.admit(&format!("{}.", row_path(row)), new, draw)
            })
            .collect();
        if whole {
            refuse_whole(&admitted)?;
        }
        let (mut records, mut events) = (Vec::new(), Vec::new());
        for (row, admitted) in admitted.iter().enumerate() {
            let mut event = match admitted {
                Ok(invitation) => {
                    records.push(RecordChange::PutInvitation(Arc::clone(invitation)));
                    records.extend(self.notice_of(invitation, sender, row));
                    sent_event(ACTION, invitation)
                }
                Err(refusal) => Event {
                    refusal: Some(refusal.reason()),
                    ..Event::done(ACTION, Target::new("Organization", self.id()), Vec::new())
                },
            };
            event.details.insert(0, ("row", row.to_string()));
            events.push(event);
        }
        Ok(Change {
            records,
            events,
            outcome: Outcome::Invitations(answered(admitted)),
        })
    }
}

fn check_row_count(rows: usize) -> Result<(), Refusal> {
    let mut checks = Checks::new();
    if rows == 0 {
        checks.fault("invitations", Fault::Missing, "must not be empty");
    }
    if rows > MAX_ROWS {
        let message = format!("must be at most {MAX_ROWS}, not {rows}");
        checks.fault("invitations", Fault::TooMany, message);
    }
    checks.finish()
}

fn row_path(row: usize) -> String {
    format!("invitations[{row}]")
}

/// Refuses all rows for the first that a rule is against; where only the form of some
/// is wrong, for all that is wrong with any.
fn refuse_whole(admitted: &[Result<Arc<Invitation>, Refusal>]) -> Result<(), Refusal> {
    let mut violations: Vec<Violation> = Vec::new();
    let mut first = None;
    for (row, refusal) in admitted.iter().enumerate() {
        match refusal {
            Ok(_) => {}
            Err(Refusal::Invalid(found)) => {
                for violation in found {
                    keep_violation(&mut violations, violation.clone());
                }
            }
            Err(refusal) => {
                first.get_or_insert_with(|| Refusal::Row {
                    row: row_path(row),
                    refusal: Box::new(refusal.clone()),
                });
            }
        }
    }
    match first {
        Some(refusal) => Err(refusal),
        None if violations.is_empty() => Ok(()),
        None => Err(Refusal::Invalid(violations)),
    }
}

fn answered(admitted: Vec<Result<Arc<Invitation>, Refusal>>) -> Vec<InvitedRow> {
    let answer = |row| match row {
        Ok(invitation) => InvitedRow::Sent(invitation),
        Err(refusal) => InvitedRow::Refused(refused(&refusal)),
    };
    admitted.into_iter().map(answer).collect()
}

fn refused(refusal: &Refusal) -> RowRefusal {
    let message = refusal.to_string();
    let end = (0..=MAX_ROW_MESSAGE_BYTES)
        .rev()
        .find(|end| message.is_char_boundary(*end));
    RowRefusal {
        reason: refusal.reason().to_owned(),
        message: message
            .get(..end.unwrap_or_default())
            .unwrap_or(&message)
            .to_owned(),
    }
}
