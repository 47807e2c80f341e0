//! Founding an organization, the one change that starts from nothing; and what is
//! about many organizations: lists, and removing a user from all of them.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::actor::{Actor, Need};
use super::mutate::{Request, Written, check_request_id, key};
use super::{Application, Error};
use crate::domain::Refusal;
use crate::domain::change::Outcome;
use crate::domain::identifiers::{OrganizationId, UserId, identifier_fault};
use crate::domain::lifecycle::{Founding, found};
use crate::domain::organization::{Member, Moment, Profile};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::{CompileError, Snapshot};
use crate::world::{draw_id, draw_version};

/// How many memberships of a user are looked up at once.
const MEMBERSHIPS_AT_ONCE: usize = 1_000;

/// An organization as lists show it: a list holds no more in memory than it tells.
pub struct Listed {
    /// The organization's own record.
    pub profile: Arc<Profile>,
    /// How many members it has.
    pub members: usize,
}

impl Listed {
    fn of(snapshot: &Snapshot) -> Self {
        let organization = snapshot.organization();
        Self {
            profile: Arc::clone(&organization.profile),
            members: organization.members.len(),
        }
    }
}

/// What became of each membership of a user.
pub struct Removals {
    /// By organization, ascending.
    pub each: Vec<(OrganizationId, Result<Outcome, Refusal>)>,
    /// The position of the last change.
    pub revision: u64,
}

impl Application {
    /// Organizations whose ids come after `after`, ascending, at most `limit`. One that
    /// can't be served is left out; the log tells of it.
    pub async fn organizations_after(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        let mut after = cursor(after);
        while listed.len() < limit {
            let (begin, wanted) = (after.clone(), limit - listed.len());
            let page = self
                .ask_store(move |store| store.organizations(begin.as_ref(), wanted))
                .await?;
            for id in &page {
                listed.extend(self.listed(id).await?.map(|snapshot| Listed::of(&snapshot)));
            }
            match page.last() {
                Some(last) if page.len() == wanted => after = Some(last.clone()),
                _ => break,
            }
        }
        Ok(listed)
    }

