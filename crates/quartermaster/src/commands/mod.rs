//! One file per command, and what they share: reading the command line, logs, the runtime.

mod r#as;
mod check;
mod completions;
mod crds;
mod files;
mod hooks;
mod open;
mod rbac;
mod reference;
mod serve;
mod up;
mod workspaces_backend;
mod workspaces_controller;

use std::{io::IsTerminal as _, process::ExitCode, str::FromStr};

use clap::Parser;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    cli::{Cli, Command},
    failure::{Failure, USAGE},
};

/// Reads the command line, runs the command and says how it ended.
pub(crate) fn run() -> ExitCode {
    // HTTP clients and token checks look for one and panic without. It fails only if there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Some(args) = r#as::flux_recv_args() {
        return r#as::flux_recv(args, None);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _gone = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let log = cli.log.as_deref();
    let result = match cli.command {
        Command::As(program) => return r#as::run(program, log),
        Command::Up(options) => up::run(options, log),
        Command::Serve(options) => serve::run(options, log),
        Command::Rbac(options) => rbac::run(options),
        Command::Open(options) => open::run(options),
        Command::Check(options) => check::run(&options),
        Command::Crds => crds::run(),
        Command::Files(options) => files::run(options, log),
        Command::Hooks(command) => hooks::run(command),
        Command::Completions { shell } => completions::run(shell),
        Command::Reference => reference::run(),
        Command::PodShim => Err(Failure::usage("`pod-shim` takes no flags")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Sends logs to standard error: warnings only, unless asked for more.
fn log(filter: Option<&str>) -> Result<(), Failure> {
    let filter = match filter {
        Some(filter) => EnvFilter::from_str(filter).map_err(|error| {
            Failure::usage(format!("`{filter}` is no log filter: {error}"))
                .hint("a level such as `info`, or `info,embedded=debug`")
        })?,
        None => quiet(),
    };
    log_to_stderr(filter);
    Ok(())
}

/// The same, and what the webhook receiver tells of its work. A filter in the environment counts if
/// it is one: whoever set it may have meant another program.
fn log_events() {
    let asked = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok());
    log_to_stderr(asked.unwrap_or_else(|| with(quiet(), "hooks=info")));
}

/// Warnings only.
fn quiet() -> EnvFilter {
    let quiet = EnvFilter::default().add_directive(LevelFilter::WARN.into());
    // The library logs each failed request as an error; we say ourselves what failed.
    with(quiet, "kube_client=off")
}

fn with(filter: EnvFilter, directive: &str) -> EnvFilter {
    match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

fn log_to_stderr(filter: EnvFilter) {
    // Colours are for people; in a file they are noise.
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(web::Lines::default())
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// Runs asynchronous work on few threads: a workspace's own programs need the machine more.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 4))
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    survive_full_disks(&runtime);
    runtime.block_on(work)
}

/// A write beyond the limit for files shall fail, as one to a full disk does: without a handler it
/// would end the process.
fn survive_full_disks(runtime: &Runtime) {
    let beyond = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    let _in = runtime.enter();
    // Once there, a handler stays. Without one all is as before.
    let _handled = signal(beyond);
}
