//! Settings: by flag or `ROSTER_*`, read once, checked together, printed as they took effect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::LogFormat;

/// One daemon that knows who is on each team and decides what they may do.
#[derive(Debug, Parser)]
#[command(name = "roster", version)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve checks and team management over gRPC.
    Serve(Settings),
    /// Work with catalogs: what a product sells, as data.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Check a data directory that no daemon has open: that the history is whole and
    /// unchanged, and that the database holds what the history says and nothing else.
    ///
    /// Changes nothing in it. Exit code 0 if all checks out, 4 if the history is
    /// damaged or lacks what was acknowledged, 3 if the directory is in use or can't be
    /// read, 1 if only the database differs, which is made anew once it is moved aside.
    Verify(VerifySettings),
}

/// What is checked, and how the answer looks.
#[derive(Clone, Debug, Args)]
pub struct VerifySettings {
    /// Where organizations and their history are kept.
    #[arg(long, env = "ROSTER_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where a copy of the database is made for the time of the check; it takes as
    /// much room as the original.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub scratch: PathBuf,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// Work with catalogs.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Say everything that is wrong with a catalog, with file and line. Exit code 1 if anything is.
    Check {
        /// The catalog's folder.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
    },
    /// Print the Cedar schema that a catalog makes.
    Schema {
        /// The catalog's folder.
        folder: PathBuf,
    },
}

/// How the daemon serves.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where organizations and their history are kept.
    #[arg(long, env = "ROSTER_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Address and port to serve gRPC on. Port 0 takes any free one.
    #[arg(
        long,
        env = "ROSTER_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7350"
    )]
    pub listen: SocketAddr,

    /// Folders of further catalogs, each with a `catalog.toml`, besides those that come with Roster.
    #[arg(
        long,
        env = "ROSTER_CATALOGS",
        value_name = "DIR",
        value_delimiter = ','
    )]
    pub catalogs: Vec<PathBuf>,

    /// Load an example organization for each product, where it is not there yet.
    #[arg(long, env = "ROSTER_EXAMPLE")]
    pub example: bool,

    /// Seconds that requests may take to finish once the daemon is told to stop.
    #[arg(
        long,
        env = "ROSTER_DRAIN_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    pub drain_seconds: u64,

    /// Seconds to wait at the start for another process to let the data directory go.
    #[arg(
        long,
        env = "ROSTER_LOCK_WAIT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    pub lock_wait_seconds: u64,

    /// Refuse writes when less than this many MiB are free on the data directory's
    /// file system; by default a tenth of it, between 256 MiB and 4 GiB.
    #[arg(long, env = "ROSTER_MINIMUM_FREE_MIB", value_name = "MIB")]
    pub minimum_free_mib: Option<u64>,

    /// How log lines look.
    #[arg(long, env = "ROSTER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, such as `info` or `roster=debug`.
    #[arg(
        long,
        env = "ROSTER_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

impl Settings {
    /// How long requests may take to finish once the daemon is told to stop.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// How long another process may take to let the data directory go.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_secs(self.lock_wait_seconds)
    }

    /// The settings in effect, a line each, under the names they are set by.
    pub fn in_effect(&self) -> Vec<(&'static str, String)> {
        let catalogs: Vec<String> = self
            .catalogs
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        vec![
            ("ROSTER_DATA_DIR", self.data_dir.display().to_string()),
            ("ROSTER_LISTEN", self.listen.to_string()),
            ("ROSTER_CATALOGS", catalogs.join(",")),
            ("ROSTER_EXAMPLE", self.example.to_string()),
            ("ROSTER_DRAIN_SECONDS", self.drain_seconds.to_string()),
            (
                "ROSTER_LOCK_WAIT_SECONDS",
                self.lock_wait_seconds.to_string(),
            ),
            (
                "ROSTER_MINIMUM_FREE_MIB",
                self.minimum_free_mib
                    .map_or_else(|| "automatic".to_owned(), |mib| mib.to_string()),
            ),
            (
                "ROSTER_LOG_FORMAT",
                format!("{:?}", self.log_format).to_lowercase(),
            ),
            ("ROSTER_LOG", self.log.clone()),
        ]
    }
}
