//! From a set of permissions to Cedar policies, built as values.
//!
//! A role compiles to at most three policies for each circumstance (always, on
//! own resources, under a condition): what it gives on the account, what it
//! gives on projects when held on the organization, and what it gives on the
//! projects it is held on. An override's nameless permissions compile like a role
//! that can only be held on projects.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Effect, EntityUid, Policy, PolicyId};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::entities::Reach;
use super::vocabulary::{OVERRIDDEN, level_group, role_tag};
use crate::domain::Catalog;
use crate::domain::catalog::{ActionIndex, Condition, ConditionTest, Level, TypeIndex};
use crate::domain::identifiers::{GuardrailId, RoleId};
use crate::domain::permissions::{Permissions, When};

/// Where a policy comes from, in words of the team's world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// A role held on the organization.
    Role(RoleId),
    /// A role held on projects, by itself or through an override.
    ProjectRole(RoleId),
    /// Rights that overrides spell out.
    Permissions,
    /// A guardrail of the organization.
    Guardrail(GuardrailId),
    /// The scope of API tokens.
    TokenScope,
    /// A rule shared by all products, or one of the product's own.
    Rule {
        /// Its `@code`, such as `TEAM_RULE`.
        code: String,
        /// Its `@reason`, a sentence for people.
        reason: String,
    },
}

impl PolicySource {
    /// Whether somebody wrote it as Cedar, rather than it being what somebody holds.
    pub(super) fn is_written(&self) -> bool {
        matches!(self, Self::Rule { .. } | Self::Guardrail(_))
    }
}

/// Which principals a policy's scope can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PrincipalScope {
    /// Anyone.
    Any,
    /// Those with this parent of type `Role`.
    Role(String),
    /// Those with this parent of type `Status`.
    Status(String),
    /// This user.
    User(String),
    /// Something else that is narrower.
    Other,
}

/// Which actions a policy's scope can match; a bit for each action of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ActionMask(Vec<u64>);

impl ActionMask {
    /// A mask of the given actions.
    pub(super) fn of(catalog: &Catalog, actions: impl IntoIterator<Item = ActionIndex>) -> Self {
        let mut words = vec![0_u64; catalog.actions.len().div_ceil(64)];
        for action in actions {
            if let Some(word) = words.get_mut(usize::from(action.0) / 64) {
                *word |= 1 << (action.0 % 64);
            }
        }
        Self(words)
    }

    /// Whether the action is in it.
    pub(super) fn contains(&self, action: ActionIndex) -> bool {
        self.0
            .get(usize::from(action.0) / 64)
            .is_some_and(|word| word & (1 << (action.0 % 64)) != 0)
    }
}

/// A policy with what selection needs to know of it.
#[derive(Clone, Debug)]
pub(super) struct CompiledPolicy {
    /// The policy; its id is unique in the organization.
    pub(super) policy: Policy,
    /// Where it comes from.
    pub(super) source: PolicySource,
    /// Which principals its scope can match.
    pub(super) principal: PrincipalScope,
    /// Which actions its scope can match.
    pub(super) actions: ActionMask,
    /// The one resource type its scope can match, or all.
    pub(super) resource_type: Option<TypeIndex>,
    /// Whether its outcome follows from the position alone, so that it may be
    /// remembered; see [`super::answers`].
    pub(super) depends_on_position_only: bool,
    /// Whether it is written with a condition that may look at what users hold on any project.
    pub(super) reads_holdings: bool,
    /// Entities of the organization that it names.
    pub(super) names: Vec<EntityUid>,
}

impl CompiledPolicy {
    /// Whether the scope can match this action on this type.
    pub(super) fn covers(&self, action: ActionIndex, resource_type: TypeIndex) -> bool {
        self.actions.contains(action) && self.resource_type.is_none_or(|only| only == resource_type)
    }

    /// How much of the organization it may look at.
    pub(super) fn reach(&self) -> Reach {
        if self.reads_holdings {
            Reach::Holdings
        } else if self.source.is_written() && !self.depends_on_position_only {
            Reach::Mentioned
        } else {
            Reach::Position
        }
    }

    /// Whether it forbids.
    pub(super) fn forbids(&self) -> bool {
        self.policy.effect() == Effect::Forbid
    }
}

/// The policies of one role or one nameless set of permissions.
#[derive(Clone, Debug, Default)]
pub(super) struct CompiledGrants {
    /// What holding it on the organization gives.
    pub(super) on_organization: Vec<CompiledPolicy>,
    /// What holding it on a project gives there.
    pub(super) on_project: Vec<CompiledPolicy>,
}

impl CompiledGrants {
    /// All policies.
    pub(super) fn iter(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.on_organization.iter().chain(&self.on_project)
    }
}

/// Names a nameless set of permissions by its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PermissionsId(Arc<str>);

