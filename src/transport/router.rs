//! Every service of the daemon, by name, each behind the authenticator but health.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic_health::pb::health_server::HealthServer;

use super::audit_service::AuditRpc;
use super::caller::Authenticator;
use super::dispatch::Checks;
use super::group_service::GroupRpc;
use super::health::{HealthRpc, Readiness};
use super::invitation_service::InvitationRpc;
use super::limits::MAX_REQUEST_BYTES;
use super::member_service::MemberRpc;
use super::notification_service::NotificationRpc;
use super::organization_service::OrganizationRpc;
use super::policy_service::PolicyRpc;
use super::project_service::ProjectRpc;
use super::resource_service::ResourceRpc;
use super::role_service::RoleRpc;
use super::server::ServeError;
use super::service_account_service::ServiceAccountRpc;
use super::token_service::TokenRpc;
use crate::application::Application;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::audit_service_server::{AuditServiceServer, SERVICE_NAME as AUDIT};
use crate::proto::v1::authorization_service_server::SERVICE_NAME as AUTHORIZATION;
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

/// The services, and their health; `checks` is the one that checks are answered by.
pub fn routes(
    application: Arc<Application>,
    authenticator: &Authenticator,
    checks: Checks,
    readiness: watch::Receiver<Readiness>,
) -> Result<(Routes, HealthRpc), ServeError> {
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
    let health = HealthRpc::new(readiness, services, unsound);
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
    let routes = Routes::new(HealthServer::new(health.clone()))
        .add_service(InterceptedService::new(v1, authenticator.clone()))
        .add_service(InterceptedService::new(v1alpha, authenticator.clone()))
        .add_service(guarded!(
            AuditServiceServer,
            AuditRpc::new(Arc::clone(&application))
        ))
        .add_service(checks)
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
    Ok((routes.prepare(), health))
}
