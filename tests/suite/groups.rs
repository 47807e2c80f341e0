//! Groups: kept by the team, giving what they say to whoever is in them, for as
//! long as both hold.

use std::sync::Arc;

use prost_types::{Duration, FieldMask, Timestamp};
use roster::application::{Actor, Caller, Need, Request as Common};
use roster::domain::change::{Change, Event, Outcome, RecordChange, Target};
use roster::domain::identifiers::{GroupId, UserId};
use roster::domain::organization::{Member, Moment};
use roster::domain::period::Period;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::store::{Sequence, Store};
use tonic::Code;

use crate::harness::{Daemon, NOW, as_actor, in_project, owned, question, reason, violations};

const ACME: &str = "acme";
const MINUTE: i64 = 60_000;

/// A greenhouse with one project, `tunnel`, and a member without roles, `bea`.
async fn greenhouse() -> Daemon {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "greenhouse").await;
    daemon.project(ACME, "tunnel").await;
    daemon.add(ACME, "bea", &[]).await;
    daemon
}

fn new_group(id: &str, roles: &[&str]) -> v1::CreateGroupRequest {
    v1::CreateGroupRequest {
        organization: ACME.to_owned(),
        group_id: id.to_owned(),
        display_name: format!("Group of {id}s"),
        roles: owned(roles),
        ..Default::default()
    }
}

fn adding(group: &str, user: &str) -> v1::AddGroupMemberRequest {
    v1::AddGroupMemberRequest {
        organization: ACME.to_owned(),
        group: group.to_owned(),
        user: user.to_owned(),
        ..Default::default()
    }
}

fn timestamp(at: Moment) -> Timestamp {
    Timestamp {
        seconds: at.0.div_euclid(1_000),
        nanos: i32::try_from(at.0.rem_euclid(1_000)).expect("below a second") * 1_000_000,
    }
}

fn later(milliseconds: i64) -> Moment {
    Moment(NOW.0 + milliseconds)
}

fn until(at: Moment) -> Option<v1::Period> {
    Some(v1::Period {
        not_before: None,
        expires_at: Some(timestamp(at)),
    })
}

impl Daemon {
    /// Creates a group of `acme` that gives roles.
    pub async fn group(&self, id: &str, roles: &[&str]) {
        let created = self.groups().create_group(new_group(id, roles)).await;
        created.expect("the group is created");
    }

    /// Puts members of `acme` into a group.
    pub async fn put_into(&self, group: &str, users: &[&str]) {
        for user in users {
            let added = self.groups().add_group_member(adding(group, user)).await;
            added.expect("the member is added");
        }
    }

    /// Sets what a group of `acme` gives on a project.
    pub async fn give_on_project(&self, group: &str, project: &str, roles: &[&str]) {
        self.groups()
            .set_group_project_roles(v1::SetGroupProjectRolesRequest {
                organization: ACME.to_owned(),
                group: group.to_owned(),
                project: project.to_owned(),
                roles: owned(roles),
                ..Default::default()
            })
            .await
            .expect("the roles are set");
    }

