//! The processor time that the serving threads have used, as Linux counts it.

use std::fs;
use std::time::Duration;

/// What all threads have used whose name begins with `serving-`.
pub fn used_by_serving_threads() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads");
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        if !name.starts_with("serving-") {
            return None;
        }
        let used = fs::read_to_string(task.path().join("schedstat")).ok()?;
        used.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
