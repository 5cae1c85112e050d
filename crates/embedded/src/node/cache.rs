//! The objects of one kind, kept by a watch.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::TryStreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Namespace (empty for kinds without) and name.
pub(crate) type Key = (String, String);

/// The key of an object.
pub(crate) fn key_of(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What is known of the objects of one kind.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    known: RwLock<Known<K>>,
    ready: watch::Sender<bool>,
    /// Takes away what nobody asks the cache for.
    strip: fn(&mut K),
}

#[derive(Debug)]
struct Known<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// The newest version that the watch has told of.
    seen: u64,
}

/// A kind that can be cached.
pub(crate) trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Cached for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// An object as it was and as it is now.
pub(crate) struct Change<'a, K> {
    pub(crate) old: Option<&'a Arc<K>>,
    pub(crate) new: Option<&'a Arc<K>>,
}

impl<'a, K> Change<'a, K> {
    /// The object in every state there is of it.
    pub(crate) fn states(&self) -> impl Iterator<Item = &'a Arc<K>> {
        self.old.into_iter().chain(self.new)
    }
}

impl<K: Cached> Cache<K> {
    pub(crate) fn new() -> Arc<Self> {
        Self::stripped(|_| {})
    }

    /// A cache that keeps only a part of each object, for kinds that are large and many.
    pub(crate) fn stripped(strip: fn(&mut K)) -> Arc<Self> {
        let known = RwLock::new(Known { objects: BTreeMap::new(), seen: 0 });
        Arc::new(Self { known, ready: watch::Sender::new(false), strip })
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.known.read().objects.get(key).cloned()
    }

    /// The objects of a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let known = self.known.read();
        let first = (namespace.to_owned(), String::new());
        let range = known.objects.range(first..);
        range
            .take_while(|((of, _), _)| of == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.known.read().objects.values().cloned().collect()
    }

    /// Takes in what a write returned, before the watch tells of it. Versions are counted across the
    /// whole store, so an object that the watch must have told of already is not taken again.
    pub(crate) fn remember(&self, object: K) {
        let mut known = self.known.write();
        if version(&object) > known.seen {
            known.objects.insert(key_of(&object), Arc::new(object));
        }
    }

    /// Waits until all objects are known.
    pub(crate) async fn ready(&self) {
        // The sender lives in self, so this cannot fail.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Watches for ever, and tells of every change.
    pub(crate) async fn run(self: Arc<Self>, client: Client, tell: impl Fn(Change<'_, K>) + Send) {
        let api = Api::<K>::all(client);
        let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut listed = Vec::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(Event::InitApply(mut object))) => {
                    (self.strip)(&mut object);
                    listed.push(object);
                }
                Ok(Some(Event::InitDone)) => {
                    self.replace(std::mem::take(&mut listed), &tell);
                    self.ready.send_replace(true);
                }
                Ok(Some(Event::Apply(mut object))) => {
                    (self.strip)(&mut object);
                    self.put(object, &tell);
                }
                Ok(Some(Event::Delete(object))) => self.remove(&object, &tell),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(kind = %K::kind(&()), %error, "a watch broke and starts again");
                }
            }
        }
    }

    fn put(&self, object: K, tell: &impl Fn(Change<'_, K>)) {
        let (key, version, new) = (key_of(&object), version(&object), Arc::new(object));
        let old = {
            let mut known = self.known.write();
            known.seen = known.seen.max(version);
            known.objects.insert(key, Arc::clone(&new))
        };
        tell(Change { old: old.as_ref(), new: Some(&new) });
    }

    fn remove(&self, object: &K, tell: &impl Fn(Change<'_, K>)) {
        let old = {
            let mut known = self.known.write();
            known.seen = known.seen.max(version(object));
            known.objects.remove(&key_of(object))
        };
        tell(Change { old: old.as_ref(), new: None });
    }

    fn replace(&self, listed: Vec<K>, tell: &impl Fn(Change<'_, K>)) {
        let new: BTreeMap<Key, Arc<K>> =
            listed.into_iter().map(|object| (key_of(&object), Arc::new(object))).collect();
        let old = {
            let mut known = self.known.write();
            known.seen = new.values().map(|object| version(object.as_ref())).max().unwrap_or(0);
            std::mem::replace(&mut known.objects, new.clone())
        };
        for (_, gone) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
            tell(Change { old: Some(gone), new: None });
        }
        for (key, object) in &new {
            tell(Change { old: old.get(key), new: Some(object) });
        }
    }
}

fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}
