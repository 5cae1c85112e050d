//! Rules for names and metadata, in the words of Kubernetes. Every door that takes a name uses
//! these, so that they cannot disagree.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use web::Cause;

/// `FieldValueRequired`: a value is missing.
pub const REQUIRED: &str = "FieldValueRequired";
/// `FieldValueInvalid`: a value breaks a rule.
pub const INVALID: &str = "FieldValueInvalid";
/// `FieldValueForbidden`: a value is well formed and not allowed here.
pub const FORBIDDEN: &str = "FieldValueForbidden";
/// `FieldValueNotFound`: what a value names does not exist.
pub const NOT_FOUND: &str = "FieldValueNotFound";
/// `FieldValueTooLong`: a value is larger than allowed.
pub const TOO_LONG: &str = "FieldValueTooLong";
/// `FieldValueTooMany`: a list has more items than allowed.
pub const TOO_MANY: &str = "FieldValueTooMany";
/// A value is there twice.
pub const DUPLICATE: &str = "FieldValueDuplicate";
/// `FieldValueNotSupported`: a value is not one of those that there are.
pub const NOT_SUPPORTED: &str = "FieldValueNotSupported";

/// The most that is said about one map: a body of broken keys must not make a larger answer.
const MOST_CAUSES: usize = 32;

/// The longest RFC 1123 label.
pub const MAX_LABEL: usize = 63;
const MAX_SUBDOMAIN: usize = 253;
const MAX_ANNOTATIONS: usize = 256 * 1024;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
     characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
     or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
     alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
     (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  \
     or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_RULE: &str = "a qualified name must consist of alphanumeric characters, '-', '_' \
     or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or \
     'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' \
     (e.g. 'example.com/MyName')";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric \
     characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
     'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUANTITY_RULE: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A `FieldValueRequired` cause.
pub fn required(field: &str, detail: &str) -> Cause {
    let colon = if detail.is_empty() { "" } else { ": " };
    Cause::internal(REQUIRED, field, format!("Required value{colon}{detail}"))
}

/// A `FieldValueInvalid` cause for a string.
pub fn invalid(field: &str, value: &str, detail: &str) -> Cause {
    Cause::internal(INVALID, field, format!("Invalid value: {value:?}: {detail}"))
}

/// A `FieldValueForbidden` cause.
pub fn forbidden(field: &str, detail: &str) -> Cause {
    Cause::internal(FORBIDDEN, field, format!("Forbidden: {detail}"))
}

/// Checks a required RFC 1123 label: a namespace, a container.
pub fn check_label(field: &str, value: &str) -> Vec<Cause> {
    check_name(field, value, MAX_LABEL, LABEL_RULE, is_label)
}

/// Checks a required RFC 1123 subdomain: the name of nearly every object.
pub fn check_subdomain(field: &str, value: &str) -> Vec<Cause> {
    check_name(field, value, MAX_SUBDOMAIN, SUBDOMAIN_RULE, is_subdomain)
}

/// Checks the name of a Workspace that is to be made. It becomes a label value and part of a
/// Service's name, so a longer name or one with a dot would be stored and never run.
pub fn check_workspace_name(field: &str, value: &str) -> Vec<Cause> {
    check_label(field, value)
}

fn check_name(
    field: &str,
    value: &str,
    longest: usize,
    rule: &str,
    well_formed: fn(&str) -> bool,
) -> Vec<Cause> {
    if value.is_empty() {
        return vec![required(field, "")];
    }
    let mut causes = Vec::new();
    if value.len() > longest {
        causes.push(invalid(field, value, &format!("must be no more than {longest} bytes")));
    }
    if !well_formed(value) {
        causes.push(invalid(field, value, rule));
    }
    causes
}

/// Checks the keys and values of a labels map.
pub fn check_labels(field: &str, labels: &BTreeMap<String, String>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels {
        if causes.len() >= MOST_CAUSES {
            break;
        }
        causes.extend(qualified_name(key).into_iter().map(|rule| invalid(field, key, &rule)));
        if value.len() > MAX_LABEL {
            let rule = format!("must be no more than {MAX_LABEL} bytes");
            causes.push(invalid(field, value, &rule));
        }
        if !value.is_empty() && !is_name_part(value) {
            causes.push(invalid(field, value, LABEL_VALUE_RULE));
        }
    }
    causes
}

/// Checks the keys and the total size of an annotations map.
pub fn check_annotations(field: &str, annotations: &BTreeMap<String, String>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in annotations.keys() {
        if causes.len() >= MOST_CAUSES {
            break;
        }
        let folded = key.to_lowercase();
        causes.extend(qualified_name(&folded).into_iter().map(|rule| invalid(field, key, &rule)));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        let message = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        causes.push(Cause::internal(TOO_LONG, field, message));
    }
    causes
}

/// Checks that a text is a Kubernetes quantity such as `10Gi`.
pub fn check_quantity(field: &str, value: &str) -> Vec<Cause> {
    static QUANTITY: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$")
            .ok()
    });
    match &*QUANTITY {
        Some(rule) if rule.is_match(value) => Vec::new(),
        _ => vec![invalid(field, value, QUANTITY_RULE)],
    }
}

