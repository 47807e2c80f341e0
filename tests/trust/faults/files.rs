//! Files of the store that are not as they were: each is injured in turn.

use std::fs;
use std::path::{Path, PathBuf};

use super::{assert_decides, members};
use crate::backup::{backup_of, copy_of, team};
use crate::program::{Daemon, Process, roster, run, serve};

/// Every file below a directory, as paths in it.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for path in crate::backup::names(&next) {
            match path.is_dir() {
                true => waiting.push(path),
                false => found.push(path.strip_prefix(directory).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// What a file is turned into, by what was done to it.
fn injuries(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut injured = Vec::new();
    let ends = [0, whole.len() / 2, whole.len().saturating_sub(1)];
    for at in ends.into_iter().filter(|at| *at < whole.len()) {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x10;
        injured.push((format!("byte {at} flipped"), flipped));
        injured.push((format!("cut at {at}"), whole[..at].to_vec()));
    }
    injured
}

/// Serves from an injured directory. Either it serves, if need be after a second start,
/// what it served before; or it ends with this code and these words.
async fn serves_or_refuses(directory: &Path, what: &str) -> Option<(i32, String)> {
    let process = Process::spawn(&mut serve(directory));
    let daemon = match Daemon::if_it_serves(directory, process) {
        Ok(daemon) => daemon,
        Err(ended) => {
            let code = ended.code().unwrap_or_else(|| panic!("{what}: killed"));
            return Some((code, ended.stderr));
        }
    };
    daemon.stop();
    let daemon = Daemon::start(directory);
    assert_eq!(members(&daemon).await.len(), 8, "{what}");
    assert_decides(&daemon).await;
    daemon.stop();
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injured_file_is_healed_or_refused_in_words_that_say_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let whole = place.path().join("whole");
    team(&whole).await.stop();
    let names = files_in(&whole);
    let of_the_journal = |name: &Path| name.starts_with("journal");
    assert!(names.iter().any(|name| of_the_journal(name)), "{names:?}");
    let (mut healed, mut refused) = (0, 0);
    for name in &names {
        let bytes = fs::read(whole.join(name)).unwrap();
        for (number, (what, injured)) in injuries(&bytes).into_iter().enumerate() {
            let what = format!("{}, {what}", name.display());
            let directory = place.path().join(format!(
                "{}-{number}",
                name.to_str().unwrap().replace('/', "-")
            ));
            copy_of(&whole, &directory);
            fs::write(directory.join(name), &injured).unwrap();
            let outcome = serves_or_refuses(&directory, &what).await;
            match (&outcome, name.to_str().unwrap()) {
                (None, name) if !name.starts_with("journal") => healed += 1,
                (Some((4, words)), name) if name.starts_with("journal") => {
                    assert!(
                        words.contains("restore it from a backup"),
                        "{what}: {words}"
                    );
                    refused += 1;
                }
                (Some((1, words)), "operator.key" | "signing.key") => {
                    assert!(words.contains("delete the file"), "{what}: {words}");
                    refused += 1;
                }
                (outcome, _) => panic!("{what}: {outcome:?}"),
            }
            fs::remove_dir_all(directory).unwrap();
        }
    }
    assert!(
        healed >= 12 && refused >= 6,
        "{healed} healed, {refused} refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_part_of_the_store_is_made_anew_or_told_to_be_lost() {
    let place = tempfile::tempdir().unwrap();
    let whole = place.path().join("whole");
    team(&whole).await.stop();

    let without_state = place.path().join("without-state");
    copy_of(&whole, &without_state);
    fs::remove_dir_all(without_state.join("sled")).unwrap();
    assert_eq!(serves_or_refuses(&without_state, "no state").await, None);

    let without_history = place.path().join("without-history");
    copy_of(&whole, &without_history);
    fs::remove_dir_all(without_history.join("journal")).unwrap();
    let (code, words) = serves_or_refuses(&without_history, "no history")
        .await
        .expect("refused");
    assert_eq!(code, 4, "{words}");
    assert!(words.contains("lost 1..11"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_injured_while_a_daemon_serves_ends_a_backup_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("backup"));
    let daemon = team(&data).await;
    let segment = data.join("journal/00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let ended = run(&mut backup_of(&daemon, &data, &file));
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    let told = ended.stderr.contains("the history is damaged after commit");
    assert!(
        told && ended.stderr.contains("restore it from a backup"),
        "{}",
        ended.stderr
    );
    let mut export = roster();
    export.arg("export").arg("--to").arg(&file);
    export.args(["--address", &format!("http://{}", daemon.address)]);
    let ended = run(export.arg("--key-file").arg(data.join("operator.key")));
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert_eq!(
        crate::backup::names(place.path()),
        [data],
        "no half of a file is left"
    );
    assert_decides(&daemon).await;
    daemon.stop();
}
