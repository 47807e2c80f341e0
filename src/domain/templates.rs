//! The words of notifications, and how facts are put into them.
//!
//! A [`Template`] is plain text with `{placeholders}`. Values are inserted once:
//! what a value holds is never read as a placeholder again. Names, roles and
//! messages are written by people whom the reader may not know, and the mail
//! comes in the product's name, so such a value can't become a link, markup or
//! a line of its own:
//!
//! - characters that hide, reorder or break text are dropped, and line breaks
//!   become spaces, except in the body those of `{message}`;
//! - `<` and `>` become `‹` and `›`;
//! - a space is put behind a dot between two words and behind a colon before a
//!   letter or a slash: `https://evil.example` reads `https: //evil. example`,
//!   which no mail program makes a link of. A value that is one plain e-mail
//!   address, and nothing else, stays as it is.
//!
//! What the catalog and the daemon write themselves ([`VERBATIM`], the link
//! among it) is inserted as it is.

use std::collections::BTreeMap;

use super::organization::NotificationKind;
use super::text::{address_fault, is_deceptive};

/// Facts that nobody on a team writes: inserted as they are.
pub const VERBATIM: &[&str] = &["product", "organization_word", "link", "expires"];

/// Facts that stand in the body only: a link is a secret, and subjects are shown
/// on locked screens; a message may have several lines.
pub const BODY_ONLY: &[&str] = &["link", "message"];

/// The words of every notification of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    invitation: Template,
    role_changed: Template,
    member_removed: Template,
    member_suspended: Template,
    member_reinstated: Template,
    transfer_offered: Template,
    ownership_transferred: Template,
}

/// The words of one kind of notification, with `{placeholders}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

impl Templates {
    /// The templates of all kinds; nothing if that of a kind is missing.
    pub fn complete(mut by_kind: BTreeMap<NotificationKind, Template>) -> Option<Self> {
        Some(Self {
            invitation: by_kind.remove(&NotificationKind::Invitation)?,
            role_changed: by_kind.remove(&NotificationKind::RoleChanged)?,
            member_removed: by_kind.remove(&NotificationKind::MemberRemoved)?,
            member_suspended: by_kind.remove(&NotificationKind::MemberSuspended)?,
            member_reinstated: by_kind.remove(&NotificationKind::MemberReinstated)?,
            transfer_offered: by_kind.remove(&NotificationKind::TransferOffered)?,
            ownership_transferred: by_kind.remove(&NotificationKind::OwnershipTransferred)?,
        })
    }

    /// The template of a kind.
    pub fn of(&self, kind: NotificationKind) -> &Template {
        match kind {
            NotificationKind::Invitation => &self.invitation,
            NotificationKind::RoleChanged => &self.role_changed,
            NotificationKind::MemberRemoved => &self.member_removed,
            NotificationKind::MemberSuspended => &self.member_suspended,
            NotificationKind::MemberReinstated => &self.member_reinstated,
            NotificationKind::TransferOffered => &self.transfer_offered,
            NotificationKind::OwnershipTransferred => &self.ownership_transferred,
        }
    }
}

impl NotificationKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Invitation,
        Self::RoleChanged,
        Self::MemberRemoved,
        Self::MemberSuspended,
        Self::MemberReinstated,
        Self::TransferOffered,
        Self::OwnershipTransferred,
    ];

    /// The kind as catalogs spell it, such as `role-changed`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::RoleChanged => "role-changed",
            Self::MemberRemoved => "member-removed",
            Self::MemberSuspended => "member-suspended",
            Self::MemberReinstated => "member-reinstated",
            Self::TransferOffered => "transfer-offered",
            Self::OwnershipTransferred => "ownership-transferred",
        }
    }

    /// The kind that catalogs spell so.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The facts that a notification of this kind carries, and so the
    /// placeholders that its template may have.
    ///
    /// `user` is whom it is about: the member, whom the ownership is offered to,
    /// the new owner. `by` is whoever did it: the actor, the old owner. A fact
    /// that isn't known (no name, no message) is left out or empty.
    pub fn placeholders(self) -> &'static [&'static str] {
        match self {
            Self::Invitation => &[
                "organization",
                "product",
                "organization_word",
                "inviter",
                "invitee",
                "roles",
                "message",
                "link",
                "expires",
            ],
            Self::RoleChanged => &[
                "organization",
                "product",
                "organization_word",
                "user",
                "by",
                "roles",
            ],
            Self::MemberRemoved
            | Self::MemberSuspended
            | Self::MemberReinstated
            | Self::OwnershipTransferred => {
                &["organization", "product", "organization_word", "user", "by"]
            }
            Self::TransferOffered => &[
                "organization",
                "product",
                "organization_word",
                "user",
                "by",
                "link",
                "expires",
            ],
        }
    }

    /// Whether the reader can do nothing without the link.
    pub fn needs_link(self) -> bool {
        self.placeholders().contains(&"link")
    }
}

