//! Guardrails: an organization's own policies, the only ones whose text comes from
//! a request.
//!
//! The text is measured before Cedar sees it, parsed by Cedar's own parser and
//! strictly validated, and from then on handled as a value: what is compiled and
//! exported is that value under an id of ours. Nothing a text says can reach
//! beyond its own policy.
//!
//! - Whoever may manage guardrails can't be kept from it by one: a `forbid` whose
//!   scope can match `ManageGuardrails` on the organization is refused.
//! - A `permit` is narrowed to members whose membership counts, by conditions that
//!   are part of the policy and so of the export. A stranger is no entity, and
//!   what is no entity `has` nothing.
//! - A catalog may lose an action or a type that a stored text names. What that is
//!   called from then on can't be known, so a `forbid` that its catalog has outgrown
//!   forbids everything but managing guardrails until it is edited or deleted, and
//!   a `permit` permits nothing.

use std::collections::{BTreeSet, HashMap};
use std::ops::Not;
use std::sync::Arc;

use cedar_policy::{
    Effect, EntityUid, Policy, PolicyId, PolicySet, ResourceConstraint, ValidationMode,
    ValidationWarning, Validator,
};
use imbl::OrdMap;
use miette::Diagnostic;
use serde_json::{Value as Json, json};

use super::catalog::{CatalogError, CompiledCatalog};
use super::nesting;
use super::policies::{
    ActionMask, BuildError, CompiledPolicy, PolicySource, action_json, variable, when_clause,
};
use super::rules::{self, RuleFault};
use super::vocabulary::{OVERRIDDEN, status_name};
use crate::domain::Catalog;
use crate::domain::catalog::{ActionIndex, ORGANIZATION_TYPE, TypeIndex};
use crate::domain::holdings::Validity;
use crate::domain::identifiers::GuardrailId;
use crate::domain::organization::Guardrail;
use crate::domain::refusal::{Fault, Violation, keep_violation};
use crate::domain::text::without_deception;

/// The action that no guardrail may take away.
const MANAGE_GUARDRAILS: &str = "ManageGuardrails";

/// The guardrails of an organization, compiled.
#[derive(Clone, Default)]
pub(super) struct Guardrails {
    compiled: OrdMap<GuardrailId, Arc<CompiledPolicy>>,
    /// The same by the actions that their scopes can match.
    by_action: Arc<HashMap<ActionIndex, Vec<Arc<CompiledPolicy>>>>,
    /// Those whose text its catalog has outgrown, and what Cedar says of it.
    outgrown: OrdMap<GuardrailId, Arc<str>>,
}

impl Guardrails {
    /// Takes over a guardrail; counts once they are indexed again.
    pub(super) fn put(
        &mut self,
        catalog: &CompiledCatalog,
        guardrail: &Guardrail,
    ) -> Result<(), CatalogError> {
        let compiled = catalog.compile_guardrail(guardrail)?;
        self.compiled.insert(guardrail.id.clone(), compiled);
        self.outgrown.remove(&guardrail.id);
        Ok(())
    }

    /// Takes over a guardrail as the store has it, whether or not it fits the catalog;
    /// counts once they are indexed.
    pub(super) fn restore(
        &mut self,
        catalog: &CompiledCatalog,
        guardrail: &Guardrail,
    ) -> Result<(), CatalogError> {
        let Err(problem) = self.put(catalog, guardrail) else {
            return Ok(());
        };
        let problem = Arc::from(problem.to_string());
        self.outgrown.insert(guardrail.id.clone(), problem);
        if !permits(&guardrail.text) {
            let closing = catalog.compile_closing_guardrail(guardrail)?;
            self.compiled.insert(guardrail.id.clone(), closing);
        }
        Ok(())
    }

    /// What is wrong with the first one that its catalog has outgrown.
    pub(super) fn first_problem(&self) -> Option<&str> {
        self.outgrown.values().next().map(AsRef::as_ref)
    }

    /// Whether its catalog has outgrown the text of that one.
    pub(super) fn is_outgrown(&self, id: &GuardrailId) -> bool {
        self.outgrown.contains_key(id)
    }

    /// Forgets a guardrail; counts until they are indexed again.
    pub(super) fn remove(&mut self, id: &GuardrailId) {
        self.compiled.remove(id);
        self.outgrown.remove(id);
    }

    /// Indexes what was put and removed.
    pub(super) fn index(&mut self, catalog: &Catalog) {
        let mut by_action: HashMap<ActionIndex, Vec<Arc<CompiledPolicy>>> = HashMap::new();
        for action in (0..).map(ActionIndex).take(catalog.actions.len()) {
            let covering: Vec<Arc<CompiledPolicy>> = self
                .compiled
                .values()
                .filter(|policy| policy.actions.contains(action))
                .cloned()
                .collect();
            if !covering.is_empty() {
                by_action.insert(action, covering);
            }
        }
        self.by_action = Arc::new(by_action);
    }

