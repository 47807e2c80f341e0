//! What is found without loading: marks, what is due, memberships, notifications.

use super::{Fixture, make, run};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{NotificationId, OrganizationId, UserId};
use crate::domain::organization::{Moment, Version};
use crate::store::samples::{
    commit, create, events_only, organization, put_member, put_notification, put_profile,
};
use crate::store::{Commit, Sequence, Store};

fn waking(mut commit: Commit, at: Option<i64>) -> Commit {
    commit.wake_at = at.map(Moment);
    commit
}

fn due(store: &impl Store, by: i64) -> Vec<(i64, String)> {
    let due = store.due(Moment(by), usize::MAX).unwrap();
    due.into_iter()
        .map(|(at, id)| (at.0, id.to_string()))
        .collect()
}

fn at(moment: i64, id: &str) -> (i64, String) {
    (moment, id.to_owned())
}

fn delete(id: &str, version: u64) -> Commit {
    let gone = vec![RecordChange::DeleteOrganization];
    commit(id, Some(version), version + 1, gone)
}

/// All pages of a list of organizations, after every page size has given the same.
fn paged(
    page: impl Fn(Option<&OrganizationId>, usize) -> Vec<OrganizationId>,
) -> Vec<OrganizationId> {
    let whole = page(None, usize::MAX);
    for limit in 1..=whole.len() + 1 {
        let mut seen: Vec<OrganizationId> = Vec::new();
        loop {
            let next = page(seen.last(), limit);
            assert!(next.len() <= limit);
            if next.is_empty() {
                break;
            }
            seen.extend(next);
        }
        assert_eq!(seen, whole, "pages of {limit}");
    }
    assert!(page(None, 0).is_empty());
    whole
}

fn memberships(store: &impl Store, user: &str) -> Vec<OrganizationId> {
    let user = UserId::new(user);
    paged(|after, limit| store.memberships(&user, after, limit).unwrap())
}

fn notifying(store: &impl Store) -> Vec<OrganizationId> {
    paged(|after, limit| store.notifying(after, limit).unwrap())
}

pub fn the_mark_of_an_organization_is_its_version_and_last_change<F: Fixture>() {
    let (place, store) = F::fresh();
    let a = organization("a");
    assert_eq!(store.mark(&a).unwrap(), None);
    make(&*store, create("a")).unwrap();
    make(&*store, create("b")).unwrap();
    make(&*store, commit("a", Some(1), 2, vec![put_member("u", 2)])).unwrap();
    make(&*store, events_only("a", Some(2), 0, 1)).unwrap();
    let store = place.reopen(store);
    assert_eq!(store.mark(&a).unwrap(), Some((Version(2), Sequence(3))));
    make(&*store, delete("a", 2)).unwrap();
    assert_eq!(store.mark(&a).unwrap(), None);
    assert!(store.mark(&organization("b")).unwrap().is_some());
}

pub fn organizations_are_due_in_the_order_of_moments_and_ids<F: Fixture>() {
    let (place, store) = F::fresh();
    assert!(due(&*store, i64::MAX).is_empty());
    for (id, moment) in [
        ("c", Some(5)),
        ("b", Some(5)),
        ("a", Some(7)),
        ("past", Some(-7)),
        ("first", Some(i64::MIN)),
        ("last", Some(i64::MAX)),
        ("never", None),
    ] {
        make(&*store, waking(create(id), moment)).unwrap();
    }
    let store = place.reopen(store);
    let whole = [
        at(i64::MIN, "first"),
        at(-7, "past"),
        at(5, "b"),
        at(5, "c"),
        at(7, "a"),
        at(i64::MAX, "last"),
    ];
    assert_eq!(due(&*store, i64::MAX), whole);
    assert_eq!(due(&*store, i64::MAX - 1), whole[..5]);
    assert_eq!(due(&*store, 6), whole[..4]);
    assert_eq!(due(&*store, 5), whole[..4]);
    assert_eq!(due(&*store, 4), whole[..2]);
    assert_eq!(due(&*store, i64::MIN), whole[..1]);
    for limit in 0..8 {
        let few = store.due(Moment(i64::MAX), limit).unwrap();
        assert_eq!(few.len(), limit.min(whole.len()));
    }
}

pub fn what_is_due_follows_every_change_and_no_event<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, waking(create("a"), Some(5))).unwrap();
    let change = |version| {
        let records = vec![put_member("u", version)];
        commit("a", Some(version - 1), version, records)
    };
    // All in flight at once, so that they may share a group.
    let futures = [
        store.commit(waking(change(2), Some(9))),
        store.commit(waking(events_only("a", Some(2), 0, 1), Some(1))),
        store.commit(waking(create("b"), Some(3))),
        store.commit(waking(change(3), Some(4))),
    ];
    for future in futures {
        run(future).unwrap();
    }
    assert_eq!(due(&*store, i64::MAX), [at(3, "b"), at(4, "a")]);
    let store = place.reopen(store);
    make(&*store, waking(change(4), None)).unwrap();
    assert_eq!(due(&*store, i64::MAX), [at(3, "b")]);
    make(&*store, waking(change(5), Some(2))).unwrap();
    assert_eq!(due(&*store, i64::MAX), [at(2, "a"), at(3, "b")]);
    // Nothing ends in what is gone, whatever the commit says.
    make(&*store, waking(delete("a", 5), Some(1))).unwrap();
    let store = place.reopen(store);
    assert_eq!(due(&*store, i64::MAX), [at(3, "b")]);
    let replaced = vec![
        RecordChange::DeleteOrganization,
        put_profile("b", "again", 2),
    ];
    make(&*store, waking(commit("b", Some(1), 2, replaced), Some(6))).unwrap();
    assert_eq!(due(&*store, i64::MAX), [at(6, "b")]);
    assert_eq!(
        store.history(Sequence(0), 2).unwrap()[1].wake_at,
        Some(Moment(9))
    );
}

