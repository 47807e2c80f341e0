//! From the files of a folder to a [`Catalog`], or to everything wrong with them.
//!
//! The order is that of reference: types, then actions on them, then
//! conditions, plans, team rules and at last roles, which refer to all of it.

use toml::de::DeTable;

use super::actions::Actions;
use super::conditions::read_conditions;
use super::fault::{CatalogFault, Faults};
use super::folder::{BASE_FOLDER, File, Folder};
use super::notifications;
use super::plans::read_plans;
use super::resource_types::ResourceTypes;
use super::roles::{Known, read_roles};
use super::section::Section;
use super::team::{check_roles, read_team};
use super::vocabulary::id_fault;
use crate::domain::catalog::{Catalog, CatalogParts};
use crate::domain::identifiers::CatalogId;
use crate::domain::templates::Templates;

/// Roster's own actions and words, which every catalog starts from.
#[derive(Debug)]
pub struct Base {
    actions: Actions,
    templates: Templates,
}

impl Base {
    /// How many actions are Roster's own; they stand first in every catalog.
    pub fn own_actions(&self) -> usize {
        self.actions.all.len()
    }
}

/// Reads Roster's own actions and words.
pub(super) fn read_base(actions: &File, notifications: &File) -> Result<Base, Vec<CatalogFault>> {
    let (actions, mut found) = read_file(actions, |table, faults| {
        let mut actions = Actions::default();
        let mut root = Section::root(table, CATALOG);
        actions.read(&ResourceTypes::built_in(), &mut root, faults);
        root.close(faults);
        Some(actions)
    });
    let (templates, found_in_words) = read_file(notifications, notifications::read_all);
    found.extend(found_in_words);
    match (actions, templates) {
        (Some(actions), Some(templates)) if found.is_empty() => Ok(Base { actions, templates }),
        _ => Err(found),
    }
}

/// Reads one product's folder.
pub(super) fn read_catalog(base: &Base, folder: &Folder) -> Result<Catalog, Vec<CatalogFault>> {
    let (templates, found_in_words) = match &folder.notifications {
        Some(file) => read_file(file, |table, faults| {
            notifications::read_own(&base.templates, table, faults)
        }),
        None => (Some(base.templates.clone()), Vec::new()),
    };
    let mut faults = Faults::new(&folder.catalog.path, &folder.catalog.text);
    check_name(folder, &mut faults);
    let parts = match parse(&folder.catalog.text, &mut faults) {
        Some(table) => {
            let root = Section::root(&table, CATALOG);
            read_parts(base, folder, templates, root, &mut faults)
        }
        None => None,
    };
    let mut found = faults.into_found();
    found.extend(found_in_words);
    match parts {
        Some(parts) if found.is_empty() => Ok(Catalog::assemble(parts)),
        None if found.is_empty() => Err(vec![CatalogFault::of_file(
            folder.catalog.path.as_str(),
            "can't be read, and Roster can't say why; report this",
        )]),
        _ => Err(found),
    }
}

/// What messages call `catalog.toml`.
const CATALOG: &str = "a catalog";

fn check_name(folder: &Folder, faults: &mut Faults<'_>) {
    if let Some(fault) = id_fault(&folder.name) {
        faults.add(
            0..0,
            format!("the folder's name is the catalog's id: {fault}"),
        );
    }
    if folder.name == BASE_FOLDER {
        faults.add(
            0..0,
            format!("`{BASE_FOLDER}` is the folder of Roster's own actions; rename this one"),
        );
    }
}

fn read_parts(
    base: &Base,
    folder: &Folder,
    templates: Option<Templates>,
    mut root: Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<CatalogParts> {
    let title = root.text("title", faults);
    let organization_word = root.text("organization_word", faults);
    let project_word = root.optional_text("project_word", faults);
    let types = ResourceTypes::read(&mut root, faults);
    let mut actions = base.actions.clone();
    actions.read(&types, &mut root, faults);
    actions.retitle(base.own_actions(), &mut root, faults);
    let conditions = read_conditions(&types, &mut root, faults);
    let plans = read_plans(&mut root, faults);
    let (team, named_roles) = read_team(project_word.as_ref(), &plans, &mut root, faults);
    let known = Known {
        types: &types,
        actions: &actions,
        conditions: &conditions,
        project_roles: team.as_ref().map(|team| team.project_roles),
    };
    let roles = read_roles(&known, &mut root, faults);
    check_roles(&named_roles, &roles, faults);
    root.close(faults);
    Some(CatalogParts {
        id: CatalogId::new(folder.name.as_str()),
        title: title?.into_inner(),
        organization_word: organization_word?.into_inner(),
        project_word: project_word.map(|word| word.into_inner()),
        resource_types: types.all,
        actions: actions.all,
        conditions,
        roles,
        plans,
        team: team?,
        templates: templates?,
        rules: folder.rules.clone(),
    })
}

/// The file as a tree. A key that stands twice leaves the rest readable; any
/// other fault of syntax leaves guesses only, and faults of guesses mislead.
fn parse<'t>(text: &'t str, faults: &mut Faults<'_>) -> Option<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = match error.message() {
            DUPLICATE_KEY => "this key stands twice; rename or remove one".to_owned(),
            other => format!("is not TOML: {other}"),
        };
        faults.add(error.span().unwrap_or(0..0), message);
    }
    errors
        .iter()
        .all(|error| error.message() == DUPLICATE_KEY)
        .then(|| table.into_inner())
}

/// What the TOML parser calls a key that stands twice.
const DUPLICATE_KEY: &str = "duplicate key";

/// What `read` makes of a file, and everything wrong with it.
fn read_file<T>(
    file: &File,
    read: impl FnOnce(&DeTable<'_>, &mut Faults<'_>) -> Option<T>,
) -> (Option<T>, Vec<CatalogFault>) {
    let mut faults = Faults::new(&file.path, &file.text);
    let value = match parse(&file.text, &mut faults) {
        Some(table) => read(&table, &mut faults),
        None => None,
    };
    (value, faults.into_found())
}
