//! Gathers everything that is wrong with a request before refusing it.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Catalog, Level, OWNER_ROLE};
use super::identifiers::{ActionId, RoleId, identifier_fault};
use super::organization::{Moment, Organization};
use super::period::Period;
use super::permissions::{Permissions, When};
use super::refusal::{Fault, Refusal, Violation, keep_violation};
use super::text;

/// The most roles that one member may hold in one place.
pub const MAX_ROLES: usize = 32;
/// The most actions that one request may name.
pub const MAX_ACTIONS: usize = 4_096;

/// The most conditions under which one request may grant actions.
pub const MAX_CONDITIONS: usize = 64;

/// Where a role is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the organization.
    Organization,
    /// On a project.
    Project,
    /// In an override, where only its project-level actions count.
    Override,
}

/// Permissions in the words of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedPermissions {
    /// Levels of which every action is asked for.
    pub every: Vec<Level>,
    /// Actions on every resource.
    pub actions: Vec<String>,
    /// Actions on own resources.
    pub own_actions: Vec<String>,
    /// Actions under a condition of the catalog, by its id.
    pub conditional: Vec<(String, Vec<String>)>,
}

/// Roles in the words of a request, and when those count that don't always do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedRoles {
    /// The roles.
    pub roles: Vec<String>,
    /// When single ones of them count.
    pub periods: Vec<(String, Period)>,
}

impl From<Vec<String>> for AskedRoles {
    fn from(roles: Vec<String>) -> Self {
        Self {
            roles,
            periods: Vec::new(),
        }
    }
}

/// Collects violations; nothing passes while there are any.
#[derive(Debug, Default)]
pub struct Checks {
    violations: Vec<Violation>,
    /// Whether ownership was asked for as a role, which outweighs any fault of form.
    ownership_asked: bool,
}

impl Checks {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault.
    pub fn fault(&mut self, field: impl Into<String>, kind: Fault, message: impl Into<String>) {
        keep_violation(&mut self.violations, Violation::new(field, kind, message));
    }

    /// The field must be an identifier.
    pub fn identifier(&mut self, field: &str, value: &str) {
        self.shape(field, value, identifier_fault(value));
    }

    /// The field must be a display name.
    pub fn name(&mut self, field: &str, value: &str) {
        self.shape(field, value, text::name_fault(value));
    }

    /// The field must be a display name or empty.
    pub fn optional_name(&mut self, field: &str, value: &str) {
        if !value.is_empty() {
            self.name(field, value);
        }
    }

    /// The field must be a description.
    pub fn description(&mut self, field: &str, value: &str) {
        self.shape(field, value, text::description_fault(value));
    }

    /// The field must be an address or empty.
    pub fn optional_address(&mut self, field: &str, value: &str) {
        if !value.is_empty() {
            self.shape(field, value, text::address_fault(value));
        }
    }

    fn shape(&mut self, field: &str, value: &str, fault: Option<String>) {
        if let Some(message) = fault {
            let kind = if value.is_empty() {
                Fault::Missing
            } else {
                Fault::Malformed
            };
            self.fault(field, kind, message);
        }
    }

    /// The field must list roles of the organization that can be held in the place.
    pub fn roles(
        &mut self,
        field: &str,
        asked: &[String],
        place: Place,
        organization: &Organization,
        catalog: &Catalog,
    ) -> Vec<RoleId> {
        if asked.len() > MAX_ROLES {
            self.fault(
                field,
                Fault::TooMany,
                format!("must be at most {MAX_ROLES}, not {}", asked.len()),
            );
            return Vec::new();
        }
        let mut seen = BTreeSet::new();
        for (index, role) in asked.iter().enumerate() {
            let path = format!("{field}[{index}]");
            if !seen.insert(role) {
                self.fault(path, Fault::Repeated, "is listed before");
            } else if role == OWNER_ROLE {
                self.ownership_asked = true;
            } else if let Some((kind, message)) = role_fault(role, place, organization, catalog) {
                self.fault(path, kind, message);
            }
        }
        asked
            .iter()
            .map(|role| RoleId::new(role.as_str()))
            .collect()
    }

    /// The field must be a time that begins before it ends and has not ended yet.
    pub fn period(&mut self, field: &str, period: &Period, now: Moment) {
        let Some(end) = period.expires_at else {
            return;
        };
        if end <= now {
            self.fault(
                format!("{field}.expires_at"),
                Fault::Malformed,
                "must be in the future",
            );
        } else if period.not_before.is_some_and(|start| end <= start) {
            self.fault(
                format!("{field}.expires_at"),
                Fault::Malformed,
                "must come after `not_before`",
            );
        }
    }

