//! Between what an export says and its mirrors.

use std::sync::Arc;

use super::{Line1, Told1, borrowed};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Version};
use crate::store::record::lines::{Line, Told};

/// A change that an export does not say: it tells of what is there.
#[derive(Debug)]
pub struct Unfit;

impl<'a> TryFrom<&'a Line> for Line1<'a> {
    type Error = Unfit;

    fn try_from(line: &'a Line) -> Result<Self, Unfit> {
        let told = match &line.told {
            Told::Organization(version, profile) => Told1::Organization {
                version: version.0,
                profile: (&**profile).into(),
            },
            Told::Commit(at, events) => Told1::Commit {
                at: at.0,
                events: events.iter().map(Into::into).collect(),
            },
            Told::Record(record) => match record {
                RecordChange::PutMember(member) => Told1::Member((&**member).into()),
                RecordChange::PutRole(role) => Told1::Role((&**role).into()),
                RecordChange::PutProject(project) => Told1::Project((&**project).into()),
                RecordChange::PutResource(resource) => Told1::Resource((&**resource).into()),
                RecordChange::PutGroup(group) => Told1::Group((&**group).into()),
                RecordChange::PutInvitation(sent) => Told1::Invitation((&**sent).into()),
                RecordChange::PutToken(token) => Told1::Token((&**token).into()),
                RecordChange::PutGuardrail(guardrail) => Told1::Guardrail((&**guardrail).into()),
                RecordChange::PutNotification(waiting) => Told1::Notification((&**waiting).into()),
                RecordChange::PutProfile(_)
                | RecordChange::DeleteMember(_)
                | RecordChange::DeleteRole(_)
                | RecordChange::DeleteProject(_)
                | RecordChange::DeleteResource(_)
                | RecordChange::DeleteGroup(_)
                | RecordChange::DeleteInvitation(_)
                | RecordChange::DeleteToken(_)
                | RecordChange::DeleteGuardrail(_)
                | RecordChange::DeleteNotification(_)
                | RecordChange::DeleteOrganization => return Err(Unfit),
            },
        };
        Ok(Self {
            organization: borrowed(line.organization.as_str()),
            told,
        })
    }
}

impl From<Line1<'_>> for Line {
    fn from(stored: Line1<'_>) -> Self {
        let told = match stored.told {
            Told1::Organization { version, profile } => {
                Told::Organization(Version(version), Arc::new(profile.into()))
            }
            Told1::Commit { at, events } => {
                Told::Commit(Moment(at), events.into_iter().map(Into::into).collect())
            }
            Told1::Member(member) => Told::Record(RecordChange::PutMember(Arc::new(member.into()))),
            Told1::Role(role) => Told::Record(RecordChange::PutRole(Arc::new(role.into()))),
            Told1::Project(project) => {
                Told::Record(RecordChange::PutProject(Arc::new(project.into())))
            }
            Told1::Resource(resource) => {
                Told::Record(RecordChange::PutResource(Arc::new(resource.into())))
            }
            Told1::Group(group) => Told::Record(RecordChange::PutGroup(Arc::new(group.into()))),
            Told1::Invitation(sent) => {
                Told::Record(RecordChange::PutInvitation(Arc::new(sent.into())))
            }
            Told1::Token(token) => Told::Record(RecordChange::PutToken(Arc::new(token.into()))),
            Told1::Guardrail(guardrail) => {
                Told::Record(RecordChange::PutGuardrail(Arc::new(guardrail.into())))
            }
            Told1::Notification(waiting) => {
                Told::Record(RecordChange::PutNotification(Arc::new(waiting.into())))
            }
        };
        Self {
            organization: OrganizationId::new(stored.organization),
            told,
        }
    }
}
