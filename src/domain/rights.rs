//! What somebody may do in one place, as a set that can be compared: what the
//! grant rule measures with. It decides no check; Cedar does.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{ActionIndex, Catalog, Level};
use super::holdings::Counting;
use super::organization::{Member, Organization, Project, TokenScope};
use super::permissions::{Permissions, When};

/// Where rights are compared.
#[derive(Clone, Debug)]
pub enum Where {
    /// Account-level actions.
    Account,
    /// Project-level actions outside of every project.
    Outside,
    /// Project-level actions in a project, or in one like it.
    Project(Project),
}

/// Rights in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Levels held whole, actions of later catalogs included.
    every: BTreeSet<Level>,
    actions: BTreeMap<When, BTreeSet<ActionIndex>>,
    /// Names of roles and actions that are not there. They may be anything once they
    /// are back, so nobody is above them but who holds the whole level or the same.
    unknown: BTreeSet<(Level, String)>,
}

impl Rights {
    /// All that there is at a level.
    pub fn everything(catalog: &Catalog, level: Level) -> Self {
        let mut rights = Self::default();
        let all = Permissions {
            every: BTreeSet::from([level]),
            ..Permissions::default()
        };
        rights.add(catalog, &all, level);
        rights
    }

    /// What permissions give at a level.
    pub fn of(catalog: &Catalog, permissions: &Permissions, level: Level) -> Self {
        let mut rights = Self::default();
        rights.add(catalog, permissions, level);
        rights
    }

    /// Adds what permissions give at a level.
    pub fn add(&mut self, catalog: &Catalog, permissions: &Permissions, level: Level) {
        let of_level = |index: &ActionIndex| {
            catalog
                .actions
                .get(usize::from(index.0))
                .is_some_and(|action| action.level == level)
        };
        if permissions.every.contains(&level) {
            self.every.insert(level);
            let all = (0..).map(ActionIndex).take(catalog.actions.len());
            self.actions
                .entry(When::Always)
                .or_default()
                .extend(all.filter(of_level));
        }
        for (when, named) in &permissions.actions {
            let unknown = named
                .iter()
                .filter(|id| catalog.action(id.as_str()).is_none());
            let unknown = unknown.map(|id| (level, id.to_string()));
            self.unknown.extend(unknown);
            let closed = catalog.closure(named).into_iter().filter(of_level);
            self.actions.entry(when.clone()).or_default().extend(closed);
        }
    }

    /// As much of it as a token's scope admits in that place.
    #[must_use]
    pub fn limited(mut self, catalog: &Catalog, scope: &TokenScope, place: &Where) -> Self {
        let here = match place {
            Where::Project(project) => scope.projects.contains(&project.id),
            Where::Account | Where::Outside => false,
        };
        if !scope.projects.is_empty() && !here {
            return Self::default();
        }
        if let Some(admitted) = scope.admitted(catalog) {
            self.every.clear();
            self.unknown.clear();
            for actions in self.actions.values_mut() {
                actions.retain(|action| admitted.contains(action));
            }
        }
        self
    }

    /// Adds all that is in `other`.
    pub fn join(&mut self, other: Self) {
        self.every.extend(other.every);
        self.unknown.extend(other.unknown);
        for (when, actions) in other.actions {
            self.actions.entry(when).or_default().extend(actions);
        }
    }

    /// What is held on own resources only, as if it were held on all.
    #[must_use]
    pub fn of_own(&self) -> Self {
        let own = self.actions.get(&When::Own).cloned().unwrap_or_default();
        Self {
            actions: BTreeMap::from([(When::Always, own)]),
            ..Self::default()
        }
    }

    /// What is in here and not in `other`, by the names of actions.
    pub fn beyond(&self, other: &Self, catalog: &Catalog) -> Vec<String> {
        let held = |when: &When, action: &ActionIndex| {
            let under = |when: &When| {
                other
                    .actions
                    .get(when)
                    .is_some_and(|actions| actions.contains(action))
            };
            under(&When::Always) || under(when)
        };
        let mut missing: Vec<String> = self
            .every
            .difference(&other.every)
            .map(|level| match level {
                Level::Account => "every account-level action".to_owned(),
                Level::Project => "every project-level action".to_owned(),
            })
            .collect();
        let actions: BTreeSet<&ActionIndex> = self
            .actions
            .iter()
            .flat_map(|(when, actions)| actions.iter().filter(|action| !held(when, action)))
            .collect();
        missing.extend(
            actions
                .into_iter()
                .filter_map(|index| catalog.actions.get(usize::from(index.0)))
                .map(|action| action.id.to_string()),
        );
        let unknown = self.unknown.difference(&other.unknown);
        missing.extend(
            unknown
                .filter(|(level, _)| !other.every.contains(level))
                .map(|(_, name)| name.clone()),
        );
        missing
    }
}

impl Organization {
    /// All rights that a member may have in a place at any time, by what is on record:
    /// where an override counts for a time only, with it and without it.
    pub fn rights_at_most(&self, catalog: &Catalog, member: &Member, place: &Where) -> Rights {
        let mut rights = self.rights(catalog, member, place, Counting::Ever);
        if let Where::Project(project) = place
            && let Some(replaced) = member.overrides.get(&project.id)
            && !replaced.period.is_always()
        {
            let mut without = member.clone();
            without.overrides.remove(&project.id);
            let without = self.rights(catalog, &without, place, Counting::Ever);
            rights.join(without);
        }
        rights
    }

    /// The rights of a member in a place.
    pub fn rights(
        &self,
        catalog: &Catalog,
        member: &Member,
        place: &Where,
        counting: Counting,
    ) -> Rights {
        let (level, project) = match place {
            Where::Account => (Level::Account, None),
            Where::Outside => (Level::Project, None),
            Where::Project(project) => (Level::Project, Some(project)),
        };
        if self.is_owner(member.user.as_str()) {
            return Rights::everything(catalog, level);
        }
        let holdings = self.holdings(member, project, counting);
        let mut rights = Rights::default();
        let on_organization: &[_] = match holdings.replaced {
            Some(replaced) => {
                rights.add(catalog, &replaced.permissions, level);
                &[]
            }
            None => &holdings.roles,
        };
        for role in on_organization.iter().chain(holdings.counting_on_project()) {
            match self.permissions_of(catalog, role.as_str()) {
                Some(permissions) => rights.add(catalog, permissions, level),
                None => {
                    rights.unknown.insert((level, format!("role `{role}`")));
                }
            }
        }
        rights
    }
}
