//! Lists as kept bytes: rendered when an item changes, never for a request.
//!
//! Rendered items lie in order of namespace and name in blocks of about 128 KiB. The whole list is
//! all blocks in a row, the list of a namespace is a run of slices of them, so both go out without
//! a copy, memory holds every item once, and a change copies one block only. Compressed forms are
//! made when first asked for, block by block, and kept until their list changes. What changed last
//! is kept for a while too, for watchers.

mod answer;
mod block;
mod journal;
mod packed;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use cluster::Key;
use parking_lot::RwLock;
use tokio::sync::{OnceCell, watch};

pub(crate) use self::{
    answer::List,
    journal::{Event, TooOld},
};
use self::{
    block::{Block, merge, namespace},
    journal::Journal,
};

/// A rendered item with the object that it shows.
#[derive(Debug, Clone)]
pub(crate) struct Row<T> {
    pub(crate) bytes: Bytes,
    pub(crate) object: T,
}

/// Changed items in order; `None` is one that is gone.
pub(crate) type Changed<T> = BTreeMap<Key, Option<Row<T>>>;

/// The kept lists.
#[derive(Debug)]
pub(crate) struct ListCache<T> {
    /// Makes entity tags of this process differ from those of an earlier one.
    instance: u64,
    inner: RwLock<Inner<T>>,
    /// Where the journal ends; wakes watchers.
    end: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner<T> {
    sequence: u64,
    blocks: Vec<Block<T>>,
    all: Arc<Forms>,
    namespaces: HashMap<Box<str>, Arc<Forms>>,
    journal: Journal<T>,
}

/// One version of a list: its number and its compressed forms, as far as somebody wanted them.
#[derive(Debug, Default)]
struct Forms {
    version: u64,
    gzip: OnceCell<Bytes>,
    zstd: OnceCell<Bytes>,
}

impl Forms {
    fn new(version: u64) -> Arc<Self> {
        Arc::new(Self { version, ..Self::default() })
    }
}

impl<T: Clone> ListCache<T> {
    /// An empty cache; `instance` differs between processes.
    pub(crate) fn new(instance: u64) -> Self {
        let inner = Inner {
            sequence: 0,
            blocks: Vec::new(),
            all: Arc::default(),
            namespaces: HashMap::new(),
            journal: Journal::default(),
        };
        Self { instance, inner: RwLock::new(inner), end: watch::Sender::new(0) }
    }

    /// Takes in what changed since the last call.
    pub(crate) fn apply(&self, changed: Changed<T>) {
        if changed.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        inner.apply(changed);
        self.end.send_replace(inner.journal.end());
    }

    /// Forgets every item and takes these instead. Watchers have to start over.
    pub(crate) fn replace(&self, items: Changed<T>) {
        let mut inner = self.inner.write();
        inner.sequence += 1;
        inner.all = Forms::new(inner.sequence);
        inner.blocks.clear();
        inner.namespaces.clear();
        inner.take(items);
        inner.journal.forget();
        self.end.send_replace(inner.journal.end());
    }

    /// The list of everything.
    pub(crate) fn all(&self) -> List {
        let inner = self.inner.read();
        let whole = inner.blocks.iter().map(Block::whole);
        List::new(self.tag(inner.all.version), whole, Arc::clone(&inner.all))
    }

    /// The list of one namespace; empty when there is none of that name.
    pub(crate) fn namespace(&self, namespace: &str) -> List {
        let inner = self.inner.read();
        let Some(forms) = inner.namespaces.get(namespace) else {
            return List::new(self.tag(0), std::iter::empty(), Arc::default());
        };
        let first = inner.blocks.partition_point(|block| block.ends_before(namespace));
        let slices = inner.blocks[first..].iter().map_while(|block| block.slice_of(namespace));
        List::new(self.tag(forms.version), slices, Arc::clone(forms))
    }

    fn tag(&self, version: u64) -> String {
        format!("W/\"{:x}-{version:x}\"", self.instance)
    }

    /// Changes with every object, shown or not: the tag of answers that look at the objects.
    pub(crate) fn any_change(&self) -> String {
        format!("W/\"{:x}-{:x}s\"", self.instance, self.inner.read().sequence)
    }

