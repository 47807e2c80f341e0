//! Each kind of caller, with each scope and bound, calls each RPC, with and without an
//! actor: exactly what `rpcs.txt` says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};
use roster::application::{Permit, Scope};
use roster::proto::v1;
use roster::store::memory::MemoryStore;
use roster::transport::identities::Identities;
use roster::transport::issuers::SubjectPattern;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::stage::{Stage, bearer, call, claims, issuer, methods, permit};
use crate::harness::{KEY, owned, question, reason};

const ACME: &str = "acme";
const ACTOR: &str = "owner";

/// What an RPC takes, as the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Check,
    Manage,
    Operate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Named,
    Everything,
    Nothing,
}

fn table() -> BTreeMap<String, (Takes, About)> {
    let mut table = BTreeMap::new();
    let lines = include_str!("rpcs.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let takes = match words[1] {
            "check" => Takes::Check,
            "manage" => Takes::Manage,
            "operate" => Takes::Operate,
            other => panic!("{other}"),
        };
        let about = match words[2] {
            "named" => About::Named,
            "everything" => About::Everything,
            "nothing" => About::Nothing,
            other => panic!("{other}"),
        };
        let before = table.insert(words[0].to_owned(), (takes, about));
        assert!(before.is_none(), "{line} is there twice");
    }
    table
}

fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

#[test]
fn every_rpc_has_a_row_and_every_row_has_an_rpc() {
    let rows: BTreeSet<String> = table().into_keys().collect();
    let there: BTreeSet<String> = methods().iter().map(name).collect();
    let missing: Vec<_> = there.difference(&rows).collect();
    let stale: Vec<_> = rows.difference(&there).collect();
    assert!(missing.is_empty(), "no row in rpcs.txt for {missing:?}");
    assert!(stale.is_empty(), "no such RPC: {stale:?}");
}

/// A request about `acme` that changes nothing.
fn request(method: &MethodDescriptor) -> Bytes {
    let check = question(ACME, "owner", "BuySeeds", "Organization", ACME);
    let lease = v1::NotificationLease {
        organization: ACME.to_owned(),
        notification: "none".to_owned(),
        lease: "none".to_owned(),
    };
    match method.name() {
        "IsAuthorized" | "StreamIsAuthorized" => return check.encode_to_vec().into(),
        "BatchIsAuthorized" => {
            let batch = v1::BatchIsAuthorizedRequest {
                requests: vec![check],
                ..Default::default()
            };
            return batch.encode_to_vec().into();
        }
        "AcknowledgeNotifications" => {
            let request = v1::AcknowledgeNotificationsRequest {
                notifications: vec![lease],
                validate_only: true,
                ..Default::default()
            };
            return request.encode_to_vec().into();
        }
        "ReleaseNotifications" => {
            let request = v1::ReleaseNotificationsRequest {
                notifications: vec![lease],
            };
            return request.encode_to_vec().into();
        }
        _ => {}
    }
    let mut message = DynamicMessage::new(method.input());
    for field in ["organization", "organization_id"] {
        if message.descriptor().get_field_by_name(field).is_some() {
            message.set_field_by_name(field, Value::String(ACME.to_owned()));
        }
    }
    if message
        .descriptor()
        .get_field_by_name("validate_only")
        .is_some()
    {
        message.set_field_by_name("validate_only", Value::Bool(true));
    }
    message.encode_to_vec().into()
}

/// The code and the reason of an answer; of a batch, of its one item.
type Told = (Code, String);

fn told(method: &MethodDescriptor, answer: Result<Bytes, Status>) -> Told {
    let status = match answer {
        Err(status) => return (status.code(), reason(&status)),
        Ok(message) if method.name() == "BatchIsAuthorized" => {
            let batch = v1::BatchIsAuthorizedResponse::decode(message).unwrap();
            match batch.items.into_iter().next().and_then(|item| item.result) {
                Some(v1::batch_item::Result::Status(status)) => status,
                _ => return (Code::Ok, String::new()),
            }
        }
        Ok(_) => return (Code::Ok, String::new()),
    };
    let details = status.encode_to_vec();
    let status = Status::with_details(status.code.into(), status.message, details.into());
    (status.code(), reason(&status))
}

fn denied(reason: &str) -> Told {
    (Code::PermissionDenied, reason.to_owned())
}

/// What one caller may do.
struct Case {
    scopes: Vec<Scope>,
    organizations: Vec<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scopes in [
        vec![Scope::Check],
        vec![Scope::Manage],
        vec![Scope::Operate],
        vec![Scope::Check, Scope::Manage, Scope::Operate],
    ] {
        for organizations in [vec![], vec![ACME, "third"], vec!["other"]] {
            let scopes = scopes.clone();
            cases.push(Case {
                scopes,
                organizations,
            });
        }
    }
    cases
}

impl Case {
    /// What is expected of it, if a caller who may do everything is told `otherwise`.
    fn expected(&self, takes: Takes, about: About, has_actor: bool, otherwise: &Told) -> Told {
        let scope = match takes {
            Takes::Check => Scope::Check,
            Takes::Manage if has_actor => Scope::Manage,
            Takes::Manage | Takes::Operate => Scope::Operate,
        };
        if !self.scopes.contains(&scope) {
            return denied("SCOPE_MISSING");
        }
        let is_bound = !self.organizations.is_empty();
        let is_foreign = match about {
            About::Named => is_bound && !self.organizations.contains(&ACME),
            About::Everything => is_bound,
            About::Nothing => false,
        };
        if is_foreign {
            return denied("FOREIGN_ORGANIZATION");
        }
        otherwise.clone()
    }
}

