//! What a member holds towards one project at one moment: their own roles and
//! those of their groups, as far as they count then.

use std::borrow::Cow;

use super::identifiers::{ProjectId, RoleId};
use super::organization::{
    Group, Member, MemberStatus, Moment, Organization, Override, Project, RolePeriods,
};
use super::period::{Period, Phase, earlier};

/// Whether what a member holds counts at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Validity {
    /// It does.
    Active,
    /// The membership is suspended.
    Suspended,
    /// The membership has not begun to count.
    NotYetValid,
    /// The membership has ended.
    Expired,
}

/// What a member holds towards a project, or towards none.
#[derive(Clone, Debug, Default)]
pub struct Holdings<'a> {
    /// Roles on the organization.
    pub roles: Cow<'a, [RoleId]>,
    /// Roles on the project, beneath the override where there is one.
    pub project_roles: Cow<'a, [RoleId]>,
    /// The override in the project.
    pub replaced: Option<&'a Override>,
    /// When any of it may change by itself.
    pub valid_until: Option<Moment>,
}

impl<'a> Holdings<'a> {
    /// Roles that count on the project: those of the override where there is one.
    pub fn counting_on_project(&self) -> &[RoleId] {
        match self.replaced {
            Some(replaced) => &replaced.roles,
            None => &self.project_roles,
        }
    }

    /// The same, were there no override.
    #[must_use]
    pub fn without_override(self) -> Self {
        Self {
            replaced: None,
            ..self
        }
    }
}

/// Which grants count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Those in force at the moment.
    At(Moment),
    /// Those in force at the moment or later.
    From(Moment),
    /// All that are on record, whenever they count.
    Ever,
}

impl Counting {
    fn admits(self, period: &Period) -> bool {
        match self {
            Self::At(now) => period.holds(now),
            Self::From(now) => period.phase(now) != Phase::Over,
            Self::Ever => true,
        }
    }

    fn next_change(self, period: &Period) -> Option<Moment> {
        match self {
            Self::At(now) => period.next_change(now),
            Self::From(_) | Self::Ever => None,
        }
    }
}

impl Member {
    /// Whether what the member holds counts at `now`.
    pub fn validity(&self, now: Moment) -> Validity {
        match (self.status, self.period.phase(now)) {
            (MemberStatus::Suspended, _) => Validity::Suspended,
            (MemberStatus::Active, Phase::InForce) => Validity::Active,
            (MemberStatus::Active, Phase::NotYet) => Validity::NotYetValid,
            (MemberStatus::Active, Phase::Over) => Validity::Expired,
        }
    }

    /// The first moment after `now` at which anything of the record begins or ends.
    pub fn next_change(&self, now: Moment) -> Option<Moment> {
        let periods = self
            .periods
            .roles
            .values()
            .chain(
                self.periods
                    .project_roles
                    .values()
                    .flat_map(|roles| roles.values()),
            )
            .chain(self.overrides.values().map(|replaced| &replaced.period))
            .chain(self.groups.values())
            .chain([&*self.period]);
        periods.filter_map(|period| period.next_change(now)).min()
    }

    /// Whether the member holds the same at all times, and only by themself: until the
    /// record changes, nothing does.
    pub fn is_steady(&self) -> bool {
        self.is_plain()
            && self.period.is_always()
            && self.overrides.values().all(|held| held.period.is_always())
    }

    /// Whether roles are held the same at all times, and only by the member themself.
    fn is_plain(&self) -> bool {
        self.groups.is_empty() && self.periods.is_empty()
    }
}

impl RolePeriods {
    /// Whether every role counts always.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.project_roles.is_empty()
    }

    /// When a role on the organization counts.
    pub fn of_role(&self, role: &str) -> Period {
        self.roles.get(role).copied().unwrap_or_default()
    }

    /// When a role given explicitly on a project counts.
    pub fn of_project_role(&self, project: &str, role: &str) -> Period {
        self.project_roles
            .get(project)
            .and_then(|roles| roles.get(role))
            .copied()
            .unwrap_or_default()
    }
}

