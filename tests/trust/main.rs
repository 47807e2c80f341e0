//! What a security officer and an on-call engineer read: who is let in, what happens
//! when disks, networks and processes fail, and what holds under load.
//!
//! Asked as in `tests/suite`, with the same harness; apart from it, so that either can be
//! built without the other.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it fails"
)]

mod allowance;
mod callers;
#[path = "../suite/harness.rs"]
#[expect(
    dead_code,
    reason = "the harness serves the suite as well, which uses more of it"
)]
mod harness;

mod backup;
mod clients;
mod commands;
mod deploy;
mod export;
mod faults;
mod health;
mod limits;
mod load;
mod logs;
mod metrics;
mod probed;
#[path = "../suite/process/program.rs"]
#[expect(
    dead_code,
    reason = "the suite's processes are asked for more than these"
)]
mod program;
#[path = "../suite/raw.rs"]
mod raw;
mod readme;
#[path = "../suite/process/storm.rs"]
mod storm;
mod torture;
mod traces;
mod verify;
mod wire;
