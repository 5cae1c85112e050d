//! The columns of built-in kinds, as the API server has them. Their descriptions, which no client
//! shows, are left out.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Column, age, pod};
use crate::api::kinds::{Resource, text};

/// The cells of one row, all priorities included.
pub(super) type Cells = Vec<Value>;

/// Name, type, priority; `name` columns are formatted so.
type Line = (&'static str, &'static str, u8);

const NAME: Line = ("Name", "string", 0);
const AGE: Line = ("Age", "string", 0);

/// The columns of a kind. Kinds without any of their own show when they were created.
#[rustfmt::skip]
fn lines(table: &str) -> &'static [Line] {
    match table {
        "configmaps" => &[NAME, ("Data", "string", 0), AGE],
        "endpointslices.discovery.k8s.io" => &[NAME, ("AddressType", "string", 0), ("Ports", "string", 0), ("Endpoints", "string", 0), AGE],
        "events" => &[
            ("Last Seen", "string", 0), ("Type", "string", 0), ("Reason", "string", 0), ("Object", "string", 0),
            ("Subobject", "string", 1), ("Source", "string", 1), ("Message", "string", 0), ("First Seen", "string", 1),
            ("Count", "string", 1), ("Name", "string", 1),
        ],
        "jobs.batch" => &[
            NAME, ("Status", "string", 0), ("Completions", "string", 0), ("Duration", "string", 0), AGE,
            ("Containers", "string", 1), ("Images", "string", 1), ("Selector", "string", 1),
        ],
        "leases.coordination.k8s.io" => &[NAME, ("Holder", "string", 0), AGE],
        "namespaces" => &[NAME, ("Status", "string", 0), AGE],
        "nodes" => &[
            NAME, ("Status", "string", 0), ("Roles", "string", 0), AGE, ("Version", "string", 0), ("Internal-IP", "string", 1),
            ("External-IP", "string", 1), ("OS-Image", "string", 1), ("Kernel-Version", "string", 1), ("Container-Runtime", "string", 1),
        ],
        "persistentvolumeclaims" => &[
            NAME, ("Status", "string", 0), ("Volume", "string", 0), ("Capacity", "string", 0), ("Access Modes", "string", 0),
            ("StorageClass", "string", 0), ("VolumeAttributesClass", "string", 0), AGE, ("VolumeMode", "string", 1),
        ],
        "persistentvolumes" => &[
            NAME, ("Capacity", "string", 0), ("Access Modes", "string", 0), ("Reclaim Policy", "string", 0), ("Status", "string", 0),
            ("Claim", "string", 0), ("StorageClass", "string", 0), ("VolumeAttributesClass", "string", 0), ("Reason", "string", 0), AGE,
            ("VolumeMode", "string", 1),
        ],
        "pods" => &[
            NAME, ("Ready", "string", 0), ("Status", "string", 0), ("Restarts", "string", 0), AGE, ("IP", "string", 1),
            ("Node", "string", 1), ("Nominated Node", "string", 1), ("Readiness Gates", "string", 1),
        ],
        "resourcequotas" => &[NAME, ("Request", "string", 0), ("Limit", "string", 0), AGE],
        "clusterrolebindings.rbac.authorization.k8s.io" | "rolebindings.rbac.authorization.k8s.io" => &[
            NAME, ("Role", "string", 0), AGE, ("Users", "string", 1), ("Groups", "string", 1), ("ServiceAccounts", "string", 1),
        ],
        "secrets" => &[NAME, ("Type", "string", 0), ("Data", "string", 0), AGE],
        "serviceaccounts" => &[NAME, ("Secrets", "string", 0), AGE],
        "services" => &[
            NAME, ("Type", "string", 0), ("Cluster-IP", "string", 0), ("External-IP", "string", 0), ("Port(s)", "string", 0), AGE,
            ("Selector", "string", 1),
        ],
        "statefulsets.apps" => &[NAME, ("Ready", "string", 0), AGE, ("Containers", "string", 1), ("Images", "string", 1)],
        "storageclasses.storage.k8s.io" => &[
            NAME, ("Provisioner", "string", 0), ("ReclaimPolicy", "string", 0), ("VolumeBindingMode", "string", 0),
            ("AllowVolumeExpansion", "string", 0), AGE,
        ],
        _ => &[NAME, ("Created At", "date", 0)],
    }
}

