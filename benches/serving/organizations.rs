//! The organizations of the benchmark.

use roster::domain::Catalog;
use roster::store::Store;

use super::fixtures::{self, Size};

pub use super::fixtures::CATALOG;

/// Members of the organization that checks ask.
pub const CHECKED: usize = 1_000;
/// Members of another, in which writers write.
pub const SMALL: usize = 100;
/// Members of the largest one.
pub const LARGE: usize = 100_000;

/// The id of the organization of that many members.
pub fn organization(size: usize) -> String {
    format!("members-{size}")
}

/// Writes it.
pub async fn populate(store: &dyn Store, catalog: &Catalog, size: usize) {
    let members = Size {
        members: size,
        ..Size::default()
    };
    fixtures::write(store, catalog, &organization(size), members).await;
}
