//! Traces: to a collector, by OTLP over gRPC.
//!
//! Spans are put together by whoever handles calls, and go out from a thread of the
//! library in batches. A collector that does not keep up or is away costs spans, never
//! calls: what waits is bounded.

use std::time::Duration;

use opentelemetry::global;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(3);

/// Traces are sent for as long as this is there.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends traces to a collector; of those that begin here, that part. To be called on a
    /// runtime.
    pub fn start(endpoint: &str, ratio: f64) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| error.to_string())?;
        let own = Sampler::TraceIdRatioBased(ratio);
        let resource = Resource::builder()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(own)))
            .with_resource(resource)
            .build();
        global::set_tracer_provider(provider.clone());
        Ok(Self(provider))
    }

    /// Sends what is left.
    pub async fn end(self) {
        let ending = tokio::task::spawn_blocking(move || {
            if let Err(error) = self.0.shutdown() {
                tracing::warn!(%error, "the last traces could not be sent");
            }
        });
        drop(ending.await);
    }
}
