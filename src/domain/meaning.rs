//! The reference meaning of a grant: what a decision ought to be, in as few
//! lines as it can be said.
//!
//! Nothing serves requests from here. It exists so that the engine, which asks
//! Cedar, can be held to it by property tests. It covers what roles, project
//! roles, overrides, ownership, suspension and the rules that all products share
//! mean; a product's own rules and conditions on attributes are Cedar's alone.

use std::collections::BTreeSet;

use super::catalog::{ActionIndex, Catalog, Level, MEMBER_TYPE};
use super::identifiers::RoleId;
use super::organization::{Group, Member, MemberStatus, Moment, Organization, Project};
use super::period::Period;
use super::permissions::{Permissions, When};

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Who.
    pub user: &'a str,
    /// What.
    pub action: ActionIndex,
    /// To what kind of thing.
    pub resource_type: &'a str,
    /// Which one.
    pub resource_id: &'a str,
    /// In which project.
    pub project: Option<&'a Project>,
    /// Owned by whom.
    pub resource_owner: Option<&'a str>,
    /// When it is asked.
    pub now: Moment,
}

/// Whether the case is allowed.
pub fn allowed(organization: &Organization, catalog: &Catalog, case: &Case<'_>) -> bool {
    let Some(member) = organization.members.get(case.user) else {
        return false;
    };
    let Some(action) = catalog.actions.get(usize::from(case.action.0)) else {
        return false;
    };
    if member.status == MemberStatus::Suspended
        || !member.period.holds(case.now)
        || forbidden(organization, action.id.as_str(), case)
    {
        return false;
    }
    if organization.is_owner(case.user) {
        return true;
    }
    let leaving = action.id.as_str() == "LeaveOrganization"
        && case.resource_type == MEMBER_TYPE
        && case.resource_id == case.user;
    leaving || held(organization, catalog, member, action.level, case)
}

/// Nobody removes, suspends or demotes the owner, who can't leave either; and
/// nobody leaves in another's place.
fn forbidden(organization: &Organization, action: &str, case: &Case<'_>) -> bool {
    let of_owner = [
        "ChangeMemberRole",
        "RemoveMember",
        "SuspendMember",
        "LeaveOrganization",
    ];
    let untouchable = organization.is_owner(case.resource_id) && of_owner.contains(&action);
    let in_place_of_another = action == "LeaveOrganization" && case.resource_id != case.user;
    case.resource_type == MEMBER_TYPE && (untouchable || in_place_of_another)
}

fn held(
    organization: &Organization,
    catalog: &Catalog,
    member: &Member,
    level: Level,
    case: &Case<'_>,
) -> bool {
    let grants = |role: &str| {
        organization
            .permissions_of(catalog, role)
            .is_some_and(|permissions| grants_it(catalog, permissions, level, case))
    };
    let counts = |period: Option<&Period>| period.is_none_or(|period| period.holds(case.now));
    let groups: Vec<&Group> = member
        .groups
        .iter()
        .filter(|(_, period)| counts(Some(period)))
        .filter_map(|(id, _)| organization.groups.get(id))
        .map(AsRef::as_ref)
        .filter(|group| counts(Some(&group.period)))
        .collect();
    let own: Vec<&RoleId> = member
        .roles
        .iter()
        .filter(|role| counts(member.periods.roles.get(*role)))
        .chain(groups.iter().flat_map(|group| &group.roles))
        .collect();
    let on_organization = || own.iter().any(|role| grants(role.as_str()));
    if level == Level::Account {
        return on_organization();
    }
    let Some(project) = case.project else {
        return on_organization();
    };
    let bounds = member.periods.project_roles.get(&project.id);
    let on_project: Vec<&RoleId> = member
        .roles_on_project(project)
        .iter()
        .filter(|role| counts(bounds.and_then(|bounds| bounds.get(*role))))
        .chain(
            groups
                .iter()
                .filter_map(|group| group.project_roles.get(&project.id))
                .flatten(),
        )
        .collect();
    let in_force = member.overrides.get(&project.id).filter(|replaced| {
        counts(Some(&replaced.period)) && !(own.is_empty() && on_project.is_empty())
    });
    match in_force {
        Some(replaced) => {
            replaced.roles.iter().any(|role| grants(role.as_str()))
                || grants_it(catalog, &replaced.permissions, level, case)
        }
        None => on_organization() || on_project.iter().any(|role| grants(role.as_str())),
    }
}

fn grants_it(catalog: &Catalog, permissions: &Permissions, level: Level, case: &Case<'_>) -> bool {
    let contains = |when: &When| {
        let named: BTreeSet<ActionIndex> = permissions
            .actions
            .get(when)
            .map(|actions| catalog.closure(actions))
            .unwrap_or_default();
        named.contains(&case.action)
    };
    permissions.every.contains(&level)
        || contains(&When::Always)
        || (contains(&When::Own) && case.resource_owner == Some(case.user))
}
