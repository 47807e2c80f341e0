//! Text that people write: display names, descriptions, addresses.
//!
//! It is shown to other people, so what could deceive them is refused rather
//! than repaired: control characters, bidirectional overrides, invisible
//! characters at the ends. Nothing here is ever compared to decide a right.

/// The longest display name, in characters.
pub const MAX_NAME_CHARACTERS: usize = 128;
/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARACTERS: usize = 1_024;
/// The longest text of a policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 8 * 1_024;
/// The longest address, in bytes (RFC 5321, section 4.5.3.1.3, less the brackets).
pub const MAX_ADDRESS_BYTES: usize = 254;

/// Says why `candidate` is no display name, or nothing if it is one.
pub fn name_fault(candidate: &str) -> Option<String> {
    if candidate.trim().is_empty() {
        return Some("must not be empty".to_owned());
    }
    text_fault(candidate, MAX_NAME_CHARACTERS, false)
}

/// Says why `candidate` is no description, or nothing if it is one. Empty is allowed.
pub fn description_fault(candidate: &str) -> Option<String> {
    text_fault(candidate, MAX_DESCRIPTION_CHARACTERS, true)
}

/// Says why `candidate` can't be the text of a policy, whatever its grammar.
pub fn policy_fault(candidate: &str) -> Option<String> {
    if candidate.is_empty() {
        return Some("must not be empty".to_owned());
    }
    if candidate.len() > MAX_POLICY_BYTES {
        return Some(format!(
            "must be at most {MAX_POLICY_BYTES} bytes, not {}",
            candidate.len()
        ));
    }
    candidate
        .chars()
        .find(|character| is_deceptive(*character) && !matches!(character, '\n' | '\r' | '\t'))
        .map(|character| {
            format!(
                "must not contain the character {}; write it as an escape",
                character.escape_unicode()
            )
        })
}

/// The text with every character that could deceive its reader written as an escape.
pub fn without_deception(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Says why `candidate` is no e-mail address of exactly one recipient.
pub fn address_fault(candidate: &str) -> Option<String> {
    if candidate.len() > MAX_ADDRESS_BYTES {
        return Some(format!("must be at most {MAX_ADDRESS_BYTES} bytes"));
    }
    let single = candidate
        .split_once('@')
        .is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
    (!single).then(|| "must be one address of the form `name@domain`".to_owned())
}

/// An address as two spellings of it compare: ASCII letters in lower case. Whatever
/// else a provider may ignore, such as dots or what follows a `+`, makes it another
/// address here.
pub fn folded_address(address: &str) -> String {
    address.to_ascii_lowercase()
}

fn is_local_part(local: &str) -> bool {
    !local.is_empty()
        && local.len() <= 64
        && local.chars().all(|character| {
            !character.is_whitespace()
                && !is_deceptive(character)
                && !"@,;<>\"\\()[]".contains(character)
        })
}

fn is_domain(domain: &str) -> bool {
    !domain.is_empty()
        && domain.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|character| character == '-' || character.is_alphanumeric())
        })
}

fn text_fault(candidate: &str, most_characters: usize, multiline: bool) -> Option<String> {
    let length = candidate.chars().count();
    if length > most_characters {
        return Some(format!(
            "must be at most {most_characters} characters, not {length}"
        ));
    }
    if candidate.trim() != candidate {
        return Some("must not begin or end with white space".to_owned());
    }
    candidate
        .chars()
        .find(|character| {
            is_deceptive(*character) && !(multiline && matches!(character, '\n' | '\t'))
        })
        .map(|character| {
            format!(
                "must not contain the character {}",
                character.escape_unicode()
            )
        })
}

/// Characters that hide, reorder or break the text around them.
pub(super) fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_in_any_script_but_not_deceptive() {
        for accepted in [
            "Riley Park",
            "\u{738b}\u{5c0f}\u{660e}",
            "O'Neil \"Ops\"; permit(principal,action,resource);//",
        ] {
            assert_eq!(name_fault(accepted), None, "{accepted:?}");
        }
        for refused in [
            "",
            "  ",
            " a",
            "a\u{a0}",
            "a\nb",
            "a\0",
            "abc\u{202e}def",
            "\u{feff}a",
            &"n".repeat(129),
        ] {
            assert!(name_fault(refused).is_some(), "accepted {refused:?}");
        }
    }

    #[test]
    fn an_address_names_exactly_one_recipient() {
        for accepted in ["a@x.example", "a+1@gmail.com", "Bob@X.com"] {
            assert_eq!(address_fault(accepted), None, "{accepted:?}");
        }
        for refused in [
            "",
            "a",
            "a@",
            "@x",
            "a@x,b@y",
            "a@x b@y",
            "a@x\r\nBcc: b@y",
            "a@x\0",
            " a@x",
            "a@@x",
            "a@x..y",
        ] {
            assert!(address_fault(refused).is_some(), "accepted {refused:?}");
        }
    }
}
