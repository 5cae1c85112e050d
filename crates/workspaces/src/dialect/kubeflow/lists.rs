//! Keeps the rendered lists of workspaces in step with the caches.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use cluster::{Cache, Change, Changes, Key};
use futures::FutureExt;
use tokio::{sync::Mutex, task::unconstrained};
use web::Error;

use super::{
    error::Problem,
    list_cache::{Changed, ListCache},
    wire::workspace_list::WorkspaceListItem,
};
use crate::{
    Caches,
    model::{Workspace, WorkspaceKind},
};

/// More changed items than this are rendered where they hold nobody up.
const MANY: usize = 200;

/// How long changes are gathered when nobody waits for them.
const QUIET: Duration = Duration::from_millis(250);

/// The lists of workspaces.
pub(crate) struct WorkspaceLists {
    kept: Arc<ListCache>,
    source: Source,
    pending: Mutex<Pending>,
}

/// What items are rendered from.
#[derive(Clone)]
struct Source {
    workspaces: Cache<Workspace>,
    kinds: Cache<WorkspaceKind>,
    prefix: Arc<str>,
}

/// What happened since the lists were last in step.
struct Pending {
    workspaces: Changes<Workspace>,
    kinds: Changes<WorkspaceKind>,
    /// Nothing has been rendered yet, or changes were missed.
    everything: bool,
    keys: BTreeSet<Key>,
}

impl WorkspaceLists {
    /// The lists of these caches. They keep themselves current, so that a first reader after a
    /// quiet time does not wait for all that happened.
    pub(crate) fn start(caches: &Caches, prefix: &str) -> Arc<Self> {
        let lists = Arc::new(Self::new(caches, prefix));
        tokio::spawn(keep_current(Arc::downgrade(&lists), caches.workspaces.subscribe()));
        lists
    }

    fn new(caches: &Caches, prefix: &str) -> Self {
        let workspaces = caches.workspaces.clone();
        let kinds = caches.kinds.clone();
        let pending = Pending {
            workspaces: workspaces.subscribe(),
            kinds: kinds.subscribe(),
            everything: true,
            keys: BTreeSet::new(),
        };
        let source = Source { workspaces, kinds, prefix: prefix.into() };
        Self { kept: Arc::new(ListCache::new(instance())), source, pending: Mutex::new(pending) }
    }

    /// The lists as the caches are now.
    pub(crate) async fn current(&self) -> Result<&ListCache, Problem> {
        let mut pending = self.pending.lock().await;
        pending.drain(&self.source);
        if pending.everything {
            let source = self.source.clone();
            let kept = self.kept.clone();
            let render = move || kept.replace(source.render(source.workspaces.keys()));
            tokio::task::spawn_blocking(render).await.map_err(Error::internal)?;
            pending.everything = false;
            pending.keys.clear();
        }
        let keys = std::mem::take(&mut pending.keys);
        if keys.len() > MANY {
            let source = self.source.clone();
            let kept = self.kept.clone();
            let render = move || kept.apply(source.render(keys));
            tokio::task::spawn_blocking(render).await.map_err(Error::internal)?;
        } else {
            self.kept.apply(self.source.render(keys));
        }
        Ok(&self.kept)
    }
}

/// Ends with the lists, or with the cache.
async fn keep_current(lists: Weak<WorkspaceLists>, mut changes: Changes<Workspace>) {
    while changes.next().await.is_some() {
        tokio::time::sleep(QUIET).await;
        while now(&mut changes).is_some() {}
        let Some(lists) = lists.upgrade() else { return };
        if let Err(problem) = lists.current().await {
            tracing::warn!(?problem, "the lists could not be brought up to date");
        }
    }
}

/// The next change if it has happened already. Without a budget: tokio would pretend that there is
/// none once this task has taken many, and the list would lack the rest.
fn now<T>(changes: &mut Changes<T>) -> Option<Change<T>> {
    unconstrained(changes.next()).now_or_never().flatten()
}

impl Pending {
    /// Takes in what the caches have announced so far.
    fn drain(&mut self, source: &Source) {
        while let Some(change) = now(&mut self.workspaces) {
            match change {
                Change::Object { key, .. } => drop(self.keys.insert(key)),
                Change::Resync => self.everything = true,
            }
        }
        while let Some(change) = now(&mut self.kinds) {
            match change {
                Change::Object { key, old, new } => {
                    if looks_different(old.as_deref(), new.as_deref()) {
                        self.keys.extend(source.users_of(key.name()));
                    }
                }
                Change::Resync => self.everything = true,
            }
        }
    }
}

impl Source {
    fn users_of(&self, kind: &str) -> impl Iterator<Item = Key> + use<> {
        let users = self.workspaces.indexed(kind).into_iter();
        users.map(|workspace| Key::of(&workspace.metadata))
    }

    fn render(&self, keys: impl IntoIterator<Item = Key>) -> Changed {
        keys.into_iter().map(|key| self.item(key)).collect()
    }

    fn item(&self, key: Key) -> (Key, Option<Bytes>) {
        let Some(workspace) = self.workspaces.get(key.namespace(), key.name()) else {
            return (key, None);
        };
        let kind = self.kinds.get(None, &workspace.spec.kind);
        let item = WorkspaceListItem::new(&workspace, kind.as_deref(), &self.prefix);
        match serde_json::to_vec(&item) {
            Ok(bytes) => (key, Some(bytes.into())),
            Err(error) => {
                tracing::error!(%key, %error, "workspace left out of the list");
                (key, None)
            }
        }
    }
}

/// Whether items of this kind's workspaces change with it. Its counts change with every workspace
/// and are not shown there.
fn looks_different(old: Option<&WorkspaceKind>, new: Option<&WorkspaceKind>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    let pictures = |kind: &WorkspaceKind| {
        kind.status
            .as_ref()
            .map(|status| (status.spawner_icon.clone(), status.spawner_logo.clone()))
            .unwrap_or_default()
    };
    old.spec != new.spec || pictures(old) != pictures(new)
}

/// A number that no earlier process had, so that its entity tags mean nothing here.
fn instance() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the clock still tells two processes apart.
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => jiff::Timestamp::now().as_nanosecond() as u64,
    }
}
