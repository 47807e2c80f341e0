//! Traces as a collector gets them, from the real program.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::member_service_client::MemberServiceClient;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::harness::question;
use crate::probed::Program;

/// Keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources
            .into_iter()
            .flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.0.lock().expect("nobody panicked").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

const TRACE: [u8; 16] = [0x0a; 16];
const PARENT: [u8; 8] = [0x0b; 8];

fn traceparent(is_sampled: bool) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    format!(
        "00-{}-{}-{:02x}",
        hex(&TRACE),
        hex(&PARENT),
        u8::from(is_sampled)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_appear_under_the_span_that_their_caller_names() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let directory = tempfile::tempdir().expect("a directory");
    let flags = [
        "--example",
        "--otlp-endpoint",
        &endpoint,
        "--otlp-sample-ratio",
        "0",
    ];
    let program = Program::start(directory.path(), &flags);
    let channel = Endpoint::from_shared(format!("http://{}", program.address));
    let channel = channel
        .expect("an address")
        .connect()
        .await
        .expect("it listens");
    let key = format!("Bearer {}", program.key);
    let signed = |parent: Option<bool>| {
        let mut metadata = tonic::metadata::MetadataMap::new();
        metadata.insert("authorization", key.parse().expect("a value"));
        if let Some(is_sampled) = parent {
            let parent = traceparent(is_sampled).parse().expect("a value");
            metadata.insert("traceparent", parent);
        }
        metadata.insert("x-request-id", "order-17".parse().expect("a value"));
        metadata
    };
    let organization = "hypervisor-io-example";
    let mut members = MemberServiceClient::new(channel.clone());
    let mut checks = AuthorizationServiceClient::new(channel);
    for parent in [None, Some(false), Some(true)] {
        let mut request = Request::new(v1::GetMemberRequest {
            organization: organization.to_owned(),
            user: "nobody-here".to_owned(),
            ..Default::default()
        });
        *request.metadata_mut() = signed(parent);
        let refused = members
            .get_member(request)
            .await
            .expect_err("no such member");
        assert_eq!(
            refused.metadata().get("x-request-id").expect("an id"),
            "order-17"
        );
        let asked = question(organization, "dev", "InstancesManage", "Instance", "vm-1");
        let mut request = Request::new(asked);
        *request.metadata_mut() = signed(parent);
        checks.is_authorized(request).await.expect("an answer");
    }
    program.terminate();
    let (status, log) = tokio::task::spawn_blocking(|| program.ended())
        .await
        .expect("it ended");
    assert_eq!(status.code(), Some(0), "{log}");

    let mut spans = collector.0.lock().expect("nobody panicked").clone();
    spans.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let expected = [
        "roster.v1.AuthorizationService/IsAuthorized",
        "roster.v1.MemberService/GetMember",
    ];
    assert_eq!(names, expected);
    for span in &spans {
        assert_eq!(
            (&span.trace_id[..], &span.parent_span_id[..]),
            (&TRACE[..], &PARENT[..])
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        // The trace knows who was called and how it went, and of nobody more.
        let told = format!("{:?}", span.attributes);
        assert!(told.contains("rpc.grpc.status_code"), "{told}");
        for named in ["dev", "vm-1", organization, "nobody-here", "Bearer"] {
            assert!(!told.contains(named), "{named} in {told}");
        }
    }
    assert!(format!("{:?}", spans[1].attributes).contains("order-17"));
}
