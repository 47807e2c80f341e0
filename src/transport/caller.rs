//! Who calls: whoever holds a key, or is known by the connection itself.
//!
//! Nothing but health is served to anyone else, and every refusal reads the same. What
//! was recognised on a connection is remembered there, so that an ordinary request costs
//! a comparison; it is looked up again when anything changed that callers are known by.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tonic::Status;

use super::access::{self, Access};
use super::identities::{Identities, Peer};
use super::status;
use crate::application::{Actor, Application, Caller, Permit, Scope, Secret};
use crate::domain::identifiers::{UserId, identifier_fault};
use crate::domain::organization::Moment;

/// The metadata that names the member on whose behalf a caller acts.
const ACTOR: &str = "roster-actor";
/// The metadata that holds the API token by which somebody acts.
const ACTOR_TOKEN: &str = "roster-actor-token";
/// How long a stream waits at least before its caller's time is looked at again.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// What callers are recognised by, besides the keys that the application has.
#[derive(Clone)]
pub struct Authenticator {
    operator: [u8; 32],
    identities: Arc<ArcSwap<Identities>>,
}

impl Authenticator {
    /// Recognises the operator by this key.
    pub fn new(operator_key: &str) -> Self {
        Self {
            operator: Sha256::digest(operator_key.as_bytes()).into(),
            identities: Arc::default(),
        }
    }

    /// Recognises these as well. Whoever changes them moves the generation of
    /// [`CallerKeys`](crate::application::caller_keys::CallerKeys) on.
    #[must_use]
    pub fn with_identities(self, identities: Arc<ArcSwap<Identities>>) -> Self {
        Self { identities, ..self }
    }
}

/// Somebody who was recognised.
#[derive(Clone, Debug)]
pub struct Known(Arc<Recognised>);

#[derive(Debug)]
struct Recognised {
    /// By which header; `None` for the connection itself.
    presented: Option<HeaderValue>,
    /// In which generation.
    generation: u64,
    permit: Permit,
}

impl Known {
    /// What they may do.
    pub fn permit(&self) -> &Permit {
        &self.0.permit
    }
}

/// Who was recognised last on a connection.
#[derive(Default)]
pub struct Remembered(ArcSwapOption<Recognised>);

/// Recognises callers.
pub struct Gate {
    authenticator: Authenticator,
    application: Arc<Application>,
}

impl Gate {
    /// Recognises those that the authenticator knows, and the application's keys.
    pub fn new(authenticator: Authenticator, application: Arc<Application>) -> Self {
        Self {
            authenticator,
            application,
        }
    }

    /// Who sent these headers, if they are those of an ordinary check: of somebody who may
    /// check, for themself, without compression.
    pub fn admits(&self, headers: &HeaderMap, line: &Line) -> Option<Known> {
        let mut presented = None;
        for (name, value) in headers {
            match name.as_str() {
                "authorization" if presented.is_none() => presented = Some(value),
                "authorization" | ACTOR | ACTOR_TOKEN => return None,
                "grpc-encoding" if value != "identity" => return None,
                _ => {}
            }
        }
        let known = self.know(presented, line)?;
        known.permit().scopes.has(Scope::Check).then_some(known)
    }

    /// Whether somebody who was recognised is so still.
    #[inline]
    pub fn still_knows(&self, known: &Known) -> bool {
        self.is_current(known.0.generation, &known.0.permit)
    }

    /// Lets a request in, with what the services need to know of its caller; `None` for
    /// what is served to anybody.
    pub fn let_in<B>(
        &self,
        request: &mut Request<B>,
        line: &Line,
    ) -> Result<Option<(Known, Access)>, Status> {
        let access = access::of(request.uri().path());
        if access.is_some_and(|access| access.takes == access::Takes::Nothing) {
            return Ok(None);
        }
        let headers = request.headers();
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let presented = values.next();
        if values.next().is_some() {
            return Err(status::unauthenticated());
        }
        let known = self.know(presented, line);
        let known = known.ok_or_else(status::unauthenticated)?;
        let access = access.ok_or_else(status::no_such_method)?;
        let actor = actor(headers).ok_or_else(status::malformed_actor)?;
        if let Err(refusal) = access.check(known.permit(), &actor) {
            let (caller, path) = (&known.permit().name, request.uri().path());
            tracing::info!(caller, path, %refusal, "a caller was refused");
            return Err(status::of(refusal.into()));
        }
        let caller = Caller {
            name: known.permit().name.clone(),
            actor,
        };
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(known.clone());
        Ok(Some((known, access)))
    }

