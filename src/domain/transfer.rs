//! Ownership passes on: at once, or offered and accepted.
//!
//! There is one owner at every revision: the old owner steps down and the new one
//! steps up in one change. An offer is void as soon as either side of it changes;
//! nobody has to sweep it up for that, because nothing looks at an offer but
//! through [`Organization::pending_transfer`].

use std::sync::Arc;

use super::catalog::{Catalog, TransferMode};
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::Checks;
use super::holdings::{Counting, Validity};
use super::identifiers::UserId;
use super::invitations::sending::date;
use super::lifecycle::fresh;
use super::notifications::Notice;
use super::organization::{
    Member, MemberKind, MemberStatus, Moment, NotificationKind, Organization, Profile, Transfer,
    TransferTarget,
};
use super::period::Period;
use super::refusal::{DeadLink, Fault, Refusal};
use super::seats::Reserved;
use super::text::folded_address;

/// How old, in milliseconds, a sign-in of the owner may be when they offer the ownership.
pub const FRESH_FOR: i64 = 5 * 60 * 1_000;
/// How far, in milliseconds, the clock of whoever saw the sign-in may be ahead.
pub const CLOCK_AHEAD: i64 = 60 * 1_000;

/// An offer of the ownership, as asked for.
#[derive(Clone, Debug, Default)]
pub struct TransferOffer {
    /// The member it goes to; empty when it goes to an address.
    pub user: String,
    /// The address it goes to; empty when it goes to a member.
    pub email: String,
    /// The fresh sign-in of whoever offers, as the calling service saw it.
    pub reauthentication: Option<Reauthentication>,
    /// Makes the token of this offer differ from that of any other.
    pub nonce: [u8; 16],
    /// Etag of the organization, or empty.
    pub etag: String,
}

/// A sign-in that a calling service vouches for.
#[derive(Clone, Debug)]
pub struct Reauthentication {
    /// Who signed in.
    pub user: String,
    /// When.
    pub at: Moment,
}

/// Who accepts, as the calling service knows them.
#[derive(Clone, Debug, Default)]
pub struct NewOwner {
    /// The user; may be empty where the offer names them.
    pub user: String,
    /// Their address, which the calling service has verified; may be empty where
    /// the offer names the user.
    pub email: String,
    /// Their name, if they become a member by this; may be empty.
    pub display_name: String,
}

/// By what somebody answers an offer.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    /// They are the member who acts.
    Actor(&'a UserId),
    /// They hold the link of the offer with this nonce, and may be a member who acts.
    Link {
        /// The nonce that the link was signed with.
        nonce: [u8; 16],
        /// The member who acts, if one does.
        actor: Option<&'a UserId>,
    },
}

impl Organization {
    /// The offer that can be accepted now: neither over, nor void because the owner
    /// is another or the member it went to is not what they were.
    pub fn pending_transfer(&self, catalog: &Catalog, now: Moment) -> Option<&Transfer> {
        let transfer = self.profile.transfer.as_ref()?;
        let stands = match &transfer.target {
            TransferTarget::Address(_) => true,
            TransferTarget::Member { user, membership } => self
                .candidate(catalog, user.as_str(), now)
                .is_ok_and(|member| member.membership == *membership),
        };
        let open = now < transfer.expires_at && self.is_owner(transfer.initiated_by.as_str());
        (stands && open).then_some(transfer)
    }

