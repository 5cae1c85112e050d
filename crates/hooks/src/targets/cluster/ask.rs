//! Asking a controller of Flux to look again, by the time of the request in an annotation. Any other
//! value does, but it never moves backwards: a later time says that this was seen as well.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use kube::{Api, core::ObjectMeta};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{REQUESTED, patch};

/// How often an object is looked at again that somebody else changes meanwhile.
const AGAIN: usize = 5;

/// The time as those who are asked compare it: later ones are greater.
pub(super) fn text(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Asks for an object that was read, with the annotations for a value, and gives the value.
pub(crate) async fn ask<K>(
    api: &Api<K>,
    mut metadata: ObjectMeta,
    annotations: impl Fn(&str) -> Value,
) -> Result<String, kube::Error>
where
    K: Clone + fmt::Debug + DeserializeOwned + kube::Resource,
{
    let mut left = AGAIN;
    loop {
        let present = metadata.annotations.as_ref().and_then(|all| all.get(REQUESTED));
        let value = next(present.map(String::as_str), Timestamp::now());
        let name = metadata.name.clone().unwrap_or_default();
        let change = json!({"metadata": {
            "resourceVersion": metadata.resource_version,
            "annotations": annotations(&value),
        }});
        match patch(api, &name, change).await {
            Err(error) if cluster::error::is_conflict(&error) && left > 0 => left -= 1,
            patched => return patched.map(|()| value),
        }
        metadata = api.get(&name).await?.meta().clone();
    }
}

/// The value that follows the present one: now, unless that is later, as that of a fast clock.
fn next(present: Option<&str>, now: Timestamp) -> String {
    let after = |time: Timestamp| time.checked_add(SignedDuration::from_nanos(1)).ok();
    let present = present.and_then(|text| text.parse().ok()).and_then(after);
    text(present.map_or(now, |present| present.max(now)))
}

/// Whether a controller that has seen one value has seen this one.
pub(super) fn covers(seen: &str, asked: &str) -> bool {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    seen == asked || time(seen).zip(time(asked)).is_some_and(|(seen, asked)| seen >= asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(None, "2025-01-01T10:00:00.000000000Z")]
    #[case(Some("soon"), "2025-01-01T10:00:00.000000000Z")]
    #[case(Some("2025-01-01T09:00:00Z"), "2025-01-01T10:00:00.000000000Z")]
    #[case(Some("2025-01-01T10:00:00Z"), "2025-01-01T10:00:00.000000001Z")]
    #[case(Some("2025-01-01T11:30:00.5+01:00"), "2025-01-01T10:30:00.500000001Z")]
    #[case(Some("9999-12-30T22:00:00.999999999Z"), "2025-01-01T10:00:00.000000000Z")]
    fn values_are_new_and_only_grow(#[case] present: Option<&str>, #[case] expected: &str) {
        assert_eq!(next(present, "2025-01-01T10:00:00Z".parse().unwrap()), expected);
    }

    #[test]
    fn later_requests_cover_earlier_ones() {
        let asked = "2025-01-01T10:00:00.000000001Z";
        assert!(covers(asked, asked) && covers("x", "x"));
        assert!(covers("2025-01-01T12:00:01+02:00", asked));
        assert!(
            !covers("2025-01-01T10:00:00Z", asked) && !covers("2025-01-01T11:00:00+02:00", asked)
        );
        assert!(!covers("soon", asked) && !covers("", asked));
    }
}
