//! Serves the `Receiver` objects of Flux's notification-controller as that does (contract §3.9), on a
//! listener of its own: same paths, same statuses, same annotation. Behind that each is an endpoint
//! like those of hooks: what it has to tell is in a journal before anybody is told, and told again
//! when that failed.
//!
//! Start reading at [`desk`], what is answered to a request; `build` makes of an object what it is
//! judged by, `sender` judges, `objects` asks the objects.

mod build;
mod desk;
mod model;
mod objects;
mod sender;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use cluster::{
    Cache, Key, Queue, Source,
    controller::{self, Outcome},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

pub use self::model::{
    OidcProvider, OidcValidation, OidcVariable, Receiver, ReceiverResource, ReceiverSpec,
    ReceiverStatus,
};
use self::{
    build::{Print, Problem},
    desk::Desk,
};
use crate::{
    controller::{Options as Rules, watch},
    journal::{self, Couriers, Journal, Pace},
    listener,
    meters::Meters,
    model::Span,
    receive::{self, Endpoint, Table},
    server::{Serving, StartError},
    targets::cluster::REQUESTED,
};

/// How often the tokens of receivers are read anew that say nothing about it.
const INTERVAL: Duration = Duration::from_secs(600);
/// What the names of their endpoints begin with.
const PREFIX: &str = "Receiver ";
/// What keeps a deleted receiver until its controller has seen it; so does ours then.
const FINALIZER: &str = "finalizers.fluxcd.io";

/// How receivers are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address of the listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the certificate of the listener is, `tls.crt` and `tls.key`; without one it speaks no
    /// TLS.
    pub certificates: Option<PathBuf>,
    /// Whether receivers may ask objects of their own namespace only.
    pub own_namespace_only: bool,
    /// Where issuers of tokens may be.
    pub rules: Rules,
    /// The directory of the journal, which is made for the first receiver; without one it is in
    /// memory, and what could not be told is lost at the end.
    pub directory: Option<PathBuf>,
    /// What is bounded; bodies are never longer than 3 MiB.
    pub limits: receive::Limits,
    /// Where requests are counted.
    pub meters: Arc<Meters>,
}

impl Options {
    /// At this address, as the notification-controller does by default.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            certificates: None,
            own_namespace_only: false,
            rules: Rules::default(),
            directory: None,
            limits: receive::Limits::default(),
            meters: Arc::default(),
        }
    }
}

