//! Many writers at once.

use std::sync::Arc;

use super::{Fixture, make, run, with_answer};
use crate::domain::organization::Version;
use crate::store::samples::{commit, create, organization, put_member};
use crate::store::{CommitError, Sequence, Store};

pub fn many_tasks_write_to_many_organizations<F: Fixture>() {
    let (place, store) = F::fresh();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let store = Arc::clone(&store);
            runtime.spawn(async move {
                let id = format!("o{task}");
                store.commit(create(&id)).await.unwrap();
                for version in 1..20 {
                    let records = vec![put_member(&format!("u{version}"), version + 1)];
                    store
                        .commit(commit(&id, Some(version), version + 1, records))
                        .await
                        .unwrap();
                    let loaded = store.load(&organization(&id)).unwrap().unwrap().0;
                    assert_eq!(loaded.version, Version(version + 1));
                    assert_eq!(loaded.members.len() as u64, version + 1);
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    drop(runtime);
    let store = place.reopen(store);
    assert_eq!(store.head().sequence, Sequence(32 * 20));
    let history = store.history(Sequence(0), 10_000).unwrap();
    assert!(history.iter().map(|entry| entry.sequence.0).eq(1..=640));
}

pub fn only_one_of_many_rivals_wins<F: Fixture>() {
    let (_place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let rivals: Vec<_> = (0..64)
        .map(|rival| {
            let records = vec![put_member(&format!("u{rival}"), 2)];
            store.commit(commit("a", Some(1), 2, records))
        })
        .collect();
    let made: Vec<_> = rivals.into_iter().map(run).filter_map(Result::ok).collect();
    assert_eq!(made, [Sequence(2)]);
    assert_eq!(
        store
            .load(&organization("a"))
            .unwrap()
            .unwrap()
            .0
            .members
            .len(),
        2
    );

    let twins: Vec<_> = (0..8)
        .map(|_| {
            store.commit(with_answer(
                commit("a", Some(2), 3, vec![put_member("u", 3)]),
                "same",
                2_000,
            ))
        })
        .collect();
    for (position, twin) in twins.into_iter().enumerate() {
        match (position, run(twin)) {
            (0, Ok(sequence)) => assert_eq!(sequence, Sequence(3)),
            (_, Err(CommitError::AlreadyDone(first))) => assert_eq!(first.sequence, Sequence(3)),
            (_, other) => panic!("{other:?}"),
        }
    }
}