    /// Hands the ownership over at once. An operator does it whatever the product's
    /// way is; `actor` is who acts otherwise.
    pub fn transfer_ownership(
        &self,
        catalog: &Catalog,
        user: &str,
        actor: Option<&UserId>,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        const ACTION: &str = "TransferOwnership";
        if let Some(actor) = actor {
            match catalog.team.transfer.mode {
                TransferMode::Immediate => self.must_own(actor, ACTION)?,
                TransferMode::TwoStep => {
                    self.must_own(actor, ACTION)?;
                    return Err(Refusal::TransferTarget(
                        "the next owner has to accept; use `InitiateTransfer`",
                    ));
                }
                TransferMode::PlatformOnly => return Err(Refusal::OperatorOnly(ACTION)),
            }
        }
        let mut checks = Checks::new();
        checks.identifier("user", user);
        checks.finish()?;
        fresh("organization", self.id(), self.profile.version, given_etag)?;
        let next = (**self.candidate(catalog, user, now)?).clone();
        let by = actor.map(|actor| self.name_of(actor.as_str()));
        self.hand_over(catalog, ACTION, next, by, now)
    }

    /// Offers the ownership to a member or to an address, in place of any earlier offer.
    pub fn initiate_transfer(
        &self,
        catalog: &Catalog,
        offer: &TransferOffer,
        actor: Option<&UserId>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        const ACTION: &str = "InitiateTransfer";
        let rules = &catalog.team.transfer;
        let Some(actor) = actor else {
            return Err(Refusal::TransferTarget(
                "only the owner offers it; an operator uses `TransferOwnership`",
            ));
        };
        self.must_own(actor, ACTION)?;
        match rules.mode {
            TransferMode::TwoStep => {}
            TransferMode::Immediate => {
                return Err(Refusal::TransferTarget(
                    "here it passes at once; use `TransferOwnership`",
                ));
            }
            TransferMode::PlatformOnly => return Err(Refusal::OperatorOnly(ACTION)),
        }
        check_offer(offer)?;
        self.check_reauthentication(offer.reauthentication.as_ref(), now)?;
        fresh("organization", self.id(), self.profile.version, &offer.etag)?;
        let (target, mut notice) = if offer.user.is_empty() {
            self.address_target(catalog, &offer.email, now)?
        } else {
            let member = self.candidate(catalog, &offer.user, now)?;
            let target = TransferTarget::Member {
                user: member.user.clone(),
                membership: member.membership,
            };
            (target, to_member(member))
        };
        let mut details = vec![("from", self.profile.owner.to_string())];
        details.extend(target.user().map(|user| ("to", user.to_string())));
        let expires_at = Moment(now.0.saturating_add(rules.lifetime));
        let transfer = Transfer {
            target,
            initiated_by: self.profile.owner.clone(),
            initiated_at: now,
            expires_at,
            nonce: offer.nonce,
        };
        let profile = Arc::new(Profile {
            transfer: Some(transfer),
            version: self.version.next(),
            ..(*self.profile).clone()
        });
        let by = self.name_of(self.profile.owner.as_str());
        notice.facts.insert("by".to_owned(), by);
        notice.facts.insert("expires".to_owned(), date(expires_at));
        let notified =
            self.notification(catalog, NotificationKind::TransferOffered, notice, 0, now);
        let mut records = vec![RecordChange::PutProfile(Arc::clone(&profile))];
        records.extend(notified);
        Ok(Change {
            records,
            events: vec![Event::done(ACTION, self.as_target(), details)],
            outcome: Outcome::Profile(profile),
        })
    }

    /// Makes whoever the ownership was offered to the owner.
    pub fn accept_transfer(
        &self,
        catalog: &Catalog,
        claim: Claim<'_>,
        new: &NewOwner,
        now: Moment,
    ) -> Result<Change, Refusal> {
        const ACTION: &str = "AcceptTransfer";
        let transfer = self.claimed_transfer(catalog, claim, ACTION, now)?;
        let actor = match claim {
            Claim::Actor(actor) => Some(actor),
            Claim::Link { actor, .. } => actor,
        };
        let user = match (&transfer.target, actor) {
            _ if !new.user.is_empty() => new.user.as_str(),
            (TransferTarget::Member { user, .. }, _) => user.as_str(),
            (TransferTarget::Address(_), Some(actor)) => actor.as_str(),
            (TransferTarget::Address(_), None) => "",
        };
        let named = transfer.target.user().map(UserId::as_str);
        for expected in [named, actor.map(UserId::as_str)].into_iter().flatten() {
            if expected != user {
                return Err(not_theirs(user, ACTION));
            }
        }
        let next = match &transfer.target {
            TransferTarget::Member { user, .. } => {
                (**self.candidate(catalog, user.as_str(), now)?).clone()
            }
            TransferTarget::Address(address) => {
                self.owner_by_address(catalog, address, user, new, now)?
            }
        };
        let by = Some(self.name_of(self.profile.owner.as_str()));
        self.hand_over(catalog, ACTION, next, by, now)
    }

