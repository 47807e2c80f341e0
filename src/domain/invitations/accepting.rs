//! Accepting an invitation: an offer becomes a membership.
//!
//! What an invitation gives is measured twice: when it is sent, and again here,
//! for who sent it may have lost what they gave. Whoever holds the link gets
//! nothing by it unless the host vouches that the address is theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::catalog::Catalog;
use crate::domain::change::{Change, Event, Outcome, RecordChange, Target};
use crate::domain::checks::Checks;
use crate::domain::grant_rule;
use crate::domain::identifiers::{ProjectId, UserId};
use crate::domain::members::listed;
use crate::domain::organization::{
    Invitation, InvitationStatus, Member, MemberKind, MemberStatus, Moment, Organization, Override,
};
use crate::domain::period::Phase;
use crate::domain::refusal::{DeadLink, Fault, Refusal};
use crate::domain::seats::Reserved;
use crate::domain::text::folded_address;

/// Who accepts, as the host vouches.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The user.
    pub user: String,
    /// An address that is theirs.
    pub email: String,
    /// Their name; empty for what the inviter wrote.
    pub display_name: String,
}

impl Acceptance {
    /// Refuses what could be nobody.
    pub fn check(&self) -> Result<(), Refusal> {
        let mut checks = Checks::new();
        checks.identifier("user", &self.user);
        if self.email.is_empty() {
            checks.fault("email", Fault::Missing, "must be the verified address");
        }
        checks.optional_name("display_name", &self.display_name);
        checks.finish()
    }
}

impl Organization {
    /// Makes the invited person a member. `may` tells whether a member may perform an
    /// action here now.
    pub fn accept_invitation(
        &self,
        catalog: &Catalog,
        invitation: &Invitation,
        by: &Acceptance,
        may: impl FnOnce(&UserId, &'static str) -> bool,
        now: Moment,
    ) -> Result<Change, Refusal> {
        if folded_address(&by.email) != invitation.email {
            return Err(Refusal::WrongAddress);
        }
        if invitation.period.phase(now) == Phase::Over {
            return Err(Refusal::DeadLink(DeadLink::Expired));
        }
        self.invitations_offered(catalog)?;
        if self.members.contains_key(by.user.as_str()) {
            return Err(Refusal::AlreadyExists {
                kind: "member",
                id: by.user.clone(),
            });
        }
        if !self.is_backed(catalog, invitation, may, now) {
            return Err(Refusal::GrantorLost);
        }
        // The seat that the invitation may keep is the one that is taken now.
        self.check_seat(catalog, Reserved::Nothing, now)?;
        Ok(self.joined(self.member_of(invitation, by, now), invitation, now))
    }

    /// Whether whoever sent the invitation may still invite, and give what it holds.
    fn is_backed(
        &self,
        catalog: &Catalog,
        invitation: &Invitation,
        may: impl FnOnce(&UserId, &'static str) -> bool,
        now: Moment,
    ) -> bool {
        let Some(inviter) = &invitation.invited_by else {
            return true;
        };
        // To send again is a right of its own, and whoever did it stands for it since.
        let action = if invitation.times_sent > 1 {
            "ResendInvitation"
        } else {
            "InviteMember"
        };
        let member = self.members.get(inviter.as_str());
        member.is_some_and(|member| {
            may(inviter, action) && grant_rule::may_give(self, catalog, member, invitation, now)
        })
    }

    fn member_of(&self, invitation: &Invitation, by: &Acceptance, now: Moment) -> Member {
        let display_name = if by.display_name.is_empty() {
            &invitation.display_name
        } else {
            &by.display_name
        };
        Member {
            user: UserId::new(by.user.as_str()),
            kind: MemberKind::Person,
            display_name: display_name.clone().into(),
            email: by.email.clone().into(),
            status: MemberStatus::Active,
            roles: invitation.roles.clone(),
            project_roles: self.still_there(&invitation.project_roles).into(),
            overrides: self
                .still_there(&invitation.overrides)
                .into_iter()
                .map(|(project, replaced)| {
                    (
                        project,
                        Override {
                            set_at: now,
                            ..replaced
                        },
                    )
                })
                .collect(),
            default_roles: Default::default(),
            groups: Default::default(),
            periods: Default::default(),
            period: invitation.period.into(),
            added_by: invitation.invited_by.clone(),
            joined_at: now,
            last_active_at: None,
            membership: self.version.next(),
            version: self.version.next(),
        }
    }

    /// What concerns projects that have not been deleted meanwhile.
    fn still_there<T: Clone>(&self, by_project: &BTreeMap<ProjectId, T>) -> BTreeMap<ProjectId, T> {
        let mut kept = by_project.clone();
        kept.retain(|project, _| self.projects.contains_key(project.as_str()));
        kept
    }

    fn joined(&self, member: Member, invitation: &Invitation, now: Moment) -> Change {
        let member = Arc::new(member);
        let accepted = Invitation {
            accepted_by: Some(member.user.clone()),
            ..(*self.closed(invitation, InvitationStatus::Accepted, now)).clone()
        };
        let mut records = vec![RecordChange::PutMember(Arc::clone(&member))];
        records.extend(self.records_of_closing(&Arc::new(accepted)));
        let inviter = invitation.invited_by.as_ref();
        let details = vec![
            ("invitation", invitation.id.to_string()),
            (
                "inviter",
                inviter.map(ToString::to_string).unwrap_or_default(),
            ),
            ("roles", listed(&member.roles)),
        ];
        Change {
            records,
            events: vec![Event::done(
                "AcceptInvitation",
                Target::new("Member", &member.user),
                details,
            )],
            outcome: Outcome::Member(member),
        }
    }
}
