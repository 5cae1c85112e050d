//! What programs in workspaces say about activity.

use jiff::Timestamp;
use serde::Deserialize;

use super::Seen;

/// The clock of a program in a workspace may differ from ours by this before its times are read by
/// its own.
const SKEW: i64 = 60_000;
/// The longest piece of an answer that is shown.
const SHOWN: usize = 64;

/// What Jupyter says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Last active then, in ms since 1970 by our clock.
    pub last_activity: i64,
    /// How many kernels it runs.
    pub kernels: u64,
}

/// Reads the answer to `api/status`; `date` is what its server's clock showed when ours showed `now`.
pub fn status(body: &[u8], date: Option<i64>, now: i64) -> Result<Status, String> {
    #[derive(Deserialize)]
    struct Body {
        last_activity: String,
        #[serde(default)]
        kernels: u64,
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| format!("bad body: {error}"))?;
    let time = timestamp(&body.last_activity)?;
    let ahead = date.map_or(0, |date| now.saturating_sub(date));
    let last_activity =
        if ahead.saturating_abs() > SKEW { time.saturating_add(ahead) } else { time };
    Ok(Status { last_activity, kernels: body.kernels })
}

/// Whether one of the kernels in the answer to `api/kernels` works on something: a long computation
/// says nothing until it is done.
pub fn busy_kernels(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Kernel {
        #[serde(default)]
        execution_state: Option<String>,
    }
    let kernels: Vec<Kernel> =
        serde_json::from_slice(body).map_err(|error| format!("bad list of kernels: {error}"))?;
    Ok(kernels.iter().any(|kernel| kernel.execution_state.as_deref() == Some("busy")))
}

/// Reads what a script wrote. Nothing at all, or nothing known, means that the workspace is active.
pub fn exec_output(output: &[u8]) -> Result<Seen, String> {
    #[derive(Deserialize)]
    struct Output {
        has_activity: Option<bool>,
        last_activity: Option<String>,
    }
    if output.trim_ascii().is_empty() {
        return Ok(Seen::Now);
    }
    // Maps only: serde would take a list for a struct.
    let object: serde_json::Map<_, _> =
        serde_json::from_slice(output).map_err(|error| format!("bad output: {error}"))?;
    let output: Output =
        serde_json::from_value(object.into()).map_err(|error| format!("bad output: {error}"))?;
    match (output.has_activity, output.last_activity) {
        (Some(true), _) | (None, None) => Ok(Seen::Now),
        (Some(false), _) => Ok(Seen::NothingNew),
        (None, Some(time)) => timestamp(&time).map(Seen::At),
    }
}

fn timestamp(text: &str) -> Result<i64, String> {
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.as_millisecond()),
        Err(_) => {
            let shown: String = text.chars().take(SHOWN).collect();
            Err(format!("last_activity {shown:?} is no RFC 3339 time"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const NOON: &str = "2026-11-21T12:00:00.5Z";
    const NOON_MS: i64 = 1_795_262_400_500;

    fn body(time: &str) -> Vec<u8> {
        format!(r#"{{"connections": 1, "kernels": 2, "last_activity": "{time}"}}"#).into_bytes()
    }

    #[test]
    fn jupyter_tells_its_last_activity() {
        let expected = Status { last_activity: NOON_MS, kernels: 2 };
        assert_eq!(status(&body(NOON), None, 0).unwrap(), expected);
        // A second of difference is how clocks are.
        assert_eq!(status(&body(NOON), Some(NOON_MS), NOON_MS + 1000).unwrap(), expected);
        let offset = status(&body("2026-11-21T13:00:00.5+01:00"), None, 0).unwrap();
        assert_eq!(offset, expected);
    }

    #[test]
    fn a_server_whose_clock_is_wrong_is_read_by_its_own() {
        let (hour, day) = (3_600_000, 86_400_000);
        // Active an hour ago, by a clock that is a day behind.
        let read = status(&body(NOON), Some(NOON_MS + hour), NOON_MS + hour + day).unwrap();
        assert_eq!(read.last_activity, NOON_MS + day);
        let read = status(&body(NOON), Some(NOON_MS + hour), NOON_MS + hour - day).unwrap();
        assert_eq!(read.last_activity, NOON_MS - day);
    }

    #[rstest]
    #[case::empty("")]
    #[case::page("<html>")]
    #[case::no_time("{}")]
    #[case::null(r#"{"last_activity": null}"#)]
    #[case::number(r#"{"last_activity": 12}"#)]
    #[case::local(r#"{"last_activity": "2026-11-21 12:00"}"#)]
    fn other_answers_are_failures(#[case] body: &str) {
        status(body.as_bytes(), None, 0).unwrap_err();
    }

    #[rstest]
    #[case::none("[]", false)]
    #[case::idle(r#"[{"execution_state": "idle"}, {}]"#, false)]
    #[case::busy(r#"[{"execution_state": "idle"}, {"execution_state": "busy"}]"#, true)]
    fn kernels_work_or_not(#[case] body: &str, #[case] busy: bool) {
        assert_eq!(busy_kernels(body.as_bytes()).unwrap(), busy);
        busy_kernels(b"{}").unwrap_err();
    }

    #[rstest]
    #[case::nothing("", Seen::Now)]
    #[case::blanks(" \n", Seen::Now)]
    #[case::empty("{}", Seen::Now)]
    #[case::unknown(r#"{"other": 1}"#, Seen::Now)]
    #[case::active(r#"{"has_activity": true}"#, Seen::Now)]
    #[case::idle(r#"{"has_activity": false}"#, Seen::NothingNew)]
    #[case::time(r#"{"last_activity": "2026-11-21T12:00:00.5Z"}"#, Seen::At(NOON_MS))]
    #[case::both(r#"{"has_activity": false, "last_activity": "x"}"#, Seen::NothingNew)]
    fn scripts_tell(#[case] output: &str, #[case] seen: Seen) {
        assert_eq!(exec_output(output.as_bytes()).unwrap(), seen);
    }

    #[rstest]
    #[case::text("hello")]
    #[case::list("[]")]
    #[case::list_of_fields("[true, null]")]
    #[case::number("1")]
    #[case::two("{}{}")]
    #[case::word(r#"{"has_activity": "yes"}"#)]
    #[case::bad_time(r#"{"last_activity": "yesterday"}"#)]
    fn other_output_is_a_failure(#[case] output: &str) {
        exec_output(output.as_bytes()).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_answer_panics(
            body in prop::collection::vec(any::<u8>(), 0..200), time in "\\PC{0,80}",
            date in any::<Option<i64>>(), now in any::<i64>(),
        ) {
            let _ = (status(&body, date, now), busy_kernels(&body), exec_output(&body));
            let text = serde_json::json!({"last_activity": time}).to_string();
            if let Err(why) = status(text.as_bytes(), date, now) {
                prop_assert!(why.len() < 1024);
            }
            let _ = status(self::body(NOON).as_slice(), date, now);
        }
    }
}