pub(super) fn columns(resource: &Resource) -> Vec<Column> {
    let column = |&(name, kind, priority): &Line| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: if name == "Name" { "name".to_owned() } else { String::new() },
        description: String::new(),
        priority: priority.into(),
    };
    lines(&resource.table).iter().map(column).collect()
}

pub(super) fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Cells {
    let name = || cell(object, "/metadata/name");
    let at = |pointer: &str| cell(object, pointer);
    let age = || Value::from(age::since(object.pointer("/metadata/creationTimestamp"), now));
    let size = |pointer: &str| match object.pointer(pointer) {
        Some(Value::Object(members)) => members.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    match &*resource.table {
        "configmaps" => vec![name(), (size("/data") + size("/binaryData")).into(), age()],
        "endpointslices.discovery.k8s.io" => {
            vec![name(), at("/addressType"), slice_ports(object), slice_addresses(object), age()]
        }
        "events" => event(object, now),
        "jobs.batch" => job(object, now),
        "leases.coordination.k8s.io" => vec![name(), at("/spec/holderIdentity"), age()],
        "namespaces" => vec![name(), at("/status/phase"), age()],
        "nodes" => node(object, age()),
        "persistentvolumeclaims" => claim(object, age()),
        "persistentvolumes" => volume(object, age()),
        "pods" => pod::cells(object, now),
        "resourcequotas" => quota(object, age()),
        "clusterrolebindings.rbac.authorization.k8s.io"
        | "rolebindings.rbac.authorization.k8s.io" => binding(object, age()),
        "secrets" => vec![name(), at("/type"), size("/data").into(), age()],
        "serviceaccounts" => vec![name(), size("/secrets").into(), age()],
        "services" => service(object, age()),
        "statefulsets.apps" => {
            let count = |pointer| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
            let ready = format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas"));
            let [names, images] = containers(object);
            vec![name(), ready.into(), age(), names, images]
        }
        "storageclasses.storage.k8s.io" => storage_class(object, age()),
        _ => vec![name(), at("/metadata/creationTimestamp")],
    }
}

/// A string of an object, empty if it is not there.
pub(super) fn cell(object: &Value, pointer: &str) -> Value {
    text(object, pointer).into()
}

/// What stands for nothing in most columns.
pub(super) fn or_none(shown: &str) -> Value {
    if shown.is_empty() { "<none>".into() } else { shown.into() }
}

fn or_unset(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("<unset>").into()
}

/// The items of a list; none if it is not there.
pub(super) fn items<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn strings<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    items(object, pointer).filter_map(Value::as_str).collect()
}

/// Names and images of the containers of a pod template.
fn containers(object: &Value) -> [Value; 2] {
    ["/name", "/image"].map(|field| {
        let all = items(object, "/spec/template/spec/containers").map(|one| text(one, field));
        all.collect::<Vec<_>>().join(",").into()
    })
}

fn access_modes(object: &Value, pointer: &str) -> Value {
    let modes = strings(object, pointer);
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown = known.iter().filter(|(mode, _)| modes.contains(mode)).map(|&(_, short)| short);
    shown.collect::<Vec<_>>().join(",").into()
}

fn phase(object: &Value) -> Value {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating".into()
    } else {
        cell(object, "/status/phase")
    }
}

/// The class of a volume or claim; an annotation says it as well.
fn class(object: &Value) -> Value {
    let annotation =
        object.pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
    match annotation.and_then(Value::as_str) {
        Some(class) => class.into(),
        None => cell(object, "/spec/storageClassName"),
    }
}

fn claim(claim: &Value, age: Value) -> Cells {
    let bound = !text(claim, "/spec/volumeName").is_empty();
    let (capacity, modes) = if bound {
        let capacity = claim.pointer("/status/capacity/storage").cloned();
        (capacity.unwrap_or("0".into()), access_modes(claim, "/status/accessModes"))
    } else {
        ("".into(), "".into())
    };
    vec![
        cell(claim, "/metadata/name"),
        phase(claim),
        cell(claim, "/spec/volumeName"),
        capacity,
        modes,
        class(claim),
        or_unset(claim, "/spec/volumeAttributesClassName"),
        age,
        or_unset(claim, "/spec/volumeMode"),
    ]
}

