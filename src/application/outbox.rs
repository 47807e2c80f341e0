//! Which notifications are leased or pause, and when each is due again.
//!
//! What is to be delivered is in the organizations, and most of it stays there: only
//! as much is *admitted* here as is about to be handed out ([`Outbox::admit`]),
//! organizations in turns. So memory holds the leases and pauses of at most
//! so many, however many wait; a restart loses no more than these, and then it is
//! delivered again. Every commit is followed, so that what is gone is forgotten and
//! what is written wakes whoever delivers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::change::RecordChange;
use crate::domain::identifiers::{NotificationId, OrganizationId};
use crate::domain::organization::{Moment, Organization};

/// The most notifications that are kept track of; while they are leased or pause, no
/// others are handed out.
const MAX_TRACKED: usize = 100_000;
/// The pause after the first failure, in milliseconds; it doubles with each.
const FIRST_PAUSE_MILLISECONDS: i64 = 10_000;
/// The longest pause, in milliseconds.
const LONGEST_PAUSE_MILLISECONDS: i64 = 60 * 60 * 1_000;

/// A notification among those of all organizations.
pub type Place = (OrganizationId, NotificationId);

/// A notification that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub place: Place,
    /// The lease.
    pub lease: String,
    /// When the lease ends.
    pub until: Moment,
    /// How often it was taken, this time included.
    pub attempt: u32,
}

/// What is leased, pauses or is about to be handed out.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// What is kept track of.
    desks: BTreeMap<OrganizationId, Desk>,
    /// How many notifications that is.
    tracked: usize,
    /// Those that are due, by organization.
    due: BTreeMap<OrganizationId, BTreeSet<NotificationId>>,
    /// How many that is.
    due_count: usize,
    /// The organizations in `due`, in the order of their turns.
    turns: VecDeque<OrganizationId>,
    /// Those that are leased or pause, by the moment at which they are due.
    later: BTreeSet<(Moment, Place)>,
    /// The organization that was the last one to have some admitted.
    last: Option<OrganizationId>,
    /// Counts what was written.
    written: u64,
}

/// What is kept track of in an organization.
#[derive(Default)]
struct Desk {
    deliveries: BTreeMap<NotificationId, Delivery>,
    /// Every notification up to this one is kept track of, as far as it still waits.
    up_to: Option<NotificationId>,
    /// Every other one too.
    is_complete: bool,
}

/// How far a notification has come.
#[derive(Clone, Default)]
struct Delivery {
    /// The lease that was given last; empty before the first and after a failure.
    lease: String,
    /// How often it was leased.
    attempts: u32,
    /// When it is due again; `None` while it is due.
    later: Option<Moment>,
}

impl Outbox {
    /// Forgets an organization that is deleted.
    pub fn remove_all(&self, organization: &OrganizationId) {
        let mut state = self.state();
        state.written += 1;
        let desk = state.desks.get(organization.as_str());
        let ids: Vec<NotificationId> = desk
            .into_iter()
            .flat_map(|desk| desk.deliveries.keys().cloned())
            .collect();
        for id in ids {
            state.remove(organization, &id);
        }
    }

    /// Takes over what was written and what is gone.
    pub fn follow(&self, organization: &OrganizationId, records: &[RecordChange]) {
        if records.is_empty() {
            return;
        }
        let mut is_written = false;
        let mut state = self.state();
        state.written += 1;
        for record in records {
            match record {
                RecordChange::PutNotification(notification) => {
                    state.note(organization, &notification.id);
                    is_written = true;
                }
                RecordChange::DeleteNotification(id) => state.remove(organization, id),
                _ => {}
            }
        }
        drop(state);
        if is_written {
            self.news.notify_one();
        }
    }

    /// How much was written so far, for [`admit`](Self::admit).
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// How many more are to be admitted so that `limit` can be taken; 0 when no more can
    /// be kept track of.
    pub fn wanted(&self, limit: usize, now: Moment) -> usize {
        let mut state = self.state();
        state.wake(now);
        let room = MAX_TRACKED.saturating_sub(state.tracked);
        limit.saturating_sub(state.due_count).min(room)
    }

