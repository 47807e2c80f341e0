//! How far a command has come, on standard error: a bar for people, a line now and
//! then for logs.

use std::io::{IsTerminal, Write, stderr};

/// How wide the bar is, in characters.
const WIDTH: u64 = 30;
/// Below how much there is nothing to tell but the end.
const WORTH_TELLING: u64 = 5_000;

/// How far something has come.
pub struct Progress {
    what: &'static str,
    total: u64,
    /// In hundredths; what was shown last.
    shown: u64,
    is_terminal: bool,
}

impl Progress {
    /// Of something that has so many parts.
    pub fn of(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            shown: 0,
            is_terminal: stderr().is_terminal(),
        }
    }

    /// So many are done.
    pub fn at(&mut self, done: u64) {
        let hundredths = done.saturating_mul(100).checked_div(self.total);
        let hundredths = hundredths.unwrap_or(100).min(100);
        let step = if self.is_terminal { 1 } else { 10 };
        if self.total < WORTH_TELLING || hundredths < self.shown.saturating_add(step) {
            return;
        }
        self.shown = hundredths;
        let (what, total) = (self.what, self.total);
        let text = if self.is_terminal {
            let full = hundredths * WIDTH / 100;
            let bar: String = (0..WIDTH)
                .map(|place| if place < full { '#' } else { '.' })
                .collect();
            let end = if hundredths == 100 { "\n" } else { "" };
            format!("\r{what} [{bar}] {hundredths:3} %{end}")
        } else {
            format!("roster: {what}: {done} of {total}\n")
        };
        // Whoever closed standard error wants to hear nothing.
        let _ = stderr().write_all(text.as_bytes());
    }
}
