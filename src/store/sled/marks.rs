//! The values that are sled's own: how far it has come, how far each organization
//! has, and where in the journal the rest is.
//!
//! They have no check of their own: that of their entry ([`leaf`](super::leaf)) is
//! enough. Only the applied head, which is in no leaf, is sealed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::organization::{Moment, Version};
use crate::store::record::{DecodeError, EncodeError, compact, seal_body, unseal_body};
use crate::store::{Head, Sequence};

/// The version of the layout that [`keys`](super::keys) describes. The first one had a
/// key of sled for each record and each event.
const LAYOUT: u8 = 2;
const FIRST_LAYOUT: u8 = 1;

/// The version of the shapes of the other values.
const VERSION: u8 = 1;

/// The last commit that sled holds whole, and in what layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppliedHead {
    /// In today's.
    Current(Head),
    /// In an earlier one: of no use but to tell whether the journal lost anything.
    Outdated(Head),
}

impl AppliedHead {
    pub fn seal(head: &Head) -> Vec<u8> {
        let mut body = head.sequence.0.to_be_bytes().to_vec();
        body.extend_from_slice(&head.chain);
        seal_body(LAYOUT, &body)
    }

    pub fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        let shape = || DecodeError::Shape("a head has the wrong length".to_owned());
        let (layout, body) = unseal_body(bytes)?;
        let (sequence, chain) = body.split_first_chunk::<8>().ok_or_else(shape)?;
        let head = Head {
            sequence: Sequence(u64::from_be_bytes(*sequence)),
            chain: chain.try_into().map_err(|_| shape())?,
        };
        match layout {
            LAYOUT => Ok(Self::Current(head)),
            FIRST_LAYOUT => Ok(Self::Outdated(head)),
            other => Err(DecodeError::UnknownVersion(other)),
        }
    }
}

/// When something of an organization first ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Never, or then.
    At(Option<Moment>),
    /// Its last commit, which an earlier release wrote, did not say.
    Unknown,
}

impl Wake {
    /// The moment under which it is found: the earliest of all as long as it is unknown.
    pub fn moment(self) -> Option<Moment> {
        match self {
            Self::At(moment) => moment,
            Self::Unknown => Some(Moment(i64::MIN)),
        }
    }
}

/// Where an organization stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrganizationMark {
    /// Its version.
    pub version: Version,
    /// Its last commit.
    pub sequence: Sequence,
    /// When something of it first ends by itself.
    pub wake: Wake,
    /// Whether all of that commit is there; a large one is applied in several steps.
    pub whole: bool,
}

impl OrganizationMark {
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let wake = match self.wake {
            Wake::At(moment) => Some(moment.map(|moment| moment.0)),
            Wake::Unknown => None,
        };
        encode(&(self.version.0, self.sequence.0, self.whole, wake))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, sequence, whole, wake): (_, _, _, Option<Option<i64>>) = decode(bytes)?;
        Ok(Self {
            version: Version(version),
            sequence: Sequence(sequence),
            wake: wake.map_or(Wake::Unknown, |moment| Wake::At(moment.map(Moment))),
            whole,
        })
    }
}

/// A remembered answer: it lies in the journal, with the commit that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptAnswer {
    /// That commit.
    pub sequence: Sequence,
    /// From when on it may be forgotten.
    pub expires_at: Moment,
}

impl KeptAnswer {
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(&(self.sequence.0, self.expires_at.0))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (sequence, expires_at) = decode(bytes)?;
        Ok(Self {
            sequence: Sequence(sequence),
            expires_at: Moment(expires_at),
        })
    }
}

/// Where in the journal a commit lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitPlace {
    /// Where its frame begins in its segment, which its sequence names.
    pub offset: u64,
    /// How the frame's own hash begins.
    pub hash: [u8; 8],
}

impl CommitPlace {
    /// The place of a frame with that hash.
    pub fn new(offset: u64, whole: &[u8; 32]) -> Self {
        let mut hash = [0; 8];
        let begin = hash.iter_mut().zip(whole);
        begin.for_each(|(to, from)| *to = *from);
        Self { offset, hash }
    }

    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(&(self.offset, self.hash))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (offset, hash) = decode(bytes)?;
        Ok(Self { offset, hash })
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![VERSION];
    compact::write(value, &mut bytes)?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => compact::read(body),
        Some((other, _)) => Err(DecodeError::UnknownVersion(*other)),
        None => Err(DecodeError::TooShort(0)),
    }
}
