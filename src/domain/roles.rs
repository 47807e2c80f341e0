//! Roles: custom ones created, edited, deleted; built-in ones edited where the
//! product lets them be, and reset.

use std::sync::Arc;

use unicode_security::skeleton;

use super::catalog::{Catalog, OWNER_ROLE};
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::{AskedPermissions, Checks, Place};
use super::facts::{self, Fact, difference, granted};
use super::identifiers::RoleId;
use super::lifecycle::fresh;
use super::members::shown;
use super::organization::{
    Group, Invitation, InvitationStatus, Member, MemberKind, Moment, Organization, Role,
};
use super::refusal::{Fault, Refusal};

/// The most custom roles of one organization.
pub const MAX_CUSTOM_ROLES: usize = 5_000;
/// How many holders a refusal lists.
const MAX_LISTED_HOLDERS: usize = 20;

/// What a role is to be.
#[derive(Clone, Debug, Default)]
pub struct NewRole {
    /// Its id.
    pub id: String,
    /// Its name.
    pub display_name: String,
    /// What it is for, may be empty.
    pub description: String,
    /// What it grants.
    pub permissions: AskedPermissions,
}

/// What is to be edited; `None` leaves as is.
#[derive(Clone, Debug, Default)]
pub struct RoleEdit {
    /// Another name.
    pub display_name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Other permissions.
    pub permissions: Option<AskedPermissions>,
}

impl Organization {
    /// Creates a custom role.
    pub fn create_role(
        &self,
        catalog: &Catalog,
        new: &NewRole,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.custom_roles_offered(catalog)?;
        let mut checks = Checks::new();
        checks.identifier("role_id", &new.id);
        self.check_role_name(&mut checks, catalog, &new.display_name, &new.id);
        checks.description("description", &new.description);
        let permissions = checks.permissions(
            "permissions",
            &new.permissions,
            catalog,
            Place::Organization,
        );
        if new.id == OWNER_ROLE {
            checks.fault("role_id", Fault::ReservedName, "is kept for the owner");
        }
        checks.finish()?;
        if self.roles.contains_key(new.id.as_str()) || catalog.role(&new.id).is_some() {
            return Err(Refusal::AlreadyExists {
                kind: "role",
                id: new.id.clone(),
            });
        }
        if self.roles.len() >= MAX_CUSTOM_ROLES {
            return Err(Refusal::LimitReached {
                what: "custom roles of an organization",
                limit: MAX_CUSTOM_ROLES,
            });
        }
        let role = Role {
            id: RoleId::new(new.id.as_str()),
            display_name: new.display_name.clone(),
            description: new.description.clone(),
            permissions,
            edits_built_in: false,
            created_at: now,
            version: self.version.next(),
        };
        let details = vec![("granted", granted(&role.permissions))];
        Ok(self.put_role(role, "CreateRole", details))
    }

    /// Edits a role; every holder has the new rights in the same revision.
    pub fn update_role(
        &self,
        catalog: &Catalog,
        id: &str,
        edit: &RoleEdit,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut role = self.role_to_edit(catalog, id, now)?;
        if !role.edits_built_in {
            self.custom_roles_offered(catalog)?;
        }
        let before = role.permissions.clone();
        let mut checks = Checks::new();
        if let Some(name) = &edit.display_name {
            self.check_role_name(&mut checks, catalog, name, id);
            role.display_name.clone_from(name);
        }
        if let Some(description) = &edit.description {
            checks.description("description", description);
            role.description.clone_from(description);
        }
        if let Some(asked) = &edit.permissions {
            role.permissions =
                checks.permissions("permissions", asked, catalog, Place::Organization);
        }
        checks.finish()?;
        fresh("role", &role.id, role.version, given_etag)?;
        let edited = [
            ("display_name", edit.display_name.is_some()),
            ("description", edit.description.is_some()),
            ("permissions", edit.permissions.is_some()),
        ];
        let mut details = vec![facts::fields(edited)];
        details.extend(difference(&before, &role.permissions));
        Ok(self.put_role(role, "UpdateRole", details))
    }

