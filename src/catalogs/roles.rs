//! `[[roles]]`: the roles a product comes with.

use std::collections::BTreeSet;

use super::actions::{Actions, level_of, unknown_action};
use super::conditions::attribute_of;
use super::fault::Faults;
use super::resource_types::ResourceTypes;
use super::section::{Name, Section};
use super::vocabulary::id_fault;
use crate::domain::catalog::{Action, BuiltInRole, Condition, Level, OWNER_ROLE, ResourceType};
use crate::domain::identifiers::{ActionId, RoleId};
use crate::domain::permissions::{Permissions, When};

/// What a role may refer to.
#[derive(Debug)]
pub(super) struct Known<'c> {
    pub(super) types: &'c ResourceTypes,
    pub(super) actions: &'c Actions,
    pub(super) conditions: &'c [Condition],
    /// Whether the product has roles on projects; unknown if `[team]` is faulty.
    pub(super) project_roles: Option<bool>,
}

/// The roles of the file.
pub(super) fn read_roles(
    known: &Known<'_>,
    root: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Vec<BuiltInRole> {
    let mut roles: Vec<BuiltInRole> = Vec::new();
    for section in root.sections("roles", "a role", faults) {
        let Some((role, id)) = read_role(section, known, faults) else {
            continue;
        };
        if roles.iter().any(|earlier| earlier.id == role.id) {
            faults.add(
                id.span(),
                format!("there are two roles `{}`; rename or remove one", role.id),
            );
        } else {
            roles.push(role);
        }
    }
    roles
}

fn read_role(
    mut section: Section<'_>,
    known: &Known<'_>,
    faults: &mut Faults<'_>,
) -> Option<(BuiltInRole, Name)> {
    let id = section.text("id", faults);
    let title = section.text("title", faults);
    let description = section.optional_text("description", faults);
    let places = read_places(known, &mut section, faults);
    let permissions = read_permissions(places, known, &mut section, faults);
    section.close(faults);
    let id = id?;
    check_names(&id, title.as_ref(), faults);
    let role = BuiltInRole {
        id: RoleId::new(id.get_ref().as_str()),
        title: title.map_or_else(|| id.get_ref().clone(), |title| title.into_inner()),
        description: description
            .map(|text| text.into_inner())
            .unwrap_or_default(),
        on_organization: places.organization,
        on_project: places.project,
        permissions,
    };
    Some((role, id))
}

fn check_names(id: &Name, title: Option<&Name>, faults: &mut Faults<'_>) {
    if let Some(fault) = id_fault(id.get_ref()) {
        faults.add(id.span(), fault);
    }
    for name in [Some(id), title].into_iter().flatten() {
        if name.get_ref().trim().eq_ignore_ascii_case(OWNER_ROLE) {
            let message = format!(
                "`{}` is the owner's alone, who needs no role; name the role otherwise",
                name.get_ref()
            );
            faults.add(name.span(), message);
        }
    }
}

/// Where a role may be held.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    organization: bool,
    project: bool,
}

impl Places {
    fn only_projects(self) -> bool {
        self.project && !self.organization
    }
}

fn read_places(known: &Known<'_>, section: &mut Section<'_>, faults: &mut Faults<'_>) -> Places {
    let mut places = Places::default();
    let on = section.names("on", faults);
    if on.is_empty() {
        faults.add(
            section.span(),
            "a role is held somewhere; say `on` = [\"organization\"], [\"project\"] or both",
        );
    }
    for place in on {
        match place.get_ref().as_str() {
            "organization" => places.organization = true,
            "project" => {
                places.project = true;
                if known.project_roles == Some(false) {
                    faults.add(
                        place.span(),
                        "the product has no roles on projects; set `project_roles` in `[team]`",
                    );
                }
            }
            other => faults.add(
                place.span(),
                format!("a role can't be held on `{other}`; use `organization` or `project`"),
            ),
        }
    }
    places
}

