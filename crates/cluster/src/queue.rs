//! A work queue of keys: each key waits at most once and is worked on by at most one worker. What can
//! wait gives way to everything else.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// First pause after a failure; doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(7 * 60);
/// All keys together: one retry per interval on average …
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// … with this many at once when it was quiet before.
const RETRY_BURST: u32 = 100;

/// A work queue of keys; cheap to clone.
///
/// A key that is added while a worker has it is handed out again when the worker is done, so no
/// change is missed and no key is worked on twice at a time.
#[derive(Debug)]
pub struct Queue<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    state: Mutex<State<K>>,
    /// Woken when something becomes due earlier than the last look said.
    added: Notify,
}

#[derive(Debug)]
struct State<K> {
    waiting: VecDeque<K>,
    /// What is in `waiting`, or is to be added when its worker is done.
    dirty: HashSet<K>,
    working: HashSet<K>,
    /// What can wait, in its order; only those that are in `late` too still do.
    later: VecDeque<K>,
    late: HashSet<K>,
    /// When delayed keys become due; a key has one time, the earliest.
    delayed: BTreeSet<(Instant, u64)>,
    due: HashMap<K, (Instant, u64)>,
    by_number: HashMap<u64, K>,
    number: u64,
    failures: HashMap<K, u32>,
    next_retry: Option<Instant>,
}

/// Why it is a key's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It was added.
    Now,
    /// It could wait, and nothing else does.
    Later,
}