impl PermissionsId {
    /// The id of these permissions: equal permissions, equal id.
    pub(super) fn of(permissions: &Permissions) -> Self {
        let mut digest = Sha256::new();
        for level in &permissions.every {
            digest.update(level_group(*level).as_bytes());
            digest.update([0]);
        }
        for (when, actions) in &permissions.actions {
            digest.update(circumstance_name(when).as_bytes());
            digest.update([1]);
            for action in actions {
                digest.update(action.as_str().as_bytes());
                digest.update([2]);
            }
        }
        let bytes = digest.finalize();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(text.into())
    }

    /// The tag under which a user keeps the projects where these permissions hold.
    pub(super) fn tag(&self) -> String {
        format!("permissions:{}", self.0)
    }
}

/// What is being compiled.
enum Holder<'a> {
    Role(&'a RoleId),
    Permissions(&'a PermissionsId),
}

impl Holder<'_> {
    fn prefix(&self) -> String {
        match self {
            Holder::Role(role) => role_tag(role),
            Holder::Permissions(id) => id.tag(),
        }
    }
}

/// Why a policy could not be built; never the fault of a name or an id.
#[derive(Debug, thiserror::Error)]
#[error("policy `{id}` can't be built: {problem}")]
pub struct BuildError {
    /// The policy.
    pub id: String,
    /// What Cedar says.
    pub problem: String,
}

/// Compiles a role.
pub(super) fn compile_role(
    catalog: &Catalog,
    role: &RoleId,
    permissions: &Permissions,
) -> Result<CompiledGrants, BuildError> {
    let holder = Holder::Role(role);
    Ok(CompiledGrants {
        on_organization: compile_on_organization(catalog, role, permissions)?,
        on_project: compile_on_project(catalog, &holder, permissions)?,
    })
}

/// Compiles the permissions that an override spells out.
pub(super) fn compile_permissions(
    catalog: &Catalog,
    id: &PermissionsId,
    permissions: &Permissions,
) -> Result<CompiledGrants, BuildError> {
    Ok(CompiledGrants {
        on_organization: Vec::new(),
        on_project: compile_on_project(catalog, &Holder::Permissions(id), permissions)?,
    })
}

fn compile_on_organization(
    catalog: &Catalog,
    role: &RoleId,
    permissions: &Permissions,
) -> Result<Vec<CompiledPolicy>, BuildError> {
    let mut compiled = Vec::new();
    for level in [Level::Account, Level::Project] {
        let replaced = json!({ "kind": "unless", "body": resource_in(overridden()) });
        for grant in grants_of(catalog, permissions, level) {
            let mut conditions = grant.conditions.clone();
            if level == Level::Project {
                conditions.push(replaced.clone());
            }
            compiled.push(build(
                catalog,
                &grant,
                &Shape {
                    id: format!("{}/organization/{}", role_tag(role), grant.name),
                    source: PolicySource::Role(role.clone()),
                    principal: PrincipalScope::Role(role.as_str().to_owned()),
                    conditions,
                },
            )?);
        }
    }
    Ok(compiled)
}

fn compile_on_project(
    catalog: &Catalog,
    holder: &Holder<'_>,
    permissions: &Permissions,
) -> Result<Vec<CompiledPolicy>, BuildError> {
    let tag = holder.prefix();
    let source = match holder {
        Holder::Role(role) => PolicySource::ProjectRole((*role).clone()),
        Holder::Permissions(_) => PolicySource::Permissions,
    };
    let held_here = json!({ "kind": "when", "body": { "&&": {
        "left": { "hasTag": { "left": variable("principal"), "right": { "Value": tag } } },
        "right": resource_in(json!({ "getTag": { "left": variable("principal"), "right": { "Value": tag } } })),
    }}});
    grants_of(catalog, permissions, Level::Project)
        .into_iter()
        .map(|grant| {
            let mut conditions = vec![held_here.clone()];
            conditions.extend(grant.conditions.iter().cloned());
            build(
                catalog,
                &grant,
                &Shape {
                    id: format!("{tag}/project/{}", grant.name),
                    source: source.clone(),
                    principal: PrincipalScope::Any,
                    conditions,
                },
            )
        })
        .collect()
}

/// One policy's worth of rights: actions of one level under one circumstance.
struct Grant {
    name: String,
    action_constraint: Json,
    actions: BTreeSet<ActionIndex>,
    conditions: Vec<Json>,
    reads_attributes: bool,
}

