//! Where things lie: one ordered key space, a prefix byte for each kind.
//!
//! | prefix | key | value |
//! |---|---|---|
//! | `02` | organization, `00` | the organization's mark: version, last commit, when it wakes |
//! | `02` | organization, kind from `01` on, id | a record |
//! | `02` | organization, `10`, digest of an idempotency key | with which commit an answer is remembered |
//! | `02` | organization, `11`, sequence | where in the journal a commit of the organization lies |
//! | `03` | user, organization | nothing: who is a member where |
//! | `04` | moment, organization | nothing: where something ends by itself when |
//! | `05` | moment, organization, digest | nothing: which answers expire when |
//! | `06` | organization, id | a waiting notification, which is a record too |
//!
//! All of an organization but its notifications lies together, so that a commit in a
//! small one touches few leaves ([`leaf`](super::leaf)). Notifications lie apart, so
//! that those that wait are found without a look at any organization. Commits and
//! answers outlive the organization.
//!
//! sled itself has two kinds of keys: `00` for the applied head, whose version is that
//! of this layout, and `01` with a fence for each leaf.
//!
//! Text in a key ends with `00 01`, and a zero byte inside it becomes `00 ff`.
//! That keeps the order of keys the order of ids, and no id can reach into
//! another's keys, whatever bytes it is made of. Numbers are big-endian.

use sha2::{Digest, Sha256};

use crate::domain::change::RecordChange;
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::Moment;
use crate::store::{IdempotencyKey, ReadError, Sequence};

/// The key of the applied head in sled.
pub(super) const HEAD: &[u8] = &[0x00];

/// What the keys of organizations begin with.
pub(super) const ORGANIZATIONS: u8 = 0x02;
const MEMBERSHIPS: u8 = 0x03;
const WAKES: u8 = 0x04;
const EXPIRIES: u8 = 0x05;
const NOTIFICATIONS: u8 = 0x06;

const MARK: u8 = 0x00;
const PROFILE: u8 = 0x01;
const MEMBER: u8 = 0x02;
const ROLE: u8 = 0x03;
const PROJECT: u8 = 0x04;
const RESOURCE: u8 = 0x05;
const GROUP: u8 = 0x06;
const INVITATION: u8 = 0x07;
const TOKEN: u8 = 0x08;
const GUARDRAIL: u8 = 0x09;
/// In no key: they have a prefix of their own.
const NOTIFICATION: u8 = 0x0A;
const ANSWER: u8 = 0x10;
const COMMIT: u8 = 0x11;

/// The first bytes of SHA-256 of an idempotency key.
pub(super) type AnswerDigest = [u8; 16];

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
    let mut key = match kind {
        NOTIFICATION => notifications(organization),
        kind => of_kind(organization, kind),
    };
    ids.into_iter()
        .flatten()
        .for_each(|id| push_text(&mut key, id));
    Place::Record(key)
}

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An organization's mark.
    Mark(OrganizationId),
    /// One of its records.
    Record(OrganizationId, RecordKind),
    /// An answer.
    Answer(OrganizationId, AnswerDigest),
    /// The place of a commit.
    Commit(OrganizationId, Sequence),
    /// That somebody is a member.
    Membership(UserId, OrganizationId),
    /// When something ends by itself.
    Wake(Moment, OrganizationId),
    /// When an answer expires.
    Expiry(Moment, OrganizationId, AnswerDigest),
}

/// What a key is about; `None` if nobody wrote it.
pub(super) fn subject(key: &[u8]) -> Option<Subject> {
    let (&prefix, rest) = key.split_first()?;
    match prefix {
        ORGANIZATIONS => {
            let (organization, rest) = split_organization(rest)?;
            let (&kind, rest) = rest.split_first()?;
            let record = |kind| Some(Subject::Record(organization.clone(), kind));
            match kind {
                MARK if rest.is_empty() => Some(Subject::Mark(organization)),
                PROFILE if rest.is_empty() => record(RecordKind::Profile),
                MEMBER => record(RecordKind::Member),
                ROLE => record(RecordKind::Role),
                PROJECT => record(RecordKind::Project),
                RESOURCE => record(RecordKind::Resource),
                GROUP => record(RecordKind::Group),
                INVITATION => record(RecordKind::Invitation),
                TOKEN => record(RecordKind::Token),
                GUARDRAIL => record(RecordKind::Guardrail),
                ANSWER => Some(Subject::Answer(organization, rest.try_into().ok()?)),
                COMMIT => {
                    let sequence = u64::from_be_bytes(rest.try_into().ok()?);
                    Some(Subject::Commit(organization, Sequence(sequence)))
                }
                _ => None,
            }
        }
        MEMBERSHIPS => {
            let (user, rest) = split_text(rest)?;
            let user = UserId::new(String::from_utf8(user).ok()?);
            Some(Subject::Membership(user, last_organization(rest)?))
        }
        WAKES => {
            let (moment, rest) = rest.split_first_chunk::<8>()?;
            Some(Subject::Wake(moment_of(*moment), last_organization(rest)?))
        }
        EXPIRIES => {
            let (moment, rest) = rest.split_first_chunk::<8>()?;
            let (organization, digest) = split_organization(rest)?;
            let moment = moment_of(*moment);
            Some(Subject::Expiry(
                moment,
                organization,
                digest.try_into().ok()?,
            ))
        }
        NOTIFICATIONS => {
            let (organization, _) = split_organization(rest)?;
            Some(Subject::Record(organization, RecordKind::Notification))
        }
        _ => None,
    }
}

