//! LimitRange: what one container, pod or claim may ask for, and what a container gets that does
//! not say.

use serde_json::{Value, json};

use super::{
    Api,
    kinds::text,
    metadata::{self, Object},
    quota::{
        amount::{Amount, Amounts, read},
        usage,
    },
    status::Status,
    write::Target,
};

const TABLE: &str = "limitranges";
/// Tells what a pod got.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The limits of a namespace, all ranges together.
fn limits(api: &Api, namespace: &str) -> Vec<Value> {
    if api.store.count(TABLE) == 0 {
        return Vec::new();
    }
    let ranges = api.store.list(TABLE, &format!("{namespace}/")).entries;
    let limits = ranges.iter().map(|(_, range)| Value::Object(range.object()));
    limits
        .flat_map(|range| match range.pointer("/spec/limits") {
            Some(Value::Array(limits)) => limits.clone(),
            _ => Vec::new(),
        })
        .collect()
}

fn of_type<'a>(limits: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    limits.iter().filter(move |limit| text(limit, "/type") == name)
}

/// Gives the containers of a new pod what they do not ask for.
pub(super) fn fill_in(api: &Api, target: &Target, pod: &mut Object) {
    if !target.resource.is("pods") {
        return;
    }
    let limits = limits(api, &target.namespace);
    let mut given = Vec::new();
    for limit in of_type(&limits, "Container") {
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            let containers =
                pod.get_mut("spec").and_then(|spec| spec.get_mut(list)?.as_array_mut());
            for container in containers.into_iter().flatten() {
                let name = text(container, "/name").to_owned();
                let mut fill = |part: &str, defaults: &str| {
                    let filled = fill_part(container, part, limit.get(defaults));
                    if !filled.is_empty() {
                        let part = part.trim_end_matches('s');
                        given.push(format!("{} {part} for {what} {name}", filled.join(", ")));
                    }
                };
                fill("requests", "defaultRequest");
                fill("limits", "default");
            }
        }
    }
    if given.is_empty() {
        return;
    }
    let annotations = pod.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let mut annotations = annotations.and_then(Value::as_object).cloned().unwrap_or_default();
    let told = format!("LimitRanger plugin set: {}", given.join("; "));
    annotations.insert(ANNOTATION.into(), told.into());
    metadata::set(pod, "annotations", annotations);
}

/// Fills in requests or limits of a container; returns the names of what it did not have.
fn fill_part(container: &mut Value, part: &str, defaults: Option<&Value>) -> Vec<String> {
    let Some(defaults) = defaults.and_then(Value::as_object) else { return Vec::new() };
    let Some(container) = container.as_object_mut() else { return Vec::new() };
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    let Some(resources) = resources.as_object_mut() else { return Vec::new() };
    let amounts = resources.entry(part).or_insert_with(|| json!({}));
    let Some(amounts) = amounts.as_object_mut() else { return Vec::new() };
    let missing: Vec<_> =
        defaults.iter().filter(|(name, _)| !amounts.contains_key(*name)).collect();
    let names = missing.iter().map(|(name, _)| (*name).clone()).collect();
    for (name, amount) in missing {
        amounts.insert(name.clone(), amount.clone());
    }
    if amounts.is_empty() {
        resources.remove(part);
    }
    names
}

/// Refuses what asks for less or more than it may.
pub(super) fn check(api: &Api, target: &Target, object: &Object) -> Result<(), Status> {
    let pod = target.resource.is("pods");
    if !pod && !target.resource.is("persistentvolumeclaims") {
        return Ok(());
    }
    let limits = limits(api, &target.namespace);
    if limits.is_empty() {
        return Ok(());
    }
    let object = Value::Object(object.clone());
    let mut problems = Vec::new();
    for limit in &limits {
        match text(limit, "/type") {
            "Container" if pod => {
                for list in ["containers", "initContainers"] {
                    for one in usage::containers(&object, list) {
                        let part = |part: &str| usage::resources(one, part);
                        compare(limit, &part("requests"), Some(&part("limits")), &mut problems);
                    }
                }
            }
            "Pod" if pod => {
                let sum = |part: &str| usage::sum(&object, part);
                compare(limit, &sum("requests"), Some(&sum("limits")), &mut problems);
            }
            "PersistentVolumeClaim" if !pod => {
                let requests = read(object.pointer("/spec/resources/requests"));
                compare(limit, &requests, None, &mut problems);
            }
            _ => {}
        }
    }
    problems.dedup();
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::forbidden(&target.resource, &target.name, one)),
        several => {
            let all = format!("[{}]", several.join(", "));
            Err(Status::forbidden(&target.resource, &target.name, &all))
        }
    }
}

/// Holds amounts to a limit. Claims have no limits of their own.
fn compare(
    limit: &Value,
    requests: &Amounts,
    limits: Option<&Amounts>,
    problems: &mut Vec<String>,
) {
    let kind = text(limit, "/type");
    let of = |name: &str| read(limit.get(name));
    for (name, least) in of("min") {
        let what = format!("minimum {name} usage per {kind} is {least}");
        let limit = limits.and_then(|limits| limits.get(&name));
        problems.extend(match (requests.get(&name), limit) {
            (None, _) => Some(format!("{what}.  No request is specified")),
            (Some(request), _) if least.exceeds(*request) => {
                Some(format!("{what}, but request is {request}"))
            }
            (_, Some(limit)) if least.exceeds(*limit) => {
                Some(format!("{what}, but limit is {limit}"))
            }
            _ => None,
        });
    }
    for (name, most) in of("max") {
        let what = format!("maximum {name} usage per {kind} is {most}");
        let request = requests.get(&name);
        let over = request.filter(|request| request.exceeds(most));
        let over = over.map(|request| format!("{what}, but request is {request}"));
        problems.extend(match limits.map(|limits| limits.get(&name)) {
            None if request.is_none() => Some(format!("{what}.  No request is specified")),
            Some(None) => Some(format!("{what}.  No limit is specified")),
            Some(Some(limit)) if limit.exceeds(most) => {
                Some(format!("{what}, but limit is {limit}"))
            }
            _ => over,
        });
    }
    let Some(limits) = limits else { return };
    for (name, most) in of("maxLimitRequestRatio") {
        let what = format!("{name} max limit to request ratio per {kind} is {most}");
        let some = |amounts: &Amounts| amounts.get(&name).copied().filter(|one| !one.is_zero());
        problems.extend(match (some(requests), some(limits)) {
            (None, _) => Some(format!("{what}, but no request is specified or request is 0")),
            (_, None) => Some(format!("{what}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit.times(request);
                (ratio > most.times(Amount::whole(1)))
                    .then(|| format!("{what}, but provided ratio is {ratio:.6}"))
            }
        });
    }
}
