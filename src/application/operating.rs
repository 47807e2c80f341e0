//! For those who run the daemon: a backup of everything, and how it is.
//!
//! A backup is read while writes go on. What is in it is decided when it begins: the
//! history up to the revision published then. Each part is read when it is fetched, on
//! a thread that may block, so that whoever fetches slowly holds nothing up.

use std::sync::Arc;

use bytes::Bytes;

use super::{Application, Error, Reader};
use crate::domain::organization::Moment;
use crate::store::backup::BackupEncoder;
use crate::store::{Condition, Head, ReadError, Sequence, Store};

/// About how many bytes of a backup are read, and at most how many are sent, at once.
const PART_BYTES: usize = 1024 * 1024;

/// How the daemon is.
#[derive(Clone, Debug)]
pub struct DaemonStatus {
    /// When it started.
    pub started_at: Moment,
    /// The history that is published.
    pub head: Head,
    /// How its store is.
    pub condition: Condition,
}

/// A backup that is being read.
pub struct Backup {
    store: Arc<dyn Store>,
    /// Where it ends.
    head: Head,
    /// The last commit that was read.
    read: Sequence,
    /// Nothing once the end was made.
    encoder: Option<BackupEncoder>,
    /// What was made and not fetched yet.
    ready: Bytes,
}

impl Application {
    /// Begins a backup of everything that is published.
    pub async fn backup(&self, reader: &Reader, at_least: &str) -> Result<Backup, Error> {
        reader.must_be_operator()?;
        self.reach(at_least, reader.patience).await?;
        let head = self.store.head();
        let (encoder, ready) = BackupEncoder::begin(&head);
        Ok(Backup {
            store: Arc::clone(&self.store),
            head,
            read: Sequence(0),
            encoder: Some(encoder),
            ready: ready.into(),
        })
    }

    /// How the daemon is.
    pub async fn status(&self, reader: &Reader, at_least: &str) -> Result<DaemonStatus, Error> {
        reader.must_be_operator()?;
        self.reach(at_least, reader.patience).await?;
        let store = Arc::clone(&self.store);
        let condition = blocking(move || Ok(store.condition())).await?;
        Ok(DaemonStatus {
            started_at: self.started_at,
            head: self.store.head(),
            condition,
        })
    }
}

impl Backup {
    /// Where it ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The last commit that was read for what was fetched so far.
    pub fn read(&self) -> Sequence {
        self.read
    }

    /// The next bytes; nothing at the end.
    pub async fn next_part(&mut self) -> Result<Option<Bytes>, Error> {
        while self.ready.is_empty() {
            let Some(encoder) = self.encoder.take() else {
                return Ok(None);
            };
            if self.read >= self.head.sequence {
                self.ready = encoder.end().into();
            } else {
                self.read_more(encoder).await?;
            }
        }
        let part = self.ready.split_to(self.ready.len().min(PART_BYTES));
        Ok(Some(part))
    }

    async fn read_more(&mut self, mut encoder: BackupEncoder) -> Result<(), Error> {
        let (store, after, end) = (Arc::clone(&self.store), self.read, self.head.sequence);
        let commits = blocking(move || store.sealed(after, PART_BYTES)).await;
        let mut commits = commits.map_err(|error| match error {
            Error::Read(ReadError::Damaged(what)) => Error::HistoryDamaged {
                after: after.0,
                what,
            },
            other => other,
        })?;
        commits.retain(|commit| commit.sequence <= end);
        let Some(last) = commits.last() else {
            return Err(Error::HistoryDamaged {
                after: after.0,
                what: "the history ends before its head".to_owned(),
            });
        };
        self.read = last.sequence;
        self.ready = encoder.commits(&commits).into();
        self.encoder = Some(encoder);
        Ok(())
    }
}

/// Reads on a thread that may block.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Error> {
    let failed = |_| ReadError::Unavailable("reading the store failed".to_owned());
    let done = tokio::task::spawn_blocking(read).await;
    Ok(done.unwrap_or_else(|error| Err(failed(error)))?)
}
