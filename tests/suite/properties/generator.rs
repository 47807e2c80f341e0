//! Random commands and random questions, as small numbers that are given a
//! meaning by the organization they meet: so that most commands are agreed to,
//! some are refused, and both shrink.

use proptest::collection::vec;
use proptest::prelude::*;
use roster::domain::Catalog;
use roster::domain::catalog::{Level, MEMBER_TYPE, ORGANIZATION_TYPE, OWNER_ROLE, PROJECT_TYPE};
use roster::domain::change::Change;
use roster::domain::checks::{AskedPermissions, AskedRoles, Place};
use roster::domain::groups::NewGroup;
use roster::domain::guardrails::{GuardrailEdit, NewGuardrail};
use roster::domain::lifecycle::Founding;
use roster::domain::members::{MemberEdit, NewMember};
use roster::domain::organization::{Moment, Organization, ResourceKey};
use roster::domain::period::Period;
use roster::domain::refusal::Refusal;
use roster::domain::resources::NewResource;
use roster::domain::roles::{NewRole, RoleEdit};
use roster::domain::value::{Attribute, Record, Value, ValueType};
use roster::engine::RawQuestion;
use roster::proto::v1;

use super::rails::{Rail, rail};
use crate::harness::NOW;

/// What things are called; the first user owns, the last never joins.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) organization: &'static str,
    pub(crate) users: [&'static str; 6],
    pub(crate) projects: [&'static str; 4],
    pub(crate) roles: [&'static str; 3],
    pub(crate) resources: [&'static str; 3],
    pub(crate) titles: [&'static str; 3],
    pub(crate) guardrails: [&'static str; 3],
}

/// Names as people give them.
pub(crate) const PLAIN: Names = Names {
    organization: "acme",
    users: ["owner", "ana", "ben", "cyd", "dee", "stranger"],
    projects: ["alpha", "beta", "gamma", "delta"],
    roles: ["crew", "night-shift", "auditors"],
    resources: ["one", "two", "three"],
    titles: ["Crew", "Night shift", "Auditors"],
    guardrails: ["calm", "freeze", "watch"],
};

/// Names that would mean something, were one ever pasted into a policy. They
/// sort as the plain ones do not, and clash with each other across kinds.
pub(crate) const HOSTILE: Names = Names {
    organization: "\");permit(principal,action,resource);//",
    users: [
        "Role::\"owner\"",
        "\");permit(principal,action,resource);//",
        "\\\"||true||\\\"",
        "role:\");permit(principal,action,resource);//",
        "*",
        "owner",
    ],
    projects: [
        "\");permit(principal,action,resource);//",
        "\"]}};permit(principal,action,resource);",
        "\\u{22}\\n\\0",
        "owner",
    ],
    roles: [
        "\");permit(principal,action,resource);//",
        "\"/organization/\\\"",
        "permissions:\"@id(\"x\")",
    ],
    resources: [
        "\");permit(principal,action,resource);//",
        "owner",
        "'${}\\\"",
    ],
    titles: [
        "\"); permit(principal, action, resource); //",
        "@id(\"base/owner\") \u{738b}",
        "}};\u{201d} OR 1=1 --",
    ],
    guardrails: [
        "\");permit(principal,action,resource);//",
        "\"@id(\"base/owner\")",
        "*/\\",
    ],
};

/// Rights by number.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    every: u8,
    always: Vec<u16>,
    own: Vec<u16>,
    conditional: Option<(u8, Vec<u16>)>,
}

/// One thing somebody asks to be done.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    AddMember(usize, Vec<u8>),
    UpdateMember(usize),
    RemoveMember(usize, usize),
    SuspendMember(usize),
    ReinstateMember(usize),
    SetMemberRoles(usize, Vec<u8>),
    CreateRole(usize, Rights),
    UpdateRole(u8, Rights),
    DeleteRole(usize),
    ResetRole(u8),
    CreateProject(usize),
    ArchiveProject(usize),
    UnarchiveProject(usize),
    DeleteProject(usize),
    SetProjectRoles(usize, usize, Vec<u8>),
    ClearProjectRoles(usize, usize),
    OverrideByRoles(usize, usize, Vec<u8>),
    OverrideByRights(usize, usize, Vec<u8>, Rights),
    RemoveOverride(usize, usize),
    SetDefaultRoles(usize, Vec<u8>),
    CopyDefaultRoles(usize),
    Register(u8, usize, usize, usize),
    Transfer(u8, usize, usize),
    Move(u8, usize, usize),
    Unregister(u8, usize),
    Reassign(usize, usize),
    SetPlan(u8),
    Rename(usize),
    CreateGuardrail(usize, Rail),
    UpdateGuardrail(usize, Rail),
    DeleteGuardrail(usize),
    SetMemberPeriod(usize, u8),
    CreateGroup(usize, Vec<u8>, u8),
    DeleteGroup(usize),
    JoinGroup(usize, usize, u8),
    LeaveGroup(usize, usize),
    GroupOnProject(usize, usize, Vec<u8>),
}

/// An hour, in milliseconds.
const HOUR: i64 = 60 * 60 * 1_000;

/// Moments at which questions are asked: before, at and after the bounds of periods.
pub(crate) const MOMENTS: [Moment; 4] = [
    NOW,
    Moment(NOW.0 + HOUR - 1),
    Moment(NOW.0 + HOUR),
    Moment(NOW.0 + 2 * HOUR),
];

/// A period by number.
fn period(number: usize) -> Period {
    let (one, two) = (Some(Moment(NOW.0 + HOUR)), Some(Moment(NOW.0 + 2 * HOUR)));
    let (not_before, expires_at) = [(None, None), (one, None), (None, one), (one, two)][number % 4];
    Period {
        not_before,
        expires_at,
    }
}

/// Roles of which the first counts for a time, for some numbers.
fn for_a_time(roles: Vec<String>, numbers: &[u8]) -> AskedRoles {
    let number = numbers
        .iter()
        .map(|number| usize::from(*number))
        .sum::<usize>();
    let first = roles.first().filter(|_| number.is_multiple_of(3)).cloned();
    AskedRoles {
        periods: first
            .map(|role| (role, period(number / 3)))
            .into_iter()
            .collect(),
        roles,
    }
}

/// A question by number; asked of every project and as every user.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) action: u16,
    resource_type: u8,
    id: usize,
    owner: usize,
    attributes: u8,
}

/// A question in the words of an organization.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) user: String,
    pub(crate) action: String,
    pub(crate) resource_type: String,
    pub(crate) resource_id: String,
    pub(crate) project: String,
    pub(crate) owner: String,
    pub(crate) attributes: Option<Record>,
    pub(crate) context: Option<Record>,
}

/// Commands, most of which get a small organization somewhere. The first ones
/// fill it, so that the others have something to change.
pub(crate) fn commands(most: usize) -> impl Strategy<Value = Vec<Command>> {
    let beginning = (
        vec(rights(), 3),
        vec(role_numbers(), 3),
        vec((0..4_usize, 1..5_usize, role_numbers()), 2),
        vec(rail(), 2),
    );
    let beginning = beginning.prop_map(|(rights, roles, held, rails)| {
        let mut commands = vec![
            Command::SetPlan(1),
            Command::CreateProject(0),
            Command::CreateProject(1),
        ];
        let created = rights.into_iter().take(2).enumerate();
        commands.extend(created.map(|(role, rights)| Command::CreateRole(role, rights)));
        let guarded = rails.into_iter().enumerate();
        commands.extend(guarded.map(|(which, rail)| Command::CreateGuardrail(which, rail)));
        let joining = roles.into_iter().enumerate();
        commands.extend(joining.map(|(user, roles)| Command::AddMember(user + 1, roles)));
        let given = held.into_iter();
        commands.extend(
            given.map(|(project, user, roles)| Command::SetProjectRoles(project, user, roles)),
        );
        commands
    });
    (beginning, vec(command(), 1..most)).prop_map(|(mut commands, more)| {
        commands.extend(more);
        commands
    })
}

/// Questions.
pub(crate) fn seeds(many: usize) -> impl Strategy<Value = Vec<Seed>> {
    let seed = (action(), any::<u8>(), 0..6_usize, 0..8_usize, any::<u8>());
    let seed = seed.prop_map(|(action, resource_type, id, owner, attributes)| Seed {
        action,
        resource_type,
        id,
        owner,
        attributes,
    });
    vec(seed, many)
}

/// An action; often one of the same few, so that guardrails meet questions.
pub(super) fn action() -> impl Strategy<Value = u16> {
    prop_oneof![(0..4_u16).prop_map(|few| few * 997), any::<u16>()]
}

fn command() -> impl Strategy<Value = Command> {
    let user = || 0..6_usize;
    let project = || 0..4_usize;
    let role = || 0..3_usize;
    let resource = || 0..3_usize;
    prop_oneof![
        3 => (user(), role_numbers()).prop_map(|(user, roles)| Command::AddMember(user, roles)),
        1 => user().prop_map(Command::UpdateMember),
        2 => (user(), 0..8_usize).prop_map(|(user, heir)| Command::RemoveMember(user, heir)),
        2 => user().prop_map(Command::SuspendMember),
        2 => user().prop_map(Command::ReinstateMember),
        3 => (user(), role_numbers()).prop_map(|(user, roles)| Command::SetMemberRoles(user, roles)),
        2 => (role(), rights()).prop_map(|(role, rights)| Command::CreateRole(role, rights)),
        3 => (any::<u8>(), rights()).prop_map(|(role, rights)| Command::UpdateRole(role, rights)),
        2 => role().prop_map(Command::DeleteRole),
        1 => any::<u8>().prop_map(Command::ResetRole),
        3 => project().prop_map(Command::CreateProject),
        1 => project().prop_map(Command::ArchiveProject),
        1 => project().prop_map(Command::UnarchiveProject),
        2 => project().prop_map(Command::DeleteProject),
        4 => (project(), user(), role_numbers())
            .prop_map(|(project, user, roles)| Command::SetProjectRoles(project, user, roles)),
        1 => (project(), user()).prop_map(|(project, user)| Command::ClearProjectRoles(project, user)),
        3 => (project(), user(), role_numbers())
            .prop_map(|(project, user, roles)| Command::OverrideByRoles(project, user, roles)),
        6 => (project(), user(), role_numbers(), rights()).prop_map(|(project, user, roles, rights)| {
            Command::OverrideByRights(project, user, roles, rights)
        }),
        3 => (project(), user()).prop_map(|(project, user)| Command::RemoveOverride(project, user)),
        2 => (user(), role_numbers()).prop_map(|(user, roles)| Command::SetDefaultRoles(user, roles)),
        1 => user().prop_map(Command::CopyDefaultRoles),
        4 => (any::<u8>(), resource(), 0..6_usize, 0..8_usize).prop_map(
            |(kind, id, project, owner)| Command::Register(kind, id, project, owner)
        ),
        1 => (any::<u8>(), resource(), 0..8_usize)
            .prop_map(|(kind, id, owner)| Command::Transfer(kind, id, owner)),
        1 => (any::<u8>(), resource(), 0..6_usize)
            .prop_map(|(kind, id, project)| Command::Move(kind, id, project)),
        1 => (any::<u8>(), resource()).prop_map(|(kind, id)| Command::Unregister(kind, id)),
        1 => (user(), 0..8_usize).prop_map(|(from, to)| Command::Reassign(from, to)),
        2 => any::<u8>().prop_map(Command::SetPlan),
        1 => (0..3_usize).prop_map(Command::Rename),
        4 => (0..3_usize, rail()).prop_map(|(which, rail)| Command::CreateGuardrail(which, rail)),
        2 => (0..3_usize, rail()).prop_map(|(which, rail)| Command::UpdateGuardrail(which, rail)),
        2 => (0..3_usize).prop_map(Command::DeleteGuardrail),
        2 => (user(), any::<u8>()).prop_map(|(user, when)| Command::SetMemberPeriod(user, when)),
        3 => (0..3_usize, role_numbers(), any::<u8>())
            .prop_map(|(group, roles, when)| Command::CreateGroup(group, roles, when)),
        1 => (0..3_usize).prop_map(Command::DeleteGroup),
        4 => (0..3_usize, user(), any::<u8>())
            .prop_map(|(group, user, when)| Command::JoinGroup(group, user, when)),
        1 => (0..3_usize, user()).prop_map(|(group, user)| Command::LeaveGroup(group, user)),
        3 => (0..3_usize, project(), role_numbers())
            .prop_map(|(group, project, roles)| Command::GroupOnProject(group, project, roles)),
    ]
}

fn role_numbers() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..3)
}

