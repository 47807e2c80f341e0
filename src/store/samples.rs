//! Values that the tests of the store write: one of each kind, as plain or as
//! hostile as a test wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Commit, EventSource, HistoryEvent, Idempotency, IdempotencyKey};
use crate::domain::catalog::Level;
use crate::domain::change::{Outcome, RecordChange};
use crate::domain::identifiers::{
    ActionId, CatalogId, GroupId, GuardrailId, InvitationId, NotificationId, OrganizationId,
    PlanId, ProjectId, ResourceId, RoleId, TokenId, TypeId, UserId,
};
use crate::domain::organization::{
    Group, Guardrail, Invitation, InvitationStatus, Member, MemberKind, MemberStatus, Moment,
    Notification, NotificationKind, Override, Profile, Project, RegisteredResource, ResourceKey,
    Role, RolePeriods, Token, TokenKind, TokenScope, TokenSecret, Transfer, TransferTarget,
    Version,
};
use crate::domain::period::Period;
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
        transfer: Some(Transfer {
            target: if version.is_multiple_of(2) {
                TransferTarget::Member {
                    user: UserId::new(name),
                    membership: Version(1),
                }
            } else {
                TransferTarget::Address(name.to_owned())
            },
            initiated_by: UserId::new(name),
            initiated_at: Moment(1),
            expires_at: Moment(i64::MAX),
            nonce: *b"0123456789abcde\xFF",
        }),
        version: Version(version),
    }
}

