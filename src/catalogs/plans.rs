//! `[[plans]]`: what organizations subscribe to, the first of a new one in front.

use std::collections::BTreeSet;

use super::fault::Faults;
use super::section::Section;
use super::vocabulary::id_fault;
use crate::domain::catalog::Plan;
use crate::domain::identifiers::PlanId;

/// The highest limit on members that a plan can set.
const MAX_MEMBERS: u32 = 10_000_000;

/// The plans of the file; there must be one, for every organization is on a plan.
pub(super) fn read_plans(root: &mut Section<'_>, faults: &mut Faults<'_>) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    let sections = root.sections("plans", "a plan", faults);
    if sections.is_empty() {
        faults.add(
            root.span(),
            "a catalog has at least one plan; add `[[plans]]`",
        );
    }
    for section in sections {
        let Some((plan, span)) = read_plan(section, faults) else {
            continue;
        };
        if plans.iter().any(|earlier| earlier.id == plan.id) {
            faults.add(
                span,
                format!("there are two plans `{}`; rename or remove one", plan.id),
            );
        } else {
            plans.push(plan);
        }
    }
    plans
}

fn read_plan(
    mut section: Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<(Plan, std::ops::Range<usize>)> {
    let id = section.text("id", faults);
    let title = section.text("title", faults);
    let features = section.names("features", faults);
    let members = section.optional_number("members", 1..=MAX_MEMBERS, faults);
    section.close(faults);
    for name in id.iter().chain(&features) {
        if let Some(fault) = id_fault(name.get_ref()) {
            faults.add(name.span(), fault);
        }
    }
    let id = id?;
    let plan = Plan {
        id: PlanId::new(id.get_ref().as_str()),
        title: title.map_or_else(|| id.get_ref().clone(), |title| title.into_inner()),
        features: features
            .into_iter()
            .map(|feature| feature.into_inner())
            .collect::<BTreeSet<_>>(),
        members,
    };
    Some((plan, id.span()))
}
