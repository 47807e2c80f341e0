//! How many durable changes does a second see, beside what the disk alone allows?
//!
//! Writers change roles in many organizations, each change with a notification, an
//! event and an answer to remember: 1, 16 and 256 of them at once, straight through the
//! port and through the application. Beside each, the same number of bytes is appended
//! and made durable with `fdatasync` in as many groups as the store made of them, on
//! the same disk. Rates are for orientation; the ratios are the result.
//!
//! Run with `make bench` or `cargo bench --bench writes`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and stops where it fails"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use roster::app;
use roster::application::{Actor, Application, Caller, Links, Need, Request};
use roster::domain::Catalog;
use roster::domain::change::{Outcome, RecordChange};
use roster::domain::identifiers::{NotificationId, OrganizationId, RoleId, UserId};
use roster::domain::lifecycle::{Founding, found};
use roster::domain::organization::{
    Member, MemberStatus, Moment, Notification, NotificationKind, Version,
};
use roster::store::sled::{OpenOptions, SledStore};
use roster::store::{Commit, HistoryEvent, Idempotency, IdempotencyKey, Store};
use roster::world::{SystemWorld, World};

const ORGANIZATIONS: usize = 2_000;
const MEMBERS: usize = 10;
const WRITERS: [usize; 3] = [1, 16, 256];
const COMMITS: [usize; 3] = [2_000, 20_000, 60_000];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let directory = tempfile::tempdir_in(".").expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
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
    runtime.block_on(populate(&store, catalog.catalog()));

    println!("| through | writers | changes/s | a group | raw/s | of raw | p50 | p99 |");
    println!("|---|---|---|---|---|---|---|---|");
    let versions: Arc<Vec<_>> = Arc::new((0..ORGANIZATIONS).map(|_| AtomicUsize::new(2)).collect());
    for (writers, commits) in WRITERS.into_iter().zip(COMMITS) {
        let before = Journal::read(directory.path());
        let (port, versions) = (Arc::clone(&store), Arc::clone(&versions));
        let measured = runtime.block_on(write(writers, commits, move |number| {
            let (store, versions) = (Arc::clone(&port), Arc::clone(&versions));
            async move {
                let organization = of_writer(writers, number);
                let version = versions[organization].fetch_add(1, Ordering::Relaxed);
                let commit = role_change(organization, version as u64, number);
                store.commit(commit).await.expect("a commit");
            }
        }));
        report("the port", writers, &measured, before, directory.path());
    }

    let shared: Arc<dyn Store> = Arc::clone(&store) as _;
    let application = Application::start(
        catalogs.clone(),
        shared,
        Arc::new(SystemWorld),
        Links::new(&[0; 32]),
        usize::MAX,
    );
    let application = Arc::new(application);
    for (writers, commits) in WRITERS.into_iter().zip(COMMITS) {
        let before = Journal::read(directory.path());
        let shared = Arc::clone(&application);
        let measured = runtime.block_on(write(writers, commits / 2, move |number| {
            let application = Arc::clone(&shared);
            async move { mutate(&application, writers, number).await }
        }));
        report(
            "the application",
            writers,
            &measured,
            before,
            directory.path(),
        );
    }
}

/// What some writers did.
struct Measured {
    commits: usize,
    took: Duration,
    each: Vec<Duration>,
}

/// Lets `writers` do `commits` things, each the next one as soon as its last is done.
async fn write<F, Doing>(writers: usize, commits: usize, doing: F) -> Measured
where
    F: Fn(usize) -> Doing + Clone + Send + 'static,
    Doing: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let doing = doing.clone();
            tokio::spawn(async move {
                let mut each = Vec::with_capacity(commits / writers);
                for number in (writer..commits).step_by(writers) {
                    let begun = Instant::now();
                    doing(number).await;
                    each.push(begun.elapsed());
                }
                each
            })
        })
        .collect();
    let mut each = Vec::with_capacity(commits);
    for task in tasks {
        each.extend(task.await.expect("a writer"));
    }
    Measured {
        commits,
        took: begun.elapsed(),
        each,
    }
}

fn report(through: &str, writers: usize, measured: &Measured, before: Journal, directory: &Path) {
    let after = Journal::read(directory);
    let (bytes, groups) = (after.bytes - before.bytes, after.groups - before.groups);
    let raw = raw(directory, bytes, groups);
    let mut each = measured.each.clone();
    each.sort();
    let rate = |took: Duration| measured.commits as f64 / took.as_secs_f64();
    println!(
        "| {through} | {writers} | {:.0} | {:.1} of {} bytes | {:.0} | {:.2} | {:?} | {:?} |",
        rate(measured.took),
        measured.commits as f64 / groups as f64,
        bytes / measured.commits,
        rate(raw),
        raw.as_secs_f64() / measured.took.as_secs_f64(),
        each[each.len() / 2],
        each[each.len() * 99 / 100],
    );
}

/// How long it takes to append so many bytes durably, in so many groups.
fn raw(directory: &Path, bytes: usize, groups: usize) -> Duration {
    let mut file = File::create(directory.join("raw")).expect("a file");
    let group = vec![7; bytes / groups];
    let begun = Instant::now();
    for _ in 0..groups {
        file.write_all(&group).expect("an append");
        file.sync_data().expect("a sync");
    }
    begun.elapsed()
}

