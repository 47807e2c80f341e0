//! The organizations that are in memory, each as the snapshot published last.
//!
//! Reading one that is there takes no lock. Writers of one organization take
//! turns; publishing happens where the store says that a commit is durable, in
//! its order. An organization that nobody has asked for in a while may leave,
//! and is read from the store when it is asked for again.
//!
//! That nobody sees an older state than one that was acknowledged rests on an
//! order: the store has applied a commit before it is published here, and the
//! cell of an organization is in the map *before* its records are read. So a
//! commit that finds no cell is seen by the reading that follows, and one that
//! finds the cell publishes into it, where only newer snapshots replace older
//! ones. A cell that has left the map is nobody's to read from; whoever still
//! holds it looks again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use papaya::{HashMap, ResizeMode};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::Error;
use crate::domain::identifiers::OrganizationId;
use crate::engine::Snapshot;
use crate::measure::Count;
use crate::store::ReadError;

/// What a cell takes in memory besides its snapshot, in bytes: the cell, its key and
/// its place in the map.
const CELL_BYTES: usize = 512;
/// The most organizations of which it is remembered that they can't be served; more
/// are read again each time they are asked for.
const MAX_UNSOUND: usize = 10_000;

/// One organization: what readers see, and the writers' turn.
pub struct Cell {
    /// `None` until it is read from the store, and when it has left.
    published: ArcSwapOption<Snapshot>,
    /// The round in which it was last asked for.
    used: AtomicU64,
    turn: Arc<Turn<()>>,
    loading: Arc<Turn<()>>,
    books: Mutex<Books>,
    total: Arc<AtomicUsize>,
}

/// What a cell counts for.
#[derive(Default)]
struct Books {
    weight: usize,
    has_left: bool,
}

impl Cell {
    fn new(total: Arc<AtomicUsize>, round: u64) -> Self {
        total.fetch_add(CELL_BYTES, Ordering::Relaxed);
        Self {
            published: ArcSwapOption::empty(),
            used: AtomicU64::new(round),
            turn: Arc::default(),
            loading: Arc::default(),
            books: Mutex::new(Books {
                weight: CELL_BYTES,
                has_left: false,
            }),
            total,
        }
    }

