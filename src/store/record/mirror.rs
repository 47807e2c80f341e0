//! Version 1 of the stored shapes: the domain's types once more, with serde.
//!
//! They are separate so that the domain can be renamed and reshaped freely
//! while bytes on disk keep their meaning, and so that the domain needs no
//! serde. Fields are written in the order in which they stand here: **never
//! reorder, rename or add one**; a new shape is a new struct with a new version.
//! Maps are lists of pairs in the order of their keys, because JSON only has
//! text keys. Text is borrowed both ways where it can be.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::domain::catalog::Level;
use crate::domain::change::{Outcome, RecordChange};
use crate::domain::identifiers::{
    ActionId, CatalogId, OrganizationId, PlanId, ProjectId, ResourceId, RoleId, TypeId, UserId,
};
use crate::domain::organization::{
    Member, MemberStatus, Moment, Override, Profile, Project, RegisteredResource, ResourceKey,
    Role, Version,
};
use crate::domain::permissions::{Permissions, When};
use crate::store::{HistoryEvent, Idempotency, IdempotencyKey, Remembered, Sequence};

type Text<'a> = Cow<'a, str>;

/// Declares mirrors: strict about unknown fields, borrowing where possible.
macro_rules! mirrors {
    ($($item:item)*) => {$(
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "snake_case")]
        $item
    )*};
}

