//! Tools that others run: the public `cedar` command on an export, `buf` on the
//! protos, and our own `roster catalog check`.
//!
//! A tool that is not there fails the test that needs it: what is skipped in
//! silence is not tested. `tests/tools.sh` installs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use roster::engine::Snapshot;
use roster::proto::v1;
use tempfile::TempDir;

use crate::export_law::files;
use crate::harness::Daemon;

/// Questions of each example and each answer.
const QUESTIONS: usize = 6;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where a tool is: what the environment says, or where `tests/tools.sh` puts it.
pub fn tool(variable: &str, installed: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(
        || repository().join("target/tools").join(installed),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "`{}` is not there; run `tests/tools.sh`, or say in {variable} where it is",
        path.display()
    );
    path
}

fn run(command: &mut Command) -> Output {
    command
        .current_dir(repository())
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Writes files to a directory of their own.
fn written(files: &BTreeMap<String, String>) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

#[tokio::test]
async fn the_public_cedar_command_answers_as_the_daemon_does() {
    let cedar = tool("ROSTER_CEDAR", "bin/cedar");
    let daemon = Daemon::start().await;
    let examples = daemon.application.load_examples().await.expect("examples");
    assert_eq!(examples.len(), 5);
    for example in examples {
        let whole = written(&files(&daemon, example, None).await);
        cedar_validates(&cedar, whole.path());
        for (request, answer) in questions(&daemon, example).await {
            let exported = written(&files(&daemon, example, Some(request.clone())).await);
            let from_cedar = cedar_answers(&cedar, exported.path());
            let allow = answer.decision() == v1::Decision::Allow;
            let from_daemon = (allow, sorted(answer.determining_policies));
            assert_eq!(from_cedar, from_daemon, "{request:?}");
        }
    }
    daemon.stop().await;
}

fn cedar_validates(cedar: &Path, export: &Path) {
    let output = run(Command::new(cedar)
        .args(["validate", "--deny-warnings", "--validation-mode", "strict"])
        .arg("--schema")
        .arg(export.join("schema.cedarschema"))
        .arg("--policies")
        .arg(export.join("policies.cedar")));
    assert!(output.status.success(), "{}", told(&output));
}

/// Whether, and by which policies, as the command prints it.
fn cedar_answers(cedar: &Path, export: &Path) -> (bool, Vec<String>) {
    let output = run(Command::new(cedar)
        .args(["authorize", "--verbose", "--error-format", "plain"])
        .arg("--schema")
        .arg(export.join("schema.cedarschema"))
        .arg("--policies")
        .arg(export.join("policies.cedar"))
        .arg("--entities")
        .arg(export.join("entities.json"))
        .arg("--request-json")
        .arg(export.join("request.json")));
    let printed = text(&output.stdout);
    let allow = match (output.status.code(), printed.split_whitespace().next()) {
        (Some(0), Some("ALLOW")) => true,
        (Some(2), Some("DENY")) => false,
        other => panic!("{other:?}: {}", told(&output)),
    };
    let policies = printed
        .lines()
        .skip_while(|line| !line.contains("due to the following policies"))
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        .map(str::to_owned)
        .collect();
    (allow, sorted(policies))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Some questions that the daemon allows and some that it denies, spread over
/// members and actions, with its answers.
async fn questions(
    daemon: &Daemon,
    organization: &str,
) -> Vec<(v1::IsAuthorizedRequest, v1::IsAuthorizedResponse)> {
    let snapshot = daemon
        .application
        .find(organization)
        .await
        .expect("it is there");
    let mut all = every_question(&snapshot);
    // A fixed walk with a step that has no common divisor with the count visits
    // each once and mixes members, actions and types.
    let count = all.len();
    let step = (count / 3..).find(|step| common_divisor(*step, count) == 1);
    let step = step.expect("a step");
    let mut chosen: BTreeMap<bool, Vec<_>> = BTreeMap::new();
    for number in 0..count {
        let request = std::mem::take(&mut all[number * step % count]);
        let answer = daemon.ask(request.clone()).await;
        let allow = answer.decision() == v1::Decision::Allow;
        let some = chosen.entry(allow).or_default();
        if some.len() < QUESTIONS {
            some.push((request, answer));
        }
        if chosen.len() == 2 && chosen.values().all(|some| some.len() == QUESTIONS) {
            break;
        }
    }
    let chosen: Vec<_> = chosen.into_values().flatten().collect();
    assert_eq!(
        chosen.len(),
        2 * QUESTIONS,
        "of {count} in `{organization}`"
    );
    chosen
}

fn common_divisor(one: usize, other: usize) -> usize {
    if other == 0 {
        one
    } else {
        common_divisor(other, one % other)
    }
}

fn every_question(snapshot: &Snapshot) -> Vec<v1::IsAuthorizedRequest> {
    let organization = snapshot.organization();
    let catalog = snapshot.catalog().catalog();
    let users = organization.members.keys().map(ToString::to_string);
    let users: Vec<String> = users.chain(["nobody".to_owned()]).collect();
    let mut questions = Vec::new();
    for (number, action) in catalog.actions.iter().enumerate() {
        for (more, user) in users.iter().enumerate() {
            let index = action.resource_types[(number + more) % action.resource_types.len()];
            let found = &catalog.resource_types[usize::from(index.0)];
            let id = match found.id.as_str() {
                "Organization" => organization.id().to_string(),
                "Member" => users[(number + more) % (users.len() - 1)].clone(),
                "Project" => match organization.projects.keys().next() {
                    Some(project) => project.to_string(),
                    None => continue,
                },
                _ => "the-one".to_owned(),
            };
            let owner = match found.built_in {
                false if more % 2 == 0 => user.clone(),
                _ => String::new(),
            };
            let organization = organization.id().to_string();
            questions.push(v1::IsAuthorizedRequest {
                organization,
                principal: Some(v1::EntityRef {
                    r#type: "User".to_owned(),
                    id: user.clone(),
                }),
                action: action.id.to_string(),
                resource: Some(v1::Resource {
                    r#type: found.id.to_string(),
                    id,
                    owner,
                    ..Default::default()
                }),
                ..Default::default()
            });
        }
    }
    questions
}

#[test]
fn the_protos_pass_buf_lint() {
    let buf = tool("ROSTER_BUF", "node_modules/.bin/buf");
    let output = run(Command::new(buf).args(["lint", "proto"]));
    assert!(output.status.success(), "{}", told(&output));
}

fn catalog_check<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_roster"))
        .args(["catalog", "check"])
        .args(folders))
}

