//! A question as asked, and the same question once every name in it is known.
//!
//! What the organization has on record wins over what the request describes: the
//! project and owner of a registered resource come from its record.

use cedar_policy::RestrictedExpression;

use super::answers::Cell;
use super::snapshot::Snapshot;
use super::tokens::{CompiledScope, SCOPE_ATTRIBUTE};
use super::values::{self, Findings, Pairs};
use super::vocabulary::USER;
use crate::domain::catalog::{
    Action, ActionIndex, MEMBER_TYPE, ORGANIZATION_TYPE, PROJECT_TYPE, ResourceType, TypeIndex,
};
use crate::domain::identifiers::identifier_fault;
use crate::domain::organization::{Moment, Project};
use crate::domain::refusal::{Fault, Violation};
use crate::domain::value::Record;

/// A question in the words of the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawQuestion<'a> {
    /// The principal's type; `User`.
    pub principal_type: &'a str,
    /// Who asks to act.
    pub principal_id: &'a str,
    /// What they ask to do.
    pub action: &'a str,
    /// The type of what they ask to do it to.
    pub resource_type: &'a str,
    /// Its id.
    pub resource_id: &'a str,
    /// The project it lies in, or empty.
    pub project: &'a str,
    /// Who owns it, or empty.
    pub owner: &'a str,
    /// What else is said of it.
    pub attributes: Option<&'a Record>,
    /// What is said of the circumstances.
    pub context: Option<&'a Record>,
    /// The id of the token it is asked with, or empty. That the token counts, and
    /// stands for the principal, is known already.
    pub token: &'a str,
    /// When it is asked.
    pub at: Moment,
}

/// A question whose every name is known to the organization it is asked of.
pub struct Question<'a> {
    /// Who asks to act.
    pub(super) principal: &'a str,
    /// What they ask to do.
    pub(super) action: ActionIndex,
    /// What they ask to do it to.
    pub(super) resource: AskedResource<'a>,
    /// Where the answer is remembered, if it is.
    pub(super) cell: Cell,
    /// What is said of the circumstances.
    pub(super) context: Pairs,
    /// Users that attributes or the context name.
    pub(super) users: Vec<String>,
    /// The scope of the token it is asked with; the context names it.
    pub(super) scope: Option<&'a CompiledScope>,
    /// When it is asked.
    pub(super) at: Moment,
}

/// The resource of a question.
pub struct AskedResource<'a> {
    pub(super) resource_type: TypeIndex,
    pub(super) id: &'a str,
    pub(super) project: Option<&'a Project>,
    pub(super) owner: Option<&'a str>,
    pub(super) attributes: Pairs,
}

impl Snapshot {
    /// Resolves every name, or lists everything that is wrong with the question.
    pub fn question<'a>(&'a self, raw: &RawQuestion<'a>) -> Result<Question<'a>, Vec<Violation>> {
        let mut findings = Findings::default();
        check_principal(raw, &mut findings);
        let action = self.find_action(raw, &mut findings);
        let resource = self.find_resource(raw, &mut findings);
        let cell = match (&action, &resource) {
            (Some((index, action)), Some((resource, _))) => {
                self.cell(*index, action, resource, raw)
            }
            _ => None,
        };
        if let (Some((_, action)), Some((_, resource_type)), None) = (&action, &resource, cell) {
            findings.fault(Violation::new(
                "resource.type",
                Fault::ActionDoesNotApply,
                format!(
                    "`{}` is not asked of `{}`; it is asked of {}",
                    action.id,
                    resource_type.id,
                    self.type_names(action)
                ),
            ));
        }
        let scope = self.find_scope(raw, &mut findings);
        let mut context = match &action {
            Some((_, action)) if !action.context.is_empty() || raw.context.is_some() => {
                values::convert(&action.context, raw.context, "context", &mut findings)
            }
            _ => Pairs::new(),
        };
        context.extend(scope.map(|scope| {
            let id = RestrictedExpression::new_string(scope.id.as_str().to_owned());
            (SCOPE_ATTRIBUTE.to_owned(), id)
        }));
        match (action, resource, cell) {
            (Some((action, _)), Some((resource, _)), Some(cell))
                if findings.violations.is_empty() =>
            {
                Ok(Question {
                    principal: raw.principal_id,
                    action,
                    resource,
                    cell,
                    context,
                    users: findings.users,
                    scope,
                    at: raw.at,
                })
            }
            _ => Err(findings.violations),
        }
    }

    /// Where the answer is remembered; `None` for an action that does not apply to the type.
    fn cell(
        &self,
        index: ActionIndex,
        action: &Action,
        resource: &AskedResource<'_>,
        raw: &RawQuestion<'_>,
    ) -> Option<Cell> {
        let types = action.resource_types.iter();
        let pairs = types.zip(self.catalog().first_pair(index)..);
        let owns = resource.owner == Some(raw.principal_id);
        pairs
            .into_iter()
            .find(|(resource_type, _)| **resource_type == resource.resource_type)
            .map(|(_, pair)| Cell::new(pair, owns))
    }