/// Rights; often the same few, so that members come to share them.
fn rights() -> impl Strategy<Value = Rights> {
    let none = || Rights {
        every: 0,
        always: Vec::new(),
        own: Vec::new(),
        conditional: None,
    };
    let one = (0..2_u16).prop_map(move |action| Rights {
        always: vec![action],
        ..none()
    });
    let any_rights = (
        prop_oneof![4 => Just(0), 1 => any::<u8>()],
        vec(any::<u16>(), 0..4),
        vec(any::<u16>(), 0..3),
        proptest::option::of((any::<u8>(), vec(any::<u16>(), 1..3))),
    );
    let any_rights = any_rights.prop_map(|(every, always, own, conditional)| Rights {
        every,
        always,
        own,
        conditional,
    });
    prop_oneof![1 => one, 2 => any_rights]
}

/// How the organization of these names begins.
pub(crate) fn founding(names: &Names) -> Founding {
    Founding {
        id: names.organization.to_owned(),
        display_name: names.titles[0].to_owned(),
        plan: String::new(),
        owner: names.users[0].to_owned(),
        owner_display_name: names.titles[1].to_owned(),
        owner_email: String::new(),
    }
}

impl Command {
    /// What the organization says to it.
    pub(crate) fn decide(
        &self,
        names: &Names,
        organization: &Organization,
        catalog: &Catalog,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let user = |user: usize| names.users[user];
        let member = |user: usize| names.users[user % 5];
        let heir = |user: usize| names.users.get(user).copied().unwrap_or_default();
        let project = |project: usize| names.projects.get(project).copied().unwrap_or_default();
        let role = |role: usize| names.roles[role];
        let title = |number: usize| names.titles[number % 3].to_owned();
        let roles = |numbers: &[u8], place| role_ids(numbers, place, names, organization, catalog);
        match self {
            Self::AddMember(who, held) => organization.add_member(
                catalog,
                &NewMember {
                    user: member(*who).to_owned(),
                    display_name: title(*who),
                    email: String::new(),
                    roles: roles(held, Place::Organization).into(),
                    period: Period::ALWAYS,
                },
                now,
            ),
            Self::UpdateMember(who) => organization.update_member(
                user(*who),
                &MemberEdit {
                    display_name: Some(title(*who)),
                    email: None,
                },
                "",
            ),
            Self::RemoveMember(who, to) => {
                organization.remove_member(catalog, user(*who), heir(*to), "", now)
            }
            Self::SuspendMember(who) => organization.suspend_member(catalog, user(*who), "", now),
            Self::ReinstateMember(who) => {
                organization.reinstate_member(catalog, user(*who), "", now)
            }
            Self::SetMemberRoles(who, numbers) => {
                let held = roles(numbers, Place::Organization);
                let held = for_a_time(held, numbers);
                organization.set_member_roles(catalog, user(*who), &held, "", now)
            }
            Self::CreateRole(which, rights) => organization.create_role(
                catalog,
                &NewRole {
                    id: role(*which).to_owned(),
                    display_name: title(*which),
                    description: title(*which),
                    permissions: rights.asked(catalog, Place::Organization),
                },
                now,
            ),
            Self::UpdateRole(which, rights) => {
                let edit = RoleEdit {
                    permissions: Some(rights.asked(catalog, Place::Organization)),
                    ..RoleEdit::default()
                };
                let id = role_id(*which, Place::Override, names, organization, catalog);
                organization.update_role(catalog, &id, &edit, "", now)
            }
            Self::DeleteRole(which) => organization.delete_role(catalog, role(*which), ""),
            Self::ResetRole(which) => {
                let id = role_id(*which, Place::Override, names, organization, catalog);
                organization.reset_role(catalog, &id, "")
            }
            Self::CreateProject(which) => {
                organization.create_project(catalog, project(*which), &title(*which), now)
            }
            Self::ArchiveProject(which) => organization.archive_project(project(*which), ""),
            Self::UnarchiveProject(which) => organization.unarchive_project(project(*which), ""),
            Self::DeleteProject(which) => organization.delete_project(project(*which), "", now),
            Self::SetProjectRoles(where_, who, numbers) => {
                let held = for_a_time(roles(numbers, Place::Project), numbers);
                organization.set_project_roles(
                    catalog,
                    project(*where_),
                    user(*who),
                    &held,
                    "",
                    now,
                )
            }
            Self::ClearProjectRoles(where_, who) => {
                organization.clear_project_roles(catalog, project(*where_), user(*who), "")
            }
            Self::OverrideByRoles(where_, who, held) => organization.set_project_override(
                catalog,
                project(*where_),
                user(*who),
                &roles(held, Place::Override),
                &AskedPermissions::default(),
                period(held.len() + where_),
                "",
                now,
            ),
            Self::OverrideByRights(where_, who, held, rights) => organization.set_project_override(
                catalog,
                project(*where_),
                user(*who),
                &roles(held, Place::Override),
                &rights.asked(catalog, Place::Override),
                period(held.len() + where_),
                "",
                now,
            ),
            Self::RemoveOverride(where_, who) => {
                organization.remove_project_override(catalog, project(*where_), user(*who), "")
            }
            Self::SetMemberPeriod(who, when) => {
                let period = period(usize::from(*when));
                organization.set_member_period(user(*who), period, "", now)
            }
            Self::CreateGroup(group, held, when) => organization.create_group(
                catalog,
                &NewGroup {
                    id: names.guardrails[*group].to_owned(),
                    display_name: title(*group),
                    description: String::new(),
                    roles: roles(held, Place::Organization),
                    max_token_age: None,
                    period: period(usize::from(*when)),
                },
                now,
            ),
            Self::DeleteGroup(group) => organization.delete_group(names.guardrails[*group], ""),
            Self::JoinGroup(group, who, when) => organization.add_group_member(
                catalog,
                names.guardrails[*group],
                user(*who),
                period(usize::from(*when)),
                "",
                now,
            ),
            Self::LeaveGroup(group, who) => {
                organization.remove_group_member(names.guardrails[*group], user(*who), "")
            }
            Self::GroupOnProject(group, where_, held) => organization.set_group_project_roles(
                catalog,
                names.guardrails[*group],
                project(*where_),
                &roles(held, Place::Project),
                "",
            ),
            Self::SetDefaultRoles(who, held) => {
                let held = roles(held, Place::Project);
                organization.set_default_roles(catalog, user(*who), &held, "")
            }
            Self::CopyDefaultRoles(who) => organization.copy_default_roles(catalog, user(*who), ""),
            Self::Register(kind, id, where_, owner) => organization.register_resource(
                catalog,
                &NewResource {
                    type_id: product_type(*kind, catalog),
                    id: names.resources[*id].to_owned(),
                    project: project(*where_).to_owned(),
                    owner: heir(*owner).to_owned(),
                },
                now,
            ),
            Self::Transfer(kind, id, owner) => organization.transfer_resource(
                &product_type(*kind, catalog),
                names.resources[*id],
                heir(*owner),
                "",
            ),
            Self::Move(kind, id, where_) => organization.move_resource(
                &product_type(*kind, catalog),
                names.resources[*id],
                project(*where_),
                "",
            ),
            Self::Unregister(kind, id) => organization.unregister_resource(
                &product_type(*kind, catalog),
                names.resources[*id],
                "",
            ),
            Self::Reassign(from, to) => organization.reassign_resources(user(*from), heir(*to)),
            Self::SetPlan(plan) => {
                let plan = &catalog.plans[usize::from(*plan) % catalog.plans.len()];
                organization.set_plan(catalog, plan.id.as_str(), "")
            }
            Self::Rename(number) => organization.update_organization(&title(*number), ""),
            Self::CreateGuardrail(which, rail) => {
                let new = NewGuardrail {
                    id: names.guardrails[*which].to_owned(),
                    description: title(*which),
                    text: rail.text(names, organization, catalog),
                };
                organization.create_guardrail(catalog, &new, &|_| Vec::new(), now)
            }
            Self::UpdateGuardrail(which, rail) => {
                let edit = GuardrailEdit {
                    description: None,
                    text: Some(rail.text(names, organization, catalog)),
                };
                let id = names.guardrails[*which];
                organization.update_guardrail(catalog, id, &edit, "", &|_| Vec::new())
            }
            Self::DeleteGuardrail(which) => {
                organization.delete_guardrail(names.guardrails[*which], "")
            }
        }
    }
}

