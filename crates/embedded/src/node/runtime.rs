//! Containers as local processes: one shim each, found again after a crash.
//!
//! `PODS/UID/containers/NAME/NUMBER` holds one run of a container: `started.json`, `exit.json`,
//! `log` and `log.1`, and `stopped` if the node itself ended it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::process::{self, Identity, MARK, boot_id, sweep};
use super::shim::{Answer, Exit, KILL_NOW, Orders, Started, write_json};

/// How long a shim may take to start a program.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How often a shim that cannot be watched is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// The largest answer of a shim.
const LARGEST_ANSWER: u64 = 64 * 1024;
/// The log of one run is rotated at this size, and one older file is kept.
const LOG_BYTES: u64 = 10 * 1024 * 1024;

/// How often a directory in which something appears meanwhile is removed again.
const REMOVALS: u32 = 8;

/// What is kept of the output of a command beside the program.
const LARGEST_OUTPUT: u64 = 10 * 1024;

/// What to run in a container. Not printable: the environment holds secrets.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: PathBuf,
}

impl Program {
    /// A program that does nothing, for where none can be named.
    pub(crate) fn none() -> Self {
        Self {
            path: PathBuf::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            working_directory: PathBuf::from("/"),
        }
    }
}

/// One run of a container.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Counts the runs of the container, from 0.
    pub(crate) number: u32,
    pub(crate) directory: PathBuf,
    pub(crate) started: Started,
    ending: watch::Receiver<Option<Ending>>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) exit: Exit,
    pub(crate) cause: Cause,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The program ended, by itself or by a signal.
    Program,
    /// The node was stopped, or the machine was.
    NodeStopped,
    /// Its shim vanished, and what was left of it was killed.
    Lost,
}

impl Run {
    /// How it ended, if it has.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.borrow().clone()
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Option<Ending> {
        let mut ending = self.ending.clone();
        ending.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// How to end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ask: SIGTERM.
    Ask,
    /// Kill at once.
    Kill,
}

/// A container could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the directory of the container cannot be made: {0}")]
    Directory(#[source] io::Error),
    #[error("the shim cannot be started: {0}")]
    Shim(#[source] io::Error),
    #[error("the shim did not answer")]
    NoAnswer,
    #[error("{0}")]
    Program(String),
}

/// What runs the containers of pods. Pods and containers are named by directories, so that another
/// runtime can keep its own things there.
pub(crate) trait PodRuntime: Send + Sync {
    /// Starts run `number` of the container in `directory`.
    fn start(
        &self,
        directory: &Path,
        number: u32,
        program: Program,
    ) -> BoxFuture<'_, Result<Run, StartError>>;

    /// Finds the latest run of the container in `directory`, running or not. What is left of a run
    /// that nobody watches any more is killed before this returns.
    fn recover(&self, directory: &Path) -> BoxFuture<'_, Option<Run>>;

    /// Asks a run to end, or kills it. Does not wait.
    fn stop(&self, run: &Run, how: Stop) -> BoxFuture<'_, ()>;

    /// Kills whatever still runs of a pod and removes its directory.
    fn remove(&self, pod: &Path) -> BoxFuture<'_, io::Result<()>>;
}

/// Runs containers as processes of this machine.
#[derive(Debug)]
pub(crate) struct LocalProcesses {
    shim: PathBuf,
}

impl LocalProcesses {
    /// `shim` is the program whose subcommand `pod-shim` is the shim.
    pub(crate) fn new(shim: PathBuf) -> Self {
        Self { shim }
    }

    async fn launch(&self, directory: PathBuf, program: Program) -> Result<Launched, StartError> {
        make_directory(&directory).await.map_err(StartError::Directory)?;
        let (socket, child) = self.spawn(&directory).map_err(StartError::Shim)?;
        let orders = Orders {
            program: program.path,
            arguments: program.arguments,
            environment: with_mark(program.environment, &directory),
            working_directory: program.working_directory,
            directory,
            log_bytes: LOG_BYTES,
        };
        let answer = tokio::time::timeout(START_PATIENCE, converse(socket, &orders)).await;
        match answer {
            Ok(Ok(Answer::Started(started))) => Ok(Launched { child, started }),
            Ok(Ok(Answer::Failed(reason))) => Err(StartError::Program(reason)),
            Ok(Err(_)) | Err(_) => {
                sweep(orders.directory, |_| false).await;
                Err(StartError::NoAnswer)
            }
        }
    }

    fn spawn(&self, directory: &Path) -> io::Result<(UnixStream, Child)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&self.shim)
            .arg("pod-shim")
            .env_clear()
            .env(MARK, directory)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((UnixStream::from_std(ours)?, child))
    }
}

struct Launched {
    child: Child,
    started: Started,
}

