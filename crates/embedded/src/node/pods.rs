//! The kubelet's part: the pods that are bound to this node, as processes.
//!
//! Every look at a pod starts from the object and from what runs, and goes one step towards what
//! the object wants. The files of a pod are in `PODS/UID`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, ContainerStatus, Pod};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::addresses::Addresses;
use super::cache::{Cache, Key, key_of};
use super::container::{Around, Container, Policy, Tools, grace_of};
use super::pod_status::{Picture, Waiting, is_terminal};
use super::runtime::{Run, Stop, note_stopped, sweep_strays};
use super::sources::Sources;
use super::volumes::{Maker, MountError, Volumes, make_directory, safe};

/// How long a killed process may take to vanish before it is looked for in other ways.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_MOUNT_RETRY: Duration = Duration::from_millis(500);
const LAST_MOUNT_RETRY: Duration = Duration::from_secs(30);

/// The pods of this node.
pub(crate) struct Pods {
    pub(crate) client: Client,
    pub(crate) node: String,
    pub(crate) directory: PathBuf,
    pub(crate) tools: Tools,
    pub(crate) cache: Arc<Cache<Pod>>,
    pub(crate) addresses: Addresses,
    /// One per pod that has anything here, for as long as it has.
    states: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<PodState>>>>,
}

/// What runs of one pod.
struct PodState {
    uid: String,
    directory: PathBuf,
    address: Ipv4Addr,
    start_time: Timestamp,
    volumes: Option<Volumes>,
    mount_problem: Option<String>,
    mount_retry: Duration,
    init: Vec<Container>,
    main: Vec<Container>,
    /// Set when the pod's end began: when its processes were asked.
    asked: Option<Instant>,
    gone: bool,
}

impl PodState {
    fn running(&self) -> Vec<Run> {
        self.init.iter().chain(&self.main).filter_map(Container::running).cloned().collect()
    }
}

impl Pods {
    pub(crate) fn new(
        client: Client,
        node: String,
        directory: PathBuf,
        tools: Tools,
        cache: Arc<Cache<Pod>>,
    ) -> Self {
        let (addresses, states) = (Addresses::default(), Mutex::default());
        Self { client, node, directory, tools, cache, addresses, states }
    }

    /// Whether a pod is for this node.
    pub(crate) fn is_ours(&self, pod: &Pod) -> bool {
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(self.node.as_str())
    }

