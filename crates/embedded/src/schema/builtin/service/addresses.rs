//! The addresses of a Service and their families, before any is given.
//!
//! This cluster has addresses of one family, as most have.

use serde_json::{Value, json};

use super::{
    NONE, family, has_selector, is_headless, kind, needs_address, needs_health_port,
    wants_node_ports,
};
use super::{at, list, node_ports, number, object_in, text};
use crate::schema::Cause;

/// The family that addresses are given of.
const FAMILY: &str = "IPv4";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// Completes what a client need not say about addresses; returns what contradicts.
pub(crate) fn prepare(service: &mut Value, old: Option<&Value>) -> Vec<Cause> {
    if let Some(old) = old {
        keep_given(service, old);
    }
    pair(service, old);
    settle_families(service, old)
}

fn put(service: &mut Value, field: &str, value: Value) {
    if let Some(spec) = object_in(service, "spec") {
        if value.is_null() {
            spec.remove(field);
        } else {
            spec.insert(field.into(), value);
        }
    }
}

/// What was given before stays, if a client leaves it out.
fn keep_given(service: &mut Value, old: &Value) {
    let before = at(old, &["spec"]);
    if needs_address(old) && needs_address(service) {
        for field in ["clusterIP", "clusterIPs"] {
            if at(service, &["spec", field]).is_null() {
                put(service, field, at(before, &[field]).clone());
            }
        }
    }
    if needs_health_port(old)
        && needs_health_port(service)
        && number(at(service, &["spec"]), "healthCheckNodePort") == 0
    {
        put(service, "healthCheckNodePort", at(before, &["healthCheckNodePort"]).clone());
    }
    if !wants_node_ports(old) || !wants_node_ports(service) {
        return;
    }
    let used: Vec<i64> =
        node_ports(service).filter(|port| node_ports(old).any(|before| before == *port)).collect();
    let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter(|port| number(port, "nodePort") == 0) {
        let same = list(before, &["ports"])
            .iter()
            .rfind(|other| text(other, &["name"]) == text(port, &["name"]));
        let known = same.map_or(0, |same| number(same, "nodePort"));
        if known != 0
            && !used.contains(&known)
            && let Some(port) = port.as_object_mut()
        {
            port.insert("nodePort".into(), known.into());
        }
    }
}

/// Old clients know `clusterIP` only: `clusterIPs` follows.
fn pair(service: &mut Value, old: Option<&Value>) {
    let one = text(service, &["spec", "clusterIP"]).to_owned();
    let all = at(service, &["spec", "clusterIPs"]).clone();
    let none = list(service, &["spec", "clusterIPs"]).is_empty();
    let Some(old) = old else {
        if !one.is_empty() && none {
            put(service, "clusterIPs", json!([one]));
        }
        return;
    };
    let (before, all_before) =
        (text(old, &["spec", "clusterIP"]), at(old, &["spec", "clusterIPs"]));
    if before == one {
        if none {
            put(service, "clusterIPs", all_before.clone());
        }
    } else if all == *all_before {
        let follows = if one.is_empty() { Value::Null } else { json!([one]) };
        put(service, "clusterIPs", follows);
    }
}

fn settle_families(service: &mut Value, old: Option<&Value>) -> Vec<Cause> {
    if !needs_address(service) {
        return Vec::new();
    }
    let bare = text(service, &["spec", "clusterIP"]) == NONE && !has_selector(service);
    if at(service, &["spec", "ipFamilyPolicy"]).is_null() {
        let before = old.map_or("", |old| text(old, &["spec", "ipFamilyPolicy"]));
        let policy = match before {
            "" if bare => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        };
        put(service, "ipFamilyPolicy", policy.into());
    }
    let mut causes = check(service, old);
    if !causes.is_empty() {
        return causes;
    }
    causes.extend(narrow(service, old));
    causes.extend(infer(service));
    if !causes.is_empty() {
        return causes;
    }
    let mut families = at(service, &["spec", "ipFamilies"]).clone();
    let policy = at(service, &["spec", "ipFamilyPolicy"]).clone();
    let known = families.as_array().map_or(0, Vec::len);
    if bare {
        // Nobody knows which addresses a Service without a selector will point to.
        if known == 0 {
            families = json!([FAMILY]);
        }
        if known < 2
            && policy != "SingleStack"
            && let Some(families) = families.as_array_mut()
        {
            let other = FAMILIES.into_iter().find(|other| !families.iter().any(|f| f == other));
            families.extend(other.map(Value::from));
        }
        put(service, "ipFamilies", families);
        return causes;
    }
    if policy == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy, detail));
    }
    for (index, family) in list(service, &["spec", "ipFamilies"]).iter().enumerate() {
        if family != FAMILY {
            let field = format!("spec.ipFamilies[{index}]");
            causes.push(Cause::invalid(field, family, "not configured on this cluster"));
        }
    }
    if causes.is_empty() && known == 0 {
        put(service, "ipFamilies", json!([FAMILY]));
    }
    causes
}

/// A Service may go back to one family.
fn narrow(service: &mut Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let policy = at(service, &["spec", "ipFamilyPolicy"]).clone();
    let single = policy == "SingleStack";
    let parts = [
        ("clusterIPs", "secondary cluster IP", "cluster IPs"),
        ("ipFamilies", "secondary IP family", "IP families"),
    ];
    for (field, second, _) in parts {
        let Some(old) = old else { break };
        let (now, before) = (list(service, &["spec", field]), list(old, &["spec", field]));
        if single && now == before && now.len() > 1 {
            let first = Value::from(now[..1].to_vec());
            put(service, field, first);
        } else if !single && !now.is_empty() && now.len() < before.len() {
            let detail = format!("must be 'SingleStack' to release the {second}");
            causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy, &detail));
        }
    }
    for (field, _, several) in parts {
        if single && list(service, &["spec", field]).len() == 2 {
            let detail = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {several} are specified"
            );
            causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy, &detail));
        }
    }
    causes
}

