//! Keeps the rendered lists of workspaces in step with the caches.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use cluster::{Cache, Change, Changes, Key};
use futures::FutureExt;
use tokio::{sync::Mutex, task::unconstrained};
use web::Error;

use super::{
    error::Problem,
    list_cache::{Changed, ListCache, Row},
    wire::{workspace_list::WorkspaceListItem, workspace_old::OldListItem},
};
use crate::{
    Caches,
    model::{Workspace, WorkspaceKind},
};

/// More changed items than this are rendered where they hold nobody up.
const MANY: usize = 200;

/// How long changes are gathered when nobody waits for them.
const QUIET: Duration = Duration::from_millis(250);

/// The same while somebody watches.
const BRIEF: Duration = Duration::from_millis(25);

/// What items look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// What lists show.
    Slim,
    /// With metadata and volumes of the pod.
    Full,
    /// What lists of 2025-07 show.
    Old,
}

/// The lists of workspaces in each shape that was asked for.
pub(crate) struct ListsByShape {
    caches: Caches,
    prefix: Box<str>,
    slim: OnceLock<Arc<WorkspaceLists>>,
    full: OnceLock<Arc<WorkspaceLists>>,
    old: OnceLock<Arc<WorkspaceLists>>,
}

impl ListsByShape {
    /// Starts with none; `prefix` goes before paths of pictures.
    pub(crate) fn new(caches: &Caches, prefix: &str) -> Self {
        let none = OnceLock::new;
        let (slim, full, old) = (none(), none(), none());
        Self { caches: caches.clone(), prefix: prefix.into(), slim, full, old }
    }

    /// The lists in a shape.
    pub(crate) fn of(&self, shape: Shape) -> &Arc<WorkspaceLists> {
        let place = match shape {
            Shape::Slim => &self.slim,
            Shape::Full => &self.full,
            Shape::Old => &self.old,
        };
        place.get_or_init(|| WorkspaceLists::start(&self.caches, &self.prefix, shape))
    }
}

/// The lists of workspaces in one shape.
pub(crate) struct WorkspaceLists {
    kept: Arc<Kept>,
    source: Source,
    pending: Mutex<Pending>,
}

type Kept = ListCache<Arc<Workspace>>;
type Items = Changed<Arc<Workspace>>;

/// What items are rendered from.
#[derive(Clone)]
struct Source {
    workspaces: Cache<Workspace>,
    kinds: Cache<WorkspaceKind>,
    prefix: Arc<str>,
    shape: Shape,
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
    fn start(caches: &Caches, prefix: &str, shape: Shape) -> Arc<Self> {
        let lists = Arc::new(Self::new(caches, prefix, shape));
        tokio::spawn(keep_current(Arc::downgrade(&lists), caches.clone()));
        lists
    }

    fn new(caches: &Caches, prefix: &str, shape: Shape) -> Self {
        let workspaces = caches.workspaces.clone();
        let kinds = caches.kinds.clone();
        let pending = Pending {
            workspaces: workspaces.subscribe(),
            kinds: kinds.subscribe(),
            everything: true,
            keys: BTreeSet::new(),
        };
        let source = Source { workspaces, kinds, prefix: prefix.into(), shape };
        Self { kept: Arc::new(ListCache::new(instance())), source, pending: Mutex::new(pending) }
    }

    /// The lists as they were when they were last in step with the caches.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The lists as the caches are now.
    pub(crate) async fn current(&self) -> Result<&Kept, Problem> {
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

/// Ends with the lists, or with the caches.
async fn keep_current(lists: Weak<WorkspaceLists>, caches: Caches) {
    let mut workspaces = caches.workspaces.subscribe();
    let mut kinds = caches.kinds.subscribe();
    // Their watches must be able to end.
    drop(caches);
    loop {
        let go_on = tokio::select! {
            change = workspaces.next() => change.is_some(),
            change = kinds.next() => change.is_some(),
        };
        let Some(watched) = lists.upgrade().map(|lists| lists.kept.is_watched()) else { return };
        if !go_on {
            return;
        }
        tokio::time::sleep(if watched { BRIEF } else { QUIET }).await;
        while now(&mut workspaces).is_some() || now(&mut kinds).is_some() {}
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

    fn render(&self, keys: impl IntoIterator<Item = Key>) -> Items {
        keys.into_iter().map(|key| self.item(key)).collect()
    }

    fn item(&self, key: Key) -> (Key, Option<Row<Arc<Workspace>>>) {
        let Some(workspace) = self.workspaces.get(key.namespace(), key.name()) else {
            return (key, None);
        };
        let kind = self.kinds.get(None, &workspace.spec.kind);
        let kind = kind.as_deref();
        let item = |full| WorkspaceListItem::new(&workspace, kind, &self.prefix, full);
        let rendered = match self.shape {
            Shape::Slim => serde_json::to_vec(&item(false)),
            Shape::Full => serde_json::to_vec(&item(true)),
            Shape::Old => serde_json::to_vec(&OldListItem::new(&workspace, kind)),
        };
        match rendered {
            Ok(bytes) => (key, Some(Row { bytes: bytes.into(), object: workspace })),
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
