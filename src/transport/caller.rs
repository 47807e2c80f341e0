//! Who calls: the operator, by the key that the first start wrote.
//!
//! Nothing but health is served to anyone else, and every refusal reads the same.

use std::sync::{Arc, OnceLock};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::followed::Speaker;
use super::status;
use crate::application::{Actor, Caller, Secret};
use crate::domain::identifiers::{UserId, identifier_fault};

/// The metadata that names the member on whose behalf a caller acts.
const ACTOR: &str = "roster-actor";
/// The metadata that holds the API token by which somebody acts.
const ACTOR_TOKEN: &str = "roster-actor-token";

/// Knows the keys that callers may present, as digests only.
#[derive(Clone)]
pub struct Authenticator {
    operator: Arc<[u8; 32]>,
}

impl Authenticator {
    /// Recognises the operator by this key.
    pub fn new(operator_key: &str) -> Self {
        Self {
            operator: Arc::new(Sha256::digest(operator_key.as_bytes()).into()),
        }
    }

    /// Whether these are the headers of an ordinary check: somebody who may call, for
    /// themself, without compression. What is not is looked at by the interceptor.
    pub fn admits(&self, headers: &HeaderMap, remembered: &Remembered) -> bool {
        let mut presented = None;
        for (name, value) in headers {
            match name.as_str() {
                "authorization" if presented.is_none() => presented = Some(value),
                "authorization" | ACTOR | ACTOR_TOKEN => return false,
                "grpc-encoding" if value != "identity" => return false,
                _ => {}
            }
        }
        let Some(presented) = presented else {
            return false;
        };
        if remembered.is(presented) {
            return true;
        }
        let recognised = self.recognise(headers).is_some();
        if recognised {
            remembered.remember(presented);
        }
        recognised
    }

    fn recognise(&self, headers: &HeaderMap) -> Option<&'static str> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let presented = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let (scheme, key) = presented.split_once(' ')?;
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let right =
            bool::from(digest.ct_eq(&*self.operator)) && scheme.eq_ignore_ascii_case("bearer");
        right.then_some("operator")
    }
}

/// What a caller was recognised by on a connection, so that the next request costs a
/// comparison and no digest. It is as good as the key: there is one, for as long as
/// the process runs, and whoever may present several is looked up each time but for
/// the first.
#[derive(Default)]
pub struct Remembered(OnceLock<HeaderValue>);

impl Remembered {
    fn is(&self, presented: &HeaderValue) -> bool {
        let known = self.0.get();
        known.is_some_and(|known| are_equal(known.as_bytes(), presented.as_bytes()))
    }

    fn remember(&self, presented: &HeaderValue) {
        // Whoever came first stays.
        let _ = self.0.set(presented.clone());
    }
}

/// Compares in a time that depends on the lengths only, eight bytes at a time.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (one, one_rest) = one.as_chunks::<8>();
    let (other, other_rest) = other.as_chunks::<8>();
    let words = one.iter().zip(other);
    let difference = words.fold(0, |difference, (one, other)| {
        difference | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))
    });
    let bytes = one_rest.iter().zip(other_rest);
    let difference = bytes.fold(difference, |difference, (one, other)| {
        difference | u64::from(one ^ other)
    });
    difference.ct_eq(&0).into()
}

/// On whose behalf the caller acts; `None` where the metadata is malformed. Whether
/// a token is genuine shows in the organization that it is used for.
fn actor(metadata: &MetadataMap) -> Option<Actor> {
    let mut users = metadata.get_all(ACTOR).iter();
    let mut tokens = metadata.get_all(ACTOR_TOKEN).iter();
    let actor = match (users.next(), tokens.next()) {
        (None, None) => Actor::Operator,
        (Some(user), None) => {
            let user = user.to_str().ok()?;
            if identifier_fault(user).is_some() {
                return None;
            }
            Actor::Member(UserId::new(user))
        }
        (None, Some(secret)) => Actor::Token(Secret::presented(secret.to_str().ok()?)),
        (Some(_), Some(_)) => return None,
    };
    (users.next().is_none() && tokens.next().is_none()).then_some(actor)
}

impl Interceptor for Authenticator {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let name = self
            .recognise(request.metadata().as_ref())
            .ok_or_else(status::unauthenticated)?;
        let actor = actor(request.metadata()).ok_or_else(status::malformed_actor)?;
        if let Some(speaker) = request.extensions().get::<Speaker>() {
            speaker.is(name);
        }
        let caller = Caller {
            name: name.to_owned(),
            actor,
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "roster_operator_0123456789abcdef";

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given
            .iter()
            .map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).expect("a header value"))
            })
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    #[test]
    fn only_the_key_alone_is_admitted_and_what_is_remembered_changes_nothing() {
        let authenticator = Authenticator::new(KEY);
        let right = format!("Bearer {KEY}");
        let (wrong, longer) = (right.replace("def", "deg"), format!("{right}0"));
        let (early, late) = (
            right.replace("_0123", "_1123"),
            right.replace("cdef", "cdff"),
        );
        let remembered = Remembered::default();
        for _ in 0..2 {
            for refused in [&wrong, &longer, &early, &late, KEY, "Bearer", "", "Basic x"] {
                let headers = headers(&[("authorization", refused)]);
                assert!(!authenticator.admits(&headers, &remembered), "{refused}");
            }
            for refused in [
                headers(&[]),
                headers(&[("authorization", &right), ("authorization", &right)]),
                headers(&[("authorization", &right), (ACTOR, "ann")]),
                headers(&[("authorization", &right), (ACTOR_TOKEN, "secret")]),
                headers(&[("authorization", &right), ("grpc-encoding", "gzip")]),
            ] {
                assert!(!authenticator.admits(&refused, &remembered), "{refused:?}");
            }
            for admitted in [
                headers(&[("authorization", &right)]),
                headers(&[("authorization", &right.replace("Bearer", "bearer"))]),
                headers(&[("te", "trailers"), ("authorization", &right)]),
                headers(&[("authorization", &right), ("grpc-encoding", "identity")]),
            ] {
                assert!(authenticator.admits(&admitted, &remembered), "{admitted:?}");
            }
        }
    }

    #[test]
    fn texts_are_equal_if_every_byte_is() {
        for length in 0..40 {
            let text = vec![7; length];
            assert!(are_equal(&text, &text));
            assert!(!are_equal(&text, &[&text[..], &[7]].concat()));
            for place in 0..length {
                let mut other = text.clone();
                other[place] = 6;
                assert!(!are_equal(&text, &other), "{place} of {length}");
            }
        }
    }
}
