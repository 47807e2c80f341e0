//! The suite that every adapter passes: the contract of the port, as tests.
//!
//! [`conformance!`] makes a test module out of an expression that opens a
//! fresh store and a function that closes and opens it again. A store that
//! forgets everything with its process is not asked to remember.

mod answers;
mod copies;
mod events;
mod indexes;
mod model;
mod races;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::record::{Entry, MAX_ANSWER_BYTES, MAX_RECORD_BYTES, Stored, link};
use super::samples::{
    self, commit, create, idempotency, key, member, organization, profile, put_member, put_profile,
};
use super::{Commit, CommitError, Head, HistoryEntry, Sequence, Store};
use crate::domain::change::{Outcome, RecordChange};
use crate::domain::identifiers::{OrganizationId, UserId};
use crate::domain::organization::{Moment, Organization, Version};

/// A store under test that can be closed and opened again.
pub trait Fixture {
    /// The adapter.
    type Store: Store + 'static;

    /// A place for a fresh store, and the store.
    fn fresh() -> (Self, Arc<Self::Store>)
    where
        Self: Sized;

    /// The same store, closed and opened again; as it is if it can't be.
    fn reopen(&self, store: Arc<Self::Store>) -> Arc<Self::Store>;
}

/// Makes one test of each function of the suite.
macro_rules! conformance {
    ($fixture:ty: $($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            $crate::store::conformance::$name::<$fixture>();
        }
    )*};
    ($fixture:ty) => {
        $crate::store::conformance::conformance! { $fixture:
            an_empty_store_has_an_empty_head,
            sequences_have_no_gaps_and_the_chain_can_be_recomputed,
            a_conflict_leaves_nothing_behind,
            an_organization_is_created_once,
            a_commit_without_a_profile_is_refused,
            a_repeated_request_gets_the_first_answer,
            an_expired_answer_no_longer_counts,
            the_answer_to_a_bulk_request_is_remembered,
            on_commit_runs_in_order_before_head_and_answer_show_it,
            a_panic_in_on_commit_harms_nobody,
            every_kind_of_record_is_loaded_as_it_was_put,
            a_deleted_organization_leaves_no_records_and_may_come_back,
            a_big_organization_is_written_and_deleted_whole,
            organizations_are_paged_in_order,
            ids_that_begin_alike_do_not_mix,
            a_record_that_is_too_large_is_refused_before_anything_is_written,
            the_events_of_an_organization_are_paged_newest_first,
            events_stay_when_their_organization_goes,
            many_events_come_with_one_commit,
            events_alone_change_nothing,
            events_need_no_organization,
            events_alone_are_recorded_whatever_happened_meanwhile,
            events_alone_are_remembered_and_published,
            a_commit_that_says_nothing_is_refused,
            the_history_is_verified_page_by_page,
            a_head_of_another_history_is_not_verified,
            a_deleted_organization_leaves_none_of_any_kind,
            the_mark_of_an_organization_is_its_version_and_last_change,
            organizations_are_due_in_the_order_of_moments_and_ids,
            what_is_due_follows_every_change_and_no_event,
            the_memberships_of_a_user_follow_every_change,
            many_members_come_and_go_with_one_commit,
            organizations_with_waiting_notifications_are_listed,
            many_tasks_write_to_many_organizations,
            only_one_of_many_rivals_wins,
            a_copy_is_the_history_as_it_is_kept,
            random_commits_agree_with_a_naive_model,
        }
    };
}
pub use answers::*;
pub(crate) use conformance;
pub use copies::a_copy_is_the_history_as_it_is_kept;
pub use events::*;
pub use indexes::*;
pub use model::random_commits_agree_with_a_naive_model;
pub use races::{many_tasks_write_to_many_organizations, only_one_of_many_rivals_wins};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Commits and waits.
pub fn make(store: &impl Store, commit: Commit) -> Result<Sequence, CommitError> {
    run(store.commit(commit))
}

