//! Organizations come into memory when they are asked for, and leave when others
//! need the room.
//!
//! A check of an organization that is in memory goes on at once
//! ([`resident`](Application::resident)); any other takes the way that waits
//! ([`find`](Application::find)): one reading for all who ask at the same time, on
//! a thread that may block, only so many at once. What was read stays, whether or
//! not somebody still waits for it. See [`registry`](super::registry) for why
//! nobody sees an older state than they may.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::figures::Loads;
use super::integrity::Integrity;
use super::registry::{Cell, Registry, Unsound};
use super::{Application, Error};
use crate::domain::identifiers::{CatalogId, OrganizationId, identifier_fault};
use crate::domain::organization::{Organization, Version};
use crate::domain::refusal::{Fault, Violation};
use crate::engine::{CompileError, OfferedCatalog, Snapshot};
use crate::store::{ReadError, Sequence, Store};

/// The most organizations that are read from the store at the same time, if there are as
/// many cores: each thread that reads has memory of its own for what it reads.
const READINGS_AT_ONCE: usize = 4;
/// How many may wait for that.
const MAX_WAITING: usize = 512;
/// How many ids are listed at once, for looking at every organization.
const LOOKED_AT_ONCE: usize = 256;
/// How long to rest after each organization that was looked at, so that checks have
/// the machine for themselves for most of the time.
const REST: Duration = Duration::from_millis(2);

/// Is told of every organization that is found damaged or unsound, and why.
pub type Alarm = Box<dyn Fn(&OrganizationId, &Error) + Send + Sync>;

/// Reads organizations from the store and compiles them.
pub(super) struct Loader {
    pub(super) store: Arc<dyn Store>,
    pub(super) catalogs: BTreeMap<CatalogId, OfferedCatalog>,
    pub(super) registry: Arc<Registry>,
    pub(super) loads: Loads,
    integrity: Arc<Integrity>,
    /// Turns to read.
    readings: Arc<Semaphore>,
    /// Places to wait for one.
    waiting: Semaphore,
    alarm: OnceLock<Alarm>,
}

impl Loader {
    pub(super) fn new(
        store: Arc<dyn Store>,
        catalogs: BTreeMap<CatalogId, OfferedCatalog>,
        registry: Arc<Registry>,
        integrity: Arc<Integrity>,
    ) -> Self {
        Self {
            store,
            catalogs,
            registry,
            loads: Loads::default(),
            integrity,
            readings: Arc::new(Semaphore::new(readings_at_once())),
            waiting: Semaphore::new(MAX_WAITING),
            alarm: OnceLock::new(),
        }
    }

    /// Reads an organization into its cell; nothing if there is none of that id.
    fn load(&self, id: &OrganizationId, cell: &Arc<Cell>) -> Result<Option<Arc<Snapshot>>, Error> {
        self.registry.next_round();
        let read = self.loads.measured(|| self.read(id));
        match &read {
            Ok(Some(snapshot)) => {
                cell.publish(Arc::clone(snapshot));
                self.judge(id, snapshot);
                self.registry.make_room(Some(id));
            }
            Ok(None) | Err(_) => self.registry.drop_empty(id, cell),
        }
        // A commit may have published a newer one meanwhile.
        Ok(read?.map(|snapshot| cell.snapshot().unwrap_or(snapshot)))
    }

    /// Reads and compiles an organization. One that is unsound is told of, once, and not
    /// served any more: nothing but another start can change that.
    fn read(&self, id: &OrganizationId) -> Result<Option<Arc<Snapshot>>, Error> {
        let why = match self.store.load(id) {
            Ok(None) => return Ok(None),
            Ok(Some((organization, sequence))) => match self.compile(organization, sequence) {
                Ok(snapshot) => return Ok(Some(Arc::new(snapshot))),
                Err(why) => why,
            },
            Err(ReadError::Damaged(what)) => Unsound::Damaged(what),
            Err(fault) => return Err(Error::Read(fault)),
        };
        let error = why.error(id.as_str());
        report(id, &why);
        self.integrity.note(id, Some(&error.to_string()));
        self.registry.set_aside(id, why);
        if let Some(alarm) = self.alarm.get() {
            alarm(id, &error);
        }
        Err(error)
    }

    fn compile(&self, organization: Organization, sequence: Sequence) -> Result<Snapshot, Unsound> {
        if !organization.has_owner() {
            return Err(Unsound::OwnerMissing);
        }
        let catalog = &organization.profile.catalog;
        let Some(offered) = self.catalogs.get(catalog) else {
            return Err(Unsound::CatalogMissing(catalog.to_string()));
        };
        offered
            .compiled()
            .map_err(CompileError::from)
            .and_then(|compiled| Snapshot::compile(Arc::clone(compiled), organization, sequence.0))
            .map_err(|problem| Unsound::DoesNotCompile(problem.to_string()))
    }

