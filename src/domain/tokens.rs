//! API tokens: made, edited, rotated, revoked, deleted; and whether one counts.
//!
//! A token has no rights of its own. It stands for a member, and its scope only
//! takes away from what that member may do. It is bound to one membership, so
//! that nothing revives it once the member is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalog::{ActionIndex, Catalog};
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::{Checks, Place};
use super::identifiers::{ActionId, ProjectId, TokenId, UserId};
use super::lifecycle::fresh;
use super::members::{listed, new_member, shown};
use super::organization::{
    Member, MemberKind, MemberStatus, Moment, Organization, Token, TokenKind, TokenScope,
    TokenSecret,
};
use super::period::{Period, Phase, earlier};
use super::refusal::{Fault, Refusal};
use super::token_standing::DeadToken;

/// The most tokens that stand for one member.
pub const MAX_TOKENS_OF_SUBJECT: usize = 50;
/// The most tokens that stand for the organization itself.
pub const MAX_ORGANIZATION_TOKENS: usize = 500;
/// The most tokens of one organization.
pub const MAX_TOKENS: usize = 10_000;
/// The most actions that a scope names.
pub const MAX_SCOPE_ACTIONS: usize = 1_000;
/// The most projects that a scope names.
pub const MAX_SCOPE_PROJECTS: usize = 256;
/// The longest time, in milliseconds, that the secret before a rotation goes on working.
pub const MAX_OVERLAP: i64 = 30 * 24 * 60 * 60 * 1_000;

/// What a token is to be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its id.
    pub id: String,
    /// What it stands for.
    pub kind: TokenKind,
    /// The member it acts as; empty for an organization token.
    pub subject: String,
    /// Its name.
    pub display_name: String,
    /// What it may be used for at most.
    pub scope: Option<AskedScope>,
    /// When it counts.
    pub period: Period,
    /// Roles of an organization token.
    pub roles: Vec<String>,
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
}

/// A scope in the words of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedScope {
    /// Actions; empty for every one.
    pub actions: Vec<String>,
    /// Projects; empty for every one and what lies in none.
    pub projects: Vec<String>,
}

/// What is to be edited; `None` leaves as is.
#[derive(Clone, Debug, Default)]
pub struct TokenEdit {
    /// Another name.
    pub display_name: Option<String>,
    /// Another scope, or none.
    pub scope: Option<Option<AskedScope>>,
}

impl TokenKind {
    /// Its name in the history.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::ServiceAccount => "service-account",
            Self::Organization => "organization",
        }
    }
}

impl TokenScope {
    /// The actions it admits, implied ones included; `None` for every one.
    pub fn admitted(&self, catalog: &Catalog) -> Option<BTreeSet<ActionIndex>> {
        (!self.actions.is_empty()).then(|| catalog.closure(&self.actions))
    }

    /// Whether it admits nothing that `outer` does not.
    pub fn is_within(&self, outer: &Self, catalog: &Catalog) -> bool {
        let actions = match (self.admitted(catalog), outer.admitted(catalog)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner.is_subset(&outer),
        };
        let projects = outer.projects.is_empty()
            || (!self.projects.is_empty() && self.projects.is_subset(&outer.projects));
        actions && projects
    }
}

