//! How deep the policy of a text can be, found without parsing it.
//!
//! Cedar's parser, validator and evaluator descend into a policy by recursion, and
//! a text of a few kilobytes can nest deep enough to end the process. Measured in a
//! build without optimization, a level of brackets costs about 16 KiB of stack on
//! the way through all of them and an operator about 5 KiB; threads here have
//! 2 MiB. The limits below take half of that at worst, and no policy that a person
//! can read comes near them.

/// The deepest nesting of brackets.
const MAX_BRACKETS: usize = 20;
/// The most operators, each of which may add a level of its own.
const MAX_OPERATORS: usize = 160;

/// Words that are operators.
const WORDS: [&str; 7] = ["has", "if", "in", "is", "like", "unless", "when"];

/// Where a text nests too deep, or is too long a chain, and what is wrong there.
pub(super) fn fault(text: &str) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
    let (mut index, mut brackets, mut operators) = (0_usize, 0_usize, 0_usize);
    while index < bytes.len() {
        let begin = index;
        index += 1;
        match at(begin) {
            b'"' => match after_string(bytes, index) {
                Some(after) => index = after,
                None => return Some((begin, "the string has no end".to_owned())),
            },
            b'/' if at(index) == b'/' => {
                while index < bytes.len() && !matches!(at(index), b'\n' | b'\r') {
                    index += 1;
                }
            }
            b'(' | b'[' | b'{' => brackets += 1,
            b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'&' | b'|' | b'=' | b'<' | b'>' | b'!' | b'+' | b'-' | b'*' | b'.' => {
                operators += 1;
                if matches!(at(index), b'&' | b'|' | b'=') {
                    index += 1;
                }
            }
            first if is_of_word(first) => {
                while is_of_word(at(index)) {
                    index += 1;
                }
                let word = text.get(begin..index).unwrap_or_default();
                operators += usize::from(WORDS.contains(&word));
            }
            _ => {}
        }
        if brackets > MAX_BRACKETS {
            let problem = format!("brackets nest deeper than {MAX_BRACKETS}");
            return Some((begin, problem));
        }
        if operators > MAX_OPERATORS {
            let problem = format!(
                "has more than {MAX_OPERATORS} operators; list values in a set, or write more guardrails"
            );
            return Some((begin, problem));
        }
    }
    None
}

/// Where a string ends whose content begins at `index`.
fn after_string(bytes: &[u8], mut index: usize) -> Option<usize> {
    loop {
        match *bytes.get(index)? {
            b'"' => return Some(index + 1),
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_operators_are_counted_where_they_are_some() {
        let deep = |open: &str, close: &str, levels: usize| {
            format!("{}true{}", open.repeat(levels), close.repeat(levels))
        };
        assert_eq!(fault(&deep("(", ")", 20)), None);
        for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}"), ("decimal(", ")")] {
            assert!(fault(&deep(open, close, 21)).is_some(), "{open}");
        }
        assert_eq!(fault(&vec!["a"; 161].join("&&")), None);
        for operator in [
            "&&", "||", "+", "==", "!=", " in ", ".a", " ! ", "- ", "[a] .",
        ] {
            assert!(
                fault(&vec!["a"; 162].join(operator)).is_some(),
                "{operator}"
            );
        }
        let inert = format!("\"{}\\\"\" // {}\n", "(".repeat(999), "&&[".repeat(999));
        assert_eq!(fault(&inert), None);
        assert_eq!(fault(&inert.repeat(3)), None);
        assert!(fault(&format!("{inert}{}", "(".repeat(21))).is_some());
        assert_eq!(fault(&vec!["User::\"bob\""; 700].join(", ")), None);
    }

    #[test]
    fn a_string_without_end_hides_nothing() {
        assert_eq!(fault("a \"b").map(|(offset, _)| offset), Some(2));
        assert_eq!(fault("a \"b\\").map(|(offset, _)| offset), Some(2));
        assert_eq!(fault("a \"b\\\"").map(|(offset, _)| offset), Some(2));
    }
}
