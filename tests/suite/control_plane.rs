//! What managing a team promises, RPC by RPC: what each answers, what it refuses,
//! and what all of them have in common: pages, etags, request ids, validations,
//! masks and revisions.

#![allow(
    clippy::needless_update,
    reason = "the macro that fills in the organization does not know which fields are left"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use prost_types::FieldMask;
use roster::domain::organization::Moment;
use roster::proto::v1;
use tonic::{Code, Request, Status};

use crate::coverage::{bearer, call, descriptors, methods, path};
use crate::harness::{Daemon, NOW, in_project, owned, owned_by, question, reason, violations};
use crate::tokens::tokens_of_known_ids;

/// The answer of a call that must succeed.
macro_rules! ok {
    ($daemon:ident . $service:ident . $method:ident ( $request:expr )) => {
        $daemon
            .$service()
            .$method($request)
            .await
            .expect(stringify!($method))
            .into_inner()
    };
}

/// The status of a call that must be refused.
macro_rules! refused {
    ($daemon:ident . $service:ident . $method:ident ( $request:expr )) => {
        $daemon
            .$service()
            .$method($request)
            .await
            .map(|answer| answer.into_inner())
            .expect_err(stringify!($method))
    };
}

/// A message of that type for organization `acme`, with these fields.
macro_rules! of_acme {
    ($message:ident { $($field:ident : $value:expr),* $(,)? }) => {
        v1::$message {
            organization: "acme".to_owned(),
            $($field: $value.into(),)*
            ..Default::default()
        }
    };
}

#[track_caller]
fn assert_is(status: &Status, code: Code, expected: &str) {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (code, expected),
        "{status:?}"
    );
}

/// Refused as INVALID, for exactly these fields and kinds.
#[track_caller]
fn assert_faults(status: &Status, expected: &[(&str, &str)]) {
    assert_is(status, Code::InvalidArgument, "INVALID");
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(field, kind)| ((*field).to_owned(), (*kind).to_owned()))
        .collect();
    assert_eq!(violations(status), expected, "{status:?}");
}

fn permissions(actions: &[&str]) -> Option<v1::Permissions> {
    Some(v1::Permissions {
        actions: owned(actions),
        ..Default::default()
    })
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: owned(paths),
    })
}

/// An organization of the greenhouse product in which there is one of everything:
/// ann with roles everywhere, bea with nothing, sue suspended; projects in use,
/// archived and empty; a custom role that nobody holds and an edited built-in one;
/// resources of ann's.
pub async fn nursery(daemon: &Daemon, organization: &str) {
    macro_rules! make {
        ($service:ident . $method:ident ( $message:ident { $($field:ident : $value:expr),* })) => {
            ok!(daemon.$service.$method(v1::$message {
                organization: organization.to_owned(),
                $($field: $value.into(),)*
                ..Default::default()
            }))
        };
    }
    daemon.found(organization, "greenhouse").await;
    make!(organizations.set_plan(SetPlanRequest { plan: "commercial" }));
    daemon.add(organization, "ann", &["gardener"]).await;
    daemon.add(organization, "bea", &[]).await;
    daemon.add(organization, "sue", &["gardener"]).await;
    make!(members.suspend_member(SuspendMemberRequest { user: "sue" }));
    for project in ["empty", "shed", "tunnel"] {
        daemon.project(organization, project).await;
    }
    make!(projects.archive_project(ArchiveProjectRequest { project: "shed" }));
    make!(roles.create_role(CreateRoleRequest {
        role_id: "helper",
        display_name: "Helper",
        description: "Helps.",
        permissions: permissions(&["WaterBed"])
    }));
    make!(roles.update_role(UpdateRoleRequest {
        role: "visitor",
        display_name: "Guest",
        permissions: permissions(&["ViewBed"])
    }));
    daemon
        .project_roles(organization, "tunnel", "ann", &["visitor"])
        .await;
    make!(projects.set_default_roles(SetDefaultRolesRequest {
        user: "ann",
        roles: owned(&["gardener"])
    }));
    make!(projects.set_project_override(SetProjectOverrideRequest {
        project: "empty",
        user: "ann",
        permissions: permissions(&["ViewBed"])
    }));
    make!(resources.register_resource(RegisterResourceRequest {
        r#type: "Bed",
        id: "b1",
        project: "tunnel",
        owner: "ann"
    }));
    make!(resources.register_resource(RegisterResourceRequest {
        r#type: "Bed",
        id: "b2",
        owner: "ann"
    }));
    make!(policies.create_guardrail(CreateGuardrailRequest {
        guardrail_id: "frost",
        description: "Nothing is harvested in the shed.",
        text: FROST
    }));
    make!(
        service_accounts.create_service_account(CreateServiceAccountRequest {
            service_account_id: "robot",
            roles: owned(&["gardener"])
        })
    );
    tokens_of_known_ids(daemon, organization, "ann").await;
    make!(groups.create_group(CreateGroupRequest {
        group_id: "crew",
        display_name: "Crew",
        roles: owned(&["gardener"])
    }));
    make!(groups.add_group_member(AddGroupMemberRequest {
        group: "crew",
        user: "ann"
    }));
}

/// The guardrail of a [`nursery`].
const FROST: &str =
    r#"forbid (principal, action == Action::"HarvestBed", resource in Project::"shed");"#;

/// All there is to read of an organization, without revisions.
pub async fn picture(daemon: &Daemon, organization: &str) -> String {
    macro_rules! read {
        ($service:ident . $method:ident ( $message:ident { $($field:ident : $value:expr),* })) => {
            daemon.$service().$method(v1::$message {
                organization: organization.to_owned(),
                $($field: $value,)*
                ..Default::default()
            }).await.map(|answer| {
                let mut answer = answer.into_inner();
                answer.revision.clear();
                answer
            }).map_err(|status| status.code())
        };
    }
    let request = v1::ListOrganizationsRequest::default();
    let every = ok!(daemon.organizations.list_organizations(request)).organizations;
    format!(
        "{:#?}",
        (
            every,
            read!(organizations.get_organization(GetOrganizationRequest {})),
            read!(members.list_members(ListMembersRequest {})),
            read!(roles.list_roles(ListRolesRequest {})),
            read!(projects.list_projects(ListProjectsRequest {
                show_archived: true
            })),
            read!(resources.list_resources(ListResourcesRequest {})),
            read!(groups.list_groups(ListGroupsRequest {})),
            read!(invitations.list_invitations(ListInvitationsRequest {})),
            read!(service_accounts.list_service_accounts(ListServiceAccountsRequest {})),
            read!(tokens.list_tokens(ListTokensRequest {})),
            read!(policies.list_policies(ListPoliciesRequest { page_size: 1_000 })),
            read!(policies.list_guardrails(ListGuardrailsRequest {})),
        )
    )
}

