//! A catalog ready to judge: schema, rules and built-in roles, compiled and
//! strictly validated once and shared by every organization that lives on it.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{EntityTypeName, EntityUid, PolicySet, ValidationMode, Validator};
use cedar_policy_core::ast::Entity;

use super::answers::{Answers, pairs};
use super::policies::{self, BuildError, CompiledGrants, CompiledPolicy, PermissionsId};
use super::positions::{Position, PositionNumber, Positions};
use super::rules::{self, Author, RuleFault};
use super::{guardrails, schema, vocabulary};
use crate::domain::Catalog;
use crate::domain::catalog::{ActionIndex, RulesText, TypeIndex};
use crate::domain::identifiers::RoleId;
use crate::domain::organization::Guardrail;
use crate::domain::permissions::Permissions;
use crate::domain::refusal::Violation;

/// What is wrong with a catalog in Cedar's eyes.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The types and actions make no schema.
    #[error("the catalog makes no Cedar schema: {0}")]
    Schema(String),
    /// A file of rules is wrong; every fault in it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules(Vec<RuleFault>),
    /// A policy could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// What was compiled does not pass strict validation.
    #[error("strict validation found: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// A catalog, compiled.
pub struct CompiledCatalog {
    catalog: Arc<Catalog>,
    validator: Validator,
    schema_text: String,
    pub(super) rules: Vec<CompiledPolicy>,
    pub(super) roles: HashMap<RoleId, Arc<CompiledGrants>>,
    pub(super) answers: Arc<Answers>,
    positions: Positions,
    first_pairs: Vec<u32>,
    pub(super) actions: Vec<ActionVocabulary>,
    pub(super) types: Vec<TypeVocabulary>,
}

/// What a request needs of an action, made once.
pub(super) struct ActionVocabulary {
    /// Its uid.
    pub(super) uid: EntityUid,
    /// Its entity, a member of its level's group.
    pub(super) entity: Entity,
}

/// What a request needs of a resource type, made once.
pub(super) struct TypeVocabulary {
    /// Its name.
    pub(super) name: EntityTypeName,
}

impl CompiledCatalog {
    /// Compiles and validates a catalog with the rules that all products share.
    pub fn compile(catalog: Arc<Catalog>, base: &RulesText) -> Result<Self, CatalogError> {
        let compiled_schema = schema::compile(&catalog)?;
        let validator = Validator::new(compiled_schema.schema);
        let mut all_rules = rules::compile(&catalog, &validator, base, Author::Base)?;
        if let Some(own) = &catalog.rules {
            all_rules.extend(rules::compile(&catalog, &validator, own, Author::Product)?);
        }
        let mut roles = HashMap::new();
        for role in &catalog.roles {
            let compiled = policies::compile_role(&catalog, &role.id, &role.permissions)?;
            roles.insert(role.id.clone(), Arc::new(compiled));
        }
        let this = Self {
            actions: action_vocabulary(&catalog),
            types: type_vocabulary(&catalog)?,
            answers: Arc::new(Answers::new(&catalog)),
            positions: Positions::shared(),
            first_pairs: pairs(&catalog).0,
            validator,
            schema_text: compiled_schema.text,
            rules: all_rules,
            roles,
            catalog,
        };
        this.validate(
            this.rules
                .iter()
                .chain(this.roles.values().flat_map(|role| role.iter())),
        )?;
        Ok(this)
    }

    /// The catalog itself.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The schema in Cedar's syntax.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// Compiles and validates a role of an organization.
    pub(super) fn compile_role(
        &self,
        id: &RoleId,
        permissions: &Permissions,
    ) -> Result<Arc<CompiledGrants>, CatalogError> {
        let compiled = policies::compile_role(&self.catalog, id, permissions)?;
        self.validate(compiled.iter())?;
        Ok(Arc::new(compiled))
    }

    /// Compiles and validates the permissions an override spells out.
    pub(super) fn compile_permissions(
        &self,
        id: &PermissionsId,
        permissions: &Permissions,
    ) -> Result<Arc<CompiledGrants>, CatalogError> {
        let compiled = policies::compile_permissions(&self.catalog, id, permissions)?;
        self.validate(compiled.iter())?;
        Ok(Arc::new(compiled))
    }

