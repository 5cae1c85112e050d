//! The one write at the end of a reconcile.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    build::Problem,
    model::{Receiver, ReceiverStatus},
};
use crate::targets::cluster::REQUESTED;

/// Writes the status of a receiver, if it is another one than it was.
pub(super) async fn write(
    client: &Client,
    receiver: &Receiver,
    path: Option<&str>,
    problem: Option<&Problem>,
) -> Result<(), kube::Error> {
    let before = receiver.status.clone().unwrap_or_default();
    let now = wanted(receiver, &before, path, problem);
    if now == before {
        return Ok(());
    }
    let metadata = &receiver.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    // The uid keeps the status from a namesake that was made since.
    let patch = json!({"metadata": {"uid": metadata.uid}, "status": {
        "observedGeneration": now.observed_generation,
        "webhookPath": now.webhook_path,
        "conditions": now.conditions,
        "lastHandledReconcileAt": now.last_handled_reconcile_at,
    }});
    let api = Api::<Receiver>::namespaced(client.clone(), namespace);
    let name = metadata.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

fn wanted(
    receiver: &Receiver,
    before: &ReceiverStatus,
    path: Option<&str>,
    problem: Option<&Problem>,
) -> ReceiverStatus {
    let generation = receiver.metadata.generation;
    let condition = |kind: &str, status: &str, reason: &str, message: String| {
        let old = before.conditions.iter().find(|old| old.type_ == kind && old.status == status);
        let since = old.map(|old| old.last_transition_time.clone());
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
        }
    };
    let (observed, path, conditions) = match (problem, path) {
        (Some(Problem::Spec { reason, message }), path) => {
            let message =
                format!("Reconciliation failed terminally due to configuration error: {message}");
            let ready = condition("Ready", "False", reason, message.clone());
            (generation, path, vec![condition("Stalled", "True", reason, message), ready])
        }
        (Some(Problem::Token(message)), _) => {
            let going = "reconciliation in progress".to_owned();
            let going = condition("Reconciling", "True", "ProgressingWithRetry", going);
            let ready = condition("Ready", "False", "TokenNotFound", message.clone());
            (before.observed_generation, None, vec![going, ready])
        }
        // Nothing is known anew.
        (Some(Problem::Unavailable(_)), _) | (None, None) => return before.clone(),
        (None, Some(path)) => {
            let message = format!("Receiver initialized for path: {path}");
            (generation, Some(path), vec![condition("Ready", "True", "Succeeded", message)])
        }
    };
    ReceiverStatus {
        observed_generation: observed,
        webhook_path: path.map(str::to_owned),
        conditions,
        last_handled_reconcile_at: receiver
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(REQUESTED).cloned()),
    }
}