impl Organization {
    /// Creates a token; an organization token with the member that it is.
    pub fn create_token(
        &self,
        catalog: &Catalog,
        new: &NewToken,
        creator: Option<UserId>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.tokens_offered(catalog, new.kind)?;
        let mut checks = Checks::new();
        checks.identifier("token", &new.id);
        checks.name("display_name", &new.display_name);
        checks.period("period", &new.period, now);
        let scope = new
            .scope
            .as_ref()
            .map(|asked| self.scope(catalog, asked, &mut checks));
        let roles = checks.roles("roles", &new.roles, Place::Organization, self, catalog);
        let of_organization = new.kind == TokenKind::Organization;
        if of_organization && !new.subject.is_empty() {
            checks.fault(
                "subject",
                Fault::Malformed,
                "must be empty for an organization token, which is its own subject",
            );
        } else if !of_organization {
            checks.identifier("subject", &new.subject);
            if !new.roles.is_empty() {
                checks.fault(
                    "roles",
                    Fault::Malformed,
                    "are for an organization token only; another acts with its subject's",
                );
            }
        }
        checks.finish()?;
        if self.tokens.contains_key(new.id.as_str())
            || (of_organization && self.members.contains_key(new.id.as_str()))
        {
            return Err(Refusal::AlreadyExists {
                kind: "token",
                id: new.id.clone(),
            });
        }
        let mut records = Vec::new();
        let (subject, membership) = if of_organization {
            let mut member = new_member(self, UserId::new(new.id.as_str()), now);
            member.kind = MemberKind::OrganizationToken;
            member.display_name = new.display_name.as_str().into();
            member.roles = roles;
            member.period = new.period.into();
            member.added_by.clone_from(&creator);
            let bound = (member.user.clone(), member.membership);
            records.push(RecordChange::PutMember(Arc::new(member)));
            bound
        } else {
            let subject = self.subject(&new.subject, new.kind)?;
            own_affair(new.kind, &subject.user, creator.as_ref(), "CreateToken")?;
            (subject.user.clone(), subject.membership)
        };
        self.room_for_token(new.kind, &subject)?;
        let token = Arc::new(Token {
            id: TokenId::new(new.id.as_str()),
            display_name: new.display_name.clone(),
            kind: new.kind,
            subject,
            membership,
            secrets: vec![TokenSecret {
                digest: new.digest,
                created_at: now,
                expires_at: None,
            }],
            scope,
            period: new.period,
            revoked_at: None,
            expiry_recorded: false,
            last_used_at: None,
            created_by: creator,
            created_at: now,
            version: self.version.next(),
        });
        records.push(RecordChange::PutToken(Arc::clone(&token)));
        let mut details = vec![
            ("kind", new.kind.name().to_owned()),
            ("subject", token.subject.to_string()),
        ];
        if let Some(RecordChange::PutMember(member)) = records.first() {
            details.push(("roles", listed(&member.roles)));
        }
        Ok(told(records, token, "CreateToken", details))
    }

    /// Edits a token's name and scope.
    pub fn update_token(
        &self,
        catalog: &Catalog,
        id: &str,
        edit: &TokenEdit,
        given_etag: &str,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        if let Some(name) = &edit.display_name {
            checks.name("display_name", name);
        }
        let scope = edit.scope.as_ref().map(|asked| {
            let asked = asked.as_ref();
            asked.map(|asked| self.scope(catalog, asked, &mut checks))
        });
        checks.finish()?;
        let mut token = self.token_to_edit(id, given_etag)?;
        self.must_be_alive(&token, now)?;
        if let Some(name) = &edit.display_name {
            token.display_name.clone_from(name);
        }
        let mut details = Vec::new();
        if let Some(scope) = scope {
            details.push(("scope", scope_in_words(scope.as_ref())));
            token.scope = scope;
        }
        Ok(self.put_token(token, "UpdateToken", details))
    }

    /// Gives a token a new secret; the one before works for `overlap` milliseconds more.
    pub fn rotate_token(
        &self,
        id: &str,
        digest: [u8; 32],
        overlap: i64,
        given_etag: &str,
        actor: Option<&UserId>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        if !(0..=MAX_OVERLAP).contains(&overlap) {
            let mut checks = Checks::new();
            checks.fault(
                "overlap",
                Fault::Malformed,
                "must be at least nothing and at most 30 days",
            );
            checks.finish()?;
        }
        let mut token = self.token_to_edit(id, given_etag)?;
        self.must_be_alive(&token, now)?;
        own_affair(token.kind, &token.subject, actor, "RotateToken")?;
        let end = Moment(now.0.saturating_add(overlap));
        token.secrets = token
            .secrets
            .pop()
            .map(|before| TokenSecret {
                expires_at: earlier(before.expires_at, Some(end)),
                ..before
            })
            .into_iter()
            .collect();
        token.secrets.push(TokenSecret {
            digest,
            created_at: now,
            expires_at: None,
        });
        let details = vec![("overlap_milliseconds", overlap.to_string())];
        Ok(self.put_token(token, "RotateToken", details))
    }

    /// Ends a token at once and for good.
    pub fn revoke_token(&self, id: &str, given_etag: &str, now: Moment) -> Result<Change, Refusal> {
        let mut token = self.token_to_edit(id, given_etag)?;
        if token.revoked_at.is_some() {
            return Err(status(&token, "revoked", "there is nothing to do"));
        }
        token.revoked_at = Some(now);
        let itself = self.members.get(token.subject.as_str());
        let itself = itself.filter(|member| {
            token.kind == TokenKind::Organization && member.status == MemberStatus::Active
        });
        // Whoever remembers the subject must not be able to ask for it without the token.
        let suspended = itself.map(|member| {
            RecordChange::PutMember(Arc::new(Member {
                status: MemberStatus::Suspended,
                version: self.version.next(),
                ..(**member).clone()
            }))
        });
        let mut change = self.put_token(token, "RevokeToken", Vec::new());
        change.records.extend(suspended);
        Ok(change)
    }

