//! Which objects an event concerns.

use kube::core::{DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::{
    decide::filter::plain_url,
    model::{Event, ResourceRef, TargetKind},
};

/// An object that is told.
pub(super) struct Found {
    pub(super) kind: GroupVersionKind,
    pub(super) object: DynamicObject,
    /// The image of a workspace that is chosen by it, as its kind names it.
    pub(super) image: Option<String>,
}

impl Found {
    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether its controller leaves it alone.
    pub(super) fn suspended(&self) -> bool {
        self.object.data.pointer("/spec/suspend") == Some(&Value::Bool(true))
    }
}

/// Which objects are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These.
    These(Vec<Wanted>),
    /// Those that say themselves that they are about what the event is about.
    Auto(Auto),
}

/// Whose objects are found by what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// Flux's.
    Flux,
    /// Argo CD's.
    ArgoCd,
    /// Workspaces, by their images.
    Workspaces,
}

impl Auto {
    /// Those that targets of this kind find by themselves, if any do.
    pub(crate) fn of(target: TargetKind) -> Option<Self> {
        match target {
            TargetKind::FluxV2 => Some(Self::Flux),
            TargetKind::ArgoCd => Some(Self::ArgoCd),
            TargetKind::Workspace => Some(Self::Workspaces),
            _ => None,
        }
    }
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) kind: GroupVersionKind,
    /// One of this name; or all.
    pub(super) name: Option<String>,
    /// With these labels.
    pub(super) labels: String,
}

const SOURCE: &str = "source.toolkit.fluxcd.io/v1";
const IMAGE: &str = "image.toolkit.fluxcd.io/v1";
const WORKSPACES: &str = "kubeflow.org/v1beta1";

/// The version of kinds that need not name theirs.
pub(crate) fn default_version(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Bucket" | "HelmChart" | "HelmRepository" | "GitRepository" | "OCIRepository" => SOURCE,
        "ImageRepository" => IMAGE,
        "ArtifactGenerator" => "source.extensions.fluxcd.io/v1beta1",
        "Application" => "argoproj.io/v1alpha1",
        "Workspace" => WORKSPACES,
        "CronJob" => "batch/v1",
        _ => return None,
    })
}

/// The kinds of workspaces, which say what image an option is.
pub(crate) fn workspace_kinds() -> GroupVersionKind {
    kind(WORKSPACES, "WorkspaceKind")
}

fn kind(version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    GroupVersionKind::gvk(group, version, kind)
}

impl Wanted {
    /// What a hook of this namespace says.
    pub(super) fn of(namespace: &str, resource: &ResourceRef) -> Result<Self, String> {
        let ResourceRef { api_version, kind: word, name, namespace: other, match_labels } =
            resource;
        if other.as_deref().is_some_and(|other| other != namespace) {
            return Err(format!("resources must be in the namespace of the hook, {namespace}"));
        }
        let version = api_version.as_deref().or(default_version(word));
        let version = version.ok_or_else(|| format!("apiVersion of {word} is missing"))?;
        let labels: Vec<String> =
            match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let name = match (name.as_str(), labels.is_empty()) {
            ("*", true) => return Err("name \"*\" needs matchLabels".to_owned()),
            ("*", false) => None,
            (name, true) => Some(name.to_owned()),
            (_, false) => return Err("matchLabels need the name \"*\"".to_owned()),
        };
        Ok(Self { kind: kind(version, word), name, labels: labels.join(",") })
    }

    fn all(version: &str, word: &str) -> Self {
        Self { kind: kind(version, word), name: None, labels: String::new() }
    }
}

