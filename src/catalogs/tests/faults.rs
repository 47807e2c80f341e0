//! That a faulty catalog is refused with every fault, each at its line.
//!
//! A case is a catalog whose faulty lines end in `# ! part of the message`,
//! with another `!` for each further fault of the line. The faults found must
//! be exactly those.

use std::fmt::Write as _;

use super::faults_of_words::assert_faults_of_words;
use super::shipped::repository;
use crate::catalogs::fault::CatalogFault;
use crate::catalogs::folder::{File, Folder};
use crate::catalogs::reading::{read_base, read_catalog};
use crate::catalogs::{base, load_folder};

pub(super) const HEAD: &str = r#"
title = "Test"
organization_word = "team"
project_word = "project"
"#;

pub(super) const TEAM: &str = r#"
[team]
custom_roles = "never"
built_in_roles_editable = false
project_roles = true
overrides = true
default_roles = true
"#;

/// What stands behind the first keys of `[team]`.
pub(super) const REST: &str = r#"
invitations = "always"
invitation_hours = 72
seats = "at-acceptance"
groups = "always"
tokens = "never"
service_accounts = "never"
guardrails = "never"
self_changes = false
notifications = ["invitation", "role-changed"]
[team.transfer]
mode = "two-step"
old_owner_becomes = "keeper"
target_roles = ["keeper"]
to_address = true
days = 7
[[roles]]
id = "keeper"
title = "Keeper"
on = ["organization"]
"#;

pub(super) const PLAN: &str = r#"
[[plans]]
id = "free"
title = "Free"
"#;

pub(super) fn folder(name: &str, text: &str) -> Folder {
    Folder {
        name: name.to_owned(),
        catalog: File {
            path: "catalog.toml".to_owned(),
            text: text.to_owned(),
        },
        rules: None,
        notifications: None,
    }
}

pub(super) fn faults_of(name: &str, text: &str) -> Vec<CatalogFault> {
    read_catalog(&base().unwrap(), &folder(name, text))
        .err()
        .unwrap_or_default()
}

pub(super) fn marked(text: &str) -> Vec<(usize, &str)> {
    let lines = (1..)
        .zip(text.lines())
        .filter_map(|(line, text)| Some((line, text.split_once("# ! ")?.1)));
    lines
        .flat_map(|(line, marks)| marks.split(" ! ").map(move |mark| (line, mark)))
        .collect()
}

/// Asserts that `text` has exactly the faults that it is marked with.
pub(super) fn assert_faults(text: &str) {
    assert_fits(&faults_of("test", text), &marked(text));
}

pub(super) fn assert_fits(found: &[CatalogFault], wanted: &[(usize, &str)]) {
    let fits = found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|(found, (line, part))| found.line == *line && found.message.contains(part));
    let shown = found
        .iter()
        .map(|fault| format!("{fault}\n"))
        .collect::<String>();
    assert!(fits, "wanted {wanted:#?}\nfound:\n{shown}");
}

pub(super) fn assert_faults_in(middle: &str) {
    assert_faults(&format!("{HEAD}{TEAM}{REST}{PLAN}{middle}"));
}

#[test]
fn a_complete_catalog_has_no_fault() {
    assert_faults_in("");
}

#[test]
fn a_fault_shows_path_line_column_and_what_to_do() {
    let faults = faults_of("test", &format!("{HEAD}titel = \"é\"\n{TEAM}{REST}{PLAN}"));

    assert_eq!(faults.len(), 1);
    let shown = faults[0].to_string();
    assert!(
        shown.starts_with(
            "catalog.toml:5:1: a catalog has no key `titel`; its keys are `actions`, "
        ),
        "{shown}"
    );
}

#[test]
fn the_column_counts_characters_from_one() {
    let faults = faults_of(
        "test",
        &format!("{HEAD}{TEAM}{REST}{PLAN}[types]\nBed = {{ title = \"éé\", colour = 1 }}\n"),
    );

    assert_eq!(
        faults.iter().map(|fault| fault.column).collect::<Vec<_>>(),
        [23]
    );
}

#[test]
fn an_empty_file_lacks_everything_at_once() {
    let messages: Vec<String> = faults_of("test", "")
        .into_iter()
        .map(|fault| fault.message)
        .collect();

    for missing in [
        "no `title`",
        "no `organization_word`",
        "no `team`",
        "at least one plan",
    ] {
        assert!(
            messages.iter().any(|message| message.contains(missing)),
            "{missing} not in {messages:?}"
        );
    }
}

