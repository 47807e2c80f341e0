//! Exit codes, and what is said where a command fails.

use std::process::ExitCode;

use crate::app::AppError;
use crate::store::sled::OpenError;

/// Something is wrong with what was given.
pub const FAULT: u8 = 1;
/// The store can't be opened, such as while another process has it.
pub const STORE: u8 = 3;
/// The store has lost or damaged acknowledged history.
pub const LOST: u8 = 4;
/// The daemon answered, and the answer is no.
pub const DENIED: u8 = 5;

/// Says on standard error what happened, and with which code to end.
pub fn fail(error: &AppError) -> ExitCode {
    eprintln!("roster: {}", told(error));
    let code = match error {
        AppError::Open(error) => code_of(error),
        _ => FAULT,
    };
    ExitCode::from(code)
}

/// The code for a store that does not open.
pub fn code_of(error: &OpenError) -> u8 {
    match error {
        OpenError::Damaged { .. } | OpenError::Lost { .. } | OpenError::Diverged(_) => LOST,
        OpenError::InUse(_) | OpenError::Io { .. } | OpenError::Refused { .. } => STORE,
    }
}

/// An error with everything that caused it.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
