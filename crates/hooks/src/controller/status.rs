//! The one write at the end of a reconcile.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::build::Reason;
use crate::{
    meters::Tally,
    model::{Hook, HookDeliveries, HookStatus},
};

/// Writes the status of a hook, if it is another one than it was.
pub(super) async fn write(
    client: &Client,
    hook: &Hook,
    path: Result<String, Reason>,
    tally: Tally,
) -> Result<(), kube::Error> {
    let before = hook.status.clone().unwrap_or_default();
    let now = wanted(hook, &before, path, tally);
    if now == before {
        return Ok(());
    }
    let metadata = &hook.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<Hook>::namespaced(client.clone(), namespace);
    // A merge patch leaves alone what it does not name.
    let status = json!({
        "observedGeneration": now.observed_generation,
        "webhookPath": now.webhook_path,
        "deliveries": now.deliveries,
        "conditions": now.conditions,
    });
    // The uid keeps the status from a namesake that was made since.
    let patch = json!({"metadata": {"uid": metadata.uid}, "status": status});
    let name = metadata.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

fn wanted(
    hook: &Hook,
    before: &HookStatus,
    path: Result<String, Reason>,
    tally: Tally,
) -> HookStatus {
    let (status, reason, message) = match &path {
        Ok(_) if hook.spec.suspend && hook.spec.buffer => (
            "True",
            "Buffering",
            "webhooks are kept; targets are told when the suspension ends".into(),
        ),
        Ok(_) if hook.spec.suspend => {
            ("False", "Suspended", "senders are told to come again".into())
        }
        Ok(_) => ("True", "Serving", "webhooks are received".into()),
        Err(Reason { reason, message }) => ("False", *reason, message.clone()),
    };
    let old = before.conditions.iter().find(|condition| condition.type_ == "Ready");
    let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
    let ready = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: hook.metadata.generation,
        last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
    };
    let last = Timestamp::from_second(tally.last_accepted).ok();
    HookStatus {
        observed_generation: hook.metadata.generation,
        webhook_path: path.ok(),
        deliveries: Some(HookDeliveries {
            accepted: tally.accepted,
            refused: tally.refused,
            last_accepted: last.filter(|_| tally.last_accepted > 0),
        }),
        conditions: vec![ready],
    }
}
