//! Where a catalog's files come from: compiled in, or a directory.

use std::fs;
use std::path::Path;

use include_dir::{Dir, include_dir};

use super::fault::CatalogFault;
use crate::domain::catalog::RulesText;

/// `policies/` as it was when this binary was built.
static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");

/// The folder of what every catalog has; no product can be called so.
pub(super) const BASE_FOLDER: &str = "base";
const CATALOG_FILE: &str = "catalog.toml";
const RULES_FILE: &str = "rules.cedar";
const NOTIFICATIONS_FILE: &str = "notifications.toml";
/// The catalog's truth table, which `roster catalog test` reads and nobody else.
const CASES_FILE: &str = "tests.toml";

/// A file's content and the path its faults are reported under.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

/// The files of one catalog.
#[derive(Debug)]
pub(super) struct Folder {
    /// Its last path component, the catalog's id.
    pub(super) name: String,
    /// `catalog.toml`.
    pub(super) catalog: File,
    /// `rules.cedar`, if there is one.
    pub(super) rules: Option<RulesText>,
    /// `notifications.toml`, if there is one.
    pub(super) notifications: Option<File>,
}

/// Roster's own actions.
pub(super) fn base_actions() -> File {
    File {
        path: "policies/base/actions.toml".to_owned(),
        text: include_str!("../../policies/base/actions.toml").to_owned(),
    }
}

/// Roster's own words for notifications.
pub(super) fn base_notifications() -> File {
    File {
        path: "policies/base/notifications.toml".to_owned(),
        text: include_str!("../../policies/base/notifications.toml").to_owned(),
    }
}

/// Roster's own rules.
pub(super) fn base_rules() -> RulesText {
    RulesText {
        path: "policies/base/rules.cedar".to_owned(),
        text: include_str!("../../policies/base/rules.cedar").to_owned(),
    }
}

/// The compiled-in product folders, by name.
pub(super) fn embedded() -> Vec<Result<Folder, Vec<CatalogFault>>> {
    let mut folders: Vec<&Dir<'_>> = POLICIES
        .dirs()
        .filter(|folder| folder.path() != Path::new(BASE_FOLDER))
        .collect();
    folders.sort_by_key(|folder| folder.path());
    folders
        .into_iter()
        .map(|folder| {
            let files = folder
                .files()
                .map(|file| (file.path().to_path_buf(), Ok(file.contents().to_vec())));
            collect(
                folder.path(),
                &Path::new("policies").join(folder.path()),
                files,
            )
        })
        .collect()
}

/// A folder in the file system.
pub(super) fn on_disk(folder: &Path) -> Result<Folder, Vec<CatalogFault>> {
    let unreadable = |error: std::io::Error| {
        vec![CatalogFault::of_file(
            folder.display().to_string(),
            format!("can't be read as a folder: {error}"),
        )]
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let files = paths.into_iter().filter(|path| path.is_file()).map(|path| {
        let content = fs::read(&path);
        (path, content)
    });
    collect(folder, folder, files)
}

fn collect(
    folder: &Path,
    shown: &Path,
    files: impl Iterator<Item = (std::path::PathBuf, std::io::Result<Vec<u8>>)>,
) -> Result<Folder, Vec<CatalogFault>> {
    let mut faults = Vec::new();
    let (mut catalog, mut rules, mut notifications) = (None, None, None);
    for (path, content) in files {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let shown = shown.join(&name).display().to_string();
        match name.as_str() {
            CATALOG_FILE => catalog = text_of(shown, content, &mut faults),
            RULES_FILE => rules = text_of(shown, content, &mut faults),
            NOTIFICATIONS_FILE => notifications = text_of(shown, content, &mut faults),
            CASES_FILE => {}
            // A misspelled name must not make rules disappear in silence.
            _ if name.ends_with(".toml") || name.ends_with(".cedar") => {
                let message = format!(
                    "is not part of a catalog; its files are `{CATALOG_FILE}`, `{RULES_FILE}` and `{NOTIFICATIONS_FILE}`"
                );
                faults.push(CatalogFault::of_file(shown, message));
            }
            _ => {}
        }
    }
    if catalog.is_none() && faults.is_empty() {
        let missing = shown.join(CATALOG_FILE).display().to_string();
        faults.push(CatalogFault::of_file(
            missing,
            "is missing; every catalog has one",
        ));
    }
    match catalog {
        Some(catalog) if faults.is_empty() => Ok(Folder {
            name: folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            catalog,
            rules: rules.map(|File { path, text }| RulesText { path, text }),
            notifications,
        }),
        _ => Err(faults),
    }
}

fn text_of(
    path: String,
    content: std::io::Result<Vec<u8>>,
    faults: &mut Vec<CatalogFault>,
) -> Option<File> {
    match content.map(String::from_utf8) {
        Ok(Ok(text)) => Some(File { path, text }),
        Ok(Err(error)) => {
            faults.push(CatalogFault::of_file(
                path,
                format!("is not UTF-8: {error}"),
            ));
            None
        }
        Err(error) => {
            faults.push(CatalogFault::of_file(
                path,
                format!("can't be read: {error}"),
            ));
            None
        }
    }
}
