//! The rules of Services, in the order in which a real server looks at them.

use serde_json::{Value, json};

use super::{
    KINDS, addresses, at, family, is_balanced, is_headless, is_reached_from_outside, kind, list,
    needs_health_port, number, text,
};
use crate::schema::{
    Cause,
    builtin::{check_one_of, check_port, check_port_or_name, entries, names},
    names::{label_value, qualified_name},
};

pub(in crate::schema::builtin) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";

pub(in crate::schema::builtin) fn check_service(
    new: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    if let Some(old) = old {
        addresses::check_change(new, old, causes);
        check_class(new, Some(old), causes);
        let port = |service: &Value| number(at(service, &["spec"]), "healthCheckNodePort");
        if needs_health_port(new) && needs_health_port(old) && port(new) != port(old) {
            causes.push(Cause::forbidden("spec.healthCheckNodePort", "field is immutable"));
        }
    }
    let spec = at(new, &["spec"]);
    check_kind(new, causes);
    let ports = list(spec, &["ports"]);
    for (index, port) in ports.iter().enumerate() {
        let (field, before) = (format!("spec.ports[{index}]"), &ports[..index]);
        check_service_port(&field, port, before, ports.len() > 1, causes);
    }
    check_selector(spec, causes);
    check_affinity(spec, causes);
    causes.extend(addresses::check(new, old));
    check_external_addresses(spec, old, causes);
    check_one_of("spec.type", at(spec, &["type"]), &KINDS, causes);
    check_numbers(new, causes);
    check_ranges(new, old, causes);
    if !at(spec, &["allocateLoadBalancerNodePorts"]).is_null() && !is_balanced(new) {
        causes.push(Cause::forbidden("spec.allocateLoadBalancerNodePorts", FOR_BALANCERS));
    }
    check_class(new, None, causes);
    check_policies(new, causes);
}

/// What the type of a Service asks for.
fn check_kind(service: &Value, causes: &mut Vec<Cause>) {
    let (spec, kind) = (at(service, &["spec"]), kind(service));
    let headless = is_headless(service);
    if list(spec, &["ports"]).is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), &detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let value = at(spec, &[field]);
                if !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty()) {
                    let detail = "may not be set for ExternalName services";
                    causes.push(Cause::forbidden(format!("spec.{field}"), detail));
                }
            }
            let name = text(spec, &["externalName"]);
            match name.strip_suffix('.').unwrap_or(name) {
                "" => causes.push(Cause::required("spec.externalName", "")),
                name => names::check_subdomain("spec.externalName", name, causes),
            }
        }
        _ => {}
    }
}

fn check_service_port(
    field: &str,
    port: &Value,
    before: &[Value],
    needs_name: bool,
    causes: &mut Vec<Cause>,
) {
    let name = text(port, &["name"]);
    if !name.is_empty() {
        names::check_label(&format!("{field}.name"), name, causes);
        if before.iter().any(|other| text(other, &["name"]) == name) {
            causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
        }
    } else if needs_name {
        causes.push(Cause::required(format!("{field}.name"), ""));
    }
    check_port(&format!("{field}.port"), at(port, &["port"]), causes);
    check_one_of(&format!("{field}.protocol"), at(port, &["protocol"]), &PROTOCOLS, causes);
    check_port_or_name(&format!("{field}.targetPort"), at(port, &["targetPort"]), causes);
    if let Some(protocol) = at(port, &["appProtocol"]).as_str() {
        names::check_qualified(&format!("{field}.appProtocol"), protocol, causes);
    }
}

fn check_selector(spec: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in entries(spec, &["selector"]) {
        for problem in qualified_name(key) {
            causes.push(Cause::invalid("spec.selector", &json!(key), &problem));
        }
        for problem in label_value(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("spec.selector", value, &problem));
        }
    }
}

fn check_affinity(spec: &Value, causes: &mut Vec<Cause>) {
    let affinity = at(spec, &["sessionAffinity"]);
    check_one_of("spec.sessionAffinity", affinity, &["ClientIP", "None"], causes);
    let timeout = at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    let within = timeout.as_i64().is_some_and(|seconds| (1..=86400).contains(&seconds));
    if affinity == "ClientIP" && !within {
        let detail = "must be greater than 0 and less than 86400";
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        causes.push(Cause::invalid(field, timeout, detail));
    }
}

