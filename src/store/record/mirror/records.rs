//! Between the records of an organization and their mirrors.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::shared;
use super::{
    Bytes1, Group1, Guardrail1, Level1, Member1, MemberKind1, Override1, Period1, Permissions1,
    Profile1, Project1, Resource1, ResourceKey1, Role1, RolePeriods1, RolesBy1, Status1, Text,
    Transfer1, TransferTarget1, When1, borrowed, period, stored_moment, stored_period,
};
use crate::domain::catalog::Level;
use crate::domain::identifiers::{
    ActionId, CatalogId, GroupId, GuardrailId, OrganizationId, PlanId, ProjectId, ResourceId,
    RoleId, TypeId, UserId,
};
use crate::domain::organization::{
    Group, Guardrail, Member, MemberKind, MemberStatus, Moment, Override, Profile, Project,
    RegisteredResource, ResourceKey, Role, RolePeriods, Transfer, TransferTarget, Version,
};
use crate::domain::period::Period;
use crate::domain::permissions::{Permissions, When};

impl<'a> From<&'a Profile> for Profile1<'a> {
    fn from(profile: &'a Profile) -> Self {
        Self {
            id: borrowed(profile.id.as_str()),
            display_name: borrowed(&profile.display_name),
            catalog: borrowed(profile.catalog.as_str()),
            plan: borrowed(profile.plan.as_str()),
            owner: borrowed(profile.owner.as_str()),
            created_at: profile.created_at.0,
            next_project_ordinal: profile.next_project_ordinal,
            transfer: profile.transfer.as_ref().map(Into::into),
            version: profile.version.0,
        }
    }
}

impl From<Profile1<'_>> for Profile {
    fn from(stored: Profile1<'_>) -> Self {
        Self {
            id: OrganizationId::new(stored.id),
            display_name: stored.display_name.into_owned(),
            catalog: CatalogId::new(stored.catalog),
            plan: PlanId::new(stored.plan),
            owner: UserId::new(stored.owner),
            created_at: Moment(stored.created_at),
            next_project_ordinal: stored.next_project_ordinal,
            transfer: stored.transfer.map(Into::into),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Transfer> for Transfer1<'a> {
    fn from(transfer: &'a Transfer) -> Self {
        Self {
            target: match &transfer.target {
                TransferTarget::Member { user, membership } => TransferTarget1::Member {
                    user: borrowed(user.as_str()),
                    membership: membership.0,
                },
                TransferTarget::Address(address) => TransferTarget1::Address(borrowed(address)),
            },
            initiated_by: borrowed(transfer.initiated_by.as_str()),
            initiated_at: transfer.initiated_at.0,
            expires_at: transfer.expires_at.0,
            nonce: Bytes1(transfer.nonce),
        }
    }
}

impl From<Transfer1<'_>> for Transfer {
    fn from(stored: Transfer1<'_>) -> Self {
        Self {
            target: match stored.target {
                TransferTarget1::Member { user, membership } => TransferTarget::Member {
                    user: UserId::new(user),
                    membership: Version(membership),
                },
                TransferTarget1::Address(address) => TransferTarget::Address(address.into_owned()),
            },
            initiated_by: UserId::new(stored.initiated_by),
            initiated_at: Moment(stored.initiated_at),
            expires_at: Moment(stored.expires_at),
            nonce: stored.nonce.0,
        }
    }
}

impl<'a> From<&'a Member> for Member1<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            user: borrowed(member.user.as_str()),
            kind: match member.kind {
                MemberKind::Person => MemberKind1::Person,
                MemberKind::ServiceAccount => MemberKind1::ServiceAccount,
                MemberKind::OrganizationToken => MemberKind1::OrganizationToken,
            },
            display_name: borrowed(&member.display_name),
            email: borrowed(&member.email),
            status: match member.status {
                MemberStatus::Active => Status1::Active,
                MemberStatus::Suspended => Status1::Suspended,
            },
            roles: role_names(&member.roles),
            project_roles: stored_project_roles(&member.project_roles),
            overrides: stored_overrides(&member.overrides),
            default_roles: member
                .default_roles
                .iter()
                .map(|(ordinal, roles)| (*ordinal, role_names(roles)))
                .collect(),
            groups: member
                .groups
                .iter()
                .map(|(group, period)| (borrowed(group.as_str()), stored_period(period)))
                .collect(),
            periods: (&*member.periods).into(),
            period: stored_period(&member.period),
            added_by: member.added_by.as_ref().map(|id| borrowed(id.as_str())),
            joined_at: member.joined_at.0,
            last_active_at: stored_moment(member.last_active_at),
            membership: member.membership.0,
            version: member.version.0,
        }
    }
}

