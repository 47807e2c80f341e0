//! The hash chain over all commits, checked while the daemon serves.

use std::sync::Arc;

use roster::proto::v1;
use roster::store::sled::{OpenOptions, SledStore};
use tonic::Code;

use crate::control_plane::nursery;
use crate::coverage::{FailingStore, SLOW};
use crate::harness::{Daemon, as_actor, reason, violations};

fn after(commits: u64, chain: &str) -> v1::VerifyHistoryRequest {
    v1::VerifyHistoryRequest {
        commits,
        chain: chain.to_owned(),
        ..Default::default()
    }
}

async fn verify(daemon: &Daemon, request: v1::VerifyHistoryRequest) -> v1::VerifyHistoryResponse {
    let verified = daemon.audit().verify_history(request).await;
    verified.expect("it checks out").into_inner()
}

async fn assert_verifies(daemon: &Daemon) {
    let none = verify(daemon, after(0, "")).await;
    assert_eq!((none.commits, none.complete), (0, true));
    assert_eq!(none.chain, "0".repeat(64));

    nursery(daemon, "acme").await;
    let first = verify(daemon, after(0, "")).await;
    assert_eq!(first.commits, daemon.application.published());
    assert_eq!(first.chain.len(), 64);
    assert!(first.complete);
    for number in 0..300 {
        daemon.add("acme", &format!("m{number}"), &[]).await;
    }
    let second = verify(daemon, after(first.commits, &first.chain)).await;
    assert_eq!(second.commits, first.commits + 300);
    assert_eq!(second, verify(daemon, after(0, "")).await);
    assert_eq!(
        second,
        verify(daemon, after(second.commits, &second.chain)).await
    );

    // What is not that from which the answer comes.
    let other = if first.chain.starts_with('0') {
        "1"
    } else {
        "0"
    };
    let rewritten = format!("{other}{}", &first.chain[1..]);
    for (commits, chain, known) in [
        (first.commits, &rewritten, first.commits),
        (second.commits, &first.chain, second.commits),
        (second.commits + 1, &second.chain, second.commits + 1),
        (u64::MAX, &second.chain, u64::MAX),
    ] {
        let damaged = daemon.audit().verify_history(after(commits, chain)).await;
        let damaged = damaged.expect_err("another history");
        assert_eq!(damaged.code(), Code::DataLoss, "{damaged:?}");
        assert_eq!(reason(&damaged), "HISTORY_DAMAGED");
        let told = format!("after commit {known};");
        assert!(damaged.message().contains(&told), "{damaged:?}");
    }
}

#[tokio::test]
async fn the_history_checks_out_as_a_whole_and_in_parts() {
    let daemon = Daemon::start().await;
    assert_verifies(&daemon).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_on_disk_checks_out_as_a_whole_and_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        minimum_free_bytes: Some(1),
        ..OpenOptions::default()
    };
    let store = SledStore::open(directory.path(), options).expect("a store");
    let daemon = Daemon::start_on(Arc::new(store)).await;
    assert_verifies(&daemon).await;

    // A flipped byte under the running daemon.
    let segment = std::fs::read_dir(directory.path().join("journal")).unwrap();
    let segment = segment.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let damaged = daemon.audit().verify_history(after(0, "")).await;
    let damaged = damaged.expect_err("it is damaged");
    assert_eq!(
        (damaged.code(), reason(&damaged).as_str()),
        (Code::DataLoss, "HISTORY_DAMAGED")
    );
    assert!(!damaged.message().contains("journal"), "{damaged:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn only_an_operator_checks_the_history_and_only_from_an_earlier_answer() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let denied = daemon
        .audit()
        .verify_history(as_actor("owner", after(0, "")))
        .await;
    assert_eq!(reason(&denied.expect_err("no operator")), "OPERATOR_ONLY");
    let long = "g".repeat(64);
    let multibyte = "\u{e9}".repeat(32);
    for (commits, chain, field) in [
        (1, "", "chain"),
        (1, "00", "chain"),
        (1, long.as_str(), "chain"),
        (1, multibyte.as_str(), "chain"),
        (0, "00", "commits"),
    ] {
        let refused = daemon.audit().verify_history(after(commits, chain)).await;
        let refused = violations(&refused.expect_err(field));
        assert_eq!(refused, [(field.to_owned(), "MALFORMED".to_owned())]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_check_ends_in_time_and_goes_on_where_it_ended() {
    let store = Arc::new(FailingStore::default());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    nursery(&daemon, "acme").await;
    let whole = verify(&daemon, after(0, "")).await;
    assert!(whole.complete && whole.commits > 10, "{whole:?}");

    store.fail(SLOW);
    let mut known = after(0, "");
    let mut calls = 0;
    loop {
        let mut request = tonic::Request::new(known);
        request.set_timeout(std::time::Duration::from_secs(1));
        let verified = daemon.audit().verify_history(request).await;
        let verified = verified.expect("in time").into_inner();
        calls += 1;
        if verified.complete {
            assert_eq!(verified, whole);
            break;
        }
        known = after(verified.commits, &verified.chain);
    }
    assert!(calls > 1, "each commit took a tenth of a second");
    daemon.stop().await;
}