/// The rules that a qualified name (`example.com/Name`) breaks.
fn qualified_name(name: &str) -> Vec<String> {
    let (prefix, part) = match name.split_once('/') {
        Some((prefix, part)) => (Some(prefix), part),
        None => (None, name),
    };
    if part.contains('/') {
        return vec![QUALIFIED_RULE.to_owned()];
    }
    let mut broken = Vec::new();
    match prefix {
        Some("") => broken.push("prefix part must be non-empty".to_owned()),
        Some(prefix) if prefix.len() > MAX_SUBDOMAIN => {
            broken.push(format!("prefix part must be no more than {MAX_SUBDOMAIN} bytes"));
        }
        Some(prefix) if !is_subdomain(prefix) => {
            broken.push(format!("prefix part {SUBDOMAIN_RULE}"));
        }
        _ => {}
    }
    if part.is_empty() {
        broken.push("name part must be non-empty".to_owned());
    } else if part.len() > MAX_LABEL {
        broken.push(format!("name part must be no more than {MAX_LABEL} bytes"));
    }
    if !is_name_part(part) {
        broken.push(NAME_PART_RULE.to_owned());
    }
    broken
}

fn is_label(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    value.bytes().all(inner)
        && !value.is_empty()
        && !value.starts_with('-')
        && !value.ends_with('-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_name_part(value: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    edge(value.bytes().next()) && edge(value.bytes().last()) && value.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("team-a", 0)]
    #[case::digit("1", 0)]
    #[case::empty("", 1)]
    #[case::upper_case("Team", 1)]
    #[case::dash_first("-a", 1)]
    #[case::dash_last("a-", 1)]
    #[case::dot("a.b", 1)]
    #[case::newline("a\n", 1)]
    #[case::other_letters("équipe", 1)]
    #[case::longest(&"a".repeat(63), 0)]
    #[case::too_long(&"a".repeat(64), 1)]
    #[case::too_long_and_wrong(&"A".repeat(64), 2)]
    fn labels(#[case] value: &str, #[case] broken: usize) {
        assert_eq!(check_label("f", value).len(), broken);
    }

    #[rstest]
    #[case::dots("a.b-c.1", 0)]
    #[case::dot_first(".a", 1)]
    #[case::double_dot("a..b", 1)]
    #[case::longest(&"a".repeat(253), 0)]
    #[case::too_long(&"a".repeat(254), 1)]
    fn subdomains(#[case] value: &str, #[case] broken: usize) {
        assert_eq!(check_subdomain("f", value).len(), broken);
    }

    #[rstest]
    #[case::plain("app", "web", 0)]
    #[case::prefixed("example.com/App_1", "", 0)]
    #[case::empty_key("", "v", 2)]
    #[case::empty_prefix("/app", "v", 1)]
    #[case::two_slashes("a/b/c", "v", 1)]
    #[case::bad_value("app", "-v", 1)]
    #[case::long_value("app", &"v".repeat(64), 1)]
    fn label_maps(#[case] key: &str, #[case] value: &str, #[case] broken: usize) {
        let map = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(check_labels("f", &map).len(), broken);
    }

    #[test]
    fn little_is_said_about_many_broken_keys() {
        let map = (0..10_000).map(|number| (format!("-{number}"), "-".to_owned())).collect();
        assert!(check_labels("f", &map).len() < MOST_CAUSES + 3);
        assert!(check_annotations("f", &map).len() < MOST_CAUSES + 3);
    }

    #[test]
    fn annotations_have_a_total_size() {
        let map = BTreeMap::from([("a".to_owned(), "x".repeat(MAX_ANNOTATIONS))]);
        let causes = check_annotations("f", &map);
        assert_eq!(causes[0].reason, TOO_LONG);
    }

    #[rstest]
    #[case("10Gi", true)]
    #[case("1.5G", true)]
    #[case("1e3", true)]
    #[case("100m", true)]
    #[case(".5", true)]
    #[case("", false)]
    #[case("10GB", false)]
    #[case("ten", false)]
    #[case("1 Gi", false)]
    #[case(".", false)]
    fn quantities(#[case] value: &str, #[case] ok: bool) {
        assert_eq!(check_quantity("f", value).is_empty(), ok);
    }
}
