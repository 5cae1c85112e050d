//! The tables, and what is read from them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition, WriteTransaction, backends::InMemoryBackend,
};

use super::{Delivery, Figures, Id, Place, State, keys};

/// Deliveries by id.
pub(super) const DELIVERIES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("deliveries");
/// Notifications that may be attempted, in the order of their times.
pub(super) const DUE: TableDefinition<'_, &[u8], ()> = TableDefinition::new("due");
/// Unfinished notifications of each subject, in order.
pub(super) const LANES: TableDefinition<'_, &[u8], ()> = TableDefinition::new("lanes");
/// Finished deliveries, by the time they finished; what is dead stays longer.
pub(super) const DONE: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("done");
/// Repeats are known by this: endpoint, id and body, to delivery and until when it is remembered.
pub(super) const REPEATS: TableDefinition<'_, [u8; 32], (u128, i64)> =
    TableDefinition::new("repeats");
/// What is in `REPEATS`, by the time it is forgotten.
pub(super) const REPEATS_UNTIL: TableDefinition<'_, (i64, [u8; 32]), ()> =
    TableDefinition::new("repeats_until");
/// Of layouts before 3, which knew the last body of an id only: endpoint and id, to body hash and
/// delivery.
const SEEN: TableDefinition<'_, [u8; 16], ([u8; 32], u128)> = TableDefinition::new("seen");
const SEEN_AT: TableDefinition<'_, (i64, [u8; 16]), ()> = TableDefinition::new("seen_at");
/// Requests as they came, by delivery.
pub(super) const PAYLOADS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("payloads");
/// Deliveries that are not finished.
pub(super) const OPEN: TableDefinition<'_, u128, ()> = TableDefinition::new("open");
/// Deliveries that were given up.
pub(super) const DEAD: TableDefinition<'_, u128, ()> = TableDefinition::new("dead");
/// Numbers.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The layout of the tables; another one is not touched.
const VERSION: u64 = 3;
/// Where the number of waiting notifications of a target is, followed by its name.
pub(super) const WAITING: &str = "waiting ";
/// Pages kept in memory. The rest is the system's to cache.
const CACHE: usize = 24 << 20;
/// So much a disk must take that was full before it counts as one with room.
const PROBE: usize = 256 << 10;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("cannot use the directory {0}: {1}")]
    Directory(String, io::Error),
    /// Another process has it.
    #[error("the journal is in use by another process")]
    InUse,
    /// The file is not a journal, or one of another version.
    #[error("the file is no journal of this version: {0}")]
    Foreign(String),
    /// The disk.
    #[error("cannot open the journal: {0}")]
    Storage(String),
}

/// An error of the disk.
pub(super) type Broken = Box<redb::Error>;

pub(super) fn broken(error: impl Into<redb::Error>) -> Broken {
    Box::new(error.into())
}

/// The database; replaced when the disk failed and works again.
#[derive(Debug, Clone)]
pub(super) struct Store {
    file: Option<Arc<Path>>,
    database: Arc<RwLock<Option<Arc<Database>>>>,
}

impl Store {
    /// Opens or makes the journal of a directory, or one in memory.
    pub(super) fn open(directory: Option<&Path>) -> Result<Self, OpenError> {
        let file = directory.map(make).transpose()?;
        let store = Self { file: file.map(Arc::from), database: Arc::default() };
        store.reopen()?;
        Ok(store)
    }

