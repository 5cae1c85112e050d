use ProbeResult::{Failure, Success, Timeout};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
/// When the last probe was.
const THEN: i64 = 1_000 * HOUR;

fn probe() -> ActivityProbe {
    serde_json::from_value(json!({"jupyter": {"lastActivity": true, "portId": "web"}})).unwrap()
}

fn after(seconds: i32) -> ActivityRuleConfig {
    ActivityRuleConfig { seconds_since_active: seconds, min_running_seconds: 0 }
}

fn probed(result: ProbeResult, active: i64) -> Activity {
    Activity {
        last_activity: active,
        last_update: if result == Success { THEN + SECOND } else { 0 },
        last_probe: Some(ProbeReport {
            start_time: THEN,
            end_time: THEN + SECOND,
            result,
            message: String::new(),
        }),
        rules: None,
    }
}

fn subject<'a>(
    activity: &'a Activity,
    probe: &'a ActivityProbe,
    rule: Option<&'a ActivityRuleConfig>,
    now: i64,
) -> Subject<'a> {
    let clock = Clock { now, even_since: 0 };
    Subject { activity, running_since: 1, kept_alive: 0, probe, rule, spread: 0, clock }
}

/// When the next probe is, after [`THEN`].
fn due(activity: &Activity, rule: Option<&ActivityRuleConfig>, now: i64) -> i64 {
    let wait = subject(activity, &probe(), rule, now).probe_in();
    now + i64::try_from(wait.as_millis()).unwrap() - THEN
}

#[rstest]
#[case::success(Success, 3600)]
#[case::failure(Failure, 300)]
#[case::timeout(Timeout, 300)]
fn a_result_tells_when_to_probe_again(#[case] result: ProbeResult, #[case] seconds: i64) {
    let activity = probed(result, THEN - SECOND);
    assert_eq!(due(&activity, None, THEN + 10), seconds * SECOND);
    let late = THEN + 2 * HOUR;
    assert_eq!(subject(&activity, &probe(), None, late).probe_in(), Duration::ZERO);
}

#[test]
fn the_first_probe_is_now() {
    let never = Activity::default();
    assert_eq!(subject(&never, &probe(), None, THEN).probe_in(), Duration::ZERO);
    let mut broken = probed(Success, THEN);
    broken.last_probe.as_mut().unwrap().start_time = 0;
    assert_eq!(subject(&broken, &probe(), None, THEN).probe_in(), Duration::ZERO);
}

#[test]
fn probes_are_spread_over_a_twentieth() {
    let activity = probed(Success, THEN);
    let wait = |spread| Subject { spread, ..subject(&activity, &probe(), None, THEN) }.probe_in();
    assert_eq!(wait(0), Duration::from_secs(3600));
    assert!(wait(512) > wait(1) && wait(1023) < Duration::from_secs(3600 + 180));
    assert_eq!(wait(1024), wait(0));
}

#[test]
fn warning_and_pause_get_probes_of_their_own() {
    // Active at the last probe: idle long enough after 2000 s, users are told 500 s before.
    let (rule, activity) = (after(2000), probed(Success, THEN));
    assert_eq!(due(&activity, Some(&rule), THEN), 1500 * SECOND);
    // Told already: next is the pause.
    let told = probed(Success, THEN - 1500 * SECOND);
    assert_eq!(due(&told, Some(&rule), THEN), 500 * SECOND);
    // Not sooner than probes may be.
    let near = probed(Success, THEN - 1990 * SECOND);
    assert_eq!(due(&near, Some(&rule), THEN), 300 * SECOND);
    // Overdue, because a pause was overtaken or a rule became stricter.
    let overdue = probed(Success, THEN - HOUR);
    assert_eq!(due(&overdue, Some(&rule), THEN), 300 * SECOND);
    // Beyond the next regular probe.
    assert_eq!(due(&activity, Some(&after(80_000)), THEN), HOUR);
}

#[test]
fn what_is_ahead() {
    let rule = ActivityRuleConfig { seconds_since_active: 7200, min_running_seconds: 600 };
    let (activity, probe) = (probed(Success, THEN), probe());
    let of = |running_since, kept_alive, even_since| {
        let now = THEN + SECOND;
        let base = subject(&activity, &probe, Some(&rule), now);
        Subject { running_since, kept_alive, clock: Clock { now, even_since }, ..base }.ahead()
    };
    let at = |pause| Some(Ahead { eligible: THEN + 2 * HOUR, pause, warn: pause - 600 * SECOND });
    assert_eq!(of(1, 0, 0), at(THEN + 2 * HOUR));
    assert_eq!(of(THEN + 2 * HOUR, 0, 0), at(THEN + 2 * HOUR + 600 * SECOND));
    assert_eq!(of(0, 0, 0), None, "nobody knows since when it runs");
    let later = of(1, THEN + SECOND, 0).unwrap();
    assert_eq!(later.eligible, THEN + SECOND + 2 * HOUR, "kept alive");
    assert_eq!(of(1, THEN + HOUR, 0), of(1, 0, 0), "an hour ahead is no request of now");
    assert_eq!(of(1, 0, THEN + SECOND), Some(later), "the clock jumped");
}

