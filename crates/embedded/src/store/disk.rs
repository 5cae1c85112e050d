//! The redb file: the log of revisions, and how far back each resource's history reaches.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
    TableError, backends::FileBackend,
};

use super::{
    OpenError, StorageError, StoreOptions,
    memory::{Garbage, Memory},
    record,
};

const FORMAT: &str = "quartermaster-store-1";
const ABOUT: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const FLOORS: TableDefinition<'_, &str, u64> = TableDefinition::new("floors");

/// All reads are from memory; redb only needs the pages of the current batch.
const CACHE_BYTES: usize = 4 << 20;

/// A file that refuses to grow beyond a bound, as a full disk would.
#[derive(Debug)]
struct Bounded {
    file: FileBackend,
    max: Arc<AtomicU64>,
}

impl StorageBackend for Bounded {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.max.load(Ordering::Relaxed) && len > self.file.len()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    max: Arc<AtomicU64>,
    /// `None` after a failure: redb wants to be opened anew then.
    database: Option<Database>,
    /// The last revision that is known to be durable.
    revision: u64,
}

impl Disk {
    /// Opens the file and reads all of it, or makes it.
    pub(super) fn open(
        directory: &Path,
        options: &StoreOptions,
        max: Arc<AtomicU64>,
    ) -> Result<(Self, Memory, Garbage), OpenError> {
        let path = directory.join("store.redb");
        let io = |source| OpenError::Io { path: path.display().to_string(), source };
        if !path.try_exists().map_err(io)? {
            create(directory, &path, &max)?;
        }
        let unusable =
            |reason: String| OpenError::Unusable { path: path.display().to_string(), reason };
        // redb trusts a file that carries its magic number, so a damaged one may trip an assertion.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open_file(&path, &max, false).map_err(|error| match error {
                OpenFailure::Io(source) => io(source),
                OpenFailure::Database(error) => unusable(error.to_string()),
            })?;
            let (memory, garbage) = load(&database, &path, options)?;
            Ok((database, memory, garbage))
        }));
        let (database, memory, garbage) =
            opened.map_err(|_| unusable("it is damaged".to_owned()))??;
        let revision = memory.revision();
        Ok((Self { path, max, database: Some(database), revision }, memory, garbage))
    }

    /// Stores records and forgets garbage in one durable step.
    pub(super) fn commit(
        &mut self,
        records: &[(u64, Vec<u8>)],
        garbage: &Garbage,
    ) -> Result<(), StorageError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let result = catch_unwind(AssertUnwindSafe(|| transact(&database, records, garbage)));
        match result {
            Ok(Ok(())) => {
                self.database = Some(database);
                self.revision = records.last().map_or(self.revision, |(revision, _)| *revision);
                Ok(())
            }
            Ok(Err(error)) => Err(storage_error(&error)),
            Err(_) => Err(StorageError::Io("the store file is damaged".into())),
        }
    }

    /// Opens the file again after a failed commit, which may have become durable all the same: its
    /// callers were told that it failed, so it is taken back.
    fn reopen(&self) -> Result<Database, StorageError> {
        let database = open_file(&self.path, &self.max, false).map_err(|error| match error {
            OpenFailure::Io(error) => io_error(&error),
            OpenFailure::Database(error) => storage_error(&error.into()),
        })?;
        let undo = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut log = transaction.open_table(LOG)?;
                log.retain_in(self.revision + 1.., |_, _| false)?;
            }
            transaction.commit()?;
            Ok(())
        };
        undo().map_err(|error| storage_error(&error))?;
        Ok(database)
    }
}

enum OpenFailure {
    Io(io::Error),
    Database(DatabaseError),
}