fn grants_of(catalog: &Catalog, permissions: &Permissions, level: Level) -> Vec<Grant> {
    let of_level = |index: &ActionIndex| {
        catalog
            .actions
            .get(usize::from(index.0))
            .is_some_and(|action| action.level == level)
    };
    let mut grants = Vec::new();
    let mut always: BTreeSet<ActionIndex> = BTreeSet::new();
    if permissions.every.contains(&level) {
        always = (0..)
            .map(ActionIndex)
            .take(catalog.actions.len())
            .filter(of_level)
            .collect();
        grants.push(Grant {
            name: format!("every-{}", level_group(level)),
            action_constraint: json!({ "op": "in", "entity": action_json(level_group(level)) }),
            actions: always.clone(),
            conditions: Vec::new(),
            reads_attributes: false,
        });
    }
    for (when, named) in &permissions.actions {
        let actions: BTreeSet<ActionIndex> = catalog
            .closure(named)
            .into_iter()
            .filter(of_level)
            .filter(|index| !always.contains(index))
            .collect();
        let Some(conditions) = circumstance(catalog, when).filter(|_| !actions.is_empty()) else {
            continue;
        };
        if *when == When::Always {
            always.extend(actions.iter().copied());
        }
        grants.push(Grant {
            name: format!("{}/{}", level_group(level), circumstance_name(when)),
            action_constraint: action_list(catalog, &actions),
            actions,
            conditions,
            reads_attributes: matches!(when, When::Condition(_)),
        });
    }
    grants
}

fn circumstance_name(when: &When) -> String {
    match when {
        When::Always => "always".to_owned(),
        When::Own => "own".to_owned(),
        When::Condition(id) => format!("condition:{id}"),
    }
}

/// The Cedar conditions of a circumstance; `None` for a condition the catalog
/// no longer has, which therefore grants nothing.
fn circumstance(catalog: &Catalog, when: &When) -> Option<Vec<Json>> {
    match when {
        When::Always => Some(Vec::new()),
        When::Own => Some(vec![when_clause(guarded(
            "owner",
            json!({ "==": { "left": resource_attribute("owner"), "right": variable("principal") } }),
        ))]),
        When::Condition(id) => catalog
            .condition(id)
            .map(|condition| vec![condition_clause(condition)]),
    }
}

fn condition_clause(condition: &Condition) -> Json {
    when_clause(match &condition.test {
        ConditionTest::AttributeIsTrue(attribute) => {
            guarded(attribute, resource_attribute(attribute))
        }
        ConditionTest::AttributeContainsPrincipal(attribute) => guarded(
            attribute,
            json!({ "contains": { "left": resource_attribute(attribute), "right": variable("principal") } }),
        ),
    })
}

struct Shape {
    id: String,
    source: PolicySource,
    principal: PrincipalScope,
    conditions: Vec<Json>,
}

fn build(catalog: &Catalog, grant: &Grant, shape: &Shape) -> Result<CompiledPolicy, BuildError> {
    let principal = match &shape.principal {
        PrincipalScope::Role(role) => {
            json!({ "op": "in", "entity": { "type": "Role", "id": role } })
        }
        PrincipalScope::Any
        | PrincipalScope::Status(_)
        | PrincipalScope::User(_)
        | PrincipalScope::Other => {
            json!({ "op": "All" })
        }
    };
    let value = json!({
        "effect": "permit",
        "principal": principal,
        "action": grant.action_constraint,
        "resource": { "op": "All" },
        "conditions": shape.conditions,
        "annotations": { "id": shape.id },
    });
    let policy =
        Policy::from_json(Some(PolicyId::new(&shape.id)), value).map_err(|error| BuildError {
            id: shape.id.clone(),
            problem: error.to_string(),
        })?;
    Ok(CompiledPolicy {
        policy,
        source: shape.source.clone(),
        principal: shape.principal.clone(),
        actions: ActionMask::of(catalog, grant.actions.iter().copied()),
        resource_type: None,
        depends_on_position_only: !grant.reads_attributes,
        reads_holdings: false,
        names: Vec::new(),
    })
}

fn action_list(catalog: &Catalog, actions: &BTreeSet<ActionIndex>) -> Json {
    let entities: Vec<Json> = actions
        .iter()
        .filter_map(|index| catalog.actions.get(usize::from(index.0)))
        .map(|action| action_json(action.id.as_str()))
        .collect();
    match entities.as_slice() {
        [only] => json!({ "op": "==", "entity": only }),
        _ => json!({ "op": "in", "entities": entities }),
    }
}

/// An action in Cedar's JSON.
pub(super) fn action_json(id: &str) -> Json {
    json!({ "type": "Action", "id": id })
}

/// A variable of a request, as Cedar's JSON spells it.
pub(super) fn variable(name: &str) -> Json {
    json!({ "Var": name })
}

fn resource_attribute(name: &str) -> Json {
    json!({ ".": { "left": variable("resource"), "attr": name } })
}

fn overridden() -> Json {
    json!({ ".": { "left": variable("principal"), "attr": OVERRIDDEN } })
}

fn resource_in(projects: Json) -> Json {
    json!({ "in": { "left": variable("resource"), "right": projects } })
}

/// A condition that must hold.
pub(super) fn when_clause(body: Json) -> Json {
    json!({ "kind": "when", "body": body })
}

/// `resource has attribute && test`
fn guarded(attribute: &str, test: Json) -> Json {
    json!({ "&&": {
        "left": { "has": { "left": variable("resource"), "attr": attribute } },
        "right": test,
    }})
}
