//! The README's commands for backups, run as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::backup::{decisions, status, succeeds, team};
use crate::program::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_readme_do_what_it_says() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.expect("the README");
    let section = readme
        .split("## Backup and restore\n")
        .nth(1)
        .expect("its section");
    let block = section.split("```sh\n").nth(1).expect("a block");
    let commands = block.split("```").next().expect("commands");
    assert_eq!(commands.matches("roster ").count(), 6, "{commands}");

    let place = tempfile::tempdir().unwrap();
    let daemon = team(&place.path().join("data")).await;
    let here = commands.replace("127.0.0.1:7350", &daemon.address.to_string());
    let program = Path::new(env!("CARGO_BIN_EXE_roster")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("set -euo pipefail\n{here}")]);
    succeeds(shell.env("PATH", path).current_dir(place.path()));
    daemon.stop();

    // With its keys, it is the same daemon.
    let restored = Daemon::start(&place.path().join("restored"));
    let source = Daemon::start(&place.path().join("data"));
    assert_eq!(restored.key, source.key);
    assert_eq!(status(&restored).await.chain, status(&source).await.chain);
    assert_eq!(decisions(&restored).await, decisions(&source).await);
    restored.stop();
    let imported = Daemon::start(&place.path().join("imported"));
    assert_eq!(decisions(&imported).await, decisions(&source).await);
    imported.stop();
    source.stop();
}
