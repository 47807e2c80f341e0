//! What ends by itself, and when: the index that expiry is driven by.
//!
//! A decision never waits for it. Whatever has ended does not count from its
//! last moment on; what this index is for is that the end is also written into
//! the history, once.

use imbl::OrdSet;

use super::identifiers::{GroupId, InvitationId, TokenId, UserId};
use super::organization::{
    Group, Invitation, InvitationStatus, Member, MemberKind, Moment, Profile, Token,
};
use super::period::Period;

/// A record of which something ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// The offered transfer of ownership.
    Transfer,
    /// A membership, or something that the member holds.
    Member(UserId),
    /// A group.
    Group(GroupId),
    /// An invitation.
    Invitation(InvitationId),
    /// A token.
    Token(TokenId),
}

/// The next end of each record that has one, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines(OrdSet<(Moment, Deadline)>);

impl Deadlines {
    /// The next one.
    pub fn first(&self) -> Option<&(Moment, Deadline)> {
        self.0.get_min()
    }

    /// Those that have come by `now`, in order of time.
    pub fn due(&self, now: Moment) -> impl Iterator<Item = &Deadline> {
        self.0
            .iter()
            .take_while(move |(end, _)| *end <= now)
            .map(|(_, deadline)| deadline)
    }

    /// Whether nothing ends.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn replace(
        &mut self,
        before: Option<(Moment, Deadline)>,
        after: Option<(Moment, Deadline)>,
    ) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.0.remove(&before);
        }
        if let Some(after) = after {
            self.0.insert(after);
        }
    }
}

impl Profile {
    /// When the offered transfer ends.
    pub fn deadline(&self) -> Option<(Moment, Deadline)> {
        let transfer = self.transfer.as_ref()?;
        Some((transfer.expires_at, Deadline::Transfer))
    }
}

impl Member {
    /// When the membership or anything that the member holds ends first.
    pub fn deadline(&self) -> Option<(Moment, Deadline)> {
        let ends = |period: &Period| period.expires_at;
        // The time of an organization token is the token's, and ends with it.
        let own = Some(&self.period).filter(|_| self.kind != MemberKind::OrganizationToken);
        let end = own
            .and_then(|period| ends(period))
            .into_iter()
            .chain(self.periods.roles.values().filter_map(ends))
            .chain(
                self.periods
                    .project_roles
                    .values()
                    .flat_map(|roles| roles.values().filter_map(ends)),
            )
            .chain(
                self.overrides
                    .values()
                    .filter_map(|replaced| ends(&replaced.period)),
            )
            .chain(self.groups.values().filter_map(ends))
            .min()?;
        Some((end, Deadline::Member(self.user.clone())))
    }
}

impl Group {
    /// When the group ends.
    pub fn deadline(&self) -> Option<(Moment, Deadline)> {
        Some((self.period.expires_at?, Deadline::Group(self.id.clone())))
    }
}

impl Invitation {
    /// When the invitation expires, as long as that is still to be recorded.
    pub fn deadline(&self) -> Option<(Moment, Deadline)> {
        let open = self.status == InvitationStatus::Pending && !self.expiry_recorded;
        open.then(|| (self.expires_at, Deadline::Invitation(self.id.clone())))
    }
}

impl Token {
    /// When the token ends, as long as that is still to be recorded.
    pub fn deadline(&self) -> Option<(Moment, Deadline)> {
        let open = self.revoked_at.is_none() && !self.expiry_recorded;
        let end = self.period.expires_at.filter(|_| open)?;
        Some((end, Deadline::Token(self.id.clone())))
    }
}
