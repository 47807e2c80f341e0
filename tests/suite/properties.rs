//! Whatever is done to an organization, the engine answers what the domain's
//! reference meaning says, the same when it remembers as when it asks Cedar, the
//! same when it advanced record by record as when it compiled from scratch; and
//! what must never happen to an organization never does.
//!
//! Domain and engine only, no daemon: thousands of questions a second. The law
//! about exports is next door, in `export_law`.

pub(crate) mod generator;
mod rails;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, PolicySet};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestCaseError, TestRunner};
use roster::domain::Catalog;
use roster::domain::catalog::{ConditionTest, Level, PROJECT_TYPE};
use roster::domain::change::Change;
use roster::domain::checks::AskedPermissions;
use roster::domain::holdings::Validity;
use roster::domain::identifiers::RoleId;
use roster::domain::lifecycle::found;
use roster::domain::meaning::{self, Case};
use roster::domain::members::NewMember;
use roster::domain::organization::{Moment, Organization, Project, ResourceKey, Version};
use roster::domain::period::Period;
use roster::domain::refusal::Refusal;
use roster::domain::roles::RoleEdit;
use roster::domain::value::{Record, Value};
use roster::engine::{CompiledCatalog, Export, RawQuestion, Snapshot, Verdict};
use serde_json::Value as Json;

use crate::harness::catalogs;
use generator::{
    Asked, Command, HOSTILE, MOMENTS, Names, PLAIN, Seed, THEN, commands, founding, seeds,
};

/// Questions with what was answered.
type Answered = Vec<(Asked, Moment, Verdict)>;

/// Cases for each catalog; `ROSTER_PROPTEST_CASES` multiplies it.
const CASES: u32 = 16;

type Checked = Result<(), TestCaseError>;