/// What lies at a key, for people.
pub(super) fn named(key: &[u8]) -> String {
    match subject(key) {
        Some(Subject::Mark(id)) => format!("the mark of organization `{id}`"),
        Some(Subject::Record(id, kind)) => format!("a {} of organization `{id}`", kind.name()),
        Some(Subject::Answer(id, _)) => format!("a remembered answer of organization `{id}`"),
        Some(Subject::Commit(id, Sequence(number))) => {
            format!("the place of commit {number} of organization `{id}`")
        }
        Some(Subject::Membership(user, id)) => {
            format!("the membership of `{user}` in organization `{id}`")
        }
        Some(Subject::Wake(_, id)) => format!("the wake of organization `{id}`"),
        Some(Subject::Expiry(..)) => "the expiry of a remembered answer".to_owned(),
        None => "a key that nobody wrote".to_owned(),
    }
}

/// That what lies at a key is not what was put there.
pub(super) fn damaged(key: &[u8]) -> ReadError {
    ReadError::Damaged(format!("{} is not what was written", named(key)))
}

/// What everything of an organization but its notifications begins with.
pub(super) fn organization(id: &OrganizationId) -> Vec<u8> {
    let mut key = vec![ORGANIZATIONS];
    push_text(&mut key, id.as_str());
    key
}

/// The key of an organization's mark.
pub(super) fn mark(id: &OrganizationId) -> Vec<u8> {
    of_kind(id, MARK)
}

/// Where an organization's mark and, from `start` on, its records but notifications lie.
pub(super) fn records(id: &OrganizationId) -> (Vec<u8>, Vec<u8>) {
    (of_kind(id, PROFILE), of_kind(id, ANSWER))
}

/// What an organization's notifications begin with.
pub(super) fn notifications(id: &OrganizationId) -> Vec<u8> {
    let mut key = vec![NOTIFICATIONS];
    push_text(&mut key, id.as_str());
    key
}