fn volume(volume: &Value, age: Value) -> Cells {
    let claim = match volume.pointer("/spec/claimRef") {
        Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
        None => String::new(),
    };
    vec![
        cell(volume, "/metadata/name"),
        volume.pointer("/spec/capacity/storage").cloned().unwrap_or("0".into()),
        access_modes(volume, "/spec/accessModes"),
        cell(volume, "/spec/persistentVolumeReclaimPolicy"),
        phase(volume),
        claim.into(),
        class(volume),
        or_unset(volume, "/spec/volumeAttributesClassName"),
        cell(volume, "/status/reason"),
        age,
        or_unset(volume, "/spec/volumeMode"),
    ]
}

fn storage_class(class: &Value, age: Value) -> Cells {
    let default = ["storageclass.kubernetes.io~1", "storageclass.beta.kubernetes.io~1"];
    let is_default = default.iter().any(|prefix| {
        text(class, &format!("/metadata/annotations/{prefix}is-default-class")) == "true"
    });
    let mut name = text(class, "/metadata/name").to_owned();
    if is_default {
        name.push_str(" (default)");
    }
    let or = |pointer: &str, default: &str| {
        Value::from(class.pointer(pointer).and_then(Value::as_str).unwrap_or(default))
    };
    vec![
        name.into(),
        cell(class, "/provisioner"),
        or("/reclaimPolicy", "Delete"),
        or("/volumeBindingMode", "Immediate"),
        class.get("allowVolumeExpansion").cloned().unwrap_or(false.into()),
        age,
    ]
}

