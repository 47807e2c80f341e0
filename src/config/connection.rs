//! How a command reaches a daemon.

use std::path::PathBuf;

use clap::Args;

/// Where the daemon is, and who calls it.
#[derive(Clone, Debug, Args)]
pub struct ConnectionSettings {
    /// The daemon: `http://host:port`, `https://host:port`, or `unix:PATH` for its socket.
    #[arg(
        long,
        env = "ROSTER_ADDRESS",
        value_name = "ADDRESS",
        default_value = "http://127.0.0.1:7350"
    )]
    pub address: String,

    /// The file with the key to call with, such as `operator.key` in the data directory.
    /// Callers who are known by a certificate or at a Unix socket need none.
    #[arg(long, env = "ROSTER_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Certificates of authorities, as PEM, of which the daemon's has to be; by default
    /// those that this machine trusts.
    #[arg(long, env = "ROSTER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// The certificate to call with and those between it and its authority, as PEM.
    #[arg(
        long,
        env = "ROSTER_CLIENT_CERTIFICATE",
        value_name = "FILE",
        requires = "client_key"
    )]
    pub client_certificate: Option<PathBuf>,

    /// The private key to that certificate, as PEM.
    #[arg(
        long,
        env = "ROSTER_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_certificate"
    )]
    pub client_key: Option<PathBuf>,
}
