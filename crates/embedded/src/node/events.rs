//! Events: what a user should know about an object. The same event again counts up.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// The longest message an API server takes.
const LONGEST_MESSAGE: usize = 1024;
/// How many events may wait to be written.
const WAITING_ENTRIES: usize = 1024;

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

/// Writes events, one after the other, beside the work that they tell of.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Entry>,
    component: &'static str,
}

struct Entry {
    about: ObjectReference,
    component: &'static str,
    severity: Severity,
    reason: String,
    message: String,
}

impl Recorder {
    /// A recorder, and what writes for it until the last clone is gone.
    pub(crate) fn new(
        client: Client,
        component: &'static str,
        host: String,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, mut entries) = mpsc::channel(WAITING_ENTRIES);
        let write = async move {
            while let Some(entry) = entries.recv().await {
                if let Err(error) = record(&client, &host, &entry).await {
                    // An event is a hint; work goes on without it.
                    let (object, reason) = (&entry.about.name, &entry.reason);
                    tracing::debug!(?object, reason, %error, "event was not written");
                }
            }
        };
        (Self { sender, component }, write)
    }

    /// The same recorder for another part of the node.
    pub(crate) fn of(&self, component: &'static str) -> Self {
        Self { sender: self.sender.clone(), component }
    }

    /// Something that is well.
    pub(crate) fn normal<K>(&self, about: &K, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.send(about, Severity::Normal, reason, message);
    }

    /// Something that is not.
    pub(crate) fn warning<K>(&self, about: &K, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.send(about, Severity::Warning, reason, message);
    }

    fn send<K>(&self, about: &K, severity: Severity, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let entry = Entry {
            about: reference(about),
            component: self.component,
            severity,
            reason: reason.to_owned(),
            message: shorten(message),
        };
        // When so many wait that there is no room, one hint less is no loss.
        let _ = self.sender.try_send(entry);
    }
}

async fn record(client: &Client, host: &str, entry: &Entry) -> Result<(), kube::Error> {
    let namespace = entry.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let api = Api::<Event>::namespaced(client.clone(), &namespace);
    let name = name_of(entry);
    let now = Time(seconds(Timestamp::now()));
    if let Some(known) = api.get_opt(&name).await? {
        let count = known.count.unwrap_or(1).saturating_add(1);
        let patch = serde_json::json!({"count": count, "lastTimestamp": now});
        return api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop);
    }
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: entry.about.clone(),
        type_: Some(format!("{:?}", entry.severity)),
        reason: Some(entry.reason.clone()),
        message: Some(entry.message.clone()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource {
            component: Some(entry.component.to_owned()),
            host: Some(host.to_owned()),
        }),
        reporting_component: Some(entry.component.to_owned()),
        reporting_instance: Some(host.to_owned()),
        ..Event::default()
    };
    api.create(&PostParams::default(), &event).await.map(drop)
}

fn reference<K: Resource<DynamicType = ()>>(about: &K) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(about.name_any()),
        namespace: about.namespace(),
        uid: about.uid(),
        resource_version: about.resource_version(),
        ..ObjectReference::default()
    }
}

/// The same event has the same name, so that it is found again, even after a restart.
fn name_of(entry: &Entry) -> String {
    let uid = entry.about.uid.as_deref().unwrap_or_default();
    let key = format!("{uid}\n{:?}\n{}\n{}", entry.severity, entry.reason, entry.message);
    let name: String = entry.about.name.iter().flat_map(|name| name.chars()).take(200).collect();
    format!("{}.{}", name.trim_end_matches(['.', '-']), hex(key.as_bytes(), 16))
}

fn shorten(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=LONGEST_MESSAGE - 3).rev().find(|end| message.is_char_boundary(*end));
    format!("{}...", message.get(..end.unwrap_or(0)).unwrap_or_default())
}

/// The first hexadecimal digits of the SHA-256 of some bytes.
pub(crate) fn hex(bytes: &[u8], digits: usize) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .take(digits)
        .collect()
}

/// A time as the API keeps it: to the second.
pub(crate) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortens_at_a_character() {
        let long = "ü".repeat(1000);
        let short = shorten(&long);
        assert!(short.len() <= LONGEST_MESSAGE && short.ends_with("..."));
        assert_eq!(shorten("short"), "short");
    }

    #[test]
    fn hex_is_cut() {
        assert_eq!(hex(b"", 8), "e3b0c442");
    }
}
