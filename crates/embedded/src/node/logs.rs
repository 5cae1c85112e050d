//! Reading the logs of containers, while they are written or later.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::logfile::{LONGEST_PIECE, Line, rotated};
use super::runtime::runs;
use super::volumes::safe;
use crate::api::logs::{LogError, LogOptions, LogSource, LogStream};

const BLOCK: usize = 64 * 1024;
/// How often a followed log is looked at for more.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// Blocks that wait for a slow reader; the rest waits in the file.
const WAITING_BLOCKS: usize = 4;

/// The logs of the pods of a node.
#[derive(Clone, Debug)]
pub struct Logs {
    pods: PathBuf,
}

impl Logs {
    /// The logs of the node with this data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { pods: data_dir.join("pods") }
    }

    async fn find(
        &self,
        pod: &Value,
        container: &str,
        options: &LogOptions,
    ) -> Result<PathBuf, LogError> {
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let name = text("/metadata/name");
        let parts = safe(text("/metadata/uid")).zip(safe(container));
        let directory =
            parts.map(|(uid, container)| self.pods.join(uid).join("containers").join(container));
        let numbers = match &directory {
            Some(directory) => runs(directory).await,
            None => Vec::new(),
        };
        let skipped = usize::from(options.previous);
        match (directory, numbers.iter().rev().nth(skipped)) {
            (Some(directory), Some(number)) => Ok(directory.join(number.to_string())),
            _ if options.previous => Err(LogError::BadRequest(format!(
                "previous terminated container {container:?} in pod {name:?} not found"
            ))),
            _ => Err(LogError::BadRequest(format!(
                "container {container:?} in pod {name:?} is waiting to start: {}",
                waiting_reason(pod, container)
            ))),
        }
    }
}

impl LogSource for Logs {
    fn open<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        Box::pin(async move {
            let directory = self.find(pod, container, &options).await?;
            let (sender, receiver) = mpsc::channel(WAITING_BLOCKS);
            let now = Timestamp::now();
            let recent = options.since_seconds.and_then(|seconds| {
                let seconds = i64::try_from(seconds).ok()?;
                now.checked_sub(SignedDuration::from_secs(seconds)).ok()
            });
            let output = Output {
                since: options.since_time.max(recent),
                timestamps: options.timestamps,
                left: options.limit_bytes,
                within_line: false,
                ready: Vec::new(),
                sender,
            };
            let reader =
                Reader { directory, follow: options.follow, tail: options.tail_lines, output };
            tokio::spawn(async move { reader.run().await });
            Ok(ReceiverStream::new(receiver).boxed())
        })
    }
}

fn waiting_reason<'a>(pod: &'a Value, container: &str) -> &'a str {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|list| pod.pointer(&format!("/status/{list}"))?.as_array())
        .flatten()
        .find(|status| status.get("name").and_then(Value::as_str) == Some(container))
        .and_then(|status| status.pointer("/state/waiting/reason")?.as_str())
        .unwrap_or("ContainerCreating")
}

/// What of the lines goes out, and how.
struct Output {
    since: Option<Timestamp>,
    timestamps: bool,
    left: Option<u64>,
    /// The last piece of a line that was sent has not ended the line.
    within_line: bool,
    ready: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// Nobody wants more.
struct Enough;

impl Output {
    async fn line(&mut self, line: &[u8]) -> Result<(), Enough> {
        // Lines torn by a crash are left out.
        let Some(line) = Line::parse(line) else { return Ok(()) };
        if let Some(since) = self.since
            && line.timestamp().is_none_or(|time| time < since)
        {
            return Ok(());
        }
        if self.timestamps && !self.within_line {
            self.ready.extend_from_slice(line.time.as_bytes());
            self.ready.push(b' ');
        }
        self.ready.extend_from_slice(line.message);
        if !line.partial {
            self.ready.push(b'\n');
        }
        self.within_line = line.partial;
        if self.ready.len() >= BLOCK { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Enough> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.ready);
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        self.sender.send(Ok(bytes.into())).await.map_err(|_| Enough)?;
        if self.left == Some(0) { Err(Enough) } else { Ok(()) }
    }
}

/// Reads the log of one run of a container.
struct Reader {
    directory: PathBuf,
    follow: bool,
    tail: Option<u64>,
    output: Output,
}

impl Reader {
    async fn run(mut self) {
        if let Err(Stop::Broken(error)) = self.read().await {
            // The reader may be gone too.
            let _ = self.output.sender.send(Err(error)).await;
        }
    }

