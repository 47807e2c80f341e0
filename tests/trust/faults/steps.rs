//! The process dies or the disk fails at each step of the write path.
//!
//! Where a process dies at random, most of its steps are never its last. Here each is.

use tonic::Code;

use super::{add, assert_decides, members, status};
use crate::backup::{backup_of, head, names, restore, succeeds, team};
use crate::program::{Daemon, roster, run};
use crate::storm::Storm;

/// Dies at a step, and looks at what was acknowledged.
async fn dies(failpoint: &str, least: usize) {
    let directory = tempfile::tempdir().unwrap();
    let acknowledged = Storm::until_it_dies(directory.path(), failpoint).await;
    assert!(acknowledged >= least, "{failpoint}: {acknowledged} changes");
    let mut verify = roster();
    verify.arg("verify").arg("--data-dir").arg(directory.path());
    succeeds(&mut verify);
}

macro_rules! dies_at {
    ($($name:ident: $failpoint:literal, $least:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                dies($failpoint, $least).await;
            }
        )*
    };
}

dies_at! {
    nothing_is_lost_when_it_dies_before_it_appends: "append=kill@40", 20;
    nothing_is_lost_when_it_dies_half_way_through_appending: "append-half=kill@40", 20;
    nothing_is_lost_when_it_dies_before_what_it_appended_is_durable: "sync=kill@40", 20;
    nothing_is_lost_when_it_dies_once_what_it_appended_is_durable: "synced=kill@40", 20;
    nothing_is_lost_when_it_dies_before_it_applies: "apply=kill@30", 10;
    nothing_is_lost_when_it_dies_before_a_batch_is_written: "batch=kill@30", 10;
    nothing_is_lost_when_it_dies_after_a_batch_is_written: "batched=kill@30", 10;
    nothing_is_lost_when_it_dies_before_it_publishes: "publish=kill@50", 20;
    nothing_is_lost_when_it_dies_before_it_answers: "answer=kill@50", 20;
    nothing_is_lost_when_it_dies_in_a_checkpoint: "checkpoint=kill@2", 4;
    nothing_is_lost_when_it_dies_while_it_begins_a_segment: "segment=kill", 0;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_while_history_is_made_durable_ends_changes_and_no_checks() {
    let directory = tempfile::tempdir().unwrap();
    team(directory.path()).await.stop();
    let daemon = Daemon::start_armed(directory.path(), "sync=fail@2");
    add(&daemon, "good").await.expect("the disk is sound yet");
    let unknown = add(&daemon, "unsure").await.expect_err("the disk fails");
    assert_eq!(unknown.code(), Code::Unknown, "{unknown:?}");
    let refused = add(&daemon, "late").await.expect_err("no changes any more");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_decides(&daemon).await;
    let told = status(&daemon).await;
    assert!(told.refuses_writes, "{told:?}");
    assert!(
        told.refusal_reason.contains("the journal failed"),
        "{told:?}"
    );
    daemon.stop();

    let daemon = Daemon::start(directory.path());
    let found = members(&daemon).await;
    assert!(found.contains(&"good".to_owned()));
    assert!(
        !found.contains(&"late".to_owned()),
        "what was refused did not happen"
    );
    // Repeated, what was unknown is done once.
    add(&daemon, "unsure")
        .await
        .expect("the disk is sound again");
    add(&daemon, "unsure").await.expect("the same request");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_one_append_refuses_that_change_only_once() {
    for step in ["append=full@2", "append-half=full@2"] {
        let directory = tempfile::tempdir().unwrap();
        team(directory.path()).await.stop();
        let daemon = Daemon::start_armed(directory.path(), step);
        add(&daemon, "good").await.expect("there is room yet");
        let refused = add(&daemon, "late").await.expect_err("it is full");
        assert_eq!(
            refused.code(),
            Code::ResourceExhausted,
            "{step}: {refused:?}"
        );
        assert_decides(&daemon).await;
        assert_eq!(members(&daemon).await.len(), 9, "{step}");
        daemon.stop();
        // Nothing of it stayed behind.
        let mut verify = roster();
        verify.arg("verify").arg("--data-dir").arg(directory.path());
        let ended = succeeds(&mut verify);
        assert!(
            !ended.stdout.contains("cuts off"),
            "{step}: {}",
            ended.stdout
        );
        let daemon = Daemon::start(directory.path());
        add(&daemon, "late").await.expect("there is room again");
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_keeps_what_was_made_durable_and_the_daemon_decides_on() {
    // The start applies once, though there is nothing to apply.
    for step in [
        "apply=fail@2",
        "batch=fail@2",
        "batched=fail@2",
        "checkpoint=fail",
    ] {
        let directory = tempfile::tempdir().unwrap();
        team(directory.path()).await.stop();
        let daemon = Daemon::start_armed(directory.path(), step);
        // Warm, as the organization can't be read from a failed database.
        assert_decides(&daemon).await;
        add(&daemon, "durable").await.expect("it is in the history");
        while !status(&daemon).await.refuses_writes {
            tokio::task::yield_now().await;
        }
        let refused = add(&daemon, "late").await.expect_err("no changes any more");
        assert_eq!(refused.code(), Code::Unavailable, "{step}: {refused:?}");
        assert_decides(&daemon).await;
        daemon.stop();
        let daemon = Daemon::start(directory.path());
        let found = members(&daemon).await;
        assert!(found.contains(&"durable".to_owned()), "{step}");
        assert_eq!(found.len(), 9, "{step}: {found:?}");
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_dies_before_it_has_its_name_is_none() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("backup"));
    let daemon = team(&data).await;
    let ended = run(backup_of(&daemon, &data, &file).env("ROSTER_FAILPOINT", "backup-rename=kill"));
    assert_eq!(ended.code(), None, "{}", ended.stderr);
    assert!(!file.exists());
    let ended = run(backup_of(&daemon, &data, &file).env("ROSTER_FAILPOINT", "backup-rename=fail"));
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(!file.exists());
    succeeds(&mut backup_of(&daemon, &data, &file));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_dies_leaves_an_empty_directory_or_a_whole_one() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("backup"));
    let daemon = team(&data).await;
    succeeds(&mut backup_of(&daemon, &data, &file));
    daemon.stop();
    let again = |name: &str| place.path().join(name);

    // Before anything is in place: the next attempt finds the directory empty.
    for step in ["append=kill", "synced=kill", "restore-journal=kill"] {
        let to = again("early");
        let ended = run(restore(&file, &to).env("ROSTER_FAILPOINT", step));
        assert_eq!(ended.code(), None, "{step}: {}", ended.stderr);
        assert!(
            !to.join("journal").exists() && !to.join("sled").exists(),
            "{step}"
        );
    }
    for step in ["sync=fail", "restore-journal=fail"] {
        let to = again("early");
        let ended = run(restore(&file, &to).env("ROSTER_FAILPOINT", step));
        assert_eq!(ended.code(), Some(3), "{step}: {}", ended.stderr);
        let left = names(&to);
        assert!(
            left.iter().all(|path| path.ends_with("lock")),
            "{step}: {left:?}"
        );
    }
    succeeds(&mut restore(&file, &again("early")));
    assert_eq!(head(&again("early")), head(&data));

    // Once the history is in place everything is.
    let to = again("late");
    let ended = run(restore(&file, &to).env("ROSTER_FAILPOINT", "restore-sled=kill"));
    assert_eq!(ended.code(), None, "{}", ended.stderr);
    let daemon = Daemon::start(&to);
    assert_decides(&daemon).await;
    daemon.stop();
    assert_eq!(head(&to), head(&data));
    let to = again("without-state");
    succeeds(restore(&file, &to).env("ROSTER_FAILPOINT", "restore-sled=fail"));
    assert!(!to.join("sled").exists());
    assert_eq!(head(&to), head(&data));
    assert!(to.join("sled").exists(), "made anew");
}

#[test]
fn what_is_no_failpoint_is_refused_and_names_it() {
    let ended = run(roster()
        .arg("catalog")
        .arg("schema")
        .arg("x")
        .env("ROSTER_FAILPOINT", "x"));
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.contains("`x` is no failpoint"),
        "{}",
        ended.stderr
    );
}