/// Everything of an organization in a form that can be compared.
pub fn shown(organization: &Organization) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        organization.profile.clone(),
        organization.version,
        organization.members.clone(),
        organization.roles.clone(),
        organization.projects.clone(),
        organization.resources.clone(),
        organization.groups.clone(),
        organization.invitations.clone(),
        organization.tokens.clone(),
        organization.guardrails.clone(),
        organization.notifications.clone(),
        organization.deadlines.clone(),
    )
}

/// Everything that the port shows of a store.
pub fn everything<S: Store>(store: &S) -> impl PartialEq + std::fmt::Debug + use<S> {
    let ids = store.organizations(None, usize::MAX).unwrap();
    let loaded: Vec<_> = ids
        .iter()
        .map(|id| {
            store
                .load(id)
                .unwrap()
                .map(|(loaded, at)| (shown(&loaded), at))
                .unwrap()
        })
        .collect();
    let history = store.history(Sequence(0), usize::MAX).unwrap();
    // Those of organizations that are gone included.
    let events: BTreeMap<_, _> = history
        .iter()
        .map(|entry| &entry.organization)
        .map(|id| (id.clone(), store.events(id, None, usize::MAX).unwrap()))
        .collect();
    let marks: Vec<_> = ids.iter().map(|id| store.mark(id).unwrap()).collect();
    let users: BTreeSet<_> = history.iter().flat_map(users_of).collect();
    let memberships: Vec<_> = users
        .iter()
        .map(|user| store.memberships(user, None, usize::MAX).unwrap())
        .collect();
    let found = (
        marks,
        store.due(Moment(i64::MAX), usize::MAX).unwrap(),
        users,
        memberships,
        store.notifying(None, usize::MAX).unwrap(),
    );
    (store.head(), ids, loaded, events, history, found)
}

/// Whom a commit made members.
fn users_of(entry: &HistoryEntry) -> impl Iterator<Item = UserId> {
    entry.records.iter().filter_map(|record| match record {
        RecordChange::PutMember(member) => Some(member.user.clone()),
        _ => None,
    })
}

fn with_answer(mut commit: Commit, request: &str, expires_at: i64) -> Commit {
    commit.idempotency = Some(idempotency(
        commit.organization.as_str(),
        request,
        expires_at,
    ));
    commit
}

pub fn an_empty_store_has_an_empty_head<F: Fixture>() {
    let (_place, store) = F::fresh();
    assert_eq!(store.head(), Head::default());
    assert!(store.organizations(None, 10).unwrap().is_empty());
    assert!(store.load(&organization("a")).unwrap().is_none());
    assert!(store.remembered(&key("a", "r")).unwrap().is_none());
    assert!(store.history(Sequence(0), 10).unwrap().is_empty());
}

pub fn sequences_have_no_gaps_and_the_chain_can_be_recomputed<F: Fixture>() {
    let (place, store) = F::fresh();
    for (position, id) in ["a", "b", "c"].into_iter().enumerate() {
        let made = make(&*store, with_answer(create(id), "r", 2_000)).unwrap();
        assert_eq!(made, Sequence(position as u64 + 1));
        assert!(make(&*store, create(id)).is_err());
    }
    make(
        &*store,
        commit(
            "b",
            Some(1),
            2,
            samples::changes_that_stay("text")[1..].to_vec(),
        ),
    )
    .unwrap();

    let store = place.reopen(store);
    let history = store.history(Sequence(0), 100).unwrap();
    let mut head = Head::default();
    for entry in &history {
        let sealed = Entry::from(entry.clone()).seal().unwrap();
        head = Head {
            sequence: Sequence(head.sequence.0 + 1),
            chain: link(&head.chain, &sealed),
        };
        assert_eq!((entry.sequence, entry.chain), (head.sequence, head.chain));
    }
    assert_eq!(history.len(), 4);
    assert_eq!(store.head(), head);
    for after in 0..6 {
        for limit in 0..4 {
            let page = store.history(Sequence(after), limit).unwrap();
            let expected: Vec<_> = history
                .iter()
                .skip(after as usize)
                .take(limit)
                .cloned()
                .collect();
            assert_eq!(page, expected, "after {after}, limit {limit}");
        }
    }
}

