//! Ids that many records name, kept once.
//!
//! A million members hold a few roles. Read back one by one, each record would bring a
//! copy of its own of every role's id; so the thread that reads remembers some.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::domain::identifiers::RoleId;

/// The most ids that a thread remembers; then it begins anew.
const MOST: usize = 1_024;

thread_local! {
    static ROLES: RefCell<HashSet<RoleId>> = RefCell::default();
}

/// The role of that id, the same as was read before where that is known.
pub(super) fn role(id: &str) -> RoleId {
    ROLES.with_borrow_mut(|roles| {
        if let Some(known) = roles.get(id) {
            return known.clone();
        }
        if roles.len() >= MOST {
            roles.clear();
        }
        let new = RoleId::new(id);
        roles.insert(new.clone());
        new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_role_is_kept_once_and_any_number_reads_back() {
        let (first, second) = (role("shared"), role("shared"));
        assert!(std::ptr::eq(first.as_str(), second.as_str()));
        for number in 0..3 * MOST {
            let id = format!("role-{number}");
            assert_eq!(role(&id).as_str(), id);
        }
        assert_eq!(role("shared"), first);
    }
}
