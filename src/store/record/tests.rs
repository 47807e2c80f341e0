//! What sealed bytes must keep, and what they must refuse.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::change::{InvitedRow, RowRefusal};
use crate::domain::organization::{MemberStatus, RolePeriods};
use crate::domain::period::Period;
use crate::store::Sequence;
use crate::store::samples::{self, HOSTILE};

/// Writes what the first release wrote.
pub(in crate::store) trait First {
    fn seal_as_version_1(&self) -> Vec<u8>;
}

fn round_trips<T: Stored + First + PartialEq + Debug + Clone>(value: &T) {
    let bytes = value.seal().unwrap();
    assert_eq!(&T::unseal(&bytes).unwrap(), value);
    assert_eq!(value.clone().seal().unwrap(), bytes);
    let (version, body) = unseal_body(&bytes).unwrap();
    let more = seal_body(version, &[body, &[0]].concat());
    assert!(matches!(T::unseal(&more), Err(DecodeError::Shape(_))));
    if let Some((_, less)) = body.split_last() {
        let less = seal_body(version, less);
        assert!(matches!(T::unseal(&less), Err(DecodeError::Shape(_))));
    }

    let first = value.seal_as_version_1();
    assert_eq!(first[0], 1);
    let upgraded = T::unseal(&first).unwrap();
    assert_eq!(upgraded.seal_as_version_1(), first, "something was lost");
}

fn outcomes(text: &str) -> Vec<Outcome> {
    vec![
        Outcome::Profile(Arc::new(samples::profile("o", text, 1))),
        Outcome::Member(Arc::new(samples::member("u", text, 2))),
        Outcome::Role(Arc::new(samples::role("r", text, 3))),
        Outcome::Project(Arc::new(samples::project("p", text, 4))),
        Outcome::Resource(Arc::new(samples::resource("x", text, 5))),
        Outcome::Group(Arc::new(samples::group("g", text, 6))),
        Outcome::Invitation(Arc::new(samples::invitation("i", text, 7))),
        Outcome::Invitations(vec![
            InvitedRow::Sent(Arc::new(samples::invitation("i", text, 7))),
            InvitedRow::Refused(RowRefusal {
                reason: "SEATS_EXHAUSTED".to_owned(),
                message: text.to_owned(),
            }),
        ]),
        Outcome::Token(Arc::new(samples::token("t", text, 8))),
        Outcome::Guardrail(Arc::new(samples::guardrail("b", text, 9))),
        Outcome::Count(u64::MAX),
        Outcome::Removed {
            orphaned: vec![samples::resource("x", text, 5).key],
            orphaned_count: 1,
            reassigned_count: 0,
        },
        Outcome::Nothing,
    ]
}

fn entry(text: &str) -> Entry {
    Entry {
        organization: samples::organization("o"),
        version: Version(3),
        at: Moment(4),
        records: samples::changes(text),
        events: vec![samples::event(text), HistoryEvent::default()],
        wake_at: Some(Moment(i64::MIN)),
    }
}

fn everything_round_trips(text: &str) {
    round_trips(&samples::profile("o", text, 1));
    round_trips(&samples::profile("o", text, 2));
    round_trips(&samples::member("u", text, 2));
    round_trips(&samples::role("r", text, 3));
    round_trips(&samples::project("p", text, 4));
    round_trips(&samples::resource("x", text, 5));
    round_trips(&samples::group("g", text, 6));
    round_trips(&samples::invitation("i", text, 7));
    round_trips(&samples::token("t", text, 8));
    round_trips(&samples::guardrail("b", text, 9));
    round_trips(&samples::notification("n", text));
    round_trips(&samples::event(text));
    round_trips(&samples::idempotency("o", text, 8));
    round_trips(&entry(text));
    samples::changes(text).iter().for_each(round_trips);
    for outcome in outcomes(text) {
        round_trips(&outcome);
        round_trips(&Remembered {
            fingerprint: [1; 32],
            sequence: Sequence(5),
            outcome,
            expires_at: Moment(-1),
        });
    }
}

#[test]
fn every_kind_of_record_round_trips_with_plain_and_with_hostile_text() {
    for text in ["", "plain", HOSTILE] {
        everything_round_trips(text);
    }
}

