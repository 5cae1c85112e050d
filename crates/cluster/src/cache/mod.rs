//! Watch caches: everything of one kind, kept current by one watch.

mod meters;
mod source;
mod state;
mod watch;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{broadcast, watch as signal},
    task::AbortHandle,
    time::Instant,
};

use self::state::State;
pub use self::{meters::CacheMeters, source::Source};
use crate::Key;

/// How many changes a slow subscriber may be behind before it is told to start over.
const BACKLOG: usize = 1024;

/// Everything of one kind, kept current by one watch; cheap to clone. The watch ends with the last
/// clone.
///
/// Objects are shared, never copied; `metadata.managedFields` is dropped on arrival.
pub struct Cache<T> {
    shared: Arc<Shared<T>>,
    watch: Option<Arc<AbortOnDrop>>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared<T> {
    /// Plural of the kind, for logs.
    name: String,
    state: RwLock<State<T>>,
    ready: AtomicBool,
    revision: AtomicU64,
    /// Counts changes, the moment of readiness included; woken after the state is current.
    changed: signal::Sender<u64>,
    changes: broadcast::Sender<Change<T>>,
    heard: Mutex<Instant>,
    interruptions: AtomicU64,
}

impl<T> Shared<T> {
    fn new(name: String, index: Option<fn(&T) -> Option<&str>>) -> Self {
        Self {
            name,
            state: RwLock::new(State::new(index)),
            ready: AtomicBool::new(false),
            revision: AtomicU64::new(0),
            changed: signal::Sender::new(0),
            changes: broadcast::Sender::new(BACKLOG),
            heard: Mutex::new(Instant::now()),
            interruptions: AtomicU64::new(0),
        }
    }
}

/// One change of a cache.
pub enum Change<T> {
    /// An object came, changed or went.
    Object {
        /// Which one.
        key: Key,
        /// What it was; none for a new one.
        old: Option<Arc<T>>,
        /// What it is; none for one that is gone.
        new: Option<Arc<T>>,
    },
    /// Changes were missed: look at everything again.
    Resync,
}

impl<T> Clone for Change<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Object { key, old, new } => {
                Self::Object { key: key.clone(), old: old.clone(), new: new.clone() }
            }
            Self::Resync => Self::Resync,
        }
    }
}

/// The changes of a cache from the moment of subscription.
pub struct Changes<T>(broadcast::Receiver<Change<T>>);

impl<T> Changes<T> {
    /// The next change; none once the cache is gone.
    pub async fn next(&mut self) -> Option<Change<T>> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                // What is still queued is older than the state that the subscriber will now read.
                self.0 = self.0.resubscribe();
                Some(Change::Resync)
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), watch: self.watch.clone() }
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Cache<T> {
    /// One that watches nothing and holds nothing, for what a program may not read or does not need.
    pub fn empty() -> Self {
        let shared = Shared::new(String::new(), None);
        shared.ready.store(true, Ordering::Release);
        Self { shared: Arc::new(shared), watch: None }
    }

    /// The object of that name; the namespace is `None` for cluster-wide kinds.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<T>> {
        self.shared.state.read().get(namespace.unwrap_or_default(), name)
    }

    /// All objects of a namespace, or of all of them, by namespace and name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<T>> {
        self.shared.state.read().list(namespace)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        self.shared.state.read().keys()
    }

    /// The objects with that value in the index of the [`Source`].
    pub fn indexed(&self, value: &str) -> Vec<Arc<T>> {
        self.shared.state.read().indexed(value)
    }

    /// Shows each value in the index of the [`Source`] with its objects. Nothing is changed
    /// meanwhile, so the look should be a short one.
    pub fn each_indexed(&self, look: impl FnMut(&str, &[Arc<T>])) {
        self.shared.state.read().each_indexed(look);
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list has arrived.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// Waits until the first list has arrived.
    pub async fn ready(&self) {
        let mut changed = self.shared.changed.subscribe();
        // The sender lives as long as this cache.
        let _ = changed.wait_for(|_| self.is_ready()).await;
    }

    /// Counts the changes: the same number means the same content.
    pub fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    /// The changes from now on. Subscribe first and list afterwards, and nothing is missed.
    pub fn subscribe(&self) -> Changes<T> {
        Changes(self.shared.changes.subscribe())
    }

    /// Waits until the cache holds this version of the object or a newer one, or knows that it is
    /// gone since; false if that took too long. What you wrote you can then read.
    pub async fn wait_for_version(
        &self,
        key: &Key,
        resource_version: &str,
        at_most: Duration,
    ) -> bool {
        let seen = |state: &State<T>| state.has_seen(key, resource_version);
        self.wait(at_most, seen).await
    }

    /// Whether the cache holds this version of the object or a newer one, or knows that it is gone
    /// since.
    pub fn has_seen(&self, key: &Key, resource_version: &str) -> bool {
        self.shared.state.read().has_seen(key, resource_version)
    }

    /// Waits until the object of this name is as the predicate wants it; false if that took too
    /// long.
    pub async fn wait_for(
        &self,
        key: &Key,
        at_most: Duration,
        wanted: impl Fn(Option<&T>) -> bool,
    ) -> bool {
        let namespace = key.namespace().unwrap_or_default();
        self.wait(at_most, |state| wanted(state.get(namespace, key.name()).as_deref())).await
    }

    async fn wait(&self, at_most: Duration, wanted: impl Fn(&State<T>) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let wait = changed.wait_for(|_| wanted(&self.shared.state.read()));
        matches!(tokio::time::timeout(at_most, wait).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests;