/// The families follow from addresses that a client chose.
fn infer(service: &mut Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let all = at(service, &["spec", "clusterIPs"]).clone();
    let mut families = list(service, &["spec", "ipFamilies"]).to_vec();
    let given = families.len();
    for (index, address) in list(&all, &[]).iter().enumerate().skip(given) {
        let address = address.as_str().unwrap_or_default();
        if address == NONE {
            break;
        }
        match family(address) {
            Some(family) if family == FAMILY => families.push(family.into()),
            family => {
                let detail =
                    format!("{} is not configured on this cluster", family.unwrap_or("unknown"));
                causes.push(Cause::invalid(format!("spec.clusterIPs[{index}]"), &all, &detail));
            }
        }
    }
    if families.len() > given {
        put(service, "ipFamilies", families.into());
    }
    causes
}

/// What is wrong with the addresses, families and policy of a Service by themselves.
pub(super) fn check(service: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if kind(service) == "ExternalName" {
        return causes;
    }
    let spec = at(service, &["spec"]);
    let (one, all) = (text(spec, &["clusterIP"]), list(spec, &["clusterIPs"]));
    let shown = at(spec, &["clusterIPs"]);
    let invalid = |causes: &mut Vec<Cause>, detail: &str| {
        causes.push(Cause::invalid("spec.clusterIPs", shown, detail));
    };
    match (one, all.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            invalid(&mut causes, "must be empty when `clusterIP` is not specified");
        }
        (_, None) => causes.push(Cause::required("spec.clusterIPs", "")),
        (one, Some(first)) if first != one => {
            invalid(&mut causes, "first value must match `clusterIP`");
        }
        _ => {}
    }
    check_families(spec, &mut causes);
    let known = old.map_or(&[][..], |old| list(old, &["spec", "clusterIPs"]));
    let mut broken = false;
    for (index, address) in all.iter().enumerate() {
        if index == 0 && address == NONE {
            if all.len() > 1 {
                broken = true;
                invalid(&mut causes, "'None' must be the first and only value");
            }
        } else if !known.contains(address) && family(address.as_str().unwrap_or_default()).is_none()
        {
            broken = true;
            causes.push(super::check::no_address(format!("spec.clusterIPs[{index}]"), address));
        }
    }
    if all.len() > 2 {
        invalid(&mut causes, "may only hold up to 2 values");
    }
    if broken {
        return causes;
    }
    let families = || all.iter().map(|address| family(address.as_str().unwrap_or_default()));
    if all.len() > 1 && !FAMILIES.iter().all(|one| families().any(|family| family == Some(one))) {
        invalid(&mut causes, "may specify no more than one IP for each IP family");
    }
    if !is_headless(service) {
        let pairs = all.iter().zip(families()).zip(list(spec, &["ipFamilies"])).enumerate();
        for (index, ((address, is), wanted)) in pairs {
            let wanted = wanted.as_str().unwrap_or_default();
            if is.is_some_and(|is| is != wanted) && FAMILIES.contains(&wanted) {
                let detail =
                    format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
                causes.push(Cause::invalid(format!("spec.clusterIPs[{index}]"), address, &detail));
            }
        }
    }
    causes
}

fn check_families(spec: &Value, causes: &mut Vec<Cause>) {
    let families = list(spec, &["ipFamilies"]);
    for (index, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !family.as_str().is_some_and(|family| FAMILIES.contains(&family)) {
            causes.push(Cause::not_supported(&field, family, &FAMILIES));
        }
        if families[..index].contains(family) {
            causes.push(Cause::duplicate(&field, family));
        }
    }
    super::super::check_one_of(
        "spec.ipFamilyPolicy",
        at(spec, &["ipFamilyPolicy"]),
        &POLICIES,
        causes,
    );
}

/// What of the addresses and families of a Service may not change.
pub(super) fn check_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if !needs_address(new) || !needs_address(old) {
        return;
    }
    let (headless, before) = (is_headless(new), is_headless(old));
    if !(headless && before) {
        check_kept("clusterIPs", "clusterIP", new, old, causes);
    }
    if !headless && !before {
        check_kept("ipFamilies", "ipFamily", new, old, causes);
    }
}

fn check_kept(field: &str, one: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (now, before) = (list(new, &["spec", field]), list(old, &["spec", field]));
    let shown = at(new, &["spec", field]);
    let mut invalid = |index: usize, detail: &str| {
        causes.push(Cause::invalid(format!("spec.{field}[{index}]"), shown, detail));
    };
    if now.len() == before.len() {
        for index in 0..now.len() {
            if now[index] != before[index] {
                invalid(if field == "ipFamilies" { 0 } else { index }, "may not change once set");
            }
        }
        return;
    }
    if now.is_empty() {
        invalid(0, &format!("primary {one} can not be unset"));
    }
    if let (Some(now), Some(before)) = (now.first(), before.first())
        && now != before
    {
        invalid(0, "may not change once set");
    }
    let policy = at(new, &["spec", "ipFamilyPolicy"]);
    if now.len() == 1 && before.len() > 1 && policy != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        causes.push(Cause::invalid("spec.ipFamilyPolicy", policy, &detail));
    }
}
