//! Serves the `Receiver` objects of Flux's notification-controller as that does (contract §3.9), on a
//! listener of its own: same paths, same statuses, same annotation.
//!
//! Start reading at [`desk`], what is answered to a request; `build` makes of an object what it is
//! judged by, `sender` judges, `ask` asks the objects.

mod ask;
mod build;
mod desk;
mod model;
mod sender;
mod status;

use std::{
    collections::{BTreeMap, HashMap},
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
use tokio_util::sync::CancellationToken;

pub use self::model::{
    OidcProvider, OidcValidation, OidcVariable, Receiver, ReceiverResource, ReceiverSpec,
    ReceiverStatus,
};
use self::{
    build::Problem,
    desk::{Desk, Place},
};
use crate::{
    controller::{Options as Rules, watch},
    listener,
    model::Span,
    server::{Serving, StartError},
};

/// How often the tokens of receivers are read anew that say nothing about it.
const INTERVAL: Duration = Duration::from_secs(600);
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
}

impl Options {
    /// At this address, as the notification-controller does by default.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, certificates: None, own_namespace_only: false, rules: Rules::default() }
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
        let desk = Desk::new(client.clone(), options.own_namespace_only);
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

    /// Takes no more requests and finishes what is in flight.
    pub async fn stop(self) {
        self.serving.stop("receivers", self.desk.finished()).await;
    }
}

/// What every reconcile needs.
struct Context {
    client: Client,
    cache: Cache<Receiver>,
    desk: Arc<Desk>,
    options: Options,
    queue: Queue<Key>,
    /// Paths, by receiver.
    places: Mutex<BTreeMap<Key, (String, Place)>>,
}

async fn run(client: Client, desk: Arc<Desk>, options: Options, shutdown: CancellationToken) {
    let cache = Source::<Receiver>::all().start(&client);
    let (queue, places) = (Queue::new(), Mutex::default());
    let context = Arc::new(Context { client, cache, desk, options, queue, places });
    let watcher = tokio::spawn(watch(context.cache.clone(), context.queue.clone(), matters));
    let how = controller::Options { name: "receivers", workers: 4, observe: None };
    let reconcile = |key: Key| {
        let context = Arc::clone(&context);
        async move { context.reconcile(&key).await }
    };
    controller::run(context.queue.clone(), how, reconcile, shutdown).await;
    watcher.abort();
}

/// What of a receiver has to change so that it is looked at again: our own status is no news.
fn matters(receiver: &Receiver) -> impl PartialEq + use<> {
    let metadata = &receiver.metadata;
    let all = metadata.annotations.as_ref();
    let asked = all.and_then(|all| all.get(status::REQUESTED).cloned());
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
        let (path, built) = build::build(&self.client, &receiver, &self.options).await;
        let (built, problem) = match built {
            Err(Problem::Unavailable(error)) => {
                tracing::warn!(receiver = %key, %error, "cannot read the Secret of a receiver");
                // What is served goes on.
                return Outcome::Retry;
            }
            Ok(built) => (Some(Arc::new(built)), None),
            Err(problem) => (None, Some(problem)),
        };
        let place = path.clone().map(|path| {
            let built = built.filter(|_| !receiver.spec.suspend);
            let (namespace, name) = (key.namespace().unwrap_or_default(), key.name());
            (path, Place { namespace: namespace.to_owned(), name: name.to_owned(), built })
        });
        self.put(key, place);
        if receiver.spec.suspend {
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

    /// Puts a receiver where its path leads, or takes it away.
    fn put(&self, key: &Key, place: Option<(String, Place)>) {
        let mut places = self.places.lock();
        match place {
            Some(place) => drop(places.insert(key.clone(), place)),
            None => drop(places.remove(key)),
        }
        // Of two with the same path the first by name has it.
        let mut table = HashMap::new();
        for (path, place) in places.values() {
            table.entry(path.clone()).or_insert_with(|| place.clone());
        }
        self.desk.replace(table);
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
