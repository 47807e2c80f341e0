//! From the files of a folder to a [`Catalog`], or to everything wrong with them.
//!
//! The order is that of reference: types, then actions on them, then
//! conditions, plans, team rules and at last roles, which refer to all of it.

use toml::de::DeTable;

use super::actions::Actions;
use super::conditions::read_conditions;
use super::fault::{CatalogFault, Faults};
use super::folder::{BASE_FOLDER, File, Folder};
use super::plans::read_plans;
use super::resource_types::ResourceTypes;
use super::roles::{Known, read_roles};
use super::section::Section;
use super::team::read_team;
use super::vocabulary::id_fault;
use crate::domain::catalog::{Catalog, CatalogParts};
use crate::domain::identifiers::CatalogId;

/// Roster's own actions, which every catalog starts from.
#[derive(Debug)]
pub struct Base {
    actions: Actions,
}

impl Base {
    /// How many actions are Roster's own; they stand first in every catalog.
    pub fn own_actions(&self) -> usize {
        self.actions.all.len()
    }
}

/// Reads Roster's own actions.
pub(super) fn read_base(file: &File) -> Result<Base, Vec<CatalogFault>> {
    let mut faults = Faults::new(&file.path, &file.text);
    let mut actions = Actions::default();
    if let Some(table) = parse(&file.text, &mut faults) {
        let mut root = Section::root(&table);
        actions.read(&ResourceTypes::built_in(), &mut root, &mut faults);
        root.close(&mut faults);
    }
    none_or(faults).map(|()| Base { actions })
}

/// Reads one product's folder.
pub(super) fn read_catalog(base: &Base, folder: &Folder) -> Result<Catalog, Vec<CatalogFault>> {
    let mut faults = Faults::new(&folder.catalog.path, &folder.catalog.text);
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
    let parts = match parse(&folder.catalog.text, &mut faults) {
        Some(table) => read_parts(base, folder, Section::root(&table), &mut faults),
        None => None,
    };
    none_or(faults)?;
    parts.map(Catalog::assemble).ok_or_else(|| {
        vec![CatalogFault::of_file(
            folder.catalog.path.as_str(),
            "can't be read, and Roster can't say why; report this",
        )]
    })
}

fn read_parts(
    base: &Base,
    folder: &Folder,
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
    let team = read_team(project_word.as_ref(), &plans, &mut root, faults);
    let known = Known {
        types: &types,
        actions: &actions,
        conditions: &conditions,
        project_roles: team.as_ref().map(|team| team.project_roles),
    };
    let roles = read_roles(&known, &mut root, faults);
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

fn none_or(faults: Faults<'_>) -> Result<(), Vec<CatalogFault>> {
    let found = faults.into_found();
    if found.is_empty() { Ok(()) } else { Err(found) }
}