#[test]
fn syntax_is_reported_before_meaning() {
    let faults = faults_of("test", "title = \"Test\"\nfoo = \n[team\n");

    assert!(
        faults
            .iter()
            .all(|fault| fault.message.starts_with("is not TOML: ")),
        "{faults:?}"
    );
    assert_eq!(
        faults.iter().map(|fault| fault.line).collect::<Vec<_>>(),
        [2, 3]
    );
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    let head = r#"
title = "Test"
organization_word = "team"
colour = "red" # ! no key `colour`
[team]
custom_roles = { feature = "x", price = 3 } # ! no plan has the feature `x` ! no key `price`
built_in_roles_editable = false
project_roles = false
overrides = false
default_roles = false
chairs = 3 # ! no key `chairs`
"#;
    let body = r#"
until = 7 # ! no key `until`
[types]
Bed = { title = "Bed", size = 1 } # ! no key `size`
[actions]
Dig = { title = "Dig", level = "account", on = ["Bed"], imply = [] } # ! no key `imply`
[conditions]
wet = { title = "wet", attribute_is_true = "wet", not = true } # ! no type has an attribute `wet` ! no key `not`
[[plans]]
id = "free"
title = "Free"
price = 0 # ! no key `price`
[[roles]]
id = "digger"
title = "Digger"
on = ["organization"]
deny = [] # ! no key `deny`
[[roles.when]]
condition = "wet"
action = [] # ! no key `action`
"#;
    let (rest, keeper) = REST.split_once("[[roles]]").unwrap();
    assert_faults(&format!("{head}{rest}{body}[[roles]]{keeper}"));
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let head = r#"
title = 3 # ! `title` must be text
organization_word = " " # ! `organization_word` must not be empty
[team]
custom_roles = "sometimes" # ! `sometimes` is no offer
built_in_roles_editable = "no" # ! must be true or false
project_roles = false
overrides = false
default_roles = false
"#;
    let body = r#"
[types]
Bed = 3 # ! type `Bed` must be a table
[actions]
Dig = { title = "", level = "house", on = "Bed" } # ! applies to no type ! must not be empty ! `house` is no level ! `on` must be a list
[[plans]]
id = "free"
title = "Free"
features = ["a", 3] # ! `features` must be text
"#;
    assert_faults(&format!("{head}{REST}{body}"));
}

#[test]
fn names_must_be_words_of_a_schema_and_not_reserved() {
    assert_faults_in(
        r#"
[types]
bed = { title = "Bed" } # ! `bed` can't be a type
"Flower Bed" = { title = "Bed" } # ! `Flower Bed` can't be a type
User = { title = "User" } # ! `User` is a word of Roster or Cedar
Organization = { title = "Organization" } # ! `Organization` is a word of Roster or Cedar
[types.Bed]
title = "Bed"
[types.Bed.attributes]
owner = "user" # ! `owner` is a word of Roster or Cedar
project = "string" # ! `project` is a word of Roster or Cedar
user = "user" # ! `user` is a word of Roster or Cedar
like = "bool" # ! `like` is a word of Roster or Cedar
"a b" = "bool" # ! `a b` can't be an attribute
__cedar = "bool" # ! `__cedar` can't be an attribute
size = "number" # ! `number` is no type of a value
depth = "set<number>?" # ! `set<number>?` is no type of a value
width = 3 # ! `width` must be text
[actions]
dig = { title = "Dig", level = "account", on = ["Bed"] } # ! `dig` can't be an action
"Dig()" = { title = "Dig", level = "account", on = ["Bed"] } # ! `Dig()` can't be an action
InviteMember = { title = "Dig", level = "account", on = ["Bed"] } # ! one of Roster's own actions
[titles]
Dig = "Dig" # ! none of Roster's own actions
InviteMember = "" # ! must not be empty
[conditions]
"a b" = { title = "x", attribute_is_true = "x" } # ! the id `a b` must be visible ASCII
[[roles]]
id = "a b" # ! the id `a b` must be visible ASCII
title = "A"
on = ["organization"]
"#,
    );
}

