//! What the audit trail makes of events: the effect of each action, and what events
//! of the host have to look like.
//!
//! The effect follows from the action's name and is not stored, so this table may
//! learn of an action later than the history did.

use std::collections::BTreeSet;

use super::checks::Checks;
use super::organization::Moment;
use super::refusal::{Fault, Refusal};

/// What an action does to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It begins to be there.
    Created,
    /// It changes.
    Updated,
    /// It ends.
    Deleted,
    /// None of these.
    Other,
}

use Effect::{Created, Deleted, Updated};

/// Every action of Roster's own that changes something: the RPCs, and what ends by
/// itself. In alphabetical order, for it is searched.
const EFFECTS: &[(&str, Effect)] = &[
    ("AcceptInvitation", Created),
    ("AcceptTransfer", Updated),
    ("AcknowledgeNotifications", Deleted),
    ("AddGroupMember", Updated),
    ("AddMember", Created),
    ("ArchiveProject", Updated),
    ("BulkCreateInvitations", Created),
    ("CancelTransfer", Deleted),
    ("ClearProjectRoles", Updated),
    ("CopyDefaultRoles", Updated),
    ("CopyInvitationLink", Updated),
    ("CreateCallerKey", Created),
    ("CreateGroup", Created),
    ("CreateGuardrail", Created),
    ("CreateInvitation", Created),
    ("CreateOrganization", Created),
    ("CreateProject", Created),
    ("CreateRole", Created),
    ("CreateServiceAccount", Created),
    ("CreateToken", Created),
    ("DeclineInvitation", Updated),
    ("DeclineTransfer", Deleted),
    ("DeleteGroup", Deleted),
    ("DeleteGuardrail", Deleted),
    ("DeleteOrganization", Deleted),
    ("DeleteProject", Deleted),
    ("DeleteRole", Deleted),
    ("DeleteServiceAccount", Deleted),
    ("DeleteToken", Deleted),
    ("ExpireGroup", Deleted),
    ("ExpireGroupMembers", Updated),
    ("ExpireGroupMembership", Updated),
    ("ExpireInvitation", Updated),
    ("ExpireMembership", Deleted),
    ("ExpireOverride", Updated),
    ("ExpireProjectRole", Updated),
    ("ExpireResourceOwnership", Updated),
    ("ExpireRole", Updated),
    ("ExpireToken", Updated),
    ("ExpireTransfer", Deleted),
    ("GiveUpNotification", Deleted),
    ("InitiateTransfer", Created),
    ("LeaveOrganization", Deleted),
    ("MoveResource", Updated),
    ("ReassignResources", Updated),
    ("RecordMemberActivity", Updated),
    ("RecordTokenUse", Updated),
    ("RegisterResource", Created),
    ("ReinstateMember", Updated),
    ("RemoveGroupMember", Updated),
    ("RemoveMember", Deleted),
    ("RemoveProjectOverride", Updated),
    ("RemoveUser", Deleted),
    ("ResendInvitation", Updated),
    ("ResetRole", Updated),
    ("RevokeCallerKey", Updated),
    ("RevokeInvitation", Deleted),
    ("RevokeToken", Updated),
    ("RotateCallerKey", Updated),
    ("RotateToken", Updated),
    ("SetDefaultRoles", Updated),
    ("SetGroupProjectRoles", Updated),
    ("SetMemberPeriod", Updated),
    ("SetMemberRoles", Updated),
    ("SetPlan", Updated),
    ("SetProjectOverride", Updated),
    ("SetProjectRoles", Updated),
    ("SetServiceAccountRoles", Updated),
    ("SuspendMember", Updated),
    ("TransferOwnership", Updated),
    ("TransferResource", Updated),
    ("UnarchiveProject", Updated),
    ("UnregisterResource", Deleted),
    ("UpdateGroup", Updated),
    ("UpdateGuardrail", Updated),
    ("UpdateMember", Updated),
    ("UpdateOrganization", Updated),
    ("UpdateProject", Updated),
    ("UpdateRole", Updated),
    ("UpdateServiceAccount", Updated),
    ("UpdateToken", Updated),
];

/// What an action of Roster's own does; `None` if it changes nothing, such as reading.
pub fn effect_of(action: &str) -> Option<Effect> {
    let place = EFFECTS.binary_search_by_key(&action, |(name, _)| name);
    place
        .ok()
        .and_then(|place| EFFECTS.get(place))
        .map(|(_, effect)| *effect)
}

/// The most events that one call appends.
pub const MAX_APPENDED: usize = 1_000;
/// The most facts of one event.
pub const MAX_FACTS: usize = 32;
/// The longest name of a fact, in bytes.
const MAX_FACT_NAME_BYTES: usize = 64;
/// How long ago, in milliseconds, what is appended may have happened.
const MAX_AGE_MILLISECONDS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// What the host says happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// What was done.
    pub action: String,
    /// What that does.
    pub effect: Effect,
    /// The kind of thing it was done to, or empty.
    pub target_kind: String,
    /// The id of the thing, or empty.
    pub target_id: String,
    /// The user on whose behalf, or empty.
    pub actor: String,
    /// When; `None` for the moment of the request.
    pub time: Option<Moment>,
    /// Further facts.
    pub facts: Vec<(String, String)>,
}