impl Selection {
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        match self {
            Self::These(wanted) => wanted.clone(),
            Self::Auto(Auto::ArgoCd) => vec![Wanted::all("argoproj.io/v1alpha1", "Application")],
            Self::Auto(Auto::Workspaces) => vec![Wanted::all(WORKSPACES, "Workspace")],
            Self::Auto(Auto::Flux) => vec![
                Wanted::all(SOURCE, "GitRepository"),
                Wanted::all(SOURCE, "OCIRepository"),
                Wanted::all(SOURCE, "HelmRepository"),
                Wanted::all(SOURCE, "Bucket"),
                Wanted::all(IMAGE, "ImageRepository"),
            ],
        }
    }

    /// The kinds of objects that are told.
    pub fn kinds(&self) -> Vec<GroupVersionKind> {
        self.wanted().into_iter().map(|wanted| wanted.kind).collect()
    }

    /// Whether there can be any object that an event concerns.
    pub(super) fn may_concern(&self, event: &Event) -> bool {
        match self {
            Self::These(_) => true,
            Self::Auto(Auto::ArgoCd) => event.repo.is_some(),
            Self::Auto(Auto::Workspaces) => event.image.is_some(),
            Self::Auto(Auto::Flux) => {
                event.repo.is_some() || event.image.is_some() || event.object.is_some()
            }
        }
    }

    /// What an event is about: all that [`Self::concerns`] asks of it, so that of two events of one
    /// subject each concerns what the other does.
    pub(super) fn subject(&self, event: &Event) -> Option<String> {
        let plain = crate::targets::subject(event)?;
        match (self, &event.repo) {
            (Self::Auto(Auto::Flux | Auto::ArgoCd), Some(repo)) => {
                let urls = repo.urls.join(" ");
                Some(format!("{urls} {}", reference(event).unwrap_or_default()))
            }
            _ => Some(plain),
        }
    }

    pub(super) fn concerns(
        &self,
        event: &Event,
        kind: &GroupVersionKind,
        object: &DynamicObject,
    ) -> bool {
        let Self::Auto(_) = self else { return true };
        let spec = object.data.get("spec").unwrap_or(&Value::Null);
        let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str);
        match kind.kind.as_str() {
            "GitRepository" => same_repo(event, text("/url")) && same_ref(event, spec.get("ref")),
            "ImageRepository" => image(event).as_deref() == text("/image"),
            "OCIRepository" => {
                image(event).is_some_and(|image| text("/url") == Some(&format!("oci://{image}")))
            }
            "HelmRepository" => {
                let url = text("/url").map(|url| url.trim_end_matches('/'));
                text("/type") == Some("oci")
                    && image(event).is_some_and(|image| {
                        url.and_then(|url| image.strip_prefix(url.strip_prefix("oci://")?))
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    })
            }
            "Bucket" => {
                let bucket = event.object.as_ref().map(|object| object.bucket.as_str());
                bucket.is_some() && bucket == text("/bucketName")
            }
            "Application" => applications(event, spec),
            // What their kinds say decides.
            "Workspace" => true,
            _ => false,
        }
    }
}

/// Whether any source of an Application is the branch or tag of the event.
fn applications(event: &Event, spec: &Value) -> bool {
    let many = spec.get("sources").and_then(Value::as_array);
    let sources = spec.get("source").into_iter().chain(many.into_iter().flatten());
    sources.into_iter().any(|source| {
        let text = |key: &str| source.get(key).and_then(Value::as_str);
        let revision = text("targetRevision").filter(|revision| !revision.is_empty());
        // What the default branch is, only Argo CD knows.
        let same = match revision {
            None | Some("HEAD") => true,
            Some(revision) => [&event.branch, &event.tag, &event.reference]
                .into_iter()
                .any(|known| known.as_deref() == Some(revision)),
        };
        same && same_repo(event, text("repoURL"))
    })
}

fn same_repo(event: &Event, url: Option<&str>) -> bool {
    let (Some(repo), Some(url)) = (&event.repo, url) else { return false };
    let url = plain_url(url);
    repo.urls.iter().any(|known| plain_url(known) == url)
}

fn same_ref(event: &Event, wanted: Option<&Value>) -> bool {
    let text = |key: &str| wanted.and_then(|wanted| wanted.get(key)).and_then(Value::as_str);
    if let Some(name) = text("name") {
        return event.reference.as_deref() == Some(name);
    }
    if text("semver").is_some() {
        return true;
    }
    match (text("tag"), text("branch"), text("commit")) {
        (Some(tag), ..) => event.tag.as_deref() == Some(tag),
        (None, Some(branch), _) => event.branch.as_deref() == Some(branch),
        // A commit stays what it is.
        (None, None, commit) => commit.is_none(),
    }
}

/// The git ref, in full if only its short form is told.
fn reference(event: &Event) -> Option<String> {
    let branch = || Some(format!("refs/heads/{}", event.branch.as_ref()?));
    let tag = || Some(format!("refs/tags/{}", event.tag.as_ref()?));
    event.reference.clone().or_else(branch).or_else(tag)
}

