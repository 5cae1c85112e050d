//! The small process that stands between the node and one container's program.
//!
//! It outlives Quartermaster: it keeps the log, waits for the program, ends whatever the program
//! leaves behind, and records the end. It gets its orders on standard input (a socket, so that
//! secrets in the environment never touch a disk or a command line) and answers on it once.
//! SIGTERM means "ask the program to end", SIGUSR1 means "kill it now".

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    set_child_subreaper, setsid, wait,
};
use serde::{Deserialize, Serialize};

use super::logfile::{Splitter, Stream, Writer, rotated};
use super::process::{self, Identity};

/// The signal that makes a shim kill its program at once.
pub(crate) const KILL_NOW: Signal = Signal::USR1;
/// Orders larger than this are refused.
const LARGEST_ORDERS: u64 = 8 * 1024 * 1024;
/// How often what is left of a program is looked for while it is being ended.
const CLEANING_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// After this many looks a process that cannot be killed (it hangs in the kernel) is given up.
const CLEANING_LOOKS: u32 = 400;

/// What to run. Not printable: the environment holds secrets.
#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: PathBuf,
    /// Where `started.json`, `exit.json` and `log` go.
    pub(crate) directory: PathBuf,
    pub(crate) log_bytes: u64,
}

/// `started.json`: the program runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub(crate) shim: Identity,
    pub(crate) program: Identity,
    pub(crate) started_at: Timestamp,
}

/// `exit.json`: the program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    /// What the program returned; 128 and the signal if a signal ended it.
    pub(crate) code: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    pub(crate) finished_at: Timestamp,
}

impl Exit {
    /// The end of a program that nobody saw.
    pub(crate) fn unknown(finished_at: Timestamp) -> Self {
        Self { code: 137, signal: None, finished_at }
    }
}

/// The shim's one answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    Started(Started),
    Failed(String),
}

/// Runs the shim. The program calls this for its hidden subcommand before anything else: no
/// runtime, no threads.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> io::Result<()> {
    // Fails only for a group leader, which is then in a group of its own already.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    let signals = Signals::install()?;
    let orders = read_orders()?;
    let directory = orders.directory.clone();
    let mut supervisor = match start(orders) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            answer(&Answer::Failed(error.to_string()));
            return Err(error);
        }
    };
    if let Err(error) = record_start(&directory, supervisor.leader) {
        // A program that no later node could find must not run.
        signals.kill.store(true, Ordering::SeqCst);
        let _ = kill_process(getpid(), Signal::HUP);
        supervisor.supervise(&signals)?;
        answer(&Answer::Failed(format!("its start could not be recorded: {error}")));
        return Err(error);
    }
    // The node sees the end of the socket if the shim dies, and nothing else from here on.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let exit = supervisor.supervise(&signals)?;
    let file = directory.join("exit.json");
    write_json(&file, &exit).or_else(|_| {
        // A full disk: how the program ended is worth more than old lines of its log.
        fs::remove_file(rotated(&directory.join("log")))?;
        write_json(&file, &exit)
    })
}

fn record_start(directory: &Path, leader: Pid) -> io::Result<()> {
    let started = Started {
        shim: Identity::of(getpid())?,
        program: Identity::of(leader)?,
        started_at: Timestamp::now(),
    };
    write_json(&directory.join("started.json"), &started)?;
    answer(&Answer::Started(started));
    Ok(())
}

