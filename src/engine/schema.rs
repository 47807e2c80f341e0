//! From a catalog to the Cedar schema that everything compiled is validated against.
//!
//! The schema is built as a JSON value; no name of a catalog ever meets Cedar's
//! grammar as text.

use cedar_policy::{Schema, SchemaFragment};
use serde_json::{Map, Value as Json, json};

use super::catalog::CatalogError;
use super::tokens::SCOPE_ATTRIBUTE;
use super::vocabulary::{OVERRIDDEN, RESERVED_TYPES, level_group};
use crate::domain::Catalog;
use crate::domain::catalog::{Level, ResourceType};
use crate::domain::value::{Attribute, ValueType};

/// A schema in the two forms it is needed in.
pub(super) struct CompiledSchema {
    /// For validation and requests.
    pub(super) schema: Schema,
    /// In Cedar's own syntax, for people and exports.
    pub(super) text: String,
}

/// Compiles the catalog's types and actions.
pub(super) fn compile(catalog: &Catalog) -> Result<CompiledSchema, CatalogError> {
    for resource_type in catalog
        .resource_types
        .iter()
        .filter(|resource_type| !resource_type.built_in)
    {
        if RESERVED_TYPES.contains(&resource_type.id.as_str()) {
            return Err(CatalogError::Schema(format!(
                "resource type `{}` is a name that Roster keeps for itself",
                resource_type.id
            )));
        }
    }
    for action in &catalog.actions {
        if action
            .context
            .iter()
            .any(|given| given.name == SCOPE_ATTRIBUTE)
        {
            return Err(CatalogError::Schema(format!(
                "context `{SCOPE_ATTRIBUTE}` of action `{}` is a name that Roster keeps for itself",
                action.id
            )));
        }
    }
    let value =
        json!({ "": { "entityTypes": entity_types(catalog), "actions": actions(catalog) } });
    let fragment = SchemaFragment::from_json_value(value).map_err(schema_error)?;
    let text = fragment
        .to_cedarschema()
        .map_err(|error| CatalogError::Schema(error.to_string()))?;
    let schema = Schema::from_schema_fragments([fragment]).map_err(schema_error)?;
    Ok(CompiledSchema { schema, text })
}

fn schema_error(error: impl std::error::Error) -> CatalogError {
    CatalogError::Schema(error.to_string())
}

fn entity_types(catalog: &Catalog) -> Json {
    let projects = json!({ "type": "Set", "element": { "type": "Entity", "name": "Project" } });
    let mut types = Map::new();
    types.insert("Role".to_owned(), json!({}));
    types.insert("Status".to_owned(), json!({}));
    types.insert(
        "User".to_owned(),
        json!({
            "memberOfTypes": ["Role", "Status"],
            "shape": { "type": "Record", "attributes": { OVERRIDDEN: projects } },
            "tags": projects,
        }),
    );
    types.insert(
        "Organization".to_owned(),
        json!({ "shape": { "type": "Record", "attributes": {
            "plan": { "type": "String" },
            "features": { "type": "Set", "element": { "type": "String" } },
        }}}),
    );
    types.insert(
        "Project".to_owned(),
        json!({ "memberOfTypes": ["Organization"] }),
    );
    types.insert(
        "Member".to_owned(),
        json!({
            "memberOfTypes": ["Organization"],
            "shape": { "type": "Record", "attributes": { "user": { "type": "Entity", "name": "User" } } },
        }),
    );
    for resource_type in catalog
        .resource_types
        .iter()
        .filter(|resource_type| !resource_type.built_in)
    {
        types.insert(
            resource_type.id.as_str().to_owned(),
            product_type(resource_type),
        );
    }
    Json::Object(types)
}

fn product_type(resource_type: &ResourceType) -> Json {
    let mut attributes = attribute_map(&resource_type.attributes);
    attributes.insert(
        "owner".to_owned(),
        json!({ "type": "Entity", "name": "User", "required": false }),
    );
    json!({
        "memberOfTypes": ["Project", "Organization"],
        "shape": { "type": "Record", "attributes": attributes },
    })
}

fn actions(catalog: &Catalog) -> Json {
    let mut actions = Map::new();
    for level in [Level::Account, Level::Project] {
        actions.insert(level_group(level).to_owned(), json!({}));
    }
    for action in &catalog.actions {
        let mut context = attribute_map(&action.context);
        context.insert(
            SCOPE_ATTRIBUTE.to_owned(),
            json!({ "type": "String", "required": false }),
        );
        let types: Vec<&str> = action
            .resource_types
            .iter()
            .filter_map(|index| catalog.resource_types.get(usize::from(index.0)))
            .map(|resource_type| resource_type.id.as_str())
            .collect();
        actions.insert(
            action.id.as_str().to_owned(),
            json!({
                "memberOf": [{ "id": level_group(action.level) }],
                "appliesTo": {
                    "principalTypes": ["User"],
                    "resourceTypes": types,
                    "context": { "type": "Record", "attributes": context },
                },
            }),
        );
    }
    Json::Object(actions)
}

fn attribute_map(attributes: &[Attribute]) -> Map<String, Json> {
    attributes
        .iter()
        .map(|attribute| {
            let mut described = value_type(&attribute.value_type);
            if let Json::Object(fields) = &mut described {
                fields.insert("required".to_owned(), Json::Bool(attribute.required));
            }
            (attribute.name.clone(), described)
        })
        .collect()
}

fn value_type(value_type_: &ValueType) -> Json {
    match value_type_ {
        ValueType::Boolean => json!({ "type": "Boolean" }),
        ValueType::Long => json!({ "type": "Long" }),
        ValueType::Text => json!({ "type": "String" }),
        ValueType::Decimal => json!({ "type": "Extension", "name": "decimal" }),
        ValueType::Datetime => json!({ "type": "Extension", "name": "datetime" }),
        ValueType::Address => json!({ "type": "Extension", "name": "ipaddr" }),
        ValueType::User => json!({ "type": "Entity", "name": "User" }),
        ValueType::Set(element) => json!({ "type": "Set", "element": value_type(element) }),
        ValueType::Record(attributes) => {
            json!({ "type": "Record", "attributes": attribute_map(attributes) })
        }
    }
}