mirrors! {
    pub(super) struct Profile1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        catalog: Text<'a>,
        #[serde(borrow)]
        plan: Text<'a>,
        #[serde(borrow)]
        owner: Text<'a>,
        created_at: i64,
        next_project_ordinal: u64,
        version: u64,
    }

    enum Status1 {
        Active,
        Suspended,
    }

    pub(super) struct Member1<'a> {
        #[serde(borrow)]
        user: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        email: Text<'a>,
        status: Status1,
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        project_roles: Vec<(Text<'a>, Vec<Text<'a>>)>,
        #[serde(borrow)]
        overrides: Vec<(Text<'a>, Override1<'a>)>,
        #[serde(borrow)]
        default_roles: Vec<(u64, Vec<Text<'a>>)>,
        joined_at: i64,
        membership: u64,
        version: u64,
    }

    struct Override1<'a> {
        #[serde(borrow)]
        roles: Vec<Text<'a>>,
        #[serde(borrow)]
        permissions: Permissions1<'a>,
        set_at: i64,
    }

    enum Level1 {
        Account,
        Project,
    }

    enum When1<'a> {
        Always,
        Own,
        #[serde(borrow)]
        Condition(Text<'a>),
    }

    struct Permissions1<'a> {
        every: Vec<Level1>,
        #[serde(borrow)]
        actions: Vec<(When1<'a>, Vec<Text<'a>>)>,
    }

    pub(super) struct Role1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        #[serde(borrow)]
        description: Text<'a>,
        #[serde(borrow)]
        permissions: Permissions1<'a>,
        edits_built_in: bool,
        created_at: i64,
        version: u64,
    }

    pub(super) struct Project1<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        display_name: Text<'a>,
        ordinal: u64,
        archived: bool,
        created_at: i64,
        version: u64,
    }

    pub(super) struct ResourceKey1<'a> {
        #[serde(borrow)]
        type_id: Text<'a>,
        #[serde(borrow)]
        id: Text<'a>,
    }

    pub(super) struct Resource1<'a> {
        #[serde(borrow)]
        key: ResourceKey1<'a>,
        #[serde(borrow)]
        project: Option<Text<'a>>,
        #[serde(borrow)]
        owner: Option<Text<'a>>,
        created_at: i64,
        version: u64,
    }

    pub(super) enum Change1<'a> {
        #[serde(borrow)]
        PutProfile(Profile1<'a>),
        #[serde(borrow)]
        PutMember(Member1<'a>),
        #[serde(borrow)]
        DeleteMember(Text<'a>),
        #[serde(borrow)]
        PutRole(Role1<'a>),
        #[serde(borrow)]
        DeleteRole(Text<'a>),
        #[serde(borrow)]
        PutProject(Project1<'a>),
        #[serde(borrow)]
        DeleteProject(Text<'a>),
        #[serde(borrow)]
        PutResource(Resource1<'a>),
        #[serde(borrow)]
        DeleteResource(ResourceKey1<'a>),
        DeleteOrganization,
    }

    pub(super) enum Outcome1<'a> {
        #[serde(borrow)]
        Profile(Profile1<'a>),
        #[serde(borrow)]
        Member(Member1<'a>),
        #[serde(borrow)]
        Role(Role1<'a>),
        #[serde(borrow)]
        Project(Project1<'a>),
        #[serde(borrow)]
        Resource(Resource1<'a>),
        Count(u64),
        Removed {
            orphaned: Vec<ResourceKey1<'a>>,
            orphaned_count: u64,
            reassigned_count: u64,
        },
        Nothing,
    }

    pub(super) struct Event1<'a> {
        #[serde(borrow)]
        action: Text<'a>,
        #[serde(borrow)]
        target_kind: Text<'a>,
        #[serde(borrow)]
        target_id: Text<'a>,
        #[serde(borrow)]
        caller: Text<'a>,
        #[serde(borrow)]
        request_id: Text<'a>,
        #[serde(borrow)]
        details: Vec<(Text<'a>, Text<'a>)>,
    }

    pub(super) struct Entry1<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        version: u64,
        at: i64,
        #[serde(borrow)]
        records: Vec<Change1<'a>>,
        #[serde(borrow)]
        event: Event1<'a>,
    }

    pub(super) struct Idempotency1<'a> {
        #[serde(borrow)]
        organization: Text<'a>,
        #[serde(borrow)]
        caller: Text<'a>,
        #[serde(borrow)]
        request_id: Text<'a>,
        fingerprint: [u8; 32],
        #[serde(borrow)]
        outcome: Outcome1<'a>,
        expires_at: i64,
    }

    pub(super) struct Remembered1<'a> {
        fingerprint: [u8; 32],
        sequence: u64,
        #[serde(borrow)]
        outcome: Outcome1<'a>,
        expires_at: i64,
    }
}

fn borrowed(text: &str) -> Text<'_> {
    Cow::Borrowed(text)
}

fn role_names(roles: &[RoleId]) -> Vec<Text<'_>> {
    roles.iter().map(|role| borrowed(role.as_str())).collect()
}

fn role_ids(roles: Vec<Text<'_>>) -> Vec<RoleId> {
    roles.into_iter().map(RoleId::new).collect()
}

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

impl<'a> From<&'a RecordChange> for Change1<'a> {
    fn from(change: &'a RecordChange) -> Self {
        match change {
            RecordChange::PutProfile(profile) => Self::PutProfile((&**profile).into()),
            RecordChange::PutMember(member) => Self::PutMember((&**member).into()),
            RecordChange::DeleteMember(user) => Self::DeleteMember(borrowed(user.as_str())),
            RecordChange::PutRole(role) => Self::PutRole((&**role).into()),
            RecordChange::DeleteRole(role) => Self::DeleteRole(borrowed(role.as_str())),
            RecordChange::PutProject(project) => Self::PutProject((&**project).into()),
            RecordChange::DeleteProject(project) => Self::DeleteProject(borrowed(project.as_str())),
            RecordChange::PutResource(resource) => Self::PutResource((&**resource).into()),
            RecordChange::DeleteResource(key) => Self::DeleteResource(key.into()),
            RecordChange::DeleteOrganization => Self::DeleteOrganization,
        }
    }
}

impl From<Change1<'_>> for RecordChange {
    fn from(stored: Change1<'_>) -> Self {
        match stored {
            Change1::PutProfile(profile) => Self::PutProfile(Arc::new(profile.into())),
            Change1::PutMember(member) => Self::PutMember(Arc::new(member.into())),
            Change1::DeleteMember(user) => Self::DeleteMember(UserId::new(user)),
            Change1::PutRole(role) => Self::PutRole(Arc::new(role.into())),
            Change1::DeleteRole(role) => Self::DeleteRole(RoleId::new(role)),
            Change1::PutProject(project) => Self::PutProject(Arc::new(project.into())),
            Change1::DeleteProject(project) => Self::DeleteProject(ProjectId::new(project)),
            Change1::PutResource(resource) => Self::PutResource(Arc::new(resource.into())),
            Change1::DeleteResource(key) => Self::DeleteResource(key.into()),
            Change1::DeleteOrganization => Self::DeleteOrganization,
        }
    }
}

impl<'a> From<&'a Outcome> for Outcome1<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Profile(profile) => Self::Profile((&**profile).into()),
            Outcome::Member(member) => Self::Member((&**member).into()),
            Outcome::Role(role) => Self::Role((&**role).into()),
            Outcome::Project(project) => Self::Project((&**project).into()),
            Outcome::Resource(resource) => Self::Resource((&**resource).into()),
            Outcome::Count(count) => Self::Count(*count),
            Outcome::Removed { orphaned, orphaned_count, reassigned_count } => Self::Removed {
                orphaned: orphaned.iter().map(Into::into).collect(),
                orphaned_count: *orphaned_count,
                reassigned_count: *reassigned_count,
            },
            Outcome::Nothing => Self::Nothing,
        }
    }
}

