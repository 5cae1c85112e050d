//! Processes of this machine, named so that a reused process id is never mistaken for an old one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The environment variable that marks every process of a pod with the pod's directory. Processes
/// that left their group and lost their parent are found by it.
pub(crate) const MARK: &str = "QUARTERMASTER_POD_DIR";

const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// One process, for ever: a process id counts only together with its start time and the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    pub(crate) start_ticks: u64,
    pub(crate) boot_id: String,
}

impl Identity {
    /// The identity of a running process.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let stat = stat(pid)?;
        Ok(Self {
            pid: pid.as_raw_nonzero().get(),
            start_ticks: stat.start_ticks,
            boot_id: boot_id()?,
        })
    }

    /// Whether this very process still runs. A zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        boot_id().is_ok_and(|boot| boot == self.boot_id)
            && stat(pid)
                .is_ok_and(|stat| stat.start_ticks == self.start_ticks && !stat.is_finished())
    }

    /// A handle that stays with this very process, if it still runs.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::NONBLOCK).ok()?;
        // Checked after opening: from here on the handle cannot come to mean another process.
        self.is_alive().then_some(handle)
    }

    /// Sends a signal to this very process; false if it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.open().is_some_and(|handle| pidfd_send_signal(&handle, signal).is_ok())
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) start_ticks: u64,
}

impl Stat {
    fn is_finished(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    fn parse(text: &str) -> Option<Self> {
        // The command name is in parentheses and may hold anything, parentheses included.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, start_ticks })
    }
}

/// Reads `/proc/PID/stat`.
pub(crate) fn stat(pid: Pid) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    Stat::parse(&String::from_utf8_lossy(&text))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable process state"))
}

/// The identity of this boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn all() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
}

/// The direct children of a process, zombies aside.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    all()
        .filter(|pid| stat(*pid).is_ok_and(|stat| stat.parent == parent && !stat.is_finished()))
        .collect()
}

/// Every process that carries a mark under `root`, with its mark.
pub(crate) fn marked(root: &Path) -> Vec<(Identity, PathBuf)> {
    all()
        .filter_map(|pid| {
            // The identity is taken first, so that a process which ends and whose id is reused
            // between the two reads is never signalled.
            let identity = Identity::of(pid).ok()?;
            let mark = mark_of(pid)?;
            (mark.starts_with(root) && identity.is_alive()).then_some((identity, mark))
        })
        .collect()
}

fn mark_of(pid: Pid) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        Some(PathBuf::from(OsStr::from_bytes(value)))
    })
}

/// Kills every process that carries a mark under `root`, except the ones `spared` names, and waits
/// until they are gone. What they start meanwhile is found by looking again. Returns how many were
/// still there at the deadline (they hang in the kernel).
pub(crate) async fn sweep(root: PathBuf, spared: impl Fn(&Path) -> bool) -> usize {
    let deadline = Instant::now() + SWEEP_PATIENCE;
    loop {
        let root = root.clone();
        let found = tokio::task::spawn_blocking(move || marked(&root)).await.unwrap_or_default();
        let left: Vec<_> = found.into_iter().filter(|(_, mark)| !spared(mark)).collect();
        if left.is_empty() || Instant::now() > deadline {
            return left.len();
        }
        for (process, _) in left {
            process.signal(Signal::KILL);
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_command_name_with_parentheses() {
        let text = "12 (a) b (c)) S 7 12 12 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 1 0 8812 9 9 9";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'S', parent: 7, start_ticks: 8812 }));
        assert_eq!(Stat::parse("12 (a"), None);
    }

    #[test]
    fn knows_itself_and_nobody_else() {
        let me = Identity::of(rustix::process::getpid()).unwrap();
        assert!(me.is_alive());
        let older = Identity { start_ticks: me.start_ticks + 1, ..me.clone() };
        let other_boot = Identity { boot_id: "another".into(), ..me };
        assert!(!older.is_alive() && !other_boot.is_alive());
    }
}
