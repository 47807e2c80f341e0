//! `roster verify` on data directories that are whole, damaged, in use, or none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, Ended, roster, run};

fn verify(directory: &Path) -> Command {
    let mut command = roster();
    command.arg("verify").arg("--data-dir").arg(directory);
    command
}

fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(ended.stdout.trim()).expect("one JSON object")
}

/// Every file below a directory with what it holds.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                all.push((path, bytes));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_clean_directory_checks_out_and_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    Daemon::start_with(directory.path(), &["--example"]).stop();
    let before = contents(directory.path());

    let ended = run(&mut verify(directory.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("events check out"),
        "{}",
        ended.stdout
    );

    let ended = run(verify(directory.path()).args(["--output", "json"]));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let report = json(&ended);
    assert_eq!(report["ok"], true);
    assert!(report["commits"].as_u64().unwrap() > 10, "{report}");
    assert!(
        report["events"].as_u64() >= report["commits"].as_u64(),
        "{report}"
    );
    assert_eq!(report["organizations"], 5, "{report}");
    assert_eq!(report["chain"].as_str().unwrap().len(), 64, "{report}");
    assert!(
        contents(directory.path()) == before,
        "something was changed"
    );
}

#[test]
fn a_flipped_byte_of_a_segment_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    Daemon::start_with(directory.path(), &["--example"]).stop();
    let segments: Vec<PathBuf> = fs::read_dir(directory.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [segment] = segments.as_slice() else {
        panic!("{segments:?}");
    };
    let whole = fs::read(segment).unwrap();
    for place in [whole.len() / 8, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(segment, &damaged).unwrap();

        let ended = run(verify(directory.path()).args(["--output", "json"]));

        assert_eq!(ended.code(), Some(4), "byte {place}: {}", ended.stderr);
        let name = segment.file_name().unwrap().to_str().unwrap();
        let named = ended.stderr.contains(name) && ended.stderr.contains("damaged after commit");
        let lost = ended.stderr.contains("lost ");
        assert!(named || lost, "byte {place}: {}", ended.stderr);
        assert_eq!(json(&ended)["ok"], false);
        assert_eq!(fs::read(segment).unwrap(), damaged, "it is left as it was");
    }
}

#[test]
fn a_directory_that_a_daemon_has_open_is_refused_like_to_a_second_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let ended = run(&mut verify(directory.path()));
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("is in use"), "{}", ended.stderr);
    daemon.stop();
    let ended = run(&mut verify(directory.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn what_is_no_data_directory_does_not_check_out() {
    let directory = tempfile::tempdir().unwrap();
    for absent in [
        directory.path().to_owned(),
        directory.path().join("nowhere"),
    ] {
        let ended = run(&mut verify(&absent));
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        let told = ended.stderr.contains("is no data directory");
        assert!(told, "{}", ended.stderr);
    }
    assert_eq!(run(roster().arg("verify")).code(), Some(2));
}
