//! API tokens as they are presented: the text of a secret, whom it stands for,
//! and what they may.
//!
//! The text tells the organization and the token, so that no index over all
//! organizations is needed; that it is genuine is shown by a digest, compared in
//! constant time. Whether a genuine token counts is authentication and settled
//! here; what it may be used for is a question to Cedar.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use papaya::HashMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::actor::{self, Acting, Actor, Caller, Need};
use super::check::{Check, Checked, judge};
use super::{Application, Error, Request};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::identifiers::{OrganizationId, TokenId, UserId};
use crate::domain::organization::{Moment, Organization, Token, TokenKind, TokenSecret};
use crate::domain::period::earlier;
use crate::domain::token_standing::{DeadToken, TokenStanding};
use crate::engine::{Explanation, RawQuestion, Reason, ReasonCode, Snapshot, Verdict};
use crate::world::World;

/// The longest text that can be a secret, in bytes.
const MAX_SECRET_BYTES: usize = 512;
/// Random bytes of a secret.
const RANDOM_BYTES: usize = 32;
/// The same as text.
const RANDOM_CHARACTERS: usize = 43;
/// Characters of the checksum at the end.
const CHECKSUM_CHARACTERS: usize = 4;
/// How exactly the last use of a token is known, in milliseconds.
const USE_STEP: i64 = 60 * 1_000;
/// How long, in milliseconds, uses gather before they are written down.
const USE_FLUSH: i64 = 15 * 60 * 1_000;
/// The most uses of one commit.
const USES_OF_A_COMMIT: usize = 200;

/// The text of a token, as whoever holds it sends it. Never logged, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// A genuine token, with the secret that showed it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The token.
    pub token: &'a Arc<Token>,
    /// Which of its secrets.
    pub secret: &'a TokenSecret,
}

impl Presented<'_> {
    /// Whether the token counts.
    pub fn standing(&self, organization: &Organization, now: Moment) -> TokenStanding {
        organization.token_standing(self.token, self.secret, now)
    }
}

impl Secret {
    /// What somebody presented, whatever it is.
    pub fn presented(text: &str) -> Self {
        Self(text.into())
    }

    /// A new secret for a token.
    pub fn draw(world: &dyn World, kind: TokenKind, organization: &str, token: &str) -> Self {
        let mut locator = vec![u8::try_from(organization.len()).unwrap_or(u8::MAX)];
        locator.extend_from_slice(organization.as_bytes());
        locator.extend_from_slice(token.as_bytes());
        let body = format!(
            "{}{}_{}",
            prefix(kind),
            URL_SAFE_NO_PAD.encode(locator),
            random_text(world)
        );
        let text = format!("{body}{}", checksum(&body));
        Self(text.into())
    }

    /// The text, for whoever is to hold it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the whole text.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The token of that organization which this is a secret of.
    pub fn find_in<'a>(&self, organization: &'a Organization) -> Result<Presented<'a>, Refusal> {
        let (of, token) = self.locator().ok_or(Refusal::BadToken)?;
        if of != organization.id().as_str() {
            return Err(Refusal::BadToken);
        }
        let token = organization
            .tokens
            .get(token.as_str())
            .ok_or(Refusal::BadToken)?;
        let digest = self.digest();
        // Every one is compared, so that nothing shows which came close.
        let mut found = None;
        for secret in &token.secrets {
            if bool::from(secret.digest.ct_eq(&digest)) {
                found = Some(secret);
            }
        }
        let secret = found.ok_or(Refusal::BadToken)?;
        Ok(Presented { token, secret })
    }

    /// The organization that it says to be of.
    pub fn organization(&self) -> Option<String> {
        self.locator().map(|(organization, _)| organization)
    }

    /// The ids of the organization and the token that it says to be of.
    pub(super) fn locator(&self) -> Option<(String, String)> {
        let text: &str = &self.0;
        if text.len() > MAX_SECRET_BYTES || !text.is_ascii() {
            return None;
        }
        let (body, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARACTERS)?)?;
        if checksum(body) != sum {
            return None;
        }
        let rest = [
            TokenKind::Member,
            TokenKind::ServiceAccount,
            TokenKind::Organization,
        ]
        .into_iter()
        .find_map(|kind| body.strip_prefix(prefix(kind)))?;
        // The random part may hold the separator itself; its length is what tells.
        let locator = rest.get(..rest.len().checked_sub(RANDOM_CHARACTERS + 1)?)?;
        let bytes = URL_SAFE_NO_PAD.decode(locator).ok()?;
        let (length, ids) = bytes.split_first()?;
        let (organization, token) = ids.split_at_checked(usize::from(*length))?;
        Some((
            String::from_utf8(organization.to_vec()).ok()?,
            String::from_utf8(token.to_vec()).ok()?,
        ))
    }
}

