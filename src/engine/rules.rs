//! Rules written in Cedar: the base that all products share, and a product's own.
//!
//! They are the only policies that come from text, and that text is part of the
//! program or of a catalog, never of a request. A product's own rules may only
//! forbid: every right comes from a role, so that overrides, ceilings and
//! explanations hold for all of them.

use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint, ValidationMode, Validator,
};
use miette::Diagnostic;

use super::catalog::CatalogError;
use super::policies::{ActionMask, CompiledPolicy, PolicySource, PrincipalScope};
use super::vocabulary::{OVERRIDDEN, USER, level_group};
use crate::domain::Catalog;
use crate::domain::catalog::{ActionIndex, Level, RulesText, TypeIndex};

/// Who wrote the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// Roster: rules of every product.
    Base,
    /// The product: may only forbid.
    Product,
}

/// One thing wrong with a file of rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}:{line}: {message}")]
pub struct RuleFault {
    /// The file, as the reader of the message knows it.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses, validates and classifies a file of rules; reports every fault in it.
pub(super) fn compile(
    catalog: &Catalog,
    validator: &Validator,
    rules: &RulesText,
    author: Author,
) -> Result<Vec<CompiledPolicy>, CatalogError> {
    let fault = |offset: Option<usize>, message: String| RuleFault {
        path: rules.path.clone(),
        line: line_of(&rules.text, offset.unwrap_or_default()),
        message,
    };
    let parsed = PolicySet::from_str(&rules.text).map_err(|errors| {
        let faults = errors
            .iter()
            .map(|error| fault(offset_of(error), error.to_string()));
        CatalogError::Rules(faults.collect())
    })?;
    let mut faults = Vec::new();
    let validated = validator.validate(&parsed, ValidationMode::Strict);
    for error in validated.validation_errors() {
        faults.push(fault(
            offset_of(error),
            without_policy_name(&error.to_string()),
        ));
    }
    for template in parsed.templates() {
        let offset = template.as_ref().loc().map(|place| place.start());
        faults.push(fault(
            offset,
            "templates are not used here; write a policy".to_owned(),
        ));
    }
    let mut compiled: Vec<CompiledPolicy> = Vec::new();
    for policy in parsed.policies() {
        let offset = policy.as_ref().loc().map(|place| place.start());
        match classify(catalog, policy, author) {
            Ok(rule)
                if compiled
                    .iter()
                    .any(|known| known.policy.id() == rule.policy.id()) =>
            {
                faults.push(fault(
                    offset,
                    format!("another rule has the id `{}`", rule.policy.id()),
                ));
            }
            Ok(rule) => compiled.push(rule),
            Err(problem) => faults.push(fault(offset, problem)),
        }
    }
    compiled.sort_by(|left, right| left.policy.id().cmp(right.policy.id()));
    faults.sort();
    if faults.is_empty() {
        Ok(compiled)
    } else {
        Err(CatalogError::Rules(faults))
    }
}

/// Where in the text an error of Cedar points.
pub(super) fn offset_of(error: &impl Diagnostic) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// Cedar names policies of a text by their number; the line says it better.
pub(super) fn without_policy_name(message: &str) -> String {
    match message
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "))
    {
        Some((_, rest)) => rest.to_owned(),
        None => message.to_owned(),
    }
}

fn classify(catalog: &Catalog, policy: &Policy, author: Author) -> Result<CompiledPolicy, String> {
    let name = policy
        .annotation("id")
        .ok_or("every rule needs an `@id`")?
        .to_owned();
    let reason = policy
        .annotation("reason")
        .ok_or_else(|| format!("rule `{name}` needs a `@reason`"))?
        .to_owned();
    if author == Author::Product && policy.effect() != Effect::Forbid {
        return Err(format!(
            "rule `{name}` permits; a product's rules only forbid, rights come from roles"
        ));
    }
    if let Some(literal) = policy.entity_literals().iter().find(|uid| !is_shared(uid)) {
        return Err(format!(
            "rule `{name}` names `{literal}`; a rule is for every organization and names only actions, roles and statuses"
        ));
    }
    let code = policy.annotation("code").unwrap_or("TEAM_RULE").to_owned();
    let id = match author {
        Author::Base => format!("base/{name}"),
        Author::Product => format!("product/{name}"),
    };
    let (principal, principal_is_position) = principal_scope(policy);
    let (resource_type, resource_is_position) = resource_scope(catalog, policy);
    Ok(CompiledPolicy {
        policy: with_id_annotation(policy, &id)?,
        source: PolicySource::Rule { code, reason },
        principal,
        actions: actions(catalog, policy),
        resource_type,
        depends_on_position_only: principal_is_position
            && resource_is_position
            && !policy.has_non_scope_constraint(),
        reads_holdings: reads_holdings(policy)?,
        names: Vec::new(),
    })
}

/// Whether an entity means the same in every organization of a product.
fn is_shared(uid: &EntityUid) -> bool {
    ["Action", "Role", "Status"].contains(&uid.type_name().basename())
}

/// The same policy under an id that can't collide with a role's, told in the
/// annotation as well, so that an export names it alike.
fn with_id_annotation(policy: &Policy, id: &str) -> Result<Policy, String> {
    let mut json = policy.to_json().map_err(|error| error.to_string())?;
    set_id_annotation(&mut json, id);
    Policy::from_json(Some(PolicyId::new(id)), json).map_err(|error| error.to_string())
}

/// Names the policy in its annotations, whatever it called itself.
pub(super) fn set_id_annotation(policy: &mut serde_json::Value, id: &str) {
    if let Some(policy) = policy.as_object_mut() {
        let annotations = policy
            .entry("annotations")
            .or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert("id".to_owned(), serde_json::Value::String(id.to_owned()));
        }
    }
}