/// Since `from`, and until 1,000 ms after.
pub fn period(from: i64) -> Period {
    Period {
        not_before: Some(Moment(from)),
        expires_at: Some(Moment(from + 1_000)),
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
        display_name: text.to_owned().into(),
        email: format!("{text}@example.com").into(),
        status: if version.is_multiple_of(2) {
            MemberStatus::Active
        } else {
            MemberStatus::Suspended
        },
        roles: vec![RoleId::new("z"), RoleId::new("a"), RoleId::new(text)],
        project_roles: BTreeMap::from([
            (ProjectId::new("p2"), vec![]),
            (ProjectId::new("p1"), vec![RoleId::new("r")]),
        ])
        .into(),
        overrides: BTreeMap::from([(
            ProjectId::new("p1"),
            Override {
                roles: vec![RoleId::new(text)],
                permissions: permissions(text),
                period: period(-7),
                set_at: Moment(7),
            },
        )])
        .into(),
        default_roles: BTreeMap::from([(10, vec![RoleId::new("b")]), (9, vec![])]).into(),
        kind: MemberKind::ServiceAccount,
        groups: BTreeMap::from([
            (GroupId::new(text), period(5)),
            (GroupId::new("g"), Period::ALWAYS),
        ])
        .into(),
        periods: RolePeriods {
            roles: BTreeMap::from([(RoleId::new(text), period(6))]),
            project_roles: BTreeMap::from([(
                ProjectId::new("p1"),
                BTreeMap::from([(RoleId::new("r"), period(7))]),
            )]),
        }
        .into(),
        period: Period {
            not_before: None,
            expires_at: Some(Moment(i64::MAX)),
        }
        .into(),
        added_by: Some(UserId::new(text)),
        last_active_at: Some(Moment(9)),
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

pub fn group(id: &str, text: &str, version: u64) -> Group {
    Group {
        id: GroupId::new(id),
        display_name: text.to_owned(),
        description: text.repeat(2),
        roles: vec![RoleId::new(text)],
        project_roles: BTreeMap::from([(ProjectId::new(text), vec![RoleId::new("r")])]),
        max_token_age: Some(i64::MAX),
        period: period(4),
        created_at: Moment(4),
        version: Version(version),
    }
}

pub fn invitation(id: &str, text: &str, version: u64) -> Invitation {
    let of_member = member(id, text, version);
    Invitation {
        id: InvitationId::new(id),
        email: of_member.email.to_string(),
        display_name: text.to_owned(),
        roles: of_member.roles,
        project_roles: (*of_member.project_roles).clone(),
        overrides: (*of_member.overrides).clone(),
        period: period(8),
        message: text.to_owned(),
        status: InvitationStatus::Pending,
        invited_by: Some(UserId::new(text)),
        created_at: Moment(8),
        sent_at: Moment(9),
        times_sent: u32::MAX,
        expires_at: Moment(10),
        expiry_recorded: false,
        nonce: [0; 16],
        accepted_by: Some(UserId::new(text)),
        closed_at: Some(Moment(11)),
        version: Version(version),
    }
}

pub fn token(id: &str, text: &str, version: u64) -> Token {
    let secret = |byte, expires_at| TokenSecret {
        digest: [byte; 32],
        created_at: Moment(1),
        expires_at,
    };
    Token {
        id: TokenId::new(id),
        display_name: text.to_owned(),
        kind: TokenKind::Member,
        subject: UserId::new(text),
        membership: Version(1),
        secrets: vec![secret(0, Some(Moment(5))), secret(0xFF, None)],
        scope: Some(TokenScope {
            actions: BTreeSet::from([ActionId::new(text), ActionId::new("A")]),
            projects: BTreeSet::from([ProjectId::new(text)]),
        }),
        period: period(12),
        revoked_at: None,
        expiry_recorded: false,
        last_used_at: Some(Moment(13)),
        created_by: Some(UserId::new(text)),
        created_at: Moment(12),
        version: Version(version),
    }
}

pub fn guardrail(id: &str, text: &str, version: u64) -> Guardrail {
    Guardrail {
        id: GuardrailId::new(id),
        description: text.to_owned(),
        text: text.to_owned(),
        created_at: Moment(13),
        version: Version(version),
    }
}

pub fn notification(id: &str, text: &str) -> Notification {
    Notification {
        id: NotificationId::new(id),
        kind: NotificationKind::Invitation,
        email: text.to_owned(),
        user: Some(UserId::new(text)),
        invitation: Some(InvitationId::new(text)),
        facts: BTreeMap::from([
            ("roles".to_owned(), text.to_owned()),
            (text.to_owned(), String::new()),
        ]),
        created_at: Moment(14),
    }
}

pub fn event(text: &str) -> HistoryEvent {
    HistoryEvent {
        source: EventSource::Host,
        actor: text.to_owned(),
        token: text.to_owned(),
        refusal: text.to_owned(),
        occurred_at: Some(Moment(-1)),
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
        events: vec![event(id)],
        wake_at: None,
        idempotency: None,
        on_commit: Box::new(|_| {}),
    }
}

/// A commit of events alone, with actions that are numbers from `from` on.
pub fn events_only(id: &str, version: Option<u64>, from: usize, count: usize) -> Commit {
    let mut only = commit(id, version, version.unwrap_or_default(), vec![]);
    let numbered = |number: usize| HistoryEvent {
        action: number.to_string(),
        ..event(id)
    };
    only.events = (from..from + count).map(numbered).collect();
    only
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

pub fn put_notification(id: &str) -> RecordChange {
    RecordChange::PutNotification(Arc::new(notification(id, "text")))
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
        RecordChange::PutGroup(Arc::new(group("g", text, 6))),
        RecordChange::DeleteGroup(GroupId::new(text)),
        RecordChange::PutInvitation(Arc::new(invitation("i", text, 7))),
        RecordChange::DeleteInvitation(InvitationId::new(text)),
        RecordChange::PutToken(Arc::new(token("t", text, 8))),
        RecordChange::DeleteToken(TokenId::new(text)),
        RecordChange::PutGuardrail(Arc::new(guardrail("b", text, 9))),
        RecordChange::DeleteGuardrail(GuardrailId::new(text)),
        RecordChange::PutNotification(Arc::new(notification("n", text))),
        RecordChange::DeleteNotification(NotificationId::new(text)),
        RecordChange::DeleteOrganization,
    ]
}

/// [`changes`] without the last one.
pub fn changes_that_stay(text: &str) -> Vec<RecordChange> {
    let mut changes = changes(text);
    changes.pop();
    changes
}
