//! `roster export` and `roster import`: everything as text, and back to the same bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use roster::application::revision;
use roster::proto::v1;
use roster::proto::v1::audit_service_client::AuditServiceClient;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::group_service_client::GroupServiceClient;
use roster::proto::v1::invitation_service_client::InvitationServiceClient;
use roster::proto::v1::member_service_client::MemberServiceClient;
use roster::proto::v1::operator_service_client::OperatorServiceClient;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use roster::proto::v1::policy_service_client::PolicyServiceClient;
use roster::proto::v1::resource_service_client::ResourceServiceClient;
use roster::proto::v1::role_service_client::RoleServiceClient;
use roster::proto::v1::service_account_service_client::ServiceAccountServiceClient;
use roster::proto::v1::token_service_client::TokenServiceClient;
use sha2::{Digest, Sha256};

use crate::backup::{json, names, succeeds, team};
use crate::program::{Daemon, roster, run};

const ACME: &str = "acme";

fn export(from: &Path, to: &Path) -> Command {
    let mut command = roster();
    command
        .arg("export")
        .arg("--data-dir")
        .arg(from)
        .arg("--to")
        .arg(to);
    command
}

fn import(from: &Path, to: &Path) -> Command {
    let mut command = roster();
    command
        .arg("import")
        .arg("--from")
        .arg(from)
        .arg("--data-dir")
        .arg(to);
    command
}

/// A daemon whose organization has one of everything, and another one that is deleted.
/// The secrets of its token and of a caller's key come along.
async fn full(directory: &Path) -> (Daemon, [String; 2]) {
    let daemon = team(directory).await;
    let channel = daemon.connect().await;
    let organization = || ACME.to_owned();
    macro_rules! done {
        ($client:ident . $method:ident ( $message:ident { $($field:ident: $value:expr),* $(,)? })) => {
            $client::new(channel.clone())
                .$method(daemon.signed(v1::$message { $($field: $value,)* ..Default::default() }))
                .await
                .expect(stringify!($method))
                .into_inner()
        };
    }
    done!(
        OrganizationServiceClient.create_organization(CreateOrganizationRequest {
            organization_id: "gone".to_owned(),
            display_name: "Gone".to_owned(),
            catalog: "oncloudwine".to_owned(),
            owner: "someone".to_owned(),
        })
    );
    done!(
        OrganizationServiceClient.delete_organization(DeleteOrganizationRequest {
            organization: "gone".to_owned(),
        })
    );
    let role = done!(RoleServiceClient.create_role(CreateRoleRequest {
        organization: organization(),
        display_name: "Watcher \"of\" \u{1F377}".to_owned(),
        permissions: Some(v1::Permissions {
            actions: vec!["InstancesView".to_owned()],
            ..Default::default()
        }),
    }));
    let role = role.role.expect("a role").id;
    let group = done!(GroupServiceClient.create_group(CreateGroupRequest {
        organization: organization(),
        display_name: "Watchers".to_owned(),
        roles: vec![role.clone()],
    }));
    done!(GroupServiceClient.add_group_member(AddGroupMemberRequest {
        organization: organization(),
        group: group.group.expect("a group").id,
        user: "u1".to_owned(),
    }));
    done!(
        InvitationServiceClient.create_invitation(CreateInvitationRequest {
            organization: organization(),
            invitation: Some(v1::NewInvitation {
                email: "new@acme.example".to_owned(),
                roles: vec![role],
                ..Default::default()
            }),
        })
    );
    done!(
        ResourceServiceClient.register_resource(RegisterResourceRequest {
            organization: organization(),
            r#type: "Instance".to_owned(),
            id: "vm-1".to_owned(),
            project: "p1".to_owned(),
            owner: "u2".to_owned(),
        })
    );
    done!(
        ServiceAccountServiceClient.create_service_account(CreateServiceAccountRequest {
            organization: organization(),
            display_name: "Robot".to_owned(),
            roles: vec!["viewer".to_owned()],
        })
    );
    done!(
        PolicyServiceClient.create_guardrail(CreateGuardrailRequest {
            organization: organization(),
            description: "nobody deletes".to_owned(),
            text: "forbid (principal, action == Action::\"InstancesDelete\", resource);".to_owned(),
        })
    );
    let token = done!(TokenServiceClient.create_token(CreateTokenRequest {
        organization: organization(),
        display_name: "T".to_owned(),
        kind: v1::TokenKind::Member.into(),
        subject: "u0".to_owned(),
    }));
    done!(MemberServiceClient.remove_member(RemoveMemberRequest {
        organization: organization(),
        user: "u6".to_owned(),
    }));
    let key = done!(
        OperatorServiceClient.create_caller_key(CreateCallerKeyRequest {
            name: "shop".to_owned(),
            scopes: vec![v1::CallerScope::Check.into()],
        })
    );
    (daemon, [token.secret, key.secret])
}

