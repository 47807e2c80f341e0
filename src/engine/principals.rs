//! Whom a check is about: from a user's id to where the member stands.
//!
//! A check looks a member up once. An ordered map of names costs one memory access
//! after the other for that, so here is a flat table beside it: a slot holds 96
//! bits of a keyed hash of the user's id and, in 32 bits, where the member stands
//! (see [`Place`]). That no two ids of an organization share those 96 bits is as
//! safe as that two documents don't share a digest: the key is drawn when the
//! process starts and never leaves it, and among a million members two would meet
//! once in 10^17 organizations. So neither the member's record nor its id is read.
//!
//! A table can't be changed in place, since snapshots are immutable. Changes gather
//! in a small persistent map that is looked at first, and are folded into a new
//! table when they have become an eighth of it: a change costs the same, whatever
//! the size of the team.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use imbl::{GenericHashMap, Vector, shared_ptr::DefaultSharedPtr};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::positions::PositionNumber;
use crate::domain::identifiers::ProjectId;
use crate::domain::organization::{Member, Project};

/// Changes that are gathered in any case before they are folded in.
const MIN_GATHERED: usize = 32;

/// Where a member stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// At the same position everywhere.
    Everywhere(PositionNumber),
    /// At positions that differ between projects.
    ByProject(Arc<Places>),
    /// At one that changes by itself or with a group: the record tells.
    Recorded(Arc<Member>),
}

/// The positions of a member by project.
#[derive(Debug)]
pub(super) struct Places {
    /// Outside of projects, and in those that nothing below is about.
    pub(super) elsewhere: PositionNumber,
    /// In projects where the member holds something explicitly, by id.
    pub(super) explicit: Box<[(ProjectId, PositionNumber)]>,
    /// In all others by the ordinal of the first project that it is about, ascending.
    pub(super) defaults: Box<[(u64, PositionNumber)]>,
}

impl Place {
    /// About how many bytes it owns.
    fn owned_bytes(&self) -> usize {
        match self {
            Self::ByProject(places) => {
                size_of::<Places>()
                    + size_of_val::<[_]>(&places.explicit)
                    + size_of_val::<[_]>(&places.defaults)
            }
            Self::Everywhere(_) | Self::Recorded(_) => 0,
        }
    }
}

impl Places {
    /// The position towards a project.
    pub(super) fn towards(&self, project: Option<&Project>) -> PositionNumber {
        let Some(project) = project else {
            return self.elsewhere;
        };
        let explicit = self
            .explicit
            .binary_search_by(|(id, _)| id.cmp(&project.id))
            .ok()
            .and_then(|found| self.explicit.get(found));
        if let Some((_, number)) = explicit {
            return *number;
        }
        let begun = self
            .defaults
            .partition_point(|(first, _)| *first <= project.ordinal);
        begun
            .checked_sub(1)
            .and_then(|last| self.defaults.get(last))
            .map_or(self.elsewhere, |(_, number)| *number)
    }
}

/// A user's id, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    high: u64,
    low: u32,
}

impl std::hash::Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.high);
    }
}

impl Fingerprint {
    fn of(user: &str) -> Self {
        static KEY: LazyLock<[u64; 2]> = LazyLock::new(|| {
            let drawn = RandomState::new();
            [drawn.hash_one(0_u8), drawn.hash_one(1_u8)]
        });
        let [first, second] = *KEY;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write(user.as_bytes());
        let hash = hasher.finish128();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "32 bits of the hash are kept"
        )]
        let low = hash.h2 as u32;
        Self { high: hash.h1, low }
    }
}

/// Hashes what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What a slot says of a member, in 32 bits: a position that holds everywhere, or
/// with the top bit set an index into the places that are told elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told(u32);

impl Told {
    const EMPTY: Self = Self(u32::MAX);
    const ELSEWHERE: u32 = 1 << 31;
}

/// One slot: 16 bytes, four in a line of the cache.
#[derive(Clone, Copy, Debug)]
struct Slot {
    fingerprint_high: u64,
    fingerprint_low: u32,
    told: Told,
}

const EMPTY: Slot = Slot {
    fingerprint_high: 0,
    fingerprint_low: 0,
    told: Told::EMPTY,
};

/// The members of one state.
#[derive(Clone, Default)]
pub(super) struct Principals {
    table: Arc<Table>,
    /// What has changed since the table was made; `None` for those who left.
    changes:
        GenericHashMap<Fingerprint, Option<Told>, BuildHasherDefault<Hashed>, DefaultSharedPtr>,
    /// Places that don't fit a slot, by index.
    places: Vector<Option<Place>>,
    /// Indexes in `places` that are free.
    free: Vector<u32>,
    /// How many bytes places own besides their entries in `places`.
    placed: usize,
}

