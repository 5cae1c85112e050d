//! The data directory: private, and used by one process at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::OpenError;

/// Holds the directory until dropped; the kernel gives it free when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes a directory (0700) and its parents, or makes an existing one private.
pub fn prepare_directory(directory: &Path) -> Result<(), OpenError> {
    let error = |source| OpenError::Io { path: directory.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(error)?;
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700)).map_err(error)
}

pub(super) fn acquire(directory: &Path) -> Result<Lock, OpenError> {
    prepare_directory(directory)?;
    let path = directory.join("lock");
    let error = |source| OpenError::Io { path: path.display().to_string(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Who it is helps, but is not needed to refuse.
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
            return Err(OpenError::InUse {
                directory: directory.display().to_string(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(error(source)),
    }
    // The process id only informs the next one: a full disk must not keep the store from opening.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock { _file: file })
}
