//! When a failed notification is made again (contract §3.2).

use std::time::Duration;

use crate::targets::Failure;

/// How often a target that turns us away is asked.
const UNWELCOME_ATTEMPTS: u32 = 5;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one, after this long.
    Retry(Duration),
    /// None.
    Dead,
}

/// The pauses before the second, third, … attempt.
pub fn default_steps() -> Vec<Duration> {
    [5, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600].map(Duration::from_secs).to_vec()
}

/// What follows the failure of attempt number `attempts`, counted from 1. `luck` lies between 0
/// and 1 and spreads the attempts of many over ±20 %.
pub fn after(failure: &Failure, attempts: u32, steps: &[Duration], luck: f64) -> Next {
    let wanted = match failure {
        Failure::Permanent(_) => return Next::Dead,
        Failure::Unwelcome(_) if attempts >= UNWELCOME_ATTEMPTS => return Next::Dead,
        Failure::Transient { retry_after, .. } => *retry_after,
        Failure::Unwelcome(_) | Failure::TimedOut => None,
    };
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(&step) = steps.get(index) else { return Next::Dead };
    let pause = match wanted {
        Some(wanted) => wanted.clamp(step, step * 2),
        None => step.mul_f64(0.8 + 0.4 * luck.clamp(0.0, 1.0)),
    };
    Next::Retry(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Next {
        Next::Retry(Duration::from_secs(seconds))
    }

    #[test]
    fn attempts_follow_the_steps_and_end() {
        let steps = default_steps();
        let next = |attempts| after(&Failure::TimedOut, attempts, &steps, 0.5);
        assert_eq!(
            [next(1), next(2), next(9), next(10)],
            [secs(5), secs(30), secs(43200), Next::Dead]
        );
        assert_eq!(after(&Failure::TimedOut, 1, &steps, 0.0), secs(4));
        assert_eq!(after(&Failure::TimedOut, 1, &steps, 1.0), secs(6));
    }

    #[test]
    fn targets_say_when_within_reason() {
        let steps = default_steps();
        let told = |seconds| Failure::Transient {
            why: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(after(&told(1), 1, &steps, 0.0), secs(5));
        assert_eq!(after(&told(7), 1, &steps, 0.0), secs(7));
        assert_eq!(after(&told(9999), 1, &steps, 0.0), secs(10));
    }

    #[test]
    fn some_failures_are_final() {
        let steps = default_steps();
        let unwelcome = Failure::Unwelcome(String::new());
        assert_ne!(after(&unwelcome, 4, &steps, 0.5), Next::Dead);
        assert_eq!(after(&unwelcome, 5, &steps, 0.5), Next::Dead);
        assert_eq!(after(&Failure::Permanent(String::new()), 1, &steps, 0.5), Next::Dead);
    }
}
