//! What a pod may be told about itself: the downward API.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

/// A field that does not exist or is not offered.
pub(crate) type Unknown = String;

/// The value of a `fieldRef`.
pub(crate) fn field(pod: &Pod, address: Ipv4Addr, path: &str) -> Result<String, Unknown> {
    let spec = pod.spec.as_ref();
    let owned = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    match path {
        "metadata.name" => return Ok(pod.name_any()),
        "metadata.namespace" => return Ok(pod.namespace().unwrap_or_default()),
        "metadata.uid" => return Ok(pod.uid().unwrap_or_default()),
        "metadata.labels" => return Ok(lines(pod.labels())),
        "metadata.annotations" => return Ok(lines(pod.annotations())),
        "spec.nodeName" => return owned(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => {
            return owned(spec.and_then(|spec| spec.service_account_name.as_ref()));
        }
        "status.podIP" | "status.podIPs" => return Ok(address.to_string()),
        "status.hostIP" | "status.hostIPs" => return Ok(super::HOST_ADDRESS.to_string()),
        _ => {}
    }
    for (prefix, map) in
        [("metadata.labels", pod.labels()), ("metadata.annotations", pod.annotations())]
    {
        let key =
            path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix("['")?.strip_suffix("']"));
        if let Some(key) = key {
            return Ok(map.get(key).cloned().unwrap_or_default());
        }
    }
    Err(format!("unsupported fieldPath: {path}"))
}

fn lines(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// The value of a `resourceFieldRef`: what the container asks for, or all of the machine.
pub(crate) fn resource(container: &Container, name: &str) -> Result<String, Unknown> {
    let (list, resource) =
        name.split_once('.').ok_or_else(|| format!("unsupported resource: {name}"))?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let quantity = match list {
        "limits" => limits.and_then(|limits| limits.get(resource)),
        "requests" => requests
            .and_then(|requests| requests.get(resource))
            .or_else(|| limits.and_then(|limits| limits.get(resource))),
        _ => return Err(format!("unsupported resource: {name}")),
    };
    match (quantity.and_then(|quantity| super::quantity::parse(&quantity.0)), resource) {
        // Rounded up to whole cores or bytes, as with the default divisor.
        (Some(value), _) => Ok(format!("{:.0}", value.ceil())),
        (None, "cpu") => {
            Ok(std::thread::available_parallelism().map_or(1, usize::from).to_string())
        }
        (None, "memory") => Ok(super::machine::memory_bytes().to_string()),
        (None, _) => Ok("0".to_owned()),
    }
}
