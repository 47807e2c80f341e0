//! Places at which a test makes the process die or fail.
//!
//! A crash between two steps of the write path is a matter of microseconds, which no
//! random kill hits often. So the steps say where they are, and a test says at which of
//! them the process is to end. Builds without debug assertions, as are all that are
//! released, hold none of it: there [`arm`] does nothing and `reach` is empty.
//!
//! Nothing here reads the environment; the program hands in what a test has set.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// What happens at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The process ends as by SIGKILL.
    Kill,
    /// The step fails as by a broken disk.
    Fail,
    /// The step fails as by a full disk.
    Full,
}

#[derive(Debug)]
struct Armed {
    point: String,
    action: Action,
    /// How often the place is passed before it happens.
    left: AtomicU64,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms `POINT=ACTION` or `POINT=ACTION@COUNT`: at the count-th time (from 1) that the
/// point is reached, and each time after it, the action (`kill`, `fail` or `full`)
/// happens. The problem in words if it is none of these.
pub fn arm(text: &str) -> Result<(), String> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let armed = read(text).ok_or_else(|| format!("`{text}` is no failpoint"))?;
    // Whoever came first stays.
    let _ = ARMED.set(armed);
    Ok(())
}

fn read(text: &str) -> Option<Armed> {
    let (point, rest) = text.split_once('=')?;
    let (action, count) = rest.split_once('@').unwrap_or((rest, "1"));
    let action = match action {
        "kill" => Action::Kill,
        "fail" => Action::Fail,
        "full" => Action::Full,
        _ => return None,
    };
    Some(Armed {
        point: point.to_owned(),
        action,
        left: AtomicU64::new(count.parse().ok()?),
    })
}

/// Says that a step is reached. What is armed for it happens here.
pub(crate) fn reach(point: &str) -> io::Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    match ARMED.get().filter(|armed| armed.point == point) {
        Some(armed) => armed.pass(),
        None => Ok(()),
    }
}

/// Whether something is armed for a step, so that what only makes sense then is done.
pub(crate) fn is_armed(point: &str) -> bool {
    cfg!(debug_assertions) && ARMED.get().is_some_and(|armed| armed.point == point)
}

impl Armed {
    fn pass(&self) -> io::Result<()> {
        let one_less = |left: u64| Some(left.saturating_sub(1));
        let passed = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        if passed.unwrap_or_default() > 1 {
            return Ok(());
        }
        match self.action {
            Action::Fail => Err(io::Error::other("failed on purpose")),
            Action::Full => Err(io::ErrorKind::StorageFull.into()),
            Action::Kill => {
                kill_process(getpid(), Signal::KILL)?;
                // The signal ends all threads, this one perhaps a moment later.
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_a_point_an_action_and_perhaps_a_count() {
        let third = read("sync=fail@3").unwrap();
        assert_eq!((third.point.as_str(), third.action), ("sync", Action::Fail));
        assert!(third.pass().is_ok());
        assert!(third.pass().is_ok());
        for _ in 0..2 {
            assert!(third.pass().is_err());
        }
        let at_once = read("append=full").unwrap();
        assert_eq!(
            at_once.pass().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        for wrong in ["", "append", "append=", "append=die", "append=kill@x"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert!(reach("nobody armed this").is_ok());
    }
}
