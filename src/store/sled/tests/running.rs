//! What happens to a store while it runs: full disks, failing writes, rivals, haste.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use super::*;
use crate::domain::organization::Moment;
use crate::store::conformance::{everything, make};
use crate::store::samples::{
    commit, create, events_only, idempotency, key, organization, put_member, put_profile,
};

#[test]
fn a_second_open_of_the_same_directory_is_refused_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let hasty = OpenOptions {
        lock_wait: Duration::ZERO,
        ..options()
    };
    let refused = refusal(directory.path(), hasty.clone());
    assert!(matches!(refused, OpenError::InUse(_)));
    assert!(
        refused
            .to_string()
            .contains(&format!("`{}`", directory.path().display()))
    );
    make(&store, create("a")).unwrap();
    drop(store);
    assert_eq!(open(directory.path()).head().sequence, Sequence(1));
}

#[test]
fn a_store_that_is_let_go_in_time_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let path = directory.path().to_owned();
    let second = std::thread::spawn(move || open(&path).head());
    drop(store);
    assert_eq!(second.join().unwrap(), Head::default());
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    make(&store, create("a")).unwrap();
    let before = everything(&store);
    store.shared.minimum_free.store(u64::MAX, Ordering::Relaxed);
    assert!(matches!(make(&store, create("b")), Err(CommitError::Full)));
    assert_eq!(everything(&store), before);
    store.shared.minimum_free.store(0, Ordering::Relaxed);
    assert_eq!(make(&store, create("b")).unwrap(), Sequence(2));
    drop(store);

    let careful = OpenOptions {
        minimum_free_bytes: Some(u64::MAX),
        ..options()
    };
    let store = SledStore::open(directory.path(), careful).unwrap();
    assert!(store.load(&organization("b")).unwrap().is_some());
    assert!(matches!(make(&store, create("c")), Err(CommitError::Full)));
}

#[test]
fn a_write_that_fails_half_way_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    make(&store, create("a")).unwrap();
    let before = everything(&store);
    let journal = fs::read(last_segment(directory.path())).unwrap();
    for kind in [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::Other,
    ] {
        *store.shared.state.faults.append.lock().unwrap() = Some(kind);
        let refused = make(&store, create("b")).unwrap_err();
        match kind {
            ErrorKind::Other => assert!(matches!(refused, CommitError::Unavailable(_))),
            _ => assert!(matches!(refused, CommitError::Full)),
        }
        assert_eq!(fs::read(last_segment(directory.path())).unwrap(), journal);
        assert_eq!(everything(&store), before);
    }
    assert_eq!(make(&store, create("b")).unwrap(), Sequence(2));
    drop(store);
    assert_eq!(open(directory.path()).head().sequence, Sequence(2));
}

#[test]
fn a_segment_whose_first_write_failed_is_still_part_of_the_history() {
    let directory = tempfile::tempdir().unwrap();
    // Any segment with a commit in it is full, an empty one isn't.
    let small = OpenOptions {
        segment_bytes: 200,
        ..options()
    };
    let store = SledStore::open(directory.path(), small).unwrap();
    make(&store, create("a")).unwrap();
    *store.shared.state.faults.append.lock().unwrap() = Some(ErrorKind::StorageFull);
    assert!(make(&store, create("b")).is_err());
    make(&store, create("b")).unwrap();
    make(&store, create("c")).unwrap();
    assert_eq!(store.history(Sequence(0), 9).unwrap().len(), 3);
    drop(store);
    assert_eq!(
        open(directory.path())
            .history(Sequence(0), 9)
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn a_failed_sync_leaves_the_outcome_unknown_and_closes_the_store_for_writes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    make(&store, create("a")).unwrap();
    store.shared.state.faults.sync.store(true, Ordering::SeqCst);
    assert!(matches!(
        make(&store, create("b")),
        Err(CommitError::Unknown(_))
    ));
    assert!(matches!(
        make(&store, create("c")),
        Err(CommitError::Unavailable(_))
    ));
    assert_eq!(store.head().sequence, Sequence(1));
    assert!(store.load(&organization("a")).unwrap().is_some());
    assert!(store.load(&organization("b")).unwrap().is_none());
    assert_eq!(store.history(Sequence(0), 9).unwrap().len(), 1);
}

#[test]
fn a_commit_that_the_journal_has_is_made_even_if_sled_fails() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    make(&store, create("a")).unwrap();
    *store.shared.state.faults.batches.lock().unwrap() = Some(0);
    let (published, heard) = mpsc::channel();
    let mut second = create("b");
    second.on_commit = Box::new(move |sequence| published.send(sequence).unwrap());

    assert_eq!(make(&store, second).unwrap(), Sequence(2));

    assert_eq!(heard.recv().unwrap(), Sequence(2));
    assert_eq!(store.head().sequence, Sequence(2));
    assert!(matches!(
        store.load(&organization("b")),
        Err(ReadError::Unavailable(_))
    ));
    assert!(matches!(
        make(&store, create("c")),
        Err(CommitError::Unavailable(_))
    ));
    drop(store);
    let store = open(directory.path());
    assert_eq!(
        store.organizations(None, 9).unwrap(),
        [organization("a"), organization("b")]
    );
}

