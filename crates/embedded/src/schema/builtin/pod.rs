//! Pod, and the templates of pods in other kinds.

use serde_json::{Value, json};

use super::{
    at, check_count, check_one_of, check_port, check_port_or_name, entries, fill, fill_all, list,
    names, object_in,
    quantity::{self, Quantity},
    text,
};
use crate::schema::{Cause, diff::unified, shape::pretty};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

pub(super) fn default_pod(pod: &mut Value) {
    default_pod_spec(pod);
    let Some(spec) = object_in(pod, "spec") else { return };
    fill(spec, "enableServiceLinks", true);
    for name in ["containers", "initContainers"] {
        for container in spec.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            default_requests(container);
        }
    }
}

/// What is limited and not requested is requested up to its limit.
fn default_requests(container: &mut Value) {
    let limits = at(container, &["resources", "limits"]).clone();
    let Some(limits) = limits.as_object().filter(|limits| !limits.is_empty()) else { return };
    let Some(resources) = container.get_mut("resources") else { return };
    let Some(requests) = object_in(resources, "requests") else { return };
    for (name, limit) in limits {
        requests.entry(name).or_insert_with(|| limit.clone());
    }
}

/// Fills in the defaults of the spec of a pod, or of a template for pods.
pub(super) fn default_pod_spec(pod: &mut Value) {
    if object_in(pod, "spec").is_none() {
        return;
    }
    let Some(spec) = pod.get_mut("spec") else { return };
    fill_all(
        spec,
        &[
            ("dnsPolicy", json!("ClusterFirst")),
            ("restartPolicy", json!("Always")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", json!(30)),
        ],
    );
    for name in ["containers", "initContainers"] {
        for container in spec.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            default_container(container);
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        default_volume(volume);
    }
    let account = text(spec, &["serviceAccountName"]).to_owned();
    if let Some(map) = spec.as_object_mut().filter(|_| !account.is_empty()) {
        // The old name of the same field.
        map.insert("serviceAccount".to_owned(), json!(account));
    }
}

fn default_container(container: &mut Value) {
    let policy = if is_latest(text(container, &["image"])) { "Always" } else { "IfNotPresent" };
    fill_all(
        container,
        &[
            ("imagePullPolicy", json!(policy)),
            ("resources", json!({})),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
        ],
    );
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        fill_all(port, &[("protocol", json!("TCP"))]);
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = variable.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef"))
        {
            fill_all(field, &[("apiVersion", json!("v1"))]);
        }
    }
    for name in PROBES {
        let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) else {
            continue;
        };
        for (field, default) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            // A zero means the default, too.
            if at(probe, &[field]) == &json!(0) {
                probe[field] = Value::Null;
            }
            fill_all(probe, &[(field, json!(default))]);
        }
        if let Some(get) = probe.get_mut("httpGet") {
            fill_all(get, &[("path", json!("/")), ("scheme", json!("HTTP"))]);
        }
    }
}

/// Whether an image has no tag or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn default_volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if map.iter().all(|(name, value)| name == "name" || value.is_null()) {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map.get_mut(source) {
            fill_all(source, &[("defaultMode", json!(0o644))]);
        }
    }
    if let Some(Value::Object(path)) = map.get_mut("hostPath") {
        path.entry("type").or_insert_with(|| json!(""));
    }
}

pub(super) fn check_pod(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_pod_spec("spec", at(new, &["spec"]), &[], causes);
    if let Some(old) = old {
        check_pod_change(at(new, &["spec"]), at(old, &["spec"]), causes);
    }
}

