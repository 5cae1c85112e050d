//! The durable store: an append-only revision log in one redb file, everything read from memory.
//!
//! One thread writes. It takes all that is queued, checks each write against what it expects to
//! find, gives it the next revision, commits the batch once and only then publishes and answers:
//! readers never see what a crash could take back. Each resource keeps a bounded ring of its last
//! events, so a watch resumes from a revision, also after a restart, or learns that it is too old.

mod disk;
mod draft;
mod lock;
mod memory;
mod record;
mod watch;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

pub use draft::{Draft, Entry, Meta};
pub use lock::prepare_directory;
pub use memory::{Event, EventKind, Expired, Listing};
pub use watch::Watch;

use memory::Memory;
use writer::Request;

/// How many writes may wait for the writer before callers wait too.
const QUEUE: usize = 1024;

/// Which part of the history a start keeps. Only clients from before it can ask for any, and the
/// whole of it would have to be read again at the next start.
const KEPT_AT_START: usize = 8;

/// Bounds of the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Events kept per resource for watches that resume or lag; a start keeps an eighth.
    pub history_events: usize,
    /// Bytes of objects kept per resource for the same purpose; a start keeps an eighth.
    pub history_bytes: usize,
    /// The file never grows beyond this; a write that would need more is refused as on a full disk.
    pub max_file_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { history_events: 2048, history_bytes: 4 << 20, max_file_bytes: 64 << 30 }
    }
}

/// Why a store cannot be opened. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another part of this one) uses the directory.
    #[error("data directory {directory} is in use{}", .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    InUse {
        /// The directory.
        directory: String,
        /// Who holds it, if it said so.
        pid: Option<u32>,
    },
    /// The directory or a file in it cannot be made, read or locked.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store file is not one, or is damaged.
    #[error(
        "{path} is not a usable store file: {reason}; it was left as it is, move it away to start afresh"
    )]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was written by a newer or older program.
    #[error("{path} has store format {found}, this program reads format {supported}")]
    Format {
        /// The file.
        path: String,
        /// What the file says.
        found: String,
        /// What this program reads.
        supported: &'static str,
    },
}

/// The disk did not take a write. Nothing of it is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// No space left.
    #[error("no space left on the device that holds the store")]
    Full,
    /// Anything else.
    #[error("the store cannot be written: {0}")]
    Io(Arc<str>),
    /// The store was closed.
    #[error("the store is shut down")]
    Closed,
}

/// Why a write was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// What the write expected is not what is there.
    #[error("the object is not in the expected state")]
    Mismatch(Option<Arc<Entry>>),
    /// The object that must exist for this write does not, or is going away (then it is given).
    #[error("an object that this write needs is missing or going away")]
    Requirement(Option<Arc<Entry>>),
    /// The disk refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No object of that key.
    Absent,
    /// The object at exactly this revision.
    Revision(u64),
    /// Anything, also nothing.
    Any,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stores the draft.
    Put,
    /// Removes the object; the draft is its last state, told to watches.
    Delete,
}

/// An object that must exist, and not be in deletion, for a write to be done.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// Its resource.
    pub resource: Arc<str>,
    /// Its key.
    pub key: Arc<str>,
}

/// One write. Keys are `namespace/name` or `name`.
#[derive(Debug)]
pub struct Write {
    /// Which table, such as `statefulsets.apps`.
    pub resource: Arc<str>,
    /// Which object in it.
    pub key: Arc<str>,
    /// What must be there.
    pub expect: Expect,
    /// What must be there elsewhere.
    pub requires: Option<Requirement>,
    /// Put or delete.
    pub action: Action,
    /// The object, but for its revision.
    pub draft: Draft,
}

/// A handle to an open store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: Arc<RwLock<Memory>>,
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    max_file_bytes: Arc<AtomicU64>,
}