impl Template {
    /// Subject and body with `facts` in them; a placeholder without a fact is empty.
    ///
    /// A line of the body whose placeholders are all empty is left out, and so is
    /// the blank line behind it. Further lines of a message begin as the line
    /// with its placeholder does, so that `> {message}` quotes all of it.
    pub fn render(&self, facts: &BTreeMap<String, String>) -> (String, String) {
        let subject = fill(&self.subject, |name, _| {
            one_line(&sanitised(name, fact(facts, name)))
        });
        let mut body: Vec<String> = Vec::new();
        let mut left_out = false;
        for line in self.body.lines() {
            let blank = line.trim().is_empty();
            if blank && left_out && body.last().is_none_or(|last| last.is_empty()) {
                continue;
            }
            left_out = has_only_empty(line, facts);
            if !left_out {
                body.push(fill(line, |name, before| {
                    let value = sanitised(name, fact(facts, name));
                    match name {
                        "message" => value.replace('\n', &format!("\n{before}")),
                        _ => one_line(&value),
                    }
                }));
            }
        }
        body.push(String::new());
        (subject.trim().to_owned(), body.join("\n"))
    }
}

/// The names of all placeholders in `template`, in order; [`Err`] with the text
/// from a brace on that opens or closes no placeholder.
pub fn placeholders_in(template: &str) -> Result<Vec<&str>, &str> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find(['{', '}']) {
        let from_brace = rest.get(start..).unwrap_or_default();
        let inside = from_brace.strip_prefix('{').ok_or(from_brace)?;
        let end = inside.find(['{', '}']).ok_or(from_brace)?;
        let after = inside
            .get(end..)
            .and_then(|tail| tail.strip_prefix('}'))
            .ok_or(from_brace)?;
        names.push(inside.get(..end).unwrap_or_default());
        rest = after;
    }
    Ok(names)
}

fn fact<'f>(facts: &'f BTreeMap<String, String>, name: &str) -> &'f str {
    facts.get(name).map_or("", |value| value.trim())
}

fn has_only_empty(line: &str, facts: &BTreeMap<String, String>) -> bool {
    placeholders_in(line).is_ok_and(|names| {
        !names.is_empty() && names.iter().all(|name| fact(facts, name).is_empty())
    })
}

/// `template` with each placeholder replaced by what `value` says of its name
/// and of what stands before it by then. Braces that are no placeholder stay.
fn fill(template: &str, value: impl Fn(&str, &str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, from_brace)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, after)) = from_brace.split_once('}') else {
            filled.push('{');
            rest = from_brace;
            continue;
        };
        let inserted = value(name, &filled);
        filled.push_str(&inserted);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn one_line(value: &str) -> String {
    value
        .chars()
        .map(|character| if character == '\n' { ' ' } else { character })
        .filter(|character| !character.is_control())
        .collect()
}

/// `value` so that it can be neither link nor markup; see the module.
fn sanitised(name: &str, value: &str) -> String {
    if VERBATIM.contains(&name) {
        return value.to_owned();
    }
    let visible: String = value
        .replace("\r\n", "\n")
        .chars()
        .filter_map(|character| match character {
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => Some('\n'),
            '\t' => Some(' '),
            '<' => Some('‹'),
            '>' => Some('›'),
            other => (!is_deceptive(other)).then_some(other),
        })
        .collect();
    if is_plain_address(&visible) {
        return visible;
    }
    let mut text = String::with_capacity(visible.len());
    let mut before = None;
    let mut characters = visible.chars().peekable();
    while let Some(character) = characters.next() {
        text.push(character);
        let next = characters.peek().copied();
        if joins_a_link(before, character, next) {
            text.push(' ');
        }
        before = Some(character);
    }
    text
}

/// Whether `character` between these two could hold a link together. Besides the
/// dot, those which browsers take for one (UTS #46).
fn joins_a_link(before: Option<char>, character: char, next: Option<char>) -> bool {
    let starts_word = next.is_some_and(|next| next.is_alphanumeric() || next == '_');
    match character {
        '.' | '\u{2024}' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => {
            starts_word && before.is_some_and(|before| !before.is_whitespace())
        }
        ':' | '\u{ff1a}' => {
            next.is_some_and(|next| next.is_alphabetic() || "/\\\u{ff0f}".contains(next))
        }
        _ => false,
    }
}

