//! From state to Cedar entities: the few a question needs, or all for an export.
//!
//! Entities are made when asked for and never kept: a resident member costs what
//! its record costs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cedar_policy::{ActionConstraint, EntityUid};
use cedar_policy_core::ast::{Entity, EntityUID, PartialValue, RestrictedExpr, Value};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use smol_str::SmolStr;

use super::policies::{CompiledPolicy, PermissionsId};
use super::positions::Position;
use super::question::Question;
use super::snapshot::Snapshot;
use super::vocabulary::{self, ACTION, OVERRIDDEN, USER, role_tag};
use crate::domain::catalog::{Level, MEMBER_TYPE, ORGANIZATION_TYPE, OWNER_ROLE, PROJECT_TYPE};
use crate::domain::holdings::Counting;
use crate::domain::organization::{Member, Moment, Project, RegisteredResource};

/// An entity could not be made: an extension value that Cedar refuses.
#[derive(Debug, thiserror::Error)]
#[error("an entity can't be made: {0}")]
pub struct EntityError(String);

/// What one position shows of a user: all that policies of roles can see.
pub(super) struct Prototype {
    parents: HashSet<EntityUID>,
    tags: Vec<SmolStr>,
    overridden: bool,
    /// No projects, made once.
    nowhere: PartialValue,
}

impl Prototype {
    /// What that position shows.
    pub(super) fn of(position: &Position<'_>) -> Self {
        let roles = position.roles.iter().map(|role| role.as_str());
        let owner = position.owner.then_some(OWNER_ROLE);
        let status = vocabulary::status_name(position.validity).map(vocabulary::status);
        let parents = roles.chain(owner).map(vocabulary::role).chain(status);
        let tags = position.project_roles.iter().map(role_tag);
        let spelled_out = position.permissions.map(PermissionsId::tag);
        Self {
            parents: parents.map(EntityUID::from).collect(),
            tags: tags.chain(spelled_out).map(SmolStr::from).collect(),
            overridden: position.overridden,
            nowhere: projects(std::iter::empty()),
        }
    }

    /// The principal of a question, at that position.
    pub(super) fn stand_in(&self, question: &Question<'_>) -> Entity {
        let project = question.resource.project;
        let here = || projects(project.into_iter().map(|project| project.id.as_str()));
        let overridden = if self.overridden {
            here()
        } else {
            self.nowhere.clone()
        };
        Entity::new_with_attr_partial_value(
            vocabulary::user(question.principal).into(),
            [(OVERRIDDEN.into(), overridden)],
            HashSet::new(),
            self.parents.clone(),
            self.tags.iter().map(|tag| (tag.clone(), here())),
        )
    }
}

/// Entities among which every ancestor of each is told, so that Cedar need not look
/// for ancestors of ancestors: a resource in a project is in the organization too, and
/// nothing else here lies deeper.
pub(super) fn closed(entities: Vec<Entity>) -> Result<cedar_policy::Entities, EntityError> {
    let closed = Entities::from_entities(
        entities,
        None::<&NoEntitiesSchema>,
        TCComputation::AssumeAlreadyComputed,
        Extensions::all_available(),
    );
    closed
        .map(Into::into)
        .map_err(|error| EntityError(error.to_string()))
}

/// How much of the organization the selected policies may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// What the principal holds towards the resource: policies of roles.
    Position,
    /// Also whom and what the question mentions: conditions of rules.
    Mentioned,
    /// Also what those users hold on other projects.
    Holdings,
}

/// Where to look for what a user holds.
#[derive(Clone, Copy)]
enum Within<'a> {
    /// On this project at most.
    Project(Option<&'a Project>),
    /// Everywhere.
    Everywhere,
}

impl Snapshot {
    /// The entities a question is judged on, as far as the policies reach.
    pub(super) fn entities_for(
        &self,
        question: &Question<'_>,
        position: &Position<'_>,
        selected: &[&CompiledPolicy],
    ) -> Result<Vec<Entity>, EntityError> {
        let reach = reach_of(selected);
        let supposedly = || Prototype::of(position).stand_in(question);
        if reach == Reach::Position {
            let member = self.organization().members.get(question.principal);
            return self.entities_towards(question, true, member.map(|_| supposedly()));
        }
        let mut entities = self.entities_towards(question, true, None)?;
        // A position other than the principal's own: what would be, were there no override.
        let standing = self.standing(question);
        let supposed = *position != standing.position();
        let within = match reach {
            Reach::Holdings => Within::Everywhere,
            Reach::Position | Reach::Mentioned => Within::Project(question.resource.project),
        };
        for user in self.mentioned_users(question, selected) {
            let Some(member) = self.organization().members.get(user.as_str()) else {
                continue;
            };
            entities.push(if supposed && user == question.principal {
                supposedly()
            } else {
                self.user(member, within, question.at)
            });
        }
        if let Some(project) = question.resource.project
            && self.type_id(question) != PROJECT_TYPE
        {
            entities.push(self.project(project));
        }
        if self.type_id(question) != ORGANIZATION_TYPE {
            entities.push(self.organization_entity());
        }
        self.add_named(selected, &mut entities)?;
        Ok(entities)
    }

