//! A process that is killed while many tasks commit loses nothing that it acknowledged.
//!
//! The test runs itself as the victim. It is killed after a number of
//! acknowledgements, not after a time, and the next victim goes on with what
//! the last one left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::domain::change::RecordChange;
use crate::domain::organization::{Organization, Version};
use crate::store::conformance::shown;
use crate::store::samples::{commit, organization, put_member};

const DIRECTORY: &str = "ROSTER_TEST_VICTIM";
const TASKS: u64 = 16;

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for acknowledgements in [1, 50, 7, 300, 2, 120] {
        let last = run_and_kill(directory.path(), acknowledgements);
        let scratch = tempfile::tempdir().unwrap();
        let left = verify_directory(directory.path(), scratch.path()).unwrap();
        assert!(left.head.sequence >= last, "lost {last:?}");
        let store = open(directory.path());
        assert!(store.head().sequence >= last, "lost {last:?}");
        assert_state_is_what_the_history_says(&store);
        assert_eq!(
            store.verify(Head::default(), usize::MAX).unwrap(),
            store.head()
        );
        drop(store);
        let whole = verify_directory(directory.path(), scratch.path()).unwrap();
        assert_eq!((whole.head, whole.unapplied), (left.head, 0));
    }
}

/// The last commit that was acknowledged before the end.
fn run_and_kill(directory: &Path, acknowledgements: usize) -> Sequence {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "store::sled::tests::killed::victim",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut last = Sequence(0);
    let mut seen = 0;
    for line in lines.map_while(Result::ok) {
        if let Some(number) = line.strip_prefix("acknowledged ") {
            last = last.max(Sequence(number.parse().unwrap()));
            seen += 1;
        }
        if seen == acknowledgements {
            victim.kill().unwrap();
        }
    }
    victim.wait().unwrap();
    assert!(
        seen >= acknowledgements,
        "the victim died by itself after {seen}"
    );
    last
}

fn assert_state_is_what_the_history_says(store: &SledStore) {
    let mut expected: BTreeMap<OrganizationId, Organization> = BTreeMap::new();
    for entry in store.history(Sequence(0), usize::MAX).unwrap() {
        if let Some(RecordChange::PutProfile(profile)) = entry.records.first() {
            let empty = Organization::empty(Arc::clone(profile), Version(0));
            expected.entry(entry.organization.clone()).or_insert(empty);
        }
        let next = expected[&entry.organization].apply(&entry.records);
        assert_eq!(next.version, entry.version);
        expected.insert(entry.organization, next);
    }
    let ids: Vec<_> = expected.keys().cloned().collect();
    assert_eq!(store.organizations(None, usize::MAX).unwrap(), ids);
    for (id, expected) in expected {
        assert_eq!(
            shown(&store.load(&id).unwrap().unwrap().0),
            shown(&expected)
        );
    }
}

/// Commits until it is killed; not a test of its own.
#[test]
#[ignore = "is run and killed by the test above"]
fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = Arc::new(open(Path::new(&directory)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| runtime.spawn(write_for_ever(Arc::clone(&store), format!("o{task}"))))
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

async fn write_for_ever(store: Arc<SledStore>, id: String) {
    loop {
        let at = store
            .load(&organization(&id))
            .unwrap()
            .map(|(loaded, _)| loaded.version.0);
        let next = match at {
            None => create(&id),
            Some(at) => {
                let member = put_member(&format!("u{}", at % 50), at + 1);
                commit(&id, Some(at), at + 1, vec![member])
            }
        };
        let made = store.commit(next).await.unwrap();
        println!("acknowledged {}", made.0);
    }
}
