//! The commands for people: what they print, and with which code they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Daemon, Ended, roster, run};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A daemon with the example organizations, and commands that call it.
struct Example {
    directory: TempDir,
    daemon: Daemon,
}

impl Example {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let daemon = Daemon::start_with(directory.path(), &["--example"]);
        Self { directory, daemon }
    }

    /// `roster check` or `roster explain`, as somebody of the team with projects.
    fn command(&self, command: &str, who: &str, action: &str, more: &[&str]) -> Command {
        let key = self.directory.path().join("operator.key");
        self.command_with(&key, command, who, action, more)
    }

    /// The same with the key in that file.
    fn command_with(
        &self,
        key: &Path,
        command: &str,
        who: &str,
        action: &str,
        more: &[&str],
    ) -> Command {
        let mut called = roster();
        called
            .arg(command)
            .args(["--address", &format!("http://{}", self.daemon.address)])
            .arg("--key-file")
            .arg(key)
            .args(["--organization", "hypervisor-io-example"])
            .args(["--principal", who, "--action", action])
            .args(more);
        called
    }

    fn run(&self, command: &str, who: &str, action: &str, more: &[&str]) -> Ended {
        run(&mut self.command(command, who, action, more))
    }
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(ended.stdout.trim())
        .unwrap_or_else(|_| panic!("no JSON: {}{}", ended.stdout, ended.stderr))
}

#[test]
fn the_exit_code_of_a_check_is_its_answer() {
    let example = Example::start();
    let in_project = |project| ["--resource", "Instance:vm-1", "--project", project];

    let allowed = example.run(
        "check",
        "dev",
        "InstancesManage",
        &in_project("development"),
    );
    assert_eq!(allowed.code(), Some(0), "{}", allowed.stderr);
    assert!(allowed.stdout.starts_with("ALLOW at revision 0."));
    assert!(allowed.stdout.contains("OVERRIDE: "), "{}", allowed.stdout);
    assert!(allowed.stdout.contains("role `operator`"));

    let denied = example.run("check", "dev", "InstancesManage", &in_project("production"));
    assert_eq!(denied.code(), Some(5), "{}", denied.stderr);
    assert!(denied.stdout.starts_with("DENY at revision 0."));
    assert!(denied.stdout.contains("OVERRIDE_DENIES: "));
    assert_eq!(denied.stderr, "");

    // Without a resource it is about the organization.
    let owner = example.run("check", "otto", "DeleteOrganization", &[]);
    assert_eq!(owner.code(), Some(0), "{}{}", owner.stdout, owner.stderr);
    let stranger = example.run("check", "nobody", "DeleteOrganization", &[]);
    assert_eq!(stranger.code(), Some(5));
    assert!(stranger.stdout.contains("NOT_A_MEMBER: "));
    example.daemon.stop();
}

#[test]
fn a_check_answers_in_json_whatever_comes_of_it() {
    let example = Example::start();
    let resource = ["--resource", "Instance:vm-1", "--output", "json"];
    let allowed = example.run("check", "otto", "InstancesManage", &resource);
    assert_eq!(allowed.code(), Some(0), "{}", allowed.stderr);
    let answer = json(&allowed);
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["allowed"], true);
    assert_eq!(answer["reasons"][0]["code"], "OWNER");

    let denied = json(&example.run("check", "vic", "InstancesManage", &resource));
    assert_eq!(denied["ok"], true);
    assert_eq!(denied["allowed"], false);
    assert_eq!(denied["reasons"][0]["code"], "NO_GRANT");

    let fault = example.run("check", "vic", "Fly", &resource);
    assert_eq!(fault.code(), Some(1));
    let answer = json(&fault);
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["code"], "InvalidArgument");
    assert!(answer["problem"].as_str().unwrap().contains("`action`"));
    assert!(fault.stderr.starts_with("roster: "), "{}", fault.stderr);
    example.daemon.stop();
}

