//! What people write for the daemon to compile: products and guardrails.

use std::sync::{Arc, OnceLock};

use crate::app;
use crate::catalogs::fuzzing::read;
use crate::engine::CompiledCatalog;

/// The catalogs that come along, compiled once.
pub(super) fn compiled() -> &'static [Arc<CompiledCatalog>] {
    static COMPILED: OnceLock<Vec<Arc<CompiledCatalog>>> = OnceLock::new();
    COMPILED.get_or_init(|| app::compiled_catalogs(&[]).unwrap_or_default())
}

/// A catalog that can be read is one that Cedar accepts, or is refused by Cedar with a
/// problem that can be told.
pub fn catalogs(bytes: &[u8]) {
    let Some(catalog) = read(bytes) else {
        return;
    };
    match app::compiled(catalog) {
        Ok(compiled) => assert!(!compiled.schema_text().is_empty()),
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
}

/// A text is a guardrail or is not, always alike, and who may write less may not write
/// what who may write more can't.
pub fn guardrails(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let catalog = compiled().iter().find(|compiled| {
        let id = &compiled.catalog().id;
        id.as_str() == "oncloudwine"
    });
    let Some(catalog) = catalog else {
        return;
    };
    let by_member = catalog.check_guardrail(&text, false);
    let by_operator = catalog.check_guardrail(&text, true);
    assert_eq!(by_member, catalog.check_guardrail(&text, false));
    assert!(!by_member.is_empty() || by_operator.is_empty(), "{text}");
}
