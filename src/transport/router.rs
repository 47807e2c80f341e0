//! Every service of the daemon, by name. Who may call what is looked at before, in
//! `dispatch`.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use super::audit_service::AuditRpc;
use super::dispatch::Checks;
use super::group_service::GroupRpc;
use super::health::{HealthRpc, Readiness};
use super::invitation_service::InvitationRpc;
use super::limits::MAX_REQUEST_BYTES;
use super::member_service::MemberRpc;
use super::notification_service::NotificationRpc;
use super::operator_service::OperatorRpc;
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
use crate::proto::v1::operator_service_server::{OperatorServiceServer, SERVICE_NAME as OPERATOR};
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
        OPERATOR,
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
    macro_rules! limited {
        ($server:ident, $service:expr) => {
            $server::new($service).max_decoding_message_size(MAX_REQUEST_BYTES)
        };
    }
    let routes = Routes::new(HealthServer::new(health.clone()))
        .add_service(v1)
        .add_service(v1alpha)
        .add_service(limited!(
            AuditServiceServer,
            AuditRpc::new(Arc::clone(&application))
        ))
        .add_service(checks)
        .add_service(limited!(
            GroupServiceServer,
            GroupRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            InvitationServiceServer,
            InvitationRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            MemberServiceServer,
            MemberRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            NotificationServiceServer,
            NotificationRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            OperatorServiceServer,
            OperatorRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            OrganizationServiceServer,
            OrganizationRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            PolicyServiceServer,
            PolicyRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            ProjectServiceServer,
            ProjectRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            ResourceServiceServer,
            ResourceRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            RoleServiceServer,
            RoleRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(
            ServiceAccountServiceServer,
            ServiceAccountRpc::new(Arc::clone(&application))
        ))
        .add_service(limited!(TokenServiceServer, TokenRpc::new(application)));
    Ok((routes.prepare(), health))
}
