//! What records take in memory, in bytes, by estimate.
//!
//! A record weighs its structure and all that it owns on the heap, allocations
//! rounded up a little. What several records share may be counted several times:
//! better too much than too little. `benches/residency.rs` compares the estimate
//! with what the process really takes.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;

use imbl::OrdMap;
use smol_str::SmolStr;

use super::change::RecordChange;
use super::identifiers::UserId;
use super::organization::{
    Group, Guardrail, Invitation, Member, Notification, Organization, Override, Profile, Project,
    RegisteredResource, Role, Token, Transfer,
};
use super::permissions::Permissions;

/// What an allocation takes besides what was asked for.
const ALLOCATION: usize = 8;
/// What is taken for what is asked for, as it was measured.
const ROUNDED_UP: (usize, usize) = (7, 5);
/// The two counts before what is shared.
const COUNTS: usize = 16;
/// A place in one of the organization's maps: a key and a pointer, in nodes that are
/// somewhat more than half full.
const PLACE: usize = 48;
/// A pointer in a node that is somewhat more than half full.
const POINTER: usize = 14;
/// How many entries a node of a tree of the standard library has room for, and how many
/// it holds at least.
const NODE: (usize, usize) = (11, 6);
/// A deadline, in its set.
const DEADLINE: usize = 64;

/// Says what it takes in memory.
pub trait Weight {
    /// In bytes, itself included.
    fn weight(&self) -> usize;
}

/// What an organization weighs with nothing in it but its profile.
pub(super) fn of_empty(profile: &Profile) -> usize {
    size_of::<Organization>() + profile.weight()
}

impl Organization {
    /// By how much the change of a record changes the weight: what goes, and what comes.
    pub(super) fn weight_of(&self, change: &RecordChange) -> (usize, usize) {
        match change {
            RecordChange::PutProfile(new) => (self.profile.weight(), new.weight()),
            RecordChange::PutMember(new) => (self.weight_of_member(&new.user), of_member(new)),
            RecordChange::DeleteMember(id) => (self.weight_of_member(id), 0),
            RecordChange::PutRole(new) => (before(&self.roles, &new.id), placed(&**new)),
            RecordChange::DeleteRole(id) => (before(&self.roles, id), 0),
            RecordChange::PutProject(new) => (before(&self.projects, &new.id), placed(&**new)),
            RecordChange::DeleteProject(id) => (before(&self.projects, id), 0),
            RecordChange::PutResource(new) => (before(&self.resources, &new.key), placed(&**new)),
            RecordChange::DeleteResource(key) => (before(&self.resources, key), 0),
            RecordChange::PutGroup(new) => (before(&self.groups, &new.id), placed(&**new)),
            RecordChange::DeleteGroup(id) => (before(&self.groups, id), 0),
            RecordChange::PutInvitation(new) => {
                (before(&self.invitations, &new.id), placed(&**new))
            }
            RecordChange::DeleteInvitation(id) => (before(&self.invitations, id), 0),
            RecordChange::PutToken(new) => (before(&self.tokens, &new.id), placed(&**new)),
            RecordChange::DeleteToken(id) => (before(&self.tokens, id), 0),
            RecordChange::PutGuardrail(new) => (before(&self.guardrails, &new.id), placed(&**new)),
            RecordChange::DeleteGuardrail(id) => (before(&self.guardrails, id), 0),
            RecordChange::PutNotification(new) => {
                (before(&self.notifications, &new.id), placed(&**new))
            }
            RecordChange::DeleteNotification(id) => (before(&self.notifications, id), 0),
            // The state is made anew, and its weight with it.
            RecordChange::DeleteOrganization => (0, 0),
        }
    }

    fn weight_of_member(&self, user: &UserId) -> usize {
        let member = self.members.get(user.as_str());
        member.map_or(0, |member| of_member(member))
    }
}

fn before<K: Ord, V: Weight>(map: &OrdMap<K, std::sync::Arc<V>>, key: &K) -> usize {
    map.get(key).map_or(0, |record| placed(&**record))
}

/// A record with its place in a map, as the allocator rounds it up.
fn placed(record: &impl Weight) -> usize {
    let (taken, asked) = ROUNDED_UP;
    (PLACE + COUNTS + ALLOCATION + record.weight()) * taken / asked
}