    /// The organization that was the last one to have some admitted; the next turn is
    /// that of the one after it.
    pub fn last_turn(&self) -> Option<OrganizationId> {
        self.state().last.clone()
    }

    /// Whether everything that waits in an organization is kept track of already.
    pub fn is_complete(&self, organization: &OrganizationId) -> bool {
        let state = self.state();
        let desk = state.desks.get(organization.as_str());
        desk.is_some_and(|desk| desk.is_complete)
    }

    /// Admits the oldest few of an organization that are not kept track of yet, at most
    /// `limit`. `written` is what [`written`](Self::written) said before the state of the
    /// organization was read: what was written since may be missing in it. Answers with
    /// how many were admitted.
    pub fn admit(&self, organization: &Organization, limit: usize, written: u64) -> usize {
        let mut state = self.state();
        let id = organization.id();
        let is_news = state.written != written;
        let desk = state.desks.entry(id.clone()).or_default();
        let beyond = match &desk.up_to {
            Some(last) if !is_news => (Bound::Excluded(last.clone()), Bound::Unbounded),
            _ => (Bound::Unbounded, Bound::Unbounded),
        };
        let mut waiting = organization
            .notifications
            .range(beyond)
            .map(|(id, _)| id)
            .filter(|id| !desk.deliveries.contains_key(id.as_str()));
        let admitted: Vec<NotificationId> = waiting.by_ref().take(limit).cloned().collect();
        let is_complete = waiting.next().is_none();
        desk.is_complete = is_complete && !is_news;
        if is_news {
            desk.up_to = None;
        } else if let Some(last) = admitted.last() {
            desk.up_to = Some(last.clone());
        }
        if desk.deliveries.is_empty() && admitted.is_empty() {
            state.desks.remove(id.as_str());
        }
        for notification in &admitted {
            state.add(id, notification);
        }
        state.last = Some(id.clone());
        admitted.len()
    }

    /// Forgets a notification that was not found in its organization.
    pub fn forget(&self, (organization, id): &Place) {
        self.state().remove(organization, id);
    }

    /// Completes when something was written, or has been since the last time.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes at most `limit` that are due: organizations in turns, the oldest of each
    /// first. `draw` names each lease.
    pub fn take(
        &self,
        limit: usize,
        until: Moment,
        now: Moment,
        mut draw: impl FnMut() -> String,
    ) -> Vec<Taken> {
        let mut state = self.state();
        state.wake(now);
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(place) = state.next_due()
        {
            let Some(delivery) = state.delivery(&place) else {
                continue;
            };
            delivery.attempts = delivery.attempts.saturating_add(1);
            delivery.lease = draw();
            delivery.later = Some(until);
            taken.push(Taken {
                lease: delivery.lease.clone(),
                attempt: delivery.attempts,
                place: place.clone(),
                until,
            });
            state.later.insert((until, place));
        }
        taken
    }

    /// Whether somebody else holds a notification: it is leased at `now`, and not by
    /// `lease`.
    pub fn is_held_by_others(&self, place: &Place, lease: &str, now: Moment) -> bool {
        self.state().delivery(place).is_some_and(|delivery| {
            let leased = !delivery.lease.is_empty() && delivery.later.is_some_and(|end| end > now);
            leased && delivery.lease != lease
        })
    }

    /// Ends a lease without success: the notification is due again after a pause.
    /// `random` spreads those that failed together. Answers whether the lease was the
    /// last one given.
    pub fn release(
        &self,
        place: &Place,
        lease: &str,
        longest: bool,
        random: [u8; 16],
        now: Moment,
    ) -> bool {
        let mut state = self.state();
        let Some(delivery) = state.delivery(place) else {
            return false;
        };
        if lease.is_empty() || delivery.lease != lease {
            return false;
        }
        let attempts = if longest { u32::MAX } else { delivery.attempts };
        let next = Moment(now.0.saturating_add(pause(attempts, random)));
        delivery.lease.clear();
        let before = delivery.later.replace(next);
        state.reschedule(place, before, next);
        true
    }

