//! Role, ClusterRole, RoleBinding and ClusterRoleBinding.

use serde_json::{Value, json};

use super::{at, check_selector, fill, list, names, object_in, text};
use crate::schema::Cause;

const GROUP: &str = "rbac.authorization.k8s.io";

/// No rules are written as null, however they were sent.
pub(super) fn default_role(role: &mut Value) {
    if list(role, &["rules"]).is_empty()
        && let Some(role) = role.as_object_mut()
    {
        role.insert("rules".into(), Value::Null);
    }
}

/// Users, groups and roles are of this API group unless something else is said.
pub(super) fn default_binding(binding: &mut Value) {
    if let Some(role) = object_in(binding, "roleRef") {
        fill(role, "apiGroup", GROUP);
    }
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        if matches!(text(subject, &["kind"]), "User" | "Group")
            && let Some(subject) = subject.as_object_mut()
        {
            fill(subject, "apiGroup", GROUP);
        }
    }
}

pub(super) fn check_role(new: &Value, _old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_rules(new, true, causes);
}

pub(super) fn check_cluster_role(new: &Value, _old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_rules(new, false, causes);
    if at(new, &["aggregationRule"]).is_null() {
        return;
    }
    let field = "aggregationRule.clusterRoleSelectors";
    let selectors = list(new, &["aggregationRule", "clusterRoleSelectors"]);
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        causes.push(Cause::required(field, detail));
    }
    for (index, selector) in selectors.iter().enumerate() {
        check_selector(&format!("{field}[{index}]"), selector, causes);
    }
}

fn check_rules(role: &Value, namespaced: bool, causes: &mut Vec<Cause>) {
    for (index, rule) in list(role, &["rules"]).iter().enumerate() {
        let field = |name: &str| format!("rules[{index}].{name}");
        let some = |name: &str| !list(rule, &[name]).is_empty();
        if !some("verbs") {
            causes.push(Cause::required(field("verbs"), "verbs must contain at least one value"));
        }
        if some("nonResourceURLs") {
            let mut invalid = |detail: &str| {
                let urls = at(rule, &["nonResourceURLs"]);
                causes.push(Cause::invalid(field("nonResourceURLs"), urls, detail));
            };
            if namespaced {
                invalid("namespaced rules cannot apply to non-resource URLs");
            }
            if some("apiGroups") || some("resources") || some("resourceNames") {
                invalid("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if !some("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            causes.push(Cause::required(field("apiGroups"), detail));
        }
        if !some("resources") {
            let detail = "resource rules must supply at least one resource";
            causes.push(Cause::required(field("resources"), detail));
        }
    }
}

pub(super) fn check_binding(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_any_binding(new, old, &["Role", "ClusterRole"], causes);
}

pub(super) fn check_cluster_binding(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_any_binding(new, old, &["ClusterRole"], causes);
}

fn check_any_binding(new: &Value, old: Option<&Value>, roles: &[&str], causes: &mut Vec<Cause>) {
    let of_role = |name: &str| text(new, &["roleRef", name]);
    if of_role("apiGroup") != GROUP {
        let found = json!(of_role("apiGroup"));
        causes.push(Cause::not_supported("roleRef.apiGroup", &found, &[GROUP]));
    }
    if !roles.contains(&of_role("kind")) {
        causes.push(Cause::not_supported("roleRef.kind", &json!(of_role("kind")), roles));
    }
    match of_role("name") {
        "" => causes.push(Cause::required("roleRef.name", "")),
        name => names::check_segment("roleRef.name", name, causes),
    }
    for (index, subject) in list(new, &["subjects"]).iter().enumerate() {
        check_subject(&format!("subjects[{index}]"), subject, roles.contains(&"Role"), causes);
    }
    if let Some(old) = old {
        let shown = |binding: &Value| {
            let part = |name: &str| text(binding, &["roleRef", name]).to_owned();
            json!({"APIGroup": part("apiGroup"), "Kind": part("kind"), "Name": part("name")})
        };
        if shown(new) != shown(old) {
            causes.push(Cause::invalid("roleRef", &shown(new), "cannot change roleRef"));
        }
    }
}

fn check_subject(field: &str, subject: &Value, namespaced: bool, causes: &mut Vec<Cause>) {
    let own = |name: &str| text(subject, &[name]);
    if own("name").is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    }
    let group = |expected: &str, causes: &mut Vec<Cause>| {
        if own("apiGroup") != expected {
            let found = json!(own("apiGroup"));
            causes.push(Cause::not_supported(format!("{field}.apiGroup"), &found, &[expected]));
        }
    };
    match own("kind") {
        "ServiceAccount" => {
            if !own("name").is_empty() {
                names::check_subdomain(&format!("{field}.name"), own("name"), causes);
            }
            group("", causes);
            if !namespaced && own("namespace").is_empty() {
                causes.push(Cause::required(format!("{field}.namespace"), ""));
            }
        }
        "User" | "Group" => group(GROUP, causes),
        other => causes.push(Cause::not_supported(
            format!("{field}.kind"),
            &json!(other),
            &["ServiceAccount", "User", "Group"],
        )),
    }
}
