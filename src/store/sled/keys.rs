//! Where things lie in sled: one tree, a prefix byte for each kind.
//!
//! | prefix | key | value |
//! |---|---|---|
//! | `00` | nothing | the applied head |
//! | `02` | organization, kind, id | a record |
//! | `03` | user, organization | nothing: who is a member where |
//! | `04` | moment, organization | nothing: where something ends by itself when |
//! | `05` | moment, digest of an idempotency key | nothing: which answers expire when |
//! | `06` | digest of an idempotency key | a remembered answer, or where in the journal it is |
//! | `07` | organization | the organization's version and last commit |
//! | `08` | organization, sequence, index | an event of a commit; outlives the organization |
//! | `09` | organization, id | nothing: which notifications wait where |
//!
//! Text in a key ends with `00 01`, and a zero byte inside it becomes `00 ff`.
//! That keeps the order of keys the order of ids, and no id can reach into
//! another's keys, whatever bytes it is made of. Numbers are big-endian.

use sha2::{Digest, Sha256};

use crate::domain::change::RecordChange;
use crate::domain::identifiers::{NotificationId, OrganizationId, UserId};
use crate::domain::organization::Moment;
use crate::store::{IdempotencyKey, Sequence};

/// The key of the applied head.
pub(super) const HEAD: &[u8] = &[0x00];
/// What the keys of all records begin with.
pub(super) const RECORDS: u8 = 0x02;
/// What the keys of all memberships begin with.
pub(super) const MEMBERSHIPS: u8 = 0x03;
/// What the keys of all wakes begin with.
pub(super) const WAKES: u8 = 0x04;
/// What the keys of all expiries begin with.
pub(super) const EXPIRIES: u8 = 0x05;
/// What the keys of all remembered answers begin with.
pub(super) const ANSWERS: u8 = 0x06;
/// What the keys of all organizations begin with.
pub(super) const ORGANIZATIONS: u8 = 0x07;
/// What the keys of all events begin with.
pub(super) const EVENTS: u8 = 0x08;
/// What the keys of all waiting notifications begin with.
pub(super) const WAITING: u8 = 0x09;

const PROFILE: u8 = 0;
const MEMBER: u8 = 1;
const ROLE: u8 = 2;
const PROJECT: u8 = 3;
const RESOURCE: u8 = 4;
const GROUP: u8 = 5;
const INVITATION: u8 = 6;
const TOKEN: u8 = 7;
const GUARDRAIL: u8 = 8;
const NOTIFICATION: u8 = 9;

/// SHA-256 of an idempotency key.
pub(super) type AnswerDigest = [u8; 32];

/// Which keys a record change is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One record.
    Record(Vec<u8>),
    /// All records of the organization.
    Everything,
}

/// The place of a change in an organization.
pub(super) fn place(organization: &OrganizationId, change: &RecordChange) -> Place {
    let (kind, ids) = match change {
        RecordChange::PutProfile(_) => (PROFILE, [None, None]),
        RecordChange::PutMember(member) => (MEMBER, [Some(member.user.as_str()), None]),
        RecordChange::DeleteMember(user) => (MEMBER, [Some(user.as_str()), None]),
        RecordChange::PutRole(role) => (ROLE, [Some(role.id.as_str()), None]),
        RecordChange::DeleteRole(role) => (ROLE, [Some(role.as_str()), None]),
        RecordChange::PutProject(project) => (PROJECT, [Some(project.id.as_str()), None]),
        RecordChange::DeleteProject(project) => (PROJECT, [Some(project.as_str()), None]),
        RecordChange::PutResource(resource) => {
            let key = &resource.key;
            (
                RESOURCE,
                [Some(key.type_id.as_str()), Some(key.id.as_str())],
            )
        }
        RecordChange::DeleteResource(key) => (
            RESOURCE,
            [Some(key.type_id.as_str()), Some(key.id.as_str())],
        ),
        RecordChange::PutGroup(group) => (GROUP, [Some(group.id.as_str()), None]),
        RecordChange::DeleteGroup(group) => (GROUP, [Some(group.as_str()), None]),
        RecordChange::PutInvitation(invitation) => {
            (INVITATION, [Some(invitation.id.as_str()), None])
        }
        RecordChange::DeleteInvitation(invitation) => {
            (INVITATION, [Some(invitation.as_str()), None])
        }
        RecordChange::PutToken(token) => (TOKEN, [Some(token.id.as_str()), None]),
        RecordChange::DeleteToken(token) => (TOKEN, [Some(token.as_str()), None]),
        RecordChange::PutGuardrail(guardrail) => (GUARDRAIL, [Some(guardrail.id.as_str()), None]),
        RecordChange::DeleteGuardrail(guardrail) => (GUARDRAIL, [Some(guardrail.as_str()), None]),
        RecordChange::PutNotification(notification) => {
            (NOTIFICATION, [Some(notification.id.as_str()), None])
        }
        RecordChange::DeleteNotification(notification) => {
            (NOTIFICATION, [Some(notification.as_str()), None])
        }
        RecordChange::DeleteOrganization => return Place::Everything,
    };
    let mut key = records(organization);
    key.push(kind);
    ids.into_iter()
        .flatten()
        .for_each(|id| push_text(&mut key, id));
    Place::Record(key)
}