    /// The resource of a question, its principal as it is given, and its action where
    /// a policy may ask what groups that is in.
    pub(super) fn entities_towards(
        &self,
        question: &Question<'_>,
        with_action: bool,
        user: Option<Entity>,
    ) -> Result<Vec<Entity>, EntityError> {
        let mut entities = Vec::with_capacity(3);
        if with_action && let Some(action) = self.catalog().action(question.action) {
            entities.push(action.entity.clone());
        }
        let mut resource = self.asked_resource(question)?;
        self.complete(&mut resource, question.resource.project);
        entities.push(resource);
        entities.extend(user);
        Ok(entities)
    }

    /// Tells what the project lies in that a resource lies in.
    fn complete(&self, resource: &mut Entity, project: Option<&Project>) {
        if project.is_some() {
            // What is a parent already stays one.
            resource.add_indirect_ancestor(self.organization_uid().into());
        }
    }

    /// Adds what policies name and what that lies in, users excepted, as far as it is
    /// on record and not among the entities yet.
    fn add_named(
        &self,
        selected: &[&CompiledPolicy],
        entities: &mut Vec<Entity>,
    ) -> Result<(), EntityError> {
        let named = || selected.iter().flat_map(|policy| &policy.names);
        if named().next().is_none() {
            return Ok(());
        }
        let mut known: HashSet<EntityUID> =
            entities.iter().map(|entity| entity.uid().clone()).collect();
        let organization = self.organization();
        for uid in named() {
            let id: &str = uid.id().unescaped();
            let mut add = |entity: Entity| {
                if known.insert(entity.uid().clone()) {
                    entities.push(entity);
                }
            };
            match uid.type_name().basename() {
                // Users are there already, as are what the question mentions.
                USER | ORGANIZATION_TYPE => {}
                ACTION => {
                    let action = self.catalog().catalog().action(id);
                    let action = action.and_then(|(index, _)| self.catalog().action(index));
                    action
                        .into_iter()
                        .for_each(|action| add(action.entity.clone()));
                }
                PROJECT_TYPE => {
                    if let Some(project) = organization.projects.get(id) {
                        add(self.project(project));
                    }
                }
                MEMBER_TYPE => {
                    if let Some(member) = organization.members.get(id) {
                        add(self.member(member));
                    }
                }
                resource_type => {
                    let found = organization.registered(resource_type, id);
                    let Some(found) = found.filter(|found| self.needs_no_description(found)) else {
                        continue;
                    };
                    let project = found.project.as_ref();
                    let project = project.and_then(|id| organization.projects.get(id.as_str()));
                    let mut resource = self.registered(found)?;
                    self.complete(&mut resource, project.map(AsRef::as_ref));
                    add(resource);
                    if let Some(project) = project {
                        add(self.project(project));
                    }
                }
            }
        }
        Ok(())
    }

