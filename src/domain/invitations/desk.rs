//! The desk that every sending passes: what is free and what is taken.
//!
//! A single invitation, each row of hundreds and one that is sent again are held to
//! the same rules here. What has to be counted is counted once for a request, over
//! the invitations (of which there are at most [`MAX_PENDING`] and
//! [`MAX_CLOSED`](super::MAX_CLOSED)) and, for addresses, over the members; no index
//! is kept for what is read this seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::sending::{Draw, NewInvitation, Sender};
use crate::domain::catalog::Seats;
use crate::domain::change::RecordChange;
use crate::domain::checks::{Checks, Place};
use crate::domain::grant_rule;
use crate::domain::identifiers::{ProjectId, RoleId, UserId};
use crate::domain::organization::{Invitation, InvitationStatus, Moment, Organization, Override};
use crate::domain::period::Phase;
use crate::domain::refusal::{Fault, Refusal};
use crate::domain::seats::{Reserved, SeatCount};
use crate::domain::text::{address_fault, folded_address};

/// The most invitations of one organization that wait, expired ones included.
pub const MAX_PENDING: usize = 10_000;
/// The most sendings of one organization in any hour.
pub const MAX_SENT_AN_HOUR: usize = 1_000;
/// The most projects that one invitation gives roles on, and overrides in.
const MAX_PLACES: usize = 100;
/// So often an invitation is sent without a pause in between; then once a minute.
const QUICK_SENDINGS: u32 = 5;
const MINUTE_MILLISECONDS: i64 = 60 * 1_000;
const HOUR_MILLISECONDS: i64 = 60 * MINUTE_MILLISECONDS;

/// What is free and what is taken, as far as invitations go.
pub(super) struct Desk<'a> {
    organization: &'a Organization,
    sender: Sender<'a>,
    /// Of the addresses that are asked for, those of members and of invitations that
    /// can be accepted.
    taken: BTreeSet<String>,
    pending: usize,
    sent_within_the_hour: usize,
    /// Seats, if there is a limit and invitations keep some.
    seats: Option<SeatCount>,
}

