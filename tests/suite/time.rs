//! What holds for a time only: checks heed it to the millisecond, answers say how
//! long they hold, and what has ended is taken away with an event.

use prost_types::Timestamp;
use roster::domain::identifiers::OrganizationId;
use roster::domain::organization::Moment;
use roster::proto::v1;
use roster::store::EventEntry;
use tonic::Code;

use crate::harness::{Daemon, NOW, in_project, owned, question, reason, violations};

const ACME: &str = "acme";
const HOUR: i64 = 60 * 60 * 1_000;
const START: Moment = Moment(NOW.0 + HOUR);
const END: Moment = Moment(NOW.0 + 2 * HOUR);

fn timestamp(moment: Moment) -> Timestamp {
    Timestamp {
        seconds: moment.0.div_euclid(1_000),
        nanos: i32::try_from(moment.0.rem_euclid(1_000)).expect("less than a second") * 1_000_000,
    }
}

fn from_start_to_end() -> Option<v1::Period> {
    Some(v1::Period {
        not_before: Some(timestamp(START)),
        expires_at: Some(timestamp(END)),
    })
}

fn for_a_time(role: &str) -> Vec<v1::RolePeriod> {
    vec![v1::RolePeriod {
        role: role.to_owned(),
        period: from_start_to_end(),
    }]
}

/// A daemon with a greenhouse that has a project and a member without roles.
async fn greenhouse() -> Daemon {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "greenhouse").await;
    daemon.project(ACME, "north").await;
    daemon.add(ACME, "gina", &[]).await;
    daemon
}

fn water() -> v1::IsAuthorizedRequest {
    in_project(question(ACME, "gina", "WaterBed", "Bed", "roses"), "north")
}

/// Asks before, at the first moment, at the last and after it; answers with the
/// verdicts, the first reasons of denials, and how long each answer holds.
async fn through_time(
    daemon: &Daemon,
    asked: v1::IsAuthorizedRequest,
) -> Vec<(bool, String, Option<Moment>)> {
    let mut answers = Vec::new();
    for now in [START.0 - 1, START.0, END.0 - 1, END.0] {
        daemon.world.set(Moment(now));
        let allowed = daemon.allows(asked.clone()).await;
        let answer = daemon.ask(asked.clone()).await;
        let why = answer.reasons.first().map(|reason| reason.code());
        let why = why.map(|code| code.as_str_name().replace("REASON_CODE_", ""));
        let until = answer
            .valid_until
            .map(|until| Moment(until.seconds * 1_000 + i64::from(until.nanos / 1_000_000)));
        answers.push((allowed, why.unwrap_or_default(), until));
    }
    answers
}

/// What a grant from start to end looks like through time.
fn bounded(granted_by: &str) -> Vec<(bool, String, Option<Moment>)> {
    vec![
        (false, "NOT_YET_VALID".to_owned(), Some(START)),
        (true, granted_by.to_owned(), Some(END)),
        (true, granted_by.to_owned(), Some(END)),
        (false, "EXPIRED".to_owned(), None),
    ]
}

fn events(daemon: &Daemon) -> Vec<EventEntry> {
    daemon
        .store
        .events(&OrganizationId::new(ACME), None, 1_000)
        .expect("events")
}

/// Lets expiry do its work, twice, and answers with the events that it wrote.
async fn expired(daemon: &Daemon) -> Vec<(String, String, Vec<(String, String)>)> {
    let before = events(daemon).len();
    daemon.application.expire_due().await;
    daemon.application.expire_due().await;
    let mut all = events(daemon);
    all.truncate(all.len() - before);
    all.into_iter()
        .map(|entry| {
            assert_eq!(entry.event.caller, "roster");
            (
                entry.event.action,
                entry.event.target_id,
                entry.event.details,
            )
        })
        .collect()
}

fn event(action: &str, details: &[(&str, &str)]) -> (String, String, Vec<(String, String)>) {
    let details = details
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    (action.to_owned(), "gina".to_owned(), details.collect())
}

