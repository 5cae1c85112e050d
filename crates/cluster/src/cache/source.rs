//! What a cache watches and what it keeps of it.

use std::sync::Arc;

use kube::{Client, Resource, core::ApiResource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AbortOnDrop, Cache, Shared, watch};

/// Makes the kept form of an object from its JSON; `None` leaves it out.
pub(super) type Parse<T> = dyn Fn(Value) -> Result<Option<T>, serde_json::Error> + Send + Sync;

/// What a cache watches and what it keeps of it.
#[must_use]
pub struct Source<T> {
    pub(super) resource: ApiResource,
    pub(super) config: kube::runtime::watcher::Config,
    pub(super) parse: Box<Parse<T>>,
    index: Option<fn(&T) -> Option<&str>>,
}

impl<K> Source<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
{
    /// Whole objects of a kind.
    pub fn all() -> Self {
        Self::projected(ApiResource::erase::<K>(&()), |value| {
            serde_json::from_value(value).map(Some)
        })
    }
}

impl<T: Send + Sync + 'static> Source<T> {
    /// A part of each object, or nothing of it: memory is spent on what is needed.
    pub fn projected(
        resource: ApiResource,
        parse: impl Fn(Value) -> Result<Option<T>, serde_json::Error> + Send + Sync + 'static,
    ) -> Self {
        let config = kube::runtime::watcher::Config::default();
        Self { resource, config, parse: Box::new(parse), index: None }
    }

    /// Only objects with these labels.
    pub fn labels(mut self, selector: &str) -> Self {
        self.config = self.config.labels(selector);
        self
    }

    /// Only objects with these fields.
    pub fn fields(mut self, selector: &str) -> Self {
        self.config = self.config.fields(selector);
        self
    }

    /// Lets [`Cache::indexed`] find objects by this value.
    pub fn index(mut self, by: fn(&T) -> Option<&str>) -> Self {
        self.index = Some(by);
        self
    }

    /// Starts the watch.
    pub fn start(self, client: &Client) -> Cache<T> {
        let shared = Arc::new(Shared::new(self.resource.plural.clone(), self.index));
        let task = tokio::spawn(watch::run(client.clone(), self, shared.clone()));
        Cache { shared, watch: Some(Arc::new(AbortOnDrop(task.abort_handle()))) }
    }
}
