//! Attribute values and their types: what a request may say about a resource
//! or its context, checked against what the catalog declares.

use std::collections::BTreeMap;

/// The type of an attribute, as a catalog declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 64 bits.
    Long,
    /// Text.
    Text,
    /// A decimal number with at most four digits after the point, written as text.
    Decimal,
    /// A moment, written as RFC 3339 text.
    Datetime,
    /// An IPv4 or IPv6 address or range, written as text.
    Address,
    /// A user, written as their id.
    User,
    /// A set whose elements have one type.
    Set(Box<ValueType>),
    /// Named attributes.
    Record(Vec<Attribute>),
}

/// One declared attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, an identifier in the sense of programming languages.
    pub name: String,
    /// Its type.
    pub value_type: ValueType,
    /// Whether a request must give it.
    pub required: bool,
}

/// A value as it came with a request. Numbers are what JSON knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value at all; never fits a type.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A number; fits [`ValueType::Long`] if it is whole.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Named values.
    Record(BTreeMap<String, Value>),
}

/// Named values, as a request gives them.
pub type Record = BTreeMap<String, Value>;
