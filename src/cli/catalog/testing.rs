//! `roster catalog test`: a catalog held to its truth table, cell by cell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::cases::{self, Case, CaseFile, Expected};
use super::judging::{self, ORGANIZATION, OTHER, PROJECT, Principal};
use super::{compile, faults_of};
use crate::cli::exit::FAULT;
use crate::config::Output;
use crate::domain::catalog::{Action, Level, MEMBER_TYPE, ORGANIZATION_TYPE, PROJECT_TYPE};
use crate::engine::{CompiledCatalog, RawQuestion, Snapshot, Verdict};

/// The file of cases that a catalog's folder may have.
const OWN_CASES: &str = "tests.toml";
/// The id of a resource that Roster does not keep.
const THING: &str = "thing";

/// A cell that does not hold.
struct Failure {
    path: String,
    line: usize,
    action: String,
    resource_type: String,
    principal: String,
    plan: String,
    expected: Expected,
    actual: Verdict,
    reason: String,
}

/// What was found.
#[derive(Default)]
struct Report {
    /// Cells that were tried.
    cells: usize,
    failures: Vec<Failure>,
    /// What is wrong with the catalog or the cases, each with its place.
    faults: Vec<String>,
}

/// Tries every cell and says which do not hold.
pub fn run(folder: &Path, files: &[PathBuf], output: Output) -> ExitCode {
    let mut report = Report::default();
    match compile(folder) {
        Err(error) => report.faults = faults_of(&error),
        Ok(compiled) => {
            let compiled = Arc::new(compiled);
            let own = [folder.join(OWN_CASES)];
            let files = if files.is_empty() { &own } else { files };
            for path in files {
                match cases::read(path) {
                    Ok((text, file)) => {
                        Table::new(&compiled, path, &text, &file, &mut report).hold()
                    }
                    Err(fault) => report.faults.push(fault),
                }
            }
        }
    }
    match output {
        Output::Text => report.tell(),
        Output::Json => println!("{}", report.json()),
    }
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FAULT),
    }
}

/// One file of cases on a catalog.
struct Table<'a> {
    compiled: &'a Arc<CompiledCatalog>,
    path: String,
    text: &'a str,
    file: &'a CaseFile,
    principals: BTreeMap<String, Principal>,
    /// Organizations by plan and principal, made when they are first asked.
    seated: BTreeMap<(String, String), Option<Snapshot>>,
    report: &'a mut Report,
}

impl<'a> Table<'a> {
    fn new(
        compiled: &'a Arc<CompiledCatalog>,
        path: &Path,
        text: &'a str,
        file: &'a CaseFile,
        report: &'a mut Report,
    ) -> Self {
        let path = path.display().to_string();
        let mut principals = BTreeMap::from_iter(Principal::of_catalog(compiled.catalog()));
        for (name, holds) in &file.principals {
            let named = Principal::Member(holds.clone());
            if principals.insert(name.clone(), named).is_some() {
                let fault = format!("{path}:1: principal `{name}` is there already; rename it");
                report.faults.push(fault);
            }
        }
        Self {
            compiled,
            path,
            text,
            file,
            principals,
            seated: BTreeMap::new(),
            report,
        }
    }

    fn hold(mut self) {
        for spanned in &self.file.cases {
            let line = cases::line_of(self.text, spanned.span());
            if let Err(problem) = self.hold_case(spanned.get_ref(), line) {
                self.report
                    .faults
                    .push(format!("{}:{line}: {problem}", self.path));
            }
        }
    }

    fn hold_case(&mut self, case: &Case, line: usize) -> Result<(), String> {
        let catalog = Arc::clone(self.compiled.catalog());
        let Some((_, action)) = catalog.action(&case.action) else {
            return Err(format!("`{}` is no action of the catalog", case.action));
        };
        let resource_type = self.resource_type(case, action)?;
        let expected = self.expected(case)?;
        let plans = self.plans(case)?;
        for plan in &plans {
            for (name, expected) in &expected {
                let found = self.judge(case, action, &resource_type, plan, name)?;
                let Some((actual, reason)) = found else {
                    continue;
                };
                self.report.cells = self.report.cells.saturating_add(1);
                let holds = match expected {
                    Expected::Allow => actual == Verdict::Allow,
                    Expected::Deny => actual == Verdict::Deny,
                };
                if !holds {
                    self.report.failures.push(Failure {
                        path: self.path.clone(),
                        line,
                        action: case.action.clone(),
                        resource_type: resource_type.clone(),
                        principal: name.clone(),
                        plan: plan.clone(),
                        expected: *expected,
                        actual,
                        reason,
                    });
                }
            }
        }
        Ok(())
    }

    fn resource_type(&self, case: &Case, action: &Action) -> Result<String, String> {
        let catalog = self.compiled.catalog();
        let types: Vec<&str> = action
            .resource_types
            .iter()
            .filter_map(|index| catalog.resource_types.get(usize::from(index.0)))
            .map(|found| found.id.as_str())
            .collect();
        let named = types.join("`, `");
        match (&case.on, types.as_slice()) {
            (Some(on), _) if types.contains(&on.as_str()) => Ok(on.clone()),
            (Some(on), _) => Err(format!(
                "`{}` is asked of `{named}`, not of `{on}`",
                action.id
            )),
            (None, [only]) => Ok((*only).to_owned()),
            (None, _) => Err(format!("say `on`: `{}` is asked of `{named}`", action.id)),
        }
    }