/// A member with its place among the others, which is a pointer.
fn of_member(member: &Member) -> usize {
    let (taken, asked) = ROUNDED_UP;
    (POINTER + COUNTS + ALLOCATION + member.weight()) * taken / asked
}

/// A text that is kept in place as far as it fits.
fn short(text: &SmolStr) -> usize {
    if text.is_heap_allocated() {
        text.len() + COUNTS + ALLOCATION
    } else {
        0
    }
}

/// A text of its own on the heap.
fn text(text: &str) -> usize {
    if text.is_empty() {
        0
    } else {
        text.len() + ALLOCATION
    }
}

/// An identifier's text, which it may share.
fn id(id: &str) -> usize {
    id.len() + COUNTS + ALLOCATION
}

fn optional_id(given: Option<&impl std::borrow::Borrow<str>>) -> usize {
    given.map_or(0, |given| id(given.borrow()))
}

fn list<T: std::borrow::Borrow<str>>(ids: &[T]) -> usize {
    if ids.is_empty() {
        return 0;
    }
    let texts: usize = ids.iter().map(|one| id(one.borrow())).sum();
    ALLOCATION + size_of_val(ids) + texts
}

/// The nodes of a tree of so many entries.
fn nodes<K, V>(count: usize) -> usize {
    let (room, held) = NODE;
    count.div_ceil(held) * (room * (size_of::<K>() + size_of::<V>()) + COUNTS)
}

fn tree<K: std::borrow::Borrow<str>, V>(
    map: &BTreeMap<K, V>,
    owned: impl Fn(&V) -> usize,
) -> usize {
    let entries = map
        .iter()
        .map(|(key, value)| id(key.borrow()) + owned(value));
    nodes::<K, V>(map.len()) + entries.sum::<usize>()
}

fn set<K: std::borrow::Borrow<str>>(ids: &BTreeSet<K>) -> usize {
    nodes::<K, ()>(ids.len()) + ids.iter().map(|one| id(one.borrow())).sum::<usize>()
}

/// What permissions own besides themselves.
fn permissions(given: &Permissions) -> usize {
    let actions = given.actions.values().map(set);
    nodes::<u8, ()>(given.every.len())
        + nodes::<[usize; 3], BTreeSet<()>>(given.actions.len())
        + actions.sum::<usize>()
}

/// What an override owns besides itself.
fn replaced(given: &Override) -> usize {
    list(&given.roles) + permissions(&given.permissions)
}

impl Weight for Profile {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + id(self.id.as_str())
            + text(&self.display_name)
            + id(self.catalog.as_str())
            + id(self.plan.as_str())
            + id(self.owner.as_str())
            + self
                .transfer
                .as_ref()
                .map_or(0, |_| size_of::<Transfer>() + DEADLINE)
    }
}

impl Weight for Member {
    fn weight(&self) -> usize {
        let periods = &self.periods;
        size_of::<Self>()
            + id(self.user.as_str())
            + short(&self.display_name)
            + short(&self.email)
            + list(&self.roles)
            + self.project_roles.boxed_bytes()
            + self.overrides.boxed_bytes()
            + self.default_roles.boxed_bytes()
            + self.groups.boxed_bytes()
            + self.periods.boxed_bytes()
            + self.period.boxed_bytes()
            + tree(&self.project_roles, |roles| list(roles))
            + tree(&self.overrides, replaced)
            + nodes::<u64, Vec<u8>>(self.default_roles.len())
            + self
                .default_roles
                .values()
                .map(|roles| list(roles))
                .sum::<usize>()
            + tree(&self.groups, |_| 0)
            + tree(&periods.roles, |_| 0)
            + tree(&periods.project_roles, |roles| tree(roles, |_| 0))
            + optional_id(self.added_by.as_ref())
            + self.deadline().map_or(0, |_| DEADLINE)
    }
}

impl Weight for Role {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + id(self.id.as_str())
            + text(&self.display_name)
            + text(&self.description)
            + permissions(&self.permissions)
    }
}

impl Weight for Project {
    fn weight(&self) -> usize {
        size_of::<Self>() + id(self.id.as_str()) + text(&self.display_name)
    }
}

