//! One container of a pod: started, watched, restarted with back-off, ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerStateTerminated, ContainerStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tokio::time::Instant;

use super::backoff::{Backoff, BackoffLimits};
use super::cache::Key;
use super::environment::{self, ProgramError, Setting};
use super::events::{Recorder, seconds};
use super::images::{ImageTable, unknown_image};
use super::pod_status::{Doing, View, Waiting};
use super::probes::{Health, Listener, Prober, Target};
use super::queue::Queue;
use super::runtime::{Cause, Ending, PodRuntime, Run, Stop};
use super::sources::Sources;
use super::unenforced::unenforced;
use super::volumes::{Volumes, link_nested, make_directory};

/// How often something that others must repair is tried again: soon at first, because a Secret may
/// come a moment after the pod that needs it.
const FIRST_REPAIR_PAUSE: Duration = Duration::from_millis(250);
const LAST_REPAIR_PAUSE: Duration = Duration::from_secs(30);

/// What containers are run with.
pub(crate) struct Tools {
    pub(crate) runtime: Arc<dyn PodRuntime>,
    pub(crate) images: ImageTable,
    pub(crate) search_path: String,
    pub(crate) backoff: BackoffLimits,
    pub(crate) recorder: Recorder,
    pub(crate) queue: Arc<Queue>,
    /// Files of the node, so that working directories are made there and nowhere else.
    pub(crate) data_dir: PathBuf,
}

/// The pod around a container, while it is worked on.
pub(crate) struct Around<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) pod: &'a Arc<Pod>,
    pub(crate) key: &'a Key,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) directory: &'a Path,
    pub(crate) volumes: &'a Volumes,
    pub(crate) sources: &'a Sources,
}

/// When a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    OnFailure,
    Never,
}

impl Policy {
    pub(crate) fn of(pod: &Pod) -> Self {
        match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// An end that the node caused by stopping is no end of the program's own.
    fn restarts(self, ending: &Ending) -> bool {
        match (self, ending.cause) {
            (_, Cause::NodeStopped) | (Self::Always, _) => true,
            (Self::OnFailure, _) => ending.exit.code != 0,
            (Self::Never, _) => false,
        }
    }
}

/// The state of one container.
pub(crate) struct Container {
    pub(crate) spec: Spec,
    directory: PathBuf,
    run: Option<Run>,
    last: Option<ContainerStateTerminated>,
    waiting: Option<Waiting>,
    not_before: Option<Instant>,
    repair_pause: Duration,
    /// The run whose end the back-off has counted.
    counted: Option<u32>,
    backoff: Backoff,
    prober: Option<Prober>,
    known_health: Option<Health>,
    kill_at: Option<Instant>,
}

impl Container {
    /// Finds what there is of a container from before.
    pub(crate) async fn recover(
        spec: Spec,
        directory: PathBuf,
        status: Option<&ContainerStatus>,
        runtime: &dyn PodRuntime,
    ) -> Self {
        let run = runtime.recover(&directory).await;
        let state = status.and_then(|status| status.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| {
            Some(Waiting { reason: waiting.reason.clone()?, message: waiting.message.clone() })
        });
        let last = status.and_then(|status| status.last_state.as_ref()?.terminated.clone());
        let same = |status: &&ContainerStatus| {
            let number = run.as_ref().and_then(|run| i32::try_from(run.number).ok());
            number == Some(status.restart_count)
        };
        let known_health = status.filter(same).map(|status| Health {
            started: status.started.unwrap_or(false),
            ready: status.ready,
            dead: None,
        });
        Self {
            spec,
            directory,
            run,
            last,
            waiting,
            not_before: None,
            repair_pause: FIRST_REPAIR_PAUSE,
            counted: None,
            backoff: Backoff::default(),
            prober: None,
            known_health,
            kill_at: None,
        }
    }

    /// The run that is not over yet.
    pub(crate) fn running(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| run.ending().is_none())
    }

    /// Whether it ended well and for good.
    pub(crate) fn succeeded(&self) -> bool {
        let ending = self.run.as_ref().and_then(Run::ending);
        ending.is_some_and(|ending| ending.exit.code == 0 && ending.cause != Cause::NodeStopped)
    }

