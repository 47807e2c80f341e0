//! Attacks and edge cases, each under its own name: what is tried must be refused
//! with exactly one code and reason, leave everything as it was, and be told once
//! in the history.

mod audit;
mod bulk;
mod catalogs;
mod combinations;
mod escalation;
mod groups;
mod identities;
mod invitations;
mod organizations;
mod overrides;
pub mod owners;
mod provisioning;
mod roles;
mod seats;
mod soundness;
mod status;
mod tokens;

use std::fmt::Debug;

use roster::domain::identifiers::OrganizationId;
use roster::proto::v1;
use roster::store::EventEntry;
use tonic::{Code, Response, Status};

use crate::harness::{Daemon, owned, reason};

/// The organization of these tests.
pub const ACME: &str = "acme";
/// 72 hours and 7 days, in milliseconds.
pub const THREE_DAYS: i64 = 72 * 60 * 60 * 1_000;
pub const SEVEN_DAYS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// A daemon with organization `acme` on a catalog; `owner` owns it.
pub async fn team_on(catalog: &str) -> Daemon {
    let daemon = Daemon::start().await;
    daemon.found(ACME, catalog).await;
    daemon
}

/// The same on a plan.
pub async fn team_on_plan(catalog: &str, plan: &str) -> Daemon {
    let daemon = team_on(catalog).await;
    set_plan(&daemon, plan).await;
    daemon
}

pub async fn set_plan(daemon: &Daemon, plan: &str) {
    let request = v1::SetPlanRequest {
        organization: ACME.to_owned(),
        plan: plan.to_owned(),
        ..Default::default()
    };
    let set = daemon.organizations().set_plan(request).await;
    set.expect("the plan is set");
}

pub fn new(email: &str, roles: &[&str]) -> v1::NewInvitation {
    v1::NewInvitation {
        email: email.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

pub fn create(invitation: v1::NewInvitation) -> v1::CreateInvitationRequest {
    v1::CreateInvitationRequest {
        organization: ACME.to_owned(),
        invitation: Some(invitation),
        ..Default::default()
    }
}

pub fn bulk(invitations: Vec<v1::NewInvitation>) -> v1::BulkCreateInvitationsRequest {
    v1::BulkCreateInvitationsRequest {
        organization: ACME.to_owned(),
        invitations,
        ..Default::default()
    }
}

pub fn accept(token: &str, user: &str, email: &str) -> v1::AcceptInvitationRequest {
    v1::AcceptInvitationRequest {
        organization: ACME.to_owned(),
        token: token.to_owned(),
        user: user.to_owned(),
        email: email.to_owned(),
        ..Default::default()
    }
}

pub fn resend(invitation: &str) -> v1::ResendInvitationRequest {
    v1::ResendInvitationRequest {
        organization: ACME.to_owned(),
        invitation: invitation.to_owned(),
        ..Default::default()
    }
}

pub fn copy(invitation: &str) -> v1::CopyInvitationLinkRequest {
    v1::CopyInvitationLinkRequest {
        organization: ACME.to_owned(),
        invitation: invitation.to_owned(),
        ..Default::default()
    }
}

pub fn revoke(invitation: &str) -> v1::RevokeInvitationRequest {
    v1::RevokeInvitationRequest {
        organization: ACME.to_owned(),
        invitation: invitation.to_owned(),
        ..Default::default()
    }
}

pub fn decline(token: &str) -> v1::DeclineInvitationRequest {
    v1::DeclineInvitationRequest {
        organization: ACME.to_owned(),
        token: token.to_owned(),
        ..Default::default()
    }
}

/// Invites on behalf of the operator; answers with the id and the token.
pub async fn invited(daemon: &Daemon, email: &str, roles: &[&str]) -> (String, String) {
    let sent = daemon
        .invitations()
        .create_invitation(create(new(email, roles)))
        .await;
    sent_as(sent.expect("the invitation is sent").into_inner())
}

pub fn sent_as(sent: v1::CreateInvitationResponse) -> (String, String) {
    (sent.invitation.expect("an invitation").id, sent.token)
}

/// Accepts what must be there to be accepted.
pub async fn join(daemon: &Daemon, token: &str, user: &str, email: &str) -> v1::Member {
    let joined = daemon
        .invitations()
        .accept_invitation(accept(token, user, email))
        .await;
    let joined = joined.expect("the invitation is accepted").into_inner();
    joined.member.expect("a member")
}

pub async fn status_of(daemon: &Daemon, invitation: &str) -> v1::InvitationStatus {
    let request = v1::GetInvitationRequest {
        organization: ACME.to_owned(),
        invitation: invitation.to_owned(),
        ..Default::default()
    };
    let read = daemon.invitations().get_invitation(request).await;
    let read = read.expect("an invitation").into_inner();
    read.invitation.expect("an invitation").status()
}

pub async fn suspend(daemon: &Daemon, user: &str) {
    let request = v1::SuspendMemberRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    };
    let suspended = daemon.members().suspend_member(request).await;
    suspended.expect("the member is suspended");
}

pub async fn users(daemon: &Daemon) -> Vec<String> {
    let request = v1::ListMembersRequest {
        organization: ACME.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = daemon.members().list_members(request).await;
    let members = listed.expect("members").into_inner().members;
    members.into_iter().map(|member| member.user).collect()
}

/// Every event of the organization, the newest first.
pub fn events(daemon: &Daemon) -> Vec<EventEntry> {
    let organization = OrganizationId::new(ACME);
    let events = daemon.store.events(&organization, None, 100_000);
    events.expect("the events are read")
}

/// All that can be seen of the organization, its revision included.
pub async fn everything(daemon: &Daemon) -> String {
    let id = OrganizationId::new(ACME);
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    let stored = daemon.store.load(&id).expect("the store is read");
    let (stored, _) = stored.expect("the organization");
    format!(
        "{} {:?} {:?}",
        snapshot.revision(),
        snapshot.organization(),
        stored
    )
}

/// Refused with that code and reason, nothing changed, told once.
#[track_caller]
fn assert_refused<T: Debug>(
    attempt: Result<Response<T>, Status>,
    code: Code,
    expected: &str,
) -> Status {
    let status = attempt.expect_err("refused");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (code, expected),
        "{status:?}"
    );
    status
}

/// Makes an attempt that must be refused so, changing nothing, told once.
pub async fn refused<T: Debug>(
    daemon: &Daemon,
    attempt: impl Future<Output = Result<Response<T>, Status>>,
    code: Code,
    expected: &str,
) -> Status {
    let before = (everything(daemon).await, events(daemon).len());
    let status = assert_refused(attempt.await, code, expected);
    assert_eq!(everything(daemon).await, before.0, "something changed");
    let told = events(daemon);
    assert_eq!(told.len(), before.1 + 1, "{:?}", told.first());
    assert_eq!(told[0].event.refusal, expected, "{:?}", told[0]);
    status
}
