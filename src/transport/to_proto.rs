//! From the words of the use cases to messages.

use std::collections::BTreeMap;

use prost_types::Timestamp;

use crate::application::revision::token;
use crate::application::{Checked, Error, TokenChecked, Written};
use crate::domain::catalog::{Action, ActionIndex, Catalog, Level};
use crate::domain::change::{Outcome, etag};
use crate::domain::identifiers::{ActionId, ProjectId, RoleId, UserId};
use crate::domain::organization::{
    Group, Invitation, InvitationStatus, Member, MemberKind, MemberStatus, Moment, Organization,
    Override, Profile, Project, RegisteredResource, Role, Token, TokenKind, Transfer,
    TransferTarget, Version,
};
use crate::domain::period::Period;
use crate::domain::permissions::{Permissions, When};
use crate::domain::token_standing::DeadToken;
use crate::engine::{Reason, ReasonCode, Verdict};
use crate::proto::v1;

/// A moment as a timestamp.
pub fn timestamp(moment: Moment) -> Timestamp {
    let seconds = moment.0.div_euclid(1_000);
    let nanos = i32::try_from(moment.0.rem_euclid(1_000)).unwrap_or_default() * 1_000_000;
    Timestamp { seconds, nanos }
}

/// A group.
pub fn group(group: &Group) -> v1::Group {
    v1::Group {
        id: group.id.to_string(),
        display_name: group.display_name.clone(),
        description: group.description.clone(),
        roles: ids(&group.roles),
        project_roles: project_roles(&group.project_roles),
        max_token_age: group.max_token_age.map(|age| prost_types::Duration {
            seconds: age.div_euclid(1_000),
            nanos: i32::try_from(age.rem_euclid(1_000)).unwrap_or_default() * 1_000_000,
        }),
        period: period(&group.period),
        create_time: Some(timestamp(group.created_at)),
        etag: etag(group.version),
    }
}

/// A member as a group sees them; nothing if they are not in it.
pub fn group_member(member: &Member, group: &str) -> Option<v1::GroupMember> {
    member.groups.get(group).map(|held| v1::GroupMember {
        user: member.user.to_string(),
        display_name: member.display_name.to_string(),
        status: member_status(member.status).into(),
        period: period(held),
        etag: etag(member.version),
    })
}

fn member_status(status: MemberStatus) -> v1::MemberStatus {
    match status {
        MemberStatus::Active => v1::MemberStatus::Active,
        MemberStatus::Suspended => v1::MemberStatus::Suspended,
    }
}

fn project_roles(roles: &BTreeMap<ProjectId, Vec<RoleId>>) -> Vec<v1::ProjectRoles> {
    roles
        .iter()
        .map(|(project, roles)| v1::ProjectRoles {
            project: project.to_string(),
            roles: ids(roles),
            role_periods: Vec::new(),
        })
        .collect()
}

/// An answer to a check.
pub fn checked(checked: Checked, correlation_id: String) -> v1::IsAuthorizedResponse {
    let (reasons, determining_policies) = match checked.explanation {
        None => (Vec::new(), Vec::new()),
        Some(explanation) => (
            explanation.reasons.into_iter().map(reason).collect(),
            explanation.determining_policies,
        ),
    };
    let decision = match checked.verdict {
        Verdict::Allow => v1::Decision::Allow,
        Verdict::Deny => v1::Decision::Deny,
    };
    v1::IsAuthorizedResponse {
        decision: decision.into(),
        revision: token(checked.revision),
        valid_until: checked.valid_until.map(timestamp),
        reasons,
        determining_policies,
        correlation_id,
    }
}

