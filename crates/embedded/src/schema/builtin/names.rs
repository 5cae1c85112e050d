//! The rules for names inside of objects, with the words of the API server.

use serde_json::json;

use crate::schema::Cause;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn limited(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit {
        vec![format!("must be no more than {limit} characters")]
    } else {
        Vec::new()
    }
}

fn label(text: &str) -> Vec<String> {
    let mut problems = limited(text, 63);
    if !is_label(text) {
        problems.push(if is_subdomain(text) { "must not contain dots" } else { LABEL }.to_owned());
    }
    problems
}

fn subdomain(text: &str) -> Vec<String> {
    let mut problems = limited(text, 253);
    if !is_subdomain(text) {
        problems.push(SUBDOMAIN.to_owned());
    }
    problems
}

fn config_key(text: &str) -> Vec<String> {
    let mut problems = limited(text, 253);
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)) {
        problems.push(CONFIG_KEY.to_owned());
    }
    match text {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        text if text.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

fn port_name(text: &str) -> Vec<String> {
    let mut problems = limited(text, 15);
    if text.is_empty()
        || !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

fn report(field: &str, text: &str, problems: Vec<String>, causes: &mut Vec<Cause>) {
    causes.extend(problems.iter().map(|problem| Cause::invalid(field, &json!(text), problem)));
}

/// A name without dots.
pub(super) fn check_label(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, label(text), causes);
}

/// A name that may have dots.
pub(super) fn check_subdomain(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, subdomain(text), causes);
}

/// Anything that can be one segment of a path.
pub(super) fn check_segment(field: &str, text: &str, causes: &mut Vec<Cause>) {
    let problems = match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        text => {
            let contained = ["/", "%"].into_iter().filter(|illegal| text.contains(illegal));
            contained.map(|illegal| format!("may not contain '{illegal}'")).collect()
        }
    };
    report(field, text, problems, causes);
}

/// A key of a Secret or ConfigMap.
pub(super) fn check_config_key(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, config_key(text), causes);
}

/// The name of a container's port, or a reference to one.
pub(super) fn check_port_name(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, port_name(text), causes);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.b", &["must not contain dots"])]
    #[case("A", &[LABEL])]
    #[case("a-1", &[])]
    fn labels(#[case] text: &str, #[case] problems: &[&str]) {
        assert_eq!(label(text), problems);
    }

    #[rstest]
    #[case("a_b.C-1", &[])]
    #[case("a b", &[CONFIG_KEY])]
    #[case("", &[CONFIG_KEY])]
    #[case("..a", &["must not start with '..'"])]
    fn config_keys(#[case] text: &str, #[case] problems: &[&str]) {
        assert_eq!(config_key(text), problems);
    }

    #[rstest]
    #[case("http", &[])]
    #[case("80", &["must contain at least one letter (a-z)"])]
    #[case("a--b", &["must not contain consecutive hyphens"])]
    #[case("way-too-long-name", &["must be no more than 15 characters"])]
    fn port_names(#[case] text: &str, #[case] problems: &[&str]) {
        assert_eq!(port_name(text), problems);
    }
}