    /// Whoever presents this, or, without anything presented, is on the connection.
    fn know(&self, presented: Option<&HeaderValue>, line: &Line) -> Option<Known> {
        let before = line.remembered.0.load();
        if let Some(before) = &*before
            && is_same(before.presented.as_ref(), presented)
            && self.is_current(before.generation, &before.permit)
        {
            return Some(Known(Arc::clone(before)));
        }
        // Taken before anything is looked up, so that a change meanwhile is noticed.
        let generation = self.generation();
        let permit = self.recognise(presented, line)?;
        let recognised = Arc::new(Recognised {
            presented: presented.cloned(),
            generation,
            permit,
        });
        line.remembered.0.store(Some(Arc::clone(&recognised)));
        Some(Known(recognised))
    }

    fn recognise(&self, presented: Option<&HeaderValue>, line: &Line) -> Option<Permit> {
        let identities = self.authenticator.identities.load();
        let Some(presented) = presented else {
            return identities.of_peer(&line.peer, self.now());
        };
        let (scheme, key) = presented.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if bool::from(digest.ct_eq(&self.authenticator.operator)) {
            return Some(Permit::of_the_operator());
        }
        let now = self.now();
        let keys = self.application.caller_keys();
        keys.recognise(key, now)
            .or_else(|| identities.of_token(key, now))
    }

    fn is_current(&self, generation: u64, permit: &Permit) -> bool {
        generation == self.generation() && permit.counts(|| self.now())
    }

    fn generation(&self) -> u64 {
        self.application.caller_keys().generation().number()
    }

    fn now(&self) -> Moment {
        self.application.world().now()
    }
}

/// One connection: who is at its other end, and who was recognised on it.
pub struct Line {
    peer: Peer,
    remembered: Remembered,
}

impl Line {
    /// A connection from there, on which nobody was recognised.
    pub fn from(peer: Peer) -> Self {
        Self {
            peer,
            remembered: Remembered::default(),
        }
    }
}

/// The right to go on with a stream, which ends with what its caller was recognised by.
pub struct Hold {
    gate: Arc<Gate>,
    line: Arc<Line>,
    known: Known,
    /// The generation in which it was looked up last.
    generation: u64,
    /// Completes when it has to be looked up again.
    news: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Hold {
    /// Of somebody who was let in.
    pub fn of(gate: Arc<Gate>, line: Arc<Line>, known: Known) -> Self {
        let news = gate.news(&known);
        Self {
            generation: known.0.generation,
            gate,
            line,
            known,
            news,
        }
    }

    /// Whether it is lost; if it is not, the task is woken when that may have changed.
    pub fn is_lost(&mut self, context: &mut Context<'_>) -> bool {
        loop {
            let permit = self.known.permit();
            if !self.gate.is_current(self.generation, permit) {
                let generation = self.gate.generation();
                let presented = self.known.0.presented.as_ref();
                // Whoever may do something else by now begins anew.
                if self.gate.recognise(presented, &self.line).as_ref() != Some(permit) {
                    return true;
                }
                self.generation = generation;
            }
            match self.news.as_mut().poll(context) {
                Poll::Ready(()) => self.news = self.gate.news(&self.known),
                Poll::Pending => return false,
            }
        }
    }
}

impl Gate {
    fn news(&self, known: &Known) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let changes = self.application.caller_keys().generation().follow();
        let left = known.permit().until.map(|until| {
            let left = until.0.saturating_sub(self.now().0);
            Duration::from_millis(u64::try_from(left).unwrap_or_default()).max(SHORTEST_WAIT)
        });
        Box::pin(changed_or_over(changes, left))
    }
}

async fn changed_or_over(mut changes: watch::Receiver<u64>, left: Option<Duration>) {
    let over = async {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // An error means that the daemon ends, which ends streams by itself.
        Ok(()) = changes.changed() => {}
        () = over => {}
    }
}

fn is_same(known: Option<&HeaderValue>, presented: Option<&HeaderValue>) -> bool {
    match (known, presented) {
        (Some(known), Some(presented)) => are_equal(known.as_bytes(), presented.as_bytes()),
        (None, None) => true,
        _ => false,
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
fn actor(metadata: &HeaderMap) -> Option<Actor> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
