//! Serves the `Hook` objects of a cluster.
//!
//! A reconcile gets a name, reads the object and the Secrets that it names, makes an endpoint of
//! them, puts all endpoints in place at once, and writes the status if it changed. Secrets are read
//! anew every so often, because a watch on all of them would want to read what is none of our
//! business. The journal is opened for the first hook: who has none shall not pay for it.

mod build;
mod status;
mod tell;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cluster::{
    Cache, Change, Key, Queue, Source,
    controller::{self, Outcome},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::build::{Built, Problem};
pub(crate) use self::tell::{Place, argo_cd, waited};
use crate::{
    journal::{self, Couriers, Journal},
    limits::Network,
    model::Hook,
    receive::{Receiver, Table},
};

/// What the owner of the server allows hooks to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Addresses that targets may be at although they are not public.
    pub allow: Vec<Network>,
    /// Whether targets may be reached without TLS.
    pub allow_http: bool,
    /// How often Secrets are read anew and counts are written.
    pub resync: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { allow: Vec::new(), allow_http: false, resync: Duration::from_secs(30) }
    }
}

impl Options {
    /// On a machine of one's own every address is as good as any other.
    pub fn own_machine() -> Self {
        let allow = ["0.0.0.0/0", "::/0"].iter().filter_map(|text| text.parse().ok()).collect();
        Self { allow, allow_http: true, ..Self::default() }
    }
}

/// A hook that is a Secret short of working is looked at again after this time.
const INCOMPLETE_AGAIN: Duration = Duration::from_secs(5);

/// What every reconcile needs.
struct Context {
    client: Client,
    cache: Cache<Hook>,
    receiver: Arc<Receiver>,
    kept: journal::Options,
    options: Options,
    queue: Queue<Key>,
    /// Held while the journal is opened.
    opening: tokio::sync::Mutex<()>,
    served: Mutex<Served>,
}

/// What is served now.
#[derive(Default)]
struct Served {
    hooks: BTreeMap<Key, Entry>,
    /// Open since the first hook came.
    journal: Option<(Journal, Couriers)>,
}

/// One hook that is complete.
struct Entry {
    created: Option<Time>,
    built: Arc<Built>,
}

/// Serves hooks until the token is cancelled; attempts that run then end first. `receiver` gets its
/// endpoints from here, all of them kept in the journal that `kept` says.
pub async fn run(
    client: Client,
    receiver: Arc<Receiver>,
    kept: journal::Options,
    options: Options,
    shutdown: CancellationToken,
) {
    let cache = Source::<Hook>::all().start(&client);
    let context = Arc::new(Context {
        client,
        cache,
        receiver,
        kept,
        options,
        queue: Queue::new(),
        opening: tokio::sync::Mutex::default(),
        served: Mutex::default(),
    });
    let watcher = tokio::spawn(watch(context.cache.clone(), context.queue.clone(), matters));
    let how = controller::Options { name: "hooks", workers: 4, observe: None };
    let reconcile = |key: Key| {
        let context = Arc::clone(&context);
        async move { context.reconcile(&key).await }
    };
    controller::run(context.queue.clone(), how, reconcile, shutdown).await;
    watcher.abort();
    let opened = context.served.lock().journal.take();
    if let Some((journal, couriers)) = opened {
        couriers.stop().await;
        journal.flush().await;
    }
}

/// Turns changes into keys: those of which something is other than before that `matters`, and all
/// at the start and after a gap.
pub(crate) async fn watch<T: Send + Sync + 'static, M: PartialEq>(
    cache: Cache<T>,
    queue: Queue<Key>,
    matters: impl Fn(&T) -> M,
) {
    let mut changes = cache.subscribe();
    let all = || cache.keys().into_iter().for_each(|key| queue.add(key));
    cache.ready().await;
    all();
    while let Some(change) = changes.next().await {
        match change {
            Change::Object { key, old, new } => {
                if old.as_deref().map(&matters) != new.as_deref().map(&matters) {
                    queue.add(key);
                }
            }
            Change::Resync => all(),
        }
    }
}

/// What of a hook has to change so that it is looked at again: our own status is no news.
fn matters(hook: &Hook) -> impl PartialEq + use<> {
    (hook.metadata.uid.clone(), hook.metadata.generation)
}

