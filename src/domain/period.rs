//! When something holds: from a moment on, until a moment, or for good.

use super::organization::Moment;
use super::seldom::Empty;

/// The time in which a grant counts. It begins with `not_before` and has ended at
/// `expires_at`: the last millisecond that counts is the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Period {
    /// Before it, nothing counts; `None` for since ever.
    pub not_before: Option<Moment>,
    /// From it on, nothing counts any more; `None` for no end.
    pub expires_at: Option<Moment>,
}

/// Where a moment lies towards a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before it.
    NotYet,
    /// Within it.
    InForce,
    /// After it.
    Over,
}

impl Empty for Period {
    const EMPTY: &'static Self = &Self::ALWAYS;
}

impl Period {
    /// Since ever and without end.
    pub const ALWAYS: Self = Self {
        not_before: None,
        expires_at: None,
    };

    /// Whether it has neither a beginning nor an end.
    pub fn is_always(&self) -> bool {
        *self == Self::ALWAYS
    }

    /// Where `now` lies.
    pub fn phase(&self, now: Moment) -> Phase {
        if self.expires_at.is_some_and(|end| end <= now) {
            Phase::Over
        } else if self.not_before.is_some_and(|start| now < start) {
            Phase::NotYet
        } else {
            Phase::InForce
        }
    }

    /// Whether it counts at `now`.
    pub fn holds(&self, now: Moment) -> bool {
        self.phase(now) == Phase::InForce
    }

    /// The first moment after `now` at which it begins or ends.
    pub fn next_change(&self, now: Moment) -> Option<Moment> {
        match self.phase(now) {
            Phase::NotYet => self.not_before,
            Phase::InForce => self.expires_at,
            Phase::Over => None,
        }
    }
}

/// The earlier of two moments that may not be.
pub fn earlier(left: Option<Moment>, right: Option<Moment>) -> Option<Moment> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (only, None) | (None, only) => only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_begins_with_its_first_moment_and_has_ended_at_its_last() {
        let period = Period {
            not_before: Some(Moment(10)),
            expires_at: Some(Moment(20)),
        };
        let phases = [9, 10, 19, 20].map(|now| period.phase(Moment(now)));
        assert_eq!(
            phases,
            [Phase::NotYet, Phase::InForce, Phase::InForce, Phase::Over]
        );
        let changes = [9, 10, 20].map(|now| period.next_change(Moment(now)));
        assert_eq!(changes, [Some(Moment(10)), Some(Moment(20)), None]);
    }
}
