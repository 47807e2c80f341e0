//! Random guardrails: one of each shape that is selected, remembered or given its
//! entities differently.

use cedar_policy::EntityUid;
use proptest::prelude::*;
use roster::domain::Catalog;
use roster::domain::catalog::{Level, OWNER_ROLE};
use roster::domain::checks::Place;
use roster::domain::organization::Organization;
use roster::domain::value::{Attribute, ValueType};
use serde_json::json;

use super::generator::{Names, action, role_id};

/// How many shapes there are.
const SHAPES: u8 = 16;

/// A guardrail by number.
#[derive(Clone, Debug)]
pub(crate) struct Rail {
    shape: u8,
    action: u16,
    user: usize,
    role: u8,
    project: usize,
    resource: usize,
}

/// Guardrails; their actions are often the same few, so that questions meet them.
pub(super) fn rail() -> impl Strategy<Value = Rail> {
    let parts = (
        0..SHAPES,
        action(),
        0..6_usize,
        any::<u8>(),
        0..4_usize,
        0..3_usize,
    );
    parts.prop_map(|(shape, action, user, role, project, resource)| Rail {
        shape,
        action,
        user,
        role,
        project,
        resource,
    })
}

/// An entity as Cedar spells it, whatever its id.
fn uid(kind: &str, id: &str) -> String {
    EntityUid::from_json(json!({ "type": kind, "id": id }))
        .expect("a uid")
        .to_string()
}

/// A text as Cedar spells it.
fn literal(text: &str) -> String {
    let uid = uid("User", text);
    uid.strip_prefix("User::").expect("a user").to_owned()
}

/// A number that may be said, read the way strict validation wants it.
fn number_of(variable: &str, declared: &[Attribute]) -> Option<String> {
    let number = declared
        .iter()
        .find(|attribute| attribute.value_type == ValueType::Long)?;
    let name = &number.name;
    // Beyond what a question can say, it overflows, and the guardrail fails.
    let test = format!("{variable}.{name} * 9223372036854775 > 3");
    Some(if number.required {
        test
    } else {
        format!("{variable} has {name} && {test}")
    })
}

impl Rail {
    /// In Cedar's words; valid on the catalog, whatever the names.
    pub(super) fn text(
        &self,
        names: &Names,
        organization: &Organization,
        catalog: &Catalog,
    ) -> String {
        let number = usize::from(self.action) % catalog.actions.len();
        let found = match &catalog.actions[number] {
            found if found.id.as_str() == "ManageGuardrails" => &catalog.actions[0],
            found => found,
        };
        let index = found.resource_types[usize::from(self.action) % found.resource_types.len()];
        let kind = &catalog.resource_types[usize::from(index.0)];
        let level = match found.level {
            Level::Account => "account-level",
            Level::Project => "project-level",
        };
        let action = format!("action == {}", uid("Action", found.id.as_str()));
        let user = uid("User", names.users[self.user]);
        let role = role_id(self.role, Place::Organization, names, organization, catalog);
        let tag = literal(&format!("role:{role}"));
        let role = uid("Role", &role);
        let owner = uid("Role", OWNER_ROLE);
        let project = uid("Project", names.projects[self.project]);
        let whole = uid("Organization", names.organization);
        let kind_name = kind.id.as_str();
        let own = (!kind.built_in).then(|| uid(kind_name, names.resources[self.resource]));
        let plain = format!("forbid (principal, {action}, resource);");
        match self.shape {
            1 => format!(
                "forbid (principal, action in Action::\"project-level\", resource in {project});"
            ),
            2 => format!("forbid (principal in {role}, {action}, resource);"),
            3 => format!("forbid (principal == {user}, {action}, resource);"),
            4 => format!(
                "forbid (principal in {role}, {action}, resource is {kind_name}) \
                 unless {{ principal == {user} || principal in {owner} }};"
            ),
            // What somebody else is, decides.
            5 => format!(
                "forbid (principal, {action}, resource) \
                 when {{ {user} in {role} && !({user} in Status::\"suspended\") }};"
            ),
            6 => format!("permit (principal, {action}, resource);"),
            7 => format!("permit (principal == {user}, action, resource is {kind_name});"),
            8 => format!(
                "forbid (principal, {action}, resource) when {{ principal.hasTag({tag}) \
                 && principal.getTag({tag}).contains({project}) }};"
            ),
            9 => format!(
                "forbid (principal, {action}, resource) when {{ {project} in {whole} \
                 && {user}.overridden.contains({project}) }};"
            ),
            10 => match own {
                Some(own) => format!("forbid (principal, {action}, resource == {own});"),
                None => plain,
            },
            11 => match own {
                Some(own) => format!(
                    "forbid (principal, {action}, resource) when {{ {own} has owner \
                     && {own}.owner in {role} && {own} in {project} }};"
                ),
                None => plain,
            },
            12 => match number_of("context", &found.context)
                .or_else(|| number_of("resource", &kind.attributes))
            {
                Some(test) => {
                    format!(
                        "forbid (principal, {action}, resource is {kind_name}) when {{ {test} }};"
                    )
                }
                None => plain,
            },
            13 if (level, kind_name) == ("account-level", "Organization") => plain,
            13 => format!(
                "forbid (principal in {role}, action in Action::\"{level}\", resource is {kind_name}) \
                 when {{ !(action in [Action::\"ManageGuardrails\"]) && {} in Action::\"{level}\" }};",
                uid("Action", found.id.as_str())
            ),
            14 => format!(
                "permit (principal, {action}, resource) when {{ Member::{}.user in {role} }};",
                literal(names.users[self.user])
            ),
            15 => format!(
                "permit (principal in {role}, action in Action::\"project-level\", resource) \
                 unless {{ resource in {project} }};"
            ),
            _ => plain,
        }
    }
}
