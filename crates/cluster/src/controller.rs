//! Runs a reconciler over a queue of keys: in parallel, each key by one worker at a time, with
//! back-off after failures and a clean stop.

use std::{collections::HashMap, fmt, hash::Hash, time::Duration};

use tokio::{
    task::{Id, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use crate::queue::Turn;
use crate::queue::{Next, Queue};

/// What is to happen to a key after its reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing until something changes.
    Done,
    /// Another look after this time.
    After(Duration),
    /// Another look when no other key waits.
    Later,
    /// It failed in a way that may pass: again after a pause that grows.
    Retry,
}

/// How a controller runs.
pub struct Options<K> {
    /// For logs.
    pub name: &'static str,
    /// How many keys are worked on at a time.
    pub workers: usize,
    /// Told about each reconcile; for metrics.
    pub observe: Option<fn(&K, Outcome, Duration)>,
}

/// Works until the token is cancelled, then lets the reconciles that run come to their end.
///
/// The reconciler gets nothing but the key: it reads the state itself, so the reason of a wake-up can
/// never be wrong. A panic in it counts as a failure of its key.
pub async fn run<K, F>(
    queue: Queue<K>,
    options: Options<K>,
    reconcile: impl Fn(K) -> F,
    shutdown: CancellationToken,
) where
    K: Clone + Eq + Hash + fmt::Display + Send + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    run_in_turns(queue, options, |key, _| reconcile(key), shutdown).await;
}

/// The same for a reconciler that puts off what can wait: it is told when nothing else does.
pub async fn run_in_turns<K, F>(
    queue: Queue<K>,
    options: Options<K>,
    reconcile: impl Fn(K, Turn) -> F,
    shutdown: CancellationToken,
) where
    K: Clone + Eq + Hash + fmt::Display + Send + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut workers = JoinSet::new();
    let mut keys: HashMap<Id, (K, Instant)> = HashMap::new();
    loop {
        let mut wake = None;
        while workers.len() < options.workers.max(1) && !shutdown.is_cancelled() {
            match queue.next() {
                Next::Key(key, turn) => {
                    let task = workers.spawn(reconcile(key.clone(), turn));
                    keys.insert(task.id(), (key, Instant::now()));
                }
                Next::Idle(until) => {
                    wake = until;
                    break;
                }
            }
        }
        if shutdown.is_cancelled() && workers.is_empty() {
            return;
        }
        tokio::select! {
            Some(ended) = workers.join_next_with_id() => {
                let (id, outcome) = match ended {
                    Ok((id, outcome)) => (id, outcome),
                    Err(error) => {
                        tracing::error!(controller = options.name, %error, "a reconcile broke off");
                        (error.id(), Outcome::Retry)
                    }
                };
                if let Some((key, started)) = keys.remove(&id) {
                    finish(&queue, &options, key, outcome, started.elapsed());
                }
            }
            () = queue.added(), if !shutdown.is_cancelled() => {}
            () = sleep_until(wake), if wake.is_some() && !shutdown.is_cancelled() => {}
            () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
        }
    }
}

fn finish<K: Clone + Eq + Hash + fmt::Display>(
    queue: &Queue<K>,
    options: &Options<K>,
    key: K,
    outcome: Outcome,
    took: Duration,
) {
    if let Some(observe) = options.observe {
        observe(&key, outcome, took);
    }
    match outcome {
        Outcome::Done => queue.succeeded(&key),
        Outcome::After(delay) => {
            queue.succeeded(&key);
            queue.add_after(key.clone(), delay);
        }
        Outcome::Later => {
            queue.succeeded(&key);
            queue.add_later(key.clone());
        }
        Outcome::Retry => {
            let pause = queue.retry(key.clone());
            tracing::debug!(controller = options.name, %key, ?pause, "trying again later");
        }
    }
    queue.done(&key);
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn options(workers: usize) -> Options<u32> {
        Options { name: "test", workers, observe: None }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_are_tried_again() {
        let queue = Queue::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        queue.add(7);
        let (count, token) = (calls.clone(), stop.clone());
        let reconcile = move |_| {
            let (count, token) = (count.clone(), token.clone());
            async move {
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("broken"),
                    1 => Outcome::Retry,
                    2 => Outcome::After(Duration::from_secs(3)),
                    _ => {
                        token.cancel();
                        Outcome::Done
                    }
                }
            }
        };
        let started = Instant::now();
        run(queue, options(2), reconcile, stop).await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
        assert_eq!(started.elapsed().as_secs(), 1 + 2 + 3);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_run_in_parallel_and_a_stop_waits_for_them() {
        let queue = Queue::new();
        (0..6).for_each(|key| queue.add(key));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let done = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let counters = (running.clone(), most.clone(), done.clone(), stop.clone());
        let reconcile = move |_| {
            let (running, most, done, stop) = counters.clone();
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                if done.fetch_add(1, Ordering::SeqCst) == 3 {
                    stop.cancel();
                }
                Outcome::Done
            }
        };
        run(queue, options(3), reconcile, stop).await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(running.load(Ordering::SeqCst), 0, "nothing was cut off");
    }
}
