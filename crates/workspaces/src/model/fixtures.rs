//! Objects that tests start from.

use serde_json::json;

use super::{Workspace, WorkspaceKind};

/// The example of the contract, with everything that the controller copies.
pub(crate) fn kind() -> WorkspaceKind {
    let value = json!({
        "apiVersion": super::API_VERSION,
        "kind": "WorkspaceKind",
        "metadata": {"name": "notebook"},
        "spec": {
            "spawner": {
                "displayName": "Notebook",
                "description": "Browser notebook server",
                "icon": {"url": "https://img.example.org/nb-icon.svg"},
                "logo": {"url": "https://img.example.org/nb-logo.svg"},
            },
            "podTemplate": {
                "podMetadata": {"labels": {"from": "kind"}, "annotations": {"note": "kind"}},
                "probes": {"readinessProbe": {"tcpSocket": {"port": 8888}, "periodSeconds": 1}},
                "volumeMounts": {"home": "/home/user"},
                "ports": [
                    {"id": "web", "protocol": "HTTP", "defaultDisplayName": "Notebook"},
                    {"id": "api", "protocol": "HTTP", "defaultDisplayName": "API"},
                ],
                "extraEnv": [
                    {"name": "BASE_URL", "value": "{{ httpPathPrefix \"web\" }}"},
                    {"name": "NO_PORT", "value": "<{{ httpPathPrefix \"api\" }}>"},
                    {"name": "EMPTY", "value": ""},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                ],
                "extraVolumes": [{"name": "dshm", "emptyDir": {"medium": "Memory"}}],
                "extraVolumeMounts": [
                    {"name": "dshm", "mountPath": "/dev/shm"},
                    {"name": "not-there", "mountPath": "/nowhere"},
                ],
                "securityContext": {"fsGroup": 100},
                "containerSecurityContext": {"runAsNonRoot": true},
                "options": {
                    "imageConfig": {
                        "spawner": {"default": "img-2"},
                        "values": [
                            {
                                "id": "img-1",
                                "spawner": {"displayName": "Image 1", "hidden": true},
                                "redirect": {"to": "img-2"},
                                "spec": {
                                    "image": "reg.example.org/nb:1",
                                    "ports": [{"id": "web", "port": 8888}],
                                },
                            },
                            {
                                "id": "img-2",
                                "spawner": {"displayName": "Image 2"},
                                "spec": {
                                    "image": "reg.example.org/nb:2",
                                    "ports": [{"id": "web", "port": 8888}],
                                },
                            },
                        ],
                    },
                    "podConfig": {
                        "spawner": {"default": "small"},
                        "values": [{
                            "id": "small",
                            "spawner": {
                                "displayName": "Small",
                                "labels": [{"key": "size", "value": "s"}],
                            },
                            "spec": {
                                "nodeSelector": {"disk": "fast"},
                                "resources": {"requests": {"cpu": "100m"}},
                            },
                        }],
                    },
                },
            },
        },
    });
    serde_json::from_value(value).unwrap()
}

/// A workspace of [`kind`] in namespace `team-a`.
pub(crate) fn workspace(name: &str) -> Workspace {
    serde_json::from_value(json!({
        "apiVersion": super::API_VERSION,
        "kind": "Workspace",
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {
            "kind": "notebook",
            "podTemplate": {
                "volumes": {},
                "options": {"imageConfig": "img-2", "podConfig": "small"},
            },
        },
    }))
    .unwrap()
}
