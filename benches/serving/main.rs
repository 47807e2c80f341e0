//! Does a check over gRPC cost more than the call itself?
//!
//! One process: the daemon on a sled store with its serving threads, and as many
//! client threads, which share the cores of the machine. A call that does nothing, of
//! the same sizes and on the same server stack, is the measure. All that is compared
//! takes turns within each round, so that noise hits all of it alike; what is printed
//! are medians over the rounds. Times are for orientation; the ratios are the result.
//!
//! Run with `make bench` or `cargo bench --bench serving`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and stops where it fails"
)]

mod cerbos;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod load;
mod noop;
mod organizations;
mod processor;
mod wire;
mod writers;

use std::time::Duration;

use cerbos::Cerbos;
use load::{Kind, Load, Sample};
use noop::Daemon;
use writers::Writers;

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_millis(700);
/// What differs little is compared in more and shorter rounds, since machines that others
/// use as well change their speed from one second to the next.
const SHORT_ROUNDS: usize = 41;
const SHORT_TURN: Duration = Duration::from_millis(120);
/// How many calls each client thread has under way at full load.
const AT_ONCE: usize = 64;
/// And at the load at which writers are added.
const AT_EASE: usize = 4;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What takes turns: the name, the kind of load, and whether it goes over the socket.
const CASES: [(&str, Kind, bool); 9] = [
    ("no-op, TCP", Kind::Noop, false),
    ("unary, TCP", Kind::Unary, false),
    ("no-op, Unix", Kind::Noop, true),
    ("unary, Unix", Kind::Unary, true),
    ("batch of 1000, TCP", Kind::Batch, false),
    ("batch of 1000, Unix", Kind::Batch, true),
    ("stream, TCP", Kind::Stream, false),
    ("stream, Unix", Kind::Stream, true),
    ("checker, TCP", Kind::Checker, false),
];

fn main() {
    let daemon = Daemon::start();
    if let Ok(name) = std::env::var("ROSTER_BENCH_ONLY") {
        return run_only(&Load::new(&daemon, None), &name);
    }
    let load = Load::new(&daemon, Cerbos::start());
    println!("{} cores, shared by client and server", daemon.threads);

    let mut samples: Vec<Vec<Sample>> = CASES.iter().map(|_| Vec::new()).collect();
    for (_, kind, unix) in CASES {
        load.run(kind, unix, AT_ONCE, TURN / 4);
    }
    for _ in 0..SHORT_ROUNDS {
        for (index, (_, kind, unix)) in CASES.into_iter().enumerate() {
            samples[index].push(load.run(kind, unix, AT_ONCE, SHORT_TURN));
        }
    }
    print_cases(&samples);
    print_bars(&samples);
    print_beside_cerbos(&load);
    print_beside_writers(&daemon, &load);
}

/// One case, for a profiler.
fn run_only(load: &Load, name: &str) {
    let case = CASES.iter().find(|(case, ..)| *case == name);
    let (_, kind, unix) = case.expect("`ROSTER_BENCH_ONLY` names a case");
    let sample = load.run(*kind, *unix, AT_ONCE, TURN * 10);
    println!("{name}: {:.0} checks/s", sample.rate());
}

/// Cerbos and the daemon in turns, if it is there.
fn print_beside_cerbos(load: &Load) {
    let Some(mib) = load.cerbos_mib() else {
        println!();
        println!("Cerbos was not asked: `ROSTER_BENCH_CERBOS` names no program.");
        return;
    };
    let kinds = [("Roster", Kind::Unary), ("Cerbos", Kind::Cerbos)];
    let mut samples = kinds.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (index, (_, kind)) in kinds.into_iter().enumerate() {
            let sample = load.run(kind, false, AT_ONCE, TURN);
            // The first round warms up.
            if round > 0 {
                samples[index].push(sample);
            }
        }
    }
    println!();
    println!("| the same roles and load | checks/s | p50 | p99 | server CPU per check |");
    println!("|---|---|---|---|---|");
    for ((name, _), samples) in kinds.iter().zip(&samples) {
        println!(
            "| {name} | {:.0} | {:.0} µs | {:.0} µs | {:.2} µs |",
            median(samples, Sample::rate),
            median(samples, |sample| sample.percentile(50)),
            median(samples, |sample| sample.percentile(99)),
            median(samples, Sample::server_microseconds),
        );
    }
    let rate = of_rounds(
        &ratios(&samples[0], Sample::rate),
        &ratios(&samples[1], Sample::rate),
    );
    let tail = |sample: &Sample| sample.percentile(99);
    let tail = of_rounds(&ratios(&samples[1], tail), &ratios(&samples[0], tail));
    println!();
    println!(
        "Roster has {rate:.1} times the rate of Cerbos (bar 20), whose p99 is {tail:.1} times \
         Roster's (bar 20). Before the load Cerbos took {mib} MiB, and after it {} MiB.",
        load.cerbos_mib().unwrap_or_default(),
    );
}