fn reason(reason: Reason) -> v1::Reason {
    let code = match reason.code {
        ReasonCode::Owner => v1::ReasonCode::Owner,
        ReasonCode::Role => v1::ReasonCode::Role,
        ReasonCode::ProjectRole => v1::ReasonCode::ProjectRole,
        ReasonCode::Override => v1::ReasonCode::Override,
        ReasonCode::Rule => v1::ReasonCode::Rule,
        ReasonCode::NotAMember => v1::ReasonCode::NotAMember,
        ReasonCode::Suspended => v1::ReasonCode::Suspended,
        ReasonCode::NotYetValid => v1::ReasonCode::NotYetValid,
        ReasonCode::Expired => v1::ReasonCode::Expired,
        ReasonCode::OwnerStays => v1::ReasonCode::OwnerStays,
        ReasonCode::NoGrant => v1::ReasonCode::NoGrant,
        ReasonCode::OverrideDenies => v1::ReasonCode::OverrideDenies,
        ReasonCode::NotOwnerOfResource => v1::ReasonCode::NotOwnerOfResource,
        ReasonCode::ConditionFailed => v1::ReasonCode::ConditionFailed,
        ReasonCode::TokenScope => v1::ReasonCode::TokenScope,
        ReasonCode::TokenRevoked => v1::ReasonCode::TokenRevoked,
        ReasonCode::Plan => v1::ReasonCode::Plan,
        ReasonCode::TeamRule => v1::ReasonCode::TeamRule,
        ReasonCode::Guardrail => v1::ReasonCode::Guardrail,
        ReasonCode::GuardrailPermits => v1::ReasonCode::GuardrailPermits,
        ReasonCode::PolicyError => v1::ReasonCode::PolicyError,
    };
    v1::Reason {
        code: code.into(),
        message: reason.message,
        role: reason.role,
        project: reason.project,
        policy: reason.policy,
    }
}

/// An organization; `members` is how many it has.
pub fn organization(profile: &Profile, members: usize) -> v1::Organization {
    v1::Organization {
        id: profile.id.to_string(),
        display_name: profile.display_name.clone(),
        catalog: profile.catalog.to_string(),
        plan: profile.plan.to_string(),
        owner: profile.owner.to_string(),
        member_count: members as u64,
        create_time: Some(timestamp(profile.created_at)),
        etag: etag(profile.version),
    }
}

/// An offer of the ownership.
pub fn transfer(transfer: &Transfer) -> v1::Transfer {
    let (user, email) = match &transfer.target {
        TransferTarget::Member { user, .. } => (user.to_string(), String::new()),
        TransferTarget::Address(address) => (String::new(), address.clone()),
    };
    v1::Transfer {
        user,
        email,
        initiated_by: transfer.initiated_by.to_string(),
        initiate_time: Some(timestamp(transfer.initiated_at)),
        expire_time: Some(timestamp(transfer.expires_at)),
    }
}

/// A member; `owner` tells whether they own the organization.
pub fn member(member: &Member, owner: bool) -> v1::Member {
    v1::Member {
        user: member.user.to_string(),
        display_name: member.display_name.to_string(),
        email: member.email.to_string(),
        status: member_status(member.status).into(),
        roles: ids(&member.roles),
        owner,
        project_roles: member
            .project_roles
            .iter()
            .map(|(project, roles)| v1::ProjectRoles {
                project: project.to_string(),
                roles: ids(roles),
                role_periods: member
                    .periods
                    .project_roles
                    .get(project)
                    .map(role_periods)
                    .unwrap_or_default(),
            })
            .collect(),
        overrides: member
            .overrides
            .iter()
            .map(|(project, replaced)| project_override(project.as_str(), replaced))
            .collect(),
        default_roles: ids(member.current_default_roles()),
        join_time: Some(timestamp(member.joined_at)),
        etag: etag(member.version),
        kind: member_kind(member.kind).into(),
        groups: member
            .groups
            .iter()
            .map(|(group, held)| v1::GroupMembership {
                group: group.to_string(),
                period: period(held),
            })
            .collect(),
        period: period(&member.period),
        role_periods: role_periods(&member.periods.roles),
        added_by: user(member.added_by.as_ref()),
        last_active_time: member.last_active_at.map(timestamp),
        invitation: String::new(),
    }
}

