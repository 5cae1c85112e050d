//! Workspaces by their images: the one that the option of their kind stands for.

use std::collections::BTreeMap;

use kube::{Api, Client, api::DynamicObject, core::ApiResource};
use serde_json::{Value, json};

use super::{
    failure,
    select::{Found, workspace_kinds},
};
use crate::{
    decide::{filter::Patterns, image},
    model::{Event, EventKind},
    targets::Failure,
};

/// On a workspace: `true` if its owner lets updates pin it.
const AUTO_UPDATE: &str = "quartermaster.io/auto-update";
/// On a workspace: what its image is pinned to, `IMAGE@sha256:…`, the image as in the kind.
const PIN: &str = "quartermaster.io/image-digest";

/// Which pushes of an image concern the workspaces that run it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Which tags; without any, that of the workspace's image.
    pub tags: Patterns,
    /// Whether the push must say which tag it is: a part of an image for several machines is
    /// pushed without one.
    pub needs_tag: bool,
}

impl Pushed {
    /// Whether an event can concern any workspace.
    pub(super) fn may_concern(&self, event: &Event) -> bool {
        let image = event.image.as_ref().filter(|_| event.kind == EventKind::ImagePush);
        image.is_some_and(|image| !self.needs_tag || !image.tags.is_empty())
    }

    /// Of these workspaces those whose image was pushed, with that image.
    pub(super) async fn choose(
        &self,
        client: &Client,
        event: &Event,
        workspaces: Vec<Found>,
    ) -> Result<Vec<Found>, Failure> {
        let Some(pushed) = &event.image else { return Ok(Vec::new()) };
        let resource = ApiResource::from_gvk(&workspace_kinds());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let mut kinds: BTreeMap<String, Option<DynamicObject>> = BTreeMap::new();
        let mut chosen = Vec::new();
        for mut workspace in workspaces {
            let name = workspace.object.data.pointer("/spec/kind").and_then(Value::as_str);
            let Some(name) = name.map(str::to_owned) else { continue };
            if !kinds.contains_key(&name) {
                let kind = api.get_opt(&name).await.map_err(|error| failure(&error))?;
                kinds.insert(name.clone(), kind);
            }
            let kind = kinds.get(&name).and_then(Option::as_ref);
            let reference = kind.and_then(|kind| of(&workspace.object, kind));
            if let Some(reference) = reference
                && image::is_pushed(pushed, reference, &self.tags)
            {
                workspace.image = Some(reference.to_owned());
                chosen.push(workspace);
            }
        }
        Ok(chosen)
    }
}

/// Whether an event says what to pin to.
pub(super) fn check(event: &Event) -> Result<(), Failure> {
    let digest = event.image.as_ref().and_then(|image| image.digest.as_deref());
    match digest {
        Some(digest) if image::is_digest(digest) => Ok(()),
        Some(_) => Err(Failure::Permanent("the digest of the image is none of SHA-256".to_owned())),
        None => Err(Failure::Permanent("the sender does not tell the image's digest".to_owned())),
    }
}

/// The annotations that pin a workspace to what was pushed, if its owner agreed to updates and its
/// image names no digest itself.
pub(super) fn pin(workspace: &Found, event: &Event) -> Option<Value> {
    let annotations = workspace.object.metadata.annotations.as_ref();
    annotations?.get(AUTO_UPDATE).filter(|agreed| *agreed == "true")?;
    let image = workspace.image.as_deref().filter(|image| !image.contains('@'))?;
    let digest = event.image.as_ref()?.digest.as_deref()?;
    Some(json!({PIN: format!("{image}@{digest}")}))
}

/// The image of a workspace of a kind.
fn of<'a>(workspace: &DynamicObject, kind: &'a DynamicObject) -> Option<&'a str> {
    let option = workspace.data.pointer("/spec/podTemplate/options/imageConfig")?.as_str()?;
    let values = kind.data.pointer("/spec/podTemplate/options/imageConfig/values")?.as_array()?;
    let value = values.iter().find(|value| value["id"] == option)?;
    value.pointer("/spec/image")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Image;

    #[test]
    fn pushes_say_what_to_pin_to_and_which_tag() {
        let of = |digest: Option<&str>, tags: &[&str], kind: EventKind| {
            let image = Image {
                name: "nb".to_owned(),
                digest: digest.map(str::to_owned),
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                ..Image::default()
            };
            Event { kind, ..Event::image("push", image) }
        };
        let digest = format!("sha256:{}", "0a".repeat(32));
        let push = EventKind::ImagePush;
        assert_eq!(check(&of(Some(&digest), &[], push)), Ok(()));
        for bad in [None, Some("sha256:0a"), Some("md5:00")] {
            let failed = check(&of(bad, &[], push));
            assert!(matches!(failed, Err(Failure::Permanent(_))), "{failed:?}");
        }
        let pushed = |needs_tag| Pushed { needs_tag, ..Pushed::default() };
        assert!(pushed(false).may_concern(&of(None, &[], push)));
        assert!(!pushed(true).may_concern(&of(None, &[], push)));
        assert!(pushed(true).may_concern(&of(None, &["1"], push)));
        assert!(!pushed(false).may_concern(&of(None, &["1"], EventKind::ImageDelete)));
    }

    #[test]
    fn only_who_agreed_is_pinned() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let image = Image { digest: Some(digest.clone()), ..Image::default() };
        let event = Event::image("push", image);
        let with = |annotations: Value, image: &str| {
            let object = json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace",
                "metadata": {"name": "w", "annotations": annotations}});
            let object = serde_json::from_value(object).unwrap();
            let found = Found { kind: workspace_kinds(), object, image: Some(image.to_owned()) };
            pin(&found, &event)
        };
        for image in ["reg:5000/nb:1", "reg:5000/nb"] {
            let expected = json!({PIN: format!("{image}@{digest}")});
            assert_eq!(with(json!({AUTO_UPDATE: "true"}), image), Some(expected));
        }
        assert_eq!(with(json!({AUTO_UPDATE: "true"}), &format!("reg:5000/nb@{digest}")), None);
        for disagreed in [json!({}), Value::Null, json!({AUTO_UPDATE: "yes"})] {
            assert_eq!(with(disagreed, "reg:5000/nb:1"), None);
        }
    }
}