/// Where all notifications lie.
pub(super) fn all_notifications() -> (Vec<u8>, Vec<u8>) {
    (vec![NOTIFICATIONS], vec![NOTIFICATIONS + 1])
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

/// The key of the membership that a record stands for, if it is a member's.
pub(super) fn membership_of_record(organization: &OrganizationId, key: &[u8]) -> Option<Vec<u8>> {
    let rest = key.strip_prefix(of_kind(organization, MEMBER).as_slice())?;
    let (user, _) = split_text(rest)?;
    let user = UserId::new(String::from_utf8(user).ok()?);
    Some(membership(&user, organization))
}

/// The key that says when something of an organization ends by itself; earlier ones sort first.
pub(super) fn wake(at: Moment, organization: &OrganizationId) -> Vec<u8> {
    let mut key = vec![WAKES];
    key.extend_from_slice(&ordered(at));
    push_text(&mut key, organization.as_str());
    key
}

/// Where the wakes at `by` or earlier lie.
pub(super) fn wakes(by: Moment) -> (Vec<u8>, Vec<u8>) {
    (vec![WAKES], after_moment(WAKES, by))
}

/// The key of a remembered answer.
pub(super) fn answer(organization: &OrganizationId, digest: &AnswerDigest) -> Vec<u8> {
    let mut key = of_kind(organization, ANSWER);
    key.extend_from_slice(digest);
    key
}

/// The key that says when an answer expires; earlier ones sort first.
pub(super) fn expiry(at: Moment, organization: &OrganizationId, digest: &AnswerDigest) -> Vec<u8> {
    let mut key = vec![EXPIRIES];
    key.extend_from_slice(&ordered(at));
    push_text(&mut key, organization.as_str());
    key.extend_from_slice(digest);
    key
}

/// Where the expiries at `by` or earlier lie.
pub(super) fn expiries(by: Moment) -> (Vec<u8>, Vec<u8>) {
    (vec![EXPIRIES], after_moment(EXPIRIES, by))
}

/// The key of the place of a commit of an organization.
pub(super) fn commit(organization: &OrganizationId, sequence: Sequence) -> Vec<u8> {
    let mut key = of_kind(organization, COMMIT);
    key.extend_from_slice(&sequence.0.to_be_bytes());
    key
}

/// What the keys of the places of an organization's commits begin with.
pub(super) fn commits(organization: &OrganizationId) -> Vec<u8> {
    of_kind(organization, COMMIT)
}

/// Names a request in few bytes.
pub(super) fn digest(key: &IdempotencyKey) -> AnswerDigest {
    let mut bytes = Vec::new();
    push_text(&mut bytes, key.organization.as_str());
    push_text(&mut bytes, &key.caller);
    push_text(&mut bytes, &key.request_id);
    let whole = Sha256::digest(bytes);
    let mut digest = AnswerDigest::default();
    digest
        .iter_mut()
        .zip(whole)
        .for_each(|(to, from)| *to = from);
    digest
}

/// Sorts after every key that begins with `prefix`, and before all others that sort after those.
pub(super) fn end_of(mut prefix: Vec<u8>) -> Vec<u8> {
    // Text ends with `01` and kinds are small, so the last byte can always be raised.
    if let Some(last) = prefix.last_mut() {
        *last = last.saturating_add(1);
    }
    prefix
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

fn of_kind(id: &OrganizationId, kind: u8) -> Vec<u8> {
    let mut key = organization(id);
    key.push(kind);
    key
}

fn split_organization(bytes: &[u8]) -> Option<(OrganizationId, &[u8])> {
    let (text, rest) = split_text(bytes)?;
    Some((OrganizationId::new(String::from_utf8(text).ok()?), rest))
}

/// The organization that is all of `bytes`.
fn last_organization(bytes: &[u8]) -> Option<OrganizationId> {
    let (organization, rest) = split_organization(bytes)?;
    rest.is_empty().then_some(organization)
}

/// What sorts after every key of that prefix with `at` or an earlier moment, and before later ones.
fn after_moment(prefix: u8, at: Moment) -> Vec<u8> {
    match at.0.checked_add(1) {
        None => vec![prefix.saturating_add(1)],
        Some(next) => {
            let mut key = vec![prefix];
            key.extend_from_slice(&ordered(Moment(next)));
            key
        }
    }
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
            let (left_key, right_key) = (mark(&left), mark(&right));
            prop_assert_eq!(left.cmp(&right), left_key.cmp(&right_key));
            prop_assert_eq!(subject(&left_key), Some(Subject::Mark(left.clone())));
            if left != right {
                prop_assert!(!organization(&left).starts_with(&organization(&right)));
            }
        }

        #[test]
        fn keys_of_commits_sort_by_place_and_can_be_read_back(
            id in "[\0-\u{3}\u{fe}-\u{101}a]{0,6}",
            left in any::<u64>(),
            right in any::<u64>(),
        ) {
            let id = samples::organization(&id);
            let key = |sequence| commit(&id, Sequence(sequence));
            prop_assert_eq!(left.cmp(&right), key(left).cmp(&key(right)));
            prop_assert_eq!(subject(&key(left)), Some(Subject::Commit(id.clone(), Sequence(left))));
            prop_assert!(key(left).starts_with(&commits(&id)) && key(left) < end_of(commits(&id)));
        }

        #[test]
        fn wakes_and_expiries_sort_by_moment(left in any::<i64>(), right in any::<i64>()) {
            let id = samples::organization("a");
            let key = |at| wake(Moment(at), &id);
            prop_assert_eq!(left.cmp(&right), key(left).cmp(&key(right)));
            prop_assert_eq!(subject(&key(left)), Some(Subject::Wake(Moment(left), id.clone())));
            prop_assert_eq!(key(left) < wakes(Moment(right)).1, left <= right);
            let key = |at| expiry(Moment(at), &id, &[1; 16]);
            prop_assert_eq!(left.cmp(&right), key(left).cmp(&key(right)));
            let read = Subject::Expiry(Moment(left), id.clone(), [1; 16]);
            prop_assert_eq!(subject(&key(left)), Some(read));
            prop_assert_eq!(key(left) < expiries(Moment(right)).1, left <= right);
        }
    }

    #[test]
    fn every_record_has_a_place_that_says_its_kind() {
        let id = samples::organization("o");
        for change in samples::changes_that_stay("text") {
            let Place::Record(key) = place(&id, &change) else {
                panic!("{change:?}")
            };
            assert!(matches!(subject(&key), Some(Subject::Record(of, _)) if of == id));
            let (start, end) = records(&id);
            let apart = notifications(&id);
            assert!(
                (key >= start && key < end) || key.starts_with(&apart),
                "{change:?}"
            );
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
