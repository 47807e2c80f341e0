//! Clients that write to a daemon which is killed again and again, and what must be
//! there after each time.
//!
//! Every client keeps a [`Team`] of its own, a small model of what it has asked
//! for, and one organization is written by all. A request that was under way when
//! the daemon died may have happened or not, but never half.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use roster::application::revision;
use roster::domain::change::RecordChange;
use roster::domain::identifiers::OrganizationId;
use roster::domain::organization::{Organization, Version};
use roster::proto::v1;
use roster::proto::v1::audit_service_client::AuditServiceClient;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::member_service_client::MemberServiceClient;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use roster::proto::v1::project_service_client::ProjectServiceClient;
use roster::proto::v1::resource_service_client::ResourceServiceClient;
use roster::store::record::{Entry, Stored, link};
use roster::store::sled::{OpenOptions, SledStore};
use roster::store::{HistoryEntry, Sequence, Store};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::program::{Daemon, Process, serve, signed};

const WRITERS: u64 = 4;
/// After how many changes a client begins with another organization.
const CHANGES_OF_A_TEAM: u64 = 40;
const SHARED: &str = "shared";
const OWNER: &str = "owner";

/// What came of a storm.
#[derive(Debug, Default)]
pub struct Storm {
    /// What the run was made from.
    pub seed: u64,
    /// How often a daemon was killed while it served, and while it started.
    pub killed: u64,
    pub killed_early: u64,
    /// Changes that were acknowledged; all of them were there at the end.
    pub acknowledged: usize,
    /// How long each start took, from the program's start until it listens.
    pub starts: Vec<Duration>,
    /// What each start took of the processor, whatever else the machine was doing.
    pub worked: Vec<Duration>,
}

impl Storm {
    /// Kills a daemon on a directory so many times while it is written to, and looks
    /// after each time at what was acknowledged; `told` hears after each how it goes.
    pub async fn run(directory: &Path, lives: u64, told: impl Fn(&Self)) -> Self {
        let mut random = Random::from_environment();
        let _told = ToldOnFailure(random.0);
        let mut storm = Self {
            seed: random.0,
            ..Self::default()
        };
        let mut ledger = Ledger::default();
        let mut writers: Vec<Writer> = (0..WRITERS)
            .map(|number| Writer::new(number, Random(random.next())))
            .collect();
        for life in 0..lives {
            if life % 8 == 7 {
                kill_while_it_starts(directory, &mut random);
                storm.killed_early += 1;
                continue;
            }
            let daemon = storm.start(directory);
            let connection = Connection::to(&daemon).await;
            ledger.found_shared(&connection).await;
            ledger.settle(&connection, &mut random).await;
            writers = write_and_kill(daemon, writers, &mut ledger, &mut random).await;
            storm.killed += 1;
            storm.acknowledged = ledger.acknowledged.len();
            told(&storm);
        }

        let daemon = storm.start(directory);
        let connection = Connection::to(&daemon).await;
        ledger.settle(&connection, &mut random).await;
        ledger.assert_all(&connection).await;
        let trails = ledger.trails(&daemon).await;
        daemon.stop();
        assert_history(directory, &ledger);
        assert_trails(directory, &trails);
        storm.acknowledged = ledger.acknowledged.len();
        storm
    }

