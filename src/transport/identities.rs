//! Whom callers are known as without a key of Roster's own: by their certificate, by the
//! user they run as, or by the token of an issuer that is trusted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::issuers::{self, Issuer};
use crate::application::Permit;
use crate::domain::organization::Moment;
use crate::domain::period::earlier;

/// Who is at the other end of a connection, as far as the connection shows.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The user and the group that the process runs as; of a Unix socket.
    pub user_and_group: Option<(u32, u32)>,
    /// What the client's certificate says.
    pub certified: Option<Certified>,
}

/// What a client's certificate says, which was verified.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The names in it: SPIFFE ids and others that are URIs, and DNS names.
    pub names: Vec<String>,
    /// When it ends.
    pub until: Moment,
    /// Whether the authorities that it was verified with still are.
    pub trusted: Arc<AtomicBool>,
}

/// Callers who need no key of Roster's.
#[derive(Debug, Default)]
pub struct Identities {
    /// By a name in the client's certificate.
    pub certified: BTreeMap<String, Permit>,
    /// By the user of the process at the other end of a Unix socket.
    pub users: BTreeMap<u32, Permit>,
    /// The same by its group, for those who are not there by their user.
    pub groups: BTreeMap<u32, Permit>,
    /// By the token of one of these.
    pub issuers: Vec<Issuer>,
}

impl Identities {
    /// What whoever is at the other end may do. A certificate that names several callers
    /// names none.
    pub fn of_peer(&self, peer: &Peer, now: Moment) -> Option<Permit> {
        if let Some((user, group)) = peer.user_and_group {
            let permit = self.users.get(&user).or_else(|| self.groups.get(&group));
            return permit.cloned();
        }
        let certified = peer.certified.as_ref()?;
        if !certified.trusted.load(Ordering::Acquire) {
            return None;
        }
        let names = certified.names.iter();
        let mut permits = names.filter_map(|name| self.certified.get(name));
        let first = permits.next()?;
        if permits.any(|other| other != first) {
            return None;
        }
        let permit = Permit {
            until: earlier(first.until, Some(certified.until)),
            ..first.clone()
        };
        permit.counts(|| now).then_some(permit)
    }

    /// What whoever presents a token may do.
    pub fn of_token(&self, token: &str, now: Moment) -> Option<Permit> {
        issuers::recognise(&self.issuers, token, now)
    }
}
