//! Between what a commit is made of and its mirrors.

use std::sync::Arc;

use super::{
    Bytes1, Change1, Entry1, Entry2, Event1, EventSource1, Idempotency1, InvitedRow1, Outcome1,
    Remembered1, borrowed, stored_moment,
};
use crate::domain::change::{InvitedRow, Outcome, RecordChange, RowRefusal};
use crate::domain::identifiers::{
    GroupId, GuardrailId, InvitationId, NotificationId, OrganizationId, ProjectId, RoleId, TokenId,
    UserId,
};
use crate::domain::organization::{Moment, Version};
use crate::store::record::Entry;
use crate::store::{EventSource, HistoryEvent, Idempotency, IdempotencyKey, Remembered, Sequence};

impl<'a> From<&'a RecordChange> for Change1<'a> {
    fn from(change: &'a RecordChange) -> Self {
        match change {
            RecordChange::PutProfile(profile) => Self::PutProfile((&**profile).into()),
            RecordChange::PutMember(member) => Self::PutMember((&**member).into()),
            RecordChange::DeleteMember(user) => Self::DeleteMember(borrowed(user.as_str())),
            RecordChange::PutRole(role) => Self::PutRole((&**role).into()),
            RecordChange::DeleteRole(role) => Self::DeleteRole(borrowed(role.as_str())),
            RecordChange::PutProject(project) => Self::PutProject((&**project).into()),
            RecordChange::DeleteProject(project) => Self::DeleteProject(borrowed(project.as_str())),
            RecordChange::PutResource(resource) => Self::PutResource((&**resource).into()),
            RecordChange::DeleteResource(key) => Self::DeleteResource(key.into()),
            RecordChange::PutGroup(group) => Self::PutGroup((&**group).into()),
            RecordChange::DeleteGroup(group) => Self::DeleteGroup(borrowed(group.as_str())),
            RecordChange::PutInvitation(invitation) => Self::PutInvitation((&**invitation).into()),
            RecordChange::DeleteInvitation(invitation) => {
                Self::DeleteInvitation(borrowed(invitation.as_str()))
            }
            RecordChange::PutToken(token) => Self::PutToken((&**token).into()),
            RecordChange::DeleteToken(token) => Self::DeleteToken(borrowed(token.as_str())),
            RecordChange::PutGuardrail(guardrail) => Self::PutGuardrail((&**guardrail).into()),
            RecordChange::DeleteGuardrail(guardrail) => {
                Self::DeleteGuardrail(borrowed(guardrail.as_str()))
            }
            RecordChange::PutNotification(notification) => {
                Self::PutNotification((&**notification).into())
            }
            RecordChange::DeleteNotification(notification) => {
                Self::DeleteNotification(borrowed(notification.as_str()))
            }
            RecordChange::DeleteOrganization => Self::DeleteOrganization,
        }
    }
}

impl From<Change1<'_>> for RecordChange {
    fn from(stored: Change1<'_>) -> Self {
        match stored {
            Change1::PutProfile(profile) => Self::PutProfile(Arc::new(profile.into())),
            Change1::PutMember(member) => Self::PutMember(Arc::new(member.into())),
            Change1::DeleteMember(user) => Self::DeleteMember(UserId::new(user)),
            Change1::PutRole(role) => Self::PutRole(Arc::new(role.into())),
            Change1::DeleteRole(role) => Self::DeleteRole(RoleId::new(role)),
            Change1::PutProject(project) => Self::PutProject(Arc::new(project.into())),
            Change1::DeleteProject(project) => Self::DeleteProject(ProjectId::new(project)),
            Change1::PutResource(resource) => Self::PutResource(Arc::new(resource.into())),
            Change1::DeleteResource(key) => Self::DeleteResource(key.into()),
            Change1::PutGroup(group) => Self::PutGroup(Arc::new(group.into())),
            Change1::DeleteGroup(group) => Self::DeleteGroup(GroupId::new(group)),
            Change1::PutInvitation(invitation) => Self::PutInvitation(Arc::new(invitation.into())),
            Change1::DeleteInvitation(invitation) => {
                Self::DeleteInvitation(InvitationId::new(invitation))
            }
            Change1::PutToken(token) => Self::PutToken(Arc::new(token.into())),
            Change1::DeleteToken(token) => Self::DeleteToken(TokenId::new(token)),
            Change1::PutGuardrail(guardrail) => Self::PutGuardrail(Arc::new(guardrail.into())),
            Change1::DeleteGuardrail(guardrail) => {
                Self::DeleteGuardrail(GuardrailId::new(guardrail))
            }
            Change1::PutNotification(notification) => {
                Self::PutNotification(Arc::new(notification.into()))
            }
            Change1::DeleteNotification(notification) => {
                Self::DeleteNotification(NotificationId::new(notification))
            }
            Change1::DeleteOrganization => Self::DeleteOrganization,
        }
    }
}

