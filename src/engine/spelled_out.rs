//! Permissions that overrides spell out, compiled once for equal content.
//!
//! Roles have names; what an override spells out has none, so it is named by its
//! content. However many overrides spell out the same, there is one set of
//! policies, and it is there as long as one of them is.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::catalog::{CatalogError, CompiledCatalog};
use super::policies::{CompiledGrants, CompiledPolicy, PermissionsId};
use crate::domain::identifiers::{ProjectId, UserId};
use crate::domain::organization::Member;

/// The permissions that the overrides of an organization spell out.
#[derive(Clone, Default)]
pub(super) struct SpelledOut {
    /// By content, with the number of overrides that spell it out.
    compiled: OrdMap<PermissionsId, (usize, Arc<CompiledGrants>)>,
    /// What each member's overrides spell out, by project.
    by_member: OrdMap<UserId, Arc<BTreeMap<ProjectId, PermissionsId>>>,
}

impl SpelledOut {
    /// Takes over what a member's overrides spell out now; whether that is anything.
    pub(super) fn put(
        &mut self,
        catalog: &CompiledCatalog,
        member: &Member,
    ) -> Result<bool, CatalogError> {
        let mut ids = BTreeMap::new();
        for (project, replaced) in &member.overrides {
            if replaced.permissions.is_empty() {
                continue;
            }
            let id = PermissionsId::of(&replaced.permissions);
            let held = match self.compiled.get(&id) {
                Some((count, grants)) => (count + 1, Arc::clone(grants)),
                None => (1, catalog.compile_permissions(&id, &replaced.permissions)?),
            };
            self.compiled.insert(id.clone(), held);
            ids.insert(project.clone(), id);
        }
        self.remove(member.user.as_str());
        let any = !ids.is_empty();
        if any {
            self.by_member.insert(member.user.clone(), Arc::new(ids));
        }
        Ok(any)
    }

    /// Forgets what a member's overrides spelled out.
    pub(super) fn remove(&mut self, user: &str) {
        let Some(ids) = self.by_member.remove(user) else {
            return;
        };
        for id in ids.values() {
            match self.compiled.get(id) {
                Some((count, grants)) if *count > 1 => {
                    let held = (count - 1, Arc::clone(grants));
                    self.compiled.insert(id.clone(), held);
                }
                _ => {
                    self.compiled.remove(id);
                }
            }
        }
    }

    /// The id of what a member's override in a project spells out.
    pub(super) fn of(&self, user: &str, project: &str) -> Option<&PermissionsId> {
        self.by_member.get(user)?.get(project)
    }

    /// What was compiled for that content.
    pub(super) fn grants(&self, id: &PermissionsId) -> Option<&CompiledGrants> {
        self.compiled.get(id).map(|(_, grants)| &**grants)
    }

    /// How many sets of policies there are, and how many members have one.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.compiled.len(), self.by_member.len())
    }

    /// Every policy.
    pub(super) fn policies(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.compiled.values().flat_map(|(_, grants)| grants.iter())
    }
}
