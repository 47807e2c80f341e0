//! Who may call besides those who hold keys: the callers file, what it names, and the
//! files of TLS, read at the start and again whenever they change.
//!
//! The files are looked at once a second, by what is in them: Kubernetes swaps a link to
//! the directory that they are in, editors write a new file or into the old one, and all
//! of that is noticed. What can't be used is said in the log, and what was used before
//! stays until it can.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::callers_file::{CallersFile, read_callers};
use super::warn_if_exposed;
use crate::application::Application;
use crate::catalogs::CatalogFault;
use crate::config::callers::CallerSettings;
use crate::transport::caller::Authenticator;
use crate::transport::identities::Identities;
use crate::transport::tls::{Tls, TlsError, TlsFiles};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    /// A file can't be read.
    #[error("can't read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The callers file has faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<CatalogFault>),
    /// The files of TLS are of no use.
    #[error("TLS can't be served with `{}`", path.display())]
    Tls {
        /// The file of the certificate.
        path: PathBuf,
        /// Why not.
        #[source]
        source: TlsError,
    },
}

/// Everybody who may call besides those who hold keys, and how they are kept up to date.
pub struct Callers {
    settings: CallerSettings,
    identities: Arc<ArcSwap<Identities>>,
    /// Every file that the callers file leads to, and itself.
    identity_files: Vec<PathBuf>,
    tls: Option<Tls>,
}

impl Callers {
    /// As the files say now.
    pub fn load(settings: &CallerSettings) -> Result<Self, CallersError> {
        let CallersFile { identities, files } = load_identities(settings)?;
        let tls = match load_tls(settings)? {
            None => None,
            Some((path, files)) => {
                settings.tls_key.as_deref().map(warn_if_exposed);
                let tls = Tls::new(&files);
                Some(tls.map_err(|source| CallersError::Tls { path, source })?)
            }
        };
        Ok(Self {
            settings: settings.clone(),
            identities: Arc::new(ArcSwap::from_pointee(identities)),
            identity_files: files,
            tls,
        })
    }

    /// Recognises these besides the operator by this key.
    pub fn authenticator(&self, operator_key: &str) -> Authenticator {
        Authenticator::new(operator_key).with_identities(Arc::clone(&self.identities))
    }

    /// TLS, if it is to be served.
    pub fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Follows the files until told to stop.
    pub async fn follow(mut self, application: Arc<Application>, mut stop: watch::Receiver<bool>) {
        let tls_files = self.tls_files();
        if tls_files.is_empty() && self.identity_files.is_empty() {
            return;
        }
        // Nothing was seen: what changed since the start is found at the first look.
        let (mut seen_tls, mut seen_identities) = (None, None);
        let mut turns = tokio::time::interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
            let files = (tls_files.clone(), self.identity_files.clone());
            let looking =
                tokio::task::spawn_blocking(move || (look_at(&files.0), look_at(&files.1)));
            let Ok((tls, identities)) = looking.await else {
                continue;
            };
            if seen_tls.replace(tls) != Some(tls) {
                self.reload_tls(&application);
            }
            if seen_identities.replace(identities) != Some(identities) {
                let files = self.identity_files.clone();
                self.reload_identities(&application);
                // Files that it did not name before were not looked at yet: once more. Those
                // that were looked at before they were read can't have changed unnoticed.
                if self.identity_files != files {
                    seen_identities = None;
                }
            }
        }
    }

    fn tls_files(&self) -> Vec<PathBuf> {
        let settings = &self.settings;
        let files = [
            &settings.tls_certificate,
            &settings.tls_key,
            &settings.tls_client_ca,
        ];
        files.into_iter().flatten().cloned().collect()
    }

    fn reload_tls(&self, application: &Application) {
        let Some(tls) = &self.tls else { return };
        let replaced = load_tls(&self.settings).and_then(|files| match files {
            None => Ok(()),
            Some((path, files)) => tls
                .replace(&files)
                .map_err(|source| CallersError::Tls { path, source }),
        });
        match replaced {
            Ok(()) => {
                tracing::info!("the files of TLS were read");
                // Those who were verified by authorities that have changed are none any more.
                application.caller_keys().generation().advance();
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "the files of TLS can't be used; the ones before stay"
                );
            }
        }
    }

    fn reload_identities(&mut self, application: &Application) {
        if self.settings.callers.is_none() {
            return;
        }
        match load_identities(&self.settings) {
            Ok(CallersFile { identities, files }) => {
                self.identities.store(Arc::new(identities));
                self.identity_files = files;
                application.caller_keys().generation().advance();
                tracing::info!("the callers file was read");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "the callers file can't be used; the one before stays"
                );
            }
        }
    }
}

fn load_identities(settings: &CallerSettings) -> Result<CallersFile, CallersError> {
    match &settings.callers {
        None => Ok(CallersFile::default()),
        Some(path) => read_callers(path, &read_text(path)?).map_err(CallersError::Faults),
    }
}

fn load_tls(settings: &CallerSettings) -> Result<Option<(PathBuf, TlsFiles)>, CallersError> {
    let Some((certificate, key)) = settings
        .tls_certificate
        .as_ref()
        .zip(settings.tls_key.as_ref())
    else {
        return Ok(None);
    };
    let authorities = settings.tls_client_ca.as_deref();
    let files = TlsFiles {
        certificates: read(certificate)?,
        key: read(key)?,
        client_authorities: authorities.map(read).transpose()?,
    };
    Ok(Some((certificate.clone(), files)))
}

fn read(path: &Path) -> Result<Vec<u8>, CallersError> {
    fs::read(path).map_err(|source| CallersError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_text(path: &Path) -> Result<String, CallersError> {
    fs::read_to_string(path).map_err(|source| CallersError::Read {
        path: path.to_owned(),
        source,
    })
}

/// What is in the files, as one number; that one can't be read counts too.
fn look_at(files: &[PathBuf]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in files {
        digest.update(file.as_os_str().as_encoded_bytes());
        match fs::read(file) {
            Ok(content) => {
                digest.update((content.len() as u64).to_be_bytes());
                digest.update(content);
            }
            Err(_) => digest.update([0xff]),
        }
    }
    digest.finalize().into()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
