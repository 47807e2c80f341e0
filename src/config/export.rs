//! Where exports go to and come from.

use std::path::PathBuf;

use clap::Args;

use super::Output;
use super::backup::Source;

/// What is exported, and where to.
#[derive(Clone, Debug, Args)]
pub struct ExportSettings {
    /// The file to make, which must not be there yet; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub to: PathBuf,

    /// What is exported.
    #[command(flatten)]
    pub source: Source,

    /// How the answer looks; there is none where the export goes to standard output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What is imported, and where to.
#[derive(Clone, Debug, Args)]
pub struct ImportSettings {
    /// The export; `-` is standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub from: PathBuf,

    /// The data directory to make: one that is empty or not there.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Folders of further catalogs that organizations live on, besides those that come
    /// with Roster.
    #[arg(
        long,
        env = "ROSTER_CATALOGS",
        value_name = "DIR",
        value_delimiter = ','
    )]
    pub catalogs: Vec<PathBuf>,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}
