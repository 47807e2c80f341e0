//! `[types]`: what a product's actions are asked of, and what a request may say about it.
//!
//! Roster's own three types come first in every catalog, at fixed places. They
//! declare no attributes: a request says nothing about them, Roster knows them.

use std::collections::HashMap;

use super::fault::Faults;
use super::section::{Name, Section, Value, text_of};
use super::vocabulary::{attribute_fault, type_fault};
use crate::domain::catalog::{
    MEMBER_TYPE, ORGANIZATION_TYPE, PROJECT_TYPE, ResourceType, TypeIndex,
};
use crate::domain::identifiers::TypeId;
use crate::domain::value::{Attribute, ValueType};

/// How many types a catalog can hold.
const MAX_TYPES: usize = 65_000;

/// The resource types of a catalog, by place and by name.
#[derive(Debug)]
pub(super) struct ResourceTypes {
    pub(super) all: Vec<ResourceType>,
    by_name: HashMap<String, TypeIndex>,
}

impl ResourceTypes {
    /// Roster's own.
    pub(super) fn built_in() -> Self {
        let mut types = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
        };
        for (name, title) in [
            (ORGANIZATION_TYPE, "Organization"),
            (PROJECT_TYPE, "Project"),
            (MEMBER_TYPE, "Member"),
        ] {
            types.push(ResourceType {
                id: TypeId::new(name),
                title: title.to_owned(),
                attributes: Vec::new(),
                built_in: true,
            });
        }
        types
    }

    /// Roster's own and those of the file.
    pub(super) fn read(root: &mut Section<'_>, faults: &mut Faults<'_>) -> Self {
        let mut types = Self::built_in();
        for (name, value) in root.entries("types", faults) {
            if let Some(fault) = type_fault(name.get_ref()) {
                faults.add(name.span(), fault);
                continue;
            }
            if types.all.len() >= MAX_TYPES {
                faults.add(
                    name.span(),
                    format!("a catalog has at most {MAX_TYPES} types; split the product"),
                );
                break;
            }
            types.push(read_type(&name, value, faults));
        }
        types
    }

    /// The type of that name.
    pub(super) fn find(&self, name: &str) -> Option<TypeIndex> {
        self.by_name.get(name).copied()
    }

    /// The type at that place.
    pub(super) fn get(&self, index: TypeIndex) -> Option<&ResourceType> {
        self.all.get(usize::from(index.0))
    }

    fn push(&mut self, resource_type: ResourceType) {
        if let Ok(place) = u16::try_from(self.all.len()) {
            self.by_name
                .insert(resource_type.id.as_str().to_owned(), TypeIndex(place));
            self.all.push(resource_type);
        }
    }
}

/// A type that is wrong inside is still a type, so that what names it isn't wrong as well.
fn read_type(name: &Name, value: &Value<'_>, faults: &mut Faults<'_>) -> ResourceType {
    let mut read = ResourceType {
        id: TypeId::new(name.get_ref().as_str()),
        title: name.get_ref().clone(),
        attributes: Vec::new(),
        built_in: false,
    };
    if let Some(mut section) = Section::of(value, format!("type `{}`", name.get_ref()), faults) {
        if let Some(title) = section.text("title", faults) {
            read.title = title.into_inner();
        }
        read.attributes = read_attributes("attributes", &mut section, faults);
        section.close(faults);
    }
    read
}

/// The attributes declared under `key`: a name and a type like `"set<string>?"` each.
pub(super) fn read_attributes(
    key: &'static str,
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    for (name, value) in section.entries(key, faults) {
        if let Some(fault) = attribute_fault(name.get_ref()) {
            faults.add(name.span(), fault);
            continue;
        }
        let Some(text) = text_of(value, name.get_ref(), faults) else {
            continue;
        };
        let (type_text, required) = match text.get_ref().strip_suffix('?') {
            Some(type_text) => (type_text, false),
            None => (text.get_ref().as_str(), true),
        };
        match value_type(type_text) {
            Some(value_type) => attributes.push(Attribute { name: name.into_inner(), value_type, required }),
            None => faults.add(
                text.span(),
                format!(
                    "`{}` is no type of a value; use bool, long, string, decimal, datetime, ipaddr, user or \
                     set<…>, with `?` behind it if it may be absent",
                    text.get_ref()
                ),
            ),
        }
    }
    attributes
}

fn value_type(text: &str) -> Option<ValueType> {
    Some(match text {
        "bool" => ValueType::Boolean,
        "long" => ValueType::Long,
        "string" => ValueType::Text,
        "decimal" => ValueType::Decimal,
        "datetime" => ValueType::Datetime,
        "ipaddr" => ValueType::Address,
        "user" => ValueType::User,
        _ => {
            let element = text.strip_prefix("set<")?.strip_suffix('>')?;
            ValueType::Set(Box::new(value_type(element)?))
        }
    })
}
