//! What a change costs must not depend on how large the organization is.

use std::sync::Arc;

use roster::domain::organization::Moment;
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::store::{Sequence, Store};
use tokio::task::JoinSet;

use crate::harness::{Daemon, NOW, owned};

/// How many records the last commit wrote.
fn records_of_last_commit(store: &dyn Store) -> usize {
    let last = store.head().sequence;
    let history = store
        .history(Sequence(last.0 - 1), 1)
        .expect("the last commit");
    history[0].records.len()
}

#[tokio::test]
async fn a_role_change_writes_as_much_however_large_the_organization_is() {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    let mut counts = Vec::new();
    for size in [2, 50, 2_000] {
        let organization = format!("size-{size}");
        daemon.found(&organization, "hypervisor-io").await;
        for chunk in (1..size).collect::<Vec<_>>().chunks(100) {
            let mut adding = JoinSet::new();
            for number in chunk {
                let mut members = daemon.members();
                let request = v1::AddMemberRequest {
                    organization: organization.clone(),
                    user: format!("user-{number}"),
                    roles: owned(&["viewer"]),
                    ..Default::default()
                };
                adding.spawn(async move { members.add_member(request).await.map(drop) });
            }
            while let Some(added) = adding.join_next().await {
                added.expect("no panic").expect("the member is added");
            }
        }
        daemon
            .members()
            .set_member_roles(v1::SetMemberRolesRequest {
                organization: organization.clone(),
                user: "user-1".to_owned(),
                roles: owned(&["operator"]),
                ..Default::default()
            })
            .await
            .expect("the role is changed");
        counts.push(records_of_last_commit(&*store));
    }
    // The member, and the notification of the member.
    assert_eq!(counts, [2, 2, 2]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_default_role_reaches_every_new_project_without_a_record_for_each_member() {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    daemon.world.set(Moment(NOW.0 + 1));
    daemon.found("acme", "cloud-66").await;
    for number in 0..20 {
        let user = format!("user-{number}");
        daemon.add("acme", &user, &[]).await;
        daemon
            .projects()
            .set_default_roles(v1::SetDefaultRolesRequest {
                organization: "acme".to_owned(),
                user,
                roles: owned(&["viewer"]),
                ..Default::default()
            })
            .await
            .expect("the default is set");
    }
    daemon.project("acme", "shop").await;
    assert_eq!(
        records_of_last_commit(&*store),
        2,
        "the project and the organization's own record"
    );
    daemon.stop().await;
}
