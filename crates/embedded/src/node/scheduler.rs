//! The scheduler: there is one node, and a pod either fits it or says why not.
//!
//! A pod fits if its node selector and required node affinity match the node's labels, and if its
//! claims exist. Everything else (resources, taints, preferred affinity) does not keep a pod from
//! the only machine there is. A pod that is deleted before it has a node is nobody's to end: it goes
//! with its deletion, and what a crash kept from going is removed here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaim, Pod, PodStatus,
};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::cache::{Cache, Key};
use super::events::Recorder;
use super::pod_status::{Verdict, is_terminal};

const OUR_NAME: &str = "default-scheduler";

/// Binds pods to the node.
pub(crate) struct Scheduler {
    pub(crate) client: Client,
    pub(crate) node: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) pods: Arc<Cache<Pod>>,
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) recorder: Recorder,
}

impl Scheduler {
    /// One look at one pod.
    pub(crate) async fn look(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        let Some(pod) = self.pods.get(&key).filter(|pod| !is_bound(pod)) else {
            return Ok(None);
        };
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.0);
        if pod.metadata.deletion_timestamp.is_some() {
            return remove(&api, &pod).await.map(|()| None);
        }
        if !waits_for_a_node(&pod) {
            return Ok(None);
        }
        match self.obstacle(&pod, &key.0) {
            None => {
                let binding = serde_json::json!({
                    "metadata": {"name": key.1, "uid": pod.uid()},
                    "target": {"kind": "Node", "name": self.node},
                });
                let parameters = PostParams::default();
                let _: Value =
                    api.create_subresource("binding", &key.1, &parameters, &binding).await?;
                let bound = api.get(&key.1).await?;
                let (namespace, name) = &key;
                let message = format!("Successfully assigned {namespace}/{name} to {}", self.node);
                self.recorder.normal(pod.as_ref(), "Scheduled", &message);
                self.pods.remember(bound);
            }
            Some(obstacle) => self.refuse(&api, &pod, &obstacle).await?,
        }
        Ok(None)
    }

    async fn refuse(&self, api: &Api<Pod>, pod: &Pod, obstacle: &str) -> Result<(), kube::Error> {
        let before = pod.status.clone().unwrap_or_default();
        let known = before.conditions.clone().unwrap_or_default();
        let verdict = Verdict::not("Unschedulable", Some(obstacle.to_owned()));
        let condition = verdict.condition("PodScheduled", &known, Timestamp::now());
        if known.contains(&condition) {
            return Ok(());
        }
        let others = known.into_iter().filter(|known| known.type_ != "PodScheduled");
        let status = PodStatus {
            phase: Some("Pending".to_owned()),
            conditions: Some(others.chain([condition]).collect()),
            ..before
        };
        let wanted = Pod { status: Some(status), ..pod.clone() };
        let written = api.replace_status(&pod.name_any(), &PostParams::default(), &wanted).await?;
        self.recorder.warning(pod, "FailedScheduling", obstacle);
        self.pods.remember(written);
        Ok(())
    }

    /// Why the pod cannot be on the node now.
    fn obstacle(&self, pod: &Pod, namespace: &str) -> Option<String> {
        let spec = pod.spec.as_ref()?;
        for volume in spec.volumes.iter().flatten() {
            let Some(claim) = &volume.persistent_volume_claim else { continue };
            let name = &claim.claim_name;
            match self.claims.get(&(namespace.to_owned(), name.clone())) {
                None => {
                    let missing = format!("persistentvolumeclaim \"{name}\" not found");
                    return Some(format!("0/1 nodes are available: {missing}."));
                }
                Some(claim) if claim.metadata.deletion_timestamp.is_some() => {
                    let going = format!("persistentvolumeclaim \"{name}\" is being deleted");
                    return Some(format!("0/1 nodes are available: {going}."));
                }
                Some(_) => {}
            }
        }
        let selected = spec
            .node_selector
            .iter()
            .flatten()
            .all(|(key, value)| self.labels.get(key) == Some(value));
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| {
            affinity.required_during_scheduling_ignored_during_execution.as_ref()
        });
        let liked = required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| self.fits(term)));
        (!selected || !liked).then(|| {
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
                .to_owned()
        })
    }

    fn fits(&self, term: &NodeSelectorTerm) -> bool {
        let labels = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let name = |requirement: &NodeSelectorRequirement| {
            requirement.key == "metadata.name" && meets(Some(&self.node), requirement)
        };
        // A term without requirements matches nothing.
        (!labels.is_empty() || !fields.is_empty())
            && labels
                .iter()
                .all(|requirement| meets(self.labels.get(&requirement.key), requirement))
            && fields.iter().all(name)
    }
}

/// Lets a pod without a node go; finalizers still hold it.
async fn remove(api: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    if !pod.finalizers().is_empty() {
        return Ok(());
    }
    let this_one = Preconditions { uid: pod.uid(), resource_version: None };
    let parameters = DeleteParams::default().grace_period(0).preconditions(this_one);
    match api.delete(&pod.name_any(), &parameters).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}

fn is_bound(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|name| !name.is_empty())
}

fn waits_for_a_node(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(OUR_NAME);
    let gated =
        spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
    !gated && scheduler == OUR_NAME && !is_terminal(pod)
}

fn meets(value: Option<&String>, requirement: &NodeSelectorRequirement) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.contains(value));
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
    let compared = number(value).zip(number(values.first()));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared.is_some_and(|(value, bound)| value > bound),
        "Lt" => compared.is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
