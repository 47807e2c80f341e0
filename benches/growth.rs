//! Does a change, or a check, cost more in a large organization than in a small one?
//!
//! Prints ratios measured in one run on one store: a role change and a check in
//! organizations of 10, 1 000 and 100 000 members, taken in turns so that noise
//! hits all of them alike, beside a raw append and `fdatasync` of the same disk.
//! Times are for orientation; the ratios are the result.
//!
//! Run with `make bench` or `cargo bench --bench growth`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and stops where it fails"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roster::app;
use roster::application::{Actor, Application, Caller, Check, Links, Need, Request};
use roster::domain::change::RecordChange;
use roster::domain::identifiers::{OrganizationId, RoleId, UserId};
use roster::domain::lifecycle::{Founding, found};
use roster::domain::organization::{Member, MemberStatus, Moment, Version};
use roster::engine::RawQuestion;
use roster::store::sled::{OpenOptions, SledStore};
use roster::store::{Commit, HistoryEvent, Sequence, Store};
use roster::world::SystemWorld;

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const WRITES: usize = 1_500;
const CHECKS: usize = 200_000;
const CHECKS_PER_SAMPLE: usize = 100;

fn main() {
    let directory = tempfile::tempdir_in(".").expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let catalogs = app::compiled_catalogs(&[]).expect("catalogs");
    let options = OpenOptions {
        minimum_free_bytes: Some(0),
        ..OpenOptions::default()
    };
    let store = Arc::new(SledStore::open(directory.path(), options).expect("a store"));
    let catalog = catalogs
        .iter()
        .find(|catalog| catalog.catalog().id.as_str() == "hypervisor-io")
        .expect("a catalog");
    for size in SIZES {
        runtime.block_on(populate(&*store, catalog.catalog(), size));
    }
    let shared: Arc<dyn Store> = Arc::clone(&store) as _;
    let application = Application::start(
        catalogs.clone(),
        shared,
        Arc::new(SystemWorld),
        Links::new(&[0; 32]),
        usize::MAX,
    );

    let before = store.head().sequence;
    let writes = measure_writes(&runtime, &application);
    let records = records_per_change(&*store, before);
    let checks = measure_checks(&application);
    let raw = measure_raw(directory.path());

    println!("| members | role change p50 | ratio | records per change | check p50 | ratio |");
    println!("|---|---|---|---|---|---|");
    for (index, size) in SIZES.iter().enumerate() {
        println!(
            "| {size} | {:?} | {:.2} | {} | {:?} | {:.2} |",
            writes[index],
            ratio(writes[index], writes[0]),
            records[index],
            checks[index],
            ratio(checks[index], checks[0]),
        );
    }
    println!();
    println!(
        "raw append and fdatasync p50: {raw:?}; a change takes {:.2} of it",
        ratio(writes[0], raw)
    );
}

fn organization(size: usize) -> String {
    format!("members-{size}")
}

/// Writes an organization of that size straight through the port.
async fn populate(store: &dyn Store, catalog: &roster::domain::Catalog, size: usize) {
    let founding = Founding {
        id: organization(size),
        display_name: organization(size),
        plan: String::new(),
        owner: "owner".to_owned(),
        owner_display_name: String::new(),
        owner_email: String::new(),
    };
    let (_, change) = found(catalog, &founding, Version(1), Moment(0)).expect("a founding");
    commit(store, size, None, change.records).await;
    for (index, chunk) in (1..size).collect::<Vec<_>>().chunks(1_000).enumerate() {
        let records = chunk
            .iter()
            .map(|number| RecordChange::PutMember(Arc::new(member(*number))))
            .collect();
        commit(store, size, Some(Version(index as u64 + 1)), records).await;
    }
}

async fn commit(
    store: &dyn Store,
    size: usize,
    expected: Option<Version>,
    records: Vec<RecordChange>,
) {
    let event = HistoryEvent {
        action: "Populate".to_owned(),
        target_kind: "Organization".to_owned(),
        target_id: organization(size),
        caller: "bench".to_owned(),
        ..HistoryEvent::default()
    };
    let commit = Commit {
        organization: OrganizationId::new(organization(size)),
        expected,
        version: expected.map_or(Version(1), Version::next),
        at: Moment(0),
        records,
        events: vec![event],
        wake_at: None,
        idempotency: None,
        on_commit: Box::new(|_| {}),
    };
    store.commit(commit).await.expect("a commit");
}

