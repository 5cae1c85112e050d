//! The log file of a container: `RFC3339Nano stdout|stderr F|P message` per line, as container
//! runtimes write it. A line marked `P` goes on in the next one of the same stream.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// The longest piece of a program's line that one line of the file holds.
pub(crate) const LONGEST_PIECE: usize = 16 * 1024;

/// Which stream of the program a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// The name of the file that rotation moves a full log to.
pub(crate) fn rotated(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// Writes the log of one container, and rotates it.
pub(crate) struct Writer {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    limit: u64,
}

impl Writer {
    pub(crate) fn create(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self { path, file: Some(file), written, limit: limit.max(LONGEST_PIECE as u64) })
    }

    /// Appends whole lines. A disk that is full loses them: the program must not stall on its log.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.written > 0 && self.written + lines.len() as u64 > self.limit {
            self.rotate();
        }
        if self.file.is_none() {
            self.file = open(&self.path).ok();
        }
        if let Some(file) = &mut self.file
            && file.write_all(lines).is_ok()
        {
            self.written += lines.len() as u64;
        }
    }

    fn rotate(&mut self) {
        // Without the rename the file would grow without end, so it is started over instead.
        if std::fs::rename(&self.path, rotated(&self.path)).is_err()
            && let Some(file) = &self.file
        {
            // A failure leaves the file as it is; the next append tries again.
            let _ = file.set_len(0);
        }
        self.file = open(&self.path).ok();
        self.written = 0;
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Cuts what a program writes to one stream into lines of the log.
pub(crate) struct Splitter {
    stream: Stream,
    pending: Vec<u8>,
}

impl Splitter {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes what was read now, and appends the finished lines to `out`.
    pub(crate) fn push(&mut self, now: Timestamp, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.take(now, line, out);
            self.flush(now, b"F", out);
        }
        self.take(now, bytes, out);
    }

    /// The program will write no more: what is left is its last line.
    pub(crate) fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.flush(now, b"F", out);
        }
    }

    fn take(&mut self, now: Timestamp, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.pending.len() + bytes.len() > LONGEST_PIECE {
            let (piece, rest) = bytes.split_at(LONGEST_PIECE - self.pending.len());
            self.pending.extend_from_slice(piece);
            bytes = rest;
            self.flush(now, b"P", out);
        }
        self.pending.extend_from_slice(bytes);
    }

    fn flush(&mut self, now: Timestamp, tag: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{now:.9}").as_bytes());
        for part in [b" ", self.stream.name(), b" ", tag, b" ", &self.pending, b"\n"] {
            out.extend_from_slice(part);
        }
        self.pending.clear();
    }
}

/// One line of a log file, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) time: &'a str,
    pub(crate) partial: bool,
    pub(crate) message: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its line feed; `None` if it is not one of ours (torn by a crash).
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = parts.next()?;
        let tag = parts.next()?;
        let message = parts.next()?;
        let known = matches!(stream, b"stdout" | b"stderr") && matches!(tag, b"F" | b"P");
        known.then_some(Self { time, partial: tag == b"P", message })
    }

    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2024-05-01T10:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn splits_lines_and_keeps_the_unfinished_one() {
        let mut splitter = Splitter::new(Stream::Stderr);
        let mut out = Vec::new();
        splitter.push(at(), b"one\ntw", &mut out);
        splitter.push(at(), b"o\n\nthree", &mut out);
        splitter.finish(at(), &mut out);
        let stamp = "2024-05-01T10:00:00.500000000Z stderr F";
        let expected = format!("{stamp} one\n{stamp} two\n{stamp} \n{stamp} three\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn marks_the_pieces_of_a_long_line() {
        let mut splitter = Splitter::new(Stream::Stdout);
        let mut out = Vec::new();
        let mut long = vec![b'x'; 2 * LONGEST_PIECE + 5];
        long.push(b'\n');
        splitter.push(at(), &long, &mut out);
        let lines: Vec<_> = out
            .split(|byte| *byte == b'\n')
            .filter_map(Line::parse)
            .map(|line| (line.partial, line.message.len()))
            .collect();
        assert_eq!(lines, [(true, LONGEST_PIECE), (true, LONGEST_PIECE), (false, 5)]);
    }

    #[test]
    fn rotates_and_keeps_one_older_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = Writer::create(path.clone(), 0).unwrap();
        for letter in [b'a', b'b', b'c'] {
            writer.append(&vec![letter; LONGEST_PIECE]);
        }
        assert_eq!(std::fs::read(&path).unwrap(), vec![b'c'; LONGEST_PIECE]);
        assert_eq!(std::fs::read(rotated(&path)).unwrap(), vec![b'b'; LONGEST_PIECE]);
    }

    #[test]
    fn refuses_torn_lines() {
        assert_eq!(Line::parse(b"2024-05-01T10:00:00Z std"), None);
        assert_eq!(Line::parse(b""), None);
        assert_eq!(Line::parse(b"2024-05-01T10:00:00Z stdout X a"), None);
    }
}