    async fn read(&mut self) -> Result<(), Stop> {
        if self.output.left == Some(0) {
            return Ok(());
        }
        let path = self.directory.join("log");
        let mut files = self.open(&path).await?;
        if let Some(lines) = self.tail {
            skip_to_tail(&mut files, lines).await?;
        }
        let mut current = None;
        for file in files {
            let mut source = Source { file, pending: Vec::new() };
            source.pump(&mut self.output).await?;
            current = Some(source);
        }
        self.output.flush().await?;
        while self.follow {
            let ended = tokio::fs::try_exists(self.directory.join("exit.json")).await?;
            let newest = match File::open(&path).await {
                Ok(file) => file,
                // The pod was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if let Some(source) = &mut current {
                source.pump(&mut self.output).await?;
            }
            let same = match &current {
                Some(source) => inode(&source.file).await? == inode(&newest).await?,
                None => false,
            };
            if !same {
                let mut source = Source { file: newest, pending: Vec::new() };
                source.pump(&mut self.output).await?;
                current = Some(source);
            }
            self.output.flush().await?;
            if ended {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_PAUSE) => {}
                () = self.output.sender.closed() => return Ok(()),
            }
        }
        Ok(())
    }

    /// The files of the log, oldest first.
    async fn open(&self, path: &Path) -> io::Result<Vec<File>> {
        let newest = optional(File::open(path).await)?;
        let older = optional(File::open(rotated(path)).await)?;
        if let (Some(newest), Some(older)) = (&newest, &older)
            && inode(newest).await? == inode(older).await?
        {
            // Rotated between the two; the new file is found when following.
            return Ok(vec![older.try_clone().await?]);
        }
        Ok(older.into_iter().chain(newest).collect())
    }
}

/// Why reading stops before the end.
enum Stop {
    Enough,
    Broken(io::Error),
}