impl<'a> Desk<'a> {
    pub(super) fn open<'e>(
        organization: &'a Organization,
        sender: Sender<'a>,
        addresses: impl IntoIterator<Item = &'e str>,
    ) -> Result<Self, Refusal> {
        organization.invitations_offered(sender.catalog)?;
        let now = sender.now;
        let asked: BTreeSet<String> = addresses.into_iter().map(folded_address).collect();
        let members = organization.members.values().map(|member| &member.email);
        let live = organization.live_invitations(now);
        let taken = members
            .map(|email| folded_address(email))
            .chain(live.map(|invitation| invitation.email.clone()))
            .filter(|email| asked.contains(email))
            .collect();
        let hour_ago = Moment(now.0.saturating_sub(HOUR_MILLISECONDS));
        let all = || organization.invitations.values();
        Ok(Self {
            organization,
            sender,
            taken,
            pending: all()
                .filter(|invitation| invitation.status == InvitationStatus::Pending)
                .count(),
            sent_within_the_hour: all()
                .map(|invitation| sendings_since(invitation, hour_ago))
                .sum(),
            seats: Self::seats(organization, sender, ""),
        })
    }

    /// Seats matter here only where invitations keep some.
    fn seats(organization: &Organization, sender: Sender<'_>, but: &str) -> Option<SeatCount> {
        let catalog = sender.catalog;
        let at_invitation = catalog.team.seats == Seats::AtInvitation;
        at_invitation
            .then(|| organization.seats(catalog, Reserved::InvitationsBut(but), sender.now))
            .flatten()
    }

    /// The invitation, if all about it is right; it counts for those that come after it.
    pub(super) fn admit(
        &mut self,
        path: &str,
        new: &NewInvitation,
        draw: &Draw,
    ) -> Result<Arc<Invitation>, Refusal> {
        let invitation = self.checked(path, new, draw)?;
        if let Some(grantor) = self.sender.grantor {
            let (organization, catalog) = (self.organization, self.sender.catalog);
            let record = [RecordChange::PutInvitation(Arc::clone(&invitation))];
            let now = self.sender.now;
            grant_rule::check(organization, organization, &record, catalog, grantor, now)?;
        }
        self.refuse_taken(&invitation.email)?;
        if self.pending >= MAX_PENDING {
            return Err(Refusal::LimitReached {
                what: "pending invitations of an organization, expired ones included,",
                limit: MAX_PENDING,
            });
        }
        self.refuse_haste()?;
        if let Some(seats) = &mut self.seats {
            seats.take()?;
        }
        self.taken.insert(invitation.email.clone());
        self.pending += 1;
        self.sent_within_the_hour += 1;
        Ok(invitation)
    }

    /// Refuses to send that invitation again, if anything is against it.
    pub(super) fn admit_again(&mut self, invitation: &Invitation) -> Result<(), Refusal> {
        let now = self.sender.now;
        if invitation.period.phase(now) == Phase::Over {
            return Err(Refusal::InvitationStatus {
                invitation: invitation.id.to_string(),
                status: "for a membership that has ended",
                advice: "invite anew",
            });
        }
        // An invitation that can be accepted is itself what holds its address.
        let others = self.organization.live_invitations(now);
        let mut others = others.filter(|other| other.id != invitation.id);
        let is_taken = others.any(|other| other.email == invitation.email)
            || self.is_member(&invitation.email);
        if is_taken {
            return Err(address_taken());
        }
        self.refuse_haste()?;
        let pause_over = invitation.sent_at.0.saturating_add(MINUTE_MILLISECONDS) <= now.0;
        if invitation.times_sent >= QUICK_SENDINGS && !pause_over {
            return Err(Refusal::TooFast {
                what: "sendings of one invitation",
                limit: 60,
            });
        }
        let seats = Self::seats(self.organization, self.sender, invitation.id.as_str());
        seats.map_or(Ok(()), |mut seats| seats.take())
    }

    fn is_member(&self, email: &str) -> bool {
        let mut members = self.organization.members.values();
        members.any(|member| member.email.eq_ignore_ascii_case(email))
    }

    /// One answer for members of any status and for invitations, so that it tells
    /// nothing that the members' list does not.
    fn refuse_taken(&self, email: &str) -> Result<(), Refusal> {
        if self.taken.contains(email) {
            return Err(address_taken());
        }
        Ok(())
    }

    fn refuse_haste(&self) -> Result<(), Refusal> {
        if self.sent_within_the_hour >= MAX_SENT_AN_HOUR {
            return Err(Refusal::TooFast {
                what: "invitations sent",
                limit: MAX_SENT_AN_HOUR,
            });
        }
        Ok(())
    }

    pub(super) fn deadline(&self) -> Moment {
        let lifetime = self.sender.catalog.team.invitation_lifetime;
        Moment(self.sender.now.0.saturating_add(lifetime))
    }

    fn checked(
        &self,
        path: &str,
        new: &NewInvitation,
        draw: &Draw,
    ) -> Result<Arc<Invitation>, Refusal> {
        let (organization, catalog) = (self.organization, self.sender.catalog);
        let now = self.sender.now;
        let mut checks = Checks::new();
        let field = |name: &str| format!("{path}{name}");
        if let Some(fault) = address_fault(&new.email) {
            let kind = if new.email.is_empty() {
                Fault::Missing
            } else {
                Fault::Malformed
            };
            checks.fault(field("email"), kind, fault);
        }
        checks.optional_name(&field("display_name"), &new.display_name);
        checks.description(&field("message"), &new.message);
        checks.period(&field("period"), &new.period, now);
        let place = Place::Organization;
        let roles = checks.roles(&field("roles"), &new.roles, place, organization, catalog);
        let project_roles = self.project_roles(&mut checks, path, new);
        let overrides = self.overrides(&mut checks, path, new);
        checks.finish()?;
        self.check_places(new, &roles, &project_roles)?;
        Ok(Arc::new(Invitation {
            id: draw.id.clone(),
            email: folded_address(&new.email),
            display_name: new.display_name.clone(),
            roles,
            project_roles,
            overrides,
            period: new.period,
            message: new.message.clone(),
            status: InvitationStatus::Pending,
            invited_by: self.sender.user(),
            created_at: now,
            sent_at: now,
            times_sent: 1,
            expires_at: self.deadline(),
            expiry_recorded: false,
            nonce: draw.nonce,
            accepted_by: None,
            closed_at: None,
            version: organization.version.next(),
        }))
    }

    fn project_roles(
        &self,
        checks: &mut Checks,
        path: &str,
        new: &NewInvitation,
    ) -> BTreeMap<ProjectId, Vec<RoleId>> {
        let field = format!("{path}project_roles");
        let projects = new.project_roles.iter().map(|(project, _)| project);
        if !check_projects(checks, &field, projects) {
            return BTreeMap::new();
        }
        let (organization, catalog) = (self.organization, self.sender.catalog);
        new.project_roles
            .iter()
            .enumerate()
            .map(|(index, (project, roles))| {
                let field = format!("{field}[{index}].roles");
                let roles = checks.roles(&field, roles, Place::Project, organization, catalog);
                (ProjectId::new(project.as_str()), roles)
            })
            .collect()
    }

    fn overrides(
        &self,
        checks: &mut Checks,
        path: &str,
        new: &NewInvitation,
    ) -> BTreeMap<ProjectId, Override> {
        let field = format!("{path}overrides");
        let now = self.sender.now;
        let projects = new.overrides.iter().map(|asked| &asked.project);
        if !check_projects(checks, &field, projects) {
            return BTreeMap::new();
        }
        let (organization, catalog) = (self.organization, self.sender.catalog);
        new.overrides
            .iter()
            .enumerate()
            .map(|(index, asked)| {
                let place = Place::Override;
                let roles = format!("{field}[{index}].roles");
                let permissions = format!("{field}[{index}].permissions");
                checks.period(&format!("{field}[{index}].period"), &asked.period, now);
                let replaced = Override {
                    roles: checks.roles(&roles, &asked.roles, place, organization, catalog),
                    permissions: checks.permissions(
                        &permissions,
                        &asked.permissions,
                        catalog,
                        place,
                    ),
                    period: asked.period,
                    set_at: now,
                };
                (ProjectId::new(asked.project.as_str()), replaced)
            })
            .collect()
    }

    /// Whether the product has such places, and whether they take new grants.
    fn check_places(
        &self,
        new: &NewInvitation,
        roles: &[RoleId],
        project_roles: &BTreeMap<ProjectId, Vec<RoleId>>,
    ) -> Result<(), Refusal> {
        let (organization, catalog) = (self.organization, self.sender.catalog);
        if !new.project_roles.is_empty() {
            organization.project_roles_offered(catalog)?;
        }
        if !new.overrides.is_empty() {
            organization.overrides_offered(catalog)?;
        }
        for (project, _) in &new.project_roles {
            organization.open_project(project)?;
        }
        for asked in &new.overrides {
            let project = organization.open_project(&asked.project)?;
            let on_project = project_roles.get(project.id.as_str());
            if roles.is_empty() && on_project.is_none_or(Vec::is_empty) {
                return Err(Refusal::NothingToOverride {
                    user: UserId::new("invited"),
                    project: project.id.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// How often it was sent since a moment, as far as the record tells: all sendings of
/// one that was created since then, the last of an older one.
fn sendings_since(invitation: &Invitation, moment: Moment) -> usize {
    if invitation.created_at > moment {
        usize::try_from(invitation.times_sent).unwrap_or(usize::MAX)
    } else {
        usize::from(invitation.sent_at > moment)
    }
}

fn address_taken() -> Refusal {
    // Names the field and not the address, which is nobody else's business.
    Refusal::AlreadyExists {
        kind: "a member or a pending invitation with this",
        id: "email".to_owned(),
    }
}

/// Whether there are few enough projects, each named once.
fn check_projects<'p>(
    checks: &mut Checks,
    field: &str,
    projects: impl ExactSizeIterator<Item = &'p String>,
) -> bool {
    if projects.len() > MAX_PLACES {
        let message = format!("must be at most {MAX_PLACES}, not {}", projects.len());
        checks.fault(field, Fault::TooMany, message);
        return false;
    }
    let mut seen = BTreeSet::new();
    for (index, project) in projects.enumerate() {
        let field = format!("{field}[{index}].project");
        checks.identifier(&field, project);
        if !seen.insert(project) {
            checks.fault(field, Fault::Repeated, "is listed before");
        }
    }
    true
}
