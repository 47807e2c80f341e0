//! `[team]`: what the product allows a team to do with itself.

use std::collections::BTreeSet;

use super::fault::Faults;
use super::section::{Name, Section, text_of};
use crate::domain::catalog::{
    BuiltInRole, Offer, Plan, Seats, TeamRules, TransferMode, TransferRules,
};
use crate::domain::identifiers::RoleId;
use crate::domain::organization::NotificationKind;

const HOUR: i64 = 60 * 60 * 1_000;
const DAY: i64 = 24 * HOUR;
/// The longest that an invitation or an offer of ownership can wait.
const MAX_DAYS: u32 = 90;

const SEATS: &[(&str, Seats)] = &[
    ("at-acceptance", Seats::AtAcceptance),
    ("at-invitation", Seats::AtInvitation),
];

const MODES: &[(&str, TransferMode)] = &[
    ("immediate", TransferMode::Immediate),
    ("two-step", TransferMode::TwoStep),
    ("platform-only", TransferMode::PlatformOnly),
];

/// The team rules of the file. Every key must be there: a product decides, it
/// doesn't drift. The roles they name are checked by [`check_roles`], which
/// needs the roles, which need the team rules.
pub(super) fn read_team(
    project_word: Option<&Name>,
    plans: &[Plan],
    root: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> (Option<TeamRules>, Vec<Name>) {
    let mut named_roles = Vec::new();
    let team = root
        .required("team", faults)
        .and_then(|value| Section::of(value, "`team`".to_owned(), faults))
        .and_then(|section| read_rules(project_word, plans, section, &mut named_roles, faults));
    (team, named_roles)
}

/// Refuses names of roles that nobody can hold on the organization.
pub(super) fn check_roles(named: &[Name], roles: &[BuiltInRole], faults: &mut Faults<'_>) {
    for name in named {
        let role = roles.iter().find(|role| role.id.as_str() == name.get_ref());
        let message = match role {
            Some(role) if role.on_organization => continue,
            Some(_) => format!(
                "`{}` is held on projects only; name a role held on the organization",
                name.get_ref()
            ),
            None => format!(
                "there is no role `{}`; name one of `[[roles]]` by its id",
                name.get_ref()
            ),
        };
        faults.add(name.span(), message);
    }
}

fn read_rules(
    project_word: Option<&Name>,
    plans: &[Plan],
    mut section: Section<'_>,
    named_roles: &mut Vec<Name>,
    faults: &mut Faults<'_>,
) -> Option<TeamRules> {
    let span = section.span();
    let custom_roles = read_offer("custom_roles", plans, &mut section, faults);
    let built_in_roles_editable = section.flag("built_in_roles_editable", faults);
    let project_roles = section.flag("project_roles", faults);
    let overrides = section.flag("overrides", faults);
    let default_roles = section.flag("default_roles", faults);
    let invitations = read_offer("invitations", plans, &mut section, faults);
    let invitation_hours = section.number("invitation_hours", 1..=24 * MAX_DAYS, faults);
    let seats = read_word("seats", SEATS, &mut section, faults);
    let groups = read_offer("groups", plans, &mut section, faults);
    let tokens = read_offer("tokens", plans, &mut section, faults);
    let service_accounts = read_offer("service_accounts", plans, &mut section, faults);
    let guardrails = read_offer("guardrails", plans, &mut section, faults);
    let self_changes = section.flag("self_changes", faults);
    let notifications = read_notifications(&mut section, faults);
    let transfer = read_transfer(&mut section, named_roles, faults);
    section.close(faults);
    let team = TeamRules {
        custom_roles: custom_roles?,
        built_in_roles_editable: built_in_roles_editable?,
        project_roles: project_roles?,
        overrides: overrides?,
        default_roles: default_roles?,
        invitations: invitations?,
        invitation_lifetime: i64::from(invitation_hours?).saturating_mul(HOUR),
        seats: seats?,
        groups: groups?,
        tokens: tokens?,
        service_accounts: service_accounts?,
        guardrails: guardrails?,
        transfer: transfer?,
        self_changes: self_changes?,
        notifications: notifications?,
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

fn read_transfer(
    team: &mut Section<'_>,
    named_roles: &mut Vec<Name>,
    faults: &mut Faults<'_>,
) -> Option<TransferRules> {
    let value = team.required("transfer", faults)?;
    let mut section = Section::of(value, "`team.transfer`".to_owned(), faults)?;
    let mode = read_word("mode", MODES, &mut section, faults);
    let old_owner_becomes = section.text("old_owner_becomes", faults);
    let target_roles = section.required_names("target_roles", faults);
    let to_address_at = section.value("to_address").map(|value| value.span());
    let to_address = section.flag("to_address", faults);
    let lifetime = read_days(mode, &mut section, faults);
    section.close(faults);
    named_roles.extend(old_owner_becomes.clone());
    named_roles.extend(target_roles.iter().flatten().cloned());
    let mode = mode?;
    if let (Some(span), Some(true)) = (to_address_at, to_address)
        && mode != TransferMode::TwoStep
    {
        faults.add(
            span,
            "nobody behind an address can become owner before they accept; set `mode` to `two-step`, or `to_address` to false",
        );
    }
    Some(TransferRules {
        mode,
        old_owner_becomes: RoleId::new(old_owner_becomes?.get_ref().as_str()),
        target_roles: target_roles?
            .iter()
            .map(|name| RoleId::new(name.get_ref().as_str()))
            .collect(),
        to_address: to_address?,
        lifetime: lifetime?,
    })
}

/// How long an offer waits. Only a transfer in two steps is offered; for any
/// other, a number of days would promise what never happens.
fn read_days(
    mode: Option<TransferMode>,
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<i64> {
    let days = match mode {
        Some(TransferMode::TwoStep) => section.number("days", 1..=MAX_DAYS, faults)?,
        None => section.optional_number("days", 1..=MAX_DAYS, faults)?,
        Some(TransferMode::Immediate | TransferMode::PlatformOnly) => {
            if let Some(value) = section.value("days") {
                faults.add(
                    value.span(),
                    "only a transfer in two steps waits to be accepted; remove `days`",
                );
            }
            0
        }
    };
    Some(i64::from(days).saturating_mul(DAY))
}

fn read_notifications(
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<BTreeSet<NotificationKind>> {
    let names = section.required_names("notifications", faults)?;
    let mut kinds = BTreeSet::new();
    for name in names {
        match NotificationKind::of_word(name.get_ref()) {
            Some(kind) => {
                kinds.insert(kind);
            }
            None => {
                let known = NotificationKind::ALL.map(NotificationKind::word);
                let message = format!(
                    "`{}` is no notification; use {}",
                    name.get_ref(),
                    one_of(&known)
                );
                faults.add(name.span(), message);
            }
        }
    }
    Some(kinds)
}

/// The value that a word stands for.
fn read_word<T: Copy>(
    key: &'static str,
    words: &[(&str, T)],
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<T> {
    let name = section.text(key, faults)?;
    let found = words.iter().find(|(word, _)| word == name.get_ref());
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        faults.add(
            name.span(),
            format!(
                "`{key}` can't be `{}`; use {}",
                name.get_ref(),
                one_of(&known)
            ),
        );
    }
    found.map(|(_, value)| *value)
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => format!("`{}` or `{last}`", first.join("`, `")),
    }
}

fn read_offer(
    key: &'static str,
    plans: &[Plan],
    section: &mut Section<'_>,
    faults: &mut Faults<'_>,
) -> Option<Offer> {
    let value = section.required(key, faults)?;
    if value.get_ref().is_table() {
        let mut offer = Section::of(value, format!("`{key}`"), faults)?;
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
    let text = text_of(value, key, faults)?;
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