#[test]
fn a_large_commit_that_is_half_applied_is_not_shown_and_is_completed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    make(&store, create("big")).unwrap();
    let members = (0..3_000)
        .map(|user| put_member(&format!("u{user}"), 2))
        .collect();
    // One batch with the first part.
    *store.shared.state.faults.batches.lock().unwrap() = Some(1);
    let mut large = commit("big", Some(1), 2, members);
    large.events.extend(vec![large.events[0].clone(); 300]);
    make(&store, large).unwrap();
    let big = organization("big");
    let members = |subject: &keys::Subject| matches!(subject, keys::Subject::Membership(..));
    let applied = entries(&store);
    let applied = applied
        .iter()
        .filter(|(subject, _)| members(subject))
        .count();
    assert!(applied > 250 && applied < 3_000, "{applied} were applied");
    assert!(matches!(
        store.shared.state.mark(&big),
        Err(ReadError::Unavailable(_))
    ));
    let told = store.shared.state.commits(&big, Sequence(9), 9).unwrap();
    assert_eq!(told.len(), 1, "events of half a commit are shown");
    assert!(matches!(
        store.shared.state.load(&big),
        Err(ReadError::Unavailable(_))
    ));
    drop(store);
    let half = verify_directory(directory.path(), &std::env::temp_dir()).unwrap();
    assert_eq!((half.events, half.unapplied), (302, 1));
    let store = open(directory.path());
    let (loaded, sequence) = store.load(&big).unwrap().unwrap();
    assert_eq!((loaded.members.len(), sequence), (3_001, Sequence(2)));
    assert_eq!(store.events(&big, None, 9_999).unwrap().len(), 302);
    let user = crate::domain::identifiers::UserId::new("u2999");
    assert_eq!(store.memberships(&user, None, 9).unwrap(), [big]);
}

#[test]
fn no_batch_is_large_whatever_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut records = vec![put_profile("big", "big", 1)];
    records.extend((0..5_000).map(|user| put_member(&format!("u{user}"), 1)));
    make(&store, commit("big", None, 1, records)).unwrap();
    // One here and one there, so that each goes to another leaf.
    let scattered = (0..5_000).step_by(16);
    let scattered = scattered.map(|user| put_member(&format!("u{user}"), 2));
    make(&store, commit("big", Some(1), 2, scattered.collect())).unwrap();
    let futures: Vec<_> = (0..300)
        .map(|number| {
            let id = format!("{number:0>100}");
            let mut next = create(&id);
            next.idempotency = Some(idempotency(&id, "r", 2_000));
            store.commit(next)
        })
        .collect();
    assert!(futures.into_iter().map(wait).all(|made| made.is_ok()));
    let mut later = commit("big", Some(2), 3, vec![RecordChange::DeleteOrganization]);
    later.at = Moment(3_000);
    make(&store, later).unwrap();
    let largest = store.shared.state.faults.largest.load(Ordering::SeqCst);
    assert!((100..=255).contains(&largest), "{largest}");
    assert!(store.load(&organization("big")).unwrap().is_none());
}

#[test]
fn a_data_directory_that_was_removed_is_noticed_at_the_next_checkpoint() {
    for removed in ["sled", "journal"] {
        let directory = tempfile::tempdir().unwrap();
        let always = OpenOptions {
            checkpoint_bytes: 1,
            ..options()
        };
        let store = SledStore::open(directory.path(), always).unwrap();
        make(&store, create("a")).unwrap();
        make(&store, create("b")).unwrap();
        fs::rename(
            directory.path().join(removed),
            directory.path().join("elsewhere"),
        )
        .unwrap();
        // The checkpoint after this commit comes before the next one is looked at.
        let _ = make(&store, create("c"));
        assert!(
            matches!(make(&store, create("d")), Err(CommitError::Unavailable(_))),
            "{removed}"
        );
    }
}

#[test]
fn more_commits_than_may_wait_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let narrow = OpenOptions {
        queue: 3,
        checkpoint_interval: Duration::MAX,
        ..options()
    };
    let store = SledStore::open(directory.path(), narrow).unwrap();
    let (release, held) = hold(&store, "held");
    let waiting = [store.commit(create("a")), store.commit(create("b"))];
    assert!(matches!(make(&store, create("c")), Err(CommitError::Busy)));
    drop(release);
    wait(held).unwrap();
    assert!(waiting.into_iter().map(wait).all(|made| made.is_ok()));
    assert!(store.load(&organization("c")).unwrap().is_none());
    make(&store, create("c")).unwrap();
}

