//! Reading, changing, leaving, deleting and founding anew, all at once: no reader ever
//! sees an older state than one that was acknowledged before it asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use roster::application::Application;
use tokio::task::JoinSet;

use super::store::WatchedStore;
use super::{ONE_AT_A_TIME, application, delete, rename, try_found};

const ORGANIZATIONS: [&str; 3] = ["a", "b", "c"];
const LIVES: u64 = 60;

/// What is known of an organization by those who changed it.
#[derive(Default)]
struct Known {
    /// The newest revision that was acknowledged.
    revision: AtomicU64,
    /// Counts the steps of its life: even while it is there for sure, odd while it may be
    /// or not.
    step: AtomicU64,
    /// Whether it is there, in an even step.
    is_there: AtomicBool,
}

impl Known {
    fn acknowledge(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::SeqCst);
    }

    fn begin(&self) {
        self.step.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self, is_there: bool) {
        self.is_there.store(is_there, Ordering::SeqCst);
        self.step.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_an_older_state_than_was_acknowledged_before_it_asked() {
    for budget in [0, ONE_AT_A_TIME] {
        let application = application(WatchedStore::new(), budget);
        let known: Arc<[Known; 3]> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let mut others = JoinSet::new();
        for place in 0..ORGANIZATIONS.len() {
            for _ in 0..2 {
                let (application, known) = (Arc::clone(&application), Arc::clone(&known));
                let over = Arc::clone(&over);
                others.spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        read(&application, ORGANIZATIONS[place], &known[place]).await;
                        tokio::task::yield_now().await;
                    }
                });
            }
            let (application, known) = (Arc::clone(&application), Arc::clone(&known));
            let over = Arc::clone(&over);
            others.spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let changed = rename(&application, ORGANIZATIONS[place], "changed").await;
                    if let Ok(written) = changed {
                        known[place].acknowledge(written.revision);
                    }
                    application.tend_memory();
                    tokio::task::yield_now().await;
                }
            });
        }
        let mut lives = JoinSet::new();
        for place in 0..ORGANIZATIONS.len() {
            let (application, known) = (Arc::clone(&application), Arc::clone(&known));
            lives.spawn(
                async move { live(&application, ORGANIZATIONS[place], &known[place]).await },
            );
        }
        while let Some(lived) = lives.join_next().await {
            lived.expect("it lives without a fault");
        }
        over.store(true, Ordering::SeqCst);
        while let Some(other) = others.join_next().await {
            other.expect("nothing was out of order");
        }
    }
}

/// Founds and deletes an organization again and again.
async fn live(application: &Application, id: &str, known: &Known) {
    for life in 0..LIVES {
        known.begin();
        let founded = try_found(application, id, &format!("life {life}")).await;
        known.acknowledge(founded.expect("there is none of that id").revision);
        known.end(true);
        for _ in 0..5 {
            read(application, id, known).await;
        }
        known.begin();
        let deleted = delete(application, id).await.expect("it is deleted");
        known.acknowledge(deleted.revision);
        known.end(false);
        for _ in 0..5 {
            read(application, id, known).await;
        }
    }
}

async fn read(application: &Application, id: &str, known: &Known) {
    let step = known.step.load(Ordering::SeqCst);
    let is_there = known.is_there.load(Ordering::SeqCst);
    let floor = known.revision.load(Ordering::SeqCst);
    let found = application.find(id).await;
    let is_certain = step.is_multiple_of(2) && known.step.load(Ordering::SeqCst) == step;
    match found {
        Ok(snapshot) => {
            // An organization that was deleted meanwhile is as old as it was.
            if is_certain {
                assert!(is_there, "`{id}` was deleted before it was asked for");
                let seen = snapshot.revision();
                assert!(seen >= floor, "`{id}`: {seen} after {floor}");
            }
        }
        Err(error) => {
            assert!(error.is_unknown_organization(), "{error}");
            assert!(!(is_certain && is_there), "`{id}` was there");
        }
    }
}
