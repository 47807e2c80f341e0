//! Links, secrets of API tokens, page tokens and revisions, as anybody may send them.

use super::links::{LinkSubject, Links, Purpose};
use super::listing::PageRequest;
use super::revision;
use super::tokens::Secret;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::TokenKind;
use crate::world::StillWorld;

/// The organization whose links and tokens are tried.
const ORGANIZATION: &str = "acme";

/// A link is genuine only if its text is the very one that was made.
pub fn links(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let links = Links::new(&[7; 32]);
    for purpose in [Purpose::Invitation, Purpose::Transfer] {
        for organization in [ORGANIZATION, ""] {
            if let Some(subject) = links.verify(purpose, organization, &text) {
                assert_eq!(links.token(&subject), text, "two texts of one link");
                assert_eq!(subject.purpose, purpose);
                assert_eq!(subject.organization, organization);
            }
        }
    }
    // Whatever a link is about comes back from it, and from no other key's.
    let (nonce, address) = bytes.split_at(bytes.len().min(16));
    let mut subject = LinkSubject {
        purpose: Purpose::Invitation,
        organization: ORGANIZATION.to_owned(),
        subject: "invitation".to_owned(),
        address: String::from_utf8_lossy(address).chars().take(200).collect(),
        nonce: [0; 16],
    };
    for (to, from) in subject.nonce.iter_mut().zip(nonce) {
        *to = *from;
    }
    let token = links.token(&subject);
    let read = links.verify(Purpose::Invitation, ORGANIZATION, &token);
    assert_eq!(read, Some(subject));
    let other = Links::new(&[8; 32]);
    assert_eq!(
        other.verify(Purpose::Invitation, ORGANIZATION, &token),
        None
    );
}

/// A secret is located as it was drawn, and what nobody drew is nobody's.
pub fn secrets(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some((organization, token)) = Secret::presented(&text).locator() {
        // It has the form; what it names must survive being looked up.
        drop(OrganizationId::new(organization.as_str()));
        assert!(text.is_ascii() && token.len() <= text.len());
    }
    let half = text.chars().count() / 2;
    let organization: String = text.chars().take(half).collect();
    let token: String = text.chars().skip(half).collect();
    if organization.len() <= usize::from(u8::MAX) && token.len() <= 128 {
        let world = StillWorld::default();
        let drawn = Secret::draw(&world, TokenKind::Member, &organization, &token);
        let named = Some((organization.clone(), token.clone()));
        // One that is too long to be read back would be no secret at all.
        if let Some(located) = drawn.locator() {
            assert_eq!(Some(located), named);
        } else {
            assert!(organization.len() + token.len() > 200, "{organization:?}");
        }
    }
}

/// A page token is one of the very list, and a revision one that was given out.
pub fn pages(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (size, rest) = match bytes.split_first() {
        Some((size, rest)) => (u32::from(*size), String::from_utf8_lossy(rest)),
        None => (0, text.clone()),
    };
    let filters = ["list", &*rest];
    if let Ok(page) = PageRequest::parse(size, &text, &["list"]) {
        assert!(page.size > 0);
        if !text.is_empty() {
            // Base64 has one text for bytes, so a token can't be written differently.
            assert_eq!(page.token(&page.after), text);
        }
    }
    if let Ok(first) = PageRequest::parse(size, "", &filters) {
        let token = first.token(&rest);
        let next = PageRequest::parse(size, &token, &filters);
        // A key too long for a token is none that any record has.
        if rest.len() <= 512 {
            assert!(next.is_ok_and(|next| next.after == rest), "{token}");
        }
        // As long as the right one, so that only its letters tell.
        assert!(PageRequest::parse(size, &token, &["lisp", &*rest]).is_err());
    }
    if let Ok(Some(sequence)) = revision::parse(&text) {
        let written = revision::token(sequence.0);
        assert_eq!(revision::parse(&written).ok(), Some(Some(sequence)));
    }
}