pub fn a_conflict_leaves_nothing_behind<F: Fixture>() {
    let (_place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let before = everything(&*store);
    for expected in [None, Some(0), Some(2)] {
        let called = Arc::new(Mutex::new(false));
        let mut stale = commit("a", expected, 3, vec![put_profile("a", "stale", 3)]);
        stale = with_answer(stale, "r", 9_000);
        let witness = Arc::clone(&called);
        stale.on_commit = Box::new(move |_| *witness.lock().unwrap() = true);

        assert!(matches!(make(&*store, stale), Err(CommitError::Conflict)));

        assert!(!*called.lock().unwrap());
        assert!(store.remembered(&key("a", "r")).unwrap().is_none());
    }
    assert_eq!(everything(&*store), before);
}

pub fn an_organization_is_created_once<F: Fixture>() {
    let (_place, store) = F::fresh();
    assert!(matches!(
        make(&*store, commit("a", Some(1), 2, vec![put_member("u", 2)])),
        Err(CommitError::Conflict)
    ));
    make(&*store, create("a")).unwrap();
    assert!(matches!(
        make(&*store, create("a")),
        Err(CommitError::Conflict)
    ));
    assert_eq!(store.head().sequence, Sequence(1));
}

pub fn a_commit_without_a_profile_is_refused<F: Fixture>() {
    let (_place, store) = F::fresh();
    let refused = [
        commit("a", None, 1, vec![]),
        commit("a", None, 1, vec![put_member("u", 1)]),
        commit("a", None, 1, vec![put_profile("b", "another", 1)]),
        commit(
            "a",
            None,
            1,
            vec![
                put_profile("a", "x", 1),
                RecordChange::DeleteOrganization,
                put_member("u", 1),
            ],
        ),
    ];
    for commit in refused {
        assert!(matches!(
            make(&*store, commit),
            Err(CommitError::Unavailable(_))
        ));
    }
    assert_eq!(store.head(), Head::default());
}

pub fn on_commit_runs_in_order_before_head_and_answer_show_it<F: Fixture>() {
    let (_place, store) = F::fresh();
    let published = Arc::new(Mutex::new(Vec::new()));
    let futures: Vec<_> = (0..200)
        .map(|position| {
            let mut commit = create(&format!("o{position}"));
            let (published, witness) = (Arc::clone(&published), Arc::downgrade(&store));
            commit.on_commit = Box::new(move |sequence| {
                if let Some(store) = witness.upgrade() {
                    assert!(store.head().sequence < sequence, "head was shown too early");
                }
                published.lock().unwrap().push(sequence);
            });
            store.commit(commit)
        })
        .collect();
    for (position, future) in futures.into_iter().enumerate() {
        let sequence = run(future).unwrap();
        assert_eq!(
            sequence,
            Sequence(position as u64 + 1),
            "not in the order of calls"
        );
        assert!(
            published.lock().unwrap().contains(&sequence),
            "answered before it was published"
        );
        assert!(
            store.head().sequence >= sequence,
            "answered before the head showed it"
        );
    }
    let expected: Vec<_> = (1..=200).map(Sequence).collect();
    assert_eq!(*published.lock().unwrap(), expected);
}

pub fn a_panic_in_on_commit_harms_nobody<F: Fixture>() {
    let (_place, store) = F::fresh();
    let mut bad = create("a");
    bad.on_commit = Box::new(|_| panic!("on purpose"));
    assert_eq!(make(&*store, bad).unwrap(), Sequence(1));
    assert_eq!(make(&*store, create("b")).unwrap(), Sequence(2));
    assert_eq!(store.head().sequence, Sequence(2));
}

pub fn every_kind_of_record_is_loaded_as_it_was_put<F: Fixture>() {
    let (place, store) = F::fresh();
    let hostile = profile("o", samples::HOSTILE, 1);
    let mut expected = Organization::empty(Arc::new(hostile), Version(1));
    let records = samples::changes_that_stay(samples::HOSTILE);
    records.iter().for_each(|change| expected.put(change));
    make(&*store, commit("o", None, 1, records)).unwrap();
    assert_loads(&*store, &expected, Sequence(1));
    let store = place.reopen(store);
    assert_loads(&*store, &expected, Sequence(1));

    let deletions = vec![
        RecordChange::DeleteMember(UserId::new("u")),
        RecordChange::DeleteRole(expected.roles.keys().next().unwrap().clone()),
        RecordChange::DeleteProject(expected.projects.keys().next().unwrap().clone()),
        RecordChange::DeleteResource(expected.resources.keys().next().unwrap().clone()),
        RecordChange::DeleteGroup(expected.groups.keys().next().unwrap().clone()),
        RecordChange::DeleteInvitation(expected.invitations.keys().next().unwrap().clone()),
        RecordChange::DeleteToken(expected.tokens.keys().next().unwrap().clone()),
        RecordChange::DeleteGuardrail(expected.guardrails.keys().next().unwrap().clone()),
        RecordChange::DeleteNotification(expected.notifications.keys().next().unwrap().clone()),
        put_member("v", 2),
    ];
    let expected = expected.apply(&deletions);
    make(&*store, commit("o", Some(1), 2, deletions)).unwrap();
    assert_loads(&*store, &expected, Sequence(2));
    assert_loads(&*place.reopen(store), &expected, Sequence(2));
}

fn assert_loads(store: &impl Store, expected: &Organization, at: Sequence) {
    let (loaded, sequence) = store.load(expected.id()).unwrap().unwrap();
    assert_eq!(shown(&loaded), shown(expected));
    assert_eq!(sequence, at);
}

pub fn a_deleted_organization_leaves_no_records_and_may_come_back<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    make(&*store, create("b")).unwrap();
    let neighbour = shown(&store.load(&organization("b")).unwrap().unwrap().0);
    // Put and deleted at once: the put must not outlive the deletion.
    let records = vec![put_member("late", 2), RecordChange::DeleteOrganization];
    make(
        &*store,
        with_answer(commit("a", Some(1), 2, records), "gone", 2_000),
    )
    .unwrap();

    assert!(store.load(&organization("a")).unwrap().is_none());
    assert_eq!(store.organizations(None, 9).unwrap(), [organization("b")]);
    assert!(matches!(
        make(&*store, commit("a", Some(2), 3, vec![put_member("u", 3)])),
        Err(CommitError::Conflict)
    ));
    assert!(store.remembered(&key("a", "gone")).unwrap().is_some());

    let again = commit("a", None, 3, vec![put_profile("a", "second", 3)]);
    make(&*store, again).unwrap();
    let store = place.reopen(store);
    let expected = Organization::empty(Arc::new(profile("a", "second", 3)), Version(3));
    assert_loads(&*store, &expected, Sequence(4));
    assert_eq!(
        shown(&store.load(&organization("b")).unwrap().unwrap().0),
        neighbour
    );

    let replaced = vec![
        RecordChange::DeleteOrganization,
        put_profile("a", "third", 4),
    ];
    make(&*store, commit("a", Some(3), 4, replaced)).unwrap();
    let expected = Organization::empty(Arc::new(profile("a", "third", 4)), Version(4));
    assert_loads(&*store, &expected, Sequence(5));
}