#[test]
fn decisions_see_commits_that_are_on_their_way_to_sled() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    make(&store, create("a")).unwrap();
    // More than one group takes, so that it is not the writer who finishes the first.
    let (release, held) = hold(&store, "held");
    let (finish, finishing) = mpsc::channel::<()>();
    let mut blocking = create("blocking");
    blocking.on_commit = Box::new(move |_| {
        let _ = finishing.recv();
    });
    let mut waiting = vec![store.commit(blocking)];
    waiting.extend((0..300).map(|number| store.commit(create(&format!("o{number}")))));
    let mut second = commit("a", Some(1), 2, vec![put_member("u", 2)]);
    second.idempotency = Some(idempotency("a", "r", 5_000));
    let second = store.commit(second);
    let (first_group, arrived) = stop_at_next_append(&store);
    drop(release);
    wait(held).unwrap();
    arrived.recv().unwrap();
    let (second_group, arrived) = stop_at_next_append(&store);
    drop(first_group);
    arrived.recv().unwrap();

    let mut again = commit("a", Some(1), 2, vec![put_member("u", 2)]);
    again.idempotency = Some(idempotency("a", "r", 5_000));
    let again = store.commit(again);
    let rival = store.commit(commit("a", Some(1), 2, vec![put_member("v", 2)]));
    let third = store.commit(commit("a", Some(2), 3, vec![put_member("v", 3)]));
    let last = store.commit(create("last"));
    let (third_group, arrived) = stop_at_next_append(&store);
    drop(second_group);
    arrived.recv().unwrap();
    let (version, _) = store.mark(&organization("a")).unwrap().unwrap();
    assert_eq!(version.0, 1, "sled has what should be on its way");
    drop(third_group);
    drop(finish);

    assert!(waiting.into_iter().map(wait).all(|made| made.is_ok()));
    let made = wait(second).unwrap();
    match wait(again) {
        Err(CommitError::AlreadyDone(first)) => assert_eq!(first.sequence, made),
        other => panic!("{other:?}"),
    }
    assert!(matches!(wait(rival), Err(CommitError::Conflict)));
    wait(third).unwrap();
    wait(last).unwrap();
    let (loaded, _) = store.load(&organization("a")).unwrap().unwrap();
    assert_eq!((loaded.version.0, loaded.members.len()), (3, 3));
}

#[test]
fn a_store_is_dropped_only_after_what_waits_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    // Dropping the future does not withdraw the commit.
    (0..100).for_each(|number| drop(store.commit(create(&format!("o{number}")))));
    drop(store);
    assert_eq!(open(directory.path()).head().sequence, Sequence(100));
}

#[test]
fn the_last_handle_may_be_dropped_by_what_publishes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let mut last = create("a");
    let held = Arc::clone(&store);
    let (release, released) = mpsc::channel::<()>();
    let (survived, dropped) = mpsc::channel();
    last.on_commit = Box::new(move |_| {
        let _ = released.recv();
        drop(held);
        survived.send(()).unwrap();
    });
    let future = store.commit(last);
    drop(store);
    drop(release);
    dropped.recv().unwrap();
    assert_eq!(wait(future).unwrap(), Sequence(1));
    assert_eq!(open(directory.path()).head().sequence, Sequence(1));
}

#[test]
fn expired_answers_are_forgotten_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let all = 40;
    for number in 0..all {
        let mut next = create(&format!("o{number}"));
        next.idempotency = Some(idempotency(&format!("o{number}"), "r", 2_000 + number));
        make(&store, next).unwrap();
    }
    let kept = |store: &SledStore| {
        let entries = entries(store);
        let answer = |subject: &keys::Subject| matches!(subject, keys::Subject::Answer(..));
        let expiry = |subject: &keys::Subject| matches!(subject, keys::Subject::Expiry(..));
        let answers = entries
            .iter()
            .filter(|(subject, _)| answer(subject))
            .count();
        let expiries = entries
            .iter()
            .filter(|(subject, _)| expiry(subject))
            .count();
        assert_eq!(answers, expiries);
        answers
    };
    assert_eq!(kept(&store), 40);
    for (number, at) in [(0, 2_019), (1, 2_019), (2, 2_019)] {
        let mut later = events_only(&format!("o{number}"), Some(1), 0, 1);
        later.at = Moment(at);
        make(&store, later).unwrap();
    }
    assert_eq!(kept(&store), 20);
    assert!(store.remembered(&key("o19", "r")).unwrap().is_none());
    assert!(store.remembered(&key("o20", "r")).unwrap().is_some());
}

#[test]
fn a_reader_never_sees_half_of_a_large_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let all_at = |version: u64| {
        let mut records = vec![put_profile("big", "big", version)];
        records.extend((0..400).map(|user| put_member(&format!("u{user}"), version)));
        records
    };
    make(&*store, commit("big", None, 1, all_at(1))).unwrap();
    let (done, running) = mpsc::channel::<()>();
    let reader = Arc::clone(&store);
    let reads = std::thread::spawn(move || {
        let mut reads = 0_u64;
        while running.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let (loaded, _) = reader.load(&organization("big")).unwrap().unwrap();
            assert_eq!(loaded.members.len(), 400);
            assert!(
                loaded
                    .members
                    .values()
                    .all(|member| member.version == loaded.version)
            );
            reads += 1;
        }
        reads
    });
    for version in 2..30 {
        make(
            &*store,
            commit("big", Some(version - 1), version, all_at(version)),
        )
        .unwrap();
    }
    drop(done);
    assert!(reads.join().unwrap() > 0);
}
