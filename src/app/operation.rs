//! Joins what operators look at: health and metrics on addresses of their own, and the
//! limits that they set.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::AppError;
use crate::config::operation::OperationSettings;
use crate::telemetry::traces::Traces;
use crate::transport::limits::Limits;
use crate::transport::probes::Probes;
use crate::transport::server::Manner;

/// Tells health and metrics from here on, if that is asked for; what there is to tell
/// comes later. Not from a thread that stands back.
pub fn probes(settings: &OperationSettings) -> Result<Probes, AppError> {
    let probes = Probes::default();
    let health = settings.health_listen.map(bind).transpose()?;
    let metrics = settings.metrics_listen.map(bind).transpose()?;
    for (listener, what) in [(&health, "health"), (&metrics, "metrics")] {
        if let Some(address) = listener.as_ref().and_then(|it| it.local_addr().ok()) {
            println!("roster tells {what} on {address}");
        }
    }
    probes.serve(health, metrics).map_err(AppError::Probes)?;
    Ok(probes)
}

/// Sends traces from here on, if that is asked for.
pub fn traces(settings: &OperationSettings) -> Result<Option<Traces>, AppError> {
    let Some((endpoint, ratio)) = settings.traces() else {
        return Ok(None);
    };
    let traces = Traces::start(endpoint, ratio).map_err(AppError::Traces)?;
    Ok(Some(traces))
}

fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).map_err(|source| AppError::Listen { address, source })
}

impl OperationSettings {
    /// How the daemon leaves, and how much may be asked of it.
    pub fn manner(&self) -> Manner {
        let limits = Limits::default();
        Manner {
            lame_duck: self.lame_duck(),
            is_traced: self.traces().is_some(),
            limits: Limits {
                connections: self.max_connections.get(),
                managed: self.max_managed_calls.get(),
                managed_on_one: self.max_managed_calls_per_connection.get(),
                stall: Duration::from_secs(self.stall_seconds.get()),
                idle: Duration::from_secs(self.idle_seconds.get()),
                lag: Duration::from_millis(self.overload_lag_milliseconds.get()),
                ..limits
            },
            ..Manner::default()
        }
    }
}
