//! Roster: one daemon that knows who is on each team and decides what they may do.
//!
//! Calls go from left to right, nothing imports leftward:
//!
//! ```text
//! transport ──→ application ──→ engine ──→ domain
//!                    └────────→ store (port) ←── store::sled, store::memory
//! ```

pub mod app;
pub mod application;
pub mod catalogs;
pub mod cli;
pub mod client;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod engine;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod measure;
pub mod proto;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod world;
