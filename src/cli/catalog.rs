//! `roster catalog`: what is wrong with a catalog, and the schema that it makes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::exit::{FAULT, fail, told};
use crate::app::{self, AppError};
use crate::catalogs;
use crate::config::CatalogCommand;
use crate::engine::CompiledCatalog;

/// Does what the command says.
pub fn run(command: &CatalogCommand) -> ExitCode {
    match command {
        CatalogCommand::Check { folders } => check_all(folders),
        CatalogCommand::Schema { folder } => match compile(folder) {
            Ok(compiled) => {
                println!("{}", compiled.schema_text());
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
    }
}

fn check_all(folders: &[PathBuf]) -> ExitCode {
    let faulty = folders.iter().filter(|folder| !check(folder)).count();
    if faulty == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAULT)
    }
}

fn check(folder: &Path) -> bool {
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

fn compile(folder: &Path) -> Result<CompiledCatalog, AppError> {
    let base = catalogs::base().map_err(AppError::Catalog)?;
    app::compiled(catalogs::load_folder(&base, folder).map_err(AppError::Catalog)?)
}
