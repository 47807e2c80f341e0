//! `TokenService`: API tokens, whose secrets leave here once.

use std::ops::Bound;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::revision::token;
use crate::application::tokens::{TokenTarget, is_fresh};
use crate::application::{self, Application, Error, Need, PageRequest, Secret, Written};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::identifiers::TokenId;
use crate::domain::organization::{Moment, Organization, Token, TokenKind};
use crate::domain::period::Period;
use crate::domain::refusal::{Fault, Violation};
use crate::domain::token_standing::DeadToken;
use crate::domain::tokens::{AskedScope, NewToken, TokenEdit};
use crate::engine::Snapshot;
use crate::proto::v1;
use crate::proto::v1::token_service_server::TokenService;
use crate::world::draw_id;

/// Serves API tokens.
pub struct TokenRpc {
    application: Arc<Application>,
}

impl TokenRpc {
    /// Serves tokens of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }

    fn shown(&self, organization: Option<&Organization>, token: &Token, now: Moment) -> v1::Token {
        let dead = match organization {
            Some(organization) => organization.token_status(token, now),
            None => Some(DeadToken::Revoked),
        };
        to_proto::api_token(token, dead, self.application.last_token_use(token))
    }

    /// The token that a change left behind, as it counts now.
    async fn written(
        &self,
        organization: &str,
        written: &Written,
    ) -> Result<Option<v1::Token>, Status> {
        let snapshot = self.application.find(organization).await.ok();
        let found = snapshot.as_ref().map(|snapshot| snapshot.organization());
        let now = self.application.world().now();
        match &written.outcome {
            // What was only validated counts nowhere yet; it is shown as it would.
            Outcome::Token(token) => {
                let mut shown = self.shown(found, token, now);
                let known = found.is_some_and(|found| found.tokens.contains_key(&token.id));
                if !known && token.revoked_at.is_none() {
                    let begins = token.period.not_before.is_some_and(|start| now < start);
                    let status = if begins {
                        v1::TokenStatus::NotYetValid
                    } else {
                        v1::TokenStatus::Active
                    };
                    shown.status = status.into();
                }
                Ok(Some(shown))
            }
            other => Err(status::of(to_proto::unexpected(other))),
        }
    }

    fn list(
        &self,
        snapshot: &Snapshot,
        message: &v1::ListTokensRequest,
        kind: Option<TokenKind>,
    ) -> Result<v1::ListTokensResponse, Error> {
        let wanted = v1::TokenStatus::try_from(message.status).map_err(|_| {
            Error::invalid(vec![Violation::new(
                "status",
                Fault::Malformed,
                "is no token status",
            )])
        })?;
        let filters = [
            "tokens",
            &message.organization,
            &message.subject,
            &message.kind.to_string(),
            &message.status.to_string(),
        ];
        let request = PageRequest::parse(message.page_size, &message.page_token, &filters)?;
        let after = (
            Bound::Excluded(TokenId::new(request.after.as_str())),
            Bound::Unbounded,
        );
        let now = self.application.world().now();
        let organization = snapshot.organization();
        let tokens = organization
            .tokens
            .range(after)
            .map(|(_, token)| token)
            .filter(|token| message.subject.is_empty() || token.subject.as_str() == message.subject)
            .filter(|token| kind.is_none_or(|kind| token.kind == kind))
            .map(|token| self.shown(Some(organization), token, now))
            .filter(|token| wanted == v1::TokenStatus::Unspecified || token.status() == wanted);
        let page = request.take(tokens, |token| token.id.clone());
        Ok(v1::ListTokensResponse {
            tokens: page.items,
            revision: token(snapshot.revision()),
            next_page_token: page.next_page_token,
        })
    }
}

