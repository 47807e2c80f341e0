//! `roster backup` and `roster restore`: what comes back is what was there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roster::application::revision;
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::member_service_client::MemberServiceClient;
use roster::proto::v1::operator_service_client::OperatorServiceClient;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use roster::proto::v1::project_service_client::ProjectServiceClient;
use roster::store::sled::{OpenOptions, SledStore};
use roster::store::{Sequence, Store};
use tonic::transport::Channel;

use crate::harness::{in_project, question};
use crate::program::{Daemon, Ended, roster, run, signed};

const ACME: &str = "acme";
const ACTIONS: [&str; 3] = ["InstancesView", "InstancesManage", "InstancesDelete"];

pub fn backup_of(daemon: &Daemon, keys: &Path, to: &Path) -> Command {
    let mut command = roster();
    command
        .arg("backup")
        .arg("--to")
        .arg(to)
        .args(["--address", &format!("http://{}", daemon.address)])
        .arg("--key-file")
        .arg(keys.join("operator.key"));
    command
}

pub fn restore(from: &Path, to: &Path) -> Command {
    let mut command = roster();
    command.arg("restore").arg("--from").arg(from);
    command.arg("--data-dir").arg(to);
    command
}

pub fn succeeds(command: &mut Command) -> Ended {
    let ended = run(command);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

pub fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(ended.stdout.trim()).expect("one JSON object")
}

