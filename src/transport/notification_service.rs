//! `NotificationService`: what waits to be delivered, for whoever delivers it.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{status, to_proto};
use crate::application::notifications::{Leased, Letter};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest};
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Notification, NotificationKind};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::notification_service_server::NotificationService;

/// How many are leased when the request does not say.
const DEFAULT_LEASED: usize = 50;
/// The most that are leased at a time; texts and all they fit into what clients take.
const MAX_LEASED: usize = 100;
/// For how long, when the request does not say.
const DEFAULT_LEASE: Duration = Duration::from_secs(60);
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(10 * 60);

/// Serves notifications.
pub struct NotificationRpc {
    application: Arc<Application>,
}

impl NotificationRpc {
    /// Serves notifications of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

#[tonic::async_trait]
impl NotificationService for NotificationRpc {
    async fn lease_notifications(
        &self,
        request: Request<v1::LeaseNotificationsRequest>,
    ) -> Result<Response<v1::LeaseNotificationsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        reader.must_be_operator().map_err(status::of)?;
        let (limit, lease) = asked(&message).map_err(status::of)?;
        self.application
            .reach(&message.at_least, reader.patience)
            .await
            .map_err(status::of)?;
        let revision = self.application.published();
        let letters = self.application.lease_notifications(limit, lease).await;
        Ok(Response::new(v1::LeaseNotificationsResponse {
            notifications: letters.into_iter().map(leased).collect(),
            revision: token(revision),
        }))
    }

    async fn acknowledge_notifications(
        &self,
        request: Request<v1::AcknowledgeNotificationsRequest>,
    ) -> Result<Response<v1::AcknowledgeNotificationsResponse>, Status> {
        let (message, common) = accept(request)?;
        let delivered = leases(message.notifications);
        let (count, revision) = self
            .application
            .acknowledge_notifications(&delivered, &common)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::AcknowledgeNotificationsResponse {
            acknowledged_count: count,
            revision: token(revision),
        }))
    }

    async fn release_notifications(
        &self,
        request: Request<v1::ReleaseNotificationsRequest>,
    ) -> Result<Response<v1::ReleaseNotificationsResponse>, Status> {
        let reader = reader(&request)?;
        let failed = leases(request.into_inner().notifications);
        let count = self
            .application
            .release_notifications(&failed, &reader)
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::ReleaseNotificationsResponse {
            released_count: count,
            revision: token(self.application.published()),
        }))
    }

    async fn list_notifications(
        &self,
        request: Request<v1::ListNotificationsRequest>,
    ) -> Result<Response<v1::ListNotificationsResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Operator,
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        list(&snapshot, &message)
            .map(Response::new)
            .map_err(status::of)
    }
}

/// How many, and for how long.
fn asked(message: &v1::LeaseNotificationsRequest) -> Result<(usize, Duration), Error> {
    let mut violations = Vec::new();
    let limit = match usize::try_from(message.max_notifications) {
        Ok(0) => DEFAULT_LEASED,
        Ok(limit) if limit <= MAX_LEASED => limit,
        _ => {
            violations.push(Violation::new(
                "max_notifications",
                Fault::TooMany,
                format!("must be at most {MAX_LEASED}"),
            ));
            DEFAULT_LEASED
        }
    };
    let lease = match message.lease_duration {
        None => Some(DEFAULT_LEASE),
        Some(given) => Duration::try_from(given)
            .ok()
            .filter(|lease| (SHORTEST_LEASE..=LONGEST_LEASE).contains(lease)),
    };
    match lease {
        Some(lease) if violations.is_empty() => Ok((limit, lease)),
        lease => {
            if lease.is_none() {
                violations.push(Violation::new(
                    "lease_duration",
                    Fault::Malformed,
                    "must be between 1 second and 10 minutes",
                ));
            }
            Err(Error::invalid(violations))
        }
    }
}

fn list(
    snapshot: &Snapshot,
    message: &v1::ListNotificationsRequest,
) -> Result<v1::ListNotificationsResponse, Error> {
    let request = PageRequest::parse(
        message.page_size,
        &message.page_token,
        &["notifications", &message.organization],
    )?;
    let organization = snapshot.organization();
    let after = request.after.as_str();
    let waiting = organization
        .notifications
        .values()
        .skip_while(|notification| notification.id.as_str() <= after)
        .cloned();
    let page = request.take(waiting, |notification| notification.id.to_string());
    Ok(v1::ListNotificationsResponse {
        notifications: page
            .items
            .iter()
            .map(|waiting| notification(organization.id(), waiting))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}

fn leases(given: Vec<v1::NotificationLease>) -> Vec<Leased> {
    given
        .into_iter()
        .map(|given| Leased {
            organization: given.organization,
            notification: given.notification,
            lease: given.lease,
        })
        .collect()
}

fn leased(letter: Letter) -> v1::LeasedNotification {
    v1::LeasedNotification {
        notification: Some(notification(&letter.organization, &letter.notification)),
        lease: letter.lease,
        lease_expire_time: Some(to_proto::timestamp(letter.until)),
        attempt: letter.attempt,
        subject: letter.subject,
        body: letter.body,
        link: letter.link,
        facts: letter.notification.facts.clone().into_iter().collect(),
    }
}

fn notification(organization: &OrganizationId, waiting: &Notification) -> v1::Notification {
    let user = waiting.user.as_ref().map(ToString::to_string);
    v1::Notification {
        organization: organization.to_string(),
        id: waiting.id.to_string(),
        kind: kind(waiting.kind).into(),
        user: user.unwrap_or_default(),
        email: waiting.email.clone(),
        create_time: Some(to_proto::timestamp(waiting.created_at)),
    }
}

fn kind(kind: NotificationKind) -> v1::NotificationKind {
    match kind {
        NotificationKind::Invitation => v1::NotificationKind::Invitation,
        NotificationKind::RoleChanged => v1::NotificationKind::RoleChanged,
        NotificationKind::MemberRemoved => v1::NotificationKind::MemberRemoved,
        NotificationKind::MemberSuspended => v1::NotificationKind::MemberSuspended,
        NotificationKind::MemberReinstated => v1::NotificationKind::MemberReinstated,
        NotificationKind::TransferOffered => v1::NotificationKind::TransferOffered,
        NotificationKind::OwnershipTransferred => v1::NotificationKind::OwnershipTransferred,
    }
}
