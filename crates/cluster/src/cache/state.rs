//! What a cache holds at one moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::Key;

/// One object with what the watch said about it.
struct Entry<T> {
    object: Arc<T>,
    version: Box<str>,
}

/// What a cache holds at one moment: by namespace, then by name.
pub(super) struct State<T> {
    namespaces: BTreeMap<Box<str>, BTreeMap<Box<str>, Entry<T>>>,
    index: Option<fn(&T) -> Option<&str>>,
    indexed: HashMap<Box<str>, Vec<Arc<T>>>,
    /// The newest version of any object that went through the watch.
    newest: u64,
    len: usize,
}

/// What an arriving object was before.
pub(super) enum Before<T> {
    /// The very same version.
    Same,
    /// Another one, or nothing.
    Other(Option<Arc<T>>),
}

impl<T> State<T> {
    pub(super) fn new(index: Option<fn(&T) -> Option<&str>>) -> Self {
        Self { namespaces: BTreeMap::new(), index, indexed: HashMap::new(), newest: 0, len: 0 }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        Some(self.entry(namespace, name)?.object.clone())
    }

    fn entry(&self, namespace: &str, name: &str) -> Option<&Entry<T>> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub(super) fn list(&self, namespace: Option<&str>) -> Vec<Arc<T>> {
        let objects = |names: &BTreeMap<Box<str>, Entry<T>>, into: &mut Vec<Arc<T>>| {
            into.extend(names.values().map(|entry| entry.object.clone()));
        };
        let mut all = Vec::new();
        match namespace {
            Some(namespace) => {
                if let Some(names) = self.namespaces.get(namespace) {
                    all.reserve_exact(names.len());
                    objects(names, &mut all);
                }
            }
            None => {
                all.reserve_exact(self.len);
                self.namespaces.values().for_each(|names| objects(names, &mut all));
            }
        }
        all
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::with_capacity(self.len);
        for (namespace, names) in &self.namespaces {
            keys.extend(names.keys().map(|name| Key::new(Some(namespace), name)));
        }
        keys
    }

    pub(super) fn indexed(&self, value: &str) -> Vec<Arc<T>> {
        self.indexed.get(value).cloned().unwrap_or_default()
    }

    pub(super) fn each_indexed(&self, mut look: impl FnMut(&str, &[Arc<T>])) {
        self.indexed.iter().for_each(|(value, objects)| look(value, objects));
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Notes how far the watch is.
    pub(super) fn saw(&mut self, version: u64) {
        self.newest = self.newest.max(version);
    }

    pub(super) fn insert(&mut self, key: &Key, object: Arc<T>, version: &str) -> Before<T> {
        let namespace = key.namespace().unwrap_or_default();
        if self.entry(namespace, key.name()).is_some_and(|entry| *entry.version == *version) {
            return Before::Same;
        }
        let old = self.remove(key);
        if let Some(value) = self.index.and_then(|index| index(&object)) {
            self.indexed.entry(value.into()).or_default().push(object.clone());
        }
        let entry = Entry { object, version: version.into() };
        self.namespaces.entry(namespace.into()).or_default().insert(key.name().into(), entry);
        self.len += 1;
        Before::Other(old)
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<T>> {
        let namespace = key.namespace().unwrap_or_default();
        let names = self.namespaces.get_mut(namespace)?;
        let old = names.remove(key.name())?.object;
        if names.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.len -= 1;
        if let Some(value) = self.index.and_then(|index| index(&old))
            && let Some(objects) = self.indexed.get_mut(value)
        {
            if let Some(at) = objects.iter().position(|object| Arc::ptr_eq(object, &old)) {
                objects.swap_remove(at);
            }
            if objects.is_empty() {
                self.indexed.remove(value);
            }
        }
        Some(old)
    }

    /// Whether the watch has gone past that version of the object.
    pub(super) fn has_seen(&self, key: &Key, version: &str) -> bool {
        let entry = self.entry(key.namespace().unwrap_or_default(), key.name());
        match version.parse::<u64>() {
            Ok(wanted) => {
                self.newest >= wanted
                    || entry
                        .is_some_and(|entry| entry.version.parse().is_ok_and(|v: u64| v >= wanted))
            }
            Err(_) => entry.is_some_and(|entry| *entry.version == *version),
        }
    }
}
