//! What came in lately and was not kept: turned down, repeated, ignored, filtered out. A bounded
//! memory for operators; who wants to see everything as it happens listens to [`Recent::listen`].

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::journal::Id;

/// How many are remembered.
const MOST: usize = 1000;
/// How far behind a listener may be before it misses some.
const BACKLOG: usize = 256;

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name; that of the delivery, if it was kept.
    #[serde(serialize_with = "as_text")]
    pub id: Id,
    /// The endpoint's name.
    pub endpoint: String,
    /// The source's name.
    pub source: &'static str,
    /// `rejected`, `duplicate`, `ignored`, `filtered`, `filter_error`, or what a delivery begins with.
    pub state: &'static str,
    /// The answer.
    pub status: u16,
    /// Why it was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who called.
    pub address: String,
    /// The sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
}

fn as_text<S: serde::Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// See the module.
#[derive(Debug)]
pub struct Recent {
    entries: Mutex<VecDeque<Arc<Entry>>>,
    live: broadcast::Sender<Arc<Entry>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { entries: Mutex::default(), live: broadcast::channel(BACKLOG).0 }
    }
}

impl Recent {
    /// Remembers a request that was not kept.
    pub(super) fn remember(&self, entry: Entry) {
        let entry = Arc::new(entry);
        let mut entries = self.entries.lock();
        if entries.len() >= MOST {
            entries.pop_front();
        }
        entries.push_back(Arc::clone(&entry));
        drop(entries);
        self.tell(entry);
    }

    /// Tells listeners of a request that is kept; nothing is made if there are none.
    pub(super) fn pass(&self, entry: impl FnOnce() -> Entry) {
        if self.live.receiver_count() > 0 {
            self.tell(Arc::new(entry()));
        }
    }

    fn tell(&self, entry: Arc<Entry>) {
        // Nobody listens: that is no failure.
        let _ = self.live.send(entry);
    }

    /// All that are remembered and older than `before`, newest first.
    pub fn before(&self, before: Option<Id>) -> Vec<Arc<Entry>> {
        let entries = self.entries.lock();
        let mut found: Vec<_> = entries
            .iter()
            .filter(|entry| before.is_none_or(|before| entry.id < before))
            .map(Arc::clone)
            .collect();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        found
    }

    /// Whatever comes in from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.live.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: Id) -> Entry {
        let (endpoint, address) = ("a".to_owned(), "::1".to_owned());
        let (reason, delivery_id) = (None, None);
        Entry {
            id,
            endpoint,
            source: "Quay",
            state: "ignored",
            status: 200,
            reason,
            address,
            delivery_id,
        }
    }

    #[test]
    fn the_newest_are_remembered_and_listeners_see_all() {
        let recent = Recent::default();
        let mut live = recent.listen();
        for _ in 0..MOST + 5 {
            recent.remember(entry(Id::now()));
        }
        let all = recent.before(None);
        assert_eq!(all.len(), MOST);
        assert!(all.is_sorted_by_key(|entry| std::cmp::Reverse(entry.id)));
        assert_eq!(recent.before(Some(all[MOST - 1].id)), []);
        assert!(matches!(live.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        assert!(live.try_recv().is_ok());
    }
}
