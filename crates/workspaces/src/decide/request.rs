//! Rules for what users ask for over REST. Field paths are those of the request body.

use std::collections::{BTreeMap, BTreeSet};

use web::Cause;

use super::names::{
    DUPLICATE, TOO_MANY, check_annotations, check_label, check_labels, check_quantity,
    check_subdomain, check_workspace_name, forbidden, invalid, required,
};
use crate::model::{WorkspacePodTemplate, WorkspaceSpec, WorkspaceVolumes, label};

/// The most claims, and the most Secrets, that a workspace may mount: far more than a node can, and
/// few enough to look each of them up.
pub const MOST_MOUNTS: usize = 256;

/// The most claims that are made along with a workspace.
const MOST_NEW_CLAIMS: usize = 16;

/// Kubernetes has four access modes and says something about each one that is not among them.
const MOST_MODES: usize = 16;

/// The rules for the body that makes a workspace.
pub fn new_workspace(name: &str, spec: &WorkspaceSpec) -> Vec<Cause> {
    let mut causes = check_workspace_name("data.name", name);
    causes.extend(check_subdomain("data.kind", &spec.kind));
    causes.extend(template(&spec.pod_template));
    causes
}

/// The rules for the body that changes a workspace.
pub fn changed_workspace(revision: &str, template: &WorkspacePodTemplate) -> Vec<Cause> {
    let mut causes = Vec::new();
    if revision.is_empty() {
        causes.push(required("data.revision", "revision is required"));
    }
    causes.extend(self::template(template));
    causes
}

fn template(template: &WorkspacePodTemplate) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(metadata) = &template.pod_metadata {
        let root = "data.podTemplate.podMetadata";
        causes.extend(check_labels(&format!("{root}.labels"), &metadata.labels));
        causes.extend(check_annotations(&format!("{root}.annotations"), &metadata.annotations));
    }
    causes.extend(volumes(&template.volumes));
    let root = "data.podTemplate.options";
    causes.extend(present(&format!("{root}.imageConfig"), &template.options.image_config));
    causes.extend(present(&format!("{root}.podConfig"), &template.options.pod_config));
    causes
}

/// The rules for the version that was edited.
pub fn revision(revision: &str) -> Vec<Cause> {
    match revision {
        "" => vec![required("data.revision", "revision is required")],
        _ => Vec::new(),
    }
}

/// The rules for what somebody says to have chosen when they ask for options.
pub fn option_context(
    namespace: Option<&str>,
    image: Option<&str>,
    pod: Option<&str>,
) -> Vec<Cause> {
    let root = "data.context";
    let mut causes = Vec::new();
    if let Some(namespace) = namespace {
        causes.extend(check_label(&format!("{root}.namespace.name"), namespace));
    }
    causes.extend(image.and_then(|id| present(&format!("{root}.imageConfig.id"), id)));
    causes.extend(pod.and_then(|id| present(&format!("{root}.podConfig.id"), id)));
    causes
}

fn volumes(volumes: &WorkspaceVolumes) -> Vec<Cause> {
    let root = "data.podTemplate.volumes";
    let mut causes = Vec::new();
    causes.extend(few(&format!("{root}.data"), volumes.data.len()));
    causes.extend(few(&format!("{root}.secrets"), volumes.secrets.len()));
    if !causes.is_empty() {
        return causes;
    }
    if let Some(home) = &volumes.home {
        causes.extend(check_subdomain(&format!("{root}.home"), home));
    }
    for (index, volume) in volumes.data.iter().enumerate() {
        let root = format!("{root}.data[{index}]");
        causes.extend(check_subdomain(&format!("{root}.pvcName"), &volume.pvc_name));
        causes.extend(present(&format!("{root}.mountPath"), &volume.mount_path));
    }
    for (index, volume) in volumes.secrets.iter().enumerate() {
        let root = format!("{root}.secrets[{index}]");
        causes.extend(check_subdomain(&format!("{root}.secretName"), &volume.secret_name));
        causes.extend(present(&format!("{root}.mountPath"), &volume.mount_path));
    }
    causes
}

