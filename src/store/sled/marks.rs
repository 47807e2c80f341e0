//! The values that are sled's own: how far it has come, how far each organization
//! has, and where an answer is that is too large for it.

use crate::domain::organization::Moment;
use crate::domain::organization::Version;
use crate::store::record::{
    DecodeError, EncodeError, MAX_RECORD_BYTES, Stored, seal_body, unseal_body,
};
use crate::store::{Head, Remembered, Sequence};

const VERSION: u8 = 1;

/// Says that an answer is in the journal; no shape of an answer has this version.
const IN_JOURNAL: u8 = 0;

/// The last commit that sled holds whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AppliedHead(pub Head);

/// Where an organization stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrganizationMark {
    /// Its version.
    pub version: Version,
    /// Its last commit.
    pub sequence: Sequence,
    /// When something of it first ends by itself.
    pub wake_at: Option<Moment>,
    /// Whether all of that commit is there; a large one is applied in several steps.
    pub whole: bool,
}

/// An answer as sled keeps it.
#[derive(Debug)]
pub(super) enum KeptAnswer {
    /// All of it.
    Whole(Box<Remembered>),
    /// It is too large for sled and stays in the journal.
    InJournal {
        /// With the commit at this position.
        sequence: Sequence,
        /// From when on it may be forgotten.
        expires_at: Moment,
    },
}

impl KeptAnswer {
    /// What is kept of an answer, sealed.
    pub fn seal(remembered: &Remembered) -> Result<Vec<u8>, EncodeError> {
        let whole = remembered.seal()?;
        if whole.len() <= MAX_RECORD_BYTES {
            return Ok(whole);
        }
        let mut body = remembered.sequence.0.to_be_bytes().to_vec();
        body.extend_from_slice(&remembered.expires_at.0.to_be_bytes());
        Ok(seal_body(IN_JOURNAL, &body))
    }

    pub fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (IN_JOURNAL, body) = unseal_body(bytes)? else {
            return Ok(Self::Whole(Box::new(Remembered::unseal(bytes)?)));
        };
        let (sequence, expires_at) = body.split_first_chunk::<8>().ok_or_else(shape)?;
        let expires_at = expires_at.try_into().map_err(|_| shape())?;
        Ok(Self::InJournal {
            sequence: Sequence(u64::from_be_bytes(*sequence)),
            expires_at: Moment(i64::from_be_bytes(expires_at)),
        })
    }

    /// From when on it may be forgotten.
    pub fn expires_at(&self) -> Moment {
        match self {
            Self::Whole(remembered) => remembered.expires_at,
            Self::InJournal { expires_at, .. } => *expires_at,
        }
    }
}

impl AppliedHead {
    pub fn seal(&self) -> Vec<u8> {
        let mut body = self.0.sequence.0.to_be_bytes().to_vec();
        body.extend_from_slice(&self.0.chain);
        seal_body(VERSION, &body)
    }

    pub fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body(bytes)?;
        let (sequence, chain) = body.split_first_chunk::<8>().ok_or_else(shape)?;
        let sequence = Sequence(u64::from_be_bytes(*sequence));
        Ok(Self(Head {
            sequence,
            chain: chain.try_into().map_err(|_| shape())?,
        }))
    }
}

impl OrganizationMark {
    pub fn seal(&self) -> Vec<u8> {
        let mut body = self.version.0.to_be_bytes().to_vec();
        body.extend_from_slice(&self.sequence.0.to_be_bytes());
        body.push(u8::from(self.whole));
        if let Some(wake_at) = self.wake_at {
            body.extend_from_slice(&wake_at.0.to_be_bytes());
        }
        seal_body(VERSION, &body)
    }

    pub fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body(bytes)?;
        let (version, rest) = body.split_first_chunk::<8>().ok_or_else(shape)?;
        let (sequence, rest) = rest.split_first_chunk::<8>().ok_or_else(shape)?;
        let (whole, rest) = match rest {
            [0, rest @ ..] => (false, rest),
            [1, rest @ ..] => (true, rest),
            _ => return Err(shape()),
        };
        let wake_at = match rest {
            [] => None,
            bytes => Some(bytes.try_into().map_err(|_| shape())?),
        };
        Ok(Self {
            version: Version(u64::from_be_bytes(*version)),
            sequence: Sequence(u64::from_be_bytes(*sequence)),
            wake_at: wake_at.map(|bytes| Moment(i64::from_be_bytes(bytes))),
            whole,
        })
    }
}

fn body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match unseal_body(bytes)? {
        (VERSION, body) => Ok(body),
        (other, _) => Err(DecodeError::UnknownVersion(other)),
    }
}

fn shape() -> DecodeError {
    DecodeError::Shape("a mark has the wrong length".to_owned())
}
