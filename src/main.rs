//! The program: reads the command line, does what it says, ends with an exit code.
//!
//! Exit codes: 0 done, 1 something is wrong with what was given, 2 the command
//! line is wrong, 3 the store can't be opened, such as while another process has
//! it, 4 the store has lost or damaged acknowledged history, 5 the answer to a check is
//! no.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{self, ExitCode};

use clap::Parser;
use roster::app::{self, App, AppError};
use roster::cli::exit::{FAULT, fail};
use roster::config::{Command, CommandLine, Settings};
use roster::{cli, telemetry};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From which memory budget on, in MiB, speed counts for more than the last MiB: the
/// process takes huge pages, which make memory faster to reach and each take two MiB
/// where a few bytes are needed, and the allocator keeps for a while what is let go.
const AMPLE_BUDGET_MIB: u64 = 1_024;
/// How the allocator is told for how many milliseconds it keeps what is let go.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// How many threads may wait for the disk at a time. Each keeps memory of its own for what
/// it reads, so a thread for everybody who waits would cost more than the waiting.
const BLOCKING_THREADS: usize = 6;

fn main() -> ExitCode {
    if let Err(problem) = app::arm_failpoint() {
        eprintln!("roster: {problem}");
        return ExitCode::from(FAULT);
    }
    match CommandLine::parse().command {
        Command::Serve(settings) => serve(*settings),
        Command::Backup(settings) => cli::backup::back_up(&settings),
        Command::Check(settings) => cli::check::run(&settings),
        Command::Explain(settings) => cli::explain::run(&settings),
        Command::Catalog(command) => cli::catalog::run(&command),
        Command::Export(settings) => cli::export::export(&settings),
        Command::Import(settings) => cli::export::import(&settings),
        Command::Restore(settings) => cli::backup::restore(&settings),
        Command::Status(settings) => cli::status::run(&settings),
        Command::Keys(command) => cli::keys::run(&command),
        Command::Verify(settings) => cli::verify::run(&settings),
    }
}

fn serve(settings: Settings) -> ExitCode {
    // Until the end of this: what was logged last is written then.
    let _lines = match telemetry::start(settings.log_format, &settings.log) {
        Ok(lines) => lines,
        Err(problem) => {
            eprintln!("roster: the log settings are wrong: {problem}");
            return ExitCode::from(FAULT);
        }
    };
    if settings.memory_budget_mib < AMPLE_BUDGET_MIB {
        be_thrifty();
    }
    // The data directory holds names and addresses: nobody else on the machine may read it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .on_thread_start(app::stand_back)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("roster: no runtime: {error}");
            return ExitCode::from(FAULT);
        }
    };
    match runtime.block_on(run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Lets the process take less memory, or more than it should where that can't be had: it
/// is as correct.
fn be_thrifty() {
    if env::var_os(PURGE_DELAY).is_none() {
        // The allocator reads its settings when a process begins, so this one begins again.
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        if let Ok(program) = env::current_exe() {
            let mut again = process::Command::new(program);
            let error = again
                .arg0(name)
                .args(arguments)
                .env(PURGE_DELAY, "0")
                .exec();
            tracing::debug!(%error, "the allocator keeps what is let go");
        }
    }
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay allowed");
    }
}

async fn run(settings: Settings) -> Result<(), AppError> {
    let stop = stop_signal();
    // Before anything that takes its time, on a thread that never stands back.
    let probes = app::operation::probes(&settings.operation)?;
    let traces = app::operation::traces(&settings.operation)?;
    // On a thread of the runtime, so that the store's own threads stand back as those do.
    // Serving is begun from this one, which doesn't.
    let app = match tokio::spawn(App::start(settings, probes)).await {
        Ok(started) => started?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    println!("{}", app.greeting());
    app.serve(stop).await?;
    if let Some(traces) = traces {
        traces.end().await;
    }
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
