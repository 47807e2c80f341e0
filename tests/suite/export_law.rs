//! The export law: what a daemon answers over gRPC, Cedar's own authorizer
//! answers on the whole export fetched over gRPC, whatever was done to the
//! organization, whatever things are called, whatever the request describes.

use std::collections::BTreeMap;
use std::str::FromStr;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, EntityUid, Policy,
    PolicyId, PolicySet, Request, Schema, ValidationMode, Validator,
};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use roster::application::{Actor, Caller, Need, Request as Asking};
use roster::engine::Snapshot;
use roster::proto::v1;
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use crate::harness::{Daemon, catalogs, in_project, owned, question};
use crate::properties::configuration;
use crate::properties::generator::{
    Asked, Command, HOSTILE, Names, PLAIN, Seed, commands, founding, seeds,
};

/// Cases for each catalog; `ROSTER_PROPTEST_CASES` multiplies it.
const CASES: u32 = 3;
/// Described resources asked of an export of their own, in each case.
const MOST_DESCRIBED: usize = 24;

const REGRESSIONS: &str = "tests/suite/properties/export_law.regressions";

/// An export, parsed by Cedar's own parsers and nothing else.
struct Exported {
    schema: Schema,
    policies: PolicySet,
    entities: Entities,
    request: Option<Json>,
}

/// An answer that can be compared: whether, and by which policies.
#[derive(Debug, PartialEq)]
struct Answer {
    allow: bool,
    policies: Vec<String>,
}

impl Exported {
    /// Fetches an export as any client would, and parses it.
    async fn fetch(
        daemon: &Daemon,
        organization: &str,
        request: Option<v1::IsAuthorizedRequest>,
    ) -> Self {
        let files = files(daemon, organization, request).await;
        let schema = &files["schema.cedarschema"];
        let (schema, warnings) = Schema::from_cedarschema_str(schema).expect("a schema");
        assert_eq!(warnings.count(), 0, "Cedar warns of the schema");
        let entities = Entities::from_json_str(&files["entities.json"], Some(&schema))
            .expect("entities that fit the schema");
        Self {
            policies: named_policies(&files["policies.cedar"]),
            entities,
            request: files
                .get("request.json")
                .map(|text| serde_json::from_str(text).expect("JSON")),
            schema,
        }
    }

    /// What Cedar answers on all of it.
    fn answer(&self, principal: &str, action: &str, resource: &str, context: &Json) -> Answer {
        let uid = |text| EntityUid::from_str(text).expect("a uid");
        let action = uid(action);
        let context =
            Context::from_json_value(context.clone(), Some((&self.schema, &action))).expect("fits");
        let request = Request::new(
            uid(principal),
            action,
            uid(resource),
            context,
            Some(&self.schema),
        )
        .expect("a request that fits the schema");
        let response = Authorizer::new().is_authorized(&request, &self.policies, &self.entities);
        // The one exception to the law, and the safe one: where a forbidding policy
        // can't be evaluated, Cedar leaves it out, and the daemon denies.
        let failed: Vec<String> = response
            .diagnostics()
            .errors()
            .map(|error| match error {
                AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
            })
            .filter(|id| {
                let policy = self.policies.policy(id);
                policy.is_some_and(|policy| policy.effect() == Effect::Forbid)
            })
            .map(ToString::to_string)
            .collect();
        let allow = response.decision() == Decision::Allow;
        let mut policies: Vec<String> = response
            .diagnostics()
            .reason()
            .map(ToString::to_string)
            .filter(|_| !allow || failed.is_empty())
            .chain(failed.clone())
            .collect();
        policies.sort();
        Answer {
            allow: allow && failed.is_empty(),
            policies,
        }
    }

    /// The answer to the request that came with it.
    fn answer_its_request(&self) -> Answer {
        let request = self.request.as_ref().expect("an export with a request");
        let text = |field: &str| request[field].as_str().expect("a uid").to_owned();
        self.answer(
            &text("principal"),
            &text("action"),
            &text("resource"),
            &request["context"],
        )
    }