impl Context {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(hook) = self.cache.get(key.namespace(), key.name()) else {
            self.served.lock().hooks.remove(key);
            self.serve();
            return Outcome::Done;
        };
        // Without it senders find the hook and are told to come again.
        let opened = self.open().await.map_err(|error| {
            tracing::error!(%error, "hooks can keep nothing without their journal");
            build::Reason { reason: "JournalUnavailable", message: error }
        });
        let unkept = opened.is_err();
        let before = self.served.lock().hooks.get(key).map(|entry| Arc::clone(&entry.built));
        let built = match build::build(&self.client, &hook, &self.options, before.as_ref()).await {
            Ok(built) => Ok(built),
            // What is served goes on.
            Err(Problem::Unavailable(error)) => {
                tracing::warn!(hook = %key, %error, "cannot read the Secrets of a hook");
                return Outcome::Retry;
            }
            Err(Problem::Hook(reason)) => Err(reason),
        };
        let refused = match built {
            Ok(built) => {
                let path = built.path().to_owned();
                let created = hook.metadata.creation_timestamp.clone();
                let changed = before.is_none_or(|before| !Arc::ptr_eq(&before, &built));
                if changed {
                    self.served.lock().hooks.insert(key.clone(), Entry { created, built });
                }
                let taken = self.serve();
                match taken.get(key) {
                    Some(by) => Err(build::taken(by)),
                    None => Ok(path),
                }
            }
            Err(reason) => {
                if self.served.lock().hooks.remove(key).is_some() {
                    self.serve();
                }
                Err(reason)
            }
        };
        let refused = refused.and_then(|path| opened.map(|()| path));
        let again = if refused.is_ok() { self.options.resync } else { INCOMPLETE_AGAIN };
        let counts = self.receiver.tally(&key.to_string());
        match status::write(&self.client, &hook, refused, counts).await {
            Ok(()) if unkept => Outcome::Retry,
            Ok(()) => Outcome::After(again.min(self.options.resync)),
            Err(error) if cluster::error::is_not_found(&error) => Outcome::Done,
            Err(error) => {
                tracing::warn!(hook = %key, %error, "cannot write the status of a hook");
                Outcome::Retry
            }
        }
    }

    /// Opens the journal, unless it is open.
    async fn open(&self) -> Result<(), String> {
        if self.served.lock().journal.is_some() {
            return Ok(());
        }
        let _one_at_a_time = self.opening.lock().await;
        if self.served.lock().journal.is_some() {
            return Ok(());
        }
        let kept = self.kept.clone();
        let opened = tokio::task::spawn_blocking(|| Journal::open(kept)).await;
        let journal = opened.map_err(|error| error.to_string())?;
        let journal = journal.map_err(|error| format!("cannot open the journal: {error}"))?;
        let couriers = journal.couriers(Vec::new());
        self.served.lock().journal = Some((journal, couriers));
        Ok(())
    }

    /// Puts all complete hooks in place, the older ones first; gives those whose path is taken,
    /// and by whom.
    fn serve(&self) -> BTreeMap<Key, String> {
        let mut served = self.served.lock();
        let Served { hooks, journal } = &mut *served;
        let mut order: Vec<(&Key, &Entry)> = hooks.iter().collect();
        order.sort_by(|a, b| (a.1.created.as_ref(), a.0).cmp(&(b.1.created.as_ref(), b.0)));
        let mut table = Table::default();
        table.journal = journal.as_ref().map(|(journal, _)| journal.clone());
        let mut taken = BTreeMap::new();
        let mut targets = Vec::new();
        let mut names = BTreeSet::new();
        let mut known = BTreeSet::new();
        for (key, entry) in order {
            match entry.built.register(&mut table) {
                Ok(()) if entry.built.tells() => {
                    targets.extend(entry.built.targets.iter().cloned())
                }
                Ok(()) => {}
                Err(by) => drop(taken.insert(key.clone(), by)),
            }
            names.insert(key.to_string());
            known.extend(entry.built.targets.iter().map(|(target, _)| target.name()));
        }
        self.receiver.replace(table);
        self.receiver.forget_all_but(&names, &known);
        if let Some((journal, couriers)) = journal {
            couriers.replace(targets);
            self.give_up_gone(journal, &names, &known);
        }
        taken
    }

    /// Gives up what waits for targets that no hook has any more. A hook that is incomplete keeps
    /// what waits for its targets.
    fn give_up_gone(&self, journal: &Journal, served: &BTreeSet<String>, known: &BTreeSet<&str>) {
        let Ok(figures) = journal.figures() else { return };
        let gone = figures.waiting.into_iter().map(|(target, _)| target).filter(|target| {
            // namespace/hook/target
            let Some((hook, _)) = target.rsplit_once('/') else { return false };
            let Some((namespace, name)) = hook.split_once('/') else { return false };
            let exists = self.cache.get(Some(namespace), name).is_some();
            !known.contains(target.as_str()) && (served.contains(hook) || !exists)
        });
        journal.gone(gone.collect());
    }
}
