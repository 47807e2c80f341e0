//! Where a principal can stand towards a resource, and short numbers for it.
//!
//! A *position* is everything about the principal that policies of roles and rules
//! can see: the roles held on the organization, whether those are replaced in the
//! resource's project, what is held on that project, and whether the principal is
//! the owner or suspended. Few positions occur, whatever the number of members, so
//! each gets a number when a member comes to stand there, and a check compares no
//! names.
//!
//! Numbers are of two kinds. Positions that hold at most one built-in role on the
//! organization and one on a project are numbered once for the catalog, which
//! bounds their number; all others once for the organization. A number is never
//! given a second meaning.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use papaya::Equivalent;

use super::policies::PermissionsId;
use crate::domain::holdings::Validity;
use crate::domain::identifiers::RoleId;

/// The most positions that an organization numbers for itself. Members beyond are
/// judged by their record.
const MAX_NUMBERS: u32 = 65_536;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptPosition {
    owner: bool,
    validity: Validity,
    overridden: bool,
    roles: Box<[RoleId]>,
    project_roles: Box<[RoleId]>,
    permissions: Option<PermissionsId>,
}

impl Position<'_> {
    /// Where somebody stands who holds nothing, members and strangers alike: no
    /// policy that looks at the position alone can tell them apart.
    pub(super) const NOWHERE: Position<'static> = Position {
        owner: false,
        validity: Validity::Active,
        overridden: false,
        roles: &[],
        project_roles: &[],
        permissions: None,
    };

    /// The position, to be kept.
    pub(super) fn keep(&self) -> KeptPosition {
        KeptPosition {
            owner: self.owner,
            validity: self.validity,
            overridden: self.overridden,
            roles: self.roles.into(),
            project_roles: self.project_roles.into(),
            permissions: self.permissions.cloned(),
        }
    }
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

/// The number of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PositionNumber {
    /// One of the catalog's.
    Shared(u32),
    /// One of the organization's own.
    Own(u32),
}

const OWN: u32 = 1 << 30;

impl PositionNumber {
    /// Where somebody stands who holds nothing.
    pub(super) const NOWHERE: Self = Self::Shared(0);

    /// The number in 31 bits.
    pub(super) fn pack(self) -> u32 {
        match self {
            Self::Shared(number) => number,
            Self::Own(number) => number | OWN,
        }
    }

    /// The number that was packed.
    pub(super) fn unpack(packed: u32) -> Self {
        if packed & OWN == 0 {
            Self::Shared(packed)
        } else {
            Self::Own(packed & !OWN)
        }
    }
}

/// The numbers given so far.
#[derive(Debug, Default)]
pub(super) struct Positions {
    numbers: Mutex<HashMap<KeptPosition, u32>>,
}

impl Positions {
    /// Only the position of those who hold nothing, which is number 0.
    pub(super) fn shared() -> Self {
        let positions = Self::default();
        positions.number(&Position::NOWHERE);
        positions
    }

    /// The number of a position, a new one if it has none; `None` if there are too many.
    pub(super) fn number(&self, position: &Position<'_>) -> Option<u32> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = position.keep();
        if let Some(number) = numbers.get(&kept) {
            return Some(*number);
        }
        let next = u32::try_from(numbers.len()).ok()?;
        if next >= MAX_NUMBERS {
            return None;
        }
        numbers.insert(kept, next);
        Some(next)
    }

    /// About how many bytes they take.
    pub(super) fn weight(&self) -> usize {
        /// What the lists of roles take that most positions have: one role or two.
        const LISTS_BYTES: usize = 48;
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.len() * LISTS_BYTES + numbers.capacity() * size_of::<(KeptPosition, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_positions_have_one_number_and_others_another() {
        let positions = Positions::shared();
        let roles = [RoleId::new("admin")];
        let admin = Position {
            roles: &roles,
            ..Position::NOWHERE
        };
        let overridden = Position {
            overridden: true,
            ..admin
        };
        assert_eq!(positions.number(&Position::NOWHERE), Some(0));
        assert_eq!(positions.number(&admin), Some(1));
        assert_eq!(positions.number(&overridden), Some(2));
        assert_eq!(positions.number(&admin), Some(1));
    }

    #[test]
    fn a_packed_number_reads_back() {
        for number in [
            PositionNumber::NOWHERE,
            PositionNumber::Shared(MAX_NUMBERS),
            PositionNumber::Own(0),
            PositionNumber::Own(MAX_NUMBERS),
        ] {
            assert_eq!(PositionNumber::unpack(number.pack()), number);
        }
    }
}
