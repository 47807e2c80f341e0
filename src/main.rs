//! The program: reads the command line, does what it says, ends with an exit code.
//!
//! Exit codes: 0 done, 1 something is wrong with what was given, 2 the command
//! line is wrong, 3 the store can't be opened, such as while another process has
//! it, 4 the store has lost or damaged acknowledged history.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use roster::app::{self, App, AppError};
use roster::catalogs;
use roster::config::{CatalogCommand, Command, CommandLine, Output, Settings, VerifySettings};
use roster::store::sled::{OpenError, VerifyError, VerifyReport, verify_directory};
use roster::telemetry;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_FAULT: u8 = 1;
const EXIT_STORE: u8 = 3;
const EXIT_LOST: u8 = 4;
/// From which memory budget on, in MiB, the process takes huge pages: they make memory
/// faster to reach, and each takes two MiB where a few bytes are needed.
const BUDGET_FOR_HUGE_PAGES_MIB: u64 = 1_024;
/// How often a command that takes long says that it still works, in seconds.
const PROGRESS_SECONDS: u64 = 5;

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(settings) => serve(*settings),
        Command::Catalog(CatalogCommand::Check { folders }) => {
            let faulty = folders.iter().filter(|folder| !check(folder)).count();
            if faulty == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_FAULT)
            }
        }
        Command::Catalog(CatalogCommand::Schema { folder }) => match compile(&folder) {
            Ok(compiled) => {
                println!("{}", compiled.schema_text());
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        Command::Verify(settings) => verify(&settings),
    }
}

fn check(folder: &std::path::Path) -> bool {
    match compile(folder) {
        Ok(compiled) => {
            let catalog = compiled.catalog();
            println!(
                "{}: {} is a catalog of {} actions, {} roles, {} plans",
                folder.display(),
                catalog.title,
                catalog.actions.len(),
                catalog.roles.len(),
                catalog.plans.len()
            );
            true
        }
        Err(AppError::Cedar { problem, .. }) => {
            eprintln!("{problem}");
            false
        }
        Err(error) => {
            eprintln!("{}", told(&error));
            false
        }
    }
}

fn compile(folder: &std::path::Path) -> Result<roster::engine::CompiledCatalog, AppError> {
    let base = catalogs::base().map_err(AppError::Catalog)?;
    app::compiled(catalogs::load_folder(&base, folder).map_err(AppError::Catalog)?)
}

fn verify(settings: &VerifySettings) -> ExitCode {
    let directory = &settings.data_dir;
    if !directory.join("journal").is_dir() {
        let problem = format!(
            "`{}` is no data directory: it has no `journal`",
            directory.display()
        );
        return unverified(settings.output, &problem, EXIT_FAULT);
    }
    let (done, waiting) = channel::<()>();
    let progress = thread::spawn(move || {
        let mut seconds = 0;
        let pause = Duration::from_secs(PROGRESS_SECONDS);
        while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            seconds += PROGRESS_SECONDS;
            eprintln!("roster: still checking after {seconds} seconds");
        }
    });
    let verified = verify_directory(directory, &settings.scratch);
    drop(done);
    // All it could fail at is writing to standard error.
    drop(progress.join());
    match verified {
        Ok(report) => {
            println!("{}", described(&report, settings.output));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = match &error {
                VerifyError::Open(error) => code_of(error),
                VerifyError::Database { .. } => EXIT_FAULT,
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

fn described(report: &VerifyReport, output: Output) -> String {
    let chain = report.chain().to_string();
    if output == Output::Json {
        return serde_json::json!({
            "ok": true,
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

fn serve(settings: Settings) -> ExitCode {
    if let Err(problem) = telemetry::start(settings.log_format, &settings.log) {
        eprintln!("roster: the log settings are wrong: {problem}");
        return ExitCode::from(EXIT_FAULT);
    }
    if settings.memory_budget_mib < BUDGET_FOR_HUGE_PAGES_MIB
        // Without it the process takes more than it should, and is as correct.
        && let Err(error) = rustix::thread::disable_transparent_huge_pages(true)
    {
        tracing::debug!(%error, "huge pages stay allowed");
    }
    // The data directory holds names and addresses: nobody else on the machine may read it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(app::stand_back)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("roster: no runtime: {error}");
            return ExitCode::from(EXIT_FAULT);
        }
    };
    match runtime.block_on(run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(settings: Settings) -> Result<(), AppError> {
    let stop = stop_signal();
    // On a thread of the runtime, so that the store's own threads stand back as those do.
    // Serving is begun from this one, which doesn't.
    let app = match tokio::spawn(App::start(settings)).await {
        Ok(started) => started?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    println!("{}", app.greeting());
    app.serve(stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Completes when the process is asked to stop.
fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ => std::future::pending().await,
        }
    }
}

fn fail(error: &AppError) -> ExitCode {
    eprintln!("roster: {}", told(error));
    let code = match error {
        AppError::Open(error) => code_of(error),
        _ => EXIT_FAULT,
    };
    ExitCode::from(code)
}

fn code_of(error: &OpenError) -> u8 {
    match error {
        OpenError::Damaged { .. } | OpenError::Lost { .. } | OpenError::Diverged(_) => EXIT_LOST,
        OpenError::InUse(_) | OpenError::Io { .. } | OpenError::Refused { .. } => EXIT_STORE,
    }
}

/// An error with everything that caused it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
