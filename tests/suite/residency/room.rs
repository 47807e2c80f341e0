//! What comes, what stays, what leaves, and what is told of what can't come.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use roster::application::{Application, Error, Links};
use roster::store::ReadError;
use roster::world::StillWorld;
use tokio::task::JoinSet;

use super::store::WatchedStore;
use super::{
    ONE_AT_A_TIME, UNLIMITED, application, delete, found, name, rename, request, try_found,
};
use crate::harness::{LINK_KEY, NOW, catalogs};

const MANY: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A store with these organizations, and nothing else that knows it.
async fn filled(organizations: &[&str]) -> Arc<WatchedStore> {
    let store = WatchedStore::new();
    let founder = application(Arc::clone(&store) as _, UNLIMITED);
    for organization in organizations {
        found(&founder, organization).await;
    }
    store
}

fn resident(application: &Application) -> Vec<&'static str> {
    let is_resident = |id: &&&str| application.resident(id).is_some();
    MANY.iter().filter(is_resident).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_until_it_is_asked_for_and_then_once_for_all_who_ask() {
    let store = filled(&["a", "b"]).await;
    let (reads, loads) = (store.reads(), store.loads());
    let application = application(Arc::clone(&store) as _, UNLIMITED);
    assert_eq!(store.reads(), reads);
    assert!(application.resident("a").is_none());

    store.gate.close();
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let application = Arc::clone(&application);
        asking.spawn(async move { name(&application, "a").await });
    }
    store.gate.until_somebody_waits().await;
    store.gate.open();
    while let Some(found) = asking.join_next().await {
        assert_eq!(found.expect("an answer"), "a");
    }
    assert_eq!(store.loads(), loads + 1);
    assert!(application.resident("a").is_some());
    assert!(application.resident("b").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_stays_even_if_whoever_asked_went_away() {
    let store = filled(&["a"]).await;
    let application = application(Arc::clone(&store) as _, UNLIMITED);
    store.gate.close();
    let asking = {
        let application = Arc::clone(&application);
        tokio::spawn(async move { name(&application, "a").await })
    };
    store.gate.until_somebody_waits().await;
    let loads = store.loads();
    asking.abort();
    assert!(asking.await.is_err());
    let again = name(&application, "a");
    let opened = async { store.gate.open() };
    let (again, ()) = tokio::join!(again, opened);
    assert_eq!(again, "a");
    assert_eq!(store.loads(), loads, "it was read once");
}

#[tokio::test]
async fn ids_of_nothing_take_no_room_and_are_refused_as_ever() {
    let store = filled(&["a"]).await;
    let application = application(store, UNLIMITED);
    name(&application, "a").await;
    let weight = application.weight();
    for number in 0..100 {
        let id = format!("nothing-{number}");
        let error = application
            .find(&id)
            .await
            .map(drop)
            .expect_err("nothing is there");
        assert!(error.is_unknown_organization(), "{error}");
        let error = rename(&application, &id, "x").await.expect_err("nothing");
        assert!(error.is_unknown_organization(), "{error}");
    }
    for id in ["", "a b", &"a".repeat(1_000)] {
        let found = application.find(id).await.map(drop);
        found.expect_err("no id");
        rename(&application, id, "x").await.expect_err("no id");
    }
    assert_eq!(application.weight(), weight);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_nothing_takes_no_room_even_if_whoever_asked_went_away() {
    let store = filled(&["a"]).await;
    let application = application(Arc::clone(&store) as _, UNLIMITED);
    name(&application, "a").await;
    let weight = application.weight();
    store.gate.close();
    let asking = {
        let application = Arc::clone(&application);
        tokio::spawn(async move { application.find("nothing").await.map(drop) })
    };
    store.gate.until_somebody_waits().await;
    asking.abort();
    assert!(asking.await.is_err());
    assert!(application.weight() > weight, "it is being read");
    store.gate.open();
    let let_go = async {
        while application.weight() > weight {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    let let_go = tokio::time::timeout(patience, let_go).await;
    let_go.expect("the room is given back");
}

#[tokio::test]
async fn the_longest_unasked_leave_first_when_there_is_no_room() {
    let store = filled(&MANY).await;
    let roomy = application(Arc::clone(&store) as _, UNLIMITED);
    name(&roomy, "a").await;
    let one = roomy.weight();

    let application = application(store, one * 3 + one / 2);
    for id in ["a", "b", "c"] {
        name(&application, id).await;
    }
    name(&application, "a").await;
    name(&application, "d").await;
    name(&application, "a").await;
    name(&application, "e").await;
    assert_eq!(resident(&application), ["a", "d", "e"]);
    assert!(application.weight() <= one * 3 + one / 2);
    for id in MANY {
        assert_eq!(name(&application, id).await, id, "it is read again");
    }
}

#[tokio::test]
async fn one_that_has_no_room_is_answered_while_it_is_asked_and_leaves_before_all_others() {
    let store = filled(&["a", "b", "c"]).await;
    let founder = application(Arc::clone(&store) as _, UNLIMITED);
    let light = {
        name(&founder, "a").await;
        founder.weight()
    };
    let description = "x".repeat(900);
    for number in 0..40 {
        let role = roster::domain::roles::NewRole {
            id: format!("role-{number}"),
            display_name: format!("Role {number}"),
            description: description.clone(),
            permissions: roster::domain::checks::AskedPermissions::default(),
        };
        founder
            .mutate(
                "c",
                roster::application::Need::Operator,
                &request(),
                |turn| {
                    turn.organization()
                        .create_role(turn.catalog(), &role, turn.now)
                },
            )
            .await
            .expect("the role is created");
    }

    let application = application(store, light * 3);
    name(&application, "a").await;
    assert_eq!(name(&application, "c").await, "c");
    assert_eq!(name(&application, "c").await, "c");
    assert_eq!(resident(&application), ["c"], "it stays while it is asked");
    name(&application, "a").await;
    assert_eq!(resident(&application), ["a"]);
    name(&application, "b").await;
    assert_eq!(resident(&application), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_changed_does_not_leave() {
    let store = filled(&["a", "b"]).await;
    let application = application(Arc::clone(&store) as _, ONE_AT_A_TIME);
    store.hold_commits();
    let writing = {
        let application = Arc::clone(&application);
        tokio::spawn(async move { rename(&application, "a", "changed").await })
    };
    store.until_held(1).await;
    name(&application, "b").await;
    assert_eq!(resident(&application), ["a", "b"]);
    store.release_commits().await;
    let written = writing.await.expect("no panic").expect("it is written");
    let found = application.find("a").await.expect("it is there");
    assert_eq!(found.revision(), written.revision);
    name(&application, "b").await;
    application.tend_memory();
    assert_eq!(resident(&application).len(), 1, "the turn is over");
}

/// Whoever asked for a change goes away; the organization leaves, is read again, and only
/// then the change is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_after_its_organization_left_and_came_back_is_seen() {
    let store = filled(&["a", "b"]).await;
    let application = application(Arc::clone(&store) as _, ONE_AT_A_TIME);
    store.hold_commits();
    let writing = {
        let application = Arc::clone(&application);
        tokio::spawn(async move { rename(&application, "a", "changed").await })
    };
    store.until_held(1).await;
    writing.abort();
    assert!(writing.await.is_err());
    name(&application, "b").await;
    assert_eq!(resident(&application), ["b"]);

    // Read as it was, and held back on the way, while the change is made.
    store.gate.close();
    let reading = {
        let application = Arc::clone(&application);
        tokio::spawn(async move { name(&application, "a").await })
    };
    store.gate.until_somebody_waits().await;
    store.release_commits().await;
    let published = application.resident("a").expect("the change brought it");
    assert_eq!(published.organization().profile.display_name, "changed");
    store.gate.open();
    assert_eq!(reading.await.expect("an answer"), "changed");
    assert_eq!(name(&application, "a").await, "changed");
    assert_eq!(
        rename(&application, "a", "changed again")
            .await
            .map(|_| ())
            .ok(),
        Some(())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_founded_anew_while_it_is_read_is_not_as_it_was() {
    let store = filled(&["a", "b"]).await;
    let application = application(Arc::clone(&store) as _, ONE_AT_A_TIME);
    for comes_back in [false, true] {
        store.hold_commits();
        let deleting = {
            let application = Arc::clone(&application);
            tokio::spawn(async move { delete(&application, "a").await })
        };
        store.until_held(1).await;
        deleting.abort();
        drop(deleting.await);
        name(&application, "b").await;
        store.gate.close();
        let reading = {
            let application = Arc::clone(&application);
            tokio::spawn(async move { application.find("a").await.map(drop) })
        };
        store.gate.until_somebody_waits().await;
        store.release_commits().await;
        if comes_back {
            let anew = try_found(&application, "a", "anew").await;
            anew.expect("there is none of that id");
        }
        store.gate.open();
        // It asked before: either is right.
        drop(reading.await.expect("an answer"));
        let found = application.find("a").await;
        if comes_back {
            assert_eq!(name(&application, "a").await, "anew");
        } else {
            let error = found.map(drop).expect_err("it is gone");
            assert!(error.is_unknown_organization(), "{error}");
            found_again(&application).await;
        }
    }
}

async fn found_again(application: &Application) {
    try_found(application, "a", "again")
        .await
        .expect("there is none of that id");
}

#[tokio::test]
async fn a_damaged_organization_is_told_of_once_and_others_are_served() {
    let store = filled(&["a", "b"]).await;
    store.damage("a");
    let told = Arc::new(Mutex::new(Vec::new()));
    let alarm = {
        let told = Arc::clone(&told);
        Box::new(
            move |id: &roster::domain::identifiers::OrganizationId, _: &Error| {
                told.lock().expect("a lock").push(id.to_string());
            },
        )
    };
    let world = Arc::new(StillWorld::at(NOW));
    let links = Links::new(&LINK_KEY);
    let shared = Arc::clone(&store) as _;
    let application =
        Application::start(catalogs(), shared, world, links, UNLIMITED).with_alarm(alarm);

    for _ in 0..3 {
        let error = application.find("a").await.map(drop).expect_err("damaged");
        assert!(
            matches!(error, Error::Read(ReadError::Damaged(_))),
            "{error:?}"
        );
        let error = rename(&application, "a", "x").await.expect_err("damaged");
        assert!(
            matches!(error, Error::Read(ReadError::Damaged(_))),
            "{error:?}"
        );
        assert_eq!(name(&application, "b").await, "b");
    }
    assert_eq!(*told.lock().expect("a lock"), ["a"]);
    let listed = application
        .organizations_after("", 1)
        .await
        .expect("a list");
    let ids: Vec<&str> = listed.iter().map(|one| one.profile.id.as_str()).collect();
    assert_eq!(ids, ["b"], "a page is filled up with those that are served");
}

#[tokio::test]
async fn looking_over_finds_what_nobody_has_asked_for_and_keeps_nothing() {
    let store = filled(&["a", "b", "c"]).await;
    store.damage("b");
    let count = Arc::new(AtomicUsize::new(0));
    let alarm = {
        let count = Arc::clone(&count);
        Box::new(move |_: &_, _: &Error| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    };
    let world = Arc::new(StillWorld::at(NOW));
    // Without the catalog that the others live on.
    let others = catalogs()
        .into_iter()
        .filter(|catalog| catalog.catalog().id.as_str() != "greenhouse")
        .collect();
    let links = Links::new(&LINK_KEY);
    let application = Application::start(others, Arc::clone(&store) as _, world, links, UNLIMITED)
        .with_alarm(alarm);
    let faults = application.look_over().await.expect("it can be read");
    assert_eq!((faults, count.load(Ordering::SeqCst)), (3, 3));
    assert!(resident(&application).is_empty());
    let error = application
        .find("a")
        .await
        .map(drop)
        .expect_err("no catalog");
    assert!(matches!(error, Error::CatalogMissing { .. }), "{error:?}");
}

/// Answers that are remembered weigh too, though nothing is published for them.
#[tokio::test]
async fn what_grows_by_being_asked_is_counted_again() {
    let store = filled(&["a"]).await;
    let application = application(store, UNLIMITED);
    let role = roster::domain::roles::NewRole {
        id: "own".to_owned(),
        display_name: "Own".to_owned(),
        description: String::new(),
        permissions: roster::domain::checks::AskedPermissions::default(),
    };
    application
        .mutate(
            "a",
            roster::application::Need::Operator,
            &request(),
            |turn| {
                turn.organization()
                    .create_role(turn.catalog(), &role, turn.now)
            },
        )
        .await
        .expect("the role is created");
    let weight = application.weight();
    let snapshot = application.find("a").await.expect("it is there");
    let raw = roster::engine::RawQuestion {
        principal_type: "User",
        principal_id: "owner",
        action: "ViewOrganization",
        resource_type: "Organization",
        resource_id: "a",
        at: NOW,
        ..Default::default()
    };
    let question = snapshot.question(&raw).expect("a question");
    snapshot.decide(&question).expect("an answer");
    assert_eq!(application.weight(), weight);
    application.tend_memory();
    assert!(application.weight() > weight);
}