impl From<Outcome1<'_>> for Outcome {
    fn from(stored: Outcome1<'_>) -> Self {
        match stored {
            Outcome1::Profile(profile) => Self::Profile(Arc::new(profile.into())),
            Outcome1::Member(member) => Self::Member(Arc::new(member.into())),
            Outcome1::Role(role) => Self::Role(Arc::new(role.into())),
            Outcome1::Project(project) => Self::Project(Arc::new(project.into())),
            Outcome1::Resource(resource) => Self::Resource(Arc::new(resource.into())),
            Outcome1::Count(count) => Self::Count(count),
            Outcome1::Removed { orphaned, orphaned_count, reassigned_count } => Self::Removed {
                orphaned: orphaned.into_iter().map(Into::into).collect(),
                orphaned_count,
                reassigned_count,
            },
            Outcome1::Nothing => Self::Nothing,
        }
    }
}

impl<'a> From<&'a HistoryEvent> for Event1<'a> {
    fn from(event: &'a HistoryEvent) -> Self {
        Self {
            action: borrowed(&event.action),
            target_kind: borrowed(&event.target_kind),
            target_id: borrowed(&event.target_id),
            caller: borrowed(&event.caller),
            request_id: borrowed(&event.request_id),
            details: event
                .details
                .iter()
                .map(|(name, value)| (borrowed(name), borrowed(value)))
                .collect(),
        }
    }
}

impl From<Event1<'_>> for HistoryEvent {
    fn from(stored: Event1<'_>) -> Self {
        Self {
            action: stored.action.into_owned(),
            target_kind: stored.target_kind.into_owned(),
            target_id: stored.target_id.into_owned(),
            caller: stored.caller.into_owned(),
            request_id: stored.request_id.into_owned(),
            details: stored
                .details
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        }
    }
}

impl<'a> From<&'a Entry> for Entry1<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            organization: borrowed(entry.organization.as_str()),
            version: entry.version.0,
            at: entry.at.0,
            records: entry.records.iter().map(Into::into).collect(),
            event: (&entry.event).into(),
        }
    }
}

impl From<Entry1<'_>> for Entry {
    fn from(stored: Entry1<'_>) -> Self {
        Self {
            organization: OrganizationId::new(stored.organization),
            version: Version(stored.version),
            at: Moment(stored.at),
            records: stored.records.into_iter().map(Into::into).collect(),
            event: stored.event.into(),
        }
    }
}

impl<'a> From<&'a Idempotency> for Idempotency1<'a> {
    fn from(idempotency: &'a Idempotency) -> Self {
        Self {
            organization: borrowed(idempotency.key.organization.as_str()),
            caller: borrowed(&idempotency.key.caller),
            request_id: borrowed(&idempotency.key.request_id),
            fingerprint: idempotency.fingerprint,
            outcome: (&idempotency.outcome).into(),
            expires_at: idempotency.expires_at.0,
        }
    }
}

impl From<Idempotency1<'_>> for Idempotency {
    fn from(stored: Idempotency1<'_>) -> Self {
        Self {
            key: IdempotencyKey {
                organization: OrganizationId::new(stored.organization),
                caller: stored.caller.into_owned(),
                request_id: stored.request_id.into_owned(),
            },
            fingerprint: stored.fingerprint,
            outcome: stored.outcome.into(),
            expires_at: Moment(stored.expires_at),
        }
    }
}

impl<'a> From<&'a Remembered> for Remembered1<'a> {
    fn from(remembered: &'a Remembered) -> Self {
        Self {
            fingerprint: remembered.fingerprint,
            sequence: remembered.sequence.0,
            outcome: (&remembered.outcome).into(),
            expires_at: remembered.expires_at.0,
        }
    }
}

impl From<Remembered1<'_>> for Remembered {
    fn from(stored: Remembered1<'_>) -> Self {
        Self {
            fingerprint: stored.fingerprint,
            sequence: Sequence(stored.sequence),
            outcome: stored.outcome.into(),
            expires_at: Moment(stored.expires_at),
        }
    }
}
