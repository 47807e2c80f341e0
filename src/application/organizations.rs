//! Founding an organization: the one change that starts from nothing.

use std::sync::Arc;

use super::mutate::{Request, Written, check_request_id};
use super::{Application, Error};
use crate::domain::Refusal;
use crate::domain::identifiers::OrganizationId;
use crate::domain::lifecycle::{Founding, found};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::Snapshot;

impl Application {
    /// Organizations whose ids come after `after`, ascending, at most `limit`.
    pub fn organizations_after(&self, after: &str, limit: usize) -> Vec<Arc<Snapshot>> {
        let ids = self.registry.ids(after, limit);
        ids.iter()
            .filter_map(|id| self.registry.snapshot(id.as_str()))
            .collect()
    }

    /// Founds an organization on a catalog.
    pub async fn create_organization(
        &self,
        catalog: &str,
        founding: &Founding,
        request: &Request,
    ) -> Result<Written, Error> {
        check_request_id(&request.request_id)?;
        let Some(compiled) = self.catalog(catalog) else {
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
        let _turn = self.registry.founding_turn().await;
        let id = OrganizationId::new(founding.id.as_str());
        if let Some(written) = self.recall(&id, request, now)? {
            return Ok(written);
        }
        let (organization, change) = found(compiled.catalog(), founding, now)?;
        if self.registry.get(id.as_str()).is_some() {
            return Err(already_exists(&id));
        }
        let first = Snapshot::compile(Arc::clone(compiled), organization, 0)?;
        if request.validate_only {
            return Ok(Written {
                revision: self.published(),
                outcome: change.outcome,
            });
        }
        match self.commit_first(first, change, request, now).await? {
            Some(written) => Ok(written),
            None => Err(already_exists(&id)),
        }
    }
}

fn already_exists(id: &OrganizationId) -> Error {
    Refusal::AlreadyExists {
        kind: "organization",
        id: id.to_string(),
    }
    .into()
}
