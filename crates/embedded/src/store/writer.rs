//! The thread that writes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::{
    Action, Entry, Expect, Write, WriteError,
    disk::Disk,
    lock::Lock,
    memory::{Garbage, Memory},
    record,
};

/// At most so many writes share one commit.
const BATCH: usize = 512;

/// One write and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<Arc<Entry>, WriteError>>,
}

/// A write that will be done if the commit succeeds.
struct Accepted {
    action: Action,
    resource: Arc<str>,
    key: Arc<str>,
    entry: Arc<Entry>,
}

pub(super) struct Writer {
    disk: Disk,
    memory: Arc<RwLock<Memory>>,
    garbage: Garbage,
    _lock: Lock,
}

/// What the accepted writes of this batch made of the objects they touched.
type Overlay = HashMap<(Arc<str>, Arc<str>), Option<Arc<Entry>>>;

impl Writer {
    pub(super) fn new(
        disk: Disk,
        memory: Arc<RwLock<Memory>>,
        garbage: Garbage,
        lock: Lock,
    ) -> Self {
        Self { disk, memory, garbage, _lock: lock }
    }

    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::new();
        while requests.blocking_recv_many(&mut batch, BATCH) > 0 {
            self.serve(&mut batch);
        }
    }

    fn serve(&mut self, batch: &mut Vec<Request>) {
        let mut accepted = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        {
            let memory = self.memory.read();
            let mut overlay = Overlay::new();
            let mut revision = memory.revision();
            for Request { write, answer } in batch.drain(..) {
                let verdict = judge(&memory, &overlay, &write).map(|()| {
                    revision += 1;
                    let entry = Arc::new(write.draft.into_entry(revision));
                    let after = (write.action == Action::Put).then(|| entry.clone());
                    overlay.insert((write.resource.clone(), write.key.clone()), after);
                    accepted.push(Accepted {
                        action: write.action,
                        resource: write.resource,
                        key: write.key,
                        entry: entry.clone(),
                    });
                    entry
                });
                answers.push((answer, verdict));
            }
        }
        let stored = if accepted.is_empty() { Ok(()) } else { self.store(accepted) };
        for (answer, verdict) in answers {
            let result = match &stored {
                Ok(()) => verdict,
                // A refusal may rest on a write that was not stored: nobody gets an answer.
                Err(error) => Err(error.clone()),
            };
            // Who no longer waits needs no answer.
            let _ = answer.send(result);
        }
    }

    fn store(&mut self, accepted: Vec<Accepted>) -> Result<(), WriteError> {
        let records: Vec<_> = accepted
            .iter()
            .map(|write| {
                let bytes = record::encode(write.action, &write.resource, &write.key, &write.entry);
                (write.entry.revision(), bytes)
            })
            .collect();
        self.disk.commit(&records, &self.garbage).inspect_err(|error| {
            tracing::error!(%error, writes = records.len(), "the store refused a batch of writes");
        })?;
        self.garbage = Garbage::default();
        let mut memory = self.memory.write();
        let mut touched = BTreeSet::new();
        for Accepted { action, resource, key, entry } in accepted {
            memory.apply(action, &resource, key, entry, &mut self.garbage);
            touched.insert(resource);
        }
        memory.announce(&touched);
        Ok(())
    }
}

fn judge(memory: &Memory, overlay: &Overlay, write: &Write) -> Result<(), WriteError> {
    let find = |resource: &Arc<str>, key: &str| {
        if !overlay.is_empty()
            && let Some(entry) = overlay.get(&(resource.clone(), Arc::from(key)))
        {
            return entry.clone();
        }
        memory.get(resource, key).cloned()
    };
    if let Some(required) = &write.requires {
        let found = find(&required.resource, &required.key);
        if found.as_ref().is_none_or(|entry| entry.meta().deleting) {
            return Err(WriteError::Requirement(found));
        }
    }
    let found = find(&write.resource, &write.key);
    let fits = match write.expect {
        Expect::Any => write.action == Action::Put || found.is_some(),
        Expect::Absent => found.is_none(),
        Expect::Revision(revision) => {
            found.as_ref().is_some_and(|entry| entry.revision() == revision)
        }
    };
    if fits { Ok(()) } else { Err(WriteError::Mismatch(found)) }
}
