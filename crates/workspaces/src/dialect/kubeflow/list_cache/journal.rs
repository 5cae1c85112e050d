//! What changed last, for watchers that are a little behind.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use cluster::Key;

use super::Row;

/// How many changes are kept.
const MOST: usize = 1024;
/// How many bytes of items they may hold together.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// One change of a list.
#[derive(Debug)]
pub(crate) struct Event<T> {
    pub(crate) key: Key,
    /// What the item showed; none for a new one.
    pub(crate) old: Option<T>,
    /// What it shows; none for one that is gone.
    pub(crate) new: Option<T>,
    /// The item, or what it was last.
    pub(crate) bytes: Bytes,
    /// Whether the item looks as before: only what it shows is another object.
    pub(crate) same: bool,
}

/// Some of what happened since is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooOld;

/// The last changes, numbered without gaps.
#[derive(Debug)]
pub(super) struct Journal<T> {
    events: VecDeque<Arc<Event<T>>>,
    bytes: usize,
    end: u64,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self { events: VecDeque::new(), bytes: 0, end: 0 }
    }
}

impl<T> Journal<T> {
    /// The number of the next change.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Makes every earlier position too old.
    pub(super) fn forget(&mut self) {
        self.events = VecDeque::new();
        self.bytes = 0;
        self.end += 1;
    }

    pub(super) fn since(&self, position: u64, most: usize) -> Result<Vec<Arc<Event<T>>>, TooOld> {
        let first = self.end - self.events.len() as u64;
        if position < first || position > self.end {
            return Err(TooOld);
        }
        let skipped = usize::try_from(position - first).map_err(|_| TooOld)?;
        Ok(self.events.iter().skip(skipped).take(most).cloned().collect())
    }
}

impl<T: Clone> Journal<T> {
    pub(super) fn note(&mut self, key: &Key, old: Option<&Row<T>>, new: Option<&Row<T>>) {
        // A slice would keep its whole block.
        let Some(shown) = new.or(old) else { return };
        let event = Event {
            key: key.clone(),
            old: old.map(|row| row.object.clone()),
            new: new.map(|row| row.object.clone()),
            bytes: Bytes::copy_from_slice(&shown.bytes),
            same: old.zip(new).is_some_and(|(old, new)| old.bytes == new.bytes),
        };
        self.bytes += event.bytes.len();
        self.events.push_back(Arc::new(event));
        self.end += 1;
        while self.events.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }
}