#[test]
fn what_keeps_a_check_from_an_answer_is_told_and_is_no_denial() {
    let example = Example::start();
    let faults: [(&[&str], &str); 4] = [
        (&["--resource", "Instance"], "`--resource` is `TYPE:ID`"),
        (&["--attributes", "[1]"], "`--attributes` is a JSON object"),
        (&["--context", "{"], "`--context` is no JSON"),
        (&["--at-least", "tomorrow"], "`at_least`"),
    ];
    for (flags, problem) in faults {
        let ended = example.run("check", "vic", "InstancesView", flags);
        assert_eq!(ended.code(), Some(1), "{flags:?}: {}", ended.stdout);
        assert!(
            ended.stderr.contains(problem),
            "{flags:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
    let wrong_key = example.directory.path().join("wrong.key");
    fs::write(&wrong_key, "roster_operator_wrong").unwrap();
    let keys = [
        (Path::new("/nowhere"), "can't read the key in `/nowhere`"),
        (&wrong_key, "the caller is not recognised"),
    ];
    for (key, problem) in keys {
        let ended = run(&mut example.command_with(key, "check", "vic", "InstancesView", &[]));
        assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
        assert!(ended.stderr.contains(problem), "{}", ended.stderr);
    }

    let command = &mut example.command("check", "vic", "InstancesView", &[]);
    example.daemon.stop();
    let ended = run(command);
    assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("no daemon can be reached"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_explanation_names_the_policy_the_roles_and_who_can_help() {
    let example = Example::start();
    let in_production = ["--resource", "Instance:vm-1", "--project", "production"];
    let allowed = example.run("explain", "ada", "InstancesManage", &in_production);
    assert_eq!(allowed.code(), Some(0), "{}", allowed.stderr);
    assert!(allowed.stdout.contains("permit"), "{}", allowed.stdout);

    let viewer = example.run(
        "explain",
        "vic",
        "InstancesManage",
        &["--resource", "Instance:vm-1"],
    );
    assert_eq!(viewer.code(), Some(5), "{}", viewer.stderr);
    for told in [
        "NO_GRANT: ",
        "roles that carry the action:",
        "`operator`",
        "give `vic` a role that carries the action; that needs `ChangeMemberRole`: ",
        "`otto`",
    ] {
        assert!(viewer.stdout.contains(told), "{told} in {}", viewer.stdout);
    }
    // Whoever is named may in fact do it, and nobody who may not is.
    assert!(!viewer.stdout.contains("`dev`"), "{}", viewer.stdout);

    let mut as_json = in_production.to_vec();
    as_json.extend(["--output", "json"]);
    let overridden = example.run("explain", "dev", "InstancesManage", &as_json);
    let answer = json(&overridden);
    assert_eq!(answer["reasons"][0]["code"], "OVERRIDE_DENIES");
    assert_eq!(answer["steps"][0]["needs"], "SetProjectOverride");
    let by = answer["steps"][0]["by"].as_array().unwrap();
    assert!(by.contains(&"otto".into()), "{answer}");

    let stranger = json(&example.run("explain", "nobody", "InstancesView", &as_json));
    assert_eq!(stranger["steps"][0]["needs"], "InviteMember");
    example.daemon.stop();
}

fn catalog_test(folder: &Path, more: &[&str]) -> Ended {
    let mut command = roster();
    command.args(["catalog", "test"]).arg(folder).args(more);
    run(command.current_dir(repository()))
}

/// A file of cases in a folder of its own.
fn cases(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cases.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_catalog_is_held_to_its_truth_table() {
    let ended = catalog_test(Path::new("policies/oncloudwine"), &[]);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout, "41 cells hold\n");
    assert_eq!(ended.stderr, "");
    let answer = json(&catalog_test(
        Path::new("policies/oncloudwine"),
        &["--output", "json"],
    ));
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["cells"], 41);
}

#[test]
fn every_cell_that_does_not_hold_is_named_with_its_line() {
    let (_folder, path) = cases(
        "[[cases]]\naction = \"ManageBilling\"\nallow = [\"owner\", \"admin\", \"member\"]\n\n\
         [[cases]]\naction = \"DeleteOrganization\"\nallow = [\"owner\"]\ndeny = [\"stranger\"]\n\n\
         [[cases]]\naction = \"ManageContacts\"\non = \"Contact\"\nothers = \"deny\"\n",
    );
    let path = path.display().to_string();
    let ended = catalog_test(Path::new("policies/oncloudwine"), &[&path]);
    assert_eq!(ended.code(), Some(1));
    assert_eq!(ended.stdout, "4 of 10 cells do not hold\n");
    let told: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(told.len(), 4, "{}", ended.stderr);
    let billing = format!(
        "{path}:1: `ManageBilling` on `Organization` by `member` on plan `standard` is DENY, not ALLOW: "
    );
    assert!(told[0].starts_with(&billing), "{}", told[0]);
    for (line, principal) in told[1..].iter().zip(["admin", "member", "owner"]) {
        let contacts = format!(
            "{path}:10: `ManageContacts` on `Contact` by `{principal}` on plan `standard` is ALLOW, not DENY: "
        );
        assert!(line.starts_with(&contacts), "{line}");
    }
    let answer = json(&catalog_test(
        Path::new("policies/oncloudwine"),
        &[&path, "--output", "json"],
    ));
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["failures"].as_array().unwrap().len(), 4);
    assert_eq!(answer["failures"][0]["expected"], "ALLOW");
    assert_eq!(answer["failures"][0]["actual"], "DENY");
}

#[test]
fn cases_tell_projects_overrides_owners_and_plans_apart() {
    let (_folder, path) = cases(
        "[principals.overridden]\nroles = [\"admin\"]\noverride = [\"viewer\"]\n\
         [principals.suspended]\nroles = [\"admin\"]\nsuspended = true\n\n\
         [[cases]]\naction = \"InstancesManage\"\non = \"Instance\"\n\
         allow = [\"owner\", \"admin\"]\ndeny = [\"overridden\", \"suspended\", \"viewer\", \"none\", \"stranger\"]\n\n\
         [[cases]]\naction = \"InstancesManage\"\non = \"Instance\"\nin_project = false\n\
         allow = [\"overridden\"]\ndeny = [\"suspended\"]\n",
    );
    let path = path.display().to_string();
    let ended = catalog_test(Path::new("policies/hypervisor-io"), &[&path]);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn what_is_wrong_with_cases_is_told_with_its_line() {
    let one = |line: &str| format!("[[cases]]\naction = \"ManageBilling\"\n{line}\n");
    let faults = [
        (
            one("allow = [\"boss\"]"),
            ":1: `boss` is no principal; there are `admin`, ",
        ),
        (
            one("allow = [\"admin\"]\ndeny = [\"admin\"]"),
            ":1: `admin` is named twice",
        ),
        (
            one("plans = [\"gold\"]\nallow = [\"owner\"]"),
            ":1: `gold` is no plan",
        ),
        (
            one("on = \"Contact\"\nallow = [\"owner\"]"),
            ":1: `ManageBilling` is asked of `Organization`",
        ),
        (
            one("of = \"self\"\nallow = [\"owner\"]"),
            ":1: `of = \"self\"` is for a `Member`",
        ),
        (
            one("attributes = { x = 1 }\nallow = [\"owner\"]"),
            ":1: `resource.attributes",
        ),
        (one(""), ":1: expects nothing of anybody"),
        (one("alow = [\"owner\"]"), ":3: unknown field `alow`"),
        (
            "\n[[cases]]\naction = \"Fly\"\nothers = \"deny\"\n".to_owned(),
            ":2: `Fly` is no action",
        ),
        (
            "[[cases]]\naction = \"ManageContacts\"\nothers = \"deny\"\n".to_owned(),
            ":1: say `on`",
        ),
        (String::new(), ":1: has no `[[cases]]`"),
        (
            format!(
                "[principals.odd]\nroles = [\"nobody\"]\n{}",
                one("allow = [\"odd\"]")
            ),
            ":1: principal `odd`: ",
        ),
        (
            format!("[principals.admin]\n{}", one("allow = [\"owner\"]")),
            ":1: principal `admin` is there already",
        ),
    ];
    for (text, problem) in faults {
        let (_folder, path) = cases(&text);
        let path = path.display().to_string();
        let ended = catalog_test(Path::new("policies/oncloudwine"), &[&path]);
        assert_eq!(ended.code(), Some(1), "{text}: {}", ended.stdout);
        assert!(
            ended.stderr.starts_with(&format!("{path}{problem}")),
            "{text} says {}",
            ended.stderr
        );
    }
    let absent = catalog_test(Path::new("policies/cloud-66"), &[]);
    assert_eq!(absent.code(), Some(1));
    assert!(
        absent
            .stderr
            .contains("policies/cloud-66/tests.toml:1: can't be read")
    );
}

#[test]
fn the_check_of_catalogs_answers_in_json() {
    let broken = TempDir::new().unwrap();
    fs::write(broken.path().join("catalog.toml"), "titel = 1\n").unwrap();
    let mut command = roster();
    command
        .args(["catalog", "check", "--output", "json", "policies/oec-sh"])
        .arg(broken.path())
        .current_dir(repository());
    let ended = run(&mut command);
    assert_eq!(ended.code(), Some(1));
    let answer = json(&ended);
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["catalogs"][0]["ok"], true);
    assert_eq!(answer["catalogs"][0]["title"], "OEC.SH");
    assert_eq!(answer["catalogs"][1]["ok"], false);
    let faults = answer["catalogs"][1]["faults"].as_array().unwrap();
    let told: Vec<&str> = faults.iter().filter_map(Value::as_str).collect();
    assert!(
        told.iter().any(|fault| fault.contains("`titel`")),
        "{told:?}"
    );
    for fault in &told {
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
    }
}

#[test]
fn the_cases_that_the_page_of_catalogs_shows_hold_on_the_catalog_it_shows() {
    let page = fs::read_to_string(repository().join("policies/README.md")).unwrap();
    let mut examples = page.split("```toml").skip(1);
    let mut next = || examples.next().unwrap().split("```").next().unwrap();
    let (cases, catalog) = (next(), next());
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("shown");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("catalog.toml"), catalog).unwrap();
    fs::write(folder.join("tests.toml"), cases).unwrap();
    let ended = catalog_test(&folder, &[]);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout, "10 cells hold\n");
}
