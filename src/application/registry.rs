//! Every organization by id, as the snapshot published last.
//!
//! Reading takes no lock. Writers of one organization take turns; publishing
//! happens where the store says that a commit is durable, in its order.

use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdSet;
use papaya::HashMap;
use tokio::sync::{Mutex, MutexGuard};

use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::Moment;
use crate::engine::Snapshot;

/// One organization: what readers see, and the writers' turn.
pub struct Cell {
    published: ArcSwap<Snapshot>,
    turn: Mutex<()>,
}

impl Cell {
    /// The snapshot published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// Waits for this writer's turn.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Publishes a snapshot unless a newer one is there.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.published.rcu(|current| {
            if current.revision() < snapshot.revision() {
                Arc::clone(&snapshot)
            } else {
                Arc::clone(current)
            }
        });
    }
}

/// All organizations.
#[derive(Default)]
pub struct Registry {
    cells: HashMap<OrganizationId, Arc<Cell>>,
    /// The same ids in order, for lists.
    ids: ArcSwap<OrdSet<OrganizationId>>,
    /// Those that can't be served, for want of an owner.
    set_aside: ArcSwap<OrdSet<OrganizationId>>,
    /// Those who found organizations take turns.
    founding: Mutex<()>,
}

impl Registry {
    /// The organization of that id.
    pub fn get(&self, id: &str) -> Option<Arc<Cell>> {
        self.cells.pin().get(id).cloned()
    }

    /// Whether that is still the organization's cell, and not that of one deleted meanwhile.
    pub fn holds(&self, id: &str, cell: &Arc<Cell>) -> bool {
        self.cells
            .pin()
            .get(id)
            .is_some_and(|held| Arc::ptr_eq(held, cell))
    }

    /// The snapshot of that organization.
    pub fn snapshot(&self, id: &str) -> Option<Arc<Snapshot>> {
        self.cells.pin().get(id).map(|cell| cell.snapshot())
    }

    /// Makes a new organization known, or the next snapshot of a known one.
    pub fn publish(&self, id: &OrganizationId, snapshot: Arc<Snapshot>) {
        match self.get(id.as_str()) {
            Some(cell) => cell.publish(snapshot),
            None => {
                let cell = Cell {
                    published: ArcSwap::new(snapshot),
                    turn: Mutex::new(()),
                };
                self.cells.pin().insert(id.clone(), Arc::new(cell));
                self.ids.rcu(|ids| ids.update(id.clone()));
            }
        }
    }

    /// Forgets a deleted organization.
    pub fn forget(&self, id: &OrganizationId) {
        self.cells.pin().remove(id);
        self.ids.rcu(|ids| ids.without(id));
    }

    /// Keeps an organization from being served that was found without its owner.
    pub fn set_aside(&self, id: &OrganizationId) {
        self.set_aside.rcu(|ids| ids.update(id.clone()));
    }

    /// Whether an organization is kept from being served.
    pub fn is_set_aside(&self, id: &str) -> bool {
        self.set_aside.load().contains(id)
    }

    /// Waits for the turn to found an organization.
    pub async fn founding_turn(&self) -> MutexGuard<'_, ()> {
        self.founding.lock().await
    }

    /// Organizations in which something has ended by `now`.
    pub fn due(&self, now: Moment) -> Vec<OrganizationId> {
        let cells = self.cells.pin();
        cells
            .iter()
            .filter(|(_, cell)| {
                let snapshot = cell.published.load();
                let first = snapshot.organization().deadlines.first();
                first.is_some_and(|(end, _)| *end <= now)
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Ids after `after`, ascending, at most `limit`.
    pub fn ids(&self, after: &str, limit: usize) -> Vec<OrganizationId> {
        let beyond = (
            Bound::Excluded(OrganizationId::new(after)),
            Bound::Unbounded,
        );
        self.ids.load().range(beyond).take(limit).cloned().collect()
    }
}
