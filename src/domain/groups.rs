//! Groups: members who share roles, or a limit on how old their tokens may get.
//!
//! A group knows what it gives; who is in it is part of each member's record, so
//! that whoever leaves the organization leaves their groups in the same write.

use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::{Checks, Place};
use super::identifiers::GroupId;
use super::lifecycle::fresh;
use super::members::{listed, shown};
use super::organization::{Group, Member, Moment, Organization};
use super::period::Period;
use super::refusal::{Fault, Refusal};

/// The most groups of one organization.
pub const MAX_GROUPS: usize = 1_000;
/// The most groups that one member may be in.
pub const MAX_GROUPS_OF_A_MEMBER: usize = 100;
/// The most members that leave a group in one change, as when it is deleted.
pub const MAX_MEMBERS_AT_ONCE: usize = 10_000;
/// The shortest limit on the age of tokens, in milliseconds: a minute.
pub const MIN_TOKEN_AGE: i64 = 60 * 1_000;
/// The longest limit on the age of tokens, in milliseconds: ten years.
pub const MAX_TOKEN_AGE: i64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// What a group is to be.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub display_name: String,
    /// What it is for, may be empty.
    pub description: String,
    /// Roles on the organization that its members have.
    pub roles: Vec<String>,
    /// How old, in milliseconds, tokens of its members may get; `None` for no limit.
    pub max_token_age: Option<i64>,
    /// When it counts.
    pub period: Period,
}

/// What is to be edited; `None` leaves as is.
#[derive(Clone, Debug, Default)]
pub struct GroupEdit {
    /// Another name.
    pub display_name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Other roles on the organization.
    pub roles: Option<Vec<String>>,
    /// Another limit on the age of tokens, in milliseconds, or none.
    pub max_token_age: Option<Option<i64>>,
    /// Another time in which it counts.
    pub period: Option<Period>,
}

impl Organization {
    /// Creates a group without members.
    pub fn create_group(
        &self,
        catalog: &Catalog,
        new: &NewGroup,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.groups_offered(catalog)?;
        let mut checks = Checks::new();
        checks.identifier("group_id", &new.id);
        checks.name("display_name", &new.display_name);
        checks.description("description", &new.description);
        let roles = checks.roles("roles", &new.roles, Place::Organization, self, catalog);
        check_token_age(&mut checks, new.max_token_age);
        checks.period("period", &new.period, now);
        checks.finish()?;
        if self.groups.contains_key(new.id.as_str()) {
            return Err(Refusal::AlreadyExists {
                kind: "group",
                id: new.id.clone(),
            });
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(Refusal::LimitReached {
                what: "groups of an organization",
                limit: MAX_GROUPS,
            });
        }
        let details = vec![("roles", listed(&roles))];
        let group = Group {
            id: GroupId::new(new.id.as_str()),
            display_name: new.display_name.clone(),
            description: new.description.clone(),
            roles,
            project_roles: Default::default(),
            max_token_age: new.max_token_age,
            period: new.period,
            created_at: now,
            version: self.version.next(),
        };
        Ok(self.put_group(group, "CreateGroup", details))
    }

    /// Edits a group; all its members have what it gives then in the same revision.
    pub fn update_group(
        &self,
        catalog: &Catalog,
        id: &str,
        edit: &GroupEdit,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.groups_offered(catalog)?;
        let mut group = self.group_to_edit(id, given_etag)?;
        let mut details = Vec::new();
        let mut checks = Checks::new();
        if let Some(name) = &edit.display_name {
            checks.name("display_name", name);
            group.display_name.clone_from(name);
        }
        if let Some(description) = &edit.description {
            checks.description("description", description);
            group.description.clone_from(description);
        }
        if let Some(asked) = &edit.roles {
            let roles = checks.roles("roles", asked, Place::Organization, self, catalog);
            details = vec![("before", listed(&group.roles)), ("after", listed(&roles))];
            group.roles = roles;
        }
        if let Some(age) = edit.max_token_age {
            check_token_age(&mut checks, age);
            group.max_token_age = age;
        }
        if let Some(period) = edit.period {
            checks.period("period", &period, now);
            group.period = period;
        }
        checks.finish()?;
        Ok(self.put_group(group, "UpdateGroup", details))
    }

    /// Deletes a group. Its members lose what it gave and keep what is their own.
    pub fn delete_group(&self, id: &str, given_etag: &str) -> Result<Change, Refusal> {
        let group = self.group_to_edit(id, given_etag)?;
        let some = self.members_of_group(id);
        if some.take(MAX_MEMBERS_AT_ONCE + 1).count() > MAX_MEMBERS_AT_ONCE {
            return Err(Refusal::LimitReached {
                what: "members that a group still has when it is deleted (remove some first)",
                limit: MAX_MEMBERS_AT_ONCE,
            });
        }
        let records = self.without_group(&group.id);
        let members = records.len().saturating_sub(1);
        Ok(Change {
            records,
            events: vec![Event::done(
                "DeleteGroup",
                Target::new("Group", id),
                vec![("members", members.to_string())],
            )],
            outcome: Outcome::Nothing,
        })
    }

