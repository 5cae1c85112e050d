//! What a cluster does by itself after a write: garbage collection by owners, the end of
//! namespaces, the end of definitions.
//!
//! One task follows all events. What it derives from an event it checks against the store before
//! it acts, so doing anything twice is harmless; after a restart it looks at everything once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Api, crds,
    delete::{DeleteOptions, FOREGROUND, ORPHAN, Propagation},
    kinds::{Resource, text},
    metadata::{self, Object},
    read,
    status::Status,
    write::Target,
};
use crate::store::{Entry, EventKind};

/// When to try again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// An object may have lost its owners, or wait for its dependents.
    Object { table: Arc<str>, key: Arc<str> },
    /// A namespace may be ending.
    Namespace(Arc<str>),
    /// A definition may be ending, or get names that were taken.
    Definition(Arc<str>),
}

pub(crate) struct Collector {
    api: Arc<Api>,
    seen: u64,
    tasks: BTreeSet<Task>,
}

impl Collector {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api, seen: 0, tasks: BTreeSet::new() }
    }

    pub(crate) async fn run(mut self) {
        let stop = self.api.stop.clone();
        self.look_at_everything();
        loop {
            let failed = stop.run_until_cancelled(self.work()).await;
            let Some(failed) = failed else { return };
            let wait = async {
                let news = self.api.store.reached(self.seen + 1);
                if failed {
                    // News are no reason to try again at once what just failed.
                    tokio::time::sleep(RETRY).await;
                } else {
                    news.await;
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
            self.follow();
        }
    }

    /// Does all tasks; what fails stays for later.
    async fn work(&mut self) -> bool {
        let mut failed = BTreeSet::new();
        while let Some(task) = self.tasks.pop_first() {
            let result = match &task {
                Task::Object { table, key } => self.tend(table, key).await,
                Task::Namespace(name) => self.end_namespace(name).await,
                Task::Definition(name) => self.tend_definition(name).await,
            };
            match result {
                Ok(()) => {}
                // Gone or changed meanwhile: an event of that will come or has come.
                Err(status) if matches!(status.code(), 404 | 409) => {}
                Err(status) => {
                    tracing::warn!(?task, error = status.message(), "cannot clean up, will retry");
                    failed.insert(task);
                }
            }
        }
        let any = !failed.is_empty();
        self.tasks = failed;
        any
    }

    fn look_at_everything(&mut self) {
        self.seen = self.api.store.revision();
        for table in self.api.store.resources() {
            self.look_at_table(&table);
        }
    }

    fn look_at_table(&mut self, table: &Arc<str>) {
        for (key, entry) in self.api.store.list(table, "").entries {
            self.note(table, &key, &entry);
        }
    }

    /// Takes in the events since the last time.
    fn follow(&mut self) {
        let until = self.api.store.revision();
        for table in self.api.store.resources() {
            match self.api.store.events_between(&table, self.seen, until) {
                Ok(events) => {
                    for event in events {
                        if event.kind == EventKind::Deleted {
                            if &*table == crds::TABLE {
                                self.note_free_names();
                            }
                            self.note_end(&event.key, &event.object);
                        } else {
                            self.note(&table, &event.key, &event.object);
                        }
                    }
                }
                Err(_) => self.look_at_table(&table),
            }
        }
        self.seen = until;
    }

    fn note(&mut self, table: &Arc<str>, key: &str, entry: &Entry) {
        let meta = entry.meta();
        if meta.deleting && &**table == "namespaces" {
            self.tasks.insert(Task::Namespace(key.into()));
        } else if meta.deleting && &**table == crds::TABLE {
            self.tasks.insert(Task::Definition(key.into()));
        }
        if !meta.owners.is_empty() || meta.deleting {
            self.tasks.insert(Task::Object { table: table.clone(), key: key.into() });
        }
    }

    /// After a definition is gone its names are free.
    fn note_free_names(&mut self) {
        for (key, entry) in self.api.store.list(crds::TABLE, "").entries {
            if !crds::is_established(&Value::Object(entry.object())) {
                self.tasks.insert(Task::Definition(key));
            }
        }
    }

    /// After an object is gone: its dependents, its waiting owners, its namespace, its definition.
    fn note_end(&mut self, key: &str, entry: &Entry) {
        let store = &self.api.store;
        for (table, key) in store.owned_by(&entry.meta().uid) {
            self.tasks.insert(Task::Object { table, key });
        }
        let object = entry.object();
        for (owner, _) in owners(&object) {
            if let Some((table, key)) = self.place(&owner, &object) {
                self.tasks.insert(Task::Object { table, key });
            }
        }
        if let Some((namespace, _)) = key.split_once('/')
            && store.get("namespaces", namespace).is_some_and(|found| found.meta().deleting)
        {
            self.tasks.insert(Task::Namespace(namespace.into()));
        }
        let group =
            object.get("apiVersion").and_then(Value::as_str).and_then(|v| v.split_once('/'));
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        if let Some((group, _)) = group
            && let Some(resource) = self.api.kinds().find_kind(group, kind)
            && resource.custom.as_ref().is_some_and(|custom| custom.terminating)
        {
            self.tasks.insert(Task::Definition(resource.table.clone()));
        }
    }

    /// Where an owner would be. `None` if nobody knows its kind, or it would be in a namespace and
    /// the dependent is in none.
    fn place(&self, owner: &Value, dependent: &Object) -> Option<(Arc<str>, Arc<str>)> {
        let resource = self.owner_kind(owner)?;
        let namespace = metadata::get(dependent, "namespace");
        if resource.namespaced && namespace.is_empty() {
            return None;
        }
        let key = resource.key(namespace, text(owner, "/name"));
        Some((resource.table.clone(), key))
    }

    fn owner_kind(&self, owner: &Value) -> Option<Arc<Resource>> {
        let api_version = text(owner, "/apiVersion");
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.api.kinds().find_kind(group, text(owner, "/kind")).cloned()
    }

    fn target(&self, table: &str, key: &str) -> Option<Target> {
        let registry = self.api.kinds();
        registry.find_table(table).map(|resource| read::target(resource, key))
    }

    /// Whether an owner is there, is there and waits for its dependents, or is not there. An owner
    /// of an unknown kind counts as there: its definition may come back.
    fn owner_state(&self, owner: &Value, dependent: &Object) -> OwnerState {
        let Some((table, key)) = self.place(owner, dependent) else { return OwnerState::Solid };
        match self.api.store.get(&table, &key) {
            Some(entry) if *entry.meta().uid == *text(owner, "/uid") => {
                let waits = entry.meta().deleting
                    && metadata::finalizers(&entry.object()).contains(&FOREGROUND);
                if waits { OwnerState::Waiting } else { OwnerState::Solid }
            }
            _ => OwnerState::Absent,
        }
    }

    /// Deletes an object whose owners are gone, and ends the waiting of an owner.
    async fn tend(&mut self, table: &Arc<str>, key: &str) -> Result<(), Status> {
        let Some(entry) = self.api.store.get(table, key) else { return Ok(()) };
        let Some(target) = self.target(table, key) else { return Ok(()) };
        let object = entry.object();
        if entry.meta().deleting {
            let finalizers = metadata::finalizers(&object);
            if finalizers.contains(&ORPHAN) {
                self.free_dependents(&entry.meta().uid).await?;
                self.drop_finalizer(&target, ORPHAN).await?;
            } else if finalizers.contains(&FOREGROUND) {
                self.end_dependents(&target, &entry.meta().uid).await?;
            }
            if target.resource.is("namespaces") || target.resource.is(crds::TABLE) {
                return Ok(());
            }
        }
        let owners = owners(&object);
        if owners.is_empty() {
            return Ok(());
        }
        let states: Vec<OwnerState> =
            owners.iter().map(|(owner, _)| self.owner_state(owner, &object)).collect();
        let absent: Vec<String> = owners
            .iter()
            .zip(&states)
            .filter(|(_, state)| **state != OwnerState::Solid)
            .map(|((owner, _), _)| text(owner, "/uid").to_owned())
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        if states.contains(&OwnerState::Solid) {
            return self.drop_owners(&target, &absent).await;
        }
        if entry.meta().deleting {
            return Ok(());
        }
        let waiting = states.contains(&OwnerState::Waiting);
        let has_dependents = !self.api.store.owned_by(&entry.meta().uid).is_empty();
        let finalizers = metadata::finalizers(&object);
        let propagation = if finalizers.contains(&ORPHAN) {
            Propagation::Orphan
        } else if finalizers.contains(&FOREGROUND) || (waiting && has_dependents) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        self.delete(&target, &entry, propagation).await
    }

    async fn delete(
        &self,
        target: &Target,
        entry: &Entry,
        propagation: Propagation,
    ) -> Result<(), Status> {
        let options = DeleteOptions {
            uid: Some(entry.meta().uid.to_string()),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        self.api.delete(target, &options).await?;
        Ok(())
    }

    /// Deletes the dependents of an owner that waits, and lets it go when those it must wait for
    /// are gone.
    async fn end_dependents(&mut self, owner: &Target, uid: &str) -> Result<(), Status> {
        let mut blocked = false;
        for (table, key) in self.api.store.owned_by(uid) {
            let Some(entry) = self.api.store.get(&table, &key) else { continue };
            let object = entry.object();
            let reference = owners(&object).into_iter().find(|(one, _)| text(one, "/uid") == uid);
            blocked |= reference.is_some_and(|(_, blocks)| blocks);
            if !entry.meta().deleting {
                self.tasks.insert(Task::Object { table, key });
            }
        }
        if blocked { Ok(()) } else { self.drop_finalizer(owner, FOREGROUND).await }
    }

    async fn free_dependents(&self, uid: &str) -> Result<(), Status> {
        for (table, key) in self.api.store.owned_by(uid) {
            let Some(target) = self.target(&table, &key) else { continue };
            match self.drop_owners(&target, &[uid.to_owned()]).await {
                Err(status) if status.code() == 404 => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn drop_owners(&self, target: &Target, uids: &[String]) -> Result<(), Status> {
        let change = |object: &Object| {
            let left: Vec<Value> = owners(object)
                .into_iter()
                .map(|(owner, _)| owner)
                .filter(|owner| !uids.iter().any(|uid| uid == text(owner, "/uid")))
                .collect();
            let mut object = object.clone();
            if left.is_empty() {
                metadata::remove(&mut object, "ownerReferences");
            } else {
                metadata::set(&mut object, "ownerReferences", left);
            }
            Ok((object, Vec::new()))
        };
        self.api.modify_unchecked(target, false, change).await
    }

    async fn drop_finalizer(&self, target: &Target, finalizer: &str) -> Result<(), Status> {
        let change = |object: &Object| {
            let left: Vec<String> = metadata::finalizers(object)
                .into_iter()
                .filter(|&one| one != finalizer)
                .map(str::to_owned)
                .collect();
            let mut object = object.clone();
            if left.is_empty() {
                metadata::remove(&mut object, "finalizers");
            } else {
                metadata::set(&mut object, "finalizers", left);
            }
            Ok((object, Vec::new()))
        };
        self.api.modify_unchecked(target, false, change).await
    }

    /// Begins the deletion of all objects of a prefix.
    async fn delete_all(&self, resource: &Arc<Resource>, prefix: &str) -> Result<(), Status> {
        let found = self.api.store.list(&resource.table, prefix).entries;
        let left = found.iter().filter(|(_, entry)| !entry.meta().deleting);
        let deletions = left.map(|(key, entry)| {
            let target = read::target(resource, key);
            async move { self.delete(&target, entry, Propagation::Background).await }
        });
        for result in futures::future::join_all(deletions).await {
            match result {
                // Gone or changed meanwhile: an event of that will come or has come.
                Err(status) if !matches!(status.code(), 404 | 409) => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    /// Empties a namespace that ends, then removes it.
    async fn end_namespace(&mut self, name: &str) -> Result<(), Status> {
        let Some(entry) = self.api.store.get("namespaces", name) else { return Ok(()) };
        if !entry.meta().deleting {
            return Ok(());
        }
        let prefix = format!("{name}/");
        let tables: Vec<Arc<Resource>> =
            self.api.kinds().tables().filter(|resource| resource.namespaced).cloned().collect();
        let mut left = false;
        for resource in tables {
            self.delete_all(&resource, &prefix).await?;
            left |= !self.api.store.list(&resource.table, &prefix).entries.is_empty();
        }
        if left {
            return Ok(());
        }
        let Some(target) = self.target("namespaces", name) else { return Ok(()) };
        let change = |object: &Object| {
            let mut object = object.clone();
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("finalizers");
            }
            Ok((object, Vec::new()))
        };
        self.api.modify_unchecked(&target, false, change).await
    }

    /// Looks again at a definition whose names were taken.
    async fn accept_definition(&self, name: &str) -> Result<(), Status> {
        let Some(target) = self.target(crds::TABLE, name) else { return Ok(()) };
        let _guard = self.api.guard(&target.resource).await;
        let registry = self.api.kinds();
        let change = |object: &Object| {
            let mut object = object.clone();
            crds::accept(&mut object, None, &registry)?;
            Ok((object, Vec::new()))
        };
        self.api.modify_unchecked(&target, false, change).await
    }

    /// Deletes the objects of a definition that ends, then lets it go.
    async fn tend_definition(&mut self, name: &str) -> Result<(), Status> {
        let Some(entry) = self.api.store.get(crds::TABLE, name) else { return Ok(()) };
        if !entry.meta().deleting && !crds::is_established(&Value::Object(entry.object())) {
            return self.accept_definition(name).await;
        }
        if !entry.meta().deleting || !metadata::finalizers(&entry.object()).contains(&crds::CLEANUP)
        {
            return Ok(());
        }
        if let Some(resource) = self.api.kinds().find_table(name).cloned() {
            let Some(target) = self.target(crds::TABLE, name) else { return Ok(()) };
            let change = |object: &Object| {
                let mut object = object.clone();
                crds::deletes_instances(&mut object);
                Ok((object, Vec::new()))
            };
            self.api.modify_unchecked(&target, false, change).await?;
            self.delete_all(&resource, "").await?;
            if self.api.store.count(name) > 0 {
                return Ok(());
            }
        }
        let Some(target) = self.target(crds::TABLE, name) else { return Ok(()) };
        self.drop_finalizer(&target, crds::CLEANUP).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnerState {
    Solid,
    Waiting,
    Absent,
}

/// The owner references of an object, each with whether it blocks the end of its owner.
fn owners(object: &Object) -> Vec<(Value, bool)> {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("ownerReferences")?.as_array())
        .into_iter()
        .flatten()
        .map(|owner| (owner.clone(), owner.get("blockOwnerDeletion") == Some(&Value::Bool(true))))
        .collect()
}