impl<'a> From<&'a Outcome> for Outcome1<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Profile(profile) => Self::Profile((&**profile).into()),
            Outcome::Member(member) => Self::Member((&**member).into()),
            Outcome::Role(role) => Self::Role((&**role).into()),
            Outcome::Project(project) => Self::Project((&**project).into()),
            Outcome::Resource(resource) => Self::Resource((&**resource).into()),
            Outcome::Group(group) => Self::Group((&**group).into()),
            Outcome::Invitation(invitation) => Self::Invitation((&**invitation).into()),
            Outcome::Invitations(rows) => Self::Invitations(rows.iter().map(Into::into).collect()),
            Outcome::Token(token) => Self::Token((&**token).into()),
            Outcome::Guardrail(guardrail) => Self::Guardrail((&**guardrail).into()),
            Outcome::Count(count) => Self::Count(*count),
            Outcome::Removed {
                orphaned,
                orphaned_count,
                reassigned_count,
            } => Self::Removed {
                orphaned: orphaned.iter().map(Into::into).collect(),
                orphaned_count: *orphaned_count,
                reassigned_count: *reassigned_count,
            },
            Outcome::Nothing => Self::Nothing,
        }
    }
}

impl From<Outcome1<'_>> for Outcome {
    fn from(stored: Outcome1<'_>) -> Self {
        match stored {
            Outcome1::Profile(profile) => Self::Profile(Arc::new(profile.into())),
            Outcome1::Member(member) => Self::Member(Arc::new(member.into())),
            Outcome1::Role(role) => Self::Role(Arc::new(role.into())),
            Outcome1::Project(project) => Self::Project(Arc::new(project.into())),
            Outcome1::Resource(resource) => Self::Resource(Arc::new(resource.into())),
            Outcome1::Group(group) => Self::Group(Arc::new(group.into())),
            Outcome1::Invitation(invitation) => Self::Invitation(Arc::new(invitation.into())),
            Outcome1::Invitations(rows) => {
                Self::Invitations(rows.into_iter().map(Into::into).collect())
            }
            Outcome1::Token(token) => Self::Token(Arc::new(token.into())),
            Outcome1::Guardrail(guardrail) => Self::Guardrail(Arc::new(guardrail.into())),
            Outcome1::Count(count) => Self::Count(count),
            Outcome1::Removed {
                orphaned,
                orphaned_count,
                reassigned_count,
            } => Self::Removed {
                orphaned: orphaned.into_iter().map(Into::into).collect(),
                orphaned_count,
                reassigned_count,
            },
            Outcome1::Nothing => Self::Nothing,
        }
    }
}

impl<'a> From<&'a InvitedRow> for InvitedRow1<'a> {
    fn from(row: &'a InvitedRow) -> Self {
        match row {
            InvitedRow::Sent(invitation) => Self::Sent(Box::new((&**invitation).into())),
            InvitedRow::Refused(refusal) => Self::Refused {
                reason: borrowed(&refusal.reason),
                message: borrowed(&refusal.message),
            },
        }
    }
}

impl From<InvitedRow1<'_>> for InvitedRow {
    fn from(stored: InvitedRow1<'_>) -> Self {
        match stored {
            InvitedRow1::Sent(invitation) => Self::Sent(Arc::new((*invitation).into())),
            InvitedRow1::Refused { reason, message } => Self::Refused(RowRefusal {
                reason: reason.into_owned(),
                message: message.into_owned(),
            }),
        }
    }
}