/// What the keys of an organization's records begin with.
pub(super) fn records(organization: &OrganizationId) -> Vec<u8> {
    let mut key = vec![RECORDS];
    push_text(&mut key, organization.as_str());
    key
}

/// What kind of record lies at a key, as its byte; `None` if no record does.
pub(super) fn record_kind(key: &[u8]) -> Option<RecordKind> {
    let (&prefix, rest) = key.split_first()?;
    let (_, rest) = split_text(rest)?;
    match (prefix, *rest.first()?) {
        (RECORDS, PROFILE) => Some(RecordKind::Profile),
        (RECORDS, MEMBER) => Some(RecordKind::Member),
        (RECORDS, ROLE) => Some(RecordKind::Role),
        (RECORDS, PROJECT) => Some(RecordKind::Project),
        (RECORDS, RESOURCE) => Some(RecordKind::Resource),
        (RECORDS, GROUP) => Some(RecordKind::Group),
        (RECORDS, INVITATION) => Some(RecordKind::Invitation),
        (RECORDS, TOKEN) => Some(RecordKind::Token),
        (RECORDS, GUARDRAIL) => Some(RecordKind::Guardrail),
        (RECORDS, NOTIFICATION) => Some(RecordKind::Notification),
        _ => None,
    }
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Profile,
    Member,
    Role,
    Project,
    Resource,
    Group,
    Invitation,
    Token,
    Guardrail,
    Notification,
}

impl RecordKind {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Member => "member",
            Self::Role => "role",
            Self::Project => "project",
            Self::Resource => "resource",
            Self::Group => "group",
            Self::Invitation => "invitation",
            Self::Token => "token",
            Self::Guardrail => "guardrail",
            Self::Notification => "notification",
        }
    }
}

/// The key that says that a user is a member of an organization.
pub(super) fn membership(user: &UserId, organization: &OrganizationId) -> Vec<u8> {
    let mut key = memberships(user);
    push_text(&mut key, organization.as_str());
    key
}

/// What the keys of a user's memberships begin with.
pub(super) fn memberships(user: &UserId) -> Vec<u8> {
    let mut key = vec![MEMBERSHIPS];
    push_text(&mut key, user.as_str());
    key
}

/// The organization of a key made by [`membership`].
pub(super) fn membership_of(key: &[u8]) -> Option<OrganizationId> {
    let (_, rest) = split_text(key.strip_prefix(&[MEMBERSHIPS])?)?;
    last_organization(rest)
}

/// The key of the membership that a record stands for, if it is a member's.
pub(super) fn membership_of_record(organization: &OrganizationId, key: &[u8]) -> Option<Vec<u8>> {
    let rest = key.strip_prefix(records(organization).as_slice())?;
    let (user, _) = split_text(rest.strip_prefix(&[MEMBER])?)?;
    let user = UserId::new(String::from_utf8(user).ok()?);
    Some(membership(&user, organization))
}

