//! What is read in place is what prost reads, for whatever bytes there are.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::fuzzing::by_prost;
use super::*;
use crate::proto::v1;

/// What is read here is what prost reads, and the other way round.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let decoded = v1::IsAuthorizedRequest::decode(bytes);
    let expected = decoded.as_ref().ok().and_then(by_prost);
    prop_assert_eq!(Asked::read(bytes), expected, "{:02x?}", bytes);
    Ok(())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(u64::from(number << 3 | 2));
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zé]{0,6}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..4),
    ]
}

/// A field as any writer could write it, right or wrong.
fn field(inner: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![6 => 1u32..10, 1 => Just(0u32), 1 => 11u32..40_000];
    prop_oneof![
        8 => (number.clone(), inner).prop_map(|(number, inner)| delimited(number, &inner)),
        2 => (number.clone(), any::<u64>()).prop_map(|(number, value)| {
            [varint(u64::from(number << 3)), varint(value)].concat()
        }),
        // Numbers as long as they may be, and longer.
        1 => (number.clone(), 8usize..11, any::<u8>()).prop_map(|(number, length, last)| {
            [varint(u64::from(number << 3)), vec![0xff; length], vec![last]].concat()
        }),
        1 => (number.clone(), 0u64..3, vec(any::<u8>(), 1..12)).prop_map(
            |(number, kind, rest)| {
                let kind = [1, 5, 6][kind as usize];
                [varint(u64::from(number << 3) | kind), rest].concat()
            }
        ),
        1 => (1u32..12, content(), 0u32..8).prop_map(|(number, inner, other)| {
            let end = if other == 0 { 1 } else { number };
            let (start, end) = (varint(u64::from(number << 3 | 3)), varint(u64::from(end << 3 | 4)));
            [start, delimited(7, &inner), end].concat()
        }),
        1 => vec(prop_oneof![Just(0xffu8), Just(0x80), Just(0x01)], 1..12),
    ]
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let flat = vec(field(content().boxed()), 0..4).prop_map(|fields| fields.concat());
    let nested = prop_oneof![2 => content(), 3 => flat].boxed();
    vec(field(nested), 0..8).prop_map(|fields| fields.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_message_is_read_as_prost_reads_it(bytes in messages()) {
        agree(&bytes)?;
    }

    #[test]
    fn a_message_cut_short_is_read_as_prost_reads_it(bytes in messages(), cut in 0usize..64) {
        let bytes = &bytes[..cut.min(bytes.len())];
        agree(bytes)?;
    }

    #[test]
    fn bytes_of_any_kind_are_read_as_prost_reads_them(bytes in vec(any::<u8>(), 0..40)) {
        agree(&bytes)?;
    }

    #[test]
    fn the_questions_of_a_batch_are_those_that_prost_reads(
        items in vec(messages(), 0..4),
        at_least in "[0-9a-f.]{0,4}",
    ) {
        let mut bytes: Vec<u8> = items.iter().flat_map(|item| delimited(1, item)).collect();
        bytes.extend(delimited(2, at_least.as_bytes()));
        let mut many = AskedMany::of(&bytes);
        let mut read = Vec::new();
        let whole = loop {
            match many.next_question() {
                Some(Some(asked)) => read.push(asked),
                Some(None) => break true,
                None => break false,
            }
        };
        let decoded = v1::BatchIsAuthorizedRequest::decode(&*bytes);
        if whole {
            let decoded = decoded.expect("prost reads it too");
            let expected: Option<Vec<Asked>> = decoded.requests.iter().map(by_prost).collect();
            prop_assert_eq!(Some(read), expected);
            prop_assert_eq!(many.at_least, &decoded.at_least);
        } else if let Ok(decoded) = &decoded {
            let ordinary = decoded.requests.iter().all(|request| by_prost(request).is_some());
            prop_assert!(!ordinary, "{:02x?}", bytes);
        }
    }
}

#[test]
fn every_field_of_an_ordinary_question_is_read() {
    let message = v1::IsAuthorizedRequest {
        organization: "acme".to_owned(),
        principal: Some(v1::EntityRef {
            r#type: "User".to_owned(),
            id: "ann".to_owned(),
        }),
        action: "WaterBed".to_owned(),
        resource: Some(v1::Resource {
            r#type: "Bed".to_owned(),
            id: "b1".to_owned(),
            project: "tunnel".to_owned(),
            owner: "bob".to_owned(),
            attributes: None,
        }),
        context: None,
        at_least: "0.1".to_owned(),
        include_reasons: true,
        correlation_id: "c".repeat(200),
    };
    let bytes = message.encode_to_vec();
    assert_eq!(Asked::read(&bytes), by_prost(&message));
    assert!(Asked::read(&bytes).is_some());
}

#[test]
fn attributes_and_context_are_left_to_prost() {
    let said = Some(prost_types::Struct::default());
    let with_context = v1::IsAuthorizedRequest {
        context: said.clone(),
        ..Default::default()
    };
    let with_attributes = v1::IsAuthorizedRequest {
        resource: Some(v1::Resource {
            attributes: said,
            ..Default::default()
        }),
        ..Default::default()
    };
    for message in [with_context, with_attributes] {
        assert_eq!(Asked::read(&message.encode_to_vec()), None);
    }
}
