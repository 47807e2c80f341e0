//! Notifications handed out to whoever delivers them: leased, acknowledged, released,
//! given up.
//!
//! A lease is kept in memory, an acknowledgement is a commit. What lies between the
//! two may be lost, and then a notification is delivered again, never not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::actor::{Actor, Caller, Need};
use super::check::Reader;
use super::expiry::SYSTEM;
use super::mutate::Request;
use super::outbox::{Place, Taken};
use super::{Application, Error};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::identifiers::{NotificationId, OrganizationId};
use crate::domain::organization::{Moment, Notification, NotificationKind, TransferTarget};
use crate::domain::outbox::{GivenUp, KEPT_FOR_MILLISECONDS, TRIED_FOR_MILLISECONDS};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;
use crate::world::draw_id;

/// The most notifications of one acknowledgement or release.
pub const MAX_ITEMS: usize = 1_000;
/// How many organizations in which something waits are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 256;
/// The most old notifications of an organization that one commit gives up.
const MAX_GIVEN_UP: usize = 100;

/// A notification under a lease, ready to be delivered. It holds what only its
/// recipient may see, so it is not for logs.
pub struct Letter {
    /// The organization.
    pub organization: OrganizationId,
    /// The notification.
    pub notification: Arc<Notification>,
    /// The lease.
    pub lease: String,
    /// When the lease ends.
    pub until: Moment,
    /// How often it was leased, this time included.
    pub attempt: u32,
    /// One line of plain text.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// The link in the body; empty where there is none.
    pub link: String,
}

/// A notification that a deliverer speaks of, and the lease it has it under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The organization.
    pub organization: String,
    /// The notification.
    pub notification: String,
    /// The lease.
    pub lease: String,
}

/// How a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// Another time may go better.
    Passing,
    /// The recipient's side said that it will not; it is tried again, but not soon.
    Refused,
    /// There is no address to deliver to.
    NoAddress,
}

impl Leased {
    fn place(&self) -> Place {
        (
            OrganizationId::new(self.organization.as_str()),
            NotificationId::new(self.notification.as_str()),
        )
    }
}

impl From<&Letter> for Leased {
    fn from(letter: &Letter) -> Self {
        Self {
            organization: letter.organization.to_string(),
            notification: letter.notification.id.to_string(),
            lease: letter.lease.clone(),
        }
    }
}

impl Application {
    /// Takes at most `limit` notifications that are due, for so long. What a link can't
    /// lead to any more is given up instead.
    pub async fn lease_notifications(&self, limit: usize, lease: Duration) -> Vec<Letter> {
        let now = self.world.now();
        let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let until = Moment(now.0.saturating_add(lease));
        let mut letters = Vec::new();
        while letters.is_empty() {
            if let Err(error) = self.admit_due(limit, now).await {
                tracing::warn!(%error, "what is to be delivered could not be looked up");
            }
            let draw = || draw_id(self.world(), "lease");
            let taken = self.outbox.take(limit, until, now, draw);
            if taken.is_empty() {
                break;
            }
            for taken in taken {
                let snapshot = match self.find(taken.place.0.as_str()).await {
                    Ok(snapshot) => snapshot,
                    Err(error) if error.is_unknown_organization() => {
                        self.outbox.forget(&taken.place);
                        continue;
                    }
                    // It is due again when the lease ends.
                    Err(_) => continue,
                };
                let id = taken.place.1.as_str();
                // It may have been acknowledged meanwhile.
                let Some(found) = snapshot.organization().notifications.get(id) else {
                    self.outbox.forget(&taken.place);
                    continue;
                };
                match self.letter(&snapshot, found, &taken, now) {
                    Some(letter) => letters.push(letter),
                    None => self.give_up(&taken.place, GivenUp::Obsolete).await,
                }
            }
        }
        letters
    }

    /// Looks for so many that are due, going round among the organizations in which
    /// something waits, beginning after the one that was last: one of each, then two,
    /// and so on.
    async fn admit_due(&self, limit: usize, now: Moment) -> Result<(), Error> {
        let mut share = 1_usize;
        loop {
            let mut admitted = 0;
            let last = self.outbox.last_turn();
            let (mut after, mut wrapped) = (last.clone(), false);
            loop {
                if self.outbox.wanted(limit, now) == 0 {
                    return Ok(());
                }
                let begin = after.clone();
                let page = self
                    .ask_store(move |store| store.notifying(begin.as_ref(), LOOKED_UP_AT_ONCE))
                    .await?;
                let is_last = page.len() < LOOKED_UP_AT_ONCE;
                after = page.last().cloned();
                for organization in page {
                    if wrapped && last.as_ref().is_none_or(|last| organization > *last) {
                        after = None;
                        break;
                    }
                    let most = self.outbox.wanted(limit, now).min(share);
                    admitted += self.admit_of(&organization, most).await;
                    if self.outbox.wanted(limit, now) == 0 {
                        return Ok(());
                    }
                }
                if is_last || after.is_none() {
                    if wrapped || last.is_none() {
                        break;
                    }
                    (after, wrapped) = (None, true);
                }
            }
            // Everyone had a turn; another round only if there was something.
            if admitted == 0 {
                return Ok(());
            }
            share = share.saturating_mul(2);
        }
    }

