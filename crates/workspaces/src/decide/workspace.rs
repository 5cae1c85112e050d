//! Which workspaces are accepted. Whether claims and Secrets exist is not asked here, and deleting
//! is always allowed.

use web::Cause;

use super::{
    names,
    options::{OptionValue, resolve},
};
use crate::model::{PodMetadata, WorkspaceKind, WorkspacePodTemplate, WorkspaceSpec};

/// Rules for a new workspace; `kind` is the one that the spec names, if it exists.
pub fn create(spec: &WorkspaceSpec, kind: Option<&WorkspaceKind>) -> Vec<Cause> {
    let Some(kind) = kind else { return vec![unknown_kind(spec)] };
    let mut causes = check_metadata(spec);
    causes.extend(check_image(spec, kind));
    causes.extend(check_pod(spec, kind));
    causes
}

/// Rules for a changed workspace: only what changed is checked, so a workspace can be paused,
/// renamed or given other volumes even when its kind is gone.
pub fn update(
    old: &WorkspaceSpec,
    new: &WorkspaceSpec,
    kind: Option<&WorkspaceKind>,
) -> Vec<Cause> {
    let (old_template, new_template) = (&old.pod_template, &new.pod_template);
    // Without any and with empty ones is the same.
    let metadata_of =
        |template: &WorkspacePodTemplate| template.pod_metadata.clone().unwrap_or_default();
    let metadata = metadata_of(old_template) != metadata_of(new_template);
    let image = old_template.options.image_config != new_template.options.image_config;
    let pod = old_template.options.pod_config != new_template.options.pod_config;
    if !(old.kind != new.kind || metadata || image || pod) {
        return Vec::new();
    }
    let Some(kind) = kind else { return vec![unknown_kind(new)] };
    let mut causes = Vec::new();
    if metadata {
        causes.extend(check_metadata(new));
    }
    if image {
        causes.extend(check_image(new, kind));
    }
    if pod {
        causes.extend(check_pod(new, kind));
    }
    causes
}

fn unknown_kind(spec: &WorkspaceSpec) -> Cause {
    let detail = format!("workspace kind {:?} not found", spec.kind);
    names::invalid("spec.kind", &spec.kind, &detail)
}

fn check_metadata(spec: &WorkspaceSpec) -> Vec<Cause> {
    check_pod_metadata(spec.pod_template.pod_metadata.as_ref())
}

/// Rules for the metadata of pods, in a workspace or a kind.
pub(super) fn check_pod_metadata(metadata: Option<&PodMetadata>) -> Vec<Cause> {
    let Some(metadata) = metadata else { return Vec::new() };
    let field = "spec.podTemplate.podMetadata";
    let mut causes = names::check_labels(&format!("{field}.labels"), &metadata.labels);
    causes.extend(names::check_annotations(&format!("{field}.annotations"), &metadata.annotations));
    causes
}

fn check_image(spec: &WorkspaceSpec, kind: &WorkspaceKind) -> Option<Cause> {
    let values = &kind.spec.pod_template.options.image_config.values;
    check_option(spec, values, &spec.pod_template.options.image_config)
}

fn check_pod(spec: &WorkspaceSpec, kind: &WorkspaceKind) -> Option<Cause> {
    let values = &kind.spec.pod_template.options.pod_config.values;
    check_option(spec, values, &spec.pod_template.options.pod_config)
}

/// Hidden and redirected options may be chosen; whether redirects lead anywhere is the kind's
/// business.
fn check_option<V: OptionValue>(spec: &WorkspaceSpec, values: &[V], id: &str) -> Option<Cause> {
    if values.iter().any(|value| value.id() == id) {
        return None;
    }
    let error = resolve(&spec.kind, values, id).err()?;
    let field = format!("spec.podTemplate.options.{}", V::LIST);
    Some(names::invalid(&field, id, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{kind, workspace};

    fn texts(causes: &[Cause]) -> Vec<String> {
        causes.iter().map(|c| format!("{} {}: {}", c.reason, c.field, c.message)).collect()
    }

    #[test]
    fn a_good_workspace_passes() {
        assert_eq!(create(&workspace("lab").spec, Some(&kind())), []);
    }

    #[test]
    fn an_unknown_kind_ends_the_checks() {
        let mut spec = workspace("lab").spec;
        spec.pod_template.options.image_config = "nope".into();
        assert_eq!(
            texts(&create(&spec, None)),
            [
                r#"FieldValueInvalid spec.kind: Invalid value: "notebook": workspace kind "notebook" not found"#
            ]
        );
    }

    #[test]
    fn everything_wrong_is_reported() {
        let mut spec = workspace("lab").spec;
        spec.pod_template.options.image_config = "nope".into();
        spec.pod_template.options.pod_config = "nada".into();
        spec.pod_template.pod_metadata = Some(PodMetadata {
            labels: [("a b".to_owned(), "c".to_owned())].into(),
            annotations: [("d e".to_owned(), String::new())].into(),
        });
        let causes = create(&spec, Some(&kind()));
        let fields: Vec<_> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.podTemplate.podMetadata.labels",
                "spec.podTemplate.podMetadata.annotations",
                "spec.podTemplate.options.imageConfig",
                "spec.podTemplate.options.podConfig",
            ]
        );
        assert_eq!(
            causes[2].message,
            r#"Invalid value: "nope": imageConfig with id "nope" not found in workspace kind "notebook""#
        );
    }

    #[test]
    fn updates_check_only_what_changed() {
        let old = workspace("lab").spec;
        let mut new = old.clone();
        new.paused = true;
        new.display_name = Some("x".into());
        new.pod_template.volumes.home = Some("other".into());
        assert_eq!(update(&old, &new, None), []);
        new.pod_template.options.pod_config = "nada".into();
        assert_eq!(update(&old, &new, None).len(), 1);
        let causes = update(&old, &new, Some(&kind()));
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].field, "spec.podTemplate.options.podConfig");
    }
}