fn image(event: &Event) -> Option<String> {
    let image = event.image.as_ref()?;
    Some(match image.domain.as_str() {
        "" => image.name.clone(),
        domain => format!("{domain}/{}", image.name),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Image, Object, Repo};

    fn concerns(event: &Event, word: &str, spec: Value) -> bool {
        let auto = if word == "Application" { Auto::ArgoCd } else { Auto::Flux };
        let object =
            json!({"apiVersion": "v1", "kind": word, "metadata": {"name": "x"}, "spec": spec});
        let object = serde_json::from_value(object).unwrap();
        Selection::Auto(auto).concerns(event, &kind("g/v1", word), &object)
    }

    fn push(reference: &str) -> Event {
        let urls = vec!["git@code.example.com:team/app.git".to_owned()];
        Event::git("push", Repo { full_name: "team/app".to_owned(), urls }, reference)
    }

    #[test]
    fn repositories_are_found_by_url_and_ref() {
        let url = "https://code.example.com/team/app";
        let git = |reference: &str, wanted: Value| {
            concerns(&push(reference), "GitRepository", json!({"url": url, "ref": wanted}))
        };
        assert!(git("refs/heads/main", json!({"branch": "main"})));
        assert!(!git("refs/heads/dev", json!({"branch": "main"})));
        assert!(git("refs/tags/v1", json!({"tag": "v1"})));
        assert!(git("refs/tags/v2", json!({"semver": ">=1"})));
        assert!(git("refs/heads/dev", json!({})));
        assert!(git("refs/pull/1", json!({"name": "refs/pull/1"})));
        assert!(!git("refs/heads/main", json!({"commit": "abc"})));
        assert!(!concerns(&push("main"), "GitRepository", json!({"url": "https://other/x"})));
        let app = |revision: Value| {
            let source = json!({"repoURL": url, "targetRevision": revision});
            concerns(&push("refs/heads/main"), "Application", json!({"sources": [{}, source]}))
        };
        assert!(app("main".into()) && app("HEAD".into()) && app(Value::Null));
        assert!(!app("dev".into()));
    }

    #[test]
    fn what_concerns_other_objects_is_another_subject() {
        for auto in [Auto::Flux, Auto::ArgoCd].map(Selection::Auto) {
            let of = |event: &Event| auto.subject(event).unwrap();
            let main = of(&push("refs/heads/main"));
            assert_eq!(main, of(&push("refs/heads/main")));
            for other in ["refs/heads/dev", "refs/tags/main", "refs/pull/1"] {
                assert_ne!(main, of(&push(other)), "{other}");
            }
            let short = |branch: Option<&str>, tag: Option<&str>| {
                let (branch, tag) = (branch.map(str::to_owned), tag.map(str::to_owned));
                of(&Event { reference: None, branch, tag, ..push("") })
            };
            assert_ne!(short(Some("v1"), None), short(None, Some("v1")));
            assert_ne!(short(Some("v1"), None), short(Some("v2"), None));
            let mut mirrored = push("refs/heads/main");
            mirrored.repo.as_mut().unwrap().urls.push("https://mirror.example.com/app".to_owned());
            assert_ne!(main, of(&mirrored));
        }
    }

    #[test]
    fn images_and_buckets_are_found_by_name() {
        let image =
            Image { domain: "reg.example.com".into(), name: "team/app".into(), ..Image::default() };
        let event = Event::image("push", image);
        let with = |word: &str, spec: Value| concerns(&event, word, spec);
        assert!(with("ImageRepository", json!({"image": "reg.example.com/team/app"})));
        assert!(!with("ImageRepository", json!({"image": "reg.example.com/team/other"})));
        assert!(with("OCIRepository", json!({"url": "oci://reg.example.com/team/app"})));
        assert!(with(
            "HelmRepository",
            json!({"type": "oci", "url": "oci://reg.example.com/team/"})
        ));
        assert!(!with(
            "HelmRepository",
            json!({"type": "oci", "url": "oci://reg.example.com/tea"})
        ));
        assert!(!with("HelmRepository", json!({"url": "https://reg.example.com/team"})));
        assert!(!with("GitRepository", json!({"url": "https://code.example.com/team/app"})));
        let mut event = Event::new(crate::model::EventKind::ObjectCreated, "s3");
        event.object = Some(Object { bucket: "data".into(), ..Object::default() });
        assert!(concerns(&event, "Bucket", json!({"bucketName": "data"})));
        assert!(!concerns(&event, "Bucket", json!({"bucketName": "other"})));
    }

    #[test]
    fn selections_are_checked() {
        let of = |value: Value| Wanted::of("apps", &serde_json::from_value(value).unwrap());
        assert!(of(json!({"kind": "GitRepository", "name": "a"})).is_ok());
        assert!(of(json!({"kind": "GitRepository", "name": "a", "namespace": "apps"})).is_ok());
        assert!(of(json!({"kind": "GitRepository", "name": "a", "namespace": "other"})).is_err());
        assert!(of(json!({"kind": "GitRepository", "name": "*"})).is_err());
        assert!(
            of(json!({"kind": "GitRepository", "name": "*", "matchLabels": {"a": "b"}})).is_ok()
        );
        assert!(of(json!({"kind": "Kustomization", "name": "a"})).is_err());
    }
}