/// What a secret begins with: what scanners look for.
fn prefix(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Member => "roster_member_",
        TokenKind::ServiceAccount => "roster_service_",
        TokenKind::Organization => "roster_organization_",
    }
}

/// What nobody can guess, as 43 characters.
pub(super) fn random_text(world: &dyn World) -> String {
    let mut bytes = [0; RANDOM_BYTES];
    let drawn = [world.random(), world.random()].concat();
    for (byte, drawn) in bytes.iter_mut().zip(drawn) {
        *byte = drawn;
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Tells a secret from a text that merely begins like one; it protects nothing.
pub(super) fn checksum(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    let mut text = URL_SAFE_NO_PAD.encode(digest);
    text.truncate(CHECKSUM_CHARACTERS);
    text
}

/// A question of somebody who presents a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenCheck<'a> {
    /// The organization it must be of; empty for any.
    pub organization: &'a str,
    /// What was presented.
    pub secret: &'a Secret,
    /// What is asked; the principal is the token's subject.
    pub question: RawQuestion<'a>,
    /// Whether the answer should say why.
    pub include_reasons: bool,
}

impl TokenCheck<'_> {
    /// The organization that the token says to be of.
    fn claimed(&self) -> Result<String, Refusal> {
        let (of, _) = self.secret.locator().ok_or(Refusal::BadToken)?;
        if !self.organization.is_empty() && self.organization != of {
            return Err(Refusal::BadToken);
        }
        Ok(of)
    }
}

/// The answer to it.
#[derive(Clone, Debug)]
pub struct TokenChecked {
    /// What was decided.
    pub checked: Checked,
    /// The organization of the token.
    pub organization: OrganizationId,
    /// Whom it stands for.
    pub principal: UserId,
    /// The token.
    pub token: TokenId,
}

impl Application {
    /// Decides at once for whomever a token stands for, without waiting for anything;
    /// nothing if the organization is not in memory.
    pub fn check_with_token(&self, check: &TokenCheck<'_>) -> Option<Result<TokenChecked, Error>> {
        let of = match check.claimed() {
            Ok(of) => of,
            Err(refusal) => return Some(Err(refusal.into())),
        };
        let snapshot = self.resident(&of)?;
        Some(self.judge_token(&snapshot, check))
    }

    /// Decides for whomever a token stands for, once the organization is in memory.
    pub async fn check_with_token_on_demand(
        &self,
        check: &TokenCheck<'_>,
    ) -> Result<TokenChecked, Error> {
        let of = check.claimed()?;
        match self.find(&of).await {
            Ok(snapshot) => self.judge_token(&snapshot, check),
            Err(error) if error.is_unknown_organization() => Err(Refusal::BadToken.into()),
            Err(other) => Err(other),
        }
    }

    fn judge_token(
        &self,
        snapshot: &Snapshot,
        check: &TokenCheck<'_>,
    ) -> Result<TokenChecked, Error> {
        let organization = snapshot.organization();
        let presented = check.secret.find_in(organization)?;
        let token = presented.token;
        let now = check.question.at;
        let standing = presented.standing(organization, now);
        let checked = match standing.dead {
            Some(dead) => {
                // What is wrong with the question is told all the same.
                let question = RawQuestion {
                    token: "",
                    ..asked_by(check.question, token)
                };
                snapshot.question(&question).map_err(Error::invalid)?;
                dead_answer(snapshot, dead, standing.valid_until, check.include_reasons)
            }
            None => {
                self.token_uses.note(organization.id(), &token.id, now);
                let mut checked = judge(
                    snapshot,
                    &Check {
                        organization: organization.id().as_str(),
                        question: asked_by(check.question, token),
                        include_reasons: check.include_reasons,
                    },
                )?;
                checked.valid_until = earlier(checked.valid_until, standing.valid_until);
                checked
            }
        };
        Ok(TokenChecked {
            checked,
            organization: organization.id().clone(),
            principal: token.subject.clone(),
            token: token.id.clone(),
        })
    }