    async fn read_group(&self, id: &str) -> v1::Group {
        self.groups()
            .get_group(v1::GetGroupRequest {
                organization: ACME.to_owned(),
                group: id.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the group is read")
            .into_inner()
            .group
            .expect("a group")
    }

    async fn members_of(&self, group: &str) -> Vec<String> {
        self.groups()
            .list_group_members(v1::ListGroupMembersRequest {
                organization: ACME.to_owned(),
                group: group.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the members are listed")
            .into_inner()
            .members
            .into_iter()
            .map(|member| member.user)
            .collect()
    }
}

/// Whether a user may water a bed in the project.
async fn waters(daemon: &Daemon, user: &str) -> bool {
    let asked = question(ACME, user, "WaterBed", "Bed", "b");
    daemon.allows(in_project(asked, "tunnel")).await
}

/// Whether a user may buy seeds for the organization.
async fn buys(daemon: &Daemon, user: &str) -> bool {
    daemon
        .allows(question(ACME, user, "BuySeeds", "Organization", ACME))
        .await
}

#[tokio::test]
async fn a_group_is_created_read_edited_listed_and_deleted() {
    let daemon = greenhouse().await;
    let created = daemon
        .groups()
        .create_group(v1::CreateGroupRequest {
            description: "Who water".to_owned(),
            max_token_age: Some(Duration {
                seconds: 3_600,
                nanos: 500_000_000,
            }),
            period: until(later(MINUTE)),
            ..new_group("water", &["gardener"])
        })
        .await
        .expect("the group is created")
        .into_inner()
        .group
        .expect("a group");
    assert_eq!(created, daemon.read_group("water").await);
    assert_eq!(created.roles, ["gardener"]);
    assert_eq!(
        created.max_token_age.map(|age| age.nanos),
        Some(500_000_000)
    );
    assert_eq!(created.period, until(later(MINUTE)));

    let edit = |etag: &str, paths: &[&str]| v1::UpdateGroupRequest {
        organization: ACME.to_owned(),
        group: "water".to_owned(),
        display_name: "Shop".to_owned(),
        roles: owned(&["shopkeeper"]),
        update_mask: Some(FieldMask {
            paths: owned(paths),
        }),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let edited = daemon
        .groups()
        .update_group(edit(&created.etag, &["display_name", "roles"]))
        .await
        .expect("the group is edited")
        .into_inner()
        .group
        .expect("a group");
    assert_eq!(edited.display_name, "Shop");
    assert_eq!(edited.roles, ["shopkeeper"]);
    assert_eq!(edited.description, "Who water");
    assert_eq!(edited.max_token_age, created.max_token_age);
    let stale = daemon.groups().update_group(edit(&created.etag, &[])).await;
    assert_eq!(reason(&stale.expect_err("stale")), "STALE_ETAG");
    let whole = daemon.groups().update_group(edit("", &[])).await;
    let whole = whole
        .expect("all fields")
        .into_inner()
        .group
        .expect("a group");
    assert_eq!((whole.max_token_age, whole.period), (None, None));

    daemon.group("another", &[]).await;
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = daemon
            .groups()
            .list_groups(v1::ListGroupsRequest {
                organization: ACME.to_owned(),
                page_size: 1,
                page_token,
                ..Default::default()
            })
            .await
            .expect("a page")
            .into_inner();
        listed.extend(page.groups.into_iter().map(|group| group.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ["another", "water"]);

    let delete = || v1::DeleteGroupRequest {
        organization: ACME.to_owned(),
        group: "water".to_owned(),
        ..Default::default()
    };
    daemon.groups().delete_group(delete()).await.expect("gone");
    let again = daemon.groups().delete_group(delete()).await;
    assert_eq!(reason(&again.expect_err("gone")), "NOT_FOUND");
    daemon.stop().await;
}

#[tokio::test]
async fn an_id_is_drawn_where_none_is_given_and_taken_once_where_one_is() {
    let daemon = greenhouse().await;
    let drawn = daemon.groups().create_group(new_group("", &[])).await;
    let drawn = drawn.expect("created").into_inner().group.expect("a group");
    assert!(drawn.id.starts_with("group-"), "{}", drawn.id);
    daemon.group("one", &[]).await;
    let twice = daemon.groups().create_group(new_group("one", &[])).await;
    assert_eq!(reason(&twice.expect_err("taken")), "ALREADY_EXISTS");
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_group_can_not_be_is_told_field_by_field() {
    let daemon = greenhouse().await;
    let refused = daemon
        .groups()
        .create_group(v1::CreateGroupRequest {
            group_id: "a b".to_owned(),
            display_name: "Ops\u{202e}".to_owned(),
            max_token_age: Some(Duration {
                seconds: 59,
                nanos: 999_000_000,
            }),
            period: until(NOW),
            ..new_group("", &["visitor", "nobody"])
        })
        .await
        .expect_err("five faults");
    let fault = |field: &str, kind: &str| (field.to_owned(), kind.to_owned());
    assert_eq!(
        violations(&refused),
        [
            fault("group_id", "MALFORMED"),
            fault("display_name", "MALFORMED"),
            fault("roles[0]", "ROLE_NOT_HELD_THERE"),
            fault("roles[1]", "UNKNOWN_REFERENCE"),
            fault("max_token_age", "MALFORMED"),
            fault("period.expires_at", "MALFORMED"),
        ]
    );
    let owner = daemon
        .groups()
        .create_group(new_group("g", &["owner"]))
        .await;
    assert_eq!(
        reason(&owner.expect_err("ownership")),
        "OWNERSHIP_NOT_GIVEN"
    );
    for seconds in [-1, 0, 10 * 365 * 24 * 60 * 60 + 1, i64::MAX] {
        let request = v1::CreateGroupRequest {
            max_token_age: Some(Duration { seconds, nanos: 0 }),
            ..new_group("g", &[])
        };
        let refused = daemon.groups().create_group(request).await;
        assert_eq!(
            reason(&refused.expect_err("an age")),
            "INVALID",
            "{seconds}"
        );
    }
    for seconds in [60, 10 * 365 * 24 * 60 * 60] {
        let request = v1::CreateGroupRequest {
            max_token_age: Some(Duration { seconds, nanos: 0 }),
            ..new_group(&format!("g{seconds}"), &[])
        };
        daemon.groups().create_group(request).await.expect("an age");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_group_gives_its_members_have_from_the_next_check_on() {
    let daemon = greenhouse().await;
    daemon.group("shop", &["shopkeeper"]).await;
    assert!(!buys(&daemon, "bea").await);
    daemon.put_into("shop", &["bea"]).await;
    assert!(buys(&daemon, "bea").await);
    assert!(!waters(&daemon, "bea").await);

    daemon
        .give_on_project("shop", "tunnel", &["gardener"])
        .await;
    assert!(waters(&daemon, "bea").await);
    let elsewhere = question(ACME, "bea", "WaterBed", "Bed", "b");
    assert!(!daemon.allows(elsewhere).await, "on that project only");
    daemon.give_on_project("shop", "tunnel", &[]).await;
    assert!(!waters(&daemon, "bea").await);
    assert!(daemon.read_group("shop").await.project_roles.is_empty());

    let removed = v1::RemoveGroupMemberRequest {
        organization: ACME.to_owned(),
        group: "shop".to_owned(),
        user: "bea".to_owned(),
        ..Default::default()
    };
    let left = daemon.groups().remove_group_member(removed.clone()).await;
    left.expect("removed");
    assert!(!buys(&daemon, "bea").await);
    let again = daemon.groups().remove_group_member(removed).await;
    assert_eq!(again.expect_err("not in it").code(), Code::NotFound);
    daemon.stop().await;
}

#[tokio::test]
async fn deleting_a_group_takes_what_it_gave_and_leaves_what_is_one_s_own() {
    let daemon = greenhouse().await;
    daemon.add(ACME, "ann", &["gardener"]).await;
    daemon.group("shop", &["shopkeeper"]).await;
    daemon.put_into("shop", &["ann", "bea"]).await;
    assert_eq!(daemon.members_of("shop").await, ["ann", "bea"]);
    daemon
        .groups()
        .delete_group(v1::DeleteGroupRequest {
            organization: ACME.to_owned(),
            group: "shop".to_owned(),
            ..Default::default()
        })
        .await
        .expect("deleted");
    assert!(!buys(&daemon, "ann").await);
    assert!(waters(&daemon, "ann").await, "her own role stays");
    daemon.group("shop", &["shopkeeper"]).await;
    assert!(!buys(&daemon, "ann").await, "a new one of that id is empty");
    assert!(daemon.members_of("shop").await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn being_in_a_group_and_the_group_itself_count_only_in_their_time() {
    let daemon = greenhouse().await;
    daemon
        .groups()
        .create_group(v1::CreateGroupRequest {
            period: until(later(10 * MINUTE)),
            ..new_group("shop", &["shopkeeper"])
        })
        .await
        .expect("created");
    let request = v1::AddGroupMemberRequest {
        period: Some(v1::Period {
            not_before: Some(timestamp(later(MINUTE))),
            expires_at: Some(timestamp(later(5 * MINUTE))),
        }),
        ..adding("shop", "bea")
    };
    daemon
        .groups()
        .add_group_member(request)
        .await
        .expect("added");
    let asked = || question(ACME, "bea", "BuySeeds", "Organization", ACME);
    for (at, allowed, until) in [
        (0, false, Some(MINUTE)),
        (MINUTE - 1, false, Some(MINUTE)),
        (MINUTE, true, Some(5 * MINUTE)),
        (5 * MINUTE - 1, true, Some(5 * MINUTE)),
        (5 * MINUTE, false, Some(10 * MINUTE)),
    ] {
        daemon.world.set(later(at));
        assert_eq!(buys(&daemon, "bea").await, allowed, "at {at}");
        let answer = daemon.ask(asked()).await;
        let until = until.map(|until| timestamp(later(until)));
        assert_eq!(answer.valid_until, until, "at {at}");
    }

    // Joining anew sets another time; then the group's own end is what counts.
    daemon.put_into("shop", &["bea"]).await;
    assert!(buys(&daemon, "bea").await);
    daemon.world.set(later(10 * MINUTE));
    assert!(!buys(&daemon, "bea").await);
    daemon.application.expire_due().await;
    let gone = daemon
        .groups()
        .get_group(v1::GetGroupRequest {
            organization: ACME.to_owned(),
            group: "shop".to_owned(),
            ..Default::default()
        })
        .await;
    assert_eq!(reason(&gone.expect_err("expired")), "NOT_FOUND");
    daemon.stop().await;
}

#[tokio::test]
async fn an_override_replaces_what_groups_give_and_needs_no_other_role_beneath() {
    let daemon = greenhouse().await;
    let replace = || v1::SetProjectOverrideRequest {
        organization: ACME.to_owned(),
        project: "tunnel".to_owned(),
        user: "bea".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["ViewBed"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = daemon.projects().set_project_override(replace()).await;
    assert_eq!(
        reason(&refused.expect_err("nothing beneath")),
        "NOTHING_TO_OVERRIDE"
    );
    daemon.group("water", &["shopkeeper"]).await;
    daemon
        .give_on_project("water", "tunnel", &["gardener"])
        .await;
    daemon.put_into("water", &["bea"]).await;
    assert!(waters(&daemon, "bea").await);
    let set = daemon.projects().set_project_override(replace()).await;
    set.expect("group roles are beneath it");
    assert!(!waters(&daemon, "bea").await);
    assert!(buys(&daemon, "bea").await, "account-level stays");
    daemon.stop().await;
}

#[tokio::test]
async fn a_role_that_a_group_gives_is_in_use_and_a_deleted_project_leaves_the_group() {
    let daemon = greenhouse().await;
    daemon
        .organizations()
        .set_plan(v1::SetPlanRequest {
            organization: ACME.to_owned(),
            plan: "commercial".to_owned(),
            ..Default::default()
        })
        .await
        .expect("the plan is set");
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "helper".to_owned(),
        display_name: "Helper".to_owned(),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("created");
    daemon.group("crew", &["helper"]).await;
    daemon.give_on_project("crew", "tunnel", &["helper"]).await;
    let delete = || v1::DeleteRoleRequest {
        organization: ACME.to_owned(),
        role: "helper".to_owned(),
        ..Default::default()
    };
    let refused = daemon.roles().delete_role(delete()).await;
    let refused = refused.expect_err("in use");
    assert_eq!(reason(&refused), "ROLE_IN_USE");
    for place in [
        "group `crew` (on the organization)",
        "group `crew` (on project `tunnel`)",
    ] {
        assert!(refused.message().contains(place), "{refused:?}");
    }

    daemon
        .projects()
        .delete_project(v1::DeleteProjectRequest {
            organization: ACME.to_owned(),
            project: "tunnel".to_owned(),
            ..Default::default()
        })
        .await
        .expect("deleted");
    assert!(daemon.read_group("crew").await.project_roles.is_empty());
    daemon.project(ACME, "tunnel").await;
    assert!(daemon.read_group("crew").await.project_roles.is_empty());
    let edit = v1::UpdateGroupRequest {
        organization: ACME.to_owned(),
        group: "crew".to_owned(),
        display_name: "Crew".to_owned(),
        ..Default::default()
    };
    daemon.groups().update_group(edit).await.expect("edited");
    let deleted = daemon.roles().delete_role(delete()).await;
    deleted.expect("nobody gives it any more");
    daemon.stop().await;
}

#[tokio::test]
async fn suspended_members_stay_in_groups_strangers_come_into_none() {
    let daemon = greenhouse().await;
    daemon.group("shop", &["shopkeeper"]).await;
    daemon
        .members()
        .suspend_member(v1::SuspendMemberRequest {
            organization: ACME.to_owned(),
            user: "bea".to_owned(),
            ..Default::default()
        })
        .await
        .expect("suspended");
    daemon.put_into("shop", &["bea"]).await;
    assert!(!buys(&daemon, "bea").await);
    daemon
        .members()
        .reinstate_member(v1::ReinstateMemberRequest {
            organization: ACME.to_owned(),
            user: "bea".to_owned(),
            ..Default::default()
        })
        .await
        .expect("reinstated");
    assert!(buys(&daemon, "bea").await);
    for (group, user) in [("shop", "stranger"), ("nothing", "bea")] {
        let refused = daemon.groups().add_group_member(adding(group, user)).await;
        assert_eq!(refused.expect_err("not found").code(), Code::NotFound);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_product_without_roles_on_projects_has_none_in_groups_either() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "hypervisor-io").await;
    daemon.project(ACME, "dev").await;
    daemon.group("crew", &["viewer"]).await;
    let refused = daemon
        .groups()
        .set_group_project_roles(v1::SetGroupProjectRolesRequest {
            organization: ACME.to_owned(),
            group: "crew".to_owned(),
            project: "dev".to_owned(),
            ..Default::default()
        })
        .await
        .expect_err("not offered");
    assert_eq!(reason(&refused), "NOT_OFFERED");
    daemon.stop().await;
}

#[tokio::test]
async fn an_archived_project_takes_no_roles_of_groups_but_gives_them_back() {
    let daemon = greenhouse().await;
    daemon.group("crew", &[]).await;
    daemon
        .give_on_project("crew", "tunnel", &["gardener"])
        .await;
    daemon
        .projects()
        .archive_project(v1::ArchiveProjectRequest {
            organization: ACME.to_owned(),
            project: "tunnel".to_owned(),
            ..Default::default()
        })
        .await
        .expect("archived");
    let refused = daemon
        .groups()
        .set_group_project_roles(v1::SetGroupProjectRolesRequest {
            organization: ACME.to_owned(),
            group: "crew".to_owned(),
            project: "tunnel".to_owned(),
            roles: owned(&["visitor"]),
            ..Default::default()
        })
        .await
        .expect_err("archived");
    assert_eq!(reason(&refused), "PROJECT_ARCHIVED");
    daemon.give_on_project("crew", "tunnel", &[]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn reading_needs_view_groups_and_changing_needs_manage_groups() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "hypervisor-io").await;
    daemon.add(ACME, "ada", &["admin"]).await;
    daemon.add(ACME, "opal", &["operator"]).await;
    daemon.add(ACME, "nina", &[]).await;
    let create = |id: &str| new_group(id, &[]);
    let mut groups = daemon.groups();
    let created = groups.create_group(as_actor("ada", create("a"))).await;
    created.expect("an admin manages groups");
    let refused = groups.create_group(as_actor("opal", create("b"))).await;
    assert_eq!(
        reason(&refused.expect_err("an operator does not")),
        "PERMISSION_DENIED"
    );
    let list = || v1::ListGroupsRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let listed = daemon.groups().list_groups(as_actor("opal", list())).await;
    assert_eq!(listed.expect("sees groups").into_inner().groups.len(), 1);
    let refused = daemon.groups().list_groups(as_actor("nina", list())).await;
    assert_eq!(
        reason(&refused.expect_err("sees none")),
        "PERMISSION_DENIED"
    );
    daemon.stop().await;
}

/// Makes record changes of `acme` without any rule.
async fn write(
    daemon: &Daemon,
    records: impl Fn(&roster::domain::Organization) -> Vec<RecordChange>,
) {
    let request = Common {
        caller: Caller {
            name: "test".to_owned(),
            actor: Actor::Operator,
        },
        method: "Test",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    };
    let written = daemon
        .application
        .mutate(ACME, Need::Operator, &request, |turn| {
            Ok(Change {
                records: records(turn.organization()),
                events: vec![Event::done("Test", Target::new("Test", "test"), Vec::new())],
                outcome: Outcome::Nothing,
            })
        })
        .await;
    written.expect("the records are written");
}

#[tokio::test]
async fn an_organization_has_a_thousand_groups_and_a_member_is_in_a_hundred() {
    let daemon = greenhouse().await;
    daemon.group("first", &[]).await;
    write(&daemon, |organization| {
        let first = organization.groups.get("first").expect("the group");
        let more = (1..1_000).map(|number| {
            let mut group = (**first).clone();
            group.id = GroupId::new(format!("g{number}"));
            RecordChange::PutGroup(Arc::new(group))
        });
        let mut bea = (**organization.members.get("bea").expect("bea")).clone();
        let joined = (1..100).map(|number| GroupId::new(format!("g{number}")));
        bea.groups = joined.map(|group| (group, Period::ALWAYS)).collect();
        more.chain([RecordChange::PutMember(Arc::new(bea))])
            .collect()
    })
    .await;
    let refused = daemon.groups().create_group(new_group("last", &[])).await;
    let refused = refused.expect_err("a thousand are there");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "LIMIT_REACHED");

    daemon.put_into("g100", &["bea"]).await;
    daemon.put_into("g100", &["bea"]).await;
    let refused = daemon
        .groups()
        .add_group_member(adding("g101", "bea"))
        .await;
    assert_eq!(reason(&refused.expect_err("in a hundred")), "LIMIT_REACHED");
    daemon.stop().await;
}

#[tokio::test]
async fn a_group_of_very_many_is_emptied_before_it_is_deleted_and_expires_in_turns() {
    let daemon = greenhouse().await;
    daemon
        .groups()
        .create_group(v1::CreateGroupRequest {
            period: until(later(MINUTE)),
            ..new_group("crowd", &["gardener"])
        })
        .await
        .expect("created");
    write(&daemon, |organization| {
        let bea = organization.members.get("bea").expect("bea");
        let many = (0..=10_000).map(|number| {
            RecordChange::PutMember(Arc::new(Member {
                user: UserId::new(format!("m{number}")),
                groups: [(GroupId::new("crowd"), Period::ALWAYS)]
                    .into_iter()
                    .collect(),
                ..(**bea).clone()
            }))
        });
        many.collect()
    })
    .await;
    let delete = || v1::DeleteGroupRequest {
        organization: ACME.to_owned(),
        group: "crowd".to_owned(),
        ..Default::default()
    };
    let refused = daemon.groups().delete_group(delete()).await;
    let refused = refused.expect_err("too many");
    assert_eq!(reason(&refused), "LIMIT_REACHED");
    assert!(refused.message().contains("remove some first"));

    daemon.world.set(later(MINUTE));
    let left = || async {
        let snapshot = daemon.application.find(ACME).await.expect("acme");
        let organization = snapshot.organization();
        let members = organization.members_of_group("crowd").count();
        (members, organization.groups.contains_key("crowd"))
    };
    daemon.application.expire_due().await;
    assert_eq!(left().await, (1, true));
    daemon.application.expire_due().await;
    assert_eq!(left().await, (0, false));
    daemon.stop().await;
}

#[tokio::test]
async fn the_history_calls_it_by_name_and_tells_nothing_personal() {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found(ACME, "greenhouse").await;
    daemon.project(ACME, "tunnel").await;
    daemon.add(ACME, "bea", &[]).await;
    let before = store.head().sequence;
    daemon.group("crew", &["gardener"]).await;
    daemon.put_into("crew", &["bea"]).await;
    daemon.give_on_project("crew", "tunnel", &["visitor"]).await;
    daemon
        .groups()
        .delete_group(v1::DeleteGroupRequest {
            organization: ACME.to_owned(),
            group: "crew".to_owned(),
            ..Default::default()
        })
        .await
        .expect("deleted");
    let history = store.history(before, 10).expect("the history");
    let told: Vec<String> = history
        .iter()
        .flat_map(|entry| &entry.events)
        .map(|event| {
            let details: Vec<String> = event
                .details
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!(
                "{} {} {} {}",
                event.action,
                event.target_kind,
                event.target_id,
                details.join(" ")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "CreateGroup Group crew roles=gardener",
            "AddGroupMember Member bea group=crew",
            "SetGroupProjectRoles Group crew project=tunnel before= after=visitor",
            "DeleteGroup Group crew members=1",
        ]
    );
    assert_ne!(before, Sequence(0));
    daemon.stop().await;
}
