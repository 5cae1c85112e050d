//! Probes that run, and the results that wait for the next pass.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use cluster::Key;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{super::Context, jupyter};
use crate::{
    decide::activity::{Failed, Probed, Seen},
    model::{ActivityProbe, ImagePort},
};

/// A result that waited longer than this is no news any more.
const FRESH: Duration = Duration::from_secs(60);

/// What a probe is about: the probes of another pod, or of a workspace made anew, say nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) workspace: String,
    pub(super) uid: String,
    pub(super) pod: String,
    pub(super) pod_uid: String,
    pub(super) address: Option<IpAddr>,
    pub(super) ports: Vec<ImagePort>,
    /// Ports behind which programs see paths without the connect prefix.
    pub(super) removed_prefixes: Vec<String>,
}

/// The probes of all workspaces, one of each at a time.
#[derive(Debug)]
pub(super) struct Probes {
    slots: Arc<Semaphore>,
    known: Arc<Mutex<HashMap<Key, Probe>>>,
}

#[derive(Debug)]
struct Probe {
    target: Target,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Ends when it is forgotten.
    Running {
        _task: AbortOnDropHandle<()>,
    },
    Ended {
        at: Instant,
        probed: Probed,
    },
}

impl Probes {
    pub(super) fn new(concurrent: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(concurrent.max(1))), known: Arc::default() }
    }

    /// The result of a probe of this target, if one has just ended. A probe of anything else is
    /// forgotten.
    pub(super) fn take(&self, key: &Key, target: &Target) -> Option<Probed> {
        let mut known = self.known.lock();
        let probe = known.get(key)?;
        if probe.target == *target && matches!(probe.state, State::Running { .. }) {
            return None;
        }
        let probe = known.remove(key)?;
        match probe.state {
            State::Ended { at, probed } if probe.target == *target && at.elapsed() < FRESH => {
                Some(probed)
            }
            _ => None,
        }
    }

    pub(super) fn is_running(&self, key: &Key) -> bool {
        let known = self.known.lock();
        known.get(key).is_some_and(|probe| matches!(probe.state, State::Running { .. }))
    }

    /// Whether a probe runs, or its result waits.
    pub(super) fn is_known(&self, key: &Key) -> bool {
        self.known.lock().contains_key(key)
    }

    pub(super) fn forget(&self, key: &Key) {
        self.known.lock().remove(key);
    }

    /// Starts a probe; its end wakes the workspace.
    pub(super) fn start(
        &self,
        context: &Context,
        key: &Key,
        target: Target,
        probe: &ActivityProbe,
    ) {
        let (slots, known) = (self.slots.clone(), self.known.clone());
        let (queue, now) = (context.workspace_queue.clone(), context.options.now);
        let work = Work {
            client: context.client.clone(),
            now,
            shows_secret: context.options.connect_secret,
            options: context.options.activity.clone(),
            probe: probe.clone(),
        };
        let woken = key.clone();
        let about = target.clone();
        // Held until the probe is known: one that ends at once must not come before.
        let mut probes = self.known.lock();
        let task = tokio::spawn(async move {
            // Nobody closes it.
            let _slot = slots.acquire_owned().await;
            let start = now();
            let (what, found) = work.run(&about).await;
            let probed = Probed { what, start, end: now(), found };
            let state = State::Ended { at: Instant::now(), probed };
            let before = known.lock().insert(woken.clone(), Probe { target: about, state });
            queue.add(woken);
            // This very task: nothing may come after.
            drop(before);
        });
        let state = State::Running { _task: AbortOnDropHandle::new(task) };
        probes.insert(key.clone(), Probe { target, state });
    }
}

/// What a probe needs to run.
pub(super) struct Work {
    pub(super) client: kube::Client,
    pub(super) now: fn() -> i64,
    /// Whether the program in the workspace wants to see a secret.
    pub(super) shows_secret: bool,
    pub(super) options: super::Options,
    pub(super) probe: ActivityProbe,
}

impl Work {
    async fn run(&self, target: &Target) -> (&'static str, Result<Seen, Failed>) {
        match (&self.probe.jupyter, &self.probe.pod_exec) {
            (Some(jupyter), _) => ("Jupyter", jupyter::probe(self, target, &jupyter.port_id).await),
            (None, Some(exec)) => ("PodExec", super::exec::probe(self, target, exec).await),
            // Refused by the definition.
            (None, None) => {
                ("Activity", Err(Failed::Because("the kind names no probe".to_owned())))
            }
        }
    }
}
