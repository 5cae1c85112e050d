//! Activity: when to probe, what an answer means, which rule fits, when to warn and when to pause.
//!
//! A workspace is paused only on the word of a probe that has just succeeded. All that is unsure
//! counts for the user: time that a clock jumped over is no idle time, and what lies in the future
//! was now.

mod answer;
mod clock;

use std::time::Duration;

use jiff::Timestamp;
use kube::core::{Selector, SelectorExt};
use sha2::{Digest, Sha256};

use super::filter::{Labels, labels};
use crate::model::{
    Activity, ActivityProbe, ActivityRule, ActivityRuleConfig, ActivityRulesStatus,
    PauseEligibility, ProbeReport, ProbeResult, SelectorMatch, Workspace, WorkspaceKind,
    WorkspaceStatus, annotation,
};

pub use answer::{Status, busy_kernels, exec_output, status};
pub use clock::{Clock, Steady};

/// Users are warned this long before a pause at most.
const LONGEST_WARNING: i64 = 10 * 60 * 1000;
/// A keep-alive may be this far ahead of our clock; one further ahead does not count.
const KEEP_ALIVE_AHEAD: i64 = 5 * 60 * 1000;

/// What a probe found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Last active then, in ms since 1970.
    At(i64),
    /// Active now.
    Now,
    /// Not active since the last time it was.
    NothingNew,
}

/// Why a probe found out nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// In words.
    Because(String),
    /// There was no answer within this time.
    Timeout(Duration),
}

/// One probe that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// What kind of probe it is, as messages begin.
    pub what: &'static str,
    /// When it started, in ms since 1970.
    pub start: i64,
    /// When it ended.
    pub end: i64,
    /// What came of it.
    pub found: Result<Seen, Failed>,
}

impl Probed {
    /// Puts it into the status.
    pub fn record(self, activity: &mut Activity) {
        let end = self.end.max(self.start);
        if let Ok(seen) = self.found {
            activity.last_update = end;
            activity.last_activity = match seen {
                Seen::At(time) => time.clamp(0, end),
                Seen::Now => end,
                Seen::NothingNew => activity.last_activity,
            };
        }
        let what = self.what;
        let (result, message) = match self.found {
            Ok(_) => (ProbeResult::Success, format!("{what} probe succeeded")),
            Err(Failed::Because(why)) => {
                (ProbeResult::Failure, format!("{what} probe failed: {why}"))
            }
            Err(Failed::Timeout(after)) => {
                let after = after.as_millis();
                (ProbeResult::Timeout, format!("{what} probe failed: timeout after {after}ms"))
            }
        };
        let report = ProbeReport { start_time: self.start, end_time: end, result, message };
        activity.last_probe = Some(report);
    }
}

/// The rule that pauses a workspace, if one does: the first that matches decides. A rule that cannot
/// be read pauses nobody.
pub fn pausing<'a>(
    rules: &'a [ActivityRule],
    namespace: &Labels,
    pod_option: &Labels,
) -> Option<&'a ActivityRuleConfig> {
    let holds = |part: &Option<SelectorMatch>, labels: &Labels| match part {
        None => Some(true),
        Some(part) => {
            let selector: Selector = part.selector.clone().try_into().ok()?;
            Some(selector.matches(labels))
        }
    };
    for rule in rules {
        let Some(pause) = rule.effect.pause_workspace else { continue };
        let matches = match &rule.matches {
            None => true,
            Some(matches) => {
                holds(&matches.match_namespace, namespace)?
                    && holds(&matches.match_pod_config, pod_option)?
            }
        };
        if matches {
            return pause.then_some(&rule.config);
        }
    }
    None
}

/// A running workspace whose kind has a probe.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What its status says.
    pub activity: &'a Activity,
    /// Since when it runs, in ms since 1970; 0 if unknown.
    pub running_since: i64,
    /// When somebody asked to keep it, in ms since 1970; 0 if nobody did.
    pub kept_alive: i64,
    /// The probe of its kind.
    pub probe: &'a ActivityProbe,
    /// The rule that pauses it.
    pub rule: Option<&'a ActivityRuleConfig>,
    /// Spreads probes: any number that stays the same.
    pub spread: u64,
    /// What time it is.
    pub clock: Clock,
}

/// A workspace as the rules of its kind see it; none if its kind has no probe.
pub fn subject<'a>(
    workspace: &Workspace,
    status: &'a WorkspaceStatus,
    kind: &'a WorkspaceKind,
    namespace: &Labels,
    clock: Clock,
) -> Option<Subject<'a>> {
    let template = &kind.spec.pod_template;
    let chosen = &workspace.spec.pod_template.options.pod_config;
    let option = template.options.pod_config.values.iter().find(|value| value.id == *chosen);
    let option = option.map(|value| labels(&value.spawner.labels)).unwrap_or_default();
    Some(Subject {
        activity: &status.activity,
        running_since: status.last_running_time,
        kept_alive: kept_alive(workspace),
        probe: template.activity_probe.as_ref()?,
        rule: pausing(&kind.spec.activity_rules, namespace, &option),
        spread: spread(workspace),
        clock,
    })
}

