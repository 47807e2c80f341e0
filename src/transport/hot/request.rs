//! Reads a question out of the bytes it came in, without copying anything.
//!
//! Only what an ordinary check says is read: names, and whether there is more. What
//! is not understood here (attributes, context, groups, anything malformed) is for
//! prost, which reads the same bytes again. So a question read here is exactly the
//! one that prost would have read, and that is all a test has to hold it to; what is
//! refused is refused in one place and in one wording.

/// A question whose texts lie in the bytes received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The organization.
    pub organization: &'a str,
    /// The principal's type.
    pub principal_type: &'a str,
    /// The principal's id.
    pub principal_id: &'a str,
    /// The action.
    pub action: &'a str,
    /// The resource's type.
    pub resource_type: &'a str,
    /// The resource's id.
    pub resource_id: &'a str,
    /// The project it lies in, or empty.
    pub project: &'a str,
    /// The user who owns it, or empty.
    pub owner: &'a str,
    /// The revision to answer from, or empty.
    pub at_least: &'a str,
    /// Whether the answer should say why.
    pub include_reasons: bool,
    /// What the answer is to repeat, or empty.
    pub correlation_id: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads an `IsAuthorizedRequest`; nothing if prost has to.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut asked = Self::default();
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => asked.organization = field.text()?,
                2 => asked.read_principal(field.bytes()?)?,
                3 => asked.action = field.text()?,
                4 => asked.read_resource(field.bytes()?)?,
                5 => return None,
                6 => asked.at_least = field.text()?,
                7 => asked.include_reasons = field.truth()?,
                8 => asked.correlation_id = field.text()?,
                _ => {}
            }
        }
        Some(asked)
    }

    /// A message given twice is one message with the fields of both, so what an
    /// earlier one said stays unless it is said again.
    fn read_principal(&mut self, message: &'a [u8]) -> Option<()> {
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.principal_type = field.text()?,
                2 => self.principal_id = field.text()?,
                _ => {}
            }
        }
        Some(())
    }

    fn read_resource(&mut self, message: &'a [u8]) -> Option<()> {
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.resource_type = field.text()?,
                2 => self.resource_id = field.text()?,
                3 => self.project = field.text()?,
                4 => self.owner = field.text()?,
                5 => return None,
                _ => {}
            }
        }
        Some(())
    }
}

/// The questions of a `BatchIsAuthorizedRequest`, one after the other.
pub struct AskedMany<'a> {
    fields: Fields<'a>,
    /// The revision to answer all from, once all are read.
    pub at_least: &'a str,
}

impl<'a> AskedMany<'a> {
    /// The questions of that message.
    pub fn of(message: &'a [u8]) -> Self {
        Self {
            fields: Fields(message),
            at_least: "",
        }
    }

    /// The next question, or the end; nothing if prost has to read the message.
    pub fn next(&mut self) -> Option<Option<Asked<'a>>> {
        while let Some((number, field)) = self.fields.next()? {
            match number {
                1 => return Asked::read(field.bytes()?).map(Some),
                2 => self.at_least = field.text()?,
                _ => {}
            }
        }
        Some(None)
    }
}

/// The value of a field, by how it is written.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Other => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn truth(self) -> Option<bool> {
        match self {
            Self::Number(number) => Some(number != 0),
            Self::Bytes(_) | Self::Other => None,
        }
    }
}

/// How deep groups may lie in each other here; prost reads deeper ones.
const MAX_GROUPS: u32 = 8;

/// The fields of a message that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field with its number, or the end; nothing if it can't be read here.
    #[inline]
    fn next(&mut self) -> Option<Option<(u32, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let (number, kind) = self.key()?;
        let field = self.value(number, kind, MAX_GROUPS)?;
        Some(Some((number, field)))
    }

    #[inline]
    fn key(&mut self) -> Option<(u32, u32)> {
        let key = u32::try_from(self.varint()?).ok()?;
        (key >> 3 != 0).then_some((key >> 3, key & 7))
    }

    #[inline]
    fn value(&mut self, number: u32, kind: u32, groups: u32) -> Option<Field<'a>> {
        match kind {
            0 => self.varint().map(Field::Number),
            1 => self.take(8).map(|_| Field::Other),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(Field::Bytes)
            }
            3 => self.skip_group(number, groups),
            5 => self.take(4).map(|_| Field::Other),
            _ => None,
        }
    }

    /// The rest of a group, up to the end that bears its number.
    #[cold]
    fn skip_group(&mut self, number: u32, groups: u32) -> Option<Field<'a>> {
        let groups = groups.checked_sub(1)?;
        loop {
            let (inner, kind) = self.key()?;
            if kind == 4 {
                return (inner == number).then_some(Field::Other);
            }
            self.value(inner, kind, groups)?;
        }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        if first < 0x80 {
            return Some(first.into());
        }
        self.long_varint(first)
    }

    /// A number of more than one byte: at most ten, of which the last has one bit.
    fn long_varint(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for place in 1..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return (place < 9 || byte < 2).then_some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::v1;

    /// What prost reads, if it is an ordinary question.
    fn by_prost(message: &v1::IsAuthorizedRequest) -> Option<Asked<'_>> {
        let mut asked = Asked {
            organization: &message.organization,
            action: &message.action,
            at_least: &message.at_least,
            include_reasons: message.include_reasons,
            correlation_id: &message.correlation_id,
            ..Asked::default()
        };
        if let Some(principal) = &message.principal {
            (asked.principal_type, asked.principal_id) = (&principal.r#type, &principal.id);
        }
        if let Some(resource) = &message.resource {
            (asked.resource_type, asked.resource_id) = (&resource.r#type, &resource.id);
            (asked.project, asked.owner) = (&resource.project, &resource.owner);
        }
        let said = message
            .resource
            .as_ref()
            .and_then(|resource| resource.attributes.as_ref());
        (message.context.is_none() && said.is_none()).then_some(asked)
    }

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
                match many.next() {
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
}
