//! Cerbos beside the daemon: the same roles, the same questions, the same load, in the
//! same rounds.
//!
//! Where `ROSTER_BENCH_CERBOS` names its program, it is started with a policy that allows
//! each action on an instance to those roles of the catalog that grant it. It knows no
//! members: what each question says of its principal is the role that Roster finds for
//! itself. Its messages are written down here as far as they are used.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use roster::domain::Catalog;
use roster::domain::permissions::When;
use roster::proto::v1;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use crate::fixtures;
use crate::wire::Raw;

/// Where it is asked.
pub const CHECK: &str = "/cerbos.svc.v1.CerbosService/CheckResources";
/// The role of everybody who is asked about.
const ROLE: &str = "viewer";
const ALLOW: i32 = 1;
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Its clock ticks of processor time, a hundred a second.
const TICK: Duration = Duration::from_millis(10);

/// A running one.
pub struct Cerbos {
    child: Child,
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Cerbos {
    /// Starts the one that the environment names, if it does.
    pub fn start() -> Option<Self> {
        let program = std::env::var_os("ROSTER_BENCH_CERBOS")?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let policies = directory.path().join("policies");
        fs::create_dir(&policies).expect("a folder");
        let compiled = fixtures::catalog();
        let policy = policy(compiled.catalog()).to_string();
        fs::write(policies.join("instance.json"), policy).expect("a policy");
        let [http, grpc] = [free(), free()];
        let config = serde_json::json!({
            "server": { "httpListenAddr": http.to_string(), "grpcListenAddr": grpc.to_string() },
            "storage": { "driver": "disk", "disk": { "directory": policies, "watchForChanges": false } },
            "telemetry": { "disabled": true },
        });
        let file = directory.path().join("cerbos.json");
        fs::write(&file, config.to_string()).expect("a configuration");
        let child = Command::new(program)
            .args(["server", "--log-level=error", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .expect("cerbos starts");
        let begun = Instant::now();
        while std::net::TcpStream::connect(grpc).is_err() {
            assert!(begun.elapsed() < STARTS_WITHIN, "cerbos does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Some(Self {
            child,
            address: grpc,
            _directory: directory,
        })
    }

    /// What it takes in memory, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(status).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number of KiB") / 1024
    }

    /// The processor time that it has used.
    pub fn used(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("its figures");
        let after_name = stat.rsplit(')').next().expect("a name");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: u32 = [11, 12]
            .map(|at| fields[at].parse::<u32>().expect("ticks"))
            .iter()
            .sum();
        TICK * ticks
    }

    /// Compares its answer to each question with the daemon's.
    pub async fn agrees(
        &self,
        messages: &[(Bytes, v1::Decision)],
        action: impl Fn(usize) -> String,
    ) {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let channel: Channel = endpoint
            .expect("an address")
            .connect()
            .await
            .expect("cerbos");
        let mut grpc = Grpc::new(channel);
        for (index, (message, decided)) in messages.iter().enumerate() {
            grpc.ready().await.expect("a connection");
            let path = PathAndQuery::from_static(CHECK);
            let answer = grpc.unary(Request::new(message.clone()), path, Raw).await;
            let bytes = answer.expect("an answer").into_inner();
            let answer = CheckResourcesResponse::decode(bytes).expect("an answer");
            let allowed = answer.results[0].actions[&action(index)] == ALLOW;
            assert_eq!(allowed, *decided == v1::Decision::Allow, "question {index}");
        }
    }
}

impl Drop for Cerbos {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Who may do what with an instance, as the catalog's roles say.
fn policy(catalog: &Catalog) -> serde_json::Value {
    let (instance, _) = catalog.resource_type("Instance").expect("the type");
    let rules = (0..)
        .map(roster::domain::catalog::ActionIndex)
        .zip(&catalog.actions);
    let rules = rules.filter(|(_, action)| action.resource_types.contains(&instance));
    let rules = rules.filter_map(|(index, action)| {
        let roles = catalog.roles.iter().filter(|role| {
            let always = role.permissions.actions.get(&When::Always);
            role.permissions.every.contains(&action.level)
                || catalog
                    .closure(always.into_iter().flatten())
                    .contains(&index)
        });
        let roles: Vec<&str> = roles.map(|role| role.id.as_str()).collect();
        (!roles.is_empty()).then(|| {
            serde_json::json!({
                "actions": [action.id.as_str()], "effect": "EFFECT_ALLOW", "roles": roles,
            })
        })
    });
    serde_json::json!({
        "apiVersion": "api.cerbos.dev/v1",
        "resourcePolicy": {
            "resource": "Instance", "version": "default", "rules": rules.collect::<Vec<_>>(),
        },
    })
}

/// The same question for it.
pub fn question(asked: &v1::IsAuthorizedRequest) -> Bytes {
    let principal = asked.principal.clone().unwrap_or_default();
    let resource = asked.resource.clone().unwrap_or_default();
    let message = CheckResourcesRequest {
        principal: Some(Principal {
            id: principal.id,
            roles: vec![ROLE.to_owned()],
        }),
        resources: vec![ResourceEntry {
            actions: vec![asked.action.clone()],
            resource: Some(Resource {
                kind: resource.r#type,
                id: resource.id,
            }),
        }],
    };
    message.encode_to_vec().into()
}

#[derive(Clone, PartialEq, Message)]
struct CheckResourcesRequest {
    #[prost(message, optional, tag = "3")]
    principal: Option<Principal>,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<ResourceEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct Principal {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceEntry {
    #[prost(string, repeated, tag = "1")]
    actions: Vec<String>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResourcesResponse {
    #[prost(message, repeated, tag = "2")]
    results: Vec<ResultEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ResultEntry {
    /// Effects by action.
    #[prost(map = "string, int32", tag = "2")]
    actions: HashMap<String, i32>,
}