/// Open addressing with linear probing, at most four fifths full.
#[derive(Default)]
struct Table {
    slots: Box<[Slot]>,
    members: usize,
}

impl Principals {
    /// All members of a state, at once.
    pub(super) fn of<'a>(members: impl Iterator<Item = (&'a str, Place)>) -> Self {
        let mut principals = Self::default();
        let told: Vec<(Fingerprint, Told)> = members
            .map(|(user, place)| (Fingerprint::of(user), principals.tell(place)))
            .collect();
        principals.table = Arc::new(Table::of(told.len(), told.into_iter()));
        principals
    }

    /// Where a user stands; `None` for whoever is no member.
    pub(super) fn find(&self, user: &str) -> Option<Found<'_>> {
        let told = self.told(Fingerprint::of(user))?;
        if told.0 & Told::ELSEWHERE == 0 {
            return Some(Found::Everywhere(PositionNumber::unpack(told.0)));
        }
        let index = (told.0 & !Told::ELSEWHERE) as usize;
        match self.places.get(index)?.as_ref()? {
            Place::Everywhere(number) => Some(Found::Everywhere(*number)),
            Place::ByProject(places) => Some(Found::ByProject(places)),
            Place::Recorded(member) => Some(Found::Recorded(member)),
        }
    }

    /// Takes over where a member stands.
    pub(super) fn put(&mut self, user: &str, place: Place) {
        let fingerprint = Fingerprint::of(user);
        self.let_go(fingerprint);
        let told = self.tell(place);
        self.changes.insert(fingerprint, Some(told));
        self.fold_when_due();
    }

    /// Forgets a member.
    pub(super) fn remove(&mut self, user: &str) {
        let fingerprint = Fingerprint::of(user);
        self.let_go(fingerprint);
        self.changes.insert(fingerprint, None);
        self.fold_when_due();
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        size_of_val::<[_]>(&self.table.slots)
            + self.changes.len() * 2 * size_of::<Slot>()
            + self.places.len() * size_of::<Option<Place>>()
            + self.placed
    }

    fn told(&self, fingerprint: Fingerprint) -> Option<Told> {
        if !self.changes.is_empty()
            && let Some(changed) = self.changes.get(&fingerprint)
        {
            return *changed;
        }
        self.table.find(fingerprint)
    }

    /// What a slot says of a place; keeps the place if it does not fit.
    fn tell(&mut self, place: Place) -> Told {
        if let Place::Everywhere(number) = place {
            return Told(number.pack());
        }
        self.placed += place.owned_bytes();
        let index = match self.free.pop_back() {
            Some(index) => {
                self.places.set(index as usize, Some(place));
                index
            }
            None => {
                self.places.push_back(Some(place));
                // There are fewer members than that.
                u32::try_from(self.places.len() - 1).unwrap_or_default()
            }
        };
        Told(index | Told::ELSEWHERE)
    }

    /// Frees the place of whoever has one.
    fn let_go(&mut self, fingerprint: Fingerprint) {
        if let Some(told) = self.told(fingerprint)
            && told.0 & Told::ELSEWHERE != 0
        {
            let index = told.0 & !Told::ELSEWHERE;
            let before = self.places.set(index as usize, None);
            let freed = before.as_ref().map_or(0, Place::owned_bytes);
            self.placed = self.placed.saturating_sub(freed);
            self.free.push_back(index);
        }
    }

    fn fold_when_due(&mut self) {
        if self.changes.len() < MIN_GATHERED + self.table.members / 8 {
            return;
        }
        let kept = self
            .table
            .entries()
            .filter(|(fingerprint, _)| !self.changes.contains_key(fingerprint));
        let changed = self
            .changes
            .iter()
            .filter_map(|(fingerprint, told)| told.map(|told| (*fingerprint, told)));
        let all: Vec<(Fingerprint, Told)> = kept.chain(changed).collect();
        self.table = Arc::new(Table::of(all.len(), all.into_iter()));
        self.changes.clear();
    }
}

