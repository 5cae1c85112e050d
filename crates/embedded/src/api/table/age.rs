//! Times as tables show them: how long ago, in two or three digits.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long ago a moment of an object is; `<unknown>` if it has none.
pub(super) fn since(moment: Option<&Value>, now: Timestamp) -> String {
    let Some(text) = moment.and_then(Value::as_str) else { return "<unknown>".into() };
    match text.parse::<Timestamp>() {
        Ok(moment) => human(now.duration_since(moment)),
        Err(_) => "<invalid>".into(),
    }
}

/// A length of time with its largest unit, and the next one while that tells something.
pub(super) fn human(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let two = |first: i64, unit: char, second: i64, smaller: char| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{smaller}"),
    };
    if seconds < -1 {
        "<invalid>".into()
    } else if seconds < 0 {
        // Clocks differ a little.
        "0s".into()
    } else if seconds < 2 * 60 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if minutes < 3 * 60 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        two(days, 'd', hours % 24, 'h')
    } else if years < 2 {
        format!("{days}d")
    } else if years < 8 {
        two(years, 'y', days % 365, 'd')
    } else {
        format!("{years}y")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_two_or_three_digits() {
        let minute = 60;
        let (hour, day) = (60 * minute, 24 * 60 * minute);
        for (seconds, shown) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (10 * minute + 5, "10m"),
            (179 * minute, "179m"),
            (180 * minute, "3h"),
            (200 * minute, "3h20m"),
            (8 * hour + 5 * minute, "8h"),
            (47 * hour, "47h"),
            (48 * hour, "2d"),
            (50 * hour, "2d2h"),
            (8 * day + hour, "8d"),
            (729 * day, "729d"),
            (730 * day, "2y"),
            (731 * day, "2y1d"),
            (9 * 365 * day, "9y"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), shown, "{seconds}");
        }
    }

    #[test]
    fn moments_that_are_missing_or_broken_are_named_so() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(since(None, now), "<unknown>");
        assert_eq!(since(Some(&"soon".into()), now), "<invalid>");
        assert_eq!(since(Some(&"1969-12-31T23:59:00Z".into()), now), "60s");
    }
}
