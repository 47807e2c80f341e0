//! `roster explain`: why somebody may or may not do something, and what would help.
//!
//! It asks the daemon several questions and puts the answers together: the decision with
//! its reasons, the text of the policies that decided, the roles that carry the action,
//! and who may take the step that the reasons call for. All but the first are asked from
//! the revision of the first on. A role that carries the action need not be enough: a
//! guardrail or a condition may still deny. So it says what carries, and promises nothing.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::asking::{
    AskError, allows, ask, block_on, code_of, json_of, lines_of, question, timed, unanswered,
};
use crate::client::connection::Connection;
use crate::config::Output;
use crate::config::question::QuestionSettings;
use crate::proto::v1;
use crate::proto::v1::authorization_service_client::AuthorizationServiceClient;
use crate::proto::v1::member_service_client::MemberServiceClient;
use crate::proto::v1::policy_service_client::PolicyServiceClient;
use crate::proto::v1::role_service_client::RoleServiceClient;

/// How much of a list is asked for at once.
const PAGE: u32 = 1_000;
/// How many of those who may help are named.
const MOST_NAMED: usize = 10;
/// How many members are asked about at most, so that a large team takes no minutes.
const MOST_ASKED: usize = 10_000;

/// What is known beyond the answer.
#[derive(Default)]
struct Explanation {
    /// Id and text of the policies that decided.
    policies: Vec<(String, String)>,
    /// Roles that carry the action.
    roles: Vec<v1::Role>,
    /// What would help.
    steps: Vec<Step>,
}

