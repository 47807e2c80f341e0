//! All services on one listener, until told to stop, and then not for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;

use super::audit_service::AuditRpc;
use super::authorization_service::AuthorizationRpc;
use super::caller::Authenticator;
use super::group_service::GroupRpc;
use super::health::{HealthRpc, Readiness};
use super::invitation_service::InvitationRpc;
use super::member_service::MemberRpc;
use super::notification_service::NotificationRpc;
use super::organization_service::OrganizationRpc;
use super::policy_service::PolicyRpc;
use super::project_service::ProjectRpc;
use super::resource_service::ResourceRpc;
use super::role_service::RoleRpc;
use super::service_account_service::ServiceAccountRpc;
use super::token_service::TokenRpc;
use crate::application::Application;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::audit_service_server::{AuditServiceServer, SERVICE_NAME as AUDIT};
use crate::proto::v1::authorization_service_server::{
    AuthorizationServiceServer, SERVICE_NAME as AUTHORIZATION,
};
use crate::proto::v1::group_service_server::{GroupServiceServer, SERVICE_NAME as GROUP};
use crate::proto::v1::invitation_service_server::{
    InvitationServiceServer, SERVICE_NAME as INVITATION,
};
use crate::proto::v1::member_service_server::{MemberServiceServer, SERVICE_NAME as MEMBER};
use crate::proto::v1::notification_service_server::{
    NotificationServiceServer, SERVICE_NAME as NOTIFICATION,
};
use crate::proto::v1::organization_service_server::{
    OrganizationServiceServer, SERVICE_NAME as ORGANIZATION,
};
use crate::proto::v1::policy_service_server::{PolicyServiceServer, SERVICE_NAME as POLICY};
use crate::proto::v1::project_service_server::{ProjectServiceServer, SERVICE_NAME as PROJECT};
use crate::proto::v1::resource_service_server::{ResourceServiceServer, SERVICE_NAME as RESOURCE};
use crate::proto::v1::role_service_server::{RoleServiceServer, SERVICE_NAME as ROLE};
use crate::proto::v1::service_account_service_server::{
    SERVICE_NAME as SERVICE_ACCOUNT, ServiceAccountServiceServer,
};
use crate::proto::v1::token_service_server::{SERVICE_NAME as TOKEN, TokenServiceServer};

/// The largest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// How often a silent connection is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The most requests at a time on one connection.
const MAX_STREAMS: u32 = 1_024;

/// The server could not be started or failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Reflection could not be built from the descriptors.
    #[error("reflection can't be built")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `stop` completes, then lets requests finish for at most `drain`.
pub async fn serve(
    listener: TcpListener,
    application: Arc<Application>,
    authenticator: Authenticator,
    drain: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let (readiness, observed) = watch::channel(Readiness::Serving);
    let (draining, mut drained) = watch::channel(false);
    let router = router(application, authenticator, observed)?;
    let signal = async move {
        stop.await;
        readiness.send_replace(Readiness::NotServing);
        draining.send_replace(true);
    };
    // The router's own setting does not reach connections of a listener that it was
    // given; without it an answer may wait 40 ms for the client's acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = router.serve_with_incoming_shutdown(incoming, signal);
    let bound = async move {
        // An error means that serving ended first, and then nothing is bounded.
        if drained.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = serving => Ok(ended?),
        () = bound => {
            tracing::warn!(after = ?drain, "requests still under way were cut off");
            Ok(())
        }
    }
}

fn router(
    application: Arc<Application>,
    authenticator: Authenticator,
    readiness: watch::Receiver<Readiness>,
) -> Result<tonic::transport::server::Router, ServeError> {
    let services = Arc::from([
        AUDIT,
        AUTHORIZATION,
        GROUP,
        INVITATION,
        MEMBER,
        NOTIFICATION,
        ORGANIZATION,
        POLICY,
        PROJECT,
        RESOURCE,
        ROLE,
        SERVICE_ACCOUNT,
        TOKEN,
    ]);
    let unsound = application.integrity().follow();
    let health = HealthServer::new(HealthRpc::new(readiness.clone(), services, unsound));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().map_err(ServeError::Reflection)?;
    let v1alpha = reflection()
        .build_v1alpha()
        .map_err(ServeError::Reflection)?;
    macro_rules! guarded {
        ($server:ident, $service:expr) => {
            InterceptedService::new(
                $server::new($service).max_decoding_message_size(MAX_REQUEST_BYTES),
                authenticator.clone(),
            )
        };
    }
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(health)
        .add_service(InterceptedService::new(v1, authenticator.clone()))
        .add_service(InterceptedService::new(v1alpha, authenticator.clone()))
        .add_service(guarded!(
            AuditServiceServer,
            AuditRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            AuthorizationServiceServer,
            AuthorizationRpc::new(Arc::clone(&application), readiness.clone())
        ))
        .add_service(guarded!(
            GroupServiceServer,
            GroupRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            InvitationServiceServer,
            InvitationRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            MemberServiceServer,
            MemberRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            NotificationServiceServer,
            NotificationRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            OrganizationServiceServer,
            OrganizationRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            PolicyServiceServer,
            PolicyRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            ProjectServiceServer,
            ProjectRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            ResourceServiceServer,
            ResourceRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            RoleServiceServer,
            RoleRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(
            ServiceAccountServiceServer,
            ServiceAccountRpc::new(Arc::clone(&application))
        ))
        .add_service(guarded!(TokenServiceServer, TokenRpc::new(application)));
    Ok(router)
}