    /// Says everything that keeps a text from being a guardrail of an organization on
    /// this catalog. `may_permit` is whether its author may write more than `forbid`.
    pub fn check_guardrail(&self, text: &str, may_permit: bool) -> Vec<Violation> {
        guardrails::check(&self.catalog, &self.validator, text, may_permit)
    }

    /// Compiles and validates a guardrail.
    pub(super) fn compile_guardrail(
        &self,
        guardrail: &Guardrail,
    ) -> Result<Arc<CompiledPolicy>, CatalogError> {
        let compiled = guardrails::compile(&self.catalog, &self.validator, guardrail)?;
        self.validate(std::iter::once(&compiled))?;
        Ok(Arc::new(compiled))
    }

    /// The number of the first combination of an action with a type; see [`pairs`].
    pub(super) fn first_pair(&self, action: ActionIndex) -> u32 {
        let first = self.first_pairs.get(usize::from(action.0));
        first.copied().unwrap_or_default()
    }

    /// The number of a position: the catalog's where nobody can make there be many,
    /// else among the organization's `own`.
    pub(super) fn number(
        &self,
        position: &Position<'_>,
        own: &Positions,
    ) -> Option<PositionNumber> {
        let mut roles = position.roles.iter().chain(position.project_roles);
        let few = position.roles.len() <= 1 && position.project_roles.len() <= 1;
        let shared = few
            && position.permissions.is_none()
            && roles.all(|role| self.roles.contains_key(role));
        if shared {
            self.positions.number(position).map(PositionNumber::Shared)
        } else {
            own.number(position).map(PositionNumber::Own)
        }
    }

    /// Compiles what stands in for a guardrail that this catalog has outgrown.
    pub(super) fn compile_closing_guardrail(
        &self,
        guardrail: &Guardrail,
    ) -> Result<Arc<CompiledPolicy>, CatalogError> {
        let compiled = guardrails::compile_closing(&self.catalog, guardrail)?;
        self.validate(std::iter::once(&compiled))?;
        Ok(Arc::new(compiled))
    }

    /// What requests need of an action.
    pub(super) fn action(&self, index: ActionIndex) -> Option<&ActionVocabulary> {
        self.actions.get(usize::from(index.0))
    }

    /// What requests need of a resource type.
    pub(super) fn resource_type(&self, index: TypeIndex) -> Option<&TypeVocabulary> {
        self.types.get(usize::from(index.0))
    }

    /// Validates policies strictly.
    pub(super) fn validate<'a>(
        &self,
        policies: impl Iterator<Item = &'a CompiledPolicy>,
    ) -> Result<(), CatalogError> {
        let set = PolicySet::from_policies(policies.map(|compiled| compiled.policy.clone()))
            .map_err(|error| CatalogError::Invalid(vec![error.to_string()]))?;
        let result = self.validator.validate(&set, ValidationMode::Strict);
        if result.validation_passed() {
            return Ok(());
        }
        Err(CatalogError::Invalid(
            result
                .validation_errors()
                .map(ToString::to_string)
                .collect(),
        ))
    }
}

fn action_vocabulary(catalog: &Catalog) -> Vec<ActionVocabulary> {
    catalog
        .actions
        .iter()
        .map(|action| {
            let uid = vocabulary::action(action.id.as_str());
            let group = vocabulary::action(vocabulary::level_group(action.level));
            ActionVocabulary {
                entity: Entity::new_with_attr_partial_value(
                    uid.clone().into(),
                    [],
                    HashSet::new(),
                    [group.into()].into(),
                    [],
                ),
                uid,
            }
        })
        .collect()
}

fn type_vocabulary(catalog: &Catalog) -> Result<Vec<TypeVocabulary>, CatalogError> {
    catalog
        .resource_types
        .iter()
        .map(|resource_type| {
            EntityTypeName::from_str(resource_type.id.as_str())
                .map(|name| TypeVocabulary { name })
                .map_err(|error| CatalogError::Schema(error.to_string()))
        })
        .collect()
}