/// When somebody asked last to keep a workspace running, in ms since 1970; 0 if nobody did, or not
/// in words that can be read.
pub(super) fn kept_alive(workspace: &Workspace) -> i64 {
    let annotations = workspace.metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get(annotation::KEEP_ALIVE));
    let time = text.and_then(|text| text.parse::<Timestamp>().ok());
    time.map_or(0, |time| time.as_millisecond())
}

/// A number that stays the same for a workspace.
fn spread(workspace: &Workspace) -> u64 {
    let digest = Sha256::digest(workspace.metadata.uid.as_deref().unwrap_or_default());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What is ahead of a workspace if nobody uses it; times in ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// It has been idle for long enough.
    pub eligible: i64,
    /// It has also run for long enough.
    pub pause: i64,
    /// Its users are told.
    pub warn: i64,
}

/// What users are to know about a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It is near.
    Soon(String),
    /// It would be near or due, but nobody knows whether the workspace is used.
    Unsure(String),
}

impl Notice {
    /// In words.
    pub fn text(&self) -> &str {
        match self {
            Self::Soon(text) | Self::Unsure(text) => text,
        }
    }
}

impl Subject<'_> {
    /// What is ahead, if that can be known.
    pub fn ahead(&self) -> Option<Ahead> {
        let rule = self.rule?;
        let active = self.activity.last_activity;
        if active <= 0 {
            return None;
        }
        let kept = match self.kept_alive {
            kept if kept > self.clock.now.saturating_add(KEEP_ALIVE_AHEAD) => 0,
            kept => kept,
        };
        let base = active.max(kept).max(self.clock.even_since);
        let eligible = base.saturating_add(millis(rule.seconds_since_active));
        let ran_enough = match rule.min_running_seconds {
            ..=0 => 0,
            _ if self.running_since <= 0 => return None,
            seconds => {
                self.running_since.max(self.clock.even_since).saturating_add(millis(seconds))
            }
        };
        let pause = eligible.max(ran_enough);
        let warning = (millis(rule.seconds_since_active) / 4).min(LONGEST_WARNING);
        Some(Ahead { eligible, pause, warn: pause.saturating_sub(warning) })
    }

    /// What the status says about rules.
    pub fn rules(&self) -> Option<ActivityRulesStatus> {
        self.rule?;
        let eligibility = match self.ahead() {
            Some(ahead) => PauseEligibility {
                eligible_after: ahead.eligible,
                warn_after: Some(ahead.warn).filter(|warn| *warn > 0),
            },
            // That it can be known when the status says 0 is the contract's way.
            None => PauseEligibility { eligible_after: self.eligible(), warn_after: None },
        };
        Some(ActivityRulesStatus { pause_workspace: Some(eligibility) })
    }

    /// Eligibility alone, also where the time of running is not known.
    fn eligible(&self) -> i64 {
        let running_since = self.running_since.max(1);
        Subject { running_since, ..*self }.ahead().map_or(0, |ahead| ahead.eligible)
    }

    /// In which time to probe; none is now.
    pub fn probe_in(&self) -> Duration {
        let now = self.clock.now;
        let Some(last) = &self.activity.last_probe else { return Duration::ZERO };
        // One that will have been is from before the clock went back.
        if last.start_time <= 0 || last.start_time > now {
            return Duration::ZERO;
        }
        let soonest = last.start_time.saturating_add(millis(self.probe.min_probe_interval_seconds));
        let due = match last.result {
            ProbeResult::Failure | ProbeResult::Timeout => soonest,
            ProbeResult::Success => {
                let interval = millis(self.probe.probe_interval_seconds);
                let regular = last.start_time.saturating_add(interval + self.delay(interval));
                let ahead = self.ahead();
                // Both are worth a look of their own: warnings and pauses want news.
                let warn = ahead.map(|ahead| ahead.warn).filter(|warn| *warn > last.start_time);
                let pause = ahead.map(|ahead| ahead.pause);
                let extra = warn.into_iter().chain(pause).map(|mark| mark.max(soonest));
                extra.fold(regular, i64::min)
            }
        };
        Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0))
    }

    /// Up to a twentieth of the interval, so that not all are probed at once.
    fn delay(&self, interval: i64) -> i64 {
        let share = i64::try_from(self.spread % 1024).unwrap_or(0);
        interval / 20 * share / 1024
    }

    /// Whether to pause it now, right after a probe that succeeded.
    pub fn pauses(&self) -> bool {
        let now = self.clock.now;
        self.ahead().is_some_and(|ahead| now >= ahead.pause)
    }

    /// What users are to know now.
    pub fn notice(&self) -> Option<Notice> {
        let ahead = self.ahead()?;
        let last = self.activity.last_probe.as_ref()?;
        if self.clock.now < ahead.warn {
            return None;
        }
        if last.result != ProbeResult::Success {
            let text = "idle for long by what is known, but not paused while its activity probe \
                        fails";
            return Some(Notice::Unsure(text.to_owned()));
        }
        let (since, pause) = (time(self.activity.last_activity), time(ahead.pause));
        (self.activity.last_update >= ahead.warn).then(|| {
            Notice::Soon(format!("not used since {since}, will be paused at {pause} unless used"))
        })
    }
}

fn millis(seconds: i32) -> i64 {
    i64::from(seconds) * 1000
}

fn time(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