    /// What is expected of whom.
    fn expected(&self, case: &Case) -> Result<BTreeMap<String, Expected>, String> {
        let mut expected = BTreeMap::new();
        let named = [(Expected::Allow, &case.allow), (Expected::Deny, &case.deny)];
        for (answer, names) in named {
            for name in names {
                if !self.principals.contains_key(name) {
                    let all: Vec<&str> = self.principals.keys().map(String::as_str).collect();
                    let all = all.join("`, `");
                    return Err(format!("`{name}` is no principal; there are `{all}`"));
                }
                if expected.insert(name.clone(), answer).is_some() {
                    return Err(format!("`{name}` is named twice"));
                }
            }
        }
        if let Some(others) = case.others {
            for (name, principal) in &self.principals {
                // Who is no member is no `Member` that anything could be asked of.
                let is_nobody =
                    case.of.as_deref() == Some("self") && matches!(principal, Principal::Stranger);
                if !is_nobody {
                    expected.entry(name.clone()).or_insert(others);
                }
            }
        }
        match expected.is_empty() {
            false => Ok(expected),
            true => Err(
                "expects nothing of anybody; name principals in `allow` or `deny`, or say `others`"
                    .to_owned(),
            ),
        }
    }

    fn plans(&self, case: &Case) -> Result<Vec<String>, String> {
        let catalog = self.compiled.catalog();
        if case.plans.is_empty() {
            return Ok(catalog
                .plans
                .iter()
                .map(|plan| plan.id.to_string())
                .collect());
        }
        match case.plans.iter().find(|id| catalog.plan(id).is_none()) {
            Some(unknown) => Err(format!("`{unknown}` is no plan of the catalog")),
            None => Ok(case.plans.clone()),
        }
    }

    /// What the catalog answers; nothing where the principal itself is at fault, which is
    /// told once.
    fn judge(
        &mut self,
        case: &Case,
        action: &Action,
        resource_type: &str,
        plan: &str,
        name: &str,
    ) -> Result<Option<(Verdict, String)>, String> {
        let Some(principal) = self.principals.get(name) else {
            return Ok(None);
        };
        let key = (plan.to_owned(), name.to_owned());
        if !self.seated.contains_key(&key) {
            let seated = judging::seat(self.compiled, plan, principal);
            if let Err(problem) = &seated {
                let fault = format!("{}:1: principal `{name}`: {problem}", self.path);
                self.report.faults.push(fault);
            }
            self.seated.insert(key.clone(), seated.ok());
        }
        let Some(Some(snapshot)) = self.seated.get(&key) else {
            return Ok(None);
        };
        let id = match (resource_type, case.of.as_deref()) {
            (MEMBER_TYPE, Some("self")) => principal.user(),
            (MEMBER_TYPE, Some("owner")) => principal.owner(),
            (MEMBER_TYPE, None | Some("other")) => OTHER,
            (_, Some(of)) => {
                return Err(format!(
                    "`of = \"{of}\"` is for a `{MEMBER_TYPE}`: `self`, `owner` or `other`"
                ));
            }
            (ORGANIZATION_TYPE, None) => ORGANIZATION,
            (PROJECT_TYPE, None) => PROJECT,
            (_, None) => THING,
        };
        let kept = [MEMBER_TYPE, ORGANIZATION_TYPE, PROJECT_TYPE].contains(&resource_type);
        let has_project = self.compiled.catalog().project_word.is_some();
        let inside = match case.in_project {
            Some(inside) => inside,
            None => action.level == Level::Project && has_project && !kept,
        };
        let attributes = cases::record(&case.attributes);
        let context = cases::record(&case.context);
        let asked = RawQuestion {
            principal_type: "User",
            principal_id: principal.user(),
            action: &case.action,
            resource_type,
            resource_id: id,
            project: if inside { PROJECT } else { "" },
            owner: if case.own { principal.user() } else { "" },
            attributes: (!attributes.is_empty()).then_some(&attributes),
            context: (!context.is_empty()).then_some(&context),
            ..RawQuestion::default()
        };
        judging::judge(snapshot, asked).map(Some)
    }
}

impl Failure {
    fn line(&self) -> String {
        let actual = word(self.actual);
        format!(
            "{}:{}: `{}` on `{}` by `{}` on plan `{}` is {actual}, not {}: {}",
            self.path,
            self.line,
            self.action,
            self.resource_type,
            self.principal,
            self.plan,
            self.expected.word(),
            self.reason
        )
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => Expected::Allow.word(),
        Verdict::Deny => Expected::Deny.word(),
    }
}

impl Report {
    fn is_good(&self) -> bool {
        self.failures.is_empty() && self.faults.is_empty()
    }

    fn tell(&self) {
        for fault in &self.faults {
            eprintln!("{fault}");
        }
        for failure in &self.failures {
            eprintln!("{}", failure.line());
        }
        let (cells, failed) = (self.cells, self.failures.len());
        match failed {
            0 => println!("{cells} cells hold"),
            _ => println!("{failed} of {cells} cells do not hold"),
        }
    }

    fn json(&self) -> serde_json::Value {
        let failures: Vec<_> = self
            .failures
            .iter()
            .map(|failure| {
                json!({
                    "file": failure.path,
                    "line": failure.line,
                    "action": failure.action,
                    "resource_type": failure.resource_type,
                    "principal": failure.principal,
                    "plan": failure.plan,
                    "expected": failure.expected.word(),
                    "actual": word(failure.actual),
                    "reason": failure.reason,
                })
            })
            .collect();
        json!({
            "ok": self.is_good(),
            "cells": self.cells,
            "failures": failures,
            "faults": self.faults,
        })
    }
}
