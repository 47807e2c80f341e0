//! A named or nameless set of rights: what a role or an override grants.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Catalog, Level};
use super::identifiers::ActionId;

/// When a grant holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// On every resource.
    Always,
    /// On resources the principal owns.
    Own,
    /// Where a condition of the catalog holds, by its id.
    Condition(String),
}

/// What a role or an override grants, as it was asked for: implied actions are
/// not spelled out here, [`Catalog::closure`] adds them wherever rights are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Levels of which every action is granted, those of later catalogs included.
    pub every: BTreeSet<Level>,
    /// Actions by the circumstance under which they are granted.
    pub actions: BTreeMap<When, BTreeSet<ActionId>>,
}

impl Permissions {
    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.every.is_empty() && self.actions.values().all(BTreeSet::is_empty)
    }

    /// The actions named here that live on the account, in order.
    pub fn account_level_actions<'a>(
        &'a self,
        catalog: &'a Catalog,
    ) -> impl Iterator<Item = &'a ActionId> {
        self.actions.values().flatten().filter(|id| {
            catalog
                .action(id.as_str())
                .is_some_and(|(_, action)| action.level == Level::Account)
        })
    }
}
