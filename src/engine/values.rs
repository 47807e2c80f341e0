//! From what a request says to Cedar values, checked against what the catalog declares.
//!
//! Every fault is reported, each with the path of the field it is in.

use cedar_policy::{Context, RestrictedExpression};

use super::vocabulary;
use crate::domain::identifiers::identifier_fault;
use crate::domain::refusal::{Fault, MAX_VIOLATIONS, Violation, keep_violation};
use crate::domain::value::{Attribute, Record, Value, ValueType};

/// What conversion finds along the way.
#[derive(Default)]
pub(super) struct Findings {
    /// Everything that is wrong.
    pub(super) violations: Vec<Violation>,
    /// Users that values name.
    pub(super) users: Vec<String>,
}

impl Findings {
    /// Notes a fault, if there is room.
    pub(super) fn fault(&mut self, violation: Violation) {
        keep_violation(&mut self.violations, violation);
    }
}

/// Names with their Cedar values.
pub(super) type Pairs = Vec<(String, RestrictedExpression)>;

/// Numbers beyond this are not exact in JSON.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;
/// The deepest nesting of lists and records.
const MAX_DEPTH: usize = 16;

/// Checks `given` against `declared`; faults go to `findings`.
pub(super) fn convert(
    declared: &[Attribute],
    given: Option<&Record>,
    field: &str,
    findings: &mut Findings,
) -> Pairs {
    let empty = Record::new();
    let given = given.unwrap_or(&empty);
    let known: Vec<&str> = declared
        .iter()
        .map(|attribute| attribute.name.as_str())
        .collect();
    for name in given.keys().filter(|name| !known.contains(&name.as_str())) {
        let advice = if known.is_empty() {
            "there are none here".to_owned()
        } else {
            format!("known are `{}`", known.join("`, `"))
        };
        findings.fault(Violation::new(
            format!("{field}.{}", shown(name)),
            Fault::Attribute,
            format!("is not declared; {advice}"),
        ));
        if findings.violations.len() >= MAX_VIOLATIONS {
            break;
        }
    }
    record_pairs(declared, given, field, MAX_DEPTH, findings)
}

fn record_pairs(
    declared: &[Attribute],
    given: &Record,
    field: &str,
    depth: usize,
    findings: &mut Findings,
) -> Pairs {
    let mut pairs = Pairs::new();
    for attribute in declared {
        let path = format!("{field}.{}", attribute.name);
        match given.get(&attribute.name) {
            Some(value) => {
                if let Some(expression) =
                    convert_value(&attribute.value_type, value, &path, depth, findings)
                {
                    pairs.push((attribute.name.clone(), expression));
                }
            }
            None if attribute.required => {
                findings
                    .violations
                    .push(Violation::new(path, Fault::Attribute, "is required"));
            }
            None => {}
        }
    }
    pairs
}

fn convert_value(
    value_type: &ValueType,
    value: &Value,
    path: &str,
    depth: usize,
    findings: &mut Findings,
) -> Option<RestrictedExpression> {
    let converted = match (value_type, value) {
        (_, _) if depth == 0 => None,
        (ValueType::Boolean, Value::Boolean(truth)) => Some(RestrictedExpression::new_bool(*truth)),
        (ValueType::Long, Value::Number(number)) => {
            whole(*number).map(RestrictedExpression::new_long)
        }
        (ValueType::Text, Value::Text(text)) => {
            Some(RestrictedExpression::new_string(text.clone()))
        }
        (ValueType::Decimal, Value::Text(text)) => {
            evaluable(RestrictedExpression::new_decimal(text))
        }
        (ValueType::Datetime, Value::Text(text)) => {
            evaluable(RestrictedExpression::new_datetime(text))
        }
        (ValueType::Address, Value::Text(text)) => evaluable(RestrictedExpression::new_ip(text)),
        (ValueType::User, Value::Text(id)) if identifier_fault(id).is_none() => {
            findings.users.push(id.clone());
            Some(RestrictedExpression::new_entity_uid(vocabulary::user(id)))
        }
        (ValueType::Set(element), Value::List(values)) => {
            return convert_set(element, values, path, depth, findings);
        }
        (ValueType::Record(declared), Value::Record(given)) => {
            let before = findings.violations.len();
            let pairs = convert_nested(declared, given, path, depth, findings);
            if findings.violations.len() > before {
                return None;
            }
            RestrictedExpression::new_record(pairs).ok()
        }
        _ => None,
    };
    if converted.is_none() {
        findings.fault(Violation::new(
            path,
            Fault::Attribute,
            format!("must be {}", described(value_type)),
        ));
    }
    converted
}

fn convert_nested(
    declared: &[Attribute],
    given: &Record,
    path: &str,
    depth: usize,
    findings: &mut Findings,
) -> Pairs {
    for name in given
        .keys()
        .filter(|name| !declared.iter().any(|attribute| attribute.name == **name))
    {
        findings.fault(Violation::new(
            format!("{path}.{}", shown(name)),
            Fault::Attribute,
            "is not declared",
        ));
    }
    record_pairs(declared, given, path, depth - 1, findings)
}

fn convert_set(
    element: &ValueType,
    values: &[Value],
    path: &str,
    depth: usize,
    findings: &mut Findings,
) -> Option<RestrictedExpression> {
    let before = findings.violations.len();
    let converted: Vec<RestrictedExpression> = values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| {
            convert_value(
                element,
                value,
                &format!("{path}[{index}]"),
                depth - 1,
                findings,
            )
        })
        .collect();
    (findings.violations.len() == before).then(|| RestrictedExpression::new_set(converted))
}

fn whole(number: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and within the exact range"
    )]
    let converted = (number.fract() == 0.0 && number.abs() <= MAX_EXACT).then_some(number as i64);
    converted
}

/// The expression, if Cedar can evaluate it: an extension value made of bad text can't be.
fn evaluable(expression: RestrictedExpression) -> Option<RestrictedExpression> {
    Context::from_pairs([("value".to_owned(), expression.clone())])
        .ok()
        .map(|_| expression)
}

fn described(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Boolean => "`true` or `false`".to_owned(),
        ValueType::Long => "a whole number".to_owned(),
        ValueType::Text => "a string".to_owned(),
        ValueType::Decimal => "a decimal number as a string, such as `1.25`".to_owned(),
        ValueType::Datetime => "a moment as a string, such as `2026-01-31T12:00:00Z`".to_owned(),
        ValueType::Address => "an IP address or range as a string".to_owned(),
        ValueType::User => "the id of a user as a string".to_owned(),
        ValueType::Set(element) => format!("a list whose elements are each {}", described(element)),
        ValueType::Record(_) => "an object".to_owned(),
    }
}

/// A name from a request, cut and escaped so that an error message stays readable.
fn shown(name: &str) -> String {
    name.chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect()
}
