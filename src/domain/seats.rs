//! Seats: how many people a plan lets be members. One rule, wherever somebody joins.
//!
//! Every person who is a member takes a seat, the owner and suspended ones
//! included; service accounts and tokens take none. Where the catalog says so
//! an invitation that can be accepted keeps a seat as well. A plan that has too few seats for those who are there takes nobody's:
//! it only refuses the next, and to reinstate.

use super::catalog::{Catalog, Seats};
use super::organization::{Invitation, InvitationStatus, MemberKind, Moment, Organization};
use super::refusal::Refusal;

/// The seats of a plan that has a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatCount {
    /// How many are taken.
    pub used: usize,
    /// How many there are.
    pub limit: usize,
    /// The plan.
    plan: String,
}

/// What takes a seat besides the people who are members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved<'a> {
    /// Nothing.
    Nothing,
    /// Invitations, if the catalog lets them; all but the one of that id.
    InvitationsBut(&'a str),
}

impl SeatCount {
    /// Takes one more seat, if there is one.
    pub fn take(&mut self) -> Result<(), Refusal> {
        if self.used >= self.limit {
            return Err(self.refusal());
        }
        self.used = self.used.saturating_add(1);
        Ok(())
    }

    /// Refuses if more seats are taken than there are.
    pub fn check_not_over(&self) -> Result<(), Refusal> {
        if self.used > self.limit {
            return Err(self.refusal());
        }
        Ok(())
    }

    fn refusal(&self) -> Refusal {
        Refusal::SeatsTaken {
            used: self.used,
            limit: self.limit,
            plan: self.plan.clone(),
        }
    }
}

impl Organization {
    /// The seats of the plan and how many are taken; `None` where there is no limit,
    /// so that nothing is counted then. A plan that the catalog does not have has none.
    pub fn seats(
        &self,
        catalog: &Catalog,
        reserved: Reserved<'_>,
        now: Moment,
    ) -> Option<SeatCount> {
        let limit = match catalog.plan(self.profile.plan.as_str()) {
            Some(plan) => usize::try_from(plan.members?).unwrap_or(usize::MAX),
            // How many it had is not known any more.
            None => 0,
        };
        let people = self
            .members
            .values()
            .filter(|member| member.kind == MemberKind::Person)
            .count();
        let invited = match (reserved, catalog.team.seats) {
            (Reserved::InvitationsBut(id), Seats::AtInvitation) => self
                .live_invitations(now)
                .filter(|invitation| invitation.id.as_str() != id)
                .count(),
            (Reserved::Nothing, _) | (_, Seats::AtAcceptance) => 0,
        };
        Some(SeatCount {
            used: people.saturating_add(invited),
            limit,
            plan: self.profile.plan.to_string(),
        })
    }

    /// Refuses one more person where every seat is taken.
    pub fn check_seat(
        &self,
        catalog: &Catalog,
        reserved: Reserved<'_>,
        now: Moment,
    ) -> Result<(), Refusal> {
        self.seats(catalog, reserved, now)
            .map_or(Ok(()), |mut seats| seats.take())
    }

    /// The invitations that can be accepted.
    pub(super) fn live_invitations(&self, now: Moment) -> impl Iterator<Item = &Invitation> {
        self.invitations
            .values()
            .map(|invitation| &**invitation)
            .filter(move |invitation| {
                invitation.status == InvitationStatus::Pending && now < invitation.expires_at
            })
    }
}
