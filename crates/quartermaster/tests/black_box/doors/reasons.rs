//! Every reason that the rules of acceptance can give, as their source has it: what is refused
//! there, and has no row in the table of doors, is found.

use std::{fs, path::Path};

/// The files with these rules.
const FILES: [&str; 10] = [
    "admission.rs",
    "kind.rs",
    "kind/activity.rs",
    "kind/lists.rs",
    "workspace.rs",
    "options.rs",
    "filter.rs",
    "selector.rs",
    "names.rs",
    "template.rs",
];

/// What is said in them to others than those who write workspaces and kinds.
const ELSEWHERE: [&str; 9] = [
    // Selectors in queries.
    "a requirement is missing",
    "must have at most {MOST} requirements",
    "a parenthesis is not closed",
    "an operator is missing",
    "{other:?} is not an operator",
    // Claims and quotas.
    "quantities must match the regular expression",
    // The controller, in a state message.
    "{list} with id {source_id:?} redirects to unknown id",
    "{list} redirects go round in a circle",
    "Workspace has invalid",
];

/// A reason with its places for values.
#[derive(Debug)]
struct Reason {
    file: &'static str,
    pieces: Vec<String>,
    text: String,
}

impl Reason {
    fn is_given_by(&self, message: &str) -> bool {
        let mut rest = message;
        self.pieces.iter().all(|piece| match rest.find(piece.as_str()) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }
}

/// The reasons that none of these messages gives.
pub(super) fn missing(messages: &[String]) -> Vec<String> {
    let reasons: Vec<_> = FILES.into_iter().flat_map(read).collect();
    assert!(reasons.len() > 30, "the rules are somewhere else now: {reasons:?}");
    for elsewhere in ELSEWHERE {
        let known = reasons.iter().any(|reason| reason.text.starts_with(elsewhere));
        assert!(known, "nobody says {elsewhere:?}");
    }
    let here =
        reasons.iter().filter(|reason| !ELSEWHERE.iter().any(|e| reason.text.starts_with(e)));
    let ungiven = here.filter(|reason| !messages.iter().any(|said| reason.is_given_by(said)));
    ungiven.map(|reason| format!("{}: {}", reason.file, reason.text)).collect()
}

/// The texts of more than two words in a file, without its comments and tests.
fn read(file: &'static str) -> Vec<Reason> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workspaces/src/decide");
    let source = fs::read_to_string(folder.join(file)).unwrap();
    let (source, _) = source.split_once("#[cfg(test)]").unwrap_or((&source, ""));
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n").replace("'\"'", "");
    let mut reasons = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find('"') {
        let (text, after) = literal(&rest[at + 1..]);
        if text.split_whitespace().count() > 2 {
            reasons.push(Reason { file, pieces: pieces(&text), text });
        }
        rest = after;
    }
    reasons
}

/// The text up to its closing quote, and what comes after.
fn literal(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = source.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, &source[at + 1..]),
            '\\' => match letters.next() {
                Some((at, '\n')) => {
                    let skipped = source[at..].len() - source[at..].trim_start().len();
                    for _ in 1..skipped {
                        letters.next();
                    }
                }
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            letter => text.push(letter),
        }
    }
    (text, "")
}

/// What stands between the places for values.
fn pieces(text: &str) -> Vec<String> {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut pieces = vec![String::new()];
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '{' => {
                inside = true;
                pieces.push(String::new());
            }
            '}' => inside = false,
            letter if !inside => {
                let letter = match letter {
                    '\u{1}' => '{',
                    '\u{2}' => '}',
                    letter => letter,
                };
                pieces.last_mut().unwrap().push(letter);
            }
            _ => {}
        }
    }
    pieces
}

#[test]
fn what_nobody_heard_is_missing() {
    let missing = missing(&[]);
    for reason in
        ["redirect cycle detected: {}", "this workspace kind", "name part must be non-empty"]
    {
        assert!(missing.iter().any(|text| text.ends_with(reason)), "{reason}: {missing:#?}");
    }
    let heard = super::reasons::missing(&["redirect cycle detected: a -> b".to_owned()]);
    assert!(!heard.iter().any(|text| text.contains("redirect cycle")), "{heard:#?}");
}