pub fn a_big_organization_is_written_and_deleted_whole<F: Fixture>() {
    let (place, store) = F::fresh();
    let mut records = vec![put_profile("big", "big", 1)];
    records.extend((0..1_000).map(|user| put_member(&format!("u{user}"), 1)));
    make(&*store, create("a")).unwrap();
    make(
        &*store,
        with_answer(commit("big", None, 1, records), "r", 2_000),
    )
    .unwrap();
    let store = place.reopen(store);
    assert_eq!(
        store
            .load(&organization("big"))
            .unwrap()
            .unwrap()
            .0
            .members
            .len(),
        1_000
    );

    // All in flight at once, so that they may share a group.
    let futures = [
        store.commit(commit("big", Some(1), 2, vec![put_member("late", 2)])),
        store.commit(commit(
            "big",
            Some(2),
            3,
            vec![RecordChange::DeleteOrganization],
        )),
        store.commit(commit("big", None, 4, vec![put_profile("big", "new", 4)])),
    ];
    for future in futures {
        run(future).unwrap();
    }
    let store = place.reopen(store);
    let (loaded, sequence) = store.load(&organization("big")).unwrap().unwrap();
    assert_eq!((loaded.members.len(), sequence), (0, Sequence(5)));
    assert!(store.load(&organization("a")).unwrap().is_some());
}

