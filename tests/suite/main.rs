//! Everything a user would see, asked through gRPC of a daemon in this process,
//! and what is above or around a single request: properties, crashes, tools.
//!
//! One harness builds all of it, so that Cedar is linked once.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails should stop where it fails"
)]

mod harness;

mod attacks;
mod audit;
mod cells;
mod control_plane;
mod coverage;
mod delivery;
mod export_law;
mod groups;
mod growth;
mod guardrails;
mod hostile;
mod invitations;
mod notifications;
mod permissions;
mod process;
mod products;
mod properties;
mod raw;
mod reasons;
mod residency;
mod schedules;
mod semantics;
mod serving;
mod time;
mod tokens;
mod tools;
mod transfer;