/// A copy of a shipped catalog with one file changed.
fn changed(product: &str, file: &str, change: impl Fn(&str) -> String) -> TempDir {
    let shipped = repository().join("policies").join(product);
    let folder = TempDir::new().expect("a folder");
    for name in ["catalog.toml", "rules.cedar"] {
        let content = fs::read_to_string(shipped.join(name)).expect("a shipped file");
        let content = if name == file {
            change(&content)
        } else {
            content
        };
        fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

#[test]
fn every_shipped_catalog_passes_the_check_and_is_told_of() {
    for product in [
        "oec-sh",
        "hypervisor-io",
        "oncloudwine",
        "cloud-66",
        "qoc-cloud",
    ] {
        let folder = Path::new("policies").join(product);
        let output = catalog_check([folder.as_path()]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let line = text(&output.stdout);
        assert!(
            line.starts_with(&format!("{}: ", folder.display())),
            "{line}"
        );
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn a_broken_catalog_is_told_all_its_faults_each_at_its_place() {
    let broken = changed("oncloudwine", "catalog.toml", |text| {
        text.replacen("title = \"OnCloudWine\"", "titel = \"OnCloudWine\"", 1)
            .replacen(
                "custom_roles = \"never\"",
                "custom_roles = \"sometimes\"",
                1,
            )
            .replacen("level = \"account\"", "level = \"galaxy\"", 1)
    });
    let path = broken.path().join("catalog.toml");
    let content = fs::read_to_string(&path).expect("the file");
    let output = catalog_check([broken.path()]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(text(&output.stdout), "");
    let lines = text(&output.stderr);
    for (wrong, named) in [
        ("titel", "`titel`"),
        ("\"sometimes\"", "`sometimes`"),
        ("\"galaxy\"", "`galaxy`"),
    ] {
        let (line, column) = place_of(&content, wrong);
        let place = format!("{}:{line}:{column}: ", path.display());
        assert!(
            lines
                .lines()
                .any(|told| told.starts_with(&place) && told.contains(named)),
            "nothing at {place} about {named} in\n{lines}"
        );
    }
}

/// Line and column of a text, from 1.
fn place_of(content: &str, wanted: &str) -> (usize, usize) {
    let mut lines = (1..).zip(content.lines());
    let found = lines.find_map(|(line, text)| Some((line, text.find(wanted)? + 1)));
    found.expect("the fault is in the file")
}

#[test]
fn one_broken_catalog_among_good_ones_fails_the_check_of_all() {
    let broken = changed("oncloudwine", "catalog.toml", |_| String::new());
    let good = Path::new("policies/oec-sh");
    let output = catalog_check([good, broken.path(), Path::new("policies/cloud-66")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 2, "{}", told(&output));
    let file = broken.path().join("catalog.toml").display().to_string();
    assert!(text(&output.stderr).contains(&file), "{}", told(&output));
}

#[test]
fn every_fault_of_the_rules_is_told_once_with_its_line() {
    let wrong = changed("oncloudwine", "rules.cedar", |_| {
        [
            "// Line 1 is a comment.",
            "@id(\"open-door\") @reason(\"welcome\")",
            "permit (principal, action, resource);",
            "@id(\"silent\")",
            "forbid (principal, action, resource);",
            "@id(\"lost\") @reason(\"nowhere\")",
            "forbid (principal, action == Action::\"Nothing\", resource);",
            "@id(\"lost\") @reason(\"again\") forbid (principal, action, resource);",
            "@id(\"bot\") @reason(\"one\") forbid (principal == User::\"bot\", action, resource);",
        ]
        .join("\n")
    });
    let output = catalog_check([wrong.path()]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    let file = wrong.path().join("rules.cedar").display().to_string();
    let wanted = [
        format!("{file}:2: rule `open-door` permits; a product's rules only forbid"),
        format!("{file}:4: rule `silent` needs a `@reason`"),
        format!("{file}:7: unrecognized action `Action::\"Nothing\"`"),
        format!("{file}:8: another rule has the id `product/lost`"),
        format!("{file}:9: rule `bot` names `User::\"bot\"`"),
    ];
    assert_eq!(told.lines().count(), wanted.len(), "{told}");
    for (line, wanted) in told.lines().zip(&wanted) {
        assert!(line.starts_with(wanted), "`{wanted}` in {told}");
    }
}

#[test]
fn rules_that_do_not_parse_or_do_not_fit_the_schema_are_told_with_their_line() {
    for rules in [
        "@id(\"x\") @reason(\"y\")\nforbid (principal, action resource);",
        "@id(\"x\") @reason(\"y\")\nforbid (principal, action, resource)\nwhen { resource.nothing };",
        "@id(\"x\") @reason(\"y\")\nforbid (principal == ?principal, action, resource);",
    ] {
        let wrong = changed("oncloudwine", "rules.cedar", |_| rules.to_owned());
        let output = catalog_check([wrong.path()]);
        assert_eq!(output.status.code(), Some(1), "accepted {rules}");
        let told = text(&output.stderr);
        let file = wrong.path().join("rules.cedar").display().to_string();
        assert!(told.starts_with(&format!("{file}:")), "{told}");
    }
}

#[test]
fn a_folder_that_is_no_catalog_is_told_of() {
    let empty = TempDir::new().expect("a folder");
    for folder in [empty.path(), Path::new("policies/no-such-product")] {
        let output = catalog_check([folder]);
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(told.starts_with(&folder.display().to_string()), "{told}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn the_printed_schema_is_one_that_cedar_reads() {
    let cedar = tool("ROSTER_CEDAR", "bin/cedar");
    let output = run(Command::new(env!("CARGO_BIN_EXE_roster")).args([
        "catalog",
        "schema",
        "policies/qoc-cloud",
    ]));
    assert!(output.status.success(), "{}", told(&output));
    let schema = text(&output.stdout);
    let printed = written(&BTreeMap::from([("schema.cedarschema".to_owned(), schema)]));
    let output = run(Command::new(cedar)
        .args(["check-parse", "--schema"])
        .arg(printed.path().join("schema.cedarschema")));
    assert!(output.status.success(), "{}", told(&output));
}