    fn passes_strict_validation(&self) {
        let result =
            Validator::new(self.schema.clone()).validate(&self.policies, ValidationMode::Strict);
        // Warnings are none of our business: rights on own resources of a kind that
        // nobody owns may be asked for, and Cedar remarks that they never hold.
        let errors = result.validation_errors().map(ToString::to_string);
        let problems: Vec<String> = errors.collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

/// The files of an export by name.
pub(crate) async fn files(
    daemon: &Daemon,
    organization: &str,
    request: Option<v1::IsAuthorizedRequest>,
) -> BTreeMap<String, String> {
    collect(
        daemon,
        v1::ExportPoliciesRequest {
            organization: organization.to_owned(),
            request,
            ..Default::default()
        },
    )
    .await
}

/// The same, with a question that is asked with a token.
pub(crate) async fn export_with_token(
    daemon: &Daemon,
    organization: &str,
    request: v1::IsAuthorizedRequest,
    token: &str,
) -> BTreeMap<String, String> {
    collect(
        daemon,
        v1::ExportPoliciesRequest {
            organization: organization.to_owned(),
            request: Some(request),
            token: token.to_owned(),
            ..Default::default()
        },
    )
    .await
}

async fn collect(daemon: &Daemon, request: v1::ExportPoliciesRequest) -> BTreeMap<String, String> {
    let mut stream = daemon
        .policies()
        .export_policies(request)
        .await
        .expect("an export")
        .into_inner();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    while let Some(chunk) = stream.message().await.expect("a chunk") {
        files.entry(chunk.file).or_default().push_str(&chunk.text);
    }
    files
}

/// Policies under the ids that their annotations tell.
fn named_policies(text: &str) -> PolicySet {
    let parsed = PolicySet::from_str(text).expect("policies");
    let named = parsed.policies().map(|policy: &Policy| {
        let id = policy.annotation("id").expect("an @id");
        policy.new_id(PolicyId::new(id))
    });
    PolicySet::from_policies(named).expect("ids that are unique")
}

/// What the daemon answers, asked twice in a row.
async fn daemon_answers(daemon: &Daemon, request: &v1::IsAuthorizedRequest) -> Answer {
    let plain = daemon.allows(request.clone()).await;
    let answer = daemon.ask(request.clone()).await;
    let allow = answer.decision() == v1::Decision::Allow;
    assert_eq!(plain, allow);
    let mut policies = answer.determining_policies;
    policies.sort();
    Answer { allow, policies }
}

/// Founds an organization and takes every command through the write path; what
/// is refused leaves no trace.
async fn follow(daemon: &Daemon, catalog: &str, names: &Names, commands: &[Command]) {
    let application = &daemon.application;
    let asking = Asking {
        caller: Caller {
            name: "test".to_owned(),
            actor: Actor::Operator,
        },
        method: "Command",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    };
    application
        .create_organization(catalog, &founding(names), &asking)
        .await
        .expect("it is founded");
    for command in commands {
        let before = application
            .find(names.organization)
            .await
            .expect("it is there");
        let written = application
            .mutate(names.organization, Need::Operator, &asking, |turn| {
                command.decide(names, turn.organization(), turn.catalog(), turn.now)
            })
            .await;
        let after = application
            .find(names.organization)
            .await
            .expect("it is there");
        match written {
            // What only happened has a place of its own in the history.
            Ok(written) if before.revision() == after.revision() => {
                assert!(written.revision >= after.revision());
            }
            Ok(written) => assert_eq!(written.revision, after.revision()),
            Err(_) => {
                assert_eq!(
                    before.revision(),
                    after.revision(),
                    "refused, yet something changed"
                );
            }
        }
    }
}

fn questions(snapshot: &Snapshot, names: &Names, seeds: &[Seed]) -> Vec<Asked> {
    let catalog = snapshot.catalog().catalog();
    seeds
        .iter()
        .flat_map(|seed| seed.questions(names, snapshot.organization(), catalog))
        .collect()
}

/// Compares everything that is asked; the answers in order.
async fn law_holds(
    daemon: &Daemon,
    names: &Names,
    seeds: &[Seed],
) -> Result<Vec<Answer>, TestCaseError> {
    let snapshot = daemon
        .application
        .find(names.organization)
        .await
        .expect("there");
    let whole = Exported::fetch(daemon, names.organization, None).await;
    whole.passes_strict_validation();
    let listed = every_listed_policy(daemon, names.organization).await;
    let exported: BTreeMap<String, String> = whole
        .policies
        .policies()
        .map(|policy| (policy.id().to_string(), policy.to_string()))
        .collect();
    prop_assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        exported.keys().collect::<Vec<_>>()
    );
    let mut answers = Vec::new();
    let mut described = 0;
    for (number, asked) in questions(&snapshot, names, seeds).iter().enumerate() {
        let request = asked.request(names.organization);
        let on_cedar = if asked.is_on_record(snapshot.organization()) && asked.context.is_none() {
            let uid = |kind: &str, id: &str| serde_json::json!({ "type": kind, "id": id });
            let text = |uid: Json| EntityUid::from_json(uid).expect("a uid").to_string();
            whole.answer(
                &text(uid("User", &asked.user)),
                &text(uid("Action", &asked.action)),
                &text(uid(&asked.resource_type, &asked.resource_id)),
                &serde_json::json!({}),
            )
        } else {
            // An export for each is dear; some of many, the choice being random already.
            if described >= MOST_DESCRIBED || number % 3 != 0 {
                continue;
            }
            described += 1;
            let own = Exported::fetch(daemon, names.organization, Some(request.clone())).await;
            own.answer_its_request()
        };
        let on_daemon = daemon_answers(daemon, &request).await;
        prop_assert_eq!(&on_daemon, &on_cedar, "{:?}", asked);
        for policy in &on_daemon.policies {
            prop_assert!(listed.contains_key(policy), "`{policy}` is not listed");
        }
        answers.push(on_daemon);
    }
    Ok(answers)
}

/// Policies by id, through every page.
async fn every_listed_policy(daemon: &Daemon, organization: &str) -> BTreeMap<String, String> {
    let mut listed = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let page = daemon
            .policies()
            .list_policies(v1::ListPoliciesRequest {
                organization: organization.to_owned(),
                page_size: 7,
                page_token,
                ..Default::default()
            })
            .await
            .expect("a page")
            .into_inner();
        for policy in page.policies {
            assert!(
                listed.insert(policy.id, policy.cedar).is_none(),
                "a policy is listed twice"
            );
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return listed;
        }
    }
}