#[rstest]
#[case::short(16, 4)]
#[case::long(86_400, 600)]
fn users_are_warned_in_time(#[case] seconds: i32, #[case] before: i64) {
    let (rule, activity) = (after(seconds), probed(Success, THEN));
    let ahead = subject(&activity, &probe(), Some(&rule), THEN).ahead().unwrap();
    assert_eq!(ahead.pause - ahead.warn, before * SECOND);
}

#[test]
fn nothing_is_ahead_without_rule_or_activity() {
    let (rule, never) = (after(100), probed(Success, 0));
    let probe = probe();
    let unknown = subject(&never, &probe, Some(&rule), THEN);
    assert_eq!((unknown.ahead(), unknown.pauses()), (None, false));
    let rules = unknown.rules().unwrap().pause_workspace.unwrap();
    assert_eq!((rules.eligible_after, rules.warn_after), (0, None));
    let active = probed(Success, THEN);
    let free = subject(&active, &probe, None, THEN + 100 * HOUR);
    assert_eq!((free.ahead(), free.rules(), free.pauses()), (None, None, false));
}

#[test]
fn eligibility_is_told_even_if_running_time_is_unknown() {
    let rule = ActivityRuleConfig { seconds_since_active: 100, min_running_seconds: 600 };
    let (activity, probe) = (probed(Success, THEN), probe());
    let base = subject(&activity, &probe, Some(&rule), THEN + HOUR);
    let unknown = Subject { running_since: 0, ..base };
    let rules = unknown.rules().unwrap().pause_workspace.unwrap();
    assert_eq!(rules.eligible_after, THEN + 100 * SECOND);
    assert!(!unknown.pauses());
}

#[test]
fn a_pause_is_due_from_its_moment_on() {
    let (rule, activity, probe) = (after(100), probed(Success, THEN), probe());
    let pauses = |now| subject(&activity, &probe, Some(&rule), now).pauses();
    assert!(!pauses(THEN + 100 * SECOND - 1));
    assert!(pauses(THEN + 100 * SECOND));
}

#[test]
fn users_are_told_what_is_known() {
    let (rule, probe) = (after(2000), probe());
    let notice = |activity: &Activity, now| subject(activity, &probe, Some(&rule), now).notice();
    let idle = probed(Success, THEN - 1600 * SECOND);
    let Some(Notice::Soon(text)) = notice(&idle, THEN + SECOND) else { panic!("no warning") };
    assert!(
        text.contains("1970-02-11T15:33:20Z") && text.contains("1970-02-11T16:06:40Z"),
        "{text}"
    );
    // The last probe was before the warning: it may be in use since.
    assert_eq!(notice(&probed(Success, THEN), THEN + 1900 * SECOND), None);
    assert_eq!(notice(&probed(Success, THEN), THEN + SECOND), None);
    let blind = probed(Failure, THEN - HOUR);
    assert!(matches!(notice(&blind, THEN + SECOND), Some(Notice::Unsure(_))));
    assert_eq!(notice(&probed(Timeout, THEN), THEN + SECOND), None, "nothing is near");
}

#[test]
fn a_clock_that_went_back_probes_now_and_pauses_nobody() {
    let (rule, probe) = (after(100), probe());
    let activity = probed(Success, THEN);
    let day_before = subject(&activity, &probe, Some(&rule), THEN - 24 * HOUR);
    assert_eq!(day_before.probe_in(), Duration::ZERO);
    assert!(!day_before.pauses());
}

fn result(found: Result<Seen, Failed>) -> Activity {
    let mut activity = Activity { last_activity: 7, last_update: 8, ..Activity::default() };
    Probed { what: "Jupyter", start: THEN, end: THEN + 5, found }.record(&mut activity);
    activity
}

#[rstest]
#[case::at(Seen::At(THEN - 1), THEN - 1)]
#[case::now(Seen::Now, THEN + 5)]
#[case::nothing_new(Seen::NothingNew, 7)]
#[case::future(Seen::At(i64::MAX), THEN + 5)]
#[case::before_time(Seen::At(-1), 0)]
fn success_is_recorded(#[case] seen: Seen, #[case] active: i64) {
    let activity = result(Ok(seen));
    assert_eq!((activity.last_activity, activity.last_update), (active, THEN + 5));
    let report = activity.last_probe.unwrap();
    assert_eq!((report.result, &*report.message), (Success, "Jupyter probe succeeded"));
    assert_eq!((report.start_time, report.end_time), (THEN, THEN + 5));
}

