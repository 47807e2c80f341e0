//! The first calls of the README, made as it says, with `buf` against the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Daemon, run};

/// The README.
pub fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("the README")
}

#[test]
fn the_first_calls_answer_what_the_readme_shows() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(&directory.path().join("data"), &["--example"]);
    let calls = calls();
    assert!(calls.len() >= 3, "the README shows too few calls");
    for (call, shown) in calls {
        let call_here = call.replace("127.0.0.1:7350", &daemon.address.to_string());
        assert_ne!(call_here, call, "a call of the usual address");
        let made = run(Command::new("bash")
            .args(["-c", &format!("set -euo pipefail\n{call_here}")])
            .env("PATH", path_with_buf())
            .current_dir(directory.path()));
        let answer: Value = serde_json::from_str(&made.stdout)
            .or_else(|_| serde_json::from_str(&made.stderr))
            .unwrap_or_else(|_| panic!("{call}\nsays {}{}", made.stdout, made.stderr));
        let shown: Value = serde_json::from_str(&shown).expect("JSON is shown");
        assert!(is_as_shown(&answer, &shown), "{call}\n{answer:#}");
    }
    daemon.stop();
}

/// Whether an answer is what is shown; `…` stands for a text that differs each time.
fn is_as_shown(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::String(_), Value::String(any)) if any == "…" => true,
        (Value::Array(answer), Value::Array(shown)) => {
            let mut pairs = answer.iter().zip(shown);
            answer.len() == shown.len() && pairs.all(|(one, other)| is_as_shown(one, other))
        }
        (Value::Object(answer), Value::Object(shown)) => {
            let same = |(name, value)| {
                let other = shown.get(name);
                other.is_some_and(|other| is_as_shown(value, other))
            };
            answer.len() == shown.len() && answer.iter().all(same)
        }
        _ => answer == shown,
    }
}

/// Each call of the README, with the answer shown below it: `sh` blocks that begin with
/// `buf curl`, or use the function `call` that an earlier block defines.
fn calls() -> Vec<(String, String)> {
    let readme = readme();
    let mut blocks = readme.split("\n```").skip(1).step_by(2).peekable();
    let mut function = String::new();
    let mut calls = Vec::new();
    while let Some(block) = blocks.next() {
        let Some(call) = block.strip_prefix("sh\n") else {
            continue;
        };
        if call.starts_with("call()") {
            function = call.to_owned();
            continue;
        }
        let by_function = call.starts_with("call ") || call.starts_with("ACTOR=");
        if !by_function && !call.starts_with("buf curl") {
            continue;
        }
        let answer = blocks.peek().and_then(|next| next.strip_prefix("json\n"));
        let answer = answer.unwrap_or_else(|| panic!("no answer is shown below {call}"));
        let call = if by_function {
            format!("{function}\n{call}")
        } else {
            call.to_owned()
        };
        calls.push((call, answer.to_owned()));
    }
    calls
}

/// `PATH`, with the folder that `tests/tools.sh` puts `buf` into before all others.
fn path_with_buf() -> std::ffi::OsString {
    let installed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node_modules/.bin/buf");
    let buf = std::env::var_os("ROSTER_BUF").map_or(installed, PathBuf::from);
    assert!(
        buf.is_file() && buf.ends_with("buf"),
        "`{}` is not there; run tests/tools.sh, which installs it, or say in ROSTER_BUF where buf is",
        buf.display()
    );
    let folder = buf.parent().expect("a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("a path")
}
