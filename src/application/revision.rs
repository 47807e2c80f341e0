//! Revision tokens, and waiting for a revision.
//!
//! A token is opaque to clients: the shard and the sequence of a commit. There
//! is one shard; the place is kept so that a store with several needs no other
//! token.

use std::time::Duration;

use tokio::sync::watch;

use super::Error;
use crate::domain::refusal::{Fault, Violation};
use crate::store::Sequence;

const SHARD: u8 = b'0';
/// Digits of the largest sequence.
const MAX_DIGITS: usize = 16;

/// How long a request without a deadline of its own waits for a revision.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The token of a position in the history.
pub fn token(sequence: u64) -> String {
    TokenText::of(sequence).as_str().to_owned()
}

/// A token that takes no memory elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct TokenText {
    bytes: [u8; Self::MAX_BYTES],
    length: usize,
}

impl TokenText {
    /// The most bytes of a token.
    pub const MAX_BYTES: usize = 2 + MAX_DIGITS;

    /// The token of a position in the history.
    #[inline]
    pub fn of(sequence: u64) -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        let [shard, point, digits @ ..] = &mut bytes;
        (*shard, *point) = (SHARD, b'.');
        let count = (u64::BITS - sequence.leading_zeros()).div_ceil(4).max(1);
        for (place, digit) in (0..count).rev().zip(digits) {
            *digit = match (sequence >> (4 * place)) & 0xf {
                number @ 0..=9 => b'0' + number as u8,
                number => b'a' - 10 + number as u8,
            };
        }
        Self {
            bytes,
            length: 2 + count as usize,
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of its text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Reads a token; empty means any revision.
pub fn parse(given: &str) -> Result<Option<Sequence>, Error> {
    if given.is_empty() {
        return Ok(None);
    }
    let sequence = given
        .strip_prefix(char::from(SHARD))
        .and_then(|rest| rest.strip_prefix('.'))
        .filter(|digits| {
            digits.len() <= MAX_DIGITS
                && digits
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        })
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match sequence {
        Some(sequence) => Ok(Some(Sequence(sequence))),
        None => Err(Error::invalid(vec![Violation::new(
            "at_least",
            Fault::MalformedRevision,
            "is not a revision that this daemon has given out",
        )])),
    }
}

/// How far this node has published the history.
pub struct Progress {
    published: watch::Sender<Sequence>,
}

impl Progress {
    /// Published up to there.
    pub fn starting_at(sequence: Sequence) -> Self {
        Self {
            published: watch::Sender::new(sequence),
        }
    }

    /// Says that everything up to there is published.
    pub fn reached(&self, sequence: Sequence) {
        self.published.send_if_modified(|published| {
            let newer = *published < sequence;
            *published = sequence.max(*published);
            newer
        });
    }

    /// How far.
    pub fn published(&self) -> Sequence {
        *self.published.borrow()
    }

    /// Waits until the revision that `at_least` names is published, at most `patience`.
    pub async fn reach(&self, at_least: &str, patience: Duration) -> Result<(), Error> {
        let Some(wanted) = parse(at_least)? else {
            return Ok(());
        };
        if self.published() >= wanted {
            return Ok(());
        }
        let mut watcher = self.published.subscribe();
        let waited =
            tokio::time::timeout(patience, watcher.wait_for(|published| *published >= wanted))
                .await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::RevisionNotReached(at_least.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_shard_and_the_position() {
        for position in [
            0,
            1,
            9,
            10,
            15,
            16,
            255,
            256,
            4_096,
            0xabc_def,
            u64::MAX - 1,
            u64::MAX,
        ] {
            assert_eq!(token(position), format!("0.{position:x}"));
            let read = parse(&token(position)).ok().flatten();
            assert_eq!(read, Some(Sequence(position)));
        }
    }

    #[test]
    fn a_token_reads_back_and_nothing_else_is_one() {
        assert_eq!(parse(&token(255)).ok().flatten(), Some(Sequence(255)));
        assert!(matches!(parse(""), Ok(None)));
        for refused in [
            "0",
            "0.",
            "1.5",
            "0.FF",
            "0.-1",
            "latest",
            "0.ffffffffffffffffff",
            "0.00000000000000001",
        ] {
            assert!(parse(refused).is_err(), "accepted {refused:?}");
        }
    }
}
