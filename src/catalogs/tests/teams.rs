//! That what each product lets a team do is what its own rules say.
//!
//! What the product says is read from `tests/fixtures/systems`; what it leaves
//! open is decided in its `catalog.toml` and written out here.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::shipped::{embedded_or_fail, greenhouse, repository};
use crate::catalogs::{base, load_folder};
use crate::domain::catalog::{Catalog, Offer, Seats, TransferMode, TransferRules};
use crate::domain::identifiers::RoleId;
use crate::domain::organization::NotificationKind;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn product(id: &str) -> Catalog {
    load_folder(&base().unwrap(), &repository("policies").join(id)).unwrap()
}

/// The rules of a product as its own documents give them.
fn rules_of(id: &str) -> Value {
    let path = repository("tests/fixtures/systems").join(format!("{id}.json"));
    let mut system: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    system["rules"].take()
}

fn transfer(
    mode: TransferMode,
    old_owner_becomes: &str,
    target_roles: &[&str],
    days: Option<i64>,
) -> TransferRules {
    TransferRules {
        mode,
        old_owner_becomes: RoleId::new(old_owner_becomes),
        target_roles: target_roles.iter().map(|role| RoleId::new(*role)).collect(),
        to_address: days.is_some(),
        lifetime: days.unwrap_or(0) * DAY,
    }
}

/// The only plan of a product that names none: no feature, any number of members.
fn assert_one_plan_for_all(catalog: &Catalog) {
    assert_eq!(catalog.plans.len(), 1);
    assert_eq!(catalog.plans[0].members, None);
    assert!(catalog.plans[0].features.is_empty());
    assert_eq!(catalog.team.invitations, Offer::Always);
}

#[test]
fn hypervisor_invites_for_72_hours_and_anyone_makes_up_roles() {
    let (catalog, rules) = (product("hypervisor-io"), rules_of("hypervisor-io"));
    let team = &catalog.team;

    let hours = rules["invitation_ttl_hours"].as_i64().unwrap();
    assert_eq!(hours, 72);
    assert_eq!(team.invitation_lifetime, hours * HOUR);
    assert!(rules["custom_roles"].is_object());
    assert_eq!(team.custom_roles, Offer::Always);
    assert!(rules["project_override"].is_object());
    assert!(team.overrides && !team.project_roles);
    assert!(rules["api_tokens"].is_string());
    assert_eq!(team.tokens, Offer::Always);
    assert_eq!(
        team.transfer,
        transfer(TransferMode::TwoStep, "admin", &["admin"], Some(7))
    );
    assert_one_plan_for_all(&catalog);
}

#[test]
fn qoc_sells_seats_and_hands_over_in_two_steps() {
    let (catalog, rules) = (product("qoc-cloud"), rules_of("qoc-cloud"));
    let team = &catalog.team;

    let days = rules["invitation_ttl_days"].as_i64().unwrap();
    assert_eq!(days, 7);
    assert_eq!(team.invitation_lifetime, days * DAY);
    assert_eq!(rules["seat_check"], "at acceptance");
    assert_eq!(team.seats, Seats::AtAcceptance);
    assert_eq!(rules["transfer"]["mode"], "two_step");
    assert_eq!(
        rules["transfer"]["target"],
        "an existing Admin, or an e-mail invited as owner"
    );
    assert_eq!(rules["transfer"]["old_owner_becomes"], "Admin");
    let days = rules["transfer"]["accept_within_days"].as_i64();
    assert_eq!(
        team.transfer,
        transfer(TransferMode::TwoStep, "admin", &["admin"], days)
    );
    for (rule, kind) in [
        ("role_change", NotificationKind::RoleChanged),
        ("removal", NotificationKind::MemberRemoved),
    ] {
        assert_eq!(rules[rule], "immediate, and the member is notified");
        assert!(team.notifications.contains(&kind));
    }
    assert!(team.notifications.contains(&NotificationKind::Invitation));
    assert!(
        team.notifications
            .contains(&NotificationKind::TransferOffered)
    );
}