fn print_cases(samples: &[Vec<Sample>]) {
    println!();
    println!("| at full load | checks/s | p50 | p99 | server CPU per check |");
    println!("|---|---|---|---|---|");
    for ((name, ..), samples) in CASES.iter().zip(samples) {
        println!(
            "| {name} | {:.0} | {:.0} µs | {:.0} µs | {:.2} µs |",
            median(samples, Sample::rate),
            median(samples, |sample| sample.percentile(50)),
            median(samples, |sample| sample.percentile(99)),
            median(samples, Sample::server_microseconds),
        );
    }
}

fn print_bars(samples: &[Vec<Sample>]) {
    let rates = |index: usize| ratios(&samples[index], Sample::rate);
    let tails = |index: usize| ratios(&samples[index], |sample| sample.percentile(99));
    println!();
    println!("| ratio, median of the rounds | measured | bar |");
    println!("|---|---|---|");
    for (name, noop, unary) in [("TCP", 0, 1), ("Unix", 2, 3)] {
        let rate = of_rounds(&rates(unary), &rates(noop));
        let tail = of_rounds(&tails(unary), &tails(noop));
        println!("| {name}: unary against no-op, throughput | {rate:.3} | ≥ 0.95 |");
        println!("| {name}: unary against no-op, p99 | {tail:.3} | ≤ 1.1 |");
    }
    for (name, unary, stream) in [("TCP", 1, 6), ("Unix", 3, 7)] {
        let rate = of_rounds(&rates(stream), &rates(unary));
        println!("| {name}: stream against unary | {rate:.2} | ≥ 5 |");
    }
    for (name, index) in [("TCP", 4), ("Unix", 5)] {
        let cost = median(&samples[index], Sample::server_microseconds);
        println!(
            "| {name}: batch, decisions per core and second in the server | {:.0} | ≥ 1000000 |",
            1e6 / cost
        );
    }
}

fn print_beside_writers(daemon: &Daemon, load: &Load) {
    let cases = [
        ("quiet", None),
        (
            "writers in another organization",
            Some(organizations::SMALL),
        ),
        ("writers in 100 000 members", Some(organizations::LARGE)),
    ];
    let mut samples: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
    let mut written: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (index, (_, organization)) in cases.into_iter().enumerate() {
            let writers = organization.map(|size| Writers::start(daemon, size));
            let begun = std::time::Instant::now();
            samples[index].push(load.run(Kind::Unary, false, AT_EASE, TURN));
            let changes = writers.map_or(0, Writers::stop);
            written[index].push(changes as f64 / begun.elapsed().as_secs_f64());
        }
    }
    let tails = |index: usize| ratios(&samples[index], |sample| sample.percentile(99));
    println!();
    println!("| checks beside writers | checks/s | changes/s | p50 | p99 | p99 ratio (bar 2) |");
    println!("|---|---|---|---|---|---|");
    for (index, (name, _)) in cases.iter().enumerate() {
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} µs | {:.0} µs | {:.2} |",
            median(&samples[index], Sample::rate),
            middle(written[index].clone()),
            median(&samples[index], |sample| sample.percentile(50)),
            median(&samples[index], |sample| sample.percentile(99)),
            of_rounds(&tails(index), &tails(0)),
        );
    }
}

fn ratios(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(of).collect()
}

/// The median of the ratios within each round.
fn of_rounds(one: &[f64], other: &[f64]) -> f64 {
    let ratios = one.iter().zip(other).map(|(one, other)| one / other);
    middle(ratios.collect())
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    middle(samples.iter().map(of).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
