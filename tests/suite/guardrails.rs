//! Guardrails, as an owner and an operator meet them: what is accepted and what is
//! refused and why, what they decide and how that is told, and that nothing a text
//! says reaches further than its own policy.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost_types::value::Kind;
use roster::domain::identifiers::OrganizationId;
use roster::proto::v1;
use roster::store::Store as _;
use roster::store::memory::MemoryStore;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::control_plane::nursery;
use crate::export_law::files;
use crate::harness::{Daemon, NOW, as_actor, in_project, owned_by, question, reason};

const NO_WATER_IN_TUNNEL: &str = r#"forbid (
  principal,
  action == Action::"WaterBed",
  resource in Project::"tunnel"
);"#;

async fn daemon() -> Daemon {
    let daemon = Daemon::start().await;
    nursery(&daemon, "acme").await;
    daemon
}

fn creation(id: &str, text: &str) -> v1::CreateGuardrailRequest {
    v1::CreateGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail_id: id.to_owned(),
        description: format!("About {id}."),
        text: text.to_owned(),
        ..Default::default()
    }
}

async fn create(daemon: &Daemon, id: &str, text: &str) -> v1::Guardrail {
    let created = daemon.policies().create_guardrail(creation(id, text)).await;
    created.expect(text).into_inner().guardrail.expect("it")
}

async fn delete(daemon: &Daemon, id: &str) {
    let request = v1::DeleteGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail: id.to_owned(),
        ..Default::default()
    };
    let deleted = daemon.policies().delete_guardrail(request).await;
    deleted.expect("it is deleted");
}

