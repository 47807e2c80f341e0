//! What the records of an organization name and should be there: members, projects,
//! groups, roles.
//!
//! Every change keeps that by itself, so a fault here means that data was changed in
//! another way, or that a catalog lost a role. Names of who once did something (invited,
//! created) are no references: they may have left. Nor is what is closed or revoked.

use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::identifiers::{ProjectId, RoleId};
use super::organization::{
    Group, Invitation, InvitationStatus, Member, Organization, Override, RegisteredResource, Token,
};

/// A record that names what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// The kind of record, such as `member`.
    pub kind: &'static str,
    /// Its id; of a resource, type and id.
    pub id: String,
    /// What it names, such as ``role `editor` ``.
    pub names: String,
}

impl Organization {
    /// Everything that is named and not there. Without the catalog, roles that the
    /// organization does not define itself are taken on trust.
    pub fn dangling(&self, catalog: Option<&Catalog>) -> Vec<Dangling> {
        let mut search = Search {
            organization: self,
            catalog,
            found: Vec::new(),
        };
        if !self.has_owner() {
            let owner = self.profile.owner.as_str();
            search.note("organization", self.id().as_str(), "owner", owner);
        }
        self.members.values().for_each(|one| search.member(one));
        self.groups.values().for_each(|one| search.group(one));
        self.invitations
            .values()
            .for_each(|one| search.invitation(one));
        self.resources.values().for_each(|one| search.resource(one));
        self.tokens.values().for_each(|one| search.token(one));
        search.found
    }
}

struct Search<'a> {
    organization: &'a Organization,
    catalog: Option<&'a Catalog>,
    found: Vec<Dangling>,
}

impl Search<'_> {
    fn note(&mut self, kind: &'static str, id: &str, what: &str, named: &str) {
        self.found.push(Dangling {
            kind,
            id: id.to_owned(),
            names: format!("{what} `{named}`"),
        });
    }

    fn member(&mut self, member: &Member) {
        let (kind, id) = ("member", member.user.as_str());
        self.roles(kind, id, &member.roles);
        self.project_roles(kind, id, &member.project_roles);
        for roles in member.default_roles.values() {
            self.roles(kind, id, roles);
        }
        self.overrides(kind, id, &member.overrides);
        for group in member.groups.keys() {
            if !self.organization.groups.contains_key(group.as_str()) {
                self.note(kind, id, "group", group.as_str());
            }
        }
    }

    fn group(&mut self, group: &Group) {
        let (kind, id) = ("group", group.id.as_str());
        self.roles(kind, id, &group.roles);
        self.project_roles(kind, id, &group.project_roles);
    }

    fn invitation(&mut self, invitation: &Invitation) {
        if invitation.status == InvitationStatus::Pending {
            let (kind, id) = ("invitation", invitation.id.as_str());
            self.roles(kind, id, &invitation.roles);
            self.project_roles(kind, id, &invitation.project_roles);
            self.overrides(kind, id, &invitation.overrides);
        }
    }

    fn resource(&mut self, resource: &RegisteredResource) {
        let key = &resource.key;
        let id = format!("{}/{}", key.type_id, key.id);
        if let Some(project) = &resource.project {
            self.project("resource", &id, project);
        }
        if let Some(owner) = &resource.owner
            && !self.organization.members.contains_key(owner.as_str())
        {
            self.note("resource", &id, "member", owner.as_str());
        }
    }

    fn token(&mut self, token: &Token) {
        if token.revoked_at.is_some() {
            return;
        }
        let (kind, id) = ("token", token.id.as_str());
        let subject = token.subject.as_str();
        if !self.organization.members.contains_key(subject) {
            self.note(kind, id, "member", subject);
        }
        let projects = token.scope.iter().flat_map(|scope| &scope.projects);
        for project in projects {
            self.project(kind, id, project);
        }
    }

    fn roles(&mut self, kind: &'static str, id: &str, roles: &[RoleId]) {
        for role in roles {
            let own = self.organization.roles.contains_key(role.as_str());
            let of_catalog = self
                .catalog
                .is_none_or(|catalog| catalog.role(role.as_str()).is_some());
            if !own && !of_catalog {
                self.note(kind, id, "role", role.as_str());
            }
        }
    }

    fn project_roles(
        &mut self,
        kind: &'static str,
        id: &str,
        held: &BTreeMap<ProjectId, Vec<RoleId>>,
    ) {
        for (project, roles) in held {
            self.project(kind, id, project);
            self.roles(kind, id, roles);
        }
    }

    fn overrides(
        &mut self,
        kind: &'static str,
        id: &str,
        overrides: &BTreeMap<ProjectId, Override>,
    ) {
        for (project, replaced) in overrides {
            self.project(kind, id, project);
            self.roles(kind, id, &replaced.roles);
        }
    }

    fn project(&mut self, kind: &'static str, id: &str, project: &ProjectId) {
        if !self.organization.projects.contains_key(project.as_str()) {
            self.note(kind, id, "project", project.as_str());
        }
    }
}
