//! The real program: keys by its commands, TLS and the callers file as files that change.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::stage::Authority;

/// How long a program may take for what it does at once on a machine that isn't busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long to wait before it is looked again, and how often it is looked.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES: u32 = 2_000;

fn roster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roster"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROSTER_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// `roster serve` on a directory of its own.
struct Daemon {
    child: Child,
    address: String,
    logged: Receiver<String>,
}

impl Daemon {
    fn start(data: &Path, flags: &[&str]) -> Self {
        let mut child = roster()
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--minimum-free-mib",
                "1",
            ])
            .arg("--data-dir")
            .arg(data)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(|line| line.expect("a line"))
            .find_map(|line| Some(line.strip_prefix("roster listens on ")?.to_owned()));
        thread::spawn(move || lines.for_each(drop));
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, logged) = channel();
        thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                drop(tell.send(line));
            }
        });
        let Some(address) = address else {
            drop(child.wait());
            panic!("it ended: {:?}", logged.iter().collect::<Vec<_>>());
        };
        Self {
            child,
            address,
            logged,
        }
    }

    /// Waits until it logs that.
    fn wait_for(&self, text: &str) {
        loop {
            let line = self.logged.recv_timeout(PATIENCE).expect(text);
            if line.contains(text) {
                return;
            }
        }
    }

    fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `roster keys` with these arguments.
