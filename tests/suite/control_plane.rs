//! What managing a team promises, RPC by RPC: what each answers, what it refuses,
//! and what all of them have in common: pages, etags, request ids, validations,
//! masks and revisions.

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
async fn nursery(daemon: &Daemon, organization: &str) {
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
}

/// All there is to read of an organization, without revisions.
async fn picture(daemon: &Daemon, organization: &str) -> String {
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
            read!(policies.list_policies(ListPoliciesRequest { page_size: 1_000 })),
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
    }
}

/// A change that succeeds in a [`nursery`]: its method, what its etag is of, and
/// its message.
struct Case {
    method: &'static str,
    of: Of,
    message: DynamicMessage,
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

/// A change through each RPC that makes one, for a nursery of that id.
fn changes(organization: &str) -> Vec<Case> {
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
        ResourceService.RegisterResource, Of::None, RegisterResourceRequest { r#type: bed(), id: "b3", owner: "bea" };
        ResourceService.TransferResource, Of::Resource("b1"), TransferResourceRequest { r#type: bed(), id: "b1", owner: "bea" };
        ResourceService.MoveResource, Of::Resource("b1"), MoveResourceRequest { r#type: bed(), id: "b1" };
        ResourceService.ReassignResources, Of::None, ReassignResourcesRequest { from_owner: "ann", to_owner: "bea" };
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
            without_revision(validated),
            without_revision(done),
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
            daemon.application.published(),
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
        assert_eq!(daemon.application.published(), revision, "{}", case.method);
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

        assert_eq!(again, first, "{}", case.method);
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
            daemon.application.published(),
        );

        let body = ["etag", "display_name", "id", "to_owner", "user"]
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
        assert_eq!(daemon.application.published(), revision, "{}", case.method);
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

    daemon.world.set(Moment(NOW.0 + DAY + 1));
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
