//! Whether a genuine token counts at a moment: not what it may be used for, which
//! is a question to Cedar.

use super::organization::{Member, Moment, Organization, Token, TokenKind, TokenSecret};
use super::period::{Period, Phase, earlier};

/// Why a genuine token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadToken {
    /// It was revoked, or the membership that it is bound to is gone.
    Revoked,
    /// It does not count yet.
    NotYetValid,
    /// It has ended, or its secret has, or the secret is too old.
    Expired,
}

/// Whether a token counts at a moment, presented by one of its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenStanding {
    /// Why it does not, if it does not.
    pub dead: Option<DeadToken>,
    /// The next moment at which that may change by itself.
    pub valid_until: Option<Moment>,
}

impl DeadToken {
    /// The same in words that follow `is`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NotYetValid => "not valid yet",
            Self::Expired => "expired",
        }
    }
}

impl Organization {
    /// Whether a token counts, presented by `secret`.
    pub fn token_standing(
        &self,
        token: &Token,
        secret: &TokenSecret,
        now: Moment,
    ) -> TokenStanding {
        let subject = self.members.get(token.subject.as_str());
        let bound = subject.filter(|member| member.membership == token.membership);
        let Some(member) = bound.filter(|_| token.revoked_at.is_none()) else {
            return TokenStanding {
                dead: Some(DeadToken::Revoked),
                valid_until: None,
            };
        };
        let overlap = Period {
            not_before: None,
            expires_at: secret.expires_at,
        };
        let (limit, mut valid_until) = match token.kind {
            TokenKind::Member => self.token_age_limit(member, now),
            TokenKind::ServiceAccount | TokenKind::Organization => (None, None),
        };
        let age = Period {
            not_before: None,
            expires_at: limit.map(|limit| Moment(secret.created_at.0.saturating_add(limit))),
        };
        let mut dead = None;
        for period in [&token.period, &overlap, &age] {
            valid_until = earlier(valid_until, period.next_change(now));
            dead = dead.or(match period.phase(now) {
                Phase::NotYet => Some(DeadToken::NotYetValid),
                Phase::InForce => None,
                Phase::Over => Some(DeadToken::Expired),
            });
        }
        TokenStanding { dead, valid_until }
    }

    /// Whether a token counts by its newest secret; `None` if it does.
    pub fn token_status(&self, token: &Token, now: Moment) -> Option<DeadToken> {
        match token.secrets.last() {
            Some(newest) => self.token_standing(token, newest, now).dead,
            None => Some(DeadToken::Revoked),
        }
    }

    /// How old, in milliseconds, secrets of a member's tokens may get: the shortest
    /// limit of the groups in force; and when another may come into force.
    fn token_age_limit(&self, member: &Member, now: Moment) -> (Option<i64>, Option<Moment>) {
        let (mut shortest, mut until) = (None, None);
        for (id, period) in &member.groups {
            let Some(group) = self.groups.get(id.as_str()) else {
                continue;
            };
            let Some(limit) = group.max_token_age else {
                continue;
            };
            until = earlier(until, period.next_change(now));
            until = earlier(until, group.period.next_change(now));
            if period.holds(now) && group.period.holds(now) {
                shortest = Some(shortest.map_or(limit, |known: i64| known.min(limit)));
            }
        }
        (shortest, until)
    }
}
