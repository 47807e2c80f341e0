//! `[actions]` and `[titles]`: permissions, what they are asked of and what they imply.

use std::collections::{BTreeSet, HashMap};

use super::fault::Faults;
use super::resource_types::{ResourceTypes, read_attributes};
use super::section::{Name, Section, Value, text_of};
use super::vocabulary::action_fault;
use crate::domain::catalog::{
    Action, ActionIndex, Level, MEMBER_TYPE, ORGANIZATION_TYPE, TypeIndex,
};
use crate::domain::identifiers::ActionId;

/// How many actions a catalog can hold, Roster's own included.
pub(super) const MAX_ACTIONS: usize = 65_000;

/// The actions of a catalog, by place and by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Actions {
    pub(super) all: Vec<Action>,
    by_name: HashMap<String, ActionIndex>,
}

impl Actions {
    /// The action of that name.
    pub(super) fn find(&self, name: &str) -> Option<(ActionIndex, &Action)> {
        let index = *self.by_name.get(name)?;
        Some((index, self.get(index)?))
    }

    /// Adds the actions of the file to `self`.
    pub(super) fn read(
        &mut self,
        types: &ResourceTypes,
        root: &mut Section<'_>,
        faults: &mut Faults<'_>,
    ) {
        let own = self.all.len();
        let mut implications = Vec::new();
        for (name, value) in root.entries("actions", faults) {
            if let Some(fault) = self.name_fault(name.get_ref()) {
                faults.add(name.span(), fault);
                continue;
            }
            let (action, implied) = read_action(&name, value, types, faults);
            if !self.push(action) {
                faults.add(
                    name.span(),
                    format!("a catalog has at most {MAX_ACTIONS} actions; split the product"),
                );
                break;
            }
            implications.push(implied);
        }
        for (place, implied) in (own..).zip(&implications) {
            self.resolve(place, implied, faults);
        }
        for (place, implied) in (own..).zip(&implications) {
            self.refuse_reaching_out(place, implied, types, faults);
        }
    }

    /// Gives Roster's own actions the titles under which the product shows them.
    pub(super) fn retitle(&mut self, own: usize, root: &mut Section<'_>, faults: &mut Faults<'_>) {
        for (name, value) in root.entries("titles", faults) {
            let place = self
                .by_name
                .get(name.get_ref())
                .map(|index| usize::from(index.0))
                .filter(|place| *place < own);
            match place.and_then(|place| self.all.get_mut(place)) {
                Some(action) => {
                    if let Some(title) = text_of(value, name.get_ref(), faults) {
                        action.title = title.into_inner();
                    }
                }
                None => faults.add(
                    name.span(),
                    format!(
                        "`{}` is none of Roster's own actions; give a product's action its title under `[actions]`",
                        name.get_ref()
                    ),
                ),
            }
        }
    }

    fn get(&self, index: ActionIndex) -> Option<&Action> {
        self.all.get(usize::from(index.0))
    }

    fn name_fault(&self, name: &str) -> Option<String> {
        if self.by_name.contains_key(name) {
            return Some(format!(
                "`{name}` is one of Roster's own actions; retitle it under `[titles]`, or imply it"
            ));
        }
        action_fault(name)
    }

    fn push(&mut self, action: Action) -> bool {
        match u16::try_from(self.all.len()) {
            Ok(place) if self.all.len() < MAX_ACTIONS => {
                self.by_name
                    .insert(action.id.as_str().to_owned(), ActionIndex(place));
                self.all.push(action);
                true
            }
            _ => false,
        }
    }

    fn resolve(&mut self, place: usize, implied: &[Name], faults: &mut Faults<'_>) {
        let mut indexes = BTreeSet::new();
        for name in implied {
            match self.find(name.get_ref()) {
                Some((index, _)) => {
                    indexes.insert(index);
                }
                None => faults.add(name.span(), unknown_action(name.get_ref())),
            }
        }
        if let Some(action) = self.all.get_mut(place) {
            action.implies = indexes;
        }
    }