    /// Takes its members out of a group, as many as one change takes care of, and
    /// deletes it if these are all.
    pub(super) fn without_group(&self, id: &GroupId) -> Vec<RecordChange> {
        let mut members = self.members_of_group(id.as_str());
        let mut records: Vec<RecordChange> = members
            .by_ref()
            .take(MAX_MEMBERS_AT_ONCE)
            .map(|member| {
                let mut member = (**member).clone();
                member.groups.remove(id);
                member.version = self.version.next();
                RecordChange::PutMember(Arc::new(member))
            })
            .collect();
        if members.next().is_none() {
            records.push(RecordChange::DeleteGroup(id.clone()));
        }
        records
    }

    /// Puts a member into a group for some time, or changes for how long they are in it.
    pub fn add_group_member(
        &self,
        catalog: &Catalog,
        id: &str,
        user: &str,
        period: Period,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.groups_offered(catalog)?;
        let mut checks = Checks::new();
        checks.period("period", &period, now);
        checks.finish()?;
        let group = self.group(id)?;
        let mut member = self.member_to_edit(user, given_etag)?;
        let known = member.groups.insert(group.id.clone(), period);
        if known.is_none() && member.groups.len() > MAX_GROUPS_OF_A_MEMBER {
            return Err(Refusal::LimitReached {
                what: "groups of a member",
                limit: MAX_GROUPS_OF_A_MEMBER,
            });
        }
        let details = vec![("group", id.to_owned())];
        Ok(self.put_member(member, "AddGroupMember", details))
    }

    /// Takes a member out of a group.
    pub fn remove_group_member(
        &self,
        id: &str,
        user: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        self.group(id)?;
        let mut member = self.member_to_edit(user, given_etag)?;
        if member.groups.remove(id).is_none() {
            return Err(Refusal::NotFound {
                kind: "member of the group",
                id: shown(user),
            });
        }
        let details = vec![("group", id.to_owned())];
        Ok(self.put_member(member, "RemoveGroupMember", details))
    }

    /// Replaces the roles that a group gives on a project; none takes it off the project.
    pub fn set_group_project_roles(
        &self,
        catalog: &Catalog,
        id: &str,
        project: &str,
        roles: &[String],
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        self.groups_offered(catalog)?;
        self.project_roles_offered(catalog)?;
        let mut checks = Checks::new();
        let roles = checks.roles("roles", roles, Place::Project, self, catalog);
        checks.finish()?;
        let mut group = self.group_to_edit(id, given_etag)?;
        // What was given on an archived project can still be taken back.
        let project = if roles.is_empty() {
            self.project(project)?
        } else {
            self.open_project(project)?
        };
        let details = vec![
            ("project", project.id.to_string()),
            (
                "before",
                listed(group.roles_on(&project.id).unwrap_or_default()),
            ),
            ("after", listed(&roles)),
        ];
        if roles.is_empty() {
            group.project_roles.remove(&project.id);
        } else {
            group.project_roles.insert(project.id.clone(), roles);
        }
        Ok(self.put_group(group, "SetGroupProjectRoles", details))
    }

    /// The group of that id.
    pub fn group(&self, id: &str) -> Result<&Arc<Group>, Refusal> {
        self.groups.get(id).ok_or_else(|| Refusal::NotFound {
            kind: "group",
            id: shown(id),
        })
    }

    /// The members who are in a group, whenever that counts, by id.
    pub fn members_of_group<'a>(
        &'a self,
        id: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Member>> + 'a {
        self.members
            .values()
            .filter(move |member| member.groups.contains_key(id))
    }

    fn groups_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        self.offered(catalog, &catalog.team.groups, "groups")
    }

    fn group_to_edit(&self, id: &str, given_etag: &str) -> Result<Group, Refusal> {
        let group = self.group(id)?;
        fresh("group", &group.id, group.version, given_etag)?;
        Ok((**group).clone())
    }

    fn put_group(
        &self,
        mut group: Group,
        action: &'static str,
        details: Vec<(&'static str, String)>,
    ) -> Change {
        group.version = self.version.next();
        let group = Arc::new(group);
        Change {
            records: vec![RecordChange::PutGroup(Arc::clone(&group))],
            events: vec![Event::done(
                action,
                Target::new("Group", &group.id),
                details,
            )],
            outcome: Outcome::Group(group),
        }
    }
}

fn check_token_age(checks: &mut Checks, age: Option<i64>) {
    if age.is_some_and(|age| !(MIN_TOKEN_AGE..=MAX_TOKEN_AGE).contains(&age)) {
        checks.fault(
            "max_token_age",
            Fault::Malformed,
            "must be between a minute and ten years of 365 days",
        );
    }
}
