//! Many people change one team at the same time, in an order nobody chose. Whatever
//! was agreed to and refused: there is one owner, no seat too many, nothing that
//! points nowhere, nobody above those who act, an event for each request, and an
//! unbroken chain.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use roster::domain::holdings::Counting;
use roster::domain::identifiers::{OrganizationId, RoleId};
use roster::domain::organization::{InvitationStatus, MemberKind, MemberStatus, Organization};
use roster::domain::rights::Where;
use roster::proto::v1;
use roster::store::Head;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use crate::harness::{Daemon, as_actor, owned};

const ACME: &str = "acme";
/// Schedules; `ROSTER_PROPTEST_CASES` asks for as many times more.
const SCHEDULES: u64 = 6;
const WORKERS: u64 = 6;
const STEPS: usize = 14;

/// A source of choices that a seed repeats (xorshift).
struct Dice(u64);

impl Dice {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("a side")
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.roll(among.len())]
    }
}

fn schedules() -> u64 {
    let more = std::env::var("ROSTER_PROPTEST_CASES").ok();
    SCHEDULES * more.and_then(|times| times.parse().ok()).unwrap_or(1)
}

const PEOPLE: [&str; 6] = ["ann", "bea", "cid", "dot", "eve", "fay"];
const ROLES: [&str; 5] = ["gardener", "shopkeeper", "digger", "helper", "people"];
const PROJECTS: [&str; 3] = ["north", "south", "east"];
const GROUPS: [&str; 2] = ["crew", "shift"];

/// Links that were handed out, to be accepted by whoever finds them.
type Links = Arc<Mutex<Vec<(String, String)>>>;