pub fn organizations_are_paged_in_order<F: Fixture>() {
    let (_place, store) = F::fresh();
    let mut ids = [
        "b",
        "a",
        "a!",
        "ab",
        "a~",
        "~",
        "!",
        "A",
        &"z".repeat(128),
        "a\0b",
        "a\0",
    ]
    .map(organization)
    .to_vec();
    for id in &ids {
        make(&*store, create(id.as_str())).unwrap();
    }
    ids.sort();
    for limit in 1..=ids.len() + 1 {
        let mut seen: Vec<OrganizationId> = Vec::new();
        loop {
            let page = store.organizations(seen.last(), limit).unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            seen.extend(page);
        }
        assert_eq!(seen, ids, "pages of {limit}");
    }
    assert!(store.organizations(None, 0).unwrap().is_empty());
    // The place to go on from need not exist.
    let after = store.organizations(Some(&organization("a\"")), 1).unwrap();
    assert_eq!(after, [organization("ab")]);
}

pub fn ids_that_begin_alike_do_not_mix<F: Fixture>() {
    let (_place, store) = F::fresh();
    for id in ["a", "ab", "a\0", "a\0\u{1}"] {
        make(&*store, create(id)).unwrap();
    }
    let delete = commit("a", Some(1), 2, vec![RecordChange::DeleteOrganization]);
    make(&*store, delete).unwrap();
    for id in ["ab", "a\0", "a\0\u{1}"] {
        assert_eq!(
            store
                .load(&organization(id))
                .unwrap()
                .unwrap()
                .0
                .members
                .len(),
            1,
            "{id:?}"
        );
    }
    assert!(store.load(&organization("a")).unwrap().is_none());
}

pub fn a_record_that_is_too_large_is_refused_before_anything_is_written<F: Fixture>() {
    let (_place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let before = everything(&*store);
    let huge = Arc::new(member("u", &"x".repeat(MAX_RECORD_BYTES), 2));
    let huger = Arc::new(member("u", &"x".repeat(MAX_ANSWER_BYTES), 2));
    let record = commit("a", Some(1), 2, vec![RecordChange::PutMember(huge)]);
    let small = vec![put_member("v", 2)];
    let mut answer = with_answer(commit("a", Some(1), 2, small), "r", 2_000);
    if let Some(idempotency) = &mut answer.idempotency {
        idempotency.outcome = Outcome::Member(huger);
    }
    let mut event = commit("a", Some(1), 2, vec![put_member("v", 2)]);
    event
        .events
        .push(samples::event(&"x".repeat(MAX_RECORD_BYTES)));
    let limits = [MAX_RECORD_BYTES, MAX_ANSWER_BYTES, MAX_RECORD_BYTES];
    for (commit, most) in [record, answer, event].into_iter().zip(limits) {
        match make(&*store, commit) {
            Err(CommitError::TooLarge { bytes, limit }) => {
                assert!(bytes > limit && limit == most);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(everything(&*store), before);
}
