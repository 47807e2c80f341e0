//! The state of one organization, as an immutable value.
//!
//! Maps share structure between versions, so the state after one role change
//! costs the same whether the team has ten members or a hundred thousand.
//! Nothing in here changes in place: use cases produce a
//! [`Change`](super::Change) and [`Organization::apply`] makes the next state.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use smol_str::SmolStr;

use super::catalog::Catalog;
use super::change::RecordChange;
use super::deadlines::Deadlines;
use super::identifiers::{
    CatalogId, GroupId, GuardrailId, InvitationId, NotificationId, OrganizationId, PlanId,
    ProjectId, ResourceId, RoleId, TokenId, TypeId, UserId,
};
use super::period::Period;
use super::permissions::Permissions;
pub use super::records::{
    Group, Guardrail, Invitation, InvitationStatus, Notification, NotificationKind, Token,
    TokenKind, TokenScope, TokenSecret, Transfer, TransferTarget,
};
use super::seldom::{Empty, Seldom};
pub use super::team::Members;
use super::weight;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

/// Counts the changes of one organization, from a number of its own. What an etag
/// is made of and what a commit is guarded by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// All of one organization.
#[derive(Clone, Debug)]
pub struct Organization {
    /// What is known of the organization itself.
    pub profile: Arc<Profile>,
    /// One more with each change.
    pub version: Version,
    /// Members by user; the owner is one of them.
    pub members: Members,
    /// Custom roles, and built-in ones that the organization has edited.
    pub roles: OrdMap<RoleId, Arc<Role>>,
    /// Projects.
    pub projects: OrdMap<ProjectId, Arc<Project>>,
    /// Registered resources.
    pub resources: OrdMap<ResourceKey, Arc<RegisteredResource>>,
    /// Groups of members.
    pub groups: OrdMap<GroupId, Arc<Group>>,
    /// Invitations, closed ones included.
    pub invitations: OrdMap<InvitationId, Arc<Invitation>>,
    /// API tokens, revoked ones included.
    pub tokens: OrdMap<TokenId, Arc<Token>>,
    /// The organization's own Cedar policies.
    pub guardrails: OrdMap<GuardrailId, Arc<Guardrail>>,
    /// Notifications that wait to be delivered, oldest first by id.
    pub notifications: OrdMap<NotificationId, Arc<Notification>>,
    /// What ends by itself, and when; follows from the records above.
    pub deadlines: Deadlines,
    /// What all of it takes in memory, in bytes, by estimate.
    pub weight: usize,
}

/// The organization's own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The tenant's id.
    pub id: OrganizationId,
    /// As people read it.
    pub display_name: String,
    /// The catalog it lives on, for good.
    pub catalog: CatalogId,
    /// The plan it is on.
    pub plan: PlanId,
    /// The one owner; always a member, always active.
    pub owner: UserId,
    /// When it was created.
    pub created_at: Moment,
    /// Ordinal that the next project gets; never reused.
    pub next_project_ordinal: u64,
    /// A transfer of ownership that waits to be accepted.
    pub transfer: Option<Transfer>,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// Whether a member's rights count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberStatus {
    /// They do.
    Active,
    /// They do not; everything is kept for reinstatement.
    Suspended,
}

/// What kind of user holds a membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKind {
    /// A person; the only kind that takes a seat.
    #[default]
    Person,
    /// A machine, with tokens of its own.
    ServiceAccount,
    /// What one token of the organization acts as; it lives and dies with the token.
    OrganizationToken,
}

impl MemberKind {
    /// The same in words that follow `is`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Person => "a person",
            Self::ServiceAccount => "a service account",
            Self::OrganizationToken => "an organization token",
        }
    }
}

/// A user in an organization, with everything they hold there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What kind of user.
    pub kind: MemberKind,
    /// As people read it; may be empty.
    pub display_name: SmolStr,
    /// Where to reach them; may be empty.
    pub email: SmolStr,
    /// Whether their rights count.
    pub status: MemberStatus,
    /// Roles on the organization, in the order given. Empty for the owner.
    pub roles: Vec<RoleId>,
    /// Roles given explicitly on single projects; an empty list is an explicit "none".
    pub project_roles: Seldom<BTreeMap<ProjectId, Vec<RoleId>>>,
    /// Rights that replace the member's roles inside single projects.
    pub overrides: Seldom<BTreeMap<ProjectId, Override>>,
    /// Default project roles by the ordinal of the first project they apply to,
    /// ascending; see [`Member::roles_on_project`].
    pub default_roles: Seldom<BTreeMap<u64, Vec<RoleId>>>,
    /// Groups they are in, and when.
    pub groups: Seldom<BTreeMap<GroupId, Period>>,
    /// When single roles count that don't always do.
    pub periods: Seldom<RolePeriods>,
    /// When the membership counts.
    pub period: Seldom<Period>,
    /// Who invited or created them; `None` for the operator.
    pub added_by: Option<UserId>,
    /// When the membership began.
    pub joined_at: Moment,
    /// When the host last saw them at work.
    pub last_active_at: Option<Moment>,
    /// The organization's version when the membership began: what a token is bound to.
    pub membership: Version,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// What a member may do in one project instead of what their roles give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Roles whose project-level actions hold, as those roles are at the time of the check.
    pub roles: Vec<RoleId>,
    /// Further project-level rights.
    pub permissions: Permissions,
    /// When it counts.
    pub period: Period,
    /// When it was set.
    pub set_at: Moment,
}

