//! Events: read by organization, alone in a commit, and what verifies them all.

use std::sync::{Arc, Mutex};

use super::{Fixture, everything, make, run, with_answer};
use crate::domain::change::RecordChange;
use crate::domain::organization::{Organization, Version};
use crate::store::samples::{
    self, commit, create, events_only, key, organization, put_member, put_profile,
};
use crate::store::{CommitError, EventEntry, Head, ReadError, Sequence, Store};

/// What `events` should answer, from the history.
fn expected(store: &impl Store, id: &str) -> Vec<EventEntry> {
    let mut events = Vec::new();
    for entry in store.history(Sequence(0), usize::MAX).unwrap() {
        if entry.organization == organization(id) {
            events.extend((0..).zip(entry.events).map(|(index, event)| EventEntry {
                sequence: entry.sequence,
                index,
                at: entry.at,
                event,
            }));
        }
    }
    events.reverse();
    events
}

fn all(store: &impl Store, id: &str) -> Vec<EventEntry> {
    store.events(&organization(id), None, usize::MAX).unwrap()
}

pub fn the_events_of_an_organization_are_paged_newest_first<F: Fixture>() {
    let (place, store) = F::fresh();
    for id in ["a", "ab", "a\0", "a\0\u{1}"] {
        make(&*store, create(id)).unwrap();
    }
    for round in 0..4 {
        make(&*store, events_only("ab", Some(1), 0, 2)).unwrap();
        make(&*store, events_only("a", Some(1), round * 3, 3)).unwrap();
    }
    let store = place.reopen(store);
    for id in ["a", "ab", "a\0", "a\0\u{1}"] {
        assert_eq!(all(&*store, id), expected(&*store, id), "{id:?}");
    }
    let whole = expected(&*store, "a");
    assert_eq!(whole.len(), 13);
    let id = organization("a");
    for limit in 1..=whole.len() + 1 {
        let mut seen: Vec<EventEntry> = Vec::new();
        loop {
            let before = seen.last().map(|last| (last.sequence, last.index));
            let page = store.events(&id, before, limit).unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, whole, "pages of {limit}");
    }
    // The place to go on from need not be that of an event of the organization.
    for before in [
        (Sequence(0), 0),
        (Sequence(1), 0),
        (Sequence(5), 1),
        (Sequence(6), u32::MAX),
        (Sequence(u64::MAX), u32::MAX),
    ] {
        let rest = whole
            .iter()
            .filter(|entry| (entry.sequence, entry.index) < before);
        let rest: Vec<_> = rest.cloned().collect();
        assert_eq!(store.events(&id, Some(before), 100).unwrap(), rest);
    }
    assert!(store.events(&id, None, 0).unwrap().is_empty());
    assert!(all(&*store, "nobody").is_empty());
}

pub fn events_stay_when_their_organization_goes<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    make(&*store, events_only("a", Some(1), 0, 2)).unwrap();
    let gone = vec![RecordChange::DeleteOrganization];
    make(&*store, commit("a", Some(1), 2, gone)).unwrap();
    let store = place.reopen(store);
    assert!(store.load(&organization("a")).unwrap().is_none());
    assert_eq!(all(&*store, "a").len(), 4);
    assert_eq!(all(&*store, "a"), expected(&*store, "a"));

    make(&*store, create("a")).unwrap();
    assert_eq!(all(&*store, "a").len(), 5);
    assert_eq!(all(&*store, "a"), expected(&*store, "a"));
}

pub fn many_events_come_with_one_commit<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    make(&*store, events_only("a", Some(1), 0, 1_000)).unwrap();
    let mut bulk = events_only("a", Some(1), 0, 1_000);
    bulk.version = Version(2);
    bulk.records = (0..300)
        .map(|user| put_member(&format!("u{user}"), 2))
        .collect();
    // All in flight at once, so that they may share a group.
    let futures = [
        store.commit(bulk),
        store.commit(events_only("a", Some(2), 0, 100)),
        store.commit(events_only("a", Some(2), 0, 100)),
        store.commit(events_only("a", Some(2), 0, 100)),
    ];
    for future in futures {
        run(future).unwrap();
    }
    assert_eq!(all(&*store, "a"), expected(&*store, "a"));
    let store = place.reopen(store);
    assert_eq!(all(&*store, "a"), expected(&*store, "a"));
    assert_eq!(all(&*store, "a").len(), 2_301);
    let (loaded, sequence) = store.load(&organization("a")).unwrap().unwrap();
    assert_eq!((loaded.members.len(), sequence), (301, Sequence(3)));
}

pub fn events_alone_change_nothing<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    make(&*store, create("b")).unwrap();
    for sequence in 3..6 {
        let only = events_only("a", Some(1), 0, 1);
        assert_eq!(make(&*store, only).unwrap(), Sequence(sequence));
    }
    let store = place.reopen(store);
    let (loaded, sequence) = store.load(&organization("a")).unwrap().unwrap();
    assert_eq!((loaded.version, sequence), (Version(1), Sequence(1)));
    let history = store.history(Sequence(2), 9).unwrap();
    assert_eq!(history.len(), 3);
    assert!(history.iter().all(|entry| entry.version == Version(1)));
    // What is decided on the version before is no conflict.
    make(&*store, commit("a", Some(1), 2, vec![put_member("u", 2)])).unwrap();
}

pub fn events_need_no_organization<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, events_only("nowhere", None, 0, 2)).unwrap();
    let store = place.reopen(store);
    assert!(store.organizations(None, 9).unwrap().is_empty());
    assert!(store.load(&organization("nowhere")).unwrap().is_none());
    assert_eq!(all(&*store, "nowhere").len(), 2);
    assert_eq!(all(&*store, "nowhere"), expected(&*store, "nowhere"));
    let entry = &store.history(Sequence(0), 9).unwrap()[0];
    assert_eq!((entry.version, entry.records.len()), (Version(0), 0));
    make(&*store, create("nowhere")).unwrap();
}

