//! Subresources that are verbs or views of their own: binding and eviction of pods, and scale.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use serde_json::{Value, json};

use super::{
    Api, Body, Status,
    access::Caller,
    decode::{self, Input, Wanted},
    delete::DeleteOptions,
    forms::Part,
    kinds::{Resource, ScalePaths, text},
    metadata::{self, Object},
    patch::Patch,
    query::{Query, WriteOptions},
    serve,
    write::{Target, other_uid},
};
use crate::schema::Cause;

fn only_post(parts: &Parts) -> Result<(), Status> {
    if parts.method == Method::POST { Ok(()) } else { Err(Status::method_not_allowed()) }
}

fn done() -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    let mut response = serve::json(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::CREATED;
    response
}

/// What is posted to an action of an object: an object of a kind of its own, of the same name.
fn posted(
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    target: &Target,
    (group, kind): (&str, &str),
) -> Result<(WriteOptions, Object), Status> {
    only_post(parts)?;
    let options = WriteOptions::new(query, Caller::of(parts), "CreateOptions")?;
    let object = decode::body(parts, body, Wanted::built_in(group, kind))?.object;
    if metadata::get(&object, "name") != target.name {
        let problem = format!("name in URL does not match name in {kind} object");
        return Err(Status::bad_request(problem));
    }
    Ok((options, object))
}

/// Assigns a pod to a node.
pub(crate) async fn bind(
    api: &Arc<Api>,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let (options, binding) = posted(parts, body, query, target, ("", "Binding"))?;
    let binding = Value::Object(binding);
    let node = text(&binding, "/target/name").to_owned();
    let kind = text(&binding, "/target/kind");
    if !matches!(kind, "" | "Node") {
        return Err(Status::unknown(format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        )));
    }
    if node.is_empty() {
        return Err(Status::unknown("target.name: Required value"));
    }
    let annotations = binding.pointer("/metadata/annotations").cloned();
    let refuse = |why: String| Status::conflict_on("", "pods/binding", &target.name, &why);
    let change = |pod: &Object| {
        let name = &target.name;
        if metadata::is_deleting(pod) {
            return Err(refuse(format!(
                "pod {name} is being deleted, cannot be assigned to a host"
            )));
        }
        let mut pod = Value::Object(pod.clone());
        let (wanted, uid) = (text(&binding, "/metadata/uid"), text(&pod, "/metadata/uid"));
        if !wanted.is_empty() && wanted != uid {
            return Err(other_uid(target, wanted, uid));
        }
        let assigned = text(&pod, "/spec/nodeName");
        if !assigned.is_empty() {
            return Err(refuse(format!("pod {name} is already assigned to node {assigned:?}")));
        }
        if pod.pointer("/spec/schedulingGates").is_some() {
            return Err(refuse(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        pod["spec"]["nodeName"] = node.as_str().into();
        if let Some(annotations) = &annotations {
            json_patch::merge(&mut pod, &json!({"metadata": {"annotations": annotations}}));
        }
        set_scheduled(&mut pod);
        match pod {
            Value::Object(pod) => Ok((pod, Vec::new())),
            _ => Err(target.not_found()),
        }
    };
    api.modify_unchecked(target, options.dry_run, change).await?;
    Ok(done())
}

fn set_scheduled(pod: &mut Value) {
    let condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastProbeTime": null, "lastTransitionTime": metadata::now(),
    });
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.cloned().unwrap_or_default();
    conditions.retain(|one| text(one, "/type") != "PodScheduled");
    conditions.push(condition);
    pod["status"]["conditions"] = conditions.into();
}

/// Deletes a pod, if that is allowed; there are no disruption budgets here.
pub(crate) async fn evict(
    api: &Arc<Api>,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let (write, eviction) = posted(parts, body, query, target, ("policy", "Eviction"))?;
    let options = eviction.get("deleteOptions").cloned().unwrap_or(Value::Null);
    let mut options = DeleteOptions::of_object(&options, Caller::of(parts))?;
    options.dry_run |= write.dry_run;
    api.delete(target, &options).await?;
    Ok(done())
}