fn few(field: &str, count: usize) -> Option<Cause> {
    let message = format!("Too many: {count}: must have at most {MOST_MOUNTS} items");
    (count > MOST_MOUNTS).then(|| Cause::internal(TOO_MANY, field, message))
}

fn present(field: &str, value: &str) -> Option<Cause> {
    value.is_empty().then(|| required(field, ""))
}

/// What became of something that a request refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// There is nothing of that name.
    Missing,
    /// It exists and its owner has not released it for this use.
    Withheld,
    /// It may be used.
    Usable,
}

impl Reference {
    /// Judges a claim or Secret that a workspace wants to mount, by its labels.
    pub fn to_mount(labels: Option<&BTreeMap<String, String>>) -> Self {
        Self::by_label(labels, label::CAN_MOUNT)
    }

    /// Judges a storage class that a claim wants to use, by its labels.
    pub fn to_use(labels: Option<&BTreeMap<String, String>>) -> Self {
        Self::by_label(labels, label::CAN_USE)
    }

    fn by_label(labels: Option<&BTreeMap<String, String>>, key: &str) -> Self {
        if is_true(labels, key) { Self::Usable } else { Self::Withheld }
    }

    fn verdict(self, field: &str, what: &str, name: &str, label: &str) -> Option<Cause> {
        match self {
            Self::Missing => Some(invalid(field, name, &format!("{what} does not exist"))),
            Self::Withheld => {
                Some(forbidden(field, &format!("{what} {name:?} has no label {label}=true")))
            }
            Self::Usable => None,
        }
    }
}

/// Whether a label has exactly the value `true`.
pub fn is_true(labels: Option<&BTreeMap<String, String>>, key: &str) -> bool {
    labels.and_then(|labels| labels.get(key)).is_some_and(|value| value == "true")
}

/// The rules for what a workspace mounts: it must exist and be released for mounting.
/// `claim` and `secret` tell what became of a name.
pub fn mounts(
    volumes: &WorkspaceVolumes,
    claim: impl Fn(&str) -> Reference,
    secret: impl Fn(&str) -> Reference,
) -> Vec<Cause> {
    let root = "podTemplate.volumes";
    let judge_claim = |field: &str, name: &str| {
        claim(name).verdict(field, "PersistentVolumeClaim", name, label::CAN_MOUNT)
    };
    let mut causes = Vec::new();
    if let Some(home) = &volumes.home {
        causes.extend(judge_claim(&format!("{root}.home"), home));
    }
    for (index, volume) in volumes.data.iter().enumerate() {
        causes.extend(judge_claim(&format!("{root}.data[{index}].pvcName"), &volume.pvc_name));
    }
    for (index, volume) in volumes.secrets.iter().enumerate() {
        let field = format!("{root}.secrets[{index}].secretName");
        let name = &volume.secret_name;
        causes.extend(secret(name).verdict(&field, "Secret", name, label::CAN_MOUNT));
    }
    causes
}

/// The rules for what is said below `root` about a claim that is to be made.
pub fn new_claim(root: &str, modes: &[String], class: &str, storage: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if modes.is_empty() {
        causes.push(required(&format!("{root}.accessModes"), ""));
    }
    if modes.len() > MOST_MODES {
        let message = format!("Too many: {}: must have at most {MOST_MODES} items", modes.len());
        causes.push(Cause::internal(TOO_MANY, format!("{root}.accessModes"), message));
    }
    causes.extend(check_subdomain(&format!("{root}.storageClassName"), class));
    causes.extend(check_quantity(&format!("{root}.requests.storage"), storage));
    causes
}

