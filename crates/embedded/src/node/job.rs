//! Jobs: pods that run until enough of them have succeeded, or too many have failed.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::cache::{Cache, Key};
use super::events::{Recorder, hex, seconds};
use super::owners::{controlled_by, is_controlled_by};
use super::pod_status::{is_ready, is_terminal};

const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(360);

/// Runs Jobs.
pub(crate) struct Jobs {
    pub(crate) client: Client,
    pub(crate) pods: Arc<Cache<Pod>>,
    pub(crate) recorder: Recorder,
}

/// A Job and what its pods did.
struct Scene<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    key: &'a Key,
    pods: Vec<Arc<Pod>>,
    succeeded: i32,
    failed: i32,
    now: Timestamp,
}

impl Scene<'_> {
    fn active(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|pod| !is_terminal(pod))
    }

    fn wanted(&self) -> i32 {
        self.spec.completions.or(self.spec.parallelism).unwrap_or(1).max(0)
    }

    fn suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }

    fn restarts(&self) -> i32 {
        let statuses = self.active().filter_map(|pod| pod.status.as_ref());
        let containers = statuses.flat_map(|status| status.container_statuses.iter().flatten());
        containers.map(|container| container.restart_count).sum()
    }

    /// When the time of the Job is up.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.spec.active_deadline_seconds?;
        let start = self.job.status.as_ref()?.start_time.as_ref()?.0;
        start.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// How the Job ended, if it has.
    fn outcome(&self) -> Option<Outcome> {
        if self.succeeded >= self.wanted() {
            return Some(Outcome::Complete);
        }
        if !self.suspended() && self.deadline().is_some_and(|deadline| deadline <= self.now) {
            let message = "Job was active longer than specified deadline";
            return Some(Outcome::Failed { reason: "DeadlineExceeded", message });
        }
        if self.failed + self.restarts() > self.spec.backoff_limit.unwrap_or(6) {
            let message = "Job has reached the specified backoff limit";
            return Some(Outcome::Failed { reason: "BackoffLimitExceeded", message });
        }
        None
    }

    /// How long a new pod must wait for the failures before it.
    fn pause(&self) -> Option<SignedDuration> {
        let last = self
            .pods
            .iter()
            .filter(|pod| has_phase(pod, "Failed"))
            .filter_map(|pod| ended_at(pod))
            .max()?;
        let doublings = u32::try_from(self.failed - 1).unwrap_or(0).min(10);
        let pause = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
        let left = pause - self.now.duration_since(last);
        left.is_positive().then_some(left)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    Failed { reason: &'static str, message: &'static str },
}

impl Jobs {
    /// One look at one Job.
    pub(crate) async fn look(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        let api = Api::<Job>::namespaced(self.client.clone(), &key.0);
        let Some(job) = api.get_opt(&key.1).await? else { return Ok(None) };
        let Some(spec) = job.spec.as_ref() else { return Ok(None) };
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let now = Timestamp::now();
        if let Some(finished) = finished_at(&job) {
            return self.after_the_end(&job, &key, spec, finished, now).await;
        }
        let pods = self.pods.in_namespace(&key.0);
        let pods: Vec<_> =
            pods.into_iter().filter(|pod| is_controlled_by(&pod.metadata, &job)).collect();
        let count = |phase: &str| {
            i32::try_from(pods.iter().filter(|pod| has_phase(pod, phase)).count())
                .unwrap_or(i32::MAX)
        };
        let before = job.status.as_ref();
        // Pods may be deleted after they have ended; what they did still counts.
        let succeeded =
            count("Succeeded").max(before.and_then(|status| status.succeeded).unwrap_or(0));
        let failed = count("Failed").max(before.and_then(|status| status.failed).unwrap_or(0));
        let mut scene = Scene { job: &job, spec, key: &key, succeeded, failed, pods, now };
        let outcome = scene.outcome();
        let mut again = None;
        if outcome.is_some() || scene.suspended() {
            self.end_pods(&scene).await?;
        } else {
            again = self.start_pods(&mut scene).await?;
        }
        self.write_status(&scene, outcome).await?;
        let deadline = scene
            .deadline()
            .and_then(|deadline| Duration::try_from(deadline.duration_since(now)).ok());
        Ok([again, deadline.filter(|_| outcome.is_none())].into_iter().flatten().min())
    }

