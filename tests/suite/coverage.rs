//! What holds for every RPC there is: a row says what each one needs, nobody is
//! served without the key but health, and every published reason occurs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};
use roster::application::{Actor, Caller, Need, Request as Common, Turn};
use roster::domain::change::{Change, Event, Outcome, RecordChange, Target};
use roster::domain::identifiers::{OrganizationId, UserId};
use roster::domain::organization::{
    Moment, Organization, RegisteredResource, ResourceKey, Version,
};
use roster::proto::{FILE_DESCRIPTOR_SET, v1};
use roster::store::memory::MemoryStore;
use roster::store::{
    Commit, CommitError, CommitFuture, Condition, EventEntry, Head, HistoryEntry, IdempotencyKey,
    ReadError, Remembered, SealedCommit, Sequence, Store,
};
use roster::transport::limits::Limits;
use roster::transport::server::Manner;
use tokio_stream::StreamExt as _;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::attacks;
use crate::attacks::owners::ownerless;
use crate::harness::{Daemon, KEY, NOW, Setup, as_actor, owned, question, reason, violations};
use crate::raw::Raw;
use crate::residency::without_its_catalog;

/// What a channel with the key sends.
pub fn bearer() -> String {
    format!("Bearer {KEY}")
}

/// Calls a method by its path with the bytes of a message and these authorization
/// headers; answers with the first message of the answer.
pub async fn call(
    channel: Channel,
    path: &str,
    message: impl Into<Bytes>,
    authorization: &[&str],
) -> Result<Bytes, Status> {
    let mut request = Request::new(message.into());
    for value in authorization {
        let value = value.parse().expect("a header value");
        request.metadata_mut().append("authorization", value);
    }
    send(channel, path, request).await
}

/// Calls a method by its path; answers with the first message of the answer.
pub async fn send(channel: Channel, path: &str, request: Request<Bytes>) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(64 * 1024 * 1024);
    client.ready().await.expect("a connection");
    let path: PathAndQuery = path.parse().expect("a path");
    let mut answers = client
        .server_streaming(request, path, Raw)
        .await?
        .into_inner();
    let mut first = None;
    while let Some(answer) = answers.next().await {
        first.get_or_insert(answer?);
    }
    Ok(first.unwrap_or_default())
}

/// The descriptors of Roster's services and messages.
pub fn descriptors() -> DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("descriptors"))
        .clone()
}

/// Every method of Roster's own services.
pub fn methods() -> Vec<MethodDescriptor> {
    let pool = descriptors();
    pool.services()
        .filter(|service| service.package_name() == "roster.v1")
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

/// The path that a method is called by.
pub fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// What an RPC does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Answers without changing anything.
    Reads,
    /// Answers with a page.
    Lists,
    /// Changes something, whatever there was before.
    Changes,
    /// Changes or deletes one record that was read before.
    Edits,
    /// Changes what this process remembers of leases, and nothing that is stored.
    Leases,
}
use Does::{Changes, Edits, Leases, Lists, Reads};

