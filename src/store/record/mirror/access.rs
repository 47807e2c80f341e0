//! Between what lets people and machines in, or tells them so, and its mirrors.

use super::records::{
    overrides, project_roles, role_ids, role_names, stored_overrides, stored_project_roles,
};
use super::{
    Bytes1, Invitation1, InvitationStatus1, Notification1, NotificationKind1, Token1, TokenKind1,
    TokenScope1, TokenSecret1, borrowed, period, stored_moment, stored_period,
};
use crate::domain::identifiers::{
    ActionId, InvitationId, NotificationId, ProjectId, TokenId, UserId,
};
use crate::domain::organization::{
    Invitation, InvitationStatus, Moment, Notification, NotificationKind, Token, TokenKind,
    TokenScope, TokenSecret, Version,
};

impl<'a> From<&'a Invitation> for Invitation1<'a> {
    fn from(invitation: &'a Invitation) -> Self {
        Self {
            id: borrowed(invitation.id.as_str()),
            email: borrowed(&invitation.email),
            display_name: borrowed(&invitation.display_name),
            roles: role_names(&invitation.roles),
            project_roles: stored_project_roles(&invitation.project_roles),
            overrides: stored_overrides(&invitation.overrides),
            period: stored_period(&invitation.period),
            message: borrowed(&invitation.message),
            status: match invitation.status {
                InvitationStatus::Pending => InvitationStatus1::Pending,
                InvitationStatus::Accepted => InvitationStatus1::Accepted,
                InvitationStatus::Revoked => InvitationStatus1::Revoked,
                InvitationStatus::Declined => InvitationStatus1::Declined,
            },
            invited_by: invitation
                .invited_by
                .as_ref()
                .map(|id| borrowed(id.as_str())),
            created_at: invitation.created_at.0,
            sent_at: invitation.sent_at.0,
            times_sent: invitation.times_sent,
            expires_at: invitation.expires_at.0,
            expiry_recorded: invitation.expiry_recorded,
            nonce: Bytes1(invitation.nonce),
            accepted_by: invitation
                .accepted_by
                .as_ref()
                .map(|id| borrowed(id.as_str())),
            closed_at: stored_moment(invitation.closed_at),
            version: invitation.version.0,
        }
    }
}

impl From<Invitation1<'_>> for Invitation {
    fn from(stored: Invitation1<'_>) -> Self {
        Self {
            id: InvitationId::new(stored.id),
            email: stored.email.into_owned(),
            display_name: stored.display_name.into_owned(),
            roles: role_ids(stored.roles),
            project_roles: project_roles(stored.project_roles),
            overrides: overrides(stored.overrides),
            period: period(stored.period),
            message: stored.message.into_owned(),
            status: match stored.status {
                InvitationStatus1::Pending => InvitationStatus::Pending,
                InvitationStatus1::Accepted => InvitationStatus::Accepted,
                InvitationStatus1::Revoked => InvitationStatus::Revoked,
                InvitationStatus1::Declined => InvitationStatus::Declined,
            },
            invited_by: stored.invited_by.map(UserId::new),
            created_at: Moment(stored.created_at),
            sent_at: Moment(stored.sent_at),
            times_sent: stored.times_sent,
            expires_at: Moment(stored.expires_at),
            expiry_recorded: stored.expiry_recorded,
            nonce: stored.nonce.0,
            accepted_by: stored.accepted_by.map(UserId::new),
            closed_at: stored.closed_at.map(Moment),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Token> for Token1<'a> {
    fn from(token: &'a Token) -> Self {
        Self {
            id: borrowed(token.id.as_str()),
            display_name: borrowed(&token.display_name),
            kind: match token.kind {
                TokenKind::Member => TokenKind1::Member,
                TokenKind::ServiceAccount => TokenKind1::ServiceAccount,
                TokenKind::Organization => TokenKind1::Organization,
            },
            subject: borrowed(token.subject.as_str()),
            membership: token.membership.0,
            secrets: token.secrets.iter().map(Into::into).collect(),
            scope: token.scope.as_ref().map(Into::into),
            period: stored_period(&token.period),
            revoked_at: stored_moment(token.revoked_at),
            expiry_recorded: token.expiry_recorded,
            last_used_at: stored_moment(token.last_used_at),
            created_by: token.created_by.as_ref().map(|id| borrowed(id.as_str())),
            created_at: token.created_at.0,
            version: token.version.0,
        }
    }
}

impl From<Token1<'_>> for Token {
    fn from(stored: Token1<'_>) -> Self {
        Self {
            id: TokenId::new(stored.id),
            display_name: stored.display_name.into_owned(),
            kind: match stored.kind {
                TokenKind1::Member => TokenKind::Member,
                TokenKind1::ServiceAccount => TokenKind::ServiceAccount,
                TokenKind1::Organization => TokenKind::Organization,
            },
            subject: UserId::new(stored.subject),
            membership: Version(stored.membership),
            secrets: stored.secrets.into_iter().map(Into::into).collect(),
            scope: stored.scope.map(Into::into),
            period: period(stored.period),
            revoked_at: stored.revoked_at.map(Moment),
            expiry_recorded: stored.expiry_recorded,
            last_used_at: stored.last_used_at.map(Moment),
            created_by: stored.created_by.map(UserId::new),
            created_at: Moment(stored.created_at),
            version: Version(stored.version),
        }
    }
}