    /// Opens the database anew, forgetting one that failed.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        *self.database.write() = None;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let opened = match &self.file {
            Some(file) => builder.create(file),
            None => builder.create_with_backend(InMemoryBackend::new()),
        };
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
            DatabaseError::UpgradeRequired(version) => {
                OpenError::Foreign(format!("file format {version}"))
            }
            error => OpenError::Storage(error.to_string()),
        })?;
        prepare(&database)?;
        *self.database.write() = Some(Arc::new(database));
        Ok(())
    }

    pub(super) fn database(&self) -> Result<Arc<Database>, Broken> {
        self.database.read().clone().ok_or_else(|| broken(redb::Error::DatabaseClosed))
    }

    /// Forgets a database that failed, so that the next use opens it anew.
    pub(super) fn close(&self) {
        *self.database.write() = None;
    }

    /// Whether the disk takes more: a journal may have a little room in itself on a full one.
    pub(super) fn can_grow(&self) -> bool {
        let Some(file) = &self.file else { return true };
        let probe = file.with_extension("probe");
        let written = private().truncate(true).open(&probe).and_then(|mut file| {
            file.write_all(&[0; PROBE])?;
            file.sync_all()
        });
        // Removed also if it could not be written to its end.
        written.and(fs::remove_file(&probe)).is_ok()
    }

    pub(super) fn delivery(&self, id: Id) -> Result<Option<Delivery>, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let table = read.open_table(DELIVERIES).map_err(broken)?;
        let Some(bytes) = table.get(id.0).map_err(broken)? else { return Ok(None) };
        let mut delivery = Delivery::from_bytes(id, bytes.value());
        if let Some(delivery) = &mut delivery {
            resolve(delivery, &table);
        }
        Ok(delivery)
    }

    pub(super) fn deliveries(
        &self,
        before: Option<Id>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let table = read.open_table(DELIVERIES).map_err(broken)?;
        let end = before.map_or(u128::MAX, |id| id.0);
        let mut found = Vec::new();
        for entry in table.range(..end).map_err(broken)?.rev().take(limit) {
            let (id, bytes) = entry.map_err(broken)?;
            if let Some(mut delivery) = Delivery::from_bytes(Id(id.value()), bytes.value()) {
                resolve(&mut delivery, &table);
                found.push(delivery);
            }
        }
        Ok(found)
    }

    pub(super) fn dead(&self, before: Option<Id>, limit: usize) -> Result<Vec<Delivery>, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let index = read.open_table(DEAD).map_err(broken)?;
        let table = read.open_table(DELIVERIES).map_err(broken)?;
        let end = before.map_or(u128::MAX, |id| id.0);
        let mut found = Vec::new();
        for entry in index.range(..end).map_err(broken)?.rev().take(limit) {
            let id = entry.map(|(id, _)| Id(id.value())).map_err(broken)?;
            let bytes = table.get(id.0).map_err(broken)?;
            found.extend(bytes.and_then(|bytes| Delivery::from_bytes(id, bytes.value())));
        }
        Ok(found)
    }

    /// The request of a delivery as it was written.
    pub(super) fn payload(&self, id: Id) -> Result<Option<Vec<u8>>, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let table = read.open_table(PAYLOADS).map_err(broken)?;
        let bytes = table.get(id.0).map_err(broken)?;
        Ok(bytes.map(|bytes| bytes.value().to_vec()))
    }

    pub(super) fn figures(&self) -> Result<Figures, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let meta = read.open_table(META).map_err(broken)?;
        let mut waiting = Vec::new();
        for entry in meta.range(WAITING..).map_err(broken)? {
            let (name, count) = entry.map_err(broken)?;
            let Some(target) = name.value().strip_prefix(WAITING) else { break };
            waiting.push((target.to_owned(), count.value()));
        }
        let bytes = meta.get("bytes").map_err(broken)?.map_or(0, |value| value.value());
        let open = read.open_table(OPEN).map_err(broken)?;
        let oldest = open.first().map_err(broken)?.map(|(id, _)| Id(id.value()));
        let dead = read.open_table(DEAD).map_err(broken)?.len().map_err(broken)?;
        Ok(Figures { waiting, oldest, dead, bytes })
    }

    /// How many notifications are unfinished.
    pub(super) fn depth(&self) -> Result<u64, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        read.open_table(LANES).map_err(broken)?.len().map_err(broken)
    }

    /// The unfinished notifications of a subject that are behind one of them, at most `limit`.
    pub(super) fn behind(
        &self,
        target: &str,
        subject: &str,
        first: Place,
        limit: usize,
    ) -> Result<Vec<Place>, Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let table = read.open_table(LANES).map_err(broken)?;
        let lane = keys::lane(target, subject);
        let mut places = Vec::new();
        for entry in table.range::<&[u8]>(&*keys::in_lane(&lane, first)..).map_err(broken)? {
            let (key, _) = entry.map_err(broken)?;
            let place = key.value().strip_prefix(&*lane).and(keys::read_place(key.value()));
            let Some(place) = place.filter(|_| places.len() < limit) else { break };
            if place != first {
                places.push(place);
            }
        }
        Ok(places)
    }

    /// The due notifications of a target, and when the next one is.
    pub(super) fn due(
        &self,
        target: &str,
        now: i64,
        limit: usize,
        mut wanted: impl FnMut(Place) -> bool,
    ) -> Result<(Vec<Place>, Option<i64>), Broken> {
        let read = self.database()?.begin_read().map_err(broken)?;
        let table = read.open_table(DUE).map_err(broken)?;
        let prefix = keys::prefix(target);
        let mut places = Vec::new();
        for entry in table.range::<&[u8]>(&*prefix..).map_err(broken)? {
            let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(broken)?;
            let Some((at, place)) =
                key.value().strip_prefix(&*prefix).and(keys::read_due(key.value()))
            else {
                break;
            };
            if at > now {
                return Ok((places, Some(at)));
            }
            if wanted(place) {
                places.push(place);
                if places.len() == limit {
                    break;
                }
            }
        }
        Ok((places, None))
    }
}

