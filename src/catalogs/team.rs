//! `[team]`: what the product allows a team to do with itself.

use super::fault::Faults;
use super::section::{Name, Section, text_of};
use crate::domain::catalog::{Offer, Plan, TeamRules};

/// The team rules of the file. Every key must be there: a product decides, it doesn't drift.
pub(super) fn read_team(
    project_word: Option<&Name>,
    plans: &[Plan],
    root: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<TeamRules> {
    let value = root.required("team", faults)?;
    let mut section = Section::of(value, "`team`".to_owned(), faults)?;
    let span = section.span();
    let custom_roles = read_offer(plans, &mut section, faults);
    let built_in_roles_editable = section.flag("built_in_roles_editable", faults);
    let project_roles = section.flag("project_roles", faults);
    let overrides = section.flag("overrides", faults);
    let default_roles = section.flag("default_roles", faults);
    section.close(faults);
    let team = TeamRules {
        custom_roles: custom_roles?,
        built_in_roles_editable: built_in_roles_editable?,
        project_roles: project_roles?,
        overrides: overrides?,
        default_roles: default_roles?,
    };
    if team.default_roles && !team.project_roles {
        faults.add(
            span.clone(),
            "`default_roles` are roles on projects; set `project_roles` as well",
        );
    }
    if (team.project_roles || team.overrides) && project_word.is_none() {
        faults.add(span, "project roles and overrides need projects; say in `project_word` what the product calls one");
    }
    Some(team)
}

fn read_offer(plans: &[Plan], section: &mut Section<'_>, faults: &mut Faults<'_>) -> Option<Offer> {
    let value = section.required("custom_roles", faults)?;
    if value.get_ref().is_table() {
        let mut offer = Section::of(value, "`custom_roles`".to_owned(), faults)?;
        let feature = offer.text("feature", faults);
        offer.close(faults);
        let feature = feature?;
        if !plans
            .iter()
            .any(|plan| plan.features.contains(feature.get_ref()))
        {
            faults.add(
                feature.span(),
                format!(
                    "no plan has the feature `{}`; add it to one",
                    feature.get_ref()
                ),
            );
        }
        return Some(Offer::WithFeature(feature.into_inner()));
    }
    let text = text_of(value, "custom_roles", faults)?;
    match text.get_ref().as_str() {
        "never" => Some(Offer::Never),
        "always" => Some(Offer::Always),
        other => {
            let message =
                format!("`{other}` is no offer; use `never`, `always` or {{ feature = \"…\" }}");
            faults.add(text.span(), message);
            None
        }
    }
}