/// An invitation as a list of members shows it: the member that may be.
pub fn invited_member(invitation: &Invitation, now: Moment) -> v1::Member {
    let told = self::invitation(invitation, now);
    let status = if invitation.has_expired(now) {
        v1::MemberStatus::InvitationExpired
    } else {
        v1::MemberStatus::Pending
    };
    v1::Member {
        invitation: told.id,
        email: told.email,
        display_name: told.display_name,
        status: status.into(),
        kind: v1::MemberKind::Person.into(),
        roles: told.roles,
        project_roles: told.project_roles,
        overrides: told.overrides,
        period: told.period,
        added_by: told.invited_by,
        etag: told.etag,
        ..Default::default()
    }
}

/// An invitation as it is at a moment. Its link is no part of it.
pub fn invitation(invitation: &Invitation, now: Moment) -> v1::Invitation {
    v1::Invitation {
        id: invitation.id.to_string(),
        email: invitation.email.clone(),
        display_name: invitation.display_name.clone(),
        roles: ids(&invitation.roles),
        project_roles: invitation
            .project_roles
            .iter()
            .map(|(project, roles)| v1::ProjectRoles {
                project: project.to_string(),
                roles: ids(roles),
                role_periods: Vec::new(),
            })
            .collect(),
        overrides: invitation
            .overrides
            .iter()
            .map(|(project, replaced)| project_override(project.as_str(), replaced))
            .collect(),
        period: period(&invitation.period),
        message: invitation.message.clone(),
        status: invitation_status(invitation, now).into(),
        invited_by: user(invitation.invited_by.as_ref()),
        create_time: Some(timestamp(invitation.created_at)),
        sent_time: Some(timestamp(invitation.sent_at)),
        times_sent: invitation.times_sent,
        expire_time: Some(timestamp(invitation.expires_at)),
        accepted_by: user(invitation.accepted_by.as_ref()),
        close_time: invitation.closed_at.map(timestamp),
        etag: etag(invitation.version),
    }
}

/// What became of an invitation by a moment.
pub fn invitation_status(invitation: &Invitation, now: Moment) -> v1::InvitationStatus {
    match invitation.status {
        InvitationStatus::Pending if invitation.has_expired(now) => v1::InvitationStatus::Expired,
        InvitationStatus::Pending => v1::InvitationStatus::Pending,
        InvitationStatus::Accepted => v1::InvitationStatus::Accepted,
        InvitationStatus::Revoked => v1::InvitationStatus::Revoked,
        InvitationStatus::Declined => v1::InvitationStatus::Declined,
    }
}

/// A user who may be nobody.
fn user(user: Option<&UserId>) -> String {
    user.map(ToString::to_string).unwrap_or_default()
}

/// A kind of member.
pub fn member_kind(kind: MemberKind) -> v1::MemberKind {
    match kind {
        MemberKind::Person => v1::MemberKind::Person,
        MemberKind::ServiceAccount => v1::MemberKind::ServiceAccount,
        MemberKind::OrganizationToken => v1::MemberKind::OrganizationToken,
    }
}

/// A period; absent for always.
pub fn period(period: &Period) -> Option<v1::Period> {
    (!period.is_always()).then(|| v1::Period {
        not_before: period.not_before.map(timestamp),
        expires_at: period.expires_at.map(timestamp),
    })
}

fn role_periods(periods: &BTreeMap<RoleId, Period>) -> Vec<v1::RolePeriod> {
    periods
        .iter()
        .map(|(role, held)| v1::RolePeriod {
            role: role.to_string(),
            period: period(held),
        })
        .collect()
}

/// An override.
pub fn project_override(project: &str, replaced: &Override) -> v1::ProjectOverride {
    v1::ProjectOverride {
        project: project.to_owned(),
        roles: ids(&replaced.roles),
        permissions: Some(permissions(&replaced.permissions)),
        set_time: Some(timestamp(replaced.set_at)),
        period: period(&replaced.period),
    }
}

