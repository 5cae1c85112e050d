//! Keys that need a look: each at most once in the queue, and never two looks at one key at once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::Key;

/// How many keys of one queue are worked on at once.
const PARALLEL: usize = 32;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The keys that are due, and when.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Due {
    at: HashMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Asks for a look now.
    pub(crate) fn add(&self, key: Key) {
        self.add_at(key, Instant::now());
    }

    /// Asks for a look later, unless an earlier one is due anyway.
    pub(crate) fn add_after(&self, key: Key, delay: Duration) {
        self.add_at(key, Instant::now() + delay);
    }

    fn add_at(&self, key: Key, at: Instant) {
        let mut due = self.due.lock();
        if due.at.get(&key).is_some_and(|earlier| *earlier <= at) {
            return;
        }
        if let Some(later) = due.at.insert(key.clone(), at) {
            due.order.remove(&(later, key.clone()));
        }
        due.order.insert((at, key));
        drop(due);
        self.wake.notify_one();
    }

    /// Takes a key that is due and not busy, or says when the next one will be.
    fn next(&self, busy: &HashSet<Key>) -> Next {
        let mut due = self.due.lock();
        let Some(first) = due.order.iter().find(|(_, key)| !busy.contains(key)).cloned() else {
            return Next::Nothing;
        };
        if first.0 > Instant::now() {
            return Next::At(first.0);
        }
        due.order.remove(&first);
        due.at.remove(&first.1);
        Next::Key(first.1)
    }
}

enum Next {
    Key(Key),
    At(Instant),
    Nothing,
}

/// Looks at every key that comes due until cancelled. A look returns when it wants the next one; a
/// failed look is repeated, later and later.
pub(crate) async fn work<F>(
    queue: Arc<Queue>,
    what: &'static str,
    stop: CancellationToken,
    look: impl Fn(Key) -> F,
) where
    F: Future<Output = Result<Option<Duration>, kube::Error>>,
{
    let mut running = FuturesUnordered::new();
    let mut busy = HashSet::new();
    let mut failures: HashMap<Key, u32> = HashMap::new();
    loop {
        let mut wait = None;
        while running.len() < PARALLEL && !stop.is_cancelled() {
            match queue.next(&busy) {
                Next::Key(key) => {
                    busy.insert(key.clone());
                    let look = look(key.clone());
                    running.push(async move { (key, look.await) });
                }
                Next::At(at) => {
                    wait = Some(at);
                    break;
                }
                Next::Nothing => break,
            }
        }
        if stop.is_cancelled() && running.is_empty() {
            return;
        }
        let timer = async {
            match wait {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((key, outcome)) = running.next() => {
                busy.remove(&key);
                match outcome {
                    Ok(again) => {
                        failures.remove(&key);
                        if let Some(delay) = again {
                            queue.add_after(key, delay);
                        }
                    }
                    Err(error) => {
                        let count = failures.entry(key.clone()).or_default();
                        let delay = FIRST_RETRY.saturating_mul(1 << (*count).min(16)).min(LAST_RETRY);
                        *count += 1;
                        report(what, &key, &error, *count);
                        queue.add_after(key, delay);
                    }
                }
            }
            () = queue.wake.notified() => {}
            () = timer => {}
            () = stop.cancelled(), if running.is_empty() => return,
        }
    }
}

/// Two writers who meet are part of normal life; anything else, or no end of it, is not.
fn report(what: &str, (namespace, name): &Key, error: &kube::Error, count: u32) {
    let expected = matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
    if expected && count < 5 {
        tracing::debug!(what, namespace, name, %error, "tried again soon");
    } else {
        tracing::warn!(what, namespace, name, %error, "failed and is tried again");
    }
}
