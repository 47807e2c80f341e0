//! How long does a start take, and how much memory, with much more data than memory?
//!
//! Builds a data directory of 3 500 000 memberships in organizations of 100, which is ten
//! times the budget on disk and more than that in memory, then runs
//! the real program on it: from its start to the first answer, and, within a budget
//! of 128 MiB, while organizations are asked at random; every answer is compared with
//! what it must be. Last, in a process of its own, what a membership takes in memory,
//! beside what it is estimated to weigh.
//!
//! Run with `cargo bench --bench residency`. It takes some minutes and 3 GiB of disk.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark measures time and stops where it fails"
)]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use roster::app::{self, budget::MemoryBudget};
use roster::application::{Application, Links};
use roster::domain::Catalog;
use roster::domain::change::RecordChange;
use roster::domain::identifiers::{OrganizationId, RoleId, UserId};
use roster::domain::lifecycle::{Founding, found};
use roster::domain::organization::{Member, MemberStatus, Moment, Version};
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::store::sled::{OpenOptions, SledStore};
use roster::store::{Commit, HistoryEvent, Store};
use roster::world::SystemWorld;
use tonic::transport::{Channel, Endpoint};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CATALOG: &str = "hypervisor-io";
const MEMBERS: usize = 100;
/// What the program should stay within, unless `ROSTER_BENCH_BUDGET_MIB` says so.
const BUDGET_MIB: u64 = 128;
const COMMITS_AT_ONCE: usize = 1_024;
const ASKING: usize = 16;
const ASKED_FOR: Duration = Duration::from_secs(45);
/// How many organizations are read for what a membership takes.
const WEIGHED: usize = 2_000;
/// Where a child finds the directory that it is to weigh.
const CHILD: &str = "ROSTER_BENCH_WEIGH";

fn main() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return weigh(Path::new(&directory));
    }
    let organizations: usize = std::env::var("ROSTER_BENCH_ORGANIZATIONS")
        .map_or(35_000, |count| count.parse().expect("a number"));
    // A directory that was named is kept, and used again.
    let kept = std::env::var_os("ROSTER_BENCH_DIRECTORY").map(PathBuf::from);
    let temporary = tempfile::tempdir_in(".").expect("a temporary directory");
    let directory = kept.unwrap_or_else(|| temporary.path().to_owned());
    if !directory.join("journal").exists() {
        let begun = Instant::now();
        build(&directory, organizations);
        println!("built in {:?}", begun.elapsed());
    }
    println!(
        "{} memberships, {} MiB of journal, {} MiB of database",
        organizations * MEMBERS,
        mib(size_of(&directory.join("journal"))),
        mib(size_of(&directory.join("sled"))),
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(&directory, organizations));
    let child = Command::new(std::env::current_exe().expect("this program"))
        .env(CHILD, &directory)
        .status();
    assert!(child.expect("it runs").success());
}

fn budget_mib() -> u64 {
    std::env::var("ROSTER_BENCH_BUDGET_MIB")
        .map_or(BUDGET_MIB, |mib| mib.parse().expect("a number"))
}

fn build(directory: &Path, organizations: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let catalogs = app::compiled_catalogs(&[]).expect("catalogs");
    let catalog = catalogs
        .iter()
        .find(|catalog| catalog.catalog().id.as_str() == CATALOG)
        .expect("the catalog");
    let store = open(directory, 64);
    runtime.block_on(async {
        let mut waiting = FuturesUnordered::new();
        for number in 0..organizations {
            waiting.push(store.commit(founded(catalog.catalog(), number)));
            if waiting.len() >= COMMITS_AT_ONCE {
                waiting.next().await.expect("one").expect("a commit");
            }
        }
        while let Some(made) = waiting.next().await {
            made.expect("a commit");
        }
    });
}

