//! The program: reads the command line, does what it says, ends with an exit code.
//!
//! Exit codes: 0 done, 1 something is wrong with what was given, 2 the command
//! line is wrong, 3 the store can't be opened, 4 the store has lost or damaged
//! acknowledged history.

use std::process::ExitCode;

use clap::Parser;
use roster::app::{self, App, AppError};
use roster::catalogs;
use roster::config::{CatalogCommand, Command, CommandLine, Settings};
use roster::store::sled::OpenError;
use roster::telemetry;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_FAULT: u8 = 1;
const EXIT_STORE: u8 = 3;
const EXIT_LOST: u8 = 4;

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(settings) => serve(settings),
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

fn serve(settings: Settings) -> ExitCode {
    if let Err(problem) = telemetry::start(settings.log_format, &settings.log) {
        eprintln!("roster: the log settings are wrong: {problem}");
        return ExitCode::from(EXIT_FAULT);
    }
    // The data directory holds names and addresses: nobody else on the machine may read it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
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
    let app = App::start(settings).await?;
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
        AppError::Open(
            OpenError::Damaged { .. } | OpenError::Lost { .. } | OpenError::Diverged(_),
        ) => EXIT_LOST,
        AppError::Open(_) => EXIT_STORE,
        _ => EXIT_FAULT,
    };
    ExitCode::from(code)
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
