//! Writers at full rate: role changes over gRPC, as many as the daemon takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use roster::proto::v1;
use roster::proto::v1::member_service_client::MemberServiceClient;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::noop::{Daemon, KEY};
use crate::organizations::organization;

/// How many changes are under way.
const AT_ONCE: usize = 64;

/// Writers on a thread of their own.
pub struct Writers {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Writers {
    /// Lets them write in the organization of that many members.
    pub fn start(daemon: &Daemon, size: usize) -> Self {
        let (stop, changes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let address = daemon.address;
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&changes));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let endpoint =
                    Endpoint::from_shared(format!("http://{address}")).expect("an address");
                let channel = endpoint.connect().await.expect("a connection");
                let mut writing = JoinSet::new();
                for writer in 0..AT_ONCE {
                    let client = MemberServiceClient::new(channel.clone());
                    let (stopped, counted) = (Arc::clone(&stopped), Arc::clone(&counted));
                    writing.spawn(write(client, writer, size, stopped, counted));
                }
                while let Some(done) = writing.join_next().await {
                    done.expect("a writer");
                }
            });
        });
        Self {
            stop,
            changes,
            thread,
        }
    }

    /// Stops them; how many changes they made.
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writers");
        self.changes.load(Ordering::Relaxed)
    }
}

async fn write(
    mut client: MemberServiceClient<tonic::transport::Channel>,
    writer: usize,
    size: usize,
    stopped: Arc<AtomicBool>,
    counted: Arc<AtomicUsize>,
) {
    for turn in 0.. {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let role = if turn % 2 == 0 { "operator" } else { "viewer" };
        let mut request = Request::new(v1::SetMemberRolesRequest {
            organization: organization(size),
            user: format!("user-{}", 1 + (writer + turn * AT_ONCE) % (size - 1)),
            roles: vec![role.to_owned()],
            ..Default::default()
        });
        let bearer = format!("Bearer {KEY}").parse().expect("a header");
        request.metadata_mut().insert("authorization", bearer);
        if client.set_member_roles(request).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }
}