/// What is said against a text; nothing if it is accepted. Changes nothing.
async fn against(daemon: &Daemon, actor: Option<&str>, text: &str) -> Vec<String> {
    let request = v1::CreateGuardrailRequest {
        validate_only: true,
        ..creation("tried", text)
    };
    let answer = match actor {
        Some(actor) => {
            daemon
                .policies()
                .create_guardrail(as_actor(actor, request))
                .await
        }
        None => daemon.policies().create_guardrail(request).await,
    };
    let Err(status) = answer else {
        return Vec::new();
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("violations");
    let mut said = Vec::new();
    for violation in details.field_violations {
        assert_eq!(violation.field, "text");
        said.push(format!("{} {}", violation.reason, violation.description));
    }
    assert!(!said.is_empty());
    said
}

fn water(user: &str, project: &str) -> v1::IsAuthorizedRequest {
    in_project(question("acme", user, "WaterBed", "Bed", "x"), project)
}

fn said(mut check: v1::IsAuthorizedRequest, name: &str, value: f64) -> v1::IsAuthorizedRequest {
    let value = prost_types::Value {
        kind: Some(Kind::NumberValue(value)),
    };
    check.context = Some(prost_types::Struct {
        fields: [(name.to_owned(), value)].into(),
    });
    check
}

async fn policy_count(daemon: &Daemon) -> usize {
    let request = v1::ListPoliciesRequest {
        organization: "acme".to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = daemon.policies().list_policies(request).await;
    listed.expect("a list").into_inner().policies.len()
}

#[tokio::test]
async fn a_guardrail_forbids_from_its_revision_on_and_says_so() {
    let daemon = daemon().await;
    daemon.add("acme", "gus", &["gardener"]).await;
    assert!(daemon.allows(water("gus", "tunnel")).await);
    let made = create(&daemon, "dry", NO_WATER_IN_TUNNEL).await;
    assert_eq!(made.text, NO_WATER_IN_TUNNEL);
    assert_eq!(made.create_time.expect("a time").seconds, NOW.0 / 1_000);
    for user in ["gus", "ann", "owner"] {
        let answer = daemon.ask(water(user, "tunnel")).await;
        assert_eq!(answer.decision(), v1::Decision::Deny, "{user}");
        assert_eq!(answer.determining_policies, ["guardrail/dry"]);
        let why = &answer.reasons[0];
        assert_eq!(why.code(), v1::ReasonCode::Guardrail);
        assert_eq!(
            (why.policy.as_str(), why.message.as_str()),
            ("guardrail/dry", "About dry.")
        );
        assert!(!daemon.allows(water(user, "tunnel")).await);
    }
    // Elsewhere, and for other actions, nothing has changed.
    assert!(daemon.allows(water("gus", "shed")).await);
    let view = in_project(question("acme", "gus", "ViewBed", "Bed", "x"), "tunnel");
    assert!(daemon.allows(view).await);

    let listed = v1::ListPoliciesRequest {
        organization: "acme".to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let listed = daemon
        .policies()
        .list_policies(listed)
        .await
        .expect("a list");
    let listed = listed.into_inner().policies;
    let policy = listed
        .iter()
        .find(|policy| policy.id == "guardrail/dry")
        .expect("listed");
    assert_eq!(policy.origin(), v1::PolicyOrigin::Guardrail);
    assert_eq!(
        (policy.guardrail.as_str(), policy.reason.as_str()),
        ("dry", "About dry.")
    );
    assert!(
        policy.cedar.contains("@id(\"guardrail/dry\")"),
        "{}",
        policy.cedar
    );

    delete(&daemon, "dry").await;
    assert!(daemon.allows(water("gus", "tunnel")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn guardrails_are_read_edited_by_etag_and_deleted() {
    let daemon = daemon().await;
    let drawn = create(&daemon, "", NO_WATER_IN_TUNNEL).await;
    assert!(drawn.id.starts_with("guardrail-"), "{}", drawn.id);
    let again = daemon
        .policies()
        .create_guardrail(creation(&drawn.id, NO_WATER_IN_TUNNEL))
        .await;
    assert_eq!(again.expect_err("taken").code(), Code::AlreadyExists);
    let get = |guardrail: &str| v1::GetGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail: guardrail.to_owned(),
        ..Default::default()
    };
    let read = daemon
        .policies()
        .get_guardrail(get(&drawn.id))
        .await
        .expect("it");
    assert_eq!(read.into_inner().guardrail, Some(drawn.clone()));
    let missing = daemon
        .policies()
        .get_guardrail(get("none"))
        .await
        .expect_err("none");
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "NOT_FOUND")
    );

    let edit = |paths: &[&str], etag: &str| v1::UpdateGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail: drawn.id.clone(),
        description: "Drought.".to_owned(),
        text: "nonsense".to_owned(),
        etag: etag.to_owned(),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        }),
        ..Default::default()
    };
    let edited = daemon
        .policies()
        .update_guardrail(edit(&["description"], &drawn.etag))
        .await;
    let edited = edited.expect("edited").into_inner().guardrail.expect("it");
    assert_eq!(
        (edited.description.as_str(), &edited.text),
        ("Drought.", &drawn.text)
    );
    assert_eq!(edited.create_time, drawn.create_time);
    let stale = daemon
        .policies()
        .update_guardrail(edit(&["description"], &drawn.etag))
        .await;
    assert_eq!(reason(&stale.expect_err("stale")), "STALE_ETAG");
    let bad = daemon
        .policies()
        .update_guardrail(edit(&["text"], ""))
        .await
        .expect_err("bad");
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert_eq!(
        daemon.ask(water("owner", "tunnel")).await.reasons[0].message,
        "Drought."
    );
    let other = v1::UpdateGuardrailRequest {
        text: NO_WATER_IN_TUNNEL.replace("tunnel", "shed"),
        ..edit(&["text"], &edited.etag)
    };
    daemon
        .policies()
        .update_guardrail(other)
        .await
        .expect("edited");
    assert!(daemon.allows(water("owner", "tunnel")).await);
    assert!(!daemon.allows(water("owner", "shed")).await);

    for id in ["b", "a"] {
        create(&daemon, id, NO_WATER_IN_TUNNEL).await;
    }
    delete(&daemon, "frost").await;
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListGuardrailsRequest {
            organization: "acme".to_owned(),
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = daemon
            .policies()
            .list_guardrails(request)
            .await
            .expect("a page")
            .into_inner();
        ids.extend(page.guardrails.into_iter().map(|guardrail| guardrail.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, ["a", "b", drawn.id.as_str()]);
    daemon.stop().await;
}

#[tokio::test]
async fn everything_wrong_with_a_text_is_said_in_cedars_words_with_its_place() {
    let daemon = daemon().await;
    let several = "forbid (\n  principal,\n  action == Action::\"Water\",\n  resource is Beds\n)\n\
                   when { resource.nothing == 1 };";
    let said = against(&daemon, None, several).await;
    assert!(said.len() >= 2, "{said:?}");
    assert!(
        said.iter()
            .any(|line| line.contains("3:13: ") && line.contains("Water")),
        "{said:?}"
    );
    assert!(said.iter().any(|line| line.contains("Beds")), "{said:?}");
    assert!(
        said.iter().all(|line| line.starts_with("POLICY ")),
        "{said:?}"
    );
    assert!(
        said.iter().all(|line| !line.contains("policy0")),
        "{said:?}"
    );

    let water = r#"action == Action::"WaterBed""#;
    for (text, words) in [
        ("forbid".to_owned(), "unexpected"),
        ("// nothing\n".to_owned(), "exactly one policy, not 0"),
        (
            format!("forbid(principal,{water},resource);forbid(principal,{water},resource);"),
            "exactly one policy, not 2",
        ),
        (
            format!("forbid(principal == ?principal,{water},resource);"),
            "slots",
        ),
        (format!("forbid(principal,{water},resource is Sensor);"), ""),
        (
            format!("forbid(principal,{water},resource) when {{ false }};"),
            "impossible",
        ),
        (
            format!("forbid(principal,{water},resource is Bed) when {{ resource.moisture > 3 }};"),
            "moisture",
        ),
        (
            format!("forbid(principal,{water},resource) when {{ context.liters > 3 }};"),
            "liters",
        ),
        (
            format!("forbid(principal,{water},resource) when {{ [1] == \"1\" || 1 + true == 2 }};"),
            "type",
        ),
        (
            format!("forbid(principal,{water},resource) when {{ principal in Team::\"x\" }};"),
            "team",
        ),
        (
            format!("forbid(principal,{water},resource) when {{ \"\\u{{202e}}\" == \"x\" }};"),
            "bidi",
        ),
        (
            format!("forbid(principal,{water},resource) when {{ \"open }};"),
            "string",
        ),
    ] {
        let said = against(&daemon, None, &text).await;
        assert!(!said.is_empty(), "accepted: {text}");
        assert!(
            said.iter().any(|line| line.to_lowercase().contains(words)),
            "{text}: {said:?}"
        );
    }
    for (text, kind) in [
        ("", "MISSING"),
        (" \u{202e}", "MALFORMED"),
        (&"x".repeat(8_193), "MALFORMED"),
    ] {
        let said = against(&daemon, None, text).await;
        assert!(said[0].starts_with(kind), "{said:?}");
    }
    // One that uses much of what there is.
    let good = format!(
        "@id(\"mine\") // why\nforbid(principal,{water},resource is Bed in Project::\"tunnel\") when {{ \
         resource has moisture && resource.moisture > 3 }} unless {{ principal in Role::\"head-gardener\" || \
         principal == User::\"ann\" || (context has liters && context.liters < 2) }};"
    );
    assert_eq!(
        against(&daemon, Some("owner"), &good).await,
        Vec::<String>::new()
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_text_that_nests_too_deep_ends_nothing() {
    let daemon = daemon().await;
    let when = |body: String| {
        format!("forbid(principal,action == Action::\"WaterBed\",resource) when {{ {body} }};")
    };
    let chain = |part: &str, between: &str, count: usize| vec![part; count].join(between);
    for (name, text) in [
        (
            "(",
            when(format!("{}true{}", "(".repeat(3_000), ")".repeat(3_000))),
        ),
        ("( open", when("(".repeat(8_000))),
        ("[", when("[".repeat(8_000))),
        ("{", when("{a:".repeat(2_500))),
        (
            "!(",
            when(format!("{}true{}", "!(".repeat(2_000), ")".repeat(2_000))),
        ),
        ("&&", when(chain("true", " && ", 1_000))),
        ("||", when(chain("false", "||", 1_000))),
        ("+", when(format!("{} == 1", chain("1", "+", 3_000)))),
        (".", when(format!("principal{} == 1", ".a".repeat(3_000)))),
        (
            "if",
            when(format!("{}true", "if true then true else ".repeat(300))),
        ),
        (
            "when",
            format!(
                "forbid(principal,action,resource){};",
                " when{true}".repeat(700)
            ),
        ),
    ] {
        let said = against(&daemon, None, &text).await;
        assert!(
            said.iter()
                .any(|line| line.contains("brackets") || line.contains("operators")),
            "{name}: {said:?}"
        );
    }
    // The most that passes is compiled, asked and exported without harm: twenty
    // brackets, the one of `when` among them, and 160 operators.
    let deepest = format!(
        "{}principal == resource.owner{}",
        "(".repeat(19),
        ")".repeat(19)
    );
    let part = "context has liters && context.liters > 1";
    let text = when(format!(
        "resource has owner && {} && true && true && true && true && {deepest}",
        chain(part, " && ", 30)
    ));
    create(&daemon, "deep", &text).await;
    let one_more = text.replacen("true", "true && true", 1);
    assert!(!against(&daemon, None, &one_more).await.is_empty());
    let check = said(owned_by(water("ann", "tunnel"), "ann"), "liters", 2.0);
    assert!(!daemon.allows(check).await);
    files(&daemon, "acme", None).await;
    daemon.stop().await;
}

#[tokio::test]
async fn nobody_can_be_kept_from_managing_guardrails() {
    let daemon = daemon().await;
    for scope in [
        "principal, action, resource",
        "principal == User::\"bea\", action, resource",
        "principal, action == Action::\"ManageGuardrails\", resource",
        "principal, action in [Action::\"BuySeeds\", Action::\"ManageGuardrails\"], resource",
        "principal, action in Action::\"account-level\", resource is Organization",
        "principal, action, resource == Organization::\"acme\"",
        "principal, action, resource in Organization::\"acme\"",
    ] {
        for actor in [None, Some("owner")] {
            let said = against(
                &daemon,
                actor,
                &format!("forbid({scope}) unless {{ false }};"),
            )
            .await;
            assert!(
                said.iter().any(|line| line.contains("ManageGuardrails")),
                "{scope}: {said:?}"
            );
        }
    }
    for scope in [
        "principal, action in Action::\"project-level\", resource",
        "principal, action, resource in Project::\"tunnel\"",
        "principal, action, resource is Member",
        "principal, action in [Action::\"BuySeeds\", Action::\"ExportPolicies\"], resource",
    ] {
        assert!(
            against(&daemon, Some("owner"), &format!("forbid({scope});"))
                .await
                .is_empty(),
            "{scope}"
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn only_who_may_manage_guardrails_changes_them_and_only_operators_permit() {
    let daemon = daemon().await;
    let permit = "permit(principal, action == Action::\"BuySeeds\", resource);";
    for actor in ["ann", "sue", "stranger"] {
        let request = as_actor(actor, creation("a", NO_WATER_IN_TUNNEL));
        let refused = daemon
            .policies()
            .create_guardrail(request)
            .await
            .expect_err(actor);
        assert_eq!(refused.code(), Code::PermissionDenied);
        let request = v1::ListGuardrailsRequest {
            organization: "acme".to_owned(),
            ..Default::default()
        };
        let refused = daemon
            .policies()
            .list_guardrails(as_actor(actor, request))
            .await;
        assert_eq!(refused.expect_err(actor).code(), Code::PermissionDenied);
    }
    let request = as_actor("owner", creation("a", NO_WATER_IN_TUNNEL));
    daemon
        .policies()
        .create_guardrail(request)
        .await
        .expect("the owner may");
    let said = against(&daemon, Some("owner"), permit).await;
    assert!(
        said.iter().any(|line| line.contains("only an operator")),
        "{said:?}"
    );
    assert!(against(&daemon, None, permit).await.is_empty());

    create(&daemon, "seeds", permit).await;
    let widened = v1::UpdateGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail: "seeds".to_owned(),
        text: "permit(principal, action, resource);".to_owned(),
        ..Default::default()
    };
    let refused = daemon
        .policies()
        .update_guardrail(as_actor("owner", widened))
        .await;
    assert_eq!(
        refused.expect_err("not widened").code(),
        Code::InvalidArgument
    );
    let gone = v1::DeleteGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail: "seeds".to_owned(),
        ..Default::default()
    };
    daemon
        .policies()
        .delete_guardrail(as_actor("owner", gone))
        .await
        .expect("it is less");
    daemon.stop().await;
}

#[tokio::test]
async fn a_permit_reaches_active_members_only_and_undoes_no_forbid() {
    let daemon = daemon().await;
    let seeds = |user: &str| question("acme", user, "BuySeeds", "Organization", "acme");
    assert!(!daemon.allows(seeds("bea")).await);
    create(&daemon, "seeds", "permit(principal, action, resource);").await;
    let answer = daemon.ask(seeds("bea")).await;
    assert_eq!(answer.decision(), v1::Decision::Allow);
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::GuardrailPermits);
    assert_eq!(answer.reasons[0].policy, "guardrail/seeds");
    assert_eq!(answer.reasons[0].message, "About seeds.");
    // Suspended, a stranger, one who is named though no member.
    assert_eq!(
        daemon.ask(seeds("sue")).await.reasons[0].code(),
        v1::ReasonCode::Suspended
    );
    assert_eq!(
        daemon.ask(seeds("zoe")).await.reasons[0].code(),
        v1::ReasonCode::NotAMember
    );
    create(
        &daemon,
        "zoe",
        "permit(principal == User::\"zoe\", action, resource);",
    )
    .await;
    for user in ["sue", "zoe"] {
        assert!(!daemon.allows(seeds(user)).await, "{user}");
    }
    // Neither the owner's protection nor the plan nor another guardrail gives way.
    let remove = question("acme", "bea", "RemoveMember", "Member", "owner");
    assert!(!daemon.allows(remove).await);
    create(
        &daemon,
        "no-seeds",
        "forbid(principal, action == Action::\"BuySeeds\", resource);",
    )
    .await;
    assert!(!daemon.allows(seeds("bea")).await);
    let plan = v1::SetPlanRequest {
        organization: "acme".to_owned(),
        plan: "hobby".to_owned(),
        ..Default::default()
    };
    daemon
        .organizations()
        .set_plan(plan)
        .await
        .expect("another plan");
    assert!(
        !daemon
            .allows(question(
                "acme",
                "bea",
                "CreateRole",
                "Organization",
                "acme"
            ))
            .await
    );
    // The narrowing is in what is exported.
    let exported = files(&daemon, "acme", None).await;
    let policies = &exported["policies.cedar"];
    for words in [
        "principal has overridden",
        "Status::\"suspended\"",
        "Status::\"expired\"",
        "Status::\"not-yet-valid\"",
    ] {
        assert!(policies.contains(words), "{words}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_forbid_that_fails_denies() {
    let daemon = daemon().await;
    let text = "forbid(principal, action == Action::\"WaterBed\", resource) \
                when { context has liters && context.liters * 9000000000000000 > 1 };";
    create(&daemon, "sums", text).await;
    assert!(
        daemon
            .allows(said(water("ann", "tunnel"), "liters", 0.0))
            .await
    );
    assert!(daemon.allows(water("ann", "tunnel")).await);
    let answer = daemon
        .ask(said(water("ann", "tunnel"), "liters", 9_000.0))
        .await;
    assert_eq!(answer.decision(), v1::Decision::Deny);
    assert_eq!(answer.reasons[0].code(), v1::ReasonCode::PolicyError);
    assert_eq!(answer.reasons[0].policy, "guardrail/sums");
    assert!(daemon.allows(water("ann", "tunnel")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn a_guardrail_about_one_user_is_not_remembered_for_another() {
    let daemon = daemon().await;
    for user in ["dan", "eve"] {
        daemon.add("acme", user, &["gardener"]).await;
    }
    let text = "forbid(principal == User::\"eve\", action == Action::\"WaterBed\", resource);";
    create(&daemon, "eve", text).await;
    for _ in 0..2 {
        assert!(daemon.allows(water("dan", "")).await);
        assert!(!daemon.allows(water("eve", "")).await);
    }
    // What holds for a role is remembered, and forgotten with the guardrail.
    let text = "forbid(principal in Role::\"gardener\", action == Action::\"WaterBed\", resource);";
    create(&daemon, "all", text).await;
    assert!(!daemon.allows(water("dan", "")).await);
    delete(&daemon, "all").await;
    assert!(daemon.allows(water("dan", "")).await);
    assert!(!daemon.allows(water("eve", "")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_text_names_is_seen_as_it_is_on_record() {
    let daemon = daemon().await;
    let water = || water("bea", "tunnel");
    daemon
        .project_roles("acme", "tunnel", "bea", &["gardener"])
        .await;
    assert!(daemon.allows(water()).await);
    // Each of these holds by what is on record of something else than the question's.
    for (id, condition, holds) in [
        ("user", "User::\"ann\" in Role::\"gardener\"", true),
        ("user-not", "User::\"ann\" in Role::\"shopkeeper\"", false),
        ("suspended", "User::\"sue\" in Status::\"suspended\"", true),
        ("member", "Member::\"ann\".user in Role::\"gardener\"", true),
        (
            "project",
            "Project::\"shed\" in Organization::\"acme\"",
            true,
        ),
        (
            "project-not",
            "Project::\"nowhere\" in Organization::\"acme\"",
            false,
        ),
        ("resource", "Bed::\"b1\" in Project::\"tunnel\"", true),
        (
            "resource-far",
            "Bed::\"b1\" in Organization::\"acme\"",
            true,
        ),
        (
            "resource-owner",
            "Bed::\"b1\" has owner && Bed::\"b1\".owner in Role::\"gardener\"",
            true,
        ),
        (
            "elsewhere",
            "User::\"ann\".overridden.contains(Project::\"empty\")",
            true,
        ),
        (
            "action",
            "Action::\"BuySeeds\" in Action::\"account-level\"",
            true,
        ),
        ("stranger", "User::\"nobody\" has overridden", false),
    ] {
        let text = format!(
            "forbid(principal, action == Action::\"WaterBed\", resource) when {{ {condition} }};"
        );
        create(&daemon, id, &text).await;
        assert_eq!(daemon.allows(water()).await, !holds, "{id}");
        delete(&daemon, id).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn there_are_at_most_two_hundred_and_a_check_does_not_mind_them() {
    let daemon = daemon().await;
    for number in 1..200 {
        let text = format!(
            "forbid(principal == User::\"u{number}\", action == Action::\"WaterBed\", resource);"
        );
        create(&daemon, &format!("g{number:03}"), &text).await;
    }
    let one_more = daemon
        .policies()
        .create_guardrail(creation("more", NO_WATER_IN_TUNNEL))
        .await;
    let one_more = one_more.expect_err("too many");
    assert_eq!(
        (one_more.code(), reason(&one_more).as_str()),
        (Code::ResourceExhausted, "LIMIT_REACHED")
    );
    assert!(daemon.allows(water("ann", "tunnel")).await);
    daemon.stop().await;
}

#[tokio::test]
async fn hostile_ids_descriptions_and_texts_make_one_policy_each_and_no_more() {
    let daemon = daemon().await;
    let attack = "\");permit(principal,action,resource);//";
    let seeds = || question("acme", "bea", "BuySeeds", "Organization", "acme");
    let mut count = policy_count(&daemon).await;
    let texts = [
        "@id(\"base/owner\") @code(\"OWNER\") forbid(principal, action == Action::\"WaterBed\", resource);".to_owned(),
        "forbid(principal == User::\"\\\");permit(principal,action,resource);//\", action == Action::\"WaterBed\", resource);".to_owned(),
        "forbid(principal, action == Action::\"WaterBed\", resource) // ); permit(principal, action, resource)\n;".to_owned(),
        "forbid(principal, action == Action::\"WaterBed\", resource) when { resource has frozen };".to_owned(),
    ];
    for (index, text) in texts.iter().enumerate() {
        let id = format!("{index}{attack}");
        let request = v1::CreateGuardrailRequest {
            description: format!("{attack} \u{738b}"),
            ..creation(&id, text)
        };
        let made = daemon
            .policies()
            .create_guardrail(request)
            .await
            .expect(text);
        let made = made.into_inner().guardrail.expect("it");
        assert_eq!((&made.id, &made.text), (&id, text));
        count += 1;
        assert_eq!(policy_count(&daemon).await, count);
        assert!(!daemon.allows(seeds()).await);
    }
    // As many policies where they are read again.
    let exported = files(&daemon, "acme", None).await;
    let parsed: cedar_policy::PolicySet = exported["policies.cedar"].parse().expect("policies");
    assert_eq!(parsed.policies().count(), count);
    for text in [
        format!("forbid(principal, action == Action::\"WaterBed\", resource == Bed::\"{attack}\");"),
        format!("forbid(principal, action == Action::\"WaterBed\", resource);{attack}"),
        "forbid(principal, action == Action::\"WaterBed\", resource); permit(principal, action, resource);".to_owned(),
    ] {
        let refused = daemon.policies().create_guardrail(creation("x", &text)).await;
        let refused: Status = refused.expect_err(&text);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(!refused.message().chars().any(char::is_control));
    }
    assert_eq!(policy_count(&daemon).await, count);
    daemon.stop().await;
}

#[tokio::test]
async fn the_history_tells_texts_apart_and_holds_none() {
    let store = Arc::new(MemoryStore::new());
    let daemon = Daemon::start_on(Arc::clone(&store) as _).await;
    nursery(&daemon, "acme").await;
    create(&daemon, "dry", NO_WATER_IN_TUNNEL).await;
    let other = v1::UpdateGuardrailRequest {
        organization: "acme".to_owned(),
        guardrail: "dry".to_owned(),
        text: NO_WATER_IN_TUNNEL.replace("tunnel", "shed"),
        ..Default::default()
    };
    daemon
        .policies()
        .update_guardrail(other)
        .await
        .expect("edited");
    delete(&daemon, "dry").await;
    let events = store
        .events(&OrganizationId::new("acme"), None, 3)
        .expect("events");
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|entry| (entry.event.action.as_str(), entry.event.target_id.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("DeleteGuardrail", "dry"),
            ("UpdateGuardrail", "dry"),
            ("CreateGuardrail", "dry")
        ]
    );
    let details = events.iter().flat_map(|entry| &entry.event.details);
    let digests: BTreeSet<&String> = details
        .filter(|(name, _)| name == "text_sha256")
        .map(|(_, digest)| digest)
        .collect();
    assert_eq!(digests.len(), 2);
    assert!(digests.iter().all(|digest| digest.len() == 64));
    assert!(!format!("{events:?}").contains("WaterBed"));
    daemon.stop().await;
}
