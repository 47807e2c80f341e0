//! Members: added by an operator, given roles, suspended, reinstated, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::{AskedRoles, Checks, Place};
use super::facts::{self, span, spans};
use super::identifiers::{RoleId, UserId};
use super::lifecycle::fresh;
use super::notifications::Notice;
use super::organization::{
    Member, MemberKind, MemberStatus, Moment, NotificationKind, Organization, RegisteredResource,
    RolePeriods,
};
use super::period::Period;
use super::refusal::{Fault, Refusal};
use super::resources::MAX_REASSIGNED;
use super::seats::Reserved;

/// How much later, in milliseconds, a member must have been seen for it to be news.
const ACTIVITY_MILLISECONDS: i64 = 60_000;

/// How many resources an answer lists.
pub const MAX_LISTED_RESOURCES: usize = 1_000;

/// The most bytes of their names together, so that the answer can be remembered.
const MAX_LISTED_BYTES: usize = 24 * 1_024;

/// Who is to be added.
#[derive(Clone, Debug, Default)]
pub struct NewMember {
    /// The user.
    pub user: String,
    /// Their name, may be empty.
    pub display_name: String,
    /// Their address, may be empty.
    pub email: String,
    /// Roles on the organization.
    pub roles: AskedRoles,
    /// When the membership counts.
    pub period: Period,
}

/// What is to be edited; `None` leaves as is.
#[derive(Clone, Debug, Default)]
pub struct MemberEdit {
    /// Another name.
    pub display_name: Option<String>,
    /// Another address.
    pub email: Option<String>,
}

impl Organization {
    /// Adds a member.
    pub fn add_member(
        &self,
        catalog: &Catalog,
        new: &NewMember,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        checks.identifier("user", &new.user);
        checks.optional_name("display_name", &new.display_name);
        checks.optional_address("email", &new.email);
        let roles = checks.roles(
            "roles",
            &new.roles.roles,
            Place::Organization,
            self,
            catalog,
        );
        let role_periods = checks.role_periods("role_periods", &new.roles, now);
        checks.period("period", &new.period, now);
        checks.finish()?;
        if self.members.contains_key(new.user.as_str()) {
            return Err(Refusal::AlreadyExists {
                kind: "member",
                id: new.user.clone(),
            });
        }
        self.check_seat(catalog, Reserved::InvitationsBut(""), now)?;
        let member = Member {
            display_name: new.display_name.clone().into(),
            email: new.email.clone().into(),
            period: new.period.into(),
            periods: RolePeriods {
                roles: role_periods,
                ..RolePeriods::default()
            }
            .into(),
            roles,
            ..new_member(self, UserId::new(new.user.as_str()), now)
        };
        let mut details = vec![("roles", listed(&member.roles))];
        details.extend(spans(&member.periods.roles));
        details.extend(period_details(&member.period));
        Ok(self.put_member(member, "AddMember", details))
    }

    /// Edits what is known of a member; no right depends on it.
    pub fn update_member(
        &self,
        user: &str,
        edit: &MemberEdit,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        if let Some(name) = &edit.display_name {
            checks.optional_name("display_name", name);
        }
        if let Some(address) = &edit.email {
            checks.optional_address("email", address);
        }
        checks.finish()?;
        let mut member = self.person_to_edit(user, given_etag)?;
        if let Some(name) = &edit.display_name {
            member.display_name = name.into();
        }
        if let Some(address) = &edit.email {
            member.email = address.into();
        }
        let edited = [
            ("display_name", edit.display_name.is_some()),
            ("email", edit.email.is_some()),
        ];
        Ok(self.put_member(member, "UpdateMember", vec![facts::fields(edited)]))
    }

    /// Replaces a member's roles on the organization.
    pub fn set_member_roles(
        &self,
        catalog: &Catalog,
        user: &str,
        asked: &AskedRoles,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        let roles = checks.roles("roles", &asked.roles, Place::Organization, self, catalog);
        let periods = checks.role_periods("role_periods", asked, now);
        checks.finish()?;
        let mut member = self.person_to_edit(user, given_etag)?;
        self.refuse_owner(&member, "changing the owner's role")?;
        let mut details = vec![("before", listed(&member.roles)), ("after", listed(&roles))];
        details.extend(spans(&periods));
        let changed = member.roles != roles;
        member.roles = roles;
        member.periods.roles = periods;
        let mut change = self.put_member(member, "SetMemberRoles", details);
        if changed {
            self.tell(
                catalog,
                NotificationKind::RoleChanged,
                user,
                &mut change,
                now,
            );
        }
        Ok(change)
    }