/// The key that says when something of an organization ends by itself; earlier ones sort first.
pub(super) fn wake(at: Moment, organization: &OrganizationId) -> Vec<u8> {
    let mut key = wakes_from(at);
    push_text(&mut key, organization.as_str());
    key
}

/// What sorts before every wake at `at` or later, and after every earlier one.
pub(super) fn wakes_from(at: Moment) -> Vec<u8> {
    let mut key = vec![WAKES];
    key.extend_from_slice(&ordered(at));
    key
}

/// The moment and the organization of a key made by [`wake`].
pub(super) fn wake_of(key: &[u8]) -> Option<(Moment, OrganizationId)> {
    let (moment, rest) = key.strip_prefix(&[WAKES])?.split_first_chunk::<8>()?;
    Some((moment_of(*moment), last_organization(rest)?))
}

/// The key that says that a notification waits.
pub(super) fn waiting(organization: &OrganizationId, id: &NotificationId) -> Vec<u8> {
    let mut key = all_waiting(organization);
    push_text(&mut key, id.as_str());
    key
}

/// What the keys of an organization's waiting notifications begin with.
pub(super) fn all_waiting(organization: &OrganizationId) -> Vec<u8> {
    let mut key = vec![WAITING];
    push_text(&mut key, organization.as_str());
    key
}

/// The organization of a key made by [`waiting`].
pub(super) fn waiting_of(key: &[u8]) -> Option<OrganizationId> {
    let (text, _) = split_text(key.strip_prefix(&[WAITING])?)?;
    Some(OrganizationId::new(String::from_utf8(text).ok()?))
}

/// Sorts after every key that begins with `prefix`, and before all others that sort after it.
pub(super) fn end_of(mut prefix: Vec<u8>) -> Vec<u8> {
    // Text ends with `00 01`, so there is always a byte that can be raised.
    if let Some(last) = prefix.last_mut() {
        *last = last.saturating_add(1);
    }
    prefix
}

/// The key of an organization's version and last commit.
pub(super) fn organization(id: &OrganizationId) -> Vec<u8> {
    let mut key = vec![ORGANIZATIONS];
    push_text(&mut key, id.as_str());
    key
}

/// The organization that a key made by [`organization`] is about.
pub(super) fn organization_of(key: &[u8]) -> Option<OrganizationId> {
    last_organization(key.strip_prefix(&[ORGANIZATIONS])?)
}

/// Names a request in few bytes.
pub(super) fn digest(key: &IdempotencyKey) -> AnswerDigest {
    let mut bytes = Vec::new();
    push_text(&mut bytes, key.organization.as_str());
    push_text(&mut bytes, &key.caller);
    push_text(&mut bytes, &key.request_id);
    Sha256::digest(bytes).into()
}

/// The key of a remembered answer.
pub(super) fn answer(digest: &AnswerDigest) -> Vec<u8> {
    let mut key = vec![ANSWERS];
    key.extend_from_slice(digest);
    key
}

/// The key that says when an answer expires; earlier ones sort first.
pub(super) fn expiry(at: Moment, digest: &AnswerDigest) -> Vec<u8> {
    let mut key = expiries_from(at);
    key.extend_from_slice(digest);
    key
}

/// What sorts before every expiry at `at` or later, and after every earlier one.
pub(super) fn expiries_from(at: Moment) -> Vec<u8> {
    let mut key = vec![EXPIRIES];
    key.extend_from_slice(&ordered(at));
    key
}

/// The moment and the digest of a key made by [`expiry`].
pub(super) fn expiry_of(key: &[u8]) -> Option<(Moment, AnswerDigest)> {
    let (moment, digest) = key.strip_prefix(&[EXPIRIES])?.split_first_chunk::<8>()?;
    Some((moment_of(*moment), digest.try_into().ok()?))
}

