//! That a faulty `notifications.toml` is refused; see `faults.rs` for what a case is.

use super::faults::{HEAD, PLAN, REST, TEAM, assert_fits, folder, marked};
use crate::catalogs::base;
use crate::catalogs::folder::File;
use crate::catalogs::reading::read_catalog;

/// Asserts that `text` as a product's `notifications.toml` has exactly the faults
/// that it is marked with.
pub(super) fn assert_faults_of_words(text: &str) {
    let mut folder = folder("test", &format!("{HEAD}{TEAM}{REST}{PLAN}"));
    folder.notifications = Some(File {
        path: "notifications.toml".to_owned(),
        text: text.to_owned(),
    });

    let found = read_catalog(&base().unwrap(), &folder)
        .err()
        .unwrap_or_default();

    assert_fits(&found, &marked(text));
    assert!(
        found.iter().all(|fault| fault.path == "notifications.toml"),
        "{found:?}"
    );
}

#[test]
fn a_product_may_say_part_of_it_in_its_own_words() {
    assert_faults_of_words("");
    assert_faults_of_words(
        "[invitation]\nsubject = \"{inviter}: {organization}\"\n[role-changed]\nbody = \"{roles}\"\n",
    );
}

#[test]
fn words_have_known_kinds_keys_and_placeholders() {
    assert_faults_of_words(
        r#"
[welcome] # ! a file of notifications has no key `welcome`; its keys are `invitation`, 
subject = "Welcome"
[member-removed] # ! notification `member-removed` changes nothing
[member-suspended]
subject = "{user} and {roles}" # ! the subject of notification `member-suspended` has no placeholder `{roles}`; there are `{organization}`
text = "x" # ! has no key `text`
[member-reinstated]
subject = "one\ntwo" # ! must be one line
body = "" # ! `body` must not be empty
[role-changed]
subject = "a } b" # ! the brace of `} b` belongs to no placeholder
body = """
Hello {user},
you are {role} now # ! has no placeholder `{role}`
by {by}.
"""
[invitation]
subject = "{link} {message}" # ! no placeholder `{link}` ! no placeholder `{message}`
body = "{inviter} {inviter" # ! has no `{link}` ! the brace of `{inviter` belongs to no placeholder
[transfer-offered]
body = 3 # ! must be text
"#,
    );
}

#[test]
fn faults_of_both_files_are_told_together() {
    let mut folder = folder("test", "");
    folder.notifications = Some(File {
        path: "notifications.toml".to_owned(),
        text: "invitation = 3\n[".to_owned(),
    });

    let faults = read_catalog(&base().unwrap(), &folder).unwrap_err();

    assert!(faults.iter().any(|fault| fault.path == "catalog.toml"));
    assert!(
        faults
            .last()
            .unwrap()
            .to_string()
            .starts_with("notifications.toml:2:"),
        "{faults:?}"
    );
}
