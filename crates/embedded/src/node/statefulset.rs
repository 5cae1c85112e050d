//! StatefulSets: numbered pods, one after the other, replaced when the template changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::cache::{Cache, Key};
use super::events::{Recorder, hex};
use super::owners::{controlled_by, is_controlled_by};
use super::pod_status::{is_ready, is_terminal};

/// The label that says which template a pod was made from.
const REVISION: &str = "controller-revision-hash";

/// Keeps the pods of StatefulSets.
pub(crate) struct StatefulSets {
    pub(crate) client: Client,
    pub(crate) pods: Arc<Cache<Pod>>,
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) recorder: Recorder,
}

/// A set and the pods it has, by number.
struct Scene<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    key: &'a Key,
    pods: BTreeMap<i32, Arc<Pod>>,
    first: i32,
    wanted: i32,
    revision: String,
}

impl Scene<'_> {
    fn ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn name(&self, number: i32) -> String {
        format!("{}-{number}", self.key.1)
    }

    fn is_current(&self, pod: &Pod) -> bool {
        pod.labels().get(REVISION) == Some(&self.revision)
    }
}

impl StatefulSets {
    /// One look at one set.
    pub(crate) async fn look(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        // Sets are large and seldom looked at, so they are not kept in memory.
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), &key.0);
        let Some(set) = api.get_opt(&key.1).await? else { return Ok(None) };
        let Some(spec) = set.spec.as_ref() else { return Ok(None) };
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let mut scene = Scene {
            revision: revision(&key.1, spec),
            pods: self.pods_of(&set, &key),
            first,
            wanted: spec.replicas.unwrap_or(1).max(0),
            set: &set,
            spec,
            key: &key,
        };
        self.step(&mut scene).await?;
        self.write_status(&scene).await?;
        Ok(None)
    }

    fn pods_of(&self, set: &StatefulSet, key: &Key) -> BTreeMap<i32, Arc<Pod>> {
        self.pods
            .in_namespace(&key.0)
            .into_iter()
            .filter(|pod| is_controlled_by(&pod.metadata, set))
            .filter_map(|pod| Some((number_of(&pod.name_any(), &key.1)?, pod)))
            .collect()
    }

    /// Goes as far as it can: each thing that must be waited for wakes the set again.
    async fn step(&self, scene: &mut Scene<'_>) -> Result<(), kube::Error> {
        let end = scene.first.saturating_add(scene.wanted);
        for number in scene.first..end {
            match scene.pods.get(&number).cloned() {
                Some(pod) if pod.metadata.deletion_timestamp.is_some() => {
                    if scene.ordered() {
                        return Ok(());
                    }
                }
                Some(pod) if is_terminal(&pod) => {
                    self.delete(&pod, scene).await?;
                    return Ok(());
                }
                Some(pod) => {
                    // A pod that never gets ready must not keep its own replacement from coming.
                    let stuck = !is_ready(&pod) && scene.is_current(&pod);
                    if stuck && scene.ordered() {
                        return Ok(());
                    }
                }
                None => {
                    let Some(pod) = self.create(scene, number).await? else { return Ok(()) };
                    scene.pods.insert(number, Arc::new(pod));
                    if scene.ordered() {
                        return Ok(());
                    }
                }
            }
        }
        self.scale_down(scene, end).await?;
        self.replace_old(scene, end).await
    }

    async fn scale_down(&self, scene: &Scene<'_>, end: i32) -> Result<(), kube::Error> {
        let surplus =
            scene.pods.iter().filter(|(number, _)| **number < scene.first || **number >= end);
        for (_, pod) in surplus.rev() {
            if pod.metadata.deletion_timestamp.is_none() {
                self.delete(pod, scene).await?;
            }
            if scene.ordered() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn replace_old(&self, scene: &Scene<'_>, end: i32) -> Result<(), kube::Error> {
        let strategy = scene.spec.update_strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return Ok(());
        }
        let partition = strategy
            .and_then(|strategy| strategy.rolling_update.as_ref()?.partition)
            .unwrap_or(0)
            .max(scene.first);
        for (_, pod) in scene.pods.range(partition.min(end)..end).rev() {
            if pod.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
            if !scene.is_current(pod) {
                return self.delete(pod, scene).await;
            }
            if !is_ready(pod) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn delete(&self, pod: &Pod, scene: &Scene<'_>) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &scene.key.0);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = pod.name_any();
        match api.delete(&name, &parameters).await {
            Ok(outcome) => {
                if let Some(deleting) = outcome.left() {
                    self.pods.remember(deleting);
                }
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(error) => return Err(error),
        }
        let message = format!("delete Pod {name} in StatefulSet {} successful", scene.key.1);
        self.recorder.normal(scene.set, "SuccessfulDelete", &message);
        Ok(())
    }

    async fn create(&self, scene: &Scene<'_>, number: i32) -> Result<Option<Pod>, kube::Error> {
        self.create_claims(scene, number).await?;
        let pod = new_pod(scene, number);
        let name = pod.name_any();
        let api = Api::<Pod>::namespaced(self.client.clone(), &scene.key.0);
        match api.create(&PostParams::default(), &pod).await {
            Ok(pod) => {
                self.pods.remember(pod.clone());
                let message =
                    format!("create Pod {name} in StatefulSet {} successful", scene.key.1);
                self.recorder.normal(scene.set, "SuccessfulCreate", &message);
                Ok(Some(pod))
            }
            // Ours from a moment ago, whose news comes by the watch; or somebody else's.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let taken = api.get_opt(&name).await?;
                if taken.is_some_and(|pod| !is_controlled_by(&pod.metadata, scene.set)) {
                    self.complain(scene, &name, &status.message);
                }
                Ok(None)
            }
            Err(error) => {
                if let kube::Error::Api(status) = &error {
                    self.complain(scene, &name, &status.message);
                }
                Err(error)
            }
        }
    }

    fn complain(&self, scene: &Scene<'_>, pod: &str, reason: &str) {
        let message =
            format!("create Pod {pod} in StatefulSet {} failed error: {reason}", scene.key.1);
        self.recorder.warning(scene.set, "FailedCreate", &message);
    }

    async fn create_claims(&self, scene: &Scene<'_>, number: i32) -> Result<(), kube::Error> {
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &scene.key.0);
        for template in scene.spec.volume_claim_templates.iter().flatten() {
            let name = claim_name(template, scene, number);
            if self.claims.get(&(scene.key.0.clone(), name.clone())).is_some() {
                continue;
            }
            let mut labels = template.metadata.labels.clone().unwrap_or_default();
            labels.extend(scene.spec.selector.match_labels.clone().unwrap_or_default());
            let claim = PersistentVolumeClaim {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: Some(scene.key.0.clone()),
                    labels: Some(labels),
                    annotations: template.metadata.annotations.clone(),
                    ..ObjectMeta::default()
                },
                spec: template.spec.clone(),
                ..PersistentVolumeClaim::default()
            };
            match api.create(&PostParams::default(), &claim).await {
                Ok(claim) => self.claims.remember(claim),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_status(&self, scene: &Scene<'_>) -> Result<(), kube::Error> {
        let status = status_of(scene);
        if scene.set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), &scene.key.0);
        let wanted = StatefulSet { status: Some(status), ..scene.set.clone() };
        api.replace_status(&scene.key.1, &PostParams::default(), &wanted).await.map(drop)
    }
}

fn status_of(scene: &Scene<'_>) -> StatefulSetStatus {
    let before = scene.set.status.clone().unwrap_or_default();
    let living = || scene.pods.values().filter(|pod| !is_terminal(pod));
    let active = || living().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let updated = count(active().filter(|pod| scene.is_current(pod)).count());
    let ready = count(active().filter(|pod| is_ready(pod)).count());
    let replicas = count(living().count());
    let done = updated == scene.wanted && ready == scene.wanted && replicas == scene.wanted;
    let current = match before.current_revision.clone() {
        Some(current) if !done => current,
        _ => scene.revision.clone(),
    };
    let of_current = active().filter(|pod| pod.labels().get(REVISION) == Some(&current)).count();
    StatefulSetStatus {
        observed_generation: scene.set.metadata.generation,
        replicas,
        ready_replicas: Some(ready),
        available_replicas: Some(ready),
        current_replicas: Some(count(of_current)),
        updated_replicas: Some(updated),
        current_revision: Some(current),
        update_revision: Some(scene.revision.clone()),
        collision_count: Some(0),
        ..before
    }
}

/// The name of a template: the set and a digest of what pods are made from.
fn revision(name: &str, spec: &StatefulSetSpec) -> String {
    let text = serde_json::to_vec(&spec.template).unwrap_or_default();
    let name: String = name.chars().take(52).collect();
    format!("{name}-{}", hex(&text, 10))
}

fn number_of(pod: &str, set: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let number: i32 = digits.parse().ok()?;
    // `-01` and `-+1` are no names that a set gives.
    (number.to_string() == digits).then_some(number)
}

fn claim_name(template: &PersistentVolumeClaim, scene: &Scene<'_>, number: i32) -> String {
    format!("{}-{}", template.name_any(), scene.name(number))
}

fn new_pod(scene: &Scene<'_>, number: i32) -> Pod {
    let name = scene.name(number);
    let template = &scene.spec.template;
    let given = template.metadata.clone().unwrap_or_default();
    let mut labels = given.labels.unwrap_or_default();
    labels.extend([
        (REVISION.to_owned(), scene.revision.clone()),
        ("statefulset.kubernetes.io/pod-name".to_owned(), name.clone()),
        ("apps.kubernetes.io/pod-index".to_owned(), number.to_string()),
    ]);
    let mut spec = template.spec.clone().unwrap_or_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = scene.spec.service_name.clone().filter(|service| !service.is_empty());
    for claim in scene.spec.volume_claim_templates.iter().flatten() {
        let volume = Volume {
            name: claim.name_any(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(claim, scene, number),
                read_only: None,
            }),
            ..Volume::default()
        };
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|known| known.name != volume.name);
        volumes.push(volume);
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(scene.key.0.clone()),
            labels: Some(labels),
            annotations: given.annotations,
            finalizers: given.finalizers,
            owner_references: Some(controlled_by(scene.set)),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_number_of_a_pod() {
        for (pod, number) in [
            ("a-b-0", Some(0)),
            ("a-b-12", Some(12)),
            ("a-b-01", None),
            ("a-b", None),
            ("a-0", None),
        ] {
            assert_eq!(number_of(pod, "a-b"), number, "{pod}");
        }
    }

    #[test]
    fn a_template_has_one_name() {
        let spec: StatefulSetSpec = serde_json::from_value(serde_json::json!({
            "selector": {}, "serviceName": "", "template": {"spec": {"containers": []}},
        }))
        .unwrap();
        let other = StatefulSetSpec { replicas: Some(0), ..spec.clone() };
        assert_eq!(revision("a", &spec), revision("a", &other));
        let mut changed = spec.clone();
        changed.template.metadata.get_or_insert_default().labels =
            Some([("a".to_owned(), "b".to_owned())].into());
        assert_ne!(revision("a", &spec), revision("a", &changed));
    }
}
