//! The torture test: a daemon is killed hundreds of times while it is written to.
//!
//! `make torture` runs it. It prints how it goes, and says how to have the same run
//! again. A short one runs with the other tests.

use std::time::Duration;

use crate::storm::Storm;

/// How often the daemon is killed, unless `ROSTER_TORTURE_KILLS` says otherwise.
const KILLS: u64 = 560;
/// How often it is told how far it has come.
const TOLD_EVERY: u64 = 50;

/// The median and the longest.
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    format!("median {median:.0?}, longest {longest:.0?}")
}

fn figures(storm: &Storm) -> String {
    let slow = |start: &&Duration| **start >= Duration::from_secs(1);
    format!(
        "seed {}: {} kills while serving, {} while starting; {} changes acknowledged and \
         found again; {} starts: {}, {} of a second or more; processor time: {}",
        storm.seed,
        storm.killed,
        storm.killed_early,
        storm.acknowledged,
        storm.starts.len(),
        spread(&storm.starts),
        storm.starts.iter().filter(slow).count(),
        spread(&storm.worked),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_kills_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let storm = Storm::run(directory.path(), 9, |_| ()).await;
    assert_eq!((storm.killed, storm.killed_early), (8, 1));
    println!("{}", figures(&storm));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long; `make torture` runs it"]
async fn torture() {
    let kills = std::env::var("ROSTER_TORTURE_KILLS").map_or(KILLS, |kills| {
        kills.parse().expect("ROSTER_TORTURE_KILLS is a number")
    });
    let directory = tempfile::tempdir().unwrap();
    let storm = Storm::run(directory.path(), kills, |storm| {
        if storm.killed.is_multiple_of(TOLD_EVERY) {
            println!("{}", figures(storm));
        }
    })
    .await;
    println!("{}", figures(&storm));
    assert_eq!(storm.killed + storm.killed_early, kills);
}
