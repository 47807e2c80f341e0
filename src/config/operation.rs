//! Settings of operation: where health and metrics are told, how the daemon leaves, and
//! how much may be asked of it.

use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;

/// Health, metrics and limits.
#[derive(Clone, Debug, Args)]
pub struct OperationSettings {
    /// Address and port to tell health on, to anybody: `/livez` and `/readyz` over HTTP, and
    /// `grpc.health.v1`.
    #[arg(long, env = "ROSTER_HEALTH_LISTEN", value_name = "ADDR")]
    pub health_listen: Option<SocketAddr>,

    /// Address and port to tell metrics on, to anybody: `/metrics` over HTTP.
    #[arg(long, env = "ROSTER_METRICS_LISTEN", value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,

    /// Seconds to go on serving once the daemon is told to stop, while health says that it
    /// is not ready any more.
    #[arg(
        long,
        env = "ROSTER_LAME_DUCK_SECONDS",
        value_name = "SECONDS",
        default_value_t = 0
    )]
    pub lame_duck_seconds: u64,

    /// The most connections at a time; one too many is closed.
    #[arg(
        long,
        env = "ROSTER_MAX_CONNECTIONS",
        value_name = "COUNT",
        default_value = "4096"
    )]
    pub max_connections: NonZeroUsize,

    /// The most calls under way at a time that are no checks; three quarters of them may
    /// be changes.
    #[arg(
        long,
        env = "ROSTER_MAX_MANAGED_CALLS",
        value_name = "COUNT",
        default_value = "1024"
    )]
    pub max_managed_calls: NonZeroUsize,

    /// The most of them on one connection.
    #[arg(
        long,
        env = "ROSTER_MAX_MANAGED_CALLS_PER_CONNECTION",
        value_name = "COUNT",
        default_value = "100"
    )]
    pub max_managed_calls_per_connection: NonZeroUsize,

    /// Seconds that a client may take nothing of what it is sent, or send nothing of what
    /// it has begun.
    #[arg(
        long,
        env = "ROSTER_STALL_SECONDS",
        value_name = "SECONDS",
        default_value = "30"
    )]
    pub stall_seconds: NonZeroU64,

    /// Seconds after which a connection is closed on which nothing is asked and nothing is
    /// under way.
    #[arg(
        long,
        env = "ROSTER_IDLE_SECONDS",
        value_name = "SECONDS",
        default_value = "900"
    )]
    pub idle_seconds: NonZeroU64,

    /// Milliseconds by which a serving thread may be late; later for longer, everything but
    /// ordinary checks is refused.
    #[arg(
        long,
        env = "ROSTER_OVERLOAD_LAG_MILLISECONDS",
        value_name = "MILLISECONDS",
        default_value = "100"
    )]
    pub overload_lag_milliseconds: NonZeroU64,

    /// Send traces to this collector by OTLP over gRPC, such as `http://127.0.0.1:4317`.
    #[arg(long, env = "ROSTER_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    pub otlp_endpoint: Option<String>,

    /// Which part of the traces that begin here is kept, between 0 and 1. Of a trace that
    /// began elsewhere, its header says whether it is.
    #[arg(
        long,
        env = "ROSTER_OTLP_SAMPLE_RATIO",
        value_name = "RATIO",
        default_value = "1",
        value_parser = ratio
    )]
    pub otlp_sample_ratio: f64,
}

fn endpoint(given: &str) -> Result<String, String> {
    match given.strip_prefix("http://") {
        Some(host) if !host.is_empty() && !host.contains(['@', ' ']) => Ok(given.to_owned()),
        _ => Err("must begin with `http://` and name a host and port".to_owned()),
    }
}

fn ratio(given: &str) -> Result<f64, String> {
    let ratio = given.parse().ok();
    let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number between 0 and 1".to_owned())
}

impl OperationSettings {
    /// Where traces go, and which part of those that begin here.
    pub fn traces(&self) -> Option<(&str, f64)> {
        let endpoint = self.otlp_endpoint.as_deref()?;
        Some((endpoint, self.otlp_sample_ratio))
    }

    /// How long to go on serving.
    pub fn lame_duck(&self) -> Duration {
        Duration::from_secs(self.lame_duck_seconds)
    }

    /// The settings in effect, a line each, under the names they are set by.
    pub fn in_effect(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "ROSTER_HEALTH_LISTEN",
                super::shown(self.health_listen.as_ref()),
            ),
            (
                "ROSTER_METRICS_LISTEN",
                super::shown(self.metrics_listen.as_ref()),
            ),
            (
                "ROSTER_LAME_DUCK_SECONDS",
                self.lame_duck_seconds.to_string(),
            ),
            ("ROSTER_MAX_CONNECTIONS", self.max_connections.to_string()),
            (
                "ROSTER_MAX_MANAGED_CALLS",
                self.max_managed_calls.to_string(),
            ),
            (
                "ROSTER_MAX_MANAGED_CALLS_PER_CONNECTION",
                self.max_managed_calls_per_connection.to_string(),
            ),
            ("ROSTER_STALL_SECONDS", self.stall_seconds.to_string()),
            ("ROSTER_IDLE_SECONDS", self.idle_seconds.to_string()),
            (
                "ROSTER_OVERLOAD_LAG_MILLISECONDS",
                self.overload_lag_milliseconds.to_string(),
            ),
            (
                "ROSTER_OTLP_ENDPOINT",
                super::shown(self.otlp_endpoint.as_ref()),
            ),
            (
                "ROSTER_OTLP_SAMPLE_RATIO",
                self.otlp_sample_ratio.to_string(),
            ),
        ]
    }
}
