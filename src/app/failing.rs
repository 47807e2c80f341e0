//! Lets a test say where the process is to die or fail. Builds that are released
//! heed no such wish.

use crate::store::failpoint;

/// The variable that says where; no setting, and in no table of them.
const VARIABLE: &str = "ROSTER_FAILPOINT";

/// Arms what a test has asked for.
pub fn arm_failpoint() -> Result<(), String> {
    match std::env::var(VARIABLE) {
        Ok(text) if cfg!(debug_assertions) => failpoint::arm(&text),
        _ => Ok(()),
    }
}
