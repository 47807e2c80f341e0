//! The daemon that a command calls.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::connection::{ConnectError, Connection, connect};
use crate::config::connection::ConnectionSettings;

/// How long a daemon may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The daemon can't be called.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The key can't be read.
    #[error("can't read the key in `{}`", path.display())]
    KeyFile {
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
    let key = fs::read_to_string(&settings.key_file).map_err(|source| CallError::KeyFile {
        path: settings.key_file.clone(),
        source,
    })?;
    let connecting = connect(&settings.address, key.trim());
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(CallError::Silent(settings.address.clone())),
    }
}
