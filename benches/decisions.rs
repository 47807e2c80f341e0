//! What a decision costs inside the process: remembered, and asked of Cedar anew
//! beside Cedar alone.
//!
//! One organization of 100 000 members and 1 000 custom roles, each member asked
//! about in no order. *Cedar alone* is its public authorizer with the same policies,
//! the same entities and the request made before the clock runs. All are taken in
//! turns, so that noise hits them alike; the medians of the rounds count.
//!
//! Run with `make bench` or `cargo bench --bench decisions`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and stops where it fails"
)]

mod fixtures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::{Authorizer, Context, Entities, Policy, PolicyId, PolicySet, Request};
use fixtures::{Size, each, median, question, ratio, scattered};
use roster::domain::organization::Moment;
use roster::engine::{Export, RawQuestion, Snapshot, Verdict};

const MEMBERS: usize = 100_000;
const ROLES: usize = 1_000;
const ROUNDS: usize = 200;
const CALLS: usize = 500;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let catalog = fixtures::catalog();
    let large = Size {
        members: MEMBERS,
        roles: ROLES,
        overrides: MEMBERS / 10,
        ..Size::default()
    };
    let small = Size {
        members: 10,
        ..Size::default()
    };
    let compiled = |id: &str, size| {
        let organization = fixtures::organization(catalog.catalog(), id, size);
        Snapshot::compile(Arc::clone(&catalog), organization, 1).expect("it compiles")
    };
    let (large, small) = (compiled("large", large), compiled("small", small));
    let users: Vec<String> = (0..MEMBERS)
        .map(|number| format!("user-{number}"))
        .collect();
    for (number, user) in users.iter().enumerate() {
        let project = if number % 2 == 0 { "project-0" } else { "" };
        assert_eq!(decided(&large, question(user, project)), Verdict::Allow);
    }

    let mut remembered = Rounds::default();
    let mut evaluated = Rounds::default();
    let mut alone = Rounds::default();
    let cedar = Alone::of(&large, &users[MEMBERS / 2]);
    for round in 0..ROUNDS {
        // As it comes in a request: in the cache already.
        let drawn: Vec<String> = (0..CALLS)
            .map(|call| users[scattered(round * CALLS + call, MEMBERS)].clone())
            .collect();
        remembered.large.push(each(CALLS, |call| {
            black_box(decided(&large, question(&drawn[call], "project-0")));
        }));
        remembered.small.push(each(CALLS, |call| {
            black_box(decided(&small, question(&users[call % 10], "project-0")));
        }));
        evaluated.large.push(each(CALLS / 10, |call| {
            let question = question(&drawn[call], "project-0");
            let question = large.question(&question).expect("a question");
            black_box(large.evaluate(&question).expect("an answer"));
        }));
        evaluated.small.push(each(CALLS / 10, |call| {
            let question = question(&users[MEMBERS / 2 + call % 10], "project-0");
            let question = large.question(&question).expect("a question");
            black_box(large.evaluate(&question).expect("an answer"));
        }));
        alone.small.push(each(CALLS / 10, |_| cedar.ask()));
    }

    let cedar_alone = median(alone.small);
    println!("| decision | p50 | ratio | bar |");
    println!("|---|---|---|---|");
    let of_ten = median(remembered.small);
    let of_many = median(remembered.large);
    println!("| remembered, one of 10 members | {of_ten:?} | 1.00 | |");
    println!(
        "| remembered, one of {MEMBERS} members with {ROLES} roles | {of_many:?} | {:.2} | 250ns |",
        ratio(of_many, of_ten)
    );
    println!(
        "| Cedar alone, {} policies | {cedar_alone:?} | 1.00 | |",
        cedar.policies.num_of_policies()
    );
    for (who, samples) in [
        ("the same ten members", evaluated.small),
        ("any member", evaluated.large),
    ] {
        let asked = median(samples);
        println!(
            "| asked of Cedar anew, {who} | {asked:?} | {:.2} | 1.3 |",
            ratio(asked, cedar_alone)
        );
    }
}

#[derive(Default)]
struct Rounds {
    large: Vec<Duration>,
    small: Vec<Duration>,
}

fn decided(snapshot: &Snapshot, raw: RawQuestion<'_>) -> Verdict {
    let question = snapshot.question(&raw).expect("a question");
    snapshot.decide(&question).expect("an answer").verdict
}

/// Cedar with everything prepared that can be.
struct Alone {
    policies: PolicySet,
    entities: Entities,
    request: Request,
}

impl Alone {
    fn of(snapshot: &Snapshot, user: &str) -> Self {
        let raw = question(user, "project-0");
        let question = snapshot.question(&raw).expect("a question");
        let asked = snapshot.policies_asked(&question);
        // The export shares the snapshot; a copy of the same state is as good.
        let catalog = Arc::clone(snapshot.catalog());
        let copy = Snapshot::compile(catalog, snapshot.organization().clone(), 1);
        let export = Export::new(Arc::new(copy.expect("it compiles")), Moment(0));
        let policies = export.policies().expect("policies");
        let policies = policies
            .into_iter()
            .filter(|policy| asked.contains(&policy.id))
            .map(|policy| {
                Policy::parse(Some(PolicyId::new(policy.id)), policy.text).expect("a policy")
            });
        let wanted = [
            format!("\"User\",\"id\":\"{user}\"}}"),
            "\"vm-1\"".to_owned(),
        ];
        let entities: Vec<String> = export
            .entities(Some(&question))
            .expect("entities")
            .into_iter()
            .filter(|entity| {
                let start = entity.find("\"uid\"").map_or("", |start| &entity[start..]);
                let end = start.find('}').map_or(start, |end| &start[..=end]);
                wanted.iter().any(|wanted| end.contains(wanted))
            })
            .collect();
        assert_eq!(entities.len(), 2, "the user and the resource");
        let entities = format!("[{}]", entities.join(","));
        let uid = |text: &str| text.parse().expect("a uid");
        let this = Self {
            policies: PolicySet::from_policies(policies).expect("a set of policies"),
            entities: Entities::from_json_str(&entities, None).expect("entities"),
            request: Request::new(
                uid(&format!("User::\"{user}\"")),
                uid("Action::\"InstancesManage\""),
                uid("Instance::\"vm-1\""),
                Context::empty(),
                None,
            )
            .expect("a request"),
        };
        let response =
            Authorizer::new().is_authorized(&this.request, &this.policies, &this.entities);
        assert_eq!(response.decision(), cedar_policy::Decision::Allow);
        this
    }

    fn ask(&self) {
        let answer = Authorizer::new().is_authorized(&self.request, &self.policies, &self.entities);
        black_box(answer);
    }
}
