//! What has ended by itself is taken away and written into the history.
//!
//! No decision waits for this: what has ended does not count from its last
//! moment on, whether or not it is still on record.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::deadlines::Deadline;
use super::notifications::notification_id;
use super::organization::{
    Member, Moment, Notification, Organization, Profile, RegisteredResource, TransferTarget,
};
use super::period::{Period, Phase};
use super::refusal::Refusal;
use super::resources::MAX_REASSIGNED;

/// When one change has taken care of enough: it is asked for again until nothing is left.
const ENOUGH_RECORDS: usize = 1_000;

impl Organization {
    /// Takes away what has ended by `now`, the earliest first, as much as one change
    /// takes care of.
    pub fn expire(&self, catalog: &Catalog, now: Moment) -> Change {
        let mut change = Change {
            records: Vec::new(),
            events: Vec::new(),
            outcome: Outcome::Nothing,
        };
        // Two ends may touch the same member, such as a group's and the member's own:
        // each is taken from the state that the one before it led to.
        let mut state = self.clone();
        for deadline in self.deadlines.due(now) {
            if change.records.len() >= ENOUGH_RECORDS {
                break;
            }
            // What can't be taken away now stays on record, and counts no longer anyway.
            let Ok(Some(part)) = state.expire_one(catalog, deadline, now) else {
                continue;
            };
            for record in part.records {
                let record = self.renumbered(record, change.records.len());
                state.put(&record);
                change.records.push(record);
            }
            change.events.extend(part.events);
        }
        change.records = last_of_each(change.records);
        change
    }

    /// A notification under the number that it has in the whole change.
    fn renumbered(&self, record: RecordChange, index: usize) -> RecordChange {
        match record {
            RecordChange::PutNotification(notification) => {
                RecordChange::PutNotification(Arc::new(Notification {
                    id: notification_id(self.version.next(), index),
                    ..(*notification).clone()
                }))
            }
            other => other,
        }
    }

    /// Leaves resources of somebody who owns very many without owner, some of them.
    fn orphan_some(&self, member: &Member) -> Change {
        let owned = self.owned_by(member.user.as_str()).take(MAX_REASSIGNED);
        let records: Vec<RecordChange> = owned
            .map(|resource| {
                RecordChange::PutResource(Arc::new(RegisteredResource {
                    owner: None,
                    version: self.version.next(),
                    ..(**resource).clone()
                }))
            })
            .collect();
        let details = vec![("resources", records.len().to_string())];
        let target = Target::new("Member", &member.user);
        Change {
            records,
            events: vec![Event::done("ExpireResourceOwnership", target, details)],
            outcome: Outcome::Nothing,
        }
    }

    fn expire_one(
        &self,
        catalog: &Catalog,
        deadline: &Deadline,
        now: Moment,
    ) -> Result<Option<Change>, Refusal> {
        Ok(match deadline {
            Deadline::Transfer => Some(self.expire_transfer()),
            Deadline::Member(user) => match self.members.get(user.as_str()) {
                Some(member)
                    if member.period.phase(now) == Phase::Over
                        && self.owned_by(user.as_str()).nth(MAX_REASSIGNED).is_some() =>
                {
                    Some(self.orphan_some(member))
                }
                Some(member) if member.period.phase(now) == Phase::Over => {
                    let mut change = self.end_membership(member, "", "ExpireMembership")?;
                    let kind = super::organization::NotificationKind::MemberRemoved;
                    self.tell(catalog, kind, user.as_str(), &mut change, now);
                    Some(change)
                }
                Some(member) => Some(self.expire_grants(member, now)),
                None => None,
            },
            Deadline::Group(id) => {
                let records = self.without_group(id);
                // Of a very large group only some members leave at a time.
                let gone = records.contains(&RecordChange::DeleteGroup(id.clone()));
                let (action, members) = if gone {
                    ("ExpireGroup", records.len().saturating_sub(1))
                } else {
                    ("ExpireGroupMembers", records.len())
                };
                let details = vec![("members", members.to_string())];
                Some(Change {
                    records,
                    events: vec![Event::done(action, Target::new("Group", id), details)],
                    outcome: Outcome::Nothing,
                })
            }
            Deadline::Invitation(id) => self.invitations.get(id.as_str()).map(|invitation| {
                let mut invitation = (**invitation).clone();
                invitation.expiry_recorded = true;
                let target = Target::new("Invitation", id);
                let inviter = invitation.invited_by.iter();
                let details = inviter.map(|user| ("inviter", user.to_string())).collect();
                ended(
                    RecordChange::PutInvitation(Arc::new(invitation)),
                    Event::done("ExpireInvitation", target, details),
                )
            }),
            Deadline::Token(id) => self.tokens.get(id.as_str()).map(|token| {
                let mut token = (**token).clone();
                token.expiry_recorded = true;
                let target = Target::new("Token", id);
                let details = vec![("subject", token.subject.to_string())];
                ended(
                    RecordChange::PutToken(Arc::new(token)),
                    Event::done("ExpireToken", target, details),
                )
            }),
        })
    }