/// Checks a pod's spec; `claimed` are volumes that are added to it later.
pub(super) fn check_pod_spec(field: &str, spec: &Value, claimed: &[&str], causes: &mut Vec<Cause>) {
    let mut volumes: Vec<&str> = Vec::new();
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let name = text(volume, &["name"]);
        let field = format!("{field}.volumes[{index}].name");
        if name.is_empty() {
            causes.push(Cause::required(&field, ""));
        } else {
            names::check_label(&field, name, causes);
        }
        if !name.is_empty() && volumes.contains(&name) {
            causes.push(Cause::duplicate(&field, &json!(name)));
        }
        volumes.push(name);
    }
    volumes.extend(claimed);
    let containers = list(spec, &["containers"]);
    if containers.is_empty() {
        causes.push(Cause::required(format!("{field}.containers"), ""));
    }
    let mut known: Vec<&str> = Vec::new();
    for (list_name, containers) in
        [("containers", containers), ("initContainers", list(spec, &["initContainers"]))]
    {
        for (index, container) in containers.iter().enumerate() {
            let field = format!("{field}.{list_name}[{index}]");
            let name = text(container, &["name"]);
            if !name.is_empty() && known.contains(&name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
            }
            known.push(name);
            check_container(&field, container, &volumes, causes);
        }
    }
    let policies = ["Always", "Never", "OnFailure"];
    check_one_of(
        &format!("{field}.restartPolicy"),
        at(spec, &["restartPolicy"]),
        &policies,
        causes,
    );
    let grace = "terminationGracePeriodSeconds";
    check_count(&format!("{field}.{grace}"), at(spec, &[grace]), causes);
    let deadline = at(spec, &["activeDeadlineSeconds"]);
    if deadline.as_i64().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        causes.push(Cause::invalid(format!("{field}.activeDeadlineSeconds"), deadline, detail));
    }
    for name in ["serviceAccountName", "nodeName"] {
        let value = text(spec, &[name]);
        if !value.is_empty() {
            names::check_subdomain(&format!("{field}.{name}"), value, causes);
        }
    }
}

fn check_container(field: &str, container: &Value, volumes: &[&str], causes: &mut Vec<Cause>) {
    match text(container, &["name"]) {
        "" => causes.push(Cause::required(format!("{field}.name"), "")),
        name => names::check_label(&format!("{field}.name"), name, causes),
    }
    let image = text(container, &["image"]);
    if image.is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    } else if image != image.trim() {
        let detail = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{field}.image"), &json!(image), detail));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    check_one_of(
        &format!("{field}.imagePullPolicy"),
        at(container, &["imagePullPolicy"]),
        &policies,
        causes,
    );
    check_ports(field, container, causes);
    for (index, variable) in list(container, &["env"]).iter().enumerate() {
        let name = text(variable, &["name"]);
        let field = format!("{field}.env[{index}].name");
        if name.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if !name.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'=') {
            let detail = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            causes.push(Cause::invalid(field, &json!(name), detail));
        }
    }
    let mounts = list(container, &["volumeMounts"]);
    for (index, mount) in mounts.iter().enumerate() {
        check_mount(
            &format!("{field}.volumeMounts[{index}]"),
            mount,
            &mounts[..index],
            volumes,
            causes,
        );
    }
    for name in PROBES {
        check_probe(&format!("{field}.{name}"), at(container, &[name]), causes);
    }
    check_resources(&format!("{field}.resources"), at(container, &["resources"]), causes);
}

fn check_ports(field: &str, container: &Value, causes: &mut Vec<Cause>) {
    let ports = list(container, &["ports"]);
    for (index, port) in ports.iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let name = text(port, &["name"]);
        if !name.is_empty() {
            names::check_port_name(&format!("{field}.name"), name, causes);
            if ports[..index].iter().any(|other| text(other, &["name"]) == name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
            }
        }
        match at(port, &["containerPort"]) {
            Value::Null => causes.push(Cause::required(format!("{field}.containerPort"), "")),
            number => check_port(&format!("{field}.containerPort"), number, causes),
        }
        check_one_of(
            &format!("{field}.protocol"),
            at(port, &["protocol"]),
            &["SCTP", "TCP", "UDP"],
            causes,
        );
    }
}

fn check_mount(
    field: &str,
    mount: &Value,
    before: &[Value],
    volumes: &[&str],
    causes: &mut Vec<Cause>,
) {
    let name = text(mount, &["name"]);
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    }
    if !volumes.contains(&name) {
        causes.push(Cause::not_found(format!("{field}.name"), &json!(name)));
    }
    let path = text(mount, &["mountPath"]);
    if path.is_empty() {
        causes.push(Cause::required(format!("{field}.mountPath"), ""));
    }
    if before.iter().any(|other| text(other, &["mountPath"]) == path) {
        causes.push(Cause::invalid(format!("{field}.mountPath"), &json!(path), "must be unique"));
    }
    let sub_path = text(mount, &["subPath"]);
    if sub_path.starts_with('/') {
        causes.push(Cause::invalid(
            format!("{field}.subPath"),
            &json!(sub_path),
            "must be a relative path",
        ));
    }
    if sub_path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(
            format!("{field}.subPath"),
            &json!(sub_path),
            "must not contain '..'",
        ));
    }
}

