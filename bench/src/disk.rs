//! What the disk itself takes to make a small write durable.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// About what one object takes in a log.
const BYTES: usize = 1024;

/// Appends to a file and waits for `fdatasync`, again and again; gives the sorted times.
pub(crate) fn synced_writes(directory: &Path, count: usize) -> Result<Vec<Duration>> {
    let mut file = File::create_new(directory.join("probe")).context("cannot make a file")?;
    let block = [b'x'; BYTES];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// The type of the file system that holds a directory.
pub(crate) fn file_system(directory: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    // The last mount on a directory hides those before.
    let found = holding.max_by_key(|(length, _)| *length);
    found.map_or("unknown", |(_, kind)| kind).to_owned()
}
