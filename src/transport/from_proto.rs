//! From messages to the words of the use cases. What has to be checked about the
//! form of a message is checked here or by the use case that it is for.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Duration as Span, FieldMask, Struct, Timestamp};
use tonic::metadata::MetadataMap;

use crate::application::Secret;
use crate::application::revision::PATIENCE;
use crate::domain::Refusal;
use crate::domain::catalog::Level;
use crate::domain::checks::{AskedPermissions, AskedRoles};
use crate::domain::organization::Moment;
use crate::domain::period::Period;
use crate::domain::refusal::{Fault, Violation};
use crate::domain::value::{Record, Value};
use crate::engine::RawQuestion;
use crate::proto::v1;

/// A struct as a record.
pub fn record(given: &Struct) -> Record {
    given
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), self::value(value)))
        .collect()
}

fn value(given: &prost_types::Value) -> Value {
    match &given.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => Value::Boolean(*truth),
        Some(Kind::NumberValue(number)) => Value::Number(*number),
        Some(Kind::StringValue(text)) => Value::Text(text.clone()),
        Some(Kind::ListValue(list)) => Value::List(list.values.iter().map(value).collect()),
        Some(Kind::StructValue(nested)) => Value::Record(record(nested)),
    }
}

/// The attributes and context of a request, converted where there are any.
#[derive(Default)]
pub struct Said {
    attributes: Option<Record>,
    context: Option<Record>,
}

/// What a request says in structs.
pub fn said(request: &v1::IsAuthorizedRequest) -> Said {
    Said {
        attributes: request
            .resource
            .as_ref()
            .and_then(|resource| resource.attributes.as_ref())
            .map(record),
        context: request.context.as_ref().map(record),
    }
}

