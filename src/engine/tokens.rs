//! Scopes of API tokens, as policies that forbid.
//!
//! A question asked with a token says in its context which scope the token has,
//! and one policy forbids everything outside of that scope to whoever says so.
//! Policies are named by the content of the scope: however many tokens may do the
//! same, there is one policy, and it is there as long as one of them lives.
//!
//! Whether a token counts at all (revoked, expired, its membership gone) is no
//! question to Cedar: that is about who asks, and is settled before.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId};
use imbl::OrdMap;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::catalog::{CatalogError, CompiledCatalog};
use super::policies::{
    ActionMask, BuildError, CompiledPolicy, PolicySource, PrincipalScope, action_json, variable,
    when_clause,
};
use crate::domain::Catalog;
use crate::domain::catalog::ActionIndex;
use crate::domain::identifiers::TokenId;
use crate::domain::organization::{Token, TokenScope};

/// The context attribute that tells the scope of the token a question is asked with.
pub(super) const SCOPE_ATTRIBUTE: &str = "roster_token_scope";

/// Names a scope by its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScopeId(Arc<str>);

impl ScopeId {
    /// The id of that scope: equal scopes, equal id.
    fn of(scope: &TokenScope) -> Self {
        let mut digest = Sha256::new();
        for action in &scope.actions {
            digest.update(action.as_str().as_bytes());
            digest.update([0]);
        }
        digest.update([1]);
        for project in &scope.projects {
            digest.update(project.as_str().as_bytes());
            digest.update([0]);
        }
        let bytes = digest.finalize();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(text.into())
    }

    /// What the context says.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A scope that some living token has.
#[derive(Clone)]
pub(super) struct CompiledScope {
    /// Its name.
    pub(super) id: ScopeId,
    /// What forbids all that lies outside of it.
    pub(super) policy: CompiledPolicy,
}

/// The scopes of an organization's living tokens.
#[derive(Clone, Default)]
pub(super) struct Scopes {
    /// By content, with the number of tokens that have it.
    compiled: OrdMap<ScopeId, (usize, Arc<CompiledScope>)>,
    by_token: OrdMap<TokenId, ScopeId>,
}

impl Scopes {
    /// Takes over what scope a token has now.
    pub(super) fn put(
        &mut self,
        catalog: &CompiledCatalog,
        token: &Token,
    ) -> Result<(), CatalogError> {
        let living = token.scope.as_ref().filter(|_| token.revoked_at.is_none());
        let Some(scope) = living else {
            self.remove(token.id.as_str());
            return Ok(());
        };
        let id = ScopeId::of(scope);
        if self.by_token.get(&token.id) == Some(&id) {
            return Ok(());
        }
        let held = match self.compiled.get(&id) {
            Some((count, compiled)) => (count + 1, Arc::clone(compiled)),
            None => (1, Arc::new(compile(catalog, &id, scope)?)),
        };
        self.remove(token.id.as_str());
        self.compiled.insert(id.clone(), held);
        self.by_token.insert(token.id.clone(), id);
        Ok(())
    }

    /// Forgets a token.
    pub(super) fn remove(&mut self, token: &str) {
        let Some(id) = self.by_token.remove(token) else {
            return;
        };
        match self.compiled.get(&id) {
            Some((count, compiled)) if *count > 1 => {
                let held = (count - 1, Arc::clone(compiled));
                self.compiled.insert(id, held);
            }
            _ => {
                self.compiled.remove(&id);
            }
        }
    }

    /// The scope of a token; `None` where it has none.
    pub(super) fn of(&self, token: &str) -> Option<&CompiledScope> {
        let id = self.by_token.get(token)?;
        self.compiled.get(id).map(|(_, compiled)| &**compiled)
    }

    /// How many policies there are, and how many tokens have one.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.compiled.len(), self.by_token.len())
    }

    /// Every policy.
    pub(super) fn policies(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.compiled.values().map(|(_, compiled)| &compiled.policy)
    }
}

fn compile(
    catalog: &CompiledCatalog,
    id: &ScopeId,
    scope: &TokenScope,
) -> Result<CompiledScope, CatalogError> {
    let policy = policy(catalog.catalog(), id, scope)?;
    catalog.validate(std::iter::once(&policy))?;
    Ok(CompiledScope {
        id: id.clone(),
        policy,
    })
}

fn policy(
    catalog: &Catalog,
    id: &ScopeId,
    scope: &TokenScope,
) -> Result<CompiledPolicy, BuildError> {
    let name = format!("token-scope:{}", id.as_str());
    let mut conditions = vec![when_clause(asked_with(id))];
    conditions.extend(admits(catalog, scope).map(unless_clause));
    let value = json!({
        "effect": "forbid",
        "principal": { "op": "All" },
        "action": { "op": "All" },
        "resource": { "op": "All" },
        "conditions": conditions,
        "annotations": { "id": name },
    });
    let policy =
        Policy::from_json(Some(PolicyId::new(&name)), value).map_err(|error| BuildError {
            id: name.clone(),
            problem: error.to_string(),
        })?;
    let every_action = (0..).map(ActionIndex).take(catalog.actions.len());
    Ok(CompiledPolicy {
        policy,
        source: PolicySource::TokenScope,
        principal: PrincipalScope::Any,
        actions: ActionMask::of(catalog, every_action),
        resource_type: None,
        depends_on_position_only: false,
        reads_holdings: false,
        names: Vec::new(),
    })
}

/// `context has roster_token_scope && context.roster_token_scope == "…"`
fn asked_with(id: &ScopeId) -> Json {
    let attribute = json!({ ".": { "left": variable("context"), "attr": SCOPE_ATTRIBUTE } });
    json!({ "&&": {
        "left": { "has": { "left": variable("context"), "attr": SCOPE_ATTRIBUTE } },
        "right": { "==": { "left": attribute, "right": { "Value": id.as_str() } } },
    }})
}

/// What the scope admits; `None` if the catalog no longer has any of its actions,
/// so that it admits nothing.
fn admits(catalog: &Catalog, scope: &TokenScope) -> Option<Json> {
    let projects = scope.projects.iter();
    let projects = (!scope.projects.is_empty()).then(|| {
        let set =
            projects.map(|project| entity(json!({ "type": "Project", "id": project.as_str() })));
        is_in("resource", set.collect())
    });
    let Some(actions) = scope.admitted(catalog) else {
        return projects;
    };
    let actions = named(catalog, &actions);
    if actions.is_empty() {
        return None;
    }
    let actions = is_in("action", actions);
    Some(match projects {
        Some(projects) => json!({ "&&": { "left": actions, "right": projects } }),
        None => actions,
    })
}

fn named(catalog: &Catalog, actions: &BTreeSet<ActionIndex>) -> Vec<Json> {
    actions
        .iter()
        .filter_map(|index| catalog.actions.get(usize::from(index.0)))
        .map(|action| entity(action_json(action.id.as_str())))
        .collect()
}

fn is_in(name: &str, entities: Vec<Json>) -> Json {
    json!({ "in": { "left": variable(name), "right": { "Set": entities } } })
}

fn entity(uid: Json) -> Json {
    json!({ "Value": { "__entity": uid } })
}

fn unless_clause(body: Json) -> Json {
    json!({ "kind": "unless", "body": body })
}