    /// Tells whether an organization that was read is sound. A newer state that was
    /// published meanwhile has the last word.
    fn judge(&self, id: &OrganizationId, read: &Snapshot) {
        self.integrity.note(id, read.fault().as_deref());
        if let Some(resident) = self.registry.snapshot(id.as_str())
            && resident.revision() > read.revision()
        {
            self.integrity.note(id, resident.fault().as_deref());
        }
    }

    /// Whether an organization can be served; tells of one that can't, and of one that
    /// names what is not there.
    fn look_at(&self, id: &OrganizationId) -> Result<(), Error> {
        // What is read is let go again: nobody has asked for it.
        let found = match self.registry.snapshot(id.as_str()) {
            Some(resident) => Some(resident),
            None => self.read(id)?,
        };
        if let Some(snapshot) = found {
            self.judge(id, &snapshot);
        }
        Ok(())
    }
}

/// How many organizations are read at the same time.
fn readings_at_once() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(2, READINGS_AT_ONCE)
}

/// Tells the operator of an organization that is not served, and what to do.
fn report(organization: &OrganizationId, why: &Unsound) {
    match why {
        Unsound::OwnerMissing => tracing::error!(
            %organization,
            "found without its owner, is not served; restore it from a backup"
        ),
        Unsound::CatalogMissing(catalog) => tracing::error!(
            %organization,
            catalog,
            "lives on a catalog that is not loaded, is not served; start with that catalog"
        ),
        Unsound::Damaged(what) => tracing::error!(
            %organization,
            what,
            "a record is damaged, the organization is not served; at the next start every \
             record is checked against the journal"
        ),
        Unsound::DoesNotCompile(problem) => tracing::error!(
            %organization,
            problem,
            "does not compile on its catalog, is not served; correct the catalog"
        ),
    }
}

impl Application {
    /// Has `alarm` told of every organization that is found damaged or unsound. The
    /// first one set stays.
    #[must_use]
    pub fn with_alarm(self, alarm: Alarm) -> Self {
        // Whoever composes the application sets it once.
        drop(self.loader.alarm.set(alarm));
        self
    }

    /// The organization, if it is in memory: takes no lock and does not wait.
    pub fn resident(&self, organization: &str) -> Option<Arc<Snapshot>> {
        self.registry.snapshot(organization)
    }

    /// The organization as it is.
    pub async fn find(&self, organization: &str) -> Result<Arc<Snapshot>, Error> {
        match self.resident(organization) {
            Some(snapshot) => Ok(snapshot),
            None => self.fetch(organization).await,
        }
    }

    /// Reads the organization from the store, or waits for those who do already.
    async fn fetch(&self, organization: &str) -> Result<Arc<Snapshot>, Error> {
        if organization.is_empty() {
            return Err(Error::invalid(vec![Violation::new(
                "organization",
                Fault::Missing,
                "must be given",
            )]));
        }
        let Some(id) = self.servable(organization)? else {
            return Err(Error::unknown_organization(organization));
        };
        loop {
            let vacancy = Vacancy::of(&self.registry, &id);
            let cell = &vacancy.cell;
            let found = self.fill(&id, cell).await?;
            match found {
                Filled::With(snapshot) => return Ok(snapshot),
                Filled::Nothing => return Err(Error::unknown_organization(organization)),
                Filled::Left => {}
            }
        }
    }

    /// Waits for the turn to change an organization, which then stays in memory while
    /// the turn lasts; nothing if there is none.
    pub(super) async fn take_turn(&self, organization: &str) -> Result<Option<Writing>, Error> {
        let Some(id) = self.servable(organization)? else {
            return Ok(None);
        };
        loop {
            let vacancy = Vacancy::of(&self.registry, &id);
            let cell = &vacancy.cell;
            let turn = cell.turn().await;
            if !self.registry.holds(&id, cell) {
                continue;
            }
            let current = match cell.snapshot() {
                Some(current) => current,
                None => match self.fill(&id, cell).await? {
                    Filled::With(current) => current,
                    Filled::Nothing => return Ok(None),
                    Filled::Left => continue,
                },
            };
            return Ok(Some(Writing {
                current,
                _turn: turn,
            }));
        }
    }

    /// Reads an organization into its cell, unless somebody else did meanwhile.
    async fn fill(&self, id: &OrganizationId, cell: &Arc<Cell>) -> Result<Filled, Error> {
        // Refused at once rather than after a wait that nobody can foresee the end of.
        let place = self.loader.waiting.try_acquire();
        let _place = place.map_err(|_| {
            self.loader.loads.refuse();
            Error::Overloaded
        })?;
        let turn = cell.loading().await;
        if let Some(snapshot) = cell.snapshot() {
            return Ok(Filled::With(snapshot));
        }
        if !self.registry.holds(id, cell) {
            return Ok(Filled::Left);
        }
        let (id, cell) = (id.clone(), Arc::clone(cell));
        let loaded = self.reading(move |loader| {
            // Kept until it is read, even if nobody waits for it any more.
            let _turn: OwnedMutexGuard<()> = turn;
            loader.load(&id, &cell)
        });
        Ok(match loaded.await? {
            Some(snapshot) => Filled::With(snapshot),
            None => Filled::Nothing,
        })
    }