    /// Those whose scope can match this action on this type.
    pub(super) fn covering(
        &self,
        action: ActionIndex,
        resource_type: TypeIndex,
    ) -> impl Iterator<Item = &CompiledPolicy> {
        self.by_action
            .get(&action)
            .into_iter()
            .flatten()
            .map(AsRef::as_ref)
            .filter(move |policy| policy.covers(action, resource_type))
    }

    /// Every policy.
    pub(super) fn policies(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.compiled.values().map(AsRef::as_ref)
    }
}

/// One thing that keeps a text from being a guardrail, and where in the text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    offset: Option<usize>,
    message: String,
}

impl Finding {
    fn new(offset: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            offset,
            message: message.into(),
        }
    }

    /// In Cedar's own words, with its advice.
    fn of(diagnostic: &impl Diagnostic) -> Self {
        let words = rules::without_policy_name(&diagnostic.to_string());
        let message = match diagnostic.help() {
            Some(advice) => format!("{words} ({advice})"),
            None => words,
        };
        Self::new(rules::offset_of(diagnostic), message)
    }

    /// For people: line and column, from 1, and what is wrong.
    fn told(&self, text: &str) -> String {
        let message = without_deception(&self.message);
        let before = self.offset.and_then(|offset| text.get(..offset));
        let Some(before) = before else {
            return message;
        };
        let (line, column) = place(before);
        format!("{line}:{column}: {message}")
    }
}

/// Line and column, from 1, of what comes after a text.
fn place(before: &str) -> (usize, usize) {
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

/// Everything that keeps a text from being a guardrail.
pub(super) fn check(
    catalog: &Catalog,
    validator: &Validator,
    text: &str,
    may_permit: bool,
) -> Vec<Violation> {
    let findings = match read(catalog, validator, text, may_permit) {
        Ok(policy) => match build(catalog, &policy, &GuardrailId::new("new")) {
            Ok(_) => Vec::new(),
            Err(problem) => vec![Finding::new(None, problem)],
        },
        Err(findings) => findings,
    };
    let mut violations = Vec::new();
    for finding in findings {
        keep_violation(
            &mut violations,
            Violation::new("text", Fault::Policy, finding.told(text)),
        );
    }
    violations
}

/// Compiles a guardrail that was checked when it was written.
pub(super) fn compile(
    catalog: &Catalog,
    validator: &Validator,
    guardrail: &Guardrail,
) -> Result<CompiledPolicy, CatalogError> {
    let faults = |findings: Vec<Finding>| {
        let fault = |finding: Finding| {
            let before = guardrail.text.get(..finding.offset.unwrap_or_default());
            RuleFault {
                path: policy_id(&guardrail.id),
                line: before.map_or(1, |before| place(before).0),
                message: without_deception(&finding.message),
            }
        };
        CatalogError::Rules(findings.into_iter().map(fault).collect())
    };
    let policy = read(catalog, validator, &guardrail.text, true).map_err(faults)?;
    build(catalog, &policy, &guardrail.id)
        .map_err(|problem| faults(vec![Finding::new(None, problem)]))
}

/// What stands in for a guardrail that its catalog has outgrown: it forbids everybody
/// everything, except to put that right.
pub(super) fn compile_closing(
    catalog: &Catalog,
    guardrail: &Guardrail,
) -> Result<CompiledPolicy, CatalogError> {
    let mut spared = BTreeSet::new();
    if let Some((manage, action)) = catalog.action(MANAGE_GUARDRAILS) {
        spared.insert(manage);
        spared.extend(&action.implies);
    }
    let others = (0..).map(ActionIndex).zip(&catalog.actions);
    let others: Vec<Json> = others
        .filter(|(index, _)| !spared.contains(index))
        .map(|(_, action)| action_json(action.id.as_str()))
        .collect();
    let id = policy_id(&guardrail.id);
    let value = json!({
        "effect": "forbid",
        "principal": { "op": "All" },
        "action": { "op": "in", "entities": others },
        "resource": { "op": "All" },
        "conditions": [],
    });
    let built = Policy::from_json(Some(PolicyId::new(&id)), value)
        .map_err(|error| error.to_string())
        .and_then(|policy| build(catalog, &policy, &guardrail.id));
    built.map_err(|problem| CatalogError::Build(BuildError { id, problem }))
}

/// Whether a stored text is surely a `permit`.
fn permits(text: &str) -> bool {
    if nesting::fault(text).is_some() {
        return false;
    }
    let parsed = text.parse::<PolicySet>();
    parsed.is_ok_and(|set| {
        let mut policies = set.policies().peekable();
        policies.peek().is_some() && policies.all(|policy| policy.effect() == Effect::Permit)
    })
}

/// Reads a text as the one policy of a guardrail, or lists everything against it.
fn read(
    catalog: &Catalog,
    validator: &Validator,
    text: &str,
    may_permit: bool,
) -> Result<Policy, Vec<Finding>> {
    if let Some((offset, problem)) = nesting::fault(text) {
        return Err(vec![Finding::new(Some(offset), problem)]);
    }
    let parsed: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let findings = errors.iter().map(Finding::of);
        findings.collect::<Vec<_>>()
    })?;
    let mut findings = Vec::new();
    for template in parsed.templates() {
        let offset = template.as_ref().loc().map(|place| place.start());
        findings.push(Finding::new(
            offset,
            "a guardrail has no slots; write a policy",
        ));
    }
    let mut policies = parsed.policies();
    let (first, others) = (policies.next(), policies.count());
    if others > 0 || (first.is_none() && findings.is_empty()) {
        let count = others + usize::from(first.is_some());
        findings.push(Finding::new(
            None,
            format!("must be exactly one policy, not {count}"),
        ));
    }
    let validated = validator.validate(&parsed, ValidationMode::Strict);
    findings.extend(validated.validation_errors().map(Finding::of));
    let warnings = validated.validation_warnings().filter(|warning| {
        matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_)
                | ValidationWarning::InvalidActionApplication(_)
                | ValidationWarning::BidiCharsInString(_)
                | ValidationWarning::BidiCharsInIdentifier(_)
        )
    });
    findings.extend(warnings.map(Finding::of));
    for policy in parsed.policies() {
        let offset = policy.as_ref().loc().map(|place| place.start());
        if policy.effect() == Effect::Permit && !may_permit {
            findings.push(Finding::new(
                offset,
                "a guardrail forbids; only an operator writes one that permits",
            ));
        }
        if policy.effect() == Effect::Forbid && can_lock_out(catalog, policy) {
            findings.push(Finding::new(
                offset,
                format!(
                    "its scope can match `{MANAGE_GUARDRAILS}`, and it could never be undone; \
                     name other actions or resources in the scope"
                ),
            ));
        }
    }
    findings.sort();
    findings.dedup();
    match first {
        Some(policy) if findings.is_empty() => Ok(policy.clone()),
        _ => Err(findings),
    }
}

