//! Every file operation, each one relative to an open directory that no path can leave.
//!
//! The kernel itself keeps paths inside (`openat2` with `RESOLVE_BENEATH`): links that stay inside
//! work, links that lead out are refused, and there is no gap between a check and its use.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};
use serde::Serialize;

use crate::error::Error;

const NAME_LIMIT: usize = 255;
const PATH_LIMIT: usize = 4000;
const DEPTH_LIMIT: usize = 128;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path inside the root, free of `.`, `..`, NUL and absolute parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InnerPath(Vec<OsString>);

impl InnerPath {
    /// Reads a percent-encoded path of a URL. Empty parts are dropped.
    pub fn decode(encoded: &str) -> Result<Self, Error> {
        if encoded.len() > 3 * PATH_LIMIT {
            return Err(Error::new(StatusCode::BAD_REQUEST, "the path is too long"));
        }
        let mut parts = Vec::new();
        let mut length = 0;
        for part in encoded.split('/').filter(|part| !part.is_empty()) {
            let name: Vec<u8> = percent_decode_str(part).collect();
            length += name.len() + 1;
            let plain = name != b"." && name != b".." && !name.contains(&0);
            if !plain || name.contains(&b'/') {
                return Err(Error::new(
                    StatusCode::BAD_REQUEST,
                    "the path holds a part that is not a name",
                ));
            }
            if name.len() > NAME_LIMIT || length > PATH_LIMIT || parts.len() >= DEPTH_LIMIT {
                return Err(Error::new(StatusCode::BAD_REQUEST, "the path is too long"));
            }
            parts.push(OsString::from_vec(name));
        }
        Ok(Self(parts))
    }

    /// The folder and the name in it; an error for the root itself.
    fn split(&self) -> Result<(PathBuf, &OsStr), Error> {
        match self.0.split_last() {
            Some((name, parents)) => Ok((relative(parents), name)),
            None => Err(Error::new(StatusCode::FORBIDDEN, "the top folder itself stays")),
        }
    }

    /// The last part, or nothing for the root.
    pub fn name(&self) -> Option<&OsStr> {
        self.0.last().map(OsString::as_os_str)
    }

    fn shown(&self) -> String {
        match self.name() {
            Some(name) => format!("“{}”", name.to_string_lossy()),
            None => "the top folder".to_owned(),
        }
    }
}

fn relative(parts: &[OsString]) -> PathBuf {
    if parts.is_empty() { PathBuf::from(".") } else { parts.iter().collect() }
}

/// One line of a [`Listing`].
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Entry {
    /// The name, for people; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// The name as a part of a URL; exact.
    pub href: String,
    /// `folder`, `file`, `link` (one that leads out or nowhere) or `other`.
    pub kind: &'static str,
    /// Size in bytes, of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Last change, RFC 3339.
    pub modified: String,
}

/// What a folder holds: folders first, then by name.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// True when the folder holds more entries than are shown.
    pub truncated: bool,
}

/// A directory and everything below it. Clones share the same open directory.
#[derive(Debug, Clone)]
pub struct Root(Arc<OwnedFd>);

