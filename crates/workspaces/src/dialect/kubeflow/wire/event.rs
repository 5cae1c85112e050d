//! Events: what happened to the parts of a workspace.

use k8s_openapi::{
    api::core::v1::Event,
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
    jiff::Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

/// An item of the list of events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventItem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    reason: &'a str,
    message: &'a str,
    count: i32,
    #[schemars(with = "Option<String>")]
    first_timestamp: Option<Time>,
    #[schemars(with = "Option<String>")]
    last_timestamp: Option<Time>,
    object: Object<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventObject")]
struct Object<'a> {
    kind: &'a str,
    name: &'a str,
}

impl<'a> From<&'a Event> for EventItem<'a> {
    fn from(event: &'a Event) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let about = &event.involved_object;
        let series = event.series.as_ref().and_then(|series| series.count);
        Self {
            kind: text(&event.type_),
            reason: text(&event.reason),
            message: text(&event.message),
            count: event.count.or(series).unwrap_or(1),
            first_timestamp: first(event).map(Time),
            last_timestamp: last(event).map(Time),
            object: Object { kind: text(&about.kind), name: text(&about.name) },
        }
    }
}

fn first(event: &Event) -> Option<Timestamp> {
    let new_style = event.event_time.as_ref().map(|MicroTime(time)| *time);
    let made = event.metadata.creation_timestamp.as_ref().map(|Time(time)| *time);
    event.first_timestamp.as_ref().map(|Time(time)| *time).or(new_style).or(made)
}

/// When it happened last; the older and the newer style of events tell it in different places.
pub(crate) fn last(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let series = series.map(|MicroTime(time)| *time);
    event.last_timestamp.as_ref().map(|Time(time)| *time).or(series).or_else(|| first(event))
}
