//! What each product promises about its team, told as its users live it: a daily
//! life as one scenario by acting members, and a test for each rule of the
//! product's fixture.

mod cloud_66;
mod hypervisor_io;
mod oec_sh;
mod oncloudwine;
mod qoc_cloud;

use std::collections::BTreeSet;
use std::path::Path;

use prost_types::{FieldMask, Timestamp};
use roster::domain::organization::Moment;
use roster::proto::v1;
use serde_json::Value as Json;
use tonic::{Code, Request, Status};

use crate::attacks::{ACME, accept};
use crate::harness::{Daemon, NOW, as_actor, by_token, owned, question};
use crate::transfer::{is, timestamp};

/// An hour and a day, in milliseconds.
const HOUR: i64 = 60 * 60 * 1_000;
const DAY: i64 = 24 * HOUR;

/// The platform itself, in place of an acting member.
const PLATFORM: &str = "";

const DENIED: (Code, &str) = (Code::PermissionDenied, "PERMISSION_DENIED");

/// Where a rule of a product is shown to hold.
enum Shown {
    /// By these tests of the product's file.
    By(&'static [&'static str]),
    /// Nowhere: it is about something that Roster does not do. Says in one sentence why.
    NotRosters(&'static str),
}

/// Every rule of the fixture has an entry, every entry a rule, and every test is there.
#[track_caller]
fn assert_no_rule_is_forgotten(system: &str, source: &str, table: &[(&str, Shown)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/systems")
        .join(format!("{system}.json"));
    let text = std::fs::read_to_string(path).expect("the fixture");
    let fixture: Json = serde_json::from_str(&text).expect("JSON");
    let mut rules = BTreeSet::new();
    walk("", &fixture["rules"], &mut rules);
    assert!(!rules.is_empty(), "{system} has rules");
    let entries: BTreeSet<String> = table.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(entries.len(), table.len(), "a rule is listed twice");
    assert_eq!(
        entries, rules,
        "rules of {system}, and the entries for them"
    );
    for (key, shown) in table {
        match shown {
            Shown::By(tests) => {
                assert!(!tests.is_empty(), "{key}");
                for test in *tests {
                    let test = format!("#[tokio::test]\nasync fn {test}()");
                    assert!(source.contains(&test), "{key}: no {test}");
                }
            }
            Shown::NotRosters(why) => assert!(why.ends_with('.'), "{key}: {why}"),
        }
    }
}

/// The paths of all leaves, such as `transfer.mode`.
fn walk(prefix: &str, value: &Json, found: &mut BTreeSet<String>) {
    let Json::Object(fields) = value else {
        found.insert(prefix.to_owned());
        return;
    };
    for (name, value) in fields {
        let dot = if prefix.is_empty() { "" } else { "." };
        walk(&format!("{prefix}{dot}{name}"), value, found);
    }
}

/// A request of an acting member, or of the platform.
fn by<T>(actor: &str, message: T) -> Request<T> {
    if actor == PLATFORM {
        Request::new(message)
    } else {
        as_actor(actor, message)
    }
}

/// The address of a user.
fn address(user: &str) -> String {
    format!("{user}@x.example")
}

fn permissions(actions: &[&str]) -> Option<v1::Permissions> {
    Some(v1::Permissions {
        actions: owned(actions),
        ..Default::default()
    })
}

fn until(at: i64) -> Option<v1::Period> {
    Some(v1::Period {
        not_before: None,
        expires_at: Some(timestamp(Moment(at))),
    })
}

/// So many milliseconds after these tests begin.
fn after(milliseconds: i64) -> Option<Timestamp> {
    Some(timestamp(Moment(NOW.0 + milliseconds)))
}

/// A team on a product, and what its people do.
struct Team {
    daemon: Daemon,
}

impl Team {
    /// The platform founds organization `acme` on a product, and on a plan if one is
    /// named, for an owner.
    async fn found(product: &str, plan: &str, owner: &str) -> Self {
        let team = Self {
            daemon: Daemon::start().await,
        };
        team.found_another(ACME, product, plan, owner).await;
        team
    }

    async fn found_another(&self, organization: &str, product: &str, plan: &str, owner: &str) {
        let request = v1::CreateOrganizationRequest {
            organization_id: organization.to_owned(),
            display_name: format!("The team {organization}"),
            catalog: product.to_owned(),
            plan: plan.to_owned(),
            owner: owner.to_owned(),
            owner_display_name: format!("Owner {owner}"),
            owner_email: address(owner),
            ..Default::default()
        };
        let founded = self
            .daemon
            .organizations()
            .create_organization(request)
            .await;
        founded.expect("the organization is founded");
    }

    async fn stop(self) {
        self.daemon.stop().await;
    }

    /// Moves the clock to so many milliseconds after the beginning.
    fn at(&self, milliseconds: i64) {
        self.daemon.world.set(Moment(NOW.0 + milliseconds));
    }

    // Questions.

    /// Whether a user may do something to the organization.
    async fn may(&self, user: &str, action: &str) -> bool {
        self.may_on(user, action, ("Organization", ACME)).await
    }

    /// Whether a user may do something to a thing: its type and id.
    async fn may_on(&self, user: &str, action: &str, thing: (&str, &str)) -> bool {
        let asked = question(ACME, user, action, thing.0, thing.1);
        self.daemon.allows(asked).await
    }

    /// Whether a user may do something to a project.
    async fn may_in(&self, user: &str, action: &str, project: &str) -> bool {
        self.may_on(user, action, ("Project", project)).await
    }

    /// Whether a token may do something to an organization's thing.
    async fn token_may(&self, secret: &str, action: &str, thing: (&str, &str)) -> bool {
        let request = v1::IsAuthorizedWithTokenRequest {
            token: secret.to_owned(),
            action: action.to_owned(),
            resource: Some(v1::Resource {
                r#type: thing.0.to_owned(),
                id: thing.1.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut client = self.daemon.authorization();
        match client.is_authorized_with_token(request).await {
            Ok(answer) => answer.into_inner().decision() == v1::Decision::Allow,
            Err(status) => {
                assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
                false
            }
        }
    }

    // Invitations.

    async fn try_invite(
        &self,
        actor: &str,
        invitation: v1::NewInvitation,
    ) -> Result<v1::CreateInvitationResponse, Status> {
        let request = v1::CreateInvitationRequest {
            organization: ACME.to_owned(),
            invitation: Some(invitation),
            ..Default::default()
        };
        let sent = self
            .daemon
            .invitations()
            .create_invitation(by(actor, request))
            .await;
        Ok(sent?.into_inner())
    }

    /// Invites a user, at their address, to hold roles; the id and the link's token.
    async fn invite(&self, actor: &str, user: &str, roles: &[&str]) -> (String, String) {
        let sent = self.try_invite(actor, invitation(user, roles)).await;
        let sent = sent.expect("the invitation is sent");
        (sent.invitation.expect("an invitation").id, sent.token)
    }

    async fn try_join(&self, token: &str, user: &str) -> Result<v1::Member, Status> {
        let request = accept(token, user, &address(user));
        let joined = self
            .daemon
            .invitations()
            .accept_invitation(by(user, request))
            .await;
        Ok(joined?.into_inner().member.expect("a member"))
    }

    /// The user whom a link invites accepts.
    async fn join(&self, token: &str, user: &str) -> v1::Member {
        let joined = self.try_join(token, user).await;
        joined.expect("the invitation is accepted")
    }

    /// Invited by somebody, and accepted.
    async fn hire(&self, actor: &str, user: &str, roles: &[&str]) -> v1::Member {
        let (_, token) = self.invite(actor, user, roles).await;
        self.join(&token, user).await
    }

    async fn resend(&self, actor: &str, invitation: &str) -> Result<String, Status> {
        let request = v1::ResendInvitationRequest {
            organization: ACME.to_owned(),
            invitation: invitation.to_owned(),
            ..Default::default()
        };
        let sent = self
            .daemon
            .invitations()
            .resend_invitation(by(actor, request))
            .await;
        Ok(sent?.into_inner().token)
    }

    async fn copy_link(&self, actor: &str, invitation: &str) -> Result<String, Status> {
        let request = v1::CopyInvitationLinkRequest {
            organization: ACME.to_owned(),
            invitation: invitation.to_owned(),
            ..Default::default()
        };
        let shown = self
            .daemon
            .invitations()
            .copy_invitation_link(by(actor, request))
            .await;
        Ok(shown?.into_inner().token)
    }

    async fn revoke(&self, actor: &str, invitation: &str) -> Result<v1::Invitation, Status> {
        let request = v1::RevokeInvitationRequest {
            organization: ACME.to_owned(),
            invitation: invitation.to_owned(),
            ..Default::default()
        };
        let revoked = self
            .daemon
            .invitations()
            .revoke_invitation(by(actor, request))
            .await;
        Ok(revoked?.into_inner().invitation.expect("it"))
    }

    /// The invitations that a member sees, of a status.
    async fn invitations(&self, reader: &str, status: v1::InvitationStatus) -> Vec<v1::Invitation> {
        let request = v1::ListInvitationsRequest {
            organization: ACME.to_owned(),
            status: status.into(),
            ..Default::default()
        };
        let listed = self
            .daemon
            .invitations()
            .list_invitations(by(reader, request))
            .await;
        listed.expect("a page").into_inner().invitations
    }

    // Members.

    /// The team as a member sees it, the invited included.
    async fn people(&self, reader: &str) -> Vec<v1::Member> {
        let request = v1::ListMembersRequest {
            organization: ACME.to_owned(),
            include_invited: true,
            page_size: 1_000,
            ..Default::default()
        };
        let listed = self
            .daemon
            .members()
            .list_members(by(reader, request))
            .await;
        listed.expect("a page").into_inner().members
    }

    async fn member(&self, user: &str) -> v1::Member {
        let request = v1::GetMemberRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let read = self.daemon.members().get_member(request).await;
        read.expect("a member").into_inner().member.expect("it")
    }

    async fn set_roles(
        &self,
        actor: &str,
        user: &str,
        roles: &[&str],
    ) -> Result<v1::Member, Status> {
        let request = v1::SetMemberRolesRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            roles: owned(roles),
            ..Default::default()
        };
        let set = self
            .daemon
            .members()
            .set_member_roles(by(actor, request))
            .await;
        Ok(set?.into_inner().member.expect("the member"))
    }

    async fn suspend(&self, actor: &str, user: &str) -> Result<(), Status> {
        let request = v1::SuspendMemberRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let suspended = self
            .daemon
            .members()
            .suspend_member(by(actor, request))
            .await;
        suspended.map(drop)
    }

    async fn reinstate(&self, actor: &str, user: &str) -> Result<(), Status> {
        let request = v1::ReinstateMemberRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let reinstated = self
            .daemon
            .members()
            .reinstate_member(by(actor, request))
            .await;
        reinstated.map(drop)
    }

    async fn remove(&self, actor: &str, user: &str) -> Result<v1::RemoveMemberResponse, Status> {
        let request = v1::RemoveMemberRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let removed = self
            .daemon
            .members()
            .remove_member(by(actor, request))
            .await;
        Ok(removed?.into_inner())
    }

    async fn leave(&self, user: &str) -> Result<(), Status> {
        let request = v1::LeaveOrganizationRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let left = self
            .daemon
            .members()
            .leave_organization(by(user, request))
            .await;
        left.map(drop)
    }

    // Projects.

    async fn project(&self, actor: &str, project: &str) -> Result<(), Status> {
        let request = v1::CreateProjectRequest {
            organization: ACME.to_owned(),
            project_id: project.to_owned(),
            display_name: project.to_owned(),
            ..Default::default()
        };
        let created = self
            .daemon
            .projects()
            .create_project(by(actor, request))
            .await;
        created.map(drop)
    }

    async fn project_roles(
        &self,
        actor: &str,
        project: &str,
        user: &str,
        roles: &[&str],
    ) -> Result<(), Status> {
        let request = v1::SetProjectRolesRequest {
            organization: ACME.to_owned(),
            project: project.to_owned(),
            user: user.to_owned(),
            roles: owned(roles),
            ..Default::default()
        };
        let set = self
            .daemon
            .projects()
            .set_project_roles(by(actor, request))
            .await;
        set.map(drop)
    }

    async fn default_roles(&self, actor: &str, user: &str, roles: &[&str]) -> Result<(), Status> {
        let request = v1::SetDefaultRolesRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            roles: owned(roles),
            ..Default::default()
        };
        let set = self
            .daemon
            .projects()
            .set_default_roles(by(actor, request))
            .await;
        set.map(drop)
    }

    async fn copy_default_roles(&self, actor: &str, user: &str) -> Result<(), Status> {
        let request = v1::CopyDefaultRolesRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let copied = self
            .daemon
            .projects()
            .copy_default_roles(by(actor, request))
            .await;
        copied.map(drop)
    }

    /// Replaces a member's rights in a project by those of roles and by actions.
    async fn replace(
        &self,
        actor: &str,
        project: &str,
        user: &str,
        roles: &[&str],
        actions: &[&str],
    ) -> Result<(), Status> {
        let request = v1::SetProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: project.to_owned(),
            user: user.to_owned(),
            roles: owned(roles),
            permissions: permissions(actions),
            ..Default::default()
        };
        let set = self
            .daemon
            .projects()
            .set_project_override(by(actor, request))
            .await;
        set.map(drop)
    }

    async fn revert(&self, actor: &str, project: &str, user: &str) -> Result<(), Status> {
        let request = v1::RemoveProjectOverrideRequest {
            organization: ACME.to_owned(),
            project: project.to_owned(),
            user: user.to_owned(),
            ..Default::default()
        };
        let removed = self
            .daemon
            .projects()
            .remove_project_override(by(actor, request))
            .await;
        removed.map(drop)
    }

    // Roles.

    async fn role(&self, actor: &str, id: &str, actions: &[&str]) -> Result<v1::Role, Status> {
        let request = v1::CreateRoleRequest {
            organization: ACME.to_owned(),
            role_id: id.to_owned(),
            display_name: format!("The {id}"),
            permissions: permissions(actions),
            ..Default::default()
        };
        let created = self.daemon.roles().create_role(by(actor, request)).await;
        Ok(created?.into_inner().role.expect("the role"))
    }

    async fn edit_role(&self, actor: &str, id: &str, actions: &[&str]) -> Result<v1::Role, Status> {
        let request = v1::UpdateRoleRequest {
            organization: ACME.to_owned(),
            role: id.to_owned(),
            permissions: permissions(actions),
            update_mask: Some(FieldMask {
                paths: owned(&["permissions"]),
            }),
            ..Default::default()
        };
        let edited = self.daemon.roles().update_role(by(actor, request)).await;
        Ok(edited?.into_inner().role.expect("the role"))
    }

    async fn read_role(&self, id: &str) -> v1::Role {
        let request = v1::GetRoleRequest {
            organization: ACME.to_owned(),
            role: id.to_owned(),
            ..Default::default()
        };
        let read = self.daemon.roles().get_role(request).await;
        read.expect("a role").into_inner().role.expect("the role")
    }

    // Ownership.

    /// The owner offers the ownership to a member, having signed in right now.
    async fn offer(&self, owner: &str, user: &str) -> Result<v1::InitiateTransferResponse, Status> {
        let request = v1::InitiateTransferRequest {
            organization: ACME.to_owned(),
            user: user.to_owned(),
            ..self.signed_in(owner)
        };
        self.daemon.initiate(owner, request).await
    }

    /// A request of somebody who signed in right now.
    fn signed_in(&self, owner: &str) -> v1::InitiateTransferRequest {
        v1::InitiateTransferRequest {
            organization: ACME.to_owned(),
            reauthentication: crate::transfer::proof(owner, self.now()),
            ..Default::default()
        }
    }

    fn now(&self) -> Moment {
        use roster::world::World as _;
        self.daemon.world.now()
    }

    /// Nobody can change, suspend or remove the one owner, nor does the owner leave.
    async fn assert_one_owner(&self, owner: &str, stranger: &str, role: &str) {
        assert_eq!(self.daemon.owner_of(ACME).await, owner);
        let code = Code::FailedPrecondition;
        let protected = "OWNER_PROTECTED";
        is(
            self.set_roles(PLATFORM, owner, &[role]).await,
            code,
            protected,
        );
        is(self.suspend(PLATFORM, owner).await, code, protected);
        is(self.remove(PLATFORM, owner).await, code, protected);
        is(
            self.set_roles(stranger, owner, &[role]).await,
            DENIED.0,
            DENIED.1,
        );
        is(self.suspend(stranger, owner).await, DENIED.0, DENIED.1);
        is(self.remove(stranger, owner).await, DENIED.0, DENIED.1);
        is(self.leave(owner).await, code, protected);
        let given = self.set_roles(PLATFORM, stranger, &["owner"]).await;
        is(given, DENIED.0, "OWNERSHIP_NOT_GIVEN");
        assert_eq!(self.daemon.owner_of(ACME).await, owner);
    }

    // Tokens and resources.

    /// A member makes a token for themself; its secret.
    async fn token(&self, user: &str) -> Result<v1::CreateTokenResponse, Status> {
        let request = v1::CreateTokenRequest {
            organization: ACME.to_owned(),
            kind: v1::TokenKind::Member.into(),
            subject: user.to_owned(),
            display_name: "Laptop".to_owned(),
            ..Default::default()
        };
        let created = self.daemon.tokens().create_token(by(user, request)).await;
        Ok(created?.into_inner())
    }

    async fn register(&self, actor: &str, thing: (&str, &str), owner: &str) -> Result<(), Status> {
        let request = v1::RegisterResourceRequest {
            organization: ACME.to_owned(),
            r#type: thing.0.to_owned(),
            id: thing.1.to_owned(),
            owner: owner.to_owned(),
            ..Default::default()
        };
        let registered = self
            .daemon
            .resources()
            .register_resource(by(actor, request))
            .await;
        registered.map(drop)
    }

    // What is told.

    /// The history as somebody reads it, the oldest first: who did what to whom.
    async fn story(&self, reader: &str) -> Vec<String> {
        let events = self.events(reader, v1::ListEventsRequest::default()).await;
        events.iter().rev().map(told).collect()
    }

    /// Events that somebody finds, the newest first.
    async fn events(&self, reader: &str, request: v1::ListEventsRequest) -> Vec<v1::Event> {
        let found = self.try_events(reader, request).await;
        found.expect("a page of events")
    }

    async fn try_events(
        &self,
        reader: &str,
        request: v1::ListEventsRequest,
    ) -> Result<Vec<v1::Event>, Status> {
        let request = v1::ListEventsRequest {
            organization: ACME.to_owned(),
            page_size: 1_000,
            ..request
        };
        let page = self.daemon.audit().list_events(by(reader, request)).await?;
        let page = page.into_inner();
        assert_eq!(page.next_page_token, "");
        Ok(page.events)
    }

    /// Who waits to be told what, the user or else the address, in order.
    async fn notices(&self) -> Vec<(v1::NotificationKind, String)> {
        let waiting = crate::notifications::waiting(&self.daemon, ACME).await;
        let name = |notification: &v1::Notification| {
            if notification.user.is_empty() {
                notification.email.clone()
            } else {
                notification.user.clone()
            }
        };
        waiting.iter().map(|one| (one.kind(), name(one))).collect()
    }

    /// Where a user is a member.
    async fn organizations_of(&self, user: &str) -> Vec<String> {
        let request = v1::ListOrganizationsForUserRequest {
            user: user.to_owned(),
            ..Default::default()
        };
        let listed = self
            .daemon
            .organizations()
            .list_organizations_for_user(request)
            .await;
        let listed = listed.expect("a page").into_inner().memberships;
        let of = |membership: v1::OrganizationMembership| membership.organization;
        listed
            .into_iter()
            .filter_map(of)
            .map(|one| one.id)
            .collect()
    }

    /// One user is at home in two organizations with different rights.
    async fn assert_many_organizations(&self, product: &str, user: &str, own_action: &str) {
        self.found_another("other", product, "", user).await;
        assert_eq!(self.organizations_of(user).await, [ACME, "other"]);
        let own = question("other", user, own_action, "Organization", "other");
        assert!(self.daemon.allows(own).await, "{user} owns the other");
        assert!(!self.may(user, own_action).await, "and not this one");
    }
}

/// An invitation of a user, at their address.
fn invitation(user: &str, roles: &[&str]) -> v1::NewInvitation {
    v1::NewInvitation {
        email: address(user),
        display_name: format!("The {user}"),
        roles: owned(roles),
        ..Default::default()
    }
}

/// An event in one line: the actor, the action, and the target's id unless it was drawn.
fn told(event: &v1::Event) -> String {
    let actor = match event.actor.as_str() {
        "" if event.caller == "roster" => "-",
        "" => "platform",
        actor => actor,
    };
    let target = match event.target_type.as_str() {
        kind @ ("Invitation" | "Token" | "Organization") => kind,
        _ => event.target_id.as_str(),
    };
    let outcome = match event.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!("{actor} {} {target}{outcome}", event.action)
}

/// What an event says under a name.
fn detail<'a>(event: &'a v1::Event, name: &str) -> Option<&'a str> {
    crate::audit::detail(event, name)
}