/// The rules for the claims that are to be made along with a workspace: the places of their volumes
/// and their names.
pub fn claims_with_workspace(claims: &[(usize, &str)]) -> Vec<Cause> {
    let root = "data.podTemplate.volumes.data";
    if claims.len() > MOST_NEW_CLAIMS {
        let count = claims.len();
        let message = format!("Too many: {count}: at most {MOST_NEW_CLAIMS} claims are made");
        return vec![Cause::internal(TOO_MANY, root, message)];
    }
    let mut seen = BTreeSet::new();
    let twice = claims.iter().filter(|(_, name)| !seen.insert(*name));
    let cause = |(index, name): &(usize, &str)| {
        let message = format!("Duplicate value: {name:?}");
        Cause::internal(DUPLICATE, format!("{root}[{index}].create"), message)
    };
    twice.map(cause).collect()
}

/// An edit makes no claims.
pub fn no_claims_with_edit(places: &[usize]) -> Vec<Cause> {
    let cause = |index: &usize| {
        let field = format!("data.podTemplate.volumes.data[{index}].create");
        forbidden(&field, "claims are made along with a new workspace only")
    };
    places.iter().map(cause).collect()
}

/// The rules for the storage class of a new claim.
pub fn storage_class(field: &str, name: &str, class: Reference) -> Option<Cause> {
    class.verdict(field, "StorageClass", name, label::CAN_USE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(volumes: serde_json::Value) -> WorkspaceSpec {
        serde_json::from_value(json!({
            "kind": "lab",
            "podTemplate": {
                "volumes": volumes,
                "options": {"imageConfig": "i", "podConfig": "p"},
            },
        }))
        .unwrap()
    }

    fn fields(causes: &[Cause]) -> Vec<(&str, &str)> {
        causes.iter().map(|cause| (cause.field.as_str(), cause.reason.as_str())).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let mut spec = spec(json!({
            "home": "",
            "data": [{"pvcName": "A", "mountPath": ""}],
            "secrets": [{"secretName": "", "mountPath": ""}],
        }));
        spec.kind = String::new();
        spec.pod_template.options.image_config = String::new();
        assert_eq!(
            fields(&new_workspace("a.b", &spec)),
            [
                ("data.name", "FieldValueInvalid"),
                ("data.kind", "FieldValueRequired"),
                ("data.podTemplate.volumes.home", "FieldValueRequired"),
                ("data.podTemplate.volumes.data[0].pvcName", "FieldValueInvalid"),
                ("data.podTemplate.volumes.data[0].mountPath", "FieldValueRequired"),
                ("data.podTemplate.volumes.secrets[0].secretName", "FieldValueRequired"),
                ("data.podTemplate.volumes.secrets[0].mountPath", "FieldValueRequired"),
                ("data.podTemplate.options.imageConfig", "FieldValueRequired"),
            ]
        );
    }

    #[test]
    fn mounts_must_exist_and_be_released() {
        let volumes = spec(json!({
            "home": "good",
            "data": [{"pvcName": "gone", "mountPath": "/d"}],
            "secrets": [{"secretName": "locked", "mountPath": "/s"}],
        }))
        .pod_template
        .volumes;
        let judge = |name: &str| match name {
            "good" => Reference::Usable,
            "gone" => Reference::Missing,
            _ => Reference::Withheld,
        };
        assert_eq!(
            fields(&mounts(&volumes, judge, judge)),
            [
                ("podTemplate.volumes.data[0].pvcName", "FieldValueInvalid"),
                ("podTemplate.volumes.secrets[0].secretName", "FieldValueForbidden"),
            ]
        );
    }

    #[test]
    fn only_the_exact_word_true_releases() {
        let labels = |value: &str| BTreeMap::from([(label::CAN_USE.to_owned(), value.to_owned())]);
        assert_eq!(Reference::to_use(Some(&labels("true"))), Reference::Usable);
        assert_eq!(Reference::to_use(Some(&labels("True"))), Reference::Withheld);
        assert_eq!(Reference::to_use(None), Reference::Withheld);
    }
}
