//! Why: the policies that decided, told in words of the team's world.
//!
//! Made only when asked for. What a denial lacked is found by asking Cedar again
//! with one thing changed (without the override, as the resource's owner), never
//! by a second reading of the rules.

use cedar_policy::{PolicyId, Response};

use super::deciding::{EvaluateError, Verdict, allows, failed_forbids, failed_policy};
use super::policies::{CompiledPolicy, PolicySource};
use super::positions::Position;
use super::question::{AskedResource, Question};
use super::snapshot::Snapshot;
use crate::domain::catalog::{Level, OWNER_ROLE};
use crate::domain::holdings::Counting;
use crate::domain::identifiers::GuardrailId;
use crate::domain::organization::Moment;

/// The kind of reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReasonCode {
    /// Allowed: the principal owns the organization.
    Owner,
    /// Allowed by a role on the organization.
    Role,
    /// Allowed by a role on the project.
    ProjectRole,
    /// Allowed by an override in the project.
    Override,
    /// Allowed by a rule of the product.
    Rule,
    /// Allowed by a guardrail that an operator wrote.
    GuardrailPermits,
    /// Denied: no member of the organization.
    NotAMember,
    /// Denied: the membership is suspended.
    Suspended,
    /// Denied: the membership, or what would grant it, does not count yet.
    NotYetValid,
    /// Denied: the membership, or what would grant it, has ended.
    Expired,
    /// Denied: nothing held grants the action.
    NoGrant,
    /// Denied: roles would grant it, but an override replaces them in the project.
    OverrideDenies,
    /// Denied: granted on own resources, and this is another's.
    NotOwnerOfResource,
    /// Denied: granted under a condition that does not hold.
    ConditionFailed,
    /// Denied: the token is not for this action or project.
    TokenScope,
    /// Denied: the token is revoked, or the membership that it is bound to is gone.
    TokenRevoked,
    /// Denied: the plan lacks the feature.
    Plan,
    /// Denied by a rule of the product that binds everybody.
    TeamRule,
    /// Denied by a guardrail of the organization.
    Guardrail,
    /// Denied: the owner can't leave.
    OwnerStays,
    /// Denied to be safe: a forbidding policy could not be evaluated.
    PolicyError,
}

/// One reason for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its kind.
    pub code: ReasonCode,
    /// One sentence for people.
    pub message: String,
    /// The role that mattered, or empty.
    pub role: String,
    /// The project that mattered, or empty.
    pub project: String,
    /// The policy that mattered, or empty.
    pub policy: String,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided.
    pub verdict: Verdict,
    /// Why, at least one.
    pub reasons: Vec<Reason>,
    /// Ids of the policies that decided.
    pub determining_policies: Vec<String>,
    /// The moment at which it may change by itself.
    pub valid_until: Option<Moment>,
}

impl Snapshot {
    /// Decides by asking Cedar, and says why.
    pub fn explain(&self, question: &Question<'_>) -> Result<Explanation, EvaluateError> {
        let standing = self.standing(question);
        let position = standing.position();
        let selected = self.select(question, &position);
        let response = self.ask(question, &position, &selected)?;
        let verdict = if allows(&response, &selected) {
            Verdict::Allow
        } else {
            Verdict::Deny
        };
        let mut determining: Vec<&CompiledPolicy> = selected
            .iter()
            .copied()
            .filter(|policy| {
                response
                    .diagnostics()
                    .reason()
                    .any(|id| id == policy.policy.id())
            })
            // Cedar allows where a forbidding policy fails, and names what permits.
            .filter(|policy| verdict == Verdict::Allow || policy.forbids())
            .chain(failed_forbids(&response, &selected))
            .collect();
        determining.sort_by(|left, right| left.policy.id().cmp(right.policy.id()));
        let mut reasons = self.reasons_of(question, &position, &determining, &response);
        if standing.member.is_none() {
            reasons = vec![reason(
                ReasonCode::NotAMember,
                "the principal is no member of the organization",
            )];
        } else if reasons.is_empty() {
            reasons = self.what_was_missing(question, &position, &selected)?;
        }
        Ok(Explanation {
            valid_until: self.valid_until(question, &standing, &selected),
            verdict,
            reasons,
            determining_policies: determining
                .iter()
                .map(|policy| policy.policy.id().to_string())
                .collect(),
        })
    }

    fn reasons_of(
        &self,
        question: &Question<'_>,
        position: &Position<'_>,
        determining: &[&CompiledPolicy],
        response: &Response,
    ) -> Vec<Reason> {
        let project = question
            .resource
            .project
            .map(|project| project.id.to_string())
            .unwrap_or_default();
        let failed = |id: &PolicyId| {
            response
                .diagnostics()
                .errors()
                .any(|error| failed_policy(error) == id)
        };
        determining
            .iter()
            .map(|policy| {
                let mut reason = match &policy.source {
                    _ if failed(policy.policy.id()) => reason(
                        ReasonCode::PolicyError,
                        "a forbidding policy could not be evaluated; denied to be safe",
                    ),
                    PolicySource::Role(role) => Reason {
                        role: role.to_string(),
                        ..reason(ReasonCode::Role, "a role on the organization grants it")
                    },
                    PolicySource::ProjectRole(role) if position.overridden => Reason {
                        role: role.to_string(),
                        project: project.clone(),
                        ..reason(
                            ReasonCode::Override,
                            "the member's override in the project grants it",
                        )
                    },
                    PolicySource::ProjectRole(role) => Reason {
                        role: role.to_string(),
                        project: project.clone(),
                        ..reason(ReasonCode::ProjectRole, "a role on the project grants it")
                    },
                    PolicySource::Permissions => Reason {
                        project: project.clone(),
                        ..reason(
                            ReasonCode::Override,
                            "the member's override in the project grants it",
                        )
                    },
                    PolicySource::Guardrail(id) => self.guardrail_reason(id, policy.forbids()),
                    PolicySource::TokenScope => Reason {
                        project: project.clone(),
                        ..reason(
                            ReasonCode::TokenScope,
                            "the token is not for this action or project",
                        )
                    },
                    PolicySource::Rule { code, reason: text } => {
                        rule_reason(code, text, policy.forbids())
                    }
                };
                reason.policy = policy.policy.id().to_string();
                reason
            })
            .collect()
    }