    /// Turns an offer down.
    pub fn decline_transfer(
        &self,
        catalog: &Catalog,
        claim: Claim<'_>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        const ACTION: &str = "DeclineTransfer";
        let transfer = self.claimed_transfer(catalog, claim, ACTION, now)?;
        Ok(self.end_transfer(transfer, ACTION))
    }

    /// Takes an offer back; `actor` is who acts, `None` for an operator.
    pub fn cancel_transfer(
        &self,
        catalog: &Catalog,
        actor: Option<&UserId>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        const ACTION: &str = "CancelTransfer";
        if let Some(actor) = actor {
            self.must_own(actor, ACTION)?;
        }
        let transfer = self
            .pending_transfer(catalog, now)
            .ok_or(Refusal::NoTransfer)?;
        Ok(self.end_transfer(transfer, ACTION))
    }

    /// A member to whom the ownership can go now.
    fn candidate(
        &self,
        catalog: &Catalog,
        user: &str,
        now: Moment,
    ) -> Result<&Arc<Member>, Refusal> {
        let member = self.member(user)?;
        self.may_own(catalog, member, now)?;
        Ok(member)
    }

    fn may_own(&self, catalog: &Catalog, member: &Member, now: Moment) -> Result<(), Refusal> {
        if self.is_owner(member.user.as_str()) {
            return Err(Refusal::TransferTarget("that user owns it already"));
        }
        let kind = match member.kind {
            MemberKind::Person => None,
            MemberKind::ServiceAccount => Some("a service account"),
            MemberKind::OrganizationToken => Some("a token of the organization"),
        };
        if let Some(kind) = kind {
            return Err(Refusal::MemberKind {
                user: member.user.clone(),
                kind,
                advice: "only a person owns an organization",
            });
        }
        let (status, advice) = match member.validity(now) {
            Validity::Active => {
                let asked = &catalog.team.transfer.target_roles;
                let held = self.holdings(member, None, Counting::At(now)).roles;
                if asked.is_empty() || held.iter().any(|role| asked.contains(role)) {
                    return Ok(());
                }
                return Err(Refusal::TransferTarget(
                    "the member holds none of the roles from which one becomes owner here",
                ));
            }
            Validity::Suspended => ("suspended", "reinstate first"),
            Validity::NotYetValid => ("not in force yet", "wait until the membership begins"),
            Validity::Expired => ("expired", "extend the membership first"),
        };
        Err(Refusal::MemberStatus {
            user: member.user.clone(),
            status,
            advice,
        })
    }

    /// What an offer to an address goes to. A member who is reached there must be
    /// one to whom the ownership could be offered by name.
    fn address_target(
        &self,
        catalog: &Catalog,
        email: &str,
        now: Moment,
    ) -> Result<(TransferTarget, Notice), Refusal> {
        if !catalog.team.transfer.to_address {
            return Err(Refusal::NotOffered("transfer of ownership to an address"));
        }
        let address = folded_address(email);
        let reached = self
            .members
            .values()
            .filter(|member| folded_address(&member.email) == address);
        for member in reached {
            self.may_own(catalog, member, now)?;
        }
        let notice = Notice {
            email: address.clone(),
            ..Notice::default()
        };
        Ok((TransferTarget::Address(address), notice))
    }

