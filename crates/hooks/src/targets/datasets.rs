//! Dataset volumes: marks those whose objects changed, so that they are refreshed (contract §3.8).
//!
//! Marking is all that happens here: an annotation with the time of the latest event. Who keeps
//! volumes up to date compares it with the one that it acted on last.

use std::{fmt, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Failure, Target, Telling,
    cluster::failure,
    fill::{self, fill},
};
use crate::{
    journal::Id,
    model::{Event, EventKind, Object},
};

/// The label of dataset volumes, also of those that the original server made.
const LABEL: &str = "pvci.txn2.com/service";
/// Where a volume was filled from: `endpoint/bucket/prefix`.
const ORIGIN: &str = "pvci.txn2.com/origin";
/// When a volume was asked to be refreshed last (RFC 3339).
const REQUESTED: &str = "quartermaster.io/refresh-requested-at";

/// See the module.
pub struct Datasets {
    name: String,
    api: Api<PersistentVolumeClaim>,
    /// The name of the volume, if it is not found by its origin.
    template: Option<String>,
    debounce: Duration,
}

impl fmt::Debug for Datasets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datasets").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Datasets {
    /// A target that marks the volumes of a namespace: the one of this name, or those that an
    /// object belongs to. Events wait that long for others, to be told of together.
    pub fn new(
        name: &str,
        client: Client,
        namespace: &str,
        template: Option<String>,
        debounce: Duration,
    ) -> Result<Self, String> {
        if let Some(template) = &template {
            let left = fill(template, |word| fill::is_known(word).then(String::new));
            if left.contains('{') {
                return Err(format!("nameTemplate: no event has what {template:?} names"));
            }
        }
        let api = Api::namespaced(client, namespace);
        Ok(Self { name: name.to_owned(), api, template, debounce })
    }

    /// The volumes that may be meant.
    async fn volumes(&self, event: &Event) -> Result<Vec<PersistentVolumeClaim>, Failure> {
        let Some(template) = &self.template else {
            let list = self.api.list(&ListParams::default().labels(LABEL)).await;
            return list.map(|list| list.items).map_err(|error| failure(&error));
        };
        let name = fill(template, |word| fill::of_event(event, word));
        if !is_name(&name) {
            return Err(Failure::Permanent(format!("no volume can have the name {name:?}")));
        }
        let volume = self.api.get(&name).await.map_err(|error| failure(&error))?;
        if !volume.labels().contains_key(LABEL) {
            return Err(Failure::Permanent(format!("the volume {name} is no dataset")));
        }
        Ok(vec![volume])
    }

    async fn mark(&self, volume: &PersistentVolumeClaim, at: Timestamp) -> Result<(), Failure> {
        // With the version that was read: a later time of somebody else is not lost.
        let patch = json!({"metadata": {
            "resourceVersion": volume.metadata.resource_version,
            "annotations": {REQUESTED: at.to_string()},
        }});
        match super::cluster::patch(&self.api, &volume.name_any(), patch).await {
            Err(error) if cluster::error::is_not_found(&error) => Ok(()),
            patched => patched.map_err(|error| failure(&error)),
        }
    }
}

impl Target for Datasets {
    fn name(&self) -> &str {
        &self.name
    }

    /// The volume's name, or the bucket.
    fn subject(&self, event: &Event) -> Option<String> {
        match (&self.template, event.kind) {
            (None, _) => event.object.as_ref().map(|object| object.bucket.clone()),
            (
                Some(template),
                EventKind::ObjectCreated | EventKind::ObjectRemoved | EventKind::Generic,
            ) => Some(fill(template, |word| fill::of_event(event, word))),
            _ => None,
        }
    }

    fn coalesces(&self) -> bool {
        // One that takes the place of another would hide its key and its time.
        false
    }

    fn gathers(&self) -> Option<Duration> {
        Some(self.debounce)
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let first = (telling.id.map(|(id, _)| id), telling.event);
            let more = telling.more.iter().map(|(id, event)| (Some(*id), event));
            let events: Vec<_> = std::iter::once(first).chain(more).collect();
            let mut worst = Ok(());
            for volume in self.volumes(telling.event).await? {
                let annotation = |key| volume.annotations().get(key).map(String::as_str);
                let origin = annotation(ORIGIN).and_then(origin);
                let meant = events.iter().filter(|(_, event)| {
                    self.template.is_some() || lies_under(event.object.as_ref(), origin)
                });
                let latest = meant.map(|(id, event)| time(*id, event)).max();
                if let Some(at) = latest.filter(|at| is_later(annotation(REQUESTED), *at)) {
                    // All are told, also after one failed.
                    worst = worst.and(self.mark(&volume, at).await);
                }
            }
            worst
        }
        .boxed()
    }
}

