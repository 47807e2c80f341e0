//! Does a check, or a change, cost more where there is more of everything?
//!
//! Takes one thing after the other from little to much: organizations, members,
//! custom roles, overrides, guardrails. At each size a check is measured as a service
//! has it (over gRPC, one call after the other) and inside the process, asking about
//! anybody in no order, and a change of a role. Sizes of one thing are taken in turns,
//! so that noise hits all of them alike; medians count, and the ratios are the result.
//!
//! Names of things, as arguments, leave out all others. Writes `growth.csv` and `growth.svg` beside this file. Run with `make bench` or
//! `cargo bench --bench growth`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and stops where it fails"
)]

#[path = "../fixtures/mod.rs"]
mod fixtures;
mod measure;
mod plot;
mod served;

use std::path::Path;
use std::sync::Arc;

use fixtures::Size;
use roster::app;
use roster::application::{Application, Links};
use roster::store::Store;
use roster::store::sled::{OpenOptions, SledStore};
use roster::world::SystemWorld;

use measure::{Curve, Measured, Point};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Members of each of the many small organizations.
const FEW: usize = 10;
const ORGANIZATIONS: usize = 100_000;

fn main() {
    let directory = tempfile::tempdir_in(".").expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let options = OpenOptions {
        minimum_free_bytes: Some(0),
        ..OpenOptions::default()
    };
    let store = Arc::new(SledStore::open(directory.path(), options).expect("a store"));
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut curves = curves();
    curves.retain(|curve| {
        let named = |name: &String| name == curve.name;
        wanted.iter().all(|name| name.starts_with('-')) || wanted.iter().any(named)
    });
    runtime.block_on(populate(&store, &curves));
    let shared: Arc<dyn Store> = Arc::clone(&store) as _;
    let catalogs = app::compiled_catalogs(&[]).expect("catalogs");
    let links = Links::new(&[0; 32]);
    let application =
        Application::start(catalogs, shared, Arc::new(SystemWorld), links, usize::MAX);
    let application = Arc::new(application);
    runtime.block_on(measure::warm(&application, &curves));

    let mut daemon = served::Daemon::start(&runtime, &application);
    let mut all = Vec::new();
    println!(
        "| what grows | to | check served p50 | ratio | check inside p50 | ratio | change p50 | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for curve in &curves {
        let measured = measure::measure(curve, &runtime, &application, &mut daemon);
        tell(curve, &measured);
        all.push((curve, measured));
    }
    println!();
    println!("Bars: 1.2 for checks, 1.5 for changes.");
    let raw = measure::raw_append(directory.path());
    println!("A raw append with `fdatasync` of 400 bytes on the same disk: p50 {raw:?}.");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/growth");
    plot::write(&beside, &all).expect("the plot is written");
}

/// What grows, and in which organizations it has which size.
fn curves() -> Vec<Curve> {
    let of = |name, sizes: &[(usize, Size)]| Curve {
        name,
        points: sizes
            .iter()
            .map(|(count, size)| Point {
                count: *count,
                organizations: vec![format!("{name}-{count}")],
                size: *size,
            })
            .collect(),
    };
    let members = |members| Size {
        members,
        ..Size::default()
    };
    let roles = |roles| Size {
        members: 1_000,
        roles,
        ..Size::default()
    };
    let overrides = |overrides| Size {
        members: 10_000,
        overrides,
        ..Size::default()
    };
    let guardrails = |guardrails| Size {
        members: 100,
        guardrails,
        ..Size::default()
    };
    let small = |count: usize| Point {
        count,
        organizations: (0..count).map(|number| format!("small-{number}")).collect(),
        size: members(FEW),
    };
    vec![
        Curve {
            name: "organizations",
            points: [1, 100, 10_000, ORGANIZATIONS].map(small).into(),
        },
        of(
            "members",
            &[10, 1_000, 100_000].map(|count| (count, members(count))),
        ),
        of("roles", &[1, 30, 1_000].map(|count| (count, roles(count)))),
        of(
            "overrides",
            &[0, 100, 10_000].map(|count| (count, overrides(count))),
        ),
        of(
            "guardrails",
            &[0, 20, 200].map(|count| (count, guardrails(count))),
        ),
    ]
}

async fn populate(store: &Arc<SledStore>, curves: &[Curve]) {
    use futures_util::StreamExt as _;
    const AT_ONCE: usize = 256;
    let compiled = fixtures::catalog();
    // The largest size of organizations has those of all smaller ones.
    for curve in curves {
        let last = curve
            .points
            .last()
            .filter(|_| curve.name == "organizations");
        let points = last.map_or(curve.points.as_slice(), std::slice::from_ref);
        for point in points {
            futures_util::stream::iter(&point.organizations)
                .for_each_concurrent(AT_ONCE, |id| {
                    fixtures::write(&**store, compiled.catalog(), id, point.size)
                })
                .await;
        }
    }
}

fn tell(curve: &Curve, measured: &[Measured]) {
    for (point, measured_here) in curve.points.iter().zip(measured) {
        let first = &measured[0];
        println!(
            "| {} | {} | {:?} | {:.2} | {:?} | {:.2} | {:?} | {:.2} |",
            curve.name,
            point.count,
            measured_here.served,
            fixtures::ratio(measured_here.served, first.served),
            measured_here.inside,
            fixtures::ratio(measured_here.inside, first.inside),
            measured_here.change,
            fixtures::ratio(measured_here.change, first.change),
        );
    }
}
