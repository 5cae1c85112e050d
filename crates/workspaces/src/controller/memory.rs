//! What the controller remembers of a workspace between passes. All of it may be lost: then something
//! is looked at once more, told once more, or told a moment too long.

use std::collections::HashMap;

use cluster::Key;
use parking_lot::Mutex;

/// So many events about a workspace may come one after the other …
const EVENTS: i64 = 25;
/// … and then one in this time, in ms.
const EVENT_EVERY: i64 = 5 * 60 * 1000;

/// What is remembered of each workspace.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<Key, Remembered>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Remembered {
    /// The version of a status that was written and did not come back in time. Until it does, the
    /// status that is known is not that which is told.
    unseen: Option<String>,
    /// The newest warning about its StatefulSet when it was started, in ms since 1970: from there
    /// back they are about an earlier try.
    stale: Option<i64>,
    /// When the next event may be written if all go one by one, in ms since 1970.
    next_event: i64,
}

impl Memory {
    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut all = self.0.lock();
        let mut one = all.remove(key).unwrap_or_default();
        let result = work(&mut one);
        if one != Remembered::default() {
            all.insert(key.clone(), one);
        }
        result
    }

    /// Forgets a workspace that is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    pub(super) fn note_unseen(&self, key: &Key, version: Option<String>) {
        self.with(key, |one| one.unseen = version);
    }

    pub(super) fn unseen(&self, key: &Key) -> Option<String> {
        self.0.lock().get(key)?.unseen.clone()
    }

    pub(super) fn note_stale(&self, key: &Key, until: Option<i64>) {
        self.with(key, |one| one.stale = until);
    }

    /// Whether a warning about the StatefulSet is about an earlier try.
    pub(super) fn is_stale(&self, key: &Key, at: i64) -> bool {
        self.0.lock().get(key).and_then(|one| one.stale).is_some_and(|until| at <= until)
    }

    /// Whether one more event may be written.
    pub(super) fn may_tell(&self, key: &Key, now: i64) -> bool {
        self.with(key, |one| {
            // A clock that was set back does not silence anybody for long.
            let latest = now.saturating_add((EVENTS - 1) * EVENT_EVERY);
            let next = one.next_event.clamp(now, latest.saturating_add(EVENT_EVERY));
            let may = next <= latest;
            one.next_event = if may { next.saturating_add(EVENT_EVERY) } else { next };
            may
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_bounded_and_come_back() {
        let (memory, key) = (Memory::default(), Key::new(Some("team"), "lab"));
        let may = |now| memory.may_tell(&key, now);
        let now = 1_000_000_000_000;
        assert_eq!((0..100).filter(|_| may(now)).count(), 25);
        assert!(may(now + EVENT_EVERY) && !may(now + EVENT_EVERY));
        assert!(memory.may_tell(&Key::new(Some("team"), "other"), now));
        // The clock jumps a year back.
        let back = now - 365 * 24 * 3_600_000;
        assert!(!may(back), "as full as before");
        assert!(may(back + EVENT_EVERY), "and no fuller");
    }

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let (memory, key) = (Memory::default(), Key::new(Some("team"), "lab"));
        memory.note_unseen(&key, Some("7".to_owned()));
        memory.note_stale(&key, Some(5));
        assert!(memory.is_stale(&key, 5) && !memory.is_stale(&key, 6));
        assert_eq!(memory.unseen(&key).as_deref(), Some("7"));
        memory.note_unseen(&key, None);
        memory.note_stale(&key, None);
        assert!(memory.0.lock().is_empty());
        memory.may_tell(&key, 1);
        memory.forget(&key);
        assert!(memory.0.lock().is_empty());
    }
}