/// A step that would help, and who may take it.
#[derive(PartialEq, Eq)]
struct Step {
    /// In words.
    what: String,
    /// The action that whoever takes it needs.
    needs: &'static str,
    /// On what: type and id.
    on: (&'static str, String),
    /// Members who may.
    by: Vec<String>,
    /// Whether there are, or may be, more.
    more: bool,
}

/// Asks and says what was answered.
pub fn run(settings: &QuestionSettings) -> ExitCode {
    match explained(settings) {
        Ok((answer, explanation)) => {
            match settings.output {
                Output::Text => {
                    let mut lines = lines_of(&answer);
                    lines.extend(explanation.lines());
                    println!("{}", lines.join("\n"));
                }
                Output::Json => println!("{}", explanation.joined(json_of(&answer))),
            }
            code_of(&answer)
        }
        Err(error) => unanswered(&error, settings.output),
    }
}

fn explained(
    settings: &QuestionSettings,
) -> Result<(v1::IsAuthorizedResponse, Explanation), AskError> {
    let question = question(settings)?;
    block_on(async {
        let (connection, answer) = ask(settings, question.clone()).await?;
        let asker = Asker {
            connection,
            organization: question.organization.clone(),
            at_least: answer.revision.clone(),
        };
        let mut explanation = Explanation {
            policies: asker.policies(&answer.determining_policies).await?,
            ..Explanation::default()
        };
        if !allows(&answer) {
            explanation.roles = asker.roles_with(&question.action).await?;
            for mut step in steps(&answer, &question, &explanation.roles) {
                asker.ask_who_may(&mut step).await?;
                explanation.steps.push(step);
            }
        }
        Ok((answer, explanation))
    })
}

/// What each reason calls for; who may do it is not known yet.
fn steps(
    answer: &v1::IsAuthorizedResponse,
    question: &v1::IsAuthorizedRequest,
    roles: &[v1::Role],
) -> Vec<Step> {
    use v1::ReasonCode as Code;
    let user = question.principal.as_ref().map_or("", |who| &who.id);
    let on_member = || ("Member", user.to_owned());
    let on_organization = || ("Organization", question.organization.clone());
    let mut steps = Vec::new();
    for reason in &answer.reasons {
        let (what, needs, on) = match reason.code() {
            Code::NotAMember => (
                format!("invite `{user}`"),
                "InviteMember",
                on_organization(),
            ),
            Code::Suspended => (
                format!("reinstate `{user}`"),
                "ReinstateMember",
                on_member(),
            ),
            // Without such a role there is nothing to give.
            Code::NoGrant | Code::NotOwnerOfResource | Code::ConditionFailed
                if !roles.is_empty() =>
            {
                let what = format!("give `{user}` a role that carries the action");
                (what, "ChangeMemberRole", on_member())
            }
            Code::OverrideDenies => {
                let project = &reason.project;
                let what = format!("change or remove the override of `{user}` in `{project}`");
                let on = ("Project", project.clone());
                (what, "SetProjectOverride", on)
            }
            Code::NotYetValid | Code::Expired => {
                let what = format!("change when the membership or the roles of `{user}` count");
                (what, "ChangeMemberRole", on_member())
            }
            Code::Guardrail => {
                let what = format!("edit or delete the guardrail `{}`", reason.policy);
                (what, "ManageGuardrails", on_organization())
            }
            _ => continue,
        };
        let step = Step {
            what,
            needs,
            on,
            by: Vec::new(),
            more: false,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// Asks the same organization, from the same revision on.
struct Asker {
    connection: Connection,
    organization: String,
    at_least: String,
}

impl Asker {
    /// Id and text of these policies.
    async fn policies(&self, wanted: &[String]) -> Result<Vec<(String, String)>, AskError> {
        let mut client = PolicyServiceClient::new(self.connection.clone());
        let mut found = Vec::new();
        let mut page_token = String::new();
        while found.len() < wanted.len() {
            let request = v1::ListPoliciesRequest {
                organization: self.organization.clone(),
                page_size: PAGE,
                page_token,
                at_least: self.at_least.clone(),
            };
            let page = client.list_policies(timed(request)).await?.into_inner();
            let policies = page.policies.into_iter();
            let policies = policies.filter(|policy| wanted.contains(&policy.id));
            found.extend(policies.map(|policy| (policy.id, policy.cedar)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// The roles that carry an action.
    async fn roles_with(&self, action: &str) -> Result<Vec<v1::Role>, AskError> {
        let mut client = RoleServiceClient::new(self.connection.clone());
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListRolesRequest {
                organization: self.organization.clone(),
                page_size: PAGE,
                page_token,
                at_least: self.at_least.clone(),
            };
            let page = client.list_roles(timed(request)).await?.into_inner();
            let roles = page.roles.into_iter();
            found.extend(roles.filter(|role| role.effective_actions.iter().any(|id| id == action)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Finds some members who may take a step, and whether there may be more.
    async fn ask_who_may(&self, step: &mut Step) -> Result<(), AskError> {
        let (resource_type, id) = &step.on;
        let mut members = MemberServiceClient::new(self.connection.clone());
        let mut checks = AuthorizationServiceClient::new(self.connection.clone());
        let mut asked = 0_usize;
        let mut page_token = String::new();
        loop {
            let request = v1::ListMembersRequest {
                organization: self.organization.clone(),
                page_size: PAGE,
                page_token,
                at_least: self.at_least.clone(),
                ..Default::default()
            };
            let page = members.list_members(timed(request)).await?.into_inner();
            asked = asked.saturating_add(page.members.len());
            let requests = page.members.iter().map(|member| v1::IsAuthorizedRequest {
                organization: self.organization.clone(),
                principal: Some(v1::EntityRef {
                    r#type: "User".to_owned(),
                    id: member.user.clone(),
                }),
                action: step.needs.to_owned(),
                resource: Some(v1::Resource {
                    r#type: (*resource_type).to_owned(),
                    id: id.clone(),
                    ..Default::default()
                }),
                ..Default::default()
            });
            let batch = v1::BatchIsAuthorizedRequest {
                requests: requests.collect(),
                at_least: self.at_least.clone(),
            };
            let batch = checks.batch_is_authorized(timed(batch)).await?.into_inner();
            for (member, item) in page.members.into_iter().zip(batch.items) {
                if let Some(v1::batch_item::Result::Response(answer)) = item.result
                    && allows(&answer)
                {
                    step.by.push(member.user);
                }
            }
            page_token = page.next_page_token;
            let more = !page_token.is_empty();
            if step.by.len() > MOST_NAMED || asked >= MOST_ASKED || !more {
                step.more = more || step.by.len() > MOST_NAMED;
                step.by.truncate(MOST_NAMED);
                return Ok(());
            }
        }
    }
}

impl Explanation {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, text) in &self.policies {
            lines.push(format!("policy `{id}`:"));
            lines.extend(text.lines().map(|line| format!("  {line}")));
        }
        if !self.roles.is_empty() {
            lines.push("roles that carry the action:".to_owned());
            lines.extend(self.roles.iter().map(|role| {
                let (id, name) = (&role.id, &role.display_name);
                format!("  `{id}` ({name}), held {}", places(role).join(" or "))
            }));
        }
        if !self.steps.is_empty() {
            lines.push("what would help:".to_owned());
            lines.extend(self.steps.iter().map(Step::line));
        }
        lines
    }

    fn joined(&self, mut answer: Json) -> Json {
        let policies: Vec<Json> = self
            .policies
            .iter()
            .map(|(id, cedar)| json!({ "id": id, "cedar": cedar }))
            .collect();
        let roles: Vec<Json> = self
            .roles
            .iter()
            .map(|role| json!({ "id": role.id, "display_name": role.display_name, "held": places(role) }))
            .collect();
        let steps: Vec<Json> = self
            .steps
            .iter()
            .map(|step| {
                json!({ "step": step.what, "needs": step.needs, "by": step.by, "more": step.more })
            })
            .collect();
        if let Some(object) = answer.as_object_mut() {
            object.insert("policies".to_owned(), policies.into());
            object.insert("roles".to_owned(), roles.into());
            object.insert("steps".to_owned(), steps.into());
        }
        answer
    }
}

/// Where a role may be held, in words.
fn places(role: &v1::Role) -> Vec<&'static str> {
    let places = [
        (role.on_organization, "on the organization"),
        (role.on_project, "on a project"),
    ];
    let places = places.into_iter().filter(|(may, _)| *may);
    places.map(|(_, place)| place).collect()
}

impl Step {
    fn line(&self) -> String {
        let mut by: Vec<String> = self.by.iter().map(|user| format!("`{user}`")).collect();
        if self.more {
            by.push("whoever else holds it".to_owned());
        }
        let by = match by.is_empty() {
            true => "nobody in the team holds it; ask an operator".to_owned(),
            false => by.join(", "),
        };
        format!("  {}; that needs `{}`: {by}", self.what, self.needs)
    }
}
