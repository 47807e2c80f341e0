//! Settings: every fault says what is wrong and ends with its exit code, and the
//! README's table is what `--help` says.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;

use clap::CommandFactory;
use roster::config::CommandLine;

use super::readme::readme;
use super::{Daemon, roster, run, serve};

#[test]
fn a_faulty_setting_says_what_is_wrong_and_ends_with_an_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let catalog = text(directory.path());
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/oec-sh");

    let cases: [(&[&str], i32, &str); 16] = [
        (&[], 2, "--data-dir <DIR>"),
        (&["--data-dir"], 2, "--data-dir <DIR>"),
        (
            &["--listen", "nonsense"],
            2,
            "invalid value 'nonsense' for '--listen <ADDR>'",
        ),
        (
            &["--listen", "127.0.0.1"],
            2,
            "invalid value '127.0.0.1' for '--listen <ADDR>'",
        ),
        (
            &["--drain-seconds=-1"],
            2,
            "invalid value '-1' for '--drain-seconds",
        ),
        (
            &["--lock-wait-seconds", "soon"],
            2,
            "invalid value 'soon' for '--lock-wait-seconds",
        ),
        (
            &["--minimum-free-mib", "1.5"],
            2,
            "invalid value '1.5' for '--minimum-free-mib",
        ),
        (&["--log-format", "xml"], 2, "[possible values: text, json]"),
        (
            &["--no-such-flag"],
            2,
            "unexpected argument '--no-such-flag'",
        ),
        (
            &["--log", "roster=loud"],
            1,
            "roster: the log settings are wrong",
        ),
        (
            &["--data-dir", &text(&file.join("below"))],
            1,
            "roster: can't create `",
        ),
        (
            &["--listen", &taken],
            1,
            "roster: can't listen on `127.0.0.1:",
        ),
        (
            &["--listen-unix", &text(&file)],
            1,
            "is there already and is no socket; name another path",
        ),
        (
            &["--serving-threads", "0"],
            2,
            "invalid value '0' for '--serving-threads",
        ),
        (&["--catalogs", &catalog], 1, "catalog.toml"),
        (
            &["--catalogs", shipped],
            1,
            "two catalogs are named `oec-sh`",
        ),
    ];
    for (flags, code, message) in cases {
        let mut command = roster();
        command.arg("serve").args(flags);
        if code == 1 && !flags.contains(&"--data-dir") {
            command.arg("--data-dir").arg(&data);
        }
        if code == 2 && !flags.is_empty() && flags != ["--data-dir"] {
            command.arg("--data-dir").arg(&data);
        }
        let ended = run(&mut command);
        assert_eq!(ended.code(), Some(code), "{flags:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(message),
            "{flags:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{flags:?}");
    }
}

#[test]
fn a_variable_sets_what_its_flag_sets_and_the_flag_wins() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = serve(directory.path());
    command
        .env("ROSTER_DRAIN_SECONDS", "soon")
        .env("ROSTER_LOG_FORMAT", "json");
    let ended = run(&mut command);
    assert_eq!(ended.code(), Some(2));
    assert!(ended.stderr.contains("'soon'"), "{}", ended.stderr);

    command.env("ROSTER_DRAIN_SECONDS", "7");
    command.env("ROSTER_LOCK_WAIT_SECONDS", "7");
    command.args(["--lock-wait-seconds", "8"]);
    let process = super::Process::spawn(&mut command);
    assert_eq!(process.line("ROSTER_DRAIN_SECONDS=").as_deref(), Some("7"));
    assert_eq!(
        process.line("ROSTER_LOCK_WAIT_SECONDS=").as_deref(),
        Some("8")
    );
    assert_eq!(process.line("ROSTER_LOG_FORMAT=").as_deref(), Some("json"));
    process.terminate();
    assert_eq!(process.ended().code(), Some(0));
}

#[test]
fn every_setting_in_effect_is_printed_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let printed = Daemon::start(directory.path()).stop().stdout;
    for setting in serve_arguments() {
        let line = format!("\n{}=", setting.variable);
        let printed = format!("\n{printed}");
        assert!(printed.contains(&line), "{line} is not in {printed}");
    }
}

#[test]
fn the_table_of_settings_in_the_readme_is_what_the_program_says() {
    let told = run(roster().args(["serve", "--help"]));
    assert_eq!(told.code(), Some(0));
    let mut expected = Vec::new();
    for setting in serve_arguments() {
        assert!(told.stdout.contains(&setting.flag), "{}", setting.flag);
        assert!(told.stdout.contains(&setting.variable), "{}", setting.flag);
        expected.push(format!(
            "| `{}` | `{}` | {} | {} |",
            setting.flag, setting.variable, setting.default, setting.help
        ));
    }
    let readme = readme();
    let table: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .collect();
    assert_eq!(table, expected, "write:\n{}", expected.join("\n"));
}

struct Setting {
    flag: String,
    variable: String,
    default: String,
    help: String,
}

/// The settings of `roster serve`, in the order of its help.
fn serve_arguments() -> Vec<Setting> {
    let mut command = CommandLine::command();
    command.build();
    let serve = command.find_subcommand("serve").expect("a command");
    serve
        .get_arguments()
        .filter(|argument| argument.get_env().is_some())
        .map(|argument| {
            let text = |text: &OsStr| text.to_string_lossy().into_owned();
            let default: Vec<String> = argument
                .get_default_values()
                .iter()
                .map(|value| format!("`{}`", text(value)))
                .collect();
            let help = argument.get_help().map(ToString::to_string);
            Setting {
                flag: format!("--{}", argument.get_long().expect("a flag")),
                variable: text(argument.get_env().expect("a variable")),
                default: match default.join(", ") {
                    none if none.is_empty() && argument.is_required_set() => "required".to_owned(),
                    none if none.is_empty() => "none".to_owned(),
                    given => given,
                },
                help: help.unwrap_or_default().replace('\n', " "),
            }
        })
        .collect()
}
