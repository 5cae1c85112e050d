//! Rules for names, reported for a field.

use serde_json::json;

use crate::schema::{
    Cause,
    names::{config_key, label, port_name, segment, subdomain},
};

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

/// A name that may have a prefix with dots and a slash.
pub(super) fn check_qualified(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, crate::schema::names::qualified_name(text), causes);
}

/// Anything that can be one segment of a path.
pub(super) fn check_segment(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, segment(text, false), causes);
}

/// A key of a Secret or ConfigMap.
pub(super) fn check_config_key(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, config_key(text), causes);
}

/// The name of a container's port, or a reference to one.
pub(super) fn check_port_name(field: &str, text: &str, causes: &mut Vec<Cause>) {
    report(field, text, port_name(text), causes);
}
