use std::path::Path;

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::*;

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

fn schema(index: usize) -> Value {
    crds().nth(index).unwrap().pointer(SCHEMA).unwrap().clone()
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions");
    for derived in [Workspace::crd(), WorkspaceKind::crd()] {
        let mut derived = cluster::crds::tidy(derived);
        // A derived schema requires `spec`; the published ones do not.
        for version in &mut derived.spec.versions {
            version.schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap().required = None;
        }
        let name = derived.metadata.name.clone().unwrap();
        let changed = cluster::crds::commit(&directory, &derived).unwrap();
        assert!(!changed, "{name} was out of date and is written anew: build again");
        let found = crds().find(|crd| crd["metadata"]["name"] == *name);
        assert_eq!(found, Some(serde_json::to_value(derived).unwrap()));
    }
}

#[test]
fn the_definitions_are_complete() {
    // The kind's core types come from Kubernetes; their schemas are not ours to pin.
    for mut value in crds() {
        let name = value["metadata"]["name"].as_str().unwrap().to_owned();
        let pod_template = value
            .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/podTemplate/properties")
            .unwrap();
        shorten(pod_template);
        insta::assert_json_snapshot!(name, value);
    }
}

fn shorten(schema: &mut Value) {
    for pointer in [
        "/extraEnv/items/properties",
        "/extraVolumeMounts/items/properties",
        "/extraVolumes/items/properties",
        "/securityContext/properties",
        "/containerSecurityContext/properties",
        "/probes/properties/startupProbe/properties",
        "/probes/properties/livenessProbe/properties",
        "/probes/properties/readinessProbe/properties",
        "/options/properties/podConfig/properties/values/items/properties/spec/properties/affinity/properties",
        "/options/properties/podConfig/properties/values/items/properties/spec/properties/tolerations/items/properties",
        "/options/properties/podConfig/properties/values/items/properties/spec/properties/resources/properties",
    ] {
        if let Some(properties) = schema.pointer_mut(pointer) {
            *properties = json!("…");
        }
    }
}

#[test]
fn nothing_is_nullable_and_spec_is_optional() {
    for index in 0..2 {
        let schema = schema(index);
        assert_eq!(schema.get("required"), None);
        assert!(!schema.to_string().contains("\"nullable\""));
    }
}

#[test]
fn the_example_of_a_kind_survives_a_round_trip() {
    let kind: WorkspaceKind = serde_json::from_value(example_kind()).unwrap();
    assert_eq!(kind.spec.pod_template.extra_env[0].text("name"), Some("BASE_URL"));
    let back = serde_json::to_value(&kind).unwrap();
    let again: WorkspaceKind = serde_json::from_value(back).unwrap();
    assert_eq!(kind, again);
}

#[test]
fn a_workspace_of_older_definitions_still_parses() {
    let workspace: Workspace = serde_json::from_value(json!({
        "apiVersion": API_VERSION,
        "kind": "Workspace",
        "metadata": {"name": "lab", "namespace": "team-a"},
        "spec": {
            "kind": "notebook",
            "deferUpdates": true,
            "podTemplate": {"volumes": {}, "options": {"imageConfig": "a", "podConfig": "b"}},
        },
        "status": {"state": "Paused", "activity": {"lastActivity": 1}},
    }))
    .unwrap();
    assert!(!workspace.spec.paused);
    assert_eq!(workspace.status.unwrap().state, WorkspaceState::Paused);
}

fn example_kind() -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "WorkspaceKind",
        "metadata": {"name": "notebook"},
        "spec": {
            "spawner": {
                "displayName": "Notebook",
                "description": "Browser notebook server",
                "icon": {"url": "https://img.example.org/nb-icon.svg"},
                "logo": {"configMap": {
                    "namespace": "platform", "name": "logos", "key": "nb.svg",
                    "mediaType": "image/svg+xml",
                }},
            },
            "podTemplate": {
                "volumeMounts": {"home": "/home/user"},
                "ports": [{
                    "id": "web", "protocol": "HTTP", "defaultDisplayName": "Notebook",
                    "httpProxy": {"removePathPrefix": true},
                }],
                "extraEnv": [{"name": "BASE_URL", "value": "{{ httpPathPrefix \"web\" }}"}],
                "activityProbe": {
                    "probeIntervalSeconds": 900,
                    "jupyter": {"lastActivity": true, "portId": "web"},
                },
                "options": {
                    "imageConfig": {
                        "spawner": {"default": "img-2"},
                        "values": [{
                            "id": "img-2",
                            "spawner": {"displayName": "Image 2"},
                            "spec": {
                                "image": "reg.example.org/nb:2",
                                "ports": [{"id": "web", "port": 8888}],
                            },
                        }],
                    },
                    "podConfig": {
                        "spawner": {"default": "small"},
                        "values": [{
                            "id": "small",
                            "spawner": {"displayName": "Small"},
                            "spec": {"resources": {"requests": {"cpu": "100m"}}},
                        }],
                    },
                },
            },
            "activityRules": [{
                "config": {"secondsSinceActive": 7200, "minRunningSeconds": 600},
                "effect": {"pauseWorkspace": true},
            }],
        },
    })
}
