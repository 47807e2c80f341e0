//! Real clients, as others ship them: `buf curl`, Python's grpcio, Node's grpc-js, and
//! the health probe of a kubelet, against the real program over TCP and its Unix socket.
//!
//! Each makes a check, a denied one, a change with a check that waits for it, a stream, a
//! call with a wrong key, one without, and one whose deadline passes. `tests/tools.sh`
//! installs them; a client that is not there fails its test.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::probed::Program;
use crate::program::{Daemon, Ended, roster, run};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/tools.sh` puts a tool.
pub fn tool(installed: &str) -> PathBuf {
    let path = repository().join("target/tools").join(installed);
    assert!(
        path.exists(),
        "`{}` is not there; run `tests/tools.sh`",
        path.display()
    );
    path
}

/// A daemon on a port and a socket, with the example organizations.
struct Example {
    directory: TempDir,
    daemon: Daemon,
}

impl Example {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("roster.sock");
        let socket = socket.to_str().unwrap();
        let data = directory.path().join("data");
        let daemon = Daemon::start_with(&data, &["--example", "--listen-unix", socket]);
        Self { directory, daemon }
    }

    fn socket(&self) -> String {
        self.directory
            .path()
            .join("roster.sock")
            .display()
            .to_string()
    }

    /// A client's target of each kind, with somebody for it to add.
    fn targets(&self) -> [(String, &'static str); 2] {
        [
            (self.daemon.address.to_string(), "by-tcp"),
            (format!("unix:{}", self.socket()), "by-socket"),
        ]
    }
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(ended.stdout.trim())
        .unwrap_or_else(|_| panic!("no JSON: {}{}", ended.stdout, ended.stderr))
}

/// Holds what a client got to what every client has to get.
fn hold(mut found: Value) {
    let deadline = found["deadline"].take();
    // Either the client's clock or the daemon's is first.
    assert!(
        deadline == "DEADLINE_EXCEEDED" || deadline == "UNAVAILABLE",
        "{deadline}"
    );
    let wanted = json!({
        "allowed": "DECISION_ALLOW",
        "denied": "DECISION_DENY",
        "reason": "REASON_CODE_OVERRIDE_DENIES",
        "managed": "DECISION_ALLOW",
        "stream": [
            ["development", "DECISION_ALLOW"],
            ["production", "DECISION_DENY"],
            ["development", "DECISION_ALLOW"],
        ],
        "wrong_key": "UNAUTHENTICATED",
        "no_key": "UNAUTHENTICATED",
        "deadline": null,
    });
    assert_eq!(found, wanted);
}

/// Makes stubs for Python out of the protos.
fn stubs(python: &Path, into: &Path) {
    let mut protos: Vec<PathBuf> = std::fs::read_dir(repository().join("proto/roster/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "proto")
        })
        .collect();
    protos.sort();
    protos.push(repository().join("proto/google/rpc/status.proto"));
    let made = run(Command::new(python)
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(repository().join("proto"))
        .arg(format!("--python_out={}", into.display()))
        .arg(format!("--grpc_python_out={}", into.display()))
        .args(protos));
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
}

#[test]
fn python_works_with_the_daemon_over_tcp_and_the_socket() {
    let python = tool("clients-python/bin/python3");
    let example = Example::start();
    let stubs_folder = TempDir::new().unwrap();
    stubs(&python, stubs_folder.path());
    for (target, user) in example.targets() {
        let ended = run(Command::new(&python)
            .arg(repository().join("tests/trust/clients/client.py"))
            .args([&target, user])
            .env("PYTHONPATH", stubs_folder.path())
            .env("ROSTER_KEY", &example.daemon.key));
        assert_eq!(ended.code(), Some(0), "{target}: {}", ended.stderr);
        let mut found = json_of(&ended);
        assert_eq!(found["health"].take(), "SERVING");
        found.as_object_mut().unwrap().remove("health");
        hold(found);
    }
    example.daemon.stop();
}

#[test]
fn node_works_with_the_daemon_over_tcp_and_the_socket() {
    let packages = tool("clients-node/node_modules");
    let example = Example::start();
    for (target, user) in example.targets() {
        let ended = run(Command::new("node")
            .arg(repository().join("tests/trust/clients/client.cjs"))
            .args([&target, user])
            .arg(repository().join("proto"))
            .env("NODE_PATH", &packages)
            .env("ROSTER_KEY", &example.daemon.key));
        assert_eq!(ended.code(), Some(0), "{target}: {}", ended.stderr);
        hold(json_of(&ended));
    }
    example.daemon.stop();
}

/// `buf curl` over TCP, or over a socket.
struct Buf<'a> {
    address: String,
    socket: Option<&'a str>,
}

impl Buf<'_> {
    fn call(&self, key: Option<&str>, method: &str, requests: &[Value], flags: &[&str]) -> Ended {
        let data: Vec<String> = requests.iter().map(ToString::to_string).collect();
        let mut command = Command::new(tool("node_modules/.bin/buf"));
        command
            .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
            .arg("--schema")
            .arg(repository().join("proto"))
            .args(["-d", &data.join("\n")])
            .args(flags);
        if let Some(key) = key {
            command.args(["-H", &format!("authorization: Bearer {key}")]);
        }
        if let Some(socket) = self.socket {
            command.args(["--unix-socket", socket]);
        }
        run(command.arg(format!("http://{}/roster.v1.{method}", self.address)))
    }

    /// The code of a refusal, in the words of the others.
    fn refused(ended: &Ended) -> String {
        let told: Value = serde_json::from_str(&ended.stderr)
            .unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr));
        told["code"].as_str().unwrap_or_default().to_uppercase()
    }
}

/// The question that every client asks.
fn question(who: &str, action: &str, project: &str, more: Value) -> Value {
    let mut question = json!({
        "organization": "hypervisor-io-example",
        "principal": {"type": "User", "id": who},
        "action": action,
        "resource": {"type": "Instance", "id": "vm-1", "project": project},
    });
    let more = more.as_object().unwrap().clone();
    question.as_object_mut().unwrap().extend(more);
    question
}

#[test]
fn buf_curl_works_with_the_daemon_over_tcp_and_the_socket() {
    let example = Example::start();
    let socket = example.socket();
    let address = example.daemon.address.to_string();
    for (buf, user) in [
        (
            Buf {
                address,
                socket: None,
            },
            "by-buf",
        ),
        (
            Buf {
                address: "localhost".to_owned(),
                socket: Some(&socket),
            },
            "by-buf-and-socket",
        ),
    ] {
        let key = Some(example.daemon.key.as_str());
        let check = "AuthorizationService/IsAuthorized";
        let manage = |project| question("dev", "InstancesManage", project, json!({}));
        let allowed = json_of(&buf.call(key, check, &[manage("development")], &[]));
        let reasons = json!({"include_reasons": true});
        let denied = question("dev", "InstancesManage", "production", reasons);
        let denied = json_of(&buf.call(key, check, &[denied], &[]));
        let member = json!({
            "organization": "hypervisor-io-example", "user": user, "roles": ["viewer"],
        });
        let added = json_of(&buf.call(key, "MemberService/AddMember", &[member], &[]));
        let since = json!({"at_least": added["revision"]});
        let managed = question(user, "InstancesView", "production", since);
        let managed = json_of(&buf.call(key, check, &[managed], &[]));
        let asked = ["development", "production", "development"].map(|project| {
            let id = json!({"correlation_id": project});
            question("dev", "InstancesManage", project, id)
        });
        let streamed = buf.call(key, "AuthorizationService/StreamIsAuthorized", &asked, &[]);
        let answers = serde_json::Deserializer::from_str(&streamed.stdout).into_iter::<Value>();
        let stream: Vec<Value> = answers
            .map(|answer| answer.expect("an answer"))
            .map(|answer| json!([answer["correlationId"], answer["decision"]]))
            .collect();
        let wrong = buf.call(
            Some("roster_operator_wrong"),
            check,
            &[manage("development")],
            &[],
        );
        let bare = buf.call(None, check, &[manage("development")], &[]);
        let never = json!({"at_least": "0.ffffffff"});
        let late = question("dev", "InstancesManage", "development", never);
        let late = buf.call(key, check, &[late], &["--timeout", "2s"]);
        hold(json!({
            "allowed": allowed["decision"],
            "denied": denied["decision"],
            "reason": denied["reasons"][0]["code"],
            "managed": managed["decision"],
            "stream": stream,
            "wrong_key": Buf::refused(&wrong),
            "no_key": Buf::refused(&bare),
            "deadline": Buf::refused(&late),
        }));
    }
    example.daemon.stop();
}

/// Probes an address as a kubelet does, with the names of services.
fn probe(address: &str, services: &[&str]) -> Ended {
    run(Command::new(tool("clients-python/bin/python3"))
        .arg(repository().join("tests/trust/clients/probe.py"))
        .arg(address)
        .args(services))
}

#[test]
fn the_probe_of_a_kubelet_succeeds_without_a_key_and_fails_when_nobody_serves() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path(), &[]);
    // The listener that probes reach; the deployments name its port.
    let listener = program.health.to_string();
    let services = [
        "roster.v1.AuthorizationService",
        "integrity",
        "no.such.Service",
    ];
    let ended = probe(&listener, &services);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    let wanted = json!({
        "": "SERVING",
        "roster.v1.AuthorizationService": "SERVING",
        "integrity": "SERVING",
        "no.such.Service": "NOT_FOUND",
    });
    assert_eq!(json_of(&ended), wanted);
    program.terminate();
    let (status, _) = program.ended();
    assert!(status.success(), "{status}");

    let ended = probe(&listener, &[]);
    assert_eq!(ended.code(), Some(1), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(json_of(&ended), json!({"": "UNAVAILABLE"}));
}

#[test]
fn the_commands_reach_the_daemon_by_its_socket_as_well() {
    let example = Example::start();
    let mut command = roster();
    command
        .args(["check", "--address", &format!("unix:{}", example.socket())])
        .arg("--key-file")
        .arg(example.directory.path().join("data/operator.key"))
        .args([
            "--organization",
            "hypervisor-io-example",
            "--principal",
            "otto",
        ])
        .args(["--action", "DeleteOrganization"]);
    let ended = run(&mut command);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    example.daemon.stop();
}
