//! A store in memory that counts what is read of it, and whose readings and commits a
//! test holds back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use roster::domain::identifiers::{OrganizationId, UserId};
use roster::domain::organization::{Moment, Organization, Version};
use roster::store::memory::MemoryStore;
use roster::store::{
    Commit, CommitError, CommitFuture, Condition, EventEntry, Head, HistoryEntry, IdempotencyKey,
    ReadError, Remembered, SealedCommit, Sequence, Store,
};
use tokio::sync::oneshot;

type Answer = oneshot::Sender<Result<Sequence, CommitError>>;

/// See the module.
#[derive(Default)]
pub struct WatchedStore {
    inner: MemoryStore,
    reads: AtomicUsize,
    loads: AtomicUsize,
    /// What those who have read an organization wait for before they have it.
    pub gate: Gate,
    held: Mutex<Option<Vec<(Commit, Answer)>>>,
    damaged: Mutex<Option<String>>,
}

/// Closed, it keeps threads waiting.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    pub fn close(&self) {
        self.state.lock().expect("a gate").closed = true;
    }

    pub fn open(&self) {
        self.state.lock().expect("a gate").closed = false;
        self.changed.notify_all();
    }

    /// Waits until somebody waits.
    pub async fn until_somebody_waits(self: &Gate) {
        while self.state.lock().expect("a gate").waiting == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("a gate");
        state.waiting += 1;
        while state.closed {
            state = self.changed.wait(state).expect("a gate");
        }
        state.waiting -= 1;
    }
}

impl WatchedStore {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How often an organization was read.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// How often anything was read.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Makes every record of an organization unreadable.
    pub fn damage(&self, organization: &str) {
        *self.damaged.lock().expect("a lock") = Some(organization.to_owned());
    }

    /// Keeps commits from being made from now on.
    pub fn hold_commits(&self) {
        *self.held.lock().expect("a lock") = Some(Vec::new());
    }

    /// Waits until so many commits are held.
    pub async fn until_held(&self, count: usize) {
        let held = || {
            self.held
                .lock()
                .expect("a lock")
                .as_ref()
                .map_or(0, Vec::len)
        };
        while held() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Makes the commits that were held, and holds no more.
    pub async fn release_commits(&self) {
        let held = self.held.lock().expect("a lock").take();
        for (commit, answer) in held.unwrap_or_default() {
            let made = self.inner.commit(commit).await;
            // Whoever asked may have gone away.
            drop(answer.send(made));
        }
    }

    fn read(&self) -> &MemoryStore {
        self.reads.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

impl Store for WatchedStore {
    fn commit(&self, commit: Commit) -> CommitFuture {
        let mut held = self.held.lock().expect("a lock");
        let Some(held) = held.as_mut() else {
            return self.inner.commit(commit);
        };
        let (answer, waiting) = oneshot::channel();
        held.push((commit, answer));
        Box::pin(async move { waiting.await.expect("it is answered") })
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.read().organizations(after, limit)
    }

    fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.damaged.lock().expect("a lock").as_deref() == Some(id.as_str()) {
            return Err(ReadError::Damaged("a member".to_owned()));
        }
        let loaded = self.read().load(id);
        self.gate.pass();
        loaded
    }

    fn due(&self, by: Moment, limit: usize) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        self.read().due(by, limit)
    }

    fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.read().memberships(user, after, limit)
    }

    fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.read().notifying(after, limit)
    }

    fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        self.read().mark(id)
    }

    fn remembered(&self, key: &IdempotencyKey) -> Result<Option<Remembered>, ReadError> {
        self.read().remembered(key)
    }

    fn events(
        &self,
        organization: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError> {
        self.read().events(organization, before, limit)
    }

    fn history(&self, after: Sequence, limit: usize) -> Result<Vec<HistoryEntry>, ReadError> {
        self.read().history(after, limit)
    }

    fn sealed(&self, after: Sequence, bytes: usize) -> Result<Vec<SealedCommit>, ReadError> {
        self.read().sealed(after, bytes)
    }

    fn condition(&self) -> Condition {
        self.read().condition()
    }

    fn verify(&self, after: Head, limit: usize) -> Result<Head, ReadError> {
        self.read().verify(after, limit)
    }
}
