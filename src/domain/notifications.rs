//! What a team tells its people: written with the change that it is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::Catalog;
use super::change::RecordChange;
use super::identifiers::{InvitationId, NotificationId, RoleId, UserId};
use super::organization::{Moment, Notification, NotificationKind, Organization, Version};

/// What a notification says to whom.
#[derive(Clone, Debug, Default)]
pub struct Notice {
    /// The address it goes to; may be empty.
    pub email: String,
    /// The user it goes to, if they are one.
    pub user: Option<UserId>,
    /// The invitation whose link it carries.
    pub invitation: Option<InvitationId>,
    /// Facts beside those that every notification has.
    pub facts: BTreeMap<String, String>,
}

/// The id of a notification by the version that it is written with and its number in
/// the change. Versions only grow, so that ids sort in the order of writing.
pub(super) fn notification_id(version: Version, index: usize) -> NotificationId {
    NotificationId::new(format!("{:016x}-{index:06}", version.0))
}

impl Organization {
    /// The record of a notification, or nothing where the product does not send that
    /// kind. `index` tells the notifications of one change apart.
    pub fn notification(
        &self,
        catalog: &Catalog,
        kind: NotificationKind,
        notice: Notice,
        index: usize,
        now: Moment,
    ) -> Option<RecordChange> {
        if !catalog.team.notifications.contains(&kind) {
            return None;
        }
        let mut facts = notice.facts;
        let fixed = [
            ("organization", self.profile.display_name.clone()),
            ("product", catalog.title.clone()),
            ("organization_word", catalog.organization_word.clone()),
        ];
        facts.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        Some(RecordChange::PutNotification(Arc::new(Notification {
            id: notification_id(self.version.next(), index),
            kind,
            email: notice.email,
            user: notice.user,
            invitation: notice.invitation,
            facts,
            created_at: now,
        })))
    }

    /// Roles as people read them.
    pub fn role_titles(&self, catalog: &Catalog, roles: &[RoleId]) -> String {
        let title = |role: &RoleId| match self.roles.get(role.as_str()) {
            Some(own) => own.display_name.clone(),
            None => catalog
                .role(role.as_str())
                .map_or_else(|| role.to_string(), |built_in| built_in.title.clone()),
        };
        roles.iter().map(title).collect::<Vec<_>>().join(", ")
    }

    /// How people know a user: by name, else by id.
    pub fn name_of(&self, user: &str) -> String {
        match self.members.get(user) {
            Some(member) if !member.display_name.is_empty() => member.display_name.to_string(),
            _ => user.to_owned(),
        }
    }
}
