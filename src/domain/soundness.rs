//! What an organization names that is not there: its owner, its plan, roles,
//! actions, conditions.
//!
//! No change leads to that. A catalog from which something was taken or renamed
//! does, and so does data that was brought in another way. What is not there
//! grants nothing and is kept as it is, so that it counts again once it is back;
//! meanwhile an operator has to hear of it.

use super::catalog::Catalog;
use super::change::RecordChange;
use super::identifiers::{ActionId, RoleId};
use super::organization::{
    Group, Invitation, InvitationStatus, Member, Organization, Override, Role, Token,
};
use super::permissions::{Permissions, When};

impl Organization {
    /// The first thing that is wrong, in words, looking at every record.
    pub fn fault(&self, catalog: &Catalog) -> Option<String> {
        let reader = Reader {
            organization: self,
            catalog,
        };
        reader
            .of_profile()
            .or_else(|| self.roles.values().find_map(|role| reader.of_role(role)))
            .or_else(|| {
                let mut members = self.members.values();
                members.find_map(|member| reader.of_member(member))
            })
            .or_else(|| {
                self.groups
                    .values()
                    .find_map(|group| reader.of_group(group))
            })
            .or_else(|| {
                let mut invitations = self.invitations.values();
                invitations.find_map(|invitation| reader.of_invitation(invitation))
            })
            .or_else(|| {
                self.tokens
                    .values()
                    .find_map(|token| reader.of_token(token))
            })
    }

    /// The first thing that is wrong after changes to an organization that was sound;
    /// looks at no more than they can have touched.
    pub fn fault_after(&self, catalog: &Catalog, changes: &[RecordChange]) -> Option<String> {
        let reader = Reader {
            organization: self,
            catalog,
        };
        // Whoever held the role may still do.
        let takes_a_role = |change: &RecordChange| matches!(change, RecordChange::DeleteRole(_));
        if changes.iter().any(takes_a_role) {
            return self.fault(catalog);
        }
        let touched = changes.iter().find_map(|change| match change {
            RecordChange::PutMember(member) => reader.of_member(member),
            RecordChange::PutRole(role) => reader.of_role(role),
            RecordChange::PutGroup(group) => reader.of_group(group),
            RecordChange::PutInvitation(invitation) => reader.of_invitation(invitation),
            RecordChange::PutToken(token) => reader.of_token(token),
            _ => None,
        });
        reader.of_profile().or(touched)
    }
}

struct Reader<'a> {
    organization: &'a Organization,
    catalog: &'a Catalog,
}

impl Reader<'_> {
    fn of_profile(&self) -> Option<String> {
        let profile = &self.organization.profile;
        if !self.organization.has_owner() {
            return Some(format!("its owner `{}` is no member", profile.owner));
        }
        let plan = self.catalog.plan(profile.plan.as_str()).is_none();
        plan.then(|| format!("it is on plan `{}`, which is not there", profile.plan))
    }

    fn of_member(&self, member: &Member) -> Option<String> {
        let held = member
            .roles
            .iter()
            .chain(member.project_roles.values().flatten())
            .chain(member.default_roles.values().flatten());
        self.missing_role(held)
            .or_else(|| self.of_overrides(member.overrides.values()))
            .map(|missing| format!("member `{}` holds {missing}", member.user))
    }

    fn of_overrides<'a>(
        &self,
        mut overrides: impl Iterator<Item = &'a Override>,
    ) -> Option<String> {
        overrides.find_map(|replaced| {
            self.missing_role(replaced.roles.iter())
                .or_else(|| self.missing_in(&replaced.permissions))
        })
    }

    fn of_group(&self, group: &Group) -> Option<String> {
        let given = group.roles.iter();
        self.missing_role(given.chain(group.project_roles.values().flatten()))
            .map(|missing| format!("group `{}` gives {missing}", group.id))
    }

    /// A closed invitation promises nothing; an expired one can be sent again.
    fn of_invitation(&self, invitation: &Invitation) -> Option<String> {
        if invitation.status != InvitationStatus::Pending {
            return None;
        }
        let promised = invitation.roles.iter();
        self.missing_role(promised.chain(invitation.project_roles.values().flatten()))
            .or_else(|| self.of_overrides(invitation.overrides.values()))
            .map(|missing| format!("invitation `{}` promises {missing}", invitation.id))
    }

    fn of_role(&self, role: &Role) -> Option<String> {
        self.missing_in(&role.permissions)
            .map(|missing| format!("role `{}` grants {missing}", role.id))
    }

    fn of_token(&self, token: &Token) -> Option<String> {
        let scope = token
            .scope
            .as_ref()
            .filter(|_| token.revoked_at.is_none())?;
        self.missing_action(scope.actions.iter())
            .map(|missing| format!("token `{}` is for {missing}", token.id))
    }

    fn missing_role<'a>(&self, mut roles: impl Iterator<Item = &'a RoleId>) -> Option<String> {
        let known = |role: &RoleId| {
            let permissions = self
                .organization
                .permissions_of(self.catalog, role.as_str());
            permissions.is_some()
        };
        let missing = roles.find(|role| !known(role))?;
        Some(format!("role `{missing}`, which is not there"))
    }

    fn missing_in(&self, permissions: &Permissions) -> Option<String> {
        let mut circumstances = permissions.actions.keys();
        let condition = circumstances.find_map(|when| match when {
            When::Condition(id) if self.catalog.condition(id).is_none() => Some(format!(
                "something under condition `{id}`, which is not there"
            )),
            When::Condition(_) | When::Always | When::Own => None,
        });
        condition.or_else(|| self.missing_action(permissions.actions.values().flatten()))
    }

    fn missing_action<'a>(
        &self,
        mut actions: impl Iterator<Item = &'a ActionId>,
    ) -> Option<String> {
        let missing = actions.find(|action| self.catalog.action(action.as_str()).is_none())?;
        Some(format!("action `{missing}`, which is not there"))
    }
}
