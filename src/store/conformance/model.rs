//! Random commits on a store and on a naive model of it: one organization value
//! for each id, and a count.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Fixture, assert_loads, make, with_answer};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{NotificationId, OrganizationId, UserId};
use crate::domain::organization::{Moment, Organization, Version};
use crate::store::samples::{
    commit, organization, profile, put_member, put_notification, put_profile,
};
use crate::store::{CommitError, Sequence, Store};

/// One thing that a random run may do.
#[derive(Clone, Debug)]
enum Step {
    Write {
        organization: u8,
        users: Vec<u8>,
        removed: Option<u8>,
        stale: bool,
    },
    Delete {
        organization: u8,
    },
    Repeat {
        organization: u8,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (
        0..4u8,
        prop::collection::vec(0..6u8, 0..4),
        prop::option::of(0..6u8),
        0..8u8,
    )
        .prop_map(|(organization, users, removed, stale)| Step::Write {
            organization,
            users,
            removed,
            stale: stale == 0,
        });
    let step = prop_oneof![
        12 => write,
        2 => (0..4u8).prop_map(|organization| Step::Delete { organization }),
        2 => (0..4u8).prop_map(|organization| Step::Repeat { organization }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a store should hold: one organization value for each id, and a count.
#[derive(Default)]
struct Model {
    organizations: BTreeMap<String, (Organization, Sequence)>,
    last_versions: BTreeMap<String, u64>,
    made: u64,
}

impl Model {
    fn take(&mut self, store: &impl Store, step: &Step) {
        match step {
            Step::Write {
                organization,
                users,
                removed,
                stale,
            } => {
                let id = format!("o{organization}");
                let version = self.next_version(&id);
                let mut records: Vec<_> = users
                    .iter()
                    .map(|user| put_member(&format!("u{user}"), version))
                    .collect();
                records.extend(
                    removed.map(|user| RecordChange::DeleteMember(UserId::new(format!("u{user}")))),
                );
                records.extend(removed.map(|number| match number {
                    0..3 => put_notification(&format!("n{number}")),
                    _ => RecordChange::DeleteNotification(NotificationId::new(format!(
                        "n{}",
                        number - 3
                    ))),
                }));
                records.push(put_profile(&id, "model", version));
                self.write(store, &id, version, records, *stale);
            }
            Step::Delete { organization } => {
                let id = format!("o{organization}");
                let version = self.next_version(&id);
                let stale = !self.organizations.contains_key(&id);
                self.write(
                    store,
                    &id,
                    version,
                    vec![RecordChange::DeleteOrganization],
                    stale,
                );
            }
            Step::Repeat { organization } => {
                let id = format!("o{organization}");
                let version = self.last_versions.get(&id).copied().unwrap_or_default();
                let again = commit(&id, None, 1, vec![put_profile(&id, "repeated", 1)]);
                if version > 0 {
                    let again = with_answer(again, &format!("r{version}"), 5_000);
                    assert!(matches!(
                        make(store, again),
                        Err(CommitError::AlreadyDone(_))
                    ));
                }
            }
            Step::Reopen => {}
        }
    }

    fn next_version(&self, id: &str) -> u64 {
        self.last_versions.get(id).copied().unwrap_or_default() + 1
    }

    fn write(
        &mut self,
        store: &impl Store,
        id: &str,
        version: u64,
        records: Vec<RecordChange>,
        stale: bool,
    ) {
        let current = self.organizations.get(id).map(|(kept, _)| kept.version.0);
        let expected = if stale { Some(version + 7) } else { current };
        let mut next = commit(id, expected, version, records.clone());
        next.wake_at = wake_at(version);
        let made = make(store, with_answer(next, &format!("r{version}"), 5_000));
        if stale {
            assert!(matches!(made, Err(CommitError::Conflict)));
            return;
        }
        self.made += 1;
        self.last_versions.insert(id.to_owned(), version);
        assert_eq!(made.unwrap(), Sequence(self.made));
        if matches!(records.as_slice(), [RecordChange::DeleteOrganization]) {
            self.organizations.remove(id);
            return;
        }
        let start = self.organizations.remove(id).map_or_else(
            || Organization::empty(Arc::new(profile(id, "model", version)), Version(0)),
            |(kept, _)| kept,
        );
        let mut next = start.apply(&records);
        next.version = Version(version);
        self.organizations
            .insert(id.to_owned(), (next, Sequence(self.made)));
    }

    fn check_indexes(&self, store: &impl Store) {
        let kept = || self.organizations.values();
        let mut due: Vec<_> = kept()
            .filter_map(|(kept, _)| Some((wake_at(kept.version.0)?, kept.id().clone())))
            .collect();
        due.sort();
        assert_eq!(store.due(Moment(9), 100).unwrap(), due);
        let ids = |wanted: &dyn Fn(&Organization) -> bool| -> Vec<OrganizationId> {
            let wanted = kept().filter(|(kept, _)| wanted(kept));
            wanted.map(|(kept, _)| kept.id().clone()).collect()
        };
        let notifying = ids(&|kept| !kept.notifications.is_empty());
        assert_eq!(store.notifying(None, 100).unwrap(), notifying);
        for user in (0..6).map(|user| UserId::new(format!("u{user}"))) {
            let memberships = ids(&|kept| kept.members.contains_key(user.as_str()));
            assert_eq!(store.memberships(&user, None, 100).unwrap(), memberships);
        }
    }

    fn check(&self, store: &impl Store) {
        assert_eq!(store.head().sequence, Sequence(self.made));
        let ids: Vec<_> = self
            .organizations
            .keys()
            .map(|id| organization(id))
            .collect();
        assert_eq!(store.organizations(None, 100).unwrap(), ids);
        for (expected, sequence) in self.organizations.values() {
            assert_loads(store, expected, *sequence);
        }
        self.check_indexes(store);
        assert_eq!(
            store.history(Sequence(0), 1_000).unwrap().len() as u64,
            self.made
        );
    }
}

/// Some moment for a version, for some versions.
fn wake_at(version: u64) -> Option<Moment> {
    (!version.is_multiple_of(3)).then(|| Moment(2 - version.cast_signed() % 4))
}

pub fn random_commits_agree_with_a_naive_model<F: Fixture>() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(12)
    };
    proptest!(config, |(steps in steps())| {
        let (place, mut store) = F::fresh();
        let mut model = Model::default();
        for step in &steps {
            if matches!(step, Step::Reopen) {
                store = place.reopen(store);
            }
            model.take(&*store, step);
        }
        model.check(&*store);
        model.check(&*place.reopen(store));
    });
}