    /// The snapshot published last; `None` where it is to be read from the store first.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.published.load_full()
    }

    /// Waits for this writer's turn. The organization does not leave while it lasts.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Waits for the turn to read it from the store.
    pub async fn loading(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.loading).lock_owned().await
    }

    /// Whether nothing was read into it, and nobody does.
    pub fn is_idle(&self) -> bool {
        self.published.load().is_none() && self.loading.try_lock().is_ok()
    }

    /// Publishes a snapshot unless a newer one is there, or the cell has left.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let mut books = self.books();
        let published = self.published.load();
        let is_newer = published
            .as_ref()
            .is_none_or(|current| current.revision() < snapshot.revision());
        if books.has_left || !is_newer {
            return;
        }
        self.count(&mut books, CELL_BYTES + snapshot.weight());
        self.published.store(Some(snapshot));
    }

    /// Counts again what it takes: answers are remembered while it is asked.
    fn weigh(&self) -> usize {
        let mut books = self.books();
        if let Some(snapshot) = self.published.load().as_ref()
            && !books.has_left
        {
            self.count(&mut books, CELL_BYTES + snapshot.weight());
        }
        books.weight
    }

    /// Lets go of the snapshot, for good.
    fn leave(&self) {
        let mut books = self.books();
        books.has_left = true;
        self.count(&mut books, 0);
        self.published.store(None);
    }

    fn count(&self, books: &mut Books, weight: usize) {
        // Added first, so that the sum is never below what it should be.
        self.total.fetch_add(weight, Ordering::Relaxed);
        self.total.fetch_sub(books.weight, Ordering::Relaxed);
        books.weight = weight;
    }

    fn touch(&self, round: u64) {
        // Not written for nothing: all who ask share the line.
        if self.used.load(Ordering::Relaxed) != round {
            self.used.store(round, Ordering::Relaxed);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an organization is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// It has no owner.
    OwnerMissing,
    /// It lives on a catalog that is not loaded.
    CatalogMissing(String),
    /// A record of it is damaged.
    Damaged(String),
    /// It does not compile on its catalog.
    DoesNotCompile(String),
}

impl Unsound {
    /// What those are told who ask for it.
    pub fn error(&self, organization: &str) -> Error {
        let organization = organization.to_owned();
        match self {
            Self::OwnerMissing => Error::OwnerMissing(organization),
            Self::CatalogMissing(catalog) => Error::CatalogMissing {
                organization,
                catalog: catalog.clone(),
            },
            Self::Damaged(what) => Error::Read(ReadError::Damaged(what.clone())),
            Self::DoesNotCompile(problem) => Error::DoesNotCompile {
                organization,
                problem: problem.clone(),
            },
        }
    }
}

/// All organizations that are in memory.
pub struct Registry {
    cells: HashMap<OrganizationId, Arc<Cell>, RandomState>,
    /// The weights of all cells.
    total: Arc<AtomicUsize>,
    /// The most that all may weigh.
    limit: AtomicUsize,
    /// Counts what is read from the store: how long ago something was asked for is
    /// told in these rounds.
    round: AtomicU64,
    /// How many left for want of room.
    evicted: Count,
    /// Those that can't be served.
    unsound: Mutex<BTreeMap<OrganizationId, Unsound>>,
    /// Those who make room take turns.
    evicting: Mutex<()>,
    /// Whether somebody is about to.
    is_settling: AtomicBool,
    /// Those who found organizations take turns.
    founding: Turn<()>,
}

impl Registry {
    /// An empty one, to weigh at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            // A map that grows bit by bit stops half way when nothing comes any more,
            // and then every reading looks in two tables.
            cells: HashMap::builder()
                .hasher(RandomState::default())
                .resize_mode(ResizeMode::Blocking)
                .build(),
            total: Arc::default(),
            limit: AtomicUsize::new(limit),
            round: AtomicU64::new(0),
            evicted: Count::default(),
            unsound: Mutex::default(),
            evicting: Mutex::default(),
            is_settling: AtomicBool::new(false),
            founding: Turn::default(),
        }
    }

    /// The snapshot of that organization, if it is in memory.
    pub fn snapshot(&self, id: &str) -> Option<Arc<Snapshot>> {
        let cells = self.cells.pin();
        let cell = cells.get(id)?;
        let snapshot = cell.snapshot()?;
        cell.touch(self.round.load(Ordering::Relaxed));
        Some(snapshot)
    }

    /// Reads the snapshot of that organization, if it is in memory, without counting
    /// among those who hold it: many threads ask at a time, and none is to wait for the
    /// count of another.
    pub fn read<T>(&self, id: &str, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let cells = self.cells.pin();
        let cell = cells.get(id)?;
        let snapshot = cell.published.load();
        let snapshot = snapshot.as_ref()?;
        cell.touch(self.round.load(Ordering::Relaxed));
        Some(read(snapshot))
    }

    /// The cell of that organization; an empty one if there was none.
    pub fn cell(&self, id: &OrganizationId) -> Arc<Cell> {
        let round = self.round.load(Ordering::Relaxed);
        let cells = self.cells.pin();
        let new = || Arc::new(Cell::new(Arc::clone(&self.total), round));
        let cell = cells.get_or_insert_with(id.clone(), new);
        cell.touch(round);
        Arc::clone(cell)
    }

    /// Whether that is still the organization's cell, and not one that left meanwhile.
    pub fn holds(&self, id: &OrganizationId, cell: &Arc<Cell>) -> bool {
        self.cells
            .pin()
            .get(id)
            .is_some_and(|held| Arc::ptr_eq(held, cell))
    }

    /// Publishes the next snapshot of an organization, if that is in memory.
    pub fn publish(&self, id: &OrganizationId, snapshot: Arc<Snapshot>) {
        let cell = self.cells.pin().get(id).cloned();
        if let Some(cell) = cell {
            cell.publish(snapshot);
        }
    }

    /// Takes in an organization that was founded.
    pub fn publish_first(&self, id: &OrganizationId, snapshot: Arc<Snapshot>) {
        self.cell(id).publish(snapshot);
    }

    /// Forgets a deleted organization.
    pub fn forget(&self, id: &OrganizationId) {
        if let Some(cell) = self.cells.pin().remove(id) {
            cell.leave();
        }
        self.unsound().remove(id);
    }

    /// Takes a cell away into which nothing was read, so that ids of nothing take no room.
    pub fn drop_empty(&self, id: &OrganizationId, cell: &Arc<Cell>) {
        let is_it = |_: &OrganizationId, held: &Arc<Cell>| {
            Arc::ptr_eq(held, cell) && held.published.load().is_none()
        };
        if let Ok(Some(_)) = self.cells.pin().remove_if(id, is_it) {
            cell.leave();
        }
    }

    /// Begins a round: something is read from the store.
    pub fn next_round(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether more is in memory than may be.
    pub fn is_overweight(&self) -> bool {
        self.weight() > self.limit()
    }

    /// Sets what all may weigh, in bytes. Whatever is too much leaves when room is made next.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// What all that is in memory weighs, in bytes.
    pub fn weight(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// What it may weigh at most.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many are in memory, or about to be.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// How many left for want of room.
    pub fn evicted(&self) -> u64 {
        self.evicted.get()
    }

    /// Lets organizations go until all that stay weigh no more than they may: the
    /// longest unasked first, but those that have no room at all before all others.
    /// `asked` stays where anything may, or else the one that was asked for last, and so
    /// does what is being written.
    pub fn make_room(&self, asked: Option<&OrganizationId>) {
        let _one_at_a_time = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_overweight() {
            return;
        }
        let limit = self.limit();
        let cells = self.cells.pin();
        let mut resident: Vec<(bool, u64, &OrganizationId, &Arc<Cell>)> = cells
            .iter()
            .filter(|(_, cell)| cell.published.load().is_some())
            .map(|(id, cell)| {
                let has_room = cell.weigh() <= limit;
                (has_room, cell.used.load(Ordering::Relaxed), id, cell)
            })
            .collect();
        let latest = resident.iter().max_by_key(|(_, used, _, _)| *used);
        let spared = asked.or(latest.map(|(_, _, id, _)| *id)).cloned();
        let spared = spared.filter(|_| limit > 0);
        resident.sort_unstable_by_key(|(has_room, used, id, _)| (*has_room, *used, *id));
        // A little more than needed, so that not everyone who reads has to make room.
        let enough = limit - limit / 16;
        for (_, _, id, cell) in resident {
            if self.weight() <= enough {
                break;
            }
            if spared.as_ref() != Some(id) {
                self.evict(id, cell);
            }
        }
    }

    /// Whether nobody is about to make room already; whoever is told so has to
    /// [`settle`](Self::settle).
    pub fn begin_settling(&self) -> bool {
        !self.is_settling.swap(true, Ordering::AcqRel)
    }

    /// Makes room for whatever was published meanwhile.
    pub fn settle(&self) {
        self.is_settling.store(false, Ordering::Release);
        self.make_room(None);
    }

    /// Counts again what everything takes.
    pub fn weigh_all(&self) {
        for cell in self.cells.pin().values() {
            cell.weigh();
        }
    }

    fn evict(&self, id: &OrganizationId, cell: &Arc<Cell>) {
        // Whoever writes has the turn, and keeps it in memory.
        let Ok(_turn) = Arc::clone(&cell.turn).try_lock_owned() else {
            return;
        };
        let is_it = |_: &OrganizationId, held: &Arc<Cell>| Arc::ptr_eq(held, cell);
        if let Ok(Some(_)) = self.cells.pin().remove_if(id, is_it) {
            cell.leave();
            self.evicted.add(1);
        }
    }

    /// Keeps an organization from being served.
    pub fn set_aside(&self, id: &OrganizationId, why: Unsound) {
        let mut unsound = self.unsound();
        if unsound.len() < MAX_UNSOUND {
            unsound.insert(id.clone(), why);
        }
    }

    /// Why an organization is kept from being served, if it is.
    pub fn why_aside(&self, id: &str) -> Option<Unsound> {
        self.unsound().get(id).cloned()
    }

    fn unsound(&self) -> MutexGuard<'_, BTreeMap<OrganizationId, Unsound>> {
        self.unsound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to found an organization.
    pub async fn founding_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.founding.lock().await
    }
}
