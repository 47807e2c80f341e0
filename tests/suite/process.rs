//! The real program, started as a person would: what it prints, how it ends, and
//! what is left when it is killed.

mod crash;
mod data_directory;
mod life;
pub mod program;
mod readme;
mod settings;
#[expect(dead_code, reason = "`tests/trust` has further storms")]
mod storm;
mod unix_socket;
mod verify;

pub use program::Daemon;
use program::{Ended, Process, roster, run, serve, signed};
