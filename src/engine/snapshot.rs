//! One organization at one revision: state, compiled policies, remembered answers.
//!
//! A snapshot never changes. The next one is made from it and the records that
//! changed, so that a role change in a large team compiles nothing and copies
//! nothing but the path to one record.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, PolicyId, PolicySet, Request, Response,
};
use imbl::OrdMap;

use super::answers::{Answers, Cell, Position};
use super::catalog::{CatalogError, CompiledCatalog};
use super::entities::{EntityError, Reach, reach_of};
use super::guardrails::Guardrails;
use super::policies::{CompiledGrants, CompiledPolicy, PermissionsId, PrincipalScope};
use super::question::Question;
use super::spelled_out::SpelledOut;
use super::tokens::Scopes;
use super::vocabulary;
use crate::domain::catalog::OWNER_ROLE;
use crate::domain::change::RecordChange;
use crate::domain::holdings::{Counting, Holdings, Validity};
use crate::domain::identifiers::RoleId;
use crate::domain::organization::{Member, Moment, Organization, Project};
use crate::domain::period::earlier;

/// What a compiled policy takes in memory, in bytes.
const POLICY_BYTES: usize = 6 * 1024;
/// What the policies of a role or of spelled-out permissions take.
const GRANTS_BYTES: usize = 4 * POLICY_BYTES;
/// What is kept for a member or a token that has policies of their own.
const PLACE_BYTES: usize = 256;
/// How much more a policy takes for each byte of its text.
const TEXT_FACTOR: usize = 16;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The principal may.
    Allow,
    /// The principal may not.
    Deny,
}

/// A verdict, and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// The moment at which it may change by itself; `None` while only a change can.
    pub valid_until: Option<Moment>,
}