/// What the journal holds.
struct Journal {
    bytes: usize,
    /// How often it was made durable.
    groups: usize,
}

impl Journal {
    /// Counts, from the heads of frames: their sizes and the first sequence of their group.
    fn read(directory: &Path) -> Self {
        const HEAD: usize = 92;
        let mut groups = BTreeMap::new();
        let mut bytes = 0;
        for segment in std::fs::read_dir(directory.join("journal")).expect("a journal") {
            let segment = std::fs::read(segment.expect("a segment").path()).expect("a segment");
            bytes += segment.len();
            let mut rest = &segment[80..];
            while rest.len() >= HEAD {
                let number = |at: usize| {
                    let bytes = rest[at..at + 4].try_into().expect("four bytes");
                    u32::from_be_bytes(bytes) as usize
                };
                groups.insert(rest[20..28].to_vec(), ());
                rest = &rest[HEAD + number(4) + number(8)..];
            }
        }
        Self {
            bytes,
            groups: groups.len(),
        }
    }
}

/// The organization of a change: each writer goes round among its own.
fn of_writer(writers: usize, number: usize) -> usize {
    let (round, writer) = (number / writers, number % writers);
    writer + writers * (round % (ORGANIZATIONS / writers))
}

fn organization(number: usize) -> String {
    format!("organization-{number}")
}

async fn populate(store: &SledStore, catalog: &Catalog) {
    let mut commits = Vec::new();
    for number in 0..ORGANIZATIONS {
        let founding = Founding {
            id: organization(number),
            display_name: organization(number),
            plan: String::new(),
            owner: "owner".to_owned(),
            owner_display_name: String::new(),
            owner_email: String::new(),
        };
        let (_, change) = found(catalog, &founding, Version(1), Moment(0)).expect("a founding");
        let mut records = change.records;
        let members = (1..MEMBERS).map(|number| member(number, 1));
        records.extend(members.map(|member| RecordChange::PutMember(Arc::new(member))));
        commits.push(store.commit(commit(number, None, 1, records, String::new())));
    }
    for commit in commits {
        commit.await.expect("a commit");
    }
}

fn commit(
    organization_number: usize,
    expected: Option<u64>,
    version: u64,
    records: Vec<RecordChange>,
    request_id: String,
) -> Commit {
    let id = OrganizationId::new(organization(organization_number));
    let now = SystemWorld.now();
    let event = HistoryEvent {
        action: "SetMemberRoles".to_owned(),
        target_kind: "Member".to_owned(),
        target_id: "user-1".to_owned(),
        caller: "bench".to_owned(),
        request_id: request_id.clone(),
        details: vec![
            ("before".to_owned(), "viewer".to_owned()),
            ("after".to_owned(), "operator".to_owned()),
        ],
        ..HistoryEvent::default()
    };
    let idempotency = (!request_id.is_empty()).then(|| Idempotency {
        key: IdempotencyKey {
            organization: id.clone(),
            caller: "bench".to_owned(),
            request_id,
        },
        fingerprint: [7; 32],
        outcome: Outcome::Member(Arc::new(member(1, version))),
        expires_at: Moment(now.0 + 24 * 60 * 60 * 1_000),
    });
    Commit {
        organization: id,
        expected: expected.map(Version),
        version: Version(version),
        at: now,
        records,
        events: vec![event],
        wake_at: None,
        idempotency,
        on_commit: Box::new(|_| {}),
    }
}

fn role_change(organization: usize, version: u64, number: usize) -> Commit {
    let user = 1 + number % (MEMBERS - 1);
    let notification = Notification {
        id: NotificationId::new(format!("{number:032x}")),
        kind: NotificationKind::RoleChanged,
        email: format!("user-{user}@example.com"),
        user: Some(UserId::new(format!("user-{user}"))),
        invitation: None,
        facts: BTreeMap::from([("roles".to_owned(), "operator".to_owned())]),
        created_at: Moment(0),
    };
    let records = vec![
        RecordChange::PutMember(Arc::new(member(user, version))),
        RecordChange::PutNotification(Arc::new(notification)),
    ];
    let request = format!("{version}-{number}");
    commit(organization, Some(version - 1), version, records, request)
}

async fn mutate(application: &Application, writers: usize, number: usize) {
    let organization = organization(of_writer(writers, number));
    let round = number / ORGANIZATIONS;
    let user = format!("user-{}", 1 + round % (MEMBERS - 1));
    let roles = ["operator", "viewer"][round / (MEMBERS - 1) % 2];
    let request = Request {
        caller: Caller {
            name: "bench".to_owned(),
            actor: Actor::Operator,
        },
        method: "SetMemberRoles",
        request_id: format!("{writers}-{number}"),
        fingerprint: [7; 32],
        validate_only: false,
    };
    application
        .mutate(&organization, Need::Operator, &request, |turn| {
            let roles = vec![roles.to_owned()].into();
            turn.organization()
                .set_member_roles(turn.catalog(), &user, &roles, "", turn.now)
        })
        .await
        .expect("a change");
}

fn member(number: usize, version: u64) -> Member {
    Member {
        user: UserId::new(format!("user-{number}")),
        display_name: format!("User {number}").into(),
        email: format!("user-{number}@example.com").into(),
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
        version: Version(version),
    }
}