    /// Sets when a membership counts.
    pub fn set_member_period(
        &self,
        user: &str,
        period: Period,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        checks.period("period", &period, now);
        checks.finish()?;
        let mut member = self.member_to_edit(user, given_etag)?;
        self.refuse_owner(&member, "limiting the owner's time")?;
        if member.kind == MemberKind::OrganizationToken {
            return Err(Refusal::MemberKind {
                user: member.user,
                kind: member.kind.in_words(),
                advice: "its time is that of the token",
            });
        }
        let mut details = vec![("before", span(&member.period)), ("after", span(&period))];
        details.extend(period_details(&period));
        member.period = period.into();
        Ok(self.put_member(member, "SetMemberPeriod", details))
    }

    /// Keeps when the host last saw a member at work, if that is news. No etag and
    /// no right depends on it.
    pub fn record_activity(
        &self,
        user: &str,
        at: Option<Moment>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let at = at.unwrap_or(now);
        let mut checks = Checks::new();
        if at > now {
            checks.fault("time", Fault::Malformed, "must not be in the future");
        }
        checks.finish()?;
        let mut member = (**self.member(user)?).clone();
        let known = member.last_active_at;
        let news = known.is_none_or(|known| at.0.saturating_sub(known.0) >= ACTIVITY_MILLISECONDS);
        if !news {
            return Ok(Change {
                records: Vec::new(),
                events: Vec::new(),
                outcome: Outcome::Member(Arc::new(member)),
            });
        }
        member.last_active_at = Some(at);
        let details = vec![("last_active_at", at.0.to_string())];
        Ok(self.keep_member(member, "RecordMemberActivity", details))
    }

    /// Suspends a member: rights stop counting, everything is kept.
    pub fn suspend_member(
        &self,
        catalog: &Catalog,
        user: &str,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut member = self.member_to_edit(user, given_etag)?;
        self.refuse_owner(&member, "suspending the owner")?;
        if member.status == MemberStatus::Suspended {
            return Err(Refusal::MemberStatus {
                user: member.user,
                status: "suspended already",
                advice: "there is nothing to do",
            });
        }
        member.status = MemberStatus::Suspended;
        let mut change = self.put_member(member, "SuspendMember", Vec::new());
        let kind = NotificationKind::MemberSuspended;
        self.tell(catalog, kind, user, &mut change, now);
        Ok(change)
    }

    /// Reinstates a suspended member with all that was kept. Suspended members keep
    /// their seats, so this is refused only where a plan has fewer than are taken.
    pub fn reinstate_member(
        &self,
        catalog: &Catalog,
        user: &str,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut member = self.member_to_edit(user, given_etag)?;
        if member.status == MemberStatus::Active {
            return Err(Refusal::MemberStatus {
                user: member.user,
                status: "active",
                advice: "only a suspended member is reinstated",
            });
        }
        if member.kind == MemberKind::Person
            && let Some(seats) = self.seats(catalog, Reserved::Nothing, now)
        {
            seats.check_not_over()?;
        }
        let token = self.tokens.get(member.user.as_str());
        if member.kind == MemberKind::OrganizationToken
            && token.is_none_or(|token| token.revoked_at.is_some())
        {
            return Err(Refusal::TokenStatus {
                token: member.user.to_string(),
                status: "revoked",
                advice: "create a new one",
            });
        }
        member.status = MemberStatus::Active;
        let mut change = self.put_member(member, "ReinstateMember", Vec::new());
        let kind = NotificationKind::MemberReinstated;
        self.tell(catalog, kind, user, &mut change, now);
        Ok(change)
    }

    /// Ends the membership of whoever wants to go.
    pub fn leave_organization(
        &self,
        user: &str,
        heir: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let member = self.person_to_edit(user, given_etag)?;
        self.refuse_owner(&member, "leaving")?;
        self.end_membership(&member, heir, "LeaveOrganization")
    }