/// Sends one request on behalf of somebody, chosen by the dice. Answers with what
/// became of it.
async fn step(
    daemon: &Daemon,
    dice: &mut Dice,
    actors: &[&str],
    links: &Links,
) -> Result<(), Status> {
    let actor = dice.pick(actors);
    let user = dice.pick(&PEOPLE).to_owned();
    let role = dice.pick(&ROLES).to_owned();
    let project = dice.pick(&PROJECTS).to_owned();
    let group = dice.pick(&GROUPS).to_owned();
    let organization = ACME.to_owned();
    macro_rules! send {
        ($service:ident . $method:ident ( $message:ident { $($field:ident : $value:expr),* $(,)? })) => {{
            let message = v1::$message {
                organization,
                $($field: $value,)*
                ..Default::default()
            };
            let request = if actor.is_empty() {
                Request::new(message)
            } else {
                as_actor(actor, message)
            };
            daemon.$service().$method(request).await.map(drop)
        }};
    }
    let roles = vec![role.clone()];
    match dice.roll(22) {
        0 => send!(members.add_member(AddMemberRequest {
            user: user,
            roles: roles
        })),
        1 | 2 => send!(members.set_member_roles(SetMemberRolesRequest {
            user: user,
            roles: roles
        })),
        3 => send!(members.remove_member(RemoveMemberRequest { user: user })),
        4 => send!(members.suspend_member(SuspendMemberRequest { user: user })),
        5 => send!(members.reinstate_member(ReinstateMemberRequest { user: user })),
        6 => send!(members.leave_organization(LeaveOrganizationRequest { user: user })),
        7 | 8 => {
            let email = format!("{user}@x.example");
            let message = v1::CreateInvitationRequest {
                organization,
                invitation: Some(v1::NewInvitation {
                    email: email.clone(),
                    roles,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let request = if actor.is_empty() {
                Request::new(message)
            } else {
                as_actor(actor, message)
            };
            let sent = daemon.invitations().create_invitation(request).await?;
            let token = sent.into_inner().token;
            links.lock().expect("links").push((email, token));
            Ok(())
        }
        9 | 10 => {
            let link = links.lock().expect("links").pop();
            let (email, token) = link.unwrap_or_default();
            let accept = v1::AcceptInvitationRequest {
                organization,
                user: email.split('@').next().unwrap_or_default().to_owned(),
                token,
                email,
                ..Default::default()
            };
            daemon
                .invitations()
                .accept_invitation(accept)
                .await
                .map(drop)
        }
        11 => send!(roles.create_role(CreateRoleRequest {
            role_id: role.clone(),
            display_name: format!("The {role}"),
            permissions: Some(v1::Permissions {
                actions: owned(&["WaterBed"]),
                ..Default::default()
            }),
        })),
        12 => send!(roles.delete_role(DeleteRoleRequest { role: role })),
        13 => send!(projects.create_project(CreateProjectRequest {
            project_id: project.clone(),
            display_name: project,
        })),
        14 => send!(projects.delete_project(DeleteProjectRequest { project: project })),
        15 => send!(projects.set_project_roles(SetProjectRolesRequest {
            project: project,
            user: user,
            roles: roles,
        })),
        16 => send!(projects.set_project_override(SetProjectOverrideRequest {
            project: project,
            user: user,
            roles: roles,
        })),
        17 => send!(groups.create_group(CreateGroupRequest {
            group_id: group.clone(),
            display_name: group,
            roles: roles,
        })),
        18 => send!(groups.delete_group(DeleteGroupRequest { group: group })),
        19 => send!(groups.add_group_member(AddGroupMemberRequest {
            group: group,
            user: user
        })),
        20 => send!(organizations.transfer_ownership(TransferOwnershipRequest { user: user })),
        _ => send!(tokens.create_token(CreateTokenRequest {
            kind: v1::TokenKind::Member.into(),
            subject: user,
            display_name: "Laptop".to_owned(),
        })),
    }
}

/// Lets workers take their steps at the same time; answers with how many requests
/// were understood, each of which the history must tell of once.
async fn run(daemon: &Arc<Daemon>, seed: u64, actors: &'static [&'static str]) -> usize {
    let links: Links = Arc::default();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (daemon, links) = (Arc::clone(daemon), Arc::clone(&links));
        workers.spawn(async move {
            let mut dice = Dice::of(seed * 1_000 + worker + 1);
            let mut told = 0;
            for _ in 0..STEPS {
                match step(&daemon, &mut dice, actors, &links).await {
                    Ok(()) => told += 1,
                    Err(status) => {
                        let understood = [
                            Code::InvalidArgument,
                            Code::NotFound,
                            Code::AlreadyExists,
                            Code::PermissionDenied,
                            Code::FailedPrecondition,
                            Code::ResourceExhausted,
                        ];
                        assert!(understood.contains(&status.code()), "{status:?}");
                        told += 1;
                    }
                }
            }
            told
        });
    }
    let mut told = 0;
    while let Some(worker) = workers.join_next().await {
        told += worker.expect("no panic");
    }
    told
}

/// Everything that names something names something that is there.
fn check_references(organization: &Organization, catalog: &roster::domain::Catalog) {
    let role_is_there = |role: &RoleId| {
        assert!(
            organization.roles.contains_key(role.as_str()) || catalog.role(role.as_str()).is_some(),
            "role `{role}` is gone"
        );
    };
    for member in organization.members.values() {
        member.roles.iter().for_each(role_is_there);
        member
            .project_roles
            .values()
            .flatten()
            .for_each(role_is_there);
        member
            .default_roles
            .values()
            .flatten()
            .for_each(role_is_there);
        for replaced in member.overrides.values() {
            replaced.roles.iter().for_each(role_is_there);
        }
        for project in member.project_roles.keys().chain(member.overrides.keys()) {
            assert!(organization.projects.contains_key(project), "{project}");
        }
        for group in member.groups.keys() {
            assert!(organization.groups.contains_key(group), "{group}");
        }
        for role in member.periods.roles.keys() {
            assert!(member.roles.contains(role), "{role}");
        }
    }
    for group in organization.groups.values() {
        group.roles.iter().for_each(role_is_there);
        for (project, roles) in &group.project_roles {
            assert!(organization.projects.contains_key(project), "{project}");
            roles.iter().for_each(role_is_there);
        }
    }
    for invitation in organization.invitations.values() {
        if invitation.status == InvitationStatus::Pending {
            invitation.roles.iter().for_each(role_is_there);
        }
    }
    for token in organization.tokens.values() {
        let subject = organization.members.get(token.subject.as_str());
        let subject = subject.expect("the subject of a token is there");
        assert_eq!(subject.membership, token.membership);
    }
}

/// What holds after every schedule.
async fn check(daemon: &Daemon, told_before: usize, told: usize) {
    let snapshot = daemon.application.find(ACME).await.expect("it is there");
    let organization = snapshot.organization();
    let catalog = snapshot.catalog().catalog();
    let owner = organization
        .members
        .get(organization.profile.owner.as_str());
    let owner = owner.expect("the owner is a member");
    assert_eq!(owner.status, MemberStatus::Active);
    assert_eq!(owner.kind, MemberKind::Person);
    check_references(organization, catalog);

    let id = OrganizationId::new(ACME);
    let (stored, _) = daemon.store.load(&id).expect("read").expect("there");
    assert_eq!(format!("{stored:?}"), format!("{organization:?}"));

    let events = daemon.store.events(&id, None, 1_000_000).expect("events");
    assert_eq!(
        events.len() - told_before,
        told,
        "an event for each request"
    );
    let mut head = Head::default();
    while head != daemon.store.head() {
        head = daemon.store.verify(head, 100).expect("an unbroken chain");
    }
}

/// A nursery with a manager by a custom role, `mia`, and a head gardener, `hugo`.
async fn nursery(daemon: &Daemon) -> usize {
    daemon.found(ACME, "greenhouse").await;
    let plan = v1::SetPlanRequest {
        organization: ACME.to_owned(),
        plan: "commercial".to_owned(),
        ..Default::default()
    };
    daemon
        .organizations()
        .set_plan(plan)
        .await
        .expect("the plan is set");
    let people = v1::CreateRoleRequest {
        organization: ACME.to_owned(),
        role_id: "people".to_owned(),
        display_name: "People".to_owned(),
        permissions: Some(v1::Permissions {
            actions: owned(&[
                "InviteMember",
                "ChangeMemberRole",
                "SuspendMember",
                "ReinstateMember",
                "RemoveMember",
                "ManageGroups",
                "ManageProjectMembers",
                "SetProjectOverride",
                "CreateRole",
                "DeleteRole",
                "ManageTokens",
                "WaterBed",
            ]),
            ..Default::default()
        }),
        ..Default::default()
    };
    daemon
        .roles()
        .create_role(people)
        .await
        .expect("the role is created");
    daemon.add(ACME, "mia", &["people"]).await;
    daemon.add(ACME, "max", &["people"]).await;
    daemon.add(ACME, "hugo", &["head-gardener"]).await;
    for person in &PEOPLE[..3] {
        daemon.add(ACME, person, &[]).await;
    }
    daemon.project(ACME, "north").await;
    let id = OrganizationId::new(ACME);
    daemon.store.events(&id, None, 1_000).expect("events").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_does_what_at_the_same_time_the_team_stays_whole() {
    for seed in 0..schedules() {
        let daemon = Arc::new(Daemon::start().await);
        let before = nursery(&daemon).await;
        let told = run(&daemon, seed, &["", "owner", "hugo", "mia", "ann"]).await;
        check(&daemon, before, told).await;
        Arc::into_inner(daemon).expect("nobody else").stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn managers_among_themselves_make_nobody_more_than_they_are() {
    for seed in 0..schedules() {
        let daemon = Arc::new(Daemon::start().await);
        let before = nursery(&daemon).await;
        let told = run(&daemon, seed + 500, &["mia", "max", "ann", "bea"]).await;
        check(&daemon, before, told).await;

        let snapshot = daemon.application.find(ACME).await.expect("it is there");
        let organization = snapshot.organization();
        let catalog = snapshot.catalog().catalog();
        let ever = Counting::Ever;
        let mut places = vec![Where::Account, Where::Outside];
        let projects = organization.projects.values();
        places.extend(projects.map(|project| Where::Project((**project).clone())));
        let above: BTreeSet<&str> = ["owner", "hugo"].into();
        let role = organization.roles.get("people").expect("nobody deleted it");
        for member in organization.members.values() {
            if above.contains(member.user.as_str()) {
                continue;
            }
            for place in &places {
                let level = match place {
                    Where::Account => roster::domain::catalog::Level::Account,
                    Where::Outside | Where::Project(_) => roster::domain::catalog::Level::Project,
                };
                let most = roster::domain::rights::Rights::of(catalog, &role.permissions, level);
                let held = organization.rights(catalog, member, place, ever);
                let beyond = held.beyond(&most, catalog);
                assert!(
                    beyond.is_empty(),
                    "{}: {beyond:?} in {place:?}",
                    member.user
                );
            }
        }
        Arc::into_inner(daemon).expect("nobody else").stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_race_takes_a_seat_too_many() {
    for (catalog, plan, seats) in [("qoc-cloud", "pro", 5), ("greenhouse", "window-sill", 3)] {
        let daemon = Arc::new(Daemon::start().await);
        daemon.found(ACME, catalog).await;
        let request = v1::SetPlanRequest {
            organization: ACME.to_owned(),
            plan: plan.to_owned(),
            ..Default::default()
        };
        daemon
            .organizations()
            .set_plan(request)
            .await
            .expect("the plan is set");
        let mut joining = JoinSet::new();
        for number in 0..12 {
            let daemon = Arc::clone(&daemon);
            joining.spawn(async move {
                let email = format!("guest-{number}@x.example");
                let create = v1::CreateInvitationRequest {
                    organization: ACME.to_owned(),
                    invitation: Some(v1::NewInvitation {
                        email: email.clone(),
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                let sent = daemon.invitations().create_invitation(create).await;
                let sent = sent.map_err(|status| status.code())?;
                let accept = v1::AcceptInvitationRequest {
                    organization: ACME.to_owned(),
                    token: sent.into_inner().token,
                    user: format!("guest-{number}"),
                    email,
                    ..Default::default()
                };
                let joined = daemon.invitations().accept_invitation(accept).await;
                joined.map(drop).map_err(|status| status.code())
            });
        }
        let mut joined = 0;
        while let Some(outcome) = joining.join_next().await {
            match outcome.expect("no panic") {
                Ok(()) => joined += 1,
                Err(code) => assert_eq!(code, Code::ResourceExhausted),
            }
        }
        assert_eq!(
            joined + 1,
            seats,
            "{catalog}: every seat, and none too many"
        );
        let snapshot = daemon.application.find(ACME).await.expect("it is there");
        assert_eq!(snapshot.organization().members.len(), seats);
        drop(snapshot);
        Arc::into_inner(daemon).expect("nobody else").stop().await;
    }
}
