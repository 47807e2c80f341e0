//! Organizations that are found without an owner, or that name what is not there:
//! health tells of them until they are repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roster::domain::change::RecordChange;
use roster::domain::identifiers::{ActionId, OrganizationId, PlanId, RoleId, UserId};
use roster::domain::organization::{
    Group, Invitation, Member, Moment, Override, Profile, Role, Token, TokenScope,
};
use roster::domain::period::Period;
use roster::domain::permissions::{Permissions, When};
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::store::{Commit, HistoryEvent, Store};
use tokio_stream::StreamExt as _;
use tonic::Streaming;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::ACME;
use super::owners::{ownerless, past_every_rule};
use crate::harness::{Daemon, owned, question};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn health(daemon: &Daemon, service: &str) -> ServingStatus {
    let answer = HealthClient::new(daemon.bare()).check(of(service)).await;
    answer.expect("an answer").into_inner().status()
}

/// What is told next to somebody who watches.
async fn told(watched: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let next = watched.next().await.expect("a message");
    next.expect("an answer").status()
}

/// What health says of the organizations, to somebody without the key.
pub async fn integrity(daemon: &Daemon) -> ServingStatus {
    health(daemon, "integrity").await
}

/// Health says that something is unsound, and that all services are as they should be.
pub async fn is_told_unsound(daemon: &Daemon) {
    assert_eq!(integrity(daemon).await, ServingStatus::NotServing);
    for service in ["", "roster.v1.AuthorizationService"] {
        assert_eq!(health(daemon, service).await, ServingStatus::Serving);
    }
}

/// A daemon that found members of `acme` who hold the role `gone`, and the store.
async fn dangling(users: &[&str]) -> Daemon {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found(ACME, "greenhouse").await;
    super::set_plan(&daemon, "commercial").await;
    for user in users {
        daemon.add(ACME, user, &["gardener"]).await;
    }
    daemon.found("sound", "hypervisor-io").await;
    let id = OrganizationId::new(ACME);
    let (organization, _) = store.load(&id).expect("read").expect("there");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    daemon.stop().await;
    let records = users.iter().map(|user| {
        RecordChange::PutMember(Arc::new(Member {
            roles: vec![RoleId::new("gone")],
            ..organization
                .members
                .get(user)
                .expect("a member")
                .as_ref()
                .clone()
        }))
    });
    let commit = Commit {
        organization: id,
        expected: Some(organization.version),
        version: organization.version.next(),
        at: Moment(0),
        records: records.collect(),
        events: vec![HistoryEvent {
            action: "Import".to_owned(),
            ..HistoryEvent::default()
        }],
        idempotency: None,
        wake_at: None,
        on_commit: Box::new(|_| {}),
    };
    store.commit(commit).await.expect("a commit");
    Daemon::start_on(store).await
}

async fn set_roles(daemon: &Daemon, user: &str, roles: &[&str]) {
    let request = v1::SetMemberRolesRequest {
        organization: ACME.to_owned(),
        user: user.to_owned(),
        roles: owned(roles),
        ..Default::default()
    };
    let set = daemon.members().set_member_roles(request).await;
    set.expect("the roles are set");
}

#[tokio::test]
async fn r_06_health_tells_of_a_role_that_is_gone_until_nobody_holds_it() {
    let daemon = dangling(&["ann", "bob"]).await;
    is_told_unsound(&daemon).await;
    let mut client = HealthClient::new(daemon.bare());
    let watched = client.watch(of("integrity")).await.expect("a stream");
    let mut watched = watched.into_inner();
    assert_eq!(told(&mut watched).await, ServingStatus::NotServing);
    // What happens elsewhere, or to one of two, repairs nothing.
    daemon.add("sound", "eve", &["viewer"]).await;
    daemon.add(ACME, "cid", &["gardener"]).await;
    set_roles(&daemon, "ann", &["gardener"]).await;
    is_told_unsound(&daemon).await;
    set_roles(&daemon, "bob", &[]).await;
    assert_eq!(told(&mut watched).await, ServingStatus::Serving);
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    drop((watched, client));
    daemon.stop().await;
}