fn member(number: usize) -> Member {
    Member {
        user: UserId::new(format!("user-{number}")),
        display_name: String::new().into(),
        email: String::new().into(),
        status: MemberStatus::Active,
        roles: vec![RoleId::new("viewer")],
        project_roles: Default::default(),
        overrides: Default::default(),
        default_roles: Default::default(),
        kind: Default::default(),
        groups: Default::default(),
        periods: Default::default(),
        period: Default::default(),
        added_by: None,
        joined_at: Moment(0),
        last_active_at: None,
        membership: Version(1),
        version: Version(1),
    }
}

fn measure_writes(runtime: &tokio::runtime::Runtime, application: &Application) -> Vec<Duration> {
    let mut samples = vec![Vec::with_capacity(WRITES); SIZES.len()];
    for round in 0..WRITES {
        for (index, size) in SIZES.iter().enumerate() {
            let user = format!("user-{}", 1 + (round * 7) % (size - 1));
            let role = if round % 2 == 0 { "operator" } else { "viewer" }.to_owned();
            let begun = Instant::now();
            runtime
                .block_on(application.mutate(
                    &organization(*size),
                    Need::Operator,
                    &request(),
                    |turn| {
                        let roles = vec![role.clone()].into();
                        turn.organization().set_member_roles(
                            turn.catalog(),
                            &user,
                            &roles,
                            "",
                            turn.now,
                        )
                    },
                ))
                .expect("a change");
            samples[index].push(begun.elapsed());
        }
    }
    samples.into_iter().map(median).collect()
}

/// How many records each role change put into the history, by size of organization.
fn records_per_change(store: &dyn Store, after: Sequence) -> Vec<usize> {
    let mut most = vec![0; SIZES.len()];
    let mut after = after;
    loop {
        let entries = store.history(after, 1_000).expect("history");
        let Some(last) = entries.last() else {
            return most;
        };
        after = last.sequence;
        for entry in &entries {
            for (index, size) in SIZES.iter().enumerate() {
                if entry.organization.as_str() == organization(*size) {
                    most[index] = most[index].max(entry.records.len());
                }
            }
        }
    }
}

fn measure_checks(application: &Application) -> Vec<Duration> {
    let mut samples = vec![Vec::with_capacity(CHECKS / CHECKS_PER_SAMPLE); SIZES.len()];
    for round in 0..CHECKS / CHECKS_PER_SAMPLE {
        for (index, size) in SIZES.iter().enumerate() {
            let organization = organization(*size);
            let users: Vec<String> = (0..CHECKS_PER_SAMPLE)
                .map(|number| format!("user-{}", 1 + (round * 31 + number * 7_919) % (size - 1)))
                .collect();
            let begun = Instant::now();
            for user in &users {
                let question = RawQuestion {
                    principal_type: "User",
                    principal_id: user,
                    action: "InstancesManage",
                    resource_type: "Instance",
                    resource_id: "vm-1",
                    at: application.world().now(),
                    ..RawQuestion::default()
                };
                let check = Check {
                    organization: &organization,
                    question,
                    include_reasons: false,
                };
                black_box(
                    application
                        .check(&check)
                        .expect("it is in memory")
                        .expect("an answer"),
                );
            }
            samples[index].push(begun.elapsed() / CHECKS_PER_SAMPLE as u32);
        }
    }
    samples.into_iter().map(median).collect()
}

fn measure_raw(directory: &std::path::Path) -> Duration {
    let mut file = File::create(directory.join("raw")).expect("a file");
    let samples = (0..WRITES)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 400]).expect("an append");
            file.sync_data().expect("a sync");
            begun.elapsed()
        })
        .collect();
    median(samples)
}

fn request() -> Request {
    Request {
        caller: Caller {
            name: "bench".to_owned(),
            actor: Actor::Operator,
        },
        method: "SetMemberRoles",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples[samples.len() / 2]
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