    /// The owner that an offer to an address leads to: a member already, or a new one.
    fn owner_by_address(
        &self,
        catalog: &Catalog,
        address: &str,
        user: &str,
        new: &NewOwner,
        now: Moment,
    ) -> Result<Member, Refusal> {
        let mut checks = Checks::new();
        checks.identifier("user", user);
        if new.email.is_empty() {
            checks.fault("email", Fault::Missing, "must not be empty");
        }
        checks.optional_address("email", &new.email);
        checks.optional_name("display_name", &new.display_name);
        checks.finish()?;
        if folded_address(&new.email) != address {
            return Err(Refusal::WrongAddress);
        }
        if let Some(member) = self.members.get(user) {
            self.may_own(catalog, member, now)?;
            return Ok((**member).clone());
        }
        self.check_seat(catalog, Reserved::InvitationsBut(""), now)?;
        Ok(Member {
            user: UserId::new(user),
            kind: MemberKind::Person,
            display_name: new.display_name.clone().into(),
            email: address.to_owned().into(),
            status: MemberStatus::Active,
            roles: Vec::new(),
            project_roles: Default::default(),
            overrides: Default::default(),
            default_roles: Default::default(),
            groups: Default::default(),
            periods: Default::default(),
            period: Period::ALWAYS.into(),
            added_by: Some(self.profile.owner.clone()),
            joined_at: now,
            last_active_at: None,
            membership: self.version.next(),
            version: self.version.next(),
        })
    }

    /// The pending offer, if it is whoever claims it that it was made to.
    fn claimed_transfer(
        &self,
        catalog: &Catalog,
        claim: Claim<'_>,
        action: &'static str,
        now: Moment,
    ) -> Result<&Transfer, Refusal> {
        if let (Claim::Link { nonce, .. }, Some(known)) = (claim, &self.profile.transfer)
            && known.nonce != nonce
        {
            return Err(Refusal::DeadLink(DeadLink::Superseded));
        }
        let transfer = self
            .pending_transfer(catalog, now)
            .ok_or(Refusal::NoTransfer)?;
        let named = transfer.target.user();
        match claim {
            Claim::Actor(actor) if named != Some(actor) => Err(not_theirs(actor.as_str(), action)),
            Claim::Link {
                actor: Some(actor), ..
            } if named.is_some_and(|named| named != actor) => {
                Err(not_theirs(actor.as_str(), action))
            }
            Claim::Actor(_) | Claim::Link { .. } => Ok(transfer),
        }
    }

    fn check_reauthentication(
        &self,
        given: Option<&Reauthentication>,
        now: Moment,
    ) -> Result<(), Refusal> {
        let fault = match given {
            None => "the proof is missing",
            Some(given) if !self.is_owner(&given.user) => "the proof is of somebody else",
            Some(given) if given.at.0 < now.0.saturating_sub(FRESH_FOR) => "the proof is too old",
            Some(given) if given.at.0 > now.0.saturating_add(CLOCK_AHEAD) => {
                "the proof is of the future"
            }
            Some(_) => return Ok(()),
        };
        Err(Refusal::ReauthenticationNeeded(fault))
    }

    fn must_own(&self, actor: &UserId, action: &'static str) -> Result<(), Refusal> {
        if self.is_owner(actor.as_str()) {
            return Ok(());
        }
        Err(Refusal::PermissionDenied {
            actor: actor.to_string(),
            action,
            why: "only the owner hands the ownership over".to_owned(),
        })
    }