fn open(directory: &Path, cache_mib: u64) -> SledStore {
    let options = OpenOptions {
        minimum_free_bytes: Some(0),
        cache_bytes: cache_mib * 1024 * 1024,
        ..OpenOptions::default()
    };
    SledStore::open(directory, options).expect("a store")
}

fn id(number: usize) -> String {
    format!("organization-{number}")
}

/// What an organization is founded with: its owner and 99 members.
fn founded(catalog: &Catalog, number: usize) -> Commit {
    let founding = Founding {
        id: id(number),
        display_name: format!("Organization {number}"),
        plan: String::new(),
        owner: format!("owner-{number}"),
        owner_display_name: "The Owner".to_owned(),
        owner_email: format!("owner@company-{number}.example"),
    };
    let (_, mut change) = found(catalog, &founding, Version(1), Moment(0)).expect("a founding");
    for place in 1..MEMBERS {
        let member = Arc::new(member(number, place));
        change.records.push(RecordChange::PutMember(member));
    }
    let event = HistoryEvent {
        action: "Populate".to_owned(),
        target_kind: "Organization".to_owned(),
        target_id: id(number),
        caller: "bench".to_owned(),
        ..HistoryEvent::default()
    };
    Commit {
        organization: OrganizationId::new(id(number)),
        expected: None,
        version: Version(1),
        at: Moment(0),
        records: change.records,
        events: vec![event],
        wake_at: None,
        idempotency: None,
        on_commit: Box::new(|_| {}),
    }
}

fn member(number: usize, place: usize) -> Member {
    Member {
        user: UserId::new(format!("auth0|{number:05}{place:03}")),
        display_name: format!("Alexandra Member-{place}").into(),
        email: format!("alexandra.member-{place}@company-{number}.example").into(),
        status: MemberStatus::Active,
        roles: vec![RoleId::new(if is_operator(place) {
            "operator"
        } else {
            "viewer"
        })],
        project_roles: Default::default(),
        overrides: Default::default(),
        default_roles: Default::default(),
        kind: Default::default(),
        groups: Default::default(),
        periods: Default::default(),
        period: Default::default(),
        added_by: Some(UserId::new(format!("owner-{number}"))),
        joined_at: Moment(0),
        last_active_at: None,
        membership: Version(1),
        version: Version(1),
    }
}

fn is_operator(place: usize) -> bool {
    place.is_multiple_of(3)
}

