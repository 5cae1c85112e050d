//! Regular expressions as Go writes them, compiled by a library with slightly other rules.
//!
//! Both run in linear time. The differences: Go's `\d`, `\w`, `\s` and `\b` mean ASCII only, a
//! `[`, `&&`, `--` or `~~` inside of a class is plain text, a `{` that starts no repetition is plain
//! text, and any escaped punctuation stands for itself.

use regex::{Regex, RegexBuilder};

/// The most a compiled expression may take.
const SIZE_LIMIT: usize = 2 << 20;
const CACHE_LIMIT: usize = 256 << 10;

/// Compiles an expression in Go's syntax.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(CACHE_LIMIT)
        .build()
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.char_indices().peekable();
    let mut class = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped)) => escape(escaped, class, &mut out),
                None => out.push('\\'),
            },
            '[' if class => {
                let rest = &pattern[at..];
                match rest.starts_with("[:").then(|| rest.find(":]")).flatten() {
                    Some(end) => {
                        out.push_str(&rest[..end + 2]);
                        while chars.next_if(|(next, _)| *next < at + end + 2).is_some() {}
                    }
                    None => out.push_str("\\["),
                }
            }
            '[' => {
                out.push('[');
                if chars.next_if(|(_, next)| *next == '^').is_some() {
                    out.push('^');
                }
                if chars.next_if(|(_, next)| *next == ']').is_some() {
                    out.push_str("\\]");
                }
                class = true;
            }
            ']' if class => {
                out.push(']');
                class = false;
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && pattern[at + 1..].starts_with('-') => out.push_str("\\-"),
            '{' if !class && !is_repetition(&pattern[at..]) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

fn escape(escaped: char, in_class: bool, out: &mut String) {
    match (escaped, in_class) {
        ('d', true) => out.push_str("0-9"),
        ('d', false) => out.push_str("[0-9]"),
        ('D', _) => out.push_str("[^0-9]"),
        ('w', true) => out.push_str("0-9A-Za-z_"),
        ('w', false) => out.push_str("[0-9A-Za-z_]"),
        ('W', _) => out.push_str("[^0-9A-Za-z_]"),
        ('s', true) => out.push_str("\\t\\n\\f\\r "),
        ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
        ('S', _) => out.push_str("[^\\t\\n\\f\\r ]"),
        ('b', false) => out.push_str("(?-u:\\b)"),
        ('<' | '>', _) => out.push(escaped),
        _ => {
            out.push('\\');
            out.push(escaped);
        }
    }
}

/// Whether the text starts with `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r"^\d+$", "12", "\u{664}")]
    #[case(r"^[\w.]+$", "a_1.", "é")]
    #[case(r"^[^\s]+$", "ab", "a b")]
    #[case(r"^[a[]+$", "a[", "b")]
    #[case(r"^[]a]+$", "]a", "b")]
    #[case(r"^[^]a]+$", "b", "]")]
    #[case(r"^[a&&b]+$", "a&b", "c")]
    #[case(r"^[[:alpha:]]+$", "ab", "1")]
    #[case(r"^a{2}$", "aa", "a{2}")]
    #[case(r"^{{x}}$", "{{x}}", "x")]
    #[case(r"^\<a\>$", "<a>", "a")]
    #[case(r"^[a\-b]$", "-", "c")]
    #[case(r"^[A-Za-z_][A-Za-z0-9_]*$", "A1", "1A")]
    fn means_what_go_means(#[case] pattern: &str, #[case] yes: &str, #[case] no: &str) {
        let regex = compile(pattern).unwrap();
        assert!(regex.is_match(yes), "{pattern} {yes}");
        assert!(!regex.is_match(no), "{pattern} {no}");
    }

    #[test]
    fn nonsense_and_giants_are_errors() {
        assert!(compile("(").is_err());
        assert!(compile("((a{1000}){1000}){1000}").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "\\PC{0,40}", text in "\\PC{0,40}") {
            if let Ok(regex) = compile(&pattern) {
                regex.is_match(&text);
            }
        }
    }
}