/// A question as a token's bearer puts it to a management call.
fn bearing<T>(secret: &str, message: T) -> Request<T> {
    by_token(secret, message)
}

#[tokio::test]
async fn the_example_team_stands_as_the_product_shows_it() {
    let daemon = Daemon::start().await;
    daemon.application.load_examples().await.expect("examples");
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems/oncloudwine.json");
    let text = std::fs::read_to_string(path).expect("the fixture");
    let fixture: Json = serde_json::from_str(&text).expect("JSON");
    let listed = v1::ListMembersRequest {
        organization: "oncloudwine-example".to_owned(),
        include_invited: true,
        ..Default::default()
    };
    let listed = daemon.members().list_members(listed).await;
    let mut shown: Vec<[String; 3]> = listed
        .expect("a page")
        .into_inner()
        .members
        .into_iter()
        .map(|one| {
            let role = if one.owner { "owner" } else { &one.roles[0] };
            let status = one.status().as_str_name();
            let status = status.trim_start_matches("MEMBER_STATUS_");
            [
                one.display_name.clone(),
                role.to_uppercase(),
                status.to_owned(),
            ]
        })
        .collect();
    let mut expected: Vec<[String; 3]> =
        serde_json::from_value(fixture["rules"]["fixture_members"].clone()).expect("rows");
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
    let waiting = crate::notifications::waiting(&daemon, "oncloudwine-example").await;
    assert!(waiting.is_empty(), "nobody is written to");
    daemon.stop().await;
}
