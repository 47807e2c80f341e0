//! A question is read in place as prost reads it, whatever the bytes are.

use prost::Message as _;

use super::{Asked, AskedMany};
use crate::proto::v1;

/// What prost reads, if it is an ordinary question.
pub fn by_prost(message: &v1::IsAuthorizedRequest) -> Option<Asked<'_>> {
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

/// One question, and the same bytes as many questions.
pub fn questions(bytes: &[u8]) {
    let decoded = v1::IsAuthorizedRequest::decode(bytes);
    let read = Asked::read(bytes);
    // What prost reads at great depth may be left to it, so only what is read counts.
    if read.is_some() {
        let expected = decoded.as_ref().ok().and_then(by_prost);
        assert_eq!(read, expected);
    }
    let mut asked = AskedMany::of(bytes);
    let mut all = Vec::new();
    let whole = loop {
        match asked.next_question() {
            Some(Some(question)) => all.push(question),
            Some(None) => break true,
            None => break false,
        }
    };
    if whole {
        let decoded = v1::BatchIsAuthorizedRequest::decode(bytes);
        let expected = decoded.as_ref().ok().and_then(|decoded| {
            let all: Option<Vec<_>> = decoded.requests.iter().map(by_prost).collect();
            Some((all?, decoded.at_least.as_str()))
        });
        assert_eq!(Some((all, asked.at_least)), expected);
    }
}
