//! What is counted: requests per endpoint, notifications per target, how long things took. The text
//! for Prometheus is made in [`crate::admin`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

/// All counts of one server.
#[derive(Debug)]
pub struct Meters {
    endpoints: Mutex<BTreeMap<String, Arc<EndpointMeter>>>,
    targets: Mutex<BTreeMap<String, Arc<TargetMeter>>>,
    /// How long requests took, in microseconds.
    pub requests: Histogram<12>,
    /// How long bodies were, in bytes.
    pub bodies: Histogram<8>,
    /// Whether the configuration that was read last is in use.
    pub reloaded: AtomicBool,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            endpoints: Mutex::default(),
            targets: Mutex::default(),
            requests: Histogram::times(),
            bodies: Histogram::new([
                256,
                1 << 10,
                4 << 10,
                16 << 10,
                64 << 10,
                256 << 10,
                1 << 20,
                4 << 20,
            ]),
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
    /// How long attempts took, in microseconds.
    pub attempts: Histogram<12>,
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
        let new =
            || Arc::new(TargetMeter { results: Counts::default(), attempts: Histogram::times() });
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

/// How often values were at most so big.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: [u64; N],
    counts: [AtomicU64; N],
    total: AtomicU64,
    sum: AtomicU64,
}

impl Histogram<12> {
    /// For times in microseconds, from a tenth of a millisecond to half a minute.
    fn times() -> Self {
        Self::new([
            100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000,
            10_000_000, 30_000_000,
        ])
    }

    /// Notes a time.
    pub fn took(&self, time: Duration) {
        self.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [u64; N]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, total: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Notes a value.
    pub fn note(&self, value: u64) {
        if let Some(index) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[index].fetch_add(1, Ordering::Relaxed);
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Each bound with how many values were at most that, then how many there were, then their sum.
    pub fn read(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let mut below = 0;
        let buckets = self.bounds.iter().zip(&self.counts).map(|(bound, count)| {
            below += count.load(Ordering::Relaxed);
            (*bound, below)
        });
        let buckets = buckets.collect();
        (buckets, self.total.load(Ordering::Relaxed), self.sum.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_each_bound() {
        let histogram = Histogram::new([10, 100]);
        [5, 10, 11, 1000].into_iter().for_each(|value| histogram.note(value));
        assert_eq!(histogram.read(), (vec![(10, 2), (100, 3)], 4, 1026));
    }

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