pub fn events_alone_are_recorded_whatever_happened_meanwhile<F: Fixture>() {
    let (_place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    make(&*store, commit("a", Some(1), 2, vec![put_member("u", 2)])).unwrap();
    for stale in [None, Some(1), Some(2), Some(7)] {
        make(&*store, events_only("a", stale, 0, 1)).unwrap();
    }
    let (loaded, sequence) = store.load(&organization("a")).unwrap().unwrap();
    assert_eq!((loaded.version, sequence), (Version(2), Sequence(2)));

    // Also in one group with what changes the organization.
    let futures = [
        store.commit(commit("a", Some(2), 3, vec![put_member("u", 3)])),
        store.commit(events_only("a", Some(2), 0, 1)),
        store.commit(commit("a", Some(3), 4, vec![put_member("u", 4)])),
        store.commit(commit(
            "a",
            Some(4),
            5,
            vec![RecordChange::DeleteOrganization],
        )),
        store.commit(events_only("a", Some(4), 0, 1)),
        store.commit(commit("a", None, 6, vec![put_profile("a", "again", 6)])),
    ];
    for future in futures {
        run(future).unwrap();
    }
    let (loaded, sequence) = store.load(&organization("a")).unwrap().unwrap();
    assert_eq!((loaded.version, sequence), (Version(6), Sequence(12)));
    assert_eq!(all(&*store, "a").len(), 12);
}

pub fn events_alone_are_remembered_and_published<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let heard = Arc::new(Mutex::new(None));
    let witness = Arc::clone(&heard);
    let mut only = with_answer(events_only("a", Some(1), 0, 1), "r", 2_000);
    only.on_commit = Box::new(move |sequence| *witness.lock().unwrap() = Some(sequence));
    assert_eq!(make(&*store, only).unwrap(), Sequence(2));
    assert_eq!(*heard.lock().unwrap(), Some(Sequence(2)));
    let store = place.reopen(store);
    let remembered = store.remembered(&key("a", "r")).unwrap().unwrap();
    assert_eq!(remembered.sequence, Sequence(2));
    let again = with_answer(events_only("a", Some(1), 0, 1), "r", 2_000);
    assert!(matches!(
        make(&*store, again),
        Err(CommitError::AlreadyDone(_))
    ));
    assert_eq!(store.head().sequence, Sequence(2));
}

pub fn a_commit_that_says_nothing_is_refused<F: Fixture>() {
    let (_place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let before = everything(&*store);
    let mut silent = commit("a", Some(1), 2, vec![put_member("u", 2)]);
    silent.events.clear();
    let mut empty = events_only("a", Some(1), 0, 1);
    empty.events.clear();
    let mut moving = events_only("a", Some(1), 0, 1);
    moving.version = Version(2);
    let mut founding = events_only("b", None, 0, 1);
    founding.version = Version(1);
    for refused in [silent, empty, moving, founding] {
        assert!(matches!(
            make(&*store, refused),
            Err(CommitError::Unavailable(_))
        ));
    }
    assert_eq!(everything(&*store), before);
}

pub fn the_history_is_verified_page_by_page<F: Fixture>() {
    let (place, store) = F::fresh();
    assert_eq!(store.verify(Head::default(), 9).unwrap(), Head::default());
    for number in 0..20 {
        make(&*store, create(&format!("o{number}"))).unwrap();
        make(&*store, events_only("x", None, 0, 1)).unwrap();
    }
    verifies_in_pages(&*store);
    verifies_in_pages(&*place.reopen(store));
}

fn verifies_in_pages(store: &impl Store) {
    let history = store.history(Sequence(0), 100).unwrap();
    for limit in [1, 7, 40, 41, usize::MAX] {
        let mut head = Head::default();
        while head != store.head() {
            let next = store.verify(head, limit).unwrap();
            let reached = &history[next.sequence.0 as usize - 1];
            assert_eq!(
                (reached.sequence, reached.chain),
                (next.sequence, next.chain)
            );
            let step = next.sequence.0 - head.sequence.0;
            assert!(step > 0 && step as usize <= limit);
            head = next;
        }
        assert_eq!(store.verify(head, limit).unwrap(), head);
    }
    assert_eq!(store.verify(Head::default(), 0).unwrap(), Head::default());
}

pub fn a_head_of_another_history_is_not_verified<F: Fixture>() {
    let (_place, store) = F::fresh();
    for id in ["a", "b", "c"] {
        make(&*store, create(id)).unwrap();
    }
    for sequence in 0..6 {
        let other = Head {
            sequence: Sequence(sequence),
            chain: [7; 32],
        };
        for limit in [1, 9] {
            let refused = store.verify(other, limit);
            assert!(
                matches!(refused, Err(ReadError::Damaged(_))),
                "{sequence}: {refused:?}"
            );
        }
    }
}

pub fn a_deleted_organization_leaves_none_of_any_kind<F: Fixture>() {
    let (place, store) = F::fresh();
    let records = samples::changes_that_stay("text");
    make(&*store, commit("o", None, 1, records)).unwrap();
    let gone = vec![RecordChange::DeleteOrganization];
    make(&*store, commit("o", Some(1), 2, gone)).unwrap();
    let profile = samples::profile("o", "again", 3);
    make(
        &*store,
        commit("o", None, 3, vec![put_profile("o", "again", 3)]),
    )
    .unwrap();
    let store = place.reopen(store);
    let expected = Organization::empty(Arc::new(profile), Version(3));
    super::assert_loads(&*store, &expected, Sequence(3));
}
