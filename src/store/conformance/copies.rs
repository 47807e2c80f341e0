//! Copies: the history as it is kept, for backups.

use super::{Fixture, make, with_answer};
use crate::domain::change::RecordChange;
use crate::store::record::{Entry, Stored, link};
use crate::store::samples::{commit, create, events_only, put_member};
use crate::store::{Head, Idempotency, SealedCommit, Sequence, Store};

/// Everything after `after`, fetched so many bytes at a time.
fn fetched(store: &impl Store, after: Sequence, bytes: usize) -> Vec<SealedCommit> {
    let mut all: Vec<SealedCommit> = Vec::new();
    loop {
        let last = all.last().map_or(after, |commit| commit.sequence);
        let some = store.sealed(last, bytes).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

pub fn a_copy_is_the_history_as_it_is_kept<F: Fixture>() {
    let (place, store) = F::fresh();
    assert!(store.sealed(Sequence(0), 1).unwrap().is_empty());
    make(&*store, with_answer(create("a"), "r", 2_000)).unwrap();
    make(&*store, create("b")).unwrap();
    make(&*store, events_only("a", Some(1), 0, 3)).unwrap();
    make(&*store, commit("a", Some(1), 2, vec![put_member("u", 2)])).unwrap();
    let gone = vec![RecordChange::DeleteOrganization];
    make(&*store, commit("b", Some(1), 2, gone)).unwrap();
    let store = place.reopen(store);

    let all = fetched(&*store, Sequence(0), usize::MAX);
    let mut head = Head::default();
    for (copied, entry) in all.iter().zip(store.history(Sequence(0), 100).unwrap()) {
        head = Head {
            sequence: Sequence(head.sequence.0 + 1),
            chain: link(&head.chain, &copied.entry),
        };
        assert_eq!((copied.sequence, copied.chain), (head.sequence, head.chain));
        assert_eq!(Entry::unseal(&copied.entry).unwrap(), Entry::from(entry));
    }
    assert_eq!(head, store.head());
    assert_eq!(all.len(), 5);
    let answer = Idempotency::unseal(&all[0].answer).unwrap();
    assert_eq!(answer.key.request_id, "r");
    assert!(all[1..].iter().all(|copied| copied.answer.is_empty()));

    for bytes in [0, 1, 300, 10_000] {
        assert_eq!(
            fetched(&*store, Sequence(0), bytes),
            all,
            "{bytes} at a time"
        );
        assert_eq!(fetched(&*store, Sequence(3), bytes), all[3..]);
    }
    assert_eq!(store.sealed(Sequence(0), 0).unwrap(), all[..1]);
    assert!(store.sealed(Sequence(5), 1).unwrap().is_empty());
    assert!(store.sealed(Sequence(u64::MAX), 1).unwrap().is_empty());
    assert_eq!(store.condition().refusal, None);
}
