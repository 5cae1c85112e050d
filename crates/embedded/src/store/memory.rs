//! What all reads are answered from: the objects of each resource and their last events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque, btree_map},
    ops::Bound,
    sync::Arc,
};

use tokio::sync::watch;

use super::{Action, Entry, KEPT_AT_START, StoreOptions};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It did not exist before.
    Added,
    /// It did.
    Modified,
    /// It is gone; the event holds its last state.
    Deleted,
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key of the object.
    pub key: Arc<str>,
    /// The object after it (its last state for a deletion); its revision is that of the event.
    pub object: Arc<Entry>,
    /// The object before it.
    pub previous: Option<Arc<Entry>>,
}

/// The history does not reach back to the revision that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the history starts after revision {oldest}")]
pub struct Expired {
    /// The oldest revision that can still be asked for.
    pub oldest: u64,
}

/// Objects of a resource at one revision, in the order of their keys.
#[derive(Debug)]
pub struct Listing {
    /// The revision.
    pub revision: u64,
    /// The objects with their keys.
    pub entries: Vec<(Arc<str>, Arc<Entry>)>,
}

/// What a full ring gave up: the disk need not keep it any longer.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    pub(super) records: Vec<u64>,
    pub(super) floors: BTreeMap<Arc<str>, u64>,
}

impl Garbage {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.floors.is_empty()
    }
}

/// One resource.
#[derive(Debug)]
pub(super) struct Table {
    objects: BTreeMap<Arc<str>, Arc<Entry>>,
    events: VecDeque<Arc<Event>>,
    event_bytes: usize,
    /// All events after this revision are in `events`.
    pub(super) floor: u64,
    pub(super) changed: watch::Sender<u64>,
}

impl Table {
    fn new(floor: u64) -> Self {
        let (changed, _) = watch::channel(0);
        Self { objects: BTreeMap::new(), events: VecDeque::new(), event_bytes: 0, floor, changed }
    }

    /// The revision of the newest event, or of the end of what was forgotten.
    pub(super) fn last_change(&self) -> u64 {
        self.events.back().map_or(self.floor, |event| event.object.revision())
    }

    /// At most `limit` events after a revision, which must not be older than the floor.
    pub(super) fn events_after(&self, revision: u64, limit: usize) -> Vec<Arc<Event>> {
        let start = self.events.partition_point(|event| event.object.revision() <= revision);
        self.events.range(start..).take(limit).cloned().collect()
    }

    /// All events after one revision and up to another.
    pub(super) fn events_between(
        &self,
        after: u64,
        until: u64,
    ) -> Result<Vec<Arc<Event>>, Expired> {
        if after < self.floor {
            return Err(Expired { oldest: self.floor });
        }
        let start = self.events.partition_point(|event| event.object.revision() <= after);
        let end = self.events.partition_point(|event| event.object.revision() <= until);
        Ok(self.events.range(start..end).cloned().collect())
    }

    fn prefixed<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)> {
        let range: btree_map::Range<'_, _, _> =
            self.objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        range.take_while(move |(key, _)| key.starts_with(prefix))
    }
}

/// A resource and a key in it.
pub(super) type Place = (Arc<str>, Arc<str>);

/// All resources.
#[derive(Debug)]
pub(super) struct Memory {
    revision: u64,
    revisions: watch::Sender<u64>,
    tables: HashMap<Arc<str>, Table>,
    /// Which objects name an owner, by its uid.
    owned: HashMap<Box<str>, BTreeSet<Place>>,
    history_events: usize,
    history_bytes: usize,
}

impl Memory {
    /// Empty, to be filled by [`Memory::apply`]; keeps less history until [`Memory::started`].
    pub(super) fn new(options: &StoreOptions, floors: BTreeMap<String, u64>) -> Self {
        let tables = floors
            .into_iter()
            .map(|(resource, floor)| (Arc::from(resource), Table::new(floor)))
            .collect();
        let (revisions, _) = watch::channel(0);
        Self {
            revision: 0,
            revisions,
            tables,
            owned: HashMap::new(),
            history_events: options.history_events / KEPT_AT_START,
            history_bytes: options.history_bytes / KEPT_AT_START,
        }
    }