/// Every name below a directory, sorted.
pub fn names(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(directory)
        .map(|files| files.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// Copies a directory that nobody has open.
pub fn copy_of(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_of(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// The head of a directory that nobody has open.
pub fn head(directory: &Path) -> roster::store::Head {
    SledStore::open(directory, OpenOptions::default())
        .expect("it opens")
        .head()
}

/// A member of this test's organization, and what they hold.
async fn write_on(channel: Channel, key: String, number: u64) -> Result<(), tonic::Status> {
    let mut members = MemberServiceClient::new(channel.clone());
    let mut projects = ProjectServiceClient::new(channel);
    let user = format!("u{}", number % 7);
    let project = format!("p{}", number % 3);
    let role = ["operator", "viewer"][(number % 2) as usize].to_owned();
    let organization = ACME.to_owned();
    match number % 5 {
        0 => {
            let request = v1::SuspendMemberRequest {
                organization,
                user,
                ..Default::default()
            };
            members
                .suspend_member(signed(&key, request))
                .await
                .map(drop)
        }
        1 | 2 => {
            let request = v1::SetMemberRolesRequest {
                organization,
                user,
                roles: vec![role],
                ..Default::default()
            };
            members
                .set_member_roles(signed(&key, request))
                .await
                .map(drop)
        }
        3 => {
            let request = v1::SetProjectOverrideRequest {
                organization,
                user,
                project,
                roles: vec![role],
                ..Default::default()
            };
            projects
                .set_project_override(signed(&key, request))
                .await
                .map(drop)
        }
        _ => {
            let request = v1::ReinstateMemberRequest {
                organization,
                user,
                ..Default::default()
            };
            members
                .reinstate_member(signed(&key, request))
                .await
                .map(drop)
        }
    }
}

/// Every decision there is to ask for, in a fixed order.
fn all_questions() -> Vec<v1::IsAuthorizedRequest> {
    let mut questions = Vec::new();
    for user in (0..7)
        .map(|number| format!("u{number}"))
        .chain(["owner".to_owned()])
    {
        for action in ACTIONS {
            for project in 0..3 {
                for resource in ["r0", "r1"] {
                    let asked = question(ACME, &user, action, "Instance", resource);
                    questions.push(in_project(asked, &format!("p{project}")));
                }
            }
        }
    }
    questions
}

/// What is decided, and at which revision each.
pub async fn decisions(daemon: &Daemon) -> Vec<(v1::Decision, String)> {
    let mut client = AuthorizationServiceClient::new(daemon.connect().await);
    let request = v1::BatchIsAuthorizedRequest {
        requests: all_questions(),
        ..Default::default()
    };
    let answers = client.batch_is_authorized(daemon.signed(request)).await;
    let items = answers.expect("answers").into_inner().items;
    items
        .into_iter()
        .map(|item| match item.result {
            Some(v1::batch_item::Result::Response(answer)) => {
                (answer.decision(), answer.revision.clone())
            }
            other => panic!("no answer but {other:?}"),
        })
        .collect()
}

/// A daemon with a team of seven in three projects.
pub async fn team(directory: &Path) -> Daemon {
    let daemon = Daemon::start(directory);
    let channel = daemon.connect().await;
    let founding = v1::CreateOrganizationRequest {
        display_name: "Acme".to_owned(),
        organization_id: ACME.to_owned(),
        catalog: "hypervisor-io".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    let mut organizations = OrganizationServiceClient::new(channel.clone());
    organizations
        .create_organization(daemon.signed(founding))
        .await
        .expect("it is founded");
    for number in 0..7 {
        let request = v1::AddMemberRequest {
            organization: ACME.to_owned(),
            user: format!("u{number}"),
            roles: vec![["operator", "viewer"][number % 2].to_owned()],
            ..Default::default()
        };
        let mut members = MemberServiceClient::new(channel.clone());
        members
            .add_member(daemon.signed(request))
            .await
            .expect("added");
    }
    for number in 0..3 {
        let request = v1::CreateProjectRequest {
            organization: ACME.to_owned(),
            project_id: format!("p{number}"),
            display_name: "P".to_owned(),
            ..Default::default()
        };
        let mut projects = ProjectServiceClient::new(channel.clone());
        projects
            .create_project(daemon.signed(request))
            .await
            .expect("created");
    }
    daemon
}

/// Writes until it is dropped, and counts how often.
struct Writing {
    count: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writing {
    async fn on(daemon: &Daemon) -> Self {
        let (key, channel) = (daemon.key.clone(), daemon.connect().await);
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let task = tokio::spawn(async move {
            for number in 0.. {
                // Some are refused, such as suspending twice: those are commits as well.
                let _ = write_on(channel.clone(), key.clone(), number).await;
                counted.store(number + 1, Ordering::SeqCst);
            }
        });
        Self { count, task }
    }

    /// Waits for so many more.
    async fn some(&self, more: u64) {
        let end = self.count.load(Ordering::SeqCst) + more;
        while self.count.load(Ordering::SeqCst) < end {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_writes_restores_to_every_decision_of_its_revision() {
    let place = tempfile::tempdir().unwrap();
    let (data, file, again) = (
        place.path().join("data"),
        place.path().join("backup"),
        place.path().join("again"),
    );
    let daemon = team(&data).await;
    let writing = Writing::on(&daemon).await;
    writing.some(50).await;
    let before = status(&daemon).await.commits;
    let ended = succeeds(backup_of(&daemon, &data, &file).args(["--output", "json"]));
    let after = status(&daemon).await.commits;
    writing.some(10).await;
    drop(writing);
    daemon.stop();

    let told = json(&ended);
    let commits = told["commits"].as_u64().unwrap();
    assert!(
        before <= commits && commits <= after,
        "{before} {commits} {after}"
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds addresses");
    assert_eq!(
        names(place.path()),
        [file.clone(), data.clone()],
        "nothing else is left"
    );

    // What the source was at that revision: its own history up to there.
    let source = place.path().join("source");
    history_up_to(&data, Sequence(commits), &source);
    let ended = succeeds(restore(&file, &again).args(["--output", "json"]));
    assert_eq!(json(&ended)["chain"], told["chain"]);
    let (source, restored) = (Daemon::start(&source), Daemon::start(&again));
    let expected = decisions(&source).await;
    assert_eq!(decisions(&restored).await, expected);
    assert!(
        expected
            .iter()
            .any(|(decision, _)| *decision == v1::Decision::Allow)
    );
    assert!(
        expected
            .iter()
            .any(|(decision, _)| *decision == v1::Decision::Deny)
    );
    assert_eq!(
        status(&restored).await.chain,
        told["chain"].as_str().unwrap()
    );

    // It goes on from there, and checks out.
    write_on(restored.connect().await, restored.key.clone(), 1)
        .await
        .expect("it takes changes");
    assert_eq!(status(&restored).await.commits, commits + 1);
    restored.stop();
    source.stop();
    let mut verify = roster();
    verify.arg("verify").arg("--data-dir").arg(&again);
    succeeds(&mut verify);
}

/// The directory of a daemon that had stopped after that commit. It is made by the
/// journal alone, not by what is tested.
fn history_up_to(data: &Path, end: Sequence, to: &Path) {
    let segment = "journal/00000000000000000001.log";
    fs::create_dir_all(to.join("journal")).unwrap();
    let bytes = fs::read(data.join(segment)).unwrap();
    fs::write(to.join(segment), &bytes[..end_of_frame(&bytes, end)]).unwrap();
}

/// Where the frame of a commit ends in the first segment.
pub fn end_of_frame(segment: &[u8], end: Sequence) -> usize {
    const SEGMENT_HEADER: usize = 80;
    const FRAME_HEADER: usize = 92;
    let number = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    let mut at = SEGMENT_HEADER;
    for _ in 0..end.0 {
        at += FRAME_HEADER + number(at + 4) + number(at + 8);
    }
    at
}

pub async fn status(daemon: &Daemon) -> v1::GetStatusResponse {
    let mut client = OperatorServiceClient::new(daemon.connect().await);
    let answer = client
        .get_status(daemon.signed(v1::GetStatusRequest::default()))
        .await;
    answer.expect("a status").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_answered_alike_after_a_restore() {
    let place = tempfile::tempdir().unwrap();
    let (data, file, again) = (
        place.path().join("data"),
        place.path().join("backup"),
        place.path().join("again"),
    );
    let daemon = team(&data).await;
    let request = || v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: "once".to_owned(),
        roles: vec!["viewer".to_owned()],
        request_id: "once".to_owned(),
        ..Default::default()
    };
    let mut members = MemberServiceClient::new(daemon.connect().await);
    let first = members
        .add_member(daemon.signed(request()))
        .await
        .expect("added");
    daemon.stop();

    let mut offline = roster();
    offline
        .arg("backup")
        .arg("--to")
        .arg(&file)
        .arg("--data-dir")
        .arg(&data);
    succeeds(&mut offline);
    succeeds(&mut restore(&file, &again));
    fs::copy(data.join("operator.key"), again.join("operator.key")).unwrap();

    let daemon = Daemon::start(&again);
    let mut members = MemberServiceClient::new(daemon.connect().await);
    let second = members
        .add_member(daemon.signed(request()))
        .await
        .expect("repeated");
    assert_eq!(first.into_inner(), second.into_inner());
    let events = v1::ListEventsRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let mut audit = v1::audit_service_client::AuditServiceClient::new(daemon.connect().await);
    let events = audit
        .list_events(daemon.signed(events))
        .await
        .expect("events");
    assert_eq!(events.into_inner().events.len(), 1 + 7 + 3 + 1);
    daemon.stop();
}

#[test]
fn online_and_offline_make_the_same_file_and_an_empty_store_is_backed_up_too() {
    let place = tempfile::tempdir().unwrap();
    for flags in [&[][..], &["--example"]] {
        let data = place.path().join(format!("data{}", flags.len()));
        let [online, offline, again] = ["online", "offline", "again"]
            .map(|name| place.path().join(format!("{name}{}", flags.len())));
        let daemon = Daemon::start_with(&data, flags);
        succeeds(&mut backup_of(&daemon, &data, &online));
        let head_then = daemon.stop();
        assert_eq!(head_then.code(), Some(0));
        let mut command = roster();
        command
            .arg("backup")
            .arg("--to")
            .arg(&offline)
            .arg("--data-dir")
            .arg(&data);
        succeeds(&mut command);
        assert!(fs::read(&online).unwrap() == fs::read(&offline).unwrap());
        succeeds(&mut restore(&online, &again));
        assert_eq!(head(&again), head(&data));
        assert!(
            !again.join("operator.key").exists(),
            "keys are no part of it"
        );
    }
}

#[test]
fn a_damaged_backup_restores_nothing_wherever_it_is_damaged() {
    let place = tempfile::tempdir().unwrap();
    let (data, file, again) = (
        place.path().join("data"),
        place.path().join("backup"),
        place.path().join("again"),
    );
    let daemon = Daemon::start_with(&data, &["--example"]);
    succeeds(&mut backup_of(&daemon, &data, &file));
    daemon.stop();
    let whole = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut damaged: Vec<Vec<u8>> = (0..6).map(|part| flipped(whole.len() * part / 6)).collect();
    damaged.push(flipped(whole.len() - 1));
    damaged.push(whole[..whole.len() - 1].to_vec());
    damaged.push(whole[..whole.len() / 2].to_vec());
    damaged.push(Vec::new());
    damaged.push([&whole[..], b"\n"].concat());
    for (number, bytes) in damaged.iter().enumerate() {
        let file = place.path().join("damaged");
        fs::write(&file, bytes).unwrap();
        let ended = run(restore(&file, &again).args(["--output", "json"]));
        assert_eq!(ended.code(), Some(1), "{number}: {}", ended.stderr);
        assert_eq!(json(&ended)["ok"], false, "{number}");
        assert!(ended.stderr.contains("can't be used"), "{}", ended.stderr);
        let left: Vec<PathBuf> = names(&again);
        assert!(
            left.iter().all(|path| path.ends_with("lock")),
            "{number}: {left:?}"
        );
    }
    // What failed before is not in the way.
    succeeds(&mut restore(&file, &again));
    assert_eq!(head(&again), head(&data));
}

#[test]
fn a_directory_that_is_not_empty_is_left_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("backup"));
    let daemon = Daemon::start_with(&data, &["--example"]);
    succeeds(&mut backup_of(&daemon, &data, &file));
    let held = run(&mut restore(&file, &data));
    assert_eq!(held.code(), Some(1), "{}", held.stderr);
    daemon.stop();
    let before = names(&data);
    let ended = run(&mut restore(&file, &data));
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("is not empty"), "{}", ended.stderr);
    assert_eq!(names(&data), before);
    // Nor is a file replaced that is there.
    let mut command = roster();
    command
        .arg("backup")
        .arg("--to")
        .arg(&file)
        .arg("--data-dir")
        .arg(&data);
    let bytes = fs::read(&file).unwrap();
    let ended = run(&mut command);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(fs::read(&file).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_acts_for_a_member_is_given_no_backup_and_no_status() {
    let place = tempfile::tempdir().unwrap();
    let daemon = team(place.path()).await;
    let mut client = OperatorServiceClient::new(daemon.connect().await);
    let mut request = daemon.signed(v1::BackupRequest::default());
    request
        .metadata_mut()
        .insert("roster-actor", "owner".parse().unwrap());
    let refused = client.backup(request).await.expect_err("refused");
    assert_eq!(crate::harness::reason(&refused), "OPERATOR_ONLY");
    let mut request = daemon.signed(v1::GetStatusRequest::default());
    request
        .metadata_mut()
        .insert("roster-actor", "owner".parse().unwrap());
    let refused = client.get_status(request).await.expect_err("refused");
    assert_eq!(crate::harness::reason(&refused), "OPERATOR_ONLY");

    let told = status(&daemon).await;
    assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(
        revision::parse(&told.revision).unwrap(),
        Some(Sequence(told.commits))
    );
    assert_eq!(told.commits, 11);
    assert!(told.store_bytes > 0 && told.free_bytes > told.minimum_free_bytes);
    assert!(!told.refuses_writes && told.refusal_reason.is_empty());
    assert!(told.start_time.is_some());
    let mut command = roster();
    command
        .args(["status", "--address", &format!("http://{}", daemon.address)])
        .arg("--key-file")
        .arg(place.path().join("operator.key"));
    let text = succeeds(&mut command).stdout;
    assert!(
        text.contains("changes are taken") && text.contains(&told.chain),
        "{text}"
    );
    let object = json(&succeeds(command.args(["--output", "json"])));
    assert_eq!(object["commits"], 11);
    daemon.stop();
}

#[test]
fn a_backup_of_nobody_is_none() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup");
    let mut nobody = roster();
    fs::write(place.path().join("key"), "roster_operator_x").unwrap();
    nobody
        .arg("backup")
        .arg("--to")
        .arg(&file)
        .arg("--key-file");
    nobody
        .arg(place.path().join("key"))
        .args(["--address", "http://127.0.0.1:1"]);
    let ended = run(&mut nobody);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("no daemon"), "{}", ended.stderr);
    let mut nowhere = roster();
    nowhere
        .arg("backup")
        .arg("--to")
        .arg(&file)
        .arg("--data-dir");
    let ended = run(nowhere.arg(place.path().join("nowhere")));
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    assert!(!file.exists());
}
