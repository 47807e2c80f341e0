//! From a question to a decision: what is remembered, else what Cedar says.
//!
//! Rust selects the policies whose scope can match and the entities that they can
//! look at; it never decides. Where the same policies are asked again, their set is
//! kept ([`Prepared`]).

use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Effect, PolicyId, PolicySet, Request, Response,
};
use cedar_policy_core::ast::Entity;

use super::answers::Prepared;
use super::entities::{EntityError, Prototype, Reach, closed, look_at_groups, reach_of};
use super::policies::{CompiledPolicy, PrincipalScope};
use super::positions::{Position, PositionNumber};
use super::principals::Found;
use super::question::Question;
use super::snapshot::Snapshot;
use super::standing::Standing;
use super::vocabulary;
use crate::domain::catalog::OWNER_ROLE;
use crate::domain::holdings::Counting;
use crate::domain::organization::{Member, Moment};
use crate::domain::period::earlier;

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
impl Snapshot {
    /// Decides, from memory where Cedar has answered for this position before.
    pub fn decide(&self, question: &Question<'_>) -> Result<Decision, EvaluateError> {
        let stand = self.stand(question);
        let number = match stand {
            Stand::Numbered(number) => number,
            Stand::Stranger => PositionNumber::NOWHERE,
            Stand::Recorded(member) => return self.decide_by_record(question, member),
        };
        if let Some(allow) = self.answers.recall(number, question.cell)
            && settles(question, allow)
        {
            return Ok(Decision {
                verdict: verdict(allow),
                valid_until: None,
            });
        }
        let prepared = self.prepared(question, number);
        let (decision, made) = self.ask_numbered(question, &stand, prepared)?;
        if let Some(made) = made {
            if made.follows_from_position {
                let allow = decision.verdict == Verdict::Allow;
                self.answers.remember(number, question.cell, allow);
            } else {
                self.answers.prepare(number, question.cell, &Arc::new(made));
            }
        }
        Ok(decision)
    }

    /// Decides by asking Cedar, whatever is remembered.
    pub fn evaluate(&self, question: &Question<'_>) -> Result<Decision, EvaluateError> {
        let stand = self.stand(question);
        let number = match stand {
            Stand::Numbered(number) => Some(number),
            Stand::Stranger => Some(PositionNumber::NOWHERE),
            Stand::Recorded(_) => None,
        };
        let prepared = number.and_then(|number| self.prepared(question, number));
        let (decision, made) = self.ask_numbered(question, &stand, prepared)?;
        if let (Some(number), Some(made)) = (number, made) {
            self.answers.prepare(number, question.cell, &Arc::new(made));
        }
        Ok(decision)
    }