    /// One step: starts what should run, counts what ended, kills what should not live. Returns when
    /// to look again.
    pub(crate) async fn step(&mut self, around: &Around<'_>, policy: Policy) -> Option<Duration> {
        let now = Instant::now();
        if let Some(run) = self.run.clone() {
            let Some(ending) = run.ending() else { return self.tend(&run, around).await };
            self.prober = None;
            self.kill_at = None;
            if !policy.restarts(&ending) {
                self.waiting = None;
                return None;
            }
            self.count(&run, &ending, around, now);
        }
        if let Some(left) = self.not_before.and_then(|at| at.checked_duration_since(now))
            && !left.is_zero()
        {
            return Some(left);
        }
        self.start(around).await
    }

    /// Notes the end of a run, and how long to wait before the next one.
    fn count(&mut self, run: &Run, ending: &Ending, around: &Around<'_>, now: Instant) {
        if self.counted == Some(run.number) {
            return;
        }
        self.counted = Some(run.number);
        self.not_before = None;
        if ending.cause == Cause::NodeStopped {
            return;
        }
        let lasted = ending.exit.finished_at.duration_since(run.started.started_at);
        let lasted = Duration::try_from(lasted).unwrap_or_default();
        let wait = self.backoff.after(&around.tools.backoff, lasted);
        let since = Timestamp::now().duration_since(ending.exit.finished_at);
        let left = wait.saturating_sub(Duration::try_from(since).unwrap_or_default());
        if left.is_zero() {
            return;
        }
        self.not_before = Some(now + left);
        let (namespace, pod) = around.key;
        let name = &self.spec.name;
        let message = format!(
            "back-off {}s restarting failed container={name} pod={pod}_{namespace}({})",
            wait.as_secs(),
            around.pod.uid().unwrap_or_default(),
        );
        self.waiting = Some(Waiting::new("CrashLoopBackOff", Some(message)));
        let message =
            format!("Back-off restarting failed container {name} in pod {pod}_{namespace}");
        around.tools.recorder.warning(around.pod.as_ref(), "BackOff", &message);
    }

    /// Looks after a running container.
    async fn tend(&mut self, run: &Run, around: &Around<'_>) -> Option<Duration> {
        if self.prober.is_none() {
            self.watch(run, around).await;
        }
        if let Some(at) = self.kill_at {
            return self.kill_when_due(run, at, around).await;
        }
        let reason = self.prober.as_ref().and_then(|prober| prober.health().dead)?;
        let name = &self.spec.name;
        let message = format!("Container {name} failed a probe, will be restarted: {reason}");
        around.tools.recorder.normal(around.pod.as_ref(), "Killing", &message);
        around.tools.runtime.stop(run, Stop::Ask).await;
        let grace = grace_of(around.pod);
        self.kill_at = Some(Instant::now() + grace);
        Some(grace)
    }

    async fn kill_when_due(&self, run: &Run, at: Instant, around: &Around<'_>) -> Option<Duration> {
        let left = at.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        around.tools.runtime.stop(run, Stop::Kill).await;
        Some(Duration::from_secs(1))
    }

    /// Starts the probes of a run, and has the pod looked at when it ends.
    async fn watch(&mut self, run: &Run, around: &Around<'_>) {
        let (queue, key, ended) =
            (Arc::clone(&around.tools.queue), around.key.clone(), run.clone());
        tokio::spawn(async move {
            ended.ended().await;
            queue.add(key);
        });
        // Only commands need the program, and they can do without if it is not configurable now.
        let (program, paths) = match self.prepare(around).await {
            Ok(prepared) => prepared,
            Err(_) => (super::runtime::Program::none(), super::mounts::PathMap::default()),
        };
        let target = Target { address: around.address, run: run.directory.clone(), program, paths };
        let told = Told {
            pod: Arc::clone(around.pod),
            key: around.key.clone(),
            queue: Arc::clone(&around.tools.queue),
            recorder: around.tools.recorder.clone(),
        };
        let known = self.known_health.take();
        self.prober = Some(Prober::start(&self.spec, target, known, told));
    }

