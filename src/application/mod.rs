//! Use cases, and the one write path.
//!
//! An [`Application`] holds every organization as a published snapshot. A check
//! reads one and asks the engine. A change goes through [`mutate`]: load,
//! decide, apply, compile, commit, publish. Nothing here knows the wire, Cedar
//! or how the store keeps records.

pub mod actor;
pub mod audit;
pub mod check;
pub mod directory;
pub mod error;
pub mod example;
pub mod expiry;
pub mod integrity;
pub mod invitations;
pub mod link_template;
pub mod links;
pub mod listing;
pub mod mutate;
pub mod notifications;
pub mod organizations;
pub mod outbox;
pub mod registry;
pub mod revision;
pub mod tokens;
pub mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

pub use actor::{Actor, Caller, Need, Turn};
pub use check::{Check, Checked, Reader};
pub use error::Error;
pub use link_template::LinkTemplate;
pub use links::Links;
pub use listing::{Page, PageRequest};
pub use mutate::{Request, Written};
pub use tokens::{Secret, TokenCheck, TokenChecked};

use crate::domain::identifiers::CatalogId;
use crate::engine::{CompiledCatalog, Snapshot};
use crate::store::{ReadError, Store};
use crate::world::World;
use directory::Directory;
use integrity::Integrity;
use outbox::Outbox;
use registry::Registry;
use revision::Progress;
use tokens::TokenUses;

/// Everything that use cases need.
pub struct Application {
    catalogs: BTreeMap<CatalogId, Arc<CompiledCatalog>>,
    store: Arc<dyn Store>,
    world: Arc<dyn World>,
    links: Links,
    link_template: Option<LinkTemplate>,
    registry: Arc<Registry>,
    progress: Arc<Progress>,
    token_uses: TokenUses,
    directory: Arc<Directory>,
    /// Turns to read much of the history at a time.
    auditing: Arc<Semaphore>,
    outbox: Arc<Outbox>,
    integrity: Arc<Integrity>,
}

/// The application could not be started on what the store holds.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed to read.
    #[error("the store can't be read: {0}")]
    Read(#[from] ReadError),
    /// An organization lives on a catalog that was not loaded.
    #[error(
        "organization `{organization}` lives on catalog `{catalog}`, which is not among the catalogs loaded"
    )]
    UnknownCatalog {
        /// The organization.
        organization: String,
        /// Its catalog.
        catalog: String,
    },
    /// An organization no longer compiles.
    #[error("organization `{organization}` does not compile on its catalog: {problem}")]
    Compile {
        /// The organization.
        organization: String,
        /// What the engine says.
        problem: String,
    },
}

impl Application {
    /// Loads every organization of the store and compiles it. Links are made and
    /// recognised with `links`.
    pub fn start(
        catalogs: Vec<Arc<CompiledCatalog>>,
        store: Arc<dyn Store>,
        world: Arc<dyn World>,
        links: Links,
    ) -> Result<Self, StartError> {
        let catalogs = catalogs
            .into_iter()
            .map(|catalog| (catalog.catalog().id.clone(), catalog))
            .collect();
        let progress = Arc::new(Progress::starting_at(store.head().sequence));
        let application = Self {
            catalogs,
            store,
            world,
            links,
            link_template: None,
            registry: Arc::new(Registry::default()),
            progress,
            token_uses: TokenUses::default(),
            directory: Arc::default(),
            auditing: Arc::new(Semaphore::new(audit::MAX_READERS)),
            outbox: Arc::default(),
            integrity: Arc::default(),
        };
        application.load()?;
        Ok(application)
    }

    /// Sends links as this template says, instead of bare tokens.
    #[must_use]
    pub fn with_link_template(mut self, template: Option<LinkTemplate>) -> Self {
        self.link_template = template;
        self
    }

    fn load(&self) -> Result<(), StartError> {
        const PAGE: usize = 1_000;
        let mut after = None;
        loop {
            let page = self.store.organizations(after.as_ref(), PAGE)?;
            for id in &page {
                let Some((organization, sequence)) = self.store.load(id)? else {
                    continue;
                };
                if !organization.has_owner() {
                    tracing::error!(
                        organization = %id,
                        "found without its owner, is not served; restore it from a backup"
                    );
                    self.integrity.note(id, Some("it has no owner"));
                    self.registry.set_aside(id);
                    continue;
                }
                let catalog = &organization.profile.catalog;
                let Some(compiled) = self.catalogs.get(catalog) else {
                    return Err(StartError::UnknownCatalog {
                        organization: id.to_string(),
                        catalog: catalog.to_string(),
                    });
                };
                let snapshot = Snapshot::compile(Arc::clone(compiled), organization, sequence.0)
                    .map_err(|error| StartError::Compile {
                        organization: id.to_string(),
                        problem: error.to_string(),
                    })?;
                self.integrity.note(id, snapshot.fault().as_deref());
                self.directory.add_all(snapshot.organization());
                let snapshot = Arc::new(snapshot);
                self.registry.publish(id, Arc::clone(&snapshot));
                self.outbox.add_all(snapshot.organization());
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The catalogs, ascending by id.
    pub fn catalogs(&self) -> impl Iterator<Item = &Arc<CompiledCatalog>> {
        self.catalogs.values()
    }

    /// The catalog of that id.
    pub fn catalog(&self, id: &str) -> Option<&Arc<CompiledCatalog>> {
        self.catalogs.get(id)
    }

    /// Which organizations are unsound.
    pub fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    /// Where time and ids come from.
    pub fn world(&self) -> &dyn World {
        &*self.world
    }
}
