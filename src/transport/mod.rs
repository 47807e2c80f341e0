//! The wire: gRPC services over the use cases, and nothing else.
//!
//! An RPC here is a few lines: read the request, call one use case, put the
//! answer into a message. What a message means is said in `proto/`; what is
//! decided is decided further in. Only this folder (and the generated
//! [`crate::proto`]) knows tonic and prost.

pub mod about;
pub mod access;
pub mod admission;
pub mod allowance;
pub mod audit_service;
pub mod authorization_service;
mod backups;
pub mod body;
pub mod caller;
pub mod calls;
pub mod dispatch;
pub mod elsewhere;
pub mod exposition;
pub mod followed;
pub mod from_proto;
pub mod group_service;
pub mod guarded;
mod guardrails;
pub mod health;
pub mod hot;
pub mod identities;
pub mod invitation_service;
pub mod issuers;
pub mod lane;
pub mod limits;
pub mod listeners;
pub mod member_list;
pub mod member_service;
pub mod methods;
pub mod mutation;
pub mod notification_service;
pub mod one_task;
pub mod operator_service;
pub mod organization_service;
pub mod pace;
pub mod patience;
pub mod policy_service;
pub mod probes;
pub mod project_service;
pub mod resource_service;
pub mod role_service;
pub mod router;
pub mod server;
pub mod service_account_service;
pub mod serving;
pub mod status;
pub mod tls;
pub mod to_proto;
pub mod token_service;
pub mod traced;
pub mod waiting;
