//! What was acknowledged survives: the daemon is killed again and again while
//! several clients write, and each time it is asked for everything.

use super::storm::Storm;

/// How often the daemon is killed.
const LIVES: u64 = 58;

#[tokio::test(flavor = "multi_thread")]
async fn a_02_a_daemon_killed_at_any_moment_keeps_every_acknowledged_write_whole() {
    let directory = tempfile::tempdir().unwrap();
    let storm = Storm::run(directory.path(), LIVES, |_| ()).await;
    assert!(storm.acknowledged > 200, "{storm:?}");
}