async fn converse(mut socket: UnixStream, orders: &Orders) -> io::Result<Answer> {
    let text = serde_json::to_vec(orders).map_err(io::Error::other)?;
    socket.write_all(&text).await?;
    socket.shutdown().await?;
    let mut answer = Vec::new();
    socket.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

fn with_mark(mut environment: Vec<(String, String)>, directory: &Path) -> Vec<(String, String)> {
    environment.retain(|(name, _)| name != MARK);
    environment.push((MARK.to_owned(), directory.to_string_lossy().into_owned()));
    environment
}

impl PodRuntime for LocalProcesses {
    fn start(
        &self,
        directory: &Path,
        number: u32,
        program: Program,
    ) -> BoxFuture<'_, Result<Run, StartError>> {
        let container = directory.to_owned();
        Box::pin(async move {
            let directory = container.join(number.to_string());
            let Launched { mut child, started } = self.launch(directory.clone(), program).await?;
            let gone = async move {
                let _ = child.wait().await;
            };
            forget_old_runs(&container, number).await;
            Ok(watch_run(number, directory, started, gone))
        })
    }

    fn recover(&self, directory: &Path) -> BoxFuture<'_, Option<Run>> {
        let container = directory.to_owned();
        Box::pin(async move {
            for number in runs(&container).await.into_iter().rev() {
                let directory = container.join(number.to_string());
                if let Some(started) = read::<Started>(&directory.join("started.json")).await {
                    let shim = started.shim.clone();
                    let over = !shim.is_alive();
                    let gone = async move { wait_for_end(&shim).await };
                    let run = watch_run(number, directory, started, gone);
                    if over {
                        run.ended().await;
                    }
                    return Some(run);
                }
                // It never ran, or its shim was cut off between two steps.
                sweep(directory.clone(), |_| false).await;
                let _ = tokio::fs::remove_dir_all(&directory).await;
            }
            None
        })
    }

    fn stop(&self, run: &Run, how: Stop) -> BoxFuture<'_, ()> {
        let signal = if how == Stop::Ask { Signal::TERM } else { KILL_NOW };
        let _ = run.started.shim.signal(signal);
        Box::pin(std::future::ready(()))
    }

    fn remove(&self, pod: &Path) -> BoxFuture<'_, io::Result<()>> {
        let pod = pod.to_owned();
        Box::pin(async move {
            let left = sweep(pod.clone(), |_| false).await;
            if left > 0 {
                return Err(io::Error::other(format!("{left} processes cannot be killed")));
            }
            // Who watched a run may be writing down how it ended, once for each.
            for _ in 0..REMOVALS {
                match tokio::fs::remove_dir_all(&pod).await {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => return Ok(()),
                }
            }
            tokio::fs::remove_dir_all(&pod).await
        })
    }
}

fn watch_run(
    number: u32,
    directory: PathBuf,
    started: Started,
    gone: impl Future<Output = ()> + Send + 'static,
) -> Run {
    let (sender, ending) = watch::channel(None);
    let (place, shim) = (directory.clone(), started.shim.clone());
    tokio::spawn(async move {
        gone.await;
        let ending = find_ending(&place, &shim).await;
        sender.send_replace(Some(ending));
        // Held until nobody asks any more, so that waiting for the end always gets an answer.
        sender.closed().await;
    });
    Run { number, directory, started, ending }
}

/// How a run whose shim is gone has ended. Kills what the shim could not.
async fn find_ending(directory: &Path, shim: &Identity) -> Ending {
    let stopped = tokio::fs::try_exists(directory.join("stopped")).await.unwrap_or(false);
    let rebooted = boot_id().is_ok_and(|boot| boot != shim.boot_id);
    let file = directory.join("exit.json");
    let (exit, cause) = match read::<Exit>(&file).await {
        Some(exit) => (exit, Cause::Program),
        None => {
            sweep(directory.to_owned(), |_| false).await;
            let exit = Exit::unknown(Timestamp::now());
            let _ = write_json(&file, &exit);
            (exit, if rebooted { Cause::NodeStopped } else { Cause::Lost })
        }
    };
    Ending { exit, cause: if stopped { Cause::NodeStopped } else { cause } }
}

/// Notes that the node ends this run because it stops itself.
pub(crate) async fn note_stopped(run: &Run) {
    // Without the note the end counts as the program's own, which only costs a restart more.
    let _ = tokio::fs::write(run.directory.join("stopped"), b"").await;
}

async fn wait_for_end(process: &Identity) {
    let Some(handle) = process.open() else { return };
    #[expect(deprecated, reason = "safe for an owned descriptor; its successor is unsafe to call")]
    let watched = AsyncFd::new(handle);
    // Readable means ended. What cannot be watched is looked at from time to time.
    if let Ok(watched) = watched
        && watched.readable().await.is_ok()
        && !process.is_alive()
    {
        return;
    }
    while process.is_alive() {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).await
}

/// What a file says, if it can be read.
pub(crate) async fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&tokio::fs::read(path).await.ok()?).ok()
}

/// Runs a command beside a container's program, and returns how it ended and the beginning of what
/// it wrote. Killed when dropped.
pub(crate) async fn execute(run: &Path, program: Program) -> io::Result<(bool, String)> {
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        // Another mark than the program's: a command that outlives the node is not worth keeping.
        .envs(with_mark(program.environment, &run.join("exec")))
        .current_dir(&program.working_directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        (&mut stdout).take(LARGEST_OUTPUT).read_to_end(&mut output).await?;
        tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await?;
    }
    let status = child.wait().await?;
    Ok((status.success(), String::from_utf8_lossy(&output).into_owned()))
}

/// The numbers of the runs that a container's directory holds, in order.
pub(crate) async fn runs(container: &Path) -> Vec<u32> {
    let mut numbers = Vec::new();
    if let Ok(mut entries) = tokio::fs::read_dir(container).await {
        while let Ok(Some(entry)) = entries.next_entry().await {
            numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
    }
    numbers.sort_unstable();
    numbers
}

/// Keeps the run and the one before it, whose log `--previous` shows.
async fn forget_old_runs(container: &Path, number: u32) {
    for old in runs(container).await.into_iter().filter(|old| old + 1 < number) {
        let _ = tokio::fs::remove_dir_all(container.join(old.to_string())).await;
    }
}

/// Kills every process of a pod that no run under `kept` accounts for.
pub(crate) async fn sweep_strays(pods: &Path, kept: &[PathBuf]) -> usize {
    process::sweep(pods.to_owned(), |mark| kept.iter().any(|run| run == mark)).await
}
