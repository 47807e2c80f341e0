//! The truth tables of the five products, cell by cell, and what follows from the
//! catalogs as a whole: access matrices and Cedar schemas as golden files.
//!
//! All of it is data: a new case or a new product adds no Rust. Set
//! `ROSTER_UPDATE_GOLDEN=1` to write the golden files anew, and read the diff.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use roster::proto::v1;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::harness::Daemon;

/// How many cells each table set has, and all of them together.
const CELLS: [(&str, usize); 5] = [
    ("cloud-66", 303),
    ("hypervisor-io", 176),
    ("oec-sh", 112),
    ("oncloudwine", 42),
    ("qoc-cloud", 132),
];
const ALL_CELLS: usize = 765;

#[tokio::test]
async fn each_of_the_765_cells_is_answered_as_its_table_says() {
    let daemon = Daemon::start().await;
    let mut counted = 0;
    let mut wrong = Vec::new();
    for (system, expected) in CELLS {
        let cells = check_system(&daemon, system, &mut wrong).await;
        assert_eq!(cells, expected, "cells of {system}");
        counted += cells;
    }
    assert_eq!(counted, ALL_CELLS);
    assert!(
        wrong.is_empty(),
        "{} answers are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_access_matrices_are_as_reviewed() {
    let daemon = Daemon::start().await;
    for catalog in catalog_ids(&daemon).await {
        let matrix = matrix(&daemon, &catalog).await;
        compare_with_golden(&format!("{catalog}.md"), &matrix);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_cedar_schemas_are_as_reviewed() {
    let daemon = Daemon::start().await;
    for catalog in catalog_ids(&daemon).await {
        let answer = get_catalog(&daemon, &catalog).await;
        compare_with_golden(&format!("{catalog}.cedarschema"), &answer.schema);
    }
    daemon.stop().await;
}

// The truth tables.

#[derive(Deserialize)]
struct System {
    tables: Vec<Table>,
    cells: usize,
}

#[derive(Deserialize)]
struct Table {
    scope: String,
    roles: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    action: String,
    when: Option<String>,
    cells: BTreeMap<String, Cell>,
}

#[derive(Deserialize)]
struct Cell {
    allow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bindings {
    catalog: String,
    tables: Vec<TableBinding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableBinding {
    plans: Vec<String>,
    columns: BTreeMap<String, Holding>,
    rows: Vec<RowBinding>,
}

/// What the principal of a column holds.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Holding {
    owner: bool,
    roles: Vec<String>,
    project_roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowBinding {
    row: usize,
    action: String,
    when: Option<String>,
    plans: Option<Vec<String>>,
    requests: Vec<Asked>,
    #[serde(default)]
    denied_requests: Vec<Asked>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    action: String,
    resource: AskedResource,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedResource {
    r#type: String,
    id: String,
    #[serde(default)]
    project: String,
    #[serde(default)]
    owner: String,
    attributes: Option<Json>,
}

/// One request of a cell, and what must be answered.
struct Case {
    cell: String,
    allow: bool,
    request: v1::IsAuthorizedRequest,
}

/// Asks every cell of a product; returns how many there are.
async fn check_system(daemon: &Daemon, name: &str, wrong: &mut Vec<String>) -> usize {
    let system: System = fixture(&format!("systems/{name}.json"));
    let bindings: Bindings = fixture(&format!("cells/{name}.json"));
    assert_eq!(system.tables.len(), bindings.tables.len(), "{name}: tables");
    let mut counted = 0;
    for (index, (table, binding)) in system.tables.iter().zip(&bindings.tables).enumerate() {
        counted += check_shape(name, table, binding);
        let mut plans: Vec<&String> = binding.plans.iter().collect();
        plans.extend(
            binding
                .rows
                .iter()
                .flat_map(|row| row.plans.iter().flatten()),
        );
        plans.sort();
        plans.dedup();
        for plan in plans {
            let organization = format!("{name}-{index}-{plan}");
            let stage = Stage::set(daemon, &organization, &bindings.catalog, plan).await;
            let cases = cases(&stage, name, table, binding, plan).await;
            check_cases(daemon, &cases, wrong).await;
        }
    }
    assert_eq!(counted, system.cells, "{name}: the table counts itself");
    counted
}

/// Holds a table and its bindings against each other; returns the number of cells.
fn check_shape(name: &str, table: &Table, binding: &TableBinding) -> usize {
    let mut columns: Vec<&String> = table.roles.iter().collect();
    columns.sort();
    let bound: Vec<&String> = binding.columns.keys().collect();
    assert_eq!(columns, bound, "{name}/{}: columns", table.scope);
    assert_eq!(
        table.rows.len(),
        binding.rows.len(),
        "{name}/{}: rows",
        table.scope
    );
    let mut counted = 0;
    for (index, (row, bound)) in table.rows.iter().zip(&binding.rows).enumerate() {
        let place = format!("{name}/{} row {index}", table.scope);
        assert_eq!(index, bound.row, "{place}: number");
        assert_eq!(row.action, bound.action, "{place}: action");
        assert_eq!(row.when, bound.when, "{place}: when");
        assert!(!bound.requests.is_empty(), "{place}: nothing is asked");
        let cells: Vec<&String> = row.cells.keys().collect();
        assert_eq!(columns, cells, "{place}: cells");
        let plans = bound.plans.as_ref().unwrap_or(&binding.plans);
        assert!(!plans.is_empty(), "{place}: asked on no plan");
        counted += row.cells.len();
    }
    counted
}

async fn cases(
    stage: &Stage<'_>,
    name: &str,
    table: &Table,
    binding: &TableBinding,
    plan: &String,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, column) in table.roles.iter().enumerate() {
        let user = stage
            .seat(&format!("column-{number}"), &binding.columns[column])
            .await;
        for (row, bound) in table.rows.iter().zip(&binding.rows) {
            if !bound
                .plans
                .as_ref()
                .unwrap_or(&binding.plans)
                .contains(plan)
            {
                continue;
            }
            let allow = row.cells[column].allow;
            let listed = bound.requests.iter().map(|asked| (asked, allow));
            let denied = bound.denied_requests.iter().map(|asked| (asked, false));
            cases.extend(listed.chain(denied).map(|(asked, allow)| Case {
                cell: format!(
                    "{name} ({plan}), {}, row {} `{}` {}, column {column}",
                    table.scope,
                    bound.row,
                    row.action,
                    row.when.as_deref().unwrap_or_default()
                ),
                allow,
                request: stage.request(&user, asked),
            }));
        }
    }
    cases
}

/// Asks all at once, then each by itself, plain and with reasons.
async fn check_cases(daemon: &Daemon, cases: &[Case], wrong: &mut Vec<String>) {
    let requests = cases.iter().map(|case| case.request.clone()).collect();
    let answers = ask_all(daemon, requests).await;
    for (case, batched) in cases.iter().zip(answers) {
        let mut client = daemon.authorization();
        let mut asked_singly = Vec::new();
        for include_reasons in [false, true] {
            let request = v1::IsAuthorizedRequest {
                include_reasons,
                ..case.request.clone()
            };
            let answer = client.is_authorized(request).await;
            asked_singly.push(answer.map(|answer| allows(&answer.into_inner())));
        }
        let singly: Vec<Result<bool, String>> = asked_singly
            .into_iter()
            .map(|answer| answer.map_err(|status| status.message().to_owned()))
            .collect();
        for (way, answer) in ["in a batch", "singly", "explained"]
            .iter()
            .zip([&batched].into_iter().chain(&singly))
        {
            if *answer != Ok(case.allow) {
                let resource = case.request.resource.as_ref().expect("a resource");
                wrong.push(format!(
                    "{}: `{}` on {} `{}` {way}: expected {}, got {answer:?}",
                    case.cell, case.request.action, resource.r#type, resource.id, case.allow
                ));
            }
        }
    }
}

async fn ask_all(
    daemon: &Daemon,
    requests: Vec<v1::IsAuthorizedRequest>,
) -> Vec<Result<bool, String>> {
    let count = requests.len();
    let answer = daemon
        .authorization()
        .batch_is_authorized(v1::BatchIsAuthorizedRequest {
            requests,
            ..Default::default()
        })
        .await
        .expect("the batch is answered")
        .into_inner();
    assert_eq!(answer.items.len(), count, "an answer for each request");
    answer
        .items
        .into_iter()
        .map(|item| match item.result {
            Some(v1::batch_item::Result::Response(response)) => Ok(allows(&response)),
            Some(v1::batch_item::Result::Status(status)) => Err(status.message),
            None => Err("an empty item".to_owned()),
        })
        .collect()
}

fn allows(response: &v1::IsAuthorizedResponse) -> bool {
    match response.decision() {
        v1::Decision::Allow => true,
        v1::Decision::Deny => false,
        v1::Decision::Unspecified => panic!("no decision"),
    }
}

// An organization to ask.

const PROJECT: &str = "project-1";
const OTHER_PROJECT: &str = "project-2";
const OTHER: &str = "other";
const OWNER: &str = "owner";

/// An organization with two projects, an owner, and another member of the weakest role.
struct Stage<'a> {
    daemon: &'a Daemon,
    organization: String,
    has_projects: bool,
    /// The plan that questions are asked on, and one without a limit of seats.
    plans: (String, String),
}

impl<'a> Stage<'a> {
    async fn set(daemon: &'a Daemon, organization: &str, catalog: &str, plan: &str) -> Self {
        daemon
            .organizations()
            .create_organization(v1::CreateOrganizationRequest {
                organization_id: organization.to_owned(),
                display_name: "Stage".to_owned(),
                catalog: catalog.to_owned(),
                plan: plan.to_owned(),
                owner: OWNER.to_owned(),
                ..Default::default()
            })
            .await
            .expect("the organization is founded");
        let catalog = get_catalog(daemon, catalog)
            .await
            .catalog
            .expect("a catalog");
        let has_projects = !catalog.project_word.is_empty();
        if has_projects {
            daemon.project(organization, PROJECT).await;
            daemon.project(organization, OTHER_PROJECT).await;
        }
        let roles = daemon
            .roles()
            .list_roles(v1::ListRolesRequest {
                organization: organization.to_owned(),
                page_size: 1000,
                ..Default::default()
            })
            .await
            .expect("the roles are listed")
            .into_inner()
            .roles;
        let weakest = roles
            .iter()
            .filter(|role| role.on_organization)
            .min_by_key(|role| role.effective_actions.len())
            .expect("a role on the organization");
        let compiled = daemon.application.catalog(&catalog.id);
        let plans = &compiled.expect("a catalog").catalog().plans;
        let roomy = plans.iter().find(|plan| plan.members.is_none());
        let roomy = roomy.expect("a plan without a limit").id.to_string();
        let stage = Self {
            daemon,
            organization: organization.to_owned(),
            has_projects,
            plans: (plan.to_owned(), roomy),
        };
        stage.add(OTHER, &[&weakest.id]).await;
        stage
    }

    /// Adds a member, also where the plan has no seat: nobody loses theirs.
    async fn add(&self, user: &str, roles: &[&str]) {
        let (plan, roomy) = &self.plans;
        self.set_plan(roomy).await;
        self.daemon.add(&self.organization, user, roles).await;
        self.set_plan(plan).await;
    }

    async fn set_plan(&self, plan: &str) {
        let request = v1::SetPlanRequest {
            organization: self.organization.clone(),
            plan: plan.to_owned(),
            ..Default::default()
        };
        let set = self.daemon.organizations().set_plan(request).await;
        set.expect("the plan is set");
    }

    /// Makes a user hold what a column says; returns who it is.
    async fn seat(&self, user: &str, holding: &Holding) -> String {
        if holding.owner {
            return OWNER.to_owned();
        }
        let roles: Vec<&str> = holding.roles.iter().map(String::as_str).collect();
        self.add(user, &roles).await;
        if !holding.project_roles.is_empty() {
            let roles: Vec<&str> = holding.project_roles.iter().map(String::as_str).collect();
            self.daemon
                .project_roles(&self.organization, PROJECT, user, &roles)
                .await;
        }
        user.to_owned()
    }

    fn request(&self, user: &str, asked: &Asked) -> v1::IsAuthorizedRequest {
        let resource = &asked.resource;
        v1::IsAuthorizedRequest {
            organization: self.organization.clone(),
            principal: Some(v1::EntityRef {
                r#type: "User".to_owned(),
                id: user.to_owned(),
            }),
            action: asked.action.clone(),
            resource: Some(v1::Resource {
                r#type: resource.r#type.clone(),
                id: self.named(&resource.id, user),
                project: self.named(&resource.project, user),
                owner: self.named(&resource.owner, user),
                attributes: resource
                    .attributes
                    .as_ref()
                    .map(|attributes| self.fields(attributes, user)),
            }),
            ..Default::default()
        }
    }

    /// What a `$name` of the bindings stands for; anything else is itself.
    fn named(&self, text: &str, user: &str) -> String {
        match text {
            "$organization" => self.organization.as_str(),
            "$project" => PROJECT,
            "$other_project" => OTHER_PROJECT,
            "$owner" => OWNER,
            "$self" => user,
            "$other" => OTHER,
            unknown if unknown.starts_with('$') => panic!("`{unknown}` stands for nothing"),
            plain => plain,
        }
        .to_owned()
    }

    fn fields(&self, attributes: &Json, user: &str) -> Struct {
        let fields = attributes.as_object().expect("attributes are an object");
        Struct {
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), self.value(value, user)))
                .collect(),
        }
    }

    fn value(&self, value: &Json, user: &str) -> Value {
        let kind = match value {
            Json::Bool(truth) => Kind::BoolValue(*truth),
            Json::String(text) => Kind::StringValue(self.named(text, user)),
            Json::Array(values) => Kind::ListValue(ListValue {
                values: values.iter().map(|value| self.value(value, user)).collect(),
            }),
            other => panic!("no attribute of the tables is like {other}"),
        };
        Value { kind: Some(kind) }
    }
}

// The access matrices.

/// Who is asked about in a column.
struct Column {
    title: String,
    holding: Holding,
}

/// A resource of some type under some circumstance.
struct Circumstance {
    words: String,
    resource: AskedResource,
}

/// Every action on every type it applies to, for every role: a row for the usual
/// circumstance, and one for each other in which an answer differs.
async fn matrix(daemon: &Daemon, id: &str) -> String {
    let catalog = get_catalog(daemon, id).await.catalog.expect("a catalog");
    let columns = columns(&catalog);
    let mut stages = Vec::new();
    for plan in &catalog.plans {
        let organization = format!("matrix-{id}-{}", plan.id);
        let stage = Stage::set(daemon, &organization, id, &plan.id).await;
        let mut users = Vec::new();
        for (number, column) in columns.iter().enumerate() {
            users.push(
                stage
                    .seat(&format!("column-{number}"), &column.holding)
                    .await,
            );
        }
        stages.push((plan, stage, users));
    }
    let mut text = format!(
        "# {}\n\nWho may do what, as the daemon answers. The first row of an action on a type is the usual case{}; another row stands for a circumstance in which an answer differs from it.\n\n",
        catalog.title,
        if catalog.project_word.is_empty() {
            ", a resource of nobody's"
        } else {
            ", a resource of nobody's in the project that project roles are held on"
        }
    );
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    writeln!(text, "| action | on | {} |", titles.join(" | ")).expect("a text grows");
    writeln!(text, "|---|---{} |", "|---".repeat(columns.len())).expect("a text grows");
    for action in &catalog.actions {
        for resource_type in &action.resource_types {
            for row in matrix_rows(daemon, &catalog, action, resource_type, &stages).await {
                text.push_str(&row);
            }
        }
    }
    text
}

async fn matrix_rows(
    daemon: &Daemon,
    catalog: &v1::Catalog,
    action: &v1::Action,
    resource_type: &str,
    stages: &[(&v1::Plan, Stage<'_>, Vec<String>)],
) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    let mut usual: Option<Vec<bool>> = None;
    let mut on_first_plan: Vec<Vec<bool>> = Vec::new();
    for (plan_number, (plan, stage, users)) in stages.iter().enumerate() {
        let circumstances = circumstances(catalog, resource_type, stage.has_projects);
        for (number, circumstance) in circumstances.iter().enumerate() {
            let asked = Asked {
                action: action.id.clone(),
                resource: circumstance.resource.clone(),
            };
            let requests = users
                .iter()
                .map(|user| stage.request(user, &asked))
                .collect();
            let answers: Vec<bool> = ask_all(daemon, requests)
                .await
                .into_iter()
                .map(|answer| {
                    answer.unwrap_or_else(|why| panic!("{} of {resource_type}: {why}", action.id))
                })
                .collect();
            let mut words = circumstance.words.clone();
            let shown = if plan_number == 0 {
                on_first_plan.push(answers.clone());
                usual.as_ref().is_none_or(|usual| *usual != answers)
            } else {
                let separator = if words.is_empty() { "" } else { ", " };
                words = format!("{words}{separator}on {}", plan.title);
                on_first_plan[number] != answers
            };
            if shown {
                rows.push(matrix_row(action, resource_type, &words, &answers));
            }
            usual.get_or_insert(answers);
        }
    }
    rows
}

fn matrix_row(action: &v1::Action, resource_type: &str, words: &str, answers: &[bool]) -> String {
    let circumstance = if words.is_empty() {
        String::new()
    } else {
        format!(", {words}")
    };
    let answers: Vec<&str> = answers
        .iter()
        .map(|allow| if *allow { "ALLOW" } else { "deny" })
        .collect();
    format!(
        "| `{}` | {resource_type}{circumstance} | {} |\n",
        action.id,
        answers.join(" | ")
    )
}

fn columns(catalog: &v1::Catalog) -> Vec<Column> {
    let mut columns = vec![Column {
        title: "(owner)".to_owned(),
        holding: Holding {
            owner: true,
            ..Holding::default()
        },
    }];
    let roles = || catalog.roles.iter();
    columns.extend(
        roles()
            .filter(|role| role.on_organization)
            .map(|role| Column {
                title: role.title.clone(),
                holding: Holding {
                    roles: vec![role.id.clone()],
                    ..Holding::default()
                },
            }),
    );
    columns.extend(roles().filter(|role| role.on_project).map(|role| Column {
        title: format!("{} (on the {})", role.title, catalog.project_word),
        holding: Holding {
            project_roles: vec![role.id.clone()],
            ..Holding::default()
        },
    }));
    columns.push(Column {
        title: "(no role)".to_owned(),
        holding: Holding::default(),
    });
    columns
}

/// The usual circumstance first, then each that the catalog lets matter.
fn circumstances(
    catalog: &v1::Catalog,
    resource_type: &str,
    has_projects: bool,
) -> Vec<Circumstance> {
    let described = |id: &str| AskedResource {
        r#type: resource_type.to_owned(),
        id: id.to_owned(),
        project: String::new(),
        owner: String::new(),
        attributes: None,
    };
    let circumstance = |words: &str, resource: AskedResource| Circumstance {
        words: words.to_owned(),
        resource,
    };
    match resource_type {
        "Organization" => vec![circumstance("", described("$organization"))],
        "Project" if !has_projects => Vec::new(),
        "Project" => vec![
            circumstance("", described("$project")),
            circumstance("another project", described("$other_project")),
        ],
        "Member" => vec![
            circumstance("", described("$other")),
            circumstance("oneself", described("$self")),
            circumstance("the owner", described("$owner")),
        ],
        _ => {
            let declared = catalog
                .resource_types
                .iter()
                .find(|declared| declared.id == resource_type)
                .expect("a type of the catalog");
            product_circumstances(declared, &described("resource-1"), has_projects)
        }
    }
}

fn product_circumstances(
    declared: &v1::ResourceType,
    plain: &AskedResource,
    has_projects: bool,
) -> Vec<Circumstance> {
    let required: serde_json::Map<String, Json> = declared
        .attributes
        .iter()
        .filter(|attribute| attribute.required)
        .map(|attribute| (attribute.name.clone(), sample(&attribute.r#type)))
        .collect();
    let usual = AskedResource {
        project: if has_projects { "$project" } else { "" }.to_owned(),
        attributes: (!required.is_empty()).then(|| Json::Object(required.clone())),
        ..plain.clone()
    };
    let mut circumstances = vec![("".to_owned(), usual.clone())];
    if has_projects {
        for (words, project) in [
            ("in another project", "$other_project"),
            ("outside every project", ""),
        ] {
            let project = project.to_owned();
            circumstances.push((
                words.to_owned(),
                AskedResource {
                    project,
                    ..usual.clone()
                },
            ));
        }
    }
    let own = AskedResource {
        owner: "$self".to_owned(),
        ..usual.clone()
    };
    circumstances.push(("own".to_owned(), own.clone()));
    for attribute in &declared.attributes {
        let (words, value) = match attribute.r#type.as_str() {
            "Bool" => (format!("`{}`", attribute.name), Json::Bool(true)),
            "Set<User>" => (
                format!("`{}` has the member", attribute.name),
                Json::Array(vec![Json::String("$self".to_owned())]),
            ),
            _ => continue,
        };
        let mut attributes = required.clone();
        attributes.insert(attribute.name.clone(), value);
        let attributes = Some(Json::Object(attributes));
        for (words, resource) in [(words.clone(), &usual), (format!("own, {words}"), &own)] {
            circumstances.push((
                words,
                AskedResource {
                    attributes: attributes.clone(),
                    ..resource.clone()
                },
            ));
        }
    }
    circumstances
        .into_iter()
        .map(|(words, resource)| Circumstance { words, resource })
        .collect()
}

/// Some value of a type that a required attribute has.
fn sample(attribute_type: &str) -> Json {
    match attribute_type {
        "ipaddr" => Json::String("192.0.2.1".to_owned()),
        "Bool" => Json::Bool(false),
        "String" => Json::String("text".to_owned()),
        other => panic!("no sample for a required attribute of type {other}"),
    }
}

// Reading and comparing.

async fn catalog_ids(daemon: &Daemon) -> Vec<String> {
    let listed = daemon
        .policies()
        .list_catalogs(v1::ListCatalogsRequest::default())
        .await
        .expect("the catalogs are listed")
        .into_inner();
    let ids: Vec<String> = listed
        .catalogs
        .into_iter()
        .map(|catalog| catalog.id)
        .collect();
    assert_eq!(
        ids.len(),
        CELLS.len() + 1,
        "the five products and the sixth"
    );
    ids
}

async fn get_catalog(daemon: &Daemon, catalog: &str) -> v1::GetCatalogResponse {
    daemon
        .policies()
        .get_catalog(v1::GetCatalogRequest {
            catalog: catalog.to_owned(),
        })
        .await
        .expect("the catalog is read")
        .into_inner()
}

fn fixture<T: for<'de> Deserialize<'de>>(path: &str) -> T {
    let path = tests_folder().join("fixtures").join(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compare_with_golden(name: &str, actual: &str) {
    let path = tests_folder().join("golden").join(name);
    if std::env::var_os("ROSTER_UPDATE_GOLDEN").is_some_and(|set| set == "1") {
        std::fs::write(&path, actual).expect("the golden file is written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let before: Vec<&str> = golden.lines().collect();
    let after: Vec<&str> = actual.lines().collect();
    let removed = before.iter().filter(|line| !after.contains(line));
    let added = after.iter().filter(|line| !before.contains(line));
    let difference: Vec<String> = removed
        .map(|line| format!("- {line}"))
        .chain(added.map(|line| format!("+ {line}")))
        .collect();
    assert!(
        golden == actual,
        "{} is not what the daemon says (ROSTER_UPDATE_GOLDEN=1 writes it anew):\n{}",
        path.display(),
        difference.join("\n")
    );
}

fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}
