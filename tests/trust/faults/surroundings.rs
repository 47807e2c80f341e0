//! A second process on the same directory, a clock that is set back, and a directory
//! that goes away.

use std::fs;
use std::sync::Arc;

use roster::domain::organization::Moment;
use roster::proto::v1;
use roster::store::Store;
use roster::store::sled::{OpenOptions, SledStore};
use tonic::Code;

use super::{add, assert_decides, status};
use crate::backup::team;
use crate::harness::{self, NOW, question};
use crate::program::{roster, run, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_and_disturbs_nothing() {
    let place = tempfile::tempdir().unwrap();
    let daemon = team(place.path()).await;
    let data = place.path();
    let mut commands = [serve(data), roster(), roster(), roster()];
    commands[0].args(["--lock-wait-seconds", "0"]);
    commands[1].arg("verify").arg("--data-dir").arg(data);
    commands[2].arg("backup").arg("--data-dir").arg(data);
    commands[2].arg("--to").arg(data.join("copy"));
    commands[3].arg("export").arg("--data-dir").arg(data);
    for command in &mut commands {
        let ended = run(command);
        assert_eq!(ended.code(), Some(3), "{command:?}: {}", ended.stderr);
        let told = ended
            .stderr
            .contains("is in use by another process; stop that one first");
        assert!(told, "{command:?}: {}", ended.stderr);
    }
    assert!(!data.join("copy").exists());
    assert_decides(&daemon).await;
    add(&daemon, "later").await.expect("it takes changes");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_goes_away_ends_changes_and_no_checks() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let daemon = team(&data).await;
    fs::rename(&data, place.path().join("away")).unwrap();
    fs::create_dir(&data).unwrap();
    // Its files are still open, so that this is noticed with the next checkpoint.
    let mut number = 0;
    while add(&daemon, &format!("some{number}")).await.is_ok() {
        number += 1;
    }
    let refused = add(&daemon, "late").await.expect_err("no changes any more");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_decides(&daemon).await;
    daemon.stop();
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_history_in_order_and_brings_nothing_back() {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(directory.path(), OpenOptions::default()).unwrap();
    let daemon = harness::Daemon::start_on(Arc::new(store)).await;
    daemon.found("acme", "hypervisor-io").await;
    daemon.add("acme", "ann", &["operator"]).await;
    let request = |user: &str, expires_at| v1::AddMemberRequest {
        organization: "acme".to_owned(),
        user: user.to_owned(),
        roles: vec!["operator".to_owned()],
        request_id: user.to_owned(),
        period: Some(v1::Period {
            expires_at,
            ..Default::default()
        }),
        ..Default::default()
    };
    let tomorrow = prost_types::Timestamp {
        seconds: (NOW.0 + DAY) / 1_000,
        nanos: 0,
    };
    let add = async |request| {
        let answer = daemon.members().add_member(request).await;
        answer.expect("added").into_inner()
    };
    add(request("temp", Some(tomorrow))).await;
    let asks = |user: &str| question("acme", user, "InstancesManage", "Instance", "vm");
    assert!(daemon.allows(asks("temp")).await);

    // Time passes, the membership ends and is taken away; then the clock is set back.
    daemon.world.set(Moment(NOW.0 + 2 * DAY));
    assert!(!daemon.allows(asks("temp")).await);
    daemon.application.expire_due().await;
    daemon.world.set(Moment(NOW.0 - DAY));
    assert!(
        !daemon.allows(asks("temp")).await,
        "what has ended does not come back"
    );
    assert!(daemon.allows(asks("ann")).await);
    let before = daemon.store.head();
    let first = add(request("bea", None)).await;
    assert!(daemon.allows(asks("bea")).await);
    assert_eq!(daemon.store.head().sequence.0, before.sequence.0 + 1);
    // What was asked for in what is the future by now is known all the same.
    daemon.world.set(Moment(NOW.0 - 2 * DAY));
    assert_eq!(add(request("bea", None)).await, first);

    let head = daemon.store.head();
    daemon.stop().await;
    let store = SledStore::open(directory.path(), OpenOptions::default()).unwrap();
    assert_eq!(store.head(), head);
    let history = store
        .history(roster::store::Sequence(0), usize::MAX)
        .unwrap();
    let (last, latest) = (
        history.last().unwrap().at,
        history.iter().map(|entry| entry.at).max(),
    );
    assert!(last < latest.unwrap(), "the clock was not set back");
    drop(store);
    let mut verify = roster();
    verify.arg("verify").arg("--data-dir").arg(directory.path());
    let ended = run(&mut verify);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_daemon_that_is_well_says_so() {
    let place = tempfile::tempdir().unwrap();
    let daemon = team(place.path()).await;
    let told = status(&daemon).await;
    assert!(
        !told.refuses_writes && told.refusal_reason.is_empty(),
        "{told:?}"
    );
    daemon.stop();
}