    /// A thread that panicked left nothing half done: every step keeps what is needed
    /// to go on, and at worst something is delivered again.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn delivery(&mut self, (organization, id): &Place) -> Option<&mut Delivery> {
        self.desks
            .get_mut(organization.as_str())?
            .deliveries
            .get_mut(id.as_str())
    }

    /// Takes note of one that was written. It is kept track of only if no admission will
    /// come by it again.
    fn note(&mut self, organization: &OrganizationId, id: &NotificationId) {
        let has_room = self.tracked < MAX_TRACKED;
        let Some(desk) = self.desks.get_mut(organization.as_str()) else {
            return;
        };
        let was_passed = desk.is_complete || desk.up_to.as_ref().is_some_and(|last| id <= last);
        if !was_passed {
            return;
        }
        if has_room {
            self.add(organization, id);
        } else {
            desk.is_complete = false;
            desk.up_to = None;
        }
    }

    fn add(&mut self, organization: &OrganizationId, id: &NotificationId) {
        let desk = self.desks.entry(organization.clone()).or_default();
        if desk.deliveries.contains_key(id.as_str()) {
            return;
        }
        desk.deliveries.insert(id.clone(), Delivery::default());
        self.tracked += 1;
        self.make_due(organization, id);
    }

    fn remove(&mut self, organization: &OrganizationId, id: &NotificationId) {
        let Some(desk) = self.desks.get_mut(organization.as_str()) else {
            return;
        };
        let removed = desk.deliveries.remove(id.as_str());
        if desk.deliveries.is_empty() {
            self.desks.remove(organization.as_str());
        }
        let Some(removed) = removed else {
            return;
        };
        self.tracked = self.tracked.saturating_sub(1);
        match removed.later {
            Some(until) => {
                self.later
                    .remove(&(until, (organization.clone(), id.clone())));
            }
            None => self.take_from_due(organization, id),
        }
    }

    fn make_due(&mut self, organization: &OrganizationId, id: &NotificationId) {
        self.due_count += 1;
        match self.due.get_mut(organization.as_str()) {
            Some(due) => {
                due.insert(id.clone());
            }
            None => {
                self.due
                    .insert(organization.clone(), BTreeSet::from([id.clone()]));
                self.turns.push_back(organization.clone());
            }
        }
    }

    fn take_from_due(&mut self, organization: &OrganizationId, id: &NotificationId) {
        let due = self.due.get_mut(organization.as_str());
        if due.is_some_and(|due| due.remove(id.as_str())) {
            self.due_count = self.due_count.saturating_sub(1);
        }
    }

    /// Makes due again what was leased or paused until now.
    fn wake(&mut self, now: Moment) {
        while let Some((until, place)) = self.later.first().cloned()
            && until <= now
        {
            self.later.pop_first();
            if let Some(delivery) = self.delivery(&place) {
                delivery.later = None;
                self.make_due(&place.0, &place.1);
            }
        }
    }

    /// The oldest of the organization whose turn it is; then it is another's turn.
    fn next_due(&mut self) -> Option<Place> {
        loop {
            let organization = self.turns.pop_front()?;
            let due = self.due.get_mut(organization.as_str());
            let id = due.and_then(BTreeSet::pop_first);
            match id {
                Some(id) => {
                    self.due_count = self.due_count.saturating_sub(1);
                    self.turns.push_back(organization.clone());
                    return Some((organization, id));
                }
                None => {
                    self.due.remove(organization.as_str());
                }
            }
        }
    }

    fn reschedule(&mut self, place: &Place, before: Option<Moment>, next: Moment) {
        match before {
            Some(before) => {
                self.later.remove(&(before, place.clone()));
            }
            // Its lease had ended, and it was due.
            None => self.take_from_due(&place.0, &place.1),
        }
        self.later.insert((next, place.clone()));
    }
}

