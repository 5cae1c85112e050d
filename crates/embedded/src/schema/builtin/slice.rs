//! EndpointSlice.

use serde_json::{Value, json};

use super::{at, check_one_of, check_same, fill_all, list, names, service::PROTOCOLS, text};
use crate::schema::Cause;

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
