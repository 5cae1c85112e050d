//! Rules for Workspaces as objects, whoever writes them. Field paths are those of the object.

use web::Cause;

use super::names::{check_annotations, check_labels, invalid};
use crate::model::{WorkspaceKind, WorkspaceSpec};

/// The rules for a new workspace; `kind` is the one that it names, if there is one.
pub fn create(spec: &WorkspaceSpec, kind: Option<&WorkspaceKind>) -> Vec<Cause> {
    let Some(kind) = kind else {
        let detail = format!("workspace kind {:?} not found", spec.kind);
        return vec![invalid("spec.kind", &spec.kind, &detail)];
    };
    let template = &spec.pod_template;
    let mut causes = Vec::new();
    if let Some(metadata) = &template.pod_metadata {
        let root = "spec.podTemplate.podMetadata";
        causes.extend(check_labels(&format!("{root}.labels"), &metadata.labels));
        causes.extend(check_annotations(&format!("{root}.annotations"), &metadata.annotations));
    }
    let options = &kind.spec.pod_template.options;
    let image = &template.options.image_config;
    if !options.image_config.values.iter().any(|value| value.id == *image) {
        causes.push(unknown_option("imageConfig", image, &spec.kind));
    }
    let pod = &template.options.pod_config;
    if !options.pod_config.values.iter().any(|value| value.id == *pod) {
        causes.push(unknown_option("podConfig", pod, &spec.kind));
    }
    causes
}

fn unknown_option(which: &str, id: &str, kind: &str) -> Cause {
    let detail = format!("{which} with id {id:?} not found in workspace kind {kind:?}");
    invalid(&format!("spec.podTemplate.options.{which}"), id, &detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind() -> WorkspaceKind {
        serde_json::from_value(json!({
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "WorkspaceKind",
            "metadata": {"name": "lab"},
            "spec": {
                "spawner": {
                    "displayName": "Lab",
                    "description": "A lab",
                    "icon": {"url": "i"},
                    "logo": {"url": "l"},
                },
                "podTemplate": {
                    "volumeMounts": {"home": "/home/user"},
                    "ports": [{"id": "web", "protocol": "HTTP", "defaultDisplayName": "Web"}],
                    "options": {
                        "imageConfig": {
                            "spawner": {"default": "one"},
                            "values": [{
                                "id": "one",
                                "spawner": {"displayName": "One"},
                                "spec": {"image": "one:1", "ports": [{"id": "web", "port": 80}]},
                            }],
                        },
                        "podConfig": {
                            "spawner": {"default": "small"},
                            "values": [
                                {"id": "small", "spawner": {"displayName": "Small"}, "spec": {}},
                            ],
                        },
                    },
                },
            },
        }))
        .unwrap()
    }

    fn spec(image: &str, pod: &str) -> WorkspaceSpec {
        serde_json::from_value(json!({
            "kind": "lab",
            "podTemplate": {
                "podMetadata": {"labels": {"-": "v"}},
                "volumes": {},
                "options": {"imageConfig": image, "podConfig": pod},
            },
        }))
        .unwrap()
    }

    fn fields(causes: &[Cause]) -> Vec<&str> {
        causes.iter().map(|cause| cause.field.as_str()).collect()
    }

    #[test]
    fn without_its_kind_nothing_else_can_be_told() {
        let causes = create(&spec("none", "none"), None);
        assert_eq!(fields(&causes), ["spec.kind"]);
        assert_eq!(causes[0].message, r#"Invalid value: "lab": workspace kind "lab" not found"#);
    }

    #[test]
    fn options_must_exist_and_labels_be_labels() {
        assert_eq!(
            fields(&create(&spec("none", "none"), Some(&kind()))),
            [
                "spec.podTemplate.podMetadata.labels",
                "spec.podTemplate.options.imageConfig",
                "spec.podTemplate.options.podConfig",
            ]
        );
        let causes = create(&spec("one", "small"), Some(&kind()));
        assert_eq!(fields(&causes), ["spec.podTemplate.podMetadata.labels"]);
    }
}