/// What was merged is what it was merged into.
fn resolve(delivery: &mut Delivery, table: &redb::ReadOnlyTable<u128, &'static [u8]>) {
    for notification in &mut delivery.notifications {
        let State::Merged(into, number) = &notification.state else { continue };
        let parent = into.parse::<Id>().ok().and_then(|id| {
            let bytes = table.get(id.0).ok()??;
            Delivery::from_bytes(id, bytes.value())
        });
        let state = parent
            .and_then(|parent| parent.notifications.into_iter().nth(usize::from(*number)))
            .map(|parent| parent.state);
        // A parent that is gone was finished long ago.
        match state {
            None | Some(State::Delivered) => notification.state = State::Delivered,
            Some(State::Dead) => notification.state = State::Dead,
            Some(State::Pending | State::Merged(..)) => {}
        }
    }
}

/// A file of ours alone.
fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn make(directory: &Path) -> Result<std::path::PathBuf, OpenError> {
    let wrong = |error| OpenError::Directory(directory.display().to_string(), error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
    let file = directory.join("journal.redb");
    // Made by us, so that nobody else may read what senders said.
    private().truncate(false).open(&file).map_err(wrong)?;
    // A file whose name is not on disk is lost with all that is in it.
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(wrong)?;
    Ok(file)
}

fn prepare(database: &Database) -> Result<(), OpenError> {
    let wrong = |error: Broken| OpenError::Storage(error.to_string());
    let write = database.begin_write().map_err(broken).map_err(wrong)?;
    let outcome = (|| {
        let mut meta = write.open_table(META).map_err(broken)?;
        let version = meta.get("version").map_err(broken)?.map_or(VERSION, |value| value.value());
        if version <= VERSION {
            meta.insert("version", VERSION).map_err(broken)?;
        }
        write.open_table(DELIVERIES).map_err(broken)?;
        write.open_table(DUE).map_err(broken)?;
        write.open_table(LANES).map_err(broken)?;
        write.open_table(DONE).map_err(broken)?;
        write.open_table(PAYLOADS).map_err(broken)?;
        write.open_table(OPEN).map_err(broken)?;
        write.open_table(DEAD).map_err(broken)?;
        write.open_table(REPEATS).map_err(broken)?;
        write.open_table(REPEATS_UNTIL).map_err(broken)?;
        drop(meta);
        if version == 1 {
            index(&write)?;
        }
        if version < 3 {
            remember(&write)?;
        }
        Ok(version)
    })();
    let version = outcome.map_err(wrong)?;
    if version > VERSION {
        return Err(OpenError::Foreign(format!("layout {version}")));
    }
    write.commit().map_err(broken).map_err(wrong)
}

/// Makes the indexes that the first layout did not have.
fn index(write: &WriteTransaction) -> Result<(), Broken> {
    let mut open = write.open_table(OPEN).map_err(broken)?;
    let mut dead = write.open_table(DEAD).map_err(broken)?;
    for entry in write.open_table(DELIVERIES).map_err(broken)?.iter().map_err(broken)? {
        let (id, bytes) = entry.map_err(broken)?;
        let Some(delivery) = Delivery::from_bytes(Id(id.value()), bytes.value()) else { continue };
        if !delivery.finished() {
            open.insert(id.value(), ()).map_err(broken)?;
        } else if delivery.dead() {
            dead.insert(id.value(), ()).map_err(broken)?;
        }
    }
    let mut waiting = BTreeMap::<String, u64>::new();
    for entry in write.open_table(LANES).map_err(broken)?.iter().map_err(broken)? {
        let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(broken)?;
        let target = key.value().split(|&byte| byte == 0).next().unwrap_or_default();
        *waiting.entry(String::from_utf8_lossy(target).into_owned()).or_default() += 1;
    }
    let mut meta = write.open_table(META).map_err(broken)?;
    for (target, count) in waiting {
        meta.insert(&*format!("{WAITING}{target}"), count).map_err(broken)?;
    }
    Ok(())
}

/// Takes over what the first layouts knew of repeats.
fn remember(write: &WriteTransaction) -> Result<(), Broken> {
    let keep = super::ms(super::Options::default().keep_dead);
    let mut repeats = write.open_table(REPEATS).map_err(broken)?;
    let mut untils = write.open_table(REPEATS_UNTIL).map_err(broken)?;
    for entry in write.open_table(SEEN).map_err(broken)?.iter().map_err(broken)? {
        let (named, known) = entry.map_err(broken)?;
        let (body_hash, id) = known.value();
        let key = keys::with_body(named.value(), &body_hash);
        let until = Id(id).received_ms().saturating_add(keep);
        repeats.insert(key, (id, until)).map_err(broken)?;
        untils.insert((until, key), ()).map_err(broken)?;
    }
    write.delete_table(SEEN).map_err(broken)?;
    write.delete_table(SEEN_AT).map(drop).map_err(broken)
}
