//! What the check of a whole data directory finds, and what it leaves alone.

use std::collections::BTreeMap;

use super::*;
use crate::domain::change::{InvitedRow, Outcome, RecordChange};
use crate::domain::organization::Moment;
use crate::store::conformance::{everything, make};
use crate::store::samples::{self, commit, events_only, key, organization, put_member};

fn verify(directory: &Path) -> Result<VerifyReport, VerifyError> {
    let scratch = tempfile::tempdir().unwrap();
    let report = verify_directory(directory, scratch.path());
    let left = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 0, "the copy was left behind");
    report
}

/// Every file with its bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn assert_differs(directory: &Path, words: &str) {
    match verify(directory) {
        Err(VerifyError::Database { what, .. }) => assert!(what.contains(words), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// Some of everything: 12 commits that create, one each that adds, deletes and refuses.
/// Something ends in the twelfth by itself.
fn varied() -> TempDir {
    let directory = written(11, &options());
    let store = open(directory.path());
    let mut waking = create("o4b");
    waking.wake_at = Some(Moment(77));
    make(&store, waking).unwrap();
    let joined = vec![put_member("u", 2)];
    make(&store, commit("o1", Some(1), 2, joined)).unwrap();
    let left = vec![RecordChange::DeleteOrganization];
    make(&store, commit("o2", Some(1), 2, left)).unwrap();
    make(&store, events_only("nowhere", None, 0, 300)).unwrap();
    drop(store);
    directory
}

#[test]
fn a_sound_directory_is_counted_and_not_touched() {
    let directory = varied();
    let head = open(directory.path()).head();
    let before = files(directory.path());

    let report = verify(directory.path()).unwrap();

    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    let expected = VerifyReport {
        head,
        segments: segments.len() as u64,
        organizations: 11,
        records: 23,
        events: 314,
        unapplied: 0,
        torn_bytes: 0,
    };
    assert_eq!(report, expected);
    assert_eq!(report.commits(), 15);
    assert_eq!(report.chain().to_string().len(), 64);
    assert_eq!(files(directory.path()), before);
}

#[test]
fn an_empty_and_a_foreign_directory_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        verify(directory.path()),
        Err(VerifyError::Open(OpenError::Io { .. }))
    ));
    drop(open(directory.path()));
    assert_eq!(verify(directory.path()).unwrap(), VerifyReport::default());
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = written(1, &options());
    let store = open(directory.path());
    assert!(matches!(
        verify(directory.path()),
        Err(VerifyError::Open(OpenError::InUse(_)))
    ));
    drop(store);
    verify(directory.path()).unwrap();
}

#[test]
fn a_copy_without_a_lock_is_verified_and_gets_none() {
    let directory = written(3, &options());
    fs::remove_file(directory.path().join("lock")).unwrap();
    verify(directory.path()).unwrap();
    assert!(!directory.path().join("lock").exists());
}

#[test]
fn a_flipped_byte_in_any_segment_is_found() {
    let directory = varied();
    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    assert!(segments.len() > 3);
    for segment in &segments {
        let whole = fs::read(&segment.path).unwrap();
        for position in (0..whole.len()).step_by(whole.len() / 3) {
            flip(&segment.path, position);
            match verify(directory.path()) {
                Err(VerifyError::Open(OpenError::Damaged { path, .. })) => {
                    assert_eq!(path, segment.path);
                }
                // The last write is torn, unless the database knows better.
                Err(VerifyError::Open(OpenError::Lost { .. })) => {
                    assert_eq!(Some(segment), segments.last());
                }
                other => panic!("byte {position} of {}: {other:?}", segment.path.display()),
            }
            fs::write(&segment.path, &whole).unwrap();
        }
    }
    verify(directory.path()).unwrap();
}

