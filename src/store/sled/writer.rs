//! The one thread that writes: group commit.
//!
//! It takes all commits that wait (up to [`MAX_GROUP`] and [`MAX_WEIGHT`]), decides each against the state and those before
//! it in the group or on their way to sled, appends the accepted ones to the journal in
//! one write and calls `fdatasync` once. What follows ([`finish`]) may happen while the
//! next group is written. Refusals wait for that too: they may rest on a commit of the
//! same group, which must have happened when its consequences are told.
//!
//! When the journal can't be trusted any more (a failed `fdatasync`, bytes that
//! could not be taken back), the store stays open for reading and refuses every
//! write until it is opened again.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::apply::{Settled, Writes};
use super::finish::{Durable, Reply, finish};
use super::frame::Frame;
use super::history::History;
use super::journal::{AppendError, Appended, Journal};
use super::keys::AnswerDigest;
use super::marks::{CommitPlace, Wake};
use super::place::{free_bytes, size_of};
use super::state::State;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Version};
use crate::store::figures::{Condition, Figures, Ticks};
use crate::store::record::link;
use crate::store::{
    CommitError, Head, Idempotency, IdempotencyKey, OnCommit, ReadError, Remembered, Sequence,
    admission, failpoint,
};

/// The most commits in one group.
const MAX_GROUP: usize = 256;

/// How heavy a group may become, by [`Writes::weight`], before the next one begins.
const MAX_WEIGHT: usize = 1024;

/// What the thread is sent.
pub(super) enum Message {
    /// A commit to make.
    Commit(Box<Request>),
    /// Nothing; a checkpoint may be due.
    Wake,
}

/// A commit with everything computed that does not need the writer.
pub(super) struct Request {
    pub organization: OrganizationId,
    pub expected: Option<Version>,
    pub version: Version,
    pub at: Moment,
    pub wake_at: Option<Moment>,
    /// The sealed history entry.
    pub entry: Vec<u8>,
    pub writes: Writes,
    pub idempotency: Option<Idempotency>,
    /// Names the request, if there is an answer to remember.
    pub digest: Option<AnswerDigest>,
    /// The sealed answer to remember; empty if there is none.
    pub sealed_answer: Vec<u8>,
    pub on_commit: OnCommit,
    /// When it was handed in.
    pub handed_in: u64,
    pub reply: Reply,
}

/// What the writer shares with those who read.
pub(super) struct Shared {
    pub state: State,
    pub history: History,
    pub head: Mutex<Head>,
    /// Why no writes are taken any more.
    pub closed: OnceLock<String>,
    /// Why sled lags behind the history and can't be read.
    pub stale: OnceLock<String>,
    pub minimum_free: AtomicU64,
    pub figures: Arc<Figures>,
    pub ticks: Ticks,
    /// The last commit that sled has.
    pub applied: AtomicU64,
    /// How many commits were sent and are not answered yet.
    pub under_way: AtomicUsize,
    pub checkpoint_due: AtomicBool,
    pub directory: File,
    /// Where it is.
    pub path: PathBuf,
    /// Last, so that it is let go after everything else is closed.
    pub _lock: File,
}

/// The thread's own.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub journal: Journal,
    /// The end of the journal.
    pub head: Head,
    pub checkpoint_bytes: u64,
    /// Bytes appended since the last checkpoint.
    pub unchecked_bytes: u64,
    /// Where durable groups go while others wait, and who finishes them there.
    pub finisher: Option<(SyncSender<Durable>, JoinHandle<()>)>,
    /// Groups on their way to sled, which does not know of their commits yet.
    pub ahead: VecDeque<Ahead>,
}

/// What a group changed.
#[derive(Default)]
pub(super) struct Ahead {
    end: Sequence,
    versions: HashMap<OrganizationId, Option<Version>>,
    answers: HashMap<AnswerDigest, Remembered>,
}

/// What becomes of a request.
enum Verdict {
    Accepted(Box<Settled>),
    Refused(CommitError),
}

/// A group on its way.
#[derive(Default)]
struct Group {
    frames: Vec<u8>,
    head: Head,
    changed: Ahead,
}

impl Shared {
    /// Where the published history ends.
    pub fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more writes.
    pub fn close(&self, why: String) {
        tracing::error!(why, "the store takes no more writes");
        let _ = self.closed.set(why);
    }

    /// The answer remembered for a request.
    pub fn remembered(
        &self,
        key: &IdempotencyKey,
        digest: &AnswerDigest,
    ) -> Result<Option<Remembered>, ReadError> {
        let id = &key.organization;
        let Some(kept) = self.state.answer(id, digest)? else {
            return Ok(None);
        };
        let place = self.state.commit(id, kept.sequence)?.ok_or_else(|| {
            let number = kept.sequence.0;
            ReadError::Damaged(format!("the place of commit {number} of `{id}` is missing"))
        })?;
        self.history.answer(key, kept.sequence, &place).map(Some)
    }

