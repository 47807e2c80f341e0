//! `notifications.toml`: what notifications say, Roster's words and a product's own.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::fault::Faults;
use super::section::{Name, Section};
use crate::domain::organization::NotificationKind;
use crate::domain::templates::{BODY_ONLY, Template, Templates, placeholders_in};

/// Roster's own templates: every kind has subject and body.
pub(super) fn read_all(table: &DeTable<'_>, faults: &mut Faults<'_>) -> Option<Templates> {
    let mut root = root_of(table);
    let mut by_kind = BTreeMap::new();
    for kind in NotificationKind::ALL {
        let Some(value) = root.required(kind.word(), faults) else {
            continue;
        };
        let Some(mut section) = Section::of(value, title_of(kind), faults) else {
            continue;
        };
        let subject = section.text("subject", faults);
        let body = section.text("body", faults);
        section.close(faults);
        check(kind, subject.as_ref(), body.as_ref(), faults);
        if let (Some(subject), Some(body)) = (subject, body) {
            let template = Template {
                subject: subject.into_inner(),
                body: body.into_inner(),
            };
            by_kind.insert(kind, template);
        }
    }
    root.close(faults);
    Templates::complete(by_kind)
}

/// `base` with what a product says instead: of any kind the subject, the body or both.
pub(super) fn read_own(
    base: &Templates,
    table: &DeTable<'_>,
    faults: &mut Faults<'_>,
) -> Option<Templates> {
    let mut root = root_of(table);
    let mut by_kind = BTreeMap::new();
    for kind in NotificationKind::ALL {
        let mut template = base.of(kind).clone();
        if let Some(section) = root
            .value(kind.word())
            .and_then(|value| Section::of(value, title_of(kind), faults))
        {
            read_changes(kind, &mut template, section, faults);
        }
        by_kind.insert(kind, template);
    }
    root.close(faults);
    Templates::complete(by_kind)
}

fn read_changes(
    kind: NotificationKind,
    template: &mut Template,
    mut section: Section<'_>,
    faults: &mut Faults<'_>,
) {
    let empty = section.value("subject").is_none() && section.value("body").is_none();
    if empty {
        faults.add(
            section.span(),
            format!(
                "{} changes nothing; give it `subject` or `body`",
                title_of(kind)
            ),
        );
    }
    let subject = section.optional_text("subject", faults);
    let body = section.optional_text("body", faults);
    section.close(faults);
    check(kind, subject.as_ref(), body.as_ref(), faults);
    if let Some(subject) = subject {
        template.subject = subject.into_inner();
    }
    if let Some(body) = body {
        template.body = body.into_inner();
    }
}

fn root_of<'t>(table: &'t DeTable<'t>) -> Section<'t> {
    Section::root(table, "a file of notifications")
}

fn title_of(kind: NotificationKind) -> String {
    format!("notification `{}`", kind.word())
}

fn check(
    kind: NotificationKind,
    subject: Option<&Name>,
    body: Option<&Name>,
    faults: &mut Faults<'_>,
) {
    let all = kind.placeholders();
    if let Some(subject) = subject {
        if subject.get_ref().chars().any(char::is_control) {
            faults.add(
                subject.span(),
                "`subject` must be one line without control characters",
            );
        }
        let known: Vec<&str> = all
            .iter()
            .copied()
            .filter(|name| !BODY_ONLY.contains(name))
            .collect();
        check_placeholders("the subject", kind, &known, subject, faults);
    }
    if let Some(body) = body {
        check_placeholders("the body", kind, all, body, faults);
        if kind.needs_link() && !body.get_ref().contains("{link}") {
            faults.add(
                body.span(),
                "`body` has no `{link}`, without which the reader can do nothing; add it",
            );
        }
    }
}

fn check_placeholders(
    place: &str,
    kind: NotificationKind,
    known: &[&str],
    text: &Name,
    faults: &mut Faults<'_>,
) {
    match placeholders_in(text.get_ref()) {
        Ok(names) => {
            for name in names.into_iter().filter(|name| !known.contains(name)) {
                let known: Vec<String> = known.iter().map(|name| format!("`{{{name}}}`")).collect();
                let message = format!(
                    "{place} of {} has no placeholder `{{{name}}}`; there are {}",
                    title_of(kind),
                    known.join(", ")
                );
                add_at(&[&format!("{{{name}}}")], message, text, faults);
            }
        }
        Err(stray) => {
            let line = stray.lines().next().unwrap_or_default();
            let message = format!(
                "the brace of `{line}` belongs to no placeholder; a placeholder is a name in braces"
            );
            add_at(&[stray, line], message, text, faults);
        }
    }
}

/// Notes a fault where the first of `parts` that is found stands in `text` as it
/// is written; at the text's beginning if all are written with escapes.
fn add_at(parts: &[&str], message: String, text: &Name, faults: &mut Faults<'_>) {
    let span = text.span();
    let written = faults.written(span.clone());
    let offset = parts.iter().find_map(|part| written.find(part));
    let start = span.start.saturating_add(offset.unwrap_or(0));
    faults.add(start..span.end, message);
}
