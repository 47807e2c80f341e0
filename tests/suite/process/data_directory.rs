//! The files that the daemon keeps: the operator's key, and damage to the history.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use roster::proto::v1;
use roster::proto::v1::member_service_client::MemberServiceClient;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use tonic::{Code, Status};

use super::{Daemon, run, serve, signed};

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_key_is_written_once_for_the_owner_only_and_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("operator.key");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let daemon = Daemon::start_with(directory.path(), &["--log", "trace"]);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = OrganizationServiceClient::new(daemon.connect().await);
        let list = v1::ListOrganizationsRequest::default;
        client
            .list_organizations(daemon.signed(list()))
            .await
            .expect("the key is right");
        let nearly = format!("{}0", daemon.key);
        let refused = client
            .list_organizations(signed(&nearly, list()))
            .await
            .expect_err("another key is not");
        assert_eq!(refused.code(), Code::Unauthenticated);

        let key = daemon.key.clone();
        let ended = daemon.stop();
        let secret = key.strip_prefix("roster_operator_").expect("its prefix");
        assert_eq!(secret.len(), 64);
        for printed in [ended.stdout, ended.stderr] {
            assert!(!printed.contains(&secret[..16]), "{printed}");
        }
        keys.push(key);
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn a_key_file_without_a_key_is_refused_and_left_alone() {
    for garbage in ["", "hunter2\n", "roster_operator_short\n"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("operator.key");
        fs::write(&file, garbage).unwrap();

        let ended = run(&mut serve(directory.path()));

        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        let message = format!(
            "roster: `{}` holds no operator key; delete the file to have a new key written",
            file.display()
        );
        assert!(ended.stderr.contains(&message), "{}", ended.stderr);
        assert_eq!(fs::read_to_string(&file).unwrap(), garbage);
    }
}

#[test]
fn a_key_that_a_dying_process_left_half_written_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("operator.key.new"), "roster_op").unwrap();
    let daemon = Daemon::start(directory.path());
    assert!(daemon.key.len() > 64);
    daemon.stop();
    assert!(!directory.path().join("operator.key.new").exists());
}

#[test]
fn a_flipped_byte_of_the_history_is_found_and_ends_the_start() {
    let directory = tempfile::tempdir().unwrap();
    Daemon::start_with(directory.path(), &["--example"]).stop();
    let journal = only_segment(directory.path());
    let whole = fs::read(&journal).unwrap();
    let places = [
        whole.len() / 8,
        whole.len() / 2,
        whole.len() - whole.len() / 8,
        whole.len() - 1,
    ];
    for place in places {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&journal, &damaged).unwrap();

        let ended = run(&mut serve(directory.path()));

        assert_eq!(ended.code(), Some(4), "byte {place}: {}", ended.stderr);
        let told = ended.stderr.contains("restore it from a backup");
        assert!(told, "byte {place}: {}", ended.stderr);
        assert_eq!(fs::read(&journal).unwrap(), damaged, "it is left as it was");
    }
    fs::write(&journal, &whole).unwrap();
    Daemon::start(directory.path()).stop();
}

fn only_segment(directory: &Path) -> PathBuf {
    let mut segments: Vec<PathBuf> = fs::read_dir(directory.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_told_of_and_made_anew_from_the_journal_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(directory.path(), &["--example"]);
    let before = listed(&daemon).await;
    daemon.stop();
    let damaged = damage_names(&directory.path().join("sled"));
    assert!(damaged >= 5, "{damaged} names");

    let daemon = Daemon::start(directory.path());
    let refused = list(&daemon).await.expect_err("it is damaged");
    assert_eq!(refused.code(), Code::Unavailable);
    let told = daemon.stop_and_tell();
    assert!(told.contains("a record is damaged"), "{told}");
    assert!(told.contains("cloud-66-example"), "{told}");

    let daemon = Daemon::start(directory.path());
    assert_eq!(listed(&daemon).await, before);
    let told = daemon.stop_and_tell();
    assert!(told.contains("every record is checked"), "{told}");

    let daemon = Daemon::start(directory.path());
    assert_eq!(listed(&daemon).await, before);
    let told = daemon.stop_and_tell();
    assert!(!told.contains("damaged"), "it is checked once: {told}");
}

/// The members of an example, as the daemon lists them.
async fn listed(daemon: &Daemon) -> Vec<v1::Member> {
    list(daemon).await.expect("the members")
}

async fn list(daemon: &Daemon) -> Result<Vec<v1::Member>, Status> {
    let request = v1::ListMembersRequest {
        organization: "cloud-66-example".to_owned(),
        ..Default::default()
    };
    let answer = MemberServiceClient::new(daemon.connect().await)
        .list_members(daemon.signed(request))
        .await;
    answer.map(|answer| answer.into_inner().members)
}

/// Changes a bit in the names of all examples, wherever the closed database keeps them,
/// and answers how many it found.
fn damage_names(database: &Path) -> usize {
    const LEAVES: u8 = 1;
    const NAME: &[u8] = b" example";
    let database = sled::open(database).expect("the database opens");
    let mut damaged = 0;
    for leaf in database.scan_prefix([LEAVES]) {
        let (key, value) = leaf.expect("a leaf");
        let mut changed = value.to_vec();
        for at in 0..value.len().saturating_sub(NAME.len()) {
            if value[at..].starts_with(NAME) {
                changed[at + 1] ^= 1;
                damaged += 1;
            }
        }
        database.insert(key, changed).expect("it is written");
    }
    database.flush().expect("it is flushed");
    damaged
}
