//! Catalogs that lose or rename a row under data that names it: nobody may more
//! than before, health tells of it, and with the row back all is as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use roster::app;
use roster::catalogs;
use roster::domain::catalog::{ORGANIZATION_TYPE, PROJECT_TYPE};
use roster::domain::identifiers::OrganizationId;
use roster::engine::CompiledCatalog;
use roster::proto::v1;
use roster::store::Store as _;
use roster::store::memory::MemoryStore;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::soundness::{integrity, is_told_unsound};
use super::{ACME, accept, create, invited, new, refused, set_plan, status_of, users};
use crate::export_law::files;
use crate::harness::{Daemon, as_actor, by_token, in_project, owned, question, reason};

/// The role of gardeners under another name.
const PLANTERS: &[(&str, &str)] = &[(
    "id = \"gardener\"\ntitle = \"Gardener\"",
    "id = \"planter\"\ntitle = \"Planter\"",
)];
/// Watering under another name.
const SPRINKLING: &[(&str, &str)] = &[("WaterBed", "SprinkleBed")];
/// No plan with seats, and none with custom roles.
const FEWER_PLANS: &[(&str, &str)] = &[
    (
        "id = \"window-sill\"\ntitle = \"Window sill\"\nmembers = 3",
        "id = \"balcony\"\ntitle = \"Balcony\"",
    ),
    ("id = \"commercial\"", "id = \"business\""),
];

/// The greenhouse catalog with some of its text replaced.
fn greenhouse(edits: &[(&str, &str)]) -> Vec<Arc<CompiledCatalog>> {
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/catalogs/greenhouse");
    let place = tempfile::tempdir().expect("a directory");
    let folder = place.path().join("greenhouse");
    fs::create_dir(&folder).expect("a folder");
    let mut missing: BTreeSet<&str> = edits.iter().map(|(from, _)| *from).collect();
    for file in ["catalog.toml", "rules.cedar"] {
        let mut text = fs::read_to_string(original.join(file)).expect(file);
        for (from, to) in edits {
            if text.contains(from) {
                missing.remove(from);
                text = text.replace(from, to);
            }
        }
        fs::write(folder.join(file), text).expect(file);
    }
    assert!(missing.is_empty(), "not in the catalog: {missing:?}");
    let base = catalogs::base().expect("the base");
    let catalog = catalogs::load_folder(&base, &folder).expect("a catalog");
    vec![Arc::new(app::compiled(catalog).expect("it compiles"))]
}

/// The same data under another edition of the catalog.
async fn again(daemon: Daemon, store: &Arc<MemoryStore>, edits: &[(&str, &str)]) -> Daemon {
    daemon.stop().await;
    Daemon::start_with(greenhouse(edits), Arc::clone(store) as _).await
}

/// All that is stored of the organization.
fn stored(store: &MemoryStore) -> String {
    let read = store.load(&OrganizationId::new(ACME)).expect("read");
    format!("{:?}", read.expect("there").0)
}

/// A greenhouse on a plan with custom roles and projects `north` and `south`.
async fn nursery() -> (Daemon, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_with(greenhouse(&[]), Arc::clone(&store) as _).await;
    daemon.found(ACME, "greenhouse").await;
    set_plan(&daemon, "commercial").await;
    daemon.project(ACME, "north").await;
    daemon.project(ACME, "south").await;
    (daemon, store)
}

async fn custom_role(daemon: &Daemon, id: &str, actions: &[&str]) {
    let request = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: id.to_owned(),
        display_name: format!("The {id}"),
        permissions: Some(v1::Permissions {
            actions: owned(actions),
            ..Default::default()
        }),
        ..Default::default()
    };
    let created = daemon.roles().create_role(request).await;
    created.expect("the role is created");
}

async fn overridden(daemon: &Daemon, user: &str, roles: &[&str], actions: &[&str]) {
    let request = v1::SetProjectOverrideRequest {
        organization: ACME.to_owned(),
        project: "north".to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        permissions: Some(v1::Permissions {
            actions: owned(actions),
            ..Default::default()
        }),
        ..Default::default()
    };
    let set = daemon.projects().set_project_override(request).await;
    set.expect("the override is set");
}