    async fn start(&mut self, around: &Around<'_>) -> Option<Duration> {
        let number = self.run.as_ref().map_or(0, |run| run.number + 1);
        let image = self.spec.image.clone().unwrap_or_default();
        let program = match self.prepare(around).await {
            Ok((program, _)) => program,
            Err(problem) => return Some(self.wait_for_repair(problem, around)),
        };
        let data_dir = &around.tools.data_dir;
        if program.working_directory.starts_with(data_dir) {
            // As a container runtime does; outside our own files a missing directory is an error.
            let _ = make_directory(&program.working_directory);
        }
        let before = self.run.as_ref().and_then(|run| Some((run.clone(), run.ending()?)));
        match around.tools.runtime.start(&self.directory, number, program).await {
            Ok(run) => {
                if let Some((run, ending)) = before {
                    self.last = Some(self.terminated(&run, &ending, around.pod));
                }
                self.waiting = None;
                self.repair_pause = FIRST_REPAIR_PAUSE;
                self.known_health = None;
                self.watch(&run, around).await;
                self.run = Some(run);
                self.tell_start(number, &image, around);
                None
            }
            Err(error) => {
                let problem = Waiting::new("RunContainerError", Some(error.to_string()));
                Some(self.wait_for_repair(problem, around))
            }
        }
    }

    fn tell_start(&self, number: u32, image: &str, around: &Around<'_>) {
        let (name, recorder) = (&self.spec.name, &around.tools.recorder);
        let message = format!("Started container {name} of image {image}");
        recorder.normal(around.pod.as_ref(), "Started", &message);
        let ignored = unenforced(around.pod, &self.spec);
        if number == 0 && !ignored.is_empty() {
            let message =
                format!("Container {name}: {} has no effect on this node", ignored.join(", "));
            recorder.normal(around.pod.as_ref(), "NotEnforced", &message);
        }
    }

    /// Tells once what is wrong, and waits.
    fn wait_for_repair(&mut self, problem: Waiting, around: &Around<'_>) -> Duration {
        if self.waiting.as_ref() != Some(&problem) {
            let message = problem.message.as_deref().unwrap_or_default();
            // These reasons are their own events; the others are failures of a step.
            let reason = match problem.reason.as_str() {
                reason @ "ErrImageNeverPull" => reason,
                _ => "Failed",
            };
            around.tools.recorder.warning(around.pod.as_ref(), reason, message);
            self.waiting = Some(problem);
        }
        let pause = self.repair_pause.min(around.tools.backoff.longest);
        self.repair_pause = pause.saturating_mul(2).min(LAST_REPAIR_PAUSE);
        self.not_before = Some(Instant::now() + pause);
        pause
    }

    /// What to run, or why that is not known.
    async fn prepare(
        &self,
        around: &Around<'_>,
    ) -> Result<(super::runtime::Program, super::mounts::PathMap), Waiting> {
        let tools = around.tools;
        let image = self.spec.image.as_deref().unwrap_or_default();
        let entry = tools
            .images
            .find(image)
            .ok_or_else(|| Waiting::new("ErrImageNeverPull", Some(unknown_image(image))))?;
        let misconfigured =
            |message: String| Waiting::new("CreateContainerConfigError", Some(message));
        if self.spec.restart_policy.is_some() {
            let reason = "restartPolicy of a container is not supported on this node";
            return Err(misconfigured(reason.to_owned()));
        }
        let mounts = |expand: &dyn Fn(&str) -> String| around.volumes.mounts(&self.spec, expand);
        // Paths below a volume may name variables, and variables may hold mounted paths: the
        // variables are found first, without mounts, for the paths alone.
        let mut setting = Setting {
            pod: around.pod,
            address: around.address,
            paths: &super::mounts::PathMap::default(),
            home: &around.directory.join("home"),
            temporary: &around.directory.join("tmp"),
            search_path: &tools.search_path,
        };
        let plain = environment::environment(&setting, &self.spec, entry, around.sources)
            .await
            .map_err(|error| misconfigured(error.to_string()))?;
        let (paths, home) = mounts(&|text| {
            super::expand::expand(text, |name| plain.get(name), &super::mounts::PathMap::default())
        })
        .map_err(|error| misconfigured(error.to_string()))?;
        // The home of the image itself, when no claim is mounted there.
        let own_home = around.directory.join("home");
        let paths = match plain.get("HOME").filter(|named| Path::new(named) != own_home) {
            Some(named) => paths.standing_in(named, &own_home),
            None => paths,
        };
        make_directory(&own_home).map_err(|error| misconfigured(error.to_string()))?;
        let home = home.unwrap_or(own_home);
        for directory in [&home, &around.directory.join("tmp")] {
            make_directory(directory).map_err(|error| misconfigured(error.to_string()))?;
        }
        link_nested(&paths).map_err(|error| misconfigured(error.to_string()))?;
        setting.paths = &paths;
        setting.home = &home;
        let environment = environment::environment(&setting, &self.spec, entry, around.sources)
            .await
            .map_err(|error| misconfigured(error.to_string()))?;
        let program = environment::program(&setting, &self.spec, entry, environment);
        let program = program.map_err(|error| self.no_program(&error, image))?;
        Ok((program, paths))
    }

