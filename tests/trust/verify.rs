//! `roster verify` finds whatever is wrong with the history, and names that are not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use roster::domain::change::RecordChange;
use roster::domain::identifiers::{OrganizationId, ProjectId, RoleId, TypeId, UserId};
use roster::domain::organization::{Moment, RegisteredResource, ResourceKey, Version};
use roster::store::sled::{OpenOptions, SledStore, verify_directory};
use roster::store::{Commit, HistoryEvent, Store};

use crate::backup::{copy_of, json, team};
use crate::program::{roster, run};

/// How many bytes are flipped, one after another.
const FLIPPED: usize = 3_000;
/// How many searches run at a time: they wait more than they work.
const SEARCHES: usize = 8;

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    crate::backup::names(&directory.join("journal"))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_flipped_byte_in_the_history_is_found() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    // In memory where there is such a place: a copy of the database is made each time.
    let scratch = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let scratch = scratch.path();
    team(&data).await.stop();
    let clean = verify_directory(&data, scratch).expect("it checks out");
    assert_eq!(clean.commits(), 11);

    let all = segments(&data);
    let [segment] = all.as_slice() else {
        panic!("{all:?}");
    };
    let whole = fs::read(segment).unwrap();
    // Every byte of a short history, a sample by a fixed step of a longer one; a bit of
    // its own for each.
    let step = whole.len().div_ceil(FLIPPED);
    let places: BTreeSet<usize> = (0..whole.len())
        .step_by(step)
        .chain(0..80 + 92)
        .chain(whole.len() - 200..whole.len())
        .collect();
    assert!(places.len() >= FLIPPED / 2, "only {} bytes", places.len());
    let places: Vec<usize> = places.into_iter().collect();
    let name = segment.strip_prefix(&data).unwrap();
    let unnoticed: Vec<usize> = std::thread::scope(|scope| {
        let searches: Vec<_> = places
            .chunks(places.len().div_ceil(SEARCHES))
            .map(|some| {
                let own = tempfile::tempdir_in(scratch).unwrap();
                copy_of(&data, own.path());
                let whole = &whole;
                scope.spawn(move || unnoticed_in(own.path(), name, whole, some))
            })
            .collect();
        let found = searches.into_iter().map(|search| search.join().unwrap());
        found.flatten().collect()
    });
    assert!(unnoticed.is_empty(), "{unnoticed:?} of {}", whole.len());
}

/// The places of these at which a flipped bit of a segment goes unnoticed.
fn unnoticed_in(directory: &Path, segment: &Path, whole: &[u8], places: &[usize]) -> Vec<usize> {
    let mut damaged = whole.to_vec();
    let scratch = directory.parent().unwrap();
    let mut unnoticed = Vec::new();
    for at in places.iter().copied() {
        damaged[at] ^= 1 << (at % 8);
        fs::write(directory.join(segment), &damaged).unwrap();
        damaged[at] = whole[at];
        if verify_directory(directory, scratch).is_ok() {
            unnoticed.push(at);
        }
    }
    fs::write(directory.join(segment), whole).unwrap();
    verify_directory(directory, scratch).expect("as it was");
    unnoticed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_there_is_told_of() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    team(&data).await.stop();
    let mut verify = roster();
    verify.arg("verify").arg("--data-dir").arg(&data);
    verify.args(["--output", "json"]);
    assert_eq!(run(&mut verify).code(), Some(0));

    // As no change of Roster's does it: straight into the store.
    let store = SledStore::open(&data, OpenOptions::default()).unwrap();
    let id = OrganizationId::new("acme");
    let (organization, _) = store.load(&id).unwrap().unwrap();
    let version = Version(organization.version.0 + 1);
    let mut member = (**organization.members.get("u1").unwrap()).clone();
    member.roles = vec![RoleId::new("nothing")];
    let resource = RegisteredResource {
        key: ResourceKey {
            type_id: TypeId::new("Instance"),
            ..ResourceKey::new("Instance", "vm")
        },
        project: Some(ProjectId::new("nowhere")),
        owner: Some(UserId::new("nobody")),
        created_at: Moment(1),
        version,
    };
    let commit = Commit {
        organization: id,
        expected: Some(organization.version),
        version,
        at: Moment(1),
        records: vec![
            RecordChange::PutMember(Arc::new(member)),
            RecordChange::PutResource(Arc::new(resource)),
        ],
        events: vec![HistoryEvent::default()],
        wake_at: None,
        idempotency: None,
        on_commit: Box::new(|_| ()),
    };
    store.commit(commit).await.expect("the store takes it");
    drop(store);

    let ended = run(&mut verify);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert_eq!(json(&ended)["ok"], false);
    for what in [
        "in organization `acme`, member `u1` names role `nothing`, which is not there",
        "in organization `acme`, resource `Instance/vm` names project `nowhere`, which is not there",
        "in organization `acme`, resource `Instance/vm` names member `nobody`, which is not there",
    ] {
        assert!(ended.stderr.contains(what), "{what}: {}", ended.stderr);
        assert!(json(&ended)["dangling"].to_string().contains(what));
    }
}