    /// Shows the items of a namespace, or all of them, by namespace and name.
    pub(crate) fn each(&self, scope: Option<&str>, mut show: impl FnMut(&Key, &T, Bytes)) {
        let inner = self.inner.read();
        let first = match scope {
            Some(scope) => inner.blocks.partition_point(|block| block.ends_before(scope)),
            None => 0,
        };
        for block in &inner.blocks[first..] {
            for (key, row) in block.rows(Bound::Unbounded) {
                match scope.map(|scope| namespace(key).cmp(scope)) {
                    Some(std::cmp::Ordering::Less) => {}
                    Some(std::cmp::Ordering::Greater) => return,
                    _ => show(key, &row.object, row.bytes),
                }
            }
        }
    }

    /// The next few items after a key in order, and where the journal ended when they were read.
    pub(crate) fn after(&self, key: Option<&Key>, most: usize) -> (Vec<(Key, Row<T>)>, u64) {
        let inner = self.inner.read();
        let first = match key {
            Some(key) => inner.blocks.partition_point(|block| block.ends_at_most(key)),
            None => 0,
        };
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = inner.blocks[first..].iter().flat_map(|block| block.rows(from));
        let rows = rows.take(most).map(|(key, row)| (key.clone(), row)).collect();
        (rows, inner.journal.end())
    }

    /// What changed from this position on, at most so much of it.
    pub(crate) fn since(&self, position: u64, most: usize) -> Result<Vec<Arc<Event<T>>>, TooOld> {
        self.inner.read().journal.since(position, most)
    }

    /// Where the journal ends. Waiting for it to change is waiting for news.
    pub(crate) fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Whether somebody waits for news.
    pub(crate) fn is_watched(&self) -> bool {
        self.end.receiver_count() > 0
    }

    /// What a watcher shows to go on from a position.
    pub(crate) fn token(&self, position: u64) -> String {
        format!("{:x}-{position:x}", self.instance)
    }

    /// The position that a watcher shows, if it comes from here.
    pub(crate) fn position(&self, token: &str) -> Option<u64> {
        let (instance, position) = token.split_once('-')?;
        let ours = u64::from_str_radix(instance, 16) == Ok(self.instance);
        u64::from_str_radix(position, 16).ok().filter(|_| ours)
    }
}

impl<T: Clone> Inner<T> {
    fn apply(&mut self, changed: Changed<T>) {
        self.sequence += 1;
        let mut different = Changed::new();
        for (key, new) in changed {
            let at = self.locate(&key);
            let old = at.map(|(block, item)| self.blocks[block].row(item));
            self.journal.note(&key, old.as_ref(), new.as_ref());
            match (at, &old, &new) {
                (None, _, None) => {}
                // What is shown stays as it is, and so do the versions of the lists.
                (Some((block, item)), Some(old), Some(new)) if old.bytes == new.bytes => {
                    self.blocks[block].set_object(item, new.object.clone());
                }
                _ => drop(different.insert(key, new)),
            }
        }
        if !different.is_empty() {
            self.all = Forms::new(self.sequence);
            self.take(different);
        }
    }

    fn take(&mut self, changed: Changed<T>) {
        let touched: BTreeSet<Box<str>> = changed.keys().map(|key| namespace(key).into()).collect();
        self.blocks = merge(std::mem::take(&mut self.blocks), changed);
        for namespace in touched {
            let first = self.blocks.partition_point(|block| block.ends_before(&namespace));
            match self.blocks.get(first).and_then(|block| block.slice_of(&namespace)) {
                Some(_) => self.namespaces.insert(namespace, Forms::new(self.sequence)),
                None => self.namespaces.remove(&namespace),
            };
        }
    }

    /// The block and the place in it where an item is.
    fn locate(&self, key: &Key) -> Option<(usize, usize)> {
        let block = self.blocks.partition_point(|block| block.ends_before_key(key));
        Some((block, self.blocks.get(block)?.find(key)?))
    }
}

#[cfg(test)]
mod tests;