    /// Writes until a daemon dies of what is armed in it, and looks then at what was
    /// acknowledged. Answers how many changes were.
    pub async fn until_it_dies(directory: &Path, failpoint: &str) -> usize {
        let mut random = Random(1);
        let mut ledger = Ledger::default();
        let daemon = Daemon::start_armed(directory, failpoint);
        let killed = Arc::new(AtomicBool::new(true));
        let (acknowledged, _counted) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for number in 0..WRITERS {
            let connection = Connection::to(&daemon).await;
            let writer = Writer::new(number, Random(random.next()));
            let (killed, acknowledged) = (Arc::clone(&killed), acknowledged.clone());
            tasks.push(tokio::spawn(async move {
                // In organizations of their own, as nobody founded the shared one.
                writer
                    .alone()
                    .write_until_killed(&connection, &killed, &acknowledged)
                    .await
            }));
        }
        for task in tasks {
            let (_, answers) = task.await.expect("a writer");
            ledger.take(answers);
        }
        let ended = daemon.process.ended();
        assert_eq!(ended.code(), None, "{}{}", ended.stdout, ended.stderr);

        let daemon = Daemon::start(directory);
        let connection = Connection::to(&daemon).await;
        ledger.settle(&connection, &mut random).await;
        ledger.assert_all(&connection).await;
        let trails = ledger.trails(&daemon).await;
        daemon.stop();
        assert_history(directory, &ledger);
        assert_trails(directory, &trails);
        ledger.acknowledged.len()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long starts take is told, and nothing hangs on it"
    )]
    fn start(&mut self, directory: &Path) -> Daemon {
        let begun = Instant::now();
        let daemon = Daemon::start(directory);
        self.starts.push(begun.elapsed());
        self.worked.extend(daemon.process.worked());
        daemon
    }
}

/// Prints how to have the same run again.
struct ToldOnFailure(u64);

impl Drop for ToldOnFailure {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("to repeat this run: ROSTER_TEST_SEED={}", self.0);
        }
    }
}

/// SplitMix64: repeatable, and nothing hangs on its quality.
struct Random(u64);

impl Random {
    fn from_environment() -> Self {
        let seed = std::env::var("ROSTER_TEST_SEED")
            .ok()
            .map(|seed| seed.parse().expect("ROSTER_TEST_SEED is a number"));
        Self(seed.unwrap_or_else(|| u64::from(std::process::id())))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn pick<T: Clone>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        let at = usize::try_from(self.below(all.len() as u64)).unwrap();
        all.get(at).cloned()
    }

    fn role(&mut self) -> String {
        self.pick(["operator", "viewer"]).unwrap().to_owned()
    }
}

fn kill_while_it_starts(directory: &Path, random: &mut Random) {
    let mut process = Process::spawn(&mut serve(directory));
    thread::sleep(Duration::from_millis(random.below(600)));
    process.kill();
    process.ended();
}

async fn write_and_kill(
    mut daemon: Daemon,
    writers: Vec<Writer>,
    ledger: &mut Ledger,
    random: &mut Random,
) -> Vec<Writer> {
    let killed = Arc::new(AtomicBool::new(false));
    let (acknowledged, mut counted) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for writer in writers {
        let connection = Connection::to(&daemon).await;
        let (killed, acknowledged) = (Arc::clone(&killed), acknowledged.clone());
        tasks.push(tokio::spawn(async move {
            writer
                .write_until_killed(&connection, &killed, &acknowledged)
                .await
        }));
    }
    drop(acknowledged);
    for _ in 0..random.below(120) {
        counted
            .recv()
            .await
            .expect("the daemon answers until it is killed");
    }
    thread::sleep(Duration::from_micros(random.below(3_000)));
    killed.store(true, Ordering::SeqCst);
    daemon.process.kill();
    let mut writers = Vec::new();
    for task in tasks {
        let (writer, answers) = task.await.expect("a writer");
        ledger.take(answers);
        writers.push(writer);
    }
    daemon.process.ended();
    writers
}

/// What a client can ask for.
#[derive(Clone, Debug)]
enum Wish {
    Found,
    Add {
        user: String,
        role: String,
    },
    SetRole {
        user: String,
        role: String,
    },
    Suspend {
        user: String,
    },
    Reinstate {
        user: String,
    },
    Remove {
        user: String,
    },
    CreateProject {
        project: String,
    },
    DeleteProject {
        project: String,
    },
    Override {
        project: String,
        user: String,
        role: String,
    },
    Register {
        id: String,
        project: String,
        owner: String,
    },
}

/// A wish under way, or acknowledged.
#[derive(Clone, Debug)]
struct Sent {
    organization: String,
    request_id: String,
    wish: Wish,
}

