//! Projects: created, archived, deleted; roles on them, defaults for new ones,
//! and overrides that replace a member's roles inside one.

use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::{AskedPermissions, AskedRoles, Checks, Place};
use super::facts::{self, Fact, difference, granted, span, spans};
use super::holdings::Counting;
use super::identifiers::{ProjectId, RoleId};
use super::lifecycle::fresh;
use super::members::{listed, shown};
use super::organization::{
    InvitationStatus, Member, MemberStatus, Moment, Organization, Override, Profile, Project,
};
use super::period::Period;
use super::permissions::Permissions;
use super::refusal::Refusal;

/// The most projects of one organization.
pub const MAX_PROJECTS: usize = 100_000;
/// What can't be done, for the owner holds nothing on a project that could be taken.
const TAKING_FROM_THE_OWNER: &str =
    "taking roles or overrides from the owner, who has every right,";

impl Organization {
    /// Creates a project; members' default roles apply to it from the start.
    pub fn create_project(
        &self,
        catalog: &Catalog,
        id: &str,
        display_name: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        if catalog.project_word.is_none() {
            return Err(Refusal::NotOffered("projects"));
        }
        let mut checks = Checks::new();
        checks.identifier("project_id", id);
        checks.name("display_name", display_name);
        checks.finish()?;
        if self.projects.contains_key(id) {
            return Err(Refusal::AlreadyExists {
                kind: "project",
                id: id.to_owned(),
            });
        }
        if self.projects.len() >= MAX_PROJECTS {
            return Err(Refusal::LimitReached {
                what: "projects of an organization",
                limit: MAX_PROJECTS,
            });
        }
        let ordinal = self.profile.next_project_ordinal;
        let profile = Profile {
            next_project_ordinal: ordinal.saturating_add(1),
            ..(*self.profile).clone()
        };
        let project = Project {
            id: ProjectId::new(id),
            display_name: display_name.to_owned(),
            ordinal,
            archived: false,
            created_at: now,
            version: self.version.next(),
        };
        let mut change = self.put_project(project, "CreateProject", Vec::new());
        change
            .records
            .push(RecordChange::PutProfile(Arc::new(profile)));
        Ok(change)
    }

    /// Renames a project.
    pub fn update_project(
        &self,
        id: &str,
        display_name: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        checks.name("display_name", display_name);
        checks.finish()?;
        let mut project = self.project_to_edit(id, given_etag)?;
        project.display_name = display_name.to_owned();
        let details = vec![facts::fields([("display_name", true)])];
        Ok(self.put_project(project, "UpdateProject", details))
    }

    /// Closes a project for new grants and resources; decisions go on.
    pub fn archive_project(&self, id: &str, given_etag: &str) -> Result<Change, Refusal> {
        self.set_archived(id, given_etag, true, "ArchiveProject")
    }

    /// Opens an archived project again.
    pub fn unarchive_project(&self, id: &str, given_etag: &str) -> Result<Change, Refusal> {
        self.set_archived(id, given_etag, false, "UnarchiveProject")
    }

    fn set_archived(
        &self,
        id: &str,
        given_etag: &str,
        archived: bool,
        action: &'static str,
    ) -> Result<Change, Refusal> {
        let project = self.project_to_edit(id, given_etag)?;
        let details = vec![
            ("before", phase(project.archived)),
            ("after", phase(archived)),
        ];
        if project.archived == archived {
            return Ok(self.keep_project(project, action, details));
        }
        let project = Project {
            archived,
            ..project
        };
        Ok(self.put_project(project, action, details))
    }

    /// Deletes a project that holds no registered resource; roles and overrides in it go along.
    pub fn delete_project(
        &self,
        id: &str,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let project = self.project_to_edit(id, given_etag)?;
        let count = self
            .resources
            .values()
            .filter(|resource| resource.project.as_ref() == Some(&project.id))
            .count();
        if count > 0 {
            return Err(Refusal::ProjectNotEmpty {
                project: id.to_owned(),
                count,
            });
        }
        let mut records = vec![RecordChange::DeleteProject(project.id.clone())];
        let holders = self.members.values().filter(|member| {
            member.project_roles.contains_key(id) || member.overrides.contains_key(id)
        });
        records.extend(holders.map(|member| {
            let mut member = (**member).clone();
            member.project_roles.remove(id);
            member.periods.project_roles.remove(id);
            member.overrides.remove(id);
            member.version = self.version.next();
            RecordChange::PutMember(Arc::new(member))
        }));
        let members = records.len().saturating_sub(1);
        let groups = self.groups.values();
        let groups = groups.filter(|group| group.project_roles.contains_key(id));
        records.extend(groups.map(|group| {
            let mut group = (**group).clone();
            group.project_roles.remove(id);
            group.version = self.version.next();
            RecordChange::PutGroup(Arc::new(group))
        }));
        let invitations = self.invitations.values().filter(|invitation| {
            invitation.status == InvitationStatus::Pending
                && (invitation.project_roles.contains_key(id)
                    || invitation.overrides.contains_key(id))
        });
        records.extend(invitations.map(|invitation| {
            let mut invitation = (**invitation).clone();
            invitation.project_roles.remove(id);
            invitation.overrides.remove(id);
            invitation.version = self.version.next();
            RecordChange::PutInvitation(Arc::new(invitation))
        }));
        // A project that is created later under the same id is another one.
        records.extend(self.tokens.values().filter_map(|token| {
            let mut scope = token.scope.clone()?;
            if !scope.projects.remove(id) {
                return None;
            }
            let mut token = (**token).clone();
            // No project left would mean every project.
            if scope.projects.is_empty() {
                token.revoked_at = token.revoked_at.or(Some(now));
            } else {
                token.scope = Some(scope);
            }
            token.version = self.version.next();
            Some(RecordChange::PutToken(Arc::new(token)))
        }));
        let details = vec![("members", members.to_string())];
        Ok(Change {
            records,
            events: vec![Event::done(
                "DeleteProject",
                Target::new("Project", id),
                details,
            )],
            outcome: Outcome::Nothing,
        })
    }