/// The question of a request.
pub fn question<'a>(
    request: &'a v1::IsAuthorizedRequest,
    said: &'a Said,
    at: Moment,
) -> RawQuestion<'a> {
    let (principal_type, principal_id) = request
        .principal
        .as_ref()
        .map_or(("", ""), |principal| (&principal.r#type, &principal.id));
    let mut question = RawQuestion {
        principal_type,
        principal_id,
        action: &request.action,
        context: said.context.as_ref(),
        at,
        ..RawQuestion::default()
    };
    if let Some(resource) = &request.resource {
        question.resource_type = &resource.r#type;
        question.resource_id = &resource.id;
        question.project = &resource.project;
        question.owner = &resource.owner;
        question.attributes = said.attributes.as_ref();
    }
    question
}

/// What a request with a token says, as the request that its subject would make;
/// the principal is left out.
pub fn without_token(
    request: v1::IsAuthorizedWithTokenRequest,
) -> (v1::IsAuthorizedRequest, Secret) {
    let secret = Secret::presented(&request.token);
    let same = v1::IsAuthorizedRequest {
        organization: request.organization,
        principal: None,
        action: request.action,
        resource: request.resource,
        context: request.context,
        at_least: request.at_least,
        include_reasons: request.include_reasons,
        correlation_id: request.correlation_id,
    };
    (same, secret)
}

/// A duration in milliseconds; what it says beyond them is dropped.
pub fn milliseconds(given: &Span) -> i64 {
    let fraction = i64::from(given.nanos / 1_000_000);
    let whole = given.seconds.saturating_mul(1_000).saturating_add(fraction);
    // Less than a millisecond before nothing is still before it.
    if given.seconds < 0 || given.nanos < 0 {
        whole.min(-1)
    } else {
        whole
    }
}

/// A moment, to the millisecond.
pub fn moment(field: &str, given: Option<&Timestamp>) -> Result<Option<Moment>, Refusal> {
    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, the bounds of a timestamp.
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let Some(given) = given else {
        return Ok(None);
    };
    let nanos = 0..1_000_000_000;
    if !SECONDS.contains(&given.seconds) || !nanos.contains(&given.nanos) {
        return Err(Refusal::Invalid(vec![Violation::new(
            field,
            Fault::Malformed,
            "must be a moment between the years 1 and 9999",
        )]));
    }
    let millis = i64::from(given.nanos / 1_000_000);
    Ok(Some(Moment(given.seconds * 1_000 + millis)))
}

/// A period; an absent one is always.
pub fn period(field: &str, given: Option<&v1::Period>) -> Result<Period, Refusal> {
    let Some(given) = given else {
        return Ok(Period::ALWAYS);
    };
    let not_before = moment(&format!("{field}.not_before"), given.not_before.as_ref());
    let expires_at = moment(&format!("{field}.expires_at"), given.expires_at.as_ref());
    match (not_before, expires_at) {
        (Ok(not_before), Ok(expires_at)) => Ok(Period {
            not_before,
            expires_at,
        }),
        (Err(Refusal::Invalid(mut one)), Err(Refusal::Invalid(other))) => {
            one.extend(other);
            Err(Refusal::Invalid(one))
        }
        (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
    }
}

/// Roles with the periods of single ones.
pub fn roles(roles: &[String], periods: &[v1::RolePeriod]) -> Result<AskedRoles, Refusal> {
    let periods: Result<Vec<(String, Period)>, Refusal> = periods
        .iter()
        .enumerate()
        .map(|(index, given)| {
            let field = format!("role_periods[{index}].period");
            Ok((given.role.clone(), period(&field, given.period.as_ref())?))
        })
        .collect();
    Ok(AskedRoles {
        roles: roles.to_vec(),
        periods: periods?,
    })
}

/// Permissions as asked for.
pub fn permissions(given: Option<&v1::Permissions>) -> Result<AskedPermissions, Refusal> {
    let Some(given) = given else {
        return Ok(AskedPermissions::default());
    };
    let mut violations = Vec::new();
    let mut every = Vec::new();
    for (index, level) in given.every.iter().enumerate() {
        match v1::Level::try_from(*level) {
            Ok(v1::Level::Account) => every.push(Level::Account),
            Ok(v1::Level::Project) => every.push(Level::Project),
            Ok(v1::Level::Unspecified) | Err(_) => violations.push(Violation::new(
                format!("permissions.every[{index}]"),
                Fault::Malformed,
                "must be `LEVEL_ACCOUNT` or `LEVEL_PROJECT`",
            )),
        }
    }
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    Ok(AskedPermissions {
        every,
        actions: given.actions.clone(),
        own_actions: given.own_actions.clone(),
        conditional: given
            .conditional
            .iter()
            .map(|conditional| (conditional.condition.clone(), conditional.actions.clone()))
            .collect(),
    })
}

/// Which of the editable fields a mask names; all of them when it is empty.
#[derive(Clone)]
pub struct Mask(BTreeMap<&'static str, bool>);

impl Mask {
    /// Whether that field is to be edited.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).copied().unwrap_or_default()
    }
}

/// Reads a mask over the editable fields.
pub fn mask(given: Option<&FieldMask>, editable: &[&'static str]) -> Result<Mask, Refusal> {
    let paths = given.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let violations: Vec<Violation> = paths
        .iter()
        .enumerate()
        .filter(|(_, path)| !editable.contains(&path.as_str()))
        .map(|(index, _)| {
            Violation::new(
                format!("update_mask.paths[{index}]"),
                Fault::Malformed,
                format!("is not editable; editable are {}", editable.join(", ")),
            )
        })
        .collect();
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    let named = |field: &&'static str| paths.is_empty() || paths.iter().any(|path| path == field);
    Ok(Mask(
        editable
            .iter()
            .map(|field| (*field, named(field)))
            .collect(),
    ))
}

/// How long a request may wait for a revision: three quarters of its own deadline, so that
/// the answer still arrives, or a few seconds when it has none.
pub fn patience(metadata: &MetadataMap) -> Duration {
    let deadline = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(timeout);
    deadline.map_or(PATIENCE, |deadline| (deadline * 3 / 4).min(PATIENCE))
}

/// How long a check of the history may take: three quarters of the request's own
/// deadline, or half a minute when it has none, and ten minutes at most.
pub fn time_to_verify(metadata: &MetadataMap) -> Duration {
    const WITHOUT_DEADLINE: Duration = Duration::from_secs(30);
    const MOST: Duration = Duration::from_secs(600);
    let deadline = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(timeout);
    deadline.map_or(WITHOUT_DEADLINE, |deadline| (deadline * 3 / 4).min(MOST))
}

/// Reads a timeout as gRPC spells it: up to eight digits and a unit.
pub fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_spells_it() {
        assert_eq!(timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(timeout("2S"), Some(Duration::from_secs(2)));
        for refused in ["", "S", "123456789S", "5", "-1S", "5x", "é"] {
            assert_eq!(timeout(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn an_empty_mask_names_every_editable_field() {
        let all = mask(None, &["display_name", "email"]).ok();
        assert!(all.is_some_and(|mask| mask.has("display_name") && mask.has("email")));
        let one = FieldMask {
            paths: vec!["email".to_owned()],
        };
        let some = mask(Some(&one), &["display_name", "email"]).ok();
        assert!(some.is_some_and(|mask| !mask.has("display_name") && mask.has("email")));
        let unknown = FieldMask {
            paths: vec!["owner".to_owned()],
        };
        assert!(mask(Some(&unknown), &["email"]).is_err());
    }
}
