//! Turns each workspace into running objects and tells how they are.
//!
//! A reconcile gets nothing but a name. It reads everything anew (from watch caches), brings each
//! object in line in a fixed order, and writes the status once at the end, if it changed. Each step
//! may be repeated at any time: names come from the uid of the workspace, so a lost answer or a
//! stale cache leads back to the same object and never to a second one.
//!
//! Probes of activity and the rules that pause idle workspaces are a step of their own between
//! state and status; see `workspace::Pass::run`.

pub mod activity;
mod children;
mod error;
mod events;
mod kind;
mod memory;
mod metrics;
mod objects;
mod routes;
mod wake;
mod workspace;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cluster::{
    Key, Queue,
    controller::{self, Outcome, Turn},
};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{Api, Client, api::ListParams};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::{children::Children, memory::Memory, routes::Routes};
pub use self::{
    metrics::Metrics,
    routes::{GatewayApi, Istio},
};
use crate::Caches;

/// How the controller works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many workspaces are worked on at a time.
    pub workers: usize,
    /// Whether each workspace gets a Secret that the connect proxy shows to it.
    pub connect_secret: bool,
    /// Whether, and how, Istio leads requests to workspaces.
    pub istio: Option<Istio>,
    /// Whether, and how, a gateway of the Gateway API leads requests to workspaces.
    pub gateway_api: Option<GatewayApi>,
    /// How often the API is asked whether it serves the kinds that these two need.
    pub discover_every: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// The time in ms since 1970.
    pub now: fn() -> i64,
    /// How idle workspaces are looked after.
    pub activity: activity::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 10,
            connect_secret: false,
            istio: None,
            gateway_api: None,
            discover_every: Duration::from_secs(30),
            metrics: Metrics::default(),
            now: system_time,
            activity: activity::Options::default(),
        }
    }
}

fn system_time() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What every reconcile needs.
struct Context {
    client: Client,
    caches: Caches,
    children: Children,
    routes: Routes,
    options: Options,
    activity: activity::Watch,
    /// One writer of a kind's finalizers at a time.
    kinds: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    memory: Memory,
    /// Workspaces that changes may concern.
    workspace_queue: Queue<Key>,
    /// Kinds that changes may concern.
    kind_queue: Queue<Key>,
}

impl Context {
    /// The lock of a kind's finalizers.
    fn kind_lock(&self, kind: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.kinds.lock().entry(kind.to_owned()).or_default().clone()
    }

    /// How long a kind may wait to be counted.
    fn kind_delay(&self) -> Duration {
        let workspaces = u32::try_from(self.caches.workspaces.len()).unwrap_or(u32::MAX);
        (KIND_DELAY + KIND_DELAY_EACH.saturating_mul(workspaces)).min(LONGEST_KIND_DELAY)
    }
}

/// A kind is looked at this long after the first of a burst of changes: its counts need not follow
/// each of a thousand new workspaces …
const KIND_DELAY: Duration = Duration::from_millis(100);
/// … and the more there are to count, the less often.
const KIND_DELAY_EACH: Duration = Duration::from_micros(100);
const LONGEST_KIND_DELAY: Duration = Duration::from_secs(5);

/// Works until the token is cancelled; what is being done then is finished first.
pub async fn run(client: Client, caches: Caches, options: Options, shutdown: CancellationToken) {
    let starting = async {
        let role_bindings = has_role_bindings(&client).await;
        let children = Children::start(&client, role_bindings, options.connect_secret);
        let routes = Routes::start(&client, &options);
        let ((), (), routes) = tokio::join!(caches.ready(), children.ready(), routes);
        (children, routes)
    };
    let (children, routes) = tokio::select! {
        started = starting => started,
        () = shutdown.cancelled() => return,
    };
    let context = Arc::new(Context {
        client,
        caches,
        children,
        routes,
        activity: activity::Watch::new(&options.activity),
        options,
        kinds: Mutex::default(),
        memory: Memory::default(),
        workspace_queue: Queue::new(),
        kind_queue: Queue::new(),
    });
    let metrics = &context.options.metrics;
    let _looking = metrics.look_at(&context.caches, &context.workspace_queue, &context.kind_queue);
    // Dropping the watchers ends them.
    let _watchers = wake::start(&context);
    tokio::join!(
        run_queue("workspaces", &context, shutdown.clone()),
        run_queue("workspacekinds", &context, shutdown),
    );
}

async fn run_queue(name: &'static str, context: &Arc<Context>, shutdown: CancellationToken) {
    let kinds = name == "workspacekinds";
    let queue = if kinds { &context.kind_queue } else { &context.workspace_queue };
    let workers = if kinds { 2 } else { context.options.workers };
    let options = controller::Options { name, workers, observe: None };
    let reconcile = |key: Key, turn: Turn| {
        let context = context.clone();
        async move {
            let begin = Instant::now();
            let outcome = if kinds {
                kind::reconcile(&context, &key).await
            } else {
                workspace::reconcile(&context, &key, turn).await
            };
            context.options.metrics.reconciled(name, outcome, begin.elapsed());
            outcome
        }
    };
    controller::run_in_turns(queue.clone(), options, reconcile, shutdown).await;
}

/// Whether the API has RoleBindings: small ones have not.
async fn has_role_bindings(client: &Client) -> bool {
    let api = Api::<RoleBinding>::all(client.clone());
    match api.list(&ListParams::default().limit(1)).await {
        Ok(_) => true,
        Err(error) if cluster::error::is_not_found(&error) => false,
        // Not there, or not for us: everything but roles works without.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 501) => false,
        // It is there and fails now; the watch goes on trying.
        Err(_) => true,
    }
}

/// A pass that lost against a newer version comes again after this time, when the caches have it.
const OUTDATED_AGAIN: Outcome = Outcome::After(Duration::from_millis(100));

#[cfg(test)]
mod tests;
