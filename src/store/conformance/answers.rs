//! Answers: remembered for as long as they count, whatever their size.

use std::sync::Arc;

use super::{Fixture, everything, make, with_answer};
use crate::domain::change::{InvitedRow, Outcome};
use crate::domain::organization::Moment;
use crate::store::samples::{
    commit, create, events_only, invitation, key, member, put_member, put_profile,
};
use crate::store::{CommitError, Remembered, Sequence, Store};

pub fn a_repeated_request_gets_the_first_answer<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, with_answer(create("a"), "r", 2_000)).unwrap();
    make(&*store, commit("a", Some(1), 2, vec![put_member("u", 2)])).unwrap();
    let store = place.reopen(store);
    let before = everything(&*store);

    // Whatever version the repetition was decided on, and also when it's for a new organization.
    for expected in [None, Some(1), Some(2)] {
        let again = commit("a", expected, 7, vec![put_profile("a", "again", 7)]);
        match make(&*store, with_answer(again, "r", 5_000)) {
            Err(CommitError::AlreadyDone(remembered)) => {
                let Idempotent {
                    fingerprint,
                    outcome,
                } = answer("r");
                let expected = Remembered {
                    fingerprint,
                    sequence: Sequence(1),
                    outcome,
                    expires_at: Moment(2_000),
                };
                assert_eq!(*remembered, expected);
                assert_eq!(store.remembered(&key("a", "r")).unwrap(), Some(expected));
            }
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(everything(&*store), before);
    make(&*store, with_answer(create("b"), "r", 2_000)).unwrap();
    make(
        &*store,
        with_answer(
            commit("a", Some(2), 3, vec![put_member("u", 3)]),
            "r2",
            2_000,
        ),
    )
    .unwrap();
    assert_eq!(
        store.remembered(&key("b", "r")).unwrap().unwrap().sequence,
        Sequence(3)
    );
}

struct Idempotent {
    fingerprint: [u8; 32],
    outcome: Outcome,
}

fn answer(request: &str) -> Idempotent {
    Idempotent {
        fingerprint: [9; 32],
        outcome: Outcome::Member(Arc::new(member("u", request, 2))),
    }
}

pub fn an_expired_answer_no_longer_counts<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, with_answer(create("a"), "r", 1_500)).unwrap();
    let records = vec![put_member("u", 2)];
    let mut later = with_answer(commit("a", Some(1), 2, records), "r", 9_000);
    later.at = Moment(1_500);
    make(&*store, later).unwrap();

    let remembered = store.remembered(&key("a", "r")).unwrap().unwrap();
    assert_eq!(
        (remembered.sequence, remembered.expires_at),
        (Sequence(2), Moment(9_000))
    );

    // What replaced the expired answer outlives every clearing away of expired ones.
    let store = place.reopen(store);
    for version in 2..20 {
        let mut filler = with_answer(
            commit(
                "a",
                Some(version),
                version + 1,
                vec![put_member("u", version + 1)],
            ),
            &format!("filler{version}"),
            3_000,
        );
        filler.at = Moment(4_000);
        make(&*store, filler).unwrap();
    }
    assert_eq!(
        store.remembered(&key("a", "r")).unwrap().unwrap().sequence,
        Sequence(2)
    );
}

pub fn the_answer_to_a_bulk_request_is_remembered<F: Fixture>() {
    let (place, store) = F::fresh();
    make(&*store, create("a")).unwrap();
    let bulk = |request: &str, expires_at| {
        let mut bulk = with_answer(events_only("a", Some(1), 0, 1_000), request, expires_at);
        let sent = |number| invitation(&format!("i{number}"), request, 1);
        let rows = (0..1_000).map(|number| InvitedRow::Sent(Arc::new(sent(number))));
        if let Some(idempotency) = &mut bulk.idempotency {
            idempotency.outcome = Outcome::Invitations(rows.collect());
        }
        bulk
    };
    make(&*store, bulk("r", 2_000)).unwrap();
    make(&*store, bulk("s", 1_500)).unwrap();
    make(&*store, create("b")).unwrap();
    let store = place.reopen(store);
    let remembered = store.remembered(&key("a", "r")).unwrap().unwrap();
    assert_eq!(remembered.sequence, Sequence(2));
    assert_eq!(
        remembered.outcome,
        bulk("r", 0).idempotency.unwrap().outcome
    );
    match make(&*store, bulk("r", 2_000)) {
        Err(CommitError::AlreadyDone(again)) => assert_eq!(*again, remembered),
        other => panic!("{other:?}"),
    }

    // Expired, replaced by a small one, and that by a large one again.
    let mut small = with_answer(events_only("a", Some(1), 0, 1), "s", 1_700);
    small.at = Moment(1_600);
    make(&*store, small).unwrap();
    assert_eq!(
        store.remembered(&key("a", "s")).unwrap().unwrap().sequence,
        Sequence(5)
    );
    let mut large = bulk("s", 3_000);
    large.at = Moment(1_800);
    make(&*store, large).unwrap();
    let store = place.reopen(store);
    assert_eq!(
        store.remembered(&key("a", "s")).unwrap().unwrap().sequence,
        Sequence(6)
    );
}
