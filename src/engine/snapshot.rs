//! One organization at one revision: state, compiled policies, remembered answers.
//!
//! A snapshot never changes. The next one is made from it and the records that
//! changed, so that a role change in a large team compiles nothing and copies
//! nothing but the path to one record.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::answers::Answers;
use super::catalog::{CatalogError, CompiledCatalog};
use super::guardrails::Guardrails;
use super::policies::{CompiledGrants, CompiledPolicy, PermissionsId};
use super::positions::Positions;
use super::principals::Principals;
use super::spelled_out::SpelledOut;
use super::standing::Numbering;
use super::tokens::Scopes;
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{GuardrailId, RoleId};
use crate::domain::organization::Organization;
/// What a compiled policy takes in memory, in bytes.
const POLICY_BYTES: usize = 6 * 1024;
/// What the policies of a role or of spelled-out permissions take.
const GRANTS_BYTES: usize = 4 * POLICY_BYTES;
/// What is kept for a member or a token that has policies of their own.
const PLACE_BYTES: usize = 256;
/// How much more a policy takes for each byte of its text.
const TEXT_FACTOR: usize = 16;

/// A state does not compile; it must not be committed.
#[derive(Debug, thiserror::Error)]
#[error("the state does not compile: {0}")]
pub struct CompileError(#[from] CatalogError);
/// An immutable organization, ready to decide.
pub struct Snapshot {
    revision: u64,
    organization: Organization,
    catalog: Arc<CompiledCatalog>,
    /// Roles that differ from the catalog's, and custom ones.
    roles: OrdMap<RoleId, Arc<CompiledGrants>>,
    /// What overrides spell out.
    spelled_out: SpelledOut,
    /// The organization's own policies.
    pub(super) guardrails: Guardrails,
    /// What living tokens may be used for at most.
    scopes: Scopes,
    /// What Cedar answered; shared with every organization that has only the
    /// catalog's policies.
    pub(super) answers: Arc<Answers>,
    /// Where each member stands.
    pub(super) principals: Principals,
    /// Numbers of positions that are not the catalog's; grows from state to state.
    positions: Arc<Positions>,
}

impl Snapshot {
    /// Compiles a whole organization, as read from the store at a revision.
    pub fn compile(
        catalog: Arc<CompiledCatalog>,
        organization: Organization,
        revision: u64,
    ) -> Result<Self, CompileError> {
        let answers = Arc::clone(&catalog.answers);
        let mut snapshot = Self {
            revision,
            organization: Organization::empty(
                Arc::clone(&organization.profile),
                organization.version,
            ),
            catalog,
            roles: OrdMap::new(),
            spelled_out: SpelledOut::default(),
            guardrails: Guardrails::default(),
            scopes: Scopes::default(),
            answers,
            principals: Principals::default(),
            positions: Arc::default(),
        };
        let mut own_answers = false;
        for role in organization.roles.values() {
            let compiled = snapshot.catalog.compile_role(&role.id, &role.permissions)?;
            snapshot.roles.insert(role.id.clone(), compiled);
            own_answers = true;
        }
        for member in organization.members.values() {
            own_answers |= snapshot.spelled_out.put(&snapshot.catalog, member)?;
        }
        for guardrail in organization.guardrails.values() {
            snapshot.guardrails.restore(&snapshot.catalog, guardrail)?;
            own_answers = true;
        }
        for token in organization.tokens.values() {
            snapshot.scopes.put(&snapshot.catalog, token)?;
        }
        if own_answers {
            snapshot.guardrails.index(snapshot.catalog.catalog());
            snapshot.answers = Arc::new(Answers::new(snapshot.catalog.catalog()));
        }
        snapshot.organization = organization;
        let numbering = snapshot.numbering();
        let members = snapshot.organization.members.values();
        snapshot.principals =
            Principals::of(members.map(|member| (member.user.as_str(), numbering.place(member))));
        Ok(snapshot)
    }

    /// The snapshot after some records changed; `organization` is the state with
    /// them applied, and no record is changed twice. Compiles only what is new.
    pub fn advance(
        &self,
        organization: Organization,
        changes: &[RecordChange],
    ) -> Result<Self, CompileError> {
        let mut next = Self {
            revision: self.revision,
            organization: self.organization.clone(),
            catalog: Arc::clone(&self.catalog),
            roles: self.roles.clone(),
            spelled_out: self.spelled_out.clone(),
            guardrails: self.guardrails.clone(),
            scopes: self.scopes.clone(),
            answers: Arc::clone(&self.answers),
            principals: self.principals.clone(),
            positions: Arc::clone(&self.positions),
        };
        let mut other_policies = false;
        let mut other_guardrails = false;
        for change in changes {
            match change {
                RecordChange::PutRole(role) => {
                    let compiled = next.catalog.compile_role(&role.id, &role.permissions)?;
                    next.roles.insert(role.id.clone(), compiled);
                    other_policies = true;
                }
                RecordChange::DeleteRole(role) => {
                    next.roles.remove(role.as_str());
                    other_policies = true;
                }
                RecordChange::PutMember(member) => {
                    let shared = Arc::ptr_eq(&next.answers, &next.catalog.answers);
                    other_policies |= next.spelled_out.put(&next.catalog, member)? && shared;
                }
                RecordChange::DeleteMember(user) => next.spelled_out.remove(user.as_str()),
                RecordChange::PutGuardrail(guardrail) => {
                    next.guardrails.put(&next.catalog, guardrail)?;
                    other_guardrails = true;
                }
                RecordChange::DeleteGuardrail(guardrail) => {
                    next.guardrails.remove(guardrail);
                    other_guardrails = true;
                }
                RecordChange::PutToken(token) => next.scopes.put(&next.catalog, token)?,
                RecordChange::DeleteToken(token) => next.scopes.remove(token.as_str()),
                RecordChange::PutProfile(_)
                | RecordChange::PutProject(_)
                | RecordChange::DeleteProject(_)
                | RecordChange::PutResource(_)
                | RecordChange::DeleteResource(_)
                | RecordChange::PutGroup(_)
                | RecordChange::DeleteGroup(_)
                | RecordChange::PutInvitation(_)
                | RecordChange::DeleteInvitation(_)
                | RecordChange::PutNotification(_)
                | RecordChange::DeleteNotification(_)
                | RecordChange::DeleteOrganization => {}
            }
        }
        if other_guardrails {
            next.guardrails.index(next.catalog.catalog());
        }
        if other_policies || other_guardrails {
            next.answers = Arc::new(Answers::new(next.catalog.catalog()));
        }
        next.organization = organization;
        next.follow_members(self, changes);
        Ok(next)
    }

    /// Takes over where the members stand whom the changes are about.
    fn follow_members(&mut self, before: &Self, changes: &[RecordChange]) {
        let mut principals = std::mem::take(&mut self.principals);
        let numbering = self.numbering();
        let members = &self.organization.members;
        for change in changes {
            match change {
                RecordChange::PutMember(member) => {
                    principals.put(member.user.as_str(), numbering.place(member));
                }
                RecordChange::DeleteMember(user) => principals.remove(user.as_str()),
                RecordChange::PutProfile(profile) => {
                    let owners = [&before.organization.profile.owner, &profile.owner];
                    let passed_on = owners[0] != owners[1];
                    for owner in owners.into_iter().filter(|_| passed_on) {
                        if let Some(member) = members.get(owner.as_str()) {
                            principals.put(owner.as_str(), numbering.place(member));
                        }
                    }
                }
                _ => {}
            }
        }
        self.principals = principals;
    }

    fn numbering(&self) -> Numbering<'_> {
        Numbering {
            catalog: &self.catalog,
            organization: &self.organization,
            spelled_out: &self.spelled_out,
            own: &self.positions,
        }
    }

    /// The same snapshot at the revision its commit got.
    #[must_use]
    pub fn at_revision(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// The position in the history of the last change it contains.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The state.
    pub fn organization(&self) -> &Organization {
        &self.organization
    }

    /// What it takes in memory, in bytes, by estimate: the organization, what is compiled
    /// for it, and the answers that are remembered for it alone.
    pub fn weight(&self) -> usize {
        let texts = self.organization.guardrails.values();
        let texts: usize = texts.map(|guardrail| guardrail.text.len()).sum();
        let (permissions, holders) = self.spelled_out.counts();
        let (scopes, tokens) = self.scopes.counts();
        let is_shared = Arc::ptr_eq(&self.answers, &self.catalog.answers);
        let answers = if is_shared { 0 } else { self.answers.weight() };
        self.organization.weight
            + (self.roles.len() + permissions) * GRANTS_BYTES
            + scopes * POLICY_BYTES
            + (holders + tokens) * PLACE_BYTES
            + self.organization.guardrails.len() * POLICY_BYTES
            + texts * TEXT_FACTOR
            + answers
            + self.principals.weight()
            + self.positions.weight()
    }

    /// The catalog it lives on.
    pub fn catalog(&self) -> &Arc<CompiledCatalog> {
        &self.catalog
    }

    /// What is wrong with the organization, in words; looks at everything.
    pub fn fault(&self) -> Option<String> {
        let rules = self.catalog.catalog();
        let fault = self.organization.fault(rules);
        fault.or_else(|| self.outgrown())
    }

    /// What is wrong with the organization after changes, if it was sound before;
    /// looks at no more than they can have touched.
    pub fn fault_after(&self, changes: &[RecordChange]) -> Option<String> {
        let rules = self.catalog.catalog();
        let fault = self.organization.fault_after(rules, changes);
        fault.or_else(|| self.outgrown())
    }

    fn outgrown(&self) -> Option<String> {
        self.guardrails.first_problem().map(str::to_owned)
    }

    /// Whether a guardrail does not fit its catalog, so that something stands in for it.
    pub(super) fn is_outgrown(&self, guardrail: &GuardrailId) -> bool {
        self.guardrails.is_outgrown(guardrail)
    }

    /// What overrides spell out.
    pub(super) fn all_spelled_out(&self) -> &SpelledOut {
        &self.spelled_out
    }

    /// What a member's override in a project spells out, by its content.
    pub(super) fn spelled_out(&self, user: &str, project: &str) -> Option<&PermissionsId> {
        self.spelled_out.of(user, project)
    }

    /// What living tokens may be used for at most.
    pub(super) fn scopes(&self) -> &Scopes {
        &self.scopes
    }
    /// The compiled policies of a role, the organization's own edition first.
    pub(super) fn grants(&self, role: &RoleId) -> Option<&CompiledGrants> {
        self.roles
            .get(role)
            .or_else(|| self.catalog.roles.get(role))
            .map(AsRef::as_ref)
    }

    /// Every policy of the organization: rules, roles, spelled-out permissions,
    /// guardrails, scopes of tokens.
    pub(super) fn all_policies(&self) -> impl Iterator<Item = &CompiledPolicy> {
        let built_in: BTreeMap<&RoleId, &Arc<CompiledGrants>> = self
            .catalog
            .roles
            .iter()
            .filter(|(id, _)| !self.roles.contains_key(id.as_str()))
            .collect();
        self.catalog
            .rules
            .iter()
            .chain(built_in.into_values().flat_map(|grants| grants.iter()))
            .chain(self.roles.values().flat_map(|grants| grants.iter()))
            .chain(self.spelled_out.policies())
            .chain(self.guardrails.policies())
            .chain(self.scopes.policies())
    }
}