#[test]
fn a_missing_segment_is_found() {
    let directory = written(12, &options());
    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    for position in [1, 0] {
        fs::remove_file(&segments[position].path).unwrap();
        match verify(directory.path()) {
            Err(VerifyError::Open(OpenError::Lost { from, .. })) => {
                assert_eq!(from, segments[position].first);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_journal_that_ends_too_early_is_found() {
    let directory = written(12, &options());
    fs::remove_file(last_segment(directory.path())).unwrap();
    assert!(matches!(
        verify(directory.path()),
        Err(VerifyError::Open(OpenError::Lost { .. }))
    ));
}

#[test]
fn what_a_crash_leaves_behind_is_no_fault() {
    let directory = written(2, &one_segment());
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("sled"), before.path());
    write(directory.path(), 3, 7, &one_segment());
    replace(before.path(), &directory.path().join("sled"));
    let torn = last_segment(directory.path());
    let whole = fs::read(&torn).unwrap();
    fs::write(&torn, &whole[..whole.len() - 10]).unwrap();
    let left = files(directory.path());

    let report = verify(directory.path()).unwrap();

    assert_eq!((report.commits(), report.unapplied), (6, 4));
    assert_eq!((report.organizations, report.events), (6, 6));
    assert!(report.torn_bytes > 0);
    assert_eq!(files(directory.path()), left);
    assert_eq!(open(directory.path()).head(), report.head);
    let healed = verify(directory.path()).unwrap();
    assert_eq!((healed.unapplied, healed.torn_bytes), (0, 0));
    assert_eq!(healed.head, report.head);
}

#[test]
fn every_difference_of_the_database_is_found() {
    let sound = varied();
    let o1 = organization("o1");
    let member = record_key(&o1, &put_member("u", 1));
    let other = record_key(&o1, &put_member("v", 1));
    let mark = keys::mark(&o1);
    let place = keys::commit(&organization("nowhere"), Sequence(15));
    let elsewhere = keys::commit(&organization("o3"), Sequence(15));
    let answer = keys::answer(&o1, &keys::digest(&key("o1", "r")));
    let membership = keys::membership_of_record(&o1, &member).unwrap();
    let stranger = keys::membership_of_record(&o1, &other).unwrap();
    let wake = keys::wake(Moment(1), &o1);
    let waits = keys::wake(Moment(77), &organization("o4b"));
    let value = admission::seal_put(&put_member("u", 3)).unwrap().unwrap();
    let forged = admission::seal_put(&put_member("v", 1)).unwrap().unwrap();
    let waiting = samples::put_notification("n");
    let notification = record_key(&o1, &waiting);
    let waiting = admission::seal_put(&waiting).unwrap().unwrap();
    type Meddling = Box<dyn Fn(&mut edit::Edit<'_>)>;
    let remove = |key: &[u8]| -> Meddling {
        let key = key.to_vec();
        Box::new(move |edit| assert!(edit.remove(&key).unwrap()))
    };
    let insert = |key: &[u8], value: &[u8]| -> Meddling {
        let (key, value) = (key.to_vec(), value.to_vec());
        Box::new(move |edit| {
            edit.put(key.clone(), value.clone()).unwrap();
        })
    };
    let flip = |key: &[u8]| -> Meddling {
        let key = key.to_vec();
        Box::new(move |edit| edit.flip(&key, 3))
    };
    let copied: Meddling = {
        let place = place.clone();
        Box::new(move |edit| {
            let value = edit.get(&place).unwrap().unwrap().to_vec();
            edit.put(elsewhere.clone(), value).unwrap();
        })
    };
    let cases = [
        (remove(&member), "a member of organization `o1` is missing"),
        (
            insert(&member, &value),
            "a member of organization `o1` differs",
        ),
        (
            insert(&member, b"garbage"),
            "a member of organization `o1` differs",
        ),
        (flip(&member), "a member of organization `o1` is not what"),
        (insert(&other, &forged), "should not be there"),
        (insert(&notification, &waiting), "should not be there"),
        (remove(&mark), "the mark of organization `o1` is missing"),
        (flip(&mark), "the mark of organization `o1` is not what"),
        (remove(&membership), "the membership of `u` in"),
        (insert(&stranger, b""), "the membership of `v` in"),
        (insert(&wake, b""), "the wake of organization `o1` should"),
        (remove(&waits), "the wake of organization `o4b` is missing"),
        (remove(&place), "the place of commit 15"),
        (flip(&place), "the place of commit 15"),
        (insert(&place, b"garbage"), "the place of commit 15"),
        (copied, "16 places of commits instead of 15"),
        (remove(&answer), "a remembered answer is missing"),
        (insert(&answer, b"garbage"), "a remembered answer differs"),
        (insert(b"\x77", b"garbage"), "nobody wrote"),
    ];
    for (change, words) in cases {
        let directory = tempfile::tempdir().unwrap();
        copy(sound.path(), directory.path());
        meddle(directory.path(), change);
        assert_differs(directory.path(), words);
    }
    type Breaking = Box<dyn Fn(&::sled::Db)>;
    let breaks = |key: &[u8], value: &[u8]| -> Breaking {
        let (key, value) = (key.to_vec(), value.to_vec());
        Box::new(move |database| {
            database.insert(&key, value.clone()).unwrap();
        })
    };
    let lost: Breaking = Box::new(|database| {
        let last = database.iter().keys().next_back().unwrap().unwrap();
        database.remove(last).unwrap();
    });
    let cases = [
        (breaks(keys::HEAD, b"garbage"), "head"),
        (breaks(b"\x77", b"garbage"), "nobody wrote"),
        (
            breaks(b"\x01\x77", &leaf::Leaf::default().encode()),
            "nobody wrote",
        ),
        (breaks(b"\x01", b"garbage"), "the leaf that begins"),
        (lost, "missing"),
    ];
    for (change, words) in cases {
        let directory = tempfile::tempdir().unwrap();
        copy(sound.path(), directory.path());
        let state = database_of(directory.path());
        change(&state.database);
        state.flush().unwrap();
        drop(state);
        assert_differs(directory.path(), words);
        let checked = OpenOptions {
            verification: Verification::EveryRecord,
            ..options()
        };
        SledStore::open(directory.path(), checked).unwrap();
        assert!(directory.path().join("sled.damaged-1").exists(), "{words}");
        verify(directory.path()).unwrap();
    }
}

#[test]
fn a_damaged_or_missing_database_is_found_after_the_journal() {
    let directory = written(12, &options());
    for file in fs::read_dir(directory.path().join("sled")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::write(&path, b"this is no database").unwrap();
        }
    }
    assert_differs(directory.path(), "");
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    assert_differs(directory.path(), "it is missing");
    let first = &journal::segments(&directory.path().join("journal")).unwrap()[0];
    flip(&first.path, 200);
    assert!(matches!(
        verify(directory.path()),
        Err(VerifyError::Open(OpenError::Damaged { .. }))
    ));
}

#[test]
fn a_database_of_another_store_is_found() {
    let directory = written(3, &options());
    let other = tempfile::tempdir().unwrap();
    {
        let store = open(other.path());
        for id in ["x", "y", "z"] {
            make(&store, create(id)).unwrap();
        }
    }
    replace(&other.path().join("sled"), &directory.path().join("sled"));
    assert!(matches!(
        verify(directory.path()),
        Err(VerifyError::Open(OpenError::Diverged(Sequence(3))))
    ));
}

#[test]
fn forgotten_answers_and_those_about_to_be_are_no_difference() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..100 {
        let mut next = create(&format!("o{number}"));
        next.idempotency = Some(idempotency(&format!("o{number}"), "r", 2_000));
        make(&store, next).unwrap();
    }
    let mut later = create("later");
    later.at = Moment(3_000);
    make(&store, later).unwrap();
    drop(store);
    verify(directory.path()).unwrap();
}

#[test]
fn an_answer_that_is_only_in_the_journal_survives_a_lost_database() {
    let directory = written(2, &options());
    let rows: Vec<_> = (0..1_000)
        .map(|number| samples::invitation(&format!("i{number}"), "text", 1))
        .map(|invitation| InvitedRow::Sent(Arc::new(invitation)))
        .collect();
    let outcome = Outcome::Invitations(rows);
    {
        let store = open(directory.path());
        let mut bulk = events_only("o1", Some(1), 0, 200);
        bulk.idempotency = Some(idempotency("o1", "bulk", 5_000));
        if let Some(idempotency) = &mut bulk.idempotency {
            idempotency.outcome = outcome.clone();
        }
        make(&store, bulk).unwrap();
        let digest = keys::digest(&key("o1", "bulk"));
        let kept = store.shared.state.answer(&organization("o1"), &digest);
        assert!(kept.unwrap().is_some());
    }
    write(directory.path(), 4, 6, &options());
    verify(directory.path()).unwrap();
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    {
        let store = open(directory.path());
        let remembered = store.remembered(&key("o1", "bulk")).unwrap().unwrap();
        assert_eq!(remembered.outcome, outcome);
    }
    verify(directory.path()).unwrap();
}

#[test]
fn the_events_of_a_deleted_database_are_made_anew_from_the_journal() {
    let directory = varied();
    let before = everything(&open(directory.path()));
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    let store = open(directory.path());
    assert_eq!(everything(&store), before);
    let events = store.events(&organization("nowhere"), None, 1_000).unwrap();
    assert_eq!(events.len(), 300);
    drop(store);
    verify(directory.path()).unwrap();
}

#[test]
fn a_damaged_place_of_events_is_not_used_and_can_be_healed_at_the_next_start() {
    let directory = varied();
    let expected = everything(&open(directory.path()));
    let o1 = organization("o1");
    let first = keys::commit(&o1, Sequence(1));
    let wrong = marks::CommitPlace {
        offset: 90,
        hash: [0; 8],
    };
    for flipped in [true, false] {
        meddle(directory.path(), |edit| match flipped {
            true => edit.flip(&first, 1),
            false => drop(edit.put(first.clone(), wrong.encode().unwrap()).unwrap()),
        });
        {
            let store = open(directory.path());
            assert!(matches!(
                store.events(&o1, None, 9),
                Err(ReadError::Damaged(_))
            ));
            assert_eq!(store.events(&o1, None, 1).unwrap().len(), 1);
        }
        if flipped {
            let checked = OpenOptions {
                verification: Verification::EveryRecord,
                ..options()
            };
            let healed = SledStore::open(directory.path(), checked).unwrap();
            assert_eq!(everything(&healed), expected);
        } else {
            assert_differs(directory.path(), "the place of commit 1");
        }
    }
}

#[test]
fn events_of_a_damaged_or_rewritten_journal_are_not_shown() {
    for falsified in [false, true] {
        let directory = varied();
        let first = &journal::segments(&directory.path().join("journal")).unwrap()[0];
        if falsified {
            super::damage::falsify(&first.path, 1);
        } else {
            flip(&first.path, 300);
        }
        let store = open(directory.path());
        let o1 = organization("o1");
        assert!(matches!(
            store.events(&o1, None, 9),
            Err(ReadError::Damaged(_))
        ));
        assert_eq!(store.events(&o1, None, 1).unwrap().len(), 1);
        assert!(matches!(
            store.remembered(&key("o1", "r")),
            Err(ReadError::Damaged(_))
        ));
    }
}

#[test]
fn damage_to_the_history_shows_when_a_running_store_verifies_it() {
    let directory = written(12, &options());
    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    let store = open(directory.path());
    assert_eq!(store.verify(Head::default(), 100).unwrap(), store.head());
    flip(&segments[1].path, 200);
    let reached = store.verify(Head::default(), segments[1].first.0 as usize - 1);
    let reached = reached.unwrap();
    match store.verify(reached, 100) {
        Err(ReadError::Damaged(why)) => {
            assert!(
                why.contains(&format!("after commit {}", reached.sequence.0)),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}
