//! The members of an organization by user, as an immutable collection.
//!
//! Ordered by the user's id, which each record has anyway: the collection keeps
//! nothing besides, so that a member costs what the record costs.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use super::identifiers::UserId;
use super::organization::Member;

/// Members by user. Shares structure between versions.
#[derive(Clone, Debug, Default)]
pub struct Members(OrdSet<ByUser>);

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.values().eq(other.values())
    }
}

impl Eq for Members {}

/// A member, named by the user.
#[derive(Clone, Debug)]
struct ByUser(Arc<Member>);

impl PartialEq for ByUser {
    fn eq(&self, other: &Self) -> bool {
        self.0.user == other.0.user
    }
}

impl Eq for ByUser {}

impl PartialOrd for ByUser {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByUser {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.user.cmp(&other.0.user)
    }
}

impl Borrow<str> for ByUser {
    fn borrow(&self) -> &str {
        self.0.user.as_str()
    }
}

impl Members {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The member who is that user.
    pub fn get(&self, user: &str) -> Option<&Arc<Member>> {
        self.0.get(user).map(|ByUser(member)| member)
    }

    /// Whether that user is a member.
    pub fn contains_key(&self, user: &str) -> bool {
        self.0.contains(user)
    }

    /// Puts a member in place of whoever was that user.
    pub fn insert(&mut self, member: Arc<Member>) -> Option<Arc<Member>> {
        self.0.insert(ByUser(member)).map(|ByUser(before)| before)
    }

    /// Takes a member out.
    pub fn remove(&mut self, user: &str) -> Option<Arc<Member>> {
        self.0.remove(user).map(|ByUser(before)| before)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All members, ascending by user.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<Member>> + Clone {
        self.0.iter().map(|ByUser(member)| member)
    }

    /// All users who are members, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &UserId> + Clone {
        self.values().map(|member| &member.user)
    }

    /// Members whose user comes after `user`, ascending.
    pub fn after(&self, user: &str) -> impl DoubleEndedIterator<Item = &Arc<Member>> {
        let beyond = (Bound::Excluded(user), Bound::Unbounded);
        self.0.range::<_, str>(beyond).map(|ByUser(member)| member)
    }
}
