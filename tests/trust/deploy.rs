//! What lies in `deploy/`, checked without a cluster: manifests against Kubernetes' own
//! schemas and by checkov, the unit by systemd, and every name in it against what has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::clients::tool;
use crate::program::{Daemon, Ended, roster, run};

/// Every metric that the daemon tells, histograms by their family.
const METRICS: [&str; 40] = [
    "grpc_server_handled_total",
    "grpc_server_handling_seconds",
    "grpc_server_started_total",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
    "roster_build_info",
    "roster_calls_in_flight",
    "roster_calls_refused_total",
    "roster_commit_group_size",
    "roster_commit_visible_seconds",
    "roster_commits_refused_total",
    "roster_commits_total",
    "roster_commits_under_way",
    "roster_connections",
    "roster_connections_accepted_total",
    "roster_connections_closed_total",
    "roster_connections_refused_total",
    "roster_decision_reasons_total",
    "roster_decisions_total",
    "roster_disk_free_bytes",
    "roster_disk_minimum_free_bytes",
    "roster_journal_bytes_total",
    "roster_journal_write_seconds",
    "roster_organization_evictions_total",
    "roster_organization_load_seconds",
    "roster_organization_loads_total",
    "roster_organizations_budget_bytes",
    "roster_organizations_resident",
    "roster_organizations_resident_bytes",
    "roster_organizations_unsound",
    "roster_ready",
    "roster_revision",
    "roster_store_readable",
    "roster_store_revision",
    "roster_store_writable",
];

/// The one that belongs to no family above.
const THREAD_LAG: &str = "roster_thread_lag_seconds";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deployed(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deployed(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// Says loudly that a check could not be made.
fn skipped(what: &str) {
    eprintln!("SKIPPED: {what} is not to be had on this machine");
}

/// The documents of a YAML text, read by Python.
fn documents(yaml: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml\n\
        print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let ended = run(Command::new(tool("checkov/bin/python3"))
        .args(["-c", script])
        .arg(yaml));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// What `kubectl kustomize` makes of a folder, as a file; nothing without kubectl.
fn built(folder: &str) -> Option<(TempDir, PathBuf)> {
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        skipped("kubectl");
        return None;
    }
    let ended = run(Command::new("kubectl")
        .arg("kustomize")
        .arg(deployed(folder)));
    assert_eq!(ended.code(), Some(0), "{folder}: {}", ended.stderr);
    let into = TempDir::new().unwrap();
    let path = into.path().join("built.yaml");
    fs::write(&path, &ended.stdout).unwrap();
    Some((into, path))
}

const OVERLAYS: [&str; 2] = ["kubernetes/standalone", "kubernetes/example"];

#[test]
fn what_kustomize_makes_is_valid_for_kubernetes() {
    for overlay in OVERLAYS {
        let Some((_folder, path)) = built(overlay) else {
            return;
        };
        let ended = run(
            Command::new(tool("kubernetes-validate/bin/kubernetes-validate"))
                .args(["--strict", "--kubernetes-version", "1.33"])
                .arg(&path),
        );
        assert_eq!(
            ended.code(),
            Some(0),
            "{overlay}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
}

/// What checkov is told not to ask for, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    (
        "CKV_K8S_43",
        "an overlay of whoever deploys names the image by digest; there is none to name here",
    ),
    (
        "CKV_DOCKER_2",
        "the image has nothing to run a HEALTHCHECK with; probes come from outside",
    ),
];

#[test]
fn checkov_finds_nothing_in_the_manifests_and_the_dockerfile() {
    let left_out: Vec<&str> = LEFT_OUT.iter().map(|(check, _)| *check).collect();
    let left_out = left_out.join(",");
    let check = |framework: &str, file: &Path| -> Ended {
        // Its update check and its platform are elsewhere; nothing is asked of the network.
        run(Command::new(tool("checkov/bin/checkov"))
            .args(["--quiet", "--compact", "--skip-download"])
            .args(["--framework", framework, "--skip-check", &left_out])
            .arg("--file")
            .arg(file))
    };
    let ended = check("dockerfile", &deployed("docker/Dockerfile"));
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    for overlay in OVERLAYS {
        let Some((_folder, path)) = built(overlay) else {
            return;
        };
        let ended = check("kubernetes", &path);
        assert_eq!(
            ended.code(),
            Some(0),
            "{overlay}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
}

#[test]
fn the_sidecar_is_a_native_one_with_a_socket_of_the_pod_alone() {
    let Some((_folder, path)) = built("kubernetes/example") else {
        return;
    };
    let documents = documents(&path);
    let pod = documents
        .iter()
        .find(|document| document["kind"] == "Deployment")
        .expect("a deployment");
    assert_eq!(pod["spec"]["replicas"], 1);
    assert_eq!(pod["spec"]["strategy"]["type"], "Recreate");
    let spec = &pod["spec"]["template"]["spec"];
    let sidecar = &spec["initContainers"][0];
    assert_eq!(sidecar["name"], "roster");
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert!(sidecar["startupProbe"]["grpc"]["port"].is_number());
    let volumes = spec["volumes"].as_array().unwrap();
    let socket = volumes
        .iter()
        .find(|volume| volume["name"] == "roster-socket");
    assert_eq!(socket.expect("a socket")["emptyDir"]["medium"], "Memory");
    let service = &spec["containers"][0];
    let mounted = |container: &Value, name: &str| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().any(|mount| mount["name"] == name)
    };
    assert!(mounted(sidecar, "roster-socket") && mounted(service, "roster-socket"));
    // The team's data and keys are nobody's but the sidecar's.
    assert!(mounted(sidecar, "roster-data") && !mounted(service, "roster-data"));
    // The user that the callers' file knows is the one that the service runs as.
    let callers: toml::Table = toml::from_str(&read("kubernetes/example/callers.toml")).unwrap();
    let user = service["securityContext"]["runAsUser"].as_i64();
    assert_eq!(callers["caller"][0]["uid"].as_integer(), user);
    assert_ne!(sidecar["securityContext"]["runAsUser"].as_i64(), user);
    let listen = env_of(sidecar)["ROSTER_LISTEN"].clone();
    assert!(listen.starts_with("127.0.0.1:"), "{listen}");
}

fn env_of(container: &Value) -> BTreeMap<String, String> {
    let all = container["env"].as_array().expect("variables");
    all.iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("value"))
        })
        .collect()
}