    /// Deletes a token that is revoked or has expired; an organization token with
    /// the member that it is.
    pub fn delete_token(&self, id: &str, given_etag: &str, now: Moment) -> Result<Change, Refusal> {
        let token = self.token_to_edit(id, given_etag)?;
        match self.token_status(&token, now) {
            Some(DeadToken::Revoked | DeadToken::Expired) => {}
            Some(DeadToken::NotYetValid) => {
                return Err(status(&token, "not valid yet", "revoke it first"));
            }
            None => return Err(status(&token, "active", "revoke it first")),
        }
        let itself = self.members.get(token.subject.as_str());
        if let Some(member) = itself.filter(|_| token.kind == TokenKind::Organization) {
            return Ok(Change {
                outcome: Outcome::Nothing,
                ..self.end_membership(member, "", "DeleteToken")?
            });
        }
        Ok(Change {
            records: vec![RecordChange::DeleteToken(token.id.clone())],
            events: vec![Event::done(
                "DeleteToken",
                Target::new("Token", &token.id),
                Vec::new(),
            )],
            outcome: Outcome::Nothing,
        })
    }

    /// Writes down when tokens were last used; etags stay. Tokens that are gone, or
    /// were seen later already, are left out. Nothing if none is left.
    pub fn record_token_use(&self, uses: &[(TokenId, Moment)]) -> Option<Change> {
        let records: Vec<RecordChange> = uses
            .iter()
            .filter_map(|(id, at)| {
                let token = self.tokens.get(id.as_str())?;
                (token.last_used_at < Some(*at)).then(|| {
                    RecordChange::PutToken(Arc::new(Token {
                        last_used_at: Some(*at),
                        ..(**token).clone()
                    }))
                })
            })
            .collect();
        (!records.is_empty()).then(|| Change {
            events: vec![Event::done(
                "RecordTokenUse",
                Target::new("Organization", self.id()),
                vec![("tokens", records.len().to_string())],
            )],
            records,
            outcome: Outcome::Nothing,
        })
    }

    /// The token of that id.
    pub fn token(&self, id: &str) -> Result<&Arc<Token>, Refusal> {
        self.tokens.get(id).ok_or_else(|| Refusal::NotFound {
            kind: "token",
            id: shown(id),
        })
    }