fn check_probe(field: &str, probe: &Value, causes: &mut Vec<Cause>) {
    if probe.is_null() {
        return;
    }
    let handlers = ["exec", "grpc", "httpGet", "tcpSocket"];
    match handlers.iter().filter(|handler| !at(probe, &[handler]).is_null()).count() {
        0 => causes.push(Cause::required(field, "must specify a handler type")),
        1 => {}
        _ => causes.push(Cause::forbidden(field, "may not specify more than 1 handler type")),
    }
    for handler in ["httpGet", "tcpSocket"] {
        let value = at(probe, &[handler]);
        if !value.is_null() {
            check_port_or_name(&format!("{field}.{handler}.port"), at(value, &["port"]), causes);
        }
    }
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check_count(&format!("{field}.{name}"), at(probe, &[name]), causes);
    }
}

fn check_resources(field: &str, resources: &Value, causes: &mut Vec<Cause>) {
    for group in ["limits", "requests"] {
        for (name, value) in entries(resources, &[group]) {
            quantity::check_not_negative(&format!("{field}.{group}[{name}]"), value, causes);
        }
    }
    for (name, request) in entries(resources, &["requests"]) {
        let limit = at(resources, &["limits", name]);
        if let (Some(wanted), Some(most)) = (Quantity::of(request), Quantity::of(limit))
            && wanted > most
        {
            let detail = format!(
                "must be less than or equal to {name} limit of {}",
                limit.as_str().unwrap_or_default()
            );
            causes.push(Cause::invalid(format!("{field}.requests"), request, &detail));
        }
    }
}

/// What may change of a pod that exists.
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Of a pod that exists only a few fields may change.
fn check_pod_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for name in ["containers", "initContainers"] {
        if list(new, &[name]).len() != list(old, &[name]).len() {
            let detail = "pod updates may not add or remove containers";
            causes.push(Cause::forbidden(format!("spec.{name}"), detail));
            return;
        }
    }
    if !check_deadline_change(new, old, causes) {
        return;
    }
    check_tolerations_change(new, old, causes);
    let gates = |spec: &Value| -> Vec<Value> {
        list(spec, &["schedulingGates"]).iter().map(|gate| at(gate, &["name"]).clone()).collect()
    };
    let known = gates(old);
    for (index, gate) in gates(new).iter().enumerate().filter(|(_, gate)| !known.contains(gate)) {
        let gate = gate.as_str().unwrap_or_default();
        let detail = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
        causes.push(Cause::forbidden(format!("spec.schedulingGates[{index}].name"), &detail));
    }
    let expected = with_kept(new, old);
    if expected != *old {
        let difference = unified(&pretty("PodSpec", old), &pretty("PodSpec", &expected));
        causes.push(Cause::forbidden("spec", &format!("{CHANGEABLE}\n{difference}")));
    }
}

/// A deadline may be set, and come closer. `false` if there is nothing more to look at.
fn check_deadline_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) -> bool {
    let field = "spec.activeDeadlineSeconds";
    let (now, before) = (at(new, &["activeDeadlineSeconds"]), at(old, &["activeDeadlineSeconds"]));
    match (now.as_i64(), before.as_i64()) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            let detail = "must be between 0 and 2147483647, inclusive";
            causes.push(Cause::invalid(field, now, detail));
            false
        }
        (Some(seconds), Some(limit)) if limit < seconds => {
            let detail = "must be less than or equal to previous value";
            causes.push(Cause::invalid(field, now, detail));
            false
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            causes.push(Cause::invalid(field, now, detail));
            true
        }
        _ => true,
    }
}

fn check_tolerations_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let now: Vec<Value> = list(new, &["tolerations"]).iter().map(timeless).collect();
    if !list(old, &["tolerations"]).iter().all(|one| now.contains(&timeless(one))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", detail));
    }
}

/// A changed spec without the changes that are allowed.
fn with_kept(new: &Value, old: &Value) -> Value {
    let mut expected = new.clone();
    let Some(map) = expected.as_object_mut() else { return expected };
    let mut keep = |name: &str| match at(old, &[name]) {
        Value::Null => map.remove(name),
        value => map.insert(name.to_owned(), value.clone()),
    };
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        keep(name);
    }
    let grace = "terminationGracePeriodSeconds";
    let was_negative = at(old, &[grace]).as_i64().is_some_and(|seconds| seconds < 0);
    if was_negative && at(new, &[grace]) == &json!(1) {
        keep(grace);
    }
    for name in ["containers", "initContainers"] {
        for (index, container) in list(old, &[name]).iter().enumerate() {
            let slot = map
                .get_mut(name)
                .and_then(|list| list.get_mut(index))
                .and_then(Value::as_object_mut);
            if let Some(slot) = slot {
                slot.insert("image".to_owned(), at(container, &["image"]).clone());
            }
        }
    }
    expected
}
