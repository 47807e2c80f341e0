//! Notifications that the daemon delivers itself, to servers of others: mail to
//! `aiosmtpd`, webhooks to a plain HTTP server of this test.

mod mail;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use roster::delivery::{Courier, worker};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::attacks::ACME;
use crate::harness::Daemon;
use crate::notifications::waiting;

/// How long something may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The worker of the daemon, run beside a daemon of this process.
struct Worker {
    stop: watch::Sender<bool>,
    working: JoinHandle<()>,
}

impl Worker {
    fn start(daemon: &Daemon, courier: Courier) -> Self {
        let (stop, stopped) = watch::channel(false);
        let application = Arc::clone(&daemon.application);
        let working = tokio::spawn(worker::deliver_all(application, courier, stopped));
        Self { stop, working }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.working.await.expect("the worker did not panic");
    }
}

/// Waits until nothing waits to be delivered.
async fn all_delivered(daemon: &Daemon) {
    let emptied = async {
        while !waiting(daemon, ACME).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let emptied = tokio::time::timeout(PATIENCE, emptied).await;
    emptied.expect("the outbox is emptied");
}
