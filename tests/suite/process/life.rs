//! Start, stop, start again: what a daemon answers and how it ends.

use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Daemon, run, serve};
use crate::harness::{in_project, question};

const EXAMPLES: [&str; 5] = [
    "cloud-66-example",
    "hypervisor-io-example",
    "oec-sh-example",
    "oncloudwine-example",
    "qoc-cloud-example",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_one_organization_for_each_product_and_loading_them_twice_is_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(directory.path(), &["--example"]);
    let (ids, revision) = organizations(&daemon).await;
    assert_eq!(ids, EXAMPLES);
    let printed = daemon.stop().stdout;
    assert!(EXAMPLES.iter().all(|id| printed.contains(id)), "{printed}");

    let again = Daemon::start_with(directory.path(), &["--example"]);
    assert_eq!(organizations(&again).await, (ids, revision));
    again.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_stopped_and_started_again_answers_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(directory.path(), &["--example"]);
    let before = (organizations(&daemon).await, answers(&daemon).await);
    daemon.stop();

    let daemon = Daemon::start(directory.path());
    let after = (organizations(&daemon).await, answers(&daemon).await);
    assert_eq!(after, before);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_ends_cleanly_when_the_daemon_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(directory.path(), &["--example", "--drain-seconds", "60"]);
    let (questions, stream) = mpsc::unbounded_channel();
    let mut client = AuthorizationServiceClient::new(daemon.connect().await);
    questions.send(asked()[0].clone()).unwrap();
    let request = daemon.signed(UnboundedReceiverStream::new(stream));
    let mut answers = client
        .stream_is_authorized(request)
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().expect("an answer");

    daemon.stop();

    let end = answers.message().await;
    assert!(matches!(end, Ok(None)), "{end:?}");
    drop(questions);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_directory_ends_and_says_which_directory_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let first = Daemon::start(directory.path());

    let second = run(serve(directory.path()).args(["--lock-wait-seconds", "0"]));

    assert_eq!(second.code(), Some(3), "{}", second.stderr);
    let message = format!(
        "roster: the data directory `{}` is in use by another process; stop that one first",
        directory.path().display()
    );
    assert!(second.stderr.contains(&message), "{}", second.stderr);
    assert_eq!(organizations(&first).await.0, Vec::<String>::new());
    first.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_waits_for_the_first_to_let_the_directory_go() {
    let directory = tempfile::tempdir().unwrap();
    let first = Daemon::start(directory.path());
    let path = directory.path().to_owned();
    let second = tokio::task::spawn_blocking(move || {
        Daemon::start_with(&path, &["--lock-wait-seconds", "60"])
    });
    // Whichever comes first, the wait or the stop: the second must get its turn.
    first.stop();
    second.await.unwrap().stop();
}

/// The ids of all organizations, and the revision.
async fn organizations(daemon: &Daemon) -> (Vec<String>, String) {
    let answer = OrganizationServiceClient::new(daemon.connect().await)
        .list_organizations(daemon.signed(v1::ListOrganizationsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let ids = answer.organizations.into_iter().map(|one| one.id).collect();
    (ids, answer.revision)
}

/// Answers to [`asked`], with reasons.
async fn answers(daemon: &Daemon) -> v1::BatchIsAuthorizedResponse {
    let request = v1::BatchIsAuthorizedRequest {
        requests: asked(),
        ..Default::default()
    };
    AuthorizationServiceClient::new(daemon.connect().await)
        .batch_is_authorized(daemon.signed(request))
        .await
        .unwrap()
        .into_inner()
}

/// A set of questions about the examples; some are allowed, some denied, some faulty.
fn asked() -> Vec<v1::IsAuthorizedRequest> {
    let mut asked = Vec::new();
    for user in ["otto", "ada", "vic", "dev", "nobody"] {
        for action in [
            "InstancesView",
            "InstancesManage",
            "InstancesDelete",
            "NoSuch",
        ] {
            let organization = "hypervisor-io-example";
            let about = question(organization, user, action, "Instance", "vm-1");
            asked.push(in_project(about.clone(), "development"));
            asked.push(in_project(about.clone(), "production"));
            asked.push(about);
        }
    }
    for organization in EXAMPLES {
        for user in [
            "liam", "cameron", "olivia", "mary", "olga", "petra", "quinn",
        ] {
            for action in ["RemoveMember", "ViewMembers", "ReadAuditLog"] {
                let mut about = question(organization, user, action, "Organization", organization);
                about.include_reasons = true;
                asked.push(about);
            }
        }
    }
    asked
}