/// Bucket and key prefix of an origin.
fn origin(text: &str) -> Option<(&str, &str)> {
    let plain = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let (_endpoint, rest) = plain.unwrap_or(text).split_once('/')?;
    rest.split_once('/')
}

/// Whether an object is one of those that a volume was filled from: as in S3, a prefix is the
/// beginning of a text and knows no folders.
fn lies_under(object: Option<&Object>, origin: Option<(&str, &str)>) -> bool {
    object.zip(origin).is_some_and(|(object, (bucket, prefix))| {
        object.bucket == bucket && object.key.starts_with(prefix)
    })
}

/// When an event happened, as its sender says; it came no earlier than that.
fn time(id: Option<Id>, event: &Event) -> Timestamp {
    let received = id.and_then(|id| Timestamp::from_millisecond(id.received_ms()).ok());
    happened(event, received.unwrap_or_else(Timestamp::now))
}

fn happened(event: &Event, received: Timestamp) -> Timestamp {
    let said = event.occurred_at.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    said.map_or(received, |said| said.min(received))
}

/// Whether a time is later than what is there; what cannot be read is no time.
fn is_later(known: Option<&str>, at: Timestamp) -> bool {
    let known = known.and_then(|text| text.parse::<Timestamp>().ok());
    known.is_none_or(|known| known < at)
}

/// Whether an object may have this name (RFC 1123).
fn is_name(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
            && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("store:9000/data/tiles/2024", "tiles/2024", true)]
    #[case("store:9000/data/tiles/2024", "tiles/2024/m.csv", true)]
    #[case("store:9000/data/tiles/2024", "tiles/20245", true)]
    #[case("store:9000/data/tiles/2024/", "tiles/2024", false)]
    #[case("store:9000/data/tiles/2024", "tiles/202", false)]
    #[case("store:9000/data/", "anything", true)]
    #[case("store:9000/data//lead", "/lead/x", true)]
    #[case("store:9000/data//lead", "lead/x", false)]
    #[case("https://store/data/a", "a", true)]
    #[case("store/data/a://b", "a://b/c", true)]
    #[case("store/other/tiles", "tiles/x", false)]
    #[case("store/data2/", "x", false)]
    #[case("store/data", "x", false)]
    #[case("", "x", false)]
    fn objects_belong_to_volumes(#[case] from: &str, #[case] key: &str, #[case] expected: bool) {
        let object = Object { bucket: "data".into(), key: key.into(), ..Object::default() };
        assert_eq!(lies_under(Some(&object), origin(from)), expected);
        assert!(!lies_under(None, origin(from)));
    }

    #[test]
    fn times_only_grow() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2025-01-01T10:00:00Z");
        assert!(is_later(None, now) && is_later(Some("soon"), now));
        assert!(is_later(Some("2025-01-01T09:59:59.999Z"), now));
        assert!(!is_later(Some("2025-01-01T10:00:00Z"), now));
        assert!(!is_later(Some("2025-01-01T12:00:00+02:00"), now));
        assert!(!is_later(Some("2025-01-01T10:00:01Z"), now));
    }

    #[test]
    fn nothing_happened_after_it_was_told() {
        let received = "2025-01-01T10:00:00Z".parse::<Timestamp>().unwrap();
        let with = |said: Option<&str>| {
            let mut event = Event::new(EventKind::ObjectCreated, "put");
            event.occurred_at = said.map(str::to_owned);
            happened(&event, received).to_string()
        };
        assert_eq!(with(Some("2025-01-01T09:00:00.5Z")), "2025-01-01T09:00:00.5Z");
        for said in [None, Some("yesterday"), Some("9999-01-01T00:00:00Z")] {
            assert_eq!(with(said), "2025-01-01T10:00:00Z", "{said:?}");
        }
    }

    #[test]
    fn names_are_those_of_objects() {
        for good in ["a", "tiles-2024", "a.b-c.0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "a/b", "-a", "a-", "a..b", "ä", &"a".repeat(254)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
