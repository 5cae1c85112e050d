//! The watch that feeds a cache, for as long as the cache lives.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event},
};
use tokio::time::Instant;

use super::{
    Change, Shared, Source,
    state::{Before, State},
};
use crate::{Key, Object};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short enough that a restarted API server finds its watches back within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Events = BoxStream<'static, watcher::Result<Event<Object>>>;

/// Feeds the cache until its task is aborted. Nothing that the API sends can end it.
pub(super) async fn run<T: Send + Sync + 'static>(
    client: Client,
    source: Source<T>,
    shared: Arc<Shared<T>>,
) {
    let api: Api<Object> = Api::all_with(client, &source.resource);
    let open = || -> Events { watcher::watcher(api.clone(), source.config.clone()).boxed() };
    let mut feed = Feed { source: &source, shared: &shared, listed: None };
    let mut events = open();
    let mut pause = FIRST_PAUSE;
    loop {
        match events.next().await {
            Some(Ok(event)) => {
                pause = FIRST_PAUSE;
                *shared.heard.lock() = Instant::now();
                feed.take(event);
            }
            Some(Err(error)) => {
                tracing::debug!(resource = shared.name, %error, "watch interrupted");
                shared.interruptions.fetch_add(1, Ordering::Relaxed);
                // The library repeats a watch start with the same version for ever, whatever the
                // answer; after "gone" only a new list helps.
                if is_gone(&error) {
                    events = open();
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            None => events = open(),
        }
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410
    )
}

struct Feed<'a, T> {
    source: &'a Source<T>,
    shared: &'a Shared<T>,
    /// While a list arrives: what it held so far.
    listed: Option<Listed>,
}

/// What a list held so far. It comes in the order of names, so its versions say nothing about how
/// far the cache is until it is complete.
#[derive(Default)]
struct Listed {
    keys: HashSet<Key>,
    newest: u64,
}

impl<T: Send + Sync + 'static> Feed<'_, T> {
    fn take(&mut self, event: Event<Object>) {
        match event {
            Event::Init => self.listed = Some(Listed::default()),
            Event::InitApply(object) => {
                let key = object.key();
                let version = version(&object).parse().unwrap_or(0);
                self.apply(object);
                if let Some(listed) = &mut self.listed {
                    listed.keys.insert(key);
                    listed.newest = listed.newest.max(version);
                }
            }
            Event::InitDone => self.finish_list(),
            Event::Apply(object) => self.apply(object),
            Event::Delete(object) => self.remove(&object.key(), Some(version(&object))),
        }
    }

    fn apply(&self, object: Object) {
        let key = object.key();
        let version = version(&object).to_owned();
        match (self.source.parse)(object.into_value()) {
            Ok(Some(object)) => self.insert(key, Arc::new(object), &version),
            Ok(None) => self.remove(&key, Some(&version)),
            Err(error) => {
                let resource = &self.shared.name;
                tracing::warn!(resource, %key, %error, "object left out: it cannot be read");
                self.remove(&key, Some(&version));
            }
        }
    }

    fn insert(&self, key: Key, new: Arc<T>, version: &str) {
        self.change(Some(version), |state| match state.insert(&key, new.clone(), version) {
            Before::Same => None,
            Before::Other(old) => Some(Change::Object { key, old, new: Some(new) }),
        });
    }

    fn remove(&self, key: &Key, version: Option<&str>) {
        self.change(version, |state| {
            let old = state.remove(key)?;
            Some(Change::Object { key: key.clone(), old: Some(old), new: None })
        });
    }

    /// Changes the state and tells of it in one step: whoever sees the new state, or learns that a
    /// version has been reached, finds the change in the subscription as well.
    fn change(&self, version: Option<&str>, edit: impl FnOnce(&mut State<T>) -> Option<Change<T>>) {
        {
            let mut state = self.shared.state.write();
            let change = edit(&mut state);
            if let (None, Some(Ok(version))) = (&self.listed, version.map(str::parse)) {
                state.saw(version);
            }
            if let Some(change) = change {
                self.shared.revision.fetch_add(1, Ordering::AcqRel);
                // Without subscribers there is nobody to tell.
                let _ = self.shared.changes.send(change);
            }
        }
        self.wake();
    }

    /// Wakes whoever waits for a version or a state, also when no object is different.
    fn wake(&self) {
        self.shared.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn finish_list(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let keys = self.shared.state.read().keys();
        for key in keys.iter().filter(|key| !listed.keys.contains(key)) {
            self.remove(key, None);
        }
        self.shared.state.write().saw(listed.newest);
        self.shared.ready.store(true, Ordering::Release);
        self.wake();
    }
}

fn version(object: &Object) -> &str {
    object.meta().resource_version.as_deref().unwrap_or_default()
}
