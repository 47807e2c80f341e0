//! The catalog: what a product sells, resolved and cross-checked.
//!
//! A catalog is data from a folder under `policies/`; by the time it is a
//! [`Catalog`] every name in it points at something, implications are closed
//! and nothing is left to go wrong. Reading and checking the folder is
//! `crate::catalogs`; turning it into a Cedar schema is `crate::engine`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::identifiers::{ActionId, CatalogId, PlanId, RoleId, TypeId};
use super::organization::NotificationKind;
use super::permissions::Permissions;
use super::templates::Templates;
use super::value::Attribute;

/// The role every owner has. It is never given; ownership is transferred.
pub const OWNER_ROLE: &str = "owner";
/// Resource types that Roster itself provides in every catalog.
pub const ORGANIZATION_TYPE: &str = "Organization";
/// A project as the resource of a check.
pub const PROJECT_TYPE: &str = "Project";
/// A member as the resource of a check: the target of team management.
pub const MEMBER_TYPE: &str = "Member";

/// Position of an action in [`Catalog::actions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionIndex(pub u16);

/// Position of a resource type in [`Catalog::resource_types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeIndex(pub u16);

/// What a product sells: types, actions, roles, plans and team rules.
#[derive(Debug)]
pub struct Catalog {
    /// The folder's name.
    pub id: CatalogId,
    /// The product's name as people read it.
    pub title: String,
    /// What the product calls an organization, such as `account`.
    pub organization_word: String,
    /// What the product calls a project, such as `application`; absent when it has none.
    pub project_word: Option<String>,
    /// All resource types, Roster's own included.
    pub resource_types: Vec<ResourceType>,
    /// All actions, Roster's own management actions included.
    pub actions: Vec<Action>,
    /// Conditions under which a grant may hold, besides ownership.
    pub conditions: Vec<Condition>,
    /// Built-in roles, the owner's excluded.
    pub roles: Vec<BuiltInRole>,
    /// Plans, the one a new organization gets first.
    pub plans: Vec<Plan>,
    /// What the product allows a team to do with itself.
    pub team: TeamRules,
    /// What notifications say: Roster's words, or the product's own where it has some.
    pub templates: Templates,
    /// The product's own Cedar rules (`rules.cedar`), forbids only, as text to be parsed once.
    pub rules: Option<RulesText>,
    actions_by_id: HashMap<ActionId, ActionIndex, RandomState>,
    types_by_id: HashMap<TypeId, TypeIndex, RandomState>,
}

/// A file of Cedar rules and where it came from, for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesText {
    /// The file's path as the reader of an error knows it.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A kind of resource.
#[derive(Clone, Debug)]
pub struct ResourceType {
    /// Its name, such as `Application`.
    pub id: TypeId,
    /// As people read it.
    pub title: String,
    /// What a request may say about a resource of this type.
    pub attributes: Vec<Attribute>,
    /// Whether Roster itself keeps the records (`Organization`, `Project`, `Member`).
    pub built_in: bool,
}

/// Where an action lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// About the organization; overrides never touch it.
    Account,
    /// About things inside projects; project roles and overrides count.
    Project,
}

/// One permission.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name, such as `DeployApp`.
    pub id: ActionId,
    /// As the product prints it.
    pub title: String,
    /// Where it lives.
    pub level: Level,
    /// What it may be asked of.
    pub resource_types: Vec<TypeIndex>,
    /// Everything a grant of this action also grants, closed and without itself.
    pub implies: BTreeSet<ActionIndex>,
    /// What a request's context may say.
    pub context: Vec<Attribute>,
}

/// A named condition on a resource's attributes under which a grant holds.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its name, such as `approved-for-viewers`.
    pub id: String,
    /// As people read it.
    pub title: String,
    /// What must be true.
    pub test: ConditionTest,
}

/// What a [`Condition`] looks at. An attribute that is absent never satisfies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionTest {
    /// The boolean attribute is true.
    AttributeIsTrue(String),
    /// The attribute, a set of users, contains the principal.
    AttributeContainsPrincipal(String),
}

/// A role that comes with the product.
#[derive(Clone, Debug)]
pub struct BuiltInRole {
    /// Its id, such as `admin`.
    pub id: RoleId,
    /// As the product prints it.
    pub title: String,
    /// One sentence for people, may be empty.
    pub description: String,
    /// Whether it may be held on the organization.
    pub on_organization: bool,
    /// Whether it may be held on a project.
    pub on_project: bool,
    /// What it grants.
    pub permissions: Permissions,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its id, such as `pro`.
    pub id: PlanId,
    /// As the product prints it.
    pub title: String,
    /// Features the plan carries; Cedar sees them as `Organization.features`.
    pub features: BTreeSet<String>,
    /// How many people may be members; `None` for as many as there are.
    pub members: Option<u32>,
}

/// What the product allows a team to do with itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamRules {
    /// Whether custom roles exist, and the feature a plan needs for them.
    pub custom_roles: Offer,
    /// Whether built-in roles may be edited (and reset).
    pub built_in_roles_editable: bool,
    /// Whether members may hold roles on single projects.
    pub project_roles: bool,
    /// Whether a member's rights may be replaced inside one project.
    pub overrides: bool,
    /// Whether members have default roles for projects.
    pub default_roles: bool,
    /// Whether people are invited, and the feature a plan needs for it.
    pub invitations: Offer,
    /// How long, in milliseconds, an invitation can be accepted.
    pub invitation_lifetime: i64,
    /// When a seat of the plan is taken.
    pub seats: Seats,
    /// Whether groups exist.
    pub groups: Offer,
    /// Whether API tokens exist.
    pub tokens: Offer,
    /// Whether service accounts exist.
    pub service_accounts: Offer,
    /// Whether organizations write guardrails of their own.
    pub guardrails: Offer,
    /// How ownership passes on.
    pub transfer: TransferRules,
    /// Whether members may change their own rights, within what they hold.
    pub self_changes: bool,
    /// Who is told of what.
    pub notifications: BTreeSet<NotificationKind>,
}