async fn member(daemon: &Daemon) -> v1::Member {
    let request = v1::GetMemberRequest {
        organization: ACME.to_owned(),
        user: "gina".to_owned(),
        ..Default::default()
    };
    let found = daemon.members().get_member(request).await;
    found
        .expect("the member")
        .into_inner()
        .member
        .expect("the member")
}

#[tokio::test]
async fn a_role_on_the_organization_counts_in_its_time() {
    let daemon = greenhouse().await;
    let request = v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: "gina".to_owned(),
        roles: owned(&["gardener", "shopkeeper"]),
        role_periods: for_a_time("gardener"),
        ..Default::default()
    };
    let set = daemon.members().set_member_roles(request).await;
    let set = set
        .expect("the roles are set")
        .into_inner()
        .member
        .expect("the member");
    assert_eq!(set.role_periods, for_a_time("gardener"));

    assert_eq!(through_time(&daemon, water()).await, bounded("ROLE"));

    assert_eq!(
        expired(&daemon).await,
        [event("ExpireRole", &[("role", "gardener")])]
    );
    let after = member(&daemon).await;
    assert_eq!(after.roles, ["shopkeeper"]);
    assert_eq!(after.role_periods, []);
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_on_a_project_counts_in_its_time() {
    let daemon = greenhouse().await;
    let request = v1::SetProjectRolesRequest {
        organization: ACME.to_owned(),
        project: "north".to_owned(),
        user: "gina".to_owned(),
        roles: owned(&["gardener"]),
        role_periods: for_a_time("gardener"),
        ..Default::default()
    };
    let set = daemon.projects().set_project_roles(request).await;
    set.expect("the roles are set");

    assert_eq!(
        through_time(&daemon, water()).await,
        bounded("PROJECT_ROLE")
    );

    let details = [("project", "north"), ("role", "gardener")];
    assert_eq!(
        expired(&daemon).await,
        [event("ExpireProjectRole", &details)]
    );
    let after = member(&daemon).await;
    assert_eq!(after.project_roles.len(), 1, "an explicit none stays");
    assert_eq!(after.project_roles[0].roles, Vec::<String>::new());
    daemon.stop().await;
}

#[tokio::test]
async fn an_override_counts_in_its_time_and_the_role_comes_back_after_it() {
    let daemon = greenhouse().await;
    daemon
        .members()
        .set_member_roles(v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: "gina".to_owned(),
            roles: owned(&["gardener"]),
            ..Default::default()
        })
        .await
        .expect("the role is set");
    daemon
        .projects()
        .set_project_override(v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: "north".to_owned(),
            user: "gina".to_owned(),
            period: from_start_to_end(),
            ..Default::default()
        })
        .await
        .expect("the override is set");

    let verdicts: Vec<_> = through_time(&daemon, water())
        .await
        .into_iter()
        .map(|(allowed, _, until)| (allowed, until))
        .collect();
    let expected = [
        (true, Some(START)),
        (false, Some(END)),
        (false, Some(END)),
        (true, None),
    ];
    assert_eq!(verdicts, expected);

    assert_eq!(
        expired(&daemon).await,
        [event("ExpireOverride", &[("project", "north")])]
    );
    assert_eq!(member(&daemon).await.overrides, []);
    daemon.stop().await;
}

#[tokio::test]
async fn a_membership_counts_in_its_time_and_ends_with_all_that_was_held() {
    let daemon = greenhouse().await;
    daemon
        .members()
        .remove_member(v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: "gina".to_owned(),
            ..Default::default()
        })
        .await
        .expect("gina goes");
    daemon
        .members()
        .add_member(v1::AddMemberRequest {
            organization: ACME.to_owned(),
            user: "gina".to_owned(),
            roles: owned(&["gardener"]),
            period: from_start_to_end(),
            ..Default::default()
        })
        .await
        .expect("gina comes for a time");

    assert_eq!(through_time(&daemon, water()).await, bounded("ROLE"));

    let gone = expired(&daemon).await;
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!(gone[0].0, "ExpireMembership");
    let answer = daemon.ask(water()).await;
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::NotAMember);
    daemon.stop().await;
}

