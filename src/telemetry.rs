//! Logs: to standard error, for people or for machines. [`traces`]: to a collector.
//!
//! Lines are written by a thread of their own: whoever does not read them costs lines, of
//! which very many may wait, and holds up nobody who logs.

pub mod traces;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `filter` is a directive such as `info` or `roster=debug`. What waits is
/// written when the guard goes.
pub fn start(format: LogFormat, filter: &str) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let (lines, guard) = tracing_appender::non_blocking(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines);
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| error.to_string())?;
    Ok(guard)
}
