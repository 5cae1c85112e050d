//! Processes, seen through `/proc`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// A process that is watched by a descriptor, so that its number cannot mean another one.
#[derive(Debug)]
pub struct Watch(rustix::fd::OwnedFd);

impl Watch {
    /// `None` if there is no such process.
    pub fn new(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Sends a signal; one that already ended takes no notice.
    pub fn signal(&self, signal: Signal) {
        let _ended = pidfd_send_signal(&self.0, signal);
    }

    /// Whether it ended, waiting for that up to `limit`.
    pub fn ended_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, limit.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

/// CPU time and memory of a process and all that it started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tree {
    /// User and system time of the process itself.
    pub cpu: Duration,
    /// Resident memory of the process itself, in bytes.
    pub resident: u64,
    /// Largest resident memory that it ever had, in bytes.
    pub peak: u64,
}

impl Tree {
    /// Reads `/proc/PID`; zeros for a process that is gone.
    pub fn of(pid: u32) -> Self {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = read("stat");
        // The name, in parentheses, may hold anything; fields are counted after it.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        let status = read("status");
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Self {
            cpu: Duration::from_millis(ticks * 1000 / per_second),
            resident: kib("VmRSS:"),
            peak: kib("VmHWM:"),
        }
    }
}

/// Processes whose environment says that they run for a pod of this data directory: pid to command.
///
/// Everything that a container starts inherits the mark, so nothing can hide by leaving its group.
pub fn pods(data_dir: &Path) -> BTreeMap<u32, String> {
    let Ok(data_dir) = data_dir.canonicalize() else { return BTreeMap::new() };
    let marks = [data_dir.join("pods"), data_dir.join("volumes")];
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let is_zombie = fs::read_to_string(entry.path().join("stat"))
                .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, s)| s.starts_with('Z')));
            let belongs = marks.iter().any(|mark| refers_to(&entry.path(), mark));
            (belongs && !is_zombie).then(|| (pid, command(&entry.path())))
        })
        .collect()
}

/// An environment variable of another process.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let environ = String::from_utf8_lossy(&environ).into_owned();
    environ
        .split('\0')
        .find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn refers_to(process: &Path, mark: &Path) -> bool {
    let needle = mark.as_os_str().as_encoded_bytes();
    let holds = |file: &str| {
        let text = fs::read(process.join(file)).unwrap_or_default();
        text.windows(needle.len()).any(|window| window == needle)
    };
    let inside = |link: &str| {
        fs::read_link(process.join(link)).is_ok_and(|target: PathBuf| target.starts_with(mark))
    };
    inside("cwd") || inside("fd/1") || holds("environ") || holds("cmdline")
}

fn command(process: &Path) -> String {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}
