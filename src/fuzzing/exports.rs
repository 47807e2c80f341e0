//! Exports that somebody may have written or edited.

use sha2::{Digest, Sha256};

use super::texts::compiled;
use crate::domain::Catalog;
use crate::store::export::{Counted, Exporter, LineFault, read_import};

/// An export is imported as a whole, or refused with the lines that are wrong. What is
/// imported is exported as a text that says as much and comes back as itself.
pub fn imports(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    hold(&text);
    // Few ends are right; with the right one there is more to read.
    hold(&ended(&text));
}

fn hold(text: &str) {
    let Some((first, counted)) = exported_again(text) else {
        return;
    };
    let second = exported_again(&first);
    assert_eq!(second, Some((first, counted)));
}

/// What an export comes to that was imported; nothing if it is refused.
fn exported_again(text: &str) -> Option<(String, Counted)> {
    let import = match read_import(text, catalog) {
        Ok(import) => import,
        Err(faults) => {
            assert!(!faults.is_empty(), "a refusal says why");
            return None;
        }
    };
    let counted = import.counted();
    let mut again = Vec::new();
    let mut exporter = Exporter::begin(&mut again).ok()?;
    let written = import.each_commit(|commit| {
        exporter.commit(commit).map_err(|fault| LineFault {
            line: 0,
            problem: fault.to_string(),
        })
    });
    assert!(written.is_ok(), "{written:?}");
    assert_eq!(exporter.end().ok(), Some(counted));
    String::from_utf8(again).ok().map(|again| (again, counted))
}

fn catalog(id: &str) -> Option<&'static Catalog> {
    let mut catalogs = compiled().iter().map(|compiled| &**compiled.catalog());
    catalogs.find(|catalog| catalog.id.as_str() == id)
}

/// These lines, and the last one that belongs to them.
fn ended(lines: &str) -> String {
    let mut text = lines.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let digest = Sha256::digest(text.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let count = text.lines().count();
    let end = serde_json::json!({ "lines": count, "sha256": digest });
    format!("{text}{end}\n")
}