/// When roles count, of those that don't always do. Names only roles that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolePeriods {
    /// Roles on the organization.
    pub roles: BTreeMap<RoleId, Period>,
    /// Roles given explicitly on single projects.
    pub project_roles: BTreeMap<ProjectId, BTreeMap<RoleId, Period>>,
}

impl Empty for RolePeriods {
    const EMPTY: &'static Self = &Self {
        roles: BTreeMap::new(),
        project_roles: BTreeMap::new(),
    };
}

/// A custom role, or the organization's edition of a built-in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// As people read it.
    pub display_name: String,
    /// For people; may be empty.
    pub description: String,
    /// What it grants.
    pub permissions: Permissions,
    /// Whether it stands in for the catalog's role of the same id.
    pub edits_built_in: bool,
    /// When it was created (or the built-in first edited).
    pub created_at: Moment,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// A sub-scope of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// As people read it.
    pub display_name: String,
    /// Its place in the order of creation.
    pub ordinal: u64,
    /// Whether it is closed for new grants and resources. Decisions go on.
    pub archived: bool,
    /// When it was created.
    pub created_at: Moment,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

/// What names a registered resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its type.
    pub type_id: TypeId,
    /// Its id.
    pub id: ResourceId,
}

/// A resource whose project and owner Roster keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredResource {
    /// What names it.
    pub key: ResourceKey,
    /// The project it lies in, if any.
    pub project: Option<ProjectId>,
    /// Who owns it, if anyone.
    pub owner: Option<UserId>,
    /// When it was registered.
    pub created_at: Moment,
    /// The organization's version at the last change of this record.
    pub version: Version,
}

impl Organization {
    /// An organization with a profile and nothing else: what records are applied to.
    pub fn empty(profile: Arc<Profile>, version: Version) -> Self {
        let mut deadlines = Deadlines::default();
        deadlines.replace(None, profile.deadline());
        Self {
            weight: weight::of_empty(&profile),
            profile,
            version,
            members: Members::new(),
            roles: OrdMap::new(),
            projects: OrdMap::new(),
            resources: OrdMap::new(),
            groups: OrdMap::new(),
            invitations: OrdMap::new(),
            tokens: OrdMap::new(),
            guardrails: OrdMap::new(),
            notifications: OrdMap::new(),
            deadlines,
        }
    }

    /// The state after `changes`, one version later.
    #[must_use]
    pub fn apply(&self, changes: &[RecordChange]) -> Self {
        let mut next = self.clone();
        next.version = self.version.next();
        for change in changes {
            next.put(change);
        }
        next
    }

    /// Makes one record change in place; for [`apply`](Self::apply) and for loading.
    pub fn put(&mut self, change: &RecordChange) {
        let (goes, comes) = self.weight_of(change);
        self.weight = self.weight.saturating_sub(goes).saturating_add(comes);
        match change {
            RecordChange::PutProfile(profile) => {
                self.deadlines
                    .replace(self.profile.deadline(), profile.deadline());
                self.profile = Arc::clone(profile);
            }
            RecordChange::PutMember(member) => {
                let before = self.members.insert(Arc::clone(member));
                let before = before.and_then(|before| before.deadline());
                self.deadlines.replace(before, member.deadline());
            }
            RecordChange::DeleteMember(user) => {
                if let Some(before) = self.members.remove(user.as_str()) {
                    self.deadlines.replace(before.deadline(), None);
                }
            }
            RecordChange::PutRole(role) => {
                self.roles.insert(role.id.clone(), Arc::clone(role));
            }
            RecordChange::DeleteRole(role) => {
                self.roles.remove(role.as_str());
            }
            RecordChange::PutProject(project) => {
                self.projects
                    .insert(project.id.clone(), Arc::clone(project));
            }
            RecordChange::DeleteProject(project) => {
                self.projects.remove(project.as_str());
            }
            RecordChange::PutResource(resource) => {
                self.resources
                    .insert(resource.key.clone(), Arc::clone(resource));
            }
            RecordChange::DeleteResource(key) => {
                self.resources.remove(key);
            }
            RecordChange::PutGroup(group) => {
                let before = self.groups.insert(group.id.clone(), Arc::clone(group));
                let before = before.and_then(|before| before.deadline());
                self.deadlines.replace(before, group.deadline());
            }
            RecordChange::DeleteGroup(group) => {
                if let Some(before) = self.groups.remove(group.as_str()) {
                    self.deadlines.replace(before.deadline(), None);
                }
            }
            RecordChange::PutInvitation(invitation) => {
                let before = self
                    .invitations
                    .insert(invitation.id.clone(), Arc::clone(invitation));
                let before = before.and_then(|before| before.deadline());
                self.deadlines.replace(before, invitation.deadline());
            }
            RecordChange::DeleteInvitation(invitation) => {
                if let Some(before) = self.invitations.remove(invitation.as_str()) {
                    self.deadlines.replace(before.deadline(), None);
                }
            }
            RecordChange::PutToken(token) => {
                let before = self.tokens.insert(token.id.clone(), Arc::clone(token));
                let before = before.and_then(|before| before.deadline());
                self.deadlines.replace(before, token.deadline());
            }
            RecordChange::DeleteToken(token) => {
                if let Some(before) = self.tokens.remove(token.as_str()) {
                    self.deadlines.replace(before.deadline(), None);
                }
            }
            RecordChange::PutGuardrail(guardrail) => {
                self.guardrails
                    .insert(guardrail.id.clone(), Arc::clone(guardrail));
            }
            RecordChange::DeleteGuardrail(guardrail) => {
                self.guardrails.remove(guardrail.as_str());
            }
            RecordChange::PutNotification(notification) => {
                self.notifications
                    .insert(notification.id.clone(), Arc::clone(notification));
            }
            RecordChange::DeleteNotification(notification) => {
                self.notifications.remove(notification.as_str());
            }
            RecordChange::DeleteOrganization => {
                *self = Self::empty(Arc::clone(&self.profile), self.version);
            }
        }
    }

