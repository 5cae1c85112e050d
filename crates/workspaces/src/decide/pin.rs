//! The digest that a workspace is pinned to, and when a new one may end what runs.

use super::activity::{self, Clock};
use crate::model::{Activity, ProbeResult, Workspace, annotation};

/// For so long nobody must have used a workspace before another digest ends what runs in it.
const UNUSED: i64 = 15 * 60 * 1000;
/// For so long a probe counts as the truth.
const FRESH: i64 = 30 * 1000;
/// The longest repository name.
const MAX_REPOSITORY: usize = 255;
/// The longest tag.
const MAX_TAG: usize = 128;

/// A pin is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "annotation {} is ignored: it is not IMAGE@sha256: and 64 hexadecimal digits",
    annotation::IMAGE_DIGEST
)]
pub struct BadPin;

/// The image that runs for that of an option: the pin, if it is for just this image. One for another
/// tag would run what its owner no longer chose; an option that names a digest itself has none.
pub fn image<'a>(option: &'a str, pin: Option<&'a str>) -> Result<&'a str, BadPin> {
    let Some(pin) = pin else { return Ok(option) };
    let (image, digest) = pin.rsplit_once('@').ok_or(BadPin)?;
    if !is_image(image) || !is_digest(digest) {
        return Err(BadPin);
    }
    Ok(if image == option { pin } else { option })
}

/// Whether what runs differs from what shall run in nothing but the digest of a pin.
pub fn is_all_that_differs(option: &str, wanted: &str, running: &str) -> bool {
    let rest = running.strip_prefix(option);
    let is_pin = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'));
    running != wanted && !option.contains('@') && is_pin
}

/// Whether a workspace is known not to be used: a probe that has just succeeded says so.
pub fn is_unused(workspace: &Workspace, activity: &Activity, clock: Clock) -> bool {
    let Some(probe) = &activity.last_probe else { return false };
    let active = activity.last_activity;
    let since = active.max(activity::kept_alive(workspace)).max(clock.even_since);
    active > 0
        && probe.result == ProbeResult::Success
        && (0..=FRESH).contains(&clock.now.saturating_sub(probe.end_time))
        && probe.start_time.saturating_sub(since) >= UNUSED
}

fn is_image(text: &str) -> bool {
    match text.rsplit_once(':') {
        // Otherwise it is a port.
        Some((repository, tag)) if !tag.contains('/') => is_repository(repository) && is_tag(tag),
        _ => is_repository(text),
    }
}

fn is_tag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || b".-".contains(&byte))
}

fn is_repository(text: &str) -> bool {
    let mut parts = text.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    // A registry may have a port.
    if text.contains('/') && first.contains(['.', ':']) {
        let (host, port) = first.split_once(':').unwrap_or((first, "0"));
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !is_name(&host.to_ascii_lowercase()) {
            return false;
        }
        parts.next();
    }
    text.len() <= MAX_REPOSITORY && parts.all(is_name)
}

fn is_name(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || b"._-".contains(byte))
}

fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ProbeReport, fixtures};

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[rstest::rstest]
    #[case("reg.example.org/nb:2", "reg.example.org/nb:2", true)]
    #[case("reg.example.org:5000/nb", "reg.example.org:5000/nb", true)]
    #[case("Reg.example.org:5000/nb:1_A.b-c", "Reg.example.org:5000/nb:1_A.b-c", true)]
    #[case("localhost/nb", "localhost/nb", true)]
    #[case("nb:2", "nb:2", true)]
    #[case("nb:3", "nb:2", false)]
    #[case("nb", "nb:2", false)]
    #[case("nb:2", "nb", false)]
    #[case("reg.example.org/nb:2", "reg.example.org/other:2", false)]
    #[case("reg.example.org/nb:2@sha256:00", "reg.example.org/nb:2", false)]
    #[case("reg.example.org:5000", "reg.example.org:5000", true)]
    fn a_pin_is_for_its_image(#[case] option: &str, #[case] of: &str, #[case] pinned: bool) {
        let pin = format!("{of}@{DIGEST}");
        let expected = if pinned { format!("{option}@{DIGEST}") } else { option.to_owned() };
        assert_eq!(image(option, Some(&pin)).unwrap(), expected);
        assert_eq!(image(option, None).unwrap(), option);
    }

    #[rstest::rstest]
    #[case("")]
    #[case(DIGEST)]
    #[case("nb")]
    #[case("nb:2")]
    #[case("@{}")]
    #[case(":2@{}")]
    #[case("nb:@{}")]
    #[case("nb:-2@{}")]
    #[case("nb:2:2@{}")]
    #[case("nb:2@{}0")]
    #[case("nb:2@{}@{}")]
    #[case("NB@{}")]
    #[case("a//b@{}")]
    #[case("reg.example.org:x/nb@{}")]
    #[case("reg.example.org:/nb@{}")]
    #[case("nb:2@sha256:0123")]
    #[case(" nb:2@{}")]
    #[case("nb:2@{}\n")]
    fn what_is_no_pin_is_said(#[case] pin: &str) {
        let pin = pin.replace("{}", DIGEST);
        assert_eq!(image("nb:2", Some(&pin)), Err(BadPin));
        assert_eq!(image("nb:2", Some(&pin.to_uppercase())), Err(BadPin));
    }

    #[test]
    fn only_digests_of_pins_wait() {
        let (old, new) = (format!("nb:2@{DIGEST}"), "nb:2@sha256:00");
        for (option, wanted, running, expected) in [
            ("nb:2", new, "nb:2", true),
            ("nb:2", new, &*old, true),
            ("nb:2", "nb:2", &*old, true),
            ("nb:2", &*old, &*old, false),
            ("nb:2", new, "nb:1", false),
            ("nb:2", new, "nb:23", false),
            (new, new, "nb:2", false),
            (new, new, &*old, false),
        ] {
            assert_eq!(
                is_all_that_differs(option, wanted, running),
                expected,
                "{wanted} {running}"
            );
        }
    }

    #[test]
    fn who_is_not_known_to_be_idle_is_busy() {
        let workspace = fixtures::workspace("lab");
        let now = 1_000_000_000;
        let clock = Clock { now, even_since: 0 };
        let idle = |last_activity: i64, end: i64, result: ProbeResult| Activity {
            last_activity,
            last_probe: Some(ProbeReport {
                start_time: end - 1000,
                end_time: end,
                result,
                message: String::new(),
            }),
            ..Activity::default()
        };
        let long_ago = now - UNUSED - 2000;
        let unused = idle(long_ago, now - 500, ProbeResult::Success);
        assert!(is_unused(&workspace, &unused, clock));
        for busy in [
            Activity::default(),
            idle(0, now, ProbeResult::Success),
            idle(long_ago + 5000, now, ProbeResult::Success),
            idle(long_ago, now, ProbeResult::Failure),
            idle(long_ago, now, ProbeResult::Timeout),
            idle(long_ago - FRESH, now - FRESH - 1, ProbeResult::Success),
            idle(long_ago, now + 1, ProbeResult::Success),
        ] {
            assert!(!is_unused(&workspace, &busy, clock), "{busy:?}");
        }
        assert!(!is_unused(&workspace, &unused, Clock { now, even_since: now - 1 }));
        let mut kept = workspace;
        kept.metadata.annotations =
            Some([(annotation::KEEP_ALIVE.to_owned(), "1970-01-12T13:46:00Z".to_owned())].into());
        assert!(!is_unused(&kept, &unused, clock));
    }

    proptest! {
        #[test]
        fn no_pin_panics(option in any::<String>(), pin in any::<String>()) {
            let _ = image(&option, Some(&pin));
            let _ = is_all_that_differs(&option, &pin, &option);
        }
    }
}
