//! Organizations come into memory when they are asked for and leave when there is no
//! room, and nobody can tell from the answers.

mod oracle;
mod room;
mod store;
mod twins;

use std::sync::Arc;

use roster::application::actor::Actor;
use roster::application::{Application, Caller, Error, Links, Need, Request, Written};
use roster::domain::lifecycle::Founding;
use roster::store::Store;
use roster::store::memory::MemoryStore;
use roster::world::StillWorld;

use crate::harness::{Daemon, LINK_KEY, NOW, catalogs};

/// More than any test takes.
const UNLIMITED: usize = usize::MAX;
/// No room for two: whichever was asked for last stays.
const ONE_AT_A_TIME: usize = 1;

/// An application on a store, with so much room for organizations.
fn application(store: Arc<dyn Store>, budget: usize) -> Arc<Application> {
    let world = Arc::new(StillWorld::at(NOW));
    let links = Links::new(&LINK_KEY);
    Arc::new(Application::start(catalogs(), store, world, links, budget))
}

/// A daemon on which `acme` was founded, started without the catalog it lives on.
pub async fn without_its_catalog() -> Daemon {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.found("acme", "greenhouse").await;
    daemon.stop().await;
    let mut others = catalogs();
    others.retain(|catalog| catalog.catalog().id.as_str() != "greenhouse");
    Daemon::start_with(others, store).await
}

fn request() -> Request {
    Request {
        caller: Caller {
            name: "test".to_owned(),
            actor: Actor::Operator,
        },
        method: "Test",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    }
}

fn founding(id: &str, name: &str) -> Founding {
    Founding {
        id: id.to_owned(),
        display_name: name.to_owned(),
        plan: "commercial".to_owned(),
        owner: "owner".to_owned(),
        owner_display_name: String::new(),
        owner_email: String::new(),
    }
}

async fn found(application: &Application, id: &str) -> Written {
    try_found(application, id, id).await.expect("it is founded")
}

async fn try_found(application: &Application, id: &str, name: &str) -> Result<Written, Error> {
    application
        .create_organization("greenhouse", &founding(id, name), &request())
        .await
}

async fn rename(application: &Application, id: &str, name: &str) -> Result<Written, Error> {
    application
        .mutate(id, Need::Operator, &request(), |turn| {
            turn.organization().update_organization(name, "")
        })
        .await
}

async fn delete(application: &Application, id: &str) -> Result<Written, Error> {
    application
        .mutate(id, Need::Operator, &request(), |turn| {
            turn.organization().delete_organization("")
        })
        .await
}

/// The name that an organization is found under.
async fn name(application: &Application, id: &str) -> String {
    let found = application.find(id).await.expect("it is there");
    found.organization().profile.display_name.clone()
}
