//! Where a member stands towards a project: what policies see of what is held there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalog::CompiledCatalog;
use super::policies::PermissionsId;
use super::positions::{Position, PositionNumber, Positions};
use super::principals::{Place, Places};
use super::question::Question;
use super::snapshot::Snapshot;
use super::spelled_out::SpelledOut;
use crate::domain::holdings::{Counting, Holdings, Validity};
use crate::domain::identifiers::ProjectId;
use crate::domain::organization::{Member, Moment, Organization, Project};

/// Where a principal stands towards a resource.
pub(super) struct Standing<'a> {
    pub(super) member: Option<&'a Member>,
    owner: bool,
    validity: Validity,
    held: Holdings<'a>,
    permissions: Option<&'a PermissionsId>,
}

impl Standing<'_> {
    /// The same, were there no override.
    pub(super) fn without_override(self) -> Self {
        Self {
            held: self.held.without_override(),
            permissions: None,
            ..self
        }
    }

    /// When what is held may change by itself.
    pub(super) fn valid_until(&self) -> Option<Moment> {
        self.held.valid_until
    }

    /// The position policies see.
    pub(super) fn position(&self) -> Position<'_> {
        Position {
            owner: self.owner,
            validity: self.validity,
            overridden: self.held.replaced.is_some(),
            roles: &self.held.roles,
            project_roles: self.held.counting_on_project(),
            permissions: self.permissions,
        }
    }
}
impl Snapshot {
    /// Where the principal of a question stands.
    pub(super) fn standing<'a>(&'a self, question: &Question<'a>) -> Standing<'a> {
        let member = self
            .organization()
            .members
            .get(question.principal)
            .map(AsRef::as_ref);
        self.standing_of(
            member,
            question.resource.project,
            Counting::At(question.at),
            question.at,
        )
    }

    /// Where a member or a stranger stands towards a project, of the grants that count.
    pub(super) fn standing_of<'a>(
        &'a self,
        member: Option<&'a Member>,
        project: Option<&'a Project>,
        counting: Counting,
        now: Moment,
    ) -> Standing<'a> {
        let (organization, spelled_out) = (self.organization(), self.all_spelled_out());
        match member {
            Some(member) => standing_in(organization, spelled_out, member, project, counting, now),
            None => Standing {
                member: None,
                owner: false,
                validity: Validity::Active,
                held: Holdings::default(),
                permissions: None,
            },
        }
    }
}

fn standing_in<'a>(
    organization: &'a Organization,
    spelled_out: &'a SpelledOut,
    member: &'a Member,
    project: Option<&'a Project>,
    counting: Counting,
    now: Moment,
) -> Standing<'a> {
    let user = member.user.as_str();
    let held = organization.holdings(member, project, counting);
    Standing {
        member: Some(member),
        owner: organization.is_owner(user),
        validity: member.validity(now),
        permissions: held
            .replaced
            .and(project)
            .and_then(|project| spelled_out.of(user, project.id.as_str())),
        held,
    }
}

/// Numbers where members of a state stand.
pub(super) struct Numbering<'a> {
    /// The catalog they live on.
    pub(super) catalog: &'a CompiledCatalog,
    /// The state.
    pub(super) organization: &'a Organization,
    /// What its overrides spell out.
    pub(super) spelled_out: &'a SpelledOut,
    /// The organization's own numbers.
    pub(super) own: &'a Positions,
}

impl Numbering<'_> {
    /// Where a member stands; by record if that changes by itself or with a group, if
    /// there are too many positions, or if a project is named that is not there.
    pub(super) fn place(&self, member: &Arc<Member>) -> Place {
        self.numbered(member)
            .unwrap_or_else(|| Place::Recorded(Arc::clone(member)))
    }

    fn numbered(&self, member: &Member) -> Option<Place> {
        if !member.is_steady() {
            return None;
        }
        let elsewhere = self.number(member, None)?;
        let named: BTreeSet<&ProjectId> = member
            .project_roles
            .keys()
            .chain(member.overrides.keys())
            .collect();
        if named.is_empty() && member.default_roles.is_empty() {
            return Some(Place::Everywhere(elsewhere));
        }
        let explicit = named
            .into_iter()
            .map(|id| {
                let project = self.organization.projects.get(id)?;
                Some((id.clone(), self.number(member, Some(project))?))
            })
            .collect::<Option<_>>()?;
        let defaults = member
            .default_roles
            .iter()
            .map(|(first, roles)| {
                let standing = self.standing(member, None);
                let position = Position {
                    project_roles: roles,
                    ..standing.position()
                };
                Some((*first, self.catalog.number(&position, self.own)?))
            })
            .collect::<Option<_>>()?;
        Some(Place::ByProject(Arc::new(Places {
            elsewhere,
            explicit,
            defaults,
        })))
    }

    fn number(&self, member: &Member, project: Option<&Project>) -> Option<PositionNumber> {
        let standing = self.standing(member, project);
        self.catalog.number(&standing.position(), self.own)
    }

    /// What is held by a member for whom it is the same at any moment.
    fn standing<'b>(&'b self, member: &'b Member, project: Option<&'b Project>) -> Standing<'b> {
        standing_in(
            self.organization,
            self.spelled_out,
            member,
            project,
            Counting::Ever,
            Moment::default(),
        )
    }
}