/// The key of the event with that place in the history.
pub(super) fn event(organization: &OrganizationId, sequence: Sequence, index: u32) -> Vec<u8> {
    let mut key = events(organization);
    key.extend_from_slice(&sequence.0.to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// What the keys of an organization's events begin with.
pub(super) fn events(organization: &OrganizationId) -> Vec<u8> {
    let mut key = vec![EVENTS];
    push_text(&mut key, organization.as_str());
    key
}

/// The place in the history of a key made by [`event`].
pub(super) fn event_of(key: &[u8]) -> Option<(Sequence, u32)> {
    let (_, rest) = split_text(key.strip_prefix(&[EVENTS])?)?;
    let (sequence, index) = rest.split_first_chunk::<8>()?;
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some((Sequence(u64::from_be_bytes(*sequence)), index))
}

/// The organization that something in sled belongs to, if it belongs to one.
pub(super) fn owner_of(key: &[u8]) -> Option<OrganizationId> {
    let rest = match key.split_first()? {
        (&(RECORDS | ORGANIZATIONS | EVENTS), rest) => rest,
        _ => return None,
    };
    let (text, _) = split_text(rest)?;
    Some(OrganizationId::new(String::from_utf8(text).ok()?))
}

/// The organization that is all of `bytes`.
fn last_organization(bytes: &[u8]) -> Option<OrganizationId> {
    let (text, rest) = split_text(bytes)?;
    let text = String::from_utf8(text).ok().filter(|_| rest.is_empty())?;
    Some(OrganizationId::new(text))
}

/// Bytes that sort as moments do: the sign is flipped, so that those before 1970 come first.
fn ordered(at: Moment) -> [u8; 8] {
    (at.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn moment_of(ordered: [u8; 8]) -> Moment {
    Moment((u64::from_be_bytes(ordered) ^ (1 << 63)).cast_signed())
}

fn push_text(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xFF);
        }
    }
    key.extend_from_slice(&[0x00, 0x01]);
}

/// Splits the text that `bytes` begin with from what follows it.
fn split_text(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [0x00, 0x01, after @ ..] => return Some((text, after)),
            [0x00, 0xFF, after @ ..] => {
                text.push(0);
                rest = after;
            }
            [byte, after @ ..] if *byte != 0 => {
                text.push(*byte);
                rest = after;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::samples;

    proptest! {
        #[test]
        fn keys_of_organizations_sort_as_their_ids_and_can_be_read_back(
            left in "[\0-\u{3}\u{fe}-\u{101}a]{0,6}",
            right in "[\0-\u{3}\u{fe}-\u{101}a]{0,6}",
        ) {
            let (left, right) = (samples::organization(&left), samples::organization(&right));
            let (left_key, right_key) = (organization(&left), organization(&right));
            prop_assert_eq!(left.cmp(&right), left_key.cmp(&right_key));
            prop_assert_eq!(organization_of(&left_key), Some(left.clone()));
            if left != right {
                prop_assert!(!records(&left).starts_with(&records(&right)));
            }
        }

        #[test]
        fn keys_of_events_sort_by_place_and_can_be_read_back(
            id in "[\0-\u{3}\u{fe}-\u{101}a]{0,6}",
            left in any::<(u64, u32)>(),
            right in any::<(u64, u32)>(),
        ) {
            let id = samples::organization(&id);
            let key = |(sequence, index)| event(&id, Sequence(sequence), index);
            prop_assert_eq!(left.cmp(&right), key(left).cmp(&key(right)));
            prop_assert_eq!(event_of(&key(left)), Some((Sequence(left.0), left.1)));
        }

        #[test]
        fn expiries_sort_by_moment(left in any::<i64>(), right in any::<i64>()) {
            let (left_key, right_key) = (expiry(Moment(left), &[1; 32]), expiry(Moment(right), &[1; 32]));
            prop_assert_eq!(left.cmp(&right), left_key.cmp(&right_key));
            prop_assert_eq!(expiry_of(&left_key), Some((Moment(left), [1; 32])));
        }
    }

    #[test]
    fn the_parts_of_an_idempotency_key_can_not_be_shifted() {
        let mut left = samples::key("a", "c");
        let mut right = samples::key("a", "c");
        left.caller = "xy".to_owned();
        right.caller = "x".to_owned();
        right.request_id = "yc".to_owned();
        assert_ne!(digest(&left), digest(&right));
    }
}
