//! Namespaces around a cluster, and an end that leaves nothing behind.
//!
//! With root: this program → `setpriv` → `unshare` → [`init`], the first process of the new
//! namespaces → the supervisor. Each link dies with the one before it, and with the first process
//! the kernel ends all others, the mounts and the network. Without root there are no namespaces:
//! the supervisor is this program, and its children die with it. What a kernel does not end by
//! itself, cgroups and the work folder, is removed by [`sweep`], which sees that its standard
//! input ends.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    process::{Pid, WaitOptions},
};
use serde::{Deserialize, Serialize};

use super::{ClusterArgs, build, node, supervise};
use crate::{
    image,
    shell::{self, say},
    tools,
};

/// What the processes of one cluster must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The folder of this cluster.
    pub(super) dir: PathBuf,
    pub(super) programs: PathBuf,
    /// Whether there are namespaces around.
    pub(super) isolated: bool,
    /// The root of the pods' cgroups, if there is a node.
    pub(super) cgroup: Option<String>,
    pub(super) images: Vec<PathBuf>,
    pub(super) controllers: String,
    pub(super) interactive: bool,
    pub(super) command: Vec<OsString>,
}

impl Plan {
    pub(super) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("this command is only for `cargo xtask cluster run`")
    }
}

/// Brings everything that has to be built or installed, then the cluster, then the command.
pub(super) fn run(
    args: &ClusterArgs,
    command: Vec<OsString>,
    interactive: bool,
) -> Result<ExitCode> {
    let root = tools::is_root();
    let with_node = root && !args.no_node;
    if !root {
        say("not root: control plane only, no node, and no namespaces of its own");
    }
    for image in &args.images {
        if !with_node {
            bail!("--image needs a node, so root and no --no-node");
        }
        fs::File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
    }
    let mut images = Vec::new();
    for image in &args.images {
        images.push(std::path::absolute(image)?);
    }
    let programs = build::testenv()?;
    if with_node {
        node::install()?;
        images.insert(0, image::pause()?);
    } else {
        network(root)?;
    }
    let name = format!("quartermaster-testenv-{}", std::process::id());
    let plan = Plan {
        dir: std::env::temp_dir().join(&name),
        programs,
        isolated: root,
        cgroup: with_node.then_some(name),
        images,
        controllers: args.controllers.clone(),
        interactive,
        command,
    };
    fs::create_dir(&plan.dir).with_context(|| format!("cannot make {}", plan.dir.display()))?;
    if interactive {
        // Ctrl-C is for what runs in the shell.
        heed_no_interrupts()?;
    }
    let text = serde_json::to_string(&plan)?;
    let sweeper = Sweeper::start(&text)?;
    let code = if plan.isolated { unshared(&text) } else { supervise::run(&plan) };
    sweeper.finish()?;
    code
}

/// Builds and installs all that any cluster needs.
pub(super) fn bring() -> Result<()> {
    let root = tools::is_root();
    build::testenv()?;
    network(root)?;
    if root {
        node::install()?;
        image::pause()?;
    }
    Ok(())
}

/// What brings up loopback in a network of its own.
fn network(root: bool) -> Result<()> {
    if root && !tools::on_path("ip") {
        tools::apt("iproute2")?;
    }
    Ok(())
}

fn unshared(plan: &str) -> Result<ExitCode> {
    let mut namespaces = guarded("unshare");
    namespaces.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    namespaces.arg(shell::myself()?).args(["cluster", "init", plan]);
    let status = namespaces.status().context("cannot start setpriv and unshare (util-linux)")?;
    Ok(code_of(status))
}

/// A command that is killed when the thread that starts it ends.
pub(super) fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The exit code of a shell for how a process ended.
pub(super) fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Outlives SIGINT, without making children ignore it.
fn heed_no_interrupts() -> Result<()> {
    let unused = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, unused)?;
    Ok(())
}

/// The first process: runs the supervisor and buries those who lost their parents.
pub(super) fn init(plan: &str) -> Result<ExitCode> {
    if Plan::parse(plan)?.interactive {
        heed_no_interrupts()?;
    }
    let mut supervisor = Command::new(shell::myself()?);
    let supervisor = supervisor.args(["cluster", "supervise", plan]).spawn()?;
    let supervisor = Pid::from_child(&supervisor);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == supervisor => {
                return Ok(code_of(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts empty folders in memory where a cluster writes. They end with the namespace.
pub(super) fn mounts(plan: &Plan) -> Result<()> {
    let fixed = node::FIXED.into_iter().map(Path::new).filter(|_| plan.cgroup.is_some());
    for place in fixed.chain([plan.dir.as_path()]) {
        fs::create_dir_all(place)?;
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", place, "tmpfs", none, Some(c"mode=0755")).with_context(
            || format!("cannot mount a file system in memory at {}", place.display()),
        )?;
    }
    Ok(())
}

/// A process that tidies up when this one is gone, however it went.
struct Sweeper(Child);

impl Sweeper {
    fn start(plan: &str) -> Result<Self> {
        let mut sweeper = Command::new(shell::myself()?);
        sweeper.args(["cluster", "sweep", plan]).stdin(Stdio::piped());
        // Ctrl-C ends the foreground group, and whoever reads our output must not wait for it.
        sweeper.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(sweeper.spawn()?))
    }

    fn finish(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        if !self.0.wait()?.success() {
            say("cluster: the work folder or the cgroups of the pods could not be removed");
        }
        Ok(())
    }
}

/// Waits until standard input ends, then removes what is left.
pub(super) fn sweep(plan: &Plan) -> Result<()> {
    heed_no_interrupts()?;
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
    let mut left = vec![plan.dir.clone()];
    if let Some(cgroup) = &plan.cgroup {
        left.extend(node::cgroup_directories(cgroup)?);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    // Processes that are just being killed still hold both for a moment.
    loop {
        left.retain(|directory| !remove(directory, plan));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("cannot remove {left:?}");
        }
        shell::moment();
    }
}

fn remove(directory: &Path, plan: &Plan) -> bool {
    let _tried = if directory == plan.dir {
        fs::remove_dir_all(directory)
    } else {
        remove_cgroup(directory)
    };
    !directory.exists()
}

/// A cgroup goes when its children are gone; the files in it are not removed.
fn remove_cgroup(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Brings loopback up in the new network.
pub(super) fn loopback() -> Result<()> {
    shell::output(shell::command("ip").args(["link", "set", "lo", "up"])).map(drop)
}