/// A state does not compile; it must not be committed.
#[derive(Debug, thiserror::Error)]
#[error("the state does not compile: {0}")]
pub struct CompileError(#[from] CatalogError);

/// Cedar could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// An entity could not be made.
    #[error(transparent)]
    Entity(#[from] EntityError),
    /// Cedar refused what it was given.
    #[error("cedar refused the question: {0}")]
    Refused(String),
}

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
    guardrails: Guardrails,
    /// What living tokens may be used for at most.
    scopes: Scopes,
    /// What Cedar answered; shared with every organization that has only the
    /// catalog's policies.
    answers: Arc<Answers>,
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
            snapshot.guardrails.put(&snapshot.catalog, guardrail)?;
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
        Ok(next)
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
    }

    /// The catalog it lives on.
    pub fn catalog(&self) -> &Arc<CompiledCatalog> {
        &self.catalog
    }

    /// Decides, from memory where Cedar has answered for this position before.
    pub fn decide(&self, question: &Question<'_>) -> Result<Decision, EvaluateError> {
        let standing = self.standing(question);
        let position = standing.position();
        let cell = Cell {
            action: question.action,
            resource_type: question.resource.resource_type,
            owns: question.resource.owner == Some(question.principal),
        };
        // A stranger stands where a member stands who holds nothing: no policy that
        // looks at the position alone can tell them apart.
        if let Some(allow) = self.answers.recall(&position, cell)
            // A token's scope forbids, so it can't turn a denial into anything else.
            && (question.scope.is_none() || !allow)
        {
            return Ok(Decision {
                verdict: verdict(allow),
                valid_until: standing.valid_until(),
            });
        }
        let selected = self.select(question, &position);
        let response = self.ask(question, &position, &selected)?;
        let allow = allows(&response, &selected);
        if self.follows_from_position(question, &position, &selected) {
            self.answers.remember(&position, cell, allow);
        }
        Ok(Decision {
            verdict: verdict(allow),
            valid_until: self.valid_until(question, &standing, &selected),
        })
    }

    /// Decides by asking Cedar, whatever is remembered.
    pub fn evaluate(&self, question: &Question<'_>) -> Result<Decision, EvaluateError> {
        let standing = self.standing(question);
        let position = standing.position();
        let selected = self.select(question, &position);
        let response = self.ask(question, &position, &selected)?;
        Ok(Decision {
            verdict: verdict(allows(&response, &selected)),
            valid_until: self.valid_until(question, &standing, &selected),
        })
    }

    /// The moment at which the answer may change by itself: when something that the
    /// principal holds begins or ends, or something that others hold whom the
    /// policies may look at.
    pub(super) fn valid_until(
        &self,
        question: &Question<'_>,
        standing: &Standing<'_>,
        selected: &[&CompiledPolicy],
    ) -> Option<Moment> {
        let mut until = standing.valid_until();
        if reach_of(selected) > Reach::Position {
            for user in self.mentioned_users(question, selected) {
                let Some(member) = self.organization.members.get(user.as_str()) else {
                    continue;
                };
                until = earlier(until, member.next_change(question.at));
                for group in self.organization.groups_of(member, Counting::Ever) {
                    until = earlier(until, group.period.next_change(question.at));
                }
            }
        }
        until
    }

    /// Where the principal of a question stands.
    pub(super) fn standing<'a>(&'a self, question: &Question<'a>) -> Standing<'a> {
        let member = self
            .organization
            .members
            .get(question.principal)
            .map(AsRef::as_ref);
        self.standing_of(
            member,
            question.resource.project,
            Counting::At(question.at),
            question.at,
        )
    }

    /// Where a member or a stranger stands towards a project, of the grants that count.
    pub(super) fn standing_of<'a>(
        &'a self,
        member: Option<&'a Member>,
        project: Option<&'a Project>,
        counting: Counting,
        now: Moment,
    ) -> Standing<'a> {
        let Some(member) = member else {
            return Standing {
                member: None,
                owner: false,
                validity: Validity::Active,
                held: Holdings::default(),
                permissions: None,
            };
        };
        let user = member.user.as_str();
        let held = self.organization.holdings(member, project, counting);
        Standing {
            member: Some(member),
            owner: self.organization.is_owner(user),
            validity: member.validity(now),
            permissions: held
                .replaced
                .and(project)
                .and_then(|project| self.spelled_out.of(user, project.id.as_str())),
            held,
        }
    }

    /// What a member's override in a project spells out, by its content.
    pub(super) fn spelled_out(&self, user: &str, project: &str) -> Option<&PermissionsId> {
        self.spelled_out.of(user, project)
    }

    /// What living tokens may be used for at most.
    pub(super) fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The policies whose scope can match.
    pub(super) fn select<'a>(
        &'a self,
        question: &'a Question<'_>,
        position: &Position<'_>,
    ) -> Vec<&'a CompiledPolicy> {
        let covers = |policy: &&CompiledPolicy| {
            policy.covers(question.action, question.resource.resource_type)
        };
        let guardrails = self
            .guardrails
            .covering(question.action, question.resource.resource_type);
        let mut selected: Vec<&CompiledPolicy> = self
            .catalog
            .rules
            .iter()
            .filter(covers)
            .chain(guardrails)
            .filter(|written| match &written.principal {
                PrincipalScope::User(user) => user == question.principal,
                _ => stands_in_scope(written, position),
            })
            .collect();
        for role in position.roles {
            selected.extend(
                self.grants(role)
                    .into_iter()
                    .flat_map(|grants| &grants.on_organization)
                    .filter(covers),
            );
        }
        for role in position.project_roles {
            selected.extend(
                self.grants(role)
                    .into_iter()
                    .flat_map(|grants| &grants.on_project)
                    .filter(covers),
            );
        }
        selected.extend(question.scope.map(|scope| &scope.policy));
        if let Some(grants) = position
            .permissions
            .and_then(|id| self.spelled_out.grants(id))
        {
            selected.extend(grants.on_project.iter().filter(covers));
        }
        selected
    }

    /// Whether the answer is the same for everybody in the position: no policy that
    /// can match looks at anything else, nor does one that was left out because it
    /// is about another user.
    fn follows_from_position(
        &self,
        question: &Question<'_>,
        position: &Position<'_>,
        selected: &[&CompiledPolicy],
    ) -> bool {
        selected
            .iter()
            .all(|policy| policy.depends_on_position_only)
            && self
                .guardrails
                .covering(question.action, question.resource.resource_type)
                .filter(|guardrail| stands_in_scope(guardrail, position))
                .all(|guardrail| guardrail.depends_on_position_only)
    }

    /// Asks Cedar.
    pub(super) fn ask(
        &self,
        question: &Question<'_>,
        position: &Position<'_>,
        selected: &[&CompiledPolicy],
    ) -> Result<Response, EvaluateError> {
        let entities = self.entities_for(question, position, selected)?;
        let resource = self.asked_resource(question)?.uid();
        let entities = Entities::from_entities(entities, None).map_err(refused)?;
        let policies =
            PolicySet::from_policies(selected.iter().map(|compiled| compiled.policy.clone()))
                .map_err(refused)?;
        let Some(action) = self.catalog.action(question.action) else {
            return Err(EvaluateError::Refused("the action is unknown".to_owned()));
        };
        let context = if question.context.is_empty() {
            Context::empty()
        } else {
            Context::from_pairs(question.context.iter().cloned()).map_err(refused)?
        };
        let principal = vocabulary::user(question.principal);
        let request = Request::new(principal, action.uid.clone(), resource, context, None)
            .map_err(refused)?;
        Ok(Authorizer::new().is_authorized(&request, &policies, &entities))
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

/// Whether a scope can match somebody in the position.
fn stands_in_scope(policy: &CompiledPolicy, position: &Position<'_>) -> bool {
    match &policy.principal {
        PrincipalScope::Any | PrincipalScope::User(_) | PrincipalScope::Other => true,
        PrincipalScope::Status(status) => {
            vocabulary::status_name(position.validity) == Some(status.as_str())
        }
        PrincipalScope::Role(role) if role == OWNER_ROLE => position.owner,
        PrincipalScope::Role(role) => position.roles.iter().any(|held| held.as_str() == role),
    }
}

/// Where a principal stands towards a resource.
pub(super) struct Standing<'a> {
    pub(super) member: Option<&'a Member>,
    owner: bool,
    validity: Validity,
    held: Holdings<'a>,
    permissions: Option<&'a PermissionsId>,
}

