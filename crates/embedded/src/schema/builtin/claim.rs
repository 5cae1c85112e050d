//! PersistentVolumeClaim, PersistentVolume and StorageClass.

use serde_json::{Value, json};

use super::{
    at, check_one_of, check_same, check_selector, entries, fill, fill_all, list, names, object_in,
    quantity::{self, Quantity},
    text,
};
use crate::schema::{Cause, diff::unified, shape::pretty};

const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

pub(super) fn default_claim(claim: &mut Value) {
    if let Some(spec) = object_in(claim, "spec") {
        fill(spec, "volumeMode", "Filesystem");
        // The old name of a source and the new one say the same, but for other namespaces.
        let of = |name: &str| spec.get(name).filter(|value| !value.is_null()).cloned();
        match (of("dataSource"), of("dataSourceRef")) {
            (Some(source), None) => drop(spec.insert("dataSourceRef".into(), source)),
            (None, Some(source)) if text(&source, &["namespace"]).is_empty() => {
                spec.insert("dataSource".into(), source);
            }
            _ => {}
        }
    }
}

pub(super) fn default_volume(volume: &mut Value) {
    if let Some(spec) = object_in(volume, "spec") {
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
    }
}

pub(super) fn default_class(class: &mut Value) {
    fill_all(
        class,
        &[("reclaimPolicy", json!("Delete")), ("volumeBindingMode", json!("Immediate"))],
    );
}

pub(super) fn check_claim(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_claim_spec("spec", at(new, &["spec"]), causes);
    if let Some(old) = old {
        check_claim_change(new, old, causes);
    }
}

/// Checks the spec of a claim, or of a template for claims.
pub(super) fn check_claim_spec(field: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let modes_field = format!("{field}.accessModes");
    check_access_modes(&modes_field, list(spec, &["accessModes"]), causes);
    check_selector(&format!("{field}.selector"), at(spec, &["selector"]), causes);
    let storage = at(spec, &["resources", "requests", "storage"]);
    let storage_field = format!("{field}.resources[storage]");
    match storage {
        Value::Null => causes.push(Cause::required(&storage_field, "")),
        storage => quantity::check_positive(&storage_field, storage, causes),
    }
    let class = text(spec, &["storageClassName"]);
    if !class.is_empty() {
        names::check_subdomain(&format!("{field}.storageClassName"), class, causes);
    }
    check_one_of(&format!("{field}.volumeMode"), at(spec, &["volumeMode"]), &VOLUME_MODES, causes);
}

fn check_access_modes(field: &str, modes: &[Value], causes: &mut Vec<Cause>) {
    if modes.is_empty() {
        causes.push(Cause::required(field, "at least 1 access mode is required"));
    }
    for mode in modes {
        check_one_of(field, mode, &ACCESS_MODES, causes);
    }
    let exclusive = modes.iter().filter(|mode| *mode == "ReadWriteOncePod").count();
    if exclusive > 0 && exclusive < modes.len() {
        causes
            .push(Cause::forbidden(field, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// Gives a field of an object the value that it has in another.
fn keep(object: &mut Value, other: &Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(object, |value, name| value.get_mut(name));
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        match at(other, path) {
            Value::Null => parent.remove(*last),
            value => parent.insert((*last).to_owned(), value.clone()),
        };
    }
}

/// A claim may be bound once, and grow when it is bound; nothing else changes.
fn check_claim_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (new_spec, old_spec) = (at(new, &["spec"]), at(old, &["spec"]));
    let (mut before, mut expected) = (old_spec.clone(), new_spec.clone());
    if text(old_spec, &["volumeName"]).is_empty() {
        keep(&mut before, new_spec, &["volumeName"]);
    }
    // A class may be given later to a claim that was made without one.
    if at(old_spec, &["storageClassName"]).is_null() {
        keep(&mut expected, old_spec, &["storageClassName"]);
    }
    if text(new, &["status", "phase"]) == "Bound" {
        keep(&mut expected, old_spec, &["resources", "requests", "storage"]);
        keep(&mut expected, old_spec, &["volumeAttributesClassName"]);
    }
    if expected != before {
        let shown = |spec: &Value| pretty("PersistentVolumeClaimSpec", spec);
        let difference = unified(&shown(&before), &shown(&expected));
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        );
        causes.push(Cause::forbidden("spec", &detail));
    }
    let size = |spec: &Value| Quantity::of(at(spec, &["resources", "requests", "storage"]));
    if let (Some(now), Some(before)) = (size(new_spec), size(old_spec))
        && now < before
    {
        let capacity = Quantity::of(at(old, &["status", "capacity", "storage"]));
        if capacity.is_some_and(|capacity| now <= capacity) {
            causes.push(Cause::forbidden(
                "spec.resources.requests.storage",
                "field can not be less than status.capacity",
            ));
        }
    }
    check_same("volumeMode", at(new_spec, &["volumeMode"]), at(old_spec, &["volumeMode"]), causes);
}

pub(super) fn check_volume(new: &Value, _old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = at(new, &["spec"]);
    check_access_modes("spec.accessModes", list(spec, &["accessModes"]), causes);
    if entries(spec, &["capacity"]).next().is_none() {
        causes.push(Cause::required("spec.capacity", ""));
    }
    for (name, value) in entries(spec, &["capacity"]) {
        if name == "storage" {
            quantity::check_positive("spec.capacity[storage]", value, causes);
        } else {
            causes.push(Cause::not_supported("spec.capacity", &json!(name), &["storage"]));
        }
    }
    let policies = ["Delete", "Recycle", "Retain"];
    let policy = at(spec, &["persistentVolumeReclaimPolicy"]);
    check_one_of("spec.persistentVolumeReclaimPolicy", policy, &policies, causes);
    check_one_of("spec.volumeMode", at(spec, &["volumeMode"]), &VOLUME_MODES, causes);
}

pub(super) fn check_class(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if text(new, &["provisioner"]).is_empty() {
        causes.push(Cause::required("provisioner", ""));
    }
    check_one_of("reclaimPolicy", at(new, &["reclaimPolicy"]), &["Delete", "Retain"], causes);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    check_one_of("volumeBindingMode", at(new, &["volumeBindingMode"]), &modes, causes);
    let Some(old) = old else { return };
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if at(new, &[field]) != at(old, &[field]) {
            causes.push(Cause::forbidden(field, &format!("updates to {field} are forbidden.")));
        }
    }
    check_same(
        "volumeBindingMode",
        at(new, &["volumeBindingMode"]),
        at(old, &["volumeBindingMode"]),
        causes,
    );
}
