//! The embedded adapter: a hash-chained journal in front of sled.
//!
//! The journal is the truth and is durable before anything is answered; sled is
//! the state after it, made for reading, and can always be made anew from it.
//! Why so: sled 0.34.7 is fast and survives a killed process, but its flush is
//! no fsync, it panics or shows an older state on damaged files, and it can't
//! say what is missing. With the journal none of that loses a commit.
//!
//! ```text
//! <directory>/lock              held by the process that has the store open
//!             journal/<n>.log   segments, named by their first sequence
//!             sled/             the state
//!             sled.damaged-<n>/ what was once the state; kept for whoever asks why
//!             sled.outdated-<n>/ what an earlier release left; may be deleted
//! ```
//!
//! One thread writes the journal (`writer`), one what follows from it (`finish`); any
//! thread reads. What happened is kept once: events
//! and remembered answers are read from the journal, at places that the state knows.
//! Logical snapshots are deliberately absent so far: every segment of the journal is
//! kept, so nothing needs them yet, and [`ReadError::Compacted`] does not occur unless
//! someone deletes segments.
//!
//! This is the only module that knows sled.

mod apply;
mod database;
mod edit;
#[cfg(test)]
mod faults;
mod finish;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod history;
mod journal;
mod keys;
mod leaf;
mod leaves;
mod marks;
mod open;
mod place;
mod restore;
mod scan;
mod state;
#[cfg(test)]
mod tests;
mod verification;
mod writer;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle, ThreadId, current};
use std::time::Duration;

use tokio::sync::oneshot;

use self::apply::Writes;
use self::history::History;
use self::journal::Journal;
pub use self::open::{OpenError, Verification};
pub use self::restore::{Restoration, RestoreError, commits_of, head_of};
pub use self::verification::{VerifyError, VerifyReport, verify_and_show, verify_directory};
use self::writer::{Message, Request, Shared, Writer};
use super::figures::{Figures, Ticks};
use super::record::Stored;
use super::{
    Commit, CommitError, CommitFuture, Condition, EventEntry, Head, HistoryEntry, IdempotencyKey,
    ReadError, Remembered, SealedCommit, Sequence, Store, admission, failpoint, frame,
};
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::{Moment, Organization, Version};

/// How many groups may be durable and on their way to sled.
const GROUPS_AHEAD: usize = 4;

/// How many places of commits are looked up at once for a page of events.
const PLACES_AT_ONCE: usize = 64;

/// How a store is opened and run.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// How long to wait for another process to let the directory go.
    pub lock_wait: Duration,
    /// How many commits may be under way before further ones are answered with
    /// [`CommitError::Busy`].
    pub queue: usize,
    /// The size from which on a segment of the journal is full, in bytes.
    pub segment_bytes: u64,
    /// How often sled is made durable.
    pub checkpoint_interval: Duration,
    /// After how many bytes of journal it is made durable in any case.
    pub checkpoint_bytes: u64,
    /// Below how many free bytes on the disk writes are answered with
    /// [`CommitError::Full`]; `None` for a tenth of it, between 256 MiB and 4 GiB.
    pub minimum_free_bytes: Option<u64>,
    /// How much of sled is kept in memory, in bytes.
    pub cache_bytes: u64,
    /// How much is checked at the start.
    pub verification: Verification,
    /// What writing is measured by.
    pub ticks: Ticks,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(10),
            queue: 4096,
            // The last one is read whole at each start.
            segment_bytes: 16 * 1024 * 1024,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 64 * 1024 * 1024,
            minimum_free_bytes: None,
            cache_bytes: 16 * 1024 * 1024,
            verification: Verification::Heads,
            ticks: || 0,
        }
    }
}

/// Keeps organizations and their history in a directory.
///
/// Dropping it answers what waits, makes everything durable and lets the
/// directory go.
pub struct SledStore {
    shared: Arc<Shared>,
    messages: Option<SyncSender<Message>>,
    /// How many commits may be under way.
    queue: usize,
    writer: Option<JoinHandle<()>>,
    /// The thread that the writer waits for.
    finisher: ThreadId,
    /// Dropped to stop the clock.
    running: Option<std::sync::mpsc::Sender<()>>,
    clock: Option<JoinHandle<()>>,
}