impl Weight for RegisteredResource {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + id(self.key.type_id.as_str())
            + id(self.key.id.as_str())
            + optional_id(self.project.as_ref())
            + optional_id(self.owner.as_ref())
    }
}

impl Weight for Group {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + id(self.id.as_str())
            + text(&self.display_name)
            + text(&self.description)
            + list(&self.roles)
            + tree(&self.project_roles, |roles| list(roles))
            + self.deadline().map_or(0, |_| DEADLINE)
    }
}

impl Weight for Invitation {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + id(self.id.as_str())
            + text(&self.email)
            + text(&self.display_name)
            + text(&self.message)
            + list(&self.roles)
            + tree(&self.project_roles, |roles| list(roles))
            + tree(&self.overrides, replaced)
            + optional_id(self.invited_by.as_ref())
            + optional_id(self.accepted_by.as_ref())
            + self.deadline().map_or(0, |_| DEADLINE)
    }
}

impl Weight for Token {
    fn weight(&self) -> usize {
        let scope = self.scope.as_ref();
        size_of::<Self>()
            + id(self.id.as_str())
            + text(&self.display_name)
            + id(self.subject.as_str())
            + size_of_val(self.secrets.as_slice())
            + ALLOCATION
            + scope.map_or(0, |scope| set(&scope.actions) + set(&scope.projects))
            + optional_id(self.created_by.as_ref())
            + self.deadline().map_or(0, |_| DEADLINE)
    }
}

impl Weight for Guardrail {
    fn weight(&self) -> usize {
        size_of::<Self>() + id(self.id.as_str()) + text(&self.description) + text(&self.text)
    }
}

impl Weight for Notification {
    fn weight(&self) -> usize {
        let facts = self.facts.values().map(|fact| text(fact));
        size_of::<Self>()
            + id(self.id.as_str())
            + text(&self.email)
            + optional_id(self.user.as_ref())
            + optional_id(self.invitation.as_ref())
            + tree(&self.facts, |_| 0)
            + facts.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::identifiers::{CatalogId, OrganizationId, PlanId, ProjectId, UserId};
    use crate::domain::organization::{Moment, Version};

    fn profile(name: &str) -> Arc<Profile> {
        Arc::new(Profile {
            id: OrganizationId::new("acme"),
            display_name: name.to_owned(),
            catalog: CatalogId::new("catalog"),
            plan: PlanId::new("plan"),
            owner: UserId::new("owner"),
            created_at: Moment(0),
            next_project_ordinal: 0,
            transfer: None,
            version: Version(1),
        })
    }

    fn project(id: &str, name: &str) -> RecordChange {
        RecordChange::PutProject(Arc::new(Project {
            id: ProjectId::new(id),
            display_name: name.to_owned(),
            ordinal: 0,
            archived: false,
            created_at: Moment(0),
            version: Version(1),
        }))
    }

    #[test]
    fn the_weight_follows_every_change_and_ends_where_it_began() {
        let empty = Organization::empty(profile(""), Version(1));
        let one = empty.apply(&[project("p", "")]);
        let longer = one.apply(&[project("p", "a much longer name than before")]);
        let two = longer.apply(&[project("q", "")]);
        assert!(empty.weight < one.weight);
        assert!(longer.weight > one.weight + 30);
        assert_eq!(two.weight - longer.weight, one.weight - empty.weight);

        let deleted = ["p", "q"].map(|id| RecordChange::DeleteProject(ProjectId::new(id)));
        assert_eq!(two.apply(&deleted).weight, empty.weight);
        assert_eq!(
            two.apply(&[RecordChange::DeleteOrganization]).weight,
            empty.weight
        );

        let renamed = two.apply(&[RecordChange::PutProfile(profile("Acme"))]);
        assert_eq!(renamed.weight, two.weight + 4 + ALLOCATION);
    }

    #[test]
    fn deleting_what_is_not_there_weighs_nothing() {
        let empty = Organization::empty(profile(""), Version(1));
        let gone = RecordChange::DeleteMember(UserId::new("nobody"));
        assert_eq!(empty.apply(&[gone]).weight, empty.weight);
    }
}