/// Receivers that are being served.
pub struct Server {
    desk: Arc<Desk>,
    serving: Serving,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to serve the receivers of the cluster.
    pub async fn start(client: Client, options: Options) -> Result<Self, StartError> {
        let desk = Desk::new(options.limits.clone(), Arc::clone(&options.meters));
        let limits = listener::Limits { header_bytes: 256 << 10, ..listener::Limits::default() };
        let (listen, certificates) = (options.listen, options.certificates.clone());
        let (handler, served) = (Arc::clone(&desk), Arc::clone(&desk));
        let control = |stop| run(client, served, options, stop);
        let serving =
            Serving::start(listen, certificates.as_deref(), limits, handler, control).await?;
        Ok(Self { desk, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// What is counted, kept and in use.
    pub fn receiver(&self) -> &Arc<receive::Receiver> {
        self.desk.receiver()
    }

    /// Takes no more requests, finishes what is in flight, writes everything down.
    pub async fn stop(self) {
        self.serving.stop("receivers", self.desk.receiver().finished()).await;
    }
}

/// What every reconcile needs.
struct Context {
    client: Client,
    cache: Cache<Receiver>,
    desk: Arc<Desk>,
    options: Options,
    queue: Queue<Key>,
    /// Open since the first receiver came.
    journal: OnceCell<(Journal, Mutex<Couriers>)>,
    places: Mutex<BTreeMap<Key, Place>>,
}

/// Where a receiver is.
struct Place {
    path: String,
    /// Nothing while it is suspended or not ready.
    served: Option<(Print, Arc<Endpoint>)>,
}

async fn run(client: Client, desk: Arc<Desk>, options: Options, shutdown: CancellationToken) {
    let cache = Source::<Receiver>::all().start(&client);
    let (queue, journal, places) = (Queue::new(), OnceCell::new(), Mutex::default());
    let context = Context { client, cache, desk, options, queue, journal, places };
    let context = Arc::new(context);
    let watcher = tokio::spawn(watch(context.cache.clone(), context.queue.clone(), matters));
    let how = controller::Options { name: "receivers", workers: 4, observe: None };
    let reconcile = |key: Key| {
        let context = Arc::clone(&context);
        async move { context.reconcile(&key).await }
    };
    controller::run(context.queue.clone(), how, reconcile, shutdown).await;
    watcher.abort();
    if let Some((journal, couriers)) = context.journal.get() {
        let couriers = std::mem::replace(&mut *couriers.lock(), journal.couriers(Vec::new()));
        couriers.stop().await;
        journal.flush().await;
    }
}

/// The name of a receiver's endpoint; hooks may have the same namespace and name.
fn name_of(key: &Key) -> String {
    format!("{PREFIX}{key}")
}

/// What of a receiver has to change so that it is looked at again: our own status is no news.
fn matters(receiver: &Receiver) -> impl PartialEq + use<> {
    let metadata = &receiver.metadata;
    let all = metadata.annotations.as_ref();
    let asked = all.and_then(|all| all.get(REQUESTED).cloned());
    (metadata.uid.clone(), metadata.generation, asked, metadata.deletion_timestamp.is_some())
}

impl Context {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(receiver) = self.cache.get(key.namespace(), key.name()) else {
            self.put(key, None);
            return Outcome::Done;
        };
        if receiver.metadata.deletion_timestamp.is_some() {
            self.put(key, None);
            return self.let_go(&receiver).await;
        }
        let before = self.places.lock().get(key).and_then(|place| place.served.clone());
        let made_of = before.as_ref().map(|(print, _)| *print);
        let (path, built) = build::build(&self.client, &receiver, &self.options, made_of).await;
        let (served, problem) = match built {
            Err(Problem::Unavailable(error)) => {
                tracing::warn!(receiver = %key, %error, "cannot read the Secret of a receiver");
                // What is served goes on.
                return Outcome::Retry;
            }
            Ok(None) => (before, None),
            Ok(Some((print, built))) => {
                let namespace = key.namespace().unwrap_or_default();
                let only = self.options.own_namespace_only.then_some(namespace);
                let endpoint = built.endpoint(&self.client, name_of(key), only);
                (Some((print, Arc::new(endpoint))), None)
            }
            Err(problem) => (None, Some(problem)),
        };
        let opened = self.open().await;
        if let Err(error) = &opened {
            tracing::error!(%error, "receivers cannot be served without their journal");
        }
        let suspend = receiver.spec.suspend;
        let served = served.filter(|_| !suspend && opened.is_ok());
        self.put(key, path.clone().map(|path| Place { path, served }));
        if opened.is_err() {
            return Outcome::Retry;
        }
        if suspend {
            return Outcome::Done;
        }
        let written =
            status::write(&self.client, &receiver, path.as_deref(), problem.as_ref()).await;
        match (written, problem) {
            (Err(error), _) if cluster::error::is_not_found(&error) => Outcome::Done,
            (Err(error), _) => {
                tracing::warn!(receiver = %key, %error, "cannot write the status of a receiver");
                Outcome::Retry
            }
            (Ok(()), Some(Problem::Token(_))) => Outcome::Retry,
            (Ok(()), _) => Outcome::After(interval(&receiver).min(self.options.rules.resync)),
        }
    }

    /// Opens the journal, unless it is open.
    async fn open(&self) -> Result<&(Journal, Mutex<Couriers>), String> {
        self.journal
            .get_or_try_init(|| async {
                let kept = journal::Options {
                    directory: self.options.directory.clone(),
                    meters: Arc::clone(&self.options.meters),
                    ..journal::Options::default()
                };
                let opened = tokio::task::spawn_blocking(|| Journal::open(kept)).await;
                let journal = opened.map_err(|error| error.to_string())?;
                let journal = journal.map_err(|error| error.to_string())?;
                let couriers = journal.couriers(Vec::new());
                Ok((journal, Mutex::new(couriers)))
            })
            .await
    }

    /// Puts a receiver where its path leads, or takes it away.
    fn put(&self, key: &Key, place: Option<Place>) {
        let mut places = self.places.lock();
        match place {
            Some(place) => drop(places.insert(key.clone(), place)),
            None => drop(places.remove(key)),
        }
        let mut table = Table::default();
        let journal = self.journal.get();
        table.journal = journal.map(|(journal, _)| journal.clone());
        let (mut closed, mut names, mut targets) = (HashSet::new(), BTreeSet::new(), Vec::new());
        for (key, place) in &*places {
            match &place.served {
                // Of two with the same path the first by name has it.
                Some((_, endpoint)) if table.add(place.path.clone(), endpoint, None).is_ok() => {
                    names.insert(name_of(key));
                    targets.extend(endpoint.targets.iter().cloned());
                }
                _ => drop(closed.insert(place.path.clone())),
            }
        }
        self.desk.replace(table, closed);
        let known: BTreeSet<&str> = targets.iter().map(|target| target.name()).collect();
        self.desk.receiver().forget_all_but(&names, &known);
        if let Some((journal, couriers)) = journal {
            self.give_up_gone(journal, &names, &known);
            let paced = targets.iter().map(|target| (Arc::clone(target), Pace::default()));
            couriers.lock().replace(paced.collect());
        }
    }

    /// Gives up what waits for targets that no receiver has any more. A receiver that is not ready
    /// keeps what waits for its own.
    fn give_up_gone(&self, journal: &Journal, served: &BTreeSet<String>, known: &BTreeSet<&str>) {
        let Ok(figures) = journal.figures() else { return };
        let gone = figures.waiting.into_iter().map(|(target, _)| target).filter(|target| {
            // Receiver namespace/name: kind namespace/name
            let Some((name, _)) = target.split_once(": ") else { return false };
            let key = name.strip_prefix(PREFIX).and_then(|key| key.split_once('/'));
            let Some((namespace, receiver)) = key else { return false };
            let exists = self.cache.get(Some(namespace), receiver).is_some();
            !known.contains(target.as_str()) && (served.contains(name) || !exists)
        });
        journal.gone(gone.collect());
    }

    /// Lets a deleted receiver go that the notification-controller held.
    async fn let_go(&self, receiver: &Receiver) -> Outcome {
        let metadata = &receiver.metadata;
        let held = metadata.finalizers.iter().flatten();
        let (ours, left): (Vec<_>, Vec<_>) = held.partition(|one| *one == FINALIZER);
        if ours.is_empty() {
            return Outcome::Done;
        }
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<Receiver>::namespaced(self.client.clone(), namespace);
        let version = &metadata.resource_version;
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": version}});
        let name = metadata.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if !cluster::error::is_not_found(&error) => Outcome::Retry,
            _ => Outcome::Done,
        }
    }
}

fn interval(receiver: &Receiver) -> Duration {
    let text = receiver.spec.interval.clone().unwrap_or_default();
    let span = serde_json::from_value::<Span>(text.into());
    span.map_or(INTERVAL, |span| span.0).max(Duration::from_secs(1))
}