    /// The old owner steps down and `next` steps up, in one change.
    fn hand_over(
        &self,
        catalog: &Catalog,
        action: &'static str,
        next: Member,
        by: Option<String>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let version = self.version.next();
        let old = self.member(self.profile.owner.as_str())?;
        let gives_roles = |group: &str| {
            self.groups
                .get(group)
                .is_some_and(|group| !group.roles.is_empty() || !group.project_roles.is_empty())
        };
        // The role is all that the old owner has: not what groups gave beneath the
        // ownership either. Limits of groups stay.
        let mut old = Member {
            roles: vec![catalog.team.transfer.old_owner_becomes.clone()],
            ..bare(old)
        };
        old.groups.retain(|group, _| !gives_roles(group.as_str()));
        old.version = version;
        let next = Member {
            version,
            ..bare(&next)
        };
        let profile = Arc::new(Profile {
            owner: next.user.clone(),
            transfer: None,
            version,
            ..(*self.profile).clone()
        });
        let new_name = if next.display_name.is_empty() {
            next.user.to_string()
        } else {
            next.display_name.to_string()
        };
        let notices = [&next, &old].map(|member| {
            let mut notice = to_member(member);
            notice.facts.insert("user".to_owned(), new_name.clone());
            let by = by.clone().map(|by| ("by".to_owned(), by));
            notice.facts.extend(by);
            notice
        });
        let details = vec![
            ("from", old.user.to_string()),
            ("to", next.user.to_string()),
        ];
        let mut records = vec![
            RecordChange::PutProfile(Arc::clone(&profile)),
            RecordChange::PutMember(Arc::new(old)),
            RecordChange::PutMember(Arc::new(next)),
        ];
        let kind = NotificationKind::OwnershipTransferred;
        for (index, notice) in notices.into_iter().enumerate() {
            records.extend(self.notification(catalog, kind, notice, index, now));
        }
        Ok(Change {
            records,
            events: vec![Event::done(action, self.as_target(), details)],
            outcome: Outcome::Profile(profile),
        })
    }

    fn end_transfer(&self, transfer: &Transfer, action: &'static str) -> Change {
        let mut details = vec![("from", transfer.initiated_by.to_string())];
        details.extend(transfer.target.user().map(|user| ("to", user.to_string())));
        let profile = Arc::new(Profile {
            transfer: None,
            version: self.version.next(),
            ..(*self.profile).clone()
        });
        Change {
            records: vec![RecordChange::PutProfile(profile)],
            events: vec![Event::done(action, self.as_target(), details)],
            outcome: Outcome::Nothing,
        }
    }

    fn as_target(&self) -> Target {
        Target::new("Organization", self.id())
    }
}

impl TransferTarget {
    /// The member it goes to, if it goes to one.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Member { user, .. } => Some(user),
            Self::Address(_) => None,
        }
    }
}

/// A member with nothing of their own but the membership, for good.
fn bare(member: &Member) -> Member {
    Member {
        roles: Vec::new(),
        project_roles: Default::default(),
        overrides: Default::default(),
        default_roles: Default::default(),
        periods: Default::default(),
        period: Period::ALWAYS.into(),
        ..member.clone()
    }
}

fn to_member(member: &Member) -> Notice {
    let name = if member.display_name.is_empty() {
        member.user.to_string()
    } else {
        member.display_name.to_string()
    };
    Notice {
        email: member.email.to_string(),
        user: Some(member.user.clone()),
        facts: [("user".to_owned(), name)].into(),
        ..Notice::default()
    }
}

fn not_theirs(user: &str, action: &'static str) -> Refusal {
    Refusal::PermissionDenied {
        actor: super::members::shown(user),
        action,
        why: "the ownership was offered to somebody else".to_owned(),
    }
}

fn check_offer(offer: &TransferOffer) -> Result<(), Refusal> {
    let mut checks = Checks::new();
    match (offer.user.is_empty(), offer.email.is_empty()) {
        (false, true) => checks.identifier("user", &offer.user),
        (true, false) => checks.optional_address("email", &offer.email),
        (true, true) => checks.fault(
            "user",
            Fault::Missing,
            "must be given, or `email` in its place",
        ),
        (false, false) => checks.fault(
            "email",
            Fault::Malformed,
            "must not be given beside `user`; the offer goes to one of them",
        ),
    }
    checks.finish()
}
