//! What the program does for people besides serving: a file for each command.
//!
//! A command says its answer on standard output and its troubles on standard error, and
//! ends with one of the codes in `exit`.

pub mod backup;
pub mod catalog;
pub mod daemon;
pub mod exit;
pub mod export;
pub mod progress;
pub mod sealed_file;
pub mod status;
pub mod keys;
pub mod verify;