#[test]
fn every_name_must_point_at_something() {
    assert_faults_in(
        r#"
[types]
Bed = { title = "Bed" }
[actions]
Dig = { title = "Dig", level = "project", on = ["Bad"], implies = ["Dog"] } # ! no type `Bad` ! no action `Dog`
[[roles]]
id = "digger"
title = "Digger"
on = ["organization", "planet"] # ! can't be held on `planet`
every = ["galaxy"] # ! `galaxy` is no level
actions = ["Dug"] # ! no action `Dug`
own = ["Dog"] # ! no action `Dog`
[[roles.when]]
condition = "wet" # ! no condition `wet`
actions = ["Deg", "Dig"] # ! no action `Deg`
"#,
    );
}

#[test]
fn nothing_stands_twice() {
    assert_faults_in(
        r#"
[types]
Bed = { title = "Bed" }
Bed = { title = "Bed" } # ! stands twice
[actions]
Dig = { title = "Dig", level = "project", on = ["Bed", "Bed"] } # ! `Bed` stands twice in `on`
[[roles]]
id = "digger"
title = "Digger"
on = ["organization"]
actions = ["Dig", "ViewProject", "Dig"] # ! `Dig` stands twice in `actions`
own = ["Dig"] # ! already granted on every resource
[[roles]]
id = "digger" # ! two roles `digger`
title = "Digger"
on = ["organization"]
[[plans]]
id = "free" # ! two plans `free`
title = "Free"
"#,
    );
}

#[test]
fn levels_are_kept_apart() {
    assert_faults_in(
        r#"
[types]
Bed = { title = "Bed" }
[actions]
Dig = { title = "Dig", level = "project", on = ["Bed", "Organization"] } # ! can't be asked of `Organization`
Hire = { title = "Hire", level = "project", on = ["Member"] } # ! can't be asked of `Member`
Plan = { title = "Plan", level = "project", on = ["Project"], implies = ["CreateProject"] }
Rule = { title = "Rule", level = "project", on = ["Project"], implies = ["SetProjectOverride"] } # ! can't imply `SetProjectOverride`
Hide = { title = "Hide", level = "project", on = ["Project"], implies = ["Lead"] } # ! can't imply `SetProjectOverride`
Lead = { title = "Lead", level = "account", on = ["Organization"], implies = ["SetProjectOverride", "Dig"] }
[[roles]]
id = "local"
title = "Local"
on = ["project"]
every = ["account", "project"] # ! can't have account-level actions
actions = ["Plan", "InviteMember"] # ! `InviteMember` is account-level
"#,
    );
}

#[test]
fn implications_may_run_in_circles() {
    assert_faults_in(
        r#"
[actions]
A = { title = "A", level = "account", on = ["Organization"], implies = ["B"] }
B = { title = "B", level = "account", on = ["Organization"], implies = ["A", "B"] }
"#,
    );
}

#[test]
fn a_condition_needs_an_attribute_of_its_kind() {
    assert_faults_in(
        r#"
[types]
Bed = { title = "Bed", attributes = { wet = "bool?", tended_by = "set<user>", size = "long" } }
Pot = { title = "Pot", attributes = { wet = "string" } }
[actions]
Dig = { title = "Dig", level = "project", on = ["Bed"] }
Turn = { title = "Turn", level = "project", on = ["Pot", "Project"] }
[conditions.wet]
title = "wet"
attribute_is_true = "wet" # ! `wet` of type `Pot` is no bool
[conditions.dry]
title = "dry"
attribute_is_true = "dry" # ! no type has an attribute `dry`
[conditions.tended]
title = "tended"
attribute_contains_principal = "tended_by"
[conditions.large]
title = "large"
attribute_contains_principal = "size" # ! `size` of type `Bed` is no set<user>
[conditions.vague] # ! needs `attribute_is_true` or `attribute_contains_principal`
title = "vague"
[conditions.both] # ! needs `attribute_is_true` or `attribute_contains_principal`
title = "both"
attribute_is_true = "wet"
attribute_contains_principal = "tended_by"
[[roles]]
id = "digger"
title = "Digger"
on = ["organization"]
own = ["Dig", "InviteMember", "UpdateProject"] # ! `InviteMember` is asked of no type for which this can hold ! `UpdateProject` is asked
[[roles.when]]
condition = "tended"
actions = ["Dig", "Turn"] # ! `Turn` is asked of no type for which this can hold
"#,
    );
}

#[test]
fn the_owners_role_is_reserved() {
    assert_faults_in(
        r#"
[[roles]]
id = "owner" # ! `owner` is the owner's alone
title = "Boss"
on = ["organization"]
[[roles]]
id = "boss"
title = "Owner" # ! `Owner` is the owner's alone
on = ["organization"]
[[roles]] # ! a role is held somewhere
id = "nowhere"
title = "Nowhere"
on = []
"#,
    );
}

