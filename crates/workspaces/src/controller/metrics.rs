//! What the controller counts.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use cluster::{Key, Queue, controller::Outcome};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::error::StepError;
use crate::{Caches, model::WorkspaceState};

type Two = [(&'static str, &'static str); 2];
type Histograms = Family<Two, Histogram, fn() -> Histogram>;

/// What the controller counts; clones share their counts, also over changes of leadership.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconciles: Histograms,
    steps: Histograms,
    writes: Family<Two, Counter>,
    probes: Family<Two, Counter>,
    pauses: Counter,
    starts: Histogram,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// What is looked at when somebody asks.
#[derive(Debug)]
struct Seen {
    caches: Caches,
    queues: [(&'static str, Queue<Key>); 2],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reconciles: Family::new_with_constructor(web::metrics::times),
            steps: Family::new_with_constructor(web::metrics::times),
            writes: Family::default(),
            probes: Family::default(),
            pauses: Counter::default(),
            // From a second to half an hour.
            starts: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            seen: Arc::default(),
        }
    }
}

impl Metrics {
    /// Shows the counts.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "controller_reconcile_seconds",
            "Time of reconciles, by what is to be done next",
            self.reconciles.clone(),
        );
        registry.register(
            "controller_step_seconds",
            "Time of the steps of a reconcile of a workspace, by outcome",
            self.steps.clone(),
        );
        registry.register(
            "controller_writes",
            "Objects written by the controller",
            self.writes.clone(),
        );
        registry.register(
            "controller_activity_probes",
            "Activity probes of workspaces, by kind and result",
            self.probes.clone(),
        );
        registry.register(
            "controller_idle_pauses",
            "Workspaces that were paused because nobody used them",
            self.pauses.clone(),
        );
        registry.register(
            "workspace_start_seconds",
            "Time from the creation of a pod until its workspace runs",
            self.starts.clone(),
        );
        registry.register_collector(Box::new(Now(self.seen.clone())));
    }

    /// These are what is looked at, as long as the result lives.
    #[must_use]
    pub(super) fn look_at(
        &self,
        caches: &Caches,
        workspaces: &Queue<Key>,
        kinds: &Queue<Key>,
    ) -> Looking {
        let queues = [("workspaces", workspaces.clone()), ("workspacekinds", kinds.clone())];
        *self.seen.lock() = Some(Seen { caches: caches.clone(), queues });
        Looking(self.seen.clone())
    }

    pub(super) fn reconciled(&self, controller: &'static str, outcome: Outcome, took: Duration) {
        let next = match outcome {
            Outcome::Done => "done",
            Outcome::After(_) => "again",
            Outcome::Later => "later",
            Outcome::Retry => "retry",
        };
        let labels = [("controller", controller), ("next", next)];
        self.reconciles.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Does a step and notes how long it took and how it ended.
    pub(super) async fn step<T>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, StepError> {
        let begin = Instant::now();
        let result = work.await;
        let outcome = result.as_ref().map_or_else(StepError::word, |_| "done");
        let labels = [("step", step), ("outcome", outcome)];
        self.steps.get_or_create(&labels).observe(begin.elapsed().as_secs_f64());
        result
    }

    pub(super) fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.get_or_create(&[("kind", kind), ("verb", verb)]).inc();
    }

    pub(super) fn probed(&self, probe: &'static str, result: &'static str) {
        self.probes.get_or_create(&[("probe", probe), ("result", result)]).inc();
    }

    pub(super) fn paused(&self) {
        self.pauses.inc();
    }

    /// A workspace runs; its pod was created so many ms ago.
    pub(super) fn started(&self, after: i64) {
        let after = Duration::from_millis(u64::try_from(after).unwrap_or(0));
        self.starts.observe(after.as_secs_f64());
    }
}

/// As long as it lives, the controller runs.
pub(super) struct Looking(Arc<Mutex<Option<Seen>>>);

impl Drop for Looking {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// What is counted when somebody asks.
#[derive(Debug)]
struct Now(Arc<Mutex<Option<Seen>>>);

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let seen = self.0.lock();
        let Some(seen) = &*seen else { return Ok(()) };
        let mut gauge = encoder.encode_descriptor(
            "controller_queue_length",
            "Objects that wait for the controller",
            None,
            MetricType::Gauge,
        )?;
        for (controller, queue) in &seen.queues {
            let length = i64::try_from(queue.len()).unwrap_or(i64::MAX);
            ConstGauge::new(length).encode(gauge.encode_family(&[("controller", *controller)])?)?;
        }
        let mut gauge = encoder.encode_descriptor(
            "workspaces",
            "Workspaces by kind and state",
            None,
            MetricType::Gauge,
        )?;
        for ((kind, state), count) in count(&seen.caches) {
            let labels = [("kind", kind.as_str()), ("state", state)];
            ConstGauge::new(count).encode(gauge.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Workspaces by kind and state. Kinds that there are not have no name: anybody could make up any
/// number of them.
fn count(caches: &Caches) -> BTreeMap<(String, &'static str), i64> {
    let kinds: HashSet<String> =
        caches.kinds.keys().iter().map(|kind| kind.name().to_owned()).collect();
    let mut known = BTreeMap::new();
    caches.workspaces.each_indexed(|kind, workspaces| {
        let name = if kinds.contains(kind) { kind } else { "" };
        let mut counts: Vec<(WorkspaceState, i64)> = Vec::new();
        for workspace in workspaces {
            let state = workspace.status.as_ref().map(|status| status.state).unwrap_or_default();
            match counts.iter_mut().find(|(counted, _)| *counted == state) {
                Some((_, count)) => *count += 1,
                None => counts.push((state, 1)),
            }
        }
        for (state, count) in counts {
            *known.entry((name.to_owned(), state.as_str())).or_default() += count;
        }
    });
    known
}
