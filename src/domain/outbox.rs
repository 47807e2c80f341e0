//! What becomes of notifications that wait to be delivered: acknowledged or given up.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::identifiers::NotificationId;
use super::organization::{Invitation, InvitationStatus, Moment, Notification, Organization};

/// How long, in milliseconds, the delivery of a notification is tried before it is
/// given up: 3 days.
pub const TRIED_FOR_MILLISECONDS: i64 = 3 * 24 * 60 * 60 * 1_000;
/// How long, in milliseconds, a notification waits that nobody tries to deliver: 30
/// days. No link of any product lives that long, and an outbox that nobody empties
/// must not grow for ever.
pub const KEPT_FOR_MILLISECONDS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// Why a notification was given up; the history calls it by [`word`](Self::word).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It could not be delivered for [`TRIED_FOR_MILLISECONDS`].
    Undeliverable,
    /// Nobody came for it for [`KEPT_FOR_MILLISECONDS`].
    Unclaimed,
    /// What its link was for is over: accepted, revoked, expired.
    Obsolete,
    /// It has no address that the deliverer could use.
    NoAddress,
}

impl GivenUp {
    /// As the history and the log call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Undeliverable => "undeliverable",
            Self::Unclaimed => "unclaimed",
            Self::Obsolete => "obsolete",
            Self::NoAddress => "no-address",
        }
    }
}

impl Organization {
    /// Takes delivered notifications out of the outbox. Those that are gone already
    /// are passed over.
    pub fn acknowledge_notifications<'a>(
        &self,
        delivered: impl IntoIterator<Item = &'a NotificationId>,
    ) -> Change {
        let there: BTreeSet<&NotificationId> = delivered
            .into_iter()
            .filter(|id| self.notifications.contains_key(id.as_str()))
            .collect();
        let listed: Vec<&str> = there.iter().map(|id| id.as_str()).collect();
        let event = Event::done(
            "AcknowledgeNotifications",
            Target::new("Organization", self.id()),
            vec![("notifications", listed.join(","))],
        );
        Change {
            events: (!there.is_empty()).then_some(event).into_iter().collect(),
            outcome: Outcome::Count(there.len() as u64),
            records: there
                .into_iter()
                .map(|id| RecordChange::DeleteNotification(id.clone()))
                .collect(),
        }
    }

    /// Takes notifications out of the outbox that are not delivered any more, with an
    /// event for each. Those that are gone already are passed over.
    pub fn give_up_notifications(&self, ids: &[NotificationId], why: GivenUp) -> Change {
        let there: Vec<&Arc<Notification>> = ids
            .iter()
            .filter_map(|id| self.notifications.get(id.as_str()))
            .collect();
        let event = |notification: &Notification| {
            let details = vec![
                ("kind", notification.kind.word().to_owned()),
                ("reason", why.word().to_owned()),
            ];
            let target = Target::new("Notification", &notification.id);
            Event::done("GiveUpNotification", target, details)
        };
        Change {
            records: there
                .iter()
                .map(|notification| RecordChange::DeleteNotification(notification.id.clone()))
                .collect(),
            events: there
                .iter()
                .map(|notification| event(notification))
                .collect(),
            outcome: Outcome::Count(there.len() as u64),
        }
    }

    /// The invitation that a notification is about, while its link still leads somewhere.
    pub fn open_invitation(&self, notification: &Notification, now: Moment) -> Option<&Invitation> {
        let id = notification.invitation.as_ref()?;
        self.invitations
            .get(id.as_str())
            .map(|invitation| &**invitation)
            .filter(|invitation| {
                invitation.status == InvitationStatus::Pending && invitation.expires_at > now
            })
    }
}
