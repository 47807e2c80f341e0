//! Use cases, and the one write path.
//!
//! An [`Application`] holds the organizations that are asked for as published
//! snapshots, and reads others when they are. A check takes one and asks the engine. A change goes through [`mutate`]: load,
//! decide, apply, compile, commit, publish. Nothing here knows the wire, Cedar
//! or how the store keeps records.

pub mod actor;
pub mod audit;
pub mod caller_keys;
pub mod check;
pub mod error;
pub mod example;
pub mod expiry;
pub mod figures;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod integrity;
pub mod invitations;
pub mod link_template;
pub mod links;
pub mod listing;
pub mod mutate;
pub mod notifications;
pub mod operating;
pub mod organizations;
pub mod outbox;
pub mod permits;
pub mod registry;
pub mod residence;
pub mod revision;
pub mod tokens;
pub mod transfer;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use actor::{Actor, Caller, Need, Turn};
pub use check::{Check, Checked, Reader};
pub use error::Error;
pub use link_template::LinkTemplate;
pub use links::Links;
pub use listing::{Page, PageRequest};
pub use mutate::{Request, Written};
pub use permits::{Bounds, Permit, Scope, Scopes};
pub use tokens::{Secret, TokenCheck, TokenChecked};

use crate::domain::organization::Moment;
use crate::engine::OfferedCatalog;
use crate::store::Store;
use crate::world::World;
use caller_keys::CallerKeys;
use expiry::Resting;
use integrity::Integrity;
use outbox::Outbox;
use registry::Registry;
use residence::Loader;
use revision::Progress;
use tokens::TokenUses;

/// Everything that use cases need.
pub struct Application {
    loader: Arc<Loader>,
    store: Arc<dyn Store>,
    world: Arc<dyn World>,
    /// When this one was made.
    started_at: Moment,
    links: Links,
    link_template: Option<LinkTemplate>,
    registry: Arc<Registry>,
    progress: Arc<Progress>,
    token_uses: TokenUses,
    resting: Resting,
    /// Turns to read much of the history at a time.
    auditing: Arc<Semaphore>,
    outbox: Arc<Outbox>,
    integrity: Arc<Integrity>,
    caller_keys: Arc<CallerKeys>,
}

impl Application {
    /// On a store, of which nothing is read yet. Links are made and recognised with
    /// `links`; organizations in memory weigh at most `budget` bytes.
    pub fn start(
        catalogs: Vec<impl Into<OfferedCatalog>>,
        store: Arc<dyn Store>,
        world: Arc<dyn World>,
        links: Links,
        budget: usize,
    ) -> Self {
        let catalogs = catalogs
            .into_iter()
            .map(Into::into)
            .map(|offered: OfferedCatalog| (offered.catalog().id.clone(), offered))
            .collect();
        let registry = Arc::new(Registry::new(budget));
        let integrity = Arc::new(Integrity::default());
        Self {
            progress: Arc::new(Progress::starting_at(store.head().sequence)),
            loader: Arc::new(Loader::new(
                Arc::clone(&store),
                catalogs,
                Arc::clone(&registry),
                Arc::clone(&integrity),
            )),
            store,
            started_at: world.now(),
            world,
            links,
            link_template: None,
            registry,
            token_uses: TokenUses::default(),
            resting: Resting::default(),
            auditing: Arc::new(Semaphore::new(audit::MAX_READERS)),
            outbox: Arc::default(),
            integrity,
            caller_keys: Arc::default(),
        }
    }

    /// Sends links as this template says, instead of bare tokens.
    #[must_use]
    pub fn with_link_template(mut self, template: Option<LinkTemplate>) -> Self {
        self.link_template = template;
        self
    }

    /// The catalogs, ascending by id.
    pub fn catalogs(&self) -> impl Iterator<Item = &OfferedCatalog> {
        self.loader.catalogs.values()
    }

    /// The catalog of that id.
    pub fn catalog(&self, id: &str) -> Option<&OfferedCatalog> {
        self.loader.catalogs.get(id)
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