    /// Adds to a change the notification of a member whom it is about, as they are
    /// after it, or were if they are gone.
    pub(super) fn tell(
        &self,
        catalog: &Catalog,
        kind: NotificationKind,
        user: &str,
        change: &mut Change,
        now: Moment,
    ) {
        let after = change.records.iter().find_map(|record| match record {
            RecordChange::PutMember(member) if member.user.as_str() == user => Some(member),
            _ => None,
        });
        let Some(member) = after.or_else(|| self.members.get(user)).cloned() else {
            return;
        };
        if member.kind != MemberKind::Person {
            return;
        }
        let roles = if self.is_owner(user) {
            "Owner".to_owned()
        } else {
            self.role_titles(catalog, &member.roles)
        };
        let facts = [("user", self.name_of(user)), ("roles", roles)];
        let notice = Notice {
            email: member.email.to_string(),
            user: Some(member.user.clone()),
            invitation: None,
            facts: facts
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        };
        let index = change.records.len();
        let record = self.notification(catalog, kind, notice, index, now);
        change.records.extend(record);
    }

    /// Removes a member with everything they hold. Resources they own pass to
    /// `heir`, or to nobody when that is empty; the outcome lists them.
    pub fn remove_member(
        &self,
        catalog: &Catalog,
        user: &str,
        heir: &str,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let member = self.person_to_edit(user, given_etag)?;
        self.refuse_owner(&member, "removing the owner")?;
        let mut change = self.end_membership(&member, heir, "RemoveMember")?;
        let kind = NotificationKind::MemberRemoved;
        self.tell(catalog, kind, user, &mut change, now);
        Ok(change)
    }

    /// The one way in which a membership ends: everything held goes with it.
    pub(super) fn end_membership(
        &self,
        member: &Member,
        heir: &str,
        action: &'static str,
    ) -> Result<Change, Refusal> {
        let user = member.user.as_str();
        let heir = self.heir(heir, user)?;
        let owned: Vec<&Arc<RegisteredResource>> =
            self.owned_by(user).take(MAX_REASSIGNED + 1).collect();
        if owned.len() > MAX_REASSIGNED {
            return Err(Refusal::LimitReached {
                what: "resources that leave with a member (reassign some first)",
                limit: MAX_REASSIGNED,
            });
        }
        let mut records = vec![RecordChange::DeleteMember(member.user.clone())];
        let tokens = self.tokens_of(user);
        records.extend(tokens.map(|token| RecordChange::DeleteToken(token.id.clone())));
        let tokens = records.len() - 1;
        records.extend(owned.iter().map(|resource| {
            RecordChange::PutResource(Arc::new(RegisteredResource {
                owner: heir.clone(),
                version: self.version.next(),
                ..(***resource).clone()
            }))
        }));
        let count = owned.len() as u64;
        let outcome = if heir.is_some() {
            Outcome::Removed {
                orphaned: Vec::new(),
                orphaned_count: 0,
                reassigned_count: count,
            }
        } else {
            let mut room = MAX_LISTED_BYTES;
            let orphaned = owned
                .iter()
                .map(|resource| resource.key.clone())
                .take(MAX_LISTED_RESOURCES)
                .take_while(|key| {
                    let bytes = key.type_id.as_str().len() + key.id.as_str().len();
                    let left = room.checked_sub(bytes);
                    room = left.unwrap_or_default();
                    left.is_some()
                })
                .collect();
            Outcome::Removed {
                orphaned,
                orphaned_count: count,
                reassigned_count: 0,
            }
        };
        let mut details = vec![
            ("roles", listed(&member.roles)),
            ("projects", member.project_roles.len().to_string()),
            ("overrides", member.overrides.len().to_string()),
            ("resources", owned.len().to_string()),
        ];
        if tokens > 0 {
            details.push(("tokens", tokens.to_string()));
        }
        details.extend(heir.map(|heir| ("reassigned_to", heir.to_string())));
        let kind = match member.kind {
            MemberKind::Person => "Member",
            MemberKind::ServiceAccount => "ServiceAccount",
            MemberKind::OrganizationToken => "Token",
        };
        let mut events = vec![Event::done(action, Target::new(kind, user), details)];
        // Organization tokens outlive their creator; somebody should know that they do.
        events.extend(self.orphaned_tokens(user).map(|token| {
            let details = vec![("created_by", user.to_owned())];
            Event::done("OrphanedToken", Target::new("Token", token), details)
        }));
        Ok(Change {
            records,
            events,
            outcome,
        })
    }

