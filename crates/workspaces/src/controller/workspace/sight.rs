//! What a pass looks at, as one number: the same number means that there is nothing new to it.

use std::hash::{DefaultHasher, Hash, Hasher};

use kube::ResourceExt as _;

use super::super::{Context, children::Child};
use crate::model::{KIND_PROTECTION, Workspace, WorkspaceKind, annotation};

/// What a pass looks at: everything that may change its outcome but for the time and the activity.
///
/// A sum over the parts, so that one can take the place of another: what a pass has written comes
/// back from the API and is no news then, but whatever somebody else made of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight(u64);

impl Sight {
    /// What there is to see of a workspace now. A pass that reads on its way what is newer than
    /// this is followed by one more.
    pub(super) fn of(context: &Context, workspace: &Workspace) -> Self {
        let mut sight = Self(0);
        let (meta, children) = (&workspace.metadata, &context.children);
        sight.add(of_workspace(workspace, meta.resource_version.as_deref().unwrap_or_default()));
        if let Some(kind) = context.caches.kinds.get(None, &workspace.spec.kind) {
            sight.add(of_kind(&kind));
        }
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        if let Some(namespace) = context.caches.namespaces.get(None, namespace) {
            sight.add(part(("namespace", &namespace.metadata.labels)));
        }
        let uid = meta.uid.as_deref().unwrap_or_default();
        for child in children.all().flat_map(|cache| cache.indexed(uid)) {
            sight.add(of_child(&child));
        }
        let routes = [&context.routes.virtual_services, &context.routes.http_routes];
        for (kind, cache) in routes.into_iter().filter_map(|r| Some((r.kind, r.cache()?))) {
            sight.add(part(("served", kind)));
            cache.indexed(uid).iter().for_each(|child| sight.add(of_child(child)));
        }
        for set in children.stateful_sets.indexed(uid) {
            let pod = context.caches.pods.get(meta.namespace.as_deref(), &set.pod_name());
            let pod_uid = pod.as_ref().and_then(|pod| pod.metadata.uid.clone()).unwrap_or_default();
            if let Some(pod) = pod {
                sight.add(part(("pod", &pod_uid, &pod.metadata.resource_version)));
            }
            for warning in [&*set.uid, &pod_uid].map(|uid| children.warnings.indexed(uid)) {
                for warning in warning {
                    let (reason, message) = (&warning.reason, &warning.message);
                    sight.add(part(("warning", &warning.about, warning.at, reason, message)));
                }
            }
        }
        sight
    }

    /// The number.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// A pass wrote an object, in the place of an older version of it if there was one.
    pub(super) fn wrote(&mut self, old: Option<&Child>, new: &Child) {
        if let Some(old) = old {
            self.0 = self.0.wrapping_sub(of_child(old));
        }
        self.add(of_child(new));
    }

    /// A pass wrote the status of the workspace that it saw.
    pub(super) fn wrote_status(&mut self, workspace: &Workspace, version: &str) {
        let old = workspace.metadata.resource_version.as_deref().unwrap_or_default();
        self.0 = self.0.wrapping_sub(of_workspace(workspace, old));
        self.add(of_workspace(workspace, version));
    }

    fn add(&mut self, part: u64) {
        self.0 = self.0.wrapping_add(part);
    }
}

fn of_workspace(workspace: &Workspace, version: &str) -> u64 {
    part(("workspace", &workspace.metadata.uid, version))
}

fn of_child(child: &Child) -> u64 {
    part(("child", &child.uid, &child.version))
}

/// Not its version: its status counts workspaces and changes with any of them.
fn of_kind(kind: &WorkspaceKind) -> u64 {
    let (meta, policy) = (&kind.metadata, kind.annotations().get(annotation::UPDATE_POLICY));
    let protected = kind.finalizers().iter().any(|name| name == KIND_PROTECTION);
    let deleted = meta.deletion_timestamp.is_some();
    part(("kind", &meta.uid, meta.generation, policy, protected, deleted))
}

fn part(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