/// How a caller is known: by what is sent, or by the connection.
struct Way {
    kind: &'static str,
    channel: Channel,
    authorization: Vec<String>,
}

/// Every way for the caller of a case to be known.
async fn ways(stage: &Stage, index: usize, case: &Case) -> Vec<Way> {
    let scopes = case.scopes.iter().map(|scope| match scope {
        Scope::Check => v1::CallerScope::Check.into(),
        Scope::Manage => v1::CallerScope::Manage.into(),
        Scope::Operate => v1::CallerScope::Operate.into(),
    });
    let (_, key) = stage
        .key(v1::CreateCallerKeyRequest {
            name: format!("key-{index}"),
            scopes: scopes.collect(),
            organizations: owned(&case.organizations),
            ..Default::default()
        })
        .await;
    let permit: Permit = permit("known", &case.scopes, &case.organizations);
    let spiffe = format!("spiffe://prod.example/caller-{index}");
    let subject = format!("system:serviceaccount:shop:caller-{index}");
    let user = rustix::process::getuid().as_raw();
    let pattern = SubjectPattern::new(&subject);
    stage.know(Identities {
        certified: BTreeMap::from([(spiffe.clone(), permit.clone())]),
        users: BTreeMap::from([(user, permit.clone())]),
        groups: BTreeMap::new(),
        issuers: vec![issuer(&stage.signers, vec![(pattern, permit)])],
    });
    let certificate = stage.authority.client(&[&spiffe]);
    let token = stage
        .signers
        .sign(jsonwebtoken::Algorithm::EdDSA, &claims(&subject));
    vec![
        Way {
            kind: "an API key",
            channel: stage.plain().await,
            authorization: vec![key],
        },
        Way {
            kind: "a certificate",
            channel: stage.secure(Some(&certificate)).await.expect("TLS"),
            authorization: vec![],
        },
        Way {
            kind: "a user of the machine",
            channel: stage.unix().await,
            authorization: vec![],
        },
        Way {
            kind: "a token",
            channel: stage.plain().await,
            authorization: vec![bearer(&token)],
        },
    ]
}

/// What the operator's key is told, by RPC and whether there is an actor.
async fn references(stage: &Stage) -> BTreeMap<(String, bool), Told> {
    let (channel, operator) = (stage.plain().await, bearer(KEY));
    let mut references = BTreeMap::new();
    for method in methods() {
        for actor in [None, Some(ACTOR)] {
            let path = format!("/roster.v1.{}", name(&method));
            let request = request(&method);
            let answer = call(channel.clone(), &path, request, &[&operator], actor).await;
            let told = told(&method, answer);
            let refused = ["SCOPE_MISSING", "FOREIGN_ORGANIZATION", "UNAUTHENTICATED"];
            assert!(!refused.contains(&told.1.as_str()), "{path}: {told:?}");
            references.insert((name(&method), actor.is_some()), told);
        }
    }
    references
}

async fn found(stage: &Stage) {
    let operator = bearer(KEY);
    let founding = v1::CreateOrganizationRequest {
        organization_id: ACME.to_owned(),
        display_name: "Acme".to_owned(),
        catalog: "greenhouse".to_owned(),
        owner: "owner".to_owned(),
        ..Default::default()
    };
    let path = "/roster.v1.OrganizationService/CreateOrganization";
    let message = founding.encode_to_vec();
    let founded = call(stage.plain().await, path, message, &[&operator], None).await;
    founded.expect("the organization is founded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_caller_gets_exactly_what_its_scopes_and_bounds_give_of_every_rpc() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    found(&stage).await;
    let (table, references) = (table(), references(&stage).await);
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (index, case) in cases().iter().enumerate() {
        for way in ways(&stage, index, case).await {
            let authorization: Vec<&str> = way.authorization.iter().map(String::as_str).collect();
            for method in methods() {
                let (takes, about) = table[&name(&method)];
                for actor in [None, Some(ACTOR)] {
                    let path = format!("/roster.v1.{}", name(&method));
                    let (channel, request) = (way.channel.clone(), request(&method));
                    let answer = call(channel, &path, request, &authorization, actor).await;
                    let told = told(&method, answer);
                    let otherwise = &references[&(name(&method), actor.is_some())];
                    let expected = case.expected(takes, about, actor.is_some(), otherwise);
                    asked += 1;
                    if told != expected {
                        wrong.push(format!(
                            "{} with {:?} on {:?} as {actor:?}: {path} is {told:?}, not {expected:?}",
                            way.kind, case.scopes, case.organizations
                        ));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(asked > 9_000, "only {asked} calls were made");
    stage.stop().await;
}

#[tokio::test]
async fn nobody_is_served_anything_and_is_told_the_same_by_every_rpc() {
    let stage = Stage::on(Arc::new(MemoryStore::new())).await;
    found(&stage).await;
    let stranger = stage.authority.client(&["spiffe://prod.example/stranger"]);
    let channels = [
        stage.plain().await,
        stage.unix().await,
        stage.secure(Some(&stranger)).await.expect("TLS"),
    ];
    let mut answers = BTreeSet::new();
    for channel in channels {
        for method in methods() {
            for actor in [None, Some(ACTOR)] {
                let path = format!("/roster.v1.{}", name(&method));
                let refused = call(channel.clone(), &path, request(&method), &[], actor).await;
                let refused = refused.expect_err(&path);
                assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
                answers.insert((refused.message().to_owned(), refused.details().to_vec()));
            }
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    stage.stop().await;
}
