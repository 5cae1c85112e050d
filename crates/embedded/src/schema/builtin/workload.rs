//! StatefulSet and Job.

use serde_json::{Value, json};

use super::{
    at, check_count, check_one_of, check_selector, claim, entries, fill, list, names, object_in,
    pod, selects, text,
};
use crate::schema::{Cause, shape::compact};

pub(super) fn default_stateful_set(set: &mut Value) {
    let Some(spec) = object_in(set, "spec") else { return };
    fill(spec, "podManagementPolicy", "OrderedReady");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    fill(spec, "updateStrategy", json!({}));
    if let Some(Value::Object(policy)) = spec.get_mut("persistentVolumeClaimRetentionPolicy") {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    if let Some(Value::Object(strategy)) = spec.get_mut("updateStrategy") {
        if strategy.get("type").is_none_or(Value::is_null) {
            fill(strategy, "rollingUpdate", json!({}));
        }
        fill(strategy, "type", "RollingUpdate");
        if let Some(Value::Object(rolling)) = strategy.get_mut("rollingUpdate") {
            fill(rolling, "partition", 0);
        }
    }
    for claim in
        spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
    {
        claim::default_claim(claim);
    }
    fill(spec, "template", json!({}));
    if let Some(template) = spec.get_mut("template") {
        pod::default_pod_spec(template);
    }
}

pub(super) fn default_job(job: &mut Value) {
    let labels = at(job, &["spec", "template", "metadata", "labels"]).clone();
    // A new job takes its labels when its pods have all of theirs.
    if labels.get(JOB_UIDS[0]).is_some()
        && entries(job, &["metadata", "labels"]).next().is_none()
        && let Some(metadata) = object_in(job, "metadata")
    {
        metadata.insert("labels".to_owned(), labels);
    }
    let Some(spec) = object_in(job, "spec") else { return };
    let unset = |name: &str| spec.get(name).is_none_or(Value::is_null);
    if unset("completions") && unset("parallelism") {
        fill(spec, "completions", 1);
    }
    for (name, default) in [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
        ("suspend", json!(false)),
    ] {
        fill(spec, name, default);
    }
    fill(spec, "template", json!({}));
    if let Some(template) = spec.get_mut("template") {
        pod::default_pod_spec(template);
    }
}

/// Labels with the name of a Job, and with its uid.
const JOB_NAMES: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const JOB_UIDS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Labels the pods of a new Job, and makes it select them, unless its selector is made by hand.
pub(crate) fn select_own_pods(job: &mut Value, name: String, uid: String) {
    if at(job, &["spec", "manualSelector"]) != &json!(true) {
        label_pods(job, name, uid);
    }
    let labels = at(job, &["spec", "template", "metadata", "labels"]).clone();
    if labels.is_object()
        && entries(job, &["metadata", "labels"]).next().is_none()
        && let Some(metadata) = object_in(job, "metadata")
    {
        metadata.insert("labels".to_owned(), labels);
    }
}

fn label_pods(job: &mut Value, name: String, uid: String) {
    let Some(spec) = object_in(job, "spec") else { return };
    let template = spec.entry("template").or_insert_with(|| json!({}));
    if object_in(template, "metadata").is_some()
        && let Some(labels) = object_in(&mut template["metadata"], "labels")
    {
        for (keys, value) in [(JOB_NAMES, name), (JOB_UIDS, uid.clone())] {
            for key in keys {
                labels.entry(key).or_insert_with(|| value.clone().into());
            }
        }
    }
    let Some(selector) = object_in(job, "spec").and_then(|spec| {
        let selector = spec.entry("selector").or_insert(Value::Null);
        if selector.is_null() {
            *selector = json!({});
        }
        object_in(selector, "matchLabels")
    }) else {
        return;
    };
    selector.entry(JOB_UIDS[1]).or_insert_with(|| uid.into());
}

/// A Job that does not make its selector by hand has the one that was made for it.
fn check_own_selector(job: &Value, causes: &mut Vec<Cause>) {
    let spec = at(job, &["spec"]);
    let selector = at(spec, &["selector"]);
    if at(spec, &["manualSelector"]) == &json!(true) || selector.is_null() {
        return;
    }
    let (name, uid) = (at(job, &["metadata", "name"]), at(job, &["metadata", "uid"]));
    let labels = at(spec, &["template", "metadata", "labels"]);
    let mut expected = serde_json::Map::new();
    let [old_name, new_name] = JOB_NAMES;
    let [old_uid, new_uid] = JOB_UIDS;
    for (key, value) in [(old_uid, uid), (old_name, name), (new_uid, uid), (new_name, name)] {
        expected.insert(key.to_owned(), value.clone());
        let field = format!("spec.template.metadata.labels[{key}]");
        let detail = format!("must be '{}'", value.as_str().unwrap_or_default());
        match labels.get(key) {
            None => causes.push(Cause::required(field, &detail)),
            Some(label) if label != value => causes.push(Cause::invalid(field, labels, &detail)),
            Some(_) => {}
        }
    }
    if !selects(selector, &Value::Object(expected)) {
        causes.push(Cause::invalid("spec.selector", selector, "`selector` not auto-generated"));
    }
}

pub(super) fn check_stateful_set(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = at(new, &["spec"]);
    let policy = text(spec, &["podManagementPolicy"]);
    if !["OrderedReady", "Parallel"].contains(&policy) {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        causes.push(Cause::invalid("spec.podManagementPolicy", &json!(policy), detail));
    }
    let strategy = at(spec, &["updateStrategy"]);
    if !["RollingUpdate", "OnDelete"].contains(&text(strategy, &["type"])) {
        causes.push(Cause::invalid(
            "spec.updateStrategy",
            strategy,
            "must be 'RollingUpdate' or 'OnDelete'",
        ));
    }
    check_count("spec.replicas", at(spec, &["replicas"]), causes);
    check_count("spec.minReadySeconds", at(spec, &["minReadySeconds"]), causes);
    let service = text(spec, &["serviceName"]);
    if old.is_none() && !service.is_empty() {
        names::check_label("spec.serviceName", service, causes);
    }
    let mut claims = Vec::new();
    for (index, claim) in list(spec, &["volumeClaimTemplates"]).iter().enumerate() {
        claims.push(text(claim, &["metadata", "name"]));
        if old.is_none() {
            let field = format!("spec.volumeClaimTemplates[{index}].spec");
            claim::check_claim_spec(&field, at(claim, &["spec"]), causes);
        }
    }
    check_set_selector(spec, causes);
    let template = at(spec, &["template"]);
    pod::check_pod_spec("spec.template.spec", at(template, &["spec"]), &claims, causes);
    let restart = at(template, &["spec", "restartPolicy"]);
    if restart != "Always" {
        causes.push(Cause::not_supported("spec.template.spec.restartPolicy", restart, &["Always"]));
    }
    if let Some(old) = old {
        check_set_change(spec, at(old, &["spec"]), causes);
    }
}

fn check_set_selector(spec: &Value, causes: &mut Vec<Cause>) {
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
        return;
    }
    check_selector("spec.selector", selector, causes);
    let empty = entries(selector, &["matchLabels"]).next().is_none()
        && list(selector, &["matchExpressions"]).is_empty();
    if empty {
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "empty selector is invalid for statefulset",
        ));
        return;
    }
    let labels = at(spec, &["template", "metadata", "labels"]);
    if !selects(selector, labels) {
        let detail = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, detail));
    }
}