    async fn admit_of(&self, organization: &OrganizationId, most: usize) -> usize {
        if self.outbox.is_complete(organization) {
            return 0;
        }
        let written = self.outbox.written();
        match self.find(organization.as_str()).await {
            Ok(snapshot) => self.outbox.admit(snapshot.organization(), most, written),
            Err(error) => {
                if !error.is_about_the_organization() {
                    tracing::warn!(%organization, %error, "what it has to deliver can't be read");
                }
                0
            }
        }
    }

    /// Takes delivered notifications out of the outboxes, a commit for each
    /// organization. Answers with how many and the position of the last commit.
    pub async fn acknowledge_notifications(
        &self,
        delivered: &[Leased],
        request: &Request,
    ) -> Result<(u64, u64), Error> {
        check_items(delivered)?;
        let mut by_organization: BTreeMap<&str, Vec<&Leased>> = BTreeMap::new();
        for leased in delivered {
            let organization = leased.organization.as_str();
            by_organization
                .entry(organization)
                .or_default()
                .push(leased);
        }
        let now = self.world.now();
        let mut count = 0;
        let mut revision = 0;
        for (organization, delivered) in by_organization {
            let ids: Vec<NotificationId> = delivered
                .into_iter()
                .filter(|leased| {
                    let place = leased.place();
                    !self.outbox.is_held_by_others(&place, &leased.lease, now)
                })
                .map(|leased| NotificationId::new(leased.notification.as_str()))
                .collect();
            let written = self
                .mutate(organization, Need::Operator, request, |turn| {
                    Ok(turn.organization().acknowledge_notifications(&ids))
                })
                .await;
            match written {
                Ok(written) => {
                    revision = revision.max(written.revision);
                    count += counted(&written.outcome)?;
                }
                // Its outbox is gone with it.
                Err(Error::Refused(Refusal::NotFound { .. })) => {
                    must_be_operator(&request.caller, request.method)?;
                }
                Err(other) => return Err(other),
            }
        }
        if revision == 0 {
            revision = self.published();
        }
        Ok((count, revision))
    }

    /// Takes note that leased notifications could not be delivered. Answers with how
    /// many were leased under the lease that is named.
    pub async fn release_notifications(
        &self,
        failed: &[Leased],
        reader: &Reader,
    ) -> Result<u64, Error> {
        reader.must_be_operator()?;
        check_items(failed)?;
        let mut count = 0;
        for leased in failed {
            count += u64::from(self.set_back(leased, Setback::Passing).await);
        }
        Ok(count)
    }

    /// Takes note that a delivery failed; whether the lease was the last one given.
    pub async fn set_back(&self, leased: &Leased, setback: Setback) -> bool {
        let place = leased.place();
        let now = self.world.now();
        let random = self.world.random();
        let longest = setback == Setback::Refused;
        let held = self
            .outbox
            .release(&place, &leased.lease, longest, random, now);
        if !held {
            return false;
        }
        let snapshot = self.find(place.0.as_str()).await.ok();
        let written = snapshot.and_then(|snapshot| {
            let waiting = &snapshot.organization().notifications;
            Some(waiting.get(place.1.as_str())?.created_at)
        });
        let tried = written.map_or(0, |written| now.0.saturating_sub(written.0));
        if setback == Setback::NoAddress {
            self.give_up(&place, GivenUp::NoAddress).await;
        } else if tried >= TRIED_FOR_MILLISECONDS {
            self.give_up(&place, GivenUp::Undeliverable).await;
        }
        true
    }

    /// Takes note that the daemon itself delivered a notification.
    pub async fn delivered(&self, leased: &Leased) -> Result<(), Error> {
        let request = system("AcknowledgeNotifications");
        let delivered = std::slice::from_ref(leased);
        self.acknowledge_notifications(delivered, &request).await?;
        Ok(())
    }

