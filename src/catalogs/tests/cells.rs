//! That the data of the five products gives the answers of their tables.
//!
//! The evaluator here is as naive as it can be: it reads grants off the catalog
//! and has the forbids of `rules.cedar` by hand, so that a mistake in the data
//! shows before an engine compiles it. The same bindings are asked over gRPC
//! in `tests/`.

use std::fs;

use serde_json::Value;

use super::shipped::{embedded_or_fail, repository};
use crate::domain::catalog::{BuiltInRole, Catalog, ConditionTest, Level};
use crate::domain::permissions::When;

const OWNER: &str = "$owner";

/// Who asks, on which plan.
struct Asker<'a> {
    catalog: &'a Catalog,
    owner: bool,
    roles: Vec<&'a BuiltInRole>,
    project_roles: Vec<&'a BuiltInRole>,
    features: Vec<&'a str>,
}

impl<'a> Asker<'a> {
    fn new(catalog: &'a Catalog, column: &Value, plan: &str) -> Self {
        let roles = |key: &str, held: fn(&BuiltInRole) -> bool| -> Vec<&'a BuiltInRole> {
            let ids = column[key].as_array().into_iter().flatten();
            let roles = ids.map(|id| {
                catalog
                    .role(id.as_str().unwrap())
                    .unwrap_or_else(|| panic!("no role {id}"))
            });
            roles
                .inspect(|role| assert!(held(role), "{} is not held there", role.id))
                .collect()
        };
        let plan = catalog
            .plan(plan)
            .unwrap_or_else(|| panic!("no plan {plan}"));
        Self {
            catalog,
            owner: column["owner"] == true,
            roles: roles("roles", |role| role.on_organization),
            project_roles: roles("project_roles", |role| role.on_project),
            features: plan.features.iter().map(String::as_str).collect(),
        }
    }

    /// Whether a value that stands for a user stands for the asker.
    fn is_self(&self, user: &Value) -> bool {
        user == "$self" || (self.owner && user == OWNER)
    }

    fn is_owner(&self, user: &Value) -> bool {
        user == OWNER || (self.owner && user == "$self")
    }

    fn may(&self, request: &Value) -> bool {
        let (name, resource) = (request["action"].as_str().unwrap(), &request["resource"]);
        let (index, action) = self
            .catalog
            .action(name)
            .unwrap_or_else(|| panic!("no action {name}"));
        let (on, _) = self
            .catalog
            .resource_type(resource["type"].as_str().unwrap())
            .unwrap();
        assert!(
            action.resource_types.contains(&on),
            "{name} is not asked of {}",
            resource["type"]
        );
        if self.is_forbidden(name, resource) {
            return false;
        }
        if self.owner || (name == "LeaveOrganization" && self.is_self(&resource["id"])) {
            return true;
        }
        let project = if resource["type"] == "Project" {
            &resource["id"]
        } else {
            &resource["project"]
        };
        let on_project = action.level == Level::Project && project == "$project";
        let held = self
            .roles
            .iter()
            .chain(self.project_roles.iter().filter(|_| on_project));
        held.copied().any(|role| {
            role.permissions.every.contains(&action.level)
                || role.permissions.actions.iter().any(|(when, actions)| {
                    self.catalog.closure(actions).contains(&index) && self.holds(when, resource)
                })
        })
    }

    fn holds(&self, when: &When, resource: &Value) -> bool {
        match when {
            When::Always => true,
            When::Own => self.is_self(&resource["owner"]),
            When::Condition(id) => match &self.catalog.condition(id).unwrap().test {
                ConditionTest::AttributeIsTrue(attribute) => {
                    resource["attributes"][attribute] == true
                }
                ConditionTest::AttributeContainsPrincipal(attribute) => {
                    let users = resource["attributes"][attribute].as_array();
                    users.is_some_and(|users| users.iter().any(|user| self.is_self(user)))
                }
            },
        }
    }

    fn is_forbidden(&self, action: &str, resource: &Value) -> bool {
        let untouchable = [
            "ChangeMemberRole",
            "SuspendMember",
            "RemoveMember",
            "LeaveOrganization",
        ];
        if untouchable.contains(&action) && self.is_owner(&resource["id"]) {
            return true;
        }
        match (self.catalog.id.as_str(), action) {
            ("oec-sh", "TransferOwnership" | "CreateRole" | "UpdateRole" | "DeleteRole") => true,
            ("oec-sh", "ChangeMemberRole") => self.is_self(&resource["id"]),
            ("oncloudwine", "CreateRole" | "UpdateRole" | "DeleteRole" | "CreateProject") => true,
            ("qoc-cloud", "WriteTable" | "CreateProject") => true,
            ("qoc-cloud", "CreateRole" | "UpdateRole") => !self.features.contains(&"custom_roles"),
            ("qoc-cloud", "InviteMember" | "ResendInvitation") => {
                !self.features.contains(&"invitations")
            }
            _ => false,
        }
    }
}

fn read_json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(repository(path)).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Compares one column of one row; returns how many cells that were.
fn check_cell(
    asker: &Asker<'_>,
    row: &Value,
    expected: bool,
    faults: &mut Vec<String>,
    place: &str,
) {
    let asked = list(&row["requests"])
        .iter()
        .map(|request| (request, expected));
    let denied = list(&row["denied_requests"])
        .iter()
        .map(|request| (request, false));
    for (request, expected) in asked.chain(denied) {
        if asker.may(request) != expected {
            faults.push(format!("{place}: expected {expected} of {request}"));
        }
    }
}

fn check_system(catalog: &Catalog, faults: &mut Vec<String>) -> usize {
    let system = read_json(&format!("tests/fixtures/systems/{}.json", catalog.id));
    let bindings = read_json(&format!("tests/fixtures/cells/{}.json", catalog.id));
    let (tables, bound) = (list(&system["tables"]), list(&bindings["tables"]));
    assert_eq!(tables.len(), bound.len());
    let mut cells = 0;
    for (table, bound) in tables.iter().zip(bound) {
        assert_eq!(list(&table["rows"]).len(), list(&bound["rows"]).len());
        for (row, binding) in list(&table["rows"]).iter().zip(list(&bound["rows"])) {
            assert_eq!(
                (&row["action"], &row["when"]),
                (&binding["action"], &binding["when"])
            );
            assert!(
                !list(&binding["requests"]).is_empty(),
                "{} asks nothing",
                row["action"]
            );
            let plans = if binding["plans"].is_null() {
                &bound["plans"]
            } else {
                &binding["plans"]
            };
            for role in list(&table["roles"]) {
                let role = role.as_str().unwrap();
                let expected = row["cells"][role]["allow"].as_bool().unwrap();
                let column = bound["columns"]
                    .get(role)
                    .unwrap_or_else(|| panic!("no column {role}"));
                for plan in list(plans) {
                    let asker = Asker::new(catalog, column, plan.as_str().unwrap());
                    let place = format!("{} / {} / {role} / {plan}", catalog.id, row["action"]);
                    check_cell(&asker, binding, expected, faults, &place);
                }
                cells += 1;
            }
        }
    }
    assert_eq!(
        Some(cells),
        system["cells"]
            .as_u64()
            .and_then(|cells| usize::try_from(cells).ok())
    );
    cells
}

#[test]
fn all_765_cells_follow_from_the_data() {
    let mut faults = Vec::new();

    let cells: usize = embedded_or_fail()
        .iter()
        .map(|catalog| check_system(catalog, &mut faults))
        .sum();

    assert!(
        faults.is_empty(),
        "{} wrong answers:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(cells, 765);
}