    fn no_program(&self, error: &ProgramError, image: &str) -> Waiting {
        let own = self.spec.command.as_ref().is_some_and(|command| !command.is_empty());
        if own {
            return Waiting::new("RunContainerError", Some(error.to_string()));
        }
        let message = format!(
            "image {image:?} stands for a program that cannot run: {error}; install it, or change \
             the entry of the table `images` in the configuration file"
        );
        Waiting::new("ErrImagePull", Some(message))
    }

    fn terminated(&self, run: &Run, ending: &Ending, pod: &Pod) -> ContainerStateTerminated {
        let (reason, message) = match (ending.cause, ending.exit.code) {
            (Cause::Lost, _) => {
                ("ContainerStatusUnknown", Some("the end of the program was not seen".to_owned()))
            }
            (Cause::NodeStopped, _) => {
                ("NodeStopped", Some("Quartermaster was stopped".to_owned()))
            }
            (Cause::Program, 0) => ("Completed", None),
            (Cause::Program, _) => ("Error", None),
        };
        ContainerStateTerminated {
            container_id: Some(self.id(run, pod)),
            exit_code: ending.exit.code,
            signal: ending.exit.signal,
            reason: Some(reason.to_owned()),
            message,
            started_at: Some(Time(seconds(run.started.started_at))),
            finished_at: Some(Time(seconds(ending.exit.finished_at))),
        }
    }

    fn id(&self, run: &Run, pod: &Pod) -> String {
        let uid = pod.uid().unwrap_or_default();
        format!("quartermaster://{uid}/{}/{}", self.spec.name, run.number)
    }

    /// What the pod's status says of it.
    pub(crate) fn view(&self, pod: &Pod, images: &ImageTable, idle: &Waiting) -> View {
        let ending = self.run.as_ref().and_then(|run| Some((run, run.ending()?)));
        let ended = ending.map(|(run, ending)| self.terminated(run, &ending, pod));
        let health = self.prober.as_ref().map(Prober::health);
        let image = self.spec.image.clone().unwrap_or_default();
        let entry = images.find(&image);
        let running = self.running();
        // What the node ended itself is not over: it waits for the next node.
        let stopped = || {
            let ending = self.run.as_ref().and_then(Run::ending);
            let stopped = ending.is_some_and(|ending| ending.cause == Cause::NodeStopped);
            stopped.then(|| Waiting::new("NodeStopped", None))
        };
        let waiting = self.waiting.clone().or_else(stopped).filter(|_| running.is_none());
        let (doing, last) = match (running, waiting, ended) {
            (Some(run), _, _) => {
                (Doing::Running { since: run.started.started_at }, self.last.clone())
            }
            (None, Some(waiting), ended) => (Doing::Waiting(waiting), ended.or(self.last.clone())),
            (None, None, Some(ended)) => (Doing::Ended(Box::new(ended)), self.last.clone()),
            (None, None, None) => (Doing::Waiting(idle.clone()), self.last.clone()),
        };
        let runs = running.is_some();
        View {
            name: self.spec.name.clone(),
            image_id: entry.map(|entry| format!("local:{}", entry.image)).unwrap_or_default(),
            image,
            container_id: self.run.as_ref().map(|run| self.id(run, pod)),
            doing,
            last,
            restarts: self.run.as_ref().map_or(0, |run| run.number),
            started: runs && health.as_ref().is_some_and(|health| health.started),
            ready: runs && health.as_ref().is_some_and(|health| health.ready),
        }
    }
}

/// How long a pod's programs may take to end.
pub(crate) fn grace_of(pod: &Pod) -> Duration {
    let spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Who hears of a container's probes.
struct Told {
    pod: Arc<Pod>,
    key: Key,
    queue: Arc<Queue>,
    recorder: Recorder,
}

impl Listener for Told {
    fn changed(&self) {
        self.queue.add(self.key.clone());
    }

    fn unhealthy(&self, message: &str) {
        self.recorder.warning(self.pod.as_ref(), "Unhealthy", message);
    }
}