    /// How the store is.
    pub fn condition(&self) -> Condition {
        let free_bytes = free_bytes(&self.directory).ok();
        let minimum_free_bytes = self.minimum_free.load(Ordering::Relaxed);
        let is_full = free_bytes.is_some_and(|free| free < minimum_free_bytes);
        let full = is_full.then_some(CommitError::Full);
        Condition {
            refusal: self.refusal().or(full).map(|refusal| refusal.to_string()),
            can_be_read: self.stale.get().is_none(),
            under_way: self.under_way.load(Ordering::Relaxed),
            // What is being moved while it is counted counts next time.
            size_bytes: size_of(&self.path).unwrap_or_default(),
            free_bytes,
            minimum_free_bytes,
        }
    }

    /// The error for writes, if none are taken any more.
    pub fn refusal(&self) -> Option<CommitError> {
        self.closed
            .get()
            .map(|why| CommitError::Unavailable(why.clone()))
    }
}

impl Writer {
    /// Serves until nobody can send any more and everything that waited is answered.
    pub fn run(mut self, messages: &Receiver<Message>) {
        let mut waiting = None;
        while let Some(message) = waiting.take().or_else(|| messages.recv().ok()) {
            let requests = gather(message, messages, &mut waiting);
            // Another may have come meanwhile; then it should not have to wait for sled.
            waiting = waiting.or_else(|| messages.try_recv().ok());
            if !requests.is_empty() {
                self.serve(requests, waiting.is_some());
            }
            let due = self.shared.checkpoint_due.swap(false, Ordering::Relaxed);
            if due || self.unchecked_bytes >= self.checkpoint_bytes {
                self.checkpoint();
            }
        }
        if let Some((groups, finisher)) = self.finisher.take() {
            drop(groups);
            if finisher.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        self.checkpoint();
    }

    fn serve(&mut self, mut requests: Vec<Request>, others_wait: bool) {
        if let Some(refusal) = self.shared.refusal().or_else(|| self.full()) {
            return self.refuse_all(requests, &refusal);
        }
        let applied = Sequence(self.shared.applied.load(Ordering::Acquire));
        while self.ahead.front().is_some_and(|ahead| ahead.end <= applied) {
            self.ahead.pop_front();
        }
        // Also what was sent to the other thread must have been published before.
        let alone = !others_wait && self.shared.head() == self.head;
        let mut group = Group {
            head: self.head,
            ..Group::default()
        };
        let verdicts: Vec<_> = requests
            .iter_mut()
            .map(|request| self.decide(request, &mut group))
            .collect();
        let start = match self.append(&group) {
            Ok(start) => start,
            Err(refusal) => return self.refuse_all(requests, &refusal),
        };
        let durable = sort(requests, verdicts, start);
        let sent = match self.finisher.as_ref().filter(|_| !alone) {
            Some((groups, _)) => groups.send(durable).map_err(|unsent| unsent.0),
            None => Err(durable),
        };
        match sent {
            Ok(()) => {
                group.changed.end = group.head.sequence;
                self.ahead.push_back(group.changed);
            }
            Err(durable) => finish(&self.shared, durable),
        }
    }

    fn refuse_all(&self, requests: Vec<Request>, refusal: &CommitError) {
        for request in requests {
            let refusal = match refusal {
                CommitError::Full => CommitError::Full,
                CommitError::Unknown(why) => CommitError::Unknown(why.clone()),
                CommitError::Unavailable(why) => CommitError::Unavailable(why.clone()),
                other => CommitError::Unavailable(other.to_string()),
            };
            self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
            self.shared.figures.refuse(&refusal);
            let _ = request.reply.send(Err(refusal));
        }
    }

    /// What was changed on the way to sled, the last first: by this group and by those before.
    fn ahead<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Ahead> {
        std::iter::once(&group.changed).chain(self.ahead.iter().rev())
    }

    fn full(&self) -> Option<CommitError> {
        let minimum = self.shared.minimum_free.load(Ordering::Relaxed);
        match free_bytes(&self.shared.directory) {
            Ok(free) => (free < minimum).then_some(CommitError::Full),
            Err(fault) => Some(CommitError::Unavailable(fault.to_string())),
        }
    }

    fn decide(&self, request: &mut Request, group: &mut Group) -> Verdict {
        match self.admit(request, group) {
            Ok(()) => Verdict::Accepted(Box::new(group.add(request, self.head))),
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    fn admit(&self, request: &Request, group: &Group) -> Result<(), CommitError> {
        let state = &self.shared.state;
        let unreadable = |fault: ReadError| CommitError::Unavailable(fault.to_string());
        let remembered = match (&request.idempotency, &request.digest) {
            (Some(idempotency), Some(digest)) => match self
                .ahead(group)
                .find_map(|ahead| ahead.answers.get(digest))
            {
                Some(remembered) => Some(remembered.clone()),
                None => {
                    let remembered = self.shared.remembered(&idempotency.key, digest);
                    remembered.map_err(unreadable)?
                }
            },
            _ => None,
        };
        admission::recognise(request.at, remembered)?;
        if !request.writes.change_anything() {
            return Ok(());
        }
        let current = match self
            .ahead(group)
            .find_map(|ahead| ahead.versions.get(&request.organization))
        {
            Some(version) => *version,
            None => {
                let mark = state
                    .organization(&request.organization)
                    .map_err(unreadable)?;
                mark.map(|mark| mark.version)
            }
        };
        admission::guard(request.expected, current)
    }

    /// Makes the frames of a group durable. Answers where in their segment they begin.
    fn append(&mut self, group: &Group) -> Result<u64, CommitError> {
        if group.frames.is_empty() {
            return Ok(0);
        }
        let figures = &self.shared.figures;
        let began = (self.shared.ticks)();
        match self.journal.append(&self.head, &group.frames) {
            Ok(Appended { offset, begun }) => {
                let commits = group.head.sequence.0.saturating_sub(self.head.sequence.0);
                figures
                    .writes
                    .observe((self.shared.ticks)().saturating_sub(began));
                figures.groups.observe(commits);
                figures.bytes.add(group.frames.len() as u64);
                if let Some(segment) = begun {
                    self.shared.history.add(segment);
                }
                self.head = group.head;
                self.unchecked_bytes = self
                    .unchecked_bytes
                    .saturating_add(group.frames.len() as u64);
                Ok(offset)
            }
            Err(AppendError::Nothing(fault)) if is_full(&fault) => Err(CommitError::Full),
            Err(AppendError::Nothing(fault)) => Err(CommitError::Unavailable(fault.to_string())),
            Err(AppendError::Unknown(fault)) => {
                self.shared.close(format!("the journal failed: {fault}"));
                Err(CommitError::Unknown(fault.to_string()))
            }
        }
    }

    /// Makes sled durable, so that little has to be replayed and lost history shows.
    fn checkpoint(&mut self) {
        if self.unchecked_bytes == 0 || self.shared.stale.get().is_some() {
            return;
        }
        self.unchecked_bytes = 0;
        let state = &self.shared.state;
        let checked = failpoint::reach("checkpoint")
            .and_then(|()| state.flush())
            .and_then(|()| Ok(state.is_in_place()? && self.journal.is_in_place()?));
        match checked {
            Ok(true) => tracing::debug!(sequence = self.head.sequence.0, "checkpoint"),
            Ok(false) => self
                .shared
                .close("the data directory was removed or replaced".to_owned()),
            Err(fault) => self.shared.close(format!("a checkpoint failed: {fault}")),
        }
    }
}

impl Group {
    /// Gives an accepted request its place in the history.
    fn add(&mut self, request: &mut Request, start: Head) -> Settled {
        self.head = Head {
            sequence: Sequence(self.head.sequence.0.saturating_add(1)),
            chain: link(&self.head.chain, &request.entry),
        };
        let frame = Frame {
            sequence: self.head.sequence,
            group: Sequence(start.sequence.0.saturating_add(1)),
            chain: self.head.chain,
            entry: &request.entry,
            answer: &request.sealed_answer,
        };
        let offset = self.frames.len() as u64;
        let hash = frame.write(&mut self.frames);
        if request.writes.change_anything() {
            let exists = request.writes.exists_after();
            self.changed.versions.insert(
                request.organization.clone(),
                exists.then_some(request.version),
            );
        }
        let mut answer = None;
        if let (Some(kept), Some(digest)) = (request.idempotency.take(), request.digest) {
            answer = Some((digest, kept.expires_at));
            let remembered = Remembered {
                fingerprint: kept.fingerprint,
                sequence: self.head.sequence,
                outcome: kept.outcome,
                expires_at: kept.expires_at,
            };
            self.changed.answers.insert(digest, remembered);
        }
        Settled {
            head: self.head,
            place: CommitPlace::new(offset, &hash),
            organization: request.organization.clone(),
            version: request.version,
            at: request.at,
            wake: Wake::At(request.wake_at),
            writes: std::mem::take(&mut request.writes),
            answer,
        }
    }
}

/// All requests that wait and fit into one group with the first; the one too many goes to `waiting`.
fn gather(
    first: Message,
    messages: &Receiver<Message>,
    waiting: &mut Option<Message>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut weight = 0_usize;
    let mut next = Some(first);
    while let Some(message) = next {
        if let Message::Commit(request) = message {
            weight = weight.saturating_add(request.writes.weight());
            if !requests.is_empty() && weight > MAX_WEIGHT {
                *waiting = Some(Message::Commit(request));
                return requests;
            }
            requests.push(*request);
        }
        next = if requests.len() < MAX_GROUP {
            messages.try_recv().ok()
        } else {
            None
        };
    }
    requests
}

/// What is applied, and what is then published and answered in this order. The frames
/// of the group begin at `start`.
fn sort(requests: Vec<Request>, verdicts: Vec<Verdict>, start: u64) -> Durable {
    let mut durable = Durable::default();
    for (request, verdict) in requests.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Accepted(mut accepted) => {
                let place = &mut accepted.place;
                place.offset = place.offset.saturating_add(start);
                let published = (accepted.head, request.on_commit);
                durable
                    .answers
                    .push((request.reply, Ok(published), request.handed_in));
                durable.settled.push(*accepted);
            }
            Verdict::Refused(refusal) => {
                durable
                    .answers
                    .push((request.reply, Err(refusal), request.handed_in));
            }
        }
    }
    durable
}

fn is_full(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