/// How many cases, and where those that failed once are kept.
pub(crate) fn configuration(cases: u32, regressions: &'static str) -> ProptestConfig {
    let times = std::env::var("ROSTER_PROPTEST_CASES")
        .map_or(1, |times| times.parse().expect("a number of times"));
    ProptestConfig {
        cases: cases * times,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

/// Runs a property on every catalog at once, each in a thread of its own.
fn on_every_catalog(property: impl Fn(&Arc<CompiledCatalog>) + Sync) {
    std::thread::scope(|scope| {
        for compiled in &catalogs() {
            let property = &property;
            let compiled = Arc::clone(compiled);
            scope.spawn(move || property(&compiled));
        }
    });
}

#[test]
fn after_every_command_the_engine_answers_what_rights_mean() {
    on_every_catalog(|compiled| {
        let config = configuration(CASES, "tests/suite/properties/engine.regressions");
        let strategy = (commands(24), seeds(8), any::<bool>());
        let outcome = TestRunner::new(config).run(&strategy, |(commands, seeds, hostile)| {
            let names = if hostile { &HOSTILE } else { &PLAIN };
            follow(compiled, names, &commands, &seeds)
        });
        if let Err(failure) = outcome {
            panic!("on `{}`: {failure}", compiled.catalog().id);
        }
    });
}

/// Random commands seldom meet two positions that differ in one thing only; these do.
#[test]
fn positions_that_differ_in_one_thing_are_remembered_apart() {
    let greenhouse = greenhouse();
    let permissions = |actions: &[&str]| AskedPermissions {
        actions: actions.iter().map(ToString::to_string).collect(),
        ..AskedPermissions::default()
    };
    let gardener = ["gardener".to_owned()];
    let mut now = Arc::clone(&greenhouse);
    for project in ["free", "closed", "other", "watered"] {
        now = step(&now, |state, catalog| {
            state.create_project(catalog, project, project, THEN)
        });
    }
    now = step(&now, |state, catalog| {
        let new = NewMember {
            user: "ana".to_owned(),
            roles: gardener.to_vec().into(),
            period: Period::ALWAYS,
            ..NewMember::default()
        };
        state.add_member(catalog, &new, THEN)
    });
    for (project, actions) in [
        ("closed", &[][..]),
        ("other", &["ViewBed"]),
        ("watered", &["WaterBed"]),
    ] {
        now = step(&now, |state, catalog| {
            let asked = permissions(actions);
            state.set_project_override(
                catalog,
                project,
                "ana",
                &[],
                &asked,
                Period::ALWAYS,
                "",
                THEN,
            )
        });
    }
    // Each order, on tables of their own: whichever is remembered first.
    let expected = [
        ("free", true),
        ("closed", false),
        ("other", false),
        ("watered", true),
    ];
    for first in 0..expected.len() {
        let state = now.organization().clone();
        let fresh = Snapshot::compile(Arc::clone(now.catalog()), state, 1).expect("it compiles");
        for turn in 0..expected.len() {
            let (project, allowed) = expected[(first + turn) % expected.len()];
            assert_eq!(waters(&fresh, project), allowed, "{project}, {first} first");
        }
    }
    // An edited role that is reset, and the member who alone held permissions.
    now = step(&now, |state, catalog| {
        let edit = RoleEdit {
            permissions: Some(permissions(&[])),
            ..RoleEdit::default()
        };
        state.update_role(catalog, "gardener", &edit, "", THEN)
    });
    assert!(!waters(&now, "free"));
    now = step(&now, |state, catalog| {
        state.reset_role(catalog, "gardener", "")
    });
    assert!(waters(&now, "free"));
    now = step(&now, |state, catalog| {
        state.remove_member(catalog, "ana", "", "", THEN)
    });
    assert!(!waters(&now, "free"));
    let left = Export::new(now, THEN).policies().expect("text");
    assert_eq!(
        left,
        Export::new(greenhouse, THEN).policies().expect("text")
    );
}

#[test]
fn an_answer_under_a_condition_is_not_remembered_for_other_attributes() {
    let now = step(&greenhouse(), |state, catalog| {
        let new = NewMember {
            user: "ana".to_owned(),

            ..NewMember::default()
        };
        state.add_member(catalog, &new, THEN)
    });
    let now = step(&now, |state, catalog| {
        state.create_project(catalog, "free", "free", THEN)
    });
    let visitor = vec!["visitor".to_owned()].into();
    let now = step(&now, |state, catalog| {
        state.set_project_roles(catalog, "free", "ana", &visitor, "", THEN)
    });
    for open in [true, false, true] {
        let open_to_visitors = ("open_to_visitors".to_owned(), Value::Boolean(open));
        let attributes = Record::from([open_to_visitors]);
        let raw = RawQuestion {
            principal_type: "User",
            principal_id: "ana",
            action: "ViewBed",
            resource_type: "Bed",
            resource_id: "bed",
            project: "free",
            attributes: Some(&attributes),
            ..RawQuestion::default()
        };
        let question = now.question(&raw).expect("a question");
        let decision = now.decide(&question).expect("an answer");
        assert_eq!(decision.verdict == Verdict::Allow, open);
    }
}

fn greenhouse() -> Arc<Snapshot> {
    let all = catalogs();
    let compiled = all
        .iter()
        .find(|compiled| compiled.catalog().id.as_str() == "greenhouse")
        .expect("the sixth catalog");
    let (organization, _) =
        found(compiled.catalog(), &founding(&PLAIN), Version(1), THEN).expect("it is founded");
    Arc::new(Snapshot::compile(Arc::clone(compiled), organization, 1).expect("it compiles"))
}

fn step(
    now: &Snapshot,
    decide: impl FnOnce(&Organization, &Catalog) -> Result<Change, Refusal>,
) -> Arc<Snapshot> {
    let state = now.organization();
    let change = decide(state, now.catalog().catalog()).expect("it is agreed to");
    let next = state.apply(&change.records);
    Arc::new(now.advance(next, &change.records).expect("it compiles"))
}

/// Whether ana may water a bed there, evaluated and remembered alike.
fn waters(snapshot: &Snapshot, project: &str) -> bool {
    let raw = RawQuestion {
        principal_type: "User",
        principal_id: "ana",
        action: "WaterBed",
        resource_type: "Bed",
        resource_id: "bed",
        project,
        ..RawQuestion::default()
    };
    let question = snapshot.question(&raw).expect("a question");
    let decided = snapshot.decide(&question).expect("an answer");
    assert_eq!(snapshot.decide(&question).expect("an answer"), decided);
    decided.verdict == Verdict::Allow
}

/// Takes every command and checks everything after each.
fn follow(
    compiled: &Arc<CompiledCatalog>,
    names: &Names,
    commands: &[Command],
    seeds: &[Seed],
) -> Checked {
    let catalog = compiled.catalog();
    let leaves_out = LeavesOut::of(catalog);
    let (organization, _) =
        found(catalog, &founding(names), Version(1), THEN).expect("it is founded");
    let first = Snapshot::compile(Arc::clone(compiled), organization, 1).expect("it compiles");
    let mut now = Arc::new(first);
    let mut before: Vec<(Arc<Snapshot>, Answered)> = Vec::new();
    for command in commands {
        let organization = now.organization();
        let stood = format!("{organization:?}");
        let decided = command.decide(names, organization, catalog, THEN);
        prop_assert_eq!(&stood, &format!("{:?}", now.organization()));
        let Ok(change) = decided else { continue };
        let next = organization.apply(&change.records);
        check_state(&next, organization, catalog)?;
        let advanced = now.advance(next, &change.records).expect("it compiles");
        now = Arc::new(advanced);
        let scratch = check_against_scratch(compiled, &now)?;
        let answers = check_answers(&now, &scratch, names, seeds, &leaves_out)?;
        before.push((Arc::clone(&now), answers));
    }
    // What was answered once is answered so for ever, whatever came later.
    for (snapshot, answers) in &before {
        for (asked, at, answered) in answers {
            let raw = RawQuestion {
                at: *at,
                ..asked.raw()
            };
            let question = snapshot.question(&raw).expect("a question");
            let again = snapshot.decide(&question).expect("an answer");
            prop_assert_eq!(
                again.verdict,
                *answered,
                "an old revision changed its mind: {:?}",
                asked
            );
        }
    }
    Ok(())
}

/// What always holds of the state of an organization.
fn check_state(next: &Organization, before: &Organization, catalog: &Catalog) -> Checked {
    prop_assert_eq!(next.version, before.version.next());
    let owners = next
        .members
        .keys()
        .filter(|user| next.is_owner(user.as_str()));
    prop_assert_eq!(owners.count(), 1);
    let known = |role: &RoleId| {
        catalog.role(role.as_str()).is_some() || next.roles.contains_key(role.as_str())
    };
    for member in next.members.values() {
        let user = &member.user;
        prop_assert_eq!(user, &member.user);
        prop_assert!(member.version <= next.version && member.membership <= member.version);
        let here = member.project_roles.keys().chain(member.overrides.keys());
        for project in here {
            prop_assert!(
                next.projects.contains_key(project.as_str()),
                "{project} dangles"
            );
        }
        let overriding = member
            .overrides
            .values()
            .flat_map(|replaced| &replaced.roles);
        let held = member
            .roles
            .iter()
            .chain(member.project_roles.values().flatten())
            .chain(member.default_roles.values().flatten())
            .chain(overriding);
        for role in held {
            prop_assert!(known(role), "{role} dangles");
        }
        for replaced in member.overrides.values() {
            let account = replaced.permissions.account_level_actions(catalog).count();
            prop_assert_eq!(account, 0);
            prop_assert!(!replaced.permissions.every.contains(&Level::Account));
        }
        if next.is_owner(user.as_str()) {
            prop_assert!(member.overrides.is_empty() && member.roles.is_empty());
        }
    }
    for resource in next.resources.values() {
        if let Some(project) = &resource.project {
            prop_assert!(
                next.projects.contains_key(project.as_str()),
                "{project} dangles"
            );
        }
        if let Some(owner) = &resource.owner {
            prop_assert!(next.members.contains_key(owner.as_str()), "{owner} dangles");
        }
    }
    let ordinals: BTreeSet<u64> = next.projects.values().map(|found| found.ordinal).collect();
    prop_assert_eq!(ordinals.len(), next.projects.len());
    let highest = ordinals.last().copied().unwrap_or_default();
    prop_assert!(highest < next.profile.next_project_ordinal);
    prop_assert!(before.profile.next_project_ordinal <= next.profile.next_project_ordinal);
    Ok(())
}

/// A snapshot that came here by steps exports what one compiled from the same
/// state does. Returns the latter.
fn check_against_scratch(
    compiled: &Arc<CompiledCatalog>,
    advanced: &Arc<Snapshot>,
) -> Result<Snapshot, TestCaseError> {
    let organization = advanced.organization();
    let scratch =
        || Snapshot::compile(Arc::clone(compiled), organization.clone(), 1).expect("it compiles");
    let stepwise = Export::new(Arc::clone(advanced), THEN);
    let afresh = Export::new(Arc::new(scratch()), THEN);
    prop_assert_eq!(
        stepwise.policies().expect("text"),
        afresh.policies().expect("text")
    );
    prop_assert_eq!(entities(&stepwise), entities(&afresh));
    Ok(scratch())
}

/// Entities by uid, their sets in one order.
fn entities(export: &Export) -> BTreeMap<String, Json> {
    fn sorted(value: Json) -> Json {
        match value {
            Json::Array(values) => {
                let mut values: Vec<Json> = values.into_iter().map(sorted).collect();
                values.sort_by_key(ToString::to_string);
                Json::Array(values)
            }
            Json::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect(),
            plain => plain,
        }
    }
    let lines = export.entities(None).expect("entities");
    let entities = lines
        .iter()
        .map(|line| sorted(serde_json::from_str(line).expect("JSON")));
    entities
        .map(|entity| (entity["uid"].to_string(), entity))
        .collect()
}

/// Every way to ask agrees, here and on the snapshot from scratch, and with the
/// reference meaning as far as that goes.
fn check_answers(
    now: &Snapshot,
    scratch: &Snapshot,
    names: &Names,
    seeds: &[Seed],
    leaves_out: &LeavesOut,
) -> Result<Answered, TestCaseError> {
    let organization = now.organization();
    let catalog = now.catalog().catalog();
    let mut answers = Vec::new();
    for asked in seeds
        .iter()
        .flat_map(|seed| seed.questions(names, organization, catalog))
    {
        // At the moment of the change for the most part, and around the ends of what has one.
        let at = MOMENTS[(asked.user.len() + asked.project.len() + answers.len()) % 4];
        let raw = RawQuestion { at, ..asked.raw() };
        let question = now.question(&raw).expect("a question");
        let decided = now.decide(&question).expect("an answer");
        let remembered = now.decide(&question).expect("an answer");
        let evaluated = now.evaluate(&question).expect("an answer");
        prop_assert_eq!(decided, evaluated, "decided, asked of Cedar: {:?}", asked);
        prop_assert_eq!(
            remembered,
            evaluated,
            "remembered, asked of Cedar: {:?}",
            asked
        );
        let explained = now.explain(&question).expect("an answer");
        prop_assert_eq!(
            explained.verdict,
            evaluated.verdict,
            "explained: {:?}",
            asked
        );
        prop_assert!(!explained.reasons.is_empty(), "no reason: {:?}", asked);
        let afresh = scratch.question(&raw).expect("a question");
        let afresh = scratch.decide(&afresh).expect("an answer");
        prop_assert_eq!(evaluated, afresh, "advanced, from scratch: {:?}", asked);
        let active = organization.members.get(asked.user.as_str());
        let active = active.is_some_and(|member| member.validity(at) == Validity::Active);
        prop_assert!(active || evaluated.verdict == Verdict::Deny, "{asked:?}");
        check_meaning(
            organization,
            catalog,
            &asked,
            at,
            evaluated.verdict,
            leaves_out,
        )?;
        answers.push((asked, at, evaluated.verdict));
    }
    Ok(answers)
}

fn check_meaning(
    organization: &Organization,
    catalog: &Catalog,
    asked: &Asked,
    at: Moment,
    answered: Verdict,
    leaves_out: &LeavesOut,
) -> Checked {
    let key = ResourceKey::new(&asked.resource_type, &asked.resource_id);
    let registered = organization.resources.get(&key);
    let place = match (asked.resource_type.as_str(), registered) {
        (PROJECT_TYPE, _) => Some(asked.resource_id.as_str()),
        (_, Some(registered)) => registered.project.as_ref().map(|project| project.as_str()),
        (_, None) => Some(asked.project.as_str()),
    };
    let project = place.and_then(|place| organization.projects.get(place));
    let owner = match registered {
        Some(registered) => registered.owner.as_ref().map(|owner| owner.as_str()),
        None => Some(asked.owner.as_str()).filter(|owner| !owner.is_empty()),
    };
    let (action, _) = catalog.action(&asked.action).expect("an action");
    let case = Case {
        user: &asked.user,
        action,
        resource_type: &asked.resource_type,
        resource_id: &asked.resource_id,
        project: project.map(|project| -> &Project { project }),
        resource_owner: owner,
        now: at,
    };
    let meant = meaning::allowed(organization, catalog, &case);
    let allowed = answered == Verdict::Allow;
    // Nor does the reference meaning speak of guardrails.
    let guardrails = || organization.guardrails.values();
    let permits = guardrails().any(|guardrail| guardrail.text.starts_with("permit"));
    let forbids = guardrails().any(|guardrail| guardrail.text.starts_with("forbid"));
    let forbidden_perhaps = forbids || leaves_out.rules_touch(&asked.action);
    let granted_perhaps = permits || leaves_out.conditions_see(asked);
    prop_assert!(
        meant || !allowed || granted_perhaps,
        "too much: {:?}",
        asked
    );
    prop_assert!(
        allowed || !meant || forbidden_perhaps,
        "too little: {:?}",
        asked
    );
    Ok(())
}

/// What the reference meaning does not speak of, read from the catalog: a
/// product's own rules, which can only deny more than was meant, and its named
/// conditions, which can only allow more, and only when the question says
/// something of an attribute that one of them looks at. The other direction is
/// held to in both cases.
struct LeavesOut {
    ruled: BTreeSet<String>,
    attributes: BTreeSet<String>,
}

impl LeavesOut {
    fn of(catalog: &Catalog) -> Self {
        let attributes = catalog.conditions.iter().map(|condition| {
            let (ConditionTest::AttributeIsTrue(attribute)
            | ConditionTest::AttributeContainsPrincipal(attribute)) = &condition.test;
            attribute.clone()
        });
        let text = catalog.rules.as_ref().map_or("", |rules| &rules.text);
        let rules = PolicySet::from_str(text).expect("rules");
        let mut ruled = BTreeSet::new();
        for rule in rules.policies() {
            match rule.action_constraint() {
                ActionConstraint::Any => {
                    ruled.extend(catalog.actions.iter().map(|action| action.id.to_string()));
                }
                ActionConstraint::Eq(action) => {
                    ruled.insert(action.id().unescaped().to_owned());
                }
                ActionConstraint::In(actions) => {
                    let named = actions.iter().map(|action| action.id().unescaped());
                    ruled.extend(named.map(|name| -> String { name.to_owned() }));
                }
            }
        }
        Self {
            ruled,
            attributes: attributes.collect(),
        }
    }

    fn rules_touch(&self, action: &str) -> bool {
        ["account-level", "project-level", action]
            .iter()
            .any(|name| self.ruled.contains(*name))
    }

    fn conditions_see(&self, asked: &Asked) -> bool {
        let mut given = asked.attributes.iter().flat_map(|given| given.keys());
        given.any(|name| self.attributes.contains(name))
    }
}
