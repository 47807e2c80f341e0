//! Which of the organizations known here are unsound: ownerless, or naming what is
//! not there. Health tells of it.
//!
//! It looks at nothing itself. It is told whenever an organization is loaded and
//! whenever a changed one is published.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::engine::Snapshot;

/// The unsound organizations. Whoever watches is woken when the first comes and when
/// the last goes.
pub struct Integrity {
    unsound: watch::Sender<BTreeSet<OrganizationId>>,
}

impl Default for Integrity {
    fn default() -> Self {
        Self {
            unsound: watch::Sender::new(BTreeSet::new()),
        }
    }
}

impl Integrity {
    /// Takes over how an organization is: what is wrong with it, in words, or nothing.
    pub fn note(&self, organization: &OrganizationId, fault: Option<&str>) {
        let was_sound = self.is_sound(organization);
        match fault {
            None if was_sound => {}
            None => {
                tracing::info!(%organization, "is sound again");
                self.change(|unsound| unsound.remove(organization));
            }
            Some(fault) => {
                if was_sound {
                    tracing::error!(
                        %organization,
                        fault,
                        "is unsound; what is not there grants nothing until it is repaired"
                    );
                }
                self.change(|unsound| unsound.insert(organization.clone()));
            }
        }
    }

    /// Forgets an organization that is deleted.
    pub fn forget(&self, organization: &OrganizationId) {
        if !self.is_sound(organization) {
            self.change(|unsound| unsound.remove(organization));
        }
    }

    /// What is wrong with an organization after changes that lead to `next`. One that
    /// was sound is looked at only where it was changed.
    pub fn fault_after(&self, next: &Snapshot, changes: &[RecordChange]) -> Option<String> {
        if self.is_sound(next.organization().id()) {
            next.fault_after(changes)
        } else {
            next.fault()
        }
    }

    /// Follows which are unsound; told when that begins or ends to be none.
    pub fn follow(&self) -> watch::Receiver<BTreeSet<OrganizationId>> {
        self.unsound.subscribe()
    }

    fn is_sound(&self, organization: &OrganizationId) -> bool {
        !self.unsound.borrow().contains(organization)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<OrganizationId>) -> bool) {
        self.unsound.send_if_modified(|unsound| {
            let before = unsound.is_empty();
            change(unsound);
            before != unsound.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> OrganizationId {
        OrganizationId::new(text)
    }

    #[test]
    fn who_follows_is_woken_by_the_first_and_by_the_last_only() {
        let integrity = Integrity::default();
        let mut followed = integrity.follow();
        followed.mark_unchanged();
        let woken = |followed: &mut watch::Receiver<_>| {
            let changed = followed.has_changed().expect("the sender lives");
            followed.mark_unchanged();
            changed
        };

        integrity.note(&id("a"), None);
        assert!(!woken(&mut followed), "it was sound before");
        integrity.note(&id("a"), Some("its owner is no member"));
        assert!(woken(&mut followed));
        integrity.note(&id("a"), Some("and more"));
        integrity.note(&id("b"), Some("it is on no plan"));
        assert!(!woken(&mut followed));
        integrity.note(&id("a"), None);
        assert!(!woken(&mut followed), "`b` is still unsound");
        assert_eq!(*followed.borrow(), BTreeSet::from([id("b")]));
        integrity.forget(&id("b"));
        assert!(woken(&mut followed));
        assert!(followed.borrow().is_empty());
    }
}