impl From<Member1<'_>> for Member {
    fn from(stored: Member1<'_>) -> Self {
        Self {
            user: UserId::new(stored.user),
            kind: match stored.kind {
                MemberKind1::Person => MemberKind::Person,
                MemberKind1::ServiceAccount => MemberKind::ServiceAccount,
                MemberKind1::OrganizationToken => MemberKind::OrganizationToken,
            },
            display_name: SmolStr::new(&stored.display_name),
            email: SmolStr::new(&stored.email),
            status: match stored.status {
                Status1::Active => MemberStatus::Active,
                Status1::Suspended => MemberStatus::Suspended,
            },
            roles: role_ids(stored.roles),
            project_roles: project_roles(stored.project_roles).into(),
            overrides: overrides(stored.overrides).into(),
            default_roles: stored
                .default_roles
                .into_iter()
                .map(|(ordinal, roles)| (ordinal, role_ids(roles)))
                .collect(),
            groups: stored
                .groups
                .into_iter()
                .map(|(group, held)| (GroupId::new(group), period(held)))
                .collect(),
            periods: RolePeriods::from(stored.periods).into(),
            period: period(stored.period).into(),
            added_by: stored.added_by.map(UserId::new),
            joined_at: Moment(stored.joined_at),
            last_active_at: stored.last_active_at.map(Moment),
            membership: Version(stored.membership),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Override> for Override1<'a> {
    fn from(rights: &'a Override) -> Self {
        Self {
            roles: role_names(&rights.roles),
            permissions: (&rights.permissions).into(),
            period: stored_period(&rights.period),
            set_at: rights.set_at.0,
        }
    }
}

impl From<Override1<'_>> for Override {
    fn from(stored: Override1<'_>) -> Self {
        Self {
            roles: role_ids(stored.roles),
            permissions: stored.permissions.into(),
            period: period(stored.period),
            set_at: Moment(stored.set_at),
        }
    }
}

impl<'a> From<&'a RolePeriods> for RolePeriods1<'a> {
    fn from(periods: &'a RolePeriods) -> Self {
        Self {
            roles: stored_role_periods(&periods.roles),
            project_roles: periods
                .project_roles
                .iter()
                .map(|(project, roles)| (borrowed(project.as_str()), stored_role_periods(roles)))
                .collect(),
        }
    }
}

impl From<RolePeriods1<'_>> for RolePeriods {
    fn from(stored: RolePeriods1<'_>) -> Self {
        Self {
            roles: role_periods(stored.roles),
            project_roles: stored
                .project_roles
                .into_iter()
                .map(|(project, roles)| (ProjectId::new(project), role_periods(roles)))
                .collect(),
        }
    }
}

impl<'a> From<&'a Group> for Group1<'a> {
    fn from(group: &'a Group) -> Self {
        Self {
            id: borrowed(group.id.as_str()),
            display_name: borrowed(&group.display_name),
            description: borrowed(&group.description),
            roles: role_names(&group.roles),
            project_roles: stored_project_roles(&group.project_roles),
            max_token_age: group.max_token_age,
            period: stored_period(&group.period),
            created_at: group.created_at.0,
            version: group.version.0,
        }
    }
}

impl From<Group1<'_>> for Group {
    fn from(stored: Group1<'_>) -> Self {
        Self {
            id: GroupId::new(stored.id),
            display_name: stored.display_name.into_owned(),
            description: stored.description.into_owned(),
            roles: role_ids(stored.roles),
            project_roles: project_roles(stored.project_roles),
            max_token_age: stored.max_token_age,
            period: period(stored.period),
            created_at: Moment(stored.created_at),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Permissions> for Permissions1<'a> {
    fn from(permissions: &'a Permissions) -> Self {
        let level = |level: &Level| match level {
            Level::Account => Level1::Account,
            Level::Project => Level1::Project,
        };
        let actions = |(when, actions): (&'a When, &'a BTreeSet<ActionId>)| {
            let when = match when {
                When::Always => When1::Always,
                When::Own => When1::Own,
                When::Condition(id) => When1::Condition(borrowed(id)),
            };
            (
                when,
                actions.iter().map(|id| borrowed(id.as_str())).collect(),
            )
        };
        Self {
            every: permissions.every.iter().map(level).collect(),
            actions: permissions.actions.iter().map(actions).collect(),
        }
    }
}

impl From<Permissions1<'_>> for Permissions {
    fn from(stored: Permissions1<'_>) -> Self {
        let level = |level: Level1| match level {
            Level1::Account => Level::Account,
            Level1::Project => Level::Project,
        };
        let mut actions: BTreeMap<When, BTreeSet<ActionId>> = BTreeMap::new();
        for (when, ids) in stored.actions {
            let when = match when {
                When1::Always => When::Always,
                When1::Own => When::Own,
                When1::Condition(id) => When::Condition(id.into_owned()),
            };
            actions.insert(when, ids.into_iter().map(ActionId::new).collect());
        }
        Self {
            every: stored.every.into_iter().map(level).collect(),
            actions,
        }
    }
}

impl<'a> From<&'a Role> for Role1<'a> {
    fn from(role: &'a Role) -> Self {
        Self {
            id: borrowed(role.id.as_str()),
            display_name: borrowed(&role.display_name),
            description: borrowed(&role.description),
            permissions: (&role.permissions).into(),
            edits_built_in: role.edits_built_in,
            created_at: role.created_at.0,
            version: role.version.0,
        }
    }
}

