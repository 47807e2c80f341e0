//! The one rule on giving and taking rights, wherever that is done.
//!
//! In every place that a change touches, what the target held before and holds
//! after must be within what the grantor holds; and nobody changes their own
//! rights where the product forbids it. The rule looks at the records of a
//! change, not at the request, so that no path can forget it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalog::{Catalog, Level};
use super::change::RecordChange;
use super::holdings::Counting;
use super::identifiers::{ProjectId, RoleId, TokenId, UserId};
use super::organization::{
    Group, Invitation, InvitationStatus, Member, MemberKind, MemberStatus, Moment, Organization,
    Project, RegisteredResource, Token, Version,
};
use super::refusal::Refusal;
use super::rights::{Rights, Where};

/// Who gives and takes.
#[derive(Clone, Debug)]
pub struct Grantor {
    /// The member whose rights count.
    pub user: UserId,
    /// Everybody whose own rights the grantor must not change: the member, and
    /// whoever stands behind the token or service account.
    pub selves: BTreeSet<UserId>,
    /// The token by which the grantor acts: it gives no more than it may be used for.
    pub token: Option<Arc<Token>>,
}

/// Whether the grantor may make these changes; `after` is the state with them applied.
pub fn check(
    before: &Organization,
    after: &Organization,
    records: &[RecordChange],
    catalog: &Catalog,
    grantor: &Grantor,
    now: Moment,
) -> Result<(), Refusal> {
    let Some(member) = before.members.get(grantor.user.as_str()) else {
        return Ok(());
    };
    let rule = Rule {
        before,
        after,
        catalog,
        grantor,
        member,
        now,
    };
    // What goes along with a project or a group was never the member's own to keep.
    let cascades = records.iter().any(|change| {
        matches!(
            change,
            RecordChange::DeleteProject(_) | RecordChange::DeleteGroup(_)
        )
    });
    // Ownership passes by a rule of its own: the old owner keeps one role of the
    // catalog's choice, the new one holds everything.
    let owners = handed_over(before, after);
    for change in records {
        match change {
            RecordChange::PutMember(member) if owners.contains(&Some(&member.user)) => {}
            RecordChange::PutMember(_) | RecordChange::PutGroup(_) if cascades => {}
            RecordChange::PutMember(member) => rule.member(member)?,
            RecordChange::DeleteMember(user) => rule.removal(user)?,
            RecordChange::PutRole(role) => rule.role(&role.id)?,
            RecordChange::DeleteRole(role) => rule.role(role)?,
            RecordChange::PutGroup(group) => rule.group(group.id.as_str())?,
            RecordChange::DeleteGroup(group) => rule.group(group.as_str())?,
            RecordChange::PutToken(_) | RecordChange::PutInvitation(_) if cascades => {}
            RecordChange::PutInvitation(invitation) => rule.invitation(invitation)?,
            RecordChange::PutToken(token) => rule.token(token)?,
            RecordChange::DeleteToken(token) => rule.token_removal(token)?,
            RecordChange::PutResource(resource) => rule.resource(resource)?,
            RecordChange::PutProfile(_)
            | RecordChange::PutProject(_)
            | RecordChange::DeleteProject(_)
            | RecordChange::DeleteResource(_)
            | RecordChange::DeleteInvitation(_)
            | RecordChange::PutGuardrail(_)
            | RecordChange::DeleteGuardrail(_)
            | RecordChange::PutNotification(_)
            | RecordChange::DeleteNotification(_)
            | RecordChange::DeleteOrganization => {}
        }
    }
    Ok(())
}

/// The old owner and the new one, if these are two.
fn handed_over<'a>(before: &'a Organization, after: &'a Organization) -> [Option<&'a UserId>; 2] {
    let (old, new) = (&before.profile.owner, &after.profile.owner);
    if old == new {
        return [None, None];
    }
    [Some(old), Some(new)]
}

/// Whether all that an invitation holds is within what a member holds.
pub fn may_give(
    organization: &Organization,
    catalog: &Catalog,
    grantor: &Member,
    invitation: &Invitation,
    now: Moment,
) -> bool {
    let rule = Rule {
        before: organization,
        after: organization,
        catalog,
        grantor: &Grantor {
            user: grantor.user.clone(),
            selves: BTreeSet::new(),
            token: None,
        },
        member: grantor,
        now,
    };
    rule.invitation(invitation).is_ok()
}

struct Rule<'a> {
    before: &'a Organization,
    after: &'a Organization,
    catalog: &'a Catalog,
    grantor: &'a Grantor,
    member: &'a Member,
    now: Moment,
}

