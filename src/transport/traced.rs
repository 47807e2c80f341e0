//! A call as part of a trace: a span under the one that the caller's `traceparent` names
//! (W3C Trace Context), or the first of a trace.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanKind, Status as SpanStatus, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;

use super::methods::Method;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

static TRACER: LazyLock<BoxedTracer> = LazyLock::new(|| global::tracer("roster"));

/// A span that is under way.
pub struct Traced(BoxedSpan);

/// Whether the headers say that their trace is kept.
pub fn is_sampled(headers: &HeaderMap) -> bool {
    headers.contains_key(TRACEPARENT) && parent(headers).span().span_context().is_sampled()
}

fn parent(headers: &HeaderMap) -> Context {
    // What surrounds the call here is none of the caller's.
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

impl Traced {
    /// The span of a call that begins.
    pub fn begin(headers: &HeaderMap, method: &Method, request_id: Option<&HeaderValue>) -> Self {
        let mut attributes = vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", method.service.clone()),
            KeyValue::new("rpc.method", method.name.clone()),
        ];
        let request_id = request_id.and_then(|id| id.to_str().ok());
        attributes.extend(request_id.map(|id| KeyValue::new("request.id", id.to_owned())));
        let span = TRACER
            .span_builder(format!("{}/{}", method.service, method.name))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(&*TRACER, &parent(headers));
        Self(span)
    }

    /// The call ended.
    pub fn end(mut self, code: Code) {
        let number = KeyValue::new("rpc.grpc.status_code", code as i64);
        self.0.set_attribute(number);
        // What a client does wrong is no fault of a server.
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.0.set_status(SpanStatus::error(code.description()));
        }
        self.0.end();
    }
}

/// Headers as the propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_header_that_says_so_is_sampled() {
        let sampled = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_static(value));
            is_sampled(&headers)
        };
        assert!(sampled(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ));
        for other in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7-b7ad6b7169203331-01",
            "sampled",
            "",
        ] {
            assert!(!sampled(other), "{other}");
        }
        assert!(!is_sampled(&HeaderMap::new()));
    }
}