impl Root {
    /// Opens the directory that everything happens in.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(Arc::new(fs::open(path, flags, Mode::empty())?)))
    }

    fn beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        match fs::openat2(&*self.0, path, flags, Mode::empty(), resolve) {
            // Kernels and sandboxes without openat2: no link is followed at all.
            Err(Errno::NOSYS | Errno::PERM) => self.step_by_step(path, flags),
            result => result,
        }
    }

    fn step_by_step(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let parents = path.parent().unwrap_or(Path::new(""));
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = fs::openat(&*self.0, ".", step, Mode::empty())?;
        for part in parents {
            at = fs::openat(&at, part, step, Mode::empty())?;
        }
        let name = path.file_name().unwrap_or(OsStr::new("."));
        fs::openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    fn folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.beneath(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Lists a folder, at most `limit` entries of it.
    pub fn list(&self, path: &InnerPath, limit: usize) -> Result<Listing, Error> {
        let fail = |errno| Error::from_errno(errno, &path.shown());
        let at = relative(&path.0);
        let folder = self.beneath(&at, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
        let mut entries = Vec::new();
        let mut truncated = false;
        for entry in Dir::read_from(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || name.starts_with(UPLOAD_PREFIX.as_bytes()) {
                continue;
            }
            if entries.len() == limit {
                truncated = true;
                break;
            }
            // An entry that vanished since is not an error of the listing.
            entries.extend(self.entry(&at, &folder, OsStr::from_bytes(name)));
        }
        entries.sort_by(|a, b| {
            (a.kind != "folder").cmp(&(b.kind != "folder")).then_with(|| a.name.cmp(&b.name))
        });
        Ok(Listing { entries, truncated })
    }

    fn entry(&self, at: &Path, folder: &OwnedFd, name: &OsStr) -> Option<Entry> {
        let mut stat = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = self.beneath(&at.join(name), OFlags::PATH);
            if let Some(inside) = target.ok().and_then(|target| fs::fstat(target).ok()) {
                stat = inside;
            }
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => "folder",
            FileType::RegularFile => "file",
            FileType::Symlink => "link",
            _ => "other",
        };
        let modified = jiff::Timestamp::from_second(stat.st_mtime).unwrap_or_default();
        Some(Entry {
            name: name.to_string_lossy().into_owned(),
            href: percent_encode(name.as_bytes(), UNRESERVED).to_string(),
            kind,
            size: (kind == "file").then(|| u64::try_from(stat.st_size).unwrap_or(0)),
            modified: modified.to_string(),
        })
    }

    /// Opens a regular file for reading; also gives its size.
    pub fn read(&self, path: &InnerPath) -> Result<(std::fs::File, u64), Error> {
        let fail = |errno| Error::from_errno(errno, &path.shown());
        // NONBLOCK: opening a FIFO must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.beneath(&relative(&path.0), flags).map_err(fail)?;
        let stat = fs::fstat(&file).map_err(fail)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file.into(), u64::try_from(stat.st_size).unwrap_or(0))),
            FileType::Directory => Err(fail(Errno::ISDIR)),
            _ => Err(Error::new(StatusCode::FORBIDDEN, format!("{} is not a file", path.shown()))),
        }
    }

    /// Starts writing a file that appears under its name only when it is complete.
    pub fn write(&self, path: &InnerPath) -> Result<Draft, Error> {
        let fail = |errno| Error::from_errno(errno, &path.shown());
        let (parent, name) = path.split()?;
        let folder = self.folder(&parent).map_err(fail)?;
        let draft = format!("{UPLOAD_PREFIX}{:016x}", nonce());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = fs::openat(&folder, &draft, flags, mode).map_err(fail)?;
        let file = Some(file.into());
        Ok(Draft { folder, draft, name: name.to_owned(), shown: path.shown(), file, kept: false })
    }

    /// Makes one folder.
    pub fn make_folder(&self, path: &InnerPath) -> Result<(), Error> {
        let fail = |errno| Error::from_errno(errno, &path.shown());
        let (parent, name) = path.split()?;
        let folder = self.folder(&parent).map_err(fail)?;
        let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        fs::mkdirat(&folder, name, mode).map_err(fail)
    }

    /// Moves or renames; refuses to replace anything.
    pub fn rename(&self, from: &InnerPath, to: &InnerPath) -> Result<(), Error> {
        let (from_parent, from_name) = from.split()?;
        let (to_parent, to_name) = to.split()?;
        let source =
            self.folder(&from_parent).map_err(|errno| Error::from_errno(errno, &from.shown()))?;
        let fail = |errno| Error::from_errno(errno, &to.shown());
        let target = self.folder(&to_parent).map_err(fail)?;
        fs::renameat_with(&source, from_name, &target, to_name, RenameFlags::NOREPLACE).map_err(
            |errno| match errno {
                Errno::NOENT => Error::from_errno(errno, &from.shown()),
                other => fail(other),
            },
        )
    }

    /// Deletes a file, a link or an empty folder; with `recursive` a folder and all it holds.
    pub fn delete(&self, path: &InnerPath, recursive: bool) -> Result<(), Error> {
        let fail = |errno| Error::from_errno(errno, &path.shown());
        let (parent, name) = path.split()?;
        let folder = self.folder(&parent).map_err(fail)?;
        let stat = fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return fs::unlinkat(&folder, name, AtFlags::empty()).map_err(fail);
        }
        if recursive {
            empty(&folder, name, DEPTH_LIMIT).map_err(fail)?;
        }
        fs::unlinkat(&folder, name, AtFlags::REMOVEDIR).map_err(fail)
    }
}

/// Deletes all that a folder holds, never following a link.
fn empty(parent: &OwnedFd, name: &OsStr, depth: usize) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                empty(&folder, OsStr::from_bytes(name.to_bytes()), depth - 1)?;
                fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?;
            }
            Ok(()) | Err(Errno::NOENT) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// Names of files that are still being written; listings leave them out.
const UPLOAD_PREFIX: &str = ".quartermaster-upload-";

fn nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Only has to differ between uploads; EXCL catches the rest.
    RandomState::new().hash_one(std::process::id())
}

/// A file being written. Dropped before [`Draft::keep`], it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    folder: OwnedFd,
    draft: String,
    name: OsString,
    shown: String,
    file: Option<std::fs::File>,
    kept: bool,
}

impl Draft {
    /// The open file, once.
    pub fn take_file(&mut self) -> Option<std::fs::File> {
        self.file.take()
    }

    /// How messages call the file.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Puts the complete file in place; without `replace` only where there is none.
    pub fn keep(mut self, replace: bool) -> Result<(), Error> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        fs::renameat_with(&self.folder, &self.draft, &self.folder, &self.name, flags)
            .map_err(|errno| Error::from_errno(errno, &self.shown))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::unlinkat(&self.folder, &self.draft, AtFlags::empty())
        {
            tracing::warn!(%error, "an unfinished upload could not be removed");
        }
    }
}
