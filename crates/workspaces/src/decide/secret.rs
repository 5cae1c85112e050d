//! Rules for the Secrets that users make and change.

use web::Cause;

use super::names::{INVALID, check_subdomain};

/// The longest key of a Secret.
const MAX_KEY: usize = 253;
/// How many broken keys are named; a body has room for many.
const MOST_NAMED: usize = 100;

const KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
     '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
     '[-._a-zA-Z0-9]+')";

/// The rules for the name of a new Secret.
pub fn name(name: &str) -> Vec<Cause> {
    check_subdomain("data.name", name)
}

/// The rules for keys, and for whether their values could be read. What the values are is no
/// business of anybody's.
pub fn contents<'a>(keys: impl Iterator<Item = (&'a str, bool)>) -> Vec<Cause> {
    let root = "data.contents";
    let broken = keys.flat_map(|(key, readable)| {
        let field = format!("{root}[{key}].base64");
        let message = "Invalid value: must be standard base64 with padding";
        let value = (!readable).then(|| Cause::internal(INVALID, field, message));
        check_key(root, key).into_iter().chain(value)
    });
    broken.take(MOST_NAMED).collect()
}

fn check_key(field: &str, key: &str) -> Option<Cause> {
    let detail = match key {
        key if key.len() > MAX_KEY => format!("must be no more than {MAX_KEY} bytes"),
        "." => "must not be '.'".to_owned(),
        ".." => "must not be '..'".to_owned(),
        key if key.starts_with("..") => "must not start with '..'".to_owned(),
        key if key.is_empty() || !key.bytes().all(is_key_byte) => KEY_RULE.to_owned(),
        _ => return None,
    };
    let shown = key.chars().take(MAX_KEY).collect::<String>();
    Some(Cause::internal(INVALID, field, format!("Invalid value: {shown:?}: {detail}")))
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("tls.crt", true)]
    #[case(".dockerconfigjson", true)]
    #[case("A_b-1", true)]
    #[case("", false)]
    #[case(".", false)]
    #[case("..", false)]
    #[case("..a", false)]
    #[case("a b", false)]
    #[case("a/b", false)]
    #[case("é", false)]
    #[case(&"k".repeat(253), true)]
    #[case(&"k".repeat(254), false)]
    fn keys(#[case] key: &str, #[case] ok: bool) {
        assert_eq!(contents([(key, true)].into_iter()).is_empty(), ok);
    }

    #[test]
    fn key_and_value_are_said_to_be_wrong_separately() {
        let causes = contents([("a b", false), ("good", false)].into_iter());
        let fields: Vec<_> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(
            fields,
            ["data.contents", "data.contents[a b].base64", "data.contents[good].base64"]
        );
    }

    #[test]
    fn a_body_full_of_broken_keys_gets_a_short_answer() {
        let keys: Vec<_> = (0..10_000).map(|number| format!("key {number}")).collect();
        assert_eq!(contents(keys.iter().map(|key| (key.as_str(), true))).len(), MOST_NAMED);
    }
}