#[tokio::test]
async fn a_membership_gets_and_loses_its_bounds_and_the_owner_has_none() {
    let daemon = greenhouse().await;
    let set = |user: &str, period| v1::SetMemberPeriodRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        period,
        ..Default::default()
    };
    let mut members = daemon.members();
    let bounded = members
        .set_member_period(set("gina", from_start_to_end()))
        .await;
    let bounded = bounded.expect("bounded").into_inner().member;
    assert_eq!(bounded.expect("the member").period, from_start_to_end());
    let free = members.set_member_period(set("gina", None)).await;
    let free = free.expect("free").into_inner().member;
    assert_eq!(free.expect("the member").period, None);

    let refused = members
        .set_member_period(set("owner", from_start_to_end()))
        .await
        .expect_err("the owner stays");
    assert_eq!(reason(&refused), "OWNER_PROTECTED");
    daemon.world.set(END);
    assert_eq!(expired(&daemon).await, []);
    daemon.stop().await;
}

#[tokio::test]
async fn times_that_can_not_be_are_refused_field_by_field() {
    let daemon = greenhouse().await;
    let moment = |moment: i64| Some(timestamp(Moment(moment)));
    let past = v1::Period {
        not_before: None,
        expires_at: moment(NOW.0),
    };
    let backwards = v1::Period {
        not_before: moment(END.0),
        expires_at: moment(START.0),
    };
    let beyond = v1::Period {
        not_before: Some(Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        expires_at: Some(Timestamp {
            seconds: 0,
            nanos: -1,
        }),
    };
    let set = |role: &str, period: v1::Period| v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: "gina".to_owned(),
        roles: owned(&["gardener"]),
        role_periods: vec![v1::RolePeriod {
            role: role.to_owned(),
            period: Some(period),
        }],
        ..Default::default()
    };
    let path = "role_periods[0].period";
    let cases = [
        (
            set("gardener", past),
            vec![(format!("{path}.expires_at"), "MALFORMED")],
        ),
        (
            set("gardener", backwards),
            vec![(format!("{path}.expires_at"), "MALFORMED")],
        ),
        (
            set("gardener", beyond),
            vec![
                (format!("{path}.not_before"), "MALFORMED"),
                (format!("{path}.expires_at"), "MALFORMED"),
            ],
        ),
        (
            set("shopkeeper", v1::Period::default()),
            vec![("role_periods[0].role".to_owned(), "UNKNOWN_REFERENCE")],
        ),
    ];
    for (request, expected) in cases {
        let refused = daemon.members().set_member_roles(request).await;
        let refused = refused.expect_err("no such time");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(field, kind)| (field, kind.to_owned()))
            .collect();
        assert_eq!(violations(&refused), expected);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_ends_at_the_same_time_is_taken_away_at_once_an_event_each() {
    let daemon = greenhouse().await;
    for number in 0..150 {
        daemon
            .members()
            .add_member(v1::AddMemberRequest {
                organization: ACME.to_owned(),
                user: format!("guest-{number}"),
                period: from_start_to_end(),
                ..Default::default()
            })
            .await
            .expect("a guest comes");
    }
    daemon.world.set(Moment(END.0 - 1));
    assert_eq!(expired(&daemon).await, []);
    daemon.world.set(END);
    let gone = expired(&daemon).await;
    assert_eq!(gone.len(), 150);
    assert!(gone.iter().all(|(action, ..)| action == "ExpireMembership"));
    let page = daemon
        .members()
        .list_members(v1::ListMembersRequest {
            organization: ACME.to_owned(),
            page_size: 1_000,
            ..Default::default()
        })
        .await
        .expect("members");
    assert_eq!(page.into_inner().members.len(), 2);
    daemon.stop().await;
}
