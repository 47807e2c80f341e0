//! Links: tokens that prove what was sent to an address.
//!
//! A token is a payload that says what it is for, and a signature over it with a
//! key that never leaves the daemon. Everything in it follows from a record, so
//! nothing secret is stored: the same record gives the same token again, and a new
//! nonce in the record makes every older one worthless. Neither reads a record: a
//! token that is genuine may be dead, which is for the use case to say.
//!
//! Whatever is not genuinely ours and for this very purpose and organization is no
//! token at all: there is one answer for it, after the same work.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How a token begins, so that scanners for leaked secrets know it.
pub const TOKEN_PREFIX: &str = "roster_link_";
/// The longest text that is looked at, in bytes; no token of ours is longer.
const MAX_TOKEN_BYTES: usize = 2_048;
/// Keeps signatures of links apart from any other that the key might once make.
const DOMAIN: &[u8] = b"roster link 1\0";

/// What a link lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Accept or decline an invitation.
    Invitation,
    /// Accept or decline the ownership of an organization.
    Transfer,
}

/// What a link is about.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSubject {
    /// What it lets its holder do.
    pub purpose: Purpose,
    /// The organization.
    pub organization: String,
    /// The id of the invitation; for a transfer, the organization's.
    pub subject: String,
    /// The address it is sent to, folded.
    pub address: String,
    /// What tells one sending from any other.
    pub nonce: [u8; 16],
}

impl fmt::Debug for LinkSubject {
    /// Without address and nonce: the one is personal, the other half of a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LinkSubject")
            .field("purpose", &self.purpose)
            .field("organization", &self.organization)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Makes and verifies tokens with one key.
#[derive(Clone)]
pub struct Links {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Links {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Links")
    }
}

impl Links {
    /// Signs with this key, which nobody else may know.
    pub fn new(key: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte = *key;
        }
        // A key is filled up with zeros to a block anyway; given as one it always fits.
        Self {
            keyed: Hmac::new(&block.into()),
        }
    }

    /// The token of a subject: always the same.
    pub fn token(&self, subject: &LinkSubject) -> String {
        let payload = payload(subject);
        let signature = self.signed(&payload).finalize().into_bytes();
        format!(
            "{TOKEN_PREFIX}{}.{}",
            URL_SAFE_NO_PAD.encode(&payload),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    /// What a token is about, if it is genuinely ours, for that purpose and organization.
    pub fn verify(&self, purpose: Purpose, organization: &str, token: &str) -> Option<LinkSubject> {
        // Whatever can't be read is verified as the empty payload, which never holds,
        // so that being unreadable takes no other way than being forged.
        let (payload, signature) = parts(token).unwrap_or_default();
        let genuine = self.signed(&payload).verify_slice(&signature).is_ok();
        read(&payload).filter(|subject| {
            genuine && subject.purpose == purpose && subject.organization == organization
        })
    }

    fn signed(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut signing = self.keyed.clone();
        signing.update(DOMAIN);
        signing.update(payload);
        signing
    }
}

fn parts(token: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (payload, signature) = token.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    Some((decoded(payload)?, decoded(signature)?))
}

fn payload(subject: &LinkSubject) -> Vec<u8> {
    let mut bytes = vec![match subject.purpose {
        Purpose::Invitation => b'i',
        Purpose::Transfer => b't',
    }];
    for part in [&subject.organization, &subject.subject, &subject.address] {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes.extend(subject.nonce);
    bytes
}

fn read(payload: &[u8]) -> Option<LinkSubject> {
    let (purpose, mut rest) = payload.split_first()?;
    let purpose = match purpose {
        b'i' => Purpose::Invitation,
        b't' => Purpose::Transfer,
        _ => return None,
    };
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (part, after) = after.split_at_checked(length)?;
        rest = after;
        String::from_utf8(part.to_vec()).ok()
    };
    let (organization, subject, address) = (text()?, text()?, text()?);
    Some(LinkSubject {
        purpose,
        organization,
        subject,
        address,
        nonce: rest.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> LinkSubject {
        LinkSubject {
            purpose: Purpose::Invitation,
            organization: "acme".to_owned(),
            subject: "inv-1".to_owned(),
            address: "ann@x.example".to_owned(),
            nonce: [7; 16],
        }
    }

    #[test]
    fn a_token_reads_back_for_its_purpose_and_organization_only() {
        let links = Links::new(&[1; 32]);
        let token = links.token(&subject());
        let read = |purpose, organization| links.verify(purpose, organization, &token);
        assert_eq!(read(Purpose::Invitation, "acme"), Some(subject()));
        assert_eq!(read(Purpose::Transfer, "acme"), None);
        assert_eq!(read(Purpose::Invitation, "acme2"), None);
        assert_eq!(links.token(&subject()), token);
        let other = Links::new(&[2; 32]);
        assert_eq!(other.verify(Purpose::Invitation, "acme", &token), None);
    }

    #[test]
    fn a_token_with_any_character_changed_added_or_cut_is_none() {
        let links = Links::new(&[1; 32]);
        let token = links.token(&subject());
        let is_one = |text: &str| links.verify(Purpose::Invitation, "acme", text).is_some();
        for position in 0..token.len() {
            for other in "Aa0-_.=".chars() {
                let mut edited: Vec<char> = token.chars().collect();
                let before = std::mem::replace(&mut edited[position], other);
                let edited: String = edited.into_iter().collect();
                assert!(before == other || !is_one(&edited), "{edited}");
            }
            assert!(!is_one(&token[..position]));
        }
        let (payload, _) = token.split_once('.').expect("two parts");
        let oversized = format!("{token}{}", "A".repeat(MAX_TOKEN_BYTES));
        for forged in [
            format!("{token}A"),
            format!("{token}="),
            format!("{payload}."),
            payload.to_owned(),
            format!("{TOKEN_PREFIX}."),
            oversized,
        ] {
            assert!(!is_one(&forged), "{forged}");
        }
    }

    #[test]
    fn the_signature_is_hmac_sha256_with_the_key_as_it_is() {
        // RFC 4231 has no key of 32 bytes; a key given whole and one given as a block
        // filled up with zeros have to agree.
        let key = [9; 32];
        let slice: Hmac<Sha256> = KeyInit::new_from_slice(&key).expect("any length");
        let block = Links::new(&key).keyed;
        let digest = |mac: Hmac<Sha256>| mac.chain_update(b"x").finalize().into_bytes();
        assert_eq!(digest(slice), digest(block));
    }

    #[test]
    fn what_is_secret_or_personal_does_not_show() {
        let shown = format!("{:?} {:?}", Links::new(&[1; 32]), subject());
        assert!(!shown.contains("ann@") && !shown.contains('7'), "{shown}");
    }
}
