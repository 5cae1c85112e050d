//! Commands beside the program of a container, for `kubectl exec` and the like.
//!
//! They get environment and working directory of the program that runs, and see this machine as it
//! does. What is left of a command whose client is gone is killed.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::process::{Identity, MARK, sweep};
use super::runtime::{read, runs};
use super::shim::Started;
use super::volumes::safe;
use crate::api::exec::{ExecSource, Execution};

/// Runs commands in the containers of a node.
#[derive(Debug)]
pub struct Commands {
    pods: PathBuf,
    started: AtomicU64,
}

impl Commands {
    /// For the node with this data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let data_dir = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self { pods: data_dir.join("pods"), started: AtomicU64::new(0) }
    }

    /// The run of a container that goes on, and its program.
    async fn find(&self, pod: &Value, container: &str) -> Option<(PathBuf, Identity)> {
        let uid = safe(pod.pointer("/metadata/uid")?.as_str()?)?;
        let directory = self.pods.join(uid).join("containers").join(safe(container)?);
        let number = runs(&directory).await.pop()?;
        let run = directory.join(number.to_string());
        let started: Started = read(&run.join("started.json")).await?;
        started.program.is_alive().then_some((run, started.program))
    }

    async fn spawn(
        &self,
        pod: &Value,
        container: &str,
        command: Vec<String>,
    ) -> Result<Execution, String> {
        let (run, program) =
            self.find(pod, container).await.ok_or_else(|| format!("{container} does not run"))?;
        let place = PathBuf::from(format!("/proc/{}", program.pid));
        let unreadable = |error: io::Error| format!("its program cannot be looked at: {error}");
        let environment = tokio::fs::read(place.join("environ")).await.map_err(unreadable)?;
        let directory = tokio::fs::read_link(place.join("cwd")).await.map_err(unreadable)?;
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        // Not the program's own mark: a command that outlives the node is not worth keeping.
        let mark = run.join("exec").join(number.to_string());
        let (name, arguments) = command.split_first().ok_or("there is no command")?;
        let mut child = Command::new(name)
            .args(arguments)
            .env_clear()
            .envs(variables(environment))
            .env(MARK, &mark)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("exec: {name:?}: {error}"))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = streams else {
            return Err("it has no streams".to_owned());
        };
        let running = Running { child: Some(child), mark };
        Ok(Execution {
            input: Box::new(input),
            output: Box::new(output),
            errors: Box::new(errors),
            ended: Box::pin(running.end()),
        })
    }
}

impl ExecSource for Commands {
    fn start<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        command: Vec<String>,
    ) -> BoxFuture<'a, Result<Execution, String>> {
        Box::pin(self.spawn(pod, container, command))
    }
}

fn variables(environment: Vec<u8>) -> impl Iterator<Item = (OsString, OsString)> {
    let pairs: Vec<_> = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let at = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (entry.get(..at)?, entry.get(at + 1..)?);
            (!name.is_empty())
                .then(|| (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
        })
        .collect();
    pairs.into_iter()
}

/// A command; killed with all that it started if it is dropped before its end.
struct Running {
    child: Option<Child>,
    mark: PathBuf,
}

impl Running {
    async fn end(mut self) -> io::Result<i32> {
        let Some(child) = &mut self.child else { return Ok(0) };
        let status = child.wait().await?;
        self.child = None;
        Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            tokio::spawn(sweep(self.mark.clone(), |_| false));
        }
    }
}
