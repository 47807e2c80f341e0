//! What the daemon counts, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::transport::probes::Probes;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use crate::harness::{Daemon, Setup, question, with_key};
use crate::probed::{Program, get, listen};

/// A page of metrics, taken apart.
struct Page {
    text: String,
    /// The kind of each metric.
    kinds: BTreeMap<String, String>,
    /// The value of each line by its name and labels.
    values: BTreeMap<String, f64>,
}

impl Page {
    fn of(address: std::net::SocketAddr) -> Self {
        let answered = get(address, "/metrics");
        assert_eq!(answered.status, 200);
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answered.head.contains(kind), "{}", answered.head);
        let text = unchunked(&answered.head, &answered.body);
        let mut page = Self {
            kinds: BTreeMap::new(),
            values: BTreeMap::new(),
            text,
        };
        let lines: Vec<&str> = page.text.lines().collect();
        assert_eq!(lines.last(), Some(&"# EOF"));
        for line in &lines[..lines.len() - 1] {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                let twice = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name}");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                let value = value.parse().expect("a number");
                let twice = page.values.insert(name.to_owned(), value);
                assert_eq!(twice, None, "{name}");
            }
        }
        page.hold_to_the_format();
        page
    }

    /// Every line belongs to a metric that was declared; buckets only grow.
    fn hold_to_the_format(&self) {
        let mut last: Option<(String, f64)> = None;
        for line in self.text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            let family = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|family| self.kinds.contains_key(*family))
                .unwrap_or(name);
            assert!(self.kinds.contains_key(family), "{line}");
            if name.ends_with("_bucket") {
                let (labels, value) = line.rsplit_once(' ').expect("a value");
                let limit = labels
                    .split(['{', ',', '}'])
                    .find(|label| label.starts_with("le="));
                let series = &labels.replace(limit.expect("a limit"), "");
                let value: f64 = value.parse().expect("a number");
                if let Some((before, least)) = &last
                    && before == series
                {
                    assert!(value >= *least, "{line}");
                }
                last = Some((series.clone(), value));
            }
        }
    }

    /// The value of a line that must be there.
    fn value(&self, name: &str) -> f64 {
        let found = self.values.get(name);
        *found.unwrap_or_else(|| panic!("no {name} in\n{}", self.text))
    }
}

/// A body as it was before it was sent piece by piece.
fn unchunked(head: &str, body: &str) -> String {
    if !head.contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut text, mut rest) = (String::new(), body);
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        text.push_str(&more[..length]);
        rest = more[length..].trim_start_matches("\r\n");
    }
    text
}

fn labels(service: &str, method: &str) -> String {
    format!("grpc_type=\"unary\",grpc_service=\"roster.v1.{service}\",grpc_method=\"{method}\"")
}