impl Rule<'_> {
    fn member(&self, after: &Member) -> Result<(), Refusal> {
        let would_hold = format!("what `{}` would hold", after.user);
        let Some(before) = self.before.members.get(after.user.as_str()) else {
            let places = self.places([after].into_iter());
            return self.within(self.after, after, &places, &would_hold);
        };
        let places = match touched(before, after) {
            Touched::Nothing => return Ok(()),
            Touched::Person => self.places([&**before].into_iter()),
            touched => {
                // An organization token that leaked ends itself.
                let ends_itself = after.kind == MemberKind::OrganizationToken
                    && after.user == self.grantor.user
                    && after.status == MemberStatus::Suspended;
                if !ends_itself {
                    self.refuse_own([&after.user])?;
                }
                match touched {
                    Touched::Projects(projects) => self.projects(projects.iter()),
                    _ => self.places([&**before, after].into_iter()),
                }
            }
        };
        let holds = format!("what `{}` holds", after.user);
        self.within(self.before, before, &places, &holds)?;
        self.within(self.after, after, &places, &would_hold)
    }

    fn removal(&self, user: &UserId) -> Result<(), Refusal> {
        let Some(member) = self.before.members.get(user.as_str()) else {
            return Ok(());
        };
        if *user == self.grantor.user {
            return Ok(());
        }
        let places = self.places([&**member].into_iter());
        self.within(
            self.before,
            member,
            &places,
            &format!("what `{user}` holds"),
        )
    }

    fn role(&self, role: &RoleId) -> Result<(), Refusal> {
        let grants = |organization: &Organization, level| {
            organization
                .permissions_of(self.catalog, role.as_str())
                .map(|permissions| Rights::of(self.catalog, permissions, level))
                .unwrap_or_default()
        };
        // The grantor may be held down in some project, where the role may be held too.
        for place in self.places(std::iter::empty()) {
            let level = match place {
                Where::Account => Level::Account,
                Where::Outside | Where::Project(_) => Level::Project,
            };
            let (before, after) = (grants(self.before, level), grants(self.after, level));
            let grows = !after.beyond(&before, self.catalog).is_empty();
            if grows && !self.catalog.team.self_changes && self.holds(role) {
                return Err(Refusal::SelfChange);
            }
            self.compare(&before, &place, &format!("what role `{role}` grants"))?;
            self.compare(&after, &place, &format!("what role `{role}` would grant"))?;
        }
        Ok(())
    }

    /// Whether anybody the grantor acts for holds the role, in whatever way.
    fn holds(&self, role: &RoleId) -> bool {
        let in_group = |group: &Group| {
            group.roles.contains(role) || group.project_roles.values().flatten().any(|r| r == role)
        };
        self.grantor.selves.iter().any(|user| {
            self.before
                .members
                .get(user.as_str())
                .is_some_and(|member| {
                    member.roles.contains(role)
                        || member.project_roles.values().flatten().any(|r| r == role)
                        || member.default_roles.values().flatten().any(|r| r == role)
                        || member
                            .overrides
                            .values()
                            .any(|replaced| replaced.roles.contains(role))
                        || self.before.groups_of(member, Counting::Ever).any(in_group)
                })
        })
    }

    fn group(&self, id: &str) -> Result<(), Refusal> {
        let (before, after) = (self.before.groups.get(id), self.after.groups.get(id));
        let grants = |group: Option<&Arc<Group>>| {
            group.map(|group| {
                (
                    group.roles.clone(),
                    group.project_roles.clone(),
                    group.max_token_age,
                    group.period,
                )
            })
        };
        if grants(before) == grants(after) {
            return Ok(());
        }
        let gives = |group: Option<&Arc<Group>>| {
            group.is_some_and(|group| {
                !group.roles.is_empty()
                    || !group.project_roles.is_empty()
                    || group.max_token_age.is_some()
            })
        };
        if gives(before) || gives(after) {
            let insiders = self.grantor.selves.iter().filter(|user| {
                let member = self.before.members.get(user.as_str());
                member.is_some_and(|member| member.groups.contains_key(id))
            });
            self.refuse_own(insiders)?;
        }
        for (organization, group) in [(self.before, before), (self.after, after)] {
            let Some(group) = group else { continue };
            let stand_in = stand_in(&group.roles, &group.project_roles);
            let places = self.places([&stand_in].into_iter());
            let what = format!("what group `{id}` gives");
            self.within(organization, &stand_in, &places, &what)?;
        }
        Ok(())
    }

    fn invitation(&self, invitation: &Invitation) -> Result<(), Refusal> {
        let known = self.before.invitations.get(invitation.id.as_str());
        let was_open = known.is_some_and(|known| known.status == InvitationStatus::Pending);
        if invitation.status != InvitationStatus::Pending && !was_open {
            return Ok(());
        }
        let mut stand_in = stand_in(&invitation.roles, &invitation.project_roles);
        stand_in.overrides = invitation.overrides.clone().into();
        let places = self.places([&stand_in].into_iter());
        self.within(self.after, &stand_in, &places, "what the invitation gives")
    }

    fn token(&self, token: &Token) -> Result<(), Refusal> {
        let live = token.revoked_at.is_none();
        let known = self.before.tokens.get(token.id.as_str());
        let same_secrets = known.is_some_and(|known| {
            known.secrets == token.secrets
                && known.scope == token.scope
                && known.period == token.period
        });
        let subject = self.after.members.get(token.subject.as_str());
        if live && !same_secrets {
            self.within_own_token(token)?;
        }
        match subject {
            Some(subject) if !same_secrets || !live => self.subject_of_token(subject),
            _ => Ok(()),
        }
    }

    /// A token that goes by itself, and not with the member whom it stood for.
    fn token_removal(&self, id: &TokenId) -> Result<(), Refusal> {
        let token = self.before.tokens.get(id.as_str());
        let subject = token.and_then(|token| self.after.members.get(token.subject.as_str()));
        match subject {
            Some(subject) => self.subject_of_token(subject),
            None => Ok(()),
        }
    }

    fn subject_of_token(&self, subject: &Member) -> Result<(), Refusal> {
        if subject.user == self.grantor.user {
            return Ok(());
        }
        let places = self.places([subject].into_iter());
        let what = format!("what `{}` holds", subject.user);
        self.within(self.after, subject, &places, &what)
    }

    /// Where a resource lies and whose it is decides what may be done to it: moving it
    /// must not open to the grantor what was closed where it lay, and taking it over
    /// must not open what is held on own resources only.
    fn resource(&self, after: &RegisteredResource) -> Result<(), Refusal> {
        let key = &after.key;
        let before = self
            .before
            .registered(key.type_id.as_str(), key.id.as_str());
        let Some(before) = before else {
            return Ok(());
        };
        let (from, to) = (self.place_of(before), self.place_of(after));
        let held_there = self.held(&to);
        if before.project != after.project {
            let what = format!("what may be done to `{}` where it would lie", key.id);
            self.refuse_beyond(&held_there, &self.held(&from), &from, &what)?;
        }
        let taken_over = before.owner != after.owner
            && after
                .owner
                .as_ref()
                .is_some_and(|owner| self.grantor.selves.contains(owner));
        if taken_over {
            let what = format!("what the owner of `{}` may do", key.id);
            let own = held_there.of_own();
            self.refuse_beyond(&own, &held_there, &to, &what)?;
        }
        Ok(())
    }

    fn place_of(&self, resource: &RegisteredResource) -> Where {
        let project = resource
            .project
            .as_ref()
            .and_then(|id| self.before.projects.get(id.as_str()));
        project.map_or(Where::Outside, |project| {
            Where::Project((**project).clone())
        })
    }

    /// A token brings forth none that may be used for more, or for longer, than itself.
    fn within_own_token(&self, token: &Token) -> Result<(), Refusal> {
        let Some(own) = &self.grantor.token else {
            return Ok(());
        };
        let wider = own.scope.as_ref().is_some_and(|outer| {
            let scope = token.scope.as_ref();
            !scope.is_some_and(|scope| scope.is_within(outer, self.catalog))
        });
        let longer = own.period.expires_at.is_some_and(|end| {
            let ends = token.period.expires_at;
            ends.is_none_or(|ends| ends > end)
        });
        let missing: Vec<String> = [(wider, "a wider scope"), (longer, "a later end")]
            .into_iter()
            .filter(|(beyond, _)| *beyond)
            .map(|(_, what)| what.to_owned())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::ExceedsGrantor {
            actor: self.grantor.user.to_string(),
            what: format!("what token `{}` may be used for", token.id),
            missing,
        })
    }

    fn refuse_own<'b>(&self, users: impl IntoIterator<Item = &'b UserId>) -> Result<(), Refusal> {
        let own = users
            .into_iter()
            .any(|user| self.grantor.selves.contains(user));
        if own && !self.catalog.team.self_changes {
            return Err(Refusal::SelfChange);
        }
        Ok(())
    }

    fn within(
        &self,
        organization: &Organization,
        target: &Member,
        places: &[Where],
        what: &str,
    ) -> Result<(), Refusal> {
        for place in places {
            let rights = organization.rights_at_most(self.catalog, target, place);
            self.compare(&rights, place, what)?;
        }
        Ok(())
    }

    fn compare(&self, rights: &Rights, place: &Where, what: &str) -> Result<(), Refusal> {
        self.refuse_beyond(rights, &self.held(place), place, what)
    }

    /// What the grantor holds in a place, as far as their token goes.
    fn held(&self, place: &Where) -> Rights {
        let counting = Counting::At(self.now);
        let held = self
            .before
            .rights(self.catalog, self.member, place, counting);
        let scope = self.grantor.token.as_ref();
        match scope.and_then(|token| token.scope.as_ref()) {
            Some(scope) => held.limited(self.catalog, scope, place),
            None => held,
        }
    }

    fn refuse_beyond(
        &self,
        rights: &Rights,
        held: &Rights,
        place: &Where,
        what: &str,
    ) -> Result<(), Refusal> {
        let missing = rights.beyond(held, self.catalog);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::ExceedsGrantor {
            actor: self.grantor.user.to_string(),
            what: match place {
                Where::Project(project) if !project.id.as_str().is_empty() => {
                    format!("{what} in project `{}`", project.id)
                }
                Where::Account | Where::Outside | Where::Project(_) => what.to_owned(),
            },
            missing,
        })
    }

    /// Every place in which the targets or the grantor may differ from elsewhere.
    fn places<'b>(&'b self, targets: impl Iterator<Item = &'b Member>) -> Vec<Where> {
        let mut places = vec![Where::Account, Where::Outside];
        let mut named: BTreeSet<ProjectId> = BTreeSet::new();
        let mut ordinals: BTreeSet<u64> = BTreeSet::new();
        for member in targets.chain([self.member]) {
            named.extend(member.project_roles.keys().cloned());
            named.extend(member.overrides.keys().cloned());
            for group in self
                .before
                .groups_of(member, Counting::Ever)
                .chain(self.after.groups_of(member, Counting::Ever))
            {
                named.extend(group.project_roles.keys().cloned());
            }
            ordinals.extend(member.default_roles.keys());
        }
        places.extend(self.projects(named.iter()));
        // Defaults apply from a project's ordinal on: one project of each band stands for all.
        places.extend(ordinals.into_iter().map(|ordinal| {
            Where::Project(Project {
                id: ProjectId::new(""),
                display_name: String::new(),
                ordinal,
                archived: false,
                created_at: Moment(0),
                version: Version(0),
            })
        }));
        places
    }

    fn projects<'b>(&self, named: impl Iterator<Item = &'b ProjectId>) -> Vec<Where> {
        named
            .filter_map(|id| {
                let known = self.after.projects.get(id.as_str());
                known.or_else(|| self.before.projects.get(id.as_str()))
            })
            .map(|project| Where::Project((**project).clone()))
            .collect()
    }
}

