//! How long a container that keeps ending waits for its next start.

use std::time::Duration;

/// The limits of the waiting.
#[derive(Clone, Copy, Debug)]
pub struct BackoffLimits {
    /// The wait after the second end; it doubles from there.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// A run at least this long makes the next wait the first again.
    pub forgiven_after: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            forgiven_after: Duration::from_secs(600),
        }
    }
}

/// The waiting of one container.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// A run that lasted this long ended: how long to wait now. The first restart is at once.
    pub(crate) fn after(&mut self, limits: &BackoffLimits, run: Duration) -> Duration {
        if run >= limits.forgiven_after {
            self.next = None;
        }
        let wait = self.next.unwrap_or_default();
        let doubled = self.next.map_or(limits.first, |next| next.saturating_mul(2));
        self.next = Some(doubled.min(limits.longest));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit_and_forgives_a_long_run() {
        let limits = BackoffLimits::default();
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u64> = (0..8).map(|_| backoff.after(&limits, short).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.after(&limits, Duration::from_secs(600)), Duration::ZERO);
        assert_eq!(backoff.after(&limits, short), Duration::from_secs(10));
    }
}
