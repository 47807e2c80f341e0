//! The RPCs that are served, and the codes that they end with, as gRPC's usual metrics
//! name them.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::proto::FILE_DESCRIPTOR_SET;

/// How many codes gRPC has.
pub const CODES: usize = 17;

/// An RPC, as gRPC's usual metrics name it.
#[derive(Clone, Debug)]
pub struct Method {
    /// `unary`, `client_stream`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
    /// The service with its package.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Whether it is to change something, so that it takes a `request_id`.
    pub changes: bool,
}

impl Method {
    /// Whether either side may say more than one message.
    pub fn is_stream(&self) -> bool {
        self.kind != "unary"
    }

    /// Whether a client may go on after its first message.
    pub fn says_more(&self) -> bool {
        matches!(self.kind, "client_stream" | "bidi_stream")
    }
}

/// Every RPC of every service that is served.
pub fn served() -> Vec<Method> {
    let sets = [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    sets.into_iter().flat_map(described_methods).collect()
}

fn described_methods(set: &[u8]) -> Vec<Method> {
    let set = FileDescriptorSet::decode(set).unwrap_or_default();
    let messages = set.file.iter().flat_map(|file| {
        let with_id = file.message_type.iter().filter(|message| {
            let mut fields = message.field.iter();
            fields.any(|field| field.name() == "request_id")
        });
        with_id.map(|message| format!(".{}.{}", file.package(), message.name()))
    });
    let changing: HashSet<String> = messages.collect();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(Method {
                    kind: match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => "unary",
                        (true, false) => "client_stream",
                        (false, true) => "server_stream",
                        (true, true) => "bidi_stream",
                    },
                    service: format!("{}.{}", file.package(), service.name()),
                    name: method.name().to_owned(),
                    changes: changing.contains(method.input_type()),
                });
            }
        }
    }
    methods
}

/// A code as gRPC's usual metrics spell it.
pub fn code_name(code: usize) -> &'static str {
    const NAMES: [&str; CODES] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(code).copied().unwrap_or("Unknown")
}