#[test]
fn every_kind_and_status_and_every_missing_part_round_trips() {
    use crate::domain::organization::{
        InvitationStatus, MemberKind, NotificationKind, TokenKind, TokenScope,
    };
    let mut profile = samples::profile("o", "text", 1);
    profile.transfer = None;
    round_trips(&profile);
    for kind in [
        MemberKind::Person,
        MemberKind::ServiceAccount,
        MemberKind::OrganizationToken,
    ] {
        round_trips(&Member {
            kind,
            added_by: None,
            last_active_at: None,
            groups: BTreeMap::new().into(),
            periods: RolePeriods::default().into(),
            period: Period::ALWAYS.into(),
            ..samples::member("u", "text", 1)
        });
    }
    for status in [
        InvitationStatus::Pending,
        InvitationStatus::Accepted,
        InvitationStatus::Revoked,
        InvitationStatus::Declined,
    ] {
        round_trips(&Invitation {
            status,
            invited_by: None,
            accepted_by: None,
            closed_at: None,
            expiry_recorded: true,
            ..samples::invitation("i", "text", 1)
        });
    }
    for kind in [
        TokenKind::Member,
        TokenKind::ServiceAccount,
        TokenKind::Organization,
    ] {
        for scope in [None, Some(TokenScope::default())] {
            round_trips(&Token {
                kind,
                scope,
                secrets: vec![],
                revoked_at: Some(Moment(1)),
                expiry_recorded: true,
                last_used_at: None,
                created_by: None,
                ..samples::token("t", "text", 1)
            });
        }
    }
    for kind in [
        NotificationKind::Invitation,
        NotificationKind::RoleChanged,
        NotificationKind::MemberRemoved,
        NotificationKind::MemberSuspended,
        NotificationKind::MemberReinstated,
        NotificationKind::TransferOffered,
        NotificationKind::OwnershipTransferred,
    ] {
        round_trips(&Notification {
            kind,
            user: None,
            invitation: None,
            ..samples::notification("n", "text")
        });
    }
    round_trips(&Group {
        max_token_age: None,
        ..samples::group("g", "text", 1)
    });
    round_trips(&HistoryEvent::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_round_trips(text in any::<String>()) {
        everything_round_trips(&text);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in any::<Vec<u8>>()) {
        prop_assert!(Entry::unseal(&bytes).is_err());
        prop_assert!(Member::unseal(&bytes).is_err());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let bytes = samples::member("u", HOSTILE, 2).seal().unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        assert_eq!(
            Member::unseal(&damaged),
            Err(DecodeError::Check),
            "byte {position}"
        );
        assert!(
            Member::unseal(&bytes[..position]).is_err(),
            "cut at {position}"
        );
    }
}

#[test]
fn a_version_from_the_future_is_named() {
    let body = b"{}";
    let mut bytes = vec![9];
    bytes.extend(check(9, body));
    bytes.extend(body);
    assert_eq!(Profile::unseal(&bytes), Err(DecodeError::UnknownVersion(9)));
}

#[test]
fn a_record_of_another_kind_is_refused() {
    let bytes = samples::role("r", "text", 1).seal().unwrap();
    assert!(matches!(Member::unseal(&bytes), Err(DecodeError::Shape(_))));
}

/// These bytes were written by the first release. They must be readable for ever.
fn version_1() -> Vec<u8> {
    let body: &[u8] = br#"{"user":"auth0|42","kind":"person","display_name":"Ann","email":"a@x","status":"suspended","roles":["dev"],"project_roles":[["p1",[]]],"overrides":[["p2",{"roles":["dev"],"permissions":{"every":["account"],"actions":[["always",["A"]],["own",[]],[{"condition":"c"},["B"]]]},"period":[null,8],"set_at":7}]],"default_roles":[[9,["dev"]],[10,[]]],"groups":[["g",[1,null]]],"periods":{"roles":[["dev",[null,9]]],"project_roles":[["p1",[["dev",[2,null]]]]]},"period":[null,null],"added_by":null,"joined_at":-1,"last_active_at":3,"membership":1,"version":2}"#;
    let mut bytes = vec![1, 0x6A, 0x66, 0xB2, 0x9E, 0x75, 0xD1, 0x1D, 0xC9];
    bytes.extend(body);
    bytes
}

#[test]
fn version_1_is_read_from_its_fixed_bytes() {
    let member = Member::unseal(&version_1()).unwrap();

    assert_eq!(member.user.as_str(), "auth0|42");
    assert_eq!(member.status, MemberStatus::Suspended);
    assert_eq!(member.default_roles.len(), 2);
    assert_eq!(member.seal_as_version_1(), version_1());
}

/// These bytes are what is written today. They must be readable for ever.
#[test]
fn version_2_is_read_from_its_fixed_bytes() {
    let member: &[u8] =
        b"\x02\n\x91Qj\xfe\xe0)\x1a\x08auth0|42\x00\x03Ann\x03a@x\x01\x01\x03dev\x01\x02p1\
        \x00\x01\x02p2\x01\x03dev\x01\x00\x03\x00\x01\x01A\x01\x00\x02\x01c\x01\x01B\x00\
        \x01\x10\x0e\x02\t\x01\x03dev\n\x00\x01\x01g\x01\x02\x00\x01\x03dev\x00\x01\x12\
        \x01\x02p1\x01\x03dev\x01\x04\x00\x00\x00\x00\x01\x01\x06\x01\x02";
    assert_eq!(
        Member::unseal(member).unwrap(),
        Member::unseal(&version_1()).unwrap()
    );
    // One of everything.
    let everything: &[u8] =
        b"\x02\xdc:\xcem&\\e1\x01o\x03\x08\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x14\
        \x00\x01o\x01t\x07hosting\x03pro\x05owner\t\xff\xff\xff\xff\xff\xff\xff\xff\xff\
        \x01\x01\x01\x01t\x01t\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x100123456789\
        abcde\xff\x01\x01\x01u\x01\x01t\rt@example.com\x00\x03\x01z\x01a\x01t\x02\x02p1\
        \x01\x01r\x02p2\x00\x01\x02p1\x01\x01t\x02\x00\x01\x03\x00\x02\x01A\x01t\x01\x00\
        \x02\x01t\x02\x01A\x01t\x01\r\x01\xc2\x0f\x0e\x02\t\x00\n\x01\x01b\x02\x01g\x00\
        \x00\x01t\x01\n\x01\xda\x0f\x01\x01t\x01\x0c\x01\xdc\x0f\x01\x02p1\x01\x01r\x01\
        \x0e\x01\xde\x0f\x00\x01\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01t\xff\
        \xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x12\x01\x02\x02\x01t\x03\x01r\x01t\x02t\
        t\x02\x00\x01\x03\x00\x02\x01A\x01t\x01\x00\x02\x01t\x02\x01A\x01t\x01\x02\x03\
        \x04\x01t\x05\x01p\x01t\x03\x01\x04\x04\x06\x01t\x07\x03App\x01x\x01\x01t\x00\
        \x06\x05\x08\x01t\x01t\t\x01g\x01t\x02tt\x01\x01t\x01\x01t\x01\x01r\x01\xfe\xff\
        \xff\xff\xff\xff\xff\xff\xff\x01\x01\x08\x01\xd8\x0f\x08\x06\n\x01t\x0b\x01i\rt@\
        example.com\x01t\x03\x01z\x01a\x01t\x02\x02p1\x01\x01r\x02p2\x00\x01\x02p1\x01\
        \x01t\x02\x00\x01\x03\x00\x02\x01A\x01t\x01\x00\x02\x01t\x02\x01A\x01t\x01\r\x01\
        \xc2\x0f\x0e\x01\x10\x01\xe0\x0f\x01t\x00\x01\x01t\x10\x12\xff\xff\xff\xff\x0f\
        \x14\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\
        \x01t\x01\x16\x07\x0c\x01t\r\x01t\x01t\x00\x01t\x01\x02 \x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x02\x01\n \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
        \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
        \xff\x02\x00\x01\x02\x01A\x01t\x01\x01t\x01\x18\x01\xe8\x0f\x00\x00\x01\x1a\x01\
        \x01t\x18\x08\x0e\x01t\x0f\x01b\x01t\x01t\x1a\t\x10\x01t\x11\x01n\x00\x01t\x01\
        \x01t\x01\x01t\x02\x05roles\x01t\x01t\x00\x1c\x12\x01t\x13\x02\x01\x10ChangeMemb\
        erRole\x06Member\x01t\x08operator\x01t\x01t\x01t\x01\x01\x01t\x02\x01z\x01t\x01a\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(Entry::unseal(everything).unwrap(), entry("t"));
    assert_eq!(entry("t").seal().unwrap(), everything);
}

#[test]
fn an_ordinary_member_takes_about_a_hundred_bytes() {
    let member = Member {
        roles: vec![crate::domain::identifiers::RoleId::new("viewer")],
        project_roles: Default::default(),
        overrides: Default::default(),
        default_roles: Default::default(),
        groups: Default::default(),
        periods: Default::default(),
        period: Default::default(),
        joined_at: Moment(1_764_000_000_000),
        last_active_at: Some(Moment(1_764_000_000_000)),
        email: "firstname.lastname@example.com".into(),
        ..samples::member(
            "0197f3a0-0000-7000-8000-000000000000",
            "Firstname Lastname",
            1,
        )
    };
    let bytes = member.seal().unwrap().len();
    assert!(bytes <= 150, "{bytes}");
}

#[test]
fn a_length_that_the_bytes_do_not_bear_out_is_refused() {
    for length in [u64::MAX, u64::from(u32::MAX), 1 << 20] {
        let mut body = Vec::new();
        let mut left = length;
        while left >= 0x80 {
            body.push(left as u8 | 0x80);
            left >>= 7;
        }
        body.push(left as u8);
        body.extend([b'a'; 64]);
        for bytes in [
            seal_body(2, &body),
            seal_body(2, &[&[0, 0, 0, 0], &body[..]].concat()),
        ] {
            assert!(matches!(Member::unseal(&bytes), Err(DecodeError::Shape(_))));
            assert!(matches!(Entry::unseal(&bytes), Err(DecodeError::Shape(_))));
        }
    }
}