fn open_file(path: &Path, max: &Arc<AtomicU64>, new: bool) -> Result<Database, OpenFailure> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(new)
        .truncate(new)
        .mode(0o600)
        .open(path)
        .map_err(OpenFailure::Io)?;
    if !new && file.metadata().map_err(OpenFailure::Io)?.len() == 0 {
        // redb would make a new store of it; ours are never empty.
        let reason = "it is empty".to_owned();
        return Err(OpenFailure::Database(redb::StorageError::Corrupted(reason).into()));
    }
    let backend =
        Bounded { file: FileBackend::new(file).map_err(OpenFailure::Database)?, max: max.clone() };
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(backend)
        .map_err(OpenFailure::Database)
}

/// Makes an empty store under another name first: a crash never leaves half of one.
fn create(directory: &Path, path: &Path, max: &Arc<AtomicU64>) -> Result<(), OpenError> {
    let new = path.with_extension("new");
    let fail = |source| OpenError::Io { path: new.display().to_string(), source };
    let database = open_file(&new, max, true).map_err(|error| match error {
        OpenFailure::Io(source) => fail(source),
        OpenFailure::Database(error) => fail(io::Error::other(error)),
    })?;
    let fill = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(ABOUT)?.insert("format", FORMAT)?;
        transaction.open_table(LOG)?;
        transaction.open_table(FLOORS)?;
        transaction.commit()?;
        Ok(())
    };
    fill().map_err(|error| fail(io::Error::other(error)))?;
    drop(database);
    std::fs::rename(&new, path).and_then(|()| File::open(directory)?.sync_all()).map_err(fail)
}

/// Reads the log into memory.
fn load(
    database: &Database,
    path: &Path,
    options: &StoreOptions,
) -> Result<(Memory, Garbage), OpenError> {
    let unusable =
        |reason: String| OpenError::Unusable { path: path.display().to_string(), reason };
    let failed = |error: redb::Error| unusable(error.to_string());
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let about = transaction.open_table(ABOUT).map_err(|error| match error {
        TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. } => {
            unusable("another program made it".to_owned())
        }
        error => failed(error.into()),
    })?;
    let format = about.get("format").map_err(|error| failed(error.into()))?;
    let format = format.map(|format| format.value().to_owned()).unwrap_or_default();
    if format != FORMAT {
        let path = path.display().to_string();
        return Err(OpenError::Format { path, found: format, supported: FORMAT });
    }
    let read = || -> Result<Result<(Memory, Garbage), String>, redb::Error> {
        let mut floors = BTreeMap::new();
        for floor in transaction.open_table(FLOORS)?.iter()? {
            let (resource, revision) = floor?;
            floors.insert(resource.value().to_owned(), revision.value());
        }
        let mut memory = Memory::new(options, floors);
        let mut garbage = Garbage::default();
        for record in transaction.open_table(LOG)?.iter()? {
            let (revision, bytes) = record?;
            let record = match record::decode(revision.value(), bytes.value()) {
                Ok(record) => record,
                Err(reason) => return Ok(Err(reason)),
            };
            let resource = memory.name(&record.resource);
            memory.apply(
                record.action,
                &resource,
                record.key,
                Arc::new(record.entry),
                &mut garbage,
            );
        }
        memory.started(options);
        Ok(Ok((memory, garbage)))
    };
    read().map_err(failed)?.map_err(unusable)
}

fn transact(
    database: &Database,
    records: &[(u64, Vec<u8>)],
    garbage: &Garbage,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut log = transaction.open_table(LOG)?;
        for (revision, bytes) in records {
            log.insert(revision, bytes.as_slice())?;
        }
        if !garbage.is_empty() {
            for revision in &garbage.records {
                log.remove(revision)?;
            }
            let mut floors = transaction.open_table(FLOORS)?;
            for (resource, floor) in &garbage.floors {
                floors.insert(&**resource, floor)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn storage_error(error: &redb::Error) -> StorageError {
    match error {
        redb::Error::Io(error) => io_error(error),
        other => StorageError::Io(other.to_string().into()),
    }
}

fn io_error(error: &io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Io(error.to_string().into()),
    }
}
