//! Files that only their owner may read.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Puts a file with mode 0600 in place, whole or not at all, replacing what was there.
pub fn replace_private(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let _stale = fs::remove_file(&draft);
    write_private(&draft, text)?;
    fs::rename(draft, path)
}

/// Makes a file with mode 0600 that was not there before.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What a file holds, and whose it is.
pub(super) struct Private {
    /// The permission bits.
    pub(super) mode: u32,
    /// The text; `None` if it is too long, no text, or no file.
    pub(super) text: Option<String>,
}

impl Private {
    /// Whether others can read it.
    pub(super) fn is_exposed(&self) -> bool {
        self.mode & 0o077 != 0
    }
}

/// Reads a file of at most `limit` bytes, unless others can read it too.
pub(super) fn read_private(path: &Path, limit: u64) -> io::Result<Private> {
    let file = fs::File::open(path)?;
    let meta = file.metadata()?;
    let mut private = Private { mode: meta.permissions().mode() & 0o777, text: None };
    if !private.is_exposed() && meta.is_file() && meta.len() <= limit {
        let mut text = String::new();
        private.text = file.take(limit).read_to_string(&mut text).is_ok().then_some(text);
    }
    Ok(private)
}
