//! Between the records of an organization and their mirrors.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Level1, Member1, Override1, Permissions1, Profile1, Project1, Resource1, ResourceKey1, Role1,
    Status1, Text, When1, borrowed,
};
use crate::domain::catalog::Level;
use crate::domain::identifiers::{
    ActionId, CatalogId, OrganizationId, PlanId, ProjectId, ResourceId, RoleId, TypeId, UserId,
};
use crate::domain::organization::{
    Member, MemberStatus, Moment, Override, Profile, Project, RegisteredResource, ResourceKey,
    Role, Version,
};
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
            version: Version(stored.version),
        }
    }
}

impl<'a> From<&'a Member> for Member1<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            user: borrowed(member.user.as_str()),
            display_name: borrowed(&member.display_name),
            email: borrowed(&member.email),
            status: match member.status {
                MemberStatus::Active => Status1::Active,
                MemberStatus::Suspended => Status1::Suspended,
            },
            roles: role_names(&member.roles),
            project_roles: member
                .project_roles
                .iter()
                .map(|(project, roles)| (borrowed(project.as_str()), role_names(roles)))
                .collect(),
            overrides: member
                .overrides
                .iter()
                .map(|(project, rights)| (borrowed(project.as_str()), rights.into()))
                .collect(),
            default_roles: member
                .default_roles
                .iter()
                .map(|(ordinal, roles)| (*ordinal, role_names(roles)))
                .collect(),
            joined_at: member.joined_at.0,
            membership: member.membership.0,
            version: member.version.0,
        }
    }
}

impl From<Member1<'_>> for Member {
    fn from(stored: Member1<'_>) -> Self {
        Self {
            user: UserId::new(stored.user),
            display_name: stored.display_name.into_owned(),
            email: stored.email.into_owned(),
            status: match stored.status {
                Status1::Active => MemberStatus::Active,
                Status1::Suspended => MemberStatus::Suspended,
            },
            roles: role_ids(stored.roles),
            project_roles: stored
                .project_roles
                .into_iter()
                .map(|(project, roles)| (ProjectId::new(project), role_ids(roles)))
                .collect(),
            overrides: stored
                .overrides
                .into_iter()
                .map(|(project, rights)| (ProjectId::new(project), rights.into()))
                .collect(),
            default_roles: stored
                .default_roles
                .into_iter()
                .map(|(ordinal, roles)| (ordinal, role_ids(roles)))
                .collect(),
            joined_at: Moment(stored.joined_at),
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
            set_at: rights.set_at.0,
        }
    }
}

impl From<Override1<'_>> for Override {
    fn from(stored: Override1<'_>) -> Self {
        Self {
            roles: role_ids(stored.roles),
            permissions: stored.permissions.into(),
            set_at: Moment(stored.set_at),
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

fn role_names(roles: &[RoleId]) -> Vec<Text<'_>> {
    roles.iter().map(|role| borrowed(role.as_str())).collect()
}

fn role_ids(roles: Vec<Text<'_>>) -> Vec<RoleId> {
    roles.into_iter().map(RoleId::new).collect()
}
