//! From state to Cedar entities: the few a question needs, or all for an export.
//!
//! Entities are made when asked for and never kept: a resident member costs what
//! its record costs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cedar_policy::{Entity, EntityUid, RestrictedExpression};

use super::answers::Position;
use super::policies::{CompiledPolicy, PermissionsId};
use super::question::Question;
use super::snapshot::Snapshot;
use super::values::Pairs;
use super::vocabulary::{self, ACTION, OVERRIDDEN, USER, role_tag};
use crate::domain::catalog::{MEMBER_TYPE, ORGANIZATION_TYPE, OWNER_ROLE, PROJECT_TYPE};
use crate::domain::holdings::Counting;
use crate::domain::organization::{Member, Moment, Project, RegisteredResource};

/// An entity could not be made: an extension value that Cedar refuses.
#[derive(Debug, thiserror::Error)]
#[error("an entity can't be made: {0}")]
pub struct EntityError(String);

/// A user as one position shows them: all that policies of roles can see.
pub(super) fn positioned_user(
    user: &str,
    position: &Position<'_>,
    project: Option<&Project>,
) -> Result<Entity, EntityError> {
    let mut parents: HashSet<EntityUid> = position
        .roles
        .iter()
        .map(|role| vocabulary::role(role.as_str()))
        .collect();
    if position.owner {
        parents.insert(vocabulary::role(OWNER_ROLE));
    }
    parents.extend(vocabulary::status_name(position.validity).map(vocabulary::status));
    let here = || {
        project.map(|project| {
            RestrictedExpression::new_entity_uid(vocabulary::project(project.id.as_str()))
        })
    };
    let overridden = RestrictedExpression::new_set(here().filter(|_| position.overridden));
    let tags = position
        .project_roles
        .iter()
        .map(role_tag)
        .chain(position.permissions.map(PermissionsId::tag))
        .map(|tag| (tag, RestrictedExpression::new_set(here())));
    Entity::new_with_tags(
        vocabulary::user(user),
        [(OVERRIDDEN.to_owned(), overridden)],
        parents,
        tags,
    )
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
        let mut entities = Vec::with_capacity(3);
        if let Some(action) = self.catalog().action(question.action) {
            entities.push(action.entity.clone());
        }
        entities.push(self.asked_resource(question)?);
        if reach == Reach::Position {
            if self.organization().members.contains_key(question.principal) {
                entities.push(positioned_user(
                    question.principal,
                    position,
                    question.resource.project,
                )?);
            }
            return Ok(entities);
        }
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
                positioned_user(question.principal, position, question.resource.project)?
            } else {
                self.user(member, within, question.at)?
            });
        }
        if let Some(project) = question.resource.project
            && self.type_id(question) != PROJECT_TYPE
        {
            entities.push(self.project(project));
        }
        if self.type_id(question) != ORGANIZATION_TYPE {
            entities.push(self.organization_entity()?);
        }
        self.add_named(selected, &mut entities)?;
        Ok(entities)
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
        let mut known: HashSet<EntityUid> = entities.iter().map(Entity::uid).collect();
        let organization = self.organization();
        for uid in named() {
            let id: &str = uid.id().unescaped();
            let mut add = |entity: Entity| {
                if known.insert(entity.uid()) {
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
                        add(self.member(member)?);
                    }
                }
                resource_type => {
                    let found = organization.registered(resource_type, id);
                    let Some(found) = found.filter(|found| self.needs_no_description(found)) else {
                        continue;
                    };
                    add(self.registered(found)?);
                    let project = found.project.as_ref();
                    let project = project.and_then(|id| organization.projects.get(id.as_str()));
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
        std::iter::once(self.organization_entity())
            .chain(
                organization
                    .projects
                    .values()
                    .map(|project| Ok(self.project(project))),
            )
            .chain(organization.members.values().flat_map(move |member| {
                [
                    self.user(member, Within::Everywhere, now),
                    self.member(member),
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
            ORGANIZATION_TYPE => self.organization_entity(),
            MEMBER_TYPE => match organization.members.get(question.resource.id) {
                Some(member) => self.member(member),
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
        let Some(resource_type) = self.catalog().resource_type(resource.resource_type) else {
            return Err(EntityError("the resource type is unknown".to_owned()));
        };
        let mut attributes: Pairs = resource.attributes.clone();
        attributes.extend(resource.owner.map(owner_attribute));
        let parent = match resource.project {
            Some(project) => vocabulary::project(project.id.as_str()),
            None => self.organization_uid(),
        };
        Entity::new(
            vocabulary::uid(&resource_type.name, resource.id),
            attributes.into_iter().collect(),
            [parent].into(),
        )
        .map_err(|error| EntityError(error.to_string()))
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
        let attributes = resource
            .owner
            .iter()
            .map(|owner| owner_attribute(owner.as_str()))
            .collect();
        Entity::new(
            vocabulary::uid(&resource_type.name, resource.key.id.as_str()),
            attributes,
            [parent].into(),
        )
        .map_err(|error| EntityError(error.to_string()))
    }

    /// A member's user with what they hold within a project or anywhere.
    fn user(
        &self,
        member: &Member,
        within: Within<'_>,
        now: Moment,
    ) -> Result<Entity, EntityError> {
        let counting = Counting::At(now);
        let organization = self.organization();
        let held = organization.holdings(member, None, counting);
        let mut parents: HashSet<EntityUid> = held
            .roles
            .iter()
            .map(|role| vocabulary::role(role.as_str()))
            .collect();
        if organization.is_owner(member.user.as_str()) {
            parents.insert(vocabulary::role(OWNER_ROLE));
        }
        parents.extend(vocabulary::status_name(member.validity(now)).map(vocabulary::status));
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
        let projects =
            |ids: Vec<&str>| RestrictedExpression::new_set(ids.into_iter().map(project_expression));
        Entity::new_with_tags(
            vocabulary::user(member.user.as_str()),
            [(OVERRIDDEN.to_owned(), projects(overridden))],
            parents,
            tags.into_iter()
                .map(|(tag, ids)| (tag, projects(ids.into_iter().collect()))),
        )
        .map_err(|error| EntityError(error.to_string()))
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

    fn member(&self, member: &Member) -> Result<Entity, EntityError> {
        let user = RestrictedExpression::new_entity_uid(vocabulary::user(member.user.as_str()));
        Entity::new(
            vocabulary::member(member.user.as_str()),
            [("user".to_owned(), user)].into(),
            [self.organization_uid()].into(),
        )
        .map_err(|error| EntityError(error.to_string()))
    }

    fn project(&self, project: &Project) -> Entity {
        Entity::new_no_attrs(
            vocabulary::project(project.id.as_str()),
            [self.organization_uid()].into(),
        )
    }

    fn organization_entity(&self) -> Result<Entity, EntityError> {
        let plan = self.organization().profile.plan.as_str();
        let features = self
            .catalog()
            .catalog()
            .plan(plan)
            .into_iter()
            .flat_map(|plan| &plan.features);
        let features = features.map(|feature| RestrictedExpression::new_string(feature.clone()));
        Entity::new(
            self.organization_uid(),
            [
                (
                    "plan".to_owned(),
                    RestrictedExpression::new_string(plan.to_owned()),
                ),
                (
                    "features".to_owned(),
                    RestrictedExpression::new_set(features),
                ),
            ]
            .into(),
            HashSet::new(),
        )
        .map_err(|error| EntityError(error.to_string()))
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

/// How far the policies reach together.
pub(super) fn reach_of(selected: &[&CompiledPolicy]) -> Reach {
    let furthest = selected.iter().map(|policy| policy.reach()).max();
    furthest.unwrap_or(Reach::Position)
}

fn owner_attribute(owner: &str) -> (String, RestrictedExpression) {
    (
        "owner".to_owned(),
        RestrictedExpression::new_entity_uid(vocabulary::user(owner)),
    )
}

fn project_expression(project: &str) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(vocabulary::project(project))
}