    async fn start_pods(&self, scene: &mut Scene<'_>) -> Result<Option<Duration>, kube::Error> {
        let active = i32::try_from(scene.active().count()).unwrap_or(i32::MAX);
        let parallel = scene.spec.parallelism.unwrap_or(1).max(0);
        let missing = parallel.min(scene.wanted() - scene.succeeded) - active;
        if missing <= 0 {
            return Ok(None);
        }
        if let Some(pause) = scene.pause() {
            return Ok(Duration::try_from(pause).ok());
        }
        for _ in 0..missing {
            let Some(pod) = self.create(scene).await? else { return Ok(None) };
            scene.pods.push(Arc::new(pod));
        }
        Ok(None)
    }

    async fn create(&self, scene: &Scene<'_>) -> Result<Option<Pod>, kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &scene.key.0);
        let pod = new_pod(scene);
        let name = pod.name_any();
        match api.create(&PostParams::default(), &pod).await {
            Ok(pod) => {
                self.pods.remember(pod.clone());
                self.recorder.normal(
                    scene.job,
                    "SuccessfulCreate",
                    &format!("Created pod: {name}"),
                );
                Ok(Some(pod))
            }
            // Ours from a moment ago, whose news comes by the watch.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => {
                if let kube::Error::Api(status) = &error {
                    let message = format!("Error creating: {}", status.message);
                    self.recorder.warning(scene.job, "FailedCreate", &message);
                }
                Err(error)
            }
        }
    }

    async fn end_pods(&self, scene: &Scene<'_>) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &scene.key.0);
        for pod in scene.active().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            delete(&api, pod.as_ref(), DeleteParams::default()).await?;
            let message = format!("Deleted pod: {}", pod.name_any());
            self.recorder.normal(scene.job, "SuccessfulDelete", &message);
        }
        Ok(())
    }

    /// A finished Job stays for a while, if it says so.
    async fn after_the_end(
        &self,
        job: &Job,
        key: &Key,
        spec: &JobSpec,
        finished: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Duration>, kube::Error> {
        let Some(stay) = spec.ttl_seconds_after_finished else { return Ok(None) };
        let left = SignedDuration::from_secs(stay.into()) - now.duration_since(finished);
        if left.is_positive() {
            return Ok(Duration::try_from(left).ok());
        }
        let api = Api::<Job>::namespaced(self.client.clone(), &key.0);
        delete(&api, job, DeleteParams::background()).await.map(|()| None)
    }

    async fn write_status(
        &self,
        scene: &Scene<'_>,
        outcome: Option<Outcome>,
    ) -> Result<(), kube::Error> {
        let status = status_of(scene, outcome);
        if scene.job.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = Api::<Job>::namespaced(self.client.clone(), &scene.key.0);
        let wanted = Job { status: Some(status), ..scene.job.clone() };
        api.replace_status(&scene.key.1, &PostParams::default(), &wanted).await?;
        match outcome {
            Some(Outcome::Complete) => {
                self.recorder.normal(scene.job, "Completed", "Job completed");
            }
            Some(Outcome::Failed { reason, message }) => {
                self.recorder.warning(scene.job, reason, message);
            }
            None => {}
        }
        Ok(())
    }
}

async fn delete<K>(api: &Api<K>, object: &K, parameters: DeleteParams) -> Result<(), kube::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let preconditions = Some(Preconditions { uid: object.uid(), resource_version: None });
    match api.delete(&object.name_any(), &DeleteParams { preconditions, ..parameters }).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}