    /// Reads on a thread that may block, when it is this reading's turn.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Loader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.loader.readings).acquire_owned().await;
        let permit = permit.map_err(|_| failed("nothing is read any more"))?;
        let loader = Arc::clone(&self.loader);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&loader)
        });
        reading
            .await
            .unwrap_or_else(|_| Err(failed("reading an organization failed")))
    }

    /// Asks the store something small, on a thread that may block.
    pub(super) async fn ask_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.loader.store);
        match tokio::task::spawn_blocking(move || ask(&*store)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(failed("asking the store failed")),
        }
    }

    /// The version of an organization; nothing if there is none.
    pub(super) async fn version_of(&self, organization: &str) -> Result<Option<Version>, Error> {
        if let Some(snapshot) = self.resident(organization) {
            return Ok(Some(snapshot.organization().version));
        }
        if identifier_fault(organization).is_some() {
            return Ok(None);
        }
        let id = OrganizationId::new(organization);
        let mark = self.ask_store(move |store| store.mark(&id)).await?;
        Ok(mark.map(|(version, _)| version))
    }

    /// The id, if it is one; refused for an organization that is kept from being served.
    fn servable(&self, organization: &str) -> Result<Option<OrganizationId>, Error> {
        match self.registry.why_aside(organization) {
            Some(why) => Err(why.error(organization)),
            None if identifier_fault(organization).is_some() => Ok(None),
            None => Ok(Some(OrganizationId::new(organization))),
        }
    }

    /// Lets organizations go if there is not enough room for all.
    pub(super) fn settle(&self) {
        if self.registry.is_overweight() && self.registry.begin_settling() {
            let registry = Arc::clone(&self.registry);
            // Letting go of a large organization takes its time. Nobody waits for it.
            drop(tokio::task::spawn_blocking(move || registry.settle()));
        }
    }

    /// Counts again what all organizations take in memory, and lets go of those that
    /// there is no room for. Passes by all of them: not for a thread that may not block.
    pub fn tend_memory(&self) {
        self.registry.weigh_all();
        self.registry.make_room(None);
    }

    /// Sets what organizations may weigh, in bytes, and lets go of those that there is no
    /// room for, which is not for a thread that may not block.
    pub fn give_room(&self, bytes: usize) {
        self.registry.set_limit(bytes);
        self.registry.make_room(None);
    }

    /// What the organizations in memory weigh, in bytes, by estimate.
    pub fn weight(&self) -> usize {
        self.registry.weight()
    }

    /// Looks once at every organization, slowly, so that one that is damaged or unsound
    /// is known before somebody asks for it. Answers with how many can't be served.
    pub async fn look_over(&self) -> Result<usize, Error> {
        let mut faults = 0;
        let mut after = None;
        loop {
            let begin = after.clone();
            let page = self
                .ask_store(move |store| store.organizations(begin.as_ref(), LOOKED_AT_ONCE))
                .await?;
            for id in &page {
                let asked = id.clone();
                let looked = self.reading(move |loader| loader.look_at(&asked));
                match looked.await {
                    Err(Error::Read(ReadError::Unavailable(why))) => {
                        return Err(Error::Read(ReadError::Unavailable(why)));
                    }
                    looked => faults += usize::from(looked.is_err()),
                }
                tokio::time::sleep(REST).await;
            }
            match page.last() {
                Some(last) if page.len() == LOOKED_AT_ONCE => after = Some(last.clone()),
                _ => return Ok(faults),
            }
        }
    }
}

fn failed(why: &str) -> Error {
    Error::Read(ReadError::Unavailable(why.to_owned()))
}

/// A writer's turn with the state that it is to change.
pub(super) struct Writing {
    pub(super) current: Arc<Snapshot>,
    _turn: OwnedMutexGuard<()>,
}

/// What reading into a cell came to.
enum Filled {
    With(Arc<Snapshot>),
    /// There is no organization of that id.
    Nothing,
    /// The cell left meanwhile; there may be another.
    Left,
}

/// A cell that somebody is about to fill: if they go away before that, it goes too.
struct Vacancy<'a> {
    registry: &'a Registry,
    id: &'a OrganizationId,
    cell: Arc<Cell>,
}

impl<'a> Vacancy<'a> {
    fn of(registry: &'a Registry, id: &'a OrganizationId) -> Self {
        let cell = registry.cell(id);
        Self { registry, id, cell }
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        // Whoever reads into it drops it themself where there is nothing to read.
        if self.cell.is_idle() {
            self.registry.drop_empty(self.id, &self.cell);
        }
    }
}
