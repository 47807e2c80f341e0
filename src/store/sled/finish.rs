//! What follows once a group of commits is durable: sled, publication, answers.
//!
//! Under load a thread of its own does it, so that the journal makes the next group
//! durable meanwhile; it takes all groups that wait at once, because the leaves that
//! they share are then written once. When nobody else waits, the writer does it itself,
//! which saves a single caller the way through another thread.
//!
//! It is one place because the order counts: a commit is published when sled has it, so
//! that whoever heard of it can read it, and answered when it is published. When sled
//! fails, the commits are made nevertheless: they are published and answered, and
//! replayed at the next start; until then the store can't be read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::apply::Settled;
use super::writer::Shared;
use crate::store::{CommitError, Head, OnCommit, Sequence, failpoint};

/// How many commits are applied at once, if so many wait.
const MOST_AT_ONCE: usize = 512;

/// Where an answer goes.
pub(super) type Reply = oneshot::Sender<Result<Sequence, CommitError>>;

/// What is published and answered, and when it was handed in.
pub(super) type Answer = (Reply, Result<(Head, OnCommit), CommitError>, u64);

/// A group that is durable.
#[derive(Default)]
pub(super) struct Durable {
    /// What is applied, in order.
    pub settled: Vec<Settled>,
    /// What is then published and answered, in order.
    pub answers: Vec<Answer>,
}

/// Finishes groups until no more can come.
pub(super) fn run(shared: &Arc<Shared>, groups: &Receiver<Durable>) {
    while let Ok(mut group) = groups.recv() {
        while group.settled.len() < MOST_AT_ONCE
            && let Ok(mut more) = groups.try_recv()
        {
            group.settled.append(&mut more.settled);
            group.answers.append(&mut more.answers);
        }
        finish(shared, group);
    }
}

/// Applies, publishes and answers.
pub(super) fn finish(shared: &Shared, group: Durable) {
    if shared.stale.get().is_none()
        && let Err(fault) = shared.state.apply(&group.settled)
    {
        let _ = shared.stale.set(fault.to_string());
        shared.close(format!("the database failed: {fault}"));
    }
    if let Some(last) = group.settled.last() {
        shared
            .applied
            .store(last.head.sequence.0, Ordering::Release);
    }
    for (reply, outcome, handed_in) in group.answers {
        let answer = outcome.map(|(head, on_commit)| publish(shared, head, on_commit));
        match &answer {
            Ok(_) => {
                let took = (shared.ticks)().saturating_sub(handed_in);
                shared.figures.visible.observe(took);
                shared.figures.commits.add(1);
            }
            Err(refusal) => shared.figures.refuse(refusal),
        }
        // A step that can't fail, only be the last one.
        let _ = failpoint::reach("answer");
        shared.under_way.fetch_sub(1, Ordering::Relaxed);
        // Whoever no longer waits for the answer has dropped its future.
        let _ = reply.send(answer);
    }
}

fn publish(shared: &Shared, head: Head, on_commit: OnCommit) -> Sequence {
    // As with answers.
    let _ = failpoint::reach("publish");
    // What publishes is foreign code: its panic is its own, the commit is made.
    if catch_unwind(AssertUnwindSafe(|| on_commit(head.sequence))).is_err() {
        tracing::error!(sequence = head.sequence.0, "publishing a commit panicked");
    }
    *shared.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    head.sequence
}