    /// What an actor needs to look after a token, or after tokens of that kind and
    /// subject; and who the actor is. Whatever is not found, an organization or an
    /// actor, is refused where that is also recorded.
    pub async fn token_need(
        &self,
        organization: &str,
        caller: &Caller,
        method: &'static str,
        about: TokenTarget<'_>,
    ) -> (Need<'static>, Option<UserId>) {
        let Ok(snapshot) = self.find(organization).await else {
            return (Need::Organization("ManageTokens"), None);
        };
        let acting = actor::resolve(&snapshot, &caller.actor, method, self.world.now());
        let user = acting.ok().flatten().map(|acting| acting.grantor.user);
        let is_actor = |subject: &str| user.as_ref().is_some_and(|user| user.as_str() == subject);
        let (kind, own) = match about {
            TokenTarget::Token(id) => match snapshot.organization().tokens.get(id) {
                Some(token) => (Some(token.kind), is_actor(token.subject.as_str())),
                None => (None, false),
            },
            TokenTarget::Subject(kind, subject) => (kind, is_actor(subject)),
        };
        let action = match kind {
            _ if own => "ManageOwnTokens",
            Some(TokenKind::ServiceAccount) => "ManageServiceAccounts",
            Some(TokenKind::Member | TokenKind::Organization) | None => "ManageTokens",
        };
        (Need::Organization(action), user)
    }

    /// When a token was last used, as far as it is known.
    pub fn last_token_use(&self, token: &Token) -> Option<Moment> {
        token.last_used_at.max(self.token_uses.of(&token.id))
    }

    /// Notes that an actor acts by a token.
    pub(super) fn note_token_use(&self, snapshot: &Snapshot, acting: &Acting, now: Moment) {
        if let Some(token) = &acting.token {
            let organization = snapshot.organization().id();
            self.token_uses.note(organization, token, now);
        }
    }

    /// Writes down when tokens were last used, at most every 15 minutes: one commit
    /// for each organization, or a few where very many tokens were used. What can't
    /// be written stays for the next time. Returns how many commits it took.
    pub async fn flush_token_use(&self) -> usize {
        let now = self.world.now();
        if !self.token_uses.is_due(now) {
            return 0;
        }
        let request = Request {
            caller: Caller {
                name: "roster".to_owned(),
                actor: Actor::Operator,
            },
            method: "RecordTokenUse",
            request_id: String::new(),
            fingerprint: [0; 32],
            validate_only: false,
        };
        let mut commits = 0;
        for (organization, uses) in self.token_uses.gathered() {
            for uses in uses.chunks(USES_OF_A_COMMIT) {
                let news = match self.find(organization.as_str()).await {
                    Ok(snapshot) => snapshot.organization().record_token_use(uses).is_some(),
                    Err(error) if error.is_unknown_organization() => false,
                    Err(error) => {
                        tracing::warn!(%error, %organization, "the use of tokens could not be recorded");
                        continue;
                    }
                };
                if !news {
                    self.token_uses.forget(uses);
                    continue;
                }
                let written = self
                    .mutate(organization.as_str(), Need::Operator, &request, |turn| {
                        let change = turn.organization().record_token_use(uses);
                        change.ok_or_else(|| Refusal::NotFound {
                            kind: "token",
                            id: String::new(),
                        })
                    })
                    .await;
                match written {
                    Ok(_) => {
                        commits += 1;
                        self.token_uses.forget(uses);
                    }
                    Err(error) => {
                        tracing::warn!(%error, %organization, "the use of tokens could not be recorded");
                    }
                }
            }
        }
        commits
    }
}