/// The ids of all events of an organization.
async fn events(daemon: &Daemon, organization: &str) -> Vec<v1::Event> {
    let request = v1::ListEventsRequest {
        organization: organization.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let mut audit = AuditServiceClient::new(daemon.connect().await);
    let page = audit.list_events(daemon.signed(request)).await;
    page.expect("events").into_inner().events
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_and_exports_as_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (daemon, [secret, key]) = full(&at("data")).await;
    // Online first: the same, without stopping anything.
    let mut online = roster();
    online.arg("export").arg("--to").arg(at("online"));
    online.args(["--address", &format!("http://{}", daemon.address)]);
    succeeds(online.arg("--key-file").arg(at("data/operator.key")));
    let before = (events(&daemon, ACME).await, events(&daemon, "gone").await);
    assert!(!before.0.is_empty() && !before.1.is_empty());
    daemon.stop();

    succeeds(&mut export(&at("data"), &at("first")));
    let first = fs::read_to_string(at("first")).unwrap();
    assert!(
        fs::read_to_string(at("online")).unwrap() == first,
        "online differs"
    );
    for kind in [
        "organization",
        "member",
        "role",
        "project",
        "resource",
        "group",
        "invitation",
        "token",
        "guardrail",
        "notification",
        "commit",
    ] {
        assert!(
            first.contains(&format!("\"told\":{{\"{kind}\":")),
            "no {kind}"
        );
    }
    assert!(first.contains("service_account"), "no service account");
    assert!(!first.contains(&secret), "a secret");
    assert!(!first.contains(&key), "a key");

    let told = json(&succeeds(
        import(&at("first"), &at("again")).args(["--output", "json"]),
    ));
    assert_eq!(told["organizations"], 1);
    succeeds(&mut export(&at("again"), &at("second")));
    assert!(
        fs::read_to_string(at("second")).unwrap() == first,
        "it differs"
    );
    let mut verify = roster();
    verify.arg("verify").arg("--data-dir").arg(at("again"));
    succeeds(&mut verify);

    // The daemon on it knows the token and the events, and goes on.
    let daemon = Daemon::start(&at("again"));
    assert_eq!(events(&daemon, ACME).await, before.0);
    assert_eq!(events(&daemon, "gone").await, before.1);
    let request = v1::IsAuthorizedWithTokenRequest {
        token: secret,
        action: "InstancesView".to_owned(),
        resource: Some(v1::Resource {
            r#type: "Instance".to_owned(),
            id: "vm-1".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut checks = AuthorizationServiceClient::new(daemon.connect().await);
    let checked = checks
        .is_authorized_with_token(daemon.signed(request))
        .await;
    assert_eq!(
        checked.expect("an answer").into_inner().decision(),
        v1::Decision::Allow
    );
    // So does it the caller's key.
    let mut request = tonic::Request::new(v1::IsAuthorizedRequest {
        organization: ACME.to_owned(),
        principal: Some(v1::EntityRef {
            r#type: "User".to_owned(),
            id: "u0".to_owned(),
        }),
        action: "InstancesView".to_owned(),
        resource: Some(v1::Resource {
            r#type: "Instance".to_owned(),
            id: "vm-1".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    });
    let bearer = format!("Bearer {key}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    let checked = checks.is_authorized(request).await;
    checked.expect("a caller is recognised by the key");
    let request = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "u5".to_owned(),
        ..Default::default()
    };
    let mut members = MemberServiceClient::new(daemon.connect().await);
    let removed = members
        .remove_member(daemon.signed(request))
        .await
        .expect("removed");
    let commits = told["commits"].as_u64().unwrap();
    let revision = revision::parse(&removed.into_inner().revision)
        .unwrap()
        .unwrap();
    assert!(revision.0 > commits, "{revision:?} after {commits}");
    daemon.stop();
}

#[test]
fn the_examples_of_every_product_round_trip_through_a_pipe() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    Daemon::start_with(&at("data"), &["--example"]).stop();
    let first = succeeds(roster().arg("export").arg("--data-dir").arg(at("data"))).stdout;
    fs::write(at("piped"), &first).unwrap();
    let mut command = roster();
    command.arg("import").arg("--data-dir").arg(at("again"));
    command.stdin(fs::File::open(at("piped")).unwrap());
    succeeds(&mut command);
    let second = succeeds(roster().arg("export").arg("--data-dir").arg(at("again"))).stdout;
    assert!(first == second);
}

/// An export with other lines in it, and a last line that fits them.
fn sealed_again(lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let hash: String = Sha256::digest(&text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let count = lines.len();
    format!("{text}{{\"lines\":{count},\"sha256\":\"{hash}\"}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_line_is_told_of_and_nothing_is_imported() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    full(&at("data")).await.0.stop();
    succeeds(&mut export(&at("data"), &at("good")));
    let good = fs::read_to_string(at("good")).unwrap();
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    lines.pop();
    // What is sealed again by hand is as good.
    fs::write(at("same"), sealed_again(&lines)).unwrap();
    assert!(fs::read_to_string(at("same")).unwrap() == good);

    let found = |needle: &str| -> usize {
        lines
            .iter()
            .position(|line| line.contains(needle))
            .expect("a line")
    };
    let (member, resource, project) = (
        found("{\"member\":{\"user\":\"u1\""),
        found("\"told\":{\"resource\":"),
        found("{\"project\":{\"id\":\"p2\""),
    );
    let organization = found("\"told\":{\"organization\":");
    let mut bad = lines.clone();
    bad[1] = "not even json".to_owned();
    bad[member] = bad[member]
        .replace("\"operator\"", "\"nothing\"")
        .replace("\"viewer\"", "\"nothing\"");
    bad[resource] = bad[resource]
        .replace("\"p1\"", "\"p9\"")
        .replace("\"u2\"", "\"nobody\"");
    bad[project] = bad[project].replace("\"archived\":false", "\"archived\":1");
    bad.push(lines[member].clone());
    bad.push(lines[organization].replace("acme", "other"));
    bad.push(lines[member].replace("\"u1\"", "\"with space\""));
    fs::write(at("bad"), sealed_again(&bad)).unwrap();

    let ended = run(import(&at("bad"), &at("again")).args(["--output", "json"]));
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    let faults = json(&ended)["faults"].clone();
    let told: Vec<(u64, String)> = faults
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| {
            (
                fault["line"].as_u64().unwrap(),
                fault["problem"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let of = |line: usize| -> Vec<&str> {
        let line = line as u64 + 1;
        told.iter()
            .filter(|(at, _)| *at == line)
            .map(|(_, problem)| problem.as_str())
            .collect()
    };
    let end = lines.len();
    assert!(of(1)[0].contains("expected ident"), "{told:?}");
    assert!(
        of(member)[0].contains("role `nothing`, which is not there"),
        "{told:?}"
    );
    assert_eq!(of(resource).len(), 2, "{told:?}");
    assert!(of(resource)[0].contains("member `nobody`"), "{told:?}");
    assert!(of(resource)[1].contains("project `p9`"), "{told:?}");
    assert!(of(project)[0].contains("at column"), "{told:?}");
    assert!(
        of(end)[0].contains("has a member of that id already"),
        "{told:?}"
    );
    assert!(
        of(end + 1)
            .iter()
            .any(|problem| problem.contains("is no member") || problem.contains("owner `owner`")),
        "{told:?}"
    );
    assert!(
        of(end + 1)
            .iter()
            .any(|problem| problem.contains("lines of commits")),
        "{told:?}"
    );
    assert!(of(end + 2)[0].contains("must be visible ASCII"), "{told:?}");
    assert!(
        ended.stderr.contains("nothing was imported"),
        "{}",
        ended.stderr
    );
    assert!(names(&at("again")).is_empty(), "{:?}", names(&at("again")));
}

#[test]
fn an_export_that_was_changed_or_cut_short_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    Daemon::start_with(&at("data"), &["--example"]).stop();
    succeeds(&mut export(&at("data"), &at("good")));
    let good = fs::read_to_string(at("good")).unwrap();
    let half: String = good.split_inclusive('\n').take(9).collect();
    for (wrong, what) in [
        (String::new(), "no export"),
        ("{}\n".to_owned(), "no export"),
        (
            good.replacen("roster_export", "roster_import", 1),
            "no export",
        ),
        (
            good.replacen("{\"roster_export\":1}", "{\"roster_export\":2}", 1),
            "version `2`",
        ),
        (half, "cut short"),
        (
            good.replacen("\"Operator\"", "\"operator\"", 1)
                .replacen("example", "Example", 1),
            "were changed",
        ),
        (format!("{good}\n"), "cut short"),
    ] {
        fs::write(at("wrong"), &wrong).unwrap();
        let ended = run(&mut import(&at("wrong"), &at("again")));
        assert_eq!(ended.code(), Some(1), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains(what), "{what}: {}", ended.stderr);
        assert!(names(&at("again")).is_empty());
    }
    // A directory that is in use is left alone.
    let ended = run(&mut import(&at("good"), &at("data")));
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("is not empty"), "{}", ended.stderr);
}