/// What a change of a member's record touches.
enum Touched {
    Nothing,
    /// Name or address.
    Person,
    /// What is held on these projects only.
    Projects(BTreeSet<ProjectId>),
    /// What is held everywhere.
    All,
}

fn touched(before: &Member, after: &Member) -> Touched {
    let everywhere = before.roles != after.roles
        || before.default_roles != after.default_roles
        || before.groups != after.groups
        || before.periods.roles != after.periods.roles
        || before.period != after.period
        || before.status != after.status;
    if everywhere {
        return Touched::All;
    }
    let mut projects = differing(&before.project_roles, &after.project_roles);
    projects.extend(differing(&before.overrides, &after.overrides));
    projects.extend(differing(
        &before.periods.project_roles,
        &after.periods.project_roles,
    ));
    if !projects.is_empty() {
        return Touched::Projects(projects);
    }
    if before.display_name != after.display_name || before.email != after.email {
        return Touched::Person;
    }
    Touched::Nothing
}

fn differing<T: PartialEq>(
    before: &BTreeMap<ProjectId, T>,
    after: &BTreeMap<ProjectId, T>,
) -> BTreeSet<ProjectId> {
    before
        .keys()
        .chain(after.keys())
        .filter(|project| before.get(*project) != after.get(*project))
        .cloned()
        .collect()
}

/// A member who holds just these roles.
fn stand_in(roles: &[RoleId], project_roles: &BTreeMap<ProjectId, Vec<RoleId>>) -> Member {
    Member {
        user: UserId::new(""),
        kind: MemberKind::Person,
        display_name: Default::default(),
        email: Default::default(),
        status: MemberStatus::Active,
        roles: roles.to_vec(),
        project_roles: project_roles.clone().into(),
        overrides: Default::default(),
        default_roles: Default::default(),
        groups: Default::default(),
        periods: Default::default(),
        period: Default::default(),
        added_by: None,
        joined_at: Moment(0),
        last_active_at: None,
        membership: Version(0),
        version: Version(0),
    }
}
