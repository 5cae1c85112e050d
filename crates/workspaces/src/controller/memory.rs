//! What the controller remembers of a workspace between passes. All of it may be lost: then something
//! is looked at once more, told once more, or told a moment too long.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cluster::{Cache, Key, controller::Outcome};
use parking_lot::Mutex;

use super::children::Child;
use crate::model::Workspace;

/// An object that was written and that the caches do not show after this time is lost: it is looked
/// for at the API, where its name is known. A busy API server tells of it late.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);

/// So many events about a workspace may come one after the other …
const EVENTS: i64 = 25;
/// … and then one in this time, in ms.
const EVENT_EVERY: i64 = 5 * 60 * 1000;

/// What is remembered of each workspace.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<Key, Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    /// What the last pass wrote and the caches do not show yet.
    unseen: Option<Box<Unseen>>,
    /// What the last pass saw in the end, and what is to be done as long as that is all there is.
    settled: Option<(u64, Outcome)>,
    /// The newest warning about its StatefulSet when it was started, in ms since 1970: from there
    /// back they are about an earlier try.
    stale: Option<i64>,
    /// When the next event may be written if all go one by one, in ms since 1970.
    next_event: i64,
}

/// What a pass wrote.
#[derive(Debug)]
pub(super) struct Unseen {
    /// The version of the status. Until it comes back, the status that is known is not that which is
    /// told.
    status: Option<String>,
    /// Objects with their versions.
    objects: Vec<(Cache<Child>, Key, Box<str>)>,
    since: Instant,
}

impl Unseen {
    /// None if nothing was written.
    pub(super) fn new(
        status: Option<String>,
        objects: Vec<(Cache<Child>, Key, Box<str>)>,
    ) -> Option<Self> {
        let some = status.is_some() || !objects.is_empty();
        some.then(|| Self { status, objects, since: Instant::now() })
    }

    /// Whether it has come back.
    fn is_seen(&mut self, key: &Key, workspaces: &Cache<Workspace>) -> bool {
        self.status.take_if(|version| workspaces.has_seen(key, version));
        if self.since.elapsed() < LOST_AFTER {
            self.objects.retain(|(cache, key, version)| !cache.has_seen(key, version));
        } else {
            self.objects.clear();
        }
        self.status.is_none() && self.objects.is_empty()
    }
}

impl Remembered {
    fn is_empty(&self) -> bool {
        self.unseen.is_none()
            && self.settled.is_none()
            && self.stale.is_none()
            && self.next_event == 0
    }
}

impl Memory {
    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut all = self.0.lock();
        let mut one = all.remove(key).unwrap_or_default();
        let result = work(&mut one);
        if !one.is_empty() {
            all.insert(key.clone(), one);
        }
        result
    }

    /// Forgets a workspace that is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// Notes what a pass wrote, and what it saw if there is nothing more to do about that.
    pub(super) fn note_pass(
        &self,
        key: &Key,
        unseen: Option<Unseen>,
        settled: Option<(u64, Outcome)>,
    ) {
        self.with(key, |one| {
            one.unseen = unseen.map(Box::new);
            one.settled = settled;
        });
    }

    /// Whether the caches show what the last pass wrote.
    pub(super) fn has_seen(&self, key: &Key, workspaces: &Cache<Workspace>) -> bool {
        self.with(key, |one| {
            one.unseen.take_if(|unseen| unseen.is_seen(key, workspaces));
            one.unseen.is_none()
        })
    }

    /// What is to be done about a workspace of which this is seen, if the last pass saw no other.
    pub(super) fn settled(&self, key: &Key, seen: u64) -> Option<Outcome> {
        let (settled, outcome) = self.0.lock().get(key)?.settled?;
        (settled == seen).then_some(outcome)
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
        memory.note_pass(&key, Unseen::new(Some("7".to_owned()), Vec::new()), None);
        memory.note_stale(&key, Some(5));
        assert!(memory.is_stale(&key, 5) && !memory.is_stale(&key, 6));
        assert!(!memory.has_seen(&key, &Cache::empty()));
        memory.note_pass(&key, None, Some((1, Outcome::Done)));
        assert!(memory.has_seen(&key, &Cache::empty()));
        assert_eq!(memory.settled(&key, 1), Some(Outcome::Done));
        assert_eq!(memory.settled(&key, 2), None);
        memory.note_pass(&key, None, None);
        assert_eq!(memory.settled(&key, 1), None);
        memory.note_stale(&key, None);
        assert!(memory.0.lock().is_empty());
        memory.may_tell(&key, 1);
        memory.forget(&key);
        assert!(memory.0.lock().is_empty());
    }
}