    /// The resources that a user owns.
    pub fn owned_by<'a>(
        &'a self,
        user: &'a str,
    ) -> impl Iterator<Item = &'a Arc<RegisteredResource>> + 'a {
        self.resources.values().filter(move |resource| {
            resource
                .owner
                .as_ref()
                .is_some_and(|owner| owner.as_str() == user)
        })
    }

    /// The member of that id.
    pub fn member(&self, user: &str) -> Result<&Arc<Member>, Refusal> {
        self.members.get(user).ok_or_else(|| Refusal::NotFound {
            kind: "member",
            id: shown(user),
        })
    }

    fn heir(&self, heir: &str, leaving: &str) -> Result<Option<UserId>, Refusal> {
        if heir.is_empty() {
            return Ok(None);
        }
        let mut checks = Checks::new();
        if heir == leaving {
            checks.fault(
                "reassign_resources_to",
                Fault::Malformed,
                "is the member who is removed",
            );
        } else if !self.members.contains_key(heir) {
            checks.fault(
                "reassign_resources_to",
                Fault::UnknownReference,
                "names no member of this organization",
            );
        }
        checks.finish()?;
        Ok(Some(UserId::new(heir)))
    }

    /// The same, of a person: what others hold is edited where they are looked after.
    fn person_to_edit(&self, user: &str, given_etag: &str) -> Result<Member, Refusal> {
        let member = self.member_to_edit(user, given_etag)?;
        match member.kind {
            MemberKind::Person => Ok(member),
            MemberKind::ServiceAccount | MemberKind::OrganizationToken => {
                Err(Refusal::MemberKind {
                    user: member.user,
                    kind: member.kind.in_words(),
                    advice: "this is for people; manage it as what it is",
                })
            }
        }
    }

    pub(super) fn member_to_edit(&self, user: &str, given_etag: &str) -> Result<Member, Refusal> {
        let member = self.member(user)?;
        fresh("member", &member.user, member.version, given_etag)?;
        Ok((**member).clone())
    }

    pub(super) fn refuse_owner(&self, member: &Member, what: &'static str) -> Result<(), Refusal> {
        if self.is_owner(member.user.as_str()) {
            return Err(Refusal::OwnerProtected {
                user: member.user.clone(),
                what,
            });
        }
        Ok(())
    }

    pub(super) fn put_member(
        &self,
        mut member: Member,
        action: &'static str,
        details: Vec<(&'static str, String)>,
    ) -> Change {
        member.version = self.version.next();
        self.keep_member(member, action, details)
    }

    /// Answers with a member who stays as they are.
    pub(super) fn keep_member(
        &self,
        member: Member,
        action: &'static str,
        details: Vec<(&'static str, String)>,
    ) -> Change {
        let member = Arc::new(member);
        Change {
            records: vec![RecordChange::PutMember(Arc::clone(&member))],
            events: vec![Event::done(
                action,
                Target::new("Member", &member.user),
                details,
            )],
            outcome: Outcome::Member(member),
        }
    }
}

/// A member who holds nothing yet, from the next version of the organization on.
pub(super) fn new_member(organization: &Organization, user: UserId, now: Moment) -> Member {
    Member {
        user,
        kind: MemberKind::Person,
        display_name: String::new().into(),
        email: String::new().into(),
        status: MemberStatus::Active,
        roles: Vec::new(),
        project_roles: BTreeMap::new().into(),
        overrides: BTreeMap::new().into(),
        default_roles: BTreeMap::new().into(),
        groups: BTreeMap::new().into(),
        periods: RolePeriods::default().into(),
        period: Period::ALWAYS.into(),
        added_by: None,
        joined_at: now,
        last_active_at: None,
        membership: organization.version.next(),
        version: organization.version.next(),
    }
}

/// Roles as the history lists them.
pub(super) fn listed(roles: &[RoleId]) -> String {
    roles
        .iter()
        .map(RoleId::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

/// A period as the history lists it: milliseconds since 1970.
pub(super) fn period_details(period: &Period) -> Vec<(&'static str, String)> {
    let moment = |moment: Option<Moment>| moment.map(|moment| moment.0.to_string());
    let bounds = [
        ("not_before", moment(period.not_before)),
        ("expires_at", moment(period.expires_at)),
    ];
    bounds
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
}

/// An id from a request, cut and escaped so that a message stays readable.
pub(super) fn shown(id: &str) -> String {
    id.chars()
        .take(128)
        .flat_map(char::escape_default)
        .collect()
}