/// What tokens a request is about.
#[derive(Clone, Copy, Debug)]
pub enum TokenTarget<'a> {
    /// The token of that id.
    Token(&'a str),
    /// Those of a kind, or of any, that stand for a member, or for any where empty.
    Subject(Option<TokenKind>, &'a str),
}

/// Whether an outcome is that of a token which just got this secret: not that of an
/// earlier request, which is told again without it.
pub fn is_fresh(outcome: &Outcome, secret: &Secret) -> bool {
    match outcome {
        Outcome::Token(token) => token
            .secrets
            .last()
            .is_some_and(|newest| newest.digest == secret.digest()),
        _ => false,
    }
}

fn asked_by<'a>(question: RawQuestion<'a>, token: &'a Token) -> RawQuestion<'a> {
    RawQuestion {
        principal_type: "User",
        principal_id: token.subject.as_str(),
        token: token.id.as_str(),
        ..question
    }
}

fn dead_answer(
    snapshot: &Snapshot,
    dead: DeadToken,
    valid_until: Option<Moment>,
    include_reasons: bool,
) -> Checked {
    let (code, message) = match dead {
        DeadToken::Revoked => (
            ReasonCode::TokenRevoked,
            "the token is revoked, or the membership that it is bound to is gone",
        ),
        DeadToken::NotYetValid => (ReasonCode::NotYetValid, "the token does not count yet"),
        DeadToken::Expired => (ReasonCode::Expired, "the token or its secret has expired"),
    };
    let explanation = include_reasons.then(|| Explanation {
        verdict: Verdict::Deny,
        reasons: vec![Reason {
            code,
            message: message.to_owned(),
            role: String::new(),
            project: String::new(),
            policy: String::new(),
        }],
        determining_policies: Vec::new(),
        valid_until,
    });
    Checked {
        verdict: Verdict::Deny,
        revision: snapshot.revision(),
        valid_until,
        explanation,
    }
}

/// When tokens were last used, until it is written down. A write for each check
/// would cost more than the check.
#[derive(Default)]
pub(super) struct TokenUses {
    /// By token; ids of tokens are drawn, so that no two organizations share one.
    noted: HashMap<TokenId, (OrganizationId, AtomicI64)>,
    flushed: AtomicI64,
}

impl TokenUses {
    fn note(&self, organization: &OrganizationId, token: &TokenId, now: Moment) {
        let noted = self.noted.pin();
        let (_, last) = noted.get_or_insert_with(token.clone(), || {
            (organization.clone(), AtomicI64::new(now.0))
        });
        if last.load(Ordering::Relaxed).saturating_add(USE_STEP) <= now.0 {
            last.store(now.0, Ordering::Relaxed);
        }
    }

    fn of(&self, token: &TokenId) -> Option<Moment> {
        let noted = self.noted.pin();
        let (_, last) = noted.get(token)?;
        Some(Moment(last.load(Ordering::Relaxed)))
    }

    /// Whether it is time to write down; if so, the next time is later.
    fn is_due(&self, now: Moment) -> bool {
        let flushed = self.flushed.load(Ordering::Relaxed);
        let due = flushed.saturating_add(USE_FLUSH) <= now.0;
        if due {
            self.flushed.store(now.0, Ordering::Relaxed);
        }
        due
    }

    fn gathered(&self) -> Vec<(OrganizationId, Vec<(TokenId, Moment)>)> {
        let mut gathered = std::collections::BTreeMap::<_, Vec<_>>::new();
        for (token, (organization, last)) in &self.noted.pin() {
            let used = (token.clone(), Moment(last.load(Ordering::Relaxed)));
            gathered.entry(organization.clone()).or_default().push(used);
        }
        gathered.into_iter().collect()
    }

    /// Forgets uses that were written down, unless there was a later one since.
    fn forget(&self, uses: &[(TokenId, Moment)]) {
        let noted = self.noted.pin();
        for (token, at) in uses {
            let _ = noted.remove_if(token, |_, (_, last)| last.load(Ordering::Relaxed) <= at.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::StillWorld;

    #[test]
    fn a_secret_tells_where_it_belongs_and_nothing_like_it_does() {
        let world = StillWorld::default();
        for kind in [
            TokenKind::Member,
            TokenKind::ServiceAccount,
            TokenKind::Organization,
        ] {
            let secret = Secret::draw(&world, kind, "acme|é".trim_end_matches('é'), "tok-1");
            let text = secret.reveal().to_owned();
            assert!(text.starts_with(prefix(kind)));
            let found = secret.locator().expect("a locator");
            assert_eq!(found, ("acme|".to_owned(), "tok-1".to_owned()));
            for end in 0..text.len() {
                let cut = Secret::presented(&text[..end]);
                assert_eq!(cut.locator(), None, "cut at {end}");
            }
        }
        let long = "roster_member_".to_owned() + &"a".repeat(100_000);
        for text in ["", "roster_member_", "roster_member_é", "é", &long] {
            assert_eq!(Secret::presented(text).locator(), None);
        }
    }

    #[test]
    fn a_secret_is_not_to_be_seen_in_what_is_printed() {
        let world = StillWorld::default();
        let secret = Secret::draw(&world, TokenKind::Member, "acme", "tok-1");
        let actor = Actor::Token(secret.clone());
        let printed = format!("{secret:?} {actor:?} {secret:#?}");
        assert!(!printed.contains("roster_member"), "{printed}");
    }
}
