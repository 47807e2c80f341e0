//! What the program does for people besides serving: a file for each command.
//!
//! A command says its answer on standard output and its troubles on standard error, and
//! ends with one of the codes in `exit`.

mod asking;
pub mod backup;
pub mod catalog;
pub mod check;
pub mod daemon;
pub mod exit;
pub mod explain;
pub mod export;
pub mod keys;
pub mod progress;
pub mod sealed_file;
pub mod status;
pub mod verify;
