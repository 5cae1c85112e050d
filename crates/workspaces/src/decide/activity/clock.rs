//! Clocks that jump.

/// A jump smaller than this is one of the small steps by which clocks are kept right.
const STEP: i64 = 5_000;

/// What time it is, in ms since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Now.
    pub now: i64,
    /// Since then the clock went as time does; 0 if it never was seen to do otherwise.
    pub even_since: i64,
}

/// Notices when the clock jumps, by a second one that only counts.
///
/// A machine that slept is the same: its users could not be active.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steady {
    last: Option<(i64, i64)>,
    even_since: i64,
}

impl Steady {
    /// Takes in what both clocks show, in ms.
    pub fn look(&mut self, now: i64, uptime: i64) -> Clock {
        if let Some((then, counted)) = self.last.replace((now, uptime)) {
            let (shown, passed) = (now.saturating_sub(then), uptime.saturating_sub(counted));
            // Counters drift too, by less than a thousandth.
            let allowed = STEP.saturating_add(passed / 1000);
            if shown.saturating_sub(passed).saturating_abs() > allowed {
                self.even_since = now;
            }
        }
        Clock { now, even_since: self.even_since }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jumps_are_seen_both_ways() {
        let mut steady = Steady::default();
        assert_eq!(steady.look(1_000_000, 10), Clock { now: 1_000_000, even_since: 0 });
        assert_eq!(steady.look(1_060_000, 60_010).even_since, 0);
        // Set right by a moment.
        assert_eq!(steady.look(1_063_000, 61_010).even_since, 0);
        let ahead = 1_063_000 + 86_400_000;
        assert_eq!(steady.look(ahead, 62_010).even_since, ahead);
        assert_eq!(steady.look(ahead + 1000, 63_010).even_since, ahead);
        assert_eq!(steady.look(2_000_000, 64_010).even_since, 2_000_000);
    }

    proptest! {
        #[test]
        fn no_clock_panics(times in prop::collection::vec((any::<i64>(), any::<i64>()), 0..8)) {
            let mut steady = Steady::default();
            for (now, uptime) in times {
                let clock = steady.look(now, uptime);
                prop_assert!(clock.even_since == 0 || clock.even_since <= now || steady.last.is_some());
            }
        }

        #[test]
        fn a_clock_that_runs_is_even(start in 0..1_i64 << 50, steps in prop::collection::vec(0..1_i64 << 32, 0..20)) {
            let mut steady = Steady::default();
            let mut at = 0;
            steady.look(start, at);
            for step in steps {
                at += step;
                // A thousandth too fast.
                prop_assert_eq!(steady.look(start + at, at).even_since, 0);
            }
        }
    }
}