impl Rights {
    fn asked(&self, catalog: &Catalog, place: Place) -> AskedPermissions {
        let named = |numbers: &[u16]| -> Vec<String> {
            let fitting: Vec<&str> = catalog
                .actions
                .iter()
                .filter(|action| place != Place::Override || action.level == Level::Project)
                .map(|action| action.id.as_str())
                .collect();
            // What can't be asked for is asked for now and then.
            let pick = |number: &u16| match *number {
                65_000.. => catalog.actions[0].id.to_string(),
                64_000.. => "NoSuchAction".to_owned(),
                number => fitting[usize::from(number) % fitting.len()].to_owned(),
            };
            numbers.iter().map(pick).collect()
        };
        let mut every = Vec::new();
        if self.every & 1 == 1 {
            every.push(Level::Project);
        }
        if self.every & 6 == 6 {
            every.push(Level::Account);
        }
        let conditional = self.conditional.as_ref().and_then(|(condition, actions)| {
            let conditions = &catalog.conditions;
            let condition = conditions.get(usize::from(*condition) % conditions.len().max(1))?;
            Some((condition.id.clone(), named(actions)))
        });
        AskedPermissions {
            every,
            actions: named(&self.always),
            own_actions: named(&self.own),
            conditional: conditional.into_iter().collect(),
        }
    }
}

