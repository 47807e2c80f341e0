//! Where things lie in sled: one tree, a prefix byte for each kind.
//!
//! | prefix | key | value |
//! |---|---|---|
//! | `00` | nothing | the applied head |
//! | `02` | organization, kind, id | a record |
//! | `05` | moment, digest of an idempotency key | nothing: which answers expire when |
//! | `06` | digest of an idempotency key | a remembered answer |
//! | `07` | organization | the organization's version and last commit |
//!
//! Text in a key ends with `00 01`, and a zero byte inside it becomes `00 ff`.
//! That keeps the order of keys the order of ids, and no id can reach into
//! another's keys, whatever bytes it is made of. Numbers are big-endian.

use sha2::{Digest, Sha256};

use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::Moment;
use crate::store::IdempotencyKey;

/// The key of the applied head.
pub(super) const HEAD: &[u8] = &[0x00];
/// What the keys of all records begin with.
pub(super) const RECORDS: u8 = 0x02;
/// What the keys of all expiries begin with.
pub(super) const EXPIRIES: u8 = 0x05;
/// What the keys of all remembered answers begin with.
pub(super) const ANSWERS: u8 = 0x06;
/// What the keys of all organizations begin with.
pub(super) const ORGANIZATIONS: u8 = 0x07;

const PROFILE: u8 = 0;
const MEMBER: u8 = 1;
const ROLE: u8 = 2;
const PROJECT: u8 = 3;
const RESOURCE: u8 = 4;

/// SHA-256 of an idempotency key.
pub(super) type AnswerDigest = [u8; 32];

/// Which keys a record change is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One record.
    Record(Vec<u8>),
    /// All records whose keys begin so.
    Everything(Vec<u8>),
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
        RecordChange::DeleteOrganization => return Place::Everything(records(organization)),
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
}

/// The key of an organization's version and last commit.
pub(super) fn organization(id: &OrganizationId) -> Vec<u8> {
    let mut key = vec![ORGANIZATIONS];
    push_text(&mut key, id.as_str());
    key
}

/// The organization that a key made by [`organization`] is about.
pub(super) fn organization_of(key: &[u8]) -> Option<OrganizationId> {
    let (text, rest) = split_text(key.strip_prefix(&[ORGANIZATIONS])?)?;
    let text = String::from_utf8(text).ok().filter(|_| rest.is_empty())?;
    Some(OrganizationId::new(text))
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
    // Flips the sign, so that moments before 1970 sort first.
    key.extend_from_slice(&(at.0.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    key
}

/// The moment and the digest of a key made by [`expiry`].
pub(super) fn expiry_of(key: &[u8]) -> Option<(Moment, AnswerDigest)> {
    let (moment, digest) = key.strip_prefix(&[EXPIRIES])?.split_first_chunk::<8>()?;
    let moment = Moment((u64::from_be_bytes(*moment) ^ (1 << 63)).cast_signed());
    Some((moment, digest.try_into().ok()?))
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