#[test]
fn the_plans_of_qoc_are_those_it_sells() {
    let (catalog, rules) = (product("qoc-cloud"), rules_of("qoc-cloud"));
    let sold = rules["plans"].as_object().unwrap();
    assert_eq!(catalog.plans.len(), sold.len());
    assert_eq!(
        catalog.team.custom_roles,
        Offer::WithFeature("custom_roles".to_owned())
    );
    assert_eq!(
        catalog.team.invitations,
        Offer::WithFeature("invitations".to_owned())
    );

    for plan in &catalog.plans {
        let sold = &sold[plan.title.as_str()];
        let members = sold["members"].as_u64();
        assert!(members.is_some() || sold["members"] == "unlimited");
        assert_eq!(plan.members.map(u64::from), members, "{}", plan.id);
        for feature in ["custom_roles", "sso", "advanced_audit"] {
            assert_eq!(
                plan.features.contains(feature),
                sold[feature] == true,
                "{feature} on {}",
                plan.id
            );
        }
        assert_eq!(
            plan.features.contains("invitations"),
            sold["invitations"] != false,
            "{}",
            plan.id
        );
    }
    assert_eq!(catalog.plans[0].id.as_str(), "free");
}

#[test]
fn oncloudwine_hands_over_at_once_and_has_seats_for_all() {
    let (catalog, rules) = (product("oncloudwine"), rules_of("oncloudwine"));
    let team = &catalog.team;

    assert!(rules["transfer"].as_str().unwrap().starts_with("immediate"));
    assert_eq!(
        team.transfer,
        transfer(TransferMode::Immediate, "admin", &[], None)
    );
    assert_eq!(rules["seats"], "unlimited");
    assert_one_plan_for_all(&catalog);
    let invitable: Vec<&str> = catalog
        .roles
        .iter()
        .map(|role| role.title.as_str())
        .collect();
    for role in rules["invitable_roles"].as_array().unwrap() {
        assert!(invitable.contains(&role.as_str().unwrap()), "{role}");
    }
    assert_eq!(team.custom_roles, Offer::Never);
    assert_eq!(team.invitation_lifetime, 7 * DAY);
}

#[test]
fn oec_leaves_ownership_to_the_platform_and_roles_to_others() {
    let (catalog, rules) = (product("oec-sh"), rules_of("oec-sh"));
    let team = &catalog.team;

    assert_eq!(rules["transfer"], "platform_only");
    assert_eq!(
        team.transfer,
        transfer(TransferMode::PlatformOnly, "admin", &[], None)
    );
    assert_eq!(rules["self_role_change"], "forbidden");
    assert!(!team.self_changes);
    assert_eq!(rules["custom_roles"], false);
    assert_eq!(team.custom_roles, Offer::Never);
    assert!(rules["project_roles"].is_string());
    assert!(team.project_roles && !team.overrides);
    assert_eq!(team.invitation_lifetime, 7 * DAY);
    assert_one_plan_for_all(&catalog);
}

#[test]
fn cloud_66_has_groups_machines_default_roles_and_finance_users() {
    let (catalog, rules) = (product("cloud-66"), rules_of("cloud-66"));
    let team = &catalog.team;

    assert!(rules["default_roles"].is_string());
    assert!(team.default_roles && team.project_roles);
    let editable = "editable (and resettable); custom roles can be created";
    assert_eq!(rules["default_role_definitions"], editable);
    assert!(team.built_in_roles_editable);
    assert_eq!(team.custom_roles, Offer::Always);
    assert!(rules["groups"].is_object());
    assert_eq!(team.groups, Offer::Always);
    let kinds = rules["user_types"].as_array().unwrap();
    assert!(kinds.contains(&Value::from("service account")));
    assert_eq!(team.service_accounts, Offer::Always);
    assert!(kinds.contains(&Value::from("finance")));
    let finance = catalog.role("finance").unwrap();
    assert!(finance.on_organization && !finance.on_project);
    assert_eq!(
        team.transfer,
        transfer(TransferMode::TwoStep, "manage-users", &[], Some(7))
    );
    assert_one_plan_for_all(&catalog);
}

