//! Which organizations a user is a member of: follows every commit, is kept in
//! memory only and read without a lock.

use std::ops::Bound;

use arc_swap::ArcSwap;
use imbl::{OrdMap, OrdSet};

use crate::domain::change::RecordChange;
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::Organization;

/// Organizations by user.
#[derive(Default)]
pub struct Directory {
    by_user: ArcSwap<OrdMap<UserId, OrdSet<OrganizationId>>>,
}

impl Directory {
    /// Takes over all members of an organization.
    pub fn add_all(&self, organization: &Organization) {
        self.by_user.rcu(|known| {
            let mut next = (**known).clone();
            for user in organization.members.keys() {
                add(&mut next, user, organization.id());
            }
            next
        });
    }

    /// Forgets all members of an organization that is deleted.
    pub fn remove_all(&self, organization: &Organization) {
        self.by_user.rcu(|known| {
            let mut next = (**known).clone();
            for user in organization.members.keys() {
                remove(&mut next, user, organization.id());
            }
            next
        });
    }

    /// Takes over who came and who went.
    pub fn follow(&self, organization: &OrganizationId, records: &[RecordChange]) {
        let known = self.by_user.load();
        let is_news = records.iter().any(|record| match record {
            RecordChange::PutMember(member) => !holds(&known, member.user.as_str(), organization),
            RecordChange::DeleteMember(_) => true,
            _ => false,
        });
        if !is_news {
            return;
        }
        self.by_user.rcu(|known| {
            let mut next = (**known).clone();
            for record in records {
                match record {
                    RecordChange::PutMember(member) => {
                        add(&mut next, &member.user, organization);
                    }
                    RecordChange::DeleteMember(user) => remove(&mut next, user, organization),
                    _ => {}
                }
            }
            next
        });
    }

    /// Organizations of a user that come after `after`, ascending, at most `limit`.
    pub fn organizations(&self, user: &str, after: &str, limit: usize) -> Vec<OrganizationId> {
        let known = self.by_user.load();
        let beyond = (
            Bound::Excluded(OrganizationId::new(after)),
            Bound::Unbounded,
        );
        known
            .get(user)
            .map(|held| held.range(beyond).take(limit).cloned().collect())
            .unwrap_or_default()
    }
}

type ByUser = OrdMap<UserId, OrdSet<OrganizationId>>;

fn holds(known: &ByUser, user: &str, organization: &OrganizationId) -> bool {
    known
        .get(user)
        .is_some_and(|held| held.contains(organization))
}

fn add(known: &mut ByUser, user: &UserId, organization: &OrganizationId) {
    known
        .entry(user.clone())
        .or_default()
        .insert(organization.clone());
}

fn remove(known: &mut ByUser, user: &UserId, organization: &OrganizationId) {
    let Some(held) = known.get_mut(user.as_str()) else {
        return;
    };
    held.remove(organization);
    if held.is_empty() {
        known.remove(user.as_str());
    }
}
