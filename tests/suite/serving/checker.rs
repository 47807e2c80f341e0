//! The client for services that ask on every request: many tasks, few streams, and
//! everybody has their own answer.

use std::sync::Arc;
use std::time::Duration;

use roster::client::Checker;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::harness::{Daemon, KEY, Setup, question, reason};

fn endpoint(daemon: &Daemon) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", daemon.address)).expect("an address")
}

/// A question that bears a number; it is allowed if the number is even.
fn numbered(number: usize) -> v1::IsAuthorizedRequest {
    let user = if number.is_multiple_of(2) {
        "owner"
    } else {
        "nobody"
    };
    let mut question = question("acme", user, "InstancesView", "Instance", "vm-1");
    question.correlation_id = number.to_string();
    question
}

fn expected(number: usize) -> v1::Decision {
    if number.is_multiple_of(2) {
        v1::Decision::Allow
    } else {
        v1::Decision::Deny
    }
}

async fn daemon() -> Daemon {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    daemon
}

#[tokio::test]
async fn everybody_has_their_own_answer() {
    let daemon = daemon().await;
    let checker = Arc::new(Checker::new(&endpoint(&daemon), KEY, 2).unwrap());
    let mut asking = JoinSet::new();
    for number in 0..2_000 {
        let checker = Arc::clone(&checker);
        asking.spawn(async move { (number, checker.check(&numbered(number)).await) });
    }
    while let Some(answered) = asking.join_next().await {
        let (number, answer) = answered.unwrap();
        let answer = answer.expect("an answer");
        assert_eq!(answer.correlation_id, number.to_string());
        assert_eq!(answer.decision(), expected(number));
    }
    drop(checker);
    daemon.stop().await;
}

#[tokio::test]
async fn a_question_that_is_wrong_has_its_own_error_and_the_others_never_notice() {
    let daemon = daemon().await;
    let checker = Arc::new(Checker::new(&endpoint(&daemon), KEY, 2).unwrap());
    let mut asking = JoinSet::new();
    for number in 0..400 {
        let checker = Arc::clone(&checker);
        asking.spawn(async move {
            let mut question = numbered(number);
            match number % 10 {
                3 => question.action = "NoSuch".to_owned(),
                6 => question.organization = "nowhere".to_owned(),
                9 => question.include_reasons = true,
                _ => {}
            }
            (number, checker.check(&question).await)
        });
    }
    while let Some(answered) = asking.join_next().await {
        let (number, answer) = answered.unwrap();
        match number % 10 {
            3 => {
                let status = answer.expect_err("no such action");
                assert_eq!(status.code(), Code::InvalidArgument);
                assert_eq!(reason(&status), "INVALID");
            }
            6 => {
                let status = answer.expect_err("no such organization");
                assert_eq!(status.code(), Code::NotFound);
                assert_eq!(reason(&status), "NOT_FOUND");
            }
            _ => {
                let answer = answer.expect("an answer");
                assert_eq!(answer.correlation_id, number.to_string());
                assert_eq!(answer.decision(), expected(number));
                assert_eq!(answer.reasons.is_empty(), number % 10 != 9);
            }
        }
    }
    drop(checker);
    daemon.stop().await;
}

#[tokio::test]
async fn a_question_that_waits_for_a_revision_holds_up_nobody() {
    let daemon = daemon().await;
    let checker = Checker::new(&endpoint(&daemon), KEY, 1).unwrap();
    let mut waits = numbered(0);
    waits.at_least = "0.2".to_owned();
    let mut waiting = Box::pin(checker.check(&waits));
    for number in 1..50 {
        let question = numbered(number);
        tokio::select! {
            biased;
            answer = checker.check(&question) => {
                assert_eq!(answer.expect("an answer").decision(), expected(number));
            }
            early = &mut waiting => panic!("answered before its revision: {early:?}"),
        }
    }
    daemon.add("acme", "ann", &["viewer"]).await;
    let answer = waiting.await.expect("an answer");
    assert_eq!(answer.revision, "0.2");
    drop(checker);
    daemon.stop().await;
}

#[tokio::test]
async fn it_comes_back_when_the_daemon_does() {
    let first = daemon().await;
    let address = first.address;
    let checker = Checker::new(&endpoint(&first), KEY, 2).unwrap();
    for number in 0..10 {
        checker.check(&numbered(number)).await.expect("an answer");
    }
    first.stop().await;
    for number in 0..4 {
        let status = checker
            .check(&numbered(number))
            .await
            .expect_err("nobody is there");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    let setup = Setup {
        address,
        ..Setup::default()
    };
    let second = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
    second.found("acme", "hypervisor-io").await;
    for number in 0..10 {
        let answer = checker.check(&numbered(number)).await.expect("an answer");
        assert_eq!(answer.decision(), expected(number));
    }
    drop(checker);
    second.stop().await;
}

#[tokio::test]
async fn everybody_is_answered_while_the_daemon_stops() {
    let mut daemon = daemon().await;
    let checker = Arc::new(Checker::new(&endpoint(&daemon), KEY, 2).unwrap());
    checker.check(&numbered(0)).await.expect("an answer");
    let mut asking = JoinSet::new();
    for number in 0..8 {
        let checker = Arc::clone(&checker);
        asking.spawn(async move {
            let mut answers = 0;
            loop {
                match checker.check(&numbered(number)).await {
                    Ok(answer) => {
                        assert_eq!(answer.correlation_id, number.to_string());
                        assert_eq!(answer.decision(), expected(number));
                        answers += 1;
                    }
                    Err(status) => return (answers, status),
                }
            }
        });
    }
    while checker.check(&numbered(1)).await.is_ok() {
        daemon.tell_to_stop();
    }
    while let Some(ended) = asking.join_next().await {
        let (_, status) = ended.unwrap();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    drop(checker);
    daemon.stop().await;
}

#[tokio::test]
async fn without_the_right_key_everybody_is_told_so() {
    let daemon = daemon().await;
    let checker = Checker::new(&endpoint(&daemon), "wrong", 2).unwrap();
    for number in 0..6 {
        let status = checker
            .check(&numbered(number))
            .await
            .expect_err("a refusal");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    assert!(Checker::new(&endpoint(&daemon), "wrong\n", 2).is_err());
    daemon.stop().await;
}

#[tokio::test]
async fn it_does_not_wait_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let checker = Checker::new(&endpoint, KEY, 1).unwrap();
    let checker = checker.with_patience(Duration::from_millis(50));
    let status = checker
        .check(&numbered(0))
        .await
        .expect_err("nobody answers");
    assert_eq!(status.code(), Code::DeadlineExceeded);
}
