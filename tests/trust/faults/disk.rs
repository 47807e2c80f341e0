//! Disks that are full or can't be written: on file systems of the test's own, which
//! takes the right to mount.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::Code;

use super::{add, assert_decides, members, start_to_the_last_byte, status};
use crate::backup::team;
use crate::harness::reason;
use crate::program::{Daemon, Process, run, serve};

/// A file system of the test's own; gone with it.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts with these arguments; says so and answers nothing where that is not allowed.
    fn new(place: &Path, arguments: &[&str]) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(place).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(place.to_owned())),
            other => {
                eprintln!("SKIPPED, as nothing can be mounted here (root can): {other:?}");
                None
            }
        }
    }

    fn small(place: &Path) -> Option<Self> {
        Self::new(place, &["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Fills the file system but for so many bytes. Removing the file frees it again.
fn fill(directory: &Path, but: u64) -> PathBuf {
    let path = directory.join("filler");
    let mut file = File::create(&path).unwrap();
    let zeros = vec![0; 4096];
    while file.write_all(&zeros).is_ok() {}
    let written = file.metadata().unwrap().len();
    file.set_len(written.saturating_sub(but)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_refuses_changes_decides_on_and_recovers_by_itself() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(&place.path().join("disk")) else {
        return;
    };
    let daemon = team(&disk.0.join("data")).await;
    add(&daemon, "before").await.expect("there is room");
    let filler = fill(&disk.0, 512 * 1024);

    let refused = add(&daemon, "late").await.expect_err("it is full");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(&refused), "DISK_FULL");
    assert_decides(&daemon).await;
    let told = status(&daemon).await;
    assert!(
        told.refuses_writes && told.free_bytes < told.minimum_free_bytes,
        "{told:?}"
    );
    assert!(told.refusal_reason.contains("free some space"), "{told:?}");
    assert!(!members(&daemon).await.contains(&"late".to_owned()));

    fs::remove_file(filler).unwrap();
    add(&daemon, "late").await.expect("there is room again");
    assert!(!status(&daemon).await.refuses_writes);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_to_the_last_byte_loses_nothing_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(&place.path().join("disk")) else {
        return;
    };
    let data = disk.0.join("data");
    team(&data).await.stop();
    let daemon = start_to_the_last_byte(&data);
    let filler = fill(&disk.0, 64 * 1024);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let user = format!("m{}", acknowledged.len());
        match add(&daemon, &user).await {
            Ok(()) => acknowledged.push(user),
            Err(status) => break status,
        }
        assert!(acknowledged.len() < 5_000, "the disk is never full");
    };
    let codes = [Code::ResourceExhausted, Code::Unavailable, Code::Unknown];
    assert!(codes.contains(&refused.code()), "{refused:?}");
    assert_decides(&daemon).await;
    daemon.kill();

    // On a full disk it may not start, and says why.
    match Daemon::if_it_serves(&data, Process::spawn(&mut serve(&data))) {
        Ok(daemon) => daemon.kill(),
        Err(ended) => {
            assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
            assert!(ended.stderr.contains("No space"), "{}", ended.stderr);
        }
    }

    fs::remove_file(filler).unwrap();
    let daemon = Daemon::start(&data);
    let found = members(&daemon).await;
    let lost: Vec<&String> = acknowledged
        .iter()
        .filter(|user| !found.contains(user))
        .collect();
    assert!(lost.is_empty(), "{lost:?} of {}", acknowledged.len());
    // One more at most: what was under way when the disk was full.
    assert!(found.len() <= 8 + acknowledged.len() + 1, "{found:?}");
    assert_decides(&daemon).await;
    add(&daemon, "after").await.expect("there is room again");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_can_t_be_written_is_a_clear_error_and_can_be_read_and_copied() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    team(&data).await.stop();
    let frozen = place.path().join("frozen");
    let from = data.to_str().unwrap();
    let Some(frozen) = Mounted::new(&frozen, &["--bind", from]) else {
        return;
    };
    let remounted = Command::new("mount")
        .args(["-o", "remount,bind,ro"])
        .arg(&frozen.0)
        .status()
        .unwrap();
    assert!(remounted.success());

    let ended = run(&mut serve(&frozen.0));
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("can't") && ended.stderr.contains("Read-only"),
        "{}",
        ended.stderr
    );

    // What changes nothing in it works.
    let mut verify = crate::program::roster();
    verify.arg("verify").arg("--data-dir").arg(&frozen.0);
    crate::backup::succeeds(&mut verify);
    let mut copy = crate::program::roster();
    copy.arg("backup").arg("--data-dir").arg(&frozen.0);
    crate::backup::succeeds(copy.arg("--to").arg(place.path().join("backup")));
    // A backup into it, and a restore, don't.
    let mut copy = crate::program::roster();
    copy.arg("backup").arg("--data-dir").arg(&frozen.0);
    let ended = run(copy.arg("--to").arg(frozen.0.join("backup")));
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    let to = frozen.0.join("sub");
    let ended = run(&mut crate::backup::restore(
        &place.path().join("backup"),
        &to,
    ));
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_a_restore_that_meet_a_full_disk_leave_nothing() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let file = place.path().join("backup");
    team(&data).await.stop();
    let mut copy = crate::program::roster();
    copy.arg("backup")
        .arg("--data-dir")
        .arg(&data)
        .arg("--to")
        .arg(&file);
    crate::backup::succeeds(&mut copy);
    let Some(disk) = Mounted::small(&place.path().join("disk")) else {
        return;
    };
    let filler = fill(&disk.0, 0);
    let mut copy = crate::program::roster();
    copy.arg("backup").arg("--data-dir").arg(&data);
    let ended = run(copy.arg("--to").arg(disk.0.join("backup")));
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space"), "{}", ended.stderr);
    let again = disk.0.join("again");
    let ended = run(&mut crate::backup::restore(&file, &again));
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space"), "{}", ended.stderr);
    let left = crate::backup::names(&disk.0);
    assert!(
        left.iter().all(|path| *path == filler || *path == again),
        "{left:?}"
    );
    fs::remove_file(filler).unwrap();
    crate::backup::succeeds(&mut crate::backup::restore(&file, &again));
}
