//! A catalog that organizations may live on, compiled when the first of them needs it.
//!
//! Most daemons serve one product. What the others compile to would be the larger part
//! of what an idle daemon takes in memory, and of the time until its first answer.

use std::sync::{Arc, OnceLock};

use super::catalog::{CatalogError, CompiledCatalog};
use crate::domain::Catalog;
use crate::domain::catalog::RulesText;

/// A catalog that is compiled once, when that is needed.
pub struct OfferedCatalog {
    catalog: Arc<Catalog>,
    base: Arc<RulesText>,
    compiled: OnceLock<Arc<CompiledCatalog>>,
}

impl OfferedCatalog {
    /// A catalog to be compiled with the rules that all products share. One that is not
    /// known to compile should be compiled at once, so that its faults are told at the
    /// start.
    pub fn new(catalog: Arc<Catalog>, base: Arc<RulesText>) -> Self {
        Self {
            catalog,
            base,
            compiled: OnceLock::new(),
        }
    }

    /// The catalog itself.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The catalog, compiled. Takes some tens of milliseconds the first time.
    pub fn compiled(&self) -> Result<&Arc<CompiledCatalog>, CatalogError> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let compiled = CompiledCatalog::compile(Arc::clone(&self.catalog), &self.base)?;
        // Whoever was first is shared by all.
        Ok(self.compiled.get_or_init(|| Arc::new(compiled)))
    }
}

impl From<Arc<CompiledCatalog>> for OfferedCatalog {
    fn from(compiled: Arc<CompiledCatalog>) -> Self {
        let base = RulesText {
            path: String::new(),
            text: String::new(),
        };
        Self {
            catalog: Arc::clone(compiled.catalog()),
            base: Arc::new(base),
            compiled: OnceLock::from(compiled),
        }
    }
}
