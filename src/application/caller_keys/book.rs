//! Every key there is, made of the events of their history.

use std::collections::BTreeMap;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::facts;
use crate::application::tokens::{checksum, random_text};
use crate::application::{Bounds, Permit, Scopes, Secret};
use crate::domain::Refusal;
use crate::domain::organization::Moment;
use crate::domain::period::earlier;
use crate::store::{EventEntry, EventSource};
use crate::world::World;

/// What a secret begins with: what scanners look for.
const PREFIX: &str = "roster_caller_";
/// How the id of a key begins.
pub(super) const KIND: &str = "key";

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey {
    /// Its id.
    pub id: String,
    /// The caller's name.
    pub name: String,
    /// What the caller may call.
    pub scopes: Scopes,
    /// What it is bound to.
    pub bounds: Option<Bounds>,
    /// When it was created.
    pub created_at: Moment,
    /// By which caller.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Option<Moment>,
    /// When it was revoked, and by which caller.
    pub revoked: Option<(Moment, String)>,
    /// Its secrets, the newest last; at most two.
    pub secrets: Vec<KeySecret>,
    /// The position of its last change; 0 for what was only validated.
    pub changed: u64,
}

/// What is kept of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// SHA-256 of it.
    pub(super) digest: [u8; 32],
    /// When it was made.
    pub created_at: Moment,
    /// When it ends because another followed it.
    pub ends_at: Option<Moment>,
}

impl CallerKey {
    /// Changes with each change of the key.
    pub fn etag(&self) -> String {
        match self.changed {
            0 => String::new(),
            changed => format!("{changed:x}"),
        }
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Moment) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Refuses an edit of it as it was before.
    pub(super) fn must_be(&self, given_etag: &str) -> Result<(), Refusal> {
        if given_etag.is_empty() || given_etag == self.etag() {
            return Ok(());
        }
        Err(Refusal::StaleEtag {
            kind: "caller key",
            id: self.id.clone(),
            given: given_etag.chars().take(64).collect(),
        })
    }

    fn permit(&self, digest: &[u8; 32], now: Moment) -> Option<Permit> {
        // Every one is compared, so that nothing shows which came close.
        let mut found = None;
        for secret in &self.secrets {
            if bool::from(secret.digest.ct_eq(digest)) {
                found = Some(secret);
            }
        }
        let until = earlier(self.expires_at, found?.ends_at);
        let permit = Permit {
            name: self.name.clone(),
            scopes: self.scopes,
            bounds: self.bounds.clone(),
            until,
        };
        (self.revoked.is_none() && permit.counts(|| now)).then_some(permit)
    }
}

/// Every key there is, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBook(pub(super) BTreeMap<String, Arc<CallerKey>>);

impl KeyBook {
    /// The key of that id.
    pub(super) fn find(&self, id: &str) -> Result<&Arc<CallerKey>, Refusal> {
        self.0.get(id).ok_or_else(|| Refusal::NotFound {
            kind: "caller key",
            id: id
                .chars()
                .take(128)
                .flat_map(char::escape_default)
                .collect(),
        })
    }

    /// What whoever presents that text may do.
    pub fn recognise(&self, presented: &str, now: Moment) -> Option<Permit> {
        let id = id_in(presented)?;
        let digest = Secret::presented(presented).digest();
        self.0.get(&id)?.permit(&digest, now)
    }

    /// Follows what the history says of a key; what was refused says nothing.
    pub(super) fn follow(&mut self, entry: &EventEntry) {
        let event = &entry.event;
        if !event.refusal.is_empty() || event.source != EventSource::Roster {
            return;
        }
        let id = event.target_id.clone();
        if event.action == "CreateCallerKey" {
            let key = facts::key(entry);
            self.0.insert(id, Arc::new(key));
            return;
        }
        let Some(key) = self.0.get_mut(&id).map(Arc::make_mut) else {
            return;
        };
        key.changed = entry.sequence.0;
        match event.action.as_str() {
            "RotateCallerKey" => {
                let end = facts::overlap(event).map(|overlap| Moment(entry.at.0 + overlap));
                let before = key.secrets.pop().map(|before| KeySecret {
                    ends_at: earlier(before.ends_at, end),
                    ..before
                });
                let next = facts::secret(entry);
                key.secrets = before.into_iter().chain(next).collect();
            }
            "RevokeCallerKey" => key.revoked = Some((entry.at, event.caller.clone())),
            _ => {}
        }
    }
}

/// The id of the key that a text says to be a secret of.
fn id_in(presented: &str) -> Option<String> {
    let rest = presented.strip_prefix(PREFIX)?;
    let (body, sum) = presented.split_at_checked(presented.len().checked_sub(4)?)?;
    if presented.len() > 256 || checksum(body) != sum {
        return None;
    }
    let (id, _) = rest.split_once('_')?;
    Some(format!("{KIND}-{id}"))
}

/// A new secret for a key.
pub(super) fn draw_secret(world: &dyn World, id: &str) -> Secret {
    let id = id.strip_prefix("key-").unwrap_or(id);
    let body = format!("{PREFIX}{id}_{}", random_text(world));
    Secret::presented(&format!("{body}{}", checksum(&body)))
}
