//! What services of the host append to the history of an organization.

use std::sync::Arc;

use prost_types::Timestamp;
use roster::domain::organization::Moment;
use roster::proto::v1;
use roster::store::sled::{OpenOptions, SledStore};
use tonic::Code;
use v1::{EventEffect, EventSource};

use super::{all, detail, events, list};
use crate::harness::{Daemon, NOW, as_actor, reason, violations};

fn deployed(target: &str) -> v1::NewEvent {
    v1::NewEvent {
        action: "DeployApp".to_owned(),
        effect: EventEffect::Updated.into(),
        target_type: "Server".to_owned(),
        target_id: target.to_owned(),
        actor: "ann".to_owned(),
        ..Default::default()
    }
}

fn append(events: Vec<v1::NewEvent>) -> v1::AppendEventsRequest {
    v1::AppendEventsRequest {
        organization: "acme".to_owned(),
        events,
        ..Default::default()
    }
}

fn at(moment: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: moment / 1_000,
        nanos: i32::try_from(moment % 1_000).unwrap() * 1_000_000,
    })
}

fn fact(name: &str, value: &str) -> v1::EventDetail {
    v1::EventDetail {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[tokio::test]
async fn what_the_host_appends_is_one_event_each_and_never_rosters_own() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let forged = v1::NewEvent {
        action: "SetMemberRoles".to_owned(),
        effect: EventEffect::Deleted.into(),
        target_type: "Member".to_owned(),
        target_id: "ann".to_owned(),
        actor: "owner".to_owned(),
        time: at(NOW.0 - 5_000),
        details: vec![fact("effect", "created"), fact("after", "admin")],
    };
    let request = v1::AppendEventsRequest {
        request_id: "once".to_owned(),
        ..append(vec![deployed("s1"), forged])
    };
    let first = daemon.audit().append_events(request.clone()).await;
    let first = first.expect("they are appended").into_inner();
    assert_eq!(first.count, 2);
    let again = daemon.audit().append_events(request.clone()).await;
    assert_eq!(again.expect("the same answer").into_inner(), first);

    let found = events(&daemon, "acme").await;
    assert_eq!(found.len(), 3, "one for each, and the founding");
    let [forged, deployed, _] = found.as_slice() else {
        panic!("{found:?}");
    };
    for event in [forged, deployed] {
        assert_eq!(event.source(), EventSource::Host, "{event:?}");
        assert_eq!(event.revision, first.revision);
        assert_eq!(
            (event.caller.as_str(), event.request_id.as_str()),
            ("operator", "once")
        );
    }
    assert_eq!(
        (forged.effect(), forged.details.len()),
        (EventEffect::Deleted, 2)
    );
    assert_eq!(detail(forged, "effect"), Some("created"));
    assert_eq!(
        (&forged.time, &forged.record_time),
        (&at(NOW.0 - 5_000), &at(NOW.0))
    );
    assert_eq!(
        (deployed.effect(), deployed.details.len()),
        (EventEffect::Updated, 0)
    );
    assert_eq!(deployed.time, at(NOW.0));
    let own = v1::ListEventsRequest {
        source: EventSource::Roster.into(),
        ..all("acme")
    };
    let own = list(&daemon, own).await;
    assert!(
        own.iter().all(|event| event.action != "SetMemberRoles"),
        "{own:?}"
    );

    let other = v1::AppendEventsRequest {
        events: Vec::new(),
        ..request
    };
    let reused = daemon.audit().append_events(other).await;
    assert_eq!(
        reason(&reused.expect_err("another body")),
        "REQUEST_ID_REUSED"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn only_an_operator_appends_and_a_validation_appends_nothing() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let validated = v1::AppendEventsRequest {
        validate_only: true,
        ..append(vec![deployed("s1")])
    };
    let validated = daemon.audit().append_events(validated).await;
    assert_eq!(validated.expect("valid").into_inner().count, 1);
    assert_eq!(events(&daemon, "acme").await.len(), 1);

    let denied = as_actor("owner", append(vec![deployed("s1")]));
    let denied = daemon
        .audit()
        .append_events(denied)
        .await
        .expect_err("denied");
    assert_eq!(reason(&denied), "OPERATOR_ONLY");
    let event = events(&daemon, "acme").await.remove(0);
    assert_eq!(
        (event.action.as_str(), event.actor.as_str()),
        ("AppendEvents", "owner")
    );
    assert_eq!(
        (event.source(), event.reason.as_str()),
        (EventSource::Roster, "OPERATOR_ONLY")
    );

    let nowhere = v1::AppendEventsRequest {
        organization: "nowhere".to_owned(),
        ..append(vec![deployed("s1")])
    };
    let nowhere = daemon.audit().append_events(nowhere).await;
    assert_eq!(nowhere.expect_err("not there").code(), Code::NotFound);
    daemon.stop().await;
}

#[tokio::test]
async fn malformed_events_are_refused_all_together_with_every_fault() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let bad = vec![
        deployed("s1"),
        v1::NewEvent {
            action: String::new(),
            effect: 9,
            actor: "a b".to_owned(),
            time: at(NOW.0 + 1),
            details: vec![fact("a", "1"), fact("a", "\u{202e}")],
            ..deployed("s1")
        },
        v1::NewEvent {
            target_type: String::new(),
            time: Some(Timestamp {
                seconds: i64::MAX,
                nanos: -1,
            }),
            ..deployed("s1")
        },
    ];
    let faults = |status: &tonic::Status| {
        violations(status)
            .into_iter()
            .map(|(field, kind)| format!("{field} {kind}"))
            .collect::<Vec<_>>()
    };
    let refused = daemon.audit().append_events(append(bad.clone())).await;
    assert_eq!(
        faults(&refused.expect_err("what is no event")),
        ["events[1].effect MALFORMED", "events[2].time MALFORMED"]
    );
    let readable = bad.into_iter().map(|event| v1::NewEvent {
        effect: 0,
        time: event.time.filter(|time| time.nanos >= 0),
        ..event
    });
    let refused = daemon
        .audit()
        .append_events(append(readable.collect()))
        .await;
    assert_eq!(
        faults(&refused.expect_err("faults")),
        [
            "events[1].action MISSING",
            "events[1].actor MALFORMED",
            "events[1].time MALFORMED",
            "events[1].details[1].name REPEATED",
            "events[1].details[1].value MALFORMED",
            "events[2].target_type MISSING",
        ]
    );
    for (count, kind) in [(0, "events MISSING"), (1_001, "events TOO_MANY")] {
        let many = append(vec![deployed("s1"); count]);
        let refused = daemon.audit().append_events(many).await;
        assert_eq!(faults(&refused.expect_err(kind)), [kind]);
    }
    let recorded = events(&daemon, "acme").await;
    assert!(
        recorded
            .iter()
            .all(|event| event.source() == EventSource::Roster)
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_of_many_events_are_found_without_a_page_that_takes_for_ever() {
    const CALLS: usize = 101;
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        minimum_free_bytes: Some(1),
        ..OpenOptions::default()
    };
    let store = SledStore::open(directory.path(), options).expect("a store");
    let daemon = Daemon::start_on(Arc::new(store)).await;
    daemon.found("acme", "greenhouse").await;
    let thousand: Vec<v1::NewEvent> = (0..1_000)
        .map(|number| deployed(&format!("s{number}")))
        .collect();
    for _ in 0..CALLS {
        let appended = daemon.audit().append_events(append(thousand.clone())).await;
        assert_eq!(appended.expect("all of them").into_inner().count, 1_000);
    }
    daemon.world.set(Moment(NOW.0 + 1));

    let rare = v1::ListEventsRequest {
        actions: vec!["CreateOrganization".to_owned()],
        ..all("acme")
    };
    let check = crate::harness::question("acme", "owner", "BuySeeds", "Organization", "acme");
    let (page, allowed) = tokio::join!(
        async { daemon.audit().list_events(rare.clone()).await },
        daemon.allows(check)
    );
    assert!(allowed, "checks go on meanwhile");
    let page = page.expect("a page").into_inner();
    assert_eq!(page.events, [], "so many were looked at, and none matched");
    let rest = v1::ListEventsRequest {
        page_token: page.next_page_token,
        ..rare
    };
    let page = daemon.audit().list_events(rest).await.expect("a page");
    let page = page.into_inner();
    assert_eq!(page.events.len(), 1, "{page:?}");
    assert_eq!(page.next_page_token, "");

    let newest = v1::ListEventsRequest {
        page_size: 2,
        ..all("acme")
    };
    let newest = daemon.audit().list_events(newest).await.expect("a page");
    let newest = newest.into_inner().events;
    let targets: Vec<&str> = newest
        .iter()
        .map(|event| event.target_id.as_str())
        .collect();
    assert_eq!(targets, ["s999", "s998"], "the last of a call comes first");
    daemon.stop().await;
}
