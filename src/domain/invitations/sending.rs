//! Sending invitations: a new one, and the same one again.

use std::sync::Arc;

use super::desk::Desk;
use crate::domain::catalog::Catalog;
use crate::domain::change::{Change, Event, Outcome, RecordChange, Target};
use crate::domain::checks::AskedPermissions;
use crate::domain::grant_rule::Grantor;
use crate::domain::identifiers::{InvitationId, ProjectId, UserId};
use crate::domain::lifecycle::fresh;
use crate::domain::members::listed;
use crate::domain::notifications::Notice;
use crate::domain::organization::{Invitation, Moment, NotificationKind, Organization};
use crate::domain::period::Period;
use crate::domain::refusal::Refusal;

const DAY_MILLISECONDS: i64 = 24 * 60 * 60 * 1_000;

/// Who is to be invited to what.
#[derive(Clone, Debug, Default)]
pub struct NewInvitation {
    /// The address of exactly one recipient.
    pub email: String,
    /// Their name, may be empty.
    pub display_name: String,
    /// Roles on the organization.
    pub roles: Vec<String>,
    /// Roles on projects.
    pub project_roles: Vec<(String, Vec<String>)>,
    /// What replaces roles inside projects.
    pub overrides: Vec<NewOverride>,
    /// When the membership will count.
    pub period: Period,
    /// A few words, may be empty.
    pub message: String,
}

/// What is to replace the roles of an invited person inside a project.
#[derive(Clone, Debug, Default)]
pub struct NewOverride {
    /// The project.
    pub project: String,
    /// Roles of which the project-level actions hold.
    pub roles: Vec<String>,
    /// Further project-level rights.
    pub permissions: AskedPermissions,
    /// When it will count.
    pub period: Period,
}

/// What was drawn for an invitation before it was decided on.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Its id.
    pub id: InvitationId,
    /// What tells its link from any other.
    pub nonce: [u8; 16],
}

/// Who sends, and when.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The catalog that the organization lives on.
    pub catalog: &'a Catalog,
    /// The member who sends; `None` for the operator.
    pub grantor: Option<&'a Grantor>,
    /// When.
    pub now: Moment,
}

impl Sender<'_> {
    pub(super) fn user(&self) -> Option<UserId> {
        self.grantor.map(|grantor| grantor.user.clone())
    }
}

impl Organization {
    /// Invites one person.
    pub fn create_invitation(
        &self,
        sender: Sender<'_>,
        new: &NewInvitation,
        draw: &Draw,
    ) -> Result<Change, Refusal> {
        let mut desk = Desk::open(self, sender, [new.email.as_str()])?;
        let invitation = desk.admit("invitation.", new, draw)?;
        Ok(self.sent("CreateInvitation", invitation, sender))
    }

    /// Sends a pending invitation again, an expired one too: its time begins anew, the
    /// older link is dead, and whoever sends it now stands for it.
    pub fn resend_invitation(
        &self,
        sender: Sender<'_>,
        id: &str,
        given_etag: &str,
        nonce: [u8; 16],
    ) -> Result<Change, Refusal> {
        let now = sender.now;
        let invitation = self.pending_invitation(id, "only a pending one is sent again")?;
        fresh("invitation", &invitation.id, invitation.version, given_etag)?;
        let mut desk = Desk::open(self, sender, [invitation.email.as_str()])?;
        desk.admit_again(invitation)?;
        let again = Invitation {
            invited_by: sender.user(),
            sent_at: now,
            times_sent: invitation.times_sent.saturating_add(1),
            expires_at: desk.deadline(),
            expiry_recorded: false,
            nonce,
            version: self.version.next(),
            ..(**invitation).clone()
        };
        let mut change = self.sent("ResendInvitation", Arc::new(again), sender);
        let superseded = self.undelivered(&invitation.id);
        change.records.splice(0..0, superseded);
        Ok(change)
    }

    fn sent(
        &self,
        action: &'static str,
        invitation: Arc<Invitation>,
        sender: Sender<'_>,
    ) -> Change {
        let mut records = vec![RecordChange::PutInvitation(Arc::clone(&invitation))];
        records.extend(self.notice_of(&invitation, sender, 0));
        Change {
            records,
            events: vec![sent_event(action, &invitation)],
            outcome: Outcome::Invitation(invitation),
        }
    }

    pub(super) fn notice_of(
        &self,
        invitation: &Invitation,
        sender: Sender<'_>,
        index: usize,
    ) -> Option<RecordChange> {
        let inviter = invitation.invited_by.as_ref();
        let facts = [
            (
                "inviter",
                inviter.map_or_else(
                    || sender.catalog.title.clone(),
                    |user| self.name_of(user.as_str()),
                ),
            ),
            ("invitee", invitation.display_name.clone()),
            ("roles", self.role_titles(sender.catalog, &invitation.roles)),
            ("message", invitation.message.clone()),
            ("expires", date(invitation.expires_at)),
        ];
        let notice = Notice {
            email: invitation.email.clone(),
            user: None,
            invitation: Some(invitation.id.clone()),
            facts: facts
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        let kind = NotificationKind::Invitation;
        self.notification(sender.catalog, kind, notice, index, sender.now)
    }
}

/// What the history says of one that was sent.
pub(super) fn sent_event(action: &'static str, invitation: &Invitation) -> Event {
    let mut details = vec![("roles", listed(&invitation.roles))];
    details.extend((!invitation.project_roles.is_empty()).then(|| {
        let roles = invitation.project_roles.iter();
        let listed = roles.map(|(project, roles)| format!("{project}={}", listed(roles)));
        ("project_roles", listed.collect::<Vec<_>>().join(";"))
    }));
    details.extend((!invitation.overrides.is_empty()).then(|| {
        let projects = invitation.overrides.keys().map(ProjectId::as_str);
        ("overrides", projects.collect::<Vec<_>>().join(","))
    }));
    Event::done(action, Target::new("Invitation", &invitation.id), details)
}

/// The day of a moment in UTC, such as `2026-11-25`.
pub(in crate::domain) fn date(moment: Moment) -> String {
    // Days are counted from 0000-03-01, so that a leap day is the last of its year:
    // http://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let days = moment
        .0
        .div_euclid(DAY_MILLISECONDS)
        .saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lies_on_the_day_that_calendars_say() {
        let days = [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_799_999, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (1_790_000_000_000, "2026-09-21"),
            (4_107_542_400_000, "2100-03-01"),
        ];
        for (moment, day) in days {
            assert_eq!(date(Moment(moment)), day);
        }
    }
}
