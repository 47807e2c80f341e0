//! How domain values become bytes that can be trusted when they come back.
//!
//! Each value is sealed on its own: one byte that names the version of its
//! shape, eight bytes of SHA-256 over that byte and the body, and the body: a
//! private mirror of the domain type (`mirror`), written by position and without
//! names (`compact`). Version 1 was the same mirror as JSON. The check is our
//! own because no engine underneath can be relied on to notice every flipped
//! bit; the version byte is what lets an old record be upgraded while it is
//! read, so that a new release never has to rewrite a store.
//!
//! The bytes are canonical: equal values have equal bytes, because fields have
//! a fixed order and every map and set is written in its own order. The hash
//! chain ([`link`]) rests on that.
//!
//! This file knows nothing of keys, files or engines.

pub(super) mod compact;
pub mod lines;
mod mirror;
#[cfg(test)]
pub(super) mod tests;

use sha2::{Digest, Sha256};

use super::{Chain, HistoryEntry, HistoryEvent, Idempotency, Remembered};
use crate::domain::change::{Outcome, RecordChange};
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{
    Group, Guardrail, Invitation, Member, Moment, Notification, Profile, Project,
    RegisteredResource, Role, Token, Version,
};

/// The largest sealed record or event, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024 - 1;

/// The largest sealed answer to remember, in bytes: that of a bulk request.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The largest sealed commit, in bytes.
pub const MAX_COMMIT_BYTES: usize = 64 * 1024 * 1024;

const CHECK_BYTES: usize = 8;
const SEAL_BYTES: usize = 1 + CHECK_BYTES;

/// Why bytes are not the record they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are fewer bytes than any record has.
    #[error("{0} bytes are too few for a record")]
    TooShort(usize),
    /// The bytes are not those that were written.
    #[error("the check of a record does not match its bytes")]
    Check,
    /// A later release wrote this, or nobody did.
    #[error("a record has version {0}, which this release does not know")]
    UnknownVersion(u8),
    /// The bytes are as written, but do not have the shape of their version.
    #[error("a record does not have the shape of its version: {0}")]
    Shape(String),
}

/// Why a value could not be written.
#[derive(Debug, thiserror::Error)]
#[error("a record can't be written")]
pub struct EncodeError(#[from] postcard::Error);

/// A commit as the history keeps it, before it has a position: what the chain is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The organization that changes.
    pub organization: OrganizationId,
    /// The version it has afterwards.
    pub version: Version,
    /// When it was decided.
    pub at: Moment,
    /// What changes.
    pub records: Vec<RecordChange>,
    /// What the history says about it.
    pub events: Vec<HistoryEvent>,
    /// When something first ends by itself afterwards. Version 1 did not say.
    pub wake_at: Option<Moment>,
}

impl From<HistoryEntry> for Entry {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            organization: entry.organization,
            version: entry.version,
            at: entry.at,
            records: entry.records,
            events: entry.events,
            wake_at: entry.wake_at,
        }
    }
}

impl Entry {
    /// Whether a sealed entry says when something ends by itself afterwards.
    pub fn knows_wake(sealed: &[u8]) -> bool {
        sealed.first() != Some(&1)
    }
}

/// A value that has a sealed form.
pub trait Stored: Sized + sealed::Body {
    /// The canonical sealed bytes.
    fn seal(&self) -> Result<Vec<u8>, EncodeError> {
        let mut body = Vec::new();
        self.write_body(&mut body)?;
        Ok(seal_body(Self::VERSION, &body))
    }

    /// The value that was sealed, upgraded to today's shape.
    fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, body) = unseal_body(bytes)?;
        Self::read_body(version, body)
    }
}

/// Seals bytes that an adapter made itself.
pub(super) fn seal_body(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SEAL_BYTES.saturating_add(body.len()));
    bytes.push(version);
    bytes.extend_from_slice(&check(version, body));
    bytes.extend_from_slice(body);
    bytes
}

/// The version and the body of sealed bytes.
pub(super) fn unseal_body(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    let short = DecodeError::TooShort(bytes.len());
    let Some((version, rest)) = bytes.split_first() else {
        return Err(short);
    };
    let Some((stored, body)) = rest.split_at_checked(CHECK_BYTES) else {
        return Err(short);
    };
    if stored != check(*version, body) {
        return Err(DecodeError::Check);
    }
    Ok((*version, body))
}

mod sealed {
    use super::{DecodeError, EncodeError};

    pub trait Body: Sized {
        /// The version of the shape that is written today.
        const VERSION: u8;
        fn write_body(&self, to: &mut Vec<u8>) -> Result<(), EncodeError>;
        fn read_body(version: u8, body: &[u8]) -> Result<Self, DecodeError>;
    }
}

/// Ties a value to its mirrors: the one of version 1, which was JSON, and the one of
/// today's version 2. A further version of a shape gets a further mirror and a further
/// arm, which converts the old mirror to today's value.
macro_rules! stored {
    ($($value:ty => $first:ident, $today:ident),* $(,)?) => {$(
        impl sealed::Body for $value {
            const VERSION: u8 = 2;

            fn write_body(&self, to: &mut Vec<u8>) -> Result<(), EncodeError> {
                compact::write(&mirror::$today::from(self), to)
            }

            fn read_body(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
                match version {
                    1 => serde_json::from_slice::<mirror::$first<'_>>(body)
                        .map(Into::into)
                        .map_err(|fault| DecodeError::Shape(fault.to_string())),
                    2 => compact::read::<mirror::$today<'_>>(body).map(Into::into),
                    other => Err(DecodeError::UnknownVersion(other)),
                }
            }
        }

        impl Stored for $value {}

        #[cfg(test)]
        impl tests::First for $value {
            fn seal_as_version_1(&self) -> Vec<u8> {
                let body = serde_json::to_vec(&mirror::$first::from(self)).unwrap();
                seal_body(1, &body)
            }
        }
    )*};
}

stored! {
    Profile => Profile1, Profile1,
    Member => Member1, Member1,
    Role => Role1, Role1,
    Project => Project1, Project1,
    RegisteredResource => Resource1, Resource1,
    Group => Group1, Group1,
    Invitation => Invitation1, Invitation1,
    Token => Token1, Token1,
    Guardrail => Guardrail1, Guardrail1,
    Notification => Notification1, Notification1,
    RecordChange => Change1, Change1,
    Outcome => Outcome1, Outcome1,
    HistoryEvent => Event1, Event1,
    Entry => Entry1, Entry2,
    Idempotency => Idempotency1, Idempotency1,
    Remembered => Remembered1, Remembered1,
}

/// The next link of the chain: SHA-256 over the previous one and a sealed [`Entry`].
pub fn link(previous: &Chain, entry: &[u8]) -> Chain {
    Sha256::new()
        .chain_update(previous)
        .chain_update(entry)
        .finalize()
        .into()
}

/// The first eight bytes of SHA-256 over the version and the body.
fn check(version: u8, body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update([version])
        .chain_update(body)
        .finalize()
        .into();
    let mut check = [0; CHECK_BYTES];
    for (to, from) in check.iter_mut().zip(digest) {
        *to = from;
    }
    check
}