/// A member as one project sees them.
pub fn project_member(member: &Member, project: &Project) -> v1::ProjectMember {
    v1::ProjectMember {
        user: member.user.to_string(),
        roles: ids(member.roles_on_project(project)),
        r#override: member
            .overrides
            .get(project.id.as_str())
            .map(|replaced| project_override(project.id.as_str(), replaced)),
    }
}

/// A role by its id: the organization's own, or the catalog's.
pub fn role(organization: &Organization, catalog: &Catalog, id: &str) -> Option<v1::Role> {
    match organization.roles.get(id) {
        Some(own) => Some(own_role(own, catalog)),
        None => built_in_role(catalog, id),
    }
}

/// A built-in role as the catalog has it.
pub fn built_in_role(catalog: &Catalog, id: &str) -> Option<v1::Role> {
    catalog.role(id).map(|built_in| v1::Role {
        id: built_in.id.to_string(),
        display_name: built_in.title.clone(),
        description: built_in.description.clone(),
        built_in: true,
        edited: false,
        on_organization: built_in.on_organization,
        on_project: built_in.on_project,
        permissions: Some(permissions(&built_in.permissions)),
        effective_actions: effective_actions(catalog, &built_in.permissions),
        create_time: None,
        etag: etag(Version(0)),
    })
}

/// An API token; `dead` is why it does not count now, `last_use` when it was used.
pub fn api_token(token: &Token, dead: Option<DeadToken>, last_use: Option<Moment>) -> v1::Token {
    let newest = token.secrets.last();
    let before = token.secrets.iter().rev().nth(1);
    let status = match dead {
        None => v1::TokenStatus::Active,
        Some(DeadToken::NotYetValid) => v1::TokenStatus::NotYetValid,
        Some(DeadToken::Expired) => v1::TokenStatus::Expired,
        Some(DeadToken::Revoked) => v1::TokenStatus::Revoked,
    };
    let kind = match token.kind {
        TokenKind::Member => v1::TokenKind::Member,
        TokenKind::ServiceAccount => v1::TokenKind::ServiceAccount,
        TokenKind::Organization => v1::TokenKind::Organization,
    };
    v1::Token {
        id: token.id.to_string(),
        display_name: token.display_name.clone(),
        kind: kind.into(),
        subject: token.subject.to_string(),
        status: status.into(),
        scope: token.scope.as_ref().map(|scope| v1::TokenScope {
            actions: scope.actions.iter().map(ToString::to_string).collect(),
            projects: scope.projects.iter().map(ToString::to_string).collect(),
        }),
        period: period(&token.period),
        secret_create_time: newest.map(|secret| timestamp(secret.created_at)),
        overlap_end_time: before
            .and_then(|secret| secret.expires_at)
            .filter(|end| newest.is_some_and(|secret| secret.created_at < *end))
            .map(timestamp),
        revoke_time: token.revoked_at.map(timestamp),
        last_use_time: last_use.map(timestamp),
        created_by: shown_user(token.created_by.as_ref()),
        create_time: Some(timestamp(token.created_at)),
        etag: etag(token.version),
    }
}

/// A service account.
pub fn service_account(account: &Member) -> v1::ServiceAccount {
    v1::ServiceAccount {
        id: account.user.to_string(),
        display_name: account.display_name.to_string(),
        status: member_status(account.status).into(),
        roles: ids(&account.roles),
        created_by: shown_user(account.added_by.as_ref()),
        create_time: Some(timestamp(account.joined_at)),
        etag: etag(account.version),
    }
}

fn shown_user(user: Option<&UserId>) -> String {
    user.map(ToString::to_string).unwrap_or_default()
}

/// An answer to a check with a token.
pub fn checked_with_token(
    answer: TokenChecked,
    correlation_id: String,
) -> v1::IsAuthorizedWithTokenResponse {
    let checked = checked(answer.checked, correlation_id);
    v1::IsAuthorizedWithTokenResponse {
        decision: checked.decision,
        revision: checked.revision,
        valid_until: checked.valid_until,
        reasons: checked.reasons,
        determining_policies: checked.determining_policies,
        correlation_id: checked.correlation_id,
        principal: Some(v1::EntityRef {
            r#type: "User".to_owned(),
            id: answer.principal.to_string(),
        }),
        token_id: answer.token.to_string(),
        organization: answer.organization.to_string(),
    }
}