impl<'a> From<&'a HistoryEvent> for Event1<'a> {
    fn from(event: &'a HistoryEvent) -> Self {
        Self {
            source: match event.source {
                EventSource::Roster => EventSource1::Roster,
                EventSource::Host => EventSource1::Host,
            },
            action: borrowed(&event.action),
            target_kind: borrowed(&event.target_kind),
            target_id: borrowed(&event.target_id),
            caller: borrowed(&event.caller),
            actor: borrowed(&event.actor),
            token: borrowed(&event.token),
            refusal: borrowed(&event.refusal),
            occurred_at: stored_moment(event.occurred_at),
            request_id: borrowed(&event.request_id),
            details: event
                .details
                .iter()
                .map(|(name, value)| (borrowed(name), borrowed(value)))
                .collect(),
        }
    }
}

impl From<Event1<'_>> for HistoryEvent {
    fn from(stored: Event1<'_>) -> Self {
        Self {
            source: match stored.source {
                EventSource1::Roster => EventSource::Roster,
                EventSource1::Host => EventSource::Host,
            },
            action: stored.action.into_owned(),
            target_kind: stored.target_kind.into_owned(),
            target_id: stored.target_id.into_owned(),
            caller: stored.caller.into_owned(),
            actor: stored.actor.into_owned(),
            token: stored.token.into_owned(),
            refusal: stored.refusal.into_owned(),
            occurred_at: stored.occurred_at.map(Moment),
            request_id: stored.request_id.into_owned(),
            details: stored
                .details
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        }
    }
}

#[cfg(test)]
impl<'a> From<&'a Entry> for Entry1<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            organization: borrowed(entry.organization.as_str()),
            version: entry.version.0,
            at: entry.at.0,
            records: entry.records.iter().map(Into::into).collect(),
            events: entry.events.iter().map(Into::into).collect(),
        }
    }
}

impl<'a> From<&'a Entry> for Entry2<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            organization: borrowed(entry.organization.as_str()),
            version: entry.version.0,
            at: entry.at.0,
            wake_at: stored_moment(entry.wake_at),
            records: entry.records.iter().map(Into::into).collect(),
            events: entry.events.iter().map(Into::into).collect(),
        }
    }
}

impl From<Entry1<'_>> for Entry {
    fn from(stored: Entry1<'_>) -> Self {
        Self {
            organization: OrganizationId::new(stored.organization),
            version: Version(stored.version),
            at: Moment(stored.at),
            records: stored.records.into_iter().map(Into::into).collect(),
            events: stored.events.into_iter().map(Into::into).collect(),
            wake_at: None,
        }
    }
}

impl From<Entry2<'_>> for Entry {
    fn from(stored: Entry2<'_>) -> Self {
        Self {
            organization: OrganizationId::new(stored.organization),
            version: Version(stored.version),
            at: Moment(stored.at),
            records: stored.records.into_iter().map(Into::into).collect(),
            events: stored.events.into_iter().map(Into::into).collect(),
            wake_at: stored.wake_at.map(Moment),
        }
    }
}

impl<'a> From<&'a Idempotency> for Idempotency1<'a> {
    fn from(idempotency: &'a Idempotency) -> Self {
        Self {
            organization: borrowed(idempotency.key.organization.as_str()),
            caller: borrowed(&idempotency.key.caller),
            request_id: borrowed(&idempotency.key.request_id),
            fingerprint: Bytes1(idempotency.fingerprint),
            outcome: (&idempotency.outcome).into(),
            expires_at: idempotency.expires_at.0,
        }
    }
}

impl From<Idempotency1<'_>> for Idempotency {
    fn from(stored: Idempotency1<'_>) -> Self {
        Self {
            key: IdempotencyKey {
                organization: OrganizationId::new(stored.organization),
                caller: stored.caller.into_owned(),
                request_id: stored.request_id.into_owned(),
            },
            fingerprint: stored.fingerprint.0,
            outcome: stored.outcome.into(),
            expires_at: Moment(stored.expires_at),
        }
    }
}

impl<'a> From<&'a Remembered> for Remembered1<'a> {
    fn from(remembered: &'a Remembered) -> Self {
        Self {
            fingerprint: Bytes1(remembered.fingerprint),
            sequence: remembered.sequence.0,
            outcome: (&remembered.outcome).into(),
            expires_at: remembered.expires_at.0,
        }
    }
}

impl From<Remembered1<'_>> for Remembered {
    fn from(stored: Remembered1<'_>) -> Self {
        Self {
            fingerprint: stored.fingerprint.0,
            sequence: Sequence(stored.sequence),
            outcome: stored.outcome.into(),
            expires_at: Moment(stored.expires_at),
        }
    }
}