fn role_ids(
    numbers: &[u8],
    place: Place,
    names: &Names,
    organization: &Organization,
    catalog: &Catalog,
) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for number in numbers {
        let id = role_id(*number, place, names, organization, catalog);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// A role that fits the place, save for the highest numbers.
pub(super) fn role_id(
    number: u8,
    place: Place,
    names: &Names,
    organization: &Organization,
    catalog: &Catalog,
) -> String {
    let mut fitting: Vec<&str> = catalog
        .roles
        .iter()
        .filter(|role| match place {
            Place::Organization => role.on_organization,
            Place::Project => role.on_project,
            Place::Override => true,
        })
        .map(|role| role.id.as_str())
        .collect();
    // By number, not by name: names must not matter.
    let custom = names.roles.iter().copied();
    fitting.extend(custom.filter(|role| organization.roles.contains_key(*role)));
    match number {
        252.. => OWNER_ROLE.to_owned(),
        248.. => "no-such-role".to_owned(),
        number if fitting.is_empty() => format!("no-role-{number}"),
        number => fitting[usize::from(number) % fitting.len()].to_owned(),
    }
}

fn product_type(number: u8, catalog: &Catalog) -> String {
    let types: Vec<&str> = catalog
        .resource_types
        .iter()
        .filter(|found| !found.built_in)
        .map(|found| found.id.as_str())
        .collect();
    match types.as_slice() {
        [] => PROJECT_TYPE.to_owned(),
        types => types[usize::from(number) % types.len()].to_owned(),
    }
}

impl Seed {
    /// The questions it stands for: as every user, and where the resource lies in
    /// projects, in each of them and in none.
    pub(crate) fn questions(
        &self,
        names: &Names,
        organization: &Organization,
        catalog: &Catalog,
    ) -> Vec<Asked> {
        let action = &catalog.actions[usize::from(self.action) % catalog.actions.len()];
        let types = &action.resource_types;
        let index = types[usize::from(self.resource_type) % types.len()];
        let found = &catalog.resource_types[usize::from(index.0)];
        let projects = || {
            let all = names.projects.iter().map(ToString::to_string);
            all.filter(|project| organization.projects.contains_key(project.as_str()))
        };
        let members = || {
            let all = names.users.iter().map(ToString::to_string);
            all.filter(|user| organization.members.contains_key(user.as_str()))
        };
        let somewhere = || projects().chain([String::new()]);
        let user_name = |number: usize| names.users.get(number).copied().unwrap_or_default();
        let mut asked = Vec::new();
        for user in names.users {
            let one = Asked {
                user: user.to_owned(),
                action: action.id.to_string(),
                resource_type: found.id.to_string(),
                resource_id: names.resources[self.id % 3].to_owned(),
                project: String::new(),
                owner: String::new(),
                attributes: self.record(&found.attributes, names),
                context: self.record(&action.context, names),
            };
            match found.id.as_str() {
                ORGANIZATION_TYPE => asked.push(Asked {
                    resource_id: organization.id().to_string(),
                    ..one
                }),
                MEMBER_TYPE => asked.extend(members().map(|member| Asked {
                    resource_id: member,
                    ..one.clone()
                })),
                PROJECT_TYPE => asked.extend(projects().map(|project| Asked {
                    resource_id: project,
                    ..one.clone()
                })),
                _ => asked.extend(somewhere().map(|project| {
                    Asked {
                        project,
                        owner: match self.owner {
                            6 => user,
                            other => user_name(other),
                        }
                        .to_owned(),
                        ..one.clone()
                    }
                })),
            }
        }
        asked
    }

    /// What must be said, and some of what may be.
    fn record(&self, declared: &[Attribute], names: &Names) -> Option<Record> {
        let given: Record = declared
            .iter()
            .enumerate()
            .filter(|(index, attribute)| {
                attribute.required || self.attributes >> (index % 8) & 1 == 1
            })
            .map(|(index, attribute)| {
                let number = usize::from(self.attributes) + index;
                (
                    attribute.name.clone(),
                    sample(&attribute.value_type, number, names),
                )
            })
            .collect();
        (!given.is_empty()).then_some(given)
    }
}

fn sample(value_type: &ValueType, number: usize, names: &Names) -> Value {
    let pick = |texts: [&str; 3]| Value::Text(texts[number % 3].to_owned());
    match value_type {
        ValueType::Boolean => Value::Boolean(!number.is_multiple_of(3)),
        ValueType::Long => Value::Number([-7.0, 0.0, 9_007_199_254_740_991.0][number % 3]),
        ValueType::Text => pick(names.titles),
        ValueType::Decimal => pick(["1.25", "-0.0001", "922337203685477.5807"]),
        ValueType::Datetime => pick([
            "2026-01-31T12:00:00Z",
            "1969-12-31",
            "2026-01-31T12:00:00.123+0200",
        ]),
        ValueType::Address => pick(["10.0.0.0/8", "::1", "192.0.2.7"]),
        ValueType::User => Value::Text(names.users[number % 6].to_owned()),
        ValueType::Set(element) => Value::List(
            (0..number % 4)
                .map(|more| sample(element, number + more, names))
                .collect(),
        ),
        ValueType::Record(declared) => Value::Record(
            declared
                .iter()
                .map(|attribute| {
                    (
                        attribute.name.clone(),
                        sample(&attribute.value_type, number, names),
                    )
                })
                .collect(),
        ),
    }
}

impl Asked {
    /// For the engine.
    pub(crate) fn raw(&self) -> RawQuestion<'_> {
        RawQuestion {
            principal_type: "User",
            principal_id: &self.user,
            action: &self.action,
            resource_type: &self.resource_type,
            resource_id: &self.resource_id,
            project: &self.project,
            owner: &self.owner,
            attributes: self.attributes.as_ref(),
            context: self.context.as_ref(),
            token: "",
            at: NOW,
        }
    }

    /// For a daemon.
    pub(crate) fn request(&self, organization: &str) -> v1::IsAuthorizedRequest {
        v1::IsAuthorizedRequest {
            organization: organization.to_owned(),
            principal: Some(v1::EntityRef {
                r#type: "User".to_owned(),
                id: self.user.clone(),
            }),
            action: self.action.clone(),
            resource: Some(v1::Resource {
                r#type: self.resource_type.clone(),
                id: self.resource_id.clone(),
                project: self.project.clone(),
                owner: self.owner.clone(),
                attributes: self.attributes.as_ref().map(structure),
            }),
            context: self.context.as_ref().map(structure),
            ..Default::default()
        }
    }

    /// Whether what an export holds is what the question is about: a record that
    /// Roster keeps, of which the question says nothing more.
    pub(crate) fn is_on_record(&self, organization: &Organization) -> bool {
        let built_in = [ORGANIZATION_TYPE, MEMBER_TYPE, PROJECT_TYPE];
        let key = ResourceKey::new(&self.resource_type, &self.resource_id);
        self.attributes.is_none()
            && (built_in.contains(&self.resource_type.as_str())
                || organization.resources.contains_key(&key))
    }
}

fn structure(record: &Record) -> prost_types::Struct {
    prost_types::Struct {
        fields: record
            .iter()
            .map(|(name, value)| (name.clone(), wire_value(value)))
            .collect(),
    }
}

fn wire_value(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Boolean(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(*number),
        Value::Text(text) => Kind::StringValue(text.clone()),
        Value::List(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(wire_value).collect(),
        }),
        Value::Record(record) => Kind::StructValue(structure(record)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// When everything in here happens.
pub(crate) const THEN: Moment = NOW;
