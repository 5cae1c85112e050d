//! Events are news, not records: old ones go, and so do the oldest of too many.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{Api, delete::DeleteOptions, kinds::text, read};
use crate::store::Entry;

/// How long an event is kept after it was last told.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How many events are kept at most.
const MOST: usize = 5000;
/// How often to look.
const EVERY: Duration = Duration::from_secs(60);

/// Removes events until the API stops.
pub(crate) async fn run(api: Arc<Api>) {
    let stop = api.stop.clone();
    loop {
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
        if stop.run_until_cancelled(sweep(&api, Timestamp::now(), MOST)).await.is_none() {
            return;
        }
    }
}

async fn sweep(api: &Arc<Api>, now: Timestamp, most: usize) {
    let Some(resource) = api.kinds().find("", "v1", "events").cloned() else { return };
    let mut events = api.store.list("events", "").entries;
    events.sort_unstable_by_key(|(_, entry)| entry.revision());
    let too_many = events.len().saturating_sub(most);
    let old = events.iter().enumerate().filter(|(at, (_, entry))| {
        *at < too_many || last_told(entry).is_none_or(|told| is_over(told, now))
    });
    for (_, (key, _)) in old {
        let target = read::target(&resource, key);
        // One that cannot go now goes next time.
        if let Err(status) = api.delete(&target, &DeleteOptions::default()).await {
            tracing::debug!(%key, error = status.message(), "cannot remove an old event");
        }
    }
}

fn is_over(told: Timestamp, now: Timestamp) -> bool {
    now.duration_since(told).unsigned_abs() > LIFETIME && told < now
}

fn last_told(entry: &Entry) -> Option<Timestamp> {
    let event = Value::Object(entry.object());
    ["/metadata/creationTimestamp", "/lastTimestamp", "/eventTime", "/series/lastObservedTime"]
        .iter()
        .filter_map(|pointer| text(&event, pointer).parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::{Tokens, query::WriteOptions},
        store::{Store, StoreOptions},
    };

    #[tokio::test]
    async fn old_and_surplus_events_go() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let api = Api::new(store, Tokens::load_or_create(directory.path()).unwrap());
        super::super::core::make_namespaces(&api).await.unwrap();
        let resource = api.kinds().find("", "v1", "events").cloned().unwrap();
        let options = WriteOptions::internal();
        let later = Timestamp::now() + LIFETIME + Duration::from_secs(5);
        for name in ["a", "b", "c"] {
            let mut event = json!({
                "metadata": {"name": name},
                "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
            });
            if name == "b" {
                event["lastTimestamp"] = later.to_string().into();
            }
            let object = event.as_object().unwrap().clone();
            api.create(&resource, "default", object.into(), options.clone()).await.unwrap();
        }
        let left = || -> Vec<Arc<str>> {
            api.store.list("events", "").entries.into_iter().map(|(key, _)| key).collect()
        };
        sweep(&api, Timestamp::now(), 2).await;
        assert_eq!(left(), ["default/b".into(), "default/c".into()]);
        sweep(&api, later, 2).await;
        assert_eq!(left(), ["default/b".into()]);
    }
}