    /// Deletes a custom role that nobody holds.
    pub fn delete_role(
        &self,
        catalog: &Catalog,
        id: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let role = self.own_role(catalog, id)?;
        // What edits a built-in role that the catalog does not have is all there is of it.
        if role.edits_built_in && catalog.role(id).is_some() {
            return Err(Refusal::BuiltInRole(role.id.clone()));
        }
        fresh("role", &role.id, role.version, given_etag)?;
        let mut holders = Vec::new();
        let mut holder_count = 0_usize;
        for member in self.members.values() {
            for place in places_of(member, id) {
                holder_count += 1;
                if holders.len() < MAX_LISTED_HOLDERS {
                    holders.push(format!(
                        "{} `{}` ({place})",
                        holder(member.kind),
                        member.user
                    ));
                }
            }
        }
        for group in self.groups.values() {
            for place in places_in(group, id) {
                holder_count += 1;
                if holders.len() < MAX_LISTED_HOLDERS {
                    holders.push(format!("group `{}` ({place})", group.id));
                }
            }
        }
        let invitations = self.invitations.values();
        for invitation in invitations.filter(|invitation| promises(invitation, id)) {
            holder_count += 1;
            if holders.len() < MAX_LISTED_HOLDERS {
                holders.push(format!("pending invitation `{}`", invitation.id));
            }
        }
        if holder_count > 0 {
            return Err(Refusal::RoleInUse {
                role: role.id.clone(),
                holders,
                holder_count,
            });
        }
        let details = vec![("granted", granted(&role.permissions))];
        Ok(self.drop_role(&role.id, "DeleteRole", details))
    }

    /// Gives an edited built-in role back the shape that the product ships.
    pub fn reset_role(
        &self,
        catalog: &Catalog,
        id: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let Some(built_in) = catalog.role(id) else {
            return Err(Refusal::NotFound {
                kind: "built-in role",
                id: shown(id),
            });
        };
        if !catalog.team.built_in_roles_editable {
            return Err(Refusal::BuiltInRole(built_in.id.clone()));
        }
        let mut details = Vec::new();
        if let Some(edited) = self.roles.get(id) {
            fresh("role", &edited.id, edited.version, given_etag)?;
            details = difference(&edited.permissions, &built_in.permissions);
        }
        Ok(self.drop_role(&built_in.id, "ResetRole", details))
    }

    fn custom_roles_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        self.offered(catalog, &catalog.team.custom_roles, "custom roles")
    }

    /// A name must not pass for a built-in role's or another custom role's.
    fn check_role_name(&self, checks: &mut Checks, catalog: &Catalog, name: &str, id: &str) {
        checks.name("display_name", name);
        let sounds = sounds_like(name);
        let built_in = catalog
            .roles
            .iter()
            .filter(|role| role.id.as_str() != id)
            .map(|role| role.title.as_str());
        if built_in
            .chain([OWNER_ROLE, "administrator"])
            .any(|title| sounds_like(title) == sounds)
        {
            checks.fault(
                "display_name",
                Fault::ReservedName,
                "reads like the name of a built-in role",
            );
        }
        if self
            .roles
            .values()
            .any(|role| role.id.as_str() != id && sounds_like(&role.display_name) == sounds)
        {
            checks.fault(
                "display_name",
                Fault::ReservedName,
                "reads like the name of another custom role",
            );
        }
    }

    fn own_role(&self, catalog: &Catalog, id: &str) -> Result<&Arc<Role>, Refusal> {
        if let Some(role) = self.roles.get(id) {
            return Ok(role);
        }
        if catalog.role(id).is_some() || id == OWNER_ROLE {
            return Err(Refusal::BuiltInRole(RoleId::new(id)));
        }
        Err(Refusal::NotFound {
            kind: "role",
            id: shown(id),
        })
    }

    fn role_to_edit(&self, catalog: &Catalog, id: &str, now: Moment) -> Result<Role, Refusal> {
        match self.own_role(catalog, id) {
            Ok(role) => Ok((**role).clone()),
            Err(refusal) => match catalog
                .role(id)
                .filter(|_| catalog.team.built_in_roles_editable)
            {
                Some(built_in) => Ok(Role {
                    id: built_in.id.clone(),
                    display_name: built_in.title.clone(),
                    description: built_in.description.clone(),
                    permissions: built_in.permissions.clone(),
                    edits_built_in: true,
                    created_at: now,
                    version: super::organization::Version(0),
                }),
                None => Err(refusal),
            },
        }
    }

    fn put_role(&self, mut role: Role, action: &'static str, details: Vec<Fact>) -> Change {
        role.version = self.version.next();
        let role = Arc::new(role);
        Change {
            records: vec![RecordChange::PutRole(Arc::clone(&role))],
            events: vec![Event::done(action, Target::new("Role", &role.id), details)],
            outcome: Outcome::Role(role),
        }
    }

    fn drop_role(&self, role: &RoleId, action: &'static str, details: Vec<Fact>) -> Change {
        Change {
            records: vec![RecordChange::DeleteRole(role.clone())],
            events: vec![Event::done(action, Target::new("Role", role), details)],
            outcome: Outcome::Nothing,
        }
    }
}