#[tokio::test]
async fn r_06_health_is_well_once_the_role_is_there() {
    let daemon = dangling(&["ann"]).await;
    is_told_unsound(&daemon).await;
    let asked = || question(ACME, "ann", "BuySeeds", "Organization", ACME);
    assert!(!daemon.allows(asked()).await);
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "gone".to_owned(),
        display_name: "Back".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&["BuySeeds"]),
            ..Default::default()
        }),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("a role");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    assert!(daemon.allows(asked()).await);
    daemon.stop().await;
}

#[tokio::test]
async fn r_06_health_is_well_once_the_organization_is_gone() {
    let daemon = dangling(&["ann"]).await;
    is_told_unsound(&daemon).await;
    let request = v1::DeleteOrganizationRequest {
        organization: ACME.to_owned(),
        ..Default::default()
    };
    let deleted = daemon.organizations().delete_organization(request).await;
    deleted.expect("deleted");
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    daemon.stop().await;
}

#[tokio::test]
async fn o_14_health_tells_of_an_organization_that_is_found_without_its_owner() {
    let daemon = ownerless().await;
    is_told_unsound(&daemon).await;
    daemon.add("sound", "eve", &["viewer"]).await;
    is_told_unsound(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn o_14_an_owner_who_goes_missing_under_way_is_told_of_at_once() {
    let daemon = Daemon::start().await;
    daemon.found(ACME, "greenhouse").await;
    assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
    super::owners::lose_the_owner(&daemon, ACME).await;
    is_told_unsound(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn r_06_whatever_record_comes_to_name_what_is_not_there_is_told_of_at_once() {
    let daemon = super::team_on_plan("greenhouse", "commercial").await;
    daemon.project(ACME, "north").await;
    daemon.add(ACME, "ann", &["gardener"]).await;
    daemon.group("crew", &["gardener"]).await;
    super::invited(&daemon, "ivy@x.example", &["gardener"]).await;
    let role = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "helper".to_owned(),
        display_name: "Helper".to_owned(),
        ..Default::default()
    };
    daemon.roles().create_role(role).await.expect("a role");
    daemon.add(ACME, "hal", &["helper"]).await;
    let scoped = v1::CreateTokenRequest {
        scope: Some(v1::TokenScope {
            actions: owned(&["WaterBed"]),
            ..Default::default()
        }),
        ..crate::tokens::member_token("ann")
    };
    crate::tokens::create(&daemon, scoped).await;

    for change in damaging(&daemon).await {
        assert_eq!(integrity(&daemon).await, ServingStatus::Serving);
        past_every_rule(&daemon, ACME, vec![change.damage.clone()]).await;
        assert_eq!(
            integrity(&daemon).await,
            ServingStatus::NotServing,
            "{:?}",
            change.damage
        );
        past_every_rule(&daemon, ACME, vec![change.repair]).await;
        assert_eq!(
            integrity(&daemon).await,
            ServingStatus::Serving,
            "{:?}",
            change.damage
        );
    }
    daemon.stop().await;
}

/// A record as it must not be, and as it was.
struct Damaging {
    damage: RecordChange,
    repair: RecordChange,
}

/// Every way in which a sound organization can be made to name what is not there.
async fn damaging(daemon: &Daemon) -> Vec<Damaging> {
    let snapshot = daemon
        .application
        .find(ACME)
        .await
        .expect("the organization");
    let organization = snapshot.organization();
    let gone = || vec![RoleId::new("gone")];
    let unknown = || Permissions {
        actions: BTreeMap::from([(When::Always, BTreeSet::from([ActionId::new("Gone")]))]),
        ..Permissions::default()
    };
    let conditional = Permissions {
        actions: BTreeMap::from([(When::Condition("gone".to_owned()), BTreeSet::new())]),
        ..Permissions::default()
    };
    let north = || organization.projects["north"].id.clone();
    let replaced = |roles, permissions| {
        let replaced = Override {
            roles,
            permissions,
            period: Period::ALWAYS,
            set_at: Moment(0),
        };
        BTreeMap::from([(north(), replaced)])
    };
    let mut all = Vec::new();

    let ann = organization.members.get("ann").expect("a member");
    let member = |change: &dyn Fn(&mut Member)| {
        let mut damaged = (**ann).clone();
        change(&mut damaged);
        Damaging {
            damage: RecordChange::PutMember(Arc::new(damaged)),
            repair: RecordChange::PutMember(Arc::clone(ann)),
        }
    };
    all.push(member(&|ann| ann.roles = gone()));
    all.push(member(&|ann| {
        ann.project_roles = BTreeMap::from([(north(), gone())]).into()
    }));
    all.push(member(&|ann| {
        ann.default_roles = BTreeMap::from([(0, gone())]).into()
    }));
    all.push(member(&|ann| {
        ann.overrides = replaced(gone(), Permissions::default()).into()
    }));
    all.push(member(&|ann| {
        ann.overrides = replaced(Vec::new(), unknown()).into()
    }));

    let crew = &organization.groups["crew"];
    for damaged in [
        Group {
            roles: gone(),
            ..(**crew).clone()
        },
        Group {
            project_roles: BTreeMap::from([(north(), gone())]),
            ..(**crew).clone()
        },
    ] {
        all.push(Damaging {
            damage: RecordChange::PutGroup(Arc::new(damaged)),
            repair: RecordChange::PutGroup(Arc::clone(crew)),
        });
    }

    let invitation = organization.invitations.values().next().expect("one");
    for damaged in [
        Invitation {
            roles: gone(),
            ..(**invitation).clone()
        },
        Invitation {
            overrides: replaced(Vec::new(), unknown()),
            ..(**invitation).clone()
        },
    ] {
        all.push(Damaging {
            damage: RecordChange::PutInvitation(Arc::new(damaged)),
            repair: RecordChange::PutInvitation(Arc::clone(invitation)),
        });
    }

    let helper = &organization.roles["helper"];
    for permissions in [unknown(), conditional] {
        all.push(Damaging {
            damage: RecordChange::PutRole(Arc::new(Role {
                permissions,
                ..(**helper).clone()
            })),
            repair: RecordChange::PutRole(Arc::clone(helper)),
        });
    }
    all.push(Damaging {
        damage: RecordChange::DeleteRole(helper.id.clone()),
        repair: RecordChange::PutRole(Arc::clone(helper)),
    });

    let token = organization.tokens.values().next().expect("one");
    all.push(Damaging {
        damage: RecordChange::PutToken(Arc::new(Token {
            scope: Some(TokenScope {
                actions: BTreeSet::from([ActionId::new("Gone")]),
                ..TokenScope::default()
            }),
            ..(**token).clone()
        })),
        repair: RecordChange::PutToken(Arc::clone(token)),
    });

    let profile = &organization.profile;
    for damaged in [
        Profile {
            owner: UserId::new("nobody"),
            ..(**profile).clone()
        },
        Profile {
            plan: PlanId::new("gone"),
            ..(**profile).clone()
        },
    ] {
        all.push(Damaging {
            damage: RecordChange::PutProfile(Arc::new(damaged)),
            repair: RecordChange::PutProfile(Arc::clone(profile)),
        });
    }
    all
}

#[tokio::test]
async fn who_watches_integrity_is_told_of_the_end_and_keeps_nothing_up() {
    let daemon = Daemon::start().await;
    let mut client = HealthClient::new(daemon.bare());
    let watched = client.watch(of("integrity")).await.expect("a stream");
    let mut watched = watched.into_inner();
    assert_eq!(told(&mut watched).await, ServingStatus::Serving);
    let stopping = tokio::spawn(daemon.stop());
    assert_eq!(told(&mut watched).await, ServingStatus::NotServing);
    assert!(watched.next().await.is_none(), "the stream has ended");
    drop((watched, client));
    stopping.await.expect("the daemon stops");
}
