//! What a pod asks for and processes of one user on one machine do not get. It is said, not
//! pretended.

use k8s_openapi::api::core::v1::{Container, Pod};

/// The fields that are set and have no effect.
pub(crate) fn unenforced(pod: &Pod, container: &Container) -> Vec<&'static str> {
    let pod_context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let volumes = container.volume_mounts.iter().flatten();
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    [
        ("resources.limits", limits.is_some_and(|limits| !limits.is_empty())),
        (
            "securityContext",
            container.security_context.is_some()
                || pod_context.is_some_and(|context| *context != Default::default()),
        ),
        ("lifecycle", container.lifecycle.is_some()),
        ("volumeMounts[].readOnly", volumes.clone().any(|mount| mount.read_only == Some(true))),
        ("volumeDevices", container.volume_devices.as_ref().is_some_and(|list| !list.is_empty())),
    ]
    .into_iter()
    .filter_map(|(field, set)| set.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_has_no_effect() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "main", "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
        }))
        .unwrap();
        let pod = Pod::default();
        assert_eq!(unenforced(&pod, &container), ["resources.limits", "volumeMounts[].readOnly"]);
        assert!(unenforced(&pod, &Container::default()).is_empty());
    }
}