fn keys(arguments: &[&str]) -> Output {
    roster()
        .arg("keys")
        .args(arguments)
        .output()
        .expect("it runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).expect("JSON")
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Tries until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..TRIES {
        if is_so() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("{what}");
}

#[test]
fn keys_are_created_listed_rotated_and_revoked_by_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let daemon = Daemon::start(&data, &[]);
    let address = format!("http://{}", daemon.address);
    let operator = data.join("operator.key");
    let common = ["--address", &address, "--key-file", text(&operator)];
    let run = |arguments: &[&str]| keys(&[arguments, &common[..]].concat());

    let none = printed(&run(&["list"]));
    assert!(none.starts_with("there are no keys"), "{none}");
    let created = run(&[
        "create",
        "checkout",
        "--scope",
        "check",
        "--scope",
        "operate",
        "--expires-in",
        "90d",
        "--output",
        "json",
    ]);
    let created = json(&created);
    let (id, secret) = (created["key"]["id"].as_str(), created["secret"].as_str());
    let (id, secret) = (id.expect("an id"), secret.expect("a secret"));
    assert_eq!(
        created["key"]["scopes"],
        serde_json::json!(["check", "operate"])
    );
    assert_eq!(created["key"]["status"], "active");
    assert!(created["key"]["expire_time"].is_string());

    // The new key lists the keys itself.
    let file = directory.path().join("checkout.key");
    fs::write(&file, format!("{secret}\n")).unwrap();
    let own = ["list", "--address", &address, "--key-file", text(&file)];
    let listed = printed(&keys(&own));
    let line = format!("{id} checkout (active): check, operate on all organizations; ends ");
    assert!(listed.starts_with(&line), "{listed}");
    assert!(!listed.contains(secret));

    let rotated = printed(&run(&["rotate", id, "--overlap", "1h"]));
    assert!(
        rotated.contains("the secret before works until "),
        "{rotated}"
    );
    assert!(
        rotated.contains("its secret, shown this once: roster_caller_"),
        "{rotated}"
    );
    printed(&keys(&own));
    let revoked = printed(&run(&["revoke", id]));
    assert!(revoked.contains("(revoked)"), "{revoked}");
    let told = refused(&keys(&own));
    assert!(
        told.starts_with("roster: the caller is not recognised"),
        "{told}"
    );
    let told = refused(&run(&["revoke", id]));
    assert!(told.contains("is revoked"), "{told}");
    let told = refused(&run(&["rotate", "key-none"]));
    assert!(
        told.contains("caller key `key-none` does not exist"),
        "{told}"
    );

    let bound = json(&run(&[
        "create",
        "bound",
        "--scope",
        "manage",
        "--organization",
        "acme",
        "--output",
        "json",
    ]));
    assert_eq!(bound["key"]["organizations"], serde_json::json!(["acme"]));
    let all = json(&run(&["list", "--output", "json"]));
    assert_eq!(all["keys"].as_array().map(Vec::len), Some(2));
    daemon.stop();

    // It is in the history, which holds.
    let verified = roster()
        .args(["verify", "--data-dir", text(&data)])
        .output()
        .unwrap();
    printed(&verified);
    let told = refused(&run(&["list"]));
    assert!(told.contains("no daemon can be reached at"), "{told}");
    let wrong = keys(&["create", "x", "--scope", "everything"]);
    assert_eq!(wrong.status.code(), Some(2));
    let wrong = run(&["create", "x", "--scope", "check", "--expires-in", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_user_of_the_machine_needs_no_key_at_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let (data, socket) = (
        directory.path().join("data"),
        directory.path().join("socket"),
    );
    let callers = directory.path().join("callers.toml");
    let user = rustix::process::getuid().as_raw();
    let known = |scope: &str| {
        format!("[[caller]]\nname = \"agent\"\nscopes = [\"{scope}\"]\nuid = {user}\n")
    };
    fs::write(&callers, known("operate")).unwrap();
    let flags = ["--listen-unix", text(&socket), "--callers", text(&callers)];
    let daemon = Daemon::start(&data, &flags);
    let address = format!("unix:{}", socket.display());
    let list = || keys(&["list", "--address", &address]);
    printed(&list());

    // The file counts as it is, a file with a fault not at all.
    fs::write(&callers, known("check")).unwrap();
    until("the change counts", || !list().status.success());
    let told = refused(&list());
    assert!(
        told.contains("the caller lacks the scope `operate`"),
        "{told}"
    );
    fs::write(&callers, known("everything")).unwrap();
    daemon.wait_for("the callers file can't be used; the one before stays");
    assert_eq!(refused(&list()), told);
    fs::write(&callers, known("operate")).unwrap();
    until("the change counts", || list().status.success());
    daemon.stop();
}

/// Files that are swapped as Kubernetes does it: by a link to the directory they are in.
struct Swapped(TempDir);

impl Swapped {
    fn new() -> Self {
        let swapped = Self(tempfile::tempdir().unwrap());
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(Path::new("..data").join(file), swapped.path(file)).unwrap();
        }
        swapped
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn swap(&self, name: &str, (certificate, key): &(String, String), authority: &str) {
        let directory = self.path(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("tls.crt"), certificate).unwrap();
        fs::write(directory.join("tls.key"), key).unwrap();
        fs::write(directory.join("ca.crt"), authority).unwrap();
        let next = self.path("..data_tmp");
        symlink(name, &next).unwrap();
        fs::rename(next, self.path("..data")).unwrap();
    }
}

/// Writes what a client calls with; answers with the arguments for it.
fn client(directory: &Path, name: &str, server: &Authority, own: &Authority) -> Vec<String> {
    let (certificate, key) = own.client(&["spiffe://prod.example/staff"]);
    let file = |kind: &str, content: &str| {
        let path = directory.join(format!("{name}-{kind}"));
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    vec![
        "--ca-file".to_owned(),
        file("ca", &server.pem()),
        "--client-certificate".to_owned(),
        file("crt", &certificate),
        "--client-key".to_owned(),
        file("key", &key),
    ]
}

#[test]
fn certificates_that_are_swapped_count_at_once_and_bad_ones_never() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let callers = directory.path().join("callers.toml");
    let staff = "[[caller]]\nname = \"staff\"\nscopes = [\"operate\"]\n\
                 spiffe = \"spiffe://prod.example/staff\"\n";
    fs::write(&callers, staff).unwrap();
    let (first, second) = (Authority::new(), Authority::new());
    let files = Swapped::new();
    files.swap("..first", &first.server(), &first.pem());
    let (certificate, key) = (files.path("tls.crt"), files.path("tls.key"));
    let authority = files.path("ca.crt");
    let flags = [
        "--tls-certificate",
        text(&certificate),
        "--tls-key",
        text(&key),
        "--tls-client-ca",
        text(&authority),
        "--callers",
        text(&callers),
    ];
    let daemon = Daemon::start(&data, &flags);
    let address = format!("https://{}", daemon.address);
    let list = |client: &[String]| {
        let client: Vec<&str> = client.iter().map(String::as_str).collect();
        keys(&[&["list", "--address", &address][..], &client].concat())
    };
    let by_first = client(directory.path(), "first", &first, &first);
    let by_second = client(directory.path(), "second", &second, &second);
    let mixed = client(directory.path(), "mixed", &first, &second);
    printed(&list(&by_first));
    refused(&list(&by_second));
    refused(&list(&mixed));
    refused(&list(&by_first[..2]));
    let without = format!("http://{}", daemon.address);
    let operator = data.join("operator.key");
    refused(&keys(&[
        "list",
        "--address",
        &without,
        "--key-file",
        text(&operator),
    ]));

    files.swap("..second", &second.server(), &second.pem());
    until("the new files count", || list(&by_second).status.success());
    refused(&list(&by_first));

    // A certificate without its key, and no certificate at all, leave what was there.
    let (certificate, _) = first.server();
    files.swap("..third", &(certificate, first.server().1), &first.pem());
    daemon.wait_for("the files of TLS can't be used; the ones before stay");
    printed(&list(&by_second));
    files.swap("..fourth", &("none".to_owned(), "none".to_owned()), "none");
    daemon.wait_for("the files of TLS can't be used; the ones before stay");
    printed(&list(&by_second));
    files.swap("..fifth", &first.server(), &first.pem());
    until("the old files count again", || {
        list(&by_first).status.success()
    });
    daemon.stop();
}

#[test]
fn files_that_are_wrong_at_the_start_are_told_with_their_faults() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(
        path("callers.toml"),
        "[[caller]]\nname = \"operator\"\nuid = 1\n",
    )
    .unwrap();
    fs::write(path("empty.pem"), "").unwrap();
    let start = |flags: &[&str]| {
        let mut child = roster()
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(path("data"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        let mut log = child.stderr.take().unwrap();
        log.read_to_string(&mut told).unwrap();
        (child.wait().unwrap().code(), told)
    };
    let callers = path("callers.toml");
    let (code, told) = start(&["--callers", text(&callers)]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("callers.toml:1:1: a caller has no `scopes`; add it"),
        "{told}"
    );
    assert!(
        told.contains("callers.toml:2:8: `operator` is the daemon's own name"),
        "{told}"
    );
    let missing = path("missing.toml");
    let (code, told) = start(&["--callers", text(&missing)]);
    assert_eq!(code, Some(1));
    assert!(told.contains("roster: can't read `"), "{told}");
    let empty = path("empty.pem");
    let tls = ["--tls-certificate", text(&empty), "--tls-key", text(&empty)];
    let (code, told) = start(&tls);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("the certificate file holds no certificate"),
        "{told}"
    );
    let (code, told) = start(&tls[..2]);
    assert_eq!(code, Some(2), "{told}");
    assert!(!path("data").join("lock").exists(), "nothing was begun");
}