fn read_orders() -> io::Result<Orders> {
    let mut text = Vec::new();
    io::stdin().lock().take(LARGEST_ORDERS).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn answer(answer: &Answer) {
    let Ok(text) = serde_json::to_vec(answer) else { return };
    if let Ok(socket) = io::stdin().as_fd().try_clone_to_owned() {
        // Nobody may be listening any more; the files say the same.
        let _ = File::from(socket).write_all(&text);
    }
}

fn start(orders: Orders) -> io::Result<Supervisor> {
    let log = Writer::create(orders.directory.join("log"), orders.log_bytes)?;
    let mut command = Command::new(&orders.program);
    command
        .args(&orders.arguments)
        .env_clear()
        .envs(orders.environment)
        .current_dir(&orders.working_directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn()?;
    let leader = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the program has no process id"))?;
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    Ok(Supervisor {
        leader,
        exit: None,
        log,
        outputs: [Output::new(Stream::Stdout, stdout)?, Output::new(Stream::Stderr, stderr)?],
    })
}

/// Signals, as flags and as something to poll.
struct Signals {
    wakeup: UnixStream,
    end: Arc<AtomicBool>,
    kill: Arc<AtomicBool>,
}

impl Signals {
    fn install() -> io::Result<Self> {
        use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        let (wakeup, wake) = UnixStream::pair()?;
        wakeup.set_nonblocking(true)?;
        let (end, kill) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        signal_hook::flag::register(SIGTERM, Arc::clone(&end))?;
        signal_hook::flag::register(SIGUSR1, Arc::clone(&kill))?;
        // Caught, not ignored: an ignored signal would stay ignored in the program.
        for signal in [SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1] {
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        Ok(Self { wakeup, end, kill })
    }

    fn drain(&self) {
        let mut buffer = [0; 64];
        while (&self.wakeup).read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}

/// One output stream of the program.
struct Output {
    pipe: Option<File>,
    splitter: Splitter,
}

impl Output {
    fn new(stream: Stream, pipe: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            fcntl_setfl(pipe, OFlags::NONBLOCK)?;
        }
        Ok(Self { pipe: pipe.map(File::from), splitter: Splitter::new(stream) })
    }

    /// Reads what is there, up to a bound, so that one stream cannot starve the other.
    fn read(&mut self, log: &mut Writer) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Some(pipe) = &mut self.pipe else { return false };
        let count = match pipe.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => 0,
        };
        let mut lines = Vec::new();
        let now = Timestamp::now();
        if count == 0 {
            self.splitter.finish(now, &mut lines);
            self.pipe = None;
        } else {
            self.splitter.push(now, buffer.get(..count).unwrap_or_default(), &mut lines);
        }
        log.append(&lines);
        count > 0
    }

    /// Reads what is left. A writer that is no child of ours may still hold the pipe, so this does
    /// not wait for the end.
    fn drain(&mut self, log: &mut Writer) {
        while self.read(log) {}
        let mut lines = Vec::new();
        self.splitter.finish(Timestamp::now(), &mut lines);
        log.append(&lines);
    }
}

/// The program and what belongs to it.
struct Supervisor {
    leader: Pid,
    exit: Option<Exit>,
    log: Writer,
    outputs: [Output; 2],
}

impl Supervisor {
    /// Waits for the program to end, ends what it leaves behind, and says how it ended.
    fn supervise(&mut self, signals: &Signals) -> io::Result<Exit> {
        let mut looks = 0;
        loop {
            self.wait_for_something(signals)?;
            signals.drain();
            if signals.end.swap(false, Ordering::SeqCst) && self.exit.is_none() {
                let _ = kill_process_group(self.leader, Signal::TERM);
            }
            if signals.kill.swap(false, Ordering::SeqCst) && self.exit.is_none() {
                let _ = kill_process_group(self.leader, Signal::KILL);
            }
            for output in &mut self.outputs {
                output.read(&mut self.log);
            }
            let none_left = self.reap();
            if let Some(exit) = &self.exit {
                looks += 1;
                if none_left || looks > CLEANING_LOOKS {
                    let exit = exit.clone();
                    self.outputs.iter_mut().for_each(|output| output.drain(&mut self.log));
                    return Ok(exit);
                }
                // Children of the killed become our children, and are found at the next look.
                for child in process::children(getpid()) {
                    let _ = kill_process(child, Signal::KILL);
                }
            }
        }
    }

    fn wait_for_something(&self, signals: &Signals) -> io::Result<()> {
        let pipes = self.outputs.iter().filter_map(|output| output.pipe.as_ref()).map(File::as_fd);
        let mut polled: Vec<PollFd<'_>> = std::iter::once(signals.wakeup.as_fd())
            .chain(pipes)
            .map(|fd: BorrowedFd<'_>| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = self.exit.is_some().then_some(&CLEANING_PAUSE);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Collects ended children; true if there are no children left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => self.exit = exit_of(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => {
                    // Without children and without an end: the end was missed.
                    self.exit.get_or_insert_with(|| Exit::unknown(Timestamp::now()));
                    return true;
                }
            }
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    let signal = status.terminating_signal();
    let code = status.exit_status().or(signal.map(|signal| 128 + signal))?;
    Some(Exit { code, signal, finished_at: Timestamp::now() })
}

/// Writes a file so that a crash leaves either nothing or all of it.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    let temporary = path.with_extension("tmp");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
