//! The journal: what was accepted is on disk before the sender is told so, and stays there until
//! every target has been told or a human says stop (contract §3.2, §3.3).
//!
//! One thread writes; everything that is asked of it while it waits for the disk goes into its next
//! transaction, so that many senders share one fsync. Everybody else reads snapshots. What is not
//! finished is found again at the next start, because nothing about it lives in memory only.

mod courier;
mod id;
mod keys;
mod record;
mod seal;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Notify, oneshot};

pub use self::{
    courier::{Couriers, Pace},
    id::Id,
    record::{Attempt, Delivery, Notification, State},
    seal::Seal,
    store::OpenError,
};
use self::{
    store::Store,
    writer::{Op, Writer},
};
use crate::{
    decide::replay::Replay,
    meters::Meters,
    model::Event,
    targets::{Failure, Request, Target},
};

/// Where the journal is and how much it may hold.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; none keeps everything in memory, which no restart survives.
    pub directory: Option<PathBuf>,
    /// The most bytes of records.
    pub capacity: u64,
    /// How long finished deliveries are kept.
    pub keep_done: Duration,
    /// How long dead ones are kept.
    pub keep_dead: Duration,
    /// The pauses between attempts.
    pub steps: Vec<Duration>,
    /// Where attempts are counted.
    pub meters: Arc<Meters>,
    /// Whose requests are kept, beside those that a target still needs.
    pub payloads: Payloads,
    /// How long they are.
    pub keep_payloads: Duration,
    /// What they and all events are encrypted with.
    pub seal: Option<Arc<Seal>>,
}

/// Whose requests are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payloads {
    /// All.
    Always,
    /// Those that were not delivered.
    #[default]
    Failed,
    /// None.
    Never,
}

impl Default for Options {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            directory: None,
            capacity: 1 << 30,
            keep_done: 7 * DAY,
            keep_dead: 30 * DAY,
            steps: crate::decide::retry::default_steps(),
            meters: Arc::default(),
            payloads: Payloads::default(),
            keep_payloads: DAY,
            seal: None,
        }
    }
}

/// A request that shall be kept.
#[derive(Debug)]
pub struct Incoming {
    /// The endpoint's name.
    pub endpoint: String,
    /// The source's name.
    pub source: String,
    /// The sender's id of the delivery; without one the body is its own id.
    pub delivery_id: Option<String>,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
    /// What happened.
    pub events: Vec<Event>,
    /// Targets whose filters turned all events down.
    pub skipped: Vec<String>,
    /// Who shall be told what.
    pub wanted: Vec<Wanted>,
    /// What repeats mean.
    pub replay: Replay,
    /// Whether the caller makes the first attempts itself.
    pub inline: bool,
    /// Who is told of notifications that are given up.
    pub dead_letter: Option<String>,
    /// The request, if anybody may ask for it.
    pub request: Option<Vec<u8>>,
}

/// A notification that shall be made.
#[derive(Debug)]
pub struct Wanted {
    /// The target's name.
    pub target: String,
    /// The index of the event.
    pub event: usize,
    /// What it is about.
    pub subject: String,
    /// Whether a pending one of the same subject will do.
    pub coalesces: bool,
    /// How long it waits for others of its subject, to be made with them.
    pub gathers: Option<Duration>,
    /// Whether it cannot be made without the request.
    pub needs_request: bool,
    /// The failure of an attempt that was made already.
    pub failed: Option<Failure>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk under this id, which is that of an earlier one if it repeats it. Each
    /// notification has its turn.
    Stored(Id, Vec<Turn>),
    /// It repeats this one, which was delivered.
    Duplicate(Id),
    /// It repeats one that must not be repeated.
    Refused,
    /// It is not kept, because it leads to more notifications than can be told apart.
    TooMany,
}

/// Whose turn a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The caller's, now.
    Now,
    /// Nobody's yet, or somebody else's: it waits for others, or is being attempted.
    Later,
    /// It was made before.
    Past,
}

/// The journal cannot keep anything now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is full or its disk fails")]
pub struct Unavailable;

/// Which notifications of a delivery are made again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again {
    /// Those of these targets; all if there are none.
    pub targets: Vec<String>,
    /// Whether pending ones are due now instead of being in the way.
    pub force: bool,
}

/// Why a delivery cannot be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedeliverError {
    /// There is none of this id.
    #[error("no such delivery")]
    Unknown,
    /// Some of its notifications are pending.
    #[error("the delivery is still being worked on")]
    Running,
    /// It has no notification for these targets.
    #[error("the delivery has no such target")]
    NoTarget,
    /// It was not given up.
    #[error("the delivery is not dead")]
    NotDead,
    /// Its payload, which a target needs, is not kept any more.
    #[error("the payload is not kept any more")]
    Gone,
    /// See there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What the journal holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Notifications that wait, by target.
    pub waiting: Vec<(String, u64)>,
    /// The oldest delivery that is not finished.
    pub oldest: Option<Id>,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Bytes of records.
    pub bytes: u64,
}

/// The number of one notification.
type Place = (Id, u16);

