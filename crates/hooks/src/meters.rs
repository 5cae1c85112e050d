//! What is counted: requests per endpoint, notifications per target, how long things took. The text
//! for Prometheus is made in [`crate::admin`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use web::metrics::times;

/// All counts of one server.
#[derive(Debug)]
pub struct Meters {
    endpoints: Mutex<BTreeMap<String, Arc<EndpointMeter>>>,
    targets: Mutex<BTreeMap<String, Arc<TargetMeter>>>,
    /// How long requests took, in seconds.
    pub requests: Histogram,
    /// How long bodies were, in bytes.
    pub bodies: Histogram,
    /// Whether the configuration that was read last is in use.
    pub reloaded: AtomicBool,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            endpoints: Mutex::default(),
            targets: Mutex::default(),
            requests: times(),
            bodies: Histogram::new(exponential_buckets(256.0, 4.0, 8)),
            reloaded: AtomicBool::new(true),
        }
    }
}

/// What one endpoint answered.
#[derive(Debug, Default)]
pub struct EndpointMeter {
    /// By status.
    pub answers: Counts<u16>,
    /// Requests that were turned down, by reason.
    pub rejected: Counts<&'static str>,
    /// Repeats that were not told again.
    pub duplicates: AtomicU64,
    /// Requests of which nothing passed the filters.
    pub filtered: AtomicU64,
    /// When the last accepted one came, in Unix seconds; 0 if none did.
    pub last_accepted: AtomicI64,
    /// Whether an operator switched the endpoint off until the next start.
    pub paused: AtomicBool,
}

/// How attempts at one target ended.
#[derive(Debug)]
pub struct TargetMeter {
    /// By result: `delivered`, `timeout`, `failed`, `refused`.
    pub results: Counts<&'static str>,
    /// How long attempts took, in seconds.
    pub attempts: Histogram,
}

/// How the requests of one endpoint were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// With success.
    pub accepted: u64,
    /// With anything else.
    pub refused: u64,
    /// When the last accepted one came, in Unix seconds; 0 if none did.
    pub last_accepted: i64,
}

impl EndpointMeter {
    /// Counts an answer given at this Unix second.
    pub fn answered(&self, status: u16, now: i64) {
        self.answers.add(status);
        if status < 300 {
            self.last_accepted.store(now, Ordering::Relaxed);
        }
    }

    /// The counts in short.
    pub fn tally(&self) -> Tally {
        let mut tally =
            Tally { last_accepted: self.last_accepted.load(Ordering::Relaxed), ..Tally::default() };
        for (status, count) in self.answers.all() {
            let place = if status < 300 { &mut tally.accepted } else { &mut tally.refused };
            *place += count;
        }
        tally
    }
}

impl Meters {
    /// Other counts beside these, with the same times.
    #[must_use]
    pub fn beside(&self) -> Self {
        let (requests, bodies) = (self.requests.clone(), self.bodies.clone());
        Self { requests, bodies, ..Self::default() }
    }

    /// The counts of the endpoint of this name.
    pub fn endpoint(&self, name: &str) -> Arc<EndpointMeter> {
        let mut all = self.endpoints.lock();
        if let Some(known) = all.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// The counts of the target of this name.
    pub fn target(&self, name: &str) -> Arc<TargetMeter> {
        let mut all = self.targets.lock();
        if let Some(known) = all.get(name) {
            return Arc::clone(known);
        }
        let new = || Arc::new(TargetMeter { results: Counts::default(), attempts: times() });
        Arc::clone(all.entry(name.to_owned()).or_insert_with(new))
    }

    /// All endpoints, by name.
    pub fn endpoints(&self) -> Vec<(String, Arc<EndpointMeter>)> {
        let all = self.endpoints.lock();
        all.iter().map(|(name, meter)| (name.clone(), Arc::clone(meter))).collect()
    }

    /// All targets, by name.
    pub fn targets(&self) -> Vec<(String, Arc<TargetMeter>)> {
        let all = self.targets.lock();
        all.iter().map(|(name, meter)| (name.clone(), Arc::clone(meter))).collect()
    }

    /// Forgets endpoints and targets of other names.
    pub fn retain(&self, endpoints: &BTreeSet<String>, targets: &BTreeSet<&str>) {
        self.endpoints.lock().retain(|name, _| endpoints.contains(name));
        self.targets.lock().retain(|name, _| targets.contains(name.as_str()));
    }
}

/// How often each of a few things happened.
#[derive(Debug)]
pub struct Counts<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// One more.
    pub fn add(&self, key: K) {
        *self.0.lock().entry(key).or_default() += 1;
    }

    /// All counts.
    pub fn all(&self) -> Vec<(K, u64)> {
        self.0.lock().iter().map(|(key, count)| (*key, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_success_or_not_and_names_are_forgotten() {
        let meters = Meters::default();
        let meter = meters.endpoint("a");
        meter.answered(202, 7);
        meter.answered(401, 8);
        let tally = Tally { accepted: 1, refused: 1, last_accepted: 7 };
        assert_eq!(meters.endpoint("a").tally(), tally);
        meters.retain(&BTreeSet::new(), &BTreeSet::new());
        assert_eq!(meters.endpoint("a").tally(), Tally::default());
    }
}
