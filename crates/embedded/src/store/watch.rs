//! A reader's place in the history of one resource.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::memory::{Event, Expired, Memory};

/// How many events are taken at a time, so that a lagging reader holds little.
const STEP: usize = 256;

/// Follows the events of one resource. It holds nothing but its place: who lags too far learns
/// that it did.
#[derive(Debug)]
pub struct Watch {
    memory: Arc<RwLock<Memory>>,
    resource: Box<str>,
    seen: u64,
    changed: watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(
        memory: Arc<RwLock<Memory>>,
        resource: &str,
        after: u64,
    ) -> Result<Self, Expired> {
        let existing =
            memory.read().table(resource).map(|table| (table.floor, table.changed.subscribe()));
        let (floor, changed) = existing.unwrap_or_else(|| {
            let mut memory = memory.write();
            let table = memory.table_mut(resource);
            (table.floor, table.changed.subscribe())
        });
        if after < floor {
            return Err(Expired { oldest: floor });
        }
        Ok(Self { memory, resource: resource.into(), seen: after, changed })
    }

    /// The events that are there now, perhaps none.
    pub fn take(&mut self) -> Result<Vec<Arc<Event>>, Expired> {
        self.changed.mark_unchanged();
        let memory = self.memory.read();
        let Some(table) = memory.table(&self.resource) else { return Ok(Vec::new()) };
        if self.seen < table.floor {
            return Err(Expired { oldest: table.floor });
        }
        let events = table.events_after(self.seen, STEP);
        self.seen = match events.last() {
            Some(last) if events.len() == STEP => last.object.revision(),
            // All that happened to this resource so far is known.
            _ => self.seen.max(memory.revision()),
        };
        if events.len() == STEP {
            self.changed.mark_changed();
        }
        Ok(events)
    }

    /// Waits until there may be events to take.
    pub async fn changed(&mut self) {
        // The sender lives as long as the memory that this watch holds.
        let _ = self.changed.changed().await;
    }

    /// The revision up to which all events were taken.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}