    fn what_was_missing(
        &self,
        question: &Question<'_>,
        position: &Position<'_>,
        selected: &[&CompiledPolicy],
    ) -> Result<Vec<Reason>, EvaluateError> {
        let mut reasons = Vec::new();
        let member = self
            .organization()
            .members
            .get(question.principal)
            .map(AsRef::as_ref);
        let project = question.resource.project;
        let ever = self.standing_of(member, project, Counting::Ever, question.at);
        if ever.position() != *position && self.would_be_allowed(question, &ever.position())? {
            let from_now =
                self.standing_of(member, project, Counting::From(question.at), question.at);
            reasons.push(if self.would_be_allowed(question, &from_now.position())? {
                reason(
                    ReasonCode::NotYetValid,
                    "what would grant it does not count yet",
                )
            } else {
                reason(ReasonCode::Expired, "what granted it has ended")
            });
        }
        let bare = self.standing(question).without_override();
        if position.overridden && self.would_be_allowed(question, &bare.position())? {
            reasons.push(Reason {
                project: question
                    .resource
                    .project
                    .map(|project| project.id.to_string())
                    .unwrap_or_default(),
                ..reason(
                    ReasonCode::OverrideDenies,
                    "an override replaces the member's roles in the project",
                )
            });
        }
        let as_owner = question.owned_by_principal();
        if question.resource.owner != Some(question.principal)
            && self.would_be_allowed(&as_owner, position)?
        {
            reasons.push(reason(
                ReasonCode::NotOwnerOfResource,
                "the member may do it to resources of their own, and this one is not",
            ));
        }
        // In an overridden project, what the organization's roles give does not
        // count there, whatever their conditions say.
        let set_aside = |policy: &CompiledPolicy| {
            position.overridden
                && matches!(policy.source, PolicySource::Role(_))
                && self.is_project_level(question)
        };
        if selected.iter().any(|policy| {
            !policy.forbids() && !policy.depends_on_position_only && !set_aside(policy)
        }) {
            reasons.push(reason(
                ReasonCode::ConditionFailed,
                "it is granted under a condition that does not hold here",
            ));
        }
        if reasons.is_empty() {
            reasons.push(reason(
                ReasonCode::NoGrant,
                "nothing that the member holds grants it",
            ));
        }
        Ok(reasons)
    }

    /// What a guardrail is for, in its author's words if there are any.
    fn guardrail_reason(&self, id: &GuardrailId, forbids: bool) -> Reason {
        let (code, unsaid) = if forbids {
            (
                ReasonCode::Guardrail,
                "a guardrail of the organization forbids it",
            )
        } else {
            (
                ReasonCode::GuardrailPermits,
                "a guardrail of the organization permits it",
            )
        };
        if self.is_outgrown(id) {
            return reason(
                code,
                &format!(
                    "guardrail `{id}` does not fit its catalog, and forbids everything until it is edited or deleted"
                ),
            );
        }
        let guardrail = self.organization().guardrails.get(id.as_str());
        let said = guardrail.map(|guardrail| guardrail.description.as_str());
        let said = said.filter(|description| !description.is_empty());
        reason(code, said.unwrap_or(unsaid))
    }

    fn is_project_level(&self, question: &Question<'_>) -> bool {
        let actions = &self.catalog().catalog().actions;
        actions
            .get(usize::from(question.action.0))
            .is_some_and(|action| action.level == Level::Project)
    }

    fn would_be_allowed(
        &self,
        question: &Question<'_>,
        position: &Position<'_>,
    ) -> Result<bool, EvaluateError> {
        let selected = self.select(question, position);
        let response = self.ask(question, position, &selected)?;
        Ok(allows(&response, &selected))
    }
}

impl<'a> Question<'a> {
    /// The same question, were the resource the principal's own.
    fn owned_by_principal(&self) -> Question<'a> {
        Question {
            principal: self.principal,
            action: self.action,
            resource: AskedResource {
                resource_type: self.resource.resource_type,
                id: self.resource.id,
                project: self.resource.project,
                owner: Some(self.principal),
                attributes: self.resource.attributes.clone(),
            },
            cell: self.cell.owned(),
            context: self.context.clone(),
            users: self.users.clone(),
            scope: self.scope,
            at: self.at,
        }
    }
}

fn rule_reason(code: &str, text: &str, forbids: bool) -> Reason {
    let code = match code {
        "OWNER" => ReasonCode::Owner,
        "SUSPENDED" => ReasonCode::Suspended,
        "NOT_YET_VALID" => ReasonCode::NotYetValid,
        "EXPIRED" => ReasonCode::Expired,
        "OWNER_STAYS" => ReasonCode::OwnerStays,
        "PLAN" => ReasonCode::Plan,
        _ if forbids => ReasonCode::TeamRule,
        _ => ReasonCode::Rule,
    };
    let role = if code == ReasonCode::Owner {
        OWNER_ROLE.to_owned()
    } else {
        String::new()
    };
    Reason {
        role,
        ..reason(code, text)
    }
}

fn reason(code: ReasonCode, message: &str) -> Reason {
    Reason {
        code,
        message: message.to_owned(),
        role: String::new(),
        project: String::new(),
        policy: String::new(),
    }
}