    /// Organizations of a user whose ids come after `after`, ascending, at most `limit`,
    /// with the user's membership in each.
    pub async fn organizations_of(
        &self,
        user: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(Listed, Arc<Member>)>, Error> {
        let mut listed = Vec::new();
        let mut after = cursor(after);
        while listed.len() < limit {
            let wanted = limit - listed.len();
            let page = self.memberships(user, after.clone(), wanted).await?;
            for id in &page {
                let Some(snapshot) = self.listed(id).await? else {
                    continue;
                };
                let member = snapshot.organization().members.get(user).cloned();
                listed.extend(member.map(|member| (Listed::of(&snapshot), member)));
            }
            match page.last() {
                Some(last) if page.len() == wanted => after = Some(last.clone()),
                _ => break,
            }
        }
        Ok(listed)
    }

    /// An organization for a list; nothing if it is gone, or can't be served.
    async fn listed(&self, id: &OrganizationId) -> Result<Option<Arc<Snapshot>>, Error> {
        match self.find(id.as_str()).await {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(error) if error.is_about_the_organization() => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Ids of organizations of a user, ascending.
    async fn memberships(
        &self,
        user: &str,
        after: Option<OrganizationId>,
        limit: usize,
    ) -> Result<Vec<OrganizationId>, Error> {
        if identifier_fault(user).is_some() {
            return Ok(Vec::new());
        }
        let user = UserId::new(user);
        self.ask_store(move |store| store.memberships(&user, after.as_ref(), limit))
            .await
    }

    /// Removes a user from every organization, and says what became of each membership.
    pub async fn remove_user(&self, user: &str, request: &Request) -> Result<Removals, Error> {
        check_request_id(&request.request_id)?;
        if request.caller.actor != Actor::Operator {
            return Err(Refusal::OperatorOnly(request.method).into());
        }
        if let Some(fault) = identifier_fault(user) {
            return Err(Error::invalid(vec![Violation::new(
                "user",
                Fault::Malformed,
                fault,
            )]));
        }
        let mut removals = Removals {
            each: Vec::new(),
            revision: self.published(),
        };
        let mut after = None;
        let mut unserved = None;
        loop {
            let page = self
                .memberships(user, after.clone(), MEMBERSHIPS_AT_ONCE)
                .await?;
            for organization in &page {
                let removed = self
                    .mutate(organization.as_str(), Need::Operator, request, |turn| {
                        let catalog = turn.catalog();
                        turn.organization()
                            .remove_member(catalog, user, "", "", turn.now)
                    })
                    .await;
                let removal = match removed {
                    Ok(written) => {
                        removals.revision = removals.revision.max(written.revision);
                        Ok(written.outcome)
                    }
                    Err(Error::Refused(refusal)) => Err(refusal),
                    // The others first; then it is told that this one remains.
                    Err(other) if other.is_about_the_organization() => {
                        unserved.get_or_insert(other);
                        continue;
                    }
                    Err(other) => return Err(other),
                };
                removals.each.push((organization.clone(), removal));
            }
            match page.last() {
                Some(last) if page.len() == MEMBERSHIPS_AT_ONCE => after = Some(last.clone()),
                _ => break,
            }
        }
        unserved.map_or(Ok(removals), Err)
    }

    /// Founds an organization on a catalog. An empty id stands for a generated one,
    /// which a repetition of the request finds again.
    ///
    /// A refusal is recorded if there is an organization of that id already; there is
    /// no other history that it could go into.
    pub async fn create_organization(
        &self,
        catalog: &str,
        founding: &Founding,
        request: &Request,
    ) -> Result<Written, Error> {
        let founded = self.try_create(catalog, founding, request).await;
        self.settle();
        let now = self.world.now();
        self.record_refusal(&founding.id, Need::Operator, request, &founded, now)
            .await;
        founded
    }

    async fn try_create(
        &self,
        catalog: &str,
        founding: &Founding,
        request: &Request,
    ) -> Result<Written, Error> {
        check_request_id(&request.request_id)?;
        if request.caller.actor != Actor::Operator {
            return Err(Refusal::OperatorOnly(request.method).into());
        }
        let Some(offered) = self.catalog(catalog) else {
            let known: Vec<String> = self
                .catalogs()
                .map(|known| format!("`{}`", known.catalog().id))
                .collect();
            return Err(Error::invalid(vec![Violation::new(
                "catalog",
                if catalog.is_empty() {
                    Fault::Missing
                } else {
                    Fault::UnknownReference
                },
                format!("must be one of {}", known.join(", ")),
            )]));
        };
        let now = self.world.now();
        let first = draw_version(self.world());
        let _turn = self.registry.founding_turn().await;
        let mut founding = founding.clone();
        if founding.id.is_empty() {
            founding.id = self.generated_id(request, now).await?;
        }
        let id = OrganizationId::new(founding.id.as_str());
        if let Some(written) = self.recall(&id, request, now)? {
            return Ok(written);
        }
        let (organization, change) = found(offered.catalog(), &founding, first, now)?;
        if self.version_of(id.as_str()).await?.is_some() {
            return Err(already_exists(&id));
        }
        let compiled = offered.compiled().map_err(CompileError::from)?;
        let snapshot = Snapshot::compile(Arc::clone(compiled), organization, 0)?;
        if request.validate_only {
            return Ok(Written {
                revision: self.published(),
                outcome: change.outcome,
            });
        }
        match self.commit_first(snapshot, change, request, now).await? {
            Some(written) => Ok(written),
            None => Err(already_exists(&id)),
        }
    }

    /// An id for an organization that came without one. It follows from the request
    /// id, if there is one: what a request id did is remembered by organization. One
    /// that is used again after it was forgotten gets the next id.
    async fn generated_id(&self, request: &Request, now: Moment) -> Result<String, Error> {
        if request.request_id.is_empty() {
            return Ok(draw_id(self.world(), "org"));
        }
        let mut turn = 0_u64;
        loop {
            let id = derived_id(request, turn);
            let key = key(&OrganizationId::new(id.as_str()), request);
            match self.store.remembered(&key)? {
                Some(remembered) if remembered.expires_at <= now => turn += 1,
                None if self.version_of(&id).await?.is_some() => turn += 1,
                _ => return Ok(id),
            }
        }
    }
}

/// Where a list goes on, if it was begun.
fn cursor(after: &str) -> Option<OrganizationId> {
    (!after.is_empty()).then(|| OrganizationId::new(after))
}

fn derived_id(request: &Request, turn: u64) -> String {
    let mut digest = Sha256::new();
    for part in [&request.caller.name, &request.request_id] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.update(turn.to_be_bytes());
    let digest = digest.finalize();
    let hex: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("org-{hex}")
}

fn already_exists(id: &OrganizationId) -> Error {
    Refusal::AlreadyExists {
        kind: "organization",
        id: id.to_string(),
    }
    .into()
}
