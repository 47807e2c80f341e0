//! Pages of a list: stable, complete, and never silently cut.
//!
//! A page token holds the key of the last item and a digest of the request's
//! other fields. It holds nothing secret; it is checked so that a token of
//! another list is an error and not a surprise.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Error;
use crate::domain::refusal::{Fault, Violation};

/// Items on a page when the request does not say.
const DEFAULT_PAGE_SIZE: usize = 50;
/// The most items on a page.
pub const MAX_PAGE_SIZE: usize = 1_000;
const DIGEST_BYTES: usize = 8;
const MAX_TOKEN_BYTES: usize = 1_024;

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items.
    pub size: usize,
    /// The key after which it begins; empty for the first page.
    pub after: String,
    digest: [u8; DIGEST_BYTES],
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The token of the next page; empty on the last.
    pub next_page_token: String,
}

impl PageRequest {
    /// Reads the paging fields of a request; `filters` are its other fields,
    /// which have to stay the same from page to page.
    pub fn parse(size: u32, token: &str, filters: &[&str]) -> Result<Self, Error> {
        let mut violations = Vec::new();
        let size = match usize::try_from(size) {
            Ok(0) => DEFAULT_PAGE_SIZE,
            Ok(size) if size <= MAX_PAGE_SIZE => size,
            _ => {
                violations.push(Violation::new(
                    "page_size",
                    Fault::TooMany,
                    format!("must be at most {MAX_PAGE_SIZE}, not {size}"),
                ));
                DEFAULT_PAGE_SIZE
            }
        };
        let digest = digest_of(filters);
        let after = if token.is_empty() {
            Some(String::new())
        } else {
            read_token(token, digest)
        };
        if after.is_none() {
            violations.push(Violation::new(
                "page_token",
                Fault::MalformedPageToken,
                "does not belong to this request; repeat the fields of the first page",
            ));
        }
        match after {
            Some(after) if violations.is_empty() => Ok(Self {
                size,
                after,
                digest,
            }),
            _ => Err(Error::invalid(violations)),
        }
    }

    /// Takes a page from items that come after [`after`](Self::after), ascending
    /// by the key that `key` tells.
    pub fn take<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Page<T> {
        let mut items: Vec<T> = items.into_iter().take(self.size + 1).collect();
        let more = items.len() > self.size;
        items.truncate(self.size);
        let next_page_token = match items.last() {
            Some(last) if more => self.token(&key(last)),
            _ => String::new(),
        };
        Page {
            items,
            next_page_token,
        }
    }

    /// The token of the page that begins after the item of that key.
    pub(super) fn token(&self, key: &str) -> String {
        let mut bytes = self.digest.to_vec();
        bytes.extend_from_slice(key.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

fn read_token(token: &str, digest: [u8; DIGEST_BYTES]) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (found, key) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
    (*found == digest)
        .then(|| String::from_utf8(key.to_vec()).ok())
        .flatten()
}

fn digest_of(filters: &[&str]) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha256::new();
    for filter in filters {
        digest.update((filter.len() as u64).to_be_bytes());
        digest.update(filter.as_bytes());
    }
    let mut short = [0; DIGEST_BYTES];
    for (short, byte) in short.iter_mut().zip(digest.finalize()) {
        *short = byte;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_a_list_once_and_in_order() {
        let all: Vec<String> = (0..10).map(|number| format!("item-{number}")).collect();
        let mut token = String::new();
        let mut seen = Vec::new();
        loop {
            let request = PageRequest::parse(3, &token, &["list"]).expect("a valid request");
            let rest = all.iter().filter(|item| **item > request.after).cloned();
            let page = request.take(rest, Clone::clone);
            seen.extend(page.items);
            if page.next_page_token.is_empty() {
                break;
            }
            token = page.next_page_token;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_token_of_another_list_or_a_page_too_large_is_refused() {
        let request = PageRequest::parse(1, "", &["a"]).expect("a valid request");
        let token = request
            .take(["x".to_owned(), "y".to_owned()], Clone::clone)
            .next_page_token;
        assert!(PageRequest::parse(1, &token, &["a"]).is_ok());
        assert!(PageRequest::parse(1, &token, &["b"]).is_err());
        assert!(PageRequest::parse(1, "not base64!", &["a"]).is_err());
        assert!(PageRequest::parse(1_001, "", &["a"]).is_err());
    }
}