#[test]
fn a_catalog_has_room_for_65_000_actions() {
    let mut text = format!("{HEAD}{TEAM}{REST}{PLAN}[actions]\n");
    for number in 0..65_000 {
        writeln!(
            text,
            "A{number} = {{ title = \"A\", level = \"account\", on = [\"Organization\"] }}"
        )
        .unwrap();
    }

    let faults = faults_of("test", &text);

    assert_eq!(faults.len(), 1);
    assert!(
        faults[0]
            .message
            .starts_with("a catalog has at most 65000 actions"),
        "{}",
        faults[0]
    );
}

#[test]
fn the_folders_name_is_the_id() {
    let text = format!("{HEAD}{TEAM}{REST}{PLAN}");

    assert!(
        faults_of("a b", &text)[0]
            .message
            .contains("the id `a b` must be visible ASCII")
    );
    assert!(
        faults_of("base", &text)[0]
            .message
            .contains("rename this one")
    );
}

#[test]
fn the_base_has_actions_and_all_words() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };

    let faults = read_base(
        &file("actions.toml", "title = \"Base\"\n[actions]\n"),
        &file("notifications.toml", "[invitation]\nsubject = \"Hello\"\n"),
    )
    .unwrap_err();

    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown[0],
        "actions.toml:1:1: a catalog has no key `title`; its keys are `actions`"
    );
    for missing in [
        "`invitation` has no `body`",
        "notifications has no `role-changed`",
    ] {
        assert!(
            shown.iter().any(|shown| shown.contains(missing)),
            "{shown:?}"
        );
    }
}

#[test]
fn a_folder_without_catalog_or_with_a_misspelled_file_is_refused() {
    let base = base().unwrap();
    let folder = tempfile::tempdir().unwrap();

    let missing = load_folder(&base, &folder.path().join("none")).unwrap_err();
    let empty = load_folder(&base, folder.path()).unwrap_err();
    std::fs::write(folder.path().join("catalog.toml"), [0xff]).unwrap();
    std::fs::write(folder.path().join("rule.cedar"), "").unwrap();
    let misspelled = load_folder(&base, folder.path()).unwrap_err();

    assert!(
        missing[0].message.starts_with("can't be read as a folder"),
        "{}",
        missing[0]
    );
    assert_eq!(empty[0].message, "is missing; every catalog has one");
    let mut messages: Vec<&str> = misspelled
        .iter()
        .map(|fault| fault.message.as_str())
        .collect();
    messages.sort_unstable();
    assert!(messages[0].starts_with("is not UTF-8"), "{messages:?}");
    assert!(
        messages[1].starts_with("is not part of a catalog"),
        "{messages:?}"
    );
}

#[test]
fn the_examples_of_the_formats_have_no_fault() {
    let readme = std::fs::read_to_string(repository("policies/README.md")).unwrap();
    let examples: Vec<&str> = readme
        .split("```toml")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();

    // The cases are for `roster catalog test`, whose test holds them to the catalog.
    let [_cases, catalog, words] = examples[..] else {
        panic!("{} examples", examples.len());
    };
    assert_faults(catalog);
    assert_faults_of_words(words);
}

#[test]
fn no_damage_to_a_catalog_stops_the_reader() {
    let base = base().unwrap();
    for product in ["greenhouse", "qoc-cloud"] {
        let path = match product {
            "greenhouse" => repository("tests/fixtures/catalogs/greenhouse/catalog.toml"),
            _ => repository("policies").join(product).join("catalog.toml"),
        };
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let read = |text: String| {
            let faults = match read_catalog(&base, &folder("test", &text)) {
                Ok(_) => Vec::new(),
                Err(faults) => faults,
            };
            let last = text.lines().count() + 1;
            assert!(
                faults.iter().all(|fault| (1..=last).contains(&fault.line)),
                "{faults:?}"
            );
            assert!(
                faults
                    .iter()
                    .all(|fault| !fault.message.contains("report this")),
                "{faults:?}"
            );
        };
        for cut in 0..lines.len() {
            read(lines[..cut].join("\n"));
            read([&lines[..cut], &lines[cut + 1..]].concat().join("\n"));
            read(lines[cut..].join("\n"));
            read(text.replacen(&lines[cut].chars().take(9).collect::<String>(), "é=[{\"", 1));
        }
    }
}