    /// Tokens that stand for a member: those that end with the membership.
    pub fn tokens_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Arc<Token>> + 'a {
        self.tokens
            .values()
            .filter(move |token| token.subject.as_str() == user)
    }

    /// Organization tokens that work on when `user`, who created them, leaves.
    pub fn orphaned_tokens<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a TokenId> + 'a {
        self.tokens
            .values()
            .filter(move |token| {
                token.kind == TokenKind::Organization
                    && token.revoked_at.is_none()
                    && token
                        .created_by
                        .as_ref()
                        .is_some_and(|creator| creator.as_str() == user)
            })
            .map(|token| &token.id)
    }

    fn subject(&self, user: &str, kind: TokenKind) -> Result<&Arc<Member>, Refusal> {
        let member = self.member(user)?;
        let fits = match kind {
            TokenKind::Member => member.kind == MemberKind::Person,
            TokenKind::ServiceAccount => member.kind == MemberKind::ServiceAccount,
            TokenKind::Organization => false,
        };
        if !fits {
            return Err(Refusal::MemberKind {
                user: member.user.clone(),
                kind: member.kind.in_words(),
                advice: "give the kind of token that goes with it",
            });
        }
        if member.status == MemberStatus::Suspended {
            return Err(Refusal::MemberStatus {
                user: member.user.clone(),
                status: "suspended",
                advice: "reinstate the member first",
            });
        }
        Ok(member)
    }

    fn room_for_token(&self, kind: TokenKind, subject: &UserId) -> Result<(), Refusal> {
        let full = |what, limit| Err(Refusal::LimitReached { what, limit });
        if self.tokens.len() >= MAX_TOKENS {
            return full("API tokens of an organization", MAX_TOKENS);
        }
        if kind == TokenKind::Organization {
            let kind = |token: &&Arc<Token>| token.kind == TokenKind::Organization;
            if self.tokens.values().filter(kind).count() >= MAX_ORGANIZATION_TOKENS {
                let what = "API tokens that stand for the organization itself";
                return full(what, MAX_ORGANIZATION_TOKENS);
            }
        } else if self.tokens_of(subject.as_str()).count() >= MAX_TOKENS_OF_SUBJECT {
            return full("API tokens of one subject", MAX_TOKENS_OF_SUBJECT);
        }
        Ok(())
    }

    fn scope(&self, catalog: &Catalog, asked: &AskedScope, checks: &mut Checks) -> TokenScope {
        if asked.actions.is_empty() && asked.projects.is_empty() {
            checks.fault(
                "scope",
                Fault::Missing,
                "must name actions or projects; leave it out for all that the subject may do",
            );
        }
        for (field, given, most) in [
            ("scope.actions", asked.actions.len(), MAX_SCOPE_ACTIONS),
            ("scope.projects", asked.projects.len(), MAX_SCOPE_PROJECTS),
        ] {
            if given > most {
                let message = format!("must be at most {most}, not {given}");
                checks.fault(field, Fault::TooMany, message);
                return TokenScope::default();
            }
        }
        for (index, action) in asked.actions.iter().enumerate() {
            if catalog.action(action).is_none() {
                let message = format!("names no action of catalog `{}`", catalog.id);
                let field = format!("scope.actions[{index}]");
                checks.fault(field, Fault::UnknownAction, message);
            }
        }
        for (index, project) in asked.projects.iter().enumerate() {
            if !self.projects.contains_key(project.as_str()) {
                let field = format!("scope.projects[{index}]");
                let message = "names no project of this organization";
                checks.fault(field, Fault::UnknownReference, message);
            }
        }
        let actions = asked.actions.iter().map(String::as_str);
        let projects = asked.projects.iter().map(String::as_str);
        TokenScope {
            actions: actions.map(ActionId::new).collect(),
            projects: projects.map(ProjectId::new).collect(),
        }
    }

    fn tokens_offered(&self, catalog: &Catalog, kind: TokenKind) -> Result<(), Refusal> {
        self.offered(catalog, &catalog.team.tokens, "API tokens")?;
        match kind {
            TokenKind::ServiceAccount => self.service_accounts_offered(catalog),
            TokenKind::Member | TokenKind::Organization => Ok(()),
        }
    }

    pub(super) fn service_accounts_offered(&self, catalog: &Catalog) -> Result<(), Refusal> {
        self.offered(catalog, &catalog.team.service_accounts, "service accounts")
    }

    fn token_to_edit(&self, id: &str, given_etag: &str) -> Result<Token, Refusal> {
        let token = self.token(id)?;
        fresh("token", &token.id, token.version, given_etag)?;
        Ok((**token).clone())
    }

    /// Refuses a token that is revoked or has come to its own end. One whose secret
    /// is too old is alive: a rotation is what it needs.
    fn must_be_alive(&self, token: &Token, now: Moment) -> Result<(), Refusal> {
        if token.period.phase(now) == Phase::Over {
            return Err(status(token, "expired", "create a new one"));
        }
        match self.token_status(token, now) {
            Some(DeadToken::Revoked) => Err(status(token, "revoked", "create a new one")),
            Some(DeadToken::NotYetValid | DeadToken::Expired) | None => Ok(()),
        }
    }

    fn put_token(
        &self,
        mut token: Token,
        action: &'static str,
        details: Vec<(&'static str, String)>,
    ) -> Change {
        token.version = self.version.next();
        let token = Arc::new(token);
        let records = vec![RecordChange::PutToken(Arc::clone(&token))];
        told(records, token, action, details)
    }
}

fn told(
    records: Vec<RecordChange>,
    token: Arc<Token>,
    action: &'static str,
    mut details: Vec<(&'static str, String)>,
) -> Change {
    if action == "CreateToken" {
        details.push(("scope", scope_in_words(token.scope.as_ref())));
    }
    Change {
        records,
        events: vec![Event::done(
            action,
            Target::new("Token", &token.id),
            details,
        )],
        outcome: Outcome::Token(token),
    }
}

/// A scope as the history keeps it: how much it names.
fn scope_in_words(scope: Option<&TokenScope>) -> String {
    let count = |number: usize, what: &str| match number {
        0 => format!("every {what}"),
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    };
    scope.map_or_else(
        || "all".to_owned(),
        |scope| {
            format!(
                "{} in {}",
                count(scope.actions.len(), "action"),
                count(scope.projects.len(), "project")
            )
        },
    )
}

/// Whoever holds the secret of a person's token can pass for that person: nobody else
/// makes one for them, however much they may manage.
fn own_affair(
    kind: TokenKind,
    subject: &UserId,
    actor: Option<&UserId>,
    action: &'static str,
) -> Result<(), Refusal> {
    match actor {
        Some(actor) if kind == TokenKind::Member && actor != subject => {
            Err(Refusal::PermissionDenied {
                actor: actor.to_string(),
                action,
                why: "the secret of a person's token is made by that person".to_owned(),
            })
        }
        _ => Ok(()),
    }
}

fn status(token: &Token, status: &'static str, advice: &'static str) -> Refusal {
    Refusal::TokenStatus {
        token: token.id.to_string(),
        status,
        advice,
    }
}
