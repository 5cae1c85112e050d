//! When a claim may go.

use k8s_openapi::api::core::v1::Pod;
use web::Cause;

use crate::model::{Workspace, label};

/// How many of the users that stand in the way are named.
const NAMED: usize = 20;

/// Why the data of a claim would be missed: workspaces refer to it, paused ones too, or pods of
/// another origin mount it. Both lists are those of its namespace.
pub fn delete<'a>(
    name: &str,
    workspaces: impl Iterator<Item = &'a Workspace>,
    pods: impl Iterator<Item = &'a Pod>,
) -> Vec<Cause> {
    let workspaces = workspaces
        .filter(|workspace| {
            workspace.metadata.deletion_timestamp.is_none() && uses(workspace, name)
        })
        .map(|workspace| ("workspace", &workspace.metadata));
    let pods = pods
        .filter(|pod| is_in_the_way(pod) && mounts(pod, name))
        .map(|pod| ("pod", &pod.metadata));
    let users: Vec<_> = workspaces.chain(pods).collect();
    if users.is_empty() {
        return Vec::new();
    }
    let count = format!("the claim is used by {} workspace(s) or pod(s)", users.len());
    let named = users.iter().take(NAMED).map(|(kind, metadata)| {
        format!("used by {kind} {}", metadata.name.as_deref().unwrap_or_default())
    });
    let cause = |message| Cause::internal("", "", message);
    std::iter::once(count).chain(named).map(cause).collect()
}

fn uses(workspace: &Workspace, claim: &str) -> bool {
    let volumes = &workspace.spec.pod_template.volumes;
    volumes.home.as_deref() == Some(claim)
        || volumes.data.iter().any(|volume| volume.pvc_name == claim)
}

/// The pod of a workspace goes with it, if a little later.
fn is_in_the_way(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let of_a_workspace = labels.is_some_and(|labels| labels.contains_key(label::WORKSPACE_NAME));
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !of_a_workspace
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mut claims = volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.any(|source| source.claim_name == claim)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::fixtures::workspace;

    fn pod(labels: serde_json::Value, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": labels},
            "spec": {
                "containers": [],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
            },
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn said(workspaces: &[Workspace], pods: &[Pod]) -> Vec<String> {
        let causes = delete("data", workspaces.iter(), pods.iter());
        causes.into_iter().map(|cause| cause.message).collect()
    }

    #[test]
    fn a_paused_workspace_keeps_its_data() {
        let mut user = workspace("lab");
        user.spec.paused = true;
        user.spec.pod_template.volumes.home = Some("data".to_owned());
        assert_eq!(
            said(&[user.clone(), workspace("other")], &[]),
            ["the claim is used by 1 workspace(s) or pod(s)", "used by workspace lab"]
        );
        user.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(said(&[user], &[]), [""; 0]);
    }

    #[test]
    fn pods_count_while_they_live_and_belong_to_nobody() {
        assert_eq!(said(&[], &[pod(json!({}), "Running")])[1], "used by pod p");
        assert_eq!(said(&[], &[pod(json!({}), "Succeeded")]), [""; 0]);
        let of_a_workspace = json!({"notebooks.kubeflow.org/workspace-name": "lab"});
        assert_eq!(said(&[], &[pod(of_a_workspace, "Running")]), [""; 0]);
    }

    #[test]
    fn a_crowd_is_counted_and_some_are_named() {
        let pods: Vec<_> = (0..50).map(|_| pod(json!({}), "Running")).collect();
        assert_eq!(said(&[], &pods).len(), NAMED + 1);
    }
}