/// Every RPC; each needs the operator's key.
const RPCS: &[(&str, Does)] = &[
    ("AuditService/ListEvents", Lists),
    ("AuditService/GetEvent", Reads),
    ("AuditService/AppendEvents", Changes),
    ("AuditService/VerifyHistory", Reads),
    ("AuthorizationService/IsAuthorized", Reads),
    ("AuthorizationService/BatchIsAuthorized", Reads),
    ("AuthorizationService/StreamIsAuthorized", Reads),
    ("GroupService/CreateGroup", Changes),
    ("GroupService/GetGroup", Reads),
    ("GroupService/ListGroups", Lists),
    ("GroupService/UpdateGroup", Edits),
    ("GroupService/DeleteGroup", Edits),
    ("GroupService/AddGroupMember", Edits),
    ("GroupService/RemoveGroupMember", Edits),
    ("GroupService/ListGroupMembers", Lists),
    ("GroupService/SetGroupProjectRoles", Edits),
    ("InvitationService/AcceptInvitation", Changes),
    ("InvitationService/BulkCreateInvitations", Changes),
    ("InvitationService/CopyInvitationLink", Changes),
    ("InvitationService/CreateInvitation", Changes),
    ("InvitationService/DeclineInvitation", Changes),
    ("InvitationService/GetInvitation", Reads),
    ("InvitationService/ListInvitations", Lists),
    ("InvitationService/ResendInvitation", Edits),
    ("InvitationService/RevokeInvitation", Edits),
    ("AuthorizationService/IsAuthorizedWithToken", Reads),
    ("MemberService/AddMember", Changes),
    ("MemberService/GetMember", Reads),
    ("MemberService/ListMembers", Lists),
    ("MemberService/UpdateMember", Edits),
    ("MemberService/SetMemberRoles", Edits),
    ("MemberService/SuspendMember", Edits),
    ("MemberService/ReinstateMember", Edits),
    ("MemberService/RemoveMember", Edits),
    ("MemberService/LeaveOrganization", Edits),
    ("MemberService/SetMemberPeriod", Edits),
    ("MemberService/RecordMemberActivity", Changes),
    ("MemberService/RemoveUser", Changes),
    ("NotificationService/LeaseNotifications", Leases),
    ("NotificationService/AcknowledgeNotifications", Changes),
    ("NotificationService/ReleaseNotifications", Leases),
    ("NotificationService/ListNotifications", Lists),
    ("OperatorService/Backup", Reads),
    ("OperatorService/GetStatus", Reads),
    ("OperatorService/CreateCallerKey", Changes),
    ("OperatorService/ListCallerKeys", Lists),
    ("OperatorService/RotateCallerKey", Edits),
    ("OperatorService/RevokeCallerKey", Edits),
    ("OrganizationService/CreateOrganization", Changes),
    ("OrganizationService/GetOrganization", Reads),
    ("OrganizationService/ListOrganizations", Lists),
    ("OrganizationService/ListOrganizationsForUser", Lists),
    ("OrganizationService/UpdateOrganization", Edits),
    ("OrganizationService/SetPlan", Edits),
    ("OrganizationService/DeleteOrganization", Edits),
    ("OrganizationService/TransferOwnership", Edits),
    ("OrganizationService/InitiateTransfer", Edits),
    ("OrganizationService/AcceptTransfer", Changes),
    ("OrganizationService/DeclineTransfer", Changes),
    ("OrganizationService/CancelTransfer", Changes),
    ("OrganizationService/GetTransfer", Reads),
    ("PolicyService/ListCatalogs", Lists),
    ("PolicyService/GetCatalog", Reads),
    ("PolicyService/ListPolicies", Lists),
    ("PolicyService/ExportPolicies", Reads),
    ("PolicyService/CreateGuardrail", Changes),
    ("PolicyService/GetGuardrail", Reads),
    ("PolicyService/ListGuardrails", Lists),
    ("PolicyService/UpdateGuardrail", Edits),
    ("PolicyService/DeleteGuardrail", Edits),
    ("ProjectService/CreateProject", Changes),
    ("ProjectService/GetProject", Reads),
    ("ProjectService/ListProjects", Lists),
    ("ProjectService/UpdateProject", Edits),
    ("ProjectService/ArchiveProject", Edits),
    ("ProjectService/UnarchiveProject", Edits),
    ("ProjectService/DeleteProject", Edits),
    ("ProjectService/SetProjectRoles", Edits),
    ("ProjectService/ClearProjectRoles", Edits),
    ("ProjectService/SetProjectOverride", Edits),
    ("ProjectService/RemoveProjectOverride", Edits),
    ("ProjectService/SetDefaultRoles", Edits),
    ("ProjectService/CopyDefaultRoles", Edits),
    ("ProjectService/ListProjectMembers", Lists),
    ("ResourceService/RegisterResource", Changes),
    ("ResourceService/GetResource", Reads),
    ("ResourceService/ListResources", Lists),
    ("ResourceService/TransferResource", Edits),
    ("ResourceService/MoveResource", Edits),
    ("ResourceService/ReassignResources", Changes),
    ("ResourceService/UnregisterResource", Edits),
    ("RoleService/CreateRole", Changes),
    ("RoleService/GetRole", Reads),
    ("RoleService/ListRoles", Lists),
    ("RoleService/UpdateRole", Edits),
    ("RoleService/DeleteRole", Edits),
    ("RoleService/ResetRole", Edits),
    ("ServiceAccountService/CreateServiceAccount", Changes),
    ("ServiceAccountService/GetServiceAccount", Reads),
    ("ServiceAccountService/ListServiceAccounts", Lists),
    ("ServiceAccountService/UpdateServiceAccount", Edits),
    ("ServiceAccountService/SetServiceAccountRoles", Edits),
    ("ServiceAccountService/DeleteServiceAccount", Edits),
    ("TokenService/CreateToken", Changes),
    ("TokenService/GetToken", Reads),
    ("TokenService/ListTokens", Lists),
    ("TokenService/UpdateToken", Edits),
    ("TokenService/RotateToken", Edits),
    ("TokenService/RevokeToken", Edits),
    ("TokenService/DeleteToken", Edits),
];

/// Whether a method changes something.
pub fn mutates(method: &MethodDescriptor) -> bool {
    has(&method.input(), "request_id")
}

fn has(message: &MessageDescriptor, field: &str) -> bool {
    message.get_field_by_name(field).is_some()
}

#[test]
fn every_rpc_has_a_row_and_every_row_has_an_rpc() {
    let rows: Vec<&str> = RPCS.iter().map(|(name, _)| *name).collect();
    let unique: BTreeSet<String> = rows.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(unique.len(), rows.len(), "a row is there twice");
    let there: BTreeSet<String> = methods()
        .iter()
        .map(|method| format!("{}/{}", method.parent_service().name(), method.name()))
        .collect();
    let without_row: Vec<_> = there.difference(&unique).collect();
    let stale: Vec<_> = unique.difference(&there).collect();
    assert!(without_row.is_empty(), "no row for {without_row:?}");
    assert!(stale.is_empty(), "no such RPC: {stale:?}");
}

#[test]
fn every_rpc_takes_the_fields_that_its_kind_needs() {
    let rows: BTreeMap<&str, Does> = RPCS.iter().copied().collect();
    for method in methods() {
        let name = format!("{}/{}", method.parent_service().name(), method.name());
        let does = rows[name.as_str()];
        let (input, output) = (method.input(), method.output());
        let changes = matches!(does, Changes | Edits);
        for field in ["request_id", "validate_only"] {
            assert_eq!(has(&input, field), changes, "{name}: {field}");
        }
        assert_eq!(has(&input, "etag"), does == Edits, "{name}: etag");
        let updates = method.name().starts_with("Update");
        assert_eq!(has(&input, "update_mask"), updates, "{name}: update_mask");
        for field in ["page_size", "page_token"] {
            assert_eq!(has(&input, field), does == Lists, "{name}: {field}");
        }
        assert_eq!(has(&output, "next_page_token"), does == Lists, "{name}");
        let of_an_organization = !name.contains("Catalog");
        assert_eq!(has(&output, "revision"), of_an_organization, "{name}");
        if matches!(does, Reads | Lists) && of_an_organization {
            assert!(has(&input, "at_least"), "{name}: at_least");
        }
    }
}

