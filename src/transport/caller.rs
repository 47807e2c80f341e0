//! Who calls: the operator, by the key that the first start wrote.
//!
//! Nothing but health is served to anyone else, and every refusal reads the same.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

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

    fn recognise(&self, metadata: &MetadataMap) -> Option<&'static str> {
        let mut values = metadata.get_all("authorization").iter();
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
            .recognise(request.metadata())
            .ok_or_else(status::unauthenticated)?;
        let actor = actor(request.metadata()).ok_or_else(status::malformed_actor)?;
        let caller = Caller {
            name: name.to_owned(),
            actor,
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}
