//! The Unix socket of the real program: it comes and goes with it, and with nothing
//! less than that.

use std::process::Command;

use roster::proto::v1;
use roster::proto::v1::organization_service_client::OrganizationServiceClient;
use tonic::transport::Endpoint;

use super::{Daemon, run, serve};

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_serves_outlives_a_kill_and_is_gone_after_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let path = directory.path().join("roster.sock");
    let socket = path.to_str().unwrap();
    let flags = ["--listen-unix", socket, "--serving-threads", "1"];
    let killed = Daemon::start_with(&data, &flags);
    let line = format!("unix:{socket}");
    assert_eq!(killed.process.line("roster listens on "), Some(line));
    killed.kill();
    assert!(path.exists());

    let daemon = Daemon::start_with(&data, &flags);
    let endpoint = Endpoint::from_shared(format!("unix:{socket}")).unwrap();
    let mut client = OrganizationServiceClient::new(endpoint.connect().await.unwrap());
    let list = v1::ListOrganizationsRequest::default();
    client
        .list_organizations(daemon.signed(list.clone()))
        .await
        .expect("the key opens it");
    client
        .list_organizations(list)
        .await
        .expect_err("nothing else does");

    let mut second: Command = serve(&directory.path().join("other"));
    let second = run(second.args(flags));
    assert_eq!(second.code(), Some(1), "{}", second.stderr);
    let message = format!("roster: another process listens on `{socket}`; stop that one first");
    assert!(second.stderr.contains(&message), "{}", second.stderr);

    drop(client);
    let printed = daemon.stop().stdout;
    assert!(printed.contains("ROSTER_SERVING_THREADS=1"), "{printed}");
    assert!(!path.exists());
}