impl Store {
    /// Opens or makes `directory/store.redb`, locked against other users of the directory.
    ///
    /// Blocks while the file is read.
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let lock = lock::acquire(directory)?;
        let max_file_bytes = Arc::new(AtomicU64::new(options.max_file_bytes));
        let (disk, memory, garbage) =
            disk::Disk::open(directory, &options, max_file_bytes.clone())?;
        let memory = Arc::new(RwLock::new(memory));
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = writer::Writer::new(disk, memory.clone(), garbage, lock);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(requests))
            .map_err(|source| OpenError::Io { path: directory.display().to_string(), source })?;
        Ok(Self {
            inner: Arc::new(Inner {
                memory,
                queue: Mutex::new(Some(queue)),
                writer: Mutex::new(Some(thread)),
                max_file_bytes,
            }),
        })
    }

    /// Does one write and answers when it is durable and visible.
    pub async fn write(&self, write: Write) -> Result<Arc<Entry>, WriteError> {
        let queue = self.inner.queue.lock().clone().ok_or(StorageError::Closed)?;
        let (answer, answered) = oneshot::channel();
        queue.send(Request { write, answer }).await.map_err(|_| StorageError::Closed)?;
        answered.await.map_err(|_| StorageError::Closed)?
    }

    /// The object of a key.
    pub fn get(&self, resource: &str, key: &str) -> Option<Arc<Entry>> {
        self.inner.memory.read().get(resource, key).cloned()
    }

    /// The object of a key and the revision of the store at that moment.
    pub fn get_at(&self, resource: &str, key: &str) -> (u64, Option<Arc<Entry>>) {
        let memory = self.inner.memory.read();
        (memory.revision(), memory.get(resource, key).cloned())
    }

    /// All objects of a resource whose keys start with `prefix`, as they are now.
    pub fn list(&self, resource: &str, prefix: &str) -> Listing {
        self.inner.memory.read().list(resource, prefix)
    }

    /// The same as they were at a revision, if the history still reaches it.
    pub fn list_at(&self, resource: &str, prefix: &str, at: u64) -> Result<Listing, Expired> {
        self.inner.memory.read().list_at(resource, prefix, at)
    }

    /// How many objects a resource has.
    pub fn count(&self, resource: &str) -> usize {
        self.inner.memory.read().count(resource)
    }

    /// The resources that have or had objects.
    pub fn resources(&self) -> Vec<Arc<str>> {
        self.inner.memory.read().resources()
    }

    /// Events of a resource after a revision.
    pub fn watch(&self, resource: &str, after: u64) -> Result<Watch, Expired> {
        Watch::new(self.inner.memory.clone(), resource, after)
    }

    /// The events of a resource after one revision and up to another.
    pub(crate) fn events_between(
        &self,
        resource: &str,
        after: u64,
        until: u64,
    ) -> Result<Vec<Arc<Event>>, Expired> {
        let memory = self.inner.memory.read();
        memory.table(resource).map_or(Ok(Vec::new()), |table| table.events_between(after, until))
    }

    /// The revision of the last change of any of some resources, as far as it is remembered.
    pub(crate) fn last_change(&self, resources: &[&str]) -> u64 {
        let memory = self.inner.memory.read();
        let tables = resources.iter().filter_map(|resource| memory.table(resource));
        tables.map(memory::Table::last_change).max().unwrap_or(0)
    }

    /// Which objects name the object of a uid as their owner.
    pub fn owned_by(&self, uid: &str) -> Vec<(Arc<str>, Arc<str>)> {
        self.inner.memory.read().owned_by(uid)
    }

    /// The last durable revision.
    pub fn revision(&self) -> u64 {
        self.inner.memory.read().revision()
    }

    /// Waits until the store has reached a revision.
    pub async fn reached(&self, revision: u64) {
        let mut revisions = self.inner.memory.read().revisions();
        // The sender lives as long as the memory that this handle holds.
        let _ = revisions.wait_for(|now| *now >= revision).await;
    }

    /// Changes the bound of the file's size.
    pub fn set_max_file_bytes(&self, bytes: u64) {
        self.inner.max_file_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Ends the writer after what is queued, and gives the directory free. Reads go on.
    pub async fn close(&self) {
        drop(self.inner.queue.lock().take());
        let Some(thread) = self.inner.writer.lock().take() else { return };
        // A writer that panicked has nothing more to say; its callers were told.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}
