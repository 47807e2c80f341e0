//! What is left behind by crashes, bad disks and hands that meddle.

use super::*;
use crate::domain::organization::Version;
use crate::store::conformance::{everything, make};
use crate::store::record::Entry;
use crate::store::samples::{commit, organization, put_member, put_profile};

/// Commits 1 to `applied` are in sled, 1 to `appended` in the journal: what a crash leaves.
fn crashed(applied: u64, appended: u64, options: &OpenOptions) -> TempDir {
    let directory = written(applied, options);
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("sled"), before.path());
    write(directory.path(), applied + 1, appended, options);
    replace(before.path(), &directory.path().join("sled"));
    directory
}

#[test]
fn reopening_gives_the_same_any_number_of_times() {
    let directory = written(20, &options());
    let before = everything(&open(directory.path()));
    for _ in 0..3 {
        assert_eq!(everything(&open(directory.path())), before);
    }
}

#[test]
fn a_crash_between_journal_and_sled_is_replayed() {
    for (applied, appended) in [(0, 5), (3, 4), (3, 200)] {
        let directory = crashed(applied, appended, &options());
        let whole = written(appended, &options());
        let (replayed, expected) = (open(directory.path()), open(whole.path()));
        assert_eq!(everything(&replayed), everything(&expected));
        for number in 1..=appended {
            let key = crate::store::samples::key(&format!("o{number}"), "r");
            let remembered = replayed.remembered(&key).unwrap();
            assert_eq!(remembered, expected.remembered(&key).unwrap());
            assert!(remembered.is_some());
        }
    }
}

#[test]
fn a_deleted_database_is_made_anew_from_the_journal() {
    let directory = written(150, &options());
    let before = everything(&open(directory.path()));
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    assert_eq!(everything(&open(directory.path())), before);
}

#[test]
fn a_half_applied_large_commit_is_completed() {
    let directory = written(1, &options());
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("sled"), before.path());
    let mut records = vec![put_profile("big", "big", 1)];
    records.extend((0..700).map(|user| put_member(&format!("u{user}"), 1)));
    {
        let store = open(directory.path());
        make(&store, commit("big", None, 1, records.clone())).unwrap();
    }
    let expected = everything(&open(directory.path()));

    replace(before.path(), &directory.path().join("sled"));
    let big = organization("big");
    let mark = marks::OrganizationMark {
        version: Version(1),
        sequence: Sequence(2),
        wake: marks::Wake::At(None),
        whole: false,
    };
    meddle(directory.path(), |edit| {
        edit.put(keys::mark(&big), mark.encode().unwrap()).unwrap();
        for record in &records[1..300] {
            let key = record_key(&big, record);
            let membership = keys::membership_of_record(&big, &key).unwrap();
            let value = admission::seal_put(record).unwrap().unwrap();
            edit.put(key, value).unwrap();
            edit.note(membership).unwrap();
        }
    });
    let state = database_of(directory.path());
    assert!(
        matches!(state.load(&big), Err(ReadError::Unavailable(_))),
        "half of it was shown"
    );
    assert!(matches!(state.mark(&big), Err(ReadError::Unavailable(_))));
    drop(state);

    assert_eq!(everything(&open(directory.path())), expected);
}

#[test]
fn a_torn_tail_is_cut_off_and_the_rest_is_kept() {
    let directory = crashed(2, 3, &one_segment());
    let whole = fs::read(last_segment(directory.path())).unwrap();
    let start = whole.len() - last_frame_size(&whole);
    let sled = tempfile::tempdir().unwrap();
    copy(&directory.path().join("sled"), sled.path());
    let expected = written(2, &one_segment());
    let expected = everything(&open(expected.path()));
    for cut in (start..whole.len()).step_by(211).chain([whole.len() - 1]) {
        replace(sled.path(), &directory.path().join("sled"));
        fs::write(last_segment(directory.path()), &whole[..cut]).unwrap();
        assert_eq!(
            everything(&open(directory.path())),
            expected,
            "cut at {cut}"
        );
        assert_eq!(
            fs::read(last_segment(directory.path())).unwrap().len(),
            start
        );
    }
    write(directory.path(), 3, 5, &one_segment());
}

