//! The organizations of the benchmark, written straight through the store's port.

use std::sync::Arc;

use roster::domain::Catalog;
use roster::domain::change::RecordChange;
use roster::domain::identifiers::{OrganizationId, RoleId, UserId};
use roster::domain::lifecycle::{Founding, found};
use roster::domain::organization::{Member, MemberStatus, Moment, Version};
use roster::store::{Commit, HistoryEvent, Store};

pub const CATALOG: &str = "hypervisor-io";

/// Members of the organization that checks ask.
pub const CHECKED: usize = 1_000;
/// Members of another, in which writers write.
pub const SMALL: usize = 100;
/// Members of the largest one.
pub const LARGE: usize = 100_000;

/// The id of the organization of that many members.
pub fn organization(size: usize) -> String {
    format!("members-{size}")
}

/// Writes it.
pub async fn populate(store: &dyn Store, catalog: &Catalog, size: usize) {
    let founding = Founding {
        id: organization(size),
        display_name: organization(size),
        plan: String::new(),
        owner: "owner".to_owned(),
        owner_display_name: String::new(),
        owner_email: String::new(),
    };
    let (_, change) = found(catalog, &founding, Version(1), Moment(0)).expect("a founding");
    commit(store, size, None, change.records).await;
    for (index, chunk) in (1..size).collect::<Vec<_>>().chunks(1_000).enumerate() {
        let records = chunk
            .iter()
            .map(|number| RecordChange::PutMember(Arc::new(member(*number))));
        let expected = Some(Version(index as u64 + 1));
        commit(store, size, expected, records.collect()).await;
    }
}

async fn commit(
    store: &dyn Store,
    size: usize,
    expected: Option<Version>,
    records: Vec<RecordChange>,
) {
    let event = HistoryEvent {
        action: "Populate".to_owned(),
        target_kind: "Organization".to_owned(),
        target_id: organization(size),
        caller: "bench".to_owned(),
        ..HistoryEvent::default()
    };
    let commit = Commit {
        organization: OrganizationId::new(organization(size)),
        expected,
        version: expected.map_or(Version(1), Version::next),
        at: Moment(0),
        records,
        events: vec![event],
        idempotency: None,
        on_commit: Box::new(|_| {}),
    };
    store.commit(commit).await.expect("a commit");
}

fn member(number: usize) -> Member {
    Member {
        user: UserId::new(format!("user-{number}")),
        display_name: String::new(),
        email: String::new(),
        status: MemberStatus::Active,
        roles: vec![RoleId::new("viewer")],
        project_roles: Default::default(),
        overrides: Default::default(),
        default_roles: Default::default(),
        kind: Default::default(),
        groups: Default::default(),
        periods: Default::default(),
        period: Default::default(),
        added_by: None,
        joined_at: Moment(0),
        last_active_at: None,
        membership: Version(1),
        version: Version(1),
    }
}