/// What a holder is called in a refusal.
fn holder(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Person => "member",
        MemberKind::ServiceAccount => "service account",
        MemberKind::OrganizationToken => "organization token",
    }
}

/// Where a member holds a role, in words.
fn places_of(member: &Member, role: &str) -> Vec<String> {
    let holds = |roles: &[RoleId]| roles.iter().any(|held| held.as_str() == role);
    let mut places = Vec::new();
    if holds(&member.roles) {
        places.push("on the organization".to_owned());
    }
    for (project, roles) in &member.project_roles {
        if holds(roles) {
            places.push(format!("on project `{project}`"));
        }
    }
    for (project, replaced) in &member.overrides {
        if holds(&replaced.roles) {
            places.push(format!("in the override on project `{project}`"));
        }
    }
    if member.default_roles.values().any(|roles| holds(roles)) {
        places.push("as a default role".to_owned());
    }
    places
}

/// Where a group gives a role, in words.
fn places_in(group: &Group, role: &str) -> Vec<String> {
    let gives = |roles: &[RoleId]| roles.iter().any(|given| given.as_str() == role);
    let mut places = Vec::new();
    if gives(&group.roles) {
        places.push("on the organization".to_owned());
    }
    for (project, roles) in &group.project_roles {
        if gives(roles) {
            places.push(format!("on project `{project}`"));
        }
    }
    places
}

/// Whether whoever accepts the invitation would hold a role. An expired one counts:
/// it can be sent again.
fn promises(invitation: &Invitation, role: &str) -> bool {
    let holds = |roles: &[RoleId]| roles.iter().any(|held| held.as_str() == role);
    invitation.status == InvitationStatus::Pending
        && (holds(&invitation.roles)
            || invitation.project_roles.values().any(|roles| holds(roles))
            || invitation
                .overrides
                .values()
                .any(|replaced| holds(&replaced.roles)))
}

/// What a name looks like to a hurried reader: letters that look alike are the
/// same (Unicode Technical Standard 39), case, spaces and punctuation don't count.
fn sounds_like(name: &str) -> String {
    let lower = name.to_lowercase();
    let reduced: String = skeleton(&lower)
        .filter(|character| character.is_alphanumeric())
        .collect();
    skeleton(&reduced.to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_sound_alike() {
        for twin in [
            "Owner",
            "OWNER",
            " o w n e r",
            "0wner",
            "\u{43e}wner",
            "Own\u{435}r",
            "Owner.",
        ] {
            assert_eq!(sounds_like(twin), sounds_like("owner"), "{twin:?}");
        }
        assert_ne!(sounds_like("Owners' assistant"), sounds_like("owner"));
    }
}