    /// A project-level action can be held on one project or in an override.
    /// What it implies must then mean nothing more than it says: an account-level
    /// action may come along only if it is never asked of something in a project.
    fn refuse_reaching_out(
        &self,
        place: usize,
        implied: &[Name],
        types: &ResourceTypes,
        faults: &mut Faults<'_>,
    ) {
        let Some(action) = self
            .all
            .get(place)
            .filter(|action| action.level == Level::Project)
        else {
            return;
        };
        for name in implied {
            let Some((index, _)) = self.find(name.get_ref()) else {
                continue;
            };
            let reached = self
                .reach(index)
                .into_iter()
                .filter_map(|index| self.get(index));
            for account in reached.filter(|reached| {
                reached.level == Level::Account && lies_in_projects(reached, types)
            }) {
                faults.add(
                    name.span(),
                    format!(
                        "`{}` is project-level and can't imply `{}`, an account-level action on things in projects",
                        action.id, account.id
                    ),
                );
            }
        }
    }

    fn reach(&self, from: ActionIndex) -> BTreeSet<ActionIndex> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![from];
        while let Some(next) = waiting.pop() {
            if reached.insert(next) {
                waiting.extend(
                    self.get(next)
                        .into_iter()
                        .flat_map(|action| action.implies.iter().copied()),
                );
            }
        }
        reached
    }
}

/// What to say of a name that no action has.
pub(super) fn unknown_action(name: &str) -> String {
    format!("there is no action `{name}`; declare it under `[actions]`")
}

/// An action that is wrong inside is still an action, so that what names it isn't wrong as well.
fn read_action(
    name: &Name,
    value: &Value<'_>,
    types: &ResourceTypes,
    faults: &mut Faults<'_>,
) -> (Action, Vec<Name>) {
    let mut read = Action {
        id: ActionId::new(name.get_ref().as_str()),
        title: name.get_ref().clone(),
        level: Level::Account,
        resource_types: Vec::new(),
        implies: BTreeSet::new(),
        context: Vec::new(),
    };
    let Some(mut section) = Section::of(value, format!("action `{}`", name.get_ref()), faults)
    else {
        return (read, Vec::new());
    };
    if let Some(title) = section.text("title", faults) {
        read.title = title.into_inner();
    }
    let level = section
        .text("level", faults)
        .and_then(|text| level_of(&text, faults));
    let on = section.names("on", faults);
    if on.is_empty() {
        let message = format!(
            "action `{}` applies to no type; name at least one in `on`",
            name.get_ref()
        );
        faults.add(name.span(), message);
    }
    read.resource_types = on
        .iter()
        .filter_map(|on| applies_to(on, level, types, faults))
        .collect();
    read.level = level.unwrap_or(Level::Account);
    read.context = read_attributes("context", &mut section, faults);
    let implied = section.names("implies", faults);
    section.close(faults);
    (read, implied)
}

/// A level by its name in the file.
pub(super) fn level_of(text: &Name, faults: &mut Faults<'_>) -> Option<Level> {
    match text.get_ref().as_str() {
        "account" => Some(Level::Account),
        "project" => Some(Level::Project),
        other => {
            faults.add(
                text.span(),
                format!("`{other}` is no level; use `account` or `project`"),
            );
            None
        }
    }
}

fn applies_to(
    on: &Name,
    level: Option<Level>,
    types: &ResourceTypes,
    faults: &mut Faults<'_>,
) -> Option<TypeIndex> {
    let name = on.get_ref().as_str();
    if level == Some(Level::Project) && [ORGANIZATION_TYPE, MEMBER_TYPE].contains(&name) {
        faults.add(
            on.span(),
            format!("a project-level action can't be asked of `{name}`; make it account-level"),
        );
    }
    let found = types.find(name);
    if found.is_none() {
        faults.add(
            on.span(),
            format!("there is no type `{name}`; declare it under `[types]`"),
        );
    }
    found
}

fn lies_in_projects(action: &Action, types: &ResourceTypes) -> bool {
    action
        .resource_types
        .iter()
        .filter_map(|index| types.get(*index))
        .any(|on| ![ORGANIZATION_TYPE, MEMBER_TYPE].contains(&on.id.as_str()))
}
