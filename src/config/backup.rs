//! Where backups come from and go to.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches, error::Error};

use super::Output;
use super::connection::ConnectionSettings;

/// What is copied: what a daemon holds, or a directory that none has open.
#[derive(Clone, Debug)]
pub enum Source {
    /// A daemon that runs.
    Daemon(ConnectionSettings),
    /// A data directory, or a copy of one.
    Directory(PathBuf),
}

const DATA_DIR: &str = "data_dir";

impl Args for Source {
    fn augment_args(command: Command) -> Command {
        // None of the connection's settings is needed beside a directory.
        let command = ConnectionSettings::augment_args_for_update(command);
        command.arg(
            clap::Arg::new(DATA_DIR)
                .long("data-dir")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Read this data directory, which no daemon has open, instead of calling a daemon"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Source {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        match matches.get_one::<PathBuf>(DATA_DIR) {
            Some(directory) => Ok(Self::Directory(directory.clone())),
            None => ConnectionSettings::from_arg_matches(matches).map(Self::Daemon),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What is backed up, and where to.
#[derive(Clone, Debug, Args)]
pub struct BackupSettings {
    /// The file to make; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,

    /// What is backed up.
    #[command(flatten)]
    pub source: Source,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What is restored, and where to.
#[derive(Clone, Debug, Args)]
pub struct RestoreSettings {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,

    /// The data directory to make: one that is empty or not there.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Which daemon is asked how it is.
#[derive(Clone, Debug, Args)]
pub struct StatusSettings {
    /// The daemon.
    #[command(flatten)]
    pub connection: ConnectionSettings,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}
