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
        let mut fields = Fields::of(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => asked.organization = field.text()?,
                2 => asked.read_principal(field.message()?)?,
                3 => asked.action = field.text()?,
                4 => asked.read_resource(field.message()?)?,
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
    fn read_principal(&mut self, mut fields: Fields<'a>) -> Option<()> {
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.principal_type = field.text()?,
                2 => self.principal_id = field.text()?,
                _ => {}
            }
        }
        Some(())
    }

    fn read_resource(&mut self, mut fields: Fields<'a>) -> Option<()> {
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
            fields: Fields::in_parts(message),
            at_least: "",
        }
    }

    /// The next question, or the end; nothing if prost has to read the message.
    pub fn next_question(&mut self) -> Option<Option<Asked<'a>>> {
        while let Some((number, field)) = self.fields.next()? {
            match number {
                1 => return Asked::read(field.message()?.as_bytes()).map(Some),
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
    Bytes(Fields<'a>),
    Other,
}

impl<'a> Field<'a> {
    fn message(self) -> Option<Fields<'a>> {
        match self {
            Self::Bytes(fields) => Some(fields),
            Self::Number(_) | Self::Other => None,
        }
    }

    #[inline]
    fn text(self) -> Option<&'a str> {
        self.message()?.as_text()
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
#[derive(Clone, Copy)]
struct Fields<'a> {
    /// The bytes that it lies in.
    bytes: &'a [u8],
    /// The same, if they are text as a whole. Keys and lengths mostly are ASCII, so that
    /// one look at a message does for all texts in it: a piece of text that begins and
    /// ends between two characters is text.
    text: Option<&'a str>,
    /// Where the next begins.
    next: usize,
    /// Where the last ends.
    end: usize,
}

impl<'a> Fields<'a> {
    /// Those of a message.
    #[inline]
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            text: std::str::from_utf8(bytes).ok(),
            ..Self::in_parts(bytes)
        }
    }

    /// Those of one whose parts are looked at one by one.
    fn in_parts(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            text: None,
            next: 0,
            end: bytes.len(),
        }
    }

    fn as_bytes(&self) -> &'a [u8] {
        self.bytes.get(self.next..self.end).unwrap_or_default()
    }

    #[inline]
    fn as_text(&self) -> Option<&'a str> {
        self.text
            .and_then(|text| text.get(self.next..self.end))
            .or_else(|| std::str::from_utf8(self.as_bytes()).ok())
    }

    /// The next field with its number, or the end; nothing if it can't be read here.
    #[inline]
    fn next(&mut self) -> Option<Option<(u32, Field<'a>)>> {
        if self.next == self.end {
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
    fn take(&mut self, length: usize) -> Option<Self> {
        if length > self.end - self.next {
            return None;
        }
        let end = self.next + length;
        let taken = Self { end, ..*self };
        self.next = end;
        Some(taken)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let [byte] = *self.take(1)?.as_bytes() else {
            return None;
        };
        Some(byte)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(first.into());
        }
        self.long_varint(first)
    }

    /// A number of more than one byte: at most ten, of which the last has one bit.
    fn long_varint(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for place in 1..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return (place < 9 || byte < 2).then_some(value);
            }
        }
        None
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;