    /// All that was on the disk is here: from now on the whole history is kept.
    pub(super) fn started(&mut self, options: &StoreOptions) {
        self.history_events = options.history_events;
        self.history_bytes = options.history_bytes;
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    pub(super) fn resources(&self) -> Vec<Arc<str>> {
        self.tables.keys().cloned().collect()
    }

    pub(super) fn get(&self, resource: &str, key: &str) -> Option<&Arc<Entry>> {
        self.tables.get(resource)?.objects.get(key)
    }

    pub(super) fn count(&self, resource: &str) -> usize {
        self.tables.get(resource).map_or(0, |table| table.objects.len())
    }

    pub(super) fn table(&self, resource: &str) -> Option<&Table> {
        self.tables.get(resource)
    }

    /// The table of a resource, made if nothing was ever stored in it.
    pub(super) fn table_mut(&mut self, resource: &str) -> &mut Table {
        if !self.tables.contains_key(resource) {
            self.tables.insert(resource.into(), Table::new(0));
        }
        self.tables.entry(resource.into()).or_insert_with(|| Table::new(0))
    }

    /// The name of a resource, shared with its table.
    pub(super) fn name(&self, resource: &str) -> Arc<str> {
        match self.tables.get_key_value(resource) {
            Some((name, _)) => name.clone(),
            None => resource.into(),
        }
    }

    pub(super) fn list(&self, resource: &str, prefix: &str) -> Listing {
        let entries = self
            .tables
            .get(resource)
            .into_iter()
            .flat_map(|table| table.prefixed(prefix))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        Listing { revision: self.revision, entries }
    }

    /// The list as it was: now, with the events since then undone.
    pub(super) fn list_at(
        &self,
        resource: &str,
        prefix: &str,
        at: u64,
    ) -> Result<Listing, Expired> {
        let mut listing = self.list(resource, prefix);
        let Some(table) = self.tables.get(resource) else { return Ok(listing) };
        if at < table.floor {
            return Err(Expired { oldest: table.floor });
        }
        let mut before: BTreeMap<&str, &Option<Arc<Entry>>> = BTreeMap::new();
        let start = table.events.partition_point(|event| event.object.revision() <= at);
        for event in table.events.range(start..).rev() {
            if event.key.starts_with(prefix) {
                before.insert(&event.key, &event.previous);
            }
        }
        if !before.is_empty() {
            listing.entries.retain(|(key, _)| !before.contains_key(&**key));
            listing.entries.extend(
                before.iter().filter_map(|(key, entry)| Some(((*key).into(), (*entry).clone()?))),
            );
            listing.entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        }
        listing.revision = at;
        Ok(listing)
    }

    /// Takes in one committed record and adds to `garbage` what fell out of the history.
    pub(super) fn apply(
        &mut self,
        action: Action,
        resource: &Arc<str>,
        key: Arc<str>,
        entry: Arc<Entry>,
        garbage: &mut Garbage,
    ) {
        let (max_events, max_bytes) = (self.history_events, self.history_bytes);
        self.revision = self.revision.max(entry.revision());
        let table = self.table_mut(resource);
        let previous = match action {
            Action::Put => table.objects.insert(key.clone(), entry.clone()),
            Action::Delete => table.objects.remove(&key),
        };
        let after = (action == Action::Put).then_some(&entry);
        self.index_owners(resource, &key, previous.as_ref(), after);
        let table = self.table_mut(resource);
        if entry.revision() <= table.floor {
            return;
        }
        let kind = match (action, &previous) {
            (Action::Delete, _) => EventKind::Deleted,
            (Action::Put, None) => EventKind::Added,
            (Action::Put, Some(_)) => EventKind::Modified,
        };
        table.event_bytes += entry.json().len();
        table.events.push_back(Arc::new(Event { kind, key, object: entry, previous }));
        // The newest event stays: with it the log never forgets the last revision.
        while table.events.len() > max_events.max(1)
            || (table.event_bytes > max_bytes && table.events.len() > 1)
        {
            let Some(old) = table.events.pop_front() else { break };
            table.event_bytes -= old.object.json().len();
            table.floor = old.object.revision();
            garbage.records.extend(old.previous.iter().map(|previous| previous.revision()));
            if old.kind == EventKind::Deleted {
                garbage.records.push(old.object.revision());
            }
            garbage.floors.insert(resource.clone(), table.floor);
        }
    }

    fn index_owners(
        &mut self,
        resource: &Arc<str>,
        key: &Arc<str>,
        before: Option<&Arc<Entry>>,
        after: Option<&Arc<Entry>>,
    ) {
        let owners = |entry: Option<&Arc<Entry>>| {
            entry.map(|entry| entry.meta().owners.clone()).unwrap_or_default()
        };
        let (before, after) = (owners(before), owners(after));
        if before == after {
            return;
        }
        let place = (resource.clone(), key.clone());
        for owner in &before {
            if let Some(owned) = self.owned.get_mut(owner) {
                owned.remove(&place);
                if owned.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
        for owner in after {
            self.owned.entry(owner).or_default().insert(place.clone());
        }
    }

    pub(super) fn owned_by(&self, uid: &str) -> Vec<Place> {
        self.owned.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Tells watches of the resources that something happened.
    pub(super) fn announce<'a>(&self, resources: impl IntoIterator<Item = &'a Arc<str>>) {
        for resource in resources {
            if let Some(table) = self.tables.get(resource) {
                table.changed.send_replace(self.revision);
            }
        }
        self.revisions.send_replace(self.revision);
    }
}