#[test]
fn every_pod_has_time_to_end_and_memory_beyond_its_budget() {
    for overlay in OVERLAYS {
        let Some((_folder, path)) = built(overlay) else {
            return;
        };
        let mut seen = 0;
        for document in documents(&path) {
            let spec = &document["spec"]["template"]["spec"];
            let containers = ["initContainers", "containers"]
                .iter()
                .filter_map(|kind| spec[kind].as_array())
                .flatten();
            for container in containers.filter(|container| container["name"] == "roster") {
                seen += 1;
                let env = env_of(container);
                let number = |name: &str| -> u64 {
                    env.get(name).map_or(0, |value| value.parse().expect(name))
                };
                let grace = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
                let needed = number("ROSTER_DRAIN_SECONDS") + number("ROSTER_LAME_DUCK_SECONDS");
                assert!(grace > needed + 5, "{overlay}: {grace} after {needed}");
                let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
                let limit: u64 = limit.strip_suffix("Mi").expect("Mi").parse().unwrap();
                // What README.md says a small budget is exceeded by.
                assert!(
                    limit >= number("ROSTER_MEMORY_BUDGET_MIB") + 209,
                    "{overlay}"
                );
            }
        }
        assert_eq!(seen, 1, "{overlay}");
    }
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_well_locked() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        skipped("systemd-analyze");
        return;
    }
    let folder = TempDir::new().unwrap();
    let unit = folder.path().join("roster.service");
    // Verified is that what it runs is there, and who it runs as; here that is this program
    // and root. Its documentation is installed with it.
    let program = env!("CARGO_BIN_EXE_roster");
    let text = read("systemd/roster.service")
        .replace("/usr/local/bin/roster", program)
        .replace("User=roster\nGroup=roster\n", "User=root\nGroup=root\n");
    assert!(text.contains(&format!("ExecStart={program} serve")));
    fs::write(&unit, text).unwrap();
    let ended = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&unit));
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    let ended = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(deployed("systemd/roster.service")));
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
}