    /// The scope of the token. A token that is unknown or revoked has no scope to
    /// judge by, and must not pass for one that may do everything.
    fn find_scope<'a>(
        &'a self,
        raw: &RawQuestion<'a>,
        findings: &mut Findings,
    ) -> Option<&'a CompiledScope> {
        if raw.token.is_empty() {
            return None;
        }
        let token = self.organization().tokens.get(raw.token);
        if token.is_none_or(|token| token.revoked_at.is_some()) {
            findings.fault(Violation::new(
                "token",
                Fault::UnknownReference,
                "names no living token of this organization",
            ));
        }
        self.scopes().of(raw.token)
    }

    fn find_action(
        &self,
        raw: &RawQuestion<'_>,
        findings: &mut Findings,
    ) -> Option<(ActionIndex, &Action)> {
        if raw.action.is_empty() {
            findings
                .violations
                .push(Violation::new("action", Fault::Missing, "must be given"));
            return None;
        }
        let found = self.catalog().catalog().action(raw.action);
        if found.is_none() {
            findings.fault(Violation::new(
                "action",
                Fault::UnknownAction,
                format!(
                    "names no action of catalog `{}`",
                    self.catalog().catalog().id
                ),
            ));
        }
        found
    }

    fn find_resource<'a>(
        &'a self,
        raw: &RawQuestion<'a>,
        findings: &mut Findings,
    ) -> Option<(AskedResource<'a>, &'a ResourceType)> {
        check_given("resource.id", raw.resource_id, findings);
        if raw.resource_type.is_empty() {
            findings.fault(Violation::new(
                "resource.type",
                Fault::Missing,
                "must be given",
            ));
            return None;
        }
        let Some((index, resource_type)) =
            self.catalog().catalog().resource_type(raw.resource_type)
        else {
            findings.fault(Violation::new(
                "resource.type",
                Fault::UnknownResourceType,
                format!(
                    "names no resource type of catalog `{}`",
                    self.catalog().catalog().id
                ),
            ));
            return None;
        };
        let (project, owner) = if resource_type.built_in {
            (self.place_built_in(raw, findings), None)
        } else {
            self.place_product(raw, findings)
        };
        let attributes = if resource_type.attributes.is_empty() && raw.attributes.is_none() {
            Pairs::new()
        } else {
            values::convert(
                &resource_type.attributes,
                raw.attributes,
                "resource.attributes",
                findings,
            )
        };
        let asked = AskedResource {
            resource_type: index,
            id: raw.resource_id,
            project,
            owner,
            attributes,
        };
        Some((asked, resource_type))
    }

    /// `Organization`, `Project` and `Member` must be on record, and where they
    /// lie is on record too.
    fn place_built_in<'a>(
        &'a self,
        raw: &RawQuestion<'a>,
        findings: &mut Findings,
    ) -> Option<&'a Project> {
        for (field, value) in [
            ("resource.project", raw.project),
            ("resource.owner", raw.owner),
        ] {
            if !value.is_empty() {
                findings.fault(Violation::new(
                    field,
                    Fault::Malformed,
                    format!("is on record for a `{}`; leave it out", raw.resource_type),
                ));
            }
        }
        let organization = self.organization();
        let project = match raw.resource_type {
            PROJECT_TYPE => organization
                .projects
                .get(raw.resource_id)
                .map(AsRef::as_ref),
            _ => None,
        };
        let known = match raw.resource_type {
            ORGANIZATION_TYPE => raw.resource_id == organization.id().as_str(),
            MEMBER_TYPE => organization.members.contains_key(raw.resource_id),
            _ => project.is_some(),
        };
        if !known && !raw.resource_id.is_empty() {
            findings.fault(Violation::new(
                "resource.id",
                Fault::UnknownReference,
                format!("names no `{}` of this organization", raw.resource_type),
            ));
        }
        project
    }

    fn place_product<'a>(
        &'a self,
        raw: &RawQuestion<'a>,
        findings: &mut Findings,
    ) -> (Option<&'a Project>, Option<&'a str>) {
        let organization = self.organization();
        if let Some(registered) = organization.registered(raw.resource_type, raw.resource_id) {
            let project = registered
                .project
                .as_ref()
                .and_then(|id| organization.projects.get(id.as_str()));
            return (
                project.map(AsRef::as_ref),
                registered.owner.as_ref().map(|owner| owner.as_str()),
            );
        }
        let project = organization.projects.get(raw.project);
        if project.is_none() && !raw.project.is_empty() {
            findings.fault(Violation::new(
                "resource.project",
                Fault::UnknownReference,
                "names no project of this organization",
            ));
        }
        if !raw.owner.is_empty()
            && let Some(fault) = identifier_fault(raw.owner)
        {
            findings
                .violations
                .push(Violation::new("resource.owner", Fault::Malformed, fault));
        }
        (
            project.map(AsRef::as_ref),
            (!raw.owner.is_empty()).then_some(raw.owner),
        )
    }

    fn type_names(&self, action: &Action) -> String {
        let names: Vec<String> = action
            .resource_types
            .iter()
            .filter_map(|index| {
                self.catalog()
                    .catalog()
                    .resource_types
                    .get(usize::from(index.0))
            })
            .map(|resource_type| format!("`{}`", resource_type.id))
            .collect();
        names.join(", ")
    }
}

fn check_principal(raw: &RawQuestion<'_>, findings: &mut Findings) {
    check_given("principal.id", raw.principal_id, findings);
    if raw.principal_type.is_empty() {
        findings.fault(Violation::new(
            "principal.type",
            Fault::Missing,
            "must be given",
        ));
    } else if raw.principal_type != USER {
        findings.fault(Violation::new(
            "principal.type",
            Fault::UnknownReference,
            format!("must be `{USER}`"),
        ));
    }
}

fn check_given(field: &str, value: &str, findings: &mut Findings) {
    if value.is_empty() {
        findings
            .violations
            .push(Violation::new(field, Fault::Missing, "must be given"));
    } else if let Some(fault) = identifier_fault(value) {
        findings
            .violations
            .push(Violation::new(field, Fault::Malformed, fault));
    }
}
