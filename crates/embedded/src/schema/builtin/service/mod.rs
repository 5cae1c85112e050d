//! Service: its defaults, what follows from its addresses, and its rules.
//!
//! Many fields of a Service hang together, and clients may leave most of them out. [`prepare`] does
//! what must be done before addresses and ports are given, [`tidy`] what comes after.

mod addresses;
mod check;

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::{at, entries, fill, list, object_in, text};

pub(crate) use addresses::prepare;
pub(super) use check::{PROTOCOLS, check_service};

/// The address of a Service that wants none.
pub(crate) const NONE: &str = "None";

const KINDS: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn default_service(service: &mut Value) {
    let Some(spec) = object_in(service, "spec") else { return };
    fill(spec, "sessionAffinity", "None");
    fill(spec, "type", "ClusterIP");
    match spec.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => drop(spec.remove("sessionAffinityConfig")),
        Some("ClientIP") => {
            let given = spec.get("sessionAffinityConfig").unwrap_or(&Value::Null);
            if at(given, &["clientIP", "timeoutSeconds"]).is_null() {
                let config = json!({"clientIP": {"timeoutSeconds": 10800}});
                spec.insert("sessionAffinityConfig".into(), config);
            }
        }
        _ => {}
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = at(port, &["port"]).clone();
        let Some(port) = port.as_object_mut() else { continue };
        fill(port, "protocol", "TCP");
        if port.get("targetPort").is_none_or(|target| *target == 0) {
            port.remove("targetPort");
        }
        fill(port, "targetPort", number);
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "ClusterIP" | "NodePort" | "LoadBalancer" => {
            fill(spec, "internalTrafficPolicy", "Cluster");
        }
        // Only others have such a policy.
        "ExternalName" => drop(spec.remove("internalTrafficPolicy")),
        _ => {}
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    if is_reached_from_outside(service)
        && let Some(spec) = object_in(service, "spec")
    {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
}

/// Takes out what a Service of another type had and no longer needs, where the client did not
/// change it.
pub(crate) fn tidy(new: &mut Value, old: &Value) {
    let (before, now) = (at(old, &["spec"]), at(new, &["spec"]));
    let same = |field: &str| at(before, &[field]) == at(now, &[field]);
    let left = |one: fn(&Value) -> bool| one(old) && !one(new);
    let mut dropped = Vec::new();
    if left(needs_address) {
        if same("clusterIP") && same("clusterIPs") {
            dropped.extend(["clusterIP", "clusterIPs"]);
        }
        dropped.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| same(field)));
    }
    let ports =
        left(has_node_ports) && node_ports(new).all(|port| node_ports(old).any(|p| p == port));
    if left(needs_health_port) && same("healthCheckNodePort") {
        dropped.push("healthCheckNodePort");
    }
    if left(is_balanced) {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        dropped.extend(fields.into_iter().filter(|field| same(field)));
    }
    if left(is_reached_from_outside) && same("externalTrafficPolicy") {
        dropped.push("externalTrafficPolicy");
    }
    let unbalanced = !is_balanced(new);
    let Some(spec) = object_in(new, "spec") else { return };
    for field in dropped {
        spec.remove(field);
    }
    if ports {
        let all = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in all.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if unbalanced && let Some(status) = object_in(new, "status") {
        status.insert("loadBalancer".into(), json!({}));
    }
}

/// What a Service says that is of no use.
pub(super) fn warn(service: &Value, warnings: &mut Vec<String>) {
    let spec = at(service, &["spec"]);
    for (index, value) in list(spec, &["clusterIPs"]).iter().enumerate() {
        warnings.extend(odd_address(&format!("spec.clusterIPs[{index}]"), value));
    }
    let external = list(spec, &["externalIPs"]);
    let given = |field: &str| !text(spec, &[field]).is_empty();
    if kind(service) == "ClusterIP" && text(spec, &["clusterIP"]) == NONE {
        for (is, field) in [
            (given("loadBalancerIP"), "loadBalancerIP"),
            (!external.is_empty(), "externalIPs"),
            (text(spec, &["sessionAffinity"]) != "None", "SessionAffinity"),
        ] {
            if is {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    for (index, value) in external.iter().enumerate() {
        warnings.extend(odd_address(&format!("spec.externalIPs[{index}]"), value));
    }
    warnings.extend(odd_address("spec.loadBalancerIP", at(spec, &["loadBalancerIP"])));
    let named = kind(service) == "ExternalName";
    if named && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !named && given("externalName") {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
}

/// A warning about an address that has zeros before its numbers.
fn odd_address(field: &str, value: &Value) -> Option<String> {
    let given = value.as_str()?;
    let plain = ipv4(given)?.to_string();
    (plain != given).then(|| {
        format!(
            "{field}: non-standard IP address {given:?} will be considered invalid in a future Kubernetes release: use {plain:?}"
        )
    })
}

fn kind(service: &Value) -> &str {
    text(service, &["spec", "type"])
}

/// Whether a Service has an address at all, be it none.
pub(crate) fn needs_address(service: &Value) -> bool {
    kind(service) != "ExternalName"
}

/// Whether a Service is one without an address of its own.
pub(crate) fn is_headless(service: &Value) -> bool {
    matches!(list(service, &["spec", "clusterIPs"]), [one] if one == NONE)
}

/// Whether the ports of a Service may be open on nodes.
pub(crate) fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether a Service gets a port of nodes where it names none.
pub(crate) fn wants_node_ports(service: &Value) -> bool {
    kind(service) == "NodePort"
        || is_balanced(service)
            && at(service, &["spec", "allocateLoadBalancerNodePorts"]) != &json!(false)
}

fn is_balanced(service: &Value) -> bool {
    kind(service) == "LoadBalancer"
}

/// Whether a Service has a port for health checks.
pub(crate) fn needs_health_port(service: &Value) -> bool {
    is_balanced(service) && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_reached_from_outside(service: &Value) -> bool {
    has_node_ports(service)
        || kind(service) == "ClusterIP" && !list(service, &["spec", "externalIPs"]).is_empty()
}

fn has_selector(service: &Value) -> bool {
    entries(service, &["spec", "selector"]).next().is_some()
}

/// The number in a field of a port or a spec; 0 if there is none.
pub(crate) fn number(value: &Value, field: &str) -> i64 {
    at(value, &[field]).as_i64().unwrap_or(0)
}

/// The ports of nodes that the ports of a Service name.
pub(crate) fn node_ports(service: &Value) -> impl Iterator<Item = i64> {
    list(service, &["spec", "ports"])
        .iter()
        .map(|port| number(port, "nodePort"))
        .filter(|port| *port != 0)
}

/// The family of an address. Zeros before the numbers of an IPv4 address are let pass.
pub(crate) fn family(address: &str) -> Option<&'static str> {
    match ipv4(address) {
        Some(_) => Some("IPv4"),
        None => address.parse::<Ipv6Addr>().ok().map(|_| "IPv6"),
    }
}

/// An IPv4 address, perhaps with zeros before its numbers.
pub(crate) fn ipv4(address: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = address.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}
