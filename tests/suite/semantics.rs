//! What roles, project roles, overrides, defaults and ownership mean, told as sentences.

use crate::harness::{Daemon, question};

#[tokio::test]
async fn a_role_grants_its_actions_and_no_others() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "oncloudwine").await;
    daemon.add("acme", "morgan", &["member"]).await;
    assert!(
        daemon
            .allows(question(
                "acme",
                "morgan",
                "ManageContacts",
                "Organization",
                "acme"
            ))
            .await
    );
    assert!(
        !daemon
            .allows(question(
                "acme",
                "morgan",
                "ManageBilling",
                "Organization",
                "acme"
            ))
            .await
    );
    daemon.stop().await;
}