    /// All entities of the organization, for an export.
    pub(super) fn all_entities(
        &self,
        now: Moment,
    ) -> impl Iterator<Item = Result<Entity, EntityError>> + '_ {
        let organization = self.organization();
        std::iter::once(Ok(self.organization_entity()))
            .chain(
                organization
                    .projects
                    .values()
                    .map(|project| Ok(self.project(project))),
            )
            .chain(organization.members.values().flat_map(move |member| {
                [
                    Ok(self.user(member, Within::Everywhere, now)),
                    Ok(self.member(member)),
                ]
            }))
            .chain(
                organization
                    .resources
                    .values()
                    .filter(|resource| self.needs_no_description(resource))
                    .map(|resource| self.registered(resource)),
            )
    }

    /// The resource of a question, as it is judged.
    pub(super) fn asked_resource(&self, question: &Question<'_>) -> Result<Entity, EntityError> {
        let organization = self.organization();
        match self.type_id(question) {
            ORGANIZATION_TYPE => Ok(self.organization_entity()),
            MEMBER_TYPE => match organization.members.get(question.resource.id) {
                Some(member) => Ok(self.member(member)),
                None => Err(EntityError("the member is not on record".to_owned())),
            },
            PROJECT_TYPE => match question.resource.project {
                Some(project) => Ok(self.project(project)),
                None => Err(EntityError("the project is not on record".to_owned())),
            },
            _ => self.product_resource(question),
        }
    }

    fn product_resource(&self, question: &Question<'_>) -> Result<Entity, EntityError> {
        let resource = &question.resource;
        let uid = EntityUID::from(self.asked_uid(question)?);
        let parents = [self.parent(resource.project)].into();
        let owner = resource.owner.map(owner_attribute);
        if resource.attributes.is_empty() {
            return Ok(entity(uid, owner, parents));
        }
        let owner = resource.owner.map(|owner| {
            let owner = EntityUID::from(vocabulary::user(owner));
            ("owner".into(), RestrictedExpr::val(owner))
        });
        let attributes = resource.attributes.iter();
        let attributes = attributes.map(|(name, value)| (name.into(), value.as_ref().clone()));
        Entity::new(
            uid,
            attributes.chain(owner),
            HashSet::new(),
            parents,
            [],
            Extensions::all_available(),
        )
        .map_err(|error| EntityError(error.to_string()))
    }

    /// The uid of the resource of a question.
    pub(super) fn asked_uid(&self, question: &Question<'_>) -> Result<EntityUid, EntityError> {
        let resource_type = self
            .catalog()
            .resource_type(question.resource.resource_type);
        let Some(resource_type) = resource_type else {
            return Err(EntityError("the resource type is unknown".to_owned()));
        };
        Ok(vocabulary::uid(&resource_type.name, question.resource.id))
    }

    /// What a resource lies in.
    fn parent(&self, project: Option<&Project>) -> EntityUID {
        let parent = match project {
            Some(project) => vocabulary::project(project.id.as_str()),
            None => self.organization_uid(),
        };
        parent.into()
    }

    /// Whether a record alone makes an entity that fits the schema. Where a type
    /// has attributes that must be given, every question describes its resource,
    /// and only an export with that question can hold it.
    fn needs_no_description(&self, resource: &RegisteredResource) -> bool {
        self.catalog()
            .catalog()
            .resource_type(resource.key.type_id.as_str())
            .is_none_or(|(_, found)| !found.attributes.iter().any(|given| given.required))
    }

    fn registered(&self, resource: &RegisteredResource) -> Result<Entity, EntityError> {
        let found = self
            .catalog()
            .catalog()
            .resource_type(resource.key.type_id.as_str());
        let Some(resource_type) = found.and_then(|(index, _)| self.catalog().resource_type(index))
        else {
            return Err(EntityError(format!(
                "the resource type `{}` is unknown",
                resource.key.type_id
            )));
        };
        let parent = match &resource.project {
            Some(project) => vocabulary::project(project.as_str()),
            None => self.organization_uid(),
        };
        let owner = resource.owner.as_ref();
        Ok(entity(
            vocabulary::uid(&resource_type.name, resource.key.id.as_str()).into(),
            owner.map(|owner| owner_attribute(owner.as_str())),
            [parent.into()].into(),
        ))
    }

    /// A member's user with what they hold within a project or anywhere.
    fn user(&self, member: &Member, within: Within<'_>, now: Moment) -> Entity {
        let counting = Counting::At(now);
        let organization = self.organization();
        let held = organization.holdings(member, None, counting);
        let owner = organization.is_owner(member.user.as_str());
        let roles = held.roles.iter().map(|role| role.as_str());
        let parents = roles
            .chain(owner.then_some(OWNER_ROLE))
            .map(vocabulary::role)
            .chain(vocabulary::status_name(member.validity(now)).map(vocabulary::status))
            .map(EntityUID::from)
            .collect();
        let mut overridden: Vec<&str> = Vec::new();
        let mut tags: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for project in self.projects_of(member, within) {
            let id = project.id.as_str();
            let held = organization.holdings(member, Some(project), counting);
            overridden.extend(held.replaced.map(|_| id));
            let spelled_out = held
                .replaced
                .and_then(|_| self.spelled_out(member.user.as_str(), id))
                .map(PermissionsId::tag);
            for tag in held
                .counting_on_project()
                .iter()
                .map(role_tag)
                .chain(spelled_out)
            {
                tags.entry(tag).or_default().insert(id);
            }
        }
        Entity::new_with_attr_partial_value(
            vocabulary::user(member.user.as_str()).into(),
            [(OVERRIDDEN.into(), projects(overridden.into_iter()))],
            HashSet::new(),
            parents,
            tags.into_iter()
                .map(|(tag, ids)| (tag.into(), projects(ids.into_iter()))),
        )
    }

    /// The projects on which a member may hold something, as far as they are asked for.
    fn projects_of<'a>(&'a self, member: &'a Member, within: Within<'a>) -> Vec<&'a Project> {
        let all = &self.organization().projects;
        match within {
            Within::Project(project) => project.into_iter().collect(),
            Within::Everywhere if member.default_roles.is_empty() => {
                let groups = self.organization().groups_of(member, Counting::Ever);
                let named: BTreeSet<&str> = member
                    .project_roles
                    .keys()
                    .chain(member.overrides.keys())
                    .chain(groups.flat_map(|group| group.project_roles.keys()))
                    .map(|project| project.as_str())
                    .collect();
                named
                    .into_iter()
                    .filter_map(|id| all.get(id))
                    .map(AsRef::as_ref)
                    .collect()
            }
            Within::Everywhere => all.values().map(AsRef::as_ref).collect(),
        }
    }

    fn member(&self, member: &Member) -> Entity {
        let user = EntityUID::from(vocabulary::user(member.user.as_str()));
        entity(
            vocabulary::member(member.user.as_str()).into(),
            Some(("user".into(), Value::from(user).into())),
            [self.organization_uid().into()].into(),
        )
    }

    fn project(&self, project: &Project) -> Entity {
        entity(
            vocabulary::project(project.id.as_str()).into(),
            None,
            [self.organization_uid().into()].into(),
        )
    }

    fn organization_entity(&self) -> Entity {
        let plan = self.organization().profile.plan.as_str();
        let catalog = self.catalog().catalog();
        let features = catalog.plan(plan).into_iter();
        let features = features.flat_map(|plan| &plan.features);
        let features = Value::set(features.map(|feature| feature.as_str().into()), None);
        entity(
            self.organization_uid().into(),
            [
                ("plan".into(), Value::from(plan).into()),
                ("features".into(), features.into()),
            ],
            HashSet::new(),
        )
    }

    fn organization_uid(&self) -> EntityUid {
        vocabulary::organization(self.organization().id().as_str())
    }

    fn type_id(&self, question: &Question<'_>) -> &str {
        let index = usize::from(question.resource.resource_type.0);
        self.catalog()
            .catalog()
            .resource_types
            .get(index)
            .map_or("", |found| found.id.as_str())
    }

    /// Users a condition can reach: the principal, the member the question is about,
    /// the owner, whoever an attribute or the context names, and whom the policies
    /// name themselves or by what is theirs.
    pub(super) fn mentioned_users(
        &self,
        question: &Question<'_>,
        selected: &[&CompiledPolicy],
    ) -> BTreeSet<String> {
        let mut users = BTreeSet::from([question.principal.to_owned()]);
        users.extend(question.resource.owner.map(str::to_owned));
        if self.type_id(question) == MEMBER_TYPE {
            users.insert(question.resource.id.to_owned());
        }
        users.extend(question.users.iter().cloned());
        for uid in selected.iter().flat_map(|policy| &policy.names) {
            let id: &str = uid.id().unescaped();
            match uid.type_name().basename() {
                USER | MEMBER_TYPE => {
                    users.insert(id.to_owned());
                }
                resource_type => {
                    let found = self.organization().registered(resource_type, id);
                    let owner = found.and_then(|found| found.owner.as_ref());
                    users.extend(owner.map(ToString::to_string));
                }
            }
        }
        users
    }
}