    /// The field must give times to roles that are given, to each at most one.
    pub fn role_periods(
        &mut self,
        field: &str,
        asked: &AskedRoles,
        now: Moment,
    ) -> BTreeMap<RoleId, Period> {
        let mut periods = BTreeMap::new();
        if asked.periods.len() > MAX_ROLES {
            self.fault(
                field,
                Fault::TooMany,
                format!("must be at most {MAX_ROLES}, not {}", asked.periods.len()),
            );
            return periods;
        }
        for (index, (role, period)) in asked.periods.iter().enumerate() {
            let path = format!("{field}[{index}]");
            self.period(&format!("{path}.period"), period, now);
            if !asked.roles.contains(role) {
                self.fault(
                    format!("{path}.role"),
                    Fault::UnknownReference,
                    "is not among the roles given",
                );
            } else if periods
                .insert(RoleId::new(role.as_str()), *period)
                .is_some()
            {
                self.fault(format!("{path}.role"), Fault::Repeated, "is listed before");
            }
        }
        periods.retain(|_, period| !period.is_always());
        periods
    }

    /// The fields must make permissions that the catalog knows; those of an
    /// override, none of them on the account.
    pub fn permissions(
        &mut self,
        field: &str,
        asked: &AskedPermissions,
        catalog: &Catalog,
        place: Place,
    ) -> Permissions {
        let mut permissions = Permissions {
            every: asked.every.iter().copied().collect(),
            ..Permissions::default()
        };
        if place == Place::Override && permissions.every.contains(&Level::Account) {
            self.fault(
                format!("{field}.every"),
                Fault::AccountLevelAction,
                "an override holds project-level actions only",
            );
        }
        if asked.conditional.len() > MAX_CONDITIONS {
            self.fault(
                format!("{field}.conditional"),
                Fault::TooMany,
                format!(
                    "must be at most {MAX_CONDITIONS}, not {}",
                    asked.conditional.len()
                ),
            );
            return permissions;
        }
        let mut named = vec![
            (format!("{field}.actions"), When::Always, &asked.actions),
            (
                format!("{field}.own_actions"),
                When::Own,
                &asked.own_actions,
            ),
        ];
        for (index, (condition, actions)) in asked.conditional.iter().enumerate() {
            let path = format!("{field}.conditional[{index}]");
            if catalog.condition(condition).is_none() {
                self.fault(
                    format!("{path}.condition"),
                    Fault::UnknownReference,
                    format!("names no condition of catalog `{}`", catalog.id),
                );
            }
            named.push((
                format!("{path}.actions"),
                When::Condition(condition.clone()),
                actions,
            ));
        }
        for (path, when, actions) in named {
            self.actions(&path, actions, catalog, place);
            if !actions.is_empty() {
                let known = actions.iter().map(|action| ActionId::new(action.as_str()));
                permissions.actions.entry(when).or_default().extend(known);
            }
        }
        permissions
    }

    fn actions(&mut self, field: &str, asked: &[String], catalog: &Catalog, place: Place) {
        if asked.len() > MAX_ACTIONS {
            self.fault(
                field,
                Fault::TooMany,
                format!("must be at most {MAX_ACTIONS}, not {}", asked.len()),
            );
            return;
        }
        for (index, id) in asked.iter().enumerate() {
            let path = format!("{field}[{index}]");
            match catalog.action(id) {
                None => {
                    self.fault(
                        path,
                        Fault::UnknownAction,
                        format!("names no action of catalog `{}`", catalog.id),
                    );
                }
                Some((_, action)) if place == Place::Override && action.level == Level::Account => {
                    self.fault(
                        path,
                        Fault::AccountLevelAction,
                        format!(
                            "`{}` is account-level; an override holds project-level actions only",
                            action.id
                        ),
                    );
                }
                Some(_) => {}
            }
        }
    }

    /// Refuses if anything was wrong.
    pub fn finish(self) -> Result<(), Refusal> {
        if self.ownership_asked {
            return Err(Refusal::OwnershipNotGiven);
        }
        if self.violations.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Invalid(self.violations))
        }
    }
}

fn role_fault(
    role: &str,
    place: Place,
    organization: &Organization,
    catalog: &Catalog,
) -> Option<(Fault, String)> {
    if let Some(built_in) = catalog.role(role) {
        let refused_on = match place {
            Place::Organization => (!built_in.on_organization).then_some("the organization"),
            Place::Project => (!built_in.on_project).then_some("a project"),
            Place::Override => None,
        };
        return refused_on.map(|refused_on| {
            (
                Fault::RoleNotHeldThere,
                format!("is a role that can't be held on {refused_on}"),
            )
        });
    }
    if organization.roles.contains_key(role) {
        return None;
    }
    Some((
        Fault::UnknownReference,
        "names no role of this organization".to_owned(),
    ))
}