/// A custom role, or an edited built-in one.
pub fn own_role(role: &Role, catalog: &Catalog) -> v1::Role {
    let built_in = catalog.role(role.id.as_str());
    v1::Role {
        id: role.id.to_string(),
        display_name: role.display_name.clone(),
        description: role.description.clone(),
        built_in: built_in.is_some(),
        edited: role.edits_built_in,
        on_organization: built_in.is_none_or(|built_in| built_in.on_organization),
        on_project: built_in.is_none_or(|built_in| built_in.on_project),
        permissions: Some(permissions(&role.permissions)),
        effective_actions: effective_actions(catalog, &role.permissions),
        create_time: Some(timestamp(role.created_at)),
        etag: etag(role.version),
    }
}

/// Permissions as they were asked for.
pub fn permissions(given: &Permissions) -> v1::Permissions {
    let names = |actions: &std::collections::BTreeSet<ActionId>| {
        actions.iter().map(ToString::to_string).collect()
    };
    let mut message = v1::Permissions {
        every: given
            .every
            .iter()
            .map(|level| self::level(*level).into())
            .collect(),
        ..v1::Permissions::default()
    };
    for (when, actions) in &given.actions {
        match when {
            When::Always => message.actions = names(actions),
            When::Own => message.own_actions = names(actions),
            When::Condition(condition) => message.conditional.push(v1::ConditionalActions {
                condition: condition.clone(),
                actions: names(actions),
            }),
        }
    }
    message
}

/// Every action that permissions can grant, under whatever circumstance, by name.
fn effective_actions(catalog: &Catalog, permissions: &Permissions) -> Vec<String> {
    let mut actions = catalog.closure(permissions.actions.values().flatten());
    actions.extend(
        (0..)
            .map(ActionIndex)
            .zip(&catalog.actions)
            .filter(|(_, action)| permissions.every.contains(&action.level))
            .map(|(index, _)| index),
    );
    let mut names: Vec<String> = actions
        .into_iter()
        .filter_map(|index| catalog.actions.get(usize::from(index.0)))
        .map(|action: &Action| action.id.to_string())
        .collect();
    names.sort();
    names
}

/// A level.
pub fn level(level: Level) -> v1::Level {
    match level {
        Level::Account => v1::Level::Account,
        Level::Project => v1::Level::Project,
    }
}

/// A project.
pub fn project(project: &Project) -> v1::Project {
    v1::Project {
        id: project.id.to_string(),
        display_name: project.display_name.clone(),
        archived: project.archived,
        create_time: Some(timestamp(project.created_at)),
        etag: etag(project.version),
    }
}

/// A registered resource.
pub fn resource(resource: &RegisteredResource) -> v1::RegisteredResource {
    v1::RegisteredResource {
        r#type: resource.key.type_id.to_string(),
        id: resource.key.id.to_string(),
        project: resource
            .project
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        owner: resource
            .owner
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        create_time: Some(timestamp(resource.created_at)),
        etag: etag(resource.version),
    }
}

/// The member that a change left behind.
///
/// The organization may be gone by now; the change was made all the same.
pub fn written_member(
    organization: Option<&Organization>,
    written: &Written,
) -> Result<v1::Member, Error> {
    match &written.outcome {
        Outcome::Member(changed) => Ok(member(
            changed,
            organization.is_some_and(|found| found.is_owner(changed.user.as_str())),
        )),
        other => Err(unexpected(other)),
    }
}

/// An outcome of another kind than its use case has, which is a fault inside.
pub fn unexpected(outcome: &Outcome) -> Error {
    Error::unexpected(outcome)
}

fn ids(roles: &[RoleId]) -> Vec<String> {
    roles.iter().map(ToString::to_string).collect()
}
