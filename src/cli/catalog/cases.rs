//! A file of cases: who may do what, as data. `policies/README.md` describes the form.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::domain::value::{Record, Value};

/// A file of cases as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// Principals besides those that every catalog has.
    #[serde(default)]
    pub principals: BTreeMap<String, Holds>,
    /// The rows of the table.
    #[serde(default)]
    pub cases: Vec<Spanned<Case>>,
}

/// What a principal holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// Roles on the organization.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Roles on the project.
    #[serde(default)]
    pub project_roles: Vec<String>,
    /// Roles that replace all of that in the project.
    #[serde(default, rename = "override")]
    pub overriding: Option<Vec<String>>,
    /// Whether the membership is suspended.
    #[serde(default)]
    pub suspended: bool,
}

/// One action on one kind of thing, and who may.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The action.
    pub action: String,
    /// The type of resource; may be left out where the action has only one.
    pub on: Option<String>,
    /// Whether the principal owns the resource.
    #[serde(default)]
    pub own: bool,
    /// Whether the resource lies in the project; if nothing is said, it does where the
    /// action is one of projects.
    pub in_project: Option<bool>,
    /// For a `Member`: `self`, `owner` or `other`.
    pub of: Option<String>,
    /// What else is said of the resource.
    #[serde(default)]
    pub attributes: BTreeMap<String, toml::Value>,
    /// The circumstances.
    #[serde(default)]
    pub context: BTreeMap<String, toml::Value>,
    /// The plans that it holds on; all if none is named.
    #[serde(default)]
    pub plans: Vec<String>,
    /// Who may.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Who may not.
    #[serde(default)]
    pub deny: Vec<String>,
    /// What holds for everybody else in the table; if nothing is said, nothing is.
    pub others: Option<Expected>,
}

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// That it is allowed.
    Allow,
    /// That it is denied.
    Deny,
}

impl Expected {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        }
    }
}

/// The file, or what is wrong with it, with its place.
pub fn read(path: &Path) -> Result<(String, CaseFile), String> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{shown}:1: can't be read as a file of cases: {error}"))?;
    match toml::from_str::<CaseFile>(&text) {
        Ok(file) if file.cases.is_empty() => Err(format!("{shown}:1: has no `[[cases]]`")),
        Ok(file) => Ok((text, file)),
        Err(fault) => {
            let line = line_of(&text, fault.span().unwrap_or_default());
            Err(format!("{shown}:{line}: {}", fault.message()))
        }
    }
}

/// The line, from 1, on which a range of bytes begins.
pub fn line_of(text: &str, span: Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or(text);
    before.matches('\n').count().saturating_add(1)
}

/// Attributes as a request gives them.
pub fn record(given: &BTreeMap<String, toml::Value>) -> Record {
    let members = given.iter();
    members
        .map(|(name, member)| (name.clone(), value(member)))
        .collect()
}

fn value(given: &toml::Value) -> Value {
    match given {
        toml::Value::Boolean(truth) => Value::Boolean(*truth),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a request has numbers as JSON has them"
        )]
        toml::Value::Integer(number) => Value::Number(*number as f64),
        toml::Value::Float(number) => Value::Number(*number),
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Datetime(moment) => Value::Text(moment.to_string()),
        toml::Value::Array(items) => Value::List(items.iter().map(value).collect()),
        toml::Value::Table(members) => Value::Record(
            members
                .iter()
                .map(|(name, member)| (name.clone(), value(member)))
                .collect(),
        ),
    }
}