/// Refuses events that are not what the history can keep.
pub fn check_host_events(events: &[HostEvent], now: Moment) -> Result<(), Refusal> {
    let mut checks = Checks::new();
    if events.is_empty() {
        checks.fault("events", Fault::Missing, "must not be empty");
    }
    if events.len() > MAX_APPENDED {
        let message = format!("must be at most {MAX_APPENDED}, not {}", events.len());
        checks.fault("events", Fault::TooMany, message);
        return checks.finish();
    }
    for (index, event) in events.iter().enumerate() {
        event.check(&mut checks, &format!("events[{index}]"), now);
    }
    checks.finish()
}

impl HostEvent {
    fn check(&self, checks: &mut Checks, at: &str, now: Moment) {
        checks.identifier(&format!("{at}.action"), &self.action);
        let optional = [
            ("target_type", &self.target_kind),
            ("target_id", &self.target_id),
            ("actor", &self.actor),
        ];
        for (field, value) in optional.iter().filter(|(_, value)| !value.is_empty()) {
            checks.identifier(&format!("{at}.{field}"), value);
        }
        if self.target_kind.is_empty() && !self.target_id.is_empty() {
            let message = "must be given together with `target_id`";
            checks.fault(format!("{at}.target_type"), Fault::Missing, message);
        }
        if let Some(time) = self.time {
            if time > now {
                let message = "must not be in the future";
                checks.fault(format!("{at}.time"), Fault::Malformed, message);
            } else if now.0.saturating_sub(time.0) > MAX_AGE_MILLISECONDS {
                let message = "must not be more than 30 days ago";
                checks.fault(format!("{at}.time"), Fault::Malformed, message);
            }
        }
        self.check_facts(checks, at);
    }

    fn check_facts(&self, checks: &mut Checks, at: &str) {
        if self.facts.len() > MAX_FACTS {
            let message = format!("must be at most {MAX_FACTS}, not {}", self.facts.len());
            checks.fault(format!("{at}.details"), Fault::TooMany, message);
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, (name, value)) in self.facts.iter().enumerate() {
            let field = format!("{at}.details[{index}]");
            checks.identifier(&format!("{field}.name"), name);
            if name.len() > MAX_FACT_NAME_BYTES {
                let message = format!("must be at most {MAX_FACT_NAME_BYTES} bytes");
                checks.fault(format!("{field}.name"), Fault::TooMany, message);
            }
            if !seen.insert(name) {
                checks.fault(format!("{field}.name"), Fault::Repeated, "is listed before");
            }
            checks.description(&format!("{field}.value"), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_each_action_once() {
        assert!(EFFECTS.is_sorted_by(|one, other| one.0 < other.0));
        assert_eq!(effect_of("AddMember"), Some(Effect::Created));
        assert_eq!(effect_of("ListMembers"), None);
    }

    #[test]
    fn what_a_host_appends_is_checked_to_its_last_field() {
        let now = Moment(MAX_AGE_MILLISECONDS * 2);
        let good = HostEvent {
            action: "DeployApp".to_owned(),
            effect: Effect::Other,
            target_kind: "Server".to_owned(),
            target_id: "s1".to_owned(),
            actor: "ann".to_owned(),
            time: Some(Moment(now.0 - MAX_AGE_MILLISECONDS)),
            facts: vec![("stack".to_owned(), "blue".to_owned())],
        };
        assert_eq!(check_host_events(std::slice::from_ref(&good), now), Ok(()));
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let bad: Vec<HostEvent> = vec![
            HostEvent {
                action: String::new(),
                ..good.clone()
            },
            HostEvent {
                action: "a b".to_owned(),
                ..good.clone()
            },
            HostEvent {
                action: "a".repeat(129),
                ..good.clone()
            },
            HostEvent {
                target_kind: String::new(),
                ..good.clone()
            },
            HostEvent {
                actor: "\u{202e}".to_owned(),
                ..good.clone()
            },
            HostEvent {
                time: Some(Moment(now.0 + 1)),
                ..good.clone()
            },
            HostEvent {
                time: Some(Moment(now.0 - MAX_AGE_MILLISECONDS - 1)),
                ..good.clone()
            },
            HostEvent {
                time: Some(Moment(i64::MIN)),
                ..good.clone()
            },
            HostEvent {
                facts: vec![fact("a", "1"), fact("a", "2")],
                ..good.clone()
            },
            HostEvent {
                facts: vec![fact(&"a".repeat(65), "1")],
                ..good.clone()
            },
            HostEvent {
                facts: vec![fact("a", &"v".repeat(1_025))],
                ..good.clone()
            },
            HostEvent {
                facts: vec![fact("a", "\0")],
                ..good.clone()
            },
            HostEvent {
                facts: vec![fact("a", "1"); 33],
                ..good.clone()
            },
        ];
        for event in bad {
            let refused = check_host_events(std::slice::from_ref(&event), now);
            assert!(matches!(refused, Err(Refusal::Invalid(_))), "{event:?}");
        }
        assert!(check_host_events(&[], now).is_err());
        assert!(check_host_events(&vec![good; MAX_APPENDED + 1], now).is_err());
    }
}
