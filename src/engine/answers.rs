//! Answers of Cedar, remembered where they follow from a position alone.
//!
//! A *position* is everything about the principal that policies of roles and
//! rules can see: the roles held on the organization, whether those are replaced
//! in the resource's project, what is held on that project, and whether the
//! principal is the owner or suspended. Together with the action, the resource's
//! type and whether the principal owns the resource it settles every decision
//! that no applicable policy reads an attribute or the context for. Such answers
//! are kept here, in tables that belong to one set of compiled policies, so that
//! none can go stale: other policies, other tables.
//!
//! Nothing here decides; what is not remembered is asked of Cedar.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use papaya::{Equivalent, HashMap};

use super::policies::PermissionsId;
use crate::domain::Catalog;
use crate::domain::catalog::{ActionIndex, TypeIndex};
use crate::domain::holdings::Validity;
use crate::domain::identifiers::RoleId;

/// Positions remembered for one set of policies; when they are full, all are forgotten,
/// so that no tenant can keep the others from being remembered.
const MAX_POSITIONS: usize = 4_096;

/// What a table takes besides its cells: the position and its place in the map.
const POSITION_BYTES: usize = 256;

const UNKNOWN: u8 = 0;
const ALLOW: u8 = 1;
const DENY: u8 = 2;

/// A principal's standing towards a resource, borrowed from the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Position<'a> {
    /// Whether the principal owns the organization.
    pub(super) owner: bool,
    /// Whether what the principal holds counts.
    pub(super) validity: Validity,
    /// Whether the roles on the organization are replaced in the resource's project.
    pub(super) overridden: bool,
    /// Roles on the organization.
    pub(super) roles: &'a [RoleId],
    /// Roles on the resource's project, the override's where there is one.
    pub(super) project_roles: &'a [RoleId],
    /// Permissions that the override spells out.
    pub(super) permissions: Option<&'a PermissionsId>,
}

/// The same, kept.
#[derive(PartialEq, Eq)]
struct KeptPosition {
    owner: bool,
    validity: Validity,
    overridden: bool,
    roles: Box<[RoleId]>,
    project_roles: Box<[RoleId]>,
    permissions: Option<PermissionsId>,
}

impl KeptPosition {
    fn borrowed(&self) -> Position<'_> {
        Position {
            owner: self.owner,
            validity: self.validity,
            overridden: self.overridden,
            roles: &self.roles,
            project_roles: &self.project_roles,
            permissions: self.permissions.as_ref(),
        }
    }
}

impl Hash for KeptPosition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<KeptPosition> for Position<'_> {
    fn equivalent(&self, kept: &KeptPosition) -> bool {
        *self == kept.borrowed()
    }
}

/// Which cell of a position's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The action.
    pub(super) action: ActionIndex,
    /// The resource's type.
    pub(super) resource_type: TypeIndex,
    /// Whether the principal owns the resource.
    pub(super) owns: bool,
}

/// Remembered answers for one set of compiled policies.
pub(super) struct Answers {
    types: usize,
    cells: usize,
    tables: HashMap<KeptPosition, Arc<[AtomicU8]>>,
}

impl Answers {
    /// No answers yet, for positions towards this catalog's actions and types.
    pub(super) fn new(catalog: &Catalog) -> Self {
        let types = catalog.resource_types.len();
        Self {
            types,
            cells: catalog.actions.len() * types * 2,
            tables: HashMap::new(),
        }
    }

    /// What Cedar said before, if it was asked.
    pub(super) fn recall(&self, position: &Position<'_>, cell: Cell) -> Option<bool> {
        let tables = self.tables.pin();
        let table = tables.get(position)?;
        match table.get(self.index(cell))?.load(Ordering::Relaxed) {
            ALLOW => Some(true),
            DENY => Some(false),
            _ => None,
        }
    }

    /// Keeps what Cedar said.
    pub(super) fn remember(&self, position: &Position<'_>, cell: Cell, allow: bool) {
        let tables = self.tables.pin();
        if !tables.contains_key(position) && tables.len() >= MAX_POSITIONS {
            tables.clear();
        }
        let table = tables.get_or_insert_with(keep(position), || {
            (0..self.cells).map(|_| AtomicU8::new(UNKNOWN)).collect()
        });
        if let Some(slot) = table.get(self.index(cell)) {
            slot.store(if allow { ALLOW } else { DENY }, Ordering::Relaxed);
        }
    }

    /// What the tables take in memory, in bytes, by estimate.
    pub(super) fn weight(&self) -> usize {
        self.tables.len() * (self.cells + POSITION_BYTES)
    }

    fn index(&self, cell: Cell) -> usize {
        (usize::from(cell.action.0) * self.types + usize::from(cell.resource_type.0)) * 2
            + usize::from(cell.owns)
    }
}

fn keep(position: &Position<'_>) -> KeptPosition {
    KeptPosition {
        owner: position.owner,
        validity: position.validity,
        overridden: position.overridden,
        roles: position.roles.into(),
        project_roles: position.project_roles.into(),
        permissions: position.permissions.cloned(),
    }
}
