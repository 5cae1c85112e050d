//! What a delivery that was seen before means (contract §3.3).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an endpoint does with repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Every valid request counts.
    Allow,
    /// A repeat of what was delivered lately is answered and not told again.
    #[default]
    Suppress,
    /// A repeat of what was delivered is refused.
    Reject,
}

/// An endpoint's rules for repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// What is done.
    pub policy: Policy,
    /// How long a repeat is taken for the sender's own retry.
    pub window: Duration,
    /// How long a repeat is refused.
    pub retention: Duration,
}

impl Replay {
    /// This policy with the default times.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            window: Duration::from_secs(300),
            retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// The earlier delivery of the same id and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// Whether all its notifications were made.
    pub delivered: bool,
    /// How long ago it came.
    pub age: Duration,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is worked on.
    Process,
    /// What is left of the earlier one is worked on.
    Resume,
    /// It is answered as the first time.
    Duplicate,
    /// It is refused.
    Refuse,
}

/// Decides by what became of the earlier delivery.
pub fn verdict(replay: &Replay, earlier: Option<Earlier>) -> Verdict {
    let Some(Earlier { delivered, age }) = earlier else { return Verdict::Process };
    match replay.policy {
        Policy::Suppress | Policy::Reject if !delivered => Verdict::Resume,
        Policy::Suppress if age < replay.window => Verdict::Duplicate,
        Policy::Reject if age < replay.retention => Verdict::Refuse,
        Policy::Allow | Policy::Suppress | Policy::Reject => Verdict::Process,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(Policy::Allow, true, 1, Verdict::Process)]
    #[case(Policy::Suppress, true, 299, Verdict::Duplicate)]
    #[case(Policy::Suppress, true, 300, Verdict::Process)]
    #[case(Policy::Allow, false, 1, Verdict::Process)]
    #[case(Policy::Suppress, false, 1, Verdict::Resume)]
    #[case(Policy::Reject, true, 1, Verdict::Refuse)]
    #[case(Policy::Reject, true, 29 * 86400, Verdict::Refuse)]
    #[case(Policy::Reject, true, 31 * 86400, Verdict::Process)]
    #[case(Policy::Reject, false, 1, Verdict::Resume)]
    fn repeats_are_judged(
        #[case] policy: Policy,
        #[case] delivered: bool,
        #[case] seconds: u64,
        #[case] expected: Verdict,
    ) {
        let earlier = Some(Earlier { delivered, age: Duration::from_secs(seconds) });
        assert_eq!(verdict(&Replay::new(policy), earlier), expected);
        assert_eq!(verdict(&Replay::new(policy), None), Verdict::Process);
    }
}