/// Names that look like metrics in the expressions of a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !is_part(letter))
        .filter(|word| {
            ["roster_", "grpc_server_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

fn alerts() -> Vec<Value> {
    let rules = documents(&deployed("prometheus/alerts.yaml"));
    let groups = rules[0]["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .map(|group| group["rules"].as_array().unwrap());
    rules.flatten().cloned().collect()
}

#[test]
fn every_metric_that_dashboard_and_alerts_name_is_one_of_the_daemon() {
    let dashboard: Value = serde_json::from_str(&read("grafana/roster.json")).expect("JSON");
    let mut named = metrics_in(&dashboard["templating"].to_string());
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let found = metrics_in(target["expr"].as_str().unwrap());
            assert!(!found.is_empty(), "{target} names no metric");
            named.extend(found);
        }
    }
    for alert in alerts() {
        let found = metrics_in(alert["expr"].as_str().unwrap());
        assert!(!found.is_empty(), "{alert} names no metric");
        named.extend(found);
    }
    let known: BTreeSet<String> = METRICS
        .iter()
        .chain([&THREAD_LAG])
        .map(|name| (*name).to_owned())
        .collect();
    let unknown: Vec<&String> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
}

#[test]
fn every_alert_says_how_urgent_it_is_and_has_its_chapter_in_the_operations_page() {
    let operations = read("OPERATIONS.md");
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name").to_owned();
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        for annotation in ["summary", "description"] {
            let text = alert["annotations"][annotation].as_str();
            assert!(text.is_some_and(|text| !text.is_empty()), "{name}");
        }
        assert!(
            operations.contains(&format!("\n### {name}\n")),
            "{name} has no chapter in deploy/OPERATIONS.md"
        );
        assert!(names.insert(name.clone()), "two alerts are named {name}");
    }
    let chapters = operations
        .lines()
        .filter_map(|line| line.strip_prefix("### Roster"));
    for chapter in chapters {
        let name = format!("Roster{chapter}");
        assert!(names.contains(&name), "no alert is named {name}");
    }
}

/// Every file below `deploy/`.
fn all_files() -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut waiting = vec![repository().join("deploy")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// Words of a text that begin so, of capital letters, digits and lines.
fn names_in(text: &str, beginning: &str) -> BTreeSet<String> {
    let is_part =
        |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    words
        .filter(|word| word.starts_with(beginning) && word.len() > beginning.len())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_that_is_named_is_one_of_the_program() {
    let help = run(roster().arg("--help")).stdout;
    let known: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split(' ').next())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(
        known.contains("serve") && known.contains("verify"),
        "{help}"
    );
    for file in all_files() {
        let text = fs::read_to_string(&file).expect("text");
        let is_page = file.extension().is_some_and(|extension| extension == "md");
        let words = text
            .split("`roster ")
            .skip(1)
            .chain(text.split("\nroster ").skip(1));
        for rest in words.filter(|_| is_page) {
            let is_part = |letter: char| letter.is_ascii_lowercase();
            let command = rest.split(|letter| !is_part(letter)).next().unwrap();
            assert!(
                command.is_empty() || known.contains(command),
                "{} names `roster {command}`, which is no command",
                file.display()
            );
        }
    }
}

#[test]
fn every_variable_that_is_named_is_a_setting_of_the_program() {
    let mut known = BTreeSet::new();
    for command in [&["serve"][..], &["check"], &["verify"]] {
        let ended = run(roster().args(command).arg("--help"));
        known.extend(names_in(&ended.stdout, "ROSTER_"));
    }
    for file in all_files() {
        let text = fs::read_to_string(&file).expect("text");
        for name in names_in(&text, "ROSTER_") {
            assert!(
                known.contains(&name),
                "{} names {name}, which is no setting",
                file.display()
            );
        }
    }
}

/// The functions with a test in the sources and tests, by name.
fn test_functions() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut waiting = vec![repository().join("src"), repository().join("tests")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut is_test = false;
                for line in text.lines().map(str::trim) {
                    if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                        is_test = true;
                    } else if let Some((_, rest)) = line.split_once("fn ")
                        && is_test
                    {
                        let name = rest.split(['(', '<']).next().unwrap_or_default();
                        all.insert(name.to_owned());
                        is_test = false;
                    } else if let Some((name, target)) = line.split_once(": \"")
                        && target.ends_with("\";")
                        && name.starts_with("any_")
                    {
                        // Tests that a macro makes, in src/fuzzing/tests.rs.
                        all.insert(name.to_owned());
                    }
                }
            }
        }
    }
    all
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let threats = read("THREATS.md");
    let there = test_functions();
    let mut named = 0;
    for quoted in threats.split('`').skip(1).step_by(2) {
        let is_name = quoted.matches('_').count() >= 2
            && quoted.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
            });
        if is_name {
            named += 1;
            assert!(there.contains(quoted), "there is no test `{quoted}`");
        }
    }
    assert!(named > 40, "only {named} tests are named");
}