/// Gardeners in every way that there is: by role, on a project, by default, by an
/// override, by a group.
async fn gardeners(daemon: &Daemon) {
    daemon.add(ACME, "gina", &["gardener"]).await;
    daemon.add(ACME, "pia", &[]).await;
    daemon
        .project_roles(ACME, "north", "pia", &["gardener"])
        .await;
    daemon.add(ACME, "dot", &[]).await;
    daemon
        .projects()
        .set_default_roles(v1::SetDefaultRolesRequest {
            organization: ACME.to_owned(),
            user: "dot".to_owned(),
            roles: owned(&["gardener"]),
            ..Default::default()
        })
        .await
        .expect("the default roles are set");
    daemon.project(ACME, "west").await;
    daemon.add(ACME, "hal", &["head-gardener"]).await;
    overridden(daemon, "hal", &["gardener"], &[]).await;
    daemon.add(ACME, "gus", &[]).await;
    daemon.group("crew", &["gardener"]).await;
    daemon.put_into("crew", &["gus"]).await;
}

/// Everything that is allowed, of every action on every type that it is asked of, in
/// every project, for everybody.
async fn allowed(daemon: &Daemon) -> BTreeSet<String> {
    let everybody = users(daemon).await;
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    let catalog = Arc::clone(snapshot.catalog().catalog());
    let mut allowed = BTreeSet::new();
    for action in &catalog.actions {
        for index in &action.resource_types {
            let kind = catalog.resource_types[usize::from(index.0)].id.as_str();
            let places: &[(&str, &str)] = match kind {
                ORGANIZATION_TYPE => &[(ACME, "")],
                PROJECT_TYPE => &[("north", ""), ("south", "")],
                // It would have to say where it is.
                "Sensor" => &[],
                "Member" => &[("gina", "")],
                _ => &[("it", ""), ("it", "north"), ("it", "south")],
            };
            for (id, project) in places {
                for user in &everybody {
                    let mut asked = question(ACME, user, action.id.as_str(), kind, id);
                    if !project.is_empty() {
                        asked = in_project(asked, project);
                    }
                    let answer = daemon.authorization().is_authorized(asked).await;
                    if answer.expect("an answer").into_inner().decision() == v1::Decision::Allow {
                        allowed.insert(format!("{user} {} {kind} {id} {project}", action.id));
                    }
                }
            }
        }
    }
    allowed
}

fn waters(user: &str, project: &str) -> v1::IsAuthorizedRequest {
    in_project(question(ACME, user, "WaterBed", "Bed", "roses"), project)
}

fn sprinkles(user: &str, project: &str) -> v1::IsAuthorizedRequest {
    in_project(question(ACME, user, "SprinkleBed", "Bed", "roses"), project)
}

#[tokio::test]
async fn r_09_a_role_that_was_renamed_gives_nothing_until_it_is_back() {
    let (daemon, store) = nursery().await;
    gardeners(&daemon).await;
    let before = allowed(&daemon).await;
    let kept = stored(&store);
    for user in ["gina", "pia", "hal", "gus"] {
        assert!(daemon.allows(waters(user, "north")).await, "{user}");
    }
    assert!(daemon.allows(waters("dot", "west")).await);
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);

    let daemon = again(daemon, &store, PLANTERS).await;
    is_told_unsound(&daemon).await;
    let during = allowed(&daemon).await;
    let gained: Vec<_> = during.difference(&before).collect();
    assert!(gained.is_empty(), "{gained:?}");
    for user in ["gina", "pia", "dot", "gus"] {
        for project in ["north", "south", "west"] {
            assert!(!daemon.allows(waters(user, project)).await, "{user}");
        }
    }
    // An override of which nothing is left still replaces what is beneath it.
    assert!(!daemon.allows(waters("hal", "north")).await);
    assert!(daemon.allows(waters("hal", "south")).await);

    let daemon = again(daemon, &store, &[]).await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert_eq!(allowed(&daemon).await, before);
    assert_eq!(stored(&store), kept);
    daemon.stop().await;
}

