//! Who may call besides those who hold keys, and TLS.

use std::path::PathBuf;

use clap::Args;

use super::shown_path;

/// Files by which callers are known. All of them are read again when they change.
#[derive(Clone, Debug, Default, Args)]
pub struct CallerSettings {
    /// The daemon's certificate and those between it and its authority, as PEM. With it the
    /// TCP port speaks TLS and nothing else.
    #[arg(
        long,
        env = "ROSTER_TLS_CERTIFICATE",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_certificate: Option<PathBuf>,

    /// The private key to that certificate, as PEM.
    #[arg(
        long,
        env = "ROSTER_TLS_KEY",
        value_name = "FILE",
        requires = "tls_certificate"
    )]
    pub tls_key: Option<PathBuf>,

    /// Certificates of authorities, as PEM. With them, every client on the TCP port needs a
    /// certificate of one of them.
    #[arg(
        long,
        env = "ROSTER_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_certificate"
    )]
    pub tls_client_ca: Option<PathBuf>,

    /// Callers who are known by a certificate, a user of this machine or a token of an
    /// issuer, as TOML.
    #[arg(long, env = "ROSTER_CALLERS", value_name = "FILE")]
    pub callers: Option<PathBuf>,
}

impl CallerSettings {
    /// The settings in effect, a line each, under the names they are set by.
    pub fn in_effect(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "ROSTER_TLS_CERTIFICATE",
                shown_path(self.tls_certificate.as_ref()),
            ),
            ("ROSTER_TLS_KEY", shown_path(self.tls_key.as_ref())),
            (
                "ROSTER_TLS_CLIENT_CA",
                shown_path(self.tls_client_ca.as_ref()),
            ),
            ("ROSTER_CALLERS", shown_path(self.callers.as_ref())),
        ]
    }
}
