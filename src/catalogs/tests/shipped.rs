//! That every shipped catalog, and an invented one, loads.

use std::fs;
use std::path::{Path, PathBuf};

use crate::catalogs::{base, base_rules, embedded, load_folder};
use crate::domain::catalog::{
    Catalog, Level, MEMBER_TYPE, ORGANIZATION_TYPE, Offer, PROJECT_TYPE, TypeIndex,
};
use crate::domain::permissions::When;
use crate::domain::value::ValueType;

/// A path from the root of the repository.
pub(super) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(super) fn embedded_or_fail() -> Vec<Catalog> {
    embedded().unwrap_or_else(|faults| panic!("{}", lines(&faults)))
}

fn lines(faults: &[crate::catalogs::CatalogFault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

pub(super) fn greenhouse() -> Catalog {
    load_folder(
        &base().unwrap(),
        &repository("tests/fixtures/catalogs/greenhouse"),
    )
    .unwrap_or_else(|faults| panic!("{}", lines(&faults)))
}

#[test]
fn the_five_products_load_without_a_fault() {
    let ids: Vec<String> = embedded_or_fail()
        .iter()
        .map(|catalog| catalog.id.to_string())
        .collect();

    assert_eq!(
        ids,
        [
            "cloud-66",
            "hypervisor-io",
            "oec-sh",
            "oncloudwine",
            "qoc-cloud"
        ]
    );
}

#[test]
fn the_embedded_catalogs_are_those_on_disk() {
    let base = base().unwrap();
    let mut on_disk: Vec<PathBuf> = fs::read_dir(repository("policies"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.ends_with("base"))
        .collect();
    on_disk.sort();

    let loaded: Vec<Catalog> = on_disk
        .iter()
        .map(|path| load_folder(&base, path).unwrap())
        .collect();

    let embedded = embedded_or_fail();
    assert_eq!(
        embedded.len(),
        loaded.len(),
        "a folder was added or removed; rebuild"
    );
    for (embedded, loaded) in embedded.iter().zip(&loaded) {
        assert_eq!(
            format!("{:?}", embedded.actions),
            format!("{:?}", loaded.actions)
        );
        assert_eq!(
            format!("{:?}", embedded.roles),
            format!("{:?}", loaded.roles)
        );
        assert_eq!(embedded.team, loaded.team);
        assert_eq!(embedded.plans, loaded.plans);
        assert_eq!(embedded.templates, loaded.templates);
        assert_eq!(
            embedded.rules.as_ref().map(|rules| &rules.text),
            loaded.rules.as_ref().map(|rules| &rules.text)
        );
    }
}

#[test]
fn rosters_own_types_and_actions_stand_first_in_every_catalog() {
    for catalog in embedded_or_fail() {
        for (place, name) in [ORGANIZATION_TYPE, PROJECT_TYPE, MEMBER_TYPE]
            .into_iter()
            .enumerate()
        {
            let (index, resource_type) = catalog.resource_type(name).unwrap();
            assert_eq!(index, TypeIndex(u16::try_from(place).unwrap()));
            assert!(resource_type.built_in);
        }
        assert_eq!(catalog.actions[0].id.as_str(), "ViewOrganization");
        assert!(catalog.action("TransferOwnership").is_some());
    }
}

#[test]
fn rules_name_only_actions_that_exist() {
    let mut texts: Vec<(Catalog, String)> = Vec::new();
    for catalog in embedded_or_fail().into_iter().chain([greenhouse()]) {
        let mut text = base_rules().text;
        text.push_str(
            &catalog
                .rules
                .as_ref()
                .map(|rules| rules.text.clone())
                .unwrap_or_default(),
        );
        texts.push((catalog, text));
    }
    for (catalog, text) in texts {
        for named in text.split("Action::\"").skip(1) {
            let name = named.split('"').next().unwrap();
            assert!(
                catalog.action(name).is_some(),
                "{}: no action `{name}`",
                catalog.id
            );
        }
    }
}

#[test]
fn rules_of_a_product_only_forbid_and_say_why() {
    for catalog in embedded_or_fail().into_iter().chain([greenhouse()]) {
        let Some(rules) = &catalog.rules else {
            continue;
        };
        let starts = |word: &str| {
            rules
                .text
                .lines()
                .filter(|line| line.starts_with(word))
                .count()
        };
        let forbids = starts("forbid (");
        assert_eq!(starts("permit"), 0, "{}", rules.path);
        assert!(forbids > 0, "{}", rules.path);
        assert_eq!(
            [starts("@id(\""), starts("@code(\""), starts("@reason(\"")],
            [forbids; 3],
            "{}",
            rules.path
        );
    }
}

#[test]
fn hypervisor_sells_exactly_43_permissions_of_which_8_are_about_the_account() {
    let catalogs = embedded_or_fail();
    let hypervisor = catalogs
        .iter()
        .find(|catalog| catalog.id.as_str() == "hypervisor-io")
        .unwrap();
    let own = base().map(|base| base.own_actions()).unwrap();

    let sold = &hypervisor.actions[own..];

    assert_eq!(sold.len(), 43);
    assert_eq!(
        sold.iter()
            .filter(|action| action.level == Level::Account)
            .count(),
        8
    );
    let sold_to_sold = sold
        .iter()
        .flat_map(|action| &action.implies)
        .filter(|index| usize::from(index.0) >= own);
    assert_eq!(
        sold_to_sold.count(),
        0,
        "a custom role is any combination of the 43"
    );
}

#[test]
fn app_admin_implies_every_row_of_cloud_66() {
    let catalogs = embedded_or_fail();
    let cloud_66 = catalogs
        .iter()
        .find(|catalog| catalog.id.as_str() == "cloud-66")
        .unwrap();
    let system = fs::read_to_string(repository("tests/fixtures/systems/cloud-66.json")).unwrap();
    let system: serde_json::Value = serde_json::from_str(&system).unwrap();
    let (_, app_admin) = cloud_66.action("AppAdmin").unwrap();

    for row in system["tables"][0]["rows"].as_array().unwrap() {
        let title = row["action"].as_str().unwrap();
        let action = cloud_66
            .actions
            .iter()
            .find(|action| action.title == title)
            .unwrap();
        let (index, _) = cloud_66.action(action.id.as_str()).unwrap();
        assert!(
            title == "App Admin" || app_admin.implies.contains(&index),
            "{title}"
        );
    }
}

#[test]
fn the_check_boxes_of_cloud_66_are_granted_one_by_one() {
    let catalogs = embedded_or_fail();
    let cloud_66 = catalogs
        .iter()
        .find(|catalog| catalog.id.as_str() == "cloud-66")
        .unwrap();
    let boxes = [
        ("manage-users", "ManageUsers"),
        ("manage-cloud-providers", "ManageCloudProviders"),
        ("manage-notifications", "ManageNotifications"),
    ];
    for (role, _) in boxes {
        let granted =
            cloud_66.closure(&cloud_66.role(role).unwrap().permissions.actions[&When::Always]);
        for (other, action) in boxes {
            let (index, _) = cloud_66.action(action).unwrap();
            assert_eq!(
                granted.contains(&index),
                role == other,
                "{role} and {action}"
            );
        }
        let (view_app, _) = cloud_66.action("ViewApp").unwrap();
        assert!(!granted.contains(&view_app), "{role} opens applications");
    }
}

#[test]
fn a_sixth_product_is_a_folder() {
    let catalog = greenhouse();

    assert_eq!(catalog.id.as_str(), "greenhouse");
    assert_eq!(
        catalog.team.custom_roles,
        Offer::WithFeature("custom_roles".to_owned())
    );
    assert_eq!(
        catalog.action("InviteMember").unwrap().1.title,
        "Hire a gardener"
    );
    let (_, bed) = catalog.resource_type("Bed").unwrap();
    let tended_by = bed
        .attributes
        .iter()
        .find(|attribute| attribute.name == "tended_by")
        .unwrap();
    assert_eq!(
        tended_by.value_type,
        ValueType::Set(Box::new(ValueType::User))
    );
    assert!(!tended_by.required);
    let (_, clear) = catalog.action("ClearBed").unwrap();
    let view_project = catalog.action("ViewProject").unwrap().0;
    assert!(
        clear.implies.contains(&view_project),
        "implications are closed"
    );
    let gardener = catalog.role("gardener").unwrap();
    assert!(gardener.on_organization && gardener.on_project);
    assert!(
        gardener
            .permissions
            .actions
            .contains_key(&When::Condition("tended".to_owned()))
    );
    assert!(
        catalog
            .rules
            .unwrap()
            .path
            .ends_with("greenhouse/rules.cedar")
    );
}