impl Organization {
    /// What a member holds towards a project.
    pub fn holdings<'a>(
        &'a self,
        member: &'a Member,
        project: Option<&Project>,
        counting: Counting,
    ) -> Holdings<'a> {
        let mut holdings = if member.is_plain() {
            Holdings {
                roles: Cow::Borrowed(&member.roles),
                project_roles: Cow::Borrowed(
                    project.map_or(&[], |project| member.roles_on_project(project)),
                ),
                replaced: None,
                valid_until: None,
            }
        } else {
            self.gathered(member, project, counting)
        };
        holdings.valid_until = earlier(holdings.valid_until, counting.next_change(&member.period));
        let replaced = project.and_then(|project| member.overrides.get(project.id.as_str()));
        if let Some(replaced) = replaced {
            holdings.valid_until =
                earlier(holdings.valid_until, counting.next_change(&replaced.period));
            // One that was set for a member who has since lost every role beneath it
            // rests: there is nothing left to replace, and an override is no way in.
            let beneath = !holdings.roles.is_empty() || !holdings.project_roles.is_empty();
            if beneath && counting.admits(&replaced.period) {
                holdings.replaced = Some(replaced);
            }
        }
        holdings
    }

    /// The groups that a member is in, those that are in force.
    pub fn groups_of<'a>(
        &'a self,
        member: &'a Member,
        counting: Counting,
    ) -> impl Iterator<Item = &'a Group> + 'a {
        member
            .groups
            .iter()
            .filter(move |(_, period)| counting.admits(period))
            .filter_map(|(id, _)| self.groups.get(id.as_str()))
            .map(AsRef::as_ref)
            .filter(move |group| counting.admits(&group.period))
    }

    fn gathered<'a>(
        &'a self,
        member: &'a Member,
        project: Option<&Project>,
        counting: Counting,
    ) -> Holdings<'a> {
        let mut valid_until = None;
        let mut counts = |period: Period| {
            valid_until = earlier(valid_until, counting.next_change(&period));
            counting.admits(&period)
        };
        let mut roles: Vec<RoleId> = Vec::new();
        let mut project_roles: Vec<RoleId> = Vec::new();
        for role in &member.roles {
            if counts(member.periods.of_role(role.as_str())) {
                roles.push(role.clone());
            }
        }
        if let Some(project) = project {
            let explicit = member.project_roles.contains_key(project.id.as_str());
            for role in member.roles_on_project(project) {
                let period = if explicit {
                    member
                        .periods
                        .of_project_role(project.id.as_str(), role.as_str())
                } else {
                    Period::ALWAYS
                };
                if counts(period) {
                    project_roles.push(role.clone());
                }
            }
        }
        for (id, period) in &member.groups {
            let Some(group) = self.groups.get(id.as_str()) else {
                continue;
            };
            // Both are asked, so that both bound how long the answer holds.
            let (member_counts, group_counts) = (counts(*period), counts(group.period));
            if !(member_counts && group_counts) {
                continue;
            }
            add(&mut roles, &group.roles);
            let here = project.and_then(|project| group.roles_on(&project.id));
            add(&mut project_roles, here.unwrap_or_default());
        }
        Holdings {
            roles: Cow::Owned(roles),
            project_roles: Cow::Owned(project_roles),
            replaced: None,
            valid_until,
        }
    }
}

impl Group {
    /// Roles that members of the group have on a project.
    pub fn roles_on(&self, project: &ProjectId) -> Option<&[RoleId]> {
        self.project_roles.get(project).map(Vec::as_slice)
    }
}

fn add(roles: &mut Vec<RoleId>, more: &[RoleId]) {
    for role in more {
        if !roles.contains(role) {
            roles.push(role.clone());
        }
    }
}
