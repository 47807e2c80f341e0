//! What happens when disks, files, clocks and processes are not as they should be: a
//! clear error with its exit code, or a daemon that takes no changes and decides on.

mod disk;
mod files;
mod steps;
mod surroundings;

use std::path::Path;

use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::member_service_client::MemberServiceClient;
use roster::proto::v1::operator_service_client::OperatorServiceClient;
use tonic::Status;

use crate::harness::question;
use crate::program::{Daemon, Process, roster};

/// The organization of [`crate::backup::team`].
const ACME: &str = "acme";

/// Adds a member.
async fn add(daemon: &Daemon, user: &str) -> Result<(), Status> {
    let request = v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: vec!["viewer".to_owned()],
        request_id: format!("add-{user}"),
        ..Default::default()
    };
    let mut members = MemberServiceClient::new(daemon.connect().await);
    members.add_member(daemon.signed(request)).await.map(drop)
}

/// Whether somebody may manage an instance.
async fn may_manage(daemon: &Daemon, user: &str) -> bool {
    let asked = question(ACME, user, "InstancesManage", "Instance", "vm");
    let asked = crate::harness::in_project(asked, "p0");
    let mut checks = AuthorizationServiceClient::new(daemon.connect().await);
    let answer = checks.is_authorized(daemon.signed(asked)).await;
    answer.expect("an answer").into_inner().decision() == v1::Decision::Allow
}

/// The team of seven is decided about as ever.
async fn assert_decides(daemon: &Daemon) {
    assert!(may_manage(daemon, "u0").await, "an operator");
    assert!(!may_manage(daemon, "u1").await, "a viewer");
    assert!(!may_manage(daemon, "nobody").await);
}

/// The users of the organization.
async fn members(daemon: &Daemon) -> Vec<String> {
    let request = v1::ListMembersRequest {
        organization: ACME.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let mut members = MemberServiceClient::new(daemon.connect().await);
    let page = members.list_members(daemon.signed(request)).await;
    let page = page.expect("members").into_inner();
    page.members.into_iter().map(|member| member.user).collect()
}

async fn status(daemon: &Daemon) -> v1::GetStatusResponse {
    let mut client = OperatorServiceClient::new(daemon.connect().await);
    let answer = client
        .get_status(daemon.signed(v1::GetStatusRequest::default()))
        .await;
    answer.expect("a status").into_inner()
}

/// A daemon that leaves no room of the disk free.
fn start_to_the_last_byte(directory: &Path) -> Daemon {
    let mut command = roster();
    command.arg("serve").arg("--data-dir").arg(directory);
    command.args(["--listen", "127.0.0.1:0", "--minimum-free-mib", "0"]);
    Daemon::of(directory, Process::spawn(&mut command))
}
