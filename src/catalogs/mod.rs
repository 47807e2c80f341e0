//! Reads catalogs: folders of data that say what a product sells.
//!
//! A catalog is `catalog.toml` and, where the product forbids something to
//! everyone, `rules.cedar`, and where it has words of its own for what people
//! are told, `notifications.toml`. The folders under `policies/` are compiled in;
//! others are loaded from a directory, so that a product is added without
//! touching Rust. Roster's own actions, rules and words, `policies/base`, are part
//! of every catalog and always the compiled-in ones: the code speaks of them by name.
//!
//! Whoever writes a catalog has it wrong several times first. Reading therefore
//! never stops at the first fault: it reports all of them, each with its line,
//! and hands out a [`Catalog`] only if there are none. The TOML is walked as a
//! tree of spanned values rather than deserialized, because a derived
//! deserializer gives up at the first value it doesn't like.
//!
//! What Cedar has to say, whether rules parse and fit the schema, isn't checked
//! here: this layer knows `domain` only and passes rules on as text.

mod actions;
mod conditions;
pub(crate) mod fault;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod notifications;
mod plans;
mod reading;
mod resource_types;
mod roles;
pub(crate) mod section;
mod team;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::domain::catalog::{Catalog, RulesText};

pub use fault::CatalogFault;
pub use reading::Base;

/// The catalogs compiled into this binary, by id in alphabetical order.
///
/// # Errors
/// Every fault of every catalog. A released binary has none: a test reads them all.
pub fn embedded() -> Result<Vec<Catalog>, Vec<CatalogFault>> {
    let base = base()?;
    let mut catalogs = Vec::new();
    let mut faults = Vec::new();
    for folder in folder::embedded() {
        match folder.and_then(|folder| reading::read_catalog(&base, &folder)) {
            Ok(catalog) => catalogs.push(catalog),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() {
        Ok(catalogs)
    } else {
        Err(faults)
    }
}

/// The catalog in the directory `folder`; the directory's name is its id.
///
/// # Errors
/// Every fault of the catalog, file by file, in the order of the file.
pub fn load_folder(base: &Base, folder: &Path) -> Result<Catalog, Vec<CatalogFault>> {
    reading::read_catalog(base, &folder::on_disk(folder)?)
}

/// Roster's own actions and words, which every catalog carries.
///
/// # Errors
/// The faults of the TOML files in `policies/base`. A released binary has none.
pub fn base() -> Result<Base, Vec<CatalogFault>> {
    reading::read_base(&folder::base_actions(), &folder::base_notifications())
}

/// The rules that hold in every organization, as Cedar text.
pub fn base_rules() -> RulesText {
    folder::base_rules()
}
