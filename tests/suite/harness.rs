//! A daemon in this process: the real services over TCP on a free port, with a
//! store in memory, time that stands still, and clients that hold the key.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use roster::app;
use roster::application::{Application, Links};
use roster::domain::organization::Moment;
use roster::engine::CompiledCatalog;
use roster::proto::v1;
use roster::store::Store;
use roster::store::memory::MemoryStore;
use roster::transport::caller::Authenticator;
use roster::transport::limits::Limits;
use roster::transport::listeners::{Listeners, UnixSocket};
use roster::transport::probes::Probes;
use roster::transport::server::{self, Manner};
use roster::world::StillWorld;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// The key of every daemon in these tests.
pub const KEY: &str = "roster_operator_test_0123456789abcdef0123456789abcdef";

/// What every daemon in these tests signs links with.
pub const LINK_KEY: [u8; 32] = [7; 32];

/// When these tests take place.
pub const NOW: Moment = Moment(1_790_000_000_000);

/// A channel that sends the key.
pub type Caller = InterceptedService<Channel, Bearer>;

/// Puts the key on every request.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The catalogs that come with Roster and the sixth of the tests, compiled once.
pub fn catalogs() -> Vec<Arc<CompiledCatalog>> {
    static CATALOGS: OnceLock<Vec<Arc<CompiledCatalog>>> = OnceLock::new();
    CATALOGS
        .get_or_init(|| {
            let greenhouse =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/catalogs/greenhouse");
            app::compiled_catalogs(&[greenhouse]).expect("the catalogs compile")
        })
        .clone()
}

/// What organizations may weigh: `ROSTER_TEST_BUDGET_MIB`, or more than any test takes.
/// With 0 none stays in memory longer than it is used.
fn budget() -> usize {
    std::env::var("ROSTER_TEST_BUDGET_MIB").map_or(usize::MAX, |mib| {
        let mib: usize = mib.parse().expect("ROSTER_TEST_BUDGET_MIB is a number");
        mib * 1024 * 1024
    })
}

/// Where and how a daemon serves.
pub struct Setup {
    pub address: SocketAddr,
    pub unix: Option<UnixSocket>,
    pub manner: Manner,
    /// What organizations may weigh.
    pub budget: usize,
    /// Where health and metrics are told.
    pub probes: Probes,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            unix: None,
            manner: Manner {
                threads: 2,
                drain: Duration::from_secs(5),
                limits: Limits {
                    // However busy the machine is that tests run on.
                    lag: Duration::from_secs(3_600),
                    ..Limits::default()
                },
                ..Manner::default()
            },
            budget: budget(),
            probes: Probes::default(),
        }
    }
}

/// A daemon of this process.
pub struct Daemon {
    pub world: Arc<StillWorld>,
    pub application: Arc<Application>,
    pub store: Arc<dyn Store>,
    pub address: SocketAddr,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Daemon {
    /// A daemon on an empty store in memory.
    pub async fn start() -> Self {
        Self::start_on(Arc::new(MemoryStore::new())).await
    }

    /// A daemon on a store.
    pub async fn start_on(store: Arc<dyn Store>) -> Self {
        Self::launch(Setup::default(), catalogs(), store).await
    }

    /// A daemon with these catalogs on a store.
    pub async fn start_with(catalogs: Vec<Arc<CompiledCatalog>>, store: Arc<dyn Store>) -> Self {
        Self::launch(Setup::default(), catalogs, store).await
    }

    /// A daemon on a store, set up like that.
    pub async fn start_as(setup: Setup, store: Arc<dyn Store>) -> Self {
        Self::launch(setup, catalogs(), store).await
    }

    async fn launch(
        setup: Setup,
        catalogs: Vec<Arc<CompiledCatalog>>,
        store: Arc<dyn Store>,
    ) -> Self {
        let world = Arc::new(StillWorld::at(NOW));
        let kept = Arc::clone(&store);
        let links = Links::new(&LINK_KEY);
        let world_of_it = Arc::clone(&world) as _;
        let application = Application::start(catalogs, store, world_of_it, links, setup.budget);
        let application = Arc::new(application);
        // As the program does in the background; here it is done when the daemon answers.
        application.look_over().await.expect("the store is read");
        let listener = TcpListener::bind(setup.address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&application);
        let serving = tokio::spawn(async move {
            let stop = async move { drop(stopped.await) };
            server::serve(
                Listeners::new(listener, setup.unix).with_probes(setup.probes),
                served,
                Authenticator::new(KEY),
                setup.manner,
                stop,
            )
            .await
            .expect("serving ends well");
        });
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect()
            .await
            .expect("the daemon answers");
        Self {
            world,
            application,
            store: kept,
            address,
            channel,
            stop: Some(stop),
            serving,
        }
    }

    /// Stops and waits until everything is let go.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        drop(self.channel);
        drop(self.application);
        drop(self.store);
        self.serving.await.expect("the daemon did not panic");
    }

    /// Tells it to stop, and waits for nothing.
    pub fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .expect("an address")
            .connect()
            .await
            .expect("the daemon answers")
    }

    /// A channel without the key.
    pub fn bare(&self) -> Channel {
        self.channel.clone()
    }

    /// A channel with the key.
    pub fn caller(&self) -> Caller {
        with_key(self.channel.clone())
    }
}

/// The same channel with the key.
pub fn with_key(channel: Channel) -> Caller {
    let value = format!("Bearer {KEY}").parse().expect("a header value");
    InterceptedService::new(channel, Bearer(value))
}