/// Whether a condition looks at what users hold on projects other than the resource's.
pub(super) fn reads_holdings(policy: &Policy) -> Result<bool, String> {
    let text = policy
        .to_json()
        .map_err(|error| error.to_string())?
        .to_string();
    Ok(["getTag", "hasTag", OVERRIDDEN]
        .iter()
        .any(|word| text.contains(word)))
}

pub(super) fn principal_scope(policy: &Policy) -> (PrincipalScope, bool) {
    let parent = |uid: &EntityUid| match uid.type_name().basename() {
        "Role" => (PrincipalScope::Role(uid.id().unescaped().to_owned()), true),
        "Status" => (
            PrincipalScope::Status(uid.id().unescaped().to_owned()),
            true,
        ),
        USER => (PrincipalScope::User(uid.id().unescaped().to_owned()), false),
        _ => (PrincipalScope::Other, false),
    };
    match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => (PrincipalScope::Any, true),
        // Nothing is in a user but that user.
        PrincipalConstraint::In(uid)
        | PrincipalConstraint::IsIn(_, uid)
        | PrincipalConstraint::Eq(uid) => parent(&uid),
    }
}

pub(super) fn resource_scope(catalog: &Catalog, policy: &Policy) -> (Option<TypeIndex>, bool) {
    let index = |name: &cedar_policy::EntityTypeName| {
        catalog
            .resource_type(name.basename())
            .map(|(index, _)| index)
    };
    match policy.resource_constraint() {
        ResourceConstraint::Any => (None, true),
        ResourceConstraint::Is(name) => (index(&name), true),
        ResourceConstraint::IsIn(name, _) => (index(&name), false),
        ResourceConstraint::In(_) | ResourceConstraint::Eq(_) => (None, false),
    }
}

pub(super) fn actions(catalog: &Catalog, policy: &Policy) -> ActionMask {
    let all = || (0..).map(ActionIndex).take(catalog.actions.len());
    let mut chosen: Vec<ActionIndex> = Vec::new();
    let mut add = |uid: &EntityUid| {
        let id: &str = uid.id().unescaped();
        if let Some((index, _)) = catalog.action(id) {
            chosen.push(index);
        }
        for level in [Level::Account, Level::Project] {
            if id == level_group(level) {
                chosen.extend(all().filter(|index| {
                    catalog
                        .actions
                        .get(usize::from(index.0))
                        .is_some_and(|action| action.level == level)
                }));
            }
        }
    };
    match policy.action_constraint() {
        ActionConstraint::Any => return ActionMask::of(catalog, all()),
        ActionConstraint::Eq(uid) => add(&uid),
        ActionConstraint::In(uids) => uids.iter().for_each(add),
    }
    ActionMask::of(catalog, chosen)
}