impl From<Enough> for Stop {
    fn from(Enough: Enough) -> Self {
        Self::Enough
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn optional(file: io::Result<File>) -> io::Result<Option<File>> {
    match file {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata().await?.ino())
}

/// One file of a log, and the line that is not complete yet.
struct Source {
    file: File,
    pending: Vec<u8>,
}

impl Source {
    /// Hands on all complete lines that are there.
    async fn pump(&mut self, output: &mut Output) -> Result<(), Stop> {
        let mut block = vec![0; BLOCK];
        loop {
            let count = self.file.read(&mut block).await?;
            if count == 0 {
                return Ok(());
            }
            let mut rest = block.get(..count).unwrap_or_default();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(end);
                self.pending.extend_from_slice(line);
                output.line(&self.pending).await?;
                self.pending.clear();
                rest = after.get(1..).unwrap_or_default();
            }
            // No line of ours is longer; a damaged file must not fill the memory.
            if self.pending.len() + rest.len() <= 2 * LONGEST_PIECE {
                self.pending.extend_from_slice(rest);
            }
        }
    }
}

/// Moves to where the last lines begin, and drops the files that are before that.
async fn skip_to_tail(files: &mut Vec<File>, lines: u64) -> io::Result<()> {
    let mut missing = lines;
    for index in (0..files.len()).rev() {
        let Some(file) = files.get_mut(index) else { break };
        let length = file.metadata().await?.len();
        match start_of_tail(file, length, &mut missing).await? {
            Some(start) => {
                file.seek(SeekFrom::Start(start)).await?;
                files.drain(..index);
                return Ok(());
            }
            None => {
                file.seek(SeekFrom::Start(0)).await?;
            }
        }
    }
    Ok(())
}

/// Where the last `missing` lines begin; `None`, and how many are still missing, if it has less.
async fn start_of_tail(file: &mut File, length: u64, missing: &mut u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK];
    let mut end = length;
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(BLOCK).min(BLOCK);
        let start = end - size as u64;
        file.seek(SeekFrom::Start(start)).await?;
        let Some(part) = block.get_mut(..size) else { break };
        file.read_exact(part).await?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // This line feed ends the line before the tail.
            if *missing == 0 {
                return Ok(Some(after));
            }
            *missing -= 1;
        }
        end = start;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures::TryStreamExt;
    use serde_json::json;

    use super::*;

    const POD: &str = "2f1e";

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new(runs: &[(&str, &str)]) -> Self {
            let place = Self { dir: tempfile::tempdir().unwrap() };
            for (file, text) in runs {
                let path = place.path(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            place
        }

        fn path(&self, file: &str) -> PathBuf {
            self.dir.path().join("pods").join(POD).join("containers/main").join(file)
        }

        async fn read(&self, options: LogOptions) -> Result<String, LogError> {
            let pod = json!({"metadata": {"name": "one", "uid": POD}});
            let stream = Logs::new(self.dir.path()).open(&pod, "main", options).await?;
            let parts: Vec<Bytes> = stream.try_collect().await.unwrap();
            Ok(String::from_utf8(parts.concat()).unwrap())
        }
    }

    const OLD: &str = "2024-01-01T00:00:01.000000000Z stdout F one\n";
    const NEW: &str = "2024-01-01T00:00:02.000000000Z stdout P tw\n\
                       2024-01-01T00:00:03.000000000Z stdout F o\n\
                       torn\n\
                       2024-01-01T00:00:04.000000000Z stderr F three\n\
                       2024-01-01T00:0";

    fn place() -> Place {
        Place::new(&[("0/log", "x"), ("1/log.1", OLD), ("1/log", NEW)])
    }

    #[rstest::rstest]
    #[case(LogOptions::default(), "one\ntwo\nthree\n")]
    #[case(LogOptions { tail_lines: Some(0), ..Default::default() }, "")]
    #[case(LogOptions { tail_lines: Some(1), ..Default::default() }, "three\n")]
    #[case(LogOptions { tail_lines: Some(5), ..Default::default() }, "one\ntwo\nthree\n")]
    #[case(LogOptions { tail_lines: Some(99), ..Default::default() }, "one\ntwo\nthree\n")]
    #[case(LogOptions { limit_bytes: Some(5), ..Default::default() }, "one\nt")]
    #[case(LogOptions { limit_bytes: Some(0), ..Default::default() }, "")]
    #[case(LogOptions { since_seconds: Some(60), ..Default::default() }, "")]
    #[case(LogOptions { since_time: "2024-01-01T00:00:04Z".parse().ok(), ..Default::default() }, "three\n")]
    #[case(LogOptions { timestamps: true, tail_lines: Some(1), ..Default::default() }, "2024-01-01T00:00:04.000000000Z three\n")]
    #[tokio::test]
    async fn reads_what_is_asked_for(#[case] options: LogOptions, #[case] expected: &str) {
        assert_eq!(place().read(options).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn says_what_is_not_there() {
        let nothing = Place::new(&[]);
        let error = nothing.read(LogOptions::default()).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "container \"main\" in pod \"one\" is waiting to start: ContainerCreating"
        );
        let previous = LogOptions { previous: true, ..LogOptions::default() };
        let error = nothing.read(previous.clone()).await.unwrap_err().to_string();
        assert_eq!(error, "previous terminated container \"main\" in pod \"one\" not found");
        assert_eq!(place().read(previous).await.unwrap(), "");
    }

    #[tokio::test]
    async fn follows_across_a_rotation_until_the_end() {
        let place = Place::new(&[("0/log", OLD)]);
        let log = place.path("0/log");
        let pod = json!({"metadata": {"name": "one", "uid": POD}});
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let logs = Logs::new(place.dir.path());
        let mut stream = logs.open(&pod, "main", follow).await.unwrap();
        assert_eq!(stream.try_next().await.unwrap().unwrap(), "one\n");
        let mut file = std::fs::File::options().append(true).open(&log).unwrap();
        file.write_all(b"2024-01-01T00:00:02Z stdout F two\n").unwrap();
        std::fs::rename(&log, rotated(&log)).unwrap();
        std::fs::write(&log, "2024-01-01T00:00:03Z stdout F three\n").unwrap();
        std::fs::write(place.path("0/exit.json"), "{}").unwrap();
        let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(rest.concat(), b"two\nthree\n");
    }
}