/// A text that is no address.
pub(super) fn no_address(field: String, value: &Value) -> Cause {
    Cause::invalid(field, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
}

fn check_external_addresses(spec: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let known = old.map_or(&[][..], |old| list(old, &["spec", "externalIPs"]));
    for (index, address) in list(spec, &["externalIPs"]).iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        let given = address.as_str().unwrap_or_default();
        if family(given).is_none() && !known.contains(address) {
            causes.push(no_address(field, address));
            continue;
        }
        let ip = super::ipv4(given).map_or_else(|| given.parse().ok(), |ip| Some(ip.into()));
        let Some(ip): Option<std::net::IpAddr> = ip else { continue };
        let local = match ip {
            std::net::IpAddr::V4(ip) => ip.is_link_local(),
            std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let multicast = match ip {
            std::net::IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            std::net::IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        };
        let unspecified = format!("may not be unspecified ({given})");
        for (is, what) in [
            (ip.is_unspecified(), unspecified.as_str()),
            (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            (local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ] {
            if is {
                causes.push(Cause::invalid(&field, address, what));
            }
        }
    }
}

/// What ports say about nodes, and what they have in common.
fn check_numbers(service: &Value, causes: &mut Vec<Cause>) {
    let ports = list(service, &["spec", "ports"]);
    let on_node = |port: &Value| number(port, "nodePort");
    let protocol = |port: &Value| text(port, &["protocol"]).to_owned();
    for (index, port) in ports.iter().enumerate() {
        if kind(service) == "ClusterIP" && on_node(port) != 0 {
            let field = format!("spec.ports[{index}].nodePort");
            causes.push(Cause::forbidden(field, "may not be used when `type` is 'ClusterIP'"));
        }
    }
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| on_node(port) != 0) {
        let same =
            |other: &Value| on_node(other) == on_node(port) && protocol(other) == protocol(port);
        if ports[..index].iter().any(same) {
            let field = format!("spec.ports[{index}].nodePort");
            causes.push(Cause::duplicate(field, at(port, &["nodePort"])));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &Value| {
            number(other, "port") == number(port, "port") && protocol(other) == protocol(port)
        };
        if ports[..index].iter().any(same) {
            let (protocol, number) = (protocol(port), number(port, "port"));
            causes.push(Cause {
                reason: "FieldValueDuplicate".to_owned(),
                field: format!("spec.ports[{index}]"),
                message: format!(
                    r#"Duplicate value: {{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#
                ),
            });
        }
    }
}

fn check_ranges(service: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let ranges = |service: &Value| -> Vec<String> {
        let all = list(service, &["spec", "loadBalancerSourceRanges"]).iter();
        all.map(|range| range.as_str().unwrap_or_default().trim().to_owned()).collect()
    };
    let given = ranges(service);
    if given.is_empty() {
        return;
    }
    if !is_balanced(service) {
        causes.push(Cause::forbidden("spec.LoadBalancerSourceRanges", FOR_BALANCERS));
    }
    let known = old.map(ranges).unwrap_or_default();
    for (index, range) in given.iter().enumerate() {
        let valid = range.split_once('/').is_some_and(|(address, bits)| {
            let most = match family(address) {
                Some("IPv4") => 32,
                Some(_) => 128,
                None => return false,
            };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        });
        if !valid && !known.contains(range) {
            let field = format!("spec.LoadBalancerSourceRanges[{index}]");
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            causes.push(Cause::invalid(field, &json!(range), detail));
        }
    }
}

fn check_class(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let (field, class) = ("spec.loadBalancerClass", at(new, &["spec", "loadBalancerClass"]));
    if let Some(old) = old.filter(|old| is_balanced(old) && is_balanced(new))
        && at(old, &["spec", "loadBalancerClass"]) != class
    {
        causes.push(Cause::invalid(field, class, "may not change once set"));
    }
    match class.as_str() {
        Some(class) if is_balanced(new) => names::check_qualified(field, class, causes),
        Some(_) => causes.push(Cause::forbidden(field, FOR_BALANCERS)),
        None => {}
    }
}

fn check_policies(service: &Value, causes: &mut Vec<Cause>) {
    let spec = at(service, &["spec"]);
    let (field, policy) = ("spec.externalTrafficPolicy", at(spec, &["externalTrafficPolicy"]));
    if is_reached_from_outside(service) {
        check_one_of(field, policy, &["Cluster", "Local"], causes);
    } else if !policy.is_null() {
        let detail = "may only be set for externally-accessible services";
        causes.push(Cause::invalid(field, policy, detail));
    }
    let (field, port) = ("spec.healthCheckNodePort", at(spec, &["healthCheckNodePort"]));
    if needs_health_port(service) {
        check_port(field, port, causes);
    } else if !port.is_null() {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.push(Cause::invalid(field, port, detail));
    }
    let policy = at(spec, &["internalTrafficPolicy"]);
    check_one_of("spec.internalTrafficPolicy", policy, &["Cluster", "Local"], causes);
    let spread = at(spec, &["trafficDistribution"]);
    // In 1.34 the newer ones are behind a gate that is open.
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    check_one_of("spec.trafficDistribution", spread, &known, causes);
}