/// What writer and couriers share.
#[derive(Debug, Default)]
struct Shared {
    meters: Arc<Meters>,
    /// Notifications that somebody is attempting; others must not, and nothing may merge into
    /// them: the target may have looked before the newer event.
    running: Mutex<HashSet<Place>>,
    /// Whether the last thing that was to be kept could not be.
    failing: AtomicBool,
    /// Targets that are no more.
    gone: Mutex<HashSet<String>>,
    /// Whose requests are kept, and what they and all events are encrypted with.
    payloads: Payloads,
    seal: Option<Arc<Seal>>,
    /// Wakes the courier of a target.
    wake: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Shared {
    fn waker(&self, target: &str) -> Arc<Notify> {
        Arc::clone(self.wake.lock().entry(target.to_owned()).or_default())
    }
}

/// A handle to the journal.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Store,
    writer: Writer,
    shared: Arc<Shared>,
}

impl Journal {
    /// Opens the journal; what was left unfinished is due at once.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let store = Store::open(options.directory.as_deref())?;
        let meters = Arc::clone(&options.meters);
        let (payloads, seal) = (options.payloads, options.seal.clone());
        let shared = Arc::new(Shared { meters, payloads, seal, ..Shared::default() });
        let writer = Writer::start(store.clone(), options, Arc::clone(&shared));
        Ok(Self { store, writer, shared })
    }

    /// Keeps a request. When this returns, it is on disk.
    pub async fn keep(&self, incoming: Incoming) -> Result<Kept, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Op::Keep(Box::new(incoming), reply));
        answer.await.unwrap_or(Err(Unavailable))
    }

    /// Notes the outcome of an attempt. Losing the note costs one more attempt, so nobody waits
    /// for the disk.
    pub fn note(&self, id: Id, number: u16, outcome: Result<(), Failure>) {
        self.writer.send(Op::Note((id, number), outcome));
    }

    /// Gives a claimed notification back without an attempt.
    pub fn release(&self, id: Id, number: u16, target: &str) {
        self.shared.running.lock().remove(&(id, number));
        self.shared.waker(target).notify_one();
    }

    /// Makes the finished notifications of a delivery again.
    pub async fn redeliver(&self, id: Id, again: Again) -> Result<(), RedeliverError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Op::Redeliver(id, again, reply));
        answer.await.unwrap_or(Err(RedeliverError::Unavailable(Unavailable)))
    }

    /// Forgets a delivery that was given up.
    pub async fn forget(&self, id: Id) -> Result<(), RedeliverError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Op::Forget(id, reply));
        answer.await.unwrap_or(Err(RedeliverError::Unavailable(Unavailable)))
    }

    /// Gives up what is pending for these targets, which are no more, and for no others.
    pub fn gone(&self, targets: HashSet<String>) {
        let mut gone = self.shared.gone.lock();
        if *gone != targets {
            *gone = targets;
            drop(gone);
            self.writer.send(Op::Abandon);
        }
    }

    /// Resolves when everything asked before is on disk.
    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Op::Flush(reply));
        let _ = answer.await;
    }

    /// A delivery, with what has become of it.
    pub fn delivery(&self, id: Id) -> Result<Option<Delivery>, Unavailable> {
        let found = self.store.delivery(id).map_err(|_| Unavailable)?;
        Ok(found.map(|delivery| delivery.open(self.shared.seal.as_deref())))
    }

    /// The newest deliveries before `before`, at most `limit`.
    pub fn deliveries(
        &self,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Unavailable> {
        self.store
            .deliveries(before, limit)
            .map(|found| self.opened(found))
            .map_err(|_| Unavailable)
    }

    /// Whether events can be kept, as far as is known.
    pub fn keeps(&self) -> bool {
        !self.shared.failing.load(Ordering::Relaxed)
    }

    /// The newest deliveries before `before` that were given up, at most `limit`.
    pub fn dead(&self, before: Option<Id>, limit: usize) -> Result<Vec<Delivery>, Unavailable> {
        self.store.dead(before, limit).map(|found| self.opened(found)).map_err(|_| Unavailable)
    }

    fn opened(&self, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let seal = self.shared.seal.as_deref();
        deliveries.into_iter().map(|delivery| delivery.open(seal)).collect()
    }

    /// Whether it wants requests beside those that targets need.
    pub fn asks(&self) -> bool {
        self.shared.payloads != Payloads::Never
    }

    /// The request of a delivery, if it is still kept and can be read.
    pub fn request(&self, id: Id) -> Result<Option<Request>, Unavailable> {
        let written = self.store.payload(id).map_err(|_| Unavailable)?;
        let opened = written.and_then(|bytes| seal::open(self.shared.seal.as_deref(), id, &bytes));
        Ok(opened.and_then(|bytes| Request::from_bytes(&bytes)))
    }

    /// What it holds, in numbers.
    pub fn figures(&self) -> Result<Figures, Unavailable> {
        self.store.figures().map_err(|_| Unavailable)
    }

    /// How many notifications wait.
    pub fn depth(&self) -> Result<u64, Unavailable> {
        self.store.depth().map_err(|_| Unavailable)
    }

    /// Starts telling these targets what is due.
    pub fn couriers(&self, targets: Vec<(Arc<dyn Target>, Pace)>) -> Couriers {
        Couriers::start(self, targets)
    }
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