#[test]
fn nobody_changes_their_own_rights_in_a_shipped_product() {
    for catalog in embedded_or_fail() {
        assert!(!catalog.team.self_changes, "{}", catalog.id);
    }
}

#[test]
fn who_is_offered_something_is_told() {
    for catalog in embedded_or_fail().into_iter().chain([greenhouse()]) {
        let told = &catalog.team.notifications;
        let offers = catalog.team.transfer.mode == TransferMode::TwoStep;
        assert!(
            told.contains(&NotificationKind::Invitation),
            "{}",
            catalog.id
        );
        assert!(
            !offers || told.contains(&NotificationKind::TransferOffered),
            "{}",
            catalog.id
        );
    }
}

#[test]
fn a_sixth_product_decides_otherwise() {
    let catalog = greenhouse();
    let team = &catalog.team;

    assert!(team.self_changes);
    assert_eq!(team.seats, Seats::AtInvitation);
    assert_eq!(team.invitation_lifetime, 48 * HOUR);
    assert_eq!(
        team.transfer,
        transfer(TransferMode::Immediate, "head-gardener", &[], None)
    );
    for offer in [
        &team.groups,
        &team.tokens,
        &team.service_accounts,
        &team.guardrails,
    ] {
        assert_eq!(*offer, Offer::Always);
    }
    assert_eq!(catalog.plan("window-sill").unwrap().members, Some(3));
    assert_eq!(catalog.plans[0].members, None);
}

#[test]
fn a_product_speaks_in_its_own_words_where_it_has_some() {
    let (qoc, other) = (product("qoc-cloud"), product("oec-sh"));
    let facts: BTreeMap<String, String> = [
        ("organization", "Acme"),
        ("product", "QOC Cloud Console"),
        ("inviter", "Ann"),
        ("link", "https://x.example/?t=1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();

    let (own, body) = qoc
        .templates
        .of(NotificationKind::Invitation)
        .render(&facts);
    let (usual, usual_body) = other
        .templates
        .of(NotificationKind::Invitation)
        .render(&facts);

    assert_eq!(own, "Join the project Acme on QOC Cloud Console");
    assert_eq!(usual, "You are invited to Acme on QOC Cloud Console");
    assert_eq!(body, usual_body);
    assert!(body.starts_with("Ann invites you.\n"), "{body}");
    assert!(body.contains("\nhttps://x.example/?t=1\n"), "{body}");
    assert!(!body.contains('>') && !body.contains("\n\n\n"), "{body}");
}

#[test]
fn every_shipped_text_reads_well_with_all_facts_and_with_hardly_any() {
    for catalog in embedded_or_fail().into_iter().chain([greenhouse()]) {
        for kind in NotificationKind::ALL {
            let all: BTreeMap<String, String> = kind
                .placeholders()
                .iter()
                .map(|name| ((*name).to_owned(), format!("the-{name}")))
                .collect();
            let mut few = all.clone();
            few.retain(|name, _| {
                !["by", "inviter", "invitee", "user", "message"].contains(&name.as_str())
            });
            for facts in [all, few] {
                let (subject, body) = catalog.templates.of(kind).render(&facts);
                let shown = format!("{} {}\n{subject}\n\n{body}", catalog.id, kind.word());
                assert!(!subject.is_empty() && !body.trim().is_empty(), "{shown}");
                assert!(!shown.contains(['{', '}']), "{shown}");
                assert!(
                    !body.contains("\n\n\n") && !body.starts_with('\n'),
                    "{shown}"
                );
                assert_eq!(kind.needs_link(), body.contains("\nthe-link\n"), "{shown}");
                assert!(!shown.contains(": \n") && !shown.contains("  "), "{shown}");
            }
        }
    }
}