#[tokio::test]
async fn a_registered_resource_that_must_be_described_is_exported_with_its_question() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "greenhouse").await;
    daemon
        .resources()
        .register_resource(v1::RegisterResourceRequest {
            organization: "acme".to_owned(),
            r#type: "Sensor".to_owned(),
            id: "s1".to_owned(),
            ..Default::default()
        })
        .await
        .expect("it is registered");
    let mut request = question("acme", "owner", "ReadSensor", "Sensor", "s1");
    let address = prost_types::value::Kind::StringValue("::1".to_owned());
    let address = prost_types::Value {
        kind: Some(address),
    };
    request.resource.get_or_insert_default().attributes = Some(prost_types::Struct {
        fields: [("address".to_owned(), address)].into(),
    });
    let whole = Exported::fetch(&daemon, "acme", None).await;
    whole.passes_strict_validation();
    let own = Exported::fetch(&daemon, "acme", Some(request.clone())).await;
    let answer = own.answer_its_request();
    assert!(answer.allow);
    assert_eq!(answer, daemon_answers(&daemon, &request).await);
    daemon.stop().await;
}

#[tokio::test]
async fn an_override_by_roles_is_in_the_export_of_the_member_who_has_it() {
    let daemon = Daemon::start().await;
    daemon.found("acme", "hypervisor-io").await;
    daemon.project("acme", "production").await;
    daemon.project("acme", "development").await;
    daemon.add("acme", "ada", &["viewer"]).await;
    daemon.add("acme", "bob", &["admin"]).await;
    for (project, user, roles) in [
        ("development", "ada", ["operator"]),
        ("production", "bob", ["viewer"]),
    ] {
        daemon
            .projects()
            .set_project_override(v1::SetProjectOverrideRequest {
                organization: "acme".to_owned(),
                project: project.to_owned(),
                user: user.to_owned(),
                roles: owned(&roles),
                ..Default::default()
            })
            .await
            .expect("the override is set");
    }
    for (user, project, allowed) in [
        ("ada", "development", true),
        ("ada", "production", false),
        ("bob", "development", true),
        ("bob", "production", false),
    ] {
        let asked = question("acme", user, "InstancesManage", "Instance", "vm-1");
        let request = in_project(asked, project);
        let own = Exported::fetch(&daemon, "acme", Some(request.clone())).await;
        let answer = own.answer_its_request();
        assert_eq!(answer.allow, allowed, "{user} on {project}");
        assert_eq!(answer, daemon_answers(&daemon, &request).await);
    }
    daemon.stop().await;
}