/// Reads or sets the number of replicas.
pub(crate) async fn scale(
    api: &Arc<Api>,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let resource = &target.resource;
    let Some(paths) = &resource.scale else { return Err(Status::no_such_resource()) };
    let wanted = Wanted::built_in("autoscaling", "Scale");
    if parts.method == Method::GET {
        let entry = api.store.get(&resource.table, &target.key());
        let entry = entry.ok_or_else(|| target.not_found())?;
        let scale = scale_of(paths, &super::forms::served_object(resource, &entry));
        return Ok(serve::json(Bytes::from(scale.to_string())));
    }
    let options = WriteOptions::new(query, Caller::of(parts), "UpdateOptions")?;
    let change = match parts.method {
        Method::PUT => Change::Replace(decode::body(parts, body, wanted)?),
        Method::PATCH => {
            let media_type = decode::media_type(parts);
            Patch::check(media_type, resource.custom.is_some())?;
            Change::Patch(Patch::parse(media_type, body)?)
        }
        _ => return Err(Status::method_not_allowed()),
    };
    let change = |object: &Object| {
        let before = scale_of(paths, object);
        let scale = match &change {
            Change::Replace(input) => Value::Object(input.object.clone()),
            Change::Patch(patch) => {
                let before = before.as_object().cloned().unwrap_or_default();
                Value::Object(decode::patched(&patch.apply(&before)?, wanted)?.object)
            }
        };
        rescale(target, paths, object, &scale).map(|object| (object, Vec::new()))
    };
    let written = api.modify(target, Part::Main, &options, change).await?;
    let object: Object = serde_json::from_slice(&written.body).map_err(Status::internal)?;
    Ok(serve::json(Bytes::from(scale_of(paths, &object).to_string())))
}

enum Change {
    Replace(Input),
    Patch(Patch),
}

/// An object with the number of replicas of a scale.
fn rescale(
    target: &Target,
    paths: &ScalePaths,
    object: &Object,
    scale: &Value,
) -> Result<Object, Status> {
    let name = text(scale, "/metadata/name");
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let revision = text(scale, "/metadata/resourceVersion");
    if !revision.is_empty() && revision != metadata::get(object, "resourceVersion") {
        return Err(Status::modified(&target.resource, &target.name));
    }
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let cause =
            Cause::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &target.name, vec![cause]));
    }
    let mut object = Value::Object(object.clone());
    let mut place = &mut object;
    for name in paths.replicas.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = replicas.into();
    match object {
        Value::Object(object) => Ok(object),
        _ => Err(target.not_found()),
    }
}

fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = object.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn scale_of(paths: &ScalePaths, object: &Object) -> Value {
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut metadata = json!({});
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.get("metadata").and_then(|metadata| metadata.get(name)) {
            metadata[name] = value.clone();
        }
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {}, "status": {"replicas": number(&paths.status)},
    });
    if number(&paths.replicas) != 0 {
        scale["spec"]["replicas"] = number(&paths.replicas).into();
    }
    let selector = paths.selector.as_deref().and_then(|path| at(object, path));
    let selector = selector.map(selector_text).unwrap_or_default();
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A selector as text, from text or from an object.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut terms: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for one in expressions.into_iter().flatten() {
        let key = text(one, "/key");
        let values = one.get("values").and_then(Value::as_array).into_iter().flatten();
        let mut values: Vec<&str> = values.filter_map(Value::as_str).collect();
        values.sort_unstable();
        terms.push(match text(one, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort_unstable();
    terms.join(",")
}

/// Where the numbers of a built-in kind are.
pub(crate) fn built_in_scale(resource: &str) -> Option<ScalePaths> {
    (resource == "statefulsets").then(|| ScalePaths {
        replicas: "spec.replicas".into(),
        status: "status.replicas".into(),
        selector: Some("spec.selector".into()),
    })
}

/// Where the numbers of a version of a definition are.
pub(crate) fn custom_scale(version: &Value) -> Option<ScalePaths> {
    let scale = version.pointer("/subresources/scale").filter(|scale| scale.is_object())?;
    let path = |name: &str| text(scale, name).trim_start_matches('.').to_owned();
    let selector = path("/labelSelectorPath");
    Some(ScalePaths {
        replicas: path("/specReplicasPath"),
        status: path("/statusReplicasPath"),
        selector: Some(selector).filter(|path| !path.is_empty()),
    })
}

impl Resource {
    /// The subresources beside status, with their verbs, for discovery.
    pub(crate) fn subresources(
        &self,
    ) -> Vec<(&'static str, &'static str, &'static [&'static str])> {
        let mut all: Vec<(&'static str, &'static str, &'static [&'static str])> = Vec::new();
        if self.is("namespaces") {
            all.push(("finalize", "Namespace", &["update"]));
        }
        if self.is("pods") {
            all.push(("binding", "Binding", &["create"]));
            all.push(("eviction", "Eviction", &["create"]));
            all.push(("exec", "PodExecOptions", &["create", "get"]));
            all.push(("log", "Pod", &["get"]));
        }
        if self.scale.is_some() {
            all.push(("scale", "Scale", &["get", "patch", "update"]));
        }
        all
    }
}
