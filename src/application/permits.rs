//! What somebody who is recognised may call, and how long that is known.
//!
//! How a caller is recognised is for `transport`. What follows from it is the same for
//! every kind: a name for the history, scopes, perhaps the organizations it is bound to,
//! and when all of that ends by itself. Whatever changes it, such as the revocation of a
//! key, moves the one [`Generation`], by which everybody who remembers a permit knows
//! that it has to be looked up again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::domain::Refusal;
use crate::domain::organization::Moment;

/// What a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Checks.
    Check,
    /// Managing teams on behalf of an actor.
    Manage,
    /// Acting as an operator.
    Operate,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Check, Self::Manage, Self::Operate];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Manage => "manage",
            Self::Operate => "operate",
        }
    }

    /// The scope that is written so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Check => 1,
            Self::Manage => 2,
            Self::Operate => 4,
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(7);

    /// Whether the scope is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are among them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        let bits = scopes.into_iter().map(Scope::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

/// The organizations that a caller is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds(Arc<BTreeSet<String>>);

impl Bounds {
    /// To these; nothing where there are none, which binds nobody.
    pub fn to(organizations: impl IntoIterator<Item = String>) -> Option<Self> {
        let organizations: BTreeSet<String> = organizations.into_iter().collect();
        (!organizations.is_empty()).then(|| Self(Arc::new(organizations)))
    }

    /// Whether the organization is among them.
    pub fn admit(&self, organization: &str) -> bool {
        self.0.contains(organization)
    }

    /// Those that are among them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Refuses an organization that a caller is not bound to, if it is bound at all.
pub fn within(bounds: Option<&Bounds>, organization: &str) -> Result<(), Refusal> {
    match bounds {
        Some(bounds) if !bounds.admit(organization) => Err(Refusal::ForeignOrganization),
        _ => Ok(()),
    }
}

/// What somebody who is recognised may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The name in the history.
    pub name: String,
    /// What may be called.
    pub scopes: Scopes,
    /// The organizations it is bound to; `None` for all.
    pub bounds: Option<Bounds>,
    /// From when on it is none; `None` for never.
    pub until: Option<Moment>,
}

impl Permit {
    /// That of whoever holds the key of the first start.
    pub fn of_the_operator() -> Self {
        Self {
            name: OPERATOR.to_owned(),
            scopes: Scopes::ALL,
            bounds: None,
            until: None,
        }
    }

    /// Whether it counts at that moment.
    pub fn counts(&self, now: impl FnOnce() -> Moment) -> bool {
        self.until.is_none_or(|until| now() < until)
    }
}

/// The name of whoever holds the key of the first start.
pub const OPERATOR: &str = "operator";

/// Counts the changes of what callers may do.
#[derive(Debug)]
pub struct Generation {
    number: AtomicU64,
    told: watch::Sender<u64>,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            number: AtomicU64::new(0),
            told: watch::Sender::new(0),
        }
    }
}

impl Generation {
    /// The present one.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Begins the next one: what was remembered has to be looked up again.
    pub fn advance(&self) {
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        self.told.send_modify(|told| *told = number.max(*told));
    }

    /// Tells of every one that begins.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}