#[test]
fn the_whole_export_answers_as_the_daemon_whatever_was_done() {
    let runtime = Runtime::new().expect("a runtime");
    for compiled in catalogs() {
        let catalog = compiled.catalog().id.as_str();
        let strategy = (commands(32), seeds(6), any::<bool>());
        let outcome = TestRunner::new(configuration(CASES, REGRESSIONS)).run(
            &strategy,
            |(commands, seeds, hostile)| {
                let names = if hostile { &HOSTILE } else { &PLAIN };
                runtime.block_on(async {
                    let daemon = Daemon::start().await;
                    follow(&daemon, catalog, names, &commands).await;
                    let answers = law_holds(&daemon, names, &seeds).await;
                    daemon.stop().await;
                    answers.map(drop)
                })
            },
        );
        if let Err(failure) = outcome {
            panic!("on `{catalog}`: {failure}");
        }
    }
}

#[test]
fn names_change_no_answer_and_make_no_policy_however_hostile() {
    let runtime = Runtime::new().expect("a runtime");
    for compiled in catalogs() {
        let catalog = compiled.catalog().id.as_str();
        let outcome = TestRunner::new(configuration(2, REGRESSIONS)).run(
            &(commands(32), seeds(6)),
            |(commands, seeds)| {
                runtime.block_on(async {
                    let daemon = Daemon::start().await;
                    let mut answers = Vec::new();
                    let mut policies = Vec::new();
                    for names in [&PLAIN, &HOSTILE] {
                        follow(&daemon, catalog, names, &commands).await;
                        answers.push(answers_by_number(&daemon, names, &seeds).await);
                        let listed = every_listed_policy(&daemon, names.organization).await;
                        policies.push(listed.len());
                        let whole = Exported::fetch(&daemon, names.organization, None).await;
                        whole.passes_strict_validation();
                        prop_assert_eq!(whole.policies.policies().count(), listed.len());
                    }
                    daemon.stop().await;
                    prop_assert_eq!(&answers[0], &answers[1]);
                    prop_assert_eq!(policies[0], policies[1]);
                    Ok(())
                })
            },
        );
        if let Err(failure) = outcome {
            panic!("on `{catalog}`: {failure}");
        }
    }
}

/// Every answer, with the number of policies that decided it.
async fn answers_by_number(daemon: &Daemon, names: &Names, seeds: &[Seed]) -> Vec<(bool, usize)> {
    let snapshot = daemon
        .application
        .find(names.organization)
        .await
        .expect("there");
    let requests: Vec<v1::IsAuthorizedRequest> = questions(&snapshot, names, seeds)
        .iter()
        .map(|asked| v1::IsAuthorizedRequest {
            include_reasons: true,
            ..asked.request(names.organization)
        })
        .collect();
    let items = daemon
        .authorization()
        .batch_is_authorized(v1::BatchIsAuthorizedRequest {
            requests,
            ..Default::default()
        })
        .await
        .expect("answers")
        .into_inner()
        .items;
    items
        .into_iter()
        .map(|item| match item.result.expect("a result") {
            v1::batch_item::Result::Response(answer) => (
                answer.decision() == v1::Decision::Allow,
                answer.determining_policies.len(),
            ),
            v1::batch_item::Result::Status(status) => panic!("{status:?}"),
        })
        .collect()
}