fn read_permissions(
    places: Places,
    known: &Known<'_>,
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Permissions {
    let mut permissions = Permissions {
        every: read_every(places, section, faults),
        ..Permissions::default()
    };
    let names = section.names("actions", faults);
    let always = granted(&names, &When::Always, places, known, faults);
    let own_names = section.names("own", faults);
    let own = granted(&own_names, &When::Own, places, known, faults);
    for name in own_names {
        if always.contains(name.get_ref().as_str()) {
            let message = format!(
                "`{}` is already granted on every resource; remove it here or there",
                name.get_ref()
            );
            faults.add(name.span(), message);
        }
    }
    add(&mut permissions, When::Always, always);
    add(&mut permissions, When::Own, own);
    for grant in section.sections("when", "a conditional grant", faults) {
        if let Some((when, names)) = read_conditional(grant, known, faults) {
            let actions = granted(&names, &when, places, known, faults);
            add(&mut permissions, when, actions);
        }
    }
    permissions
}

fn read_every(
    places: Places,
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> BTreeSet<Level> {
    let mut every = BTreeSet::new();
    for name in section.names("every", faults) {
        let Some(level) = level_of(&name, faults) else {
            continue;
        };
        if level == Level::Account && places.only_projects() {
            faults.add(
                name.span(),
                "a role on projects can't have account-level actions; remove `account`",
            );
        }
        every.insert(level);
    }
    every
}

fn read_conditional(
    mut grant: Section<'_>,
    known: &Known<'_>,
    faults: &mut Faults<'_>,
) -> Option<(When, Vec<Name>)> {
    let condition = grant.text("condition", faults);
    let names = grant.names("actions", faults);
    grant.close(faults);
    let condition = condition?;
    if !known
        .conditions
        .iter()
        .any(|declared| declared.id == *condition.get_ref())
    {
        let message = format!(
            "there is no condition `{}`; declare it under `[conditions]`",
            condition.get_ref()
        );
        faults.add(condition.span(), message);
    }
    Some((When::Condition(condition.into_inner()), names))
}

fn add(permissions: &mut Permissions, when: When, actions: BTreeSet<ActionId>) {
    if !actions.is_empty() {
        permissions.actions.entry(when).or_default().extend(actions);
    }
}

fn granted(
    names: &[Name],
    when: &When,
    places: Places,
    known: &Known<'_>,
    faults: &mut Faults<'_>,
) -> BTreeSet<ActionId> {
    let mut granted = BTreeSet::new();
    for name in names {
        let Some((_, action)) = known.actions.find(name.get_ref()) else {
            faults.add(name.span(), unknown_action(name.get_ref()));
            continue;
        };
        if action.level == Level::Account && places.only_projects() {
            let message = format!(
                "`{}` is account-level and can't be in a role on projects; remove it",
                action.id
            );
            faults.add(name.span(), message);
        }
        if !can_hold(action, when, known) {
            let message = format!(
                "`{}` is asked of no type for which this can hold; grant it under `actions`",
                action.id
            );
            faults.add(name.span(), message);
        }
        granted.insert(action.id.clone());
    }
    granted
}

/// Whether some resource the action is asked of can satisfy `when`. A condition
/// that doesn't exist is a fault of its own, not of each action under it.
fn can_hold(action: &Action, when: &When, known: &Known<'_>) -> bool {
    let satisfies = |on: &ResourceType| match when {
        When::Always => true,
        When::Own => !on.built_in,
        When::Condition(id) => match known.conditions.iter().find(|declared| declared.id == *id) {
            Some(condition) => on
                .attributes
                .iter()
                .any(|declared| declared.name == attribute_of(&condition.test)),
            None => true,
        },
    };
    action.resource_types.is_empty()
        || action
            .resource_types
            .iter()
            .filter_map(|index| known.types.get(*index))
            .any(satisfies)
}
