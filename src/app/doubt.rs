//! Remembers from one run to the next that records of the database are in doubt.
//!
//! Records are read when they are asked for, so damage is found while the daemon
//! serves, when there is nothing better to do than not to serve the organization. A
//! file in the data directory then makes the next start check every record and make
//! the database anew from the journal where it must be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::application::Error;
use crate::application::residence::Alarm;
use crate::store::ReadError;
use crate::store::sled::{OpenError, OpenOptions, SledStore, Verification};

/// The file that says so.
pub const DOUBT_FILE: &str = "records.doubted";

/// Opens the store; every record is checked where that is called for.
pub fn open(directory: &Path, options: OpenOptions) -> Result<SledStore, OpenError> {
    let file = directory.join(DOUBT_FILE);
    if !file.exists() {
        return SledStore::open(directory, options);
    }
    tracing::warn!("a record is damaged; every record is checked against the journal");
    let options = OpenOptions {
        verification: Verification::EveryRecord,
        ..options
    };
    let store = SledStore::open(directory, options)?;
    match fs::remove_file(&file) {
        // It costs no more than the time of another check.
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%fault, path = %file.display(), "can't be removed");
        }
        _ => {}
    }
    Ok(store)
}

/// Takes note of damaged records for the next start.
pub fn alarm(directory: PathBuf) -> Alarm {
    Box::new(move |organization, error| {
        if !matches!(error, Error::Read(ReadError::Damaged(_))) {
            return;
        }
        let file = directory.join(DOUBT_FILE);
        if let Err(fault) = fs::write(&file, format!("{organization}\n")) {
            tracing::error!(%fault, path = %file.display(), "can't be written: the next start checks no records");
        }
    })
}