impl SledStore {
    /// Opens or creates the store in `directory`, healing what can be healed.
    pub fn open(directory: &Path, options: OpenOptions) -> Result<Self, OpenError> {
        let opened = open::open(directory, &options)?;
        let last = opened.segments.last();
        let journal = Journal::resume(&opened.journal_directory, options.segment_bytes, last)
            .map_err(|source| OpenError::Io {
                action: "open",
                path: opened.journal_directory.clone(),
                source,
            })?;
        #[cfg(test)]
        let journal = journal.with(Arc::clone(&opened.state.faults));
        let shared = Arc::new(Shared {
            state: opened.state,
            history: History::new(opened.segments),
            head: Mutex::new(opened.head),
            closed: OnceLock::new(),
            stale: OnceLock::new(),
            figures: Arc::default(),
            ticks: options.ticks,
            applied: AtomicU64::new(opened.head.sequence.0),
            under_way: AtomicUsize::new(0),
            minimum_free: AtomicU64::new(opened.minimum_free),
            checkpoint_due: AtomicBool::new(false),
            directory: opened.directory,
            path: directory.to_owned(),
            _lock: opened.lock,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            journal,
            head: opened.head,
            checkpoint_bytes: options.checkpoint_bytes,
            unchecked_bytes: 0,
            finisher: None,
            ahead: VecDeque::new(),
        };
        Self::start(shared, writer, &options).map_err(|source| OpenError::Io {
            action: "start the threads for",
            path: directory.to_owned(),
            source,
        })
    }

    fn start(
        shared: Arc<Shared>,
        mut writer: Writer,
        options: &OpenOptions,
    ) -> std::io::Result<Self> {
        let (messages, received) = sync_channel(options.queue.max(1));
        let (groups, durable) = sync_channel(GROUPS_AHEAD);
        let finished = Arc::clone(&shared);
        let finisher = Builder::new()
            .name("store-finisher".to_owned())
            .spawn(move || finish::run(&finished, &durable))?;
        let finisher_id = finisher.thread().id();
        writer.finisher = Some((groups, finisher));
        let (running, stopped) = channel();
        let interval = options.checkpoint_interval;
        let (ticked, wake) = (Arc::clone(&shared), messages.clone());
        let writer = Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&received))?;
        let clock = Builder::new()
            .name("store-clock".to_owned())
            .spawn(move || tick(&stopped, interval, &ticked, &wake))?;
        Ok(Self {
            shared,
            messages: Some(messages),
            queue: options.queue,
            writer: Some(writer),
            finisher: finisher_id,
            running: Some(running),
            clock: Some(clock),
        })
    }

    fn send(&self, commit: Commit) -> Result<Waiting, CommitError> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        let under_way = &self.shared.under_way;
        let sent = match under_way.fetch_add(1, Ordering::Relaxed) < self.queue {
            true => self.send_to_writer(commit),
            false => Err(CommitError::Busy),
        };
        if let Err(refusal) = &sent {
            under_way.fetch_sub(1, Ordering::Relaxed);
            self.shared.figures.refuse(refusal);
        }
        sent
    }

    fn send_to_writer(&self, commit: Commit) -> Result<Waiting, CommitError> {
        let (reply, waiting) = oneshot::channel();
        let message = Message::Commit(Box::new(prepare(commit, reply, (self.shared.ticks)())?));
        let messages = self.messages.as_ref().ok_or_else(stopped)?;
        messages.try_send(message).map_err(|fault| match fault {
            TrySendError::Full(_) => CommitError::Busy,
            TrySendError::Disconnected(_) => stopped(),
        })?;
        Ok(waiting)
    }

    fn readable(&self) -> Result<(), ReadError> {
        match self.shared.stale.get() {
            Some(why) => Err(ReadError::Unavailable(why.clone())),
            None => Ok(()),
        }
    }
}

impl Store for SledStore {
    fn commit(&self, commit: Commit) -> CommitFuture {
        let sent = self.send(commit);
        Box::pin(async move {
            let unknown = || CommitError::Unknown("the store stopped".to_owned());
            sent?.await.unwrap_or_else(|_| Err(unknown()))
        })
    }

    fn head(&self) -> Head {
        self.shared.head()
    }

    fn figures(&self) -> Option<Arc<Figures>> {
        Some(Arc::clone(&self.shared.figures))
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }

    fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.readable()?;
        self.shared.state.organizations(after, limit)
    }

    fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError> {
        self.readable()?;
        self.shared.state.load(id)
    }

    fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        self.readable()?;
        self.shared.state.mark(id)
    }

    fn due(&self, by: Moment, limit: usize) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        self.readable()?;
        self.shared.state.due(by, limit)
    }

    fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.readable()?;
        self.shared.state.memberships(user, after, limit)
    }

    fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.readable()?;
        self.shared.state.notifying(after, limit)
    }

    fn remembered(&self, key: &IdempotencyKey) -> Result<Option<Remembered>, ReadError> {
        self.readable()?;
        self.shared.remembered(key, &keys::digest(key))
    }

    fn events(
        &self,
        organization: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError> {
        self.readable()?;
        let (sequence, index) = before.unwrap_or((Sequence(u64::MAX), u32::MAX));
        // The commit at that place has events before it, unless it is the first.
        let mut end = Sequence(sequence.0.saturating_add(u64::from(index > 0)));
        let mut events: Vec<EventEntry> = Vec::new();
        while events.len() < limit {
            let page = (limit - events.len()).min(PLACES_AT_ONCE);
            let places = self.shared.state.commits(organization, end, page)?;
            let Some((last, _)) = places.last() else {
                break;
            };
            end = *last;
            for (at, place) in &places {
                let commit = self.shared.history.commit(organization, *at, place)?;
                let wanted = |entry: &EventEntry| {
                    before.is_none_or(|before| (entry.sequence, entry.index) < before)
                };
                let left = limit.saturating_sub(events.len());
                events.extend(events_of(&commit).filter(wanted).take(left));
                if events.len() >= limit {
                    break;
                }
            }
        }
        Ok(events)
    }

    fn history(&self, after: Sequence, limit: usize) -> Result<Vec<HistoryEntry>, ReadError> {
        self.shared
            .history
            .read(after, limit, self.shared.head().sequence)
    }

    fn sealed(&self, after: Sequence, bytes: usize) -> Result<Vec<SealedCommit>, ReadError> {
        let end = self.shared.head().sequence;
        self.shared.history.sealed(after, bytes, end)
    }

    fn verify(&self, after: Head, limit: usize) -> Result<Head, ReadError> {
        self.shared
            .history
            .verify(after, limit, &self.shared.head())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let here = current().id();
        let is_writer = |thread: &JoinHandle<()>| thread.thread().id() == here;
        // The last handle may be dropped by an `on_commit`, which can't wait for its own thread.
        let may_wait = !self.writer.as_ref().is_some_and(is_writer) && here != self.finisher;
        drop(self.running.take());
        drop(self.messages.take());
        for thread in [self.clock.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            if may_wait && thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

/// The events of a commit, the last one first.
fn events_of(commit: &HistoryEntry) -> impl Iterator<Item = EventEntry> {
    let numbered = (0_u32..).zip(&commit.events).collect::<Vec<_>>();
    numbered.into_iter().rev().map(|(index, event)| EventEntry {
        sequence: commit.sequence,
        index,
        at: commit.at,
        event: event.clone(),
    })
}

type Waiting = oneshot::Receiver<Result<Sequence, CommitError>>;

/// Does all that needs no order, so that the writer has little left to do.
fn prepare(commit: Commit, reply: finish::Reply, handed_in: u64) -> Result<Request, CommitError> {
    admission::check_shape(&commit)?;
    admission::check_answer(&commit)?;
    admission::check_events(&commit.events)?;
    let entry = admission::seal_entry(&commit)?;
    let writes = Writes::of(&commit.organization, &commit.records, commit.events.len())?;
    let sealed_answer = match &commit.idempotency {
        Some(idempotency) => idempotency.seal().map_err(admission::unwritable)?,
        None => Vec::new(),
    };
    let digest = commit.idempotency.as_ref();
    let digest = digest.map(|idempotency| keys::digest(&idempotency.key));
    Ok(Request {
        organization: commit.organization,
        expected: commit.expected,
        version: commit.version,
        at: commit.at,
        wake_at: commit.wake_at,
        entry,
        writes,
        idempotency: commit.idempotency,
        digest,
        sealed_answer,
        on_commit: commit.on_commit,
        handed_in,
        reply,
    })
}

/// Asks for a checkpoint in each interval until the store is dropped.
fn tick(
    stopped: &Receiver<()>,
    interval: Duration,
    shared: &Shared,
    messages: &SyncSender<Message>,
) {
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        shared.checkpoint_due.store(true, Ordering::Relaxed);
        // A full queue needs no waking.
        let _ = messages.try_send(Message::Wake);
    }
}

fn stopped() -> CommitError {
    CommitError::Unavailable("the store stopped".to_owned())
}
