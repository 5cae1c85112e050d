//! Tells users about changes of state, once per change.

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Api, api::PostParams};

use super::Context;
use crate::model::{API_VERSION, Workspace, WorkspaceState, WorkspaceStatus};

const COMPONENT: &str = "quartermaster";

/// Writes an event if the state is another than before. Losing one is no failure.
pub(super) async fn announce(
    context: &Context,
    workspace: &Workspace,
    old: Option<&WorkspaceStatus>,
    new: &WorkspaceStatus,
) {
    let is_error = new.state == WorkspaceState::Error;
    // The first state of a new workspace is no change, unless it is bad news.
    if old.map_or(!is_error, |old| old.state == new.state) {
        return;
    }
    let meta = &workspace.metadata;
    let namespace = meta.namespace.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    let millis = (context.options.now)();
    let now = jiff::Timestamp::from_millisecond(millis).ok().map(Time);
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{millis:x}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some("Workspace".to_owned()),
            name: Some(name),
            namespace: Some(namespace.clone()),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        },
        type_: Some(if is_error { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(new.state.to_string()),
        message: Some(new.state_message.clone()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        count: Some(1),
        first_timestamp: now.clone(),
        last_timestamp: now,
        ..Event::default()
    };
    let api = Api::<Event>::namespaced(context.client.clone(), &namespace);
    if let Err(error) = api.create(&PostParams::default(), &event).await {
        tracing::debug!(%namespace, %error, "an event was not written");
    }
}