fn last_frame_size(segment: &[u8]) -> usize {
    let mut offset = journal::SEGMENT_HEADER_BYTES;
    let mut size = 0;
    while let Ok(frame) = frame::Frame::read(&segment[offset..]) {
        size = frame.size();
        offset += size;
    }
    size
}

/// Commits 1 and 2 alone, 3 to 5 as one group, and where the frames begin; sled has 1.
fn grouped() -> (TempDir, Vec<usize>) {
    let directory = written(1, &one_segment());
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("sled"), before.path());
    {
        let store = SledStore::open(directory.path(), one_segment()).unwrap();
        let (release, held) = hold(&store, "o2");
        let group: Vec<_> = (3..=5)
            .map(|n| store.commit(create(&format!("o{n}"))))
            .collect();
        drop(release);
        wait(held).unwrap();
        assert!(group.into_iter().map(wait).all(|made| made.is_ok()));
    }
    replace(before.path(), &directory.path().join("sled"));
    let bytes = fs::read(last_segment(directory.path())).unwrap();
    let mut starts = vec![journal::SEGMENT_HEADER_BYTES];
    let mut groups = Vec::new();
    while let Ok(frame) = frame::Frame::read(&bytes[*starts.last().unwrap()..]) {
        groups.push(frame.group.0);
        starts.push(starts.last().unwrap() + frame.size());
    }
    assert_eq!(groups, [1, 2, 3, 3, 3]);
    (directory, starts)
}

#[test]
fn a_hole_in_the_last_write_is_a_torn_write_even_if_its_end_is_whole() {
    let (directory, starts) = grouped();
    flip(&last_segment(directory.path()), starts[2] + 100);
    assert_eq!(open(directory.path()).head().sequence, Sequence(2));
}

