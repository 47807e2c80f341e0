//! What an earlier release left: its layout of the database, its shapes in the journal.

use super::*;
use crate::domain::organization::Moment;
use crate::store::conformance::make;
use crate::store::record::tests::First;
use crate::store::record::{Entry, link, seal_body};
use crate::store::samples::{commit, events_only, put_member, put_notification};
use crate::store::{Idempotency, Store};

/// Makes of a closed store what the first release would have left behind, and answers
/// with the end of its history.
fn as_the_first_release(directory: &Path) -> Head {
    let path = last_segment(directory);
    let bytes = fs::read(&path).unwrap();
    let mut rewritten = bytes[..journal::SEGMENT_HEADER_BYTES].to_vec();
    let mut rest = &bytes[journal::SEGMENT_HEADER_BYTES..];
    let mut head = Head::default();
    while let Ok(frame) = frame::Frame::read(rest) {
        rest = &rest[frame.size()..];
        let entry = Entry::unseal(frame.entry).unwrap().seal_as_version_1();
        let answer = match frame.answer {
            [] => Vec::new(),
            sealed => Idempotency::unseal(sealed).unwrap().seal_as_version_1(),
        };
        head = Head {
            sequence: frame.sequence,
            chain: link(&head.chain, &entry),
        };
        frame::Frame {
            chain: head.chain,
            entry: &entry,
            answer: &answer,
            ..frame
        }
        .write(&mut rewritten);
    }
    fs::write(&path, rewritten).unwrap();
    let sled = directory.join("sled");
    fs::remove_dir_all(&sled).unwrap();
    let database = ::sled::open(&sled).unwrap();
    let mut body = head.sequence.0.to_be_bytes().to_vec();
    body.extend(head.chain);
    database.insert([0x00], seal_body(1, &body)).unwrap();
    database.insert(b"\x02o1\x00\x01\x00", b"{}").unwrap();
    database.flush().unwrap();
    head
}

/// Everything but links of the chain, which are over other bytes.
fn shown(store: &SledStore) -> impl PartialEq + std::fmt::Debug + use<> {
    let history = store.history(Sequence(0), 99).unwrap();
    let history: Vec<_> = history
        .into_iter()
        .map(|entry| {
            (
                entry.sequence,
                entry.organization,
                entry.records,
                entry.events,
            )
        })
        .collect();
    let ids = store.organizations(None, 99).unwrap();
    let of_each: Vec<_> = ids
        .iter()
        .map(|id| {
            let (loaded, sequence) = store.load(id).unwrap().unwrap();
            let events = store.events(id, None, 99).unwrap();
            let key = crate::store::samples::key(id.as_str(), "r");
            let remembered = store.remembered(&key).unwrap();
            (loaded.members, loaded.version, sequence, events, remembered)
        })
        .collect();
    let due = store.due(Moment(i64::MAX), 99).unwrap();
    (
        history,
        ids,
        of_each,
        due,
        store.notifying(None, 99).unwrap(),
    )
}

/// When the override of a sample member ends, before anything else.
const ENDS: Moment = Moment(993);

/// A store in which every kind of commit was made; organizations wake as they should.
fn varied() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(directory.path(), one_segment()).unwrap();
    for number in 1..=4 {
        let mut next = create(&format!("o{number}"));
        next.idempotency = Some(idempotency(&format!("o{number}"), "r", 5_000));
        next.wake_at = Some(ENDS);
        make(&store, next).unwrap();
    }
    let gone = vec![RecordChange::DeleteOrganization];
    make(&store, commit("o2", Some(1), 2, gone)).unwrap();
    let mut joined = commit(
        "o3",
        Some(1),
        2,
        vec![put_member("u", 2), put_notification("n")],
    );
    joined.wake_at = Some(ENDS);
    make(&store, joined).unwrap();
    make(&store, events_only("o1", Some(1), 0, 3)).unwrap();
    // What ends in an organization is what its records say.
    for id in store.organizations(None, 9).unwrap() {
        let (loaded, _) = store.load(&id).unwrap().unwrap();
        let (first, _) = loaded.deadlines.first().unwrap();
        assert_eq!(*first, ENDS);
    }
    directory
}

#[test]
fn what_the_first_release_wrote_is_read_and_its_database_made_anew() {
    let directory = varied();
    let today = open(directory.path());
    let expected = shown(&today);
    drop(today);
    let head = as_the_first_release(directory.path());

    let store = open(directory.path());
    assert_eq!(store.head(), head);
    assert_eq!(store.due(Moment(i64::MAX), 9).unwrap().len(), 3);
    assert_eq!(shown(&store), expected);
    assert_eq!(store.verify(Head::default(), 99).unwrap(), head);
    make(&store, commit("o4", Some(1), 2, vec![put_member("v", 2)])).unwrap();
    drop(store);
    assert!(directory.path().join("sled.outdated-1").exists());
    verify_directory(directory.path(), &std::env::temp_dir()).unwrap();
    drop(open(directory.path()));
    assert!(!directory.path().join("sled.outdated-2").exists());
}

#[test]
fn a_lost_end_of_the_history_is_noticed_by_an_outdated_database_too() {
    for sequence in [1, 4] {
        let directory = written(4, &one_segment());
        let path = last_segment(directory.path());
        let head = as_the_first_release(directory.path());
        let bytes = fs::read(&path).unwrap();
        if sequence == 4 {
            // The last commit is gone as if it had never been.
            let mut rest = &bytes[journal::SEGMENT_HEADER_BYTES..];
            let mut last = 0;
            while let Ok(frame) = frame::Frame::read(rest) {
                last = bytes.len() - rest.len();
                rest = &rest[frame.size()..];
            }
            fs::write(&path, &bytes[..last]).unwrap();
            for _ in 0..2 {
                match refusal(directory.path(), one_segment()) {
                    OpenError::Lost { from, to } => assert_eq!((from.0, to.0), (4, 4)),
                    other => panic!("{other}"),
                }
            }
        } else {
            let database = ::sled::open(directory.path().join("sled")).unwrap();
            let mut body = head.sequence.0.to_be_bytes().to_vec();
            body.extend([7; 32]);
            database.insert([0x00], seal_body(1, &body)).unwrap();
            database.flush().unwrap();
            drop(database);
            let diverged = refusal(directory.path(), one_segment());
            assert!(
                matches!(diverged, OpenError::Diverged(Sequence(4))),
                "{diverged}"
            );
        }
        assert!(!directory.path().join("sled.outdated-1").exists());
    }
}