/// Whether `value` is one e-mail address that can't be mistaken for a link to
/// anything else.
fn is_plain_address(value: &str) -> bool {
    address_fault(value).is_none()
        && value
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "@.+-_".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(subject: &str, body: &str, facts: &[(&str, &str)]) -> (String, String) {
        let template = Template {
            subject: subject.to_owned(),
            body: body.to_owned(),
        };
        template.render(
            &facts
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn inserted(name: &str, value: &str) -> String {
        let (_, body) = rendered("-", &format!("{{{name}}}"), &[(name, value)]);
        body.trim_end().to_owned()
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for kind in NotificationKind::ALL {
            assert_eq!(NotificationKind::of_word(kind.word()), Some(kind));
        }
        assert_eq!(NotificationKind::of_word("RoleChanged"), None);
    }

    #[test]
    fn a_set_of_templates_has_all_kinds_or_is_none() {
        let template = |kind: NotificationKind| Template {
            subject: kind.word().to_owned(),
            body: String::new(),
        };
        let all: BTreeMap<_, _> = NotificationKind::ALL
            .into_iter()
            .map(|kind| (kind, template(kind)))
            .collect();
        let mut without_one = all.clone();
        without_one.remove(&NotificationKind::RoleChanged);

        let templates = Templates::complete(all).unwrap();

        for kind in NotificationKind::ALL {
            assert_eq!(*templates.of(kind), template(kind));
        }
        assert_eq!(Templates::complete(without_one), None);
    }

    #[test]
    fn values_are_inserted_once() {
        let facts = [("inviter", "{link}"), ("link", "https://x.example/{by}")];

        let (subject, body) = rendered("From {inviter}", "{inviter}: {link}", &facts);

        assert_eq!(subject, "From {link}");
        assert_eq!(body, "{link}: https://x.example/{by}\n");
    }

    #[test]
    fn a_fact_that_is_missing_is_empty_and_takes_its_line_along() {
        let body = "Hello {invitee}\n\n> {message}\n\nRoles: {roles} ({by})\n\nBye\n";

        let (subject, filled) = rendered("{inviter} invites", body, &[("roles", "Admin")]);

        assert_eq!(subject, "invites");
        assert_eq!(filled, "Roles: Admin ()\n\nBye\n");
    }

    #[test]
    fn a_value_can_not_add_lines_to_subject_or_body() {
        let name = "Ann\r\nBcc: eve@x.example\u{0}\n\nYour account is closed\u{2028}now\u{85}";

        let (subject, body) = rendered("{by} says", "{by} says", &[("by", name)]);

        let wanted = "Ann Bcc: eve@x. example  Your account is closed now says";
        assert_eq!(subject, wanted);
        assert_eq!(body, format!("{wanted}\n"));
    }

    #[test]
    fn every_line_of_a_message_is_quoted_like_its_first() {
        let facts = [("message", "Hi\r\n\r\nsee you")];

        let (_, body) = rendered("-", "They say:\n> {message}\nBye", &facts);

        assert_eq!(body, "They say:\n> Hi\n> \n> see you\nBye\n");
    }

    #[test]
    fn a_name_can_be_no_link() {
        for (name, wanted) in [
            ("https://evil.example/a", "https: //evil. example/a"),
            ("http:\\\\evil.example", "http: \\\\evil. example"),
            ("www.evil.example", "www. evil. example"),
            ("evil\u{200b}.\u{2060}example", "evil. example"),
            ("evil\u{3002}example", "evil\u{3002} example"),
            ("i\u{2764}.example", "i\u{2764}. example"),
            ("http://10.0.0.1/", "http: //10. 0. 0. 1/"),
            ("[x](javascript:alert(1))", "[x](javascript: alert(1))"),
            ("mailto:eve@x.example", "mailto: eve@x. example"),
            (
                "https://evil.example/a@x.example",
                "https: //evil. example/a@x. example",
            ),
            (
                "<a href=\"//evil.example\">x</a>",
                "‹a href=\"//evil. example\"›x‹/a›",
            ),
        ] {
            assert_eq!(inserted("inviter", name), wanted);
        }
    }

    #[test]
    fn usual_names_stay_as_they_are() {
        for name in [
            "Riley Park",
            "O'Neil & Sons, Inc.",
            "Dr. J. R. Smith",
            "Team: Ops 24:7",
            "\u{738b}\u{5c0f}\u{660e}",
            "ann.lee+ops@mail.example",
        ] {
            assert_eq!(inserted("user", name), name);
        }
    }

    #[test]
    fn what_the_daemon_writes_is_inserted_as_it_is() {
        let link = "https://app.example/join?token=a.b-c_d%3D&x=<1>";

        assert_eq!(inserted("link", link), link);
        assert_eq!(inserted("product", "OEC.SH"), "OEC.SH");
        assert_eq!(
            inserted("expires", "2026-01-01T00:00:00Z"),
            "2026-01-01T00:00:00Z"
        );
    }

    #[test]
    fn placeholders_are_found_and_stray_braces_told() {
        assert_eq!(placeholders_in("{a} and {b}{a}"), Ok(vec!["a", "b", "a"]));
        assert_eq!(placeholders_in("none"), Ok(vec![]));
        assert_eq!(placeholders_in("{a"), Err("{a"));
        assert_eq!(placeholders_in("{{a}}"), Err("{{a}}"));
        assert_eq!(placeholders_in("a} b"), Err("} b"));
    }
}