/// What an etag is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// Nothing: the request takes none.
    None,
    Organization,
    Member(&'static str),
    Role(&'static str),
    Project(&'static str),
    Resource(&'static str),
    Guardrail(&'static str),
    Group(&'static str),
    Token(&'static str),
    ServiceAccount(&'static str),
}

/// The etag of a record as it is.
async fn etag(daemon: &Daemon, organization: &str, of: Of) -> String {
    let organization = organization.to_owned();
    let at_least = String::new();
    match of {
        Of::None => String::new(),
        Of::Organization => {
            let request = v1::GetOrganizationRequest {
                organization,
                at_least,
            };
            ok!(daemon.organizations.get_organization(request))
                .organization
                .expect("it")
                .etag
        }
        Of::Member(user) => {
            let user = user.to_owned();
            let request = v1::GetMemberRequest {
                organization,
                user,
                at_least,
            };
            ok!(daemon.members.get_member(request))
                .member
                .expect("it")
                .etag
        }
        Of::Role(role) => {
            let role = role.to_owned();
            let request = v1::GetRoleRequest {
                organization,
                role,
                at_least,
            };
            ok!(daemon.roles.get_role(request)).role.expect("it").etag
        }
        Of::Token(token) => {
            let token = token.to_owned();
            let request = v1::GetTokenRequest {
                organization,
                token,
                at_least,
            };
            ok!(daemon.tokens.get_token(request))
                .token
                .expect("it")
                .etag
        }
        Of::ServiceAccount(account) => {
            let request = v1::GetServiceAccountRequest {
                organization,
                service_account: account.to_owned(),
                at_least,
            };
            ok!(daemon.service_accounts.get_service_account(request))
                .service_account
                .expect("it")
                .etag
        }
        Of::Project(project) => {
            let project = project.to_owned();
            let request = v1::GetProjectRequest {
                organization,
                project,
                at_least,
            };
            ok!(daemon.projects.get_project(request))
                .project
                .expect("it")
                .etag
        }
        Of::Resource(id) => {
            let (r#type, id) = ("Bed".to_owned(), id.to_owned());
            let request = v1::GetResourceRequest {
                organization,
                r#type,
                id,
                at_least,
            };
            ok!(daemon.resources.get_resource(request))
                .resource
                .expect("it")
                .etag
        }
        Of::Group(group) => {
            let group = group.to_owned();
            let request = v1::GetGroupRequest {
                organization,
                group,
                at_least,
            };
            ok!(daemon.groups.get_group(request))
                .group
                .expect("it")
                .etag
        }
        Of::Guardrail(guardrail) => {
            let guardrail = guardrail.to_owned();
            let request = v1::GetGuardrailRequest {
                organization,
                guardrail,
                at_least,
            };
            ok!(daemon.policies.get_guardrail(request))
                .guardrail
                .expect("it")
                .etag
        }
    }
}

/// A change that succeeds in a [`nursery`]: its method, what its etag is of, and
/// its message.
pub struct Case {
    pub method: &'static str,
    of: Of,
    pub message: DynamicMessage,
}

macro_rules! cases {
    ($organization:expr; $($service:ident . $method:ident, $of:expr, $message:ident { $($field:ident : $value:expr),* $(,)? };)*) => {
        vec![$({
            let method = concat!("/roster.v1.", stringify!($service), "/", stringify!($method));
            let message = v1::$message {
                organization: $organization.to_owned(),
                $($field: $value.into(),)*
                ..Default::default()
            };
            let name = concat!("roster.v1.", stringify!($message));
            let descriptor = descriptors().get_message_by_name(name).expect(name);
            let bytes = message.encode_to_vec();
            Case { method, of: $of, message: DynamicMessage::decode(descriptor, bytes.as_slice()).expect(name) }
        }),*]
    };
}

/// Until the day after these tests take place.
fn tomorrow() -> v1::Period {
    v1::Period {
        not_before: None,
        expires_at: Some(prost_types::Timestamp {
            seconds: NOW.0 / 1_000 + 24 * 60 * 60,
            nanos: 0,
        }),
    }
}

/// The position of the last change of an organization; refusals don't move it.
async fn position(daemon: &Daemon, organization: &str) -> u64 {
    let found = daemon.application.find(organization).await;
    found.map_or(0, |snapshot| snapshot.revision())
}

/// A change through each RPC that makes one, for a nursery of that id.
pub fn changes(organization: &str) -> Vec<Case> {
    let bed = || "Bed".to_owned();
    let mut cases = cases! { organization;
        OrganizationService.UpdateOrganization, Of::Organization, UpdateOrganizationRequest { display_name: "New" };
        OrganizationService.SetPlan, Of::Organization, SetPlanRequest { plan: "hobby" };
        OrganizationService.DeleteOrganization, Of::Organization, DeleteOrganizationRequest {};
        MemberService.AddMember, Of::None, AddMemberRequest { user: "cid", roles: owned(&["gardener"]) };
        MemberService.UpdateMember, Of::Member("ann"), UpdateMemberRequest { user: "ann", display_name: "Ann", email: "ann@x.example" };
        MemberService.SetMemberRoles, Of::Member("ann"), SetMemberRolesRequest { user: "ann", roles: owned(&["shopkeeper"]) };
        MemberService.SuspendMember, Of::Member("ann"), SuspendMemberRequest { user: "ann" };
        MemberService.ReinstateMember, Of::Member("sue"), ReinstateMemberRequest { user: "sue" };
        MemberService.RemoveMember, Of::Member("ann"), RemoveMemberRequest { user: "ann" };
        MemberService.LeaveOrganization, Of::Member("ann"), LeaveOrganizationRequest { user: "ann" };
        MemberService.SetMemberPeriod, Of::Member("ann"), SetMemberPeriodRequest { user: "ann", period: tomorrow() };
        MemberService.RecordMemberActivity, Of::None, RecordMemberActivityRequest { user: "ann" };
        OrganizationService.TransferOwnership, Of::Organization, TransferOwnershipRequest { user: "ann" };
        GroupService.CreateGroup, Of::None, CreateGroupRequest { group_id: "night", display_name: "Night", roles: owned(&["gardener"]) };
        GroupService.UpdateGroup, Of::Group("crew"), UpdateGroupRequest { group: "crew", display_name: "Day", roles: owned(&["gardener"]) };
        GroupService.DeleteGroup, Of::Group("crew"), DeleteGroupRequest { group: "crew" };
        GroupService.AddGroupMember, Of::Member("bea"), AddGroupMemberRequest { group: "crew", user: "bea" };
        GroupService.RemoveGroupMember, Of::Member("ann"), RemoveGroupMemberRequest { group: "crew", user: "ann" };
        GroupService.SetGroupProjectRoles, Of::Group("crew"), SetGroupProjectRolesRequest { group: "crew", project: "tunnel", roles: owned(&["gardener"]) };
        RoleService.CreateRole, Of::None, CreateRoleRequest { role_id: "digger", display_name: "Digger", permissions: permissions(&["ClearBed"]) };
        RoleService.UpdateRole, Of::Role("helper"), UpdateRoleRequest { role: "helper", display_name: "Aide", permissions: permissions(&["ViewBed"]) };
        RoleService.DeleteRole, Of::Role("helper"), DeleteRoleRequest { role: "helper" };
        RoleService.ResetRole, Of::Role("visitor"), ResetRoleRequest { role: "visitor" };
        ProjectService.CreateProject, Of::None, CreateProjectRequest { project_id: "dome", display_name: "Dome" };
        ProjectService.UpdateProject, Of::Project("tunnel"), UpdateProjectRequest { project: "tunnel", display_name: "Tube" };
        ProjectService.ArchiveProject, Of::Project("tunnel"), ArchiveProjectRequest { project: "tunnel" };
        ProjectService.UnarchiveProject, Of::Project("shed"), UnarchiveProjectRequest { project: "shed" };
        ProjectService.DeleteProject, Of::Project("empty"), DeleteProjectRequest { project: "empty" };
        ProjectService.SetProjectRoles, Of::Member("ann"), SetProjectRolesRequest { project: "tunnel", user: "ann", roles: owned(&["gardener"]) };
        ProjectService.ClearProjectRoles, Of::Member("ann"), ClearProjectRolesRequest { project: "tunnel", user: "ann" };
        ProjectService.SetProjectOverride, Of::Member("ann"), SetProjectOverrideRequest { project: "tunnel", user: "ann", roles: owned(&["helper"]) };
        ProjectService.RemoveProjectOverride, Of::Member("ann"), RemoveProjectOverrideRequest { project: "empty", user: "ann" };
        ProjectService.SetDefaultRoles, Of::Member("ann"), SetDefaultRolesRequest { user: "ann", roles: owned(&["visitor"]) };
        ProjectService.CopyDefaultRoles, Of::Member("ann"), CopyDefaultRolesRequest { user: "ann" };
        ServiceAccountService.CreateServiceAccount, Of::None, CreateServiceAccountRequest { service_account_id: "digger" };
        ServiceAccountService.UpdateServiceAccount, Of::ServiceAccount("robot"), UpdateServiceAccountRequest { service_account: "robot", display_name: "Robot" };
        ServiceAccountService.SetServiceAccountRoles, Of::ServiceAccount("robot"), SetServiceAccountRolesRequest { service_account: "robot", roles: owned(&["shopkeeper"]) };
        ServiceAccountService.DeleteServiceAccount, Of::ServiceAccount("robot"), DeleteServiceAccountRequest { service_account: "robot" };
        TokenService.CreateToken, Of::None, CreateTokenRequest { kind: v1::TokenKind::Member, subject: "ann", display_name: "Phone" };
        TokenService.UpdateToken, Of::Token("tok-live"), UpdateTokenRequest { token: "tok-live", display_name: "Desk" };
        TokenService.RotateToken, Of::Token("tok-live"), RotateTokenRequest { token: "tok-live" };
        TokenService.RevokeToken, Of::Token("tok-live"), RevokeTokenRequest { token: "tok-live" };
        TokenService.DeleteToken, Of::Token("tok-dead"), DeleteTokenRequest { token: "tok-dead" };
        ResourceService.RegisterResource, Of::None, RegisterResourceRequest { r#type: bed(), id: "b3", owner: "bea" };
        ResourceService.TransferResource, Of::Resource("b1"), TransferResourceRequest { r#type: bed(), id: "b1", owner: "bea" };
        ResourceService.MoveResource, Of::Resource("b1"), MoveResourceRequest { r#type: bed(), id: "b1" };
        ResourceService.ReassignResources, Of::None, ReassignResourcesRequest { from_owner: "ann", to_owner: "bea" };
        PolicyService.CreateGuardrail, Of::None, CreateGuardrailRequest { guardrail_id: "thaw", text: FROST };
        PolicyService.UpdateGuardrail, Of::Guardrail("frost"), UpdateGuardrailRequest { guardrail: "frost", description: "Cold.", text: FROST };
        PolicyService.DeleteGuardrail, Of::Guardrail("frost"), DeleteGuardrailRequest { guardrail: "frost" };
        ResourceService.UnregisterResource, Of::Resource("b1"), UnregisterResourceRequest { r#type: bed(), id: "b1" };
    };
    let found = v1::CreateOrganizationRequest {
        organization_id: format!("{organization}-2"),
        display_name: "Second".to_owned(),
        catalog: "greenhouse".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    let descriptor = descriptors().get_message_by_name("roster.v1.CreateOrganizationRequest");
    let bytes = found.encode_to_vec();
    cases.push(Case {
        method: "/roster.v1.OrganizationService/CreateOrganization",
        of: Of::None,
        message: DynamicMessage::decode(descriptor.expect("it"), bytes.as_slice()).expect("it"),
    });
    cases
}

impl Case {
    /// The same with a text in a field.
    fn with(&self, field: &str, text: &str) -> Self {
        let mut message = self.message.clone();
        message.set_field_by_name(field, Value::String(text.to_owned()));
        Self { message, ..*self }
    }

    /// The same, only to be validated.
    fn validated(&self) -> Self {
        let mut message = self.message.clone();
        message.set_field_by_name("validate_only", Value::Bool(true));
        Self { message, ..*self }
    }

    /// Sends it.
    async fn send(&self, daemon: &Daemon) -> Result<DynamicMessage, Status> {
        let name = self
            .message
            .descriptor()
            .full_name()
            .replace("Request", "Response");
        let bytes = self.message.encode_to_vec();
        let answer = call(daemon.bare(), self.method, bytes, &[&bearer()]).await?;
        let descriptor = descriptors()
            .get_message_by_name(&name)
            .expect("the answer's type");
        Ok(DynamicMessage::decode(descriptor, answer).expect("an answer"))
    }
}

/// A secret is in the first answer only.
fn without_secret(mut response: DynamicMessage) -> DynamicMessage {
    response.clear_field_by_name("secret");
    response
}

/// An organization begins with a version drawn for it, so a founding that was only
/// validated shows another etag than the one that is done; and a token has another
/// id and secret.
fn without_etag_of_the_new(mut response: DynamicMessage) -> DynamicMessage {
    if response.descriptor().name() == "CreateOrganizationResponse"
        && let Some(organization) = response
            .get_field_by_name_mut("organization")
            .and_then(|field| field.as_message_mut())
    {
        organization.clear_field_by_name("etag");
    }
    if response.descriptor().name() == "CreateTokenResponse"
        && let Some(token) = response
            .get_field_by_name_mut("token")
            .and_then(|field| field.as_message_mut())
    {
        token.clear_field_by_name("id");
    }
    without_secret(response)
}

fn without_revision(mut answer: DynamicMessage) -> DynamicMessage {
    answer.clear_field_by_name("revision");
    answer
}

#[test]
fn the_changes_tried_here_are_all_there_are() {
    let tried: BTreeSet<String> = changes("acme")
        .iter()
        .map(|case| case.method.to_owned())
        .collect();
    let there: BTreeSet<String> = methods()
        .iter()
        .filter(|method| method.input().get_field_by_name("request_id").is_some())
        // About several organizations at once; see the tests of members and notifications.
        .filter(|method| !["RemoveUser", "AcknowledgeNotifications"].contains(&method.name()))
        // About no organization; see the tests of callers.
        .filter(|method| method.parent_service().name() != "OperatorService")
        // Changes nothing but the history; see the tests of the audit trail.
        .filter(|method| method.name() != "AppendEvents")
        // About ids and links that are drawn; see the tests of invitations.
        .filter(|method| method.parent_service().name() != "InvitationService")
        // In two steps, which a nursery doesn't; see the tests of transfers.
        .filter(|method| {
            let steps = [
                "InitiateTransfer",
                "AcceptTransfer",
                "CancelTransfer",
                "DeclineTransfer",
            ];
            !steps.contains(&method.name())
        })
        .map(path)
        .collect();
    assert_eq!(tried, there);
}

#[tokio::test]
async fn a_validation_answers_like_the_change_and_changes_nothing() {
    let daemon = Daemon::start().await;
    for index in 0..changes("").len() {
        let organization = format!("validated-{index}");
        nursery(&daemon, &organization).await;
        let case = &changes(&organization)[index];
        let (before, revision) = (
            picture(&daemon, &organization).await,
            daemon.application.published(),
        );

        let validated = case.validated().send(&daemon).await.expect(case.method);

        assert_eq!(
            picture(&daemon, &organization).await,
            before,
            "{}",
            case.method
        );
        assert_eq!(daemon.application.published(), revision, "{}", case.method);
        let done = case.send(&daemon).await.expect(case.method);
        assert_eq!(
            daemon.application.published(),
            revision + 1,
            "{}",
            case.method
        );
        assert_ne!(
            picture(&daemon, &organization).await,
            before,
            "{}",
            case.method
        );
        assert_eq!(
            without_etag_of_the_new(without_revision(validated)),
            without_etag_of_the_new(without_revision(done)),
            "{}",
            case.method
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_edit_with_a_stale_etag_changes_nothing_and_with_the_right_one_is_made() {
    let daemon = Daemon::start().await;
    for index in 0..changes("").len() {
        let organization = format!("edited-{index}");
        let cases = changes(&organization);
        let case = &cases[index];
        if matches!(case.of, Of::None) {
            continue;
        }
        nursery(&daemon, &organization).await;
        let (before, revision) = (
            picture(&daemon, &organization).await,
            position(&daemon, &organization).await,
        );
        let right = etag(&daemon, &organization, case.of).await;
        assert!(!right.is_empty(), "{}", case.method);

        for stale in ["v0", "vffff", "nonsense", &right.to_uppercase()] {
            let refused = case
                .with("etag", stale)
                .send(&daemon)
                .await
                .expect_err(case.method);
            assert_is(&refused, Code::Aborted, "STALE_ETAG");
        }

        assert_eq!(
            picture(&daemon, &organization).await,
            before,
            "{}",
            case.method
        );
        assert_eq!(
            position(&daemon, &organization).await,
            revision,
            "{}",
            case.method
        );
        let done = case.with("etag", &right).send(&daemon).await;
        done.expect(case.method);
        assert_ne!(
            picture(&daemon, &organization).await,
            before,
            "{}",
            case.method
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_repeated_request_id_gets_the_first_answer_and_makes_no_second_commit() {
    let daemon = Daemon::start().await;
    for index in 0..changes("").len() {
        let organization = format!("repeated-{index}");
        nursery(&daemon, &organization).await;
        let case = changes(&organization)[index].with("request_id", "once");
        let first = case.send(&daemon).await.expect(case.method);
        let (after, revision) = (
            picture(&daemon, &organization).await,
            daemon.application.published(),
        );

        let again = case.send(&daemon).await.expect(case.method);

        assert_eq!(
            without_secret(again),
            without_secret(first),
            "{}",
            case.method
        );
        assert_eq!(
            picture(&daemon, &organization).await,
            after,
            "{}",
            case.method
        );
        assert_eq!(daemon.application.published(), revision, "{}", case.method);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_id_is_refused_for_another_body_and_another_method() {
    let daemon = Daemon::start().await;
    for index in 0..changes("").len() {
        let organization = format!("reused-{index}");
        nursery(&daemon, &organization).await;
        let case = changes(&organization)[index].with("request_id", "once");
        case.send(&daemon).await.expect(case.method);
        let (after, revision) = (
            picture(&daemon, &organization).await,
            position(&daemon, &organization).await,
        );

        let body = [
            "etag",
            "display_name",
            "id",
            "to_owner",
            "user",
            "description",
        ]
        .into_iter()
        .find(|field| case.message.descriptor().get_field_by_name(field).is_some());
        let other_body = case.with(body.expect("a field"), "other");
        let refused = other_body.send(&daemon).await.expect_err(case.method);
        assert_is(&refused, Code::Aborted, "REQUEST_ID_REUSED");
        // Requests about the same organization; a new one is its own.
        let own = case.method.ends_with("CreateOrganization");
        let about = if own {
            format!("{organization}-2")
        } else {
            organization.clone()
        };
        for other in changes(&about)
            .into_iter()
            .filter(|other| other.method != case.method)
        {
            if other.method.ends_with("CreateOrganization") {
                continue;
            }
            let refused = other.with("request_id", "once").send(&daemon).await;
            assert_is(
                &refused.expect_err(other.method),
                Code::Aborted,
                "REQUEST_ID_REUSED",
            );
        }

        assert_eq!(
            picture(&daemon, &organization).await,
            after,
            "{}",
            case.method
        );
        assert_eq!(
            position(&daemon, &organization).await,
            revision,
            "{}",
            case.method
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn equal_bytes_to_another_method_are_another_request() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    // Both messages hold an organization, a project and a request id, alike numbered.
    ok!(daemon
        .projects
        .archive_project(of_acme!(ArchiveProjectRequest {
            project: "tunnel",
            request_id: "once"
        })));
    let refused = refused!(
        daemon
            .projects
            .unarchive_project(of_acme!(UnarchiveProjectRequest {
                project: "tunnel",
                request_id: "once"
            }))
    );
    assert_is(&refused, Code::Aborted, "REQUEST_ID_REUSED");
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_id_is_remembered_for_a_day_and_not_a_moment_longer() {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let add = |user: &str| {
        of_acme!(AddMemberRequest {
            user: user,
            request_id: "once"
        })
    };
    let first = ok!(daemon.members.add_member(add("cid")));

    daemon.world.set(Moment(NOW.0 + DAY - 1));
    assert_eq!(ok!(daemon.members.add_member(add("cid"))), first);
    assert_is(
        &refused!(daemon.members.add_member(add("dan"))),
        Code::Aborted,
        "REQUEST_ID_REUSED",
    );

    daemon.world.set(Moment(NOW.0 + DAY));
    assert_is(
        &refused!(daemon.members.add_member(add("cid"))),
        Code::AlreadyExists,
        "ALREADY_EXISTS",
    );
    let second = ok!(daemon.members.add_member(add("dan")));
    assert_ne!(second.revision, first.revision);
    assert_eq!(ok!(daemon.members.add_member(add("dan"))), second);
    daemon.stop().await;
}

#[tokio::test]
async fn founding_and_deleting_are_remembered_for_a_day_too() {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    let daemon = Daemon::start().await;
    let found = |name: &str| v1::CreateOrganizationRequest {
        organization_id: "acme".to_owned(),
        display_name: name.to_owned(),
        catalog: "greenhouse".to_owned(),
        owner: "owner".to_owned(),
        request_id: "found".to_owned(),
        ..Default::default()
    };
    let delete = || {
        of_acme!(DeleteOrganizationRequest {
            request_id: "delete"
        })
    };
    let founded = ok!(daemon.organizations.create_organization(found("Acme")));
    assert_eq!(
        ok!(daemon.organizations.create_organization(found("Acme"))),
        founded
    );
    assert_is(
        &refused!(daemon.organizations.create_organization(found("Ac"))),
        Code::Aborted,
        "REQUEST_ID_REUSED",
    );
    let deleted = ok!(daemon.organizations.delete_organization(delete()));
    assert_eq!(
        ok!(daemon.organizations.delete_organization(delete())),
        deleted
    );

    daemon.world.set(Moment(NOW.0 + DAY + 1));

    assert_is(
        &refused!(daemon.organizations.delete_organization(delete())),
        Code::NotFound,
        "NOT_FOUND",
    );
    let anew = ok!(daemon.organizations.create_organization(found("Acme")));
    assert_ne!(anew.revision, founded.revision);
    let again = ok!(daemon.organizations.delete_organization(delete()));
    assert_ne!(again, deleted);
    daemon.stop().await;
}

#[tokio::test]
async fn founding_twice_under_one_request_id_founds_one_organization_of_a_generated_id() {
    let daemon = Daemon::start().await;
    let found = || v1::CreateOrganizationRequest {
        display_name: "Acme".to_owned(),
        catalog: "greenhouse".to_owned(),
        owner: "owner".to_owned(),
        request_id: "found".to_owned(),
        ..Default::default()
    };
    let first = ok!(daemon.organizations.create_organization(found()));
    let again = ok!(daemon.organizations.create_organization(found()));
    assert_eq!(again, first);
    let listed = ok!(daemon
        .organizations
        .list_organizations(v1::ListOrganizationsRequest::default()));
    assert_eq!(listed.organizations.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_id_that_is_too_long_or_not_plain_text_is_refused() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    for bad in ["a b", "é", "a\n", &"r".repeat(129)] {
        let refused = refused!(daemon.members.add_member(of_acme!(AddMemberRequest {
            user: "cid",
            request_id: bad
        })));
        assert_faults(&refused, &[("request_id", "MALFORMED")]);
    }
    ok!(daemon.members.add_member(of_acme!(AddMemberRequest {
        user: "cid",
        request_id: "r".repeat(128)
    })));
    daemon.stop().await;
}

#[tokio::test]
async fn a_refused_request_leaves_its_request_id_free() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    refused!(daemon.members.add_member(of_acme!(AddMemberRequest {
        user: "ann",
        request_id: "once"
    })));
    ok!(daemon.members.add_member(of_acme!(AddMemberRequest {
        user: "cid",
        request_id: "once",
        validate_only: true
    })));
    ok!(daemon.members.add_member(of_acme!(AddMemberRequest {
        user: "dan",
        request_id: "once"
    })));
    daemon.stop().await;
}

#[tokio::test]
async fn an_organization_is_founded_read_renamed_put_on_a_plan_and_deleted() {
    let daemon = Daemon::start().await;
    let founded = ok!(daemon
        .organizations
        .create_organization(v1::CreateOrganizationRequest {
            organization_id: "acme".to_owned(),
            display_name: "Acme".to_owned(),
            catalog: "greenhouse".to_owned(),
            owner: "olga".to_owned(),
            owner_display_name: "Olga".to_owned(),
            owner_email: "olga@x.example".to_owned(),
            ..Default::default()
        }));
    let organization = founded.organization.expect("it");
    let expected = v1::Organization {
        id: "acme".to_owned(),
        display_name: "Acme".to_owned(),
        catalog: "greenhouse".to_owned(),
        plan: "hobby".to_owned(),
        owner: "olga".to_owned(),
        member_count: 1,
        create_time: Some(prost_types::Timestamp {
            seconds: NOW.0 / 1_000,
            nanos: 0,
        }),
        etag: organization.etag.clone(),
    };
    assert_eq!(organization, expected);
    let owner = ok!(daemon
        .members
        .get_member(of_acme!(GetMemberRequest { user: "olga" })))
    .member
    .expect("it");
    assert!(owner.owner);
    assert_eq!(
        (owner.display_name.as_str(), owner.email.as_str()),
        ("Olga", "olga@x.example")
    );

    let renamed =
        ok!(daemon
            .organizations
            .update_organization(of_acme!(UpdateOrganizationRequest {
                display_name: "Acme 2",
                update_mask: mask(&["display_name"])
            })));
    assert_eq!(renamed.organization.expect("it").display_name, "Acme 2");
    let moved = ok!(daemon
        .organizations
        .set_plan(of_acme!(SetPlanRequest { plan: "commercial" })))
    .organization
    .expect("it");
    assert_eq!(
        (moved.plan.as_str(), moved.display_name.as_str()),
        ("commercial", "Acme 2")
    );
    assert_ne!(moved.etag, organization.etag);
    daemon.add("acme", "ann", &[]).await;
    let read = ok!(daemon
        .organizations
        .get_organization(of_acme!(GetOrganizationRequest {})))
    .organization
    .expect("it");
    assert_eq!(
        (read.member_count, &read.etag),
        (2, &moved.etag),
        "a member does not change the etag"
    );

    let deleted = ok!(daemon
        .organizations
        .delete_organization(of_acme!(DeleteOrganizationRequest {})));
    assert_eq!(deleted.revision, "0.5");
    assert_is(
        &refused!(
            daemon
                .organizations
                .get_organization(of_acme!(GetOrganizationRequest {}))
        ),
        Code::NotFound,
        "NOT_FOUND",
    );
    let check = question("acme", "olga", "BuySeeds", "Organization", "acme");
    assert_is(
        &refused!(daemon.authorization.is_authorized(check)),
        Code::NotFound,
        "NOT_FOUND",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_founding_names_everything_that_is_wrong_with_it() {
    let daemon = Daemon::start().await;
    let found = |catalog: &str, plan: &str| v1::CreateOrganizationRequest {
        organization_id: "a b".to_owned(),
        display_name: " ".to_owned(),
        catalog: catalog.to_owned(),
        plan: plan.to_owned(),
        owner_email: "nobody".to_owned(),
        ..Default::default()
    };
    let refused = refused!(
        daemon
            .organizations
            .create_organization(found("greenhouse", "gold"))
    );
    assert_faults(
        &refused,
        &[
            ("organization_id", "MALFORMED"),
            ("display_name", "MALFORMED"),
            ("owner", "MISSING"),
            ("owner_email", "MALFORMED"),
            ("plan", "UNKNOWN_REFERENCE"),
        ],
    );
    assert_faults(
        &refused!(daemon.organizations.create_organization(found("", ""))),
        &[("catalog", "MISSING")],
    );
    assert_faults(
        &refused!(daemon.organizations.create_organization(found("roses", ""))),
        &[("catalog", "UNKNOWN_REFERENCE")],
    );
    daemon.found("acme", "greenhouse").await;
    let again = v1::CreateOrganizationRequest {
        organization_id: "acme".to_owned(),
        display_name: "Acme".to_owned(),
        catalog: "oec-sh".to_owned(),
        owner: "eve".to_owned(),
        ..Default::default()
    };
    assert_is(
        &refused!(daemon.organizations.create_organization(again)),
        Code::AlreadyExists,
        "ALREADY_EXISTS",
    );
    assert_faults(
        &refused!(
            daemon
                .organizations
                .set_plan(of_acme!(SetPlanRequest { plan: "gold" }))
        ),
        &[("plan", "UNKNOWN_REFERENCE")],
    );
    assert_faults(
        &refused!(
            daemon
                .organizations
                .update_organization(of_acme!(UpdateOrganizationRequest {}))
        ),
        &[("display_name", "MISSING")],
    );
    daemon.stop().await;
}

#[tokio::test]
async fn ids_are_generated_where_none_is_given_and_each_is_another() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let mut ids = BTreeSet::new();
    for name in ["One", "Two"] {
        let organization = v1::CreateOrganizationRequest {
            display_name: name.to_owned(),
            catalog: "greenhouse".to_owned(),
            owner: "owner".to_owned(),
            ..Default::default()
        };
        ids.insert(
            ok!(daemon.organizations.create_organization(organization))
                .organization
                .expect("it")
                .id,
        );
        ids.insert(
            ok!(daemon
                .projects
                .create_project(of_acme!(CreateProjectRequest { display_name: name })))
            .project
            .expect("it")
            .id,
        );
        ids.insert(
            ok!(daemon
                .roles
                .create_role(of_acme!(CreateRoleRequest { display_name: name })))
            .role
            .expect("it")
            .id,
        );
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
    for kind in ["org-", "project-", "role-"] {
        assert_eq!(
            ids.iter().filter(|id| id.starts_with(kind)).count(),
            2,
            "{ids:?}"
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_member_is_added_read_edited_and_given_roles() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let added = ok!(daemon.members.add_member(of_acme!(AddMemberRequest {
        user: "cid",
        display_name: "Cid",
        email: "cid@x.example",
        roles: owned(&["gardener", "helper"])
    })));
    let read = ok!(daemon.members.get_member(of_acme!(GetMemberRequest {
        user: "cid",
        at_least: added.revision.clone()
    })));
    assert_eq!(
        (&read.member, &read.revision),
        (&added.member, &added.revision)
    );
    let member = added.member.expect("it");
    assert_eq!(member.roles, ["gardener", "helper"]);
    assert_eq!(
        (member.status(), member.owner),
        (v1::MemberStatus::Active, false)
    );

    // A mask leaves the rest alone; an empty one empties what is left out.
    let masked = ok!(daemon.members.update_member(of_acme!(UpdateMemberRequest {
        user: "cid",
        email: "c@x.example",
        update_mask: mask(&["email"])
    })))
    .member
    .expect("it");
    assert_eq!(
        (masked.display_name.as_str(), masked.email.as_str()),
        ("Cid", "c@x.example")
    );
    let whole = ok!(daemon.members.update_member(of_acme!(UpdateMemberRequest {
        user: "cid",
        display_name: "C."
    })))
    .member
    .expect("it");
    assert_eq!(
        (whole.display_name.as_str(), whole.email.as_str()),
        ("C.", "")
    );
    let refused = refused!(daemon.members.update_member(of_acme!(UpdateMemberRequest {
        user: "cid",
        update_mask: mask(&["email", "roles", "owner"])
    })));
    assert_faults(
        &refused,
        &[
            ("update_mask.paths[1]", "MALFORMED"),
            ("update_mask.paths[2]", "MALFORMED"),
        ],
    );

    let set = ok!(daemon
        .members
        .set_member_roles(of_acme!(SetMemberRolesRequest { user: "cid" })))
    .member
    .expect("it");
    assert_eq!(set.roles, Vec::<String>::new());
    daemon.stop().await;
}

#[tokio::test]
async fn a_member_is_refused_for_every_fault_of_the_request() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let roles = owned(&["gardener", "nobody", "visitor", "gardener"]);
    let refused = refused!(daemon.members.add_member(of_acme!(AddMemberRequest {
        user: "",
        display_name: "a\u{202e}b",
        email: "x",
        roles: roles.clone()
    })));
    let of_roles = [
        ("roles[1]", "UNKNOWN_REFERENCE"),
        ("roles[2]", "ROLE_NOT_HELD_THERE"),
        ("roles[3]", "REPEATED"),
    ];
    let mut all = vec![
        ("user", "MISSING"),
        ("display_name", "MALFORMED"),
        ("email", "MALFORMED"),
    ];
    all.extend(of_roles);
    assert_faults(&refused, &all);
    let refused = refused!(
        daemon
            .members
            .set_member_roles(of_acme!(SetMemberRolesRequest {
                user: "ann",
                roles: roles
            }))
    );
    assert_faults(&refused, &of_roles);
    let refused = refused!(
        daemon
            .members
            .set_member_roles(of_acme!(SetMemberRolesRequest {
                user: "ann",
                roles: vec!["gardener".to_owned(); 33]
            }))
    );
    assert_faults(&refused, &[("roles", "TOO_MANY")]);
    daemon.stop().await;
}

#[tokio::test]
async fn the_owner_is_protected_from_everything_but_a_new_name() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    ok!(daemon.members.update_member(of_acme!(UpdateMemberRequest {
        user: "owner",
        display_name: "Boss"
    })));
    let tries =
        [
            refused!(
                daemon
                    .members
                    .set_member_roles(of_acme!(SetMemberRolesRequest { user: "owner" }))
            ),
            refused!(
                daemon
                    .members
                    .suspend_member(of_acme!(SuspendMemberRequest { user: "owner" }))
            ),
            refused!(daemon.members.remove_member(of_acme!(RemoveMemberRequest {
                user: "owner",
                reassign_resources_to: "ann"
            }))),
            refused!(
                daemon
                    .projects
                    .set_project_roles(of_acme!(SetProjectRolesRequest {
                        project: "tunnel",
                        user: "owner"
                    }))
            ),
            refused!(
                daemon
                    .projects
                    .clear_project_roles(of_acme!(ClearProjectRolesRequest {
                        project: "tunnel",
                        user: "owner"
                    }))
            ),
            refused!(
                daemon
                    .projects
                    .set_project_override(of_acme!(SetProjectOverrideRequest {
                        project: "tunnel",
                        user: "owner"
                    }))
            ),
            refused!(daemon.projects.remove_project_override(of_acme!(
                RemoveProjectOverrideRequest {
                    project: "tunnel",
                    user: "owner"
                }
            ))),
            refused!(
                daemon
                    .projects
                    .set_default_roles(of_acme!(SetDefaultRolesRequest { user: "owner" }))
            ),
            refused!(
                daemon
                    .projects
                    .copy_default_roles(of_acme!(CopyDefaultRolesRequest { user: "owner" }))
            ),
        ];
    for status in tries {
        assert_is(&status, Code::FailedPrecondition, "OWNER_PROTECTED");
    }
    assert!(
        daemon
            .allows(question(
                "acme",
                "owner",
                "BuySeeds",
                "Organization",
                "acme"
            ))
            .await
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_suspended_member_keeps_everything_and_gets_nothing_new() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let check = in_project(question("acme", "ann", "ViewBed", "Bed", "b9"), "tunnel");
    assert!(daemon.allows(check.clone()).await);
    let before = ok!(daemon
        .members
        .get_member(of_acme!(GetMemberRequest { user: "ann" })))
    .member
    .expect("it");
    let suspended = ok!(daemon
        .members
        .suspend_member(of_acme!(SuspendMemberRequest { user: "ann" })))
    .member
    .expect("it");
    assert_eq!(suspended.status(), v1::MemberStatus::Suspended);
    assert!(!daemon.allows(check.clone()).await);
    assert_is(
        &refused!(
            daemon
                .members
                .suspend_member(of_acme!(SuspendMemberRequest { user: "ann" }))
        ),
        Code::FailedPrecondition,
        "MEMBER_STATUS",
    );
    let given = refused!(
        daemon
            .projects
            .set_project_roles(of_acme!(SetProjectRolesRequest {
                project: "tunnel",
                user: "ann"
            }))
    );
    assert_is(&given, Code::FailedPrecondition, "MEMBER_STATUS");

    let back = ok!(daemon
        .members
        .reinstate_member(of_acme!(ReinstateMemberRequest { user: "ann" })))
    .member
    .expect("it");

    assert_eq!(
        v1::Member {
            etag: String::new(),
            ..back
        },
        v1::Member {
            etag: String::new(),
            ..before
        }
    );
    assert!(daemon.allows(check).await);
    assert_is(
        &refused!(
            daemon
                .members
                .reinstate_member(of_acme!(ReinstateMemberRequest { user: "ann" }))
        ),
        Code::FailedPrecondition,
        "MEMBER_STATUS",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn removing_a_member_lists_the_resources_left_without_owner() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let removed = ok!(daemon
        .members
        .remove_member(of_acme!(RemoveMemberRequest { user: "ann" })));
    let listed: Vec<&str> = removed
        .orphaned_resources
        .iter()
        .map(|key| key.id.as_str())
        .collect();
    assert_eq!(listed, ["b1", "b2"]);
    assert_eq!((removed.orphaned_count, removed.reassigned_count), (2, 0));
    let orphans = ok!(daemon
        .resources
        .list_resources(of_acme!(ListResourcesRequest {
            without_owner: true
        })));
    assert_eq!(orphans.resources.len(), 2);
    assert_is(
        &refused!(
            daemon
                .members
                .get_member(of_acme!(GetMemberRequest { user: "ann" }))
        ),
        Code::NotFound,
        "NOT_FOUND",
    );

    // Coming back brings nothing back.
    daemon.add("acme", "ann", &[]).await;
    let back = ok!(daemon
        .members
        .get_member(of_acme!(GetMemberRequest { user: "ann" })))
    .member
    .expect("it");
    assert_eq!(
        (
            back.project_roles.len(),
            back.overrides.len(),
            back.default_roles.len()
        ),
        (0, 0, 0)
    );
    assert!(
        !daemon
            .allows(in_project(
                question("acme", "ann", "ViewBed", "Bed", "b1"),
                "tunnel"
            ))
            .await
    );
    daemon.stop().await;
}

#[tokio::test]
async fn removing_a_member_can_pass_the_resources_on() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let remove = |heir: &str| {
        of_acme!(RemoveMemberRequest {
            user: "ann",
            reassign_resources_to: heir
        })
    };
    assert_faults(
        &refused!(daemon.members.remove_member(remove("nobody"))),
        &[("reassign_resources_to", "UNKNOWN_REFERENCE")],
    );
    assert_faults(
        &refused!(daemon.members.remove_member(remove("ann"))),
        &[("reassign_resources_to", "MALFORMED")],
    );
    let removed = ok!(daemon.members.remove_member(remove("bea")));
    assert_eq!((removed.orphaned_count, removed.reassigned_count), (0, 2));
    assert!(removed.orphaned_resources.is_empty());
    let hers = ok!(daemon
        .resources
        .list_resources(of_acme!(ListResourcesRequest { owner: "bea" })));
    assert_eq!(hers.resources.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn of_many_resources_left_without_owner_the_first_thousand_are_listed() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    for number in 0..1_001 {
        ok!(daemon
            .resources
            .register_resource(of_acme!(RegisterResourceRequest {
                r#type: "Sensor",
                id: format!("s{number:04}"),
                owner: "bea"
            })));
    }
    let removed = ok!(daemon
        .members
        .remove_member(of_acme!(RemoveMemberRequest { user: "bea" })));
    assert_eq!(
        (removed.orphaned_resources.len(), removed.orphaned_count),
        (1_000, 1_001)
    );
    assert_eq!(removed.orphaned_resources[999].id, "s0999");
    daemon.stop().await;
}

#[tokio::test]
async fn members_are_filtered_by_role_status_and_project() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let list = async |role: &str, status: v1::MemberStatus, project: &str| {
        let request = of_acme!(ListMembersRequest {
            role: role,
            status: status,
            project: project
        });
        let listed = ok!(daemon.members.list_members(request)).members;
        listed
            .into_iter()
            .map(|member| member.user)
            .collect::<Vec<_>>()
    };
    let any = v1::MemberStatus::Unspecified;
    assert_eq!(list("", any, "").await, ["ann", "bea", "owner", "sue"]);
    assert_eq!(list("gardener", any, "").await, ["ann", "sue"]);
    assert_eq!(
        list("gardener", v1::MemberStatus::Active, "").await,
        ["ann"]
    );
    assert_eq!(list("", v1::MemberStatus::Suspended, "").await, ["sue"]);
    assert_eq!(list("", any, "tunnel").await, ["ann"]);
    assert_eq!(list("", any, "empty").await, ["ann"], "by an override");
    assert!(list("", any, "shed").await.is_empty());
    assert_eq!(
        list("visitor", any, "tunnel").await,
        ["ann"],
        "held on the project"
    );
    assert!(
        list("gardener", any, "tunnel").await.is_empty(),
        "held on the organization only"
    );
    let refused = refused!(
        daemon
            .members
            .list_members(of_acme!(ListMembersRequest { status: 7 }))
    );
    assert_faults(&refused, &[("status", "MALFORMED")]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_is_created_read_edited_and_deleted() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let asked = v1::Permissions {
        every: Vec::new(),
        actions: owned(&["WaterBed"]),
        own_actions: owned(&["ClearBed"]),
        conditional: vec![v1::ConditionalActions {
            condition: "tended".to_owned(),
            actions: owned(&["HarvestBed"]),
        }],
    };
    let created = ok!(daemon.roles.create_role(of_acme!(CreateRoleRequest {
        role_id: "digger",
        display_name: "Digger",
        description: "Digs.\nDeep.",
        permissions: Some(asked.clone())
    })));
    let role = created.role.expect("it");
    assert_eq!(role.permissions.as_ref(), Some(&asked));
    assert_eq!(
        (
            role.built_in,
            role.edited,
            role.on_organization,
            role.on_project
        ),
        (false, false, true, true)
    );
    assert_eq!(
        role.effective_actions,
        [
            "ClearBed",
            "HarvestBed",
            "ViewBed",
            "ViewProject",
            "WaterBed"
        ]
    );
    let read = ok!(daemon
        .roles
        .get_role(of_acme!(GetRoleRequest { role: "digger" })));
    assert_eq!(read.role.as_ref(), Some(&role));

    let masked = ok!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
        role: "digger",
        description: "",
        permissions: permissions(&["ViewBed"]),
        update_mask: mask(&["permissions"])
    })))
    .role
    .expect("it");
    assert_eq!(
        (masked.display_name.as_str(), masked.description.as_str()),
        ("Digger", "Digs.\nDeep.")
    );
    assert_eq!(masked.permissions, permissions(&["ViewBed"]));
    let whole = ok!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
        role: "digger",
        display_name: "Spade"
    })))
    .role
    .expect("it");
    assert_eq!(
        (whole.description.as_str(), whole.permissions),
        ("", permissions(&[]))
    );
    let refused = refused!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
        role: "digger",
        update_mask: mask(&["built_in"])
    })));
    assert_faults(&refused, &[("update_mask.paths[0]", "MALFORMED")]);

    ok!(daemon
        .roles
        .delete_role(of_acme!(DeleteRoleRequest { role: "digger" })));
    for status in [
        refused!(
            daemon
                .roles
                .get_role(of_acme!(GetRoleRequest { role: "digger" }))
        ),
        refused!(
            daemon
                .roles
                .update_role(of_acme!(UpdateRoleRequest { role: "digger" }))
        ),
        refused!(
            daemon
                .roles
                .delete_role(of_acme!(DeleteRoleRequest { role: "digger" }))
        ),
        refused!(
            daemon
                .roles
                .reset_role(of_acme!(ResetRoleRequest { role: "digger" }))
        ),
    ] {
        assert_is(&status, Code::NotFound, "NOT_FOUND");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_is_refused_for_every_fault_of_its_permissions() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let asked = v1::Permissions {
        every: Vec::new(),
        actions: owned(&["WaterBed", "Fly"]),
        own_actions: owned(&["Swim"]),
        conditional: vec![v1::ConditionalActions {
            condition: "raining".to_owned(),
            actions: owned(&["Dance"]),
        }],
    };
    let refused = refused!(daemon.roles.create_role(of_acme!(CreateRoleRequest {
        role_id: "a b",
        display_name: "",
        description: " x",
        permissions: Some(asked)
    })));
    assert_faults(
        &refused,
        &[
            ("role_id", "MALFORMED"),
            ("display_name", "MISSING"),
            ("description", "MALFORMED"),
            ("permissions.conditional[0].condition", "UNKNOWN_REFERENCE"),
            ("permissions.actions[1]", "UNKNOWN_ACTION"),
            ("permissions.own_actions[0]", "UNKNOWN_ACTION"),
            ("permissions.conditional[0].actions[0]", "UNKNOWN_ACTION"),
        ],
    );
    let levels = v1::Permissions {
        every: vec![1, 0, 9],
        ..Default::default()
    };
    let refused = refused!(daemon.roles.create_role(of_acme!(CreateRoleRequest {
        role_id: "r",
        display_name: "R",
        permissions: Some(levels)
    })));
    assert_faults(
        &refused,
        &[
            ("permissions.every[1]", "MALFORMED"),
            ("permissions.every[2]", "MALFORMED"),
        ],
    );
    for taken in ["helper", "gardener"] {
        let refused = refused!(daemon.roles.create_role(of_acme!(CreateRoleRequest {
            role_id: taken,
            display_name: "R"
        })));
        assert_is(&refused, Code::AlreadyExists, "ALREADY_EXISTS");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_may_not_be_named_like_the_owner_a_built_in_one_or_another() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let refused = refused!(daemon.roles.create_role(of_acme!(CreateRoleRequest {
        role_id: "owner",
        display_name: "R"
    })));
    assert_faults(&refused, &[("role_id", "RESERVED_NAME")]);
    for name in [
        "Owner",
        "OWNER",
        "O w n e r",
        "0wner",
        "Own\u{435}r",
        "\u{43e}wner",
        "Administrator",
        "Gardener",
        "g\u{430}rdener",
        "Head-Gardener",
        "HELPER",
    ] {
        let refused = refused!(daemon.roles.create_role(of_acme!(CreateRoleRequest {
            role_id: "r",
            display_name: name
        })));
        assert_faults(&refused, &[("display_name", "RESERVED_NAME")]);
        if name != "HELPER" {
            let refused = refused!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
                role: "helper",
                display_name: name
            })));
            assert_faults(&refused, &[("display_name", "RESERVED_NAME")]);
        }
    }
    ok!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
        role: "helper",
        display_name: "HELPER"
    })));
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_in_use_is_not_deleted_and_every_kind_of_holder_is_listed() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon.add("acme", "m1", &["helper"]).await;
    daemon.add("acme", "m2", &["gardener"]).await;
    daemon
        .project_roles("acme", "tunnel", "m2", &["helper"])
        .await;
    daemon.add("acme", "m3", &["gardener"]).await;
    ok!(daemon
        .projects
        .set_project_override(of_acme!(SetProjectOverrideRequest {
            project: "tunnel",
            user: "m3",
            roles: owned(&["helper"])
        })));
    daemon.add("acme", "m4", &[]).await;
    daemon.add("acme", "m5", &[]).await;
    ok!(daemon
        .projects
        .set_default_roles(of_acme!(SetDefaultRolesRequest {
            user: "m4",
            roles: owned(&["helper"])
        })));
    ok!(daemon
        .members
        .suspend_member(of_acme!(SuspendMemberRequest { user: "m1" })));

    // In the project created meanwhile the default of then still counts.
    for (roles, project) in [(&["helper"][..], Some("dome")), (&[], None)] {
        ok!(daemon
            .projects
            .set_default_roles(of_acme!(SetDefaultRolesRequest {
                user: "m5",
                roles: owned(roles)
            })));
        if let Some(project) = project {
            daemon.project("acme", project).await;
        }
    }

    let refused = refused!(
        daemon
            .roles
            .delete_role(of_acme!(DeleteRoleRequest { role: "helper" }))
    );

    assert_is(&refused, Code::FailedPrecondition, "ROLE_IN_USE");
    for holder in [
        "member `m1` (on the organization)",
        "member `m2` (on project `tunnel`)",
        "member `m3` (in the override on project `tunnel`)",
        "member `m4` (as a default role)",
        "member `m5` (as a default role)",
    ] {
        assert!(
            refused.message().contains(holder),
            "{holder}: {}",
            refused.message()
        );
    }
    for user in ["m1", "m2", "m3", "m4", "m5"] {
        refused!(
            daemon
                .roles
                .delete_role(of_acme!(DeleteRoleRequest { role: "helper" }))
        );
        ok!(daemon
            .members
            .remove_member(of_acme!(RemoveMemberRequest { user: user })));
    }
    ok!(daemon
        .roles
        .delete_role(of_acme!(DeleteRoleRequest { role: "helper" })));
    daemon.stop().await;
}

#[tokio::test]
async fn an_edit_of_a_role_reaches_all_who_hold_it_at_once() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon.add("acme", "cid", &["helper"]).await;
    let check = in_project(
        question("acme", "cid", "ReadSensor", "Sensor", "s"),
        "tunnel",
    );
    let mut check = check;
    let address = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue("10.0.0.1".to_owned())),
    };
    check.resource.get_or_insert_default().attributes = Some(prost_types::Struct {
        fields: [("address".to_owned(), address)].into(),
    });
    assert!(!daemon.allows(check.clone()).await);
    ok!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
        role: "helper",
        permissions: permissions(&["ReadSensor"]),
        update_mask: mask(&["permissions"])
    })));
    assert!(daemon.allows(check.clone()).await);
    ok!(daemon.roles.update_role(of_acme!(UpdateRoleRequest {
        role: "helper",
        update_mask: mask(&["permissions"])
    })));
    assert!(!daemon.allows(check).await);
    daemon.stop().await;
}

#[tokio::test]
async fn a_built_in_role_is_edited_and_reset_where_the_product_lets_it_be() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let get = || of_acme!(GetRoleRequest { role: "visitor" });
    let edited = ok!(daemon.roles.get_role(get())).role.expect("it");
    assert_eq!(
        (edited.built_in, edited.edited, edited.display_name.as_str()),
        (true, true, "Guest")
    );
    assert_is(
        &refused!(
            daemon
                .roles
                .delete_role(of_acme!(DeleteRoleRequest { role: "visitor" }))
        ),
        Code::FailedPrecondition,
        "BUILT_IN_ROLE",
    );
    let reset = ok!(daemon
        .roles
        .reset_role(of_acme!(ResetRoleRequest { role: "visitor" })))
    .role;
    let plain = ok!(daemon.roles.get_role(get())).role;
    assert_eq!(reset, plain);
    let plain = plain.expect("it");
    assert_eq!(
        (plain.edited, plain.display_name.as_str()),
        (false, "Visitor")
    );
    let before = picture(&daemon, "acme").await;
    ok!(daemon
        .roles
        .reset_role(of_acme!(ResetRoleRequest { role: "visitor" })));
    assert_eq!(
        picture(&daemon, "acme").await,
        before,
        "there was nothing to reset"
    );
    daemon.found("hyper", "hypervisor-io").await;
    let elsewhere = |role: &str| v1::ResetRoleRequest {
        organization: "hyper".to_owned(),
        role: role.to_owned(),
        ..Default::default()
    };
    assert_is(
        &refused!(daemon.roles.reset_role(elsewhere("admin"))),
        Code::FailedPrecondition,
        "BUILT_IN_ROLE",
    );
    assert_is(
        &refused!(daemon.roles.reset_role(elsewhere("nothing"))),
        Code::NotFound,
        "NOT_FOUND",
    );
    let edit = v1::UpdateRoleRequest {
        organization: "hyper".to_owned(),
        role: "admin".to_owned(),
        ..Default::default()
    };
    assert_is(
        &refused!(daemon.roles.update_role(edit)),
        Code::FailedPrecondition,
        "BUILT_IN_ROLE",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_effective_actions_of_every_role_are_ordered_by_name() {
    let daemon = Daemon::start().await;
    for (index, catalog) in [
        "greenhouse",
        "cloud-66",
        "hypervisor-io",
        "oec-sh",
        "oncloudwine",
        "qoc-cloud",
    ]
    .iter()
    .enumerate()
    {
        let organization = format!("o{index}");
        daemon.found(&organization, catalog).await;
        let request = v1::ListRolesRequest {
            organization,
            ..Default::default()
        };
        for role in ok!(daemon.roles.list_roles(request)).roles {
            assert_ne!(role.id, "owner");
            assert!(
                role.effective_actions.is_sorted(),
                "{catalog} {}: {:?}",
                role.id,
                role.effective_actions
            );
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_project_is_created_renamed_archived_opened_and_deleted() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let created = ok!(daemon
        .projects
        .create_project(of_acme!(CreateProjectRequest {
            project_id: "dome",
            display_name: "Dome"
        })));
    let read = ok!(daemon
        .projects
        .get_project(of_acme!(GetProjectRequest { project: "dome" })));
    assert_eq!(read.project, created.project);
    assert_is(
        &refused!(
            daemon
                .projects
                .create_project(of_acme!(CreateProjectRequest {
                    project_id: "dome",
                    display_name: "D"
                }))
        ),
        Code::AlreadyExists,
        "ALREADY_EXISTS",
    );
    let refused = refused!(
        daemon
            .projects
            .create_project(of_acme!(CreateProjectRequest {
                project_id: "d d",
                display_name: "\u{7}"
            }))
    );
    assert_faults(
        &refused,
        &[("project_id", "MALFORMED"), ("display_name", "MALFORMED")],
    );
    let refused = refused!(
        daemon
            .projects
            .update_project(of_acme!(UpdateProjectRequest {
                project: "dome",
                update_mask: mask(&["archived"])
            }))
    );
    assert_faults(&refused, &[("update_mask.paths[0]", "MALFORMED")]);
    let renamed = ok!(daemon
        .projects
        .update_project(of_acme!(UpdateProjectRequest {
            project: "dome",
            display_name: "Big dome"
        })));
    assert_eq!(renamed.project.expect("it").display_name, "Big dome");

    let archived = ok!(daemon
        .projects
        .archive_project(of_acme!(ArchiveProjectRequest { project: "dome" })))
    .project
    .expect("it");
    assert!(archived.archived);
    let again = ok!(daemon
        .projects
        .archive_project(of_acme!(ArchiveProjectRequest { project: "dome" })))
    .project
    .expect("it");
    assert_eq!(again, archived, "changes nothing if it is archived already");
    let listed = async |show_archived: bool| {
        let listed = ok!(daemon.projects.list_projects(of_acme!(ListProjectsRequest {
            show_archived: show_archived
        })));
        listed
            .projects
            .into_iter()
            .map(|project| project.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(false).await, ["empty", "tunnel"]);
    assert_eq!(listed(true).await, ["dome", "empty", "shed", "tunnel"]);
    let opened = ok!(daemon
        .projects
        .unarchive_project(of_acme!(UnarchiveProjectRequest { project: "dome" })))
    .project
    .expect("it");
    let again = ok!(daemon
        .projects
        .unarchive_project(of_acme!(UnarchiveProjectRequest { project: "dome" })))
    .project
    .expect("it");
    assert_eq!((again.archived, &again), (false, &opened));

    ok!(daemon
        .projects
        .delete_project(of_acme!(DeleteProjectRequest { project: "dome" })));
    assert_is(
        &refused!(
            daemon
                .projects
                .get_project(of_acme!(GetProjectRequest { project: "dome" }))
        ),
        Code::NotFound,
        "NOT_FOUND",
    );
    assert_is(
        &refused!(
            daemon
                .projects
                .delete_project(of_acme!(DeleteProjectRequest { project: "tunnel" }))
        ),
        Code::FailedPrecondition,
        "PROJECT_NOT_EMPTY",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn an_archived_project_takes_nothing_new_and_checks_go_on() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let check = in_project(question("acme", "ann", "ViewBed", "Bed", "b9"), "tunnel");
    ok!(daemon
        .projects
        .archive_project(of_acme!(ArchiveProjectRequest { project: "tunnel" })));
    for status in [
        refused!(
            daemon
                .projects
                .set_project_roles(of_acme!(SetProjectRolesRequest {
                    project: "tunnel",
                    user: "ann"
                }))
        ),
        refused!(
            daemon
                .projects
                .set_project_override(of_acme!(SetProjectOverrideRequest {
                    project: "tunnel",
                    user: "ann"
                }))
        ),
        refused!(
            daemon
                .resources
                .register_resource(of_acme!(RegisterResourceRequest {
                    r#type: "Bed",
                    id: "b7",
                    project: "tunnel"
                }))
        ),
        refused!(
            daemon
                .resources
                .move_resource(of_acme!(MoveResourceRequest {
                    r#type: "Bed",
                    id: "b2",
                    project: "tunnel"
                }))
        ),
    ] {
        assert_is(&status, Code::FailedPrecondition, "PROJECT_ARCHIVED");
    }
    assert!(daemon.allows(check).await);
    ok!(daemon
        .projects
        .clear_project_roles(of_acme!(ClearProjectRolesRequest {
            project: "tunnel",
            user: "ann"
        })));
    daemon.stop().await;
}

#[tokio::test]
async fn deleting_a_project_takes_the_roles_and_overrides_in_it_along() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon
        .project_roles("acme", "empty", "bea", &["gardener"])
        .await;
    ok!(daemon
        .projects
        .delete_project(of_acme!(DeleteProjectRequest { project: "empty" })));
    daemon.project("acme", "empty").await;
    for user in ["ann", "bea"] {
        let member = ok!(daemon
            .members
            .get_member(of_acme!(GetMemberRequest { user: user })))
        .member
        .expect("it");
        assert!(member.overrides.is_empty(), "{member:?}");
        assert!(
            member
                .project_roles
                .iter()
                .all(|held| held.project != "empty"),
            "{member:?}"
        );
    }
    let listed = ok!(daemon
        .projects
        .list_project_members(of_acme!(ListProjectMembersRequest { project: "empty" })))
    .members;
    let users: Vec<&str> = listed.iter().map(|member| member.user.as_str()).collect();
    assert_eq!(
        users,
        ["ann"],
        "whose default role counts in every new project"
    );
    assert!(
        !daemon
            .allows(in_project(
                question("acme", "bea", "ViewBed", "Bed", "b"),
                "empty"
            ))
            .await
    );
    daemon.stop().await;
}

#[tokio::test]
async fn roles_on_projects_follow_explicit_then_default_then_override() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon.add("acme", "cid", &[]).await;
    let held = async |project: &str| {
        let listed = ok!(daemon
            .projects
            .list_project_members(of_acme!(ListProjectMembersRequest { project: project })))
        .members;
        listed.into_iter().find(|member| member.user == "cid")
    };
    ok!(daemon
        .projects
        .set_default_roles(of_acme!(SetDefaultRolesRequest {
            user: "cid",
            roles: owned(&["gardener"])
        })));
    assert_eq!(
        held("tunnel").await,
        None,
        "existing projects keep what they have"
    );
    daemon.project("acme", "dome").await;
    assert_eq!(held("dome").await.expect("a default").roles, ["gardener"]);
    ok!(daemon
        .projects
        .set_default_roles(of_acme!(SetDefaultRolesRequest {
            user: "cid",
            roles: owned(&["visitor"])
        })));
    assert_eq!(held("dome").await.expect("a default").roles, ["gardener"]);
    daemon.project_roles("acme", "dome", "cid", &[]).await;
    assert_eq!(held("dome").await, None, "explicitly none");
    ok!(daemon
        .projects
        .clear_project_roles(of_acme!(ClearProjectRolesRequest {
            project: "dome",
            user: "cid"
        })));
    assert_eq!(
        held("dome").await.expect("the default again").roles,
        ["gardener"]
    );
    let before = ok!(daemon
        .members
        .get_member(of_acme!(GetMemberRequest { user: "cid" })))
    .member;
    let after = ok!(daemon
        .projects
        .clear_project_roles(of_acme!(ClearProjectRolesRequest {
            project: "dome",
            user: "cid"
        })))
    .member;
    assert_eq!(after, before, "changes nothing if there are none");

    ok!(daemon
        .projects
        .copy_default_roles(of_acme!(CopyDefaultRolesRequest { user: "cid" })));
    for project in ["dome", "empty", "shed", "tunnel"] {
        assert_eq!(held(project).await.expect(project).roles, ["visitor"]);
    }
    ok!(daemon
        .projects
        .set_project_override(of_acme!(SetProjectOverrideRequest {
            project: "dome",
            user: "cid",
            permissions: permissions(&["WaterBed"])
        })));
    let replaced = held("dome")
        .await
        .expect("it")
        .r#override
        .expect("an override");
    assert_eq!(replaced.permissions, permissions(&["WaterBed"]));
    assert!(
        daemon
            .allows(in_project(
                question("acme", "cid", "WaterBed", "Bed", "b"),
                "dome"
            ))
            .await
    );
    ok!(daemon
        .projects
        .remove_project_override(of_acme!(RemoveProjectOverrideRequest {
            project: "dome",
            user: "cid"
        })));
    assert!(
        !daemon
            .allows(in_project(
                question("acme", "cid", "WaterBed", "Bed", "b"),
                "dome"
            ))
            .await
    );
    let refused = refused!(daemon.projects.remove_project_override(of_acme!(
        RemoveProjectOverrideRequest {
            project: "dome",
            user: "cid"
        }
    )));
    assert_is(&refused, Code::NotFound, "NOT_FOUND");
    daemon.stop().await;
}

#[tokio::test]
async fn an_override_is_refused_for_every_fault_and_where_there_is_nothing_to_override() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let asked = v1::Permissions {
        every: vec![1],
        actions: owned(&["BuySeeds", "Fly"]),
        ..Default::default()
    };
    let refused = refused!(daemon.projects.set_project_override(of_acme!(
        SetProjectOverrideRequest {
            project: "tunnel",
            user: "ann",
            roles: owned(&["nobody"]),
            permissions: Some(asked)
        }
    )));
    assert_faults(
        &refused,
        &[
            ("roles[0]", "UNKNOWN_REFERENCE"),
            ("permissions.every", "ACCOUNT_LEVEL_ACTION"),
            ("permissions.actions[0]", "ACCOUNT_LEVEL_ACTION"),
            ("permissions.actions[1]", "UNKNOWN_ACTION"),
        ],
    );
    assert_is(
        &refused!(
            daemon
                .projects
                .set_project_override(of_acme!(SetProjectOverrideRequest {
                    project: "tunnel",
                    user: "bea"
                }))
        ),
        Code::FailedPrecondition,
        "NOTHING_TO_OVERRIDE",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_product_does_not_offer_is_refused_before_anything_else() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "oncloudwine").await;
    daemon.add("acme", "ann", &["member"]).await;
    for status in
        [
            refused!(
                daemon
                    .projects
                    .create_project(of_acme!(CreateProjectRequest { display_name: "P" }))
            ),
            refused!(
                daemon
                    .roles
                    .create_role(of_acme!(CreateRoleRequest { display_name: "R" }))
            ),
            refused!(
                daemon
                    .projects
                    .set_project_roles(of_acme!(SetProjectRolesRequest {
                        project: "p",
                        user: "ann"
                    }))
            ),
            refused!(
                daemon
                    .projects
                    .clear_project_roles(of_acme!(ClearProjectRolesRequest {
                        project: "p",
                        user: "ann"
                    }))
            ),
            refused!(
                daemon
                    .projects
                    .set_project_override(of_acme!(SetProjectOverrideRequest {
                        project: "p",
                        user: "ann"
                    }))
            ),
            refused!(daemon.projects.remove_project_override(of_acme!(
                RemoveProjectOverrideRequest {
                    project: "p",
                    user: "ann"
                }
            ))),
            refused!(
                daemon
                    .projects
                    .set_default_roles(of_acme!(SetDefaultRolesRequest { user: "ann" }))
            ),
            refused!(
                daemon
                    .projects
                    .copy_default_roles(of_acme!(CopyDefaultRolesRequest { user: "ann" }))
            ),
        ]
    {
        assert_is(&status, Code::FailedPrecondition, "NOT_OFFERED");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_resource_is_registered_transferred_moved_and_forgotten() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let registered = ok!(daemon
        .resources
        .register_resource(of_acme!(RegisterResourceRequest {
            r#type: "Bed",
            id: "b9",
            project: "tunnel",
            owner: "ann"
        })))
    .resource
    .expect("it");
    assert_eq!(
        (registered.project.as_str(), registered.owner.as_str()),
        ("tunnel", "ann")
    );
    let get = || {
        of_acme!(GetResourceRequest {
            r#type: "Bed",
            id: "b9"
        })
    };
    assert_eq!(
        ok!(daemon.resources.get_resource(get())).resource,
        Some(registered)
    );
    // What is registered wins over what a check says.
    let check = owned_by(
        in_project(question("acme", "ann", "ClearBed", "Bed", "b9"), "empty"),
        "bea",
    );
    assert!(daemon.allows(check.clone()).await);
    let given = ok!(daemon
        .resources
        .transfer_resource(of_acme!(TransferResourceRequest {
            r#type: "Bed",
            id: "b9"
        })))
    .resource
    .expect("it");
    assert_eq!(given.owner, "");
    assert!(!daemon.allows(check).await);
    let moved = ok!(daemon
        .resources
        .move_resource(of_acme!(MoveResourceRequest {
            r#type: "Bed",
            id: "b9",
            project: "empty"
        })))
    .resource
    .expect("it");
    assert_eq!(moved.project, "empty");
    ok!(daemon
        .resources
        .unregister_resource(of_acme!(UnregisterResourceRequest {
            r#type: "Bed",
            id: "b9"
        })));
    for status in [
        refused!(daemon.resources.get_resource(get())),
        refused!(
            daemon
                .resources
                .transfer_resource(of_acme!(TransferResourceRequest {
                    r#type: "Bed",
                    id: "b9"
                }))
        ),
        refused!(
            daemon
                .resources
                .move_resource(of_acme!(MoveResourceRequest {
                    r#type: "Bed",
                    id: "b9"
                }))
        ),
        refused!(
            daemon
                .resources
                .unregister_resource(of_acme!(UnregisterResourceRequest {
                    r#type: "Bed",
                    id: "b9"
                }))
        ),
    ] {
        assert_is(&status, Code::NotFound, "NOT_FOUND");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_resource_is_refused_for_every_fault_of_the_request() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let refused = refused!(
        daemon
            .resources
            .register_resource(of_acme!(RegisterResourceRequest {
                r#type: "Rose",
                id: "",
                project: "nowhere",
                owner: "nobody"
            }))
    );
    assert_faults(
        &refused,
        &[
            ("id", "MISSING"),
            ("type", "UNKNOWN_RESOURCE_TYPE"),
            ("owner", "UNKNOWN_REFERENCE"),
            ("project", "UNKNOWN_REFERENCE"),
        ],
    );
    for kept in ["Organization", "Project", "Member"] {
        let refused = refused!(daemon.resources.register_resource(of_acme!(
            RegisterResourceRequest {
                r#type: kept,
                id: "x"
            }
        )));
        assert_faults(&refused, &[("type", "RESERVED_NAME")]);
    }
    assert_is(
        &refused!(
            daemon
                .resources
                .register_resource(of_acme!(RegisterResourceRequest {
                    r#type: "Bed",
                    id: "b1"
                }))
        ),
        Code::AlreadyExists,
        "ALREADY_EXISTS",
    );
    let refused = refused!(
        daemon
            .resources
            .transfer_resource(of_acme!(TransferResourceRequest {
                r#type: "Bed",
                id: "b1",
                owner: "nobody"
            }))
    );
    assert_faults(&refused, &[("owner", "UNKNOWN_REFERENCE")]);
    let refused = refused!(
        daemon
            .resources
            .move_resource(of_acme!(MoveResourceRequest {
                r#type: "Bed",
                id: "b1",
                project: "nowhere"
            }))
    );
    assert_faults(&refused, &[("project", "UNKNOWN_REFERENCE")]);
    let refused = refused!(
        daemon
            .resources
            .reassign_resources(of_acme!(ReassignResourcesRequest { to_owner: "nobody" }))
    );
    assert_faults(
        &refused,
        &[("from_owner", "MISSING"), ("to_owner", "UNKNOWN_REFERENCE")],
    );
    daemon.stop().await;
}

#[tokio::test]
async fn resources_are_filtered_and_reassigned() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    ok!(daemon
        .resources
        .register_resource(of_acme!(RegisterResourceRequest {
            r#type: "Sensor",
            id: "a",
            owner: "bea"
        })));
    ok!(daemon
        .resources
        .register_resource(of_acme!(RegisterResourceRequest {
            r#type: "Bed",
            id: "b3",
            project: "tunnel"
        })));
    let list = async |request: v1::ListResourcesRequest| {
        let listed = ok!(daemon.resources.list_resources(request)).resources;
        listed
            .into_iter()
            .map(|found| format!("{}/{}", found.r#type, found.id))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        list(of_acme!(ListResourcesRequest {})).await,
        "Bed/b1 Bed/b2 Bed/b3 Sensor/a"
    );
    assert_eq!(
        list(of_acme!(ListResourcesRequest { r#type: "Sensor" })).await,
        "Sensor/a"
    );
    assert_eq!(
        list(of_acme!(ListResourcesRequest { project: "tunnel" })).await,
        "Bed/b1 Bed/b3"
    );
    assert_eq!(
        list(of_acme!(ListResourcesRequest {
            project: "tunnel",
            owner: "ann"
        }))
        .await,
        "Bed/b1"
    );
    assert_eq!(
        list(of_acme!(ListResourcesRequest {
            without_owner: true
        }))
        .await,
        "Bed/b3"
    );
    let refused = refused!(
        daemon
            .resources
            .list_resources(of_acme!(ListResourcesRequest {
                owner: "ann",
                without_owner: true
            }))
    );
    assert_is(&refused, Code::InvalidArgument, "INVALID");

    let reassigned = ok!(daemon
        .resources
        .reassign_resources(of_acme!(ReassignResourcesRequest {
            from_owner: "ann",
            to_owner: "bea"
        })));
    assert_eq!(reassigned.count, 2);
    assert_eq!(
        list(of_acme!(ListResourcesRequest { owner: "bea" })).await,
        "Bed/b1 Bed/b2 Sensor/a"
    );
    let none = ok!(daemon
        .resources
        .reassign_resources(of_acme!(ReassignResourcesRequest { from_owner: "ann" })));
    assert_eq!(none.count, 0);
    ok!(daemon
        .resources
        .reassign_resources(of_acme!(ReassignResourcesRequest { from_owner: "bea" })));
    assert_eq!(
        list(of_acme!(ListResourcesRequest {
            without_owner: true
        }))
        .await,
        "Bed/b1 Bed/b2 Bed/b3 Sensor/a"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn catalogs_are_listed_and_read_with_their_schema() {
    let daemon = Daemon::start().await;
    let listed = ok!(daemon
        .policies
        .list_catalogs(v1::ListCatalogsRequest::default()))
    .catalogs;
    let ids: Vec<&str> = listed.iter().map(|catalog| catalog.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "cloud-66",
            "greenhouse",
            "hypervisor-io",
            "oec-sh",
            "oncloudwine",
            "qoc-cloud"
        ]
    );
    for catalog in listed {
        let request = v1::GetCatalogRequest {
            catalog: catalog.id.clone(),
        };
        let read = ok!(daemon.policies.get_catalog(request));
        assert!(read.schema.contains("entity User"), "{}", read.schema);
        assert_eq!(read.catalog, Some(catalog));
    }
    for unknown in ["", "roses"] {
        let request = v1::GetCatalogRequest {
            catalog: unknown.to_owned(),
        };
        assert_is(
            &refused!(daemon.policies.get_catalog(request)),
            Code::NotFound,
            "NOT_FOUND",
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_export_holds_the_policies_as_listed_and_the_request_if_one_is_given() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let listed = ok!(daemon.policies.list_policies(of_acme!(ListPoliciesRequest {
        page_size: 1_000u32
    })));
    let export = async |request: Option<v1::IsAuthorizedRequest>| {
        let mut chunks = daemon
            .policies()
            .export_policies(of_acme!(ExportPoliciesRequest { request: request }))
            .await?
            .into_inner();
        let mut files: Vec<(String, String)> = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            assert_eq!(chunk.revision, listed.revision);
            assert!(chunk.text.len() <= 1 << 20);
            match files.last_mut().filter(|(file, _)| *file == chunk.file) {
                Some((_, text)) => text.push_str(&chunk.text),
                None => files.push((chunk.file, chunk.text)),
            }
        }
        Ok::<_, Status>(files)
    };
    let files = export(None).await.expect("an export");
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["schema.cedarschema", "policies.cedar", "entities.json"]
    );
    for policy in &listed.policies {
        assert!(files[1].1.contains(&policy.cedar), "{}", policy.id);
    }
    let check = question("acme", "ann", "WaterBed", "Bed", "b1");
    for organization in ["acme", ""] {
        let request = v1::IsAuthorizedRequest {
            organization: organization.to_owned(),
            ..check.clone()
        };
        let files = export(Some(request)).await.expect("an export");
        assert_eq!(
            files.last().map(|(name, _)| name.as_str()),
            Some("request.json")
        );
    }
    let other = v1::IsAuthorizedRequest {
        organization: "other".to_owned(),
        ..check.clone()
    };
    assert_is(
        &export(Some(other)).await.expect_err("another organization"),
        Code::InvalidArgument,
        "INVALID",
    );
    let unknown = v1::IsAuthorizedRequest {
        action: "Fly".to_owned(),
        ..check
    };
    assert_is(
        &export(Some(unknown)).await.expect_err("no action"),
        Code::InvalidArgument,
        "INVALID",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_by_any_rpc() {
    let daemon = Daemon::start().await;
    for case in changes("nowhere") {
        if !case.method.ends_with("CreateOrganization") {
            assert_is(
                &case.send(&daemon).await.expect_err(case.method),
                Code::NotFound,
                "NOT_FOUND",
            );
        }
    }
    for method in methods() {
        let input = method.input();
        let is_a_read = input.get_field_by_name("organization").is_some()
            && input.get_field_by_name("at_least").is_some();
        // Whoever presents no token is told nothing else.
        let by_token = method.name() == "IsAuthorizedWithToken";
        if !is_a_read || method.is_client_streaming() || by_token {
            continue;
        }
        for (organization, code, name) in [
            ("nowhere", Code::NotFound, "NOT_FOUND"),
            ("", Code::InvalidArgument, "INVALID"),
        ] {
            let mut message = DynamicMessage::new(input.clone());
            message.set_field_by_name("organization", Value::String(organization.to_owned()));
            let refused = call(
                daemon.bare(),
                &path(&method),
                message.encode_to_vec(),
                &[&bearer()],
            )
            .await;
            assert_is(&refused.expect_err(method.full_name()), code, name);
        }
    }
    daemon.stop().await;
}

/// Sends a list request of each kind, page by page, and tells the ids on all pages.
macro_rules! pages {
    ($daemon:ident . $service:ident . $method:ident ( $request:expr ) . $items:ident, $id:expr) => {{
        let mut request = $request;
        let mut pages = Vec::new();
        loop {
            let page = ok!($daemon.$service.$method(request.clone()));
            assert!(page.$items.len() <= 2);
            pages.push(page.$items.iter().map($id).collect::<Vec<String>>());
            if page.next_page_token.is_empty() {
                break pages;
            }
            assert_eq!(page.$items.len(), 2, "only the last page may be short");
            request.page_token = page.next_page_token;
        }
    }};
}

#[tokio::test]
async fn every_list_comes_in_pages_that_hold_everything_once_and_in_order() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon.found("b", "greenhouse").await;
    daemon.found("c", "greenhouse").await;
    for user in ["cid", "dan"] {
        daemon.add("acme", user, &[]).await;
        daemon
            .project_roles("acme", "tunnel", user, &["gardener"])
            .await;
    }
    for id in ["b3", "b4"] {
        ok!(daemon
            .resources
            .register_resource(of_acme!(RegisterResourceRequest {
                r#type: "Bed",
                id: id
            })));
    }
    let all = [
        pages!(
            daemon
                .organizations
                .list_organizations(v1::ListOrganizationsRequest {
                    page_size: 2,
                    ..Default::default()
                })
                .organizations,
            |item| item.id.clone()
        ),
        pages!(
            daemon
                .members
                .list_members(of_acme!(ListMembersRequest { page_size: 2u32 }))
                .members,
            |item| item.user.clone()
        ),
        pages!(
            daemon
                .roles
                .list_roles(of_acme!(ListRolesRequest { page_size: 2u32 }))
                .roles,
            |item| item.id.clone()
        ),
        pages!(
            daemon
                .projects
                .list_projects(of_acme!(ListProjectsRequest {
                    page_size: 2u32,
                    show_archived: true
                }))
                .projects,
            |item| item.id.clone()
        ),
        pages!(
            daemon
                .projects
                .list_project_members(of_acme!(ListProjectMembersRequest {
                    page_size: 2u32,
                    project: "tunnel"
                }))
                .members,
            |item| item.user.clone()
        ),
        pages!(
            daemon
                .resources
                .list_resources(of_acme!(ListResourcesRequest { page_size: 2u32 }))
                .resources,
            |item| item.id.clone()
        ),
        pages!(
            daemon
                .policies
                .list_policies(of_acme!(ListPoliciesRequest { page_size: 2u32 }))
                .policies,
            |item| item.id.clone()
        ),
        pages!(
            daemon
                .policies
                .list_catalogs(v1::ListCatalogsRequest {
                    page_size: 2,
                    ..Default::default()
                })
                .catalogs,
            |item| item.id.clone()
        ),
    ];
    let counts: Vec<usize> = all
        .iter()
        .map(|pages| pages.iter().map(Vec::len).sum())
        .collect();
    let policies = ok!(daemon.policies.list_policies(of_acme!(ListPoliciesRequest {
        page_size: 1_000u32
    })))
    .policies
    .len();
    assert_eq!(counts, [3, 6, 5, 3, 3, 4, policies, 6]);
    for pages in all {
        let ids: Vec<&String> = pages.iter().flatten().collect();
        assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_holds_fifty_unless_asked_and_never_more_than_a_thousand() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    for number in 0..60 {
        daemon.add("acme", &format!("m{number}"), &[]).await;
    }
    let list = |page_size: u32| {
        of_acme!(ListMembersRequest {
            page_size: page_size
        })
    };
    let default = ok!(daemon.members.list_members(list(0)));
    assert_eq!(
        (default.members.len(), default.next_page_token.is_empty()),
        (50, false)
    );
    let most = ok!(daemon.members.list_members(list(1_000)));
    assert_eq!(
        (most.members.len(), most.next_page_token.as_str()),
        (64, "")
    );
    let exact = ok!(daemon.members.list_members(list(64)));
    assert_eq!(
        (exact.members.len(), exact.next_page_token.as_str()),
        (64, "")
    );
    for size in [1_001, u32::MAX] {
        assert_faults(
            &refused!(daemon.members.list_members(list(size))),
            &[("page_size", "TOO_MANY")],
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn pages_stay_whole_while_the_list_changes_between_them() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    for user in ["c", "e", "g", "i", "k"] {
        daemon.add("acme", user, &[]).await;
    }
    let list = |token: &str| {
        of_acme!(ListMembersRequest {
            page_size: 3u32,
            page_token: token
        })
    };
    let first = ok!(daemon.members.list_members(list("")));
    assert_eq!(first.members[2].user, "c");
    // The last of the page goes, one comes before and one behind it.
    ok!(daemon
        .members
        .remove_member(of_acme!(RemoveMemberRequest { user: "c" })));
    daemon.add("acme", "aa", &[]).await;
    daemon.add("acme", "f", &[]).await;
    let mut rest = Vec::new();
    let mut token = first.next_page_token;
    while !token.is_empty() {
        let page = ok!(daemon.members.list_members(list(&token)));
        rest.extend(page.members.into_iter().map(|member| member.user));
        token = page.next_page_token;
    }
    assert_eq!(rest, ["e", "f", "g", "i", "k", "owner", "sue"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_token_of_another_request_is_refused() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    nursery(&daemon, "other").await;
    let first = ok!(daemon
        .members
        .list_members(of_acme!(ListMembersRequest { page_size: 1u32 })));
    let token = first.next_page_token;
    let fault: &[(&str, &str)] = &[("page_token", "MALFORMED_PAGE_TOKEN")];
    let elsewhere = v1::ListMembersRequest {
        organization: "other".to_owned(),
        page_token: token.clone(),
        ..Default::default()
    };
    assert_faults(&refused!(daemon.members.list_members(elsewhere)), fault);
    assert_faults(
        &refused!(daemon.members.list_members(of_acme!(ListMembersRequest {
            page_token: &token,
            role: "gardener"
        }))),
        fault,
    );
    assert_faults(
        &refused!(daemon.members.list_members(of_acme!(ListMembersRequest {
            page_token: &token,
            status: 1
        }))),
        fault,
    );
    assert_faults(
        &refused!(daemon.members.list_members(of_acme!(ListMembersRequest {
            page_token: &token,
            project: "tunnel"
        }))),
        fault,
    );
    assert_faults(
        &refused!(
            daemon
                .roles
                .list_roles(of_acme!(ListRolesRequest { page_token: &token }))
        ),
        fault,
    );
    assert_faults(
        &refused!(
            daemon
                .projects
                .list_projects(of_acme!(ListProjectsRequest { page_token: &token }))
        ),
        fault,
    );
    assert_faults(
        &refused!(
            daemon
                .projects
                .list_project_members(of_acme!(ListProjectMembersRequest {
                    page_token: &token,
                    project: "tunnel"
                }))
        ),
        fault,
    );
    assert_faults(
        &refused!(
            daemon
                .resources
                .list_resources(of_acme!(ListResourcesRequest { page_token: &token }))
        ),
        fault,
    );
    assert_faults(
        &refused!(
            daemon
                .policies
                .list_policies(of_acme!(ListPoliciesRequest { page_token: &token }))
        ),
        fault,
    );
    for damaged in [
        "x",
        "!",
        &token[1..],
        &format!("{token}!"),
        &"A".repeat(100_000),
    ] {
        assert_faults(
            &refused!(daemon.members.list_members(of_acme!(ListMembersRequest {
                page_token: damaged
            }))),
            fault,
        );
    }
    let of_resources = ok!(daemon
        .resources
        .list_resources(of_acme!(ListResourcesRequest { page_size: 1u32 })))
    .next_page_token;
    assert_faults(
        &refused!(
            daemon
                .resources
                .list_resources(of_acme!(ListResourcesRequest {
                    page_token: &of_resources,
                    without_owner: true
                }))
        ),
        fault,
    );
    // The size of a page may change on the way.
    ok!(daemon.members.list_members(of_acme!(ListMembersRequest {
        page_token: token,
        page_size: 7u32
    })));
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_written_is_read_at_its_revision_by_every_read() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let written = ok!(daemon.members.update_member(of_acme!(UpdateMemberRequest {
        user: "ann",
        display_name: "A"
    })));
    let at = written.revision;
    assert_eq!(
        ok!(daemon.members.get_member(of_acme!(GetMemberRequest {
            user: "ann",
            at_least: &at
        })))
        .revision,
        at
    );
    assert_eq!(
        ok!(daemon
            .members
            .list_members(of_acme!(ListMembersRequest { at_least: &at })))
        .revision,
        at
    );
    assert_eq!(
        ok!(daemon
            .organizations
            .get_organization(of_acme!(GetOrganizationRequest { at_least: &at })))
        .revision,
        at
    );
    let every = v1::ListOrganizationsRequest {
        at_least: at.clone(),
        ..Default::default()
    };
    assert_eq!(
        ok!(daemon.organizations.list_organizations(every)).revision,
        at
    );
    let check = v1::IsAuthorizedRequest {
        at_least: at.clone(),
        ..question("acme", "ann", "WaterBed", "Bed", "b")
    };
    assert_eq!(
        ok!(daemon.authorization.is_authorized(check.clone())).revision,
        at
    );
    let batch = v1::BatchIsAuthorizedRequest {
        requests: vec![check],
        at_least: at.clone(),
    };
    assert_eq!(
        ok!(daemon.authorization.batch_is_authorized(batch)).revision,
        at
    );
    daemon.stop().await;
}

/// Every method that takes `at_least`, with a message for `acme` that asks for it.
fn reads_at(at_least: &str) -> Vec<(String, Vec<u8>)> {
    let takes = methods()
        .into_iter()
        .filter(|method| method.input().get_field_by_name("at_least").is_some());
    takes
        .map(|method| {
            let mut message = DynamicMessage::new(method.input());
            for (field, text) in [("organization", "acme"), ("at_least", at_least)] {
                if message.descriptor().get_field_by_name(field).is_some() {
                    message.set_field_by_name(field, Value::String(text.to_owned()));
                }
            }
            (path(&method), message.encode_to_vec())
        })
        .collect()
}

#[tokio::test]
async fn a_revision_that_was_never_given_out_is_refused_by_every_read() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    for malformed in [
        "latest",
        "1",
        "0-1",
        "1.1",
        "0.",
        "0.G",
        "0.1 ",
        "-0.1",
        "0.10000000000000000",
    ] {
        for (path, message) in reads_at(malformed) {
            let refused = call(daemon.bare(), &path, message, &[&bearer()]).await;
            assert_faults(
                &refused.expect_err(&path),
                &[("at_least", "MALFORMED_REVISION")],
            );
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_revision_of_the_future_is_waited_for_until_shortly_before_the_deadline() {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    let next = format!("0.{:x}", daemon.application.published() + 1);
    let mut early = Request::new(of_acme!(GetOrganizationRequest { at_least: &next }));
    early.set_timeout(Duration::from_secs(4));
    // Unavailable is the daemon's word; a client that ran out of time says otherwise.
    assert_is(
        &refused!(daemon.organizations.get_organization(early)),
        Code::Unavailable,
        "REVISION_NOT_REACHED",
    );

    let mut client = daemon.organizations();
    let request = of_acme!(GetOrganizationRequest { at_least: &next });
    let waiting = tokio::spawn(async move { client.get_organization(request).await });
    daemon.add("acme", "cid", &[]).await;
    let answer = waiting
        .await
        .expect("no panic")
        .expect("the revision came")
        .into_inner();
    assert_eq!(answer.revision, next);
    daemon.stop().await;
}

#[tokio::test]
async fn writers_of_one_organization_all_succeed_without_a_gap() {
    const WRITERS: usize = 20;
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let before = daemon.application.published();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|number| {
            let mut client = daemon.members();
            let request = of_acme!(AddMemberRequest {
                user: format!("m{number:02}"),
                roles: owned(&["gardener"])
            });
            tokio::spawn(async move { client.add_member(request).await })
        })
        .collect();
    let (mut revisions, mut etags) = (BTreeSet::new(), BTreeSet::new());
    for task in tasks {
        let added = task.await.expect("no panic").expect("added").into_inner();
        revisions.insert(added.revision);
        etags.insert(added.member.expect("it").etag);
    }
    let expected: BTreeSet<String> = (1..=WRITERS as u64)
        .map(|step| format!("0.{:x}", before + step))
        .collect();
    assert_eq!(revisions, expected);
    let version = |etag: &String| u64::from_str_radix(&etag[1..], 16).expect("a number");
    let versions: BTreeSet<u64> = etags.iter().map(version).collect();
    let first = *versions.first().expect("a version");
    let expected: BTreeSet<u64> = (first..first + WRITERS as u64).collect();
    assert_eq!(versions, expected, "each writer saw the one before");
    let read = ok!(daemon
        .organizations
        .get_organization(of_acme!(GetOrganizationRequest {})));
    assert_eq!(
        read.organization.expect("it").member_count,
        1 + WRITERS as u64
    );
    daemon.stop().await;
}

#[tokio::test]
async fn of_racing_requests_under_one_id_one_is_made_and_all_are_answered_alike() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let before = daemon.application.published();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let mut client = daemon.projects();
            let request = of_acme!(CreateProjectRequest {
                display_name: "Dome",
                request_id: "once"
            });
            tokio::spawn(async move { client.create_project(request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no panic").expect("created").into_inner());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(daemon.application.published(), before + 1);
    daemon.stop().await;
}

#[tokio::test]
async fn an_etag_of_a_deleted_organization_does_not_fit_the_next_one_of_that_id() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let old = ok!(daemon
        .organizations
        .get_organization(of_acme!(GetOrganizationRequest {})));
    let old = old.organization.expect("the organization").etag;
    ok!(daemon
        .organizations
        .delete_organization(of_acme!(DeleteOrganizationRequest {})));
    daemon.found("acme", "greenhouse").await;

    assert_is(
        &refused!(
            daemon
                .organizations
                .delete_organization(of_acme!(DeleteOrganizationRequest { etag: &old }))
        ),
        Code::Aborted,
        "STALE_ETAG",
    );
    daemon.stop().await;
}

#[tokio::test]
async fn revisions_not_reached_fail_their_items_of_a_batch_and_no_others() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    let published = daemon.application.published();
    let asking = |at_least: String| v1::IsAuthorizedRequest {
        at_least,
        ..question("acme", "owner", "ViewOrganization", "Organization", "acme")
    };
    let mut batch = Request::new(v1::BatchIsAuthorizedRequest {
        requests: vec![
            asking(format!("0.{published:x}")),
            asking(format!("0.{:x}", published + 1)),
            asking("latest".to_owned()),
            asking(format!("0.{:x}", published + 2)),
            asking(String::new()),
        ],
        ..Default::default()
    });
    batch.set_timeout(Duration::from_secs(4));

    let items = ok!(daemon.authorization.batch_is_authorized(batch)).items;

    let codes: Vec<i32> = items
        .into_iter()
        .map(|item| match item.result.expect("a result") {
            v1::batch_item::Result::Response(_) => 0,
            v1::batch_item::Result::Status(status) => status.code,
        })
        .collect();
    let (ok, invalid, unavailable) = (0, Code::InvalidArgument.into(), Code::Unavailable.into());
    assert_eq!(codes, [ok, unavailable, invalid, unavailable, ok]);
    daemon.stop().await;
}
