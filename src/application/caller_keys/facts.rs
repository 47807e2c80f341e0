//! How the facts of a key are written into events and read from them.

use super::NewKey;
use super::book::{CallerKey, KeySecret};
use crate::application::{Bounds, Scope, Scopes, Secret};
use crate::domain::organization::Moment;
use crate::store::{EventEntry, HistoryEvent};

const NAME: &str = "name";
const SCOPE: &str = "scope";
const ORGANIZATION: &str = "organization";
const EXPIRES: &str = "expires_at_milliseconds";
const DIGEST: &str = "secret_sha256";
const OVERLAP: &str = "overlap_milliseconds";

pub(super) fn of_a_new(new: &NewKey, secret: &Secret) -> Vec<(String, String)> {
    let mut facts = vec![(NAME.to_owned(), new.name.clone())];
    let scopes = new.scopes.iter().map(Scope::name);
    facts.extend(scopes.map(|scope| (SCOPE.to_owned(), scope.to_owned())));
    let organizations = new.organizations.iter();
    facts.extend(organizations.map(|id| (ORGANIZATION.to_owned(), id.clone())));
    let end = new.expires_at.map(|end| end.0.to_string());
    facts.extend(end.map(|end| (EXPIRES.to_owned(), end)));
    facts.push((DIGEST.to_owned(), hex(&secret.digest())));
    facts
}

pub(super) fn of_a_rotation(overlap: i64, secret: &Secret) -> Vec<(String, String)> {
    vec![
        (OVERLAP.to_owned(), overlap.to_string()),
        (DIGEST.to_owned(), hex(&secret.digest())),
    ]
}

pub(super) fn key(entry: &EventEntry) -> CallerKey {
    let event = &entry.event;
    let first = |name| all(event, name).next();
    CallerKey {
        id: event.target_id.clone(),
        name: first(NAME).unwrap_or_default().to_owned(),
        scopes: all(event, SCOPE)
            .filter_map(Scope::named)
            .collect::<Scopes>(),
        bounds: Bounds::to(all(event, ORGANIZATION).map(str::to_owned)),
        created_at: entry.at,
        created_by: event.caller.clone(),
        expires_at: first(EXPIRES).and_then(|end| end.parse().ok()).map(Moment),
        revoked: None,
        secrets: secret(entry).into_iter().collect(),
        changed: entry.sequence.0,
    }
}

pub(super) fn secret(entry: &EventEntry) -> Option<KeySecret> {
    Some(KeySecret {
        digest: digest(all(&entry.event, DIGEST).next()?)?,
        created_at: entry.at,
        ends_at: None,
    })
}

pub(super) fn overlap(event: &HistoryEvent) -> Option<i64> {
    all(event, OVERLAP).next()?.parse().ok()
}

fn all<'a>(event: &'a HistoryEvent, name: &'a str) -> impl Iterator<Item = &'a str> {
    let facts = event.details.iter();
    facts
        .filter(move |(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