fn set_roles(user: &str, roles: &[&str]) -> v1::SetMemberRolesRequest {
    v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    }
}

#[tokio::test]
async fn r_09_what_is_gone_is_not_handed_on_by_those_who_never_had_it() {
    let (daemon, store) = nursery().await;
    gardeners(&daemon).await;
    let manages = [
        "ManageGroups",
        "ChangeMemberRole",
        "RemoveMember",
        "InviteMember",
    ];
    custom_role(&daemon, "manager", &manages).await;
    daemon.add(ACME, "mia", &["manager", "gardener"]).await;
    daemon.add(ACME, "bob", &[]).await;
    let mut invitations = daemon.invitations();
    let request = as_actor("mia", create(new("ivy@x.example", &["gardener"])));
    let sent = invitations.create_invitation(request).await;
    let (ivy, link) = super::sent_as(sent.expect("sent").into_inner());
    let taken = daemon
        .members()
        .set_member_roles(set_roles("mia", &["manager"]))
        .await;
    taken.expect("mia gardens no more");

    let daemon = again(daemon, &store, PLANTERS).await;
    let code = Code::PermissionDenied;
    let joins = v1::AddGroupMemberRequest {
        organization: ACME.to_owned(),
        group: "crew".to_owned(),
        user: "bob".to_owned(),
        ..Default::default()
    };
    let mut groups = daemon.groups();
    let attempt = groups.add_group_member(as_actor("mia", joins.clone()));
    refused(&daemon, attempt, code, "EXCEEDS_GRANTOR").await;
    let mut members = daemon.members();
    let attempt = members.set_member_roles(as_actor("mia", set_roles("gina", &[])));
    let status = refused(&daemon, attempt, code, "EXCEEDS_GRANTOR").await;
    assert!(status.message().contains("role `gardener`"), "{status:?}");
    let removal = v1::RemoveMemberRequest {
        organization: ACME.to_owned(),
        user: "gina".to_owned(),
        ..Default::default()
    };
    let attempt = members.remove_member(as_actor("mia", removal));
    refused(&daemon, attempt, code, "EXCEEDS_GRANTOR").await;
    let mut invitations = daemon.invitations();
    let attempt = invitations.accept_invitation(accept(&link, "ivy", "ivy@x.example"));
    let lost = Code::FailedPrecondition;
    refused(&daemon, attempt, lost, "GRANTOR_LOST").await;
    assert_eq!(
        status_of(&daemon, &ivy).await,
        v1::InvitationStatus::Pending
    );
    // Nobody gives it anew, not even an operator.
    let attempt = members.set_member_roles(set_roles("bob", &["gardener"]));
    refused(&daemon, attempt, Code::InvalidArgument, "INVALID").await;

    // The owner is above everything that there ever may be.
    let put = daemon
        .groups()
        .add_group_member(as_actor("owner", joins))
        .await;
    put.expect("the owner puts bob into the group");
    assert!(!daemon.allows(waters("bob", "north")).await);
    let daemon = again(daemon, &store, &[]).await;
    assert!(daemon.allows(waters("bob", "north")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_an_action_that_was_renamed_is_granted_by_no_old_name() {
    let (daemon, store) = nursery().await;
    custom_role(&daemon, "helper", &["WaterBed", "HarvestBed"]).await;
    custom_role(&daemon, "manager", &["ChangeMemberRole", "HarvestBed"]).await;
    daemon.add(ACME, "gina", &["helper"]).await;
    daemon.add(ACME, "mia", &["manager"]).await;
    daemon.add(ACME, "bob", &[]).await;
    daemon.add(ACME, "oli", &["head-gardener"]).await;
    overridden(&daemon, "oli", &[], &["WaterBed"]).await;
    let scoped = v1::CreateTokenRequest {
        organization: ACME.to_owned(),
        kind: v1::TokenKind::Member.into(),
        subject: "oli".to_owned(),
        display_name: "Hose".to_owned(),
        scope: Some(v1::TokenScope {
            actions: owned(&["WaterBed"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let made = daemon.tokens().create_token(scoped).await;
    let secret = made.expect("a token").into_inner().secret;
    let before = allowed(&daemon).await;
    let kept = stored(&store);

    let daemon = again(daemon, &store, SPRINKLING).await;
    is_told_unsound(&daemon).await;
    let gained: Vec<_> = allowed(&daemon)
        .await
        .difference(&before)
        .cloned()
        .collect();
    // Those who hold whole levels hold what comes, and what the catalog itself says.
    let whole = |line: &String| {
        line.starts_with("owner ")
            || line.starts_with("oli SprinkleBed Bed it south")
            || line == "oli SprinkleBed Bed it "
    };
    assert!(gained.iter().all(whole), "{gained:?}");
    assert!(!daemon.allows(sprinkles("gina", "south")).await);
    assert!(
        !daemon.allows(sprinkles("oli", "north")).await,
        "by the override"
    );
    let harvests = in_project(
        question(ACME, "gina", "HarvestBed", "Bed", "roses"),
        "south",
    );
    assert!(daemon.allows(harvests).await, "what is left of the role");
    // A scope of which nothing is left is for nothing.
    for action in ["SprinkleBed", "HarvestBed"] {
        let asked = v1::IsAuthorizedWithTokenRequest {
            token: secret.clone(),
            action: action.to_owned(),
            resource: Some(v1::Resource {
                r#type: "Bed".to_owned(),
                id: "roses".to_owned(),
                project: "south".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = daemon.authorization().is_authorized_with_token(asked).await;
        let answer = answer.expect("an answer").into_inner();
        assert_eq!(answer.decision(), v1::Decision::Deny, "{action}");
    }
    let acting = daemon
        .members()
        .set_member_roles(by_token(&secret, set_roles("bob", &[])))
        .await;
    assert_eq!(
        reason(&acting.expect_err("not in its scope")),
        "PERMISSION_DENIED"
    );
    // Who may not water gives no role that watered, and may again.
    let mut members = daemon.members();
    let attempt = members.set_member_roles(as_actor("mia", set_roles("bob", &["helper"])));
    let status = refused(&daemon, attempt, Code::PermissionDenied, "EXCEEDS_GRANTOR").await;
    assert!(status.message().contains("WaterBed"), "{status:?}");

    let daemon = again(daemon, &store, &[]).await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert_eq!(allowed(&daemon).await, before);
    // One event of the refusals is all that was written.
    assert_eq!(stored(&store), kept);
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_editing_a_role_keeps_what_is_gone_unless_its_permissions_are_edited() {
    let (daemon, store) = nursery().await;
    custom_role(&daemon, "helper", &["WaterBed", "HarvestBed"]).await;
    daemon.add(ACME, "gina", &["helper"]).await;
    let daemon = again(daemon, &store, SPRINKLING).await;
    let edit = |path: &str, actions: &[&str]| v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: "helper".to_owned(),
        display_name: "Hand".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(actions),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&[path]),
        }),
        ..Default::default()
    };
    let named = daemon.roles().update_role(edit("display_name", &[])).await;
    named.expect("another name");
    is_told_unsound(&daemon).await;
    let daemon = again(daemon, &store, &[]).await;
    assert!(
        daemon.allows(waters("gina", "north")).await,
        "nothing was lost"
    );

    let daemon = again(daemon, &store, SPRINKLING).await;
    let mended = edit("permissions", &["SprinkleBed"]);
    let mended = daemon.roles().update_role(mended).await;
    mended.expect("other permissions");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert!(daemon.allows(sprinkles("gina", "north")).await);
    daemon.stop().await;
}

async fn guardrail(daemon: &Daemon, id: &str, text: &str) {
    let request = v1::CreateGuardrailRequest {
        organization: ACME.to_owned(),
        guardrail_id: id.to_owned(),
        text: text.to_owned(),
        ..Default::default()
    };
    let created = daemon.policies().create_guardrail(request).await;
    created.expect("the guardrail is created");
}

#[tokio::test]
async fn r_09_a_guardrail_that_names_what_is_gone_closes_the_team_until_it_is_mended() {
    let (daemon, store) = nursery().await;
    gardeners(&daemon).await;
    let dry = r#"forbid (principal, action == Action::"WaterBed", resource);"#;
    guardrail(&daemon, "dry", dry).await;
    let before = allowed(&daemon).await;
    let kept = stored(&store);

    // Whoever holds all of the level could sprinkle, were the guardrail left out.
    let daemon = again(daemon, &store, SPRINKLING).await;
    is_told_unsound(&daemon).await;
    let answer = daemon.ask(sprinkles("hal", "south")).await;
    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::Guardrail);
    assert!(answer.reasons[0].message.contains("`dry`"), "{answer:?}");
    let gained: Vec<_> = allowed(&daemon)
        .await
        .difference(&before)
        .cloned()
        .collect();
    assert!(gained.is_empty(), "{gained:?}");
    assert!(!daemon.allows(sprinkles("owner", "south")).await);
    let exported = files(&daemon, ACME, None).await;
    let closes = |text: &String| text.contains("guardrail/dry");
    assert!(exported.values().any(closes), "{exported:?}");

    // With the old name back it is what it was.
    let daemon = again(daemon, &store, &[]).await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert_eq!(allowed(&daemon).await, before);
    assert_eq!(stored(&store), kept);

    // The owner mends it, in the words that the catalog has.
    let daemon = again(daemon, &store, SPRINKLING).await;
    let mended = v1::UpdateGuardrailRequest {
        organization: ACME.to_owned(),
        guardrail: "dry".to_owned(),
        text: dry.replace("WaterBed", "SprinkleBed"),
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&["text"]),
        }),
        ..Default::default()
    };
    let mended = daemon
        .policies()
        .update_guardrail(as_actor("owner", mended))
        .await;
    mended.expect("mended");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert!(!daemon.allows(sprinkles("hal", "south")).await);
    let harvests = in_project(question(ACME, "hal", "HarvestBed", "Bed", "roses"), "south");
    assert!(daemon.allows(harvests).await, "the rest is open");
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_a_guardrail_that_permits_what_is_gone_permits_nothing() {
    let (daemon, store) = nursery().await;
    daemon.add(ACME, "vic", &[]).await;
    daemon.add(ACME, "hal", &["head-gardener"]).await;
    let text = r#"permit (principal == User::"vic", action == Action::"WaterBed", resource);"#;
    guardrail(&daemon, "wet", text).await;
    assert!(daemon.allows(waters("vic", "north")).await);

    let daemon = again(daemon, &store, SPRINKLING).await;
    is_told_unsound(&daemon).await;
    assert!(!daemon.allows(sprinkles("vic", "north")).await);
    assert!(
        daemon.allows(sprinkles("hal", "north")).await,
        "it closes nothing"
    );
    let request = v1::DeleteGuardrailRequest {
        organization: ACME.to_owned(),
        guardrail: "wet".to_owned(),
        ..Default::default()
    };
    let deleted = daemon
        .policies()
        .delete_guardrail(as_actor("owner", request))
        .await;
    deleted.expect("deleted");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_a_plan_that_is_gone_has_no_seat_and_no_feature() {
    let (daemon, store) = nursery().await;
    custom_role(&daemon, "helper", &["WaterBed"]).await;
    daemon.add(ACME, "gina", &["helper"]).await;
    let daemon = again(daemon, &store, FEWER_PLANS).await;
    is_told_unsound(&daemon).await;
    assert!(daemon.allows(waters("gina", "north")).await, "as stored");
    let creates = question(ACME, "owner", "CreateRole", "Organization", ACME);
    assert!(!daemon.allows(creates).await);
    let mut roles = daemon.roles();
    let attempt = roles.create_role(v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "other".to_owned(),
        display_name: "Other".to_owned(),
        ..Default::default()
    });
    let plan = Code::FailedPrecondition;
    refused(&daemon, attempt, plan, "PLAN_LACKS_FEATURE").await;

    // The plan with three seats, two of which are taken.
    let daemon = again(daemon, &store, &[]).await;
    set_plan(&daemon, "window-sill").await;
    let daemon = again(daemon, &store, FEWER_PLANS).await;
    is_told_unsound(&daemon).await;
    let mut members = daemon.members();
    let attempt = members.add_member(v1::AddMemberRequest {
        organization: ACME.to_owned(),
        user: "bob".to_owned(),
        ..Default::default()
    });
    let full = Code::ResourceExhausted;
    refused(&daemon, attempt, full, "SEATS_TAKEN").await;
    let mut invitations = daemon.invitations();
    let attempt = invitations.create_invitation(create(new("ivy@x.example", &[])));
    refused(&daemon, attempt, full, "SEATS_TAKEN").await;
    assert_eq!(
        users(&daemon).await,
        owned(&["gina", "owner"]),
        "nobody is removed"
    );
    set_plan(&daemon, "balcony").await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    daemon.add(ACME, "bob", &[]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_an_edited_role_that_its_catalog_has_lost_stays_as_it_is_stored() {
    let (daemon, store) = nursery().await;
    let edit = v1::UpdateRoleRequest {
        organization: ACME.to_owned(),
        role: "gardener".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["WaterBed"]),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: owned(&["permissions"]),
        }),
        ..Default::default()
    };
    daemon.roles().update_role(edit).await.expect("edited");
    daemon.add(ACME, "gina", &["gardener"]).await;
    let before = allowed(&daemon).await;

    let daemon = again(daemon, &store, PLANTERS).await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert_eq!(allowed(&daemon).await, before);
    let delete = || v1::DeleteRoleRequest {
        organization: ACME.to_owned(),
        role: "gardener".to_owned(),
        ..Default::default()
    };
    let mut roles = daemon.roles();
    let attempt = roles.delete_role(delete());
    refused(&daemon, attempt, Code::FailedPrecondition, "ROLE_IN_USE").await;
    let taken = daemon
        .members()
        .set_member_roles(set_roles("gina", &["planter"]))
        .await;
    taken.expect("another role");
    daemon.roles().delete_role(delete()).await.expect("deleted");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_a_row_that_takes_the_id_of_a_custom_role_changes_nobody() {
    let (daemon, store) = nursery().await;
    custom_role(&daemon, "planter", &["HarvestBed"]).await;
    daemon.add(ACME, "gina", &["planter"]).await;
    let before = allowed(&daemon).await;
    let daemon = again(daemon, &store, PLANTERS).await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert_eq!(allowed(&daemon).await, before);
    daemon.stop().await;
}

#[tokio::test]
async fn r_09_without_its_catalog_nothing_is_decided_and_nothing_is_lost() {
    let (daemon, store) = nursery().await;
    gardeners(&daemon).await;
    let (_, link) = invited(&daemon, "ivy@x.example", &["gardener"]).await;
    let before = allowed(&daemon).await;
    let kept = stored(&store);
    daemon.stop().await;

    let others: Vec<_> = crate::harness::catalogs()
        .into_iter()
        .filter(|catalog| catalog.catalog().id.as_str() != "greenhouse")
        .collect();
    let daemon = Daemon::start_with(others, Arc::clone(&store) as _).await;
    let refused = daemon
        .authorization()
        .is_authorized(waters("ivy", "north"))
        .await
        .expect_err("nobody can judge it");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "CATALOG_MISSING");
    assert_eq!(integrity(&daemon).await, ServingStatus::NotServing);
    daemon.stop().await;
    assert_eq!(stored(&store), kept);

    let daemon = Daemon::start_with(greenhouse(&[]), Arc::clone(&store) as _).await;
    assert_eq!(allowed(&daemon).await, before);
    super::join(&daemon, &link, "ivy", "ivy@x.example").await;
    assert!(daemon.allows(waters("ivy", "north")).await);
    daemon.stop().await;
}