    /// The same for a member whose position has no number.
    fn decide_by_record(
        &self,
        question: &Question<'_>,
        member: &Member,
    ) -> Result<Decision, EvaluateError> {
        let (counting, at) = (Counting::At(question.at), question.at);
        let standing = self.standing_of(Some(member), question.resource.project, counting, at);
        let position = standing.position();
        if let Some(allow) = self.answers.recall_other(&position, question.cell)
            && settles(question, allow)
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
            self.answers.remember_other(&position, question.cell, allow);
        }
        Ok(Decision {
            verdict: verdict(allow),
            valid_until: self.valid_until(question, &standing, &selected),
        })
    }

    /// Asks Cedar with the policies that were prepared for the position. Without them,
    /// finds them, and answers with them too if they are the same for the next question.
    fn ask_numbered(
        &self,
        question: &Question<'_>,
        stand: &Stand<'_>,
        prepared: Option<Arc<Prepared>>,
    ) -> Result<(Decision, Option<Prepared>), EvaluateError> {
        if let Some(prepared) = &prepared
            && let Some(user) = &prepared.user
        {
            let is_member = !matches!(stand, Stand::Stranger);
            let user = is_member.then(|| user.stand_in(question));
            let entities = self.entities_towards(question, prepared.with_action, user)?;
            let response = self.judge(question, entities, &prepared.policies)?;
            let decision = Decision {
                verdict: verdict(allows_of(&response, &prepared.policies)),
                valid_until: None,
            };
            return Ok((decision, None));
        }
        let standing = self.standing(question);
        let position = standing.position();
        let selected = self.select(question, &position);
        let entities = self.entities_for(question, &position, &selected)?;
        let decided = |response: &Response| Decision {
            verdict: verdict(allows(response, &selected)),
            valid_until: self.valid_until(question, &standing, &selected),
        };
        if let Some(prepared) = prepared {
            let response = self.judge(question, entities, &prepared.policies)?;
            return Ok((decided(&response), None));
        }
        let policies = policy_set(&selected)?;
        let response = self.judge(question, entities, &policies)?;
        let made = self.is_same_for_all(question).then(|| Prepared {
            policies,
            user: (reach_of(&selected) == Reach::Position).then(|| Prototype::of(&position)),
            with_action: look_at_groups(&selected),
            follows_from_position: self.follows_from_position(question, &position, &selected),
        });
        Ok((decided(&response), made))
    }

    /// The policies that were prepared for the position, if they are what this question
    /// has to be asked with.
    fn prepared(&self, question: &Question<'_>, number: PositionNumber) -> Option<Arc<Prepared>> {
        if question.scope.is_some() {
            return None;
        }
        self.answers.prepared(number, question.cell)
    }

    /// Whether everybody in the position is asked about with the same policies: no
    /// token's scope, and no policy about a single user.
    fn is_same_for_all(&self, question: &Question<'_>) -> bool {
        let (action, resource_type) = (question.action, question.resource.resource_type);
        let rules = self.catalog().rules.iter();
        question.scope.is_none()
            && rules
                .filter(|rule| rule.covers(action, resource_type))
                .chain(self.guardrails.covering(action, resource_type))
                .all(|written| !matches!(written.principal, PrincipalScope::User(_)))
    }

    fn stand<'a>(&'a self, question: &Question<'a>) -> Stand<'a> {
        match self.principals.find(question.principal) {
            None => Stand::Stranger,
            Some(Found::Everywhere(number)) => Stand::Numbered(number),
            Some(Found::ByProject(places)) => {
                Stand::Numbered(places.towards(question.resource.project))
            }
            Some(Found::Recorded(member)) => Stand::Recorded(member),
        }
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
                let Some(member) = self.organization().members.get(user.as_str()) else {
                    continue;
                };
                until = earlier(until, member.next_change(question.at));
                for group in self.organization().groups_of(member, Counting::Ever) {
                    until = earlier(until, group.period.next_change(question.at));
                }
            }
        }
        until
    }

    /// Ids of the policies that a question is asked with: those whose scope can match.
    pub fn policies_asked(&self, question: &Question<'_>) -> Vec<String> {
        let standing = self.standing(question);
        let selected = self.select(question, &standing.position());
        let ids = selected.iter().map(|policy| policy.policy.id().to_string());
        ids.collect()
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
            .catalog()
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
            .and_then(|id| self.all_spelled_out().grants(id))
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
        self.judge(question, entities, &policy_set(selected)?)
    }

    fn judge(
        &self,
        question: &Question<'_>,
        entities: Vec<Entity>,
        policies: &PolicySet,
    ) -> Result<Response, EvaluateError> {
        let entities = closed(entities)?;
        let Some(action) = self.catalog().action(question.action) else {
            return Err(EvaluateError::Refused("the action is unknown".to_owned()));
        };
        let context = if question.context.is_empty() {
            Context::empty()
        } else {
            Context::from_pairs(question.context.iter().cloned()).map_err(refused)?
        };
        let principal = vocabulary::user(question.principal);
        let resource = self.asked_uid(question)?;
        let request = Request::new(principal, action.uid.clone(), resource, context, None)
            .map_err(refused)?;
        Ok(Authorizer::new().is_authorized(&request, policies, &entities))
    }
}

/// How a principal is found to stand towards a resource.
enum Stand<'a> {
    /// No member.
    Stranger,
    /// A member at a position that has a number.
    Numbered(PositionNumber),
    /// A member whose record tells.
    Recorded(&'a Member),
}

/// Whether what is remembered answers the question. A token's scope forbids, so it
/// can't turn a denial into anything else.
fn settles(question: &Question<'_>, allow: bool) -> bool {
    question.scope.is_none() || !allow
}

fn policy_set(selected: &[&CompiledPolicy]) -> Result<PolicySet, EvaluateError> {
    let policies = selected.iter().map(|compiled| compiled.policy.clone());
    PolicySet::from_policies(policies).map_err(refused)
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
/// Cedar's answer, made safe: a policy that fails while it forbids denies, where
/// Cedar alone would leave it out.
pub(super) fn allows(response: &Response, selected: &[&CompiledPolicy]) -> bool {
    response.decision() == cedar_policy::Decision::Allow
        && failed_forbids(response, selected).next().is_none()
}

/// The same for a set of policies.
fn allows_of(response: &Response, policies: &PolicySet) -> bool {
    let failed_forbid = || {
        response.diagnostics().errors().any(|error| {
            let failed = policies.policy(failed_policy(error));
            failed.is_none_or(|policy| policy.effect() == Effect::Forbid)
        })
    };
    response.decision() == cedar_policy::Decision::Allow && !failed_forbid()
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