#[rstest]
#[case::failure(Failed::Because("no answer".into()), Failure, "Jupyter probe failed: no answer")]
#[case::timeout(
    Failed::Timeout(Duration::from_secs(10)),
    Timeout,
    "Jupyter probe failed: timeout after 10000ms"
)]
fn failure_is_recorded(
    #[case] failed: Failed,
    #[case] expected: ProbeResult,
    #[case] message: &str,
) {
    let activity = result(Err(failed));
    assert_eq!((activity.last_activity, activity.last_update), (7, 8), "what was known is kept");
    let report = activity.last_probe.unwrap();
    assert_eq!((report.result, &*report.message), (expected, message));
}

#[test]
fn a_probe_never_ends_before_it_starts() {
    let mut activity = Activity::default();
    let back = Probed { what: "PodExec", start: THEN, end: THEN - HOUR, found: Ok(Seen::Now) };
    back.record(&mut activity);
    assert_eq!(activity.last_probe.unwrap().end_time, THEN);
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[rstest]
#[case::nothing_matches(&[], &[("size", "s")], Some(3))]
#[case::namespace(&[("tier", "gold")], &[], None)]
#[case::both(&[("team", "a")], &[("gpu", "yes")], Some(2))]
#[case::one_of_both(&[("team", "a")], &[], Some(3))]
fn the_first_rule_that_matches_decides(
    #[case] namespace: &[(&str, &str)],
    #[case] option: &[(&str, &str)],
    #[case] seconds: Option<i32>,
) {
    let selector = |key: &str, value: &str| json!({"selector": {"matchLabels": {key: value}}});
    let rules: Vec<ActivityRule> = serde_json::from_value(json!([
        {"config": {"secondsSinceActive": 9}, "effect": {}},
        {"config": {"secondsSinceActive": 1}, "effect": {"pauseWorkspace": false},
         "match": {"matchNamespace": selector("tier", "gold")}},
        {"config": {"secondsSinceActive": 2}, "effect": {"pauseWorkspace": true},
         "match": {"matchNamespace": selector("team", "a"), "matchPodConfig": selector("gpu", "yes")}},
        {"config": {"secondsSinceActive": 3}, "effect": {"pauseWorkspace": true}},
    ]))
    .unwrap();
    let rule = pausing(&rules, &labels(namespace), &labels(option));
    assert_eq!(rule.map(|rule| rule.seconds_since_active), seconds);
    assert_eq!(pausing(&rules[..1], &labels(namespace), &labels(option)), None);
}

#[test]
fn a_rule_that_cannot_be_read_pauses_nobody() {
    let rules: Vec<ActivityRule> = serde_json::from_value(json!([
        {"config": {"secondsSinceActive": 20}, "effect": {"pauseWorkspace": true}, "match":
         {"matchNamespace": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}},
        {"config": {"secondsSinceActive": 20}, "effect": {"pauseWorkspace": true}},
    ]))
    .unwrap();
    assert_eq!(pausing(&rules, &Labels::new(), &Labels::new()), None);
}

proptest! {
    #[test]
    fn no_numbers_panic_and_pauses_are_due(
        times in prop::array::uniform8(any::<i64>()), seconds in prop::array::uniform4(any::<i32>()),
        spread in any::<u64>(),
    ) {
        let [active, update, start, end, running_since, kept_alive, now, even_since] = times;
        let [interval, least, idle, running] = seconds;
        let mut activity = probed(Success, active);
        activity.last_update = update;
        let last = activity.last_probe.as_mut().unwrap();
        (last.start_time, last.end_time) = (start, end);
        let mut probe = probe();
        (probe.probe_interval_seconds, probe.min_probe_interval_seconds) = (interval, least);
        let rule = ActivityRuleConfig { seconds_since_active: idle, min_running_seconds: running };
        let clock = Clock { now, even_since };
        let subject = Subject {
            activity: &activity, running_since, kept_alive, probe: &probe, rule: Some(&rule), spread,
            clock,
        };
        let _ = (subject.probe_in(), subject.notice(), subject.rules());
        if subject.pauses() {
            prop_assert!(active > 0 && now >= active.saturating_add(millis(idle)));
            prop_assert!(running <= 0 || now >= running_since.saturating_add(millis(running)));
        }
    }
}
