//! The daemon as a service has it: real gRPC over the loopback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roster::application::Application;
use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::transport::caller::Authenticator;
use roster::transport::listeners::Listeners;
use roster::transport::server::{self, Manner};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

const KEY: &str = "roster_operator_bench_0123456789abcdef0123456789abcdef";

/// A daemon and one caller.
pub struct Daemon {
    client: AuthorizationServiceClient<Channel>,
    caller: Runtime,
}

impl Daemon {
    /// Serves the application until the process ends.
    pub fn start(runtime: &Runtime, application: &Arc<Application>) -> Self {
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let application = Arc::clone(application);
        runtime.spawn(async move {
            let manner = Manner {
                threads: 1,
                drain: Duration::from_secs(1),
                ..Manner::default()
            };
            server::serve(
                Listeners::new(listener, None),
                application,
                Authenticator::new(KEY),
                manner,
                std::future::pending(),
            )
            .await
            .expect("it serves");
        });
        let caller = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = caller.block_on(endpoint.connect()).expect("the daemon");
        Self {
            client: AuthorizationServiceClient::new(channel),
            caller,
        }
    }

    /// How long one check takes.
    pub fn check(&mut self, organization: &str, user: &str) -> Duration {
        let mut request = Request::new(v1::IsAuthorizedRequest {
            organization: organization.to_owned(),
            principal: Some(v1::EntityRef {
                r#type: "User".to_owned(),
                id: user.to_owned(),
            }),
            action: "InstancesManage".to_owned(),
            resource: Some(v1::Resource {
                r#type: "Instance".to_owned(),
                id: "vm-1".to_owned(),
                project: "project-0".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        });
        let key = format!("Bearer {KEY}").parse().expect("a header");
        request.metadata_mut().insert("authorization", key);
        let begun = Instant::now();
        self.caller
            .block_on(self.client.is_authorized(request))
            .expect("an answer");
        begun.elapsed()
    }
}
