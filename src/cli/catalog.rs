//! `roster catalog`: what is wrong with a catalog, the schema that it makes, and whether
//! it says what its truth table says.

mod cases;
mod judging;
mod testing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::exit::{FAULT, fail, told};
use crate::app::{self, AppError};
use crate::catalogs;
use crate::config::{CatalogCommand, Output};
use crate::engine::CompiledCatalog;

/// Does what the command says.
pub fn run(command: &CatalogCommand) -> ExitCode {
    match command {
        CatalogCommand::Check { folders, output } => check_all(folders, *output),
        CatalogCommand::Schema { folder } => match compile(folder) {
            Ok(compiled) => {
                println!("{}", compiled.schema_text());
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        CatalogCommand::Test {
            folder,
            cases,
            output,
        } => testing::run(folder, cases, *output),
    }
}

fn check_all(folders: &[PathBuf], output: Output) -> ExitCode {
    let mut catalogs = Vec::new();
    let mut faulty = false;
    for folder in folders {
        let (sound, described) = check(folder, output);
        faulty |= !sound;
        catalogs.push(described);
    }
    if output == Output::Json {
        println!("{}", json!({ "ok": !faulty, "catalogs": catalogs }));
    }
    match faulty {
        false => ExitCode::SUCCESS,
        true => ExitCode::from(FAULT),
    }
}

/// Whether a catalog is sound, and what is known of it; said at once to people.
fn check(folder: &Path, output: Output) -> (bool, Json) {
    let shown = folder.display().to_string();
    match compile(folder) {
        Ok(compiled) => {
            let catalog = compiled.catalog();
            let (actions, roles, plans) = (
                catalog.actions.len(),
                catalog.roles.len(),
                catalog.plans.len(),
            );
            if output == Output::Text {
                println!(
                    "{shown}: {} is a catalog of {actions} actions, {roles} roles, {plans} plans",
                    catalog.title,
                );
            }
            let described = json!({
                "folder": shown, "ok": true, "title": catalog.title,
                "actions": actions, "roles": roles, "plans": plans,
            });
            (true, described)
        }
        Err(error) => {
            let faults = faults_of(&error);
            for fault in &faults {
                eprintln!("{fault}");
            }
            (
                false,
                json!({ "folder": shown, "ok": false, "faults": faults }),
            )
        }
    }
}

/// Everything that is wrong with a catalog, each with its place.
fn faults_of(error: &AppError) -> Vec<String> {
    match error {
        AppError::Catalog(faults) => faults.iter().map(ToString::to_string).collect(),
        AppError::Cedar { problem, .. } => problem.to_string().lines().map(str::to_owned).collect(),
        other => vec![told(other)],
    }
}

fn compile(folder: &Path) -> Result<CompiledCatalog, AppError> {
    let base = catalogs::base().map_err(AppError::Catalog)?;
    app::compiled(catalogs::load_folder(&base, folder).map_err(AppError::Catalog)?)
}