/// Whether a policy may ask what groups an action is in: one that gives a whole level,
/// or one that somebody wrote.
pub(super) fn look_at_groups(selected: &[&CompiledPolicy]) -> bool {
    selected.iter().any(|policy| {
        policy.source.is_written()
            || match policy.policy.action_constraint() {
                ActionConstraint::Any | ActionConstraint::Eq(_) => false,
                ActionConstraint::In(uids) => uids.iter().any(|uid| {
                    let id: &str = uid.id().unescaped();
                    [Level::Account, Level::Project]
                        .into_iter()
                        .any(|level| vocabulary::level_group(level) == id)
                }),
            }
    })
}

/// How far the policies reach together.
pub(super) fn reach_of(selected: &[&CompiledPolicy]) -> Reach {
    let furthest = selected.iter().map(|policy| policy.reach()).max();
    furthest.unwrap_or(Reach::Position)
}

/// An entity whose values are known, without tags.
fn entity(
    uid: EntityUID,
    attributes: impl IntoIterator<Item = (SmolStr, PartialValue)>,
    parents: HashSet<EntityUID>,
) -> Entity {
    Entity::new_with_attr_partial_value(uid, attributes, HashSet::new(), parents, [])
}

fn owner_attribute(owner: &str) -> (SmolStr, PartialValue) {
    let owner = EntityUID::from(vocabulary::user(owner));
    ("owner".into(), Value::from(owner).into())
}

/// A set of projects.
fn projects<'a>(ids: impl Iterator<Item = &'a str>) -> PartialValue {
    let uids = ids.map(|id| Value::from(EntityUID::from(vocabulary::project(id))));
    Value::set(uids, None).into()
}
