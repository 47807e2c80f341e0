//! That faulty team rules and plans are refused; see `faults.rs` for what a case is.

use super::faults::{HEAD, PLAN, REST, TEAM, assert_faults, assert_faults_in, faults_of};

#[test]
fn team_rules_fit_together() {
    assert_faults(&format!(
        "title = \"Test\"\norganization_word = \"team\"\n{}{REST}{PLAN}{}",
        "[team] # ! set `project_roles` as well ! need projects\ncustom_roles = \"always\"\n\
         built_in_roles_editable = false\nproject_roles = false\noverrides = true\ndefault_roles = true\n",
        "[[roles]]\nid = \"local\"\ntitle = \"Local\"\non = [\"project\"] # ! no roles on projects\n",
    ));
}

#[test]
fn every_team_rule_must_be_decided() {
    let full = format!("{HEAD}{TEAM}{REST}{PLAN}");
    let (rules, roles) = REST.split_once("[[roles]]").unwrap();
    let decided: Vec<&str> = TEAM
        .lines()
        .chain(rules.lines())
        .filter(|line| line.contains(" = "))
        .collect();
    assert_eq!(decided.len(), 19);

    for line in decided {
        let key = line.split_once(" = ").unwrap().0;

        let faults = faults_of("test", &full.replacen(&format!("{line}\n"), "", 1));

        assert_eq!(faults.len(), 1, "{key}: {faults:?}");
        assert!(
            faults[0]
                .message
                .ends_with(&format!("has no `{key}`; add it")),
            "{}",
            faults[0]
        );
    }
    let (without_transfer, _) = rules.split_once("[team.transfer]").unwrap();
    assert_faults(
        &format!("{HEAD}{TEAM}{without_transfer}[[roles]]{roles}{PLAN}")
            .replace("[team]", "[team] # ! `team` has no `transfer`"),
    );
}

#[test]
fn words_and_numbers_of_team_rules_are_checked() {
    assert_faults(&format!(
        "{HEAD}{TEAM}{}{PLAN}",
        r#"
invitations = { feature = "invitations" } # ! no plan has the feature `invitations`
invitation_hours = 0 # ! must be a whole number from 1 to 2160
seats = "always" # ! `seats` can't be `always`; use `at-acceptance` or `at-invitation`
groups = true # ! `groups` must be text
tokens = "sometimes" # ! `sometimes` is no offer
service_accounts = "" # ! must not be empty
guardrails = 1 # ! `guardrails` must be text
self_changes = "no" # ! must be true or false
notifications = ["invitation", "Invitation", "invitation"] # ! `Invitation` is no notification; use `invitation`, `role-changed`, ! stands twice
[team.transfer]
mode = "two_step" # ! `mode` can't be `two_step`; use `immediate`, `two-step` or `platform-only`
old_owner_becomes = "" # ! must not be empty
target_roles = "admin" # ! must be a list
to_address = 1 # ! must be true or false
days = 91 # ! must be a whole number from 1 to 90
"#
    ));
    for (written, wrong) in [
        ("invitation_hours = 72", "invitation_hours = 2161"),
        ("invitation_hours = 72", "invitation_hours = -1"),
        ("invitation_hours = 72", "invitation_hours = 1.5"),
        ("invitation_hours = 72", "invitation_hours = \"72\""),
        (
            "invitation_hours = 72",
            "invitation_hours = 99999999999999999999",
        ),
        ("days = 7", "days = 0"),
    ] {
        let rest = REST.replace(written, &format!("{wrong} # ! must be a whole number"));
        assert_faults(&format!("{HEAD}{TEAM}{rest}{PLAN}"));
    }
}

#[test]
fn roles_of_a_transfer_are_held_on_the_organization() {
    let rest = REST
        .replace(
            "old_owner_becomes = \"keeper\"",
            "old_owner_becomes = \"owner\" # ! there is no role `owner`",
        )
        .replace(
            "target_roles = [\"keeper\"]",
            "target_roles = [\"keeper\", \"Keeper\", \"local\"] # ! no role `Keeper` ! `local` is held on projects only",
        );
    let local = "[[roles]]\nid = \"local\"\ntitle = \"Local\"\non = [\"project\"]\n";

    assert_faults(&format!("{HEAD}{TEAM}{rest}{PLAN}{local}"));
}

#[test]
fn only_a_transfer_in_two_steps_waits_and_goes_to_an_address() {
    for mode in ["immediate", "platform-only"] {
        let other = REST.replace("two-step", mode);
        let marked = other
            .replace(
                "to_address = true",
                "to_address = true # ! set `mode` to `two-step`",
            )
            .replace("days = 7", "days = 7 # ! remove `days`");
        let fitting = other
            .replace("to_address = true", "to_address = false")
            .replace("days = 7", "");

        assert_faults(&format!("{HEAD}{TEAM}{marked}{PLAN}"));
        assert_faults(&format!("{HEAD}{TEAM}{fitting}{PLAN}"));
    }
}

#[test]
fn a_limit_on_members_is_at_least_one() {
    assert_faults_in("[[plans]]\nid = \"one\"\ntitle = \"One\"\nmembers = 1\n");
    for wrong in ["0", "-1", "\"many\"", "10_000_001"] {
        assert_faults_in(&format!(
            "[[plans]]\nid = \"x\"\ntitle = \"X\"\nmembers = {wrong} # ! from 1 to 10000000\n"
        ));
    }
}
