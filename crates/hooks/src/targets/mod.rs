//! Who is told that something happened. Each kind of target is one small file: what concerns it,
//! how it is told, what its answers mean.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{decide::filter::Filter, journal::Id, meters::Meters, model::Event};

mod argocd;
pub mod cluster;
mod datasets;
mod fill;
mod filtered;
mod flux_v1;
mod guard;
mod http;
mod http_client;
mod log;
mod near;
mod relay;
mod request;

pub use argocd::{ArgoCd, Settings as ArgoCdSettings};
pub use datasets::Datasets;
pub use filtered::Filtered;
pub use flux_v1::FluxV1;
pub use guard::Guard;
pub use http::{Http, Settings as HttpSettings};
pub use log::Log;
pub use relay::{Relay, Settings as RelaySettings};
pub use request::{Request, Wants};

/// Why a target was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It did not answer in time.
    TimedOut,
    /// Trying again may help.
    Transient {
        /// What happened, for the log.
        why: String,
        /// When the target wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It does not know us, or not what we name: perhaps a mistake that somebody mends soon.
    Unwelcome(String),
    /// It will never take this.
    Permanent(String),
}

impl Failure {
    /// Trying again may help, at any time.
    pub fn transient(why: impl Into<String>) -> Self {
        Self::Transient { why: why.into(), retry_after: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Transient { why, .. } | Self::Unwelcome(why) | Self::Permanent(why) => {
                f.write_str(why)
            }
        }
    }
}

/// What an event is about, for targets that are told of every kind.
fn subject(event: &Event) -> Option<String> {
    Some(match (&event.repo, &event.image, &event.object) {
        (Some(repo), ..) => repo.urls.first().unwrap_or(&repo.full_name).clone(),
        (_, Some(image), _) => format!("{}/{}", image.domain, image.name),
        (.., Some(object)) => format!("{}/{}", object.bucket, object.key),
        _ => event.event.clone(),
    })
}

/// One target.
pub trait Target: Send + Sync + fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// What the notification is about, if the event concerns this target at all. Notifications of
    /// one subject are made in order.
    fn subject(&self, event: &Event) -> Option<String>;

    /// Whether two notifications of one subject say the same, "look again", so that one will do.
    fn coalesces(&self) -> bool;

    /// How long notifications of one subject wait for each other, so that all are made at once.
    fn gathers(&self) -> Option<Duration> {
        None
    }

    /// What an event must be like to concern it, beside what [`Self::subject`] says.
    fn filter(&self) -> Option<&Filter> {
        None
    }

    /// Whether telling it twice does something twice.
    fn side_effects(&self) -> bool {
        false
    }

    /// What it needs of the request beside the event.
    fn wants(&self) -> Wants {
        Wants::Nothing
    }

    /// Tells it once.
    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Tells a target once, with this patience, and counts how that ended.
pub(crate) async fn told(
    target: &dyn Target,
    telling: Telling<'_>,
    patience: Duration,
    meters: &Meters,
) -> Result<(), Failure> {
    let start = Instant::now();
    let outcome = timeout(patience, target.tell(telling)).await.unwrap_or(Err(Failure::TimedOut));
    let meter = meters.target(target.name());
    meter.attempts.observe(start.elapsed().as_secs_f64());
    meter.results.add(match &outcome {
        Ok(()) => "delivered",
        Err(Failure::TimedOut) => "timeout",
        Err(Failure::Transient { .. }) => "failed",
        Err(Failure::Unwelcome(_) | Failure::Permanent(_)) => "refused",
    });
    outcome
}

/// The fields of a document that an event may have nothing for.
const MAYBE: [&str; 10] =
    ["occurredAt", "repo", "ref", "branch", "tag", "before", "after", "image", "object", "alert"];

/// What a target is told.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// The delivery and the number of the notification in it, if the journal keeps it.
    pub id: Option<(Id, u16)>,
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// The sender's name of the delivery.
    pub delivery_id: Option<&'a str>,
    /// What happened.
    pub event: &'a Event,
    /// What happened later, each with its delivery, if the target gathers notifications.
    pub more: &'a [(Id, Event)],
    /// The request, if the target needs it and it is kept.
    pub request: Option<&'a Request>,
}

impl Telling<'_> {
    /// The name of the notification, the same whenever it is made again.
    pub fn name(&self) -> String {
        match self.id {
            Some((id, number)) => format!("{id}-{number}"),
            None => format!("{:016x}", getrandom::u64().unwrap_or_default()),
        }
    }

    /// The event as services get it (contract §3.7), called `name` if it has one.
    pub fn document(&self, name: Option<&str>) -> Value {
        let mut document = serde_json::to_value(self.event).unwrap_or_default();
        if let Some(fields) = document.as_object_mut() {
            fields.remove("notice");
            fields.remove("traceparent");
            // What the journal leaves out.
            for name in MAYBE {
                fields.entry(name).or_insert(Value::Null);
            }
            fields.entry("changedFiles").or_insert_with(|| json!([]));
            fields.extend([
                ("id".to_owned(), name.into()),
                ("endpoint".to_owned(), self.endpoint.into()),
                ("source".to_owned(), self.source.into()),
                ("deliveryId".to_owned(), self.delivery_id.into()),
                ("receivedAt".to_owned(), self.received().to_string().into()),
            ]);
        }
        document
    }

    /// When the request came: now, if the journal does not know.
    fn received(&self) -> Timestamp {
        let known = self.id.and_then(|(id, _)| Timestamp::from_millisecond(id.received_ms()).ok());
        known.unwrap_or_else(Timestamp::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    #[test]
    fn documents_have_all_fields() {
        let event = Event::new(EventKind::GitPush, "push");
        let (endpoint, source, delivery_id) = ("code", "GitHub", Some("d-1"));
        let telling = Telling {
            id: None,
            endpoint,
            source,
            delivery_id,
            event: &event,
            more: &[],
            request: None,
        };
        let mut document = telling.document(Some("n-1"));
        let received = document.as_object_mut().unwrap().remove("receivedAt").unwrap();
        assert!(received.as_str().unwrap().parse::<Timestamp>().is_ok(), "{received}");
        let expected = json!({"id": "n-1", "endpoint": "code", "source": "GitHub",
            "kind": "git.push", "event": "push", "deliveryId": "d-1", "occurredAt": null,
            "deleted": false, "repo": null, "ref": null, "branch": null, "tag": null,
            "before": null, "after": null, "changedFiles": [], "filesTruncated": false,
            "image": null, "object": null, "alert": null});
        assert_eq!(document, expected);
        let id = (Id::now(), 0);
        let kept = Telling { id: Some(id), delivery_id: None, ..telling }.document(None);
        let received = Timestamp::from_millisecond(id.0.received_ms()).unwrap();
        assert_eq!(kept["receivedAt"], received.to_string());
        assert_eq!((&kept["id"], &kept["deliveryId"]), (&Value::Null, &Value::Null));
    }
}