impl From<Role1<'_>> for Role {
    fn from(stored: Role1<'_>) -> Self {
        Self {
            id: RoleId::new(stored.id),
            display_name: stored.display_name.into_owned(),
            description: stored.description.into_owned(),
            permissions: stored.permissions.into(),
            edits_built_in: stored.edits_built_in,
            created_at: Moment(stored.created_at),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Project> for Project1<'a> {
    fn from(project: &'a Project) -> Self {
        Self {
            id: borrowed(project.id.as_str()),
            display_name: borrowed(&project.display_name),
            ordinal: project.ordinal,
            archived: project.archived,
            created_at: project.created_at.0,
            version: project.version.0,
        }
    }
}

impl From<Project1<'_>> for Project {
    fn from(stored: Project1<'_>) -> Self {
        Self {
            id: ProjectId::new(stored.id),
            display_name: stored.display_name.into_owned(),
            ordinal: stored.ordinal,
            archived: stored.archived,
            created_at: Moment(stored.created_at),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a ResourceKey> for ResourceKey1<'a> {
    fn from(key: &'a ResourceKey) -> Self {
        Self {
            type_id: borrowed(key.type_id.as_str()),
            id: borrowed(key.id.as_str()),
        }
    }
}

impl From<ResourceKey1<'_>> for ResourceKey {
    fn from(stored: ResourceKey1<'_>) -> Self {
        Self {
            type_id: TypeId::new(stored.type_id),
            id: ResourceId::new(stored.id),
        }
    }
}

impl<'a> From<&'a RegisteredResource> for Resource1<'a> {
    fn from(resource: &'a RegisteredResource) -> Self {
        Self {
            key: (&resource.key).into(),
            project: resource.project.as_ref().map(|id| borrowed(id.as_str())),
            owner: resource.owner.as_ref().map(|id| borrowed(id.as_str())),
            created_at: resource.created_at.0,
            version: resource.version.0,
        }
    }
}

impl From<Resource1<'_>> for RegisteredResource {
    fn from(stored: Resource1<'_>) -> Self {
        Self {
            key: stored.key.into(),
            project: stored.project.map(ProjectId::new),
            owner: stored.owner.map(UserId::new),
            created_at: Moment(stored.created_at),
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Guardrail> for Guardrail1<'a> {
    fn from(guardrail: &'a Guardrail) -> Self {
        Self {
            id: borrowed(guardrail.id.as_str()),
            description: borrowed(&guardrail.description),
            text: borrowed(&guardrail.text),
            created_at: guardrail.created_at.0,
            version: guardrail.version.0,
        }
    }
}

impl From<Guardrail1<'_>> for Guardrail {
    fn from(stored: Guardrail1<'_>) -> Self {
        Self {
            id: GuardrailId::new(stored.id),
            description: stored.description.into_owned(),
            text: stored.text.into_owned(),
            created_at: Moment(stored.created_at),
            version: Version(stored.version),
        }
    }
}

pub(super) fn role_names(roles: &[RoleId]) -> Vec<Text<'_>> {
    roles.iter().map(|role| borrowed(role.as_str())).collect()
}

pub(super) fn role_ids(roles: Vec<Text<'_>>) -> Vec<RoleId> {
    roles.iter().map(|role| shared::role(role)).collect()
}

pub(super) fn stored_project_roles(held: &BTreeMap<ProjectId, Vec<RoleId>>) -> RolesBy1<'_> {
    held.iter()
        .map(|(project, roles)| (borrowed(project.as_str()), role_names(roles)))
        .collect()
}

pub(super) fn project_roles(stored: RolesBy1<'_>) -> BTreeMap<ProjectId, Vec<RoleId>> {
    stored
        .into_iter()
        .map(|(project, roles)| (ProjectId::new(project), role_ids(roles)))
        .collect()
}

pub(super) fn stored_overrides(
    held: &BTreeMap<ProjectId, Override>,
) -> Vec<(Text<'_>, Override1<'_>)> {
    held.iter()
        .map(|(project, rights)| (borrowed(project.as_str()), rights.into()))
        .collect()
}

pub(super) fn overrides(stored: Vec<(Text<'_>, Override1<'_>)>) -> BTreeMap<ProjectId, Override> {
    stored
        .into_iter()
        .map(|(project, rights)| (ProjectId::new(project), rights.into()))
        .collect()
}

fn stored_role_periods(periods: &BTreeMap<RoleId, Period>) -> Vec<(Text<'_>, Period1)> {
    periods
        .iter()
        .map(|(role, period)| (borrowed(role.as_str()), stored_period(period)))
        .collect()
}

fn role_periods(stored: Vec<(Text<'_>, Period1)>) -> BTreeMap<RoleId, Period> {
    stored
        .into_iter()
        .map(|(role, held)| (RoleId::new(role), period(held)))
        .collect()
}
