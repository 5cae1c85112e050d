//! The watch caches that controller, dialect and connect proxy share.

use cluster::{Cache, CacheMeters, Source};
use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::Client;
use prometheus_client::registry::Registry;

use crate::model::{Workspace, WorkspaceKind, label};

/// The watch caches that controller, dialect and connect proxy share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Caches {
    /// All workspaces, indexed by kind.
    pub workspaces: Cache<Workspace>,
    /// All kinds.
    pub kinds: Cache<WorkspaceKind>,
    /// All namespaces.
    pub namespaces: Cache<Namespace>,
    /// All claims.
    pub pvcs: Cache<PersistentVolumeClaim>,
    /// All volumes, which claims are shown with.
    pub volumes: Cache<PersistentVolume>,
    /// All pods: claims are used by pods of any origin. Those of a workspace are indexed by its
    /// name (in any namespace).
    pub pods: Cache<Pod>,
    /// All storage classes.
    pub storage_classes: Cache<StorageClass>,
}

impl Caches {
    /// Starts the watches; see [`Caches::ready`].
    pub fn start(client: &Client) -> Self {
        Self {
            workspaces: by_kind().start(client),
            kinds: Source::all().start(client),
            namespaces: Source::all().start(client),
            pvcs: Source::all().start(client),
            volumes: Source::all().start(client),
            pods: by_workspace().start(client),
            storage_classes: Source::all().start(client),
        }
    }

    /// Lets a registry show how much the caches hold, and how fresh that is.
    pub fn register(&self, registry: &mut Registry) {
        let meters = CacheMeters::default()
            .with(&self.workspaces)
            .with(&self.kinds)
            .with(&self.namespaces)
            .with(&self.pvcs)
            .with(&self.volumes)
            .with(&self.pods)
            .with(&self.storage_classes);
        registry.register_collector(Box::new(meters));
    }

    /// The same for the controller alone, which may not be allowed to watch what only the API needs:
    /// that stays empty.
    pub fn of_controller(client: &Client) -> Self {
        Self {
            workspaces: by_kind().start(client),
            kinds: Source::all().start(client),
            namespaces: Source::all().start(client),
            pvcs: Cache::empty(),
            volumes: Cache::empty(),
            pods: by_workspace().start(client),
            storage_classes: Cache::empty(),
        }
    }

    /// Waits until every cache has its first list.
    pub async fn ready(&self) {
        tokio::join!(
            self.workspaces.ready(),
            self.kinds.ready(),
            self.namespaces.ready(),
            self.pvcs.ready(),
            self.volumes.ready(),
            self.pods.ready(),
            self.storage_classes.ready(),
        );
    }

    /// Whether every cache has its first list.
    pub fn is_ready(&self) -> bool {
        self.workspaces.is_ready()
            && self.kinds.is_ready()
            && self.namespaces.is_ready()
            && self.pvcs.is_ready()
            && self.volumes.is_ready()
            && self.pods.is_ready()
            && self.storage_classes.is_ready()
    }
}

fn by_kind() -> Source<Workspace> {
    Source::all().index(|workspace: &Workspace| Some(&workspace.spec.kind))
}

fn by_workspace() -> Source<Pod> {
    Source::all().index(|pod: &Pod| {
        pod.metadata.labels.as_ref()?.get(label::WORKSPACE_NAME).map(String::as_str)
    })
}