    /// Gives up what nobody has come for in a long time.
    pub async fn give_up_unclaimed(&self) {
        let mut after = None;
        loop {
            let begin = after.clone();
            let page = self
                .ask_store(move |store| store.notifying(begin.as_ref(), LOOKED_UP_AT_ONCE))
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "what nobody has come for could not be looked up");
                    return;
                }
            };
            for organization in &page {
                self.give_up_unclaimed_of(organization).await;
            }
            match page.last() {
                Some(last) if page.len() == LOOKED_UP_AT_ONCE => after = Some(last.clone()),
                _ => return,
            }
        }
    }

    async fn give_up_unclaimed_of(&self, organization: &OrganizationId) {
        let now = self.world.now();
        let Ok(snapshot) = self.find(organization.as_str()).await else {
            return;
        };
        let waiting = snapshot.organization().notifications.values();
        let old: Vec<NotificationId> = waiting
            .take_while(|notification| {
                now.0.saturating_sub(notification.created_at.0) >= KEPT_FOR_MILLISECONDS
            })
            .map(|notification| notification.id.clone())
            .take(MAX_GIVEN_UP)
            .collect();
        if !old.is_empty() {
            self.give_up_all(organization, &old, GivenUp::Unclaimed)
                .await;
        }
    }

    /// Completes when there may be something new to lease.
    pub async fn news_of_notifications(&self) {
        self.outbox.news().await;
    }

    async fn give_up(&self, (organization, id): &Place, why: GivenUp) {
        self.give_up_all(organization, std::slice::from_ref(id), why)
            .await;
    }

    async fn give_up_all(
        &self,
        organization: &OrganizationId,
        ids: &[NotificationId],
        why: GivenUp,
    ) {
        let request = system("GiveUpNotification");
        let written = self
            .mutate(organization.as_str(), Need::Operator, &request, |turn| {
                Ok(turn.organization().give_up_notifications(ids, why))
            })
            .await;
        let reason = why.word();
        match written {
            Ok(_) => {
                for id in ids {
                    tracing::warn!(%organization, notification = %id, reason, "a notification was given up");
                }
            }
            // It stays in the outbox, and is given up at its next turn.
            Err(error) => {
                tracing::warn!(%organization, %error, reason, "notifications could not be given up");
            }
        }
    }

    /// What is to be delivered; nothing if it is about something that is over.
    fn letter(
        &self,
        snapshot: &Snapshot,
        notification: &Arc<Notification>,
        taken: &Taken,
        now: Moment,
    ) -> Option<Letter> {
        let link = self.link_of(snapshot, notification, now)?;
        let mut facts = notification.facts.clone();
        facts.insert("link".to_owned(), link.clone());
        let templates = &snapshot.catalog().catalog().templates;
        let (subject, body) = templates.of(notification.kind).render(&facts);
        Some(Letter {
            organization: taken.place.0.clone(),
            notification: Arc::clone(notification),
            lease: taken.lease.clone(),
            until: taken.until,
            attempt: taken.attempt,
            subject,
            body,
            link,
        })
    }

    /// The link that a notification carries, empty for a kind that has none; nothing if
    /// it would lead nowhere.
    fn link_of(
        &self,
        snapshot: &Snapshot,
        notification: &Notification,
        now: Moment,
    ) -> Option<String> {
        let organization = snapshot.organization();
        let id = organization.id();
        let token = match notification.kind {
            NotificationKind::Invitation => {
                let invitation = organization.open_invitation(notification, now)?;
                self.invitation_token(id.as_str(), invitation)
            }
            NotificationKind::TransferOffered => {
                let catalog = snapshot.catalog().catalog();
                let transfer = organization.pending_transfer(catalog, now)?;
                // An offer that was replaced has nothing more to say to whom it went.
                let goes_to_target = match &transfer.target {
                    TransferTarget::Member { user, .. } => notification.user.as_ref() == Some(user),
                    TransferTarget::Address(address) => notification.email == *address,
                };
                if !goes_to_target {
                    return None;
                }
                self.transfer_token(id, transfer)
            }
            NotificationKind::RoleChanged
            | NotificationKind::MemberRemoved
            | NotificationKind::MemberSuspended
            | NotificationKind::MemberReinstated
            | NotificationKind::OwnershipTransferred => return Some(String::new()),
        };
        Some(match &self.link_template {
            Some(template) => template.link(id.as_str(), &token),
            None => token,
        })
    }
}

fn check_items(items: &[Leased]) -> Result<(), Error> {
    let (fault, message) = match items.len() {
        0 => (Fault::Missing, "must name at least one".to_owned()),
        given if given > MAX_ITEMS => (
            Fault::TooMany,
            format!("must be at most {MAX_ITEMS}, not {given}"),
        ),
        _ => return Ok(()),
    };
    Err(Error::invalid(vec![Violation::new(
        "notifications",
        fault,
        message,
    )]))
}

fn must_be_operator(caller: &Caller, method: &'static str) -> Result<(), Error> {
    match caller.actor {
        Actor::Operator => Ok(()),
        Actor::Member(_) | Actor::Token(_) => Err(Refusal::OperatorOnly(method).into()),
    }
}

fn counted(outcome: &Outcome) -> Result<u64, Error> {
    match outcome {
        Outcome::Count(count) => Ok(*count),
        other => Err(Error::UnexpectedOutcome(
            format!("{other:?}").chars().take(64).collect(),
        )),
    }
}

fn system(method: &'static str) -> Request {
    Request {
        caller: Caller {
            name: SYSTEM.to_owned(),
            actor: Actor::Operator,
        },
        method,
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    }
}
