//! Tells users about changes of state, once per change.

use cluster::Key;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Api, api::PostParams};

use super::Context;
use crate::{
    decide::naming,
    model::{API_VERSION, Workspace, WorkspaceState, WorkspaceStatus},
};

const COMPONENT: &str = "quartermaster";

/// The longest message that the API takes.
const MAX_MESSAGE: usize = 1024;
/// The longest name of an event, less the version and the reason at its end.
const MAX_NAME: usize = 253 - 21 - 24;

/// Writes an event if the state is another than before, or an error another error. Losing one is no failure. The version is
/// that of the status, so that no change is told twice and none takes the name of another.
pub(super) async fn announce(
    context: &Context,
    workspace: &Workspace,
    old: Option<&WorkspaceStatus>,
    new: &WorkspaceStatus,
    version: &str,
) {
    let is_error = new.state == WorkspaceState::Error;
    let is_news = match old {
        // The first state of a new workspace is no change, unless it is bad news.
        None => is_error,
        Some(old) if old.state == new.state => is_error && old.state_message != new.state_message,
        Some(_) => true,
    };
    let key = Key::of(&workspace.metadata);
    if !is_news || !context.memory.may_tell(&key, (context.options.now)()) {
        return;
    }
    let kind = if is_error { "Warning" } else { "Normal" };
    write(context, workspace, version, kind, &new.state.to_string(), &new.state_message).await;
}

/// Writes an event about a version of a workspace. Losing one is no failure.
pub(super) async fn write(
    context: &Context,
    workspace: &Workspace,
    version: &str,
    kind: &str,
    reason: &str,
    message: &str,
) {
    let meta = &workspace.metadata;
    let namespace = meta.namespace.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    let now = jiff::Timestamp::from_millisecond((context.options.now)()).ok().map(Time);
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}.{version}.{}",
                naming::truncate(&name, MAX_NAME),
                reason.to_lowercase()
            )),
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
        type_: Some(kind.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(naming::truncate(message, MAX_MESSAGE).to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        count: Some(1),
        first_timestamp: now.clone(),
        last_timestamp: now,
        ..Event::default()
    };
    let api = Api::<Event>::namespaced(context.client.clone(), &namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => context.options.metrics.wrote("Event", "create"),
        Err(error) => tracing::debug!(%namespace, %error, "an event was not written"),
    }
}
