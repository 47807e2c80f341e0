//! The log as a machine reads it: one line for each call that manages something, under
//! its request id, and none for checks.

use roster::proto::v1;
use roster::proto::v1::authorization_service_client::AuthorizationServiceClient;
use roster::proto::v1::member_service_client::MemberServiceClient;
use serde_json::Value;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::harness::question;
use crate::probed::Program;

#[tokio::test(flavor = "multi_thread")]
async fn each_managed_call_is_one_line_with_its_request_id_and_nothing_personal() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(directory.path(), &["--example", "--log-format", "json"]);
    let endpoint = Endpoint::from_shared(format!("http://{}", program.address));
    let channel = endpoint
        .expect("an address")
        .connect()
        .await
        .expect("it listens");
    let key: tonic::metadata::MetadataValue<_> =
        format!("Bearer {}", program.key).parse().expect("a value");
    let organization = "hypervisor-io-example";
    let mut members = MemberServiceClient::new(channel.clone());
    let mut checks = AuthorizationServiceClient::new(channel);

    let add = |user: &str| {
        let mut request = Request::new(v1::AddMemberRequest {
            organization: organization.to_owned(),
            user: user.to_owned(),
            display_name: "Zacharias Secret".to_owned(),
            email: "zacharias@secret.example".to_owned(),
            ..Default::default()
        });
        request.metadata_mut().insert("authorization", key.clone());
        request
    };
    let mut named = add("zed");
    let id = "order-17".parse().expect("a value");
    named.metadata_mut().insert("x-request-id", id);
    let added = members.add_member(named).await.expect("added");
    assert_eq!(
        added.metadata().get("x-request-id").expect("an id"),
        "order-17"
    );
    let again = members
        .add_member(add("zed"))
        .await
        .expect_err("they are there");
    let drawn = again.metadata().get("x-request-id").expect("an id is made");
    let drawn = drawn.to_str().expect("text").to_owned();
    assert_eq!(drawn.len(), 32, "{drawn}");
    let stranger = v1::GetMemberRequest::default();
    members
        .get_member(stranger)
        .await
        .expect_err("without a key");
    let mut asked = Request::new(question(
        organization,
        "zed",
        "InstancesView",
        "Instance",
        "vm",
    ));
    asked.metadata_mut().insert("authorization", key.clone());
    checks.is_authorized(asked).await.expect("an answer");

    program.terminate();
    let (_, log) = tokio::task::spawn_blocking(|| program.ended())
        .await
        .expect("it ended");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let calls: Vec<[&str; 4]> = lines
        .iter()
        .filter(|line| line["target"] == "roster::calls")
        .map(|line| {
            let field = |name: &str| line["fields"][name].as_str().unwrap_or_default();
            assert!(line["fields"]["milliseconds"].is_u64(), "{line}");
            [
                field("method"),
                field("code"),
                field("caller"),
                field("request_id"),
            ]
        })
        .collect();
    assert_eq!(calls[0], ["AddMember", "OK", "operator", "order-17"]);
    assert_eq!(calls[1], ["AddMember", "AlreadyExists", "operator", &drawn]);
    // Strangers fill no log, and checks are not logged.
    assert_eq!(calls.len(), 2, "{calls:?}");
    for personal in ["Zacharias", "secret.example", &program_key(&key)] {
        assert!(!log.contains(personal), "{personal} in {log}");
    }
}

fn program_key(key: &tonic::metadata::MetadataValue<tonic::metadata::Ascii>) -> String {
    let text = key.to_str().expect("text");
    text.trim_start_matches("Bearer ").to_owned()
}