async fn measure(directory: &Path, organizations: usize) {
    for turn in ["first", "second"] {
        let begun = Instant::now();
        let program = Program::start(directory, budget_mib());
        let mut client = program.client().await;
        ask(&mut client, &program.key, organizations / 2, 3).await;
        println!(
            "{turn} start to first answer: {:?}; RSS {} MiB",
            begun.elapsed(),
            program.memory("VmRSS") / 1024
        );
    }
    let program = Program::start(directory, budget_mib());
    let asked = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut asking = Vec::new();
    for worker in 0..ASKING {
        let (mut client, key) = (program.client().await, program.key.clone());
        let asked = Arc::clone(&asked);
        asking.push(tokio::spawn(async move {
            let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(worker as u64 + 1);
            while begun.elapsed() < ASKED_FOR {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let number = (random >> 16) as usize % organizations;
                ask(
                    &mut client,
                    &key,
                    number,
                    (random >> 8) as usize % (MEMBERS + 1),
                )
                .await;
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for worker in asking {
        worker.await.expect("every answer is right");
    }
    let count = asked.load(Ordering::Relaxed);
    println!(
        "{count} answers of organizations at random, all right, {:.0} in a second; peak RSS {} MiB \
         of {} MiB, RSS at the end {} MiB",
        count as f64 / begun.elapsed().as_secs_f64(),
        program.memory("VmHWM") / 1024,
        budget_mib(),
        program.memory("VmRSS") / 1024,
    );
}

/// Asks about a member, or about a stranger, and compares the answer with what it must be.
async fn ask(
    client: &mut AuthorizationServiceClient<Channel>,
    key: &str,
    number: usize,
    place: usize,
) {
    let user = match place {
        0 => format!("owner-{number}"),
        place => format!("auth0|{number:05}{place:03}"),
    };
    let may = place == 0 || (place < MEMBERS && is_operator(place));
    let entity = |r#type: &str, id: &str| (r#type.to_owned(), id.to_owned());
    let (principal, resource) = (entity("User", &user), entity("Instance", "vm-1"));
    let mut request = tonic::Request::new(v1::IsAuthorizedRequest {
        organization: id(number),
        principal: Some(v1::EntityRef {
            r#type: principal.0,
            id: principal.1,
        }),
        action: "InstancesManage".to_owned(),
        resource: Some(v1::Resource {
            r#type: resource.0,
            id: resource.1,
            ..Default::default()
        }),
        ..Default::default()
    });
    let value = format!("Bearer {key}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    let answer = client.is_authorized(request).await.expect("an answer");
    let allowed = answer.into_inner().decision() == v1::Decision::Allow;
    assert_eq!(allowed, may, "{user} in {}", id(number));
}

/// The real program.
struct Program {
    child: Child,
    /// Kept open: a program that can't print ends.
    _printed: Lines<BufReader<ChildStdout>>,
    address: String,
    key: String,
}

impl Program {
    fn start(directory: &Path, budget_mib: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roster"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--minimum-free-mib",
                "1",
            ])
            .arg("--data-dir")
            .arg(directory)
            .args(["--memory-budget-mib", &budget_mib.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut printed = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = printed
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("roster listens on ").map(str::to_owned))
            .expect("it listens");
        let key = fs::read_to_string(directory.join("operator.key")).expect("a key");
        Self {
            child,
            _printed: printed,
            address,
            key: key.trim().to_owned(),
        }
    }

    async fn client(&self) -> AuthorizationServiceClient<Channel> {
        let channel = Endpoint::from_shared(format!("http://{}", self.address))
            .expect("an address")
            .connect()
            .await
            .expect("a connection");
        AuthorizationServiceClient::new(channel)
    }

    fn memory(&self, field: &str) -> u64 {
        memory_of(&self.child.id().to_string(), field)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM, so that the next start finds what a good end leaves behind.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

/// A line of `/proc/<process>/status`, in KiB.
fn memory_of(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("a number of KiB")
}

/// Says what organizations take in memory and what they are estimated to.
fn weigh(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = Arc::new(open(directory, 1));
    let catalogs = app::compiled_catalogs(&[]).expect("catalogs");
    let world = Arc::new(SystemWorld);
    let application = Application::start(catalogs, store, world, Links::new(&[0; 32]), usize::MAX);
    let read = |from: usize, count: usize| {
        runtime.block_on(async {
            for number in from..from + count {
                application.find(&id(number)).await.expect("it is there");
            }
        });
        (memory_of("self", "VmRSS") * 1024, application.weight())
    };
    // What comes once is there before it is counted from.
    let before = read(0, 200);
    let begun = Instant::now();
    let after = read(200, WEIGHED);
    let memberships = (WEIGHED * MEMBERS) as f64;
    let taken = after.0.saturating_sub(before.0) as f64;
    let weighed = (after.1 - before.1) as f64;
    println!(
        "a membership in memory: {:.0} bytes, weighed as {:.0} ({:.2} of it); an organization \
         of {MEMBERS} is read in {:?}",
        taken / memberships,
        weighed / memberships,
        weighed / taken,
        begun.elapsed() / u32::try_from(WEIGHED).expect("few"),
    );
    println!(
        "within {} MiB organizations may weigh {} MiB",
        budget_mib(),
        MemoryBudget::of_mib(budget_mib()).organizations() >> 20
    );
}

fn size_of(path: &Path) -> u64 {
    let entries = fs::read_dir(path).expect("a directory");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                size_of(&entry.path())
            } else {
                entry.metadata().expect("metadata").len()
            }
        })
        .sum()
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