impl Standing<'_> {
    /// The same, were there no override.
    pub(super) fn without_override(self) -> Self {
        Self {
            held: self.held.without_override(),
            permissions: None,
            ..self
        }
    }

    /// When what is held may change by itself.
    pub(super) fn valid_until(&self) -> Option<Moment> {
        self.held.valid_until
    }

    /// The position policies see.
    pub(super) fn position(&self) -> Position<'_> {
        Position {
            owner: self.owner,
            validity: self.validity,
            overridden: self.held.replaced.is_some(),
            roles: &self.held.roles,
            project_roles: self.held.counting_on_project(),
            permissions: self.permissions,
        }
    }
}

/// Cedar's answer, made safe: a policy that fails while it forbids denies, where
/// Cedar alone would leave it out.
pub(super) fn allows(response: &Response, selected: &[&CompiledPolicy]) -> bool {
    response.decision() == cedar_policy::Decision::Allow
        && failed_forbids(response, selected).next().is_none()
}

/// Forbidding policies that could not be evaluated.
pub(super) fn failed_forbids<'a>(
    response: &'a Response,
    selected: &'a [&CompiledPolicy],
) -> impl Iterator<Item = &'a CompiledPolicy> {
    response
        .diagnostics()
        .errors()
        .filter_map(|error| {
            selected
                .iter()
                .find(|policy| policy.policy.id() == failed_policy(error))
        })
        .copied()
        .filter(|policy| policy.forbids())
}

/// The policy an error of Cedar is about.
pub(super) fn failed_policy(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}

fn verdict(allow: bool) -> Verdict {
    if allow { Verdict::Allow } else { Verdict::Deny }
}

fn refused(error: impl std::error::Error) -> EvaluateError {
    EvaluateError::Refused(error.to_string())
}