async fn start() -> (Daemon, std::net::SocketAddr) {
    let probes = Probes::default();
    let (_, metrics) = listen(&probes);
    let setup = Setup {
        probes,
        budget: usize::MAX,
        ..Setup::default()
    };
    (
        Daemon::start_as(setup, Arc::new(MemoryStore::new())).await,
        metrics,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_decisions_are_counted_by_what_became_of_them() {
    let (daemon, metrics) = start().await;
    daemon.found("acme", "hypervisor-io").await;
    let mut checks = daemon.authorization();
    let may = question("acme", "owner", "InstancesView", "Instance", "vm-1");
    let may_not = question("acme", "stranger", "InstancesView", "Instance", "vm-1");
    for _ in 0..5 {
        checks.is_authorized(may.clone()).await.expect("an answer");
    }
    for _ in 0..3 {
        checks
            .is_authorized(may_not.clone())
            .await
            .expect("an answer");
    }
    daemon.ask(may_not.clone()).await;
    let elsewhere = question("nobody", "owner", "InstancesView", "Instance", "vm-1");
    checks
        .is_authorized(elsewhere)
        .await
        .expect_err("no such organization");
    let requests = vec![may.clone(), may.clone(), may_not.clone()];
    let batch = v1::BatchIsAuthorizedRequest {
        requests,
        ..Default::default()
    };
    checks.batch_is_authorized(batch).await.expect("an answer");
    let asked = tokio_stream::iter(vec![may, may_not.clone(), may_not]);
    let answers = checks.stream_is_authorized(asked).await.expect("a stream");
    let mut answers = answers.into_inner();
    while answers.message().await.expect("an answer").is_some() {}

    let page = Page::of(metrics);
    let check = labels("AuthorizationService", "IsAuthorized");
    let count = |name: &str, labels: &str| page.value(&format!("{name}{{{labels}}}"));
    assert_eq!(count("grpc_server_started_total", &check), 10.0);
    for (code, times) in [("OK", 9.0), ("NotFound", 1.0)] {
        let labels = format!("{check},grpc_code=\"{code}\"");
        assert_eq!(count("grpc_server_handled_total", &labels), times, "{code}");
    }
    for (method, decision, times) in [
        ("IsAuthorized", "allow", 5.0),
        ("IsAuthorized", "deny", 4.0),
        ("BatchIsAuthorized", "allow", 2.0),
        ("BatchIsAuthorized", "deny", 1.0),
        ("StreamIsAuthorized", "allow", 1.0),
        ("StreamIsAuthorized", "deny", 2.0),
        ("IsAuthorizedWithToken", "allow", 0.0),
    ] {
        let labels = format!("grpc_method=\"{method}\",decision=\"{decision}\"");
        assert_eq!(count("roster_decisions_total", &labels), times, "{labels}");
    }
    let reason = "decision=\"deny\",reason=\"NOT_A_MEMBER\"";
    assert_eq!(count("roster_decision_reasons_total", reason), 1.0);
    let founded = labels("OrganizationService", "CreateOrganization");
    assert_eq!(
        count(
            "grpc_server_handled_total",
            &format!("{founded},grpc_code=\"OK\"")
        ),
        1.0
    );
    assert_eq!(count("grpc_server_handling_seconds_count", &founded), 1.0);
    assert!(count("grpc_server_handling_seconds_count", &check) >= 64.0);
    assert_eq!(page.value("roster_calls_in_flight"), 0.0);
    assert_eq!(page.value("roster_organizations_resident"), 1.0);
    assert_eq!(
        page.value("roster_revision"),
        page.value("roster_store_revision")
    );
    assert_eq!(page.value("roster_ready"), 1.0);
    assert_eq!(page.value("roster_connections_accepted_total"), 1.0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_left_is_counted_as_cancelled() {
    let (daemon, metrics) = start().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(daemon.bare());
    let request = tonic_health::pb::HealthCheckRequest::default();
    let watching = health.watch(request).await.expect("a stream");
    let labels =
        "grpc_type=\"server_stream\",grpc_service=\"grpc.health.v1.Health\",grpc_method=\"Watch\"";
    let page = Page::of(metrics);
    assert_eq!(
        page.value(&format!("grpc_server_started_total{{{labels}}}")),
        1.0
    );
    assert_eq!(page.value("roster_calls_in_flight"), 1.0);
    drop(watching);
    let left = format!("grpc_server_handled_total{{{labels},grpc_code=\"Canceled\"}}");
    while Page::of(metrics).values.get(&left) != Some(&1.0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(Page::of(metrics).value("roster_calls_in_flight"), 0.0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_clients_make_up_is_no_label_and_nobody_is_named() {
    let (daemon, metrics) = start().await;
    daemon.found("zanzibar-team", "hypervisor-io").await;
    let asked = question(
        "zanzibar-team",
        "zelda",
        "InstancesView",
        "Instance",
        "vm-zz",
    );
    daemon.ask(asked).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", daemon.address)).expect("an address");
    let channel = with_key(endpoint.connect().await.expect("it listens"));
    let mut client = tonic::client::Grpc::new(channel);
    for number in 0..20 {
        client.ready().await.expect("the connection is ready");
        let path = format!("/made.Up{number}/zzz{number}");
        let path = PathAndQuery::from_maybe_shared(path).expect("a path");
        let codec =
            tonic_prost::ProstCodec::<v1::IsAuthorizedRequest, v1::IsAuthorizedResponse>::default();
        let request = Request::new(v1::IsAuthorizedRequest::default());
        let refused = client.unary(request, path, codec).await;
        refused.expect_err("there is no such service");
    }
    let page = Page::of(metrics);
    let unknown = "grpc_type=\"unary\",grpc_service=\"unknown\",grpc_method=\"unknown\"";
    assert_eq!(
        page.value(&format!("grpc_server_started_total{{{unknown}}}")),
        20.0
    );
    for made_up in ["zz", "zelda", "zanzibar", "made.Up", "vm-"] {
        assert!(!page.text.contains(made_up), "{made_up} in\n{}", page.text);
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_tells_every_metric_that_the_readme_names_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(directory.path(), &["--example"]);
    let endpoint =
        Endpoint::from_shared(format!("http://{}", program.address)).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    let mut checks = v1::authorization_service_client::AuthorizationServiceClient::new(channel);
    let mut request = Request::new(v1::IsAuthorizedRequest {
        include_reasons: true,
        ..question(
            "hypervisor-io-example",
            "dev",
            "InstancesManage",
            "Instance",
            "vm-1",
        )
    });
    let key = format!("Bearer {}", program.key).parse().expect("a value");
    request.metadata_mut().insert("authorization", key);
    checks.is_authorized(request).await.expect("an answer");
    let page = Page::of(program.metrics);
    for (name, least) in [
        ("roster_commits_total", 5.0),
        ("roster_commit_group_size_count", 1.0),
        ("roster_journal_write_seconds_count", 1.0),
        ("roster_journal_bytes_total", 100.0),
        ("roster_commit_visible_seconds_count", 5.0),
        ("roster_disk_free_bytes", 1.0),
        ("roster_store_writable", 1.0),
        ("roster_revision", 5.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 5.0),
        ("process_start_time_seconds", 1e9),
    ] {
        assert!(page.value(name) >= least, "{name} in\n{}", page.text);
    }
    assert!(page.value("roster_commit_visible_seconds_sum") > 0.0);

    let told: BTreeSet<String> = page
        .kinds
        .iter()
        .map(|(name, kind)| match kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name.clone(),
        })
        .collect();
    let readme = include_str!("../../README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<String> = rows
        .filter_map(|row| row.split('`').next())
        .filter(|name| {
            ["grpc_server_", "roster_", "process_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(told, named);
}