fn check_set_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    const FREE: [&str; 7] = [
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    ];
    let fixed = |spec: &Value| {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        spec.retain(|name, value| {
            !FREE.contains(&name.as_str()) && !value.is_null() && value != ""
        });
        spec
    };
    if fixed(new) != fixed(old) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        causes.push(Cause::forbidden("spec", detail));
    }
}

pub(super) fn check_job(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_own_selector(new, causes);
    check_job_spec(new, old, causes);
    let Some(old) = old else { return };
    // A real server looks at all of it once more.
    check_job_spec(new, Some(old), causes);
    let (spec, before) = (at(new, &["spec"]), at(old, &["spec"]));
    for name in ["completions", "selector", "template", "completionMode"] {
        let (now, then) = (at(spec, &[name]), at(before, &[name]));
        if now == then {
            continue;
        }
        let field = format!("spec.{name}");
        let detail = "field is immutable";
        if name == "template" {
            let shown = compact("PodTemplateSpec", now);
            causes.push(Cause::shown_invalid(field, &shown, detail));
        // Jobs were stored without a selector once.
        } else if name != "selector" || !then.is_null() {
            causes.push(Cause::invalid(field, now, detail));
        }
    }
}

fn check_job_spec(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = at(new, &["spec"]);
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        check_count(&format!("spec.{name}"), at(spec, &[name]), causes);
    }
    let modes = ["NonIndexed", "Indexed"];
    check_one_of("spec.completionMode", at(spec, &["completionMode"]), &modes, causes);
    let template = at(spec, &["template"]);
    pod::check_pod_spec("spec.template.spec", at(template, &["spec"]), &[], causes);
    let restart = at(template, &["spec", "restartPolicy"]);
    let field = "spec.template.spec.restartPolicy";
    match restart.as_str() {
        None | Some("" | "Always") => {
            causes.push(Cause::required(field, r#"valid values: "OnFailure", "Never""#));
        }
        Some("OnFailure" | "Never") => {}
        Some(_) => causes.push(Cause::not_supported(field, restart, &["OnFailure", "Never"])),
    }
    let selector = at(spec, &["selector"]);
    // Jobs were stored without a selector once.
    let lacks = old.is_none_or(|old| !at(old, &["spec", "selector"]).is_null());
    if selector.is_null() {
        if !lacks {
            return;
        }
        causes.push(Cause::required("spec.selector", ""));
    } else {
        check_selector("spec.selector", selector, causes);
    }
    let labels = at(template, &["metadata", "labels"]);
    if selector.is_null() || !selects(selector, labels) {
        let detail = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, detail));
    }
}
