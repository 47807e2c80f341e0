//! The facts of events: what an auditor needs to see besides who, what and whom.
//!
//! They are ids and moments and never names, addresses or texts, and never more
//! than fits: an event must not be what a change fails for.

use std::collections::BTreeSet;

use super::catalog::Level;
use super::identifiers::RoleId;
use super::organization::Moment;
use super::period::Period;
use super::permissions::{Permissions, When};

/// A fact: its name and its value.
pub type Fact = (&'static str, String);

/// The most rights that one fact lists; of the others it tells how many they are.
const MAX_LISTED: usize = 100;

/// When something counts: milliseconds since 1970, `..` between start and end, of which
/// either can be missing; empty for what always counts.
pub fn span(period: &Period) -> String {
    let moment = |moment: Option<Moment>| moment.map(|moment| moment.0.to_string());
    match (moment(period.not_before), moment(period.expires_at)) {
        (None, None) => String::new(),
        (from, until) => format!(
            "{}..{}",
            from.unwrap_or_default(),
            until.unwrap_or_default()
        ),
    }
}

/// When those roles count that don't always do, such as `editor=..1790000000000`;
/// nothing if there are none.
pub fn spans<'a>(periods: impl IntoIterator<Item = (&'a RoleId, &'a Period)>) -> Option<Fact> {
    let listed: Vec<String> = periods
        .into_iter()
        .map(|(role, period)| format!("{role}={}", span(period)))
        .collect();
    (!listed.is_empty()).then(|| ("periods", listed.join(",")))
}

/// Rights as a fact, such as `DeployApp,own:DeleteApp,every:project`.
pub fn granted(permissions: &Permissions) -> String {
    bounded(&rights(permissions))
}

/// What becomes of rights: those that come and those that go, if there are any.
pub fn difference(before: &Permissions, after: &Permissions) -> Vec<Fact> {
    let (before, after) = (rights(before), rights(after));
    let facts = [
        ("added", after.difference(&before).cloned().collect()),
        ("removed", before.difference(&after).cloned().collect()),
    ];
    facts
        .into_iter()
        .filter(|(_, rights): &(_, BTreeSet<String>)| !rights.is_empty())
        .map(|(name, rights)| (name, bounded(&rights)))
        .collect()
}

/// The names of fields that were edited.
pub fn fields<const COUNT: usize>(edited: [(&'static str, bool); COUNT]) -> Fact {
    let names: Vec<&str> = edited
        .into_iter()
        .filter_map(|(name, edited)| edited.then_some(name))
        .collect();
    ("fields", names.join(","))
}

fn rights(permissions: &Permissions) -> BTreeSet<String> {
    let levels = permissions.every.iter().map(|level| match level {
        Level::Account => "every:account".to_owned(),
        Level::Project => "every:project".to_owned(),
    });
    let actions = permissions.actions.iter().flat_map(|(when, actions)| {
        actions.iter().map(move |action| match when {
            When::Always => action.to_string(),
            When::Own => format!("own:{action}"),
            When::Condition(condition) => format!("{condition}:{action}"),
        })
    });
    levels.chain(actions).collect()
}

fn bounded(rights: &BTreeSet<String>) -> String {
    let mut listed: Vec<&str> = rights.iter().take(MAX_LISTED).map(String::as_str).collect();
    let more = rights.len().saturating_sub(MAX_LISTED);
    let rest = format!("+{more}");
    if more > 0 {
        listed.push(&rest);
    }
    listed.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identifiers::ActionId;

    fn allowed(when: When, actions: &[&str]) -> Permissions {
        let actions = actions.iter().map(|action| ActionId::new(*action));
        Permissions {
            every: BTreeSet::new(),
            actions: [(when, actions.collect())].into(),
        }
    }

    #[test]
    fn a_change_of_rights_tells_what_came_and_what_went() {
        let before = allowed(When::Always, &["Read", "Write"]);
        let after = allowed(When::Always, &["Read", "Deploy"]);
        let facts = [
            ("added", "Deploy".to_owned()),
            ("removed", "Write".to_owned()),
        ];
        assert_eq!(difference(&before, &after), facts);
        assert_eq!(difference(&after, &after), []);
        let own = allowed(When::Own, &["Read"]);
        assert_eq!(granted(&own), "own:Read");
    }

    #[test]
    fn a_fact_never_lists_more_than_fits() {
        let names: Vec<String> = (0..500).map(|number| format!("Action{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let listed = granted(&allowed(When::Always, &names));
        assert_eq!(listed.split(',').count(), MAX_LISTED + 1);
        assert!(listed.ends_with(",+400"), "{listed}");
    }

    #[test]
    fn a_span_tells_both_ends_or_one() {
        let period = |not_before: Option<i64>, expires_at: Option<i64>| Period {
            not_before: not_before.map(Moment),
            expires_at: expires_at.map(Moment),
        };
        assert_eq!(span(&period(None, None)), "");
        assert_eq!(span(&period(Some(1), None)), "1..");
        assert_eq!(span(&period(None, Some(2))), "..2");
        assert_eq!(span(&period(Some(1), Some(2))), "1..2");
    }
}