/// Whether it could keep somebody from managing guardrails, as far as its scope says.
fn can_lock_out(catalog: &Catalog, policy: &Policy) -> bool {
    let Some((manage, _)) = catalog.action(MANAGE_GUARDRAILS) else {
        return false;
    };
    let actions: ActionMask = rules::actions(catalog, policy);
    let on_organization = match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(name) | ResourceConstraint::IsIn(name, _) => {
            name.basename() == ORGANIZATION_TYPE
        }
        ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => {
            uid.type_name().basename() == ORGANIZATION_TYPE
        }
    };
    on_organization && actions.contains(manage)
}

fn policy_id(id: &GuardrailId) -> String {
    format!("guardrail/{id}")
}

/// The policy as it counts: under our id, and narrowed to active members if it permits.
fn build(catalog: &Catalog, policy: &Policy, id: &GuardrailId) -> Result<CompiledPolicy, String> {
    let name = policy_id(id);
    let mut value = policy.to_json().map_err(|error| error.to_string())?;
    rules::set_id_annotation(&mut value, &name);
    let permits = policy.effect() == Effect::Permit;
    if permits {
        let conditions = value
            .get_mut("conditions")
            .and_then(Json::as_array_mut)
            .ok_or("it has no form that can be narrowed")?;
        conditions.splice(0..0, only_active_members());
    }
    let built =
        Policy::from_json(Some(PolicyId::new(&name)), value).map_err(|error| error.to_string())?;
    let (principal, principal_is_position) = rules::principal_scope(policy);
    let (resource_type, resource_is_position) = rules::resource_scope(catalog, policy);
    Ok(CompiledPolicy {
        source: PolicySource::Guardrail(id.clone()),
        principal,
        actions: rules::actions(catalog, policy),
        resource_type,
        depends_on_position_only: principal_is_position
            && resource_is_position
            && !built.has_non_scope_constraint(),
        reads_holdings: rules::reads_holdings(policy)?,
        names: named(policy),
        policy: built,
    })
}

/// Entities of the organization that a policy names, each once.
fn named(policy: &Policy) -> Vec<EntityUid> {
    let mut names = policy.entity_literals();
    names.retain(|uid| matches!(uid.type_name().basename(), "Role" | "Status").not());
    names.sort_by_key(ToString::to_string);
    names.dedup();
    names
}

/// Every member has the attribute, and nobody else is an entity.
fn only_active_members() -> [Json; 2] {
    let inactive = [
        Validity::Suspended,
        Validity::NotYetValid,
        Validity::Expired,
    ];
    let statuses: Vec<Json> = inactive
        .into_iter()
        .filter_map(status_name)
        .map(|status| json!({ "Value": { "__entity": { "type": "Status", "id": status } } }))
        .collect();
    [
        when_clause(json!({ "has": { "left": variable("principal"), "attr": OVERRIDDEN } })),
        json!({ "kind": "unless", "body": {
            "in": { "left": variable("principal"), "right": { "Set": statuses } },
        }}),
    ]
}