/// The pause after so many attempts, in milliseconds: doubled each time, and of that
/// between a half and all.
fn pause(attempts: u32, random: [u8; 16]) -> i64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = FIRST_PAUSE_MILLISECONDS
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE_MILLISECONDS);
    let drawn = i64::from(u16::from_be_bytes([random[14], random[15]]));
    whole / 2 + (whole / 2).saturating_mul(drawn) / i64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::identifiers::{CatalogId, PlanId, UserId};
    use crate::domain::organization::{Notification, NotificationKind, Profile, Version};

    fn place(organization: &str, id: &str) -> Place {
        (OrganizationId::new(organization), NotificationId::new(id))
    }

    fn outbox(waiting: &[(&str, &str)]) -> Outbox {
        let outbox = Outbox::default();
        for (organization, id) in waiting {
            let (organization, id) = place(organization, id);
            outbox.state().add(&organization, &id);
        }
        outbox
    }

    fn take(outbox: &Outbox, limit: usize, now: i64) -> Vec<Taken> {
        outbox.take(limit, Moment(now + 1_000), Moment(now), || {
            format!("at-{now}")
        })
    }

    fn ids(taken: &[Taken]) -> Vec<String> {
        taken
            .iter()
            .map(|taken| format!("{}{}", taken.place.0, taken.place.1))
            .collect()
    }

    /// An organization in which these wait.
    fn organization(id: &str, waiting: &[&str]) -> Organization {
        let profile = Profile {
            id: OrganizationId::new(id),
            display_name: String::new(),
            catalog: CatalogId::new("catalog"),
            plan: PlanId::new("plan"),
            owner: UserId::new("owner"),
            created_at: Moment(0),
            next_project_ordinal: 0,
            transfer: None,
            version: Version(1),
        };
        let written: Vec<RecordChange> = waiting.iter().map(|id| written(id)).collect();
        Organization::empty(Arc::new(profile), Version(1)).apply(&written)
    }

    fn written(id: &str) -> RecordChange {
        RecordChange::PutNotification(Arc::new(Notification {
            id: NotificationId::new(id),
            kind: NotificationKind::MemberRemoved,
            email: String::new(),
            user: None,
            invitation: None,
            facts: BTreeMap::new(),
            created_at: Moment(0),
        }))
    }

    #[test]
    fn the_oldest_are_admitted_and_admission_goes_on_where_it_ended() {
        let outbox = Outbox::default();
        let a = organization("a", &["1", "2", "3"]);
        assert_eq!(outbox.admit(&a, 2, outbox.written()), 2);
        assert!(!outbox.is_complete(a.id()));
        assert_eq!(ids(&take(&outbox, 9, 0)), ["a1", "a2"]);
        assert_eq!(outbox.admit(&a, 2, outbox.written()), 1);
        assert!(outbox.is_complete(a.id()));
        assert_eq!(ids(&take(&outbox, 9, 0)), ["a3"]);
        assert_eq!(outbox.admit(&a, 2, outbox.written()), 0);
        // Written now that everything is kept track of, and what is older besides.
        outbox.follow(a.id(), &[written("4"), written("0")]);
        assert_eq!(ids(&take(&outbox, 9, 0)), ["a0", "a4"]);
    }

    #[test]
    fn what_was_written_while_the_state_was_read_is_admitted_all_the_same() {
        let outbox = Outbox::default();
        let before = outbox.written();
        let stale = organization("a", &["2"]);
        let all = organization("a", &["1", "2", "3"]);
        outbox.follow(stale.id(), &[written("1"), written("3")]);
        assert_eq!(outbox.admit(&stale, 9, before), 1);
        assert!(!outbox.is_complete(stale.id()));
        assert_eq!(outbox.admit(&all, 9, outbox.written()), 2);
        assert_eq!(ids(&take(&outbox, 9, 0)), ["a1", "a2", "a3"]);
        assert!(outbox.is_complete(all.id()));
    }

    #[test]
    fn no_more_are_kept_track_of_than_there_is_room_for() {
        let outbox = Outbox::default();
        let a = organization("a", &[]);
        for number in 0..MAX_TRACKED {
            outbox
                .state()
                .add(a.id(), &NotificationId::new(format!("{number:06}")));
        }
        assert_eq!(take(&outbox, MAX_TRACKED, 0).len(), MAX_TRACKED);
        assert_eq!(outbox.wanted(9, Moment(0)), 0);
        outbox.follow(
            a.id(),
            &[RecordChange::DeleteNotification(NotificationId::new(
                "000000",
            ))],
        );
        assert_eq!(outbox.wanted(9, Moment(0)), 1);
        // Those whose leases have ended are due again before any other.
        assert_eq!(outbox.wanted(9, Moment(1_000)), 0);
        assert_eq!(take(&outbox, 9, 1_000).len(), 9);
    }

    #[test]
    fn organizations_take_turns_and_the_oldest_come_first() {
        let outbox = outbox(&[("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")]);
        assert_eq!(ids(&take(&outbox, 2, 0)), ["a1", "b1"]);
        assert_eq!(ids(&take(&outbox, 9, 0)), ["c1", "a2", "a3"]);
        assert!(take(&outbox, 9, 999).is_empty());
    }

    #[test]
    fn a_lease_that_ends_makes_it_due_again_with_one_attempt_more() {
        let outbox = outbox(&[("a", "1")]);
        assert_eq!(take(&outbox, 9, 0)[0].attempt, 1);
        let again = take(&outbox, 9, 1_000);
        assert_eq!((again[0].attempt, again[0].lease.as_str()), (2, "at-1000"));
        let one = place("a", "1");
        assert!(outbox.is_held_by_others(&one, "at-0", Moment(1_500)));
        assert!(!outbox.is_held_by_others(&one, "at-1000", Moment(1_500)));
        assert!(!outbox.is_held_by_others(&one, "at-0", Moment(2_000)));
    }

    #[test]
    fn a_failure_pauses_from_seconds_to_an_hour() {
        let outbox = outbox(&[("a", "1")]);
        let one = place("a", "1");
        take(&outbox, 9, 0);
        assert!(!outbox.release(&one, "other", false, [255; 16], Moment(0)));
        assert!(outbox.release(&one, "at-0", false, [255; 16], Moment(0)));
        assert!(!outbox.release(&one, "at-0", false, [255; 16], Moment(0)));
        assert!(take(&outbox, 9, 9_999).is_empty());
        assert_eq!(take(&outbox, 9, 10_000)[0].attempt, 2);
        let pauses: Vec<i64> = [1, 2, 3, 9, 10, 99]
            .map(|attempts| pause(attempts, [255; 16]) / 1_000)
            .to_vec();
        assert_eq!(pauses, [10, 20, 40, 2_560, 3_600, 3_600]);
        assert_eq!(pause(1, [0; 16]), 5_000);
    }

    #[test]
    fn what_is_gone_is_neither_due_nor_leased_nor_remembered() {
        let outbox = outbox(&[("a", "1"), ("a", "2"), ("b", "1")]);
        assert_eq!(ids(&take(&outbox, 1, 0)), ["a1"]);
        for (organization, id) in [("a", "1"), ("a", "2"), ("b", "1")] {
            let (organization, id) = place(organization, id);
            outbox.state().remove(&organization, &id);
        }
        assert!(take(&outbox, 9, 5_000).is_empty());
        let state = outbox.state();
        assert!(state.desks.is_empty() && state.later.is_empty() && state.due.is_empty());
        assert!(state.turns.is_empty());
        assert_eq!((state.tracked, state.due_count), (0, 0));
    }
}
