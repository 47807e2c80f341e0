//! `[conditions]`: circumstances under which a grant holds, besides ownership.

use super::fault::Faults;
use super::resource_types::ResourceTypes;
use super::section::{Name, Section, Value};
use super::vocabulary::id_fault;
use crate::domain::catalog::{Condition, ConditionTest};
use crate::domain::value::ValueType;

/// The conditions of the file.
pub(super) fn read_conditions(
    types: &ResourceTypes,
    root: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for (name, value) in root.entries("conditions", faults) {
        if let Some(fault) = id_fault(name.get_ref()) {
            faults.add(name.span(), fault);
            continue;
        }
        conditions.extend(read_condition(&name, value, types, faults));
    }
    conditions
}

/// The attribute a condition looks at.
pub(super) fn attribute_of(test: &ConditionTest) -> &str {
    match test {
        ConditionTest::AttributeIsTrue(attribute)
        | ConditionTest::AttributeContainsPrincipal(attribute) => attribute,
    }
}

fn read_condition(
    name: &Name,
    value: &Value<'_>,
    types: &ResourceTypes,
    faults: &mut Faults<'_>,
) -> Option<Condition> {
    let mut section = Section::of(value, format!("condition `{}`", name.get_ref()), faults)?;
    let title = section.text("title", faults);
    let is_true = section.optional_text("attribute_is_true", faults);
    let contains = section.optional_text("attribute_contains_principal", faults);
    let span = section.span();
    section.close(faults);
    let test = match (is_true, contains) {
        (Some(attribute), None) => {
            check_attribute(&attribute, &ValueType::Boolean, "bool", types, faults);
            ConditionTest::AttributeIsTrue(attribute.into_inner())
        }
        (None, Some(attribute)) => {
            let users = ValueType::Set(Box::new(ValueType::User));
            check_attribute(&attribute, &users, "set<user>", types, faults);
            ConditionTest::AttributeContainsPrincipal(attribute.into_inner())
        }
        _ => {
            let message = format!(
                "condition `{}` needs `attribute_is_true` or `attribute_contains_principal`, one of them",
                name.get_ref()
            );
            faults.add(span, message);
            return None;
        }
    };
    Some(Condition {
        id: name.get_ref().clone(),
        title: title?.into_inner(),
        test,
    })
}

/// The attribute must exist somewhere, and mean the same wherever it exists.
fn check_attribute(
    attribute: &Name,
    wanted: &ValueType,
    wanted_text: &str,
    types: &ResourceTypes,
    faults: &mut Faults<'_>,
) {
    let mut found = false;
    for resource_type in &types.all {
        for declared in resource_type
            .attributes
            .iter()
            .filter(|declared| declared.name == *attribute.get_ref())
        {
            found = true;
            if declared.value_type != *wanted {
                faults.add(
                    attribute.span(),
                    format!(
                        "`{}` of type `{}` is no {wanted_text}; a condition of this kind needs one",
                        attribute.get_ref(),
                        resource_type.id
                    ),
                );
            }
        }
    }
    if !found {
        let message = format!(
            "no type has an attribute `{}`; declare it under `[types]`",
            attribute.get_ref()
        );
        faults.add(attribute.span(), message);
    }
}