#[test]
fn a_hole_before_the_last_write_is_damage() {
    let (directory, starts) = grouped();
    flip(&last_segment(directory.path()), starts[1] + 100);
    match refusal(directory.path(), options()) {
        OpenError::Damaged { after, .. } => assert_eq!(after, Sequence(1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flipped_byte_anywhere_in_the_journal_is_refused_and_nothing_is_changed() {
    let directory = written(4, &one_segment());
    let path = last_segment(directory.path());
    let whole = fs::read(&path).unwrap();
    let last = whole.len() - last_frame_size(&whole);
    for position in (0..whole.len()).step_by(173) {
        flip(&path, position);
        let damaged = fs::read(&path).unwrap();
        match refusal(directory.path(), one_segment()) {
            OpenError::Damaged { path: named, .. } if position < last => assert_eq!(named, path),
            OpenError::Lost {
                from: Sequence(4),
                to: Sequence(4),
            } if position >= last => {}
            other => panic!("byte {position} of {}: {other}", whole.len()),
        }
        assert_eq!(fs::read(&path).unwrap(), damaged);
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(open(directory.path()).head().sequence, Sequence(4));
}

#[test]
fn a_journal_that_ends_before_the_database_is_refused() {
    let directory = written(3, &options());
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("journal"), before.path());
    write(directory.path(), 4, 6, &options());
    replace(before.path(), &directory.path().join("journal"));
    let lost = refusal(directory.path(), options());
    assert!(
        matches!(
            lost,
            OpenError::Lost {
                from: Sequence(4),
                to: Sequence(6)
            }
        ),
        "{lost}"
    );

    fs::remove_dir_all(directory.path().join("journal")).unwrap();
    let lost = refusal(directory.path(), options());
    assert!(
        matches!(
            lost,
            OpenError::Lost {
                from: Sequence(1),
                to: Sequence(6)
            }
        ),
        "{lost}"
    );
}

#[test]
fn a_missing_segment_is_refused_when_it_is_needed() {
    let directory = written(12, &options());
    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    fs::remove_file(&segments[1].path).unwrap();
    {
        let store = open(directory.path());
        assert!(store.load(&organization("o3")).unwrap().is_some());
        assert!(matches!(
            store.history(Sequence(0), 100),
            Err(ReadError::Damaged(_))
        ));
    }
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    let lost = refusal(directory.path(), options());
    assert!(matches!(lost, OpenError::Lost { .. }), "{lost}");
    fs::remove_file(&segments[0].path).unwrap();
    let lost = refusal(directory.path(), options());
    assert!(
        matches!(
            lost,
            OpenError::Lost {
                from: Sequence(1),
                ..
            }
        ),
        "{lost}"
    );
}

#[test]
fn damage_to_old_history_shows_when_it_is_read_and_hinders_nothing_else() {
    let directory = written(12, &options());
    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    flip(&segments[1].path, 200);
    {
        let store = open(directory.path());
        make(&store, create("more")).unwrap();
        assert!(matches!(
            store.history(Sequence(0), 100),
            Err(ReadError::Damaged(_))
        ));
        let after = Sequence(segments[2].first.0 - 1);
        assert!(store.history(after, 100).is_ok());
    }
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    let damaged = refusal(directory.path(), options());
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
}

/// Rewrites commit `number` into another that is sealed and hashed as if it were right.
pub(super) fn falsify(path: &Path, number: u64) {
    let bytes = fs::read(path).unwrap();
    let mut falsified = bytes[..journal::SEGMENT_HEADER_BYTES].to_vec();
    let mut rest = &bytes[journal::SEGMENT_HEADER_BYTES..];
    while let Ok(frame) = frame::Frame::read(rest) {
        rest = &rest[frame.size()..];
        let mut entry = Entry::unseal(frame.entry).unwrap();
        if frame.sequence == Sequence(number) {
            entry.events[0].caller = "somebody else".to_owned();
        }
        let entry = entry.seal().unwrap();
        frame::Frame {
            entry: &entry,
            ..frame
        }
        .write(&mut falsified);
    }
    assert_ne!(bytes, falsified);
    fs::write(path, falsified).unwrap();
}

#[test]
fn rewritten_history_breaks_the_chain() {
    let directory = written(5, &one_segment());
    falsify(&last_segment(directory.path()), 3);
    match refusal(directory.path(), options()) {
        OpenError::Damaged { after, .. } => assert_eq!(after, Sequence(2)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rewritten_old_history_is_not_shown() {
    let directory = written(12, &options());
    let segments = journal::segments(&directory.path().join("journal")).unwrap();
    falsify(&segments[0].path, 1);
    let store = open(directory.path());
    assert!(matches!(
        store.history(Sequence(0), 100),
        Err(ReadError::Damaged(_))
    ));
}

#[test]
fn a_segment_with_a_rewritten_end_does_not_fit_the_next() {
    let directory = written(12, &options());
    let first = &journal::segments(&directory.path().join("journal")).unwrap()[0];
    let bytes = fs::read(&first.path).unwrap();
    let (kept, last) = bytes.split_at(bytes.len() - last_frame_size(&bytes));
    let frame = frame::Frame::read(last).unwrap();
    let mut entry = Entry::unseal(frame.entry).unwrap();
    entry.events[0].caller = "somebody else".to_owned();
    let entry = entry.seal().unwrap();
    let before = open(directory.path())
        .history(Sequence(frame.sequence.0 - 2), 1)
        .unwrap();
    let chain = crate::store::record::link(&before[0].chain, &entry);
    let mut rewritten = kept.to_vec();
    frame::Frame {
        entry: &entry,
        chain,
        ..frame
    }
    .write(&mut rewritten);
    fs::write(&first.path, rewritten).unwrap();

    assert!(matches!(
        open(directory.path()).history(Sequence(0), 100),
        Err(ReadError::Damaged(_))
    ));
    fs::remove_dir_all(directory.path().join("sled")).unwrap();
    let damaged = refusal(directory.path(), options());
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
}

#[test]
fn a_commit_that_was_moved_or_repeated_breaks_the_chain() {
    let directory = written(2, &one_segment());
    let path = last_segment(directory.path());
    let whole = fs::read(&path).unwrap();
    let last = whole[whole.len() - last_frame_size(&whole)..].to_vec();
    fs::write(&path, [&whole[..], &last[..]].concat()).unwrap();
    let damaged = refusal(directory.path(), options());
    assert!(
        matches!(
            damaged,
            OpenError::Damaged {
                after: Sequence(2),
                ..
            }
        ),
        "{damaged}"
    );
}

#[test]
fn damage_that_shows_while_the_database_catches_up_is_healed() {
    let directory = crashed(2, 4, &options());
    let whole = written(4, &options());
    let digest = keys::digest(&crate::store::samples::key("gone", "r"));
    let gone = organization("gone");
    meddle(directory.path(), |edit| {
        // An expired answer, which is looked at before it is forgotten.
        let expired = keys::expiry(crate::domain::organization::Moment(0), &gone, &digest);
        edit.note(expired).unwrap();
        let answer = keys::answer(&gone, &digest);
        edit.put(answer, b"garbage".to_vec()).unwrap();
    });
    assert_eq!(
        everything(&open(directory.path())),
        everything(&open(whole.path()))
    );
    assert!(directory.path().join("sled.damaged-1").exists());
}

#[test]
fn a_database_of_another_store_is_refused() {
    let directory = written(3, &options());
    let other = tempfile::tempdir().unwrap();
    {
        let store = open(other.path());
        for id in ["x", "y", "z"] {
            make(&store, create(id)).unwrap();
        }
    }
    replace(&other.path().join("sled"), &directory.path().join("sled"));
    let diverged = refusal(directory.path(), options());
    assert!(
        matches!(diverged, OpenError::Diverged(Sequence(3))),
        "{diverged}"
    );
}

#[test]
fn a_segment_that_was_only_begun_is_forgotten() {
    let directory = written(3, &one_segment());
    let journal = directory.path().join("journal");
    for length in [0, 1, journal::SEGMENT_HEADER_BYTES] {
        fs::write(journal.join("00000000000000000004.log"), vec![0; length]).unwrap();
        assert_eq!(open(directory.path()).head().sequence, Sequence(3));
    }
    write(directory.path(), 4, 4, &one_segment());
}

#[test]
fn an_interrupted_snapshot_of_sled_is_removed() {
    let directory = written(3, &options());
    let stale = directory
        .path()
        .join("sled")
        .join("snap.00000000000000FF.generating");
    fs::write(&stale, b"half a snapshot").unwrap();
    assert_eq!(open(directory.path()).head().sequence, Sequence(3));
    assert!(!stale.exists());
    assert!(
        !directory.path().join("sled.damaged-1").exists(),
        "healed what was not damaged"
    );
}

#[test]
fn a_damaged_database_is_kept_aside_and_made_anew() {
    let directory = written(40, &options());
    let expected = everything(&open(directory.path()));
    for attempt in 1..=2 {
        for file in fs::read_dir(directory.path().join("sled")).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                fs::write(&path, b"this is no database").unwrap();
            }
        }
        assert_eq!(everything(&open(directory.path())), expected);
        let aside = directory.path().join(format!("sled.damaged-{attempt}"));
        assert!(aside.join("conf").exists(), "attempt {attempt}");
    }
}

#[test]
fn whatever_byte_of_the_database_is_damaged_the_state_comes_back() {
    let directory = written(30, &options());
    let expected = everything(&open(directory.path()));
    let whole = tempfile::tempdir().unwrap();
    copy(&directory.path().join("sled"), whole.path());
    let checked = OpenOptions {
        verification: Verification::EveryRecord,
        ..options()
    };
    let files: Vec<_> = fs::read_dir(whole.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    for file in files {
        let used = fs::read(&file)
            .unwrap()
            .iter()
            .rposition(|byte| *byte != 0)
            .unwrap_or_default();
        let target = directory
            .path()
            .join("sled")
            .join(file.file_name().unwrap());
        for part in 0..8 {
            replace(whole.path(), &directory.path().join("sled"));
            flip(&target, used * part / 8);
            let store = SledStore::open(directory.path(), checked.clone()).unwrap();
            assert_eq!(
                everything(&store),
                expected,
                "part {part} of {}",
                target.display()
            );
        }
    }
}

#[test]
fn a_damaged_record_is_not_shown_and_can_be_healed_at_the_next_start() {
    let directory = written(3, &options());
    let o2 = organization("o2");
    meddle(directory.path(), |edit| {
        edit.flip(&record_key(&o2, &put_member("owner", 1)), 50);
    });
    {
        let store = open(directory.path());
        match store.load(&o2) {
            Err(ReadError::Damaged(why)) => assert!(why.contains("a member of"), "{why}"),
            other => panic!("{other:?}"),
        }
        // What is written beside it does not make it look sound.
        make(&store, commit("o2", Some(1), 2, vec![put_member("u", 2)])).unwrap();
        assert!(matches!(store.load(&o2), Err(ReadError::Damaged(_))));
        assert!(store.load(&organization("o1")).unwrap().is_some());
    }
    let checked = OpenOptions {
        verification: Verification::EveryRecord,
        ..options()
    };
    let healed = SledStore::open(directory.path(), checked).unwrap();
    assert!(directory.path().join("sled.damaged-1").exists());
    let whole = written(3, &options());
    let store = open(whole.path());
    make(&store, commit("o2", Some(1), 2, vec![put_member("u", 2)])).unwrap();
    assert_eq!(everything(&healed), everything(&store));
}

#[test]
fn lost_history_is_not_healed_away_with_a_damaged_record() {
    let directory = written(3, &options());
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("journal"), before.path());
    write(directory.path(), 4, 6, &options());
    replace(before.path(), &directory.path().join("journal"));
    meddle(directory.path(), |edit| {
        let mark = keys::mark(&organization("o2"));
        edit.put(mark, b"garbage".to_vec()).unwrap();
    });
    let checked = OpenOptions {
        verification: Verification::EveryRecord,
        ..options()
    };
    for _ in 0..2 {
        let lost = refusal(directory.path(), checked.clone());
        assert!(
            matches!(
                lost,
                OpenError::Lost {
                    from: Sequence(4),
                    to: Sequence(6)
                }
            ),
            "{lost}"
        );
    }
}

#[test]
fn a_record_in_the_place_of_another_is_not_shown() {
    let directory = written(2, &options());
    let o2 = organization("o2");
    let value = admission::seal_put(&put_member("else", 1))
        .unwrap()
        .unwrap();
    meddle(directory.path(), |edit| {
        edit.put(record_key(&o2, &put_member("someone", 1)), value)
            .unwrap();
    });
    assert!(matches!(
        open(directory.path()).load(&o2),
        Err(ReadError::Damaged(_))
    ));
}

#[test]
fn an_error_of_the_file_system_throws_nothing_away() {
    let directory = written(3, &options());
    let sled = directory.path().join("sled");
    let hidden = directory.path().join("hidden");
    fs::rename(&sled, &hidden).unwrap();
    fs::write(&sled, b"a file where a directory should be").unwrap();
    let refused = refusal(directory.path(), options());
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    assert!(!directory.path().join("sled.damaged-1").exists());
    fs::remove_file(&sled).unwrap();
    fs::rename(&hidden, &sled).unwrap();
    assert_eq!(open(directory.path()).head().sequence, Sequence(3));
}