/// When a seat is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seats {
    /// When somebody becomes a member; any number may be invited.
    AtAcceptance,
    /// When somebody is invited, as long as the invitation can be accepted.
    AtInvitation,
}

/// How ownership passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRules {
    /// Who does it, and in how many steps.
    pub mode: TransferMode,
    /// The role on the organization that the old owner has afterwards.
    pub old_owner_becomes: RoleId,
    /// Roles on the organization of which the new owner must hold one; empty for any member.
    pub target_roles: BTreeSet<RoleId>,
    /// Whether the ownership may be offered to an address outside of the team; in two steps only.
    pub to_address: bool,
    /// How long, in milliseconds, an offer can be accepted; 0 unless in two steps.
    pub lifetime: i64,
}

/// How ownership passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMode {
    /// The owner names the next one, who is owner at once.
    Immediate,
    /// The owner offers, the next one accepts.
    TwoStep,
    /// Only the operator does it.
    PlatformOnly,
}

/// Whether a product offers something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Not at all.
    Never,
    /// On every plan.
    Always,
    /// On plans with this feature.
    WithFeature(String),
}

/// The pieces of a catalog before they are indexed; every index in them is in range.
#[derive(Debug)]
pub struct CatalogParts {
    /// See [`Catalog::id`].
    pub id: CatalogId,
    /// See [`Catalog::title`].
    pub title: String,
    /// See [`Catalog::organization_word`].
    pub organization_word: String,
    /// See [`Catalog::project_word`].
    pub project_word: Option<String>,
    /// See [`Catalog::resource_types`].
    pub resource_types: Vec<ResourceType>,
    /// See [`Catalog::actions`]; `implies` need not be closed yet.
    pub actions: Vec<Action>,
    /// See [`Catalog::conditions`].
    pub conditions: Vec<Condition>,
    /// See [`Catalog::roles`].
    pub roles: Vec<BuiltInRole>,
    /// See [`Catalog::plans`].
    pub plans: Vec<Plan>,
    /// See [`Catalog::team`].
    pub team: TeamRules,
    /// See [`Catalog::templates`].
    pub templates: Templates,
    /// See [`Catalog::rules`].
    pub rules: Option<RulesText>,
}

impl Catalog {
    /// Closes implications and indexes names.
    pub fn assemble(parts: CatalogParts) -> Self {
        let mut actions = parts.actions;
        close_implications(&mut actions);
        let actions_by_id = actions
            .iter()
            .map(|action| action.id.clone())
            .zip((0..).map(ActionIndex))
            .collect();
        let types_by_id = parts
            .resource_types
            .iter()
            .map(|resource_type| resource_type.id.clone())
            .zip((0..).map(TypeIndex))
            .collect();
        Self {
            id: parts.id,
            title: parts.title,
            organization_word: parts.organization_word,
            project_word: parts.project_word,
            resource_types: parts.resource_types,
            actions,
            conditions: parts.conditions,
            roles: parts.roles,
            plans: parts.plans,
            team: parts.team,
            templates: parts.templates,
            rules: parts.rules,
            actions_by_id,
            types_by_id,
        }
    }

    /// The action of that name.
    pub fn action(&self, id: &str) -> Option<(ActionIndex, &Action)> {
        let index = *self.actions_by_id.get(id)?;
        Some((index, self.actions.get(usize::from(index.0))?))
    }

    /// The resource type of that name.
    pub fn resource_type(&self, id: &str) -> Option<(TypeIndex, &ResourceType)> {
        let index = *self.types_by_id.get(id)?;
        Some((index, self.resource_types.get(usize::from(index.0))?))
    }

    /// The built-in role of that id; the owner's is not among them.
    pub fn role(&self, id: &str) -> Option<&BuiltInRole> {
        self.roles.iter().find(|role| role.id.as_str() == id)
    }

    /// The plan of that id.
    pub fn plan(&self, id: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id.as_str() == id)
    }

    /// The named condition of that id.
    pub fn condition(&self, id: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.id == id)
    }

    /// All a grant of `actions` gives: the actions, what they imply, nothing unknown.
    pub fn closure<'a>(
        &self,
        actions: impl IntoIterator<Item = &'a ActionId>,
    ) -> BTreeSet<ActionIndex> {
        let mut closed = BTreeSet::new();
        for id in actions {
            if let Some((index, action)) = self.action(id.as_str()) {
                closed.insert(index);
                closed.extend(action.implies.iter().copied());
            }
        }
        closed
    }
}

fn close_implications(actions: &mut [Action]) {
    let direct: BTreeMap<ActionIndex, BTreeSet<ActionIndex>> = (0..)
        .map(ActionIndex)
        .zip(actions.iter().map(|action| action.implies.clone()))
        .collect();
    for (index, action) in (0..).map(ActionIndex).zip(actions.iter_mut()) {
        let mut closed = BTreeSet::new();
        let mut waiting: Vec<ActionIndex> = action.implies.iter().copied().collect();
        while let Some(next) = waiting.pop() {
            if closed.insert(next) {
                waiting.extend(direct.get(&next).into_iter().flatten().copied());
            }
        }
        closed.remove(&index);
        action.implies = closed;
    }
}

/// A catalog shared between the organizations that live on it.
pub type SharedCatalog = Arc<Catalog>;