#[test]
fn the_container_is_static_without_root_and_pinned() {
    let dockerfile = read("docker/Dockerfile");
    let lines: Vec<&str> = dockerfile.lines().collect();
    let base = lines
        .iter()
        .find_map(|line| line.strip_prefix("FROM rust:"));
    let tag = base.expect("a base").split(' ').next().unwrap_or_default();
    assert!(tag.matches('.').count() >= 2, "`{tag}` is not pinned");
    let last = lines.iter().rfind(|line| line.starts_with("FROM "));
    assert_eq!(last, Some(&"FROM scratch"));
    assert!(lines.contains(&"USER 65532:65532"));
    assert!(!lines.iter().any(|line| line.starts_with("HEALTHCHECK")));
    // What the build copies is what .dockerignore lets through.
    let ignored = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    for needed in [
        "Cargo.lock",
        "Cargo.toml",
        "build.rs",
        "policies",
        "proto",
        "src",
    ] {
        assert!(repository().join(needed).exists());
        assert!(ignored.lines().any(|line| line == format!("!{needed}")));
    }
}

/// The `sh` blocks of the cookbook, each with the JSON shown below it, if any is.
fn recipes() -> Vec<(String, Option<Value>)> {
    let cookbook = read("COOKBOOK.md");
    let mut blocks = cookbook.split("\n```").skip(1).step_by(2).peekable();
    let mut recipes = Vec::new();
    while let Some(block) = blocks.next() {
        let recipe = block.strip_prefix("sh\n").expect("a block of sh");
        let shown = blocks.next_if(|next| next.starts_with("json\n"));
        let shown = shown.and_then(|next| next.strip_prefix("json\n"));
        let shown = shown.map(|text| serde_json::from_str(text).expect("JSON is shown"));
        recipes.push((recipe.to_owned(), shown));
    }
    recipes
}

/// Whether all that is shown is in an answer.
fn is_part_of(shown: &Value, answer: &Value) -> bool {
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => shown.iter().all(|(name, value)| {
            answer
                .get(name)
                .is_some_and(|other| is_part_of(value, other))
        }),
        (Value::Array(shown), Value::Array(answer)) => {
            let mut pairs = shown.iter().zip(answer);
            shown.len() == answer.len() && pairs.all(|(one, other)| is_part_of(one, other))
        }
        _ => shown == answer,
    }
}

#[test]
fn every_recipe_of_the_cookbook_works() {
    let directory = TempDir::new().unwrap();
    let daemon = Daemon::start_with(&directory.path().join("data"), &["--example"]);
    let buf = tool("node_modules/.bin/buf");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [buf.parent().unwrap().to_owned()].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap();
    let recipes = recipes();
    assert!(recipes.len() > 20, "only {} recipes", recipes.len());
    let function = recipes[0].0.clone();
    for (recipe, shown) in &recipes[1..] {
        let script = format!("set -euo pipefail\n{function}\n{recipe}");
        let script = script.replace("127.0.0.1:7350", &daemon.address.to_string());
        let made = run(Command::new("bash")
            .args(["-c", &script])
            .env("PATH", &path)
            .current_dir(directory.path()));
        assert_eq!(
            made.code(),
            Some(0),
            "{recipe}\n{}{}",
            made.stdout,
            made.stderr
        );
        if let Some(shown) = shown {
            let answer = serde_json::from_str(&made.stdout).expect("JSON");
            assert!(is_part_of(shown, &answer), "{recipe}\n{answer:#}");
        }
    }
    daemon.stop();
}
