//! Values that the tests of the store write: one of each kind, as plain or as
//! hostile as a test wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Commit, HistoryEvent, Idempotency, IdempotencyKey};
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

/// Text with everything in it that breaks careless encodings.
pub const HOSTILE: &str =
    "\"'\\`;--\0\u{1}\n\r\t\u{202e}\u{2066}\u{feff}\u{1f600}e\u{301}</script>{}[]";

pub fn organization(id: &str) -> OrganizationId {
    OrganizationId::new(id)
}

pub fn profile(id: &str, name: &str, version: u64) -> Profile {
    Profile {
        id: organization(id),
        display_name: name.to_owned(),
        catalog: CatalogId::new("hosting"),
        plan: PlanId::new("pro"),
        owner: UserId::new("owner"),
        created_at: Moment(-5),
        next_project_ordinal: u64::MAX,
        version: Version(version),
    }
}

pub fn permissions(text: &str) -> Permissions {
    let actions = BTreeSet::from([ActionId::new("A"), ActionId::new(text)]);
    Permissions {
        every: BTreeSet::from([Level::Project, Level::Account]),
        actions: BTreeMap::from([
            (When::Condition(text.to_owned()), actions.clone()),
            (When::Own, BTreeSet::new()),
            (When::Always, actions),
        ]),
    }
}

pub fn member(user: &str, text: &str, version: u64) -> Member {
    Member {
        user: UserId::new(user),
        display_name: text.to_owned(),
        email: format!("{text}@example.com"),
        status: if version.is_multiple_of(2) {
            MemberStatus::Active
        } else {
            MemberStatus::Suspended
        },
        roles: vec![RoleId::new("z"), RoleId::new("a"), RoleId::new(text)],
        project_roles: BTreeMap::from([
            (ProjectId::new("p2"), vec![]),
            (ProjectId::new("p1"), vec![RoleId::new("r")]),
        ]),
        overrides: BTreeMap::from([(
            ProjectId::new("p1"),
            Override {
                roles: vec![RoleId::new(text)],
                permissions: permissions(text),
                set_at: Moment(7),
            },
        )]),
        default_roles: BTreeMap::from([(10, vec![RoleId::new("b")]), (9, vec![])]),
        joined_at: Moment(i64::MIN),
        membership: Version(1),
        version: Version(version),
    }
}

pub fn role(id: &str, text: &str, version: u64) -> Role {
    Role {
        id: RoleId::new(id),
        display_name: text.to_owned(),
        description: text.repeat(2),
        permissions: permissions(text),
        edits_built_in: true,
        created_at: Moment(1),
        version: Version(version),
    }
}

pub fn project(id: &str, text: &str, version: u64) -> Project {
    Project {
        id: ProjectId::new(id),
        display_name: text.to_owned(),
        ordinal: 3,
        archived: true,
        created_at: Moment(2),
        version: Version(version),
    }
}

pub fn resource(id: &str, text: &str, version: u64) -> RegisteredResource {
    RegisteredResource {
        key: ResourceKey {
            type_id: TypeId::new("App"),
            id: ResourceId::new(id),
        },
        project: Some(ProjectId::new(text)),
        owner: None,
        created_at: Moment(3),
        version: Version(version),
    }
}

pub fn event(text: &str) -> HistoryEvent {
    HistoryEvent {
        action: "ChangeMemberRole".to_owned(),
        target_kind: "Member".to_owned(),
        target_id: text.to_owned(),
        caller: "operator".to_owned(),
        request_id: text.to_owned(),
        details: vec![
            ("z".to_owned(), text.to_owned()),
            ("a".to_owned(), String::new()),
        ],
    }
}

pub fn key(organization_id: &str, request: &str) -> IdempotencyKey {
    IdempotencyKey {
        organization: organization(organization_id),
        caller: "operator".to_owned(),
        request_id: request.to_owned(),
    }
}

pub fn idempotency(organization_id: &str, request: &str, expires_at: i64) -> Idempotency {
    Idempotency {
        key: key(organization_id, request),
        fingerprint: [9; 32],
        outcome: Outcome::Member(Arc::new(member("u", request, 2))),
        expires_at: Moment(expires_at),
    }
}

/// A commit without an answer to remember and with nobody to tell.
pub fn commit(id: &str, expected: Option<u64>, version: u64, records: Vec<RecordChange>) -> Commit {
    Commit {
        organization: organization(id),
        expected: expected.map(Version),
        version: Version(version),
        at: Moment(1_000),
        records,
        event: event(id),
        idempotency: None,
        on_commit: Box::new(|_| {}),
    }
}

/// The commit that creates an organization, at version 1.
pub fn create(id: &str) -> Commit {
    commit(
        id,
        None,
        1,
        vec![put_profile(id, "first", 1), put_member("owner", 1)],
    )
}

pub fn put_profile(id: &str, name: &str, version: u64) -> RecordChange {
    RecordChange::PutProfile(Arc::new(profile(id, name, version)))
}

pub fn put_member(user: &str, version: u64) -> RecordChange {
    RecordChange::PutMember(Arc::new(member(user, "text", version)))
}

/// One change of each kind, with `text` wherever text may stand.
pub fn changes(text: &str) -> Vec<RecordChange> {
    vec![
        RecordChange::PutProfile(Arc::new(profile("o", text, 1))),
        RecordChange::PutMember(Arc::new(member("u", text, 2))),
        RecordChange::DeleteMember(UserId::new(text)),
        RecordChange::PutRole(Arc::new(role("r", text, 3))),
        RecordChange::DeleteRole(RoleId::new(text)),
        RecordChange::PutProject(Arc::new(project("p", text, 4))),
        RecordChange::DeleteProject(ProjectId::new(text)),
        RecordChange::PutResource(Arc::new(resource("x", text, 5))),
        RecordChange::DeleteResource(ResourceKey {
            type_id: TypeId::new(text),
            id: ResourceId::new(text),
        }),
        RecordChange::DeleteOrganization,
    ]
}
