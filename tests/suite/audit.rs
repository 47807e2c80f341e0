//! The audit trail: that nothing happens without its event, who may read it, what
//! finds what, what the host adds, and that none of it can be rewritten.

mod completeness;
mod host;
mod reading;
mod verification;

use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::DynamicMessage;
use roster::proto::v1;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use crate::harness::{Daemon, as_actor};
use crate::raw::Raw;

/// What is asked for when every event of an organization is wanted.
pub fn all(organization: &str) -> v1::ListEventsRequest {
    v1::ListEventsRequest {
        organization: organization.to_owned(),
        page_size: 1_000,
        ..Default::default()
    }
}

/// Every event that a request finds, from every page.
pub async fn list(daemon: &Daemon, request: v1::ListEventsRequest) -> Vec<v1::Event> {
    let mut request = request;
    let mut events = Vec::new();
    loop {
        let page = daemon.audit().list_events(request.clone()).await;
        let page = page.expect("a page of events").into_inner();
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

/// Every event of an organization, the newest first; none if it never was.
pub async fn events(daemon: &Daemon, organization: &str) -> Vec<v1::Event> {
    let known = daemon.audit().list_events(all(organization)).await;
    match known {
        Ok(_) => list(daemon, all(organization)).await,
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::NotFound, "{status:?}");
            Vec::new()
        }
    }
}

/// Founds an organization of QOC on a plan with seats for a team.
pub async fn found_team(daemon: &Daemon, organization: &str) {
    let request = v1::CreateOrganizationRequest {
        organization_id: organization.to_owned(),
        display_name: organization.to_owned(),
        catalog: "qoc-cloud".to_owned(),
        plan: "pro".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    let founded = daemon.organizations().create_organization(request).await;
    founded.expect("the organization is founded");
}

/// What an event says under a name.
pub fn detail<'a>(event: &'a v1::Event, name: &str) -> Option<&'a str> {
    let mut details = event.details.iter();
    let found = details.find(|detail| detail.name == name);
    found.map(|detail| detail.value.as_str())
}

/// Calls a method by its path, as an operator or on behalf of a member.
async fn send(
    daemon: &Daemon,
    method: &str,
    message: &DynamicMessage,
    actor: Option<&str>,
) -> Result<Bytes, Status> {
    let bytes = Bytes::from(message.encode_to_vec());
    let request = match actor {
        Some(actor) => as_actor(actor, bytes),
        None => Request::new(bytes),
    };
    let mut client =
        tonic::client::Grpc::new(daemon.caller()).max_decoding_message_size(64 * 1024 * 1024);
    client.ready().await.expect("a connection");
    let path: PathAndQuery = method.parse().expect("a path");
    let answer = client.unary(request, path, Raw).await?;
    Ok(answer.into_inner())
}