    /// The organization's id.
    pub fn id(&self) -> &OrganizationId {
        &self.profile.id
    }

    /// Whether `user` is the owner.
    pub fn is_owner(&self, user: &str) -> bool {
        self.profile.owner.as_str() == user
    }

    /// Whether the owner is a member, as in every sound organization.
    pub fn has_owner(&self) -> bool {
        self.members.contains_key(self.profile.owner.as_str())
    }

    /// What the role of that id grants here: the organization's own edition if
    /// there is one, the catalog's otherwise.
    pub fn permissions_of<'a>(
        &'a self,
        catalog: &'a Catalog,
        role: &str,
    ) -> Option<&'a Permissions> {
        match self.roles.get(role) {
            Some(own) => Some(&own.permissions),
            None => catalog.role(role).map(|built_in| &built_in.permissions),
        }
    }

    /// The registered resource of that type and id.
    pub fn registered(&self, type_id: &str, id: &str) -> Option<&Arc<RegisteredResource>> {
        let name: &dyn ResourceName = &(type_id, id);
        self.resources.get(name)
    }

    /// Features of the plan the organization is on.
    pub fn has_feature(&self, catalog: &Catalog, feature: &str) -> bool {
        catalog
            .plan(self.profile.plan.as_str())
            .is_some_and(|plan| plan.features.contains(feature))
    }
}

impl Member {
    /// Roles held on `project`, the explicit ones if there are any, else the
    /// defaults that were in force for projects of its ordinal.
    ///
    /// Defaults set at one time apply to every project created from then on;
    /// copying them makes them apply from ordinal 0 and drops what was explicit.
    pub fn roles_on_project(&self, project: &Project) -> &[RoleId] {
        match self.project_roles.get(project.id.as_str()) {
            Some(explicit) => explicit,
            None => self
                .default_roles
                .range(..=project.ordinal)
                .next_back()
                .map_or(&[], |(_, roles)| roles.as_slice()),
        }
    }

    /// The default roles that the next new project gets.
    pub fn current_default_roles(&self) -> &[RoleId] {
        self.default_roles
            .last_key_value()
            .map_or(&[], |(_, roles)| roles.as_slice())
    }
}

impl ResourceKey {
    /// The key of a type and an id that are known to be identifiers.
    pub fn new(type_id: &str, id: &str) -> Self {
        Self {
            type_id: TypeId::new(type_id),
            id: ResourceId::new(id),
        }
    }
}

/// Something that names a resource. Lets a map of keys be searched with borrowed
/// text, so that a check allocates nothing to look for a registered resource.
pub trait ResourceName {
    /// The type and the id, in the order in which keys are sorted.
    fn parts(&self) -> (&str, &str);
}

impl ResourceName for ResourceKey {
    fn parts(&self) -> (&str, &str) {
        (self.type_id.as_str(), self.id.as_str())
    }
}

impl ResourceName for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn ResourceName + 'a> for ResourceKey {
    fn borrow(&self) -> &(dyn ResourceName + 'a) {
        self
    }
}

impl PartialEq for dyn ResourceName + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn ResourceName + '_ {}

impl PartialOrd for dyn ResourceName + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn ResourceName + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}
