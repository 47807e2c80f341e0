//! What is done with a catalog.

use std::path::PathBuf;

use clap::Subcommand;

use super::Output;

/// Work with catalogs.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Say everything that is wrong with a catalog, with file and line. Exit code 1 if anything is.
    Check {
        /// The catalog's folder.
        #[arg(required = true)]
        folders: Vec<PathBuf>,

        /// How the answer looks.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the Cedar schema that a catalog makes.
    Schema {
        /// The catalog's folder.
        folder: PathBuf,
    },
    /// Hold a catalog to its truth table: who may do what, on which plan.
    ///
    /// Needs no daemon. Names every cell that differs. Exit code 0 if all cells hold, 1 if
    /// one does not, or if the catalog or a file of cases is wrong.
    Test {
        /// The catalog's folder.
        folder: PathBuf,

        /// Files of cases, as `policies/README.md` describes them; by default the
        /// folder's own `tests.toml`.
        cases: Vec<PathBuf>,

        /// How the answer looks.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}
