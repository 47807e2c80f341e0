//! `roster verify`: whether a data directory that no daemon has open is whole.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::exit::{FAULT, code_of, fail, told};
use crate::app::all_offered;
use crate::config::{Output, VerifySettings};
use crate::store::sled::{VerifyError, VerifyReport, verify_and_show};

/// How often a command that takes long says that it still works, in seconds.
const PROGRESS_SECONDS: u64 = 5;

/// Checks the directory and says what was found.
pub fn run(settings: &VerifySettings) -> ExitCode {
    let directory = &settings.data_dir;
    if !directory.join("journal").is_dir() {
        let problem = format!(
            "`{}` is no data directory: it has no `journal`",
            directory.display()
        );
        return unverified(settings.output, &problem, FAULT);
    }
    let catalogs = match all_offered(&settings.catalogs) {
        Ok(catalogs) => catalogs,
        Err(error) => return fail(&error),
    };
    let (done, waiting) = channel::<()>();
    let progress = thread::spawn(move || {
        let mut seconds = 0;
        let pause = Duration::from_secs(PROGRESS_SECONDS);
        while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            seconds += PROGRESS_SECONDS;
            eprintln!("roster: still checking after {seconds} seconds");
        }
    });
    let mut dangling = Vec::new();
    let verified = verify_and_show(directory, &settings.scratch, |organization| {
        let lives_on = &organization.profile.catalog;
        let catalog = catalogs.iter().find(|catalog| catalog.id == *lives_on);
        let found = organization.dangling(catalog).into_iter();
        dangling.extend(found.map(|found| {
            let (id, kind) = (organization.id(), found.kind);
            let (named, names) = (found.id, found.names);
            format!("in organization `{id}`, {kind} `{named}` names {names}, which is not there")
        }));
    });
    drop(done);
    // All it could fail at is writing to standard error.
    drop(progress.join());
    match verified {
        Ok(report) => {
            println!("{}", described(&report, &dangling, settings.output));
            for what in &dangling {
                eprintln!("roster: {what}");
            }
            match dangling.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(FAULT),
            }
        }
        Err(error) => {
            let code = match &error {
                VerifyError::Open(error) => code_of(error),
                VerifyError::Database { .. } => FAULT,
            };
            unverified(settings.output, &told(&error), code)
        }
    }
}

fn unverified(output: Output, problem: &str, code: u8) -> ExitCode {
    if output == Output::Json {
        println!("{}", serde_json::json!({ "ok": false, "problem": problem }));
    }
    eprintln!("roster: {problem}");
    ExitCode::from(code)
}

fn described(report: &VerifyReport, dangling: &[String], output: Output) -> String {
    let chain = report.chain().to_string();
    if output == Output::Json {
        return serde_json::json!({
            "ok": dangling.is_empty(),
            "dangling": dangling,
            "commits": report.commits(),
            "organizations": report.organizations,
            "records": report.records,
            "events": report.events,
            "segments": report.segments,
            "unapplied": report.unapplied,
            "torn_bytes": report.torn_bytes,
            "chain": chain,
        })
        .to_string();
    }
    let mut lines = vec![format!(
        "{} commits, {} organizations, {} records, {} events check out",
        report.commits(),
        report.organizations,
        report.records,
        report.events
    )];
    if report.unapplied > 0 {
        let count = report.unapplied;
        lines.push(format!(
            "the next start brings {count} commits into the database"
        ));
    }
    if report.torn_bytes > 0 {
        let count = report.torn_bytes;
        lines.push(format!(
            "the next start cuts off {count} bytes of a write that was never acknowledged"
        ));
    }
    lines.push(format!("chain {chain}"));
    lines.join("\n")
}
