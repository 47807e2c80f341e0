//! Two applications take the same commands; in one of them nothing stays in memory
//! longer than it is used. They can't be told apart.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use roster::application::{Application, Need};
use roster::store::memory::MemoryStore;

use super::{UNLIMITED, application, request};
use crate::harness::catalogs;
use crate::properties::configuration;
use crate::properties::generator::{Command, HOSTILE, Names, PLAIN, commands, founding};

const CASES: u32 = 8;

#[test]
fn an_organization_that_leaves_after_every_use_is_as_if_it_had_stayed() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for compiled in catalogs() {
        let catalog = compiled.catalog().id.to_string();
        let config = configuration(CASES, "tests/suite/residency/twins.regressions");
        let strategy = (commands(24), any::<bool>());
        let outcome = TestRunner::new(config).run(&strategy, |(commands, hostile)| {
            let names = if hostile { &HOSTILE } else { &PLAIN };
            runtime.block_on(alike(&catalog, names, &commands))
        });
        if let Err(failure) = outcome {
            panic!("on `{catalog}`: {failure}");
        }
    }
}

async fn alike(catalog: &str, names: &Names, commands: &[Command]) -> Result<(), TestCaseError> {
    let budgets = [UNLIMITED, 0];
    let twins = budgets.map(|budget| application(Arc::new(MemoryStore::new()), budget));
    let [stays, leaves] = &twins;
    for twin in &twins {
        let founded = twin
            .create_organization(catalog, &founding(names), &request())
            .await;
        prop_assert!(founded.is_ok());
    }
    for command in commands {
        let told = [
            take(stays, names, command).await,
            take(leaves, names, command).await,
        ];
        prop_assert_eq!(&told[0], &told[1]);
        prop_assert!(stays.resident(names.organization).is_some());
        let seen = [state(stays, names).await, state(leaves, names).await];
        prop_assert_eq!(&seen[0], &seen[1]);
    }
    Ok(())
}

async fn take(application: &Application, names: &Names, command: &Command) -> String {
    let taken = application
        .mutate(names.organization, Need::Operator, &request(), |turn| {
            command.decide(names, turn.organization(), turn.catalog(), turn.now)
        })
        .await;
    format!("{taken:?}")
}

async fn state(application: &Application, names: &Names) -> String {
    let snapshot = application.find(names.organization).await;
    let snapshot = snapshot.expect("it is there");
    format!("{} {:?}", snapshot.revision(), snapshot.organization())
}