macro_rules! clients {
    ($($function:ident: $module:ident :: $client:ident;)*) => {
        impl Daemon {
            $(
                /// A client of that service, with the key.
                pub fn $function(&self) -> v1::$module::$client<Caller> {
                    v1::$module::$client::new(self.caller()).max_decoding_message_size(64 * 1024 * 1024)
                }
            )*
        }
    };
}

clients! {
    audit: audit_service_client::AuditServiceClient;
    authorization: authorization_service_client::AuthorizationServiceClient;
    organizations: organization_service_client::OrganizationServiceClient;
    groups: group_service_client::GroupServiceClient;
    invitations: invitation_service_client::InvitationServiceClient;
    notifications: notification_service_client::NotificationServiceClient;
    operators: operator_service_client::OperatorServiceClient;
    members: member_service_client::MemberServiceClient;
    roles: role_service_client::RoleServiceClient;
    projects: project_service_client::ProjectServiceClient;
    resources: resource_service_client::ResourceServiceClient;
    policies: policy_service_client::PolicyServiceClient;
    service_accounts: service_account_service_client::ServiceAccountServiceClient;
    tokens: token_service_client::TokenServiceClient;
}

impl Daemon {
    /// Founds an organization on a catalog; its owner is `owner`.
    pub async fn found(&self, organization: &str, catalog: &str) {
        self.organizations()
            .create_organization(v1::CreateOrganizationRequest {
                organization_id: organization.to_owned(),
                display_name: organization.to_owned(),
                catalog: catalog.to_owned(),
                owner: "owner".to_owned(),
                ..Default::default()
            })
            .await
            .expect("the organization is founded");
    }

    /// Adds a member with roles on the organization.
    pub async fn add(&self, organization: &str, user: &str, roles: &[&str]) {
        self.members()
            .add_member(v1::AddMemberRequest {
                organization: organization.to_owned(),
                user: user.to_owned(),
                roles: owned(roles),
                ..Default::default()
            })
            .await
            .expect("the member is added");
    }

    /// Creates a project.
    pub async fn project(&self, organization: &str, project: &str) {
        self.projects()
            .create_project(v1::CreateProjectRequest {
                organization: organization.to_owned(),
                project_id: project.to_owned(),
                display_name: project.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the project is created");
    }

    /// Sets a member's roles on a project.
    pub async fn project_roles(
        &self,
        organization: &str,
        project: &str,
        user: &str,
        roles: &[&str],
    ) {
        self.projects()
            .set_project_roles(v1::SetProjectRolesRequest {
                organization: organization.to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                roles: owned(roles),
                ..Default::default()
            })
            .await
            .expect("the roles are set");
    }

    /// Asks and returns the whole answer, with reasons.
    pub async fn ask(&self, request: v1::IsAuthorizedRequest) -> v1::IsAuthorizedResponse {
        let request = v1::IsAuthorizedRequest {
            include_reasons: true,
            ..request
        };
        self.authorization()
            .is_authorized(request)
            .await
            .expect("an answer")
            .into_inner()
    }

    /// Whether the request is allowed; asked three times, so that the answer from
    /// Cedar, the remembered one and the explained one are seen to be the same.
    pub async fn allows(&self, request: v1::IsAuthorizedRequest) -> bool {
        let mut client = self.authorization();
        let first = client
            .is_authorized(request.clone())
            .await
            .expect("an answer")
            .into_inner()
            .decision();
        let second = client
            .is_authorized(request.clone())
            .await
            .expect("an answer")
            .into_inner()
            .decision();
        let explained = self.ask(request.clone()).await.decision();
        assert_eq!(first, second, "the remembered answer differs: {request:?}");
        assert_eq!(
            first, explained,
            "the explained answer differs: {request:?}"
        );
        first == v1::Decision::Allow
    }
}

/// A question about a resource of a type and id, without project or owner.
pub fn question(
    organization: &str,
    user: &str,
    action: &str,
    resource_type: &str,
    resource_id: &str,
) -> v1::IsAuthorizedRequest {
    v1::IsAuthorizedRequest {
        organization: organization.to_owned(),
        principal: Some(v1::EntityRef {
            r#type: "User".to_owned(),
            id: user.to_owned(),
        }),
        action: action.to_owned(),
        resource: Some(v1::Resource {
            r#type: resource_type.to_owned(),
            id: resource_id.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The same question about a resource in a project.
pub fn in_project(mut question: v1::IsAuthorizedRequest, project: &str) -> v1::IsAuthorizedRequest {
    question.resource.get_or_insert_default().project = project.to_owned();
    question
}

/// The same question about a resource that somebody owns.
pub fn owned_by(mut question: v1::IsAuthorizedRequest, owner: &str) -> v1::IsAuthorizedRequest {
    question.resource.get_or_insert_default().owner = owner.to_owned();
    question
}

/// The reason that an error carries.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// The fields an error names, with the reason for each.
pub fn violations(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .map(|request| {
            request
                .field_violations
                .into_iter()
                .map(|violation| (violation.field, violation.reason))
                .collect()
        })
        .unwrap_or_default()
}

/// A request on behalf of a member.
pub fn as_actor<T>(user: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let user = user.parse().expect("a header value");
    request.metadata_mut().insert("roster-actor", user);
    request
}

/// A request by an API token.
pub fn by_token<T>(secret: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let secret = secret.parse().expect("a header value");
    request.metadata_mut().insert("roster-actor-token", secret);
    request
}

/// Texts, owned.
pub fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