    /// Sets a member's roles on a project; an empty list is an explicit "none".
    pub fn set_project_roles(
        &self,
        catalog: &Catalog,
        id: &str,
        user: &str,
        asked: &AskedRoles,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.project_roles_offered(catalog)?;
        let mut checks = Checks::new();
        let roles = checks.roles("roles", &asked.roles, Place::Project, self, catalog);
        let periods = checks.role_periods("role_periods", asked, now);
        checks.finish()?;
        let project = self.open_project(id)?;
        let mut member = self.grantee(user, given_etag)?;
        let mut details = vec![
            ("project", id.to_owned()),
            ("before", listed(member.roles_on_project(project))),
            ("after", listed(&roles)),
        ];
        details.extend(spans(&periods));
        member.project_roles.insert(project.id.clone(), roles);
        if periods.is_empty() {
            member.periods.project_roles.remove(id);
        } else {
            let id = project.id.clone();
            member.periods.project_roles.insert(id, periods);
        }
        Ok(self.put_member(member, "SetProjectRoles", details))
    }

    /// Takes back what was set explicitly on a project; the defaults apply again.
    pub fn clear_project_roles(
        &self,
        catalog: &Catalog,
        id: &str,
        user: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        self.project_roles_offered(catalog)?;
        let project = self.project(id)?;
        let mut member = self.member_to_edit(user, given_etag)?;
        self.refuse_owner(&member, TAKING_FROM_THE_OWNER)?;
        let before = listed(member.roles_on_project(project));
        let held = member.project_roles.remove(id).is_some();
        member.periods.project_roles.remove(id);
        let details = vec![
            ("project", id.to_owned()),
            ("before", before),
            ("after", listed(member.roles_on_project(project))),
        ];
        Ok(if held {
            self.put_member(member, "ClearProjectRoles", details)
        } else {
            self.keep_member(member, "ClearProjectRoles", details)
        })
    }