fn node(node: &Value, age: Value) -> Cells {
    let ready = items(node, "/status/conditions").find(|one| text(one, "/type") == "Ready");
    let mut status = match ready.map(|ready| text(ready, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if label == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let found = items(node, "/status/addresses").find(|one| text(one, "/type") == kind);
        or_none(found.map_or("", |found| text(found, "/address")))
    };
    let info = |field: &str| match text(node, &format!("/status/nodeInfo/{field}")) {
        "" => Value::from("<unknown>"),
        shown => shown.into(),
    };
    vec![
        cell(node, "/metadata/name"),
        status.into(),
        or_none(&roles.join(",")),
        age,
        cell(node, "/status/nodeInfo/kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn service(service: &Value, age: Value) -> Cells {
    let kind = text(service, "/spec/type");
    let mut external: Vec<&str> = Vec::new();
    if kind == "LoadBalancer" {
        external.extend(items(service, "/status/loadBalancer/ingress").map(|one| {
            match text(one, "/ip") {
                "" => text(one, "/hostname"),
                ip => ip,
            }
        }));
        external.sort_unstable();
        external.dedup();
    }
    external.extend(strings(service, "/spec/externalIPs"));
    let external = match kind {
        "ExternalName" => cell(service, "/spec/externalName"),
        "LoadBalancer" if external.is_empty() => "<pending>".into(),
        "ClusterIP" | "NodePort" | "LoadBalancer" => or_none(&external.join(",")),
        _ => "<unknown>".into(),
    };
    let ports = items(service, "/spec/ports").map(|port| {
        let number = |field| port.pointer(field).and_then(Value::as_i64).unwrap_or(0);
        let (own, node, protocol) = (number("/port"), number("/nodePort"), text(port, "/protocol"));
        if node > 0 { format!("{own}:{node}/{protocol}") } else { format!("{own}/{protocol}") }
    });
    vec![
        cell(service, "/metadata/name"),
        kind.into(),
        or_none(match text(service, "/spec/clusterIPs/0") {
            "" => text(service, "/spec/clusterIP"),
            address => address,
        }),
        external,
        or_none(&ports.collect::<Vec<_>>().join(",")),
        age,
        or_none(&labels(service.pointer("/spec/selector")).join(",")),
    ]
}

/// `key=value` of each label, in their order.
fn labels(labels: Option<&Value>) -> Vec<String> {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let mut shown: Vec<(&str, String)> = labels
        .map(|(key, value)| (&**key, format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    shown.sort_unstable();
    shown.into_iter().map(|(_, shown)| shown).collect()
}

/// A label selector in one line.
fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return "<none>".into() };
    let mut parts = labels(selector.get("matchLabels"));
    for one in items(selector, "/matchExpressions") {
        let (key, mut values) = (text(one, "/key"), strings(one, "/values"));
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match text(one, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if parts.is_empty() { "<none>".into() } else { parts.join(",") }
}

fn job(job: &Value, now: Timestamp) -> Cells {
    let count = |pointer: &str| job.pointer(pointer).and_then(Value::as_i64);
    let done = count("/status/succeeded").unwrap_or(0);
    let completions = match (count("/spec/completions"), count("/spec/parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    };
    let moment = |pointer: &str| text(job, pointer).parse::<Timestamp>().ok();
    let duration = match (moment("/status/startTime"), moment("/status/completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => {
            let length: SignedDuration = end.unwrap_or(now).duration_since(start);
            age::human(length)
        }
    };
    let is = |kind: &str| {
        items(job, "/status/conditions")
            .find(|one| text(one, "/type") == kind)
            .is_some_and(|one| text(one, "/status") == "True")
    };
    let status = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else {
        let others = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        others.into_iter().find(|kind| is(kind)).unwrap_or("Running")
    };
    let [names, images] = containers(job);
    vec![
        cell(job, "/metadata/name"),
        status.into(),
        completions.into(),
        duration.into(),
        age::since(job.pointer("/metadata/creationTimestamp"), now).into(),
        names,
        images,
        selector(job.pointer("/spec/selector")).into(),
    ]
}

fn event(event: &Value, now: Timestamp) -> Cells {
    let moment = |pointer: &str| event.pointer(pointer).filter(|moment| !moment.is_null());
    let first = moment("/firstTimestamp").or_else(|| moment("/eventTime"));
    let last = match event.get("series") {
        Some(series) if series.is_object() => series.get("lastObservedTime"),
        _ => moment("/lastTimestamp").or(first),
    };
    let count = |pointer: &str| event.pointer(pointer).and_then(Value::as_i64);
    let count = count("/series/count").or_else(|| count("/count")).filter(|&count| count > 0);
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    let object = match text(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let either = |one: &str, other: &str| match text(event, one) {
        "" => text(event, other).to_owned(),
        shown => shown.to_owned(),
    };
    let mut source = either("/source/component", "/reportingComponent");
    match either("/source/host", "/reportingInstance").as_str() {
        "" => {}
        instance => source = format!("{source}, {instance}"),
    }
    vec![
        age::since(last, now).into(),
        cell(event, "/type"),
        cell(event, "/reason"),
        object.into(),
        cell(event, "/involvedObject/fieldPath"),
        source.into(),
        text(event, "/message").trim().into(),
        age::since(first, now).into(),
        count.unwrap_or(1).into(),
        cell(event, "/metadata/name"),
    ]
}

/// The first three of a list, and how many more there are.
fn few(all: &[String]) -> Value {
    const SHOWN: usize = 3;
    let start = all.get(..SHOWN).unwrap_or(all).join(",");
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{start} + {more} more...").into(),
        _ if start.is_empty() => "<unset>".into(),
        _ => start.into(),
    }
}

fn slice_ports(slice: &Value) -> Value {
    let shown = |port: &Value| match (port.get("port"), port.get("name")) {
        (Some(Value::Number(number)), _) => number.to_string(),
        (_, Some(Value::String(name))) => name.clone(),
        _ => "*".to_owned(),
    };
    few(&items(slice, "/ports").map(shown).collect::<Vec<_>>())
}

fn slice_addresses(slice: &Value) -> Value {
    let addresses = items(slice, "/endpoints").flat_map(|one| strings(one, "/addresses"));
    few(&addresses.map(str::to_owned).collect::<Vec<_>>())
}

fn quota(quota: &Value, age: Value) -> Cells {
    let hard = quota.pointer("/status/hard").and_then(Value::as_object);
    let mut hard: Vec<(&String, &Value)> = hard.into_iter().flatten().collect();
    hard.sort_unstable_by_key(|(name, _)| *name);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in hard {
        let used = quota.pointer("/status/used").and_then(|used| used.get(name));
        let used = used.and_then(Value::as_str).unwrap_or("0");
        let shown = format!("{name}: {used}/{}", hard.as_str().unwrap_or("0"));
        if name.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
    }
    vec![cell(quota, "/metadata/name"), requests.join(", ").into(), limits.join(", ").into(), age]
}

fn binding(binding: &Value, age: Value) -> Cells {
    let role = format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
    let subjects = |kind: &str| -> Value {
        let wanted = items(binding, "/subjects").filter(|one| text(one, "/kind") == kind);
        let shown = wanted.map(|one| match kind {
            "ServiceAccount" => format!("{}/{}", text(one, "/namespace"), text(one, "/name")),
            _ => text(one, "/name").to_owned(),
        });
        shown.collect::<Vec<_>>().join(", ").into()
    };
    vec![
        cell(binding, "/metadata/name"),
        role.into(),
        age,
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
