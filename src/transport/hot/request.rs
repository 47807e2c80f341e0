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
        // Keys and lengths mostly are ASCII, so that the message is text as a whole.
        let text = std::str::from_utf8(message).ok();
        text.and_then(|text| Self::of(Texts(text)))
            .or_else(|| Self::of(AnyFields(message)))
    }

    fn of(mut fields: impl Fields<'a>) -> Option<Self> {
        let mut asked = Self::default();
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
    #[inline]
    fn read_principal(&mut self, mut fields: impl Fields<'a>) -> Option<()> {
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.principal_type = field.text()?,
                2 => self.principal_id = field.text()?,
                _ => {}
            }
        }
        Some(())
    }

    #[inline]
    fn read_resource(&mut self, mut fields: impl Fields<'a>) -> Option<()> {
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

/// The fields of a message that are still to be read.
trait Fields<'a>: Sized {
    /// What the value of one is.
    type Field: Field<'a, Fields = Self>;

    /// The next field with its number, or the end; nothing if it can't be read here.
    fn next(&mut self) -> Option<Option<(u32, Self::Field)>>;
}

/// The value of a field; nothing where it is none of what is asked for.
trait Field<'a> {
    /// The fields of a message.
    type Fields: Fields<'a>;

    fn message(self) -> Option<Self::Fields>;
    fn text(self) -> Option<&'a str>;
    fn truth(self) -> Option<bool>;
}

/// Those of a message that is text as a whole, if each is a text or a message itself and
/// has a key and a length of one byte. A piece of text that begins and ends between two
/// characters is text, so that one look at the whole does for all texts in it.
struct Texts<'a>(&'a str);

impl<'a> Fields<'a> for Texts<'a> {
    type Field = &'a str;

    #[inline]
    fn next(&mut self) -> Option<Option<(u32, &'a str)>> {
        let [key, length, ..] = *self.0.as_bytes() else {
            return self.0.is_empty().then_some(None);
        };
        if key & 0x87 != 2 || key < 8 || length >= 0x80 {
            return None;
        }
        let (text, rest) = self.0.get(2..)?.split_at_checked(length.into())?;
        self.0 = rest;
        Some(Some((u32::from(key >> 3), text)))
    }
}

impl<'a> Field<'a> for &'a str {
    type Fields = Texts<'a>;

    fn message(self) -> Option<Texts<'a>> {
        Some(Texts(self))
    }

    fn text(self) -> Option<&'a str> {
        Some(self)
    }

    fn truth(self) -> Option<bool> {
        None
    }
}

/// The questions of a `BatchIsAuthorizedRequest`, one after the other.
pub struct AskedMany<'a> {
    fields: AnyFields<'a>,
    /// The revision to answer all from, once all are read.
    pub at_least: &'a str,
}

impl<'a> AskedMany<'a> {
    /// The questions of that message.
    pub fn of(message: &'a [u8]) -> Self {
        Self {
            fields: AnyFields(message),
            at_least: "",
        }
    }

    /// The next question, or the end; nothing if prost has to read the message.
    pub fn next_question(&mut self) -> Option<Option<Asked<'a>>> {
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
enum AnyField<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> AnyField<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Other => None,
        }
    }
}

impl<'a> Field<'a> for AnyField<'a> {
    type Fields = AnyFields<'a>;

    fn message(self) -> Option<AnyFields<'a>> {
        self.bytes().map(AnyFields)
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

/// Those of any message.
struct AnyFields<'a>(&'a [u8]);

impl<'a> Fields<'a> for AnyFields<'a> {
    type Field = AnyField<'a>;

    #[inline]
    fn next(&mut self) -> Option<Option<(u32, AnyField<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let (number, kind) = self.key()?;
        let field = self.value(number, kind, MAX_GROUPS)?;
        Some(Some((number, field)))
    }
}

impl<'a> AnyFields<'a> {
    #[inline]
    fn key(&mut self) -> Option<(u32, u32)> {
        let key = u32::try_from(self.varint()?).ok()?;
        (key >> 3 != 0).then_some((key >> 3, key & 7))
    }

    #[inline]
    fn value(&mut self, number: u32, kind: u32, groups: u32) -> Option<AnyField<'a>> {
        match kind {
            0 => self.varint().map(AnyField::Number),
            1 => self.take(8).map(|_| AnyField::Other),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(AnyField::Bytes)
            }
            3 => self.skip_group(number, groups),
            5 => self.take(4).map(|_| AnyField::Other),
            _ => None,
        }
    }

    /// The rest of a group, up to the end that bears its number.
    #[cold]
    fn skip_group(&mut self, number: u32, groups: u32) -> Option<AnyField<'a>> {
        let groups = groups.checked_sub(1)?;
        loop {
            let (inner, kind) = self.key()?;
            if kind == 4 {
                return (inner == number).then_some(AnyField::Other);
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

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;
