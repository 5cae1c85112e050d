//! `cargo xtask cluster …`: a real Kubernetes for one command, gone when the command ends.
//!
//! [`build`] makes the program of `testenv/`; [`isolate`] puts a supervisor into namespaces of its
//! own; [`supervise`] starts the [`parts`] with [`certs`], waits until they work, and runs the
//! command; [`node`] adds containerd and a kubelet; [`control`] stops and starts single parts.

mod build;
mod certs;
mod control;
mod isolate;
mod node;
mod parts;
mod supervise;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use build::{testenv, version};

use crate::shell;

/// What `cluster run` ends with when the cluster itself fails, as docker and timeout do.
pub(crate) const FAILED: u8 = 125;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Build the program of testenv/ (about 5 minutes, then cached) and print its path
    Build,
    /// Run a command with a real Kubernetes around it; ends as the command ends
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// The same with a shell
    #[command(after_help = RUN_HELP)]
    Shell(ClusterArgs),
    /// Inside: end a part with SIGTERM
    Stop(PartArgs),
    /// Inside: end a part with SIGKILL
    Kill(PartArgs),
    /// Inside: start a part and wait until it works
    Start(PartArgs),
    /// Inside: stop, then start
    Restart(PartArgs),
    /// The first process of the namespaces
    #[command(hide = true)]
    Init(InnerArgs),
    /// What starts the parts and the command
    #[command(hide = true)]
    Supervise(InnerArgs),
    /// What tidies up when its standard input ends
    #[command(hide = true)]
    Sweep(InnerArgs),
}

const RUN_HELP: &str = "\
COMMAND finds KUBECONFIG (an administrator), kubectl on PATH, and QUARTERMASTER_TESTENV: a folder
with logs/, pki/ (the authority and its key) and the socket of stop, kill, start and restart.
There is no network but loopback and the pods. Exit code 125: the cluster itself failed.";

#[derive(Args)]
pub(crate) struct ClusterArgs {
    /// Control plane only: no containerd, no kubelet
    #[arg(long)]
    no_node: bool,
    /// An image for the node's pods, a docker-archive tar (see `cargo xtask image`)
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// What the controller manager runs, as its own flag says it
    #[arg(long, value_name = "LIST", default_value = "*", hide = true)]
    controllers: String,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct PartArgs {
    /// One of: etcd, apiserver, controller-manager, scheduler, containerd, kubelet
    part: String,
}

#[derive(Args)]
pub(crate) struct InnerArgs {
    plan: String,
}

/// Builds and installs all that clusters need, so that none of them has to.
pub(crate) fn bring() -> Result<()> {
    isolate::bring()
}

pub(crate) fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Build => {
            let programs = testenv()?;
            shell::print(&programs.join("testenv").display().to_string());
        }
        Task::Run(RunArgs { cluster, command }) => return isolate::run(&cluster, command, false),
        Task::Shell(cluster) => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            return isolate::run(&cluster, vec![shell], true);
        }
        Task::Stop(PartArgs { part }) => control::ask("stop", &part)?,
        Task::Kill(PartArgs { part }) => control::ask("kill", &part)?,
        Task::Start(PartArgs { part }) => control::ask("start", &part)?,
        Task::Restart(PartArgs { part }) => control::ask("restart", &part)?,
        Task::Init(InnerArgs { plan }) => return isolate::init(&plan),
        Task::Supervise(InnerArgs { plan }) => {
            return supervise::run(&isolate::Plan::parse(&plan)?);
        }
        Task::Sweep(InnerArgs { plan }) => isolate::sweep(&isolate::Plan::parse(&plan)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
