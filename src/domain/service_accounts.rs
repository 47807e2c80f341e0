//! Service accounts: members that are machines. They hold roles like anybody and
//! act by tokens of their own; they take no seat.

use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Target};
use super::checks::{Checks, Place};
use super::identifiers::UserId;
use super::members::{listed, new_member, shown};
use super::organization::{Member, MemberKind, Moment, Organization};
use super::refusal::Refusal;

/// The most service accounts of one organization.
pub const MAX_SERVICE_ACCOUNTS: usize = 1_000;

/// What a service account is to be.
#[derive(Clone, Debug, Default)]
pub struct NewServiceAccount {
    /// Its id.
    pub id: String,
    /// Its name, may be empty.
    pub display_name: String,
    /// Roles on the organization.
    pub roles: Vec<String>,
}

impl Organization {
    /// Creates a service account.
    pub fn create_service_account(
        &self,
        catalog: &Catalog,
        new: &NewServiceAccount,
        creator: Option<UserId>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.service_accounts_offered(catalog)?;
        let mut checks = Checks::new();
        checks.identifier("service_account_id", &new.id);
        checks.optional_name("display_name", &new.display_name);
        let roles = checks.roles("roles", &new.roles, Place::Organization, self, catalog);
        checks.finish()?;
        if self.members.contains_key(new.id.as_str()) {
            return Err(Refusal::AlreadyExists {
                kind: "member",
                id: new.id.clone(),
            });
        }
        if self.service_accounts().count() >= MAX_SERVICE_ACCOUNTS {
            return Err(Refusal::LimitReached {
                what: "service accounts of an organization",
                limit: MAX_SERVICE_ACCOUNTS,
            });
        }
        let mut account = new_member(self, UserId::new(new.id.as_str()), now);
        account.kind = MemberKind::ServiceAccount;
        account.display_name = new.display_name.as_str().into();
        account.roles = roles;
        account.added_by = creator;
        let details = vec![("roles", listed(&account.roles))];
        Ok(self.put_service_account(account, "CreateServiceAccount", details))
    }

    /// Gives a service account another name.
    pub fn update_service_account(
        &self,
        id: &str,
        display_name: Option<&str>,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        if let Some(name) = display_name {
            checks.optional_name("display_name", name);
        }
        checks.finish()?;
        let mut account = self.service_account_to_edit(id, given_etag)?;
        if let Some(name) = display_name {
            account.display_name = name.into();
        }
        Ok(self.put_service_account(account, "UpdateServiceAccount", Vec::new()))
    }

    /// Replaces the roles of a service account on the organization.
    pub fn set_service_account_roles(
        &self,
        catalog: &Catalog,
        id: &str,
        roles: &[String],
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        let roles = checks.roles("roles", roles, Place::Organization, self, catalog);
        checks.finish()?;
        let mut account = self.service_account_to_edit(id, given_etag)?;
        let details = vec![
            ("before", listed(&account.roles)),
            ("after", listed(&roles)),
        ];
        account.roles = roles;
        account
            .periods
            .roles
            .retain(|role, _| account.roles.contains(role));
        Ok(self.put_service_account(account, "SetServiceAccountRoles", details))
    }

    /// Deletes a service account with all that it holds, its tokens among them.
    /// Resources that it owns pass to `heir`, or to nobody when that is empty.
    pub fn delete_service_account(
        &self,
        id: &str,
        heir: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let account = self.service_account_to_edit(id, given_etag)?;
        self.end_membership(&account, heir, "DeleteServiceAccount")
    }

    /// The service account of that id.
    pub fn service_account(&self, id: &str) -> Result<&Arc<Member>, Refusal> {
        let found = self.members.get(id);
        found
            .filter(|member| member.kind == MemberKind::ServiceAccount)
            .ok_or_else(|| Refusal::NotFound {
                kind: "service account",
                id: shown(id),
            })
    }

    /// Every service account, ascending by id.
    pub fn service_accounts(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members
            .values()
            .filter(|member| member.kind == MemberKind::ServiceAccount)
    }

    fn service_account_to_edit(&self, id: &str, given_etag: &str) -> Result<Member, Refusal> {
        self.service_account(id)?;
        self.member_to_edit(id, given_etag)
    }

    fn put_service_account(
        &self,
        account: Member,
        action: &'static str,
        details: Vec<(&'static str, String)>,
    ) -> Change {
        let target = Target::new("ServiceAccount", &account.user);
        Change {
            events: vec![Event::done(action, target, details)],
            ..self.put_member(account, action, Vec::new())
        }
    }
}