    /// Takes over what an earlier life left behind: pods that still exist are found again, the rest
    /// is ended and removed.
    pub(crate) async fn recover(&self) -> io::Result<()> {
        make_directory(&self.directory)?;
        let pods: Vec<_> = self.cache.all().into_iter().filter(|pod| self.is_ours(pod)).collect();
        let known: Vec<_> = pods.iter().filter_map(|pod| pod.uid()).collect();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let uid = entry.file_name().to_string_lossy().into_owned();
            if !known.contains(&uid)
                && let Err(error) = self.tools.runtime.remove(&entry.path()).await
            {
                tracing::warn!(pod = uid, %error, "the files of a pod that is gone cannot be removed");
            }
        }
        let mut kept = Vec::new();
        // Addresses that are in use are taken first, so that no new pod gets one of them.
        for pod in &pods {
            let uid = pod.uid().unwrap_or_default();
            self.addresses.take(&uid, told_address(pod));
        }
        for pod in pods {
            if let Some(state) = self.state_of(&pod).await {
                kept.extend(state.lock().await.running().into_iter().map(|run| run.directory));
            }
        }
        let left = sweep_strays(&self.directory, &kept).await;
        if left > 0 {
            tracing::warn!(left, "processes of pods that are gone cannot be killed");
        }
        Ok(())
    }

    /// One look at one pod.
    pub(crate) async fn look(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        let pod = self.cache.get(&key).filter(|pod| self.is_ours(pod));
        let known = self.states.lock().get(&key).cloned();
        if let Some(known) = known {
            let mut state = known.lock().await;
            if pod.as_ref().and_then(|pod| pod.uid()).as_deref() != Some(state.uid.as_str()) {
                // It was deleted without grace, or another pod took its name.
                if !state.gone && self.clear(&mut state).await.is_err() {
                    return Ok(Some(Duration::from_secs(1)));
                }
                self.states.lock().remove(&key);
            }
        }
        let Some(pod) = pod else { return Ok(None) };
        let ending = pod.metadata.deletion_timestamp.is_some();
        if is_terminal(&pod) && !ending {
            // Its last status tells how it ended, and nothing will change that.
            return Ok(None);
        }
        let Some(state) = self.state_of(&pod).await else { return Ok(None) };
        let mut state = state.lock().await;
        if ending {
            return self.end(&pod, &key, &mut state).await;
        }
        let again = self.advance(&pod, &key, &mut state).await;
        self.write_status(&pod, &state).await?;
        Ok(again)
    }

    /// The state of a pod; found on disk when it is asked for first.
    async fn state_of(&self, pod: &Pod) -> Option<Arc<tokio::sync::Mutex<PodState>>> {
        let key = key_of(pod);
        if let Some(state) = self.states.lock().get(&key) {
            return Some(Arc::clone(state));
        }
        let uid = pod.uid()?;
        let directory = self.directory.join(safe(&uid)?);
        let address = self.addresses.take(&uid, told_address(pod))?;
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        let init = status.and_then(|status| status.init_container_statuses.as_deref());
        let main = status.and_then(|status| status.container_statuses.as_deref());
        let state = PodState {
            init: self.containers(&directory, spec.init_containers.as_deref(), init).await,
            main: self.containers(&directory, Some(&spec.containers), main).await,
            uid,
            directory,
            address,
            start_time: status
                .and_then(|status| status.start_time.as_ref())
                .map_or_else(Timestamp::now, |time| time.0),
            volumes: None,
            mount_problem: None,
            mount_retry: FIRST_MOUNT_RETRY,
            asked: None,
            gone: false,
        };
        let state = Arc::new(tokio::sync::Mutex::new(state));
        self.states.lock().insert(key, Arc::clone(&state));
        Some(state)
    }

    async fn containers(
        &self,
        directory: &Path,
        specs: Option<&[Spec]>,
        statuses: Option<&[ContainerStatus]>,
    ) -> Vec<Container> {
        let mut containers = Vec::new();
        for spec in specs.unwrap_or_default() {
            let Some(name) = safe(&spec.name) else { continue };
            let place = directory.join("containers").join(name);
            let status = statuses.unwrap_or_default().iter().find(|status| status.name == name);
            let runtime = self.tools.runtime.as_ref();
            containers.push(Container::recover(spec.clone(), place, status, runtime).await);
        }
        containers
    }

    /// Goes on with a pod that should run.
    async fn advance(&self, pod: &Arc<Pod>, key: &Key, state: &mut PodState) -> Option<Duration> {
        if let Err(error) = make_directory(&state.directory) {
            tracing::warn!(pod = key.1, %error, "the directory of a pod cannot be made");
            return Some(LAST_MOUNT_RETRY);
        }
        let sources = Sources::new(self.client.clone(), &key.0);
        if state.volumes.is_none() {
            match self.mount(pod, &sources, state).await {
                Ok(volumes) => state.volumes = Some(volumes),
                Err(wait) => return Some(wait),
            }
        }
        let volumes = state.volumes.clone().unwrap_or_default();
        let around = Around {
            tools: &self.tools,
            pod,
            key,
            address: state.address,
            directory: &state.directory,
            volumes: &volumes,
            sources: &sources,
        };
        let policy = Policy::of(pod);
        // Init containers run until they succeed; only then comes the next one.
        let init_policy = if policy == Policy::Never { policy } else { Policy::OnFailure };
        for container in &mut state.init {
            if !container.succeeded() {
                let again = container.step(&around, init_policy).await;
                if !container.succeeded() {
                    return again;
                }
            }
        }
        let mut soonest = None;
        for container in &mut state.main {
            let again = container.step(&around, policy).await;
            soonest = [soonest, again].into_iter().flatten().min();
        }
        soonest
    }

    async fn mount(
        &self,
        pod: &Pod,
        sources: &Sources,
        state: &mut PodState,
    ) -> Result<Volumes, Duration> {
        let maker = Maker {
            client: &self.client,
            pod,
            address: state.address,
            directory: &state.directory,
            sources,
        };
        match maker.make().await {
            Ok(volumes) => {
                state.mount_problem = None;
                Ok(volumes)
            }
            Err(error) => {
                let message = format!("MountVolume.SetUp failed for {error}");
                // A claim that is being bound is no failure yet, and the cluster's own answer to a
                // question is none of the pod's.
                let passing = matches!(error, MountError::Unbound(_) | MountError::Api(_));
                if !passing && state.mount_problem.as_ref() != Some(&message) {
                    self.tools.recorder.warning(pod, "FailedMount", &message);
                    state.mount_problem = Some(message);
                }
                let wait = state.mount_retry;
                state.mount_retry = wait.saturating_mul(2).min(LAST_MOUNT_RETRY);
                Err(wait)
            }
        }
    }

    async fn write_status(&self, pod: &Arc<Pod>, state: &PodState) -> Result<(), kube::Error> {
        let initialized = state.init.iter().all(Container::succeeded);
        let idle =
            Waiting::new(if initialized { "ContainerCreating" } else { "PodInitializing" }, None);
        let view = |container: &Container| container.view(pod, &self.tools.images, &idle);
        let init: Vec<_> = state.init.iter().map(view).collect();
        let main: Vec<_> = state.main.iter().map(view).collect();
        let picture = Picture {
            pod,
            address: state.address,
            start_time: state.start_time,
            init: &init,
            main: &main,
            now: Timestamp::now(),
        };
        let status = picture.status();
        if pod.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let wanted = Pod { status: Some(status), ..(**pod).clone() };
        let written = api.replace_status(&pod.name_any(), &PostParams::default(), &wanted).await?;
        self.cache.remember(written);
        Ok(())
    }

    /// Ends a pod that is being deleted: asks, waits, kills, cleans up, and lets the object go.
    async fn end(
        &self,
        pod: &Arc<Pod>,
        key: &Key,
        state: &mut PodState,
    ) -> Result<Option<Duration>, kube::Error> {
        if state.gone {
            return Ok(None);
        }
        let running = state.running();
        let now = Instant::now();
        if !running.is_empty() {
            let asked = match state.asked {
                Some(asked) => asked,
                None => {
                    self.ask(pod, key, &running, state).await;
                    now
                }
            };
            let left = (asked + grace_of(pod)).saturating_duration_since(now);
            if !left.is_zero() {
                return Ok(Some(left));
            }
            for run in &running {
                self.tools.runtime.stop(run, Stop::Kill).await;
            }
            if now < asked + grace_of(pod) + KILL_PATIENCE {
                return Ok(Some(Duration::from_secs(1)));
            }
        }
        if let Err(error) = self.clear(state).await {
            tracing::warn!(pod = key.1, %error, "a pod cannot be removed yet");
            return Ok(Some(Duration::from_secs(1)));
        }
        self.let_go(pod, key).await?;
        state.gone = true;
        Ok(None)
    }

    async fn ask(&self, pod: &Pod, key: &Key, running: &[Run], state: &mut PodState) {
        state.asked = Some(Instant::now());
        for container in state.init.iter().chain(&state.main) {
            if container.running().is_some() {
                let message = format!("Stopping container {}", container.spec.name);
                self.tools.recorder.normal(pod, "Killing", &message);
            }
        }
        for run in running {
            // A run taken over while it was being ended has nobody who waits for its end yet.
            let (queue, key, ended) = (Arc::clone(&self.tools.queue), key.clone(), run.clone());
            tokio::spawn(async move {
                ended.ended().await;
                queue.add(key);
            });
            self.tools.runtime.stop(run, Stop::Ask).await;
        }
    }

    /// Deletes the object for good, if it still is this very pod.
    async fn let_go(&self, pod: &Pod, key: &Key) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.0);
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&key.1, &parameters).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Kills what is left of a pod, and removes its files and its address.
    async fn clear(&self, state: &mut PodState) -> io::Result<()> {
        self.tools.runtime.remove(&state.directory).await?;
        self.addresses.release(&state.uid);
        Ok(())
    }

    /// Ends all programs but leaves the pods, so that they run again when the node does.
    pub(crate) async fn stop_all(&self, grace: Duration, hurry: &CancellationToken) {
        let states: BTreeMap<Key, _> = self.states.lock().drain().collect();
        let mut stopping = Vec::new();
        for (key, state) in &states {
            let state = state.lock().await;
            for run in state.running() {
                let own = self.cache.get(key).map_or(grace, |pod| grace_of(&pod));
                note_stopped(&run).await;
                self.tools.runtime.stop(&run, Stop::Ask).await;
                stopping.push((run, own.min(grace)));
            }
        }
        let stops = stopping.iter().map(|(run, grace)| async move {
            let ended = tokio::select! {
                _ = run.ended() => true,
                () = tokio::time::sleep(*grace) => false,
                () = hurry.cancelled() => false,
            };
            if !ended {
                self.tools.runtime.stop(run, Stop::Kill).await;
                let _ = tokio::time::timeout(KILL_PATIENCE, run.ended()).await;
            }
        });
        futures::future::join_all(stops).await;
        for (key, state) in states {
            let state = state.lock().await;
            if let Some(pod) = self.cache.get(&key).filter(|pod| !is_terminal(pod))
                && let Err(error) = self.write_status(&pod, &state).await
            {
                tracing::debug!(pod = key.1, %error, "the last status of a pod was not written");
            }
        }
    }
}

/// The address that a pod's status tells of.
fn told_address(pod: &Pod) -> Option<Ipv4Addr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}
