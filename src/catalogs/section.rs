//! A table of a TOML file, read key by key.
//!
//! Each reader notes what it asked for, so that [`Section::close`] can refuse
//! every key nobody asked for: a misspelled key is a fault, never a default.
//! A value of the wrong kind is noted and read as absent, so that reading goes on.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Faults;

/// A piece of text and where it stands.
pub(crate) type Name = Spanned<String>;

/// A value and where it stands.
pub(crate) type Value<'t> = Spanned<DeValue<'t>>;

/// One table of the file.
#[derive(Debug)]
pub(crate) struct Section<'t> {
    what: String,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    asked: BTreeSet<&'static str>,
}

impl<'t> Section<'t> {
    /// The whole file; `what` names it in messages, such as `a catalog`.
    pub(crate) fn root(table: &'t DeTable<'t>, what: &str) -> Self {
        Self {
            what: what.to_owned(),
            span: 0..0,
            table,
            asked: BTreeSet::new(),
        }
    }

    /// `value` as a table; `what` names it in messages, such as ``action `DeployApp` ``.
    pub(crate) fn of(value: &'t Value<'t>, what: String, faults: &mut Faults<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            faults.add(value.span(), format!("{what} must be a table"));
            return None;
        };
        Some(Self {
            what,
            span: value.span(),
            table,
            asked: BTreeSet::new(),
        })
    }

    /// Where the table stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of a key, whatever it is.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    /// The value of a key that must be there.
    pub(crate) fn required(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<&'t Value<'t>> {
        let value = self.value(key);
        if value.is_none() {
            faults.add(self.span(), format!("{} has no `{key}`; add it", self.what));
        }
        value
    }

    /// Text that must be there and must not be empty.
    pub(crate) fn text(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Name> {
        text_of(self.required(key, faults)?, key, faults)
    }

    /// Text that may be absent, but not empty.
    pub(crate) fn optional_text(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Name> {
        text_of(self.value(key)?, key, faults)
    }

    /// A truth value that must be there.
    pub(crate) fn flag(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<bool> {
        let value = self.required(key, faults)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            faults.add(value.span(), format!("`{key}` must be true or false"));
        }
        flag
    }

    /// A whole number between two others that must be there.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        within: RangeInclusive<u32>,
        faults: &mut Faults<'_>,
    ) -> Option<u32> {
        number_of(self.required(key, faults)?, key, &within, faults)
    }

    /// A whole number between two others that may be absent.
    pub(crate) fn optional_number(
        &mut self,
        key: &'static str,
        within: RangeInclusive<u32>,
        faults: &mut Faults<'_>,
    ) -> Option<u32> {
        number_of(self.value(key)?, key, &within, faults)
    }

    /// A list of names that must be there, none of them twice.
    pub(crate) fn required_names(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Vec<Name>> {
        self.required(key, faults)?;
        Some(self.names(key, faults))
    }

    /// A list of names, none of them twice; absent means none.
    pub(crate) fn names(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        for value in self.list(key, faults) {
            let Some(name) = text_of(value, key, faults) else {
                continue;
            };
            if names
                .iter()
                .any(|earlier| earlier.get_ref() == name.get_ref())
            {
                faults.add(
                    name.span(),
                    format!("`{}` stands twice in `{key}`; remove one", name.get_ref()),
                );
            } else {
                names.push(name);
            }
        }
        names
    }

    /// The tables of an array of tables; absent means none.
    pub(crate) fn sections(
        &mut self,
        key: &'static str,
        what: &str,
        faults: &mut Faults<'_>,
    ) -> Vec<Self> {
        self.list(key, faults)
            .iter()
            .filter_map(|value| Self::of(value, what.to_owned(), faults))
            .collect()
    }

    /// The keys and values of a table whose keys are names, in the order of the file; absent means none.
    pub(crate) fn entries(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Vec<(Name, &'t Value<'t>)> {
        let Some(section) = self
            .value(key)
            .and_then(|value| Self::of(value, format!("`{key}`"), faults))
        else {
            return Vec::new();
        };
        let mut entries: Vec<_> = section
            .table
            .iter()
            .map(|(name, value)| (Spanned::new(name.span(), name.get_ref().to_string()), value))
            .collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        entries
    }

    /// Refuses the keys that nobody asked for.
    pub(crate) fn close(self, faults: &mut Faults<'_>) {
        for name in self
            .table
            .keys()
            .filter(|name| !self.asked.contains(name.get_ref().as_ref()))
        {
            let known: Vec<String> = self.asked.iter().map(|key| format!("`{key}`")).collect();
            let message = format!(
                "{} has no key `{}`; its keys are {}",
                self.what,
                name.get_ref(),
                known.join(", ")
            );
            faults.add(name.span(), message);
        }
    }

    fn list(&mut self, key: &'static str, faults: &mut Faults<'_>) -> &'t [Value<'t>] {
        let Some(value) = self.value(key) else {
            return &[];
        };
        let Some(list) = value.get_ref().as_array() else {
            faults.add(value.span(), format!("`{key}` must be a list"));
            return &[];
        };
        list
    }
}

/// `value` as text that isn't empty.
pub(crate) fn text_of(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Name> {
    let Some(text) = value.get_ref().as_str() else {
        faults.add(value.span(), format!("`{key}` must be text"));
        return None;
    };
    if text.trim().is_empty() {
        faults.add(value.span(), format!("`{key}` must not be empty"));
        return None;
    }
    Some(Spanned::new(value.span(), text.to_owned()))
}

fn number_of(
    value: &Value<'_>,
    key: &str,
    within: &RangeInclusive<u32>,
    faults: &mut Faults<'_>,
) -> Option<u32> {
    let number = value
        .get_ref()
        .as_integer()
        .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
        .filter(|number| within.contains(number));
    if number.is_none() {
        let (least, most) = (within.start(), within.end());
        faults.add(
            value.span(),
            format!("`{key}` must be a whole number from {least} to {most}"),
        );
    }
    number
}
