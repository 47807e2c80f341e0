//! How a command reaches a daemon.

use std::path::PathBuf;

use clap::Args;

/// Where the daemon is, and who calls it.
#[derive(Clone, Debug, Args)]
pub struct ConnectionSettings {
    /// The daemon: `http://host:port`, or `unix:PATH` for its socket.
    #[arg(
        long,
        env = "ROSTER_ADDRESS",
        value_name = "ADDRESS",
        default_value = "http://127.0.0.1:7350"
    )]
    pub address: String,

    /// The file with the key to call with, such as `operator.key` in the data directory.
    #[arg(long, env = "ROSTER_KEY_FILE", value_name = "FILE")]
    pub key_file: PathBuf,
}
