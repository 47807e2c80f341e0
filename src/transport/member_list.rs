//! A page of members, and behind the members, where it is asked for, of the invited.

use std::ops::Bound;
use std::sync::Arc;

use super::to_proto;
use crate::application::revision::token;
use crate::application::{Error, PageRequest};
use crate::domain::catalog::OWNER_ROLE;
use crate::domain::identifiers::{InvitationId, RoleId};
use crate::domain::organization::{
    Invitation, InvitationStatus, Member, MemberKind, MemberStatus, Moment, Organization,
};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;
use crate::proto::v1;

/// What stands before an invitation's id in a page token. No user's id has it, and
/// every one sorts before it: they are visible ASCII.
const INVITED: char = '\u{7f}';

/// A page of members as a request asks for it.
pub fn list(
    snapshot: &Snapshot,
    message: &v1::ListMembersRequest,
    now: Moment,
) -> Result<v1::ListMembersResponse, Error> {
    let organization = snapshot.organization();
    let filter = Filter::of(message)?;
    let filters = [
        "members",
        &message.organization,
        &message.role,
        &message.project,
        &message.status.to_string(),
        &message.include_invited.to_string(),
    ];
    let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
    let members = organization
        .members
        .after(&request.after)
        .filter(|member| member.kind == MemberKind::Person)
        .filter(|member| filter.admits(member, organization))
        .map(Entry::Member);
    let after = request.after.strip_prefix(INVITED).unwrap_or_default();
    let invited = organization
        .invitations
        .range(beyond(InvitationId::new(after)))
        .map(|(_, invitation)| invitation)
        .filter(|invitation| filter.admits_invited(invitation, now))
        .map(Entry::Invited);
    let page = request.take(members.chain(invited), Entry::key);
    let told = |entry: &Entry<'_>| match entry {
        Entry::Member(member) => {
            to_proto::member(member, organization.is_owner(member.user.as_str()))
        }
        Entry::Invited(invitation) => to_proto::invited_member(invitation, now),
    };
    Ok(v1::ListMembersResponse {
        members: page.items.iter().map(told).collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    })
}

fn beyond<T>(after: T) -> (Bound<T>, Bound<T>) {
    (Bound::Excluded(after), Bound::Unbounded)
}

/// One who is listed.
enum Entry<'a> {
    Member(&'a Arc<Member>),
    Invited(&'a Arc<Invitation>),
}

impl Entry<'_> {
    fn key(&self) -> String {
        match self {
            Self::Member(member) => member.user.to_string(),
            Self::Invited(invitation) => format!("{INVITED}{}", invitation.id),
        }
    }
}

/// What members are filtered by.
struct Filter<'a> {
    role: &'a str,
    project: &'a str,
    status: v1::MemberStatus,
    invited: bool,
}

impl<'a> Filter<'a> {
    fn of(message: &'a v1::ListMembersRequest) -> Result<Self, Error> {
        use v1::MemberStatus::{InvitationExpired, Pending};

        let refused = |why| Error::invalid(vec![Violation::new("status", Fault::Malformed, why)]);
        let Ok(status) = v1::MemberStatus::try_from(message.status) else {
            return Err(refused("is no member status"));
        };
        if matches!(status, Pending | InvitationExpired) && !message.include_invited {
            return Err(refused(
                "is for lists that include the invited; set `include_invited`",
            ));
        }
        Ok(Self {
            role: &message.role,
            project: &message.project,
            status,
            invited: message.include_invited,
        })
    }

    fn admits(&self, member: &Member, organization: &Organization) -> bool {
        let role = self.role.is_empty() || self.holds_role(member, organization);
        let status = match self.status {
            v1::MemberStatus::Unspecified => true,
            v1::MemberStatus::Active => member.status == MemberStatus::Active,
            v1::MemberStatus::Suspended => member.status == MemberStatus::Suspended,
            v1::MemberStatus::Pending | v1::MemberStatus::InvitationExpired => false,
        };
        let project = self.project.is_empty() || {
            let on_project = organization
                .projects
                .get(self.project)
                .is_some_and(|project| !member.roles_on_project(project).is_empty());
            on_project || member.overrides.contains_key(self.project)
        };
        role && status && project
    }

    /// Whether the member holds the role in the place that the filter is about.
    fn holds_role(&self, member: &Member, organization: &Organization) -> bool {
        if self.project.is_empty() && self.role == OWNER_ROLE {
            return organization.is_owner(member.user.as_str());
        }
        let held = if self.project.is_empty() {
            member.roles.as_slice()
        } else {
            let project = organization.projects.get(self.project);
            project.map_or(&[][..], |project| member.roles_on_project(project))
        };
        self.is_among(held)
    }

    /// Whether the invited person is to be listed, going by what they will hold.
    fn admits_invited(&self, invitation: &Invitation, now: Moment) -> bool {
        let status = match self.status {
            v1::MemberStatus::Unspecified => true,
            v1::MemberStatus::Pending => !invitation.has_expired(now),
            v1::MemberStatus::InvitationExpired => invitation.has_expired(now),
            v1::MemberStatus::Active | v1::MemberStatus::Suspended => false,
        };
        let on_project = invitation.project_roles.get(self.project);
        let on_project = on_project.map_or(&[][..], Vec::as_slice);
        let project = self.project.is_empty()
            || !on_project.is_empty()
            || invitation.overrides.contains_key(self.project);
        let held = if self.project.is_empty() {
            invitation.roles.as_slice()
        } else {
            on_project
        };
        let role = self.role.is_empty() || self.is_among(held);
        let pending = invitation.status == InvitationStatus::Pending;
        self.invited && pending && status && project && role
    }

    fn is_among(&self, held: &[RoleId]) -> bool {
        held.iter().any(|role| role.as_str() == self.role)
    }
}