/// What an organization should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Team {
    founded: bool,
    members: BTreeMap<String, Mate>,
    projects: BTreeSet<String>,
    /// Project and owner by id.
    resources: BTreeMap<String, (String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mate {
    roles: Vec<String>,
    suspended: bool,
    /// The overriding role by project.
    overrides: BTreeMap<String, String>,
}

impl Team {
    fn after(&self, wish: &Wish) -> Self {
        let mut team = self.clone();
        let mate = |team: &mut Self, user: &str, change: &dyn Fn(&mut Mate)| {
            change(team.members.get_mut(user).expect("a member"));
        };
        match wish {
            Wish::Found => {
                team.founded = true;
                team.members.insert(OWNER.to_owned(), Mate::default());
            }
            Wish::Add { user, role } => {
                let roles = vec![role.clone()];
                team.members.insert(
                    user.clone(),
                    Mate {
                        roles,
                        ..Mate::default()
                    },
                );
            }
            Wish::SetRole { user, role } => {
                mate(&mut team, user, &|mate| mate.roles = vec![role.clone()]);
            }
            Wish::Suspend { user } => mate(&mut team, user, &|mate| mate.suspended = true),
            Wish::Reinstate { user } => mate(&mut team, user, &|mate| mate.suspended = false),
            Wish::Remove { user } => {
                team.members.remove(user);
                for (_, owner) in team.resources.values_mut() {
                    if owner == user {
                        OWNER.clone_into(owner);
                    }
                }
            }
            Wish::CreateProject { project } => {
                team.projects.insert(project.clone());
            }
            Wish::DeleteProject { project } => {
                team.projects.remove(project);
                for mate in team.members.values_mut() {
                    mate.overrides.remove(project);
                }
            }
            Wish::Override {
                project,
                user,
                role,
            } => mate(&mut team, user, &|mate| {
                mate.overrides.insert(project.clone(), role.clone());
            }),
            Wish::Register { id, project, owner } => {
                team.resources
                    .insert(id.clone(), (project.clone(), owner.clone()));
            }
        }
        team
    }

    /// Whether a member may manage instances in a project.
    fn may_manage(&self, user: &str, project: &str) -> bool {
        let mate = &self.members[user];
        let held = mate.overrides.get(project).or(mate.roles.first());
        user == OWNER || (!mate.suspended && held.is_some_and(|role| role == "operator"))
    }

    /// Something that can be asked of this team.
    fn wish(&self, random: &mut Random) -> Wish {
        if !self.founded {
            return Wish::Found;
        }
        let fresh = random.next();
        let mates = || self.members.iter().filter(|(user, _)| *user != OWNER);
        let active = random.pick(mates().filter(|(_, mate)| !mate.suspended));
        let suspended = random.pick(mates().filter(|(_, mate)| mate.suspended));
        let project = random.pick(self.projects.iter().cloned());
        let empty = random.pick(self.projects.iter().filter(|project| {
            self.resources
                .values()
                .all(|(occupied, _)| occupied != *project)
        }));
        let user = active.map(|(user, _)| user.clone());
        let role = random.role();
        let wish = match random.below(10) {
            0 | 1 => Some(Wish::CreateProject {
                project: format!("p{fresh:x}"),
            }),
            2 => user.map(|user| Wish::SetRole {
                user,
                role: role.clone(),
            }),
            3 => user.map(|user| Wish::Suspend { user }),
            4 => suspended.map(|(user, _)| Wish::Reinstate { user: user.clone() }),
            5 => user.map(|user| Wish::Remove { user }),
            6 => empty.map(|project| Wish::DeleteProject {
                project: project.clone(),
            }),
            7 => user.zip(project).map(|(user, project)| Wish::Override {
                project,
                user,
                role: role.clone(),
            }),
            8 => user.zip(project).map(|(owner, project)| Wish::Register {
                id: format!("r{fresh:x}"),
                project,
                owner,
            }),
            _ => None,
        };
        wish.unwrap_or_else(|| Wish::Add {
            user: format!("u{fresh:x}"),
            role,
        })
    }
}

/// A client that writes until the daemon is gone.
struct Writer {
    random: Random,
    number: u64,
    /// Whether it writes to no organization that others write to.
    alone: bool,
    sent: u64,
    team: Team,
    organization: String,
}

impl Writer {
    fn new(number: u64, random: Random) -> Self {
        Self {
            random,
            number,
            alone: false,
            sent: 0,
            team: Team::default(),
            organization: String::new(),
        }
    }

    fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    fn next(&mut self) -> Sent {
        if self.sent.is_multiple_of(CHANGES_OF_A_TEAM) {
            self.organization = format!("team-{}-{}", self.number, self.sent);
            self.team = Team::default();
        }
        self.sent += 1;
        let request_id = format!("w{}-{}", self.number, self.sent);
        if self.sent % 5 == 4 && !self.alone {
            return Sent {
                organization: SHARED.to_owned(),
                wish: Wish::Add {
                    user: request_id.clone(),
                    role: self.random.role(),
                },
                request_id,
            };
        }
        let wish = self.team.wish(&mut self.random);
        // One that stays unanswered is repeated before the next, so it will have happened.
        self.team = self.team.after(&wish);
        Sent {
            organization: self.organization.clone(),
            request_id,
            wish,
        }
    }

    /// What was sent with the revision it was acknowledged at, in order; the last has none.
    async fn write_until_killed(
        mut self,
        connection: &Connection,
        killed: &AtomicBool,
        acknowledged: &mpsc::UnboundedSender<()>,
    ) -> (Self, Vec<(Sent, Option<Sequence>)>) {
        let mut answers = Vec::new();
        loop {
            let sent = self.next();
            match connection.send(&sent).await {
                Ok(revision) => {
                    answers.push((sent, Some(revision)));
                    let _ = acknowledged.send(());
                }
                Err(status) => {
                    assert!(killed.load(Ordering::SeqCst), "{sent:?}: {status:?}");
                    answers.push((sent, None));
                    return (self, answers);
                }
            }
        }
    }
}

/// All that was acknowledged, and what is open.
#[derive(Default)]
struct Ledger {
    teams: BTreeMap<String, Team>,
    acknowledged: Vec<(Sent, Sequence)>,
    /// How many of them were seen again after a crash.
    seen_again: usize,
    open: Vec<Sent>,
}

impl Ledger {
    fn acknowledge(&mut self, sent: Sent, revision: Sequence) {
        let team = self.teams.entry(sent.organization.clone()).or_default();
        *team = team.after(&sent.wish);
        self.acknowledged.push((sent, revision));
    }

    /// Takes note of what was sent and perhaps answered.
    fn take(&mut self, answers: Vec<(Sent, Option<Sequence>)>) {
        for (sent, answer) in answers {
            match answer {
                Some(revision) => self.acknowledge(sent, revision),
                None => self.open.push(sent),
            }
        }
    }

    async fn found_shared(&mut self, connection: &Connection) {
        let sent = Sent {
            organization: SHARED.to_owned(),
            request_id: "found-shared".to_owned(),
            wish: Wish::Found,
        };
        let revision = connection
            .send(&sent)
            .await
            .expect("the shared organization");
        if !self.teams.contains_key(SHARED) {
            self.acknowledge(sent, revision);
        }
    }

    /// After a crash: what was acknowledged is there, what was open happened wholly or
    /// not at all, and repeating a request gives the answer it had or would have had.
    async fn settle(&mut self, connection: &Connection, random: &mut Random) {
        let recent = self.acknowledged[self.seen_again..].iter();
        let mut touched: BTreeSet<String> =
            recent.map(|(sent, _)| sent.organization.clone()).collect();
        touched.extend(self.open.iter().map(|sent| sent.organization.clone()));

        for organization in &touched {
            let base = self.teams.get(organization).cloned().unwrap_or_default();
            let open = self
                .open
                .iter()
                .filter(|sent| sent.organization == *organization);
            let mut possible = vec![base];
            for sent in open {
                let happened: Vec<Team> =
                    possible.iter().map(|team| team.after(&sent.wish)).collect();
                possible.extend(happened);
            }
            let found = connection.read(organization).await;
            assert!(
                possible.contains(&found),
                "`{organization}` is {found:#?}\nand should be one of {possible:#?}"
            );
        }
        for sent in std::mem::take(&mut self.open) {
            let revision = connection.send(&sent).await.expect("a repeated request");
            self.acknowledge(sent, revision);
        }
        for organization in &touched {
            connection
                .assert_is(organization, &self.teams[organization])
                .await;
        }
        let newest = self
            .acknowledged
            .len()
            .saturating_sub(self.seen_again)
            .min(40);
        let older = random.below(self.acknowledged.len() as u64);
        let newest = self.acknowledged.iter().rev().take(newest);
        for (sent, revision) in newest.chain(self.acknowledged.get(usize::try_from(older).unwrap()))
        {
            let again = connection.send(sent).await.expect("a repeated request");
            assert_eq!(again, *revision, "{sent:?}");
        }
        self.seen_again = self.acknowledged.len();
    }

    /// Every event of every organization as ListEvents tells it, the newest first.
    async fn trails(&self, daemon: &Daemon) -> BTreeMap<String, Vec<String>> {
        let mut audit = AuditServiceClient::new(daemon.connect().await);
        let mut trails = BTreeMap::new();
        for organization in self.teams.keys() {
            let mut trail: Vec<String> = Vec::new();
            let mut request = v1::ListEventsRequest {
                organization: organization.to_string(),
                page_size: 100,
                ..Default::default()
            };
            loop {
                let page = audit.list_events(daemon.signed(request.clone())).await;
                let page = page.expect("a page of events").into_inner();
                trail.extend(page.events.iter().map(|event| {
                    let (action, target) = (&event.action, &event.target_id);
                    format!("{} {action} {target} {}", event.id, event.reason)
                }));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            trails.insert(organization.to_string(), trail);
        }
        trails
    }

    async fn assert_all(&self, connection: &Connection) {
        for (organization, team) in &self.teams {
            connection.assert_is(organization, team).await;
        }
        for (sent, revision) in &self.acknowledged {
            let again = connection.send(sent).await.expect("a repeated request");
            assert_eq!(again, *revision, "{sent:?}");
        }
    }
}

/// A client's connection.
struct Connection {
    channel: Channel,
    key: String,
}

impl Connection {
    async fn to(daemon: &Daemon) -> Self {
        Self {
            channel: daemon.connect().await,
            key: daemon.key.clone(),
        }
    }

    /// Asks for a change; its revision.
    async fn send(&self, sent: &Sent) -> Result<Sequence, Status> {
        let organization = sent.organization.clone();
        let request_id = sent.request_id.clone();
        let mut members = MemberServiceClient::new(self.channel.clone());
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        macro_rules! ask {
            ($client:expr, $method:ident, $message:ident { $($field:ident: $value:expr),* $(,)? }) => {
                $client
                    .$method(signed(&self.key, v1::$message {
                        organization,
                        request_id,
                        $($field: $value,)*
                        ..Default::default()
                    }))
                    .await?
                    .into_inner()
                    .revision
            };
        }
        let revision = match sent.wish.clone() {
            Wish::Found => {
                OrganizationServiceClient::new(self.channel.clone())
                    .create_organization(signed(
                        &self.key,
                        v1::CreateOrganizationRequest {
                            display_name: "A team".to_owned(),
                            organization_id: organization,
                            catalog: "hypervisor-io".to_owned(),
                            owner: OWNER.to_owned(),
                            request_id,
                            ..Default::default()
                        },
                    ))
                    .await?
                    .into_inner()
                    .revision
            }
            Wish::Add { user, role } => {
                ask!(
                    members,
                    add_member,
                    AddMemberRequest {
                        user: user,
                        roles: vec![role]
                    }
                )
            }
            Wish::SetRole { user, role } => {
                ask!(
                    members,
                    set_member_roles,
                    SetMemberRolesRequest {
                        user: user,
                        roles: vec![role]
                    }
                )
            }
            Wish::Suspend { user } => {
                ask!(members, suspend_member, SuspendMemberRequest { user: user })
            }
            Wish::Reinstate { user } => {
                ask!(
                    members,
                    reinstate_member,
                    ReinstateMemberRequest { user: user }
                )
            }
            Wish::Remove { user } => ask!(
                members,
                remove_member,
                RemoveMemberRequest {
                    user: user,
                    reassign_resources_to: OWNER.to_owned()
                }
            ),
            Wish::CreateProject { project } => ask!(
                projects,
                create_project,
                CreateProjectRequest {
                    project_id: project.clone(),
                    display_name: project
                }
            ),
            Wish::DeleteProject { project } => {
                ask!(
                    projects,
                    delete_project,
                    DeleteProjectRequest { project: project }
                )
            }
            Wish::Override {
                project,
                user,
                role,
            } => ask!(
                projects,
                set_project_override,
                SetProjectOverrideRequest {
                    project: project,
                    user: user,
                    roles: vec![role]
                }
            ),
            Wish::Register { id, project, owner } => ask!(
                ResourceServiceClient::new(self.channel.clone()),
                register_resource,
                RegisterResourceRequest {
                    r#type: "Instance".to_owned(),
                    id: id,
                    project: project,
                    owner: owner,
                }
            ),
        };
        Ok(revision::parse(&revision)
            .expect("a revision")
            .expect("a revision"))
    }

    /// What an organization is, as its lists say.
    async fn read(&self, organization: &str) -> Team {
        let organization = organization.to_owned();
        let mut team = Team::default();
        let mut page_token = String::new();
        loop {
            let request = v1::ListMembersRequest {
                organization: organization.clone(),
                page_size: 1_000,
                page_token,
                ..Default::default()
            };
            let mut members = MemberServiceClient::new(self.channel.clone());
            let page = match members.list_members(signed(&self.key, request)).await {
                Ok(page) => page.into_inner(),
                Err(status) => {
                    assert_eq!(status.code(), Code::NotFound, "{status:?}");
                    return team;
                }
            };
            team.founded = true;
            for member in page.members {
                let mate = Mate {
                    suspended: member.status() == v1::MemberStatus::Suspended,
                    overrides: member
                        .overrides
                        .into_iter()
                        .map(|set| (set.project, set.roles.join(" ")))
                        .collect(),
                    roles: member.roles,
                };
                team.members.insert(member.user, mate);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let projects = v1::ListProjectsRequest {
            organization: organization.clone(),
            page_size: 1_000,
            ..Default::default()
        };
        let projects = ProjectServiceClient::new(self.channel.clone())
            .list_projects(signed(&self.key, projects))
            .await
            .expect("projects")
            .into_inner();
        team.projects = projects.projects.into_iter().map(|one| one.id).collect();
        let resources = v1::ListResourcesRequest {
            organization,
            page_size: 1_000,
            ..Default::default()
        };
        let resources = ResourceServiceClient::new(self.channel.clone())
            .list_resources(signed(&self.key, resources))
            .await
            .expect("resources")
            .into_inner();
        team.resources = resources
            .resources
            .into_iter()
            .map(|one| (one.id, (one.project, one.owner)))
            .collect();
        team
    }

    /// An organization is that team, and its checks say so.
    async fn assert_is(&self, organization: &str, team: &Team) {
        assert_eq!(&self.read(organization).await, team, "`{organization}`");
        let mut expected = Vec::new();
        let mut requests = Vec::new();
        for user in team.members.keys() {
            for project in team.projects.iter().take(4) {
                let question = crate::harness::question(
                    organization,
                    user,
                    "InstancesManage",
                    "Instance",
                    "x",
                );
                requests.push(crate::harness::in_project(question, project));
                expected.push(team.may_manage(user, project));
            }
        }
        let batch = v1::BatchIsAuthorizedRequest {
            requests,
            ..Default::default()
        };
        let answers = AuthorizationServiceClient::new(self.channel.clone())
            .batch_is_authorized(signed(&self.key, batch))
            .await
            .expect("answers")
            .into_inner();
        let allowed: Vec<bool> = answers
            .items
            .into_iter()
            .map(|item| match item.result {
                Some(v1::batch_item::Result::Response(answer)) => {
                    answer.decision() == v1::Decision::Allow
                }
                other => panic!("no answer but {other:?}"),
            })
            .collect();
        assert_eq!(allowed, expected, "checks of `{organization}`");
    }
}

/// The history has no gap, its chain is what its entries say, the state is what the
/// entries make, and every acknowledged request is one of them.
fn assert_history(directory: &Path, ledger: &Ledger) {
    let store = SledStore::open(directory, OpenOptions::default()).expect("the store opens");
    let history = store
        .history(Sequence(0), usize::MAX)
        .expect("the whole history");
    let mut chain = [0; 32];
    let mut teams: BTreeMap<OrganizationId, Organization> = BTreeMap::new();
    for (at, entry) in history.iter().enumerate() {
        assert_eq!(entry.sequence, Sequence(at as u64 + 1), "a gap");
        let sealed = Entry::from(entry.clone()).seal().expect("an entry");
        chain = link(&chain, &sealed);
        assert_eq!(entry.chain, chain, "the chain at {:?}", entry.sequence);
        assert_moves_the_ordinal(entry);
        if let Some(RecordChange::PutProfile(profile)) = entry.records.first() {
            let empty = Organization::empty(Arc::clone(profile), Version(entry.version.0 - 1));
            teams.entry(entry.organization.clone()).or_insert(empty);
        }
        let next = teams[&entry.organization].apply(&entry.records);
        assert_eq!(next.version, entry.version);
        teams.insert(entry.organization.clone(), next);
    }
    assert_eq!(store.head().sequence, Sequence(history.len() as u64));
    assert_eq!(store.head().chain, chain);
    assert_eq!(teams.len(), ledger.teams.len());
    for (id, expected) in teams {
        let (found, _) = store.load(&id).expect("readable").expect("there");
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    let mut positions = BTreeMap::new();
    for entry in &history {
        let event = &entry.events[0];
        // What was refused is in the history too, and changed nothing.
        if !event.refusal.is_empty() {
            assert_eq!(entry.records, [], "refused, yet changed: {event:?}");
            continue;
        }
        let repeated = positions.insert(event.request_id.as_str(), entry);
        assert!(repeated.is_none(), "done twice: {event:?}");
    }
    assert_eq!(positions.len(), ledger.acknowledged.len());
    for (sent, revision) in &ledger.acknowledged {
        let entry = positions[sent.request_id.as_str()];
        assert_eq!(entry.sequence, *revision, "{sent:?}");
        assert_eq!(entry.organization.as_str(), sent.organization);
    }
}

/// No change is without its event and no event without its change: what
/// ListEvents has told of each organization is what the history says.
fn assert_trails(directory: &Path, trails: &BTreeMap<String, Vec<String>>) {
    let store = SledStore::open(directory, OpenOptions::default()).expect("the store opens");
    let history = store
        .history(Sequence(0), usize::MAX)
        .expect("the whole history");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in history.iter().rev() {
        assert!(!entry.events.is_empty(), "no event: {entry:?}");
        let trail = expected.entry(entry.organization.to_string()).or_default();
        let numbered = entry.events.iter().enumerate().rev();
        trail.extend(numbered.map(|(index, event)| {
            let (sequence, refusal) = (entry.sequence.0, &event.refusal);
            let (action, target) = (&event.action, &event.target_id);
            format!("{sequence}-{index} {action} {target} {refusal}")
        }));
    }
    assert_eq!(*trails, expected);
}

/// A commit that makes a project also moves the ordinal of the next one.
fn assert_moves_the_ordinal(entry: &HistoryEntry) {
    let ordinal = entry.records.iter().find_map(|record| match record {
        RecordChange::PutProject(project) => Some(project.ordinal),
        _ => None,
    });
    let next = entry.records.iter().find_map(|record| match record {
        RecordChange::PutProfile(profile) => Some(profile.next_project_ordinal),
        _ => None,
    });
    if let Some(ordinal) = ordinal {
        assert_eq!(next, Some(ordinal + 1), "{entry:?}");
    }
}
