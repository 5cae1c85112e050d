//! Service and EndpointSlice.

use serde_json::{Value, json};

use super::{
    at, check_one_of, check_port, check_port_or_name, check_same, fill, fill_all, list, names,
    object_in, text,
};
use crate::schema::Cause;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn default_service(service: &mut Value) {
    let Some(spec) = object_in(service, "spec") else { return };
    fill(spec, "sessionAffinity", "None");
    fill(spec, "type", "ClusterIP");
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
    if kind != "ExternalName" {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if ["NodePort", "LoadBalancer"].contains(&kind.as_str()) {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec.get("sessionAffinity").is_some_and(|affinity| affinity == "ClientIP") {
        fill(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
}

pub(super) fn check_service(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = at(new, &["spec"]);
    let kind = text(spec, &["type"]);
    let ports = list(spec, &["ports"]);
    let headless = text(spec, &["clusterIP"]) == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    check_one_of(
        "spec.sessionAffinity",
        at(spec, &["sessionAffinity"]),
        &["ClientIP", "None"],
        causes,
    );
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    check_one_of("spec.type", at(spec, &["type"]), &kinds, causes);
    if kind == "ExternalName" {
        match text(spec, &["externalName"]) {
            "" => causes.push(Cause::required("spec.externalName", "")),
            name => names::check_subdomain("spec.externalName", name.trim_end_matches('.'), causes),
        }
        if !text(spec, &["clusterIP"]).is_empty() {
            causes.push(Cause::forbidden(
                "spec.clusterIPs[0]",
                "may not be set for ExternalName services",
            ));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        check_service_port(
            &format!("spec.ports[{index}]"),
            port,
            &ports[..index],
            ports.len() > 1,
            causes,
        );
    }
    let Some(old) = old else { return };
    let before = text(old, &["spec", "clusterIP"]);
    let stays = kind != "ExternalName" && text(old, &["spec", "type"]) != "ExternalName";
    if stays && !before.is_empty() && before != text(spec, &["clusterIP"]) {
        let given = json!([text(spec, &["clusterIP"])]);
        causes.push(Cause::invalid("spec.clusterIPs[0]", &given, "may not change once set"));
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
    let pair = |port: &Value| (at(port, &["port"]).clone(), text(port, &["protocol"]).to_owned());
    if before.iter().any(|other| pair(other) == pair(port)) {
        let (number, protocol) = pair(port);
        let shown = format!(
            r#"{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#
        );
        causes.push(Cause {
            reason: "FieldValueDuplicate".to_owned(),
            field: field.to_owned(),
            message: format!("Duplicate value: {shown}"),
        });
    }
}

pub(super) fn default_slice(slice: &mut Value) {
    for port in slice.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        fill_all(port, &[("name", json!("")), ("protocol", json!("TCP"))]);
    }
}

pub(super) fn check_slice(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let family = at(new, &["addressType"]);
    if family.is_null() || family == "" {
        causes.push(Cause::required("addressType", ""));
    } else {
        check_one_of("addressType", family, &["FQDN", "IPv4", "IPv6"], causes);
    }
    if let Some(old) = old {
        check_same("addressType", family, at(old, &["addressType"]), causes);
    }
    for (index, endpoint) in list(new, &["endpoints"]).iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let addresses = list(endpoint, &["addresses"]);
        if addresses.is_empty() {
            causes.push(Cause::required(&field, "must contain at least 1 address"));
        }
        for (index, address) in addresses.iter().enumerate() {
            check_address(&format!("{field}[{index}]"), family, address, causes);
        }
    }
    let ports = list(new, &["ports"]);
    for (index, port) in ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        let name = text(port, &["name"]);
        if ports[..index].iter().any(|other| text(other, &["name"]) == name) {
            causes.push(Cause::duplicate(format!("{field}.name"), &json!(name)));
        }
        if !name.is_empty() {
            names::check_label(&format!("{field}.name"), name, causes);
        }
        check_one_of(&format!("{field}.protocol"), at(port, &["protocol"]), &PROTOCOLS, causes);
    }
}

fn check_address(field: &str, family: &Value, address: &Value, causes: &mut Vec<Cause>) {
    let given = address.as_str().unwrap_or_default();
    match family.as_str() {
        Some("IPv4") if given.parse::<std::net::Ipv4Addr>().is_err() => {
            causes.push(Cause::invalid(field, address, "must be an IPv4 address"));
        }
        Some("IPv6") if given.parse::<std::net::Ipv6Addr>().is_err() => {
            causes.push(Cause::invalid(field, address, "must be an IPv6 address"));
        }
        Some("FQDN") => names::check_subdomain(field, given.trim_end_matches('.'), causes),
        _ => {}
    }
}