/// Where a user stands, borrowed.
pub(super) enum Found<'a> {
    /// See [`Place::Everywhere`].
    Everywhere(PositionNumber),
    /// See [`Place::ByProject`].
    ByProject(&'a Places),
    /// See [`Place::Recorded`].
    Recorded(&'a Arc<Member>),
}

impl Table {
    fn of(members: usize, entries: impl Iterator<Item = (Fingerprint, Told)>) -> Self {
        let room = members + members / 4 + 1;
        let mut slots = vec![EMPTY; room].into_boxed_slice();
        for (fingerprint, told) in entries {
            let mut index = start(fingerprint, room);
            while slots
                .get(index)
                .is_some_and(|slot| slot.told != Told::EMPTY)
            {
                index = next(index, room);
            }
            if let Some(slot) = slots.get_mut(index) {
                *slot = Slot {
                    fingerprint_high: fingerprint.high,
                    fingerprint_low: fingerprint.low,
                    told,
                };
            }
        }
        Self { slots, members }
    }

    fn find(&self, fingerprint: Fingerprint) -> Option<Told> {
        let room = self.slots.len();
        let mut index = start(fingerprint, room);
        loop {
            let slot = self.slots.get(index)?;
            if slot.told == Told::EMPTY {
                return None;
            }
            if slot.fingerprint_high == fingerprint.high && slot.fingerprint_low == fingerprint.low
            {
                return Some(slot.told);
            }
            index = next(index, room);
        }
    }

    fn entries(&self) -> impl Iterator<Item = (Fingerprint, Told)> + '_ {
        self.slots
            .iter()
            .filter(|slot| slot.told != Told::EMPTY)
            .map(|slot| {
                let fingerprint = Fingerprint {
                    high: slot.fingerprint_high,
                    low: slot.fingerprint_low,
                };
                (fingerprint, slot.told)
            })
    }
}

/// Where to look first: the hash, scaled to the number of slots.
fn start(fingerprint: Fingerprint, room: usize) -> usize {
    let scaled = (u128::from(fingerprint.high) * room as u128) >> 64;
    usize::try_from(scaled).unwrap_or_default()
}

fn next(index: usize, room: usize) -> usize {
    if index + 1 == room { 0 } else { index + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn number(found: Option<Found<'_>>) -> Option<PositionNumber> {
        match found? {
            Found::Everywhere(number) => Some(number),
            Found::ByProject(places) => Some(places.towards(None)),
            Found::Recorded(_) => None,
        }
    }

    fn place(number: u32) -> Place {
        let number = PositionNumber::Shared(number);
        if number.pack().is_multiple_of(3) {
            return Place::ByProject(Arc::new(Places {
                elsewhere: number,
                explicit: Box::default(),
                defaults: Box::default(),
            }));
        }
        Place::Everywhere(number)
    }

    proptest! {
        #[test]
        fn finds_whom_a_map_finds_through_every_change(
            first in proptest::collection::btree_map(0_u32..300, 0_u32..50, 0..300),
            changes in proptest::collection::vec((0_u32..300, proptest::option::of(0_u32..50)), 0..400),
        ) {
            let named: BTreeMap<String, u32> =
                first.iter().map(|(user, told)| (format!("user-{user}"), *told)).collect();
            let mut model = named.clone();
            let mut principals =
                Principals::of(named.iter().map(|(user, told)| (user.as_str(), place(*told))));
            let before = principals.clone();
            for (user, told) in changes {
                let user = format!("user-{user}");
                match told {
                    Some(told) => {
                        principals.put(&user, place(told));
                        model.insert(user, told);
                    }
                    None => {
                        principals.remove(&user);
                        model.remove(&user);
                    }
                }
            }
            for (principals, model) in [(&principals, &model), (&before, &named)] {
                for user in 0..300 {
                    let user = format!("user-{user}");
                    let wanted = model.get(&user).map(|told| PositionNumber::Shared(*told));
                    prop_assert_eq!(number(principals.find(&user)), wanted);
                }
            }
            let kept = principals.places.iter().flatten().count();
            prop_assert_eq!(kept, model.values().filter(|told| *told % 3 == 0).count());
        }
    }

    #[test]
    fn a_place_by_project_heeds_what_is_explicit_then_defaults_by_order() {
        let project = |id: &str, ordinal| Project {
            id: ProjectId::new(id),
            display_name: String::new(),
            ordinal,
            archived: false,
            created_at: Default::default(),
            version: Default::default(),
        };
        let places = Places {
            elsewhere: PositionNumber::Shared(1),
            explicit: Box::new([
                (ProjectId::new("b"), PositionNumber::Shared(2)),
                (ProjectId::new("d"), PositionNumber::Shared(3)),
            ]),
            defaults: Box::new([
                (3, PositionNumber::Shared(4)),
                (5, PositionNumber::Shared(5)),
            ]),
        };
        let towards = |id, ordinal| places.towards(Some(&project(id, ordinal))).pack();
        assert_eq!(places.towards(None).pack(), 1);
        assert_eq!(towards("b", 9), 2);
        assert_eq!(towards("d", 0), 3);
        assert_eq!(towards("a", 2), 1);
        assert_eq!(towards("a", 3), 4);
        assert_eq!(towards("a", 4), 4);
        assert_eq!(towards("a", 5), 5);
    }
}
