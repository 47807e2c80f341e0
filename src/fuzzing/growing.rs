//! Messages grown out of bytes along the descriptors: each byte says whether a field is
//! there, how often, and which of the usual words it holds. So a few mutated bytes are a
//! request that gets past the first check of its form.

use std::sync::OnceLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::proto::FILE_DESCRIPTOR_SET;

/// How deep messages lie in each other.
const MAX_DEPTH: u8 = 6;

/// Words that mean something to the example organizations, and some that never do.
const WORDS: [&str; 40] = [
    "hypervisor-io-example",
    "hypervisor-io-example",
    "hypervisor-io-example",
    "qoc-cloud-example",
    "oncloudwine-example",
    "otto",
    "ada",
    "dev",
    "vic",
    "User",
    "admin",
    "viewer",
    "operator",
    "developer",
    "development",
    "production",
    "Instance",
    "Organization",
    "Member",
    "Project",
    "InstancesView",
    "InstancesManage",
    "InviteMember",
    "ManageGuardrails",
    "ann@example.com",
    "hypervisor-io",
    "oncloudwine",
    "0.1",
    "0.ffff",
    "",
    "forbid (principal, action == Action::\"InstancesView\", resource);",
    "permit (principal, action, resource);",
    "roles",
    "display_name",
    "roster_member_x",
    "nobody",
    "Owner",
    "\u{202e}\0",
    "2099-12-31",
    "service-account-1",
];

/// The bytes that choices are made by; zeros when they are used up.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Chooses by these.
    pub fn by(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }
}

/// Every message of the protos, by its full name.
fn messages() -> &'static [(String, DescriptorProto)] {
    static MESSAGES: OnceLock<Vec<(String, DescriptorProto)>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut all = Vec::new();
        for file in descriptors().file {
            let package = format!(".{}", file.package());
            collect(&package, file.message_type, &mut all);
        }
        all
    })
}

/// The descriptors of the protos.
pub fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default()
}

fn collect(scope: &str, found: Vec<DescriptorProto>, all: &mut Vec<(String, DescriptorProto)>) {
    for message in found {
        let name = format!("{scope}.{}", message.name());
        collect(&name, message.nested_type.clone(), all);
        all.push((name, message));
    }
}

/// A message of that type, as its bytes.
pub fn grow(name: &str, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    grow_into(name, choices, 0, &mut bytes);
    bytes
}

fn grow_into(name: &str, choices: &mut Choices<'_>, depth: u8, bytes: &mut Vec<u8>) {
    let found = messages().iter().find(|(known, _)| known == name);
    let Some((_, message)) = found else {
        return;
    };
    for field in &message.field {
        let first = choices.next();
        // Names are wanted most, and an organization always; the rest is rarer.
        let wanted = match field.r#type() {
            _ if field.name() == "organization" => first != 0xff,
            Type::String => first & 1 == 1,
            _ => first & 3 == 3,
        };
        let count = match field.label() {
            _ if !wanted => 0,
            Label::Repeated => 1 + (first >> 6),
            Label::Optional | Label::Required => 1,
        };
        for _ in 0..count {
            put(field, choices, depth, bytes);
        }
    }
}

fn put(field: &FieldDescriptorProto, choices: &mut Choices<'_>, depth: u8, bytes: &mut Vec<u8>) {
    let number = u64::from(field.number().unsigned_abs());
    match field.r#type() {
        Type::Message if depth < MAX_DEPTH => {
            let mut inner = Vec::new();
            grow_into(field.type_name(), choices, depth + 1, &mut inner);
            delimited(number, &inner, bytes);
        }
        Type::Message | Type::Group => {}
        Type::String | Type::Bytes => delimited(number, word(field, choices).as_bytes(), bytes),
        Type::Double | Type::Fixed64 | Type::Sfixed64 => {
            varint(number << 3 | 1, bytes);
            bytes.extend(f64::from(choices.next()).to_le_bytes());
        }
        Type::Float | Type::Fixed32 | Type::Sfixed32 => {
            varint(number << 3 | 5, bytes);
            bytes.extend(f32::from(choices.next()).to_le_bytes());
        }
        _ => {
            varint(number << 3, bytes);
            let value = choices.next();
            // Small ones are values of enums; the largest overflow what they are added to.
            let value = match value {
                0xfe => u64::MAX / 2,
                0xff => u64::MAX,
                small if small < 0x80 => u64::from(small % 12),
                large => u64::from(large) << (large % 40),
            };
            varint(value, bytes);
        }
    }
}

fn word(field: &FieldDescriptorProto, choices: &mut Choices<'_>) -> String {
    let choice = usize::from(choices.next());
    if field.name() == "organization" && choice < 0xe0 {
        return WORDS.first().copied().unwrap_or_default().to_owned();
    }
    match WORDS.get(choice % 64) {
        Some(word) => (*word).to_owned(),
        // A text of the input's own.
        None => {
            let length = usize::from(choices.next()) % 40;
            let own: Vec<u8> = (0..length).map(|_| choices.next()).collect();
            String::from_utf8_lossy(&own).into_owned()
        }
    }
}

fn delimited(number: u64, content: &[u8], bytes: &mut Vec<u8>) {
    varint(number << 3 | 2, bytes);
    varint(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
