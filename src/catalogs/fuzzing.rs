//! Catalogs that anybody may have written.

use std::sync::OnceLock;

use super::folder::{File, Folder};
use super::{Base, base, reading};
use crate::domain::catalog::{Catalog, RulesText};

/// What stands between the files of a catalog in one input.
const NEXT_FILE: &str = "\n=====\n";

/// A catalog is read, or refused with a place for every fault.
pub fn read(bytes: &[u8]) -> Option<Catalog> {
    static BASE: OnceLock<Option<Base>> = OnceLock::new();
    let base = BASE.get_or_init(|| base().ok()).as_ref()?;
    let text = std::str::from_utf8(bytes).ok()?;
    let mut files = text.split(NEXT_FILE);
    let mut next = |name: &str| {
        let path = format!("fuzzed/{name}");
        let text = files.next()?.to_owned();
        Some(File { path, text })
    };
    let catalog = next("catalog.toml")?;
    let rules = next("rules.cedar").map(|File { path, text }| RulesText { path, text });
    let folder = Folder {
        name: "fuzzed".to_owned(),
        catalog,
        rules,
        notifications: next("notifications.toml"),
    };
    match reading::read_catalog(base, &folder) {
        Ok(catalog) => Some(catalog),
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a fault");
            for fault in faults {
                assert!(!fault.to_string().is_empty(), "a fault says nothing");
            }
            None
        }
    }
}