#[tonic::async_trait]
impl TokenService for TokenRpc {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let (message, common) = accept(request)?;
        let kind = kind(message.kind).and_then(|kind| {
            kind.ok_or_else(|| Violation::new("kind", Fault::Missing, "must be given"))
        });
        // What is wrong with the form is told to those only who may create one at all.
        let known = kind.clone().ok();
        let about = TokenTarget::Subject(known, &message.subject);
        let (mut need, actor) = self
            .application
            .token_need(&message.organization, &common.caller, common.method, about)
            .await;
        let mut subject = message.subject;
        if let (Some(TokenKind::Member), Some(actor)) = (known, actor)
            && subject.is_empty()
        {
            subject = actor.to_string();
            need = Need::Organization("ManageOwnTokens");
        }
        let id = draw_id(self.application.world(), "tok");
        let secret = Secret::draw(
            self.application.world(),
            known.unwrap_or(TokenKind::Member),
            &message.organization,
            &id,
        );
        let period = from_proto::period("period", message.period.as_ref());
        let new = form_of(kind, period).map(|(kind, period)| NewToken {
            id,
            kind,
            subject,
            display_name: message.display_name,
            scope: message.scope.map(scope),
            period,
            roles: message.roles,
            digest: secret.digest(),
        });
        let changed = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.in_person("CreateToken")?;
                let new = new.clone()?;
                let (catalog, creator) = (turn.catalog(), turn.actor());
                turn.organization()
                    .create_token(catalog, &new, creator, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::CreateTokenResponse {
            token: self.written(&message.organization, &changed).await?,
            revision: token(changed.revision),
            secret: revealed(&changed, &secret, &common),
        }))
    }

    async fn get_token(
        &self,
        request: Request<v1::GetTokenRequest>,
    ) -> Result<Response<v1::GetTokenResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        self.application
            .reach(&message.at_least, reader.patience)
            .await
            .map_err(status::of)?;
        let about = TokenTarget::Token(&message.token);
        let (need, _) = self
            .application
            .token_need(&message.organization, &reader.caller, reader.method, about)
            .await;
        let snapshot = self
            .application
            .view(&message.organization, need, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        let organization = snapshot.organization();
        let found = organization
            .token(&message.token)
            .map_err(|refusal| status::of(refusal.into()))?;
        let now = self.application.world().now();
        Ok(Response::new(v1::GetTokenResponse {
            token: Some(self.shown(Some(organization), found, now)),
            revision: token(snapshot.revision()),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let kind = kind(message.kind);
        let about = TokenTarget::Subject(kind.clone().ok().flatten(), &message.subject);
        let (need, _) = self
            .application
            .token_need(&message.organization, &reader.caller, reader.method, about)
            .await;
        let snapshot = self
            .application
            .view(&message.organization, need, &reader, &message.at_least)
            .await
            .map_err(status::of)?;
        kind.map_err(|violation| Error::invalid(vec![violation]))
            .and_then(|kind| self.list(&snapshot, &message, kind))
            .map(Response::new)
            .map_err(status::of)
    }

    async fn update_token(
        &self,
        request: Request<v1::UpdateTokenRequest>,
    ) -> Result<Response<v1::UpdateTokenResponse>, Status> {
        let (message, common) = accept(request)?;
        let about = TokenTarget::Token(&message.token);
        let (need, _) = self
            .application
            .token_need(&message.organization, &common.caller, common.method, about)
            .await;
        let editable = ["display_name", "scope"];
        let edit =
            from_proto::mask(message.update_mask.as_ref(), &editable).map(|mask| TokenEdit {
                display_name: mask.has("display_name").then_some(message.display_name),
                scope: mask.has("scope").then_some(message.scope.map(scope)),
            });
        let changed = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.organization().update_token(
                    turn.catalog(),
                    &message.token,
                    &edit.clone()?,
                    &message.etag,
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::UpdateTokenResponse {
            token: self.written(&message.organization, &changed).await?,
            revision: token(changed.revision),
        }))
    }

    async fn rotate_token(
        &self,
        request: Request<v1::RotateTokenRequest>,
    ) -> Result<Response<v1::RotateTokenResponse>, Status> {
        let (message, common) = accept(request)?;
        let about = TokenTarget::Token(&message.token);
        let (need, _) = self
            .application
            .token_need(&message.organization, &common.caller, common.method, about)
            .await;
        let overlap = message.overlap.as_ref().map_or(0, from_proto::milliseconds);
        let found = self.application.find(&message.organization).await.ok();
        let kind = found.as_ref().and_then(|snapshot| {
            let tokens = &snapshot.organization().tokens;
            tokens.get(message.token.as_str())
        });
        let secret = Secret::draw(
            self.application.world(),
            kind.map_or(TokenKind::Member, |token| token.kind),
            &message.organization,
            &message.token,
        );
        let digest = secret.digest();
        let changed = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.in_person("RotateToken")?;
                turn.organization().rotate_token(
                    &message.token,
                    digest,
                    overlap,
                    &message.etag,
                    turn.actor().as_ref(),
                    turn.now,
                )
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RotateTokenResponse {
            token: self.written(&message.organization, &changed).await?,
            revision: token(changed.revision),
            secret: revealed(&changed, &secret, &common),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (message, common) = accept(request)?;
        let about = TokenTarget::Token(&message.token);
        let (need, _) = self
            .application
            .token_need(&message.organization, &common.caller, common.method, about)
            .await;
        let changed = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.organization()
                    .revoke_token(&message.token, &message.etag, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::RevokeTokenResponse {
            token: self.written(&message.organization, &changed).await?,
            revision: token(changed.revision),
        }))
    }

    async fn delete_token(
        &self,
        request: Request<v1::DeleteTokenRequest>,
    ) -> Result<Response<v1::DeleteTokenResponse>, Status> {
        let (message, common) = accept(request)?;
        let about = TokenTarget::Token(&message.token);
        let (need, _) = self
            .application
            .token_need(&message.organization, &common.caller, common.method, about)
            .await;
        let changed = self
            .application
            .mutate(&message.organization, need, &common, |turn| {
                turn.organization()
                    .delete_token(&message.token, &message.etag, turn.now)
            })
            .await
            .map_err(status::of)?;
        Ok(Response::new(v1::DeleteTokenResponse {
            revision: token(changed.revision),
        }))
    }
}

/// The secret, unless there is none to it: of a validation, or of a request that
/// was answered before.
fn revealed(changed: &Written, secret: &Secret, common: &application::Request) -> String {
    if common.validate_only || !is_fresh(&changed.outcome, secret) {
        return String::new();
    }
    secret.reveal().to_owned()
}

/// Everything that is wrong with the form of a new token, at once.
fn form_of(
    kind: Result<TokenKind, Violation>,
    period: Result<Period, Refusal>,
) -> Result<(TokenKind, Period), Refusal> {
    match (kind, period) {
        (Ok(kind), Ok(period)) => Ok((kind, period)),
        (Err(violation), Err(Refusal::Invalid(mut violations))) => {
            violations.insert(0, violation);
            Err(Refusal::Invalid(violations))
        }
        (Err(violation), _) => Err(Refusal::Invalid(vec![violation])),
        (_, Err(refusal)) => Err(refusal),
    }
}

fn kind(given: i32) -> Result<Option<TokenKind>, Violation> {
    match v1::TokenKind::try_from(given) {
        Ok(v1::TokenKind::Unspecified) => Ok(None),
        Ok(v1::TokenKind::Member) => Ok(Some(TokenKind::Member)),
        Ok(v1::TokenKind::ServiceAccount) => Ok(Some(TokenKind::ServiceAccount)),
        Ok(v1::TokenKind::Organization) => Ok(Some(TokenKind::Organization)),
        Err(_) => Err(Violation::new(
            "kind",
            Fault::Malformed,
            "is no kind of token",
        )),
    }
}

fn scope(given: v1::TokenScope) -> AskedScope {
    AskedScope {
        actions: given.actions,
        projects: given.projects,
    }
}