pub fn the_memberships_of_a_user_follow_every_change<F: Fixture>() {
    let (place, store) = F::fresh();
    let ids = ["a", "ab", "a\0", "a\0\u{1}", "b"];
    for id in ids {
        make(&*store, create(id)).unwrap();
    }
    make(&*store, commit("b", Some(1), 2, vec![put_member("own", 2)])).unwrap();
    let store = place.reopen(store);
    let mut all = ids.map(organization).to_vec();
    all.sort();
    assert_eq!(memberships(&*store, "owner"), all);
    assert_eq!(memberships(&*store, "own"), [organization("b")]);
    assert!(memberships(&*store, "owner\0").is_empty());
    assert!(memberships(&*store, "").is_empty());
    let rest = store.memberships(&UserId::new("owner"), Some(&organization("a\0\0")), 9);
    assert_eq!(rest.unwrap(), all[2..]);

    let left = vec![RecordChange::DeleteMember(UserId::new("owner"))];
    make(&*store, commit("ab", Some(1), 2, left.clone())).unwrap();
    // Who has left may leave again, and whoever stays may be put again.
    make(&*store, commit("ab", Some(2), 3, left)).unwrap();
    make(
        &*store,
        commit("a", Some(1), 2, vec![put_member("owner", 2)]),
    )
    .unwrap();
    make(&*store, delete("a\0", 1)).unwrap();
    let replaced = vec![
        put_member("late", 3),
        RecordChange::DeleteOrganization,
        put_profile("b", "again", 3),
        put_member("new", 3),
    ];
    make(&*store, commit("b", Some(2), 3, replaced)).unwrap();
    let store = place.reopen(store);
    let mut left = ["a", "a\0\u{1}"].map(organization).to_vec();
    left.sort();
    assert_eq!(memberships(&*store, "owner"), left);
    assert_eq!(memberships(&*store, "new"), [organization("b")]);
    for gone in ["own", "late"] {
        assert!(memberships(&*store, gone).is_empty(), "{gone}");
    }
}

pub fn many_members_come_and_go_with_one_commit<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let mut records = vec![put_profile("big", "big", 1)];
    records.extend((0..1_000).map(|user| put_member(&format!("u{user}"), 1)));
    records.extend((0..1_000).map(|id| put_notification(&format!("n{id}"))));
    make(&*store, waking(commit("big", None, 1, records), Some(5))).unwrap();
    let store = place.reopen(store);
    for user in [0, 500, 999] {
        let found = memberships(&*store, &format!("u{user}"));
        assert_eq!(found, [organization("big")], "u{user}");
    }
    assert_eq!(notifying(&*store), [organization("big")]);
    assert_eq!(due(&*store, 9), [at(5, "big")]);

    let half = (0..500)
        .map(|user| RecordChange::DeleteMember(UserId::new(format!("u{user}"))))
        .collect();
    make(&*store, commit("big", Some(1), 2, half)).unwrap();
    assert!(memberships(&*store, "u499").is_empty());
    assert_eq!(memberships(&*store, "u500"), [organization("big")]);
    assert!(due(&*store, 9).is_empty());
    make(&*store, delete("big", 2)).unwrap();
    let store = place.reopen(store);
    for user in [0, 500, 999] {
        assert!(memberships(&*store, &format!("u{user}")).is_empty());
    }
    assert!(notifying(&*store).is_empty());
    assert_eq!(memberships(&*store, "owner"), [organization("a")]);
}

pub fn organizations_with_waiting_notifications_are_listed<F: Fixture>() {
    let (place, store) = F::fresh();
    assert!(notifying(&*store).is_empty());
    let ids = ["a", "ab", "a\0", "a\0\u{1}", "b", "quiet"];
    for id in ids {
        make(&*store, create(id)).unwrap();
    }
    for id in &ids[..5] {
        let waiting = vec![put_notification("n1"), put_notification("n2")];
        make(&*store, commit(id, Some(1), 2, waiting)).unwrap();
    }
    let store = place.reopen(store);
    let mut all = ids[..5]
        .iter()
        .map(|id| organization(id))
        .collect::<Vec<_>>();
    all.sort();
    assert_eq!(notifying(&*store), all);
    let after = store.notifying(Some(&organization("a\0\0")), 9).unwrap();
    assert_eq!(after, all[2..]);

    let delivered = |id: &str| RecordChange::DeleteNotification(NotificationId::new(id));
    for (id, gone) in [
        ("a", vec![delivered("n1")]),
        (
            "ab",
            vec![delivered("n2"), delivered("n1"), delivered("n1")],
        ),
        (
            "b",
            vec![delivered("n1"), delivered("n2"), put_notification("n3")],
        ),
    ] {
        make(&*store, commit(id, Some(2), 3, gone)).unwrap();
    }
    make(&*store, delete("a\0", 2)).unwrap();
    let store = place.reopen(store);
    let mut left = ["a", "a\0\u{1}", "b"].map(organization).to_vec();
    left.sort();
    assert_eq!(notifying(&*store), left);
}
