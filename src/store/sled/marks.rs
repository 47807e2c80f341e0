//! The two small values that are sled's own: how far it has come, and how far
//! each organization has.

use crate::domain::organization::Version;
use crate::store::record::{DecodeError, seal_body, unseal_body};
use crate::store::{Head, Sequence};

const VERSION: u8 = 1;

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
    /// Whether all of that commit is there; a large one is applied in several steps.
    pub whole: bool,
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
        seal_body(VERSION, &body)
    }

    pub fn unseal(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body(bytes)?;
        let (version, rest) = body.split_first_chunk::<8>().ok_or_else(shape)?;
        let (sequence, rest) = rest.split_first_chunk::<8>().ok_or_else(shape)?;
        let whole = match rest {
            [0] => false,
            [1] => true,
            _ => return Err(shape()),
        };
        Ok(Self {
            version: Version(u64::from_be_bytes(*version)),
            sequence: Sequence(u64::from_be_bytes(*sequence)),
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