/// What there is to do.
pub(crate) enum Next<K> {
    /// This key.
    Key(K, Turn),
    /// Nothing until then, unless something is added.
    Idle(Option<Instant>),
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                dirty: HashSet::new(),
                working: HashSet::new(),
                later: VecDeque::new(),
                late: HashSet::new(),
                delayed: BTreeSet::new(),
                due: HashMap::new(),
                by_number: HashMap::new(),
                number: 0,
                failures: HashMap::new(),
                next_retry: None,
            }),
            added: Notify::new(),
        }))
    }

    /// Adds a key, to be worked on as soon as a worker is free.
    pub fn add(&self, key: K) {
        self.0.state.lock().add(key);
        self.0.added.notify_one();
    }

    /// Adds a key later; of several times the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.0.state.lock().add_at(key, Instant::now() + delay);
        self.0.added.notify_one();
    }

    /// Adds a key that a worker has, to be worked on again when nothing else waits.
    pub(crate) fn add_later(&self, key: K) {
        self.0.state.lock().late.insert(key);
    }

    /// Adds a key after the pause that its failures in a row call for; gives the pause.
    pub(crate) fn retry(&self, key: K) -> Duration {
        let now = Instant::now();
        let pause = self.0.state.lock().retry(key, now);
        self.0.added.notify_one();
        pause
    }

    /// Forgets the failures of a key.
    pub(crate) fn succeeded(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// How many keys wait for a worker.
    pub fn len(&self) -> usize {
        let state = self.0.state.lock();
        state.waiting.len() + state.late.len()
    }

    /// Whether no key waits for a worker.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing waits, is worked on or will become due before `within` has passed.
    pub fn is_idle(&self, within: Duration) -> bool {
        let state = self.0.state.lock();
        let soon = Instant::now() + within;
        state.waiting.is_empty()
            && state.late.is_empty()
            && state.working.is_empty()
            && state.delayed.first().is_none_or(|(at, _)| *at > soon)
    }

    pub(crate) fn next(&self) -> Next<K> {
        self.0.state.lock().next(Instant::now())
    }

    pub(crate) fn done(&self, key: &K) {
        self.0.state.lock().done(key);
        self.0.added.notify_one();
    }

    pub(crate) async fn added(&self) {
        self.0.added.notified().await;
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        self.forget_delay(&key);
        if !self.working.contains(&key) {
            self.late.remove(&key);
        }
        if self.dirty.insert(key.clone()) && !self.working.contains(&key) {
            self.waiting.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        self.forget_delay(&key);
        self.number += 1;
        self.delayed.insert((at, self.number));
        self.by_number.insert(self.number, key.clone());
        self.due.insert(key, (at, self.number));
    }

    fn forget_delay(&mut self, key: &K) {
        if let Some(entry) = self.due.remove(key) {
            self.delayed.remove(&entry);
            self.by_number.remove(&entry.1);
        }
    }

    fn retry(&mut self, key: K, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FIRST_BACKOFF.saturating_mul(1 << (*failures).min(16)).min(LONGEST_BACKOFF);
        *failures = failures.saturating_add(1);
        let earliest = now.checked_sub(RETRY_INTERVAL * RETRY_BURST).unwrap_or(now);
        let slot = self.next_retry.map_or(earliest, |slot| slot.max(earliest));
        self.next_retry = Some(slot + RETRY_INTERVAL);
        let at = slot.max(now + pause);
        self.add_at(key, at);
        at - now
    }

    fn next(&mut self, now: Instant) -> Next<K> {
        while let Some(&(at, number)) = self.delayed.first() {
            if at > now {
                break;
            }
            match self.by_number.get(&number).cloned() {
                Some(key) => self.add(key),
                None => _ = self.delayed.remove(&(at, number)),
            }
        }
        match self.waiting.pop_front() {
            Some(key) => {
                self.dirty.remove(&key);
                self.hand_out(key, Turn::Now)
            }
            None => self.next_late(),
        }
    }

    /// Whoever works on a key now sees all that it was to be looked at for.
    fn hand_out(&mut self, key: K, turn: Turn) -> Next<K> {
        self.forget_delay(&key);
        self.working.insert(key.clone());
        Next::Key(key, turn)
    }

    fn next_late(&mut self) -> Next<K> {
        while let Some(key) = self.later.pop_front() {
            if self.late.remove(&key) {
                return self.hand_out(key, Turn::Later);
            }
        }
        Next::Idle(self.delayed.first().map(|(at, _)| *at))
    }

    fn done(&mut self, key: &K) {
        self.working.remove(key);
        if self.dirty.contains(key) {
            self.late.remove(key);
            self.waiting.push_back(key.clone());
        } else if self.late.contains(key) {
            self.later.push_back(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &Queue<u32>) -> Option<u32> {
        match queue.next() {
            Next::Key(key, _) => Some(key),
            Next::Idle(_) => None,
        }
    }

    /// Works on a key, which can then wait.
    fn put_off(queue: &Queue<u32>, key: u32) {
        queue.add(key);
        assert_eq!(take(queue), Some(key));
        queue.add_later(key);
        queue.done(&key);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_worked_on_once() {
        let queue = Queue::new();
        queue.add(1);
        queue.add(1);
        assert_eq!(take(&queue), Some(1));
        assert_eq!(take(&queue), None);
        queue.add(1);
        assert_eq!(take(&queue), None, "a worker has it");
        queue.done(&1);
        assert_eq!(take(&queue), Some(1));
        queue.done(&1);
        assert_eq!(take(&queue), None);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_delays_the_earliest_counts() {
        let queue = Queue::new();
        queue.add_after(1, Duration::from_secs(5));
        queue.add_after(1, Duration::from_secs(2));
        queue.add_after(1, Duration::from_secs(9));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(take(&queue), Some(1));
        queue.done(&1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(take(&queue), None);
    }

    #[tokio::test(start_paused = true)]
    async fn adding_now_makes_a_delay_void() {
        let queue = Queue::new();
        queue.add_after(1, Duration::from_secs(5));
        queue.add(1);
        assert_eq!(take(&queue), Some(1));
        queue.done(&1);
        assert!(queue.is_idle(Duration::from_secs(60)));
    }

    /// It was added, and then once more for later, before a worker came to it.
    #[tokio::test(start_paused = true)]
    async fn a_look_makes_those_planned_before_it_void() {
        let queue = Queue::new();
        queue.add(1);
        assert_eq!(take(&queue), Some(1));
        queue.add(1);
        queue.add_after(1, Duration::from_secs(5));
        queue.done(&1);
        assert_eq!(take(&queue), Some(1));
        queue.done(&1);
        assert!(queue.is_idle(Duration::from_secs(60)));
        queue.add(1);
        assert_eq!(take(&queue), Some(1));
        queue.add_after(1, Duration::from_secs(5));
        queue.done(&1);
        assert!(!queue.is_idle(Duration::from_secs(60)), "this one was planned since");
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_gives_way() {
        let queue = Queue::new();
        put_off(&queue, 1);
        put_off(&queue, 2);
        queue.add(3);
        assert_eq!(queue.len(), 3);
        assert_eq!(take(&queue), Some(3));
        assert!(matches!(queue.next(), Next::Key(1, Turn::Later)));
        assert!(matches!(queue.next(), Next::Key(2, Turn::Later)));
        assert_eq!(take(&queue), None);
        [1, 2, 3].iter().for_each(|key| queue.done(key));
        assert!(queue.is_idle(Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_waits_once() {
        let queue = Queue::new();
        put_off(&queue, 1);
        queue.add(1);
        assert!(matches!(queue.next(), Next::Key(1, Turn::Now)), "it waits no longer");
        assert_eq!(take(&queue), None);
        queue.add_later(1);
        queue.add(1);
        queue.done(&1);
        assert!(matches!(queue.next(), Next::Key(1, Turn::Now)), "something changed meanwhile");
        queue.done(&1);
        assert_eq!(take(&queue), None);
        put_off(&queue, 1);
        queue.add(1);
        assert_eq!(take(&queue), Some(1));
        queue.add_later(1);
        queue.done(&1);
        assert!(matches!(queue.next(), Next::Key(1, Turn::Later)));
        queue.done(&1);
        assert_eq!(take(&queue), None, "though it stood there twice");
        assert!(queue.is_idle(Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_seven_minutes_and_start_over() {
        let queue = Queue::new();
        let pauses: Vec<u64> = (0..12)
            .map(|_| {
                let pause = queue.retry(1).as_secs();
                queue.add(1);
                take(&queue);
                queue.done(&1);
                pause
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 420, 420, 420]);
        queue.succeeded(&1);
        assert_eq!(queue.retry(1).as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_failures_is_spread() {
        let queue = Queue::new();
        let pauses: Vec<_> = (0..300).map(|key| queue.retry(key)).collect();
        assert_eq!(pauses[0], Duration::from_secs(1));
        assert!(pauses[299] >= Duration::from_secs(15), "{:?}", pauses[299]);
    }
}
