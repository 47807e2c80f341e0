//! What is fed with arbitrary bytes: every decoder of the daemon, and what must hold
//! whatever comes in. A target ends in a panic where it does not.
//!
//! Not part of the program: built for tests, which run each target over the kept
//! corpora and seeded mutations of them, and with the feature `fuzzing` for the
//! workspace in `fuzz/`, which runs them for as long as one likes. A target lives in
//! the layer whose inside it needs; this file only gathers them.

mod exports;
mod growing;
mod requests;
#[cfg(test)]
mod tests;
mod texts;

pub use crate::application::fuzzing::{links, pages, secrets};
pub use crate::store::fuzzing::records;
pub use crate::store::sled::fuzzing::{frames, leaves};
pub use crate::transport::allowance::fuzzing::allowances;
pub use crate::transport::hot::request::fuzzing::questions;
pub use exports::imports;
pub use requests::requests;
pub use texts::{catalogs, guardrails};

/// A target.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus under `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 12] = [
    ("allowances", allowances),
    ("catalogs", catalogs),
    ("frames", frames),
    ("guardrails", guardrails),
    ("imports", imports),
    ("leaves", leaves),
    ("links", links),
    ("pages", pages),
    ("questions", questions),
    ("records", records),
    ("requests", requests),
    ("secrets", secrets),
];
