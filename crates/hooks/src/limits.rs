//! What keeps strangers from using more than their share: token buckets, a budget for bodies, and
//! the network ranges that settings are written in.

use std::{
    collections::HashMap,
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Deserialize;

/// How often something may happen: steadily, and at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Steadily, per second.
    pub per_second: f64,
    /// At once.
    pub burst: f64,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Level {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }

    /// How long until there is a whole token.
    fn wait(&self, rate: Rate) -> Option<Duration> {
        let missing = 1.0 - self.tokens;
        (missing > 0.0).then(|| {
            Duration::try_from_secs_f64(missing / rate.per_second).unwrap_or(Duration::MAX)
        })
    }
}

/// One bucket, shared.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    level: Mutex<Level>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self { rate, level: Mutex::new(Level::full(rate, Instant::now())) }
    }

    /// How often it gives a token steadily.
    pub fn per_minute(&self) -> u64 {
        // Rounded down; rates are small and never negative.
        Duration::try_from_secs_f64(self.rate.per_second * 60.0).map_or(u64::MAX, |d| d.as_secs())
    }

    /// Takes one token, or says how long until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Result<(), Duration> {
        let mut level = self.level.lock();
        level.fill(self.rate, now);
        match level.wait(self.rate) {
            Some(wait) => Err(wait),
            None => {
                level.tokens -= 1.0;
                Ok(())
            }
        }
    }
}

/// Who failed how often: one bucket per address, emptied by failures only.
#[derive(Debug)]
pub struct Failures {
    rate: Rate,
    exempt: Vec<Network>,
    levels: Mutex<HashMap<IpAddr, Level>>,
}

/// How many addresses are remembered. Beyond it the ones that are nearly innocent are forgotten.
const MAX_ADDRESSES: usize = 20_000;

impl Failures {
    /// Nobody has failed yet.
    pub fn new(rate: Rate, exempt: Vec<Network>) -> Self {
        Self { rate, exempt, levels: Mutex::default() }
    }

    /// Whether an address is free of limits.
    pub fn exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(address))
    }

    /// How long an address must wait because of its failures.
    pub fn wait(&self, address: IpAddr) -> Option<Duration> {
        let mut levels = self.levels.lock();
        let level = levels.get_mut(&address)?;
        level.fill(self.rate, Instant::now());
        level.wait(self.rate)
    }

    /// Counts a failure.
    pub fn count(&self, address: IpAddr) {
        if self.exempt(address) {
            return;
        }
        let now = Instant::now();
        let mut levels = self.levels.lock();
        if levels.len() >= MAX_ADDRESSES && !levels.contains_key(&address) {
            let half = self.rate.burst / 2.0;
            levels.retain(|_, level| {
                level.fill(self.rate, now);
                level.tokens < half
            });
            if levels.len() >= MAX_ADDRESSES {
                levels.clear();
            }
        }
        let level = levels.entry(address).or_insert_with(|| Level::full(self.rate, now));
        level.fill(self.rate, now);
        level.tokens = (level.tokens - 1.0).max(0.0);
    }
}

/// How many bytes of bodies may be in memory at once.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// An unused budget.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// A share of nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

/// A part of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Grows to at least this many bytes, unless the budget is used up.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if used.saturating_add(more) > self.budget.limit {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A range of addresses, `10.0.0.0/8`; a single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The loopback ranges.
    pub fn loopback() -> Vec<Self> {
        ["127.0.0.0/8", "::1"].iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                let cut = |bits: u32| bits.checked_shr(shift).unwrap_or(0);
                cut(network.to_bits()) == cut(address.to_bits())
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                let cut = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
                cut(network.to_bits()) == cut(address.to_bits())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("\"{text}\" is no address range");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(Rate { per_second: 2.0, burst: 3.0 });
        let start = Instant::now();
        let at = |ms| bucket.take_at(start + Duration::from_millis(ms)).is_ok();
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(600), at(600), at(1200)], [true, false, true]);
    }

    #[test]
    fn failures_are_counted_per_address_and_not_for_the_exempt() {
        let failures = Failures::new(Rate { per_second: 0.01, burst: 2.0 }, Network::loopback());
        let (here, there): (IpAddr, IpAddr) =
            ("127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for _ in 0..3 {
            failures.count(here);
            failures.count(there);
        }
        assert!(failures.wait(here).is_none());
        assert!(failures.wait(there).is_some());
        assert!(failures.wait("192.0.2.2".parse().unwrap()).is_none());
    }

    #[test]
    fn memory_for_addresses_is_bounded() {
        let failures = Failures::new(Rate { per_second: 0.01, burst: 60.0 }, Vec::new());
        for bits in 0..50_000_u32 {
            failures.count(IpAddr::V4(bits.into()));
        }
        assert!(failures.levels.lock().len() <= MAX_ADDRESSES);
    }

    #[test]
    fn a_budget_is_given_back() {
        let budget = Budget::new(10);
        let mut one = budget.share();
        assert!(one.grow_to(6) && one.grow_to(8) && one.grow_to(3));
        let mut two = budget.share();
        assert!(!two.grow_to(3));
        drop(one);
        assert!(two.grow_to(10));
    }

    #[rstest::rstest]
    #[case("10.0.0.0/8", "10.1.2.3", true)]
    #[case("10.0.0.0/8", "11.1.2.3", false)]
    #[case("10.0.0.0/8", "::ffff:10.1.2.3", true)]
    #[case("0.0.0.0/0", "1.2.3.4", true)]
    #[case("0.0.0.0/0", "::2", false)]
    #[case("::/0", "::2", true)]
    #[case("fd00::/8", "fd12::1", true)]
    #[case("1.2.3.4", "1.2.3.5", false)]
    fn networks_contain(#[case] network: Network, #[case] address: IpAddr, #[case] inside: bool) {
        assert_eq!(network.contains(address), inside);
    }

    #[test]
    fn odd_networks_are_refused() {
        for text in ["", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "::/129", "1.2.3.4/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