    /// Replaces a member's rights inside a project.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a field of the one request"
    )]
    pub fn set_project_override(
        &self,
        catalog: &Catalog,
        id: &str,
        user: &str,
        roles: &[String],
        asked: &AskedPermissions,
        period: Period,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.overrides_offered(catalog)?;
        let mut checks = Checks::new();
        let roles = checks.roles("roles", roles, Place::Override, self, catalog);
        let permissions = checks.permissions("permissions", asked, catalog, Place::Override);
        checks.period("period", &period, now);
        checks.finish()?;
        let project = self.open_project(id)?;
        let mut member = self.grantee(user, given_etag)?;
        // Roles by a group count as much as the member's own.
        let beneath = self.holdings(&member, Some(project), Counting::From(now));
        if beneath.roles.is_empty() && beneath.project_roles.is_empty() {
            return Err(Refusal::NothingToOverride {
                user: member.user,
                project: id.to_owned(),
            });
        }
        let set = Override {
            roles,
            permissions,
            period,
            set_at: now,
        };
        let mut details = vec![("project", id.to_owned())];
        details.extend(replaced(member.overrides.get(id), &set));
        member.overrides.insert(project.id.clone(), set);
        Ok(self.put_member(member, "SetProjectOverride", details))
    }

    /// Removes an override; the member's roles count again, as they are now.
    pub fn remove_project_override(
        &self,
        catalog: &Catalog,
        id: &str,
        user: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        self.overrides_offered(catalog)?;
        self.project(id)?;
        let mut member = self.member_to_edit(user, given_etag)?;
        self.refuse_owner(&member, TAKING_FROM_THE_OWNER)?;
        let Some(removed) = member.overrides.remove(id) else {
            return Err(Refusal::NotFound {
                kind: "override of the member",
                id: shown(user),
            });
        };
        let details = vec![
            ("project", id.to_owned()),
            ("roles", listed(&removed.roles)),
            ("granted", granted(&removed.permissions)),
        ];
        Ok(self.put_member(member, "RemoveProjectOverride", details))
    }

    /// Sets the roles that a member gets on each project created from now on.
    pub fn set_default_roles(
        &self,
        catalog: &Catalog,
        user: &str,
        roles: &[String],
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        self.default_roles_offered(catalog)?;
        let mut checks = Checks::new();
        let roles = checks.roles("roles", roles, Place::Project, self, catalog);
        checks.finish()?;
        let mut member = self.grantee(user, given_etag)?;
        let details = vec![
            ("before", listed(member.current_default_roles())),
            ("after", listed(&roles)),
        ];
        member
            .default_roles
            .insert(self.profile.next_project_ordinal, roles);
        Ok(self.put_member(member, "SetDefaultRoles", details))
    }

    /// Makes a member's default roles apply to every project there is, in place
    /// of what was set explicitly.
    pub fn copy_default_roles(
        &self,
        catalog: &Catalog,
        user: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        self.default_roles_offered(catalog)?;
        let mut member = self.grantee(user, given_etag)?;
        let roles: Vec<RoleId> = member.current_default_roles().to_vec();
        let details = vec![
            ("roles", listed(&roles)),
            ("replaced", member.project_roles.len().to_string()),
        ];
        member.project_roles.clear();
        member.periods.project_roles.clear();
        member.default_roles.clear();
        member.default_roles.insert(0, roles);
        Ok(self.put_member(member, "CopyDefaultRoles", details))
    }

    /// The project of that id.
    pub fn project(&self, id: &str) -> Result<&Arc<Project>, Refusal> {
        self.projects.get(id).ok_or_else(|| Refusal::NotFound {
            kind: "project",
            id: shown(id),
        })
    }

    /// The project of that id, if it takes new grants and resources.
    pub(super) fn open_project(&self, id: &str) -> Result<&Arc<Project>, Refusal> {
        let project = self.project(id)?;
        if project.archived {
            return Err(Refusal::ProjectArchived(id.to_owned()));
        }
        Ok(project)
    }

    /// A member who may be given something: active, and not the owner, who has everything.
    fn grantee(&self, user: &str, given_etag: &str) -> Result<Member, Refusal> {
        let member = self.member_to_edit(user, given_etag)?;
        self.refuse_owner(
            &member,
            "giving the owner roles or overrides, who has every right,",
        )?;
        if member.status == MemberStatus::Suspended {
            return Err(Refusal::MemberStatus {
                user: member.user,
                status: "suspended",
                advice: "reinstate first",
            });
        }
        Ok(member)
    }

    pub(super) fn project_roles_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        if catalog.team.project_roles {
            Ok(())
        } else {
            Err(Refusal::NotOffered("roles on projects"))
        }
    }

    pub(super) fn overrides_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        if catalog.team.overrides {
            Ok(())
        } else {
            Err(Refusal::NotOffered("project overrides"))
        }
    }

    fn default_roles_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        if catalog.team.default_roles {
            Ok(())
        } else {
            Err(Refusal::NotOffered("default roles"))
        }
    }

    fn project_to_edit(&self, id: &str, given_etag: &str) -> Result<Project, Refusal> {
        let project = self.project(id)?;
        fresh("project", &project.id, project.version, given_etag)?;
        Ok((**project).clone())
    }

    fn put_project(
        &self,
        mut project: Project,
        action: &'static str,
        details: Vec<Fact>,
    ) -> Change {
        project.version = self.version.next();
        self.keep_project(project, action, details)
    }

    /// Answers with a project that stays as it is.
    fn keep_project(&self, project: Project, action: &'static str, details: Vec<Fact>) -> Change {
        let project = Arc::new(project);
        Change {
            records: vec![RecordChange::PutProject(Arc::clone(&project))],
            events: vec![Event::done(
                action,
                Target::new("Project", &project.id),
                details,
            )],
            outcome: Outcome::Project(project),
        }
    }
}

/// What an override replaces and what it gives, as the history lists it.
fn replaced(before: Option<&Override>, after: &Override) -> Vec<Fact> {
    let nothing = Permissions::default();
    let (held, rights) = before.map_or((String::new(), &nothing), |before| {
        (listed(&before.roles), &before.permissions)
    });
    let mut facts = vec![("before", held), ("after", listed(&after.roles))];
    facts.extend(difference(rights, &after.permissions));
    let period = span(&after.period);
    if !period.is_empty() {
        facts.push(("period", period));
    }
    facts
}

/// Whether a project is archived, in a word.
fn phase(archived: bool) -> String {
    if archived { "archived" } else { "open" }.to_owned()
}
