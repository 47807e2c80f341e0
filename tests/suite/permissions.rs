//! What an RPC needs is what its comment says: somebody without any right asks for
//! everything, and the history tells which permission they lacked.

use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use roster::domain::identifiers::OrganizationId;
use roster::proto::v1;

use crate::attacks::set_plan;
use crate::coverage::{bearer, methods, path, send};
use crate::harness::{Daemon, as_actor, reason};

const ACME: &str = "acme";
/// The first words of the sentence that says it.
const NEEDS: &str = "Needs ";

/// What a comment says, or the code shows, that an RPC needs.
#[derive(Debug, PartialEq, Eq)]
enum Needed {
    Operator,
    Permission(String),
    NoPermission,
    /// The daemon said something else first.
    Unclear(String),
}

/// Refusals that only somebody meets who needed no permission.
const PAST_PERMISSIONS: [&str; 3] = ["LINK_INVALID", "NO_TRANSFER", "NOT_FOUND"];

/// A method's own comment, on one line.
fn comment(method: &MethodDescriptor) -> String {
    let file = method.parent_file().file_descriptor_proto().clone();
    let source = file.source_code_info.expect("the sources");
    let mut locations = source.location.iter();
    let location = locations.find(|location| location.path == method.path());
    let comment = location.expect("a place").leading_comments();
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a comment says; nothing if it does not say it just once.
fn said(comment: &str) -> Option<Needed> {
    let mut sentences = comment
        .split(". ")
        .filter_map(|sentence| sentence.strip_prefix(NEEDS));
    let sentence = sentences.next()?;
    if sentences.next().is_some() {
        return None;
    }
    if sentence.starts_with("an operator (OPERATOR_ONLY)") {
        return Some(Needed::Operator);
    }
    if sentence.starts_with("no permission") {
        return Some(Needed::NoPermission);
    }
    let (permission, _) = sentence.strip_prefix('`')?.split_once('`')?;
    Some(Needed::Permission(permission.to_owned()))
}

/// The request with nothing in it but the organization, and what a few need to be
/// understood at all.
fn bare_request(method: &MethodDescriptor) -> Bytes {
    match method.name() {
        "AcceptInvitation" => {
            let request = v1::AcceptInvitationRequest {
                organization: ACME.to_owned(),
                user: "ned".to_owned(),
                email: "ned@x.example".to_owned(),
                token: "none".to_owned(),
                ..Default::default()
            };
            return request.encode_to_vec().into();
        }
        "ListOrganizationsForUser" => {
            let request = v1::ListOrganizationsForUserRequest {
                user: "ned".to_owned(),
                ..Default::default()
            };
            return request.encode_to_vec().into();
        }
        "AcknowledgeNotifications" => {
            let request = v1::AcknowledgeNotificationsRequest {
                notifications: vec![v1::NotificationLease {
                    organization: ACME.to_owned(),
                    notification: "none".to_owned(),
                    lease: "none".to_owned(),
                }],
                ..Default::default()
            };
            return request.encode_to_vec().into();
        }
        _ => {}
    }
    let mut message = DynamicMessage::new(method.input());
    if method.input().get_field_by_name("organization").is_some() {
        message.set_field_by_name("organization", Value::String(ACME.to_owned()));
    }
    message.encode_to_vec().into()
}

/// What the daemon shows that a method needs, to a member without any right.
async fn shown(daemon: &Daemon, method: &MethodDescriptor) -> Needed {
    let events = || {
        let organization = OrganizationId::new(ACME);
        let events = daemon.store.events(&organization, None, 1_000_000);
        events.expect("the events are read")
    };
    let before = events().len();
    let mut request = as_actor("ned", bare_request(method));
    let key = bearer().parse().expect("a header value");
    request.metadata_mut().insert("authorization", key);
    let Err(status) = send(daemon.bare(), &path(method), request).await else {
        return Needed::NoPermission;
    };
    let refusal = reason(&status);
    if refusal == "OPERATOR_ONLY" {
        return Needed::Operator;
    }
    if PAST_PERMISSIONS.contains(&refusal.as_str()) {
        return Needed::NoPermission;
    }
    if refusal != "PERMISSION_DENIED" {
        return Needed::Unclear(format!("{status:?}"));
    }
    let told = events();
    assert_eq!(told.len(), before + 1, "{}", method.full_name());
    let details = &told[0].event.details;
    match details.iter().find(|(name, _)| name == "permission") {
        Some((_, permission)) => Needed::Permission(permission.clone()),
        None => Needed::Unclear(format!("{:?}", told[0])),
    }
}

#[tokio::test]
async fn every_rpc_says_in_its_comment_what_it_needs() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "greenhouse").await;
    set_plan(&daemon, "commercial").await;
    daemon.add(ACME, "ned", &[]).await;
    let mut wrong = Vec::new();
    let mut permissions = 0;
    for method in methods() {
        let of_checks = "AuthorizationService";
        if method.parent_service().name() == of_checks {
            continue;
        }
        let shown = shown(&daemon, &method).await;
        permissions += usize::from(matches!(shown, Needed::Permission(_)));
        let said = said(&comment(&method));
        if said.as_ref() != Some(&shown) {
            wrong.push(format!(
                "{}: says {said:?}, is {shown:?}",
                method.full_name()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        permissions > 60,
        "only {permissions} were denied a permission"
    );
    daemon.stop().await;
}

#[test]
fn a_comment_that_says_nothing_or_two_things_says_nothing() {
    for wrong in [
        "Reads one group.",
        "Needs `A`. Needs `B`.",
        "Reads one. Needs A.",
        "Needs something.",
    ] {
        assert_eq!(said(wrong), None, "{wrong}");
    }
    let right = "Reads one. Needs `ViewGroups`, or more.";
    let needed = Needed::Permission("ViewGroups".to_owned());
    assert_eq!(said(right), Some(needed));
}

#[test]
fn every_permission_that_a_comment_names_is_an_action_of_every_catalog() {
    let catalogs = crate::harness::catalogs();
    for method in methods() {
        if let Some(Needed::Permission(permission)) = said(&comment(&method)) {
            for catalog in &catalogs {
                let known = catalog.catalog().action(&permission).is_some();
                assert!(known, "{}: {permission}", method.full_name());
            }
        }
    }
    assert!(methods().len() > 90);
}