fn status_of(scene: &Scene<'_>, outcome: Option<Outcome>) -> JobStatus {
    let before = scene.job.status.clone().unwrap_or_default();
    let now = Time(seconds(scene.now));
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let ended = outcome.is_some();
    let active = if ended { 0 } else { count(scene.active().count()) };
    let ready = if ended { 0 } else { count(scene.active().filter(|pod| is_ready(pod)).count()) };
    let mut conditions = before.conditions.clone().unwrap_or_default();
    let mut set = |name: &str, good: bool, reason: &str, message: &str| {
        let status = if good { "True" } else { "False" };
        if conditions.iter().any(|known| known.type_ == name && known.status == status) {
            return;
        }
        conditions.retain(|known| known.type_ != name);
        conditions.push(JobCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
        });
    };
    match outcome {
        Some(Outcome::Complete) => {
            let message = "Reached expected number of succeeded pods";
            set("SuccessCriteriaMet", true, "CompletionsReached", message);
            set("Complete", true, "CompletionsReached", message);
        }
        Some(Outcome::Failed { reason, message }) => {
            set("FailureTarget", true, reason, message);
            set("Failed", true, reason, message);
        }
        None if scene.suspended() => set("Suspended", true, "JobSuspended", "Job suspended"),
        None if before.conditions.iter().flatten().any(|known| known.type_ == "Suspended") => {
            set("Suspended", false, "JobResumed", "Job resumed");
        }
        None => {}
    }
    let positive = |count: i32| (count > 0).then_some(count);
    JobStatus {
        active: positive(active),
        ready: Some(ready),
        succeeded: positive(scene.succeeded),
        failed: positive(scene.failed),
        terminating: Some(0),
        start_time: if scene.suspended() {
            None
        } else {
            before.start_time.clone().or(Some(now.clone()))
        },
        completion_time: match outcome {
            Some(Outcome::Complete) => Some(now),
            _ => before.completion_time.clone(),
        },
        conditions: (!conditions.is_empty()).then_some(conditions),
        ..before
    }
}

fn has_phase(pod: &Pod, phase: &str) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase)
}

fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ends = statuses.iter().filter_map(|status| status.state.as_ref()?.terminated.as_ref());
    ends.filter_map(|end| Some(end.finished_at.as_ref()?.0)).max()
}

fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|known| {
        matches!(known.type_.as_str(), "Complete" | "Failed") && known.status == "True"
    })?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

/// The next pod. Its name follows from the Job and from the pods there are, so that the same step
/// done twice makes one pod.
fn new_pod(scene: &Scene<'_>) -> Pod {
    let job = scene.job.name_any();
    let uid = scene.job.uid().unwrap_or_default();
    let taken: Vec<_> = scene.pods.iter().map(|pod| pod.name_any()).collect();
    let prefix: String = job.chars().take(57).collect();
    let counted = usize::try_from(scene.succeeded + scene.failed).unwrap_or(0);
    let mut names = (counted..)
        .map(|number| format!("{prefix}-{}", hex(format!("{uid}/{number}").as_bytes(), 5)));
    let name = names.find(|name| !taken.contains(name)).unwrap_or_else(|| format!("{prefix}-0"));
    let given = scene.spec.template.metadata.clone().unwrap_or_default();
    let mut labels = given.labels.unwrap_or_default();
    for (key, value) in [
        ("batch.kubernetes.io/job-name", &job),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("job-name", &job),
        ("controller-uid", &uid),
    ] {
        labels.insert(key.to_owned(), value.clone());
    }
    let mut spec = scene.spec.template.spec.clone().unwrap_or_default();
    spec.restart_policy.get_or_insert_with(|| "Never".to_owned());
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(scene.key.0.clone()),
            labels: Some(labels),
            annotations: given.annotations,
            owner_references: Some(controlled_by(scene.job)),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}