    fn expire_transfer(&self) -> Change {
        let transfer = self.profile.transfer.iter();
        let details = transfer.flat_map(|transfer| {
            let to = match &transfer.target {
                TransferTarget::Member { user, .. } => Some(("to", user.to_string())),
                TransferTarget::Address(_) => None,
            };
            [Some(("from", transfer.initiated_by.to_string())), to]
        });
        let details = details.flatten().collect();
        let profile = Profile {
            transfer: None,
            ..(*self.profile).clone()
        };
        ended(
            RecordChange::PutProfile(Arc::new(profile)),
            Event::done(
                "ExpireTransfer",
                Target::new("Organization", self.id()),
                details,
            ),
        )
    }

    /// Takes from a member whatever has ended, an event for each.
    fn expire_grants(&self, member: &Member, now: Moment) -> Change {
        let over = |period: &Period| period.phase(now) == Phase::Over;
        let mut after = member.clone();
        let mut events = Vec::new();
        let mut event = |action, details| {
            events.push(Event::done(
                action,
                Target::new("Member", &member.user),
                details,
            ));
        };
        for (role, period) in &member.periods.roles {
            if over(period) {
                after.periods.roles.remove(role);
                after.roles.retain(|held| held != role);
                event("ExpireRole", vec![("role", role.to_string())]);
            }
        }
        for (project, periods) in &member.periods.project_roles {
            for (role, _) in periods.iter().filter(|(_, period)| over(period)) {
                if let Some(left) = after.periods.project_roles.get_mut(project) {
                    left.remove(role);
                }
                if let Some(held) = after.project_roles.get_mut(project) {
                    held.retain(|held| held != role);
                }
                event(
                    "ExpireProjectRole",
                    vec![("project", project.to_string()), ("role", role.to_string())],
                );
            }
        }
        after
            .periods
            .project_roles
            .retain(|_, periods| !periods.is_empty());
        for (project, replaced) in &member.overrides {
            if over(&replaced.period) {
                after.overrides.remove(project);
                event("ExpireOverride", vec![("project", project.to_string())]);
            }
        }
        for (group, period) in &member.groups {
            if over(period) {
                after.groups.remove(group);
                event("ExpireGroupMembership", vec![("group", group.to_string())]);
            }
        }
        after.version = self.version.next();
        Change {
            records: vec![RecordChange::PutMember(Arc::new(after))],
            events,
            outcome: Outcome::Nothing,
        }
    }
}

fn ended(record: RecordChange, event: Event) -> Change {
    Change {
        records: vec![record],
        events: vec![event],
        outcome: Outcome::Nothing,
    }
}

/// Of several changes of one record the last: no record is changed twice in a commit.
fn last_of_each(records: Vec<RecordChange>) -> Vec<RecordChange> {
    let mut places: HashMap<(u8, String), usize> = HashMap::new();
    let mut kept: Vec<Option<RecordChange>> = Vec::with_capacity(records.len());
    for record in records {
        if let Some(name) = name_of(&record)
            && let Some(earlier) = places.insert(name, kept.len())
            && let Some(earlier) = kept.get_mut(earlier)
        {
            *earlier = None;
        }
        kept.push(Some(record));
    }
    kept.into_iter().flatten().collect()
}

/// What names the record that a change is about, of the kinds that expiry touches.
fn name_of(record: &RecordChange) -> Option<(u8, String)> {
    Some(match record {
        RecordChange::PutProfile(_) => (0, String::new()),
        RecordChange::PutMember(member) => (1, member.user.to_string()),
        RecordChange::DeleteMember(user) => (1, user.to_string()),
        RecordChange::PutToken(token) => (2, token.id.to_string()),
        RecordChange::DeleteToken(token) => (2, token.to_string()),
        RecordChange::PutResource(resource) => {
            (3, format!("{} {}", resource.key.type_id, resource.key.id))
        }
        RecordChange::PutGroup(group) => (4, group.id.to_string()),
        RecordChange::DeleteGroup(group) => (4, group.to_string()),
        RecordChange::PutInvitation(invitation) => (5, invitation.id.to_string()),
        _ => return None,
    })
}