impl From<&TokenSecret> for TokenSecret1 {
    fn from(secret: &TokenSecret) -> Self {
        Self {
            digest: Bytes1(secret.digest),
            created_at: secret.created_at.0,
            expires_at: stored_moment(secret.expires_at),
        }
    }
}

impl From<TokenSecret1> for TokenSecret {
    fn from(stored: TokenSecret1) -> Self {
        Self {
            digest: stored.digest.0,
            created_at: Moment(stored.created_at),
            expires_at: stored.expires_at.map(Moment),
        }
    }
}

impl<'a> From<&'a TokenScope> for TokenScope1<'a> {
    fn from(scope: &'a TokenScope) -> Self {
        Self {
            actions: scope
                .actions
                .iter()
                .map(|id| borrowed(id.as_str()))
                .collect(),
            projects: scope
                .projects
                .iter()
                .map(|id| borrowed(id.as_str()))
                .collect(),
        }
    }
}

impl From<TokenScope1<'_>> for TokenScope {
    fn from(stored: TokenScope1<'_>) -> Self {
        Self {
            actions: stored.actions.into_iter().map(ActionId::new).collect(),
            projects: stored.projects.into_iter().map(ProjectId::new).collect(),
        }
    }
}

impl<'a> From<&'a Notification> for Notification1<'a> {
    fn from(notification: &'a Notification) -> Self {
        Self {
            id: borrowed(notification.id.as_str()),
            kind: match notification.kind {
                NotificationKind::Invitation => NotificationKind1::Invitation,
                NotificationKind::RoleChanged => NotificationKind1::RoleChanged,
                NotificationKind::MemberRemoved => NotificationKind1::MemberRemoved,
                NotificationKind::MemberSuspended => NotificationKind1::MemberSuspended,
                NotificationKind::MemberReinstated => NotificationKind1::MemberReinstated,
                NotificationKind::TransferOffered => NotificationKind1::TransferOffered,
                NotificationKind::OwnershipTransferred => NotificationKind1::OwnershipTransferred,
            },
            email: borrowed(&notification.email),
            user: notification.user.as_ref().map(|id| borrowed(id.as_str())),
            invitation: notification
                .invitation
                .as_ref()
                .map(|id| borrowed(id.as_str())),
            facts: notification
                .facts
                .iter()
                .map(|(name, value)| (borrowed(name), borrowed(value)))
                .collect(),
            created_at: notification.created_at.0,
        }
    }
}

impl From<Notification1<'_>> for Notification {
    fn from(stored: Notification1<'_>) -> Self {
        Self {
            id: NotificationId::new(stored.id),
            kind: match stored.kind {
                NotificationKind1::Invitation => NotificationKind::Invitation,
                NotificationKind1::RoleChanged => NotificationKind::RoleChanged,
                NotificationKind1::MemberRemoved => NotificationKind::MemberRemoved,
                NotificationKind1::MemberSuspended => NotificationKind::MemberSuspended,
                NotificationKind1::MemberReinstated => NotificationKind::MemberReinstated,
                NotificationKind1::TransferOffered => NotificationKind::TransferOffered,
                NotificationKind1::OwnershipTransferred => NotificationKind::OwnershipTransferred,
            },
            email: stored.email.into_owned(),
            user: stored.user.map(UserId::new),
            invitation: stored.invitation.map(InvitationId::new),
            facts: stored
                .facts
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
            created_at: Moment(stored.created_at),
        }
    }
}
