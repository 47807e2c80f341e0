//! The daemon that a command calls.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::connection::{
    ClientIdentity, ConnectError, Connection, TlsOptions, connect_with,
};
use crate::config::connection::ConnectionSettings;

/// How long a daemon may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The daemon can't be called.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A file can't be read.
    #[error("can't read the {what} in `{}`", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The daemon can't be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nothing answers, and nothing says so.
    #[error("no daemon answers at `{0}`")]
    Silent(String),
}

/// Connects as the settings say.
pub async fn reach(settings: &ConnectionSettings) -> Result<Connection, CallError> {
    let key = settings.key_file.as_deref();
    let key = key.map(|path| text("key", path)).transpose()?;
    let authorities = settings.ca_file.as_deref();
    let authorities = authorities.map(|path| text("authorities", path));
    let certificate = settings.client_certificate.as_deref();
    let identity = certificate.zip(settings.client_key.as_deref());
    let identity = identity.map(|(certificate, key)| {
        Ok::<_, CallError>(ClientIdentity {
            certificate: text("certificate", certificate)?,
            key: text("key", key)?,
        })
    });
    let tls = TlsOptions {
        authorities: authorities.transpose()?,
        identity: identity.transpose()?,
    };
    let key = key.as_deref().map(str::trim);
    let connecting = connect_with(&settings.address, key, tls);
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(CallError::Silent(settings.address.clone())),
    }
}

fn text(what: &'static str, path: &Path) -> Result<String, CallError> {
    fs::read_to_string(path).map_err(|source| CallError::File {
        what,
        path: path.to_owned(),
        source,
    })
}