#[tokio::test]
async fn no_rpc_is_served_without_the_key_and_every_refusal_reads_the_same() {
    let daemon = Daemon::start().await;
    let good = bearer();
    let with_suffix = format!("{good}0");
    let (basic, bare) = (format!("Basic {KEY}"), KEY.to_owned());
    let (spaced, cut) = (format!("Bearer  {KEY}"), good[..good.len() - 1].to_owned());
    let attempts: [&[&str]; 10] = [
        &[],
        &[""],
        &["Bearer "],
        &["Bearer wrong"],
        &[&with_suffix],
        &[&cut],
        &[&basic],
        &[&bare],
        &[&spaced],
        &[&good, &good],
    ];
    let mut answers = BTreeSet::new();

    for method in methods() {
        for attempt in attempts {
            let refused = call(daemon.bare(), &path(&method), Vec::new(), attempt)
                .await
                .expect_err(method.full_name());
            assert_eq!(refused.code(), Code::Unauthenticated, "{attempt:?}");
            assert_eq!(reason(&refused), "UNAUTHENTICATED");
            answers.insert((refused.message().to_owned(), refused.details().to_vec()));
        }
        let served = call(daemon.bare(), &path(&method), Vec::new(), &[&good]).await;
        if let Err(status) = &served {
            assert_ne!(reason(status), "UNAUTHENTICATED", "{}", method.full_name());
        }
        let code = served.err().map(|status| status.code());
        assert_ne!(code, Some(Code::Unimplemented), "{}", method.full_name());
    }

    assert_eq!(answers.len(), 1, "{answers:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_scheme_is_read_without_regard_to_case() {
    let daemon = Daemon::start().await;
    let lower = format!("bearer {KEY}");
    let path = "/roster.v1.PolicyService/ListCatalogs";
    let served = call(daemon.bare(), path, Vec::new(), &[&lower]).await;
    assert!(served.is_ok(), "{served:?}");
    daemon.stop().await;
}

/// The services that reflection tells, asked through `ServerReflection` of a version.
async fn reflected(
    daemon: &Daemon,
    version: &str,
    authorization: &[&str],
) -> Result<Bytes, Status> {
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    // ServerReflectionRequest { list_services: "*" }
    call(daemon.bare(), &path, vec![0x3a, 1, b'*'], authorization).await
}

#[tokio::test]
async fn reflection_lists_every_service_to_those_who_hold_the_key() {
    let daemon = Daemon::start().await;
    let good = bearer();
    for version in ["v1", "v1alpha"] {
        for attempt in [&[][..], &["Bearer wrong"][..]] {
            let refused = reflected(&daemon, version, attempt).await;
            let refused = refused.expect_err("refused");
            assert_eq!(refused.code(), Code::Unauthenticated);
        }
        let listed = reflected(&daemon, version, &[&good]).await.expect("a list");
        let listed = String::from_utf8_lossy(&listed).into_owned();
        for service in descriptors().services() {
            assert!(listed.contains(service.full_name()), "{version}: {listed}");
        }
        assert!(listed.contains("grpc.health.v1.Health"), "{listed}");
    }
    daemon.stop().await;
}

fn health_of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn health_is_told_to_everybody_for_the_whole_and_for_each_service() {
    let daemon = Daemon::start().await;
    let mut health = HealthClient::new(daemon.bare());
    let services: Vec<String> = descriptors()
        .services()
        .map(|service| service.full_name().to_owned())
        .collect();
    assert_eq!(services.len(), 14);
    for service in services.iter().map(String::as_str).chain([""]) {
        let answer = health.check(health_of(service)).await.expect("an answer");
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    let unknown = health.check(health_of("roster.v1.Nothing")).await;
    let unknown = unknown.expect_err("there is no such service");
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(reason(&unknown), "NOT_FOUND");
    daemon.stop().await;
}

#[tokio::test]
async fn watching_an_unknown_service_stays_open_and_says_so() {
    let daemon = Daemon::start().await;
    let mut health = HealthClient::new(daemon.bare());
    let watched = health.watch(health_of("roster.v1.Nothing")).await;
    let mut watched = watched.expect("a stream").into_inner();
    let first = watched.next().await.expect("a message").expect("an answer");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    // Open: nothing more comes while the daemon answers others.
    tokio::select! {
        biased;
        next = watched.next() => panic!("the stream went on: {next:?}"),
        other = health.check(health_of("")) => {
            let other = other.expect("an answer").into_inner();
            assert_eq!(other.status(), ServingStatus::Serving);
        }
    }
    drop(watched);
    drop(health);
    daemon.stop().await;
}

#[tokio::test]
async fn who_watches_is_told_when_the_daemon_stops() {
    let daemon = Daemon::start().await;
    let mut health = HealthClient::new(daemon.bare());
    let name = "roster.v1.AuthorizationService";
    let mut whole = health
        .watch(health_of(""))
        .await
        .expect("a stream")
        .into_inner();
    let mut one = health
        .watch(health_of(name))
        .await
        .expect("a stream")
        .into_inner();
    for watched in [&mut whole, &mut one] {
        let first = watched.next().await.expect("a message").expect("an answer");
        assert_eq!(first.status(), ServingStatus::Serving);
    }
    let stopping = tokio::spawn(daemon.stop());
    for watched in [&mut whole, &mut one] {
        let last = watched.next().await.expect("a message").expect("an answer");
        assert_eq!(last.status(), ServingStatus::NotServing);
    }
    drop((whole, one, health));
    stopping.await.expect("the daemon stops");
}

/// How a store fails, as the tests set it.
const SOUND: u8 = 0;
const BUSY: u8 = 1;
const FULL: u8 = 2;
const CLOSED: u8 = 3;
const LOST: u8 = 4;
const CONFLICTING: u8 = 5;
const UNREADABLE: u8 = 6;
const TOO_LARGE: u8 = 7;
const CONFUSED: u8 = 8;
const DAMAGED: u8 = 9;
/// Its history is read one commit at a time, and each takes a while.
pub const SLOW: u8 = 10;

/// What a failing store says about itself, which nobody else may see.
const INSIDE: &str = "/var/lib/roster/journal.0001: Input/output error";

/// A store in memory that fails as it is told to.
#[derive(Default)]
pub struct FailingStore {
    sound: MemoryStore,
    fails: AtomicU8,
}

impl FailingStore {
    /// From now on.
    pub fn fail(&self, how: u8) {
        self.fails.store(how, Ordering::SeqCst);
    }

    fn failure(&self) -> Option<CommitError> {
        match self.fails.load(Ordering::SeqCst) {
            BUSY => Some(CommitError::Busy),
            FULL => Some(CommitError::Full),
            CLOSED => Some(CommitError::Unavailable(INSIDE.to_owned())),
            LOST => Some(CommitError::Unknown(INSIDE.to_owned())),
            CONFLICTING => Some(CommitError::Conflict),
            TOO_LARGE => Some(CommitError::TooLarge {
                bytes: 2_000_000,
                limit: 1_048_576,
            }),
            _ => None,
        }
    }
}

impl Store for FailingStore {
    fn commit(&self, commit: Commit) -> CommitFuture {
        match self.failure() {
            Some(failure) => Box::pin(std::future::ready(Err(failure))),
            None => self.sound.commit(commit),
        }
    }

    fn head(&self) -> Head {
        self.sound.head()
    }

    fn organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.sound.organizations(after, limit)
    }

    fn load(&self, id: &OrganizationId) -> Result<Option<(Organization, Sequence)>, ReadError> {
        self.sound.load(id)
    }

    fn mark(&self, id: &OrganizationId) -> Result<Option<(Version, Sequence)>, ReadError> {
        self.sound.mark(id)
    }

    fn due(&self, by: Moment, limit: usize) -> Result<Vec<(Moment, OrganizationId)>, ReadError> {
        self.sound.due(by, limit)
    }

    fn memberships(
        &self,
        user: &UserId,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.sound.memberships(user, after, limit)
    }

    fn notifying(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, ReadError> {
        self.sound.notifying(after, limit)
    }

    fn remembered(&self, key: &IdempotencyKey) -> Result<Option<Remembered>, ReadError> {
        if self.fails.load(Ordering::SeqCst) == UNREADABLE {
            return Err(ReadError::Damaged(INSIDE.to_owned()));
        }
        let remembered = self.sound.remembered(key)?;
        if self.fails.load(Ordering::SeqCst) == CONFUSED {
            return Ok(remembered.map(|remembered| Remembered {
                outcome: Outcome::Count(1),
                ..remembered
            }));
        }
        Ok(remembered)
    }

    fn verify(&self, after: Head, limit: usize) -> Result<Head, ReadError> {
        if self.fails.load(Ordering::SeqCst) == SLOW {
            std::thread::sleep(std::time::Duration::from_millis(100));
            return self.sound.verify(after, limit.min(1));
        }
        // The third commit is not what it was.
        if self.fails.load(Ordering::SeqCst) == DAMAGED {
            let sound = 2_usize.saturating_sub(after.sequence.0 as usize);
            if sound == 0 {
                return Err(ReadError::Damaged(INSIDE.to_owned()));
            }
            return self.sound.verify(after, limit.min(sound));
        }
        self.sound.verify(after, limit)
    }

    fn events(
        &self,
        organization: &OrganizationId,
        before: Option<(Sequence, u32)>,
        limit: usize,
    ) -> Result<Vec<EventEntry>, ReadError> {
        self.sound.events(organization, before, limit)
    }

    fn history(&self, after: Sequence, limit: usize) -> Result<Vec<HistoryEntry>, ReadError> {
        self.sound.history(after, limit)
    }

    fn sealed(&self, after: Sequence, bytes: usize) -> Result<Vec<SealedCommit>, ReadError> {
        self.sound.sealed(after, bytes)
    }

    fn condition(&self) -> Condition {
        self.sound.condition()
    }
}

fn creation() -> v1::CreateProjectRequest {
    v1::CreateProjectRequest {
        organization: "acme".to_owned(),
        project_id: "p".to_owned(),
        display_name: "P".to_owned(),
        request_id: "once".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_failing_store_refuses_changes_in_its_own_words_and_checks_go_on() {
    let store = Arc::new(FailingStore::default());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found("acme", "greenhouse").await;
    let check = question("acme", "owner", "BuySeeds", "Organization", "acme");
    let before = daemon.application.published();

    for (how, code, name) in [
        (BUSY, Code::ResourceExhausted, "STORE_BUSY"),
        (FULL, Code::ResourceExhausted, "DISK_FULL"),
        (CLOSED, Code::Unavailable, "STORE_UNAVAILABLE"),
        (UNREADABLE, Code::Unavailable, "STORE_UNAVAILABLE"),
        (LOST, Code::Unknown, "OUTCOME_UNKNOWN"),
        (CONFLICTING, Code::Aborted, "CONCURRENT_CHANGE"),
        (TOO_LARGE, Code::InvalidArgument, "RECORD_TOO_LARGE"),
    ] {
        store.fail(how);
        let refused = daemon.projects().create_project(creation()).await;
        let refused = refused.expect_err(name);
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, name));
        let details = String::from_utf8_lossy(refused.details()).into_owned();
        assert!(!refused.message().contains("journal"), "{refused:?}");
        assert!(!details.contains("journal"), "{details}");
        assert!(daemon.allows(check.clone()).await, "{name}");
        assert_eq!(daemon.application.published(), before, "{name}");
    }

    store.fail(SOUND);
    let created = daemon.projects().create_project(creation()).await;
    created.expect("nothing had happened, and the request id is free");
    daemon.stop().await;
}

/// The codes that the comments of the reasons promise, by the reasons' names.
fn promised_codes() -> BTreeMap<String, Code> {
    let mut codes = BTreeMap::new();
    let mut comment = String::new();
    for line in include_str!("../../proto/roster/v1/errors.proto").lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("//") {
            comment.push_str(text);
        } else if let Some((name, _)) = line.split_once(" = ")
            && name.starts_with("ERROR_REASON_")
        {
            let code = [
                (
                    "In BadRequest of an INVALID_ARGUMENT",
                    Code::InvalidArgument,
                ),
                (" INVALID_ARGUMENT.", Code::InvalidArgument),
                (" PERMISSION_DENIED.", Code::PermissionDenied),
                (" DATA_LOSS.", Code::DataLoss),
                (" NOT_FOUND.", Code::NotFound),
                (" ALREADY_EXISTS.", Code::AlreadyExists),
                (" ABORTED.", Code::Aborted),
                (" FAILED_PRECONDITION.", Code::FailedPrecondition),
                (" RESOURCE_EXHAUSTED.", Code::ResourceExhausted),
                (" UNAUTHENTICATED.", Code::Unauthenticated),
                (" UNAVAILABLE.", Code::Unavailable),
                (" UNKNOWN.", Code::Unknown),
                (" INTERNAL.", Code::Internal),
                (" DATA_LOSS.", Code::DataLoss),
            ]
            .into_iter()
            .find(|(text, _)| {
                comment.starts_with(text)
                    || comment.contains("In BadRequest") && text.starts_with("In")
            })
            .map(|(_, code)| code);
            if let Some(code) = code {
                codes.insert(name.to_owned(), code);
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    codes
}

/// A daemon with an organization in which everything can go wrong.
async fn stage(store: Arc<FailingStore>) -> Daemon {
    let daemon = Daemon::start_on(store).await;
    daemon.found("acme", "greenhouse").await;
    daemon.found("oec", "oec-sh").await;
    daemon
        .organizations()
        .set_plan(v1::SetPlanRequest {
            organization: "acme".to_owned(),
            plan: "commercial".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the plan is set");
    daemon.add("acme", "ann", &["gardener"]).await;
    daemon.add("acme", "bea", &[]).await;
    daemon.project("acme", "shed").await;
    daemon.project("acme", "tunnel").await;
    daemon
        .projects()
        .archive_project(v1::ArchiveProjectRequest {
            organization: "acme".to_owned(),
            project: "shed".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the project is archived");
    daemon
        .resources()
        .register_resource(v1::RegisterResourceRequest {
            organization: "acme".to_owned(),
            r#type: "Bed".to_owned(),
            id: "b1".to_owned(),
            project: "tunnel".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the resource is registered");
    daemon
        .roles()
        .create_role(role("helper"))
        .await
        .expect("the role is created");
    daemon.add("acme", "cid", &["helper"]).await;
    daemon
}

fn role(id: &str) -> v1::CreateRoleRequest {
    v1::CreateRoleRequest {
        organization: "acme".to_owned(),
        role_id: id.to_owned(),
        display_name: format!("Role {id}"),
        ..Default::default()
    }
}

fn member(user: &str, roles: &[&str]) -> v1::AddMemberRequest {
    v1::AddMemberRequest {
        organization: "acme".to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

fn override_of(user: &str, project: &str, actions: &[&str]) -> v1::SetProjectOverrideRequest {
    v1::SetProjectOverrideRequest {
        organization: "acme".to_owned(),
        project: project.to_owned(),
        user: user.to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(actions),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Registers more resources at once than one call may reassign.
async fn register_too_many(daemon: &Daemon) {
    let request = Common {
        caller: Caller {
            name: "test".to_owned(),
            actor: Actor::Operator,
        },
        method: "RegisterResource",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    };
    let decide = |turn: &Turn<'_>| {
        let records = (0..=roster::domain::resources::MAX_REASSIGNED).map(|number| {
            RecordChange::PutResource(Arc::new(RegisteredResource {
                key: ResourceKey::new("Bed", &format!("many-{number}")),
                project: None,
                owner: Some(UserId::new("bea")),
                created_at: turn.now,
                version: turn.organization().version.next(),
            }))
        });
        Ok(Change {
            records: records.collect(),
            events: vec![Event::done(
                "RegisterResource",
                Target::new("Bed", "many"),
                Vec::new(),
            )],
            outcome: Outcome::Nothing,
        })
    };
    let written = daemon
        .application
        .mutate("acme", Need::Operator, &request, decide)
        .await;
    written.expect("the resources are registered");
}

/// What a caller sends who has a new key with that scope, bound to these organizations.
async fn caller_key(daemon: &Daemon, scope: v1::CallerScope, organizations: &[&str]) -> String {
    let request = v1::CreateCallerKeyRequest {
        name: "somebody".to_owned(),
        scopes: vec![scope.into()],
        organizations: owned(organizations),
        ..Default::default()
    };
    let created = daemon.operators().create_caller_key(request).await;
    let secret = created.expect("a key").into_inner().secret;
    format!("Bearer {secret}")
}

/// An error that carries the reason. Exhaustive, so that a new reason needs a row.
async fn provoke(daemon: &Daemon, store: &FailingStore, wanted: v1::ErrorReason) -> Option<Status> {
    use v1::ErrorReason as E;
    macro_rules! refused {
        ($service:ident . $method:ident ( $request:expr )) => {
            daemon
                .$service()
                .$method($request)
                .await
                .map(drop)
                .expect_err(wanted.as_str_name())
        };
    }
    let get = |at_least: &str| v1::GetOrganizationRequest {
        organization: "acme".to_owned(),
        at_least: at_least.to_owned(),
    };
    let list = |page_size, page_token: &str| v1::ListMembersRequest {
        organization: "acme".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    Some(match wanted {
        E::Unspecified => panic!("never sent"),
        // Wait for their rows.
        E::Policy => refused!(policies.create_guardrail(v1::CreateGuardrailRequest {
            organization: "acme".to_owned(),
            text: "forbid".to_owned(),
            ..Default::default()
        })),
        E::LinkInvalid => {
            refused!(invitations.accept_invitation(attacks::accept("x", "dan", "d@x.example")))
        }
        E::LinkExpired => {
            let (_, token) = attacks::invited(daemon, "expired@x.example", &[]).await;
            daemon.world.set(Moment(NOW.0 + attacks::THREE_DAYS));
            let refused = refused!(invitations.decline_invitation(attacks::decline(&token)));
            daemon.world.set(NOW);
            refused
        }
        E::LinkRevoked => {
            let (id, token) = attacks::invited(daemon, "revoked@x.example", &[]).await;
            let revoked = daemon
                .invitations()
                .revoke_invitation(attacks::revoke(&id))
                .await;
            revoked.expect("revoked");
            refused!(invitations.decline_invitation(attacks::decline(&token)))
        }
        E::LinkSuperseded => {
            let (id, token) = attacks::invited(daemon, "superseded@x.example", &[]).await;
            let again = daemon
                .invitations()
                .resend_invitation(attacks::resend(&id))
                .await;
            again.expect("sent again");
            refused!(invitations.decline_invitation(attacks::decline(&token)))
        }
        E::LinkUsed => {
            let (_, token) = attacks::invited(daemon, "used@x.example", &[]).await;
            attacks::join(daemon, &token, "used", "used@x.example").await;
            refused!(invitations.decline_invitation(attacks::decline(&token)))
        }
        E::LinkDeclined => {
            let (_, token) = attacks::invited(daemon, "declined@x.example", &[]).await;
            let declined = daemon
                .invitations()
                .decline_invitation(attacks::decline(&token))
                .await;
            declined.expect("declined");
            refused!(invitations.decline_invitation(attacks::decline(&token)))
        }
        E::WrongAddress => {
            let (_, token) = attacks::invited(daemon, "right@x.example", &[]).await;
            let wrong = attacks::accept(&token, "dan", "wrong@x.example");
            refused!(invitations.accept_invitation(wrong))
        }
        E::GrantorLost => {
            daemon.add("acme", "gus", &["head-gardener"]).await;
            let sending = attacks::create(attacks::new("lost@x.example", &["gardener"]));
            let sent = daemon
                .invitations()
                .create_invitation(as_actor("gus", sending))
                .await;
            let (_, token) = attacks::sent_as(sent.expect("sent").into_inner());
            attacks::suspend(daemon, "gus").await;
            let accepting = attacks::accept(&token, "dan", "lost@x.example");
            refused!(invitations.accept_invitation(accepting))
        }
        E::InvitationStatus => {
            let (id, _) = attacks::invited(daemon, "closed@x.example", &[]).await;
            let revoked = daemon
                .invitations()
                .revoke_invitation(attacks::revoke(&id))
                .await;
            revoked.expect("revoked");
            refused!(invitations.revoke_invitation(attacks::revoke(&id)))
        }
        E::SeatsTaken => {
            daemon.found("sill", "greenhouse").await;
            let plan = v1::SetPlanRequest {
                organization: "sill".to_owned(),
                plan: "window-sill".to_owned(),
                ..Default::default()
            };
            let set = daemon.organizations().set_plan(plan).await;
            set.expect("the plan is set");
            daemon.add("sill", "ann", &[]).await;
            daemon.add("sill", "bea", &[]).await;
            refused!(members.add_member(v1::AddMemberRequest {
                organization: "sill".to_owned(),
                ..member("dan", &[])
            }))
        }
        E::TooFast => {
            let (id, _) = attacks::invited(daemon, "often@x.example", &[]).await;
            for _ in 0..4 {
                let again = daemon
                    .invitations()
                    .resend_invitation(attacks::resend(&id))
                    .await;
                again.expect("sent again");
            }
            refused!(invitations.resend_invitation(attacks::resend(&id)))
        }
        E::ReauthenticationNeeded => {
            daemon.found("two", "hypervisor-io").await;
            daemon.add("two", "ada", &["admin"]).await;
            let request = v1::InitiateTransferRequest {
                organization: "two".to_owned(),
                user: "ada".to_owned(),
                ..Default::default()
            };
            refused!(organizations.initiate_transfer(as_actor("owner", request)))
        }
        E::TransferTarget => {
            refused!(
                organizations.transfer_ownership(v1::TransferOwnershipRequest {
                    organization: "acme".to_owned(),
                    user: "owner".to_owned(),
                    ..Default::default()
                })
            )
        }
        E::TokenStatus => {
            let created = daemon
                .tokens()
                .create_token(v1::CreateTokenRequest {
                    organization: "acme".to_owned(),
                    kind: v1::TokenKind::Member.into(),
                    subject: "ann".to_owned(),
                    display_name: "Laptop".to_owned(),
                    ..Default::default()
                })
                .await
                .expect("the token is created")
                .into_inner();
            refused!(tokens.delete_token(v1::DeleteTokenRequest {
                organization: "acme".to_owned(),
                token: created.token.expect("a token").id,
                ..Default::default()
            }))
        }
        E::TokenInvalid => {
            refused!(
                authorization.is_authorized_with_token(v1::IsAuthorizedWithTokenRequest {
                    token: "roster_member_of_nobody".to_owned(),
                    ..Default::default()
                })
            )
        }
        E::NoTransfer => refused!(organizations.cancel_transfer(v1::CancelTransferRequest {
            organization: "acme".to_owned(),
            ..Default::default()
        })),
        E::CatalogMissing => {
            let broken = without_its_catalog().await;
            let refused = broken.everybody("acme").await;
            broken.stop().await;
            refused.expect_err("not served")
        }
        E::OwnerMissing => {
            let broken = ownerless().await;
            let refused = broken.everybody("acme").await;
            broken.stop().await;
            refused.expect_err("not served")
        }
        E::MemberKind => refused!(tokens.create_token(v1::CreateTokenRequest {
            organization: "acme".to_owned(),
            kind: v1::TokenKind::ServiceAccount.into(),
            subject: "ann".to_owned(),
            display_name: "Robot".to_owned(),
            ..Default::default()
        })),
        E::PermissionDenied => refused!(members.suspend_member(as_actor(
            "bea",
            v1::SuspendMemberRequest {
                organization: "acme".to_owned(),
                user: "ann".to_owned(),
                ..Default::default()
            }
        ))),
        E::OperatorOnly => refused!(members.add_member(as_actor("owner", member("dan", &[])))),
        E::ExceedsGrantor | E::SelfChange => return None,
        E::OwnershipNotGiven => refused!(members.add_member(member("dan", &["owner"]))),
        E::Missing => refused!(members.add_member(member("", &[]))),
        E::Malformed | E::Invalid => refused!(members.add_member(member("a b", &[]))),
        E::UnknownAction => {
            refused!(authorization.is_authorized(question("acme", "ann", "WaterBeds", "Bed", "b")))
        }
        E::UnknownResourceType => {
            refused!(authorization.is_authorized(question("acme", "ann", "WaterBed", "Beds", "b")))
        }
        E::ActionDoesNotApply => {
            refused!(authorization.is_authorized(question("acme", "ann", "BuySeeds", "Bed", "b")))
        }
        E::Attribute => {
            let mut asked = question("acme", "ann", "WaterBed", "Bed", "b");
            let truth = prost_types::Value {
                kind: Some(prost_types::value::Kind::BoolValue(true)),
            };
            asked.context = Some(prost_types::Struct {
                fields: [("liters".to_owned(), truth)].into(),
            });
            refused!(authorization.is_authorized(asked))
        }
        E::UnknownReference => refused!(members.add_member(member("dan", &["nobody"]))),
        E::AccountLevelAction => {
            refused!(projects.set_project_override(override_of("ann", "tunnel", &["BuySeeds"])))
        }
        E::ReservedName => refused!(roles.create_role(role("owner"))),
        E::TooMany => refused!(members.list_members(list(1_001, ""))),
        E::RoleNotHeldThere => refused!(members.add_member(member("dan", &["visitor"]))),
        E::Repeated => refused!(members.add_member(member("dan", &["gardener", "gardener"]))),
        E::MalformedRevision => refused!(organizations.get_organization(get("latest"))),
        E::MalformedPageToken => refused!(members.list_members(list(1, "elsewhere"))),
        E::NotFound => refused!(members.get_member(v1::GetMemberRequest {
            organization: "acme".to_owned(),
            user: "nobody".to_owned(),
            ..Default::default()
        })),
        E::AlreadyExists => refused!(members.add_member(member("ann", &[]))),
        E::StaleEtag => refused!(members.suspend_member(v1::SuspendMemberRequest {
            organization: "acme".to_owned(),
            user: "ann".to_owned(),
            etag: "v1".to_owned(),
            ..Default::default()
        })),
        E::OwnerProtected => refused!(members.suspend_member(v1::SuspendMemberRequest {
            organization: "acme".to_owned(),
            user: "owner".to_owned(),
            ..Default::default()
        })),
        E::MemberStatus => refused!(members.reinstate_member(v1::ReinstateMemberRequest {
            organization: "acme".to_owned(),
            user: "ann".to_owned(),
            ..Default::default()
        })),
        E::RoleInUse => refused!(roles.delete_role(v1::DeleteRoleRequest {
            organization: "acme".to_owned(),
            role: "helper".to_owned(),
            ..Default::default()
        })),
        E::BuiltInRole => refused!(roles.delete_role(v1::DeleteRoleRequest {
            organization: "acme".to_owned(),
            role: "gardener".to_owned(),
            ..Default::default()
        })),
        E::NotOffered => refused!(roles.create_role(v1::CreateRoleRequest {
            organization: "oec".to_owned(),
            ..role("helper")
        })),
        E::PlanLacksFeature => {
            daemon.found("hobby", "greenhouse").await;
            refused!(roles.create_role(v1::CreateRoleRequest {
                organization: "hobby".to_owned(),
                ..role("helper")
            }))
        }
        E::NothingToOverride => {
            refused!(projects.set_project_override(override_of("bea", "tunnel", &[])))
        }
        E::ProjectArchived => {
            refused!(projects.set_project_override(override_of("ann", "shed", &[])))
        }
        E::ProjectNotEmpty => refused!(projects.delete_project(v1::DeleteProjectRequest {
            organization: "acme".to_owned(),
            project: "tunnel".to_owned(),
            ..Default::default()
        })),
        E::LimitReached => {
            register_too_many(daemon).await;
            refused!(members.remove_member(v1::RemoveMemberRequest {
                organization: "acme".to_owned(),
                user: "bea".to_owned(),
                reassign_resources_to: "ann".to_owned(),
                ..Default::default()
            }))
        }
        E::Unauthenticated => {
            let path = "/roster.v1.MemberService/GetMember";
            let refused = call(daemon.bare(), path, Vec::new(), &[]).await;
            refused.expect_err("refused")
        }
        E::ScopeMissing => {
            let secret = caller_key(daemon, v1::CallerScope::Manage, &[]).await;
            let path = "/roster.v1.AuthorizationService/IsAuthorized";
            let refused = call(daemon.bare(), path, Vec::new(), &[&secret]).await;
            refused.expect_err("refused")
        }
        E::ForeignOrganization => {
            let secret = caller_key(daemon, v1::CallerScope::Check, &["oec"]).await;
            let path = "/roster.v1.AuthorizationService/IsAuthorized";
            let check = question("acme", "owner", "BuySeeds", "Organization", "acme");
            let refused = call(daemon.bare(), path, check.encode_to_vec(), &[&secret]).await;
            refused.expect_err("refused")
        }
        E::RevisionNotReached => {
            let mut request = Request::new(get("0.ffffff"));
            request.set_timeout(std::time::Duration::from_secs(4));
            refused!(organizations.get_organization(request))
        }
        E::RequestIdReused => {
            let once = |id: &str| v1::CreateRoleRequest {
                request_id: "once".to_owned(),
                ..role(id)
            };
            let first = daemon.roles().create_role(once("first")).await;
            first.expect("the role is created");
            refused!(roles.create_role(once("second")))
        }
        E::BatchTooLarge => {
            let requests = vec![v1::IsAuthorizedRequest::default(); 10_001];
            refused!(
                authorization.batch_is_authorized(v1::BatchIsAuthorizedRequest {
                    requests,
                    ..Default::default()
                })
            )
        }
        E::ConcurrentChange => {
            store.fail(CONFLICTING);
            refused!(members.add_member(member("dan", &[])))
        }
        E::Overloaded => {
            let limits = Limits {
                managed: 0,
                ..Limits::default()
            };
            let setup = Setup {
                manner: Manner {
                    limits,
                    ..Setup::default().manner
                },
                ..Setup::default()
            };
            let busy = Daemon::start_as(setup, Arc::new(MemoryStore::new())).await;
            let refused = busy.members().add_member(member("dan", &[])).await;
            refused.map(drop).expect_err(wanted.as_str_name())
        }
        E::StoreBusy => {
            store.fail(BUSY);
            refused!(members.add_member(member("dan", &[])))
        }
        E::DiskFull => {
            store.fail(FULL);
            refused!(members.add_member(member("dan", &[])))
        }
        E::StoreUnavailable => {
            store.fail(CLOSED);
            refused!(members.add_member(member("dan", &[])))
        }
        E::OutcomeUnknown => {
            store.fail(LOST);
            refused!(members.add_member(member("dan", &[])))
        }
        E::RecordTooLarge => {
            store.fail(TOO_LARGE);
            refused!(members.add_member(member("dan", &[])))
        }
        E::HistoryDamaged => {
            store.fail(DAMAGED);
            refused!(audit.verify_history(v1::VerifyHistoryRequest::default()))
        }
        E::Internal => {
            let request = v1::AddMemberRequest {
                request_id: "confused".to_owned(),
                ..member("eve", &[])
            };
            let added = daemon.members().add_member(request.clone()).await;
            added.expect("the member is added");
            store.fail(CONFUSED);
            refused!(members.add_member(request))
        }
    })
}

#[tokio::test]
async fn every_reason_is_produced_with_the_code_that_its_comment_promises() {
    let store = Arc::new(FailingStore::default());
    let daemon = stage(Arc::clone(&store)).await;
    let codes = promised_codes();
    let pool = descriptors();
    let values = pool.get_enum_by_name("roster.v1.ErrorReason");
    for value in values.expect("the enum").values() {
        let wanted = v1::ErrorReason::try_from(value.number()).expect("a value");
        if wanted == v1::ErrorReason::Unspecified {
            continue;
        }
        let Some(status) = provoke(&daemon, &store, wanted).await else {
            continue;
        };
        store.fail(SOUND);
        let name = value.name().trim_start_matches("ERROR_REASON_");
        let code = codes.get(value.name()).expect("a comment with a code");
        assert_eq!(status.code(), *code, "{name}: {status:?}");
        let of_a_field = value.number() < v1::ErrorReason::Invalid as i32;
        let expected = if of_a_field { "INVALID" } else { name };
        assert_eq!(reason(&status), expected, "{status:?}");
        let found = violations(&status);
        assert!(
            !of_a_field || found.iter().any(|(_, kind)| kind == name),
            "{name}: {found:?}"
        );
        let info = tonic_types::StatusExt::get_details_error_info(&status);
        assert_eq!(info.expect("an ErrorInfo").domain, "roster");
        assert!(!status.message().ends_with('.'), "{status:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_went_wrong_inside_is_one_constant_text() {
    let store = Arc::new(FailingStore::default());
    let daemon = stage(Arc::clone(&store)).await;
    let status = provoke(&daemon, &store, v1::ErrorReason::Internal).await;
    let status = status.expect("a row");
    assert_eq!(status.message(), "an internal error; see the daemon's log");
    daemon.stop().await;
}

#[tokio::test]
async fn who_owns_too_much_is_removed_once_their_resources_are_passed_on_in_turns() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    daemon.add("acme", "ann", &[]).await;
    daemon.add("acme", "bea", &[]).await;
    register_too_many(&daemon).await;
    let remove = || v1::RemoveMemberRequest {
        organization: "acme".to_owned(),
        user: "bea".to_owned(),
        ..Default::default()
    };
    let refused = daemon.members().remove_member(remove()).await;
    let refused = refused.expect_err("too much");
    assert_eq!(reason(&refused), "LIMIT_REACHED");
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert!(details.retry_info().is_none(), "a limit does not pass");

    let mut counts = Vec::new();
    while counts.last() != Some(&0) {
        let request = v1::ReassignResourcesRequest {
            organization: "acme".to_owned(),
            from_owner: "bea".to_owned(),
            to_owner: "ann".to_owned(),
            ..Default::default()
        };
        let answer = daemon.resources().reassign_resources(request).await;
        counts.push(answer.expect("some are passed on").into_inner().count);
    }
    assert_eq!(counts, [10_000, 1, 0]);
    let removed = daemon.members().remove_member(remove()).await;
    assert_eq!(
        removed
            .expect("nothing is left")
            .into_inner()
            .orphaned_count,
        0
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_may_grant_under_so_many_conditions_and_no_more() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    let conditional = vec![v1::ConditionalActions::default(); 65];
    let request = v1::CreateRoleRequest {
        organization: "acme".to_owned(),
        display_name: "R".to_owned(),
        permissions: Some(v1::Permissions {
            conditional,
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = daemon.roles().create_role(request).await.expect_err("many");
    let faults = violations(&refused);
    let fault = ("permissions.conditional".to_owned(), "TOO_MANY".to_owned());
    assert!(faults.contains(&fault), "{faults:?}");
    daemon.stop().await;
}
