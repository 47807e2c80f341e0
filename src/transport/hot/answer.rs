//! Writes an answer as its bytes, which are those that prost would write.

use std::borrow::Cow;

use bytes::{BufMut, Bytes};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::application::Checked;
use crate::application::revision::TokenText;
use crate::engine::Verdict;
use crate::transport::to_proto;

/// The bytes before each message: whether it is compressed, and its length.
pub const HEADER_BYTES: usize = 5;

/// The answer to an ordinary check.
#[derive(Clone, Debug)]
pub struct Decided<'a> {
    verdict: Verdict,
    revision: TokenText,
    /// Seconds and nanoseconds.
    valid_until: Option<(i64, i32)>,
    correlation_id: Cow<'a, str>,
}

impl<'a> Decided<'a> {
    /// What was decided without giving reasons.
    pub fn of(checked: &Checked, correlation_id: &'a str) -> Self {
        let valid_until = checked.valid_until.map(to_proto::timestamp);
        Self {
            verdict: checked.verdict,
            revision: TokenText::of(checked.revision),
            valid_until: valid_until.map(|moment| (moment.seconds, moment.nanos)),
            correlation_id: Cow::Borrowed(correlation_id),
        }
    }

    /// Whether the principal may.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    /// The same, when the request is gone.
    pub fn into_owned(self) -> Decided<'static> {
        Decided {
            verdict: self.verdict,
            revision: self.revision,
            valid_until: self.valid_until,
            correlation_id: Cow::Owned(self.correlation_id.into_owned()),
        }
    }

    /// The length of an `IsAuthorizedResponse` that says so.
    pub fn length(&self) -> usize {
        let valid_until = self.valid_until.map_or(0, |(seconds, nanos)| {
            delimited_length(number_length(seconds) + number_length(nanos.into()))
        });
        let correlation_id = match self.correlation_id.len() {
            0 => 0,
            length => delimited_length(length),
        };
        2 + 2 + self.revision.as_bytes().len() + valid_until + correlation_id
    }

    /// Writes it as an `IsAuthorizedResponse`.
    #[inline]
    pub fn write(&self, out: &mut impl BufMut) {
        let verdict = match self.verdict {
            Verdict::Allow => 1,
            Verdict::Deny => 2,
        };
        let revision = self.revision.as_bytes();
        out.put_slice(&[0x08, verdict, 0x12, length_in_one_byte(revision)]);
        out.put_slice(revision);
        if let Some((seconds, nanos)) = self.valid_until {
            let length = number_length(seconds) + number_length(nanos.into());
            out.put_u8(0x1a);
            encode_varint(length as u64, out);
            write_number(0x08, seconds, out);
            write_number(0x10, nanos.into(), out);
        }
        if !self.correlation_id.is_empty() {
            write_text(0x32, &self.correlation_id, out);
        }
    }

    /// Writes it as the item of a `BatchIsAuthorizedResponse`.
    pub fn write_item(&self, out: &mut impl BufMut) {
        let length = self.length();
        out.put_u8(0x0a);
        encode_varint(delimited_length(length) as u64, out);
        out.put_u8(0x0a);
        encode_varint(length as u64, out);
        self.write(out);
    }

    /// The message with what goes before it on the wire.
    pub fn framed(&self) -> Bytes {
        let length = self.length();
        let mut out = Vec::with_capacity(HEADER_BYTES + length);
        let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(&[0, a, b, c, d]);
        self.write(&mut out);
        out.into()
    }
}

/// The length of a revision, which is short.
fn length_in_one_byte(revision: &[u8]) -> u8 {
    const { assert!(TokenText::MAX_BYTES < 0x80, "a length of one byte") };
    revision.len() as u8
}

/// Writes a text field, with its key of one byte.
pub fn write_text(key: u8, text: &str, out: &mut impl BufMut) {
    out.put_u8(key);
    encode_varint(text.len() as u64, out);
    out.put_slice(text.as_bytes());
}

fn write_number(key: u8, number: i64, out: &mut impl BufMut) {
    if number != 0 {
        out.put_u8(key);
        encode_varint(number.cast_unsigned(), out);
    }
}

/// What a field of a number takes; none is written for 0.
fn number_length(number: i64) -> usize {
    if number == 0 {
        0
    } else {
        1 + encoded_len_varint(number.cast_unsigned())
    }
}

/// What a field of that many bytes takes, with a key of one byte.
fn delimited_length(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::domain::organization::Moment;
    use crate::proto::v1;

    proptest! {
        #[test]
        fn an_answer_has_the_bytes_that_prost_writes(
            allowed in any::<bool>(),
            revision in prop_oneof![any::<u64>(), 0u64..300],
            until in proptest::option::of(prop_oneof![
                any::<i32>().prop_map(i64::from),
                -2i64..2,
                0i64..4_000_000_000_000,
            ]),
            correlation_id in "[a-zé]{0,140}",
        ) {
            let checked = Checked {
                verdict: if allowed { Verdict::Allow } else { Verdict::Deny },
                revision,
                valid_until: until.map(Moment),
                explanation: None,
            };
            let decided = Decided::of(&checked, &correlation_id);
            let message = to_proto::checked(checked, correlation_id.clone());
            let expected = message.encode_to_vec();

            let framed = decided.framed();
            prop_assert_eq!(&framed[HEADER_BYTES..], &*expected);
            let header = [&[0], &(expected.len() as u32).to_be_bytes()[..]].concat();
            prop_assert_eq!(&framed[..HEADER_BYTES], &*header);

            let mut item = Vec::new();
            decided.into_owned().write_item(&mut item);
            let response = v1::BatchIsAuthorizedResponse {
                items: vec![v1::BatchItem {
                    result: Some(v1::batch_item::Result::Response(message)),
                }],
                revision: String::new(),
            };
            prop_assert_eq!(item, response.encode_to_vec());
        }
    }
}
