//! May somebody do something?

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    super::{Attributes, User, authorize},
    Api, Cause, Status,
    kinds::text,
    refuse,
};
use crate::api::selector::{FieldSelector, LabelSelector};

const GROUP: &str = "authorization.k8s.io";

/// The status of a SubjectAccessReview.
pub(super) fn subject(api: &Api, review: &Value) -> Result<Value, Status> {
    let mut causes = Vec::new();
    check_attributes(review, true, &mut causes);
    check_metadata(review, "must be empty", &mut causes);
    refuse(GROUP, "", causes)?;
    Ok(status(api, &user_of(review), review))
}

/// The status of a LocalSubjectAccessReview.
pub(super) fn local(api: &Api, review: &Value, namespace: &str) -> Result<Value, Status> {
    let mut causes = Vec::new();
    check_attributes(review, true, &mut causes);
    let mut bare = review.clone();
    if let Some(metadata) = bare.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
    }
    check_metadata(&bare, "must be empty except for namespace", &mut causes);
    if let Some(attributes) = given(review, "resourceAttributes") {
        let own = text(attributes, "/namespace");
        if own != namespace {
            let field = "spec.resourceAttributes.namespace";
            causes.push(Cause::invalid(field, &own.into(), "must match metadata.namespace"));
        }
    }
    if let Some(attributes) = given(review, "nonResourceAttributes") {
        let field = "spec.nonResourceAttributes";
        let detail = "disallowed on this kind of request";
        causes.push(Cause::invalid(field, &shown_path(attributes), detail));
    }
    refuse(GROUP, "", causes)?;
    Ok(status(api, &user_of(review), review))
}

/// The status of a SelfSubjectAccessReview.
pub(super) fn own(api: &Api, user: &User, review: &Value) -> Result<Value, Status> {
    let mut causes = Vec::new();
    check_attributes(review, false, &mut causes);
    check_metadata(review, "must be empty", &mut causes);
    refuse(GROUP, "", causes)?;
    Ok(status(api, user, review))
}

/// A member of the spec that is there and not null.
fn given<'a>(review: &'a Value, name: &str) -> Option<&'a Value> {
    review.get("spec")?.get(name).filter(|value| !value.is_null())
}

/// `nonResourceAttributes` as the API server shows them.
fn shown_path(attributes: &Value) -> Value {
    json!({"Path": text(attributes, "/path"), "Verb": text(attributes, "/verb")})
}

fn check_metadata(review: &Value, detail: &str, causes: &mut Vec<Cause>) {
    let metadata = review.get("metadata").and_then(Value::as_object);
    let filled = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let rest: Map<String, Value> = metadata
        .into_iter()
        .flatten()
        .filter(|(name, value)| *name != "managedFields" && *name != "uid" && filled(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !rest.is_empty() {
        causes.push(Cause::invalid("metadata", &Value::Object(rest), detail));
    }
}

fn check_attributes(review: &Value, of_others: bool, causes: &mut Vec<Cause>) {
    let resource = given(review, "resourceAttributes");
    match (resource, given(review, "nonResourceAttributes")) {
        (Some(_), Some(path)) => causes.push(Cause::invalid(
            "spec.nonResourceAttributes",
            &shown_path(path),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => causes.push(Cause::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let groups =
        given(review, "groups").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if of_others && !groups && text(review, "/spec/user").is_empty() {
        let detail = "at least one of user or group must be specified";
        causes.push(Cause::invalid("spec.user", &"".into(), detail));
    }
    let Some(resource) = resource else { return };
    for name in ["fieldSelector", "labelSelector"] {
        let Some(selector) = resource.get(name).filter(|value| !value.is_null()) else { continue };
        let field = format!("spec.resourceAttributes.{name}");
        let raw = text(selector, "/rawSelector");
        let some = selector
            .get("requirements")
            .and_then(Value::as_array)
            .is_some_and(|requirements| !requirements.is_empty());
        if !raw.is_empty() && some {
            let detail = "may not specified at the same time as requirements";
            causes.push(Cause::invalid(format!("{field}.rawSelector"), &raw.into(), detail));
        }
        if raw.is_empty() && !some {
            let detail =
                format!("when {field} is specified, requirements or rawSelector is required");
            causes.push(Cause::required(format!("{field}.requirements"), &detail));
        }
    }
}

fn user_of(review: &Value) -> User {
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let list = |value: Option<&Value>| {
        value.and_then(|value| Vec::<String>::deserialize(value).ok()).unwrap_or_default()
    };
    let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
    User {
        name: text(spec, "/user").into(),
        uid: text(spec, "/uid").into(),
        groups: list(spec.get("groups")),
        extra: extra
            .map(|(key, value)| (key.clone(), list(Some(value))))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn status(api: &Api, user: &User, review: &Value) -> Value {
    let mut problems = Vec::new();
    let wanted = match given(review, "resourceAttributes") {
        Some(resource) => {
            problems.extend(unread_selectors(resource));
            let own = |name: &str| text(resource, &format!("/{name}")).to_owned();
            Attributes {
                verb: own("verb"),
                group: own("group"),
                resource: own("resource"),
                subresource: own("subresource"),
                namespace: own("namespace"),
                name: own("name"),
                path: None,
            }
        }
        None => Attributes {
            verb: text(review, "/spec/nonResourceAttributes/verb").into(),
            path: Some(text(review, "/spec/nonResourceAttributes/path").into()),
            ..Attributes::default()
        },
    };
    let decision = authorize(api, user, &wanted);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    if !problems.is_empty() {
        status["evaluationError"] = problems.join("; ").into();
    }
    status
}

/// Roles say nothing of selectors, but one that cannot be read is told.
fn unread_selectors(resource: &Value) -> Vec<String> {
    let raw = |name: &str| text(resource, &format!("/{name}/rawSelector"));
    let bad = [
        ("fieldSelector", FieldSelector::parse(raw("fieldSelector")).is_err()),
        ("labelSelector", LabelSelector::parse(raw("labelSelector")).is_err()),
    ];
    bad.iter()
        .filter(|(_, bad)| *bad)
        .map(|(name, _)| format!("spec.resourceAttributes.{name} ignored due to parse error"))
        .collect()
}
